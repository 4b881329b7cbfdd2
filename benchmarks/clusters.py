"""Are bands of the constants as wide as a bootstrap of whole clusters says?

Runs are resampled by cluster (a budget, a size, a family), the law is fitted to each sample, and the spread of its
constants is set beside the posterior's: as of independent runs, and stretched by the clusters that the fit finds.

    python -m benchmarks.clusters FOLDER [--studies llama3-isoflop,...] [--law coupled] [--samples 100]

The folder has a CSV a study. A ratio of 1 is right, above 1 the band is too narrow.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale
from bayescale.errors import BayescaleError
from bayescale.fitting.clusters import CLUSTERS_MIN, RUNS_A_CLUSTER_MIN, alike, clustered_posterior, clusters_of
from bayescale.study import Study

STUDIES = "llama3-isoflop,chinchilla-epoch,gemstones-cooldown,porian-rw-tuned-short-const,marin-dclm"
SHOWN = ("a", "alpha", "E")
COLUMNS = ("compute", "params", "family")  # that a study may have clusters by


def spread(values: np.ndarray) -> float:
    """Half the width of the middle 68 %: a bootstrap has outliers."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def bootstrap(runs: pd.DataFrame, law: str, members: np.ndarray, samples: int, seed: int) -> dict[str, np.ndarray]:
    """Posterior medians of fits to samples of whole clusters."""
    rng, found = np.random.default_rng(seed), {name: [] for name in SHOWN}
    rows = [np.flatnonzero(members == cluster) for cluster in range(members.max() + 1)]
    for _ in range(samples):
        drawn = np.concatenate([rows[cluster] for cluster in rng.integers(0, len(rows), len(rows))])
        try:
            fit = bayescale.fit(runs.iloc[drawn], law, quick=True, seed=seed, allow_unconverged=True)
        except BayescaleError:  # a sample of too few sizes
            continue
        for name in SHOWN:
            found[name].append(float(fit["posterior"][name].median()))
    return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", default=STUDIES)
    parser.add_argument("--law", default="coupled")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("bootstrap by cluster over the posterior of independent runs -> over the band that is shown")
    for name in given.studies.split(","):
        runs = pd.read_csv(given.folder / f"{name}.csv")
        study = Study.opened(bayescale.fit(runs, given.law, seed=given.seed, allow_unconverged=True))
        found, stretched = clusters_of(study), clustered_posterior(study)
        print(f"{name}: {f'{found.count} clusters by {found.column}, ratio {found.ratio:.1f}' if found else 'none'}")
        for column in COLUMNS:
            if column not in runs:
                continue
            members = alike(runs[column].to_numpy(float if runs[column].dtype.kind in "if" else str))
            if not CLUSTERS_MIN <= members.max() + 1 <= len(members) / RUNS_A_CLUSTER_MIN:
                continue
            again = bootstrap(runs, given.law, members, given.samples, given.seed)
            told = [
                f"{shown} {spread(again[shown]) / spread(study.posterior[shown].values):.2f}"
                f" -> {spread(again[shown]) / spread(stretched[shown].values):.2f}"
                for shown in SHOWN
            ]
            print(f"  by {column} ({members.max() + 1}): {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
