"""Which of several losses is meant, and whether a name says another unit of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bayescale.field import clipped
from bayescale.runs.headings import unit_in
from bayescale.runs.loss_unit import LOSS_UNITS, PERPLEXITY
from bayescale.runs.question import Numbers, Question, column_option, other_loss_text
from bayescale.runs.spellings import (
    DATA_UNITS,
    HELD_OUT,
    PARTS_OF_LOSSES,
    PERPLEXITIES,
    is_name,
    other_loss,
    other_quantity,
    plainly,
    related,
    words_of,
)

BASE_RELATIVE = 0.01  # of a loss and a perplexity that were rounded


def given_loss(name: Any, units: Mapping[str, str]) -> list[str]:
    """Notes on a column that is given as the loss, without a unit, and whose name says another unit or quantity."""
    if name is None or "loss" in units:
        return []
    if (kind := other_loss(name)) is None:
        a_loss = is_name("loss", name) or words_of(name) & PERPLEXITIES  # of it the logarithm
        if (other := other_quantity(name)) is None or unit_in("loss", name)[1] or a_loss:
            return []
        text = "is read as it stands, in nats per token; its name may say"
        return [f"{clipped(name)} {text} {other} (--unit loss=nats if it does not)"]
    if kind == PERPLEXITY:
        raise Question(other_loss_text(name, kind))
    return [
        f"{clipped(name)} is read in nats; its name says {LOSS_UNITS[kind].looks_like} (--unit loss={kind} if it is)"
    ]


def not_of_tokens(given: Mapping[str, Any], roles: Mapping[str, Any], units: Mapping[str, str]) -> Iterator[str]:
    """Notes on tokens that were given, and on a perplexity, whose names say that something smaller was counted."""
    if said := words_of(given.get("tokens")) & DATA_UNITS:
        made = f"its name says {min(said)}, and so does all that is made of it (6 N D)"
        yield f"{clipped(given['tokens'])} is read as tokens; {made}"
    if units.get("loss") == PERPLEXITY and (said := words_of(roles.get("loss")) & DATA_UNITS):
        yield f"{clipped(roles['loss'])} is per {min(said)}, by its name: its loss is comparable with none per token"


def check_base(loss: Any, names: Sequence[Any], numbers: Numbers) -> None:
    """Ask whether a loss is in bits where a perplexity beside it is 2 to its power, as fairseq logs them."""
    values = numbers(loss)
    for name in names:
        if other_loss(name) != PERPLEXITY or values is None or (perplexity := numbers(name)) is None:
            continue
        with np.errstate(all="ignore"):
            base = np.log(perplexity) / values / np.log(2)
        if len(base) > 1 and (np.abs(base - 1) < BASE_RELATIVE).all():
            raise Question(
                f"{clipped(name)} is 2 to the power of {clipped(loss)}, which then is in bits: say so "
                "(units={'loss': 'bits'}, --unit loss=bits, or loss=nats)"
            )


def kin(unit: str) -> str:
    """The kind of a unit: bits and bits per byte are one, as names of columns often leave out the second half."""
    return unit.partition("_")[0]


def of_training(name: Any) -> bool:
    return "train" in plainly(name)


def without_training(losses: list[Any]) -> tuple[list[Any], list[str]]:
    """Drop training losses where there is another loss, and what is called loss beside one of held-out data."""
    some = [name for name in losses if words_of(name) & HELD_OUT]
    passed = [name for name in losses if of_training(name) or (some and plainly(name) == "loss")]
    if len(passed) == len(losses):
        return losses, []
    notes = [f"{clipped(name)} is not read as loss ({column_option('loss', name)} if it should be)" for name in passed]
    return [name for name in losses if name not in passed], notes


def also_meant(found: list[Any], full: list[Any], names: Sequence[Any], numbers: Numbers) -> list[Any]:
    """Losses by other names that could be meant as well: held-out ones beside ``loss``, else any.

    That is, beside a part of a path and beside a loss of training: ``loss/train`` with ``loss/c4``.
    """
    if full and any(words_of(name) & HELD_OUT for name in found):
        return []
    others = [name for name in names if name not in found and related("loss", name)]
    others = [name for name in others if not words_of(name) & PARTS_OF_LOSSES and numbers(name) is not None]
    only_held_out = full and not all(map(of_training, found))
    return [name for name in others if words_of(name) & HELD_OUT] if only_held_out else others


def held_out(losses: list[Any], others: Mapping[Any, str]) -> list[str]:
    """A note on a held-out loss in another unit, where all losses in nats are those of training; others by kind."""
    held_out = [(name, kind) for name, kind in others.items() if not of_training(name)]
    if not held_out or not all(map(of_training, losses)):
        return []
    name, unit = held_out[0]
    option = f"{column_option('loss', name)} --unit loss={unit}"
    return [f"{clipped(name)}, which is not of training, is not read as loss ({option})"]
