"""A remark on rows that are checkpoints of one run."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bayescale.field import number_text, size_text
from bayescale.runs.lint_rows import texts_in
from bayescale.runs.lint_values import Note, note
from bayescale.runs.smooth import Seen
from bayescale.runs.spellings import is_called

CHECKPOINT_ROWS_MIN = 3  # rows of one run, at different D, that make a curve
RATE_LEFT_SHARE = 0.1  # of a run's largest learning rate: above it the schedule is not over
LADDER_ROWS_MIN = 8  # of one N, where no column names runs: designs have fewer, or unequal steps
LADDER_UNEVEN = 0.02  # share of a step by which steps may differ
MID_SCHEDULE = (
    "a loss in the middle of a learning-rate schedule is above what a run of that length ends at, and rows of one run "
    "err together"
)


def checkpoints(seen: Seen) -> Iterator[Note]:
    """Rows that are checkpoints of one run."""
    if "tokens" not in seen.runs or seen.runs["tokens"].dtype.kind != "f":
        return
    tokens = seen.runs["tokens"].values
    numbered = {str(name): one.values for name, one in seen.runs.data_vars.items() if is_called(name, "run")}
    for name, values in (texts_in(seen) | numbered).items():
        if not _labels_runs(seen, name, values):
            continue
        frame = pd.DataFrame({"label": values, "tokens": tokens})
        by_run = frame.groupby("label")["tokens"]
        different = by_run.transform("nunique").values
        rows = np.flatnonzero((different >= CHECKPOINT_ROWS_MIN) & (different == by_run.transform("size").values))
        if rows.size < 0.5 * seen.number:
            continue
        first = values[rows[0]]
        one = frame["tokens"][frame["label"] == first]
        text = (
            f"{rows.size} of {seen.number} rows are on the way of {by_run.ngroups} runs by the column {name} "
            f"('{str(first)[:40]}': {len(one)} rows, D {size_text(one.min())} to {size_text(one.max())})"
            f"{_rate_left(seen, values, rows)}: {MID_SCHEDULE}; keep the last of each run (--last-of {name})"
        )
        yield note(seen, "checkpoints", "warning", text, rows, last_of=name)
        return
    yield from _ladders(seen, tokens)


def _ladders(seen: Seen, tokens: np.ndarray) -> Iterator[Note]:
    """Rows of each N that rise in equal steps of D, of their own length, beside a column of steps: one run each.

    Where all N have the same D, the study may have been designed so.
    """
    if "params" not in seen.runs or not any(is_called(name, "step", "steps") for name in seen.runs.data_vars):
        return
    by_size = pd.Series(tokens).groupby(seen.runs["params"].values).indices
    rising = {size: np.sort(tokens[rows]) for size, rows in by_size.items() if len(rows) >= LADDER_ROWS_MIN}
    ladders = {size: some for size, some in rising.items() if np.allclose(np.diff(some), some[0], rtol=LADDER_UNEVEN)}
    lengths = {number_text(some[0]) for some in ladders.values()}
    if len(ladders) < max(2, len(by_size) / 2) or len(lengths) < len(ladders) / 2:
        return
    rows = np.sort(np.concatenate([by_size[size] for size in ladders]))
    text = (
        f"{rows.size} of {seen.number} rows, of {len(ladders)} N, rise in equal steps of D from the first, beside a "
        f"column of steps, as checkpoints of one run do: {MID_SCHEDULE}; keep the last of each (--last-of params), or "
        "name in a column the run that a row is of"
    )
    yield note(seen, "checkpoints", "warning", text, rows, last_of="params")


def _labels_runs(seen: Seen, name: str, values: np.ndarray) -> bool:
    """Whether a column names runs: by its heading, or because it separates runs of one N; each has one N."""
    if is_called(name, "state", "moment", "date"):
        return False
    if len(np.unique(values[:1000].astype(str))) < 2 or "params" not in seen.runs:
        return is_called(name, "run") and "params" not in seen.runs
    sizes = pd.DataFrame({"label": values, "params": seen.runs["params"].values})
    if (sizes.groupby("label")["params"].nunique() > 1).any():
        return False
    named = is_called(name, "run") and values.dtype.kind != "f"  # a number may be that of a size
    return named or bool((sizes.groupby("params")["label"].nunique() > 1).mean() > 0.5)


def _rate_left(seen: Seen, labels: np.ndarray, rows: np.ndarray) -> str:
    for name, one in seen.runs.data_vars.items():
        if is_called(name, "learning rate") and one.dtype.kind == "f":
            rate = pd.Series(one.values)
            largest = rate.groupby(labels).transform("max")
            high = int((rate > RATE_LEFT_SHARE * largest).iloc[rows].sum())
            if (rate.groupby(labels).nunique() > 1).any():
                return f", in {high} of them {name} is still above {100 * RATE_LEFT_SHARE:.0f} % of the run's largest"
    return ""
