"""Figures of decisions: what another size costs, the next run, where a sharp metric jumps."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.budgets.problem import compute_unit
from bayescale.display import figures as fig
from bayescale.errors import FitError
from bayescale.field import BAND, band_ends, band_percent, number_text, size_text
from bayescale.fitting.doors import check_whole, level_of, opened, opened_result
from bayescale.forecasts.forecast import quantiles
from bayescale.runs.loss_unit import UNITS, loss_unit, to_nats
from bayescale.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_regret(decision: xr.Dataset, budget: int = 0, *, ax: Any = None) -> "Figure":
    """What another size costs: expected loss above the least along one budget, the flat region, and the choices.

    Parameters
    ----------
    decision : what :func:`bayescale.decide` returns
    budget : which of its budgets, by position
    ax : axes of matplotlib to draw on; a new figure by default

    Raises
    ------
    FitError
        If the best split of that budget is not identified.

    Examples
    --------
    >>> bayescale.plot_regret(bayescale.decide(fit, "1e22")).savefig("regret.png")
    """
    decision = opened_result(decision, "decide")
    check_whole("budget", budget, 0, decision.sizes["budget"] - 1)
    if why := str(decision["why_not"].values[budget]):
        raise FitError(f"the best split of {number_text(decision['compute'].values[budget])} is not identified: {why}")
    one = decision.isel(budget=int(budget))
    N, curve = one["curve_N"].values, one["curve_loss"].values
    curve, expected = (to_nats(values, loss_unit(decision.attrs)) for values in (curve, one["expected_loss"].values))
    best = float(expected[0])
    known = np.isfinite(N) & np.isfinite(curve)
    excess = 100 * (curve[known] / best - 1)
    N = N[known]
    tolerance = 100 * decision.attrs["tolerance"]
    low, high = float(one["flat_low"]), float(one["flat_high"])
    with fig.canvas(ax) as (axes,):
        top = float(np.clip(np.max(excess, initial=0.0), 5 * tolerance, 30 * tolerance))
        axes.axvspan(low, high, color=fig.LAW, alpha=0.18, lw=0, label=f"less than {tolerance:g} % above the least")
        axes.plot(N, np.maximum(excess, 0.0), color=fig.BLUE, lw=1.8, marker="o" if len(N) < 12 else None)
        shown = excess <= top
        ends = fig.widened([*N[shown], low, high], 0.05)
        markers = zip(("D", "s", "^", "v", "P", "X"), (fig.TRUTH, *fig.HORIZONS[1:]), strict=False)
        for name, size, loss, (marker, colour) in zip(
            one["choice"].values, one["N"].values, expected, markers, strict=False
        ):
            if not np.isfinite(loss):
                continue
            value = max(100 * (float(loss) / best - 1), 0.0)
            inside = value <= top and ends[0] <= size <= ends[1]
            label = f"{name}: {size_text(float(size))}" + ("" if inside else f", {number_text(value, 2)} % (outside)")
            axes.plot(
                [size] if inside else [], [value] if inside else [], marker, ms=7, color=colour, mec="white",
                label=label, zorder=5, ls="none",
            )  # fmt: skip
        axes.set(xscale="log", ylim=(-0.03 * top, 1.05 * top), xlim=ends)
        fig.size_axis(axes.xaxis, "parameters N, on the tokens that the budget buys")
        axes.set_ylabel("expected loss above the least [%]")
        budget_text = f"{number_text(float(one['compute']))} {compute_unit(decision.attrs)}".strip()
        fig.titled(axes, f"What another size costs at {budget_text}")
        axes.legend(loc="upper center")
        return fig.finished(axes, decision)


def plot_next_run(plan: xr.Dataset, fit: xr.DataTree | Study | None = None, *, ax: Any = None) -> "Figure":
    """Which affordable runs tell most: the share of the target's variance that each alone would remove, and the plan.

    Parameters
    ----------
    plan : what :func:`bayescale.next_run` returns
    fit : the fit it was made from, whose runs are then shown too
    ax : axes of matplotlib to draw on; a new figure by default

    Examples
    --------
    >>> plan = bayescale.next_run(fit, "1e21", params="7B", tokens="140B")
    >>> bayescale.plot_next_run(plan, fit).savefig("next.png")
    """
    plan = opened_result(plan, "next_run")
    study = None if fit is None else opened(fit)
    with fig.canvas(ax, size=(fig.WIDE[0], 5.0)) as (axes,):
        if not {"candidate_params", "candidate_tokens"} <= set(plan.data_vars):
            raise FitError("a plan of runs of N and D is drawn; of a law of one size read() says it all")
        N, D = plan["candidate_params"].values, plan["candidate_tokens"].values
        gain = 100 * plan["gain"].values
        shade = axes.scatter(
            N, D, c=gain, s=46, marker="s", cmap="viridis", vmin=0, lw=0, label="candidates within the budget"
        )
        fig.figure_of(axes).colorbar(
            shade, ax=axes, label="variance of the target removed by this run alone [%]", pad=0.02
        )
        xs, ys = [*N, *plan["params"].values], [*D, *plan["tokens"].values]
        if study is not None:
            data = study.runs
            dots, count = fig.drawn_runs(study)
            label = fig.runs_label(count, "runs made")
            axes.scatter(dots["params"], dots["tokens"], s=13, c="white", edgecolors="black", lw=0.7, label=label)
            xs, ys = [*xs, *data["params"].values], [*ys, *data["tokens"].values]
        sizes: dict[tuple[float, float], list[int]] = {}
        for i, pair in enumerate(zip(plan["params"].values, plan["tokens"].values, strict=True), start=1):
            sizes.setdefault((float(pair[0]), float(pair[1])), []).append(i)
        for number, (pair, turns) in enumerate(sizes.items()):
            axes.plot(
                *pair, "o", ms=13, mfc="none", mec=fig.TRUTH, mew=2.2, ls="none",
                label="taken, in this order" if number == 0 else None,
            )  # fmt: skip
            if len(plan["params"]) > 1:
                axes.annotate(
                    ", ".join(map(str, turns[:3])) + ("..." if len(turns) > 3 else ""), pair, xytext=(9, 6),
                    textcoords="offset points", color=fig.TRUTH, fontsize=9, fontweight="bold",
                )  # fmt: skip
        fig.plane_axes(axes, fig.widened(xs), fig.widened(ys))
        now, after = plan.attrs["width_now"], plan.attrs["width_after"]
        fig.titled(
            axes,
            f"What to run next for {plan.attrs['target']}\n90 % band {number_text(now)} wide now, "
            f"{number_text(after)} after",
        )
        fig.legend_below(axes)
        return fig.finished(axes, plan)


def plot_emergence(found: xr.Dataset, *, level: float = BAND, ax: Any = None) -> "Figure":
    """The smooth and the sharp metric of a task side by side, and the probability that the jump lies behind each run.

    The dashed line is half of the rise of the sharp metric, from the lowest to the highest value of its law.

    Parameters
    ----------
    found : what :func:`bayescale.emergence` returns
    level : what the wider band is to hold
    ax : two axes of matplotlib to draw on; a new figure by default

    Examples
    --------
    >>> runs = {"params": ["1B", "70B"], "tokens": ["20B", "1.4T"], "covariates": {"samples": 10}}
    >>> found = bayescale.emergence(coverage_fit, **runs, through={"loss": fit})
    >>> bayescale.plot_emergence(found).savefig("emergence.png")
    """
    found, share = opened_result(found, "emergence"), level_of(level)
    smooth, sharp = found.attrs["smooth"], found.attrs["sharp"]
    by = "compute" if "compute" in found else next(str(name) for name in found if found[name].dims == ("point",))
    order = np.argsort(found[by].values, kind="stable")
    found = found.isel(point=order)
    x, (first, last) = fig.apart(found[by].values, 1.15), band_ends(share)
    with fig.canvas(ax, columns=2, size=(fig.WIDE[0] * 1.25, fig.WIDE[1])) as (left, right):
        for axes, name in ((left, smooth), (right, sharp)):
            band = quantiles(found[name], share)
            label = f"a run: {band_percent(share)} and 50 % band"
            axes.vlines(x, band[first], band[last], color=fig.BLUE, lw=1.6, label=label)
            axes.vlines(x, band["q25"], band["q75"], color=fig.BLUE, lw=5, alpha=0.75)
            axes.scatter(x, band["q50"], s=14, color="white", edgecolors=fig.BLUE, zorder=3)
            axes.set(xscale="log", xlim=fig.widened(x, 0.1))
            fig.own_axis(axes.xaxis, by, 5)
            axes.set_ylabel(f"{name} [{UNITS[loss_unit(found.attrs)]}]" if name == "loss" else name)
        half = float(((found["lowest"] + found["highest"]) / 2).median())
        right.axhline(half, color=fig.LAW, lw=1.2, ls="--", label="half of the rise")
        top = quantiles(found[sharp], share)[last]
        for at, height, chance in zip(x, top, found["p_behind"].values, strict=True):
            right.annotate(f"{chance:.2f}", (at, height), (0, 4), textcoords="offset points", ha="center", fontsize=8.5)
        right.margins(y=0.12)
        fig.titled(left, f"{smooth}, smooth")
        fig.titled(right, f"{sharp}, sharp; above: P(jump behind)")
        right.legend(loc="best")
        return fig.figure_of(left)
