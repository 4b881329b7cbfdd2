"""The command forecast."""

from typing import Annotated

import typer

from bayescale.cli.arguments import (
    FitFile,
    Json,
    PlannedAt,
    PlannedParams,
    PlannedTokens,
    Quiet,
    Seed,
    TableFile,
    check_output,
    named_numbers,
    number,
    numbers,
)
from bayescale.display.terminal import print_answer


def forecast(
    fit: FitFile,
    params: PlannedParams = None,
    tokens: PlannedTokens = None,
    at: PlannedAt = None,
    target: Annotated[
        str | None, typer.Option(help="Also print P(loss <= TARGET), in the unit of the runs' losses.")
    ] = None,
    output: TableFile = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Credible bands for the loss of runs not yet made."""
    from bayescale.fitting.store import open_fit
    from bayescale.forecasts.forecast import forecast as forecast_runs  # 'forecast' is this command
    from bayescale.forecasts.forecast import read

    check_output(output, "forecast.csv", fit)
    goal = number("--target", target)
    tree = forecast_runs(
        open_fit(fit),
        numbers("--params", params) or None,
        numbers("--tokens", tokens) or None,
        covariates=named_numbers("--at", at),
        seed=seed,
    )
    print_answer(read(tree, target=goal), as_json, quiet, output)
