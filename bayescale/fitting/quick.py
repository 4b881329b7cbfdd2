"""Model -> draws without Markov chains: importance sampling from a Student-t that is fitted to the posterior.

The optima of the log posterior and the curvature there give the first proposal (Laplace); up to three rounds of
sampling move its mean and covariance to those of the weighted draws (adaptive importance sampling); a last, larger
round is weighed, its largest weights are smoothed (PSIS), and the draws are resampled from it. The shape k of the tail
of the weights says whether that can be trusted: see Vehtari, Simpson, Gelman, Yao, Gabry 2024, arXiv:1507.02646.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayescale.engine.model import Model, density_of, log_densities
from bayescale.fitting.diagnostics import ESS_MIN, PARETO_K_MAX, check_convergence
from bayescale.fitting.draws import smoothed_weights
from bayescale.fitting.starts import START_RUNS
from bayescale.fitting.tree import as_dataset
from bayescale.laws.priors import Prior, from_real

STUDENT_DF = 8.0  # of the proposal: its tails must be heavier than those of the posterior
ROUND_DRAWS = (2000, 2000, 4000)  # adapt the proposal
EFFECTIVE_SHARE_ENOUGH = 0.7  # of the draws: the proposal is then good enough to stop adapting
FINAL_DRAWS_MIN = 16_000
FINAL_ROUNDS_MAX = 2  # k has an error of its own, and the first proposal may be a guess
CLIMBS_MIN = 2  # from starts far apart: with few runs two optima may lie close together
CLIMBS_MAX = 10
ONE_OPTIMUM_SQUARED_SD = 0.01  # per parameter: closer optima are one
BASIN_SQUARED_SD = 9.0  # per parameter: a start this close to an optimum leads there
FULL_DRAWS_RUNS_MAX = 20_000  # with more runs the posterior is closer to normal and a density costs more: fewer draws
NEWTON_STEPS_MAX = 30  # a good start needs few; others take quasi-Newton steps first
STEP_HALVINGS_MAX = 12  # while a step does not gain
RIVAL_LOG_MASS = 10.0  # below the best (Laplace); optima of less mass are left out
GRADIENT_STEP = 1e-4  # of the differences that give the curvature


# log density [draw], -inf where it fails, and gradient [draw, parameter] at positions [draw, parameter]
Gradients = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class NotTrusted(Exception):
    """The quick answer does not vouch for itself; the message says why."""


def approximate(
    model: Model, priors: Mapping[str, Prior], draws: int, chains: int, seed: int
) -> tuple[dict[str, Any], xr.Dataset, xr.Dataset, dict[str, Any]]:
    """Convergence, posterior, statistics and setting like those of :func:`bayescale.fitting.sampling.best_attempt`.

    Raises NotTrusted if the log posterior has no curvature at its optimum or is not finite around it, if the first
    guess is too far from it, if Pareto k is above its limit, or if too few of the weighted draws count.

    Parameters
    ----------
    model : over the real line of each of ``priors``
    """
    try:
        return _approximate(model, priors, draws, chains, seed)
    except np.linalg.LinAlgError:
        raise NotTrusted("the curvature at the optimum is singular") from None


def _approximate(
    model: Model, priors: Mapping[str, Prior], draws: int, chains: int, seed: int
) -> tuple[dict[str, Any], xr.Dataset, xr.Dataset, dict[str, Any]]:
    rng = np.random.default_rng([seed, 103])
    rows = model.rows
    fewer = min(1.0, FULL_DRAWS_RUNS_MAX / rows) ** (2 / 3)
    proposal = _laplace(_gradients(model), model.start, rows)
    for count in ROUND_DRAWS:
        position, log_weight, _ = _weighed(model, proposal, round(count * fewer), rng)
        if _effective(log_weight) > EFFECTIVE_SHARE_ENOUGH * len(log_weight):
            break
        proposal = _moments(position, log_weight)
    count = round(max(FINAL_DRAWS_MIN, 4 * draws * chains) * fewer)
    for i in range(FINAL_ROUNDS_MAX):
        position, log_weight, pareto_k = _weighed(model, proposal, count, rng)
        if pareto_k <= PARETO_K_MAX:
            break
        if i < FINAL_ROUNDS_MAX - 1:
            proposal = _moments(position, log_weight)
    weight = np.exp(log_weight - logsumexp(log_weight))
    ess = _effective(log_weight)
    if not pareto_k <= PARETO_K_MAX:
        raise NotTrusted(f"Pareto k of the importance weights is {pareto_k:.3f} (at most {PARETO_K_MAX})")
    if ess < max(ESS_MIN, draws * chains / 2 * fewer):
        raise NotTrusted(f"of {count} weighted draws {ess:.0f} count")
    kept = position[_resampled(weight, draws * chains, rng)].reshape(chains, draws, -1)
    posterior = as_dataset({name: from_real(prior, kept[..., i]) for i, (name, prior) in enumerate(priors.items())})
    stats = as_dataset({"diverging": np.zeros((chains, draws), dtype=bool)})
    convergence = check_convergence(posterior, stats)
    if not convergence["converged"]:
        raise NotTrusted(convergence["why"])
    convergence |= {"method": "importance", "pareto_k": pareto_k, "draws_asked": draws, "draws_made": draws}
    return convergence, posterior, stats, {"draws_made": draws, "proposals": count}


def _resampled(weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Which draws are kept [count], each as often as its weight says, to within one (systematic resampling).

    Proposals are independent, so their order is as good as any, and in it copies of a draw stand side by side: ArviZ's
    effective draws, and with them the gate and every Monte Carlo error, see that they are one. Shuffled they would pass
    for independent draws.
    """
    at = (rng.uniform() + np.arange(count)) / count
    return np.searchsorted(np.cumsum(weight), at, side="left").clip(max=len(weight) - 1)


def _gradients(model: Model) -> Gradients:
    density = density_of(model)

    def one_by_one(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [density(x) for x in position]
        return np.array([value for value, _ in found]), np.stack([gradient for _, gradient in found])

    return one_by_one


def _laplace(gradients: Gradients, start: np.ndarray, rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance at every optimum that starts lead to and that has some of the posterior's mass.

    The next start to climb is the one farthest from all optima found, until none is far from all of them. The starts
    come from START_RUNS of the runs: of many they are as far from the optimum as so few runs can tell.
    """
    least = CLIMBS_MIN if rows < FULL_DRAWS_RUNS_MAX else 1
    near = BASIN_SQUARED_SD * max(1.0, rows / START_RUNS)
    found: list[tuple[float, np.ndarray, np.ndarray]] = []  # log mass, optimum, precision
    left = start
    for climb in range(1, CLIMBS_MAX + 1):
        value, x = _climbed(gradients, left[0])
        precision = _precision(gradients, x)
        if not np.isfinite(precision).all():
            raise NotTrusted("the posterior is not finite around its optimum")
        eigenvalues = np.linalg.eigvalsh(precision)
        if not eigenvalues[0] > 0:
            raise NotTrusted("the posterior has no curvature at its optimum")
        if not any((x - at) @ p @ (x - at) < ONE_OPTIMUM_SQUARED_SD * len(x) for _, at, p in found):
            found.append((value - 0.5 * np.log(eigenvalues).sum(), x, precision))
        left = left[1:]
        if not len(left):
            break
        apart = np.min([np.einsum("si,ij,sj->s", left - at, p, left - at) for _, at, p in found], axis=0)
        left = left[np.argsort(-apart)]
        if apart.max() < near * len(x) and climb >= least:
            break
    most = max(mass for mass, _, _ in found)
    return [(x, np.linalg.inv(precision)) for mass, x, precision in found if mass > most - RIVAL_LOG_MASS]


def _climbed(gradients: Gradients, start: np.ndarray) -> tuple[float, np.ndarray]:
    """Log density and position of the optimum that a start leads to.

    By Newton's steps, of which a good start needs few; from others, quasi-Newton ones come first.
    """
    value, x, there = _newton(gradients, start)
    if not there:
        from scipy.optimize import minimize

        def downhill(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = gradients(x[None])
            return (-value[0], -gradient[0]) if np.isfinite(value[0]) else (1e300, np.zeros_like(x))

        found = minimize(downhill, x, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-13})
        value, x, there = _newton(gradients, found.x)
    if not there:
        raise NotTrusted("an optimum of the posterior is not found")
    return value, x


def _newton(gradients: Gradients, start: np.ndarray) -> tuple[float, np.ndarray, bool]:
    """Log density, position, and whether it is an optimum: no step gains."""

    def density(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = gradients(x[None])
        return value[0], gradient[0]

    x, (value, gradient) = start, density(start)
    for _ in range(NEWTON_STEPS_MAX):
        eigenvalues, vectors = np.linalg.eigh(_precision(gradients, x))
        # along a direction without curvature: at most as far as the prior's own scale
        step = vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(eigenvalues), 1.0))
        tries = (x + step * 0.5**k for k in range(STEP_HALVINGS_MAX))
        found = next(((tried, at) for tried in tries if (at := density(tried))[0] > value + 1e-9), None)
        if found is None:
            return value, x, True
        x, (value, gradient) = found
    return value, x, False


def _precision(gradients: Gradients, x: np.ndarray) -> np.ndarray:
    """Minus the Hessian, from central differences of the gradient."""
    steps = GRADIENT_STEP * np.eye(len(x))
    before, after = np.split(gradients(np.concatenate([x - steps, x + steps]))[1], 2)
    rows = (before - after) / (2 * GRADIENT_STEP)
    return (rows + rows.T) / 2


def _weighed(
    model: Model, proposal: list[tuple[np.ndarray, np.ndarray]], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions [draw, parameter] from an even mixture of Student-t's, smoothed log weights [draw] and Pareto k."""
    dim = len(proposal[0][0])
    roots = [np.linalg.cholesky(covariance) for _, covariance in proposal]
    which = rng.integers(len(proposal), size=count)
    scaled = rng.standard_normal((count, dim)) * np.sqrt(STUDENT_DF / rng.chisquare(STUDENT_DF, count))[:, None]
    position = np.empty((count, dim))
    for k, ((mean, _), root) in enumerate(zip(proposal, roots, strict=True)):
        position[which == k] = mean + scaled[which == k] @ root.T
    parts = []
    for (mean, _), root in zip(proposal, roots, strict=True):
        distance = (np.linalg.solve(root, (position - mean).T) ** 2).sum(axis=0)
        parts.append(-np.log(np.diag(root)).sum() - (STUDENT_DF + dim) / 2 * np.log1p(distance / STUDENT_DF))
    log_weight = log_densities(model, position) - logsumexp(parts, axis=0)
    if not np.isfinite(log_weight).any():
        raise NotTrusted("the posterior is not finite around its optimum")
    log_weight = np.maximum(log_weight, np.max(log_weight) - 700.0)  # no weight at all, but a number
    smoothed, pareto_k = smoothed_weights(log_weight)
    return position, smoothed, float(pareto_k)


def _effective(log_weight: np.ndarray) -> float:
    """How many even draws the weighted ones are worth."""
    return float(np.exp(2 * logsumexp(log_weight) - logsumexp(2 * log_weight)))


def _moments(position: np.ndarray, log_weight: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance of weighted draws, as the next proposal."""
    weight = np.exp(log_weight - logsumexp(log_weight))
    if _effective(log_weight) < 5 * position.shape[1]:
        raise NotTrusted("the posterior is too far from the shape of the first guess")
    mean = weight @ position
    centred = position - mean
    return [(mean, (centred * weight[:, None]).T @ centred)]
