"""Priors: the allow-list of distributions, their quantiles, and one prior of a law file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special


@dataclass(frozen=True)
class Distribution:
    """One entry of the allow-list of priors: parameters, which of them must be positive, and its quantiles."""

    params: tuple[str, ...]
    positive: tuple[str, ...]
    quantile: Callable[..., Any]


def _truncated_normal(u, mu, sigma, lower, upper):
    low, high = special.ndtr((lower - mu) / sigma), special.ndtr((upper - mu) / sigma)
    return mu + sigma * special.ndtri(low + u * (high - low))


# names and parameters are PyMC's, so that a prior reads the same in a law file and in a model
DISTRIBUTIONS = {
    "Normal": Distribution(("mu", "sigma"), ("sigma",), lambda u, mu, sigma: mu + sigma * special.ndtri(u)),
    "LogNormal": Distribution(("mu", "sigma"), ("sigma",), lambda u, mu, sigma: np.exp(mu + sigma * special.ndtri(u))),
    "LogitNormal": Distribution(
        ("mu", "sigma"), ("sigma",), lambda u, mu, sigma: special.expit(mu + sigma * special.ndtri(u))
    ),
    "HalfNormal": Distribution(("sigma",), ("sigma",), lambda u, sigma: sigma * special.ndtri((1 + u) / 2)),
    "TruncatedNormal": Distribution(("mu", "sigma", "lower", "upper"), ("sigma",), _truncated_normal),
    "Exponential": Distribution(("lam",), ("lam",), lambda u, lam: -np.log1p(-u) / lam),
    "Gamma": Distribution(
        ("alpha", "beta"), ("alpha", "beta"), lambda u, alpha, beta: special.gammaincinv(alpha, u) / beta
    ),
    "Beta": Distribution(
        ("alpha", "beta"), ("alpha", "beta"), lambda u, alpha, beta: special.betaincinv(alpha, beta, u)
    ),
    "Uniform": Distribution(("lower", "upper"), (), lambda u, lower, upper: lower + u * (upper - lower)),
}


@dataclass(frozen=True)
class Prior:
    dist: str
    params: Mapping[str, float]
    about: str = ""

    def __str__(self) -> str:
        return f"{self.dist}({', '.join(f'{name} = {value:g}' for name, value in self.params.items())})"
