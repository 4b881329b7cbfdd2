"""Files, data frames, dicts of columns and Datasets of runs -> one table."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import RunsError
from bayescale.field import clipped
from bayescale.runs.columns import SIZES
from bayescale.runs.tables.formats import Table, read_table
from bayescale.runs.tables.limits import check_headings, check_size, heading


def table_of(source: Any) -> Table:
    """The table of the runs given.

    Raises
    ------
    RunsError
        If it is no table, too large, or its headings cannot be used.
    """
    if isinstance(source, str | os.PathLike):
        table = read_table(_runs_file(Path(source)))
    elif isinstance(source, xr.Dataset):
        table = _of_dataset(source)
    else:
        frame = _frame(source)
        check_headings(list(frame.columns), "runs")
        table = Table(frame.reset_index(drop=True), "runs", "row")
    frame = table.frame
    added = [name for name in SIZES if name in frame.columns]  # by read_runs, when runs are read again
    check_size(len(frame), len(frame.columns) - len(added), table.where, in_memory=True)
    return table


def _runs_file(path: Path) -> Path:
    shown = clipped(path, 80, end=True)
    if os.path.isdir(path):
        raise RunsError(f"{shown} is a folder; a CSV or parquet file is expected")
    if not os.path.exists(path):
        raise RunsError(f"{shown}: no such file; a CSV or parquet file of runs is expected")
    return path


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
        try:
            return pd.DataFrame(dict(source))
        except (ValueError, TypeError) as error:
            raise RunsError(f"runs: the columns do not make a table: {clipped(error, 80)}") from None
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # polars, without importing it
        return pd.DataFrame(source.to_dict(as_series=False))
    raise RunsError(
        f"runs of type {type(source).__name__} cannot be read: "
        "give a CSV or parquet path, a pandas or polars frame, a dict of columns or an xarray Dataset"
    )
