"""fit + sizes not yet trained -> predictive draws, what they rest on, and the risk of missing a target."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.diagnostics import diagnostics, trust_warnings
from bayescale.drift import (
    effective_draws,
    log_predictive_density,
    posterior_by_scale,
    sample_log_loss,
    shipped_prior,
)
from bayescale.fit import FitError, check_whole, draws_of, law_of
from bayescale.law import column, law_loss
from bayescale.runs import FLOPS_PER_PARAM_TOKEN

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}  # the 90 % and 50 % equal-tailed bands
FAR_DECADES = 2.0  # of compute beyond the data; the calibration was checked up to 1.5
FAR_FROM_RUNS = 1.5  # decades in the plane of log10 N and log10 D
DRIFT_ESS_MIN = 150.0
MAX_POINTS = 2000


def forecast(
    fit: xr.DataTree,
    params: Any,
    tokens: Any,
    *,
    covariates: Mapping[str, Any] | None = None,
    measured: Any = None,
    seed: int = 0,
) -> xr.DataTree:
    """Predictive draws of the loss of runs not yet made.

    ``law_loss`` is the law's own uncertainty, L(N, D; parameters) over the posterior; it takes the law to be exactly
    right. ``loss`` is what a new run would show: exp(log L + drift + noise), where drift is how far the law may be
    wrong at that size (see :mod:`bayescale.drift`). The band to decide by is that of ``loss``.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    params, tokens : N and D of the planned runs, scalars or sequences that broadcast to [point]
    covariates : values of further inputs of the law, by name
    measured : losses of these runs where they are known by now [point]; their log predictive density is then returned
    seed : of the draws of drift and noise

    Returns
    -------
    DataTree with the ArviZ groups ``predictions`` (``law_loss`` and ``loss`` [chain, draw, point], nats) and
    ``predictions_constant_data`` (``params``, ``tokens``, ``compute`` = 6 N D [FLOP], ``decades_beyond`` the largest
    run's compute, and ``share_params``, ``share_drift``, ``share_noise`` of the variance of log loss [point], which
    sum to 1; with ``measured`` also ``elpd``, the log predictive density of each measured log loss). Medians and
    quantiles are what to report: the mean of exp(Student-t) does not exist.

    Raises
    ------
    FitError
        If a size is not a number above 0, the law needs inputs that were not given, or the seed is not a whole
        number.
    """
    check_whole("seed", seed, 0)
    if not isinstance(fit, xr.DataTree) or "posterior" not in fit.children:
        raise FitError(f"a fit is expected, not a {type(fit).__name__}: make one with fit(runs), or open_fit(path)")
    points = planned_runs(fit, params, tokens, covariates or {})
    law = law_of(fit)
    values = draws_of(fit) | {symbol: points[column(symbol)] for symbol in law.inputs}
    certain = law_loss(law, values).transpose("chain", "draw", "point")
    by_scale = posterior_by_scale(fit, shipped_prior().length)
    parts = sample_log_loss(fit, points, np.random.default_rng(seed), by_scale=by_scale)
    loss = np.exp(sum(parts.values()))
    if not (np.isfinite(certain).all() and np.isfinite(loss).all()):
        raise FitError("the law overflows at one of the points; they are too far from any run it was fitted to")
    if measured is not None:
        losses = _measured(measured, points.sizes["point"])
        generator = np.random.default_rng(seed)
        points["elpd"] = ("point", log_predictive_density(fit, points, np.log(losses), generator, by_scale=by_scale))
    points = points.assign({f"share_{name}": share for name, share in _shares(parts).items()})
    tree = xr.DataTree.from_dict(
        {
            "predictions": xr.Dataset({"law_loss": certain, "loss": loss}),
            "predictions_constant_data": points,
        }
    )
    tree.attrs = {
        "law": law.name,
        "seed": seed,
        "diagnostics": fit.attrs["diagnostics"],
        "drift_ess": effective_draws(by_scale, shipped_prior()),
    }
    return tree


def _measured(measured: Any, count: int) -> np.ndarray:
    try:
        losses = np.broadcast_to(np.asarray(measured, dtype=float), count)
    except (TypeError, ValueError):
        raise FitError(f"measured must be {count} loss(es), one a planned run") from None
    bad = losses[~(np.isfinite(losses) & (losses > 0))]
    if bad.size:
        raise FitError(f"measured = {bad[0]:g}: a loss is a finite number above 0")
    return losses


def _shares(parts: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Where the variance comes from [point], as shares that sum to 1; a part's variance is its squared 90 % width.

    Parameters: the curve as the runs show it, law and bend together (each alone makes up for the other). Drift: how the
    curve may leave that. Noise: of one run. Widths and not variances, because a Student-t may hardly have one.
    """

    squares = {
        "params": width(parts["law"] + parts["bend"]) ** 2,
        "drift": width(parts["drift"]) ** 2,
        "noise": width(parts["noise"]) ** 2,
    }
    total = sum(squares.values())
    return {name: value / total for name, value in squares.items()}


def width(draws: xr.DataArray) -> xr.DataArray:
    """Width of the 90 % band over chains and draws."""
    low, high = draws.quantile([0.05, 0.95], dim=("chain", "draw"))
    return (high - low).drop_vars("quantile", errors="ignore")


def planned_runs(fit: xr.DataTree, params: Any, tokens: Any, covariates: Mapping[str, Any]) -> xr.Dataset:
    """The planned runs as a Dataset [point], checked, with their distance beyond the data."""
    given = {"params": params, "tokens": tokens, **covariates}
    try:
        columns = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in given.items()}
        columns = dict(zip(columns, np.broadcast_arrays(*columns.values()), strict=True))
    except (TypeError, ValueError):
        raise FitError("params, tokens and covariates must be numbers, or sequences of one length") from None
    for name, values in columns.items():
        if values.ndim != 1:
            raise FitError(f"{name} has {values.ndim} dimensions: planned runs are given as numbers or flat lists")
        bad = values[~(np.isfinite(values) & (values > 0))]
        if bad.size:
            raise FitError(f"{name} = {bad[0]:g}: a planned run needs a finite number above 0")
    if not 0 < len(columns["params"]) <= MAX_POINTS:
        raise FitError(f"{len(columns['params'])} points: 1 to {MAX_POINTS} can be forecast together")
    missing = [s for s in law_of(fit).inputs if column(s) not in columns and s != "C"]
    if missing:
        raise FitError(f"law '{fit.attrs['law']}' also needs {missing}; give them as covariates")
    points = xr.Dataset({name: ("point", values.copy()) for name, values in columns.items()})
    points["compute"] = FLOPS_PER_PARAM_TOKEN * points["params"] * points["tokens"]
    largest = float(fit["constant_data"]["compute"].max())
    points["decades_beyond"] = np.maximum(0.0, np.log10(points["compute"] / largest))
    points["nearest_run"] = ("point", _nearest_run(fit, points))
    return points


def _nearest_run(fit: xr.DataTree, points: xr.Dataset) -> np.ndarray:
    """Distance of each point to the nearest run in the plane of log10 N and log10 D [decades]."""
    runs = fit["constant_data"]
    here, there = (
        np.stack([np.log10(data[name].values) for name in ("params", "tokens")], axis=1) for data in (points, runs)
    )
    return np.sqrt(((here[:, None, :] - there[None, :, :]) ** 2).sum(axis=2)).min(axis=1)


def quantiles(draws: xr.DataArray) -> dict[str, np.ndarray]:
    """The quantiles of QUANTILES over chains and draws, each of the remaining shape."""
    values = draws.quantile(list(QUANTILES.values()), dim=("chain", "draw")).transpose("quantile", ...)
    return {name: values.values[i] for i, name in enumerate(QUANTILES)}


def forecast_table(tree: xr.DataTree, *, target: float | None = None) -> pd.DataFrame:
    """A forecast as a table, a row a point.

    Columns: ``params``, ``tokens``, ``compute``, ``decades_beyond``, quantiles of both parts (``loss_q05`` ...),
    ``share_params``, ``share_drift``, ``share_noise``, and with ``target`` also ``p_reach`` = P(loss <= target).
    ``loss_q95`` is the loss exceeded with 5 % probability.
    """
    points = tree["predictions_constant_data"].to_dataset()
    table = points.to_dataframe().reset_index(drop=True)
    for name in ("law_loss", "loss"):
        for label, values in quantiles(tree["predictions"][name]).items():
            table[f"{name}_{label}"] = values
    if target is not None:
        table["p_reach"] = probability_to_reach(tree, target)
    return table


def probability_to_reach(tree: xr.DataTree, target: float) -> np.ndarray:
    """P(loss <= target) at every point of a forecast [point].

    Raises
    ------
    FitError
        If the target is not a finite number above 0.
    """
    if not (np.isfinite(target) and target > 0):
        raise FitError(f"target = {target:g}: a loss above 0 is expected")
    return (tree["predictions"]["loss"] <= target).mean(("chain", "draw")).values


def forecast_warnings(tree: xr.DataTree) -> list[str]:
    """Why a forecast may deserve less trust than its band says; an empty list when nothing is known against it."""
    points = tree["predictions_constant_data"]
    warnings = trust_warnings(diagnostics(tree))
    warnings += distance_warnings(points["decades_beyond"].values, points["nearest_run"].values)
    ess = float(tree.attrs["drift_ess"])
    if ess < DRIFT_ESS_MIN:
        warnings.append(
            f"the draws with drift rest on {ess:.0f} effective importance draws (at least {DRIFT_ESS_MIN:.0f} are "
            "wanted): band edges may be off by several percent of the width"
        )
    return warnings


def distance_warnings(decades_beyond: np.ndarray, nearest_run: np.ndarray) -> list[str]:
    """What speaks against points far from every run that was fitted."""
    warnings = []
    if (far := float(np.max(decades_beyond))) > FAR_DECADES:
        warnings.append(
            f"the farthest point lies {far:.1f} decades of compute beyond the largest run; "
            "bands were checked on real studies up to 1.5 decades"
        )
    elif (away := float(np.max(nearest_run))) > FAR_FROM_RUNS:
        warnings.append(
            f"a point lies {away:.1f} decades of N and D away from the nearest run: such shapes of run, and runs "
            "smaller than those seen, are not what the bands were checked on"
        )
    return warnings


def forecast_summary(tree: xr.DataTree, *, target: float | None = None) -> dict[str, Any]:
    """A forecast for machines: ``points`` (sizes, quantiles of ``law_loss`` and ``loss``, shares of the variance,
    with ``target`` also ``p_reach``), ``diagnostics`` of the fit and ``warnings``."""
    table = forecast_table(tree, target=target)
    plain = ("params", "tokens", "compute", "decades_beyond", "nearest_run")
    points = []
    for _, row in table.iterrows():
        point = {name: row[name] for name in plain}
        for name in ("law_loss", "loss"):
            point[name] = {label: row[f"{name}_{label}"] for label in QUANTILES}
        point["share_of_variance"] = {
            name.removeprefix("share_"): row[name] for name in table if name.startswith("share_")
        }
        if target is not None:
            point |= {"target": target, "p_reach": row["p_reach"]}
        points.append(point)
    return {
        "law": tree.attrs["law"],
        "points": points,
        "diagnostics": diagnostics(tree),
        "warnings": forecast_warnings(tree),
    }
