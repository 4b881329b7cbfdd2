"""Derive the priors of the drift and of the floor from a folder of studies; judge them with each source left out.

    python -m benchmarks.derive_drift STUDIES [--designs 320] [--write bayescale/forecasts/drift.toml]
                                      [--table docs/drift-scores.csv]

A study is a CSV file of runs; the part of its name before the first "-" is its source. Its larger runs (the top 0.5, 1
and 1.5 decades of compute) are forecast from the smaller ones, once, with a wide prior of the floor and at every scale
of the drift. What nine numbers (:class:`Numbers`) would have forecast follows by importance weights, in a second for
all splits.

Scored are log CRPS + log interval score (half the 90 %, half the 98 % band) - DENSITY_WEIGHT log density, means over
the runs of a split, the splits of a source, and sources, each source alike. The score of many random sets of numbers
around START is fitted by a quadratic surface, source by source. The derived set is the least of the surfaces' mean,
with a pull towards START: few sources do not tell nine numbers. Its spread and shift are then widened by the one factor
at which bands hold what they say, 50, 80 and 90 % alike. Each source is forecast with the set and the factor that the
other sources alone give. The tails of the noise (``tail_df``) are those of the shipped prior.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp

import bayescale
from bayescale.evidence.backtest import MIN_RUNS, MIN_SIZES, MIN_SPAN, scores
from bayescale.forecasts.curve import BEYOND_DECADES, sample_noise_beside
from bayescale.forecasts.discrepancy import SHIFT_DF, coordinates, correlation, shipped_prior, slope_of, tail_df_of
from bayescale.forecasts.discrepancy_posterior import LOG_SCALES, discrepancy_of
from bayescale.forecasts.planned import planned_runs
from bayescale.jobs.files import write_table, write_whole
from bayescale.laws.law import load_law, parse_law
from bayescale.study import Study

HORIZONS = (0.5, 1.0, 1.5)
SLOPE = 0.17  # log loss a decade of compute, to which the numbers refer
WIDE = (0.3, 1.4)  # of the logit of the floor while fitting, whatever the scale of the runs
KEPT_DRAWS = 400  # at each scale of the drift
DRAWS = 700  # of a forecast that is scored
PULL = 0.05
DENSITY_WEIGHT = 1.5
HELD_LEVELS = (50, 80, 90)
WIDENINGS = (1.0, 1.06, 1.12, 1.18, 1.25, 1.33)  # of spread and shift
TWO_WORDS = ("marin-optim",)  # sources whose name has a "-"


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What is derived; all but ``log_scale``, ``decline`` and the floor's centre are above 0."""

    log_scale: float = -2.95
    log_scale_sd: float = 0.66
    spread: float = 0.68
    spread_log_sd: float = 0.33
    shift: float = 0.0055
    decline: float = 0.0075
    floor: float = 0.7  # logit, at N_ref D_ref = 1e18
    floor_slope: float = 0.25  # a decade of N_ref D_ref
    floor_sd: float = 0.75


START = Numbers()
# how far random sets lie from START: absolute for the first group, in logarithms for the second
STEPS = {"log_scale": 0.2, "decline": 0.002, "floor": 0.25, "floor_slope": 0.1}
LOG_STEPS = {"log_scale_sd": 0.15, "spread": 0.15, "spread_log_sd": 0.3, "shift": 0.25, "floor_sd": 0.15}
NAMES = (*STEPS, *LOG_STEPS)


def numbers_at(x: np.ndarray) -> Numbers:
    """The set at ``x`` steps from START, in the order of NAMES."""
    found = {}
    for name, value in zip(NAMES, x, strict=True):
        start = getattr(START, name)
        found[name] = start + value * STEPS[name] if name in STEPS else start * np.exp(value * LOG_STEPS[name])
    return Numbers(**found)


@dataclasses.dataclass(frozen=True)
class Split:
    """One forecast of a study's larger runs from its smaller ones, at every scale of the drift [scale, draw, run]."""

    study: str
    horizon: float
    observed: np.ndarray  # log loss [run]
    decades: np.ndarray  # beyond the runs learnt from [run]
    unit: float  # slope of the runs, in units of SLOPE
    log_evidence: np.ndarray  # [scale]
    curve: np.ndarray  # law and bend
    open_drift: np.ndarray
    open_sd: np.ndarray  # [scale, run]
    sigma: np.ndarray  # [scale, draw]
    noise: np.ndarray  # in units of sigma [draw, run]
    logit_floor: np.ndarray  # of these runs [scale, draw]
    log_size: float  # log10 of N_ref D_ref / 1e18


def source(study: str) -> str:
    return next((name for name in TWO_WORDS if study.startswith(name)), study.partition("-")[0])


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


def wide_law():
    """The default law with the floor of the runs as its parameter, whatever their scale, under a wide prior."""
    text = load_law("coupled").text.replace("**0.11", "**0.0")
    line = next(one for one in text.splitlines() if one.startswith("floor"))
    return parse_law(
        text.replace(line, f'floor = {{ dist = "LogitNormal", mu = {WIDE[0]}, sigma = {WIDE[1]} }}'), "wide"
    )


def split_of(study_name: str, horizon: float, train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Split:
    columns = ["params", "tokens", "compute", "loss"]
    study = Study.opened(bayescale.fit(train[columns], wide_law(), seed=seed, allow_unconverged=True))
    points = planned_runs(study, test["params"], test["tokens"], {})
    found = discrepancy_of(study, every=True)
    rng, cells, length = np.random.default_rng(seed), found.cells, found.prior.length
    new, place = coordinates(study, points), list(study.law.priors).index("floor")
    seen_law, new_law = study.standardised(cells.inputs), study.standardised(study.inputs(points))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("curve", "open", "sd", "sigma", "floor")}
    for at in found.by_scale:
        z = at.draws[rng.choice(len(at.draws), KEPT_DRAWS, p=at.weights)]
        variance = np.exp(2 * at.log_scale)
        across = variance * correlation(cells.where, new, length)
        solved = at.covariance.solve(across)
        left = variance * correlation(new, new, length) - across.T @ solved
        values, vectors = np.linalg.eigh((left + left.T) / 2)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        parts["curve"].append(new_law(z) + (cells.log_loss - seen_law(z)) @ solved)
        parts["open"].append(rng.standard_normal((KEPT_DRAWS, len(new))) @ root.T)
        parts["sd"].append(np.sqrt((root**2).sum(axis=1)))
        parts["sigma"].append(at.sigma * np.exp(at.log_sigma_sd * rng.standard_normal(KEPT_DRAWS)))
        parts["floor"].append(WIDE[0] + WIDE[1] * z[:, place])
    some = {name: value[: 2 * KEPT_DRAWS] if np.ndim(value) else value for name, value in study.draws.items()}
    scale = study.scatter.scale_at(study.covariates(points), some | {"sigma": np.ones((2 * KEPT_DRAWS, 1))})
    tail_df = np.broadcast_to(tail_df_of(study, found.prior, some), (2 * KEPT_DRAWS, 1))
    slope = slope_of(study, np.log(study.runs["loss"].values))
    return Split(
        study=study_name,
        horizon=horizon,
        observed=np.log(test["loss"].to_numpy()),
        decades=np.maximum(np.log10(points["compute"].values / study.largest_compute), 0.0),
        unit=slope / SLOPE,
        log_evidence=np.array([at.log_evidence for at in found.by_scale]),
        curve=np.stack(parts["curve"]),
        open_drift=np.stack(parts["open"]),
        open_sd=np.stack(parts["sd"]),
        sigma=np.stack(parts["sigma"]),
        noise=sample_noise_beside(study, tail_df, scale, rng),
        logit_floor=np.stack(parts["floor"]),
        log_size=float(np.log10(study.constants["N_ref"] * study.constants["D_ref"] / 1e18)),
    )


def forecast(split: Split, given: Numbers, seed: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the log loss [draw, run] under these numbers, and the log density of what was measured [run]."""
    rng = np.random.default_rng(seed)
    centre = given.floor + given.floor_slope * split.log_size
    log_prior = -0.5 * ((split.logit_floor - centre) / given.floor_sd) ** 2 - np.log(given.floor_sd)
    log_prior += 0.5 * ((split.logit_floor - WIDE[0]) / WIDE[1]) ** 2 + np.log(WIDE[1])
    of_scale = (LOG_SCALES - given.log_scale - np.log(split.unit)) / given.log_scale_sd
    log_weight = (split.log_evidence - 0.5 * of_scale**2)[:, None] + log_prior
    weight = np.exp(log_weight - log_weight.max()).ravel()
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), rng.uniform(0, weight.sum(), draws)), weight.size - 1)
    k, j = np.divmod(chosen, log_weight.shape[1])
    share = np.clip(split.decades / BEYOND_DECADES, 0.0, 1.0)
    spread = given.spread * np.exp(given.spread_log_sd * rng.standard_normal(draws))[:, None]
    factor = 1 + share * (spread - 1)
    shift = split.unit * (given.shift * rng.standard_t(SHIFT_DF, draws)[:, None] - given.decline)
    middle = split.curve[k, j] + split.decades * shift
    noise = split.sigma[k, j][:, None] * split.noise[rng.integers(0, len(split.noise), draws)]
    sd = np.hypot(factor * split.open_sd[k], 1.1 * split.sigma[k, j][:, None])
    density = -0.5 * ((split.observed - middle) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))
    return middle + factor * split.open_drift[k, j] + noise, logsumexp(density, axis=0) - np.log(draws)


def row_of(split: Split, given: Numbers, seed: int, draws: int = DRAWS) -> dict[str, float]:
    drawn, log_density = forecast(split, given, seed, draws)
    scored = scores(drawn, split.observed)
    row = {"study": split.study, "horizon": split.horizon, "runs": len(split.observed), "crps": scored["crps"].mean()}
    row |= {"bias": (scored["q50"] - split.observed).mean(), "log_density": log_density.mean()}
    for level in (50, 80, 90, 98):
        low, high = np.quantile(drawn, [0.5 - level / 200, 0.5 + level / 200], axis=0)
        outside = np.maximum(low - split.observed, 0) + np.maximum(split.observed - high, 0)
        row[f"cover{level}"] = (outside == 0).mean()
        row[f"width{level}"] = (high - low).mean()
        row[f"interval_score{level}"] = (high - low + 2 / (1 - level / 100) * outside).mean()
    return row | {"below1": (split.observed < low).mean(), "above99": (split.observed > high).mean()}


def losses(table: pd.DataFrame) -> pd.Series:
    """What is made small, a source each."""
    value = np.log(table["crps"]) + 0.5 * np.log(table["interval_score90"]) + 0.5 * np.log(table["interval_score98"])
    return (value - DENSITY_WEIGHT * table["log_density"]).groupby(table["study"].map(source)).mean()


def features(x: np.ndarray) -> np.ndarray:
    """1, each coordinate, and products of two [set, feature]."""
    x = np.atleast_2d(x)
    i, j = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), x, x[:, i] * x[:, j]], axis=1)


def least(surface: np.ndarray) -> Numbers:
    """The set at which a surface is least, less the pull towards START."""
    count = len(NAMES)
    found = minimize(
        lambda x: float((features(x) @ surface)[0] + PULL * (x**2).sum()), np.zeros(count), bounds=[(-2, 2)] * count
    )
    return numbers_at(found.x)


def widened(given: Numbers, factor: float) -> Numbers:
    return dataclasses.replace(given, spread=given.spread * factor, shift=given.shift * factor)


def recalibrated(given: Numbers, found: list[Split], seed: int) -> Numbers:
    """The set with the widening at which 50, 80 and 90 % bands hold what they say, sources alike."""
    gaps = []
    for factor in WIDENINGS:
        table = pd.DataFrame([row_of(split, widened(given, factor), seed) for split in found])
        held = table.groupby(table["study"].map(source))[[f"cover{level}" for level in HELD_LEVELS]].mean().mean()
        gaps.append(float((held - np.array(HELD_LEVELS) / 100).mean()))
    return widened(given, float(np.interp(0.0, np.maximum.accumulate(gaps), WIDENINGS)))


def summary(table: pd.DataFrame) -> str:
    by_source = table.groupby(table["study"].map(source))
    names = ("cover50", "cover80", "cover90", "below1", "above99", "bias")
    means = by_source[list(names)].mean().mean()
    geometric = {name: np.exp(by_source[name].apply(lambda v: np.log(v).mean()).mean()) for name in
                 ("crps", "interval_score90", "width90")}  # fmt: skip
    third = pd.qcut(table["width90"].rank(method="first"), 3, labels=["narrow", "middle", "wide"])
    thirds = [part.groupby(part["study"].map(source))["cover90"].mean().mean() for _, part in table.groupby(third)]
    return (
        ", ".join(f"{name} {means[name]:.4f}" for name in names)
        + "".join(f", {name} {value:.5f}" for name, value in geometric.items())
        + f", cover90 by thirds of width {', '.join(f'{value:.3f}' for value in thirds)}"
    )


def as_toml(given: Numbers) -> str:
    return (
        "# How far scaling laws have been wrong, learnt from real studies by benchmarks/derive_drift.py;\n"
        "# docs/calibration.md says how. A drift is a smooth function of log10 of the law's inputs (N, D), with\n"
        "# Matern-3/2 correlation, added to the log loss.\n"
        f"length        = {shipped_prior().length}  # decades over which the drift forgets itself\n"
        f"log_scale     = {given.log_scale:.2f}  # prior of its scale: LogNormal(log_scale, log_scale_sd)\n"
        f"log_scale_sd  = {given.log_scale_sd:.2f}\n"
        f"spread        = {given.spread:.2f}  # how far drifts go beyond the data, relative to their wiggles inside: "
        "the median over studies\n"
        f"spread_log_sd = {given.spread_log_sd:.2f}\n"
        f"shift         = {given.shift:.4f}  # scale of a shift that begins beyond the data, log loss a decade of "
        "compute\n"
        f"decline       = {given.decline:.4f}  # by which real losses end below the forecast, log loss a decade of "
        "compute\n"
        f"tail_df       = {shipped_prior().tail_df}  # of the noise beside the drift: heavier tails than fits find\n"
        f"slope         = {SLOPE}  # of the loss, log a decade of compute, to which log_scale, shift and decline "
        "refer\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--designs", type=int, default=320, help="random sets of numbers that are scored")
    parser.add_argument("--write", type=Path, help="write the derived prior here (TOML)")
    parser.add_argument("--table", type=Path, help="write the left-out scores of every split here (CSV)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found = []
    for path in sorted(args.studies.glob("*.csv")):
        for horizon, train, test in splits(pd.read_csv(path)):
            found.append(split_of(path.stem, horizon, train, test, args.seed))
            print(f"{path.stem} {horizon}", flush=True)
    x = np.random.default_rng(args.seed).standard_normal((args.designs, len(NAMES)))
    scored = [losses(pd.DataFrame([row_of(split, numbers_at(one), args.seed) for split in found])) for one in x]
    loss, sources = np.stack([one.to_numpy() for one in scored]), list(scored[0].index)
    design = features(x)
    surfaces = np.linalg.solve(design.T @ design + np.eye(design.shape[1]), design.T @ loss)  # [feature, source]
    derived = recalibrated(least(surfaces.mean(axis=1)), found, args.seed)
    print(f"derived from all: {derived}")
    whole = pd.DataFrame([row_of(split, derived, args.seed, 4000) for split in found])
    print(f"with it: {summary(whole)}")
    rows, each = [], []
    for i, name in enumerate(sources):
        others = [split for split in found if source(split.study) != name]
        without = recalibrated(least(np.delete(surfaces, i, axis=1).mean(axis=1)), others, args.seed)
        each.append(dataclasses.asdict(without))
        rows += [row_of(split, without, args.seed, 4000) for split in found if source(split.study) == name]
    table = pd.DataFrame(rows)
    print(f"each source left out: {summary(table)}")
    print(f"range of the numbers:\n{pd.DataFrame(each).agg(['min', 'max']).round(4).T.to_string()}")
    if args.table:
        write_table(table.round(5), args.table)
    if args.write:
        write_whole(args.write, lambda path: path.write_text(as_toml(derived), encoding="utf-8"))


if __name__ == "__main__":
    main()
