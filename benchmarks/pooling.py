"""What groups of few runs gain by borrowing: larger runs of a group forecast with the runs of the others.

    python -m benchmarks.pooling STUDIES [LAW SOURCE ...]

Of each source with several studies some runs of one study are fitted with all runs of the others (``group=``),
and alone, and that study's larger runs are forecast: once from its eight smallest runs, once from all but those of its
largest decade of compute. Told are, by source, CRPS of log loss and coverage of 90 % bands of both, and the ratio of
CRPS; last the means over sources.
"""

import sys
from collections.abc import Callable
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


def smallest(runs: pd.DataFrame) -> np.ndarray:
    """Whether a run is one of the eight smallest [run], of runs in order of compute."""
    return np.arange(len(runs)) < LEFT


def below_the_largest_decade(runs: pd.DataFrame) -> np.ndarray:
    return (runs["compute"] <= 0.1 * runs["compute"].max()).to_numpy()


def main(folder: str, law: str = "coupled", *sources: str) -> None:
    for kept in (smallest, below_the_largest_decade):
        print(f"from the runs that are {kept.__name__.replace('_', ' ')}:")
        of_sources = np.array([scored(folder, source, law, kept) for source in sources or SOURCES])
        ratio, (held, held_alone) = np.exp(np.log(of_sources[:, 0]).mean()), of_sources[:, 1:].mean(axis=0)
        print(f"all sources alike: ratio {ratio:.3f}; held {held:.2f}, alone {held_alone:.2f}", flush=True)


def scored(folder: str, source: str, law: str, kept: Callable[[pd.DataFrame], np.ndarray]) -> tuple[float, ...]:
    """Ratio of CRPS, pooled over alone, and coverage of both: means over the studies of a source."""
    columns, found = ["params", "tokens", "compute", "loss"], []
    studies = {path.stem: pd.read_csv(path)[columns] for path in sorted(Path(folder).glob(f"{source}-*.csv"))}
    for name, runs in studies.items():
        runs = runs.sort_values("compute", kind="stable").assign(study=name)
        few, test = runs[kept(runs)], runs[~kept(runs)]
        if len(few) < LEFT:
            continue
        others = [other.assign(study=key) for key, other in studies.items() if key != name]
        pooled = scores(pd.concat([few, *others], ignore_index=True), test, law, name)
        alone = scores(few.drop(columns="study").reset_index(drop=True), test, law, None)
        found.append((*pooled, *alone))
        print(f"  {name}: CRPS {pooled[0]:.4f} alone {alone[0]:.4f}; held {pooled[1]:.2f} {alone[1]:.2f}", flush=True)
    pooled, held, alone, held_alone = np.array(found).T
    ratio = float(np.exp(np.mean(np.log(pooled / alone))))
    print(f"{source}: ratio {ratio:.2f}; held {held.mean():.2f}, alone {held_alone.mean():.2f}", flush=True)
    return ratio, held.mean(), held_alone.mean()


if __name__ == "__main__":
    main(*sys.argv[1:])
