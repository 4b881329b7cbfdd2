"""What a page needs to answer for other budgets and sizes without Python: draws, the law, the drift on a grid.

The law is computed in the page, from the draws, exactly. What the drift and the noise add needs the runs and matrices
over them; it is smooth, and is given as the logarithm of the loss over the law's median on a grid of log C and
log D/N, with its own nodes where compute passes the largest run.
"""

import base64
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.allocate import allocate
from bayescale.diagnostics import diagnostics
from bayescale.drift import BEYOND_DECADES, has_drift
from bayescale.fit import draws_of, law_of
from bayescale.forecast import FAR_DECADES, FAR_FROM_RUNS, QUANTILES
from bayescale.javascript import HELPERS, law_script
from bayescale.law import law_loss
from bayescale.lawfile import Law, column
from bayescale.pointwise import SHARES, forecast_each
from bayescale.runs import FLOPS_PER_PARAM_TOKEN

STEP = 0.15  # decades between nodes of the grid, at most
BEYOND = 4.0  # decades of compute past the largest run at which the page ends
AROUND = 1.0  # decades of tokens per parameter past those of the runs and of the best splits
MAX_FLOATS = 200_000  # of draws in the page; beyond them draws are left out
BUDGETS = 41  # at which it is said why a split is not identified


def can_explore(law: Law) -> bool:
    """Whether the page can answer for other sizes: a loss of N and D that splits a budget."""
    return {"N", "D"} <= set(law.inputs) and has_drift(law) and not law.no_split


def explorer(fit: xr.DataTree, *, at: Mapping[str, float] | None = None, seed: int = 0) -> dict[str, Any]:
    """Everything that the page's own computations read, as plain JSON; arrays are base64 of little-endian float32.

    Parameters
    ----------
    fit : of a law of N and D, see :func:`can_explore`
    at : further inputs of the law, by column
    seed : of the forecasts, as in :func:`bayescale.forecast`
    """
    at = dict(at or {})
    law = law_of(fit)
    values = draws_of(fit)
    draws = np.stack([values[name].values.ravel() for name in law.priors])
    every = int(np.ceil(draws.size / MAX_FLOATS))
    fixed = {name: float(values[name]) for name in law.constants}
    fixed |= {symbol: float(at[column(symbol)]) for symbol in law.inputs if symbol not in ("N", "D", "C")}
    compute = np.log10(fit["constant_data"]["compute"].values)
    first, last = float(compute.min()), float(compute.max())
    budgets = np.linspace(first, last + BEYOND, BUDGETS)
    split = allocate(fit, 10**budgets, given=at or None, seed=seed)
    ratio = np.log10((fit["constant_data"]["tokens"] / fit["constant_data"]["params"]).values)
    best = np.log10(split["tokens_per_param"].median(("chain", "draw")).values)
    low, high = (pick([*ratio, *best, np.log10(20.0)]) for pick in (min, max))
    grid = _grid(fit, law, at, seed, first, last, float(low) - AROUND, float(high) + AROUND)
    return {
        "script": law_script(law, fixed),
        "helpers": HELPERS,
        "draws": encode(draws[:, ::every]),
        "count": len(draws[0, ::every]),
        "every": every,
        "grid": grid,
        "first": first,
        "last": last,
        "perParamToken": FLOPS_PER_PARAM_TOKEN,
        "farDecades": FAR_DECADES,
        "farFromRuns": FAR_FROM_RUNS,
        "budgets": budgets.tolist(),
        "params": np.median(split["N"].values, axis=(0, 1)).tolist(),
        "whyNot": [str(reason) for reason in split["why_not"].values],
        "converged": bool(diagnostics(fit)["converged"]),
    }


def _grid(fit, law: Law, at, seed: int, first: float, last: float, low: float, high: float) -> dict[str, Any]:
    known = last + BEYOND_DECADES  # where the drift's spread and optimism have come in
    edges = (first - 1.0, first, last, known, last + BEYOND)
    rows = np.unique(np.concatenate([_nodes(*pair) for pair in itertools.pairwise(edges)]))
    columns = _nodes(low, high)
    u, v = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
    params = np.sqrt(10 ** (u - v) / FLOPS_PER_PARAM_TOKEN)
    tokens = params * 10**v
    found = forecast_each(fit, params, tokens, covariates=at, seed=seed)
    values = draws_of(fit)
    inputs = {"N": params, "D": tokens, "C": 10**u}
    middle = np.empty(len(params))
    for start in range(0, len(params), 500):
        part = slice(start, start + 500)
        here = {name: xr.DataArray(value[part], dims="point") for name, value in inputs.items()}
        given = {symbol: at[column(symbol)] for symbol in law.inputs if symbol not in inputs}
        loss = law_loss(law, {**values, **here, **given}).transpose("chain", "draw", "point")
        middle[part] = np.median(loss.values.reshape(-1, loss.sizes["point"]), axis=0)
    table = [np.log(found[name].values / middle) for name in QUANTILES]
    table += [found[name].values for name in (*SHARES, "nearest_run")]
    return {
        "rows": rows.tolist(),
        "columns": columns.tolist(),
        "names": [*QUANTILES, *SHARES, "nearest_run"],
        "values": encode(np.stack(table)),
    }


def _nodes(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, max(2, int(np.ceil((high - low) / STEP - 1e-9)) + 1))


def encode(values: np.ndarray) -> str:
    """Little-endian float32, base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")
