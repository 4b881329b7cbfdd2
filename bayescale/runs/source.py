"""Files, folders, data frames, records, columns and Datasets of runs -> one table."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import RunsError
from bayescale.field import clipped, listed
from bayescale.runs.spellings import SIZES, roles_named
from bayescale.runs.tables import limits
from bayescale.runs.tables.events import NAME_PART
from bayescale.runs.tables.formats import EXPECTED, Table, is_table_name, read_table
from bayescale.runs.tables.limits import check_headings, check_size, heading
from bayescale.runs.tables.records import frame_of
from bayescale.runs.tables.several import stacked

FILES_MAX = 1000
FILES_NAMED_MAX = 3  # of files in a note


def table_of(source: Any) -> Table:
    """The table of the runs given.

    Raises
    ------
    RunsError
        If it is no table, too large, or its headings cannot be used.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | os.PathLike):
        paths = _files(Path(source))
        table = read_table(paths[0]) if len(paths) == 1 else _of_files(paths, chosen=False)
    elif isinstance(source, xr.Dataset):
        table = _of_dataset(source)
    elif isinstance(source, list | tuple) and source and all(isinstance(one, str | os.PathLike) for one in source):
        paths = [path for one in source for path in _files(Path(one))]
        table = read_table(paths[0]) if len(paths) == 1 else _of_files(paths)
    else:
        frame = _with_index(_frame(source))
        check_headings(list(frame.columns), "runs")
        table = Table(frame, "runs", "row")
    frame = table.frame
    added = [name for name in SIZES if name in frame.columns]  # by read_runs, when runs are read again
    check_size(len(frame), len(frame.columns) - len(added), table.where, in_memory=True)
    return table


def read_once(source: Any) -> "Table | xr.Dataset":
    """The table of the runs given, for who reads it several times; a Dataset as it is, with what it says of itself.

    Raises
    ------
    RunsError
        As :func:`table_of`.
    """
    return source if isinstance(source, xr.Dataset) else table_of(source)


def _files(path: Path) -> list[Path]:
    """The file, or the tables in a folder: those directly in it, else those below it."""
    shown = clipped(path, 80, end=True)
    if not os.path.exists(path):
        raise RunsError(f"{shown}: no such file; {EXPECTED} of runs is expected")
    if not os.path.isdir(path):
        return [path]
    inside = (one for one in path.iterdir() if is_table_name(one.name) and not one.name.startswith("."))
    found = sorted(one for one in inside if one.is_file())
    below = (one for one in path.rglob("*") if is_table_name(one.name) and one.is_file())
    found = found or sorted(itertools.islice(below, FILES_MAX + 1))
    if not found:
        raise RunsError(f"{shown} is a folder without tables; {EXPECTED} is expected in it")
    return found


def _of_files(paths: Sequence[Path], chosen: bool = True) -> Table:
    """The tables of several files, one after the other, with a column that says which file a row is from.

    Of files that were not ``chosen`` one by one, those without a loss or a size are left out, as lists of packages are.
    """
    if len(paths) > FILES_MAX:
        raise RunsError(f"more than {FILES_MAX} files of runs; at most so many are read together")
    parts: list[Table] = []
    others: list[Path] = []
    for path in paths:
        part = read_table(path)
        if not (chosen or roles_named(list(part.frame.columns))):
            others.append(path)
            continue
        parts.append(part)
        rows, cells = sum(len(part.frame) for part in parts), sum(part.frame.size for part in parts)
        if rows > limits.MAX_ROWS or cells > limits.MAX_CELLS:
            most = f"{limits.MAX_ROWS} rows or {limits.MAX_CELLS} cells"
            raise RunsError(f"{len(paths)} files: more than {most} together; at most so many are read")
    if not parts:
        raise RunsError(f"{len(paths)} files: none of them has a column of a loss or of a size")
    paths = [path for path in paths if path not in others]
    frame, called = stacked([part.frame for part in parts], _labels(paths), "file", f"{len(paths)} files")
    notes = [f"{len(paths)} files are read together; the column {called} says which file a row is from"]
    if others:
        passed = listed(list(dict.fromkeys(clipped(path.name, 40) for path in others))[:FILES_NAMED_MAX])
        notes += [
            f"{len(others)} files of the folder have neither a loss nor a size and are left out, such as {passed}"
        ]
    notes += dict.fromkeys(note for part in parts for note in part.notes)
    return Table(frame, f"{len(paths)} files", "row", tuple(notes), tuple(parts))


def _labels(paths: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names without endings, or the last folders above them that differ.

    Event files of one folder are one run, which was resumed: they have one label.
    """
    pieces = [(*path.resolve().parts[:-1], path.name.partition(".")[0]) for path in paths]
    resumed = all(NAME_PART in path.name for path in paths)
    apart = len(set(pieces)) if resumed else len(pieces)
    if apart == 1:
        return [pieces[0][-2]] * len(paths)
    for first in range(1, min(map(len, pieces)) + 1):
        labels = ["/".join(piece[-first:]) for piece in pieces]
        if len(set(labels)) == apart:
            while len({label.rpartition("/")[2] for label in labels}) == 1:
                labels = [label.rpartition("/")[0] for label in labels]
            return labels
    return [str(path) for path in paths]


def _of_dataset(source: xr.Dataset) -> Table:
    if len(source.dims) != 1:
        raise RunsError(f"runs: a Dataset with one dimension is expected, this one has {tuple(source.dims)}")
    others = [name for name in source.data_vars if name not in SIZES]
    check_size(next(iter(source.sizes.values())), len(others), "runs", in_memory=True)
    frame, where, place = source.to_dataframe(), heading(source.attrs.get("source", "runs")), source.attrs.get("rows")
    check_headings(list(frame.columns), where)
    if place in ("line", "row") and frame.index.dtype.kind == "i" and frame.index.is_unique:
        return Table(frame, where, place)  # read before: its runs are counted as they were
    return Table(frame.reset_index(drop=True), where, "row")


def _frame(source: Any) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, Mapping):
        lengths = (
            np.size(v) if isinstance(v, np.ndarray) else len(v) for v in source.values() if hasattr(v, "__len__")
        )
        check_size(max(lengths, default=0), len(source), "runs", in_memory=True)
        return _made(dict(source))
    if isinstance(source, list | tuple) and source and all(isinstance(record, Mapping) for record in source):
        return frame_of(source, "runs")
    if hasattr(source, "collect_schema") and hasattr(source, "collect"):  # polars, without importing it: a lazy frame
        source = _converted(source.collect)
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # a polars frame
        return _made(source.to_dict(as_series=False))
    if hasattr(source, "to_pandas") and hasattr(source, "num_rows"):  # a table of pyarrow
        check_size(source.num_rows, source.num_columns, "runs", in_memory=True)
        return _converted(source.to_pandas)
    raise RunsError(
        f"runs of type {type(source).__name__} cannot be read: give a path of a table, a pandas or polars frame, an "
        "Arrow table, a list of dicts, a dict of columns or an xarray Dataset"
    )


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose index counts its rows: what else it says is a column; headings of several rows are one."""
    if isinstance(frame.columns, pd.MultiIndex):
        frame = frame.set_axis(["/".join(str(part) for part in name if part != "") for name in frame.columns], axis=1)
    said = [name for name in frame.index.names if name is not None and name not in frame.columns]
    unnamed = frame.index.nlevels == 1 and frame.index.name is None and frame.index.dtype.kind == "O"
    if unnamed and "index" not in frame.columns:
        return frame.reset_index()
    return frame.reset_index(said).reset_index(drop=True) if said else frame.reset_index(drop=True)


def _made(columns: Mapping[Any, Any]) -> pd.DataFrame:
    try:
        return pd.DataFrame(columns)
    except OverflowError:  # integers too large for a float, in a list of numbers
        return pd.DataFrame(columns, dtype=object)
    except (ValueError, TypeError) as error:
        raise RunsError(f"runs: the columns do not make a table: {clipped(error, 80)}") from None


def _converted(convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except Exception as error:  # polars and pyarrow raise their own kinds: a file that is gone, no such column
        raise RunsError(f"runs: the table cannot be made: {clipped(error, 80)}") from None
