"""law + runs -> PyMC model -> sampled DataTree, with its diagnostics; saved to and opened from NetCDF."""

import functools
import hashlib
import json
import os
import platform
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.files import write_whole
from bayescale.formula import FormulaError, evaluate, split_data
from bayescale.law import (
    OBSERVED,
    Law,
    LawError,
    column,
    law_derived,
    law_loss,
    load_law,
    parse_law,
    reference_constants,
    sample_priors,
    with_where,
)
from bayescale.noise import NOISES, log_density, noise_scale
from bayescale.runs import check_runs, read_runs

FORMAT = 1  # of a saved fit; a later bayescale reads earlier ones
DEFAULT_LAW = "coupled"
MIN_RUNS = 4
R_HAT_MAX = 1.01
ESS_MIN = 400.0
DIVERGENCES_MAX = 0.0005  # share of draws: 2 of 4 x 1000
# (tune, target_accept): when a fit fails its limits the next, slower, setting is tried before it is given up
SETTINGS = ((500, 0.9), (1500, 0.95), (3000, 0.99))
LOG_LIKELIHOOD_MAX = 50_000_000  # draws x runs above which the pointwise log likelihood is not kept (400 MB)
# share of a prior's mass inside the posterior's 90 % band above which the parameter rests on its prior (0.9: wholly)
PRIOR_SHARE_MAX = 0.6
PRIOR_SHARE_MAX_COLLINEAR = 0.2


class FitError(ValueError):
    """A fit that cannot be made, trusted, saved or opened; the message says which and what to do."""


def fit(
    runs: Any,
    law: "str | os.PathLike[str] | Law | None" = None,
    *,
    noise: str = "student_t",
    draws: int = 1000,
    chains: int = 4,
    seed: int = 0,
    progress: bool = False,
    allow_unconverged: bool = False,
) -> xr.DataTree:
    """Sample the posterior of a law given observed runs.

    log loss_i = log L(N_i, D_i; parameters) + e_i, with e_i ~ StudentT(2 + nu_minus_2) of scale
    sigma * exp(tilt * log(C_i / C_ref)).

    Parameters
    ----------
    runs : what :func:`bayescale.read_runs` returns or takes
    law : name, path of a law file, or Law; by default the coupled family
    noise : "student_t" (default) or "normal"
    draws, chains : kept draws of each chain, and chains
    seed : same seed, same machine and versions: same draws
    progress : show the sampler's progress bar
    allow_unconverged : return a fit that failed its convergence limits, marked as such, instead of raising

    Returns
    -------
    DataTree with the ArviZ groups ``posterior`` (parameters, noise and derived quantities [chain, draw]),
    ``sample_stats``, ``log_likelihood`` (``log_loss`` [chain, draw, run]), ``observed_data`` (``log_loss`` [run]),
    ``constant_data`` (columns of the runs [run] and reference constants). Its attributes hold the text of the law,
    noise, seed, versions and, as JSON, ``diagnostics`` (see :func:`diagnostics`) and ``notes`` of the lint.

    Raises
    ------
    RunsError, LawError
        The runs or the law cannot be used.
    FitError
        The runs do not fit the law (a column is missing, too few runs), or the chains did not converge.
    """
    runs = read_runs(runs)
    law = load_law(DEFAULT_LAW if law is None else law)
    if noise not in NOISES:
        raise FitError(f"unknown noise '{noise}'; the noises are {', '.join(NOISES)}")
    for name, number, least in (("draws", draws, 100), ("chains", chains, 2)):
        if not isinstance(number, int) or number < least:
            raise FitError(f"{name} = {number!r} (a whole number of at least {least} is expected)")
    _check_fits(runs, law)

    constants = reference_constants(law, runs) | {"C_ref": float(np.exp(np.log(runs["compute"].values).mean()))}
    compiled = _compiled_for(law, noise, runs, constants)
    for tune, target_accept in SETTINGS:
        posterior, stats = _sample(compiled, draws, tune, chains, seed, target_accept, progress)
        convergence = _convergence(posterior, stats)
        if convergence["converged"]:
            break
    tree = _assemble(law, noise, runs, constants, posterior, stats)
    report = convergence | _identification(law, runs, posterior)
    tree.attrs = {
        "bayescale_format": FORMAT,
        "law": law.name,
        "law_text": law.text,
        "noise": noise,
        "seed": seed,
        "source": runs.attrs.get("source", "runs"),
        "data_hash": _data_hash(runs),
        "settings": json.dumps({"draws": draws, "chains": chains, "tune": tune, "target_accept": target_accept}),
        "diagnostics": json.dumps(report),
        "notes": json.dumps([vars(note) for note in check_runs(runs)]),
        "versions": json.dumps(_versions()),
    }
    if not report["converged"] and not allow_unconverged:
        raise FitError(
            f"law '{law.name}' on {runs.attrs.get('source', 'runs')} did not converge after {len(SETTINGS)} attempts: "
            f"{report['why']}; try another law, check the runs (bayescale check), "
            "or look at it all the same with allow_unconverged=True (--allow-unconverged)"
        )
    return tree


def _check_fits(runs: xr.Dataset, law: Law) -> None:
    where = runs.attrs.get("source", "runs")
    for symbol in law.inputs:
        if column(symbol) not in runs:
            raise FitError(
                f"law '{law.name}' uses '{symbol}', which is neither one of its priors nor a column of {where}; "
                f"the columns are {', '.join(map(str, runs.data_vars))}"
            )
        values = runs[column(symbol)].values
        if values.dtype.kind != "f" or not (np.isfinite(values) & (values > 0)).all():
            raise FitError(f"{where}: law '{law.name}' needs numbers > 0 in the column '{column(symbol)}'")
    count = runs.sizes["run"]
    if count < MIN_RUNS:
        raise FitError(f"{where}: {count} run(s); a fit needs at least {MIN_RUNS}, and 12 or more to say much")
    for symbol in law.inputs:
        values = runs[column(symbol)].values
        if np.ptp(np.log(values)) < 1e-6:
            raise FitError(
                f"{where}: all {count} runs have {column(symbol)} = {values[0]:.4g}; "
                f"law '{law.name}' needs at least two different values to learn its effect"
            )
    if np.ptp(np.log(runs[OBSERVED].values)) < 1e-9:
        raise FitError(
            f"{where}: all {count} losses are {runs[OBSERVED].values[0]:.4g}; there is nothing to learn from"
        )


def _inputs(law: Law, runs: xr.Dataset, constants: Mapping[str, float]) -> dict[str, Any]:
    return {symbol: runs[column(symbol)].values for symbol in law.inputs} | dict(constants)


def _model_data(law: Law, runs: xr.Dataset, constants: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Everything of the runs that enters the model: parts of the formula that are data, and the observed log loss."""
    values = with_where(law, _inputs(law, runs, constants))
    _, parts = split_data({**law.where, OBSERVED: law.tree}, set(_inputs(law, runs, constants)))
    data = {name: np.asarray(evaluate(part, values), dtype=float) for name, part in parts.items()}
    for name, value in data.items():
        if not np.isfinite(value).all():
            raise FitError(f"law '{law.name}': a part of its formula that depends on the runs alone is not finite")
    data["log_loss"] = np.log(runs[OBSERVED].values)
    data["log_compute"] = np.log(runs["compute"].values / constants["C_ref"])
    return data


def build_model(law: Law, noise: str, data: Mapping[str, np.ndarray], known: set[str]) -> Any:
    """The PyMC model; everything that changes from one set of runs to the next is ``pm.Data``.

    Parameters
    ----------
    data : from the runs: the data parts of the formula, ``log_loss`` [run] and ``log_compute`` [run]
    known : names of the formula that are data (inputs and reference constants)
    """
    import pymc as pm
    import pytensor.tensor as pt

    trees, _ = split_data({**law.where, OBSERVED: law.tree}, known)
    with pm.Model() as model:
        values = {name: pm.Data(name, value) for name, value in data.items()}
        for name, prior in (law.priors | NOISES[noise].priors).items():
            values[name] = getattr(pm, prior.dist)(name, **prior.params)
        for name, tree in trees.items():
            values[name] = evaluate(tree, values)
        mu = pt.log(values[OBSERVED])
        scale = values["sigma"] * pt.exp(values["tilt"] * values["log_compute"])
        if NOISES[noise].robust:
            pm.StudentT("observed", nu=2 + values["nu_minus_2"], mu=mu, sigma=scale, observed=values["log_loss"])
        else:
            pm.Normal("observed", mu=mu, sigma=scale, observed=values["log_loss"])
    return model


def _compiled_for(law: Law, noise: str, runs: xr.Dataset, constants: Mapping[str, float]) -> Any:
    data = _model_data(law, runs, constants)
    return _compiled(law.text, law.name, noise, frozenset(_inputs(law, runs, constants))).with_data(**data)


@functools.lru_cache(maxsize=64)
def _compiled(law_text: str, law_name: str, noise: str, known: frozenset[str]) -> Any:
    """One compiled model a law structure and process; the runs are swapped in by ``with_data``."""
    import nutpie

    law = parse_law(law_text, law_name)
    _, parts = split_data({**law.where, OBSERVED: law.tree}, set(known))
    # only ranks matter here: two runs stand for any number of them
    values = with_where(
        law, {name: np.float64(2.0) if name.endswith("_ref") else np.array([2.0, 3.0]) for name in known}
    )
    data = {name: np.asarray(evaluate(part, values), dtype=float) for name, part in parts.items()}
    data |= {"log_loss": np.zeros(2), "log_compute": np.zeros(2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nutpie.compile_pymc_model(build_model(law, noise, data, set(known)))


def _sample(compiled: Any, draws: int, tune: int, chains: int, seed: int, target_accept: float, progress: bool):
    """Posterior and sampler statistics, as Datasets [chain, draw]."""
    import nutpie

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trace = nutpie.sample(
                compiled,
                draws=draws,
                tune=tune,
                chains=chains,
                cores=min(chains, os.cpu_count() or 1),
                seed=seed,
                target_accept=target_accept,
                adaptation="low_rank",
                progress_bar=progress,
                save_warmup=False,
            )
    except RuntimeError as error:
        raise FitError(
            f"the sampler could not start: {str(error).splitlines()[0]}; check the runs and the law"
        ) from None
    kept = {
        "diverging": "diverging",
        "energy": "energy",
        "n_steps": "n_steps",
        "step_size": "step_size",
        "depth": "tree_depth",
        "logp": "lp",
    }
    stats = trace["sample_stats"].to_dataset()
    stats = stats[[name for name in kept if name in stats]].rename({k: v for k, v in kept.items() if k in stats})
    return trace["posterior"].to_dataset().drop_attrs(), stats.drop_attrs()


def _convergence(posterior: xr.Dataset, stats: xr.Dataset) -> dict[str, Any]:
    """r-hat, bulk ESS and divergences against their limits; ``why`` names the worst offender."""
    import arviz_stats

    r_hat = {name: float(value) for name, value in arviz_stats.rhat(posterior).items()}
    ess = {name: float(value) for name, value in arviz_stats.ess(posterior, method="bulk").items()}
    divergences = int(stats["diverging"].sum())
    worst_r, worst_e = max(r_hat, key=r_hat.get), min(ess, key=ess.get)
    objections = []
    if not r_hat[worst_r] < R_HAT_MAX:
        objections.append(f"r-hat of '{worst_r}' is {r_hat[worst_r]:.3f} (must be below {R_HAT_MAX})")
    if not ess[worst_e] > ESS_MIN:
        objections.append(f"effective draws of '{worst_e}' are {ess[worst_e]:.0f} (must be above {ESS_MIN:.0f})")
    if divergences > DIVERGENCES_MAX * stats["diverging"].size:
        objections.append(f"{divergences} divergences (at most {int(DIVERGENCES_MAX * stats['diverging'].size)})")
    return {
        "converged": not objections,
        "why": "; ".join(objections),
        "divergences": divergences,
        "r_hat_max": r_hat[worst_r],
        "ess_min": ess[worst_e],
        "r_hat": r_hat,
        "ess_bulk": ess,
    }


def _identification(law: Law, runs: xr.Dataset, posterior: xr.Dataset) -> dict[str, Any]:
    """Which parameters the runs tell apart: share of the prior's mass inside the posterior's 90 % band.

    A parameter that the runs say nothing of has 0.9 of its prior's mass there; one they pin down has next to none.
    When N and D move together the sum of their effects is seen, and each of them only through the prior.
    """
    prior = sample_priors(law, 4000, np.random.default_rng(0))
    shares = {}
    for name in law.priors:
        low, high = np.quantile(posterior[name], [0.05, 0.95])
        shares[name] = float(np.mean((prior[name] > low) & (prior[name] < high)))
    collinear = {"N", "D"} <= set(law.inputs) and any(note.code == "collinear_sizes" for note in check_runs(runs))
    limit = PRIOR_SHARE_MAX_COLLINEAR if collinear else PRIOR_SHARE_MAX
    return {
        "prior_share": shares,
        "not_identified": sorted(name for name, share in shares.items() if share > limit),
        "collinear": collinear,
    }


def _assemble(law, noise, runs, constants, posterior, stats) -> xr.DataTree:
    """The ArviZ tree of a fit: derived quantities and pointwise log likelihood are computed from the draws."""
    scalars = {name: xr.DataArray(value) for name, value in constants.items()}
    inputs = {symbol: runs[column(symbol)] for symbol in law.inputs}
    posterior = posterior[[*law.priors, *NOISES[noise].priors]]
    values = {name: posterior[name] for name in posterior.data_vars} | scalars
    derived = law_derived(law, values)
    posterior = posterior.assign({name: value for name, value in derived.items() if name not in posterior})
    constant_data = xr.Dataset({name: runs[name] for name in runs.data_vars if name != OBSERVED} | scalars)
    observed = np.log(runs[OBSERVED]).rename("log_loss").drop_attrs()
    groups = {
        "posterior": posterior,
        "sample_stats": stats,
        "observed_data": xr.Dataset({"log_loss": observed}),
        "constant_data": constant_data.drop_attrs(),
    }
    if stats["diverging"].size * observed.size <= LOG_LIKELIHOOD_MAX:
        residual = (observed - np.log(law_loss(law, values | inputs))).transpose("chain", "draw", "run")
        scale = noise_scale(values, np.log(runs["compute"] / constants["C_ref"]))
        density = log_density(NOISES[noise], residual, scale, values)
        groups["log_likelihood"] = xr.Dataset({"log_loss": density.transpose("chain", "draw", "run")})
    return xr.DataTree.from_dict(groups)


def _data_hash(runs: xr.Dataset) -> str:
    digest = hashlib.sha256()
    for name in ("params", "tokens", "compute", OBSERVED):
        digest.update(np.ascontiguousarray(runs[name].values, dtype="<f8").tobytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    packages = ("bayescale", "pymc", "pytensor", "nutpie", "arviz-stats", "numpy", "xarray")
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


def diagnostics(tree: xr.DataTree) -> dict[str, Any]:
    """How far to trust a fit: ``converged``, ``why`` not, ``divergences``, ``r_hat_max``, ``ess_min``,
    ``r_hat`` and ``ess_bulk`` by parameter, ``not_identified``, ``collinear``, ``prior_share``."""
    return json.loads(tree.attrs["diagnostics"])


def law_of(tree: xr.DataTree) -> Law:
    """The law that a fit was made with, from the text it carries."""
    return parse_law(tree.attrs["law_text"], tree.attrs["law"])


def save_fit(tree: xr.DataTree, path: "str | os.PathLike[str]") -> Path:
    """Write a fit to NetCDF, whole or not at all; ``arviz.from_netcdf`` can open it too.

    Raises
    ------
    FitError
        If the file cannot be written; an older file of that name is then untouched.
    """
    try:
        return write_whole(path, lambda temporary: tree.to_netcdf(temporary, engine="h5netcdf"))
    except OSError as error:
        raise FitError(f"{path}: the fit cannot be written: {error.strerror or error}") from None


def open_fit(path: "str | os.PathLike[str]") -> xr.DataTree:
    """Open a saved fit; nothing in the file is executed, and it is read into memory whole.

    Raises
    ------
    FitError
        If there is no such file, it is truncated or not a fit, or a later version of bayescale wrote it.
    """
    path = Path(path)
    if path.is_dir():
        raise FitError(f"{path} is a folder; a fit saved by bayescale (fit.nc) is expected")
    if not path.exists():
        raise FitError(f"{path}: no such file; 'bayescale fit RUNS -o {path}' makes one")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
    except Exception:  # h5py, h5netcdf and xarray each raise their own kinds on a damaged file
        raise FitError(f"{path}: not a readable NetCDF file; it may be truncated or of another kind") from None
    if "law_text" not in tree.attrs or "posterior" not in tree.children:
        raise FitError(f"{path}: NetCDF, but not a fit saved by bayescale (no law or no posterior in it)")
    if not np.isscalar(tree.attrs.get("bayescale_format")) or int(tree.attrs["bayescale_format"]) > FORMAT:
        raise FitError(
            f"{path}: saved in format {tree.attrs.get('bayescale_format')}, this bayescale reads up to {FORMAT}; "
            "upgrade bayescale"
        )
    try:
        law = law_of(tree)
        missing = sorted({*law.priors, *NOISES[tree.attrs["noise"]].priors} - set(tree["posterior"].data_vars))
        json.loads(tree.attrs["diagnostics"])
    except (LawError, FormulaError, KeyError, TypeError, ValueError) as error:
        raise FitError(f"{path}: damaged: {error}") from None
    if missing:
        raise FitError(f"{path}: damaged: no draws of {missing} in its posterior")
    return tree
