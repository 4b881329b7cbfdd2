"""Before any run: how many runs a study needs to learn a quantity of a law well enough.

Truths are drawn from the law's priors. For each, the posterior that runs of it would leave is taken at the truth, as a
normal on the scale where every prior is a standard normal: precision = 1 + J'J / s^2, with J the derivative of log loss
and s the noise. The sd of a quantity follows from its own derivative. No sampling; a check against sampled fits is in
the tests.
"""

import os
from typing import Any

import numpy as np
import pandas as pd

from bayescale.errors import FitError
from bayescale.field import FLOPS_PER_PARAM_TOKEN, number_text
from bayescale.fitting.doors import check_seed, number, numbers, opened_result
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import DEFAULT_LAW, law_derived, law_loss, load_law, reference_constants, standard_parameters
from bayescale.laws.law_file import Law
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
    seed: int = 0,
) -> pd.DataFrame:
    """How well a quantity of a law would be known after so many runs, before any has been made.

    The runs fill the rectangle of log N and log D evenly (a scrambled Halton sequence).

    Parameters
    ----------
    law : name, path or Law of N and D; by default the coupled family
    quantity : a parameter or derived quantity of the law
    sd : its posterior standard deviation that is wanted
    params, tokens : (smallest, largest) size and length of the runs
    noise : sd of a run's log loss about the law (0.005: half a percent)
    counts : numbers of runs to look at
    seed : of the truths and the design

    Returns
    -------
    DataFrame, a row a number of runs: ``runs``, ``compute`` (of all of them, 6 N D), ``sd_q05``, ``sd_q50``, ``sd_q95``
    (of the quantity, over truths drawn from the priors) and ``p_enough`` (share of the truths at which the sd is below
    ``sd``). Quantities with the unit of the loss come in units of the smallest loss.

    Raises
    ------
    FitError
        If the law is not one of N and D, it has no such quantity, or a range or number cannot be used.
    """
    from scipy.stats import qmc  # takes longer to import than the rest of the package

    law = load_law(DEFAULT_LAW if law is None else law)
    if not set(law.inputs) <= {"N", "D", "C"}:
        raise FitError(f"law '{law.name}' uses {list(law.inputs)}; runs are planned for laws of N and D")
    if quantity not in {*law.priors, *law.derived}:
        known = sorted({*law.priors, *law.derived})
        raise FitError(f"law '{law.name}' has no quantity '{quantity}'; it has {', '.join(known)}")
    check_seed(seed)
    sd = number("sd", sd, "a number above 0")
    noise = number("noise", noise, "an sd of log loss above 0")
    if noise > NOISE_MAX:
        raise FitError(f"noise = {noise:g}: an sd of log loss of at most {NOISE_MAX:g} is expected; .005 is usual")
    ranges = [_range(name, pair) for name, pair in (("params", params), ("tokens", tokens))]
    how_many = numbers("counts", counts)
    if not ((how_many >= 1) & (how_many == np.round(how_many)) & (how_many <= 10_000)).all():
        raise FitError("counts must be whole numbers of runs, 1 to 10000")
    rng = np.random.default_rng(seed)
    truths = rng.standard_normal((PRIOR_TRUTHS, len(law.priors)))
    places = qmc.Halton(2, rng=rng).random(int(how_many.max()))
    rows = []
    for count in np.sort(how_many.astype(int)):
        N, D = (low * (high / low) ** places[:count, i] for i, (low, high) in enumerate(ranges))
        known = posterior_sd(law, quantity, truths, N, D, noise)
        row = {"runs": int(count), "compute": float((FLOPS_PER_PARAM_TOKEN * N * D).sum())}
        row |= {f"sd_q{round(100 * q):02d}": float(np.quantile(known, q)) for q in (0.05, 0.5, 0.95)}
        rows.append(row | {"p_enough": float((known < sd).mean())})
    table = pd.DataFrame(rows)
    table.attrs = {"kind": "plan_runs", "law": law.name, "quantity": quantity, "sd": sd, "noise": noise, "seed": seed}
    return table


def _range(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in pair)
    except (TypeError, ValueError):
        raise FitError(f"{name} = {pair!r}: a pair (smallest, largest) is expected") from None
    if not 0 < low < high < np.inf:
        raise FitError(f"{name} = ({low:g}, {high:g}): 0 < smallest < largest is expected")
    return low, high


def posterior_sd(law: Law, quantity: str, truths: np.ndarray, N: np.ndarray, D: np.ndarray, noise: float) -> np.ndarray:
    """Standard deviation of a quantity after runs of sizes N, D [run], for truths [truth, parameter]: [truth]."""
    sizes = {"N": N, "D": D, "C": FLOPS_PER_PARAM_TOKEN * N * D}
    columns = {"params": N, "tokens": D, "compute": sizes["C"], "loss": np.ones(1)}
    constants = reference_constants(law, columns)

    def values(z: np.ndarray) -> dict[str, Any]:
        drawn = standard_parameters(law, np.clip(z, -7.5, 7.5))
        return {name: value[:, None] for name, value in drawn.items()} | constants

    def log_loss(z: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.log(law_loss(law, values(z) | sizes)), (len(z), len(N)))

    def wanted(z: np.ndarray) -> np.ndarray:
        here = values(z)
        return np.broadcast_to(
            here[quantity] if quantity in law.priors else law_derived(law, here)[quantity], (len(z), 1)
        )

    count = truths.shape[1]
    slopes, direction = np.empty((len(truths), len(N), count)), np.empty((len(truths), count))
    with np.errstate(all="ignore"):
        for i in range(count):
            step = np.zeros(count)
            step[i] = DERIVATIVE_STEP
            slopes[:, :, i] = (log_loss(truths + step) - log_loss(truths - step)) / (2 * DERIVATIVE_STEP)
            direction[:, i] = ((wanted(truths + step) - wanted(truths - step)) / (2 * DERIVATIVE_STEP))[:, 0]
    usable = np.isfinite(slopes).all(axis=(1, 2)) & np.isfinite(direction).all(axis=1)
    if not usable.any():
        raise FitError(f"law '{law.name}' overflows at these sizes; give ranges nearer to real runs")
    slopes, direction = slopes[usable], direction[usable]
    precision = np.eye(count) + np.swapaxes(slopes, 1, 2) @ slopes / noise**2
    return np.sqrt(np.einsum("ti,ti->t", direction, np.linalg.solve(precision, direction[:, :, None])[:, :, 0]))


def read(table: pd.DataFrame) -> Reading:
    """What a plan says: the sd of the quantity after so many runs, and how many are enough."""
    table = opened_result(table, "plan_runs")
    attrs, says = table.attrs, _statement(table)
    columns = (
        Column("runs", "runs", "", "count"),
        Column("compute", "compute", "FLOP", "number"),
        Column("sd", "sd", "", "number band"),
        Column("p_enough", f"P(sd < {number_text(attrs['sd'], 6)})", "", "decimals", 2),
    )
    return Reading(
        f"sd of {attrs['quantity']} after so many runs: median and 90 % of truths drawn from the priors",
        table,
        columns,
        says=(says,),
        notes=("Compute in FLOP, of all runs together.",),
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
            parts.append(
                f"{row.runs:.0f} runs ({number_text(row.compute, 2)} FLOP) reach {goal} in {words} of the truths"
            )
    if not parts:
        last = table.iloc[-1]
        return (
            f"{start}{last.runs:.0f} runs do not reach {goal}: the median sd is then {number_text(last.sd_q50)}; "
            "widen the ranges of N and D rather than adding runs."
        )
    more = "" if len(parts) == 2 else f"; nine in ten are not reached with {table.runs.iloc[-1]} runs"
    return f"{start}{', '.join(parts)}{more}."
