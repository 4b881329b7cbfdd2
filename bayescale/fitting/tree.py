"""A fit as a tree: what its groups hold, what its attributes say of its study, and how either is read again."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.jobs.threads import blocks, in_threads
from bayescale.laws.formula import evaluate
from bayescale.laws.law import Law, column, law_derived, loss_given
from bayescale.runs.read import KEPT_ATTRIBUTES, read_roles
from bayescale.runs.roles import scatter_roles
from bayescale.study import Study

FORMAT = 1  # of a saved fit; a later bayescale reads earlier ones
# attributes that say what a fit was made of
OF_STUDY = ("law", "law_text", "noise", "source", "rows", "read", "compute", "compute_doubt", *KEPT_ATTRIBUTES)
LOG_LIKELIHOOD_MAX = 50_000_000  # draws x runs above which the pointwise log likelihood is not kept (400 MB)


def as_dataset(arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Arrays [chain, draw] as a Dataset."""
    chains, draws = next(iter(arrays.values())).shape
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    return xr.Dataset({name: (("chain", "draw"), x) for name, x in arrays.items()}, coords)


def assemble(study: Study, posterior: xr.Dataset, stats: xr.Dataset) -> xr.DataTree:
    """The ArviZ tree of a fit: derived quantities and pointwise log likelihood are computed from the draws."""
    law, runs, constants, observed = study.law, study.runs, dict(study.constants), study.seen
    draws = {name: posterior[name].values for name in study.priors}
    derived = law_derived(law, draws | constants)
    derived |= {name: evaluate(one.tree, draws) for name, one in study.scatter.derived.items()}
    arrays = draws | {name: value for name, value in derived.items() if name not in draws}
    shape = draws[next(iter(draws))].shape
    posterior = as_dataset({name: np.broadcast_to(value, shape).copy() for name, value in arrays.items()})
    columns = {name: (x.dims, x.values) for name, x in runs.data_vars.items() if name != law.observed.column}
    constant_data = xr.Dataset(columns | constants, {"run": runs["run"].values})  # and no attributes
    groups = {
        "posterior": posterior,
        "sample_stats": stats,
        "observed_data": xr.Dataset({law.observed.variable: observed}),
        "constant_data": constant_data,
    }
    if stats["diverging"].size * observed.size <= LOG_LIKELIHOOD_MAX:
        density = pointwise_log_likelihood(study, draws)
        coords = {"chain": posterior["chain"], "draw": posterior["draw"], **observed.coords}
        groups["log_likelihood"] = xr.Dataset({law.observed.variable: (("chain", "draw", "run"), density)}, coords)
    return xr.DataTree.from_dict(groups)


def attributes(study: Study) -> dict[str, Any]:
    """What a fit says of its study: law, noise, what was read of the runs, and how their compute is counted.

    That is ``compute``, a formula, and ``compute_doubt`` where it does not hold.
    """
    about = {"law": study.law.name, "law_text": study.law.text, "noise": study.scatter.noise}
    about |= {"source": "runs", "rows": "row"} | study.runs.attrs
    about |= {"compute": study.definition.formula, "compute_doubt": study.definition.doubt}
    return {name: about[name] for name in OF_STUDY if about.get(name)}


def pointwise_log_likelihood(study: Study, draws: Mapping[str, np.ndarray]) -> np.ndarray:
    """Log density of every run [..., run], of the quantity that is observed; ``draws`` are [...], by parameter."""
    loss = loss_given(study.law, study.inputs() | dict(study.constants))
    observed = study.seen.values

    def density_of(values: dict[str, np.ndarray]) -> np.ndarray:
        return study.scatter.log_density(observed, loss(values), study.covariates(values=values), values)

    shape = next(iter(draws.values())).shape
    flat = {name: np.reshape(value, (-1, 1)) for name, value in draws.items()}
    density = np.empty((len(next(iter(flat.values()))), observed.size))

    def fill(some: slice) -> None:
        density[some] = density_of({name: value[some] for name, value in flat.items()})

    in_threads(fill, blocks(*density.shape))
    return density.reshape(*shape, observed.size)


def part_of(tree: xr.DataTree, some: np.ndarray) -> xr.DataTree:
    """A fit, of whose runs only ``some`` (indices) are looked at, with their pointwise log likelihood.

    For fits of so many runs that the log likelihood of all is not kept. Its attribute ``span`` is the range of all the
    observed values, in whose units a quantity that may be negative scatters.
    """
    study = Study.opened(tree)
    part = study.part(some)
    density = pointwise_log_likelihood(part, {name: study.posterior[name].values for name in study.priors})
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=tree.attrs | {"span": study.scatter.unit}),
            "posterior": study.posterior,
            "observed_data": tree["observed_data"].to_dataset().isel(run=some),
            "constant_data": tree["constant_data"].to_dataset().isel(run=some),
            "log_likelihood": xr.Dataset({part.seen.name: (("chain", "draw", "run"), density)}),
        }
    )


def data_hash(runs: xr.Dataset, law: Law) -> str:
    """SHA-256 of the columns that a fit of this law depends on, in the order of the runs."""
    digest = hashlib.sha256()
    seen = {law.observed.column, *filter(None, [law.observed.count]), *map(column, law.inputs)}
    seen |= {*scatter_roles([law])} & read_roles(runs.attrs).keys()
    for name in sorted({"params", "tokens", "compute"} & set(map(str, runs.data_vars)) | seen):
        digest.update(np.ascontiguousarray(runs[name].values, dtype="<f8").tobytes())
    return digest.hexdigest()


def draws_of(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """What a formula needs to be evaluated over a posterior: parameters [chain, draw] and reference constants."""
    study = Study.opened(tree)
    return {name: tree["posterior"][name].reset_coords(drop=True) for name in study.priors} | {
        name: tree["constant_data"][name].reset_coords(drop=True) for name in sorted(study.constants)
    }
