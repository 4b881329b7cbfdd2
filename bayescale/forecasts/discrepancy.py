"""How far a law may be wrong beyond the data: the discrepancy, as a Gaussian process of the log loss.

A law is a smooth surface of few parameters; real losses bend away from it, by an error that is shared by all the larger
runs of a study and grows with the distance from the runs that were seen. So the loss of a new run is

    log loss(x) = log L(x; parameters) + drift(x) + h shift + noise,     x = log10 of the law's inputs (N, D)

with drift a Gaussian process of mean zero, scale ``s`` and Matern-3/2 correlation over ``x``. Runs that were seen pin
it down: it is small inside the data and opens with the distance in log N and log D beyond them. Its scale has a prior
learnt from real studies and is updated by the user's own runs: where they bend away from the law, the band is wide;
where a hundred clean runs follow it, the band is narrow. ``h`` counts decades of compute beyond the largest run, and
``shift`` is what runs inside cannot rule out: a break or another recipe that begins beyond them. It is heavy-tailed and
shared by all larger runs. Both are measured in units of the runs' own slope: a loss that falls twice as fast with
compute goes wrong by twice as much. The posterior is in ``discrepancy_posterior.py``, forecasts with it in
``curve.py``.
"""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.linalg.lapack import dtrtri

from bayescale.laws.groups import GROUP
from bayescale.laws.law import Law, column, is_joint, law_loss, size_column
from bayescale.laws.noises import Values
from bayescale.runs.loss_unit import is_text
from bayescale.study import Study

POOLED_MAX = 5000  # runs: more are pooled into small cells of log N x log D
SHIFT_DF = 4.0  # of the Student-t: shifts of five times its scale happen
SLOPE_RANGE = (0.01, 2.0)  # log a decade of compute: runs that differ in noise only have no slope
SPAN_MIN = 0.3  # decades of compute: a shorter range shows no slope
GROUP_DECADES = 1.0  # from one group of runs to another: their laws err alike, but not as one (docs/guides/pymc.md)
MAX_CENTRES = 300  # of the drift's basis: its cost grows with their cube
EIGENVALUE_MIN = 1e-6  # of the drift's correlation, relative to the largest; smaller ones changed nothing


@dataclass(frozen=True)
class DriftPrior:
    """What is known of drifts before seeing the user's runs; the shipped one is ``drift.toml``.

    Attributes
    ----------
    length : decades over which the drift forgets itself
    log_scale, log_scale_sd : of the drift, LogNormal
    spread : how far drifts go beyond the data, relative to what their wiggles inside the data promise: the median of a
        LogNormal over studies, ``spread_log_sd`` its width
    shift : scale of the shift, Student-t with SHIFT_DF degrees of freedom [log loss a decade beyond the runs]
    decline : by which real losses end below the forecast on average [log loss a decade beyond the runs]
    slope : fall of the loss [log a decade of compute] at which ``log_scale``, ``shift`` and ``decline`` hold; None
        where they hold whatever the slope
    shift_of_scale : the same in units of the drift's scale, in which the runs have a say [a decade]; added to ``shift``
    tail_df : degrees of freedom of Student-t noise beside a drift, whatever a fit without one found; None: as found.
        Heavy tails keep a few odd small runs from bending what lies beyond all of them
    """

    length: float
    log_scale: float
    log_scale_sd: float
    spread: float
    spread_log_sd: float = 0.0
    shift: float = 0.0
    decline: float = 0.0
    slope: float | None = None
    shift_of_scale: float = 0.0
    tail_df: float | None = None

    def log_density(self, log_scales: np.ndarray) -> np.ndarray:
        return -0.5 * ((log_scales - self.log_scale) / self.log_scale_sd) ** 2

    def at_slope(self, slope: float) -> "DriftPrior":
        """The same prior for a study whose loss falls by ``slope`` [log a decade of compute]."""
        if self.slope is None:
            return self
        unit = slope / self.slope
        return replace(
            self,
            log_scale=self.log_scale + float(np.log(unit)),
            shift=self.shift * unit,
            decline=self.decline * unit,
            slope=None,
        )


def tail_df_of(study: Study, prior: DriftPrior, values: Values) -> np.ndarray:
    """Degrees of freedom of the noise beside the drift at parameters of the fit; infinite where its noise is normal."""
    fitted = np.asarray(study.scatter.tail_df(values))
    return fitted if prior.tail_df is None else np.where(np.isinf(fitted), fitted, prior.tail_df)


@functools.cache
def shipped_prior(name: str = "drift") -> DriftPrior:
    """What was learnt: "drift" of laws of N and D, "drift_one_size", "drift_other_losses" where no text is modelled."""
    folder = Path(__file__).parent
    learnt = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    if name == "drift_other_losses":  # it has only what differs
        learnt = tomllib.loads((folder / "drift.toml").read_text(encoding="utf-8")) | learnt
    return DriftPrior(**learnt)


def prior_of(law: Law, runs: xr.Dataset) -> DriftPrior:
    """The shipped prior for a law and the kind of loss that the runs have."""
    if one_size(law) is not None:
        return shipped_prior("drift_one_size")
    known = not has_drift(law) or is_text(np.asarray(runs[law.observed.column]), runs.attrs)
    return shipped_prior("drift" if known else "drift_other_losses")


def one_size(law: Law) -> str | None:
    """The size along which a law that is not of N and D goes beyond its runs; None where it has none, or a loss."""
    size = None if is_joint(law) else size_column(law)
    return None if size == "loss" else size


def has_drift(law: Law) -> bool:
    """Whether drifts of such laws have been studied: those of a loss; nothing is known of accuracies and the like."""
    return law.observed.column == "loss" and law.observed.scale == "log"


def slope_of(study: Study, log_loss: np.ndarray) -> float | None:
    """How fast the loss falls over the runs [log a decade of compute]: the range of one over the range of the other.

    ``log_loss`` is the fitted curve at the runs [run], which a diverged run hardly moves. Of a law of one size it is by
    a decade of that; None for a law without a size. Groups of runs differ in level: ranges are within them, and summed.
    """
    inputs, size = study.inputs(), one_size(study.law)
    if is_joint(study.law):
        decades = np.log10(inputs["N"]) + np.log10(inputs["D"])
    elif size is not None:
        decades = np.log10(study.runs[size].values)
    else:
        return None
    groups = study.runs[GROUP].values if study.law.groups else np.zeros(len(log_loss))
    inside = [groups == one for one in np.unique(groups)]
    fallen, gone = (sum(float(np.ptp(values[some])) for some in inside) for values in (log_loss, decades))
    return float(np.clip(fallen / max(gone, SPAN_MIN), *SLOPE_RANGE))


def coordinates(study: Study, points: xr.Dataset) -> np.ndarray:
    """Where runs or points lie [row, coordinate]: by the inputs of the law, and every group as far from any other."""
    where = sizes_at(study, points)
    if not study.law.groups:
        return where
    codes = np.array(list(study.law.groups.codes.values()))
    return np.hstack([where, GROUP_DECADES / np.sqrt(2) * (points[GROUP].values[:, None] == codes)])


def sizes_at(study: Study, points: xr.Dataset) -> np.ndarray:
    """Inputs of runs or points but for their group [row, input]: log10 of each, or itself.

    Itself where the runs are not all above 0, or the law's published range starts at 0 (a sparsity): the runs and the
    law decide, never the points. A point at 0 or below then counts as a thousandth of the smallest run.
    """
    values = []
    for symbol in study.law.inputs:
        if symbol == GROUP and study.law.groups:
            continue
        x, seen = points[column(symbol)].values, study.runs[column(symbol)].values
        logarithmic = seen.min() > 0 and study.law.range.get(symbol, (1.0, 1.0))[0] > 0
        values.append(np.log10(np.maximum(x, 1e-3 * seen.min())) if logarithmic else x)
    return np.stack(values, axis=1)


@dataclass(frozen=True)
class Cells:
    """The runs as the drift sees them, pooled where there are many: inputs, where they lie, log loss, noise."""

    inputs: Mapping[str, np.ndarray]  # symbol -> [cell]
    where: np.ndarray  # coordinates of the inputs [cell, input]
    log_loss: np.ndarray  # [cell]
    variance: np.ndarray  # of the noise, in units of sigma**2 [cell]
    known: np.ndarray  # variance of known errors, which is added [cell]

    def noise(self, sigma: float) -> np.ndarray:
        """Variance of the noise [cell]."""
        return sigma**2 * self.variance + self.known


def cells_of(study: Study) -> Cells:
    """The runs of a fit; beyond POOLED_MAX they are pooled into cells small enough for the law to be linear in them.

    Those that are censored count as :func:`_as_if_seen` says; where runs are pooled they are left out.
    """
    if study.censored.any() and study.seen.size > POOLED_MAX:
        study = study.part(~study.censored)
    inputs, where, log_loss = study.inputs(), coordinates(study, study.runs), study.seen.values
    tilt = study.medians["tilt"]
    covariates = study.covariates(values=study.medians)
    spread = np.exp(2 * tilt * covariates["log_compute"])
    if study.scatter.groups:
        spread = spread * (study.scatter.sigma_at(covariates, study.medians) / study.medians["sigma"]) ** 2
    known = np.broadcast_to(covariates.get("known_variance", 0.0), spread.shape)
    if study.censored.any():
        log_loss, spread, known = _as_if_seen(study, log_loss, spread, known)
    if len(log_loss) <= POOLED_MAX:
        return Cells(inputs, where, log_loss, spread, known)
    index = _cell_index(where, POOLED_MAX)
    weight = 1 / spread
    total = np.bincount(index, weight)

    def pooled(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, weight * values) / total

    centre = np.stack([pooled(where[:, i]) for i in range(where.shape[1])], axis=1)
    # on the scale of the coordinates, so that a cell of runs in N x D lies at their geometric mean
    pooled_inputs = {
        symbol: pooled(values) if np.array_equal(where[:, i], values) else 10 ** centre[:, i]
        for i, (symbol, values) in enumerate(inputs.items())
    }
    return Cells(pooled_inputs, centre, pooled(log_loss), 1 / total, np.bincount(index, weight**2 * known) / total**2)


def _as_if_seen(study: Study, log_loss: np.ndarray, spread: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log loss and variances [run] in which each censored run is a measurement that says the same of the law.

    At the law's median loss m, the log probability of at least what was observed has the slope g and the curvature -w;
    so has the log density of a normal measurement m + g/w of variance 1/w. Where w is not above 0, in the tail of a
    Student-t, g**2 takes its place.
    """
    noise = study.medians
    scale = np.asarray(study.scatter.scale_at(study.covariates(values=noise), noise))
    middle = np.median(study.scatter.transform(law_loss(study.law, study.draws | study.inputs())), axis=0)
    excess = (log_loss - middle) / scale
    below, here, above = (study.scatter.log_above(excess + step, noise) for step in (-1e-3, 0.0, 1e-3))
    slope, curvature = (below - above) / 2e-3, (2 * here - below - above) / 1e-6
    weight = np.maximum(np.where(curvature > 0, curvature, slope**2), 1e-12)
    hidden = study.censored
    return (
        np.where(hidden, middle + scale * slope / weight, log_loss),
        np.where(hidden, 0.0, spread),
        np.where(hidden, scale**2 / weight, known),
    )


def _cell_index(where: np.ndarray, most: int) -> np.ndarray:
    """The cell of every row of ``where`` in the finest grid of at most ``most`` occupied cells."""
    step = 0.01
    while True:
        index = np.zeros(len(where), dtype=np.int64)
        for steps in np.round(where / step).T:
            # column after column as whole numbers: rows of several numbers are sorted a hundred times as slowly
            _, place = np.unique(steps, return_inverse=True)
            _, index = np.unique(index * (place.max() + 1) + place, return_inverse=True)
        if index.max() < most:
            return index
        step *= 1.25


def correlation(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """Matern-3/2 over the distance in decades, the same in every input."""
    distance = np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))
    r = np.sqrt(3.0) * distance / length
    return (1 + r) * np.exp(-r)


def basis_of(where: np.ndarray, length: float) -> np.ndarray:
    """Leading directions of the drift among the cells [cell, rank], so that basis @ basis.T is its correlation.

    They are eigenvectors of the correlation among at most MAX_CENTRES places, carried to the cells (Nystroem).
    """
    places = where
    if len(where) > MAX_CENTRES:
        index = _cell_index(where, MAX_CENTRES)
        count = np.bincount(index)
        places = np.stack([np.bincount(index, where[:, i]) / count for i in range(where.shape[1])], axis=1)
    values, vectors = np.linalg.eigh(correlation(places, places, length))
    kept = values > EIGENVALUE_MIN * values[-1]
    return correlation(where, places, length) @ (vectors[:, kept] / np.sqrt(values[kept]))


@dataclass(frozen=True)
class Covariance:
    """drift + noise of the cells, basis @ basis.T + diag(noise), by its inverse: diag(1/noise) - whitener.T @ whitener.

    (Woodbury's identity; the whitener is the inverse of a Cholesky factor of 1 + basis.T @ diag(1/noise) @ basis, times
    basis.T @ diag(1/noise).)
    """

    noise: np.ndarray  # variance [cell]
    whitener: np.ndarray  # [rank, cell]
    half_log_determinant: float

    @classmethod
    def of(cls, basis: np.ndarray, noise: np.ndarray) -> "Covariance":
        weighted = (basis / noise[:, None]).T
        inner = np.linalg.cholesky(np.eye(basis.shape[1]) + weighted @ basis)
        # LAPACK's, without the checks of scipy.linalg; the inverse and a product are quicker than solving for as many
        inverse, status = dtrtri(inner.T, lower=0)
        if status:
            raise np.linalg.LinAlgError("singular covariance")
        return cls(noise, inverse.T @ weighted, float(np.log(np.diag(inner)).sum() + 0.5 * np.log(noise).sum()))

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """covariance**-1 @ vectors [cell, k]."""
        return vectors / self.noise[:, None] - self.whitener.T @ (self.whitener @ vectors)

    def squares(self, vectors: np.ndarray) -> np.ndarray:
        """v.T @ covariance**-1 @ v of every column of ``vectors`` [cell, k]."""
        return (1 / self.noise) @ vectors**2 - ((self.whitener @ vectors) ** 2).sum(axis=0)

    def inverse_diagonal(self) -> np.ndarray:
        return 1 / self.noise - (self.whitener**2).sum(axis=0)

    def log_density(self, residual: np.ndarray) -> float:
        """Of residuals [cell] with this covariance, up to a constant."""
        return -0.5 * float(self.squares(residual[:, None])[0]) - self.half_log_determinant

    def curvature(self, residual: np.ndarray) -> float:
        """Minus the second derivative of :meth:`log_density` by the logarithm of the noise's sd, all cells' together.

        With K the covariance, N the noise and a = K**-1 r:  4 (N a).T K**-1 (N a) - 2 a.T N a
        + 2 tr(K**-1 N) - 2 tr((K**-1 N)**2), where K**-1 N = 1 - W.T W N, of which the traces follow.
        """
        solved = self.solve(residual[:, None])[:, 0]
        pulled = self.noise * solved
        inner = (self.whitener * self.noise) @ self.whitener.T
        traces = 2 * (np.trace(inner) - (inner**2).sum())
        return float(4 * self.squares(pulled[:, None])[0] - 2 * solved @ pulled + traces)
