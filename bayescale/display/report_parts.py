"""The parts of a report as plain sentences and tables: what the page says, before it is a page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescale.budgets.allocate import read as read_allocation
from bayescale.budgets.approaches import approaches
from bayescale.budgets.decide import read as read_decision
from bayescale.budgets.landmarks import landmarks
from bayescale.budgets.landmarks import read as read_landmarks
from bayescale.display.report_evidence import Part, part
from bayescale.display.table import band_text, size_band_text
from bayescale.errors import FitError
from bayescale.evidence.sensitivity import has_split, prior_sensitivity
from bayescale.evidence.sensitivity import read as read_sensitivity
from bayescale.field import number_text, quantity_text, size_text, symbol
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.forecasts.forecast import read as read_forecast
from bayescale.forecasts.planned import FAR_DECADES
from bayescale.study import Study

SPOKEN = {"params": "parameters"}
SIGNS = {"stop": "✕", "care": "!", "fine": "✓"}
WORTHLESS = {"too_few_runs", "units", "perplexity"}  # notes on the runs after which nothing on the page is worth much
TITLES = {
    "stop": "Read this first: these numbers, or some of them, must not be acted on",
    "care": "Read this first",
    "fine": "Nothing is known against these numbers",
}


@dataclass(frozen=True)
class Asked:
    """What a report is to answer.

    Attributes
    ----------
    budgets : to be split [FLOP]; empty for a law that does not split
    chosen : whether the user named them
    planned : sizes of planned runs, by column, or None
    at : further inputs of a law of N and D, by column
    target : side and value of what is to be reached, or None
    """

    budgets: np.ndarray
    chosen: bool
    planned: Mapping[str, np.ndarray] | None
    at: Mapping[str, float]
    target: tuple[str, float] | None
    seed: int

    @property
    def target_text(self) -> str | None:
        """The target as a forecast's reading takes it."""
        return None if self.target is None else f"{self.target[0]} {self.target[1]!r}"

    @property
    def reached(self) -> str:
        """The target as what a run comes to."""
        return f"it reaches {number_text(self.target[1], 6)} or {'less' if self.target[0] == '<=' else 'more'}"


def or_none(make: Callable[[], Any]) -> Any:
    """What a function makes, or None where the law has no value that far: a page leaves such a part out."""
    try:
        return make()
    except FitError:
        return None


def sensitivity(study: Study, asked: Asked) -> Any:
    """How much the prior moves what is decided, :func:`prior_sensitivity`; None where there is no split to decide."""
    law = study.law
    known = has_split(law) and asked.budgets.size and "log_likelihood" in study.fit.children
    return prior_sensitivity(study, compute=float(asked.budgets[0])) if known else None


def verdict(study: Study, splits, decision, forecasts, sensitive: Any) -> Part:
    """How far to trust the page, for its head: stop, care or fine, and why."""
    report = diagnostics(study)
    trees = [tree for _, tree in forecasts]
    beyond = [float(tree["predictions_constant_data"]["decades_beyond"].max()) for tree in trees]
    unknown = [reason for split in splits for reason in split["why_not"].values if reason]
    stop = not report["converged"] or report["collinear"] or max(beyond, default=0.0) > FAR_DECADES or bool(unknown)
    stop = stop or any(note["code"] in WORTHLESS for note in report.get("noted", ()))
    sentences = list(trust_warnings(report))
    for tree in trees:
        sentences += read_forecast(tree).warnings
    for split in splits:
        sentences += read_allocation(split).warnings
    if decision is not None:
        sentences += read_decision(decision).warnings
    if sensitive is not None and not report["collinear"]:
        sentences += read_sensitivity(sensitive).warnings
    said = list(dict.fromkeys(sentence[:1].upper() + sentence[1:].rstrip(".") + "." for sentence in sentences))
    level = "stop" if stop else "care" if said else "fine"
    if level == "fine":
        said = [
            "The sampler converged, the runs tell every parameter, and nothing asked for lies far from them. "
            "What no band can know: curvature that the runs have not reached, a changed recipe, other data."
        ]
    return {"level": level, "sign": SIGNS[level], "title": TITLES[level], "sentences": said}


def answer(study: Study, asked: Asked, splits, decision, forecasts) -> list[str]:
    """The answer in plain words: what to train, and the loss it will show."""
    observed = study.law.observed.column
    sentences = []
    for name, tree in forecasts:
        row = read_forecast(tree, target=asked.target_text).frame.iloc[0]
        band = f"{row[f'{observed}_q50']:.3f}, with 90 % probability between {row[f'{observed}_q05']:.3f} and "
        band += f"{row[f'{observed}_q95']:.3f}"
        if asked.target is not None:
            band += f"; {asked.reached} with probability {row['p_reach']:.2f}"
        if name == "planned":
            sizes = [key for key in (asked.planned or {})]
            what = " and ".join(
                quantity_text(key, row[key]) + ("" if key == "compute" else f" {SPOKEN.get(key, key)}") for key in sizes
            )
            sentences.append(f"A run of {what} is forecast to end at a {observed} of {band}.")
    lead = len(sentences)
    for i, split in enumerate(splits):
        row = read_forecast(forecasts[lead + i][1], target=asked.target_text).frame.iloc[0]
        budget = f"{number_text(float(split['compute'].values[0]))} FLOP"
        loss = f"{row['loss_q50']:.3f}, with 90 % probability between {row['loss_q05']:.3f} and {row['loss_q95']:.3f}"
        if asked.target is not None:
            loss += f"; {asked.reached} with probability {row['p_reach']:.2f}"
        why = str(split["why_not"].values[0])
        if why:
            sentences.append(
                f"For {budget} the best split is not known from these runs: {why}. A run shaped as they are, "
                f"{size_text(row['params'])} parameters on {size_text(row['tokens'])} tokens, is forecast to end at a "
                f"loss of {loss}."
            )
            continue
        if any(note["code"] == "too_few_runs" for note in diagnostics(study).get("noted", ())):
            count = study.runs.sizes["run"]
            sentences.append(
                f"{count} runs do not tell what to train for {budget}. By the priors, mostly, it would be "
                f"{size_text(row['params'])} parameters on {size_text(row['tokens'])} tokens, with a loss of {loss}."
            )
            continue
        low, high = (float(decision[f"flat_{end}"].values[i]) for end in ("low", "high"))
        alone = read_allocation(split).frame.iloc[0]
        sentences.append(
            f"For {budget}, train {size_text(row['params'])} parameters on {size_text(row['tokens'])} tokens: the loss "
            f"is forecast to end at {loss}. Any size between {size_text(low)} and {size_text(high)} costs less than "
            f"{number_text(100 * decision.attrs['tolerance'], 6)} % of the loss. The best size is "
            f"{size_band_text(alone, 'params')}. (This lets the law be wrong, as laws have been; if it were exactly "
            f"right, the best size would be {size_band_text(alone, 'law_params')}.)"
        )
    return sentences or ["No planned run was given: this page says what the runs tell of the law."]


def forecast_part(forecasts, asked: Asked) -> Part:
    rows, notes = [], []
    parts = ("params", "drift", "noise") if any(tree.attrs["drift"] for _, tree in forecasts) else ("params", "noise")
    observed = forecasts[0][1].attrs["observed"] if forecasts else "loss"
    for name, tree in forecasts:
        row = read_forecast(tree, target=asked.target_text).frame.iloc[0]
        inputs = [key for key in tree["predictions_constant_data"].data_vars if key in row and key not in
                  ("decades_beyond", "nearest_run", "elpd") and not str(key).startswith("share_")]  # fmt: skip
        if {"params", "tokens"} <= set(inputs):
            inputs = [key for key in inputs if key != "compute"]
        what = ", ".join(f"{symbol(key)} {quantity_text(key, row[key])}" for key in inputs)
        half = f"{row[f'{observed}_q25']:.3f} to {row[f'{observed}_q75']:.3f}"
        shares = " / ".join(f"{100 * row[f'share_{part}']:.0f}" for part in parts)
        beyond = row["decades_beyond"]
        cells = [what, name, f"{beyond:.2f}" if beyond == beyond else "no size", band_text(row, observed), half]
        cells += [band_text(row, f"law_{observed}"), shares]
        rows.append([*cells, *([f"{row['p_reach']:.2f}"] if asked.target is not None else [])])
    header = ["run", "chosen as", "decades beyond", f"{observed}, 90 % band", "50 % band", "law alone, 90 %"]
    header += [" / ".join(SPOKEN.get(part, part) for part in parts) + " [%]"]
    header += (
        [f"P({'≤' if asked.target[0] == '<=' else '≥'} {number_text(asked.target[1], 6)})"]
        if asked.target is not None
        else []
    )
    return {
        "caption": f"Forecasts: median and bands; last, what the variance of the {observed} comes from",
        "header": header,
        "rows": rows,
        "notes": notes,
    }


def split_part(study: Study, asked: Asked, splits, decision) -> Part:
    tables = []
    for split in splits:
        reading = read_allocation(split)
        tables.append(part(replace(reading, columns=tuple(one for one in reading.columns if one.key != "held"))))
    choices = part(read_decision(decision))
    whole = {
        **tables[0],
        "rows": [row for one in tables for row in one["rows"]],
        "notes": choices["notes"],
        "choices": choices,
        "approaches": "",
        "landmarks": {"caption": "", "header": [], "rows": []},
    }
    if has_split(study.law):
        ways = or_none(lambda: approaches(study, float(asked.budgets[0]), seed=asked.seed))
        whole["approaches"] = "" if ways is None else ways.attrs["statement"]
        whole["landmarks"] = or_none(lambda: part(read_landmarks(landmarks(study)))) or whole["landmarks"]
    return whole
