"""Any result -> the table that a person reads, with its units, what it rests on and what speaks against it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from bayescale.display.reading import read
from bayescale.display.table import Table, table, table_of
from bayescale.display.tables import fit_cells, fit_sentences, priors_cells
from bayescale.field import BAND, SIZE_UNITS, number_text, size_text
from bayescale.fitting.diagnostics import fit_summary
from bayescale.fitting.doors import kind_of, level_of, opened_fit
from bayescale.laws.law_file import Law
from bayescale.runs.lint import check_runs
from bayescale.runs.loss_unit import UNITS, from_nats, loss_unit
from bayescale.runs.read import read_said


def show(result: Any, **options: Any) -> Table:
    """A result as a table to look at: HTML in a notebook, text when printed.

    It is the reading of the result, :func:`bayescale.read`, rounded and with units; to compute with numbers take
    ``read(result).to_dataframe()``.

    Parameters
    ----------
    result : runs, a law, a fit, or a result that :func:`bayescale.read` takes
    options : as in :func:`bayescale.read`; of a fit ``level``

    Returns
    -------
    Table: ``title``, ``header``, ``rows``, ``notes`` and ``warnings``, all of them text.

    Raises
    ------
    FitError
        If it is none of these.

    Examples
    --------
    >>> import bayescale
    >>> print(bayescale.show(bayescale.load_law("power_compute")).rows[0][0])
    level
    """
    kind = kind_of(result)
    if kind in TABLE_OF and set(options) <= ({"level"} if kind == "fit" else set()):
        return TABLE_OF[kind](result, **options)
    return table_of(read(result, **options))


def _runs(runs: xr.Dataset) -> Table:
    numeric = [str(name) for name in runs.data_vars if runs[name].dtype.kind in "fiu" and runs[name].dims == ("run",)]
    rows = []
    for name in numeric:
        values = runs[name].values
        if not np.isfinite(values).any():
            continue
        text = size_text if np.nanmax(np.abs(values)) >= 1000 and name != "compute" else partial(number_text, digits=4)
        unit = SIZE_UNITS.get(name, "")
        if name == "loss":
            values, unit = from_nats(values, loss_unit(runs.attrs)), UNITS[loss_unit(runs.attrs)]
        rows.append((name, unit, *(text(q) for q in np.nanquantile(values, [0, 0.5, 1]))))
    notes = check_runs(runs)
    return replace(
        table(
            f"{runs.attrs['source']}: {runs.sizes['run']} runs",
            ("column", "meaning", "smallest", "median", "largest"),
            rows,
        ),
        notes=(*read_said(runs.attrs), *(note.text for note in notes if note.severity != "warning")),
        warnings=tuple(note.text for note in notes if note.severity == "warning"),
    )


def _law(law: Law) -> Table:
    shown = replace(priors_cells(law), title=f"{law.name}: {law.title}")
    formula = f"As sampled: {law.observed.symbol} = {law.formula}"
    where = [f"where {name} = {text}" for name, text in law.where_texts.items()]
    return replace(shown, notes=(law.about, formula, *where, f"Source: {law.cite}"), warnings=law.traps)


def _fit(fit: xr.DataTree, level: float = BAND) -> Table:
    fit, level = opened_fit(fit), level_of(level)
    summary = fit_summary(fit, level)
    return replace(fit_cells(summary, level), notes=tuple(fit_sentences(summary)), warnings=tuple(summary["warnings"]))


TABLE_OF: dict[str, Callable[..., Table]] = {"runs": _runs, "law": _law, "fit": _fit}
