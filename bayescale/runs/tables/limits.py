"""How much of a table is read, and the headings that no table may have."""

import collections
import re
from collections.abc import Sequence
from typing import Any

from bayescale.errors import RunsError
from bayescale.field import clipped

# A million checkpoints and a little more. All is checked before the work, so that no file takes all the memory.
MAX_BYTES = 128_000_000
MAX_ROWS = 1_500_000
MAX_COLUMNS = 1000
MAX_CELLS = 5_000_000
MAX_NAME_CHARACTERS = 1000  # of a column
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # never in a table; some of them command terminals
UNPACKED_TIMES_MAX = 2  # of a binary table: MAX_BYTES is for text
HEADING_CHARACTERS_MAX = 80  # of a heading in a message


def check_size(rows: int, columns: int, where: str, *, in_memory: bool = False) -> None:
    """Of what is in memory already the cells are not counted: there a read adds columns, and has no file to fear."""
    if rows > MAX_ROWS or columns > MAX_COLUMNS or (rows * columns > MAX_CELLS and not in_memory):
        most = "" if in_memory else f" and {MAX_CELLS} cells of a file"
        raise RunsError(
            f"{where}: {rows} rows of {columns} columns; at most {MAX_ROWS} rows, {MAX_COLUMNS} columns{most} are read"
        )


def check_unpacked(size: int, where: str, times: int = 1) -> None:
    """Raise RunsError if a packed file holds more than ``times`` as much as the largest file that is read."""
    if size > (most := times * MAX_BYTES):
        raise RunsError(f"{where}: unpacks to more than {most // 1_000_000} MB; at most so much is read")


def check_headings(names: Sequence[Any], where: str) -> None:
    """Raise RunsError if two columns have one name, or a name has a control character or is endless."""
    repeated = sorted(heading(name) for name, count in collections.Counter(names).items() if count > 1)
    if repeated:
        shown = f"{repeated[:5]}{' and more' if len(repeated) > 5 else ''}"
        raise RunsError(f"{where}: columns {shown} stand twice; rename or drop one of each")
    for name in names:
        if CONTROL.search(str(name)):
            raise RunsError(f"{where}: the column {heading(name)} has a control character in its name; rename it")
        if len(str(name)) > MAX_NAME_CHARACTERS:
            said = f"{where}: the column {heading(name)} has a name of {len(str(name))} characters"
            raise RunsError(f"{said}; at most {MAX_NAME_CHARACTERS} are read; rename it")


def heading(name: Any) -> str:
    """The name of a column, fit for a message."""
    return clipped(name, HEADING_CHARACTERS_MAX)
