"""The command plot: one figure of a fit, as a file."""

from pathlib import Path
from typing import Annotated

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.display.gallery import OF_A_FIT, draw
from bayescale.errors import InputError


def plot(
    fit: opt.FitFile,
    kind: Annotated[str, typer.Argument(help=f"Which figure: {', '.join(OF_A_FIT)}.")],
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
    if kind not in OF_A_FIT:
        raise InputError(f"'{kind}' is no figure; they are {', '.join(OF_A_FIT)}")
    given = {
        "params": arg.numbers("--params", params),
        "tokens": arg.numbers("--tokens", tokens),
        "compute": arg.number("--compute", compute),
        "at": arg.named_numbers("--at", at),
        "measured": [arg.number("--measured", text, positive=False) for text in measured or ()],
        "level": level,
    }
    given = {name: value for name, value in given.items() if value not in (None, [], {})}
    if unused := sorted(given.keys() - {*OF_A_FIT[kind].options}):
        raise InputError(f"--{unused[0]} does not go with the figure '{kind}'")
    with said.working("drawing"):
        figure = draw(kind, bayescale.open_fit(fit), given, seed)
        path = save_figure(figure, output)
    said.written(path)
