"""Figures of the loss: against compute, along budgets, what the law leaves over, and between laws and runs."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.budgets.approaches import PARABOLA_SIZES_MIN, budgets_in
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import problem_of
from bayescale.budgets.surface import loss_at, thinned
from bayescale.display import figures as fig
from bayescale.display.question import frontier_of
from bayescale.errors import FitError
from bayescale.field import BAND, band_ends, band_percent, middle_and_ends
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.doors import level_of, numbers, opened, opened_result
from bayescale.forecasts.forecast import forecast as forecast_at
from bayescale.forecasts.forecast import quantiles
from bayescale.laws.law import NO_SIZE, column, is_joint, law_loss, size_column
from bayescale.runs.known import without_censored
from bayescale.runs.loss_unit import UNITS, from_nats
from bayescale.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_DRAWS = 1000  # behind the bands of isoFLOP profiles
BUDGETS_SHOWN = 6  # isoFLOP profiles in one figure: more cannot be told apart


def _label(study: Study) -> str:
    return f"loss [{UNITS[study.loss_unit]}]"


def plot_forecast(
    fit: xr.DataTree | Study, forecast: xr.DataTree, measured: Any = None, *, level: float = BAND, ax: Any = None
) -> "Figure":
    """Loss against compute: the runs, forecasts with their 90 % and 50 % bands, and what was measured.

    The blue band is the loss at the compute-optimal split of each budget; it opens, and pales, beyond the largest run.
    Runs lie on or above it. Green ticks are the 90 % band of the law alone, which takes the law to be exactly right.

    Parameters
    ----------
    fit : the fit that the forecast was made from
    forecast : what :func:`bayescale.forecast` returns
    measured : measured loss of the forecast runs [point], when it is known
    level : what the wider band is to hold
    ax : axes of matplotlib to draw on; a new figure by default

    Examples
    --------
    >>> figure = bayescale.plot_forecast(fit, bayescale.forecast(fit, "7B", "140B"), measured=2.2)
    >>> figure.savefig("forecast.png")
    """
    forecast = opened_result(forecast, "forecast")
    study = opened(fit)
    try:
        frontier = study.once(frontier_of) if is_joint(study.law) else None
    except FitError:  # a law that splits no budget, or that has further inputs
        frontier = None
    return draw_forecast(study, forecast, measured, frontier, ax, level_of(level))


def draw_forecast(
    study: Study,
    forecast: xr.DataTree | None,
    measured: Any,
    frontier: xr.Dataset | None,
    ax: Any,
    level: float,
) -> "Figure":
    """The runs, the band of ``frontier`` if there is one, and a forecast if there is one."""
    law, size, shown = study.law, _axis_of(study), study.law.observed.column
    logarithmic = law.observed.scale == "log"
    seen = study.runs[shown].values
    seen = from_nats(seen, study.loss_unit) if shown == "loss" else seen
    sizes = study.runs[size].values
    planned = np.zeros(0) if forecast is None else forecast["predictions_constant_data"].dataset[size].values
    ends = [float(sizes.min()), float(sizes.max()), *planned]
    with fig.canvas(ax) as (axes,):
        if size == "compute" and shown == "loss" and frontier is not None:
            _frontier(axes, study, frontier, (ends[0], 1.5 * max(ends)), level)
        elif not is_joint(law):
            _own_curve(axes, study, size, ends, level)
        some, label = fig.shown_runs(sizes), fig.runs_label(len(sizes), f"{len(sizes)} runs fitted")
        hidden = study.censored[some]
        for runs, marker, name in ((some[~hidden], "o", label), (some[hidden], "^", f"{shown} at least this")):
            if len(runs):
                axes.scatter(
                    sizes[runs], seen[runs], s=18, c=fig.POINT, marker=marker, lw=0, alpha=0.8, label=name, zorder=3
                )
        if forecast is not None:
            _forecast_bars(axes, forecast, (size, shown), measured, level)
        if min(ends) > 0:
            axes.set(xscale="log", xlim=fig.widened(ends, 0.04))
        fig.own_axis(axes.xaxis, size)
        fig.loss_axis(axes.yaxis, _label(study) if shown == "loss" else shown, logarithmic=logarithmic)
        if max(ends) > ends[1]:
            fig.mark_edge(axes, ends[1])
        fig.titled(axes, f"{'Forecast with the' if planned.size else 'The'} law '{law.name}' ({study.attrs['source']})")
        axes.legend(loc="lower left" if logarithmic else "best")
        return fig.finished(axes, study)


def _axis_of(study: Study) -> str:
    """The column along which a law is drawn."""
    size = size_column(study.law)
    if size is None and len(study.law.inputs) > 1:
        raise FitError(f"{NO_SIZE}: there is no axis to draw its forecasts along")
    return size or column(study.law.inputs[0])


def _forecast_bars(axes: "Axes", forecast: xr.DataTree, names: tuple[str, str], measured: Any, level: float) -> None:
    """Forecasts with their bands, the band of the law alone, and what was measured; ``names`` are those of the axes."""
    (size, shown), (first, last), percent = names, band_ends(level), band_percent(level)
    x = fig.apart(forecast["predictions_constant_data"].dataset[size].values)
    whole, alone = (quantiles(forecast["predictions"].dataset[name], level) for name in (shown, f"law_{shown}"))
    axes.vlines(
        x, whole[first], whole[last], color=fig.BLUE, lw=1.6, label=f"forecast: {percent} and 50 % band", zorder=4
    )
    axes.vlines(x, whole["q25"], whole["q75"], color=fig.BLUE, lw=5, alpha=0.75, zorder=4)
    for edge, label in ((first, f"law alone: {percent} band"), (last, "")):
        axes.hlines(alone[edge], x / 1.05, x * 1.05, color=fig.LAW, lw=1.6, label=label, zorder=5)
    if measured is None:
        return
    measured = numbers("measured", measured)
    if len(measured) not in (1, len(x)):
        raise FitError(f"measured: {len(measured)} losses for {len(x)} forecasts; one each is expected")
    measured = np.broadcast_to(measured, len(x))
    axes.scatter(x, measured, marker="D", s=24, c=fig.TRUTH, edgecolors="white", lw=0.6, label="measured", zorder=6)


def _own_curve(axes: "Axes", study: Study, size: str, ends: list[float], level: float) -> None:
    """The curve of a law of one input with its band, as far as the forecasts."""
    law = study.law
    if len(law.inputs) != 1 or law.groups:
        return
    low, high = min(ends), max(ends)
    x = np.geomspace(low, 1.5 * high, 40) if low > 0 else np.linspace(low, high, 40)
    largest = float(study.runs[size].max())
    x = np.unique(np.append(x, largest))
    band = quantiles(forecast_at(study, covariates={size: x})["predictions"].dataset[law.observed.column], level)
    (first, last), label = band_ends(level), f"a new run: {band_percent(level)} band"
    if low > 0:
        fig.fading_band(axes, x, band[first], band[last], largest, label)
    else:
        axes.fill_between(x, band[first], band[last], color=fig.BLUE, alpha=0.3, lw=0, label=label)
    axes.plot(x, band["q50"], color=fig.BLUE, lw=1, alpha=0.7)


def _frontier(axes: "Axes", study: Study, split: xr.Dataset, ends: tuple[float, float], level: float) -> None:
    """Band of the loss at the best split, fading beyond the data."""
    (low, high), (first, last) = ends, band_ends(level)
    budgets, largest = split["compute"].values, study.largest_compute
    shown = (budgets >= low * (1 - 1e-9)) & (budgets <= max(high, 1.05 * budgets[0]))
    band, budgets = quantiles(split["loss"].isel(budget=shown), level), budgets[shown]
    label = f"loss at the best split: {band_percent(level)} band"
    fig.fading_band(axes, budgets, band[first], band[last], largest, label)
    axes.plot(budgets, band["q50"], color=fig.BLUE, lw=1, alpha=0.7)


def plot_isoflops(fit: xr.DataTree | Study, *, level: float = BAND, ax: Any = None) -> "Figure":
    """Loss against N along budgets: the law's 90 % band on each, the runs near it, and the posterior of its minimum.

    The budgets are those of the runs' own isoFLOP sweeps where there are some, else six over their compute.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of N and D
    level : what the wider band is to hold
    ax : axes of matplotlib to draw on; a new figure by default

    Examples
    --------
    >>> bayescale.plot_isoflops(fit).savefig("isoflops.png")
    """
    import matplotlib.pyplot as plt

    study, shares, percent = opened(fit), list(middle_and_ends(level_of(level)).values()), band_percent(level)
    problem = problem_of(study)
    definition, unit = study.definition, study.loss_unit
    collinear = diagnostics(study)["collinear"]
    data = without_censored(study.runs)
    log_c = np.log10(data["compute"].values)
    budgets, members, own = _profiles(log_c, data["params"].values)
    loss = from_nats(data["loss"].values, unit)
    N = data["params"].values
    with fig.canvas(ax) as (axes,):
        colours = plt.colormaps["viridis"](np.linspace(0.0, 0.88, len(budgets)))
        split, surface = best_split(problem, budgets[None, :]), thinned(problem.surface, CURVE_DRAWS)
        highest, shown = loss.max(), np.zeros(len(loss), dtype=bool)
        shown[fig.shown_runs(log_c)] = True
        for i, (budget, near, colour) in enumerate(zip(budgets, members, colours, strict=True)):
            sizes = N[near]
            low, middle, high = np.quantile(split.N[:, i], shares)
            ends = fig.widened([*sizes, middle / 3, middle * 3])
            grid = np.geomspace(*ends, 60)
            curve = from_nats(loss_at(surface, grid[None, :], definition.tokens(grid, budget)[None, :]), unit)
            under, along, over = np.quantile(curve, shares, axis=0)
            inside = along <= 1.05 * highest
            axes.fill_between(grid[inside], under[inside], over[inside], color=colour, alpha=0.25, lw=0)
            axes.plot(grid[inside], along[inside], color=colour, lw=1.2)
            dots = near[shown[near]]
            axes.scatter(N[dots], loss[dots], s=18, color=colour, edgecolors="white", lw=0.4, zorder=3)
            at = loss_at(problem.surface, middle, definition.tokens(middle, budget))
            least = float(np.median(from_nats(at, unit)))
            axes.plot([low, high], [least, least], color=fig.TRUTH, lw=2.4, solid_capstyle="butt", zorder=5)
            label = f"best N: median and {percent} band" if i == 0 else None
            axes.plot(middle, least, "D", ms=4.5, color=fig.TRUTH, mec="white", mew=0.5, zorder=6, label=label)
            text = f"{budget:.1e} FLOP".replace("e+", "e")
            axes.plot([], [], color=colour, lw=2, label=text)
        fig.size_axis(axes.xaxis, "parameters N")
        fig.loss_axis(axes.yaxis, _label(study))
        what = "the runs' own sweeps" if own else "budgets over the runs; runs within a fifth of a decade"
        doubt = "\nN and D move together in the runs: where the minimum lies is the prior's" if collinear else ""
        fig.titled(axes, f"Loss along budgets: {fig.runs_label(len(loss), what)}{doubt}")
        if fig.is_narrow(axes):
            fig.legend_below(axes)
        else:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return fig.finished(axes, study)


def _profiles(log_c: np.ndarray, N: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], bool]:
    """Budgets, the runs on each, and whether they are sweeps of the study itself."""
    groups = [group for group in budgets_in(np.log(10.0) * log_c) if len(np.unique(N[group])) >= PARABOLA_SIZES_MIN]
    if len(groups) >= 2:
        middles = np.array([np.median(log_c[group]) for group in groups])
        wanted = np.linspace(middles.min(), middles.max(), BUDGETS_SHOWN)
        chosen = np.unique(np.abs(middles[None, :] - wanted[:, None]).argmin(axis=1))
        return 10 ** middles[chosen], [groups[i] for i in chosen], True
    centres = np.linspace(log_c.min(), log_c.max(), BUDGETS_SHOWN)
    near = [np.flatnonzero(np.abs(log_c - centre) <= 0.2) for centre in centres]
    kept = [i for i, group in enumerate(near) if len(group)]
    return 10 ** centres[kept], [near[i] for i in kept], False


def residuals(study: Study, some: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """What the law's median leaves over of each run, and the scale of the noise there [run].

    Both of the log loss; of what is observed where a law explains something else. ``some`` are indices of runs.
    """
    part, scatter = study.part(some), study.scatter
    predicted = np.median(law_loss(study.law, study.draws | part.inputs()), axis=0)
    spread = scatter.spread_at(predicted, part.covariates(values=study.draws), study.draws)
    return part.seen.values - scatter.transform(predicted), np.median(spread, axis=0)


def residual_panels(study: Study, data: xr.Dataset) -> dict[str, np.ndarray]:
    """What residuals are drawn against, by name [run]: inputs of the law, and tokens per parameter."""
    panels = {column(symbol): data[column(symbol)].values for symbol in study.law.inputs}
    panels = dict(list(panels.items())[:3])
    if {"params", "tokens"} <= panels.keys():
        panels = {name: panels[name] for name in ("params", "tokens")}
        panels["tokens per parameter"] = panels["tokens"] / panels["params"]
    return panels


def plot_residuals(fit: xr.DataTree | Study, *, ax: Any = None) -> "Figure":
    """What the law leaves over, against log N, log D and log D/N (or the law's other inputs), in % of the loss.

    The shade is where 90 % of runs lie by the noise of the fit; the line is the mean of neighbouring runs: where it
    leaves the shade, or bends at the large end, the law is wrong in a way that forecasts will feel.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns
    ax : axes of matplotlib to draw on, one for each panel; a new figure by default

    Examples
    --------
    >>> bayescale.plot_residuals(fit).savefig("residuals.png")
    """
    study = opened(fit)
    law = study.law
    measured = np.flatnonzero(~study.censored)
    count, some = len(measured), measured[fig.shown_runs(study.runs[size_column(law)].values[measured])]
    left, scale = residuals(study, some)
    data = study.runs.isel(run=some)
    percent = law.observed.scale == "log"
    unit = 100.0 if percent else 1.0
    panels = residual_panels(study, data)
    width = max(5, len(left) // 8) if len(left) >= 10 else 0
    size = (max(fig.WIDE[0], 2.9 * len(panels)), 3.2)
    with fig.canvas(ax, columns=len(panels), size=size, sharey=True) as rows:
        for axes, (name, x) in zip(rows, panels.items(), strict=True):
            order = np.argsort(x)
            axes.axhspan(*(unit * 1.645 * np.median(scale) * np.array([-1, 1])), color=fig.BLUE, alpha=0.15, lw=0)
            axes.axhline(0, color="0.4", lw=0.8)
            axes.scatter(x, unit * left, s=14, c=fig.POINT, lw=0, alpha=0.75)
            if width and x.min() > 0:
                kernel = np.ones(width) / width
                means, places = (np.convolve(one[order], kernel, mode="valid") for one in (left, np.log(x)))
                axes.plot(np.exp(places), unit * means, color=fig.TRUTH, lw=1.6)
            if x.min() > 0:
                axes.set(xscale="log", xlim=fig.widened(x))
                label = name if name == "compute" else fig.AXIS_NAMES.get(name, name)
                (fig.size_axis if name in fig.AXIS_NAMES else fig.number_axis)(axes.xaxis, label, 4)
            else:
                axes.set_xlabel(name)
        beside = rows[0].get_subplotspec().get_gridspec().ncols > 1
        rows[0 if beside else len(rows) // 2].set_ylabel(
            f"measured minus law [{'% of loss' if percent else law.observed.column}]"
        )
        figure = fig.figure_of(rows[0])
        line = f"; line: mean of {width} neighbours" if width else ""
        title = f"{fig.runs_label(count, 'Residuals')} of the law '{law.name}'; shade: 90 % of the noise{line}"
        width = round(fig.CHARACTERS_PER_INCH * figure.get_size_inches()[0])
        figure.suptitle(textwrap.fill(title, width), x=0.01, ha="left", size=10.5)
        return fig.finished(rows[0], study)
