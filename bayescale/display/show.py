"""Any result -> the table that a person reads, with its units, what it rests on and what speaks against it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.allocate import allocation_table, allocation_warnings
from bayescale.budgets.approaches import approaches_table, approaches_warnings
from bayescale.budgets.decide import decision_statement, decision_table, decision_warnings
from bayescale.budgets.design import next_statement, next_table, next_warnings
from bayescale.budgets.planning import plan_statement
from bayescale.budgets.target import gain_table, gain_warnings, least_compute_table, least_compute_warnings
from bayescale.display.table import Table, table
from bayescale.display.tables import (
    allocation_cells,
    approaches_cells,
    backtest_cells,
    calibration_cells,
    comparison_cells,
    count_cells,
    decision_cells,
    fit_cells,
    fit_sentences,
    forecast_cells,
    gain_cells,
    least_compute_cells,
    plan_cells,
    priors_cells,
    reproduction_cells,
)
from bayescale.errors import FitError
from bayescale.evidence.backtest import backtest_statement, backtest_table
from bayescale.evidence.calibration import calibration_statement, calibration_table, calibration_warnings
from bayescale.evidence.verdict import comparison_table, comparison_verdict, comparison_warnings
from bayescale.field import number_text, size_text
from bayescale.fitting.diagnostics import fit_summary
from bayescale.fitting.doors import kind_of, opened_fit
from bayescale.fitting.reproduce import reproduction_table
from bayescale.forecasts.forecast import forecast_table, forecast_warnings
from bayescale.laws.law_file import Law
from bayescale.runs.compute import counted
from bayescale.runs.lint import check_runs
from bayescale.runs.loss_unit import UNITS, from_nats, loss_unit, unit_sentence
from bayescale.runs.read import read_text

SIZES = "N in parameters, D in tokens (7B is 7e9)"


def show(result: Any, *, target: float | None = None) -> Table:
    """A result as a table to look at: HTML in a notebook, text when printed.

    It is made of what the ``..._table``, ``..._statement`` and ``..._warnings`` functions return, rounded, with units;
    to compute with numbers take those.

    Parameters
    ----------
    result : runs, a law, a fit, or what ``forecast``, ``allocate``, ``decide``, ``least_compute``, ``compute_gain``,
        ``approaches``, ``next_run``, ``plan_runs``, ``backtest``, ``calibrate`` or ``compare`` returns
    target : of a forecast: also show the probability to reach this loss

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
    if kind != "forecast" and kind not in SHOWN:
        raise FitError(
            f"a {type(result).__name__} cannot be shown: give runs, a law, a fit, or what forecast, allocate, decide, "
            "least_compute, compute_gain, approaches, next_run, plan_runs, backtest, calibrate, compare or reproduce "
            "returned"
        )
    if target is not None and kind != "forecast":
        raise FitError("target goes with a forecast; other results have no probability to reach a loss")
    return _forecast(result, target) if kind == "forecast" else SHOWN[kind](result)


def _runs(runs: xr.Dataset) -> Table:
    numeric = [str(name) for name in runs.data_vars if runs[name].dtype.kind in "fiu" and runs[name].dims == ("run",)]
    rows = []
    for name in numeric:
        values = runs[name].values
        if not np.isfinite(values).any():
            continue
        text = size_text if np.nanmax(np.abs(values)) >= 1000 and name != "compute" else partial(number_text, digits=4)
        unit = {"params": "parameters", "tokens": "tokens", "compute": "FLOP"}.get(name, "")
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
        notes=(*_read(runs), *(note.text for note in notes if note.severity != "warning")),
        warnings=tuple(note.text for note in notes if note.severity == "warning"),
    )


def _read(result: xr.Dataset) -> tuple[str, ...]:
    """Which columns a result rests on."""
    text = read_text(result.attrs)
    return (f"read: {text}",) if text else ()


def _law(law: Law) -> Table:
    shown = replace(priors_cells(law), title=f"{law.name}: {law.title}")
    formula = f"As sampled: {law.observed.symbol} = {law.formula}"
    where = [f"where {name} = {text}" for name, text in law.where_texts.items()]
    return replace(shown, notes=(law.about, formula, *where, f"Source: {law.cite}"), warnings=law.traps)


def _fit(fit: xr.DataTree) -> Table:
    fit = opened_fit(fit)
    summary = fit_summary(fit)
    return replace(fit_cells(summary), notes=tuple(fit_sentences(summary)), warnings=tuple(summary["warnings"]))


def _forecast(tree: xr.DataTree, target: float | None) -> Table:
    units = [unit_sentence(tree.attrs)] if tree.attrs["observed"] == "loss" else []
    if {"params", "tokens"} <= set(tree["predictions_constant_data"].data_vars):
        units.append(f"{SIZES}; beyond: decades of compute (FLOP) past the largest run.")
    return replace(
        forecast_cells(forecast_table(tree, target=target), target),
        notes=tuple(units),
        warnings=tuple(forecast_warnings(tree)),
    )


def _allocation(result: xr.Dataset) -> Table:
    return replace(
        allocation_cells(allocation_table(result)),
        notes=(f"{unit_sentence(result.attrs)} {_cost(result)}",),
        warnings=tuple(allocation_warnings(result)),
    )


def _cost(result: xr.Dataset) -> str:
    return f"{SIZES}. {counted(result.attrs)}"


def _decision(result: xr.Dataset) -> Table:
    notes = (*decision_statement(result), f"{unit_sentence(result.attrs)} {_cost(result)}")
    return replace(
        decision_cells(decision_table(result)), notes=notes, warnings=tuple(dict.fromkeys(decision_warnings(result)))
    )


def _least_compute(result: xr.Dataset) -> Table:
    notes = (f"{unit_sentence(result.attrs)} {_cost(result)}",)
    cells = least_compute_cells(least_compute_table(result))
    return replace(cells, notes=notes, warnings=tuple(least_compute_warnings(result)))


def _gain(result: xr.Dataset) -> Table:
    notes = (f"{unit_sentence(result.attrs)} {_cost(result)}",)
    return replace(gain_cells(gain_table(result)), notes=notes, warnings=tuple(gain_warnings(result)))


def _approaches(result: xr.Dataset) -> Table:
    notes = (result.attrs["statement"], f"At a budget of {number_text(result.attrs['compute'])} FLOP; {_cost(result)}")
    return replace(approaches_cells(approaches_table(result)), notes=notes, warnings=tuple(approaches_warnings(result)))


def _next_run(result: xr.Dataset) -> Table:
    notes = (next_statement(result), _cost(result))
    return replace(plan_cells(next_table(result)), notes=notes, warnings=tuple(next_warnings(result)))


def _plan_runs(result: pd.DataFrame) -> Table:
    return replace(count_cells(result), notes=(plan_statement(result), "Compute in FLOP, of all runs together."))


def _backtest(result: xr.Dataset) -> Table:
    units = (
        "Bias, error, width and scores are of log loss: 1 % is 1 % of the loss; distances are in decades of "
        f"{result.attrs.get('size', 'compute')}."
    )
    return replace(backtest_cells(backtest_table(result)), notes=(*_read(result), backtest_statement(result), units))


def _calibration(result: xr.Dataset) -> Table:
    cells = calibration_cells(calibration_table(result))
    return replace(cells, notes=(calibration_statement(result),), warnings=tuple(calibration_warnings(result)))


def _comparison(result: xr.Dataset) -> Table:
    cells = comparison_cells(comparison_table(result), runs=result.attrs["runs"], unit=result.attrs["unit"])
    return replace(
        cells, notes=(*_read(result), comparison_verdict(result)), warnings=tuple(comparison_warnings(result))
    )


def _reproduction(result: xr.Dataset) -> Table:
    units = "Apart: in Monte Carlo errors, the largest of mean, median and both ends."
    return replace(
        reproduction_cells(reproduction_table(result)), notes=(*_read(result), result.attrs["statement"], units)
    )


SHOWN: dict[str, Callable[[Any], Table]] = {
    "runs": _runs,
    "law": _law,
    "fit": _fit,
    "allocate": _allocation,
    "decide": _decision,
    "least_compute": _least_compute,
    "compute_gain": _gain,
    "approaches": _approaches,
    "next_run": _next_run,
    "plan_runs": _plan_runs,
    "backtest": _backtest,
    "calibrate": _calibration,
    "compare": _comparison,
    "reproduce": _reproduction,
}
