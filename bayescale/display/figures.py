"""What all figures share: colours, axes in the field's units, a figure as a file or inside a page."""

import base64
import io
import itertools
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.field import number_text, size_text
from bayescale.fitting.diagnostics import diagnostics
from bayescale.jobs.files import write_file
from bayescale.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe-Ito, safe for the colour-blind and distinct in grey
BLUE, POINT, TRUTH, LAW, OTHER = "#0072B2", "#666666", "#D55E00", "#009E73", "#CC79A7"
HORIZONS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
NARROW_INCHES = 6.0
CHARACTERS_PER_INCH = 13.0  # of a title
WIDE = (7.6, 4.6)  # inches; at 10 pt legible in print, on a slide, and across a page
RUNS_SHOWN = 500  # dots for runs in one picture: more hide each other, and make a page as large as they are many
LOSS_TICKS = 8  # of an axis of losses, about
LOSS_STEPS = (1, 2, 5, 10)  # times a power of ten: between two ticks of an axis of losses
AXIS_NAMES = {"params": "parameters N", "tokens": "tokens D", "compute": "compute [FLOP]"}  # names of axes


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings for a figure of this package."""
    import matplotlib.pyplot as plt

    settings: dict[Any, Any] = {
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.edgecolor": "0.35",
        "legend.fontsize": 9,
        "legend.frameon": False,
        "svg.hashsalt": "bayescale",  # the same figure is the same file
        "svg.fonttype": "path",
        "figure.constrained_layout.use": True,
        "text.parse_math": False,  # names of files and laws may hold dollar signs
    }
    with plt.rc_context(settings):
        yield


@contextmanager
def canvas(ax: Any = None, *, columns: int = 1, size: Any = WIDE, **options: Any) -> Iterator[Any]:
    """Axes to draw on, flat, in the package's style: new ones, or those that a user gave.

    Raises FitError if the user gave another number of axes.
    """
    import matplotlib.pyplot as plt

    with style():
        if ax is None:
            _, grid = plt.subplots(1, columns, figsize=size, squeeze=False, **options)
            yield list(grid.ravel())
            return
        given = list(np.ravel(np.array(ax, dtype=object)))
        if len(given) != columns or not all(hasattr(one, "get_figure") for one in given):
            raise FitError(f"ax: {columns} axes of matplotlib are expected")
        yield given


def figure_of(axes: "Axes") -> Any:
    """The whole figure that axes are in."""
    return axes.get_figure(root=True)


def is_narrow(axes: "Axes") -> bool:
    """Whether a figure is for a page or a phone: little fits beside each other."""
    return bool(figure_of(axes).get_size_inches()[0] < NARROW_INCHES)


def titled(axes: "Axes", text: str) -> None:
    """A title on as many lines as the width of the axes asks for."""
    inches = axes.get_position().width * figure_of(axes).get_size_inches()[0]
    axes.set_title("\n".join(textwrap.fill(line, round(CHARACTERS_PER_INCH * inches)) for line in text.split("\n")))


def legend_below(axes: "Axes", columns: int = 3) -> None:
    """A legend under the axes, where it covers nothing."""
    narrow = is_narrow(axes)
    place = (0.5, -0.2 if narrow else -0.12)
    axes.legend(loc="upper center", bbox_to_anchor=place, ncols=min(columns, 2) if narrow else columns)


def log_ticks(low: float, high: float, most: int = 6) -> np.ndarray:
    """Round numbers between two ends of a logarithmic axis: as many as fit, at most ``most``."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    choices = [[f * 10.0**p for p in range(first, last + 1) for f in factors] for factors in ((1, 2, 5), (1, 3), (1,))]
    choices += [[10.0**p for p in range(first, last + 1) if p % step == 0] for step in (2, 3, 4, 6)]
    inside = [np.array([x for x in ticks if low <= x <= high]) for ticks in choices]
    if len(inside[0]) < 2:  # a narrow axis: as if it were linear
        step = next(
            s * 10.0**p for p in range(first - 4, last + 1) for s in (1, 2, 5) if (high - low) / (s * 10.0**p) <= 4
        )
        return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return next((ticks for ticks in inside if len(ticks) <= most), inside[-1])


def size_axis(axis: Any, label: str, most: int = 6) -> None:
    """A logarithmic axis of counts: 7B, 1.4T."""
    _log_axis(axis, label, size_text, most)


def compute_axis(axis: Any, most: int = 6) -> None:
    """A logarithmic axis of compute: 1e21."""
    _log_axis(axis, AXIS_NAMES["compute"], lambda value: f"{value:.0e}".replace("e+", "e"), most)


def own_axis(axis: Any, size: str, most: int = 6) -> None:
    """A logarithmic axis of a law's own size: of compute as such, of others plain numbers."""
    if size == "compute":
        compute_axis(axis, most)
    else:
        number_axis(axis, AXIS_NAMES.get(size, size), most)


def plane_axes(axes: "Axes", params: tuple[float, float], tokens: tuple[float, float]) -> None:
    """Logarithmic axes of the plane of N and D, between these ends."""
    axes.set(xscale="log", yscale="log", xlim=params, ylim=tokens)
    size_axis(axes.xaxis, AXIS_NAMES["params"])
    size_axis(axes.yaxis, AXIS_NAMES["tokens"])


def number_axis(axis: Any, label: str, most: int = 6) -> None:
    """A logarithmic axis of plain numbers."""
    _log_axis(axis, label, lambda value: number_text(value, 6), most)


def _log_axis(axis: Any, label: str, text: Callable[[float], str], most: int) -> None:
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    ends = axis.get_view_interval()
    _ticked(axis, label, log_ticks(min(ends), max(ends), most), text, ends)


def _ticked(axis: Any, label: str, ticks: np.ndarray, text: Callable[[float], str], ends: Sequence[float]) -> None:
    """An axis with these ticks and no others, their texts, a label and ends."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(ticks.tolist()))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.axes.set(**{f"{axis.axis_name}label": label, f"{axis.axis_name}lim": ends})


def loss_axis(axis: Any, label: str, *, logarithmic: bool = True) -> None:
    """An axis of losses: round numbers instead of powers of ten, as losses span far less than a decade."""
    if logarithmic:
        getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    low, high = sorted(axis.get_view_interval())
    power = 10.0 ** np.floor(np.log10((high - low) / LOSS_TICKS))
    step = next(factor * power for factor in LOSS_STEPS if factor * power * LOSS_TICKS >= 0.999 * (high - low))
    ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    if logarithmic:  # the upper ones crowd
        kept: list[float] = []
        for tick in ticks:
            if not kept or np.log(tick / kept[-1]) > 0.6 * np.log(high / low) / LOSS_TICKS:
                kept.append(tick)
        ticks = np.array(kept)
    _ticked(axis, label, ticks, lambda value: f"{value:.10g}", (low, high))


def fading_band(
    axes: "Axes", x: np.ndarray, low: np.ndarray, high: np.ndarray, edge: float, label: str | None, alpha: float = 0.3
) -> None:
    """A band that pales beyond ``edge``, the farther the more: what lies there has not been seen."""
    steps = np.log10(np.maximum(x / edge, 1.0))
    strength = alpha * np.maximum(0.25, 1 - 0.45 * steps)
    strength[x <= edge * (1 + 1e-9)] = alpha
    start = 0
    for i in range(1, len(x)):
        last = i == len(x) - 1
        if last or abs(strength[i] - strength[start]) > 0.012:
            part = slice(start, i + 1)
            axes.fill_between(x[part], low[part], high[part], color=BLUE, alpha=float(strength[start]), lw=0)
            start = i
    axes.fill_between(x[:1], low[:1], high[:1], color=BLUE, alpha=alpha, lw=0, label=label)


def mark_edge(axes: "Axes", edge: float) -> None:
    """A dotted line where the runs end."""
    axes.axvline(edge, color="0.5", lw=1, ls=":")
    where: Any = {"xycoords": ("data", "axes fraction"), "ha": "right", "va": "top"}
    axes.annotate("largest run ", (edge, 1), **where, color="0.35", fontsize=8.5, zorder=9)


def apart(x: np.ndarray, factor: float = 1.09) -> np.ndarray:
    """Positions moved apart a little where several are nearly the same, so that no band hides another."""
    moved = x.astype(float).copy()
    order = np.argsort(moved, kind="stable")
    for before, now in itertools.pairwise(order):
        moved[now] = max(moved[now], moved[before] * factor)
    return moved


def widened(values: Sequence[float] | np.ndarray, share: float = 0.06) -> tuple[float, float]:
    """Ends of a logarithmic axis a little beyond some values."""
    low, high = np.log(np.min(values)), np.log(np.max(values))
    room = max(share * (high - low), 0.05)
    return float(np.exp(low - room)), float(np.exp(high + room))


def finished(axes: "Axes", made_from: Any) -> Any:
    """The whole figure that axes are in, which says where the chains of the fit behind it did not converge."""
    figure = figure_of(axes)
    if not diagnostics(made_from)["converged"]:
        figure.supxlabel("The chains did not converge: these numbers must not be trusted", color=TRUTH, fontsize=10.5)
    return figure


def shown_runs(sizes: np.ndarray) -> np.ndarray:
    """Which runs a figure shows: all, or of very many RUNS_SHOWN evenly over their sizes, ends included."""
    if len(sizes) <= RUNS_SHOWN:
        return np.arange(len(sizes))
    order = np.argsort(sizes, kind="stable")
    return np.sort(order[np.linspace(0, len(order) - 1, RUNS_SHOWN).round().astype(int)])


def runs_label(count: int, what: str = "runs") -> str:
    """What a legend says of so many runs: ``23 runs fitted``, ``runs (1000 of 200000 shown)``."""
    return what if count <= RUNS_SHOWN else f"{what} ({RUNS_SHOWN} of {count} shown)"


def figure_source(figure: Any) -> dict[str, Any]:
    """A figure as an image for a page: ``source`` (a data address), ``width`` and ``height`` in pixels; closes it."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    with style():
        canvas = FigureCanvasSVG(figure)
        figure.dpi = 72  # of SVG, whose texts have other sizes than those of a screen
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")  # savefig would draw everything once more to the same end
        figure.dpi = 150  # of what is drawn as pixels
        buffer = io.BytesIO()
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"source": f"data:image/svg+xml;base64,{encoded}", "width": width, "height": height}


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure, whole or not at all, and close it: PNG, or SVG or PDF by the name of the file.

    Raises FileError if it cannot be written.
    """
    import matplotlib.pyplot as plt

    kind = Path(path).suffix.lower().lstrip(".")
    kind = kind if kind in ("svg", "pdf") else "png"
    try:
        return write_file(path, lambda temporary: figure.savefig(temporary, format=kind, dpi=150))
    finally:
        plt.close(figure)


def drawn_runs(study: Study) -> tuple[xr.Dataset, int]:
    """The runs that figures show [run], and how many there are."""
    data = study.runs
    return data.isel(run=shown_runs(data["compute"].values)), data.sizes["run"]
