"""Where functions are least, and where they are 0: elementwise over arrays, between two ends."""

from collections.abc import Callable

import numpy as np

BRACKET_POINTS = 25
CLIFF_POINTS = 100  # where some of those have no finite value: a well between cliffs may be narrow
BRACKET_HALVINGS_MAX = 8  # of a bracket whose ends lie on a plateau
ABOVE_ROUNDING = 1e-10  # share of a value by which others are above it for certain
STEP_HALVINGS = 40  # to 1e-12 of the distance between points of the grid
ROOT_STEPS_MAX = 60
ROOT_WIDTH = 1e-8  # of a bracket that is narrow enough
Function = Callable[[np.ndarray], np.ndarray]  # elementwise


def minimise(
    objective: Function, slope: Function, low: np.ndarray, high: np.ndarray, near: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where ``objective`` is least between ``low`` and ``high``, elementwise; its value; -1, 0 or 1: is that at an end?

    The least point of a grid brackets the minimum, or ``near`` does, give or take 1; the root of the slope
    places it. Where the points show a second well, that is searched alike and the lower minimum taken. Where the slope
    leads to no value as low as that of a point, as beside a cliff or on a plain of zeros, values alone place it.
    """
    if near is not None:
        shape = np.broadcast_shapes(near.shape, low.shape)
        left, right = (np.broadcast_to(np.clip(near + sign, low, high), shape) for sign in (-1, 1))
        x = _root_between(objective, slope, (left, right), (slope(left), slope(right)), low, high)
        return x, objective(x), _end(x, low, high)
    for points in (BRACKET_POINTS, CLIFF_POINTS):
        step = (high - low) / (points - 1)
        index, best, other, finite = _wells(objective, low, step, points)
        if finite:
            break
    x, value = _in_well(objective, slope, (low, high), step, index, best)
    if (other != index).any():
        x_other, value_other = _in_well(objective, slope, (low, high), step, other, objective(low + other * step))
        lower = (value_other < value) & (other != index)
        x, value = np.where(lower, x_other, x), np.where(lower, value_other, value)
    missed = ~(value <= best + ABOVE_ROUNDING * np.abs(best)) & np.isfinite(best)
    if missed.any():
        x = np.where(missed, _by_values(objective, low, high, low + index * step, step), x)
        value = objective(x)
    return x, value, _end(x, low, high)


def _end(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """-1 where x is ``low``, 1 where it is ``high``, else 0."""
    return np.where(np.abs(x - low) <= ROOT_WIDTH, -1, np.where(np.abs(x - high) <= ROOT_WIDTH, 1, 0))


def _wells(
    objective: Function, low: np.ndarray, step: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Index of the least point of a grid, its value, and index of the least in another well, the same without one.

    A well is a point from which the values clearly rise on both sides. Last: are all values finite?
    """
    before = objective(low)
    best, index = before.copy(), np.zeros(before.shape)
    first, second = np.full(best.shape, np.inf), np.full(best.shape, np.inf)  # values of the least two wells
    at_first, at_second = index.copy(), index.copy()
    fell = np.ones(best.shape, dtype=bool)
    finite = bool(np.isfinite(before).all())
    for i in range(1, points + 1):
        value = objective(low + i * step) if i < points else np.full(best.shape, np.inf)
        finite &= i == points or bool(np.isfinite(value).all())
        better = value < best
        np.copyto(best, value, where=better)
        index[better] = i
        with np.errstate(invalid="ignore"):
            clearly = np.abs(value - before) > ABOVE_ROUNDING * np.abs(before)
        rises = value > before
        fell &= rises & clearly  # now: is the point before a well?
        if fell.any():
            least, next_least = fell & (before < first), fell & (before < second) & (before >= first)
            np.copyto(second, np.where(least, first, before), where=least | next_least)
            np.copyto(at_second, np.where(least, at_first, i - 1), where=least | next_least)
            np.copyto(first, before, where=least)
            at_first[least] = i - 1
        before, fell = value, ~rises & clearly
    other, at_other = np.where(at_first == index, second, first), np.where(at_first == index, at_second, at_first)
    return index, best, np.where(np.isfinite(other), at_other, index), finite


def _in_well(
    objective: Function,
    slope: Function,
    limits: tuple[np.ndarray, np.ndarray],
    step: np.ndarray,
    index: np.ndarray,
    best: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The minimum beside a point of the grid whose value is ``best``, and its value.

    A well in a plain, whose slope is 0 beside it, is bracketed more closely first.
    """
    low, high = limits
    left, right = (np.clip(low + (index + side) * step, low, high) for side in (-1, 1))
    slopes = slope(left), slope(right)
    if not ((slopes[0] < 0) & (slopes[1] > 0)).all():
        left, right = _closer(objective, slope, left, right, best)
        slopes = slope(left), slope(right)
    x = _root_between(objective, slope, (left, right), slopes, low, high)
    return x, objective(x)


def _root_between(
    objective: Function,
    slope: Function,
    ends: tuple[np.ndarray, np.ndarray],
    slopes: tuple[np.ndarray, np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Where the slope, given at two ends, turns from below 0 to above it; or the end that it falls towards."""
    (left, right), (f_left, f_right) = ends, slopes
    width = np.maximum(right - left, ROOT_WIDTH)
    while True:  # where all of the loss is its floor, values cannot find the bracket; the slope still can
        go_left, go_right = ~(f_left < 0) & (left > low), ~(f_right > 0) & (right < high)
        if not (go_left | go_right).any():
            break
        left = np.where(go_left, np.maximum(left - width, low), left)
        right = np.where(go_right, np.minimum(right + width, high), right)
        f_left = np.where(go_left, _known_slope(objective, slope, left, -np.inf), f_left)
        f_right = np.where(go_right, _known_slope(objective, slope, right, np.inf), f_right)
        width = 2 * width
    # NaN: an overflowing corner of the search, away from which the loss falls
    unknown = np.where(np.isinf(f_left) | np.isnan(f_left), -1.0, np.where(np.isfinite(f_right), 0.0, 1.0))
    f_left, f_right = np.nan_to_num(f_left, nan=-1.0), np.nan_to_num(f_right, nan=1.0)
    at = np.where(f_left >= 0, -1, np.where(f_right <= 0, 1, 0))

    def known(x: np.ndarray) -> np.ndarray:
        found = slope(x)
        return np.where(np.isnan(found), unknown, found)

    # an end that is the minimum is a bracket of no width: nothing is left to look for
    return root(known, np.where(at > 0, right, left), np.where(at < 0, left, right), f_left, f_right)


def _known_slope(objective: Function, slope: Function, x: np.ndarray, away: float) -> np.ndarray:
    """The slope, or ``away`` where it or the value is no number: the loss falls from there."""
    found = slope(x)
    return np.where(np.isfinite(objective(x)) & ~np.isnan(found), found, away)


def _by_values(objective: Function, low: np.ndarray, high: np.ndarray, x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The least value within ``step`` of x, by ever smaller steps to where it is lower."""
    value = objective(x)
    for _ in range(STEP_HALVINGS):
        step = step / 2
        for side in (np.clip(x - step, low, high), np.clip(x + step, low, high)):
            here = objective(side)
            x, value = np.where(here < value, side, x), np.fmin(here, value)
    return x


def _closer(
    objective: Function, slope: Function, left: np.ndarray, right: np.ndarray, best: np.ndarray
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


def root(function: Function, a: np.ndarray, b: np.ndarray, fa: np.ndarray, fb: np.ndarray) -> np.ndarray:
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
