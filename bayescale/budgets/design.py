"""fit + affordable runs -> which to train next, and what it will tell; and how many runs a study needs, before any.

Screening is linear and Gaussian over the draws of the posterior: after a run at x whose noise has the variance s^2,

    Var(T | run at x) = Var T - Cov(T, f(x))^2 / (Var f(x) + s^2),      f(x) = log loss at x, T the target,

for all candidates at once and without a refit; a plan of several runs is greedy, with the covariances updated after
each. The best plan is then looked at without the assumption: outcomes are simulated, the draws weighted by how well
they foretold each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.cost import Cost, check_rises, draw_quantities, increasing_root, parse_cost, spend, tokens_at
from bayescale.budgets.optimum import Problem, best_split
from bayescale.budgets.problem import default_cost, problem_values
from bayescale.budgets.surface import loss_at, loss_surface
from bayescale.errors import FitError
from bayescale.field import number_text, size_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import flag, mapping, number, opened_fit, opened_result
from bayescale.fitting.fit import check_seed, check_whole
from bayescale.forecasts.drift import posterior_by_scale, sample_curve
from bayescale.forecasts.forecast import MAX_POINTS, distance_warnings, planned_runs
from bayescale.jobs.threads import one_blas_thread
from bayescale.runs.compute import definition_of
from bayescale.study import Study, law_of

TARGETS = ("loss", "params", "regret")
GRID = 14  # sizes, and lengths, of the candidates that are made when none are given
RATIOS = (0.5, 2000.0)  # tokens per parameter of those candidates
AROUND = 31  # splits of the target's budget, for targets about a split
TAIL_DF = 4.0  # of the Student-t by which draws far out count less in the covariances
MAD_OF_NORMAL = 0.6745  # median absolute deviation of a standard normal
SIMULATED = 64  # outcomes of each plan that is looked at closely
PLAN_MAX = 200  # runs of one plan
THRIFT = (0.0, 0.25, 0.5, 0.75, 1.0)  # powers of the cost by which a gain is divided; the best plan of all is taken
EFFECTIVE_MIN = 30.0  # weighted draws below which the close look says nothing and the screening stands


@dataclass(frozen=True)
class Beliefs:
    """What the posterior believes of the target and of runs that could be made, as draws of both."""

    target: np.ndarray  # [draw]
    losses: np.ndarray  # log loss of each candidate, without noise [draw, candidate]
    scatter: np.ndarray  # scale of the noise of each, as informative as a normal one of that scale [candidate]


@one_blas_thread()
def next_run(
    fit: xr.DataTree,
    budget: float,
    *,
    target: str = "loss",
    params: float | None = None,
    tokens: float | None = None,
    compute: float | None = None,
    candidates: Any = None,
    most: int = 1,
    cost: str | None = None,
    given: Mapping[str, Any] | None = None,
    drift: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    """Which affordable runs shrink the uncertainty of a target most.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    budget : what all new runs together may cost, in the unit of the cost (FLOP by default)
    target : ``"loss"`` at ``params`` and ``tokens``; ``"params"``: N* of the budget ``compute`` [FLOP]; ``"regret"``:
        what the best split that can be chosen for ``compute`` costs in loss for want of knowledge
    params, tokens, compute : of the target, as it needs them
    candidates : a table with the columns ``params`` and ``tokens`` (and further inputs of the law), each row a run that
        could be made once; by default a grid of sizes and lengths from the smallest run up, any of them more than once
    most : how many runs at most; 1 is the next run, more a plan that is chosen greedily
    cost, given : what a run costs, as in :func:`bayescale.allocate`, with certain values
    drift : let the law be wrong as in :func:`bayescale.forecast`; the law alone trusts small runs too much
    seed : of drift and of the simulated outcomes

    Returns
    -------
    Dataset with the plan: ``params``, ``tokens``, ``cost``, ``spent`` (so far), ``sd_after`` (of the target, so far)
    [run]; and what was screened: ``candidate_params``, ``candidate_tokens``, ``candidate_cost``, ``candidate_sd`` (of
    the target after this run alone), ``gain`` (share of the variance removed) and ``gain_per_cost`` [candidate].
    Attributes: ``sd_now``, ``width_now`` and ``width_after`` (of the 90 % band, now and expected after the plan),
    ``effective`` (draws behind the latter; 0: it is the screening's), ``target`` in words. The target is a log, of a
    loss or of N: 0.01 is 1 %.

    Raises
    ------
    FitError
        If the target or the candidates cannot be read, or no candidate is within the budget.
    """
    fit = opened_fit(fit)
    check_seed(seed)
    if without := {"params", "tokens"} - set(fit["constant_data"].data_vars):
        raise FitError(f"the runs of this fit have no {min(without)}: next_run plans runs by their params and tokens")
    check_whole("most", most, 1)
    budget, drift = number("budget", budget), flag("drift", drift)
    cost = default_cost(fit) if cost is None else cost
    priced = parse_cost(cost, mapping("given", given))
    if priced.uncertain:
        raise FitError(f"cost '{cost}': a plan needs certain values; give numbers, not ranges")
    values = draw_quantities(priced.given, 1, np.random.default_rng(seed))
    check_rises(priced, values)
    aim = _aim(fit, target, params, tokens, compute)
    points, once = _candidates(fit, candidates, priced, values, float(budget))
    prices = spend(priced, values, points["params"].values, points["tokens"].values)
    prices = np.broadcast_to(prices, points.sizes["point"])
    affordable = prices <= budget * (1 + 1e-9)
    if not affordable.any():
        raise FitError(
            f"none of the {len(prices)} candidate runs is within the budget of {number_text(budget, 4)}: the cheapest "
            "costs "
            f"{number_text(prices.min(), 4)}; raise the budget or add smaller candidates"
        )
    points, prices = points.isel(point=affordable), prices[affordable]
    beliefs = _beliefs(fit, points, aim, drift, seed)
    joint = covariance(beliefs)
    gain = screen(joint, beliefs.scatter)
    plans = [
        greedy_plan(joint, beliefs.scatter, prices, float(budget), int(most), once=once, thrift=thrift)
        for thrift in THRIFT
    ]
    chosen, sd_after = min(plans, key=lambda plan: plan[1][-1])
    width_now = _width(beliefs.target, np.ones(len(beliefs.target)))
    width_after, effective = expected_width(beliefs, chosen, np.random.default_rng(seed))
    sd_now = float(np.sqrt(joint[0, 0]))
    if effective < EFFECTIVE_MIN:
        width_after, effective = width_now * sd_after[-1] / sd_now, 0.0
    result = xr.Dataset(
        {
            "params": ("run", points["params"].values[chosen]),
            "tokens": ("run", points["tokens"].values[chosen]),
            "cost": ("run", prices[chosen]),
            "spent": ("run", np.cumsum(prices[chosen])),
            "sd_after": ("run", np.array(sd_after)),
            "candidate_params": ("candidate", points["params"].values),
            "candidate_tokens": ("candidate", points["tokens"].values),
            "candidate_cost": ("candidate", prices),
            "candidate_sd": ("candidate", sd_now * np.sqrt(1 - gain)),
            "gain": ("candidate", gain),
            "gain_per_cost": ("candidate", gain / prices),
        }
    )
    result.attrs = {
        "law": fit.attrs["law"],
        "target": aim.text,
        "seed": int(seed),
        "budget": float(budget),
        "cost": priced.text,
        "compute_counted": definition_of(fit).formula,
        "drift": int(drift),
        "sd_now": sd_now,
        "width_now": width_now,
        "width_after": width_after,
        "effective": effective,
        "decades_beyond": aim.decades_beyond,
        "nearest_run": aim.nearest_run,
        "diagnostics": fit.attrs["diagnostics"],
    }
    return result


@dataclass(frozen=True)
class Aim:
    """The target: the runs at which the loss must be known for it [point], and how it follows from their log loss."""

    kind: str
    text: str
    points: xr.Dataset
    decades_beyond: float
    nearest_run: float


def _aim(fit: xr.DataTree, target: str, params: Any, tokens: Any, compute: Any) -> Aim:
    if target not in TARGETS:
        raise FitError(f"unknown target '{target}'; the targets are {', '.join(TARGETS)}")
    others = sorted(set(law_of(fit).inputs) - {"N", "D", "C"})
    if others:
        raise FitError(f"law '{fit.attrs['law']}' needs {others} besides N and D; next_run plans for laws of N and D")
    if target == "loss":
        if params is None or tokens is None or compute is not None:
            raise FitError("the target 'loss' is that of one run: give its params and tokens, and no compute")
        points = planned_runs(fit, params, tokens, {})
        if points.sizes["point"] != 1:
            raise FitError("the target 'loss' is that of one run: give one number of params and one of tokens")
        n, d = (size_text(float(points[name][0])) for name in ("params", "tokens"))
        text = f"log loss at N = {n}, D = {d}"
    else:
        if compute is None or params is not None or tokens is not None:
            raise FitError(
                f"the target '{target}' is about the split of one budget: give compute, and no params or tokens"
            )
        law = law_of(fit)
        budget = planned_runs(fit, 1.0, compute, {})["tokens"].values
        if len(budget) != 1:
            raise FitError(f"the target '{target}' is about the split of one budget: give one number as compute")
        surface = loss_surface(law, problem_values(fit, law, {}), None, definition_of(fit).tree)
        problem = Problem(surface, parse_cost(default_cost(fit), {}), {})
        split = best_split(problem, budget[None, :])
        near, far = np.quantile(np.log(split.N), [0.005, 0.995])
        N = np.exp(np.linspace(near - np.log(4.0), far + np.log(4.0), AROUND))
        points = planned_runs(fit, N, definition_of(fit).tokens(N, budget), {})
        what = "log N*" if target == "params" else "root of the regret, in log loss,"
        text = f"{what} at {number_text(budget[0], 4)} FLOP"
    middle = points.isel(point=[points.sizes["point"] // 2])
    return Aim(target, text, points, float(middle["decades_beyond"][0]), float(middle["nearest_run"][0]))


def _of_target(aim: Aim, log_loss: np.ndarray) -> np.ndarray:
    """The target [draw] from the log loss at its points [draw, point]."""
    if aim.kind == "loss":
        return log_loss[:, 0]
    log_n = np.log(aim.points["params"].values)
    step, rows = log_n[1] - log_n[0], np.arange(len(log_loss))
    i = np.clip(log_loss.argmin(axis=1), 1, len(log_n) - 2)
    left, middle, right = (log_loss[rows, i + side] for side in (-1, 0, 1))
    with np.errstate(all="ignore"):
        shift = np.clip(np.nan_to_num(0.5 * (left - right) / (left - 2 * middle + right)), -1.0, 1.0)
    best = log_n[i] + shift * step
    if aim.kind == "params":
        return best
    # the regret of the split that is best on average, with the sign of the miss: its mean square is the mean regret
    chosen = int(log_loss.mean(axis=0).argmin())
    regret = log_loss[:, chosen] - log_loss.min(axis=1)
    return np.sign(best - log_n[chosen]) * np.sqrt(np.maximum(regret, 0.0))


def _candidates(
    fit: xr.DataTree, given: Any, cost: Cost, values: Mapping[str, Any], budget: float
) -> tuple[xr.Dataset, bool]:
    """The runs that could be made [point], and whether each only once."""
    if given is not None:
        try:
            table = {str(name): given[name] for name in given}
            N, D = table["params"], table["tokens"]
        except (TypeError, KeyError):
            raise FitError("candidates are a table with the columns 'params' and 'tokens'") from None
        return planned_runs(fit, np.asarray(N), np.asarray(D), {}), True
    data = fit["constant_data"]
    smallest, shortest = float(data["params"].min()), float(data["tokens"].min())
    most = float(increasing_root(lambda N: spend(cost, values, N, shortest), np.full(1, budget), (1,))[0])
    longest = float(tokens_at(cost, values, np.full(1, smallest), np.full(1, budget))[0])
    N = np.geomspace(smallest, np.fmax(most, smallest * 2), GRID)
    D = np.geomspace(shortest, np.fmax(longest, shortest * 2), GRID)
    N, D = (grid.ravel() for grid in np.meshgrid(N, D, indexing="ij"))
    prices = np.broadcast_to(spend(cost, values, N, D), N.shape)
    # and the dearest run of every size
    kept = (prices <= budget * (1 + 1e-9)) & (D / N >= RATIOS[0]) & (D / N <= RATIOS[1])
    if not kept.any():
        kept = prices == prices.min()
    return planned_runs(fit, N[kept], D[kept], {}), False


def _beliefs(fit: xr.DataTree, points: xr.Dataset, aim: Aim, drift: bool, seed: int) -> Beliefs:
    count = points.sizes["point"]
    if count + aim.points.sizes["point"] > MAX_POINTS:
        raise FitError(f"{count} candidate runs: at most {MAX_POINTS - AROUND} can be compared; thin them out")
    every = xr.concat([points, aim.points], dim="point")
    if drift:
        by_scale = posterior_by_scale(fit)
        losses = sample_curve(fit, every, np.random.default_rng(seed), by_scale=by_scale).log_loss
    else:
        law = law_of(fit)
        surface = loss_surface(law, problem_values(fit, law, {}), None, definition_of(fit).tree)
        losses = np.log(loss_at(surface, every["params"].values[None, :], every["tokens"].values[None, :]))
    if not np.isfinite(losses).all():
        raise FitError("the law overflows at one of the candidates; they are too far from any run it was fitted to")
    return Beliefs(_of_target(aim, losses[:, count:]), losses[:, :count], _scatter(fit, points))


def _scatter(fit: xr.DataTree, points: xr.Dataset) -> np.ndarray:
    """Scale of the normal noise that would be as informative as the fit's [point]."""
    study = Study.opened(fit)
    scale = study.scatter.scale_at(study.covariate(points), study.draws)
    if study.scatter.robust:  # Fisher information of a Student-t's place: (nu + 1) / (nu + 3) / scale^2
        nu = 2 + study.draws["nu_minus_2"]
        scale = scale * np.sqrt((nu + 3) / (nu + 1))
    return np.median(scale, axis=0)


def covariance(beliefs: Beliefs) -> np.ndarray:
    """Covariance of the target and the candidates' log losses [1 + candidate, 1 + candidate].

    Draws far out count less, as in a fit of a Student-t: the scale of the drift is not known, and draws of a large one
    would rule a plain covariance, which is then one of the tails and not of the band. The whole is scaled to the middle
    of the target's draws, so that for normal draws it is their covariance.
    """
    joint = np.column_stack([beliefs.target, beliefs.losses])
    apart = joint - np.median(joint, axis=0)
    spread = np.maximum(np.median(np.abs(apart), axis=0) / MAD_OF_NORMAL, 1e-300)
    square = (apart / spread) ** 2
    weight = (TAIL_DF + 1) / (TAIL_DF + square.mean(axis=1))
    weight /= weight.sum()
    apart = joint - weight @ joint
    weighted = (weight[:, None] * apart).T @ apart
    return weighted * (spread[0] ** 2 / max(weighted[0, 0], 1e-300))


def screen(joint: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Share of the target's variance that each candidate alone would remove [candidate]."""
    known = np.diag(joint)[1:] + scatter**2
    return np.clip(joint[0, 1:] ** 2 / (known * max(joint[0, 0], 1e-300)), 0.0, 1.0)


def greedy_plan(
    joint: np.ndarray,
    scatter: np.ndarray,
    prices: np.ndarray,
    budget: float,
    most: int,
    *,
    once: bool,
    thrift: float,
) -> tuple[list[int], list[float]]:
    """Candidates in the order in which they are taken, and the sd of the target after each.

    Each is the affordable one that removes most of the target's variance per cost**thrift; after it the covariances
    of the rest are those given its outcome (a rank-one update).
    """
    noise, start = scatter**2, joint[0, 0]
    left, taken, sds = budget, [], []
    free = np.ones(len(prices), dtype=bool)
    for _ in range(min(most, PLAN_MAX)):
        can = free & (prices <= left * (1 + 1e-9))
        if not can.any():
            break
        removed = joint[0, 1:] ** 2 / (np.diag(joint)[1:] + noise)
        worth = np.where(can, removed / prices**thrift, -np.inf)
        i = int(np.argmax(worth))
        if taken and removed[i] <= 1e-6 * start:
            break
        column = joint[:, i + 1]
        joint = joint - np.outer(column, column) / (column[i + 1] + noise[i])
        left -= prices[i]
        free[i] = not once
        taken.append(i)
        sds.append(float(np.sqrt(max(joint[0, 0], 0.0))))
    return taken, sds


def expected_width(beliefs: Beliefs, plan: list[int], rng: np.random.Generator) -> tuple[float, float]:
    """Width of the target's 90 % band after the runs of a plan, the mean over simulated outcomes; effective draws.

    No assumption of a linear or normal target: for each outcome the draws are weighted by its likelihood. The draw
    that the outcome was made from is left out. Few effective draws mean that the runs would say more than weighting can
    show.
    """
    draws = len(beliefs.target)
    losses, noise = beliefs.losses[:, plan], beliefs.scatter[plan]
    widths, effective = [], []
    for truth in rng.choice(draws, min(SIMULATED, draws), replace=False):
        outcome = losses[truth] + noise * rng.standard_normal(len(plan))
        log_weight = -0.5 * (((outcome - losses) / noise) ** 2).sum(axis=1)
        log_weight[truth] = -np.inf
        weight = np.exp(log_weight - log_weight.max())
        effective.append(weight.sum() ** 2 / (weight**2).sum())
        widths.append(_width(beliefs.target, weight))
    return float(np.mean(widths)), float(np.median(effective))


def _width(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values)
    share = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
    low, high = np.interp([0.05, 0.95], share, values[order])
    return float(high - low)


def next_table(result: xr.Dataset) -> pd.DataFrame:
    """A plan as a table, a row a run in the order in which they tell most: sizes, ``cost``, ``spent``, ``sd_after``."""
    result = opened_result(result, "next_run")
    table = pd.DataFrame({name: result[name].values for name in ("params", "tokens", "cost", "spent", "sd_after")})
    table.insert(2, "tokens_per_param", table["tokens"] / table["params"])
    table["sd_share"] = table["sd_after"] / result.attrs["sd_now"]
    return table


def next_statement(result: xr.Dataset) -> str:
    """What a plan will tell, in one or two sentences."""
    result = opened_result(result, "next_run")
    attrs, count = result.attrs, result.sizes["run"]
    runs = "this run" if count == 1 else f"these {count} runs"
    shrink = 1 - attrs["width_after"] / attrs["width_now"]
    how = "by weighting simulated outcomes" if attrs["effective"] else "by the linear screening alone"
    return (
        f"The 90 % band of {attrs['target']} is {number_text(attrs['width_now'])} wide now; after {runs} "
        f"({number_text(float(result['spent'][-1]))} of the budget of {number_text(attrs['budget'])}) it is expected "
        "to be "
        f"{number_text(attrs['width_after'])} wide, {100 * shrink:.0f} % less ({how})."
    )


def next_warnings(result: xr.Dataset) -> list[str]:
    """What speaks against a plan; an empty list when nothing is known."""
    result = opened_result(result, "next_run")
    attrs = result.attrs
    warnings = trust_warnings(diagnostics(result))
    warnings += distance_warnings(np.array([attrs["decades_beyond"]]), np.array([attrs["nearest_run"]]))
    if attrs["width_after"] > 0.95 * attrs["width_now"]:
        warnings.append("no affordable run tells much about this target: keep the money or raise the budget")
    if not attrs["drift"]:
        warnings.append("the law is taken to be exactly right: small runs look more telling than they are")
    return warnings


def next_summary(result: xr.Dataset) -> dict[str, Any]:
    """A plan for machines: ``target``, widths now and after, ``plan`` (rows of :func:`next_table`), ``warnings``."""
    attrs = result.attrs
    names = ("law", "target", "budget", "cost", "sd_now", "width_now", "width_after", "effective")
    return {name: attrs[name] for name in names} | {
        "plan": next_table(result).to_dict("records"),
        "statement": next_statement(result),
        "diagnostics": diagnostics(result),
        "warnings": next_warnings(result),
    }
