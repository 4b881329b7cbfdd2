"""Observed runs: whatever they are given as -> Dataset [run]."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import LawError, RunsError
from bayescale.field import FLOPS_PER_PARAM_TOKEN, clipped
from bayescale.laws.groups import GROUP, Groups
from bayescale.laws.law import Law
from bayescale.runs.best_setting import without_luck
from bayescale.runs.cells import all_positive, checked_flags, checked_numbers, numbers_or_texts, texts_of
from bayescale.runs.choose import Asked, Choice, choose
from bayescale.runs.compute import ROUNDING_RELATIVE, constant_multiple, no_compute_text, rounded
from bayescale.runs.loss_unit import NATS, PERPLEXITY, to_nats
from bayescale.runs.roles import (
    CENSORED,
    RELATIVE,
    allowed_numbers,
    find_roles,
    from_logarithms,
    input_errors,
    multipliers,
    needed_roles,
    scatter_roles,
    units_of,
)
from bayescale.runs.source import table_of
from bayescale.runs.spellings import DERIVED_SIZES, NAMES, RENAMED_COLUMNS, SIZES
from bayescale.runs.tables.formats import Table, read_table
from bayescale.runs.tables.limits import heading

# of runs and fits: units given or recognised, and rows left out
KEPT_ATTRIBUTES = ("compute_unit", "compute_unit_seen", "loss_unit", "left_out")
READ_ATTRIBUTES = ("source", "read", "read_notes", "left_out")  # of results: what they were read from


def read_runs(
    source: Any,
    law: "Law | Sequence[Law] | None" = None,
    *,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    where: str | None = None,
    above_step: float | None = None,
    last_of: str | None = None,
    drop_missing: bool = False,
    best_of: str | Sequence[str] = (),
) -> xr.Dataset:
    """Observed training runs as a Dataset with the dimension ``run``.

    Parameters
    ----------
    source : path of a table (see docs/runs.md for the formats), several paths or a folder, whose rows get a column
        ``file``; pandas or polars frame, lazy too, Arrow table, list of dicts, dict of columns, or xarray Dataset
    law : what the runs are for, a law or several; without it loss and two of params, tokens and compute are expected,
        with it the columns that the law uses: its inputs and what it explains
    columns : role -> column name, e.g. ``{"loss": "pile_loss"}``; roles not given are guessed from common spellings,
        and where two columns could be meant that is an error which asks. Every input of the law is a role too
    units : role -> unit: K, M, B, T, log10, log2, ln for params and tokens; nats, bits, bits_per_byte or perplexity
        for loss, which is kept in nats, and in which results are then given; for compute FLOP, GFLOP, TFLOP, PFLOP,
        EFLOP, MAC, PFLOP-day or a power of ten such as 1e21. Without it they are counts, nats per token and FLOP,
        unless comparison with 6 N D shows another unit
    where : a condition that rows must meet, such as ``state == "finished" and lr > 1e-4``; nothing in it is executed
    above_step : rows up to this step are left out
    last_of : a column that names runs: of each its last complete row
    drop_missing : leave out rows without a value that is needed
    best_of : columns or roles, such as ``("params", "tokens")``: of rows that agree in them the one of lowest loss,
        raised by what the lowest of several noisy losses is too low; ``lowest_loss`` keeps it, ``loss_q05`` and
        ``loss_q95`` are the band of the loss of the best setting

    Returns
    -------
    Dataset with float variables ``params``, ``tokens``, ``compute`` (6 N D when not given) and ``loss`` [run], or those
    of the law. Its coordinate ``run`` counts runs as their user does: by the line of a CSV file, else by the row from 0
    (the attribute ``rows`` is "line" or "row"). Every other column is kept under its own name (``run`` as ``run_name``,
    and _ for /, which NetCDF forbids). Further attributes: ``source``; as JSON ``read``, which column each was read
    from, ``read_notes``, sentences about columns, and ``left_out``, how many rows were for which reason.

    Raises
    ------
    RunsError
        Naming the line (of a file) or row, the value and what is allowed.

    Examples
    --------
    >>> bayescale.read_runs(runs).sizes["run"]
    24
    """
    laws = [] if law is None else [law] if isinstance(law, Law) else list(law)
    best_of = (best_of,) if isinstance(best_of, str) else tuple(best_of)
    choice = Choice(where, above_step, last_of, drop_missing, best_of)
    columns, units, before = dict(columns or {}), dict(units or {}), _read_before(source)
    table = table_of(source)
    given = _given(before, columns, units, table.where)
    table, found = find_roles(table, given, units, laws)
    asked = {*needed_roles(laws), *given, *units}
    units = units_of(table, found.roles, units, before)
    table, units, of_logarithms = from_logarithms(table, found.roles, units)
    factors = multipliers(units, found.roles, table.where)
    if not len(table.frame):
        raise RunsError(f"{table.where}: no runs; a header line and one line for each run are expected")
    needed = [role for role in found.roles if role in asked]
    table, gone, picked = choose(Asked(table, found.roles, factors, needed, units.get("loss", NATS)), choice)
    roles = {  # a size that the law does not use may have gaps; it then stays an ordinary column
        role: name for role, name in found.roles.items() if role in asked or all_positive(table.frame[name])
    }
    runs, read = _dataset(table, roles, units, laws, source.attrs if isinstance(source, xr.Dataset) else {})
    read |= {role: text for role, text in before.items() if role not in columns}
    read = _in_order(read, laws)
    said, unused = (read_notes(source.attrs), ()) if before else ([], found.unused)
    notes = dict.fromkeys([*said, *table.notes, *found.notes, *unused, *of_logarithms])
    runs.attrs |= {"read": json.dumps(read), "read_notes": json.dumps(list(notes))}
    runs = runs if picked is None else without_luck(runs, picked)
    if gone:
        runs.attrs["left_out"] = json.dumps(left_out(runs.attrs) | gone)
    return runs


def _in_order(read: Mapping[str, str], laws: Sequence[Law]) -> dict[str, str]:
    """What each role was read from: what is observed, the sizes, the others."""
    observed = [law.observed.column for law in laws] or ["loss"]
    return {role: read[role] for role in dict.fromkeys((*observed, *SIZES, *read)) if role in read}


def _dataset(
    table: Table, roles: Mapping[str, Any], units: dict[str, str], laws: Sequence[Law], about: Mapping[str, Any]
) -> tuple[xr.Dataset, dict[str, str]]:
    """The runs of a table, with what is said of their units, and role -> what it was read from."""
    factors = multipliers({role: unit for role, unit in units.items() if role in roles}, roles, table.where)
    if "loss_se" in roles:
        factors["loss_se"] = factors.get("loss", 1.0)  # it is read in the unit of the loss
        if units.get("loss") == PERPLEXITY:
            raise RunsError(f"{table.where}: loss_se goes with a loss in nats or bits, not with a perplexity")
    groups = next((law.groups for law in laws if law.groups), None)
    explained = {"loss", *(law.observed.column for law in laws)}
    numbers = {
        role: (_codes(table, name, groups), "")
        if role == GROUP and groups
        else (checked_flags(table, name), "")
        if role == CENSORED and CENSORED in scatter_roles(laws)
        else checked_numbers(
            table, name, allowed_numbers(laws, role), counts=role not in explained, factor=factors.get(role, 1.0)
        )
        for role, name in roles.items()
    }
    if "loss" in numbers and numbers["loss"][1].endswith("%") and "loss" not in units:
        raise RunsError(
            f"{table.where}: the column {heading(roles['loss'])} has cells such as {numbers['loss'][1]}, which is no "
            "loss in nats; if it is an error rate say so (units={'loss': 'error'}, --unit loss=error)"
        )
    if CENSORED in numbers and numbers[CENSORED][0].all():
        raise RunsError(f"{table.where}: by the column {heading(roles[CENSORED])} all runs are censored")
    with np.errstate(over="ignore", under="ignore"):
        values = _all_sizes({role: value * factors[role] for role, (value, _) in numbers.items()})
    said = {name: about[name] for name in KEPT_ATTRIBUTES if name in about}
    said |= {f"{role}_unit": unit for role, unit in units.items() if role in ("compute", "loss") and role in roles}
    values, seen = _inside_units(table, values, units, "compute_unit" in said, roles)
    said |= seen
    for role in numbers.keys() & set(input_errors(laws)):
        values[role] = _error_of_size(role, values, numbers, factors, units.get(role) == RELATIVE)
    runs = xr.Dataset({name: ("run", value) for name, value in _variables(table, values, roles).items()})
    runs = runs.assign_coords(run=table.frame.index.to_numpy(dtype=int))
    if "loss" in runs:
        runs["loss"].attrs["units"] = "nats"
    units = units | ({"compute": said["compute_unit"]} if "compute_unit" in said else {})
    cells = {role: f"cells such as {cell}" for role, (_, cell) in numbers.items() if cell}
    runs.attrs = said | {"source": table.where, "rows": table.place}
    return runs, _said(roles, values, units, cells)


def _error_of_size(
    role: str,
    values: Mapping[str, np.ndarray],
    numbers: Mapping[str, Any],
    factors: Mapping[str, float],
    relative: bool,
) -> np.ndarray:
    """Standard errors of a size, or of another input, as that is counted inside [run]."""
    of, given = role.removesuffix("_se"), numbers[role][0]
    if relative:
        return given * np.abs(values[of])
    if of == "compute" and of in numbers:  # whose unit may have been recognised
        return given * (values[of] / numbers[of][0])
    return given * factors.get(of, 1.0)


def _codes(table: Table, name: Any, groups: Groups) -> np.ndarray:
    """The code of the group of each run."""
    column = table.frame[name]
    found = column.to_numpy(dtype=float) if column.dtype.kind in "iuf" else texts_of(column)
    codes = np.empty(len(found))
    for row, group in enumerate(found):
        try:
            codes[row] = groups.code_of(group)
        except LawError as error:
            raise RunsError(f"{table.at(row)}: {heading(name)}: {error}") from None
    return codes


def read_columns(path: "str | os.PathLike[str]") -> dict[str, np.ndarray]:
    """Columns of any table in a file, with the limits of a file of runs: numbers where all are numbers, else text.

    Raises
    ------
    RunsError
        If it cannot be read; the message names the line.
    """
    table = read_table(path)
    return {str(name): numbers_or_texts(table, name) for name in table.frame.columns}


def read_roles(about: Mapping[Any, Any]) -> dict[str, str]:
    """Role -> what it was read from, from the attributes of runs or of a fit."""
    return dict(json.loads(about.get("read", "{}")))


def read_text(about: Mapping[Any, Any]) -> str:
    """What was read, in one line, from the attributes of runs, of a fit or of a result:
    ``loss = val_loss [nats], params = n_params, tokens = n_tokens, compute = 6 N D``, and which rows were left out."""
    columns = ", ".join(f"{role} = {text}" for role, text in read_roles(about).items())
    return "; ".join(filter(None, (columns, left_out_text(about))))


def left_out(about: Mapping[Any, Any]) -> dict[str, int]:
    """Reason -> how many rows were left out for it, from the attributes of runs, of a fit or of a result."""
    return dict(json.loads(about.get("left_out", "{}")))


def left_out_text(about: Mapping[Any, Any]) -> str:
    """The same in words, or ""."""
    reasons = left_out(about)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"left out {sum(reasons.values())} row{'s' if sum(reasons.values()) > 1 else ''}: {told}" if reasons else ""


def read_notes(about: Mapping[Any, Any]) -> list[str]:
    """Sentences about columns that were not read, from the attributes of runs."""
    return list(json.loads(about.get("read_notes", "[]")))


def read_said(about: Mapping[Any, Any]) -> tuple[str, ...]:
    """The columns that a result was read from, and notes on others, from its attributes."""
    text = read_text(about)
    return (*([f"read: {text}"] if text else []), *(f"note: {note}" for note in read_notes(about)))


def _read_before(source: Any) -> dict[str, str]:
    """Role -> what it was read from, of runs that :func:`read_runs` returned."""
    if not isinstance(source, xr.Dataset) or "read" not in source.attrs:
        return {}
    return {role: text for role, text in read_roles(source.attrs).items() if role in source}


def _given(
    before: Mapping[str, str], columns: Mapping[str, str], units: Mapping[str, str], where: str
) -> dict[str, str]:
    """Columns by role, as the user gives them, or as runs that were read before name them."""
    again = [role for role in units if role in before and role not in columns]
    if again:
        raise RunsError(
            f"{where}: a unit is given for {again[0]}, but these runs have been read already, and are in the units of "
            "read_runs; give the unit there"
        )
    return {role: role for role in before} | dict(columns)


def _said(
    roles: Mapping[str, Any], values: Mapping[str, Any], units: Mapping[str, str], cells: Mapping[str, str]
) -> dict[str, str]:
    """Role -> what it was read from, with its unit, and how its cells are written where they are no plain numbers."""
    said = {}
    for role, name in roles.items():
        about = [*filter(None, (units.get(role, "nats" if role == "loss" else ""), cells.get(role)))]
        said[role] = clipped(name) + (f" [{', '.join(about)}]" if about else "")
    return said | {role: DERIVED_SIZES[role] for role in SIZES if role in values and role not in roles}


def _all_sizes(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All three sizes, the missing one by C = 6 N D."""
    if "compute" not in values and {"params", "tokens"} <= values.keys():
        return values | {"compute": FLOPS_PER_PARAM_TOKEN * values["params"] * values["tokens"]}
    for missing, other in (("tokens", "params"), ("params", "tokens")):
        if missing not in values and {"compute", other} <= values.keys():
            return values | {missing: values["compute"] / FLOPS_PER_PARAM_TOKEN / values[other]}
    return values


def _inside_units(
    table: Table, values: dict[str, np.ndarray], units: Mapping[str, str], unit_known: bool, roles: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Loss in nats, compute in FLOP; and attributes with the recognised unit of compute."""
    values = dict(values)
    seen: dict[str, Any] = {}
    if units.get("loss") == PERPLEXITY:
        values["loss"] = to_nats(values["loss"], PERPLEXITY)
        if (low := np.flatnonzero(~(values["loss"] > 0))).size:
            perplexity = np.exp(values["loss"][low[0]])
            raise RunsError(f"{table.at(low[0])}: a perplexity of {perplexity:g} (must be above 1)")
    if "compute" in roles and set(SIZES) <= values.keys():
        values["compute"], seen = _in_flop(values["params"], values["tokens"], values["compute"], unit_known)
    for role, value in values.items():
        bad = np.flatnonzero(~np.isfinite(value) | ((value <= 0) & (role in SIZES)))
        if bad.size:
            found = f"{role} comes out as {value[bad[0]]:g}"
            raise RunsError(f"{table.at(bad[0])}: {found}, by the units and C = 6 N D: check the sizes")
        if role in ("params", "tokens") and role not in roles and (low := np.flatnonzero(value < 1)).size:
            raise RunsError(f"{table.at(low[0])}: {no_compute_text(role, value[low[0]], heading(roles['compute']))}")
    return values, seen


def _in_flop(N: np.ndarray, D: np.ndarray, compute: np.ndarray, unit_known: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """Compute in FLOP, and attributes with the recognised unit where the column has another."""
    found = constant_multiple(N, D, compute, unit_known=unit_known)
    with np.errstate(all="ignore"):
        compute = compute * found.unit
        exact = np.asarray(found.compute(N, D), dtype=float)
        same = np.abs(compute / exact - 1) < ROUNDING_RELATIVE
    seen = {"compute_unit": found.unit_name, "compute_unit_seen": 1} if found.unit != 1.0 else {}
    # equal numbers whatever the unit: the draws of a fit must not depend on it
    return np.where(same, exact, rounded(compute)), seen


def _variables(table: Table, values: Mapping[str, np.ndarray], roles: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Variables of a Dataset of runs: sizes, loss, other roles, then every other column under its kept name."""
    variables = {role: values[role] for role in (*SIZES, "loss") if role in values} | dict(values)
    names: dict[str, str] = {}
    for position, name in enumerate(table.frame.columns, start=1):
        kept = _kept_as(str(name), position)
        if (other := names.setdefault(kept, str(name))) != str(name):
            both = f"{heading(other)} and {heading(name)}"
            raise RunsError(f"{table.where}: the columns {both} would both be kept as {kept}; rename one")
        if kept not in variables and (name not in roles.values() or str(name) in NAMES):
            variables[kept] = numbers_or_texts(table, name)
    return variables


def _kept_as(name: str, position: int) -> str:
    """The name of a column in a Dataset: NetCDF forbids slashes, empty names, and names of dots alone."""
    name = RENAMED_COLUMNS.get(name, name.replace("/", "_"))
    return f"column_{position}" if not name.strip() else name.replace(".", "_") if not name.strip(". ") else name
