"""The unit of a loss: nats inside, the user's unit outside; and whether a loss is a cross-entropy of text at all.

All conversions are monotone, so quantiles can be converted like draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

NATS, PERPLEXITY = "nats", "perplexity"


@dataclass(frozen=True)
class LossUnit:
    """A unit of the loss.

    Attributes
    ----------
    said : what results call it
    nats : in one of it; None of a perplexity, whose logarithm they are
    per : what of a text it is of; "" of no cross-entropy of text, which stays as it is
    headings, words : what stands for it in headings (``loss [bits]``), and for a loss in it in names (``bpc``)
    looks_like : what a column that is named so is said to look like
    """

    said: str
    nats: float | None = 1.0
    per: str = "token"
    headings: str = ""
    words: str = ""
    looks_like: str = ""


BIT = float(np.log(2.0))
LOSS_UNITS = {  # as --unit loss=... takes them
    NATS: LossUnit("nats per token", headings="nat nats"),
    "bits": LossUnit("bits per token", BIT, "token", "bit bits", "bpc", "a loss in bits"),
    "bits_per_byte": LossUnit(
        "bits per byte", BIT, "byte", "bits/byte bit/byte bits_per_byte bpb", "bpb", "a loss in bits per byte"
    ),
    "hartleys": LossUnit(
        "hartleys per token", float(np.log(10.0)), looks_like="a logarithm to the base 10 of a perplexity"
    ),
    "error": LossUnit("error rate", per=""),
    "mse": LossUnit("mean squared error", per="", headings="mse"),
    PERPLEXITY: LossUnit("perplexity", None, "token", "ppl perplexity", "ppl perplexity perplexities", "a perplexity"),
}
UNITS = {name: unit.said for name, unit in LOSS_UNITS.items()}
NATS_IN = {name: unit.nats for name, unit in LOSS_UNITS.items() if unit.nats is not None}
OTHER_LOSSES = {name for name, unit in LOSS_UNITS.items() if not unit.per}
PER_TOKEN = {name for name, unit in LOSS_UNITS.items() if unit.per == "token"}  # units of one quantity
TEXT_NATS_MIN = 0.4  # per token or byte: below it lies no published cross-entropy of text
LOSS_NATS_MAX = 12.0  # log of a vocabulary of 160 000 tokens, the loss of a uniform guess


def loss_unit(about: Mapping[Any, Any]) -> str:
    """Unit of the losses of runs, a fit or a result, from its attributes; nats where nothing was said."""
    return str(about.get("loss_unit", NATS))


def is_text(losses: np.ndarray, about: Mapping[Any, Any]) -> bool:
    """Whether losses are cross-entropies of text: by their unit if one was stated, else by their size."""
    if "loss_unit" in about:
        return loss_unit(about) not in OTHER_LOSSES
    return bool(np.min(losses) >= TEXT_NATS_MIN)


def to_nats(values: Any, unit: str) -> Any:
    """Losses in nats from losses in a unit of UNITS."""
    if unit == PERPLEXITY:
        with np.errstate(all="ignore"):
            return np.log(values)
    return values * NATS_IN[unit]


def from_nats(values: Any, unit: str) -> Any:
    """Losses in a unit of UNITS from losses in nats."""
    if unit == PERPLEXITY:
        with np.errstate(all="ignore"):
            return np.exp(values)
    return values / NATS_IN[unit]


def in_unit(result: Any, names: tuple[str, ...], unit: str) -> Any:
    """A Dataset with these losses, in nats, turned into a unit, which their attribute ``units`` says."""
    for name in names:
        if unit != NATS:
            result[name] = from_nats(result[name], unit)
        result[name].attrs["units"] = UNITS[unit]
    return result


def values_text(observed: str) -> str:
    """Several of what was observed, in words."""
    return "losses" if observed == "loss" else f"values of {observed}"


def unit_sentence(about: Mapping[Any, Any]) -> str:
    unit = loss_unit(about)
    return f"Losses are {UNITS[unit]}s." if unit in OTHER_LOSSES else f"Losses are in {UNITS[unit]}."
