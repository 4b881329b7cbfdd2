"""What draws are worth: r-hat, effective draws, E-BFMI and Pareto-smoothed importance weights, as arviz-stats has them.

An unknown value is NaN, or an infinite Pareto k; the gate and LOO accept neither.

References
----------
Vehtari, Gelman, Simpson, Carpenter, Buerkner 2021, doi:10.1214/20-BA1221 (r-hat, effective draws); Betancourt 2016,
arXiv:1604.00695 (E-BFMI); Vehtari, Simpson, Gelman, Yao, Gabry 2024, arXiv:1507.02646 (Pareto smoothing).
"""

import contextlib
from typing import Any

import numpy as np
from scipy.special import logsumexp


def _measured(how: str, draws: np.ndarray, **options: Any) -> Any:
    """By the function of arviz-stats of this name, which is imported here: scipy.stats, a second, comes with it."""
    from arviz_stats.base import array_stats

    with np.errstate(all="ignore"):  # draws that are infinite, or all the same
        return getattr(array_stats, how)(np.asarray(draws, dtype=float), **options)


def r_hat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split r-hat [...], the larger of bulk and tails, of draws [..., chain, draw].

    NaN where a draw is NaN, where all draws are the same, or of fewer than 4 draws or 2 chains.
    """
    return _measured("rhat", draws)


def ess_bulk(draws: np.ndarray) -> np.ndarray:
    """Effective draws [...] of the bulk of draws [..., chain, draw]; NaN where a draw is NaN, or of fewer than 4."""
    return _measured("ess", draws, method="bulk")


def ess_tail(draws: np.ndarray, probabilities: tuple[float, float]) -> np.ndarray:
    """Effective draws [...] of the shares below two quantiles, such as (.05, .95), the smaller; NaN as above."""
    return _measured("ess", draws, method="tail", prob=probabilities)


def e_bfmi(energy: np.ndarray) -> np.ndarray:
    """E-BFMI [chain] of energies [chain, draw]: squared steps between draws over their variance."""
    return _measured("bfmi", energy)


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
    rows = np.asarray(log_ratios, dtype=float).reshape(-1, log_ratios.shape[-1])
    weights, k = np.empty_like(rows), np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        with contextlib.suppress(ValueError):  # there is no tail
            weights[i], k[i] = _measured("psislw", -row, r_eff=r_eff)
        if not np.isfinite(k[i]) or np.isnan(weights[i]).any():  # ratios so far apart that the fit is not finite
            with np.errstate(all="ignore"):
                weights[i], k[i] = row - logsumexp(row), np.inf
    return weights.reshape(log_ratios.shape), k.reshape(log_ratios.shape[:-1])
