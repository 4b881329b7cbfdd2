"""Draws of the loss curve beyond the runs: law, what the runs say of its error, what they leave open, and noise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.special import logsumexp, ndtri, stdtrit

from bayescale.errors import FitError
from bayescale.forecasts.discrepancy import SHIFT_DF, DriftPrior, coordinates, correlation, one_size, tail_df_of
from bayescale.forecasts.discrepancy_posterior import AtScale, Discrepancy
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import is_joint
from bayescale.laws.scatter import SCALE_FLOOR, Scatter
from bayescale.study import Study

BEYOND_DECADES = 0.2  # of compute beyond the largest run over which the spread comes in


@dataclass(frozen=True)
class Curve:
    """Draws of the law's curve at some points, and of the noise around it.

    The parameters of the law are drawn anew, from their posterior with the drift in the model; ``bend`` is what the
    runs say of the law's error at a point (the drift's mean given them), ``drift`` what they leave open, the shift
    beyond them included.
    """

    parts: Mapping[str, np.ndarray]  # "law", "bend", "drift" [draw, point]
    sigma: np.ndarray  # of the noise beside a drift [draw]
    tail_df: np.ndarray  # degrees of freedom of that noise, a Student-t whatever the fit's; infinite: normal [draw, 1]
    apart: bool  # see sample_curve

    @property
    def log_loss(self) -> np.ndarray:
        """Of the curve, without noise [draw, point]."""
        return np.asarray(sum(self.parts.values()))


def sample_curve(found: Discrepancy, points: xr.Dataset, rng: np.random.Generator, *, apart: bool = False) -> Curve:
    """Draws of the log loss at ``points`` but for the noise, as many as the fit has.

    Parameters
    ----------
    found : the posterior of a fit with its discrepancy
    points : columns of the planned runs [point]
    apart : every point for itself: what a call with that point alone and the same state of the generator would give.
        The points then share their random numbers, and what they have in common beyond that is not drawn
    """
    return curve_at(chance_of(found, None if apart else points.sizes["point"], rng), points)


@dataclass(frozen=True)
class _DrawnAtScale:
    """What is drawn at one scale of the drift, whatever the points."""

    at: AtScale
    z: np.ndarray  # standardised parameters of the importance draws that were chosen [chosen, parameter]
    times: np.ndarray  # which of them each draw has [draw]
    residual: np.ndarray  # of the law at the cells [chosen, cell]
    normal: np.ndarray  # of the open drift [draw, point], or [draw, 1] of points apart
    sigma: np.ndarray  # [draw]


@dataclass(frozen=True)
class Chance:
    """All that is random about a curve: it does not depend on where its points lie."""

    found: Discrepancy
    apart: bool
    by_scale: tuple[_DrawnAtScale, ...]
    order: np.ndarray  # the grid's order of scales must not show in chains and draws [draw]
    places: tuple[np.ndarray, np.ndarray]  # of spread and shift, as probabilities [draw]


@one_blas_thread()
def chance_of(found: Discrepancy, count: int | None, rng: np.random.Generator) -> Chance:
    """What is drawn for ``count`` points together; with None, for any number of points apart."""
    study, cells, draws = found.study, found.cells, found.study.draw_count
    seen_law, by_scale = study.standardised(cells.inputs), []
    for at, times in zip(found.by_scale, _allot(draws, found.probabilities, rng), strict=True):
        if not times:
            continue
        chosen, index = np.unique(rng.choice(len(at.draws), times, p=at.weights), return_inverse=True)
        z = at.draws[chosen]
        normal = rng.standard_normal((times, 1 if count is None else count))
        sigma = at.sigma * np.exp(at.log_sigma_sd * rng.standard_normal(times))
        by_scale.append(_DrawnAtScale(at, z, index, cells.log_loss - seen_law(z), normal, sigma))
    order = rng.permutation(draws)
    places = (rng.permutation(draws) + 0.5) / draws, (rng.permutation(draws) + 0.5) / draws
    return Chance(found, count is None, tuple(by_scale), order, places)


@one_blas_thread()
def curve_at(chance: Chance, points: xr.Dataset) -> Curve:
    """The curve at some points, which is all arithmetic."""
    found, study, prior = chance.found, chance.found.study, chance.found.prior
    new, new_law = coordinates(study, points), study.standardised(study.inputs(points))
    to_cells = correlation(found.cells.where, new, prior.length)  # [cell, point]
    parts: dict[str, list[np.ndarray]] = {"law": [], "bend": [], "open": [], "sigma": [], "scale": []}
    for one in chance.by_scale:
        variance = np.exp(2 * one.at.log_scale)
        across = variance * to_cells
        solved = one.at.covariance.solve(across)
        if chance.apart:
            sd = np.sqrt(np.maximum(variance - (across * solved).sum(axis=0), 0.0))
            open_drift = one.normal * sd
        else:
            left = variance * correlation(new, new, prior.length) - across.T @ solved
            values, vectors = np.linalg.eigh((left + left.T) / 2)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            open_drift = one.normal @ root.T
        parts["law"].append(new_law(one.z)[one.times])
        parts["bend"].append((one.residual @ solved)[one.times])
        parts["open"].append(open_drift)
        parts["scale"].append(np.full(len(one.times), np.exp(one.at.log_scale)))
        parts["sigma"].append(one.sigma)
    joined = {name: np.concatenate(part)[chance.order] for name, part in parts.items()}
    law, bend, sigma = (joined[name] for name in ("law", "bend", "sigma"))
    beyond_all, beyond_group = (_decades_beyond(study, points, of_group=of_group) for of_group in (False, True))
    drift = _beyond_the_runs(prior, joined["open"], joined["scale"], beyond_all, beyond_group, chance.places)
    tail_df = np.broadcast_to(tail_df_of(study, prior, study.draws), (study.draw_count, 1))
    return Curve({"law": law, "bend": bend, "drift": drift}, sigma, tail_df, chance.apart)


def _beyond_the_runs(
    prior: DriftPrior,
    open_drift: np.ndarray,
    scale: np.ndarray,
    beyond_all: np.ndarray,
    beyond_group: np.ndarray,
    places: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """The drift with what studies have shown of it beyond their runs: spread, shift and decline [draw, point].

    ``scale`` is that of the drift [draw]. The spread and the shift of a draw are the same at all points. Both are
    quantiles of their distributions at shuffled ``places``, so that tails do not depend on the seed. Spread and decline
    grow with the decades beyond all runs: where other groups have runs it is known how curves go on. The shift grows
    with those beyond the runs of the point's group, whose recipe may break there though others do not.
    """
    if not beyond_group.any():
        return open_drift
    share = np.clip(beyond_all / BEYOND_DECADES, 0.0, 1.0)  # of the spread
    spread = prior.spread * np.exp(prior.spread_log_sd * ndtri(places[0]))[:, None]
    shift_scale = prior.shift + prior.shift_of_scale * scale
    shift = (shift_scale * stdtrit(SHIFT_DF, places[1]))[:, None]
    gone = beyond_all * (shift - prior.decline) + (beyond_group - beyond_all) * shift
    return (1 + share * (spread - 1)) * open_drift + gone


@one_blas_thread()
def expected_log_loss(found: Discrepancy, points: xr.Dataset) -> np.ndarray:
    """Posterior mean of the log loss at ``points`` [point]: law and bend, by the weights of all importance draws.

    What the runs leave open of the drift has mean zero; the average ``decline`` is left out: it was learnt from larger
    runs, not from other splits of one budget. Parameters are those of :func:`sample_curve`.
    """
    study, cells = found.study, found.cells
    new_law = study.standardised(study.inputs(points))
    apart = correlation(cells.where, coordinates(study, points), found.prior.length)
    mean = np.zeros(points.sizes["point"])
    for at, pull, probability in zip(found.by_scale, found.mean_pulls, found.probabilities, strict=True):
        bend = pull @ (np.exp(2 * at.log_scale) * apart)
        mean += probability * (at.weights @ new_law(at.draws) + bend)
    return mean


@one_blas_thread()
def open_contrasts(found: Discrepancy, first: xr.Dataset, second: xr.Dataset) -> np.ndarray:
    """Covariance of what the runs leave open of the drift at points less that at others of the same compute.

    [point, point], each pair of ``first`` and ``second`` being one of them.
    """
    study, prior, cells = found.study, found.prior, found.cells
    a, b = coordinates(study, first), coordinates(study, second)
    near = correlation(cells.where, a, prior.length) - correlation(cells.where, b, prior.length)  # [cell, point]
    crossed = correlation(a, b, prior.length)
    apart = correlation(a, a, prior.length) - crossed - crossed.T + correlation(b, b, prior.length)
    covariance = np.zeros(apart.shape)
    for at, probability in zip(found.by_scale, found.probabilities, strict=True):
        across = np.exp(2 * at.log_scale) * near
        covariance += probability * (np.exp(2 * at.log_scale) * apart - across.T @ at.covariance.solve(across))
    share = np.clip(_decades_beyond(study, first, of_group=False) / BEYOND_DECADES, 0.0, 1.0)
    mean, square = (prior.spread**k * np.exp(0.5 * (k * prior.spread_log_sd) ** 2) for k in (1, 2))
    one, other = share[:, None], share[None, :]
    return covariance * (
        (1 - one) * (1 - other) + (one * (1 - other) + (1 - one) * other) * mean + one * other * square
    )


def _decades_beyond(study: Study, points: xr.Dataset, *, of_group: bool) -> np.ndarray:
    """Decades of compute, or of the size of a law of one size, beyond the largest run, 0 inside [point].

    That run is the largest of all, or ``of_group`` of the point. What spread, decline and shift say was learnt from
    larger runs forecast from smaller ones. They do not speak of points among the runs, nor of laws without a size.
    """
    size = "compute" if is_joint(study.law) else one_size(study.law)
    if size is None:
        return np.zeros(points.sizes["point"])
    most = study.largest_at(points, size) if of_group else study.largest(size)
    return np.maximum(np.log10(points[size].values / most), 0.0)


def _allot(total: int, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How many of ``total`` draws each weight gets: systematic resampling."""
    edges = np.floor(np.cumsum(weights) * total + rng.uniform()).astype(int)
    edges[-1] = total
    return np.diff(np.minimum(edges, total), prepend=0)


# ---- with noise -----------------------------------------------------------------------------------------------------


def with_noise(study: Study, points: xr.Dataset, curve: Curve, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The parts of a curve and, drawn here, the ``noise`` of new runs [draw, point]; their sum is the log loss."""
    scale = _scale(study, points, curve)
    if curve.apart:
        noise = scale * sample_noise_beside(study, curve.tail_df, np.ones((len(scale), 1)), rng)
    else:
        noise = sample_noise_beside(study, curve.tail_df, scale, rng)
    return dict(curve.parts) | {"noise": noise}


def sample_noise_beside(study: Study, tail_df: np.ndarray, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws of the noise beside a drift, of this scale and in its shape [draw, point]."""
    beside, values = _noise_beside(study, tail_df)
    return np.asarray(beside.sample_noise(scale, values, rng))


def _noise_beside(study: Study, tail_df: np.ndarray) -> tuple[Scatter, dict[str, np.ndarray]]:
    """The noise beside a drift and its parameters: the Student-t or the normal one that the fit's is most like."""
    like = "normal" if np.isinf(tail_df).all() else "student_t"
    return replace(study.scatter, noise=like), {"nu_minus_2": tail_df - 2}


def squared_width(drawn: np.ndarray) -> np.ndarray:
    """Squared width of the 90 % band of draws [draw, point]; NaN where one of them is NaN."""
    ordered, ends = np.sort(drawn, axis=0), []  # np.quantile of all draws gives the same in twice the time
    for share in (0.05, 0.95):
        below, between = divmod(share * (len(drawn) - 1), 1)
        ends.append(np.quantile(ordered[int(below) : int(below) + 2], between, axis=0))
    return np.where(np.isnan(ordered[-1]), np.nan, (ends[1] - ends[0]) ** 2)


@one_blas_thread()
def log_predictive_density(study: Study, points: xr.Dataset, log_loss: np.ndarray, curve: Curve) -> np.ndarray:
    """log p(log loss of a new run | the runs of the fit), each point by itself [point].

    The mean over draws of law, bend and drift of the noise's density around them: nothing is smoothed.

    Parameters
    ----------
    points, log_loss : columns of the new runs, and what they showed, each [point]
    curve : what :func:`sample_curve` drew at these points
    """
    scale = _scale(study, points, curve)
    beside, values = _noise_beside(study, curve.tail_df)
    density = beside.log_density_of(log_loss - curve.log_loss, scale, values)
    return logsumexp(density, axis=0) - np.log(len(density))


def _scale(study: Study, points: xr.Dataset, curve: Curve) -> np.ndarray:
    """Scale of the noise of new runs [draw, point]."""
    # sigma is the whole scale here, SCALE_FLOOR included
    return study.scatter.scale_at(study.covariates(points), study.draws | {"sigma": curve.sigma[:, None]}) - SCALE_FLOOR


def check_finite(*values: np.ndarray) -> None:
    """Raise FitError unless all losses are finite."""
    if not all(np.isfinite(one).all() for one in values):
        raise FitError(
            "the law has no finite value at one of the points: they are too far from any run it was fitted to, or an "
            "input is not what the law takes"
        )
