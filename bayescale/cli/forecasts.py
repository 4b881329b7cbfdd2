"""Commands about losses to come: forecast, running."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


def forecast(
    fit: opt.FitFile,
    *,
    planned: opt.Planned,
    through: opt.Through = None,
    target: opt.Target = None,
    level: opt.Level = 90.0,
    output: opt.TableFile = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Credible bands for the loss of runs not yet made."""
    from bayescale.forecasts.chain import chained

    arg.check_output(output, "forecast.csv", fit)
    goal, given, links = arg.target(target), planned.inputs, arg.fits_given(through)

    def forecast_of(one: "xr.DataTree", inputs: dict[str, Any]) -> "xr.DataTree":
        tree: xr.DataTree = bayescale.forecast(one, covariates=inputs, seed=seed)
        return tree

    opened = bayescale.open_fit(fit)
    given = arg.in_counts(opened, given)
    tree = chained(opened, links, given, forecast_of) if links else forecast_of(opened, given)
    said.answer(bayescale.read(tree, target=goal, level=level), output)


def running(
    curve: Annotated[list[str], typer.Argument(metavar="CURVE", help="Table of the losses so far: step, loss.")],
    *,
    schedule: Annotated[
        str | None, typer.Option(help="constant, linear, cosine or wsd; or a table of its rates: step, lr.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Steps of the whole schedule.")] = None,
    peak: Annotated[str | None, typer.Option(help="Largest learning rate.")] = None,
    final: Annotated[str, typer.Option(help="Learning rate of the last step.")] = "0",
    warmup: Annotated[str, typer.Option(help="Steps of warm-up.")] = "0",
    cooldown: Annotated[str, typer.Option(help="Steps of the cool-down of wsd.")] = "0",
    law: Annotated[str, typer.Option(help="annealing or multi_power.")] = "annealing",
    step: Annotated[str, typer.Option(help="The column that counts steps.")] = "step",
    target: opt.Target = None,
    column: opt.Columns = None,
    unit: opt.Units = None,
    where: opt.Where = None,
    level: opt.Level = 90.0,
    output: opt.TableFile = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """The final loss of a job that is still running, from its curve and its learning-rate schedule."""
    from bayescale.runs.schedule import SCHEDULES, schedule_in

    arg.check_output(output, "final.csv", *curve)
    goal = arg.target(target)
    if schedule in SCHEDULES:
        if steps is None or peak is None:
            raise InputError(f"--schedule {schedule} needs --steps and --peak")
        whole = {"warmup": warmup, "cooldown": cooldown}
        options = {name: int(arg.number(f"--{name}", text, positive=False)) for name, text in whole.items()}
        options |= {"peak": arg.number("--peak", peak), "final": arg.number("--final", final, positive=False)}
        rates = bayescale.learning_rates(schedule, int(arg.number("--steps", steps)), **options)
    elif schedule is not None:
        rates = schedule_in(schedule)
    else:
        raise InputError("--schedule is needed: constant, linear, cosine, wsd, or a table with the columns step and lr")
    table = opt.TableOptions(column, unit, where)
    named = table.named | table.rows
    with said.working("fitting the curve"):
        tree = bayescale.final_loss(arg.source_given(curve), rates, law=law, step=step, seed=seed, **named)
    said.answer(bayescale.read(tree, target=goal, level=level), output)
