"""How long a batch of refits takes: in this process, in worker processes, on a Dask cluster; and whether all agree.

python -m benchmarks.batches [RUNS.csv] [--refits 100] [--workers 2] [--json]

As in a backtest, every refit learns from some of the runs and forecasts the larger ones; 240 runs are simulated when no
file is given. Each way is timed from its start (of processes, of the cluster), and a second time with its workers up;
they take turns, a fifth of the batch each. Ratios are to the same batch in this process in the second round.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import bayescale
from bayescale.evidence.backtest import scores
from bayescale.jobs.batch import Failure, run_batch

TRUTH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659}  # Besiroglu et al. 2024
TURNS = 5  # that the ways take
SHARE = 0.9  # of the runs below the cut that each refit learns from


@dataclass(frozen=True)
class Task:
    """One refit: what it learns from, what it forecasts."""

    train: xr.Dataset
    test: xr.Dataset
    law: str
    seed: int


def refit(task: Task) -> dict[str, np.ndarray]:
    """Quantiles and scores of the forecasts of one refit."""
    fit = bayescale.fit(task.train, task.law, seed=task.seed)
    measured = task.test["loss"].values
    inputs = {name: task.test[name].values for name in ("params", "tokens")}
    forecast = bayescale.forecast(fit, **inputs, measured=measured, seed=task.seed)
    draws = forecast["predictions"]["loss"].stack(sample=("chain", "draw")).transpose("sample", "point")
    return scores(np.log(draws.values), np.log(measured))


def simulated(count: int, seed: int = 0) -> xr.Dataset:
    """Runs about a Chinchilla law, sizes and tokens at random, 0.5 % of scatter."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.5, 10.2, count), 10 ** rng.uniform(9, 11.5, count)
    loss = TRUTH["E"] + TRUTH["A"] / N ** TRUTH["alpha"] + TRUTH["B"] / D ** TRUTH["beta"]
    return bayescale.read_runs({"params": N, "tokens": D, "loss": loss * np.exp(0.005 * rng.standard_normal(count))})


def make_tasks(runs: xr.Dataset, count: int, law: str) -> list[Task]:
    compute = runs["compute"].values
    tasks = []
    for i in range(count):
        rng = np.random.default_rng(i)
        below = compute <= np.quantile(compute, 0.9)
        tasks.append(Task(runs.isel(run=below & (rng.random(len(below)) < SHARE)), runs.isel(run=~below), law, i))
    return tasks


def timed(batch: Callable[..., list[Any]], executor: Any) -> tuple[float, list[Any]]:
    start = time.perf_counter()
    results = batch(executor=executor)
    return time.perf_counter() - start, results


def differing(one: list[Any], other: list[Any]) -> int:
    """Refits whose numbers differ in any bit."""
    same = [
        type(a) is type(b) and (a == b if isinstance(a, Failure) else all(np.array_equal(a[k], b[k]) for k in a))
        for a, b in zip(one, other, strict=True)
    ]
    return same.count(False)


def measure(tasks: list[Task], workers: int) -> list[dict[str, Any]]:
    """A row a way of running the batch."""
    from distributed import LocalCluster

    run_batch(refit, tasks[:1])  # compiled, and in the cache of kernels
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(bayescale.open_executor(workers))
        start = time.perf_counter()
        cluster = stack.enter_context(LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None))
        client = stack.enter_context(bayescale.open_executor(cluster.scheduler_address))
        started = time.perf_counter() - start
        ways = {"in process": None, f"{workers} worker processes": pool, f"Dask cluster of {workers}": client}
        first, expected = in_turns(ways, tasks)
        again, repeated = in_turns(ways, tasks)
    here = expected["in process"]
    return [
        {
            "how": how,
            "cold_seconds": None if executor is None else first[how] + started * (executor is client),
            "seconds": again[how],
            "ratio": again[how] / again["in process"],
            "differing": differing(here, expected[how]) + differing(here, repeated[how]),
            "failed": sum(isinstance(result, Failure) for result in expected[how]),
        }
        for how, executor in ways.items()
    ]


def in_turns(ways: dict[str, Any], tasks: list[Task]) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Seconds and results of every way, some of the tasks at a time: a machine's speed may change within minutes."""
    seconds, results = dict.fromkeys(ways, 0.0), {how: [] for how in ways}
    for some in np.array_split(np.arange(len(tasks)), TURNS):
        batch = functools.partial(run_batch, refit, [tasks[i] for i in some])
        for how, executor in ways.items():
            took, found = timed(batch, executor)
            seconds[how] += took
            results[how] += found
    return seconds, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", help="CSV of runs with params, tokens, loss")
    parser.add_argument("--refits", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--law", default="chinchilla")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    runs = bayescale.read_runs(given.runs) if given.runs else simulated(240)
    rows = measure(make_tasks(runs, given.refits, given.law), given.workers)
    about = {"refits": given.refits, "runs": runs.sizes["run"], "law": given.law, "cpus": os.cpu_count()}
    if given.json:
        json.dump(about | {"rows": rows}, sys.stdout, indent=2)
        print()
        return
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"{'':22}  from start [s]  workers up [s]  ratio  a refit [s]  differing  failed")
    for row in rows:
        cold = "" if row["cold_seconds"] is None else f"{row['cold_seconds']:.1f}"
        print(
            f"{row['how']:22}  {cold:>14}  {row['seconds']:14.1f}  {row['ratio']:5.2f}  "
            f"{row['seconds'] / given.refits:11.2f}  {row['differing']:9d}  {row['failed']:6d}"
        )


if __name__ == "__main__":
    main()
