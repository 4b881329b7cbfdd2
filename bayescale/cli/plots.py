"""The command plot: one figure of a fit, as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.display.terminal import print_json, say
from bayescale.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

# figures of a fit, and which of the options each takes
KINDS = {
    "forecast": {"params", "tokens", "at", "measured", "level"},
    "isoflops": {"level"},
    "residuals": set(),
    "frontier": {"compute", "level"},
    "surface": {"compute"},
    "landmarks": {"level"},
    "regret": {"compute"},
    "priors": set(),
}
BUDGET_TIMES = 10.0  # the largest run's compute: the budget of a regret unless one is given


def plot(
    fit: opt.FitFile,
    kind: Annotated[str, typer.Argument(help=f"Which figure: {', '.join(KINDS)}.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure: .png, .svg or .pdf.")],
    *,
    params: opt.PlannedParams = None,
    tokens: opt.PlannedTokens = None,
    compute: Annotated[str | None, typer.Option("--compute", "-C", help="Budget in FLOP to draw or to mark.")] = None,
    at: opt.PlannedAt = None,
    measured: Annotated[
        list[str] | None, typer.Option("--measured", help="What a planned run showed, once known; may be repeated.")
    ] = None,
    level: Annotated[
        float | None,
        typer.Option("--level", metavar="PERCENT", callback=arg.level, help="What the bands are to hold: 95."),
    ] = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """One figure of a fit as a file: the forecast, the frontier, isoFLOP profiles, priors and others."""
    from bayescale.display.figures import save_figure

    arg.check_output(output, "figure.png", fit)
    if kind not in KINDS:
        raise InputError(f"'{kind}' is no figure; they are {', '.join(KINDS)}")
    given = {
        "params": arg.numbers("--params", params),
        "tokens": arg.numbers("--tokens", tokens),
        "compute": arg.number("--compute", compute),
        "at": arg.named_numbers("--at", at),
        "measured": [arg.number("--measured", text, positive=False) for text in measured or ()],
        "level": level,
    }
    given = {name: value for name, value in given.items() if value not in (None, [], {})}
    if unused := sorted(given.keys() - KINDS[kind]):
        raise InputError(f"--{unused[0]} does not go with the figure '{kind}'")
    with said.working("drawing"):
        opened = bayescale.open_fit(fit)
        if kind == "forecast":
            figure = _forecast(opened, given, seed)
        elif kind == "regret":
            budget = given.get("compute", BUDGET_TIMES * float(opened["constant_data"]["compute"].max()))
            figure = bayescale.plot_regret(bayescale.decide(opened, budget, seed=seed))
        else:
            figure = getattr(bayescale, f"plot_{kind}")(opened, **given)
        path = save_figure(figure, output)
    if said.as_json:
        print_json({"file": str(path)})
    elif not said.quiet:
        say(f"Written: {path}")


def _forecast(fit: "xr.DataTree", given: dict[str, Any], seed: int) -> Any:
    """The forecast of the planned runs, with what they showed."""
    band = {"level": given["level"]} if "level" in given else {}
    sizes = {name: given[name] for name in ("params", "tokens") if name in given} | given.get("at", {})
    if not sizes:
        raise InputError("a figure of a forecast needs a planned run: -N 70B -D 1.4T, or --at NAME=VALUE")
    tree = bayescale.forecast(fit, covariates=sizes, seed=seed)
    return bayescale.plot_forecast(fit, tree, given.get("measured"), **band)
