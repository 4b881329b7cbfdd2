"""Three ways from one table of runs to N*(C): the envelope, isoFLOP parabolas, and the posterior of a law.

Hoffmann et al. 2022 (arXiv:2203.15556) call them Approaches 1, 2 and 3. The first two are for comparison: the vertex of
a parabola is the optimum only if N and D matter alike and the sizes lie around it; else it is biased, up to a third of
D* and more (arXiv:2603.22339), which more runs do not mend.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescale.budgets.exchange import erring, erring_aside
from bayescale.budgets.optimum import best_split, frontier_slopes, sides
from bayescale.budgets.problem import budgets_of, check_scale, problem_of, result_attrs
from bayescale.errors import FitError
from bayescale.field import (
    BAND,
    SIZES_SAID,
    band_ends,
    band_percent,
    how_many,
    listed,
    middle_and_ends,
    number_text,
)
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, level_of, opened, opened_result
from bayescale.forecasts.planned import FAR_DECADES
from bayescale.reading import Column, Reading
from bayescale.runs.compute import counted
from bayescale.study import Study

APPROACH_NAMES = ("1 envelope", "2 isoFLOP parabola", "3 law, posterior")
BUDGET_GAP_DECADES = 0.04  # of compute, between budgets of an isoFLOP study
BUDGET_WIDTH_DECADES = 0.15  # of compute: wider groups are not isoFLOPs
PARABOLA_SIZES_MIN = 4
LINE_BUDGETS_MIN = 3
ENVELOPE_BINS = 12
RESAMPLES = 400
BIAS = "exact only where N and D matter alike and the sizes are centred; biased else, whatever the number of runs"


@dataclass(frozen=True)
class Line:
    """log N* = intercept + a log C, over resamples; and what it was drawn through."""

    a: np.ndarray
    intercept: np.ndarray
    points: int
    why_not: str = ""


def approaches(fit: xr.DataTree | Study, compute: float, *, level: float = BAND, seed: int = 0) -> xr.Dataset:
    """Approaches 1, 2 and 3 side by side, from the runs of one fit.

    1: of the runs in each of ENVELOPE_BINS bins of log compute the one of least loss; a line of log N on log C through
    them. 2: runs of nearly the same compute make a budget; a parabola of the loss over log N in each; a line through
    the vertices that lie inside the sizes. Both with bands from resampling runs. 3: the posterior of the fit's law.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns, of a law of N and D alone
    compute : the budget at which N* is compared [FLOP]
    level : what the bands are to hold; ``a_q05`` and the like are then named by other ends, ``a_q025``
    seed : of the resampling

    Returns
    -------
    Dataset [approach] of ``a_q05``, ``a_q50``, ``a_q95`` (exponent of N*), ``params_...``, ``tokens_...`` (N* and D* at
    the budget), ``points`` (that the line was drawn through, or runs), ``why_not`` (why an approach cannot be used, its
    numbers are then NaN), ``note``; attributes ``agree`` (1, 0, or -1 where there is nothing to compare) and
    ``statement``.

    Raises
    ------
    FitError
        If the budget is not one number above 6 FLOP, or the law is not one of N and D.

    Examples
    --------
    >>> bayescale.approaches(fit, "1e22")["approach"].values.tolist()
    ['1 envelope', '2 isoFLOP parabola', '3 law, posterior']
    """
    study, level = opened(fit), level_of(level)
    check_seed(seed)
    budget = budgets_of(compute)
    if len(budget) != 1:
        raise FitError("approaches are compared at one budget; give one number as compute")
    problem = problem_of(study, seed=seed)
    if problem.inputs:
        raise FitError(
            f"law '{study.attrs['law']}' needs more than N and D; the approaches are compared for laws of N and D"
        )
    study = study.part(~study.censored) if study.censored.any() else study
    data = study.runs
    log_n, log_c = np.log(data["params"].values), np.log(data["compute"].values)
    log_loss = study.seen.values
    rng = np.random.default_rng(seed)
    lines = [envelope(log_n, log_c, log_loss, rng), isoflop(log_n, log_c, log_loss, rng)]
    split = best_split(problem, budget[None, :])
    check_scale(study, budget, split)
    drawn = [(line.a, line.intercept + line.a * np.log(budget[0])) for line in lines]
    own = best_split(erring(study, problem, split, budget, seed), budget[None, :])
    aside = erring_aside(study, problem, (split, split), sides(budget), seed)
    drawn.append((frontier_slopes(aside, budget, own)["a"][:, 0], np.log(own.N[:, 0])))
    result = xr.Dataset(coords={"approach": list(APPROACH_NAMES)})
    bands = {"a": [a for a, _ in drawn], "params": [np.exp(n) for _, n in drawn]}
    bands["tokens"] = [study.definition.tokens(N, budget[0]) for N in bands["params"]]
    for name, values in bands.items():
        for label, q in middle_and_ends(level).items():
            result[f"{name}_{label}"] = ("approach", [np.quantile(v, q) if len(v) else np.nan for v in values])
    result["points"] = ("approach", [*(line.points for line in lines), len(log_n)])
    result["why_not"] = ("approach", [*(line.why_not for line in lines), ""])
    result["note"] = (
        "approach",
        ["favours sizes that happen to be dense among the runs", BIAS, "the law, and how far it may be wrong"],
    )
    agree, statement = _verdict(result, level)
    about = {"agree": agree, "statement": statement, "level": level}
    result.attrs = result_attrs(study, "approaches", problem.cost.text, seed, **about)
    result.attrs["compute"] = float(budget[0])
    result.attrs["decades_beyond"] = float(study.decades_beyond(budget[0]))
    return result


def envelope(log_n: np.ndarray, log_c: np.ndarray, log_loss: np.ndarray, rng: np.random.Generator) -> Line:
    """Approach 1: the size of the best run in each bin of compute, and a line through them, over resampled runs."""
    edges = np.linspace(log_c.min(), log_c.max() + 1e-9, ENVELOPE_BINS + 1)
    index = np.clip(np.searchsorted(edges, log_c, side="right") - 1, 0, ENVELOPE_BINS - 1)

    def best(rows: np.ndarray) -> np.ndarray:
        bins, losses = index[rows], log_loss[rows]
        least = np.full(ENVELOPE_BINS, np.inf)
        np.minimum.at(least, bins, losses)
        lowest = np.flatnonzero(losses == least[bins])
        return rows[lowest[np.unique(bins[lowest], return_index=True)[1]]]

    chosen = best(np.arange(len(log_n)))
    if len(chosen) < LINE_BUDGETS_MIN or len(np.unique(log_n[chosen])) < 2:
        return Line(np.zeros(0), np.zeros(0), len(chosen), "too few runs that differ in compute and size")
    lines = []
    for _ in range(RESAMPLES):
        rows = best(rng.integers(0, len(log_n), len(log_n)))
        if len(rows) >= LINE_BUDGETS_MIN:
            lines.append(np.polyfit(log_c[rows], log_n[rows], 1))
    a, intercept = np.array(lines).T
    return Line(a, intercept, len(chosen))


def budgets_in(log_c: np.ndarray) -> list[np.ndarray]:
    """Runs of nearly the same compute: their sorted log10 compute has no gap above BUDGET_GAP_DECADES."""
    order = np.argsort(log_c, kind="stable")
    gaps = np.diff(log_c[order]) > BUDGET_GAP_DECADES * np.log(10)
    groups = np.split(order, np.flatnonzero(gaps) + 1)
    return [group for group in groups if np.ptp(log_c[group]) <= BUDGET_WIDTH_DECADES * np.log(10)]


def isoflop(log_n: np.ndarray, log_c: np.ndarray, log_loss: np.ndarray, rng: np.random.Generator) -> Line:
    """Approach 2: the vertex of a parabola of the loss over log N in each budget, and a line through the vertices.

    Resampled are runs within budgets. A vertex outside the sizes of its budget, or a parabola that opens downwards, is
    left out.
    """
    groups = [group for group in budgets_in(log_c) if len(np.unique(log_n[group])) >= PARABOLA_SIZES_MIN]

    own = [_vertices(log_n[group][None], log_c[group][None], log_loss[group][None]) for group in groups]
    inside = sum(bool(np.isfinite(vertex[0])) for _, vertex in own)
    if inside < LINE_BUDGETS_MIN:
        why = (
            f"{how_many(len(groups), 'budget')} of {PARABOLA_SIZES_MIN} or more sizes, {inside} with a minimum inside "
            f"them; {LINE_BUDGETS_MIN} are needed"
        )
        return Line(np.zeros(0), np.zeros(0), inside, why)
    picked = [[rng.choice(group, len(group)) for group in groups] for _ in range(RESAMPLES)]
    rows = [np.stack(column) for column in zip(*picked, strict=True)]
    found = np.array([_vertices(log_n[row], log_c[row], log_loss[row]) for row in rows])
    return Line(*_lines(found[:, 0], found[:, 1]), inside)


def _vertices(log_n: np.ndarray, log_c: np.ndarray, log_loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean log C and vertex of the parabola of the loss over log N, of samples of one budget [sample, run] [sample].

    NaN where a sample has too few sizes, its parabola opens downwards, or the vertex lies outside its sizes.
    """
    ordered, centre = np.sort(log_n, axis=1), log_n.mean(axis=1, keepdims=True)
    enough = (np.diff(ordered, axis=1) > 0).sum(axis=1) + 1 >= PARABOLA_SIZES_MIN
    x, loss = log_n - centre, np.exp(log_loss)
    y = loss - loss.mean(axis=1, keepdims=True)
    x2, x3, x4 = (np.mean(x**power, axis=1) for power in (2, 3, 4))
    xy, x2y = (np.mean(x**power * y, axis=1) for power in (1, 2))
    with np.errstate(all="ignore"):  # least squares of bend x^2 + slope x + constant, with x and y centred
        bend = (x2y - x3 * xy / x2) / (x4 - x3**2 / x2 - x2**2)
        vertex = centre[:, 0] - (xy - x3 * bend) / x2 / (2 * bend)
        good = enough & (bend > 0) & (ordered[:, 0] <= vertex) & (vertex <= ordered[:, -1])
    return np.where(good, log_c.mean(axis=1), np.nan), np.where(good, vertex, np.nan)


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of lines through points [point, sample], some of them NaN, where there are enough."""
    known = np.isfinite(y)
    kept = known.sum(axis=0) >= LINE_BUDGETS_MIN
    x, y = (np.where(known, one, np.nan)[:, kept] for one in (x, y))
    x_mean, y_mean = np.nanmean(x, axis=0), np.nanmean(y, axis=0)
    spread = np.nansum((x - x_mean) ** 2, axis=0)
    apart = spread > 0
    slope = np.nansum((x - x_mean) * (y - y_mean), axis=0)[apart] / spread[apart]
    return slope, y_mean[apart] - slope * x_mean[apart]


def _verdict(result: xr.Dataset, level: float) -> tuple[int, str]:
    """Do the bands of the approaches that could be used overlap, at the budget and in the exponent?"""
    usable = [i for i, why in enumerate(result["why_not"].values) if not why]
    if len(usable) < 2:
        return -1, "Only the law can be used on these runs: there is nothing to compare it with."
    apart, (first, last), percent = [], band_ends(level), band_percent(level)
    for name, what in (("a", "the exponent of N*"), ("params", "N* at the budget")):
        low = result[f"{name}_{first}"].values[usable].max()
        high = result[f"{name}_{last}"].values[usable].min()
        if low > high:
            apart.append(what)
    numbered = (APPROACH_NAMES[i].partition(" ") for i in usable)
    names = "approaches " + listed([f"{number} ({name})" for number, _, name in numbered])
    if not apart:
        return 1, f"The {percent} bands of {names} overlap in the exponent of N* and in N* at the budget."
    return 0, (
        f"The {percent} bands of {names} do not all overlap in {' and '.join(apart)}: what each assumes matters. "
        "Parabolas are biased where N and D matter unequally; a law errs where its form is wrong (bayescale compare)."
    )


def read(result: xr.Dataset) -> Reading:
    """What a comparison of approaches says, a row each."""
    result = opened_result(result, "approaches")
    attrs, frame = result.attrs, result.to_dataframe().reset_index()
    warnings = trust_warnings(diagnostics(result))
    if (far := attrs["decades_beyond"]) > FAR_DECADES:
        warnings.append(
            f"the budget lies {far:.1f} decades of compute beyond the runs: lines and laws alike are carried far"
        )
    pairs = zip(frame["approach"], frame["why_not"], strict=True)
    warnings += [f"approach {name}: {why}" for name, why in pairs if why]
    level = float(attrs.get("level", BAND))
    ends = tuple(band_ends(level))
    useless = tuple("cannot be used" if why else None for why in frame["why_not"])
    columns = (
        Column("approach", "approach"),
        Column("a", "exponent of N*", "", "number band", instead=useless, ends=ends),
        Column("params", "N* there", "parameters", "size band", instead=useless, ends=ends),
        Column("tokens", "D* there", "tokens", "size band", instead=useless, ends=ends),
        Column("points", "points", "", "count"),
        Column("note", "meaning"),
    )
    about = {name: attrs[name] for name in ("law", "compute", "cost", "statement")}
    about |= {"agree": None if attrs["agree"] < 0 else bool(attrs["agree"]), "diagnostics": diagnostics(result)}
    return Reading(
        f"Approaches 1, 2 and 3: median and {band_percent(level)} band",
        frame,
        columns,
        says=(attrs["statement"],),
        warnings=tuple(warnings),
        notes=(f"At a budget of {number_text(attrs['compute'])} FLOP; {SIZES_SAID}. {counted(attrs)}",),
        about=about,
        rows="approaches",
    )
