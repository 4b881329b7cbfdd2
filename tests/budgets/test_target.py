import json

import numpy as np
import pytest
from conftest import BESIROGLU, chinchilla_parameters

import bayescale
from bayescale.budgets import chance
from bayescale.budgets.allocate import allocate
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import problem_of
from bayescale.budgets.target import least_compute
from bayescale.errors import FitError
from bayescale.forecasts.forecast import forecast, probability_to_reach
from bayescale.study import Study


@pytest.fixture(scope="module")
def learnt(true_fit):
    return true_fit(draws=400)


@pytest.fixture(scope="module")
def recipe(make_fit, crossed_runs):
    """Fits around Besiroglu's constants with some of them changed."""

    def make(scatter=0.0, **changed):
        runs, rng = crossed_runs(), np.random.default_rng(5)
        constants = {name: value * np.exp(scatter * rng.standard_normal(400)) for name, value in BESIROGLU.items()}
        constants |= {name: constants[name] * factor for name, factor in changed.items()}
        return make_fit("chinchilla", chinchilla_parameters(runs, **constants), runs)

    return make


def test_inverse_of_an_allocation(learnt):
    there = allocate(learnt, [1e22])
    goal = float(there["law_loss"].median())
    result = least_compute(learnt, goal)
    draws = there["law_loss"].values.ravel()
    budgets = result["compute"].values.ravel()
    # draws whose frontier lies above the goal need more than 1e22, those below less
    assert ((budgets > 1e22) == (draws > goal)).all()
    back = best_split(problem_of(Study.opened(learnt)), budgets[:, None]).loss
    np.testing.assert_allclose(back, goal, rtol=1e-9)
    np.testing.assert_allclose(6 * result["N"] * result["D"] / result["compute"], 1, rtol=1e-9)


def test_closed_form_of_the_inverse(make_fit, crossed_runs):
    """L*(C) = E + (A G^-alpha + B G^beta) (C/6)^-gamma, gamma = alpha beta/(alpha + beta)."""
    runs = crossed_runs()
    fit = make_fit("chinchilla", chinchilla_parameters(runs, **{k: np.full(4, v) for k, v in BESIROGLU.items()}), runs)
    E, A, B, a, b = (BESIROGLU[name] for name in ("E", "A", "B", "alpha", "beta"))
    G = (a * A / (b * B)) ** (1 / (a + b))
    gamma = a * b / (a + b)
    losses = np.array([2.6, 2.0, 1.83])
    C = 6 * ((losses - E) / (A * G**-a + B * G**b)) ** (-1 / gamma)
    result = least_compute(fit, losses)
    np.testing.assert_allclose(result["compute"].values[0, 0], C, rtol=1e-6)


def test_a_loss_below_the_floor_is_said_to_be_out_of_reach(learnt):
    result = least_compute(learnt, [2.0, 1.5])
    assert list(result["identified"].values) == [True, False] and result["p_reached"].values[1] == 0
    assert np.isinf(result["compute"].values[..., 1]).all()
    assert "100 % of the draws do not reach it" in " ".join(bayescale.read(result).warnings)
    summary = bayescale.read(result).to_dict()
    assert summary["targets"][0]["compute"]["q05"] < summary["targets"][0]["compute"]["q95"]
    table = bayescale.read(result).frame
    assert (table.compute_q05 < table.compute_q95).iloc[0] and np.isinf(table.compute_q50.iloc[1])


def test_limits_make_a_loss_dearer(learnt):
    free, bound = least_compute(learnt, 2.1), least_compute(learnt, 2.1, ratio=(200, None))
    assert (bound["compute"] > free["compute"]).all()
    np.testing.assert_allclose(bound["tokens_per_param"].values, 200, rtol=1e-6)


def test_gain_of_a_recipe_that_sees_data_twice(recipe):
    """A law whose D counts twice needs half of the tokens: with B -> B 2^-beta the gain is 2 at every budget."""
    base, better = recipe(0.01), recipe(0.01, B=2 ** -BESIROGLU["beta"])
    better["posterior"]["beta"] = base["posterior"]["beta"]
    result = compute_gain(better, base, [1e21, 1e23])
    np.testing.assert_allclose(result["gain"].median(("chain", "draw")), 2.0, rtol=0.02)
    assert (result["p_better"].values == 1).all()
    other = compute_gain(base, better, [1e21])
    np.testing.assert_allclose(other["gain"].median(), 0.5, rtol=0.02)
    assert other["p_better"].values[0] == 0
    same = compute_gain(base, base, [1e21])
    np.testing.assert_allclose(same["gain"], 1.0, rtol=1e-5)


def test_gain_where_the_other_never_gets_there(recipe):
    result = compute_gain(recipe(E=0.9), recipe(), 1e24)
    assert np.isinf(result["gain"].values).all() and result["p_better"].values[0] == 1
    summary = bayescale.read(result).to_dict()
    assert summary["budgets"][0]["p_better"] == 1.0 and isinstance(list(bayescale.read(result).warnings), list)
    assert list(bayescale.read(result).frame.columns[:2]) == ["compute", "gain_q05"]


def test_summaries_are_json(recipe, learnt):
    from bayescale.display.terminal import plain

    for summary in (
        bayescale.read(least_compute(learnt, [2.0, 1.5])).to_dict(),
        bayescale.read(compute_gain(learnt, learnt, 1e22)).to_dict(),
    ):
        json.dumps(plain(summary), allow_nan=False)


# ---- with the probability that was asked, and through a chain -------------------------------------------------------


@pytest.mark.usefixtures("drift_once")
def test_the_budget_for_a_chance_has_that_chance_by_forecast(true_fit):
    learnt = true_fit(draws=4000)
    result = least_compute(learnt, [2.4, 2.2], chance=0.8)
    for i, target in enumerate((2.4, 2.2)):
        budget = float(result["compute_at_chance"][i])
        split = best_split(problem_of(Study.opened(learnt)), np.full((1, 1), budget))
        N = float(np.median(split.N))
        tree = forecast(learnt, N, budget / (6 * N))
        assert probability_to_reach(tree, target)[0] == pytest.approx(0.8, abs=0.04)
    assert result["chance_most"].values == pytest.approx(1.0, abs=0.05)
    never = least_compute(learnt, 1.9, chance=0.999)
    assert np.isinf(never["compute_at_chance"]).all() and never["chance_most"][0] < 0.999
    assert "none (P up to" in str(bayescale.show(never))


def test_where_a_finer_look_finds_no_step_the_coarse_one_counts(learnt, monkeypatch):
    """Monte Carlo noise may leave every finer probability below what the coarse grid found."""
    looks = iter([np.linspace(0.0, 1.0, 200), np.full(13, 0.05)])
    sizes = []

    def reached(tree, target):
        sizes.append(tree)
        return next(looks)[: len(tree)].copy()

    monkeypatch.setattr(chance, "_forecast", lambda *given: given[4])
    monkeypatch.setattr(chance, "probability_to_reach", reached)
    found = float(least_compute(learnt, 2.2, chance=0.1)["compute_at_chance"][0])
    assert sizes[1][-2] < found <= sizes[1][-1]


@pytest.mark.usefixtures("drift_once")
def test_through_a_chain_it_is_the_closed_form_of_both_laws(make_fit, crossed_runs, coverage_fit):
    """exp(-2 exp(3 (L - 2.5)) k**-.3) = p at L = 2.5 + log(-log(p) k**.3 / 2) / 3, and L*(C) as above."""
    runs = crossed_runs()
    loss_fit = make_fit(
        "chinchilla", chinchilla_parameters(runs, **{k: np.full(8, v) for k, v in BESIROGLU.items()}), runs
    )
    coverage, samples = np.array([0.3, 0.6]), 10.0
    losses = 2.5 + np.log(-np.log(coverage) * samples**0.3 / 2) / 3
    direct = least_compute(loss_fit, losses)
    found = least_compute(coverage_fit, coverage, through={"loss": loss_fit}, given={"samples": samples})
    for name in ("compute", "N", "D"):
        np.testing.assert_allclose(found[name].median(("chain", "draw")), direct[name][0, 0], rtol=2e-3)
    assert found.attrs["law"] == "chinchilla, coverage_of_loss" and (found["p_reached"] == 1).all()
    assert any("law and its noise only" in text for text in bayescale.read(found).warnings)


def test_gain_of_fits_of_other_quantities(learnt, coverage_fit):
    """That one gives a coverage is said before an input of its law is asked for, which would not help."""
    with pytest.raises(FitError, match="one fit gives loss, the other coverage: nothing to compare"):
        compute_gain(learnt, coverage_fit, 1e21)


def test_what_is_no_chain(learnt, coverage_fit):
    for share in (60, -0.1):  # a percentage is no share
        with pytest.raises(FitError, match=f"coverage = {share}: coverage is a share from 0 to 1; write 60 % as 0.6"):
            least_compute(coverage_fit, share, given={"samples": 10})
    with pytest.raises(FitError, match="'pretrain' is not an input of a law of the chain"):
        least_compute(coverage_fit, 0.5, through={"loss": learnt, "pretrain": learnt}, given={"samples": 10})
    with pytest.raises(FitError, match="'loss' is given a forecast of coverage"):
        least_compute(coverage_fit, 0.5, through={"loss": coverage_fit}, given={"samples": 10})
    with pytest.raises(FitError, match="items is given: a target of law 'coverage_of_loss' is the expected coverage"):
        least_compute(coverage_fit, 0.5, through={"loss": learnt}, given={"samples": 10, "items": 20})
    with pytest.raises(FitError, match=r"needs \['samples'\] besides loss"):
        least_compute(coverage_fit, 0.5, through={"loss": learnt})
    with pytest.raises(FitError, match=r"chance = 1\.5: a number between 0 and 1 is expected"):
        least_compute(learnt, 2.2, chance=1.5)


@pytest.mark.parametrize("loss", [0, -1, np.nan, np.inf])
def test_targets_of_no_use(loss, learnt):
    with pytest.raises(FitError, match=r"loss = .*: a loss above 0 is expected"):
        least_compute(learnt, loss)


def test_fits_of_unlike_draws(learnt, true_fit):
    with pytest.raises(FitError, match="400 and 200 draws"):
        compute_gain(learnt, true_fit(draws=200), 1e22)
