"""The best split of a budget by published constants, without any runs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayescale.budgets.minimise import minimise
from bayescale.budgets.problem import check_splits, inputs_given
from bayescale.budgets.surface import UNIQUE, Surface, loss_at, loss_slope
from bayescale.errors import FitError, LawError
from bayescale.field import FLOPS_PER_PARAM_TOKEN, SIZES_SAID, quantity_text
from bayescale.fitting.doors import mapping, number, opened_result
from bayescale.laws.formula import parse
from bayescale.laws.law import load_law
from bayescale.laws.limits import PREDICTED
from bayescale.reading import Column, Reading, unless

RATIO_RANGE = (1e-2, 1e5)  # tokens per parameter; beyond it formulas say anything


def published_split(law: Any, compute: float, *, given: Mapping[str, float] | None = None) -> pd.DataFrame:
    """What a paper's constants say of the best split of a budget: argmin over N of L(N, C / 6N).

    Parameters
    ----------
    law : a law of N and D with published constants: its name, the path of its file, or the Law
    compute : the budget C = 6 N D [FLOP]
    given : further inputs of the law, by name: ``{"unique_tokens": 1e11}``

    Returns
    -------
    Table, a row a set of constants: ``preset``, ``params`` and ``tokens`` of the best split, ``ratio`` [tokens per
    parameter], ``loss`` there, ``at_end`` (the loss still falls at .01 or 1e5 tokens per parameter: there is no best
    split) and ``source``.

    Raises
    ------
    LawError
        If the law has no published constants.
    FitError
        If the law splits no budget, or an input is missing.

    Examples
    --------
    >>> table = bayescale.published_split("chinchilla", "5.76e23")
    >>> round(table["params"].iloc[0] / 1e9)  # billions
    40
    """
    law = load_law(law)
    check_splits(law)
    if not law.presets:
        raise LawError(f"law '{law.name}' comes without published constants; fit it to runs")
    budget = number("compute", compute)
    given = {name: number(name, value, above=-np.inf) for name, value in mapping("given", given).items()}
    if unused := sorted(set(given) - (set(law.inputs) - {"N", "D", "C"})):
        raise FitError(f"'{unused[0]}' is not an input of law '{law.name}' besides compute")
    others = inputs_given(law, set(law.inputs) - {"N", "D", "C"}, given, "besides compute", option="--at")
    unique = others.pop(UNIQUE, None)
    trees = {PREDICTED: parse(law.published_formula)}
    total = np.log(budget / FLOPS_PER_PARAM_TOKEN)  # log N + log D
    rows = []
    for name, preset in law.presets.items():
        surface = Surface(trees, dict(preset.values) | others, unique)
        log_n, loss, end = _best(surface, total)
        params = float(np.exp(log_n))
        tokens = budget / (FLOPS_PER_PARAM_TOKEN * params)
        row = {"preset": name, "params": params, "tokens": tokens, "ratio": tokens / params, "loss": loss}
        rows.append(row | {"at_end": end, "source": preset.source})
    table = pd.DataFrame(rows)
    table.attrs = {"kind": "published_split", "law": law.name, "compute": budget, "given": given}
    return table


def _best(surface: Surface, total: float) -> tuple[float, float, bool]:
    """log N of least loss where log N + log D is ``total``, that loss, and whether it lies at an end."""

    def tokens(log_n: np.ndarray) -> np.ndarray:
        return np.exp(total - log_n)

    low, high = (np.array([(total - np.log(ratio)) / 2]) for ratio in RATIO_RANGE[::-1])
    with np.errstate(all="ignore"):
        x, loss, end = minimise(
            lambda log_n: loss_at(surface, np.exp(log_n), tokens(log_n)),
            lambda log_n: loss_slope(surface, np.exp(log_n), tokens(log_n), -tokens(log_n)),
            low,
            high,
        )
    return float(x[0]), float(loss[0]), bool(end[0])


def read(table: pd.DataFrame) -> Reading:
    """What published constants say of a budget, a row a set of them."""
    table = opened_result(table, "published_split")
    none = unless(~table["at_end"], "no best split")
    columns = (
        Column("preset", "constants"),
        Column("params", "N*", "parameters", "size", instead=none),
        Column("tokens", "D*", "tokens", "size", instead=none),
        Column("ratio", "tokens per parameter", "", "number", instead=none),
        Column("loss", "loss", "", "number", 4),
        Column("source", "source"),
    )
    further = "".join(f", {name} = {quantity_text(name, value)}" for name, value in table.attrs["given"].items())
    budget = quantity_text("compute", table.attrs["compute"])
    return Reading(
        f"{table.attrs['law']}: the best split of C = 6 N D = {budget}{further} by published constants",
        table,
        columns,
        notes=(f"{SIZES_SAID}. Constants as printed, without their uncertainty.",),
        about={name: table.attrs[name] for name in ("law", "compute", "given")},
        rows="constants",
    )
