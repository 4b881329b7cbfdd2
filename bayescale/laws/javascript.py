"""A law as JavaScript, from the same tree that is sampled: what a page needs to evaluate it without Python."""

import json
from collections.abc import Mapping

from bayescale.field import TRAINING
from bayescale.laws.formula import Binary, Call, Name, Negative, Node, Number, names, parse
from bayescale.laws.functions import FUNCTIONS
from bayescale.laws.law import Law, split_law
from bayescale.laws.limits import PREDICTED

# C and NumPy say that any power of 1 is 1, JavaScript does not
POWER = "(a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b))"
_OWN = {row.name: row.javascript for row in FUNCTIONS.values() if "=>" in row.javascript}
HELPERS = "".join(f"const {name} = {code};\n" for name, code in ({"power": POWER} | _OWN).items())


def javascript(node: Node) -> str:
    """The tree as a JavaScript expression; every name gets a ``$`` before it, so that none is a word of JavaScript."""
    match node:
        case Number(value=value):
            return repr(value) if value >= 0 else f"({value!r})"
        case Name(id=name):
            return f"${name}"
        case Negative(of=of):
            return f"(-{javascript(of)})"
        case Binary(op="**", left=left, right=right):
            return f"power({javascript(left)}, {javascript(right)})"
        case Binary(op=op, left=left, right=right):
            return f"({javascript(left)} {op} {javascript(right)})"
        case Call(function=function, args=args):
            called = function if function in _OWN else FUNCTIONS[function].javascript
            return f"{called}({', '.join(map(javascript, args))})"
    raise TypeError(f"not a formula tree: {node!r}")


def law_script(law: Law, fixed: Mapping[str, float], compute: str = TRAINING) -> str:
    """Source of an object with ``parameters`` (their names), ``prepare``, ``loss`` and ``compute``.

    ``prepare`` takes the parameters in that order and returns a list of what the loss needs of them, computed once a
    draw; ``loss(list, start, N, D)`` reads it from position ``start`` of an array.

    Parameters
    ----------
    fixed : reference constants, and inputs of the law besides N, D and C, by symbol
    compute : C as a formula of N and D; in the object ``compute(N, D)``
    """
    known = {*law.priors, *fixed}
    trees, parts = split_law(law, known)
    before: dict[str, Node] = {}
    for name, tree in law.where.items():
        if names(tree) <= known | set(before):
            before[name] = tree
    lines = [f"  const ${name} = {value!r};" for name, value in fixed.items()]
    return "\n".join(
        [
            "(() => {",
            *lines,
            f"  const prepare = ({', '.join(f'${name}' for name in law.priors)}) => {{",
            *(f"    const ${name} = {javascript(tree)};" for name, tree in before.items()),
            f"    return [{', '.join(javascript(part) for part in parts.values())}];",
            "  };",
            f"  const compute = ($N, $D) => {javascript(parse(compute))};",
            "  const loss = (known, start, $N, $D) => {",
            "    const $C = compute($N, $D);",
            *(f"    const ${name} = known[start + {i}];" for i, name in enumerate(parts)),
            *(f"    const ${name} = {javascript(tree)};" for name, tree in trees.items()),
            f"    return ${PREDICTED};",
            "  };",
            f"  return {{ parameters: {json.dumps(list(law.priors))}, width: {len(parts)}, prepare, loss, compute }};",
            "})()",
        ]
    )
