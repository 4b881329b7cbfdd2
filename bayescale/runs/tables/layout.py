"""Rows as they stand on a sheet -> header and runs: titles above the header, a row of units below it."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from bayescale.field import clipped
from bayescale.runs.headings import names_unit

TITLE_ROWS_MAX = 20  # titles above a header are fewer
TITLE_CHARACTERS_MAX = 80  # of them that a note repeats: they may say a unit


def header_row(rows: Sequence[Sequence[Any]]) -> int:
    """Position of the header: the first row; if that has fewer cells than those below, the first of words as wide."""
    widths = [sum(cell != "" for cell in row) for row in rows[: 2 * TITLE_ROWS_MAX]]
    for position, width in enumerate(widths[:TITLE_ROWS_MAX]):
        below = widths[position + 1 :]
        if (
            below
            and width >= median(below)
            and (position == 0 or (width > 1 and not any(map(_number, rows[position]))))
        ):
            return position
    return 0


def without_titles(rows: list[Any], lines: list[int]) -> tuple[list[Any], list[int], str]:
    """Rows from the header on, with their lines, and a note on what stands above it."""
    start = header_row(rows)
    if not start:
        return rows, lines, ""
    many = "one line above the header is" if start == 1 else f"{start} lines above the header are"
    said = " ".join(str(cell) for row in rows[:start] for cell in row if cell != "")
    return rows[start:], lines[start:], f"{many} left out: {clipped(said, TITLE_CHARACTERS_MAX)}"


def with_units(header: Sequence[str], below: Sequence[Any]) -> list[str] | None:
    """Headings with the units of the row below them, as ``params (M)``; None where that row is no row of units."""
    units = [str(cell).strip().strip("()[]") for cell in below]
    if not any(units) or any(map(_number, units)) or not all(unit in ("", "-") or names_unit(unit) for unit in units):
        return None
    units += [""] * (len(header) - len(units))
    return [f"{name} ({unit})" if unit not in ("", "-") else name for name, unit in zip(header, units, strict=False)]


def _number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return cell != ""
