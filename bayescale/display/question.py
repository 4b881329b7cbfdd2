"""Budgets to be split at one cost, within limits: a question of a page, whose answers are computed once."""

import functools
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from bayescale.budgets.allocate import allocate
from bayescale.budgets.cost import spend
from bayescale.budgets.decide import decide
from bayescale.budgets.optimum import Problem, best_split
from bayescale.budgets.problem import SplitOptions, compute_unit, problem_of
from bayescale.study import Study

BEYOND = 4.0  # decades past the most costly run at which frontiers and the page end
BUDGETS = 41  # of a frontier
EDGE_BUDGETS = np.arange(-4, 18) / 40  # decades past the most costly run: besides, where the discrepancy comes in


@dataclass(frozen=True, eq=False)
class Question:
    """Budgets, what a run costs, and what a split must keep to.

    Attributes
    ----------
    study : of a fit whose law splits budgets
    budgets : to be split, in the unit of the cost [budget]; may be empty
    options : as :func:`bayescale.allocate` takes them
    called : the unit of the budgets, or empty for what the cost says
    """

    study: Study
    budgets: np.ndarray = field(default_factory=lambda: np.zeros(0))
    options: SplitOptions = field(default_factory=lambda: SplitOptions())
    called: str = ""
    seed: int = 0

    @functools.cached_property
    def problem(self) -> Problem:
        """The options, checked."""
        return problem_of(self.study, seed=self.seed, **self.options)

    @property
    def unit(self) -> str:
        """Of the budgets; empty where nothing is known of it."""
        attrs = {"cost": self.problem.cost.text, "compute_counted": self.study.definition.formula}
        return self.called or compute_unit(attrs)

    @functools.cached_property
    def splits(self) -> list[xr.Dataset]:
        """The allocation of every budget by itself: what ``bayescale allocate`` says of that one."""
        splits = [allocate(self.study, budget, seed=self.seed, **self.options) for budget in self.budgets]
        return [split.assign_attrs(unit=self.called) for split in splits]

    @functools.cached_property
    def decision(self) -> xr.Dataset:
        """What to train on each budget."""
        return decide(self.study, self.budgets, seed=self.seed, **self.options).assign_attrs(unit=self.called)

    @functools.cached_property
    def cost_of_runs(self) -> tuple[float, float]:
        """Of the cheapest and of the most costly run, at the median of what is uncertain."""
        runs = self.study.runs
        if self.problem.cost.text == self.study.definition.formula:
            return float(runs["compute"].min()), self.study.largest_compute
        spent = spend_of(self, runs["params"].values, runs["tokens"].values)
        return float(spent.min()), float(spent.max())

    @functools.cached_property
    def frontier(self) -> xr.Dataset:
        """The allocation of budgets from the cheapest run to far beyond the most costly one.

        Budgets at which no split keeps to the limits are left out.
        """
        first, last = np.log10(self.cost_of_runs)
        logs = np.concatenate([np.linspace(first, last + BEYOND, BUDGETS), last + EDGE_BUDGETS])
        budgets = 10 ** np.unique(np.round(logs, 9))
        if self.problem.limits.any:
            loss = best_split(self.problem, budgets[None, :], strict=False).loss
            budgets = budgets[np.isfinite(loss).mean(axis=0) > 0.999]
        return allocate(self.study, budgets, exponents=False, seed=self.seed, **self.options)


def spend_of(question: Question, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """What runs cost, at the median of what is uncertain."""
    values = {name: np.median(one) for name, one in question.problem.cost_values.items()}
    return spend(question.problem.cost, values, N, D)


def frontier_of(study: Study) -> xr.Dataset:
    """The frontier of a study at the cost that its runs have, kept with :meth:`bayescale.study.Study.once`."""
    return Question(study).frontier
