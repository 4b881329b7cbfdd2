"""Excel: the sheets that have runs, values as they were last computed; formulas are never evaluated."""

import io
import zipfile
from typing import Any

import pandas as pd

from bayescale.errors import RunsError, needed
from bayescale.runs.tables import limits
from bayescale.runs.tables.layout import with_units, without_titles
from bayescale.runs.tables.limits import UNPACKED_TIMES_MAX, check_headings, check_size, check_unpacked
from bayescale.runs.tables.records import frame_of_rows, names_of
from bayescale.runs.tables.several import joined

ZIP_START = b"PK\x03\x04"  # the first bytes of a zip file, which is what a workbook is


def read_excel(content: bytes, where: str) -> pd.DataFrame:
    """The sheets of a workbook with most roles among their headings, joined; the index is the row of the sheet.

    Raises
    ------
    RunsError
        If it is damaged or too large, or openpyxl is not installed.
    """
    with needed("openpyxl", f"{where}: reading Excel", "excel"):
        import openpyxl
    _check_parts(content, where)
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        found = {sheet.title: numbered for sheet in book.worksheets if (numbered := _rows(sheet, where))}
    except RunsError:
        raise
    except Exception:  # openpyxl raises many kinds on a damaged workbook
        raise _damaged(where) from None
    if not found:
        raise RunsError(f"{where} is empty; a header row and one row for each run are expected")
    sheets = {
        name: without_titles([row for _, row in numbered], [number for number, _ in numbered])
        for name, numbered in found.items()
    }
    headings = {name: _header(rows) for name, (rows, _, _) in sheets.items()}
    return joined(headings, lambda name: _frame(*sheets[name], where), "sheet", where)


def _header(rows: list[tuple[Any, ...]]) -> list[str]:
    """A heading for each column; marks may stand beside the table, without one."""
    return names_of([*rows[0], *[""] * (max(map(len, rows)) - len(rows[0]))])


def _frame(rows: list[tuple[Any, ...]], numbers: list[int], note: str, where: str) -> pd.DataFrame:
    """The table of a sheet; its index is the row of the sheet."""
    header = _header(rows)
    width = len(header)
    rows = [(*row, *[""] * (width - len(row))) for row in rows]
    check_headings(header, f"{where}, row {numbers[0]}")
    named = with_units(header, rows[1]) if len(rows) > 1 else None
    first = 1 if named is None else 2
    frame = frame_of_rows(named or header, rows[first:], numbers[first:])
    frame.attrs["note"] = note
    return frame


def _damaged(where: str) -> RunsError:
    return RunsError(f"{where}: not a readable Excel workbook; it may be truncated or of another format")


def _check_parts(content: bytes, where: str) -> None:
    """Refuse a workbook that unpacks to too much, or whose XML defines entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_unpacked(sum(part.file_size for part in archive.infolist()), where, UNPACKED_TIMES_MAX)
            for name in archive.namelist():
                if name.endswith((".xml", ".rels")):
                    with archive.open(name) as part:
                        if b"<!" in part.read(2000):
                            raise RunsError(f"{where}: a workbook whose parts define entities of their own is not read")
    except RunsError:
        raise
    except Exception:  # of a damaged archive zipfile raises many kinds
        raise _damaged(where) from None


def _rows(sheet: Any, where: str) -> list[tuple[int, tuple[Any, ...]]]:
    """The rows that are not blank, with their numbers; empty without a row below the first."""
    rows: list[tuple[int, tuple[Any, ...]]] = []
    cells = 0
    for number, values in enumerate(sheet.iter_rows(values_only=True, max_col=limits.MAX_COLUMNS + 1), start=1):
        cells += len(values) if rows else 0
        filled = [position for position, value in enumerate(values, start=1) if value not in (None, "")]
        if filled:
            rows.append((number, tuple("" if value is None else value for value in values[: filled[-1]])))
        if cells > limits.MAX_CELLS or number > limits.MAX_ROWS:
            break
    if rows:
        check_size(len(rows) - 1, max(len(row) for _, row in rows), where)
    return rows if len(rows) > 1 else []
