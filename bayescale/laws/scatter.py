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
import scipy

from bayescale.laws.formula import Node, evaluate, parse, substitute
from bayescale.laws.priors import Prior

_SCALE = {
    "sigma": Prior(
        "LogNormal", {"mu": -5.0, "sigma": 1.0}, "scatter of log loss at the runs' mean log size (compute, for N and D)"
    ),
    "tilt": Prior("Normal", {"mu": 0.0, "sigma": 0.2}, "change of log(sigma) with log size"),
}


# no loss is measured, or printed, more finely than this share of it: keeps runs without any scatter from sending the
# scale to 0, where no chain converges
FINEST = 1e-4
SCALE = parse(f"{FINEST} + sigma*exp(tilt*log_compute)")  # one expression for model, density and forecast


NORMAL = parse("-0.5*(residual/scale)**2 - log(scale) - 0.9189385332046727")  # log(2 pi)/2
STUDENT_T = parse(
    "gammaln((nu_minus_2 + 3)/2) - gammaln((nu_minus_2 + 2)/2) - log(3.141592653589793*(nu_minus_2 + 2))/2 "
    "- log(scale) - (nu_minus_2 + 3)/2*log1p((residual/scale)**2/(nu_minus_2 + 2))"
)
SHARE_EDGE = 1e-9  # a law's proportion is kept this far inside (0, 1)
INSIDE = parse(f"minimum(maximum(share, {SHARE_EDGE}), 1 - {SHARE_EDGE})")
SIZE = parse("1/overdispersion - 1")  # alpha + beta of the beta-binomial with this correlation of two items
_BETA_BINOMIAL = parse(
    "gammaln(count + 1) - gammaln(successes + 1) - gammaln(count - successes + 1) "
    "+ gammaln(successes + inside*size) + gammaln(count - successes + (1 - inside)*size) - gammaln(count + size) "
    "- gammaln(inside*size) - gammaln((1 - inside)*size) + gammaln(size)"
)
BETA_BINOMIAL = substitute(_BETA_BINOMIAL, {"inside": INSIDE, "size": SIZE})


@dataclass(frozen=True)
class Noise:
    about: str
    priors: Mapping[str, Prior]
    observed: tuple[str, ...]  # the scales of observed quantities that it is for
    # log density of a run: of its ``residual`` at this ``scale``, or of its ``successes`` out of ``count`` items
    log_density: Node
    robust: bool = False  # Student-t tails instead of normal ones


NOISES = {
    "student_t": Noise(
        "Student-t with nu = 2 + nu_minus_2: a few bad runs do not move the law",
        _SCALE | {"nu_minus_2": Prior("Gamma", {"alpha": 2.0, "beta": 0.1}, "degrees of freedom above 2")},
        ("log", "linear"),
        STUDENT_T,
        robust=True,
    ),
    "normal": Noise("normal: every run counts alike, outliers included", _SCALE, ("log", "linear"), NORMAL),
    "beta_binomial": Noise(
        "beta-binomial: a share of items that are more alike than independent ones",
        {
            "overdispersion": Prior(
                "LogitNormal", {"mu": -5.0, "sigma": 1.5}, "correlation of two items of one run; 0 is binomial"
            )
        },
        ("proportion",),
        BETA_BINOMIAL,
    ),
}


def default_noise(scale: str) -> str:
    """The noise of a law whose observed quantity is on this scale (see ``OBSERVED_SCALES``)."""
    return next(name for name, noise in NOISES.items() if scale in noise.observed)


def noise_scale(values: Mapping[str, Any], log_compute: Any) -> Any:
    """Scale of the scatter of log loss; ``log_compute`` is log(C / C_ref), held at the edge of the data beyond it."""
    return evaluate(SCALE, {"sigma": values["sigma"], "tilt": values["tilt"], "log_compute": log_compute})


def log_density(noise: Noise, residual: Any, scale: Any, values: Mapping[str, Any]) -> Any:
    """Log density of ``residual`` (observed minus predicted log loss)."""
    return evaluate(noise.log_density, {**values, "residual": residual, "scale": scale})


def cumulative(noise: Noise, residual: Any, scale: Any, values: Mapping[str, Any]) -> Any:
    """P(scatter <= ``residual``), the distribution function of :func:`log_density`."""
    z = residual / scale
    return scipy.special.stdtr(2 + values["nu_minus_2"], z) if noise.robust else scipy.special.ndtr(z)


def sample_noise(noise: Noise, scale: Any, values: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draws of the scatter of log loss, of the shape of ``scale`` [..., run]; ``values`` are [...]."""
    scale = np.asarray(scale)
    if not noise.robust:
        return scale * rng.standard_normal(scale.shape)
    nu = np.broadcast_to((2 + np.asarray(values["nu_minus_2"]))[..., None], scale.shape)
    return scale * rng.standard_t(nu)


def beta_binomial_parameters(share: Any, overdispersion: Any) -> tuple[Any, Any]:
    """alpha and beta of the beta-binomial with this mean and this correlation between two items."""
    share, size = evaluate(INSIDE, {"share": share}), evaluate(SIZE, {"overdispersion": overdispersion})
    return share * size, (1 - share) * size


def log_mass(successes: Any, count: Any, share: Any, overdispersion: Any) -> Any:
    """Log probability of ``successes`` out of ``count`` items under the beta-binomial."""
    values = {"successes": successes, "count": count, "share": share, "overdispersion": overdispersion}
    return evaluate(BETA_BINOMIAL, values)


def sample_share(count: Any, share: Any, overdispersion: Any, rng: np.random.Generator) -> np.ndarray:
    """Draws of the share of ``count`` items that a new run gets right, of the shape of ``share``."""
    alpha, beta = beta_binomial_parameters(np.asarray(share), overdispersion)
    items = np.broadcast_to(np.asarray(np.round(count), dtype=int), alpha.shape)
    return rng.binomial(items, rng.beta(alpha, beta)) / items
