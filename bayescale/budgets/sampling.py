"""Train longer or sample more: one budget for training and for the samples of every problem."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.identified import marked, not_identified
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import budgets_of, check_scale, problem_of, result_attrs
from bayescale.budgets.target import far_warnings
from bayescale.errors import FitError
from bayescale.field import BAND, SIZES_SAID, band_ends, band_percent, number_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, ends_in, level_of, mapping, number, opened, opened_result
from bayescale.forecasts.chain import check_link
from bayescale.laws.law import column, goal_sign, law_loss, size_column
from bayescale.reading import Column, Reading, bands, unless
from bayescale.study import Study

COST = "6*N*D + 2*N*T*samples"  # T: tokens of one sample of every problem that will ever be asked
POINTS_A_DECADE = 8  # of the number of samples, at which splits are sought
BAND_SHARES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
HELD_SHARE_MAX = 0.05  # of draws whose best number of samples is at an end: more, and the end decides
_SHOWN = ("samples", "N", "D", "best", "at_first")


def train_or_sample(
    loss_fit: xr.DataTree | Study,
    fit: xr.DataTree | Study,
    compute: Any,
    *,
    samples: tuple[float, float] = (1.0, 1e4),
    cost: str = COST,
    given: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Split a budget between training and samples, so that most problems are solved.

    max over N and k of c(L(N, D), k), where cost(N, D, k) is the budget: L is the law of ``loss_fit``, c that of
    ``fit``, draw by draw. The draws of the two are independent.

    Parameters
    ----------
    loss_fit : of a law of N and D
    fit : of what samples bring at a loss: a law of ``loss`` and a size, such as ``coverage_of_loss``
    compute : budgets, a number or a sequence, in the unit of the cost
    samples : least and most of that size [samples]
    cost : of training and sampling, a formula of N, D, ``samples`` and the names in ``given``
    given : values of the names in the cost, numbers or uncertain, as :func:`bayescale.allocate` takes them, and of
        further inputs of the law of the loss
    seed : of uncertain costs, and of the pairs of draws

    Returns
    -------
    Dataset [chain, draw, budget] of ``samples``, ``N`` and ``D`` (the best of each draw), ``best`` (what the second law
    gives there) and ``at_first`` (the same at the least number of samples, trained as long as the budget allows), with
    the coordinate ``compute`` [budget] and ``held`` [budget]: in what share of draws the best number of samples is at
    an end of ``samples``; ``decades_beyond`` and ``samples_beyond`` [budget]: of the median split, how far its training
    compute lies beyond the runs of ``loss_fit``, and its samples beyond those of ``fit``; ``identified`` and
    ``why_not`` [budget]: whether the runs of ``loss_fit`` tell the split of N and D.

    Raises
    ------
    FitError
        If the laws do not fit together, or an option is of no use, as in :func:`bayescale.allocate`.

    Examples
    --------
    >>> result = bayescale.train_or_sample(fit, coverage_fit, "1e22", given={"T": "10B"})
    >>> result["samples"].dims
    ('chain', 'draw', 'budget')
    """
    study, link = opened(loss_fit), opened(fit)
    check_seed(seed)
    size = _size_of(study, link)
    symbol = next(symbol for symbol in link.law.inputs if column(symbol) == size)
    low, high = _range(size, samples)
    budgets = budgets_of(compute, cost)
    names = mapping("given", given)
    if size in names:
        raise FitError(f"'{size}' cannot be given a value: it is what is sought; samples=(least, most) are its limits")
    grid = np.geomspace(low, high, max(3, int(np.ceil(POINTS_A_DECADE * np.log10(high / low))) + 1))
    rng = np.random.default_rng([seed, 7])
    order = np.resize(rng.permutation(link.draw_count), study.draw_count)
    values = {name: np.asarray(link.draws[name])[order] for name in link.law.priors} | dict(link.constants)
    found, near = [], None
    for k in grid:
        problem = problem_of(study, seed=seed, cost=cost, given=names | {size: float(k)})
        split = best_split(problem, budgets[None, :], near, strict=False)
        if near is None:
            check_scale(study, budgets, split)
            reasons = not_identified(study, problem, budgets[None, :], split)
        near = split.N
        with np.errstate(all="ignore"):
            gives = np.asarray(law_loss(link.law, values | {"L": split.loss, symbol: float(k)}))
        found.append((np.log(split.N), np.log(split.D), np.broadcast_to(gives, split.N.shape)))
    log_n, log_d, gives = (np.stack(one) for one in zip(*found, strict=True))  # [samples, draw, budget]
    return marked(_result(study, link, size, budgets, np.log(grid), (log_n, log_d, gives), cost, seed), reasons)


def _size_of(study: Study, link: Study) -> str:
    """The size along which the second law goes, the first being of N and D."""
    size, inputs = size_column(link.law), {column(symbol) for symbol in link.law.inputs}
    if size in (None, "loss") or inputs != {"loss", size}:
        raise FitError(
            f"law '{link.law.name}' takes {', '.join(sorted(inputs))}; a law of the loss and of one size is expected, "
            "such as coverage_of_loss"
        )
    check_link(link, "loss", study.law.observed.column, study.loss_unit)
    return size


def _range(size: str, samples: Any) -> tuple[float, float]:
    samples = ends_in(samples)
    pair = tuple(samples) if isinstance(samples, tuple | list) else ()
    if len(pair) != 2:
        raise FitError(f"samples: the least and the most {size}, two numbers, are expected")
    low, high = (number("samples", one) for one in pair)
    if not low < high <= 1e12 * low:
        raise FitError(f"samples = {low:g} to {high:g}: the least and the most {size}, apart, are expected")
    return low, high


def _result(
    study: Study,
    link: Study,
    size: str,
    budgets: np.ndarray,
    log_k: np.ndarray,
    along: tuple[np.ndarray, np.ndarray, np.ndarray],
    cost: str,
    seed: int,
) -> xr.Dataset:
    """The best of every draw, between the points of the grid by a parabola through the three around it."""
    log_n, log_d, gives = along
    score = np.where(np.isfinite(gives), gives, -np.inf) * (1.0 if goal_sign(link.law) == ">=" else -1.0)
    at = np.argmax(score, axis=0)
    inner = np.clip(at, 1, len(log_k) - 2)

    def around(values: np.ndarray, side: int) -> np.ndarray:
        return np.take_along_axis(values, (inner + side)[None], axis=0)[0]

    left, middle, right = (around(score, side) for side in (-1, 0, 1))
    bend = left - 2 * middle + right
    with np.errstate(all="ignore"):
        moved = np.where(at == inner, np.clip(0.5 * (left - right) / bend, -1, 1), at - inner)
    moved = np.where(np.isfinite(moved), moved, 0.0)

    def between(values: np.ndarray) -> np.ndarray:
        a, b, c = (around(values, side) for side in (-1, 0, 1))
        return b + 0.5 * moved * (c - a) + 0.5 * moved**2 * (a - 2 * b + c)

    step = log_k[1] - log_k[0]
    drawn = {"samples": np.exp(log_k[inner] + moved * step), "N": np.exp(between(log_n)), "D": np.exp(between(log_d))}
    drawn |= {"best": between(gives), "at_first": gives[0]}
    result = xr.Dataset({name: study.labelled(values, "budget") for name, values in drawn.items()})
    ends = (at == 0) | (at == len(log_k) - 1)
    result["held"] = ("budget", ends.mean(axis=0))
    trained = study.definition.compute(*(np.median(drawn[name], axis=0) for name in ("N", "D")))
    result["decades_beyond"] = ("budget", study.decades_beyond(trained))
    result["samples_beyond"] = ("budget", link.decades_beyond(np.median(drawn["samples"], axis=0), size))
    result = result.assign_coords(compute=("budget", budgets))
    told = [text for one in (study, link) for text in trust_warnings(diagnostics(one))]
    result.attrs = result_attrs(study, "train_or_sample", cost, seed)
    return result.assign_attrs(
        size=size,
        observed=link.law.observed.column,
        law=f"{study.law.name}, {link.law.name}",
        least=float(np.exp(log_k[0])),
        told=json.dumps(told),
    )


def read(result: xr.Dataset, *, level: float = BAND) -> Reading:
    """What a budget brings, a row a budget: the best number of samples, N and D, and what is won over the fewest."""
    result, level = opened_result(result, "train_or_sample"), level_of(level)
    shares, ends = BAND_SHARES | band_ends(level), tuple(band_ends(level))
    size, observed = result.attrs["size"], result.attrs["observed"]
    names = {"samples": size, "N": "params", "D": "tokens", "best": observed, "at_first": f"{observed}_at_first"}
    frame = pd.DataFrame({"compute": result["compute"].values})
    for name in _SHOWN:
        quantiles = result[name].quantile(list(shares.values()), ("chain", "draw")).values
        for label, values in zip(shares, quantiles, strict=True):
            frame[f"{names[name]}_{label}"] = values
    for name in ("held", "decades_beyond", "samples_beyond", "identified", "why_not"):
        frame[name] = result[name].values
    frame.loc[~frame["identified"], [f"{names[name]}_{label}" for name in "ND" for label in shares]] = np.nan
    unknown = unless(frame["identified"], "not identified")
    first = f"{observed} at {size} = {number_text(result.attrs['least'])}"
    columns = (
        Column("compute", "budget", "", "number"),
        Column(size, f"{size}*", "", "number band", 2, ends=ends),
        Column("params", "N*", "parameters", "size band", instead=unknown, ends=ends),
        Column("tokens", "D*", "tokens", "size band", instead=unknown, ends=ends),
        Column(observed, observed, "", "band", ends=ends),
        Column(f"{observed}_at_first", first, "", "band", ends=ends),
        Column("decades_beyond", "beyond", "decades", "decades"),
    )
    warnings = [*dict.fromkeys(json.loads(result.attrs["told"]))]
    further = result.assign(decades_beyond=result["samples_beyond"])
    warnings += far_warnings(result.assign_attrs(size="compute")) + far_warnings(further)
    for compute, held, reason in zip(frame["compute"], frame["held"], frame["why_not"], strict=True):
        if reason:
            warnings.append(f"{number_text(compute)}: the split of N and D is not identified: {reason}")
        if held > HELD_SHARE_MAX:
            warnings.append(
                f"{number_text(compute)}: in {100 * held:.0f} % of the draws the best number of {size} is at an end of "
                "what was searched: the limit decides, not the runs"
            )
    return Reading(
        f"Train or sample: the best {size}, size and tokens of each budget, median and {band_percent(level)} band",
        frame,
        columns,
        warnings=tuple(warnings),
        notes=(f"{SIZES_SAID}. Cost: {result.attrs['cost']}. Both laws are taken to be right where they are asked.",),
        about={"law": result.attrs["law"], "cost": result.attrs["cost"]},
        rows="budgets",
        groups=bands(tuple(names.values()), shares),
    )
