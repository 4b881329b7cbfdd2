"""Which rows of a table are the runs: a condition, complete rows, final checkpoints, the best of each size; counted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayescale.errors import RunsError
from bayescale.field import clipped, listed, number_text
from bayescale.runs.best_setting import SETTING_VALUES_MAX, Selection, selection
from bayescale.runs.cells import as_numbers, missing_cells
from bayescale.runs.condition import Condition, columns_called, columns_text
from bayescale.runs.guess import steps_in
from bayescale.runs.loss_unit import NATS, to_nats
from bayescale.runs.spellings import NO_SETTINGS, is_called
from bayescale.runs.tables.formats import Table
from bayescale.runs.tables.limits import heading

CELL_DIGITS = 3  # of sizes: runs whose sizes differ only in later ones are of one cell
SETTINGS_TOGETHER_MAX = 3  # that one polynomial has
RUNS_NAMED_MAX = 3  # of runs in a message


@dataclass(frozen=True)
class Choice:
    """Which rows are the runs; each option leaves out more, in this order.

    Attributes
    ----------
    where : a condition that rows must meet, see :class:`bayescale.runs.condition.Condition`
    above_step : rows up to this step are left out
    last_of : a column that names runs: of each the last row that is complete
    drop_missing : rows without a value that is needed are left out
    best_of : columns or roles: of rows that agree in them the one of lowest loss
    """

    where: str | None = None
    above_step: float | None = None
    last_of: str | None = None
    drop_missing: bool = False
    best_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A table with what is known of its columns.

    Attributes
    ----------
    table : the rows
    roles : role -> column
    factors : role -> what its column is multiplied by
    needed : roles that every run must have
    loss_unit : of the column of losses
    """

    table: Table
    roles: Mapping[str, Any]
    factors: Mapping[str, float]
    needed: Sequence[str]
    loss_unit: str = NATS

    def column(self, name: str, option: str) -> Any:
        """The column of this name or role."""
        found = columns_called(name, self.table, self.roles)
        if len(found) != 1:
            shown = columns_text(self.table)
            raise RunsError(f"{self.table.where}: {option} {clipped(name)}: no such column; the columns are {shown}")
        return found[0] if found[0] in self.table.frame.columns else self.roles[found[0]]

    @property
    def step(self) -> Any:
        """The column of steps, or None."""
        found = steps_in(self.table.frame)
        return None if found is None else found[0]

    @property
    def incomplete(self) -> dict[str, np.ndarray]:
        """Column -> rows without its value, of the columns that are needed [row]."""
        names = dict.fromkeys(self.roles[role] for role in self.needed if role in self.roles)
        return {str(name): missing_cells(self.table.frame[name]) for name in names}

    def rows(self, kept: np.ndarray) -> "Asked":
        """The same of some rows, an index or booleans [row]."""
        table = self.table
        return replace(self, table=replace(table, frame=table.frame.iloc[kept]))


type Kept = tuple[np.ndarray, dict[str, int]]  # rows that stay [row], and how many do not, by reason


def choose(asked: Asked, choice: Choice) -> tuple[Table, dict[str, int], Selection | None]:
    """The rows that are the runs, how many were left out for which reason, and what choosing the best of each does.

    Raises
    ------
    RunsError
        If an option names no column, or no row is left.
    """
    steps: dict[str, tuple[Any, Callable[[Asked, Any], Kept]]] = {
        "where": (choice.where, _where),
        "above_step": (choice.above_step, _above_step),
        "last_of": (choice.last_of, _last_of),
        "drop_missing": (choice.drop_missing or None, _drop_missing),
        "best_of": (choice.best_of or None, _best_of),
    }
    left_out: dict[str, int] = {}
    picked, notes = None, asked.table.notes
    for option, (value, step) in steps.items():
        if value is None or not len(asked.table.frame):
            continue
        kept, reasons = step(asked, value)
        if option == "best_of" and not kept.all():
            picked, said = lowest_of(asked, choice.best_of)
            notes = (*notes, said)
        left_out |= {reason: count for reason, count in reasons.items() if count}
        if not kept.any():
            shown = f"--{option.replace('_', '-')}"
            told = listed([f"{count} {reason}" for reason, count in left_out.items()])
            raise RunsError(f"{asked.table.where}: {shown} leaves no run: {told}")
        asked = asked if kept.all() else asked.rows(kept)
    return replace(asked.table, notes=notes), left_out, picked


def _where(asked: Asked, text: str) -> Kept:
    found = Condition(text, asked.table, asked.roles, asked.factors).rows()
    unknown = ~(found.yes | found.no)
    shown = clipped(text, 100)
    return found.yes, {f"not meeting {shown}": int(found.no.sum()), f"without a value for {shown}": int(unknown.sum())}


def _above_step(asked: Asked, least: float) -> Kept:
    if asked.step is None:
        raise RunsError(f"{asked.table.where}: --above-step: no column of steps; use --where")
    steps = as_numbers(asked.table.frame[asked.step])
    kept = steps > least
    shown = f"{heading(asked.step)} {number_text(least, 6)}"
    return kept, {f"up to {shown}": int((steps <= least).sum()), "without a step": int(np.isnan(steps).sum())}


def _drop_missing(asked: Asked, _: bool) -> Kept:
    gone, reasons = np.zeros(len(asked.table.frame), dtype=bool), {}
    for name, missing in asked.incomplete.items():
        reasons[f"without {clipped(name)}"] = int((missing & ~gone).sum())
        gone |= missing
    return ~gone, reasons


def _last_of(asked: Asked, name: str) -> Kept:
    """Of each run the last complete row: by step, else by tokens, else in the order of the file."""
    frame = asked.table.frame
    # of bytes too, which may be no text
    labels = frame[asked.column(name, "--last-of")].map(str, na_action="ignore").to_numpy()
    complete, reasons = _drop_missing(asked, True)
    order = np.arange(len(frame), dtype=float)
    for column in (asked.step, asked.roles.get("tokens")):
        values = order if column is None else as_numbers(frame[column])
        if column is not None and np.isfinite(values[complete]).all():
            order = values
            break
    rows = pd.DataFrame({"label": labels, "order": order, "row": np.arange(len(frame))})[complete]
    last = rows.sort_values(["order", "row"]).groupby("label", sort=False)["row"].last().to_numpy()
    kept = np.zeros(len(frame), dtype=bool)
    kept[last] = True
    ended = sorted(set(labels) - set(labels[complete]))
    if ended:
        more = f" and {len(ended) - RUNS_NAMED_MAX} more" if len(ended) > RUNS_NAMED_MAX else ""
        shown = ", ".join(clipped(label, 30) for label in ended[:RUNS_NAMED_MAX]) + more
        reasons = {f"{reason} (all rows of {shown})": count for reason, count in reasons.items()}
    return kept, reasons | {f"before the last of their {clipped(name)}": int((complete & ~kept).sum())}


def _best_of(asked: Asked, names: Sequence[str]) -> Kept:
    """Of each cell the row of lowest loss; rows that cannot be compared stay, so that reading them says why."""
    code, _ = _cells(asked, names)
    log_loss = _log_loss(asked)
    known = np.isfinite(log_loss)
    rows = pd.DataFrame({"cell": code, "loss": log_loss, "row": np.arange(len(code))})[known]
    groups = rows.sort_values(["loss", "row"], kind="stable").groupby("cell")["row"]
    kept = ~known
    kept[groups.first().to_numpy()] = True
    if not known.any():
        return kept, {}
    return kept, {settings_text(names, groups.size().to_numpy()): int((~kept).sum())}


def _cells(asked: Asked, names: Sequence[str]) -> tuple[np.ndarray, list[Any]]:
    """Which cell a row is of, counted from 0 [row], and the columns that cells are told apart by."""
    columns = [asked.column(name, "--best-of") for name in names]
    cells = {str(position): _cell(asked.table.frame[column]) for position, column in enumerate(columns)}
    return pd.DataFrame(cells).groupby(list(cells), dropna=False).ngroup().to_numpy(), columns


def _log_loss(asked: Asked) -> np.ndarray:
    """Log of the loss in nats, NaN where there is none [row]."""
    if "loss" not in asked.roles:
        raise RunsError(f"{asked.table.where}: --best-of: there is no loss to choose by")
    with np.errstate(all="ignore"):
        return np.log(to_nats(as_numbers(asked.table.frame[asked.roles["loss"]]), asked.loss_unit))


def lowest_of(asked: Asked, names: Sequence[str]) -> tuple[Selection | None, str]:
    """What choosing the lowest loss of each cell does, by row of the runs chosen, and a sentence on it."""
    code, columns = _cells(asked, names)
    log_loss = _log_loss(asked)
    known = np.isfinite(log_loss)
    log_loss, cell = log_loss[known], np.unique(code[known], return_inverse=True)[1]
    spread = pd.Series(log_loss).groupby(cell).agg(np.ptp)
    if (spread == 0).all():
        return None, "the rows that agree have equal losses: one of each is kept"
    settings = _settings(asked, np.flatnonzero(known), cell, columns)
    found = None if settings is None or not known.all() else selection(log_loss, cell, list(settings.values()))
    if found is None:
        return None, (
            "each loss is the lowest of several, which is below the true loss of the best setting by an amount that "
            "these runs do not tell"
        )
    first = pd.DataFrame({"cell": cell, "loss": log_loss}).sort_values("loss", kind="stable").groupby("cell").head(1)
    order = first.sort_index()["cell"].to_numpy()
    by = f"{100 * -np.expm1(found.bias.mean()):.2g} %"
    along = listed([clipped(name) for name in settings or ()]) or "repeats"
    text = (
        f"each loss is the lowest of several ({along}), and lies {by} (mean) below the true loss of the best setting, "
        f"as losses scatter by {100 * found.sigma:.2g} %: raised by that; lowest_loss has what was measured"
    )
    return Selection(found.bias[order], found.low[order], found.high[order], found.sigma), text


def _settings(asked: Asked, known: np.ndarray, cell: np.ndarray, columns: list[Any]) -> dict[Any, np.ndarray] | None:
    """Numbers that differ within most cells and were set, not measured [row]; None where a text does, or too many."""
    found: dict[Any, np.ndarray] = {}
    used = {*columns, *asked.roles.values()}
    for name in asked.table.frame.columns:
        if name in used or is_called(name, *NO_SETTINGS, "step", "steps"):
            continue
        values = asked.table.frame[name].iloc[known]
        codes, labels = pd.factorize(values)
        few = 1 < len(labels) <= min(SETTING_VALUES_MAX, max(2, len(cell) // 3)) or is_called(name, "learning rate")
        if not few or (pd.Series(codes).groupby(cell).nunique() > 1).mean() <= 0.5:
            continue
        numbers = as_numbers(values)
        if not np.isfinite(numbers).all() or len(found) == SETTINGS_TOGETHER_MAX:
            return None
        found[name] = np.log(numbers) if (numbers > 0).all() else numbers
    return found


def settings_text(names: Sequence[str], settings: np.ndarray) -> str:
    """The reason of rows that are not the best of their cell: of how many settings each was chosen."""
    low, high = int(settings.min()), int(settings.max())
    many = f"{low}" if low == high else f"{low} to {high}"
    return f"not the lowest loss of their ({', '.join(names)}), chosen from {many} in each of {len(settings)}"


def _cell(column: pd.Series) -> np.ndarray:
    """Values that cells are told apart by: numbers to some digits, else texts."""
    numbers = as_numbers(column)
    if np.isnan(numbers).any():
        return column.astype(str).to_numpy()
    with np.errstate(all="ignore"):
        digits = CELL_DIGITS - 1 - np.floor(np.log10(np.abs(numbers)))
        return np.where(np.isfinite(digits), np.round(numbers * 10.0**digits) / 10.0**digits, numbers)
