"""How far from where a decision expects it does the best split lie? Small budgets of real isoFLOP sweeps, large ones.

    python -m benchmarks.exchange STUDIES [-o exchange.csv]

The runs of a sweep that lie .5, 1 and 1.5 decades below its largest are learnt from. The best size of every larger
budget is the minimum of a parabola of log loss over log N through its runs (those within 4 % of the least loss, five
sizes at least, the minimum inside them); its own error is that of the parabola. Figures are means over the budgets of a
cut, the cuts of a study, the studies of a source (a file's name up to its first "-"), sources alike. The last line is
the sd of the error of ln N* beyond that of the parabola and of the posterior: EXCHANGE_SD of ``exchange.py``.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from bayescale.budgets.approaches import budgets_in
from bayescale.budgets.decide import decide
from bayescale.errors import FitError, RunsError
from bayescale.fitting.fit import fit
from bayescale.runs.read import read_runs

DECADES = (0.5, 1.0, 1.5)
NEAR = 0.04  # of log loss above the least of a budget: beyond it a parabola is no longer the law's shape
LEAST_SIZES = 5
LEAST_RUNS = 12


def minima(runs) -> list[tuple[float, float, float, float]]:
    """(budget, ln N at the minimum, its standard error, curvature of log loss there) of every budget that has one."""
    log_n, log_loss = np.log(runs["params"].values), np.log(runs["loss"].values)
    spent = 6 * runs["params"].values * runs["tokens"].values
    found = []
    for group in budgets_in(np.log(spent)):
        group = group[log_loss[group] < log_loss[group].min() + NEAR]
        x, y = log_n[group], log_loss[group]
        if len(np.unique(x)) < LEAST_SIZES:
            continue
        centre = x.mean()
        design = np.vander(x - centre, 3)
        (bend, slope, _), residual, *_ = np.linalg.lstsq(design, y, rcond=None)
        vertex = -slope / (2 * bend)
        if bend <= 0 or not x.min() - centre + 0.05 < vertex < x.max() - centre - 0.05:
            continue
        variance = residual.sum() / max(len(x) - 3, 1) * np.linalg.inv(design.T @ design)
        by = np.array([-vertex / bend, -1 / (2 * bend)])  # derivatives of the vertex
        found.append((np.exp(np.log(spent[group]).mean()), centre + vertex, np.sqrt(by @ variance[:2, :2] @ by), bend))
    return found


def judged(path: Path) -> list[dict]:
    runs = read_runs(path)
    compute = 6 * runs["params"].values * runs["tokens"].values
    truths = minima(runs)
    rows = []
    for decades in DECADES:
        cut = compute.max() * 10**-decades
        small = runs.isel(run=np.flatnonzero(compute <= cut * 1.0001))
        later = [truth for truth in truths if truth[0] > 1.07 * cut]
        span = np.ptp(np.log10(compute[compute <= cut * 1.0001])) if small.sizes["run"] else 0.0
        enough = small.sizes["run"] >= LEAST_RUNS and len(np.unique(small["params"])) >= 4 and span >= 0.7 * decades
        if not later or not enough or len(truths) < 4:
            continue
        learnt = fit(small, quick=True, allow_unconverged=True)
        budgets = [truth[0] for truth in later]
        decisions = {wrong: decide(learnt, budgets, discrepancy=wrong) for wrong in (True, False)}
        for i, (budget, log_n, se, bend) in enumerate(later):
            row = {"source": path.stem.split("-")[0], "study": path.stem, "decades": decades, "compute": budget}
            row["se"] = se
            for wrong, name in ((True, "decision"), (False, "law")):
                one = decisions[wrong].isel(budget=i)
                error = float(np.log(one["N"].values[0])) - log_n
                row |= {f"{name}_error": error, f"{name}_regret": 100 * bend * error**2}
                row[f"{name}_expected"] = 100 * float(one["expected_regret"].values[0])
            twenty = 0.5 * np.log(budget / 120) - log_n
            row |= {"twenty_error": twenty, "twenty_regret": 100 * bend * twenty**2}
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    rows = []
    for path in sorted(args.studies.glob("*.csv")):
        try:
            rows += judged(path)
        except (FitError, RunsError) as error:
            print(f"{path.stem}: {error}")
    table = pd.DataFrame(rows)
    if args.output:
        table.to_csv(args.output, index=False, float_format="%.5g")
    for name in ("decision", "law", "twenty"):
        table[f"{name}_square"] = table[f"{name}_error"] ** 2
    table["beyond"] = table["decision_square"] - table["se"] ** 2
    names = [name for name in table if name.endswith(("_square", "_regret", "_expected", "beyond"))]
    by_source = table.groupby(["source", "study", "decades"])[names].mean().groupby("source").mean()
    print(f"{table.study.nunique()} studies, {len(table)} budgets")
    print(by_source.round(4).to_string())
    print(by_source.mean().round(4).to_string())
    print(f"sd of ln N* beyond the parabolas' own: {np.sqrt(max(by_source['beyond'].mean(), 0.0)):.3f}")


if __name__ == "__main__":
    main()
