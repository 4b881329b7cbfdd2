"""fit + budget -> the compute-optimal split into N and D, with its uncertainty."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.diagnostics import diagnostics, trust_warnings
from bayescale.fit import FitError, draws_of, law_of
from bayescale.forecast import QUANTILES, distance_warnings, forecast, quantiles
from bayescale.formula import evaluate
from bayescale.law import Law, law_loss, sample_priors, with_where
from bayescale.runs import FLOPS_PER_PARAM_TOKEN

GRID = 61  # coarse points of log N in which the minimum is bracketed
GOLDEN_STEPS = 36  # each narrows the bracket 1.618 times: to about 1e-7 of log N, all that a flat minimum can give
CLOSED_FORM_TOLERANCE = 1e-3  # of log N*, between a law file's [optimum] and the numeric one
NARROWER_THAN_PRIOR = 0.6  # a band of log N* wider than this share of the prior's own band is not learnt from runs


def allocate(fit: xr.DataTree, compute: Any, *, closed_form: bool = True, seed: int = 0) -> xr.Dataset:
    """The compute-optimal split of budgets under C = 6 N D.

    N*(C) minimises L(N, C/(6 N)) for every posterior draw; D* = C/(6 N*). The bands of N*, D* and their ratio take the
    law to be exactly right; only that of ``loss`` lets it be wrong beyond the data.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    compute : budgets in FLOP, a number or a sequence
    closed_form : use the law's closed form where its file gives one, else (or with False) solve numerically
    seed : of the draws of drift and noise in ``loss``

    Returns
    -------
    Dataset [chain, draw, budget] of ``N``, ``D``, ``tokens_per_param``, ``law_loss`` (at each draw's own optimum)
    and ``loss`` (what a run would show at the posterior-median split: law, drift and noise), with the coordinate
    ``compute`` [budget], ``identified`` [budget] and ``why_not`` [budget]: an optimum that is not inside the searched
    range, or whose band comes from the prior and not from the runs, is marked, never shown as certain.

    Raises
    ------
    FitError
        If a budget is not a number above 6 FLOP, or the law does not depend on both N and D.
    """
    budgets = _budgets(compute)
    law = law_of(fit)
    if not {"N", "D"} <= set(law.inputs):
        raise FitError(f"law '{law.name}' uses {list(law.inputs)}; a split of compute needs a law of N and D")
    if set(law.inputs) - {"N", "D", "C"}:
        raise FitError(f"law '{law.name}' needs {sorted(set(law.inputs) - {'N', 'D', 'C'})} besides N and D")
    budget = xr.DataArray(budgets, dims="budget")
    values = draws_of(fit)
    if closed_form and law.optimum is not None:
        N = evaluate(law.optimum, with_where(law, values | {"C": budget})).transpose("chain", "draw", "budget")
        interior = xr.ones_like(N, dtype=bool)
        _check_closed_form(law, values, budget, N)
    else:
        N, interior = _numeric_optimum(law, values, budget)
    D = budget / (FLOPS_PER_PARAM_TOKEN * N)
    result = xr.Dataset(
        {
            "N": N,
            "D": D.transpose("chain", "draw", "budget"),
            "tokens_per_param": (D / N).transpose("chain", "draw", "budget"),
            "law_loss": law_loss(law, values | {"N": N, "D": D, "C": budget}).transpose("chain", "draw", "budget"),
        }
    )
    median = np.exp(np.log(N).median(("chain", "draw"))).values
    at_median = forecast(fit, median, budgets / (FLOPS_PER_PARAM_TOKEN * median), seed=seed)
    result["loss"] = at_median["predictions"]["loss"].rename(point="budget")
    reasons = _not_identified(fit, law, values, budget, N, interior)
    result = result.assign_coords(compute=budget)
    result["identified"] = ("budget", [not reason for reason in reasons])
    result["why_not"] = ("budget", reasons)
    for name in ("decades_beyond", "nearest_run"):
        result[name] = ("budget", at_median["predictions_constant_data"][name].values)
    result.attrs = {"law": law.name, "seed": seed, "diagnostics": fit.attrs["diagnostics"]}
    return result


def _budgets(compute: Any) -> np.ndarray:
    try:
        budgets = np.atleast_1d(np.asarray(compute, dtype=float))
    except (TypeError, ValueError):
        raise FitError("compute must be a number of FLOP, or a sequence of them") from None
    if budgets.ndim != 1 or not budgets.size:
        raise FitError("compute must be a number of FLOP, or a flat sequence of them")
    bad = budgets[~(np.isfinite(budgets) & (budgets > FLOPS_PER_PARAM_TOKEN))]
    if bad.size:
        raise FitError(f"compute = {bad[0]:g}: a budget must be finite and above {FLOPS_PER_PARAM_TOKEN:g} FLOP")
    return budgets


def _check_closed_form(law: Law, values: dict[str, Any], budget: xr.DataArray, N: xr.DataArray) -> None:
    """Refuse a law file whose [optimum] is not that of its formula; a few draws are solved numerically."""
    few = {"chain": slice(0, 1), "draw": slice(0, 5)}
    picked = {name: value.isel(few, missing_dims="ignore") for name, value in values.items()}
    solved, interior = _numeric_optimum(law, picked, budget)
    apart = np.abs(np.log(solved / N.isel(few))).where(interior, 0.0)
    if float(apart.max()) > CLOSED_FORM_TOLERANCE:
        raise FitError(
            f"law '{law.name}': its [optimum] is not where its formula is least (N* is off by a factor of "
            f"{np.exp(float(apart.max())):.3g}); mend it, or delete it and the optimum is found numerically"
        )


def _numeric_optimum(law: Law, values: dict[str, Any], budget: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """N* by bracketing and golden sections in log N, for all draws and budgets at once; and whether it is inside."""
    # done once instead of a hundred times: what does not change with N, and aligning the labels of chains and draws
    values = {name: values[name] for name in (*law.priors, *law.constants)}
    bare = with_where(law, {name: value.drop_vars(value.coords) for name, value in values.items()} | {"C": budget})

    def log_loss(log_n: xr.DataArray) -> xr.DataArray:
        N = np.exp(log_n)
        loss = law_loss(law, bare | {"N": N, "D": budget / (FLOPS_PER_PARAM_TOKEN * N)})
        return np.log(loss).transpose("chain", "draw", "budget")

    high = np.log(budget / FLOPS_PER_PARAM_TOKEN)  # D = 1 token
    N, interior = minimise(log_loss, xr.zeros_like(high), high, np.exp)
    labels = {dim: value.coords[dim] for value in values.values() for dim in value.coords}
    return N.assign_coords(labels), interior.assign_coords(labels)


def minimise(
    objective: Callable[[xr.DataArray], xr.DataArray],
    low: xr.DataArray,
    high: xr.DataArray,
    back: Callable[[xr.DataArray], xr.DataArray],
) -> tuple[xr.DataArray, xr.DataArray]:
    """Where ``objective`` is least between ``low`` and ``high``, elementwise; and whether that is inside the range.

    The least of GRID points brackets the minimum, golden sections narrow it; ``back`` transforms the result.
    """
    step = (high - low) / (GRID - 1)
    best, index = None, None
    for i in range(GRID):
        value = objective(low + i * step)
        value = value.where(np.isfinite(value), np.inf)
        if best is None:
            best, index = value, xr.zeros_like(value)
        else:
            index = xr.where(value < best, float(i), index)
            best = np.minimum(best, value)
    interior = (index > 0) & (index < GRID - 1)
    golden = (np.sqrt(5) - 1) / 2
    left = low + (index - 1).clip(0) * step
    right = low + (index + 1).clip(max=GRID - 1) * step
    inner_left, inner_right = right - golden * (right - left), left + golden * (right - left)
    f_left, f_right = objective(inner_left), objective(inner_right)
    for _ in range(GOLDEN_STEPS):
        smaller = f_left < f_right
        left, right = xr.where(smaller, left, inner_left), xr.where(smaller, inner_right, right)
        probe = xr.where(smaller, right - golden * (right - left), left + golden * (right - left))
        f_probe = objective(probe)
        inner_left, inner_right = xr.where(smaller, probe, inner_right), xr.where(smaller, inner_left, probe)
        f_left, f_right = xr.where(smaller, f_probe, f_right), xr.where(smaller, f_left, f_probe)
    return back((left + right) / 2).transpose("chain", "draw", "budget"), interior


def _not_identified(fit, law, values, budget, N, interior) -> list[str]:
    """For each budget why its optimum must not be believed, or an empty text."""
    prior = {name: xr.DataArray(draws[None], dims=("chain", "draw")) for name, draws in _prior_draws(law).items()}
    prior_values = values | prior
    if law.optimum is not None:
        prior_n = evaluate(law.optimum, with_where(law, prior_values | {"C": budget}))
    else:
        prior_n, _ = _numeric_optimum(law, prior_values, budget)

    def width(sizes: xr.DataArray) -> np.ndarray:
        low, high = np.log(sizes).quantile([0.05, 0.95], dim=("chain", "draw"))
        return (high - low).values

    outside = 1 - interior.mean(("chain", "draw")).values
    with np.errstate(divide="ignore", invalid="ignore"):  # a law without an optimum has no width either
        ratio = width(N) / width(prior_n)
    reasons = []
    for share_outside, share_of_prior in zip(outside, ratio, strict=True):
        if share_outside > 0.01:
            reasons.append(f"no optimum inside the searched range in {share_outside:.0%} of the draws")
        elif diagnostics(fit)["collinear"]:
            reasons.append("N and D move together in the runs: the split comes from the prior")
        elif not share_of_prior < NARROWER_THAN_PRIOR:
            reasons.append(f"the band is {share_of_prior:.0%} as wide as the prior's: the runs do not fix the split")
        else:
            reasons.append("")
    return reasons


def _prior_draws(law: Law) -> dict[str, np.ndarray]:
    return sample_priors(law, 2000, np.random.default_rng(0))


_COLUMNS = {
    "N": "params",
    "D": "tokens",
    "tokens_per_param": "tokens_per_param",
    "law_loss": "law_loss",
    "loss": "loss",
}


def allocation_table(result: xr.Dataset) -> pd.DataFrame:
    """An allocation as a table, a row a budget: quantiles of N*, D*, tokens per parameter and loss, ``identified``."""
    table = pd.DataFrame({"compute": result["compute"].values})
    for name, called in _COLUMNS.items():
        for label, values in quantiles(result[name]).items():
            table[f"{called}_{label}"] = values
    for name in ("identified", "why_not", "decades_beyond"):
        table[name] = result[name].values
    return table


def allocation_summary(result: xr.Dataset) -> dict[str, Any]:
    """An allocation for machines: ``budgets`` with quantiles of every quantity; null where it is not identified."""
    budgets = []
    for _, row in allocation_table(result).iterrows():
        entry = {name: row[name] for name in ("compute", "identified", "why_not", "decades_beyond")}
        for called in _COLUMNS.values():
            hidden = not row["identified"] and called in ("params", "tokens", "tokens_per_param")
            entry[called] = {label: None if hidden else row[f"{called}_{label}"] for label in QUANTILES}
        budgets.append(entry)
    return {
        "law": result.attrs["law"],
        "budgets": budgets,
        "diagnostics": diagnostics(result),
        "warnings": allocation_warnings(result),
    }


def allocation_warnings(result: xr.Dataset) -> list[str]:
    """What speaks against an allocation; an empty list when nothing is known."""
    warnings = trust_warnings(diagnostics(result))
    warnings += distance_warnings(result["decades_beyond"].values, result["nearest_run"].values)
    for compute, reason in zip(result["compute"].values, result["why_not"].values, strict=True):
        if reason:
            warnings.append(f"{compute:.3g} FLOP: not identified: {reason}")
    return warnings
