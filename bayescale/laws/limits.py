"""Limits of law files: how many parts, which numbers, how long they take to compile."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from bayescale.errors import FormulaError, LawError
from bayescale.field import as_float, shown
from bayescale.laws.data_split import fold
from bayescale.laws.formula import (
    Binary,
    Call,
    Name,
    Negative,
    Node,
    check_exponents,
    constant,
    names,
    nodes,
    parts,
    substitute,
)
from bayescale.laws.functions import FUNCTIONS
from bayescale.laws.priors import DISTRIBUTIONS, Prior

PREDICTED = "predicted"  # what the formula gives, among the names of its parts
PARTS_MAX = 2000  # numbers, names and operations of all formulas together: what is compiled for a sampler
COMPILE_SECONDS_MAX = 40.0  # of what is sampled, estimated; of the laws that come with bayescale, 15 at most
POWER_MILLISECONDS, ARITHMETIC_MILLISECONDS = 100, 15  # to compile one, see functions.Function.milliseconds


def check_size(trees: Iterable[Node], where: str) -> None:
    """Raise LawError where formulas are too large to compile."""
    count = sum(map(parts, trees))
    if count > PARTS_MAX:
        raise LawError(
            f"{where}: its formulas have {count} numbers, names and operations together; "
            f"at most {PARTS_MAX} are allowed"
        )


def check_constants(trees: Mapping[str, Node], tree: Node, where: str) -> None:
    """Raise LawError where a constant is not finite, or an exponent is not allowed."""
    *subs, (_, formula) = fold({**trees, PREDICTED: tree}).items()
    for key, folded in (*((f"where.{key}", sub) for key, sub in subs), ("formula", formula)):
        if not names(folded):
            finite(constant(folded), f"{where}: {key}")
        try:
            check_exponents(folded, key)
        except FormulaError as error:
            raise LawError(f"{where}: {error}") from None


def check_compile_time(trees: Mapping[str, Node], tree: Node, priors: Mapping[str, Prior], where: str) -> None:
    """Raise LawError where formulas and priors take too long to compile."""
    sampled = [*trees.values(), tree]
    for key, prior in priors.items():
        own = {"u": Name(f"real {key}"), "x": Name(key)}
        distribution = DISTRIBUTIONS[prior.dist]
        sampled += (substitute(part, own) for part in (distribution.value, distribution.log_density))
    if (seconds := compile_seconds(sampled)) > COMPILE_SECONDS_MAX:
        raise LawError(
            f"{where}: its formulas and priors would take about {seconds:.0f} s to compile; at most "
            f"{COMPILE_SECONDS_MAX:g} s are allowed; use fewer calls of functions such as exp, tanh, and minimum"
        )


def compile_seconds(trees: Iterable[Node]) -> float:
    """Estimated time that Numba takes for a density of these trees; a repeated part is compiled once."""
    operations = {part for tree in trees for part in nodes(tree)}
    return sum(map(_milliseconds, operations)) / 1000


def _milliseconds(operation: Node) -> int:
    match operation:
        case Call(function=function):
            return FUNCTIONS[function].milliseconds
        case Binary(op="**", right=right):
            return FUNCTIONS["exp"].milliseconds + FUNCTIONS["log"].milliseconds if names(right) else POWER_MILLISECONDS
        case Binary() | Negative():
            return ARITHMETIC_MILLISECONDS
    return 0


def finite(value: Any, what: str) -> float:
    """A number of a law file, checked."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LawError(f"{what} must be a finite number, not {shown(value)}")
    if not math.isfinite(number := as_float(value)):
        raise LawError(f"{what} must be a finite number, not {number}")
    return number
