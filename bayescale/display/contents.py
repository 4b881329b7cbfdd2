"""What is in a fit: its runs, law, priors, noise, how it was sampled, what was noted; nothing is computed from it."""

import json
from dataclasses import replace
from typing import Any

import xarray as xr

from bayescale.display.report_evidence import data_part, parameters_part, priors_part
from bayescale.display.table import Table, table
from bayescale.display.tables import fit_sentences
from bayescale.field import BAND
from bayescale.fitting.diagnostics import fit_summary
from bayescale.fitting.doors import level_of, opened
from bayescale.laws.shipped import differences, kind_of, relative_of
from bayescale.runs.read import read_text
from bayescale.study import Study


def fit_contents(fit: xr.DataTree | Study, *, level: float = BAND) -> dict[str, Any]:
    """What is in a fit, for machines.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    level : of the bands of parameters, which are then there besides those of 90 %

    Returns
    -------
    ``law`` (``name``, ``kind``: "shipped", "own", or "changed" for one that has the name or title of a shipped law and
    not its text, ``shipped_as`` and ``differences`` from that, ``title``, ``formula``, ``where``, ``text``),
    ``priors``, ``noise``, ``runs`` (``source``, ``count``, ``counted_by``, least, median and most of each column),
    ``read`` (which columns were read as what, where the fit says so), ``parameters``, ``settings``, ``seed``,
    ``versions``, ``machine``, ``data_hash``, ``diagnostics``, ``warnings`` and ``notes`` of the lint

    Raises
    ------
    FitError
        If it is no fit.

    Examples
    --------
    >>> bayescale.fit_contents(fit)["law"]["name"]
    'chinchilla'
    """
    study = opened(fit)
    law, summary, data = study.law, fit_summary(study, level_of(level)), data_part(study)
    kept = {name: study.attrs[name] for name in ("seed", "machine", "data_hash", "below") if name in study.attrs}
    read = {name: json.loads(study.attrs[name]) for name in ("settings", "versions") if name in study.attrs}
    return {
        "law": {
            "name": law.name,
            "kind": kind_of(law),
            "shipped_as": relative_of(law),
            "differences": differences(law),
            "title": law.title,
            "formula": f"{law.observed.symbol} = {law.formula}",
            "where": dict(law.where_texts),
            "text": law.text,
        },
        "priors": {name: str(prior) for name, prior in law.priors.items()},
        "weights": {name: str(belief.prior) for name, belief in law.weights.items()},
        "noise": study.scatter.noise,
        "runs": {
            "source": study.attrs["source"],
            "count": summary["runs"],
            "counted_by": study.attrs.get("rows", "row"),
            "columns": {row[0]: dict(zip(("least", "median", "most"), row[1:4], strict=True)) for row in data["rows"]},
        },
        **({"read": text} if (text := read_text(study.attrs)) else {}),
        "parameters": summary["parameters"],
        **kept,
        **read,
        "diagnostics": summary["diagnostics"],
        "warnings": summary["warnings"],
        "notes": summary["notes"],
    }


def contents_tables(fit: xr.DataTree | Study, level: float = BAND) -> list[Table]:
    """What is in a fit as tables: runs, priors, parameters, record; the last has sentences and warnings."""
    study = opened(fit)
    held, law, summary = fit_contents(study), study.law, fit_summary(study)
    whose = {
        "shipped": "as bayescale ships it",
        "own": "a law of the user's own",
        "changed": f"NOT the law '{held['law']['shipped_as']}' that bayescale ships",
    }[held["law"]["kind"]]
    formula = [held["law"]["formula"], *(f"where {name} = {text}" for name, text in held["law"]["where"].items())]
    rows = [["law", f"{law.name}: {law.title} ({whose})"], *(["", line] for line in formula)]
    rows += [["differs", text] for text in held["law"]["differences"]]
    rows += [["noise", held["noise"]], ["runs", f"{held['runs']['count']} of {held['runs']['source']}"]]
    rows += [["read as", held["read"]]] if "read" in held else []
    rows += [["only below", str(held["below"])]] if "below" in held else []
    rows += [["seed", str(held["seed"])]]
    told = {name: ", ".join(f"{key} {value}" for key, value in held.get(name, {}).items())
            for name in ("settings", "versions")}  # fmt: skip
    told |= {"processor": held.get("machine", ""), "SHA-256 of the runs": held.get("data_hash", "")}
    rows += [[what, text] for what, text in told.items() if text]
    notes = [f"{note['text']} [{note['code']}]" for note in held["notes"] if note["severity"] != "warning"]
    parts = [data_part(study), priors_part(study, None), parameters_part(study, level)]
    *middle, last = (table(part["caption"], part["header"], part["rows"]) for part in parts)
    return [
        table("What is in this fit", ("", "meaning"), rows),
        *middle,
        replace(last, notes=(*fit_sentences(summary), *notes), warnings=tuple(summary["warnings"])),
    ]
