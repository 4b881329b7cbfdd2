"""Which reader a file is for: by its first bytes or its text, else by its ending, else CSV."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bayescale.errors import RunsError
from bayescale.field import clipped
from bayescale.runs.tables import events, excel, limits, parquet
from bayescale.runs.tables.charts import of_curves, of_metrics, of_scalars
from bayescale.runs.tables.csv import read_csv
from bayescale.runs.tables.folded import unfolded
from bayescale.runs.tables.json import is_json, read_json
from bayescale.runs.tables.logs import is_log, read_log
from bayescale.runs.tables.markdown import is_markdown, read_markdown
from bayescale.runs.tables.packed import unpacked
from bayescale.runs.tables.turned import of_seeds, turned


@dataclass(frozen=True)
class Format:
    """A format of tables.

    Attributes
    ----------
    read : the bytes of a file, and its name for messages -> data frame
    known : whether these bytes can be nothing else
    endings : of files of this format, in lower case
    place : what the index of the frame counts: "line" of the file or "row"
    name_part : what the names of such files have in them, where it is no ending
    """

    read: Callable[[bytes, str], pd.DataFrame]
    known: Callable[[bytes], bool]
    endings: tuple[str, ...]
    place: str
    name_part: str = ""


FORMATS = (
    Format(parquet.read_parquet, lambda content: content.startswith(parquet.FIRST_BYTES), (".parquet", ".pq"), "row"),
    Format(excel.read_excel, lambda content: content.startswith(excel.ZIP_START), (".xlsx", ".xlsm"), "row"),
    Format(events.read_events, events.is_events, (), "row", events.NAME_PART),
    Format(read_json, is_json, (".json", ".jsonl", ".ndjson"), "row"),
    Format(read_markdown, is_markdown, (".md", ".markdown"), "line"),
    Format(read_log, is_log, (), "row"),
    Format(read_csv, lambda content: False, (".csv", ".tsv", ".txt"), "line"),
)
EXPECTED = "a CSV, JSON, parquet, Excel, Markdown or event file"  # of runs, in messages
# table and name of its file -> the table with a row a run, and a sentence on what was done, or ""
LAYOUTS: tuple[Callable[[pd.DataFrame, str], tuple[pd.DataFrame, str]], ...] = (
    unfolded,
    of_scalars,
    of_metrics,
    of_curves,
    turned,
    of_seeds,
)
NO_TABLES = {  # first bytes -> what such a file is
    b"SQLite format 3": "an SQLite database",
    b":W&B": "a log of Weights & Biases itself",
    b"\x93NUMPY": "an array of NumPy",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x89HDF": "an HDF5 file, such as a saved fit",
}
NO_TABLE_ENDINGS = {".yaml": "YAML", ".yml": "YAML", ".toml": "TOML"}  # of texts, which no first bytes tell
PACKED_ENDINGS = (".gz", ".zst")


@dataclass(frozen=True)
class Table:
    """Rows as they were given: what to call them in messages, what their index counts, and notes on how they were read.

    ``parts`` are the tables of several files or sheets, one after the other: then the index counts all rows from 0.
    """

    frame: pd.DataFrame
    where: str
    place: str
    notes: tuple[str, ...] = ()
    parts: tuple["Table", ...] = ()

    def at(self, position: int) -> str:
        """One row, as a message begins with it."""
        label = self.frame.index[position]
        for part in self.parts:
            if label < len(part.frame):
                return part.at(label)
            label -= len(part.frame)
        return f"{self.where}, {self.place} {label}"


def read_table(path: "str | os.PathLike[str]") -> Table:
    """The table in a file.

    Raises
    ------
    RunsError
        Naming the file, without its folder, and the line.
    """
    where = clipped(Path(path).name, limits.HEADING_CHARACTERS_MAX)
    try:
        with open(path, "rb") as file:
            too_large = os.fstat(file.fileno()).st_size > limits.MAX_BYTES
            content = b"" if too_large else file.read(limits.MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # the second of a name with a null character
        raise RunsError(f"{where}: {getattr(error, 'strerror', None) or error}") from None
    if too_large or len(content) > limits.MAX_BYTES:
        raise RunsError(f"{where}: larger than {limits.MAX_BYTES // 1_000_000} MB; at most so much is read")
    content = unpacked(content, where)
    if content[:400].lstrip()[:1] == b"<":
        raise RunsError(f"{where}: an HTML or XML page, no table; download the table itself, or save it as CSV")
    if other := next((what for start, what in NO_TABLES.items() if content.startswith(start)), ""):
        raise RunsError(f"{where}: {other}, which is not read; export the table as CSV or parquet")
    found = [one for one in FORMATS if one.known(content)]
    other = next((what for ending, what in NO_TABLE_ENDINGS.items() if _ends(Path(path).name, (ending,))), "")
    if other and not found:
        raise RunsError(f"{where}: {other}, which is not read; save the runs as JSON or CSV")
    found = found or [one for one in FORMATS if _ends(Path(path).name, one.endings)]
    chosen = found[0] if found else FORMATS[-1]
    read = chosen.read(content, where)
    notes, of_file, frame = [read.attrs.pop("note", "")], read.attrs.pop("parts", ()), read
    for layout in LAYOUTS:
        frame, note = layout(frame, where)
        notes.append(note)
    place = chosen.place if frame.index.equals(read.index) else "row"
    parts = tuple(Table(part, f"{where}, {name}", place) for name, part in of_file) if place == chosen.place else ()
    return Table(frame, where, place, tuple(filter(None, notes)), parts)


def is_table_name(name: str) -> bool:
    """Whether the name of a file is like that of a table, packed or not."""
    return any(_ends(name, one.endings) or (one.name_part and one.name_part in name) for one in FORMATS)


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    """Whether the name of a file, packed or not, has one of these endings."""
    return any(name.lower().endswith(ending + packed) for ending in endings for packed in ("", *PACKED_ENDINGS))
