"""What every size costs under one budget: its loss in each draw, the size of least expected loss, waste of compute."""

from dataclasses import dataclass, replace

import numpy as np

from bayescale.budgets.cost import spend
from bayescale.budgets.optimum import (
    EDGE,
    SHORT_SHARE,
    Problem,
    Split,
    best_split,
    log_range,
    tokens_within,
    too_often_short,
)
from bayescale.budgets.problem import menu_columns
from bayescale.budgets.surface import loss_at
from bayescale.errors import FitError
from bayescale.field import number_text

CANDIDATE_SIZES = 49
# of the draws of an uncertain cost, in which the budget may not buy a size at all: the ends of a range LOW..HIGH are
# its 5 and 95 % points, and the largest of all draws depends on their number. Such a draw trains its own best split
UNAFFORDABLE_SHARE = 0.05
REACH_TIMES = 8.0  # beyond the band of N*, at first
WIDENINGS = 3  # each squares the reach, while the flat region is not closed
# shares of the budget at which the frontier is computed, to express a regret in compute
BUDGET_SHARES = np.concatenate([np.geomspace(1e-3, 0.5, 8), [0.65, 0.8, 0.9, 0.97, 1.0]])


@dataclass(frozen=True)
class Judged:
    """Sizes under one budget, judged on the same draws.

    ``expected`` is exp(E[log loss]); ``regret`` log loss less that of the draw's own best split; ``waste`` is what was
    spent less what the same loss needs, ``left_over`` what was not spent, both as shares of the budget. All are NaN
    where a size is not ``allowed``. In the share ``unaffordable`` of the draws the budget does not buy the size, and
    the draw's own best split is trained.
    """

    N: np.ndarray  # [size]
    D: np.ndarray  # the median over draws of the cost [size]
    allowed: np.ndarray  # [size]
    expected: np.ndarray  # [size]
    regret: np.ndarray  # [draw, size]
    waste: np.ndarray  # of compute [draw, size]
    left_over: np.ndarray  # the median over draws of the cost [size]
    unaffordable: np.ndarray  # [size]


def trained_tokens(problem: Problem, N: np.ndarray, budget: float) -> np.ndarray:
    """Tokens [draw or 1, size] on which sizes N [size] are trained; NaN where the budget does not buy one.

    What a limit does not let one spend is left over. NaN in every draw are sizes that are not allowed: outside the
    limits, or too often unaffordable or short of a lower limit.
    """
    D = tokens_within(problem, N[None, :], np.full((1, 1), budget), menu_columns(problem, N))
    limits, slack = problem.limits, 1 + 1e-9
    least = np.maximum(limits.tokens[0], limits.ratio[0] * N) / slack
    bought = D >= 1 / slack
    allowed = (N >= limits.params[0] / slack) & (N <= limits.params[1] * slack)
    allowed &= ((~bought).mean(axis=0) <= UNAFFORDABLE_SHARE) & ~too_often_short(bought & (D < least))
    return np.where(allowed & bought, D, np.nan)


def median_tokens(tokens: np.ndarray) -> np.ndarray:
    """The median over the draws that buy a size [size]; NaN where none does."""
    allowed = np.isfinite(tokens).any(axis=0)
    return np.where(allowed, np.nanmedian(np.where(allowed, tokens, 1.0), axis=0), np.nan)


def log_loss(problem: Problem, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Log loss of the law [draw, size]; infinite where it has none, NaN where D is."""
    with np.errstate(all="ignore"):
        value = np.log(loss_at(problem.surface, N[None, :], D))
    return np.where(np.isnan(D), np.nan, np.where(np.isfinite(value), value, np.inf))


def replanned(values: np.ndarray, otherwise: np.ndarray | float) -> np.ndarray:
    """Values [draw, size] with those of draws that cannot afford a size, though it is allowed, replaced."""
    return np.where(np.isnan(values) & np.isfinite(values).any(axis=0), otherwise, values)


def expected_log_loss(problem: Problem, split: Split, N: np.ndarray, budget: float) -> np.ndarray:
    """E[log loss] of sizes N under a budget [size]: what a decision minimises; NaN where a size is not allowed.

    ``split`` is each draw's own best, trained where the budget does not buy the size.
    """
    known = np.isfinite(N)
    size = np.where(known, N, 1.0)
    loss = replanned(log_loss(problem, size, trained_tokens(problem, size, budget)), np.log(split.loss))
    return np.where(known, loss.mean(axis=0), np.nan)


def candidates(problem: Problem, split: Split, budget: float, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Sizes around the band of N* and the expected log loss there [candidate]; of a menu all that are allowed."""
    reach = REACH_TIMES
    for _ in range(WIDENINGS):
        N = _grid(problem, split, budget, reach)
        curve = expected_log_loss(problem, split, N, budget)
        if not np.isfinite(curve).any():
            raise FitError(
                f"compute {number_text(budget)}: no size can be trained in {100 * (1 - UNAFFORDABLE_SHARE):.0f} % "
                "of the draws of the cost within the limits; relax a limit, give a larger budget or a narrower range "
                "of the cost's values"
            )
        *_, is_open = flat_region(N, np.exp(curve - np.nanmin(curve)), tolerance)
        if not is_open or problem.menu is not None:
            break
        reach = reach**2
    return N, curve


def _grid(problem: Problem, split: Split, budget: float, reach: float) -> np.ndarray:
    if problem.menu is not None:
        N = np.unique(problem.menu["params"])
        return N[np.isfinite(trained_tokens(problem, N, budget)).any(axis=0)]
    # below the size at which a limit of the tokens is reached money is left over, which is allowed
    limits = replace(problem.limits, tokens=(problem.limits.tokens[0], np.inf), ratio=(problem.limits.ratio[0], np.inf))
    low, high, _, high_name = log_range(replace(problem, limits=limits), np.full((1, 1), budget))
    share = UNAFFORDABLE_SHARE if (high_name == EDGE).all() else SHORT_SHARE
    most = np.quantile(high, share, method="lower")
    near, far = np.quantile(np.log(split.N), [0.01, 0.99])
    start, end = max(near - np.log(reach), low.min()), min(far + np.log(reach), most)
    # a hair inside, where rounding cannot break a limit
    return np.exp(np.linspace(start, end, CANDIDATE_SIZES)) if end > start else np.exp(np.array([min(start, most)]))


def judge(problem: Problem, split: Split, N: np.ndarray, budget: float) -> Judged:
    """Sizes N [size] against each draw's own best ``split`` of the budget; NaN sizes are not judged."""
    known = np.isfinite(N)
    size = np.where(known, N, 1.0)
    tokens = np.where(known, trained_tokens(problem, size, budget), np.nan)
    loss = replanned(log_loss(problem, size, tokens), np.log(split.loss))
    cost = spend(problem.cost, {**problem.cost_values, **menu_columns(problem, size)}, size[None, :], tokens)
    spent = np.minimum(cost / budget, 1.0)
    return Judged(
        N=N,
        D=median_tokens(tokens),
        allowed=np.isfinite(tokens).any(axis=0),
        expected=np.exp(loss.mean(axis=0)),
        regret=np.maximum(loss - np.log(split.loss), 0.0),
        waste=replanned(np.maximum(spent - _needed(problem, split, budget, size, tokens), 0.0), 0.0),
        left_over=1 - median_tokens(spent),
        unaffordable=np.where(np.isfinite(tokens).any(axis=0), np.isnan(tokens).mean(axis=0), np.nan),
    )


def flat_region(
    N: np.ndarray, curve: np.ndarray, tolerance: float, items: bool = False, least: float | None = None
) -> tuple[float, float, bool]:
    """Sizes between which a curve of expected loss stays within ``tolerance`` of its least; does it end at a limit?

    Between the points of the curve log N is interpolated, linearly in the root of the excess, which is straight for a
    parabola; not between the items of a menu.
    """
    least = np.nanmin(curve) if least is None else least
    with np.errstate(invalid="ignore"):
        excess = np.where(np.isfinite(curve), np.sqrt(np.maximum(curve / least - 1, 0.0) / tolerance), np.inf)
    inside = np.flatnonzero(excess <= 1)
    ends, opened = [], False
    for end, beside in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        outside = 0 <= beside < len(N) and np.isfinite(excess[beside])
        opened |= not outside
        if items or not outside:
            ends.append(float(N[end]))
        else:
            share = (1 - excess[end]) / (excess[beside] - excess[end])
            ends.append(float(N[end] * (N[beside] / N[end]) ** share))
    return ends[0], ends[1], bool(opened)


def _needed(problem: Problem, split: Split, budget: float, N: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Share of the budget whose own best split is as good as a choice [draw, size]: C'/C with L*(C') = L(N, D)."""
    frontier = best_split(problem, budget * BUDGET_SHARES[None, :-1], strict=False).loss
    shape = len(split.loss), len(BUDGET_SHARES) - 1
    frontier = np.concatenate([np.broadcast_to(frontier, shape), split.loss], axis=1)
    with np.errstate(all="ignore"):
        wanted = loss_at(problem.surface, N[None, :], tokens)
    wanted = np.broadcast_to(wanted, (len(frontier), len(N)))
    log_share, rows = np.log(BUDGET_SHARES), np.arange(len(frontier))[:, None]
    # the frontier falls with compute: the first share whose loss is not above what is wanted
    right = np.clip((frontier[:, None, :] > wanted[:, :, None]).sum(axis=2), 1, len(BUDGET_SHARES) - 1)
    with np.errstate(all="ignore"):
        upper, lower = np.log(frontier[rows, right - 1]), np.log(frontier[rows, right])
        part = np.clip((upper - np.log(wanted)) / (upper - lower), 0.0, 1.0)
        part = np.where(np.isfinite(part), part, 1.0)  # no split is affordable to the left
        rise = log_share[right] - log_share[right - 1]
        guess = log_share[right - 1] + part * rise
        # the frontier is not straight between two shares: one step of Newton from there
        there = best_split(problem, budget * np.exp(guess), strict=False).loss
        step = np.log(there / wanted) * rise / (upper - lower)
    share = np.exp(np.minimum(guess + np.where(np.isfinite(step), step, 0.0), 0.0))
    return np.where(np.isfinite(wanted), share, np.nan)
