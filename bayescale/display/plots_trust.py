"""Figures of trust: priors against posteriors, backtests, calibrations, comparisons of laws."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.display import figures as fig
from bayescale.evidence.backtest import HORIZON_BIN_DECADES
from bayescale.evidence.calibration import RANKS_FALSE_ALARM_SHARE, read
from bayescale.evidence.ranks import rank_counts, simultaneous_band
from bayescale.field import number_text
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.doors import one_of, opened, opened_result
from bayescale.laws.law import law_derived, sample_priors
from bayescale.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DENSITY_DRAWS = 20_000
PANEL_INCHES = 1.6  # on which four ticks have room
PANELS = 12  # parameters and derived quantities in one figure


def plot_priors(fit: xr.DataTree | Study, *, columns: int = 4, size: "tuple[float, float] | None" = None) -> "Figure":
    """Prior against posterior of every parameter, and of derived quantities while there is room.

    Where the two are alike the runs say nothing, and the prior decides; those are named so.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns
    columns : panels beside each other
    size : of a panel [inches]

    Examples
    --------
    >>> bayescale.plot_priors(fit).savefig("priors.png")
    """
    import matplotlib.pyplot as plt
    from arviz_stats.base import array_stats

    study = opened(fit)
    law, posterior = study.law, study.posterior
    prior = sample_priors(law, DENSITY_DRAWS, np.random.default_rng(0))
    constants = {name: study.constants[name] for name in law.constants}
    prior |= law_derived(law, prior | constants)
    names = [*law.priors, *(name for name in law.derived if name not in law.priors)]
    names = [name for name in names if np.isfinite(prior[name]).all()][:PANELS]
    unseen = set(diagnostics(study)["not_identified"])
    columns = min(columns, len(names))
    count = -(-len(names) // columns)
    wide, high = size or (fig.WIDE[0] * 1.1 / columns, 1.75)
    with fig.style():
        figure, grid = plt.subplots(count, columns, figsize=(wide * columns, high * count + 0.5), squeeze=False)
        for axes, name in zip(grid.ravel(), names, strict=False):
            before, after = np.ravel(prior[name]), posterior[name].values.ravel()
            wide = before.min() > 0 and np.quantile(before, 0.99) / max(np.quantile(before, 0.01), 1e-300) > 200
            scale = np.log10 if wide else lambda x: x
            before, after = scale(before), scale(after)
            low, high = np.quantile(before, [0.005, 0.995])
            ends = min(low, after.min()), max(high, after.max())
            for draws, colour, label in ((before, fig.POINT, "prior"), (after, fig.BLUE, "posterior")):
                inside = draws[(draws >= ends[0]) & (draws <= ends[1])]
                x, density, _ = array_stats.kde(inside)
                x, density = x[::4], density[::4]  # 128 points draw as well as 512, in a quarter of the file
                axes.fill_between(
                    x, density / density.max(), color=colour, alpha=0.3 if draws is before else 0.55, lw=0
                )
                axes.plot(x, density / density.max(), color=colour, lw=1.1, label=label)
            title = f"log10 {name}" if wide else name
            axes.set_title(f"{title}: prior decides" if name in unseen else title, fontsize=9.5,
                           color=fig.TRUTH if name in unseen else "black")  # fmt: skip
            axes.set(yticks=[], ylim=(0, 1.08), xlim=ends)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="x", labelsize=8.5)
            axes.locator_params(axis="x", nbins=4 if wide > PANEL_INCHES else 3)
        for axes in grid.ravel()[len(names) :]:
            axes.set_visible(False)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
        return fig.finished(grid[0, 0], study)


def plot_calibration(result: xr.Dataset, law: str | None = None, *, ax: Any = None) -> "Figure":
    """Backtest: every forecast's error against its distance, and how often bands held against how often they say.

    On the right a line on the diagonal is calibrated, below it bands are too narrow. The lines are by distance; the
    runs behind one line share their errors, so that their spread about the diagonal is larger than of as many coins.

    Parameters
    ----------
    result : what :func:`bayescale.backtest` returns
    law : one of its laws; the first by default
    ax : two axes of matplotlib to draw on; a new figure by default

    Examples
    --------
    >>> tested = bayescale.backtest(runs, "chinchilla", horizon=1.0)
    >>> bayescale.plot_calibration(tested).savefig("backtest.png")
    """
    result = opened_result(result, "backtest")
    name = one_of("law", result["law"].values[0] if law is None else law, result["law"].values)
    one = result.sel(law=name)
    far, observed, pit = (one[part].values for part in ("decades_beyond", "observed", "pit"))
    seen = np.isfinite(far)
    with fig.canvas(ax, columns=2, size=(fig.WIDE[0] * 1.15, 4.2), width_ratios=(1.5, 1)) as (left, right):
        for low, high, width in (("q05", "q95", 1.2), ("q25", "q75", 3.4)):
            edges = [100 * (one[edge].values - observed)[seen] for edge in (low, high)]
            left.vlines(far[seen], *edges, color=fig.BLUE, lw=width, alpha=0.45)
        left.axhline(0, color=fig.TRUTH, lw=1.2)
        left.set(
            xlabel=f"decades of {result.attrs.get('size', 'compute')} beyond the runs learnt from",
            ylabel="forecast minus measured [% of loss]",
        )
        fig.titled(left, f"'{name}' on {result.attrs['source']}: each held-out run")
        levels = np.linspace(0, 1, 41)
        lower = 0.0
        for upper, colour in zip(HORIZON_BIN_DECADES, fig.HORIZONS, strict=True):
            inside = seen & (far > lower) & (far <= upper)
            if inside.any():
                held = [(np.abs(2 * pit[inside] - 1) <= level).mean() for level in levels]
                text = f"{lower:g} to {upper:g} decades: {inside.sum()}" if np.isfinite(upper) else f"over {lower:g}"
                right.plot(100 * levels, 100 * np.array(held), color=colour, lw=1.8, label=text)
            lower = upper
        right.plot([0, 100], [0, 100], color="0.5", lw=1, ls=":")
        right.set(xlim=(0, 100), ylim=(0, 102), xlabel="band says [%]", ylabel="band held [%]")
        right.set_title("Coverage, by distance and forecasts")
        right.legend(loc="lower right", fontsize=8.5)
    return fig.figure_of(left)


def plot_ranks(result: xr.Dataset, *, level: float = RANKS_FALSE_ALARM_SHARE) -> "Figure":
    """Calibration: how the ranks of every quantity are distributed, less what uniform ranks would be.

    Shaded is the simultaneous band: all lines of a right machine stay within theirs with probability 1 - level. A line
    above zero throughout is a posterior too high, one below it a posterior too low; a line that is above zero first and
    below it then comes from bands too narrow, the other way round from bands too wide.

    Parameters
    ----------
    result : what :func:`bayescale.calibrate` returns
    level : as in :func:`bayescale.read`

    Examples
    --------
    >>> bayescale.plot_ranks(bayescale.calibrate("power_compute", simulations=10)).savefig("ranks.png")
    """
    import matplotlib.pyplot as plt

    result = opened_result(result, "calibrate")
    most, table = result.attrs["most"], read(result, level=level).frame
    fitted = result["status"].values == "fitted"
    columns = min(4, len(table))
    count = -(-len(table) // columns)
    at = np.arange(most + 2) / (most + 1)
    with fig.style():
        figure, grid = plt.subplots(
            count, columns, figsize=(fig.WIDE[0] * 1.1, 1.45 * count + 0.7), squeeze=False, sharex=True, sharey=True
        )
        for axes, row in zip(grid.ravel(), table.itertuples(), strict=False):
            ranks = result["rank"].sel(quantity=row.quantity).values[fitted]
            ranks = ranks[np.isfinite(ranks)]
            axes.set_title(
                f"{row.quantity}, p = {number_text(row.p, 2)}", fontsize=9.5, color="black" if row.inside else fig.TRUTH
            )
            if not len(ranks):
                continue  # no fit converged: an empty panel
            low, high = (np.pad(edge, (1, 1), constant_values=(0, len(ranks)))
                         for edge in simultaneous_band(len(ranks), most, level / len(table)))  # fmt: skip
            axes.fill_between(at, low / len(ranks) - at, high / len(ranks) - at, color=fig.POINT, alpha=0.25, lw=0)
            counts = np.pad(rank_counts(ranks, most), (1, 1), constant_values=(0, len(ranks)))
            axes.plot(at, counts / len(ranks) - at, color=fig.BLUE if row.inside else fig.TRUTH, lw=1.3)
            axes.axhline(0, color="0.5", lw=0.8, ls=":")
            axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
            axes.tick_params(labelsize=8.5)
        for axes in grid.ravel()[len(table) :]:
            axes.set_visible(False)
        figure.supxlabel("rank of the truth among posterior draws, as a share", fontsize=9.5)
        figure.supylabel("share of ranks below, less uniform", fontsize=9.5)
    return figure


def plot_comparison(result: xr.Dataset, *, ax: Any = None) -> "Figure":
    """Laws side by side: how far each is behind the best in range, with two standard errors, and forward where known.

    In range: difference of elpd, each run left out in turn; laws whose bar reaches 0 predict alike. Forward: mean log
    predictive density of larger runs forecast from smaller ones; dots are single cuts.

    Parameters
    ----------
    result : what :func:`bayescale.compare` returns
    ax : axes of matplotlib to draw on, two with a forward comparison; a new figure by default

    Examples
    --------
    >>> compared = bayescale.compare(bayescale.fit_laws(runs, ["chinchilla", "power_compute"]))
    >>> bayescale.plot_comparison(compared).savefig("comparison.png")
    """
    result = opened_result(result, "compare")
    names = [str(name) for name in result["law"].values]
    usable = result["converged"].values
    forward = "elpd_cut" in result
    places = np.arange(len(names))[::-1]
    with fig.canvas(ax, columns=1 + forward, size=(fig.WIDE[0], 1.7 + 0.42 * len(names)), sharey=True) as panels:
        axes = panels[0]
        behind, se = -result["d_elpd"].values, result["d_se"].values
        axes.errorbar(behind[usable], places[usable], xerr=2 * se[usable], fmt="o", color=fig.BLUE, capsize=3)
        axes.axvline(0, color=fig.TRUTH, lw=1)
        axes.set_yticks(places, [n if ok else f"{n} (not converged)" for n, ok in zip(names, usable, strict=True)])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel("elpd behind the best, 2 s.e.")
        axes.set_title("In range: runs left out in turn")
        if forward:
            other = panels[1]
            other.set_yticks(places, names)
            cuts = result["elpd_cut"].values
            for row, place in zip(cuts[usable], places[usable], strict=True):
                other.plot(row, np.full(len(row), place), "o", ms=4, color=fig.POINT, alpha=0.7)
            other.plot(result["elpd_forward"].values[usable], places[usable], "D", ms=7, color=fig.LAW, mec="white")
            other.set_xlabel("log predictive density of a larger run")
            other.set_title("Forward: mean, and single cuts")
    return fig.figure_of(axes)
