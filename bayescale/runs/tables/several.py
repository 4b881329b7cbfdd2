"""Several tables of one file, as a workbook has sheets -> those of runs, one after the other."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from bayescale.field import clipped, listed
from bayescale.runs.related import roles_named
from bayescale.runs.tables.limits import check_size

NAMES_MAX = 3  # of tables in a note


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
    frames = {name: read(name) for name in chosen}
    notes = [frame.attrs.pop("note", "") for frame in frames.values()]
    table = frames[chosen[0]]
    if len(chosen) > 1:
        names = dict.fromkeys(name for one in frames.values() for name in one.columns)
        called = next(name for name in (what, f"source_{what}", f"{what}_of_runs") if name not in names)
        check_size(sum(map(len, frames.values())), len(names) + 1, where)
        table = pd.concat([one.assign(**{called: name}) for name, one in frames.items()], ignore_index=True)
        table = table.where(table.notna(), "")
        table.attrs["parts"] = tuple((f"{what} {clipped(name, 40)}", one) for name, one in frames.items())
        notes.append(f"{len(chosen)} {what}s are read together; the column {called} says which one a row is from")
    if left := [clipped(name, 40) for name in headings if name not in chosen]:
        shown = [*left[:NAMES_MAX], *([f"{len(left) - NAMES_MAX} more"] if len(left) > NAMES_MAX else [])]
        notes.append(f"of the {what}s, {listed(shown)} {'is' if len(left) == 1 else 'are'} left out")
    table.attrs["note"] = "; ".join(filter(None, notes))
    return table
