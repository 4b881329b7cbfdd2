"""What a report is asked: its options, checked before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.problem import (
    DEFAULT_BUDGET_TIMES,
    SplitOptions,
    amount_in,
    budget_list,
    budgets_of,
    default_cost,
    limits_given,
    unit_given,
)
from bayescale.display.explorer import can_explore
from bayescale.display.question import Question
from bayescale.errors import FitError
from bayescale.field import BAND, names_text
from bayescale.fitting.doors import check_seed, goal, level_of, mapping, number, numbers, opened, opened_fit, what_is
from bayescale.forecasts.chain import falling
from bayescale.forecasts.discrepancy import has_drift
from bayescale.laws.groups import GROUP, with_codes
from bayescale.laws.law import SHARES, column, goal_sign
from bayescale.runs.spellings import SIZES
from bayescale.study import Study

OWN_TEXT_CHARACTERS_MAX = 2000  # of a title, an author, a note


Forecasts = list[tuple[str, xr.DataTree]]  # each of one run, with what it is of


@dataclass(frozen=True, eq=False)
class Asked:
    """What a report is to answer.

    Attributes
    ----------
    study : of the fit
    questions : budgets to be split, a question for each unit; none for a law that does not split
    planned : sizes of planned runs, by column, or None
    at : further inputs of the law, by column
    links : fits whose forecasts are inputs of the law, by column
    target : side and value of what is to be reached, or None
    other : a second fit, of another recipe
    level : what bands are to hold
    words : ``title``, ``author`` and ``note`` of the page, empty where not given
    """

    study: Study
    questions: tuple[Question, ...]
    planned: Mapping[str, np.ndarray] | None
    at: Mapping[str, float]
    links: Mapping[str, xr.DataTree]
    target: tuple[str, float] | None
    other: Study | None
    seed: int
    level: float = BAND
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> Question | None:
        """The question of compute as the runs count it, where the law splits it: the page's own arithmetic needs it."""
        if not can_explore(self.study.law) or self.study.definition.doubt:
            return None
        return self.questions[0] if self.questions[0].options.get("cost") is None else self.questions[-1]

    @property
    def asked(self) -> list[Question]:
        """Those with budgets."""
        return [one for one in self.questions if one.budgets.size]

    @property
    def target_text(self) -> str | None:
        """The target as a forecast's reading takes it."""
        return None if self.target is None else f"{self.target[0]} {self.target[1]!r}"


def asked_of(study: Study, wanted: Mapping[str, Any]) -> Asked:
    """The options of :func:`bayescale.report`, by name, checked.

    Raises FitError as :func:`bayescale.report`.
    """
    check_seed(wanted["seed"])
    law, joint = study.law, can_explore(study.law)
    at = {**mapping("at", wanted["at"])}
    at = {name: number(name, value, above=-np.inf) for name, value in with_codes(law.groups, at).items()}
    links = {name: opened_fit(fit) for name, fit in mapping("through", wanted["through"]).items()}
    target = wanted["target"]
    if target is not None:
        sign = goal_sign(law, falling({name: opened(one) for name, one in links.items()}))
        target = goal("target", target, sign, law.observed.column, has_drift(law), law.observed.scale in SHARES)
    known = {column(symbol) for symbol in law.inputs} - (set(SIZES) if joint else set())
    if wrong := sorted((set(at) | set(links)) - known):
        raise FitError(f"'{wrong[0]}' is not a further input of law '{law.name}'; those are {sorted(known) or 'none'}")
    if joint and (wanted["params"] is None) != (wanted["tokens"] is None):
        raise FitError("params and tokens go together: one of each for every planned run")
    questions = _questions(study, wanted, at) if joint else ()
    if not joint and (refused := [name for name in ("cost", "given", "limits", "menu") if wanted[name] is not None]):
        raise FitError(f"law '{law.name}' does not split a budget: it has no use for {refused[0]}")
    if not joint and wanted["compute"] is not None and "compute" not in known:
        raise FitError(f"law '{law.name}' does not split a budget of compute; give planned runs by its inputs")
    return Asked(
        study,
        questions,
        _planned(wanted, at, joint),
        at,
        links,
        target,
        None if wanted["other"] is None else opened(wanted["other"]),
        wanted["seed"],
        level_of(wanted["level"]),
        {name: _words(name, wanted[name]) for name in ("title", "author", "note")},
    )


def _planned(wanted: Mapping[str, Any], at: Mapping[str, float], joint: bool) -> dict[str, np.ndarray] | None:
    """Sizes of planned runs, by column; of a law that splits no budget its other inputs with them."""
    given = {name: wanted[name] for name in (SIZES[:2] if joint else SIZES)}
    found = {name: numbers(name, value) for name, value in given.items() if value is not None}
    found |= {} if joint else {name: numbers(name, value) for name, value in at.items()}
    return found or None


def _questions(study: Study, wanted: Mapping[str, Any], at: Mapping[str, float]) -> tuple[Question, ...]:
    """A question in the unit of the cost, if one was given, and one of compute as the runs count it."""
    given = mapping("given", wanted["given"])
    inputs = {column(symbol) for symbol in study.law.inputs} - set(SIZES) | {GROUP}
    of_law = {name: value for name, value in given.items() if name in inputs} | dict(at)
    if missing := sorted(inputs - {GROUP} - set(of_law) - {"unique_tokens"}):
        raise FitError(
            f"law '{study.law.name}' also needs {missing}; give one value of each (at={{...}}, --at NAME=VALUE)"
        )
    shared: SplitOptions = {"unique_tokens": wanted["unique_tokens"], "menu": wanted["menu"]}
    shared |= limits_given(wanted["limits"])
    cost, seed = wanted["cost"], wanted["seed"]
    flop, others, called = _by_unit(wanted["compute"], cost)
    found = []
    if cost is not None:
        question = Question(study, others, shared | {"cost": cost, "given": of_law | given}, called, seed)
        if wanted["compute"] is None:
            budget = _round(DEFAULT_BUDGET_TIMES * question.cost_of_runs[1])
            question = Question(study, np.array([budget]), question.options, "", seed)
        found.append(question)
    elif extra := sorted(set(given) - inputs):
        raise FitError(f"{names_text(extra)} given, but no cost uses them; say what a run costs (cost=..., --cost)")
    if not study.definition.doubt:
        if cost is None and wanted["compute"] is None:
            flop = np.array([_round(DEFAULT_BUDGET_TIMES * study.largest_compute)])
        found.append(Question(study, flop, shared | {"given": of_law or None}, seed=seed))
    elif flop.size:
        default_cost(study)  # FitError: such a budget has no meaning
    for question in found:
        question.problem  # noqa: B018  FitError before anything is computed
    return tuple(found)


def _by_unit(compute: Any, cost: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Budgets in FLOP, budgets in the unit of the cost, and how that unit is called.

    A number is in the unit of the cost, if there is one. A text may give its unit, ``"1e24 FLOP"``, ``"2e6 dollars"``.
    """
    flop: list[float] = []
    others: list[Any] = []
    for one in budget_list(compute):
        value, unit = amount_in(one)
        if unit == "FLOP" or (unit == "" and cost is None):
            flop.append(value)
        else:
            others.append(one)
    called = unit_given(others, cost)
    return _budgets(flop, None), _budgets(others, cost), called


def _budgets(values: list[Any], cost: str | None) -> np.ndarray:
    return budgets_of(values, cost) if values else np.zeros(0)


def _round(value: float) -> float:
    return float(f"{value:.1e}")


def _words(name: str, given: Any) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > OWN_TEXT_CHARACTERS_MAX:
        raise FitError(f"{name} = {what_is(given)}: a text of at most {OWN_TEXT_CHARACTERS_MAX} characters is expected")
    return given.strip()
