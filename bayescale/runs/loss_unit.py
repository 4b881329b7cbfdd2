"""The unit of a loss: nats inside, the user's unit outside; and whether a loss is a cross-entropy of text at all.

All conversions are monotone, so quantiles can be converted like draws.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

NATS = "nats"
NATS_IN = {NATS: 1.0, "bits": float(np.log(2.0)), "bits_per_byte": float(np.log(2.0))}  # nats in one of the unit
NATS_IN |= {"hartleys": float(np.log(10.0))}  # the logarithm to the base 10 of a perplexity
PERPLEXITY = "perplexity"
OTHER_LOSSES = {"error": "error rate", "mse": "mean squared error"}  # no cross-entropies; they stay as they are
NATS_IN |= dict.fromkeys(OTHER_LOSSES, 1.0)
UNITS = {NATS: "nats per token", "bits": "bits per token", "bits_per_byte": "bits per byte", PERPLEXITY: "perplexity"}
UNITS |= {"hartleys": "hartleys per token"}
UNITS |= OTHER_LOSSES
PER_TOKEN = {NATS, "bits", "hartleys", PERPLEXITY}  # units of one quantity
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


def unit_sentence(about: Mapping[Any, Any]) -> str:
    unit = loss_unit(about)
    return f"Losses are {UNITS[unit]}s." if unit in OTHER_LOSSES else f"Losses are in {UNITS[unit]}."
