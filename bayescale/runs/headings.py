"""Units that headings give: ``Params (M)``, ``FLOPs (1E21)``, ``tokens_b``, ``loss [bits]``, ``pf_days``."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from bayescale.runs.loss_unit import LOSS_UNITS
from bayescale.runs.size_unit import NAMED_UNITS, WORD, counts_in, flop_in, unit_name, unit_named
from bayescale.runs.spellings import COUNT_MEDIAN_MIN

UNIT_HEADING_CHARACTERS_MAX = 200  # of a heading with a unit
BRACKETED = re.compile(r"(?P<bare>.*\S)\s*[(\[（]\s*(?P<unit>[^()\[\]（）]+?)\s*[)\]）]", re.DOTALL)
ENDING = re.compile(
    rf"(?P<bare>.+?)[\s_-]+(?:in[\s_-]+)?(?P<unit>{WORD}|1e[0-9]{{1,2}}|bits|nats)",
    re.DOTALL | re.IGNORECASE,
)
DIVIDED = re.compile(r"(?P<bare>.*\S)\s*[/÷]\s*(?P<unit>1e[0-9]+|10\^[0-9]+|millions?|billions?|trillions?)", re.DOTALL)
CAPITAL = re.compile(
    r"(?P<bare>.*[a-z])(?P<unit>[KMBT])|(?P<first>[kKMBTG])(?P<rest>[Pp]arams|[Tt]ok(?:en)?s?)", re.DOTALL
)
FACTOR = re.compile(  # in M, x 1e6, $10^6$, M, without embeddings
    r"^(?:in\s+|[x×]\s*(?=1))|\s*\*$|\$|,.*", re.IGNORECASE | re.DOTALL
)
COUNTED = re.compile(r"\s(param(?:eter)?s|tok(?:en)?s)$", re.IGNORECASE)  # in a unit: what it counts, M parameters
FUNCTION = re.compile("log|ln|lg|log_?2|log_?10|exp", re.IGNORECASE)
LOGARITHMS = {"log10": 10.0, "log2": 2.0, "ln": float(np.e)}  # units of columns that have logarithms of sizes: bases
LOGARITHM = re.compile(
    r"(?P<base>log_?10|log_?2|l[ng](?=[\s_(-]))[\s_-]*\(?\s*(?P<bare>[^()]+?)\s*\)?|"
    r"(?P<before>.+?)[\s_-]*(?:[(\[]\s*(?P<after>log_?10|log_?2|ln)\s*[)\]]|(?<=[\s_-])(?P<last>log_?10|log_?2))",
    re.DOTALL | re.IGNORECASE,
)
LOGARITHM_MAX = 75.0  # of a size, to any base: that of 1e32
HEADING_MARKS = " *†‡§¶¹↓↑"  # of footnotes, and of what is better
NUMBERED_MARK = re.compile(r"(?<=[)\]])\s*[²³⁴⁵⁶⁷⁸⁹]$|(?<=\S)\s*\[[0-9]{1,2}\]$")
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
RAISED_POWER = re.compile(r"(?<![0-9])10([⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+)")
COMPUTE_ENDING = re.compile(  # no kFLOP or MFLOP: the M of "mflops" may be "model"
    r"(?P<bare>.*?)[\s_-]*(?P<unit>(?:giga|tera|peta|exa|zetta|[gtpez])flops?|[gtpez]?macs?|"
    r"(?:[gtpez]f|[gtpez]flops?|(?:giga|tera|peta|exa|zetta)-?flops?)(?:[\s_/-]*s)?[\s_/-]*(?:days?|hours?))",
    re.DOTALL | re.IGNORECASE,
)


def unit_in(role: str, name: Any, numbers: Callable[[Any], np.ndarray | None] | None = None) -> tuple[str, str]:
    """The name of a column without the unit that it ends with, and that unit; the name and "" where it has none.

    ``numbers`` of a column by its name, if given, decide what a letter at the end means: ``tokens_b`` are billions only
    where its numbers are too small for counts.
    """
    text = str(name).strip()
    if len(text) > UNIT_HEADING_CHARACTERS_MAX:
        return text, ""
    text = powers_written(NUMBERED_MARK.sub("", text.rstrip(HEADING_MARKS)))
    if (logarithm := LOGARITHM.fullmatch(text)) and role in ("params", "tokens", "compute"):
        base = (logarithm["base"] or logarithm["after"] or logarithm["last"]).casefold().replace("_", "")
        base = "log10" if base == "lg" else base
        return logarithm["bare"] or logarithm["before"], base
    bracketed = BRACKETED.fullmatch(text) or DIVIDED.fullmatch(text)
    found = bracketed or ENDING.fullmatch(text)
    bare, ending = (found["bare"], found["unit"]) if found else (text, "")
    if FUNCTION.fullmatch(bare):  # ln(ppl)
        return text, ""
    if said := COUNTED.search(ending):
        bare, ending = f"{bare} {said[1]}", ending[: said.start()]
    if not found and (capital := CAPITAL.fullmatch(text)):
        bare, ending = capital["bare"] or capital["rest"], capital["unit"] or capital["first"]
    if unit := _unit(role, ending):
        values = numbers(name) if numbers and text.endswith(ending) and len(ending) == 1 else None
        counts = values is not None and np.nanmedian(values) >= COUNT_MEDIAN_MIN.get(role, np.inf)
        return (text, "") if counts else (bare, unit)
    if role == "compute" and (found := COMPUTE_ENDING.fullmatch(text)) and (factor := flop_in(found["unit"])):
        bare = found["bare"]
        named = "compute" in bare.casefold() or "flop" in bare.casefold()
        name = unit_name(factor)
        return bare if named else f"{bare}_flops".lstrip("_"), name if name in NAMED_UNITS else found["unit"]
    return text, ""


def factor_of(role: str, unit: str) -> float | None:
    """What a number in a unit of a role is multiplied by, or None where it has no such unit.

    A perplexity is no multiple of nats, its logarithm is taken; that unit has the factor 1.
    """
    if role == "loss":
        return LOSS_UNITS[unit].nats or 1.0 if unit in LOSS_UNITS else None
    return (flop_in if role == "compute" else counts_in)(unit)


def powers_written(text: str) -> str:
    """A text with 10^9 where it has 10⁹."""
    return RAISED_POWER.sub(lambda found: f"10^{found[1].translate(RAISED)}", text)


def named_by_unit(name: Any) -> bool:
    """Whether a column is called by a unit of compute: ``train_pflops``, ``pf_days``, ``macs``."""
    return COMPUTE_ENDING.fullmatch(str(name).strip()[:UNIT_HEADING_CHARACTERS_MAX]) is not None


def may_be_speed(name: Any) -> bool:
    """Whether a column is called by such a unit and nothing else, as FLOP a second or a pass are: ``tflops``."""
    found = COMPUTE_ENDING.fullmatch(str(name).strip()[:UNIT_HEADING_CHARACTERS_MAX])
    return found is not None and not found["bare"] and found["unit"].casefold().rstrip("s").endswith(("flop", "mac"))


def names_unit(text: str) -> bool:
    """Whether a text is a unit of a role, and nothing else."""
    return any(_unit(role, text) for role in ("params", "tokens", "loss", "compute"))


def _unit(role: str, text: str) -> str:
    """The unit of a role in the spelling of ``--unit``, or ""."""
    text = FACTOR.sub("", text)
    if role == "compute":
        return text if flop_in(text) is not None and not text.isdigit() else ""
    if role in ("params", "tokens"):
        return unit_named(text)
    if role != "loss":  # activation_bits are no loss
        return ""
    plain = re.sub("/tok(?:en)?$", "", text.casefold().replace(" per ", "/").replace(" ", "_"))
    return next((unit for unit, one in LOSS_UNITS.items() if plain in one.headings.split()), "")
