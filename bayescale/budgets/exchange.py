"""How wrong a law may be about the splits of one budget: its rate of exchange between parameters and tokens.

The discrepancy was learnt from larger runs forecast from smaller ones, along growing compute. Along one budget a
decision needs one thing of it: where the best split really lies. So the law may err by a factor e^x in the worth of
tokens against parameters,

    L(N, D) = law(N e^-x, D e^x),

which moves the best split of every budget from N* to N* e^x and keeps its loss, as every budget's product N D stays.
There are no wiggles to be lucky with, no draw in which a size far out is the best, and limits and costs need nothing
of their own. x is normal. Its centre is how far the drift, where the runs bend away from the law, moves the best split
of the mean curve. Its variance is that of where the drift that the runs leave open puts the minimum, which grows with
the distance beyond them, and EXCHANGE_SD squared: how far the measured minima of real isoFLOP sweeps lay from there
besides (benchmarks/exchange.py, docs/allocation.md).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from bayescale.budgets.cost import parse_cost
from bayescale.budgets.optimum import Problem, Split, best_split
from bayescale.budgets.problem import forecast_inputs, median_split
from bayescale.budgets.surface import loss_at, loss_slope, thinned
from bayescale.forecasts.curve import expected_log_loss, open_contrasts
from bayescale.forecasts.discrepancy_posterior import Discrepancy, discrepancy_of
from bayescale.forecasts.planned import planned_runs
from bayescale.study import Study

EXCHANGE_SD = 0.06  # of ln N*: what real sweeps showed beyond the law's posterior and the open drift
OPEN_EFOLDS_MAX = 1.0  # sd of the minimum that the open drift leaves: a flat curve has no minimum
AROUND_EFOLDS = 1.5  # of N around the law's best split: how far the drift may move it
SPLIT_POINTS = 31
SLOPE_POINTS = 10  # to each side: one e-fold of N, over which the slope of the open drift is taken
MEAN_DRAWS = 500
BUDGETS_AT_ONCE = 50  # so many points are forecast together


@dataclass(frozen=True)
class Exchange:
    """Where x lies at some products N D: normal, in e-folds of N.

    Attributes
    ----------
    centre : [budget]
    open_sd : of where the drift that the runs leave open puts the minimum [budget]
    """

    centre: np.ndarray
    open_sd: np.ndarray

    @property
    def sd(self) -> np.ndarray:
        """Of x [budget]."""
        return np.hypot(EXCHANGE_SD, self.open_sd)


def erring(study: Study, problem: Problem, split: Split, budgets: np.ndarray, seed: int) -> Problem:
    """The same problem under a law that may be wrong about the exchange of parameters and tokens.

    Its draws x [draw, budget] are those at the products N D of the law's own ``split``. A draw has one place in the
    normal distributions of all budgets.
    """
    N, D = median_split(problem, split, budgets)
    at = exchange_at(study.once(discrepancy_of), problem, N * D)
    return _with_errors(problem, at.centre + at.sd * paired_places(study, problem, seed)[:, None])


def erring_aside(
    study: Study,
    problem: Problem,
    splits: tuple[Split, Split],
    budgets: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> tuple[Problem, Problem]:
    """The problems at budgets below some and above them, under a law that errs at each: for slopes between the two.

    Where the open drift puts the minimum at one and at the other is correlated as the drift is. The rest, of
    EXCHANGE_SD, is drawn anew at each: on real sweeps it was no more alike a decade apart than in two studies
    (docs/allocation.md). ``splits`` are the law's own.
    """
    pairs = [np.prod(median_split(problem, *some), axis=0) for some in zip(splits, budgets, strict=True)]
    below, above, alike = _exchange_aside(study.once(discrepancy_of), problem, *pairs)
    first, second, *own = (normal_places(study.draw_count, seed, use)[:, None] for use in range(4))
    second = alike * first + np.sqrt(1 - alike**2) * second
    errors = [
        at.centre + at.open_sd * place + EXCHANGE_SD * rest
        for at, place, rest in zip((below, above), (first, second), own, strict=True)
    ]
    return _with_errors(problem, errors[0]), _with_errors(problem, errors[1])


def _with_errors(problem: Problem, errors: np.ndarray) -> Problem:
    return replace(problem, surface=replace(problem.surface, exchange=errors))


def of_budget(problem: Problem, i: int) -> Problem:
    """The problem at one of its budgets."""
    errors = problem.surface.exchange
    return problem if errors is None else _with_errors(problem, errors[:, [i]])


def normal_places(count: int, seed: int, use: int = 0) -> np.ndarray:
    """Quantiles of the standard normal distribution, shuffled [draw]: mean and spread are the same at any seed.

    The shuffle is another for each ``use``, and none of those by which uncertain costs are drawn at the same seed.
    """
    rng = np.random.default_rng([seed, 201 + use])
    return ndtri((rng.permutation(count) + 0.5) / count)


def paired_places(study: Study, problem: Problem, seed: int) -> np.ndarray:
    """Quantiles of the standard normal distribution [draw], spread evenly over draws of alike best splits.

    Draws are put in the order of the slope of their law along a budget at the largest run, and cut into blocks of
    about the root of their number. Each block has one quantile of each of as many equal parts of the distribution, at
    random: a mean over draws, such as an expected regret, depends on the seed far less than with a plain shuffle.
    """
    sizes = [study.runs[name].values.astype(float) for name in ("params", "tokens")]
    N, D = (np.full((1, 1), size[np.argmax(sizes[0] * sizes[1])]) for size in sizes)
    with np.errstate(all="ignore"):
        slope = np.broadcast_to(loss_slope(problem.surface, N, D, -D), (study.draw_count, 1))[:, 0]
    rng, count = np.random.default_rng([seed, 200]), len(slope)
    block = round(np.sqrt(count))
    parts = rng.permuted(np.tile(np.arange(block), (-(-count // block), 1)), axis=1).ravel()[:count]
    ranks, places = np.argsort(np.argsort(parts + rng.random(count))), np.empty(count)
    places[np.argsort(slope, kind="stable")] = ndtri((ranks + 0.5) / count)
    return places


def exchange_at(found: Discrepancy, problem: Problem, pairs: np.ndarray) -> Exchange:
    """The law's error in the exchange of parameters and tokens at N D = ``pairs`` [budget].

    The centre is 0 where the law's own mean has no least.
    """
    parts = np.array_split(pairs, -(-len(pairs) // BUDGETS_AT_ONCE))
    each = [_exchange_together(found, problem, part)[0] for part in parts]
    return Exchange(np.concatenate([one.centre for one in each]), np.concatenate([one.open_sd for one in each]))


def _exchange_aside(
    found: Discrepancy, problem: Problem, below: np.ndarray, above: np.ndarray
) -> tuple[Exchange, Exchange, np.ndarray]:
    """The law's errors at two products N D of each budget, and the correlation of their open parts [budget]."""
    each, alike = [], []
    for pairs in np.array_split(np.stack([below, above]), -(-2 * len(below) // BUDGETS_AT_ONCE), axis=1):
        at, correlation = _exchange_together(found, problem, pairs.ravel())
        each.append((at.centre.reshape(pairs.shape), at.open_sd.reshape(pairs.shape)))
        alike.append(np.diag(correlation, pairs.shape[1]))
    centre, open_sd = (np.concatenate(parts, axis=1) for parts in zip(*each, strict=True))
    return Exchange(centre[0], open_sd[0]), Exchange(centre[1], open_sd[1]), np.concatenate(alike)


def _exchange_together(found: Discrepancy, problem: Problem, pairs: np.ndarray) -> tuple[Exchange, np.ndarray]:
    """The law's errors at some products N D, and the correlation of their open parts [budget, budget]."""
    surface = thinned(problem.surface, MEAN_DRAWS)
    free = Problem(surface, parse_cost("N*D", {}), {})
    middle = np.median(np.log(best_split(free, pairs[None, :], strict=False).N), axis=0)
    steps = np.linspace(-AROUND_EFOLDS, AROUND_EFOLDS, SPLIT_POINTS)
    N = np.exp(middle[:, None] + steps)  # [budget, step]
    D = pairs[:, None] / N
    points = planned_runs(found.study, N.ravel(), D.ravel(), forecast_inputs(problem, D.ravel()))
    mean = expected_log_loss(found, points).reshape(N.shape)
    centres = np.zeros(len(pairs))
    for i in range(len(pairs)):
        with np.errstate(all="ignore"):
            alone = np.log(loss_at(surface, N[[i]], D[[i]])).mean(axis=0)
        law = lowest(steps, alone)
        centres[i] = lowest(steps, mean[i]) - law if abs(law) < AROUND_EFOLDS else 0.0
    half = SPLIT_POINTS // 2
    low, high = half - SLOPE_POINTS, half + SLOPE_POINTS
    place = np.arange(len(pairs)) * SPLIT_POINTS
    contrasts = open_contrasts(found, points.isel(point=place + low), points.isel(point=place + high))
    contrast = np.sqrt(np.maximum(np.diag(contrasts), 0.0))
    width = steps[high]
    bend = (mean[:, low] - 2 * mean[:, half] + mean[:, high]) / width**2
    with np.errstate(divide="ignore", invalid="ignore"):  # the slope of the drift over the curvature of the mean
        open_sd = np.where(bend > 0, contrast / (2 * width * bend), np.inf)
        correlation = np.nan_to_num(contrasts / np.outer(contrast, contrast))
    return Exchange(centres, np.minimum(open_sd, OPEN_EFOLDS_MAX)), np.clip(correlation, -1.0, 1.0)


def lowest(x: np.ndarray, curve: np.ndarray) -> float:
    """Where the parabola through the least point of a curve on an even grid and its neighbours is least."""
    i = int(np.nanargmin(np.where(np.isfinite(curve), curve, np.inf)))
    if not 0 < i < len(x) - 1:
        return float(x[i])
    left, middle, right = curve[i - 1 : i + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(x[i] + (x[i + 1] - x[i]) * np.clip(np.nan_to_num(shift), -0.5, 0.5))
