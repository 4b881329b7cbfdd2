"""Commands about losses to come: forecast, running."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayescale.cli import arguments as arg
from bayescale.display.terminal import print_answer, working
from bayescale.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


def forecast(
    fit: arg.FitFile,
    params: arg.PlannedParams = None,
    tokens: arg.PlannedTokens = None,
    compute: arg.PlannedCompute = None,
    at: arg.PlannedAt = None,
    through: arg.Through = None,
    target: arg.Target = None,
    level: arg.Level = 90.0,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Credible bands for the loss of runs not yet made."""
    from bayescale.fitting.store import open_fit
    from bayescale.forecasts.chain import chained
    from bayescale.forecasts.forecast import forecast as forecast_runs  # 'forecast' is this command
    from bayescale.forecasts.forecast import read

    arg.check_output(output, "forecast.csv", fit)
    goal, share = arg.target(target), arg.level(level)
    given = {
        "params": arg.numbers("--params", params),
        "tokens": arg.numbers("--tokens", tokens),
        "compute": arg.numbers("--compute", compute),
    }
    given = {name: values for name, values in given.items() if values} | arg.named_numbers("--at", at)
    links = arg.fits_given(through)

    def forecast_of(one: "xr.DataTree", inputs: dict[str, Any]) -> "xr.DataTree":
        return forecast_runs(one, covariates=inputs, seed=seed)

    opened = open_fit(fit)
    tree = chained(opened, links, given, forecast_of) if links else forecast_of(opened, given)
    print_answer(read(tree, target=goal, level=share), as_json, quiet, output)


def running(
    curve: Annotated[list[str], typer.Argument(metavar="CURVE", help="Table of the losses so far: step, loss.")],
    schedule: Annotated[
        str | None, typer.Option(help="constant, linear, cosine or wsd; or a table of its rates: step, lr.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Steps of the whole schedule.")] = None,
    peak: Annotated[str | None, typer.Option(help="Largest learning rate.")] = None,
    final: Annotated[str, typer.Option(help="Learning rate of the last step.")] = "0",
    warmup: Annotated[str, typer.Option(help="Steps of warm-up.")] = "0",
    cooldown: Annotated[str, typer.Option(help="Steps of the cool-down of wsd.")] = "0",
    step: Annotated[str, typer.Option(help="The column that counts steps.")] = "step",
    target: arg.Target = None,
    column: arg.Columns = None,
    unit: arg.Units = None,
    where: arg.Where = None,
    level: arg.Level = 90.0,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """The final loss of a job that is still running, from its curve and its learning-rate schedule."""
    from bayescale.forecasts.forecast import read
    from bayescale.forecasts.running import final_loss
    from bayescale.runs.schedule import KINDS, learning_rates, schedule_in

    arg.check_output(output, "final.csv", *curve)
    goal, share = arg.target(target), arg.level(level)
    if schedule in KINDS:
        if steps is None or peak is None:
            raise InputError(f"--schedule {schedule} needs --steps and --peak")
        whole = {"warmup": warmup, "cooldown": cooldown}
        options = {name: int(arg.number(f"--{name}", text, positive=False)) for name, text in whole.items()}
        options |= {"peak": arg.number("--peak", peak), "final": arg.number("--final", final, positive=False)}
        rates = learning_rates(schedule, int(arg.number("--steps", steps)), **options)
    elif schedule is not None:
        rates = schedule_in(schedule)
    else:
        raise InputError("--schedule is needed: constant, linear, cosine, wsd, or a table with the columns step and lr")
    named: dict[str, Any] = {"columns": arg.pairs("--column", column), "units": arg.pairs("--unit", unit)}
    named |= {} if where is None else {"where": where}
    with working("fitting the curve", quiet or as_json):
        tree = final_loss(arg.source_given(curve), rates, step=step, seed=seed, **named)
    print_answer(read(tree, target=goal, level=share), as_json, quiet, output)
