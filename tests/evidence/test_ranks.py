"""Bands for ranks: exact against counting all outcomes, like ArviZ's simulated ones, and blind to nothing coarse."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bayescale.evidence.ranks import rank_counts, simultaneous_band, uniformity


def pointwise(ranks, most):
    """The smallest two-sided tail of the number of ranks at most i, written with SciPy's binomial."""
    size, at = len(ranks), np.arange(1, most + 1) / (most + 1)
    counts = np.array([(np.asarray(ranks) <= i).sum() for i in range(most)])
    return 2 * np.minimum(stats.binom.cdf(counts, size, at), stats.binom.sf(counts - 1, size, at)).min()


@pytest.mark.parametrize(("simulations", "most"), [(1, 1), (3, 4), (4, 3), (6, 2), (5, 3)])
def test_exact_against_all_outcomes(simulations, most):
    outcomes = list(itertools.product(range(most + 1), repeat=simulations))
    tails = np.array([pointwise(ranks, most) for ranks in outcomes])
    for ranks, tail in zip(
        outcomes[:: max(1, len(outcomes) // 40)], tails[:: max(1, len(outcomes) // 40)], strict=True
    ):
        assert uniformity(np.array(ranks), most) == pytest.approx((tails <= tail * (1 + 1e-9)).mean(), abs=1e-9)


@pytest.mark.parametrize("level", [0.05, 0.3])
def test_band_keeps_its_level(level):
    """Of all outcomes, at most this share leaves the band, and those are the ones whose p-value is small."""
    simulations, most = 6, 3
    low, high = simultaneous_band(simulations, most, level)
    outside = total = 0
    for ranks in itertools.combinations_with_replacement(range(most + 1), simulations):  # their order does not matter
        orders = math.factorial(simulations) // math.prod(math.factorial(ranks.count(rank)) for rank in set(ranks))
        counts = rank_counts(np.array(ranks), most)
        left = bool(((counts < low) | (counts > high)).any())
        assert left == (uniformity(np.array(ranks), most) <= level)
        outside, total = outside + left * orders, total + orders
    assert total == (most + 1) ** simulations and 0 < outside / total <= level


@pytest.mark.slow
def test_like_the_bands_that_arviz_simulates(rng):
    from arviz_stats.ecdf_utils import ecdf_pit

    at, _, low, high = ecdf_pit(rng.uniform(size=250), 0.95, 4000)
    least, largest = (np.interp(at, np.arange(1, 250) / 250, edge / 250) for edge in simultaneous_band(250, 249, 0.05))
    middle = slice(5, -5)
    assert np.abs(least - low)[middle].max() < 0.012 and np.abs(largest - high)[middle].max() < 0.012


def test_uniform_ranks_stay_and_wrong_ones_leave(rng):
    p = np.array([uniformity(rng.integers(0, 51, 60), 50) for _ in range(60)])
    assert stats.kstest(p, "uniform").pvalue > 1e-4
    u = (np.arange(300) + 0.5) / 300
    for wrong in (u**1.5, 1 - u**1.5, stats.beta(0.5, 0.5).ppf(u), stats.beta(2, 2).ppf(u)):
        assert uniformity((101 * wrong).astype(int), 100) < 1e-4
    assert uniformity(np.full(300, 50), 100) < 1e-12
    assert np.isnan(uniformity(np.array([], dtype=int), 100))
