"""Remarks on rows that are no runs, or none that ended: unfinished, checkpoints, summed up, censored, copied."""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayescale.field import listed, number_text, size_text
from bayescale.runs.cells import FALSE_TEXTS, TRUE_TEXTS
from bayescale.runs.remark import Note, note, where
from bayescale.runs.smooth import Seen, texts_in
from bayescale.runs.spellings import is_called, last_part, plainly

FINISHED_STATES = {"finished", "complete", "completed", "done", "success", "succeeded", "successful", "ok", "converged"}
UNFINISHED_STATES = {"crashed", "failed", "killed", "running", "preempted", "preempting", "pending", "queued"}
UNFINISHED_STATES |= {"stopped", "aborted", "cancelled", "canceled", "timeout", "timed out", "oom", "error"}
UNFINISHED_STATES |= {"diverged", "interrupted", "unfinished"}
FAILED_FLAGS = {"diverged", "crashed", "failed", "killed", "aborted", "nan", "nans", "unstable", "oom"}
EXCLUDED_FLAGS = {"exclude", "excluded", "invalid", "outlier", "bad", "ignore"}
INCLUDED_FLAGS = {"valid", "include", "included", "keep", "good", "use", "used"}
# rows that sum up others, in columns that name runs
SUMMARIES = {"mean", "average", "avg", "avg.", "median", "total", "sum", "std", "stdev", "std dev", "sd", "min", "max"}
SUMMARIES |= {"overall", "count", "25%", "50%", "75%", "mean ± std"}
PREDICTIONS = {"predicted", "prediction", "extrapolated", "extrapolation", "forecast", "forecasted"}  # in any column
CHECKPOINT_ROWS_MIN = 3  # rows of one run, at different D, that make a curve
RATE_LEFT_SHARE = 0.1  # of a run's largest learning rate: above it the schedule is not over
LADDER_ROWS_MIN = 8  # of one N, where no column names runs: designs have fewer, or unequal steps
LADDER_UNEVEN = 0.02  # share of a step by which steps may differ
MID_SCHEDULE = (
    "a loss in the middle of a learning-rate schedule is above what a run of that length ends at, and rows of one run "
    "err together"
)


def unfinished(seen: Seen) -> Iterator[Note]:
    """Runs that crashed, failed, were killed or still run."""
    for name, values in texts_in(seen).items():
        texts = pd.Series(values).astype(str).str.strip().str.lower()
        said = set(texts.unique()) - {""}  # a note may be made of failures only
        if not (is_called(name, "state") or (said and said <= FINISHED_STATES | UNFINISHED_STATES)):
            continue
        bad = np.flatnonzero(texts.isin(UNFINISHED_STATES))
        if bad.size:
            counts = texts.iloc[bad].value_counts()
            told = listed([f"{count} {state}" for state, count in counts.items()])
            condition = _not_in(name, sorted({str(text).strip() for text in values[bad]}))
            text = (
                f"by the column {name}, {told} of {seen.number} runs ({where(seen, bad)}): a loss on the way is not "
                f"what the run would end at; leave them out (--where {shlex.quote(condition)})"
            )
            yield note(seen, "unfinished_runs", "warning", text, bad, where=condition)
    for name, bad, condition in _flags(seen):
        marked = _flag(name) in EXCLUDED_FLAGS | INCLUDED_FLAGS
        what = "are marked as no good" if marked else "diverged or did not finish"
        text = (
            f"by the column {name}, {bad.size} of {seen.number} runs {what} ({where(seen, bad)}): "
            f"leave them out (--where {shlex.quote(condition)}){_or_censored(seen, name)}"
        )
        yield note(seen, "unfinished_runs", "warning", text, bad, where=condition)


def summaries(seen: Seen) -> Iterator[Note]:
    """Rows called mean, total, predicted and the like, which are no runs."""
    for name, values in texts_in(seen).items():
        texts = pd.Series(values).astype(str).str.strip()
        sums = SUMMARIES if is_called(name, "run", "model", "seed", "index") else set()
        bad = np.flatnonzero(texts.str.lower().isin(sums | PREDICTIONS))
        if 0 < bad.size < seen.number:
            condition = _not_in(name, sorted(set(texts.iloc[bad])))
            text = (
                f"by the column {name}, {bad.size} of {seen.number} rows ({where(seen, bad)}) are no runs, but made of "
                f"others: leave them out (--where {shlex.quote(condition)})"
            )
            yield note(seen, "summary_rows", "warning", text, bad, where=condition)


def _or_censored(seen: Seen, name: str) -> str:
    """The other remedy for runs that failed, where a law takes it."""
    if _flag(name) not in FAILED_FLAGS or seen.scale not in ("log", "linear", "share"):
        return ""
    return f", or learn from them that their {seen.observed} is at least what it is (--column censored={name})"


def censored(seen: Seen, some: np.ndarray, name: str) -> Iterator[Note]:
    """Runs of which a least loss is known; ``name`` is the column that says so."""
    bad = np.flatnonzero(some)
    if bad.size:
        text = (
            f"by the column {name}, {bad.size} of {seen.number} runs are censored ({where(seen, bad)}): what is "
            f"learnt from them is that their {seen.observed or 'loss'} is at least what was measured"
        )
        yield note(seen, "censored", "info", text, bad)


def _flags(seen: Seen) -> Iterator[tuple[str, np.ndarray, str]]:
    """Columns that say of each run whether it diverged, or whether it finished: name, bad rows, the condition."""
    for name, one in seen.runs.data_vars.items():
        word = _flag(name)
        bad_words = FAILED_FLAGS | EXCLUDED_FLAGS
        if word not in bad_words | FINISHED_STATES | INCLUDED_FLAGS:
            continue
        texts = pd.Series(one.values).astype(str).str.strip().str.lower().str.removesuffix(".0")
        if not set(texts.unique()) <= TRUE_TEXTS | FALSE_TEXTS:
            continue
        bad = np.flatnonzero(texts.isin(TRUE_TEXTS if word in bad_words else FALSE_TEXTS))
        if bad.size:
            values = sorted({str(value) for value in one.values[bad]})
            unequal = f"{_quoted(str(name))} != {values[0].removesuffix('.0')}"
            yield str(name), bad, unequal if one.dtype.kind == "f" else _not_in(str(name), values)


def _flag(name: Any) -> str:
    """The last part of a name such as is_valid or hasDiverged, as words of flags are written."""
    return plainly(last_part(name)).removeprefix("is").removeprefix("has")


def _not_in(name: str, values: Sequence[str]) -> str:
    """The condition that a text column has none of these values."""
    texts = ", ".join(f'"{value}"' for value in values)
    return f"{_quoted(name)} not in [{texts}]"


def _quoted(name: str) -> str:
    """The name of a column as conditions have it."""
    return name if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name) else f"`{name}`"


def copies(seen: Seen) -> Iterator[Note]:
    if not seen.observed:
        return
    keys = pd.DataFrame({**seen.sizes, **seen.others, "what is observed": seen.values})
    exact = np.flatnonzero(keys.duplicated(keep="first"))
    if exact.size:
        text = f"{exact.size} run(s) repeat an earlier one exactly ({where(seen, exact)}): drop copies"
        yield note(seen, "duplicates", "warning", text, exact)


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
