"""CSV: every cell as text, so that a bad one can be shown as it was written; the index is the line a run starts on.

Fields are separated by commas, or by what else separates the header: semicolons, tabs or bars. Where it is no comma, a
comma in a number is a decimal comma.
"""

import csv
import io
import re

import pandas as pd

from bayescale.errors import RunsError
from bayescale.runs.tables import limits
from bayescale.runs.tables.limits import check_headings, check_size
from bayescale.runs.tables.text import text_of

DELIMITERS = (",", "\t", ";", "|")  # of equally many fields in the header the first is taken
DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,300 may be either
THOUSANDS_TWICE = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3}){2,}(?:\.\d*)?")


def read_csv(content: bytes, where: str) -> pd.DataFrame:
    """The table of a CSV file.

    Raises
    ------
    RunsError
        Naming the line.
    """
    text = text_of(content, where)
    delimiter = _delimiter(text)
    lines, records = _records(text, where, delimiter)
    if not records:
        raise RunsError(f"{where} is empty; a header line and one line for each run are expected")
    header, first = records.pop(0), f"{where}, line {lines.pop(0)}"
    header = [name or f"column_{position}" for position, name in enumerate(header, start=1)]
    check_headings(header, first)
    for line, cells in zip(lines, records, strict=True):
        if len(cells) != len(header):
            raise RunsError(f"{where}, line {line}: {len(cells)} field(s), the header has {len(header)}")
    if delimiter != ",":
        records = _with_points(records, delimiter)
    columns = zip(*records, strict=True) if records else [()] * len(header)
    return pd.DataFrame(dict(zip(header, columns, strict=True)), index=lines, dtype=object)


def _delimiter(text: str) -> str:
    """What separates most fields of the first line that is not blank."""
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    return max(DELIMITERS, key=bare.count)


def _records(text: str, where: str, delimiter: str) -> tuple[list[int], list[tuple[str, ...]]]:
    """The records that are not blank, the header first, and the line that each starts on."""
    records: list[tuple[str, ...]] = []  # tuples of texts are nothing that the garbage collector must visit
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    last = cells_read = 0
    try:
        for cells in reader:
            cells_read += len(cells) if records else 0  # those of the header do not count
            if any(map(str.strip, cells)):
                records.append(tuple(map(str.strip, cells)))
                lines.append(last + 1)
            if cells_read > limits.MAX_CELLS or len(records) > limits.MAX_ROWS + 1 or len(cells) > limits.MAX_COLUMNS:
                break
            last = reader.line_num
    except csv.Error as error:
        raise RunsError(f"{where}, line {last + 1}: not CSV: {error}") from None
    if records:
        check_size(len(records) - 1, max(len(records[0]), len(records[-1])), where)
    if cells_read > limits.MAX_CELLS:
        raise RunsError(f"{where}: more than {limits.MAX_CELLS} cells; at most so many are read")
    return lines, records


def _with_points(records: list[tuple[str, ...]], delimiter: str) -> list[tuple[str, ...]]:
    """Records whose decimal commas are points.

    Commas are decimal where a cell has one that can be nothing else; and between semicolons, which stand there because
    commas are decimal, unless a cell has one that separates thousands.
    """
    with_comma = {cell for cells in records for cell in cells if "," in cell}
    decimal = {cell for cell in with_comma if DECIMAL_COMMA.fullmatch(cell)}
    thousands = any(THOUSANDS_TWICE.fullmatch(cell) for cell in with_comma)
    if all(THOUSANDS.fullmatch(cell) for cell in decimal) and (delimiter != ";" or thousands):
        return records
    pointed = {cell: cell.replace(",", ".") for cell in decimal}
    return [tuple(pointed.get(cell, cell) for cell in cells) for cells in records]
