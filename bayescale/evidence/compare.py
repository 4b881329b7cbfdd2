"""Laws side by side on the same runs: how each predicts runs left out, and how each forecasts larger runs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.evidence.backtest import backtest, backtest_failures
from bayescale.evidence.loo import loo
from bayescale.evidence.weights import forward_weights, stacking
from bayescale.field import number_text, row_text
from bayescale.fitting.clusters import NONE, clusters_of
from bayescale.fitting.default_law import distinct_laws
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.doors import check_seed, flag, number, opened_fits
from bayescale.fitting.many import fit_many
from bayescale.jobs.batch import Failure
from bayescale.jobs.executors import Workers, open_executor
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law_file import SYMBOL_COLUMNS
from bayescale.laws.noises import default_noise
from bayescale.runs.datasets import runs_given
from bayescale.runs.read import READ_ATTRIBUTES, read_runs
from bayescale.study import Study


def fit_laws(
    runs: Any,
    laws: Sequence[Any],
    *,
    noise: str | None = None,
    draws: int = 2000,
    chains: int = 4,
    seed: int = 0,
    executor: Any = None,
    progress: Callable[[int, int], None] | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> dict[str, xr.DataTree]:
    """Fit several laws to the same runs.

    Parameters
    ----------
    runs : what :func:`bayescale.read_runs` returns or takes
    laws : names, paths of law files, or Laws; two or more, of different names
    noise, draws, chains, seed : as in :func:`bayescale.fit`
    executor : what fits them, see :func:`bayescale.open_executor`
    progress : called with (laws fitted, laws in all)
    columns, units : as in :func:`bayescale.read_runs`

    Returns
    -------
    Fits by name of the law. One that did not converge is among them, marked: :func:`compare` leaves it out of weights.

    Raises
    ------
    RunsError, LawError, FitError
        The runs or a law cannot be used, or two laws have one name.

    Examples
    --------
    >>> list(bayescale.fit_laws(runs, ["chinchilla", "power_compute"]))
    ['chinchilla', 'power_compute']
    """
    chosen = distinct_laws(laws)
    if len(chosen) < 2:
        raise FitError(f"{len(chosen)} law(s) to compare; two or more are needed")
    runs = read_runs(runs_given(runs), chosen, columns=columns, units=units)
    studies = [(runs, law) for law in chosen]
    options: dict[str, Any] = {"noise": noise, "draws": draws, "chains": chains, "seed": seed}
    found = fit_many(studies, **options, allow_unconverged=True, executor=executor, progress=progress)
    fits = {}
    for law, one in zip(chosen, found, strict=True):
        if isinstance(one, Failure):
            raise FitError(one.why)
        fits[law.name] = one
    return fits


@one_blas_thread()
def compare(
    fits: Mapping[str, xr.DataTree],
    *,
    forward: bool = False,
    horizon: float = 1.5,
    groups: Any = None,
    mend: bool = True,
    seed: int = 0,
    folder: Any = None,
    executor: Any = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> xr.Dataset:
    """Set fits of the same runs side by side: in-range evidence, and with ``forward`` that of forecasting larger runs.

    In range: elpd_loo = sum_i log p(y_i | y without i) of log loss, see :func:`bayescale.loo`; d_elpd is the
    difference to the best law, with d_se = sqrt(n var_i(d_i)). Where residuals of the best law go together in clusters
    (see :mod:`bayescale.fitting.clusters`), whole clusters are left out, and differences by run are given beside.
    Forward: the runs below a compute forecast those above it, law by law, at the cuts of :func:`bayescale.backtest`;
    the score of a cut is the mean over its forecast runs, that of a law the mean over cuts.

    Parameters
    ----------
    fits : fits by name (what :func:`fit_laws` returns), all of the same runs and the same observable
    forward : also forecast larger runs from smaller ones: every law is fitted again at every cut
    horizon : longest forecast to score [decades of compute]
    groups : leave out groups of runs together, see :func:`bayescale.evidence.loo.loo`; "none": each run by itself. By
        default the clusters by which the residuals of the best law go together, if any
    mend : refit without the runs whose Pareto k is too large
    seed : of refits and forecasts
    folder : where the backtest keeps finished parts
    executor : what refits, see :func:`bayescale.open_executor`
    progress : called with (what is being done, done, in all)

    Returns
    -------
    Dataset [law], best in range first: ``elpd_loo``, ``se``, ``p_loo``, ``d_elpd``, ``d_se`` (where clusters were found
    also ``d_elpd_runs`` and ``d_se_runs``), ``pareto_k_max`` (after mending), ``k_bad`` (left above ``good_k``),
    ``k_mended``, ``cover90_loo`` (share of runs inside the 90 % band that the others predict), ``weight_loo``
    (stacking; a description), ``converged``; [law, run] or [law, group]: ``elpd_i``, ``pareto_k``; ``pit`` [law, run].
    With ``forward`` also ``elpd_forward`` (mean log predictive density of a forecast run), ``crps_forward``,
    ``weight_forward`` (for forecasts) [law] and ``elpd_cut``, ``crps_cut`` [law, cut], ``edge`` and ``forecasts``
    [cut]. A law that did not converge comes last and weighs nothing.
    :mod:`bayescale.evidence.verdict` sums it up.

    Raises
    ------
    FitError
        If the fits are not of the same runs, observable and count of N; the message names both sides.

    Notes
    -----
    Vehtari et al. 2017, doi:10.1007/s11222-016-9696-4; stacking: Yao et al. 2018, doi:10.1214/17-BA1091; ties: Sivula
    et al. 2025, arXiv:2008.10296.

    Examples
    --------
    >>> bayescale.compare(bayescale.fit_laws(runs, ["chinchilla", "power_compute"]))["law"].values.tolist()
    ['chinchilla', 'power_compute']
    """
    check_seed(seed)
    forward, mend = flag("forward", forward), flag("mend", mend)
    horizon = number("horizon", horizon, "a number of decades above 0")
    check_comparable(fits := opened_fits(fits))
    step = progress or (lambda what, done, total: None)
    converged = {name: bool(diagnostics(tree)["converged"]) for name, tree in fits.items()}
    if not any(converged.values()):
        raise FitError(f"none of the laws converged ({', '.join(fits)}); look at each fit's diagnostics")
    with open_executor(executor) as workers:
        result, groups = _in_range(fits, converged, groups, mend, seed, workers, step)
    order = [str(name) for name in result["law"].values]
    result.attrs.pop("diagnostics", None)  # of one law
    result = result.assign_coords(run=Study.opened(fits[order[0]]).runs["run"].values)
    result.attrs |= {"kind": "compare", "seed": seed, "forward": ""} | _about(fits[order[0]], groups)
    if forward:
        with open_executor(executor) as workers:
            evidence, why = _forward(fits, order, horizon, seed, folder, workers, step)
        result = result.merge(evidence) if evidence is not None else result
        result["weight_forward"] = ("law", forward_weights(result))
        result.attrs |= {"horizon": horizon, "forward": why or "done"}
    return result


def _in_range(
    fits: Mapping[str, xr.DataTree],
    converged: Mapping[str, bool],
    groups: Any,
    mend: bool,
    seed: int,
    workers: Workers | None,
    step: Callable[[str, int, int], None],
) -> tuple[xr.Dataset, Any]:
    """LOO of all laws side by side, and the groups it is by: those given, or those in which residuals go together."""

    def by(these: Any) -> xr.Dataset:
        parts = {}
        for name, tree in fits.items():  # refits of a law that does not converge would not either
            parts[name] = loo(tree, groups=these, mend=mend and converged[name], seed=seed, executor=workers)
            step("leaving runs out", len(parts), len(fits))
        return _side_by_side(parts, converged)

    if groups not in (None, NONE):
        return by(groups), groups
    by_run = by(None)
    best = fits[str(by_run["law"].values[0])]
    if groups == NONE or (clusters := clusters_of(Study.opened(best))) is None:
        return by_run, None
    result = by(clusters.column)
    names = ("d_elpd", "d_se")
    return result.assign({f"{name}_runs": by_run[name].reindex(law=result["law"]) for name in names}), clusters.column


def _about(fit: xr.DataTree, groups: Any) -> dict[str, Any]:
    """What a comparison says of the runs, which are those of each fit."""
    runs = Study.opened(fit).runs
    about = {"read": "{}", "read_notes": "[]"} | runs.attrs
    return {name: about[name] for name in ("rows", *READ_ATTRIBUTES) if name in about} | {
        "runs": runs.sizes["run"],
        "unit": "run" if groups is None else f"group of {groups}" if isinstance(groups, str) else "group",
        "noted": json.dumps([note["text"] for note in diagnostics(fit).get("noted", ())]),
    }


def check_comparable(fits: Mapping[str, xr.DataTree]) -> None:
    """Raise FitError, naming both sides, unless all fits are of the same runs, observable and count of N."""
    if len(fits) < 2:
        raise FitError(f"{len(fits)} fit(s) to compare; two or more are needed")
    (first, one), *others = ((name, Study.opened(tree)) for name, tree in fits.items())
    for second, other in others:
        both = f"'{first}' and '{second}'"
        explained = [f"{study.law.observed.column}, {study.law.observed.scale}" for study in (one, other)]
        if explained[0] != explained[1]:
            raise FitError(
                f"{both} explain different observables ({' and '.join(explained)}): their elpd are not on one scale; "
                "compare laws of the same observable"
            )
        mine, theirs = one.runs, other.runs
        if mine.sizes["run"] != theirs.sizes["run"]:
            raise FitError(
                f"{both} were fitted to different runs ({mine.sizes['run']} of {one.attrs['source']} and "
                f"{theirs.sizes['run']} of {other.attrs['source']}); fit both to the same runs"
            )
        seen = one.law.observed.column
        shared = dict.fromkeys([seen, *(name for name in SYMBOL_COLUMNS.values() if name in mine and name in theirs)])
        differing = [name for name in shared if not np.allclose(mine[name].values, theirs[name].values)]
        if "params" in differing and not {seen, "tokens"} & set(differing):
            one_n, other_n = mine["params"].values, theirs["params"].values
            at = int(np.argmax(~np.isclose(one_n, other_n)))
            where = row_text(mine.attrs["rows"], mine["run"].values[at])
            raise FitError(
                f"{both} count N differently ({where}: params = {number_text(one_n[at], 4)} and "
                f"{number_text(other_n[at], 4)}; with and without embeddings?); fit both with one count"
            )
        if differing:
            raise FitError(
                f"{both} were fitted to different runs ({one.attrs['source']} and {other.attrs['source']} differ in "
                f"{', '.join(differing)}); fit both to the same runs in the same order"
            )


def _side_by_side(parts: Mapping[str, xr.Dataset], converged: Mapping[str, bool]) -> xr.Dataset:
    """LOO of every law, best first, with totals, differences to the best law, and stacking weights."""
    order = sorted(parts, key=lambda name: (not converged[name], -float(parts[name]["elpd_loo"].sum())))
    result = xr.concat(
        [parts[name] for name in order],
        dim=xr.IndexVariable("law", np.array(order, dtype=object)),
        combine_attrs="drop_conflicts",
    ).rename(elpd_loo="elpd_i", p_loo="p_i")
    unit = "group" if "group" in result.dims else "run"
    elpd, count = result["elpd_i"], result.sizes[unit]
    difference = elpd - elpd.isel(law=0)
    result["elpd_loo"] = elpd.sum(unit)
    result["se"] = np.sqrt(count * elpd.var(unit, ddof=1))
    result["p_loo"] = result["p_i"].sum(unit)
    result["d_elpd"] = difference.sum(unit)
    result["d_se"] = np.sqrt(count * difference.var(unit, ddof=1))
    result["pareto_k_max"] = result["pareto_k"].max(unit)
    result["good_k"] = ("law", [parts[name].attrs["good_k"] for name in order])  # of fits of fewer draws it is lower
    result["k_bad"] = (~(result["pareto_k"] <= result["good_k"])).sum(unit)
    result["k_mended"] = result["mended"].sum(unit)
    result["cover90_loo"] = ((result["pit"] > 0.05) & (result["pit"] < 0.95)).mean("run")
    result["converged"] = ("law", [converged[name] for name in order])
    good = np.flatnonzero(result["converged"])
    weights = np.zeros(result.sizes["law"])
    weights[good] = stacking(elpd.transpose(unit, "law").values[:, good])
    result["weight_loo"] = ("law", weights)
    return result


def _forward(
    fits: Mapping[str, xr.DataTree],
    order: Sequence[str],
    horizon: float,
    seed: int,
    folder: "str | Path | None",
    workers: Workers | None,
    step: Callable[[str, int, int], None],
) -> tuple[xr.Dataset | None, str]:
    """Scores of every law at every cut [law, cut, run], or None and the reason."""
    tables: dict[str, xr.Dataset] = {}
    reasons: dict[str, str] = {}
    for name in order:
        done = len(tables) + len(reasons)

        def moved(at: int, of: int, done: int = done) -> None:
            step("forecasting larger runs from smaller", done * of + at, len(order) * of)

        study = Study.opened(fits[name])
        try:
            if study.scatter.noise != default_noise(study.law.observed.scale):
                raise FitError(f"forecasts are made with the default noise, this fit with '{study.scatter.noise}'")
            forecasts = backtest(
                study.runs, study.law, horizon=horizon, seed=seed, folder=folder, executor=workers, progress=moved
            )
            if failed := backtest_failures(forecasts, study.law.name):
                raise FitError(failed[0])  # means over different cuts cannot be set side by side
            tables[name] = forecasts.isel(law=0, drop=True)
        except FitError as error:
            reasons[name] = str(error)
    if not tables:
        return None, reasons[order[0]]
    forecast = xr.concat(list(tables.values()), dim=xr.IndexVariable("law", np.array(list(tables), dtype=object)))
    forecast = forecast[["elpd", "crps", "decades_beyond"]].reindex(law=order)
    evidence = xr.Dataset(
        {
            "elpd_cut": forecast["elpd"].mean("run"),
            "crps_cut": forecast["crps"].mean("run"),
            "elpd_run": forecast["elpd"],
            "forecasts": forecast["elpd"].notnull().sum("run").max("law"),
        }
    )
    evidence["elpd_forward"] = evidence["elpd_cut"].mean("cut")
    evidence["crps_forward"] = evidence["crps_cut"].mean("cut")
    return evidence, "; ".join(f"'{name}': {why}" for name, why in reasons.items())
