"""fit + budget -> the compute-optimal split into N and D, with its uncertainty."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.closed_form import closed_form_split, scale_free
from bayescale.budgets.exchange import erring, erring_aside
from bayescale.budgets.identified import held_text, marked, not_identified
from bayescale.budgets.optimum import Problem, Split, best_split, frontier_slopes, sides
from bayescale.budgets.problem import (
    SplitOptions,
    budgets_of,
    check_scale,
    compute_unit,
    forecast_inputs,
    median_split,
    problem_of,
    problem_values,
    result_attrs,
    unit_given,
    units_said,
)
from bayescale.field import BAND, band_ends, band_percent, number_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, flag, level_of, opened, opened_result
from bayescale.forecasts.forecast import QUANTILES, forecast, quantiles
from bayescale.forecasts.planned import distance_warnings
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.groups import group_of
from bayescale.reading import Column, Reading, bands, unless
from bayescale.runs.loss_unit import UNITS, in_unit, loss_unit
from bayescale.study import Study

RELATIVE_WIDTH_MIN = 1e-9  # a narrower band is no band: a limit sets the number


@one_blas_thread()
def allocate(
    fit: xr.DataTree | Study,
    compute: Any,
    *,
    closed_form: bool = True,
    discrepancy: bool = True,
    exponents: bool = True,
    seed: int = 0,
    **options: Unpack[SplitOptions],
) -> xr.Dataset:
    """The optimal split of budgets into parameters and tokens.

    N*, D* minimise L(N, D) subject to cost(N, D) = budget, for every posterior draw, where L may be wrong about the
    splits of one budget: L(N, D) = law(N e^-x, D e^x), with x as the discrepancy of the runs and real isoFLOP sweeps
    say (:mod:`bayescale.budgets.exchange`). ``law_N`` and ``law_D`` take the law to be exactly right.
    :func:`bayescale.decide` turns the draws into one split and says what a wrong one costs.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    compute : budgets in the unit of the cost (FLOP by default), a number or a sequence; or ``"2e6 dollars"``
    closed_form : use the law's closed form where it applies, else (or with False) solve numerically
    discrepancy : let the law be wrong about the splits of one budget; with False it is exactly right, and x is 0
    exponents : also ``a``, ``b`` and ``loss_exponent``, which take two more splits a budget
    seed : of the draws of uncertain costs, of x, and of discrepancy and noise in ``loss``
    cost : what a run costs, a formula over N, D and the names in ``given``; by default its compute as the fit's runs
        count it (:mod:`bayescale.runs.compute`), mostly ``"6*N*D"``. ``"6*N*D + 2*N*T"`` adds the inference of
        T tokens (Sardana et al. 2024, arXiv:2401.00448), ``"6*N*D/(mfu*peak)"`` is in seconds
    given : values of the names in the cost and of inputs of the law besides N and D. A number; for the cost also
        ``"0.35..0.5"``, the 90 % band of a log-normal, or a prior such as ``"Beta(alpha=40, beta=60)"``: then every
        draw has a cost of its own
    params, tokens, ratio : limits of N, of D and of tokens per parameter: (least, most), None for no limit; a single
        number holds N or D there
    unique_tokens : distinct tokens that there are; for laws that know repetition (input ``unique_tokens``)
    menu : architectures to choose from: sizes N, or a table with the column ``params`` and others that the cost uses

    Returns
    -------
    Dataset [chain, draw, budget] of ``N``, ``D``, ``tokens_per_param``, ``law_N``, ``law_D`` (the law taken to be
    exactly right), ``law_loss`` (at each draw's own optimum), ``a``, ``b`` and ``loss_exponent`` (local exponents of
    N*, D* and 1/L* with the budget; none for a menu) and ``loss`` (what a run would show at the posterior-median split:
    law, discrepancy and noise), with the coordinate ``compute`` [budget], ``held`` [budget] (limits of yours that hold
    the split, and in what share of the draws), ``identified`` and ``why_not`` [budget]: an optimum that is not inside
    the searched range, or whose band comes from the prior and not from the runs, is marked, never shown as certain.

    Raises
    ------
    FitError
        If a budget is of no use (below a millionth of the smallest run, above 1e32 FLOP) or allows no split within the
        limits, a formula or limit cannot be read, or the law does not depend on both N and D.

    Examples
    --------
    >>> bayescale.allocate(fit, "1e22")["N"].dims
    ('chain', 'draw', 'budget')
    """
    study = opened(fit)
    check_seed(seed)
    closed_form, discrepancy = flag("closed_form", closed_form), flag("discrepancy", discrepancy)
    exponents = flag("exponents", exponents)
    budgets = budgets_of(compute, options.get("cost"))
    problem = problem_of(study, seed=seed, **options)
    row = budgets[None, :]
    by_law = _by_law(study, problem, row, closed_form)
    check_scale(study, budgets, by_law)
    split = by_law
    if discrepancy:
        wrong = erring(study, problem, by_law, budgets, seed)
        split = _moved(by_law, wrong) if scale_free(problem) else best_split(wrong, row)
    slopes = {}
    if exponents and problem.menu is None:
        aside = _aside(study, problem, by_law, budgets, seed) if discrepancy else (problem, problem)
        slopes = frontier_slopes(aside, budgets, split)
    result = in_unit(_dataset(study, split, by_law, slopes), ("law_loss",), study.loss_unit)
    result = result.assign(_at_median(study, problem, median_split(problem, split, budgets), seed))
    result = result.assign_coords(compute=("budget", budgets))
    result = marked(result, not_identified(study, problem, row, by_law)).assign(held=("budget", held_text(split)))
    about = group_of(study.law, problem.covariates) | {"discrepancy": int(discrepancy)}
    unit = unit_given(compute, options.get("cost"))
    return result.assign_attrs(result_attrs(study, "allocate", problem.cost.text, seed, unit=unit, **about))


def _by_law(study: Study, problem: Problem, budget: np.ndarray, closed_form: bool) -> Split:
    """The split of a law taken to be exactly right."""
    values = problem_values(study, problem.inputs)
    found = closed_form_split(study.law, values, problem, budget) if closed_form else None
    return best_split(problem, budget) if found is None else found


def _at_median(study: Study, problem: Problem, sizes: tuple[np.ndarray, np.ndarray], seed: int) -> dict[str, Any]:
    """What a run of the median split of each budget would show, and how far it lies beyond the runs."""
    N, D = sizes
    tree = forecast(study, N, D, covariates=forecast_inputs(problem, D), seed=seed)
    points = tree["predictions_constant_data"].dataset
    far = {name: ("budget", points[name].values) for name in ("decades_beyond", "nearest_run")}
    return {"loss": tree["predictions"]["loss"].rename(point="budget")} | far


def _dataset(study: Study, split: Split, by_law: Split, slopes: Mapping[str, np.ndarray]) -> xr.Dataset:
    names = {"N": split.N, "D": split.D, "tokens_per_param": split.D / split.N, "law_N": by_law.N, "law_D": by_law.D}
    names |= {"law_loss": split.loss, **slopes}
    return xr.Dataset({name: study.labelled(values, "budget") for name, values in names.items()})


def _moved(split: Split, wrong: Problem) -> Split:
    """The best split under a law that errs, where a budget buys N D: N* e^x and D* e^-x, of the same loss."""
    if wrong.surface.exchange is None:
        return split
    rise = np.exp(wrong.surface.exchange)
    return Split(split.N * rise, split.D / rise, split.loss, split.held)


def _aside(study: Study, problem: Problem, split: Split, budgets: np.ndarray, seed: int) -> tuple[Problem, Problem]:
    """The erring problems below and above ``budgets``, ``split`` being the law's own there."""
    moved = sides(budgets)
    below = above = split
    if not scale_free(problem):  # else N D does not depend on the size
        below, above = (best_split(problem, some[None, :], split.N, strict=False) for some in moved)
    return erring_aside(study, problem, (below, above), moved, seed)


_SPLIT_COLUMNS = {
    "N": "params",
    "D": "tokens",
    "tokens_per_param": "tokens_per_param",
    "law_loss": "law_loss",
    "law_N": "law_params",
    "law_D": "law_tokens",
    "loss": "loss",
}
_SPLIT = ("params", "tokens", "tokens_per_param", "law_params", "law_tokens")


def without_zero_width(bands: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Quantiles; of a band without width only the median is kept, the rest is NaN."""
    finite = np.isfinite(bands["q05"]) & np.isfinite(bands["q95"])
    with np.errstate(invalid="ignore"):
        none = finite & (np.abs(bands["q95"] - bands["q05"]) <= RELATIVE_WIDTH_MIN * np.abs(bands["q50"]))
    return {name: values if name == "q50" else np.where(none, np.nan, values) for name, values in bands.items()}


def split_warnings(result: xr.Dataset) -> list[str]:
    """For each budget of an allocation or decision, why it is not identified or which limits hold it."""
    warnings = []
    unit = f" {compute_unit(result.attrs)}".rstrip()
    told = (result[name].values for name in ("compute", "why_not", "held"))
    for compute, reason, held in zip(*told, strict=True):
        if reason:
            warnings.append(f"{number_text(compute)}{unit}: not identified: {reason}")
        elif held:
            warnings.append(f"{number_text(compute)}{unit}: held by your limit: {held}")
    return warnings


def read(result: xr.Dataset, *, level: float = BAND) -> Reading:
    """What an allocation says, a row a budget: quantiles of N*, D*, tokens per parameter and loss, ``identified``.

    Of a budget that is not identified the split is NaN. A number that a limit sets has no band: its quantiles are NaN
    but for the median. The last columns are local exponents of N* with the budget (``a_q05`` ...); a menu has none.
    With ``level`` bands hold another share than .9: of .95 there are also ``params_q025`` and ``params_q975``.
    """
    result, level = opened_result(result, "allocate"), level_of(level)
    labels = QUANTILES | band_ends(level)
    frame = pd.DataFrame({"compute": result["compute"].values})
    for name, called in _SPLIT_COLUMNS.items():
        for label, values in without_zero_width(quantiles(result[name], level)).items():
            frame[f"{called}_{label}"] = values
    for name in ("identified", "why_not", "held", "decades_beyond"):
        frame[name] = result[name].values
    if "a" in result:
        for label, values in without_zero_width(quantiles(result["a"], level)).items():
            frame[f"a_{label}"] = values
    named = [*_SPLIT_COLUMNS.values(), *(["a"] if "a" in result else [])]
    hidden = [f"{name}_{label}" for name in named if name in (*_SPLIT, "a") for label in labels]
    frame.loc[~frame["identified"], hidden] = np.nan
    warnings = trust_warnings(diagnostics(result))
    warnings += distance_warnings(result["decades_beyond"].values, result["nearest_run"].values)
    if not result.attrs["discrepancy"]:
        warnings.append("the law is taken to be exactly right: bands of N* and D* are those of its parameters alone")
    return Reading(
        f"Optimal split: median and {band_percent(level)} band",
        frame,
        tuple(replace(one, ends=tuple(band_ends(level))) for one in _columns(frame, result.attrs)),
        warnings=(*warnings, *split_warnings(result)),
        notes=(units_said(result.attrs),),
        about={name: result.attrs[name] for name in ("law", "cost")}
        | {"loss_unit": UNITS[loss_unit(result.attrs)], "diagnostics": diagnostics(result)},
        rows="budgets",
        groups=bands(named, labels),
    )


def _columns(frame: pd.DataFrame, attrs: Mapping[str, Any]) -> Iterator[Column]:
    unknown = unless(frame["identified"], "not identified")
    yield Column("compute", "compute", compute_unit(attrs), "number")
    yield Column("params", "N*", "parameters", "size band", instead=unknown)
    yield Column("tokens", "D*", "tokens", "size band", instead=unknown)
    yield Column("tokens_per_param", "tokens per param", "", "number band", instead=unknown)
    if "a_q50" in frame:
        free = frame["identified"] & (frame["held"] == "")
        yield Column("a", "exponent of N*", "", "number band", instead=unless(free, ""))
    yield Column("law_params", "N* if the law were exact", "parameters", "size band", instead=unknown)
    yield Column("loss", "loss there", UNITS[loss_unit(attrs)], "band")
    yield Column("decades_beyond", "beyond", "decades", "decades")
    if frame["held"].any():
        yield Column("held", "held by")
