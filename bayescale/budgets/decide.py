"""fit + budget -> one split to train, what it costs to be wrong, and how far one may stray from it at little cost."""

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.allocate import split_warnings
from bayescale.budgets.cost import increasing_root, spend
from bayescale.budgets.exchange import erring, lowest, of_budget
from bayescale.budgets.identified import held_text, marked, not_identified
from bayescale.budgets.optimum import Problem, Split, best_split
from bayescale.budgets.problem import (
    SplitOptions,
    budgets_of,
    check_scale,
    compute_unit,
    forecast_inputs,
    median_split,
    problem_of,
    result_attrs,
    unit_given,
    units_said,
)
from bayescale.budgets.regret import candidates as candidate_sizes
from bayescale.budgets.regret import expected_log_loss, flat_region, judge, median_tokens, trained_tokens
from bayescale.errors import FitError
from bayescale.field import number_text, size_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, flag, number, numbers, opened, opened_result
from bayescale.forecasts.planned import distance_warnings, planned_runs
from bayescale.forecasts.unknown import Unknown, unknown_of
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.groups import group_of
from bayescale.reading import Column, Reading, unless
from bayescale.runs.loss_unit import UNITS, in_unit, loss_unit
from bayescale.study import Study

CHOICES = ("least expected loss", "median of N*", "20 tokens per parameter")
DRAW_BATCHES = 50  # of draws, whose means tell the error of their mean
REGRET_ERROR_SAID = 0.03  # Monte Carlo error as a share of an expected regret: ten seeds then differ by a tenth
LEFT_OVER_SAID = 0.005  # share of the budget; less is not worth a sentence
RULE_OF_THUMB = 20.0  # tokens per parameter, as often read from Hoffmann et al. 2022


@one_blas_thread()
def decide(
    fit: xr.DataTree | Study,
    compute: Any,
    *,
    candidates: Any = None,
    tolerance: float = 0.001,
    factor: float = 2.0,
    discrepancy: bool = True,
    seed: int = 0,
    **options: Unpack[SplitOptions],
) -> xr.Dataset:
    """The split of least expected loss, and the regret of choosing it, or another.

    The decision is the N that minimises E[log L(N, D(N))] over the posterior, the law's error in the exchange of
    parameters and tokens, and what is uncertain of the cost. D(N) is what the budget buys, at most what the limits
    allow: what is left is not spent. Noise is left out, it is the same for every choice. The regret of a choice is
    log L(N, D(N)) - min log L in each draw, the share of the loss that it costs; and as the share of the budget that
    was wasted, (spent - C')/C with C' the budget whose own best split reaches the same loss. N is chosen before what
    is uncertain is known, and held against a best split that knows it.

    Parameters
    ----------
    fit, compute, options : as in :func:`bayescale.allocate`
    candidates : further sizes N to judge
    tolerance : what counts as next to nothing, as a share of the expected loss, for the flat region
    factor : P(N within this factor of the best) is reported
    discrepancy : let the law be wrong about the splits of one budget: L(N, D) = law(N e^-x, D e^x), x normal around
        what the discrepancy of the runs says, with the sd that real isoFLOP sweeps showed. With False the law is
        exactly right
    seed : of what is drawn: that error and uncertain costs

    Returns
    -------
    Dataset with, for every ``choice`` (the decision, the posterior median of N*, 20 tokens per parameter,
    ``candidates`` and every architecture of a menu): ``N``, ``D`` (the median over draws of the cost), ``allowed``,
    ``expected_loss`` = exp(E[log L]), ``expected_regret`` = E[regret] and its Monte Carlo error
    ``expected_regret_error``, ``left_over`` (median share of the budget that is not spent), ``unaffordable`` (share of
    the draws of the cost, 5 % at most, in which the budget does not buy the size, and the draw's own best split is
    trained), ``p_near`` [budget, choice], ``regret`` and ``compute_regret`` [chain, draw, budget, choice];
    all but N are NaN where the budget or the limits do not allow a choice. The curve ``curve_N``, ``curve_loss``
    (expected) [budget, candidate]; and the flat region ``flat_low``, ``flat_high`` [budget], sizes between which the
    expected loss is less than ``tolerance`` above the least, with ``flat_open`` [budget] where it ends at a limit of
    the sizes. ``identified`` and ``why_not`` [budget] as in
    :func:`bayescale.allocate`: of a budget that is not identified tables say nothing, sentences why. ``exchange``
    [chain, draw, budget] is x. ``compute`` [budget] is a coordinate.

    Raises
    ------
    FitError
        As :func:`bayescale.allocate`; or if tolerance, factor or candidates are not numbers above 0 (above 1).

    Examples
    --------
    >>> bayescale.read(bayescale.decide(fit, "1e22")).says[0].startswith("1e22: train ")
    True
    """
    study = opened(fit)
    check_seed(seed)
    discrepancy = flag("discrepancy", discrepancy)
    tolerance = number("tolerance", tolerance, "a share of the loss above 0, such as 0.001,")
    factor = number("factor", factor, "a number above 1", above=1.0)
    budgets = budgets_of(compute, options.get("cost"))
    problem = problem_of(study, seed=seed, **options)
    sizes = _sizes(candidates, problem)
    split = best_split(problem, budgets[None, :])
    check_scale(study, budgets, split)
    wrong = erring(study, problem, split, budgets, seed) if discrepancy else problem
    best = best_split(wrong, budgets[None, :]) if discrepancy else split
    medians, _ = median_split(problem, best, budgets)
    rows: list[dict[str, Any]] = []
    for i, budget in enumerate(budgets):
        others = np.array([medians[i], _rule_of_thumb(problem, budget), *sizes])
        rows.append(_decision(of_budget(wrong, i), _of_budget(best, i), float(budget), others, tolerance, factor))
    result = _dataset(study, rows, budgets, [*CHOICES, *(f"N = {size_text(size, 4)}" for size in sizes)])
    result = _placed(result, study, problem)
    result = marked(result, not_identified(study, problem, budgets[None, :], split))
    about: dict[str, Any] = group_of(study.law, problem.covariates) | {"discrepancy": int(discrepancy)}
    about |= {"tolerance": tolerance, "factor": factor, "unit": unit_given(compute, options.get("cost"))}
    result.attrs = result_attrs(study, "decide", problem.cost.text, seed, **about)
    return result


def _placed(result: xr.Dataset, study: Study, problem: Problem) -> xr.Dataset:
    """A decision with how far its splits lie from the runs [budget]."""
    N, D = (result[name].values[:, 0] for name in ("N", "D"))
    points = planned_runs(study, N, D, forecast_inputs(problem, D))
    return result.assign({name: ("budget", points[name].values) for name in ("decades_beyond", "nearest_run")})


def _sizes(candidates: Any, problem: Problem) -> np.ndarray:
    """Further sizes to judge: those that were asked for, and all of a menu."""
    sizes = np.zeros(0) if candidates is None else numbers("candidates", candidates)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise FitError("candidates must be sizes N above 0")
    menu = np.zeros(0) if problem.menu is None else np.unique(problem.menu["params"])
    return np.concatenate([sizes, menu[~np.isin(menu, sizes)]])


def _dataset(study: Study, rows: list[dict[str, Any]], budgets: np.ndarray, choices: list[str]) -> xr.Dataset:
    """What :func:`_decision` found of each budget, as one Dataset."""
    stacked = {name: [row[name] for row in rows] for name in rows[0]}
    result = xr.Dataset(coords={"compute": ("budget", budgets), "choice": choices})
    names = ("N", "D", "allowed", "expected_loss", "expected_regret", "expected_regret_error", "left_over")
    for name in (*names, "unaffordable", "p_near"):
        result[name] = (("budget", "choice"), np.stack(stacked[name]))
    for name in ("regret", "compute_regret"):
        parts = [study.labelled(values, "choice") for values in stacked[name]]
        result[name] = xr.concat(parts, dim="budget").transpose("chain", "draw", "budget", "choice")
    result["exchange"] = study.labelled(np.stack(stacked["exchange"], axis=1), "budget")
    for name in ("curve_N", "curve_loss"):
        width = max(map(len, stacked[name]))
        padded = [np.pad(curve, (0, width - len(curve)), constant_values=np.nan) for curve in stacked[name]]
        result[name] = (("budget", "candidate"), np.stack(padded))
    for name in ("flat_low", "flat_high", "flat_open", "held"):
        result[name] = ("budget", stacked[name])
    return in_unit(result, ("expected_loss", "curve_loss"), study.loss_unit)


def _of_budget(split: Split, i: int) -> Split:
    return Split(*(getattr(split, name)[:, [i]] for name in ("N", "D", "loss", "held")))


def _rule_of_thumb(problem: Problem, budget: float) -> float:
    """N on 20 N tokens for a budget, at the median of an uncertain cost; of a menu the nearest; NaN if limited."""
    middle = {name: float(np.median(value)) for name, value in problem.cost_values.items()}
    if problem.menu is not None:
        N = problem.menu["params"]
        D = median_tokens(trained_tokens(problem, N, budget))
        apart = np.abs(np.log(D / N / RULE_OF_THUMB))
        return float(N[np.nanargmin(apart)]) if np.isfinite(apart).any() else np.nan
    found = increasing_root(
        lambda N: spend(problem.cost, middle, N, RULE_OF_THUMB * N), np.full((1, 1), budget), (1, 1)
    )
    D = median_tokens(trained_tokens(problem, found[0], budget))
    # a limit that holds the tokens leaves another ratio; the median of an uncertain cost is not that of its parts
    return float(found[0, 0]) if abs(np.log(D[0] / found[0, 0] / RULE_OF_THUMB)) < 0.1 else np.nan


def _decision(
    problem: Problem, best: Split, budget: float, others: np.ndarray, tolerance: float, factor: float
) -> dict[str, Any]:
    """Everything about one budget; ``best`` is each draw's own split, ``others`` are sizes to compare with."""
    items = problem.menu is not None
    grid, curve = candidate_sizes(problem, best, budget, tolerance)
    vertex = np.zeros(0) if items else np.exp([lowest(np.log(grid), curve)])
    # all on the same draws, so that what differs between choices is the choice
    sizes = np.concatenate([vertex, grid, others])
    chosen = sizes[np.nanargmin(expected_log_loss(problem, best, sizes, budget))]
    found = judge(problem, best, np.concatenate([[chosen], others]), budget)
    near = np.abs(np.log(best.N / found.N)) <= np.log(factor) * (1 + 1e-12)
    # the chosen size is one of the curve: it may be the only one within the tolerance
    place = np.searchsorted(grid, chosen)
    around = np.insert(grid, place, chosen), np.insert(np.exp(curve), place, found.expected[0])
    low, high, is_open = flat_region(*around, tolerance, items, found.expected[0])
    exchange = problem.surface.exchange
    return {
        "N": found.N,
        "D": found.D,
        "allowed": found.allowed,
        "expected_loss": found.expected,
        "expected_regret": found.regret.mean(axis=0),
        "expected_regret_error": _mean_error(found.regret),
        "left_over": found.left_over,
        "unaffordable": found.unaffordable,
        "p_near": np.where(found.allowed, near.mean(axis=0), np.nan),
        "regret": found.regret,
        "compute_regret": found.waste,
        "exchange": np.zeros(len(best.N)) if exchange is None else exchange[:, 0],
        "curve_N": grid,
        "curve_loss": np.exp(curve),
        "flat_low": low,
        "flat_high": high,
        "flat_open": is_open,
        "held": held_text(best)[0],
    }


def _mean_error(values: np.ndarray) -> np.ndarray:
    """Monte Carlo error of means over draws [draw, ...], which may depend on those before: by means of batches.

    As ArviZ's, whose import would take half a second of every decision.
    """
    means = [part.mean(axis=0) for part in np.array_split(values, min(DRAW_BATCHES, len(values)))]
    return np.std(means, axis=0, ddof=1) / np.sqrt(len(means))


_CHOICE_COLUMNS = (
    *("compute", "choice", "params", "tokens", "allowed", "tokens_per_param", "expected_loss", "expected_regret"),
    *("expected_regret_error", "regret_q50", "regret_q95", "compute_regret_q50", "compute_regret_q95", "left_over"),
    *("unaffordable", "p_near", "flat_low", "flat_high", "flat_open", "held"),
)


def read(result: xr.Dataset) -> Reading:
    """What a decision says, a row a budget and choice; budgets that are not identified have none.

    ``expected_regret``, its Monte Carlo error ``expected_regret_error``, ``regret_q50``, ``regret_q95`` as shares of
    the loss, ``compute_regret_q50``, ``..._q95`` and ``left_over`` as shares of the budget, ``p_near``, and the flat
    region ``flat_low`` to ``flat_high`` of the budget.
    A size that was asked for and is not ``allowed`` by the budget or the limits has a row all the same, of NaN.
    """
    result = opened_result(result, "decide")
    attrs, frame = result.attrs, _choices(result)
    says = _statement(frame, attrs, result["compute"].values, unknown_splits(result))
    warnings = trust_warnings(diagnostics(result))
    warnings += distance_warnings(result["decades_beyond"].values, result["nearest_run"].values)
    warnings += split_warnings(result)
    if not attrs["discrepancy"]:
        warnings.append("the law is taken to be exactly right: regrets are those of its parameters alone")
    unit = UNITS[loss_unit(attrs)]
    not_allowed, nothing = (unless(frame["allowed"], text) for text in ("not allowed", ""))
    columns = (
        Column("compute", "compute", compute_unit(attrs), "number"),
        Column("choice", "choice"),
        Column("params", "N", "parameters", "size"),
        Column("tokens", "D", "tokens", "size", instead=not_allowed),
        Column("tokens_per_param", "D/N", "", "number", instead=nothing),
        Column("expected_loss", "expected loss, law alone", unit, "decimals", 4, instead=nothing),
        Column("expected_regret", "regret", "", "percent", 2, instead=nothing),
        Column("regret_q50", "50 / 95 %", "", "percent", 2, ("regret_q95",), nothing),
        Column("compute_regret_q50", "compute wasted", "", "coarse percent", 2, ("compute_regret_q95",), nothing),
        Column("p_near", "P(near N*)", "", "decimals", 2, instead=nothing),
    )
    return Reading(
        "What to train, and what other choices cost",
        frame,
        columns,
        says=tuple(says),
        warnings=tuple(dict.fromkeys(warnings)),
        notes=(units_said(attrs),),
        about={name: attrs[name] for name in ("law", "cost", "tolerance", "factor")}
        | {"loss_unit": unit, "statement": says},
        rows="choices",
    )


def _choices(result: xr.Dataset) -> pd.DataFrame:
    bands: dict[str, Any] = {
        f"{name}_{label}": (("budget", "choice"), values)
        for name in ("regret", "compute_regret")
        for label, values in zip(("q50", "q95"), _middle_and_high(result[name]), strict=True)
    }
    bands["tokens_per_param"] = result["D"] / result["N"]
    table = result.rename(N="params", D="tokens").assign(bands)
    names = [name for name in (*_CHOICE_COLUMNS, "identified") if name not in table.coords]
    frame = table[names].to_dataframe(dim_order=["budget", "choice"]).reset_index()
    shown = frame["identified"] & np.isfinite(frame["params"])
    return frame.loc[shown, list(_CHOICE_COLUMNS)].reset_index(drop=True)


def _middle_and_high(draws: xr.DataArray) -> np.ndarray:
    """Median and 95 % point over draws [2, budget, choice]; NaN for choices that the limits forbid."""
    flat = draws.stack(sample=("chain", "draw")).transpose("sample", "budget", "choice").values
    known = ~np.isnan(flat).all(axis=0)
    table = np.full((2, *flat.shape[1:]), np.nan)
    table[:, known] = np.nanquantile(flat[:, known], [0.5, 0.95], axis=0)
    return table


def unknown_splits(result: xr.Dataset) -> dict[float, Unknown]:
    """Of an allocation or a decision the budgets whose split must not be acted on, and why."""
    report, found = diagnostics(result), {}
    told = (result[name].values for name in ("compute", "decades_beyond", "why_not"))
    for compute, beyond, why_not in zip(*told, strict=True):
        if unknown := unknown_of(report, float(beyond), why_not=str(why_not)):
            found[float(compute)] = unknown
    return found


def _statement(
    table: pd.DataFrame, attrs: Mapping[str, Any], budgets: np.ndarray, unknown: Mapping[float, Unknown]
) -> list[str]:
    """A decision in plain sentences, one a budget; where the split is not known, why, and what would tell."""
    sentences: list[str] = []
    chosen = {compute: rows.iloc[0] for compute, rows in table.groupby("compute", sort=False)}
    for compute in map(float, budgets):
        if compute in unknown:
            sentences.append(unknown[compute].said(f"{number_text(compute)}: the best split"))
            continue
        row = chosen[compute]
        flat = f"{number_text(100 * attrs['tolerance'])} % of the loss more"
        region = f"{'any allowed N' if row.flat_open else 'any N'} between {size_text(row.flat_low)} and "
        region += f"{size_text(row.flat_high)} costs less than {flat}"
        if row.flat_low == row.flat_high:
            region = f"no other size that is allowed costs less than {flat}"
        left = f"It leaves {100 * row.left_over:.0f} % of the budget over. " if row.left_over >= LEFT_OVER_SAID else ""
        if row.unaffordable > 0:
            left += (
                f"In {number_text(100 * row.unaffordable, 2)} % of the draws of the cost it is out of reach; the best "
            )
            left += "split of such a draw is then trained. "
        wide = row.expected_regret_error > REGRET_ERROR_SAID * row.expected_regret
        error = f" (Monte Carlo error {number_text(100 * row.expected_regret_error, 1)} %)" if wide else ""
        sentences.append(
            f"{number_text(compute)}: train {size_text(row.params)} parameters on {size_text(row.tokens)} tokens; "
            f"{region}. {left}"
            f"Expected regret {number_text(100 * row.expected_regret, 2)} % of the loss{error}; it wastes "
            f"{number_text(round(100 * row.compute_regret_q50, 3), 2)} % of the budget, with 95 % probability below "
            f"{number_text(round(100 * row.compute_regret_q95, 3), 2)} %. "
            f"P(N within a factor {number_text(attrs['factor'], 6)} of the best) = {row.p_near:.2f}."
        )
    return sentences
