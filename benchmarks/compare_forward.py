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
from bayescale.backtest import scores
from bayescale.diagnostics import diagnostics
from bayescale.fit import FitError
from bayescale.loo import loo

HORIZONS = (0.5, 1.0, 1.5)
KEPT_DRAWS = 1000


def splits(folder: Path):
    """(study, horizon, runs to learn from, runs held out), each split once."""
    for path in sorted(folder.glob("*.csv")):
        runs = pd.read_csv(path)
        scale = np.log10(runs["compute"])
        seen = 0
        for horizon in HORIZONS:
            large = scale > scale.max() - horizon
            if large.sum() == seen:
                continue
            seen = large.sum()
            train, test = runs[~large], runs[large]
            span = np.ptp(scale[~large]) if len(train) else 0.0
            if len(train) >= 12 and train["params"].nunique() >= 4 and span >= 0.7 * horizon and len(test):
                yield path.stem, horizon, train.reset_index(drop=True), test.reset_index(drop=True)


def run(studies: Path, cache: Path, laws: list[str]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for study, horizon, train, test in splits(studies):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("studies", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--laws", default="coupled,chinchilla,kaplan")
    args = parser.parse_args()
    run(args.studies, args.cache, args.laws.split(","))


if __name__ == "__main__":
    main()
