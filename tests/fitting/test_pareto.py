"""Pareto-smoothed importance sampling: ArviZ has the same, and k finds the shape of known tails."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from bayescale.fitting.pareto import smoothed_weights


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([20, 24, 25, 30, 101, 224, 225, 226, 230, 500, 4000]),
    st.sampled_from([1e-4, 0.05, 0.053, 0.06, 0.3, 0.9, 1.0]),
    st.sampled_from([0.01, 0.5, 2.0, 10.0, 30.0]),
    st.sampled_from(["normal", "student", "bounded", "shifted", "with ties", "one above all", "some at -inf"]),
)
def test_the_same_as_arviz(seed, count, r_eff, spread, kind):
    rng = np.random.default_rng(seed)
    made = {
        "normal": rng.standard_normal(count),
        "student": rng.standard_t(3, count),
        "bounded": -rng.exponential(size=count),
        "shifted": 5000 + rng.standard_normal(count),
        "with ties": np.round(4 * rng.standard_normal(count)),
        "one above all": np.append(rng.standard_normal(count - 1), 800.0),
        "some at -inf": np.where(rng.random(count) < 0.1, -np.inf, rng.standard_normal(count)),
    }
    ratios = spread * made[kind]
    with np.errstate(all="ignore"):
        try:
            expected, k = array_stats.psislw(-ratios, r_eff=r_eff)
        except ValueError:  # fewer than 25 draws, or all of the tail the same
            expected, k = None, np.nan
    weights, ours = smoothed_weights(ratios, r_eff)
    assert_allclose(ours, np.nan_to_num(k, nan=np.inf), rtol=1e-9)
    if np.isinf(ours):
        expected = ratios - logsumexp(ratios)
    assert_allclose(weights, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_shape_of_a_known_tail(shape, rng):
    rows, tail = 50, 600  # the largest 3 sqrt(40 000) are fitted
    ratios = shape * rng.exponential(size=(rows, 40_000))  # exp of them has a Pareto tail of that shape
    weights, k = smoothed_weights(ratios)
    drawn = (tail * shape + 10 * 0.5) / (tail + 10)  # to .5, by the prior
    assert np.mean(k) == pytest.approx(drawn, abs=4 * (1 + shape) / np.sqrt(rows * tail))
    assert_allclose(logsumexp(weights, axis=1), 0.0, atol=1e-9)


def test_smoothed_weights_find_a_mean_better(rng):
    """Of a normal by draws of a narrower one, whose weights have a tail of shape .36."""
    x = 0.8 * rng.standard_normal((1000, 1000))
    ratios = -(x**2) / 2 + (x / 0.8) ** 2 / 2
    plain = ratios - logsumexp(ratios, axis=1, keepdims=True)
    smoothed, _ = smoothed_weights(ratios)
    error = [np.mean((np.sum(np.exp(w) * x**2, axis=1) - 1) ** 2) for w in (smoothed, plain)]
    assert error[0] < error[1]


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


def test_rows_are_alone(rng):
    ratios = rng.standard_normal((2, 3, 500))
    weights, k = smoothed_weights(ratios)
    assert weights.shape == ratios.shape and k.shape == (2, 3)
    alone = smoothed_weights(ratios[1, 2])
    assert np.array_equal(weights[1, 2], alone[0]) and k[1, 2] == alone[1]


def test_no_weight_is_no_number_however_extreme_the_ratios(rng):
    for spread in (1e-300, 1e-8, 1.0, 30.0, 1e3, 1e300):
        for kind in (rng.standard_normal(500), rng.standard_t(1, 500), -rng.exponential(size=500)):
            weights, k = smoothed_weights(spread * kind)
            assert not np.isnan(weights).any() and not np.isnan(k)
