"""The value of a formula and its exact derivative along a direction, by NumPy (forward differentiation).

Near a flat minimum a difference of two losses is rounding error; the derivative has none, as the irreducible loss drops
out of it.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bayescale.laws.derivatives import derivatives
from bayescale.laws.formula import ARITHMETIC, Binary, Call, Name, Negative, Node, Number, evaluate

# the derivative of an operator by either side, of both sides and the value
BY_SIDE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "+": (lambda a, b, v: 1.0, lambda a, b, v: 1.0),
    "-": (lambda a, b, v: 1.0, lambda a, b, v: -1.0),
    "*": (lambda a, b, v: b, lambda a, b, v: a),
    "/": (lambda a, b, v: 1 / b, lambda a, b, v: -v / b),
    "**": (lambda a, b, v: b * a ** (b - 1), lambda a, b, v: np.where((a > 0) & (v != 0), v * np.log(a), 0.0)),
}


def value_and_slope(node: Node, values: Mapping[str, Any], slopes: Mapping[str, Any]) -> tuple[Any, Any]:
    """The value of a tree and its derivative along ``slopes``, the derivatives of the names (0 where not given).

    The slope is None where the tree has none of these names. At a kink of minimum and maximum it is that of the first
    argument, of abs the upper one. A power of a negative base has no slope by its exponent, a whole number. A slope of
    0 times an infinite derivative is 0, as in a branch that is not taken.
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
            by_left, by_right = (functools.partial(by, a, b, value) for by in BY_SIDE[op])
            return value, _add(_times(da, by_left), _times(db, by_right))
        case Call(function=name, args=args):
            return _call(name, [_walk(arg, values, slopes) for arg in args])
    raise TypeError(f"not a formula tree: {node!r}")


def _call(name: str, args: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    values = dict(zip("ab", (value for value, _ in args), strict=False))
    values["v"] = value = evaluate(Call(name, tuple(map(Name, values))), values)
    slope = None
    for (_, moves), by in zip(args, derivatives(name), strict=True):
        slope = _add(slope, _times(moves, functools.partial(evaluate, by, values | {"d": 1.0})))
    return value, slope


def _times(slope: Any, factor: Callable[[], Any]) -> Any:
    if slope is None:
        return None
    by = factor()
    product = slope * by
    if np.isnan(np.min(product)):
        return np.where((slope == 0) | (by == 0), 0.0, product)
    return product


def _add(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b
