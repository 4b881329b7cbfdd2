"""How a measured loss scatters around the law: a noise is priors, a density in the model, and draws for a forecast.

What scatters is the logarithm of the loss (or of whatever the law file says is observed), so that laws and noises can
be compared by LOO. The scale of the scatter may change with compute: ``sigma * exp(tilt * x)`` with ``x`` =
log(C / C_ref), and ``x`` is held at the edge of the data beyond it: a trend of the noise is learnt, not extrapolated.
FINEST is added to it. A quantity that may be negative scatters itself, in units of the range of the observed values. A
proportion is a count out of a known number of items, with more scatter than independent items would have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from bayescale.formula import evaluate, parse
from bayescale.priors import Prior

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
    observed: tuple[str, ...]  # the scales of observed quantities that it is for
    robust: bool = False  # Student-t tails instead of normal ones


NOISES = {
    "student_t": Noise(
        "Student-t with nu = 2 + nu_minus_2: a few bad runs do not move the law",
        _SCALE | {"nu_minus_2": Prior("Gamma", {"alpha": 2.0, "beta": 0.1}, "degrees of freedom above 2")},
        ("log", "linear"),
        robust=True,
    ),
    "normal": Noise("normal: every run counts alike, outliers included", _SCALE, ("log", "linear")),
    "beta_binomial": Noise(
        "beta-binomial: a share of items that are more alike than independent ones",
        {
            "overdispersion": Prior(
                "LogitNormal", {"mu": -5.0, "sigma": 1.5}, "correlation of two items of one run; 0 is binomial"
            )
        },
        ("proportion",),
    ),
}
SHARE_EDGE = 1e-9  # a law's proportion is kept this far inside (0, 1)


def default_noise(scale: str) -> str:
    """The noise of a law whose observed quantity is on this scale (see ``OBSERVED_SCALES``)."""
    return next(name for name, noise in NOISES.items() if scale in noise.observed)


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


def sample_noise(noise: Noise, scale: Any, values: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draws of the scatter of log loss, of the shape of ``scale`` [..., run]; ``values`` are [...]."""
    scale = np.asarray(scale)
    if not noise.robust:
        return scale * rng.standard_normal(scale.shape)
    nu = np.broadcast_to((2 + np.asarray(values["nu_minus_2"]))[..., None], scale.shape)
    return scale * rng.standard_t(nu)


def beta_binomial_parameters(share: Any, overdispersion: Any, clip: Any = np.clip) -> tuple[Any, Any]:
    """alpha and beta of the beta-binomial with this mean and this correlation between two items."""
    share = clip(share, SHARE_EDGE, 1 - SHARE_EDGE)
    size = 1 / overdispersion - 1
    return share * size, (1 - share) * size


def log_mass(successes: Any, count: Any, share: Any, overdispersion: Any) -> Any:
    """Log probability of ``successes`` out of ``count`` items under the beta-binomial."""
    alpha, beta = beta_binomial_parameters(share, overdispersion)
    choose = -np.log(count + 1) - special.betaln(count - successes + 1, successes + 1)
    return choose + special.betaln(successes + alpha, count - successes + beta) - special.betaln(alpha, beta)


def sample_share(count: Any, share: Any, overdispersion: Any, rng: np.random.Generator) -> np.ndarray:
    """Draws of the share of ``count`` items that a new run gets right, of the shape of ``share``."""
    alpha, beta = beta_binomial_parameters(np.asarray(share), overdispersion)
    items = np.broadcast_to(np.asarray(np.round(count), dtype=int), alpha.shape)
    return rng.binomial(items, rng.beta(alpha, beta)) / items
