"""Runs that share a size, a budget, a family: do their residuals go together, and how wide are bands then.

A posterior that takes runs to be independent is too narrow for the law's constants where residuals go together in
clusters. Here each cluster counts as one look: leaving it out moves the parameters by one Newton step, and the spread
of these moves is the covariance that the draws are stretched to.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.field import names_text
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import column, law_derived, law_loss, standard_parameters
from bayescale.laws.law_file import SYMBOL_COLUMNS
from bayescale.laws.priors import to_normal
from bayescale.study import Study

SAME_SIZE_SHARE = 0.05  # numbers within this of their neighbour are one cluster: budgets of a sweep are rarely equal
CLUSTERS_MIN = 6  # fewer looks say nothing of their own spread
RUNS_A_CLUSTER_MIN = 1.5  # on average
PERMUTATIONS = 400
# of permuted residuals, for each column that is looked at: most studies have clusters, and those that are missed make
# bands half as wide as they should be, where a false alarm widens them a little
FALSE_ALARM_SHARE = 0.05
RUNS_MAX = 5000  # permuting more takes seconds
NONE = "none"  # what a user says who holds runs to be independent
NO_SPREAD_SHARE = 1e-12  # of the draws along a direction, to that of the widest, squared: the same in all of them
_BLOCK_VALUES = 4_000_000


@dataclass(frozen=True)
class Clusters:
    """Runs whose residuals go together.

    Attributes
    ----------
    column : of the runs that says which run belongs where
    members : number of its cluster [run]
    ratio : variance of what the clusters say of the parameters, over that of as many independent runs
    """

    column: str
    members: np.ndarray
    ratio: float

    @property
    def count(self) -> int:
        return int(self.members.max()) + 1


def alike(values: np.ndarray) -> np.ndarray:
    """The cluster of every value: equal texts, or numbers within SAME_SIZE_SHARE of their neighbour [run]."""
    if values.dtype.kind != "f" or not (values > 0).all():
        return np.unique(values.astype(str), return_inverse=True)[1]
    order = np.argsort(values)
    steps = np.diff(np.log(values[order])) > np.log1p(SAME_SIZE_SHARE)
    members = np.empty(len(values), dtype=int)
    members[order] = np.concatenate([[0], np.cumsum(steps)])
    return members


def check_clusters(named: Any, runs: xr.Dataset) -> str:
    """The column that a user names as that of the clusters, "none", or an empty text where none is named.

    Raises FitError if it is no column of the runs, or makes too few clusters.
    """
    if named is None or named == NONE:
        return named or ""
    known = [str(name) for name in runs.data_vars]
    if named not in known:
        raise FitError(f"clusters = {named!r}: no such column of the runs; there are {names_text(known)}, or '{NONE}'")
    if (count := alike(runs[named].values).max() + 1) < CLUSTERS_MIN:
        raise FitError(
            f"clusters = '{named}': {count} cluster(s); at least {CLUSTERS_MIN} are needed to see how far they spread"
        )
    return str(named)


@one_blas_thread()
def clusters_of(study: Study) -> Clusters | None:
    """Clusters of the runs of a fit: those that its user named, or those by which its residuals go together, if any.

    Looked at are the sizes, other inputs of the law and the columns of texts; any more columns of numbers, such as
    settings and measurements, would go with the residuals by chance. The statistic is sum over clusters of |F^-1/2 sum
    of the runs' scores|^2, F their information; it must be above what all but FALSE_ALARM_SHARE of permuted residuals
    give.
    """
    named, runs = str(study.attrs.get("clusters", "")), study.runs
    if named == NONE or study.scatter.counts or runs.sizes["run"] > RUNS_MAX:
        return None
    looks = study.once(_Looks.of)
    if not looks.usable:
        return None
    if named:
        members = alike(runs[named].values)
        return Clusters(named, members, looks.ratio(members)[0])
    sizes, found = {*SYMBOL_COLUMNS.values(), *map(column, study.law.inputs)} - {study.law.observed.column}, []
    for name, values in runs.data_vars.items():
        if name not in sizes and values.dtype.kind not in "OUT":
            continue
        members = alike(values.values)
        if not CLUSTERS_MIN <= members.max() + 1 <= len(members) / RUNS_A_CLUSTER_MIN:
            continue
        ratio, share = looks.ratio(members)
        if share <= FALSE_ALARM_SHARE and ratio > 1:
            found.append(Clusters(str(name), members, ratio))
    return max(found, key=lambda one: one.ratio, default=None)


@one_blas_thread()
def clustered_posterior(study: Study) -> xr.Dataset:
    """Draws of all quantities of a fit, stretched to what its clusters show [chain, draw]; as they are without any.

    theta' = m + S^1/2 (S^-1/2 V S^-1/2)^1/2 S^-1/2 (theta - m), on the scale where priors are standard normals: m and S
    are mean and covariance of the draws, V that of leaving out each cluster in turn. No direction becomes narrower.
    The noise's parameters stay.

    References
    ----------
    Shaby 2014, doi:10.1080/01621459.2014.911762 (the open-faced sandwich); Bell and McCaffrey 2002 (leaving clusters
    out)
    """
    clusters, posterior = study.once(clusters_of), study.posterior
    if clusters is None:
        return posterior
    looks, law = study.once(_Looks.of), study.law
    values, vectors = np.linalg.eigh(np.cov(looks.draws.T))
    root, inverse = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
    stretch, axes = np.linalg.eigh(inverse @ looks.covariance(clusters.members) @ inverse)
    moved = root @ (axes * np.sqrt(np.maximum(stretch, 1.0))) @ axes.T @ inverse
    drawn = standard_parameters(law, looks.mean + (looks.draws - looks.mean) @ moved.T)
    shape = posterior.sizes["chain"], posterior.sizes["draw"]
    drawn = {name: np.reshape(x, shape) for name, x in drawn.items()}
    drawn |= {name: x for name, x in law_derived(law, drawn | dict(study.constants)).items() if name not in drawn}
    return posterior.assign({name: (("chain", "draw"), np.broadcast_to(x, shape)) for name, x in drawn.items()})


@dataclass(frozen=True)
class _Looks:
    """What each run says of the law's parameters, on the scale where each prior is a standard normal."""

    draws: np.ndarray  # [draw, parameter]
    mean: np.ndarray
    slope: np.ndarray  # of what is predicted, in units of the scatter, by the parameters [run, parameter]
    score: np.ndarray  # of the residual; mean square ``information`` if the noise is right [run]
    information: float  # of a residual in units of the scatter

    @classmethod
    def of(cls, study: Study) -> "_Looks":
        law, posterior = study.law, study.posterior
        draws = np.stack(
            [to_normal(prior, posterior[name].values.ravel()) for name, prior in law.priors.items()], axis=1
        )
        mean, step = draws.mean(axis=0), 1e-4
        at = study.standardised()
        steps = step * np.eye(len(mean))
        above, below, here = np.split(at(np.concatenate([mean + steps, mean - steps, mean[None]])), [len(mean), -1])
        noise = study.medians
        predicted = law_loss(law, noise | study.inputs() | dict(study.constants))
        scale = study.scatter.spread_at(predicted, study.covariates(values=noise), noise) / study.scatter.unit
        residual = (study.seen.values / study.scatter.unit - here[0]) / scale
        slope = ((above - below) / (2 * step * scale)).T
        nu = float(study.scatter.tail_df(noise))
        hidden = study.censored  # which cluster they belong to says nothing
        residual[hidden], slope[hidden] = 0.0, 0.0
        return cls(draws, mean, slope, (1 + 1 / nu) * residual / (1 + residual**2 / nu), 1 - 2 / (nu + 3))

    @property
    def usable(self) -> bool:
        """Whether draws are numbers, and of no parameter or mixture of them the same."""
        if not (np.isfinite(self.draws).all() and np.isfinite(self.slope).all() and np.isfinite(self.score).all()):
            return False
        spread = np.linalg.eigvalsh(np.cov(self.draws.T))
        return bool(spread[0] > NO_SPREAD_SHARE * spread[-1]) and bool(self.score.any())

    @property
    def precision(self) -> np.ndarray:
        """Of the parameters, those of the prior included."""
        return self.information * self.slope.T @ self.slope + np.eye(len(self.mean))

    def ratio(self, members: np.ndarray) -> tuple[float, float]:
        """The statistic over its mean among permuted residuals, and the share of those that are not below it."""
        scaled = self.slope @ np.linalg.cholesky(np.linalg.inv(self.precision))  # [run, parameter]
        order = np.argsort(members, kind="stable")
        starts = np.searchsorted(members[order], np.arange(members.max() + 1))

        def statistic(score: np.ndarray) -> np.ndarray:  # [..., run]
            sums = np.add.reduceat((score[..., None] * scaled)[..., order, :], starts, axis=-2)
            return (sums**2).sum(axis=(-2, -1))

        rng, seen = np.random.default_rng(0), float(statistic(self.score))
        at_once = max(1, _BLOCK_VALUES // scaled.size)
        permuted = [
            statistic(rng.permuted(np.tile(self.score, (min(at_once, PERMUTATIONS - done), 1)), axis=1))
            for done in range(0, PERMUTATIONS, at_once)
        ]
        by_chance = np.concatenate(permuted)
        return seen / float(by_chance.mean()), float((1 + (by_chance >= seen).sum()) / (1 + PERMUTATIONS))

    def covariance(self, members: np.ndarray) -> np.ndarray:
        """Of the parameters, by leaving out one cluster after the other, in one Newton step each."""
        precision, moves = self.precision, []
        for cluster in range(members.max() + 1):
            some = members == cluster
            slope = self.slope[some]
            left = precision - self.information * slope.T @ slope
            moves.append(np.linalg.solve(left, slope.T @ self.score[some]))
        moved = np.array(moves) - np.mean(moves, axis=0)
        inverse = np.linalg.inv(precision)
        return (len(moves) - 1) / len(moves) * moved.T @ moved + inverse @ inverse  # the prior is one more look
