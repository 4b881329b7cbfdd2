"""PSIS-LOO, mended, against leaving every run out and fitting again.

    python -m benchmarks.compare_exact RUNS.csv TABLE.csv --laws chinchilla,coupled,kaplan [--draws 500]   # resumable

A refit a run and law, 2 chains of 500 draws, with reference constants (and so priors) of the whole fit: 240 runs take a
few minutes a law.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logsumexp

import bayescale
from bayescale.evidence.loo import log_likelihood, loo
from bayescale.fitting import sampling
from bayescale.fitting.fit import refit
from bayescale.study import Study

SETTINGS = ((500, 0.9),)  # tuning, target acceptance: hundreds of refits need no gate each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--laws", default="chinchilla,coupled,kaplan")
    parser.add_argument("--draws", type=int, default=500)
    args = parser.parse_args()
    runs = bayescale.read_runs(args.runs)
    rows = pd.read_csv(args.table).to_dict("records") if args.table.exists() else []
    usual = sampling.SETTINGS
    for law in args.laws.split(","):
        done = {row["run"] for row in rows if row["law"] == law}
        if len(done) == runs.sizes["run"]:
            continue
        sampling.SETTINGS = usual
        fit = bayescale.fit(runs, law, draws=2000)  # as fit_laws does
        estimate = loo(fit)
        sampling.SETTINGS = SETTINGS
        for run in sorted(set(range(runs.sizes["run"])) - done):
            kept = np.arange(runs.sizes["run"]) != run
            again = refit(Study.opened(fit), kept, draws=args.draws, chains=2, seed=1000 + run)
            left_out = log_likelihood(again).isel(run=run).values.ravel()
            exact = logsumexp(left_out) - np.log(left_out.size)
            # Monte Carlo error of the log of a mean of (nearly) independent draws
            density = np.exp(left_out - left_out.max())
            row = {"law": law, "run": run, "exact": exact, "mcse": density.std() / density.mean() / len(density) ** 0.5}
            row |= {name: estimate[name].values[run] for name in ("elpd_loo", "pareto_k", "mended")}
            rows.append(row)
            if run % 20 == 0 or run == runs.sizes["run"] - 1:
                pd.DataFrame(rows).to_csv(args.table, index=False)
                print(law, run, flush=True)
    table = pd.DataFrame(rows)
    table["difference"] = table["elpd_loo"] - table["exact"]
    table["mcse2"] = table["mcse"] ** 2
    grouped = table.groupby("law", sort=False)
    total = (
        grouped[["elpd_loo", "exact", "difference"]]
        .sum()
        .assign(
            mc_error=np.sqrt(grouped["mcse2"].sum()),
            largest=grouped["difference"].apply(lambda d: d.abs().max()),
            k_max=grouped["pareto_k"].max(),
            mended=grouped["mended"].sum(),
        )
    )
    print(total.round(3).to_string())


if __name__ == "__main__":
    main()
