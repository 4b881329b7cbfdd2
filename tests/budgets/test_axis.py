"""Laws of one size: the least size for a target, gains, planned runs; closed forms draw by draw."""

import numpy as np
import pytest

import bayescale
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.target import least_compute
from bayescale.errors import FitError
from bayescale.forecasts.forecast import forecast, probability_to_reach
from bayescale.laws.law import goal_sign, law_names, load_law
from bayescale.study import Study


def some_draws(rng, count=400, **middle):
    return {name: value * np.exp(0.02 * rng.standard_normal(count)) for name, value in middle.items()}


@pytest.fixture(scope="module")
def curve(make_fit):
    """Fits of a power law above a floor in one size, by hand."""

    def make(law, column, low=1e19, high=1e22, factor=1.0):
        rng = np.random.default_rng(5)
        x = np.geomspace(low, high, 12)
        runs = {column: x, "loss": 2.0 + 3.0 * factor * (x / x[0]) ** -0.15}
        return make_fit(law, some_draws(rng, level=1.05, slope=0.05, floor=0.6), runs)

    return make


@pytest.mark.parametrize(
    ("law", "column", "symbol"),
    [("floor_compute", "compute", "C"), ("floor_params", "params", "N"), ("floor_tokens", "tokens", "D")],
)
def test_reach_of_a_floor_law_is_its_closed_form(curve, law, column, symbol):
    """C(L) = C_0 (L - E)^(-1/alpha)."""
    fit = curve(law, column)
    E, scale, alpha = (fit["posterior"][name].values for name in ("E", f"{symbol}_0", "alpha"))
    goal = float(np.max(E)) + 0.4
    found = least_compute(fit, [goal, goal + 0.5])
    for i, target in enumerate((goal, goal + 0.5)):
        np.testing.assert_allclose(found[column].values[..., i], scale * (target - E) ** (-1 / alpha), rtol=1e-6)
    assert found["identified"].all() and found.attrs["size"] == column
    beyond = np.log10(np.median(found[column].values[..., 0]) / 1e22)
    assert float(found["decades_beyond"][0]) == pytest.approx(max(0.0, beyond))
    reading = bayescale.read(found)
    assert f"{column}_q50" in reading.frame and "loss" in reading.frame
    assert "floor" not in reading.title and reading.to_dict()["targets"][0][column]["q50"] > 0


def test_a_target_below_the_floor_is_never_reached(curve):
    fit = curve("floor_compute", "compute")
    found = least_compute(fit, 0.5 * float(fit["posterior"]["E"].min()))
    assert np.isinf(found["compute"]).all() and not found["identified"].any() and found["p_reached"] == 0
    assert "do not reach it" in " ".join(bayescale.read(found).warnings)


def test_samples_for_a_coverage(make_fit):
    """exp(-rate (k/k_ref)^-decay) = p at k = k_ref (-log p/rate)^(-1/decay)."""
    samples = np.geomspace(1, 1000, 12)
    runs = {"samples": samples, "coverage": np.exp(-1.0 * samples**-0.3), "items": np.full(12, 300.0)}
    fit = make_fit("coverage", some_draws(np.random.default_rng(1), rate=0.4, decay=0.3), runs)
    found = least_compute(fit, [0.9, ">= 0.95"][0])
    rate, decay = (fit["posterior"][name].values for name in ("rate", "decay"))
    closed = float(fit["constant_data"]["samples_ref"]) * (-np.log(0.9) / rate) ** (-1 / decay)
    np.testing.assert_allclose(found["samples"].values[..., 0], closed, rtol=1e-6)
    assert found.attrs["goal"] == ">=" and "coverage >=" in str(bayescale.show(found))
    with pytest.raises(FitError, match="on one side"):
        least_compute(fit, ["<= 0.9", ">= 0.5"])


def test_the_loss_that_an_accuracy_needs(make_fit):
    loss = np.linspace(2.0, 4.0, 12)
    share = 0.25 + 0.6 / (1 + np.exp(3 * (loss - 3)))
    runs = {"loss": loss, "accuracy": share, "items": np.full(12, 500.0)}
    middle = {"low": 0.25, "reach": 0.8, "steepness": 3.0}
    draws = some_draws(np.random.default_rng(1), **middle) | {"shift": np.zeros(400)}
    fit = make_fit("accuracy_sigmoid", draws, runs)
    found = least_compute(fit, 0.7)
    low, reach, steep, mid = (fit["posterior"][name].values for name in ("low", "reach", "steepness", "L_0"))
    share = (0.7 - low) / ((1 - low) * reach)
    np.testing.assert_allclose(found["loss"].values[..., 0], mid - np.log(share / (1 - share)) / steep, rtol=1e-6)
    assert "highest loss" in str(bayescale.show(found))
    with pytest.raises(FitError, match="a loss as its size"):
        compute_gain(fit, fit, 2.5)
    out_of_reach = least_compute(fit, 0.99)
    assert (out_of_reach["loss"] == 0).all() and not out_of_reach["identified"].any()


def test_other_inputs_are_given_and_the_open_one_is_sought(make_fit):
    rng = np.random.default_rng(2)
    N, steps = (one.ravel() for one in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e3, 1e5, 4)))
    runs = {"params": N, "steps": steps, "loss": 2 + (1e8 / N) ** 0.1 + (1e4 / steps) ** 0.5}
    fit = make_fit("kaplan_steps", some_draws(rng, level=1.1, share=0.8, alpha_N=0.08, alpha_S=0.7), runs)
    goal = 3.0
    by_size = least_compute(fit, goal, given={"steps": 1e5})
    by_steps = least_compute(fit, goal, given={"params": 1e12})
    post = {name: fit["posterior"][name].values for name in ("alpha_N", "alpha_S", "N_c", "S_c")}
    closed = post["N_c"] * (goal - (post["S_c"] / 1e5) ** post["alpha_S"]) ** (-1 / post["alpha_N"])
    np.testing.assert_allclose(by_size["params"].values[..., 0], closed, rtol=1e-6)
    closed = post["S_c"] * (goal - (post["N_c"] / 1e12) ** post["alpha_N"]) ** (-1 / post["alpha_S"])
    np.testing.assert_allclose(by_steps["steps"].values[..., 0], closed, rtol=1e-6)
    for options, words in (
        ({}, "needs \\['steps'\\] besides params; .*--given steps="),
        ({"given": {"params": 1e9, "steps": 1e4}}, "one input must be left open"),
        ({"given": {"steps": 1e4, "depth": 3}}, "'depth' is given"),
        ({"given": {"steps": 1e4}, "ratio": (20, None)}, "ratio goes with the split"),
    ):
        with pytest.raises(FitError, match=words):
            least_compute(fit, goal, **options)


def test_gain_of_a_law_of_one_size_is_its_closed_form(curve):
    """gain = x'/x with L'(x') = L(x)."""
    ours, theirs = curve("floor_compute", "compute"), curve("floor_compute", "compute", factor=1.1)
    result = compute_gain(ours, theirs, 1e21)
    mine, other = (fit["posterior"] for fit in (ours, theirs))
    loss = mine["E"] + (mine["C_0"] / 1e21) ** mine["alpha"]
    with np.errstate(invalid="ignore"):
        closed = other["C_0"].values * (loss.values - other["E"].values) ** (-1 / other["alpha"].values) / 1e21
    known = np.isfinite(closed) & (closed < 1e8)
    assert known.mean() > 0.5
    np.testing.assert_allclose(result["gain"].values[..., 0][known], closed[known], rtol=1e-6)
    assert compute_gain(ours, ours, 1e21)["gain"].values == pytest.approx(1.0, rel=1e-6)
    assert "loss" in str(bayescale.show(result))
    with pytest.raises(FitError, match="by compute, the other loss by tokens"):
        compute_gain(ours, curve("floor_tokens", "tokens"), 1e21)


def test_a_run_is_planned_by_its_compute(curve, true_fit):
    fit = curve("floor_compute", "compute")
    by_name, by_covariate = forecast(fit, compute=[1e22, 1e23]), forecast(fit, covariates={"compute": [1e22, 1e23]})
    assert by_name.equals(by_covariate)
    with pytest.raises(FitError, match="given twice"):
        forecast(fit, compute=1e22, covariates={"compute": 1e22})
    joint = true_fit(draws=200)
    assert forecast(joint, 1e10, compute=1.2e22).equals(forecast(joint, 1e10, 2e11))
    with pytest.raises(FitError, match="'allocate' splits a budget"):
        forecast(joint, compute=1e22)
    with pytest.raises(FitError, match="'compute' is not an input of law 'chinchilla'"):
        forecast(joint, 1e10, 1e11, compute=1e22)


def test_sides_of_targets(curve):
    tree = forecast(curve("floor_compute", "compute"), compute=1e22)
    middle = float(tree["predictions"]["loss"].median())
    below, above = (probability_to_reach(tree, f"{sign} {middle!r}")[0] for sign in ("<=", ">="))
    assert probability_to_reach(tree, middle)[0] == below == pytest.approx(0.5, abs=0.01)
    assert below + above == pytest.approx(1.0, abs=1e-3)
    assert f"P(loss >= {middle:.6g})" in str(bayescale.show(tree, target=f">={middle!r}"))
    for wrong in ("about 3", ">= three", "=> 3", -1.0):
        with pytest.raises(FitError, match="target"):
            probability_to_reach(tree, wrong)
    up = {name for name in law_names() if goal_sign(load_law(name)) == ">="}
    assert up == {"accuracy_sigmoid", "coverage", "coverage_of_loss", "critical_batch", "exact_match", "transfer"}


def test_a_loss_lies_beyond_the_runs_below_their_lowest_and_a_size_above_their_largest():
    runs = {"loss": [2.0, 3.0, 4.0, 5.0], "error": [0.2, 0.3, 0.4, 0.5], "items": [1000.0] * 4}
    study = Study.of(runs, "error_of_loss")
    assert study.decades_beyond(np.array([0.0, 0.2, 2.0, 9.0]), "loss") == pytest.approx([np.inf, 1.0, 0.0, 0.0])
    assert study.decades_beyond(np.array([10.0, 5e3, 1e5]), "items") == pytest.approx([0.0, np.log10(5.0), 2.0])
