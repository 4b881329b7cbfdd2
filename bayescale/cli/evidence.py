"""Commands about evidence: backtest, calibrate, compare."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.display.terminal import print_json, print_readings
from bayescale.errors import InputError
from bayescale.jobs.files import write_table
from bayescale.laws.law import DEFAULT_LAW

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.reading import Reading


def backtest(
    runs: opt.Runs,
    *,
    law: Annotated[
        list[str] | None, typer.Option("--law", "-l", help="Name or path of a law; may be repeated.")
    ] = None,
    horizon: opt.Horizon = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished parts: a killed backtest goes on.")] = None,
    output: opt.TableFile = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the backtest here (PNG).")] = None,
    refits: opt.Refits,
    table: opt.TableOptions,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Forecast your larger runs from your smaller ones, and see how often the bands hold."""
    arg.check_output(output, "backtest.csv", *runs)
    arg.check_output(figure, "backtest.png", *runs)
    source = arg.source_given(runs)
    data = table.read(source, [one for name in law or (None,) for one in table.laws(name, source)])
    options: dict[str, Any] = {"horizon": horizon, "seed": seed, "folder": resume}
    with refits.open() as executor, said.progress("forecasting the larger runs from the smaller") as step:
        result = bayescale.backtest(data, law, **options, executor=executor, progress=step)
    arg.draw(figure, lambda: bayescale.plot_calibration(result))
    said.answer(bayescale.read(result), output)


def calibrate(
    law: Annotated[str, typer.Argument(metavar="LAW", help="Name or path of a law.")] = DEFAULT_LAW,
    *,
    design: Annotated[
        str | None, typer.Option(help="Runs whose sizes are simulated; default: a grid over the law's range.")
    ] = None,
    posterior: Annotated[
        str | None, typer.Option(metavar="RUNS", help="Draw the parameters from the posterior of these runs.")
    ] = None,
    simulations: Annotated[int, typer.Option(help="Simulated sets of runs.")] = 300,
    draws: Annotated[int, typer.Option(help="Kept draws of each of 4 chains.")] = 1000,
    noise: opt.Noise = None,
    once: Annotated[
        bool, typer.Option("--once", help="Try no slower sampler settings: quicker for hard laws.")
    ] = False,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished simulations: a killed run goes on.")] = None,
    output: opt.TableFile = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the ranks here (PNG).")] = None,
    refits: opt.Refits,
    column: opt.Columns = None,
    unit: opt.Units = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Is the machinery right? Fit simulated runs, rank what they were simulated from (simulation-based calibration)."""
    if design is not None and posterior is not None:
        raise InputError("--posterior takes the sizes of its runs: give it or --design")
    arg.check_output(output, "ranks.csv", design, posterior)
    arg.check_output(figure, "ranks.png", design, posterior)
    chosen, named = bayescale.load_law(law), opt.TableOptions(column, unit)
    options: dict[str, Any] = {
        name: named.read(arg.source_given([source]), chosen)
        for name, source in (("design", design), ("posterior", posterior))
        if source is not None
    }
    options |= {"noise": noise, "simulations": simulations, "draws": draws, "once": once, "seed": seed}
    with refits.open() as executor, said.progress("fitting simulated runs") as step:
        result = bayescale.calibrate(chosen, **options, folder=resume, executor=executor, progress=step)
    arg.draw(figure, lambda: bayescale.plot_ranks(result))
    said.answer(bayescale.read(result), output)


def compare(
    runs: opt.Runs,
    *,
    laws: Annotated[
        str, typer.Option("--laws", "-l", help="Names or paths of laws, separated by commas.")
    ] = "coupled,chinchilla,kaplan",
    forward: Annotated[bool, typer.Option("--forward", help="Also forecast larger runs from smaller ones.")] = False,
    groups: Annotated[
        str | None,
        typer.Option(
            help="Leave out groups of runs together: a column such as compute or family; none; by default as found."
        ),
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--params", "-N", help="Averaged forecast: parameters of a planned run.")
    ] = None,
    tokens: Annotated[
        list[str] | None, typer.Option("--tokens", "-D", help="Averaged forecast: tokens of a planned run.")
    ] = None,
    compute: Annotated[
        list[str] | None, typer.Option("--compute", "-C", help="Averaged split of this budget in FLOP.")
    ] = None,
    horizon: opt.Horizon = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished forecasts: a killed run goes on.")] = None,
    output: opt.TableFile = None,
    refits: opt.Refits,
    table: opt.TableOptions,
    level: opt.Level = 90.0,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Which law? Left-out runs, larger runs forecast from smaller ones, weights, and an averaged forecast."""
    arg.check_output(output, "compare.csv", *runs)
    if bool(params) != bool(tokens):
        raise InputError("--params and --tokens go together: one of each for every planned run")
    sizes = [arg.numbers("--params", params), arg.numbers("--tokens", tokens)]
    budgets = arg.numbers("--compute", compute)
    data = table.read(arg.source_given(runs), chosen := arg.laws_given(laws))
    forward = forward or bool(params) or bool(budgets)  # an averaged forecast rests on how the laws forecast
    options: dict[str, Any] = {"forward": forward, "horizon": horizon, "groups": groups, "seed": seed, "folder": resume}
    with refits.open() as executor:
        with said.progress("fitting the laws") as step:
            fits = bayescale.fit_laws(data, chosen, seed=seed, executor=executor, progress=step)
        with said.progress("comparing them") as step:
            counted = None if step is None else lambda what, done, total: step(done, total)
            result = bayescale.compare(fits, **options, executor=executor, progress=counted)
    best = fits[str(result["law"].values[0])]
    with said.working("asking what tells the laws apart"):
        answers = [answer for name in fits for answer in bayescale.nested_questions(fits[name], result)]
        sensitive = _sensitivity(best)
        averages = _averages(fits, result, (sizes, budgets), level, seed)
    compared = bayescale.read(result)
    if output is not None:
        write_table(compared.frame, output)
    if said.as_json:
        parts = {"sensitivity": sensitive} | averages
        summary = compared.to_dict() | {"questions": [vars(answer) for answer in answers]}
        print_json(summary | {name: None if one is None else one.to_dict() for name, one in parts.items()})
    elif not said.quiet:
        from bayescale.evidence.verdict import driving_text

        says = (*compared.says, driving_text(result), *(answer.says for answer in answers))
        moved = () if sensitive is None else tuple(f"law '{best.attrs['law']}': {text}" for text in sensitive.warnings)
        compared = replace(compared, says=says, warnings=(*moved, *compared.warnings))
        print_readings(compared, *(one for one in averages.values() if one is not None))


def _sensitivity(fit: "xr.DataTree") -> "Reading | None":
    """Whether the prior decides in a fit, of a law with a split and a compute that is counted."""
    from bayescale.evidence.sensitivity import has_split
    from bayescale.study import Study

    study = Study.opened(fit)
    known = has_split(study.law) and not study.definition.doubt
    return bayescale.read(bayescale.prior_sensitivity(fit)) if known else None


def _averages(
    fits: "dict[str, xr.DataTree]", result: "xr.Dataset", asked: tuple[list[Any], list[float]], level: float, seed: int
) -> "dict[str, Reading | None]":
    """Averages of the laws that were asked for: a forecast of sizes, an allocation of budgets."""
    found: dict[str, Reading | None] = {"forecast": None, "allocation": None}
    sizes, budgets = asked
    if sizes[0]:
        averaged = bayescale.average_forecast(fits, result["weight_forward"], *sizes, seed=seed)
        found["forecast"] = bayescale.read(averaged, level=level)
    if budgets:
        split = bayescale.average_allocation(fits, result["weight_forward"], budgets, seed=seed)
        found["allocation"] = bayescale.read(split, level=level)
    return found
