"""Every remark on a set of runs, in the order in which they are shown."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from bayescale.field import number_text
from bayescale.laws.law import Law, column, load_law
from bayescale.runs import lint_observed, lint_rows, lint_settings, lint_sizes
from bayescale.runs.compute import Definition
from bayescale.runs.datasets import runs_given
from bayescale.runs.known import censored_runs, without_censored
from bayescale.runs.one_size import as_counted
from bayescale.runs.read import read_notes, read_roles, read_runs
from bayescale.runs.remark import Note, note
from bayescale.runs.roles import CENSORED
from bayescale.runs.smooth import Seen, seen_by, surface_through


def check_runs(
    runs: Any,
    law: "str | os.PathLike[str] | Law | None" = None,
    *,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> list[Note]:
    """What a careful reader would object to in these runs; an empty list when nothing.

    Parameters
    ----------
    runs : what :func:`bayescale.read_runs` returns or takes
    law : name, path of a law file, or Law that the runs are for: its inputs and what it explains are looked at; by
        default params, tokens and loss
    columns, units : as in :func:`bayescale.read_runs`

    Returns
    -------
    Notes: ``code``, ``severity`` ("warning" or "info"), ``text``, and ``rows``: the runs it is about, as the coordinate
    ``run`` counts them, at most 1000

    Raises
    ------
    RunsError, LawError
        The runs or the law cannot be used.

    Examples
    --------
    >>> few = {name: values[:8] for name, values in runs.items()}
    >>> [note.code for note in bayescale.check_runs(few)]
    ['few_runs', 'few_sizes']
    """
    runs = runs_given(runs)
    chosen = None if law is None else as_counted(load_law(law), runs, columns)
    read = isinstance(runs, xr.Dataset) and set(runs.dims) == {"run"} and "source" in runs.attrs and runs.sizes["run"]
    if not read or columns or units or chosen is not None:
        runs = read_runs(runs, chosen, columns=columns, units=units)
    return remarks(runs, chosen)


def remarks(runs: xr.Dataset, law: Law | None = None, definition: Definition | None = None) -> list[Note]:
    """Every remark on runs that have been read for this law; ``definition`` of their compute, where it is known."""
    hidden = censored_runs(runs)
    whole = seen_by(runs, law)
    seen = seen_by(without_censored(runs), law) if hidden.any() else whole
    surface = surface_through(seen)
    unread = [Note("columns", "info", text) for text in read_notes(runs.attrs)]
    apart = dict(lint_settings.groups(seen, surface))
    checkpoints = [*lint_rows.checkpoints(seen)]
    return [
        *unread,
        *lint_rows.censored(whole, hidden, read_roles(runs.attrs).get(CENSORED, "")),
        *lint_sizes.few_runs(seen, 0 if law is None else len(law.priors)),
        *lint_sizes.few_values(seen),
        *lint_sizes.collinear(seen),
        *lint_sizes.compute_unit(seen),
        *lint_sizes.compute_differs(seen, definition),
        *lint_observed.perplexity(seen),
        *lint_observed.uncounted(seen),
        *lint_observed.other_losses(seen),
        *lint_sizes.units(seen),
        *lint_sizes.mixed_units(seen),
        *([] if law is None else _shares(seen, law)),
        *lint_sizes.isolated(seen),
        *lint_rows.summaries(seen),
        *lint_rows.unfinished(seen),
        *checkpoints,
        *lint_rows.copies(seen),
        *([] if checkpoints else lint_settings.settings(seen, list(apart))),
        *lint_observed.surprising(seen, surface),
        *lint_observed.scatter(seen, surface),
        *lint_observed.unexplained(seen, surface),
        *lint_observed.shape(seen),
        *apart.values(),
        *lint_observed.constant_or_rising(seen),
    ]


def _shares(seen: Seen, law: Law) -> Iterator[Note]:
    """Inputs above 1 where the range of the law ends at 1, as that of a share does: they may be percentages."""
    for symbol, (low, high) in law.range.items():
        name = column(symbol)
        if high == 1 and low >= 0 and name in seen.runs and (most := float(seen.runs[name].max())) > 1:
            yield note(
                seen,
                "units",
                "warning",
                f"{name} is up to {number_text(most)}, where law '{law.name}' is for {number_text(low)} to 1: is it in "
                "percent? Write 60 % as 0.6",
            )
