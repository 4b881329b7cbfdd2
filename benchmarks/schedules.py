"""Laws of a learning-rate schedule on curves of several schedules: what they say of schedules they were not fitted to.

    python -m benchmarks.schedules FILE [--running]

FILE has a row a checkpoint: params, family (the schedule), step, lr, loss, split ("train" or "test"), as the curves of
arXiv:2503.12811 have. Each law is fitted to the "train" curves of one size and forecasts the others, at 60 checkpoints
a curve. Printed by size, means over curves: errors of the law's median and of the forecast's, as shares of the loss,
the worst of the law's, and the share inside the forecast's 90 % band; then the errors of the authors' own constants.
With --running each curve is stopped at 40 % of its steps, and its last loss is forecast from these alone.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

import bayescale
from bayescale.runs.schedule import LAWS, PEAK_RATE, of_schedule, rates_of, schedule_cooling

WARMUP = 2160
STOPPED = 0.4
CHECKPOINTS = 60
# L0, A, alpha, B, C, beta, gamma of the authors' repository, whose L0 counts the rise of the warm-up
PRINTED = {
    25e6: (3.040, 0.525, 0.508, 363.788, 2.066, 0.583, 0.641),
    100e6: (2.651, 0.601, 0.453, 437.946, 2.132, 0.598, 0.655),
    400e6: (2.375, 0.654, 0.429, 523.425, 2.025, 0.594, 0.635),
}


def schedule_of(curve: pd.DataFrame) -> np.ndarray:
    """The rate of every step: a linear warm-up, then as at the checkpoints, on a line between them or by a jump."""
    steps, rates = curve["step"].to_numpy(dtype=int), curve["lr"].to_numpy()
    whole = rates_of(steps, rates)
    for i in np.flatnonzero(np.abs(np.diff(rates)) > 0.2 * rates.max()):
        whole[steps[i] : steps[i + 1]] = rates[i + 1]
    whole[:WARMUP] = rates.max() * np.arange(1, WARMUP + 1) / WARMUP
    return whole


def scored(tree: Any, seen: np.ndarray) -> dict[str, float]:
    """Errors of the medians, and how often the 90 % band holds."""
    low, middle, high = np.quantile(tree["predictions"]["loss"], [0.05, 0.5, 0.95], axis=(0, 1))
    by_law = np.abs(np.median(tree["predictions"]["law_loss"], axis=(0, 1)) / seen - 1)
    return {
        "law": by_law.mean(),
        "law_worst": by_law.max(),
        "forecast": np.abs(middle / seen - 1).mean(),
        "held": ((low <= seen) & (seen <= high)).mean(),
        "width": (high / low - 1).mean(),
    }


def of_other_schedules(curves: pd.DataFrame, law: str) -> Iterator[dict[str, float]]:
    parts = [(part, schedule_of(part)) for _, part in curves.groupby("family")]
    learnt = [
        part.assign(**of_schedule(law, rates, part["step"]))
        for part, rates in parts
        if part["split"].iloc[0] == "train"
    ]
    fit = bayescale.fit(pd.concat(learnt)[["loss", *LAWS[law]]], law, seed=1)
    for part, rates in parts:
        if part["split"].iloc[0] == "test":
            some = part.iloc[np.unique(np.linspace(0, len(part) - 1, CHECKPOINTS).astype(int))]
            tree = bayescale.forecast(fit, covariates=of_schedule(law, rates, some["step"]), seed=1)
            yield scored(tree, some["loss"].to_numpy())


def of_running(curves: pd.DataFrame, law: str) -> Iterator[dict[str, float]]:
    for _, curve in curves.groupby("family"):
        rates = schedule_of(curve)
        early = curve[curve["step"] <= STOPPED * len(rates)]
        tree = bayescale.final_loss(early[["step", "loss"]], rates, law=law, seed=1)
        yield scored(tree, curve["loss"].to_numpy()[-1:])


def by_printed(curves: pd.DataFrame, size: float) -> Iterator[dict[str, float]]:
    L0, A, alpha, B, *shape = PRINTED[size]
    for _, part in curves.groupby("family"):
        if part["split"].iloc[0] == "test":
            names = dict(zip(("C", "beta", "gamma"), shape, strict=True))
            S1, cooling = schedule_cooling(schedule_of(part), part["step"], **names)
            errors = np.abs((L0 + A * S1**-alpha + B * PEAK_RATE * (1 - cooling)) / part["loss"] - 1)
            yield {"law": errors.mean(), "law_worst": errors.max()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--running", action="store_true")
    given = parser.parse_args()
    sizes = list(pd.read_csv(given.file).groupby("params"))
    made = {law: (of_running if given.running else of_other_schedules, law) for law in LAWS}
    for law, (scores, name) in made.items():
        rows = [{"params": size, **row} for size, curves in sizes for row in scores(curves, name)]
        table = pd.DataFrame(rows).groupby("params")
        means = table.mean().assign(law_worst=table["law_worst"].max(), curves=table.size())
        print(f"{law}\n{means.round(5).to_string()}", flush=True)
    if not given.running:
        rows = [
            {"params": size, **row} for size, curves in sizes if size in PRINTED for row in by_printed(curves, size)
        ]
        print(f"printed constants\n{pd.DataFrame(rows).groupby('params').mean().round(5).to_string()}")


if __name__ == "__main__":
    main()
