"""Do the runs or the priors decide? Power-scaling of the prior on the quantities that a decision rests on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import DEFAULT_BUDGET_TIMES, SplitOptions, budgets_of, limits_given, problem_of
from bayescale.errors import FitError
from bayescale.evidence.loo import MIN_DRAWS, log_likelihood
from bayescale.field import number_text, size_text
from bayescale.fitting.diagnostics import PARETO_K_MAX, diagnostics, trust_warnings
from bayescale.fitting.doors import opened, opened_result
from bayescale.fitting.draws import smoothed_weights
from bayescale.forecasts.planned import planned_runs
from bayescale.laws.law import Law, law_loss, log_weight
from bayescale.laws.priors import log_prior
from bayescale.reading import Column, Reading
from bayescale.study import Study

SENSITIVE_DISTANCE = 0.05  # per doubling of the power (Kallioinen et al. 2024)


def prior_sensitivity(
    fit: xr.DataTree | Study,
    *,
    compute: Any = None,
    params: Any = None,
    tokens: Any = None,
    limits: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """How much the prior, and how much the runs, move what is decided: N* of budgets, and the law's loss.

    The posterior is p(y | parameters) p(parameters)^power; the sensitivity is how fast a quantity's distribution moves
    with log2 of the power, as cumulative Jensen-Shannon distance, at power 1. The same for the likelihood.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    compute : budgets [FLOP]; by default ten times the largest run's, for a law of N and D
    params, tokens : also the law's loss at these sizes [point]
    limits : of the splits, ``{"tokens": "..2T"}``; ``params``, ``tokens``, ``ratio``, ``menu`` as ``allocate`` has them

    Returns
    -------
    Table, a row a quantity: ``quantity``, ``prior`` and ``likelihood`` (sensitivities; .05 and more matters),
    ``median``, ``median_half`` and ``median_double`` (with the prior of half and of twice its power; NaN where the
    draws cannot tell), ``decided_by`` ("runs", "prior", "both") and ``says`` in plain words. D* and the tokens per
    parameter of a budget go with its N* and are as sensitive. It is left out where limits hold it in most draws. Only
    the priors of the law are scaled, not the noise's. Its attribute ``diagnostics`` is that of the fit.

    Raises
    ------
    FitError
        If there is nothing to look at: no budget for a law without a split of compute, and no sizes; or too few draws.

    Notes
    -----
    Kallioinen et al. 2024, doi:10.1007/s11222-023-10366-5.

    Examples
    --------
    >>> table = bayescale.prior_sensitivity(fit, compute="1e22")
    >>> "decided_by" in table
    True
    """
    import arviz_stats

    study = opened(fit)
    if study.draw_count < MIN_DRAWS:
        raise FitError(f"sensitivities come from importance weights of at least {MIN_DRAWS} draws; fit with more draws")
    limits = limits_given(limits, "menu")
    quantities = _quantities(study, compute, params, tokens, limits)
    law = study.law
    drawn = {name: study.posterior[name] for name in law.priors}
    prior = xr.Dataset({name: x.copy(data=log_prior(law.priors[name], x.values)) for name, x in drawn.items()})
    if law.weights:
        values = {name: draws.values for name, draws in drawn.items()} | dict(study.constants)
        prior = prior.assign(weights=(("chain", "draw"), log_weight(law, values)))
    tree = xr.DataTree.from_dict(
        {
            "posterior": quantities,
            "log_prior": prior.reset_coords(drop=True),
            "log_likelihood": xr.Dataset({"seen": log_likelihood(study.tree)}),
        }
    )
    of_prior = arviz_stats.psense(tree, group="prior")
    of_runs = arviz_stats.psense(tree, group="likelihood")
    total = prior.to_array("parameter").sum("parameter")
    halved, doubled = (_powered(total, power) for power in (0.5, 2.0))
    rows = []
    for name, draws in quantities.data_vars.items():
        row: dict[str, Any] = {"quantity": str(name)}
        row |= {"prior": float(of_prior[name]), "likelihood": float(of_runs[name]), "median": float(draws.median())}
        row |= {"median_half": _weighted_median(draws, halved), "median_double": _weighted_median(draws, doubled)}
        by_prior, by_runs = row["prior"] >= SENSITIVE_DISTANCE, row["likelihood"] >= SENSITIVE_DISTANCE
        row["decided_by"] = "runs" if not by_prior else "both" if by_runs else "prior"
        rows.append(row | {"says": _plain(row)})
    table = pd.DataFrame(rows)
    table.attrs = {"kind": "prior_sensitivity", "law": law.name, "diagnostics": study.attrs["diagnostics"]}
    return table


def has_split(law: Law) -> bool:
    """Whether a law splits a budget of compute: a loss of N and D and nothing else."""
    return {"N", "D"} <= set(law.inputs) <= {"N", "D", "C"} and law.observed.column == "loss"


def _quantities(study: Study, compute: Any, params: Any, tokens: Any, limits: SplitOptions) -> xr.Dataset:
    """Decision quantities of the law [chain, draw]."""
    law = study.law
    if compute is None and has_split(law):
        compute = DEFAULT_BUDGET_TIMES * study.largest_compute
    quantities = {}
    if compute is not None:
        budgets = budgets_of(compute)
        split = best_split(problem_of(study, **limits), budgets[None, :])
        best, loss = (study.labelled(values, "budget") for values in (split.N, split.loss))
        for i, budget in enumerate(budgets):
            # else the limits decide it, or the one size of a menu that is best in every draw
            if (split.held[:, i] == "").mean() > 0.5 and np.ptp(split.N[:, i]) > 0:
                quantities[f"N* at {number_text(budget)} FLOP"] = best.isel(budget=i)
            quantities[f"law loss at the optimum of {number_text(budget)} FLOP"] = loss.isel(budget=i)
    if params is not None or tokens is not None:
        points = planned_runs(study, params, tokens, {})
        losses = study.labelled(law_loss(law, study.draws | study.inputs(points)), "point")
        for i in range(points.sizes["point"]):
            N, D = float(points["params"][i]), float(points["tokens"][i])
            quantities[f"law loss at N = {size_text(N)}, D = {size_text(D)}"] = losses.isel(point=i)
    if not quantities:
        raise FitError(f"law '{law.name}' has no split of compute; give sizes (params, tokens) to look at")
    return xr.Dataset({name: value.reset_coords(drop=True) for name, value in quantities.items()})


def _powered(log_prior: xr.DataArray, power: float) -> np.ndarray | None:
    """Smoothed importance weights of prior**power against the prior [sample]; None when too few draws carry them."""
    log_weights, k = smoothed_weights((power - 1) * log_prior.transpose("chain", "draw").values.ravel())
    return np.exp(log_weights) if k <= PARETO_K_MAX else None


def _weighted_median(draws: xr.DataArray, weights: np.ndarray | None) -> float:
    if weights is None:
        return float("nan")
    values = draws.transpose("chain", "draw").values.ravel()
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), 0.5)])


def _plain(row: dict[str, Any]) -> str:
    moved = [row[name] for name in ("median_half", "median_double")]
    shown = (
        f" (median {size_text(row['median'], 4)}; {size_text(moved[0], 4)} with the prior half as strong, "
        f"{size_text(moved[1], 4)} twice as strong)"
        if np.isfinite(moved).all()
        else ""
    )
    if row["decided_by"] == "prior":
        return f"{row['quantity']}: the prior decides it, the runs say little{shown}"
    if row["decided_by"] == "both":
        return f"{row['quantity']}: the prior moves it as well as the runs; with another prior it would differ{shown}"
    return f"{row['quantity']}: the runs decide it{shown}"


def read(table: pd.DataFrame) -> Reading:
    """What a table of sensitivities says; it warns of what the fit warns of, and where the prior matters."""
    table = opened_result(table, "prior_sensitivity")
    columns = (
        Column("quantity", "quantity"),
        Column("prior", "by the prior", "", "decimals", 3),
        Column("likelihood", "by the runs", "", "decimals", 3),
        Column("median", "median", "", "size", 4),
        Column("median_half", "prior half as strong", "", "size", 4),
        Column("median_double", "twice as strong", "", "size", 4),
        Column("decided_by", "decided by"),
    )
    warnings = trust_warnings(diagnostics(table)) + [row.says for row in table.itertuples() if row.decided_by != "runs"]
    return Reading(
        f"What moves what is decided: sensitivity to the power of the prior and of the runs "
        f"({SENSITIVE_DISTANCE:g} matters)",
        table,
        columns,
        says=tuple(table["says"]),
        warnings=tuple(warnings),
        about={"law": table.attrs["law"]},
        rows="quantities",
    )
