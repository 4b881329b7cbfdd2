"""CSV: every cell as text, so that a bad one can be shown as it was written; the index is the line a run starts on."""

import csv
import io

import pandas as pd

from bayescale.errors import RunsError
from bayescale.runs.tables import limits
from bayescale.runs.tables.limits import CONTROL, check_headings, check_size

OTHER_DELIMITERS = {";": "semicolon", "\t": "tab", "|": "bar"}


def read_csv(content: bytes, where: str) -> pd.DataFrame:
    """The table of a CSV file in UTF-8.

    Raises
    ------
    RunsError
        Naming the line.
    """
    lines, records = _records(_text(content, where), where)
    if not records:
        raise RunsError(f"{where} is empty; a header line and one line for each run are expected")
    header, first = records.pop(0), f"{where}, line {lines.pop(0)}"
    for delimiter, called in OTHER_DELIMITERS.items():
        if len(header) == 1 and delimiter in header[0]:
            raise RunsError(f"{first}: the fields are separated by a {called}; a comma is expected")
    header = [name or f"column_{position}" for position, name in enumerate(header, start=1)]
    check_headings(header, first)
    for line, cells in zip(lines, records, strict=True):
        if len(cells) != len(header):
            raise RunsError(f"{where}, line {line}: {len(cells)} field(s), the header has {len(header)}")
    columns = zip(*records, strict=True) if records else [()] * len(header)
    return pd.DataFrame(dict(zip(header, columns, strict=True)), index=lines, dtype=object)


def _text(content: bytes, where: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RunsError(f"{where} is not UTF-8 text; save it as CSV in UTF-8, or give a .parquet file") from None
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise RunsError(f"{where}, line {line}: the control character {found[0]!r}; a table in plain text is expected")
    return text


def _records(text: str, where: str) -> tuple[list[int], list[tuple[str, ...]]]:
    """The records that are not blank, the header first, and the line that each starts on."""
    records: list[tuple[str, ...]] = []  # tuples of texts are nothing that the garbage collector must visit
    lines: list[int] = []
    reader, last, cells_read = csv.reader(io.StringIO(text, newline=""), strict=True), 0, 0
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
