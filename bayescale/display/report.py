"""One HTML page of a fit: the answer, its bands, the split, the law, how far to trust it; no network, one file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.decide import decide
from bayescale.budgets.problem import budgets_of, default_cost
from bayescale.budgets.surface import UNIQUE
from bayescale.display.explorer import BEYOND, can_explore, explorer
from bayescale.display.report_evidence import (
    backtest_part,
    comparison_part,
    data_part,
    law_part,
    parameters_part,
    priors_part,
    record_part,
    trust_part,
)
from bayescale.display.report_figures import figures_part
from bayescale.display.report_parts import Asked, answer, forecast_part, or_none, sensitivity, split_part, verdict
from bayescale.errors import FitError
from bayescale.field import number_text, printable, size_text
from bayescale.fitting.doors import check_seed, goal, mapping, number, numbers, opened, opened_result, what_is
from bayescale.forecasts.discrepancy import has_drift
from bayescale.forecasts.forecast import forecast
from bayescale.forecasts.pointwise import forecast_each
from bayescale.jobs.files import write_file
from bayescale.laws.groups import with_codes
from bayescale.laws.law import column, goal_sign
from bayescale.laws.references import METHOD, bibtex, cited
from bayescale.reading import plain
from bayescale.runs.loss_unit import NATS_IN, PERPLEXITY, UNITS, from_nats, to_nats, unit_sentence
from bayescale.study import Study

TIMES = 10.0  # the largest run's compute: the budget that is answered for when none is given
METHOD_TEXT = (
    "The posterior is sampled on parameters that the runs see well; what papers print is computed from them. "
    "Losses scatter about it; where the noise is a Student-t, outliers count less.",
    "A law is never exactly right. Its error beyond the runs, the discrepancy, is a Gaussian process over the decades "
    "of the law's inputs; its scale is learnt from the user's own runs, starting from what real studies have shown. "
    "The band of the loss holds it; parameters and the split of a budget are those of the law without it.",
    "All bands are equal-tailed and hold 90 % unless said otherwise; the middle is the median.",
)


def report(
    fit: xr.DataTree,
    *,
    compute: Any = None,
    params: Any = None,
    tokens: Any = None,
    at: Mapping[str, float] | None = None,
    target: "float | str | None" = None,
    tested: xr.Dataset | None = None,
    compared: xr.Dataset | None = None,
    seed: int = 0,
) -> str:
    """A fit as one HTML page that needs no network: figures, tables, and a part that answers for other sizes.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    compute : budgets to answer for [FLOP]; ten times the largest run's compute by default
    params, tokens : sizes of planned runs, as in :func:`bayescale.forecast`
    at : further inputs of the law, by column, one value each
    target : a value of what the law explains, or a text such as ">= .9"; the probability to reach it is told of every
        forecast
    tested : what :func:`bayescale.backtest` returned for these runs; left out, and said so, without it
    compared : what :func:`bayescale.compare` returned for laws on these runs; the same
    seed : of all draws

    Returns
    -------
    The page as text; :func:`save_report` writes it.

    Raises
    ------
    FitError
        If a size, budget or input cannot be used, or the law needs inputs that were not given.
    """
    study = opened(fit)
    tested = None if tested is None else opened_result(tested, "backtest")
    compared = None if compared is None else opened_result(compared, "compare")
    asked = _asked(study, compute, params, tokens, at, target, seed)
    page = _page(study, asked, tested, compared)
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent / "templates"
    page["style"] = Markup((folder / "report.css").read_text(encoding="utf-8"))
    if page["explorer"]:
        script = (folder / "report.js").read_text(encoding="utf-8")
        helpers, law = page["explorer"].pop("helpers"), page["explorer"].pop("law_script")
        page["explorer"]["script"] = Markup(f"{helpers}{script.replace('LAW_SCRIPT', law, 1)}")
        page["explorer"]["json"] = Markup(page["explorer"]["json"])
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    return environment.get_template("report.html").render(page)


def save_report(html: str, path: "str | os.PathLike[str]") -> Path:
    """Write a page, whole or not at all.

    Parameters
    ----------
    html : what :func:`bayescale.report` returns
    path : of the file, which is replaced if it exists

    Returns
    -------
    The path.

    Raises
    ------
    FitError
        If it is no text.
    FileError
        If it cannot be written; an older file of that name is then untouched.
    """
    if not isinstance(html, str):
        raise FitError(f"a page is expected, not {what_is(html)}: report(fit) makes one")
    return write_file(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))


def _asked(study: Study, compute, params, tokens, at, target, seed: int) -> Asked:
    """What the page is to answer, checked before anything is computed."""
    check_seed(seed)
    law = study.law
    at = {name: number(name, value, above=-np.inf) for name, value in with_codes(law.groups, mapping("at", at)).items()}
    target = None if target is None else goal("target", target, goal_sign(law), law.observed.column, has_drift(law))
    joint = can_explore(law)
    known = {column(symbol) for symbol in law.inputs} - ({"params", "tokens", "compute"} if joint else set())
    if wrong := sorted(set(at) - known):
        raise FitError(f"'{wrong[0]}' is not a further input of law '{law.name}'; those are {sorted(known) or 'none'}")
    if joint and (missing := sorted(known - set(at))):
        raise FitError(f"law '{law.name}' also needs {missing}; give one value of each (at={{...}}, --at NAME=VALUE)")
    if joint and (params is None) != (tokens is None):
        raise FitError("params and tokens go together: one of each for every planned run")
    if compute is not None and not joint:
        raise FitError(f"law '{law.name}' does not split a budget of compute; give planned runs by its inputs")
    budgets = np.zeros(0)
    if joint and compute is not None:
        default_cost(study)  # FitError where a budget has no meaning
    if joint and not study.definition.doubt:
        largest = study.largest_compute
        budgets = budgets_of(_round(TIMES * largest) if compute is None else compute)
    planned = None
    if params is not None or (not joint and at) or (tokens is not None):
        planned = {"params": params, "tokens": tokens}
        planned = {name: numbers(name, value) for name, value in planned.items() if value is not None}
        planned |= {name: numbers(name, value) for name, value in at.items()} if not joint else {}
    return Asked(budgets, compute is not None, planned, at if joint else {}, target, seed)


def _round(value: float) -> float:
    return float(f"{value:.1e}")


def _page(study: Study, asked: Asked, tested: xr.Dataset | None, compared: xr.Dataset | None) -> dict[str, Any]:
    import bayescale

    law = study.law
    splits = _splits(study, asked) if asked.budgets.size else []
    decision = None
    if asked.budgets.size:
        decision = decide(study, asked.budgets, given=asked.at or None, seed=asked.seed)
    forecasts = _forecasts(study, asked, splits, decision)
    sensitive = sensitivity(study, asked)
    page: dict[str, Any] = {
        "version": bayescale.__version__,
        "source": str(study.attrs["source"]),
        "summary": f"Law '{law.name}', {law.title[:1].lower()}{law.title[1:]}, on "
        f"{study.runs.sizes['run']} runs.{_of_unit(study)}",
        "verdict": verdict(study, splits, decision, forecasts, sensitive),
        "answer": answer(study, asked, splits, decision, forecasts),
        "forecasts": forecast_part(forecasts, asked),
        "split": split_part(study, asked, splits, decision) if asked.budgets.size else None,
        "law": law_part(study, compared),
        "parameters": parameters_part(study),
        "comparison": comparison_part(compared) if compared is not None else None,
        "trust": trust_part(study),
        "backtest": backtest_part(tested) if tested is not None else None,
        "data": data_part(study),
        "priors": priors_part(study, sensitive),
        "method": [text for text in METHOD_TEXT if has_drift(law) or "discrepancy" not in text],
        "drift": has_drift(law),
        "observed": law.observed.column,
        "bibtex": bibtex([*cited(law), *METHOD]),
        "record": record_part(study, asked.seed),
        "figures": figures_part(study, asked, decision, forecasts, tested, compared),
        "explorer": or_none(lambda: _explorer(study, asked, forecasts)) if asked.budgets.size else None,
    }
    return page


def _of_unit(study: Study) -> str:
    return f" {unit_sentence(study.attrs)}" if study.law.observed.column == "loss" else ""


def _splits(study: Study, asked: Asked) -> list[xr.Dataset]:
    """The allocation of every budget by itself: what ``bayescale allocate`` says of that one."""
    from bayescale.budgets.allocate import allocate

    return [allocate(study, budget, given=asked.at or None, seed=asked.seed) for budget in asked.budgets]


def _forecasts(study: Study, asked: Asked, splits, decision) -> list[tuple[str, xr.DataTree]]:
    """Named forecasts, each of one run alone: those planned, then the chosen split of every budget."""
    found = []
    if asked.planned:
        sizes = dict(zip(asked.planned, np.broadcast_arrays(*asked.planned.values()), strict=True))
        for i in range(len(next(iter(sizes.values())))):
            one = {name: float(values[i]) for name, values in sizes.items()}
            tree = forecast(
                study, one.pop("params", None), one.pop("tokens", None), covariates={**asked.at, **one}, seed=asked.seed
            )
            found.append(("planned", tree))
    ratio = float((study.runs["tokens"] / study.runs["params"]).median()) if len(splits) else 0.0
    for i, split in enumerate(splits):
        budget = float(split["compute"].values[0])
        N, D = (float(decision[name].values[i, 0]) for name in ("N", "D"))
        name = "least expected loss"
        if not bool(split["identified"].values[0]):  # where the split is not known the runs' own shape is all there is
            N = float(study.definition.params(ratio, budget))
            D, name = ratio * N, f"{number_text(ratio)} tokens per parameter, as the runs"
        at = {key: min(value, D) if key == UNIQUE else value for key, value in asked.at.items()}
        found.append((name, forecast(study, N, D, covariates=at, seed=asked.seed)))
    return found


def _explorer(study: Study, asked: Asked, forecasts) -> dict[str, Any]:
    """What the template needs of the interactive part: its data, and a small chart drawn here."""
    data = explorer(study, at=asked.at, seed=asked.seed)
    low, high = data["first"], data["last"] + BEYOND
    start = min(max(round(float(np.log10(asked.budgets[0])), 6), low), high)
    budgets, N = np.array(data["budgets"]), np.array(data.pop("params"))
    band = forecast_each(study, N, study.definition.tokens(N, 10**budgets), covariates=asked.at, seed=asked.seed)
    least, most = float(band["q05"].min()), float(band["q95"].max())
    data |= {"perplexity": study.loss_unit == PERPLEXITY, "natsIn": NATS_IN.get(study.loss_unit, 1.0)}
    data["chart"] = {"low": low, "high": high, "least": least, "most": most}
    x = 46 + (372 - 46) * (budgets - low) / (high - low)
    edges = {name: 150 - (150 - 12) * (band[name].values - least) / (most - least) for name in ("q05", "q50", "q95")}

    def path(xs: np.ndarray, ys: np.ndarray) -> str:
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs, ys, strict=True))

    unit = study.loss_unit
    ends = [float(from_nats(end, unit)) for end in (least, most)]
    steps = (a * 10.0**power for power in range(-2, 12) for a in (1, 2, 5))
    step = next(s for s in steps if s >= 0.02 and (ends[1] - ends[0]) / s <= 5)
    losses = np.arange(np.ceil(ends[0] / step), np.floor(ends[1] / step) + 1) * step
    decades = [d for d in range(int(np.ceil(low)), int(np.floor(high)) + 1)]
    decades = decades[:: 1 + len(decades) // 6]
    points = forecasts[0][1]["predictions_constant_data"]
    text = json.dumps(plain({k: v for k, v in data.items() if k not in ("helpers", "script")})).replace("<", "\\u003c")
    return {
        "helpers": data["helpers"],
        "law_script": data["script"],
        "json": text,
        "count": data["count"],
        "every": data["every"],
        "counted": data["counted"],
        "first": f"{low:.6f}",
        "end": f"{high:.6f}",
        "start": f"{start:.6f}",
        "start_text": number_text(10**start),
        "run_n": size_text(float(points["params"].values[0])),
        "target": "" if asked.target is None else number_text(asked.target[1], 6),
        "run_d": size_text(float(points["tokens"].values[0])),
        "path": path(np.concatenate([x, x[::-1]]), np.concatenate([edges["q95"], edges["q05"][::-1]])) + "Z",
        "middle": path(x, edges["q50"]),
        "edge": f"{46 + (372 - 46) * (data['last'] - low) / (high - low):.1f}",
        "ticks_x": [(f"{46 + (372 - 46) * (d - low) / (high - low):.1f}", f"1e{d}") for d in decades],
        "ticks_y": [
            (f"{150 - (150 - 12) * (to_nats(v, unit) - least) / (most - least):.1f}", number_text(v, 4)) for v in losses
        ],
        "loss_unit": UNITS[unit],
    }
