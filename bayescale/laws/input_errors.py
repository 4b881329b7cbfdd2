"""How errors of a run's inputs, and of what was observed, add to its scatter: to first order, through the law's slope.

A run whose input x is known to an error of sd s scatters by s |dy/dx| besides, y the law as it scatters: the slope
depends on the parameters, and is a formula as the law is. Errors of inputs are independent of each other.
"""

import functools
from collections.abc import Collection

from bayescale.errors import FitError
from bayescale.laws.derivatives import derivative
from bayescale.laws.formula import Binary, Name, Node, Number, nodes, parse, substitute
from bayescale.laws.groups import GROUP
from bayescale.laws.law_file import Law, column
from bayescale.laws.noises import NOISES, OF_SCALE

OF_OBSERVED = "known_error"  # sd of the error of what was observed, as it scatters
# the slope of what scatters, from that of the law
PASSED_ON = {
    "log": parse("slope/predicted"),
    "linear": parse("slope/unit"),
    "share": parse("slope/(predicted*(1 - predicted))"),
}


def input_roles(law: Law) -> dict[str, str]:
    """Role of the standard errors of every input that has any -> its symbol: ``params_se`` of N; counts have none."""
    if law.observed.scale not in PASSED_ON:
        return {}
    return {f"{column(symbol)}_se": symbol for symbol in law.inputs if symbol != GROUP}


def slope_name(role: str) -> str:
    """The name of the law's slope by the input that the role is of; no name of a formula has a space."""
    return f"slope {role}"


@functools.lru_cache(maxsize=128)
def slopes(law: Law, roles: tuple[str, ...]) -> dict[str, Node]:
    """The derivatives of a law's formula by the inputs of these roles, by :func:`slope_name`.

    Raises FitError if the formula has a function without a second derivative.
    """
    whole: dict[str, Node] = {}
    for key, tree in law.where.items():
        whole[key] = substitute(tree, whole)
    formula, symbols, found = substitute(law.tree, whole), input_roles(law), {}
    for role in roles:
        slope = derivative(formula, symbols[role]) or Number(0.0)
        if any(getattr(part, "function", "") == "digamma" for part in nodes(slope)):
            raise FitError(f"law '{law.name}': {role} cannot be used, as its formula has gammaln of {symbols[role]}")
        found[slope_name(role)] = slope
    return found


def known_variance(scale: str, known: Collection[str], noise: str) -> Node:
    """What is known of the variance of a run, in squared units of the scale of its noise.

    A formula of ``known``, ``slope ROLE``, ``predicted`` and ``unit``.
    """
    terms: list[Node] = [Name(OF_OBSERVED)] if OF_OBSERVED in known else []
    for role in known:
        if role.endswith("_se"):
            terms.append(Binary("*", substitute(PASSED_ON[scale], {"slope": Name(slope_name(role))}), Name(role)))
    if (spread := NOISES[noise].spread) != OF_SCALE:
        per = substitute(spread, {"scale": Number(1.0), "share": Name("predicted")})
        terms = [Binary("/", term, per) for term in terms]
    total: Node = Number(0.0)
    for term in terms:
        square = Binary("**", term, Number(2.0))
        total = square if total == Number(0.0) else Binary("+", total, square)
    return total
