"""Notes on columns that say something of runs and are not used."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayescale.field import clipped
from bayescale.runs.guess import REPEATED_EPOCHS_MIN, flop_a_token, repeated_text
from bayescale.runs.question import Numbers, column_option
from bayescale.runs.spellings import SE_NAMES, SIZES, STANDARD_ERRORS, is_called, plainly, related_columns, words_of

SPREADS = {"std", "sd"}
OF_REPEATS = (
    "; if it is the spread of repeated runs of which the loss is the mean, divide it by the root of their number"
)


def unused_columns(names: Sequence[Any], roles: Mapping[str, Any], numbers: Numbers) -> list[str]:
    """Notes on columns that say something of runs and are not used: FLOP a token, epochs, standard errors."""
    unused = [name for name in names if name not in roles.values()]
    return [
        *(said for name in unused if (said := _flop_a_token(name, roles))),
        *[said for name in unused if (said := _repeated(name, roles, numbers))][:1],
        *(said for name in unused if (said := _experts(name, roles, numbers))),
        *_standard_errors(unused, roles),
    ]


def _flop_a_token(name: Any, roles: Mapping[str, Any]) -> str:
    """A note on a column of FLOP a token that is not used, or an empty text."""
    words = words_of(name)
    said = words & {"flop", "flops"} and words & {"token", "tokens", "tok"}
    if not said or "compute" in roles or flop_a_token(name) is not None:  # which is used
        return ""
    return (
        f"{clipped(name)} looks like FLOP a token and is not used: compute is counted as 6 N D unless a column has it "
        f"({clipped(name)} times tokens)"
    )


def _repeated(name: Any, roles: Mapping[str, Any], numbers: Numbers) -> str:
    """A note on a column by which tokens repeat, or an empty text."""
    if not is_called(name, "unique tokens", "epochs") or "tokens" not in roles or "unique_tokens" in roles:
        return ""
    values, tokens = numbers(name), numbers(roles["tokens"])
    if values is None or tokens is None:
        return ""
    with np.errstate(all="ignore"):
        epochs = tokens / values if is_called(name, "unique tokens") else values
    most = float(np.nanmax(epochs, initial=0.0))
    if not (REPEATED_EPOCHS_MIN < most < np.inf):
        return ""
    return f"{clipped(name)} is not used: {repeated_text(most)}"


def _experts(name: Any, roles: Mapping[str, Any], numbers: Numbers) -> str:
    """A note on a number of experts where it is open which parameters are counted, or an empty text."""
    if not is_called(name, "experts") or "params" not in roles or words_of(roles["params"]) & {"active", "activated"}:
        return ""
    if (values := numbers(name)) is None or not np.nanmax(values) > 1:
        return ""
    column = clipped(roles["params"])
    return f"by {clipped(name)}, runs are mixtures of experts: does {column} count all parameters, or the active ones?"


def _standard_errors(names: Sequence[Any], roles: Mapping[str, Any]) -> list[str]:
    """Notes on columns that are called standard errors of the loss, or the spread of its repeats."""
    loss = plainly(roles["loss"]) if "loss" in roles else "loss"
    pairs = [(about, error) for about in (loss, "loss") for error in map(plainly, SE_NAMES)]
    endings = {about + error for about, error in pairs} | {error + about for about, error in pairs}
    endings |= set(map(plainly, STANDARD_ERRORS)) if "loss" in roles else set()
    return [
        f"{clipped(name)} looks like the standard error of the loss and is not used: a fit learns from the runs how "
        f"far losses scatter ({column_option('loss_se', name)} adds it to that"
        f"{OF_REPEATS if words_of(name) & SPREADS else ''})"
        for name in names
        if plainly(name) in endings
    ]


def passed_over_size(
    names: Sequence[Any], roles: Mapping[str, Any], numbers: Numbers, notes: Sequence[str]
) -> list[str]:
    """Notes on columns that may be the size which follows from the other two, as no column has its full name."""
    missing = [role for role in SIZES if role not in roles]
    if len(missing) != 1:
        return []
    role = missing[0]
    found = [
        name
        for name in related_columns(role, names)
        if (values := numbers(name)) is not None and np.unique(values).size > 1
    ]
    return [
        f"{clipped(name)} is not read as {role} ({column_option(role, name)} if it should be)"
        for name in found
        if not any(clipped(name) in note for note in notes)
    ]
