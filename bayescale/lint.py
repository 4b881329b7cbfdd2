"""What a careful reader would object to in a set of runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.runs import FLOPS_PER_PARAM_TOKEN, SIZES

SURFACE_RUNS = 12  # a surface of six numbers needs some
SURFACE_RUNS_MAX = 10_000  # and no more than that
SURPRISING_SD = 6
TYPING_ERROR = 0.1  # of log loss: farther off a law's noise does not go
# scatter of log loss above which a law, or a smooth surface, does not describe the runs: on 18 studies the default law
# leaves .001 to .013, and laws that are known to be wrong up to .03
SCATTER_MAX = 0.05
PERPLEXITY = 12.0  # nats: the entropy of a vocabulary of 160 000 tokens, more than any model need lose


@dataclass(frozen=True)
class Note:
    """One remark of the lint: a stable code, how serious, a sentence that says what to do, and the rows it is about."""

    code: str
    severity: str  # "warning" or "info"
    text: str
    rows: tuple[int, ...] = ()


def spread_of_ratio(runs: xr.Dataset) -> float:
    """How many times the largest tokens per parameter is the smallest: what tells N and D apart."""
    ratio = np.log(runs.tokens.values) - np.log(runs.params.values)  # by logarithms: ratios overflow
    with np.errstate(over="ignore"):
        return float(np.exp(np.ptp(ratio)))


def off_diagonal(runs: xr.Dataset) -> float:
    """Spread (sd, in e-folds) of log D about its best line on log N: 0 when N and D move together."""
    n, d = np.log(runs.params.values), np.log(runs.tokens.values)
    n, d = n - n.mean(), d - d.mean()
    if not n.any() or not d.any():
        return 0.0
    return float(np.sqrt(max(0.0, (d @ d - (n @ d) ** 2 / (n @ n)) / len(d))))


def line_of_sizes(runs: xr.Dataset) -> str:
    """The line that N and D move along, in words: ``D = 20 N``, ``D ~ N^1.1`` or ``N D = 1.7e+19``."""
    n, d = runs.params.values, runs.tokens.values
    if not np.ptp(n) or not np.ptp(d):
        return f"N = {n[0]:.3g}" if np.ptp(d) else f"D = {d[0]:.3g}"
    power = _slope(np.log(n), np.log(d))
    middle = np.exp(np.mean(np.log(d) - np.log(n)))
    if abs(power - 1) < 0.02:
        return f"D = {middle:.3g} N"
    if abs(power + 1) < 0.02:
        return f"N D = {np.exp(np.mean(np.log(d) + np.log(n))):.3g}"
    return f"D ~ N^{power:.2f}"


def move_together(runs: xr.Dataset) -> bool:
    """Whether runs of a loss are on one line of log N and log D, so that the effects of N and D look the same."""
    if not _of_losses(runs) or runs.sizes["run"] < 3:
        return False
    return off_diagonal(runs) < 0.1 or spread_of_ratio(runs) < 3


def _of_losses(runs: xr.Dataset) -> bool:
    """Whether the runs have what L(N, D) is about; those for a law of other quantities need not."""
    return {*SIZES, "loss"} <= set(runs.data_vars) and bool((runs["loss"] > 0).all())


def far_off(runs: xr.Dataset) -> np.ndarray:
    """Which runs have a loss more than twice, or less than half, what a smooth surface through all says [run]."""
    if not _of_losses(runs):
        return np.zeros(runs.sizes["run"], dtype=bool)
    residual, scale = _from_surface(*(runs[name].values for name in ("params", "tokens", "loss")))
    return (np.abs(residual) > SURPRISING_SD * scale) & (np.abs(residual) > np.log(2))


def check_runs(runs: xr.Dataset) -> list[Note]:
    """What a careful reader would object to in these runs; an empty list when nothing."""
    notes = []

    def add(code: str, severity: str, text: str, rows: Sequence[int] = ()) -> None:
        notes.append(Note(code, severity, text, tuple(int(row) for row in rows)))

    count = runs.sizes["run"]
    if count < 12:
        add("few_runs", "warning", f"{count} runs: bands will be wide and rest on the priors; 12 or more are wanted")
    if not _of_losses(runs):
        return notes
    n, d, c, loss = (runs[name].values for name in (*SIZES, "loss"))
    sizes = len(np.unique(n))
    if sizes < 4:
        add("few_sizes", "warning", f"{sizes} model size(s): the effect of N rests on the prior; 4 or more are wanted")
    if len(np.unique(d)) < 4:
        add("few_token_counts", "warning", f"{len(np.unique(d))} token count(s): the effect of D rests on the prior")
    if move_together(runs):
        add(
            "collinear_sizes",
            "warning",
            f"N and D move together, along {line_of_sizes(runs)}: the runs do not tell the effects of N and D apart; "
            "vary D at fixed N (so that tokens per parameter vary 3 times or more)",
        )
    ratio = np.log(c) - np.log(FLOPS_PER_PARAM_TOKEN) - np.log(n) - np.log(d)
    odd = np.flatnonzero(np.abs(ratio) > np.log(1.5))
    if odd.size:
        add(
            "compute_differs",
            "info",
            f"compute differs from 6 N D by more than 1.5 times in {odd.size} of {count} runs: "
            "N may exclude embeddings, or compute may include attention",
            odd,
        )
    if np.median(loss) > PERPLEXITY:
        add(
            "perplexity",
            "warning",
            f"a median loss of {np.median(loss):.3g} looks like a perplexity; a loss in nats is its natural logarithm",
        )
    few_tokens = np.median(np.log(d) - np.log(n)) < np.log(0.1)
    if few_tokens and np.median(n) > 1e6 and np.median(d) > 1e6:
        add(
            "units",
            "warning",
            f"more parameters than tokens (median params {np.median(n):.3g}, tokens {np.median(d):.3g}): "
            "are the columns swapped, or one of them in another unit (--unit tokens=B)?",
        )
    elif few_tokens or np.median(n) < 1e3 or np.median(d) < 1e4:
        add(
            "units",
            "warning",
            f"median params {np.median(n):.3g} and tokens {np.median(d):.3g} look like other units; "
            "give them as counts or say the unit (--unit params=M --unit tokens=B)",
        )
    keys = pd.DataFrame({"n": n, "d": d, "loss": loss})
    exact = np.flatnonzero(keys.duplicated(keep="first"))
    if exact.size:
        add("duplicates", "warning", f"{exact.size} run(s) repeat an earlier one exactly: drop copies", exact)
    residual, scale = _from_surface(n, d, loss)
    notes += _surprising_losses(n, d, loss, residual, scale)
    if count >= SURFACE_RUNS and scale > SCATTER_MAX:
        add(
            "scatter",
            "warning",
            f"losses scatter by {100 * scale:.0f} % around a smooth surface through all runs, where runs of one recipe "
            "scatter by 1 or 2 %: look for wrong losses, more than one recipe or wrong columns",
        )
    if count and np.ptp(loss) < 1e-9 * np.max(loss):
        add("constant_loss", "warning", "all losses are equal: there is nothing to learn from")
    elif count >= 6 and _slope(np.log(c), np.log(loss)) > 0:
        add("rising_loss", "warning", "loss rises with compute: check the columns and the sign of the loss")
    return notes


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    x = x - x.mean()
    return float(x @ y / (x @ x)) if x.any() else 0.0


def _from_surface(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, float]:
    """Log loss less a smooth surface through all runs, quadratic in log N and log D and fitted robustly; its scale."""
    x, y = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean()
    design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    target = np.log(loss)
    if len(loss) < SURFACE_RUNS:
        return np.zeros_like(target), 1.0
    # in an order of the runs' own, and by lot: neither the order of a file nor a grid in it may decide
    order = np.lexsort((loss, d, n))
    some = order[np.random.default_rng(0).permutation(len(order))[:SURFACE_RUNS_MAX]]
    weight, scale = np.ones(len(some)), np.inf
    for _ in range(30):
        coefficients = np.linalg.lstsq(design[some] * weight[:, None], target[some] * weight, rcond=None)[0]
        residual = target[some] - design[some] @ coefficients
        before, scale = scale, max(1.4826 * np.median(np.abs(residual)), 1e-12)
        if abs(scale - before) < 1e-9 * scale:
            break
        weight = 1 / np.sqrt(1 + (residual / (2 * scale)) ** 2)
    return target - design @ coefficients, scale


def _surprising_losses(
    n: np.ndarray, d: np.ndarray, loss: np.ndarray, residual: np.ndarray, scale: float
) -> list[Note]:
    """Runs far from a smooth surface through all of them."""
    rows = np.flatnonzero((np.abs(residual) > SURPRISING_SD * scale) & (np.abs(residual) > 0.02))
    if not rows.size:
        return []
    worst = rows[np.argmax(np.abs(residual[rows]))]
    severe = bool(np.abs(residual[worst]) > TYPING_ERROR)
    return [
        Note(
            "surprising_loss",
            "warning" if severe else "info",
            f"{rows.size} run(s) lie more than 2 % and {SURPRISING_SD} robust sd off a smooth surface, the worst is "
            f"run {worst}, counted from 0 (N {n[worst]:.3g}, D {d[worst]:.3g}, loss {loss[worst]:.4g}, where the "
            f"others say about {np.exp(min(np.log(loss[worst]) - residual[worst], 700.0)):.3g}): "
            "check for divergence or a typing error; the noise model allows for some",
            tuple(int(row) for row in rows),
        )
    ]
