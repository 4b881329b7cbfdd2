"""Which regime an exponent points to, at even odds before the runs."""

import json

import numpy as np
import pytest
import xarray as xr

from bayescale.diagnostics import check_convergence, regimes
from bayescale.law import law_derived, load_law, sample_priors


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
    stats = xr.Dataset({"diverging": draws["floor"] > 10, "energy": xr.full_like(draws["floor"], energy)})
    report = check_convergence(draws, stats)
    assert not report["converged"] and "E-BFMI is nan" in report["why"]
    assert json.loads(json.dumps(report, allow_nan=False))["e_bfmi"] is None
