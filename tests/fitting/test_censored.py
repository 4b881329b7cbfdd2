"""Runs of which a least loss is known: read, used, kept in a fit, and worth what theory says."""

import json
import warnings

import arviz_stats
import numpy as np
import pytest
from conftest import chinchilla_loss, with_and_without
from scipy import stats

import bayescale as bs
from bayescale.errors import FitError, RunsError
from bayescale.fitting.clusters import clustered_posterior
from bayescale.study import Study

RUNS = 60
COLUMNS = {"censored": "diverged"}
TRUTH = {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.36}


def table_of(seed, noise=0.02, share=0.5):
    """Runs of Chinchilla's law, of which a share stopped as soon as their loss was above a bound of its own."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.5, 9.5, RUNS), 10 ** rng.uniform(9.5, 11.5, RUNS)
    exact = chinchilla_loss(N, D, **TRUTH)
    whole = exact * np.exp(noise * rng.standard_normal(RUNS))
    bound = np.where(rng.uniform(size=RUNS) < share, exact * np.exp(0.5 * noise * rng.standard_normal(RUNS)), np.inf)
    return {"params": N, "tokens": D, "loss": np.minimum(whole, bound), "diverged": whole > bound}


@pytest.fixture(scope="module")
def table():
    return table_of(1)


@pytest.fixture(scope="module")
def fits(table):
    return with_and_without(table, COLUMNS)


def test_they_are_said_and_kept(table, fits, tmp_path):
    path, count = bs.save_fit(fits[0], tmp_path / "fit.nc"), int(table["diverged"].sum())
    study = Study.opened(bs.open_fit(path))
    assert study.known == ("censored",) and '"censored": "diverged"' in study.attrs["read"]
    np.testing.assert_array_equal(study.censored, table["diverged"])
    assert "censored" not in study.covariates(study.runs)  # new runs are seen
    assert f"note: by the column diverged, {count} of {RUNS} runs are censored" in str(bs.show(study.fit))
    assert bs.reproduce(study.fit, table, columns=COLUMNS).attrs["verdict"] == "same_bits"
    other = table | {"diverged": ~table["diverged"]}
    assert "the column 'censored' differs" in str(bs.reproduce(study.fit, other, columns=COLUMNS).attrs["runs_differ"])
    damaged = study.fit.copy()
    damaged["constant_data"]["censored"] = damaged["constant_data"]["censored"] + 1.5
    with pytest.raises(FitError, match="'censored' in its constant_data is something else than 0 and 1"):
        bs.forecast(damaged, 1e9, 1e11)


def test_their_likelihood_is_scipys(table, fits):
    """Of a run that is seen the density, of one that is not the probability above."""
    study, draw = Study.opened(fits[0]), dict.fromkeys(("chain", "draw"), 0)
    at = {name: float(x) for name, x in study.posterior.isel(draw).data_vars.items()}
    mu = np.log(at["E"] + at["A"] / table["params"] ** at["alpha"] + at["B"] / table["tokens"] ** at["beta"])
    scale = 1e-4 + at["sigma"] * np.exp(at["tilt"] * study.covariates()["log_compute"])
    normal, shown = stats.norm(mu, scale), np.log(table["loss"])
    expected = np.where(table["diverged"], normal.logsf(shown), normal.logpdf(shown))
    np.testing.assert_allclose(fits[0]["log_likelihood"]["log_loss"].isel(draw), expected, atol=1e-6)
    left_out = bs.loo(fits[0], mend=False)
    with warnings.catch_warnings(action="ignore"):  # Pareto k
        elpd = arviz_stats.loo(fits[0], pointwise=True)
    np.testing.assert_allclose(left_out["elpd_loo"], elpd.elpd_i, atol=0.1)
    assert (left_out["pit"].values[table["diverged"]] > 0.5).all()


def test_taken_as_seen_they_pull_the_law_down(table, fits):
    """A quarter of the runs end below what they would have shown: by .5 % of the loss, all runs taken together.

    The posterior of `loss`, in which the discrepancy is integrated out, knows them by a way of its own. Bounds are four
    standard errors of the mean of all runs and of the scatter of those that are seen.
    """
    exact = chinchilla_loss(table["params"], table["tokens"], **TRUTH)
    predicted = [bs.forecast(fit, table["params"], table["tokens"])["predictions"] for fit in fits]
    for name in ("law_loss", "loss"):
        known, seen = ((np.log(p[name]).median(("chain", "draw")) - np.log(exact)).values.mean() for p in predicted)
        assert abs(known) < 4 * 0.02 / np.sqrt(RUNS) and 0.0005 < known - seen < 0.012, name
    sigma = [float(fit["posterior"]["sigma"].median()) for fit in fits]
    assert abs(sigma[0] / 0.02 - 1) < 4 / np.sqrt(2 * (~table["diverged"]).sum()) and 1.02 < sigma[0] / sigma[1] < 1.7


def test_clusters_residuals_and_lint_leave_them_out(table, fits):
    study = Study.opened(fits[0])
    assert np.isfinite(clustered_posterior(study)["E"]).all()
    figure = bs.plot_residuals(fits[0])
    assert figure.axes[0].collections[0].get_offsets().shape[0] == int((~table["diverged"]).sum())
    far = table | {"loss": np.where(table["diverged"], 0.3, table["loss"])}
    codes = {note.code for note in bs.check_runs(bs.read_runs(far, columns=COLUMNS))}
    assert "censored" in codes and not codes & {"surprising", "unfinished_runs"}
    told = next(note.text for note in bs.check_runs(bs.read_runs(table)) if note.code == "unfinished_runs")
    assert "--column censored=diverged" in told


def test_no_priors_hang_on_their_losses(table):
    far = table | {"loss": np.where(table["diverged"], 0.3, table["loss"])}
    study = Study.of(far, "chinchilla", columns=COLUMNS)
    assert study.constants["L_ref"] == pytest.approx(table["loss"][~table["diverged"]].min())


def test_no_forecast_of_them_is_scored(table):
    beyond = table["params"] * table["tokens"] > 2e19
    some = {name: values.copy() for name, values in table.items()}
    some["diverged"] = beyond & table["diverged"]
    scored = bs.backtest(some, ["chinchilla"], horizon=0.5, columns=COLUMNS)
    crps = scored["crps"].isel(law=0).values  # at a cut whose fit does not converge nothing is scored
    assert np.isnan(crps[:, some["diverged"]]).all() and np.isfinite(crps[:, ~some["diverged"]]).any()


def test_refusals(table):
    with pytest.raises(RunsError, match=r"row 3: diverged = 'maybe' \(true or false is expected\)"):
        bs.read_runs(table | {"diverged": ["no", "yes", "0", "maybe"] + ["1"] * (RUNS - 4)}, columns=COLUMNS)
    with pytest.raises(RunsError, match="by the column diverged all runs are censored"):
        bs.read_runs(table | {"diverged": [True] * RUNS}, columns=COLUMNS)
    with pytest.raises(FitError, match=r"3 run\(s\) that are not censored; a fit needs at least 4"):
        bs.fit(table | {"diverged": np.arange(RUNS) > 2}, "chinchilla", columns=COLUMNS)
    counts = {"samples": [1.0, 2, 4, 8], "coverage": [0.1, 0.2, 0.3, 0.4], "problems": [90.0] * 4, "bad": [0, 0, 1, 0]}
    with pytest.raises(RunsError, match="unknown role 'censored'"):
        bs.read_runs(counts, bs.load_law("coverage"), columns={"censored": "bad"})


def test_without_any_the_posterior_is_that_of_runs_that_are_seen(table, fits):
    whole = {name: values[~table["diverged"]] for name, values in table.items()}
    given = bs.fit(whole, "chinchilla", noise="normal", quick=True, columns=COLUMNS)
    plain = bs.fit({k: v for k, v in whole.items() if k != "diverged"}, "chinchilla", noise="normal", quick=True)
    np.testing.assert_allclose(given["posterior"]["E"].median(), plain["posterior"]["E"].median(), rtol=1e-6)


@pytest.mark.slow
def test_bands_hold_over_simulated_studies():
    """Of 60 studies of which a quarter of the runs stopped above a bound."""
    held, low = [], []
    for seed in range(60):
        table = table_of(100 + seed)
        fit = bs.fit(table, "chinchilla", noise="normal", quick=True, columns=COLUMNS)["posterior"]
        seen = bs.fit({k: v for k, v in table.items() if k != "diverged"}, "chinchilla", noise="normal", quick=True)
        for name in ("E", "alpha", "beta"):
            q05, q95 = np.quantile(fit[name], [0.05, 0.95])
            held.append(q05 <= TRUTH[name] <= q95)
        at = {name: float(np.median(x)) for name, x in fit.data_vars.items()}
        low.append(float(seen["posterior"]["sigma"].median()) / at["sigma"])
    assert 0.84 <= np.mean(held) <= 0.96
    assert np.mean(low) < 0.93


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["student_t", "normal"])
def test_both_engines_and_numpyros_model_agree(noise, table):
    options = {"law": "chinchilla", "noise": noise, "columns": COLUMNS, "seed": 3}
    one, two = bs.fit(table, **options), bs.fit(table, **options, engine="pymc")
    assert json.loads(two.attrs["diagnostics"])["divergences"] < 20
    for name in ("E", "alpha", "sigma"):
        a, b = (fit["posterior"][name] for fit in (one, two))
        assert abs(float(a.median() - b.median())) < 0.25 * float(a.std()), name
