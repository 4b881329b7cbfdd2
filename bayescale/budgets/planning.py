"""Before any run: how many runs a study needs to learn a quantity of a law well enough.

Truths are drawn from the law's priors. For each, the posterior that runs of it would leave is taken at the truth, as a
normal on the scale where every prior is a standard normal: precision = 1 + J'J / s^2, with J the derivative of log loss
and s the noise. The sd of a quantity follows from its own derivative. No sampling; a check against sampled fits is in
the tests.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayescale.errors import FitError
from bayescale.field import FLOPS_PER_PARAM_TOKEN, number_text, size_text
from bayescale.fitting.doors import check_seed, ends_in, mapping, number, numbers, opened_result
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import (
    DEFAULT_LAW,
    is_joint,
    law_derived,
    law_loss,
    load_law,
    reference_constants,
    standard_parameters,
)
from bayescale.laws.law_file import Law, column
from bayescale.laws.scatter import Scatter
from bayescale.reading import Column, Reading

RUN_COUNTS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
PRIOR_TRUTHS = 300
NOISE_MAX = 1.0  # sd of log loss: runs that scatter by a factor of e say nothing about a law
DERIVATIVE_STEP = 1e-4  # of the central differences, on the scale where priors are standard normal


@one_blas_thread()
def plan_runs(
    law: "str | os.PathLike[str] | Law | None" = None,
    *,
    quantity: str = "alpha",
    sd: float = 0.01,
    params: tuple[float, float] = (5e7, 2e9),
    tokens: tuple[float, float] = (1e9, 1e11),
    noise: float = 0.005,
    counts: Any = RUN_COUNTS,
    ranges: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How well a quantity of a law would be known after so many runs, before any has been made.

    The runs fill the rectangle of log N and log D, or of the law's other inputs, evenly (a scrambled Halton sequence).

    Parameters
    ----------
    law : name, path or Law; by default the coupled family
    quantity : a parameter or derived quantity of the law
    sd : its posterior standard deviation that is wanted
    params, tokens : (smallest, largest) size and length of the runs
    noise : sd of a run's log loss about the law (0.005: half a percent); of a proportion itself, and of a quantity that
        may be negative in units of its range
    counts : numbers of runs to look at
    ranges : (smallest, largest) of the law's other inputs, by column; its published range by default
    seed : of the truths and the design

    Returns
    -------
    DataFrame, a row a number of runs: ``runs``, ``compute`` (of all, 6 N D, of laws of N and D), ``sd_q05``,
    ``sd_q50``, ``sd_q95`` (of the quantity, over truths drawn from the priors) and ``p_enough`` (share of the truths at
    which the sd is below ``sd``). Quantities with the unit of the loss come in units of the smallest loss.

    Raises
    ------
    FitError
        If the law has no such quantity, or a range or number cannot be used.

    Examples
    --------
    >>> table = bayescale.plan_runs("chinchilla", quantity="alpha", sd=0.02, counts=[12, 48])
    >>> list(table["runs"])
    [12, 48]
    """
    from scipy.stats import qmc  # takes longer to import than the rest of the package

    law = load_law(DEFAULT_LAW if law is None else law)
    if quantity not in {*law.priors, *law.derived}:
        known = sorted({*law.priors, *law.derived})
        raise FitError(f"law '{law.name}' has no quantity '{quantity}'; it has {', '.join(known)}")
    check_seed(seed)
    sd = number("sd", sd, "a number above 0")
    noise = number("noise", noise, "an sd of log loss above 0")
    if noise > NOISE_MAX:
        raise FitError(f"noise = {noise:g}: an sd of log loss of at most {NOISE_MAX:g} is expected; .005 is usual")
    free = _free_inputs(law, {"params": params, "tokens": tokens} | mapping("ranges", ranges))
    how_many = numbers("counts", counts)
    if not ((how_many >= 1) & (how_many == np.round(how_many)) & (how_many <= 10_000)).all():
        raise FitError("counts must be whole numbers of runs, 1 to 10000")
    rng = np.random.default_rng(seed)
    truths = rng.standard_normal((PRIOR_TRUTHS, len(law.priors)))
    places = qmc.Halton(len(free), rng=rng).random(int(how_many.max()))
    rows = []
    for count in np.sort(how_many.astype(int)):
        sizes = {symbol: spread_evenly(pair, places[:count, i]) for i, (symbol, pair) in enumerate(free.items())}
        if {"N", "D"} <= set(sizes):
            sizes["C"] = FLOPS_PER_PARAM_TOKEN * sizes["N"] * sizes["D"]
        found = posterior_sd(law, quantity, truths, sizes, noise)
        row = {"runs": int(count)} | ({"compute": float(sizes["C"].sum())} if {"N", "D"} <= set(sizes) else {})
        row |= {f"sd_q{round(100 * q):02d}": float(np.quantile(found, q)) for q in (0.05, 0.5, 0.95)}
        rows.append(row | {"p_enough": float((found < sd).mean())})
    table = pd.DataFrame(rows)
    table.attrs = {"kind": "plan_runs", "law": law.name, "quantity": quantity, "sd": sd, "noise": noise, "seed": seed}
    return table


def _free_inputs(law: Law, given: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The range of each input that runs differ in, by symbol: compute follows from N and D where the law has both."""
    free = [symbol for symbol in law.inputs if symbol != "C" or not is_joint(law)]
    if unused := sorted(set(given) - {column(symbol) for symbol in law.inputs} - {"params", "tokens"}):
        raise FitError(f"a range of '{unused[0]}' is given, which is not an input of law '{law.name}'")
    found = {}
    for symbol in free:
        name = column(symbol)
        if name not in given and symbol not in law.range:
            raise FitError(f"law '{law.name}' says no range of {name}; give one, ranges={{'{name}': (LOW, HIGH)}}")
        found[symbol] = _range(name, given[name]) if name in given else law.range[symbol]
    return found


def spread_evenly(pair: tuple[float, float], places: np.ndarray) -> np.ndarray:
    """Places from 0 to 1 as sizes: evenly in their logarithm, or as they are where a range starts at 0."""
    low, high = pair
    return low * (high / low) ** places if low > 0 else low + (high - low) * places


def _range(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (number(name, value) for value in ends_in(pair))
    except (TypeError, ValueError):
        raise FitError(f"{name} = {pair!r}: a pair (smallest, largest) is expected") from None
    if not 0 < low < high < np.inf:
        raise FitError(f"{name} = {size_text(low)}..{size_text(high)}: 0 < smallest < largest is expected")
    return low, high


def posterior_sd(
    law: Law, quantity: str, truths: np.ndarray, sizes: Mapping[str, np.ndarray], noise: float
) -> np.ndarray:
    """Standard deviation of a quantity after runs, for truths [truth, parameter]: [truth].

    ``sizes`` are the inputs of the law by symbol [run].
    """
    seen = np.array([1.0, 2.0])  # of which reference constants take the least, or the range
    constants = reference_constants(law, {column(name): x for name, x in sizes.items()} | {law.observed.column: seen})
    scattered, count = Scatter.of(law).transform, len(next(iter(sizes.values())))

    def values(z: np.ndarray) -> dict[str, Any]:
        drawn = standard_parameters(law, z)
        return {name: value[:, None] for name, value in drawn.items()} | constants

    def predicted(z: np.ndarray) -> np.ndarray:
        return np.broadcast_to(scattered(law_loss(law, values(z) | dict(sizes))), (len(z), count))

    def wanted(z: np.ndarray) -> np.ndarray:
        here = values(z)
        return np.broadcast_to(
            here[quantity] if quantity in law.priors else law_derived(law, here)[quantity], (len(z), 1)
        )

    width = truths.shape[1]
    slopes, direction = np.empty((len(truths), count, width)), np.empty((len(truths), width))
    with np.errstate(all="ignore"):
        for i in range(width):
            step = np.zeros(width)
            step[i] = DERIVATIVE_STEP
            slopes[:, :, i] = (predicted(truths + step) - predicted(truths - step)) / (2 * DERIVATIVE_STEP)
            direction[:, i] = ((wanted(truths + step) - wanted(truths - step)) / (2 * DERIVATIVE_STEP))[:, 0]
    usable = np.isfinite(slopes).all(axis=(1, 2)) & np.isfinite(direction).all(axis=1)
    if not usable.any():
        raise FitError(f"law '{law.name}' overflows at these sizes; give ranges nearer to real runs")
    slopes, direction = slopes[usable], direction[usable]
    precision = np.eye(width) + np.swapaxes(slopes, 1, 2) @ slopes / noise**2
    return np.sqrt(np.einsum("ti,ti->t", direction, np.linalg.solve(precision, direction[:, :, None])[:, :, 0]))


def read(table: pd.DataFrame) -> Reading:
    """What a plan says: the sd of the quantity after so many runs, and how many are enough."""
    table = opened_result(table, "plan_runs")
    attrs, says = table.attrs, _statement(table)
    columns = (
        Column("runs", "runs", "", "count"),
        *([Column("compute", "compute", "FLOP", "number")] if "compute" in table else []),
        Column("sd", "sd", "", "number band"),
        Column("p_enough", f"P(sd < {number_text(attrs['sd'], 6)})", "", "decimals", 2),
    )
    return Reading(
        f"sd of {attrs['quantity']} after so many runs: median and 90 % of truths drawn from the priors",
        table,
        columns,
        says=(says,),
        notes=("Compute in FLOP, of all runs together.",) if "compute" in table else (),
        about={name: attrs[name] for name in ("law", "quantity", "sd", "noise", "seed")} | {"statement": says},
    )


def _statement(table: pd.DataFrame) -> str:
    attrs = table.attrs
    start = f"With the law '{attrs['law']}' and noise of {100 * attrs['noise']:g} %, "
    goal = f"sd({attrs['quantity']}) < {attrs['sd']:g}"
    parts = []
    for share, words in ((0.5, "half"), (0.9, "nine in ten")):
        enough = table[table.p_enough >= share]
        if len(enough):
            row = enough.iloc[0]
            flop = f" ({number_text(row.compute, 2)} FLOP)" if "compute" in table else ""
            parts.append(f"{row.runs:.0f} runs{flop} reach {goal} in {words} of the truths")
    if not parts:
        last = table.iloc[-1]
        return (
            f"{start}{last.runs:.0f} runs do not reach {goal}: the median sd is then {number_text(last.sd_q50)}; "
            "widen the ranges of the sizes rather than adding runs."
        )
    more = "" if len(parts) == 2 else f"; nine in ten are not reached with {table.runs.iloc[-1]} runs"
    return f"{start}{', '.join(parts)}{more}."
