"""Learning-rate schedules: rates, the areas that the law ``annealing`` takes, a curve beside its schedule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import RunsError
from bayescale.field import names_text, number_text, shown
from bayescale.laws.law import load_law
from bayescale.runs.cells import as_numbers
from bayescale.runs.read import read_columns, read_runs
from bayescale.runs.source import table_of

ANNEALING_MEMORY = 0.999  # a step: what is left of a fall of the rate a step later (arXiv:2505.07796)
PEAK_RATE = 3e-4  # of the runs that the prior of the law's cool was learnt from
STEPS_MAX = 100_000_000

# the share of peak - final that is left, by the share of the steps after warm-up that is done
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + np.cos(np.pi * done)) / 2,
}
KINDS = (*SHAPES, "wsd")


def learning_rates(
    kind: str, steps: int, *, peak: float, final: float = 0.0, warmup: int = 0, cooldown: int = 0
) -> np.ndarray:
    """The learning rate of every step of a schedule [step].

    rate(t) = peak t/warmup in the warm-up, then final + (peak - final) shape(done): ``constant`` 1, ``linear``
    1 - done, ``cosine`` (1 + cos(pi done))/2. ``wsd`` is constant up to the last ``cooldown`` steps, then linear.

    Parameters
    ----------
    kind : "constant", "linear", "cosine" or "wsd"
    steps, warmup, cooldown : how many steps in all, in the warm-up, and in the cool-down of "wsd"
    peak, final : the largest rate, and that of the last step

    Returns
    -------
    Rates, of steps 1 to ``steps`` [step]

    Raises
    ------
    RunsError
        If there is no such schedule, or its numbers contradict each other.

    Examples
    --------
    >>> bayescale.learning_rates("linear", 5, peak=1.0).round(2).tolist()
    [0.8, 0.6, 0.4, 0.2, 0.0]
    """
    if kind not in KINDS:
        raise RunsError(f"schedule {shown(kind)}: {', '.join(KINDS)} are known; any other is given by its rates")
    steps, warmup, cooldown = (int(one) for one in (steps, warmup, cooldown))
    if not (0 < steps <= STEPS_MAX and 0 <= warmup < steps and 0 <= cooldown <= steps - warmup):
        raise RunsError(f"a schedule of {steps} steps, {warmup} of them warm-up and {cooldown} cool-down, does not go")
    if not 0 <= final <= peak < np.inf or peak <= 0:
        raise RunsError(f"rates from peak = {number_text(peak)} to final = {number_text(final)}: 0 <= final <= peak")
    if (kind == "wsd") != (cooldown > 0):
        raise RunsError("cooldown, a number of steps above 0, goes with the schedule wsd, and wsd needs it")
    after = np.arange(1, steps - warmup + 1)
    if kind == "wsd":
        left = np.clip((steps - warmup - after) / cooldown, 0.0, 1.0)
    else:
        left = SHAPES[kind](after / len(after))
    return np.concatenate([peak * np.arange(1, warmup + 1) / max(warmup, 1), final + (peak - final) * left])


def schedule_areas(rates: Any, *, memory: float = ANNEALING_MEMORY) -> tuple[np.ndarray, np.ndarray]:
    """S1 and S2 after every step of a schedule, as the law ``annealing`` takes them [step].

    S1(t) = sum_{i <= t} rate_i;  S2(t) = sum_{i <= t} m_i,  m_i = memory m_{i-1} + rate_{i-1} - rate_i: falls of the
    rate, forgotten by ``memory`` a step (arXiv:2408.11029, eq. 1). The warm-up counts at the peak rate: no fall before
    the peak.

    Parameters
    ----------
    rates : learning rate of every step [step]
    memory : share of a fall that is left a step later, above 0 and at most 1

    Returns
    -------
    S1 and S2, each [step]

    Raises
    ------
    RunsError
        If the rates are not finite numbers of at least 0, one a step, one of them above 0.

    Examples
    --------
    >>> S1, S2 = bayescale.schedule_areas(bayescale.learning_rates("linear", 4, peak=1.0))
    >>> S1.round(2).tolist()
    [0.75, 1.25, 1.5, 1.5]
    """
    from scipy.signal import lfilter

    rates = np.asarray(rates, dtype=float)
    if rates.ndim != 1 or not len(rates) or not (np.isfinite(rates) & (rates >= 0)).all() or not rates.max() > 0:
        raise RunsError("rates of a schedule are finite numbers of at least 0, one a step, and some are above 0")
    if not 0 < memory <= 1:
        raise RunsError(f"memory = {number_text(memory)}: a number above 0 and at most 1 is expected")
    counted = rates.copy()
    counted[: int(np.argmax(rates))] = rates.max()
    falls = -np.diff(counted, prepend=counted[0])
    return np.cumsum(counted), np.cumsum(lfilter([1.0], [1.0, -memory], falls))


def rates_of(steps: Any, rates: Any) -> np.ndarray:
    """The rate of every step from 1 to the last, by those of some steps, linear between them [step]."""
    steps, rates = np.asarray(steps, dtype=float), np.asarray(rates, dtype=float)
    order = np.argsort(steps, kind="stable")
    if not len(steps) or not np.isfinite(steps).all() or not 1 <= steps.max() <= STEPS_MAX:
        raise RunsError(f"steps of a schedule are numbers, the last from 1 to {STEPS_MAX}")
    return np.interp(np.arange(1, int(steps.max()) + 1), steps[order], rates[order])


def schedule_in(path: Any) -> np.ndarray:
    """The rate of every step of a schedule in a file with the columns step and lr [step].

    Raises
    ------
    RunsError
        If it has no such columns of numbers.
    """
    columns = read_columns(path)
    for name in ("step", "lr"):
        if name not in columns or columns[name].dtype.kind != "f":
            raise RunsError(f"{path}: a schedule has the columns step and lr, numbers in each row; '{name}' is not one")
    return rates_of(columns["step"], columns["lr"])


def on_schedule(
    curve: Any, rates: Any, *, step: str = "step", memory: float = ANNEALING_MEMORY, **options: Any
) -> xr.Dataset:
    """The losses of a curve beside the areas of its schedule, ready to fit the law ``annealing``.

    Parameters
    ----------
    curve : a table with a column of steps and one of losses, as :func:`bayescale.read_runs` takes it
    rates : the learning rate of every step, from the first to the last planned [step]
    step : the column of steps, counted from 1
    memory : as in :func:`schedule_areas`
    options : as in :func:`bayescale.read_runs`

    Returns
    -------
    Runs with ``loss``, ``lr_area`` and ``anneal_area`` [run] without those of the warm-up, for rates scaled to a peak
    of 3e-4, where the priors of the law hold.

    Raises
    ------
    RunsError
        If there is no such column, or a step is not one of the schedule.

    Examples
    --------
    >>> rates = bayescale.learning_rates("cosine", 1000, peak=3e-4)
    >>> steps = np.arange(100, 501, 100)
    >>> bayescale.on_schedule({"step": steps, "loss": 4 - 0.001 * steps}, rates).sizes["run"]
    5
    """
    table = table_of(curve)
    if step not in table.frame:
        names = names_text(table.frame.columns)
        raise RunsError(f"{table.where}: no column {shown(step)} among {names}; say which one counts steps (step=...)")
    steps, first = as_numbers(table.frame[step]), int(np.argmax(np.asarray(rates)))
    S1, S2 = scaled_areas(rates, memory)
    if bad := np.flatnonzero(~((steps >= 0) & (steps <= len(S1)) & (steps == np.round(steps)))).tolist():
        raise RunsError(
            f"{table.at(bad[0])}: {step} is {number_text(steps[bad[0]], 9)}, not one of the {len(S1)} steps of the "
            "schedule"
        )
    at = np.maximum(steps.astype(int) - 1, 0)
    frame = table.frame.assign(lr_area=S1[at], anneal_area=S2[at])[steps > first]
    if not len(frame):
        raise RunsError(f"{table.where}: no row after the warm-up, which ends at step {first + 1}")
    return read_runs(frame, load_law("annealing"), **options).assign_attrs(source=table.where)


def scaled_areas(rates: Any, memory: float = ANNEALING_MEMORY) -> tuple[np.ndarray, np.ndarray]:
    """The areas of a schedule whose rates are scaled to a peak of 3e-4 [step]."""
    S1, S2 = schedule_areas(rates, memory=memory)
    scale = PEAK_RATE / float(np.max(rates))
    return S1 * scale, S2 * scale
