"""bayescale: Bayesian scaling laws. Credible bands for the loss of training runs not yet made."""

import importlib
import importlib.util
import sys
import types
from typing import Any

# what is public, by the module it lives in; a module is loaded when something of it is first used, so that the command
# line answers at once
_PUBLIC = {
    "allocate": ["allocate", "allocation_table", "allocation_warnings"],
    "approaches": ["approaches", "approaches_table"],
    "average": ["average_allocation", "average_forecast"],
    "backtest": ["backtest", "backtest_statement", "backtest_table"],
    "batch": ["Failure", "run_batch"],
    "calibrate": ["calibrate"],
    "calibration": ["calibration_statement", "calibration_table", "calibration_warnings"],
    "compare": ["compare", "fit_laws"],
    "contents": ["fit_contents"],
    "datasets": ["fetch_dataset", "load_dataset"],
    "decide": ["decide", "decision_statement", "decision_table", "decision_warnings"],
    "design": ["next_run", "next_statement", "next_table", "next_warnings"],
    "executors": ["open_executor"],
    "files": ["FileError"],
    "fit": ["FitError", "fit", "pymc_model"],
    "forecast": ["forecast", "forecast_table", "forecast_warnings"],
    "formula": ["FormulaError"],
    "landmarks": ["landmark_table"],
    "law": ["Law", "LawError", "laws", "load_law"],
    "lint": ["check_runs"],
    "loo": ["loo"],
    "many": ["fit_many"],
    "nested": ["nested_question", "nested_questions"],
    "planning": ["plan_runs", "plan_statement"],
    "plots_loss": ["plot_forecast", "plot_isoflops", "plot_residuals"],
    "plots_split": ["plot_frontier", "plot_landmarks", "plot_next_run", "plot_regret", "plot_surface"],
    "plots_trust": ["plot_calibration", "plot_comparison", "plot_priors", "plot_ranks"],
    "report": ["report", "save_report"],
    "reproduce": ["reproduce", "reproduction_table"],
    "runs": ["RunsError", "read_runs"],
    "sensitivity": ["prior_sensitivity", "sensitivity_warnings"],
    "show": ["show"],
    "store": ["open_fit", "save_fit"],
    "target": ["compute_gain", "gain_table", "least_compute", "least_compute_table"],
    "verdict": ["comparison_table", "comparison_verdict", "comparison_warnings", "driving_runs"],
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"bayescale.{_HOME[name]}"), name)
    elif name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(f"bayescale.{name}") is not None:
        value = importlib.import_module(f"bayescale.{name}")
    else:
        raise AttributeError(f"module 'bayescale' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """Importing the module ``bayescale.fit`` must not hide the function ``bayescale.fit``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """As cloudpickle sends any module: by its name, or a function of a notebook could not be sent to a worker."""
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
