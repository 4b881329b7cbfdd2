"""One size and what a law gives along it: the budget of a law of N and D, split at its best, or a law's own size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayescale.budgets.cost import spend
from bayescale.budgets.minimise import root
from bayescale.budgets.optimum import Problem, best_split
from bayescale.budgets.problem import SplitOptions, inputs_given, problem_of
from bayescale.errors import FitError
from bayescale.field import listed
from bayescale.fitting.doors import mapping
from bayescale.forecasts.chain import check_link, divided
from bayescale.laws.groups import group_of
from bayescale.laws.law import NO_SIZE, Law, column, is_joint, law_loss, size_column
from bayescale.runs.loss_unit import from_nats
from bayescale.study import Study

SEARCHED_TIMES = (1e-8, 1e12)  # the largest run's size: where a target is sought
CURVE_POINTS_A_DECADE = 3
# log sizes [draw or 1, k] and, where known, what the function returned near there -> values [draw, k], and the latter
Curve = Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Axis:
    """What a law gives along one size, over all draws.

    Attributes
    ----------
    study : the one whose runs have that size: of a chain the first
    size : column of the size; "compute" for budgets
    curve : the value of the law at log sizes
    first, last : sizes between which a target is sought, from the worst run to the best: of a loss the highest is first
    others : values of the other inputs of the law, by column, a group by its name; of a chain those of all its laws
    """

    study: Study
    size: str
    curve: Curve
    first: float
    last: float
    others: Mapping[str, float | str]


def asked_axis(
    study: Study, seed: int, options: SplitOptions, through: Mapping[str, Study] | None = None
) -> tuple[Axis, Problem | None]:
    """Along what a question is asked: budgets and their split, or the size of a law that has no split.

    Raises FitError if an option or a study of a chain is of no use.

    Parameters
    ----------
    through : studies whose laws give an input of the law, by column: the size is then that of the first of the chain
    """
    links = dict(through or {})
    inputs = {column(symbol): symbol for symbol in study.law.inputs}
    linked = [] if is_joint(study.law) else [name for name in inputs if name in links]
    if linked:
        inner = links.pop(linked[0])
        check_link(study, linked[0], inner.law.observed.column, inner.loss_unit)
        own = set(inputs) - {linked[0]}
        if study.law.observed.count in mapping("given", options.get("given")):
            raise FitError(
                f"{study.law.observed.count} is given: a target of law '{study.law.name}' is the expected "
                f"{study.law.observed.column}, which does not depend on how many there are; leave it out"
            )
        mine, left = divided(mapping("given", options.get("given")), own, (inner, *links.values()))
        others = inputs_given(study.law, own, mine, f"besides {linked[0]}")
        axis, problem = asked_axis(inner, seed, {**options, "given": left or None}, links)
        return _linked(axis, study, (linked[0], inputs[linked[0]]), inner, others, seed), problem
    if links:
        raise FitError(f"'{min(links)}' is not an input of a law of the chain that can be forecast by another fit")
    if not is_joint(study.law):
        return own_axis(study, options), None
    problem = problem_of(study, seed=seed, **options)
    return _frontier(study, problem), problem


def _linked(
    axis: Axis, study: Study, link: tuple[str, str], inner: Study, others: Mapping[str, float], seed: int
) -> Axis:
    """A law along the axis of the law that gives one of its inputs (column, symbol); draws are paired at random."""
    law, (name, symbol) = study.law, link
    rng = np.random.default_rng([seed, len(law.text)])
    order = np.resize(rng.permutation(study.draw_count), axis.study.draw_count)
    fixed = {one: np.asarray(study.draws[one])[order] for one in law.priors} | dict(study.constants) | dict(others)
    in_unit = name != "loss" and inner.law.observed.column == "loss"

    def curve(log_size: np.ndarray, near: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        value, near = axis.curve(log_size, near)
        with np.errstate(all="ignore"):
            value = from_nats(value, inner.loss_unit) if in_unit else value
            found = np.asarray(law_loss(law, {**fixed, symbol: value}), dtype=float)
        return np.broadcast_to(found, np.broadcast_shapes(found.shape, value.shape)), near

    return replace(axis, curve=curve, others={**axis.others, **_by_column(law, others)})


def curve_of(problem: Problem) -> Curve:
    """The loss of the best split along log budget; NaN where a budget allows none."""

    def curve(log_budget: np.ndarray, near: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        split = best_split(problem, np.exp(log_budget), near, strict=False)
        return split.loss, split.N

    return curve


def _frontier(study: Study, problem: Problem) -> Axis:
    """The best split of every budget."""
    data = study.runs
    middle = {name: float(np.median(value)) for name, value in problem.cost_values.items()}
    if problem.menu is not None:
        middle |= {name: float(np.median(value)) for name, value in problem.menu.items() if name != "params"}
    run = int(np.argmax(data["compute"].values))
    largest = float(spend(problem.cost, middle, data["params"].values[run], data["tokens"].values[run]))
    return Axis(study, "compute", curve_of(problem), largest * SEARCHED_TIMES[0], largest * SEARCHED_TIMES[1], {})


def own_axis(study: Study, options: SplitOptions, falling: bool = False) -> Axis:
    """A law of one size along it, its other inputs as ``given``.

    The size is that of the law, or, where that is given, the only input that is not. Raises FitError if an option is
    one of a split, or more than one input is left open.

    Parameters
    ----------
    falling : whether runs get better as the size falls, as along a loss they always do
    """
    law, given = study.law, mapping("given", options.get("given"))
    if wrong := sorted(name for name, value in options.items() if value is not None and name != "given"):
        raise FitError(f"{wrong[0]} goes with the split of a budget; law '{law.name}' has {listed([*law.inputs])} only")
    symbols = {column(symbol): symbol for symbol in law.inputs}
    given = {symbols.get(name, name): value for name, value in given.items()}
    if unused := sorted(set(given) - set(law.inputs)):
        raise FitError(f"'{unused[0]}' is given, but is not an input of law '{law.name}'")
    size = size_column(law)
    left = [symbol for symbol in law.inputs if symbol not in given]
    if size is not None and symbols.get(size, "") in given:
        size = column(left[0]) if len(left) == 1 else None
        if size is None:
            raise FitError(f"law '{law.name}': one input must be left open, to be sought; open are {left or 'none'}")
    if size is None:
        raise FitError(f"law '{law.name}': {NO_SIZE}")
    symbol = symbols[size]
    others = inputs_given(law, set(law.inputs) - {symbol}, given, f"besides {size}")
    fixed = study.draws | others

    def curve(log_size: np.ndarray, near: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            value = np.asarray(law_loss(law, {**fixed, symbol: np.exp(log_size)}), dtype=float)
        value = np.broadcast_to(value, np.broadcast_shapes(value.shape, log_size.shape))
        return value, value

    largest = float(study.runs[size].max())
    first, last = (largest / times if falling or size == "loss" else largest * times for times in SEARCHED_TIMES)
    return Axis(study, size, curve, first, last, _by_column(law, others))


def _by_column(law: Law, symbols: Mapping[str, float]) -> dict[str, float | str]:
    """Values of inputs as a forecast takes them: the code of a group is that of one law only, its name that of all."""
    return {column(symbol): value for symbol, value in symbols.items()} | group_of(law, symbols)


def least_size(
    axis: Axis, gap: Callable[[np.ndarray, np.ndarray], np.ndarray], target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first size along an axis that meets a target [draw or 1, target], and what the curve returned near it.

    ``gap`` (value, target) is at most 0 where the target is met. NaN where it is not met anywhere, the first size of
    the axis where it is met there already. A grid of sizes brackets it; the root of the gap places it.
    """
    ends = np.log([axis.first, axis.last])
    count = int(np.ceil(CURVE_POINTS_A_DECADE * max(1.0, abs(ends[1] - ends[0]) / np.log(10)))) + 1
    grid = np.linspace(ends[0], ends[1], count)
    values, near = axis.curve(grid[None, :], None)
    draws = max(values.shape[0], target.shape[0])
    target = np.broadcast_to(target, (draws, target.shape[1]))

    def short(value: np.ndarray, goal: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = gap(value, goal)
        return np.where(np.isnan(found) | np.isposinf(found), 1.0, found)  # no value: far from any target

    gaps = short(np.broadcast_to(values, (draws, count))[:, None, :], target[:, :, None])  # [draw, target, size]
    first, never = np.argmax(gaps <= 0, axis=2), ~(gaps <= 0).any(axis=2)
    right = np.where(never, count - 1, np.maximum(first, 1))
    rows = np.arange(draws)[:, None]
    f_left, f_right = (np.take_along_axis(gaps, at[:, :, None], axis=2)[:, :, 0] for at in (right - 1, right))
    near = np.broadcast_to(near, (draws, count))[rows, right]
    found = root(lambda at: short(axis.curve(at, near)[0], target), grid[right - 1], grid[right], f_left, f_right)
    size = np.where(first == 0, axis.first, np.exp(found))
    return np.where(never, np.nan, size), near


def values_at(axis: Axis, sizes: np.ndarray) -> np.ndarray:
    """What the law gives at sizes [draw, size]."""
    return axis.curve(np.log(sizes)[None, :], None)[0]
