"""Every figure on every study of a folder, side by side, to look them over.

    python -m benchmarks.contact_sheet FOLDER -o sheets --studies chinchilla-epoch,llama3-isoflop,...

Writes ``sheets/STUDY.png``, one page of all figures a study, and the figures themselves. Fits and backtests are kept in
``sheets/kept`` and used again. About two minutes a study, most of it the backtest and the comparison.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import bayescale
from bayescale.display.figures import save_figure
from bayescale.evidence.backtest import backtest
from bayescale.evidence.compare import compare, fit_laws

LAWS = ("coupled", "chinchilla", "multiplicative")
COLUMNS = 3


def figures(fit: xr.DataTree, runs: xr.Dataset, kept: Path) -> dict[str, Callable[[], Any]]:
    """Every figure of the package for one study, made when called."""
    largest = float(runs["compute"].max())
    ratio = float(np.median((runs["tokens"] / runs["params"]).values))
    sizes = np.sqrt(np.array([3.0, 10.0, 30.0]) * largest / 6 / ratio)
    small = runs.isel(run=(runs["compute"] <= largest / 8).values)
    large = runs.isel(run=(runs["compute"] > largest / 8).values)
    if small.sizes["run"] < 12:
        small, large = runs, runs.isel(run=slice(0, 0))

    def held_out() -> Any:
        order = np.argsort(large["compute"].values)[-8:]
        learnt = bayescale.fit(small, allow_unconverged=True)
        measured = large.isel(run=order)
        predicted = bayescale.forecast(learnt, measured["params"].values, measured["tokens"].values)
        return bayescale.plot_forecast(learnt, predicted, measured["loss"].values)

    def comparison() -> Any:
        fits = fit_laws(runs, LAWS, draws=500)
        return bayescale.plot_comparison(compare(fits, mend=False))

    every = {
        "forecast": lambda: bayescale.plot_forecast(fit, bayescale.forecast(fit, sizes, ratio * sizes)),
        "isoflops": lambda: bayescale.plot_isoflops(fit),
        "frontier": lambda: bayescale.plot_frontier(fit),
        "surface": lambda: bayescale.plot_surface(fit),
        "priors": lambda: bayescale.plot_priors(fit),
        "residuals": lambda: bayescale.plot_residuals(fit),
        "landmarks": lambda: bayescale.plot_landmarks(fit),
        "regret": lambda: bayescale.plot_regret(bayescale.decide(fit, 10 * largest)),
        "next": lambda: bayescale.plot_next_run(
            bayescale.next_run(fit, largest, params=sizes[1], tokens=ratio * sizes[1], most=4), fit
        ),
        "calibration": lambda: bayescale.plot_calibration(backtest(runs, horizon=1.0, folder=kept)),
        "comparison": comparison,
    }
    if large.sizes["run"]:
        every["held-out"] = held_out
    return every


def sheet(pictures: list[Path], title: str, path: Path) -> Path:
    """All pictures on one page."""
    import matplotlib.pyplot as plt

    rows = -(-len(pictures) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(8 * COLUMNS, 5.4 * rows), layout="constrained", squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, picture in zip(grid.ravel(), pictures, strict=False):
        axes.imshow(plt.imread(picture))
    figure.suptitle(title, fontsize=20)
    return save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="CSV files of runs, one a study")
    parser.add_argument("-o", "--output", type=Path, default=Path("sheets"))
    parser.add_argument("--studies", help="names of some of them, separated by commas")
    parser.add_argument("--only", help="names of some figures, separated by commas")
    given = parser.parse_args()
    named = given.studies.split(",") if given.studies else sorted(path.stem for path in given.folder.glob("*.csv"))
    kept = given.output / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    for study in named:
        runs = bayescale.read_runs(given.folder / f"{study}.csv")
        saved = kept / f"{study}.nc"
        if not saved.exists():
            bayescale.save_fit(bayescale.fit(runs, allow_unconverged=True), saved)
        fit, pictures = bayescale.open_fit(saved), []
        folder = given.output / study
        folder.mkdir(exist_ok=True)
        for name, draw in figures(fit, runs, kept).items():
            if given.only and name not in given.only.split(","):
                continue
            try:
                pictures.append(save_figure(draw(), folder / f"{name}.png"))
            except bayescale.FitError as error:
                print(f"{study}, {name}: {error}")
        print(sheet(pictures, study, given.output / f"{study}.png"), flush=True)


if __name__ == "__main__":
    main()
