"""Where chains start: local optima of the posterior, found from many prior draws and weighed by their evidence.

A law of many shapes (a break before or after the middle, an exponent that rises or falls) has poor local optima in
which a chain that starts there stays. So many prior draws climb at once, by damped Gauss-Newton on the scale where
each prior is a standard normal, with Student-t noise; every optimum is weighed by its Laplace evidence, and a chain
starts at one of them with that probability, a posterior's width away from it. Optima that the runs rule out start no
chain; the others are all visited, and r-hat shows whether chains move between them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.laws.formula import evaluate, names
from bayescale.laws.law import Law, loss_given, run_sizes, sample_priors, standard_parameters
from bayescale.laws.noises import NOISES
from bayescale.laws.priors import Prior, to_real
from bayescale.laws.scatter import transformed
from bayescale.study import Study

START_RUNS = 120  # a search over more would cost more and start no better
CLIMBING_DRAWS = 32  # the best of SEARCHED_DRAWS
SEARCHED_DRAWS = 512
CLIMB_STEPS_MAX = 40
STALLED_STEPS = 4  # without a gain above STALLED_LOG_GAIN end the climb
STALLED_LOG_GAIN = 1e-3
SCATTER_DF = 4.0
LOG_SIGMA = (-5.0, 1.0)  # centre and sd of the prior of the scatter's logarithm
STARTS = 64  # a chain takes one of them
Z_MAX = 6.0


def start_points(
    law: Law,
    inputs: Mapping[str, Any],
    seen: np.ndarray,
    unit: float,
    seed: int,
    *,
    worth: float = 1.0,
    censored: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    """Parameters [start] and scale of the scatter [start] to start chains at, or None if no prior draw is finite.

    Parameters
    ----------
    inputs : inputs [run] and reference constants of the law
    seen : what the noise scatters [run]: log loss, a value in units of ``unit``, or a share
    unit : of the observed values; 0 if they are logarithms
    worth : how many runs each of these stands for, where they are some of many
    censored : runs that show at least what is ``seen`` [run]; a law above that leaves nothing over
    """
    rng = np.random.default_rng([seed, 101])
    climb = _Climb(law, loss_given(law, inputs), seen, unit, worth, censored)
    z = rng.standard_normal((SEARCHED_DRAWS, len(law.priors)))
    with np.errstate(all="ignore"):
        residual = climb.residual(z)
        sigma = np.maximum(np.sqrt(np.median(residual**2, axis=1)) * 1.4826, 1e-4)
        value = climb.objective(z, residual, sigma)
        best = np.argsort(value)[:CLIMBING_DRAWS]
        best = best[np.isfinite(value[best])]
        if not best.size:
            return None
        z, sigma, value, precision = climb.to_the_top(z[best], sigma[best])
        modes, log_evidence = _modes(z, value, precision)
    weights = np.exp(log_evidence - log_evidence.max())
    chosen = rng.choice(modes, STARTS, p=weights / weights.sum())
    apart = rng.standard_normal((STARTS, z.shape[1], 1))
    root = np.linalg.cholesky(np.linalg.inv(precision[chosen]))
    moved = np.clip(z[chosen] + (root @ apart)[..., 0], -Z_MAX, Z_MAX)
    stays = ~np.isfinite(climb.residual(moved)).all(axis=1)
    moved[stays] = z[chosen][stays]
    scatter = sigma[chosen] * np.exp(rng.standard_normal(STARTS) / np.sqrt(2 * len(seen) * worth))
    return climb.parameters(moved), scatter


@dataclass(frozen=True)
class _Climb:
    """Log posterior of standardised parameters z [start, parameter], Student-t noise with its scale as another one."""

    law: Law
    loss: Callable[[Mapping[str, Any]], Any]  # of parameters, at the runs
    seen: np.ndarray
    unit: float
    worth: float
    censored: np.ndarray | None

    def parameters(self, z: np.ndarray) -> dict[str, np.ndarray]:
        return standard_parameters(self.law, np.clip(z, -Z_MAX, Z_MAX))

    def residual(self, z: np.ndarray) -> np.ndarray:
        values = {name: value[:, None] for name, value in self.parameters(z).items()}
        predicted = np.broadcast_to(self.loss(values), (len(z), len(self.seen)))
        left = self.seen - (predicted / self.unit if self.unit else transformed(predicted, self.law.observed.scale))
        return left if self.censored is None else np.where(self.censored, np.maximum(left, 0.0), left)

    def objective(self, z: np.ndarray, residual: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Negative log posterior [start]; infinite where the law is not finite."""
        scaled = (residual / sigma[:, None]) ** 2
        value = (SCATTER_DF + 1) / 2 * np.log1p(scaled / SCATTER_DF).sum(axis=1) + len(self.seen) * np.log(sigma)
        value *= self.worth
        value += 0.5 * (z**2).sum(axis=1) + 0.5 * ((np.log(sigma) - LOG_SIGMA[0]) / LOG_SIGMA[1]) ** 2
        return np.where(np.isfinite(value), value, np.inf)

    def to_the_top(self, z: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, ...]:
        """z, sigma, objective and precision [start, parameter, parameter] after damped Gauss-Newton steps."""
        count = z.shape[1]
        damping = np.ones(len(z))
        residual = self.residual(z)
        value = self.objective(z, residual, sigma)
        stalled = 0
        for _ in range(CLIMB_STEPS_MAX):
            slope, precision = self._slope(z, residual, sigma)
            damped = precision + damping[:, None, None] * np.eye(count) * np.einsum("ijj->ij", precision)[:, None, :]
            try:
                step = np.linalg.solve(damped, slope[..., None])[..., 0]
            except np.linalg.LinAlgError:
                break
            tried = np.clip(z + np.clip(step, -2.0, 2.0), -Z_MAX, Z_MAX)
            tried_residual = self.residual(tried)
            tried_sigma = self._sigma(tried_residual, sigma)
            tried_value = self.objective(tried, tried_residual, tried_sigma)
            better = tried_value < value
            stalled = 0 if (value - tried_value > STALLED_LOG_GAIN).any() else stalled + 1
            z, residual = (np.where(better[:, None], a, b) for a, b in ((tried, z), (tried_residual, residual)))
            sigma, value = (np.where(better, a, b) for a, b in ((tried_sigma, sigma), (tried_value, value)))
            damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-6, 1e6)
            if stalled == STALLED_STEPS:
                break
        return z, sigma, value, self._slope(z, residual, sigma)[1]

    def _sigma(self, residual: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        weight = (SCATTER_DF + 1) / (SCATTER_DF + (residual / sigma[:, None]) ** 2)
        return np.clip(np.sqrt((weight * residual**2).mean(axis=1)), 2e-4, 2.0)

    def _slope(self, z: np.ndarray, residual: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope [start, parameter] of the log posterior, and its Gauss-Newton precision."""
        (starts, count), h = z.shape, 1e-4
        moved = self.residual((z[:, None] + h * np.eye(count)).reshape(-1, count)).reshape(starts, count, -1)
        jacobian = (residual[:, None] - moved) / h  # [start, parameter, run]
        jacobian[~np.isfinite(jacobian)] = 0.0
        weight = (SCATTER_DF + 1) / (SCATTER_DF + (residual / sigma[:, None]) ** 2) / sigma[:, None] ** 2 * self.worth
        weighted = jacobian * weight[:, None]
        return (weighted @ residual[..., None])[..., 0] - z, weighted @ jacobian.transpose(0, 2, 1) + np.eye(count)


def _modes(z: np.ndarray, value: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of optima that are not the same one, the best first, and the Laplace evidence of each."""
    kept: list[int] = []
    for i in np.argsort(value):
        if not np.isfinite(value[i]):
            break
        apart = [z[i] - z[k] for k in kept]
        if all(d @ precision[k] @ d > 2 * len(d) for k, d in zip(kept, apart, strict=True)):
            kept.append(int(i))
    modes = np.array(kept)
    return modes, -value[modes] - 0.5 * np.linalg.slogdet(precision[modes])[1]


def unbounded(values: Mapping[str, np.ndarray], priors: Mapping[str, Prior]) -> np.ndarray:
    """The starts as the sampler counts positions [start, parameter], in the order of ``priors``."""
    columns = [to_real(prior, np.asarray(values[name], dtype=float)) for name, prior in priors.items()]
    return np.clip(np.stack(columns, axis=1), -30.0, 30.0)


def start_positions(study: Study, seed: int) -> np.ndarray:
    """Where chains may start, as the sampler counts [start, parameter]."""
    law, unit = study.law, study.scatter.unit
    # an even selection over the sizes of many runs is enough to start from
    order = np.argsort(run_sizes(law, study.runs), kind="stable")
    some = study.part(order[np.linspace(0, len(order) - 1, min(len(order), START_RUNS)).astype(int)])
    worth = len(order) / some.runs.sizes["run"]
    start_unit = 0.0 if law.observed.scale in ("log", "share") else unit
    inputs, hidden = some.inputs() | dict(study.constants), some.censored if some.censored.any() else None
    found = start_points(law, inputs, some.seen.values / unit, start_unit, seed, worth=worth, censored=hidden)
    rng = np.random.default_rng([seed, 102])
    if found is None:  # no draw from the prior has a finite density at every run
        found = sample_priors(law, STARTS, rng), np.full(STARTS, 0.05)
    values, sigma = found
    scatter = {}
    for name, formula in NOISES[study.scatter.noise].starts.items():
        of = {"sigma": sigma} | ({"normal": rng.standard_normal(len(sigma))} if "normal" in names(formula) else {})
        scatter[name] = evaluate(formula, of)
    for name in study.scatter.priors:  # of groups, which start nearly alike
        if name not in scatter:
            scatter[name] = 0.05 * rng.standard_normal(len(sigma))
    return unbounded(values | scatter, study.priors)
