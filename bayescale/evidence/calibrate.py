"""Is the machinery right? Fits of runs that were simulated from known parameters, and the ranks of those parameters.

Simulation-based calibration: parameters and noise are drawn from a distribution, runs are simulated from them and
fitted by what :func:`bayescale.fit` fits with. If the fit starts from that very distribution, the rank of each true
value among independent posterior draws is uniform (Talts et al. 2018, arXiv:1804.06788), whatever function of
parameters and runs it is of; functions of both see errors that parameters alone hide (Modrak et al. 2023,
doi:10.1214/23-BA1404). Prior: the law's own priors. Posterior: the posterior of real runs, new runs being fitted
together with the old ones (Sailynoja et al. 2025, arXiv:2502.03279), which tests where it matters.

The reference constants of the design are held: taken from the simulated losses they would make the prior a function of
the data, and prior and fit would not start from the same distribution.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.planning import spread_evenly
from bayescale.errors import FitError, RunsError
from bayescale.fitting.diagnostics import ESS_MIN, diagnostics
from bayescale.fitting.doors import check_seed, check_whole, flag, opened
from bayescale.fitting.fit import fit, refit
from bayescale.fitting.sampling import DRAWS_MAX
from bayescale.fitting.tree import data_hash, pointwise_log_likelihood
from bayescale.jobs.batch import Failure, digest, run_kept
from bayescale.jobs.files import keep_text, kept_text
from bayescale.jobs.threads import one_blas_thread
from bayescale.jobs.versions import versions
from bayescale.laws.law import (
    DEFAULT_LAW,
    SHARES,
    Law,
    column,
    law_derived,
    law_loss,
    load_law,
    sample_priors,
    size_column,
)
from bayescale.laws.priors import quantile
from bayescale.laws.scatter import Scatter
from bayescale.runs.read import read_runs
from bayescale.runs.roles import CENSORED
from bayescale.study import Study

SIMULATIONS_MAX = 100_000  # the error of a share of so many is .3 % of them at most
RANK_DRAWS = 100  # of all posterior draws: so few are nearly independent
CHAINS = 4
DESIGN_GRID_SIDE = 6  # of the default design of two inputs
DESIGN_SPREAD_RUNS = 48  # of the default design of more inputs
DEFAULT_ITEMS = 1000  # of a proportion whose design gives no count
# what the ranks are of besides parameters, noise and derived quantities; the first is a function of the runs too
RUNS_LIKELIHOOD, LOSS_BEYOND = "log_likelihood", "loss_beyond"
LOSS_BEYOND_TIMES = 10.0  # the largest run: where the loss beyond the runs is ranked


@one_blas_thread()
def calibrate(
    law: Any = None,
    *,
    design: Any = None,
    posterior: Any = None,
    noise: str | None = None,
    simulations: int = 300,
    draws: int = 1000,
    once: bool = False,
    seed: int = 0,
    folder: "str | Path | None" = None,
    executor: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Simulation-based calibration of a law: simulated runs, fitted, and the ranks of what they were simulated from.

    Parameters
    ----------
    law : name, path of a law file, or Law; by default the coupled family
    design : runs whose sizes are simulated; by default a grid over the law's published range: 6 x 6 for two inputs,
        36 runs for one, 48 spread evenly for more
    posterior : runs, or a fit of them: the parameters are then drawn from their posterior, and every simulated set of
        runs (of the same sizes) is fitted together with them
    noise : as in :func:`bayescale.fit`
    simulations : how many
    draws : kept draws of each of 4 chains; 100 of them all are what a rank is among
    once : try no slower settings of the sampler: quicker for laws whose hard fits take minutes; what fails the first
        counts as unconverged
    seed : of everything drawn
    folder : where the result of each simulation is kept, so that a killed calibration goes on where it was
    executor : what fits: None (this process), a number of worker processes, a Dask scheduler or another executor, see
        :func:`bayescale.open_executor`; the numbers are the same
    progress : called with (simulations done, simulations in all) after each

    Returns
    -------
    Dataset [quantity, simulation]: ``truth``, ``rank`` (0 to 100) and ``pit`` (share of all posterior draws below the
    truth), NaN where there is no fit; ``status`` [simulation] is "fitted", "unconverged" (its ranks are there),
    "refused" (what :func:`bayescale.fit` would not take) or "failed", and ``why`` says why; ``kind`` [quantity] is
    "parameter", "noise", "derived" or "data". :func:`bayescale.read` sums it up.

    Raises
    ------
    RunsError, LawError
        The design or the law cannot be used.
    FitError
        An option is wrong, or no simulation could be fitted.

    Examples
    --------
    >>> bayescale.calibrate("power_compute", simulations=10).sizes["simulation"]
    10
    """
    law, once, joined = load_law(DEFAULT_LAW if law is None else law), flag("once", once), posterior is not None
    check_seed(seed)
    check_whole("simulations", simulations, 10, SIMULATIONS_MAX)
    check_whole("draws", draws, int(ESS_MIN / CHAINS) + 1, DRAWS_MAX // CHAINS)
    if law.observed.scale == "linear":
        raise FitError(
            f"law '{law.name}': its noise is in units of the range of the observed values, which is known only after "
            "runs have been simulated; such a law cannot be calibrated"
        )
    if design is not None and posterior is not None:
        raise FitError("give a design or runs for a posterior, not both: the sizes of those runs are the design")
    scatter = Scatter.of(law, noise)
    if posterior is None:
        runs = _default_design(law) if design is None else read_runs(design, law)
        study = Study.bound(law, scatter, runs)
        truths = [_prior_draw(study, np.random.default_rng([seed, i, 1])) for i in range(simulations)]
    else:
        study = _study_of(posterior, law, scatter.noise, draws, seed)
        if noise is not None and noise != study.scatter.noise:
            raise FitError(f"noise '{noise}', but the fit was made with '{study.scatter.noise}'; leave the noise out")
        truths = _posterior_draws(study, simulations)
        study = replace(study, fit=None)  # workers need no draws
    tasks = [_Simulation(study, truth, joined, draws, once, seed, i) for i, truth in enumerate(truths)]
    found = run_kept(
        _simulate, tasks, folder, name=_file_name, read=_kept, write=_write, executor=executor, progress=progress
    )
    return _gathered(study, found, draws=draws, once=int(once), seed=seed, truths="posterior" if joined else "prior")


# ---- where the parameters come from ---------------------------------------------------------------------------------


def _default_design(law: Law) -> xr.Dataset:
    """Runs over the published range of the law's inputs; the observed column is a placeholder."""
    if missing := [symbol for symbol in law.inputs if symbol not in law.range]:
        raise FitError(f"law '{law.name}' gives no range of {', '.join(missing)}; give a design: a file of runs")
    ranges = {symbol: law.range[symbol] for symbol in law.inputs}
    if len(ranges) > 2:
        from scipy.stats import qmc

        shares = qmc.Halton(len(ranges), rng=np.random.default_rng(0)).random(DESIGN_SPREAD_RUNS)
    else:
        steps = np.linspace(0, 1, DESIGN_GRID_SIDE if len(ranges) == 2 else DESIGN_GRID_SIDE**2)
        shares = np.stack(np.meshgrid(*[steps] * len(ranges), indexing="ij"), axis=-1).reshape(-1, len(ranges))
    spread = zip(ranges.items(), shares.T, strict=True)
    columns = {column(symbol): spread_evenly(pair, share) for (symbol, pair), share in spread}
    columns[law.observed.column] = np.full(len(shares), 2.0 if law.observed.scale == "log" else 0.5)
    if law.observed.count:
        columns[law.observed.count] = np.full(len(shares), float(DEFAULT_ITEMS))
    return read_runs(columns, law).assign_attrs(source="the default design")


def _prior_draw(study: Study, rng: np.random.Generator) -> dict[str, float]:
    scatter = {name: float(quantile(prior, rng.uniform())) for name, prior in study.scatter.priors.items()}
    return {name: float(value[0]) for name, value in sample_priors(study.law, 1, rng).items()} | scatter


def _study_of(posterior: Any, law: Law, noise: str, draws: int, seed: int) -> Study:
    if not isinstance(posterior, xr.DataTree):
        return Study.opened(fit(posterior, law, noise=noise, draws=draws, chains=CHAINS, seed=seed))
    study = opened(posterior)
    if not diagnostics(study)["converged"]:
        raise FitError("the fit did not converge: truths drawn from it would not be from its posterior; fit again")
    if study.law != law:
        raise FitError(f"the fit is of the law '{study.law.name}', not of '{law.name}'; give the same law")
    return study


def _posterior_draws(study: Study, count: int) -> list[dict[str, float]]:
    drawn = {name: study.posterior[name].values.ravel() for name in study.priors}
    there = len(next(iter(drawn.values())))
    if count > there:
        raise FitError(f"{count} simulations need as many posterior draws; the fit has {there}")
    picked = ((np.arange(count) + 0.5) * there / count).astype(int)
    return [{name: float(values[i]) for name, values in drawn.items()} for i in picked]


# ---- one simulation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Simulation:
    """What a worker needs; ``joined``: new runs are fitted together with those of the study."""

    study: Study
    truth: Mapping[str, float]
    joined: bool
    draws: int
    once: bool
    seed: int
    index: int


def _simulate(task: _Simulation) -> dict[str, Any]:
    """Runs of the true parameters, fitted: status, why, and truth, rank and pit of every quantity."""
    rng = np.random.default_rng([task.seed, task.index, 2])
    study, law, truth = task.study, task.study.law, dict(task.truth)
    try:
        runs = _new_runs(task, rng)
    except RunsError as error:
        return {"status": "refused", "why": str(error)}
    if task.joined:
        runs = xr.concat([study.runs, runs], dim="run", join="override", combine_attrs="override")
    made = Study.bound(law, study.scatter, runs, study.constants)
    try:
        tree = refit(
            made, np.ones(runs.sizes["run"], dtype=bool), draws=task.draws, chains=CHAINS,
            seed=int(rng.integers(2**62)), enough="first" if task.once else "clean",
        )  # fmt: skip
    except FitError as error:
        return {"status": "failed", "why": str(error)}
    report = json.loads(tree.attrs["diagnostics"])
    with np.errstate(all="ignore"):
        values = {name: truth[name] for name in study.priors}
        derived = law_derived(law, truth | dict(study.constants))
        values |= {name: value for name, value in derived.items() if name not in values}
        at_truth = {name: np.array([[value]]) for name, value in truth.items()}
        values[RUNS_LIKELIHOOD] = float(pointwise_log_likelihood(made, at_truth).sum())
        posterior = tree["posterior"].dataset
        drawn = {name: posterior[name].values for name in values if name != RUNS_LIKELIHOOD}
        drawn[RUNS_LIKELIHOOD] = tree["log_likelihood"][law.observed.variable].sum("run").values
        beyond = _beyond(law, study.runs)
        if beyond is not None:
            known = dict(study.constants) | beyond
            values[LOSS_BEYOND] = float(law_loss(law, truth | known))
            there = {name: drawn[name] for name in law.priors}
            drawn[LOSS_BEYOND] = np.asarray(law_loss(law, there | known))
        ranked = {name: _rank(values[name], drawn[name], rng) for name in values}
    return {
        "status": "fitted" if report["converged"] else "unconverged",
        "why": report["why"],
        "truth": {name: float(value) for name, value in values.items()},
        "rank": {name: rank for name, (rank, _) in ranked.items()},
        "pit": {name: pit for name, (_, pit) in ranked.items()},
    }


def _new_runs(task: _Simulation, rng: np.random.Generator) -> xr.Dataset:
    """The design with what its runs would show; read as a user's runs are, so that what fit() refuses is refused."""
    study, design = task.study, task.study.runs
    values = {**task.truth, **study.inputs(), **study.constants}
    with np.errstate(all="ignore"):
        predicted = np.broadcast_to(law_loss(study.law, values), design.sizes["run"])
        seen = study.scatter.sample(predicted, study.covariates(values=task.truth), task.truth, rng)
    runs = design.assign({study.law.observed.column: ("run", seen)})
    if CENSORED in study.known:  # what is simulated is seen
        runs = runs.assign({CENSORED: ("run", np.zeros(runs.sizes["run"]))})
    names = [name for name in runs.data_vars if runs[name].dims == ("run",) and runs[name].dtype.kind == "f"]
    return read_runs({name: runs[name].values for name in names}, study.law)[names]


def _beyond(law: Law, design: xr.Dataset) -> dict[str, float] | None:
    """Inputs of a run ten times as large as the largest of the design, or None where the law has no such size."""
    grown = [symbol for symbol in law.inputs if symbol in ("N", "D")]
    grown = grown or [symbol for symbol in law.inputs if column(symbol) == size_column(law)]
    if not grown or law.observed.scale in SHARES:
        return None
    largest = int(design[size_column(law)].values.argmax())
    inputs = {symbol: float(design[column(symbol)].values[largest]) for symbol in law.inputs}
    return inputs | {symbol: inputs[symbol] * LOSS_BEYOND_TIMES ** (1 / len(grown)) for symbol in grown}


def _rank(truth: float, draws: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Rank of the truth among few draws [chain, draw] far apart, ties broken by lot, and the share of all below it."""
    if not (np.isfinite(truth) and np.isfinite(draws).all()):
        return float("nan"), float("nan")
    each = RANK_DRAWS // len(draws)
    apart = draws[:, ((np.arange(each) + 0.5) * draws.shape[1] / each).astype(int)]
    ties = int((apart == truth).sum())
    return float((apart < truth).sum() + rng.integers(ties + 1)), float((draws < truth).mean())


# ---- all of them ----------------------------------------------------------------------------------------------------


def _file_name(task: _Simulation) -> str:
    study = task.study
    about: list[Any] = [study.law.text, study.scatter.noise, data_hash(study.runs, study.law), dict(study.constants)]
    about += [dict(task.truth), not task.joined, task.draws, task.seed, task.index, RANK_DRAWS, CHAINS, versions()]
    about += ["first"] if task.once else []
    return f"{study.law.name}-{task.index:05d}-{digest(about)}.json"


def _write(result: dict[str, Any], path: Path) -> None:
    keep_text(json.dumps(result) + "\n", path)


def _kept(path: Path) -> dict[str, Any] | None:
    """A simulation of an earlier call; what was damaged since is simulated again."""
    text = kept_text(path)
    return None if text is None else json.loads(text)


def _gathered(study: Study, found: list[Any], **attrs: Any) -> xr.Dataset:
    law, runs = study.law, study.runs
    plain = [{"status": "failed", "why": one.why} if isinstance(one, Failure) else one for one in found]
    names = next((list(one["truth"]) for one in plain if "truth" in one), None)
    if names is None:
        raise FitError(f"law '{law.name}': no simulation could be fitted; the first: {plain[0]['why']}")
    nothing = dict.fromkeys(names, np.nan)
    arrays = {
        part: (("quantity", "simulation"), np.array([[one.get(part, nothing)[n] for one in plain] for n in names]))
        for part in ("truth", "rank", "pit")
    }
    result = xr.Dataset(arrays, coords={"quantity": names, "simulation": np.arange(len(plain))})
    kinds = {name: "parameter" for name in law.priors} | {name: "noise" for name in study.scatter.priors}
    kinds |= {RUNS_LIKELIHOOD: "data", LOSS_BEYOND: "derived"}
    result["kind"] = ("quantity", np.array([kinds.get(name, "derived") for name in names], dtype=object))
    for part in ("status", "why"):
        result[part] = ("simulation", np.array([one[part] for one in plain], dtype=object))
    about = {
        "kind": "calibrate",
        "law": law.name,
        "noise": study.scatter.noise,
        "source": runs.attrs["source"],
        "runs": runs.sizes["run"],
        "most": RANK_DRAWS,
    }
    result.attrs = about | attrs
    return result
