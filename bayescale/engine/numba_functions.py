"""What compiled densities call: exp, log and their like without branches, digamma, tails of noises, memory.

Loaded by the source that :mod:`bayescale.engine.numba_density` generates, by nothing else: importing it loads Numba.
``sqrt`` and ``gammaln`` are here for them alone. The loop over runs is vectorised because these are inlined and
neither branch nor call the C library.
"""

from math import erfc, floor, inf, nan, pi, sqrt, tan  # noqa: F401
from math import lgamma as gammaln
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bayescale.laws.functions import BELOW_ONE

inline = numba.njit(forceinline=True, error_model="numpy")  # no fastmath: the order of operations matters in these


@intrinsic
def bits(typing_context: Any, x: Any) -> Any:
    return types.int64(types.float64), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.IntType(64)
    )


@intrinsic
def double(typing_context: Any, x: Any) -> Any:
    return types.float64(types.int64), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.DoubleType()
    )


@intrinsic
def choose(typing_context: Any, condition: Any, a: Any, b: Any) -> Any:
    """``a if condition else b`` of numbers, both computed: without a branch, which costs time at every compilation."""
    signature = types.float64(types.boolean, types.float64, types.float64)
    return signature, lambda context, builder, signature, args: builder.select(*args)


@intrinsic
def at_most(typing_context: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """``x if a <= b else y``, in the same way."""
    signature = types.float64(types.float64, types.float64, types.float64, types.float64)
    return signature, lambda context, builder, signature, args: builder.select(
        builder.fcmp_ordered("<=", args[0], args[1]), args[2], args[3]
    )


BLOCK = 64  # runs at a time: what a density keeps of them, some twenty arrays, is in the nearest cache


@intrinsic
def memory(typing_context: Any) -> Any:
    """BLOCK numbers on the stack, of which the compiler knows that nothing else is there."""

    def address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.alloca_once(builder, ir.DoubleType(), size=BLOCK)

    return types.CPointer(types.float64)(), address


# without branches or calls, so that the loop over runs is vectorised; of normal numbers, within two units of the last
# place of the C library's (Cody and Waite's reductions; the polynomial of log is that of fdlibm's e_log.c)
@inline
def exp(x: float) -> float:
    t = min(max(x, -708.0), 709.0) * 1.4426950408889634 + 6755399441055744.0  # the low bits of t are round(x/log 2)
    k = t - 6755399441055744.0
    r = (min(max(x, -708.0), 709.0) - k * 0.6931471803691238) - k * 1.9082149292705877e-10
    p = 1.6059043836821613e-10  # 1/13!
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = (p * r) * r + r + 1.0
    value = double(bits(p) + (bits(t) << 52))
    value = value if x <= 709.0 else inf
    value = value if x >= -708.0 else 0.0
    return value if x == x else x


@inline
def log(x: float) -> float:
    b = bits(x)
    e = (b - 4604544271217802189) >> 52  # of x / sqrt(1/2)
    f = double(b - (e << 52)) - 1.0
    k = double(e + 4843621399236968448) - 6755399441055744.0
    s = f / (2.0 + f)
    z = s * s
    r = 1.479819860511658591e-01
    r = r * z + 1.531383769920937332e-01
    r = r * z + 1.818357216161805012e-01
    r = r * z + 2.222219843214978396e-01
    r = r * z + 2.857142874366239149e-01
    r = r * z + 3.999999999940941908e-01
    r = r * z + 6.666666666666735130e-01
    h = 0.5 * f * f
    value = k * 6.93147180369123816490e-01 - ((h - (s * (h + r * z) + k * 1.90821492927058770002e-10)) - f)
    value = value if x < inf else x
    return value if x > 0.0 else (-inf if x == 0.0 else nan)


@inline
def log1p(x: float) -> float:
    u = 1.0 + x
    return log(u) + (x - (u - 1.0)) / u if 0.0 < u < inf else log(u)


@inline
def expm1(x: float) -> float:
    u = exp(x)  # Kahan's way: the error of u - 1 is that of log(u), and cancels
    value = (u - 1.0) * x / log(u) if 0.0 < u < inf else u - 1.0
    return value if u != 1.0 else x


@inline
def tanh(x: float) -> float:
    t = expm1(-2.0 * abs(x))
    value = -t / (2.0 + t)
    return value if x >= 0.0 else -value


@inline
def minimum(a: float, b: float) -> float:
    return choose((a <= b) | (a != a), a, b)


@inline
def maximum(a: float, b: float) -> float:
    return choose((a >= b) | (a != a), a, b)


@inline
def log10(x: float) -> float:
    return log(x) * 0.4342944819032518


@inline
def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


@inline
def logaddexp(a: float, b: float) -> float:
    return max(a, b) + (log1p(exp(-abs(a - b))) if a != b else 0.6931471805599453)


@numba.njit(error_model="numpy")
def digamma(x: float) -> float:
    """By recurrence up to x >= 10, then the asymptotic series (Abramowitz and Stegun 6.3.18), to 1e-14."""
    if not abs(x) < 1e15:
        return log(x)
    below = 0.0
    if x < 0.0:  # reflection
        below = -pi / tan(pi * (x - floor(x)))
        x = 1.0 - x
    while x < 10.0:
        below -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return below + log(x) - 0.5 / x - series


@inline
def _nearer(s: float, y: float, b: float) -> float:
    t = exp(-abs(s))
    more, less, tail = 1.0 / (1.0 + t), t / (1.0 + t), log1p(t)
    value = b * (max(s, 0.0) + tail) - (max(-s, 0.0) + tail) - y
    return s - value / choose(s >= 0.0, less + b * more, more + b * less)


@inline
def saturation(log_z: float, alpha: float) -> float:
    """See ``_saturation_root`` in functions.py, and there why it starts where it does."""
    z, a = min(max(log_z, -1e5), 1e300), max(alpha, 1e-300)
    b, y = choose(a < 1.0, 1.0 / a, a), choose(a < 1.0, max(-z / a, -1e300), z)
    x = y + log(b)
    w = (max(x, 0.0) + log1p(exp(-abs(x)))) / b
    inside = log(expm1(min(max(w, 1e-300), 30.0)))
    s = choose(x < -30.0, y, choose(w > 30.0, w, inside))
    s = _nearer(_nearer(_nearer(_nearer(s, y, b), y, b), y, b), y, b)
    value = min(sigmoid(choose(a < 1.0, -s, s)), BELOW_ONE)
    return choose((alpha >= 0.0) & (log_z == log_z), value, nan)


@numba.njit(error_model="numpy")
def log_above_normal(z: float) -> float:
    """The logarithm of the probability that a standard normal number is above z."""
    if z < 0.0:
        return log1p(-0.5 * erfc(z * -0.7071067811865476)) if z > -40.0 else 0.0 * z
    if z < 30.0:
        return log(0.5 * erfc(z * 0.7071067811865476))
    y = 1.0 / (z * z)
    return -0.5 * z * z - 0.9189385332046727 - log(z) + log1p(-y * (1.0 - y * (3.0 - y * (15.0 - 105.0 * y))))


@numba.njit(error_model="numpy")
def _fraction(p: float, q: float, x: float, p_slope: float, q_slope: float, x_slope: float) -> tuple[float, float]:
    """The continued fraction of the incomplete beta function I_x(p, q) (NIST 8.17.22), and its derivative.

    By Lentz's method; quick where x < (p + 1)/(p + q + 2). Slopes are the derivatives of the arguments.
    """
    c, c_slope = 1.0, 0.0
    d, d_slope = 1.0, 0.0
    value, slope = 1.0, 0.0
    for k in range(1, 2000):
        m = k // 2
        if k % 2:
            term = -(p + m) * (p + q + m) * x / ((p + 2 * m) * (p + 2 * m + 1))
            relative = p_slope / (p + m) + (p_slope + q_slope) / (p + q + m) + x_slope / x
            relative -= p_slope / (p + 2 * m) + p_slope / (p + 2 * m + 1)
            term_slope = term * relative
        else:
            over = m * x / ((p + 2 * m - 1) * (p + 2 * m))
            term = (q - m) * over
            term_slope = q_slope * over + term * (x_slope / x - p_slope / (p + 2 * m - 1) - p_slope / (p + 2 * m))
        c_slope = term_slope / c - term * c_slope / (c * c) if k > 1 else 0.0
        c = 1.0 + term / c if k > 1 else 1.0
        below, below_slope = 1.0 + term * d, term_slope * d + term * d_slope
        d, d_slope = 1.0 / below, -below_slope / (below * below)
        step, step_slope = c * d, c_slope * d + c * d_slope
        value, slope = value * step, slope * step + value * step_slope
        if abs(step - 1.0) < 1e-15 and abs(step_slope * value) <= 1e-15 * abs(slope) + 1e-300:
            break
    return value, slope


@numba.njit(error_model="numpy")
def _above_t(z: float, df: float) -> tuple[float, float]:
    """log P(T > z) of Student's T, and its derivative by the degrees of freedom; z >= 0."""
    if z == 0.0:
        return -0.6931471805599453, 0.0
    z = min(z, 1e150)
    a, w = 0.5 * df, df + z * z
    x, y = df / w, z * z / w
    log_x = log1p(-y) if y < 0.5 else log(x)
    # P = I_x(a, 1/2)/2 = (1 - I_y(1/2, a))/2; front is x**a y**.5 / B(a, 1/2)
    front = a * log_x + 0.5 * log(y) - gammaln(a) - 0.5723649429247001 + gammaln(a + 0.5)
    front_slope = 0.5 * log_x + a * y / df - 0.5 / w - 0.5 * (digamma(a) - digamma(a + 0.5))
    if x < (a + 1.0) / (a + 2.5):
        value, slope = _fraction(a, 0.5, x, 0.5, 0.0, x * y / df)
        return front - log(df) + log(value), front_slope - 1.0 / df + slope / value
    value, slope = _fraction(0.5, a, y, 0.0, 0.5, -y / w)
    inside = 2.0 * value * exp(front)
    return -0.6931471805599453 + log1p(-inside), -inside / (1.0 - inside) * (front_slope + slope / value)


@numba.njit(error_model="numpy")
def log_above_t(z: float, df: float) -> float:
    """The logarithm of the probability that Student's T is above z."""
    if z >= 0.0:
        return _above_t(z, df)[0]
    return log1p(-exp(_above_t(-z, df)[0])) if z > -1e8 else 0.0 * z  # there for runs that are not censored


@numba.njit(error_model="numpy")
def log_above_t_by_df(z: float, df: float) -> float:
    """The derivative of :func:`log_above_t` by the degrees of freedom."""
    if not z > -1e8:
        return 0.0
    value, slope = _above_t(abs(z), df)
    return slope if z >= 0.0 else -slope * exp(value) / (1.0 - exp(value))
