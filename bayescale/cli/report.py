"""The report of a fit, and the demonstration."""

from pathlib import Path
from typing import Annotated

import typer

from bayescale.cli import arguments as arg
from bayescale.display.table import table_of
from bayescale.display.terminal import print_json, print_table, print_warnings, progress_bar, say, working


def report(
    fit: arg.FitFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, one HTML file.")] = Path("report.html"),
    compute: Annotated[
        list[str] | None, typer.Option("--compute", "-C", help="Budget to answer for, in FLOP; may be repeated.")
    ] = None,
    params: arg.PlannedParams = None,
    tokens: arg.PlannedTokens = None,
    at: arg.PlannedAt = None,
    target: arg.Target = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Forecast the fit's own larger runs from its smaller ones (refits).")
    ] = False,
    compare: Annotated[
        str | None, typer.Option(help="Compare with these laws, separated by commas (refits): coupled,chinchilla.")
    ] = None,
    horizon: Annotated[float, typer.Option(help="Longest forecast of the backtest, in decades of compute.")] = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished parts of the backtest.")] = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """One HTML page of a fit, for whoever decides: no network, one file, with a part that answers for other sizes."""
    from bayescale.display.report import report as make_report  # 'report' is this command
    from bayescale.display.report import save_report
    from bayescale.fitting.store import open_fit
    from bayescale.study import Study

    arg.check_output(output, "report.html", fit)
    opened = open_fit(fit)
    study = Study.opened(opened)
    runs, law = study.runs, study.law
    tested = compared = None
    if backtest:
        from bayescale.evidence.backtest import backtest as run_backtest

        with progress_bar("forecasting the larger runs from the smaller", quiet or as_json) as step:
            tested = run_backtest(runs, law, horizon=horizon, seed=seed, folder=resume, progress=step)
    if compare is not None:
        from bayescale.evidence.compare import compare as compare_fits
        from bayescale.evidence.compare import fit_laws

        others = [other for other in arg.laws_given(compare) if other.name != law.name]
        with progress_bar("fitting the laws", quiet or as_json) as step:
            fits = fit_laws(runs, [law, *others], seed=seed, progress=step)
        with working("comparing them", quiet or as_json):
            compared = compare_fits(fits, forward=backtest, horizon=horizon, seed=seed, folder=resume)
    sizes = {"params": params, "tokens": tokens, "compute": compute}
    given = {name: arg.numbers(f"--{name}", some) for name, some in sizes.items() if some}
    with working("drawing the page", quiet or as_json):
        page = make_report(
            opened,
            at=arg.named_numbers("--at", at),
            target=arg.target(target),
            tested=tested,
            compared=compared,
            seed=seed,
            **given,
        )
        path = save_report(page, output)
    if as_json:
        print_json({"file": str(path), "bytes": len(page.encode())})
    elif not quiet:
        say(f"Written: {path}")


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo"),
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """The whole job on the embedded runs: fit those below 1e22 FLOP, forecast the larger, compare with measured."""
    from bayescale.cli.demo import run_demo

    result = run_demo(output, seed=seed, step=lambda what: working(what, quiet or as_json))
    if as_json:
        print_json(result.summary)
    elif not quiet:
        say(f"Fitted {result.fitted} runs below 1e22 FLOP with the law '{result.fit.attrs['law']}'.")
        print_table(table_of(result.forecasts))
        say(result.verdict)
        print_table(table_of(result.backtest))
        say("\n".join(result.backtest.says))
        print_table(table_of(result.allocation))
        print_warnings(result.warnings)
        say("Written: " + ", ".join(str(path) for path in result.files))
