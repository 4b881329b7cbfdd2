"""Figures of the split: frontier, surface, landmarks."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.budgets.allocate import allocate
from bayescale.budgets.decide import RULE_OF_THUMB
from bayescale.budgets.landmarks import landmarks
from bayescale.budgets.problem import DEFAULT_BUDGET_TIMES
from bayescale.budgets.surface import loss_at, thinned
from bayescale.display import figures as fig
from bayescale.display.question import Question, frontier_of, spend_of
from bayescale.field import BAND, band_ends, band_percent, number_text
from bayescale.fitting.doors import level_of, number, opened
from bayescale.forecasts.forecast import quantiles
from bayescale.runs.loss_unit import UNITS, from_nats
from bayescale.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONTIER_REACH = 100.0  # times the largest run's compute, to which frontiers are drawn unless a budget is given
SURFACE_DRAWS = 500  # behind the median loss at every size of the picture
LABEL_MIDDLE, LABEL_ROOM = (0.03, 0.015), 0.07  # of a line's label: from where it begins, and from the runs; shares
LABEL_FROM_EDGE = 0.06  # of the picture: labels of contours nearer than that would be cut off


def plot_frontier(
    fit: xr.DataTree | Study, compute: float | None = None, *, level: float = BAND, ax: Any = None
) -> "Figure":
    """N*(C) and D*(C) with their 90 % and 50 % bands, the runs, and 20 tokens per parameter for comparison.

    The bands let the law be wrong about the splits of one budget; beyond the largest run they fade.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of N and D
    compute : budget to which it is drawn [FLOP]; a hundred times the largest run's by default
    level : what the wider band is to hold
    ax : two axes of matplotlib to draw on, for N* and for D*; a new figure by default

    Examples
    --------
    >>> bayescale.plot_frontier(fit, "1e22").savefig("frontier.png")
    """
    compute = None if compute is None else number("compute", compute)
    study = opened(fit)
    return draw_frontier(Question(study), study.once(frontier_of), compute, ax, level_of(level))


def draw_frontier(question: Question, split: xr.Dataset, budget: float | None, ax: Any, level: float) -> "Figure":
    """The frontier of a question, whose allocation is ``split``, to twice a budget."""
    study, unit = question.study, question.unit
    some, count = fig.drawn_runs(study)
    low, largest = question.cost_of_runs
    end = max(FRONTIER_REACH * largest, 2 * (budget or 0.0))
    split = split.isel(budget=(split["compute"].values <= end * (1 + 1e-9)))
    budgets = split["compute"].values
    spent = spend_of(question, some["params"].values, some["tokens"].values)
    with fig.canvas(ax, columns=2, size=(fig.WIDE[0] * 1.1, 3.9), sharex=True) as panels:
        for axes, name, column, label in zip(panels, "ND", ("params", "tokens"), ("N*", "D*"), strict=True):
            band, (first, last) = quantiles(split[name], level), band_ends(level)
            fig.fading_band(axes, budgets, band[first], band[last], largest, f"{label}: {band_percent(level)} band")
            fig.fading_band(axes, budgets, band["q25"], band["q75"], largest, None, 0.35)
            axes.plot(budgets, band["q50"], color=fig.BLUE, lw=1.4, label="median")
            if unit == "FLOP":
                thumb = study.definition.params(RULE_OF_THUMB, budgets) * (1.0 if name == "N" else RULE_OF_THUMB)
                axes.plot(budgets, thumb, color=fig.TRUTH, lw=1.2, ls="--", label="20 tokens per parameter")
            axes.scatter(spent, some[column], s=9, c=fig.POINT, lw=0, alpha=0.6, label=fig.runs_label(count))
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(*fig.widened([low, *budgets], 0.02))
            if unit == "FLOP":
                fig.compute_axis(axes.xaxis, most=5)
            else:
                fig.size_axis(axes.xaxis, f"budget [{unit or 'of the cost'}]", most=5)
            fig.size_axis(axes.yaxis, {"N": "parameters N*", "D": "tokens D*"}[name])
            fig.mark_edge(axes, largest)
            if budget:
                axes.axvline(budget, color=fig.TRUTH, lw=0.9)
        panels[0].legend(loc="upper left", bbox_to_anchor=(0.0, 0.94))
        if not bool(split["identified"].all()):
            fig.figure_of(panels[0]).suptitle(
                "NOT IDENTIFIED by these runs: the bands come from the prior", color=fig.TRUTH, fontsize=10.5
            )
        return fig.finished(panels[0], study)


def plot_surface(fit: xr.DataTree | Study, compute: float | None = None, *, ax: Any = None) -> "Figure":
    """The median loss of the law over N and D, the runs, lines of equal compute, and the posterior of the optimum.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of N and D
    compute : budget whose optimum is shown [FLOP]; ten times the largest run's by default
    ax : axes of matplotlib to draw on; a new figure by default

    Examples
    --------
    >>> bayescale.plot_surface(fit, "1e22").savefig("surface.png")
    """
    compute = None if compute is None else number("compute", compute)
    study = opened(fit)
    question = Question(study)
    budget = compute or DEFAULT_BUDGET_TIMES * question.cost_of_runs[1]
    return draw_surface(question, allocate(study, budget, exponents=False), ax)


def draw_surface(question: Question, split: xr.Dataset, ax: Any) -> "Figure":
    """The surface of a question with the posterior of the best split of one budget, ``split``."""
    study, problem = question.study, question.problem
    data, (dots, count) = study.runs, fig.drawn_runs(study)
    clouds = [split[name].values.ravel() for name in ("N", "D")]
    step = max(1, len(clouds[0]) // 400)
    known = bool(split["identified"].all())
    spans = [np.quantile(cloud, [0.02, 0.5, 0.98] if known else [0.5]) for cloud in clouds]
    ends = [
        fig.widened([*data[name].values, *span], 0.08) for name, span in zip(("params", "tokens"), spans, strict=True)
    ]
    N, D = (np.geomspace(*end, 50) for end in ends)
    surface = thinned(problem.surface, SURFACE_DRAWS)
    loss = np.stack([np.median(loss_at(surface, N[None, :], tokens), axis=0) for tokens in D])
    loss = from_nats(loss, study.loss_unit)
    budget = f"{number_text(float(split['compute'].values[0]), 2)} {question.unit}".strip()
    with fig.canvas(ax, size=(fig.WIDE[0], 5.2)) as (axes,):
        _contours(axes, N, D, loss)
        _equal_compute(axes, study, N, D, dots)
        label = fig.runs_label(count)
        axes.scatter(dots["params"], dots["tokens"], s=15, c="white", edgecolors="black", lw=0.6, label=label, zorder=4)
        if known:
            label = f"best split of {budget}, draws"
            sizes = (cloud[::step] for cloud in clouds)
            axes.scatter(*sizes, s=5, color=fig.TRUTH, alpha=0.45, lw=0, zorder=5, label=label)
            axes.plot(*map(np.median, clouds), "D", ms=6, color=fig.TRUTH, mec="white", zorder=6, label="its median")
        fig.plane_axes(axes, *ends)
        title = f"Loss of the law (median, {UNITS[study.loss_unit]}); dashed: equal compute [FLOP]"
        fig.titled(axes, title if known else f"{title}\nThe best split of {budget} is not identified by these runs")
        fig.legend_below(axes)
        return fig.finished(axes, study)


def _contours(axes: "Axes", N: np.ndarray, D: np.ndarray, loss: np.ndarray) -> None:
    """Levels equally apart in logarithm above the floor, where the surface is steep and where it is flat alike."""
    floor = loss.min() - 0.08 * (np.median(loss) - loss.min())
    steps = np.geomspace(loss.min() - floor, loss.max() - floor, 15)
    digits = int(np.clip(2 - np.floor(np.log10(np.ptp(loss))), 2, 4))
    levels = np.unique(np.round(floor + steps, digits))
    shade = axes.contourf(N, D, loss, levels=levels, cmap="cividis_r", extend="both", alpha=0.9)
    shade.set_rasterized(True)
    lines = axes.contour(N, D, loss, levels=levels[1:-1:2], colors="white", linewidths=0.7)
    labels = axes.clabel(lines, fontsize=8, fmt=lambda value: f"{value:.{digits}f}".rstrip("0"), colors="black")
    for label in labels:  # one at the edge would be cut off
        x, y = label.get_position()
        if min(_from_ends(x, N), _from_ends(y, D)) < LABEL_FROM_EDGE:
            label.remove()


def _from_ends(value: float, row: np.ndarray) -> float:
    """How far a value is from the nearer end of a row, as a share of its length in logarithm."""
    share = np.log(value / row[0]) / np.log(row[-1] / row[0])
    return float(min(share, 1 - share))


def _equal_compute(axes: "Axes", study: Study, N: np.ndarray, D: np.ndarray, runs: Any) -> None:
    """Lines of equal compute; each has its label where no run lies near."""
    from matplotlib import patheffects

    def place(sizes: Any, tokens: Any) -> np.ndarray:
        ends = ((sizes, N), (tokens, D))
        return np.stack([np.log(values / row[0]) / np.log(row[-1] / row[0]) for values, row in ends], axis=-1)

    definition, taken = study.definition, place(runs["params"], runs["tokens"])
    for amount in fig.log_ticks(definition.compute(N[0], D[0]), definition.compute(N[-1], D[-1]), 6):
        tokens = definition.tokens(N, amount)
        inside = (tokens > D[0]) & (tokens < D[-1])
        if inside.sum() < 9:
            continue
        axes.plot(N[inside], tokens[inside], color="black", lw=0.7, ls=(0, (4, 3)), alpha=0.7)
        free = np.flatnonzero(inside)[3:-3]
        apart = place(N[free], tokens[free])[:, None] + LABEL_MIDDLE - taken
        room = np.minimum((apart**2).sum(axis=-1).min(axis=1), LABEL_ROOM**2)
        at = free[np.argmax(room)]  # the first that has room
        halo = [patheffects.withStroke(linewidth=2.2, foreground="white")]
        axes.annotate(f"{amount:.0e}".replace("e+", "e"), (N[at], tokens[at]), fontsize=8, path_effects=halo)


def plot_landmarks(fit: xr.DataTree | Study, *, level: float = BAND, ax: Any = None) -> "Figure":
    """Well-known models on the plane of N and D, with the best splits by this fit: median and 90 % band.

    A landmark above the band was trained on more tokens than its compute asks for by this law, below it on fewer. The
    law is that of the runs of the fit: other data and recipes have other laws.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of N and D
    level : what the band is to hold
    ax : axes of matplotlib to draw on; a new figure by default

    Examples
    --------
    >>> bayescale.plot_landmarks(fit).savefig("landmarks.png")
    """
    study = opened(fit)
    return draw_landmarks(study, landmarks(study, level=level), study.once(frontier_of), ax, level)


def draw_landmarks(study: Study, table: Any, split: xr.Dataset, ax: Any, level: float) -> "Figure":
    """The landmarks of ``table`` with the frontier of a study, as far as it goes."""
    definition = study.definition
    data, (dots, count) = study.runs, fig.drawn_runs(study)
    budgets, largest = split["compute"].values, study.largest_compute
    with fig.canvas(ax, size=(fig.WIDE[0], 5.2)) as (axes,):
        # along a line of equal compute a band of N is a band of D: drawn as the polygon between both edges
        band, (first, last) = quantiles(split["N"], level), band_ends(level)
        for edge, alpha in ((budgets <= largest * (1 + 1e-9), 0.32), (budgets >= largest * (1 - 1e-9), 0.14)):
            sizes = np.concatenate([band[first][edge], band[last][edge][::-1]])
            spent = np.concatenate([budgets[edge], budgets[edge][::-1]])
            axes.fill(sizes, definition.tokens(sizes, spent), color=fig.BLUE, alpha=alpha, lw=0)
        axes.fill(
            [], [], color=fig.BLUE, alpha=0.32, label=f"best splits: {band_percent(level)} band, paler beyond the runs"
        )
        axes.plot(band["q50"], definition.tokens(band["q50"], budgets), color=fig.BLUE, lw=1.4, label="median")
        label = fig.runs_label(count, "runs fitted")
        axes.scatter(dots["params"], dots["tokens"], s=9, c=fig.POINT, lw=0, alpha=0.6, label=label)
        axes.scatter(table["params"], table["tokens"], s=30, marker="s", color=fig.TRUTH, edgecolors="white", zorder=5)
        fig.plane_axes(axes, *(fig.widened([*data[name].values, *table[name]], 0.1) for name in ("params", "tokens")))
        _name_landmarks(axes, table)
        fig.legend_below(axes, 2)
        warn = "" if bool(table["identified"].all()) else "\nNOT IDENTIFIED by these runs"
        fig.titled(axes, f"Well-known models and the best splits by this fit{warn}")
        return fig.finished(axes, study)


NAME_POINTS = 8.0  # size of the names of models
LETTER_WIDTH = 0.58  # of that size
SIDES = ((7, -3, "left"), (-7, -3, "right"), (0, 7, "center"), (0, -14, "center"))  # right, up [points], aligned


def _name_landmarks(axes: "Axes", table: Any) -> None:
    """Names beside the models, where they cover no other name and no model; the table has all of them."""
    from matplotlib import patheffects
    from matplotlib.transforms import Bbox

    pixels = fig.figure_of(axes).dpi / 72
    places = axes.transData.transform(table[["params", "tokens"]].to_numpy())
    taken = [Bbox.from_bounds(x - 4 * pixels, y - 4 * pixels, 8 * pixels, 8 * pixels) for x, y in places]
    halo = [patheffects.withStroke(linewidth=2.2, foreground="white")]
    for row, (x, y) in zip(table.itertuples(), places, strict=True):
        width, height = LETTER_WIDTH * NAME_POINTS * len(row.model) * pixels, NAME_POINTS * pixels
        for right, up, side in SIDES:
            left = x + right * pixels - {"left": 0.0, "right": width, "center": width / 2}[side]
            box = Bbox.from_bounds(left, y + up * pixels, width, height)
            if box.count_overlaps(taken) == 0 and axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1:
                taken.append(box)
                axes.annotate(
                    row.model, (row.params, row.tokens), xytext=(right, up), textcoords="offset points",
                    ha=side, fontsize=NAME_POINTS, zorder=6, path_effects=halo,
                )  # fmt: skip
                break
