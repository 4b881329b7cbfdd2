"""Priors: the allow-list of distributions and one prior of a law file.

A sampler moves on the real line, so every distribution gives a value x as a function of a real number u, and the log
density of u (with the Jacobian, without constants).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from bayescale.laws.formula import Node, evaluate, parse

FARTHEST_PRIOR_SD = 7.0  # beyond it the quantile function has no digits left


@dataclass(frozen=True)
class Distribution:
    """One entry of the allow-list of priors: parameters, which of them must be positive, quantiles, real line.

    ``value`` is x as a formula of u, ``real`` its inverse, ``log_density`` the log density of u by u and x.
    """

    params: tuple[str, ...]
    positive: tuple[str, ...]
    quantile: Callable[..., Any]
    value: Node
    real: Node
    log_density: Node


def _truncated_normal(u: Any, mu: float, sigma: float, lower: float, upper: float) -> Any:
    low, high = scipy.special.ndtr((lower - mu) / sigma), scipy.special.ndtr((upper - mu) / sigma)
    return mu + sigma * scipy.special.ndtri(low + u * (high - low))


UNBOUNDED = parse("u"), parse("x")
POSITIVE = parse("exp(u)"), parse("log(x)")
SHARE = parse("sigmoid(u)"), parse("log(x) - log1p(-x)")
BOUNDED = parse("lower + (upper - lower)*sigmoid(u)"), parse("log(x - lower) - log(upper - x)")
NORMAL = parse("-0.5*((u - mu)/sigma)**2")

# names and parameters are PyMC's, so that a prior reads the same in a law file and in a model
DISTRIBUTIONS = {
    "Normal": Distribution(
        ("mu", "sigma"), ("sigma",), lambda u, mu, sigma: mu + sigma * scipy.special.ndtri(u), *UNBOUNDED, NORMAL
    ),
    "LogNormal": Distribution(
        ("mu", "sigma"), ("sigma",), lambda u, mu, sigma: np.exp(mu + sigma * scipy.special.ndtri(u)), *POSITIVE, NORMAL
    ),
    "LogitNormal": Distribution(
        ("mu", "sigma"),
        ("sigma",),
        lambda u, mu, sigma: scipy.special.expit(mu + sigma * scipy.special.ndtri(u)),
        *SHARE,
        NORMAL,
    ),
    "HalfNormal": Distribution(
        ("sigma",),
        ("sigma",),
        lambda u, sigma: sigma * scipy.special.ndtri((1 + u) / 2),
        *POSITIVE,
        parse("u - 0.5*(x/sigma)**2"),
    ),
    "TruncatedNormal": Distribution(
        ("mu", "sigma", "lower", "upper"),
        ("sigma",),
        _truncated_normal,
        *BOUNDED,
        parse("-0.5*((x - mu)/sigma)**2 - logaddexp(0, u) - logaddexp(0, -u)"),
    ),
    "Exponential": Distribution(("lam",), ("lam",), lambda u, lam: -np.log1p(-u) / lam, *POSITIVE, parse("u - lam*x")),
    "Gamma": Distribution(
        ("alpha", "beta"),
        ("alpha", "beta"),
        lambda u, alpha, beta: scipy.special.gammaincinv(alpha, u) / beta,
        *POSITIVE,
        parse("alpha*u - beta*x"),
    ),
    "Beta": Distribution(
        ("alpha", "beta"),
        ("alpha", "beta"),
        lambda u, alpha, beta: scipy.special.betaincinv(alpha, beta, u),
        *SHARE,
        parse("-alpha*logaddexp(0, -u) - beta*logaddexp(0, u)"),
    ),
    "Uniform": Distribution(
        ("lower", "upper"),
        (),
        lambda u, lower, upper: lower + u * (upper - lower),
        *BOUNDED,
        parse("-logaddexp(0, u) - logaddexp(0, -u)"),
    ),
}


@dataclass(frozen=True)
class Prior:
    dist: str
    params: Mapping[str, float]
    about: str = ""

    def __str__(self) -> str:
        return f"{self.dist}({', '.join(f'{name} = {value:g}' for name, value in self.params.items())})"


def quantile(prior: Prior, u: Any) -> Any:
    """Quantiles of a prior at probability u; infinite, without a warning, where a prior is too wide."""
    with np.errstate(all="ignore"):
        return DISTRIBUTIONS[prior.dist].quantile(u, **prior.params)


def from_normal(prior: Prior, z: Any) -> Any:
    """Values x of a parameter on the scale where its prior is a standard normal: the quantile of z's probability."""
    return quantile(prior, scipy.special.ndtr(z))


def to_normal(prior: Prior, x: Any, edge: float = 6.0, points: int = 2001) -> Any:
    """The inverse of :func:`from_normal`, by interpolation between ``points`` values from -``edge`` to ``edge``."""
    grid = np.linspace(-edge, edge, points)
    return np.interp(x, np.maximum.accumulate(from_normal(prior, grid)), grid)


def log_prior(prior: Prior, value: Any) -> Any:
    """Log density of a prior, from its quantile function: log phi(z) - log dx/dz."""
    z, step = to_normal(prior, value, FARTHEST_PRIOR_SD, 20_001), 1e-3
    ends = [quantile(prior, scipy.special.ndtr(z + sign * step)) for sign in (-1, 1)]
    with np.errstate(divide="ignore"):
        slope = np.log((ends[1] - ends[0]) / (2 * step))
    return -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - slope


def from_real(prior: Prior, u: Any) -> Any:
    """Values x of a parameter from positions on the real line."""
    return evaluate(DISTRIBUTIONS[prior.dist].value, {"u": u, **prior.params})


def to_real(prior: Prior, x: Any) -> Any:
    """Positions on the real line of values x of a parameter."""
    return evaluate(DISTRIBUTIONS[prior.dist].real, {"x": x, **prior.params})
