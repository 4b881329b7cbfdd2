"""From a fit and the options of an allocation to a problem: what may be chosen, what it costs, what it brings."""

from collections.abc import Mapping, Sized
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from bayescale.budgets.cost import check_rises, draw_quantities, parse_cost, quantity
from bayescale.budgets.optimum import LIMITS, Limits, Problem, Split, tokens_within
from bayescale.budgets.surface import UNIQUE, Surface, loss_surface
from bayescale.errors import FitError
from bayescale.field import (
    FLOPS_PER_PARAM_TOKEN,
    SIZES_SAID,
    TRAINING,
    clipped,
    listed,
    names_text,
    number_in,
    number_text,
    size_text,
)
from bayescale.fitting.doors import ends_in, mapping, number, numbers, what_is
from bayescale.forecasts.discrepancy import has_drift
from bayescale.laws.groups import GROUP, with_codes
from bayescale.laws.law import Law, is_joint
from bayescale.runs.compute import counted
from bayescale.runs.loss_unit import unit_sentence
from bayescale.runs.size_unit import flop_in
from bayescale.study import Study

MENU_MAX = 1000  # architectures
BUDGET_SHARE_MIN = 1e-6  # of the smallest run's compute: a smaller budget is a typing error
TRAINING_FLOP_MAX = 1e32
DEFAULT_BUDGET_TIMES = 10.0  # the most costly run: the budget where none is given


class SplitOptions(TypedDict, total=False):
    """Options that every question about a split takes; :func:`bayescale.allocate` says what they mean."""

    cost: str | None
    given: Mapping[str, Any] | None
    params: Any
    tokens: Any
    ratio: Any
    unique_tokens: float | None
    menu: Any


def problem_of(study: Study, *, seed: int = 0, **options: Unpack[SplitOptions]) -> Problem:
    """The options of an allocation, checked, as a :class:`bayescale.budgets.optimum.Problem` over the draws of a fit.

    Raises FitError if the law does not depend on N and D, an input or a value of the cost is missing or superfluous, a
    formula cannot be read, or the limits contradict each other. Raises TypeError if there is no such option.
    """
    if unknown := sorted(set(options) - set(SplitOptions.__annotations__)):
        raise TypeError(f"'{unknown[0]}' is no option of a split; they are {', '.join(SplitOptions.__annotations__)}")
    law = study.law
    check_splits(law)
    given = with_codes(law.groups, mapping("given", options.get("given")))
    if clash := sorted({"N", "D", "C"} & set(given)):
        said = "cannot be given a value: it is what the split decides; limits are params and tokens"
        raise FitError(f"{clash[0]} {said}")
    items, cost = _menu(options.get("menu")), options.get("cost")
    cost = default_cost(study) if cost is None else cost
    parsed = parse_cost(cost, given, set(items or ()) - {"params"})
    others = set(law.inputs) - {"N", "D", "C"}
    unique_tokens = options.get("unique_tokens")
    if unique_tokens is None and UNIQUE in others:  # a run that is shorter has seen fewer, however it is given
        unique_tokens = given.pop(UNIQUE, None)
    if unique_tokens is not None:
        unique_tokens = number("unique_tokens", unique_tokens)
        if UNIQUE not in others:
            raise FitError(
                f"law '{law.name}' does not know repeated data (no input '{UNIQUE}'); take a law that does, "
                "or keep to one pass with the limit tokens=(None, most)"
            )
        others -= {UNIQUE}
    symbols = inputs_given(law, others, given, "besides N and D")
    if unused := set(given) - set(parsed.given) - others:
        raise FitError(
            f"{names_text(unused)} given, but neither the cost '{clipped(cost)}' nor the law '{law.name}' uses them"
        )
    values = problem_values(study, symbols)
    drawn = draw_quantities(parsed.given, study.draw_count, np.random.default_rng(seed))
    if items is None:
        check_rises(parsed, drawn)
    surface = loss_surface(law, values, unique_tokens, study.definition.tree)
    return Problem(surface, parsed, drawn, _limits(options), items, symbols)


def check_splits(law: Law) -> None:
    """Raise FitError if a law says nothing of how to split a budget."""
    if not is_joint(law):
        raise FitError(f"law '{law.name}' uses {list(law.inputs)}; a split of compute needs a law of N and D")
    if not has_drift(law):
        raise FitError(
            f"law '{law.name}' explains '{law.observed.column}' ({law.observed.scale}), not a loss; "
            "a split of compute is chosen by the loss it brings"
        )
    if law.no_split:
        raise FitError(f"law '{law.name}' does not split a budget: {law.no_split}")


def inputs_given(
    law: Law, names: set[str], given: Mapping[str, Any], besides: str, option: str = "--given"
) -> dict[str, float]:
    """Values of some inputs of a law, by symbol; a group by its name. ``option`` of the command line gives them."""
    given = with_codes(law.groups, given)
    missing = sorted(names - set(given))
    if law.groups and GROUP in missing:
        raise FitError(law.groups.question)
    if missing:
        raise FitError(
            f"law '{law.name}' needs {missing} {besides}; give them by name (given={{'{missing[0]}': ...}}, "
            f"{option} {missing[0]}=...)"
        )
    symbols = {}
    for name in sorted(names):
        value = quantity(name, given[name])
        if not isinstance(value, float) or value < 0:
            said = f"an input of the law '{law.name}' is one number of at least 0 here"
            raise FitError(f"{name} = {given[name]!r}: {said}")
        symbols[name] = value
    return symbols


def limits_given(limits: Any, *further: str) -> SplitOptions:
    """Limits of a split by name, and further options, where one argument has them all."""
    known, given = (*LIMITS, *further), mapping("limits", limits)
    if wrong := sorted(set(given) - set(known)):
        raise FitError(f"limits: '{wrong[0]}' is none of {names_text(known)}")
    return dict(given)  # type: ignore[return-value]  # which has options of a split alone


def _limits(options: SplitOptions) -> Limits:
    limits = Limits(*(_limit(name, options.get(name)) for name in LIMITS))
    for name, pair in vars(limits).items():
        if pair[0] > pair[1]:
            ends = "..".join(map(size_text, pair))
            raise FitError(f"{name} = {ends}: the least is above the most; no split can keep to that")
    if limits.params[0] == limits.params[1] and limits.tokens[0] == limits.tokens[1]:
        raise FitError("both params and tokens are held: nothing is left to split; forecast gives the loss of that run")
    return limits


def problem_values(study: Study, symbols: Mapping[str, float]) -> dict[str, Any]:
    """What a law needs besides N and D: parameters [draw, 1], reference constants, other inputs."""
    return {name: study.draws[name] for name in (*study.law.priors, *study.law.constants)} | dict(symbols)


def law_surface(study: Study) -> Surface:
    """The law of a study, of N and D alone, as a function of them."""
    return loss_surface(study.law, problem_values(study, {}), None, study.definition.tree)


def default_cost(study: Study) -> str:
    """What a run costs where nothing else is said: compute, as the fit's own runs count it.

    Raises FitError if their compute does not follow from N and D.
    """
    definition = study.definition
    if definition.doubt:
        raise FitError(
            f"{definition.doubt}; say what a run costs: cost='6*N*D' (--cost '6*N*D'), or the formula of your own count"
        )
    return definition.formula


def budgets_of(compute: Any, cost: str | None = None) -> np.ndarray:
    """Budgets [budget], checked: finite, and under the default cost enough for one token and one parameter.

    A text may give the unit of the cost, ``"2e6 dollars"``. Raises FitError, naming the first budget that is of no use.
    """
    training = cost is None or cost == TRAINING
    unit_given(compute, cost)
    compute = [amount_in(one)[0] for one in budget_list(compute)] if _has_unit(compute) else compute
    budgets = numbers("compute", compute, " of FLOP" if training else "")
    least = FLOPS_PER_PARAM_TOKEN if training else 0.0
    bad = budgets[~(np.isfinite(budgets) & (budgets > least))]
    if bad.size:
        raise FitError(
            f"compute = {number_text(bad[0], 6)}: a budget must be finite and above "
            f"{number_text(least, 6)}{' FLOP' if training else ''}"
        )
    return budgets


def unit_given(compute: Any, cost: str | None) -> str:
    """The unit that texts give to budgets, ``"2e6 dollars"``, empty for numbers alone.

    Raises FitError if nothing counts in that unit.
    """
    if not _has_unit(compute):
        return ""
    units = list(dict.fromkeys(unit for _, unit in map(amount_in, budget_list(compute)) if unit))
    if len(units) > 1:
        raise FitError(f"budgets in {listed(units)}: one cost has one unit")
    if units[0] != "FLOP" and cost is None:
        raise FitError(f"a budget in {units[0]}: say what a run costs in that unit (cost=..., --cost)")
    if units[0] == "FLOP" and cost not in (None, TRAINING):
        raise FitError(
            f"a budget in FLOP, but a run costs {clipped(cost)}: leave the cost out, or give a number in its unit"
        )
    return units[0]


def budget_list(compute: Any) -> list[Any]:
    """Budgets one by one; none for None."""
    if compute is None:
        return []
    return [compute] if isinstance(compute, str) or np.ndim(compute) == 0 else list(compute)


def amount_in(given: Any) -> tuple[Any, str]:
    """A budget and its unit, empty for a number alone.

    >>> amount_in("2e6 dollars"), amount_in("10 ZFLOP"), amount_in(1e24)
    ((2000000.0, 'dollars'), (1e+22, 'FLOP'), (1e+24, ''))
    """
    if not isinstance(given, str):
        return given, ""
    text, _, unit = given.strip().partition(" ")
    if (value := number_in(text)) is None:
        raise FitError(f"compute = {clipped(given)}: a number is expected, or one with its unit, such as '2e6 dollars'")
    flop = flop_in(unit) if unit else None
    return (value, unit.strip()) if flop is None else (value * flop, "FLOP")


def _has_unit(compute: Any) -> bool:
    texts = [compute] if isinstance(compute, str) else compute if isinstance(compute, list | tuple) else []
    return any(isinstance(one, str) and " " in one.strip() for one in texts)


def _limit(name: str, given: Any) -> tuple[float, float]:
    """(least, most) of what was given: None, a number that holds it, a pair with None for an open end, or 7B..70B."""
    if given is None:
        return 0.0, np.inf
    given = ends_in(given)
    held, expected = isinstance(given, str), "a number or a pair (least, most), None for an open end,"
    try:
        pair: Any = (given, given) if held else () if isinstance(given, bytes | Mapping) else given
        low, high = pair
    except TypeError:  # no pair
        low, high, held = given, given, True
    except ValueError:
        raise FitError(f"{name} = {what_is(given)}: {expected} is expected") from None
    if held:
        ends = (number(name, given, expected),) * 2
    else:
        ends = 0.0 if low is None else number(name, low), np.inf if high is None else number(name, high)
    return ends


def _menu(menu: Any) -> dict[str, np.ndarray] | None:
    """A menu of architectures as columns [item], sorted by params."""
    if menu is None:
        return None
    menu = menu.split(",") if isinstance(menu, str) else menu
    if isinstance(menu, Mapping | pd.DataFrame):
        table = {str(name): menu[name] for name in menu}
    else:
        table = {"params": menu}
    if "params" not in table:
        raise FitError(f"a menu needs the column 'params'; its columns are {names_text(table)}")
    if isinstance(table["params"], Sized) and not len(table["params"]):
        raise FitError("the menu is empty: nothing can be chosen; list at least one architecture")
    try:
        columns = {name: numbers(name, values) for name, values in table.items()}
    except FitError as error:
        raise FitError(
            f"a menu is a list of sizes N, or a table of numbers with the column 'params': {error}"
        ) from None
    if len({values.shape for values in columns.values()}) != 1:
        raise FitError("the columns of a menu must be flat and of one length")
    if columns["params"].size > MENU_MAX:
        raise FitError(f"a menu of {columns['params'].size} architectures: at most {MENU_MAX} are allowed")
    for name, values in columns.items():
        bad = values[~(np.isfinite(values) & (values > 0))]
        if bad.size:
            raise FitError(f"menu: {clipped(name)} = {number_text(bad[0], 6)}: a finite number above 0 is expected")
    order = np.argsort(columns["params"], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def median_split(problem: Problem, split: Split, budgets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One split a budget: the posterior median of N*, and the tokens that the budget buys at it [budget].

    Where the cost is uncertain these are the median over its draws.
    """
    N = np.exp(np.median(np.log(split.N), axis=0))
    if problem.menu is not None:  # the median of two sizes need not be a size of the menu
        sizes = problem.menu["params"]
        N = sizes[np.abs(np.log(sizes)[None, :] - np.log(N)[:, None]).argmin(axis=1)]
    return N, np.nanmedian(tokens_within(problem, N[None, :], budgets[None, :], menu_columns(problem, N)), axis=0)


def menu_columns(problem: Problem, N: np.ndarray) -> dict[str, np.ndarray]:
    """What else the cost needs of the architectures of a menu nearest to sizes N [1, size]; nothing without a menu."""
    if problem.menu is None:
        return {}
    items = np.abs(np.log(problem.menu["params"])[None, :] - np.log(N)[:, None]).argmin(axis=1)
    return {name: values[items][None, :] for name, values in problem.menu.items() if name != "params"}


def check_scale(study: Study, budgets: np.ndarray, split: Split) -> None:
    """Raise FitError if the runs that budgets [budget] buy are of a scale that no run of this kind ever had."""
    definition = study.definition
    smallest = float(definition.compute(study.runs["params"], study.runs["tokens"]).min())
    for budget, N, D in zip(budgets, *(np.median(part, axis=0) for part in (split.N, split.D)), strict=True):
        trained = float(definition.compute(N, D))
        buys = f"a budget of {number_text(budget, 4)} buys a run of {number_text(trained, 2)} FLOP"
        if trained < BUDGET_SHARE_MIN * smallest:
            raise FitError(
                f"{buys}, less than a millionth of the smallest run of the fit ({number_text(smallest, 2)}); write "
                "budgets in full, such as 1e24"
            )
        if trained > TRAINING_FLOP_MAX:
            raise FitError(f"{buys}; at most {number_text(TRAINING_FLOP_MAX, 6)} are answered; check its unit")


def forecast_inputs(problem: Problem, D: np.ndarray) -> dict[str, Any]:
    """What :func:`bayescale.forecast` needs of runs of D tokens besides N and D."""
    unique = problem.surface.unique_tokens
    return problem.covariates | ({} if unique is None else {UNIQUE: np.minimum(unique, D)})


def result_attrs(study: Study, kind: str, cost: str, seed: int, **others: Any) -> dict[str, Any]:
    """What every result about a split says of itself: what made it, what its numbers rest on, no empty text."""
    return {
        "kind": kind,
        "law": study.law.name,
        "seed": seed,
        "cost": cost,
        "compute_counted": study.definition.formula,
        "loss_unit": study.loss_unit,
        "diagnostics": study.attrs["diagnostics"],
    } | {name: value for name, value in others.items() if value != ""}


def units_said(attrs: Mapping[Any, Any]) -> str:
    """Units of loss, size and compute of a result, in sentences."""
    group = f" Of the group {attrs['group']}." if "group" in attrs else ""
    return f"{unit_sentence(attrs)} {SIZES_SAID}. {counted(attrs)}{group}"


def compute_unit(attrs: Mapping[Any, Any]) -> str:
    """FLOP where a result's budgets are compute as the runs count it, else the unit of the cost, where it was named."""
    return "FLOP" if attrs["cost"] == attrs.get("compute_counted", TRAINING) else attrs.get("unit", "")
