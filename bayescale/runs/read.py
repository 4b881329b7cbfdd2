"""Observed runs: CSV, parquet, data frame or xarray -> Dataset [run]."""

import collections
import csv
import io
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import RunsError
from bayescale.field import FLOPS_PER_PARAM_TOKEN
from bayescale.laws.law import Law, column, positive_columns
from bayescale.runs.columns import SIZES, SPELLINGS, Found, Question, find_columns, related_columns
from bayescale.runs.compute import EXACT, learn, rounded, unit_of
from bayescale.runs.loss_unit import NATS_IN, PERPLEXITY, to_nats

UNITS_KEPT = ("compute_unit", "compute_unit_seen", "loss_unit")  # attributes of runs and fits: said or seen
COUNTS = {"1": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
UNITS = {
    "params": COUNTS,
    "tokens": COUNTS,
    "loss": NATS_IN | {PERPLEXITY: 1.0},  # a perplexity is no multiple of nats: its logarithm is taken
}
# how much is read, a million checkpoints and a little more: checked before the work, so that no file takes all the
# memory
MAX_BYTES = 128_000_000
MAX_ROWS = 1_500_000
MAX_COLUMNS = 200
MAX_CELLS = 5_000_000
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # never in a table; some of them command terminals
KEPT_AS = {"run": "run_name"}  # run is the dimension


def read_runs(
    source: Any,
    law: "Law | Sequence[Law] | None" = None,
    *,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Observed training runs as a Dataset with the dimension ``run``.

    Parameters
    ----------
    source : path to a CSV or parquet file, pandas or polars data frame, dict of columns, or xarray Dataset
    law : what the runs are for, a law or several; without it loss and two of params, tokens and compute are expected,
        with it the columns that the law uses: its inputs and what it explains
    columns : role -> column name, e.g. ``{"loss": "pile_loss"}``; roles not given are guessed from common spellings,
        and where two columns could be meant that is an error which asks. Every input of the law is a role too
    units : role -> unit: K, M, B, T for params and tokens; nats, bits, bits_per_byte or perplexity for loss, which
        is kept in nats, and in which results are then given; for compute FLOP, GFLOP, TFLOP, PFLOP,
        EFLOP, MAC, PFLOP-day or a power of ten such as 1e21. Without it params and tokens are counts, loss is nats per
        token and compute is FLOP, unless comparison with 6 N D shows another unit

    Returns
    -------
    Dataset with float variables ``params``, ``tokens``, ``compute`` (6 N D when not given) and ``loss`` [run], or those
    of the law. Its coordinate ``run`` counts runs as their user does: by the line of a CSV file, else by the row from 0
    (the attribute ``rows`` is "line" or "row"). Every other column is kept under its own name (``run`` as ``run_name``,
    and _ for /, which NetCDF forbids). Further attributes: ``source``; ``read``, which column each was read from (see
    :func:`read_text`); ``read_notes``, sentences about columns that were not read, both as JSON.

    Raises
    ------
    RunsError
        Naming the line (of a file) or row, the value and what is allowed.
    """
    laws = [] if law is None else [law] if isinstance(law, Law) else list(law)
    frame, where, place = _as_frame(source)
    added = [name for name in SIZES if name in frame.columns]  # by this very function, when runs are read again
    _check_size(len(frame), len(frame.columns) - len(added), where, in_memory=True)
    for name in frame.columns:
        if CONTROL.search(str(name)):
            raise RunsError(f"{where}: the column {_plain(name)} has a control character in its name; rename it")
    needs, before = _needs(laws), _read_before(source)
    given, units = _given(before, columns or {}, units or {}, where), dict(units or {})
    found = _roles(frame, given, needs, units, where, laws)
    multipliers = _multipliers(units, found.roles, where)
    if not len(frame):
        raise RunsError(f"{where}: no runs; a header line and one line for each run are expected")
    said = (
        {name: source.attrs[name] for name in UNITS_KEPT if name in source.attrs}
        if isinstance(source, xr.Dataset)
        else {}
    )
    values = {}
    for role, name in found.roles.items():
        if role not in {*needs, *given, *units} and _numbers(frame[name]) is None:
            continue  # a size that the law does not use may have gaps; it stays an ordinary column
        values[role] = _checked(frame[name], name, _allowed(laws, role), where, place)
    roles = {role: found.roles[role] for role in values}
    with np.errstate(over="ignore", under="ignore"):
        values = _all_sizes({role: value * multipliers[role] for role, value in values.items()})
    said |= {f"{role}_unit": unit for role, unit in (units or {}).items() if role in ("compute", "loss")}
    if (units or {}).get("loss") == PERPLEXITY:
        values["loss"] = to_nats(values["loss"], PERPLEXITY)
        if (low := np.flatnonzero(~(values["loss"] > 0))).size:
            at = f"{where}, {place} {frame.index[low[0]]}"
            raise RunsError(f"{at}: a perplexity of {np.exp(values['loss'][low[0]]):g} (must be above 1)")
    if "compute" in roles and set(SIZES) <= values.keys():
        values["compute"], seen = _in_flop(*(values[role] for role in SIZES), "compute_unit" in said)
        said |= seen
    for role, value in values.items():
        bad = np.flatnonzero(~np.isfinite(value) | ((value <= 0) & (role in SIZES)))
        if bad.size:
            at = f"{where}, {place} {frame.index[bad[0]]}"
            raise RunsError(f"{at}: {role} comes out as {value[bad[0]]:g}, by the units and C = 6 N D: check the sizes")
    columns_read = {role: values[role] for role in (*SIZES, "loss") if role in values} | values
    names: dict[str, str] = {}
    for position, name in enumerate(frame.columns, start=1):
        kept = _kept_as(str(name), position)
        if (other := names.setdefault(kept, str(name))) != str(name):
            raise RunsError(
                f"{where}: the columns {_plain(other)} and {_plain(name)} would both be kept as {kept}; rename one"
            )
        if kept not in columns_read and (name not in roles.values() or str(name) in SPELLINGS):
            columns_read[kept] = _other(frame[name], name, where, place)
    runs = xr.Dataset({name: ("run", value) for name, value in columns_read.items()})
    runs = runs.assign_coords(run=frame.index.to_numpy(dtype=int))
    if "loss" in runs:
        runs["loss"].attrs["units"] = "nats"
    if "compute_unit" in said:
        units["compute"] = said["compute_unit"]
    read = _said(roles, values, units) | {role: text for role, text in before.items() if role not in (columns or {})}
    observed = [one.observed.column for one in laws] or ["loss"]
    read = {role: read[role] for role in dict.fromkeys((*observed, *SIZES, *read)) if role in read}
    notes = [*(read_notes(source.attrs) if before else ()), *found.notes]
    runs.attrs = said | {"source": where, "rows": place}
    runs.attrs |= {"read": json.dumps(read), "read_notes": json.dumps(list(dict.fromkeys(notes)))}
    return runs


def read_text(about: Mapping[str, Any]) -> str:
    """What was read, in one line, of the attributes of runs, of a fit or of what was made from runs:
    ``loss = val_loss [nats], params = n_params, tokens = n_tokens, compute = 6 N D``."""
    return ", ".join(f"{role} = {text}" for role, text in json.loads(about.get("read", "{}")).items())


def read_notes(about: Mapping[str, Any]) -> list[str]:
    """Sentences about columns that were not read, of the attributes of runs."""
    return list(json.loads(about.get("read_notes", "[]")))


def _read_before(source: Any) -> dict[str, str]:
    """Of runs that :func:`read_runs` returned: what each role was read from."""
    if not isinstance(source, xr.Dataset) or "read" not in source.attrs:
        return {}
    return {role: text for role, text in json.loads(source.attrs["read"]).items() if role in source}


def _given(before: Mapping[str, str], columns: Mapping[str, str], units: Mapping[str, str], where: str) -> dict:
    """Columns by role, as the user says, or as they are called in runs that were read before."""
    again = [role for role in units if role in before and role not in columns]
    if again:
        raise RunsError(
            f"{where}: a unit is given for {again[0]}, but these runs have been read already, and are in the units of "
            "read_runs; give the unit there"
        )
    return {role: role for role in before} | dict(columns)


def _said(roles: Mapping[str, Any], values: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, str]:
    """Role -> what it was read from, with its unit."""
    said = {}
    for role, name in roles.items():
        unit = units.get(role, "nats" if role == "loss" else "")
        said[role] = _plain(name, most=60) + (f" [{unit}]" if unit else "")
    derived = {"compute": "6 N D", "tokens": "compute / 6 N", "params": "compute / 6 D"}
    return said | {role: derived[role] for role in SIZES if role in values and role not in roles}


def _kept_as(name: str, position: int) -> str:
    """The name of a column in a Dataset, and in a file of it: NetCDF forbids /, nothing, and names of folders."""
    name = KEPT_AS.get(name, name.replace("/", "_"))
    return f"column_{position}" if not name.strip() else name.replace(".", "_") if not name.strip(". ") else name


def _needs(laws: Sequence[Law]) -> tuple[str, ...]:
    """Roles that must be there; of the three sizes two are enough."""
    if not laws:
        return (*SIZES, "loss")
    needed = [column(symbol) for law in laws for symbol in law.inputs]
    needed += [name for law in laws for name in (law.observed.column, law.observed.count) if name]
    return tuple(dict.fromkeys(needed))


def _allowed(laws: Sequence[Law], role: str) -> str:
    """What the numbers of a column must be: positive, finite, or a proportion."""
    if role in SIZES or any(role in positive_columns(law) for law in laws):
        return "positive"
    scales = {"log": "positive", "linear": "finite", "proportion": "proportion"}
    explained = [law.observed.scale for law in laws if role == law.observed.column]
    return scales[explained[0]] if explained else "positive" if role == "loss" and not laws else "finite"


def _all_sizes(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The one size that is not given, from the other two by C = 6 N D."""
    if "compute" not in values and {"params", "tokens"} <= values.keys():
        return values | {"compute": FLOPS_PER_PARAM_TOKEN * values["params"] * values["tokens"]}
    for missing, other in (("tokens", "params"), ("params", "tokens")):
        if missing not in values and {"compute", other} <= values.keys():
            return values | {missing: values["compute"] / FLOPS_PER_PARAM_TOKEN / values[other]}
    return values


def _in_flop(N: np.ndarray, D: np.ndarray, compute: np.ndarray, known: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """Compute in FLOP where the column is seen to be in another unit, and that unit.

    ``known`` is whether its unit has been said; see :mod:`bayescale.runs.compute`.
    """
    found = learn(N, D, compute, unit_known=known)
    with np.errstate(all="ignore"):
        compute = compute * found.unit
        exact = np.asarray(found.compute(N, D), dtype=float)
        same = np.abs(compute / exact - 1) < EXACT
    seen = {"compute_unit": found.unit_name, "compute_unit_seen": 1} if found.unit != 1.0 else {}
    # equal numbers whatever the unit: the draws of a fit must not depend on it
    return np.where(same, exact, rounded(compute)), seen


def _as_frame(source: Any) -> tuple[pd.DataFrame, str, str]:
    """The table, what to call it in messages, and whether its index counts lines of a file or rows."""
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    where = "runs"
    if isinstance(source, xr.Dataset):
        if len(source.dims) != 1:
            raise RunsError(f"runs: a Dataset with one dimension is expected, this one has {tuple(source.dims)}")
        others = [name for name in source.data_vars if name not in SIZES]
        _check_size(next(iter(source.sizes.values())), len(others), where, in_memory=True)
        frame, where = source.to_dataframe(), _plain(source.attrs.get("source", "runs"))
        place = source.attrs.get("rows")
        if place in ("line", "row") and frame.index.dtype.kind == "i" and frame.index.is_unique:
            return frame, where, place  # read before: its runs are counted as they were
    elif isinstance(source, pd.DataFrame):
        frame = source
    elif isinstance(source, Mapping):
        lengths = (
            np.size(v) if isinstance(v, np.ndarray) else len(v) for v in source.values() if hasattr(v, "__len__")
        )
        _check_size(max(lengths, default=0), len(source), where, in_memory=True)
        try:
            frame = pd.DataFrame(dict(source))
        except (ValueError, TypeError) as error:
            raise RunsError(f"runs: the columns do not make a table: {_plain(error)}") from None
    elif hasattr(source, "to_dict") and hasattr(source, "columns"):  # polars, without importing it
        frame = pd.DataFrame(source.to_dict(as_series=False))
    else:
        raise RunsError(
            f"runs of type {type(source).__name__} cannot be read: "
            "give a CSV or parquet path, a pandas or polars frame, a dict of columns or an xarray Dataset"
        )
    _no_repeats(list(frame.columns), where)
    return frame.reset_index(drop=True), where, "row"


def _read_file(path: Path) -> tuple[pd.DataFrame, str, str]:
    where = _plain(path.name)
    if os.path.isdir(path):
        raise RunsError(f"{_plain(path, end=True)} is a folder; a CSV or parquet file is expected")
    if not os.path.exists(path):
        raise RunsError(f"{_plain(path, end=True)}: no such file; a CSV or parquet file of runs is expected")
    if path.suffix.lower() not in (".parquet", ".pq"):
        return _read_csv(path, where), where, "line"
    frame = _read_parquet(path, where)
    _no_repeats(list(frame.columns), where)
    return frame.reset_index(drop=True), where, "row"


def _check_size(rows: int, columns: int, where: str, *, in_memory: bool = False) -> None:
    """Of what is in memory already the cells are not counted: there a read adds columns, and has no file to fear."""
    if rows > MAX_ROWS or columns > MAX_COLUMNS or (rows * columns > MAX_CELLS and not in_memory):
        most = "" if in_memory else f" and {MAX_CELLS} cells of a file"
        raise RunsError(
            f"{where}: {rows} rows of {columns} columns; at most {MAX_ROWS} rows, {MAX_COLUMNS} columns{most} are read"
        )


def _read_parquet(path: Path, where: str) -> pd.DataFrame:
    """Sizes are looked at first, texts stay in their dictionaries; lists and records are no columns of runs."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise RunsError(f"{where}: reading parquet needs pyarrow: pip install 'bayescale[parquet]'") from None
    if os.path.getsize(path) > MAX_BYTES:
        raise RunsError(f"{where}: larger than {MAX_BYTES // 1_000_000} MB; at most so much is read")
    try:
        with pq.ParquetFile(path) as file:
            about, schema = file.metadata, file.schema_arrow
            _check_size(about.num_rows, len(schema), where)
            if sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) > 2 * MAX_BYTES:
                raise RunsError(
                    f"{where}: unpacks to more than {2 * MAX_BYTES // 1_000_000} MB; at most so much is read"
                )
            flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
            texts = [name for name in flat if pa.types.is_string(schema.types[schema.names.index(name)])]
        flat = [name for name in flat if not name.startswith("__index_level_")]
        batches, size = [], 0
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=10_000, columns=flat):
                batches.append(batch)
                size += batch.nbytes
                if size > 2 * MAX_BYTES:
                    raise RunsError(f"{where}: unpacks to more than {2 * MAX_BYTES // 1_000_000} MB")
            names = [field.name for field in file.schema_arrow if field.name in flat]
        if not batches:
            return pd.DataFrame({name: [] for name in names})
        return pa.Table.from_batches(batches).to_pandas(ignore_metadata=True)
    except RunsError:
        raise
    except Exception:  # pyarrow and pandas each raise their own kinds on a damaged file
        raise RunsError(f"{where}: not a readable parquet file; it may be truncated or of another format") from None


def read_columns(path: "str | os.PathLike[str]") -> dict[str, np.ndarray]:
    """Columns of any CSV file, with the limits of a file of runs: numbers where all are numbers, else text.

    Raises
    ------
    RunsError
        If it cannot be read; the message names the line.
    """
    path = Path(path)
    where = _plain(path.name)
    frame = _read_csv(path, where)
    return {str(name): _other(frame[name], name, where, "line") for name in frame.columns}


def _read_csv(path: Path, where: str) -> pd.DataFrame:
    """All cells as text, so that a bad one can be shown as it was written; the index is the line each run starts on."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RunsError(f"{where}: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise RunsError(f"{where}: larger than {MAX_BYTES // 1_000_000} MB; at most so much is read")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RunsError(f"{where} is not UTF-8 text; save it as CSV in UTF-8, or give a .parquet file") from None
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise RunsError(f"{where}, line {line}: the control character {found[0]!r}; a table in plain text is expected")
    records: list[list[str]] = []
    lines: list[int] = []
    reader, last, cells_read = csv.reader(io.StringIO(text, newline=""), strict=True), 0, 0
    try:
        for cells in reader:
            cells_read += len(cells) if records else 0  # those of the header are none
            cells = [cell.strip() for cell in cells]
            if any(cells):
                records.append(cells)
                lines.append(last + 1)
            if cells_read > MAX_CELLS or len(records) > MAX_ROWS + 1 or len(cells) > MAX_COLUMNS:
                break
            last = reader.line_num
    except csv.Error as error:
        raise RunsError(f"{where}, line {last + 1}: not CSV: {error}") from None
    if records:
        _check_size(len(records) - 1, max(len(records[0]), len(records[-1])), where)
    if cells_read > MAX_CELLS:
        raise RunsError(f"{where}: more than {MAX_CELLS} cells; at most so many are read")
    if not records:
        raise RunsError(f"{where} is empty; a header line and one line for each run are expected")
    header, first = records.pop(0), f"{where}, line {lines.pop(0)}"
    if len(header) == 1:
        for delimiter, called in ((";", "semicolon"), ("\t", "tab"), ("|", "bar")):
            if delimiter in header[0]:
                raise RunsError(f"{first}: the fields are separated by a {called}; a comma is expected")
    header = [name or f"column_{position}" for position, name in enumerate(header, start=1)]
    _no_repeats(header, first)
    for line, cells in zip(lines, records, strict=True):
        if len(cells) != len(header):
            raise RunsError(f"{where}, line {line}: {len(cells)} field(s), the header has {len(header)}")
    columns = zip(*records, strict=True) if records else [()] * len(header)
    return pd.DataFrame(dict(zip(header, columns, strict=True)), index=lines, dtype=object)


def _no_repeats(names: Sequence[Any], where: str) -> None:
    repeated = sorted(_plain(name) for name, count in collections.Counter(names).items() if count > 1)
    if repeated:
        shown = f"{repeated[:5]}{' and more' if len(repeated) > 5 else ''}"
        raise RunsError(f"{where}: columns {shown} stand twice; rename or drop one of each")


def _plain(text: Any, end: bool = False, most: int = 80) -> str:
    """Fit for a message: on one line, and not too long; of a path the end says most."""
    text = _text(text)
    text = text if text.isprintable() else repr(text)
    if len(text) <= most:
        return text
    return "..." + text[3 - most :] if end else text[: most - 3] + "..."


def _texts(column: pd.Series) -> list[str]:
    values = column.astype(str if column.dtype.kind in "mM" else object)  # dates as they are usually written
    return [(value if type(value) is str else _text(value)).strip() for value in values]


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # what a cell holds may be anything; integers of more than 4300 digits are not written out
        return f"a value of type {type(value).__name__}"


def _listed(names: Sequence[Any]) -> str:
    shown = [_plain(name, most=40) for name in itertools.islice(names, 20)]
    return (", ".join(shown) or "no columns") + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _roles(
    frame: pd.DataFrame, given: dict[str, Any], needs: Sequence[str], units: dict[str, str], where: str, laws: Any
) -> Found:
    """Which column plays each role: as given, else as its name says (see :mod:`bayescale.runs.columns`)."""
    names, known = list(frame.columns), list(dict.fromkeys((*SPELLINGS, *needs)))
    for role, name in given.items():
        if role not in known:
            raise RunsError(
                f"{where}: unknown role '{_plain(role)}' for column '{_plain(name)}'; the roles are {', '.join(known)}"
            )
        if name not in names:
            raise RunsError(f"{where}: no column '{_plain(name)}' for {role}; the columns are {_listed(names)}")
        twice = [other for other in SPELLINGS if other != role and role in SPELLINGS and given.get(other) == name]
        if twice:  # an input of the law's own may be one of them too
            raise RunsError(f"{where}: column '{_plain(name)}' is given for both {role} and {twice[0]}")

    def numbers(name: Any) -> np.ndarray | None:
        values = _as_numbers(frame[name])
        return values if np.isfinite(values).any() else None

    try:
        found = find_columns(names, given, needs, units, numbers)
    except Question as question:
        raise RunsError(f"{where}: {question}") from None
    roles = found.roles
    for role in needs:
        if role not in roles and role not in SIZES:
            users = [law.name for law in laws if role in _needs([law])]
            using = f", which law {users[0]!r} uses" if users else ""
            near = [_plain(name, most=40) for name in related_columns(role, names)][:3]
            hint = "name it loss or val_loss, or say" if role == "loss" else "say"
            hint = f"is it {' or '.join(near)}? Say" if near else hint
            raise RunsError(
                f"{where}: no column for {role} among {_listed(names)}{using}; "
                f"{hint} which it is (columns={{'{role}': ...}}, --column {role}=...)"
            )
    have = [role for role in SIZES if role in roles]
    missing = [role for role in SIZES if role in needs and role not in have]
    if missing and len(have) < 2:
        wanted = "two of params, tokens and compute are" if len(set(needs) & set(SIZES)) > 1 else f"{missing[0]} is"
        raise RunsError(
            f"{where}: {wanted} needed, found {have or 'none'} among {_listed(names)}; "
            f"name the columns so, or say which they are (columns={{'{missing[0]}': ...}}, --column {missing[0]}=...)"
        )
    return found


def _multipliers(units: dict[str, str], roles: Mapping[str, Any], where: str) -> dict[str, float]:
    """What to multiply the column of each role by."""
    for role, unit in units.items():
        if role == "compute" and unit_of(unit) is None:
            raise RunsError(
                f"{where}: unknown unit '{_plain(unit)}' for compute; allowed are FLOP, GFLOP, TFLOP, PFLOP, EFLOP, "
                "MAC, PFLOP-day and powers of ten such as 1e21"
            )
        if role != "compute" and role not in UNITS:
            known = ", ".join(("params", "tokens", "compute", "loss"))
            raise RunsError(f"{where}: a unit is given for '{_plain(role)}'; units go with {known}")
        if role != "compute" and unit not in UNITS[role]:
            raise RunsError(f"{where}: unknown unit '{_plain(unit)}' for {role}; allowed are {', '.join(UNITS[role])}")
        if role not in roles:
            raise RunsError(
                f"{where}: a unit is given for {role}, but no column; the columns read are {_listed(roles)}"
            )
    factors = {role: unit_of(unit) if role == "compute" else UNITS[role][unit] for role, unit in units.items()}
    return {role: factors.get(role, 1.0) for role in roles}


def _as_numbers(column: pd.Series) -> np.ndarray:
    """The column as floats, NaN where a cell is not a number."""
    try:
        found = pd.to_numeric(column, errors="coerce")
    except (TypeError, ValueError, OverflowError):  # lists, records, integers too large for a float
        return np.full(len(column), np.nan)
    if found.dtype.kind == "c":
        return np.full(len(column), np.nan)
    try:
        return found.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError, OverflowError):
        return np.array([_number(value) for value in found], dtype=float)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan
    except OverflowError:
        return np.inf


def _numbers(column: pd.Series) -> np.ndarray | None:
    """The column as floats, or None if one of them is not a number above 0."""
    numbers = _as_numbers(column)
    return numbers if (np.isfinite(numbers) & (numbers > 0)).all() else None


def _checked(column: pd.Series, name: Any, allowed: str, where: str, place: str) -> np.ndarray:
    """The column as floats that are all allowed, or an error that shows the first offender and counts the rest."""
    if column.dtype.kind not in "iuf":  # text; and booleans, dates and complex numbers, which are not to pass for sizes
        column = pd.Series(_texts(column), index=column.index, dtype=object)
    numbers = _as_numbers(column)
    within = {"positive": numbers > 0, "finite": np.isfinite(numbers), "proportion": (numbers >= 0) & (numbers <= 1)}
    bad = np.flatnonzero(~np.isfinite(numbers) | ~within[allowed])
    if not bad.size:
        return numbers
    wanted = {"positive": "must be > 0", "finite": "must be finite", "proportion": "must be between 0 and 1"}[allowed]
    seen, value, name = str(column.iloc[bad[0]]), numbers[bad[0]], _plain(name)
    if seen == "":
        problem = f"{name} is empty (a number{' > 0' if allowed == 'positive' else ''} is expected)"
    elif np.isnan(value) and seen.lower() in ("nan", "na", "none", "<na>"):
        problem = f"{name} is missing or NaN (drop the run, or give its value)"
    elif np.isnan(value):
        problem = f"{name} = {seen[:40]!r} is not a number (write 70e6 or 70000000, without units or commas)"
    elif np.isinf(value):
        problem = f"{name} = {value:g} (must be finite)"
    else:
        problem = f"{name} = {value:g} ({wanted})"
    more = "" if len(bad) == 1 else f"; {len(bad) - 1} more {'row' if len(bad) == 2 else 'rows'} like it"
    raise RunsError(f"{where}, {place} {column.index[bad[0]]}: {problem}{more}")


def _other(column: pd.Series, name: Any, where: str, place: str) -> np.ndarray:
    """A column that no role claims: numbers where all are, else text."""
    head = _as_numbers(column.iloc[:10])  # of most texts the first cells tell
    if np.isfinite(head).all() and column.notna().all() and not pd.api.types.is_bool_dtype(column):
        numbers = _as_numbers(column)
        if np.isfinite(numbers).all():
            return numbers
    texts = _texts(column)
    if sum(map(len, texts)) > MAX_BYTES:  # in a dictionary many cells may share one long text
        raise RunsError(f"{where}: the texts of {_plain(name)} come to more than {MAX_BYTES // 1_000_000} MB; drop it")
    for line, text in zip(column.index, texts, strict=True):
        if not text.isprintable() and CONTROL.search(text):
            raise RunsError(f"{where}, {place} {line}: a control character in the column {_plain(name)}; take it out")
    return np.array(texts, dtype=object)
