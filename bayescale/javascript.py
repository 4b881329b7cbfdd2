"""A law as JavaScript, from the same tree that is sampled: what a page needs to evaluate it without Python."""

import json
from collections.abc import Mapping

from bayescale.formula import Binary, Call, Name, Negative, Node, Number, names, split_data
from bayescale.law import Law
from bayescale.lawfile import PREDICTED
from bayescale.runs import FLOPS_PER_PARAM_TOKEN

# each function of the formula language; {0}, {1} stand for the rendered arguments
FUNCTIONS = {
    "exp": "Math.exp({0})",
    "log": "Math.log({0})",
    "log10": "Math.log10({0})",
    "log1p": "Math.log1p({0})",
    "expm1": "Math.expm1({0})",
    "sqrt": "Math.sqrt({0})",
    "abs": "Math.abs({0})",
    "tanh": "Math.tanh({0})",
    "sigmoid": "sigmoid({0})",
    "gammaln": "gammaln({0})",
    "minimum": "Math.min({0}, {1})",
    "maximum": "Math.max({0}, {1})",
    "logaddexp": "logaddexp({0}, {1})",
    "saturation": "saturation({0}, {1})",
}
# gammaln: Stirling's series after a shift past 10, good to 1e-12; saturation: the Newton steps of formula.py
HELPERS = """\
const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
const logaddexp = (a, b) => {
  if (a === b) return a + Math.LN2;
  const most = Math.max(a, b);
  return most + Math.log1p(Math.exp(Math.min(a, b) - most));
};
const gammaln = (x) => {
  let shift = 0;
  while (x < 10) { shift += Math.log(x); x += 1; }
  const r = 1 / x, s = r * r;
  return (x - 0.5) * Math.log(x) - x + 0.9189385332046728 - shift
    + r * (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188))));
};
const saturation = (logZ, alpha) => {
  let s = Math.min(logZ, logZ / Math.max(alpha, 1e-3));
  for (let i = 0; i < 9; i += 1) {
    const value = alpha * logaddexp(0, s) - logaddexp(0, -s) - logZ;
    s -= value / (sigmoid(-s) + alpha * sigmoid(s));
  }
  return sigmoid(s);
};
"""


def javascript(node: Node) -> str:
    """The tree as a JavaScript expression; every name gets a ``$`` before it, so that none is a word of JavaScript."""
    match node:
        case Number(value=value):
            return repr(value)
        case Name(id=name):
            return f"${name}"
        case Negative(of=of):
            return f"(-{javascript(of)})"
        case Binary(op="**", left=left, right=right):
            return f"Math.pow({javascript(left)}, {javascript(right)})"
        case Binary(op=op, left=left, right=right):
            return f"({javascript(left)} {op} {javascript(right)})"
        case Call(function=function, args=args):
            return FUNCTIONS[function].format(*map(javascript, args))
    raise TypeError(f"not a formula tree: {node!r}")


def law_script(law: Law, fixed: Mapping[str, float]) -> str:
    """Source of an object with ``parameters`` (their names), ``prepare`` and ``loss``.

    ``prepare`` takes the parameters in that order and returns a list of what the loss needs of them, computed once a
    draw; ``loss(list, start, N, D)`` reads it from position ``start`` of an array.

    Parameters
    ----------
    fixed : reference constants, and inputs of the law besides N, D and C, by symbol
    """
    known = {*law.priors, *fixed}
    trees, parts = split_data({**law.where, PREDICTED: law.tree}, known)
    before = {}
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
            "  const loss = (known, start, $N, $D) => {",
            f"    const $C = {FLOPS_PER_PARAM_TOKEN!r} * $N * $D;",
            *(f"    const ${name} = known[start + {i}];" for i, name in enumerate(parts)),
            *(f"    const ${name} = {javascript(tree)};" for name, tree in trees.items()),
            f"    return ${PREDICTED};",
            "  };",
            f"  return {{ parameters: {json.dumps(list(law.priors))}, width: {len(parts)}, prepare, loss }};",
            "})()",
        ]
    )
