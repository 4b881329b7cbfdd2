"""How a measured loss scatters around the law: a noise of ``noises.py``, applied to runs.

The log of the loss scatters, or of whatever the law file says is observed. Its scale is
``SCALE_FLOOR + sigma * exp(tilt * x)`` with ``x`` = log(C / C_ref), held at the edge of the runs outside their range.
The variance that is known of a run, of the errors of its loss and of its sizes, is added to the square of the scale. A
quantity that may be negative scatters itself, in units of the range of the observed values. Of a censored run no more
is known than that it is at least what was observed: its likelihood is the probability of that. A proportion is an
overdispersed count out of a known number of items; of a share without such a number the log odds scatter, or it is a
beta variable. A noise may depend on the share that the law gives.
"""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy

from bayescale.errors import FitError
from bayescale.field import listed
from bayescale.laws.formula import Name, Node, evaluate, parse, substitute
from bayescale.laws.groups import GROUP, NOISE_SCALE, Groups, contrast_priors, moved, own_values
from bayescale.laws.law_file import Law
from bayescale.laws.law_tables import Derived, Observed
from bayescale.laws.noises import NOISE_PARAMETERS, NOISES, SHARE_EDGE, Values, default_noise
from bayescale.laws.priors import Prior

# no loss is measured or printed more precisely than this relative error; chains do not converge at a scale of 0
SCALE_FLOOR = 1e-4
SCALE = parse(f"{SCALE_FLOOR} + sigma*exp(tilt*log_compute)")  # one expression for model, density and forecast
SCALE_WITH_ERRORS = parse(f"sqrt(({SCALE_FLOOR} + sigma*exp(tilt*log_compute))**2 + known_variance)")
# of runs of which some are censored (1) and others are not (0); the probability costs much, and is 1 far below
CENSORED_DENSITY = parse("(1 - censored)*density + censored*above")
EXCESS = parse("censored*residual/scale - 1e9*(1 - censored)")


def log_density_of_run(noise: str, covariates: Collection[str]) -> Node:
    """The log density of a run by the names of its row in NOISES; ``covariates`` may have ``censored``."""
    density = NOISES[noise].log_density
    if "censored" not in covariates:
        return density
    above = substitute(log_above_of_run(noise), {"excess": EXCESS})
    return substitute(CENSORED_DENSITY, {"density": density, "above": above})


def log_above_of_run(noise: str) -> Node:
    """The log probability of a residual of more than ``excess`` scales, for censored runs.

    Raises FitError if the row of the noise in NOISES has none.
    """
    found = NOISES[noise].log_above
    if found is None:
        allowed = ", ".join(name for name, row in NOISES.items() if row.log_above is not None)
        raise FitError(f"noise '{noise}' is not for censored runs; allowed are {allowed}")
    return found


def transformed(seen: Any, scale: str) -> Any:
    """Values on the scale on which they scatter: of a share log odds, at most some 20."""
    if scale == "share":
        inside = np.clip(seen, SHARE_EDGE, 1 - SHARE_EDGE)
        return np.log(inside / (1 - inside))
    return np.log(seen) if scale == "log" else seen


@dataclass(frozen=True)
class Scatter:
    """A noise on the scale of what a law observes.

    Methods take observed and predicted values, both as the law's formula gives them; the parameters of the noise in
    ``values``, in a shape that broadcasts with the runs, [..., 1]; and the ``covariates`` of each run by name:
    ``log_compute``, log(size / C_ref), and, where there are such, ``known_variance``, in squared units of the scatter,
    and ``censored``, 1 or 0; or ``count``, the number of items of a proportion [run].

    Attributes
    ----------
    noise : a name of NOISES
    observed : what the law explains
    unit : of a quantity that may be negative, the range of the observed values; otherwise 1
    given : priors that the law gives in the place of the noise's own
    groups : of the law, where the scale of the noise varies over them; covariates then have the ``group`` of a run
    """

    noise: str
    observed: Observed
    unit: float = 1.0
    given: Mapping[str, Prior] = field(default_factory=dict, compare=False)
    groups: Groups | None = None

    @classmethod
    def of(cls, law: Law, noise: str | None = None) -> "Scatter":
        """The scatter around a law, by a noise or by the default one, in the unit 1.

        Raises FitError if there is no such noise, or it is not for what the law explains.
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
        groups = law.groups if law.groups and NOISE_SCALE in law.groups.by else None
        if groups and NOISE_SCALE not in own:
            raise FitError(f"noise '{noise}' has no {NOISE_SCALE} that could vary over groups; it has {listed([*own])}")
        given = {name: replace(one, about=own[name].about) for name, one in given.items()}
        return cls(noise, law.observed, given=given, groups=groups)

    @property
    def priors(self) -> Mapping[str, Prior]:
        """Of the parameters of the noise."""
        own = {**NOISES[self.noise].priors, **self.given}
        return own if self.groups is None else own | contrast_priors(self.groups, NOISE_SCALE)

    @property
    def derived(self) -> dict[str, Derived]:
        """The scale of the noise of each group, where it varies."""
        if self.groups is None:
            return {}
        return own_values(self.groups, NOISE_SCALE, self.priors[NOISE_SCALE])

    @functools.cached_property
    def sigma(self) -> Node:
        """The scale of the noise of a run, as a formula of parameters and its ``group``."""
        if self.groups is None:
            return Name(NOISE_SCALE)
        return moved(self.groups, NOISE_SCALE, self.priors[NOISE_SCALE])

    def sigma_at(self, covariates: Values, values: Values) -> Any:
        """The same, evaluated."""
        return evaluate(self.sigma, {**values, **({GROUP: covariates[GROUP]} if self.groups else {})})

    def tail_df(self, values: Values) -> Any:
        """Degrees of freedom of the Student-t that the noise is most like; infinite for a normal one."""
        formula = NOISES[self.noise].tail_df
        return np.inf if formula is None else evaluate(formula, values)

    @property
    def counts(self) -> bool:
        """Whether what is observed is a share of a number of items."""
        return self.observed.scale == "proportion"

    def transform(self, seen: Any) -> Any:
        """Observed values on the scale on which they scatter: their log, their log odds, or themselves."""
        return transformed(seen, self.observed.scale)

    def inverse(self, scattered: Any) -> Any:
        """Observed values from transformed ones; a share is inside (0, 1)."""
        if self.observed.scale == "share":
            return np.clip(scipy.special.expit(scattered), SHARE_EDGE, 1 - SHARE_EDGE)
        return np.exp(scattered) if self.observed.scale == "log" else scattered

    def residual(self, seen: Any, predicted: Any) -> Any:
        """Transformed observed values less predicted ones, in units of the scatter."""
        return (seen - self.transform(predicted)) / self.unit

    def scale_at(self, covariates: Values, values: Values) -> Any:
        """Scale of the residual in the noise's own unit, SCALE_FLOOR and known variance included."""
        scale = SCALE_WITH_ERRORS if "known_variance" in covariates else SCALE
        return evaluate(scale, {"tilt": values["tilt"], **covariates, "sigma": self.sigma_at(covariates, values)})

    def spread_at(self, predicted: Any, covariates: Values, values: Values) -> Any:
        """Scale of the Student-t that the noise is most like (``tail_df``), in the unit of transformed values."""
        return self.unit * evaluate(NOISES[self.noise].spread, self._at(predicted, covariates, values))

    def _at(self, predicted: Any, covariates: Values, values: Values) -> dict[str, Any]:
        """Values of the names in the noise's formulas, but for what was observed."""
        known = {**values, "share": np.asarray(predicted)}
        if self.counts:
            return known | {"count": np.round(covariates["count"])}
        return known | {"scale": self.scale_at(covariates, values)}

    def _known(self, seen: Any, predicted: Any, covariates: Values, values: Values) -> dict[str, Any]:
        """Values of the names in the formula of the density."""
        at = self._at(predicted, covariates, values)
        if self.counts:
            return at | {"successes": np.round(seen * at["count"])}
        return at | {"residual": self.residual(seen, predicted)}

    def log_density(self, seen: Any, predicted: Any, covariates: Values, values: Values) -> Any:
        """Log density of transformed values ``seen``; of a share, log probability of its count.

        Of a censored run it is the log probability of at least ``seen``.
        """
        known = self._known(seen, predicted, covariates, values) | dict(covariates)
        found = evaluate(log_density_of_run(self.noise, covariates), known)
        return found - np.log(self.unit) * (1 - covariates.get("censored", 0.0))

    def log_density_of(self, residual: Any, scale: Any, values: Values) -> Any:
        """Log density of residuals of this scale."""
        return evaluate(NOISES[self.noise].log_density, {**values, "residual": residual, "scale": scale})

    def log_above(self, excess: Any, values: Values) -> Any:
        """Log probability of a residual of more than so many scales."""
        return evaluate(log_above_of_run(self.noise), {**values, "excess": excess})

    def cdf(self, seen: Any, predicted: Any, covariates: Values, values: Values) -> Any:
        """Probability of a value of at most ``seen``, transformed; a count includes half of its own mass.

        So does a censored run, whose mass is all that lies above.
        """
        below = NOISES[self.noise].cdf(self._known(seen, predicted, covariates, values))
        return np.where(covariates["censored"], (1 + below) / 2, below) if "censored" in covariates else below

    def sample(self, predicted: Any, covariates: Values, values: Values, rng: np.random.Generator) -> Any:
        """Draws of observed values of new runs, in the shape of ``predicted``."""
        if self.observed.scale == "log":
            return predicted * np.exp(self.sample_residual(predicted, covariates, values, rng))
        return self.inverse(self.sample_transformed(predicted, covariates, values, rng))

    def sample_transformed(self, predicted: Any, covariates: Values, values: Values, rng: np.random.Generator) -> Any:
        """The same on the scale on which they scatter."""
        if self.counts:
            at = self._at(predicted, covariates, values)
            return NOISES[self.noise].draw(at, rng) / at["count"]
        return self.transform(predicted) + self.sample_residual(predicted, covariates, values, rng)

    def sample_residual(self, predicted: Any, covariates: Values, values: Values, rng: np.random.Generator) -> Any:
        """Draws of transformed values less predicted ones, in the shape of ``predicted``."""
        at = self._at(predicted, covariates, values)
        at["scale"] = np.broadcast_to(at["scale"], np.shape(predicted))
        return self.unit * NOISES[self.noise].draw(at, rng)

    def sample_noise(self, scale: Any, values: Values, rng: np.random.Generator) -> Any:
        """Draws of residuals of a loss of this scale, in its shape."""
        return NOISES[self.noise].draw({**values, "scale": np.asarray(scale)}, rng)
