"""The optimal split by a law's [optimum], where it applies and agrees with the formula."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bayescale.budgets.cost import tokens_at
from bayescale.budgets.optimum import Problem, Split, best_split
from bayescale.budgets.surface import loss_at, loss_slope, loss_surface
from bayescale.errors import FitError
from bayescale.field import number_text
from bayescale.laws.formula import Node, evaluate
from bayescale.laws.law import Law, with_where

CLOSED_FORM_TOLERANCE = 1e-3  # of log N*, between a law file's [optimum] and the numeric one


def scale_free(problem: Problem) -> bool:
    """Whether a budget buys N D alone, whatever N is."""
    plain = problem.cost.is_training_compute and not problem.limits.any and problem.menu is None
    return plain and problem.surface.unique_tokens is None


def closed_form(law: Law, problem: Problem) -> Node | None:
    """The law's [optimum], if it has one and the problem's is the same."""
    return law.optimum if scale_free(problem) else None


def closed_form_split(law: Law, values: Mapping[str, Any], problem: Problem, budget: np.ndarray) -> Split | None:
    """The split by the law's [optimum]; None where it does not apply, or draws have none (exponents below 0, say).

    Raises FitError if the [optimum] is not that of the formula; a few draws are solved numerically.
    """
    formula = closed_form(law, problem)
    if formula is None:
        return None
    N = np.asarray(evaluate(formula, with_where(law, {**values, "C": budget})))
    few = {name: value[:5] if np.ndim(value) else value for name, value in values.items()}
    solved = best_split(replace(problem, surface=loss_surface(law, few)), budget)
    with np.errstate(all="ignore"):
        apart = np.where((solved.held == "") & np.isfinite(N[:5]), np.abs(np.log(solved.N / N[:5])), 0.0)
    if not float(apart.max()) <= CLOSED_FORM_TOLERANCE:
        raise FitError(
            f"law '{law.name}': its [optimum] is not where its formula is least (N* is off by a factor of "
            f"{number_text(np.exp(float(apart.max())))}); correct it, or delete it for a numerical optimum"
        )
    if not (np.isfinite(N) & (N > 0)).all():
        return None
    D = tokens_at(problem.cost, {}, N, budget)
    near = [(size, tokens_at(problem.cost, {}, size, budget)) for size in (N * 0.9, N * 1.1)]
    slopes = [loss_slope(problem.surface, size, tokens, -tokens) for size, tokens in near]
    if not ((slopes[0] < 0) & (slopes[1] > 0)).all():
        return None
    return Split(N, D, loss_at(problem.surface, N, D), np.full(N.shape, "", dtype=object))
