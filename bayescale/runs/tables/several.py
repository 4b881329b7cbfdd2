"""Several tables, as files of a folder or sheets of a workbook -> one table, with where each row is from."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from bayescale.field import clipped, listed
from bayescale.runs.spellings import roles_named
from bayescale.runs.tables.limits import check_size

NAMES_MAX = 3  # of tables in a note


def stacked(frames: Sequence[pd.DataFrame], labels: Sequence[str], what: str, where: str) -> tuple[pd.DataFrame, str]:
    """The tables one after the other, with a column of their labels, and its name: ``what`` if no other has it.

    Raises RunsError if they are too large together.
    """
    names = dict.fromkeys(name for one in frames for name in one.columns)
    check_size(sum(map(len, frames)), len(names) + 1, where)
    called = next(name for name in (what, f"source_{what}", f"{what}_of_runs") if name not in names)
    labelled = [one.astype(object).assign(**{called: label}) for one, label in zip(frames, labels, strict=True)]
    table = pd.concat(labelled, ignore_index=True)
    return table.where(table.notna(), ""), called


def joined(
    headings: Mapping[str, Sequence[str]], read: Callable[[str], pd.DataFrame], what: str, where: str
) -> pd.DataFrame:
    """The tables with most roles among their headings; where none has one, the first.

    Of several, a column called ``what`` says which a row is from, and ``attrs`` have the parts. A note in ``attrs``
    names the tables that are left out.

    Parameters
    ----------
    headings : those of each table, by its name
    read : the table of a name
    what : the tables are called so: "sheet"
    """
    many = {name: len(roles_named(names)) for name, names in headings.items()}
    most = max(many.values())
    chosen = [name for name in headings if many[name] == most] if most else [next(iter(headings))]
    frames = [read(name) for name in chosen]
    notes = [frame.attrs.pop("note", "") for frame in frames]
    table = frames[0]
    if len(chosen) > 1:
        table, called = stacked(frames, chosen, what, where)
        table.attrs["parts"] = tuple(
            (f"{what} {clipped(name, 40)}", one) for name, one in zip(chosen, frames, strict=True)
        )
        notes.append(f"{len(chosen)} {what}s are read together; the column {called} says which one a row is from")
    if left := [clipped(name, 40) for name in headings if name not in chosen]:
        shown = [*left[:NAMES_MAX], *([f"{len(left) - NAMES_MAX} more"] if len(left) > NAMES_MAX else [])]
        notes.append(f"of the {what}s, {listed(shown)} {'is' if len(left) == 1 else 'are'} left out")
    table.attrs["note"] = "; ".join(filter(None, notes))
    return table
