"""Is a tree a fit? Its groups, dimensions, numbers and texts."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FormulaError, LawError
from bayescale.fitting.clusters import NONE
from bayescale.fitting.tree import FORMAT
from bayescale.laws.law import Law, column, is_joint, positive_columns, size_column
from bayescale.laws.noises import NOISES
from bayescale.laws.priors import to_real
from bayescale.laws.scatter import Scatter
from bayescale.runs.compute import objection_to as objection_to_definition
from bayescale.runs.law_checks import RUNS_MIN
from bayescale.runs.loss_unit import UNITS
from bayescale.runs.read import read_roles
from bayescale.runs.roles import CENSORED, error_column, scatter_roles
from bayescale.study import law_of

TEXT_CHARACTERS_MAX = 4000  # of one text of the diagnostics and notes
SAVED_NAME_CHARACTERS_MAX = 300
WHOLE = int | np.integer  # numbers of JSON, and of attributes in a file
REAL = WHOLE | float | np.floating


# ---- what a fit says of itself: every attribute with its shape, as _fits reads it -----------------------------------


def _name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= SAVED_NAME_CHARACTERS_MAX


def _number(value: Any) -> bool:
    real = isinstance(value, REAL) and not isinstance(value, bool)
    return bool((real and abs(value) < 1e300) or value != value)


def _table(shape: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(_name(key) and _fits(one, shape) for key, one in value.items())


NEEDED = {
    **dict.fromkeys(("law", "source"), _name),
    **dict.fromkeys(("law_text", "notes", "diagnostics"), str),
    "noise": tuple(NOISES),
    "seed": lambda value: isinstance(value, WHOLE) and value >= 0,
}
OPTIONAL = {
    **dict.fromkeys(("machine", "data_hash", "compute_unit", "compute_doubt", "clusters"), _name),
    **dict.fromkeys(("versions", "settings", "read", "left_out"), str),
    "compute": lambda value: _name(value) and not objection_to_definition(value),
    "compute_unit_seen": lambda value: _number(value) and value == 1,
    "loss_unit": tuple(UNITS),
    "rows": ("line", "row"),
    "below": lambda value: isinstance(value, REAL) and 0 < value < math.inf,
}
IN_JSON = {
    **dict.fromkeys(("versions", "settings"), _table((bool, _number, _name))),
    "read": _table(_name),
    "left_out": _table(lambda count: type(count) is int and count > 0),
    "notes": [{"code": str, "severity": str, "text": str}],
}
REPORT = {
    **dict.fromkeys(("converged", "clean", "collinear"), bool),
    **dict.fromkeys(("r_hat_max", "ess_min", "divergences"), _number),
    **dict.fromkeys(("r_hat", "ess_bulk", "prior_share"), _table(_number)),
    "why": str,
    "not_identified": [str],
}
REPORT_OPTIONAL = {
    **dict.fromkeys(("scatter", "ess_tail_min", "e_bfmi", "r_hat_limit", "ess_limit"), (None, _number)),
    **dict.fromkeys(("draws_asked", "draws_made", "pareto_k"), (None, _number)),
    **dict.fromkeys(("method", "not_quick", "quick_because", "remedy", "line"), str),
    "noted": [{"code": str, "text": str}],
}


def _fits(value: Any, shape: Any) -> bool:
    """Whether a value is of a shape: one of a tuple, a list of one shape, named parts, a type, a test, a constant."""
    if isinstance(shape, tuple):
        return any(_fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(one, shape[0]) for one in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(_fits(value[name], one) for name, one in shape.items())
    if isinstance(shape, type):
        return isinstance(value, shape)
    return shape(value) if callable(shape) else type(value) is type(shape) and value == shape


def _misfit(values: Mapping[str, Any], needed: Mapping[str, Any], optional: Mapping[str, Any]) -> str | None:
    shapes = dict(needed) | {name: shape for name, shape in optional.items() if name in values}
    return next((name for name, shape in shapes.items() if not _fits(values[name], shape)), None)


# ---- is it a fit ----------------------------------------------------------------------------------------------------


def damage_of(tree: xr.DataTree) -> str:
    """Why a tree is not a fit that can be asked, or an empty text."""
    saved_in = tree.attrs.get("bayescale_format")
    later = isinstance(saved_in, WHOLE) and saved_in > FORMAT  # who knows what that holds
    if not later and ("law_text" not in tree.attrs or "posterior" not in tree.children):
        return "NetCDF, but not a fit saved by bayescale (no law or no posterior in it)"
    if later or not isinstance(saved_in, WHOLE):
        return f"saved in format {str(saved_in)[:20]}, this bayescale reads up to {FORMAT}; upgrade bayescale"
    try:
        damage = _attributes_damage(tree.attrs) or _groups_damage(tree)
    except (LawError, FormulaError) as error:
        damage = str(error)
    except KeyError as error:
        damage = f"{error.args[0]} is missing from it"
    except (TypeError, ValueError, AttributeError, RecursionError):
        damage = "its diagnostics cannot be read"
    return f"damaged: {damage}; make the fit again (bayescale fit)" if damage else ""


def _attributes_damage(attrs: Mapping[Any, Any]) -> str:
    if missing := sorted(set(NEEDED) - set(attrs)):
        return f"no {missing} among its attributes"
    if wrong := _misfit(attrs, NEEDED, OPTIONAL):
        return f"its attribute '{wrong}' is not what it should be"
    said = {name: json.loads(attrs[name]) for name in ("diagnostics", *IN_JSON) if name in attrs}
    if wrong := _misfit(said, {}, IN_JSON):
        return f"its {wrong} cannot be read"
    report = said["diagnostics"]
    wrong = _misfit(report, REPORT, REPORT_OPTIONAL)
    if wrong is None and report.get("method") == "importance" and not _number(report.get("pareto_k")):
        wrong = "pareto_k"
    if wrong:
        return f"'{wrong}' of its diagnostics is not what it should be"
    # diagnostics and notes are shown as they are
    if not all(text.isprintable() and len(text) <= TEXT_CHARACTERS_MAX for text in _all_texts([report, said["notes"]])):
        return "its diagnostics or notes hold something else than plain text"
    return ""


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


def _groups_damage(tree: xr.DataTree) -> str:
    law, noise = law_of(tree), NOISES[tree.attrs["noise"]]
    if law.observed.scale not in noise.observed:
        return f"its noise '{tree.attrs['noise']}' does not go with what its law explains"
    if tree.to_dataset(inherit=False).variables:
        return "variables outside its groups"
    return _posterior_damage(law, tree) or _data_damage(law, tree)


def _posterior_damage(law: Law, tree: xr.DataTree) -> str:
    posterior = tree["posterior"].to_dataset()
    priors = {**law.priors, **Scatter.of(law, tree.attrs["noise"]).priors}
    missing = sorted(set(priors) - set(posterior.data_vars))
    if missing:
        return f"no {missing[:12]} in its posterior"
    wrong = [name for name, draws in posterior.data_vars.items() if draws.dims != ("chain", "draw")]
    if wrong or posterior.sizes["chain"] < 2 or posterior.sizes["draw"] < 4:
        return "its posterior is not [chain, draw]"
    for name, draws in posterior.data_vars.items():
        if draws.dtype.kind != "f" or draws.dtype.itemsize > 8:
            return f"'{str(name)[:40]}' in its posterior is not a number of 64 bits or fewer"
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
    runs |= {"compute"} if is_joint(law) else set()
    errors = {*scatter_roles([law])} & read_roles(tree.attrs).keys()
    runs |= errors
    errors &= {error_column(law)}
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
            positive = name in {*positive_columns(law), *errors, "C_ref", "compute"} and name != law.observed.variable
            if not (np.isfinite(values.values) & ((values.values > 0) | (not positive))).all():
                return f"'{name}' in its {group} is not finite{' and above 0' if positive else ''}"
    if CENSORED in runs and not np.isin(tree["constant_data"].dataset[CENSORED].values, (0, 1)).all():
        return f"'{CENSORED}' in its constant_data is something else than 0 and 1"
    if tree.attrs.get("clusters", NONE) not in (NONE, *tree["constant_data"].data_vars):
        return "its clusters are no column of its runs"
    seen = tree["observed_data"][law.observed.variable]
    if not RUNS_MIN <= seen.sizes["run"] == tree["constant_data"].sizes["run"]:
        return "it has not one observed value a run"
    if "log_likelihood" in tree.children:
        found = tree["log_likelihood"].to_dataset()
        if law.observed.variable not in found or found[law.observed.variable].sizes.get("run") != seen.sizes["run"]:
            return "its log likelihood is not of its runs"
    return ""
