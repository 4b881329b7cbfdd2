"""A remark on runs: what it says, and the rows it is about."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.field import rows_text
from bayescale.runs.smooth import Seen

NOTE_ROWS_MAX = 1000  # the text of a note counts all of them


@dataclass(frozen=True)
class Note:
    """One remark of the lint.

    Attributes
    ----------
    code : a stable name
    severity : "warning" or "info"
    text : a sentence that says what to do
    rows : the runs it is about, as the coordinate ``run`` counts them
    options : those of :func:`bayescale.read_runs` that would leave the rows out, names and values
    """

    code: str
    severity: str
    text: str
    rows: tuple[int, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


def note(seen: Seen, code: str, severity: str, text: str, rows: Iterable[int] = (), **options: Any) -> Note:
    """A remark on the runs at these positions, and the options that would leave them out."""
    labels = seen.runs["run"].values
    positions = tuple(int(labels[row]) for row in list(rows)[:NOTE_ROWS_MAX])
    return Note(code, severity, text, positions, tuple(options.items()))


def where(seen: Seen, rows: np.ndarray) -> str:
    """The runs at these positions, as their user counts them."""
    return rows_text(seen.place, seen.runs["run"].values[rows])
