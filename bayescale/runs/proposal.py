"""A first look at a table: what it holds, which rows a careful reader would leave out, and the options that do."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr

from bayescale.errors import RunsError
from bayescale.laws.law import Law
from bayescale.runs.datasets import runs_given
from bayescale.runs.lint import remarks
from bayescale.runs.loss_unit import NATS, UNITS, from_nats, loss_unit
from bayescale.runs.read import left_out_text, read_roles, read_runs
from bayescale.runs.remark import Note
from bayescale.runs.spellings import DERIVED_SIZES, SIZES

LOOKS_MAX = 4  # what is left of a table may ask for another option
UNIT_HEADINGS = {unit: f"loss ({text.removesuffix(' per token')})" for unit, text in UNITS.items() if unit != NATS}


@dataclass(frozen=True)
class Look:
    """What a first look at a table says.

    Attributes
    ----------
    runs : as read with the options given, and without rows that miss a value where nothing else can be read [run]
    notes : remarks on them
    options : those given with those that the remarks ask for, as :func:`bayescale.read_runs` takes them
    left_out : what the options leave out, in words; empty where they are those given
    left : how many runs would stay
    """

    runs: xr.Dataset
    notes: tuple[Note, ...]
    options: Mapping[str, Any]
    left_out: str
    left: int


def look(source: Any, law: Law | None, given: Mapping[str, Any]) -> Look:
    """Read a table with the options given, and say which others its rows ask for.

    Raises
    ------
    RunsError
        If it cannot be read.
    """
    table = runs_given(source)
    options = dict(given)
    missing: tuple[Note, ...] = ()
    try:
        runs = read_runs(table, law, **options)
    except RunsError as error:
        try:
            runs = read_runs(table, law, **({"drop_missing": True} | options))
        except RunsError:
            raise error from None
        options["drop_missing"] = True
        missing = (Note("missing_values", "warning", str(error)),)
    notes, kept, chosen = (*missing, *remarks(runs, law)), runs, options
    for _ in range(LOOKS_MAX):
        more = _asked_for(remarks(kept, law), chosen)
        if more == chosen:
            break
        try:
            kept, chosen = read_runs(table, law, **more), more
        except RunsError:  # what the rows ask for leaves nothing
            break
    return Look(runs, notes, chosen, left_out_text(kept.attrs) if chosen != given else "", kept.sizes["run"])


def _asked_for(notes: list[Note], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those that remarks ask for."""
    chosen = dict(options)
    for note in notes:
        for option, value in note.options:
            if option != "where" or "where" not in chosen:
                chosen.setdefault(option, value)
            elif value not in chosen["where"]:
                chosen["where"] = f"({chosen['where']}) and {value}"
    if "last_of" in chosen:
        chosen.pop("drop_missing", None)  # the last complete rows are complete
    return chosen


def option_texts(options: Mapping[str, Any]) -> list[str]:
    """Options of rows as the command line takes them, one word each."""
    words: list[str] = []
    for name, value in options.items():
        if value is True or name in ("where", "above_step", "last_of", "best_of"):
            shown = ",".join(value) if isinstance(value, tuple) else f"{value:g}" if name == "above_step" else value
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [shown])]
    return words


def command(words: list[str]) -> str:
    """A command as it is typed."""
    return " ".join(shlex.quote(word) for word in words)


def tidy(runs: xr.Dataset) -> pd.DataFrame:
    """Runs as a table that reads as they do: roles first, the loss in its unit, compute only where it was a column."""
    frame = runs.to_dataframe().reset_index(drop=True)
    unit = loss_unit(runs.attrs)
    if "loss" in frame and unit != NATS:
        frame["loss"] = from_nats(frame["loss"], unit)
        frame = frame.rename(columns={"loss": UNIT_HEADINGS[unit]})
    if set(SIZES) <= set(frame) and read_roles(runs.attrs).get("compute") == DERIVED_SIZES["compute"]:
        frame = frame.drop(columns="compute")
    return frame
