"""A law as JavaScript, from the same tree that is sampled: what a page needs to evaluate it without Python."""

import json
from collections.abc import Mapping

from bayescale.field import TRAINING
from bayescale.laws.formula import Binary, Call, Name, Negative, Node, Number, names, parse
from bayescale.laws.functions import FUNCTIONS
from bayescale.laws.law import Law, split_law
from bayescale.laws.limits import PREDICTED

# power: C and NumPy say that any power of 1 is 1, JavaScript does not; gammaln: that of Cephes, which is SciPy's;
# saturation: the Newton steps of functions.py
HELPERS = """\
const power = (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b));
const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
const logaddexp = (a, b) => {
  if (a === b) return a + Math.LN2;
  const most = Math.max(a, b);
  return most + Math.log1p(Math.exp(Math.min(a, b) - most));
};
const series = (x, factors) => factors.reduce((sum, factor) => sum * x + factor, 0);
const gammaln = (x) => {
  if (!Number.isFinite(x)) return x; // as SciPy has it
  if (x < -34) {  // reflection; the distance to the nearest pole is exact
    const pole = Math.round(-x), sine = Math.sin(Math.PI * Math.abs(-x - pole));
    return sine === 0 ? Infinity : 1.1447298858494002 - Math.log(-x * sine) - gammaln(-x);
  }
  if (x < 13) {  // by recurrence to [2, 3): fifty steps at most
    let steps = 0, z = 1;
    while (x + steps >= 3) { steps -= 1; z *= x + steps; }
    while (x + steps < 2) { if (x + steps === 0) return Infinity; z /= x + steps; steps += 1; }
    const r = x - (2 - steps);  // exact near 1 and 2, where gammaln is nearly 0
    return Math.log(Math.abs(z)) + r * series(r, [-1378.2515256912086, -38801.631513463784, -331612.9927388712,
      -1162370.974927623, -1721737.0082083966, -853555.6642457654]) / series(r, [1, -351.81570143652345,
      -17064.210665188115, -220528.59055385445, -1139334.4436798252, -2532523.0717758294, -2018891.4143353277]);
  }
  if (x > 2.556348e305) return Infinity;
  const y = 1 / (x * x);
  const tail = series(y, [8.116141674705085e-4, -5.950619042843014e-4, 7.936503404577169e-4, -2.777777777300997e-3,
    8.333333333333319e-2]) / x;
  return (x - 0.5) * Math.log(x) - x + 0.9189385332046728 + tail;
};
const saturation = (logZ, alpha) => {
  if (!(alpha >= 0)) return NaN;
  const z = Math.min(Math.max(logZ, -1e5), 1e300), a = Math.max(alpha, 1e-300);
  const b = a < 1 ? 1 / a : a, y = a < 1 ? Math.max(-z / a, -1e300) : z;
  const x = y + Math.log(b), w = logaddexp(0, x) / b;
  let s = x < -30 ? y : w > 30 ? w : Math.log(Math.expm1(w));
  for (let i = 0; i < 4; i += 1) {
    const value = b * logaddexp(0, s) - logaddexp(0, -s) - y;
    s -= value / (sigmoid(-s) + b * sigmoid(s));
  }
  return Math.min(sigmoid(a < 1 ? -s : s), 1 - Number.EPSILON / 2);
};
"""


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
            return f"{FUNCTIONS[function].javascript or function}({', '.join(map(javascript, args))})"
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
