"""The command report: one page of a fit."""

from pathlib import Path
from typing import Annotated, Any

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.errors import InputError
from bayescale.field import clipped


def report(
    fit: opt.FitFile,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, one HTML file.")] = Path("report.html"),
    compute: Annotated[
        list[str] | None,
        typer.Option(
            "--compute", "-C", help="Budget to answer for: 1e24, with --cost '2e6 dollars' and '1e24 FLOP'; repeat."
        ),
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--params", "-N", help="Planned run: 70B; or limits of N: 7B..70B; repeat.")
    ] = None,
    tokens: Annotated[
        list[str] | None, typer.Option("--tokens", "-D", help="Planned run: 1.4T; or limits of D: ..2T; repeat.")
    ] = None,
    at: opt.PlannedAt = None,
    target: opt.Target = None,
    cost: opt.CostFormula = None,
    given: opt.Given = None,
    ratio: opt.RatioLimit = None,
    stock: opt.Stock,
    other: Annotated[
        Path | None, typer.Option("--other", metavar="OTHER.nc", help="A fit of another recipe, to compare with.")
    ] = None,
    through: opt.Through = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Forecast the fit's own larger runs from its smaller ones (refits).")
    ] = False,
    compare: Annotated[
        str | None, typer.Option(help="Compare with these laws, separated by commas (refits): coupled,chinchilla.")
    ] = None,
    horizon: Annotated[float, typer.Option(help="Longest forecast of the backtest, in decades of compute.")] = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished parts of the backtest.")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    author: Annotated[str | None, typer.Option(help="Who made the page.")] = None,
    note: Annotated[str | None, typer.Option(help="What readers should know, under the heading.")] = None,
    level: opt.Level = 90.0,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """One HTML page that answers your question, for whoever decides: no network, one file, sizes and budgets to try."""
    arg.check_output(output, "report.html", fit)
    planned_params, params_limit = _planned_or_limit("--params", params)
    planned_tokens, tokens_limit = _planned_or_limit("--tokens", tokens)
    limits = {"params": params_limit, "tokens": tokens_limit, "ratio": arg.limit("--ratio", ratio)}
    limits = {name: pair for name, pair in limits.items() if pair is not None}
    options: dict[str, Any] = {
        "compute": arg.budgets(compute) or None,
        "params": planned_params,
        "tokens": planned_tokens,
        "at": arg.named_numbers("--at", at),
        "target": arg.target(target),
        "cost": cost,
        "given": arg.values_given(given) or None,
        "limits": limits or None,
        "other": None if other is None else bayescale.open_fit(other),
        "through": arg.fits_given(through),
    }
    options |= stock.options | {"title": title, "author": author, "note": note, "level": level, "seed": seed}
    opened = bayescale.open_fit(fit)
    refits = _refits(opened, backtest, compare, {"horizon": horizon, "seed": seed, "folder": resume}, said)
    with said.working("drawing the page"):
        page = bayescale.report(opened, **options, **refits)
        path = bayescale.save_report(page, output)
    said.written(path, bytes=len(page.encode()))


def _planned_or_limit(option: str, given: list[str] | None) -> tuple[list[float] | None, Any]:
    """Sizes of planned runs, and the limits of a split: the text that has two dots."""
    limits = [text for text in given or () if ".." in text]
    if len(limits) > 1:
        raise InputError(f"{option} {clipped(limits[1])}: limits are given twice; give them once, {option} LOW..HIGH")
    planned = arg.numbers(option, [text for text in given or () if ".." not in text])
    return planned or None, arg.limit(option, limits[0]) if limits else None


def _refits(fit: Any, backtest: bool, compare: str | None, options: dict[str, Any], said: opt.Said) -> dict[str, Any]:
    """A backtest of the runs of a fit and a comparison of laws on them, where they are asked for."""
    from bayescale.study import Study

    study = Study.opened(fit)
    runs, law = study.runs, study.law
    found: dict[str, Any] = {}
    if backtest:
        with said.progress("forecasting the larger runs from the smaller") as step:
            found["tested"] = bayescale.backtest(runs, law, **options, progress=step)
    if compare is not None:
        others = [other for other in arg.laws_given(compare) if other.name != law.name]
        with said.progress("fitting the laws") as step:
            fits = bayescale.fit_laws(runs, [law, *others], seed=options["seed"], progress=step)
        with said.working("comparing them"):
            found["compared"] = bayescale.compare(fits, forward=backtest, **options)
    return found
