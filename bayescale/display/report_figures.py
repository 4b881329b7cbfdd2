"""The figures of a report, and what is written under them."""

from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr

from bayescale.display.explorer import can_explore
from bayescale.display.figures import figure_source, style
from bayescale.display.question import frontier_of
from bayescale.display.report_asked import Asked, Forecasts
from bayescale.display.report_parts import or_none
from bayescale.evidence.sensitivity import has_split
from bayescale.field import band_percent
from bayescale.laws.law import Law, size_column

PAGE_INCHES = 4.9  # width of a figure: legible on a phone, where it is shown at three quarters
PRIOR_COLUMNS = 3


def figures_part(
    asked: Asked, forecasts: Forecasts, table: Any, tested: xr.Dataset | None, compared: xr.Dataset | None
) -> dict[str, Any]:
    """The figures of a page by name, each with title, caption and text for who cannot see it; None if not drawn.

    ``table`` holds the landmarks, or None.
    """
    from bayescale.display import plots_decision, plots_loss, plots_split, plots_trust

    study, law, plain = asked.study, asked.study.law, asked.plain
    panels = len(plots_loss.residual_panels(study, study.runs))
    wide, level, drawn_forecasts = PAGE_INCHES / PRIOR_COLUMNS, asked.level, joined([tree for _, tree in forecasts])
    makers: dict[str, Callable[[], Any]] = {
        "residuals": lambda: plots_loss.plot_residuals(study, ax=page_axes(panels, 1.9, sharey=True)),
        "priors": lambda: plots_trust.plot_priors(study, columns=PRIOR_COLUMNS, size=(wide, 1.35)),
        "forecast": lambda: plots_loss.draw_forecast(
            study, drawn_forecasts, None, None if plain is None else plain.frontier, page_axes(), level
        ),
    }
    if asked.asked and not law.no_split:
        first = asked.asked[0]
        budget = float(first.budgets[0])
        makers["frontier"] = lambda: plots_split.draw_frontier(first, first.frontier, budget, page_axes(2, 2.7), level)
        makers["surface"] = lambda: plots_split.draw_surface(first, first.splits[0], page_axes(1, 4.6))
        makers["regret"] = lambda: plots_decision.plot_regret(first.decision, ax=page_axes())
    if has_split(law) and plain is not None:
        makers["isoflops"] = lambda: plots_loss.plot_isoflops(study, level=level, ax=page_axes(1, 4.4))
    if table is not None and plain is not None:
        free = not (plain.problem.limits.any or plain.problem.menu)
        split = plain.frontier if free else study.once(frontier_of)
        makers["landmarks"] = lambda: plots_split.draw_landmarks(study, table, split, page_axes(1, 4.6), level)
    if compared is not None:
        forward = 1 + ("elpd_cut" in compared)
        makers["comparison"] = lambda: plots_trust.plot_comparison(compared, ax=page_axes(forward, 2.4))
    if tested is not None:
        makers["calibration"] = lambda: plots_trust.plot_calibration(tested, ax=page_axes(2, 3.2))
    found: dict[str, Any] = {}
    for name, caption in (CAPTIONS if can_explore(law) else CAPTIONS | {"forecast": _forecast_caption(law)}).items():
        figure = or_none(makers[name]) if name in makers else None
        words = {key: text.format(band=band_percent(level)) for key, text in caption.items()}
        found[name] = None if figure is None else figure_source(figure) | words
    return found


def page_axes(rows: int = 1, inches: float = 3.7, **options: Any) -> Any:
    """Axes one above the other, for a figure that is as legible on a phone as on a screen."""
    import matplotlib.pyplot as plt

    with style():
        return plt.subplots(rows, 1, figsize=(PAGE_INCHES, inches * rows), squeeze=False, **options)[1].ravel()


def _forecast_caption(law: Law) -> dict[str, str]:
    """Of a law that splits no budget: there is no best split to follow."""
    observed, size = law.observed.column, size_column(law)
    return _caption(
        f"{observed[:1].upper()}{observed[1:]} against {size}",
        f"Grey: the runs. Blue band: the {observed} of a new run, {{band}}, fading beyond the runs. Bars: forecasts, "
        "{band} and 50 %. Green ticks: the law alone.",
    )


def _caption(title: str, caption: str) -> dict[str, str]:
    return {"title": title, "caption": caption, "alt": f"{title}. {caption}"}


CAPTIONS = {
    "forecast": _caption(
        "Loss against compute",
        "Grey: the runs. Blue band: the loss at the best split of each budget, {band}, fading beyond the largest run. "
        "Bars: forecasts, {band} and 50 %. Green ticks: the law alone.",
    ),
    "residuals": _caption(
        "What the law leaves over",
        "Each dot is a run. A line that leaves the shade, or bends at the large end, shows how the law is wrong.",
    ),
    "frontier": _caption(
        "Best sizes against compute",
        "N* and D* with {band} and 50 % bands, which let the law be wrong; beyond the runs they fade.",
    ),
    "surface": _caption(
        "The law over parameters and tokens",
        "Median loss of the law, the runs, lines of equal compute, and the posterior of the best split of the budget.",
    ),
    "regret": _caption(
        "What another size costs",
        "Expected loss above the least along the budget; in the shade a size costs next to nothing.",
    ),
    "isoflops": _caption(
        "Loss along budgets",
        "Curves: the law with its {band} band. Dots: runs. Diamonds: the size of least loss, median and {band} band.",
    ),
    "landmarks": _caption(
        "Well-known models and this fit's best splits",
        "If the law of these runs held for them: above the band a model had more tokens than is best for its compute.",
    ),
    "comparison": _caption("Laws side by side", "A bar that reaches zero: a law that predicts as well as the best."),
    "calibration": _caption(
        "Backtest on these runs",
        "Left: forecasts of larger runs from smaller ones. Right: how often bands held against how often they say.",
    ),
    "priors": _caption("Priors and posteriors", "Where the two are alike the runs say nothing, and the prior decides."),
}


def joined(trees: Sequence[xr.DataTree]) -> xr.DataTree | None:
    """Forecasts of single runs as one of several, to draw them together; None of none."""
    if not trees:
        return None
    groups = {
        name: xr.concat([tree[name].to_dataset() for tree in trees], dim="point")
        for name in ("predictions", "predictions_constant_data")
    }
    joined = xr.DataTree.from_dict(groups)
    joined.attrs = dict(trees[0].attrs)
    return joined
