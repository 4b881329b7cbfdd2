"""How good are decisions? Splits chosen from the smaller runs of real studies, judged by all of their runs.

    python -m benchmarks.decisions STUDIES [--decades 1] [-o decisions.csv]

For every study the runs at least ``--decades`` of compute below the largest are learnt from, and the budget of the
largest run is split: by least expected loss with the law's error of exchange, by the law alone, at the median of N*,
at 20 tokens per parameter. The judge is the law fitted to all runs, whose loss at each split, less its least, is the
regret.
That judge is of the same family as what it judges; where five or more runs of nearly the same compute, the largest,
were made, a parabola through their measured losses judges too (``measured``).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from bayescale.budgets.decide import decide
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import problem_of
from bayescale.budgets.surface import loss_at
from bayescale.errors import FitError
from bayescale.fitting.fit import fit
from bayescale.runs.read import read_runs
from bayescale.study import Study


def judged(path: Path, decades: float) -> list[dict]:
    runs = read_runs(path)
    compute = runs["compute"].values
    small = runs.isel(run=compute <= compute.max() * 10**-decades * 1.0001)
    if small.sizes["run"] < 12 or len(np.unique(small["params"])) < 4:
        return []
    budget = float(compute.max())
    learnt, judge = fit(small, allow_unconverged=True), fit(runs, allow_unconverged=True)
    problem = problem_of(Study.opened(judge))
    row = np.array([[budget]])
    least = best_split(problem, row).loss
    rows = []
    for discrepancy in (True, False):
        result = decide(learnt, budget, discrepancy=discrepancy)
        for i, choice in enumerate(result["choice"].values):
            N = float(result["N"][0, i])
            loss = loss_at(problem.surface, np.full((1, 1), N), row / (6 * N))
            name = f"{choice}, drift" if discrepancy else str(choice)
            regret = float(np.median((loss - least) / least))
            expected = float(result["expected_regret"][0, i])
            rows.append(
                {
                    "study": path.stem,
                    "runs": small.sizes["run"],
                    "choice": name,
                    "N": N,
                    "tokens_per_param": budget / (6 * N * N),
                    "regret": regret,
                    "expected_regret": expected,
                    "measured": _measured(runs, N),
                }
            )
    return rows


def _measured(runs, N: float, within: float = 1.15) -> float:
    """Regret by the parabola of log loss over log N through the runs of the largest compute; NaN without one."""
    compute = runs["compute"].values
    group = runs.isel(run=compute >= compute.max() / within)
    x, y = np.log(group["params"].values), np.log(group["loss"].values)
    if len(np.unique(x)) < 5:
        return np.nan
    bend, slope, _ = np.polyfit(x, y, 2)
    vertex = -slope / (2 * bend)
    if bend <= 0 or not x.min() <= vertex <= x.max():
        return np.nan
    return float(bend * (np.log(N) - vertex) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path)
    parser.add_argument("--decades", type=float, default=1.0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    rows = []
    for path in sorted(args.studies.glob("*.csv")):
        try:
            rows += judged(path, args.decades)
        except FitError as error:
            print(f"{path.stem}: {error}")
        print(path.stem, flush=True)
    table = pd.DataFrame(rows)
    if args.output:
        table.to_csv(args.output, index=False, float_format="%.6g")
    wide = table.pivot(index="study", columns="choice", values="regret")
    print((100 * wide).round(3).to_string())
    print((100 * wide.agg(["mean", "median", "max"])).round(3).to_string())
    print((100 * table.groupby("choice")[["expected_regret", "measured"]].mean()).round(3).to_string())
    print((100 * table.pivot(index="study", columns="choice", values="measured").dropna()).round(3).to_string())


if __name__ == "__main__":
    main()
