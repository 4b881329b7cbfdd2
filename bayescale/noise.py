"""How a measured loss scatters around the law: a noise is priors, a density in the model, and draws for a forecast.

The observable is always the logarithm of the loss, so that laws and noises can be compared by LOO. The scale of the
scatter may change with compute: ``sigma * exp(tilt * x)`` with ``x`` = log(C / C_ref), and ``x`` is held at the edge
of the data beyond it: a trend of the noise is learnt, not extrapolated. FINEST is added to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from bayescale.formula import evaluate, parse
from bayescale.law import Prior

_SCALE = {
    "sigma": Prior("LogNormal", {"mu": -5.0, "sigma": 1.0}, "scatter of log loss at the runs' mean log compute"),
    "tilt": Prior("Normal", {"mu": 0.0, "sigma": 0.2}, "change of log(sigma) with log compute"),
}


# no loss is measured, or printed, more finely than this share of it: keeps runs without any scatter from sending the
# scale to 0, where no chain converges
FINEST = 1e-4
SCALE = parse(f"{FINEST} + sigma*exp(tilt*log_compute)")  # one expression for model, density and forecast


@dataclass(frozen=True)
class Noise:
    about: str
    priors: Mapping[str, Prior]
    robust: bool  # Student-t tails instead of normal ones


NOISES = {
    "student_t": Noise(
        "Student-t with nu = 2 + nu_minus_2: a few bad runs do not move the law",
        _SCALE | {"nu_minus_2": Prior("Gamma", {"alpha": 2.0, "beta": 0.1}, "degrees of freedom above 2")},
        robust=True,
    ),
    "normal": Noise("normal: every run counts alike, outliers included", _SCALE, robust=False),
}


def noise_scale(values: Mapping[str, Any], log_compute: Any) -> Any:
    """Scale of the scatter of log loss; ``log_compute`` is log(C / C_ref), held at the edge of the data beyond it."""
    return evaluate(SCALE, {"sigma": values["sigma"], "tilt": values["tilt"], "log_compute": log_compute})


def log_density(noise: Noise, residual: Any, scale: Any, values: Mapping[str, Any]) -> Any:
    """Log density of ``residual`` (observed minus predicted log loss)."""
    z = residual / scale
    if not noise.robust:
        return -0.5 * z**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
    nu = 2 + values["nu_minus_2"]
    constant = special.gammaln((nu + 1) / 2) - special.gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
    return constant - np.log(scale) - (nu + 1) / 2 * np.log1p(z**2 / nu)


def cumulative(noise: Noise, residual: Any, scale: Any, values: Mapping[str, Any]) -> Any:
    """P(scatter <= ``residual``), the distribution function of :func:`log_density`."""
    z = residual / scale
    return special.stdtr(2 + values["nu_minus_2"], z) if noise.robust else special.ndtr(z)


def sample_noise(noise: Noise, scale: Any, values: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draws of the scatter of log loss, of the shape of ``scale`` [..., run]; ``values`` are [...]."""
    scale = np.asarray(scale)
    if not noise.robust:
        return scale * rng.standard_normal(scale.shape)
    nu = np.broadcast_to((2 + np.asarray(values["nu_minus_2"]))[..., None], scale.shape)
    return scale * rng.standard_t(nu)
