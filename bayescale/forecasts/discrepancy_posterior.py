"""The posterior of a study with the discrepancy integrated out, at every scale of it that counts.

For each scale on a grid, Gauss-Newton to the mode of the law's parameters (on the scale where each prior is a standard
normal) with the drift integrated out; Student-t noise as a scale mixture (EM); a Student-t proposal at the mode,
importance-weighted. No compilation, about 0.3 s for 200 runs. The law's own parameters are reported from the fit
without drift, which is what the literature's constants mean.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayescale.forecasts.discrepancy import (
    Cells,
    Covariance,
    DriftPrior,
    basis_of,
    cells_of,
    prior_of,
    slope_of,
    tail_df_of,
)
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import log_weight as log_weight_of
from bayescale.laws.law import standard_parameters
from bayescale.laws.priors import to_normal
from bayescale.study import Study

LOG_SCALES = np.arange(-6.5, -0.4, 0.5)  # grid of the drift's scale: 0.15 % to 60 % of the loss
NEGLIGIBLE_LOG_PROBABILITY = 14.0  # below the best: such scales of the drift are left out
PROPOSAL_DRAWS = 800  # importance draws at each scale
EM_STEPS = 30
EM_STILL_STEPS = 2  # in a row that move sigma by less than .5 % end it
GAUSS_NEWTON_STEPS = 4
PROPOSAL_ROUNDS = 3  # at most, while proposals fit badly
PROPOSAL_DF = 8.0  # of the Student-t: slightly wider than the Laplace approximation
PROPOSAL_WIDTH = 1.15
SIGMA_RANGE = (1e-4, 0.3)


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
class Discrepancy:
    """The posterior of a study with its discrepancy: what forecasts are drawn from.

    Attributes
    ----------
    study : of a fit
    prior : of the drift, at the slope of the runs
    cells : the runs, pooled where there are many
    by_scale : the posterior given each scale of the drift that counts
    """

    study: Study
    prior: DriftPrior
    cells: Cells
    by_scale: tuple[AtScale, ...]

    @property
    def probabilities(self) -> np.ndarray:
        """Posterior probability of every scale."""
        log_evidence, log_scales = np.array([(at.log_evidence, at.log_scale) for at in self.by_scale]).T
        log_weights = log_evidence + self.prior.log_density(log_scales)
        weights = np.exp(log_weights - log_weights.max())
        return weights / weights.sum()

    @functools.cached_property
    def mean_pulls(self) -> tuple[np.ndarray, ...]:
        """Of every scale, the mean residual of the law over the covariance [cell]."""
        law = self.study.standardised(self.cells.inputs)
        residuals = (self.cells.log_loss - at.weights @ law(at.draws) for at in self.by_scale)
        return tuple(
            at.covariance.solve(left[:, None])[:, 0] for at, left in zip(self.by_scale, residuals, strict=True)
        )

    @property
    def effective_draws(self) -> float:
        """Effective importance draws behind a forecast: of each scale, mixed by the scales' probabilities."""
        ess = np.array([1 / (at.weights**2).sum() for at in self.by_scale])
        return float(1 / (self.probabilities**2 / ess).sum())


@one_blas_thread()
def discrepancy_of(study: Study, prior: DriftPrior | None = None, *, every: bool = False) -> Discrepancy:
    """The posterior of a study's parameters, drift integrated out, at every scale of LOG_SCALES that counts.

    Parameters
    ----------
    study : of a fit; :meth:`bayescale.study.Study.once` keeps the answer
    prior : of the drift; the shipped one by default
    every : all scales of the grid, however improbable, as another prior would need them
    """
    prior = prior or prior_of(study.law, study.runs)
    model, start = _model(study, prior), _start(study)
    slope = slope_of(study, study.standardised()(start)[0])
    prior = replace(prior, slope=None) if slope is None else prior.at_slope(slope)
    basis = basis_of(model.cells.where, prior.length)
    mode = _Mode(start, study.medians["sigma"], np.ones(len(model.cells.log_loss)))
    peaks: list[_Peak] = []
    for log_scale in LOG_SCALES:
        scaled = np.exp(log_scale) * basis
        mode = _mode(model, scaled, mode)
        peaks.append(_peak(model, scaled, mode, float(log_scale)))
        log_mass = np.array([peak.log_evidence for peak in peaks]) + prior.log_density(LOG_SCALES[: len(peaks)])
        counts = (log_mass > log_mass.max() - NEGLIGIBLE_LOG_PROBABILITY) | every
        if not counts[-1] and log_mass[-1] < log_mass[-2]:
            break  # a rule of thumb: larger scales have been seen to be less probable still
    rng = np.random.default_rng(int(study.attrs["seed"]))
    kept = [peak for peak, counted in zip(peaks, counts, strict=True) if counted]
    return Discrepancy(study, prior, model.cells, tuple(_weighted_draws(model, peak, rng) for peak in kept))


# ---- the mode at each scale -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Model:
    """What is the same at every scale of the drift."""

    log_law: Callable[[np.ndarray], np.ndarray]  # of standardised parameters, at the cells
    log_weight: Callable[[np.ndarray], np.ndarray]  # what is believed of quantities made of them [draw]
    weighted: bool  # whether there is such a belief
    cells: Cells
    nu: float  # degrees of freedom of the noise; infinite for normal noise
    sigma_prior: tuple[float, float]  # mean and sd of log sigma


@dataclass(frozen=True)
class _Mode:
    """Where EM has come to."""

    z: np.ndarray  # standardised parameters
    sigma: float
    inflation: np.ndarray  # of each cell's noise variance, by the mixture of normals that a Student-t is


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


def _model(study: Study, prior: DriftPrior) -> _Model:
    cells, of_sigma = cells_of(study), study.scatter.priors["sigma"].params

    def log_weight(z: np.ndarray) -> np.ndarray:
        if not study.law.weights:
            return np.zeros(len(z))
        with np.errstate(all="ignore"):  # far from all runs
            weights = log_weight_of(study.law, standard_parameters(study.law, z) | dict(study.constants))
        return np.nan_to_num(np.broadcast_to(weights, len(z)), nan=-np.inf)

    nu = float(tail_df_of(study, prior, study.medians))
    sigma_prior = of_sigma["mu"], of_sigma["sigma"]
    return _Model(study.standardised(cells.inputs), log_weight, bool(study.law.weights), cells, nu, sigma_prior)


def _start(study: Study) -> np.ndarray:
    """Standardised parameters at the posterior median of the fit."""
    medians = {name: np.median(study.posterior[name].values) for name in study.law.priors}
    return np.array([to_normal(prior, medians[name]) for name, prior in study.law.priors.items()])


def _mode(model: _Model, basis: np.ndarray, mode: _Mode) -> _Mode:
    """EM over the Student-t's scale mixture and sigma, with Gauss-Newton steps of the parameters inside."""
    cells, nu, (centre, width) = model.cells, model.nu, model.sigma_prior
    z, sigma, inflation = mode.z, mode.sigma, mode.inflation
    residual = (cells.log_loss - model.log_law(z)).T  # [cell, 1]
    still = 0
    for _ in range(EM_STEPS):
        expected = cells.noise(sigma)
        noise, share = expected * inflation, sigma**2 * cells.variance / expected  # that sigma is to explain
        covariance = Covariance.of(basis, noise)
        for _ in range(GAUSS_NEWTON_STEPS):
            solved, hessian, pull = _curvature(model, covariance, z)
            move = np.linalg.solve(hessian, solved.T @ residual[:, 0] - z + pull)
            z, residual, moved = _line_search(model, covariance, z, move, residual)
            if not moved:
                break
        # posterior mean and variance of each run's noise, from which its inflation and sigma follow
        mean = noise * covariance.solve(residual)[:, 0]
        leverage = noise[:, None] * solved
        variance = noise - noise**2 * covariance.inverse_diagonal()
        variance = variance + np.einsum("ij,jk,ik->i", leverage, np.linalg.inv(hessian), leverage)
        square = (mean**2 + np.maximum(variance, 0.0)) / expected
        if np.isfinite(nu):
            inflation = (nu + square) / (nu + 1)
        count, log_fit = share.sum(), np.log(sigma) + 0.5 * np.log(share @ (square / inflation) / share.sum())
        new_sigma = np.exp((2 * count * log_fit + centre / width**2) / (2 * count + 1 / width**2))
        new_sigma = float(np.clip(new_sigma, *SIGMA_RANGE))
        still = still + 1 if abs(np.log(new_sigma / sigma)) < 0.005 else 0
        sigma = new_sigma
        if still == EM_STILL_STEPS:
            break
    return _Mode(z, sigma, inflation)


def _curvature(model: _Model, covariance: Covariance, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """covariance**-1 @ J [cell, parameter], the Gauss-Newton Hessian, and the slope of the log weights [parameter].

    J is by central differences of one evaluation; so are slope and curvature of the weights, and of the latter only
    what is upright counts.
    """
    step, size = 1e-4, len(z)
    shifts = step * np.eye(size)
    values = model.log_law(np.concatenate([z + shifts, z - shifts]))
    jacobian = ((values[:size] - values[size:]) / (2 * step)).T
    solved = covariance.solve(jacobian)
    hessian = jacobian.T @ solved + np.eye(size)
    if not model.weighted:
        return solved, hessian, np.zeros(size)
    step = 1e-3  # second differences lose twice as many digits
    shifts = step * np.eye(size)
    signs = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    pairs = signs[:, 0, None, None, None] * shifts[:, None] + signs[:, 1, None, None, None] * shifts  # [sign, i, j, z]
    weights = model.log_weight((z + pairs).reshape(-1, size)).reshape(4, size, size)
    curvature = -(weights[0] - weights[1] - weights[2] + weights[3]) / (4 * step**2)
    ends = model.log_weight(np.concatenate([z + shifts, z - shifts]))
    found, axes = np.linalg.eigh((curvature + curvature.T) / 2)
    return solved, hessian + (axes * np.maximum(found, 0)) @ axes.T, (ends[:size] - ends[size:]) / (2 * step)


def _line_search(
    model: _Model, covariance: Covariance, z: np.ndarray, move: np.ndarray, residual: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The parameters after the longest step that gains, their residual, and whether that step was worth another."""
    now = covariance.squares(residual)[0] + z @ z - 2 * model.log_weight(z[None])[0]
    for length in (1.0, 0.5, 0.25, 0.1, 0.02):
        candidate = z + length * move
        tried = (model.cells.log_loss - model.log_law(candidate)).T
        if covariance.squares(tried)[0] + candidate @ candidate - 2 * model.log_weight(candidate[None])[0] < now:
            return candidate, tried, length * np.abs(move).max() > 1e-3
    return z, residual, False


def _peak(model: _Model, basis: np.ndarray, mode: _Mode, log_scale: float) -> _Peak:
    """The mode at one scale of the drift and the curvature there."""
    cells, nu, (centre, width) = model.cells, model.nu, model.sigma_prior
    z, sigma, inflation = mode.z, mode.sigma, mode.inflation
    covariance = Covariance.of(basis, cells.noise(sigma) * inflation)
    _, hessian, _ = _curvature(model, covariance, z)
    residual = (cells.log_loss - model.log_law(z))[0]
    share = np.mean((sigma**2 * cells.variance / cells.noise(sigma)) ** 2)  # known errors do not move with sigma
    there, curvature = covariance.log_density(residual), share * covariance.curvature(residual)
    # sd of log sigma, by Laplace at the mode of everything else, never wider than its prior
    sigma_sd = float(1 / np.sqrt(max(curvature, 0.0) + 1 / width**2))
    of_noise = np.log(sigma_sd) - 0.5 * ((np.log(sigma) - centre) / width) ** 2
    if np.isfinite(nu):  # density of the mixture's scales at their values
        of_noise += float((-nu / 2 * np.log(inflation) - nu / (2 * inflation)).sum())
    there += model.log_weight(z[None])[0]
    log_evidence = there - 0.5 * z @ z - 0.5 * np.linalg.slogdet(hessian)[1] + of_noise
    return _Peak(log_scale, float(log_evidence), z, hessian, sigma, sigma_sd, float(of_noise), covariance)


# ---- the draws at each scale ----------------------------------------------------------------------------------------


def _log_target(model: _Model, covariance: Covariance, z: np.ndarray) -> np.ndarray:
    """Log posterior of standardised parameters z [draw, parameter], the noise given."""
    squares = covariance.squares((model.cells.log_loss - model.log_law(z)).T)
    return -0.5 * squares - covariance.half_log_determinant - 0.5 * (z**2).sum(axis=1) + model.log_weight(z)


def _weighted_draws(model: _Model, peak: _Peak, rng: np.random.Generator) -> AtScale:
    """Student-t proposals at the mode with importance weights; the evidence of this scale of the drift."""
    size = len(peak.z)
    spread = np.linalg.cholesky(np.linalg.inv(peak.hessian)) * PROPOSAL_WIDTH
    centre = peak.z
    for _ in range(PROPOSAL_ROUNDS):
        proposal = rng.standard_normal((PROPOSAL_DRAWS, size))
        proposal /= np.sqrt(rng.chisquare(PROPOSAL_DF, (PROPOSAL_DRAWS, 1)) / PROPOSAL_DF)
        draws = centre + proposal @ spread.T
        log_target = _log_target(model, peak.covariance, draws)
        log_proposal = -(PROPOSAL_DF + size) / 2 * np.log1p((proposal**2).sum(axis=1) / PROPOSAL_DF)
        log_weights = log_target - log_proposal + np.log(np.diag(spread)).sum()
        largest = log_weights.max()
        weights = np.exp(log_weights - largest)
        share = weights / weights.sum()
        if 1 / (share**2).sum() > PROPOSAL_DRAWS / 4:
            break
        # a skewed posterior: propose again from what the weighted draws show
        centre = share @ draws
        apart = draws - centre
        moments = (share[:, None] * apart).T @ apart + 0.01 * spread @ spread.T
        spread = np.linalg.cholesky(moments) * PROPOSAL_WIDTH
    evidence = float(largest + np.log(weights.mean())) + peak.of_noise  # sigma integrated out by Laplace
    return AtScale(peak.log_scale, evidence, peak.sigma, peak.log_sigma_sd, peak.covariance, draws, share)
