"""Are ranks uniform? Exact simultaneous bands for their empirical distribution, after Sailynoja, Burkner, Vehtari 2022.

``simulations`` ranks, each of 0 ... ``most``, all alike likely: how many are at most i is binomial at every i, and from
one i to the next it is a Markov chain, so that the probability that the whole path stays within bounds is a sum and not
an estimate (Statistics and Computing 32:32, doi:10.1007/s11222-022-10090-6; their algorithm 2). Nothing is
simulated, so that levels far below 1 % are as exact as any: many quantities share one level by Bonferroni.
"""

import functools

import numpy as np
from scipy.special import bdtr, bdtrc, gammaln

LEVEL_HALVINGS = 22  # of the interval that holds the level of the pointwise bands


def rank_counts(ranks: np.ndarray, most: int) -> np.ndarray:
    """How many ranks are at most 0, 1, ... most - 1 (all are at most ``most``)."""
    return np.cumsum(np.bincount(np.asarray(ranks, dtype=int), minlength=most + 1))[:-1]


def uniformity(ranks: np.ndarray, most: int) -> float:
    """p-value of the simultaneous band: how often ranks that are uniform come as near to a band's edge, or nearer.

    The ranks are outside the simultaneous band of probability 1 - p exactly when this is p or less.

    Parameters
    ----------
    ranks : whole numbers of 0 ... ``most``
    """
    ranks = np.asarray(ranks)
    if ranks.size == 0:
        return float("nan")
    counts, at = rank_counts(ranks, most), _points(most)
    below, above = bdtr(counts, ranks.size, at), _at_least(counts, ranks.size, at)
    pointwise = 2 * float(min(below.min(), above.min()))
    return min(1.0, _crossing(ranks.size, most, pointwise))


@functools.lru_cache(maxsize=64)
def simultaneous_band(simulations: int, most: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest counts [most] of ranks at most i that uniform ranks keep to with probability 1 - level."""
    low, high = level / (4 * most), level  # Bonferroni over all points is too wide, a single point's level too narrow
    for _ in range(LEVEL_HALVINGS):
        middle = np.sqrt(low * high)
        if _crossing(simulations, most, middle) <= level:
            low = middle
        else:
            high = middle
    return _bounds(simulations, most, low)


def _points(most: int) -> np.ndarray:
    return np.arange(1, most + 1) / (most + 1)


def _at_least(counts: np.ndarray, size: int, at: np.ndarray) -> np.ndarray:
    """P(binomial >= counts)."""
    return np.where(counts > 0, bdtrc(np.maximum(counts, 1) - 1, size, at), 1.0)


@functools.lru_cache(maxsize=256)
def _bounds(simulations: int, most: int, pointwise: float) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest counts whose two tails, each taken twice, are above ``pointwise``, at every i."""
    counts, at = np.arange(simulations + 1), _points(most)[:, None]
    lower = 2 * bdtr(counts, simulations, at) > pointwise * (1 + 1e-12)
    upper = 2 * _at_least(counts, simulations, at) > pointwise * (1 + 1e-12)
    return lower.argmax(axis=1), simulations - upper[:, ::-1].argmax(axis=1)


def _crossing(simulations: int, most: int, pointwise: float) -> float:
    """Probability that uniform ranks leave these bounds at one i or more."""
    lows, highs = _bounds(simulations, most, pointwise)
    if (lows > highs).any():
        return 1.0
    before, chance = np.array([0]), np.ones(1)
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        here = np.arange(low, high + 1)
        more, left = here - before[:, None], (simulations - before)[:, None]
        share = 1 / (most + 1 - i)  # of the ranks above i - 1, those that are i
        inside = np.where(more >= 0, more, 0)
        log_step = gammaln(left + 1) - gammaln(inside + 1) - gammaln(np.maximum(left - inside, 0) + 1)
        log_step = log_step + inside * np.log(share) + (left - inside) * np.log1p(-share)
        chance = chance @ np.where((more >= 0) & (more <= left), np.exp(log_step), 0.0)
        before = here
    return float(np.clip(1.0 - chance.sum(), 0.0, 1.0))
