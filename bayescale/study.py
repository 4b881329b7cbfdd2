"""A study: a law, the scatter around it, runs, and the reference constants of the runs; checked once."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.field import number_text, row_text
from bayescale.laws.formula import evaluate, names
from bayescale.laws.groups import GROUP
from bayescale.laws.input_errors import input_roles, known_variance, slopes
from bayescale.laws.law import (
    DEFAULT_LAW,
    Law,
    column,
    law_loss,
    load_law,
    loss_given,
    parse_law,
    reference_constants,
    run_sizes,
    standard_parameters,
)
from bayescale.laws.priors import Prior, quantile
from bayescale.laws.scatter import Scatter
from bayescale.runs.compute import Definition, definition_of, learn, sizes_of
from bayescale.runs.datasets import runs_given
from bayescale.runs.known import censored_runs, known_data, known_of, without_censored
from bayescale.runs.law_checks import check_columns, check_unit, check_variety
from bayescale.runs.loss_unit import loss_unit
from bayescale.runs.one_size import as_counted
from bayescale.runs.read import KEPT_ATTRIBUTES, read_runs
from bayescale.runs.roles import CENSORED
from bayescale.runs.smooth import far_off, seen_by

OUTSIDE = 50.0  # log loss where a law has none: far from all runs, and finite


@dataclass(frozen=True, eq=False)
class Study:
    """A law, the scatter around it, runs, and their reference constants.

    Attributes
    ----------
    law, scatter : what is fitted
    runs : columns by name, with what was read of them as attributes [run]
    seen : observed values on the scale on which they scatter [run]
    constants : reference constants of the law, and ``C_ref``, the centre of the size dependence of the scatter
    fit : the fit that the study was opened from, or None
    """

    law: Law
    scatter: Scatter
    runs: xr.Dataset
    seen: xr.DataArray
    constants: Mapping[str, float]
    fit: xr.DataTree | None = None
    _kept: dict[Callable[["Study"], Any], Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        runs: Any,
        law: Any = None,
        noise: str | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> "Study":
        """Runs, a law and a noise as :func:`bayescale.fit` takes them, checked against each other.

        Raises RunsError or LawError where the runs or the law cannot be used. Raises FitError where the runs or the
        noise do not fit the law.
        """
        runs = runs_given(runs)
        law = as_counted(load_law(DEFAULT_LAW if law is None else law), runs, columns)
        runs = read_runs(runs, law, columns=columns, units=units)
        scatter = Scatter.of(law, noise)
        check_unit(runs, law)
        check_columns(runs, law)
        check_variety(runs, law)
        # priors are centred on the smallest loss: a wrong loss must not move them
        whole = without_censored(runs)
        right = whole.isel(run=~far_off(seen_by(whole, law))) if law.observed.column == "loss" else whole
        study = cls.bound(law, scatter, runs, constants_of(law, right))
        _check_finite(study)
        return study

    @classmethod
    def bound(
        cls, law: Law, scatter: Scatter, runs: xr.Dataset, constants: Mapping[str, float] | None = None
    ) -> "Study":
        """A study without checks; constants are those of the runs unless given."""
        constants = constants_of(law, runs) if constants is None else constants
        shown = runs[law.observed.column].variable
        values = scatter.transform(shown.values)
        if law.observed.scale == "linear":
            scatter = replace(scatter, unit=float(np.ptp(values)))
        seen = xr.DataArray(values, {"run": runs["run"].values}, shown.dims, name=law.observed.variable)
        return cls(law, scatter, runs, seen, constants)

    @classmethod
    def opened(cls, fit: "xr.DataTree | Study") -> "Study":
        """The study of a fit; :func:`bayescale.fitting.doors.opened` also checks that it is one."""
        if isinstance(fit, Study):
            return fit
        law, data = law_of(fit), fit["constant_data"].to_dataset()
        scatter = Scatter.of(law, str(fit.attrs["noise"]))
        seen = fit["observed_data"].to_dataset()[law.observed.variable]
        if law.observed.scale == "linear":
            scatter = replace(scatter, unit=float(fit.attrs.get("span", np.ptp(seen.values))))
        runs = data[[name for name in data.data_vars if data[name].dims == ("run",)]]
        about = {name: fit.attrs[name] for name in ("source", "rows", "read", *KEPT_ATTRIBUTES) if name in fit.attrs}
        observed = {law.observed.column: ("run", np.asarray(scatter.inverse(seen.values)))}
        runs = runs.assign(observed).assign_attrs({"rows": "row"} | about)
        constants = {name: float(data[name]) for name in (*law.constants, "C_ref")}
        return cls(law, scatter, runs, seen, constants, fit)

    def part(self, some: Any) -> "Study":
        """The study of some of its runs, an index or booleans [run], with the same constants and unit."""
        return replace(self, runs=self.runs.isel(run=some), seen=self.seen.isel(run=some))

    @property
    def priors(self) -> dict[str, Prior]:
        """Of all parameters, the law's and the noise's."""
        return {**self.law.priors, **self.scatter.priors}

    @property
    def attrs(self) -> dict[Any, Any]:
        """Attributes of the fit that the study was opened from."""
        return self.tree.attrs

    @property
    def tree(self) -> xr.DataTree:
        """The fit that the study was opened from."""
        if self.fit is None:
            raise TypeError("this study was not opened from a fit: it has no draws")
        return self.fit

    @property
    def loss_unit(self) -> str:
        """The unit of losses for users; inside they are in nats."""
        return loss_unit(self.runs.attrs)

    @functools.cached_property
    def definition(self) -> Definition:
        """What the compute of the runs counts."""
        if self.fit is not None:
            return definition_of(self.fit)
        sizes = sizes_of(self.runs)
        return Definition() if sizes is None else learn(*sizes, unit_known=True)

    @functools.cached_property
    def posterior(self) -> xr.Dataset:
        """Draws of all quantities of the fit that the study was opened from [chain, draw]."""
        return self.tree["posterior"].to_dataset()

    @property
    def draw_count(self) -> int:
        """How many draws the fit has, of all chains."""
        return self.posterior.sizes["chain"] * self.posterior.sizes["draw"]

    @functools.cached_property
    def draws(self) -> dict[str, Any]:
        """Parameters [draw, 1], chains one after the other, and constants: what a formula needs besides inputs."""
        return {name: self.posterior[name].values.reshape(-1, 1) for name in self.priors} | dict(self.constants)

    def once[Found](self, make: Callable[["Study"], Found]) -> Found:
        """The result of ``make`` for this study, computed once and kept."""
        if make not in self._kept:
            self._kept[make] = make(self)
        found: Found = self._kept[make]
        return found

    @property
    def largest_compute(self) -> float:
        """Compute of the largest run by the study's definition, and as recorded where the law uses compute."""
        found = []
        if {"params", "tokens"} <= set(self.runs.data_vars):
            counted = self.definition.compute(self.runs["params"].values, self.runs["tokens"].values)
            found.append(float(np.max(counted)))
        if not found or "C" in self.law.inputs:
            found.append(float(self.runs["compute"].max()))
        return max(found)

    def largest(self, size: str) -> float:
        """Compute, or another size, of the largest run."""
        return self.largest_compute if size == "compute" else float(self.runs[size].max())

    def decades_beyond(self, sizes: Any, size: str = "compute") -> Any:
        """How far compute, or another size, lies beyond the runs [decades], 0 among them; a loss below the lowest."""
        with np.errstate(divide="ignore"):  # a loss of 0 stands for one that no draw reaches
            far = self.runs[size].values.min() / sizes if size == "loss" else sizes / self.largest(size)
            return np.maximum(0.0, np.log10(far))

    def largest_at(self, points: Mapping[Any, Any], size: str = "compute") -> Any:
        """Compute, or another size, of the largest run; with groups, of the largest of each point's group [point]."""
        if not self.law.groups:
            return self.largest(size)
        of_runs, wanted = (np.asarray(data[GROUP]) for data in (self.runs, points))
        seen = {code: self.part(of_runs == code).largest(size) for code in np.unique(of_runs)}
        return np.array([seen.get(code, self.largest(size)) for code in wanted])

    def labelled(self, values: np.ndarray, last: str) -> xr.DataArray:
        """Values of all draws [draw or 1, ``last``] as [chain, draw, ``last``]."""
        chains, draws = (self.posterior.sizes[dim] for dim in ("chain", "draw"))
        full = np.broadcast_to(values, (chains * draws, values.shape[1])).reshape(chains, draws, -1)
        coords = {dim: self.posterior.coords[dim].values for dim in ("chain", "draw") if dim in self.posterior.coords}
        return xr.DataArray(full.copy(), coords, ("chain", "draw", last))

    def inputs(self, points: Mapping[Any, Any] | None = None) -> dict[str, np.ndarray]:
        """Inputs of the law by symbol, of the runs or of other points [run]."""
        points = self.runs if points is None else points
        return {symbol: np.asarray(points[column(symbol)]) for symbol in self.law.inputs}

    def standardised(self, inputs: Mapping[str, np.ndarray] | None = None) -> Callable[[np.ndarray], Any]:
        """What the law gives, as it scatters [draw, run], of parameters z whose priors are standard normals.

        That is log L, or a quantity that may be negative in units of the scatter; z is [draw, parameter], ``inputs``
        those of the runs unless given.
        """
        inputs = self.inputs() if inputs is None else inputs
        constants = {name: self.constants[name] for name in self.law.constants}
        loss_of, count = loss_given(self.law, {**inputs, **constants}), len(next(iter(inputs.values())))

        def at(z: np.ndarray) -> Any:
            z = np.atleast_2d(z)
            params = standard_parameters(self.law, z)
            loss = np.broadcast_to(loss_of({name: value[:, None] for name, value in params.items()}), (len(z), count))
            with np.errstate(all="ignore"):
                found = self.scatter.transform(loss) / self.scatter.unit
            if np.isfinite(found).all():  # looking takes a tenth of the time of replacing
                return found
            return np.nan_to_num(found, nan=OUTSIDE, posinf=OUTSIDE, neginf=-OUTSIDE)

        return at

    def covariates(
        self, points: Mapping[Any, Any] | None = None, values: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the scatter of a run depends on, by name (see :class:`bayescale.laws.scatter.Scatter`) [..., run].

        The size is held at the edge outside the range of the runs: the trend of the noise is not extrapolated. What is
        known of errors, and which runs are censored, is of the runs themselves, and of no other points. How errors of
        inputs are passed on depends on the law's parameters ``values`` [..., 1].
        """
        data = self.runs if points is None else points
        if self.scatter.counts:
            return {"count": np.asarray(data[self.law.observed.count])}
        of_runs, here = (np.log(run_sizes(self.law, one) / self.constants["C_ref"]) for one in (self.runs, data))
        found = {"log_compute": np.clip(here, of_runs.min(), of_runs.max())}
        if self.scatter.groups:
            found[GROUP] = np.asarray(data[GROUP])
        if points is not None:
            return found
        if self.known_errors:
            found["known_variance"] = self._known_variance(values or {})
        return found | ({CENSORED: self.known_data[CENSORED]} if CENSORED in self.known else {})

    def _known_variance(self, values: Mapping[str, Any]) -> Any:
        """Variance that is known of each run, as it scatters [..., run]."""
        law, known = self.law, {**self.known_data, "unit": self.scatter.unit}
        formula = known_variance(law.observed.scale, self.known, self.scatter.noise)
        at = {**values, **self.inputs(), **self.constants}
        if "predicted" in names(formula):
            known["predicted"] = law_loss(law, at)
        if roles := tuple(name for name in self.known if name in input_roles(law)):
            known |= {name: evaluate(tree, at) for name, tree in slopes(law, roles).items()}
        return evaluate(formula, known)

    @functools.cached_property
    def known(self) -> tuple[str, ...]:
        """What is known of single runs (see :mod:`bayescale.runs.known`), as roles have it."""
        return known_of(self.law, self.runs)

    @functools.cached_property
    def known_data(self) -> dict[str, np.ndarray]:
        """The same by name [run]."""
        return known_data(self.law, self.runs, self.scatter.unit)

    @property
    def known_errors(self) -> bool:
        """Whether errors of what was observed, or of inputs, are known."""
        return bool({*self.known} - {CENSORED})

    @functools.cached_property
    def censored(self) -> np.ndarray:
        """Runs of which no more is known than that what they would show is at least what was observed [run]."""
        return censored_runs(self.runs)

    @functools.cached_property
    def medians(self) -> dict[str, float]:
        """Posterior median of every parameter."""
        return {name: float(self.posterior[name].median()) for name in self.priors}


def constants_of(law: Law, runs: Mapping[Any, Any]) -> dict[str, float]:
    """Reference constants of a law for these runs, and ``C_ref``, the geometric mean of their sizes."""
    sizes = np.log(run_sizes(law, runs))
    return reference_constants(law, runs) | {"C_ref": float(np.exp(sizes.mean()))}


def law_of(fit: xr.DataTree) -> Law:
    """The law that a fit was made with, from the text it carries."""
    return parse_law(fit.attrs["law_text"], fit.attrs["law"])


def _check_finite(study: Study) -> None:
    """Refuse a law without a value at the medians of its priors for some run: it cannot be sampled."""
    law, runs = study.law, study.runs
    middle = {name: quantile(prior, 0.5) for name, prior in law.priors.items()}
    predicted = law_loss(law, {**middle, **study.inputs(), **study.constants})
    predicted = np.broadcast_to(predicted, runs.sizes["run"])
    bad = np.flatnonzero(~np.isfinite(predicted) | ((predicted <= 0) & (law.observed.scale == "log")))
    if bad.size:
        inputs = ", ".join(
            f"{column(symbol)} = {number_text(runs[column(symbol)].values[bad[0]], 4)}" for symbol in law.inputs
        )
        where = row_text(runs.attrs.get("rows", "row"), runs["run"].values[bad[0]])
        raise FitError(
            f"{runs.attrs.get('source', 'runs')}, {where}: law '{law.name}' gives {predicted[bad[0]]:g} "
            f"({inputs}) at the middle of its priors; check the inputs, or the formula"
        )
