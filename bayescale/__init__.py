"""bayescale: Bayesian scaling laws. Credible bands for the loss of training runs not yet made."""

import importlib
from typing import Any

from bayescale.display.gallery import PLOTS

# what is public besides figures, by the module it lives in; a module is loaded when something of it is first used, so
# that the command line answers at once
_PUBLIC = {
    "errors": ["BayescaleError", "FileError", "FitError", "LawError", "RunsError"],
    "jobs.batch": ["Failure"],
    "jobs.executors": ["open_executor"],
    "laws.law": ["Law", "law_names", "load_law"],
    "laws.own_priors": ["with_groups", "with_priors"],
    "runs.datasets": ["load_dataset"],
    "runs.lint": ["check_runs"],
    "runs.read": ["read_runs"],
    "runs.schedule": ["learning_rates", "on_schedule", "schedule_areas", "schedule_cooling"],
    "engine.pymc": ["pymc_model"],
    "fitting.fit": ["fit"],
    "fitting.given_draws": ["fit_from_draws"],
    "fitting.groups": ["complete"],
    "fitting.many": ["fit_many"],
    "fitting.reproduce": ["reproduce"],
    "fitting.store": ["open_fit", "save_fit"],
    "forecasts.forecast": ["forecast"],
    "forecasts.running": ["final_loss"],
    "budgets.allocate": ["allocate"],
    "budgets.approaches": ["approaches"],
    "budgets.decide": ["decide"],
    "budgets.design": ["next_run"],
    "budgets.emergence": ["emergence"],
    "budgets.landmarks": ["landmarks"],
    "budgets.planning": ["plan_runs"],
    "budgets.published": ["published_split"],
    "budgets.sampling": ["train_or_sample"],
    "budgets.gain": ["compute_gain"],
    "budgets.target": ["least_compute"],
    "evidence.average": ["average_allocation", "average_forecast"],
    "evidence.backtest": ["backtest"],
    "evidence.calibrate": ["calibrate"],
    "evidence.compare": ["compare", "fit_laws"],
    "evidence.loo": ["loo"],
    "evidence.nested": ["nested_questions"],
    "evidence.sensitivity": ["prior_sensitivity"],
    "evidence.verdict": ["driving_runs"],
    "display.contents": ["fit_contents"],
    "display.report": ["report", "save_report"],
    "display.reading": ["read"],
    "display.show": ["show"],
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
_HOME |= {f"plot_{kind}": f"display.{row.module}" for kind, row in PLOTS.items()}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bayescale' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"bayescale.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
