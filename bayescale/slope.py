"""The value of a formula and its exact derivative along a direction, by NumPy (forward differentiation).

A difference of two losses near a flat minimum is rounding error; the derivative is not: the irreducible loss drops out
of it before anything is subtracted.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy

from bayescale.formula import ARITHMETIC, FUNCTIONS, Binary, Call, Name, Negative, Node, Number

# derivative of each function of one argument, given the argument and the function's value there
SLOPES: dict[str, Callable[[Any, Any], Any]] = {
    "exp": lambda x, value: value,
    "log": lambda x, value: 1 / x,
    "log10": lambda x, value: 1 / (x * np.log(10.0)),
    "log1p": lambda x, value: 1 / (1 + x),
    "expm1": lambda x, value: value + 1,
    "sqrt": lambda x, value: 0.5 / value,
    "abs": lambda x, value: np.sign(x),
    "tanh": lambda x, value: 1 - value**2,
    "sigmoid": lambda x, value: value * (1 - value),
    "gammaln": lambda x, value: scipy.special.digamma(x),
}
STEP = 1e-5  # of the central difference for a function that the table does not know


def value_and_slope(node: Node, values: Mapping[str, Any], slopes: Mapping[str, Any]) -> tuple[Any, Any]:
    """The value of a tree and its derivative, when every name moves as fast as ``slopes`` says (others stand still).

    The slope is None where nothing in the tree moves. At a kink of minimum, maximum and abs it is that of one side.
    """
    with np.errstate(all="ignore"):
        return _walk(node, values, slopes)


def _walk(node: Node, values: Mapping[str, Any], slopes: Mapping[str, Any]) -> tuple[Any, Any]:
    match node:
        case Number(value=value):
            return np.float64(value), None
        case Name(id=name):
            return values[name], slopes.get(name)
        case Negative(of=of):
            value, slope = _walk(of, values, slopes)
            return -value, None if slope is None else -slope
        case Binary(op=op, left=left, right=right):
            (a, da), (b, db) = _walk(left, values, slopes), _walk(right, values, slopes)
            value = ARITHMETIC[op](np.asarray(a), b)
            return value, _add(_times(da, lambda: _by_left(op, a, b)), _times(db, lambda: _by_right(op, a, b, value)))
        case Call(function=name, args=args):
            return _call(name, [_walk(arg, values, slopes) for arg in args])
    raise TypeError(f"not a formula tree: {node!r}")


def _by_left(op: str, a: Any, b: Any) -> Any:
    return {"+": lambda: 1.0, "-": lambda: 1.0, "*": lambda: b, "/": lambda: 1 / b, "**": lambda: b * a ** (b - 1)}[
        op
    ]()


def _by_right(op: str, a: Any, b: Any, value: Any) -> Any:
    return {
        "+": lambda: 1.0,
        "-": lambda: -1.0,
        "*": lambda: a,
        "/": lambda: -value / b,
        "**": lambda: value * np.log(a),
    }[op]()


def _call(name: str, args: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    value = FUNCTIONS[name].numpy(*(arg for arg, _ in args))
    if all(slope is None for _, slope in args):
        return value, None
    if len(args) == 1:
        (x, dx) = args[0]
        return value, dx * (SLOPES[name](x, value) if name in SLOPES else _difference(name, [x], 0))
    (a, da), (b, db) = args
    if name in ("minimum", "maximum"):
        first = a <= b if name == "minimum" else a >= b
        return value, np.where(first, 0.0 if da is None else da, 0.0 if db is None else db)
    if name == "logaddexp":
        by_a, by_b = scipy.special.expit(a - b), scipy.special.expit(b - a)
        return value, _add(_times(da, lambda: by_a), _times(db, lambda: by_b))
    parts = [_times(d, lambda i=i: _difference(name, [a, b], i)) for i, d in enumerate((da, db))]
    return value, _add(*parts)


def _difference(name: str, at: list[Any], which: int) -> Any:
    step = STEP * np.maximum(1.0, np.abs(at[which]))
    ends = [
        FUNCTIONS[name].numpy(*(x + sign * step if i == which else x for i, x in enumerate(at))) for sign in (1, -1)
    ]
    return (ends[0] - ends[1]) / (2 * step)


def _times(slope: Any, factor: Callable[[], Any]) -> Any:
    return None if slope is None else slope * factor()


def _add(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b
