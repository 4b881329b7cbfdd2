"""How the compute of a study is counted: FLOP of a run as a formula of N and D, learnt from its runs.

Most papers count 6 N D. Others add attention or embeddings, or count multiply-adds; columns come in GFLOP or
PFLOP-days. A budget means what the runs' own column means, so the column is compared with 6 N D. A ratio near a power
of ten is a unit, another constant ratio is another definition, and a ratio that varies smoothly with N is learnt as

    C = 6 N (1 + b (N / N_mid)^-c) D      or      C = 6 N D / (1 + b (N / N_mid)^-c),

which are positive, rise with N and, for c > 0, approach 6 N D for large models.
"""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescale.errors import FormulaError
from bayescale.field import FLOPS_PER_PARAM_TOKEN, TRAINING, number_text
from bayescale.laws.formula import Node, evaluate, names, parse
from bayescale.runs.size_unit import PFLOP_DAY, unit_name
from bayescale.runs.spellings import DERIVED_SIZES

UNIT_POWERS = range(1, 31)  # of ten: possible units of a column
# FLOP per parameter and token: all, forward, none, MACs, backward, recomputed
KNOWN_FLOPS_PER_PARAM_TOKEN = (6.0, 2.0, 1.0, 3.0, 4.0, 8.0)
ROUNDING_RELATIVE = 1e-9  # two orders of multiplication differ by less
ROUNDING_LOG = 0.005  # columns are printed with three digits
CONSTANT_LOG = 0.02  # a ratio that varies less in nine of ten runs is constant
NOMINAL_LOG = 0.1  # nominal budgets scatter around 6 N D by at most this
ERROR_LOG_MAX = 0.25  # a definition with larger errors in more than one run of ten is rejected
CURVE_CHANCE_MAX = 1e-3  # probability that scatter alone passes for a curve
SIZE_APART_LOG = 0.01  # sizes nearer than this are one size
OFF_SHARE_MAX = 0.1  # of runs, which may hold typing errors
ODD_TIMES = 1.5  # a run farther from the definition is named
PLAUSIBLE_TIMES = 30.0  # largest plausible ratio of compute to 6 N D, either way
EXPONENT_GRID = np.linspace(
    -0.5, 1.0, 31
)  # c of the formula above; past 1 small models would cost more than large ones
SIZE_LOG_MAX = 300.0  # from the middle: of sizes farther apart no power has a square
EXPONENT_SEARCHES = 4  # each on a grid ten times finer
LEARNT_RUNS_MAX = 2000  # enough to learn three numbers
REWEIGHTINGS = 4  # so that runs with typing errors count less
LOG_PARAMS_MAX = 92.0  # upper end of the bisection
PARAMS_BISECTIONS = 55  # to 3e-15 of the logarithm
MANTISSA_DIGITS = 11  # decimals of the mantissa that are kept of a column of compute


@dataclass(frozen=True)
class Definition:
    """What a column of compute counts.

    Attributes
    ----------
    formula : FLOP of a run, of N and D, in the language of laws
    unit : factor from the column to the unit of the formula; ``unit_name`` is its name
    off : largest relative difference between the formula and nine of ten runs
    doubt : why the formula must not stand for the column, or an empty text
    """

    formula: str = TRAINING
    unit: float = 1.0
    unit_name: str = "FLOP"
    off: float = 0.0
    doubt: str = ""

    def compute(self, N: Any, D: Any) -> Any:
        """Compute of runs of N parameters on D tokens."""
        return evaluate(self.tree, {"N": N, "D": D})

    @property
    def tree(self) -> Node:
        return tree_of(self.formula)

    def tokens(self, N: Any, compute: Any) -> Any:
        """Tokens D that a budget buys at size N: every definition is proportional to D."""
        return compute / self.compute(N, 1.0)

    def params(self, ratio: Any, compute: Any) -> np.ndarray:
        """Size N that a budget buys at ``ratio`` tokens per parameter, by bisection of log N."""
        shape = np.broadcast(ratio, compute).shape
        low, high = np.zeros(shape), np.full(shape, LOG_PARAMS_MAX)
        for _ in range(PARAMS_BISECTIONS):
            middle = (low + high) / 2
            above = self.compute(np.exp(middle), ratio * np.exp(middle)) > compute
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return np.exp((low + high) / 2)


@functools.lru_cache(maxsize=64)
def tree_of(formula: str) -> Node:
    return parse(formula)


def objection_to(formula: str) -> str:
    """Why a text is not a definition of compute, or an empty text: it must use N and be proportional to D."""
    try:
        tree = parse(formula)
    except FormulaError as error:
        return str(error)
    if names(tree) != {"N", "D"}:
        return "it is not a formula of N and D"
    N = np.logspace(3, 15, 37)
    once, twice = (np.broadcast_to(evaluate(tree, {"N": N, "D": D}), N.shape) for D in (1.0, 2.0))
    if not ((once > 0) & np.isfinite(once) & (np.abs(twice / once - 2) < 1e-9) & (np.diff(once, prepend=0) > 0)).all():
        return "it is not a number of FLOP a token that rises with N"
    return ""


def constant_multiple(N: np.ndarray, D: np.ndarray, compute: np.ndarray, *, unit_known: bool = False) -> Definition:
    """The unit of a column of compute [run], and the multiple of N D nearest to it, with its error ``off``.

    Parameters
    ----------
    unit_known : the unit was given or found before: none is looked for
    """
    ratio = _log_ratio(N, D, compute)
    if not (np.abs(ratio) < 2 * SIZE_LOG_MAX).all() or not ratio.size:
        return Definition(doubt="some of the runs have no finite ratio of compute to 6 N D")
    middle = float(np.median(ratio))
    scatter = far(ratio - middle)
    unit = 1.0 if unit_known else _unit(middle, scatter, _follows(N, ratio, scatter))
    return _constant(middle + np.log(unit), scatter, unit)


def learn(N: np.ndarray, D: np.ndarray, compute: np.ndarray, *, unit_known: bool = False) -> Definition:
    """What the compute of runs [run] counts, by comparison with 6 N D; ``unit_known`` as in `constant_multiple`."""
    found = constant_multiple(N, D, compute, unit_known=unit_known)
    if found.doubt:
        return found
    ratio = _log_ratio(N, D, compute)
    if np.median(ratio) + np.log(found.unit) < -np.log(PLAUSIBLE_TIMES):
        doubt = (
            f"the runs' compute is {number_text(np.exp(np.median(ratio)))} times 6 N D, which is no unit of FLOP: name "
            "the unit, such as compute=EFLOP (--unit compute=EFLOP), unless the column has GPU-hours or money"
        )
        return replace(found, doubt=doubt)
    constant = far(ratio - np.median(ratio))
    if constant > CONSTANT_LOG and (smooth := _smooth(N, ratio + np.log(found.unit), constant)) is not None:
        if smooth[1] < 0.5 * constant or smooth[1] <= ERROR_LOG_MAX < constant:
            found = replace(found, formula=smooth[0], off=smooth[1])
    if found.off <= ERROR_LOG_MAX:
        return found
    low, high = np.exp(np.quantile(ratio, [OFF_SHARE_MAX / 2, 1 - OFF_SHARE_MAX / 2]))
    doubt = (
        f"the runs' compute is between {number_text(low)} and {number_text(high)} times 6 N D, and that ratio does "
        "not follow from N: what a run of another size would cost is not known"
    )
    return replace(found, doubt=doubt)


def _log_ratio(N: np.ndarray, D: np.ndarray, compute: np.ndarray) -> np.ndarray:
    """log(compute / 6 N D) [run]."""
    with np.errstate(all="ignore"):
        return np.log(compute) - np.log(FLOPS_PER_PARAM_TOKEN) - np.log(N) - np.log(D)


def no_compute_text(role: str, value: float, name: str) -> str:
    """Why a column that makes a size less than 1 cannot be compute."""
    return (
        f"{role} = {DERIVED_SIZES[role]} comes out as {value:.2g}: {name} is no compute in FLOP; name its unit (--unit "
        f"compute=EFLOP, PFLOP-day, ...), or where it is hours or money give {role} instead (--column {role}=...)"
    )


def sizes_of(runs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """N, D and compute of runs [run], or None where one of them is missing or not known of all."""
    columns = [runs[name].values for name in ("params", "tokens", "compute") if name in runs]
    known = len(columns) == 3 and all(values.dtype.kind == "f" and (values > 0).all() for values in columns)
    return tuple(columns) if known else None


def far(difference: np.ndarray) -> float:
    """Error of a definition [log], without the few runs that may be typing errors."""
    return float(np.quantile(np.abs(difference), 1 - OFF_SHARE_MAX))


def _follows(N: np.ndarray, ratio: np.ndarray, scatter: float) -> bool:
    """Whether log(compute / 6 N D) [run] varies, and with N, as where attention or embeddings are counted."""
    if scatter <= CONSTANT_LOG or not np.ptp(np.log(N)) > 0:
        return False
    x = np.log(N) - np.log(N).mean()
    left = ratio - ratio.mean() - (x @ ratio) / (x @ x) * x
    return far(left - np.median(left)) < 0.5 * scatter


def _unit(middle: float, scatter: float, follows: bool) -> float:
    """FLOP in a unit of the column, from the median of log(compute / 6 N D); 1 where no unit fits.

    Where the ratio does not follow N, so that nothing but N D was counted, a unit fits if it leaves a known multiple.
    """
    tolerance = max(ROUNDING_LOG, min(scatter, NOMINAL_LOG))
    for unit in (PFLOP_DAY, *(10.0**power for power in UNIT_POWERS)):
        if abs(middle + np.log(unit)) <= tolerance:
            return unit
    if middle >= -np.log(PLAUSIBLE_TIMES):
        return 1.0
    units = np.array([1.0, PFLOP_DAY, *(10.0**power for power in UNIT_POWERS if power % 3 == 0 and power > 3)])
    nearest = float(units[np.abs(middle + np.log(units)).argmin()])
    known = scatter <= CONSTANT_LOG and _known_multiple(middle + np.log(nearest), ROUNDING_LOG) is not None
    return nearest if known or follows else 1.0


def _known_multiple(middle: float, tolerance: float) -> float | None:
    """The known number of FLOP per parameter and token at this log(compute / 6 N D), or None."""
    apart = np.abs(np.log(KNOWN_FLOPS_PER_PARAM_TOKEN) - np.log(FLOPS_PER_PARAM_TOKEN) - middle)
    return KNOWN_FLOPS_PER_PARAM_TOKEN[apart.argmin()] if apart.min() <= tolerance else None


def _constant(middle: float, scatter: float, unit: float) -> Definition:
    """The definition k N D, with k a known value or the measured one."""
    tolerance = max(ROUNDING_LOG, min(scatter, NOMINAL_LOG))
    per_token = FLOPS_PER_PARAM_TOKEN * np.exp(middle)
    known = _known_multiple(middle, tolerance)
    off = scatter if scatter > ROUNDING_LOG or known is None else float(abs(np.log(per_token / known)))
    text = f"{_number(per_token, 4)}*N*D" if known is None else f"{number_text(known, 6)}*N*D"
    return Definition("N*D" if text == "1*N*D" else text, unit, unit_name(unit), off)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}g}".replace("e+", "e")


def _smooth(N: np.ndarray, ratio: np.ndarray, constant: float) -> tuple[str, float] | None:
    """A formula with a power of N for log(compute / 6 N D) [run], and its error [log], where the runs show one.

    The error must be so far below ``constant``, that of a constant ratio, as scatter alone seldom makes it. Scatter at
    S sizes leaves p fitted numbers a share r of its squares, or less, with probability r^((S - p) / 2). Where the ratio
    varies by more than a constant may be off, a curve that is near enough is taken, for the other answer is none.
    """
    sizes = len(np.unique(np.round(np.log(N) / SIZE_APART_LOG)))
    order = np.lexsort((ratio, N))
    some = order[np.linspace(0, len(order) - 1, min(len(order), LEARNT_RUNS_MAX)).astype(int)]
    log_n = np.log(N[some])
    centre = float(number_text(np.exp(log_n.mean())))
    x = log_n - np.log(centre)
    best = None
    for free in (False, True):
        spare = sizes - 2 - free
        for inverse in (False, True) if spare > 0 else ():
            found = _power(x, -ratio[some] if inverse else ratio[some], free)
            if found is None:
                continue
            text = _formula(*found, centre, inverse)
            left = ratio - np.log(evaluate(parse(text), {"N": N, "D": 1.0}) / (FLOPS_PER_PARAM_TOKEN * N))
            off = far(left) * np.sqrt(len(ratio) / (len(ratio) - 2 - free))
            shown = off < constant * CURVE_CHANCE_MAX ** (1 / spare) or off <= ERROR_LOG_MAX < constant
            if shown and (best is None or off < 0.5 * best[1] - 1e-4):
                best = text, float(off)
    return best


def _power(x: np.ndarray, ratio: np.ndarray, free: bool) -> tuple[float, float, float] | None:
    """k, b > 0 and c with exp(ratio) = k (1 + b exp(-c x)), k = 1 unless ``free``; k = 0 is the power b exp(-c x)."""
    if np.abs(x).max() > SIZE_LOG_MAX:
        return None
    value, beside = np.exp(ratio), np.lib.stride_tricks.sliding_window_view(np.pad(ratio, 2, mode="edge"), 5)
    weight = _weights(ratio - np.median(beside, axis=1))  # runs are in the order of N
    for _ in range(REWEIGHTINGS):
        nodes, step = EXPONENT_GRID, EXPONENT_GRID[1] - EXPONENT_GRID[0]
        for _ in range(EXPONENT_SEARCHES):
            power = np.exp(-nodes[:, None] * x)
            levels, rises = _linear(power, value, weight, free)
            with np.errstate(all="ignore"):
                left = np.log(levels[:, None] + rises[:, None] * power) - ratio
                errors = np.nan_to_num(np.sum((weight * left) ** 2, axis=1), nan=np.inf, posinf=np.inf)
            i = int(np.argmin(errors))
            level, rise, c = float(levels[i]), float(rises[i]), float(nodes[i])
            nodes = np.clip(np.linspace(c - step, c + step, 21), EXPONENT_GRID[0], EXPONENT_GRID[-1])
            step = step / 10
        if not np.isfinite(errors[i]):
            return None
        weight = _weights(left[i])
    if rise <= 0 or (level <= 0 and c > 0.99):  # a power alone that does not rise with N
        return None
    return (level, rise / level, c) if level > 0 else (0.0, rise, c)


def _weights(residual: np.ndarray) -> np.ndarray:
    """Weights that make outliers count for almost nothing."""
    scale = max(2 * 1.4826 * float(np.median(np.abs(residual))), 1e-6)
    return 1 / (1 + (residual / scale) ** 2)


def _linear(power: np.ndarray, value: np.ndarray, weight: np.ndarray, free: bool) -> tuple[np.ndarray, np.ndarray]:
    """level and rise [node] with value = level + rise * power [node, run], in relative errors; 1 unless ``free``."""
    w = (weight / value) ** 2 / np.sum((weight / value) ** 2)
    if not free:
        return np.ones(len(power)), power @ (w * (value - 1)) / (power**2 @ w)
    middle = value @ w
    apart = power - (power @ w)[:, None]
    spread = np.maximum(apart**2 @ w, np.finfo(float).tiny)
    rise = np.where(np.ptp(power, axis=1) > ROUNDING_RELATIVE, apart @ (w * (value - middle)) / spread, 0.0)
    level = middle - rise * (power @ w)
    alone = level <= 0
    return np.where(alone, 0.0, level), np.where(alone, power @ (w * value) / (power**2 @ w), rise)


def _formula(k: float, b: float, c: float, centre: float, inverse: bool) -> str:
    """FLOP of a run as text; ``inverse``: 6 N D over what :func:`_power` found, else times it."""
    middle = _number(centre, 3)
    if k == 0:  # a power alone
        return f"{_number(6 / b if inverse else 6 * b, 6)}*N*(N/{middle})**({_number(c if inverse else -c, 6)})*D"
    power = f"(1 + {_number(b, 6)}*(N/{middle})**({_number(-c, 6)}))"
    if inverse:
        return f"{_number(6 / k, 6)}*N/{power}*D"
    return f"{_number(6 * k, 6)}*N*{power}*D"


def rounded(compute: np.ndarray) -> np.ndarray:
    """Compute to twelve digits, so that the numbers do not depend on the unit of the column."""
    with np.errstate(all="ignore"):
        size = 10.0 ** np.floor(np.log10(compute))
        found = np.round(compute / size, MANTISSA_DIGITS) * size
    return np.where(np.isfinite(found) & (found > 0), found, compute)


def definition_of(fit: Any) -> Definition:
    """How the compute of a fit's runs is counted; fits of earlier versions count 6 N D."""
    return Definition(str(fit.attrs.get("compute", TRAINING)), doubt=str(fit.attrs.get("compute_doubt", "")))


def counted(attrs: Any) -> str:
    """What a budget of a result means, as a sentence: its cost, and whether that is the compute of the runs."""
    cost, runs = (str(attrs.get(name, TRAINING)) for name in ("cost", "compute_counted"))
    if cost == runs:
        return f"Compute [FLOP] is counted as in the runs: {cost}."
    return f"Budgets: compute in the unit of the cost {cost}."
