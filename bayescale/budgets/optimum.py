"""The best split and its frontier, for all posterior draws and budgets at once: plain NumPy arrays [draw, budget]."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from bayescale.budgets.cost import Cost, increasing_root, spend, tokens_at, tokens_slope
from bayescale.budgets.minimise import minimise
from bayescale.budgets.surface import Surface, loss_at, loss_slope
from bayescale.errors import FitError
from bayescale.field import number_text, size_text
from bayescale.laws.law_file import column

SLOPE_EFOLDS = np.log(10.0)  # of the budget, to each side of an exponent: a law errs differently at the next budget
LOG_SLACK = 1e-9  # of log N, by which limits that meet may miss each other
EDGE = "edge"  # of the search: a single parameter, a single token
# of the draws of an uncertain cost, in which a budget may buy fewer tokens than a lower limit asks for: at a cost that
# may be any, no limit can be kept for certain. Such a draw trains on what the budget buys
SHORT_SHARE = 0.01


@dataclass(frozen=True)
class Limits:
    """What a split must keep to; (0, inf) is no limit, and equal ends hold a size at that value."""

    params: tuple[float, float] = (0.0, np.inf)
    tokens: tuple[float, float] = (0.0, np.inf)
    ratio: tuple[float, float] = (0.0, np.inf)  # tokens per parameter

    @property
    def any(self) -> bool:
        return any(pair != (0.0, np.inf) for pair in (self.params, self.tokens, self.ratio))


LIMITS = tuple(one.name for one in fields(Limits))


@dataclass(frozen=True)
class Problem:
    """A law with its draws, a cost with its values, and what limits the split.

    Attributes
    ----------
    surface : the law's loss of N and D, over all draws
    menu : columns of architectures [item] to choose from, ``params`` among them, or None
    inputs : what the surface was made with besides the draws: further inputs of the law, by symbol
    """

    surface: Surface
    cost: Cost
    cost_values: Mapping[str, Any]
    limits: Limits = Limits()
    menu: Mapping[str, np.ndarray] | None = None
    inputs: Mapping[str, float] = field(default_factory=dict)

    @property
    def covariates(self) -> dict[str, float]:
        """The same by column, as :func:`bayescale.forecast` takes them."""
        return {column(symbol): value for symbol, value in self.inputs.items()}


@dataclass(frozen=True)
class Split:
    """Splits [draw, budget]: sizes, loss, and where a limit holds them.

    ``held`` names the limit that holds the split, [draw, budget] of text, empty inside.
    """

    N: np.ndarray
    D: np.ndarray
    loss: np.ndarray
    held: np.ndarray


def best_split(problem: Problem, budget: np.ndarray, near: np.ndarray | None = None, *, strict: bool = True) -> Split:
    """The split of least loss for every draw and budget [draw or 1, budget].

    ``near`` [draw, budget] are sizes N known to be within a factor e of the best, which saves the coarse search. A
    budget that buys more than the limits allow leaves money over. Where no split keeps to the limits the loss is
    infinite, unless ``strict``: then a draw that is short of a lower limit takes the smallest size that is allowed, if
    such draws are few (:func:`too_often_short`). Raises FitError if ``strict`` and no split keeps to the limits at a
    budget.
    """
    if problem.menu is not None:
        return _best_of_menu(problem, problem.menu, budget, strict)
    low, high, low_name, high_name = log_range(problem, budget, strict)
    impossible = np.isnan(low)
    low, high = np.where(impossible, 0.0, low), np.where(impossible, 0.0, high)

    def loss(log_n: np.ndarray) -> np.ndarray:
        N = np.exp(log_n)
        return _cleaned(loss_at(problem.surface, N, tokens_within(problem, N, budget)))

    def slope(log_n: np.ndarray) -> np.ndarray:
        N = np.exp(log_n)
        D = tokens_at(problem.cost, problem.cost_values, N, budget)
        return loss_slope(problem.surface, N, D, tokens_slope(problem.cost, problem.cost_values, N, D))

    log_n, value, at = minimise(loss, slope, low, high, None if near is None else np.log(near))
    N = np.exp(log_n)
    D = np.broadcast_to(tokens_within(problem, N, budget), N.shape)
    held = np.where(
        at < 0, np.broadcast_to(low_name, N.shape), np.where(at > 0, np.broadcast_to(high_name, N.shape), "")
    )
    if impossible.any():
        N, D = np.where(impossible, np.nan, N), np.where(impossible, np.nan, D)
        value = np.where(impossible, np.inf, value)
    return Split(N, D, value, held)


def sides(budgets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Budgets below and above some, between which slopes are taken."""
    return budgets * np.exp(-SLOPE_EFOLDS), budgets * np.exp(SLOPE_EFOLDS)


def frontier_slopes(problems: tuple[Problem, Problem], budgets: np.ndarray, split: Split) -> dict[str, np.ndarray]:
    """Local exponents [draw, budget] of the frontier: of N*, of D* and of the loss, by central differences.

    d log N* / d log C, d log D* / d log C and - d log L* / d log C, over SLOPE_EFOLDS to each side of ``budgets``
    [budget], of whose problem ``split`` is the solution; ``problems`` are those below and above them.
    """
    step = SLOPE_EFOLDS
    ends = [best_split(one, some[None, :], split.N) for one, some in zip(problems, sides(budgets), strict=True)]
    with np.errstate(all="ignore"):
        rise = {name: np.log(getattr(ends[1], name) / getattr(ends[0], name)) for name in ("N", "D", "loss")}
    return {"a": rise["N"] / (2 * step), "b": rise["D"] / (2 * step), "loss_exponent": -rise["loss"] / (2 * step)}


def tokens_within(
    problem: Problem, N: np.ndarray, budget: np.ndarray, columns: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Tokens D that a budget buys at size N, at most what the limits allow: what is left is not spent; NaN where none.

    ``columns`` are the values of an architecture of the menu that the cost uses.
    """
    D = tokens_at(problem.cost, {**problem.cost_values, **(columns or {})}, N, budget)
    return np.minimum(D, np.minimum(problem.limits.tokens[1], problem.limits.ratio[1] * N))


def too_often_short(short: np.ndarray) -> np.ndarray:
    """Whether a budget does not buy what a lower limit asks for in more than SHORT_SHARE of the draws.

    ``short`` [draw, ...] says in which; the one rule for budgets and for sizes.
    """
    return short.mean(axis=0) > SHORT_SHARE


def _cleaned(loss: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(loss), loss, np.inf)


def log_range(
    problem: Problem, budget: np.ndarray, strict: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Least and largest log N [draw or 1, budget] that a budget and the limits allow, and the limit that sets each."""
    cost, values, limits = problem.cost, problem.cost_values, problem.limits
    drawn = max((np.shape(v)[0] for v in values.values() if np.ndim(v)), default=1)
    shape = np.broadcast_shapes(budget.shape, (drawn, 1))

    def size_where(tokens: Callable[[np.ndarray], Any]) -> np.ndarray:
        """N at which N parameters on tokens(N) tokens cost the budget."""
        return increasing_root(lambda N: spend(cost, values, N, tokens(N)), budget, shape)

    most = size_where(lambda N: 1.0)
    lows = {EDGE: np.ones(shape)}
    highs = {EDGE: most}
    least, most_params = limits.params
    if least > 0:
        lows[_text("params", ">=", limits.params, 0)] = np.full(shape, least)
    if most_params < np.inf:
        highs[_text("params", "<=", limits.params, 1)] = np.full(shape, most_params)
    # the more tokens the fewer parameters; smaller sizes than these train on all they may and leave money over
    enough = {}
    for pair, name, tokens in (
        (limits.tokens, "tokens", lambda bound: lambda N: bound),
        (limits.ratio, "tokens per parameter", lambda bound: lambda N: bound * N),
    ):
        if pair[0] > 0:
            highs[_text(name, ">=", pair, 0)] = size_where(tokens(pair[0]))
        if pair[1] < np.inf:
            # a budget that cannot buy that many at one parameter is never held by it
            enough[_text(name, "<=", pair, 1)] = np.nan_to_num(size_where(tokens(pair[1])), nan=1.0)
    if limits.tokens[0] > 0 and limits.ratio[1] < np.inf:
        name = f"{_text('tokens', '>=', limits.tokens, 0)} at {_text('tokens per parameter', '<=', limits.ratio, 1)}"
        lows[name] = np.full(shape, limits.tokens[0] / limits.ratio[1])
    if limits.ratio[0] > 0 and limits.tokens[1] < np.inf:
        name = f"{_text('tokens', '<=', limits.tokens, 1)} at {_text('tokens per parameter', '>=', limits.ratio, 0)}"
        highs[name] = np.full(shape, limits.tokens[1] / limits.ratio[0])
    high, high_name = _tightest(highs, np.fmin)
    low, low_name = _tightest(lows | {name: np.fmin(value, high) for name, value in enough.items()}, np.fmax)
    for name, value in enough.items():  # money is left at every size: two limits hold the split
        low_name = np.where((value > high) & (high_name != name), high_name + f" and {name}", low_name)
    untrained = ~(np.log(most) - np.log(low) > -LOG_SLACK)  # the smallest size does not get a single token
    short = ~(np.log(high) - np.log(low) > -LOG_SLACK) | np.isnan(np.stack(list(highs.values()))).any(axis=0)
    impossible = untrained | short
    if strict:
        if (refused := untrained.any(axis=0) | too_often_short(short)).any():
            where = tuple(np.argwhere(impossible & refused)[0])
            amount = np.broadcast_to(budget, shape)[where]
            start = f"a budget of {number_text(amount, 4)}{_in_draws(impossible[:, where[1]])}"
            raise FitError(f"{start} {_why_impossible(lows, highs, where)}")
        high, impossible = np.where(short, low, high), np.zeros_like(short)
    low = np.where(impossible, np.nan, low)
    return np.log(low), np.log(np.where(impossible, np.nan, np.maximum(high, low))), low_name, high_name


def _in_draws(happens: np.ndarray) -> str:
    """In how many draws of a cost [draw], where not in all."""
    return "" if happens.all() else f", in {happens.sum()} of the {happens.size} draws of its cost,"


def _text(name: str, sign: str, pair: tuple[float, float], end: int) -> str:
    return f"{name} {'=' if pair[0] == pair[1] else sign} {size_text(pair[end])}"


def _tightest(bounds: Mapping[str, np.ndarray], pick: Any) -> tuple[np.ndarray, np.ndarray]:
    names, table = list(bounds), np.stack(list(bounds.values()))
    value = pick.reduce(table)
    index = np.argmax(table == value, axis=0)
    return value, np.array(names, dtype=object)[index]


def _why_impossible(lows: Mapping[str, np.ndarray], highs: Mapping[str, np.ndarray], where: tuple[int, ...]) -> str:
    if not np.isfinite(highs[EDGE][where]):
        return "does not buy one token for one parameter: nothing can be trained"
    for name, value in highs.items():
        if not np.isfinite(value[where]):
            return f"does not buy {name}: a larger budget or a looser limit is needed"
    low, low_name = _tightest({k: np.asarray(v[where]) for k, v in lows.items()}, np.fmax)
    high, high_name = _tightest({k: np.asarray(v[where]) for k, v in highs.items()}, np.fmin)
    upper = "one token" if high_name == EDGE else str(high_name)
    lower = "one parameter" if low_name == EDGE else str(low_name)
    return (
        f"has no split that keeps to the limits: {lower} asks for at least {size_text(float(low))} parameters, "
        f"{upper} allows at most {size_text(float(high))}; loosen one of them or raise the budget"
    )


def _best_of_menu(problem: Problem, menu: Mapping[str, np.ndarray], budget: np.ndarray, strict: bool) -> Split:
    """The item of the menu with the least loss, for every draw and budget."""
    limits = problem.limits
    best: list[np.ndarray] = []
    smallest: list[np.ndarray] = []  # what a draw takes that is short of a limit
    for i, N in enumerate(menu["params"]):
        columns = {name: column[i] for name, column in menu.items() if name != "params"}
        D = tokens_within(problem, np.full((1, 1), N), budget, columns)
        trained = (D >= 1.0) & (limits.params[0] <= N <= limits.params[1])
        loss = np.where(trained, _cleaned(loss_at(problem.surface, np.full((1, 1), N), D)), np.inf)
        item = [np.full(loss.shape, N), np.broadcast_to(D, loss.shape), loss]
        if not smallest and trained.any():
            smallest = item
        allowed = (D >= limits.tokens[0]) & (D / N >= limits.ratio[0])
        item = [*item[:2], np.where(allowed, loss, np.inf)]
        if best:
            better = item[2] < best[2]
            item = [np.where(better, new, old) for new, old in zip(item, best, strict=True)]
        best = item
    short = ~np.isfinite(best[2])
    if strict and smallest and short.any():
        borne = short & ~too_often_short(short)
        best = [np.where(borne, new, old) for new, old in zip(smallest, best, strict=True)]
    N, D, loss = best
    if strict and not np.isfinite(loss).all():
        where = tuple(np.argwhere(~np.isfinite(loss))[0])
        amount, sizes = np.broadcast_to(budget, loss.shape)[where], menu["params"]
        raise FitError(
            f"a budget of {number_text(amount, 4)}{_in_draws(~np.isfinite(loss[:, where[1]]))} does not allow any of "
            f"the {len(sizes)} architectures of the menu ({size_text(sizes.min())} to {size_text(sizes.max())} "
            "parameters) within the limits; add smaller ones, loosen the limits or raise the budget"
        )
    ends = {menu["params"].min(): "the smallest of the menu", menu["params"].max(): "the largest of the menu"}
    held = np.full(N.shape, "", dtype=object)
    for size, name in ends.items():
        held = np.where(size == N, name, held)
    return Split(N, D, loss, held)
