"""One formula, every evaluator: NumPy (value and slope), machine code, PyTensor, JavaScript."""

import json
import math
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np

from bayescale.engine.density import Density
from bayescale.engine.symbolic import symbolic
from bayescale.errors import FormulaError
from bayescale.laws.data_split import fold, split_data
from bayescale.laws.formula import (
    Binary,
    Call,
    Name,
    Negative,
    Number,
    check_exponents,
    constant,
    evaluate,
    names,
    nodes,
    parse,
    substitute,
)
from bayescale.laws.functions import FUNCTIONS
from bayescale.laws.javascript import HELPERS, javascript
from bayescale.laws.slope import value_and_slope

NODE = shutil.which("node")
PARAMETERS, DATA = ("t", "u", "v"), ("x", "y", "n")
RESULT = "predicted"
LARGEST, SMALLEST = 1e290, 1e-290  # numbers beyond which evaluators may differ: compiled code takes tiny ones for zero


@dataclass(frozen=True)
class Case:
    """Sub-expressions and formula in order, the formula last, and points [point] of parameters and data."""

    trees: dict
    points: dict


def case(texts, points):
    """``texts`` are the sub-expressions by name, then the formula."""
    *subs, formula = texts
    return Case({**{name: parse(text) for name, text in subs}, RESULT: parse(formula)}, points)


# ---- random formulas of the whole language ---------------------------------------------------------------------------

NUMBERS = ["0", "1", "2", "3", "0.5", "-1", "0.1", "7.3", "1e-9", "1e9", "1e-30", "1e30", "300"]
EXPONENTS = ["0", "1", "2", "3", "4", "-1", "-2", "0.5", "-0.5", "1.5", "-1.5", "1/3"]
MOVING = ["{0}", "-{0}", "{0}/{1}", "0.3*{0}", "1 + {0}*{2}", "{2}", "n", "-n", "n + 1"]
MOVING += ["minimum({0}, 2)", "maximum(n, {0})"]


def random_formula(rng, known, depth):
    """A formula of these names and, somewhere, of every function and operation of the language."""
    kind = rng.random()
    if depth == 0 or kind < 0.1:
        return rng.choice(known) if rng.random() < 0.75 else rng.choice(NUMBERS)

    def inner():
        return random_formula(rng, known, depth - 1)

    if kind < 0.45:
        return f"({inner()} {rng.choice('+-*/')} {inner()})"
    if kind < 0.5:
        return f"(-{inner()})"
    if kind < 0.58:
        return f"({inner()})**({rng.choice(EXPONENTS)})"
    if kind < 0.66:
        return f"({inner()})**({rng.choice(MOVING).format(*rng.sample(PARAMETERS, 2), rng.choice(DATA))})"
    name = rng.choice(list(FUNCTIONS))
    return f"{name}({', '.join(inner() for _ in range(FUNCTIONS[name].arity))})"


def random_case(rng, points=12):
    """A formula that a law may have, with sub-expressions and numbers, and points of all magnitudes and signs."""
    while True:
        known = [*PARAMETERS, *PARAMETERS, *DATA, "k", "half"]
        texts = [("k", rng.choice(["2", "3", "-1", "0.5"])), ("half", "k/4")]
        for i in range(rng.randrange(3)):
            texts.append((f"w{i}", random_formula(rng, known, rng.randrange(1, 4))))
            known.append(f"w{i}")
        texts.append(random_formula(rng, [*known, "t"], rng.randrange(2, 6)))
        try:
            made = case(texts, _points(rng, points))
            folded = fold(made.trees)
            for name, tree in folded.items():
                check_exponents(tree, name)
        except FormulaError:
            continue
        numbers = [constant(tree) for tree in folded.values() if not names(tree)]
        whole: dict = {}
        for name, tree in folded.items():
            whole[name] = substitute(tree, whole)
        if np.isfinite(numbers).all() and not names(whole[RESULT]).isdisjoint(PARAMETERS):
            return made


def _points(rng, points):
    scales = [rng.choice((1.0, 1.0, 1.0, 3.0, 30.0, 1e3, 1e6, 1e-3, 1e-6)) for _ in range(points)]
    at = {name: np.array([rng.gauss(0, 1) * scale for scale in scales]) for name in (*PARAMETERS, "y")}
    at["x"] = np.array([math.exp(rng.gauss(0, 1)) * scale for scale in scales])
    at["n"] = np.array([float(rng.randrange(4)) for _ in scales])
    return at


# ---- evaluators: a value [point], or values and slopes by the parameters [point, parameter] --------------------------


def by_numpy(one, points=None):
    """As ``law_loss`` does it."""
    values = dict(one.points if points is None else points)
    for name, tree in one.trees.items():
        values[name] = evaluate(tree, values)
    return np.broadcast_to(values[RESULT], len(one.points["t"]))


def by_slope(one):
    """Forward differentiation of what is left when the data are split off."""
    trees, known = _split(one)
    slopes = []
    for parameter in PARAMETERS:
        values, moving = known | one.points, {parameter: np.ones(len(one.points["t"]))}
        for name, tree in trees.items():
            values[name], slope = value_and_slope(tree, values, moving)
            moving |= {} if slope is None else {name: slope}
        slopes.append(np.broadcast_to(moving.get(RESULT, 0.0), len(one.points["t"])))
    return np.broadcast_to(values.get(RESULT, known.get(RESULT)), len(one.points["t"])), np.stack(slopes, axis=1)


def by_machine_code(one, caller):
    """Each point as the only run of a compiled density -> status, values, slopes."""
    trees, known = _split(one)
    columns = tuple(name for name in known if name.startswith("data_") or name == RESULT)
    last = Binary("+", Name(RESULT), Name("zero"))  # depends on the run, as a density must
    function = Density(PARAMETERS, (), (*columns, "zero"), trees, Number(0.0), last)
    status, values, slopes = [], [], []
    for i in range(len(one.points["t"])):
        data = {name: np.broadcast_to(known[name], len(one.points["t"]))[i : i + 1] for name in columns}
        found = caller(function, data | {"zero": np.zeros(1)})([one.points[name][i] for name in PARAMETERS])
        for kept, part in zip((status, values, slopes), found, strict=True):
            kept.append(part)
    return np.array(status), np.array(values), np.array(slopes)


def by_pytensor(one):
    """PyTensor's own reverse differentiation, each point a run."""
    import pytensor
    import pytensor.tensor as pt

    trees, known = _split(one)
    inputs = {name: pt.dvector(name) for name in PARAMETERS}
    values = known | inputs
    for name, tree in trees.items():
        values[name] = symbolic(tree, values)
    result = pt.as_tensor_variable(values[RESULT]) + 0.0 * inputs["t"]
    slopes = pytensor.grad(result.sum(), list(inputs.values()), disconnected_inputs="ignore")
    with pytensor.config.change_flags(cxx=""):  # without a compiler, which would take longer than all the rest
        mode = pytensor.compile.Mode(linker="py", optimizer=None)
        compute = pytensor.function(list(inputs.values()), [result, *slopes], mode=mode, on_unused_input="ignore")
    with np.errstate(all="ignore"):
        value, *slopes = compute(*(one.points[name] for name in PARAMETERS))
    return value, np.stack(slopes, axis=1)


def by_javascript(cases):
    """Values of many cases [case][point], in one go."""
    programs = []
    for one in cases:
        trees, parts = split_data(one.trees, DATA, PARAMETERS)
        lines = [f"const ${name} = {javascript(tree)};" for name, tree in {**_before(one), **parts, **trees}.items()]
        given = ", ".join(f"${name}" for name in (*PARAMETERS, *DATA))
        rows = json.dumps(np.stack([one.points[name] for name in (*PARAMETERS, *DATA)], axis=1).tolist())
        programs.append(f"{rows}.map(([{given}]) => {{ {' '.join(lines)} return String(${RESULT}); }})")
    source = f"{HELPERS} console.log(JSON.stringify([{', '.join(programs)}]));"
    done = subprocess.run([NODE, "-"], input=source, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [np.array([float(text.replace("Infinity", "inf")) for text in row]) for row in json.loads(done.stdout)]


def _before(one):
    """Sub-expressions of the data alone, in order: parts of the formula may name them."""
    known, before = set(DATA), {}
    for name, tree in fold(one.trees).items():
        if names(tree) <= known:
            known.add(name)
            before[name] = tree
    return before


def _split(one):
    trees, parts = split_data(one.trees, DATA, PARAMETERS)
    values = {name: one.points[name] for name in DATA}
    for name, tree in _before(one).items():
        values[name] = evaluate(tree, values)
    return trees, values | {name: evaluate(part, values) for name, part in parts.items()}


def density_by_numpy(density, data, position):
    """Value and gradient [parameter] of a log density, walked by NumPy."""
    values, moving = dict(data), {}
    for k, name in enumerate(density.position):
        values[name] = np.float64(position[k])
        moving[name] = np.eye(len(position))[:, k, None]  # [parameter, run]
    for name, tree in density.definitions.items():
        values[name], slope = value_and_slope(tree, values, moving)
        moving |= {} if slope is None else {name: slope}
    (once, by_once), (each, by_each) = (value_and_slope(tree, values, moving) for tree in (density.once, density.each))
    shape = (len(position), max(np.size(data[name]) for name in density.columns))
    with np.errstate(all="ignore"):
        slopes = np.broadcast_to(0.0 if by_each is None else by_each, shape).sum(axis=1)
        slopes = slopes + np.broadcast_to(0.0 if by_once is None else by_once, (shape[0], 1))[:, 0]
        return float(np.sum(np.broadcast_to(each, shape[1])) + once), slopes


# ---- what may differ -------------------------------------------------------------------------------------------------


def plain(one):
    """Points [point] at which no number on the way, by NumPy, is too large or too small for compiled code."""
    values, good = dict(one.points), True
    for part in _split(one)[1].values():  # data that are not finite are refused before anything is sampled
        good = good & np.isfinite(part)
    for name, tree in one.trees.items():
        values[name] = evaluate(tree, values)
        for part in nodes(tree):
            size = np.abs(evaluate(part, values))
            good = good & ((size == 0) | (size == np.inf) | ((size > SMALLEST) & (size < LARGEST)))
            if isinstance(part, Call) and part.function in ("exp", "expm1", "sigmoid"):
                edge = np.abs(evaluate(part.args[0], values))
            elif isinstance(part, Binary) and part.op == "**":
                base, exponent = (evaluate(side, values) for side in (part.left, part.right))
                edge = np.abs(np.log(np.abs(base)) * exponent)
                edge = np.where((base == 0) | np.isinf(base), 700.0, edge)  # slopes there are limits, if anything
            elif isinstance(part, Call) and part.function == "sqrt":
                edge = np.where(size == 0, 700.0, 0.0)
            elif isinstance(part, Call) and part.function == "saturation":
                edge = np.where(evaluate(part.args[1], values) < SMALLEST, 700.0, 0.0)
            else:
                continue
            good = good & ~((edge > 650) & (edge < 760))
    return np.broadcast_to(good, len(one.points["t"]))


def uncertainty(one, of=None, repeats=6):
    """How much a result [point, ...] moves when all numbers given move in their last digits; the value of the formula,
    also when every number on the way does.
    """
    rng, moved = np.random.default_rng(0), []
    here = by_numpy(one) if of is None else of(one)
    for _ in range(repeats):
        points = {name: value * (1 + 1e-14 * rng.normal(size=len(value))) for name, value in one.points.items()}
        points["n"] = one.points["n"]
        if of is None:
            values = dict(points)
            for name, tree in one.trees.items():
                values[name] = _shaken(tree, values, rng)
            moved.append(values[RESULT])
        else:
            moved.append(of(Case(one.trees, points)))
    with np.errstate(all="ignore"):
        return np.max([np.abs(there - here) for there in moved], axis=0)


def _shaken(node, values, rng):
    """The value of a tree with an error in the last digits of every operation."""
    match node:
        case Negative(of=of):
            return -_shaken(of, values, rng)
        case Binary(op=op, left=left, right=right):
            sides = {"a": _shaken(left, values, rng), "b": _shaken(right, values, rng)}
            value = evaluate(Binary(op, Name("a"), Name("b")), sides)
        case Call(function=function, args=args):
            sides = {f"a{i}": _shaken(arg, values, rng) for i, arg in enumerate(args)}
            value = evaluate(Call(function, tuple(map(Name, sides))), sides)
        case _:
            return evaluate(node, values)
    shaken = value * (1 + 1e-15 * rng.normal(size=np.shape(value)))
    return np.where(value == np.round(value), value, shaken)  # whole numbers are exact, and may be exponents
