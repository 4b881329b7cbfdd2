"""What a page needs to answer for other budgets and sizes without Python: draws, the law, the discrepancy on a grid.

The law is computed in the page, from the draws, exactly. What a new run shows (law, discrepancy, noise) needs the
runs and matrices over them; draw by draw it is a smooth function of the sizes. Its logarithm above the law's median is
given on a grid of log C and log D/N, with nodes where compute passes the largest run, as a product of few weights a
draw with as many shapes; the page puts the draws together again and takes its quantiles from them.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from bayescale.budgets.closed_form import scale_free
from bayescale.budgets.exchange import exchange_at, paired_places
from bayescale.budgets.surface import UNIQUE
from bayescale.display.live_cost import encode, live_question
from bayescale.display.question import BEYOND, Question
from bayescale.fitting.diagnostics import diagnostics
from bayescale.forecasts.curve import BEYOND_DECADES
from bayescale.forecasts.discrepancy import has_drift
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.forecast import shares_of
from bayescale.forecasts.planned import FAR_DECADES, FAR_FROM_RUNS_DECADES
from bayescale.forecasts.pointwise import draw_each
from bayescale.forecasts.unknown import unknown_of
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.javascript import HELPERS, law_script
from bayescale.laws.law import is_joint, loss_given
from bayescale.laws.law_file import Law, column
from bayescale.study import Study

GRID_STEP_DECADES = 0.15  # decades between nodes of the grid, at most
STEP_AT_EDGE = 0.04  # where compute passes the largest run and the discrepancy's spread comes in, bent
GRID_MARGIN_DECADES = 1.0  # decades of tokens per parameter past those of the runs and of the best splits
AROUND_MOST = 2.0  # decades past those of the runs at which best splits are left out
GRID_NODES_MAX = 3500  # of the grid: it is made coarser rather than larger
PAGE_NUMBERS_MAX = 200_000  # of draws and their weights in the page; beyond them draws are left out
RANK_MAX = 32  # of that product
ERROR = 1e-4  # root mean square, of a log loss
EXCHANGE_NODES = 600  # of the page's table of the error of exchange


def can_explore(law: Law) -> bool:
    """Whether the page can answer for other sizes: a loss of N and D that splits a budget."""
    return is_joint(law) and has_drift(law) and not law.no_split


@one_blas_thread()
def explorer(plain: Question, asked: Sequence[Question] = ()) -> dict[str, Any]:
    """Everything that the page's own computations read, as plain JSON; arrays are base64 of little-endian float32.

    Parameters
    ----------
    plain : a question of compute as the runs count it, of a law that :func:`can_explore`; its covariates are those of
        all points, its seed that of the forecasts
    asked : questions that the page can be asked, by their units; ``plain`` by default
    """
    study, seed = plain.study, plain.seed
    law = study.law
    draws = np.stack([study.draws[name].ravel() for name in law.priors])
    every = int(np.ceil(draws.shape[1] * (len(draws) + RANK_MAX + 1) / PAGE_NUMBERS_MAX))
    fixed = {name: study.constants[name] for name in law.constants}
    inputs = inputs_of(plain)
    fixed |= {symbol: float(inputs[column(symbol)]) for symbol in law.inputs if symbol not in ("N", "D", "C")}
    split, unknown = plain.frontier, unknown_of(diagnostics(study), 0.0)
    first, last = (float(np.log10(end)) for end in plain.cost_of_runs)
    ratio = np.log10((study.runs["tokens"] / study.runs["params"]).values)
    best = np.log10(split["tokens_per_param"].median(("chain", "draw")).values)[split["identified"].values]
    best = np.clip(best, ratio.min() - AROUND_MOST, ratio.max() + AROUND_MOST)
    low, high = (float(pick([*ratio, *best, np.log10(20.0)])) for pick in (min, max))
    places = paired_places(study, plain.problem, seed)
    grid = _grid(study, (first, last), (low - GRID_MARGIN_DECADES, high + GRID_MARGIN_DECADES), inputs, seed, every)
    return {
        "script": law_script(law, fixed, study.definition.formula),
        "helpers": HELPERS,
        "draws": encode(draws[:, ::every]),
        "count": len(draws[0, ::every]),
        "exchange": encode(places[::every]),
        **_exchange(plain, places),
        "every": every,
        "grid": grid,
        "first": first,
        "last": last,
        "counted": study.definition.formula,
        "farDecades": FAR_DECADES,
        "farFromRuns": FAR_FROM_RUNS_DECADES,
        "questions": [live_question(one, every) for one in asked or (plain,)],
        "budgets": np.log10(split["compute"].values).tolist(),
        "params": np.median(split["N"].values, axis=(0, 1)).tolist(),
        "doubt": "" if unknown is None else f"{unknown.why[:1].upper()}{unknown.why[1:]}",
    }


def inputs_of(question: Question) -> dict[str, float]:
    """Inputs of the law besides N and D, distinct tokens among them, by column."""
    unique = question.problem.surface.unique_tokens
    return question.problem.covariates | ({} if unique is None else {UNIQUE: unique})


def _exchange(plain: Question, places: np.ndarray) -> dict[str, Any]:
    """The law's error in the exchange of parameters and tokens: a table by log10 of N D."""
    study, problem, split = plain.study, plain.problem, plain.frontier
    law_N, law_D = (split[name].values for name in ("law_N", "law_D"))
    pairs = np.median(law_N, axis=(0, 1)) * np.median(law_D, axis=(0, 1))
    if scale_free(problem):  # N* is then the law's own times e^x
        errors = np.log(split["N"].values / law_N).reshape(places.size, -1)
        centre, sd = errors.mean(axis=0), errors.std(axis=0) / places.std()
    else:
        found = exchange_at(study.once(discrepancy_of), problem, pairs)
        centre, sd = found.centre, found.sd
    logs = np.log10(pairs)
    dense = np.linspace(logs[0], logs[-1], EXCHANGE_NODES)
    return {
        "exchangePairs": [float(dense[0]), float(dense[-1])],
        "exchangeCentres": encode(PchipInterpolator(logs, centre)(dense)),
        "exchangeSds": encode(PchipInterpolator(logs, sd)(dense)),
    }


def _grid(
    study: Study, runs: tuple[float, float], ratios: tuple[float, float], at: Mapping[str, float], seed: int, every: int
) -> dict[str, Any]:
    """The grid around the smallest and the largest run [log10 compute], between ratios [log10 tokens per parameter]."""
    law, (first, last), (low, high) = study.law, runs, ratios
    known = last + BEYOND_DECADES  # where the discrepancy's spread has come in
    edges = (first - 1.0, first, last, known, last + BEYOND)
    step = max(GRID_STEP_DECADES, np.sqrt((edges[-1] - edges[0]) * (high - low) / GRID_NODES_MAX))
    parts = [_nodes(*pair, STEP_AT_EDGE if pair[0] == last else step) for pair in itertools.pairwise(edges)]
    rows = np.unique(np.concatenate(parts))
    columns = _nodes(low, high, step)
    u, v = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
    params = study.definition.params(10**v, 10**u)
    fixed = {symbol: at[column(symbol)] for symbol in law.inputs if symbol not in ("N", "D", "C")}
    fixed |= {name: study.constants[name] for name in law.constants}
    draws = {name: study.draws[name] for name in law.priors}
    more, told = [], []
    for points, drawn in draw_each(study, params, params * 10**v, at, seed):
        sizes = {"N": points["params"].values, "D": points["tokens"].values, "C": points["compute"].values}
        middle = _median(loss_given(law, fixed | sizes)(draws))
        more.append((sum(drawn.values()) - np.log(middle)).astype("f4")[::every])
        told.append(np.stack([*shares_of(drawn).values(), points["nearest_run"].values]))
    weights, shapes = compressed(np.concatenate(more, axis=1))
    return {
        "rows": rows.tolist(),
        "columns": columns.tolist(),
        "rank": len(shapes),
        "weights": encode(weights),
        "shapes": encode(shapes),
        "names": ["params", "drift", "noise", "nearest_run"],
        "values": encode(np.concatenate(told, axis=1)),
    }


def _median(drawn: np.ndarray) -> np.ndarray:
    """Median of draws [draw, point]: by sorting, in half the time of np.median."""
    ordered, last = np.sort(drawn, axis=0), len(drawn) - 1
    return (ordered[last // 2] + ordered[(last + 1) // 2]) / 2


def compressed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weights [draw, rank] and shapes [rank, point] whose product is a matrix of smooth curves, to ERROR.

    The leading singular vectors, by random projections (Halko et al. 2011, doi:10.1137/090771806).
    """
    rng = np.random.default_rng(0)
    around = matrix.mean(axis=0, keepdims=True)
    apart = matrix - around
    sketch = apart @ rng.standard_normal((apart.shape[1], RANK_MAX + 8)).astype("f4")
    basis, _ = np.linalg.qr(apart @ (apart.T @ np.linalg.qr(sketch)[0]))
    left, sizes, right = np.linalg.svd((basis.T @ apart).astype("f8"), full_matrices=False)
    # the parts are orthogonal: what a sum of some leaves over has the squares of the others
    over = np.einsum("ij,ij->", apart, apart, dtype="f8") - np.cumsum(sizes**2)
    ranks = range(2, RANK_MAX + 1, 2)
    rank = next((rank for rank in ranks if over[rank - 1] < ERROR**2 * apart.size), ranks[-1])
    weights, shapes = (basis @ left[:, :rank]) * sizes[:rank], right[:rank]
    return np.column_stack([np.ones(len(weights)), weights]), np.concatenate([around, shapes])


def _nodes(low: float, high: float, step: float) -> np.ndarray:
    return np.linspace(low, high, max(2, int(np.ceil((high - low) / step - 1e-9)) + 1))
