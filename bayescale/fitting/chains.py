"""Have the chains mixed, and how many independent draws are they worth: r-hat, effective draws, E-BFMI.

The definitions are those of ArviZ, with which tests compare. They are here because its import takes longer than a small
study takes to fit, and because a gate asks all of this of every parameter: ranks are taken once for r-hat and ESS.

References
----------
Vehtari, Gelman, Simpson, Carpenter, Buerkner 2021, doi:10.1214/20-BA1221; Geyer 1992, doi:10.1214/ss/1177011137;
Betancourt 2016, arXiv:1604.00695.
"""

import numpy as np
from scipy.special import ndtri

MIN_DRAWS = 4  # of a chain


def r_hat_and_ess(draws: np.ndarray) -> tuple[float, float]:
    """Rank-normalised split r-hat, of bulk and tails the larger, and effective draws of the bulk.

    Parameters
    ----------
    draws : of one quantity [chain, draw]

    Returns
    -------
    Both are NaN where a draw is NaN or a chain has fewer than 4; r-hat also where all draws are the same or there is
    one chain alone. Where more than half of the draws are infinite r-hat is that of the bulk.
    """
    if draws.shape[1] < MIN_DRAWS or np.isnan(draws).any():
        return np.nan, np.nan
    with np.errstate(all="ignore"):  # draws that are infinite, or all the same
        halves = _halves(draws)
        scores = _normal_scores(halves)
        # chains in different places or, folded, of different widths
        r_hat = np.fmax(_r_hat(scores), _r_hat(_normal_scores(np.abs(halves - np.median(halves)))))
        return float(r_hat) if len(draws) > 1 else np.nan, _effective(scores)


def ess_tail(draws: np.ndarray, probabilities: tuple[float, float]) -> float:
    """Effective draws of the shares below two quantiles, the smaller of the two; NaN as above.

    Parameters
    ----------
    draws : of one quantity [chain, draw]
    probabilities : of the two quantiles, such as (.05, .95), the ends of a 90 % band
    """
    if draws.shape[1] < MIN_DRAWS or np.isnan(draws).any():
        return np.nan
    with np.errstate(all="ignore"):
        return min(_effective(_halves(draws <= end).astype(float)) for end in np.quantile(draws, probabilities))


def e_bfmi(energy: np.ndarray) -> np.ndarray:
    """E-BFMI [chain] of energies [chain, draw]: squared steps between draws over their variance."""
    with np.errstate(all="ignore"):  # energies that are all the same, or not finite
        return np.mean(np.diff(energy, axis=1) ** 2, axis=1) / np.var(energy, axis=1, ddof=1)


def _halves(draws: np.ndarray) -> np.ndarray:
    """Every chain as two, so that one that drifts disagrees with itself."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of the ranks among all draws [chain, draw], by Blom's offsets; ties share a rank."""
    if np.isnan(draws).any():
        return np.full_like(draws, np.nan)
    _, place, counts = np.unique(draws, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return ndtri((ranks - 0.375) / (draws.size + 0.25))[place].reshape(draws.shape)


def _r_hat(draws: np.ndarray) -> float:
    count = draws.shape[1]
    between = count * np.var(draws.mean(axis=1), ddof=1)
    within = np.var(draws, axis=1, ddof=1).mean()
    return np.sqrt((between / within + count - 1) / count)


def _effective(draws: np.ndarray) -> float:
    """How many independent draws would give a mean as well."""
    chains, count = draws.shape
    if np.ptp(draws) == 0:
        return float(draws.size)
    means = draws.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(draws - means, 1 << (2 * count - 1).bit_length())  # padded: nothing wraps around
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
    covariance = np.fft.irfft(power)[:count] / count  # [lag], mean over the chains
    variance = covariance[0] + (np.var(means, ddof=1) if chains > 1 else 0.0)
    correlation = 1.0 - (covariance[0] * count / (count - 1) - covariance) / variance
    correlation[0] = 1.0
    return float(draws.size / max(_correlation_time(correlation), 1 / np.log10(draws.size)))


def _correlation_time(correlation: np.ndarray) -> float:
    """Geyer's estimate from correlations [lag]: sums of neighbours, as long as they are positive, made monotone."""
    last = max(0, -(-(len(correlation) - 4) // 2))
    even, odd = correlation[: 2 * last + 2].reshape(-1, 2).T
    pairs = even + odd
    stop = int(np.argmax(np.append(~(pairs[:last] > 0), True)))
    rest = even[stop] if even[stop] > 0 or pairs[stop] >= 0 else 0.0
    return -1.0 + 2.0 * np.minimum.accumulate(pairs[:stop]).sum() + rest
