"""law + runs -> sampled posterior, as a DataTree."""

import hashlib
import json
import numbers
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.engine.density import Model, build_model, inputs_of, model_data, model_of_runs, observed_values
from bayescale.engine.numba_density import machine
from bayescale.errors import FitError, RunsError
from bayescale.field import clipped, number_text, quantity_text, row_text, shown
from bayescale.fitting.diagnostics import ESS_MIN, check_identification, noted
from bayescale.fitting.quick import NotTrusted, approximate
from bayescale.fitting.sampling import DRAWS_MAX, STATS, SamplerError, as_dataset, best_attempt
from bayescale.fitting.starts import START_RUNS, STARTS, start_points, unbounded
from bayescale.jobs.threads import blocks, in_threads, one_blas_thread
from bayescale.jobs.versions import versions
from bayescale.laws.law import (
    DEFAULT_LAW,
    Law,
    column,
    law_derived,
    law_loss,
    load_law,
    loss_given,
    parse_law,
    positive_columns,
    reference_constants,
    run_sizes,
    sample_priors,
)
from bayescale.laws.priors import Prior, quantile
from bayescale.laws.scatter import NOISES, default_noise, log_density, log_mass, noise_scale
from bayescale.laws.shipped import changed_law
from bayescale.runs.compute import Definition, learn, sizes_of
from bayescale.runs.lint import remarks
from bayescale.runs.loss_unit import LIKE_PERPLEXITY
from bayescale.runs.read import UNITS_KEPT, read_runs
from bayescale.runs.smooth import far_off, seen_by

FORMAT = 1  # of a saved fit; a later bayescale reads earlier ones
MIN_RUNS = 4
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
    law, runs, noise, constants = _prepared(runs, law, noise, columns, units)
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
    priors = law.priors | NOISES[noise].priors
    _check_room(draws * chains, len({*priors, *law.derived}) + len(STATS), runs.sizes["run"])
    model = _model(law, noise, runs, constants, seed)
    many = many_runs(runs.sizes["run"]) if quick is None else ""
    found, said = _quick(model, priors, draws, chains, seed) if quick or many else (None, {})
    said |= {"quick_because": many} if many else {}
    if found is None:
        found = _sampled(model, priors, draws, chains, seed, enough="clean", progress=progress)
    convergence, posterior, stats, setting = found
    tree = _assemble(law, noise, runs, constants, posterior, stats)
    report = convergence | said | check_identification(law, runs, tree["posterior"].to_dataset(), constants)
    notes = [*changed_law(law), *(vars(note) for note in remarks(runs, law))]
    report |= {"noted": noted(notes)}
    tree.attrs = {
        "bayescale_format": FORMAT,
        "law": law.name,
        "law_text": law.text,
        "noise": noise,
        "seed": seed,
        "source": runs.attrs.get("source", "runs"),
        "rows": runs.attrs.get("rows", "row"),
        "read": runs.attrs["read"],
        "data_hash": data_hash(runs, law),
        "settings": json.dumps({"draws": draws, "chains": chains} | setting),
        "diagnostics": json.dumps(report),
        "notes": json.dumps(notes),
        "versions": json.dumps(versions()),
        "machine": machine(),
    } | compute_attributes(runs)
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
    law, runs, noise, constants = _prepared(runs, law, noise, columns, units)
    return build_model(law, noise, _check_data(law, runs, constants))


def _prepared(
    runs: Any,
    law: Any,
    noise: str | None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> tuple[Law, xr.Dataset, str, dict[str, float]]:
    """Law, runs, noise and reference constants, checked against each other."""
    law = load_law(DEFAULT_LAW if law is None else law)
    runs = read_runs(runs, law, columns=columns, units=units)
    noise = default_noise(law.observed.scale) if noise is None else noise
    if noise not in NOISES:
        raise FitError(f"unknown noise '{noise}'; the noises are {', '.join(NOISES)}")
    if law.observed.scale not in NOISES[noise].observed:
        allowed = [name for name in NOISES if law.observed.scale in NOISES[name].observed]
        raise FitError(
            f"noise '{noise}' is not for what law '{law.name}' explains ('{law.observed.column}', "
            f"{law.observed.scale}); allowed are {', '.join(allowed)}"
        )
    _check_unit(runs, law)
    _check_fits(runs, law)
    # the priors of a law stand on the smallest loss: one that is plainly wrong must not move them
    right = runs.isel(run=~far_off(seen_by(runs, law))) if law.observed.column == "loss" else runs
    constants = reference_constants(law, right) | {"C_ref": _centre(run_sizes(law, right))}
    _check_finite(law, runs, constants)
    return law, runs, noise, constants


@one_blas_thread()
def refit(
    tree: xr.DataTree,
    kept: np.ndarray,
    *,
    draws: int = 500,
    chains: int = 4,
    seed: int = 0,
    enough: str = "converged",
) -> xr.DataTree:
    """Sample the law of a fit again on some of its runs, with the reference constants, and so the priors, of the fit.

    Parameters
    ----------
    tree : what :func:`fit` returns
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
    law, noise, runs = law_of(tree), tree.attrs["noise"], runs_of(tree)
    constants = {name: float(tree["constant_data"][name]) for name in (*law.constants, "C_ref")}
    learnt = runs.isel(run=np.asarray(kept, dtype=bool))
    model = _model(law, noise, learnt, constants, seed, float(np.ptp(observed_values(law, runs).values)))
    report, posterior, stats, _ = _sampled(model, law.priors | NOISES[noise].priors, draws, chains, seed, enough=enough)
    result = _assemble(law, noise, runs, constants, posterior, stats)
    result["constant_data"] = result["constant_data"].to_dataset().assign(kept=("run", np.asarray(kept, dtype=bool)))
    result.attrs = {name: tree.attrs[name] for name in KEPT if name in tree.attrs}
    result.attrs |= {"seed": seed, "diagnostics": json.dumps(report)}
    return result


def compute_attributes(runs: xr.Dataset) -> dict[str, str]:
    """What a fit says of its runs' compute: ``compute``, a formula, and ``compute_doubt`` where it does not hold."""
    sizes = sizes_of(runs)
    found = Definition() if sizes is None else learn(*sizes, unit_known=True)
    about = {"compute": found.formula, "compute_doubt": found.doubt}
    about |= {name: runs.attrs.get(name) for name in UNITS_KEPT}
    return {name: value for name, value in about.items() if value}


def runs_of(tree: xr.DataTree) -> xr.Dataset:
    """The runs that a fit was made on, as :func:`bayescale.read_runs` gave them [run]."""
    law, data = law_of(tree), tree["constant_data"].to_dataset()
    runs = data[[name for name in data.data_vars if data[name].dims == ("run",)]]
    seen = tree["observed_data"][law.observed.variable]
    seen = np.exp(seen) if law.observed.scale == "log" else seen
    about = {name: tree.attrs[name] for name in ("source", "rows", "read", *UNITS_KEPT) if name in tree.attrs}
    return runs.assign({law.observed.column: seen}).assign_attrs({"rows": "row"} | about)


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


def _centre(sizes: np.ndarray) -> float:
    """Geometric mean."""
    return float(np.exp(np.log(sizes).mean()))


def _check_unit(runs: xr.Dataset, law: Law) -> None:
    """Losses that look like perplexities are a question."""
    if law.observed.column == "loss" and law.observed.scale == "log" and "loss_unit" not in runs.attrs:
        middle = float(np.median(runs["loss"].values))
        if middle > LIKE_PERPLEXITY:
            raise RunsError(
                f"{runs.attrs.get('source', 'runs')}: a median loss of {middle:.4g} looks like a perplexity; say what "
                "it is: --unit loss=perplexity or --unit loss=nats (units={'loss': 'perplexity'})"
            )


def _check_fits(runs: xr.Dataset, law: Law) -> None:
    where = runs.attrs.get("source", "runs")
    for symbol in law.inputs:
        if column(symbol) not in runs:
            raise FitError(
                f"law '{law.name}' uses '{symbol}', which is neither one of its priors nor a column of {where}; "
                f"the columns are {', '.join(map(str, runs.data_vars))}; say which it is "
                f"(columns={{'{column(symbol)}': ...}}, --column {column(symbol)}=...)"
            )
        values = runs[column(symbol)].values
        positive = column(symbol) in positive_columns(law)
        if values.dtype.kind != "f" or not (np.isfinite(values) & ((values > 0) | (not positive))).all():
            raise FitError(
                f"{where}: law '{law.name}' needs {'numbers > 0' if positive else 'finite numbers'} "
                f"in the column '{column(symbol)}'"
            )
    count = runs.sizes["run"]
    if count < MIN_RUNS:
        raise FitError(f"{where}: {count} run(s); a fit needs at least {MIN_RUNS}, and 12 or more to say much")
    for symbol in law.inputs:
        values = runs[column(symbol)].values
        if np.ptp(values) <= 1e-6 * np.abs(values).max():
            raise FitError(
                f"{where}: all {count} runs have {column(symbol)} = {quantity_text(column(symbol), values[0])}; "
                f"law '{law.name}' needs at least two different values to learn its effect"
            )
    seen = runs[law.observed.column].values
    if np.ptp(seen) <= 1e-9 * np.abs(seen).max():
        what = "losses are" if law.observed.column == "loss" else f"values of {law.observed.column} are"
        raise FitError(f"{where}: all {count} {what} {number_text(seen[0], 4)}; there is nothing to learn from")


def _check_finite(law: Law, runs: xr.Dataset, constants: Mapping[str, float]) -> None:
    """A law that has no value at the middle of its priors, for some run, cannot be sampled."""
    middle = {name: quantile(prior, 0.5) for name, prior in law.priors.items()}
    predicted = np.broadcast_to(law_loss(law, middle | inputs_of(law, runs, constants)), runs.sizes["run"])
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


def _check_data(
    law: Law, runs: xr.Dataset, constants: Mapping[str, float], span: float | None = None
) -> dict[str, np.ndarray]:
    try:
        return model_data(law, runs, constants, span)
    except ValueError as error:
        raise FitError(str(error)) from None


def _model(
    law: Law, noise: str, runs: xr.Dataset, constants: Mapping[str, float], seed: int, span: float | None = None
) -> Model:
    """The log posterior on these runs, with chains that start at good places (see :mod:`bayescale.fitting.starts`)."""
    span = float(np.ptp(observed_values(law, runs).values)) if span is None else span
    data = _check_data(law, runs, constants, span)
    return model_of_runs(law, noise, data, _positions(law, noise, runs, constants, seed, span))


def _positions(law: Law, noise: str, runs: xr.Dataset, constants: Mapping[str, float], seed: int, span: float):
    """Where chains may start, as the sampler counts [start, parameter]."""
    seen = observed_values(law, runs).values
    unit = {"log": 0.0, "proportion": 1.0, "linear": span}[law.observed.scale]
    # an even selection over the sizes of many runs is enough to start from
    order = np.argsort(run_sizes(law, runs), kind="stable")
    some = order[np.linspace(0, len(order) - 1, min(len(order), START_RUNS)).astype(int)]
    inputs, worth = inputs_of(law, runs.isel(run=some), constants), len(order) / len(some)
    found = start_points(law, inputs, (seen / unit if unit else seen)[some], unit, seed, worth=worth)
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
    return unbounded(values | scatter, law.priors | NOISES[noise].priors)


def _assemble(law, noise, runs, constants, posterior, stats) -> xr.DataTree:
    """The ArviZ tree of a fit: derived quantities and pointwise log likelihood are computed from the draws."""
    draws = {name: posterior[name].values for name in (*law.priors, *NOISES[noise].priors)}
    derived = law_derived(law, draws | dict(constants))
    arrays = draws | {name: value for name, value in derived.items() if name not in draws}
    shape = draws[next(iter(draws))].shape
    posterior = as_dataset({name: np.broadcast_to(value, shape).copy() for name, value in arrays.items()})
    columns = {name: (x.dims, x.values) for name, x in runs.data_vars.items() if name != law.observed.column}
    constant_data = xr.Dataset(columns | dict(constants), {"run": runs["run"].values})  # and no attributes
    observed = observed_values(law, runs)
    groups = {
        "posterior": posterior,
        "sample_stats": stats,
        "observed_data": xr.Dataset({law.observed.variable: observed}),
        "constant_data": constant_data,
    }
    if stats["diverging"].size * observed.size <= LOG_LIKELIHOOD_MAX:
        density = pointwise_log_likelihood(law, noise, runs, constants, draws)
        coords = {"chain": posterior["chain"], "draw": posterior["draw"], **observed.coords}
        groups["log_likelihood"] = xr.Dataset({law.observed.variable: (("chain", "draw", "run"), density)}, coords)
    return xr.DataTree.from_dict(groups)


def pointwise_log_likelihood(law, noise, runs, constants, draws, span: float | None = None) -> np.ndarray:
    """Log density of every run [..., run], of the quantity that is observed; ``draws`` are [...], by parameter.

    ``span`` is the range of the observed values, where ``runs`` are some of the runs of a fit.
    """
    loss = loss_given(law, inputs_of(law, runs, constants))
    observed = observed_values(law, runs).values
    if law.observed.scale == "proportion":
        count = np.round(runs[law.observed.count].values)
        successes = np.round(observed * count)
    else:
        log_size = np.log(run_sizes(law, runs) / constants["C_ref"])
        unit = float(np.ptp(observed)) if span is None else span

    def density_of(values: dict[str, np.ndarray]) -> np.ndarray:
        predicted = loss(values)
        if law.observed.scale == "proportion":
            return log_mass(successes, count, predicted, values["overdispersion"])
        scale = noise_scale(values, log_size)
        if law.observed.scale == "log":
            return log_density(NOISES[noise], observed - np.log(predicted), scale, values)
        return log_density(NOISES[noise], (observed - predicted) / unit, scale, values) - np.log(unit)

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
    law, observed = law_of(tree), tree["observed_data"].to_dataset()
    constants = {name: float(tree["constant_data"][name]) for name in (*law.constants, "C_ref")}
    posterior = tree["posterior"].to_dataset()
    names = (*law.priors, *NOISES[tree.attrs["noise"]].priors)
    span = float(np.ptp(observed[law.observed.variable].values))
    runs = runs_of(tree).isel(run=some)
    draws = {name: posterior[name].values for name in names}
    density = pointwise_log_likelihood(law, tree.attrs["noise"], runs, constants, draws, span)
    data = tree["constant_data"].to_dataset()
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=tree.attrs | {"span": span}),
            "posterior": posterior,
            "observed_data": observed.isel(run=some),
            "constant_data": data.isel(run=some),
            "log_likelihood": xr.Dataset({law.observed.variable: (("chain", "draw", "run"), density)}),
        }
    )


def data_hash(runs: xr.Dataset, law: Law) -> str:
    """SHA-256 of the columns that a fit of this law depends on, in the order of the runs."""
    digest = hashlib.sha256()
    seen = {law.observed.column, *filter(None, [law.observed.count]), *map(column, law.inputs)}
    for name in sorted({"params", "tokens", "compute"} & set(map(str, runs.data_vars)) | seen):
        digest.update(np.ascontiguousarray(runs[name].values, dtype="<f8").tobytes())
    return digest.hexdigest()


def law_of(tree: xr.DataTree) -> Law:
    """The law that a fit was made with, from the text it carries."""
    return parse_law(tree.attrs["law_text"], tree.attrs["law"])


def draws_of(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """What a formula needs to be evaluated over a posterior: parameters [chain, draw] and reference constants."""
    posterior, constants = tree["posterior"], tree["constant_data"]
    law = law_of(tree)
    sampled = (*law.priors, *NOISES[tree.attrs["noise"]].priors)
    references = {*law.constants, "C_ref"}
    return {name: posterior[name].reset_coords(drop=True) for name in sampled} | {
        name: constants[name].reset_coords(drop=True) for name in sorted(references)
    }
