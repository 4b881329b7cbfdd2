"""Which regime an exponent points to, at even odds before the runs; what is said of chains and of summaries."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescale.diagnostics import check_convergence, fit_summary, kernel_density, regimes
from bayescale.law import law_derived, load_law, sample_priors
from bayescale.lawfile import parse_law


def posterior(**values):
    return xr.Dataset({name: (("chain", "draw"), np.reshape(value, (1, -1))) for name, value in values.items()})


@pytest.mark.parametrize("name", ["chinchilla", "floor_tokens", "weight_sparsity"])
def test_without_runs_the_odds_are_even(name, rng):
    law = load_law(name)
    prior = sample_priors(law, 20_000, rng)
    prior |= law_derived(law, prior | dict.fromkeys(law.constants, 2.0))
    found = regimes(law, posterior(**{exponent: prior[exponent] for exponent in law.exponents.values()}))
    assert len(found) == len(law.exponents)
    for odds in found.values():
        # the law's prior is thin where variance-limited exponents lie: the estimate is rough there
        assert odds["variance_limited"] == pytest.approx(0.5, abs=0.12)
        assert odds["variance_limited"] + odds["resolution_limited"] == pytest.approx(1.0)


@pytest.mark.parametrize(("beta", "variance"), [(0.25, 0.0), (1.0, 1.0)])
def test_plain_cases(beta, variance, rng):
    law = load_law("chinchilla")
    spread = np.exp(0.05 * rng.standard_normal(2000))
    found = regimes(law, posterior(alpha=0.3 * spread, beta=beta * spread))
    assert found["data"]["variance_limited"] == pytest.approx(variance, abs=0.05)
    assert found["data"]["exponent"] == pytest.approx(beta, rel=0.02)
    assert set(regimes(law, posterior(alpha=0.3 * spread, beta=spread), ["beta"])) == {"model"}
    assert regimes(load_law("m3"), posterior(c=spread)) == {}


@pytest.mark.parametrize("energy", [0.0, np.nan, np.inf])
def test_energies_that_say_nothing_are_objected_to(energy, rng):
    draws = xr.Dataset({"floor": (("chain", "draw"), rng.standard_normal((4, 500)))})
    sampler = xr.Dataset({"diverging": draws["floor"] > 10, "energy": xr.full_like(draws["floor"], energy)})
    report = check_convergence(draws, sampler)
    assert not report["converged"] and "E-BFMI is nan" in report["why"]
    assert json.loads(json.dumps(report, allow_nan=False))["e_bfmi"] is None


def test_kernel_density_is_scipys(rng):
    sample, at = rng.gamma(3, size=700), np.linspace(-1, 12, 45)
    np.testing.assert_allclose(kernel_density(sample, at), stats.gaussian_kde(sample)(at), rtol=1e-10)


def test_an_exponent_that_its_prior_fixes_gets_no_diagnosis(rng):
    text = (
        "title = 't'\ncite = 'c'\nformula = 'E + a*(N/N_ref)**(-alpha)'\n[exponents]\nN = 'slope'\n"
        "[derived]\nslope = { formula = 'alpha' }\n[priors]\nE = { dist = 'LogNormal', mu = 0, sigma = 1 }\n"
        "a = { dist = 'LogNormal', mu = 0, sigma = 1 }\nalpha = { dist = 'LogNormal', mu = -30, sigma = 1 }\n"
    )
    assert regimes(parse_law(text, "mine"), posterior(slope=np.exp(rng.normal(-30, 1, 500)))) == {}


def test_a_draw_that_is_no_number_is_not_passed_over(true_fit):
    fit = true_fit(draws=100)
    name = str(next(iter(fit["posterior"].data_vars)))
    fit["posterior"][name][0, 3] = np.nan
    row = fit_summary(fit)["parameters"][name]
    assert all(np.isnan(row[key]) for key in ("median", "q05", "q95", "r_hat", "ess_bulk"))
