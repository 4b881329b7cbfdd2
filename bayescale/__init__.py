"""bayescale: Bayesian scaling laws. Credible bands for the loss of training runs not yet made."""

from bayescale.allocate import allocate, allocation_table, allocation_warnings
from bayescale.approaches import approaches, approaches_table
from bayescale.average import average_allocation, average_forecast
from bayescale.backtest import backtest, backtest_statement, backtest_table
from bayescale.batch import Failure, open_executor, run_batch
from bayescale.compare import compare, fit_laws
from bayescale.datasets import fetch_dataset, load_dataset
from bayescale.decide import decide, decision_statement, decision_table, decision_warnings
from bayescale.design import next_run, next_statement, next_table, next_warnings
from bayescale.files import FileError
from bayescale.fit import FitError, fit, pymc_model
from bayescale.forecast import forecast, forecast_table, forecast_warnings
from bayescale.formula import FormulaError
from bayescale.landmarks import landmark_table
from bayescale.law import Law, LawError, laws, load_law
from bayescale.lint import check_runs
from bayescale.loo import loo
from bayescale.many import fit_many
from bayescale.nested import nested_question, nested_questions
from bayescale.planning import plan_runs, plan_statement
from bayescale.plots_loss import plot_forecast, plot_isoflops, plot_residuals
from bayescale.plots_split import plot_frontier, plot_landmarks, plot_next_run, plot_regret, plot_surface
from bayescale.plots_trust import plot_calibration, plot_comparison, plot_priors
from bayescale.report import report, save_report
from bayescale.runs import RunsError, read_runs
from bayescale.sensitivity import prior_sensitivity, sensitivity_warnings
from bayescale.show import show
from bayescale.store import open_fit, save_fit
from bayescale.target import compute_gain, gain_table, least_compute, least_compute_table
from bayescale.verdict import comparison_table, comparison_verdict, comparison_warnings, driving_runs

__all__ = [
    "Failure",
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
    "average_allocation",
    "average_forecast",
    "backtest",
    "backtest_statement",
    "backtest_table",
    "check_runs",
    "compare",
    "comparison_table",
    "comparison_verdict",
    "comparison_warnings",
    "compute_gain",
    "decide",
    "decision_statement",
    "decision_table",
    "decision_warnings",
    "driving_runs",
    "fetch_dataset",
    "fit",
    "fit_laws",
    "fit_many",
    "forecast",
    "forecast_table",
    "forecast_warnings",
    "gain_table",
    "landmark_table",
    "laws",
    "least_compute",
    "least_compute_table",
    "load_dataset",
    "load_law",
    "loo",
    "nested_question",
    "nested_questions",
    "next_run",
    "next_statement",
    "next_table",
    "next_warnings",
    "open_executor",
    "open_fit",
    "plan_runs",
    "plan_statement",
    "plot_calibration",
    "plot_comparison",
    "plot_forecast",
    "plot_frontier",
    "plot_isoflops",
    "plot_landmarks",
    "plot_next_run",
    "plot_priors",
    "plot_regret",
    "plot_residuals",
    "plot_surface",
    "prior_sensitivity",
    "pymc_model",
    "read_runs",
    "report",
    "run_batch",
    "save_fit",
    "save_report",
    "sensitivity_warnings",
    "show",
]
__version__ = "0.1.0"
