"""Runs as a law sees them, and the smooth curve or surface through them that the lint uses."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescale.field import number_text, size_text
from bayescale.laws.law import SHARES, Law, column

SURFACE_RUNS_MAX = 10_000  # enough for the few coefficients of a surface
SURPRISING_SD = 6


@dataclass(frozen=True)
class Seen:
    """What is observed in runs, and the sizes that it depends on.

    Attributes
    ----------
    runs : all columns [run]
    sizes : positive inputs [run]
    others : further inputs of the law, of any sign [run]
    observed, scale : name of what is observed, empty where nothing is, and "log", "linear" or "proportion"
    target : observed values on that scale: their log, themselves, or log odds [run]
    """

    runs: xr.Dataset
    sizes: Mapping[str, np.ndarray]
    others: Mapping[str, np.ndarray]
    observed: str
    scale: str
    target: np.ndarray

    @property
    def number(self) -> int:
        """How many runs."""
        return self.runs.sizes["run"]

    @property
    def values(self) -> np.ndarray:
        """Observed values as measured [run]."""
        return self.runs[self.observed].values

    @property
    def shape(self) -> str:
        """What a smooth law of the sizes is: a curve, or a surface."""
        return "curve" if len(self.sizes) + len(self.others) == 1 else "surface"

    @property
    def place(self) -> str:
        """How runs are counted: by "line" or by "row"."""
        return self.runs.attrs.get("rows", "row")


def seen_by(runs: xr.Dataset, law: Law | None = None) -> Seen:
    """Runs as a law sees them; without a law as L(N, D) does, or L(C) where compute is the only size."""
    if law is None:
        names = [name for name in ("params", "tokens") if name in runs] or [name for name in runs if name == "compute"]
        observed, scale = "loss" if "loss" in runs else "", "log"
        if observed and not (runs["loss"].dtype.kind == "f" and (runs["loss"] > 0).all()):
            observed = ""
    else:
        names = [column(symbol) for symbol in law.inputs]
        observed, scale = law.observed.column, law.observed.scale
    columns = {name: runs[name].values for name in names if runs[name].dtype.kind == "f"}
    sizes = {name: values for name, values in columns.items() if (values > 0).all()}
    others = {name: values for name, values in columns.items() if name not in sizes}
    return Seen(runs, sizes, others, observed, scale, _target(runs, observed, scale))


def texts_in(seen: Seen) -> dict[str, np.ndarray]:
    """Columns of texts."""
    return {str(name): one.values for name, one in seen.runs.data_vars.items() if one.dtype.kind in "OUT"}


def _target(runs: xr.Dataset, observed: str, scale: str) -> np.ndarray:
    if not observed:
        return np.zeros(runs.sizes["run"])
    values = runs[observed].values
    if scale == "log":
        return np.log(values)
    if scale in SHARES:
        inside = np.clip(values, 1e-3, 1 - 1e-3)
        return np.log(inside / (1 - inside))
    return values


def spread_of_ratio(runs: xr.Dataset) -> float:
    """Ratio of the largest to the smallest tokens per parameter, which separates the effects of N and D."""
    ratio = np.log(runs.tokens.values) - np.log(runs.params.values)  # by logarithms: ratios overflow
    with np.errstate(over="ignore"):
        return float(np.exp(np.ptp(ratio)))


def off_diagonal(runs: xr.Dataset) -> float:
    """Spread (sd, in e-folds) of log D around its regression on log N: 0 when N and D move together."""
    n, d = np.log(runs.params.values), np.log(runs.tokens.values)
    n, d = n - n.mean(), d - d.mean()
    if not n.any() or not d.any():
        return 0.0
    return float(np.sqrt(max(0.0, (d @ d - (n @ d) ** 2 / (n @ n)) / len(d))))


def line_of_sizes(runs: xr.Dataset) -> str:
    """The line that N and D move along, in words: ``D = 20 N``, ``D ~ N^1.1`` or ``N D = 1.7e19``."""
    n, d = runs.params.values, runs.tokens.values
    if not np.ptp(n) or not np.ptp(d):
        return f"N = {size_text(n[0])}" if np.ptp(d) else f"D = {size_text(d[0])}"
    power = log_slope(n, d)
    middle = np.exp(np.mean(np.log(d) - np.log(n)))
    if abs(power - 1) < 0.02:
        return f"D = {number_text(middle)} N"
    if abs(power + 1) < 0.02:
        return f"N D = {number_text(np.exp(np.mean(np.log(d) + np.log(n))))}"
    return f"D ~ N^{power:.2f}"


def log_slope(x: np.ndarray, y: np.ndarray) -> float:
    """Slope of log y on log x; 0 where x does not vary."""
    x, y = np.log(x) - np.log(x).mean(), np.log(y)
    return float(x @ y / (x @ x)) if x.any() else 0.0


def move_together(runs: xr.Dataset) -> bool:
    """Whether runs of a loss lie on one line of log N and log D, so that the effects of N and D look alike."""
    if not {"params", "tokens", "loss"} <= set(runs.data_vars) or not (runs["loss"] > 0).all():
        return False
    if runs.sizes["run"] < 3:
        return False
    return off_diagonal(runs) < 0.1 or spread_of_ratio(runs) < 3


@dataclass(frozen=True)
class Surface:
    """A polynomial in the log sizes through all runs, fitted robustly.

    Attributes
    ----------
    degree : 2, with fewer runs 1 or 0; residuals are 0 at degree 0
    residual : target less the surface [run]
    sd : robust standard deviation of the residuals
    """

    degree: int
    coefficients: np.ndarray
    middle: Mapping[str, float]
    residual: np.ndarray
    sd: float

    def at(self, seen: Seen, some: np.ndarray, moved: Mapping[str, np.ndarray]) -> np.ndarray:
        """The surface at some of the runs with the sizes ``moved`` [some]."""
        sizes = {name: moved.get(name, values[some]) for name, values in seen.sizes.items()}
        others = {name: values[some] for name, values in seen.others.items()}
        return design_of(sizes, others, self.middle, self.degree) @ self.coefficients


def design_of(
    sizes: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray], middle: Mapping[str, float], degree: int
) -> np.ndarray:
    x = [np.log(values) - middle[name] for name, values in sizes.items()]
    products = [x[i] * x[j] for i in range(len(x)) for j in range(i, len(x))] if degree == 2 else []
    count = len(next(iter({**sizes, **others}.values())))
    return np.stack([np.ones(count), *x, *others.values(), *products], axis=1)


def surface_through(seen: Seen) -> Surface:
    """The smooth surface through all runs, of degree 2 where there are two runs for each coefficient."""
    count = seen.number
    middle = {name: float(np.log(values).mean()) for name, values in seen.sizes.items()}
    nothing = Surface(0, np.zeros(1), middle, np.zeros(count), 1.0)
    if not seen.observed or not (seen.sizes or seen.others):
        return nothing
    for degree in (2, 1):
        design = design_of(seen.sizes, seen.others, middle, degree)
        if count >= 2 * design.shape[1]:
            break
    else:
        return nothing
    # sorted, then permuted: neither the order of a file nor a grid in it may decide
    order = np.lexsort((seen.target, *reversed([*seen.sizes.values(), *seen.others.values()])))
    some = order[np.random.default_rng(0).permutation(count)[:SURFACE_RUNS_MAX]]
    weight, sd = np.ones(len(some)), np.inf
    for _ in range(30):
        coefficients = np.linalg.lstsq(design[some] * weight[:, None], seen.target[some] * weight, rcond=None)[0]
        residual = seen.target[some] - design[some] @ coefficients
        before, sd = sd, max(1.4826 * float(np.median(np.abs(residual))), 1e-12)
        if abs(sd - before) < 1e-9 * sd:
            break
        weight = 1 / np.sqrt(1 + (residual / (2 * sd)) ** 2)
    return Surface(degree, coefficients, middle, seen.target - design @ coefficients, sd)


def far_off(seen: Seen) -> np.ndarray:
    """Runs whose loss is more than twice, or less than half, that of a smooth surface through all runs [run]."""
    surface = surface_through(seen)
    if surface.degree < 2 or seen.scale != "log":
        return np.zeros(seen.number, dtype=bool)
    return (np.abs(surface.residual) > SURPRISING_SD * surface.sd) & (np.abs(surface.residual) > np.log(2))
