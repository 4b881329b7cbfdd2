"""Logs of trainers: lines of names and numbers -> a row for each step; what stands before the first is in each row."""

import re
from typing import Any

import pandas as pd

from bayescale.field import number_in
from bayescale.runs.spellings import is_called, is_name
from bayescale.runs.tables.records import frame_of
from bayescale.runs.tables.text import text_of

LOG_HEAD_BYTES = 100_000
STEPS_MIN = 3  # in the head of a log, and as many losses
LINE_CHARACTERS_MAX = 2000
PAIR = re.compile(  # lm loss: 7.1E+00, iter 250: , step:125/5100, number of parameters: 123.59M, val_loss=3.2
    r"(?<![\w./])(?P<name>[A-Za-z_][\w/.]*(?:\([\w%]+\))?(?: [A-Za-z_][\w/.]*(?:[ ]?\([\w%]+\))?){0,5}?)"
    r"(?:\s{0,3}[:=]\s{0,20}|\s{1,20})"
    r"(?P<number>[+-]?[0-9]++(?:[,_][0-9]++)*+(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+[KMBT]?+)"
    r"(?![\w.]*[A-Za-z0-9(]|\s*\*)"
)
SAID = re.compile(r" (?:will be|is|are|was)$")
LOSS = re.compile(r"loss|perplexity|ppl|bpb", re.IGNORECASE)

type Pairs = list[tuple[str, str]]


def is_log(content: bytes) -> bool:
    """Whether lines have steps, and losses behind or below them."""
    lines = content[:LOG_HEAD_BYTES].decode("utf-8", "ignore").splitlines()
    if lines and any(is_name("loss", cell) for cell in re.split("[,;\t]", lines[0])):
        return False  # a header
    pairs = [_pairs(line) for line in lines]
    losses = sum(any(LOSS.search(name) for name, _ in one) for one in pairs)
    return min(losses, sum(_step(one) is not None for one in pairs)) >= STEPS_MIN


def read_log(content: bytes, where: str) -> pd.DataFrame:
    """The rows of a log; what stands twice for a step, as of training and evaluation, is one row.

    Raises
    ------
    RunsError
        If it is too long, or no text.
    """
    rows: dict[float, dict[str, Any]] = {}
    before: dict[str, Any] = {}
    row = before  # in which lines without a step belong that are indented, as below their step
    for line in text_of(content, where).splitlines():
        pairs = _pairs(line)
        if (step := _step(pairs)) is not None:
            row = rows.setdefault(step, {"step": f"{step:.0f}"})
            row |= {name: number for name, number in pairs if not _counts_steps(name)}
        elif not rows or line[:1].isspace():
            row |= {SAID.sub("", name): number for name, number in pairs}
    return frame_of((before | row for row in rows.values()), where)


def _pairs(line: str) -> Pairs:
    return [(found["name"], found["number"]) for found in PAIR.finditer(line[:LINE_CHARACTERS_MAX])]


def _counts_steps(name: str) -> bool:
    return is_called(name.rpartition(" ")[2], "step")


def _step(pairs: Pairs) -> float | None:
    """The step that a line says."""
    found = (number for name, number in pairs if _counts_steps(name))
    return number_in(next(found, "").replace(",", "").replace("_", ""))
