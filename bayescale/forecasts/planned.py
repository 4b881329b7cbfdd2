"""Sizes not yet trained -> planned runs [point], checked, with their distance from the runs that were fitted."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.field import listed, number_text, symbol
from bayescale.fitting.doors import mapping, numbers
from bayescale.forecasts.discrepancy import has_drift, sizes_at
from bayescale.laws.groups import GROUP, with_codes
from bayescale.laws.law import Law, column, is_joint, positive_columns, size_column
from bayescale.runs.loss_unit import from_nats
from bayescale.study import Study

FAR_DECADES = 2.0  # of compute beyond the largest run
CHECKED_DECADES = 1.5  # of compute, up to which bands were checked
ONE_SIZE_CHECKED_DECADES = 0.35  # of laws of one size
FAR_FROM_RUNS_DECADES = 1.5  # to the nearest run, in the plane of log10 N and log10 D
POINTS_MAX = 2000
PAIRS_MAX = 1_000_000  # of points and runs: with more of them a tree finds the nearest run faster


def planned_runs(study: Study, params: Any, tokens: Any, covariates: Mapping[str, Any]) -> xr.Dataset:
    """The planned runs as a Dataset [point], checked, with their distance beyond the data.

    ``compute`` as the runs count it where N and D are given; the count of items of a proportion is that of the runs
    unless it is among the covariates.
    """
    law, inputs = study.law, ", ".join(map(column, study.law.inputs))
    further = with_codes(law.groups, mapping("covariates", covariates))
    given = {name: value for name, value in {"params": params, "tokens": tokens}.items() if value is not None}
    if twice := sorted(given.keys() & further.keys()):
        raise FitError(f"{twice[0]} is given twice, by itself and among the covariates (--at); give it once")
    columns = {name: numbers(name, value) for name, value in (given | further).items() if value is not None}
    try:
        columns = dict(zip(columns, np.broadcast_arrays(*columns.values()), strict=True))
    except ValueError:
        raise FitError("params, tokens and covariates must be numbers, or sequences of one length") from None
    columns = _tokens_for_compute(study, columns)
    sizes = {"params", "tokens"} <= columns.keys()
    missing = [s for s in law.inputs if column(s) not in columns and not (s == "C" and sizes)]
    if law.groups and GROUP in missing:
        raise FitError(law.groups.question)
    if missing:
        raise FitError(
            f"law '{law.name}' also needs {', '.join(map(column, missing))}; its inputs are {inputs} "
            "(--params, --tokens, any other as --at NAME=VALUE; in Python params, tokens, covariates={...})"
        )
    known = {law.observed.count, *map(column, law.inputs)} - {""}
    if "C" in law.inputs and "compute" not in columns and sizes:
        known |= {"params", "tokens"}  # which say what the compute is
    for name, values in columns.items():
        if name not in known:
            raise FitError(f"'{name}' is not an input of law '{law.name}'; its inputs are {inputs}")
        positive = name in positive_columns(law)
        bad = values[~(np.isfinite(values) & ((values > 0) | (not positive)))]
        if bad.size:
            raise FitError(
                f"{name} = {number_text(bad[0], 6)}: a planned run needs a finite "
                f"number{' above 0' if positive else ''}"
            )
    count = len(next(iter(columns.values())))
    if not 0 < count <= POINTS_MAX:
        raise FitError(f"{count} points: 1 to {POINTS_MAX} can be forecast together")
    points = xr.Dataset({name: ("point", values.copy()) for name, values in columns.items()})
    if sizes and "compute" not in points:
        points["compute"] = study.definition.compute(points["params"], points["tokens"])
    if law.observed.count and law.observed.count not in points:
        points[law.observed.count] = ("point", np.full(count, np.round(float(study.runs[law.observed.count].median()))))
    points["decades_beyond"] = _decades_beyond(study, points)
    points["nearest_run"] = ("point", _nearest_run(study, points))
    return points


def _tokens_for_compute(study: Study, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of planned runs; for a law of N and D the tokens that compute buys at the given params."""
    law = study.law
    joint = is_joint(law) and "C" not in law.inputs
    if "compute" not in columns or "tokens" in columns or not joint:
        return columns
    if "params" not in columns or study.definition.doubt:
        why = study.definition.doubt or "give compute with params, or both sizes; 'allocate' splits a budget"
        raise FitError(f"law '{law.name}' forecasts runs of N and D: {why}")
    tokens = study.definition.tokens(columns["params"], columns["compute"])
    return {name: values for name, values in columns.items() if name != "compute"} | {"tokens": np.asarray(tokens)}


def _decades_beyond(study: Study, points: xr.Dataset) -> Any:
    """How far each point lies beyond the largest run [point]; NaN for a law that does not say what its size is."""
    size = size_column(study.law)
    if size is None:
        return "point", np.full(points.sizes["point"], np.nan)
    if size == "loss":  # a better model than any seen lies beyond, not a worse one
        return np.maximum(0.0, np.log10(float(study.runs[size].min()) / points[size]))
    return np.maximum(0.0, np.log10(points[size] / study.largest_at(points, size)))


def _nearest_run(study: Study, points: xr.Dataset) -> np.ndarray:
    """Distance of each point to the nearest run in the space of the law's inputs [decades]."""
    here, there = sizes_at(study, points), study.once(_sizes_of_runs)
    if len(here) * len(there) > PAIRS_MAX:
        return study.once(_tree_of_runs).query(here)[0]
    return np.sqrt(((here[:, None, :] - there[None, :, :]) ** 2).sum(axis=2)).min(axis=1)


def _sizes_of_runs(study: Study) -> np.ndarray:
    return sizes_at(study, study.runs)


def _tree_of_runs(study: Study) -> Any:
    from scipy.spatial import KDTree  # its import takes longer than few runs do

    return KDTree(study.once(_sizes_of_runs))


def input_names(points: xr.Dataset) -> list[str]:
    """What planned runs were given, N, D and compute among it: the columns before how far they lie beyond."""
    names = [str(name) for name in points.data_vars]
    return names[: names.index("decades_beyond")]


def worst_run(study: Study, sign: str) -> float:
    """What was observed of the worst run, better ones being on the side ``sign``, in the unit of targets."""
    seen = study.runs[study.law.observed.column].values
    worst = float(seen.max() if sign == "<=" else seen.min())
    return float(from_nats(worst, study.loss_unit)) if has_drift(study.law) else worst


def target_warnings(about: Mapping[Any, Any], sign: str, targets: Iterable[float]) -> list[str]:
    """Targets that every run of a fit has met; ``about`` are the attributes of a result, whose ``goal`` is the side."""
    worst = about.get("worst_run")
    if worst is None or sign != about.get("goal", "<="):
        return []
    met = [one for one in targets if (one > worst if sign == "<=" else one < worst)]
    seen = f"than that of every run of the fit ({number_text(worst, 4)})"
    return [f"{about['observed']} {number_text(one, 6)} is worse {seen}: is it in their unit?" for one in met]


def told_by(law: Law) -> set[str]:
    """What a planned run may be told to a law by: its inputs, and N and D where they make up its compute."""
    return {law.observed.count, *map(column, law.inputs)} | ({"params", "tokens"} if "C" in law.inputs else set())


def words_of(law: Law) -> dict[str, str]:
    """What distances are measured along, for a sentence: the size of a law, and its inputs."""
    return {
        "size": size_column(law) or "",
        "inputs": listed([symbol(column(name)) for name in law.inputs if not (law.groups and name == GROUP)]),
    }


def far_limit(checked: float) -> float:
    """Beyond how many decades of its size an answer is far, by how far bands of such laws have been checked."""
    return 2 * checked if checked == ONE_SIZE_CHECKED_DECADES else FAR_DECADES


def best_run(size: str) -> str:
    """The run from which a distance is counted."""
    return "lowest loss of the runs" if size == "loss" else "largest run"


def distance_warnings(
    decades_beyond: np.ndarray,
    nearest_run: np.ndarray,
    *,
    size: str = "compute",
    inputs: str = "N and D",
    checked: float = CHECKED_DECADES,
) -> list[str]:
    """What speaks against points far from every run that was fitted; ``checked`` is how far such bands have been."""
    warnings = []
    known = f"; bands were checked on real studies up to {checked:g} decades of {size}" if checked else ""
    if (far := float(np.max(decades_beyond))) > far_limit(checked):
        warnings.append(f"the farthest point lies {far:.1f} decades of {size} beyond the {best_run(size)}{known}")
    elif (away := float(np.max(nearest_run))) > FAR_FROM_RUNS_DECADES:
        warnings.append(
            f"a point lies {away:.1f} decades of {inputs} away from the nearest run: such shapes of run, "
            "and runs smaller than those seen, are not what the bands were checked on"
            if checked
            else f"a point lies {away:.1f} decades of {inputs} away from the nearest run"
        )
    return warnings


def no_drift_warning(observed: str) -> str:
    return (
        f"the bands of {observed} hold the law and its noise only: how far such laws go wrong beyond the data has not "
        "been learnt, so they are too narrow there"
    )
