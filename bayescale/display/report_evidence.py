"""The evidence behind a report as sentences and tables: the law, its parameters, checks, runs, priors, the record."""

import json
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from bayescale.display.table import table_of
from bayescale.evidence.backtest import read as read_backtest
from bayescale.evidence.loo import loo
from bayescale.evidence.nested import nested_questions
from bayescale.evidence.verdict import read as read_comparison
from bayescale.field import band_ends, band_percent, how_many, number_text, quantity_text
from bayescale.fitting.diagnostics import ESS_MIN, PARETO_K_MAX, R_HAT_MAX, diagnostics, fit_summary, regimes
from bayescale.forecasts.discrepancy import has_drift, one_size
from bayescale.forecasts.planned import CHECKED_DECADES, ONE_SIZE_CHECKED_DECADES, far_limit
from bayescale.laws.law import Law, column, is_joint, size_column
from bayescale.laws.priors import quantile
from bayescale.reading import Reading
from bayescale.runs.loss_unit import from_nats
from bayescale.runs.read import read_text
from bayescale.study import Study

Part = dict[str, Any]
HELD_ELSEWHERE = {  # how often bands held on other studies, by the kind of law
    "joint": "In studies of 17 sources the larger runs were forecast from the smaller ones, 0.5 to 1.5 decades of "
    "compute ahead, with each source left out of what its forecast was learnt from. The 50, 80 and 90 % bands of the "
    "loss held 47, 79 and 91 % of these runs, sources alike.",
    "one size": "The larger sizes of 36 curves of images and of 20 of language models, a third of a decade beyond the "
    "others, were forecast from the smaller ones. The 90 % bands held 86 and 90 % of the time.",
    "other": "How often bands of such laws hold has not been measured on other studies.",
}
LEVEL_SIGNS = {"stop": "✕", "care": "!", "fine": "✓"}


def part(reading: Reading) -> Part:
    """The table of a reading, for the page: without empty columns, and with the unit of budgets."""
    shown = table_of(reading)
    kept = [i for i in range(len(shown.header)) if not shown.rows or any(row[i] for row in shown.rows)]
    header = [shown.header[i] for i in kept]
    for place, i in enumerate(kept):
        column = reading.columns[i]
        if column.key == "compute":
            own = column.heading == "compute" and column.unit != "FLOP"
            name = "budget" if own else column.heading
            header[place] = f"{name} [{column.unit}]" if column.unit else name
    rows = [[row[i] for i in kept] for row in shown.rows]
    return {"caption": shown.title, "header": header, "rows": rows, "notes": list(reading.says)}


def law_part(study: Study, compared: xr.Dataset | None) -> Part:
    law = study.law
    formula = law.published_formula or law.formula
    shown = f"{law.observed.symbol} = {formula}"
    if not law.published_formula and law.where_texts:
        shown += ", where " + ", ".join(f"{name} = {text}" for name, text in law.where_texts.items())
    says = [answer.says for answer in nested_questions(study, compared)]
    unknown = diagnostics(study)["not_identified"]
    for resource, odds in regimes(law, study.posterior, study.constants, unknown).items():
        share, likely = max((odds[f"{kind}_limited"], kind) for kind in ("variance", "resolution"))
        says.append(
            f"Exponent of the {resource} term {odds['exponent']:.2f}: {likely}-limited with probability {share:.2f} (a "
            "diagnosis after Bahri et al. 2021, not a claim)."
        )
    return {"title": law.title, "about": law.about, "formula": shown, "says": says, "cite": law.cite, "text": law.text}


def parameters_part(study: Study, level: float) -> Part:
    law, rows, ends = study.law, [], band_ends(level)
    named: dict[str, Any] = {**law.priors, **law.derived, **study.scatter.priors, **study.scatter.derived}
    about = {name: one.about for name, one in named.items()}
    for name, row in fit_summary(study, level)["parameters"].items():
        seen = "" if row["identified"] else "; the prior decides"
        rows.append([name, *(number_text(row[key], 4) for key in ("median", *ends)), about.get(name, "") + seen])
    return {
        "caption": f"Parameters and what follows from them: posterior median and {band_percent(level)} band",
        "header": ["parameter", "median", *map(band_percent, ends.values()), "meaning"],
        "rows": rows,
    }


def comparison_part(compared: xr.Dataset) -> Part:
    reading = read_comparison(compared)
    warnings = [text[:1].upper() + text[1:] + "." for text in reading.warnings]
    return part(reading) | {"verdict": " ".join(reading.says), "notes": warnings}


def trust_part(study: Study) -> Part:
    report = diagnostics(study)
    if report.get("method") == "importance":
        how = f"importance sampling around the optima, Pareto k {report['pareto_k']:.2f} (trusted up to {PARETO_K_MAX})"
        rows = [["sampled by", how]]
    else:
        rows = [
            ["chains of NUTS", "converged" if report["converged"] else f"NOT CONVERGED: {report['why']}"],
            [
                f"largest r-hat (below {number_text(report.get('r_hat_limit', R_HAT_MAX), 4)})",
                f"{report['r_hat_max']:.4f}",
            ],
            ["divergences", f"{report['divergences']}"],
        ]
    rows += [
        [f"fewest effective draws (above {report.get('ess_limit', ESS_MIN):.0f})", f"{report['ess_min']:.0f}"],
        ["not told by the runs", ", ".join(report["not_identified"]) or "nothing"],
    ]
    if is_joint(study.law):
        rows.append(["N and D move together", "yes" if report["collinear"] else "no"])
    notes = []
    if "log_likelihood" in study.tree.children:
        left_out = loo(study, mend=False)
        k, held = left_out["pareto_k"].values, _inside(left_out["pit"].values)
        bad = int((k > left_out.attrs["good_k"]).sum())
        rows += [
            ["Pareto k, largest", f"{np.max(k):.2f} ({bad} of {len(k)} above {left_out.attrs['good_k']:.2f})"],
            [
                "90 % band of the others held",
                f"{100 * held:.0f} % of the runs left out in turn",
            ],
        ]
        if bad:
            notes.append(
                f"{how_many(bad, 'run')} of which the posterior depends more than importance sampling can follow "
                "(Pareto k): worth a look; bayescale compare refits without them."
            )
    return {
        "caption": "Sampler, identification, runs left out",
        "header": ["check", "value"],
        "rows": rows,
        "notes": notes,
    }


def glance_part(study: Study, beyond: float | None, sensitive: Any, tested: xr.Dataset | None) -> list[Part]:
    """How far to trust the page, at a glance: a level, a name and a sentence for each kind of evidence.

    ``beyond`` is how far the farthest of what was asked lies beyond the runs [decades], None where nothing was.
    """
    report, law = diagnostics(study), study.law
    codes = {note["code"] for note in report.get("noted", ())}
    runs, unseen = study.runs.sizes["run"], report["not_identified"]
    rows = [("stop" if "too_few_runs" in codes else "fine", "Runs", f"{runs} of {study.attrs['source']}")]
    good = report["converged"]
    rows.append(("fine" if good else "stop", "Sampler", "converged" if good else f"NOT CONVERGED: {report['why']}"))
    if report["collinear"]:
        rows.append(("stop", "Identification", "N and D move together in the runs: their effects cannot be told apart"))
    else:
        told = f"next to nothing is told of {', '.join(unseen)}" if unseen else "the runs tell every parameter"
        rows.append(("care" if unseen else "fine", "Identification", told))
    if beyond is not None and np.isfinite(beyond):
        checked = CHECKED_DECADES if is_joint(law) else ONE_SIZE_CHECKED_DECADES
        level = "stop" if beyond > far_limit(checked) else "care" if beyond > checked else "fine"
        size = size_column(law) or "size"
        record = f"; bands were checked on other studies up to {checked:g} decades" if has_drift(law) else ""
        rows.append((level, "Distance", f"{beyond:.1f} decades of {size} beyond the largest run{record}"))
    if sensitive is not None:
        moved = [row.quantity for row in sensitive.itertuples() if row.decided_by != "runs"]
        text = f"the prior moves {', '.join(moved)}" if moved else "the runs decide; the prior hardly moves the answer"
        rows.append(("care" if moved else "fine", "Priors", text))
    if tested is None:
        rows.append(("care", "Own backtest", "not run: --backtest forecasts these larger runs from the smaller ones"))
    else:
        pit = tested["pit"].values[np.isfinite(tested["pit"].values)]
        held = f"{100 * _inside(pit):.0f} % of {pit.size} forecasts of larger runs" if pit.size else "nothing"
        rows.append(("fine" if pit.size else "care", "Own backtest", f"90 % bands held {held}"))
    return [{"level": level, "sign": LEVEL_SIGNS[level], "name": name, "text": text} for level, name, text in rows]


def _inside(pit: np.ndarray) -> float:
    """Share of runs inside the 90 % bands that have these predictive probabilities below them."""
    return float(((pit >= 0.05) & (pit <= 0.95)).mean())


def record_text(law: Law) -> str:
    """How often bands of such laws held on other studies, and what no band can know."""
    known = HELD_ELSEWHERE["joint" if is_joint(law) else "one size" if one_size(law) is not None else "other"]
    if not has_drift(law):
        known = f"How far such laws go wrong beyond their runs has not been learnt for {law.observed.column}."
    return f"{known} No band can cover curvature that the runs have not reached, a changed recipe, or other data."


def backtest_part(tested: xr.Dataset) -> Part:
    reading = read_backtest(tested)
    return part(reading) | {"statement": " ".join(reading.says)}


def data_part(study: Study) -> Part:
    law, runs = study.law, study.runs
    rows = []
    for name in dict.fromkeys([*map(column, law.inputs), "compute", law.observed.column]):
        if name in runs and runs[name].dtype.kind == "f":
            values = runs[name].values
            values = from_nats(values, study.loss_unit) if name == "loss" else values
            text = partial(quantity_text, name)
            rows.append([name, *(text(float(v)) for v in (values.min(), np.median(values), values.max())),
                         f"{len(np.unique(values))}"])  # fmt: skip
    notes = [f"Read: {read}."] if (read := read_text(study.attrs)) else []
    notes += [f"{note['text']} [{note['code']}]" for note in json.loads(study.attrs["notes"])]
    return {
        "caption": f"{runs.sizes['run']} runs of {study.attrs['source']}",
        "header": ["column", "least", "median", "most", "different values"],
        "rows": rows,
        "notes": notes,
    }


def priors_part(study: Study, sensitive: Any) -> Part:
    shares = diagnostics(study).get("prior_share", {})
    rows = []
    for name, prior in study.priors.items():
        ends = [quantile(prior, u) for u in (0.05, 0.95)]
        after = np.quantile(study.posterior[name].values, [0.05, 0.95])
        share = f"{100 * shares[name]:.0f}" if name in shares else ""
        rows.append([name, str(prior), *(f"{number_text(a)} to {number_text(b)}" for a, b in (ends, after)), share])
    notes = []
    if sensitive is not None:
        notes = [row.says[:1].upper() + row.says[1:].rstrip(".") + "." for row in sensitive.itertuples()]
    return {
        "caption": "Priors and what became of them",
        "header": ["parameter", "prior", "90 % of it", "90 % of the draws", "prior inside it [%]"],
        "rows": rows,
        "notes": notes,
    }


def record_part(study: Study, seed: int) -> list[list[str]]:
    rows = [["law", study.law.name], ["noise", study.scatter.noise], ["runs", str(study.attrs["source"])]]
    if "data_hash" in study.attrs:
        rows.append(["SHA-256 of the runs", study.attrs["data_hash"]])
    rows += [["seed of the fit", str(study.attrs["seed"])], ["seed of this report", str(seed)]]
    for name, called in (("settings", "sampler"), ("versions", "versions")):
        if held := json.loads(study.attrs.get(name) or "{}"):
            rows.append([called, ", ".join(f"{key} {value}" for key, value in held.items())])
    return rows
