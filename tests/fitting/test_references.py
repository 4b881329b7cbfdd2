"""Posteriors as sampled against references that share no code with the package: closed forms, and draws of emcee."""

import csv
from pathlib import Path

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from conftest import LOG_LINEAR, STUDIES, needs_studies
from scipy import stats
from scipy.special import logsumexp
from statsmodels.miscmodels.tmodel import TLinearModel

from bayescale.engine.density import log_posterior, posterior_data
from bayescale.fitting.fit import fit
from bayescale.laws.law import load_law
from bayescale.laws.law_file import parse_law
from bayescale.laws.scatter import Scatter
from bayescale.runs.datasets import load_dataset
from bayescale.study import Study
from benchmarks import independent

ROOT = Path(__file__).resolve().parent.parent.parent
EMCEE, PILE = ROOT / "docs" / "independent.csv", ROOT / "bayescale" / "runs" / "pile.csv"
ERRORS = 5  # Monte Carlo errors of a difference: of a hundred right quantities all lie within, but for once in 10^4


@pytest.fixture
def runs(rng):
    """24 runs of a law whose logarithm is linear, with normal noise."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(2e9, 8e10, 4)))
    log_loss = 0.9 - 0.07 * np.log(N / 1e9) - 0.05 * np.log(D / 1e10) + 0.01 * rng.standard_normal(24)
    return {"params": N, "tokens": D, "loss": np.exp(log_loss)}


def closed_form(runs):
    """Posterior of the linear law as a mixture of normals over a grid of sigma and tilt.

    Weights [point], means [point, parameter] and sds of log level, alpha, beta; and the grid's sigma.
    """
    n, d = (np.log(runs[name]) - np.log(runs[name]).mean() for name in ("params", "tokens"))
    y = np.log(runs["loss"] / runs["loss"].min())
    X, prior_mean, prior = np.stack([np.ones_like(n), -n, -d], axis=1), [0.1, 0.08, 0.06], np.diag([0.3, 0.05, 0.05])
    log_sigma, tilt = (x.ravel() for x in np.meshgrid(np.linspace(-5.6, -3.4, 80), np.linspace(-0.6, 0.6, 49)))
    log_weights = stats.norm(-5, 1).logpdf(log_sigma) + stats.norm(0, 0.2).logpdf(tilt)
    means, sds = np.empty((len(tilt), 3)), np.empty((len(tilt), 3))
    for i, (s, t) in enumerate(zip(log_sigma, tilt, strict=True)):
        variance = (1e-4 + np.exp(s + t * (n + d))) ** 2
        seen = X @ prior**2 @ X.T + np.diag(variance)
        residual = y - X @ prior_mean
        gain = np.linalg.solve(seen, X @ prior**2).T
        log_weights[i] -= 0.5 * (residual @ np.linalg.solve(seen, residual) + np.linalg.slogdet(seen)[1])
        means[i] = prior_mean + gain @ residual
        sds[i] = np.sqrt(np.diag(prior**2 - gain @ X @ prior**2))
    return np.exp(log_weights - logsumexp(log_weights)), means, sds, np.exp(log_sigma)


def test_sampled_posterior_is_the_closed_form(runs):
    """Shares of draws below the 5, 50 and 95 % points are those of the exact posterior; so are means."""
    posterior = fit(runs, parse_law(LOG_LINEAR, "linear"), noise="normal", draws=2000)["posterior"].to_dataset()
    weights, means, sds, sigma = closed_form(runs)
    draws = {"level": np.log(posterior["level"]), "alpha": posterior["alpha"], "beta": posterior["beta"]}
    for i, (name, found) in enumerate(draws.items()):
        assert abs(float(found.mean()) - weights @ means[:, i]) < ERRORS * mcse(found), name
        for probability in (0.05, 0.5, 0.95):
            point = float(found.quantile(probability))
            exact = weights @ stats.norm(means[:, i], sds[:, i]).cdf(point)
            assert abs(exact - probability) < ERRORS * mcse((found <= point).astype(float)), (name, probability)
    assert abs(float(posterior["sigma"].mean()) - weights @ sigma) < ERRORS * mcse(posterior["sigma"])


def mcse(draws: xr.DataArray) -> float:
    return float(arviz_stats.mcse(draws, method="mean"))


def test_exponents_are_those_of_statsmodels_student_t_regression(rng):
    """With many runs the prior hardly counts: mean and sd of the posterior are those of maximum likelihood."""
    N, D = 10 ** rng.uniform(7, 9, 400), 10 ** rng.uniform(9, 11, 400)
    log_loss = np.log(2.0) - 0.07 * np.log(N / 1e8) - 0.05 * np.log(D / 1e10) + 0.004 * rng.standard_t(4, 400)
    runs = {"params": N, "tokens": D, "loss": np.exp(log_loss)}
    ours = fit(runs, parse_law(LOG_LINEAR, "linear"), noise="student_t")["posterior"]
    design = np.column_stack([np.ones(400), -np.log(N), -np.log(D)])
    start = np.r_[np.linalg.lstsq(design, log_loss)[0], 5.0, 0.004]  # coefficients, degrees of freedom, scale
    theirs = TLinearModel(log_loss, design).fit(start_params=start, maxiter=2000, disp=False)
    assert theirs.mle_retvals["converged"]
    for i, name in enumerate(("alpha", "beta"), start=1):
        assert float(ours[name].mean()) == pytest.approx(theirs.params[i], abs=0.3 * theirs.bse[i]), name
        assert float(ours[name].std()) == pytest.approx(theirs.bse[i], rel=0.2), name
    assert float(ours["sigma"].median()) == pytest.approx(theirs.params[4], rel=0.1)


@pytest.mark.parametrize("study", ["pile", pytest.param("chinchilla-epoch", marks=needs_studies)])
@pytest.mark.parametrize("law", ["chinchilla", "kaplan", "coupled"])
def test_sampled_posterior_is_emcees(study, law):
    """Means of parameters and derived constants against those that benchmarks/independent.py had from emcee."""
    with open(EMCEE, encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if (row["study"], row["law"]) == (study, law)]
    runs = load_dataset("pile") if study == "pile" else STUDIES / f"{study}.csv"
    posterior = fit(runs, law)["posterior"].to_dataset()
    means = [row for row in rows if row["statistic"] == "mean"]
    assert len(means) >= 12
    for row in means:
        name = row["quantity"].removeprefix("log ")
        found = posterior[name] if name == row["quantity"] else np.log(posterior[name])
        error = np.hypot(mcse(found), float(row["error"]))  # theirs is at most the error of that difference
        assert abs(float(found.mean()) - float(row["emcee"])) < ERRORS * error, row["quantity"]


@pytest.mark.parametrize("law", ["chinchilla", "kaplan", "coupled"])
def test_density_that_emcee_moves_on_is_ours(law, rng, caller):
    """The one written by hand in benchmarks/independent.py, up to a constant."""
    study = Study.bound(load_law(law), Scatter.of(load_law(law), "student_t"), load_dataset("pile"))
    call = caller(log_posterior(study.law, "student_t", study.known), posterior_data(study))
    by_hand, _, count = independent.by_hand(PILE, law)
    positions = 0.5 * rng.standard_normal((20, count))
    mean, sd = np.transpose([independent.PRIORS.get(name, (np.log(10), 1)) for name in independent.NAMES[law]])
    differences = by_hand(positions) - [call(one)[1] for one in mean + sd * positions]
    np.testing.assert_allclose(differences, differences[0], rtol=1e-12, atol=1e-8)
