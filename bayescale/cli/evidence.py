"""Commands about evidence: backtest, calibrate, compare."""

from pathlib import Path
from typing import Annotated

import typer

from bayescale.cli.arguments import (
    Columns,
    Horizon,
    Json,
    Noise,
    Quiet,
    Runs,
    Scheduler,
    Seed,
    TableFile,
    Units,
    Workers,
    check_output,
    executor_given,
    laws_given,
    numbers,
    runs_given,
)
from bayescale.display.tables import backtest_cells, calibration_cells
from bayescale.display.terminal import (
    print_comparison,
    print_json,
    print_read,
    print_readings,
    print_table,
    print_warnings,
    progress_bar,
    say,
    working,
)
from bayescale.errors import InputError
from bayescale.laws.law import DEFAULT_LAW


def backtest(
    runs: Runs,
    law: Annotated[
        list[str] | None, typer.Option("--law", "-l", help="Name or path of a law; may be repeated.")
    ] = None,
    horizon: Horizon = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished parts: a killed backtest goes on.")] = None,
    output: TableFile = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the backtest here (PNG).")] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    column: Columns = None,
    unit: Units = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Forecast your larger runs from your smaller ones, and see how often the bands hold."""
    from bayescale.laws.law import load_law

    check_output(output, "backtest.csv", runs)
    check_output(figure, "backtest.png", runs)
    data = runs_given(runs, column, unit, [load_law(name) for name in law or [DEFAULT_LAW]])
    from bayescale.evidence.backtest import backtest as run_backtest
    from bayescale.evidence.backtest import backtest_failures, backtest_statement, backtest_table
    from bayescale.jobs.executors import open_executor
    from bayescale.jobs.files import write_table
    from bayescale.runs.read import read_text

    with (
        open_executor(executor_given(workers, scheduler)) as executor,
        progress_bar("forecasting the larger runs from the smaller", quiet or as_json) as step,
    ):
        options = {"horizon": horizon, "seed": seed, "folder": resume}
        result = run_backtest(data, law, **options, executor=executor, progress=step)
    table, statement = backtest_table(result), backtest_statement(result)
    if output is not None:
        write_table(table, output)
    if figure is not None:
        from bayescale.display.figures import save_figure
        from bayescale.display.plots_trust import plot_calibration

        save_figure(plot_calibration(result), figure)
    if as_json:
        failed = {name: backtest_failures(result, name) for name in map(str, result["law"].values)}
        read = read_text(data.attrs)
        print_json({"read": read, "backtest": table.to_dict("records"), "statement": statement, "failed": failed})
    elif not quiet:
        print_read(data.attrs)
        print_table(backtest_cells(table))
        say(statement)


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
    noise: Noise = None,
    once: Annotated[
        bool, typer.Option("--once", help="Try no slower sampler settings: quicker for hard laws.")
    ] = False,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished simulations: a killed run goes on.")] = None,
    output: TableFile = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the ranks here (PNG).")] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    column: Columns = None,
    unit: Units = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Is the machinery right? Fit simulated runs, rank what they were simulated from (simulation-based calibration)."""
    if design is not None and posterior is not None:
        raise InputError("--posterior takes the sizes of its runs: give it or --design")
    check_output(output, "ranks.csv", design, posterior)
    check_output(figure, "ranks.png", design, posterior)
    from bayescale.laws.law import load_law

    chosen = load_law(law)
    given = {
        name: runs_given(source, column, unit, chosen)
        for name, source in (("design", design), ("posterior", posterior))
        if source is not None
    }
    from bayescale.evidence.calibrate import calibrate as run_calibration  # 'calibrate' is this command
    from bayescale.evidence.calibration import (
        calibration_statement,
        calibration_summary,
        calibration_table,
        calibration_warnings,
    )
    from bayescale.jobs.executors import open_executor
    from bayescale.jobs.files import write_table

    with (
        open_executor(executor_given(workers, scheduler)) as executor,
        progress_bar("fitting simulated runs", quiet or as_json) as step,
    ):
        options = {"noise": noise, "simulations": simulations, "draws": draws, "once": once}
        options |= {"seed": seed, "folder": resume}
        result = run_calibration(chosen, **given, **options, executor=executor, progress=step)
    table = calibration_table(result)
    if output is not None:
        write_table(table, output)
    if figure is not None:
        from bayescale.display.figures import save_figure
        from bayescale.display.plots_trust import plot_ranks

        save_figure(plot_ranks(result), figure)
    if as_json:
        print_json(calibration_summary(result))
    elif not quiet:
        print_table(calibration_cells(table))
        say(calibration_statement(result))
        print_warnings(calibration_warnings(result))


def compare(
    runs: Runs,
    laws: Annotated[
        str, typer.Option("--laws", "-l", help="Names or paths of laws, separated by commas.")
    ] = "coupled,chinchilla,kaplan",
    forward: Annotated[bool, typer.Option("--forward", help="Also forecast larger runs from smaller ones.")] = False,
    groups: Annotated[
        str | None, typer.Option(help="Leave out groups of runs together: a column such as params, compute, family.")
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
    horizon: Horizon = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished forecasts: a killed run goes on.")] = None,
    output: TableFile = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    column: Columns = None,
    unit: Units = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which law? Left-out runs, larger runs forecast from smaller ones, weights, and an averaged forecast."""
    check_output(output, "compare.csv", runs)
    if bool(params) != bool(tokens):
        raise InputError("--params and --tokens go together: one of each for every planned run")
    sizes = [numbers("--params", params), numbers("--tokens", tokens)]
    budgets = numbers("--compute", compute)
    chosen = laws_given(laws)
    data = runs_given(runs, column, unit, chosen)
    from bayescale.budgets.allocate import read as read_allocation
    from bayescale.evidence.average import average_allocation, average_forecast
    from bayescale.evidence.compare import compare as compare_fits  # 'compare' is this command
    from bayescale.evidence.compare import fit_laws
    from bayescale.evidence.nested import nested_questions
    from bayescale.evidence.sensitivity import has_split, prior_sensitivity, sensitivity_summary
    from bayescale.evidence.verdict import comparison_summary, comparison_table
    from bayescale.forecasts.forecast import read as read_forecast
    from bayescale.jobs.executors import open_executor
    from bayescale.jobs.files import write_table
    from bayescale.runs.compute import definition_of
    from bayescale.study import law_of

    forward = forward or bool(params) or bool(budgets)  # an averaged forecast rests on how the laws forecast
    options = {"forward": forward, "horizon": horizon, "groups": groups, "seed": seed, "folder": resume}
    with open_executor(executor_given(workers, scheduler)) as executor:
        with progress_bar("fitting the laws", quiet or as_json) as step:
            fits = fit_laws(data, chosen, seed=seed, executor=executor, progress=step)
        with progress_bar("comparing them", quiet or as_json) as step:
            counted = None if step is None else lambda what, done, total: step(done, total)
            result = compare_fits(fits, **options, executor=executor, progress=counted)
    best = fits[str(result["law"].values[0])]
    with working("asking what tells the laws apart", quiet or as_json):
        answers = [answer for name in fits for answer in nested_questions(fits[name], result)]
        known = has_split(law_of(best)) and not definition_of(best).doubt
        sensitivity = prior_sensitivity(best) if known else None
        weights, mixed, split = result["weight_forward"] if forward else None, None, None
        if params:
            mixed = read_forecast(average_forecast(fits, weights, *sizes, seed=seed))
        if budgets:
            split = read_allocation(average_allocation(fits, weights, budgets, seed=seed))
    if output is not None:
        write_table(comparison_table(result).rename_axis("law").reset_index(), output)
    if as_json:
        summary = comparison_summary(result) | {"questions": [vars(answer) for answer in answers]}
        summary["sensitivity"] = None if sensitivity is None else sensitivity_summary(best, sensitivity)
        averages = {"forecast": mixed, "allocation": split}
        print_json(summary | {name: None if one is None else one.to_dict() for name, one in averages.items()})
    elif not quiet:
        print_read(data.attrs)
        print_comparison(result, answers, sensitivity)
        print_readings(*(one for one in (mixed, split) if one is not None))
