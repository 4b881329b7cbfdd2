"""What a run costs, for the page's own arithmetic: the formula as JavaScript, its values, and the limits of a split."""

import base64
import json
from typing import Any

import numpy as np

from bayescale.budgets.cost import quantity
from bayescale.display.question import Question
from bayescale.field import number_text
from bayescale.laws.formula import Node
from bayescale.laws.javascript import javascript
from bayescale.laws.priors import Prior


def live_question(question: Question, every: int) -> dict[str, Any]:
    """A question that the page can be asked for any budget, as plain JSON.

    Parameters
    ----------
    every : one in so many draws is in the page
    """
    problem, split = question.problem, question.frontier
    first, last = (float(np.log10(end)) for end in question.cost_of_runs)
    inside = np.log10(split["compute"].values)
    return {
        "unit": question.unit,
        "cost": problem.cost.text,
        "script": cost_script(question),
        "values": [_live_value(name, question, every) for name in problem.cost.given],
        "params": _ends(problem.limits.params),
        "tokens": _ends(problem.limits.tokens),
        "ratio": _ends(problem.limits.ratio),
        "menu": None if problem.menu is None else {name: list(map(float, one)) for name, one in problem.menu.items()},
        "first": max(first, float(inside[0])),
        "last": last,
        "end": float(inside[-1]),
        "budgets": inside.tolist(),
        "whyNot": [str(reason) for reason in split["why_not"].values],
        "options": _options_said(question),
    }


def cost_script(question: Question) -> str:
    """Source of an object with ``spend(values, N, D)`` and, where D enters linearly, ``fixed`` and ``perToken``."""
    cost = question.problem.cost
    columns = set(question.problem.menu or ()) - {"params"}
    names = ", ".join(f"${name}" for name in (*cost.given, *sorted(columns)))

    def function(node: Node | None) -> str:
        return "null" if node is None else f"({{ {names} }}, $N, $D) => {javascript(node)}"

    return f"({{ spend: {function(cost.tree)}, fixed: {function(cost.fixed)}, perToken: {function(cost.per_token)} }})"


def _live_value(name: str, question: Question, every: int) -> dict[str, Any]:
    """A name of the cost: its text, and of an uncertain one its draws, of a range as places of a standard normal."""
    given = question.options.get("given") or {}
    prior, drawn = quantity(name, given[name]), question.problem.cost_values[name]
    text = given[name] if isinstance(given[name], str) else number_text(float(given[name]), 6)
    found: dict[str, Any] = {"name": name, "text": str(text)}
    if not isinstance(prior, Prior):
        return found | {"value": float(prior)}
    draws = np.asarray(drawn).ravel()[::every]
    if prior.dist == "LogNormal":
        mu, sigma = prior.params["mu"], prior.params["sigma"]
        return found | {"mu": mu, "sigma": sigma, "places": encode((np.log(draws) - mu) / sigma)}
    return found | {"draws": encode(draws)}


def _ends(pair: tuple[float, float]) -> list[float | None]:
    return [pair[0], pair[1] if np.isfinite(pair[1]) else None]


def _options_said(question: Question) -> str:
    """The options of the same question in a terminal, without its budget, its cost and what is given."""
    limits = question.problem.limits
    said = []
    for option, (low, high) in (("-N", limits.params), ("-D", limits.tokens), ("--ratio", limits.ratio)):
        if (low, high) != (0.0, np.inf):
            low_text = number_text(low) if low else ""
            said.append(f"{option} {low_text}..{number_text(high) if np.isfinite(high) else ''}")
    unique = question.options.get("unique_tokens")
    if unique is not None:
        said.append(f"--unique-tokens {number_text(float(unique), 6)}")
    if question.problem.menu is not None:
        said.append("--menu " + ",".join(number_text(size, 6) for size in question.problem.menu["params"]))
    said += [f"--given {name}={number_text(value, 6)}" for name, value in question.problem.covariates.items()]
    if question.options.get("cost") is not None:
        said.append(f"--cost {json.dumps(question.problem.cost.text)}")
    return " ".join(said)


def encode(values: np.ndarray) -> str:
    """Little-endian float32, base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")
