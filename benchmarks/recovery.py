"""Are the parameters of every law recovered from runs that the law itself has made?

Constants are drawn from the priors, runs are made over the published range of the inputs with noise as real runs have,
the law is fitted, and the 90 % bands of its parameters are compared with the truth. Parameters that a fit itself calls
not identified are counted apart. Nothing is tuned: a set whose chains do not converge is counted and left out.

    python -m benchmarks.recovery [LAW ...] [--sets 40] [--folder FOLDER] [--table docs/recovery.csv]

A killed run goes on where it was: every set is a file of its own in the folder.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import bayescale
from bayescale.fitting.diagnostics import diagnostics
from bayescale.jobs.files import write_table
from bayescale.laws.law import (
    Law,
    column,
    law_derived,
    law_loss,
    law_names,
    load_law,
    reference_constants,
    sample_priors,
)
from bayescale.laws.scatter import Scatter
from bayescale.runs.read import read_runs

RUNS = 60
SIGMA, NU = 0.004, 6.0  # scatter of log loss, and its degrees of freedom
ITEMS = 2000
OVERDISPERSION = 0.002


def simulated(law: Law, seed: int, count: int = RUNS) -> tuple[xr.Dataset, dict[str, float]]:
    """Runs of a law with constants from its priors, and the parameters as they are in units of these runs."""
    rng = np.random.default_rng([seed, sum(map(ord, law.name))])
    while True:
        truth = {name: float(value[0]) for name, value in sample_priors(law, 1, rng).items()}
        columns, observed = _runs(law, truth, count, rng)
        if not np.isfinite(observed).all():
            continue
        if law.observed.scale == "log":
            # constants far in the tails of all priors at once make losses that nobody has seen
            if observed.min() <= 0 or observed.max() / observed.min() > 1e3 or np.ptp(np.log(observed)) < 0.02:
                continue
        elif law.observed.scale == "proportion" and not (0.02 < observed.mean() < 0.98 and np.ptp(observed) > 0.1):
            continue
        units = {"loss": "nats"} if law.observed.column == "loss" else None  # large losses are no perplexities here
        return read_runs(columns | {law.observed.column: observed}, law, units=units), truth


def _runs(
    law: Law, truth: dict[str, float], count: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    inputs = {}
    for symbol, (low, high) in law.range.items():
        levels = rng.uniform(size=count)
        inputs[symbol] = low * (high / low) ** levels if low > 0 else low + (high - low) * levels
    for symbol in ("experts", "granularity", "answer_tokens", "samples"):
        if symbol in inputs:
            inputs[symbol] = np.round(inputs[symbol])
    if "unique_tokens" in inputs:
        inputs["unique_tokens"] = np.minimum(inputs["unique_tokens"], inputs["D"])
    columns = {column(symbol): values for symbol, values in inputs.items()}
    noise = rng.standard_t(NU, count)
    low, span = (-4.0, 3.0) if law.observed.scale == "linear" else (2.0, 1.0)
    # the priors are relative to the smallest observed value, which is known once the runs are made: rounds settle it
    for _ in range(50):
        constants = reference_constants(law, columns | {law.observed.column: np.array([low, low + span])})
        made = np.broadcast_to(law_loss(law, truth | constants | inputs), count)
        if law.observed.scale == "proportion":
            values = {"overdispersion": np.full(count, OVERDISPERSION)}
            share = Scatter.of(law).sample(made, {"count": np.full(count, ITEMS)}, values, rng)
            return columns | {law.observed.count: np.full(count, float(ITEMS))}, share
        if law.observed.scale == "linear":
            observed = made + SIGMA * span * noise
            smallest, range_ = observed.min(), np.ptp(observed)
            truth["middle"] = (low + span * truth["middle"] - smallest) / range_
            for name in truth.keys() & {"slope_nv", "slope_v", "slope_d"}:
                truth[name] *= span / range_
            return columns, observed
        observed = made * np.exp(SIGMA * noise)
        ratio = observed.min() / low
        if not np.isfinite(observed).all() or ratio <= 0 or abs(np.log(ratio)) < 1e-10:
            break
        if "level" in truth:
            truth["level"] /= ratio
        else:
            low *= ratio
    return columns, observed


def one_set(law: Law, seed: int) -> pd.DataFrame:
    """One simulation, a row a parameter: truth, quantiles, whether the band holds it and whether it is identified."""
    runs, truth = simulated(law, seed)
    started = time.perf_counter()
    tree = bayescale.fit(runs, law, seed=seed, allow_unconverged=True)
    seconds = time.perf_counter() - started
    report, posterior = diagnostics(tree), tree["posterior"]
    constants = {name: float(tree["constant_data"][name]) for name in law.constants}
    truth = truth | {name: value for name, value in law_derived(law, truth | constants).items() if name not in truth}
    rows = []
    for name in law.priors:
        low, middle, high = np.quantile(posterior[name], [0.05, 0.5, 0.95])
        rows.append(
            {
                "law": law.name,
                "set": seed,
                "parameter": name,
                "truth": truth[name],
                "q05": low,
                "q50": middle,
                "q95": high,
                "held": int(low <= truth[name] <= high),
                "identified": int(name not in report["not_identified"]),
                "converged": int(report["converged"]),
                "seconds": seconds,
            }
        )
    return pd.DataFrame(rows)


def summed(rows: pd.DataFrame) -> dict[str, float | int]:
    kept = rows[(rows.converged == 1) & (rows.identified == 1)]
    by_set = rows.groupby(["law", "set"]).converged.first()
    return {
        "sets": int(by_set.size),
        "converged": int(by_set.sum()),
        "identified": round(float(rows.identified.mean()), 3),
        "bands": len(kept),
        "held": round(float(kept.held.mean()), 3) if len(kept) else float("nan"),
        "seconds": round(float(rows.groupby(["law", "set"]).seconds.first().median()), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("laws", nargs="*", default=law_names())
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=Path("recovery"))
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in given.laws:
        law, tables = load_law(name), []
        for seed in range(given.sets):
            path = given.folder / f"{law.name}-{seed}.csv"
            if not path.exists():
                write_table(one_set(law, seed), path)
            tables.append(pd.read_csv(path))
        rows = pd.concat(tables)
        found.append(rows)
        print(f"{law.name:20s} {summed(rows)}", flush=True)
        worst = rows[(rows.converged == 1) & (rows.identified == 1)].groupby("parameter").held.agg(["mean", "size"])
        print(
            "    " + ", ".join(f"{p} {row['mean']:.2f} of {row['size']:.0f}" for p, row in worst.iterrows()), flush=True
        )
    rows = pd.concat(found)
    print(f"all {summed(rows)}")
    if given.table:
        table = pd.DataFrame([{"law": name} | summed(part) for name, part in rows.groupby("law")])
        write_table(pd.concat([table, pd.DataFrame([{"law": "all"} | summed(rows)])]), given.table)


if __name__ == "__main__":
    main()
