"""law + runs -> sampled posterior, as a DataTree."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr

from bayescale.engine.asked import study_of
from bayescale.engine.model import Model
from bayescale.engine.numba_density import machine, numba_model
from bayescale.engine.pymc_engine import BACKENDS, pymc_engine
from bayescale.errors import FitError
from bayescale.field import clipped, how_many
from bayescale.fitting.clusters import check_clusters
from bayescale.fitting.default_law import chosen_fit, laws_for
from bayescale.fitting.diagnostics import ESS_MIN, check_identification, noted
from bayescale.fitting.doors import check_seed, check_whole, one_of, what_is
from bayescale.fitting.prior_notes import prior_notes
from bayescale.fitting.quick import NotTrusted, approximate
from bayescale.fitting.sampling import DRAWS_MAX, STATS, SamplerError, best_attempt
from bayescale.fitting.starts import start_positions
from bayescale.fitting.tree import FORMAT, LOG_LIKELIHOOD_MAX, assemble, attributes, data_hash
from bayescale.jobs.threads import one_blas_thread
from bayescale.jobs.versions import versions
from bayescale.laws.law import Law
from bayescale.laws.shipped import changed_law
from bayescale.runs.datasets import runs_given
from bayescale.runs.lint import remarks
from bayescale.study import Study

ENGINES = ("compiled", "pymc")
CHAINS_MAX = 100
FEW_DRAWS = 500  # of each chain, where a posterior is only compared with
MANY_RUNS = 50_000  # above which chains take minutes, and a quick answer is tried unless it is refused
SAVED_BYTES_MAX = 560_000_000  # of draws, in a file that may have 600 MB in all


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
    engine: str = "compiled",
    backend: str | None = None,
    priors: Mapping[str, Any] | None = None,
    clusters: str | None = None,
    group: str | None = None,
    by: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.DataTree:
    """Sample the posterior of a law given observed runs.

    log loss_i = log L(N_i, D_i; parameters) + e_i, with e_i ~ StudentT(2 + nu_minus_2) of scale
    1e-4 + sigma * exp(tilt * log(C_i / C_ref)); other observables scatter as :mod:`bayescale.laws.scatter` says.

    Parameters
    ----------
    runs : what :func:`bayescale.read_runs` returns or takes
    law : name, path of a law file, or Law; by default the coupled family, or for runs of one size a law of that size
        (see :mod:`bayescale.fitting.default_law`)
    noise : "student_t" (default) or "normal"; of a share "beta" too; a proportion of counted items is "beta_binomial"
    draws, chains : draws of each chain, and chains; where so few are not enough chains go on, up to 8 times as many
    seed : same seed, same machine and versions: same draws
    quick : importance sampling around the optimum instead of chains, where its Pareto k vouches for it (see
        :mod:`bayescale.fitting.quick`); where it does not, the diagnostics say why (``not_quick``). None: for more than
        50 000 runs, of which chains take minutes; the diagnostics say so (``quick_because``)
    progress : show the sampler's progress bar
    allow_unconverged : return a fit that failed its convergence limits, marked as such, instead of raising
    engine : "compiled" (default), made of the law's formulas, or "pymc", by :func:`pymc_model`: the same posterior
    backend : of "pymc": "numba" (default) or "jax" (on its device; an extra) with nutpie's NUTS, or PyMC's own, "pymc"
    priors : of single parameters, or weights on what papers print, as :func:`bayescale.with_priors` takes them:
        ``{"alpha": "Normal(0.34, 0.02)", "loss(70B, 1.4T)": "Normal(1.95, 0.05)"}``. A clash with the runs is told
    clusters : the column of runs whose residuals go together, by which the bands of a summary are stretched (see
        :mod:`bayescale.fitting.clusters`), or "none". By default such a column is looked for in the residuals
    group, by : a column over whose values parameters vary, and which of them (see :func:`bayescale.with_groups`)
    columns, units : which column of the runs is which, and in which unit, as :func:`bayescale.read_runs` takes them

    Returns
    -------
    DataTree with the ArviZ groups ``posterior`` (parameters, noise and derived quantities [chain, draw]),
    ``sample_stats``, ``log_likelihood`` (``log_loss`` [chain, draw, run]; kept for up to 5e7 draws times runs),
    ``observed_data`` (``log_loss`` [run], or another observed quantity under the name of its column) and
    ``constant_data`` (columns of the runs [run] and reference constants). Its attributes hold the text of the law,
    noise, seed, versions, what was read of the runs (``read``), how compute is counted (``compute``, a formula of N and
    D) and, as JSON, ``diagnostics`` (see :func:`bayescale.fitting.diagnostics.diagnostics`) and ``notes`` of the lint.

    Raises
    ------
    RunsError, LawError, FitError
        Runs, law or engine cannot be used or do not go together, or the chains did not converge.

    Examples
    --------
    >>> sorted(bayescale.fit("pile", "chinchilla").children)
    ['constant_data', 'log_likelihood', 'observed_data', 'posterior', 'sample_stats']
    """
    chosen = _engine(engine, backend, quick)
    laws = laws_for(runs := runs_given(runs), law, columns)

    def fit_of(law: Any) -> xr.DataTree:
        study = study_of(runs, law, noise, priors, group, by, columns, units)
        counted, named = counts(study, draws, chains, seed), check_clusters(clusters, study.runs)
        convergence, posterior, stats, setting = _drawn(study, *counted, quick, progress, chosen)
        settings = {"draws": counted[0], "chains": counted[1]} | chosen | setting
        made = study, convergence, posterior, stats, settings
        tree = finished(*made, seed=counted[2], allow_unconverged=allow_unconverged)
        tree.attrs |= {"clusters": named} if named else {}
        return tree

    return fit_of(laws[0]) if len(laws) == 1 else chosen_fit(laws, fit_of)


def posterior_of(study: Study) -> tuple[dict[str, Any], xr.Dataset]:
    """Convergence and posterior of few draws, or as many as are enough: to compare with."""
    return _sampled(model_of(study, 0), study.priors, FEW_DRAWS, 4, 0, enough="converged")[:2]


def finished(
    study: Study,
    convergence: dict[str, Any],
    posterior: xr.Dataset,
    stats: xr.Dataset,
    settings: Mapping[str, Any],
    *,
    seed: int,
    allow_unconverged: bool,
    noticed: Sequence[Mapping[str, Any]] = (),
) -> xr.DataTree:
    """The fit that draws of a study's parameters make, with what was ``noticed`` of them among its notes.

    Raises FitError if they did not converge, unless that is allowed.
    """
    tree = assemble(study, posterior, stats)
    found = remarks(study.runs, study.law, study.definition)
    notes = [*noticed, *prior_notes(study, posterior_of), *changed_law(study.law), *map(vars, found)]
    identification = check_identification(study.law, study.runs, tree["posterior"].to_dataset(), study.constants)
    report = convergence | identification | {"noted": noted(notes)}
    tree.attrs = {
        "bayescale_format": FORMAT,
        "seed": seed,
        "data_hash": data_hash(study.runs, study.law),
        "settings": json.dumps(settings),
        "diagnostics": json.dumps(report),
        "notes": json.dumps(notes),
        "versions": json.dumps(versions()),
        "machine": machine(),
    } | attributes(study)
    if not report["converged"] and not allow_unconverged:
        raise FitError(
            f"law '{study.law.name}' on {study.runs.attrs.get('source', 'runs')} did not converge after "
            f"{how_many(settings.get('attempts', 1), 'attempt')}: {report['why']}; try {report['remedy']}; "
            "check the runs (bayescale check); or look at it all the same with allow_unconverged=True "
            "(--allow-unconverged)"
        )
    return tree


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
    ``constant_data`` has the column ``kept`` [run]. Its attributes are those of the study, ``seed`` and
    ``diagnostics`` (of convergence); there are no notes. A fit that failed its limits is returned, marked.
    """
    learnt = study.part(np.asarray(kept, dtype=bool))
    report, posterior, stats, _ = _sampled(model_of(learnt, seed), study.priors, draws, chains, seed, enough=enough)
    result = assemble(study, posterior, stats)
    result["constant_data"] = result["constant_data"].to_dataset().assign(kept=("run", np.asarray(kept, dtype=bool)))
    result.attrs = attributes(study) | {"seed": seed, "diagnostics": json.dumps(report)}
    return result


def many_runs(count: int) -> str:
    """Why a quick answer is tried for so many runs without being asked for; an empty text for fewer."""
    return f"chains of {count} runs take minutes" if count > MANY_RUNS else ""


def counts(study: Study, draws: Any, chains: Any, seed: Any) -> tuple[int, int, int]:
    """Draws, chains and seed, checked, as whole numbers of Python: those of NumPy are not JSON's."""
    check_whole("draws", draws, 100)
    check_whole("chains", chains, 2, CHAINS_MAX)
    check_seed(seed)
    draws, chains = int(draws), int(chains)
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
    quantities, runs = len({*study.priors, *study.law.derived}) + len(STATS), study.runs.sizes["run"]
    kept = quantities + (runs if draws * chains * runs <= LOG_LIKELIHOOD_MAX else 0)
    if 8 * draws * chains * kept > SAVED_BYTES_MAX:  # better said before they are made than after
        raise FitError(
            f"{draws * chains} draws of {kept} numbers each are more than the file of a fit has room for; at most "
            f"{SAVED_BYTES_MAX // 8 // kept} draws in all"
        )
    return draws, chains, int(seed)


def _engine(engine: Any, backend: Any, quick: bool | None) -> dict[str, str]:
    """Engine and backend as the settings of a fit have them; empty for the default engine."""
    one_of("engine", engine, ENGINES)
    if engine == ENGINES[0]:
        if backend is not None:
            raise FitError(f"backend = {what_is(backend)}: the engine '{engine}' has none; engine='pymc' has")
        return {}
    backend = one_of("backend", BACKENDS[0] if backend is None else backend, BACKENDS)
    if backend == "jax" and find_spec("jax") is None:
        raise FitError("backend = 'jax': JAX is not installed; pip install bayescale[jax]")
    if quick:
        raise FitError("quick=True (--quick) goes with the default engine; engine='pymc' samples chains")
    return {"engine": str(engine), "backend": backend}


def _drawn(
    study: Study, draws: int, chains: int, seed: int, quick: bool | None, progress: bool, chosen: Mapping[str, str]
) -> Any:
    """What :func:`bayescale.fitting.sampling.best_attempt` returns, or a quick answer if one is wanted and holds."""
    if chosen:
        model = pymc_engine(study, start_positions(study, seed), chosen["backend"])
        return _sampled(model, study.priors, draws, chains, seed, enough="clean", progress=progress)
    model = model_of(study, seed)
    many = many_runs(study.runs.sizes["run"]) if quick is None else ""
    said = {"quick_because": many} if many else {}
    try:
        found = approximate(model, study.priors, draws, chains, seed) if quick or many else None
    except NotTrusted as reason:
        found, said = None, said | {"not_quick": str(reason)}
    found = found or _sampled(model, study.priors, draws, chains, seed, enough="clean", progress=progress)
    return found[0] | said, *found[1:]


def _sampled(model: Any, *args: Any, **options: Any) -> Any:
    try:
        return best_attempt(model, *args, **options)
    except SamplerError as error:
        raise FitError(f"the sampler could not start: {error}; check the runs and the law") from None


def model_of(study: Study, seed: int) -> Model:
    """The log posterior of a study, with chains that start at good places (see :mod:`bayescale.fitting.starts`)."""
    return numba_model(study, start_positions(study, seed))
