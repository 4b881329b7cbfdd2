"""Commands about fits: fit, show, reproduce, cite."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.display.terminal import print_fit, print_json, print_table, print_warnings, say
from bayescale.errors import InputError
from bayescale.field import clipped, number_text

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.laws.law import Law


def fit(
    runs: opt.Runs,
    *,
    law: opt.LawName = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the fit here (NetCDF).")] = None,
    noise: opt.Noise = None,
    draws: Annotated[int, typer.Option(help="Draws of each chain; chains go on where so few are not enough.")] = 1000,
    chains: Annotated[int, typer.Option(help="Chains.")] = 4,
    below: Annotated[
        str | None, typer.Option(help="Fit only the runs below this compute (or other size of the law), e.g. 1e22.")
    ] = None,
    table: opt.TableOptions,
    quick: Annotated[
        bool | None,
        typer.Option(
            "--quick/--no-quick",
            help="Importance sampling where it vouches for itself, else chains; default for over 50 000 runs.",
        ),
    ] = None,
    allow_unconverged: Annotated[bool, typer.Option(help="Keep a fit that did not converge, marked as such.")] = False,
    engine: Annotated[
        str, typer.Option(help="compiled, or pymc: the same posterior by PyMC's own model.")
    ] = "compiled",
    backend: Annotated[
        str | None, typer.Option(help="Of the engine pymc: numba (default), jax, or pymc, its own sampler.")
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            "--prior", metavar="NAME=PRIOR", help="alpha=Normal(.34, .02), loss(70B, 1.4T)=Normal(1.95, .05) ..."
        ),
    ] = None,
    clusters: Annotated[
        str | None,
        typer.Option(help="Column of runs whose residuals go together, or none; by default it is looked for."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column of runs over whose values the law varies: family, corpus ...")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="NAME", help="What varies; default: level and slope.")
    ] = None,
    level: opt.Level = 90.0,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Sample the posterior of a law given runs."""
    priors, source = _priors(prior), arg.source_given(runs)
    laws = table.laws(law, source)
    data = table.read(source, laws)
    if (most := arg.number("--below", below)) is not None:
        data = _below(data, laws[0], most)
    arg.check_output(output, "fit.nc", *runs, law)
    _say_how_long(data.sizes["run"], quick, said.quiet or said.as_json)
    with said.working("compiling and sampling"):
        options: dict[str, Any] = {"noise": noise, "draws": draws, "chains": chains, "seed": seed, "quick": quick}
        options |= {"engine": engine, "backend": backend, "clusters": clusters}
        options |= {"priors": priors, "group": group, "by": by or None, "allow_unconverged": allow_unconverged}
        tree = bayescale.fit(data, laws[0] if len(laws) == 1 else None, **options)
    if most is not None:
        tree.attrs["below"] = most
    if output is not None:
        bayescale.save_fit(tree, output)
    if said.as_json:
        from bayescale.fitting.diagnostics import fit_summary

        print_json(fit_summary(tree, level))
    elif not said.quiet:
        print_fit(tree, level)
        if output is not None:
            say(f"saved: {output}")


def _priors(given: list[str] | None) -> dict[str, str]:
    """Priors by name; the name of a point has the sign = inside its brackets."""
    priors: dict[str, str] = {}
    for text in given or ():
        match = re.fullmatch(r"\s*([^=()]+(?:\([^()]*\))?)\s*=(.+)", text)
        if match is None or match[1].strip() in priors:
            wrong = "is given twice" if match else "NAME=PRIOR is expected, such as alpha=Normal(.34, .02)"
            raise InputError(f"--prior {clipped(text)}: {wrong}")
        priors[match[1].strip()] = match[2].strip()
    return priors


def _say_how_long(count: int, quick: bool | None, silent: bool) -> None:
    """What is done of very many runs, before it takes its time."""
    from bayescale.fitting.fit import many_runs

    if (many := many_runs(count)) and not silent:
        then = "a quick answer is tried first (--no-quick: chains at once)" if quick is not False else "--quick may do"
        say(f"note: {many}; {then}", file=sys.stderr)


def _below(runs: "xr.Dataset", law: "Law", most: float) -> "xr.Dataset":
    from bayescale.laws.law import NO_SIZE, size_column

    if (size := size_column(law)) is None:
        raise InputError(f"--below {most:g}: {NO_SIZE}")
    kept = runs.isel(run=(runs[size] < most).values)
    if not kept.sizes["run"]:
        smallest, unit = float(runs[size].min()), " FLOP" if size == "compute" else ""
        raise InputError(
            f"--below {number_text(most, 6)} leaves no run: the smallest {size} is {number_text(smallest)}{unit}"
        )
    return kept


def show(fit: opt.FitFile, *, level: opt.Level = 90.0, said: opt.Said) -> None:
    """What is in a fit: runs, law (shipped, changed or your own), priors, convergence, notes, versions."""
    from bayescale.display.contents import contents_tables

    opened = bayescale.open_fit(fit)
    if said.as_json:
        print_json(bayescale.fit_contents(opened, level=level))
    elif not said.quiet:
        for position, table in enumerate(contents_tables(opened, level)):
            if position:
                say("")
            print_table(table)
            for note in table.notes:
                say(note)
            print_warnings(table.warnings)


def reproduce(
    fit: opt.FitFile,
    runs: opt.Runs,
    *,
    below: Annotated[
        str | None, typer.Option("--below", help="Only the runs below this compute; default: as the fit was made.")
    ] = None,
    table: opt.TableOptions,
    said: opt.Said,
) -> None:
    """Make a fit again from its runs: same bits, same within Monte Carlo error (status 0), or not (status 1)."""
    from bayescale.fitting.reproduce import REPRODUCED
    from bayescale.study import law_of

    opened = bayescale.open_fit(fit)
    data = table.read(arg.source_given(runs), law_of(opened))
    with said.working("fitting again"):
        result = bayescale.reproduce(opened, data, below=arg.number("--below", below))
    said.answer(bayescale.read(result))
    if result.attrs["verdict"] not in REPRODUCED:
        raise typer.Exit(1)


def cite(
    law: Annotated[str | None, typer.Argument(help="Name or path of a law, whose papers are added.")] = None,
    *,
    said: opt.Said,
) -> None:
    """BibTeX of the package, of its method, and of the papers that a law comes from."""
    from bayescale.laws.references import METHOD, bibtex, cited, package_bibtex

    chosen = None if law is None else bayescale.load_law(law)
    papers = [] if chosen is None else cited(chosen)
    found = {"package": package_bibtex(), "method": bibtex(METHOD), "law": bibtex(papers)}
    if said.as_json:
        print_json(found)
    elif not said.quiet:
        say("\n\n".join(text for text in found.values() if text))
        if chosen is not None and not papers:
            say(f"note: law '{chosen.name}' names no arXiv number: {chosen.cite}", file=sys.stderr)
