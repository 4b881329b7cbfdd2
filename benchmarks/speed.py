"""How fast, against what else: everything on the same runs, in one go, as ratios.

    python -m benchmarks.speed [RUNS.csv] [--json] [--only fits,boot,process,rows,jax,report]

Without a file 240 runs are simulated from published constants. Whoever is not installed (emcee, simple-scaling-laws,
chinchilla: `pip install -e ".[bench]"`) is left out, and that is said. Run it on a machine that does nothing else.

- fits: effective draws a second (smallest bulk ESS over the sampled parameters / seconds, compiling not counted) of
  `bayescale.fit` against the model of textbooks (raw A and B, normal noise) under PyMC's own NUTS and under nutpie, and
  against emcee on the same posterior as ours, written in NumPy.
- boot: seconds to a 90 % band of the parameters: a warm fit, a quick one, 4000 bootstraps of the Huber fit, the peers.
- process: whole processes, imports and all: the first fit, later ones, --quick, `laws`; peak memory.
- rows: time of a gradient by number of runs, against the same likelihood written by hand in NumPy and in Numba.
- report: a page of these runs and of 200 000: a whole process against its imports alone, the same where all is loaded.
- jax: `bayescale.pymc_model`, the same posterior, under nutpie's JAX backend (`pip install jax`), and its gradient.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from math import lgamma as math_lgamma  # a name that Numba knows
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import minimize
from scipy.special import gammaln

import bayescale
from bayescale.fitting.fit import model_of
from bayescale.laws.law import load_law
from bayescale.study import Study

E, A, B, ALPHA, BETA = 1.8172, 482.01, 2085.43, 0.3478, 0.3659  # Besiroglu et al. 2024, arXiv:2404.10102
ROWS = (30, 240, 2_000, 20_000, 200_000, 1_000_000)
BOOTSTRAPS = 4000
DELTA = 1e-3  # of the Huber loss, as in Hoffmann et al. 2022


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=Path)
    parser.add_argument("--json", action="store_true")
    parts = {"fits": fits, "boot": boot, "process": process, "rows": rows, "jax": jax, "report": report}
    parser.add_argument("--only", default=",".join(parts), help="parts, with commas between them")
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := set(chosen) - set(parts):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; the parts are {', '.join(parts)}")
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        runs = bayescale.read_runs(args.runs) if args.runs else simulated(240)
        columns = ["params", "tokens", "loss"]
        runs[columns].to_dataframe()[columns].to_csv(path, index=False)
        result = {"runs": runs.sizes["run"], "cores": os.cpu_count()}
        result |= {name: part(runs, path) for name, part in parts.items() if name in chosen}
    if args.json:
        print(json.dumps(result, indent=1))
        return
    for name in chosen:
        print(f"\n{name}")
        for row in result[name]:
            print("  " + "  ".join(f"{key} {_text(value)}" for key, value in row.items()))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def simulated(count: int) -> xr.Dataset:
    rng = np.random.default_rng(0)
    N, D = 10 ** rng.uniform(7.5, 10, count), 10 ** rng.uniform(9, 11.5, count)
    loss = (E + A / N**ALPHA + B / D**BETA) * np.exp(0.005 * rng.standard_t(5, count))
    return bayescale.read_runs({"params": N, "tokens": D, "loss": loss})


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


# ---- effective draws a second ---------------------------------------------------------------------------------------


def fits(runs: xr.Dataset, path: Path) -> list[dict]:
    bayescale.fit(runs, "chinchilla", draws=200, allow_unconverged=True)  # compiles
    repeats = [timed(lambda seed=seed: bayescale.fit(runs, "chinchilla", seed=seed)) for seed in range(5)]
    rates = [smallest_ess(fit["posterior"], load_law("chinchilla").priors) / seconds for seconds, fit in repeats]
    ours = float(np.median(rates))
    found = [
        {"who": "bayescale, law chinchilla", "ess_per_s": ours, "seconds": float(np.median([s for s, _ in repeats]))}
    ]
    others = {"textbook, PyMC's NUTS": "pymc", "textbook, nutpie": "nutpie", "emcee": None}
    for who, sampler in others.items():
        measured = emcee_rate(runs) if sampler is None else textbook_rate(runs, sampler)
        if measured is None:
            found.append({"who": who, "left out": "not installed"})
            continue
        rate, seconds, ess, r_hat = measured
        found.append(
            {"who": who, "ess_per_s": rate, "seconds": seconds, "ess": ess, "r_hat": r_hat, "ours": ours / rate}
        )
    return found


def smallest_ess(posterior: Any, names: Any) -> float:
    import arviz_stats

    return min(float(arviz_stats.ess(posterior[name], method="bulk")) for name in names)


def textbook_rate(runs: xr.Dataset, sampler: str) -> tuple[float, float, float, float]:
    """Raw A and B, wide priors, normal noise of log loss: how the law is usually written down in PyMC."""
    import arviz_stats
    import pymc as pm

    N, D, loss = (runs[name].values for name in ("params", "tokens", "loss"))
    with pm.Model():
        e = pm.HalfNormal("E", 3.0)
        a, b = (pm.LogNormal(name, np.log(500.0), 2.0) for name in ("A", "B"))
        alpha, beta = (pm.Normal(name, 0.35, 0.15) for name in ("alpha", "beta"))
        sigma = pm.HalfNormal("sigma", 0.1)
        mu = pm.math.log(e + a * N**-alpha + b * D**-beta)
        pm.Normal("seen", mu, sigma, observed=np.log(loss))
        options = {"chains": 4, "cores": os.cpu_count(), "random_seed": 1, "progressbar": False}
        # nutpie compiles before it samples, and says how long sampling took; PyMC's own sampler likewise
        trace = pm.sample(1000, tune=1000, nuts_sampler=sampler, compute_convergence_checks=False, **options)
    names = ("E", "A", "B", "alpha", "beta", "sigma")
    posterior = trace["posterior"].to_dataset()
    seconds = trace["posterior"].attrs.get("sampling_time") or trace["sample_stats"].attrs.get("sampling_time")
    if seconds is None:
        seconds = textbook_seconds(runs, sampler)
    ess = smallest_ess(posterior, names)
    r_hat = max(float(arviz_stats.rhat(posterior[name])) for name in names)
    return ess / seconds, float(seconds), ess, r_hat


def textbook_seconds(runs: xr.Dataset, sampler: str) -> float:
    """Sampling time alone, for a sampler that does not report it: nutpie on a model compiled beforehand."""
    import nutpie
    import pymc as pm

    N, D, loss = (runs[name].values for name in ("params", "tokens", "loss"))
    with pm.Model() as model:
        e = pm.HalfNormal("E", 3.0)
        a, b = (pm.LogNormal(name, np.log(500.0), 2.0) for name in ("A", "B"))
        alpha, beta = (pm.Normal(name, 0.35, 0.15) for name in ("alpha", "beta"))
        sigma = pm.HalfNormal("sigma", 0.1)
        pm.Normal("seen", pm.math.log(e + a * N**-alpha + b * D**-beta), sigma, observed=np.log(loss))
    compiled = nutpie.compile_pymc_model(model)
    options = {"draws": 1000, "tune": 1000, "chains": 4, "cores": os.cpu_count(), "seed": 1, "progress_bar": False}
    return timed(lambda: nutpie.sample(compiled, **options))[0]


def emcee_rate(runs: xr.Dataset) -> tuple[float, float, float, float] | None:
    """Our own posterior, by a density in NumPy over all walkers at once, from a ball around a good start."""
    try:
        import emcee
    except ImportError:
        return None
    import arviz_stats

    model = model_of(Study.of(runs, "chinchilla"), 0)
    density = by_hand(model.data)
    walkers, steps = 64, 4000
    rng = np.random.default_rng(0)
    start = model.start[rng.integers(len(model.start), size=walkers)] + 1e-3 * rng.standard_normal((walkers, 8))
    sampler = emcee.EnsembleSampler(walkers, 8, density, vectorize=True)
    seconds, _ = timed(lambda: sampler.run_mcmc(start, steps))
    # walkers are no independent chains: four groups of them stand for chains
    chain = sampler.get_chain(discard=steps // 4)
    chain = np.moveaxis(chain, 1, 0)
    posterior = xr.Dataset({name: (("chain", "draw"), chain[:, :, i]) for i, name in enumerate(model.names)})
    ess = smallest_ess(posterior, model.names)
    r_hat = max(float(arviz_stats.rhat(posterior[name])) for name in model.names)
    return ess / seconds, seconds, ess, r_hat


# ---- our posterior of law chinchilla, by hand -----------------------------------------------------------------------


def by_hand(block: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Log posterior of positions [walker, 8], as somebody would write it in NumPy."""
    n_runs, l_ref = int(block[0]), block[1]
    log_c, seen, n, d = block[2:].reshape(4, n_runs)

    def density(x: np.ndarray) -> np.ndarray:
        level, slope, lean = np.exp(x[:, 0]), np.exp(x[:, 1]), x[:, 2]
        floor, share = 1 / (1 + np.exp(-x[:, 3])), 1 / (1 + np.exp(-x[:, 4]))
        sigma, tilt, nu = np.exp(x[:, 5]), x[:, 6], 2 + np.exp(x[:, 7])
        r = 1 - floor
        alpha = slope / (r * (share + (1 - share) * np.exp(-lean)))
        beta = slope / (r * (share * np.exp(lean) + 1 - share))
        terms = share[:, None] * np.exp(-alpha[:, None] * n) + (1 - share)[:, None] * np.exp(-beta[:, None] * d)
        mu = np.log(l_ref * level[:, None] * (floor[:, None] + r[:, None] * terms))
        scale = 1e-4 + sigma[:, None] * np.exp(tilt[:, None] * log_c)
        z = (seen - mu) / scale
        value = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
        total = n_runs * value - np.log(scale).sum(1) - ((nu + 1) / 2) * np.log1p(z**2 / nu[:, None]).sum(1)
        priors = load_law("chinchilla").priors
        for i, name in enumerate(("level", "slope", "lean", "floor", "share")):
            total -= 0.5 * ((x[:, i] - priors[name].params["mu"]) / priors[name].params["sigma"]) ** 2
        total += -0.5 * (x[:, 5] + 5) ** 2 - 0.5 * (x[:, 6] / 0.2) ** 2 + 2 * x[:, 7] - 0.1 * np.exp(x[:, 7])
        return np.where(np.isfinite(total), total, -np.inf)

    return density


# ---- seconds to a band ----------------------------------------------------------------------------------------------


def boot(runs: xr.Dataset, path: Path) -> list[dict]:
    for options in ({}, {"quick": True}):
        bayescale.fit(runs, "chinchilla", draws=200, allow_unconverged=True, **options)
    warm, quick = (
        float(
            np.median(
                [timed(lambda s=seed, o=o: bayescale.fit(runs, "chinchilla", seed=s, **o))[0] for seed in range(7)]
            )
        )
        for o in ({}, {"quick": True})
    )
    found = [{"who": "bayescale, warm", "seconds": warm}, {"who": "bayescale, quick", "seconds": quick}]
    for who, work in (
        (f"{BOOTSTRAPS} bootstraps of the Huber fit", bootstraps),
        ("simple-scaling-laws, 4000 draws", simple_scaling_laws),
        ("chinchilla, a point without a band", chinchilla_package),
    ):
        try:
            seconds = timed(lambda work=work: work(runs))[0]
        except ImportError:
            found.append({"who": who, "left out": "not installed"})
            continue
        found.append({"who": who, "seconds": seconds, "ours": seconds / warm})
    return found


def bootstraps(runs: xr.Dataset) -> np.ndarray:
    """Huber fits of resampled runs by L-BFGS with its exact gradient, each from the optimum of all runs."""
    n, d, seen = (np.log(runs[name].values) for name in ("params", "tokens", "loss"))
    rng = np.random.default_rng(0)

    def objective(x: np.ndarray, n: np.ndarray, d: np.ndarray, seen: np.ndarray) -> tuple[float, np.ndarray]:
        parts = np.stack([x[0] - x[1] * n, x[2] - x[3] * d, np.full_like(n, x[4])])
        top = parts.max(0)
        weights = np.exp(parts - top)
        total = weights.sum(0)
        residual = top + np.log(total) - seen
        weights /= total
        small = np.abs(residual) <= DELTA
        value = np.where(small, 0.5 * residual**2, DELTA * (np.abs(residual) - 0.5 * DELTA)).sum()
        slope = np.where(small, residual, DELTA * np.sign(residual))
        by = [weights[0], -n * weights[0], weights[1], -d * weights[1], weights[2]]
        return value, np.array([(slope * part).sum() for part in by])

    start = np.array([np.log(A), ALPHA, np.log(B), BETA, np.log(E)])
    best = minimize(objective, start, (n, d, seen), jac=True, method="L-BFGS-B").x
    found = np.empty((BOOTSTRAPS, 5))
    for i in range(BOOTSTRAPS):
        rows = rng.integers(len(n), size=len(n))
        found[i] = minimize(objective, best, (n[rows], d[rows], seen[rows]), jac=True, method="L-BFGS-B").x
    return np.quantile(found, [0.05, 0.95], axis=0)


def simple_scaling_laws(runs: xr.Dataset) -> Any:
    import polars as pl
    import simple_scaling_laws as peer

    count = runs.sizes["run"]
    table = pl.DataFrame(
        {
            "training_run_id": [f"run_{i}" for i in range(count)],
            "train_set_id": [f"train_{i}" for i in range(count)],
            "test_set_id": ["test"] * count,
            "optimizer_seed": [0] * count,
            "model_size__n_params": runs["params"].values,
            "dataset_size__n_subjects": runs["tokens"].values,
            "test_loss__cross_entropy": runs["loss"].values,
        }
    )
    return peer.fit(table, law="separable-power", n_draws=BOOTSTRAPS, seed=0)


def chinchilla_package(runs: xr.Dataset) -> Any:
    from chinchilla import Chinchilla

    with tempfile.TemporaryDirectory() as folder:
        grid = {
            "E": np.linspace(1, 2, 3),
            "a": np.linspace(1, 10, 3),
            "b": np.linspace(1, 10, 3),
            "alpha": np.linspace(0.1, 0.7, 3),
            "beta": np.linspace(0.1, 0.7, 3),
        }
        peer = Chinchilla(folder, grid, log_level=50)
        for N, D, loss in zip(*(runs[name].values for name in ("params", "tokens", "loss")), strict=True):
            peer.database.append(C=6 * N * D, N=N, D=D, loss=loss)
        peer.fit(parallel=False)
        return peer.get_params()


# ---- whole processes ------------------------------------------------------------------------------------------------


def process(runs: xr.Dataset, path: Path) -> list[dict]:
    """As it is typed: the fit is saved, and its table printed."""
    command = [sys.executable, "-m", "bayescale.cli.main"]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        fit = [*command, "fit", str(path), "--law", "chinchilla", "--output", str(Path(folder) / "fit.nc")]
        for who, arguments, cache in (
            ("bayescale fit, nothing in the cache", fit, "used"),
            ("bayescale fit, again", fit, "used"),
            ("bayescale fit --quick, nothing in the cache", [*fit, "--quick"], "unused"),
            ("bayescale fit --quick, again", [*fit, "--quick"], "used"),
            ("bayescale laws", [*command, "laws"], "used"),
            ("bayescale --help", [*command, "--help"], "used"),
        ):
            environment = os.environ | {"BAYESCALE_KERNELS": str(Path(folder) / cache)}
            tries = [whole(arguments, environment) for _ in range(1 if "nothing" in who else 5)]
            seconds, memory = (float(np.median(values)) for values in zip(*tries, strict=True))
            found.append({"who": who, "seconds": seconds, "peak_MB": memory})
    return found


# what a process has used at most counts what its parent held when it was started: the parent is a small one
WATCH = """import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([status, time.perf_counter() - start, usage.ru_maxrss / 1024]))
"""


def whole(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak memory [MB] of a process."""
    command = [sys.executable, "-c", WATCH, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    status, seconds, memory = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with status {status}\n{done.stderr}")
    return seconds, memory


# ---- the report ------------------------------------------------------------------------------------------------------


IMPORTS = "import bayescale.cli.main, bayescale.display.report, arviz_stats, matplotlib.pyplot"  # those of a page


def report(runs: xr.Dataset, path: Path) -> list[dict]:
    """A page of a saved fit with its figures: a process against its imports, and where all is loaded; its size."""
    found = []
    for some in (runs, simulated(200_000)):
        fit = bayescale.fit(some, "chinchilla", quick=True)
        saved = str(bayescale.save_fit(fit, path.with_name("fit.nc")))
        command = ["-m", "bayescale.cli.main", "report", saved, "-o", str(path.with_name("page.html"))]
        both = [[sys.executable, *one] for one in (command, ["-c", IMPORTS])]
        tries = [[whole(one, dict(os.environ))[0] for one in both] for _ in range(3)]
        process, imports = (min(seconds) for seconds in zip(*tries, strict=True))
        page = bayescale.report(fit)
        start = time.process_time()
        seconds, _ = timed(lambda fit=fit: bayescale.report(fit))
        row = {"runs": some.sizes["run"], "process_s": process, "imports_s": imports, "over_imports": process / imports}
        row |= {"loaded_s": seconds, "loaded_cpu_s": time.process_time() - start}
        found.append(row | {"megabytes": len(page.encode()) / 1e6})
    return found


# ---- the cost of a gradient -----------------------------------------------------------------------------------------


def rows(runs: xr.Dataset, path: Path) -> list[dict]:
    import numba

    from bayescale.engine.model import density_of

    model = model_of(Study.of(runs, "chinchilla"), 0)
    code = model.compiled()
    head, table = code.data[1:2], code.data[2:].reshape(4, -1)
    x = model.start[0]
    scalar = numba.njit(error_model="numpy", fastmath=True)(gradient_by_hand)
    found = []
    for count in ROWS:
        columns = np.ascontiguousarray(table[:, np.arange(count) % table.shape[1]])
        block = np.concatenate([[float(count)], head, columns.ravel()])
        ours = density_of(replace(model, compiled=lambda block=block: replace(code, data=block)))
        gradient = ours(x)[1]
        theirs = scalar(x, head[0], *columns)
        difference = float(np.abs(theirs - gradient_of_likelihood(gradient, x)).max() / np.abs(gradient).max())
        repeats = max(3, 20_000_000 // (count * 20 + 20_000))
        seconds = best_of(repeats, ours, x)
        by_numba = best_of(repeats, scalar, x, head[0], *columns)
        by_numpy = best_of(max(3, repeats // 4), gradient_in_numpy, x, head[0], *columns)
        found.append(
            {
                "rows": count,
                "ns_per_row": 1e9 * seconds / count,
                "numba_by_hand": 1e9 * by_numba / count,
                "numpy_by_hand": 1e9 * by_numpy / count,
                "of_numba": seconds / by_numba,
                "of_numpy": seconds / by_numpy,
                "difference": difference,
            }
        )
    return found


def jax(runs: xr.Dataset, path: Path) -> list[dict]:
    """The same posterior through JAX, on the device that it finds; compiling not counted."""
    try:
        from jax import block_until_ready, config, devices, jit, value_and_grad
    except ImportError:
        return [{"who": "JAX", "left out": "not installed"}]
    import nutpie
    from pymc.sampling.jax import get_jaxified_logp

    from bayescale.engine.model import density_of

    config.update("jax_enable_x64", True)
    device = devices()[0].platform
    options = {"target_accept": 0.9, "adaptation": "low_rank", "progress_bar": False, "cores": os.cpu_count()}
    compiled = nutpie.compile_pymc_model(
        bayescale.pymc_model(runs, "chinchilla"), backend="jax", gradient_backend="jax"
    )
    nutpie.sample(compiled, draws=100, tune=100, chains=4, seed=0, **options)
    theirs, trace = timed(lambda: nutpie.sample(compiled, draws=1000, tune=400, chains=4, seed=1, **options))
    bayescale.fit(runs, "chinchilla", draws=200, allow_unconverged=True)
    ours, fit = timed(lambda: bayescale.fit(runs, "chinchilla", seed=1))
    names = load_law("chinchilla").priors
    rates = [smallest_ess(tree["posterior"], names) / t for tree, t in ((trace, theirs), (fit, ours))]
    who = f"nutpie's JAX backend, {device}"
    found = [{"who": who, "ess_per_s": rates[0], "seconds": theirs, "ours": rates[1] / rates[0]}]
    for count in (240, 20_000, 1_000_000):
        many = simulated(count)
        model = bayescale.pymc_model(many, "chinchilla")
        gradient = jit(value_and_grad(get_jaxified_logp(model, negative_logp=False)))
        start = model.initial_point()
        x = [np.asarray(start[variable.name], dtype=float) for variable in model.value_vars]
        ours_model = model_of(Study.of(many, "chinchilla"), 0)
        density = density_of(ours_model)
        block_until_ready(gradient(x))
        repeats = max(5, 3_000_000 // count)
        by_jax = best_of(repeats, lambda g=gradient, x=x: block_until_ready(g(x)))
        here = best_of(repeats, density, ours_model.start[0])
        found.append({"rows": count, "jax_ns_per_row": 1e9 * by_jax / count, "of_jax": here / by_jax})
    return found


def best_of(repeats: int, work: Callable[..., Any], *arguments: Any) -> float:
    return min(timed(lambda: work(*arguments))[0] for _ in range(repeats))


def gradient_of_likelihood(gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Without the priors, which the gradients by hand leave out."""
    priors = load_law("chinchilla").priors
    slope = np.zeros(8)
    for i, name in enumerate(("level", "slope", "lean", "floor", "share")):
        slope[i] = -(x[i] - priors[name].params["mu"]) / priors[name].params["sigma"] ** 2
    slope[5:] = -(x[5] + 5), -x[6] / 0.04, 2 - 0.1 * np.exp(x[7])
    return gradient - slope


def gradient_by_hand(x, l_ref, log_c, seen, n, d):
    """Of the log likelihood by the eight positions, in a loop over the runs; nu by a small difference."""
    level, slope, lean = np.exp(x[0]), np.exp(x[1]), x[2]
    floor, share = 1 / (1 + np.exp(-x[3])), 1 / (1 + np.exp(-x[4]))
    sigma, tilt, nu = np.exp(x[5]), x[6], 2 + np.exp(x[7])
    r = 1 - floor
    left, right = share + (1 - share) * np.exp(-lean), share * np.exp(lean) + 1 - share
    alpha, beta = slope / (r * left), slope / (r * right)
    g_level = g_alpha = g_beta = g_floor = g_share = g_sigma = g_tilt = g_nu = 0.0
    for i in range(len(n)):
        a, b = np.exp(-alpha * n[i]), np.exp(-beta * d[i])
        terms = share * a + (1 - share) * b
        mean = floor + r * terms
        noise = np.exp(tilt * log_c[i])
        scale = 1e-4 + sigma * noise
        z = (seen[i] - np.log(l_ref * level * mean)) / scale
        weight = (nu + 1) / (nu + z * z)
        g_mu = weight * z / scale
        g_scale = (weight * z * z - 1) / scale
        g_level += g_mu
        g_floor += g_mu * (1 - terms) / mean
        g_share += g_mu * r * (a - b) / mean
        g_alpha -= g_mu * r * share * a * n[i] / mean
        g_beta -= g_mu * r * (1 - share) * b * d[i] / mean
        g_sigma += g_scale * noise
        g_tilt += g_scale * sigma * noise * log_c[i]
        g_nu += -0.5 * np.log1p(z * z / nu) + 0.5 * weight * z * z / nu
    h = 1e-5
    constant = (
        math_lgamma((nu + h + 1) / 2)
        - math_lgamma((nu + h) / 2)
        - math_lgamma((nu - h + 1) / 2)
        + math_lgamma((nu - h) / 2)
    ) / (2 * h) - 0.5 / nu
    g_nu += len(n) * constant
    e = np.exp(lean)
    out = np.empty(8)
    out[0] = g_level
    out[1] = g_alpha * alpha + g_beta * beta
    out[2] = g_alpha * alpha * (1 - share) / e / left - g_beta * beta * share * e / right
    out[3] = (g_floor + (g_alpha * alpha + g_beta * beta) / r) * floor * (1 - floor)
    by_share = g_share - g_alpha * alpha * (1 - 1 / e) / left - g_beta * beta * (e - 1) / right
    out[4] = by_share * share * (1 - share)
    out[5] = g_sigma * sigma
    out[6] = g_tilt
    out[7] = g_nu * (nu - 2)
    return out


def gradient_in_numpy(x, l_ref, log_c, seen, n, d):
    """The same with whole arrays."""
    level, slope, lean = np.exp(x[0]), np.exp(x[1]), x[2]
    floor, share = 1 / (1 + np.exp(-x[3])), 1 / (1 + np.exp(-x[4]))
    sigma, tilt, nu = np.exp(x[5]), x[6], 2 + np.exp(x[7])
    r = 1 - floor
    left, right = share + (1 - share) * np.exp(-lean), share * np.exp(lean) + 1 - share
    alpha, beta = slope / (r * left), slope / (r * right)
    a, b = np.exp(-alpha * n), np.exp(-beta * d)
    terms = share * a + (1 - share) * b
    mean = floor + r * terms
    noise = np.exp(tilt * log_c)
    scale = 1e-4 + sigma * noise
    z = (seen - np.log(l_ref * level * mean)) / scale
    weight = (nu + 1) / (nu + z * z)
    g_mu = weight * z / scale
    g_scale = (weight * z * z - 1) / scale
    by = g_mu / mean
    sums = [
        g_mu.sum(),
        by @ (1 - terms),
        r * (by @ (a - b)),
        -r * share * (by @ (a * n)),
        -r * (1 - share) * (by @ (b * d)),
    ]
    sums += [g_scale @ noise, sigma * (g_scale @ (noise * log_c))]
    sums.append((-0.5 * np.log1p(z * z / nu) + 0.5 * weight * z * z / nu).sum())
    return np.array(sums)


if __name__ == "__main__":
    main()
