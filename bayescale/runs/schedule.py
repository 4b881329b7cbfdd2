"""Learning-rate schedules: rates, what the laws of a schedule take of them, a curve beside its schedule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import RunsError
from bayescale.field import clipped, number_text, shown
from bayescale.laws.law import load_law
from bayescale.runs.cells import as_numbers
from bayescale.runs.guess import steps_in
from bayescale.runs.read import read_columns, read_runs
from bayescale.runs.source import table_of

ANNEALING_MEMORY = 0.999  # a step: what is left of a fall of the rate a step later (arXiv:2505.07796)
PEAK_RATE = 3e-4  # of the runs that the priors of the laws' cool were learnt from
STEPS_MAX = 100_000_000
FALLS_MAX = 3_000_000_000  # falls of the rate times steps that are asked for: a minute
FALLS_AT_ONCE = 4_000_000

# the share of peak - final that is left, by the share of the steps after warm-up that is done
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + np.cos(np.pi * done)) / 2,
}
SCHEDULES = (*SHAPES, "wsd")


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
    if kind not in SCHEDULES:
        raise RunsError(f"schedule {shown(kind)}: {', '.join(SCHEDULES)} are known; any other is given by its rates")
    steps, warmup, cooldown = (int(one) for one in (steps, warmup, cooldown))
    if not (0 < steps <= STEPS_MAX and 0 <= warmup < steps and 0 <= cooldown <= steps - warmup):
        raise RunsError(
            f"a schedule of {steps} steps, {warmup} of them warm-up and {cooldown} cool-down: 1 to {STEPS_MAX} "
            "steps are expected, of which warm-up and cool-down are a part"
        )
    if not 0 <= final <= peak < np.inf or peak <= 0:
        raise RunsError(f"rates from peak = {number_text(peak)} to final = {number_text(final)}: 0 <= final <= peak")
    if kind == "wsd" and not cooldown:
        raise RunsError("the schedule wsd needs the steps of its cool-down (cooldown=..., --cooldown)")
    if kind != "wsd" and cooldown:
        raise RunsError(f"a cool-down goes with the schedule wsd only, not with {kind}: leave cooldown out")
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

    if not 0 < memory <= 1:
        raise RunsError(f"memory = {number_text(memory)}: a number above 0 and at most 1 is expected")
    counted = _warm(_checked(rates))
    falls = -np.diff(counted, prepend=counted[0])
    return np.cumsum(counted), np.cumsum(lfilter([1.0], [1.0, -memory], falls))


def schedule_cooling(
    rates: Any, steps: Any = None, *, C: float = 2.08, beta: float = 0.592, gamma: float = 0.644
) -> tuple[np.ndarray, np.ndarray]:
    """S1 and the cooling at steps of a schedule, as the law ``multi_power`` takes them [step].

    S1(t) = sum_{i <= t} rate_i, the warm-up included. Cooling(t) = sum_{k <= t} (rate_{k-1} - rate_k) / peak G(x_k),
    G(x) = 1 - (C x + 1)^-beta, x_k = rate_k^-gamma sum_{k <= i <= t} rate_i: what of each fall of the rate has worked
    by then, over k after the warm-up (arXiv:2503.12811). It is 0 while no rate has fallen, and at most 1.

    Parameters
    ----------
    rates : learning rate of every step [step]
    steps : at which, counted from 1; by default at each, of which a long schedule has too many
    C, beta, gamma : the published shape, the means of its fits to three sizes of models, for rates with a peak of 3e-4

    Returns
    -------
    S1 and the cooling, each [step]

    Raises
    ------
    RunsError
        If the rates are none, a step is not one of the schedule, or so many steps take too long.

    Examples
    --------
    >>> S1, cooling = bayescale.schedule_cooling(bayescale.learning_rates("linear", 1000, peak=3e-4), [500, 1000])
    >>> cooling.round(2).tolist()
    [0.4, 0.77]
    """
    rates = _checked(rates)
    at = np.arange(1, len(rates) + 1) if steps is None else np.asarray(steps, dtype=float)
    if not ((at >= 1) & (at <= len(rates)) & (at == np.round(at))).all():
        raise RunsError(f"steps of a schedule of {len(rates)} steps are whole numbers from 1 to {len(rates)}")
    if not (C > 0 and beta > 0 and np.isfinite([C, beta, gamma]).all()):
        raise RunsError(f"C = {number_text(C)}, beta = {number_text(beta)}: numbers above 0 are expected")
    at, peak, S1 = at.astype(int), rates.max(), np.cumsum(rates)
    falls = -np.diff(_warm(rates), prepend=peak) / peak
    fell = np.flatnonzero(falls)
    if len(fell) * len(at) > FALLS_MAX:
        raise RunsError(
            f"the cooling at {len(at)} steps of a schedule whose rate changes in {len(fell)} takes too long; "
            "ask for fewer steps (steps=...), or thin the curve out"
        )
    # a rate of 0 learns nothing, so that its power need only be finite
    slowness, before = C * np.maximum(rates[fell], 1e-12 * peak) ** -gamma, (S1 - rates)[fell]
    cooling = np.zeros(len(at))
    for part in np.array_split(np.arange(len(at)), max(1, len(fell) * len(at) // FALLS_AT_ONCE)):
        since = np.maximum(S1[at[part] - 1, None] - before, 0.0)  # of falls to come 0
        cooling[part] = (1 - (slowness * since + 1) ** -beta) @ falls[fell]
    return S1[at - 1], cooling


def _checked(rates: Any) -> np.ndarray:
    rates = np.asarray(rates, dtype=float)
    if rates.ndim != 1 or not len(rates) or not (np.isfinite(rates) & (rates >= 0)).all() or not rates.max() > 0:
        raise RunsError("rates of a schedule are finite numbers of at least 0, one a step, and some are above 0")
    return rates


def _warm(rates: np.ndarray) -> np.ndarray:
    """The rates with that of the peak before it: the warm-up has no fall and no rise [step]."""
    return np.where(np.arange(len(rates)) < np.argmax(rates), rates.max(), rates)


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
    curve: Any,
    rates: Any,
    *,
    law: str = "annealing",
    step: str = "step",
    memory: float = ANNEALING_MEMORY,
    **options: Any,
) -> xr.Dataset:
    """The losses of a curve beside what a law takes of its schedule, ready to fit.

    Parameters
    ----------
    curve : a table with a column of steps and one of losses, as :func:`bayescale.read_runs` takes it
    rates : the learning rate of every step, from the first to the last planned [step]
    law : "annealing" or "multi_power"
    step : the column of steps, counted from 1; where there is no ``step``, a usual name such as ``iter`` is found
    memory : of ``annealing``, as in :func:`schedule_areas`
    options : as in :func:`bayescale.read_runs`

    Returns
    -------
    Runs with ``loss`` and the law's inputs, ``lr_area`` and ``anneal_area``, or ``lr_sum`` and ``lr_cooling`` [run],
    without those of the warm-up, for rates scaled to a peak of 3e-4, where the priors of the laws hold.

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
    found = (step, as_numbers(table.frame[step])) if step in table.frame else None
    found = found or (steps_in(table.frame) if step == "step" else None)
    if found is None:
        names = ", ".join(clipped(name) for name in table.frame.columns)
        raise RunsError(
            f"{table.where}: no column {shown(step)} among {names}; say which one counts steps (step=..., --step NAME)"
        )
    (step, steps), rates = found, _checked(rates)
    if bad := np.flatnonzero(~((steps >= 0) & (steps <= len(rates)) & (steps == np.round(steps)))).tolist():
        raise RunsError(
            f"{table.at(bad[0])}: {step} is {number_text(steps[bad[0]], 9)}, not one of the {len(rates)} steps of the "
            "schedule"
        )
    first = int(np.argmax(rates))
    frame, steps = table.frame[steps > first], steps[steps > first]
    if not len(frame):
        raise RunsError(f"{table.where}: no row after the warm-up, which ends at step {first + 1}")
    frame = frame.assign(**of_schedule(law, rates, steps, memory))
    return read_runs(frame, load_law(law), **options).assign_attrs(source=table.where)


def of_schedule(law: str, rates: Any, steps: Any, memory: float = ANNEALING_MEMORY) -> dict[str, np.ndarray]:
    """What a law takes of a schedule whose rates are scaled to a peak of 3e-4, at its steps [step].

    Raises RunsError if the law is not one of a schedule.
    """
    if law not in SCHEDULE_LAWS:
        raise RunsError(f"law {shown(law)} takes nothing of a schedule; {' and '.join(SCHEDULE_LAWS)} do")
    scaled, at = _checked(rates), np.asarray(steps).astype(int)
    scaled = scaled * (PEAK_RATE / scaled.max())
    names, inputs = SCHEDULE_LAWS[law]
    return dict(zip(names, inputs(scaled, at, memory), strict=True))


def _areas_at(rates: np.ndarray, at: np.ndarray, memory: float) -> tuple[np.ndarray, np.ndarray]:
    S1, S2 = schedule_areas(rates, memory=memory)
    return S1[at - 1], S2[at - 1]


# law -> the columns that it takes of a schedule, and how they are made of rates [step], steps and memory
SCHEDULE_LAWS: dict[str, tuple[tuple[str, str], Callable[..., tuple[np.ndarray, np.ndarray]]]] = {
    "annealing": (("lr_area", "anneal_area"), _areas_at),
    "multi_power": (("lr_sum", "lr_cooling"), lambda rates, at, _: schedule_cooling(rates, at)),
}
