"""fit + affordable runs -> which to train next, and what it will tell."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.aim import SPLITS, Aim, aim_of, own_aim, target_draws
from bayescale.budgets.cost import Cost, check_rises, draw_quantities, increasing_root, parse_cost, spend, tokens_at
from bayescale.budgets.problem import compute_unit, default_cost, result_attrs
from bayescale.budgets.screening import Beliefs, band_width, covariance, expected_width, greedy_plan, screen
from bayescale.errors import FitError
from bayescale.field import SIZE_UNITS, SIZES_SAID, listed, number_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, check_whole, flag, mapping, number, opened, opened_result
from bayescale.forecasts.chain import law_at
from bayescale.forecasts.curve import sample_curve
from bayescale.forecasts.discrepancy import has_drift
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.planned import ONE_SIZE_CHECKED_DECADES, POINTS_MAX, distance_warnings, planned_runs
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import column, is_joint
from bayescale.reading import Column, Reading
from bayescale.runs.compute import counted
from bayescale.study import Study

OWN_CANDIDATES = 60  # sizes of a law of one size, where no candidates are given
CANDIDATE_GRID_SIDE = 14  # sizes and lengths, where no candidates are given
CANDIDATE_TOKENS_PER_PARAM = (0.5, 2000.0)
COST_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)  # that divide a gain; the best of these plans is taken
PRICE_SLACK = 1e-9  # share of a budget: rounding of a sum of prices
EFFECTIVE_DRAWS_MIN = 30.0  # with fewer the close look says nothing and the screening stands


@one_blas_thread()
def next_run(
    fit: xr.DataTree | Study,
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
    at: Mapping[str, float] | None = None,
    discrepancy: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    """Which affordable runs shrink the uncertainty of a target most.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    budget : what all new runs together may cost, in the unit of the cost (FLOP by default); of a law of one size the
        sum of their sizes
    target : ``"loss"`` at ``params`` and ``tokens``; ``"params"``: N* of the budget ``compute`` [FLOP]; ``"regret"``:
        what the best split that can be chosen for ``compute`` costs in loss for want of knowledge
    params, tokens, compute : of the target, as it needs them
    at : other inputs of a law of one size, by column
    candidates : a table with the columns ``params`` and ``tokens`` (and further inputs of the law), each row a run that
        could be made once; by default a grid of sizes and lengths from the smallest run up, any of them more than once
    most : how many runs at most; 1 is the next run, more a plan that is chosen greedily
    cost, given : what a run of N and D costs, as in :func:`bayescale.allocate`, with certain values
    discrepancy : let the law be wrong as in :func:`bayescale.forecast`; the law alone trusts small runs too much
    seed : of the discrepancy and of the simulated outcomes

    Returns
    -------
    Dataset with the plan: ``params``, ``tokens`` (or the law's size), ``cost``, ``spent``, ``sd_after`` (of the target)
    [run]; and what was screened: ``candidate_params``, ``candidate_tokens``, ``candidate_cost``, ``candidate_sd`` (of
    the target after this run alone), ``gain`` (share of the variance removed) and ``gain_per_cost`` [candidate].
    Attributes: ``sd_now``, ``width_now`` and ``width_after`` (of the 90 % band, now and expected after the plan),
    ``effective`` (draws behind the latter; 0: it is the screening's), ``target`` in words. The target is a log: 0.01
    is 1 %.

    Raises
    ------
    FitError
        If the target or the candidates cannot be read, or no candidate is within the budget.

    Examples
    --------
    >>> bayescale.next_run(fit, "1e21", params="7B", tokens="140B")["params"].dims
    ('run',)
    """
    study = opened(fit)
    check_seed(seed)
    check_whole("most", most, 1)
    budget, discrepancy = number("budget", budget), flag("discrepancy", discrepancy)
    if at and is_joint(study.law):
        raise FitError(f"at = {[*at]}: law '{study.law.name}' is planned for by params and tokens")
    if is_joint(study.law):
        names: tuple[str, ...] = ("params", "tokens")
        priced, values = _certain_cost(study, cost, given)
        aim, counted_as = aim_of(study, target, params, tokens, compute), priced.text
        points, prices, once = _affordable(study, candidates, priced, values, budget, aim)
    else:
        if cost is not None or given:
            raise FitError(f"law '{study.law.name}' has one size: a run costs its size, and no formula of N and D")
        named = {"params": params, "tokens": tokens, "compute": compute} | mapping("at", at)
        aim, size = own_aim(study, target, named)
        names, counted_as, discrepancy = (size,), size, discrepancy and has_drift(study.law)
        points, prices, once = _own_candidates(study, candidates, aim, size, budget)
    beliefs = _beliefs(study, points, aim, discrepancy, seed)
    joint = covariance(beliefs)
    plans = [greedy_plan(joint, beliefs.scatter, prices, budget, int(most), once=once, thrift=t) for t in COST_POWERS]
    chosen, sd_after = min(plans, key=lambda plan: plan[1][-1])
    sd_now, gain = float(np.sqrt(joint[0, 0])), screen(joint, beliefs.scatter)
    result = _screened(_plan(points, names, prices, chosen, sd_after), gain, sd_now)
    result.attrs = result_attrs(study, "next_run", counted_as, int(seed), target=aim.text, budget=budget, sd_now=sd_now)
    about = {"decades_beyond": aim.decades_beyond, "nearest_run": aim.nearest_run, "discrepancy": int(discrepancy)}
    return result.assign_attrs(_widths(beliefs, chosen, sd_after[-1] / sd_now, seed) | about)


def _certain_cost(study: Study, cost: str | None, given: Any) -> tuple[Cost, dict[str, Any]]:
    """What a run costs, and the values of its names."""
    cost = default_cost(study) if cost is None else cost
    priced = parse_cost(cost, mapping("given", given))
    if priced.uncertain:
        raise FitError(f"cost '{cost}': a plan needs certain values; give numbers, not ranges")
    values = draw_quantities(priced.given, 1, np.random.default_rng(0))  # certain, so that nothing is drawn
    check_rises(priced, values)
    return priced, values


def _plan(
    points: xr.Dataset, names: tuple[str, ...], prices: np.ndarray, chosen: list[int], sd_after: list[float]
) -> xr.Dataset:
    """The runs of a plan [run], and what it was chosen from [candidate]; ``names`` are the sizes of a run."""
    taken = {name: ("run", points[name].values[chosen]) for name in names}
    taken |= {"cost": ("run", prices[chosen]), "spent": ("run", np.cumsum(prices[chosen]))}
    offered = {f"candidate_{name}": ("candidate", points[name].values) for name in names}
    return xr.Dataset(
        taken | {"sd_after": ("run", np.array(sd_after))} | offered | {"candidate_cost": ("candidate", prices)}
    )


def _screened(plan: xr.Dataset, gain: np.ndarray, sd_now: float) -> xr.Dataset:
    """A plan with what each candidate alone would tell [candidate]."""
    told = {"candidate_sd": sd_now * np.sqrt(1 - gain), "gain": gain}
    told["gain_per_cost"] = gain / plan["candidate_cost"].values
    return plan.assign({name: ("candidate", values) for name, values in told.items()})


def _own_candidates(
    study: Study, given: Any, aim: Aim, size: str, budget: float
) -> tuple[xr.Dataset, np.ndarray, bool]:
    """Runs of a law of one size within a budget of it [point], their sizes, and whether each can be made only once."""
    names = [column(symbol) for symbol in study.law.inputs]
    if given is None:
        smallest = float(study.runs[size].min())
        if smallest > budget:
            raise FitError(
                f"no run is within the budget of {number_text(budget, 4)}: the smallest of the fit has "
                f"{size} = {number_text(smallest, 4)}"
            )
        columns: dict[str, Any] = {size: np.geomspace(smallest, budget, OWN_CANDIDATES)}
        columns |= {name: float(aim.points[name][0]) for name in names if name != size}
    else:
        try:
            columns = {name: np.asarray(given[name]) for name in names}
        except (TypeError, KeyError):
            raise FitError(f"candidates are a table with the columns {listed(names)}") from None
    points = planned_runs(study, None, None, columns)
    affordable = points[size].values <= budget * (1 + PRICE_SLACK)
    if not affordable.any():
        raise FitError(f"none of the candidate runs is within the budget of {number_text(budget, 4)}")
    points = points.isel(point=affordable)
    return points, points[size].values, given is not None


def _widths(beliefs: Beliefs, chosen: list[int], sd_share: float, seed: int) -> dict[str, float]:
    """Width of the target's band now, and after a plan: by the close look, or as the sd falls by the screening."""
    now = band_width(beliefs.target, np.ones(len(beliefs.target)))
    after, effective = expected_width(beliefs, chosen, np.random.default_rng(seed))
    if effective < EFFECTIVE_DRAWS_MIN:
        after, effective = now * sd_share, 0.0
    return {"width_now": now, "width_after": after, "effective": effective}


def _affordable(
    study: Study, given: Any, cost: Cost, values: Mapping[str, Any], budget: float, aim: Aim
) -> tuple[xr.Dataset, np.ndarray, bool]:
    """The runs that could be made within a budget [point], their prices, and whether each can be made only once.

    Without candidates of one's own none is dearer than the run whose loss is the target: it would tell less than that.
    """
    points, once = _candidates(study, given, cost, values, budget)
    prices = spend(cost, values, points["params"].values, points["tokens"].values)
    prices = np.broadcast_to(prices, points.sizes["point"])
    affordable = prices <= budget * (1 + PRICE_SLACK)
    if not affordable.any():
        raise FitError(
            f"no candidate run is within the budget of {number_text(budget, 4)}: the cheapest of {len(prices)} "
            f"costs {number_text(prices.min(), 4)}; raise the budget or add smaller candidates"
        )
    if given is None and aim.kind == "loss":
        own = float(spend(cost, values, aim.points["params"].values, aim.points["tokens"].values)[0])
        cheaper = affordable & (prices <= own * (1 + PRICE_SLACK))
        affordable = cheaper if cheaper.any() else affordable
    return points.isel(point=affordable), prices[affordable], once


def _candidates(
    study: Study, given: Any, cost: Cost, values: Mapping[str, Any], budget: float
) -> tuple[xr.Dataset, bool]:
    """The runs that could be made [point], and whether each only once."""
    if given is not None:
        try:
            table = {str(name): given[name] for name in given}
            N, D = table["params"], table["tokens"]
        except (TypeError, KeyError):
            raise FitError("candidates are a table with the columns 'params' and 'tokens'") from None
        return planned_runs(study, np.asarray(N), np.asarray(D), {}), True
    data = study.runs
    smallest, shortest = float(data["params"].min()), float(data["tokens"].min())
    most = float(increasing_root(lambda N: spend(cost, values, N, shortest), np.full(1, budget), (1,))[0])
    longest = float(tokens_at(cost, values, np.full(1, smallest), np.full(1, budget))[0])
    N = np.geomspace(smallest, np.fmax(most, smallest * 2), CANDIDATE_GRID_SIDE)
    D = np.geomspace(shortest, np.fmax(longest, shortest * 2), CANDIDATE_GRID_SIDE)
    N, D = (grid.ravel() for grid in np.meshgrid(N, D, indexing="ij"))
    prices = np.broadcast_to(spend(cost, values, N, D), N.shape)
    low, high = CANDIDATE_TOKENS_PER_PARAM
    kept = (prices <= budget * (1 + PRICE_SLACK)) & (D / N >= low) & (D / N <= high)
    if not kept.any():
        kept = prices == prices.min()
    return planned_runs(study, N[kept], D[kept], {}), False


def _beliefs(study: Study, points: xr.Dataset, aim: Aim, discrepancy: bool, seed: int) -> Beliefs:
    count = points.sizes["point"]
    if count + aim.points.sizes["point"] > POINTS_MAX:
        raise FitError(f"{count} candidate runs: at most {POINTS_MAX - SPLITS} can be compared; thin them out")
    every = xr.concat([points, aim.points], dim="point")
    if discrepancy:
        losses = sample_curve(study.once(discrepancy_of), every, np.random.default_rng(seed)).log_loss
    else:
        losses = study.scatter.transform(law_at(study, every)) / study.scatter.unit
    if not np.isfinite(losses).all():
        raise FitError("the law overflows at one of the candidates; it is too far from the fitted runs")
    return Beliefs(target_draws(aim, losses[:, count:]), losses[:, :count], _scatter(study, points))


def _scatter(study: Study, points: xr.Dataset) -> np.ndarray:
    """Scale of the normal noise that would be as informative as the fit's [point]."""
    scale = study.scatter.spread_at(law_at(study, points), study.covariates(points), study.draws) / study.scatter.unit
    # Fisher information of a Student-t's place is (nu + 1) / (nu + 3) / scale^2
    return np.median(scale / np.sqrt(1 - 2 / (study.scatter.tail_df(study.draws) + 3)), axis=0)


def read(result: xr.Dataset) -> Reading:
    """What a plan says, a row a run in the order in which they tell most: sizes, ``cost``, ``spent``, ``sd_after``."""
    result = opened_result(result, "next_run")
    attrs = result.attrs
    joint = {"params", "tokens"} <= set(result.data_vars)
    sizes = ["params", "tokens"] if joint else [attrs["cost"]]
    frame = pd.DataFrame({name: result[name].values for name in (*sizes, "cost", "spent", "sd_after")})
    if joint:
        frame.insert(2, "tokens_per_param", frame["tokens"] / frame["params"])
    frame.insert(0, "run", range(1, len(frame) + 1))
    frame["sd_share"] = frame["sd_after"] / attrs["sd_now"]
    warnings = trust_warnings(diagnostics(result))
    warnings += distance_warnings(
        np.array([attrs["decades_beyond"]]),
        np.array([attrs["nearest_run"]]),
        **({} if joint else {"size": attrs["cost"], "inputs": attrs["cost"], "checked": ONE_SIZE_CHECKED_DECADES}),
    )
    if attrs["width_after"] > 0.95 * attrs["width_now"]:
        warnings.append("no affordable run tells much about this target: save the compute, or raise the budget")
    if not attrs["discrepancy"]:
        warnings.append("the law is taken to be exactly right: small runs look more telling than they are")
    unit, says = compute_unit(attrs) if joint else SIZE_UNITS.get(attrs["cost"], ""), _statement(result)
    of_split = (
        Column("params", "N", "parameters", "size"),
        Column("tokens", "D", "tokens", "size"),
        Column("tokens_per_param", "D/N", "", "number"),
        Column("cost", "cost", unit, "number"),
    )
    columns = (
        Column("run", "run", "", "count"),
        *(of_split if joint else (Column(attrs["cost"], attrs["cost"], unit, "quantity"),)),
        Column("spent", "spent so far", unit, "number"),
        Column("sd_share", "sd left", "", "share", 0),
    )
    told = ("law", "target", "budget", "cost", "sd_now", "width_now", "width_after", "effective")
    return Reading(
        "Runs that tell most about the target, in order",
        frame,
        columns,
        says=(says,),
        warnings=tuple(warnings),
        notes=(f"{SIZES_SAID}. {counted(attrs)}",) if joint else (),
        about={name: attrs[name] for name in told} | {"statement": says, "diagnostics": diagnostics(result)},
        rows="plan",
    )


def _statement(result: xr.Dataset) -> str:
    attrs, count = result.attrs, result.sizes["run"]
    runs = "this run" if count == 1 else f"these {count} runs"
    shrink = 1 - attrs["width_after"] / attrs["width_now"]
    how = "by weighting simulated outcomes" if attrs["effective"] else "by the linear screening alone"
    return (
        f"The 90 % band of {attrs['target']} is {number_text(attrs['width_now'])} wide now; after {runs} "
        f"({number_text(float(result['spent'][-1]))} of the budget of {number_text(attrs['budget'])}) it is expected "
        f"to be {number_text(attrs['width_after'])} wide, {100 * shrink:.0f} % less ({how})."
    )
