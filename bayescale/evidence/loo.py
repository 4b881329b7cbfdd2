"""Leave-one-out evidence of one fit: PSIS-LOO, refits where it fails, LOO by group, LOO-PIT."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayescale.errors import FitError
from bayescale.field import how_many, quantity_text
from bayescale.fitting.clusters import alike
from bayescale.fitting.diagnostics import PARETO_K_MAX, diagnostics
from bayescale.fitting.doors import check_seed, flag, opened_fit
from bayescale.fitting.draws import smoothed_weights
from bayescale.fitting.fit import refit
from bayescale.fitting.tree import part_of
from bayescale.jobs.batch import Failure, run_batch
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import law_loss
from bayescale.study import Study

CHUNK_VALUES = 8_000_000  # draws x runs in memory at once, where the log likelihood is not kept
MIN_DRAWS = 25  # with fewer the tail of the weights cannot be smoothed
PIT_DRAWS = 1000  # enough for a probability that is plotted
REFIT_DRAWS = 500  # of each of 4 chains: Monte Carlo error of a log density of some .01
MIN_GROUPS = 3


@one_blas_thread()
def loo(
    fit: xr.DataTree | Study,
    *,
    groups: Any = None,
    mend: bool = True,
    seed: int = 0,
    executor: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """How well a law predicts each run, or group of runs, from all the others.

    elpd_i = log p(y_i | y without i) of log loss (or of what else the law file says is observed), by Pareto-smoothed
    importance sampling of the posterior; where its shape k is above min(.7, 1 - 1/log10(draws)) the law is refitted
    without those runs.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    groups : leave out whole groups of correlated runs: a column of the runs (``"family"``; of numbers, those within 5 %
        of their neighbour are one group: ``"params"``, ``"compute"``), or a label for every run [run]
    mend : refit where k is too large; with False, and for a fit of so many runs that it keeps no pointwise log
        likelihood, those k are returned as they are
    seed : of the refits
    executor : what refits, see :func:`bayescale.open_executor`; None: this process. The numbers are the same
    progress : called with (refits done, refits in all)

    Returns
    -------
    Dataset [run], or [group] with ``groups``: ``elpd_loo``, ``p_loo``, ``pareto_k`` (0 where refitted), ``mended``; and
    ``pit`` [run], the predictive probability of a loss below the measured one, given all others. Attributes: ``law``,
    ``good_k``, ``diagnostics`` of the fit, and ``not_mended``: why refits failed, if any did.

    Raises
    ------
    FitError
        If groups are asked for of a fit that keeps no pointwise log likelihood, or they are not some of its runs.

    Notes
    -----
    Vehtari, Gelman and Gabry 2017, doi:10.1007/s11222-016-9696-4; Vehtari et al. 2024, arXiv:1507.02646.

    Examples
    --------
    >>> bayescale.loo(fit, mend=False)["elpd_loo"].dims
    ('run',)
    """
    fit = opened_fit(fit)
    check_seed(seed)
    mend = flag("mend", mend)
    if "log_likelihood" not in fit.children and groups is None:
        return _by_chunks(fit, progress)
    pointwise = log_likelihood(fit)
    labels, members = group_runs(fit, groups)
    study = Study.opened(fit)
    elpd, lppd, k, pit = _by_importance(study, pointwise, members)
    good_k = min(PARETO_K_MAX, 1 - 1 / np.log10(study.draw_count))
    mended, why = np.zeros(len(labels), dtype=bool), []
    bad = np.flatnonzero(~(k <= good_k)) if mend else np.array([], dtype=int)
    for group, again in zip(bad, _refits(study, members, bad, seed, executor, progress), strict=True):
        if isinstance(again, Failure):
            why.append(again.why)
        else:
            elpd[group], pit[members == group] = again
            k[group], mended[group] = 0.0, True
    dim = "run" if groups is None else "group"
    found = {"elpd_loo": elpd, "p_loo": lppd - elpd, "pareto_k": k, "mended": mended}
    return xr.Dataset(
        {name: (dim, values) for name, values in found.items()} | {"pit": ("run", pit)},
        coords={} if groups is None else {"group": labels, "member": ("run", members)},
        attrs={
            "kind": "loo",
            "law": fit.attrs["law"],
            "good_k": good_k,
            "not_mended": "; ".join(dict.fromkeys(why)),
            "diagnostics": fit.attrs["diagnostics"],
        },
    )


def _by_importance(study: Study, pointwise: xr.DataArray, members: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log predictive density [group] without each group and with it, Pareto k [group], and PIT [run]."""
    if (draws := study.draw_count) < MIN_DRAWS:
        raise FitError(f"a fit of {draws} draws: leaving runs out by importance needs at least {MIN_DRAWS}; fit again")
    flat = sum_groups(pointwise, members).stack(sample=("chain", "draw")).transpose("group", "sample").values
    weights, k = smoothed_weights(-flat, relative_efficiency(study))
    elpd, lppd = logsumexp(flat + weights, axis=1), logsumexp(flat, axis=1) - np.log(draws)
    return elpd, lppd, k, _weighted_pit(study, weights, members, max(1, draws // PIT_DRAWS))


@dataclass(frozen=True)
class _LeftOut:
    """One refit: what a worker needs."""

    study: Study
    out: np.ndarray  # [run]
    seed: int


def _refits(
    study: Study,
    members: np.ndarray,
    left_out: np.ndarray,
    seed: int,
    executor: Any,
    progress: Callable[[int, int], None] | None,
) -> list[Any]:
    """For each group that is left out what :func:`_without` finds, or the failure of its refit."""
    light = replace(study, fit=None)  # workers need no draws
    tasks = [_LeftOut(light, members == group, seed + done) for done, group in enumerate(left_out, start=1)]
    done = 0

    def arrived(_: int, __: Any) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(tasks))

    return run_batch(_without, tasks, executor=executor, arrived=arrived)


def _without(task: _LeftOut) -> tuple[float, np.ndarray]:
    """The law fitted again without some runs: their joint elpd, and the PIT of each."""
    again = refit(task.study, ~task.out, draws=REFIT_DRAWS, seed=task.seed)
    report = json.loads(again.attrs["diagnostics"])
    if not report["converged"]:
        raise FitError(f"a refit without {how_many(task.out.sum(), 'run')} did not converge: {report['why']}")
    left_out = log_likelihood(again).isel(run=task.out).sum("run").values.ravel()
    pit = _pit(Study.opened(again))[:, task.out].mean(axis=0)
    return logsumexp(left_out) - np.log(left_out.size), pit


def _by_chunks(fit: xr.DataTree, progress: Callable[[int, int], None] | None) -> xr.Dataset:
    """LOO of a fit of very many runs, some of them at a time; nothing is refitted."""
    count, sizes = fit["observed_data"].sizes["run"], fit["posterior"].sizes
    chunks = np.array_split(np.arange(count), -(-count * sizes["chain"] * sizes["draw"] // CHUNK_VALUES))
    parts = []
    for some in chunks:
        parts.append(loo(part_of(fit, some), mend=False))
        if progress is not None:
            progress(len(parts), len(chunks))
    return xr.concat(parts, dim="run", combine_attrs="override")


def log_likelihood(fit: xr.DataTree) -> xr.DataArray:
    """Pointwise log likelihood of a fit [chain, draw, run]."""
    if "log_likelihood" not in fit.children:
        raise FitError(
            f"the fit of law '{fit.attrs['law']}' keeps no pointwise log likelihood (too many runs times draws); "
            "fit it again with fewer draws"
        )
    (found,) = fit["log_likelihood"].dataset.data_vars.values()
    return found


def sum_groups(pointwise: xr.DataArray, members: np.ndarray) -> xr.DataArray:
    """Log likelihood of every group, given the parameters: the sum over its runs [chain, draw, group]."""
    values = pointwise.transpose("chain", "draw", "run").values
    order = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[order], np.arange(members.max() + 1))
    return xr.DataArray(np.add.reduceat(values[..., order], starts, axis=-1), dims=("chain", "draw", "group"))


def group_runs(fit: xr.DataTree, groups: Any) -> tuple[list[str], np.ndarray]:
    """Labels of the groups, and of every run which one it belongs to [run]; every run by itself without ``groups``."""
    count = fit["observed_data"].sizes["run"]
    if groups is None:
        return [str(i) for i in range(count)], np.arange(count)
    named = isinstance(groups, str)
    what = f"groups = '{groups}'" if named else "groups"
    columns = fit["constant_data"].to_dataset()
    if named:
        names = sorted(str(name) for name in columns.data_vars if columns[name].dims == ("run",))
        if groups not in names:
            raise FitError(f"{what}: no such column of the runs; the columns are {', '.join(names)}")
        values = columns[groups].values
    else:
        values = np.asarray(groups)
    if values.shape != (count,):
        raise FitError(f"{what}: {values.size} label(s) for {count} runs; one label a run is expected")
    members = alike(values) if named else np.unique(values.astype(str), return_inverse=True)[1]
    first = values[np.unique(members, return_index=True)[1]]
    if named and values.dtype.kind == "f" and (values > 0).all():
        logs = np.log(values)
        labels = [quantity_text(groups, np.exp(logs[members == i].mean())) for i in range(len(first))]
    else:
        labels = list(map(str, first))
    if not MIN_GROUPS <= len(labels):
        raise FitError(
            f"{what}: {len(labels)} group(s); at least {MIN_GROUPS} are needed to leave one out and learn from the rest"
        )
    return labels, members


def relative_efficiency(study: Study) -> float:
    """Effective over kept draws, mean over the parameters: what PSIS takes for the autocorrelation of the chains."""
    ess = list(diagnostics(study)["ess_bulk"].values())
    return min(1.0, float(np.mean(ess)) / study.draw_count) if ess else 1.0


def _weighted_pit(study: Study, log_weights: np.ndarray, members: np.ndarray, every: int) -> np.ndarray:
    """P(a run shows no more than it did) [run] under weighted draws, of which one of ``every`` is looked at."""
    below = _pit(study, every).T
    sizes = study.posterior.sizes
    kept = log_weights.reshape(len(log_weights), sizes["chain"], sizes["draw"])[..., ::every]
    kept = kept.reshape(len(log_weights), -1)
    return (below * np.exp(kept - logsumexp(kept, axis=1, keepdims=True))[members]).sum(axis=1)


def _pit(study: Study, every: int = 1) -> np.ndarray:
    """P(a run shows no more than it did) at every draw, or at one of ``every`` [sample, run]."""
    draws: dict[str, Any] = {name: study.posterior[name].values[:, ::every].reshape(-1, 1) for name in study.priors}
    draws |= study.constants
    predicted = law_loss(study.law, draws | study.inputs())
    return study.scatter.cdf(study.seen.values, predicted, study.covariates(values=draws), draws)
