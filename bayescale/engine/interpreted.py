"""The functions of :mod:`bayescale.engine.numba_density` by NumPy, at many positions at once.

For some thousands of calls on few runs that is over before a compiler would be done.
"""

from typing import Any

import numpy as np

from bayescale.engine.numba_density import LARGEST, Function, unblock
from bayescale.jobs.threads import blocks, in_threads
from bayescale.laws.formula import evaluate
from bayescale.laws.slope import value_and_slope


def log_densities(function: Function, data: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Log density at every position [draw, parameter]; -inf where it is not finite (its gradient is not looked at).

    Parameters
    ----------
    data : what :func:`bayescale.engine.numba_density.block` returns
    """
    known = unblock(function, data)
    parts = blocks(len(position), int(data[0]))
    return np.concatenate(in_threads(lambda part: _log_densities(function, known, position[part]), parts))


def _log_densities(function: Function, known: dict[str, Any], position: np.ndarray) -> np.ndarray:
    values = known | {name: position[:, i, None] for i, name in enumerate(function.position)}
    for name, tree in function.definitions.items():
        values[name] = evaluate(tree, values)
    once, each = (evaluate(tree, values) for tree in (function.once, function.each))
    return _finite(_total(once, each, (len(position), _runs(function, values))))


def gradients(function: Function, data: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log density [draw] and its gradient [draw, parameter] at every position; -inf where either is not finite.

    By forward differentiation (:mod:`bayescale.laws.slope`) along every parameter at once, so its cost grows with their
    number; a compiled gradient takes as long as a few values.
    """
    known = unblock(function, data)
    parts = blocks(len(position), int(data[0]) * position.shape[1])
    values, slopes = zip(*(_gradients(function, known, position[part]) for part in parts), strict=True)
    return np.concatenate(values), np.concatenate(slopes)


def _gradients(function: Function, known: dict[str, Any], position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    draws, dim = position.shape
    values = known | {name: position[:, i, None, None] for i, name in enumerate(function.position)}
    slopes = dict(zip(function.position, np.eye(dim)[..., None], strict=True))  # each [direction, run]
    for name, tree in function.definitions.items():
        values[name], slope = value_and_slope(tree, values, slopes)
        slopes |= {} if slope is None else {name: slope}
    (once, by_once), (each, by_each) = (
        value_and_slope(tree, values, slopes) for tree in (function.once, function.each)
    )
    runs = _runs(function, values)
    value = _finite(_total(once, each, (draws, 1, runs))[:, 0])
    slope = _total(0.0 if by_once is None else by_once, 0.0 if by_each is None else by_each, (draws, dim, runs))
    return np.where(np.isfinite(slope).all(axis=1), value, -np.inf), slope


def _runs(function: Function, values: dict[str, Any]) -> int:
    return len(values[function.columns[0]])


def _total(once: Any, each: Any, shape: tuple[int, ...]) -> np.ndarray:
    """``once`` and the sum of ``each`` over the runs, the last of the dimensions of ``shape``."""
    with np.errstate(all="ignore"):  # what is not finite is found afterwards
        return np.broadcast_to(each, shape).sum(axis=-1) + np.broadcast_to(once, (*shape[:-1], 1))[..., 0]


def _finite(value: np.ndarray) -> np.ndarray:
    return np.where(np.abs(value) < LARGEST, value, -np.inf)
