"""bayescale: Bayesian scaling laws. Credible bands for the loss of training runs not yet made."""

from bayescale.allocate import allocate, allocation_table, allocation_warnings
from bayescale.approaches import approaches, approaches_table
from bayescale.backtest import backtest, backtest_statement, backtest_table
from bayescale.datasets import fetch_dataset, load_dataset
from bayescale.decide import decide, decision_statement, decision_table, decision_warnings
from bayescale.design import next_run, next_statement, next_table, next_warnings
from bayescale.files import FileError
from bayescale.fit import FitError, fit
from bayescale.forecast import forecast, forecast_table, forecast_warnings
from bayescale.formula import FormulaError
from bayescale.law import Law, LawError, laws, load_law
from bayescale.lint import check_runs
from bayescale.planning import plan_runs, plan_statement
from bayescale.plots import plot_calibration, plot_forecast
from bayescale.runs import RunsError, read_runs
from bayescale.store import open_fit, save_fit
from bayescale.target import compute_gain, gain_table, least_compute, least_compute_table

__all__ = [
    "FileError",
    "FitError",
    "FormulaError",
    "Law",
    "LawError",
    "RunsError",
    "allocate",
    "allocation_table",
    "allocation_warnings",
    "approaches",
    "approaches_table",
    "backtest",
    "backtest_statement",
    "backtest_table",
    "check_runs",
    "compute_gain",
    "decide",
    "decision_statement",
    "decision_table",
    "decision_warnings",
    "fetch_dataset",
    "fit",
    "forecast",
    "forecast_table",
    "forecast_warnings",
    "gain_table",
    "laws",
    "least_compute",
    "least_compute_table",
    "load_dataset",
    "load_law",
    "next_run",
    "next_statement",
    "next_table",
    "next_warnings",
    "open_fit",
    "plan_runs",
    "plan_statement",
    "plot_calibration",
    "plot_forecast",
    "read_runs",
    "save_fit",
]
__version__ = "0.1.0"
