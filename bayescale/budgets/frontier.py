"""The frontier, best loss against budget, of every draw: its local exponents, and the least budget for a loss."""

from dataclasses import replace

import numpy as np

from bayescale.budgets.optimum import Problem, Split, best_split, root


def frontier_slopes(problem: Problem, budget: np.ndarray, split: Split, step: float = 0.25) -> dict[str, np.ndarray]:
    """Local exponents [draw, budget] of the frontier: of N*, of D* and of the loss, by central differences.

    d log N* / d log C, d log D* / d log C and - d log L* / d log C, over ``step`` e-folds to each side.
    """
    sides = [best_split(problem, budget * np.exp(sign * step), split.N) for sign in (-1, 1)]
    with np.errstate(all="ignore"):
        rise = {name: np.log(getattr(sides[1], name) / getattr(sides[0], name)) for name in ("N", "D", "loss")}
    return {"a": rise["N"] / (2 * step), "b": rise["D"] / (2 * step), "loss_exponent": -rise["loss"] / (2 * step)}


def least_budget(problem: Problem, target: np.ndarray, low: float, high: float) -> tuple[np.ndarray, Split]:
    """The least budget [draw, target] whose best split reaches a loss [draw or 1, target], and that split.

    NaN where the loss is not reached below ``high``, ``low`` where it is reached there already. The frontier is
    computed on a grid of budgets, three a decade; the root of log loss - log target inside the bracket places it.
    """
    decades = max(1.0, np.log10(high / low))
    grid = np.linspace(np.log(low), np.log(high), int(np.ceil(3 * decades)) + 1)
    frontier = best_split(problem, np.exp(grid)[None, :], strict=False)
    count = max(frontier.loss.shape[0], target.shape[0])
    losses = np.broadcast_to(frontier.loss, (count, len(grid)))
    reached = losses[:, None, :] <= np.broadcast_to(target, (count, target.shape[1]))[:, :, None]
    first, never = np.argmax(reached, axis=2), ~reached.any(axis=2)
    right = np.where(never, len(grid) - 1, np.maximum(first, 1))
    rows = np.arange(count)[:, None]
    left, end = grid[right - 1], grid[right]
    with np.errstate(all="ignore"):
        f_left, f_end = (np.log(losses[rows, at] / target) for at in (right - 1, right))
        near = np.broadcast_to(frontier.N, (count, len(grid)))[rows, right]
    # an unaffordable budget has no loss: it is far above any target
    f_left = np.where(np.isfinite(f_left), f_left, 1.0)

    def above(log_budget: np.ndarray) -> np.ndarray:
        split = best_split(problem, np.exp(log_budget), near, strict=False)
        value = np.log(split.loss / target)
        return np.where(np.isfinite(value), value, 1.0)

    found = root(above, left, end, f_left, f_end)
    budget = np.where(never, np.nan, np.where((first == 0) & ~never, low, np.exp(found)))
    split = best_split(problem, np.where(never, high, budget), near, strict=False)
    blank = {name: np.where(never, np.nan, getattr(split, name)) for name in ("N", "D", "loss")}
    return budget, replace(split, **blank)
