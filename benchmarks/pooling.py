"""What groups of few runs gain by borrowing: larger runs of a group of which the eight smallest are left.

``python -m benchmarks.pooling STUDIES`` fits, of each source with several studies, one study's eight smallest runs
together with all runs of the others (``group=``), and alone, and forecasts that study's larger runs. It prints, by
source, CRPS of log loss and coverage of 90 % bands of both, and the ratio; last the geometric mean.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale as bs

SOURCES = ("porian", "marin", "laion", "loss2loss", "xlstm")
LEFT = 8  # runs of the group that is forecast


def crps(draws: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score [point] of draws [draw, point]."""
    ordered, count = np.sort(draws, axis=0), len(draws)
    weight = (2 * np.arange(1, count + 1) - count - 1)[:, None]
    return np.abs(draws - seen).mean(axis=0) - (weight * ordered).sum(axis=0) / count**2


def scores(train: pd.DataFrame, test: pd.DataFrame, law: str, group: str | None) -> tuple[float, float]:
    """CRPS of log loss and coverage of the 90 % band."""
    fit = bs.fit(train, law, group=None if group is None else "study", allow_unconverged=True, clusters="none")
    at = {} if group is None else {"covariates": {"group": group}}
    drawn = bs.forecast(fit, test["params"].values, test["tokens"].values, **at)["predictions"]["loss"]
    log_loss, seen = np.log(drawn.values.reshape(-1, len(test))), np.log(test["loss"].values)
    low, high = np.quantile(log_loss, [0.05, 0.95], axis=0)
    return float(crps(log_loss, seen).mean()), float(((low <= seen) & (seen <= high)).mean())


def main(folder: str, law: str = "coupled", *sources: str) -> None:
    means, coverage = {}, []
    for source in sources or SOURCES:
        studies = {path.stem: pd.read_csv(path) for path in sorted(Path(folder).glob(f"{source}-*.csv"))}
        columns = ["params", "tokens", "compute", "loss"]
        found = []
        for name, runs in studies.items():
            runs = runs[columns].sort_values("compute", kind="stable").assign(study=name)
            few, test = runs[:LEFT], runs[LEFT:]
            others = [other[columns].assign(study=key) for key, other in studies.items() if key != name]
            pooled = scores(pd.concat([few, *others], ignore_index=True), test, law, name)
            alone = scores(few.drop(columns="study").reset_index(drop=True), test, law, None)
            found.append((*pooled, *alone))
            print(
                f"  {name}: CRPS {pooled[0]:.4f} alone {alone[0]:.4f}; held {pooled[1]:.2f} {alone[1]:.2f}", flush=True
            )
        pooled, held, alone, held_alone = np.array(found).T
        coverage.append((held.mean(), held_alone.mean()))
        means[source] = float(np.exp(np.mean(np.log(pooled / alone))))
        print(f"{source}: ratio {means[source]:.2f}; held {held.mean():.2f}, alone {held_alone.mean():.2f}", flush=True)
    both = np.mean(coverage, axis=0)
    print(f"geometric mean over sources: {np.exp(np.mean(np.log(list(means.values())))):.3f}; ", end="")
    print(f"held {both[0]:.2f}, alone {both[1]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
