"""What a plan of runs is to tell: the loss of one run, N* of a budget, or the regret of its split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.cost import parse_cost
from bayescale.budgets.optimum import Problem, best_split
from bayescale.budgets.problem import default_cost, law_surface
from bayescale.errors import FitError
from bayescale.field import number_text, quantity_text, size_text, symbol
from bayescale.forecasts.planned import planned_runs
from bayescale.forecasts.pointwise import DISTANCES
from bayescale.laws.law import NO_SIZE, column, size_column
from bayescale.study import Study

SPLITS = 31  # of the target's budget, for targets about a split
AIM_REACH_TIMES = 4.0  # beyond the band of N*, on either side


@dataclass(frozen=True)
class Aim:
    """The target: the runs at which the loss must be known for it [point], and how it follows from their log loss."""

    kind: str
    text: str
    points: xr.Dataset
    decades_beyond: float
    nearest_run: float


def aim_of(study: Study, target: str, params: Any, tokens: Any, compute: Any) -> Aim:
    if target not in TARGETS:
        raise FitError(f"unknown target '{target}'; the targets are {', '.join(TARGETS)}")
    others = sorted(set(study.law.inputs) - {"N", "D", "C"})
    if others:
        raise FitError(f"law '{study.law.name}' needs {others} besides N and D; next_run plans for laws of N and D")
    if target == "loss":
        if params is None or tokens is None or compute is not None:
            raise FitError(
                "the target 'loss' is that of one run: give its params and tokens (--params, --tokens), no compute"
            )
        points = planned_runs(study, params, tokens, {})
        if points.sizes["point"] != 1:
            raise FitError("the target 'loss' is that of one run: give one number of params and one of tokens")
        n, d = (size_text(float(points[name][0])) for name in ("params", "tokens"))
        text = f"{TARGETS[target].what} at N = {n}, D = {d}"
    else:
        if compute is None or params is not None or tokens is not None:
            raise FitError(
                f"the target '{target}' is about the split of one budget: give compute, and no params or tokens"
            )
        budget = planned_runs(study, 1.0, compute, {})["tokens"].values
        if len(budget) != 1:
            raise FitError(f"the target '{target}' is about the split of one budget: give one number as compute")
        problem = Problem(law_surface(study), parse_cost(default_cost(study), {}), {})
        split = best_split(problem, budget[None, :])
        near, far = np.quantile(np.log(split.N), [0.005, 0.995])
        N = np.exp(np.linspace(near - np.log(AIM_REACH_TIMES), far + np.log(AIM_REACH_TIMES), SPLITS))
        points = planned_runs(study, N, study.definition.tokens(N, budget), {})
        text = f"{TARGETS[target].what} at {number_text(budget[0], 4)} FLOP"
    middle = points.isel(point=[points.sizes["point"] // 2])
    return Aim(target, text, points, float(middle["decades_beyond"][0]), float(middle["nearest_run"][0]))


def own_aim(study: Study, target: str, sizes: Mapping[str, Any]) -> tuple[Aim, str]:
    """The target of a law of one size, what it gives at one run, and that size."""
    law, size = study.law, size_column(study.law)
    if target != "loss":
        raise FitError(f"law '{law.name}' splits no budget: its target is 'loss', what the law explains at one run")
    if size is None or size == "loss":
        why = (
            NO_SIZE if size is None else "its size is a loss, which no budget buys; plan runs with the law of that loss"
        )
        raise FitError(f"law '{law.name}': {why}")
    points = planned_runs(study, None, None, {name: value for name, value in sizes.items() if value is not None})
    if points.sizes["point"] != 1:
        raise FitError("the target is that of one run: give one number of each input")
    named = {column(one): float(points[column(one)][0]) for one in law.inputs}
    at = ", ".join(f"{symbol(name)} = {quantity_text(name, value)}" for name, value in named.items())
    observed = law.observed.column if law.observed.scale != "log" else f"log {law.observed.column}"
    return Aim("loss", f"{observed} at {at}", points, *(float(points[x][0]) for x in DISTANCES)), size


def target_draws(aim: Aim, log_loss: np.ndarray) -> np.ndarray:
    """The target [draw] from the log loss at its points [draw, point]."""
    return TARGETS[aim.kind].draws(aim.points, log_loss)


def _loss(_: xr.Dataset, log_loss: np.ndarray) -> np.ndarray:
    return log_loss[:, 0]


def _log_best_size(points: xr.Dataset, log_loss: np.ndarray) -> np.ndarray:
    log_n = np.log(points["params"].values)
    step, rows = log_n[1] - log_n[0], np.arange(len(log_loss))
    i = np.clip(log_loss.argmin(axis=1), 1, len(log_n) - 2)
    left, middle, right = (log_loss[rows, i + side] for side in (-1, 0, 1))
    with np.errstate(all="ignore"):
        shift = np.clip(np.nan_to_num(0.5 * (left - right) / (left - 2 * middle + right)), -1.0, 1.0)
    return np.asarray(log_n[i] + shift * step)


def _signed_root_of_regret(points: xr.Dataset, log_loss: np.ndarray) -> np.ndarray:
    """Of the split that is best on average, with the sign of the miss: its mean square is the mean regret."""
    chosen = int(log_loss.mean(axis=0).argmin())
    regret = log_loss[:, chosen] - log_loss.min(axis=1)
    missed = _log_best_size(points, log_loss) - np.log(points["params"].values[chosen])
    return np.sign(missed) * np.sqrt(np.maximum(regret, 0.0))


@dataclass(frozen=True)
class Target:
    """What a plan may be to tell: in words, and its draws from the points and the log loss there [draw, point]."""

    what: str
    draws: Callable[[xr.Dataset, np.ndarray], np.ndarray]


# the first is of one run, at whose size the law need not split budgets; the others are of the split of one budget
TARGETS = {
    "loss": Target("log loss", _loss),
    "params": Target("log N*", _log_best_size),
    "regret": Target("root of the regret, in log loss,", _signed_root_of_regret),
}
