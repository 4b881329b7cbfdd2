"""Remarks on what was observed: its unit, odd values, scatter, what the sizes tell of it, the shape of its curve."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from bayescale.field import listed, number_text, quantity_text, symbol
from bayescale.laws.law import SHARES
from bayescale.runs.loss_unit import LOSS_NATS_MAX, OTHER_LOSSES, TEXT_NATS_MIN, is_text, values_text
from bayescale.runs.remark import Note, note, where
from bayescale.runs.smooth import SURPRISING_SD, Seen, Surface, log_slope

TYPING_ERROR_LOG = 0.1  # the noise of a law does not reach so far
# a larger scatter means that a law or surface does not describe the runs: on 18 studies the default law leaves .001 to
# .013, and laws known to be wrong up to .03
SCATTER_LOG_MAX = 0.05
SCATTER_RUNS_MIN = 12
EXPLAINED_SHARE_MIN = 0.5  # of the variance: on 43 real studies a smooth surface explains .76 or more
BENCHMARK_ITEMS_MIN, BENCHMARK_ITEMS_MAX = 10, 1e6  # of a benchmark
CHANCE_WHOLE_MAX = 1e-6  # probability that shares times a column are whole numbers by chance
SLIP_SD_MIN = 10  # robust sd: a run farther off may have a size wrong by a power of ten
ERROR_MEDIAN_MAX = 5.0  # of error rates; word error rates may be above 1
PARTS = 3  # of the decades that the runs span, alike
PART_RUNS_MIN = 4
DIFFERENCE_SE = 4.0  # standard errors between two slopes that differ
STEEPER_TIMES = 1.3
ENDED_SHARE = 0.25  # of the steepest slope: a curve that falls by less has ended
CORRELATION_MAX = 0.8  # of neighbours: with more there is next to nothing to judge by


def uncounted(seen: Seen) -> Iterator[Note]:
    """Shares whose number of items is not known."""
    if seen.scale == "share":
        text = f"no column counts the items of {seen.observed}: how far it scatters is learnt from the runs"
        counts = [name for name in seen.runs if name != seen.observed and _may_count(seen, name)]
        if counts:
            text += f"; {seen.observed} times {counts[0]} is a whole number in every run: --column items={counts[0]} "
            text += "says that it counts them"
        yield note(seen, "uncounted", "warning" if counts else "info", text)


def _may_count(seen: Seen, name: Any) -> bool:
    """Whether the values of a column may be the numbers of items of which the observed values are shares."""
    counts = seen.runs[name].values
    if (
        counts.dtype.kind != "f"
        or not ((counts >= BENCHMARK_ITEMS_MIN) & (counts <= BENCHMARK_ITEMS_MAX) & (counts == np.round(counts))).all()
    ):
        return False
    digits = next((k for k in range(1, 8) if np.allclose(seen.values, np.round(seen.values, k), 0, 1e-9)), 8)
    right = counts * seen.values
    off = np.abs(right - np.round(right))
    # how likely a number with so many digits is as near to a whole one: exactly, or but for the rounding of the digits
    exact = np.gcd(counts.astype(int), 10**digits) / 10**digits
    rounding = counts * 0.5 * 10.0**-digits
    chances = ((1e-6, exact), (rounding, np.minimum(2 * rounding, 1.0)))
    return any(
        (off <= near + 1e-6).all() and np.log(chance).sum() < np.log(CHANCE_WHOLE_MAX) for near, chance in chances
    )


def perplexity(seen: Seen) -> Iterator[Note]:
    if (unit := seen.runs.attrs.get("loss_unit")) in OTHER_LOSSES:
        if unit == "error" and np.median(seen.values) > ERROR_MEDIAN_MAX:
            text = f"a median error rate of {number_text(float(np.median(seen.values)))} looks like percentages: "
            yield note(seen, "percentages", "warning", f"{text}head them error (%), or they are taken as they stand")
        return
    if seen.observed == "loss" and seen.scale == "log" and np.median(seen.values) > LOSS_NATS_MAX:
        text = (
            f"a median loss of {number_text(float(np.median(seen.values)))} looks like a perplexity; a loss in nats is "
            "its natural logarithm"
        )
        yield note(seen, "perplexity", "warning", text)


def other_losses(seen: Seen) -> Iterator[Note]:
    """Losses too low for text, whose bands are then those of other losses."""
    if seen.observed == "loss" and seen.scale == "log" and "loss_unit" not in seen.runs.attrs:
        if not is_text(seen.values, seen.runs.attrs):
            text = (
                f"losses as low as {number_text(float(seen.values.min()))} are taken for no cross-entropy of text "
                f"(nats per token, {TEXT_NATS_MIN:g} or more): bands of larger runs are wider; say what they are "
                "(--unit loss=error, mse, nats)"
            )
            yield note(seen, "other_losses", "info", text)


def surprising(seen: Seen, surface: Surface) -> Iterator[Note]:
    """Runs far from a smooth surface through all runs, and whether a size wrong by a power of ten explains it."""
    least = {"log": 0.02, "proportion": 0.5, "share": 0.5, "linear": 0.1 * float(np.ptp(seen.target))}[seen.scale]
    least = max(least, np.log(2)) if surface.degree < 2 else least  # a line says little where there is a bend
    away = np.abs(surface.residual)
    rows = np.flatnonzero((away > SURPRISING_SD * surface.sd) & (away > least)) if surface.degree else np.array([])
    if not rows.size:
        return
    worst = rows[np.argmax(away[rows])]
    severe = seen.scale != "log" or bool(away[worst] > TYPING_ERROR_LOG)
    sizes = ", ".join(f"{symbol(name)} {quantity_text(name, values[worst])}" for name, values in seen.sizes.items())
    others = _measured(seen, seen.target[worst] - surface.residual[worst])
    by = "more than 2 % and " if seen.scale == "log" else ""
    told = (
        f"{rows.size} runs lie {by}{SURPRISING_SD} robust sd off a smooth {seen.shape}, the worst is"
        if rows.size > 1
        else (f"one run lies {by}{SURPRISING_SD} robust sd off a smooth {seen.shape},")
    )
    here = where(seen, np.array([worst]))
    code = "surprising_loss" if seen.observed == "loss" else "surprising_value"
    text = (
        f"{told} {here} ({sizes}, {seen.observed} {number_text(seen.values[worst], 4)}, where "
        f"the others say about {number_text(others)}): check for divergence or a typing error"
        f"{_slip(seen, surface, worst) if severe else ''}; the noise model allows for some"
    )
    yield note(seen, code, "warning" if severe else "info", text, rows)


def _measured(seen: Seen, target: float) -> float:
    if seen.scale == "log":
        return float(np.exp(min(target, 700.0)))
    return float(1 / (1 + np.exp(-target))) if seen.scale in SHARES else float(target)


def _slip(seen: Seen, surface: Surface, row: int) -> str:
    """Whether one size, changed by powers of ten within the range of the others, puts a run on the surface."""
    some, found, away = np.array([row]), [], abs(float(surface.residual[row]))
    for name, values in seen.sizes.items():
        rest = np.delete(values, row)
        for power in (-3, -2, -1, 1, 2, 3):
            moved = values[some] * 10.0**power
            if rest.min() <= moved[0] <= rest.max():
                off = abs(float(seen.target[row] - surface.at(seen, some, {name: moved})[0]))
                if off < max(2 * surface.sd, 0.1 * away):
                    found.append((abs(power), off, name, moved[0], "larger" if power > 0 else "smaller"))
    if not found or (seen.scale == "log" and away < SLIP_SD_MIN * surface.sd):
        return ""
    power, _, name, moved, way = min(found)
    return f" ({symbol(name)} {10**power} times {way}, {quantity_text(name, moved)}, would put it among the others)"


def scatter(seen: Seen, surface: Surface) -> Iterator[Note]:
    if surface.degree == 2 and seen.scale == "log" and seen.number >= SCATTER_RUNS_MIN and surface.sd > SCATTER_LOG_MAX:
        text = (
            f"{values_text(seen.observed)} scatter by {100 * surface.sd:.0f} % around a smooth {seen.shape} "
            "through all runs, where runs of one recipe "
            "scatter by 1 or 2 %: look for wrong losses, more than one recipe or wrong columns"
        )
        yield note(seen, "scatter", "warning", text)


def unexplained(seen: Seen, surface: Surface) -> Iterator[Note]:
    """Values that the sizes hardly tell: a forecast by size is then one of the scatter."""
    around = seen.target - np.median(seen.target)
    spread = 1.4826 * float(np.median(np.abs(around)))
    if surface.degree < 2 or seen.number < SCATTER_RUNS_MIN or not spread > 0:
        return
    share = max(0.0, 1 - (surface.sd / spread) ** 2)
    if share < EXPLAINED_SHARE_MIN:
        names = listed([*seen.sizes, *seen.others])
        tells = "tells" if len(seen.sizes) + len(seen.others) == 1 else "tell"
        text = (
            f"{names} {tells} {number_text(100 * share, 2)} % of the variance of {seen.observed}: something else "
            "decides, such as the corpus, the recipe or a wrong column; fit runs that share it, or name its column as "
            "group"
        )
        yield note(seen, "unexplained", "warning", text)


def constant_or_rising(seen: Seen) -> Iterator[Note]:
    if not seen.observed or seen.scale != "log":
        return
    if seen.number > 1 and np.ptp(seen.values) < 1e-9 * np.max(seen.values):
        yield note(
            seen,
            "constant_loss",
            "warning",
            f"all {values_text(seen.observed)} are equal: there is nothing to learn from",
        )
    elif seen.observed == "loss" and seen.number >= 6:
        compute = seen.runs["compute"].values if "compute" in seen.runs else np.array([""])
        known = {"compute": compute} if compute.dtype.kind == "f" and (compute > 0).all() else {}
        sizes = {**known, **seen.sizes}
        if not sizes:
            return
        name, values = next(iter(sizes.items()))
        ranks = [np.argsort(np.argsort(one)) for one in (values, seen.values)]  # one wrong loss must not turn the sign
        if log_slope(values, seen.values) > 0 and log_slope(*(rank + 1.0 for rank in ranks)) > 0:
            text = (
                f"loss rises with {name if name == 'compute' else symbol(name)}: check the columns and the sign of the "
                "loss"
            )
            yield note(seen, "rising_loss", "warning", text)


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
                f"{what} falls faster with {name} from {quantity_text(name, start)} on ({_slope(later)} a decade) than "
                f"before ({_slope(first)}), which no power law with a floor does: take a law with a slow start or a "
                "break (m3, m4, broken), or leave the smaller runs out (--where)"
            )
            yield note(seen, "steepening_curve", "info", text)
            break
    start, last, error = parts[-1]
    _, steepest, steepest_error = min(parts[:-1], key=lambda part: part[1])
    apart = last - steepest > DIFFERENCE_SE * np.hypot(error, steepest_error)
    if steepest < 0 and apart and last > ENDED_SHARE * steepest:
        text = (
            f"{what} hardly falls beyond {name} = {quantity_text(name, start)} ({_slope(last)} a decade, before "
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


def _slope(slope: float) -> str:
    """A slope of log10 steps of the natural logarithm, in per cent a decade."""
    return f"{100 * np.expm1(slope):+.2g} %"
