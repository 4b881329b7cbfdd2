"""Figures: one function a figure; each takes a fit or what was made of it and returns a matplotlib figure."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.allocate import allocate
from bayescale.files import FileError, write_whole
from bayescale.fit import FitError
from bayescale.forecast import quantiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe-Ito, safe for the colour-blind and distinct in grey
BAND, POINT, TRUTH, LAW = "#0072B2", "#666666", "#D55E00", "#009E73"
SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def plot_forecast(fit: xr.DataTree, forecast: xr.DataTree, measured: Any = None) -> "Figure":
    """Loss against compute: the runs, forecasts with their 90 % and 50 % bands, and what was measured.

    The blue band is the loss at the compute-optimal split of each budget; it opens beyond the largest run. Runs lie on
    or above it. Green ticks are the 90 % band of the law alone, which takes the law to be exactly right.

    Parameters
    ----------
    fit : the fit that the forecast was made from
    forecast : what :func:`bayescale.forecast` returns
    measured : measured loss of the forecast runs [point], when it is known
    """
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(figsize=(9, 5.6), layout="constrained")
        points = forecast["predictions_constant_data"]
        runs = fit["constant_data"]
        largest = float(runs["compute"].max())
        _frontier(axes, fit, float(runs["compute"].min()), 1.4 * max(largest, float(points["compute"].max())))
        axes.scatter(
            runs["compute"],
            np.exp(fit["observed_data"]["log_loss"]),
            s=22,
            c=POINT,
            lw=0,
            label="runs fitted",
            zorder=3,
        )

        x = _apart(points["compute"].values)
        loss, law = (quantiles(forecast["predictions"][name]) for name in ("loss", "law_loss"))
        axes.vlines(x, loss["q05"], loss["q95"], color=BAND, lw=1.6, label="forecast: 90 % and 50 % band", zorder=4)
        axes.vlines(x, loss["q25"], loss["q75"], color=BAND, lw=5, alpha=0.75, zorder=4)
        for edge, label in (("q05", "law alone: 90 % band"), ("q95", None)):
            axes.hlines(law[edge], x / 1.035, x * 1.035, color=LAW, lw=1.6, label=label, zorder=5)
        if measured is not None:
            axes.scatter(x, measured, marker="D", s=26, c=TRUTH, edgecolors="white", lw=0.6, label="measured", zorder=6)
        axes.axvline(largest, color="0.55", lw=1, ls=":")
        axes.annotate(
            "largest run fitted ",
            (largest, 1),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="top",
            color="0.4",
            fontsize=9,
        )
        axes.set(xscale="log", yscale="log", xlabel="compute [FLOP]", ylabel="loss [nats per token]")
        _loss_ticks(axes)
        axes.set_title(f"Forecast with the law '{fit.attrs['law']}' ({fit.attrs['source']})", loc="left")
        axes.legend(frameon=False, loc="lower left", fontsize=9.5)
    return figure


def _frontier(axes: "Axes", fit: xr.DataTree, low: float, high: float) -> None:
    """Band of the loss at the compute-optimal split, fading beyond the data; nothing for a law without a split."""
    budgets = np.geomspace(low, high, 60)
    try:
        band = quantiles(allocate(fit, budgets)["loss"])
    except FitError:
        return
    largest = float(fit["constant_data"]["compute"].max())
    for inside, alpha, label in ((True, 0.22, "loss at the best split: 90 % band"), (False, 0.11, None)):
        part = budgets <= largest if inside else budgets >= budgets[budgets <= largest].max()
        axes.fill_between(
            budgets[part], band["q05"][part], band["q95"][part], color=BAND, alpha=alpha, lw=0, label=label
        )
    axes.plot(budgets, band["q50"], color=BAND, lw=1, alpha=0.6)


def _apart(x: np.ndarray) -> np.ndarray:
    """Positions moved apart a little where several runs have nearly the same compute, so that no band hides another."""
    moved = x.astype(float).copy()
    order = np.argsort(moved, kind="stable")
    for before, now in itertools.pairwise(order):
        moved[now] = max(moved[now], moved[before] * 1.09)
    return moved


def _loss_ticks(axes: "Axes") -> None:
    """Round numbers instead of powers of ten: losses span far less than a decade."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_ylim()
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if (high - low) / s <= 9)
    axes.yaxis.set_major_locator(FixedLocator(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))


def plot_calibration(result: xr.Dataset) -> "Figure":
    """Backtest: error of every forecast against its distance, and how often the bands held, by distance.

    Parameters
    ----------
    result : what :func:`bayescale.backtest` returns; its first law is shown
    """
    import matplotlib.pyplot as plt

    from bayescale.backtest import LEVELS, backtest_table

    law = str(result["law"].values[0])
    one = result.isel(law=0)
    with plt.rc_context({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained", width_ratios=(1.6, 1))
        far, observed = one["decades_beyond"].values, one["observed"].values
        seen = np.isfinite(far)
        for low, high, width, alpha in (("q05", "q95", 1.4, 0.5), ("q25", "q75", 4.0, 0.5)):
            left.vlines(
                far[seen],
                100 * (one[low].values - observed)[seen],
                100 * (one[high].values - observed)[seen],
                color=BAND,
                lw=width,
                alpha=alpha,
            )
        left.axhline(0, color=TRUTH, lw=1.2)
        left.set(xlabel="decades of compute beyond the runs learnt from", ylabel="forecast minus measured [% of loss]")
        left.set_title(f"Law '{law}' on {result.attrs['source']}: every held-out run", loc="left", fontsize=11)
        table = backtest_table(one.expand_dims("law"))
        places = np.arange(len(table))
        for i, level in enumerate(LEVELS):
            right.plot(
                places + 0.12 * (i - 1),
                100 * table[f"cover{round(100 * level)}"],
                "o",
                color=(LAW, BAND, TRUTH)[i],
                label=f"{level:.0%} band",
            )
            right.axhline(100 * level, color=(LAW, BAND, TRUTH)[i], lw=0.8, ls=":")
        right.set_xticks(places, [f"{a:g} to {b:g}" for a, b in zip(table.from_decades, table.to_decades, strict=True)])
        right.set(ylim=(-4, 104), xlabel="decades beyond", ylabel="held [% of runs]")
        right.set_xlim(-0.5, len(places) - 0.5)
        right.set_title("How often the bands held", loc="left", fontsize=11)
        right.legend(frameon=False, loc="lower left", fontsize=9.5)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all, and close it."""
    import matplotlib.pyplot as plt

    try:
        return write_whole(path, lambda temporary: figure.savefig(temporary, format="png", dpi=150))
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        plt.close(figure)
