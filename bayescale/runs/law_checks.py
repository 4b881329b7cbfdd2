"""Do runs suit a law: what a fit refuses before it starts."""

import numpy as np
import xarray as xr

from bayescale.errors import FitError, RunsError
from bayescale.field import number_text, quantity_text
from bayescale.laws.law import Law, column, positive_columns
from bayescale.runs.known import without_censored
from bayescale.runs.loss_unit import LOSS_NATS_MAX, values_text
from bayescale.runs.read import read_roles
from bayescale.runs.roles import CENSORED

RUNS_MIN = 4


def check_unit(runs: xr.Dataset, law: Law) -> None:
    """Refuse losses that look like perplexities."""
    if law.observed.column == "loss" and law.observed.scale == "log" and "loss_unit" not in runs.attrs:
        middle = float(np.median(runs["loss"].values))
        if middle > LOSS_NATS_MAX:
            raise RunsError(
                f"{runs.attrs.get('source', 'runs')}: a median loss of {middle:.4g} looks like a perplexity; say what "
                "it is: --unit loss=perplexity or --unit loss=nats (units={'loss': 'perplexity'})"
            )


def check_columns(runs: xr.Dataset, law: Law) -> None:
    """Refuse runs in which an input of the law is missing, not finite, or not positive where it must be."""
    where = runs.attrs.get("source", "runs")
    for symbol in law.inputs:
        if column(symbol) not in runs:
            raise FitError(
                f"law '{law.name}' uses '{symbol}', which is neither one of its priors nor a column of {where}; "
                f"the columns are {', '.join(map(str, runs.data_vars))}; say which it is "
                f"(columns={{'{column(symbol)}': ...}}, --column {column(symbol)}=...)"
            )
        values = runs[column(symbol)].values
        positive = column(symbol) in positive_columns(law)
        if values.dtype.kind != "f" or not (np.isfinite(values) & ((values > 0) | (not positive))).all():
            raise FitError(
                f"{where}: law '{law.name}' needs {'numbers > 0' if positive else 'finite numbers'} "
                f"in the column '{column(symbol)}'"
            )


def check_variety(runs: xr.Dataset, law: Law) -> None:
    """Refuse too few runs, and runs that do not differ in an input or in what was observed."""
    where, runs = runs.attrs.get("source", "runs"), without_censored(runs)
    count = runs.sizes["run"]
    if count < RUNS_MIN:
        what = "run(s) that are not censored" if CENSORED in read_roles(runs.attrs) else "run(s)"
        raise FitError(f"{where}: {count} {what}; a fit needs at least {RUNS_MIN}, and 12 or more to say much")
    for symbol in sorted(set(law.inputs) - set(law.may_stay_same), key=law.inputs.index):
        values = runs[column(symbol)].values
        if np.ptp(values) <= 1e-6 * np.abs(values).max():
            raise FitError(
                f"{where}: all {count} runs have {column(symbol)} = {quantity_text(column(symbol), values[0])}; "
                f"law '{law.name}' needs at least two different values to learn its effect"
            )
    seen = runs[law.observed.column].values
    if np.ptp(seen) <= 1e-9 * np.abs(seen).max():
        what = values_text(law.observed.column)
        raise FitError(f"{where}: all {count} {what} are {number_text(seen[0], 4)}; there is nothing to learn from")
