"""Which regime an exponent points to, at even odds before the runs; what is said of chains and of summaries."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescale.fitting import diagnostics as diagnostics_module
from bayescale.fitting.diagnostics import (
    R_HAT_MAX,
    check_convergence,
    ess_limit,
    fit_summary,
    kernel_density,
    r_hat_limit,
    regimes,
)
from bayescale.fitting.draws import r_hat
from bayescale.laws.law import law_derived, load_law, sample_priors
from bayescale.laws.law_file import parse_law


def posterior(**values):
    return xr.Dataset({name: (("chain", "draw"), np.reshape(value, (1, -1))) for name, value in values.items()})


@pytest.mark.parametrize("name", ["chinchilla", "floor_tokens", "weight_sparsity"])
def test_without_runs_the_odds_are_even(name, rng):
    law = load_law(name)
    prior = sample_priors(law, 20_000, rng)
    constants = dict.fromkeys(law.constants, 1e9)
    prior |= law_derived(law, prior | constants)
    found = regimes(law, posterior(**{exponent: prior[exponent] for exponent in law.exponents.values()}), constants)
    assert len(found) == len(law.exponents)
    for odds in found.values():
        # the law's prior is thin where variance-limited exponents lie: the estimate is rough there
        assert odds["variance_limited"] == pytest.approx(0.5, abs=0.12)
        assert odds["variance_limited"] + odds["resolution_limited"] == pytest.approx(1.0)


@pytest.mark.parametrize(("beta", "variance"), [(0.25, 0.0), (1.0, 1.0)])
def test_plain_cases(beta, variance, rng):
    law = load_law("chinchilla")
    constants, spread = dict.fromkeys(law.constants, 1e9), np.exp(0.05 * rng.standard_normal(2000))
    found = regimes(law, posterior(alpha=0.3 * spread, beta=beta * spread), constants)
    assert found["data"]["variance_limited"] == pytest.approx(variance, abs=0.05)
    assert found["data"]["exponent"] == pytest.approx(beta, rel=0.02)
    assert set(regimes(law, posterior(alpha=0.3 * spread, beta=spread), constants, ["beta"])) == {"model"}
    other = load_law("m3")
    assert regimes(other, posterior(c=spread), dict.fromkeys(other.constants, 1e9)) == {}


@pytest.mark.parametrize("energy", [0.0, np.nan, np.inf])
def test_energies_that_say_nothing_are_objected_to(energy, rng):
    draws = xr.Dataset({"floor": (("chain", "draw"), rng.standard_normal((4, 500)))})
    sampler = xr.Dataset({"diverging": draws["floor"] > 10, "energy": xr.full_like(draws["floor"], energy)})
    report = check_convergence(draws, sampler)
    assert not report["converged"] and "E-BFMI is nan" in report["why"]
    assert json.loads(json.dumps(report, allow_nan=False))["e_bfmi"] is None


# ---- the gate at the number of draws at hand ------------------------------------------------------------------------

SHAPES = [(4, 101), (2, 210), (4, 150), (4, 200), (4, 250)]


@pytest.mark.parametrize("shape", [(4, 101), (2, 210), (8, 60), (4, 250)])
def test_chance_takes_r_hat_past_its_limit_as_often_as_it_says(shape, rng, monkeypatch):
    """At a probability that can be counted: of independent draws one in ten at most (bulk and tails share it)."""
    monkeypatch.setattr(diagnostics_module, "CHANCE_MAX", 0.1)
    monkeypatch.setattr(diagnostics_module, "R_HAT_MAX", 0.0)
    limit = r_hat_limit(*shape)
    past = (r_hat(rng.standard_t(2, (300, *shape))) > limit).sum()
    assert 0.02 * 300 < past < stats.binom(300, 0.1).isf(1e-5)


def test_limits_are_those_of_plenty_where_draws_are():
    assert r_hat_limit(4, 1000, 12) == R_HAT_MAX == 1.01 and ess_limit(4000) == 400
    assert 1.035 < r_hat_limit(4, 101, 12) < 1.045 and 80 < ess_limit(404) < 100
    found = [(r_hat_limit(4, draws, 12), -ess_limit(4 * draws)) for draws in range(10, 2000, 10)]
    assert found == sorted(found, reverse=True)
    assert r_hat_limit(4, 3) == np.inf and 0 < ess_limit(1) < 1


def gate(draws):
    """Whether draws [quantity, chain, draw] pass."""
    quantities = xr.Dataset({str(i): (("chain", "draw"), values) for i, values in enumerate(draws)})
    stats_of = xr.Dataset({"diverging": xr.zeros_like(quantities["0"], dtype=bool)})
    return check_convergence(quantities, stats_of)["converged"]


@pytest.mark.parametrize("shape", SHAPES)
def test_perfect_draws_pass(shape, rng):
    """Of 12 quantities, with light and heavy tails: more than two of 10 fits failing has a probability below 1e-6."""
    kinds = [rng.standard_normal, lambda shape: rng.standard_t(1, shape), lambda shape: rng.gamma(0.1, size=shape)]
    failed = sum(not gate(kinds[i % 3]((12, *shape))) for i in range(10))
    assert failed <= 2


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_perfect_draws_fail_once_in_a_thousand_times(shape, rng):
    failed = sum(not gate(rng.standard_normal((12, *shape))) for _ in range(2000))
    assert failed <= stats.binom(2000, 0.001).isf(1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_bad_chains_fail(shape, rng):
    """One of 12 quantities has a chain that is stuck, apart, or of another width; or all are slow."""
    good = rng.standard_normal((12, *shape))
    one = np.arange(shape[0])[:, None] == 0
    bad = {
        "stuck": np.where(one, good[0, 0, 0], good[0]),
        "apart": good[0] + 2 * one,
        "narrow": good[0] * (1 - 0.9 * one),
    }
    bad["slow"] = np.cumsum(good[0], axis=1)
    bad["constant"] = np.full_like(good[0], 3.0)
    bad["no number"] = np.where(np.arange(shape[1]) == 1, np.nan, good[0])
    for i, (name, values) in enumerate(bad.items()):
        place = 11 * ((i + SHAPES.index(shape)) % 2)  # the first and the last, each with every fault in some shape
        assert not gate(np.insert(good[1:], place, values, axis=0)), (name, place)


def test_infinite_draws_pass_where_they_are_mixed(rng):
    """A derived quantity that overflows in some draws is ranked like any other."""
    good = rng.standard_normal((2, 4, 1000))
    assert gate(np.where(good > 2, np.inf, good))
    stuck = np.where(np.arange(4)[:, None] == 0, np.inf, good)
    assert not gate(stuck)


def test_too_few_draws_fail(rng):
    assert not gate(rng.standard_normal((3, 4, 3)))


def test_kernel_density_is_scipys(rng):
    sample, at = rng.gamma(3, size=700), np.linspace(-1, 12, 45)
    np.testing.assert_allclose(kernel_density(sample, at), stats.gaussian_kde(sample)(at), rtol=1e-10)


def test_an_exponent_that_its_prior_fixes_gets_no_diagnosis(rng):
    text = (
        "title = 't'\ncite = 'c'\nformula = 'E + a*(N/N_ref)**(-alpha)'\n[exponents]\nN = 'slope'\n"
        "[derived]\nslope = { formula = 'alpha' }\n[priors]\nE = { dist = 'LogNormal', mu = 0, sigma = 1 }\n"
        "a = { dist = 'LogNormal', mu = 0, sigma = 1 }\nalpha = { dist = 'LogNormal', mu = -30, sigma = 1 }\n"
    )
    draws = posterior(slope=np.exp(rng.normal(-30, 1, 500)))
    assert regimes(parse_law(text, "mine"), draws, {"L_ref": 2.0, "N_ref": 1e9}) == {}


def test_a_draw_that_is_no_number_is_not_passed_over(true_fit):
    fit = true_fit(draws=100)
    name = str(next(iter(fit["posterior"].data_vars)))
    fit["posterior"][name][0, 3] = np.nan
    row = fit_summary(fit)["parameters"][name]
    assert all(np.isnan(row[key]) for key in ("median", "q05", "q95", "r_hat", "ess_bulk"))
