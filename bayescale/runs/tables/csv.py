"""CSV: every cell as text, so that a bad one can be shown as it was written; the index is the line a run starts on.

Fields are separated by commas, or by what else separates the header: semicolons, tabs, bars or blanks. Where it is no
comma, a comma in a number is a decimal comma.
"""

import csv
import io
import itertools
import re
from collections.abc import Sequence

import pandas as pd

from bayescale.errors import RunsError
from bayescale.field import clipped
from bayescale.runs.tables import limits
from bayescale.runs.tables.layout import TITLE_ROWS_MAX, with_units, without_titles
from bayescale.runs.tables.limits import check_headings, check_size
from bayescale.runs.tables.records import frame_of_rows, names_of
from bayescale.runs.tables.text import text_of

LATEX_END = re.compile(r"\\\\(?:\[[^\]]{0,40}\])?\s*(?:\\[a-z]+\S*|%.*)?$")  # of a row: \\ \hline
LATEX_RULE = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|(?:cmidrule|cline)\S*)|"
    r"\\\\(?:\[[^\]]{0,40}\])?(?=\s*(?:\\|%|$))|(?<!\\)%.*$"
)
LATEX_BETWEEN = re.compile(r"(?<!\\)&")
LATEX_ESCAPE = re.compile(r"\\([%&#_$])")
LATEX_CHARACTERS, LATEX_END_CHARACTERS = 20_000, 80  # in which such a table begins, and a row ends
DELIMITERS = (",", "\t", ";", "|")  # of equally many fields in the header the first is taken
REMARKS = tuple("#*†‡§")  # begin lines of one field that are no runs
REMARK_MAX = 80
COMMA_NUMBER = re.compile(r"([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)\s?[^\W\d_]{0,12}\.?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}\s?[^\W\d_]{0,12}\.?")  # 1,300 may be either
THOUSANDS_TWICE = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3}){2,}(?:\.\d*)?")


def read_csv(content: bytes, where: str) -> pd.DataFrame:
    """The table of a CSV file.

    Raises
    ------
    RunsError
        Naming the line.
    """
    text = text_of(content, where)
    text = _of_latex(text) if _is_latex(text) else text
    text, delimiter = _delimited(text)
    lines, records = _records(text, where, delimiter)
    if not records:
        raise RunsError(f"{where} is empty; a header line and one line for each run are expected")
    records, lines, note = without_titles(records, lines)
    names, first = records.pop(0), f"{where}, line {lines.pop(0)}"
    header = names_of(names)
    if records and (named := with_units(header, records[0])) is not None:
        header, records, lines = named, records[1:], lines[1:]
    records, lines, left_out = _without_remarks(records, lines, names)
    if records and delimiter == "\t" and all(len(cells) == len(header) + 1 for cells in records):
        header = ["row", *header]  # as printed tables have it: rows are counted, and nothing stands above
    check_headings(header, first)
    for position, (line, cells) in enumerate(zip(lines, records, strict=True)):
        if len(cells) != len(header):
            if len(cells) < len(header) or any(cells[len(header) :]):
                raise RunsError(f"{where}, line {line}: {len(cells)} field(s), the header has {len(header)}")
            records[position] = cells[: len(header)]
    if delimiter != ",":
        records = _with_points(records, delimiter)
    frame = frame_of_rows(header, records, lines)
    frame.attrs["note"] = "; ".join(filter(None, (note, left_out)))
    return frame


def _without_remarks(
    records: list[tuple[str, ...]], lines: list[int], names: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[int], str]:
    """The records that are neither a remark nor the header once more, their lines, and a note on the others."""
    remarks = [len(names) > 1 and cells[0][:1] in REMARKS and not any(cells[1:]) for cells in records]
    kept = [not remark and cells != names for remark, cells in zip(remarks, records, strict=True)]
    if all(kept):
        return records, lines, ""
    told = [cells[0] for cells, remark in zip(records, remarks, strict=True) if remark]
    left = len(kept) - sum(kept)
    many = "one line is" if left == 1 else f"{left} lines are"
    note = f"{many} left out as remarks or headers: {clipped(' '.join(told), REMARK_MAX)}"
    return list(itertools.compress(records, kept)), list(itertools.compress(lines, kept)), note.rstrip(": ")


def _is_latex(text: str) -> bool:
    """Whether a line near the beginning is a row of a table in LaTeX: a & b \\\\."""
    lines = text[:LATEX_CHARACTERS].splitlines()
    return any("&" in line and LATEX_END.search(line[-LATEX_END_CHARACTERS:]) for line in lines)


def _of_latex(text: str) -> str:
    """The cells of a table in LaTeX between tabs, on the lines on which they stand."""
    lines = (LATEX_RULE.sub("", line).strip() for line in text.split("\n"))
    rows = ("\t".join(map(str.strip, LATEX_BETWEEN.split(line))) if "&" in line else "" for line in lines)
    return "\n".join(LATEX_ESCAPE.sub(r"\1", row.replace("~", " ").replace("\\,", " ")) for row in rows)


def _delimited(text: str) -> tuple[str, str]:
    """The text and what separates its fields: most of those of the first line that has any; else blanks, as tabs."""
    head = [line for line in itertools.islice(io.StringIO(text, newline=None), 2 * TITLE_ROWS_MAX) if line.strip()]
    for line in head:
        bare = re.sub(r'"[^"]*"', "", line)
        if any(map(bare.count, DELIMITERS)):
            return text, max(DELIMITERS, key=bare.count)
    for blanks in (r"[ \t]{2,}", r"[ \t]+"):
        parts = [len(re.split(blanks, line.strip())) for line in head]
        if len({*parts[1:]}) <= 1 < max(parts, default=0) and {*parts} <= {parts[0], parts[0] + 1}:
            return "\n".join(re.sub(blanks, "\t", line.strip(" ")) for line in text.splitlines()), "\t"
    return text, ","


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
    decimal = {cell for cell in with_comma if COMMA_NUMBER.fullmatch(cell)}
    thousands = any(THOUSANDS_TWICE.fullmatch(cell) for cell in with_comma)
    if all(THOUSANDS.fullmatch(cell) for cell in decimal) and (delimiter != ";" or thousands):
        return records
    pointed = {cell: cell.replace(",", ".") for cell in decimal}
    return [tuple(pointed.get(cell, cell) for cell in cells) for cells in records]
