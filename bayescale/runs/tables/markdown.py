"""Tables in Markdown, as they stand in issues and papers: bars between cells, dashes below the header."""

import re
from collections.abc import Iterator

import pandas as pd

from bayescale.errors import RunsError
from bayescale.runs.spellings import is_name
from bayescale.runs.tables.limits import check_headings, check_size
from bayescale.runs.tables.text import text_of

RULE = re.compile(r"\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?\s*)?")
BETWEEN = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
EMPHASIS = re.compile(r"(\*\*\*|\*\*|\*|___|__|~~|`)(.+)\1")
MARK = re.compile(
    r"<su[pb]>[^<]*</su[pb]>|\[\^[^\]]*\]|<br\s*/?>|\$?\^\{?\\(?:dagger|ddagger|ast|star)\}?\$?"
)  # of footnotes
MARKED_CHARACTERS_MAX = 300  # of a cell: looking for pairs of marks takes the square of its length
HEAD_LINES = 200  # of text in which tables begin


def is_markdown(content: bytes) -> bool:
    """Whether a line of bars is followed by one of dashes, near the beginning."""
    lines = content[:20_000].decode("utf-8", "ignore").splitlines()[:HEAD_LINES]
    return any(True for _ in _headers(lines))


def read_markdown(content: bytes, where: str) -> pd.DataFrame:
    """The first table with a loss of a text in Markdown, else the first; bold, code and links of cells are their text.

    Raises
    ------
    RunsError
        Naming the line.
    """
    lines = text_of(content, where).splitlines()
    found = list(_headers(lines[:HEAD_LINES]))
    if not found:
        raise RunsError(f"{where}: no table in Markdown was found in its first {HEAD_LINES} lines")
    with_loss = (start for start in found if any(is_name("loss", name) for name in _cells(lines[start])))
    start = next(with_loss, found[0])
    header = [name or f"column_{position}" for position, name in enumerate(_cells(lines[start]), start=1)]
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
    columns = zip(*records, strict=True) if records else [()] * len(header)
    return pd.DataFrame(dict(zip(header, columns, strict=True)), index=at, dtype=object)


def _headers(lines: list[str]) -> Iterator[int]:
    """Positions of headers: lines before a rule of as many fields."""
    for position, line in enumerate(lines[1:]):
        if "-" in line and RULE.fullmatch(line.strip()) and len(_cells(line)) == len(_cells(lines[position])):
            yield position


def _cells(line: str) -> list[str]:
    line = line.strip()
    inside = line[1:].removesuffix("|") if line.startswith("|") else line
    return [_plain(cell) for cell in BETWEEN.split(inside)]


def _plain(cell: str) -> str:
    """The text of a cell without its marks; of a long one, which is prose, with them."""
    if len(cell) > MARKED_CHARACTERS_MAX:
        return cell.strip()
    cell = LINK.sub(r"\1", MARK.sub("", cell.replace("\\|", "|")).strip())
    cell = cell.rstrip("†‡§¶ ")
    while (bare := EMPHASIS.fullmatch(cell)) is not None:
        cell = bare[2].strip()
    return cell
