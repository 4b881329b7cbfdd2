"""How a measured loss scatters around the law: a noise is priors and a density, a scatter applies it to runs.

The log of the loss scatters, or of whatever the law file says is observed. Its scale is
``SCALE_FLOOR + sigma * exp(tilt * x)`` with ``x`` = log(C / C_ref), held at the edge of the runs outside their range.
The square of a known error of a run (its relative standard error, for a loss) is added to the square of the scale. A
quantity that may be negative scatters itself, in units of the range of the observed values. A proportion is an
overdispersed count out of a known number of items.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy

from bayescale.errors import FitError
from bayescale.field import listed
from bayescale.laws.beliefs import NOISE_PARAMETERS
from bayescale.laws.formula import Node, evaluate, parse, substitute
from bayescale.laws.law_file import Law, Observed
from bayescale.laws.priors import Prior

_SCALE = {
    "sigma": Prior(
        "LogNormal", {"mu": -5.0, "sigma": 1.0}, "scatter of log loss at the runs' mean log size (compute, for N and D)"
    ),
    "tilt": Prior("Normal", {"mu": 0.0, "sigma": 0.2}, "change of log(sigma) with log size"),
}

# no loss is measured or printed more precisely than this relative error; chains do not converge at a scale of 0
SCALE_FLOOR = 1e-4
SCALE = parse(f"{SCALE_FLOOR} + sigma*exp(tilt*log_compute)")  # one expression for model, density and forecast
SCALE_WITH_ERRORS = parse(f"sqrt(({SCALE_FLOOR} + sigma*exp(tilt*log_compute))**2 + known_error**2)")
NORMAL_LOG_DENSITY = parse("-0.5*(residual/scale)**2 - log(scale) - 0.9189385332046727")  # log(2 pi)/2
STUDENT_T_LOG_DENSITY = parse(
    "gammaln((nu_minus_2 + 3)/2) - gammaln((nu_minus_2 + 2)/2) - log(3.141592653589793*(nu_minus_2 + 2))/2 "
    "- log(scale) - (nu_minus_2 + 3)/2*log1p((residual/scale)**2/(nu_minus_2 + 2))"
)
SHARE_EDGE = 1e-9  # a law's proportion is kept this far inside (0, 1)
CLIPPED_SHARE = parse(f"minimum(maximum(share, {SHARE_EDGE}), 1 - {SHARE_EDGE})")
BETA_SIZE = parse("1/overdispersion - 1")  # alpha + beta of the beta-binomial with this correlation of two items
_BETA_BINOMIAL = parse(
    "gammaln(count + 1) - gammaln(successes + 1) - gammaln(count - successes + 1) "
    "+ gammaln(successes + inside*size) + gammaln(count - successes + (1 - inside)*size) - gammaln(count + size) "
    "- gammaln(inside*size) - gammaln((1 - inside)*size) + gammaln(size)"
)
BETA_BINOMIAL_LOG_DENSITY = substitute(_BETA_BINOMIAL, {"inside": CLIPPED_SHARE, "size": BETA_SIZE})


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
        STUDENT_T_LOG_DENSITY,
        robust=True,
    ),
    "normal": Noise("normal: every run counts alike, outliers included", _SCALE, ("log", "linear"), NORMAL_LOG_DENSITY),
    "beta_binomial": Noise(
        "beta-binomial: a share of items that are more alike than independent ones",
        {
            "overdispersion": Prior(
                "LogitNormal", {"mu": -5.0, "sigma": 1.5}, "correlation of two items of one run; 0 is binomial"
            )
        },
        ("proportion",),
        BETA_BINOMIAL_LOG_DENSITY,
    ),
}


def default_noise(scale: str) -> str:
    """The noise of a law whose observed quantity is on this scale (see ``OBSERVED_SCALES``)."""
    return next(name for name, noise in NOISES.items() if scale in noise.observed)


@dataclass(frozen=True)
class Scatter:
    """A noise on the scale of what a law observes.

    Methods take observed and predicted values, both as the law's formula gives them; the parameters of the noise in
    ``values``, in a shape that broadcasts with the runs, [..., 1]; and the ``covariates`` of each run by name:
    ``log_compute``, log(size / C_ref), and ``known_error`` where there is one, in units of the scatter; or ``count``,
    the number of items of a proportion [run].

    Attributes
    ----------
    noise : a name of NOISES
    observed : what the law explains
    unit : of a quantity that may be negative, the range of the observed values; otherwise 1
    given : priors that the law gives in the place of the noise's own
    """

    noise: str
    observed: Observed
    unit: float = 1.0
    given: Mapping[str, Prior] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, law: Law, noise: str | None = None) -> "Scatter":
        """The scatter around a law, by a noise or by the default one, in the unit 1.

        Raises
        ------
        FitError
            If there is no such noise, or it is not for what the law explains.
        """
        scale = law.observed.scale
        noise = default_noise(scale) if noise is None else noise
        if noise not in NOISES:
            raise FitError(f"unknown noise '{noise}'; the noises are {', '.join(NOISES)}")
        if scale not in NOISES[noise].observed:
            allowed = [name for name in NOISES if scale in NOISES[name].observed]
            raise FitError(
                f"noise '{noise}' is not for what law '{law.name}' explains ('{law.observed.column}', "
                f"{scale}); allowed are {', '.join(allowed)}"
            )
        given = {name: belief.prior for name, belief in law.beliefs.items() if name in NOISE_PARAMETERS}
        own = NOISES[noise].priors
        if unknown := sorted(given.keys() - own.keys()):
            raise FitError(
                f"noise '{noise}' has no parameter '{unknown[0]}', of which a prior is given; it has {listed([*own])}"
            )
        return cls(
            noise, law.observed, given={name: replace(one, about=own[name].about) for name, one in given.items()}
        )

    @property
    def priors(self) -> Mapping[str, Prior]:
        """Of the parameters of the noise."""
        return {**NOISES[self.noise].priors, **self.given}

    @property
    def robust(self) -> bool:
        """Whether its tails are Student-t's."""
        return NOISES[self.noise].robust

    @property
    def counts(self) -> bool:
        """Whether what is observed is a share of a number of items."""
        return self.observed.scale == "proportion"

    def transform(self, seen: Any) -> Any:
        """Observed values on the scale on which they scatter: their log, or themselves."""
        return np.log(seen) if self.observed.scale == "log" else seen

    def inverse(self, scattered: Any) -> Any:
        """Observed values from transformed ones."""
        return np.exp(scattered) if self.observed.scale == "log" else scattered

    def residual(self, seen: Any, predicted: Any) -> Any:
        """Transformed observed values less predicted ones, in units of the scatter."""
        return (seen - self.transform(predicted)) / self.unit

    def scale_at(self, covariates: Mapping, values: Mapping[str, Any]) -> Any:
        """Scale of the residual, SCALE_FLOOR and known errors included."""
        scale = SCALE_WITH_ERRORS if "known_error" in covariates else SCALE
        return evaluate(scale, {"sigma": values["sigma"], "tilt": values["tilt"], **covariates})

    def _known(self, seen: Any, predicted: Any, covariates: Mapping, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the names in the formula of the density."""
        if self.counts:
            count = np.round(covariates["count"])
            return {**values, "successes": np.round(seen * count), "count": count, "share": predicted}
        return {**values, "residual": self.residual(seen, predicted), "scale": self.scale_at(covariates, values)}

    def log_density(self, seen: Any, predicted: Any, covariates: Mapping, values: Mapping[str, Any]) -> Any:
        """Log density of transformed values ``seen``; of a share, log probability of its count."""
        known = self._known(seen, predicted, covariates, values)
        return evaluate(NOISES[self.noise].log_density, known) - np.log(self.unit)

    def log_density_of(self, residual: Any, scale: Any, values: Mapping[str, Any]) -> Any:
        """Log density of residuals of this scale."""
        return evaluate(NOISES[self.noise].log_density, {**values, "residual": residual, "scale": scale})

    def cdf(self, seen: Any, predicted: Any, covariates: Mapping, values: Mapping[str, Any]) -> Any:
        """Probability of a value of at most ``seen``, transformed; a count includes half of its own mass."""
        known = self._known(seen, predicted, covariates, values)
        if self.counts:
            from scipy.stats import betabinom  # takes as long to import as all the rest

            alpha, beta = beta_binomial_parameters(predicted, values["overdispersion"])
            above = betabinom(known["count"], alpha, beta)
            return above.cdf(known["successes"]) - above.pmf(known["successes"]) / 2
        z = known["residual"] / known["scale"]
        return scipy.special.stdtr(2 + values["nu_minus_2"], z) if self.robust else scipy.special.ndtr(z)

    def sample(
        self, predicted: Any, covariates: Mapping, values: Mapping[str, Any], rng: np.random.Generator
    ) -> np.ndarray:
        """Draws of observed values of new runs, in the shape of ``predicted``."""
        if self.counts:
            alpha, beta = beta_binomial_parameters(np.asarray(predicted), values["overdispersion"])
            items = np.broadcast_to(np.asarray(np.round(covariates["count"]), dtype=int), alpha.shape)
            return rng.binomial(items, rng.beta(alpha, beta)) / items
        scale = np.broadcast_to(self.scale_at(covariates, values), np.shape(predicted))
        noise = self.unit * self.sample_noise(scale, values, rng)
        return predicted * np.exp(noise) if self.observed.scale == "log" else predicted + noise

    def sample_noise(self, scale: Any, values: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        """Draws of residuals of this scale, in its shape."""
        scale = np.asarray(scale)
        if not self.robust:
            return scale * rng.standard_normal(scale.shape)
        return scale * rng.standard_t(np.broadcast_to(2 + np.asarray(values["nu_minus_2"]), scale.shape))


def beta_binomial_parameters(share: Any, overdispersion: Any) -> tuple[Any, Any]:
    """alpha and beta of the beta-binomial with this mean and this correlation between two items."""
    share, size = evaluate(CLIPPED_SHARE, {"share": share}), evaluate(BETA_SIZE, {"overdispersion": overdispersion})
    return share * size, (1 - share) * size
