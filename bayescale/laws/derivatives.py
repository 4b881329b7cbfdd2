"""The derivative of every operation, as formulas: the one table for compiled code, PyTensor and slopes by NumPy."""

import functools

from bayescale.laws.formula import Node, parse
from bayescale.laws.functions import FUNCTIONS, INNER

# by each argument, times d; see functions.Function.derivatives
OPERATOR_DERIVATIVES = {
    "+": ("d", "d"),
    "-": ("d", "-d"),
    "*": ("d*b", "d*a"),
    "/": ("d/b", "-(d/b)*v"),
    # by the exponent: of a base that is not above 0 none, for the exponent is a whole number there, and stays one
    "**": ("d*b*a**(b - 1)", "at_most(a, 0, 0, at_most(v, 0, 0, d*v*log(a)))"),
    "negative": ("-d",),
}


@functools.cache
def derivatives(operation: str) -> tuple[Node, ...]:
    """The derivative of an operator or function by each of its arguments: formulas of a, b, the value v, and d.

    d is the derivative by the value, and a factor of each.
    """
    known = FUNCTIONS | INNER
    texts = OPERATOR_DERIVATIVES[operation] if operation in OPERATOR_DERIVATIVES else known[operation].derivatives
    return tuple(parse(text, known) for text in texts)
