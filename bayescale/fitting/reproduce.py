"""A saved fit made again from its runs: the same bits, the same within Monte Carlo error, or not the same."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.engine.numba_density import machine
from bayescale.errors import FitError
from bayescale.field import number_text, row_text
from bayescale.fitting.doors import number, opened_fit, opened_result
from bayescale.fitting.fit import fit
from bayescale.fitting.given_draws import GIVEN
from bayescale.fitting.tree import data_hash
from bayescale.jobs.versions import versions
from bayescale.laws.law import NO_SIZE, Law, column, size_column
from bayescale.laws.shipped import changed_law
from bayescale.reading import Column, Reading
from bayescale.runs.datasets import runs_given
from bayescale.runs.read import read_roles, read_runs, read_said, read_text
from bayescale.runs.roles import scatter_roles
from bayescale.study import Study, law_of

# Monte Carlo errors by which a mean, a median or an end of a 90 % band may move: of 50 such numbers that differ by
# chance alone the largest is above 4 once in 300 times
APART_MAX = 4.0
COMPARED_QUANTILES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
NAMED_RUNS_MAX = 3  # a sentence only counts the others
REPRODUCED = ("same_bits", "same_within_error")  # the verdicts that are good


def reproduce(
    tree: xr.DataTree,
    runs: Any,
    *,
    below: float | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Make a fit again from the runs it was made on, with its own law, noise, draws and seed, and compare.

    Parameters
    ----------
    tree : what :func:`bayescale.fit` returns, or :func:`bayescale.open_fit`
    runs : the runs, as :func:`bayescale.read_runs` takes them; if they are not those of the fit, nothing is fitted
    below : only the runs below this compute (or other size of the law); by default as the fit says of itself, if it
        was made with ``bayescale fit --below``
    columns, units : as in :func:`bayescale.read_runs`

    Returns
    -------
    Dataset [quantity, statistic] of parameters and derived quantities: their mean and 5, 50 and 95 % quantile ``then``
    and ``now``, and how far these are ``apart`` in units of the Monte Carlo error of their difference. Its attributes:
    ``verdict``, one of ``"same_bits"``, ``"same_within_error"``, ``"different"`` and ``"other_runs"`` (nothing was
    fitted, and there are no quantities); ``runs_differ``, ``versions_differ`` and ``law_differs`` (from the shipped law
    of its name), sentences; ``statement``, what it
    all says.

    Raises
    ------
    RunsError
        If the runs cannot be read.
    FitError
        If these runs, or this law, can no longer be fitted, or if the draws were made elsewhere.

    Examples
    --------
    >>> fitted = bayescale.fit(runs, "power_compute")
    >>> bayescale.reproduce(fitted, runs).attrs["verdict"]
    'same_bits'
    """
    tree = opened_fit(tree)
    law = law_of(tree)
    runs = read_runs(runs_given(runs), law, columns=columns, units=units)
    below = tree.attrs.get("below") if below is None else number("below", below)
    if below is not None:
        if size_column(law) is None:
            raise FitError(f"below = {below:g}: {NO_SIZE}")
        runs = runs.isel(run=(runs[size_column(law)] < below).values)
    changed, differ = _versions_differ(tree), _runs_differ(tree, law, runs)
    if differ:
        return _result(tree, None, differ, changed, runs.attrs["read"])
    report, posterior = json.loads(tree.attrs["diagnostics"]), tree["posterior"]
    settings = json.loads(tree.attrs.get("settings", "{}"))
    if settings.get("engine") == GIVEN:
        raise FitError("the draws of this fit were made elsewhere (fit_from_draws): they cannot be made again here")
    try:
        again = fit(
            runs,
            law,
            noise=tree.attrs["noise"],
            draws=settings.get("draws", posterior.sizes["draw"]),
            chains=posterior.sizes["chain"],
            seed=int(tree.attrs["seed"]),
            quick=report.get("method") == "importance" or "not_quick" in report,
            allow_unconverged=True,
            engine=settings.get("engine", "compiled"),
            backend=settings.get("backend"),
        )
    except FitError as error:
        raise FitError(f"the fit cannot be made again: {error}") from None
    return _result(tree, again, differ, changed, runs.attrs["read"])


def _result(
    tree: xr.DataTree, again: xr.DataTree | None, runs_differ: list[str], changed: list[str], read: str
) -> xr.Dataset:
    result = _compared(tree, again)
    if again is None:
        verdict = "other_runs"
    elif _same_bits(tree["posterior"].dataset, again["posterior"].dataset):
        verdict = "same_bits"
    else:
        verdict = "same_within_error" if (result["apart"] <= APART_MAX).all() else "different"
    about = {
        "kind": "reproduce",
        "source": tree.attrs["source"],
        "read": read,
        "law": tree.attrs["law"],
        "verdict": verdict,
    }
    about["law_differs"] = [note["text"] for note in changed_law(law_of(tree))]
    result.attrs = about | {"runs_differ": runs_differ, "versions_differ": changed}
    result.attrs["statement"] = _statement(result)
    return result


def _same_bits(then: xr.Dataset, now: xr.Dataset) -> bool:
    pairs = [(then[name], now[name]) for name in now.data_vars]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.values.tobytes() == b.values.tobytes() for a, b in pairs)


# ---- the runs -------------------------------------------------------------------------------------------------------


def _runs_differ(tree: xr.DataTree, law: Law, runs: xr.Dataset) -> list[str]:
    """What is not as in the fit, a sentence a column, or nothing."""
    study = Study.opened(tree)
    then, scatter = study.runs, study.scatter
    needed = {"params", "tokens", "compute", law.observed.count, *map(column, law.inputs)}
    needed |= {*scatter_roles([law])} & read_roles(tree.attrs).keys()
    names = [str(name) for name in then.data_vars if name in needed]
    if missing := [name for name in (*names, law.observed.column) if name not in runs]:
        return [f"there is no column '{name}'" for name in missing]
    if data_hash(runs, law) == tree.attrs.get("data_hash"):
        return []
    before = {name: then[name].values for name in names}
    now = {name: runs[name].values for name in names}
    observed = law.observed.column
    # what is kept is its logarithm, which is what is compared
    before[observed], now[observed] = study.seen.values, scatter.transform(runs[observed].values)
    if all(np.array_equal(before[name], now[name]) for name in before):
        return []
    left = _unmatched(before, now)
    if then.sizes["run"] != runs.sizes["run"]:
        return [
            f"{runs.sizes['run']} runs, the fit was made on {then.sizes['run']}",
            *_rows(before, now, left, scatter.inverse),
        ]
    if not any(len(rows) for rows in left):
        return ["the same runs in another order"]
    sentences = []
    for name in before:
        bad = np.flatnonzero(before[name] != now[name])
        value = scatter.inverse if name == observed else np.asarray
        labels = runs["run"].values
        told = ", ".join(
            f"{row_text(runs.attrs['rows'], labels[i])}: {value(now[name][i]):.10g}, "
            f"in the fit {value(before[name][i]):.10g}"
            for i in bad[:NAMED_RUNS_MAX]
        )
        if len(bad):
            more = f" and {len(bad) - NAMED_RUNS_MAX} more" if len(bad) > NAMED_RUNS_MAX else ""
            sentences.append(f"the column '{name}' differs in {len(bad)} of {len(before[name])} runs ({told}{more})")
    return sentences


def _unmatched(before: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray]) -> tuple[list[int], list[int]]:
    """Runs of the fit that are not among those given, and the other way round."""
    rows = [list(zip(*(part[name].tolist() for name in before), strict=True)) for part in (before, now)]
    sets = [set(part) for part in rows]
    return [i for i, row in enumerate(rows[0]) if row not in sets[1]], [
        i for i, row in enumerate(rows[1]) if row not in sets[0]
    ]


def _rows(
    before: Mapping[str, np.ndarray],
    now: Mapping[str, np.ndarray],
    left: tuple[list[int], list[int]],
    shown: Callable[[Any], Any],
) -> list[str]:
    sentences = []
    *sizes, observed = before
    for part, rows, what in ((before, left[0], "not among those given"), (now, left[1], "not in the fit")):
        told = "; ".join(
            ", ".join(
                [
                    *(f"{name} {number_text(part[name][i], 4)}" for name in sizes),
                    f"{observed} {number_text(shown(part[observed][i]), 6)}",
                ]
            )
            for i in rows[:NAMED_RUNS_MAX]
        )
        if rows:
            more = f"; and {len(rows) - NAMED_RUNS_MAX} more" if len(rows) > NAMED_RUNS_MAX else ""
            sentences.append(f"{len(rows)} of the runs {what}: {told}{more}")
    return sentences


def _versions_differ(tree: xr.DataTree) -> list[str]:
    then, now = json.loads(tree.attrs.get("versions", "{}")), versions()
    names = [name for name in now if then.get(name) != now[name]]
    changed = [f"{name} was {then.get(name, 'not noted')}, is {now[name]}" for name in names]
    where = tree.attrs.get("machine")
    if where is not None and where != machine():
        changed.append(f"the processor was {where}, is {machine()}")
    return changed


# ---- the draws ------------------------------------------------------------------------------------------------------


def _compared(tree: xr.DataTree, again: xr.DataTree | None) -> xr.Dataset:
    names = [] if again is None else [str(name) for name in again["posterior"].data_vars]
    if absent := sorted(set(names) - set(tree["posterior"].data_vars)):
        raise FitError(f"the fit has no {absent[0]} in its posterior, which its law now has; make the fit anew")
    statistics = ["mean", *COMPARED_QUANTILES]
    then = now = np.zeros((0, len(statistics)))
    if again is not None:
        then, now = (_estimates(part, names) for part in (tree, again))
    apart = np.zeros_like(now)
    if again is not None and (now != then).any():
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.abs(now - then) / np.hypot(*(_errors(part, names) for part in (tree, again)))
        apart = np.where(now == then, 0.0, np.where(np.isnan(apart), np.inf, apart))
    dims = ("quantity", "statistic")
    return xr.Dataset(
        {"then": (dims, then), "now": (dims, now), "apart": (dims, apart)},
        coords={"quantity": names, "statistic": statistics},
    )


def _estimates(tree: xr.DataTree, names: list[str]) -> np.ndarray:
    """Mean and quantiles of every quantity [quantity, statistic]."""
    draws = np.stack([tree["posterior"].dataset[name].values.ravel() for name in names])
    return np.column_stack([draws.mean(axis=1), *np.quantile(draws, [*COMPARED_QUANTILES.values()], axis=1)])


def _errors(tree: xr.DataTree, names: list[str]) -> np.ndarray:
    """Their Monte Carlo errors."""
    import arviz_stats

    posterior = tree["posterior"].to_dataset()[names]
    errors = [arviz_stats.mcse(posterior, method="mean")]
    errors += [arviz_stats.mcse(posterior, method="quantile", prob=prob) for prob in COMPARED_QUANTILES.values()]
    error = np.array([[float(one[name]) for one in errors] for name in names])
    report = json.loads(tree.attrs["diagnostics"])
    if report.get("method") == "importance":  # weighted draws look independent, and are worth what their weights say
        error = error * max(1.0, posterior.sizes["chain"] * posterior.sizes["draw"] / report["ess_min"]) ** 0.5
    return error


# ---- what it says ---------------------------------------------------------------------------------------------------


def _statement(result: xr.Dataset) -> str:
    verdict, about = result.attrs["verdict"], result.attrs
    why = f" What has changed: {'; '.join(about['versions_differ'])}." if about["versions_differ"] else ""
    why += "".join(f" Warning: {text}." for text in about["law_differs"])
    if verdict == "other_runs":
        return f"Other runs: {'; '.join(about['runs_differ'])}. Nothing was fitted.{why}"
    if verdict == "same_bits":
        return f"Same bits: every draw of all {result.sizes['quantity']} quantities is what it was.{why}"
    quantity, statistic = np.unravel_index(result["apart"].values.argmax(), result["apart"].shape)
    name, which = str(result["quantity"].values[quantity]), str(result["statistic"].values[statistic])
    what = "mean" if which == "mean" else f"{100 * COMPARED_QUANTILES[which]:g} % quantile"
    far = float(result["apart"][quantity, statistic])
    told = f"the largest difference, of the {what} of '{name}', is {number_text(far, 2)} of its Monte Carlo errors"
    told = f"{told} (chance alone may give up to {APART_MAX:g})"
    if not why:
        why = " No version has changed: another processor, or a change of bayescale itself, may be why."
    if verdict == "same_within_error":
        return f"Same within Monte Carlo error: {told}, not the same bits.{why}"
    return f"Different: {told}.{why}"


def read(result: xr.Dataset) -> Reading:
    """What a fit made again says, a row a quantity: median and 90 % band then and now, and how far they are apart.

    Columns: ``quantity``, ``then_q05``, ``then_q50``, ``then_q95``, ``now_q05``, ``now_q50``, ``now_q95``, ``apart``
    (the largest difference in Monte Carlo errors).
    """
    result = opened_result(result, "reproduce")
    named = {
        f"{when}_{q}": result[when].sel(statistic=q).values for when in ("then", "now") for q in COMPARED_QUANTILES
    }
    frame = pd.DataFrame({"quantity": result["quantity"].values, **named, "apart": result["apart"].max("statistic")})
    columns = (
        Column("quantity", ""),
        Column("then", "as it was", "", "number band"),
        Column("now", "made again", "", "number band"),
        Column("apart", "apart", "", "number", 2),
    )
    return Reading(
        "median and 90 % band of the draws",
        frame,
        columns,
        says=(result.attrs["statement"],),
        notes=(*read_said(result.attrs), "Apart: in Monte Carlo errors, the largest of mean, median and both ends."),
        about={name: value for name, value in result.attrs.items() if name not in ("kind", "read_notes")}
        | {"read": read_text(result.attrs)},
        rows="quantities",
    )
