import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from conftest import BESIROGLU, chinchilla_loss, chinchilla_parameters

import bayescale
from bayescale.budgets import decide as decide_module
from bayescale.budgets import exchange
from bayescale.budgets.decide import (
    decide,
    flat_region,
)
from bayescale.budgets.exchange import EXCHANGE_SD
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import law_surface, problem_of
from bayescale.budgets.surface import loss_at
from bayescale.display.plots_decision import plot_regret
from bayescale.display.show import show
from bayescale.errors import FitError
from bayescale.forecasts.discrepancy import cells_of, shipped_prior
from bayescale.forecasts.discrepancy_posterior import Discrepancy
from bayescale.study import Study

BUDGETS = [1e21, 1e23]
pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def learnt(true_fit):
    return true_fit(draws=600, spread=0.03)


@pytest.fixture(scope="module")
def decided(learnt, drift_once):
    return decide(learnt, BUDGETS, candidates=[1e9, 1e11], discrepancy=False)


@pytest.fixture(scope="module")
def drifting(learnt, drift_once):
    return decide(learnt, 1e23)


def expected(fit, N, budget):
    """exp(mean log loss) over the posterior at sizes N [candidate], directly."""
    surface = law_surface(Study.opened(fit))
    return np.exp(np.log(loss_at(surface, N[None, :], budget / (6 * N[None, :]))).mean(axis=0))


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
    problem = problem_of(Study.opened(learnt))
    least = best_split(problem, np.array([BUDGETS])).loss
    for i, budget in enumerate(BUDGETS):
        N = decided["N"].values[i][None, :]
        theirs = np.log(loss_at(problem.surface, N, budget / (6 * N)) / least[:, [i]])
        ours = decided["regret"].isel(budget=i).values.reshape(len(theirs), -1)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_compute_regret_is_what_less_compute_would_have_reached(learnt, decided):
    """At (1 - waste) C the best split has the loss of the choice."""
    problem = problem_of(Study.opened(learnt))
    for choice in (2, 3, 4):
        N = decided["N"].values[0, choice]
        waste = decided["compute_regret"].isel(budget=0, choice=choice).values.reshape(-1, 1)
        loss = loss_at(problem.surface, np.full((1, 1), N), BUDGETS[0] / (6 * N))
        again = best_split(problem, BUDGETS[0] * (1 - waste)).loss
        np.testing.assert_allclose(again, loss, rtol=1e-4)
    assert decided["compute_regret"].values.min() >= 0 and decided["compute_regret"].values.max() < 1


@pytest.mark.parametrize("tolerance", [0.001, 0.01])
def test_flat_region_by_direct_evaluation(tolerance, learnt):
    result = decide(learnt, BUDGETS, tolerance=tolerance, discrepancy=False)
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
    problem = problem_of(Study.opened(learnt))
    best = best_split(problem, np.array([BUDGETS])).N
    for i in range(2):
        for j, N in enumerate(decided["N"].values[i]):
            share = np.mean((best[:, i] < 2 * N) & (best[:, i] > N / 2))
            assert decided["p_near"].values[i, j] == pytest.approx(share, abs=1e-9)


def test_an_error_of_the_exchange_widens_regret_and_does_not_pull_away_from_the_runs(true_fit, drifting):
    certain = decide(true_fit(draws=600, spread=0.003), 1e23, discrepancy=False)
    assert float(drifting["expected_regret"][0, 0]) > 3 * float(certain["expected_regret"][0, 0])
    # these runs follow the law: they say no more than their scatter of an optimum elsewhere, less than the error itself
    moved = np.log(float(drifting["N"][0, 0] / certain["N"][0, 0]))
    assert abs(moved) < 1.65 * float(drifting["exchange"].isel(budget=0).std())
    assert "the law is taken to be exactly right" in " ".join(bayescale.read(certain).warnings)
    assert "exactly right" not in " ".join(bayescale.read(drifting).warnings)


def test_regret_of_a_symmetric_law_by_closed_form(make_fit, crossed_runs):
    """With alpha = beta and u = v at the optimum, E = 0: L = L* cosh(alpha (log N - log N* - x)); x normal."""
    alpha, runs = 0.3, crossed_runs()
    scatter = runs["loss"] / chinchilla_loss(runs["params"], runs["tokens"], **BESIROGLU)
    law = {"E": 0.0, "A": 400.0, "B": 400.0, "alpha": alpha, "beta": alpha}
    runs = runs.assign(loss=chinchilla_loss(runs["params"], runs["tokens"], **law) * scatter)
    parameters = chinchilla_parameters(runs, **law) | {"floor": np.full(4000, 1e-9)}
    result = decide(make_fit("chinchilla", parameters, runs), 1e22)
    x = result["exchange"].values.ravel()
    middle = np.sqrt(1e22 / 6)  # N* = D*
    grid = np.linspace(-1, 1, 2001)
    criterion = [np.log(np.cosh(alpha * (step - x))).mean() for step in grid]
    assert np.log(float(result["N"][0, 0]) / middle) == pytest.approx(grid[np.argmin(criterion)], abs=2e-3)
    assert float(result["expected_regret"][0, 0]) == pytest.approx(min(criterion), rel=1e-3)
    assert x.std() > EXCHANGE_SD


@pytest.mark.parametrize("error", [0.0, 0.3, -0.4])
def test_the_centre_of_the_exchange_is_how_far_the_drift_moves_the_least(error, true_fit, monkeypatch):
    """Where the runs say law(N e^-x, D e^x) it is x, though half of the draws have their best split elsewhere."""
    study = Study.opened(true_fit(draws=200, spread=0.1))
    problem = problem_of(study)

    def moved(_, points):
        N, D = (points[name].values[None, :] for name in ("params", "tokens"))
        return np.log(loss_at(problem.surface, N * np.exp(-error), D * np.exp(error))).mean(axis=0)

    monkeypatch.setattr(exchange, "expected_log_loss", moved)
    monkeypatch.setattr(exchange, "open_contrasts", lambda *_: np.diag([0.0, 0.01**2]))
    nothing, pairs = Discrepancy(study, shipped_prior(), cells_of(study), ()), np.array([1e21, 1e22])
    found = exchange.exchange_at(nothing, problem, pairs)
    np.testing.assert_allclose(found.centre, error, atol=1e-6)  # by whole steps of its grid: the parabola is the same
    # the slope of the open drift, .01 over two e-folds, over the curvature of the mean curve moves the minimum
    N = np.median(best_split(problem, 6 * pairs[None, 1:]).N) * np.exp([-1.0, 0.0, 1.0])
    left, middle, right = moved(None, {"params": xr.DataArray(N), "tokens": xr.DataArray(pairs[1] / N)})
    np.testing.assert_allclose(found.sd, np.hypot(EXCHANGE_SD, [0.0, 0.005 / (left - 2 * middle + right)]), rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_no_listed_choice_is_better_whatever_the_limits_costs_and_menus(true_fit, seed):
    """The chosen split is the least in the criterion that chose it, and what is allowed has numbers."""
    learnt = true_fit(draws=100)
    rng = np.random.default_rng(seed)
    budget = 10 ** rng.uniform(21, 24)
    N = np.sqrt(budget / 120)
    near = np.exp(rng.uniform(-1.5, 1.5, 8))
    limits = [{}, {"tokens": (None, 20 * N * near[0])}, {"params": (None, N * near[1])}]
    limits += [{"ratio": (None, 20 * near[2])}, {"tokens": (20 * N * near[3] / 5, None)}, {"menu": N * near[3:7]}]
    limits += [{"params": (None, N / 2), "tokens": (None, N)}, {"tokens": 20 * N * near[7]}]
    costs = [{}, {"cost": "6*N*D/speed", "given": {"speed": "0.7..1.4"}}, {"cost": "6*N*D + 2*N*1e9"}]
    for i, limit in enumerate(limits):  # over the three seeds every limit meets every cost
        result = decide(learnt, budget, seed=seed, candidates=N * near[:2], **limit, **costs[(i + seed) % 3])
        loss, allowed = result["expected_loss"].values[0], result["allowed"].values[0]
        assert loss[0] <= np.nanmin(loss[1:], initial=np.inf) and loss[0] <= np.nanmin(result["curve_loss"]) + 1e-12
        for name in ("D", "expected_loss", "expected_regret", "p_near", "left_over"):
            assert np.isfinite(result[name].values[0, allowed]).all(), name
        assert allowed[0] and np.isfinite(result["regret"].values[..., allowed]).all()
        most = np.ravel(limit.get("tokens", (None, None)))[-1]
        assert most is None or (result["D"].values[0, allowed] <= most * (1 + 1e-9)).all()


def test_money_that_cannot_be_spent_is_left_over(learnt):
    """With an uncertain cost the size is near that of the certain one, on the tokens there are; little is wasted."""
    given = {"cost": "6*N*D/mfu", "tokens": (None, 2e11), "discrepancy": False}
    certain = decide(learnt, 1e23, given={"mfu": np.sqrt(0.35 * 0.5)}, **given)
    unsure = decide(learnt, 1e23, given={"mfu": "0.35..0.5"}, **given)
    assert float(certain["D"][0, 0]) == pytest.approx(2e11)
    assert float(certain["N"][0, 0]) == pytest.approx(np.sqrt(0.35 * 0.5) * 1e23 / (6 * 2e11)), "all of the budget"
    assert certain["flat_low"].values[0] < certain["N"].values[0, 0] and not certain["flat_open"].values[0]
    assert float(unsure["D"][0, 0]) == pytest.approx(2e11, rel=0.1)
    assert float(unsure["N"][0, 0]) == pytest.approx(float(certain["N"][0, 0]), rel=0.15)
    assert float(unsure["compute_regret"].isel(choice=0).median()) < 0.03
    rich = decide(learnt, 1e24, params=(None, 1e9), tokens=(None, 1e10))
    assert float(rich["left_over"][0, 0]) == pytest.approx(1 - 6e19 / 1e24)
    assert "It leaves 100 % of the budget over." in bayescale.read(rich).says[0]
    assert float(rich["compute_regret"].max()) == 0


def test_seeds_change_little(true_fit):
    many = true_fit(spread=0.02)
    money = {"cost": "6*N*D/mfu", "given": {"mfu": "0.35..0.5"}}
    for options in ({}, {"tokens": (None, 1e12), **money}):
        regrets = [float(decide(many, 1e23, seed=seed, **options)["expected_regret"][0, 0]) for seed in range(5)]
        assert max(regrets) < 1.1 * min(regrets)


def test_the_error_of_an_expected_regret_is_what_other_draws_say(make_fit, crossed_runs):
    """Fits of 300 draws each, with a limit of the tokens that few draws reach: their scatter is the error told."""
    rng, runs, told = np.random.default_rng(5), crossed_runs(), []
    for _ in range(24):
        constants = {name: value * np.exp(0.03 * rng.normal(size=300)) for name, value in BESIROGLU.items()}
        fit = make_fit("chinchilla", chinchilla_parameters(runs, **constants), runs)
        found = decide(fit, 1e23, tokens=(None, 4e11), discrepancy=False)
        told.append((float(found["expected_regret"][0, 0]), float(found["expected_regret_error"][0, 0])))
    scatter, error = np.std([mean for mean, _ in told], ddof=1), np.mean([each for _, each in told])
    assert 0.5 < scatter / error < 2
    assert "(Monte Carlo error 0.0" in bayescale.read(found).says[0]
    many = np.random.default_rng(6).normal(size=4000)
    alone, copied = (decide_module._mean_error(values) for values in (many, np.repeat(many[:1000], 4)))
    assert alone == pytest.approx(1 / np.sqrt(4000), rel=0.5) and copied == pytest.approx(1 / np.sqrt(1000), rel=0.5)


def test_a_mean_over_draws_hardly_depends_on_which_draw_has_which_error_of_exchange(true_fit):
    study = Study.opened(true_fit(spread=0.05))
    problem = problem_of(study)
    best = np.log(best_split(problem, np.full((1, 1), 1e22)).N[:, 0])
    paired = np.array([exchange.paired_places(study, problem, seed) for seed in range(40)])
    shuffled = np.array([exchange.normal_places(len(best), seed) for seed in range(40)])
    assert np.array_equal(np.sort(paired), np.sort(shuffled))
    assert abs(np.corrcoef(paired) - np.eye(40)).max() < 0.15
    beyond = [np.maximum(best - best.mean() + best.std() * (places - 1), 0) ** 2 for places in (paired, shuffled)]
    spread = [each.mean(axis=1).std() for each in beyond]
    assert spread[0] < 0.6 * spread[1]


def test_the_most_expensive_of_all_draws_does_not_choose_the_size(learnt):
    """Of a cost with a heavy tail the end of its 90 % band must be affordable; more draws or seeds change nothing."""
    options = {"cost": "6*N*D + 2*N*T", "given": {"T": "1T..50T"}}
    results = [decide(learnt, 1e23, seed=seed, **options) for seed in range(3)]
    sizes = [float(result["N"][0, 0]) for result in results]
    assert max(sizes) < 1.1 * min(sizes) and np.median(sizes) == pytest.approx(1e23 / (2 * 50e12), rel=0.1)
    assert all(0 < float(result["unaffordable"][0, 0]) <= 0.05 for result in results)
    assert all(np.isfinite(result["regret"].isel(choice=0)).all() for result in results)
    assert "% of the draws of the cost it is out of reach" in bayescale.read(results[0]).says[0]


def test_every_member_of_a_menu_is_shown(learnt):
    result = decide(learnt, 1e22, menu=[1e9, 1e10, 1e11, 1e13], tokens=(1e10, None))
    table = bayescale.read(result).frame.set_index("choice")
    assert {f"N = {size}" for size in ("1B", "10B", "100B", "10T")} <= set(table.index)
    assert not table.loc["N = 10T", "allowed"] and table.loc["N = 10B", "allowed"]
    assert "not allowed" in str(show(result)) and "nan" not in str(show(result))
    choices = json.loads(json.dumps(bayescale.read(result).to_dict(), allow_nan=False))["choices"]
    assert [row["tokens"] for row in choices if row["choice"] == "N = 10T"] == [None]


def test_what_is_not_identified_has_no_table_no_advice_and_no_figure(true_fit):
    result = decide(true_fit(draws=400, collinear=True), 1e22)
    assert not result["identified"].any() and "N and D move together" in result["why_not"].values[0]
    (said,) = bayescale.read(result).says
    assert not len(bayescale.read(result).frame) and "train " not in said
    assert said.startswith("1e22: the best split is not known: N and D move together") and "would tell" in said
    summary = bayescale.read(result).to_dict()
    assert (
        summary["choices"] == []
        and summary["statement"] == [said]
        and "not identified" in " ".join(summary["warnings"])
    )
    with pytest.raises(FitError, match="is not identified"):
        plot_regret(result)


def test_seeds(learnt, drifting):
    assert decide(learnt, 1e23).identical(drifting)


def test_limits_menu_and_costs(learnt):
    held = decide(learnt, 1e23, ratio=(100, None), discrepancy=False)
    ratios = held["D"].values / held["N"].values
    assert np.nanmin(ratios) >= 100 * (1 - 1e-6) and np.isnan(held["N"].values[0, 2]), (
        "20 tokens a parameter is forbidden"
    )
    assert held["flat_open"].values[0] and "held by your limit" in " ".join(bayescale.read(held).warnings)
    menu = decide(learnt, 1e23, menu=[1e9, 1e10, 1e11], discrepancy=False)
    assert set(menu["N"].values.ravel()) <= {1e9, 1e10, 1e11}
    dear = decide(learnt, 1e7, cost="6*N*D/mfu/1e15", given={"mfu": "0.3..0.5"})
    assert np.isfinite(dear["expected_regret"].values).all()


def test_what_holds_the_split_is_said_of_the_law_that_the_choice_is_made_by(learnt, monkeypatch):
    """A law that errs in the exchange of parameters and tokens may reach a limit that the law alone does not."""
    free = decide(learnt, 1e23, discrepancy=False)
    limit = (None, 8 * float(free["N"][0, 0]))
    assert decide(learnt, 1e23, params=limit, discrepancy=False)["held"].values[0] == ""
    draws = learnt["posterior"].sizes["chain"] * learnt["posterior"].sizes["draw"]
    far = np.full((draws, 1), 4.0)

    def erring(study, problem, *_):
        return replace(problem, surface=replace(problem.surface, exchange=far))

    monkeypatch.setattr(decide_module, "erring", erring)
    assert decide(learnt, 1e23, params=limit)["held"].values[0].startswith("params <= ")


def test_table_statement_summary(decided):
    table = bayescale.read(decided).frame
    assert (
        list(table["choice"])
        == ["least expected loss", "median of N*", "20 tokens per parameter", "N = 1B", "N = 100B"] * 2
    )
    np.testing.assert_allclose(6 * table.params * table.tokens, table.compute)
    (first, second) = list(bayescale.read(decided).says)
    assert first.startswith("1e21: train ") and "costs less than 0.1 % of the loss more" in first and "1e23" in second
    summary = json.loads(json.dumps(bayescale.read(decided).to_dict(), allow_nan=False))
    assert len(summary["choices"]) == 10 and summary["choices"][0]["choice"] == "least expected loss"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0}, "tolerance = 0: a share of the loss above 0"),
        ({"factor": 1.0}, "factor = 1: a number above 1"),
        ({"candidates": [-1]}, "candidates must be sizes N above 0"),
        ({"menu": []}, "the menu is empty"),
        ({"params": (1e12, 1e9)}, "the least is above the most"),
    ],
)
def test_requests_of_no_use(options, message, learnt):
    with pytest.raises(FitError, match=message):
        decide(learnt, 1e22, **options)


def test_the_only_size_within_the_tolerance_is_the_chosen_one(learnt):
    """A tolerance so small that no other size of the curve keeps it: the flat region is the choice itself."""
    result = decide(learnt, 1e21, tolerance=1e-12)
    low, high = float(result["flat_low"][0]), float(result["flat_high"][0])
    assert low == pytest.approx(float(result["N"][0, 0]), rel=1e-3) and high == pytest.approx(low, rel=1e-3)
