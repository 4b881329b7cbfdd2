"""The figures of a report, and what is written under them."""

from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr

from bayescale.display.explorer import can_explore
from bayescale.display.figures import figure_source
from bayescale.display.report_parts import Asked, or_none
from bayescale.evidence.sensitivity import has_split
from bayescale.laws.law import Law, size_column
from bayescale.study import Study


def figures_part(study: Study, asked: Asked, decision, forecasts, tested, compared) -> dict[str, Any]:
    """The figures of a page by name, each with title, caption and text for who cannot see it; None if not drawn."""
    from bayescale.display import plots_decision, plots_loss, plots_split, plots_trust

    law = study.law
    budget = float(asked.budgets[0]) if asked.budgets.size else None
    makers: dict[str, Callable[[], Any]] = {
        "residuals": lambda: plots_loss.plot_residuals(study),
        "priors": lambda: plots_trust.plot_priors(study),
    }
    if forecasts:
        makers["forecast"] = lambda: plots_loss.plot_forecast(study, joined([tree for _, tree in forecasts]))
    if has_split(law) and not law.no_split and budget:
        makers["frontier"] = lambda: plots_split.plot_frontier(study, budget)
        makers["surface"] = lambda: plots_split.plot_surface(study, budget)
        makers["isoflops"] = lambda: plots_loss.plot_isoflops(study)
        makers["landmarks"] = lambda: plots_split.plot_landmarks(study)
    if decision is not None:
        makers["regret"] = lambda: plots_decision.plot_regret(decision)
    if compared is not None:
        makers["comparison"] = lambda: plots_trust.plot_comparison(compared)
    if tested is not None:
        makers["calibration"] = lambda: plots_trust.plot_calibration(tested)
    drawn = {name: or_none(make) for name, make in makers.items()}
    captions = CAPTIONS if can_explore(law) else CAPTIONS | {"forecast": _forecast_caption(law)}
    return {
        name: None if drawn.get(name) is None else figure_source(drawn[name]) | caption
        for name, caption in captions.items()
    }


def _forecast_caption(law: Law) -> dict[str, str]:
    """Of a law that splits no budget: there is no best split to follow."""
    observed, size = law.observed.column, size_column(law)
    return _caption(
        f"{observed[:1].upper()}{observed[1:]} against {size}",
        f"Grey: the runs. Blue band: the {observed} of a new run, 90 %, fading beyond the runs. Bars: forecasts, "
        "90 and 50 %. Green ticks: the law alone.",
    )


def _caption(title: str, caption: str) -> dict[str, str]:
    return {"title": title, "caption": caption, "alt": f"{title}. {caption}"}


CAPTIONS = {
    "forecast": _caption(
        "Loss against compute",
        "Grey: the runs. Blue band: the loss at the best split of each budget, 90 %, fading beyond the largest run. "
        "Bars: forecasts, 90 and 50 %. Green ticks: the law alone.",
    ),
    "residuals": _caption(
        "What the law leaves over",
        "Each dot is a run. A line that leaves the shade, or bends at the large end, shows how the law is wrong.",
    ),
    "frontier": _caption(
        "Best sizes against compute",
        "N* and D* with 90 and 50 % bands, which let the law be wrong; beyond the runs they fade.",
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
        "Curves: the law with its 90 % band. Dots: runs. Diamonds: the size of least loss, median and 90 % band.",
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


def joined(trees: Sequence[xr.DataTree]) -> xr.DataTree:
    """Forecasts of single runs as one of several, to draw them together."""
    groups = {
        name: xr.concat([tree[name].to_dataset() for tree in trees], dim="point")
        for name in ("predictions", "predictions_constant_data")
    }
    joined = xr.DataTree.from_dict(groups)
    joined.attrs = dict(trees[0].attrs)
    return joined
