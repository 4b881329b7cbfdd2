"""The value of a formula in PyTensor, with slope 0 in a branch that is not taken, as in the other evaluators.

PyTensor itself multiplies this 0 by the inner slope, which of exp(1000*x) is infinite: NaN.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bayescale.laws.derivatives import derivatives
from bayescale.laws.formula import Binary, Call, Name, Negative, Node, evaluate
from bayescale.laws.functions import ARGUMENTS


def symbolic(node: Node, values: Mapping[str, Any]) -> Any:
    """The value of a tree; a slope of 0 from outside stays 0 inside."""
    match node:
        case Negative(of=of):
            return -symbolic(of, values)
        case Binary(op=op, left=left, right=right):
            args = [symbolic(left, values), symbolic(right, values)]
            operation = Binary(op, Name("a"), Name("b"))
            return _operated(op, operation, args) if op in ("*", "/", "**") else evaluate(operation, _named(args))
        case Call(function=function, args=args):
            inner = [symbolic(arg, values) for arg in args]
            return _operated(function, Call(function, tuple(map(Name, _named(inner)))), inner)
    return evaluate(node, values)


def _named(args: Iterable[Any]) -> dict[str, Any]:
    return dict(zip(ARGUMENTS, args, strict=False))


def _operated(name: str, operation: Node, args: list[Any]) -> Any:
    """One operation on arguments of one shape, with its derivatives from the table."""
    import pytensor.tensor as pt
    from pytensor.compile.builders import OpFromGraph

    if not any(isinstance(arg, pt.TensorVariable) for arg in args):
        return evaluate(operation, _named(args))

    def pullback(inputs: list[Any], outputs: list[Any], slopes: list[Any]) -> list[Any]:
        known = _named(inputs) | {"v": outputs[0], "d": slopes[0]}
        return [pt.switch(pt.eq(slopes[0], 0.0), 0.0, evaluate(by, known)) for by in derivatives(name)]

    shaped = pt.broadcast_arrays(*(pt.as_tensor_variable(arg, dtype="float64") for arg in args))
    dummies = [arg.type() for arg in shaped]
    return OpFromGraph(dummies, [evaluate(operation, _named(dummies))], pullback=pullback, inline=True)(*shaped)
