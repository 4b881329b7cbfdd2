"""bayescale: Bayesian scaling laws. Credible bands for the loss of training runs not yet made."""

from bayescale.allocate import allocate, allocation_table, allocation_warnings
from bayescale.backtest import backtest, backtest_statement, backtest_table
from bayescale.datasets import fetch_dataset, load_dataset
from bayescale.files import FileError
from bayescale.fit import FitError, fit
from bayescale.forecast import forecast, forecast_table, forecast_warnings
from bayescale.formula import FormulaError
from bayescale.law import Law, LawError, laws, load_law
from bayescale.lint import check_runs
from bayescale.plots import plot_calibration, plot_forecast
from bayescale.runs import RunsError, read_runs
from bayescale.store import open_fit, save_fit

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
    "backtest",
    "backtest_statement",
    "backtest_table",
    "check_runs",
    "fetch_dataset",
    "fit",
    "forecast",
    "forecast_table",
    "forecast_warnings",
    "laws",
    "load_dataset",
    "load_law",
    "open_fit",
    "plot_calibration",
    "plot_forecast",
    "read_runs",
    "save_fit",
]
__version__ = "0.1.0"
