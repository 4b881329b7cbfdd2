"""What a result says, said once: numbers, how people want them written, sentences, and what speaks against it.

The module that makes a result ends with a function that returns its reading. The terminal, JSON, notebooks, the report
and data frames are made of that.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# what returns a result, as in its attribute "kind": the module that makes it and ends with its ``read``, and the
# dimensions that the result keeps
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "forecast": ("forecasts.forecast", ()),
    "allocate": ("budgets.allocate", ("chain", "draw", "budget")),
    "decide": ("budgets.decide", ("budget", "choice")),
    "train_or_sample": ("budgets.sampling", ("chain", "draw", "budget")),
    "least_compute": ("budgets.target", ("chain", "draw", "target")),
    "compute_gain": ("budgets.gain", ("chain", "draw", "budget")),
    "emergence": ("budgets.emergence", ("chain", "draw", "point")),
    "approaches": ("budgets.approaches", ("approach",)),
    "landmarks": ("budgets.landmarks", ()),
    "published_split": ("budgets.published", ()),
    "next_run": ("budgets.design", ("run", "candidate")),
    "plan_runs": ("budgets.planning", ()),
    "backtest": ("evidence.backtest", ("law", "cut", "run")),
    "calibrate": ("evidence.calibration", ("quantity", "simulation")),
    "compare": ("evidence.verdict", ("law",)),
    "prior_sensitivity": ("evidence.sensitivity", ()),
    "reproduce": ("fitting.reproduce", ()),
}


@dataclass(frozen=True)
class Column:
    """A column of a table for people.

    Attributes
    ----------
    key : column of the frame; of a band ``loss``, say, whose columns are ``loss_q05``, ``loss_q50`` and ``loss_q95``
    heading : what stands above it
    unit : of the numbers in the frame; empty for words and pure numbers
    how : how it is written, a name in ``bayescale.display.table.WRITERS``
    digits : as many as ``how`` takes: significant digits, or decimals
    also : further columns of the frame that are written in the same cell
    ends : labels of the quantiles at the ends of a band
    instead : for each row the text that is written instead of the number, or None; empty if all are written
    """

    key: str
    heading: str
    unit: str = ""
    how: str = "text"
    digits: int = 3
    also: tuple[str, ...] = ()
    instead: tuple[str | None, ...] = ()
    ends: tuple[str, ...] = ("q05", "q95")


@dataclass(frozen=True)
class Reading:
    """What a result says.

    Attributes
    ----------
    title : what the table shows and how its numbers are to be read
    frame : the numbers, a row each of what was asked
    columns : which of them people see, and how
    says : what the result comes to, in sentences
    warnings : what speaks against it; empty when nothing is known
    notes : what the numbers rest on: units, what was read
    about : what holds for all rows, by name, for machines
    rows : what the rows are called there
    groups : columns that machines find under one name: ``{"loss": {"q05": "loss_q05", ...}}``; or a column by another
        name
    """

    title: str
    frame: "pd.DataFrame"
    columns: tuple[Column, ...]
    says: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    rows: str = "rows"
    groups: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)

    def to_dataframe(self) -> "pd.DataFrame":
        """The numbers in plain units (parameters, tokens, FLOP); ``attrs["units"]`` has the unit of a column."""
        frame = self.frame.copy()
        units = {one.key: one.unit for one in self.columns if one.unit}
        stems = {name: name.partition("_q")[0] for name in map(str, frame)}
        frame.attrs = {"units": {name: units[stem] for name, stem in stems.items() if stem in units}}
        return frame

    def to_dict(self) -> dict[str, Any]:
        """The whole for machines, ready for JSON: what is not finite is None."""
        taken = set()
        for parts in self.groups.values():
            taken |= {parts} if isinstance(parts, str) else set(parts.values())
        rows = []
        for row in self.frame.to_dict("records"):
            grouped = {
                name: row.get(parts)
                if isinstance(parts, str)
                else {label: row[column] for label, column in parts.items() if column in row}
                for name, parts in self.groups.items()
            }
            rows.append({name: value for name, value in row.items() if name not in taken} | grouped)
        return plain(dict(self.about) | {self.rows: rows, "warnings": self.warnings})


def unless(known: Iterable[Any], text: str) -> tuple[str | None, ...]:
    """What a column says instead of the numbers of rows that are not known."""
    return tuple(None if one else text for one in known)


def bands(names: Any, quantiles: Any) -> dict[str, dict[str, str]]:
    """Groups of the quantiles of some columns: ``{"loss": {"q05": "loss_q05", ...}}``."""
    return {name: {label: f"{name}_{label}" for label in quantiles} for name in names}


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
