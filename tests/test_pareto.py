"""Pareto-smoothed importance sampling: ArviZ has the same, and k finds the shape of known tails."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from bayescale.pareto import smoothed_weights


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([25, 30, 101, 226, 500, 4000]),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.sampled_from([0.01, 0.5, 2.0, 10.0]),
    st.sampled_from(["normal", "student", "bounded", "shifted", "with ties"]),
)
def test_the_same_as_arviz(seed, count, r_eff, spread, kind):
    rng = np.random.default_rng(seed)
    made = {
        "normal": rng.standard_normal(count),
        "student": rng.standard_t(3, count),
        "bounded": -rng.exponential(size=count),
        "shifted": 5000 + rng.standard_normal(count),
        "with ties": np.round(4 * rng.standard_normal(count)),
    }
    ratios = spread * made[kind]
    with np.errstate(all="ignore"):
        try:
            expected, k = array_stats.psislw(-ratios, r_eff=r_eff)
        except ValueError:  # all of the tail is the same
            expected, k = ratios - logsumexp(ratios), np.inf
    weights, ours = smoothed_weights(ratios, r_eff)
    assert_allclose(ours, k, rtol=1e-9)
    assert_allclose(np.sort(weights), np.sort(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_shape_of_a_known_tail(shape, rng):
    rows, tail = 50, 600  # the largest 3 sqrt(40 000) are fitted
    ratios = shape * rng.exponential(size=(rows, 40_000))  # exp of them has a Pareto tail of that shape
    weights, k = smoothed_weights(ratios)
    drawn = (tail * shape + 10 * 0.5) / (tail + 10)  # to .5, by the prior
    assert np.mean(k) == pytest.approx(drawn, abs=4 * (1 + shape) / np.sqrt(rows * tail))
    assert_allclose(logsumexp(weights, axis=1), 0.0, atol=1e-9)


def test_smoothed_weights_find_a_mean_better(rng):
    """Of a normal by draws of a narrower one; the mean squared error is of plain weights twice as large and more."""
    x = 0.8 * rng.standard_normal((400, 1000))
    ratios = -(x**2) / 2 + (x / 0.8) ** 2 / 2
    plain = ratios - logsumexp(ratios, axis=1, keepdims=True)
    smoothed, _ = smoothed_weights(ratios)
    error = [np.mean((np.sum(np.exp(w) * x**2, axis=1) - 1) ** 2) for w in (smoothed, plain)]
    assert error[0] < error[1]


@pytest.mark.parametrize("ratios", [np.zeros(1000), np.arange(10.0)])
def test_without_a_tail_nothing_is_vouched_for(ratios):
    weights, k = smoothed_weights(ratios)
    assert k == np.inf
    assert_allclose(weights, ratios - logsumexp(ratios))


def test_rows_are_alone(rng):
    ratios = rng.standard_normal((2, 3, 500))
    weights, k = smoothed_weights(ratios)
    assert weights.shape == ratios.shape and k.shape == (2, 3)
    alone = smoothed_weights(ratios[1, 2])
    assert np.array_equal(weights[1, 2], alone[0]) and k[1, 2] == alone[1]
