"""The parts of a report that follow from the question: forecasts, splits, targets, a second recipe, and the verdict."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any

import xarray as xr

from bayescale.budgets.allocate import read as read_allocation
from bayescale.budgets.approaches import approaches
from bayescale.budgets.decide import read as read_decision
from bayescale.budgets.decide import unknown_splits
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.gain import read as read_gain
from bayescale.budgets.landmarks import landmarks
from bayescale.budgets.optimum import LIMITS
from bayescale.budgets.target import least_compute
from bayescale.budgets.target import read as read_target
from bayescale.display.question import Question
from bayescale.display.report_asked import Asked, Forecasts
from bayescale.display.report_evidence import LEVEL_SIGNS, Part, part
from bayescale.display.table import band_text
from bayescale.errors import FitError
from bayescale.evidence.sensitivity import has_split, prior_sensitivity
from bayescale.evidence.sensitivity import read as read_sensitivity
from bayescale.field import band_ends, band_percent, number_text, quantity_text, symbol
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.forecasts.forecast import read as read_forecast
from bayescale.forecasts.unknown import unknown_forecast, unknown_of
from bayescale.laws.groups import group_of

NEAR_DECADES = 0.5  # beyond the largest run: what is farther is said
SPOKEN = {"params": "parameters", "drift": "discrepancy"}
TITLES = {
    "stop": "Read this first: these numbers, or some of them, must not be acted on",
    "care": "Read this first",
    "fine": "Nothing is known against these numbers",
}


def or_none(make: Callable[[], Any]) -> Any:
    """What a function makes, or None where the law has no value that far: a page leaves such a part out."""
    try:
        return make()
    except FitError:
        return None


def sensitivity(asked: Asked) -> Any:
    """How much the prior moves what is decided, :func:`prior_sensitivity`; None where there is no split to decide."""
    study, plain = asked.study, asked.plain
    if not has_split(study.law) or plain is None or "log_likelihood" not in study.tree.children:
        return None
    budgets = plain.budgets if plain.budgets.size else plain.cost_of_runs[1:]
    limits = {name: value for name, value in plain.options.items() if name in (*LIMITS, "menu") and value is not None}
    return or_none(lambda: prior_sensitivity(study, compute=float(budgets[0]), limits=limits))


def verdict(asked: Asked, forecasts: Forecasts, sensitive: Any) -> Part:
    """How far to trust the page, for its head: stop, care or fine, and why."""
    report = diagnostics(asked.study)
    trees = [tree for _, tree in forecasts]
    splits = [split for question in asked.asked for split in question.splits]
    stop = report["collinear"] or unknown_of(report, 0.0) or any(map(unknown_forecast, trees))
    stop = stop or any(unknown_splits(question.decision) for question in asked.asked)
    sentences = list(trust_warnings(report))
    for tree in trees:
        sentences += read_forecast(tree).warnings
    for split in splits:
        sentences += read_allocation(split).warnings
    for question in asked.asked:
        sentences += read_decision(question.decision).warnings
    if sensitive is not None and not report["collinear"]:
        sentences += read_sensitivity(sensitive).warnings
    said = list(dict.fromkeys(sentence[:1].upper() + sentence[1:].rstrip(".") + "." for sentence in sentences))
    far = [sentence for sentence in said if sentence.startswith("The farthest point lies")]
    said = [sentence for sentence in said if sentence not in far or sentence == max(far)]  # they differ in a number
    level = "stop" if stop else "care" if said else "fine"
    if level == "fine":
        beyond = [float(tree["predictions_constant_data"]["decades_beyond"].max()) for tree in trees]
        beyond += [float(split["decades_beyond"].max()) for split in splits]
        away = max((one for one in beyond if isfinite(one)), default=0.0)
        size = trees[0].attrs["size"] if trees else "compute"
        said = [
            "The sampler converged, the runs tell every parameter, and "
            + (
                f"what was asked lies up to {away:.1f} decades of {size} beyond them. "
                if away >= NEAR_DECADES
                else "nothing asked for lies far from them. "
            )
            + "What no band can know: curvature that the runs have not reached, a changed recipe, other data."
        ]
    return {"level": level, "sign": LEVEL_SIGNS[level], "title": TITLES[level], "sentences": said}


def forecast_part(forecasts: Forecasts, asked: Asked) -> Part:
    rows = []
    erring = any(tree.attrs["drift"] or tree.attrs["link_error"] for _, tree in forecasts)
    parts = ("params", "drift", "noise") if erring else ("params", "noise")
    observed, ends, band = asked.study.law.observed.column, tuple(band_ends(asked.level)), band_percent(asked.level)
    for name, tree in forecasts:
        row = read_forecast(tree, target=asked.target_text, level=asked.level).frame.iloc[0]
        told = ("decades_beyond", "nearest_run", "elpd", "p_break")
        inputs = [key for key in map(str, tree["predictions_constant_data"].data_vars)
                  if key in row and key not in told and not key.startswith("share_")]  # fmt: skip
        if {"params", "tokens"} <= set(inputs):
            inputs = [key for key in inputs if key != "compute"]
        what = ", ".join(f"{symbol(key)} {quantity_text(key, row[key])}" for key in inputs)
        half = f"{row[f'{observed}_q25']:.3f} to {row[f'{observed}_q75']:.3f}"
        shares = " / ".join(f"{100 * row[f'share_{part}']:.0f}" for part in parts)
        beyond = row["decades_beyond"]
        cells = [what, name, f"{beyond:.2f}" if beyond == beyond else "no size"]
        cells += [band_text(row, observed, ends=ends), half, band_text(row, f"law_{observed}", ends=ends), shares]
        rows.append([*cells, *([f"{row['p_reach']:.2f}"] if asked.target is not None else [])])
    header = ["run", "chosen as", "decades beyond", f"{observed}, {band} band", "50 % band", f"law alone, {band}"]
    header += [" / ".join(SPOKEN.get(part, part) for part in parts) + " [%]"]
    if asked.target is not None:
        header.append(f"P({'≤' if asked.target[0] == '<=' else '≥'} {number_text(asked.target[1], 6)})")
    caption = f"Forecasts: median and bands; last, what the variance of the {observed} comes from"
    return {"caption": caption, "header": header, "rows": rows, "notes": []}


def split_part(question: Question, asked: Asked) -> Part:
    """A question's table of splits, of choices, and what other estimators say."""
    study, tables, ways = question.study, [], None
    for split in question.splits:
        reading = read_allocation(split, level=asked.level)
        tables.append(part(replace(reading, columns=tuple(one for one in reading.columns if one.key != "held"))))
    choices = part(read_decision(question.decision))
    cost, given = question.problem.cost, question.options.get("given") or {}
    texts = {name: one if isinstance(one, str) else number_text(one, 6) for name, one in given.items()}
    values = ", ".join(f"{name} = {texts[name]}" for name in cost.given)
    priced = f"A run costs {cost.text}" + (f", with {values}." if values else ".")
    if has_split(study.law) and question is asked.plain:
        ways = or_none(lambda: approaches(study, float(question.budgets[0]), level=asked.level, seed=question.seed))
    return {
        **tables[0],
        "rows": [row for one in tables for row in one["rows"]],
        "title": f"Budgets in {question.unit or 'the unit of the cost'}",
        "cost": "" if question is asked.plain else priced,
        "notes": choices["notes"],
        "choices": choices,
        "approaches": "" if ways is None else ways.attrs["statement"],
    }


def landmarks_of(asked: Asked) -> Any:
    """The table of :func:`bayescale.landmarks`; None where the law has no such splits or the runs tell none of them."""
    plain = asked.plain
    if plain is None or not has_split(asked.study.law):
        return None
    table = or_none(lambda: landmarks(asked.study, level=asked.level))
    return table if table is not None and table["identified"].any() else None


def targets_part(asked: Asked) -> list[Part]:
    """The least budget, or size, that reaches the target, in the unit of each question."""
    if asked.target is None:
        return []
    study, goal = asked.study, asked.target_text

    def least(one: Question) -> xr.Dataset:
        return least_compute(study, goal, seed=one.seed, **one.options).assign_attrs(unit=one.called)

    if not asked.questions:
        links, given = asked.links or None, {**asked.at, **group_of(study.law, asked.at)} or None
        made = [or_none(lambda: least_compute(study, goal, through=links, given=given, seed=asked.seed))]
    else:
        made = [or_none(partial(least, one)) for one in asked.questions]
    readings = [read_target(one, level=asked.level) for one in made if one is not None]
    return [part(one) | {"warnings": list(one.warnings)} for one in readings]


def gain_part(asked: Asked) -> list[Part]:
    """What the second recipe would need for the same loss, at the budgets of each question.

    Raises FitError if the two fits cannot be compared.
    """
    if asked.other is None:
        return []
    found = []
    for question in asked.asked:
        options: dict[str, Any] = dict(question.options)
        options = {name: one for name, one in options.items() if name not in ("unique_tokens", "menu")}
        gain = compute_gain(question.study, asked.other, question.budgets, seed=question.seed, **options)
        reading = read_gain(gain, level=asked.level)
        found.append(part(reading) | {"result": reading})
    if not asked.questions and asked.planned:
        size = next(iter(asked.planned))
        gain = compute_gain(asked.study, asked.other, asked.planned[size], given=asked.at or None, seed=asked.seed)
        reading = read_gain(gain, level=asked.level)
        found.append(part(reading) | {"result": reading})
    return found
