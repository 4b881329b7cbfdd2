"""How far a law may be wrong beyond the data: the discrepancy, its scale, and the forecast that includes it.

A law is a smooth surface of few parameters; real losses bend away from it, by an error that is shared by all the larger
runs of a study and grows with the distance from the runs that were seen. So the loss of a new run is

    log loss(x) = log L(x; parameters) + drift(x) + noise,     x = log10 of the law's inputs (N, D)

with drift a Gaussian process of mean zero, scale ``s`` and Matern-3/2 correlation over ``x``. Runs that were seen pin
it down: it is small inside the data and opens with the distance in log N and log D beyond them. Its scale has a prior
learnt from real studies and is updated by the user's own runs: where they bend away from the law, the band is wide;
where a hundred clean runs follow it, the band is narrow.

Numerics: for each scale on a grid, Gauss-Newton to the mode of the law's parameters (on the scale where each prior
is a standard normal) with the drift integrated out; Student-t noise as a scale mixture (EM); a Student-t proposal at
the mode, importance-weighted; grid and draws are resampled together. No compilation, about 0.3 s for 200 runs. The
law's own parameters are reported from the fit without drift, which is what the literature's constants mean.
"""

import functools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.linalg.lapack import dtrtri
from scipy.special import logsumexp, ndtr

from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import Law, column, loss_given, run_sizes, standard_parameters
from bayescale.laws.priors import quantile
from bayescale.laws.scatter import FINEST
from bayescale.runs.compute import largest_compute
from bayescale.study import Study, law_of

LOG_SCALES = np.arange(-6.5, -0.4, 0.5)  # grid of the drift's scale: 0.15 % to 60 % of the loss
MAX_CELLS = 5000  # more runs than this are pooled into as many small cells of log N x log D
MAX_CENTRES = 300  # the drift's basis is built on at most this many places: its cost grows with their cube
BEYOND_DECADES = 0.2  # of compute beyond the largest run over which spread and optimism come in
EIGENVALUE_MIN = 1e-6  # of the drift's correlation, relative to the largest; smaller ones were seen to change nothing
NEGLIGIBLE = 14.0  # log of how much less probable than the best a scale is that is left out
PROPOSALS = 800  # importance draws at each scale
EM_STEPS = 30
EM_STILL = 2  # steps in a row that move sigma by less than .5 % end it
GAUSS_NEWTON_STEPS = 4
PROPOSAL_ROUNDS = 3  # at most: proposals are renewed while they fit badly
PROPOSAL_DF = 8.0  # of the Student-t proposal, a little wider than the Laplace approximation
PROPOSAL_WIDTH = 1.15
SIGMA_RANGE = (1e-4, 0.3)


@dataclass(frozen=True)
class DriftPrior:
    """What is known of drifts before seeing the user's runs; the shipped one is ``drift.toml``."""

    length: float  # decades
    log_scale: float
    log_scale_sd: float
    spread: float  # how far drifts go beyond the data, relative to what their wiggles inside the data promise
    optimism: float  # conditional sd by which real losses end below the forecast, on average

    def log_density(self, log_scales: np.ndarray) -> np.ndarray:
        return -0.5 * ((log_scales - self.log_scale) / self.log_scale_sd) ** 2


@functools.cache
def shipped_prior() -> DriftPrior:
    with open(Path(__file__).parent / "drift.toml", "rb") as file:
        return DriftPrior(**tomllib.load(file))


@dataclass(frozen=True)
class Cells:
    """The runs as the drift sees them, pooled where there are many: inputs, where they lie, log loss, noise."""

    inputs: Mapping[str, np.ndarray]  # symbol -> [cell]
    where: np.ndarray  # coordinates of the inputs [cell, input]
    log_loss: np.ndarray  # [cell]
    variance: np.ndarray  # of the noise, in units of sigma**2 [cell]


@dataclass(frozen=True)
class Covariance:
    """drift + noise of the cells, basis @ basis.T + diag(noise), by its inverse: diag(1/noise) - whitener.T @ whitener.

    (Woodbury's identity; the whitener is the inverse of a Cholesky factor of 1 + basis.T @ diag(1/noise) @ basis, times
    basis.T @ diag(1/noise).)
    """

    noise: np.ndarray  # variance [cell]
    whitener: np.ndarray  # [rank, cell]
    half_log_determinant: float

    @classmethod
    def of(cls, basis: np.ndarray, noise: np.ndarray) -> "Covariance":
        weighted = (basis / noise[:, None]).T
        inner = np.linalg.cholesky(np.eye(basis.shape[1]) + weighted @ basis)
        # LAPACK's, without the checks of scipy.linalg; the inverse and a product are quicker than solving for as many
        inverse, status = dtrtri(inner.T, lower=0)
        if status:
            raise np.linalg.LinAlgError("singular covariance")
        return cls(noise, inverse.T @ weighted, float(np.log(np.diag(inner)).sum() + 0.5 * np.log(noise).sum()))

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """covariance**-1 @ vectors [cell, k]."""
        return vectors / self.noise[:, None] - self.whitener.T @ (self.whitener @ vectors)

    def squares(self, vectors: np.ndarray) -> np.ndarray:
        """v.T @ covariance**-1 @ v of every column of ``vectors`` [cell, k]."""
        return (1 / self.noise) @ vectors**2 - ((self.whitener @ vectors) ** 2).sum(axis=0)

    def inverse_diagonal(self) -> np.ndarray:
        return 1 / self.noise - (self.whitener**2).sum(axis=0)

    def log_density(self, residual: np.ndarray) -> float:
        """Of residuals [cell] with this covariance, up to a constant."""
        return -0.5 * float(self.squares(residual[:, None])[0]) - self.half_log_determinant

    def curvature(self, residual: np.ndarray) -> float:
        """Minus the second derivative of :meth:`log_density` by the logarithm of the noise's sd, all cells' together.

        With K the covariance, N the noise and a = K**-1 r:  4 (N a).T K**-1 (N a) - 2 a.T N a
        + 2 tr(K**-1 N) - 2 tr((K**-1 N)**2), where K**-1 N = 1 - W.T W N, of which the traces follow.
        """
        solved = self.solve(residual[:, None])[:, 0]
        pulled = self.noise * solved
        inner = (self.whitener * self.noise) @ self.whitener.T
        traces = 2 * (np.trace(inner) - (inner**2).sum())
        return float(4 * self.squares(pulled[:, None])[0] - 2 * solved @ pulled + traces)


@dataclass(frozen=True)
class AtScale:
    """The posterior given one scale of the drift."""

    log_scale: float
    log_evidence: float
    sigma: float
    log_sigma_sd: float
    covariance: Covariance  # of the cells: drift and noise
    draws: np.ndarray  # standardised parameters [proposal, parameter]
    weights: np.ndarray  # importance weights [proposal]


@dataclass(frozen=True)
class _Peak:
    """Where the posterior given one scale of the drift is highest."""

    log_scale: float
    log_evidence: float  # by Laplace's approximation
    z: np.ndarray  # standardised parameters
    hessian: np.ndarray  # of them
    sigma: float
    log_sigma_sd: float
    of_noise: float  # the part of the log evidence that is due to sigma and to the mixture's scales
    covariance: Covariance


def has_drift(law: Law) -> bool:
    """Whether drifts of such laws have been studied: those of a loss; nothing is known of accuracies and the like."""
    return law.observed.column == "loss" and law.observed.scale == "log"


def coordinates(fit: xr.DataTree, data: xr.Dataset) -> np.ndarray:
    """Where runs or points lie [row, input]: log10 of each input of the law, or itself.

    Itself where the runs are not all above 0, or the law's published range starts at 0 (a sparsity): the runs and the
    law decide, never the points. A point at 0 or below then counts as a thousandth of the smallest run.
    """
    law, runs = law_of(fit), fit["constant_data"].to_dataset()  # once: looking into a tree takes long
    values = []
    for symbol in law.inputs:
        x, seen = data[column(symbol)].values, runs[column(symbol)].values
        logarithmic = seen.min() > 0 and law.range.get(symbol, (1.0, 1.0))[0] > 0
        values.append(np.log10(np.maximum(x, 1e-3 * seen.min())) if logarithmic else x)
    return np.stack(values, axis=1)


@dataclass(frozen=True)
class Curve:
    """Draws of the law's curve at some points, and of the noise's sigma [draw].

    The parameters of the law are drawn anew, from their posterior with the drift in the model; ``bend`` is what the
    runs say of the law's error at a point (the drift's mean given them), ``drift`` what they leave open.
    """

    parts: Mapping[str, np.ndarray]  # "law", "bend", "drift" [draw, point]
    sigma: np.ndarray
    apart: bool  # see sample_curve

    @property
    def log_loss(self) -> np.ndarray:
        """Of the curve, without noise [draw, point]."""
        return sum(self.parts.values())


def sample_log_loss(
    fit: xr.DataTree, points: xr.Dataset, rng: np.random.Generator, **options: Any
) -> dict[str, xr.DataArray]:
    """Draws of the four parts of the log loss that new runs would show: ``law``, ``bend``, ``drift`` and ``noise``.

    Each is [chain, draw, point], as many as the fit has; their sum is the log loss. Parameters are those of
    :func:`sample_curve`.
    """
    return with_noise(fit, points, sample_curve(fit, points, rng, **options), rng)


def with_noise(fit: xr.DataTree, points: xr.Dataset, curve: Curve, rng: np.random.Generator) -> dict[str, xr.DataArray]:
    """The parts of a curve and, drawn here, the ``noise`` of new runs (see :func:`sample_log_loss`)."""
    noise = _new_noise(fit, curve.sigma, points, rng, curve.apart)
    chains, draws = (fit["posterior"].sizes[dim] for dim in ("chain", "draw"))
    return {
        name: xr.DataArray(part.reshape(chains, draws, -1), dims=("chain", "draw", "point"))
        for name, part in (dict(curve.parts) | {"noise": noise}).items()
    }


@one_blas_thread()
def log_predictive_density(
    fit: xr.DataTree,
    points: xr.Dataset,
    log_loss: np.ndarray,
    curve: Curve,
) -> np.ndarray:
    """log p(log loss of a new run | the runs of the fit), each point by itself [point].

    The mean over draws of law, bend and drift of the noise's density around them: nothing is smoothed.

    Parameters
    ----------
    points, log_loss : columns of the new runs, and what they showed, each [point]
    curve : what :func:`sample_curve` drew at these points
    """
    scale, values = _new_noise_scale(fit, curve.sigma, points)
    density = Study.opened(fit).scatter.log_density_of(log_loss - curve.log_loss, scale, values)
    return logsumexp(density, axis=0) - np.log(len(density))


@one_blas_thread()
def sample_curve(
    fit: xr.DataTree,
    points: xr.Dataset,
    rng: np.random.Generator,
    prior: DriftPrior | None = None,
    by_scale: list[AtScale] | None = None,
    *,
    apart: bool = False,
) -> Curve:
    """Draws of the log loss at ``points`` but for the noise, as many as the fit has.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns
    points : columns of the planned runs [point]
    prior : of the drift; the shipped one by default
    by_scale : what :func:`posterior_by_scale` returned for this fit and a prior of the same scale, to save computing it
        again
    apart : every point for itself: what a call with that point alone and the same state of the generator would give.
        The points then share their random numbers, and what they have in common beyond that is not drawn
    """
    prior = prior or shipped_prior()
    law = law_of(fit)
    cells = cells_of(law, fit)
    by_scale = by_scale or posterior_by_scale(fit, prior)
    chains, draws = (fit["posterior"].sizes[dim] for dim in ("chain", "draw"))
    counts = _allot(chains * draws, scale_weights(by_scale, prior), rng)

    new_inputs = {symbol: points[column(symbol)].values for symbol in law.inputs}
    new = coordinates(fit, points)
    constants = _constants(law, fit)
    seen_law, new_law = _log_law(law, cells.inputs, constants), _log_law(law, new_inputs, constants)
    beyond = _beyond(fit, points)
    spread = 1 + beyond * (prior.spread - 1)
    parts: dict[str, list[np.ndarray]] = {"law": [], "bend": [], "drift": [], "sigma": []}
    for at, count in zip(by_scale, counts, strict=True):
        if not count:
            continue
        chosen, times = np.unique(rng.choice(len(at.draws), count, p=at.weights), return_inverse=True)
        z = at.draws[chosen]
        variance = np.exp(2 * at.log_scale)
        across = variance * correlation(cells.where, new, prior.length)  # [cell, point]
        residual = cells.log_loss - seen_law(z)  # [chosen, cell]
        solved = at.covariance.solve(across)
        if apart:
            sd = np.sqrt(np.maximum(variance - (across * solved).sum(axis=0), 0.0))
            open_drift = rng.standard_normal((count, 1)) * sd
        else:
            left = variance * correlation(new, new, prior.length) - across.T @ solved
            values, vectors = np.linalg.eigh((left + left.T) / 2)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            sd = np.sqrt((root**2).sum(axis=1))
            open_drift = rng.standard_normal((count, len(sd))) @ root.T
        parts["law"].append(new_law(z)[times])
        parts["bend"].append((residual @ solved)[times])
        parts["drift"].append(spread * (open_drift - beyond * prior.optimism * sd))
        parts["sigma"].append(at.sigma * np.exp(at.log_sigma_sd * rng.standard_normal(count)))
    order = rng.permutation(chains * draws)  # the grid's order must not show in chains and draws
    joined = {name: np.concatenate(part)[order] for name, part in parts.items()}
    sigma = joined.pop("sigma")
    return Curve(joined, sigma, apart)


@one_blas_thread()
def expected_log_loss(fit: xr.DataTree, points: xr.Dataset, by_scale: list[AtScale]) -> np.ndarray:
    """Posterior mean of the log loss at ``points`` [point]: law and bend, by the weights of all importance draws.

    What the runs leave open of the drift has mean zero; its average sign (``optimism``) is left out: it was learnt from
    larger runs, not from other splits of one budget. Parameters are those of :func:`sample_curve`.
    """
    prior, law = shipped_prior(), law_of(fit)
    cells, constants = cells_of(law, fit), _constants(law, fit)
    seen_law = _log_law(law, cells.inputs, constants)
    new_law = _log_law(law, {symbol: points[column(symbol)].values for symbol in law.inputs}, constants)
    apart = correlation(cells.where, coordinates(fit, points), prior.length)
    mean = np.zeros(points.sizes["point"])
    for at, probability in zip(by_scale, scale_weights(by_scale, prior), strict=True):
        residual = cells.log_loss - at.weights @ seen_law(at.draws)
        bend = at.covariance.solve(residual[:, None])[:, 0] @ (np.exp(2 * at.log_scale) * apart)
        mean += probability * (at.weights @ new_law(at.draws) + bend)
    return mean


def _beyond(fit: xr.DataTree, points: xr.Dataset) -> np.ndarray:
    """0 where compute is inside the runs, 1 from BEYOND_DECADES past the largest [point].

    What ``spread`` and ``optimism`` say was learnt from larger runs forecast from smaller ones, with laws of N and D.
    They do not speak of points among the runs, nor of laws of one size, whose curves end on plateaus.
    """
    if not {"N", "D"} <= set(law_of(fit).inputs):
        return np.zeros(points.sizes["point"])
    decades = np.log10(points["compute"].values / largest_compute(fit, law_of(fit).inputs))
    return np.clip(decades / BEYOND_DECADES, 0.0, 1.0)


@one_blas_thread()
def posterior_by_scale(fit: xr.DataTree, prior: DriftPrior | None = None, *, every: bool = False) -> list[AtScale]:
    """The posterior of the law's parameters, drift integrated out, at every scale of LOG_SCALES that counts.

    Parameters
    ----------
    prior : of the drift; the shipped one by default
    every : all scales of the grid, however improbable, as another prior would need them
    """
    prior = prior or shipped_prior()
    law = law_of(fit)
    cells = cells_of(law, fit)
    log_law = _log_law(law, cells.inputs, _constants(law, fit))
    basis = _basis(cells.where, prior.length)
    nu, sigma_prior = _degrees_of_freedom(fit), _sigma_prior(fit)
    mode = _start(law, fit), float(fit["posterior"]["sigma"].median()), np.ones(len(cells.log_loss))
    peaks: list[_Peak] = []
    for log_scale in LOG_SCALES:
        scaled = np.exp(log_scale) * basis
        mode = _mode(log_law, cells, scaled, *mode, nu, sigma_prior)
        peaks.append(_peak(log_law, cells, scaled, *mode, nu, sigma_prior, float(log_scale)))
        log_mass = np.array([peak.log_evidence for peak in peaks]) + prior.log_density(LOG_SCALES[: len(peaks)])
        counts = (log_mass > log_mass.max() - NEGLIGIBLE) | every
        if not counts[-1] and log_mass[-1] < log_mass[-2]:
            break  # a rule of thumb: larger scales have been seen to be less probable still
    rng = np.random.default_rng(int(fit.attrs["seed"]))
    return [_weighted_draws(log_law, cells, peak, rng) for peak, kept in zip(peaks, counts, strict=True) if kept]


def effective_draws(by_scale: Sequence[AtScale], prior: DriftPrior) -> float:
    """Effective importance draws behind a forecast: of each scale, mixed by the scales' probabilities."""
    ess = np.array([1 / (at.weights**2).sum() for at in by_scale])
    return float(1 / (scale_weights(by_scale, prior) ** 2 / ess).sum())


def scale_weights(by_scale: Sequence[AtScale], prior: DriftPrior) -> np.ndarray:
    """Posterior probability of every scale."""
    log_evidence, log_scales = np.array([(at.log_evidence, at.log_scale) for at in by_scale]).T
    log_weights = log_evidence + prior.log_density(log_scales)
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def cells_of(law: Law, fit: xr.DataTree) -> Cells:
    """The runs of a fit; beyond MAX_CELLS they are pooled into cells small enough for the law to be linear in them."""
    data = fit["constant_data"].to_dataset()
    inputs = {symbol: data[column(symbol)].values for symbol in law.inputs}
    where = coordinates(fit, data)
    log_loss = fit["observed_data"][law.observed.variable].values
    spread = np.exp(2 * _tilt(fit) * np.log(run_sizes(law, data) / float(data["C_ref"])))
    if len(log_loss) <= MAX_CELLS:
        return Cells(inputs, where, log_loss, spread)
    index = _cell_index(where, MAX_CELLS)
    weight = 1 / spread
    total = np.bincount(index, weight)

    def pooled(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, weight * values) / total

    centre = np.stack([pooled(where[:, i]) for i in range(where.shape[1])], axis=1)
    # on the scale of the coordinates, so that a cell of runs in N x D lies at their geometric mean
    pooled_inputs = {
        symbol: pooled(values) if np.array_equal(where[:, i], values) else 10 ** centre[:, i]
        for i, (symbol, values) in enumerate(inputs.items())
    }
    return Cells(pooled_inputs, centre, pooled(log_loss), 1 / total)


def _cell_index(where: np.ndarray, most: int) -> np.ndarray:
    """The cell of every row of ``where`` in the finest grid of at most ``most`` occupied cells."""
    step = 0.01
    while True:
        index = np.zeros(len(where), dtype=np.int64)
        for steps in np.round(where / step).T:
            # column after column as whole numbers: rows of several numbers are sorted a hundred times as slowly
            _, place = np.unique(steps, return_inverse=True)
            _, index = np.unique(index * (place.max() + 1) + place, return_inverse=True)
        if index.max() < most:
            return index
        step *= 1.25


def correlation(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """Matern-3/2 over the distance in decades, the same in every input."""
    distance = np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))
    r = np.sqrt(3.0) * distance / length
    return (1 + r) * np.exp(-r)


def _constants(law: Law, fit: xr.DataTree) -> dict[str, float]:
    return {name: float(fit["constant_data"][name]) for name in law.constants}


def _log_law(
    law: Law, inputs: Mapping[str, np.ndarray], constants: Mapping[str, float]
) -> Callable[[np.ndarray], np.ndarray]:
    """log L [draw, run] of standardised parameters z [draw, parameter]: each prior's quantile of ndtr(z)."""
    loss_of, count = loss_given(law, {**inputs, **constants}), _length(inputs)

    def log_law(z: np.ndarray) -> np.ndarray:
        z = np.atleast_2d(z)
        params = {name: value[:, None] for name, value in standard_parameters(law, np.clip(z, -7.5, 7.5)).items()}
        loss = np.broadcast_to(loss_of(params), (len(z), count))
        with np.errstate(all="ignore"):
            return np.nan_to_num(np.log(loss), nan=50.0, posinf=50.0, neginf=-50.0)

    return log_law


def _length(inputs: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(inputs.values())))


def _start(law: Law, fit: xr.DataTree) -> np.ndarray:
    """Standardised parameters at the posterior median of the fit, found by bisection on each prior's quantiles."""
    grid, posterior = np.linspace(-6, 6, 2001), fit["posterior"].to_dataset()
    u = ndtr(grid)
    medians = {name: np.median(posterior[name].values) for name in law.priors}
    return np.array([np.interp(medians[name], quantile(prior, u), grid) for name, prior in law.priors.items()])


def _basis(where: np.ndarray, length: float) -> np.ndarray:
    """Leading directions of the drift among the cells [cell, rank], so that basis @ basis.T is its correlation.

    They are eigenvectors of the correlation among at most MAX_CENTRES places, carried to the cells (Nystroem).
    """
    places = where
    if len(where) > MAX_CENTRES:
        index = _cell_index(where, MAX_CENTRES)
        count = np.bincount(index)
        places = np.stack([np.bincount(index, where[:, i]) / count for i in range(where.shape[1])], axis=1)
    values, vectors = np.linalg.eigh(correlation(places, places, length))
    kept = values > EIGENVALUE_MIN * values[-1]
    return correlation(where, places, length) @ (vectors[:, kept] / np.sqrt(values[kept]))


def _mode(log_law, cells, basis, z, sigma, inflation, nu, sigma_prior):
    """EM over the Student-t's scale mixture and sigma, with Gauss-Newton steps of the parameters inside."""
    residual = (cells.log_loss - log_law(z)).T  # [cell, 1]
    still = 0
    for _ in range(EM_STEPS):
        noise = sigma**2 * cells.variance * inflation
        covariance = Covariance.of(basis, noise)
        for _ in range(GAUSS_NEWTON_STEPS):
            solved, hessian = _curvature(log_law, covariance, z)
            move = np.linalg.solve(hessian, solved.T @ residual[:, 0] - z)
            z, residual, moved = _line_search(log_law, cells, covariance, z, move, residual)
            if not moved:
                break
        # posterior mean and variance of each run's noise, from which its inflation and sigma follow
        mean = noise * covariance.solve(residual)[:, 0]
        leverage = noise[:, None] * solved
        variance = noise - noise**2 * covariance.inverse_diagonal()
        variance = variance + np.einsum("ij,jk,ik->i", leverage, np.linalg.inv(hessian), leverage)
        square = (mean**2 + np.maximum(variance, 0.0)) / cells.variance
        if np.isfinite(nu):
            inflation = (nu + square / sigma**2) / (nu + 1)
        centre, width = sigma_prior
        count, log_fit = len(noise), 0.5 * np.log(np.mean(square / inflation))
        new_sigma = np.exp((2 * count * log_fit + centre / width**2) / (2 * count + 1 / width**2))
        new_sigma = float(np.clip(new_sigma, *SIGMA_RANGE))
        still = still + 1 if abs(np.log(new_sigma / sigma)) < 0.005 else 0
        sigma = new_sigma
        if still == EM_STILL:
            break
    return z, sigma, inflation


def _curvature(log_law, covariance, z, step=1e-4):
    """covariance**-1 @ J [cell, parameter] and the Gauss-Newton Hessian, J by central differences of one evaluation."""
    shifts = step * np.eye(len(z))
    values = log_law(np.concatenate([z + shifts, z - shifts]))
    jacobian = ((values[: len(z)] - values[len(z) :]) / (2 * step)).T
    solved = covariance.solve(jacobian)
    return solved, jacobian.T @ solved + np.eye(len(z))


def _line_search(log_law, cells, covariance, z, move, residual):
    """The parameters after the longest step that gains, their residual, and whether that step was worth another."""
    now = covariance.squares(residual)[0] + z @ z
    for length in (1.0, 0.5, 0.25, 0.1, 0.02):
        candidate = z + length * move
        tried = (cells.log_loss - log_law(candidate)).T
        if covariance.squares(tried)[0] + candidate @ candidate < now:
            return candidate, tried, length * np.abs(move).max() > 1e-3
    return z, residual, False


def _peak(log_law, cells, basis, z, sigma, inflation, nu, sigma_prior, log_scale) -> _Peak:
    """The mode at one scale of the drift and the curvature there."""
    covariance = Covariance.of(basis, sigma**2 * cells.variance * inflation)
    _, hessian = _curvature(log_law, covariance, z)
    residual = (cells.log_loss - log_law(z))[0]
    there, curvature = covariance.log_density(residual), covariance.curvature(residual)
    # sd of log sigma, by Laplace at the mode of everything else, never wider than its prior
    sigma_sd = float(1 / np.sqrt(max(curvature, 0.0) + 1 / sigma_prior[1] ** 2))
    of_noise = np.log(sigma_sd) - 0.5 * ((np.log(sigma) - sigma_prior[0]) / sigma_prior[1]) ** 2
    if np.isfinite(nu):  # density of the mixture's scales at their values
        of_noise += float((-nu / 2 * np.log(inflation) - nu / (2 * inflation)).sum())
    log_evidence = there - 0.5 * z @ z - 0.5 * np.linalg.slogdet(hessian)[1] + of_noise
    return _Peak(log_scale, float(log_evidence), z, hessian, sigma, sigma_sd, float(of_noise), covariance)


def _log_target(log_law, cells, covariance, z: np.ndarray) -> np.ndarray:
    """Log posterior of standardised parameters z [draw, parameter], the noise given."""
    squares = covariance.squares((cells.log_loss - log_law(z)).T)
    return -0.5 * squares - covariance.half_log_determinant - 0.5 * (z**2).sum(axis=1)


def _weighted_draws(log_law, cells, peak: _Peak, rng: np.random.Generator) -> AtScale:
    """Student-t proposals at the mode with importance weights; the evidence of this scale of the drift."""
    size = len(peak.z)
    spread = np.linalg.cholesky(np.linalg.inv(peak.hessian)) * PROPOSAL_WIDTH
    centre = peak.z
    for _ in range(PROPOSAL_ROUNDS):
        proposal = rng.standard_normal((PROPOSALS, size))
        proposal /= np.sqrt(rng.chisquare(PROPOSAL_DF, (PROPOSALS, 1)) / PROPOSAL_DF)
        draws = centre + proposal @ spread.T
        log_target = _log_target(log_law, cells, peak.covariance, draws)
        log_proposal = -(PROPOSAL_DF + size) / 2 * np.log1p((proposal**2).sum(axis=1) / PROPOSAL_DF)
        log_weights = log_target - log_proposal + np.log(np.diag(spread)).sum()
        largest = log_weights.max()
        weights = np.exp(log_weights - largest)
        share = weights / weights.sum()
        if 1 / (share**2).sum() > PROPOSALS / 4:
            break
        # a skewed posterior: propose again from what the weighted draws show
        centre = share @ draws
        apart = draws - centre
        moments = (share[:, None] * apart).T @ apart + 0.01 * spread @ spread.T
        spread = np.linalg.cholesky(moments) * PROPOSAL_WIDTH
    evidence = float(largest + np.log(weights.mean())) + peak.of_noise  # sigma integrated out by Laplace
    return AtScale(peak.log_scale, evidence, peak.sigma, peak.log_sigma_sd, peak.covariance, draws, share)


def _sigma_prior(fit: xr.DataTree) -> tuple[float, float]:
    prior = Study.opened(fit).scatter.priors["sigma"].params
    return prior["mu"], prior["sigma"]


def _degrees_of_freedom(fit: xr.DataTree) -> float:
    if not Study.opened(fit).scatter.robust:
        return np.inf
    return 2.0 + float(fit["posterior"]["nu_minus_2"].median())


def _tilt(fit: xr.DataTree) -> float:
    return float(fit["posterior"]["tilt"].median())


def _allot(total: int, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How many of ``total`` draws each weight gets: systematic resampling."""
    edges = np.floor(np.cumsum(weights) * total + rng.uniform()).astype(int)
    edges[-1] = total
    return np.diff(np.minimum(edges, total), prepend=0)


def _new_noise(
    fit: xr.DataTree, sigma: np.ndarray, points: xr.Dataset, rng: np.random.Generator, apart: bool = False
) -> np.ndarray:
    """Noise of new runs [draw, point]."""
    scale, values = _new_noise_scale(fit, sigma, points)
    scatter = Study.opened(fit).scatter
    if apart:
        return scale * scatter.sample_noise(np.ones((len(scale), 1)), values, rng)
    return scatter.sample_noise(scale, values, rng)


def _new_noise_scale(
    fit: xr.DataTree, sigma: np.ndarray, points: xr.Dataset
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scale of the noise of new runs [draw, point], its trend with compute held at the edge of the data; and the
    parameters of the noise, each [draw, 1]."""
    study = Study.opened(fit)
    # sigma is the whole scale here, FINEST included
    scale = study.scatter.scale_at(study.covariate(points), study.draws | {"sigma": sigma[:, None]}) - FINEST
    return scale, study.draws
