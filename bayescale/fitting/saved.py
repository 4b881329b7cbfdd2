"""Is a tree a fit? Its groups, dimensions, numbers and texts."""

import json
import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FormulaError, LawError
from bayescale.field import TRAINING
from bayescale.fitting.diagnostics import trust_warnings
from bayescale.fitting.tree import FORMAT
from bayescale.laws.law import Law, column, positive_columns, size_column
from bayescale.laws.priors import to_real
from bayescale.laws.scatter import NOISES
from bayescale.runs.compute import objection_to as objection_to_definition
from bayescale.runs.loss_unit import NATS, UNITS
from bayescale.study import RUNS_MIN, law_of

MAX_TEXT = 4000  # characters of one text of the diagnostics and notes
MAX_NAME = 300
AGAIN = "make the fit again (bayescale fit)"


def damage_of(tree: xr.DataTree) -> str:
    """Why a tree is not a fit that can be asked, or an empty text."""
    saved_in = tree.attrs.get("bayescale_format")
    if isinstance(saved_in, numbers.Integral) and saved_in > FORMAT:  # first, for who knows what a later format holds
        return f"saved in format {saved_in}, this bayescale reads up to {FORMAT}; upgrade bayescale"
    if "law_text" not in tree.attrs or "posterior" not in tree.children:
        return "NetCDF, but not a fit saved by bayescale (no law or no posterior in it)"
    if not isinstance(saved_in, numbers.Integral):
        return f"saved in format {str(saved_in)[:20]!s}, this bayescale reads up to {FORMAT}; upgrade bayescale"
    try:
        damage = _damage(tree)
    except (LawError, FormulaError) as error:
        damage = str(error)
    except KeyError as error:
        damage = f"{error.args[0]} is missing from it"
    except (TypeError, ValueError, AttributeError, RecursionError):
        damage = "its diagnostics cannot be read"
    return f"damaged: {damage}; {AGAIN}" if damage else ""


def _damage(tree: xr.DataTree) -> str:
    missing = sorted({"law", "noise", "source", "seed", "notes", "diagnostics"} - set(tree.attrs))
    if missing:
        return f"no {missing} among its attributes"
    for name in ("law", "law_text", "noise", "source", "notes", "diagnostics"):
        if not isinstance(tree.attrs[name], str):
            return f"its attribute '{name}' is not text"
    for name in ("law", "source"):
        if not tree.attrs[name].isprintable() or len(tree.attrs[name]) > MAX_NAME:
            return f"its attribute '{name}' is not a name"
    if tree.attrs["noise"] not in NOISES:
        return f"unknown noise '{tree.attrs['noise'][:40]}'"
    if not isinstance(tree.attrs["seed"], numbers.Integral) or tree.attrs["seed"] < 0:
        return "its seed is not a whole number of at least 0"
    if beside := _optional_damage(tree.attrs):
        return beside
    if texts := _texts_damage(json.loads(tree.attrs["diagnostics"]), json.loads(tree.attrs["notes"])):
        return texts
    law = law_of(tree)
    if law.observed.scale not in NOISES[tree.attrs["noise"]].observed:
        return f"its noise '{tree.attrs['noise']}' does not go with what its law explains"
    if tree.to_dataset(inherit=False).variables:
        return "variables outside its groups"
    return _posterior_damage(law, tree) or _data_damage(law, tree)


def _optional_damage(attrs: Mapping[str, Any]) -> str:
    """What a fit may say of itself besides: where and from what it was made."""
    for name in ("versions", "settings"):
        found = json.loads(attrs.get(name, "{}"))
        short = isinstance(found, dict) and all(
            isinstance(value, bool) or _is_number(value) or (isinstance(value, str) and len(value) <= MAX_NAME)
            for value in found.values()
        )
        if not short or not all(text.isprintable() for text in _all_texts(found)):
            return f"its {name} cannot be read"
    if objection := objection_to_definition(str(attrs.get("compute", TRAINING))[: MAX_NAME + 1]):
        return f"its attribute 'compute' counts no compute: {objection}"
    if attrs.get("loss_unit", NATS) not in UNITS:
        return "its attribute 'loss_unit' is no unit of a loss"
    if attrs.get("compute_unit_seen", 1) != 1:
        return "its attribute 'compute_unit_seen' is not 1"
    for name in ("machine", "data_hash", "compute", "compute_unit", "compute_doubt"):
        text = attrs.get(name, "")
        if not (isinstance(text, str) and text.isprintable() and len(text) <= MAX_NAME):
            return f"its attribute '{name}' is not a name"
    if attrs.get("rows", "row") not in ("line", "row"):
        return "its attribute 'rows' is neither line nor row"
    read = json.loads(attrs.get("read", "{}"))
    short = isinstance(read, dict) and all(isinstance(text, str) and len(text) <= MAX_NAME for text in read.values())
    if not short or not all(text.isprintable() and len(text) <= MAX_NAME for text in _all_texts(read)):
        return "what it says was read of its runs cannot be read"
    below = attrs.get("below", 1.0)
    if not (isinstance(below, numbers.Real) and 0 < below < math.inf):
        return "its attribute 'below' is not a number above 0"
    return ""


def _texts_damage(report: Any, notes: Any) -> str:
    """Diagnostics and notes are shown as they are: whatever they say must be plain text and numbers."""
    trust_warnings(report)  # KeyError where something is missing
    kinds = {"converged": bool, "clean": bool, "collinear": bool, "why": str}
    kinds |= {"r_hat": dict, "ess_bulk": dict, "prior_share": dict, "not_identified": list}
    for name, kind in kinds.items():
        if not isinstance(report[name], kind):
            return f"'{name}' of its diagnostics is not what it should be"
    by_name = [*report["r_hat"].values(), *report["ess_bulk"].values(), *report["prior_share"].values()]
    quick = [report.get("pareto_k")] if report.get("method") == "importance" else []
    may_be_there = ("scatter", "ess_tail_min", "e_bfmi", "r_hat_limit", "ess_limit", "draws_asked", "draws_made")
    maybe = [report[name] for name in may_be_there if report.get(name) is not None]
    if not all(
        map(_is_number, (report["r_hat_max"], report["ess_min"], report["divergences"], *by_name, *quick, *maybe))
    ):
        return "a number of its diagnostics is none"
    if not all(
        isinstance(report.get(name, ""), str) for name in ("method", "not_quick", "quick_because", "remedy", "line")
    ):
        return "a text of its diagnostics is none"
    for note in notes if isinstance(notes, list) else [None]:
        if not (isinstance(note, Mapping) and all(isinstance(note[key], str) for key in ("code", "severity", "text"))):
            return "its notes cannot be read"
    for note in report.get("noted", []):
        if not all(isinstance(note[key], str) for key in ("code", "text")):
            return "'noted' of its diagnostics cannot be read"
    if not all(text.isprintable() and len(text) <= MAX_TEXT for text in _all_texts([report, notes])):
        return "its diagnostics or notes hold something else than plain text"
    if not all(isinstance(name, str) for name in report["not_identified"]):
        return "'not_identified' of its diagnostics is not a list of names"
    return ""


def _is_number(value: Any) -> bool:
    return (isinstance(value, numbers.Real) and not isinstance(value, bool) and abs(value) < 1e300) or value != value


def _all_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _all_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _all_texts(item)


def _posterior_damage(law: Law, tree: xr.DataTree) -> str:
    posterior = tree["posterior"].to_dataset()
    priors = law.priors | NOISES[tree.attrs["noise"]].priors
    missing = sorted(set(priors) - set(posterior.data_vars))
    if missing:
        return f"no {missing[:12]} in its posterior"
    wrong = [name for name, draws in posterior.data_vars.items() if draws.dims != ("chain", "draw")]
    if wrong or posterior.sizes["chain"] < 2 or posterior.sizes["draw"] < 4:
        return "its posterior is not [chain, draw]"
    for name, draws in posterior.data_vars.items():
        if draws.dtype.kind != "f":
            return f"'{str(name)[:40]}' in its posterior is not a number"
    for name, prior in priors.items():
        if not np.isfinite(posterior[name].values).all() or np.isnan(to_real(prior, posterior[name].values)).any():
            return f"draws of '{name}' in its posterior are not finite, or outside its prior {prior}"
    for group in ("sample_stats", "log_likelihood"):
        for values in tree[group].to_dataset().data_vars.values() if group in tree.children else ():
            if any(posterior.sizes[dim] != values.sizes.get(dim) for dim in ("chain", "draw")):
                return f"its {group} has other chains or draws than its posterior"
    return ""


def _data_damage(law: Law, tree: xr.DataTree) -> str:
    """Runs and reference constants: of one length, numbers, and positive where a law takes logarithms."""
    count = [law.observed.count] if law.observed.count else []
    runs = {*map(column, law.inputs), *count, *filter(None, [size_column(law)])}
    runs |= {"compute"} if {"N", "D"} <= set(law.inputs) else set()
    scalars = {*law.constants, "C_ref"}
    needed = {"constant_data": runs | scalars, "observed_data": {law.observed.variable}}
    for group, names in needed.items():
        present = tree[group].to_dataset() if group in tree.children else xr.Dataset()
        missing = sorted(names - set(present.data_vars))
        if missing:
            return f"no {missing[:12]} in its {group}"
        for name in sorted(names):
            values = present[name]
            if values.dims != (() if name in scalars else ("run",)) or values.dtype.kind not in "fiu":
                return f"'{name}' in its {group} is not {'a number' if name in scalars else 'a column of numbers'}"
            positive = name in {*positive_columns(law), "C_ref", "compute"} and name != law.observed.variable
            if not (np.isfinite(values.values) & ((values.values > 0) | (not positive))).all():
                return f"'{name}' in its {group} is not finite{' and above 0' if positive else ''}"
    seen = tree["observed_data"][law.observed.variable]
    if not RUNS_MIN <= seen.sizes["run"] == tree["constant_data"].sizes["run"]:
        return "its runs and what they showed are not of one number"
    if "log_likelihood" in tree.children:
        group = tree["log_likelihood"].to_dataset()
        if law.observed.variable not in group or group[law.observed.variable].sizes.get("run") != seen.sizes["run"]:
            return "its log likelihood is not of its runs"
    return ""
