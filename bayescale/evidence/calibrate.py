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

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.engine.density import inputs_of, observed_values
from bayescale.errors import FitError, RunsError
from bayescale.fitting.diagnostics import ESS_MIN, diagnostics
from bayescale.fitting.doors import flag, opened_fit
from bayescale.fitting.fit import (
    DRAWS_MAX,
    check_seed,
    check_whole,
    data_hash,
    draws_of,
    fit,
    law_of,
    pointwise_log_likelihood,
    refit,
    runs_of,
)
from bayescale.jobs.batch import Failure, run_missing
from bayescale.jobs.files import keep_text, kept_text, make_folder
from bayescale.jobs.threads import one_blas_thread
from bayescale.jobs.versions import versions
from bayescale.laws.law import (
    DEFAULT_LAW,
    Law,
    column,
    law_derived,
    law_loss,
    load_law,
    reference_constants,
    run_sizes,
    sample_priors,
    size_column,
)
from bayescale.laws.priors import quantile
from bayescale.laws.scatter import NOISES, default_noise, noise_scale, sample_noise, sample_share
from bayescale.runs.read import read_runs

SIMULATIONS_MAX = 100_000  # the error of a share of so many is .3 % of them at most
MOST = 100  # posterior draws that a rank is among: so few of so many that they are next to independent
CHAINS = 4
GRID = 6  # sizes of each of two inputs in the default design
SPREAD = 48  # runs of the default design of a law of more inputs
ITEMS = 1000  # of a proportion, where the design does not say
# what the ranks are of besides parameters, noise and derived quantities; the first is a function of the runs too
LIKELIHOOD, BEYOND = "log_likelihood", "loss_beyond"
FURTHER = 10.0  # times the largest run: where the loss beyond the runs is looked at


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
    "parameter", "noise", "derived" or "data". :func:`bayescale.calibration_table`
    and :func:`bayescale.calibration_statement` sum it up.

    Raises
    ------
    RunsError, LawError
        The design or the law cannot be used.
    FitError
        An option is wrong, or no simulation could be fitted.
    """
    law = load_law(DEFAULT_LAW if law is None else law)
    check_seed(seed)
    check_whole("simulations", simulations, 10, SIMULATIONS_MAX)
    check_whole("draws", draws, int(ESS_MIN / CHAINS) + 1, DRAWS_MAX // CHAINS)
    once = flag("once", once)
    if law.observed.scale == "linear":
        raise FitError(
            f"law '{law.name}': its noise is in units of the range of the observed values, which simulated runs have "
            "only once they are made: no distribution to start from can be the same before and after"
        )
    if design is not None and posterior is not None:
        raise FitError("give a design or runs for a posterior: the sizes of the latter are the design there")
    asked, noise = noise, default_noise(law.observed.scale) if noise is None else noise
    if noise not in NOISES or law.observed.scale not in NOISES[noise].observed:
        allowed = [name for name in NOISES if law.observed.scale in NOISES[name].observed]
        raise FitError(f"noise '{noise}' is not for law '{law.name}'; allowed are {', '.join(allowed)}")
    if posterior is None:
        runs = _default_design(law) if design is None else read_runs(design, law)
        constants, old = _constants(law, runs), None
        truths = [_prior_draw(law, noise, np.random.default_rng([seed, i, 1])) for i in range(simulations)]
    else:
        tree = _fit_of(posterior, law, noise, draws, seed)
        law, noise, runs, old = law_of(tree), tree.attrs["noise"], runs_of(tree), runs_of(tree)
        if asked is not None and asked != noise:
            raise FitError(f"noise '{asked}', but the fit was made with '{noise}'; leave the noise out")
        constants = {name: float(tree["constant_data"][name]) for name in (*law.constants, "C_ref")}
        truths = _posterior_draws(tree, law, noise, simulations)
    tasks = [
        _Simulation(law, noise, runs, constants, truth, old, draws, once, seed, i) for i, truth in enumerate(truths)
    ]
    found = _results(tasks, folder, executor, progress)
    return _gathered(
        law, noise, runs, found, draws=draws, once=int(once), seed=seed, kind="prior" if old is None else "posterior"
    )


# ---- where the parameters come from ---------------------------------------------------------------------------------


def _default_design(law: Law) -> xr.Dataset:
    """Runs over the published range of the law's inputs; what is observed is filled in and stands for nothing."""
    ranges = {symbol: law.range.get(symbol) for symbol in law.inputs}
    missing = [symbol for symbol, pair in ranges.items() if pair is None]
    if missing:
        raise FitError(f"law '{law.name}' gives no range of {', '.join(missing)}; give a design: a file of runs")
    if len(ranges) > 2:
        from scipy.stats import qmc

        shares = qmc.Halton(len(ranges), rng=np.random.default_rng(0)).random(SPREAD)
    else:
        steps = np.linspace(0, 1, GRID if len(ranges) == 2 else GRID**2)
        shares = np.stack(np.meshgrid(*[steps] * len(ranges), indexing="ij"), axis=-1).reshape(-1, len(ranges))
    columns = {
        column(symbol): low * (high / low) ** share if low > 0 else low + (high - low) * share
        for (symbol, (low, high)), share in zip(ranges.items(), shares.T, strict=True)
    }
    columns[law.observed.column] = np.full(len(shares), 2.0 if law.observed.scale == "log" else 0.5)
    if law.observed.count:
        columns[law.observed.count] = np.full(len(shares), float(ITEMS))
    return read_runs(columns, law).assign_attrs(source="the default design")


def _constants(law: Law, runs: xr.Dataset) -> dict[str, float]:
    sizes = np.log(run_sizes(law, runs))
    return reference_constants(law, runs) | {"C_ref": float(np.exp(sizes.mean()))}


def _prior_draw(law: Law, noise: str, rng: np.random.Generator) -> dict[str, float]:
    scatter = {name: quantile(prior, rng.uniform()) for name, prior in NOISES[noise].priors.items()}
    return {name: float(value[0]) for name, value in sample_priors(law, 1, rng).items()} | {
        name: float(value) for name, value in scatter.items()
    }


def _fit_of(posterior: Any, law: Law, noise: str, draws: int, seed: int) -> xr.DataTree:
    if not isinstance(posterior, xr.DataTree):
        return fit(posterior, law, noise=noise, draws=draws, chains=CHAINS, seed=seed)
    posterior = opened_fit(posterior)
    if not diagnostics(posterior)["converged"]:
        raise FitError("the fit did not converge: truths drawn from it would not be from its posterior; fit again")
    if law_of(posterior) != law:
        raise FitError(f"the fit is of the law '{posterior.attrs['law']}', to calibrate is '{law.name}'; give one law")
    return posterior


def _posterior_draws(tree: xr.DataTree, law: Law, noise: str, count: int) -> list[dict[str, float]]:
    names = (*law.priors, *NOISES[noise].priors)
    drawn = {name: tree["posterior"][name].values.ravel() for name in names}
    there = len(next(iter(drawn.values())))
    if count > there:
        raise FitError(f"{count} simulations need as many posterior draws; the fit has {there}")
    picked = ((np.arange(count) + 0.5) * there / count).astype(int)
    return [{name: float(values[i]) for name, values in drawn.items()} for i in picked]


# ---- one simulation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Simulation:
    """What a worker needs; ``old`` are the runs that the new ones are fitted together with."""

    law: Law
    noise: str
    design: xr.Dataset
    constants: Mapping[str, float]
    truth: Mapping[str, float]
    old: xr.Dataset | None
    draws: int
    once: bool
    seed: int
    index: int


def _simulate(task: _Simulation) -> dict[str, Any]:
    """Runs of the true parameters, fitted: status, why, and truth, rank and pit of every quantity."""
    rng = np.random.default_rng([task.seed, task.index, 2])
    law, truth = task.law, dict(task.truth)
    try:
        runs = _new_runs(task, rng)
    except RunsError as error:
        return {"status": "refused", "why": str(error)}
    if task.old is not None:
        runs = xr.concat([task.old, runs], dim="run", join="override", combine_attrs="override")
    try:
        tree = refit(
            _unfitted(task, runs), np.ones(runs.sizes["run"], dtype=bool), draws=task.draws, chains=CHAINS,
            seed=int(rng.integers(2**62)), enough="first" if task.once else "clean",
        )  # fmt: skip
    except FitError as error:
        return {"status": "failed", "why": str(error)}
    report = json.loads(tree.attrs["diagnostics"])
    with np.errstate(all="ignore"):
        values = {name: truth[name] for name in (*law.priors, *NOISES[task.noise].priors)}
        values |= {name: value for name, value in _derived(law, truth, task.constants).items() if name not in values}
        values[LIKELIHOOD] = _log_likelihood(task, runs)
        drawn = {name: tree["posterior"][name].values for name in values if name != LIKELIHOOD}
        drawn[LIKELIHOOD] = tree["log_likelihood"][law.observed.variable].sum("run").values
        beyond = _beyond(law, task.design)
        if beyond is not None:
            known = dict(task.constants) | beyond
            values[BEYOND] = float(law_loss(law, truth | known))
            there = {name: value.values for name, value in draws_of(tree).items()}
            drawn[BEYOND] = np.asarray(law_loss(law, there | known))
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
    law, design, observed = task.law, task.design, task.law.observed
    values = dict(task.truth) | inputs_of(law, design, task.constants)
    with np.errstate(all="ignore"):
        predicted = np.broadcast_to(law_loss(law, values), design.sizes["run"])
        if observed.scale == "proportion":
            seen = sample_share(design[observed.count].values, predicted, task.truth["overdispersion"], rng)
        else:
            scale = noise_scale(task.truth, np.log(run_sizes(law, design) / task.constants["C_ref"]))
            seen = np.exp(np.log(predicted) + sample_noise(NOISES[task.noise], scale, task.truth, rng))
    runs = design.assign({observed.column: ("run", seen)})
    names = [name for name in runs.data_vars if runs[name].dims == ("run",) and runs[name].dtype.kind == "f"]
    return read_runs({name: runs[name].values for name in names}, law)[names]


def _unfitted(task: _Simulation, runs: xr.Dataset) -> xr.DataTree:
    """Runs and reference constants as a fit holds them, for :func:`bayescale.fitting.fit.refit`."""
    law, seen = task.law, task.law.observed
    constants = {name: xr.DataArray(value) for name, value in task.constants.items()}
    attrs = {"law": law.name, "law_text": law.text, "noise": task.noise, "source": "simulated runs"}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=attrs),
            "observed_data": xr.Dataset({seen.variable: observed_values(law, runs)}),
            "constant_data": runs.drop_vars(seen.column).assign(constants),
        }
    )


def _derived(law: Law, truth: Mapping[str, float], constants: Mapping[str, float]) -> dict[str, Any]:
    return law_derived(law, dict(truth) | dict(constants))


def _log_likelihood(task: _Simulation, runs: xr.Dataset) -> float:
    """Of the runs that were fitted, at the truth."""
    truth = {name: np.array([[value]]) for name, value in task.truth.items()}
    return float(pointwise_log_likelihood(task.law, task.noise, runs, task.constants, truth).sum())


def _beyond(law: Law, design: xr.Dataset) -> dict[str, float] | None:
    """Inputs of a run ten times as large as the largest of the design, or None where the law has no such size."""
    grown = [symbol for symbol in ("N", "D") if symbol in law.inputs]
    grown = grown or [symbol for symbol in law.inputs if column(symbol) == size_column(law)]
    if not grown or law.observed.scale == "proportion":
        return None
    largest = int(design[size_column(law)].values.argmax())
    inputs = {symbol: float(design[column(symbol)].values[largest]) for symbol in law.inputs}
    return inputs | {symbol: inputs[symbol] * FURTHER ** (1 / len(grown)) for symbol in grown}


def _rank(truth: float, draws: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Rank of the truth among few draws [chain, draw] far apart, ties broken by lot, and the share of all below it."""
    if not (np.isfinite(truth) and np.isfinite(draws).all()):
        return float("nan"), float("nan")
    each = MOST // len(draws)
    apart = draws[:, ((np.arange(each) + 0.5) * draws.shape[1] / each).astype(int)]
    ties = int((apart == truth).sum())
    return float((apart < truth).sum() + rng.integers(ties + 1)), float((draws < truth).mean())


# ---- all of them ----------------------------------------------------------------------------------------------------


def _results(
    tasks: list[_Simulation], folder: Any, executor: Any, progress: Callable[[int, int], None] | None
) -> list[dict[str, Any] | Failure]:
    paths = [_path(task, folder) for task in tasks]

    def put(i: int, result: dict[str, Any]) -> None:
        if paths[i] is not None:
            keep_text(json.dumps(result) + "\n", paths[i])

    found = [_kept(path) for path in paths]
    return run_missing(_simulate, tasks, found, put=put, executor=executor, progress=progress)


def _path(task: _Simulation, folder: Any) -> Path | None:
    if folder is None:
        return None
    about = [task.law.text, task.noise, data_hash(task.design, task.law), dict(task.constants), dict(task.truth)]
    about += [task.old is None, task.draws, task.seed, task.index, MOST, CHAINS, versions(), *["first"] * task.once]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    return make_folder(folder) / f"{task.law.name}-{task.index:05d}-{key}.json"


def _kept(path: Path | None) -> dict[str, Any] | None:
    """A simulation of an earlier call; what was damaged since is simulated again."""
    text = None if path is None else kept_text(path)
    return None if text is None else json.loads(text)


def _gathered(law: Law, noise: str, runs: xr.Dataset, found: list[Any], **attrs: Any) -> xr.Dataset:
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
    kinds = {name: "parameter" for name in law.priors} | {name: "noise" for name in NOISES[noise].priors}
    kinds |= {LIKELIHOOD: "data", BEYOND: "derived"}
    result["kind"] = ("quantity", np.array([kinds.get(name, "derived") for name in names], dtype=object))
    for part in ("status", "why"):
        result[part] = ("simulation", np.array([one[part] for one in plain], dtype=object))
    about = {"law": law.name, "noise": noise, "source": runs.attrs["source"], "runs": runs.sizes["run"], "most": MOST}
    result.attrs = about | attrs
    return result
