"""The size at which a forecast gives a run the wanted probability of meeting a target, also through a chain."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.axis import Axis
from bayescale.budgets.optimum import Problem, best_split
from bayescale.budgets.problem import forecast_inputs, median_split
from bayescale.forecasts.chain import chained
from bayescale.forecasts.forecast import forecast, probability_to_reach
from bayescale.laws.groups import group_of
from bayescale.study import Study

SIZES_A_DECADE = 6  # of the size, at which runs are forecast; in between the probability is interpolated
FURTHER_DECADES = 3.0  # beyond where the law alone meets the target, in which the size is sought
FIRST_DECADES = 1.0  # before the least size at which a draw of the law meets it
CHANCE_SIZES_MAX = 120
FINE_POINTS = 13  # within a step


def size_for_chance(
    study: Study,
    links: Mapping[str, Study],
    axis: Axis,
    problem: Problem | None,
    by_law: np.ndarray,
    goal: tuple[str, np.ndarray],
    chance: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The first size along an axis at which a target is met with a probability of ``chance`` [target].

    Parameters
    ----------
    links : studies whose forecasts are inputs of the law, by column
    problem : of the budgets, where the axis is one of budgets: a run is then of the median split
    by_law : the first size of each draw if the law is right [draw, target], infinite or 0 where there is none
    goal : the side of the targets, and their values [target]

    Returns
    -------
    The sizes, infinite, or 0 along a loss, where none that was looked at has that probability; and the largest
    probability of those that were [target].
    """
    sign, targets = goal
    found, most = np.full(len(targets), 0.0 if axis.size == "loss" else np.inf), np.zeros(len(targets))
    known = by_law[np.isfinite(by_law) & (by_law > 0)]
    if not known.size:
        return found, most
    coarse = _grid(axis, known)
    along = _forecast(study, links, axis, problem, coarse, seed)
    for i, target in enumerate(targets):
        wanted = f"{sign} {float(target)!r}"
        sizes, reached = coarse, probability_to_reach(along, wanted)
        most[i] = reached.max()
        if most[i] < chance:
            continue
        at = int(np.argmax(reached >= chance))
        if at > 0:  # where little is unknown the probability rises within less than a step
            sizes, ends = np.geomspace(sizes[at - 1], sizes[at], FINE_POINTS), reached[[at - 1, at]]
            reached = probability_to_reach(_forecast(study, links, axis, problem, sizes, seed), wanted)
            reached[[0, -1]] = ends  # as they were found: other draws of the noise may leave no step that passes it
            at = int(np.argmax(reached >= chance))
        found[i] = sizes[at] if at == 0 else _between(sizes[at - 1 : at + 1], reached[at - 1 : at + 1], chance)
    return found, most


def _grid(axis: Axis, known: np.ndarray) -> np.ndarray:
    """Sizes along an axis, from the worst to the best, around those that the law alone asks for."""
    onward = np.sign(np.log(axis.last / axis.first))
    ends = np.quantile(np.log10(known), [0.01, 0.95] if onward > 0 else [0.99, 0.05])
    first, last = ends[0] - onward * FIRST_DECADES, ends[1] + onward * FURTHER_DECADES
    allowed = np.log10([min(axis.first, axis.last), max(axis.first, axis.last)])
    first, last = np.clip([first, last], *allowed)
    count = min(CHANCE_SIZES_MAX, int(np.ceil(SIZES_A_DECADE * abs(last - first))) + 2)
    return np.logspace(first, last, count)


def _between(sizes: np.ndarray, reached: np.ndarray, chance: float) -> float:
    """Where a probability passes a value between two sizes, by a line in log size."""
    share = (chance - reached[0]) / (reached[1] - reached[0])
    return float(np.exp(np.interp(share, [0.0, 1.0], np.log(sizes))))


def _forecast(
    study: Study, links: Mapping[str, Study], axis: Axis, problem: Problem | None, sizes: np.ndarray, seed: int
) -> xr.DataTree:
    """The forecast of runs of some sizes along an axis."""
    inputs: dict[str, Any] = dict(axis.others)
    if problem is None:
        inputs[axis.size] = sizes
    else:
        N, D = median_split(problem, best_split(problem, sizes[None, :], strict=False), sizes)
        inputs |= {"params": N, "tokens": D} | forecast_inputs(problem, D)
        inputs |= group_of(axis.study.law, problem.covariates)
    return chained(study, links, inputs, lambda one, given: forecast(one, covariates=given, seed=seed))
