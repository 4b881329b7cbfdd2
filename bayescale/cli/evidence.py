"""Commands about evidence: backtest, calibrate, compare."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayescale.cli import arguments as arg
from bayescale.display.terminal import print_answer, print_json, print_readings, progress_bar, working
from bayescale.errors import InputError
from bayescale.laws.law import DEFAULT_LAW

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.reading import Reading


def backtest(
    runs: arg.Runs,
    law: Annotated[
        list[str] | None, typer.Option("--law", "-l", help="Name or path of a law; may be repeated.")
    ] = None,
    horizon: arg.Horizon = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished parts: a killed backtest goes on.")] = None,
    output: arg.TableFile = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the backtest here (PNG).")] = None,
    workers: arg.Workers = None,
    scheduler: arg.Scheduler = None,
    column: arg.Columns = None,
    unit: arg.Units = None,
    where: arg.Where = None,
    above_step: arg.AboveStep = None,
    last_of: arg.LastOf = None,
    drop_missing: arg.DropMissing = False,
    best_of: arg.BestOf = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Forecast your larger runs from your smaller ones, and see how often the bands hold."""
    arg.check_output(output, "backtest.csv", *runs)
    arg.check_output(figure, "backtest.png", *runs)
    rows = arg.rows_given(where, above_step, last_of, drop_missing, best_of)
    source = arg.source_given(runs)
    laws = [one for name in law or (None,) for one in arg.laws_or_default(name, source, column)]
    data = arg.runs_of(source, column, unit, laws, rows)
    from bayescale.evidence.backtest import backtest as run_backtest
    from bayescale.evidence.backtest import read
    from bayescale.jobs.executors import open_executor

    with (
        open_executor(arg.executor_given(workers, scheduler)) as executor,
        progress_bar("forecasting the larger runs from the smaller", quiet or as_json) as step,
    ):
        result = run_backtest(data, law, horizon=horizon, seed=seed, folder=resume, executor=executor, progress=step)
    if figure is not None:
        from bayescale.display.figures import save_figure
        from bayescale.display.plots_trust import plot_calibration

        save_figure(plot_calibration(result), figure)
    print_answer(read(result), as_json, quiet, output)


def calibrate(
    law: Annotated[str, typer.Argument(metavar="LAW", help="Name or path of a law.")] = DEFAULT_LAW,
    design: Annotated[
        str | None, typer.Option(help="Runs whose sizes are simulated; default: a grid over the law's range.")
    ] = None,
    posterior: Annotated[
        str | None, typer.Option(metavar="RUNS", help="Draw the parameters from the posterior of these runs.")
    ] = None,
    simulations: Annotated[int, typer.Option(help="Simulated sets of runs.")] = 300,
    draws: Annotated[int, typer.Option(help="Kept draws of each of 4 chains.")] = 1000,
    noise: arg.Noise = None,
    once: Annotated[
        bool, typer.Option("--once", help="Try no slower sampler settings: quicker for hard laws.")
    ] = False,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished simulations: a killed run goes on.")] = None,
    output: arg.TableFile = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the ranks here (PNG).")] = None,
    workers: arg.Workers = None,
    scheduler: arg.Scheduler = None,
    column: arg.Columns = None,
    unit: arg.Units = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Is the machinery right? Fit simulated runs, rank what they were simulated from (simulation-based calibration)."""
    if design is not None and posterior is not None:
        raise InputError("--posterior takes the sizes of its runs: give it or --design")
    arg.check_output(output, "ranks.csv", design, posterior)
    arg.check_output(figure, "ranks.png", design, posterior)
    from bayescale.laws.law import load_law

    chosen = load_law(law)
    options: dict[str, Any] = {
        name: arg.runs_given([source], column, unit, chosen)
        for name, source in (("design", design), ("posterior", posterior))
        if source is not None
    }
    from bayescale.evidence.calibrate import calibrate as run_calibration  # 'calibrate' is this command
    from bayescale.evidence.calibration import read
    from bayescale.jobs.executors import open_executor

    with (
        open_executor(arg.executor_given(workers, scheduler)) as executor,
        progress_bar("fitting simulated runs", quiet or as_json) as step,
    ):
        options |= {"noise": noise, "simulations": simulations, "draws": draws, "once": once}
        options |= {"seed": seed, "folder": resume}
        result = run_calibration(chosen, **options, executor=executor, progress=step)
    if figure is not None:
        from bayescale.display.figures import save_figure
        from bayescale.display.plots_trust import plot_ranks

        save_figure(plot_ranks(result), figure)
    print_answer(read(result), as_json, quiet, output)


def compare(
    runs: arg.Runs,
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
    horizon: arg.Horizon = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished forecasts: a killed run goes on.")] = None,
    output: arg.TableFile = None,
    workers: arg.Workers = None,
    scheduler: arg.Scheduler = None,
    column: arg.Columns = None,
    unit: arg.Units = None,
    where: arg.Where = None,
    above_step: arg.AboveStep = None,
    last_of: arg.LastOf = None,
    drop_missing: arg.DropMissing = False,
    best_of: arg.BestOf = None,
    level: arg.Level = 90.0,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Which law? Left-out runs, larger runs forecast from smaller ones, weights, and an averaged forecast."""
    arg.check_output(output, "compare.csv", *runs)
    if bool(params) != bool(tokens):
        raise InputError("--params and --tokens go together: one of each for every planned run")
    share = arg.level(level)
    sizes = [arg.numbers("--params", params), arg.numbers("--tokens", tokens)]
    budgets = arg.numbers("--compute", compute)
    rows = arg.rows_given(where, above_step, last_of, drop_missing, best_of)
    data = arg.runs_given(runs, column, unit, chosen := arg.laws_given(laws), rows)
    from bayescale.evidence.compare import compare as compare_fits  # 'compare' is this command
    from bayescale.evidence.compare import fit_laws
    from bayescale.evidence.nested import nested_questions
    from bayescale.evidence.verdict import driving_text
    from bayescale.evidence.verdict import read as read_comparison
    from bayescale.jobs.executors import open_executor
    from bayescale.jobs.files import write_table

    forward = forward or bool(params) or bool(budgets)  # an averaged forecast rests on how the laws forecast
    options: dict[str, Any] = {"forward": forward, "horizon": horizon, "groups": groups, "seed": seed, "folder": resume}
    with open_executor(arg.executor_given(workers, scheduler)) as executor:
        with progress_bar("fitting the laws", quiet or as_json) as step:
            fits = fit_laws(data, chosen, seed=seed, executor=executor, progress=step)
        with progress_bar("comparing them", quiet or as_json) as step:
            counted = None if step is None else lambda what, done, total: step(done, total)
            result = compare_fits(fits, **options, executor=executor, progress=counted)
    best = fits[str(result["law"].values[0])]
    with working("asking what tells the laws apart", quiet or as_json):
        answers = [answer for name in fits for answer in nested_questions(fits[name], result)]
        sensitive = _sensitivity(best)
        averages = _averages(fits, result, (sizes, budgets), share, seed)
    compared = read_comparison(result)
    if output is not None:
        write_table(compared.frame, output)
    if as_json:
        parts = {"sensitivity": sensitive} | averages
        summary = compared.to_dict() | {"questions": [vars(answer) for answer in answers]}
        print_json(summary | {name: None if one is None else one.to_dict() for name, one in parts.items()})
    elif not quiet:
        said = (*compared.says, driving_text(result), *(answer.says for answer in answers))
        moved = () if sensitive is None else tuple(f"law '{best.attrs['law']}': {text}" for text in sensitive.warnings)
        compared = replace(compared, says=said, warnings=(*moved, *compared.warnings))
        print_readings(compared, *(one for one in averages.values() if one is not None))


def _sensitivity(fit: "xr.DataTree") -> "Reading | None":
    """Whether the prior decides in a fit, of a law with a split and a compute that is counted."""
    from bayescale.evidence.sensitivity import has_split, prior_sensitivity, read
    from bayescale.runs.compute import definition_of
    from bayescale.study import law_of

    known = has_split(law_of(fit)) and not definition_of(fit).doubt
    return read(prior_sensitivity(fit)) if known else None


def _averages(
    fits: "dict[str, xr.DataTree]", result: "xr.Dataset", asked: tuple[list[Any], list[float]], level: float, seed: int
) -> "dict[str, Reading | None]":
    """Averages of the laws that were asked for: a forecast of sizes, an allocation of budgets."""
    from bayescale.budgets.allocate import read as read_allocation
    from bayescale.evidence.average import average_allocation, average_forecast
    from bayescale.forecasts.forecast import read as read_forecast

    found: dict[str, Reading | None] = {"forecast": None, "allocation": None}
    sizes, budgets = asked
    if sizes[0]:
        averaged = average_forecast(fits, result["weight_forward"], *sizes, seed=seed)
        found["forecast"] = read_forecast(averaged, level=level)
    if budgets:
        split = average_allocation(fits, result["weight_forward"], budgets, seed=seed)
        found["allocation"] = read_allocation(split, level=level)
    return found
