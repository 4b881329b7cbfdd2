"""Any result -> what it says, found by its kind."""

import importlib
from typing import Any

from bayescale.errors import FitError
from bayescale.fitting.doors import kind_of
from bayescale.reading import Reading

# of every kind the module that makes it and ends with its ``read``; loaded when such a result is read
READERS = {
    "forecast": "forecasts.forecast",
    "allocate": "budgets.allocate",
    "decide": "budgets.decide",
    "train_or_sample": "budgets.sampling",
    "least_compute": "budgets.target",
    "compute_gain": "budgets.gain",
    "emergence": "budgets.emergence",
    "approaches": "budgets.approaches",
    "landmarks": "budgets.landmarks",
    "published_split": "budgets.published",
    "next_run": "budgets.design",
    "plan_runs": "budgets.planning",
    "backtest": "evidence.backtest",
    "calibrate": "evidence.calibration",
    "compare": "evidence.verdict",
    "prior_sensitivity": "evidence.sensitivity",
    "reproduce": "fitting.reproduce",
}
# what else a reading may be told, by kind
OPTIONS = {
    "forecast": {"target", "level"},
    "allocate": {"level"},
    "train_or_sample": {"level"},
    "least_compute": {"level"},
    "compute_gain": {"level"},
    "emergence": {"level"},
    "calibrate": {"level"},
}


def read(result: Any, **options: Any) -> Reading:
    """What a result says: its numbers as a data frame, how they are written, sentences and warnings.

    Parameters
    ----------
    result : what ``forecast``, ``allocate``, ``decide``, ``compare`` and their like return: whatever has the attribute
        ``kind``
    options : of a forecast ``target``: also the probability to reach this loss; of forecasts, allocations, least
        budgets, gains, budgets of samples and emergence ``level``: what bands are to hold, .9 by default; of a
        calibration ``level``: how often any quantity of a right machine may leave its band

    Returns
    -------
    Reading: ``title``, ``frame``, ``columns`` (of the table that people see), ``says`` (what it comes to, in
    sentences), ``warnings`` (what speaks against it) and ``notes`` (units, what was read). ``to_dataframe()`` gives the
    numbers in plain units, ``to_dict()`` everything for JSON; :func:`bayescale.show` shows it.

    Raises
    ------
    FitError
        If it is something else, has lost a dimension, or an option does not go with it.

    Examples
    --------
    >>> reading = bayescale.read(bayescale.forecast(fit, "7B", "140B"), level=0.95)
    >>> [name for name in reading.to_dataframe() if name.startswith("loss_q0")]
    ['loss_q05', 'loss_q025']
    """
    kind = kind_of(result)
    if kind and (wrong := sorted(options.keys() - OPTIONS.get(kind, set()))):
        raise FitError(f"{wrong[0]} does not go with what {kind}(...) returns; {_goes_with(wrong[0])}")
    if kind not in READERS:
        raise FitError(
            f"a {type(result).__name__} cannot be shown: give runs, a law, a fit, or what one of these functions "
            f"returned: {', '.join(READERS)}"
        )
    reading: Reading = importlib.import_module(f"bayescale.{READERS[kind]}").read(result, **options)
    return reading


def _goes_with(option: str) -> str:
    kinds = [kind for kind, names in OPTIONS.items() if option in names]
    return f"it goes with {kinds[0]}" if kinds else "nothing takes it"
