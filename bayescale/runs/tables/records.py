"""Records, nested as they may be -> data frame: keys of keys as ``config.lr``; what is missing is empty."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bayescale.errors import RunsError
from bayescale.runs.tables import limits
from bayescale.runs.tables.limits import check_headings, check_size

NESTED_MAX = 20
VALUE_KEYS = ({"value"}, {"value", "desc"})  # W&B keeps a setting so, in its config files
PLAIN = str | int | float | bool


def names_of(header: Sequence[Any]) -> list[str]:
    """A heading for each column: ``column_3`` where it has none."""
    return [str(name).strip() or f"column_{position}" for position, name in enumerate(header, start=1)]


def frame_of_rows(header: Sequence[str], rows: Sequence[Sequence[Any]], index: Sequence[int]) -> pd.DataFrame:
    """The table of rows as long as their header."""
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return pd.DataFrame(dict(zip(header, columns, strict=True)), index=index, dtype=object)


def frame_of(records: Iterable[Any], where: str, index: list[int] | None = None) -> pd.DataFrame:
    """The table of records, a row each, columns in the order in which they first appear.

    Lists are no columns of runs and are left out.

    Raises
    ------
    RunsError
        If a record is no mapping, is nested too deep, or there are too many.
    """
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    cells = 0
    for position, record in enumerate(records):
        if not isinstance(record, Mapping):
            kind = type(record).__name__
            raise RunsError(f"{where}: record {position} (from 0) is of type {kind}, not names with values")
        row = dict(_flat(record, where))
        rows.append(row)
        names |= dict.fromkeys(row)
        cells += len(row)
        if cells > limits.MAX_CELLS or len(names) > limits.MAX_COLUMNS or len(rows) > limits.MAX_ROWS:
            check_size(len(rows), len(names), where)
            raise RunsError(f"{where}: more than {limits.MAX_CELLS} cells; at most so many are read")
    check_size(len(rows), len(names), where)
    check_headings(list(names), where)
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    return pd.DataFrame(columns, index=index if index is not None else range(len(rows)), dtype=object)


def _flat(record: Mapping[Any, Any], where: str, before: str = "", depth: int = 0) -> Iterable[tuple[str, Any]]:
    if depth > NESTED_MAX:
        raise RunsError(f"{where}: a record nested more than {NESTED_MAX} deep; runs are names and their values")
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            if set(value) in VALUE_KEYS and not isinstance(value["value"], Mapping):
                value = value["value"]
            else:
                yield from _flat(value, where, f"{name}.", depth + 1)
                continue
        if value is None:
            yield name, ""
        elif isinstance(value, PLAIN) or not hasattr(value, "__iter__"):
            yield name, value
