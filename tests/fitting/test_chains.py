"""r-hat, effective draws and E-BFMI: ArviZ has the same, and a closed form has nearly the same."""

import logging

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from bayescale.fitting.chains import e_bfmi, ess_tail, r_hat_and_ess

ENDS = (0.05, 0.95)


def chains(rng, shape, persistence):
    """Autoregressive draws [chain, draw] of unit variance, from the start on."""
    steps = rng.standard_normal(shape) * np.sqrt(1 - persistence**2)
    steps[..., 0] /= np.sqrt(1 - persistence**2)
    return lfilter([1.0], [1.0, -persistence], steps)


def shapes(draws):
    """What chains may look like when all is not well."""
    apart = draws + np.arange(len(draws))[:, None]
    return {
        "as they are": draws,
        "apart": apart,
        "heavy-tailed": np.exp(3 * draws),
        "with ties": np.round(draws),
        "of two values": np.sign(draws),
        "one chain stuck": np.where(np.arange(len(draws))[:, None] == 0, draws[:, :1], draws),
        "constant": np.full_like(draws, 3.0),
        "with a NaN": np.where(np.arange(draws.shape[1]) == 1, np.nan, draws),
        "infinite": np.where(np.arange(draws.shape[1]) == 1, np.inf, draws),
        "mostly infinite": np.where(draws > -0.5, np.inf, draws),
    }


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([3, 4, 5, 6, 7, 8, 9, 10, 13, 50, 101, 400]),
    st.sampled_from([-0.95, -0.3, 0.0, 0.5, 0.99]),
    st.sampled_from(list(shapes(np.zeros((1, 2))))),
)
def test_the_same_as_arviz(seed, count, draws, persistence, kind):
    x = shapes(chains(np.random.default_rng(seed), (count, draws), persistence))[kind]
    logging.disable(logging.WARNING)  # of too few chains or draws, and of NaN
    try:
        with np.errstate(all="ignore"):
            expected = [array_stats.rhat(x), array_stats.ess(x, method="bulk")]
            expected += [array_stats.ess(x, method="tail", prob=ENDS)]
    finally:
        logging.disable(logging.NOTSET)
    assert_allclose([*r_hat_and_ess(x), ess_tail(x, ENDS)], expected, rtol=1e-10)


def test_energy_as_arviz(rng):
    energy = np.cumsum(rng.standard_normal((4, 500)), axis=1)
    assert_allclose(e_bfmi(energy), array_stats.bfmi(energy), rtol=1e-12)


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9])
def test_effective_draws_of_a_known_process(persistence, rng):
    """The mean of n autoregressive draws is worth n (1 - rho) / (1 + rho) independent ones."""
    found = [r_hat_and_ess(chains(rng, (4, 4000), persistence)) for _ in range(30)]
    r_hat, ess = np.array(found).T
    assert np.mean(ess) == pytest.approx(16_000 * (1 - persistence) / (1 + persistence), rel=0.05)
    assert np.all(r_hat < 1.02)


def test_chains_of_different_widths_are_seen(rng):
    x = rng.standard_normal((4, 1000)) * np.array([1.0, 1.0, 1.0, 3.0])[:, None]
    assert r_hat_and_ess(x)[0] > 1.05
