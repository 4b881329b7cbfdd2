"""Cells that hold more than one value -> columns: records, as W&B's example exports them, and numbers with errors."""

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from bayescale.field import clipped, listed
from bayescale.runs.tables.records import frame_of

RECORDS_CHARACTERS_MAX = 200_000  # of a cell
ERROR_CHARACTERS_MAX = 80
WITH_ERROR = re.compile(r"\s*(?P<value>[0-9.,eE+-]+?)\s*(?:±|\+/-|\+-|\\pm)\s*(?P<error>[0-9.,eE-]+)\s*")  # 3.36 ± .01
ALONE = re.compile(r"[0-9]+\.[0-9]+")
IN_BRACKETS = re.compile(r"\s*(?P<value>[0-9]+\.[0-9]+)\s*\((?P<error>0?\.[0-9]+)\)\s*")  # 3.36 (0.01)
LAST_DIGITS = re.compile(r"\s*(?P<value>[0-9]+\.(?P<decimals>[0-9]+))\((?P<error>[0-9]+)\)\s*")  # 3.36(1)


def unfolded(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, str]:
    """The table with a column for each value in its cells, and a sentence on it; nothing in them is evaluated.

    Raises
    ------
    RunsError
        If the records are nested too deep, or have too many keys.
    """
    parsed = {name: records for name in frame.columns if (records := _records(frame[name])) is not None}
    if not parsed:
        return _with_errors(frame)
    columns = {name: parsed.get(name, frame[name]) for name in frame.columns}
    rows = (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
    names = listed([clipped(name, 40) for name in parsed])
    note = f"the cells of {names} are records: each of their keys is a column"
    return frame_of(rows, where, list(frame.index)), note


def _records(column: pd.Series) -> list[Mapping[str, Any]] | None:
    """The records in the cells of a column, empty where a cell is; None where a cell is anything else."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _by_category(column, _records)
    records: list[Mapping[str, Any]] = []
    for cell in column:
        text = cell.strip() if type(cell) is str and len(cell) <= RECORDS_CHARACTERS_MAX else None
        if text == "":
            records.append({})
        elif not text or text[0] != "{" or text[-1] != "}" or (record := _record(text)) is None:
            return None
        else:
            records.append(record)
    return records if any(records) else None


def _by_category(column: pd.Series, read: Callable[[pd.Series], list[Any] | None]) -> list[Any] | None:
    """What is read of the different cells of a column, each once: a long text may stand in very many rows."""
    codes = column.cat.codes.to_numpy()
    known = read(pd.Series(column.cat.categories, dtype=object)) if (codes >= 0).all() else None
    return None if known is None else [known[code] for code in codes]


def _with_errors(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table with a further column for errors that stand in the cells of another."""
    columns, split = {}, []
    for name in frame.columns:
        pairs = _pairs(frame[name])
        called = f"{name} error"
        if pairs is None or called in frame.columns:
            columns[name] = frame[name]
        else:
            columns[name], columns[called] = ([pair[part] for pair in pairs] for part in (0, 1))
            split.append(called)
    if not split:
        return frame, ""
    named = listed([clipped(name, 60) for name in split])
    return pd.DataFrame(columns, index=frame.index, dtype=object), f"numbers have errors beside them, read as {named}"


def _pairs(column: pd.Series) -> list[tuple[str, str]] | None:
    """The numbers and errors in the cells of a column; None where a cell is no number, or none has an error."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _by_category(column, _pairs)
    pairs, some = [], False
    for cell in column:
        if type(cell) is not str or len(cell) > ERROR_CHARACTERS_MAX:
            return None
        text = cell.strip().removeprefix("$").removesuffix("$")
        found = WITH_ERROR.fullmatch(text) or LAST_DIGITS.fullmatch(text) or IN_BRACKETS.fullmatch(text)
        if found is None and any(map(str.isdigit, cell)) and not ALONE.fullmatch(text):
            return None
        some = some or found is not None
        pairs.append((cell, "") if found is None else (found["value"], _error(found)))
    return pairs if some else None


def _error(found: re.Match[str]) -> str:
    decimals = found.groupdict().get("decimals")
    return found["error"] if decimals is None else f"{found['error']}e-{len(decimals)}"


def _record(text: str) -> Mapping[str, Any] | None:
    """The record that a text is, in JSON or as Python prints it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return literal(text)
    return value if isinstance(value, Mapping) else None


def literal(text: str) -> Mapping[str, Any] | None:
    """The record that a text is as Python prints it; nothing in it is evaluated."""
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, Mapping) else None


def _value(node: ast.expr) -> Any:
    """What a literal says: records, numbers, texts; a list for what is no plain value."""
    if isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else "" for key in node.keys]
        return {str(key): _value(value) for key, value in zip(keys, node.values, strict=True)}
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str | int | float | None) else []
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -node.operand.value if isinstance(node.operand.value, int | float) else []
    if isinstance(node, ast.Name) and node.id in ("nan", "inf"):
        return float(node.id)
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("np.") and len(node.args) == 1:  # np.float64(3)
        return _value(node.args[0]) if isinstance(node.args[0], ast.Constant | ast.UnaryOp | ast.Name) else []
    return []
