"""What draws are worth, where arviz-stats alone would raise or return what looks like an answer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from bayescale.fitting.draws import e_bfmi, ess_bulk, ess_tail, r_hat, smoothed_weights

ENDS = (0.05, 0.95)


def test_quantities_are_told_apart(rng):
    """In one call: independent draws, autoregressive ones worth (1 - .9) / (1 + .9) of them, chains of other widths."""
    steps = rng.standard_normal((4, 4000))
    slow = np.zeros_like(steps)
    for i in range(1, steps.shape[1]):
        slow[:, i] = 0.9 * slow[:, i - 1] + steps[:, i]
    wide = steps * np.array([1.0, 1.0, 1.0, 3.0])[:, None]
    draws = np.stack([steps, slow, wide])
    assert_allclose(ess_bulk(draws)[:2], [16_000, 16_000 * 0.1 / 1.9], rtol=0.25)
    assert np.all(r_hat(draws)[:2] < 1.03) and r_hat(draws)[2] > 1.05
    assert ess_tail(draws, ENDS)[0] > 10_000 > 4000 > ess_tail(draws, ENDS)[1]


@pytest.mark.parametrize("bad", [np.full((4, 100), np.nan), np.zeros((4, 3))])
def test_draws_that_tell_nothing_are_nan(bad):
    assert np.isnan([r_hat(bad), ess_bulk(bad), ess_tail(bad, ENDS)]).all()
    one = np.where(np.arange(100) == 1, np.nan, np.random.default_rng(0).standard_normal((4, 100)))
    assert np.isnan([r_hat(one), ess_bulk(one), ess_tail(one, ENDS)]).all()


def test_constant_chains_have_no_r_hat_and_constant_energy_no_e_bfmi():
    assert np.isnan(r_hat(np.full((4, 100), 3.0)))
    assert np.isnan(e_bfmi(np.full((4, 100), 3.0))).all()


@pytest.mark.parametrize("ratios", [np.zeros(1000), np.arange(10.0), np.append(np.zeros(999), 800.0)])
def test_without_a_tail_nothing_is_vouched_for(ratios):
    weights, k = smoothed_weights(ratios)
    assert k == np.inf
    assert_allclose(weights, ratios - logsumexp(ratios))


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_ratios_that_are_no_numbers_are_not_vouched_for(value):
    assert smoothed_weights(np.full(1000, value))[1] == np.inf
    assert smoothed_weights(np.append(np.zeros(999), value))[1] == np.inf


def test_ratios_far_apart_are_said_and_do_no_harm(rng):
    """As in a first round of a quick answer: most draws without weight, the others over hundreds of nats."""
    ratios = np.full(16_000, -700.0)
    ratios[:400] = rng.uniform(-650, 0, 400)
    weights, k = smoothed_weights(ratios)
    assert k > 10 and np.isfinite(weights).all()


def test_the_shape_of_a_known_tail_is_found_row_by_row(rng):
    ratios = np.array([0.2, 0.5, 0.9])[:, None] * rng.exponential(size=(3, 40_000))  # exp has a Pareto tail so shaped
    weights, k = smoothed_weights(ratios)
    assert_allclose(k, [0.2, 0.5, 0.9], atol=0.25)
    assert_allclose(logsumexp(weights, axis=1), 0.0, atol=1e-9)
    alone = smoothed_weights(ratios[1])
    assert np.array_equal(weights[1], alone[0]) and k[1] == alone[1]


def test_no_weight_is_no_number_however_extreme_the_ratios(rng):
    for spread in (1e-300, 1e-8, 1.0, 30.0, 1e3, 1e300):
        for kind in (rng.standard_normal(500), rng.standard_t(1, 500), -rng.exponential(size=500)):
            weights, k = smoothed_weights(spread * kind)
            assert not np.isnan(weights).any() and not np.isnan(k)
