"""Every figure, a row each: where its function is, and how ``bayescale plot`` draws it of a fit.

Public names, the command line, the gallery of the docs and the tests take the figures from here. ``import bayescale``
reads this module, so it imports nothing of the package at the top.
"""

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr


class Plot(NamedTuple):
    """A figure: the function ``plot_NAME``.

    Attributes
    ----------
    module : of this room, which has the function
    look_for : what a reader should see in it; empty if it is not drawn of a fit alone, and so no kind of ``plot``
    options : of ``bayescale plot`` that it takes
    example : options for the gallery
    draw : draws it of a fit, the options and a seed; by default its function, which then takes fit and options
    """

    module: str
    look_for: str = ""
    options: tuple[str, ...] = ()
    example: str = ""
    draw: "Callable[[xr.DataTree, dict[str, Any], int], Any] | None" = None


def _forecast(fit: "xr.DataTree", given: dict[str, Any], seed: int) -> Any:
    """The forecast of the planned runs, with what they showed."""
    from bayescale.display.plots_loss import plot_forecast
    from bayescale.errors import InputError
    from bayescale.forecasts.forecast import forecast

    band = {"level": given["level"]} if "level" in given else {}
    sizes = {name: given[name] for name in ("params", "tokens") if name in given} | given.get("at", {})
    if not sizes:
        raise InputError("a figure of a forecast needs a planned run: -N 70B -D 1.4T, or --at NAME=VALUE")
    tree = forecast(fit, covariates=sizes, seed=seed)
    return plot_forecast(fit, tree, given.get("measured"), **band)


def _regret(fit: "xr.DataTree", given: dict[str, Any], seed: int) -> Any:
    """What another size costs at the budget."""
    from bayescale.budgets.decide import decide
    from bayescale.budgets.problem import DEFAULT_BUDGET_TIMES
    from bayescale.display.plots_decision import plot_regret

    budget = given.get("compute", DEFAULT_BUDGET_TIMES * float(fit["constant_data"]["compute"].max()))
    return plot_regret(decide(fit, budget, seed=seed))


PLOTS = {
    "forecast": Plot(
        "plots_loss",
        "A planned run with its bands, and what it showed. The band opens, and pales, beyond the largest run.",
        ("params", "tokens", "at", "measured", "level"),
        "-N 20.6B -D 472B --measured 1.519",
        _forecast,
    ),
    "frontier": Plot(
        "plots_split",
        "Best N and D for every budget. Where a band is wide, the split is not known.",
        ("compute", "level"),
        "-C 1e23",
    ),
    "surface": Plot(
        "plots_split",
        "The law over N and D, with the draws of the best split of one budget.",
        ("compute",),
        "-C 1e23",
    ),
    "regret": Plot(
        "plots_decision",
        "What another size costs. In the shade it costs next to nothing.",
        ("compute",),
        "-C 1e23",
        _regret,
    ),
    "isoflops": Plot(
        "plots_loss", "Loss along budgets. Runs should lie on the curves; the diamond is the best size.", ("level",)
    ),
    "residuals": Plot(
        "plots_loss", "What the law leaves over. A line that bends at the large end is a law that is wrong there."
    ),
    "priors": Plot("plots_trust", "Priors and posteriors. Where both are alike, the runs say nothing."),
    "landmarks": Plot("plots_split", "Well-known models against the best splits by this fit.", ("level",)),
    "emergence": Plot("plots_decision"),
    "next_run": Plot("plots_decision"),
    "calibration": Plot("plots_trust"),
    "comparison": Plot("plots_trust"),
    "ranks": Plot("plots_trust"),
}
OF_A_FIT = {kind: row for kind, row in PLOTS.items() if row.look_for}  # the kinds of ``bayescale plot``


def draw(kind: str, fit: "xr.DataTree", options: dict[str, Any], seed: int = 0) -> Any:
    """A figure of a fit, by its kind."""
    row = OF_A_FIT[kind]
    if row.draw:
        return row.draw(fit, options, seed)
    return getattr(importlib.import_module(f"bayescale.display.{row.module}"), f"plot_{kind}")(fit, **options)
