"""What a careful reader would object to in the shape of a curve along one size: it steepens, or has stopped falling."""

import itertools
from collections.abc import Iterator

import numpy as np

from bayescale.field import number_text, size_text
from bayescale.runs.lint_values import Note, note
from bayescale.runs.smooth import Seen

PARTS = 3  # of the decades that the runs span, alike
PART_RUNS_MIN = 4
DIFFERENCE_SE = 4.0  # standard errors between two slopes that differ
STEEPER_TIMES = 1.3
ENDED_SHARE = 0.25  # of the steepest slope: a curve that falls by less has ended
CORRELATION_MAX = 0.8  # of neighbours: with more there is next to nothing to judge by


def shape(seen: Seen) -> Iterator[Note]:
    """Curves that steepen, and curves that have stopped falling.

    The slope of log loss along log size, part by part. A power law with a floor only flattens.
    """
    if seen.scale != "log" or len(seen.sizes) != 1 or seen.others or not seen.observed:
        return
    (name, size), what = next(iter(seen.sizes.items())), seen.observed
    parts = _slopes(np.log10(size), seen.target)
    if len(parts) < PARTS:
        return
    for (_, first, error), (start, later, later_error) in itertools.combinations(parts, 2):
        if first - later > DIFFERENCE_SE * np.hypot(error, later_error) and later < STEEPER_TIMES * min(first, 0.0):
            text = (
                f"{what} falls faster with {name} from {_at(name, start)} on ({_slope(later)} a decade) than before "
                f"({_slope(first)}), which no power law with a floor does: take a law with a slow start or a break "
                "(m3, m4, broken), or leave the smaller runs out (--where)"
            )
            yield note(seen, "steepening_curve", "info", text)
            break
    start, last, error = parts[-1]
    _, steepest, steepest_error = min(parts[:-1], key=lambda part: part[1])
    apart = last - steepest > DIFFERENCE_SE * np.hypot(error, steepest_error)
    if steepest < 0 and apart and last > ENDED_SHARE * steepest:
        text = (
            f"{what} hardly falls beyond {name} = {_at(name, start)} ({_slope(last)} a decade, before "
            f"{_slope(steepest)}): a floor, repeated data or the end of a schedule; forecasts take it for a floor"
        )
        yield note(seen, "plateau", "info", text)


def _slopes(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float, float]]:
    """Start, slope and its standard error of each part of a curve; of fewer parts where one has too few runs."""
    order = np.argsort(x, kind="stable")
    x, y, edges = x[order], y[order], np.linspace(x.min(), x.max(), PARTS + 1)
    found = []
    for low, high in itertools.pairwise(edges):
        inside = (x >= low) & (x <= high)
        if inside.sum() >= PART_RUNS_MIN and np.ptp(x[inside]) > 0:
            found.append((float(10**low), *_line(x[inside], y[inside])))
    return found


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of a line by least squares and its standard error, neighbours being alike."""
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    square = float(left @ left)
    alike = np.clip(left[1:] @ left[:-1] / square, 0.0, CORRELATION_MAX) if square > 0 else 0.0
    return slope, float(np.sqrt(square / (len(x) - 2) / (x @ x) * (1 + alike) / (1 - alike)))


def _at(name: str, value: float) -> str:
    return size_text(value) if name in ("params", "tokens") else number_text(value)


def _slope(slope: float) -> str:
    """A slope of log10 steps of the natural logarithm, in per cent a decade."""
    return f"{100 * np.expm1(slope):+.2g} %"
