"""Where functions are least, and where they are 0: elementwise over arrays, between two ends."""

from collections.abc import Callable

import numpy as np

BRACKET_POINTS = 25
BRACKET_HALVINGS_MAX = 8  # of a bracket whose ends lie on a plateau
ABOVE_ROUNDING = 1e-10  # share of a value by which others are above it for certain
ROOT_STEPS_MAX = 60
ROOT_WIDTH = 1e-8  # of a bracket that is narrow enough


def minimise(
    objective: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    near: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where ``objective`` is least between ``low`` and ``high``, elementwise; and -1, 0 or 1: is that at an end?

    The least of GRID points brackets the minimum, or ``near`` does, give or take 1; the root of the slope places it.
    A well in a plain, whose slope is 0 beside it, is bracketed more closely first. Where the slope does not change its
    sign in the bracket the minimum is at an end.
    """
    if near is None:
        step = (high - low) / (BRACKET_POINTS - 1)
        best = objective(low)
        index = np.zeros(best.shape)
        for i in range(1, BRACKET_POINTS):
            value = objective(low + i * step)
            better = value < best
            np.copyto(best, value, where=better)
            index[better] = i
        left, right = low + np.maximum(index - 1, 0) * step, low + np.minimum(index + 1, BRACKET_POINTS - 1) * step
    else:
        shape = np.broadcast_shapes(near.shape, low.shape)
        left, right = (np.broadcast_to(np.clip(near + sign, low, high), shape) for sign in (-1, 1))
    f_left, f_right = slope(left), slope(right)
    if near is None and not ((f_left < 0) & (f_right > 0)).all():
        left, right = _closer(objective, slope, left, right, best)
        f_left, f_right = slope(left), slope(right)
    astray = ~((f_left < 0) & (f_right > 0)) & (np.abs(left - low) + np.abs(right - high) > 0)
    if astray.any():  # where all of the loss is its floor, values cannot find the bracket; the slope still can
        left, right = np.where(astray, low, left), np.where(astray, high, right)
        f_left, f_right = np.where(astray, slope(left), f_left), np.where(astray, slope(right), f_right)
    # NaN: an overflowing corner of the search, away from which the loss falls
    f_left, f_right = np.nan_to_num(f_left, nan=-1.0), np.nan_to_num(f_right, nan=1.0)
    at = np.where(f_left >= 0, -1, np.where(f_right <= 0, 1, 0))
    # an end that is the minimum is a bracket of no width: nothing is left to look for
    x = root(slope, np.where(at > 0, right, left), np.where(at < 0, left, right), f_left, f_right)
    at_low, at_high = np.abs(x - low) <= ROOT_WIDTH, np.abs(x - high) <= ROOT_WIDTH
    return x, np.where(at_low, -1, np.where(at_high, 1, 0))


def _closer(
    objective: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    best: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Brackets around grid points whose value is ``best``, drawn closer where a slope at an end does not lead inwards
    though the value there is clearly above the least: the end lies in a plain, or behind a crest."""
    for _ in range(BRACKET_HALVINGS_MAX):
        with np.errstate(invalid="ignore"):
            edge = np.minimum(objective(left), objective(right)) - best > ABOVE_ROUNDING * np.abs(best)
            plain = edge & ~((slope(left) < 0) & (slope(right) > 0))
        if not plain.any():
            break
        step = (right - left) / 4
        values = np.stack([objective(left + i * step) for i in (1, 2, 3)])
        least, at = values.min(axis=0), left + (values.argmin(axis=0) + 1) * step
        left, right = np.where(plain, at - step, left), np.where(plain, at + step, right)
        best = np.where(plain, least, best)
    return left, right


def root(
    function: Callable[[np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray, fa: np.ndarray, fb: np.ndarray
) -> np.ndarray:
    """Where ``function`` is 0 between a and b, elementwise, given its values of opposite sign there.

    Inverse quadratic interpolation where it can be trusted, else bisection (Chandrupatla 1997,
    doi:10.1016/s0965-9978(96)00051-8). Where the signs do not differ the result is of no use.
    """
    c, fc, t = a, fa, np.full(fa.shape, 0.5)
    with np.errstate(all="ignore"):
        for _ in range(ROOT_STEPS_MAX):
            x = a + t * (b - a)
            f = np.nan_to_num(function(x), nan=0.0)
            same = np.sign(f) == np.sign(fa)
            c, fc = np.where(same, a, b), np.where(same, fa, fb)
            b, fb = np.where(same, b, a), np.where(same, fb, fa)
            a, fa = x, f
            nearest = np.where(np.abs(fa) < np.abs(fb), a, b)
            least = 0.5 * ROOT_WIDTH / np.abs(b - a)
            if ((least > 0.5) | (f == 0)).all():
                break
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            trusted = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            inverse = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
            t = np.where(trusted & np.isfinite(inverse), inverse, 0.5)
            t = np.where(f == 0, 0.0, np.clip(t, np.minimum(least, 0.5), 1 - np.minimum(least, 0.5)))
    return nearest
