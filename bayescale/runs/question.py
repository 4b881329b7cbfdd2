"""What is asked where the names of columns leave open which is meant."""

import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bayescale.field import clipped, listed
from bayescale.runs.loss_unit import LOSS_UNITS, PERPLEXITY
from bayescale.runs.spellings import DATA_UNITS, words_of

COLUMNS_NAMED_MAX = 6  # of columns

type Numbers = Callable[[Any], np.ndarray | None]  # name -> the numbers of a column, or None where it has none


class Question(ValueError):
    """Two columns fit one role, or none does: the user has to choose."""


def column_option(role: str, name: Any) -> str:
    """The option that names the column of a role, as a shell takes it: quoted where the name has blanks or brackets."""
    return f"--column {shlex.quote(f'{role}={clipped(name)}')}"


def names_text(found: Sequence[Any]) -> str:
    return listed([clipped(name) for name in found[:COLUMNS_NAMED_MAX]])


def which_text(role: str, found: Sequence[Any]) -> str:
    return (
        f"{names_text(found)} could each be {role}; say which it is "
        f"(columns={{'{role}': '{clipped(found[0])}'}}, {column_option(role, found[0])})"
    )


def other_loss_text(name: Any, kind: str) -> str:
    small = sorted(words_of(name) & DATA_UNITS) if kind == PERPLEXITY else []
    what = LOSS_UNITS[kind].looks_like + "".join(f" per {word}" for word in small[:1])
    return (
        f"the column {clipped(name)} looks like {what}, not a loss in nats; say what it is "
        f"(columns={{'loss': {name!r}}}, units={{'loss': {kind!r}}}, {column_option('loss', name)} "
        f"--unit loss={kind}, or loss=nats)"
    )
