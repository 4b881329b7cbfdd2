"""The functions of :mod:`bayescale.kernel` by NumPy, at many positions at once: for some thousands of calls on few runs
that is over before a compiler would have started."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bayescale.formula import Node, evaluate
from bayescale.kernel import LARGEST, Function, unblock
from bayescale.slope import value_and_slope
from bayescale.threads import blocks, in_threads


def log_densities(function: Function, data: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Log density at every position [draw, parameter]; -inf where it is not finite.

    Parameters
    ----------
    data : what :func:`bayescale.kernel.block` returns
    """
    known = unblock(function, data)
    parts = blocks(len(position), int(data[0]))
    return np.concatenate(in_threads(lambda part: _sum(function, known, position[part]), parts))


def _sum(function: Function, known: dict[str, Any], position: np.ndarray) -> np.ndarray:
    values = known | {name: position[:, i, None] for i, name in enumerate(function.position)}
    for name, tree in function.definitions.items():
        values[name] = evaluate(tree, values)
    return _finite(_total(function, lambda tree: evaluate(tree, values), values, (len(position),)))


def gradients(function: Function, data: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log density [draw] and its exact gradient [draw, parameter] at every position; -inf where it is not finite."""
    draws, dim = position.shape
    values = unblock(function, data)
    slopes: dict[str, Any] = {}
    for i, name in enumerate(function.position):  # [draw, direction, run]
        values[name], slopes[name] = position[:, i, None, None], np.eye(dim)[i][:, None]
    for name, tree in function.definitions.items():
        values[name], slope = value_and_slope(tree, values, slopes)
        slopes |= {} if slope is None else {name: slope}
    found = {tree: value_and_slope(tree, values, slopes) for tree in (function.once, function.each)}
    value = _total(function, lambda tree: found[tree][0], values, (draws, 1))[:, 0]
    slope = _total(function, lambda tree: 0.0 if found[tree][1] is None else found[tree][1], values, (draws, dim))
    return np.where(np.isfinite(slope).all(axis=1), _finite(value), -np.inf), slope


def _total(function: Function, of: Callable[[Node], Any], values: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """What ``of`` says of ``once``, and of ``each`` summed over the runs."""
    runs = len(values[function.columns[0]])
    each = np.broadcast_to(of(function.each), (*shape, runs)).sum(axis=-1)
    return each + np.broadcast_to(of(function.once), (*shape, 1))[..., 0]


def _finite(value: np.ndarray) -> np.ndarray:
    return np.where(np.abs(value) < LARGEST, value, -np.inf)
