"""How many times the shift of text do losses of other kinds need? Sources of such losses, each left out.

    python -m benchmarks.other_losses STUDIES

Taken are the studies whose smallest loss is below TEXT_NATS_MIN. Their larger runs are forecast from the smaller ones,
as in ``derive_drift``, with the shipped drift of text and TIMES its shift. Printed by source: shares held, CRPS and
interval score of the 90 % band [log loss]; then the factor of the least log CRPS + log interval score over all sources,
and over the others of each source, with what that source is then held.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale
from bayescale.forecasts.curve import sample_curve, with_noise
from bayescale.forecasts.discrepancy import shipped_prior
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.planned import planned_runs
from bayescale.runs.loss_unit import is_text
from bayescale.study import Study
from benchmarks.derive_drift import source, splits

TIMES = (1, 2, 3, 4, 5)
LEVELS = (0.5, 0.8, 0.9)


def judged(path: Path, runs: pd.DataFrame) -> list[dict]:
    rows = []
    for horizon, train, test in splits(runs):
        fit = bayescale.fit(train[["params", "tokens", "compute", "loss"]], seed=1, quick=True, allow_unconverged=True)
        study = Study.opened(fit)
        found = discrepancy_of(study, shipped_prior())
        points = planned_runs(study, test["params"], test["tokens"], {})
        observed = np.log(test["loss"].to_numpy())
        for times in TIMES:
            prior = dataclasses.replace(found.prior, shift=times * found.prior.shift)
            rng = np.random.default_rng(1)
            curve = sample_curve(dataclasses.replace(found, prior=prior), points, rng, apart=True)
            draws = sum(with_noise(study, points, curve, rng).values())
            row = {"source": source(path.stem), "study": path.stem, "horizon": horizon, "times": times}
            for level in LEVELS:
                low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
                row[f"held {level:.0%}"] = ((low <= observed) & (observed <= high)).mean()
            outside = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
            row["interval score"] = np.log((high - low + 20 * outside).mean())
            ordered, count = np.sort(draws, axis=0), len(draws)
            spread = ((2 * np.arange(1, count + 1) - count - 1)[:, None] * ordered).sum(axis=0) / count**2
            row["CRPS"] = np.log((np.abs(draws - observed).mean(axis=0) - spread).mean())
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path)
    args = parser.parse_args()
    rows = []
    for path in sorted(args.studies.glob("*.csv")):
        runs = pd.read_csv(path)
        if not is_text(runs["loss"].to_numpy(), {}):
            rows += judged(path, runs)
    numbers = [*(f"held {level:.0%}" for level in LEVELS), "CRPS", "interval score"]
    table = pd.DataFrame(rows).groupby(["source", "times"])[numbers].mean()
    shown = table.assign(**{name: np.exp(table[name]) for name in ("CRPS", "interval score")})
    print(shown.round(4).to_string())
    score = (table["CRPS"] + table["interval score"]).unstack("times")
    print("least over all sources:", score.mean().idxmin(), "times")
    for left_out in score.index:
        times = score.drop(index=left_out).mean().idxmin()
        print(f"{left_out} left out: {times} times; held {shown.loc[(left_out, times), 'held 90%']:.2f} at 90 %")


if __name__ == "__main__":
    main()
