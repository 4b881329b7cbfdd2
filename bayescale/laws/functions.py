"""The functions of the formula language: one row says what each is in NumPy, PyTensor, machine code, JavaScript, LaTeX.

What a row names and no library has is written in :mod:`bayescale.engine.numba_functions` (compiled code) and in
:mod:`bayescale.laws.javascript`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy


@dataclass(frozen=True)
class Function:
    """One function of the language, in each back end.

    Attributes
    ----------
    numpy : its value
    slopes : its derivative by each argument, by NumPy, given the arguments and the value
    kernel : source of its value ({a} and {b} are the arguments), then of its derivative by each argument times {d}; {v}
        is the value
    pytensor : attribute of ``pytensor.tensor``, looked up only when a PyTensor argument is seen, or a function
    javascript, latex : {0}, {1} stand for the rendered arguments
    milliseconds : what one call more in a formula adds to the time that compiling it takes (two cores of 2026)
    """

    numpy: Callable[..., Any]
    slopes: tuple[Callable[..., Any], ...]
    kernel: tuple[str, ...]
    pytensor: str | Callable[..., Any]
    javascript: str
    latex: str
    milliseconds: int

    @property
    def arity(self) -> int:
        """How many arguments it takes."""
        return len(self.slopes)


def _logaddexp_pytensor(a: Any, b: Any) -> Any:
    """PyTensor's own builds a graph that takes ten times as long to compile, and this is as exact."""
    pt = sys.modules["pytensor.tensor"]
    most, least = pt.switch(pt.ge(a, b), a, b), pt.switch(pt.ge(a, b), b, a)
    gap = pt.switch(pt.isinf(most), 0.0, least - most)  # not inf - inf
    return most + pt.switch(pt.isinf(most), 0.0, pt.softplus(gap))


def _minimum_pytensor(a: Any, b: Any) -> Any:
    """PyTensor's own has both slopes where the arguments are equal."""
    pt = sys.modules["pytensor.tensor"]
    return pt.switch(pt.le(a, b) | pt.isnan(a), a, b)


def _maximum_pytensor(a: Any, b: Any) -> Any:
    pt = sys.modules["pytensor.tensor"]
    return pt.switch(pt.ge(a, b) | pt.isnan(a), a, b)


def _abs_pytensor(x: Any) -> Any:
    return sys.modules["pytensor.tensor"].switch(x >= 0, x, -x)


SATURATION_STEPS = 9  # of Newton: to a few units of the last place
SMALL_ALPHA, LARGE_ALPHA = 1e-3, 100.0  # beyond them Newton starts elsewhere
BELOW_ONE = 1 - 2.0**-53  # the largest share that is not rounded to 1, of which nothing is left


def _saturation(log_z: Any, alpha: Any) -> Any:
    """r in (0, 1) with r / (1 - r)**alpha = z, by Newton on the logit of r, where the equation is monotone.

    There is none for an alpha below 0: not a number. Dimensions of DataArrays are matched by name.
    """
    if not (hasattr(log_z, "dims") or hasattr(alpha, "dims")):
        return _saturation_arrays(log_z, alpha)
    import xarray as xr  # whoever has a DataArray has loaded it

    return xr.apply_ufunc(_saturation_arrays, log_z, alpha)


def _saturation_arrays(log_z: Any, alpha: Any) -> Any:
    log_z, alpha = np.clip(log_z, -1e300, 1e300), np.where(alpha >= 0, np.maximum(alpha, 1e-300), np.nan)
    s = _saturation_start(np, log_z, alpha)
    for _ in range(SATURATION_STEPS):
        s = _saturation_step(s, log_z, alpha, np.logaddexp, scipy.special.expit)
    return np.minimum(scipy.special.expit(s), BELOW_ONE)


def _saturation_start(xp: Any, log_z: Any, alpha: Any) -> Any:
    """Near the root: with a small alpha r is z up to nearly 1; with a large one, r*exp(alpha*r) is z."""
    large, small = xp.maximum(alpha, LARGE_ALPHA), xp.minimum(alpha, SMALL_ALPHA)
    far = xp.log(xp.logaddexp(0.0, log_z + xp.log(large))) - xp.log(large)
    turn = -xp.log(small) - xp.log(-xp.log(small))
    below = xp.minimum(-xp.log(xp.expm1(xp.clip(-log_z, 0.0, 100.0))), turn)
    near = xp.where(log_z > 0, xp.clip(log_z / small, turn, 1e300), below)
    tail, middle = log_z < -100.0, xp.minimum(log_z, log_z / xp.maximum(alpha, SMALL_ALPHA))
    outside = xp.where(tail, log_z, xp.where(alpha > LARGE_ALPHA, far, near))
    return xp.where((alpha >= SMALL_ALPHA) & (alpha <= LARGE_ALPHA), middle, outside)


def _saturation_step(s: Any, log_z: Any, alpha: Any, logaddexp: Callable, sigmoid: Callable) -> Any:
    """One Newton step for -log(1 + exp(-s)) + alpha*log(1 + exp(s)) = log z."""
    value = alpha * logaddexp(0.0, s) - logaddexp(0.0, -s) - log_z
    return s - value / (sigmoid(-s) + alpha * sigmoid(s))


def _saturation_pytensor(log_z: Any, alpha: Any) -> Any:
    """The same; one step more carries the gradient: at the root it is that of the implicit function."""
    pt = sys.modules["pytensor.tensor"]
    from pytensor.gradient import disconnected_grad

    log_z, alpha = pt.clip(log_z, -1e300, 1e300), pt.switch(pt.ge(alpha, 0), pt.maximum(alpha, 1e-300), np.nan)
    fixed_z, fixed_alpha = disconnected_grad(log_z), disconnected_grad(alpha)
    s = _saturation_start(pt, fixed_z, fixed_alpha)
    for _ in range(SATURATION_STEPS):
        s = _saturation_step(s, fixed_z, fixed_alpha, _logaddexp_pytensor, pt.sigmoid)
    share = pt.sigmoid(_saturation_step(disconnected_grad(s), log_z, alpha, _logaddexp_pytensor, pt.sigmoid))
    return pt.switch(share > BELOW_ONE, BELOW_ONE, share)


def _saturation_slope(by_logit: Any, alpha: Any, r: Any) -> Any:
    """Of the implicit function; none where r is as near to 1 as a number can be."""
    return np.where(r < BELOW_ONE, by_logit * r * (1 - r) / (1 - r + alpha * r), 0.0)


FUNCTIONS = {
    "exp": Function(
        np.exp,
        (lambda x, v: v,),
        ("exp({a})", "{d} * {v}"),
        "exp",
        "Math.exp({0})",
        r"\exp\left({0}\right)",
        120,
    ),
    "log": Function(
        np.log,
        (lambda x, v: 1 / x,),
        ("log({a})", "{d} / {a}"),
        "log",
        "Math.log({0})",
        r"\log\left({0}\right)",
        80,
    ),
    "log10": Function(
        np.log10,
        (lambda x, v: 1 / (x * np.log(10.0)),),
        ("log10({a})", f"{{d}} / ({{a}} * {np.log(10.0).item()!r})"),
        "log10",
        "Math.log10({0})",
        r"\log_{{10}}\left({0}\right)",
        80,
    ),
    "log1p": Function(
        np.log1p,
        (lambda x, v: 1 / (1 + x),),
        ("log1p({a})", "{d} / (1.0 + {a})"),
        "log1p",
        "Math.log1p({0})",
        r"\log\left(1 + {0}\right)",
        80,
    ),
    "expm1": Function(
        np.expm1,
        (lambda x, v: v + 1,),
        ("expm1({a})", "{d} * ({v} + 1.0)"),
        "expm1",
        "Math.expm1({0})",
        r"\left(\exp\left({0}\right) - 1\right)",
        120,
    ),
    "sqrt": Function(
        np.sqrt,
        (lambda x, v: 0.5 / v,),
        ("sqrt({a})", "0.5 * {d} / {v}"),
        "sqrt",
        "Math.sqrt({0})",
        r"\sqrt{{{0}}}",
        40,
    ),
    "abs": Function(
        np.abs,
        (lambda x, v: np.where(x >= 0, 1.0, -1.0),),
        ("abs({a})", "choose({a} >= 0.0, {d}, -{d})"),
        _abs_pytensor,
        "Math.abs({0})",
        r"\left|{0}\right|",
        60,
    ),
    "tanh": Function(
        np.tanh,
        (lambda x, v: 1 - v**2,),
        ("tanh({a})", "{d} * (1.0 - {v} * {v})"),
        "tanh",
        "Math.tanh({0})",
        r"\tanh\left({0}\right)",
        150,
    ),
    "sigmoid": Function(
        lambda x: scipy.special.expit(x),
        (lambda x, v: v * (1 - v),),
        ("sigmoid({a})", "{d} * {v} * (1.0 - {v})"),
        "sigmoid",
        "sigmoid({0})",
        r"\sigma\left({0}\right)",
        120,
    ),
    "gammaln": Function(
        lambda x: scipy.special.gammaln(x),
        (lambda x, v: scipy.special.digamma(x),),
        ("lgamma({a})", "{d} * digamma({a})"),
        "gammaln",
        "gammaln({0})",
        r"\log\Gamma\left({0}\right)",
        100,
    ),
    "minimum": Function(  # what is not a number stays so, in every back end
        np.minimum,
        (lambda a, b, v: np.where(a <= b, 1.0, 0.0), lambda a, b, v: np.where(a <= b, 0.0, 1.0)),
        (
            "choose(({a} <= {b}) | ({a} != {a}), {a}, {b})",
            "choose({a} <= {b}, {d}, 0.0)",
            "choose({a} <= {b}, 0.0, {d})",
        ),
        _minimum_pytensor,
        "Math.min({0}, {1})",
        r"\min\left({0}, {1}\right)",
        140,
    ),
    "maximum": Function(
        np.maximum,
        (lambda a, b, v: np.where(a >= b, 1.0, 0.0), lambda a, b, v: np.where(a >= b, 0.0, 1.0)),
        (
            "choose(({a} >= {b}) | ({a} != {a}), {a}, {b})",
            "choose({a} >= {b}, {d}, 0.0)",
            "choose({a} >= {b}, 0.0, {d})",
        ),
        _maximum_pytensor,
        "Math.max({0}, {1})",
        r"\max\left({0}, {1}\right)",
        140,
    ),
    "logaddexp": Function(
        np.logaddexp,
        (lambda a, b, v: scipy.special.expit(a - b), lambda a, b, v: scipy.special.expit(b - a)),
        ("logaddexp({a}, {b})", "{d} * sigmoid({a} - {b})", "{d} * sigmoid({b} - {a})"),
        _logaddexp_pytensor,
        "logaddexp({0}, {1})",
        r"\log\left(e^{{{0}}} + e^{{{1}}}\right)",
        150,
    ),
    "saturation": Function(  # its derivatives are those of the implicit function
        _saturation,
        (
            lambda log_z, alpha, r: _saturation_slope(1.0, alpha, r),
            lambda log_z, alpha, r: _saturation_slope(np.log1p(-r), alpha, r),
        ),
        (
            "saturation({a}, {b})",
            "choose({v} < BELOW_ONE, {d} * {v} * (1.0 - {v}) / (1.0 - {v} + {b} * {v}), 0.0)",
            "choose({v} < BELOW_ONE, {d} * {v} * (1.0 - {v}) * log1p(-{v}) / (1.0 - {v} + {b} * {v}), 0.0)",
        ),
        _saturation_pytensor,
        "saturation({0}, {1})",
        r"r\left(e^{{{0}}}, {1}\right)",
        150,
    ),
}
