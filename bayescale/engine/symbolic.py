"""The value of a formula in PyTensor, with the slopes that the other evaluators have: none where a branch is not taken.

PyTensor multiplies the slope 0 of such a branch by what is further inside, and of exp(1000*x) that is infinite: NaN.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bayescale.laws.data_split import LEVEL
from bayescale.laws.formula import Binary, Call, Name, Negative, Node, evaluate, nodes


def has_branches(trees: Iterable[Node]) -> bool:
    """Whether there is a function in these trees that has one value for a whole range of its arguments."""
    return any(type(part) is Call and part.function in LEVEL for tree in trees for part in nodes(tree))


def symbolic(node: Node, values: Mapping[str, Any]) -> Any:
    """The value of a tree; at every operation a slope of 0 that comes from outside stays 0 inside."""
    match node:
        case Negative(of=of):
            return -symbolic(of, values)
        case Binary(op=op, left=left, right=right):
            args = [symbolic(left, values), symbolic(right, values)]
            return _held(Binary(op, Name("0"), Name("1")), args) if op in ("*", "/", "**") else _plain(op, args)
        case Call(function=function, args=args):
            inner = [symbolic(arg, values) for arg in args]
            return _held(Call(function, tuple(Name(str(i)) for i in range(len(inner)))), inner)
    return evaluate(node, values)


def _plain(op: str, args: list[Any]) -> Any:
    return evaluate(Binary(op, Name("0"), Name("1")), {"0": args[0], "1": args[1]})


def _held(operation: Node, args: list[Any]) -> Any:
    """One operation on arguments of one shape, with a pullback of its own."""
    import pytensor
    import pytensor.tensor as pt
    from pytensor.compile.builders import OpFromGraph

    if not any(isinstance(arg, pt.TensorVariable) for arg in args):
        return evaluate(operation, {str(i): arg for i, arg in enumerate(args)})

    def value(inputs: Iterable[Any]) -> Any:
        return evaluate(operation, {str(i): arg for i, arg in enumerate(inputs)})

    def pullback(inputs: list[Any], outputs: list[Any], slopes: list[Any]) -> list[Any]:
        (slope,) = slopes
        inside = pytensor.grad(None, inputs, known_grads={value(inputs): slope}, disconnected_inputs="ignore")
        if isinstance(operation, Binary) and operation.op == "**":  # as in slope.py
            inside[1] = pt.switch(inputs[0] > 0.0, inside[1], 0.0)
        return [pt.switch(pt.eq(slope, 0.0), 0.0, by) for by in inside]

    shaped = pt.broadcast_arrays(*(pt.as_tensor_variable(arg, dtype="float64") for arg in args))
    dummies = [arg.type() for arg in shaped]
    return OpFromGraph(dummies, [value(dummies)], pullback=pullback, inline=True)(*shaped)
