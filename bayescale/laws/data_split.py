"""Formulas prepared for a sampler: numbers folded, parts that are data split off, powers rewritten."""

from collections.abc import Collection, Mapping

from bayescale.laws.formula import Binary, Call, Name, Negative, Node, Number, constant, names, nodes, substitute
from bayescale.laws.functions import EVERY_FUNCTION


def fold(trees: Mapping[str, Node]) -> dict[str, Node]:
    """The trees, in order, with numbers in the place of names that stand for numbers: ``k = "2"``, ``half = "k/4"``."""
    numbers: dict[str, Node] = {}
    folded = {}
    for key, tree in trees.items():
        folded[key] = tree = substitute(tree, numbers) if numbers else tree
        if not names(tree):
            numbers[key] = Number(constant(tree))
    return folded


def has_level(tree: Node) -> bool:
    """Whether a function in a tree is constant over a range of its arguments."""
    return any(type(part) is Call and "level" in EVERY_FUNCTION[part.function].traits.split() for part in nodes(tree))


def split_data(
    trees: Mapping[str, Node], known: Collection[str], parameters: Collection[str], constants: Collection[str] = ()
) -> tuple[dict[str, Node], dict[str, Node]]:
    """Split off what depends on ``known`` names alone, so that a sampler need not compute it again and again.

    ``trees`` are in order: later ones may use the names of earlier ones. Returns the trees with those parts replaced
    by names ``data_0``, ``data_1``, ... and the trees of these.

    A power whose exponent depends on ``parameters`` becomes exp(exponent * log(base)), which is several times cheaper:
    in (N/N_ref)**(-alpha) the logarithm is data. For a negative base both are NaN, unless the exponent is a whole
    number. So a power stays a power where its exponent may be whole over a range of the parameters: where it is data or
    level, or where data may cancel the parameters (1 + a*x at x = 0) and the base is not data. Reference ``constants``,
    one number for all runs, cancel nothing.
    """
    known, moving, fixed = set(known), set(parameters), set(constants)
    parts: dict[Node, str] = {}

    def moves(exponent: Node, everywhere: bool = True) -> bool:
        free = names(exponent)
        if free.isdisjoint(moving) or has_level(exponent):
            return False
        return free <= moving | fixed if everywhere else True

    def positive(base: Node) -> bool:
        return names(base) <= known if names(base) else constant(base) > 0

    def walk(part: Node) -> Node:
        free = names(part)
        if free and free <= known:
            return Name(parts.setdefault(part, f"data_{len(parts)}"))
        match part:
            case Negative(of=of):
                return Negative(walk(of))
            case Binary(op="**", left=left, right=right) if moves(right, everywhere=not positive(left)):
                return Call("exp", (Binary("*", walk(right), walk(Call("log", (left,)))),))
            case Binary(op=op, left=left, right=right):
                return Binary(op, walk(left), walk(right))
            case Call(function=function, args=args):
                return Call(function, tuple(walk(arg) for arg in args))
        return part

    split = {}
    for key, tree in fold(trees).items():
        moving |= {key} if moves(tree) else set()
        fixed |= {key} if names(tree) <= fixed else set()
        if names(tree) <= known:
            known.add(key)
        else:
            split[key] = walk(tree)
    return split, {name: part for part, name in parts.items()}
