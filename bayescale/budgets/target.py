"""The least budget, or the least size, at which a law meets a target."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.allocate import without_zero_width
from bayescale.budgets.axis import Axis, asked_axis, least_size
from bayescale.budgets.chance import size_for_chance
from bayescale.budgets.identified import HELD_SHARE, marked
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import SplitOptions, compute_unit, result_attrs, units_said
from bayescale.errors import FitError
from bayescale.field import BAND, SIZE_UNITS, band_ends, band_percent, number_text, quantity_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, goal, level_of, mapping, numbers, opened, opened_result, proportion
from bayescale.forecasts.chain import chain_diagnostics, falling
from bayescale.forecasts.discrepancy import has_drift
from bayescale.forecasts.forecast import QUANTILES
from bayescale.forecasts.planned import FAR_DECADES, no_drift_warning, target_warnings, worst_run
from bayescale.laws.groups import group_of
from bayescale.laws.law import SHARES, goal_sign
from bayescale.reading import Column, Reading, bands, unless
from bayescale.runs.loss_unit import PERPLEXITY, UNITS, loss_unit, to_nats, unit_sentence
from bayescale.study import Study

CHANCE = 0.9  # of meeting the target, that a budget is named for
REACHED_SHARE_MIN = 0.99  # of the draws; with fewer a target is not called reached
SPLIT_COLUMNS = {"compute": "compute", "N": "params", "D": "tokens", "tokens_per_param": "tokens_per_param"}


def least_compute(
    fit: xr.DataTree | Study,
    target: Any,
    *,
    through: Mapping[str, xr.DataTree | Study] | None = None,
    chance: float = CHANCE,
    seed: int = 0,
    **options: Unpack[SplitOptions],
) -> xr.Dataset:
    """The least budget whose best split reaches a loss, or the least size of a law of one size: of each draw.

    C(l) = min cost(N, D) subject to L(N, D) <= l, the inverse of :func:`bayescale.allocate`. A law of one size x (C, N,
    D, samples, ...) has no split: x(l) is the first size along it at which the law meets the target, and of a law of a
    loss the highest loss. Through a chain C(a) is the least budget whose best split brings an accuracy a, say.

    Parameters
    ----------
    fit, options : as in :func:`bayescale.allocate`; of a law of one size only ``given``, the values of other inputs.
        Where its size is given, the only input that is not is sought
    through : fits whose laws give an input of the law, by column: ``{"loss": loss_fit}`` for a law of an accuracy. The
        size, and the options of a split, are then those of the first of the chain
    chance : the probability for ``NAME_at_chance``
    target : a number or a sequence, in the unit of what the law explains; a better run lies below a loss and above an
        accuracy, a text such as ``">= 0.9"`` gives the side
    seed : of the draws of uncertain costs

    Returns
    -------
    Dataset [chain, draw, target] of ``compute`` (in the unit of the cost), ``N``, ``D`` and ``tokens_per_param``, or of
    the law's size, by column, infinite where a draw never reaches the target (a loss is then 0); with the targets as a
    coordinate by the name of what the law explains, ``p_reached`` [target] the share of draws that reach it,
    ``identified``, ``why_not`` and ``decades_beyond`` [target]. These draws take the law to be exactly right.
    ``compute_at_chance`` [target], or that of the law's size, does not: it is the least at which
    :func:`bayescale.forecast` gives a run of the median split that probability of meeting the target, infinite where
    none within three decades has it; ``chance_most`` [target] is the largest probability there.

    Raises
    ------
    FitError
        As :func:`bayescale.allocate`; or if a target cannot be used.

    Examples
    --------
    >>> bayescale.least_compute(fit, 2.3)["compute"].dims
    ('chain', 'draw', 'target')
    """
    study, chance = opened(fit), proportion("chance", chance)
    check_seed(seed)
    links = {name: opened(one) for name, one in mapping("through", through).items()}
    sign, better, targets = _goals(study, target, links)
    axis, problem = asked_axis(study, seed, options, links)
    first = axis.study
    wanted = to_nats(targets, study.loss_unit) if has_drift(study.law) else targets
    size, near = least_size(axis, gap_to(study, sign), wanted[None, :])
    reached = np.isfinite(size)
    never = 0.0 if axis.size == "loss" else np.inf
    drawn = {axis.size: np.where(reached, size, never)}
    if problem is not None:
        split = best_split(problem, np.where(reached, size, axis.last), near, strict=False)
        ratio = np.where(reached, split.D / split.N, np.nan)
        drawn |= {"N": np.where(reached, split.N, np.inf), "D": np.where(reached, split.D, np.inf)}
        drawn |= {"tokens_per_param": ratio}
    result = xr.Dataset(
        {name: first.labelled(values, "target") for name, values in drawn.items()},
        coords={study.law.observed.column: ("target", targets)},
    )
    result["p_reached"] = ("target", reached.mean(axis=0))
    result = marked(result, _reasons(axis, size), "target")
    if problem is None:
        beyond = first.decades_beyond(np.median(drawn[axis.size], axis=0), axis.size)
    else:
        training = np.where(reached, first.definition.compute(split.N, split.D), np.inf)
        beyond = first.decades_beyond(np.median(training, axis=0))
    result["decades_beyond"] = ("target", beyond)
    needed, most = size_for_chance(study, links, axis, problem, drawn[axis.size], (sign, targets), chance, seed)
    result[f"{axis.size}_at_chance"], result["chance_most"] = ("target", needed), ("target", most)
    cost, group = (problem.cost.text, group_of(first.law, problem.covariates)) if problem else (axis.size, {})
    result.attrs = result_attrs(first, "least_compute", cost, seed, goal=sign, chance=chance, **group)
    result.attrs |= _about(study, [*links.values()], axis, sign, better)
    return result


def _about(study: Study, links: Sequence[Study], axis: Axis, sign: str, better: str) -> dict[str, Any]:
    """What a least size is of, and what speaks against the fits that it comes from."""
    observed = study.law.observed.column
    told = [text for one in (study, *links) for text in trust_warnings(diagnostics(one))]
    told += [] if has_drift(study.law) else [no_drift_warning(observed)]
    about: dict[str, Any] = {"law": ", ".join(one.law.name for one in (*links, study))}
    about |= {"size": axis.size, "observed": observed}
    about |= {"diagnostics": chain_diagnostics((axis.study, study, *links))}
    about |= {"worst_run": worst_run(study, sign)} if sign == better else {}
    return about | {"others": json.dumps(axis.others), "told": json.dumps([*dict.fromkeys(told)])}


def _goals(study: Study, target: Any, links: Mapping[str, Study]) -> tuple[str, str, np.ndarray]:
    """The side of a target, by default that of a better run; the latter; the values of the target, all of one side."""
    law, observed = study.law, study.law.observed.column
    several = isinstance(target, list | tuple) and all(isinstance(one, str) for one in target) and target
    given = target if several else [target] if isinstance(target, str) else numbers(observed, target)
    better, share = goal_sign(law, falling(links)), law.observed.scale in SHARES
    sides = [goal(observed, one, better, observed, has_drift(law), share) for one in given]
    if len({sign for sign, _ in sides}) != 1:
        raise FitError("the targets are not all on one side; ask for each side by itself")
    values = np.array([value for _, value in sides])
    if study.loss_unit == PERPLEXITY and has_drift(law) and not (values > 1).all():
        raise FitError(f"loss = {values.min():g}: a perplexity above 1 is expected, as the runs of this fit have")
    return sides[0][0], better, values


def gap_to(study: Study, sign: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """How far a value is short of a target, on the scale on which it scatters; at most 0 where it is met."""
    scattered, side = study.scatter.transform, 1.0 if sign == "<=" else -1.0
    return lambda value, target: side * (scattered(value) - scattered(target))


def _reasons(axis: Axis, size: np.ndarray) -> list[str]:
    """For each target why its least size [draw, target] must not be believed, or an empty text."""
    reasons = []
    what = "budget" if axis.size == "compute" else axis.size
    worst = "highest" if axis.size == "loss" else "least"
    for found in size.T:
        share = np.isfinite(found).mean()
        if share < REACHED_SHARE_MIN:
            bound = "down to" if axis.size == "loss" else "up to"
            reasons.append(
                f"{100 * (1 - share):.0f} % of the draws do not reach it at any {what} {bound} "
                f"{number_text(axis.last, 2)}: it is beyond what the law gives there, or what the limits leave"
            )
        elif (found == axis.first).mean() > HELD_SHARE:
            reasons.append(f"reached already at {number_text(axis.first, 2)}, the {worst} {what} that was looked at")
        else:
            reasons.append("")
    return reasons


def banded(values: xr.DataArray, level: float = BAND) -> dict[str, np.ndarray]:
    """Quantiles over draws of which some may be infinite."""
    flat = np.sort(values.stack(sample=("chain", "draw")).transpose("sample", ...).values, axis=0)
    at = {name: flat[round(q * (len(flat) - 1))] for name, q in (QUANTILES | band_ends(level)).items()}
    with np.errstate(invalid="ignore"):
        return without_zero_width(at)


def far_warnings(result: xr.Dataset) -> list[str]:
    """A warning where bands that take the law to be right are carried far beyond the runs."""
    beyond = result["decades_beyond"].values
    far = beyond[np.isfinite(beyond) & (beyond > FAR_DECADES)]
    if not far.size:
        return []
    size = result.attrs.get("size", "compute")
    return [
        f"the farthest lies {far.max():.1f} decades of {size} beyond the runs, and these bands take the law to be "
        "exactly right"
    ]


def read(result: xr.Dataset, *, level: float = BAND) -> Reading:
    """What least sizes say, a row a target: quantiles of ``compute``, ``params``, ``tokens``, or of the law's own size;
    ``p_reached``. With ``level`` bands hold another share than .9, and the frame has their ends too."""
    result, level = opened_result(result, "least_compute"), level_of(level)
    attrs = result.attrs
    size, observed = attrs.get("size", "compute"), attrs.get("observed", "loss")
    columns = SPLIT_COLUMNS if "tokens_per_param" in result else {size: size}
    frame = pd.DataFrame({observed: result[observed].values})
    for name, called in columns.items():
        for label, values in banded(result[name], level).items():
            frame[f"{called}_{label}"] = values
    at_chance = f"{size}_at_chance"
    for name in ("p_reached", at_chance, "chance_most", "identified", "why_not", "decades_beyond"):
        frame[name] = result[name].values
    warnings = [*json.loads(attrs["told"]), *far_warnings(result)]
    for target, reason in zip(frame[observed], frame["why_not"], strict=True):
        if reason:
            warnings.append(f"{observed} {number_text(target, 6)}: not identified: {reason}")
    warnings += target_warnings(attrs, attrs["goal"], frame[observed])
    unit = UNITS[loss_unit(attrs)] if observed == "loss" else ""
    unknown = unless(frame["identified"], "not identified")
    others = ", ".join(f"{name} = {quantity_text(name, value)}" for name, value in json.loads(attrs["others"]).items())
    split = columns is SPLIT_COLUMNS
    what = "budget" if split else ("Highest " if size == "loss" else "Least ") + size
    shown = (
        Column(observed, f"{observed} {attrs['goal']}", unit, "number", 6),
        *_size_columns(attrs, size, split, unknown),
        Column("p_reached", "P(reachable)", "", "decimals", 2),
        _chance_column(attrs, size, split, frame),
    )
    return Reading(
        f"{'Least budget' if split else what} for a target{f' at {others}' if others else ''}: median and "
        f"{band_percent(level)} band if the law is exactly right; last, where a forecast meets it with P = "
        f"{number_text(attrs['chance'], 6)}",
        frame,
        tuple(replace(one, ends=tuple(band_ends(level))) for one in shown),
        warnings=tuple(warnings),
        notes=(units_said(attrs),) if split else (unit_sentence(attrs),) if observed == "loss" else (),
        about={name: attrs[name] for name in ("law", "cost")} | {"loss_unit": unit, "diagnostics": diagnostics(result)},
        rows="targets",
        groups=bands(columns.values(), QUANTILES | band_ends(level)),
    )


def _chance_column(attrs: Mapping[str, Any], size: str, split: bool, frame: pd.DataFrame) -> Column:
    """What a forecast asks for, so that the target is met with the probability that was asked."""
    key, most = f"{size}_at_chance", frame["chance_most"]
    instead = tuple(None if p >= attrs["chance"] else f"none (P up to {np.floor(100 * p) / 100:.2f})" for p in most)
    unit = compute_unit(attrs) if split else SIZE_UNITS.get(size, "")
    how = "size" if size in ("params", "tokens") else "number"
    return Column(key, f"for P = {number_text(attrs['chance'], 6)}", unit, how, instead=instead)


def _size_columns(attrs: Mapping[str, Any], size: str, split: bool, unknown: tuple[str | None, ...]) -> list[Column]:
    if split:
        return [
            Column("compute", "least budget", compute_unit(attrs), "number band", instead=unknown),
            Column("params", "N*", "parameters", "size band", instead=unknown),
            Column("tokens", "D*", "tokens", "size band", instead=unknown),
        ]
    how = {"compute": "number band", "loss": "band"}.get(size, "size band")
    heading = f"{'highest' if size == 'loss' else 'least'} {size}"
    return [Column(size, heading, SIZE_UNITS.get(size, ""), how, instead=unknown)]
