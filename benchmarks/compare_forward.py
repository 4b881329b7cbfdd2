"""Is an average of laws, weighted by how they forecast, as good as the best single law chosen in hindsight?

    python -m benchmarks.compare_forward run STUDIES CACHE --laws coupled,chinchilla,kaplan     # resumable, slow
    python -m benchmarks.compare_forward table STUDIES CACHE --laws coupled,chinchilla,kaplan   # weights and scores

Every study in the folder is split as in `docs/calibration.md`: its largest runs (0.5, 1 and 1.5 decades of compute) are
held out. On what is left each law is fitted, forecasts the held-out runs, and is backtested (its larger runs from its
smaller ones). `run` keeps draws and backtests; `table` makes weights from the backtests alone, mixes the draws, and
scores them on the held-out runs.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import bayescale
from bayescale.errors import FitError
from bayescale.evidence.backtest import scores
from bayescale.evidence.loo import loo
from bayescale.evidence.weights import START_LOOKS, forward_weights, stacking
from bayescale.fitting.diagnostics import diagnostics
from benchmarks.derive_drift import splits

KEPT_DRAWS = 1000


def all_splits(folder: Path):
    """(study, horizon, runs to learn from, runs held out), each split once."""
    for path in sorted(folder.glob("*.csv")):
        for split in splits(pd.read_csv(path)):
            yield path.stem, *split


def run(studies: Path, cache: Path, laws: list[str]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for study, horizon, train, test in all_splits(studies):
        for law in laws:
            path = cache / f"{study}-{horizon}-{Path(law).stem}.nc"
            if path.exists():
                continue
            fit = bayescale.fit(train, law, seed=1, allow_unconverged=True)
            forecast = bayescale.forecast(fit, test["params"], test["tokens"], measured=test["loss"], seed=1)
            draws = np.log(forecast["predictions"]["loss"].stack(sample=("chain", "draw")).values)
            kept = np.random.default_rng(0).permutation(draws.shape[1])[:KEPT_DRAWS]
            result = xr.Dataset(
                {
                    "draws": (("point", "sample"), draws[:, kept]),
                    "observed": ("point", np.log(test["loss"].to_numpy())),
                    "elpd": ("point", forecast["predictions_constant_data"]["elpd"].values),
                    "elpd_loo": ("train_run", loo(fit, mend=False)["elpd_loo"].values),
                },
                attrs={"converged": int(diagnostics(fit)["converged"])},
            )
            try:
                inner = bayescale.backtest(train, law, seed=1).isel(law=0)
                for name in ("elpd", "crps", "decades_beyond"):
                    result[f"inner_{name}"] = (("cut", "train_run"), inner[name].values)
                result["edge"] = ("cut", inner["edge"].values)
            except FitError as error:
                result.attrs["no_backtest"] = str(error)
            result.to_netcdf(path, engine="h5netcdf")
            crps = scores(draws[:, kept].T, result["observed"].values)["crps"].mean()
            print(f"{study} {horizon} {law}: crps {crps:.4f}, {result.sizes.get('cut', 0)} inner cuts", flush=True)


def mixture_crps(draws: list[np.ndarray], weights: np.ndarray, observed: np.ndarray) -> float:
    """Mean CRPS of a mixture of draws [point, draw], exactly: E|X - y| - E|X - X'|/2 of the weighted draws."""
    values = np.concatenate(draws, axis=1)
    weight = np.concatenate([np.full(one.shape[1], w / one.shape[1]) for one, w in zip(draws, weights, strict=True)])
    order = np.argsort(values, axis=1)
    values, weight = np.take_along_axis(values, order, axis=1), weight[order]
    apart = (weight * values * (2 * np.cumsum(weight, axis=1) - weight - 1)).sum(axis=1)
    return float(((weight * np.abs(values - observed[:, None])).sum(axis=1) - apart).mean())


def evidence(results: list[xr.Dataset]) -> xr.Dataset:
    """What `bayescale.compare` would hold of these laws, as far as weights need it."""
    pointwise = np.stack([one["elpd_loo"].values for one in results], axis=1)
    known = xr.Dataset({"weight_loo": ("law", stacking(pointwise)), "converged": ("law", np.ones(len(results), bool))})
    if all("inner_elpd" in one for one in results):
        scores = np.stack([one["inner_elpd"].values for one in results])
        known["elpd_run"] = (("law", "cut", "run"), np.where(np.isfinite(scores).all(axis=0), scores, np.nan))
        known["elpd_forward"] = known["elpd_run"].mean("run").mean("cut")
        known["crps_forward"] = ("law", [float(one["inner_crps"].mean("train_run").mean()) for one in results])
    return known


def table(studies: Path, cache: Path, laws: list[str]) -> None:
    """Mean CRPS of every law, of the weighted averages, and of other ways to weigh."""
    rows = []
    for study, horizon, _, _ in all_splits(studies):
        paths = [cache / f"{study}-{horizon}-{Path(law).stem}.nc" for law in laws]
        if not all(path.exists() for path in paths):
            print(f"left out, not forecast by every law: {study} {horizon}")
            continue
        results = [xr.load_dataset(path, engine="h5netcdf") for path in paths]
        known, count = evidence(results), len(laws)
        best = np.eye(count)[int(np.argmin(known["crps_forward"].values))] if "crps_forward" in known else None
        ways = {law: np.eye(count)[i] for i, law in enumerate(laws)}
        ways |= {"equal weights": np.full(count, 1 / count), "LOO stacking": known["weight_loo"].values}
        ways |= {"best law of the backtest": np.full(count, 1 / count) if best is None else best}
        for start in (0.5, 1.0, 4.0, START_LOOKS):
            ways[f"forward weights, start worth {start:g}"] = forward_weights(known, start)
        draws, observed = [one["draws"].values for one in results], results[0]["observed"].values
        rows.append({"study": study} | {way: mixture_crps(draws, w, observed) for way, w in ways.items()})
    scores = pd.DataFrame(rows).drop(columns="study")
    means = scores.mean()
    shown = pd.DataFrame({"mean": means, "median": scores.median(), "of the best law": means / means[laws].min()})
    print(f"CRPS of log loss on {len(scores)} splits of {pd.DataFrame(rows)['study'].nunique()} studies")
    print(shown.round({"mean": 5, "median": 5, "of the best law": 3}).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("studies", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--laws", default="coupled,chinchilla,kaplan")
    args = parser.parse_args()
    {"run": run, "table": table}[args.what](args.studies, args.cache, args.laws.split(","))


if __name__ == "__main__":
    main()
