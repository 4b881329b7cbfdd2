"""Tables in Markdown, as they stand in issues and papers: bars between cells, dashes below the header."""

import re
from collections.abc import Iterator

import pandas as pd

from bayescale.errors import RunsError
from bayescale.runs.tables.limits import check_headings, check_size
from bayescale.runs.tables.records import frame_of_rows, names_of
from bayescale.runs.tables.several import joined
from bayescale.runs.tables.text import text_of

RULE = re.compile(r"\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?\s*)?")
CELL_BAR = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
EMPHASIS = re.compile(r"(\*\*\*|\*\*|\*|___|__|~~|`)(.+)\1")
FOOTNOTE_MARK = re.compile(
    r"<su[pb]>[^<]*</su[pb]>|\[\^[^\]]*\]|<br\s*/?>|\$?\^\{?\\(?:dagger|ddagger|ast|star)\}?\$?"
)  # of footnotes
MARKED_CHARACTERS_MAX = 300  # of a cell: looking for pairs of marks takes the square of its length
HEAD_LINES = 200  # of text in which tables begin


def is_markdown(content: bytes) -> bool:
    """Whether a line of bars is followed by one of dashes, near the beginning."""
    lines = content[:20_000].decode("utf-8", "ignore").splitlines()[:HEAD_LINES]
    return any(True for _ in _headers(lines))


def read_markdown(content: bytes, where: str) -> pd.DataFrame:
    """The tables of a text in Markdown with most roles among their headings, joined; cells without their marks.

    Raises
    ------
    RunsError
        Naming the line.
    """
    lines = text_of(content, where).splitlines()
    found = {f"no. {k}": start for k, start in enumerate(_headers(lines), start=1)}
    if not found:
        raise RunsError(f"{where}: no table in Markdown was found in it")
    headings = {name: names_of(_cells(lines[start])) for name, start in found.items()}
    return joined(headings, lambda name: _frame(headings[name], lines, found[name], where), "table", where)


def _frame(header: list[str], lines: list[str], start: int, where: str) -> pd.DataFrame:
    """The table whose header stands at a position; its index counts lines."""
    check_headings(header, f"{where}, line {start + 1}")
    records, at = [], []
    for number, line in enumerate(lines[start + 2 :], start=start + 3):
        if "|" not in line:
            break
        cells = _cells(line)
        if len(cells) != len(header):
            raise RunsError(f"{where}, line {number}: {len(cells)} field(s), the header has {len(header)}")
        if any(cells):
            records.append(cells)
            at.append(number)
    check_size(len(records), len(header), where)
    return frame_of_rows(header, records, at)


def _headers(lines: list[str]) -> Iterator[int]:
    """Positions of headers: lines before a rule of as many fields."""
    for position, line in enumerate(lines[1:]):
        if "-" in line and RULE.fullmatch(line.strip()) and len(_cells(line)) == len(_cells(lines[position])):
            yield position


def _cells(line: str) -> list[str]:
    line = line.strip()
    inside = line[1:].removesuffix("|") if line.startswith("|") else line
    return [_plain(cell) for cell in CELL_BAR.split(inside)]


def _plain(cell: str) -> str:
    """The text of a cell without its marks; of a long one, which is prose, with them."""
    if len(cell) > MARKED_CHARACTERS_MAX:
        return cell.strip()
    cell = LINK.sub(r"\1", FOOTNOTE_MARK.sub("", cell.replace("\\|", "|")).strip())
    cell = cell.rstrip("†‡§¶ ")
    while (bare := EMPHASIS.fullmatch(cell)) is not None:
        cell = bare[2].strip()
    return cell
