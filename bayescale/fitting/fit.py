"""law + runs -> sampled posterior, as a DataTree."""

import hashlib
import json
import numbers
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.engine.density import Model, build_model, model_data, model_of_runs
from bayescale.engine.numba_density import machine
from bayescale.errors import FitError
from bayescale.field import clipped, shown
from bayescale.fitting.diagnostics import ESS_MIN, check_identification, noted
from bayescale.fitting.quick import NotTrusted, approximate
from bayescale.fitting.sampling import DRAWS_MAX, STATS, SamplerError, as_dataset, best_attempt
from bayescale.fitting.starts import START_RUNS, STARTS, start_points, unbounded
from bayescale.jobs.threads import blocks, in_threads, one_blas_thread
from bayescale.jobs.versions import versions
from bayescale.laws.law import (
    Law,
    column,
    law_derived,
    loss_given,
    run_sizes,
    sample_priors,
)
from bayescale.laws.priors import Prior
from bayescale.laws.scatter import NOISES
from bayescale.laws.shipped import changed_law
from bayescale.runs.lint import remarks
from bayescale.runs.read import UNITS_KEPT
from bayescale.study import Study, law_of

FORMAT = 1  # of a saved fit; a later bayescale reads earlier ones
CHAINS_MAX = 100
SEED_MAX = 2**63 - 1
MANY_RUNS = 50_000  # above which chains take minutes, and a quick answer is tried unless it is refused
SAVED_BYTES_MAX = 560_000_000  # of draws, in a file that may have 600 MB in all
# attributes that a refit takes from the fit
KEPT = ("law", "law_text", "noise", "source", "rows", "read", "compute", "compute_doubt", *UNITS_KEPT)
LOG_LIKELIHOOD_MAX = 50_000_000  # draws x runs above which the pointwise log likelihood is not kept (400 MB)


@one_blas_thread()
def fit(
    runs: Any,
    law: "str | os.PathLike[str] | Law | None" = None,
    *,
    noise: str | None = None,
    draws: int = 1000,
    chains: int = 4,
    seed: int = 0,
    quick: bool | None = None,
    progress: bool = False,
    allow_unconverged: bool = False,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.DataTree:
    """Sample the posterior of a law given observed runs.

    log loss_i = log L(N_i, D_i; parameters) + e_i, with e_i ~ StudentT(2 + nu_minus_2) of scale
    1e-4 + sigma * exp(tilt * log(C_i / C_ref)). A law file may say that something else is observed: a quantity that may
    be negative, or a proportion, which is beta-binomial (see :mod:`bayescale.laws.scatter`).

    Parameters
    ----------
    runs : what :func:`bayescale.read_runs` returns or takes
    law : name, path of a law file, or Law; by default the coupled family
    noise : "student_t" (default) or "normal"; a proportion is "beta_binomial"
    draws, chains : draws of each chain, and chains; where so few are not enough chains go on, up to 8 times as many
    seed : same seed, same machine and versions: same draws
    quick : importance sampling around the optimum instead of chains, where its Pareto k vouches for it (see
        :mod:`bayescale.fitting.quick`); where it does not, chains are sampled and the diagnostics say why
        (``not_quick``). None: for more than 50 000 runs, of which chains take minutes; the diagnostics say so
        (``quick_because``)
    progress : show the sampler's progress bar
    allow_unconverged : return a fit that failed its convergence limits, marked as such, instead of raising
    columns, units : which column of the runs is which, and in which unit, as :func:`bayescale.read_runs` takes them

    Returns
    -------
    DataTree with the ArviZ groups ``posterior`` (parameters, noise and derived quantities [chain, draw]),
    ``sample_stats``, ``log_likelihood`` (``log_loss`` [chain, draw, run]; not kept where draws times runs are above
    5e7: LOO then computes it by chunks), ``observed_data`` (``log_loss`` [run]; another observed quantity under the
    name of its column),
    ``constant_data`` (columns of the runs [run] and reference constants). Its attributes hold the text of the law,
    noise, seed, versions, what was read of the runs (``read``), how compute is counted (``compute``, a formula of N and
    D, see :mod:`bayescale.runs.compute`) and, as JSON, ``diagnostics`` (see :mod:`bayescale.fitting.diagnostics`) and
    ``notes`` of the lint.

    Raises
    ------
    RunsError, LawError
        The runs or the law cannot be used.
    FitError
        The runs do not fit the law (a column is missing, too few runs), or the chains did not converge.
    """
    study = Study.of(runs, law, noise, columns=columns, units=units)
    law, runs = study.law, study.runs
    check_whole("draws", draws, 100)
    check_whole("chains", chains, 2, CHAINS_MAX)
    check_seed(seed)
    draws, chains, seed = int(draws), int(chains), int(seed)  # NumPy's whole numbers are not JSON's
    if draws * chains > DRAWS_MAX:
        raise FitError(
            f"{chains} chains of {clipped(draws)} draws: at most {DRAWS_MAX} draws in all are kept; with so many the "
            "Monte Carlo error of a median is a thousandth of the posterior's sd"
        )
    if draws * chains <= ESS_MIN:
        raise FitError(
            f"{chains} chains of {draws} draws: {draws * chains} draws cannot give the {ESS_MIN:.0f} effective ones "
            "that a fit must have; 4 chains of 1000 are the default"
        )
    priors = study.priors
    _check_room(draws * chains, len({*priors, *law.derived}) + len(STATS), runs.sizes["run"])
    model = model_of(study, seed)
    many = many_runs(runs.sizes["run"]) if quick is None else ""
    found, said = _quick(model, priors, draws, chains, seed) if quick or many else (None, {})
    said |= {"quick_because": many} if many else {}
    if found is None:
        found = _sampled(model, priors, draws, chains, seed, enough="clean", progress=progress)
    convergence, posterior, stats, setting = found
    tree = _assemble(study, posterior, stats)
    report = convergence | said | check_identification(law, runs, tree["posterior"].to_dataset(), study.constants)
    notes = [*changed_law(law), *(vars(note) for note in remarks(runs, law))]
    report |= {"noted": noted(notes)}
    tree.attrs = {
        "bayescale_format": FORMAT,
        "seed": seed,
        "data_hash": data_hash(runs, law),
        "settings": json.dumps({"draws": draws, "chains": chains} | setting),
        "diagnostics": json.dumps(report),
        "notes": json.dumps(notes),
        "versions": json.dumps(versions()),
        "machine": machine(),
    } | attributes(study)
    if not report["converged"] and not allow_unconverged:
        tried = f"{setting.get('attempts', 1)} attempt(s)"
        raise FitError(
            f"law '{law.name}' on {runs.attrs.get('source', 'runs')} did not converge after {tried}: "
            f"{report['why']}; try {report['remedy']}; check the runs (bayescale check); "
            "or look at it all the same with allow_unconverged=True (--allow-unconverged)"
        )
    return tree


def pymc_model(
    runs: Any,
    law: "str | os.PathLike[str] | Law | None" = None,
    *,
    noise: str | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Any:
    """The posterior that :func:`fit` samples, as a PyMC model: to read, to extend, to sample by other means.

    Parameters
    ----------
    runs, law, noise, columns, units : as in :func:`fit`

    Returns
    -------
    ``pymc.Model`` with the parameters of the law and noise as free variables, ``observed`` [run], and as ``pm.Data``
    all that comes from the runs.

    Raises
    ------
    RunsError, LawError, FitError
        As in :func:`fit`.
    """
    study = Study.of(runs, law, noise, columns=columns, units=units)
    return build_model(study.law, study.scatter.noise, _check_data(study))


@one_blas_thread()
def refit(
    study: Study,
    kept: np.ndarray,
    *,
    draws: int = 500,
    chains: int = 4,
    seed: int = 0,
    enough: str = "converged",
) -> xr.DataTree:
    """Sample the law of a study on some of its runs, with the reference constants, and so the priors, of all of them.

    Parameters
    ----------
    study : of a fit, mostly
    kept : which of its runs to learn from, booleans [run]
    draws, chains, seed : as in :func:`fit`
    enough : when slower settings of the sampler are tried no more: "converged", "clean" as in :func:`fit`, or "first",
        which tries none

    Returns
    -------
    DataTree like that of :func:`fit` over *all* runs, so that ``log_likelihood`` scores those left out too;
    ``constant_data`` has the column ``kept`` [run]. Of the attributes only ``law``, ``law_text``, ``noise``, ``seed``,
    ``source``, ``read`` and ``diagnostics`` (of convergence) are there. A fit that failed its limits is returned,
    marked.
    """
    learnt = study.part(np.asarray(kept, dtype=bool))
    report, posterior, stats, _ = _sampled(model_of(learnt, seed), study.priors, draws, chains, seed, enough=enough)
    result = _assemble(study, posterior, stats)
    result["constant_data"] = result["constant_data"].to_dataset().assign(kept=("run", np.asarray(kept, dtype=bool)))
    result.attrs = attributes(study) | {"seed": seed, "diagnostics": json.dumps(report)}
    return result


def attributes(study: Study) -> dict[str, Any]:
    """What a fit says of its study: law, noise, what was read of the runs, and how their compute is counted.

    That is ``compute``, a formula, and ``compute_doubt`` where it does not hold.
    """
    about = {"law": study.law.name, "law_text": study.law.text, "noise": study.scatter.noise}
    about |= {"source": "runs", "rows": "row"} | study.runs.attrs
    about |= {"compute": study.definition.formula, "compute_doubt": study.definition.doubt}
    return {name: about[name] for name in KEPT if about.get(name)}


def runs_of(tree: xr.DataTree) -> xr.Dataset:
    """The runs that a fit was made on, as :func:`bayescale.read_runs` gave them [run]."""
    return Study.opened(tree).runs


def _quick(model: Model, priors: Mapping[str, Prior], draws: int, chains: int, seed: int) -> tuple[Any, dict[str, str]]:
    """The quick answer, or None and why there is none."""
    try:
        return approximate(model, priors, draws, chains, seed), {}
    except NotTrusted as reason:
        return None, {"not_quick": str(reason)}


def many_runs(count: int) -> str:
    """Why a quick answer is tried of so many runs though none was asked for; nothing of fewer."""
    return f"chains of {count} runs take minutes" if count > MANY_RUNS else ""


def _sampled(model: Any, *args: Any, **options: Any) -> Any:
    try:
        return best_attempt(model, *args, **options)
    except SamplerError as error:
        raise FitError(f"the sampler could not start: {error}; check the runs and the law") from None


def _check_room(draws: int, quantities: int, runs: int) -> None:
    """Raise FitError if a fit of so many draws could not be saved; better before they are made than after."""
    kept = quantities + (runs if draws * runs <= LOG_LIKELIHOOD_MAX else 0)
    if 8 * draws * kept > SAVED_BYTES_MAX:
        raise FitError(
            f"{draws} draws of {kept} numbers each are more than the file of a fit has room for; at most "
            f"{SAVED_BYTES_MAX // 8 // kept} draws in all"
        )


def check_whole(name: str, number: Any, least: int, most: int | None = None) -> None:
    """Raise FitError unless ``number`` is a whole number of at least ``least`` and, where given, at most ``most``."""
    whole = isinstance(number, numbers.Integral) and not isinstance(number, bool)
    if not whole or number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise FitError(f"{name} = {shown(number)} (a whole number {limits} is expected)")


def check_seed(seed: Any) -> None:
    """Raise FitError unless ``seed`` is a whole number from 0 to the largest that a saved fit can hold."""
    if isinstance(seed, numbers.Integral) and seed > SEED_MAX:
        raise FitError(f"seed = {shown(seed)} (a whole number below 2**63 is expected)")
    check_whole("seed", seed, 0)


def _check_data(study: Study) -> dict[str, np.ndarray]:
    try:
        return model_data(study)
    except ValueError as error:
        raise FitError(str(error)) from None


def model_of(study: Study, seed: int) -> Model:
    """The log posterior of a study, with chains that start at good places (see :mod:`bayescale.fitting.starts`)."""
    return model_of_runs(study.law, study.scatter.noise, _check_data(study), _positions(study, seed))


def _positions(study: Study, seed: int) -> np.ndarray:
    """Where chains may start, as the sampler counts [start, parameter]."""
    law, unit = study.law, study.scatter.unit
    # an even selection over the sizes of many runs is enough to start from
    order = np.argsort(run_sizes(law, study.runs), kind="stable")
    some = study.part(order[np.linspace(0, len(order) - 1, min(len(order), START_RUNS)).astype(int)])
    worth = len(order) / some.runs.sizes["run"]
    start_unit = 0.0 if law.observed.scale == "log" else unit
    inputs = some.inputs() | dict(study.constants)
    found = start_points(law, inputs, some.seen.values / unit, start_unit, seed, worth=worth)
    rng = np.random.default_rng([seed, 102])
    if found is None:  # no draw from the prior has a finite density at every run
        found = sample_priors(law, STARTS, rng), np.full(STARTS, 0.05)
    values, sigma = found
    scatter = {
        "sigma": sigma,
        "tilt": 0.05 * rng.standard_normal(len(sigma)),
        "nu_minus_2": 10 * np.exp(0.5 * rng.standard_normal(len(sigma))),
        "overdispersion": np.clip(sigma**2, 1e-4, 0.2),
    }
    return unbounded(values | scatter, study.priors)


def _assemble(study: Study, posterior: xr.Dataset, stats: xr.Dataset) -> xr.DataTree:
    """The ArviZ tree of a fit: derived quantities and pointwise log likelihood are computed from the draws."""
    law, runs, constants, observed = study.law, study.runs, dict(study.constants), study.seen
    draws = {name: posterior[name].values for name in study.priors}
    derived = law_derived(law, draws | constants)
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


def pointwise_log_likelihood(study: Study, draws: Mapping[str, np.ndarray]) -> np.ndarray:
    """Log density of every run [..., run], of the quantity that is observed; ``draws`` are [...], by parameter."""
    loss = loss_given(study.law, study.inputs() | dict(study.constants))
    observed, covariate = study.seen.values, study.covariate()

    def density_of(values: dict[str, np.ndarray]) -> np.ndarray:
        return study.scatter.log_density(observed, loss(values), covariate, values)

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
    for name in sorted({"params", "tokens", "compute"} & set(map(str, runs.data_vars)) | seen):
        digest.update(np.ascontiguousarray(runs[name].values, dtype="<f8").tobytes())
    return digest.hexdigest()


def draws_of(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """What a formula needs to be evaluated over a posterior: parameters [chain, draw] and reference constants."""
    posterior, constants = tree["posterior"], tree["constant_data"]
    law = law_of(tree)
    sampled = (*law.priors, *NOISES[tree.attrs["noise"]].priors)
    references = {*law.constants, "C_ref"}
    return {name: posterior[name].reset_coords(drop=True) for name in sampled} | {
        name: constants[name].reset_coords(drop=True) for name in sorted(references)
    }
