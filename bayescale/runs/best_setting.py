r"""How far the lowest of several noisy losses lies below the loss of the best setting, and what to do about it.

Within a cell (runs of one size) setting j has the loss exp(f_j + e_j), with noise e_j ~ Normal(0, sigma). The lowest
measured loss is the luckiest of the good settings: on average below min_j f_j by

    bias = E[min_j (f_j + e_j)] - min_j f_j < 0.

f is a polynomial in the logarithms of the settings: its level and slope are those of the cell, so that the best setting
may move with size, the higher terms are shared. sigma is the residual scatter. The bias and the quantiles of the
minimum follow by simulation from the fitted f and sigma; the level of f cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

NEAR_LOG = 0.2  # of the lowest loss of the cell: worse settings do not compete, and need no polynomial
NEAR_SD = 5  # settings within so many sd of the lowest are kept: there a noisy loss may still be the lowest
SETTING_VALUES_MAX = 30  # measured quantities have more
SETTINGS_MIN = 4  # in most cells: fewer do not tell the scatter from the settings
DEGREE_MAX = 4
DRAWS = 2000
NUMBERS_MAX = 20_000_000  # of draws times runs
BEST_ENDS = (0.05, 0.95)


@dataclass(frozen=True)
class Selection:
    """What choosing the lowest loss of each cell does.

    Attributes
    ----------
    bias : log of the lowest loss less that of the best setting, on average [cell]
    low, high : the same, quantiles .05 and .95 [cell]
    sigma : scatter of log loss at one setting
    """

    bias: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sigma: float


def without_luck(runs: xr.Dataset, picked: Selection) -> xr.Dataset:
    """Runs that were the best of several, with the loss that their setting has on average, and its 90 % band [run]."""
    lowest, about = runs["loss"].values, runs["loss"].attrs
    shifts: dict[str, Any] = {"loss": picked.bias, "lowest_loss": 0.0, "loss_q05": picked.high, "loss_q95": picked.low}
    runs = runs.assign({name: ("run", lowest * np.exp(-shift)) for name, shift in shifts.items()})
    runs["loss"].attrs = about
    return runs


def selection(log_loss: np.ndarray, cell: np.ndarray, settings: Sequence[np.ndarray]) -> Selection | None:
    """The bias of the minimum of each cell, from all its runs; None where they do not tell.

    Parameters
    ----------
    log_loss : of every run [run]
    cell : which cell, counted from 0 [run]
    settings : logarithms, or other numbers, that differ within cells, one array each [run]; none for plain repeats
    """
    count = int(cell.max()) + 1
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, cell, log_loss)
    window, best = NEAR_LOG, None
    while True:
        near = log_loss <= lowest[cell] + window
        rows = [np.flatnonzero(cell[near] == one) for one in range(count)]
        if np.median([len(some) for some in rows]) < SETTINGS_MIN:
            break
        found = _best_fit(log_loss[near], [_standard(values[near]) for values in settings], rows)
        if found is None:
            break
        best = *found, rows
        if NEAR_SD * best[1] >= window / 2:
            break
        window /= 2  # a polynomial describes what is near the lowest, and only that competes
    return None if best is None else _simulated(*best)


def _best_fit(y: np.ndarray, settings: list[np.ndarray], rows: list[np.ndarray]) -> tuple[np.ndarray, float] | None:
    """Fitted values [run] and sigma of the best model by AICc, from no effect of settings to polynomials."""
    ones, x = np.ones((len(y), 1)), np.stack([*settings], axis=1) if settings else np.empty((len(y), 0))
    models = [(ones, np.empty((len(y), 0)))]
    if settings:
        models += [(np.concatenate([ones, x], axis=1), shared) for shared in _shared_terms(x)]
    fits = [fit for own, shared in models if (fit := _fitted(y, own, shared, rows)) is not None]
    return min(fits, key=lambda fit: fit[0])[1:] if fits else None


def _standard(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))


def _shared_terms(x: np.ndarray) -> list[np.ndarray]:
    """Sets of terms that all cells share: of one setting its powers, of several all products of two."""
    width = x.shape[1]
    if width == 1:
        return [
            np.stack([x[:, 0] ** power for power in range(2, most + 1)], axis=1) for most in range(2, DEGREE_MAX + 1)
        ]
    return [np.stack([x[:, i] * x[:, j] for i in range(width) for j in range(i, width)], axis=1)]


def _fitted(
    y: np.ndarray, own: np.ndarray, shared: np.ndarray, rows: list[np.ndarray]
) -> tuple[float, np.ndarray, float] | None:
    """Least squares with own terms of each cell and shared ones: criterion (AICc), fitted values [run], sigma."""
    whole = np.concatenate([y[:, None], shared], axis=1)
    left, used = whole.copy(), shared.shape[1]
    for some in rows:
        base, sizes, _ = np.linalg.svd(own[some], full_matrices=False)
        base = base[:, sizes > 1e-9 * sizes[0]]
        left[some] -= base @ (base.T @ left[some])
        used += base.shape[1]
    free = len(y) - used
    if free < max(SETTINGS_MIN, len(rows) // 2):
        return None
    weights = np.linalg.lstsq(left[:, 1:], left[:, 0], rcond=None)[0] if shared.shape[1] else np.zeros(0)
    residual = left[:, 0] - left[:, 1:] @ weights
    sigma = float(np.sqrt(residual @ residual / free))
    criterion = len(y) * np.log(max(sigma**2, 1e-30)) + 2 * used * len(y) / max(free - 1, 1)
    return criterion, y - residual, sigma


def _simulated(fitted: np.ndarray, sigma: float, rows: list[np.ndarray]) -> Selection:
    rng = np.random.default_rng(0)
    draws = int(np.clip(NUMBERS_MAX // len(fitted), 100, DRAWS))
    found = np.zeros((3, len(rows)))
    for position, some in enumerate(rows):
        f = fitted[some]
        lowest = (f + sigma * rng.standard_normal((draws, len(some)))).min(axis=1) - f.min()
        found[:, position] = lowest.mean(), *np.quantile(lowest, BEST_ENDS)
    bias, low, high = found
    return Selection(bias, low, high, sigma)
