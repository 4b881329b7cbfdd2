"""How wrong a law may be about the splits of one budget: its rate of exchange between parameters and tokens.

The discrepancy was learnt from larger runs forecast from smaller ones, along growing compute. Along one budget a
decision needs one thing of it: where the best split really lies. So the law may err by a factor e^x in the worth of
tokens against parameters,

    L(N, D) = law(N e^-x, D e^x),

which moves the best split of every budget from N* to N* e^x and keeps its loss, as every budget's product N D stays.
There are no wiggles to be lucky with, no draw in which a size far out is the best, and limits and costs need nothing
of their own. x ~ Normal(centre, EXCHANGE_SD): the centre is how far the discrepancy, where the runs bend away from the
law, moves the best split of the mean curve; the sd is how far the measured minima of real isoFLOP sweeps lay from
there (benchmarks/exchange.py, docs/allocation.md).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from bayescale.budgets.cost import parse_cost
from bayescale.budgets.optimum import Problem, best_split
from bayescale.budgets.problem import forecast_inputs
from bayescale.budgets.surface import Surface, loss_at
from bayescale.forecasts.curve import expected_log_loss
from bayescale.forecasts.discrepancy_posterior import Discrepancy
from bayescale.forecasts.planned import planned_runs

EXCHANGE_SD = 0.12  # of ln N*: what real sweeps showed beyond the law's posterior
AROUND_EFOLDS = 1.5  # of N around the law's best split: how far the discrepancy may move it
SPLIT_POINTS = 31
MEAN_DRAWS = 500
BUDGETS_AT_ONCE = 50  # so many points are forecast together


def erring(
    found: Discrepancy, problem: Problem, covariates: Mapping[str, float], pairs: np.ndarray, seed: int
) -> Problem:
    """The same problem under a law that may be wrong about the exchange of parameters and tokens.

    Its draws x [draw, budget] are those at the products ``pairs`` = N D [budget]: a draw has one place in the spread
    around the centre of every budget.
    """
    count = found.study.posterior.sizes["chain"] * found.study.posterior.sizes["draw"]
    spread = exchange_spread(count, np.random.default_rng(seed))
    errors = exchange_centres(found, problem, covariates, pairs) + spread[:, None]
    return replace(problem, surface=replace(problem.surface, exchange=errors))


def of_budget(problem: Problem, i: int) -> Problem:
    """The problem at one of its budgets."""
    errors = problem.surface.exchange
    return problem if errors is None else replace(problem, surface=replace(problem.surface, exchange=errors[:, [i]]))


def exchange_spread(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws [draw] of x around its centre: quantiles of a normal distribution, shuffled."""
    return EXCHANGE_SD * ndtri((rng.permutation(count) + 0.5) / count)


def exchange_centres(
    found: Discrepancy, problem: Problem, covariates: Mapping[str, float], pairs: np.ndarray
) -> np.ndarray:
    """How far the discrepancy moves the least mean log loss at N D = ``pairs`` [budget], in e-folds of N [budget].

    0 where the law's own mean has no least.
    """
    if len(pairs) > BUDGETS_AT_ONCE:
        parts = np.array_split(pairs, -(-len(pairs) // BUDGETS_AT_ONCE))
        return np.concatenate([exchange_centres(found, problem, covariates, part) for part in parts])
    surface = _thinned(problem.surface)
    free = Problem(surface, parse_cost("N*D", {}), {})
    middle = np.median(np.log(best_split(free, pairs[None, :], strict=False).N), axis=0)
    steps = np.linspace(-AROUND_EFOLDS, AROUND_EFOLDS, SPLIT_POINTS)
    N = np.exp(middle[:, None] + steps)  # [budget, step]
    D = pairs[:, None] / N
    points = planned_runs(found.study, N.ravel(), D.ravel(), forecast_inputs(problem, covariates, D.ravel()))
    drifting = expected_log_loss(found, points).reshape(N.shape)
    centres = np.zeros(len(pairs))
    for i in range(len(pairs)):
        with np.errstate(all="ignore"):
            alone = np.log(loss_at(surface, N[[i]], D[[i]])).mean(axis=0)
        law = lowest(steps, alone)
        centres[i] = lowest(steps, drifting[i]) - law if abs(law) < AROUND_EFOLDS else 0.0
    return centres


def _thinned(surface: Surface) -> Surface:
    """About MEAN_DRAWS of the draws of a law: enough for the least of their mean curve."""
    count = max((np.shape(value)[0] for value in surface.known.values() if np.ndim(value)), default=1)
    step = max(1, count // MEAN_DRAWS)
    return replace(surface, known={name: v[::step] if np.ndim(v) else v for name, v in surface.known.items()})


def lowest(x: np.ndarray, curve: np.ndarray) -> float:
    """Where the parabola through the least point of a curve on an even grid and its neighbours is least."""
    i = int(np.nanargmin(np.where(np.isfinite(curve), curve, np.inf)))
    if not 0 < i < len(x) - 1:
        return float(x[i])
    left, middle, right = curve[i - 1 : i + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(x[i] + (x[i + 1] - x[i]) * np.clip(np.nan_to_num(shift), -0.5, 0.5))
