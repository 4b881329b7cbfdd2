"""Is a file a fit? Its sizes before anything of it is read, then its groups, dimensions, numbers and texts."""

import json
import math
import mmap
import numbers
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.diagnostics import trust_warnings
from bayescale.fit import FORMAT, MIN_RUNS, law_of
from bayescale.formula import FormulaError
from bayescale.law import Law, LawError, column, size_column
from bayescale.lawfile import COLUMNS
from bayescale.noise import NOISES
from bayescale.priors import to_real

MAX_BYTES = 600_000_000  # of a file, and of what it unpacks to
MAX_OBJECTS = 3000  # groups and variables
MAX_DEPTH = 3  # of groups
MAX_ATTRIBUTES = 100  # of one object
MAX_ATTRIBUTE_BYTES = 1_000_000
MAX_TEXT = 4000  # characters of one text of the diagnostics and notes
MAX_NAME = 300
FILTERS = {1, 2, 3}  # of HDF5: deflate, shuffle, fletcher32; others may load a program
HEAP_HEAD = 16  # bytes of the head of a collection of texts, and of each of its entries
AGAIN = "make the fit again (bayescale fit)"


def objection_to(path: "str | os.PathLike[str]") -> str:
    """What speaks against reading a NetCDF file into memory, or an empty text; only its structure is looked at.

    An exception of whatever kind where it is no such file.

    HDF5 lets a file of a kilobyte declare a terabyte, take its data out of another file, hold itself as a group of its
    own, or ask for a plugin: none of this is in a fit.
    """
    import h5py

    if os.path.getsize(path) > MAX_BYTES:
        return f"larger than {MAX_BYTES // 1_000_000} MB: not a fit saved by bayescale"
    with open(path, "rb") as file:
        head = file.read(16)
    sizes = head[13:15] if head[8:9] < b"\x02" else head[9:11]
    if not head.startswith(b"\x89HDF\r\n\x1a\n") or sizes != b"\x08\x08":  # bytes of an address, and of a length
        raise ValueError("not an HDF5 file as bayescale writes them")
    if not _heaps_end(path):
        raise ValueError("the place where its texts are kept makes no sense, or ends after the file")
    with h5py.File(path, "r") as file:
        seen, declared = set(), 0
        for place in _objects(file, 0):
            if isinstance(place, str):
                return place
            address = h5py.h5o.get_info(place.id).addr
            if address in seen:
                return "damaged: a group in it holds itself"
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                return f"more than {MAX_OBJECTS} groups and variables: not a fit saved by bayescale"
            if objection := _attributes(place, os.path.getsize(path)):
                return objection
            if isinstance(place, h5py.Dataset):
                if objection := _stored_oddly(place):
                    return objection
                declared += place.size * place.dtype.itemsize
                if declared > MAX_BYTES:
                    return f"unpacks to more than {MAX_BYTES // 1_000_000} MB: not a fit saved by bayescale"
        return _long_texts(file, os.path.getsize(path))


def _heaps_end(path: "str | os.PathLike[str]") -> bool:
    """Whether HDF5 will come to an end of each collection of texts (a "global heap").

    It walks from entry to entry by the sizes that they state, and where one states 0, or so much that the sum wraps
    round, it never arrives. No call of the library can be stopped then, so it is walked here first.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at, left = content.find(b"GCOL\x01"), len(content) // HEAP_HEAD + 1  # entries, of collections that lie apart
        while at >= 0:
            head = content[at + 8 : at + HEAP_HEAD]
            end = at + int.from_bytes(head, "little")
            if len(head) < 8 or end > len(content):
                return False
            here = at + HEAP_HEAD
            while end - here >= HEAP_HEAD:
                entry = content[here : here + HEAP_HEAD]
                index, size = int.from_bytes(entry[:2], "little"), int.from_bytes(entry[8:], "little")
                step = size if index == 0 else HEAP_HEAD + -(-size // 8) * 8
                left -= 1
                if not (0 < step <= end - here and left >= 0):
                    return False
                here += step
            at = content.find(b"GCOL\x01", at + 1)
    return True


def _objects(group: Any, depth: int) -> Iterator[Any]:
    """Groups and variables below a group, the group first; a text where the walk must end."""
    import h5py

    yield group
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield "damaged: it refers to other places or files; a fit holds all its data itself"
            return
        child = group[name]
        if isinstance(child, h5py.Group):
            if depth >= MAX_DEPTH:
                yield f"damaged: groups nested more than {MAX_DEPTH} deep"
                return
            yield from _objects(child, depth + 1)
        elif isinstance(child, h5py.Dataset):
            yield child


def _attributes(place: Any, size: int) -> str:
    """``size`` is that of the file: several texts may be one and the same, of almost all of it."""
    import h5py

    if len(place.attrs) > MAX_ATTRIBUTES:
        return f"more than {MAX_ATTRIBUTES} attributes at one place: not a fit saved by bayescale"
    for name in place.attrs:
        about = place.attrs.get_id(name)
        count = math.prod(about.shape or ())
        texts = h5py.check_string_dtype(about.dtype) is not None
        most = max(1, min(1000, MAX_BYTES // 4 // size)) if texts else MAX_ATTRIBUTE_BYTES // about.dtype.itemsize
        if count > most:
            return f"the attribute {name[:60]!r} is larger than a fit saved by bayescale has any"
    return ""


def _stored_oddly(variable: Any) -> str:
    import h5py

    how = variable.id.get_create_plist()
    if how.get_layout() == h5py.h5d.VIRTUAL or how.get_external_count():
        return "damaged: it refers to other places or files; a fit holds all its data itself"
    if any(how.get_filter(i)[0] not in FILTERS for i in range(how.get_nfilters())):
        return "packed in a way that no fit saved by bayescale is"
    if variable.dtype.kind not in "biufS" and h5py.check_string_dtype(variable.dtype) is None:
        return f"the variable {variable.name[:60]!r} holds neither numbers nor text: not a fit saved by bayescale"
    return ""


def _long_texts(file: Any, size: int) -> str:
    """Texts are kept apart, and many cells may share a long one: what they come to is counted few at a time."""
    import h5py

    total = 0
    for place in _objects(file, 0):
        if not isinstance(place, h5py.Dataset) or place.dtype.kind != "O":
            continue
        cells = max(1, MAX_BYTES // 4 // max(size, 1))
        if place.size <= cells:
            total += place.size * size if place.size * size > MAX_BYTES else 0
            continue
        if place.ndim != 1:
            return "damaged: texts in more than one dimension"
        for start in range(0, place.size, cells):
            total += sum(map(len, place[start : start + cells]))
            if total > MAX_BYTES // 4:
                return f"its texts unpack to more than {MAX_BYTES // 4_000_000} MB: not a fit saved by bayescale"
    return ""


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
    for name in ("machine", "data_hash"):
        text = attrs.get(name, "")
        if not (isinstance(text, str) and text.isprintable() and len(text) <= MAX_NAME):
            return f"its attribute '{name}' is not a name"
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
    if not all(isinstance(report.get(name, ""), str) for name in ("method", "not_quick", "remedy", "line")):
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
    runs = {*map(column, law.inputs), size_column(law), *count}
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
            positive = name in {*COLUMNS.values(), size_column(law), "C_ref", *count} and name != law.observed.variable
            if not (np.isfinite(values.values) & ((values.values > 0) | (not positive))).all():
                return f"'{name}' in its {group} is not finite{' and above 0' if positive else ''}"
    seen = tree["observed_data"][law.observed.variable]
    if not MIN_RUNS <= seen.sizes["run"] == tree["constant_data"].sizes["run"]:
        return "its runs and what they showed are not of one number"
    if "log_likelihood" in tree.children:
        group = tree["log_likelihood"].to_dataset()
        if law.observed.variable not in group or group[law.observed.variable].sizes.get("run") != seen.sizes["run"]:
            return "its log likelihood is not of its runs"
    return ""
