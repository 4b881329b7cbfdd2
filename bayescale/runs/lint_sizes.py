"""Remarks on sizes and compute: too few, together, far apart, in other units, not 6 N D."""

from collections.abc import Iterator

import numpy as np

from bayescale.field import TRAINING, number_text, size_text, symbol
from bayescale.runs.cells import MIXED_TIMES
from bayescale.runs.compute import ODD_TIMES, Definition, learn, sizes_of
from bayescale.runs.read import read_roles
from bayescale.runs.remark import Note, note, where
from bayescale.runs.smooth import Seen, line_of_sizes, move_together
from bayescale.runs.spellings import DERIVED_SIZES

RUNS_WANTED = 12
SPARE_RUNS_MIN = 2  # runs besides one for each parameter: one for the scale of the noise, one to learn from
DISTINCT_VALUES_MIN = 4  # of a size: with fewer its effect rests on the prior
ISOLATED_TIMES_MIN = 30.0  # ratio of a size to the next one: a slip of a power of ten, or an isolated run
MEDIAN_MIN = {"params": 1e3, "tokens": 1e4}  # of counts
COUNTED_IN = {"params": "M", "tokens": "B"}  # where they are no counts
# no study lies outside, toys included: such sizes are in thousands, millions or billions
PLAUSIBLE_RATIO = (1e-3, 1e6)  # tokens per parameter, of the medians
PLAUSIBLE_MEDIAN_MIN = 1e3  # median params or tokens
COST_TIMES_MAX = 500.0  # times 6 N D: no definition of compute counts more


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


def plausible_counts(params: np.ndarray, tokens: np.ndarray) -> bool:
    """Whether sizes of runs can be counts of parameters and tokens."""
    N, D = float(np.median(params)), float(np.median(tokens))
    return PLAUSIBLE_RATIO[0] < D / N < PLAUSIBLE_RATIO[1] and min(N, D) > PLAUSIBLE_MEDIAN_MIN


def units(seen: Seen) -> Iterator[Note]:
    """Sizes that cannot be counts of parameters and tokens."""
    median = {name: float(np.median(seen.sizes[name])) for name in ("params", "tokens") if name in seen.sizes}
    both, odd = len(median) == 2, [name for name, value in median.items() if value < MEDIAN_MIN[name]]
    ratio = float(np.median(np.log(seen.sizes["tokens"]) - np.log(seen.sizes["params"]))) if both else 0.0
    few = both and ratio < np.log(0.1)
    told = " and ".join(f"{name} {size_text(value)}" for name, value in median.items())
    read = read_roles(seen.runs.attrs)
    made = next((name for name in median if read.get(name) == DERIVED_SIZES[name]), None)
    if few and min(median.values()) > 1e6:
        text = (
            f"more parameters than tokens (median {told}): are the columns swapped, or one of them in another unit "
            "(--unit tokens=B)?"
        )
        yield note(seen, "units", "warning", text)
    elif few or ratio > np.log(PLAUSIBLE_RATIO[1]) or odd:
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
        if not len(gaps) or not np.nanmax(gaps) > np.log(MIXED_TIMES):
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


def compute_unit(seen: Seen) -> Iterator[Note]:
    """The column is in another unit than FLOP."""
    if seen.runs.attrs.get("compute_unit_seen"):
        unit = seen.runs.attrs["compute_unit"]
        text = (
            f"the column of compute is in {unit}, by comparison with 6 N D, and was turned into FLOP; "
            f"--unit compute={unit} says so, --unit compute=FLOP that it is not"
        )
        yield note(seen, "compute_unit", "info", text)


def compute_differs(seen: Seen, definition: Definition | None = None) -> Iterator[Note]:
    """What the column counts (``definition``, where it is known) is not 6 N D, or not in all runs."""
    sizes = sizes_of(seen.runs)
    if sizes is None:
        return
    N, D, compute = sizes
    found, count = definition or learn(N, D, compute, unit_known=True), len(N)
    with np.errstate(all="ignore"):
        ratio = compute / (6.0 * N * D)
        apart = np.abs(np.log(compute / found.compute(N, D)))
    odd = np.flatnonzero(~(apart <= np.log(ODD_TIMES)))
    if found.doubt:
        text = f"{found.doubt} (questions about a budget need a cost: --cost '6*N*D')"
        yield note(seen, "compute_differs", "warning", text, odd)
        return
    if found.formula == TRAINING:
        if odd.size:
            text = f"compute differs from 6 N D by more than {ODD_TIMES:g} times in {odd.size} of {count} runs"
            text += f" ({where(seen, odd)})"
            yield note(seen, "compute_differs", "info", text, odd)
        return
    most = 100 * float(np.expm1(apart[apart <= np.log(ODD_TIMES)].max(initial=0.0)))
    close = f"{count - odd.size} of {count}" if odd.size else f"all {count}"
    held = f"within {number_text(max(most, 0.01), 2)} % in {close} runs"
    constant = bool(np.isclose(found.compute(1e6, 1e6), found.compute(1e9, 1e3)))
    times = (
        number_text(np.median(ratio), 4) if constant else f"{number_text(ratio.min())} to {number_text(ratio.max())}"
    )
    text = (
        f"compute is {times} times 6 N D: it is taken to count {found.formula} ({held}), and so are budgets; "
        "--cost '6*N*D' counts 6 N D"
    )
    implausible = np.median(ratio) > COST_TIMES_MAX
    if implausible:
        text += "; so large a ratio may come from a unit of N or D: --unit params=M --unit tokens=B"
    yield note(seen, "compute_differs", "warning" if implausible else "info", text, odd)
