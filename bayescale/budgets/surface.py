"""A law as a function of N and D alone, over all draws at once: plain NumPy arrays [draw, budget]."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescale.field import TRAINING
from bayescale.laws.formula import Node, evaluate, parse
from bayescale.laws.law import split_law, with_where
from bayescale.laws.law_file import Law
from bayescale.laws.limits import PREDICTED
from bayescale.laws.slope import value_and_slope

_TRAINING = parse(TRAINING)
UNIQUE = "unique_tokens"  # the input of a law that knows repeated data


@dataclass(frozen=True)
class Surface:
    """The loss of a law as a function of N and D alone, for all draws: whatever else is in it has been computed.

    Attributes
    ----------
    trees : what is left of the law's sub-expressions and formula; ``known`` are the values of the rest [draw, 1]
    unique_tokens : how many distinct tokens there are, or None for a law that does not ask
    exchange : by how much the law errs in its trade between N and D [draw, 1 or budget], or None: the loss of N and D
        is then the law's at N e^-exchange and D e^exchange (see ``exchange.py``)
    compute : C as a formula of N and D
    """

    trees: Mapping[str, Node]
    known: Mapping[str, Any]
    unique_tokens: float | None = None
    exchange: np.ndarray | None = None
    compute: Node = _TRAINING


def thinned(surface: Surface, draws: int) -> Surface:
    """About so many of the draws of a law: enough for the median or the mean of a curve."""
    count = max((np.shape(value)[0] for value in surface.known.values() if np.ndim(value)), default=1)
    step = max(1, count // draws)
    return replace(surface, known={name: v[::step] if np.ndim(v) else v for name, v in surface.known.items()})


def loss_surface(
    law: Law, values: Mapping[str, Any], unique_tokens: float | None = None, compute: Node = _TRAINING
) -> Surface:
    """The law as a function of N and D alone.

    Parameters
    ----------
    values : parameters [draw, 1], reference constants and inputs besides N and D
    unique_tokens : how many distinct tokens there are; of fewer seen all are distinct
    compute : C as a formula of N and D, as the runs of the fit count it
    """
    trees, parts = split_law(law, values)
    before = with_where(law, values)
    known = {name: evaluate(part, before) for name, part in parts.items()}
    return Surface(trees, known, unique_tokens, compute=compute)


def loss_at(surface: Surface, N: Any, D: Any) -> np.ndarray:
    """Loss of the law [draw, ...] at sizes that broadcast with [draw, 1]."""
    here, _ = _inputs(surface, N, D, None)
    for name, tree in surface.trees.items():
        here[name] = evaluate(tree, here)
    return np.asarray(here[PREDICTED], dtype=float)


def loss_slope(surface: Surface, N: np.ndarray, D: np.ndarray, tokens_given_up: np.ndarray) -> np.ndarray:
    """d loss / d log N along a budget, ``tokens_given_up`` being d D / d log N there."""
    here, moving = _inputs(surface, N, D, tokens_given_up)
    for name, tree in surface.trees.items():
        here[name], slope = value_and_slope(tree, here, moving)
        if slope is not None:
            moving[name] = slope
    return np.asarray(moving[PREDICTED], dtype=float)


def _inputs(surface: Surface, N: Any, D: Any, tokens_given_up: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the formulas are given, and its derivatives by log N along a budget (none without ``tokens_given_up``)."""
    unique = surface.unique_tokens
    if surface.exchange is not None:
        rise = np.exp(surface.exchange)
        N, D = N / rise, D * rise
        tokens_given_up = None if tokens_given_up is None else tokens_given_up * rise
    here = {**surface.known, "N": N, "D": D}
    here["C"] = evaluate(surface.compute, here)
    if unique is not None:
        here[UNIQUE] = np.minimum(unique, D)
    if tokens_given_up is None:
        return here, {}
    moving: dict[str, Any] = {"N": N, "D": tokens_given_up}
    moving["C"] = value_and_slope(surface.compute, here, moving)[1]
    if unique is not None:
        moving[UNIQUE] = np.where(unique < D, 0.0, tokens_given_up)
    return here, moving
