import json

import numpy as np
import pytest

from bayescale.decide import (
    decide,
    decision_statement,
    decision_summary,
    decision_table,
    decision_warnings,
    flat_region,
)
from bayescale.fit import FitError, law_of
from bayescale.optimum import best_split
from bayescale.problem import problem_of, problem_values
from bayescale.surface import loss_at, loss_surface

BUDGETS = [1e21, 1e23]
pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def learnt(true_fit):
    return true_fit(draws=600, spread=0.03)


@pytest.fixture(scope="module")
def decided(learnt, drift_once):
    return decide(learnt, BUDGETS, candidates=[1e9, 1e11], drift=False)


@pytest.fixture(scope="module")
def drifting(learnt, drift_once):
    return decide(learnt, 1e23)


def expected(fit, N, budget):
    """Mean loss over the posterior at sizes N [candidate], directly."""
    surface = loss_surface(law_of(fit), problem_values(fit, law_of(fit), {}))
    return loss_at(surface, N[None, :], budget / (6 * N[None, :])).mean(axis=0)


def test_least_expected_loss_by_brute_force(learnt, decided):
    for i, budget in enumerate(BUDGETS):
        N = np.geomspace(1e8, 1e12, 4001)
        curve = expected(learnt, N, budget)
        assert np.log(decided["N"].values[i, 0] / N[curve.argmin()]) == pytest.approx(0, abs=0.02)
        assert decided["expected_loss"].values[i, 0] <= curve.min() * (1 + 1e-8)


def test_no_other_choice_is_expected_to_be_better(decided, drifting):
    for result in (decided, drifting):
        regret = result["expected_regret"].values
        assert (regret[:, :1] <= regret + 1e-15).all() and (result["regret"].values >= 0).all()


def test_regret_is_the_excess_over_each_draws_best(learnt, decided):
    problem, _ = problem_of(learnt)
    least = best_split(problem, np.array([BUDGETS])).loss
    for i, budget in enumerate(BUDGETS):
        N = decided["N"].values[i][None, :]
        theirs = loss_at(problem.surface, N, budget / (6 * N)) - least[:, [i]]
        ours = decided["regret"].isel(budget=i).values.reshape(len(theirs), -1)
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_compute_regret_is_what_less_compute_would_have_reached(learnt, decided):
    """At (1 - waste) C the best split has the loss of the choice."""
    problem, _ = problem_of(learnt)
    for choice in (2, 3, 4):
        N = decided["N"].values[0, choice]
        waste = decided["compute_regret"].isel(budget=0, choice=choice).values.reshape(-1, 1)
        loss = loss_at(problem.surface, np.full((1, 1), N), BUDGETS[0] / (6 * N))
        again = best_split(problem, BUDGETS[0] * (1 - waste)).loss
        np.testing.assert_allclose(again, loss, rtol=1e-4)
    assert decided["compute_regret"].values.min() >= 0 and decided["compute_regret"].values.max() < 1


@pytest.mark.parametrize("tolerance", [0.001, 0.01])
def test_flat_region_by_direct_evaluation(tolerance, learnt):
    result = decide(learnt, BUDGETS, tolerance=tolerance, drift=False)
    for i, budget in enumerate(BUDGETS):
        ends = np.array([result["flat_low"].values[i], result["flat_high"].values[i]])
        least = result["expected_loss"].values[i, 0]
        np.testing.assert_allclose(expected(learnt, ends, budget) / least - 1, tolerance, rtol=0.05)
        inside = np.geomspace(*ends, 50)[1:-1]
        assert (expected(learnt, inside, budget) / least - 1 < tolerance).all()
        assert not result["flat_open"].values[i]


def test_flat_region_of_a_curve_by_hand():
    N = np.array([1.0, 10.0, 100.0, 1000.0])
    low, high, is_open = flat_region(N, np.array([4.0, 2.0, 2.0, 10.0]), 0.25)  # roots of the excess: 2, 0, 0, 4
    assert (low, high) == pytest.approx((10**0.5, 10**2.25)) and not is_open
    assert flat_region(N, np.array([3.0, 2.0, 2.0, 2.1]), 0.25)[1:] == (1000.0, True)
    assert flat_region(N, np.array([3.0, 2.0, 2.0, 4.0]), 0.25, items=True) == (10.0, 100.0, False)


def test_probability_of_being_near(learnt, decided):
    problem, _ = problem_of(learnt)
    best = best_split(problem, np.array([BUDGETS])).N
    for i in range(2):
        for j, N in enumerate(decided["N"].values[i]):
            share = np.mean((best[:, i] < 2 * N) & (best[:, i] > N / 2))
            assert decided["p_near"].values[i, j] == pytest.approx(share, abs=1e-9)


def test_drift_widens_regret_and_does_not_pull_away_from_the_runs(true_fit, drifting):
    certain = decide(true_fit(draws=600, spread=0.003), 1e23, drift=False)
    assert float(drifting["expected_regret"][0, 0]) > 3 * float(certain["expected_regret"][0, 0])
    # these runs follow the law: nothing in them says that the optimum lies elsewhere
    assert abs(np.log(float(drifting["N"][0, 0] / certain["N"][0, 0]))) < np.log(2)
    assert "the law is taken to be exactly right" in " ".join(decision_warnings(certain))
    assert "exactly right" not in " ".join(decision_warnings(drifting))


def test_seeds(learnt, drifting):
    assert decide(learnt, 1e23).identical(drifting)


def test_limits_menu_and_costs(learnt):
    held = decide(learnt, 1e23, ratio=(100, None), drift=False)
    ratios = held["D"].values / held["N"].values
    assert np.nanmin(ratios) >= 100 * (1 - 1e-6) and np.isnan(held["N"].values[0, 2]), (
        "20 tokens a parameter is forbidden"
    )
    assert held["flat_open"].values[0] and "not identified: held by a limit" in " ".join(decision_warnings(held))
    menu = decide(learnt, 1e23, menu=[1e9, 1e10, 1e11], drift=False)
    assert set(menu["N"].values.ravel()) <= {1e9, 1e10, 1e11}
    dear = decide(learnt, 1e7, cost="6*N*D/mfu/1e15", given={"mfu": "0.3..0.5"})
    assert np.isfinite(dear["expected_regret"].values).all()


def test_table_statement_summary(decided):
    table = decision_table(decided)
    assert (
        list(table["choice"])
        == ["least expected loss", "median of N*", "20 tokens per parameter", "N = 1e+09", "N = 1e+11"] * 2
    )
    np.testing.assert_allclose(6 * table.params * table.tokens, table.compute)
    (first, second) = decision_statement(decided)
    assert first.startswith("1e+21: train ") and "costs less than 0.1 % of the loss" in first and "1e+23" in second
    summary = json.loads(json.dumps(decision_summary(decided), allow_nan=False))
    assert len(summary["choices"]) == 10 and summary["choices"][0]["choice"] == "least expected loss"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0}, "tolerance = 0: a share of the loss above 0"),
        ({"factor": 1.0}, "factor = 1.0: a number above 1"),
        ({"candidates": [-1]}, "candidates must be sizes N above 0"),
        ({"menu": []}, "the menu is empty"),
        ({"params": (1e12, 1e9)}, "the least is above the most"),
    ],
)
def test_requests_of_no_use(options, message, learnt):
    with pytest.raises(FitError, match=message):
        decide(learnt, 1e22, **options)
