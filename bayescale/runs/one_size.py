"""What a table has, before a law is chosen: the only size in which runs differ, a column for a role."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescale.laws.law_file import Law
from bayescale.laws.own_priors import without_count
from bayescale.runs.cells import as_numbers
from bayescale.runs.columns import find_columns
from bayescale.runs.guess import guesses
from bayescale.runs.question import Question
from bayescale.runs.source import table_of
from bayescale.runs.spellings import SIZES, related_columns
from bayescale.runs.tables.formats import Table

SAME_RELATIVE = 1e-3  # of sizes that count as one: a third size may be rounded


def only_size(source: Any, columns: Mapping[str, str] | None = None) -> str | None:
    """The one of params, tokens and compute in which the runs of a table differ, or that is alone there.

    The column ``x``, where ``columns`` or its name says so and none of the three is there. None where two sizes differ,
    a column could be another one, or there is no size at all: then runs of N and D are expected, as ever.

    Parameters
    ----------
    source, columns : as in :func:`bayescale.read_runs`
    """
    table = table_of(source)
    given = dict(columns or {})
    try:
        found = {role: name for role in SIZES if (name := _column(table, role, given)) is not None}
    except Question:
        return None
    if not found:
        return "x" if "x" in given or "x" in table.frame.columns else None
    if len(found) == 1:
        others = [name for name in table.frame.columns if name not in found.values()]
        meant = any(related_columns(role, others) for role in SIZES if role not in found)
        return (
            None
            if meant or guesses(table, {role: as_numbers(table.frame[name]) for role, name in found.items()})
            else next(iter(found))
        )
    values = {role: as_numbers(table.frame[name]) for role, name in found.items()}
    with np.errstate(all="ignore"):
        if "params" not in values:
            values["params"] = values["compute"] / values["tokens"]
        if "tokens" not in values:
            values["tokens"] = values["compute"] / values["params"]
    if any(np.isinf(one).any() for one in values.values()):  # reading refuses them
        return None
    differ = [role for role in ("params", "tokens") if _differ(values[role])]
    return differ[0] if len(differ) == 1 else None


def has_column(source: Any, role: str, columns: Mapping[str, str] | None = None) -> bool:
    """Whether a table has a column for a role."""
    try:
        return _column(table_of(source), role, dict(columns or {})) is not None
    except Question:
        return True


def as_counted(law: Law, source: Any, columns: Mapping[str, str] | None = None) -> Law:
    """The law; where it explains a proportion whose items no column counts, that of a share."""
    return without_count(law) if law.observed.count and not has_column(source, law.observed.count, columns) else law


def _column(table: Table, role: str, given: Mapping[str, str]) -> Any:
    names = list(table.frame.columns)
    mine = {one: name for one, name in given.items() if name in names}
    return find_columns(names, mine, (role,), {}, lambda name: as_numbers(table.frame[name])).roles.get(role)


def _differ(values: np.ndarray) -> bool:
    values = values[np.isfinite(values)]
    return bool(values.size) and np.ptp(values) > SAME_RELATIVE * np.abs(values).max()
