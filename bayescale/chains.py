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


def r_hat_and_ess(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank-normalised split r-hat, of bulk and tails the larger, and effective draws of the bulk.

    Parameters
    ----------
    draws : [quantity, chain, draw]

    Returns
    -------
    Two arrays [quantity]. Both are NaN where draws are NaN or fewer than 4 a chain; r-hat also where all draws are the
    same or there is one chain alone.
    """
    if draws.shape[2] < MIN_DRAWS:
        return np.full(len(draws), np.nan), np.full(len(draws), np.nan)
    with np.errstate(all="ignore"):  # draws that are infinite, or all the same
        halves = _halves(draws)
        scores = np.array([_normal_scores(one) for one in halves])
        # chains in different places or, folded, of different widths
        folded = np.abs(halves - np.median(halves, axis=(1, 2), keepdims=True))
        r_hat = np.fmax(_r_hat(scores), _r_hat(np.array([_normal_scores(one) for one in folded])))
        ess = _effective(scores)
    unknown = np.isnan(draws).any(axis=(1, 2))
    return np.where(unknown | (draws.shape[1] < 2), np.nan, r_hat), np.where(unknown, np.nan, ess)


def ess_tail(draws: np.ndarray, probabilities: tuple[float, float]) -> np.ndarray:
    """Effective draws of the shares below two quantiles, the smaller of the two [quantity]; NaN as above.

    Parameters
    ----------
    draws : [quantity, chain, draw]
    probabilities : of the two quantiles, such as (.05, .95), the ends of a 90 % band
    """
    if draws.shape[2] < MIN_DRAWS:
        return np.full(len(draws), np.nan)
    with np.errstate(all="ignore"):
        ends = np.quantile(draws, probabilities, axis=(1, 2), keepdims=True)
        found = [_effective(_halves(draws <= end).astype(float)) for end in ends]
    return np.where(np.isnan(draws).any(axis=(1, 2)), np.nan, np.minimum(*found))


def e_bfmi(energy: np.ndarray) -> np.ndarray:
    """E-BFMI [chain] of energies [chain, draw]: squared steps between draws over their variance."""
    with np.errstate(all="ignore"):  # energies that are all the same, or not finite
        return np.mean(np.diff(energy, axis=1) ** 2, axis=1) / np.var(energy, axis=1, ddof=1)


def _halves(draws: np.ndarray) -> np.ndarray:
    """Every chain as two, so that one that drifts disagrees with itself."""
    half = draws.shape[2] // 2
    return np.concatenate([draws[..., :half], draws[..., draws.shape[2] - half :]], axis=1)


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of the ranks among all draws [chain, draw], by Blom's offsets; ties share a rank."""
    _, place, counts = np.unique(draws, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return ndtri((ranks - 0.375) / (draws.size + 0.25))[place].reshape(draws.shape)


def _r_hat(draws: np.ndarray) -> np.ndarray:
    count = draws.shape[2]
    between = count * np.var(draws.mean(axis=2), axis=1, ddof=1)
    within = np.var(draws, axis=2, ddof=1).mean(axis=1)
    return np.sqrt((between / within + count - 1) / count)


def _effective(draws: np.ndarray) -> np.ndarray:
    """How many independent draws would give a mean as well [quantity]."""
    _, chains, count = draws.shape
    means = draws.mean(axis=2, keepdims=True)
    spectrum = np.fft.rfft(draws - means, 1 << (2 * count - 1).bit_length(), axis=2)  # padded: nothing wraps around
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=1)
    covariance = np.fft.irfft(power, axis=1)[:, :count] / count  # [quantity, lag], mean over the chains
    variance = covariance[:, :1] + (np.var(means, axis=1, ddof=1) if chains > 1 else 0.0)
    correlation = 1.0 - (covariance[:, :1] * count / (count - 1) - covariance) / variance
    correlation[:, 0] = 1.0
    times = np.array([_correlation_time(one) for one in correlation])
    size = chains * count
    found = size / np.maximum(times, 1 / np.log10(size))
    return np.where(np.ptp(draws, axis=(1, 2)) == 0, size, found)


def _correlation_time(correlation: np.ndarray) -> float:
    """Geyer's estimate from correlations [lag]: sums of neighbours, as long as they are positive, made monotone."""
    last = max(0, -(-(len(correlation) - 4) // 2))
    even, odd = correlation[: 2 * last + 2].reshape(-1, 2).T
    pairs = even + odd
    stop = int(np.argmax(np.append(~(pairs[:last] > 0), True)))
    rest = even[stop] if even[stop] > 0 or pairs[stop] >= 0 else 0.0
    return -1.0 + 2.0 * np.minimum.accumulate(pairs[:stop]).sum() + rest
