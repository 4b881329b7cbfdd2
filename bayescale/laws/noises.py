"""The noises: how what is observed of a run scatters around the law, all that anything needs of one in its row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from bayescale.laws.formula import Name, Node, evaluate, parse, substitute
from bayescale.laws.functions import EVERY_FUNCTION
from bayescale.laws.priors import Prior

SHARE_EDGE = 1e-9  # a law's proportion is kept this far inside (0, 1)

OVERDISPERSION_MIN = 1e-7  # a million items then scatter by 5 % more than independent ones


def inside(share: str) -> str:
    """A formula of a law's proportion, kept inside (0, 1)."""
    return f"minimum(maximum({share}, {SHARE_EDGE}), 1 - {SHARE_EDGE})"


Values = Mapping[str, Any]  # numbers or arrays by name
OF_SCALE = Name("scale")


@dataclass(frozen=True)
class Noise:
    """One noise. Formulas and functions read its own parameters and, of a run, the names that ``log_density`` reads.

    These are the ``residual`` and its ``scale``; of a proportion ``count`` and ``successes``; of both kinds of shares
    the law's ``share``.

    Attributes
    ----------
    about : for people
    priors : of its parameters
    observed : the scales of observed quantities that it is for
    log_density : of a run
    cdf : probability of at most this residual, or of fewer successes and half of as many
    draw : residuals, or numbers of successes, in the shape of ``scale`` or ``share``
    starts : where chains start, from ``sigma``, the scatter around an optimum, and ``normal``, a standard normal number
    pymc : its distribution in PyMC, and the formulas of its arguments, from ``mu`` [run], ``share``, and ``scale`` or
        ``count``
    spread : scale of the Student-t that it is most like, in the unit of the residual, or of a proportion itself
    tail_df : degrees of freedom of the Student-t that it is most like, for what treats it as one; None for a normal
    log_above : log probability of a residual above ``excess`` scales; None where runs cannot be censored
    of_share : whether PyMC's distribution is that of the share, where log odds are observed
    """

    about: str
    priors: Mapping[str, Prior]
    observed: tuple[str, ...]
    log_density: Node
    cdf: Callable[[Values], Any]
    draw: Callable[[Values, np.random.Generator], Any]
    starts: Mapping[str, Node]
    pymc: tuple[str, Mapping[str, Node]]
    spread: Node = OF_SCALE
    tail_df: Node | None = None
    log_above: Node | None = None
    of_share: bool = False


def _formulas(**texts: str) -> dict[str, Node]:
    return {name: parse(text) for name, text in texts.items()}


# ---- noises of a residual, whose scale is SCALE of scatter.py -------------------------------------------------------

_SCALE = {
    "sigma": Prior("LogNormal", {"mu": -5.0, "sigma": 1.0}, "scatter of log loss at the runs' mean log size"),
    "tilt": Prior("Normal", {"mu": 0.0, "sigma": 0.2}, "change of log(sigma) with log size"),
}
_SCALE_STARTS = _formulas(sigma="sigma", tilt="0.05*normal")
_NORMAL_LOG_DENSITY = parse("-0.5*(residual/scale)**2 - log(scale) - 0.9189385332046727")  # log(2 pi)/2
_STUDENT_T_LOG_DENSITY = parse(
    "gammaln((nu_minus_2 + 3)/2) - gammaln((nu_minus_2 + 2)/2) - log(3.141592653589793*(nu_minus_2 + 2))/2 "
    "- log(scale) - (nu_minus_2 + 3)/2*log1p((residual/scale)**2/(nu_minus_2 + 2))"
)


def _normal_draw(values: Values, rng: np.random.Generator) -> Any:
    return values["scale"] * rng.standard_normal(np.shape(values["scale"]))


def _student_t_draw(values: Values, rng: np.random.Generator) -> Any:
    scale = values["scale"]
    return scale * rng.standard_t(np.broadcast_to(2 + np.asarray(values["nu_minus_2"]), np.shape(scale)))


# ---- of a share of items --------------------------------------------------------------------------------------------

# alpha + beta of the beta-binomial with this correlation of two items; of a lower one than OVERDISPERSION_MIN nothing
# is left but rounding errors: its log density is a difference of logarithms of gamma functions of 1/overdispersion
_SIZE = parse(f"1/maximum(overdispersion, {OVERDISPERSION_MIN}) - 1")


def _of_share(size: Node, **texts: str) -> dict[str, Node]:
    """Formulas of ``inside``, the law's share, and ``size``, alpha + beta of a beta distribution around it."""
    return {
        name: substitute(parse(text), {"inside": parse(inside("share")), "size": size}) for name, text in texts.items()
    }


_SHAPES = {"alpha": "inside*size", "beta": "(1 - inside)*size"}
_BETA_BINOMIAL_SHAPES = _of_share(_SIZE, **_SHAPES)
_BETA_BINOMIAL = _of_share(
    _SIZE,
    log_density="gammaln(count + 1) - gammaln(successes + 1) - gammaln(count - successes + 1) "
    "+ gammaln(successes + inside*size) + gammaln(count - successes + (1 - inside)*size) - gammaln(count + size) "
    "- gammaln(inside*size) - gammaln((1 - inside)*size) + gammaln(size)",
    spread="sqrt(inside*(1 - inside)*(1/count + (1 - 1/count)*overdispersion))",
)


def _beta_binomial_cdf(values: Values) -> Any:
    from scipy.stats import betabinom  # takes as long to import as all the rest

    above = betabinom(values["count"], *(evaluate(one, values) for one in _BETA_BINOMIAL_SHAPES.values()))
    return above.cdf(values["successes"]) - above.pmf(values["successes"]) / 2


def _beta_binomial_draw(values: Values, rng: np.random.Generator) -> Any:
    alpha, beta = (evaluate(one, values) for one in _BETA_BINOMIAL_SHAPES.values())
    items = np.broadcast_to(np.asarray(values["count"], dtype=int), np.shape(alpha))
    return rng.binomial(items, rng.beta(alpha, beta))


# ---- of a share without a number of items ---------------------------------------------------------------------------

_PRECISION = parse("1/scale**2")  # alpha + beta: the variance is share*(1 - share)*scale**2/(1 + scale**2)
_BETA_SHAPES = _of_share(_PRECISION, **_SHAPES)
_BETA = _of_share(  # of the log odds, so that it compares with noises of these
    _PRECISION,
    log_odds="residual + log(inside) - log(1 - inside)",
    log_density="gammaln(size) - gammaln(inside*size) - gammaln((1 - inside)*size) "
    "- inside*size*logaddexp(0, -log_odds) - (1 - inside)*size*logaddexp(0, log_odds)",
    spread="scale/sqrt(inside*(1 - inside))",
)


def _beta_cdf(values: Values) -> Any:
    alpha, beta = (evaluate(one, values) for one in _BETA_SHAPES.values())
    log_odds, of = evaluate(_BETA["log_odds"], values), scipy.special.betainc
    below, above = of(alpha, beta, scipy.special.expit(log_odds)), of(beta, alpha, scipy.special.expit(-log_odds))
    return np.where(log_odds < 0, below, 1 - above)  # a share near 1 is known by what is missing


def _beta_draw(values: Values, rng: np.random.Generator) -> Any:
    """From two gamma variables, whose logarithms are finite where a share is 0 or 1 to all digits."""
    shapes = np.broadcast_arrays(*(evaluate(one, values) for one in _BETA_SHAPES.values()))
    above, below = (np.log(rng.standard_gamma(one + 1)) - rng.standard_exponential(one.shape) / one for one in shapes)
    return above - below - evaluate(_BETA["log_odds"], {**values, "residual": 0.0})


# ---- the table; the first that is for a scale is its default --------------------------------------------------------

NOISES = {
    "student_t": Noise(
        "Student-t with nu = 2 + nu_minus_2: a few bad runs do not move the law",
        _SCALE | {"nu_minus_2": Prior("Gamma", {"alpha": 2.0, "beta": 0.1}, "degrees of freedom above 2")},
        ("log", "linear", "share"),
        _STUDENT_T_LOG_DENSITY,
        lambda values: scipy.special.stdtr(2 + values["nu_minus_2"], values["residual"] / values["scale"]),
        _student_t_draw,
        _SCALE_STARTS | _formulas(nu_minus_2="10*exp(0.5*normal)"),
        ("StudentT", _formulas(nu="2 + nu_minus_2", mu="mu", sigma="scale")),
        tail_df=parse("2 + nu_minus_2"),
        log_above=parse("log_above_t(excess, 2 + nu_minus_2)", EVERY_FUNCTION),
    ),
    "normal": Noise(
        "normal: every run counts alike, outliers included",
        _SCALE,
        ("log", "linear", "share"),
        _NORMAL_LOG_DENSITY,
        lambda values: scipy.special.ndtr(values["residual"] / values["scale"]),
        _normal_draw,
        _SCALE_STARTS,
        ("Normal", _formulas(mu="mu", sigma="scale")),
        log_above=parse("log_above_normal(excess)", EVERY_FUNCTION),
    ),
    "beta_binomial": Noise(
        "beta-binomial: a share of items that are more alike than independent ones",
        {
            "overdispersion": Prior(
                "LogitNormal", {"mu": -5.0, "sigma": 1.5}, "correlation of two items of one run; 0 is binomial"
            )
        },
        ("proportion",),
        _BETA_BINOMIAL["log_density"],
        _beta_binomial_cdf,
        _beta_binomial_draw,
        _formulas(overdispersion="minimum(maximum(sigma**2, 0.0001), 0.2)"),
        ("BetaBinomial", {"n": parse("count"), **_BETA_BINOMIAL_SHAPES}),
        spread=_BETA_BINOMIAL["spread"],
    ),
    "beta": Noise(
        "beta: a share whose variance is in proportion to share*(1 - share), as that of a mean over items",
        _SCALE
        | {
            "sigma": Prior(
                "LogNormal", {"mu": -3.5, "sigma": 1.0}, "sd of a share of .5 is half of it, at the runs' mean log size"
            )
        },
        ("share",),
        substitute(_BETA["log_density"], {"log_odds": _BETA["log_odds"]}),
        _beta_cdf,
        _beta_draw,
        _formulas(sigma="0.4*sigma", tilt="0.05*normal"),
        ("Beta", _BETA_SHAPES),
        spread=_BETA["spread"],
        of_share=True,
    ),
}
# parameters of any noise, which a law's table [beliefs] may name
NOISE_PARAMETERS = tuple(dict.fromkeys(name for noise in NOISES.values() for name in noise.priors))


def default_noise(scale: str) -> str:
    """The noise of a law whose observed quantity is on this scale (see ``OBSERVED_SCALES``)."""
    return next(name for name, noise in NOISES.items() if scale in noise.observed)
