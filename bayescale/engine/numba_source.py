"""Formula trees -> Python source of a sum over runs with its exact gradient, for Numba to compile.

Straight-line code: once through the trees forward, once backward (reverse differentiation), the part that depends on a
run inside loops over the runs. Every piece of source knows the steps it reads.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bayescale.engine.density import Density
from bayescale.laws.derivatives import OPERATOR_DERIVATIVES, derivatives
from bayescale.laws.formula import Binary, Call, Name, Negative, Node, Number, constant, evaluate, names
from bayescale.laws.functions import ARGUMENTS, EVERY_FUNCTION

# A branch that is not taken has the derivative 0, as has tanh where it is 1. Times an infinite inner derivative, as of
# exp(1000*x), it would be NaN: inside "still" functions, and inside exp(-exp(x)) and exp(q*log(0)), 0 stays 0.
TRAITS = {name: function.traits.split() for name, function in EVERY_FUNCTION.items()}
TRAITS |= {name: ["cheap"] for name in OPERATOR_DERIVATIVES} | {"**": ["grows"], "/": ["grows", "cheap"]}
ARRAYS_MAX = 48  # between loops; more compile slowly


@dataclass(frozen=True)
class _Step:
    """One operation or given number: its name in the source, which steps it uses, what it depends on."""

    text: str
    value: Node | None = None  # of names a, b, ..., the steps it uses; None of a given number
    slopes: tuple[Node, ...] = ()  # see derivatives.py
    args: tuple[int, ...] = ()
    moves: bool = False  # with the position
    by_run: bool = False
    slow: bool = False  # takes many instructions that wait for each other
    grows: bool = False  # overflows where parameters are large, or is infinite for a whole range of them
    clips: bool = False  # is made of a minimum or maximum, and may be 0 for a whole range of parameters
    still: bool = False  # its derivative by a part may be exactly zero over a whole range
    number: float | None = None


@dataclass(frozen=True)
class _Code:
    """A piece of source, and the steps whose values it reads."""

    text: str
    uses: frozenset[int] = frozenset()


def _line(start: str, terms: Sequence[_Code]) -> _Code:
    """A line of source that ends in a sum."""
    first, *others = (term.text for term in terms)
    text = first + "".join(f" - {other[1:]}" if other.startswith("-") else f" + {other}" for other in others)
    return _Code(start + text, frozenset().union(*(term.uses for term in terms)))


def _written(node: Node, named: Mapping[str, str]) -> tuple[str, int]:
    """Python source of a tree and its precedence (5: atom), so that brackets stand just where they are needed."""

    def bracket(inner: Node, least: int) -> str:
        text, precedence = _written(inner, named)
        return text if precedence >= least else f"({text})"

    match node:
        case Number(value=value):
            return repr(value), 5 if value >= 0 else 3
        case Name(id=name):
            return named[name], 3 if named[name].startswith("-") else 5
        case Negative(of=of):
            return f"-{bracket(of, 3)}", 3
        case Binary(op="**", left=left, right=right):
            return f"{bracket(left, 5)} ** {bracket(right, 3)}", 4
        case Binary(op="+" | "-" as op, left=left, right=right):
            return f"{bracket(left, 1)} {op} {bracket(right, 2)}", 1
        case Binary(op=op, left=left, right=right):
            return f"{bracket(left, 2)} {op} {bracket(right, 3)}", 2
        case Call(function=function, args=args):
            return f"{function}({', '.join(_written(arg, named)[0] for arg in args)})", 5
    raise TypeError(f"not a formula tree: {node!r}")


@dataclass
class _Steps:
    """The trees as a list of operations, none of them twice."""

    named: dict[str, int] = field(default_factory=dict)
    steps: list[_Step] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)

    def __getitem__(self, i: int) -> _Step:
        return self.steps[i]

    def _keep(self, key: Any, step: _Step) -> int:
        if key not in self.known:
            self.known[key] = len(self.steps)
            self.steps.append(step)
        return self.known[key]

    def leaf(self, text: str, **about: Any) -> int:
        return self._keep(text, _Step(text, **about))

    def number(self, value: float) -> int:
        return self.leaf(repr(float(value)), number=float(value))

    def of(self, node: Node) -> int:
        match node:
            case Number(value=value):
                return self.number(value)
            case Name(id=name):
                return self.named[name]
            case Negative(of=of):
                return self.operation("negative", Negative(Name("a")), self.of(of))
            case Binary(op="**", left=left, right=right) if not names(right):
                return self.power(self.of(left), constant(right))
            case Binary(op=op, left=left, right=right):
                return self.operation(op, Binary(op, Name("a"), Name("b")), self.of(left), self.of(right))
            case Call(function=function, args=args):
                inner = tuple(Name(letter) for letter, _ in zip(ARGUMENTS, args, strict=False))
                return self.operation(function, Call(function, inner), *map(self.of, args))
        raise TypeError(f"not a formula tree: {node!r}")

    def power(self, base: int, exponent: float) -> int:
        """A power with a constant exponent; of 0 and 1 the general derivative would be 0/0 where the base is 0."""
        if exponent in (0.0, 1.0):
            return base if exponent else self.number(1.0)
        tree = Binary("**", Name("a"), Number(exponent))
        if self[base].number is None and exponent in (2.0, 3.0, 4.0):
            product = Binary("*", Name("a"), Name("b"))
            half = self.operation("*", product, base, base)
            return half if exponent == 2.0 else self.operation("*", product, half, base if exponent == 3.0 else half)
        lower = Binary("**", Name("a"), Number(exponent - 1))
        slope = Binary("*", Binary("*", Name("d"), Number(exponent)), lower)
        return self.operation("**", tree, base, slopes=(slope,), key=("**", base, exponent))

    def operation(
        self, name: str, value: Node, *args: int, slopes: tuple[Node, ...] | None = None, key: Any = None
    ) -> int:
        """An operation on earlier steps; of numbers it is a number."""
        used = [self[i] for i in args]
        numbers = [step.number for step in used]
        if None not in numbers:
            return self.number(float(evaluate(value, dict(zip(ARGUMENTS, numbers, strict=False)))))
        traits, by_run = TRAITS[name], any(step.by_run for step in used)
        inner, clips = any(step.grows for step in used), any(step.clips for step in used)
        step = _Step(
            f"v{len(self.steps)}",
            value,
            derivatives(name) if slopes is None else slopes,
            args,
            any(step.moves for step in used),
            by_run,
            slow="cheap" not in traits,
            grows=(by_run and "grows" in traits) or (inner and "tames" not in traits) or (name == "log" and clips),
            clips=clips or "clips" in traits,
            still="still" in traits or (name == "exp" and inner),
        )
        return self._keep((name, *args) if key is None else key, step)

    def value(self, i: int) -> _Code:
        """What a step is computed by."""
        value = self[i].value
        if value is None:
            raise ValueError(f"step {i} is given, not computed")
        return self._code(i, value)

    def slope(self, i: int, which: int, guarded: bool) -> _Code:
        """What a step passes on to one of those it uses; a 0 stays 0 where ``guarded``."""
        code = self._code(i, self[i].slopes[which])
        if guarded and any(self[k].value is not None for k in code.uses):
            return _Code(f"choose(d{i} != 0.0, {code.text}, 0.0)", code.uses)
        return code

    def _code(self, i: int, tree: Node) -> _Code:
        steps = {"v": i} | dict(zip(ARGUMENTS, self[i].args, strict=False))
        text, _ = _written(tree, {letter: self[k].text for letter, k in steps.items()} | {"d": f"d{i}"})
        return _Code(text, frozenset(steps[letter] for letter in names(tree) & steps.keys()))


def body(density: Density) -> list[str]:
    """Lines of source of ``density`` (see ``numba_density.py``): log density and gradient, from position and data."""
    steps, once, each = _steps_of(density)
    needed = _needed(steps, once, each)
    guarded = _needed(steps, *(k for i in needed if steps[i].still for k in steps[i].args))
    computed = [i for i in sorted(needed) if steps[i].value is not None]
    inside, outside = ([i for i in computed if steps[i].by_run is by_run] for by_run in (True, False))
    dim, first, columns = len(density.position), 1 + len(density.scalars), range(len(density.columns))
    lines = [
        "rows = int(numba.carray(data, 1, types.double)[0])",
        f"block = numba.carray(data, {first} + rows * {len(columns)}, types.double)",
        *(f"column{k} = block[{first} + rows * {k} : {first} + rows * {k + 1}]" for k in columns),
        *(f"x{k} = position[{k}]" for k in range(dim)),
        *(f"s{k} = block[{1 + k}]" for k in range(len(density.scalars))),
        *(f"{steps[i].text} = {steps.value(i).text}" for i in outside),
    ]
    # backward inside the loops: what a step outside them receives from a run is added up in d<step>
    slopes: dict[int, list[_Code]] = {each: [_Code("1.0")]}
    backward = _backward(steps, inside, slopes, guarded)
    received = sorted(i for i in slopes if not steps[i].by_run)
    lines += [f"d{i} = 0.0" for i in received] + ["total = 0.0"]
    last = [_Code(f"total += {steps[each].text}", frozenset({each})), *backward]
    last += [_line(f"d{i} += ", slopes[i]) for i in received]
    lines += _loops(steps, _passes(steps, inside), last)

    after = {i: [_Code(f"d{i}")] for i in received}
    after.setdefault(once, []).append(_Code("1.0"))
    lines += [line.text for line in _backward(steps, outside, after, guarded)]
    lines += [_line(f"gradient[{k}] = ", after.get(k, [_Code("0.0")])).text for k in range(dim)]
    return [
        *lines,
        f"total += {steps[once].text}",
        "value[0] = total",
        "for k in range(dim):",
        "    if not abs(gradient[k]) < LARGEST:",
        "        return 3",
        "return 0 if abs(total) < LARGEST else 4",
    ]


def _steps_of(density: Density) -> tuple[_Steps, int, int]:
    """The steps of a density, and which of them are ``once`` and ``each``."""
    given = [*density.position, *density.scalars, *density.columns, *density.definitions]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"'{twice[0]}' is defined twice")
    steps = _Steps()
    for k, name in enumerate(density.position):
        steps.named[name] = steps.leaf(f"x{k}", moves=True)
    for k, name in enumerate(density.scalars):
        steps.named[name] = steps.leaf(f"s{k}")
    for k, name in enumerate(density.columns):
        steps.named[name] = steps.leaf(f"c{k}", by_run=True)
    for name, tree in density.definitions.items():
        steps.named[name] = steps.of(tree)
    once, each = steps.of(density.once), steps.of(density.each)
    if not steps[each].by_run:
        raise ValueError("the density of a run does not depend on the runs")
    return steps, once, each


def _needed(steps: _Steps, *roots: int) -> set[int]:
    needed, waiting = set(), list(roots)
    while waiting:
        i = waiting.pop()
        if i not in needed:
            needed.add(i)
            waiting.extend(steps[i].args)
    return needed


def _backward(
    steps: _Steps, computed: Sequence[int], slopes: dict[int, list[_Code]], guarded: Collection[int]
) -> list[_Code]:
    """Source that turns the derivatives by the last steps into those by what they use; ``slopes`` collects them."""
    lines = []
    for i in reversed(computed):
        if i not in slopes or not steps[i].moves:
            continue
        if [term.text for term in slopes[i]] != [f"d{i}"]:
            lines.append(_line(f"d{i} = ", slopes[i]))
        for which, k in enumerate(steps[i].args):
            if steps[k].moves:
                slopes.setdefault(k, []).append(steps.slope(i, which, i in guarded))
    return lines


def _passes(steps: _Steps, inside: Iterable[int]) -> list[list[int]]:
    """The steps that depend on a run, by how deep exponentials and their like are nested in them."""
    passes: dict[int, list[int]] = {}
    depth: dict[int, int] = {}
    for i in inside:
        depth[i] = max(depth.get(k, 0) for k in steps[i].args) + steps[i].slow
        passes.setdefault(max(depth[i], 1), []).append(i)
    return [passes[k] for k in sorted(passes)]


def _loops(steps: _Steps, passes: Sequence[Sequence[int]], last: Sequence[_Code]) -> list[str]:
    """Source of a loop over the runs for every pass, and one for the ``last`` lines, block by block.

    The exponentials and logarithms of one run wait for each other, and a processor that meets them in one loop waits
    with them. In a loop for each depth of nesting those of many runs are under way at once, which takes up to half the
    time. What later loops need of a block is in arrays t<step>, small enough for the nearest cache; where there would
    be too many of them, one loop does it all.
    """
    parts = [[(i, steps.value(i)) for i in part] for part in passes]
    uses = [set().union(*(code.uses for _, code in part)) for part in parts]
    uses.append(set().union(*(code.uses for code in last)))
    kept = [[i for i in part if any(i in used for used in uses[k + 1 :])] for k, part in enumerate(passes)]
    before = [i for part in kept for i in part]
    code = [[f"{steps[i].text} = {value.text}" for i, value in part] for part in parts]
    made = [set(part) for part in passes]
    if len(before) > ARRAYS_MAX:
        code, made, uses = [[line for part in code for line in part]], [set().union(*made)], [set().union(*uses)]
        kept, before = [[]], []
    else:
        code, made, kept = [*code, []], [*made, set()], [*kept, []]
    code[-1] += [line.text for line in last]
    columns = {i: step.text for i, step in enumerate(steps.steps) if step.by_run and step.value is None}
    lines = [f"t{i} = numba.carray(memory(), BLOCK)" for i in before]
    lines += ["for first in range(0, rows, BLOCK):", "    size = min(BLOCK, rows - first)"]
    for part, new, used, keep in zip(code, made, uses, kept, strict=True):
        read = [text[1:] for i, text in sorted(columns.items(), key=lambda item: item[1]) if i in used]
        lines += [f"    part{k} = column{k}[first : first + size]" for k in read]
        loop = [f"c{k} = part{k}[i]" for k in read]
        loop += [f"{steps[i].text} = t{i}[i]" for i in before if i in used and i not in new]
        loop += [*part, *(f"t{i}[i] = {steps[i].text}" for i in keep)]
        lines += ["    for i in range(size):", *(f"        {line}" for line in loop)]
    return lines
