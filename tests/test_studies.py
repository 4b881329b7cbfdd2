"""Slow: known parameters are recovered, and the numbers of the literature come out of the real runs."""

import numpy as np
import pytest
from conftest import BESIROGLU, STUDIES, chinchilla_parameters, needs_studies
from scipy import stats

from bayescale.budgets.allocate import allocate
from bayescale.budgets.decide import decide
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.fit import fit
from bayescale.forecasts.forecast import forecast, quantiles
from bayescale.laws.law import law_loss, law_names, load_law
from benchmarks import recovery

pytestmark = pytest.mark.slow


# ---- recovery -------------------------------------------------------------------------------------------------------


def test_known_parameters_are_recovered(crossed_runs):
    """The 90 % bands of what papers print hold the truth about nine times in ten, on data simulated from the law."""
    names = [*BESIROGLU, "a"]
    truth = BESIROGLU | {"a": BESIROGLU["beta"] / (BESIROGLU["alpha"] + BESIROGLU["beta"])}
    held = []
    for seed in range(30):
        posterior = fit(crossed_runs(8, 6, 0.004, seed), "chinchilla", seed=seed)["posterior"]
        bands = {name: posterior[name].quantile([0.05, 0.95]).values for name in names}
        held.append([bands[name][0] <= truth[name] <= bands[name][1] for name in names])
    share = np.mean(held, axis=0)
    # of 30 bands that hold 9 times in 10, fewer than 22 hold once in 140
    assert (share >= stats.binom(30, 0.9).ppf(0.005) / 30).all(), dict(zip(names, share, strict=True))


@pytest.mark.parametrize("name", law_names())
def test_runs_of_every_law_can_be_simulated(name):
    law = load_law(name)
    runs, truth = recovery.simulated(law, 0, 40)
    assert runs.sizes["run"] == 40 and set(truth) == set(law.priors)


def test_heavy_tails_do_not_move_the_law(crossed_runs):
    runs = crossed_runs(8, 6, 0.004)
    loss = runs["loss"].values.copy()
    loss[[3, 17, 40]] *= [1.2, 1.1, 0.9]
    clean, dirty = (fit(r, "chinchilla", seed=1)["posterior"] for r in (runs, runs.assign(loss=("run", loss))))
    for name in ("E", "alpha", "beta"):
        moved = abs(float(dirty[name].median() - clean[name].median()))
        assert moved < float(clean[name].std()), name


def test_both_noises_agree_on_clean_runs(crossed_runs):
    runs = crossed_runs(8, 6, 0.004)
    one, other = (fit(runs, "chinchilla", noise=noise, seed=1)["posterior"] for noise in ("student_t", "normal"))
    assert float(one["E"].median()) == pytest.approx(float(other["E"].median()), abs=0.5 * float(other["E"].std()))


# ---- the literature -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def epoch():
    return fit(STUDIES / "chinchilla-epoch.csv", "chinchilla")


@needs_studies
def test_published_constants_of_chinchilla(epoch):
    """Besiroglu et al. 2024, arXiv:2404.10102: E 1.82, alpha .348, beta .366."""
    medians = {name: float(epoch["posterior"][name].median()) for name in ("E", "alpha", "beta")}
    assert medians["E"] == pytest.approx(1.81, abs=0.03)
    assert medians["alpha"] == pytest.approx(0.345, abs=0.015)
    assert medians["beta"] == pytest.approx(0.361, abs=0.02)
    report = diagnostics(epoch)
    assert report["divergences"] == 0 and report["r_hat_max"] < 1.01 and report["ess_min"] > 1000


@needs_studies
def test_forecast_of_chinchilla_70b(epoch):
    tree = forecast(epoch, 70e9, 1.4e12)
    band = quantiles(tree["predictions"]["law_loss"])
    assert 1.94 <= band["q05"][0] < band["q95"][0] <= 2.00
    wide = quantiles(tree["predictions"]["loss"])
    assert wide["q95"][0] - wide["q05"][0] > band["q95"][0] - band["q05"][0]


@needs_studies
def test_allocation_of_chinchillas_budget(epoch):
    result = allocate(epoch, 5.76e23)
    assert 60e9 < float(result["law_N"].median()) < 85e9 and result["identified"].all()
    low, middle, high = result["N"].quantile([0.05, 0.5, 0.95]).values
    assert low < 60e9 < 85e9 < high and float(decide(epoch, 5.76e23)["N"][0, 0]) == pytest.approx(middle, rel=0.1)
    numeric = allocate(epoch, 5.76e23, closed_form=False)
    np.testing.assert_allclose(numeric["law_N"], result["law_N"], rtol=1e-4)


@needs_studies
def test_posterior_lies_where_the_published_constants_do(epoch):
    runs = epoch["constant_data"].to_dataset().assign(loss=np.exp(epoch["observed_data"]["log_loss"]))
    published = chinchilla_parameters(runs, **BESIROGLU)
    sizes = {"N": 70e9, "D": 1.4e12, **{n: float(runs[n]) for n in ("N_ref", "D_ref", "L_ref")}}
    theirs = law_loss(load_law("chinchilla"), published | sizes)
    ours = float(forecast(epoch, 70e9, 1.4e12)["predictions"]["law_loss"].median())
    assert ours == pytest.approx(theirs, rel=0.01)


@needs_studies
def test_coupling_of_chinchillas_runs():
    posterior = fit(STUDIES / "chinchilla-epoch.csv")["posterior"]
    assert float(posterior["q"].median()) == pytest.approx(0.81, abs=0.04)


@needs_studies
@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.csv")), ids=lambda path: getattr(path, "stem", "none"))
def test_default_fit_of_every_study(path):
    report = diagnostics(fit(path))
    assert report["r_hat_max"] < 1.01 and report["ess_min"] > 400 and report["divergences"] <= 2
    if path.stem == "supercollapse-chess":
        assert report["collinear"] and report["not_identified"]


# ---- allocation on real runs ----------------------------------------------------------------------------------------

# 95 % intervals of 4000 bootstraps, arXiv:2404.10102: N* and D* of two budgets
BOOTSTRAP = {5.76e23: ((51e9, 113e9), (0.85e12, 1.87e12)), 1e26: ((0.61e12, 2.0e12), (8.4e12, 27e12))}
# exponents of N* with 95 % intervals, arXiv:2406.19146
PORIAN = {
    "base-short-kaplan": (0.587, 0.622),
    "base-short-chinchilla": (0.560, 0.588),
    "tuned-short-const": (0.491, 0.505),
}


@needs_studies
@pytest.mark.parametrize("law", ["coupled", "chinchilla"])
def test_splits_of_chinchillas_runs(law):
    tree = fit(STUDIES / "chinchilla-epoch.csv", law)
    result = allocate(tree, list(BOOTSTRAP))
    assert result["identified"].all()
    exact = allocate(tree, list(BOOTSTRAP), discrepancy=False)["a"]  # theirs is that of an exact law too
    assert 0.504 <= float(exact.median()) <= 0.525
    for i, (sizes, lengths) in enumerate(BOOTSTRAP.values()):
        for name, (low, high) in (("law_N", sizes), ("law_D", lengths)):
            q05, q50, q95 = result[name].isel(budget=i).quantile([0.05, 0.5, 0.95]).values
            assert low < q50 < high and q05 > 0.9 * low and q95 < 1.1 * high


@needs_studies
@pytest.mark.parametrize("recipe", PORIAN)
def test_exponents_of_porians_recipes(recipe):
    """Bands overlap with the authors' intervals, which come from isoFLOP curves; docs/allocation.md has the recipe
    (long warm-up) whose frontier bends and for which they do not."""
    a = allocate(fit(STUDIES / f"porian-rw-{recipe}.csv"), 1e19)["a"].quantile([0.05, 0.95]).values
    low, high = PORIAN[recipe]
    assert a[0] < high and a[1] > low


@needs_studies
@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.csv")), ids=lambda path: getattr(path, "stem", "none"))
def test_the_decision_is_never_expected_to_be_worse(path):

    learnt = fit(path, allow_unconverged=True)
    for drift in (False, True):
        result = decide(learnt, 3 * float(learnt["constant_data"]["compute"].max()), discrepancy=drift)
        regret = result["expected_regret"].values[0]
        assert (regret[0] <= regret[np.isfinite(regret)] + 1e-15).all()
