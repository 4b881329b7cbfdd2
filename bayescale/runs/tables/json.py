"""JSON: lists of records, JSON lines, tables by column, and the files that trainers and evaluations write."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from bayescale.errors import RunsError
from bayescale.runs.spellings import SIZES, is_name
from bayescale.runs.tables.evaluations import is_evaluation, records_of_evaluation
from bayescale.runs.tables.folded import literal
from bayescale.runs.tables.limits import check_headings, check_size
from bayescale.runs.tables.records import NESTED_MAX, PLAIN, frame_of
from bayescale.runs.tables.text import MARKS, text_of
from bayescale.runs.tables.trainer_state import is_trainer_state, records_of_trainer

JSON_VALUE_BYTES_MAX = 32_000_000  # of one JSON value: as Python objects it takes twenty times the memory
OF_LISTS = re.compile(r'\[\[(?:["\[\]{0-9-]|(?:null|true|false|NaN)[,\]])')  # [[run]] is a heading of TOML
# what a file of one object is, and the records in it
KNOWN: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (is_trainer_state, records_of_trainer),
    (is_evaluation, records_of_evaluation),
)


def is_json(content: bytes) -> bool:
    """Whether the first sign that is no blank opens an object, or a list of objects or lists."""
    head = content[:400]
    encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), "utf-8")
    text = "".join(head.decode(encoding, "ignore").split())
    return text.startswith(("{", "[{", "[]")) or OF_LISTS.match(text) is not None


def read_json(content: bytes, where: str) -> pd.DataFrame:
    """The table of a JSON file, or of JSON lines; the index counts lines of the latter, else rows.

    Raises
    ------
    RunsError
        If it is damaged, too large, or no table.
    """
    text = text_of(content, where)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if len(lines) > 1 and all(_whole(line) for _, line in lines[:2]):
        records = (_record(line, f"{where}, line {number}") for number, line in lines)
        return frame_of(records, where, [number for number, _ in lines])
    if len(content) > JSON_VALUE_BYTES_MAX:
        raise RunsError(f"{where}: JSON of more than {JSON_VALUE_BYTES_MAX // 1_000_000} MB; give JSON lines or CSV")
    value = _parsed(text, where)
    if isinstance(value, list):
        if len(value) > 1 and all(isinstance(row, list) for row in value) and _are_names(value[0]):
            return _by_row(value[0], value[1:], where)
        return frame_of(value, where)
    if isinstance(value, Mapping) and {"cells", "nbformat"} <= value.keys():
        raise RunsError(f"{where}: a notebook, no table; save the table in it (frame.to_csv('runs.csv')) and give that")
    found = next((records_of(value) for known, records_of in KNOWN if known(value)), None)
    if found is not None:
        return frame_of(found, where)
    return _of_object(value, where)


def _record(line: str, where: str) -> Any:
    """The object of a line, as JSON or as Python prints it."""
    found = literal(line.strip()) if line.lstrip().startswith("{'") else None
    return _parsed(line, where) if found is None else found


def _whole(line: str) -> bool:
    """Whether a line is an object of its own."""
    line = line.strip()
    return line.startswith("{") and line.endswith("}")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where if ", line " in where else f"{where}, line {error.lineno}"
        raise RunsError(f"{place}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError):  # a number of too many digits, lists in lists without end
        raise RunsError(f"{where}: JSON with a number too long, or nested too deep") from None


def _of_object(value: Mapping[str, Any], where: str) -> pd.DataFrame:
    """A table by column as pandas writes it, a list of records under one name, or one run."""
    if {"columns", "data"} <= value.keys() and all(isinstance(value[name], list) for name in ("columns", "data")):
        return _by_row(value["columns"], value["data"], where)
    if named := list(_by_name(value)):
        several = len({part for part, _, _ in named}) > 1
        return frame_of(
            ({"name": name} | ({"part": part} if several else {}) | run for part, name, run in named), where
        )
    lists = {name: one for name, one in value.items() if isinstance(one, list)}
    of_records = [one for one in lists.values() if one and all(isinstance(item, Mapping) for item in one)]
    if len(of_records) == 1:
        return frame_of(of_records[0], where)
    if not lists and len(deep := _only_records(value)) == 1:
        return frame_of(deep[0], where)
    flat = {name: one for name, one in lists.items() if not any(isinstance(item, list | Mapping) for item in one)}
    if 1 < len(flat) < len(value) and len(long := {len(one) for one in flat.values()}) == 1 < max(long):
        about = {name: one for name, one in value.items() if name not in lists}
        return frame_of((about | dict(zip(flat, row, strict=True)) for row in zip(*flat.values(), strict=True)), where)
    columns: dict[str, Any] = lists or {name: one for name, one in value.items() if isinstance(one, Mapping)}
    if len(columns) == len(value) > 1 and len({len(one) for one in columns.values()}) == 1:
        first = next(iter(columns.values()))
        if isinstance(first, list):
            return _by_row(list(columns), list(zip(*columns.values(), strict=True)), where)
        if first and all(list(one) == list(first) and next(iter(first)).isdigit() for one in columns.values()):
            return _by_row(list(columns), list(zip(*(one.values() for one in columns.values()), strict=True)), where)
    return frame_of([value], where)


def _are_names(row: list[Any]) -> bool:
    return len(set(map(str, row))) == len(row) > 1 and all(isinstance(one, str) and one for one in row)


def _only_records(value: Any, depth: int = 0) -> list[Any]:
    """The lists of records in records without plain values, at any depth; those of GraphQL without their edges."""
    if not isinstance(value, Mapping) or depth > NESTED_MAX or any(isinstance(one, PLAIN) for one in value.values()):
        return []
    found = []
    for one in value.values():
        if isinstance(one, list) and one and all(isinstance(item, Mapping) for item in one):
            found.append([item["node"] if set(item) <= {"node", "cursor"} and "node" in item else item for item in one])
        else:
            found += _only_records(one, depth + 1)
    return found


def _by_name(value: Mapping[str, Any], part: str = "", depth: int = 0) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Runs by name, at any depth: where they are, the name, the run."""
    inside = {name: one for name, one in value.items() if isinstance(one, Mapping)}
    many, found = len(inside) == len(value) > 1, False
    if depth < NESTED_MAX and not (many and all(_is_run(one.items()) for one in inside.values())):
        for name, one in inside.items():
            for run in _by_name(one, f"{part}.{name}" if part else name, depth + 1):
                found = True
                yield run
        many = many and not found and all(_is_run(_below(one)) for one in inside.values())
    if many:
        yield from ((part, name, dict(run)) for name, run in inside.items())


def _below(record: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The last keys of a record, at any depth, with their values."""
    for name, one in record.items():
        if not isinstance(one, Mapping):
            yield name, one
        elif depth < NESTED_MAX:
            yield from _below(one, depth + 1)


def _is_run(record: Iterable[tuple[str, Any]]) -> bool:
    """Whether keys with values are a size and a loss among other things."""
    names = [name for name, one in record if isinstance(one, int | float)]
    return any(is_name("loss", name) for name in names) and any(is_name(role, name) for role in SIZES for name in names)


def _by_row(columns: list[Any], rows: list[Any], where: str) -> pd.DataFrame:
    names = [str(name) for name in columns]
    check_headings(names, where)
    check_size(len(rows), len(names), where)
    for position, row in enumerate(rows):
        if not isinstance(row, list | tuple) or len(row) != len(names):
            raise RunsError(f"{where}, row {position}: a list of {len(names)} values is expected, as there are columns")
    return frame_of((dict(zip(names, row, strict=True)) for row in rows), where)
