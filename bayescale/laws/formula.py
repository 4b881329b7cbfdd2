"""A formula as text -> checked tree -> numpy, xarray, PyTensor, LaTeX.

A law file is a stranger's text. It is parsed with :mod:`ast` against a white-list and turned into the small tree
below; nothing in it is ever executed as Python. The same tree is evaluated by NumPy, xarray and PyTensor, so the
model that is sampled, the forecast and the allocation cannot disagree.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.errors import FormulaError
from bayescale.field import as_float
from bayescale.laws.functions import EVERY_FUNCTION, FUNCTIONS, Function

FORMULA_CHARACTERS_MAX = 2000
NODES_MAX = 1200
DEPTH_MAX = 60
EXPONENT_MAX = 64.0
NAME_CHARACTERS_MAX = 60  # characters: names appear in messages, tables and figures


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Name:
    id: str


@dataclass(frozen=True)
class Negative:
    of: "Node"


@dataclass(frozen=True)
class Binary:
    op: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True)
class Call:
    function: str
    args: tuple["Node", ...]


Node = Number | Name | Negative | Binary | Call


OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
PLAIN_NUMBER = (int, float)


def parse(text: str, functions: Mapping[str, Function] = FUNCTIONS) -> Node:
    """The checked tree of a formula that may call these functions.

    Raises FormulaError if the text is too long, nested too deep, not an expression, or uses anything but numbers,
    names, ``+ - * / **`` and the ``functions``; the message names what was refused.
    """
    if not isinstance(text, str):
        raise FormulaError(f"a formula must be text, not {type(text).__name__}: write it in quotes")
    if len(text) > FORMULA_CHARACTERS_MAX:
        raise FormulaError(f"formula of {len(text)} characters: at most {FORMULA_CHARACTERS_MAX} are allowed")
    if not text.isascii() or not text.isprintable():
        odd = next(c for c in text if not c.isascii() or not c.isprintable())
        raise FormulaError(f"formula has the character {odd!r}: only printable ASCII on one line is allowed")
    if _deepest_bracket(text) > DEPTH_MAX:
        raise FormulaError(f"formula is nested more than {DEPTH_MAX} deep: give parts of it names of their own")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning of odd literals; the tree below refuses them by name
            body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or "it cannot be parsed"
        raise FormulaError(f"formula {_short(text)} is not an expression: {reason}") from None
    tree = _convert(body, text, functions)
    check_exponents(tree, f"formula {_short(text)}")
    if (count := parts(tree)) > NODES_MAX:
        raise FormulaError(f"formula has {count} parts: give parts of it names of their own ({NODES_MAX} are allowed)")
    return tree


def _deepest_bracket(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 62 else f"{text[:57]}...{text[-1]}"


def _convert(node: ast.expr, text: str, functions: Mapping[str, Function], depth: int = 0) -> Node:
    if depth > DEPTH_MAX:
        raise FormulaError(f"formula is nested more than {DEPTH_MAX} deep: give parts of it names of their own")
    match node:
        case ast.Constant(value=value):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise FormulaError(f"{_short(value)} in formula {_short(text)}: only numbers are allowed as constants")
            if not math.isfinite(number := as_float(value)):
                raise FormulaError(f"a number in formula {_short(text)} is too large for a float")
            return Number(number)
        case ast.Name(id=name):
            if len(name) > NAME_CHARACTERS_MAX:
                raise FormulaError(
                    f"the name {_short(name)} in formula has {len(name)} characters; {NAME_CHARACTERS_MAX} are allowed"
                )
            return Name(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Negative(_convert(operand, text, functions, depth + 1))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _convert(operand, text, functions, depth + 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            sides = (_convert(side, text, functions, depth + 1) for side in (left, right))
            return Binary(OPERATORS[type(op)], *sides)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            if name not in functions:
                raise FormulaError(
                    f"unknown function {_short(name)} in formula; the functions are {', '.join(functions)}"
                )
            if len(args) != functions[name].arity:
                raise FormulaError(f"function '{name}' takes {functions[name].arity} argument(s), {len(args)} given")
            return Call(name, tuple(_convert(arg, text, functions, depth + 1) for arg in args))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        raise FormulaError(f"'^' in formula {_short(text)} is not a power here: write ** for powers")
    segment = ast.get_source_segment(text.strip(), node) or type(node).__name__
    raise FormulaError(
        f"{_describe(node)} {_short(segment)} is not allowed in a formula; "
        "allowed are numbers, names, + - * / ** and functions such as exp, log, minimum"
    )


def _describe(node: ast.expr) -> str:
    kinds = {
        ast.Attribute: "attribute access",
        ast.Call: "the call",
        ast.Subscript: "indexing",
        ast.Compare: "a comparison",
        ast.Lambda: "a lambda",
        ast.IfExp: "a condition",
        ast.BoolOp: "a logical operator",
        ast.NamedExpr: "an assignment",
        ast.JoinedStr: "a text",
        ast.Starred: "unpacking",
    }
    return kinds.get(type(node), f"the construct {type(node).__name__}")


def check_exponents(tree: Node, where: str) -> None:
    """Refuse constant exponents that can only overflow (9**9**9), before anything is computed."""
    for part in nodes(tree):
        if type(part) is Binary and part.op == "**" and not names(part.right):
            value = constant(part.right)
            if not abs(value) <= EXPONENT_MAX:
                raise FormulaError(f"exponent {value:g} in {where}: at most {EXPONENT_MAX:g} in size is allowed")


def names(node: Node) -> set[str]:
    """The free names of a tree."""
    return {part.id for part in nodes(node) if type(part) is Name}


def parts(node: Node) -> int:
    """How many numbers, names and operations a tree has."""
    return sum(1 for _ in nodes(node))


def nodes(node: Node) -> Iterator[Node]:
    """A tree and all its parts, in no order to rely on."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        yield part
        if type(part) is Binary:
            waiting += (part.left, part.right)
        elif type(part) is Call:
            waiting += part.args
        elif type(part) is Negative:
            waiting.append(part.of)


def substitute(node: Node, trees: Mapping[str, Node]) -> Node:
    """The tree with other trees in the place of some of its names."""
    match node:
        case Name(id=name):
            return trees.get(name, node)
        case Negative(of=of):
            return Negative(substitute(of, trees))
        case Binary(op=op, left=left, right=right):
            return Binary(op, substitute(left, trees), substitute(right, trees))
        case Call(function=function, args=args):
            return Call(function, tuple(substitute(arg, trees) for arg in args))
    return node


def constant(node: Node) -> float:
    """The value of a tree without names; not finite where it overflows or is not a number."""
    return float(evaluate(node, {}))


def evaluate(node: Node, values: Mapping[str, Any]) -> Any:
    """The value of a tree: floats and arrays by NumPy, DataArrays by xarray, PyTensor variables symbolically.

    The back end of every function is chosen by the type of its own arguments. Overflow gives inf and an invalid
    operation NaN, as in NumPy, without a warning: whoever uses the result checks that it is finite.
    """
    with np.errstate(all="ignore"):
        return _evaluate(node, values)


def _evaluate(node: Node, values: Mapping[str, Any]) -> Any:
    # called millions of times for small arrays: plain tests of the type take a third of the time of a match statement
    if type(node) is Binary:
        a, b = _evaluate(node.left, values), _evaluate(node.right, values)
        if isinstance(a, PLAIN_NUMBER) and isinstance(b, PLAIN_NUMBER):
            # Python numbers raise where NumPy gives inf or NaN, and a power of two large integers never ends
            a = np.float64(a)
        return ARITHMETIC[node.op](a, b)
    if type(node) is Name:
        try:
            return values[node.id]
        except KeyError:
            raise FormulaError(f"no value for '{node.id}'; values were given for {sorted(values)}") from None
    if type(node) is Number:
        return node.value
    if type(node) is Call:
        return EVERY_FUNCTION[node.function](*(_evaluate(arg, values) for arg in node.args))
    if type(node) is Negative:
        return -_evaluate(node.of, values)
    raise TypeError(f"not a formula tree: {node!r}")


GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
}


def latex(node: Node) -> str:
    r"""The tree as LaTeX: ``A*N**(-alpha)`` becomes ``A \, N^{-\alpha}``."""
    return _latex(node)[0]


def _latex(node: Node) -> tuple[str, int]:
    """Rendered text and its precedence (5: atom), so that brackets stand just where they are needed."""

    def bracket(inner: Node, least: int) -> str:
        text, precedence = _latex(inner)
        return text if precedence >= least else rf"\left({text}\right)"

    match node:
        case Number(value=value):
            text = f"{value:.10g}"
            mantissa, e, exponent = text.partition("e")
            return (rf"{mantissa} \cdot 10^{{{int(exponent)}}}", 2) if e else (text, 5)
        case Name(id=name):
            return _latex_name(name), 5
        case Negative(of=of):
            return f"-{bracket(of, 2)}", 1
        case Binary(op="+", left=left, right=right):
            return f"{bracket(left, 1)} + {bracket(right, 2)}", 1
        case Binary(op="-", left=left, right=right):
            return f"{bracket(left, 1)} - {bracket(right, 2)}", 1
        case Binary(op="*", left=left, right=right):
            return rf"{bracket(left, 2)} \, {bracket(right, 3)}", 2
        case Binary(op="/", left=left, right=right):
            return rf"\frac{{{latex(left)}}}{{{latex(right)}}}", 3
        case Binary(left=left, right=right):
            return f"{bracket(left, 5)}^{{{latex(right)}}}", 4
        case Call(function=function, args=args):
            return FUNCTIONS[function].latex.format(*(latex(arg) for arg in args)), 5
    raise TypeError(f"not a formula tree: {node!r}")


def _latex_name(name: str) -> str:
    head, _, tail = name.partition("_")
    head = rf"\{head}" if head in GREEK else head if len(head) == 1 else rf"\mathrm{{{head}}}"
    if not tail:
        return head
    tail = tail.replace("_", ",")
    return f"{head}_{{{tail}}}" if len(tail) == 1 else rf"{head}_{{\mathrm{{{tail}}}}}"
