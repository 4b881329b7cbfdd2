"""The cheapest and the best split, for all posterior draws and budgets at once: plain NumPy arrays [draw, budget]."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayescale.budgets.cost import Cost, increasing_root, spend, tokens_at, tokens_slope
from bayescale.budgets.surface import Surface, loss_at, loss_slope
from bayescale.errors import FitError
from bayescale.field import number_text, size_text

GRID = 25  # coarse points of log N in which the minimum is bracketed
CLOSER = 8  # times that bracket is halved where its ends lie in a plain
CLEARLY = 1e-10  # share of a loss by which others are above it: more than rounding
ROOT_STEPS = 60  # at most, towards the root of its slope in that bracket
ROOT_WIDTH = 1e-8  # of log N
EDGE = "edge"  # of the search: a single parameter, a single token


@dataclass(frozen=True)
class Limits:
    """What a split must keep to; (0, inf) is no limit, and equal ends hold a size at that value."""

    params: tuple[float, float] = (0.0, np.inf)
    tokens: tuple[float, float] = (0.0, np.inf)
    ratio: tuple[float, float] = (0.0, np.inf)  # tokens per parameter

    @property
    def any(self) -> bool:
        return any(pair != (0.0, np.inf) for pair in (self.params, self.tokens, self.ratio))


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

    ``near`` [draw, budget] are sizes N known to be within a factor e of the best, which saves the coarse search.
    A budget that buys more than the limits allow leaves money over. Where no split keeps to the limits the loss is
    infinite, unless ``strict``.

    Raises
    ------
    FitError
        If ``strict`` and no split keeps to the limits at a budget.
    """
    if problem.menu is not None:
        return _best_of_menu(problem, budget, strict)
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

    log_n, at = minimise(loss, slope, low, high, None if near is None else np.log(near))
    N = np.exp(log_n)
    value = loss(log_n)
    D = np.broadcast_to(tokens_within(problem, N, budget), N.shape)
    held = np.where(
        at < 0, np.broadcast_to(low_name, N.shape), np.where(at > 0, np.broadcast_to(high_name, N.shape), "")
    )
    if impossible.any():
        N, D = np.where(impossible, np.nan, N), np.where(impossible, np.nan, D)
        value = np.where(impossible, np.inf, value)
    return Split(N, D, value, held)


def tokens_within(
    problem: Problem, N: np.ndarray, budget: np.ndarray, columns: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Tokens D that a budget buys at size N, at most what the limits allow: what is left is not spent; NaN where none.

    ``columns`` are the values of an architecture of the menu that the cost uses.
    """
    D = tokens_at(problem.cost, {**problem.cost_values, **(columns or {})}, N, budget)
    return np.minimum(D, np.minimum(problem.limits.tokens[1], problem.limits.ratio[1] * N))


def minimise(
    objective: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    near: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where ``objective`` is least between ``low`` and ``high``, elementwise; and -1, 0 or 1: is that at an end?

    The least of GRID points brackets the minimum, or ``near`` does, give or take 1; the root of the slope places it.
    A well in a plain, whose slope is 0 beside it, is bracketed more closely first. Where the slope does not change its
    sign in the bracket the minimum is at an end.
    """
    if near is None:
        step = (high - low) / (GRID - 1)
        best = objective(low)
        index = np.zeros(best.shape)
        for i in range(1, GRID):
            value = objective(low + i * step)
            better = value < best
            np.copyto(best, value, where=better)
            index[better] = i
        left, right = low + np.maximum(index - 1, 0) * step, low + np.minimum(index + 1, GRID - 1) * step
    else:
        shape = np.broadcast_shapes(near.shape, low.shape)
        left, right = (np.broadcast_to(np.clip(near + sign, low, high), shape) for sign in (-1, 1))
    f_left, f_right = slope(left), slope(right)
    if near is None and not ((f_left < 0) & (f_right > 0)).all():
        left, right = _closer(objective, slope, left, right, best)
        f_left, f_right = slope(left), slope(right)
    astray = ~((f_left < 0) & (f_right > 0)) & (np.abs(left - low) + np.abs(right - high) > 0)
    if astray.any():  # where all of the loss is its floor, values cannot find the bracket; the slope still can
        left, right = np.where(astray, low, left), np.where(astray, high, right)
        f_left, f_right = np.where(astray, slope(left), f_left), np.where(astray, slope(right), f_right)
    # NaN: an overflowing corner of the search, away from which the loss falls
    f_left, f_right = np.nan_to_num(f_left, nan=-1.0), np.nan_to_num(f_right, nan=1.0)
    at = np.where(f_left >= 0, -1, np.where(f_right <= 0, 1, 0))
    # an end that is the minimum is a bracket of no width: nothing is left to look for
    x = root(slope, np.where(at > 0, right, left), np.where(at < 0, left, right), f_left, f_right)
    at_low, at_high = np.abs(x - low) <= ROOT_WIDTH, np.abs(x - high) <= ROOT_WIDTH
    return x, np.where(at_low, -1, np.where(at_high, 1, 0))


def _closer(
    objective: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    best: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Brackets around grid points whose value is ``best``, drawn closer where a slope at an end does not lead inwards
    though the value there is clearly above the least: the end lies in a plain, or behind a crest."""
    for _ in range(CLOSER):
        with np.errstate(invalid="ignore"):
            edge = np.minimum(objective(left), objective(right)) - best > CLEARLY * np.abs(best)
            plain = edge & ~((slope(left) < 0) & (slope(right) > 0))
        if not plain.any():
            break
        step = (right - left) / 4
        values = np.stack([objective(left + i * step) for i in (1, 2, 3)])
        least, at = values.min(axis=0), left + (values.argmin(axis=0) + 1) * step
        left, right = np.where(plain, at - step, left), np.where(plain, at + step, right)
        best = np.where(plain, least, best)
    return left, right


def root(
    function: Callable[[np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray, fa: np.ndarray, fb: np.ndarray
) -> np.ndarray:
    """Where ``function`` is 0 between a and b, elementwise, given its values of opposite sign there.

    Inverse quadratic interpolation where it can be trusted, else bisection (Chandrupatla 1997,
    doi:10.1016/s0965-9978(96)00051-8). Where the signs do not differ the result is of no use.
    """
    c, fc, t = a, fa, np.full(fa.shape, 0.5)
    with np.errstate(all="ignore"):
        for _ in range(ROOT_STEPS):
            x = a + t * (b - a)
            f = np.nan_to_num(function(x), nan=0.0)
            same = np.sign(f) == np.sign(fa)
            c, fc = np.where(same, a, b), np.where(same, fa, fb)
            b, fb = np.where(same, b, a), np.where(same, fb, fa)
            a, fa = x, f
            nearest = np.where(np.abs(fa) < np.abs(fb), a, b)
            least = 0.5 * ROOT_WIDTH / np.abs(b - a)
            if ((least > 0.5) | (f == 0)).all():
                break
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            trusted = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            inverse = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
            t = np.where(trusted & np.isfinite(inverse), inverse, 0.5)
            t = np.where(f == 0, 0.0, np.clip(t, np.minimum(least, 0.5), 1 - np.minimum(least, 0.5)))
    return nearest


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
    impossible = (
        ~(np.log(high) - np.log(low) > -1e-9) | np.isnan(most) | np.isnan(np.stack(list(highs.values()))).any(0)
    )
    if impossible.any() and strict:
        where = np.argwhere(impossible)[0]
        amount = np.broadcast_to(budget, shape)[tuple(where)]
        raise FitError(_why_impossible(amount, lows, highs, tuple(where), float(impossible.mean(axis=0).max())))
    low = np.where(impossible, np.nan, low)
    return np.log(low), np.log(np.where(impossible, np.nan, np.maximum(high, low))), low_name, high_name


def _text(name: str, sign: str, pair: tuple[float, float], end: int) -> str:
    return f"{name} {'=' if pair[0] == pair[1] else sign} {size_text(pair[end])}"


def _tightest(bounds: Mapping[str, np.ndarray], pick: Any) -> tuple[np.ndarray, np.ndarray]:
    names, table = list(bounds), np.stack(list(bounds.values()))
    value = pick.reduce(table)
    index = np.argmax(table == value, axis=0)
    return value, np.array(names, dtype=object)[index]


def _why_impossible(amount: float, lows, highs, where: tuple[int, ...], share: float) -> str:
    start = f"a budget of {number_text(amount, 4)}"
    if share < 1:
        start = f"{start}, in {100 * share:.0f} % of the draws of its cost,"
    if not np.isfinite(highs[EDGE][where]):
        return f"{start} does not buy one token for one parameter: nothing can be trained"
    for name, value in highs.items():
        if not np.isfinite(value[where]):
            return f"{start} does not buy {name}: a larger budget or a looser limit is needed"
    low, low_name = _tightest({k: np.asarray(v[where]) for k, v in lows.items()}, np.fmax)
    high, high_name = _tightest({k: np.asarray(v[where]) for k, v in highs.items()}, np.fmin)
    upper = "one token" if high_name == EDGE else str(high_name)
    lower = "one parameter" if low_name == EDGE else str(low_name)
    return (
        f"{start} has no split that keeps to the limits: {lower} asks for at least {size_text(float(low))} parameters, "
        f"{upper} allows at most {size_text(float(high))}; loosen one of them or raise the budget"
    )


def _best_of_menu(problem: Problem, budget: np.ndarray, strict: bool) -> Split:
    """The item of the menu with the least loss, for every draw and budget."""
    menu, limits = problem.menu, problem.limits
    best: list[np.ndarray] | None = None
    for i, N in enumerate(menu["params"]):
        columns = {name: column[i] for name, column in menu.items() if name != "params"}
        D = tokens_within(problem, np.full((1, 1), N), budget, columns)
        allowed = (D >= max(1.0, limits.tokens[0])) & (D / N >= limits.ratio[0])
        if not limits.params[0] <= N <= limits.params[1]:
            allowed = np.zeros_like(allowed)
        loss = np.where(allowed, _cleaned(loss_at(problem.surface, np.full((1, 1), N), D)), np.inf)
        D = np.broadcast_to(D, loss.shape)
        if best is None:
            best = [np.full(loss.shape, N), D.copy(), loss.copy()]
        else:
            better = loss < best[2]
            best = [np.where(better, new, old) for new, old in zip((N, D, loss), best, strict=True)]
    N, D, loss = best
    if strict and not np.isfinite(loss).all():
        amount = np.broadcast_to(budget, loss.shape)[~np.isfinite(loss)][0]
        sizes = menu["params"]
        raise FitError(
            f"a budget of {number_text(amount, 4)} does not allow any of the {len(sizes)} architectures of the menu "
            f"({size_text(sizes.min())} to {size_text(sizes.max())} parameters) within the limits; "
            "add smaller ones, loosen the limits or raise the budget"
        )
    ends = {menu["params"].min(): "the smallest of the menu", menu["params"].max(): "the largest of the menu"}
    held = np.full(N.shape, "", dtype=object)
    for size, name in ends.items():
        held = np.where(size == N, name, held)
    return Split(N, D, loss, held)
