"""fit + budget -> one split to train, what it costs to be wrong, and how far one may stray from it at little cost."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.allocate import held_text, labelled, median_split
from bayescale.cost import increasing_root, spend, tokens_at
from bayescale.diagnostics import diagnostics, trust_warnings
from bayescale.doors import flag, number, numbers, opened_fit, opened_result
from bayescale.drift import posterior_by_scale, sample_curve, shipped_prior
from bayescale.fit import FitError, check_seed
from bayescale.forecast import distance_warnings, planned_runs
from bayescale.law import TRAINING
from bayescale.optimum import Problem, Split, best_split, log_range
from bayescale.problem import SplitOptions, budgets_of, forecast_inputs, problem_of
from bayescale.surface import loss_at
from bayescale.threads import one_blas_thread

CHOICES = ("least expected loss", "median of N*", "20 tokens per parameter")
RULE_OF_THUMB = 20.0  # tokens per parameter that many read out of Hoffmann et al. 2022
CANDIDATES = 49  # sizes at which the expected loss is looked at
REACH = 8.0  # times below and above the band of N* at which they begin and end, at first
WIDENINGS = 3  # of that reach, each to its square, while the flat region is not closed
COST_STRATA = 9  # quantiles of an uncertain cost at which the drift is drawn
# shares of the budget at which the frontier is computed, to express a regret in compute
SHARES = np.concatenate([np.geomspace(1e-3, 0.5, 8), [0.65, 0.8, 0.9, 0.97, 1.0]])


@one_blas_thread()
def decide(
    fit: xr.DataTree,
    compute: Any,
    *,
    candidates: Any = None,
    tolerance: float = 0.001,
    factor: float = 2.0,
    drift: bool = True,
    seed: int = 0,
    **options: Unpack[SplitOptions],
) -> xr.Dataset:
    """The split of least expected loss, and the regret of choosing it, or another.

    The decision is the N that minimises E[L(N, D(N))] over posterior and drift, D(N) being what the budget buys; noise
    is left out, it is the same for every choice. The regret of a choice is L(N, D(N)) - min L in each draw: in nats of
    loss, and as the share of the budget that was wasted, 1 - C'/C with C' the budget whose own best split reaches the
    same loss (of the law alone: the frontier at other budgets is the law's).

    Parameters
    ----------
    fit, compute, options : as in :func:`bayescale.allocate`
    candidates : further sizes N to judge
    tolerance : what counts as next to nothing, as a share of the expected loss, for the flat region
    factor : P(N within this factor of N*) is reported
    drift : let the law be wrong as in :func:`bayescale.forecast`, but for the sign that drifts have had on average:
        that was learnt from larger runs, not from other splits of one budget. With False the law is exactly right
    seed : of drift and uncertain costs

    Returns
    -------
    Dataset with, for every ``choice`` (the decision, the posterior median of N*, 20 tokens per parameter,
    ``candidates``; NaN where the limits forbid one): ``N``, ``D``, ``expected_loss``, ``expected_regret``, ``p_near``
    [budget, choice], ``regret`` and ``compute_regret`` [chain, draw, budget, choice]; the curve ``curve_N``,
    ``curve_loss`` (expected) [budget, candidate]; and the flat region ``flat_low``, ``flat_high`` [budget], sizes
    between which the expected loss is less than ``tolerance`` above the least, with ``flat_open`` [budget] where it
    ends at a limit of the sizes. ``compute`` [budget] is a coordinate.

    Raises
    ------
    FitError
        As :func:`bayescale.allocate`; or if tolerance, factor or candidates are not numbers above 0 (above 1).
    """
    fit = opened_fit(fit)
    check_seed(seed)
    drift = flag("drift", drift)
    tolerance = number("tolerance", tolerance, "a share of the loss above 0, such as 0.001,")
    factor = number("factor", factor, "a number above 1", above=1.0)
    budgets = budgets_of(compute, options.get("cost", TRAINING))
    sizes = np.zeros(0) if candidates is None else numbers("candidates", candidates)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise FitError("candidates must be sizes N above 0")
    problem, covariates = problem_of(fit, seed=seed, **options)
    split = best_split(problem, budgets[None, :])
    medians, _ = median_split(problem, split, budgets)
    names = [*CHOICES, *(f"N = {size:.4g}" for size in sizes)]
    by_scale = posterior_by_scale(fit) if drift else None
    rows: list[dict[str, Any]] = []
    for i, budget in enumerate(budgets):
        chosen = np.array([medians[i], _rule_of_thumb(problem, budget), *sizes])
        draw = _drawer(fit, problem, covariates, budget, by_scale, seed)
        one = Split(split.N[:, [i]], split.D[:, [i]], split.loss[:, [i]], split.held[:, [i]])
        rows.append(_decision(problem, one, float(budget), chosen, draw, tolerance, factor))
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    result = xr.Dataset(coords={"compute": ("budget", budgets), "choice": names})
    for name in ("N", "D", "expected_loss", "expected_regret", "p_near"):
        result[name] = (("budget", "choice"), stacked[name])
    for name in ("regret", "compute_regret"):
        parts = [labelled(fit, values, "choice") for values in stacked[name]]
        result[name] = xr.concat(parts, dim="budget").transpose("chain", "draw", "budget", "choice")
    for name in ("curve_N", "curve_loss"):
        width = max(len(row[name]) for row in rows)
        padded = [np.pad(row[name], (0, width - len(row[name])), constant_values=np.nan) for row in rows]
        result[name] = (("budget", "candidate"), np.stack(padded))
    for name in ("flat_low", "flat_high", "flat_open"):
        result[name] = ("budget", stacked[name])
    points = planned_runs(
        fit,
        result["N"].values[:, 0],
        result["D"].values[:, 0],
        forecast_inputs(problem, covariates, result["D"].values[:, 0]),
    )
    for name in ("decades_beyond", "nearest_run"):
        result[name] = ("budget", points[name].values)
    result["held"] = ("budget", held_text(split))
    result.attrs = {
        "law": fit.attrs["law"],
        "seed": seed,
        "cost": problem.cost.text,
        "tolerance": tolerance,
        "factor": factor,
        "drift": int(drift),
        "diagnostics": fit.attrs["diagnostics"],
    }
    return result


def _rule_of_thumb(problem: Problem, budget: float) -> float:
    """N on 20 N tokens for a budget, at the median of an uncertain cost; of a menu the nearest."""
    middle = {name: float(np.median(value)) for name, value in problem.cost_values.items()}
    if problem.menu is not None:
        N = problem.menu["params"]
        D = np.array([np.median(tokens) for tokens in _tokens(problem, N, budget).T])
        return float(N[np.nanargmin(np.abs(np.log(D / N / RULE_OF_THUMB)))])
    found = increasing_root(
        lambda N: spend(problem.cost, middle, N, RULE_OF_THUMB * N), np.full((1, 1), budget), (1, 1)
    )
    return float(found[0, 0])


def _tokens(problem: Problem, N: np.ndarray, budget: float) -> np.ndarray:
    """Tokens [draw or 1, candidate] that a budget buys at sizes N [candidate]; NaN where the limits forbid it."""
    values = problem.cost_values
    if problem.menu is not None:
        items = np.abs(np.log(problem.menu["params"])[None, :] - np.log(N)[:, None]).argmin(axis=1)
        values = {**values, **{k: v[items][None, :] for k, v in problem.menu.items() if k != "params"}}
    D = tokens_at(problem.cost, values, N[None, :], np.full((1, 1), budget))
    limits, slack = problem.limits, 1 + 1e-9
    allowed = (N >= limits.params[0] / slack) & (N <= limits.params[1] * slack)
    for what, (least, most) in ((D, limits.tokens), (D / N, limits.ratio)):
        allowed = allowed & (what >= least / slack) & (what <= most * slack)
    return np.where(allowed & (D >= 1), D, np.nan)


def _drawer(fit, problem: Problem, covariates, budget: float, by_scale, seed: int):
    """A function of sizes N [candidate] that draws the loss [draw, candidate] there, without noise."""

    def law_alone(N: np.ndarray) -> np.ndarray:
        return loss_at(problem.surface, N[None, :], _tokens(problem, N, budget))

    if by_scale is None:
        return law_alone
    # farther from the runs the optimism is larger: with it a split would gain by being unlike any run
    prior = replace(shipped_prior(), optimism=0.0)

    def with_drift(N: np.ndarray) -> np.ndarray:
        D = _tokens(problem, N, budget)
        if len(D) > 1:  # an uncertain cost: what the budget buys at some of its quantiles
            order = np.argsort(D[:, len(N) // 2])
            D = D[order[((np.arange(COST_STRATA) + 0.5) / COST_STRATA * len(D)).astype(int)]]
        known = np.isfinite(D)
        size = np.broadcast_to(N, D.shape)
        points = planned_runs(fit, size[known], D[known], forecast_inputs(problem, covariates, D[known]))
        drawn = sample_curve(fit, points, np.random.default_rng(seed), prior=prior, by_scale=by_scale).log_loss
        table = np.full((len(drawn), *D.shape), np.nan)
        table[:, known] = np.exp(drawn)
        return table[np.arange(len(drawn)), np.arange(len(drawn)) % len(D)]

    return with_drift


def _decision(
    problem: Problem, split: Split, budget: float, others: np.ndarray, draw: Any, tolerance: float, factor: float
) -> dict[str, Any]:
    """Everything about one budget; ``others`` are sizes to compare the decision with."""
    reach = REACH
    for _ in range(WIDENINGS):
        grid = _grid(problem, split, budget, reach)
        curve = draw(grid).mean(axis=0)
        low, high, is_open = flat_region(grid, curve, tolerance, problem.menu is not None)
        if not is_open or problem.menu is not None:
            break
        reach = reach**2
    best = grid[np.nanargmin(curve)] if problem.menu is not None else _vertex(grid, curve)
    # all on the same draws, so that what differs between choices is the choice
    sizes = np.concatenate([[best], others, grid])
    usable = np.isfinite(sizes)
    losses = np.full((max(len(split.N), 1), len(sizes)), np.nan)
    drawn = draw(sizes[usable])
    losses = np.full((len(drawn), len(sizes)), np.nan)
    losses[:, usable] = drawn
    expected = losses.mean(axis=0)  # NaN: in some draws of the cost the budget buys nothing there
    first = int(np.nanargmin(expected))
    picked = [first, *range(1, 1 + len(others))]
    least = _least_of_each_draw(losses[:, 1 + len(others) :], losses[:, picked], problem.menu is None)
    regret = np.maximum(losses[:, picked] - least[:, None], 0.0)
    N = sizes[picked]
    tokens = _tokens(problem, np.where(np.isfinite(N), N, grid[0]), budget)
    bought = [column[np.isfinite(column)] for column in tokens.T]
    D = np.array(
        [np.median(some) if some.size and np.isfinite(n) else np.nan for some, n in zip(bought, N, strict=True)]
    )
    N = np.where(np.isfinite(D), N, np.nan)
    p_near = np.where(
        np.isfinite(N), (np.abs(np.log(split.N / N)) <= np.log(factor) * (1 + 1e-12)).mean(axis=0), np.nan
    )
    curve = expected[1 + len(others) :]
    low, high, is_open = flat_region(grid, curve, tolerance, problem.menu is not None, expected[first])
    return {
        "N": N,
        "D": D,
        "expected_loss": expected[picked],
        "expected_regret": regret.mean(axis=0),
        "p_near": p_near,
        "regret": regret,
        "compute_regret": _in_compute(problem, split, budget, N, tokens),
        "curve_N": grid,
        "curve_loss": curve,
        "flat_low": low,
        "flat_high": high,
        "flat_open": is_open,
    }


def _grid(problem: Problem, split: Split, budget: float, reach: float) -> np.ndarray:
    """Sizes [candidate] around the band of N*, of a menu all that the budget buys."""
    if problem.menu is not None:
        N = np.unique(problem.menu["params"])
        return N[np.isfinite(_tokens(problem, N, budget)).all(axis=0)]
    low, high, *_ = log_range(problem, np.full((1, 1), budget))
    near, far = np.quantile(np.log(split.N), [0.01, 0.99])
    start, end = max(near - np.log(reach), low.max()), min(far + np.log(reach), high.min())
    # a hair inside, where rounding cannot break a limit
    return np.exp(np.linspace(start, max(end, start), CANDIDATES)) if end > start else np.exp(np.array([start]))


def _vertex(N: np.ndarray, curve: np.ndarray) -> float:
    """Where the parabola through the least point of a curve and its neighbours is least."""
    i = int(np.nanargmin(curve))
    if not 0 < i < len(N) - 1:
        return float(N[i])
    left, middle, right = curve[i - 1 : i + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(N[i] * (N[i + 1] / N[i]) ** np.clip(np.nan_to_num(shift), -0.5, 0.5))


def _least_of_each_draw(curve: np.ndarray, choices: np.ndarray, smooth: bool) -> np.ndarray:
    """Least loss in each draw [draw], between the points of the curve too where it is smooth."""
    least = np.nanmin(np.concatenate([curve, choices], axis=1), axis=1)
    if not smooth or curve.shape[1] < 3:
        return least
    i = np.clip(np.nanargmin(curve, axis=1), 1, curve.shape[1] - 2)
    rows = np.arange(len(curve))
    left, middle, right = (curve[rows, i + step] for step in (-1, 0, 1))
    with np.errstate(all="ignore"):
        lower = middle - 0.125 * (right - left) ** 2 / (left - 2 * middle + right)
    inside = (middle <= left) & (middle <= right) & np.isfinite(lower)
    return np.where(inside, np.minimum(least, lower), least)


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


def _in_compute(problem: Problem, split: Split, budget: float, N: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Share of the budget that a choice wastes [draw, choice], law alone: 1 - C'/C with L*(C') = L(N, D(N))."""
    frontier = best_split(problem, budget * SHARES[None, :-1], strict=False).loss
    frontier = np.concatenate([np.broadcast_to(frontier, (len(split.loss), len(SHARES) - 1)), split.loss], axis=1)
    wanted = loss_at(problem.surface, np.where(np.isfinite(N), N, 1.0)[None, :], tokens)
    wanted = np.broadcast_to(wanted, (len(frontier), len(N)))
    log_share, rows = np.log(SHARES), np.arange(len(frontier))[:, None]
    # the frontier falls with compute: the first share whose loss is not above what is wanted
    right = np.clip((frontier[:, None, :] > wanted[:, :, None]).sum(axis=2), 1, len(SHARES) - 1)
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
    return np.where(np.isfinite(wanted) & np.isfinite(N), 1 - share, np.nan)


def decision_table(result: xr.Dataset) -> pd.DataFrame:
    """A decision as a table, a row a budget and choice.

    ``expected_regret``, ``regret_q50``, ``regret_q95`` in units of the loss, ``compute_regret_q50``, ``..._q95`` as
    shares of the budget, ``p_near``, and the flat region ``flat_low`` to ``flat_high`` of the budget.
    """
    result = opened_result(result, "decide")
    rows = []
    bands = {name: _middle_and_high(result[name]) for name in ("regret", "compute_regret")}
    for i, compute in enumerate(result["compute"].values):
        for j, choice in enumerate(result["choice"].values):
            row = {"compute": float(compute), "choice": str(choice)}
            row |= {"params": float(result["N"][i, j]), "tokens": float(result["D"][i, j])}
            if not np.isfinite(row["params"]):
                continue
            row["tokens_per_param"] = row["tokens"] / row["params"]
            row |= {name: float(result[name][i, j]) for name in ("expected_loss", "expected_regret")}
            for name, values in bands.items():
                row |= {f"{name}_q50": float(values[0, i, j]), f"{name}_q95": float(values[1, i, j])}
            row["p_near"] = float(result["p_near"][i, j])
            row |= {name: result[name].values[i].item() for name in ("flat_low", "flat_high", "flat_open", "held")}
            rows.append(row)
    return pd.DataFrame(rows)


def _middle_and_high(draws: xr.DataArray) -> np.ndarray:
    """Median and 95 % point over draws [2, budget, choice]; NaN for choices that the limits forbid."""
    flat = draws.stack(sample=("chain", "draw")).transpose("sample", "budget", "choice").values
    known = ~np.isnan(flat).all(axis=0)
    table = np.full((2, *flat.shape[1:]), np.nan)
    table[:, known] = np.nanquantile(flat[:, known], [0.5, 0.95], axis=0)
    return table


def decision_statement(result: xr.Dataset) -> list[str]:
    """A decision in plain sentences, one a budget."""
    result = opened_result(result, "decide")
    table = decision_table(result)
    sentences: list[str] = []
    for compute, rows in table.groupby("compute", sort=False):
        row = rows.iloc[0]
        ends = "any allowed N" if row.flat_open else "any N"
        sentences.append(
            f"{compute:.3g}: train {_size(row.params)} parameters on {_size(row.tokens)} tokens; {ends} between "
            f"{_size(row.flat_low)} and {_size(row.flat_high)} costs less than {100 * result.attrs['tolerance']:g} % "
            f"of the loss. Expected regret {row.expected_regret:.2g} of loss; by the law alone it wastes "
            f"{100 * row.compute_regret_q50:.2g} % of the budget, with 95 % probability below "
            f"{100 * row.compute_regret_q95:.2g} %. "
            f"P(N within a factor {result.attrs['factor']:g} of the optimum) = {row.p_near:.2f}."
        )
    return sentences


def _size(value: float) -> str:
    for suffix, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if value >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def decision_warnings(result: xr.Dataset) -> list[str]:
    """What speaks against a decision; an empty list when nothing is known."""
    result = opened_result(result, "decide")
    warnings = trust_warnings(diagnostics(result))
    warnings += distance_warnings(result["decades_beyond"].values, result["nearest_run"].values)
    for compute, held in zip(result["compute"].values, result["held"].values, strict=True):
        if held:
            unit = " FLOP" if result.attrs["cost"] == TRAINING else ""
            warnings.append(f"{compute:.3g}{unit}: not identified: held by a limit: {held}")
    if not result.attrs["drift"]:
        warnings.append("the law is taken to be exactly right: regrets are those of its parameters alone")
    return warnings


def decision_summary(result: xr.Dataset) -> dict[str, Any]:
    """A decision for machines: ``choices`` (rows of :func:`decision_table`), ``statement``, ``warnings``."""
    rows: Sequence[dict[str, Any]] = decision_table(result).to_dict("records")
    return {
        "law": result.attrs["law"],
        "cost": result.attrs["cost"],
        "tolerance": result.attrs["tolerance"],
        "factor": result.attrs["factor"],
        "choices": list(rows),
        "statement": decision_statement(result),
        "warnings": decision_warnings(result),
    }
