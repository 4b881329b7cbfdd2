"""The inverse of an allocation: the least budget that reaches a loss; and the compute-equivalent gain of a recipe."""

import json
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.allocate import HELD_SHARE, without_zero_width
from bayescale.budgets.cost import spend
from bayescale.budgets.minimise import root
from bayescale.budgets.optimum import Problem, Split, best_split
from bayescale.budgets.problem import (
    SplitOptions,
    budgets_of,
    check_scale,
    compute_unit,
    problem_of,
    result_attrs,
    units_said,
)
from bayescale.errors import FitError
from bayescale.field import number_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, numbers, opened, opened_result
from bayescale.forecasts.forecast import QUANTILES
from bayescale.forecasts.planned import FAR_DECADES
from bayescale.reading import Column, Reading, bands
from bayescale.runs.loss_unit import PERPLEXITY, UNITS, from_nats, loss_unit, to_nats
from bayescale.study import Study

SEARCHED_TIMES = (1e-8, 1e12)  # the largest run's cost: budgets in which a loss is sought
ONE_UNIT_LOG_COMPUTE = np.log(1.5)  # fits that differ by more, for very large models, count compute in different units
REACHED_SHARE_MIN = 0.99  # of the draws; with fewer a target is not called reached
COLUMNS = {"compute": "compute", "N": "params", "D": "tokens", "tokens_per_param": "tokens_per_param"}


def least_compute(fit: xr.DataTree, loss: Any, *, seed: int = 0, **options: Unpack[SplitOptions]) -> xr.Dataset:
    """The least budget whose best split reaches a loss: the inverse of :func:`bayescale.allocate`.

    C(l) = min cost(N, D) subject to L(N, D) <= l, for every posterior draw.

    Parameters
    ----------
    fit, options : as in :func:`bayescale.allocate`
    loss : targets, a number or a sequence, in the unit of the runs' losses
    seed : of the draws of uncertain costs

    Returns
    -------
    Dataset [chain, draw, target] of ``compute`` (in the unit of the cost), ``N``, ``D`` and ``tokens_per_param``,
    infinite where a draw never reaches the target; with the coordinate ``loss`` [target], ``p_reached`` [target] the
    share of draws that reach it, ``identified``, ``why_not`` and ``decades_beyond`` [target]. Bands take the law to be
    exactly right; what a run of that budget would show is a question for :func:`bayescale.forecast`.

    Raises
    ------
    FitError
        As :func:`bayescale.allocate`; or if a target is not a number above 0.
    """
    study = opened(fit)
    check_seed(seed)
    targets = numbers("loss", loss)
    if not (np.isfinite(targets) & (targets > 0)).all():
        raise FitError(
            f"loss = {number_text(targets[~(np.isfinite(targets) & (targets > 0))][0], 6)}: a target above 0 is "
            "expected"
        )
    unit = study.loss_unit
    if unit == PERPLEXITY and not (targets > 1).all():
        raise FitError(f"loss = {targets.min():g}: a perplexity above 1 is expected, as the runs of this fit have")
    problem, _ = problem_of(study, seed=seed, **options)
    low, high = _searched(study, problem)
    budget, split = least_budget(problem, to_nats(targets, unit)[None, :], low, high)
    reached = np.isfinite(budget)
    drawn = {"compute": budget, "N": split.N, "D": split.D, "tokens_per_param": split.D / split.N}
    result = xr.Dataset(
        {
            name: study.labelled(values if name == "tokens_per_param" else np.where(reached, values, np.inf), "target")
            for name, values in drawn.items()
        },
        coords={"loss": ("target", targets)},
    )
    reasons = []
    for share, budgets in zip(reached.mean(axis=0), budget.T, strict=True):
        if share < REACHED_SHARE_MIN:
            reasons.append(
                f"{100 * (1 - share):.0f} % of the draws do not reach it at any budget up to {number_text(high, 2)}: "
                "it is below their irreducible loss, or below what the limits leave"
            )
        elif (budgets <= low).mean() > HELD_SHARE:
            reasons.append(f"reached already at {number_text(low, 2)}, the least budget that was looked at")
        else:
            reasons.append("")
    result["p_reached"] = ("target", reached.mean(axis=0))
    result["identified"] = ("target", [not reason for reason in reasons])
    result["why_not"] = ("target", reasons)
    training = np.where(reached, study.definition.compute(split.N, split.D), np.inf)
    beyond = np.log10(np.median(training, axis=0) / study.largest_compute)
    result["decades_beyond"] = ("target", np.maximum(0.0, beyond))
    result.attrs = result_attrs(study, "least_compute", problem.cost, seed)
    return result


def least_budget(problem: Problem, target: np.ndarray, low: float, high: float) -> tuple[np.ndarray, Split]:
    """The least budget [draw, target] whose best split reaches a loss [draw or 1, target], and that split.

    NaN where the loss is not reached below ``high``, ``low`` where it is reached there already. The frontier is
    computed on a grid of budgets, three a decade; the root of log loss - log target inside the bracket places it.
    """
    decades = max(1.0, np.log10(high / low))
    grid = np.linspace(np.log(low), np.log(high), int(np.ceil(3 * decades)) + 1)
    frontier = best_split(problem, np.exp(grid)[None, :], strict=False)
    count = max(frontier.loss.shape[0], target.shape[0])
    losses = np.broadcast_to(frontier.loss, (count, len(grid)))
    reached = losses[:, None, :] <= np.broadcast_to(target, (count, target.shape[1]))[:, :, None]
    first, never = np.argmax(reached, axis=2), ~reached.any(axis=2)
    right = np.where(never, len(grid) - 1, np.maximum(first, 1))
    rows = np.arange(count)[:, None]
    left, end = grid[right - 1], grid[right]
    with np.errstate(all="ignore"):
        f_left, f_end = (np.log(losses[rows, at] / target) for at in (right - 1, right))
        near = np.broadcast_to(frontier.N, (count, len(grid)))[rows, right]
    # an unaffordable budget has no loss: it is far above any target
    f_left = np.where(np.isfinite(f_left), f_left, 1.0)

    def above(log_budget: np.ndarray) -> np.ndarray:
        split = best_split(problem, np.exp(log_budget), near, strict=False)
        value = np.log(split.loss / target)
        return np.where(np.isfinite(value), value, 1.0)

    found = root(above, left, end, f_left, f_end)
    budget = np.where(never, np.nan, np.where((first == 0) & ~never, low, np.exp(found)))
    split = best_split(problem, np.where(never, high, budget), near, strict=False)
    blank = {name: np.where(never, np.nan, getattr(split, name)) for name in ("N", "D", "loss")}
    return budget, replace(split, **blank)


def _searched(study: Study, problem: Problem) -> tuple[float, float]:
    data = study.runs
    middle = {name: float(np.median(value)) for name, value in problem.cost_values.items()}
    if problem.menu is not None:
        middle |= {name: float(np.median(value)) for name, value in problem.menu.items() if name != "params"}
    run = int(np.argmax(data["compute"].values))
    largest = float(spend(problem.cost, middle, data["params"].values[run], data["tokens"].values[run]))
    return largest * SEARCHED_TIMES[0], largest * SEARCHED_TIMES[1]


def compute_gain(
    fit: xr.DataTree, other: xr.DataTree, compute: Any, *, seed: int = 0, **options: Unpack[SplitOptions]
) -> xr.Dataset:
    """Compute-equivalent gain of ``fit`` over ``other``: how many times the budget the other needs for the same loss.

    gain = C' / C with L'*(C') = L*(C), both at their best splits, for pairs of posterior draws. Above 1 the first
    recipe is the better one. Both must have been measured by the same loss: same evaluation text, same tokenizer or
    bits per byte.

    Parameters
    ----------
    fit, other : two fits: two recipes, architectures or corpora; of any laws
    compute : budgets of ``fit``, a number or a sequence
    seed, options : as in :func:`bayescale.allocate`; they hold for both

    Returns
    -------
    Dataset [chain, draw, budget] of ``gain`` (0 where the other reaches the loss at any budget, infinite where at none)
    and ``difference`` (L* of ``fit`` less that of ``other``, at the same budget), with ``p_better`` [budget], the
    probability that ``fit`` has the lower loss, and the coordinate ``compute``. The two posteriors are independent, so
    draws are paired as they come. The laws are taken to be exactly right.

    Raises
    ------
    FitError
        As :func:`bayescale.allocate`, for either fit.
    """
    study, second = opened(fit), opened(other)
    check_seed(seed)
    budgets = budgets_of(compute, options.get("cost"))
    problems = [problem_of(one, seed=seed, **options)[0] for one in (study, second)]
    if options.get("cost") is None and not _counted_alike(study, second):
        raise FitError(
            f"compute is counted as {problems[0].cost.text} in one fit and as {problems[1].cost.text} in the other: a "
            "budget would not mean the same; say what a run costs in both, cost='6*N*D' (--cost '6*N*D')"
        )
    splits = [best_split(problem, budgets[None, :]) for problem in problems]
    check_scale(study, budgets, splits[0])
    ours, theirs = (split.loss for split in splits)
    unit, other_unit = study.loss_unit, second.loss_unit
    if (unit == "bits_per_byte") != (other_unit == "bits_per_byte"):
        raise FitError(
            f"the losses of one fit are in {UNITS[unit]}, of the other in {UNITS[other_unit]}: losses per byte and per "
            "token cannot be compared; measure both alike"
        )
    if len(ours) != len(theirs):
        raise FitError(
            f"the fits have {len(ours)} and {len(theirs)} draws: draws are compared in pairs; sample both alike"
        )
    low, high = _searched(second, problems[1])
    low, high = min(low, budgets.min() * SEARCHED_TIMES[0]), max(high, budgets.max() / SEARCHED_TIMES[0])
    needed, _ = least_budget(problems[1], ours, low, high)
    needed = np.where(np.isnan(needed), np.inf, np.where(needed <= low, 0.0, needed))
    result = xr.Dataset(
        {
            "gain": study.labelled(needed / budgets, "budget"),
            "difference": study.labelled(from_nats(ours, unit) - from_nats(theirs, unit), "budget"),
        }
    ).assign_coords(compute=("budget", budgets))
    result["p_better"] = ("budget", (ours < theirs).mean(axis=0))
    beyond = [
        np.log10(np.median(one.definition.compute(split.N, split.D), axis=0) / one.largest_compute)
        for one, split in zip((study, second), splits, strict=True)
    ]
    result["decades_beyond"] = ("budget", np.maximum(0.0, np.maximum(*beyond)))
    result.attrs = result_attrs(study, "compute_gain", problems[0].cost, seed, source=study.attrs["source"])
    result.attrs |= {f"other_{name}": second.attrs[name] for name in ("law", "source", "diagnostics")}
    result.attrs["other_cost"] = problems[1].cost.text
    return result


def _counted_alike(study: Study, other: Study) -> bool:
    """Whether two fits count compute in the same unit: by one formula, or alike for very large models."""
    N = 1e15
    return bool(abs(np.log(study.definition.compute(N, 1.0) / other.definition.compute(N, 1.0))) < ONE_UNIT_LOG_COMPUTE)


def _bands(values: xr.DataArray) -> dict[str, np.ndarray]:
    """Quantiles over draws of which some may be infinite."""
    flat = np.sort(values.stack(sample=("chain", "draw")).transpose("sample", ...).values, axis=0)
    at = {name: flat[round(q * (len(flat) - 1))] for name, q in QUANTILES.items()}
    with np.errstate(invalid="ignore"):
        return without_zero_width(at)


def _far(result: xr.Dataset) -> list[str]:
    """A warning where bands that take the law to be right are carried far beyond the runs."""
    beyond = result["decades_beyond"].values
    far = beyond[np.isfinite(beyond) & (beyond > FAR_DECADES)]
    if not far.size:
        return []
    return [
        f"the farthest lies {far.max():.1f} decades of compute beyond the runs, and these bands take the law to be "
        "exactly right"
    ]


def read_least_compute(result: xr.Dataset) -> Reading:
    """What least budgets say, a row a target: quantiles of ``compute``, ``params``, ``tokens``, ``p_reached``."""
    result = opened_result(result, "least_compute")
    attrs, frame = result.attrs, pd.DataFrame({"loss": result["loss"].values})
    for name, called in COLUMNS.items():
        for label, values in _bands(result[name]).items():
            frame[f"{called}_{label}"] = values
    for name in ("p_reached", "identified", "why_not", "decades_beyond"):
        frame[name] = result[name].values
    warnings = [*trust_warnings(diagnostics(result)), *_far(result)]
    for loss, reason in zip(frame["loss"], frame["why_not"], strict=True):
        if reason:
            warnings.append(f"loss {number_text(loss, 6)}: not identified: {reason}")
    unit, unknown = UNITS[loss_unit(attrs)], tuple(None if one else "not identified" for one in frame["identified"])
    columns = (
        Column("loss", "loss", unit, "number", 6),
        Column("compute", "least budget", compute_unit(attrs), "number band", instead=unknown),
        Column("params", "N*", "parameters", "size band", instead=unknown),
        Column("tokens", "D*", "tokens", "size band", instead=unknown),
        Column("p_reached", "P(reachable)", "", "decimals", 2),
    )
    return Reading(
        "Least budget for a loss: median and 90 % band; the law is taken to be exactly right",
        frame,
        columns,
        warnings=tuple(warnings),
        notes=(units_said(attrs),),
        about={name: attrs[name] for name in ("law", "cost")} | {"loss_unit": unit, "diagnostics": diagnostics(result)},
        rows="targets",
        groups=bands(COLUMNS.values(), QUANTILES),
    )


def read_compute_gain(result: xr.Dataset) -> Reading:
    """What gains say, a row a budget: quantiles of ``gain`` and ``difference``, ``p_better``."""
    result = opened_result(result, "compute_gain")
    attrs, frame = result.attrs, pd.DataFrame({"compute": result["compute"].values})
    for name in ("gain", "difference"):
        for label, values in _bands(result[name]).items():
            frame[f"{name}_{label}"] = values
    for name in ("p_better", "decades_beyond"):
        frame[name] = result[name].values
    reports = [json.loads(attrs[name]) for name in ("diagnostics", "other_diagnostics")]
    warnings = dict.fromkeys(text for report in reports for text in trust_warnings(report))
    unit = UNITS[loss_unit(attrs)]
    columns = (
        Column("compute", "compute", compute_unit(attrs), "number"),
        Column("gain", "times the other needs", "", "number band"),
        Column("difference", "difference of loss", unit, "band", 4),
        Column("p_better", "P(better)", "", "decimals", 2),
    )
    names = ("law", "other_law", "source", "other_source", "cost", "other_cost")
    return Reading(
        "Compute-equivalent gain: how much more compute the other recipe needs for the same loss",
        frame,
        columns,
        warnings=(*warnings, *_far(result)),
        notes=(units_said(attrs),),
        about={name: attrs[name] for name in names} | {"loss_unit": unit},
        rows="budgets",
    )
