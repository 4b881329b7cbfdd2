"""Remarks on the sizes and on what was observed, one function each."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.field import listed, number_text, rows_text, size_text, symbol
from bayescale.laws.law import SHARES
from bayescale.runs.loss_unit import LOSS_NATS_MAX, OTHER_LOSSES, TEXT_NATS_MIN, is_text
from bayescale.runs.smooth import SURPRISING_SD, Seen, Surface, line_of_sizes, log_slope, move_together
from bayescale.runs.spellings import DERIVED_SIZES

TYPING_ERROR_LOG = 0.1  # the noise of a law does not reach so far
# a larger scatter means that a law or surface does not describe the runs: on 18 studies the default law leaves .001 to
# .013, and laws known to be wrong up to .03
SCATTER_LOG_MAX = 0.05
SCATTER_RUNS_MIN = 12
EXPLAINED_SHARE_MIN = 0.5  # of the variance: on 43 real studies a smooth surface explains .76 or more
ITEMS_MIN, ITEMS_MAX = 10, 1e6  # of a benchmark
CHANCE_WHOLE_MAX = 1e-6  # probability that shares times a column are whole numbers by chance
SLIP_SD_MIN = 10  # robust sd: a run farther off may have a size wrong by a power of ten
RUNS_WANTED = 12
SPARE_RUNS_MIN = 2  # runs besides one for each parameter: one for the scale of the noise, one to learn from
DISTINCT_VALUES_MIN = 4  # of a size: with fewer its effect rests on the prior
ISOLATED_TIMES_MIN = 30.0  # ratio of a size to the next one: a slip of a power of ten, or an isolated run
ERROR_MEDIAN_MAX = 5.0  # of error rates; word error rates may be above 1
MEDIAN_MIN = {"params": 1e3, "tokens": 1e4}  # of counts
COUNTED_IN = {"params": "M", "tokens": "B"}  # where they are no counts
RATIO_MAX = 1e6  # tokens per parameter of runs that were ever made are fewer
MIXED_TIMES_MIN = 1e3  # between neighbouring sizes of one column
NOTE_ROWS_MAX = 1000  # the text of a note counts all of them


@dataclass(frozen=True)
class Note:
    """One remark of the lint.

    Attributes
    ----------
    code : a stable name
    severity : "warning" or "info"
    text : a sentence that says what to do
    rows : the runs it is about, as the coordinate ``run`` counts them
    options : those of :func:`bayescale.read_runs` that would leave the rows out, names and values
    """

    code: str
    severity: str
    text: str
    rows: tuple[int, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


def note(seen: Seen, code: str, severity: str, text: str, rows: Iterable[int] = (), **options: Any) -> Note:
    """A remark on the runs at these positions, and the options that would leave them out."""
    labels = seen.runs["run"].values
    positions = tuple(int(labels[row]) for row in list(rows)[:NOTE_ROWS_MAX])
    return Note(code, severity, text, positions, tuple(options.items()))


def where(seen: Seen, rows: np.ndarray) -> str:
    """The runs at these positions, as their user counts them."""
    return rows_text(seen.place, seen.runs["run"].values[rows])


def few_runs(seen: Seen, parameters: int) -> Iterator[Note]:
    """Too few runs for narrow bands, or for the parameters of the law."""
    if parameters and seen.number < parameters + SPARE_RUNS_MIN:
        text = (
            f"{seen.number} runs do not tell the {parameters} parameters of the law and the noise; what follows is "
            f"what the priors say, and {RUNS_WANTED} or more are wanted"
        )
        yield note(seen, "too_few_runs", "warning", text)
    elif seen.number < RUNS_WANTED:
        text = f"{seen.number} runs: bands will be wide and rest on the priors; {RUNS_WANTED} or more are wanted"
        yield note(seen, "few_runs", "warning", text)


def few_values(seen: Seen) -> Iterator[Note]:
    """Sizes with too few distinct values."""
    codes = {"params": "few_sizes", "tokens": "few_token_counts", "compute": "few_budgets"}
    spoken = {"params": "model size(s)", "tokens": "token count(s)", "compute": "budget(s)"}
    for name, code in codes.items():
        if name in seen.sizes and (different := len(np.unique(seen.sizes[name]))) < DISTINCT_VALUES_MIN:
            rests = f"the effect of {symbol(name)} rests on the prior"
            text = f"{different} {spoken[name]}: {rests}; {DISTINCT_VALUES_MIN} or more are wanted"
            yield note(seen, code, "warning", text)


def collinear(seen: Seen) -> Iterator[Note]:
    if {"params", "tokens"} <= seen.sizes.keys() and move_together(seen.runs):
        text = (
            f"N and D move together, along {line_of_sizes(seen.runs)}: the runs do not tell the effects of N and D "
            "apart; vary D at fixed N (so that tokens per parameter vary 3 times or more)"
        )
        yield note(seen, "collinear_sizes", "warning", text)


# no study lies outside, toys included: such sizes are in thousands, millions or billions
PLAUSIBLE_RATIO = (1e-3, 1e6)  # tokens per parameter, of the medians
COUNT_MEDIAN_MIN = 1e3  # median params or tokens


def plausible_counts(params: np.ndarray, tokens: np.ndarray) -> bool:
    """Whether sizes of runs can be counts of parameters and tokens."""
    N, D = float(np.median(params)), float(np.median(tokens))
    return PLAUSIBLE_RATIO[0] < D / N < PLAUSIBLE_RATIO[1] and min(N, D) > COUNT_MEDIAN_MIN


def units(seen: Seen) -> Iterator[Note]:
    """Sizes that cannot be counts of parameters and tokens."""
    median = {name: float(np.median(seen.sizes[name])) for name in ("params", "tokens") if name in seen.sizes}
    both, odd = len(median) == 2, [name for name, value in median.items() if value < MEDIAN_MIN[name]]
    ratio = float(np.median(np.log(seen.sizes["tokens"]) - np.log(seen.sizes["params"]))) if both else 0.0
    few = both and ratio < np.log(0.1)
    told = " and ".join(f"{name} {size_text(value)}" for name, value in median.items())
    read = json.loads(seen.runs.attrs.get("read", "{}"))
    made = next((name for name in median if read.get(name) == DERIVED_SIZES[name]), None)
    if few and min(median.values()) > 1e6:
        text = (
            f"more parameters than tokens (median {told}): are the columns swapped, or one of them in another unit "
            "(--unit tokens=B)?"
        )
        yield note(seen, "units", "warning", text)
    elif few or ratio > np.log(RATIO_MAX) or odd:
        text = f"median {told} look{'' if both else 's'} like other units; give them as counts or say the unit "
        text += f"({' '.join(f'--unit {name}={COUNTED_IN[name]}' for name in odd or median)})"
        if made:
            other = "params" if made == "tokens" else "tokens"
            text = (
                f"median {told}, which is {read[made]}, look like other units; say that of compute (--unit "
                f"compute=PFLOP) or of {other} (--unit {other}={COUNTED_IN[other]})"
            )
        yield note(seen, "units", "warning", text)


def mixed_units(seen: Seen) -> Iterator[Note]:
    """Sizes of two scales in one column, as where some rows are in millions."""
    for name, values in seen.sizes.items():
        order = np.argsort(values)
        with np.errstate(all="ignore"):
            gaps = np.diff(np.log(values[order]))
        if not len(gaps) or not np.nanmax(gaps) > np.log(MIXED_TIMES_MIN):
            continue
        split = int(np.nanargmax(gaps)) + 1
        small = np.sort(order[:split])
        if min(split, len(order) - split) > 1:  # of one alone see isolated
            low, high = size_text(values[order[split - 1]]), size_text(values[order[split]])
            text = f"{small.size} runs ({where(seen, small)}) have {name} of {low} at most, the others {high} or more: "
            yield note(seen, "mixed_units", "warning", f"{text}are they in different units?", small)


def isolated(seen: Seen) -> Iterator[Note]:
    """One run whose size, or tokens per parameter, is far from that of every other run."""
    if seen.number < RUNS_WANTED // 2:
        return
    columns = {symbol(name): values for name, values in seen.sizes.items()}
    if {"params", "tokens"} <= seen.sizes.keys():
        with np.errstate(over="ignore"):  # sizes at both ends of what a float holds
            columns["tokens per parameter"] = seen.sizes["tokens"] / seen.sizes["params"]
    for name, values in columns.items():
        order = np.argsort(values)
        for first, second in ((order[-1], order[-2]), (order[0], order[1])):
            with np.errstate(all="ignore"):
                times = float(np.exp(np.log(values[first]) - np.log(values[second])))
            # infinite and 0 are far, too; two ratios that both overflow tell nothing
            if not (np.isnan(times) or 1 / ISOLATED_TIMES_MIN < times < ISOLATED_TIMES_MIN):
                far = (
                    f"{number_text(times, 2)} times the next largest"
                    if times > 1
                    else (f"the next smallest is {number_text(1 / times if times else np.inf, 2)} times it")
                )
                alone = where(seen, np.array([first]))
                text = f"{alone} has {name} {size_text(values[first])}, {far}: is it a slip of a power of ten?"
                yield note(seen, "isolated_size", "warning", text, [first])
                return


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
        or not ((counts >= ITEMS_MIN) & (counts <= ITEMS_MAX) & (counts == np.round(counts))).all()
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
    shape = "curve" if len(seen.sizes) + len(seen.others) == 1 else "surface"
    sizes = ", ".join(f"{symbol(name)} {_short(name, values[worst])}" for name, values in seen.sizes.items())
    others = _measured(seen, seen.target[worst] - surface.residual[worst])
    by = "more than 2 % and " if seen.scale == "log" else ""
    told = (
        f"{rows.size} runs lie {by}{SURPRISING_SD} robust sd off a smooth {shape}, the worst is"
        if rows.size > 1
        else (f"one run lies {by}{SURPRISING_SD} robust sd off a smooth {shape},")
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


def _short(name: str, value: float) -> str:
    return f"{number_text(value)} FLOP" if name == "compute" else size_text(value)


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
    return f" ({symbol(name)} {10**power} times {way}, {_short(name, moved)}, would put it among the others)"


def scatter(seen: Seen, surface: Surface) -> Iterator[Note]:
    if surface.degree == 2 and seen.scale == "log" and seen.number >= SCATTER_RUNS_MIN and surface.sd > SCATTER_LOG_MAX:
        what = "losses scatter" if seen.observed == "loss" else f"values of {seen.observed} scatter"
        shape = "curve" if len(seen.sizes) + len(seen.others) == 1 else "surface"
        text = (
            f"{what} by {100 * surface.sd:.0f} % around a smooth {shape} through all runs, where runs of one recipe "
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
    what = "losses are" if seen.observed == "loss" else f"values of {seen.observed} are"
    if seen.number > 1 and np.ptp(seen.values) < 1e-9 * np.max(seen.values):
        yield note(seen, "constant_loss", "warning", f"all {what} equal: there is nothing to learn from")
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
