"""Two fits, and how many times the budget, or size, of one the other needs for the same loss."""

import json
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.axis import SEARCHED_TIMES, Axis, least_size, values_at
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import SplitOptions, budgets_of, check_scale, compute_unit, result_attrs, units_said
from bayescale.budgets.target import asked_axis, banded, far_warnings, gap_to
from bayescale.errors import FitError
from bayescale.field import BAND, SIZE_UNITS, band_ends, band_percent, number_text
from bayescale.fitting.diagnostics import trust_warnings
from bayescale.fitting.doors import check_seed, level_of, mapping, numbers, opened, opened_result
from bayescale.laws.groups import GROUP
from bayescale.laws.law import goal_sign, is_joint
from bayescale.reading import Column, Reading
from bayescale.runs.loss_unit import OTHER_LOSSES, PER_TOKEN, UNITS, from_nats, loss_unit, unit_sentence
from bayescale.study import Study

SMALL_PARAMS, LARGE_PARAMS = 1e6, 1e15  # where definitions of compute are compared
ONE_UNIT_LOG_COMPUTE = np.log(1.5)  # fits that differ by more, for very large models, count compute in different units
ONE_MULTIPLE_LOG_COMPUTE = np.log(1.02)  # the same of fits that both count a multiple of N D


def compute_gain(
    fit: xr.DataTree | Study,
    other: xr.DataTree | Study,
    compute: Any,
    *,
    seed: int = 0,
    **options: Unpack[SplitOptions],
) -> xr.Dataset:
    """Compute-equivalent gain of ``fit`` over ``other``: how many times the budget the other needs for the same loss.

    gain = C' / C with L'*(C') = L*(C), both at their best splits, for pairs of posterior draws; of laws of one size
    gain = x' / x with L'(x') = L(x). Above 1 the first recipe is the better one. Both must have been measured by the
    same loss: same evaluation text, same tokenizer or bits per byte.

    Parameters
    ----------
    fit, other : two fits: two recipes, architectures or corpora; of any laws of one kind of size
    compute : budgets of ``fit``, a number or a sequence; of laws of one size that size
    seed, options : as in :func:`bayescale.least_compute`; they hold for both

    Returns
    -------
    Dataset [chain, draw, budget] of ``gain`` (0 where the other reaches the loss at any budget, infinite where at none)
    and ``difference`` (L* of ``fit`` less that of ``other``, at the same budget), with ``p_better`` [budget], the
    probability that ``fit`` is the better one, and the coordinate ``compute``, or the size of the laws. The two
    posteriors are independent, so draws are paired as they come. The laws are taken to be exactly right.

    Raises
    ------
    FitError
        As :func:`bayescale.least_compute`, for either fit; if they differ in size, observable or unit, or their size is
        a loss.

    Examples
    --------
    >>> gain = bayescale.compute_gain(fit, other, "1e22")
    >>> gain["gain"].dims
    ('chain', 'draw', 'budget')
    """
    study, second = opened(fit), opened(other)
    check_seed(seed)
    seen = [one.law.observed.column for one in (study, second)]
    if seen[0] != seen[1]:  # before any option is asked for that would not help
        raise FitError(f"one fit gives {seen[0]}, the other {seen[1]}: nothing to compare")
    sizes = budgets_of(compute, options.get("cost")) if is_joint(study.law) else numbers("compute", compute)
    if GROUP in mapping("given", options.get("given")) and not (study.law.groups or second.law.groups):
        raise FitError("a group is given, but neither fit has groups")
    sides = [_Side.of(one, sizes, seed, options) for one in (study, second)]
    _check_alike(study, second, sides, options)
    mine, theirs = sides
    if len(mine.values) != len(theirs.values):
        raise FitError(
            f"the fits have {len(mine.values)} and {len(theirs.values)} draws: draws are compared in pairs; sample "
            "both alike"
        )
    first, last = theirs.axis.first, theirs.axis.last
    first, last = min(first, sizes.min() * SEARCHED_TIMES[0]), max(last, sizes.max() / SEARCHED_TIMES[0])
    sign = goal_sign(study.law)
    needed, _ = least_size(replace(theirs.axis, first=first, last=last), gap_to(study, sign), mine.values)
    needed = np.where(np.isnan(needed), np.inf, np.where(needed <= first, 0.0, needed))
    ours, others = mine.values, theirs.values
    if study.law.observed.column == "loss":  # a difference has one unit, that of the first fit
        ours, others = (from_nats(values, study.loss_unit) for values in (ours, others))
    size = mine.axis.size
    result = xr.Dataset(
        {"gain": study.labelled(needed / sizes, "budget"), "difference": study.labelled(ours - others, "budget")}
    ).assign_coords({size: ("budget", sizes)})
    better = mine.values < theirs.values if sign == "<=" else mine.values > theirs.values
    result["p_better"] = ("budget", better.mean(axis=0))
    result["decades_beyond"] = ("budget", np.maximum(mine.beyond, theirs.beyond))
    about = {"source": study.attrs["source"], "size": size, "observed": study.law.observed.column}
    result.attrs = result_attrs(study, "compute_gain", mine.cost, seed, **about)
    result.attrs |= {f"other_{name}": second.attrs[name] for name in ("law", "source", "diagnostics")}
    result.attrs |= {"other_cost": theirs.cost} | _group_of(study, second, options)
    return result


def _group_of(study: Study, second: Study, options: SplitOptions) -> dict[str, str]:
    """The group that was asked for, where either fit has groups."""
    group = mapping("given", options.get("given")).get(GROUP)
    groups = study.law.groups or second.law.groups
    return {} if group is None or groups is None else {"group": groups.name_of(groups.code_of(group))}


@dataclass(frozen=True)
class _Side:
    """One fit: its axis, what a run costs, what its law gives at the sizes [draw, size], how far they lie beyond."""

    axis: Axis
    cost: str
    values: np.ndarray
    beyond: np.ndarray

    @classmethod
    def of(cls, study: Study, sizes: np.ndarray, seed: int, options: SplitOptions) -> "_Side":
        given = mapping("given", options.get("given"))
        if study.law.groups is None and GROUP in given:  # it is that of the other fit
            options = {**options, "given": {name: value for name, value in given.items() if name != GROUP} or None}
        axis, problem = asked_axis(study, seed, options)
        if problem is None:
            if not (np.isfinite(sizes) & (sizes > 0)).all():
                raise FitError(f"{axis.size} = {number_text(sizes.min())}: finite sizes above 0 are expected")
            return cls(axis, axis.size, values_at(axis, sizes), study.decades_beyond(sizes, axis.size))
        split = best_split(problem, sizes[None, :])
        check_scale(study, sizes, split)
        training = study.definition.compute(split.N, split.D)
        beyond = study.decades_beyond(np.median(training, axis=0))
        return cls(axis, problem.cost.text, split.loss, beyond)


def _check_alike(study: Study, second: Study, sides: list[_Side], options: SplitOptions) -> None:
    """Raise FitError unless sizes, and the unit of what is observed, mean the same in both fits."""
    sizes, seen = [side.axis.size for side in sides], study.law.observed.column
    if sizes[0] != sizes[1]:
        raise FitError(f"one fit gives {seen} by {sizes[0]}, the other {seen} by {sizes[1]}: nothing to compare")
    if sizes[0] == "loss":
        raise FitError(
            f"law '{study.law.name}' has a loss as its size: there are no multiples of that; "
            "compare the forecasts at one loss"
        )
    if sizes[0] == "compute" and options.get("cost") is None and not _counted_alike(study, second):
        raise FitError(
            f"compute is counted as {sides[0].cost} in one fit and as {sides[1].cost} in the other: a "
            "budget would not mean the same; say what a run costs in both, cost='6*N*D' (--cost '6*N*D')"
        )
    unit, other_unit = study.loss_unit, second.loss_unit
    if unit != other_unit and {unit, other_unit} - PER_TOKEN:
        raise FitError(
            f"the losses of one fit are {_called(unit)}, of the other {_called(other_unit)}: these cannot be compared; "
            "measure both alike"
        )


def _called(unit: str) -> str:
    return f"{UNITS[unit]}s" if unit in OTHER_LOSSES else f"in {UNITS[unit]}"


def _counted_alike(study: Study, other: Study) -> bool:
    """Whether two fits count compute in the same unit: one multiple of N D, or alike for very large models."""
    small, large = (
        float(np.log(study.definition.compute(N, 1.0) / other.definition.compute(N, 1.0)))
        for N in (SMALL_PARAMS, LARGE_PARAMS)
    )
    multiples = abs(small - large) < ONE_MULTIPLE_LOG_COMPUTE
    return abs(large) < (ONE_MULTIPLE_LOG_COMPUTE if multiples else ONE_UNIT_LOG_COMPUTE)


def read(result: xr.Dataset, *, level: float = BAND) -> Reading:
    """What gains say, a row a size: quantiles of ``gain`` and ``difference``, ``p_better``.

    With ``level`` bands hold another share than .9, and the frame has their ends too.
    """
    result, level = opened_result(result, "compute_gain"), level_of(level)
    attrs = result.attrs
    size, observed = attrs.get("size", "compute"), attrs.get("observed", "loss")
    frame = pd.DataFrame({size: result[size].values})
    for name in ("gain", "difference"):
        for label, values in banded(result[name], level).items():
            frame[f"{name}_{label}"] = values
    for name in ("p_better", "decades_beyond"):
        frame[name] = result[name].values
    reports = [json.loads(attrs[name]) for name in ("diagnostics", "other_diagnostics")]
    warnings = dict.fromkeys(text for report in reports for text in trust_warnings(report))
    unit = UNITS[loss_unit(attrs)] if observed == "loss" else ""
    budget = size == "compute"
    own, theirs = attrs["cost"], attrs["other_cost"]
    if budget and own != theirs:
        text = f"compute is counted as {own} in the first fit and as {theirs} in the other: the gain includes that"
        warnings |= {f"{text}; cost='6*N*D' (--cost '6*N*D') counts both alike": None}
    columns = (
        Column(
            size, size, compute_unit(attrs) if budget else SIZE_UNITS.get(size, ""), "number" if budget else "quantity"
        ),
        Column(
            "gain",
            "times the other needs",
            "",
            "number band",
            instead=tuple("never gets there" if low == np.inf else None for low in frame["gain_q05"]),
        ),
        Column("difference", f"difference of {observed}", unit, "band", 4),
        Column("p_better", "P(better)", "", "decimals", 2),
    )
    names = ("law", "other_law", "source", "other_source", "cost", "other_cost")
    return Reading(
        f"{'Compute' if budget else size.capitalize()}-equivalent gain: how much more {size} the other recipe needs "
        f"for the same {observed}: median and {band_percent(level)} band",
        frame,
        tuple(replace(one, ends=tuple(band_ends(level))) for one in columns),
        warnings=(*warnings, *far_warnings(result)),
        notes=(units_said(attrs),) if budget and own != size else (unit_sentence(attrs),) if observed == "loss" else (),
        about={name: attrs[name] for name in names} | {"loss_unit": unit},
        rows="budgets",
    )
