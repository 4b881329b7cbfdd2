"""Remarks on a column of compute: its unit, what it counts if not 6 N D, runs that differ."""

from collections.abc import Iterator

import numpy as np

from bayescale.field import TRAINING, number_text
from bayescale.runs.compute import ODD_TIMES, Definition, learn, sizes_of
from bayescale.runs.lint_values import Note, note, where
from bayescale.runs.smooth import Seen

COST_TIMES_MAX = 500.0  # times 6 N D: no definition of compute counts more


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
