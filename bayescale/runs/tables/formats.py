"""Which reader a file is for: by its first bytes, else by its ending, else CSV."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bayescale.errors import RunsError
from bayescale.field import clipped
from bayescale.runs.tables import limits
from bayescale.runs.tables.csv import read_csv
from bayescale.runs.tables.parquet import MAGIC, read_parquet


@dataclass(frozen=True)
class Format:
    """A format of tables.

    Attributes
    ----------
    read : the bytes of a file, and its name for messages -> data frame
    known : whether these bytes can be nothing else
    endings : of files of this format, in lower case
    place : what the index of the frame counts: "line" of the file or "row"
    """

    read: Callable[[bytes, str], pd.DataFrame]
    known: Callable[[bytes], bool]
    endings: tuple[str, ...]
    place: str


FORMATS = (
    Format(read_parquet, lambda content: content.startswith(MAGIC), (".parquet", ".pq"), "row"),
    Format(read_csv, lambda content: False, (".csv",), "line"),
)


@dataclass(frozen=True)
class Table:
    """Rows as they were given: what to call them in messages, and what their index counts."""

    frame: pd.DataFrame
    where: str
    place: str

    def at(self, position: int) -> str:
        """One row, as a message begins with it."""
        return f"{self.where}, {self.place} {self.frame.index[position]}"


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
            content = file.read(limits.MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # the second of a name with a null character
        raise RunsError(f"{where}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > limits.MAX_BYTES:
        raise RunsError(f"{where}: larger than {limits.MAX_BYTES // 1_000_000} MB; at most so much is read")
    ending = Path(path).suffix.lower()
    found = [one for one in FORMATS if one.known(content)] or [one for one in FORMATS if ending in one.endings]
    chosen = found[0] if found else FORMATS[-1]
    return Table(chosen.read(content, where), where, chosen.place)
