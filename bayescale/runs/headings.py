"""Units that headings give: ``Params (M)``, ``FLOPs (1E21)``, ``tokens_B``, ``loss [bits]``."""

import re
from typing import Any

from bayescale.runs.compute import unit_of

COUNT_UNITS = {
    "K": "k thousand thousands 1e3 10^3",
    "M": "m mn million millions 1e6 10^6",
    "B": "b bn billion billions 1e9 10^9",
    "T": "t tn trillion trillions 1e12 10^12",
}
LOSS_UNITS = {
    "nats": "nat nats nats/token",
    "bits": "bit bits bits/token",
    "bits_per_byte": "bits/byte bits_per_byte bpb",
    "perplexity": "ppl perplexity",
}
CHARACTERS_MAX = 200  # of a heading with a unit
BRACKETED = re.compile(r"(?P<bare>.*\S)\s*[(\[]\s*(?P<unit>[^()\[\]]+?)\s*[)\]]", re.DOTALL)
ENDING = re.compile(
    r"(?P<bare>.+)[\s_-](?P<unit>[KMBT]|thousands?|millions?|billions?|trillions?|bits|nats)", re.DOTALL
)


def unit_in(role: str, name: Any) -> tuple[str, str]:
    """The name of a column without the unit that it ends with, and that unit; the name and "" where it has none."""
    text = str(name).strip()
    if len(text) > CHARACTERS_MAX:
        return text, ""
    found = BRACKETED.fullmatch(text) or ENDING.fullmatch(text)
    unit = _unit(role, found["unit"]) if found else ""
    return (found["bare"], unit) if unit else (text, "")


def _unit(role: str, text: str) -> str:
    """The unit of a role in the spelling of ``--unit``, or ""."""
    if role == "compute":
        return text if unit_of(text) is not None and not text.isdigit() else ""
    units = LOSS_UNITS if role == "loss" else COUNT_UNITS if role in ("params", "tokens") else {}
    plain = text.casefold().replace(" per ", "/").replace(" ", "_")
    return next((unit for unit, spellings in units.items() if plain in spellings.split()), "")
