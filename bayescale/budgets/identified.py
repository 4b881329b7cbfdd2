"""What holds an optimal split, and when it must not be believed."""

import json
from dataclasses import replace

import numpy as np
import xarray as xr

from bayescale.budgets.closed_form import closed_form
from bayescale.budgets.cost import parse_cost, spend
from bayescale.budgets.optimum import EDGE, Limits, Problem, Split, best_split
from bayescale.budgets.problem import problem_values
from bayescale.budgets.surface import loss_surface
from bayescale.fitting.diagnostics import diagnostics
from bayescale.laws.formula import evaluate
from bayescale.laws.law import sample_priors, with_where
from bayescale.runs.lint_sizes import plausible_counts
from bayescale.study import Study

HELD_SHARE = 0.01  # of the draws: above it the split counts as held by a limit
SET_SHARE = 0.9  # of the draws: above it limits set the split, and nothing in it rests on the runs
PRIOR_WIDTH_SHARE_MAX = 0.6  # of the prior's band of log N*: a wider band is not learnt from the runs
PRIOR_SPLIT_DRAWS = 1000
FEW_SIZES = ("few_sizes", "few_token_counts")  # notes of the lint: the runs do not separate N, or D


def held_text(split: Split) -> list[str]:
    """For each budget, the limits that hold the split in more than HELD_SHARE of the draws; or an empty text."""
    texts = []
    for names in split.held.T:
        shares = {name: float((names == name).mean()) for name in dict.fromkeys(names) if name not in ("", EDGE)}
        texts.append(
            "; ".join(f"{name} in {100 * s:.0f} % of the draws" for name, s in shares.items() if s > HELD_SHARE)
        )
    return texts


def not_identified(study: Study, problem: Problem, budget: np.ndarray, split: Split) -> list[str]:
    """For each budget, why its optimum must not be believed; or an empty text."""
    law, report = study.law, diagnostics(study)
    edge = (split.held == EDGE).mean(axis=0)
    free = ((split.held == "") | (split.held == EDGE)).mean(axis=0) > 1 - SET_SHARE
    free |= problem.menu is not None  # which of its sizes is best is learnt, be it the first or the last
    share_of_prior = np.zeros(budget.shape[1])
    if free.any():
        share_of_prior[free] = _share_of_prior(study, problem, budget, split, np.flatnonzero(free))
    runs, parameters = study.runs.sizes["run"], len(law.priors)
    notes, data = json.loads(study.attrs["notes"]), study.runs
    few = [note["text"] for note in notes if note["code"] in FEW_SIZES]
    units = [note["text"] for note in notes if note["code"] == "units"]
    reasons = []
    for outside, learnt, share in zip(edge, free, share_of_prior, strict=True):
        if units and not plausible_counts(data["params"].values, data["tokens"].values):
            reasons.append(units[0])
        elif outside > HELD_SHARE:
            reasons.append(f"no optimum inside the searched range in {100 * outside:.0f} % of the draws")
        elif not learnt:
            reasons.append("")
        elif report["collinear"]:
            reasons.append("N and D move together in the runs: the split comes from the prior")
        elif runs <= parameters:
            reasons.append(f"{runs} runs do not tell the {parameters} parameters of the law: the prior sets the split")
        elif few:
            reasons.append(few[0])
        elif not share < PRIOR_WIDTH_SHARE_MAX:
            reasons.append(f"the band is {100 * share:.0f} % as wide as the prior's: the runs do not fix the split")
        else:
            reasons.append("")
    return reasons


def marked(result: xr.Dataset, reasons: list[str], along: str = "budget") -> xr.Dataset:
    """A result with ``identified`` and ``why_not`` [``along``]."""
    return result.assign(identified=(along, [not reason for reason in reasons]), why_not=(along, reasons))


def _share_of_prior(study: Study, problem: Problem, budget: np.ndarray, split: Split, which: np.ndarray) -> np.ndarray:
    """Width of the band of log N* relative to the band that the law's priors alone give, of some budgets."""
    law = study.law
    drawn = sample_priors(law, PRIOR_SPLIT_DRAWS, np.random.default_rng(0))
    prior = {name: draws[:, None] for name, draws in drawn.items()}
    values = problem_values(study, problem.inputs) | prior
    surface = loss_surface(law, values, problem.surface.unique_tokens, problem.surface.compute)
    budget, ours = budget[:, which], split.N[:, which]
    if problem.menu is not None:  # sizes of a menu have no width: the free splits of the same training compute do
        sizes, tokens = (np.median(part[:, which], axis=0) for part in (split.N, split.D))
        plain = parse_cost(study.definition.formula, {})
        budget = spend(plain, {}, sizes, tokens)[None, :]
        problem = replace(problem, cost=plain, cost_values={}, menu=None, limits=Limits())
        ours = best_split(problem, budget, strict=False).N
    elif problem.cost.uncertain or problem.limits.any:  # these widen both bands, or cut both, alike
        middle = {name: float(np.median(value)) for name, value in problem.cost_values.items()}
        problem = replace(problem, cost_values=middle, limits=Limits())
        ours = best_split(problem, budget, strict=False).N
    formula = closed_form(law, problem)
    if formula is not None:
        theirs = evaluate(formula, with_where(law, values | {"C": budget}))
    else:
        theirs = best_split(replace(problem, surface=surface), budget, strict=False).N
    with np.errstate(divide="ignore", invalid="ignore"):  # a law without an optimum has no width either
        return _width(ours) / _width(theirs)


def _width(sizes: np.ndarray) -> np.ndarray:
    low, high = np.nanquantile(np.log(sizes), [0.05, 0.95], axis=0)
    return high - low
