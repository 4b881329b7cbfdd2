"""Pareto-smoothed importance sampling: weights whose largest are tamed, and a k that says whether to believe them.

As in arviz-stats, with which tests compare; here because that takes as long to import as a quick answer, or a figure.

References
----------
Vehtari, Simpson, Gelman, Yao, Gabry 2024, arXiv:1507.02646; Zhang and Stephens 2009, doi:10.1198/tech.2009.08017.
"""

import numpy as np
from scipy.special import logsumexp

MIN_TAIL = 5  # draws
PRIOR_K, PRIOR_DRAWS = 0.5, 10  # a weak prior on k, worth so many draws (Vehtari et al. 2024, appendix C)


def smoothed_weights(log_ratios: np.ndarray, r_eff: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Log weights that sum to one, their largest replaced by quantiles of a generalized Pareto distribution.

    Parameters
    ----------
    log_ratios : log of target over proposal density [..., draw], up to a constant
    r_eff : effective over kept draws

    Returns
    -------
    log_weights : [..., draw]
    pareto_k : [...]; above .7 the weights are not to be believed. Infinite where no Pareto distribution can be fitted
        to the tail (fewer than 25 draws, all of it the same, one draw above all): weights are not smoothed then
    """
    rows = np.ascontiguousarray(log_ratios, dtype=float).reshape(-1, log_ratios.shape[-1])
    with np.errstate(all="ignore"):  # ratios so far apart that the fit, and its k, is not finite
        found = [_smoothed(row, r_eff) for row in rows]
    weights = np.array([weight for weight, _ in found]).reshape(log_ratios.shape)
    return weights, np.array([k for _, k in found]).reshape(log_ratios.shape[:-1])


def _smoothed(log_ratios: np.ndarray, r_eff: float) -> tuple[np.ndarray, float]:
    count = len(log_ratios)
    weights = log_ratios - log_ratios.max()
    size = int(min(count / 5, 3 * np.sqrt(count / r_eff)))
    k = np.inf
    if size >= MIN_TAIL:
        order = np.argsort(weights)
        tail = order[-size:]
        threshold = np.exp(weights[order[-size - 1]])
        k, scale = _pareto_fit(np.exp(weights[tail]) - threshold)
        if np.isfinite(k):
            rest = -np.log1p(-(np.arange(size) + 0.5) / size)
            excess = np.expm1(k * rest) / k if k != 0 else rest
            smoothed = np.minimum(np.log(threshold + scale * excess), 0.0)
            if np.isnan(smoothed).any():  # ratios so far apart that a scale is no number
                k = np.inf
            else:
                weights[tail] = smoothed
    return weights - logsumexp(weights), k


def _pareto_fit(excess: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalized Pareto distribution for sorted values: the posterior mean of Zhang and Stephens,
    the shape drawn to .5 by the weak prior; an infinite shape where they are far from all such distributions."""
    count = len(excess)
    quartile = excess[int(count / 4 + 0.5) - 1]
    if not quartile > excess[0]:
        return np.inf, np.nan
    grid = 30 + int(np.sqrt(count))
    b = 1 / excess[-1] + (1 - np.sqrt(grid / (np.arange(grid) + 0.5))) / (3 * quartile)
    shape = np.log1p(-b[:, None] * excess).mean(axis=1)
    log_profile = count * (np.log(-b / shape) - shape - 1)
    weight = np.exp(log_profile - logsumexp(log_profile))
    weight = np.where(weight >= 10 * np.finfo(float).eps, weight, 0.0)
    b_mean = (b * weight).sum() / weight.sum()
    k = np.log1p(-b_mean * excess).mean()
    scale = -k / b_mean
    if not (np.isfinite(k) and scale > 0):
        return np.inf, np.nan
    return float((count * k + PRIOR_DRAWS * PRIOR_K) / (count + PRIOR_DRAWS)), scale
