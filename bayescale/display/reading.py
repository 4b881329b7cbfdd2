"""Any result -> what it says, found by its kind."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from bayescale.errors import FitError
from bayescale.fitting.doors import kind_of
from bayescale.reading import KINDS, Reading


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
    if kind and (wrong := sorted(options.keys() - _options_of(kind))):
        raise FitError(f"{wrong[0]} does not go with what {kind}(...) returns; {_goes_with(wrong[0])}")
    if kind not in KINDS:
        raise FitError(
            f"a {type(result).__name__} cannot be shown: give runs, a law, a fit, or what one of these functions "
            f"returned: {', '.join(KINDS)}"
        )
    return _reader(kind)(result, **options)


def _reader(kind: str) -> Callable[..., Reading]:
    """The function at the end of the module that makes such results, which is loaded here."""
    reader: Callable[..., Reading] = importlib.import_module(f"bayescale.{KINDS[kind][0]}").read
    return reader


def _options_of(kind: str) -> set[str]:
    """What else a reading may be told."""
    return set([*inspect.signature(_reader(kind)).parameters][1:]) if kind in KINDS else set()


def _goes_with(option: str) -> str:
    kind = next((kind for kind in KINDS if option in _options_of(kind)), None)
    return f"it goes with {kind}" if kind else "nothing takes it"
