"""Forecasts of very many points, each what a forecast of that point alone would be: for grids, curves and maps."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from bayescale.field import BAND, band_ends
from bayescale.fitting.doors import opened
from bayescale.forecasts.curve import chance_of, curve_at, with_noise
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.forecast import QUANTILES, shares_of
from bayescale.forecasts.planned import planned_runs
from bayescale.study import Study

POINTS_AT_ONCE = 250  # memory is this times the draws
DISTANCES = ("decades_beyond", "nearest_run")


def draw_each(
    study: Study, params: np.ndarray, tokens: np.ndarray, covariates: Mapping[str, float], seed: int
) -> Iterator[tuple[xr.Dataset, dict[str, np.ndarray]]]:
    """Points, and draws of the parts of their log loss [draw, point], some points at a time (:func:`forecast_each`).

    The law is one of a loss: what asks for so many points splits a budget, which refuses others.
    Draw by draw the points belong together: draw 7 of one point and of the next are of one curve.
    """
    rng = np.random.default_rng(seed)
    chance = chance_of(study.once(discrepancy_of), None, rng)
    state = rng.bit_generator.state
    for start in range(0, len(params), POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        points = planned_runs(study, params[part], tokens[part], covariates)
        rng.bit_generator.state = state  # all points see the same noise
        yield points, with_noise(study, points, curve_at(chance, points), rng)


def forecast_each(
    fit: "xr.DataTree | Study",
    params: np.ndarray,
    tokens: np.ndarray,
    *,
    covariates: Mapping[str, float] | None = None,
    level: float = BAND,
    seed: int = 0,
) -> xr.Dataset:
    """Quantiles of the loss at many sizes, equal to those of :func:`bayescale.forecast` of each size alone.

    All points see the same random numbers, so that along a curve the band is as smooth as the law. What points have in
    common, by which one could tell whether they are high together, is not in it. Raises FitError as
    :func:`bayescale.forecast`; or if the law does not explain a loss.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of a loss
    params, tokens : N and D [point]
    covariates : further inputs of the law, one value for all points
    level : what the band is to hold
    seed : as in :func:`bayescale.forecast`

    Returns
    -------
    Dataset [point]: ``q05`` ... ``q95`` of the loss, shares of the variance ``params``, ``drift``, ``noise``, and
    ``decades_beyond``, ``nearest_run``.
    """
    rows, shares = [], QUANTILES | band_ends(level)
    for points, parts in draw_each(opened(fit), params, tokens, covariates or {}, seed):
        bands = np.quantile(np.exp(sum(parts.values())), list(shares.values()), axis=0)
        row = dict(zip(shares, bands, strict=True)) | shares_of(parts)
        rows.append(points[[*DISTANCES]].assign({name: ("point", values) for name, values in row.items()}))
    return xr.concat(rows, dim="point")
