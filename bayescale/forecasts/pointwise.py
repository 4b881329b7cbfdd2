"""Forecasts of very many points, each what a forecast of that point alone would be: for grids, curves and maps."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.forecasts.drift import has_drift, posterior_by_scale, sample_log_loss
from bayescale.forecasts.forecast import QUANTILES, planned_runs, squared_width
from bayescale.study import law_of

AT_ONCE = 250  # points: what is held in memory is this times the draws
SHARES = ("params", "drift", "noise")


def draw_each(
    fit: xr.DataTree, params: np.ndarray, tokens: np.ndarray, covariates: Mapping[str, float], seed: int
) -> Iterator[tuple[xr.Dataset, dict[str, xr.DataArray]]]:
    """Points, and draws of the parts of their log loss, some points at a time (see :func:`forecast_each`).

    Draw by draw the points belong together: draw 7 of one point and of the next are of one curve.
    """
    if not has_drift(law_of(fit)):
        raise FitError(f"law '{fit.attrs['law']}' explains {law_of(fit).observed.column}; this is for laws of a loss")
    by_scale = posterior_by_scale(fit)
    for start in range(0, len(params), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        points = planned_runs(fit, params[part], tokens[part], covariates)
        yield points, sample_log_loss(fit, points, np.random.default_rng(seed), by_scale=by_scale, apart=True)


def forecast_each(
    fit: xr.DataTree,
    params: np.ndarray,
    tokens: np.ndarray,
    *,
    covariates: Mapping[str, float] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Quantiles of the loss at many sizes, equal to those of :func:`bayescale.forecast` of each size alone.

    All points see the same random numbers, so that along a curve the band is as smooth as the law. What points have in
    common, by which one could tell whether they are high together, is not in it.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of a loss
    params, tokens : N and D [point]
    covariates : further inputs of the law, one value for all points
    seed : as in :func:`bayescale.forecast`

    Returns
    -------
    Dataset [point]: ``q05`` ... ``q95`` of the loss, shares of the variance ``params``, ``drift``, ``noise``, and
    ``decades_beyond``, ``nearest_run``.

    Raises
    ------
    FitError
        As :func:`bayescale.forecast`; or if the law does not explain a loss.
    """
    rows = [summed(points, drawn) for points, drawn in draw_each(fit, params, tokens, covariates or {}, seed)]
    return xr.concat(rows, dim="point")


def summed(points: xr.Dataset, drawn: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Quantiles of the loss, shares of the variance and distances [point], of what :func:`draw_each` yields."""
    squares = {
        "params": squared_width(drawn["law"] + drawn["bend"]),
        "drift": squared_width(drawn["drift"]),
        "noise": squared_width(drawn["noise"]),
    }
    total = sum(squares.values())
    loss = np.exp(flat(sum(drawn.values())))
    bands = np.quantile(loss, list(QUANTILES.values()), axis=0)
    row = xr.Dataset({name: ("point", bands[i]) for i, name in enumerate(QUANTILES)})
    row = row.assign({name: squares[name] / total for name in SHARES})
    return row.assign({name: points[name] for name in ("decades_beyond", "nearest_run")})


def flat(draws: xr.DataArray) -> np.ndarray:
    """Draws [chain, draw, point] as [sample, point]."""
    return draws.transpose("chain", "draw", "point").values.reshape(-1, draws.sizes["point"])
