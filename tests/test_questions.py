"""Every law and every question: answered, or refused with the reason that belongs to the law."""

import numpy as np
import pytest

import bayescale
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.target import least_compute
from bayescale.errors import FitError
from bayescale.forecasts.forecast import forecast
from bayescale.laws.law import column, goal_sign, law_loss, law_names, load_law, reference_constants, size_column
from bayescale.laws.priors import quantile

pytestmark = pytest.mark.usefixtures("drift_once")
JOINT = {name for name in law_names() if {"N", "D"} <= set(load_law(name).inputs)}
# why a law of N and D does not split a budget
NO_SPLIT = {name for name in JOINT if load_law(name).no_split}
OF_A_LOSS = {name for name in law_names() if size_column(load_law(name)) == "loss"}


@pytest.fixture(scope="module")
def asked(make_fit):
    """A law, a fit of it by hand, the inputs of one run, and what the law gives there."""

    def make(name):
        law, rng = load_law(name), np.random.default_rng(11)
        inputs = {}
        for symbol, (low, high) in law.range.items():
            spread = (rng.permutation(24) + 0.5) / 24
            inputs[symbol] = low * (high / low) ** spread if low > 0 else low + (high - low) * spread
        columns = {column(symbol): values for symbol, values in inputs.items()}
        seen = np.array([2.0, 3.0]) if law.observed.scale != "linear" else np.array([-4.0, -2.0])
        middle = {one: quantile(prior, 0.5) for one, prior in law.priors.items()}
        constants = reference_constants(law, columns | {law.observed.column: seen})
        value = np.broadcast_to(law_loss(law, middle | constants | inputs), 24)
        runs = columns | {law.observed.column: value * (1 + 1e-3 * rng.standard_normal(24))}
        if law.observed.count:
            runs |= {law.observed.count: np.full(24, 500.0), law.observed.column: np.round(np.clip(value, 0, 1), 2)}
        draws = {one: prior_middle * (1 + 1e-4 * rng.standard_normal(60)) for one, prior_middle in middle.items()}
        fit = make_fit(law, draws, runs)
        point = {one: float(values[np.argsort(values)[12]]) for one, values in columns.items()}
        return law, fit, point

    return make


def refused(question, law, words):
    with pytest.raises(FitError, match=words) as error:
        question()
    assert law.name in str(error.value)


@pytest.mark.parametrize("name", law_names())
def test_law_by_question(name, asked):
    law, fit, point = asked(name)
    observed, size = law.observed.column, size_column(law)
    tree = forecast(fit, covariates=point)
    middle = float(tree["predictions"][f"law_{observed}"].median())
    assert np.isfinite(middle) and bayescale.read(tree).frame.shape[0] == 1
    inputs = {symbol: point[column(symbol)] for symbol in law.inputs}
    given = {symbol: value for symbol, value in inputs.items() if symbol not in ("N", "D", "C")}
    if name in JOINT:
        budget = 6 * point["params"] * point["tokens"] if "params" in point else 1e21
        questions = {
            "allocate": lambda: bayescale.allocate(fit, budget, given=given, cost="6*N*D"),
            "reach": lambda: least_compute(fit, middle, given=given, cost="6*N*D"),
            "gain": lambda: compute_gain(fit, fit, budget, given=given, cost="6*N*D"),
        }
        for question in questions.values():
            if name in NO_SPLIT:
                refused(question, law, "does not split a budget")
            else:
                question()
        return
    refused(lambda: bayescale.allocate(fit, 1e21), law, "a split of compute needs a law of N and D")
    others = {symbol: value for symbol, value in inputs.items() if column(symbol) != size}
    found = least_compute(fit, middle, given=others)
    assert found.attrs["goal"] == goal_sign(law) and size in found
    plan = lambda: bayescale.next_run(fit, 3 * point.get(size, 1.0), at=point)  # noqa: E731
    if name in OF_A_LOSS:
        refused(plan, law, "its size is a loss, which no budget buys")
    else:
        runs = plan()
        assert (runs["cost"] <= 3 * point[size] * 1.001).all() and bayescale.read(runs).frame.shape[0] == 1
    if name in OF_A_LOSS:
        refused(lambda: compute_gain(fit, fit, point[size], given=others), law, "has a loss as its size")
    else:
        np.testing.assert_allclose(compute_gain(fit, fit, point[size], given=others)["p_better"], 0.0)
