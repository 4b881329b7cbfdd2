"""Several laws at once: predictive draws mixed by weights, and how much of the variance is the choice of the law."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.allocate import allocate
from bayescale.errors import FitError
from bayescale.evidence.compare import check_comparable
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.doors import check_seed, mapping, number, opened_fits, what_is
from bayescale.forecasts.curve import squared_width
from bayescale.forecasts.discrepancy import has_drift
from bayescale.forecasts.forecast import forecast
from bayescale.forecasts.planned import told_by, words_of
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import SHARES, goal_sign
from bayescale.runs.loss_unit import loss_unit
from bayescale.study import Study

WEIGHT_MIN = 0.005  # a law below it would give fewer than one draw in two hundred


@one_blas_thread()
def average_forecast(
    fits: Mapping[str, xr.DataTree],
    weights: Any,
    params: Any = None,
    tokens: Any = None,
    *,
    covariates: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> xr.DataTree:
    """The forecast of several laws: p(loss) = sum_k w_k p_k(loss), a mixture of their predictive draws.

    Parameters
    ----------
    fits : fits of the same runs by name
    weights : by name, a mapping or a DataArray [law] such as ``compare(...)["weight_forward"]``; they are made to sum
        to 1, laws below .005 are left out
    params, tokens, covariates, seed : as in :func:`bayescale.forecast`

    Returns
    -------
    DataTree like that of :func:`bayescale.forecast`, so that :func:`bayescale.read` works on it.
    ``predictions`` has the coordinate ``law`` [chain, draw]: which law a draw comes from, for all points together, so
    that points near each other err together as in each forecast. ``predictions_constant_data`` has ``share_laws``
    beside the other shares: sum_k w_k (m_k - m)^2, m_k the medians of log loss, in units of that plus sum_k w_k v_k.

    Raises
    ------
    FitError
        If the fits are not of the same runs, or weights are missing, negative, or all zero.

    Examples
    --------
    >>> tree = bayescale.average_forecast({"ours": fit, "theirs": other}, {"ours": 0.7, "theirs": 0.3}, "7B", "140B")
    >>> "loss" in tree["predictions"]
    True
    """
    fits, weights = _weighted(fits, weights)
    check_seed(seed)
    given = {"params": params, "tokens": tokens} | mapping("covariates", covariates)
    given = {name: value for name, value in given.items() if value is not None}
    uses = {name: told_by(Study.opened(tree).law) for name, tree in fits.items()}
    if idle := sorted(given.keys() - set().union(*uses.values())):
        raise FitError(f"'{idle[0]}' is not an input of any of the laws {', '.join(fits)}")
    parts = {}
    for i, (name, tree) in enumerate(fits.items()):
        theirs = {key: value for key, value in given.items() if key in uses[name]}
        parts[name] = forecast(tree, covariates=theirs, seed=seed + i)
    mixed = _mix({name: part["predictions"].to_dataset() for name, part in parts.items()}, weights, seed)
    told = [part["predictions_constant_data"].to_dataset() for part in parts.values()]
    points = max(told, key=lambda one: len(one.data_vars))  # not all laws may use all that is given
    points = points.drop_vars("p_break", errors="ignore")  # of one law
    law = Study.opened(next(iter(fits.values()))).law
    shown = [part["predictions"].dataset[law.observed.column] for part in parts.values()]
    shown = [xr.ufuncs.log(one) for one in shown] if law.observed.scale == "log" else shown
    between, within = spread_between(shown, weights)
    total = between + sum(within)
    shares = {"laws": between / total}
    for name in ("params", "drift", "noise"):
        of_laws = [part["predictions_constant_data"][f"share_{name}"] for part in parts.values()]
        shares[name] = sum(one * share for one, share in zip(within, of_laws, strict=True)) / total
    points = points.assign({f"share_{name}": ("point", np.asarray(value)) for name, value in shares.items()})
    tree = xr.DataTree.from_dict({"predictions": mixed, "predictions_constant_data": points})
    tree.attrs = _attributes(fits, weights, seed) | {
        "kind": "forecast",
        "observed": law.observed.column,
        **words_of(law),
        "goal": goal_sign(law),
        "share": int(law.observed.scale in SHARES),
        "checked": min(float(part.attrs["checked"]) for part in parts.values()),
        "drift": int(has_drift(law)),
        "link_error": min(int(part.attrs["link_error"]) for part in parts.values()),
        "drift_ess": min(float(part.attrs["drift_ess"]) for part in parts.values()),
    }
    return tree


@one_blas_thread()
def average_allocation(fits: Mapping[str, xr.DataTree], weights: Any, compute: Any, *, seed: int = 0) -> xr.Dataset:
    """The compute-optimal split under several laws: draws of N* and D* mixed by weights.

    Parameters
    ----------
    fits, weights : as in :func:`average_forecast`
    compute, seed : as in :func:`bayescale.allocate`

    Returns
    -------
    Dataset like that of :func:`bayescale.allocate`; ``loss`` is the averaged forecast at the median split of the
    mixture. Besides, ``share_laws`` [budget]: the share of the variance of log N* that lies between the laws, and the
    coordinate ``law`` [chain, draw]. A budget is ``identified`` when it is so for every law of the mixture.

    Raises
    ------
    FitError
        As in :func:`average_forecast`, or when a law has no split of compute.

    Examples
    --------
    >>> split = bayescale.average_allocation({"ours": fit, "theirs": other}, {"ours": 0.7, "theirs": 0.3}, "1e22")
    >>> split["N"].dims
    ('chain', 'draw', 'budget')
    """
    fits, weights = _weighted(fits, weights)
    check_seed(seed)
    parts = {name: allocate(tree, compute, seed=seed) for name, tree in fits.items()}
    first = next(iter(parts.values()))
    drawn = [name for name in first.data_vars if set(first[name].dims) == {"chain", "draw", "budget"}]
    drawn.remove("loss")  # at each law's own split: it is forecast anew at that of the mixture
    result = _mix({name: part[drawn].reset_coords(drop=True) for name, part in parts.items()}, weights, seed)
    result = result.assign_coords(compute=first["compute"].drop_vars(first["compute"].coords, errors="ignore"))
    budgets = result["compute"].values
    N, D = (np.exp(xr.ufuncs.log(result[name]).median(("chain", "draw")).values) for name in ("N", "D"))
    at_median = average_forecast(fits, dict(zip(fits, weights, strict=True)), N, D, seed=seed)
    result["loss"] = at_median["predictions"]["loss"].rename(point="budget")
    between, within = spread_between([xr.ufuncs.log(part["N"]) for part in parts.values()], weights)
    with np.errstate(invalid="ignore"):
        result["share_laws"] = ("budget", np.asarray(between / (between + sum(within))))
    for told in {"why_not", "held"} & set(first.variables):
        texts = [[f"law '{name}': {text}" for name, part in parts.items() if (text := str(part[told].values[i]))]
                 for i in range(len(budgets))]  # fmt: skip
        result[told] = ("budget", ["; ".join(one) for one in texts])
    result["identified"] = ("budget", [not reason for reason in result["why_not"].values])
    for name in ("decades_beyond", "nearest_run"):
        result[name] = ("budget", at_median["predictions_constant_data"][name].values)
    result.attrs = first.attrs | _attributes(fits, weights, seed)
    return result


def spread_between(draws: list[xr.DataArray], weights: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Variance of a mixture: that between the medians of its parts, and that within each part times its weight.

    ``draws`` are [chain, draw, ...]; a part's variance is that of a normal distribution of the same 90 % width,
    because a Student-t may hardly have one.
    """
    from scipy.stats import norm

    medians = np.stack([part.median(("chain", "draw")).values for part in draws])
    mean = np.tensordot(weights, medians, axes=1)
    between = np.tensordot(weights, (medians - mean) ** 2, axes=1)
    flat = [part.transpose("chain", "draw", ...).values.reshape(-1, *medians.shape[1:]) for part in draws]
    within = [w * squared_width(part) / (2 * norm.ppf(0.95)) ** 2 for w, part in zip(weights, flat, strict=True)]
    return between, within


def _weighted(fits: Mapping[str, xr.DataTree], weights: Any) -> tuple[dict[str, xr.DataTree], np.ndarray]:
    """The fits that weigh something, and their weights, which sum to 1."""
    fits = opened_fits(fits)
    if isinstance(weights, xr.DataArray) and weights.dims == ("law",) and "law" in weights.coords:
        weights = dict(zip(map(str, weights["law"].values), weights.values, strict=True))
    if not isinstance(weights, Mapping):
        raise FitError(f"weights by name of the law are expected, not {what_is(weights)}")
    unknown, missing = sorted(set(weights) - set(fits)), sorted(set(fits) - set(weights))
    if unknown or missing:
        raise FitError(f"weights are given for {', '.join(weights)}, fits for {', '.join(fits)}; one weight a fit")
    values = np.array(
        [number(f"weight of '{name}'", weights[name], "a number of at least 0", above=-1.0) for name in fits]
    )
    if not (np.isfinite(values) & (values >= 0)).all() or not values.sum() > 0:
        raise FitError(
            f"weights = {', '.join(f'{w:g}' for w in values)}: finite numbers, none below 0 and not all 0, are expected"
        )
    values = values / values.sum()
    kept = values >= WEIGHT_MIN
    chosen = {name: tree for (name, tree), keep in zip(fits.items(), kept, strict=True) if keep}
    if len(chosen) > 1:
        check_comparable(chosen)
    return chosen, values[kept] / values[kept].sum()


def _mix(parts: Mapping[str, xr.Dataset], weights: np.ndarray, seed: int) -> xr.Dataset:
    """Whole draws of every part, as many as its weight says, in random order; ``law`` [chain, draw] names the part."""
    rng = np.random.default_rng(seed)
    first = next(iter(parts.values()))
    chains, draws = first.sizes["chain"], first.sizes["draw"]
    edges = np.floor(np.cumsum(weights) * chains * draws + rng.uniform()).astype(int)
    edges[-1] = chains * draws
    picked = []
    for part, count in zip(parts.values(), np.diff(edges, prepend=0), strict=True):
        flat = part.drop_vars([name for name in part.coords if name not in part.dims]).stack(sample=("chain", "draw"))
        size = flat.sizes["sample"]
        order = np.resize(rng.permutation(size), count)  # a draw comes again only when all have come
        picked.append(flat.isel(sample=order).drop_vars(["sample", "chain", "draw"]))
    order = rng.permutation(chains * draws)  # the order of the laws must not show in chains and draws
    joined = xr.concat(picked, dim="sample", combine_attrs="drop").isel(sample=order)
    labels = np.repeat(np.array(list(parts), dtype=object), np.diff(edges, prepend=0))[order]
    shaped = {}
    for name, value in joined.data_vars.items():
        value = value.transpose("sample", ...)
        shaped[name] = (("chain", "draw", *value.dims[1:]), value.values.reshape(chains, draws, *value.shape[1:]))
    coords = {name: first[name] for name in ("chain", "draw") if name in first.coords}
    return xr.Dataset(shaped, coords=coords | {"law": (("chain", "draw"), labels.reshape(chains, draws))})


def _attributes(fits: Mapping[str, xr.DataTree], weights: np.ndarray, seed: int) -> dict[str, Any]:
    """Attributes of a result of several fits: one that did not converge spoils the whole."""
    reports = {name: diagnostics(tree) for name, tree in fits.items()}
    joint = {
        "converged": all(report["converged"] for report in reports.values()),
        "clean": all(report["clean"] for report in reports.values()),
        "why": "; ".join(f"law '{name}': {report['why']}" for name, report in reports.items() if report["why"]),
        "divergences": sum(report["divergences"] for report in reports.values()),
        "r_hat_max": max(report["r_hat_max"] for report in reports.values()),
        "ess_min": min(report["ess_min"] for report in reports.values()),
        "collinear": any(report["collinear"] for report in reports.values()),
        "noted": list({note["code"]: note for report in reports.values() for note in report.get("noted", ())}.values()),
        "not_identified": [f"{one} ({name})" for name, report in reports.items() for one in report["not_identified"]],
    }
    return {
        "loss_unit": loss_unit(next(iter(fits.values())).attrs),
        "law": "average of " + ", ".join(f"{name} {weight:.2f}" for name, weight in zip(fits, weights, strict=True)),
        "weights": json.dumps(dict(zip(fits, weights.tolist(), strict=True))),
        "seed": seed,
        "diagnostics": json.dumps(joint),
    }
