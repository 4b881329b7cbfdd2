"""What a run costs: a formula over N and D in the law language, and the tokens that a budget buys at a size."""

import ast
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.errors import FitError, FormulaError
from bayescale.field import TRAINING, clipped, names_text, number_in, shown
from bayescale.fitting.doors import real
from bayescale.laws.formula import Binary, Name, Negative, Node, Number, evaluate, names, parse
from bayescale.laws.priors import DISTRIBUTIONS, Prior, quantile
from bayescale.laws.slope import value_and_slope

SIZE_SEARCHED_MAX = 1e40  # parameters or tokens that a budget buys
BISECTIONS = 55  # of 92 e-folds: to 3e-15 of the logarithm
SHARES_OF_SPEED = {"mfu", "hfu", "utilization", "utilisation"}
VALUE_CHARACTERS_MAX = 200  # characters of a range or a prior
BAND_SD = 1.6448536269514722  # a range low..high is the central 90 % of a log-normal

_TRAINING_TREE = parse(TRAINING)


@dataclass(frozen=True)
class Cost:
    """What a run of N parameters on D tokens costs, in the unit of the budget.

    Attributes
    ----------
    text : the formula; ``tree`` is the same, parsed
    fixed, per_token : formulas of N with cost = fixed + per_token * D, or None where D enters in another way
    given : the other names of the formula: a number, or the prior of one that is not known for sure
    """

    text: str
    tree: Node
    fixed: Node | None
    per_token: Node | None
    given: Mapping[str, "float | Prior"]

    @property
    def is_training_compute(self) -> bool:
        return self.tree == _TRAINING_TREE

    @property
    def uncertain(self) -> bool:
        return any(isinstance(value, Prior) for value in self.given.values())


def parse_cost(text: str, given: Mapping[str, Any], columns: Collection[str] = ()) -> Cost:
    """The cost in a formula such as ``"6*N*D + 2*N*T"``, checked.

    Raises FitError if the formula is not in the language, does not use N and D, or a name of it has no value.

    Parameters
    ----------
    given : values of the names besides N and D: numbers, or what :func:`quantity` reads
    columns : names that a menu of architectures gives
    """
    try:
        tree = parse(text)
    except FormulaError as error:
        raise FitError(f"cost: {error}") from None
    used = names(tree)
    if not {"N", "D"} <= used:
        raise FitError(
            f"cost '{clipped(text)}' uses {names_text(used)}; what a run costs must depend on both N and D, as in 6*N*D"
        )
    missing = used - {"N", "D"} - set(given) - set(columns)
    if missing:
        example = clipped(min(missing))
        raise FitError(
            f"cost '{clipped(text)}': no value for {names_text(missing)}; "
            f"give them by name (given={{'{example}': ...}}, --given {example}=...)"
        )
    parts = linear_in(tree, "D")
    fixed, per_token = parts if parts is not None else (None, None)
    values = {name: quantity(name, given[name]) for name in sorted(used & set(given))}
    return Cost(text, tree, fixed, per_token, values)


def linear_in(node: Node, name: str) -> tuple[Node, Node] | None:
    """Trees a and b, free of ``name``, with node = a + b * name; None where there are none."""
    if name not in names(node):
        return node, Number(0.0)
    match node:
        case Name():
            return Number(0.0), Number(1.0)
        case Negative(of=of) if parts := linear_in(of, name):
            return Negative(parts[0]), Negative(parts[1])
        case Binary(op="+" | "-" as op, left=left, right=right):
            a, b = linear_in(left, name), linear_in(right, name)
            if a and b:
                return Binary(op, a[0], b[0]), Binary(op, a[1], b[1])
        case Binary(op="*", left=left, right=right):
            for one, other in ((left, right), (right, left)):
                if name not in names(one) and (parts := linear_in(other, name)):
                    return Binary("*", one, parts[0]), Binary("*", one, parts[1])
        case Binary(op="/", left=left, right=right) if name not in names(right):
            if parts := linear_in(left, name):
                return Binary("/", parts[0], right), Binary("/", parts[1], right)
    return None


def quantity(name: str, value: Any) -> "float | Prior":
    """A number, or the prior of one: ``"1T..50T"`` (90 % of a log-normal) or ``"Beta(alpha=40, beta=60)"``.

    Raises FitError if it is neither, or not finite and at least 0.
    """
    if isinstance(value, Prior):
        return value
    what = f"{clipped(name)} = {shown(value, 80)}"
    if isinstance(value, str):
        if len(value) > VALUE_CHARACTERS_MAX:
            raise FitError(f"{what}: {len(value)} characters; at most {VALUE_CHARACTERS_MAX} are allowed")
        low, dots, high = value.partition("..")
        if dots:
            edges: Any = (None, None) if ".." in high else (quantity(name, low), quantity(name, high))
            if not (all(isinstance(edge, float) for edge in edges) and 0 < edges[0] < edges[1]):
                raise FitError(f"{what}: a range LOW..HIGH with 0 < LOW < HIGH is expected")
            ends = np.log(np.array(edges, dtype=float))
            return Prior("LogNormal", {"mu": float(ends.mean()), "sigma": float(np.ptp(ends) / (2 * BAND_SD))})
        if "(" in value:
            return _prior(what, value)
    number = _share_or_number(value) if isinstance(value, str) else real(value)
    if number is not None and number > 1 and name.casefold() in SHARES_OF_SPEED:
        raise FitError(f"{what}: a share of the peak is expected, at most 1, such as 0.4 or 40%")
    if number is None:
        raise FitError(
            f"{what}: a number, a range such as 0.35..0.5, or a prior such as Beta(alpha=40, beta=60) is expected"
        )
    if not (np.isfinite(number) and number >= 0):
        raise FitError(f"{what}: a finite number of at least 0 is expected")
    return number


def _share_or_number(text: str) -> float | None:
    """The number that a text writes; 40% is 0.4."""
    number = number_in(text.rstrip("% ")) if text.rstrip().endswith("%") else number_in(text)
    return number / 100 if number is not None and text.rstrip().endswith("%") else number


def _prior(what: str, text: str) -> Prior:
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd literals
            call: Any = ast.parse(text.strip(), mode="eval").body  # what is no call of a name lacks what is read of it
        dist, positional = call.func.id, call.args
        params = {key.arg: _literal(key.value) for key in call.keywords}
    except (SyntaxError, AttributeError, ValueError, TypeError, OverflowError, MemoryError, RecursionError):
        raise FitError(f"{what}: not a prior; Beta(alpha=40, beta=60) is one") from None
    needed = DISTRIBUTIONS[dist].params if dist in DISTRIBUTIONS else ()
    if dist not in DISTRIBUTIONS or positional or set(params) != set(needed):
        takes = (
            f"{dist} takes {list(needed)} by name" if needed else f"the distributions are {', '.join(DISTRIBUTIONS)}"
        )
        raise FitError(f"{what}: {takes}")
    if not all(np.isfinite(list(params.values()))) or any(params[key] <= 0 for key in DISTRIBUTIONS[dist].positive):
        raise FitError(f"{what}: {', '.join(DISTRIBUTIONS[dist].positive)} must be finite and above 0")
    if "lower" in params and not params["lower"] < params["upper"]:
        raise FitError(f"{what}: lower must be below upper")
    return Prior(dist, {str(key): value for key, value in params.items()})


def _literal(node: ast.expr) -> float:
    value = ast.literal_eval(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number is expected")
    return float(value)


def draw_quantities(
    given: Mapping[str, "float | Prior"], count: int, rng: np.random.Generator
) -> dict[str, "float | np.ndarray"]:
    """Values of the names of a cost: numbers as they are, priors as draws [draw, 1].

    One draw from each of ``count`` parts of equal probability, in random order: so a prior's mean and its extremes are
    nearly the same at any seed. Raises FitError if a prior reaches below 0, where no price, share or count lies.
    """
    values: dict[str, float | np.ndarray] = {}
    for name, value in given.items():
        if isinstance(value, Prior):
            part = rng.permutation(count)[:, None]
            values[name] = quantile(value, (part + rng.uniform(size=(count, 1))) / count)
            if not (np.isfinite(values[name]) & (values[name] >= 0)).all():
                raise FitError(
                    f"{name} ~ {value}: some of its draws are below 0 or not finite; take a LogNormal or Beta"
                )
        else:
            values[name] = value
    return values


def spend(cost: Cost, values: Mapping[str, Any], N: Any, D: Any) -> np.ndarray:
    """What runs of N parameters on D tokens cost."""
    return np.asarray(evaluate(cost.tree, {**values, "N": N, "D": D}), dtype=float)


def tokens_at(cost: Cost, values: Mapping[str, Any], N: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """The tokens D that a budget buys at size N; NaN where it does not buy any."""
    if cost.fixed is not None and cost.per_token is not None:
        here = {**values, "N": N}
        with np.errstate(all="ignore"):
            D = (budget - evaluate(cost.fixed, here)) / evaluate(cost.per_token, here)
        return np.where(np.isfinite(D) & (D > 0), D, np.nan)
    return increasing_root(lambda D: spend(cost, values, N, D), budget, np.broadcast_shapes(N.shape, budget.shape))


def tokens_slope(cost: Cost, values: Mapping[str, Any], N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """d D / d log N along a budget: the tokens given up for a larger model."""
    if cost.is_training_compute:
        return -D
    here = {**values, "N": N, "D": D}
    _, by_size = value_and_slope(cost.tree, here, {"N": N})
    _, by_token = value_and_slope(cost.tree, here, {"D": np.float64(1.0)})
    with np.errstate(all="ignore"):
        return -np.asarray(by_size) / by_token


def increasing_root(
    function: Callable[[np.ndarray], np.ndarray], target: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """x from 1 to SIZE_SEARCHED_MAX with function(x) = target, elementwise; NaN where there is none."""
    low, high = np.zeros(shape), np.full(shape, np.log(SIZE_SEARCHED_MAX))
    with np.errstate(all="ignore"):
        outside = (function(np.exp(low)) > target) | (function(np.exp(high)) < target)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = function(np.exp(middle)) > target
            low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(outside, np.nan, np.exp((low + high) / 2))


def check_rises(cost: Cost, values: Mapping[str, Any]) -> None:
    """Raise FitError unless the cost is positive and rises with N and with D (else no budget fixes a split).

    Looked at on a grid of three points a decade, at the medians of what is uncertain, by its slopes: differences of a
    cost that is mostly inference would be rounding error.
    """
    middle = {name: float(np.median(value)) for name, value in values.items()}
    sizes = np.logspace(3, 15, 37)
    here = {**middle, "N": sizes[:, None], "D": sizes[None, :]}
    for name in ("N", "D"):
        value, slope = value_and_slope(cost.tree, here, {name: here[name]})
        if not (np.isfinite(value).all() and np.all(np.asarray(value) > 0)):
            raise FitError(
                f"cost '{clipped(cost.text)}' is not a finite number above 0 at every size; "
                "check the formula and its values"
            )
        if not np.all(np.asarray(slope) > 0):
            raise FitError(
                f"cost '{clipped(cost.text)}' does not rise with {name} everywhere; "
                "a run must cost more the larger it is"
            )
