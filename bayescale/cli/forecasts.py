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
from bayescale.display.tables import forecast_cells
from bayescale.display.terminal import print_json, print_loss_unit, print_table, print_warnings


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
    from bayescale.forecasts.forecast import forecast_summary, forecast_table, forecast_warnings
    from bayescale.jobs.files import write_table

    check_output(output, "forecast.csv", fit)
    goal = number("--target", target)
    tree = forecast_runs(
        open_fit(fit),
        numbers("--params", params) or None,
        numbers("--tokens", tokens) or None,
        covariates=named_numbers("--at", at),
        seed=seed,
    )
    table = forecast_table(tree, target=goal)
    if output is not None:
        write_table(table, output)
    if as_json:
        print_json(forecast_summary(tree, target=goal))
    elif not quiet:
        print_table(forecast_cells(table, goal))
        print_loss_unit(tree.attrs)
        print_warnings(forecast_warnings(tree))
