"""Derive the prior of the drift from a folder of studies, and judge it with each study, or family, left out.

    python -m benchmarks.derive_drift STUDIES [--write bayescale/forecasts/drift.toml] [--table docs/drift-scores.csv]

A study is a CSV file of runs. Two things are learnt from all studies:

1. ``log_scale``, ``log_scale_sd``: the distribution of the drift's scale over studies. Each study gives a likelihood of
   its scale (the evidence of its runs, drift integrated out); EM finds the normal distribution of log scale under
   which the studies are most likely.
2. ``spread`` and ``optimism``: how far drifts go beyond the data relative to what their wiggles inside the data
   promise, and by how many conditional standard deviations real losses end below the forecast. The larger runs of
   each study (the top 0.5, 1 and 1.5 decades of compute) are forecast from the smaller ones; the pair is taken under
   which measured losses fall below the forecast's own quantiles as often as stated, as nearly as can be (the least
   squared distance of the mean PIT distribution from the uniform one), splits weighing alike as in the scores.
   The least is flat: the mean of all pairs within twice the least distance is taken, which one study moves less.

Scores are of forecasts whose prior was derived without the study (or without its whole family) that they forecast.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import bayescale
from bayescale.evidence.backtest import MIN_RUNS, MIN_SIZES, MIN_SPAN, scores
from bayescale.forecasts.curve import sample_curve, with_noise
from bayescale.forecasts.discrepancy import DriftPrior, shipped_prior
from bayescale.forecasts.discrepancy_posterior import LOG_SCALES, Discrepancy, discrepancy_of
from bayescale.forecasts.planned import planned_runs
from bayescale.jobs.files import write_table, write_whole
from bayescale.study import Study

HORIZONS = (0.5, 1.0, 1.5)
GRID = [(s, o) for s in np.arange(0.4, 1.01, 0.05).round(2) for o in np.arange(0.0, 1.21, 0.05).round(2)]
QUANTILES = np.arange(0.05, 0.951, 0.05)
FAMILIES = ("porian", "xlstm", "marin")  # studies by the same authors on the same pipeline: one family


@dataclasses.dataclass(frozen=True)
class Split:
    """One forecast of a study's larger runs from its smaller ones."""

    study: str
    horizon: float
    found: Discrepancy
    points: xr.Dataset
    observed: np.ndarray  # log loss [run]


def family(study: str) -> str:
    return next((name for name in FAMILIES if study.startswith(name)), study)


def splits(runs: pd.DataFrame) -> Iterator[tuple[float, pd.DataFrame, pd.DataFrame]]:
    """(horizon, smaller runs, larger runs), where enough is left to learn from and the larger runs are others."""
    scale = np.log10(runs["compute"])
    seen = 0
    for horizon in HORIZONS:
        large = scale > scale.max() - horizon
        if large.sum() == seen:
            continue
        seen = large.sum()
        train = runs[~large]
        if (
            len(train) >= MIN_RUNS
            and train["params"].nunique() >= MIN_SIZES
            and np.ptp(scale[~large]) >= MIN_SPAN * horizon
        ):
            yield horizon, train.reset_index(drop=True), runs[large].reset_index(drop=True)


def scale_distribution(evidence: np.ndarray) -> tuple[float, float]:
    """Mean and sd of log scale over studies, by EM; ``evidence`` [study, scale] of LOG_SCALES."""
    mean, sd = -3.5, 1.5
    for _ in range(500):
        log_posterior = evidence - 0.5 * ((LOG_SCALES - mean) / sd) ** 2
        posterior = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        mean = float((posterior @ LOG_SCALES).mean())
        sd = float(np.sqrt((posterior @ (LOG_SCALES - mean) ** 2).mean()))
    return mean, sd


def draw(split: Split, log_scale: float, log_scale_sd: float, seed: int) -> tuple[np.ndarray, ...]:
    """Draws [draw, run] at spread 0 and no optimism, what spread 1 adds to each, and what one unit of optimism takes.

    At runs less than BEYOND_DECADES beyond the data both constants act in part only; the two differences carry that.
    """

    def total(spread: float, optimism: float) -> np.ndarray:
        prior = DriftPrior(shipped_prior().length, log_scale, log_scale_sd, spread, optimism)
        found, rng = dataclasses.replace(split.found, prior=prior), np.random.default_rng(seed)
        return sum(with_noise(found.study, split.points, sample_curve(found, split.points, rng), rng).values())

    without, with_it, shifted, half = total(0.0, 0.0), total(1.0, 0.0), total(1.0, 1.0), total(0.0, 1.0)
    return without, with_it - without, with_it - shifted, without - half


def forecast(drawn: tuple[np.ndarray, ...], spread: float, optimism: float) -> np.ndarray:
    """Draws under any spread and optimism: linear in the spread, and in the optimism at each spread."""
    without, beyond, shift_at_one, shift_at_zero = drawn
    return without + spread * beyond - optimism * (spread * shift_at_one + (1 - spread) * shift_at_zero)


def derive(evidence: dict[str, np.ndarray], found: list[Split], left_out: set[str], seed: int) -> DriftPrior:
    """The prior from all studies but those left out."""
    kept = [study for study in evidence if study not in left_out]
    mean, sd = scale_distribution(np.stack([evidence[study] for study in kept]))
    below: dict[str, list[np.ndarray]] = {study: [] for study in kept}
    for split in found:
        if split.study in below:
            drawn = tuple(part[::4] for part in draw(split, mean, sd, seed))  # a thousand draws tell PIT to 1 %
            pit = np.stack([(forecast(drawn, *pair) <= split.observed).mean(axis=0) for pair in GRID])  # [pair, run]
            below[split.study].append((pit[:, :, None] <= QUANTILES).mean(axis=1))
    mean_share = np.mean([share for shares in below.values() for share in shares], axis=0)
    distance = ((mean_share - QUANTILES) ** 2).sum(axis=1)
    spread, optimism = np.mean([GRID[i] for i in np.flatnonzero(distance <= 2 * distance.min())], axis=0).round(2)
    length = shipped_prior().length
    return DriftPrior(length, round(mean, 2), round(sd, 2), float(spread), float(optimism))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--write", type=Path, help="write the derived prior here (TOML)")
    parser.add_argument("--table", type=Path, help="write the left-out scores of every split here (CSV)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    evidence, found = {}, []
    for path in sorted(args.studies.glob("*.csv")):
        runs = pd.read_csv(path)
        parts = list(splits(runs))
        if not parts:
            continue
        whole = bayescale.fit(runs, seed=args.seed, allow_unconverged=True)
        scales = discrepancy_of(Study.opened(whole), every=True).by_scale
        evidence[path.stem] = np.array([at.log_evidence for at in scales])
        for horizon, train, test in parts:
            fit = bayescale.fit(train, seed=args.seed, allow_unconverged=True)
            study = Study.opened(fit)
            points = planned_runs(study, test["params"], test["tokens"], {})
            found.append(
                Split(path.stem, horizon, discrepancy_of(study, every=True), points, np.log(test["loss"].to_numpy()))
            )
        best = LOG_SCALES[np.argmax(evidence[path.stem])]
        print(f"{path.stem:34s} likeliest scale {100 * np.exp(best):5.2f} %, {len(parts)} splits", flush=True)

    prior = derive(evidence, found, set(), args.seed)
    print(f"\nderived from all: {prior}\n", flush=True)
    derived: dict[frozenset[str], DriftPrior] = {}

    rows = []
    for rule in ("study", "family"):
        for split in found:
            out = (
                {split.study}
                if rule == "study"
                else {study for study in evidence if family(study) == family(split.study)}
            )
            key = frozenset(out)
            if key not in derived:
                derived[key] = derive(evidence, found, out, args.seed)
            theirs = derived[key]
            drawn = draw(split, theirs.log_scale, theirs.log_scale_sd, args.seed)
            row = {"left_out": rule, "study": split.study, "horizon": split.horizon}
            row |= summed(forecast(drawn, theirs.spread, theirs.optimism), split.observed)
            rows.append(row | dataclasses.asdict(theirs))
    table = pd.DataFrame(rows)
    for rule, part in table.groupby("left_out"):
        print(f"each {rule} left out of its own prior:")
        print(
            "  "
            + ", ".join(
                f"{name} {part[name].mean():.4f}"
                for name in ("crps", "cover50", "cover80", "cover90", "width90", "interval_score90", "bias")
            ),
            f"median crps {part.crps.median():.4f}",
        )
        print(
            "  missed at the forecast's own 10, 25, 50, 75, 90 % points: "
            + ", ".join(f"{part[f'below{p}'].mean():.3f}" for p in POINTS)
        )
        print(part.groupby("horizon")[["crps", "cover90", "interval_score90"]].mean().round(4).to_string())
    print(
        "constants left-out range:",
        table[["log_scale", "log_scale_sd", "spread", "optimism"]].agg(["min", "max"]).to_string(),
    )
    if args.table:
        write_table(table.round(5), args.table)
    if args.write:
        write_whole(args.write, lambda path: path.write_text(as_toml(prior), encoding="utf-8"))


POINTS = (10, 25, 50, 75, 90)


def summed(draws: np.ndarray, observed: np.ndarray) -> dict[str, float]:
    scored = scores(draws, observed)
    low, high = scored["q05"], scored["q95"]
    outside = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
    row = {"runs": len(observed), "crps": scored["crps"].mean(), "bias": (scored["q50"] - observed).mean()}
    for level, (a, b) in {50: ("q25", "q75"), 80: ("q10", "q90"), 90: ("q05", "q95")}.items():
        row[f"cover{level}"] = ((scored[a] <= observed) & (observed <= scored[b])).mean()
    row |= {"width90": (high - low).mean(), "interval_score90": (high - low + 20 * outside).mean()}
    return row | {f"below{p}": (scored["pit"] <= p / 100).mean() for p in POINTS}


def as_toml(prior: DriftPrior) -> str:
    return (
        "# How far scaling laws have been wrong, learnt from real studies by benchmarks/derive_drift.py;\n"
        "# docs/calibration.md says how. A drift is a smooth function of log10 of the law's inputs (N, D), with\n"
        "# Matern-3/2 correlation, added to the log loss.\n"
        f"length       = {prior.length}  # decades over which the drift forgets itself\n"
        f"log_scale    = {prior.log_scale}  # prior of its scale: LogNormal(log_scale, log_scale_sd)\n"
        f"log_scale_sd = {prior.log_scale_sd}\n"
        f"spread       = {prior.spread}  # how far drifts go beyond the data, relative to their wiggles inside\n"
        f"optimism     = {prior.optimism}  # conditional sd of the drift by which real losses end below the forecast\n"
    )


if __name__ == "__main__":
    main()
