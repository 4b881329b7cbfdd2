"""Densities of priors against scipy; power-scaling against a closed form."""

import re

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import expit, logit, ndtri

import bayescale
from bayescale.errors import FitError
from bayescale.evidence import sensitivity
from bayescale.evidence.sensitivity import (
    log_prior,
    prior_sensitivity,
)
from bayescale.laws.priors import DISTRIBUTIONS, Prior, to_normal

X = np.array([0.05, 0.3, 0.5, 0.8, 0.95])
DENSITIES = {
    "Normal": ({"mu": 0.3, "sigma": 0.4}, stats.norm(0.3, 0.4).logpdf),
    "LogNormal": ({"mu": -0.5, "sigma": 0.6}, stats.lognorm(0.6, scale=np.exp(-0.5)).logpdf),
    "LogitNormal": ({"mu": 0.5, "sigma": 0.8}, lambda x: stats.norm(0.5, 0.8).logpdf(logit(x)) - np.log(x * (1 - x))),
    "HalfNormal": ({"sigma": 0.7}, stats.halfnorm(scale=0.7).logpdf),
    "TruncatedNormal": (
        {"mu": 0.2, "sigma": 0.5, "lower": 0.0, "upper": 1.0},
        stats.truncnorm(-0.4, 1.6, loc=0.2, scale=0.5).logpdf,
    ),
    "Exponential": ({"lam": 3.0}, stats.expon(scale=1 / 3).logpdf),
    "Gamma": ({"alpha": 2.0, "beta": 4.0}, stats.gamma(2, scale=1 / 4).logpdf),
    "Beta": ({"alpha": 2.0, "beta": 3.0}, stats.beta(2, 3).logpdf),
    "Uniform": ({"lower": 0.0, "upper": 2.0}, stats.uniform(0, 2).logpdf),
}


@pytest.mark.parametrize("dist", DISTRIBUTIONS)
def test_log_prior_is_scipys(dist):
    params, density = DENSITIES[dist]
    np.testing.assert_allclose(log_prior(Prior(dist, params), X), density(X), atol=2e-3)


def test_every_prior_is_a_standard_normal_there(rng):
    prior = Prior("Gamma", {"alpha": 2.0, "beta": 4.0})
    z = to_normal(prior, rng.gamma(2, 1 / 4, 20_000), 7.0, 20_001)
    assert stats.kstest(z, "norm").statistic < 0.015


def test_power_scaled_posterior_of_a_normal_mean(rng):
    """Prior N(0, 1), likelihood N(1, .5): with the prior to the power p the mean is 4 / (4 + p)."""
    normal = rng.permutation(ndtri((np.arange(8000) + 0.5) / 8000))
    draws = xr.DataArray((4 / 5 + normal / np.sqrt(5)).reshape(4, 2000), dims=("chain", "draw"))
    density = draws.copy(data=log_prior(Prior("Normal", {"mu": 0.0, "sigma": 1.0}), draws.values))
    for power in (0.5, 2.0):
        weights = sensitivity._powered(density, power)
        assert sensitivity._weighted_median(draws, weights) == pytest.approx(4 / (4 + power), abs=0.02)


@pytest.fixture(scope="module")
def hand_fit(make_fit, crossed_runs):
    """A chinchilla by hand, its lean as wide as its prior or much narrower."""

    def make(width):
        rng = np.random.default_rng(4)
        values = {"level": 1.3, "slope": 0.1, "floor": 0.6, "share": expit(rng.normal(0, 0.05, 1000))}
        return make_fit("chinchilla", values | {"lean": 0.6 + width * rng.standard_normal(1000)}, crossed_runs())

    return make


def test_prior_that_decides_is_named(hand_fit):
    fit = hand_fit(0.5)
    loose = prior_sensitivity(fit, compute=1e22, params=[1e10, 2e10], tokens=[1e11, 1e11])
    tight = prior_sensitivity(hand_fit(0.02), compute=1e22)
    assert list(loose["quantity"]) == [
        "N* at 1e22 FLOP",
        "law loss at the optimum of 1e22 FLOP",
        "law loss at N = 10B, D = 100B",
        "law loss at N = 20B, D = 100B",
    ]
    assert loose["prior"][0] > 0.05 and loose["decided_by"][0] in ("prior", "both")
    assert loose["prior"][0] > 4 * tight["prior"][0] and tight["decided_by"][0] == "runs"
    assert len(list(bayescale.read(loose).warnings)) >= 1 and not list(bayescale.read(tight).warnings)
    said = bayescale.read(loose).warnings[0]
    # the medians under other priors are by importance, which does not always vouch for itself
    known = np.isfinite(loose[["median_half", "median_double"]].iloc[0].to_numpy(float)).all()
    assert "the prior" in said and ("half as strong" in said) == known
    assert not any(re.search(r"\d\.\d+e1\d", text.partition("(")[2]) for text in bayescale.read(loose).warnings), "7B"
    summary = bayescale.read(loose).to_dict()
    assert summary["law"] == "chinchilla" and len(summary["quantities"]) == 4 and summary["warnings"]


def test_within_limits_it_is_the_limits_that_decide(hand_fit):
    fit = hand_fit(0.5)
    free = prior_sensitivity(fit, compute=1e22)
    held = prior_sensitivity(fit, compute=1e22, limits={"tokens": (None, 1e10)})
    assert list(held["quantity"]) == ["law loss at the optimum of 1e22 FLOP"]  # every draw takes all the tokens
    alone = prior_sensitivity(fit, compute=1e22, limits={"menu": [1e9]})
    assert list(alone["quantity"]) == list(held["quantity"])  # one size is best in every draw
    partly = prior_sensitivity(fit, compute=1e22, limits={"params": (free["median"][0] / 2, None)})
    assert partly["quantity"][0] == "N* at 1e22 FLOP"  # below half of the median lie few draws
    assert partly["median"][0] == pytest.approx(free["median"][0], rel=1e-6)
    with pytest.raises(FitError, match="limits: 'loss' is none of"):
        prior_sensitivity(fit, compute=1e22, limits={"loss": 2.0})


def test_law_without_a_split_needs_sizes(make_fit, crossed_runs, tmp_path):
    path = tmp_path / "one.toml"
    path.write_text(
        'title = "t"\ncite = "c"\nformula = "L_ref*level*(N/N_ref)**(-alpha)"\n[priors]\n'
        'level = { dist = "LogNormal", mu = 0.0, sigma = 1.0, about = "level" }\n'
        'alpha = { dist = "LogNormal", mu = -2.0, sigma = 1.0, about = "exponent" }\n'
    )
    fit = make_fit(path, {"level": np.full(400, 1.2), "alpha": 0.1}, crossed_runs())
    with pytest.raises(FitError, match="law 'one' has no split of compute; give sizes"):
        prior_sensitivity(fit)
