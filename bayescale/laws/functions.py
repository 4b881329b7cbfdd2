"""The functions of the formula language: their NumPy, PyTensor, JavaScript, LaTeX and derivatives, a row each.

Compiled code calls a function by its name, which :mod:`bayescale.engine.numba_functions` has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy

ARGUMENTS = "abxy"  # their names in derivatives
LOG_10 = np.log(10.0).item()
BELOW_ONE = 1 - 2.0**-53  # the largest double below 1


@dataclass(frozen=True)
class Function:
    """One function of the language.

    Attributes
    ----------
    name : in formulas and in compiled code
    numpy : its value
    derivatives : by each argument, formulas of the arguments a, b, x and y, the value v and the factor d; they may use
        the functions of ``INNER`` too, of which some have none
    traits : for compilers and samplers, some of:
        "level", constant over a range of its arguments, so that an exponent made of it may be a whole number
        "clips", level, and its value may be exactly 0
        "still", its derivative by an argument may be exactly 0 over a range
        "grows", overflows where its argument is large
        "tames", moderate where its argument is large
        "cheap", takes an instruction or two
    milliseconds : time that a call adds to compilation (two cores of 2026)
    latex : {0}, {1} stand for the rendered arguments
    javascript : its name there, or an arrow function that may call those of other rows; none for functions of ``INNER``
    pytensor : its value by the module ``pytensor.tensor`` and the arguments; by default that module's ``name``
    """

    name: str
    numpy: Callable[..., Any]
    derivatives: tuple[str, ...]
    traits: str = ""
    milliseconds: int = 0
    latex: str = ""
    javascript: str = ""
    pytensor: Callable[..., Any] | None = None

    @property
    def arity(self) -> int:
        """How many arguments it takes."""
        return len(self.derivatives)

    def __call__(self, *args: Any) -> Any:
        """Its value: in PyTensor where an argument is PyTensor's."""
        if any(type(arg).__module__.partition(".")[0] == "pytensor" for arg in args):
            import pytensor.tensor as pt

            return self.pytensor(pt, *args) if self.pytensor else getattr(pt, self.name)(*args)
        return self.numpy(*args)


def _logaddexp_pytensor(pt: ModuleType, a: Any, b: Any) -> Any:
    """As exact as PyTensor's own, whose graph takes ten times as long to compile."""
    most, least = pt.switch(pt.ge(a, b), a, b), pt.switch(pt.ge(a, b), b, a)
    gap = pt.switch(pt.isinf(most), 0.0, least - most)  # not inf - inf
    return most + pt.switch(pt.isinf(most), 0.0, pt.softplus(gap))


SATURATION_STEPS = 4  # of Newton: to the last digits but a few, for all arguments


def _saturation(log_z: Any, alpha: Any) -> Any:
    """The root by NumPy; dimensions of DataArrays are matched by name."""
    if not (hasattr(log_z, "dims") or hasattr(alpha, "dims")):
        with np.errstate(all="ignore"):
            return _saturation_root(np, lambda start: start, log_z, alpha)
    import xarray as xr  # whoever has a DataArray has loaded it

    return xr.apply_ufunc(_saturation, log_z, alpha)


def _saturation_pytensor(pt: ModuleType, log_z: Any, alpha: Any) -> Any:
    from pytensor.gradient import (
        disconnected_grad,
    )  # of the last step the slope is that of the root, whatever the start

    return _saturation_root(pt, disconnected_grad, log_z, alpha)


def _saturation_root(xp: ModuleType, still: Callable[[Any], Any], log_z: Any, alpha: Any) -> Any:
    """r in (0, 1) with r / (1 - r)**alpha = z, by Newton on the logit s of r, where the equation is monotone.

    For alpha below 1 r and 1 - r change places, so that b*log(1 + exp(s)) - log(1 + exp(-s)) = y has b >= 1. NaN for
    alpha < 0. ``xp`` is NumPy or ``pytensor.tensor``.
    """
    z, a = xp.clip(log_z, -1e5, 1e300), xp.where(alpha >= 0, xp.maximum(alpha, 1e-300), np.nan)
    b, y = xp.where(a < 1, 1 / a, a), xp.where(a < 1, xp.maximum(-z / a, -1e300), z)
    s = still(_saturation_start(xp, y, b))
    for _ in range(SATURATION_STEPS):
        t = xp.exp(-xp.abs(s))
        more, less, log = 1 / (1 + t), t / (1 + t), xp.log1p(t)
        value = b * (xp.maximum(s, 0.0) + log) - (xp.maximum(-s, 0.0) + log) - y
        s = s - value / xp.where(s >= 0, less + b * more, more + b * less)
    return xp.minimum(1 / (1 + xp.exp(xp.where(a < 1, s, -s))), BELOW_ONE)


def _saturation_start(xp: ModuleType, y: Any, b: Any) -> Any:
    """Near the root: w = -b*log(1 - r) has w*exp(w) = b*exp(y) where r is small, and is about log(1 + b*exp(y))."""
    x = y + xp.log(b)
    w = (xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))) / b
    inside = xp.log(xp.expm1(xp.clip(w, 1e-300, 30.0)))
    return xp.where(x < -30.0, y, xp.where(w > 30.0, w, inside))


# JavaScript of functions that its Math lacks
_SIGMOID = "(x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)))"
_LOGADDEXP = """\
(a, b) => {
  if (a === b) return a + Math.LN2;
  const most = Math.max(a, b);
  return most + Math.log1p(Math.exp(Math.min(a, b) - most));
}"""
# that of Cephes, which is SciPy's
_GAMMALN = """\
(x) => {
  const series = (x, factors) => factors.reduce((sum, factor) => sum * x + factor, 0);
  if (!Number.isFinite(x)) return x; // as SciPy has it
  if (x < -34) {  // reflection; the distance to the nearest pole is exact
    const pole = Math.round(-x), sine = Math.sin(Math.PI * Math.abs(-x - pole));
    return sine === 0 ? Infinity : 1.1447298858494002 - Math.log(-x * sine) - gammaln(-x);
  }
  if (x < 13) {  // by recurrence to [2, 3): fifty steps at most
    let steps = 0, z = 1;
    while (x + steps >= 3) { steps -= 1; z *= x + steps; }
    while (x + steps < 2) { if (x + steps === 0) return Infinity; z /= x + steps; steps += 1; }
    const r = x - (2 - steps);  // exact near 1 and 2, where gammaln is nearly 0
    return Math.log(Math.abs(z)) + r * series(r, [-1378.2515256912086, -38801.631513463784, -331612.9927388712,
      -1162370.974927623, -1721737.0082083966, -853555.6642457654]) / series(r, [1, -351.81570143652345,
      -17064.210665188115, -220528.59055385445, -1139334.4436798252, -2532523.0717758294, -2018891.4143353277]);
  }
  if (x > 2.556348e305) return Infinity;
  const y = 1 / (x * x);
  const tail = series(y, [8.116141674705085e-4, -5.950619042843014e-4, 7.936503404577169e-4, -2.777777777300997e-3,
    8.333333333333319e-2]) / x;
  return (x - 0.5) * Math.log(x) - x + 0.9189385332046728 + tail;
}"""
# the Newton steps of _saturation_root
_SATURATION = """\
(logZ, alpha) => {
  if (!(alpha >= 0)) return NaN;
  const z = Math.min(Math.max(logZ, -1e5), 1e300), a = Math.max(alpha, 1e-300);
  const b = a < 1 ? 1 / a : a, y = a < 1 ? Math.max(-z / a, -1e300) : z;
  const x = y + Math.log(b), w = logaddexp(0, x) / b;
  let s = x < -30 ? y : w > 30 ? w : Math.log(Math.expm1(w));
  for (let i = 0; i < 4; i += 1) {
    const value = b * logaddexp(0, s) - logaddexp(0, -s) - y;
    s -= value / (sigmoid(-s) + b * sigmoid(s));
  }
  return Math.min(sigmoid(a < 1 ? -s : s), 1 - Number.EPSILON / 2);
}"""

_ROWS = (
    Function("exp", np.exp, ("d*v",), "grows", 120, r"\exp\left({0}\right)", "Math.exp"),
    Function("log", np.log, ("d/a",), "tames", 80, r"\log\left({0}\right)", "Math.log"),
    Function("log10", np.log10, (f"d/(a*{LOG_10})",), "tames", 80, r"\log_{{10}}\left({0}\right)", "Math.log10"),
    Function("log1p", np.log1p, ("d/(1 + a)",), "tames", 80, r"\log\left(1 + {0}\right)", "Math.log1p"),
    Function("expm1", np.expm1, ("d*(v + 1)",), "grows", 120, r"\left(\exp\left({0}\right) - 1\right)", "Math.expm1"),
    Function("sqrt", np.sqrt, ("0.5*d/v",), "cheap", 40, r"\sqrt{{{0}}}", "Math.sqrt"),
    Function("abs", np.abs, ("at_most(0, a, d, -d)",), "cheap", 60, r"\left|{0}\right|", "Math.abs"),
    Function("tanh", np.tanh, ("d*(1 - v*v)",), "level still tames", 150, r"\tanh\left({0}\right)", "Math.tanh"),
    Function(
        "sigmoid",
        lambda x: scipy.special.expit(x),
        ("d*v*(1 - v)",),
        "level still tames",
        120,
        r"\sigma\left({0}\right)",
        _SIGMOID,
    ),
    Function(
        "gammaln",
        lambda x: scipy.special.gammaln(x),
        ("d*digamma(a)",),
        "",
        100,
        r"\log\Gamma\left({0}\right)",
        _GAMMALN,
    ),
    Function(  # what is not a number stays so, in every back end
        "minimum",
        np.minimum,
        ("at_most(a, b, d, 0)", "at_most(a, b, 0, d)"),
        "level clips still cheap",
        140,
        r"\min\left({0}, {1}\right)",
        "Math.min",
    ),
    Function(
        "maximum",
        np.maximum,
        ("at_most(b, a, d, 0)", "at_most(b, a, 0, d)"),
        "level clips still cheap",
        140,
        r"\max\left({0}, {1}\right)",
        "Math.max",
    ),
    Function(
        "logaddexp",
        np.logaddexp,
        ("d*sigmoid(a - b)", "d*sigmoid(b - a)"),
        "still",
        150,
        r"\log\left(e^{{{0}}} + e^{{{1}}}\right)",
        _LOGADDEXP,
        pytensor=_logaddexp_pytensor,
    ),
    Function(  # its derivatives are those of the implicit function
        "saturation",
        _saturation,
        (
            f"at_most({BELOW_ONE!r}, v, 0, d*v*(1 - v)/(1 - v + b*v))",
            f"at_most({BELOW_ONE!r}, v, 0, d*v*(1 - v)*log1p(-v)/(1 - v + b*v))",
        ),
        "level still tames",
        150,
        r"r\left(e^{{{0}}}, {1}\right)",
        _SATURATION,
        pytensor=_saturation_pytensor,
    ),
)
_LOG_NORMAL_DENSITY = "-0.5*a*a - 0.9189385332046727"  # log(2 pi)/2
_LOG_T_DENSITY = f"gammaln((b + 1)/2) - gammaln(b/2) - log({np.pi!r}*b)/2 - (b + 1)/2*log1p(a*a/b)"


def _log_t_density(module: ModuleType, gammaln: Callable[[Any], Any], z: Any, df: Any) -> Any:
    tail = (df + 1) / 2 * module.log1p(z * z / df)
    return gammaln((df + 1) / 2) - gammaln(df / 2) - module.log(np.pi * df) / 2 - tail


def _log_above_t(z: Any, df: Any) -> Any:
    """The logarithm of P(T > z) by NumPy; where that is too small for a number, by the first term of its series."""
    with np.errstate(all="ignore"):
        above = scipy.special.stdtr(df, -z)
        far = _log_t_density(np, scipy.special.gammaln, z, df) + np.log((df + z * z) / ((df + 1) * z))
        return np.where(above > 1e-300, np.log(np.maximum(above, 1e-300)), far)


def _log_above_t_pytensor(pt: ModuleType, z: Any, df: Any) -> Any:
    """By the trapezoidal rule over log u, P(T > z) = int density(z + u) du: exact to 1e-8, with slopes in any backend.

    PyTensor's incomplete beta function has no slope in JAX; one minus it is 0 in the tail.
    """
    z, df = pt.broadcast_arrays(pt.as_tensor_variable(z), pt.as_tensor_variable(df))
    step, beyond = 0.25, pt.abs(z)
    slope = (df + 1) * (beyond + 1) / (df + beyond**2)  # of the log density, about
    u = pt.exp(np.arange(-28.0, 14.0 + step, step)) / slope[..., None]
    square = (beyond[..., None] + u) ** 2 / df[..., None]
    density = pt.exp(-(df[..., None] + 1) / 2 * (pt.log1p(square) - pt.log1p(beyond**2 / df)[..., None]))
    above = _log_t_density(pt, pt.gammaln, beyond, df) + pt.log(step * (u * density).sum(axis=-1))
    return pt.switch(z >= 0, above, pt.log1p(-pt.exp(above)))


def _log_above_normal_pytensor(pt: ModuleType, z: Any) -> Any:
    scaled = pt.abs(z) / np.sqrt(2.0)
    above = pt.log(pt.erfcx(scaled) / 2) - scaled**2
    return pt.switch(z >= 0, above, pt.log1p(-pt.exp(above)))


_INNER_ROWS = (
    Function(  # x where a <= b, else y
        "at_most",
        lambda a, b, x, y: np.where(a <= b, x, y),
        ("0", "0", "at_most(a, b, d, 0)", "at_most(a, b, 0, d)"),
        "still cheap",
        pytensor=lambda pt, a, b, x, y: pt.switch(pt.le(a, b), x, y),
    ),
    Function("digamma", lambda x: scipy.special.digamma(x), ("",)),
    Function(
        "log_above_normal",
        lambda z: scipy.special.log_ndtr(-z),
        (f"-d*exp({_LOG_NORMAL_DENSITY} - v)",),
        pytensor=_log_above_normal_pytensor,
    ),
    Function(
        "log_above_t",
        _log_above_t,
        (f"-d*exp({_LOG_T_DENSITY} - v)", "d*log_above_t_by_df(a, b)"),
        pytensor=_log_above_t_pytensor,
    ),
    Function(  # by central differences; compiled code has it exactly
        "log_above_t_by_df",
        lambda z, df: (_log_above_t(z, df * (1 + 1e-5)) - _log_above_t(z, df * (1 - 1e-5))) / (2e-5 * df),
        ("",) * 2,
    ),
)
FUNCTIONS = {row.name: row for row in _ROWS}
INNER = {row.name: row for row in _INNER_ROWS}  # of derivatives and noises, not of laws
EVERY_FUNCTION = FUNCTIONS | INNER
