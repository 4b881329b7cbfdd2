"""Any result -> what it says, found by its kind."""

from collections.abc import Callable
from typing import Any

from bayescale.budgets import (
    allocate,
    approaches,
    decide,
    design,
    emergence,
    gain,
    landmarks,
    planning,
    published,
    sampling,
    target,
)
from bayescale.errors import FitError
from bayescale.evidence import backtest, calibration, sensitivity, verdict
from bayescale.fitting import reproduce
from bayescale.fitting.doors import kind_of
from bayescale.forecasts import forecast
from bayescale.reading import Reading

# of every kind, the function at the end of the module that makes it
READERS: dict[str, Callable[..., Reading]] = {
    "forecast": forecast.read,
    "allocate": allocate.read,
    "decide": decide.read,
    "train_or_sample": sampling.read,
    "least_compute": target.read,
    "compute_gain": gain.read,
    "emergence": emergence.read,
    "approaches": approaches.read,
    "landmarks": landmarks.read,
    "published_split": published.read,
    "next_run": design.read,
    "plan_runs": planning.read,
    "backtest": backtest.read,
    "calibrate": calibration.read,
    "compare": verdict.read,
    "prior_sensitivity": sensitivity.read,
    "reproduce": reproduce.read,
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
    return READERS[kind](result, **options)


def _goes_with(option: str) -> str:
    kinds = [kind for kind, names in OPTIONS.items() if option in names]
    return f"it goes with {kinds[0]}" if kinds else "nothing takes it"
