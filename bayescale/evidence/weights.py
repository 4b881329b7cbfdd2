"""Weights of laws: by stacking on left-out runs (a description) and on larger runs (for averaged forecasts)."""

import numpy as np
import xarray as xr

from bayescale.fitting.default_law import far_behind

# Forward stacking starts from half equal weights, half those of LOO, worth this many cuts: cuts share runs, so that
# even six are few looks. Chosen on the studies of docs/compare.md, where anything from .5 to 4 did nearly the same.
START_LOOKS = 2.0


def stacking(density: np.ndarray, share: np.ndarray | None = None, start: np.ndarray | None = None) -> np.ndarray:
    """Weights w of a mixture [law] that make its log score largest.

    sum_i share_i log sum_k w_k exp(density_ik) + sum_k start_k log w_k.

    Parameters
    ----------
    density : log predictive densities of what was left out or forecast [case, law]
    share : how much each case counts; 1 by default
    start : weights to shrink to, times the number of cases they are worth [law]; by default there are none

    Notes
    -----
    Yao et al. 2018, doi:10.1214/17-BA1091, eq. 5; ``start`` is a Dirichlet prior. The problem is concave, and EM cannot
    leave the simplex.
    """
    share = np.ones(len(density)) if share is None else share
    ratio = np.exp(density - density.max(axis=1, keepdims=True))
    start = np.zeros(ratio.shape[1]) if start is None else start
    weights = np.full(len(start), 1 / len(start))
    for _ in range(20_000):
        expected = share @ (ratio * weights / (ratio @ weights)[:, None]) + start
        new = expected / expected.sum()
        settled = np.abs(new - weights).max() < 1e-9
        weights = new
        if settled:
            break
    return weights


def forward_weights(result: xr.Dataset, looks: float = START_LOOKS) -> np.ndarray:
    """Weights for forecasts [law]: stacking on forecasts, every cut one look, shrunk to what is known without them.

    A law that did not converge, could not be fitted at a cut, or is far behind has none: shrinking to equal weights
    would give it a say against much evidence. ``looks``: how many
    cuts the start is worth.
    """
    near = result["converged"].values & ~laws_far_behind(result)
    usable = near & result["elpd_forward"].notnull().values if "elpd_run" in result else near
    if not usable.any():
        usable = near
    start = 0.5 * usable / usable.sum() + 0.5 * _only(result["weight_loo"].values, usable)
    if "elpd_run" not in result:
        return start
    scored = result["elpd_run"].isel(law=np.flatnonzero(usable)).stack(case=("cut", "run"))
    scored = scored.transpose("case", "law").dropna("case")
    _, cut, sizes = np.unique(scored["cut"].values, return_inverse=True, return_counts=True)
    weights = np.zeros(len(usable))
    weights[usable] = stacking(scored.values, 1 / sizes[cut], looks * start[usable])
    return weights


def laws_far_behind(result: xr.Dataset) -> np.ndarray:
    """Which laws predict left-out runs far worse than the best [law]."""
    return far_behind(-result["d_elpd"].values, result["d_se"].values)


def _only(weights: np.ndarray, usable: np.ndarray) -> np.ndarray:
    kept = np.where(usable, weights, 0.0)
    return kept / kept.sum() if kept.sum() > 0 else usable / usable.sum()
