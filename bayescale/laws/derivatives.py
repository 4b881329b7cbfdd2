"""The derivative of every operation, as formulas: the one table for compiled code, PyTensor and slopes by NumPy.

And that of a whole formula, as a formula.
"""

import functools

from bayescale.laws.formula import Binary, Call, Name, Negative, Node, Number, parse, substitute
from bayescale.laws.functions import ARGUMENTS, EVERY_FUNCTION

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
    """The derivative of an operator or function by each of its arguments: formulas of a, b, ..., the value v, and d.

    d is the derivative by the value, and a factor of each.
    """
    texts = (
        OPERATOR_DERIVATIVES[operation] if operation in OPERATOR_DERIVATIVES else EVERY_FUNCTION[operation].derivatives
    )
    return tuple(parse(text, EVERY_FUNCTION) for text in texts)


def derivative(node: Node, by: str) -> Node | None:
    """The derivative of a tree by a name; None where the tree does not have it."""
    args: tuple[Node, ...]
    match node:
        case Name(id=name):
            return Number(1.0) if name == by else None
        case Negative(of=of):
            operation, args = "negative", (of,)
        case Binary(op=op, left=left, right=right):
            operation, args = op, (left, right)
        case Call(function=function, args=given):
            operation, args = function, given
        case _:
            return None
    known, total = dict(zip(ARGUMENTS, args, strict=False)) | {"v": node}, None
    for arg, slope in zip(args, derivatives(operation), strict=True):
        moves = derivative(arg, by)
        if moves is not None:
            term = substitute(slope, known | {"d": moves})
            total = term if total is None else Binary("+", total, term)
    return total
