"""Do bands of an accuracy that follows from a loss hold the models of the largest decade of compute?

    python -m benchmarks.links FOLDER [--sources dclm laion pythia]

FOLDER holds dclm.csv, laion-clip.csv and pythia_evals.csv, each with params, tokens, loss and accuracies. Of every task
the models below the largest decade are fitted by `accuracy_sigmoid` as the law of a share, and the accuracies of the
others forecast through a forecast of their loss from compute. Told is the share inside the 50 and 90 % bands, with the
error of the link and without it, and the CRPS of both and of two that know the loss: the law at it (a point), and
a sigmoid fitted to resampled models.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import least_squares
from scipy.special import expit

import bayescale
from bayescale.errors import FitError
from bayescale.laws.own_priors import without_count
from bayescale.study import Study

DECADE = 1.0
RESAMPLES = 100
RISE_MIN = 1.0  # in sd of the models of one size: tasks on which size shows among the models fitted
LEVELS = {"50": (0.25, 0.75), "90": (0.05, 0.95)}


def studies(folder: Path) -> dict[tuple[str, str], pd.DataFrame]:
    """Models with compute, loss and accuracy, by source and task."""
    found = {}
    dclm = pd.read_csv(folder / "dclm.csv").query("loss < 3")
    for task, models in dclm.groupby("task"):
        small, middle = (models[models.params == size].accuracy for size in sorted(dclm.params.unique())[:2])
        if middle.mean() > 0.1 and middle.mean() - small.mean() > RISE_MIN * middle.std():
            found["dclm", task] = models
    laion = pd.read_csv(folder / "laion-clip.csv")
    for (task, data), models in laion.groupby(["task", laion.model.str.split("|").str[0]]):
        found["laion", f"{task}, {data}"] = models
    pythia = pd.read_csv(folder / "pythia_evals.csv")
    for (family, shot), models in pythia[pythia.tokens > 0].groupby(["family", "shot"]):
        for name in (column for column in pythia if column.startswith("accuracy_")):
            found["pythia", f"{name[9:]}, {family}, {shot}"] = models.assign(accuracy=models[name])
    return {key: _cleaned(models) for key, models in found.items()}


def _cleaned(models: pd.DataFrame) -> pd.DataFrame:
    compute = 6.0 * models.params.astype(float) * models.tokens
    return models.assign(compute=compute, accuracy=models.accuracy.clip(1e-3, 1 - 1e-3))


def draws_of(tree: xr.DataTree, name: str) -> np.ndarray:
    return tree["predictions"][name].stack(sample=("chain", "draw")).transpose("sample", "point").values


def crps(draws: np.ndarray, seen: np.ndarray) -> float:
    """Mean over points of draws [draw, point]."""
    ordered, count = np.sort(draws, axis=0), len(draws)
    weight = (2 * np.arange(1, count + 1) - count - 1)[:, None]
    return float((np.abs(draws - seen).mean(axis=0) - (weight * ordered).sum(axis=0) / count**2).mean())


def resampled(small: pd.DataFrame, losses: np.ndarray) -> np.ndarray:
    """What sigmoids of the loss that are fitted to resampled models say [resample, point]."""

    def curve(p: np.ndarray, x: np.ndarray) -> np.ndarray:
        return p[0] + p[1] * expit(p[2] * (p[3] - x))

    rng, start, found = np.random.default_rng(0), [0.25, 0.6, 1.0, small.loss.mean()], []
    for _ in range(RESAMPLES):
        some = small.iloc[rng.integers(len(small), size=len(small))]
        fitted = least_squares(lambda p, x=some.loss, y=some.accuracy: curve(p, x) - y, start, max_nfev=400)
        found.append(curve(fitted.x, losses))
    return np.array(found)


def without_error(fit: xr.DataTree, tree: xr.DataTree) -> np.ndarray:
    """Draws of the law and its noise alone [draw, point]."""
    study, points = Study.opened(fit), tree["predictions_constant_data"].to_dataset()
    law = draws_of(tree, "law_accuracy")
    return np.asarray(study.scatter.sample(law, study.covariates(points), study.draws, np.random.default_rng(0)))


def scored(models: pd.DataFrame) -> dict[str, float]:
    large = np.log10(models.compute) > np.log10(models.compute.max()) - DECADE
    small, new = models[~large], models[large]
    fit = bayescale.fit(
        small[["loss", "accuracy"]], without_count(bayescale.load_law("accuracy_sigmoid")), allow_unconverged=True
    )
    losses = new.loss.to_numpy()
    by_compute = bayescale.fit(small[["compute", "loss"]], "floor_compute", allow_unconverged=True)
    given = bayescale.forecast(by_compute, compute=new.compute.to_numpy())
    seen, row = new.accuracy.to_numpy(), {}
    tree = bayescale.forecast(fit, covariates={"loss": given})
    for name, shown in {"": draws_of(tree, "accuracy"), "_without": without_error(fit, tree)}.items():
        for level, ends in LEVELS.items():
            low, high = np.quantile(shown, ends, axis=0)
            row[f"held{level}{name}"] = float(((seen >= low) & (seen <= high)).mean())
        row[f"crps{name}"] = crps(shown, seen)
    point = np.median(draws_of(bayescale.forecast(fit, covariates={"loss": losses}), "law_accuracy"), axis=0)
    row["crps_point"] = float(np.abs(point - seen).mean())
    row["crps_resampled"] = crps(resampled(small, losses), seen)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", nargs="*", default=["dclm", "laion", "pythia"])
    given = parser.parse_args()
    rows = []
    for (source, task), models in studies(given.folder).items():
        if source in given.sources:
            try:
                with warnings.catch_warnings(action="ignore"):
                    rows.append({"source": source, "task": task, **scored(models)})
            except FitError as error:  # all models that it would learn from score alike
                print(source, task, f"left out: {error}")
                continue
            print(
                source,
                task,
                {name: round(value, 3) for name, value in rows[-1].items() if name[:4] in ("held", "crps")},
            )
    table = pd.DataFrame(rows).drop(columns="task").groupby("source")
    print(table.mean().assign(tasks=table.size()).round(3).T.to_string())


if __name__ == "__main__":
    main()
