"""The head of a report: question, answer, the price of being wrong, and what would change the answer."""

from typing import Any

import numpy as np

from bayescale.budgets.allocate import read as read_allocation
from bayescale.budgets.decide import read as read_decision
from bayescale.budgets.decide import unknown_splits
from bayescale.display.question import Question
from bayescale.display.report_asked import Asked, Forecasts
from bayescale.display.report_evidence import Part
from bayescale.display.report_parts import SPOKEN
from bayescale.display.table import size_band_text
from bayescale.field import band_ends, band_percent, listed, number_text, quantity_text, size_text
from bayescale.fitting.diagnostics import diagnostics
from bayescale.forecasts.forecast import read as read_forecast
from bayescale.forecasts.unknown import unknown_forecast
from bayescale.laws.groups import group_of

RULE_WASTES_MORE = 0.005  # of the budget, than the chosen size: a rule of thumb is mentioned
WRITTEN_OUT = (1e3, 1e12)  # amounts of money or hours that are written out
TAKEN_AT_ITS_WORD = "Taken at its word, the fit says"
ANSWERS = 3  # sentences; further forecasts and budgets are in the tables


def head_part(asked: Asked, forecasts: Forecasts, sensitive: Any, gains: list[Part]) -> dict[str, Any]:
    """The sentences of the head, by what they are for."""
    answers = answer(asked, forecasts)
    return {
        "question": question_text(asked),
        "answer": answers[:ANSWERS],
        "more": len(answers) - ANSWERS,
        "price": price(asked, forecasts),
        "changes": changes(asked, forecasts, sensitive, gains),
    }


def budget_text(question: Question, value: float) -> str:
    """A budget with its unit: 1e24 FLOP, 2,000,000 dollars."""
    plain = question.unit != "FLOP" and WRITTEN_OUT[0] <= value < WRITTEN_OUT[1]
    return f"{f'{float(f"{value:.4g}"):,.0f}' if plain else number_text(value)} {question.unit}".strip()


def _planned_text(asked: Asked, i: int) -> str:
    """One planned run in words, as it was asked for."""
    sizes = {name: values[i if len(values) > 1 else 0] for name, values in (asked.planned or {}).items()}
    sizes |= group_of(asked.study.law, sizes)
    spoken = {"params": "{} parameters", "tokens": "{} tokens", "compute": "{}"}
    told = [
        spoken[name].format(quantity_text(name, value)) if name in spoken else f"{name} {quantity_text(name, value)}"
        for name, value in sizes.items()
    ]
    return " on ".join(told) if list(sizes) == ["params", "tokens"] else listed(told)


def question_text(asked: Asked) -> str:
    """What was asked, in one sentence."""
    observed, parts = asked.study.law.observed.column, []
    count = max((len(values) for values in (asked.planned or {}).values()), default=0)
    if count:
        runs = [f"a run of {_planned_text(asked, i)}" for i in range(count)]
        parts.append(f"what {observed} will {listed(runs)} end at")
    budgets = [budget_text(one, value) for one in asked.asked for value in one.budgets]
    if budgets:
        limits = _limits_text(asked.asked[0])
        within = f" with {limits}" if limits else ""
        parts.append(f"which model should be trained for {' or '.join(budgets)}{within}")
    if asked.target is not None:
        parts.append(f"will it reach {number_text(asked.target[1], 6)}, and what is the least that does")
    if asked.other is not None:
        parts.append(f"and is the recipe of {asked.other.attrs['source']} better")
    if not parts:
        return f"What do these runs tell of the {observed}?"
    said = ", and ".join(parts).replace(", and and ", ", and ")
    return said[:1].upper() + said[1:] + "?"


def _limits_text(question: Question) -> str:
    limits, said = question.problem.limits, []
    for what, (low, high) in (
        ("parameters", limits.params),
        ("tokens", limits.tokens),
        ("tokens per parameter", limits.ratio),
    ):
        if low == high:
            said.append(f"{size_text(low)} {what}")
            continue
        said += [f"at least {size_text(low)} {what}"] if low > 0 else []
        said += [f"at most {size_text(high)} {what}"] if high < float("inf") else []
    unique = question.problem.surface.unique_tokens
    said += [f"{size_text(unique)} distinct tokens"] if unique is not None else []
    if question.problem.menu is not None:
        said.append("one of " + ", ".join(size_text(size) for size in question.problem.menu["params"]))
    return listed(said)


def _loss_text(asked: Asked, tree: Any) -> str:
    observed = asked.study.law.observed.column
    row = read_forecast(tree, target=asked.target_text, level=asked.level).frame.iloc[0]
    low, high = (row[f"{observed}_{end}"] for end in band_ends(asked.level))
    text = f"{row[f'{observed}_q50']:.3f}, with {band_percent(asked.level)} probability between {low:.3f} and "
    text += f"{high:.3f}"
    if asked.target is not None:
        sign, value = asked.target
        text += f"; it reaches {number_text(value, 6)} or {'less' if sign == '<=' else 'more'} with probability "
        text += f"{row['p_reach']:.2f}"
    return text


def answer(asked: Asked, forecasts: Forecasts) -> list[str]:
    """The answer in plain words: what a planned run will show, what to train, and the loss it will show."""
    observed, sentences = asked.study.law.observed.column, []
    planned = [tree for name, tree in forecasts if name == "planned"]
    article = "an" if observed[:1] in "aeiou" else "a"
    for i, tree in enumerate(planned):
        run, loss = f"a run of {_planned_text(asked, i)}", f"{article} {observed} of {_loss_text(asked, tree)}"
        if unknown := unknown_forecast(tree):
            sentences.append(f"{unknown.said(f'What {observed} {run} will end at')} {TAKEN_AT_ITS_WORD} {loss}.")
        else:
            sentences.append(f"{run[:1].upper()}{run[1:]} is forecast to end at {loss}.")
    chosen = iter([tree for name, tree in forecasts if name != "planned"])
    for question in asked.asked:
        for split in question.splits:
            sentences.append(_split_answer(asked, question, split, next(chosen)))
    return sentences or ["No planned run was given: this page says what the runs tell of the law."]


def _split_answer(asked: Asked, question: Question, split: Any, tree: Any) -> str:
    budget = budget_text(question, float(split["compute"].values[0]))
    row = read_forecast(tree).frame.iloc[0]
    size = f"{size_text(row['params'])} parameters on {size_text(row['tokens'])} tokens"
    unknown = unknown_splits(question.decision).get(float(split["compute"].values[0]))
    if unknown is None:
        return f"For {budget}, train {size}: the loss is forecast to end at {_loss_text(asked, tree)}."
    said, loss = unknown.said(f"For {budget} the best split"), f"a loss of {_loss_text(asked, tree)}"
    if not bool(split["identified"].values[0]):
        return f"{said} A run shaped as these runs are, {size}, is forecast to end at {loss}."
    return f"{said} {TAKEN_AT_ITS_WORD} {size}, and {loss}."


def price(asked: Asked, forecasts: Forecasts) -> list[str]:
    """What it costs to be wrong: about the size, and about the loss."""
    sentences = []
    for question in asked.asked:
        frame, unknown = read_decision(question.decision).frame, unknown_splits(question.decision)
        for value in (one for one in question.budgets if float(one) not in unknown):
            rows = frame[frame["compute"] == value]
            if len(rows):
                tolerance = question.decision.attrs["tolerance"]
                sentences += _size_price(rows, budget_text(question, value), tolerance)
    sentences += [_loss_price(asked, name, tree) for name, tree in forecasts[:1] if unknown_forecast(tree) is None]
    return sentences or ["As the answer is not known, neither is what it costs to be wrong."]


def _size_price(rows: Any, budget: str, tolerance: float) -> list[str]:
    """What another size costs, and the chosen one, at a budget."""
    row, little = rows.iloc[0], f"less than {number_text(100 * tolerance, 6)} % of the loss more"
    middle, most = (number_text(round(100 * row[f"compute_regret_{q}"], 3), 2) for q in ("q50", "q95"))
    any_size = f"any size between {size_text(row.flat_low)} and {size_text(row.flat_high)} costs {little}"
    if row.flat_low == row.flat_high:
        any_size = f"no other size costs {little}"
    wasted = "nothing" if middle == "0" else f"{middle} % of the budget"
    said = [
        f"{budget}: {any_size}. At the median the chosen size wastes {wasted}, and with 95 % probability less than "
        f"{most} % of the budget."
    ]
    rule = rows[rows["choice"].str.startswith("20 tokens") & rows["allowed"]]
    if len(rule) and rule.iloc[0].compute_regret_q50 > row.compute_regret_q50 + RULE_WASTES_MORE:
        wasted = number_text(100 * rule.iloc[0].compute_regret_q50, 2)
        said.append(
            f"{budget}: 20 tokens per parameter ({size_text(rule.iloc[0].params)}) would waste {wasted} % of it."
        )
    return said


def _loss_price(asked: Asked, name: str, tree: Any) -> str:
    observed, ends = asked.study.law.observed.column, band_ends(asked.level)
    row = read_forecast(tree, level=asked.level).frame.iloc[0]
    worse, edge = ("below", "q05") if tree.attrs["goal"] == ">=" else ("above", "q95")
    law = " to ".join(f"{row[f'law_{observed}_{end}']:.3f}" for end in ends)
    run = "planned run" if name == "planned" else "chosen run"
    text = f"The {observed}: one {run} in twenty ends {worse} {row[f'{observed}_{edge}']:.3f}."
    return f"{text} The law alone would promise {law}, which is too narrow to plan by." if tree.attrs["drift"] else text


def changes(asked: Asked, forecasts: Forecasts, sensitive: Any, gains: list[Part]) -> list[str]:
    """What would change the answer, the strongest first."""
    sentences, study = [], asked.study
    for question in asked.asked:
        for split in question.splits:
            row, ends = read_allocation(split, level=asked.level).frame.iloc[0], tuple(band_ends(asked.level))
            if float(row["compute"]) in unknown_splits(question.decision):
                continue
            budget = budget_text(question, row["compute"])
            sentences.append(
                f"{budget}: more runs could move the best size within {size_band_text(row, 'params', ends)}; if the "
                f"law were exactly right it would be {size_band_text(row, 'law_params', ends)}."
            )
            if row["held"]:
                sentences.append(
                    f"{budget}: your limit holds the split ({row['held']}); without it the answer differs."
                )
        sentences += _cost_changes(question)
    if asked.other is not None:
        recipe = f"the recipe of {asked.other.attrs['source']}"
        for gain in gains:
            sentences += [_gain_text(recipe, asked.level, row) for _, row in gain["result"].frame.iterrows()]
    shares = [_shares_text(tree) for _, tree in forecasts[:1]]
    sentences += [text for text in shares if text]
    if sensitive is not None and not diagnostics(study)["collinear"]:
        moved = [row for row in sensitive.itertuples() if row.decided_by != "runs"]
        sentences += [f"{row.says[:1].upper()}{row.says[1:].rstrip('.')}." for row in moved]
        if not moved:
            sentences.append("The priors: halving or doubling their weight leaves the answer as it is.")
    sentences.append("No band covers a changed recipe, other data, another tokenizer, or curvature beyond the runs.")
    return sentences


def _cost_changes(question: Question) -> list[str]:
    """How wide an uncertain cost makes what a budget buys."""
    if not question.problem.cost.uncertain or not question.budgets.size:
        return []
    given = question.options.get("given") or {}
    unsure = [
        f"{name} {given[name]}" for name, prior in question.problem.cost.given.items() if not isinstance(prior, float)
    ]
    return [f"The cost is uncertain ({', '.join(unsure)}): the bands of the best size hold that too."]


def _gain_text(recipe: str, level: float, row: Any) -> str:
    size = row.index[0]
    value = quantity_text(size, row.iloc[0]) if size != "compute" else number_text(row.iloc[0])
    if np.isinf(row["gain_q05"]):
        return f"At {value} {recipe} never gets as far as this one."
    times, low, high = (number_text(row[f"gain_{q}"]) for q in ("q50", *band_ends(level)))
    return (
        f"At {value} {recipe} would need {times} times as much ({band_percent(level)} band {low} to {high}) for the "
        f"same result; this one is the better with probability {row['p_better']:.2f}."
    )


def _shares_text(tree: Any) -> str:
    row = read_forecast(tree).frame.iloc[0]
    shares = {name: float(row[f"share_{name}"]) for name in ("params", "drift", "noise") if f"share_{name}" in row}
    name = max(shares, key=lambda one: shares[one])
    advice = {
        "params": "more runs would narrow it",
        "drift": "larger runs, closer to the planned one, would narrow it; more small ones would not",
        "noise": "more runs would hardly narrow it: runs differ by chance",
    }
    called = SPOKEN.get(name, name)
    return f"The band: {100 * shares[name]:.0f} % of the first forecast's variance is {called}; {advice[name]}."
