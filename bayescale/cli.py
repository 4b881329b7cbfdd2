"""The command line, thin: every command is one function of the package, and imports what it needs when it runs."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import xarray as xr

app = typer.Typer(
    help="Bayesian scaling laws: credible bands for the loss of training runs not yet made.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Runs = Annotated[str, typer.Argument(metavar="RUNS", help="CSV or parquet file of runs, or the name of a data set.")]
FitFile = Annotated[Path, typer.Argument(metavar="FIT.nc", help="A fit saved by 'bayescale fit'.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and the JSON, if asked for).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same draws, on one machine.")]
Columns = Annotated[
    list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="Which column is params, tokens, loss ...")
]
Units = Annotated[
    list[str] | None, typer.Option("--unit", metavar="ROLE=UNIT", help="Units: params=M, tokens=B, loss=bits ...")
]
SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


class InputError(ValueError):
    """An argument of the command line that cannot be used."""


def main() -> None:
    """Entry point: a user's mistake is one plain sentence and status 1."""
    try:
        status = app(standalone_mode=False)
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)


def _message(error: Exception) -> str | None:
    """The sentence of an error that is the user's to mend; None for one that is ours."""
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
        return "a command is expected; 'bayescale --help' lists them"
    if hasattr(error, "format_message"):  # Typer's: an unknown command or option, a missing argument
        text = " ".join(error.format_message().split())
        return f"{text[:1].lower()}{text[1:].rstrip('.')}; see 'bayescale --help' and 'bayescale COMMAND --help'"
    # ours are recognised by name, so that no command has to import every module that defines one
    ours = {"RunsError", "LawError", "FormulaError", "FitError", "FileError", "InputError"}
    known = any(kind.__name__ in ours and kind.__module__.startswith("bayescale") for kind in type(error).__mro__)
    return str(error) if known else None


@app.command()
def check(runs: Runs, column: Columns = None, unit: Units = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Read runs and say what a careful reader would object to."""
    from bayescale.lint import check_runs

    data = _runs(runs, column, unit)
    notes = check_runs(data)
    if as_json:
        _print_json(
            {
                "source": data.attrs["source"],
                "runs": data.sizes["run"],
                "columns": [str(name) for name in data.data_vars],
                "notes": [vars(note) | {"rows": list(note.rows)} for note in notes],
            }
        )
    elif not quiet:
        ranges = ", ".join(f"{name} {_range(data[name].values)}" for name in ("params", "tokens", "compute", "loss"))
        print(f"{data.attrs['source']}: {data.sizes['run']} runs; {ranges}")
        for note in notes:
            print(f"{note.severity}: {note.text} [{note.code}]")
        if not notes:
            print("nothing to object to")


@app.command()
def laws(
    name: Annotated[str | None, typer.Argument(help="Name or path of a law: print its whole card.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the laws, or print one law's card: formula, priors, derived quantities, published values, traps."""
    from bayescale import law as law_module

    chosen = [law_module.load_law(one) for one in ([name] if name else law_module.laws())]
    if as_json:
        cards = [_card(law) for law in chosen]
        _print_json(cards[0] if name else {"laws": cards})
    elif not quiet:
        for law in chosen:
            _print_card(law) if name else _print_line(law)


@app.command()
def fit(
    runs: Runs,
    law: Annotated[str | None, typer.Option("--law", "-l", help="Name or path of a law; default: coupled.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the fit here (NetCDF).")] = None,
    noise: Annotated[str, typer.Option(help="student_t or normal.")] = "student_t",
    draws: Annotated[int, typer.Option(help="Kept draws of each chain.")] = 1000,
    chains: Annotated[int, typer.Option(help="Chains.")] = 4,
    below: Annotated[str | None, typer.Option(help="Fit only the runs below this compute, e.g. 1e22.")] = None,
    column: Columns = None,
    unit: Units = None,
    allow_unconverged: Annotated[bool, typer.Option(help="Keep a fit that did not converge, marked as such.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Sample the posterior of a law given runs."""
    data = _runs(runs, column, unit)
    if below is not None:
        data = _below(data, _number("--below", below))
    if output is not None:
        if not output.parent.is_dir():
            raise InputError(
                f"{output}: the folder {output.parent} does not exist; make it first, or give another path"
            )
        if output.is_dir():
            raise InputError(f"{output} is a folder; the name of a file in it is expected, such as {output / 'fit.nc'}")
    with _working("compiling and sampling", quiet or as_json):
        from bayescale.diagnostics import fit_summary
        from bayescale.fit import fit as fit_law  # 'fit' is this command
        from bayescale.store import save_fit

        tree = fit_law(
            data, law, noise=noise, draws=draws, chains=chains, seed=seed, allow_unconverged=allow_unconverged
        )
    if output is not None:
        save_fit(tree, output)
    if as_json:
        _print_json(fit_summary(tree))
    elif not quiet:
        _print_fit(tree)
        if output is not None:
            print(f"saved: {output}")


@app.command()
def forecast(
    fit: FitFile,
    params: Annotated[list[str], typer.Option("--params", "-N", help="Parameters of a planned run; may be repeated.")],
    tokens: Annotated[list[str], typer.Option("--tokens", "-D", help="Tokens of a planned run; may be repeated.")],
    target: Annotated[str | None, typer.Option(help="Also print P(loss <= TARGET).")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Credible bands for the loss of runs not yet made."""
    from bayescale.files import write_table
    from bayescale.forecast import forecast as forecast_runs  # 'forecast' is this command
    from bayescale.forecast import forecast_summary, forecast_table, forecast_warnings
    from bayescale.store import open_fit

    goal = None if target is None else _number("--target", target)
    tree = forecast_runs(
        open_fit(fit),
        [_number("--params", value) for value in params],
        [_number("--tokens", value) for value in tokens],
        seed=seed,
    )
    table = forecast_table(tree, target=goal)
    if output is not None:
        write_table(table, output)
    if as_json:
        _print_json(forecast_summary(tree, target=goal))
    elif not quiet:
        _print_forecast(table, goal)
        _print_warnings(forecast_warnings(tree))


@app.command()
def allocate(
    fit: FitFile,
    compute: Annotated[list[str], typer.Option("--compute", "-C", help="Budget in FLOP; may be repeated.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The compute-optimal split of a budget into parameters and tokens, under C = 6 N D."""
    from bayescale.allocate import allocate as split_compute  # 'allocate' is this command
    from bayescale.allocate import allocation_summary, allocation_table, allocation_warnings
    from bayescale.files import write_table
    from bayescale.store import open_fit

    result = split_compute(open_fit(fit), [_number("--compute", value) for value in compute], seed=seed)
    table = allocation_table(result)
    if output is not None:
        write_table(table, output)
    if as_json:
        _print_json(allocation_summary(result))
    elif not quiet:
        _print_allocation(table)
        _print_warnings(allocation_warnings(result))


@app.command()
def backtest(
    runs: Runs,
    law: Annotated[
        list[str] | None, typer.Option("--law", "-l", help="Name or path of a law; may be repeated.")
    ] = None,
    horizon: Annotated[float, typer.Option(help="Longest forecast to score, in decades of compute.")] = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished parts: a killed backtest goes on.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the backtest here (PNG).")] = None,
    column: Columns = None,
    unit: Units = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Forecast your larger runs from your smaller ones, and see how often the bands hold."""
    data = _runs(runs, column, unit)
    from bayescale.backtest import backtest as run_backtest
    from bayescale.backtest import backtest_statement, backtest_table
    from bayescale.files import write_table

    with _progress("forecasting the larger runs from the smaller", quiet or as_json) as step:
        result = run_backtest(data, law, horizon=horizon, seed=seed, folder=resume, progress=step)
    table, statement = backtest_table(result), backtest_statement(result)
    if output is not None:
        write_table(table, output)
    if figure is not None:
        from bayescale.plots import plot_calibration, save_figure

        save_figure(plot_calibration(result), figure)
    if as_json:
        _print_json({"backtest": table.to_dict("records"), "statement": statement})
    elif not quiet:
        _print_backtest(table)
        print(statement)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo"),
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole job on the embedded runs: fit those below 1e22 FLOP, forecast the larger, compare with measured."""
    from bayescale.demo import run_demo

    result = run_demo(output, seed=seed, step=lambda what: _working(what, quiet or as_json))
    if as_json:
        _print_json(result.summary)
    elif not quiet:
        print(f"Fitted {result.fitted} runs below 1e22 FLOP with the law '{result.fit.attrs['law']}'.")
        _print_forecast(result.forecasts, None)
        print(result.verdict)
        _print_backtest(result.backtest)
        print(result.statement)
        _print_allocation(result.allocation)
        _print_warnings(result.warnings)
        print("Written: " + ", ".join(str(path) for path in result.files))


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="Data set to get; without it they are listed.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep downloads here instead of the user's cache.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the data sets, or get one: downloaded once, verified by checksum; prints where its file is."""
    from bayescale import datasets as module

    if name is None:
        rows = [
            {"name": key, "embedded": source.url is None, "about": source.about, "cite": source.cite}
            for key, source in module.DATASETS.items()
        ]
        if as_json:
            _print_json({"datasets": rows})
        elif not quiet:
            for row in rows:
                print(f"{row['name']} ({'embedded' if row['embedded'] else 'download'}): {row['about']}. {row['cite']}")
        return
    runs = module.fetch_dataset(name, folder)
    path = module.fetch_file(name, folder)
    if as_json:
        _print_json({"name": name, "file": str(path), "runs": runs.sizes["run"], "cite": runs.attrs["cite"]})
    elif not quiet:
        print(path)


def _runs(given: str, column: Sequence[str] | None, unit: Sequence[str] | None) -> "xr.Dataset":
    from bayescale.datasets import DATASETS, fetch_dataset
    from bayescale.runs import read_runs

    if given in DATASETS and not Path(given).exists():
        return fetch_dataset(given)
    return read_runs(given, columns=_pairs("--column", column), units=_pairs("--unit", unit))


def _below(runs: "xr.Dataset", compute: float) -> "xr.Dataset":
    kept = runs.isel(run=(runs["compute"] < compute).values)
    if not kept.sizes["run"]:
        smallest = float(runs["compute"].min())
        raise InputError(f"--below {compute:g} leaves no run: the smallest compute is {smallest:.3g} FLOP")
    return kept


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise InputError(f"{option} {text}: ROLE=NAME is expected, such as {option} loss=val_loss")
        pairs[key] = value
    return pairs


def _number(option: str, text: str) -> float:
    """70e9, 70B and 1.4T are numbers here."""
    factor = SUFFIXES.get(text[-1:].upper(), 1.0)
    try:
        value = float(text[:-1] if factor != 1.0 else text) * factor
    except ValueError:
        raise InputError(f"{option} {text}: not a number (write 70e9 or 70B)") from None
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{option} {text}: a finite number above 0 is expected")
    return value


@contextmanager
def _working(what: str, silent: bool) -> Iterator[None]:
    """A spinner on the error stream while something takes its time; the stream stays clean for machines."""
    if silent:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what + " ..."):
        yield


@contextmanager
def _progress(what: str, silent: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the error stream for work whose parts can be counted."""
    if silent:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_json(value: Any) -> None:
    print(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, name in enumerate(header):
        words = i == 0 or name in ("prior", "meaning")
        table.add_column(name, justify="left" if words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # numbers are never cut: on a narrow terminal a long line wraps
    console = Console(highlight=False, width=400)
    print(title)
    console.print(table)


def _range(values: Any) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"


def _size(value: float) -> str:
    """7B, 1.4T, 350M: how sizes are written in this field."""
    for suffix, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def _band(row: Any, name: str, digits: int = 3) -> str:
    return f"{row[f'{name}_q50']:.{digits}f} [{row[f'{name}_q05']:.{digits}f}, {row[f'{name}_q95']:.{digits}f}]"


def _size_band(row: Any, name: str) -> str:
    return f"{_size(row[f'{name}_q50'])} [{_size(row[f'{name}_q05'])}, {_size(row[f'{name}_q95'])}]"


def _print_fit(tree: Any) -> None:
    from bayescale.diagnostics import fit_summary, trust_warnings

    summary = fit_summary(tree)
    rows = [
        (
            name,
            *(f"{row[key]:.4g}" for key in ("median", "q05", "q95")),
            f"{row['r_hat']:.3f}",
            f"{row['ess_bulk']:.0f}",
        )
        for name, row in summary["parameters"].items()
    ]
    title = f"law '{summary['law']}' on {summary['runs']} runs: posterior median and 90 % band"
    _table(title, ("", "median", "q05", "q95", "r-hat", "ESS"), rows)
    report = summary["diagnostics"]
    print(
        f"{report['divergences']} divergences, largest r-hat {report['r_hat_max']:.3f}, "
        f"smallest ESS {report['ess_min']:.0f}: {'converged' if report['converged'] else 'NOT CONVERGED'}"
    )
    said = {"collinear_sizes"} if report["collinear"] else set()  # the diagnostics say it too
    notes = [note for note in summary["notes"] if note["severity"] == "warning" and note["code"] not in said]
    _print_warnings([note["text"] for note in notes])
    _print_warnings(trust_warnings(report))


def _print_forecast(table: Any, target: float | None) -> None:
    measured = "measured" in table
    header = ["params", "tokens", "beyond", "loss, 90 % band", "law alone", "law/drift/noise"]
    if measured:
        header = ["model", *header, "measured", "in band"]
    if target is not None:
        header.append(f"P(loss <= {target:g})")
    rows = []
    for _, row in table.iterrows():
        shares = "/".join(f"{100 * row[f'share_{name}']:.0f}" for name in ("params", "drift", "noise"))
        cells = [
            _size(row["params"]),
            _size(row["tokens"]),
            f"{row['decades_beyond']:.2f} dec",
            _band(row, "loss"),
            _band(row, "law_loss"),
            shares + " %",
        ]
        if measured:
            inside = row["loss_q05"] <= row["measured"] <= row["loss_q95"]
            cells = [row["model"], *cells, f"{row['measured']:.3f}", "yes" if inside else "no"]
        if target is not None:
            cells.append(f"{row['p_reach']:.2f}")
        rows.append(cells)
    _table("Forecast: median and 90 % band; decades of compute beyond the data; shares of the variance", header, rows)


def _print_allocation(table: Any) -> None:
    rows = [
        (
            f"{row['compute']:.3g}",
            _size_band(row, "params") if row["identified"] else "not identified",
            _size_band(row, "tokens") if row["identified"] else "not identified",
            f"{row['tokens_per_param_q50']:.3g} [{row['tokens_per_param_q05']:.3g}, {row['tokens_per_param_q95']:.3g}]"
            if row["identified"]
            else "not identified",
            _band(row, "loss"),
            f"{row['decades_beyond']:.2f} dec",
        )
        for _, row in table.iterrows()
    ]
    header = ("compute", "N*", "D*", "tokens per param", "loss there", "beyond")
    title = "Compute-optimal split of C = 6 N D: median and 90 % band; N* and D* take the law to be exactly right"
    _table(title, header, rows)


def _print_backtest(table: Any) -> None:
    rows = [
        (
            row["law"],
            f"{row['from_decades']:g} to {row['to_decades']:g}".replace("to inf", "and more"),
            f"{row['forecasts']} in {row['cuts']}",
            *(f"{100 * row[f'cover{level}']:.0f} %" for level in (50, 80, 90)),
            f"{100 * row['bias']:+.2f} %",
            f"{100 * row['abs_error']:.2f} %",
            f"{100 * row['width90']:.1f} %",
            f"{row['crps']:.4f}",
            f"{row['interval_score90']:.4f}",
        )
        for _, row in table.iterrows()
    ]
    header = (
        "law",
        "decades beyond",
        "forecasts in cuts",
        "50 %",
        "80 %",
        "90 %",
        "bias",
        "error",
        "width 90 %",
        "CRPS",
        "IS 90 %",
    )
    _table("Backtest: how often the bands held, by distance beyond the runs learnt from", header, rows)


def _card(law: Any) -> dict[str, Any]:
    from bayescale.formula import latex

    return {
        "name": law.name,
        "title": law.title,
        "about": law.about,
        "cite": law.cite,
        "formula": law.formula,
        "latex": latex(law.tree),
        "inputs": list(law.inputs),
        "observable": "loss",
        "priors": {name: {"prior": str(prior), "about": prior.about} for name, prior in law.priors.items()},
        "derived": {name: {"formula": item.formula, "about": item.about} for name, item in law.derived.items()},
        "published_formula": law.published_formula,
        "published": {name: {"source": p.source, "values": dict(p.values)} for name, p in law.presets.items()},
        "traps": list(law.traps),
    }


def _print_line(law: Any) -> None:
    print(f"{law.name}({', '.join(law.inputs)}): {law.published_formula or law.formula}\n    {law.title}. {law.about}")


def _print_card(law: Any) -> None:
    from bayescale.formula import latex
    from bayescale.law import DISTRIBUTIONS

    print(f"{law.name}: {law.title}\n{law.about}\nSource: {law.cite}\n")
    if law.published_formula:
        print(f"As published   L = {law.published_formula}")
    print(f"As sampled     L = {law.formula}")
    print(f"LaTeX          {latex(law.tree)}\n")
    rows = []
    for name, prior in law.priors.items():
        low, high = (DISTRIBUTIONS[prior.dist].quantile(u, **prior.params) for u in (0.05, 0.95))
        rows.append((name, str(prior), f"{low:.3g} to {high:.3g}", prior.about))
    _table("Parameters", ("", "prior", "90 % of it", "meaning"), rows)
    _table("Derived", ("", "meaning"), [(name, item.about) for name, item in law.derived.items()])
    for name, preset in law.presets.items():
        values = ", ".join(f"{key} = {value:g}" for key, value in preset.values.items())
        print(f"Published {name}: {values} ({preset.source})")
    for trap in law.traps:
        print(f"Mind: {trap}")
