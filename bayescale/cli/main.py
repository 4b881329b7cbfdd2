"""The command line, thin: every command is one function of the package, and imports what it needs when it runs."""

import contextlib
import difflib
import errno
import gc
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayescale.display.table import range_text
from bayescale.display.tables import (
    allocation_cells,
    approaches_cells,
    backtest_cells,
    calibration_cells,
    count_cells,
    decision_cells,
    forecast_cells,
    gain_cells,
    least_compute_cells,
    plan_cells,
    reproduction_cells,
)
from bayescale.display.terminal import (
    card,
    print_card,
    print_comparison,
    print_fit,
    print_json,
    print_law_line,
    print_loss_unit,
    print_published,
    print_read,
    print_table,
    print_warnings,
    progress_bar,
    say,
    working,
)
from bayescale.errors import BayescaleError, InputError
from bayescale.field import clipped, number_text
from bayescale.laws.law import DEFAULT_LAW

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.laws.law import Law

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
    list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="Which column is which: loss=pile_loss ...")
]
Units = Annotated[
    list[str] | None,
    typer.Option("--unit", metavar="ROLE=UNIT", help="Units: params=M, tokens=B, loss=bits, compute=GFLOP ..."),
]
Compute = Annotated[
    list[str], typer.Option("--compute", "-C", help="Budget: FLOP as the runs count it, or in the unit of --cost.")
]
CostFormula = Annotated[
    str | None,
    typer.Option("--cost", help="What a run costs: a formula of N, D and names in --given; default: its compute."),
]
Given = Annotated[
    list[str] | None,
    typer.Option("--given", metavar="NAME=VALUE", help="A number, a 90 % range 0.35..0.5, or Beta(alpha=40, beta=60)."),
]
ParamsLimit = Annotated[str | None, typer.Option("--params", "-N", help="Limits of N: 7B..70B, ..70B; 70B holds it.")]
TokensLimit = Annotated[str | None, typer.Option("--tokens", "-D", help="Limits of D: ..2T, or 2T to hold it.")]
RatioLimit = Annotated[str | None, typer.Option("--ratio", help="Limits of tokens per parameter: 20..200.")]
UniqueTokens = Annotated[
    str | None, typer.Option("--unique-tokens", help="Distinct tokens there are, for laws of repeated data.")
]
Menu = Annotated[
    str | None, typer.Option("--menu", help="Architectures to choose from: 1B,3B,7B, or a CSV with a column params.")
]
Workers = Annotated[int | None, typer.Option("--workers", help="Refit in this many worker processes.")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Refit on the cluster of a Dask scheduler.")
]
STREAM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # of what is printed into
SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def _check_repeats(whole: Any, arguments: Sequence[str]) -> None:
    """An option that takes one value, given twice, is a mistake: the first value would be dropped."""
    command = whole.commands.get(arguments[0]) if arguments else None
    for option in command.params if command else ():
        if option.param_type_name != "option" or option.multiple or option.is_flag:
            continue
        given = [text for text in arguments[1:] if text in option.opts or text.split("=")[0] in option.opts]
        if len(given) > 1:
            raise InputError(f"{given[-1].split('=')[0]} is given {len(given)} times; it takes one value")


def main() -> None:
    """Entry point: a user's mistake is one plain sentence and status 1."""
    try:
        Path.home()
    except RuntimeError:  # a user that no list knows, in a container say: packages that keep files there would fail
        os.environ["HOME"] = os.devnull  # so they find that nothing can be kept
    gc.set_threshold(100_000)  # what is imported stays: looking through it for garbage takes a twentieth of the start
    for stream in (sys.stdout, sys.stderr):  # a terminal of few letters shows the others by their numbers
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        whole = typer.main.get_command(app)
        _check_repeats(whole, sys.argv[1:])
        status = whole(standalone_mode=False, prog_name="bayescale")
        sys.stdout.flush()  # before the status says that all went well
    except KeyboardInterrupt:
        kept = (
            " (what is in the folder of --resume is kept, the same command goes on)" if "--resume" in sys.argv else ""
        )
        say(f"stopped{kept}", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    except Exception as error:
        message = _message(error)
        if isinstance(error, OSError) and error.filename is None and error.errno in STREAM_ERRORS:
            message = f"the output cannot be written: {error.strerror}"
            with contextlib.suppress(OSError):  # or Python would try again at its end, and complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if message is None:
            raise
        say(f"error: {' '.join(message.split())[:2000]}", file=sys.stderr)
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)


def _message(error: Exception) -> str | None:
    """The sentence of an error that is the user's to mend; None for one that is ours."""
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
        return "a command is expected; 'bayescale --help' lists them"
    if hasattr(error, "format_message"):  # Typer's: an unknown command or option, a missing argument
        text = " ".join(error.format_message().split())
        return f"{text[:1].lower()}{text[1:].rstrip('.')}; see 'bayescale --help' and 'bayescale COMMAND --help'"
    return str(error) if isinstance(error, BayescaleError) else None


@app.command()
def check(
    runs: Runs,
    law: Annotated[str | None, typer.Option("--law", "-l", help="Check the runs as those of this law.")] = None,
    column: Columns = None,
    unit: Units = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read runs and say what a careful reader would object to."""
    from bayescale.laws.law import load_law
    from bayescale.runs.lint import remarks
    from bayescale.runs.loss_unit import from_nats, loss_unit
    from bayescale.runs.read import read_text

    chosen = load_law(law) if law else None
    data = _runs(runs, column, unit, chosen)
    notes = remarks(data, chosen)
    if as_json:
        print_json(
            {
                "source": data.attrs["source"],
                "runs": data.sizes["run"],
                "counted_by": data.attrs["rows"],
                "read": read_text(data.attrs),
                "columns": [str(name) for name in data.data_vars],
                "notes": [vars(note) | {"rows": list(note.rows)} for note in notes],
            }
        )
    elif not quiet:
        numeric = [name for name in data if data[name].dtype.kind == "f"]
        unit = loss_unit(data.attrs)
        shown = {name: data[name].values for name in numeric}
        if "loss" in shown:
            shown["loss"] = from_nats(shown["loss"], unit)
        ranges = ", ".join(f"{name} {range_text(name, values)}" for name, values in shown.items())
        say(f"{data.attrs['source']}: {data.sizes['run']} runs; {ranges}")
        say(f"read: {read_text(data.attrs)}")
        for note in notes:
            say(f"{note.severity}: {note.text} [{note.code}]")
        if not notes:
            say("nothing to object to")


@app.command()
def laws(
    name: Annotated[str | None, typer.Argument(help="Name or path of a law: print its whole card.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Evaluate the published constants here, e.g. params=70e9,tokens=1.4e12.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the laws, or print one law's card: formula, priors, derived quantities, published values, traps."""
    from bayescale.laws import law as law_module

    chosen = [law_module.load_law(one) for one in ([name] if name else law_module.law_names())]
    if at is not None:
        if name is None:
            raise InputError("--at goes with a law: bayescale laws chinchilla --at params=70e9,tokens=1.4e12")
        given = _numbers("--at", at.split(","))
        values = law_module.published_values(chosen[0], given)
        if as_json:
            print_json({"law": chosen[0].name, "at": given, chosen[0].observed.column: values})
        elif not quiet:
            print_published(chosen[0], given, values)
    elif as_json:
        cards = [card(law) for law in chosen]
        print_json(cards[0] if name else {"laws": cards})
    elif not quiet:
        for law in chosen:
            print_card(law) if name else print_law_line(law)


@app.command()
def fit(
    runs: Runs,
    law: Annotated[str | None, typer.Option("--law", "-l", help="Name or path of a law; default: coupled.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the fit here (NetCDF).")] = None,
    noise: Annotated[
        str | None, typer.Option(help="student_t (default) or normal; beta_binomial for proportions.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of each chain; chains go on where so few are not enough.")] = 1000,
    chains: Annotated[int, typer.Option(help="Chains.")] = 4,
    below: Annotated[
        str | None, typer.Option(help="Fit only the runs below this compute (or other size of the law), e.g. 1e22.")
    ] = None,
    column: Columns = None,
    unit: Units = None,
    quick: Annotated[
        bool | None,
        typer.Option(
            "--quick/--no-quick",
            help="Importance sampling where it vouches for itself, else chains; default for over 50 000 runs.",
        ),
    ] = None,
    allow_unconverged: Annotated[bool, typer.Option(help="Keep a fit that did not converge, marked as such.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Sample the posterior of a law given runs."""
    from bayescale.laws.law import NO_SIZE, load_law, size_column

    chosen = load_law(DEFAULT_LAW if law is None else law)
    data = _runs(runs, column, unit, chosen)
    most = None if below is None else _number("--below", below)
    if most is not None:
        if (size := size_column(chosen)) is None:
            raise InputError(f"--below {most:g}: {NO_SIZE}")
        data = _below(data, size, most)
    _check_output(output, "fit.nc", runs, law)
    _say_how_long(data.sizes["run"], quick, quiet or as_json)
    with working("compiling and sampling", quiet or as_json):
        from bayescale.fitting.diagnostics import fit_summary
        from bayescale.fitting.fit import fit as fit_law  # 'fit' is this command
        from bayescale.fitting.store import save_fit

        options = {"noise": noise, "draws": draws, "chains": chains, "seed": seed, "quick": quick}
        tree = fit_law(data, chosen, **options, allow_unconverged=allow_unconverged)
    if most is not None:
        tree.attrs["below"] = most
    if output is not None:
        save_fit(tree, output)
    if as_json:
        print_json(fit_summary(tree))
    elif not quiet:
        print_fit(tree)
        if output is not None:
            say(f"saved: {output}")


def _say_how_long(count: int, quick: bool | None, silent: bool) -> None:
    """What is done of very many runs, before it takes its time."""
    from bayescale.fitting.fit import many_runs

    if (many := many_runs(count)) and not silent:
        then = "a quick answer is tried first (--no-quick: chains at once)" if quick is not False else "--quick may do"
        say(f"note: {many}; {then}", file=sys.stderr)


@app.command()
def forecast(
    fit: FitFile,
    params: Annotated[
        list[str] | None, typer.Option("--params", "-N", help="Parameters of a planned run; may be repeated.")
    ] = None,
    tokens: Annotated[
        list[str] | None, typer.Option("--tokens", "-D", help="Tokens of a planned run; may be repeated.")
    ] = None,
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="NAME=VALUE", help="Another input of the law: unique_tokens=4B.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Also print P(loss <= TARGET), in the unit of the runs' losses.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Credible bands for the loss of runs not yet made."""
    from bayescale.fitting.store import open_fit
    from bayescale.forecasts.forecast import forecast as forecast_runs  # 'forecast' is this command
    from bayescale.forecasts.forecast import forecast_summary, forecast_table, forecast_warnings
    from bayescale.jobs.files import write_table

    _check_output(output, "forecast.csv", fit)
    goal = None if target is None else _number("--target", target)
    tree = forecast_runs(
        open_fit(fit),
        [_number("--params", value) for value in params] if params else None,
        [_number("--tokens", value) for value in tokens] if tokens else None,
        covariates=_numbers("--at", at),
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


@app.command()
def allocate(
    fit: FitFile,
    compute: Compute,
    cost: CostFormula = None,
    given: Given = None,
    params: ParamsLimit = None,
    tokens: TokensLimit = None,
    ratio: RatioLimit = None,
    unique_tokens: UniqueTokens = None,
    menu: Menu = None,
    candidate: Annotated[list[str] | None, typer.Option(help="A size N to judge besides; may be repeated.")] = None,
    factor: Annotated[float, typer.Option(help="Print P(N within this factor of N*).")] = 2.0,
    law_only: Annotated[bool, typer.Option("--law-only", help="Decide as if the law were exactly right.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The optimal split of a budget into parameters and tokens, and what a wrong one costs."""
    from bayescale.budgets.allocate import allocate as split_compute  # 'allocate' is this command
    from bayescale.budgets.allocate import allocation_summary, allocation_table, allocation_warnings
    from bayescale.budgets.decide import decide, decision_statement, decision_summary, decision_table, decision_warnings
    from bayescale.fitting.store import open_fit
    from bayescale.jobs.files import write_table
    from bayescale.runs.compute import counted

    _check_output(output, "split.csv", fit)
    options = _split_options(cost, given, params, tokens, ratio, unique_tokens, menu)
    budgets = [_number("--compute", value) for value in compute]
    sizes = [_number("--candidate", value) for value in candidate or ()] or None
    opened = open_fit(fit)
    with working("splitting the budget", quiet or as_json):
        result = split_compute(opened, budgets, seed=seed, **options)
        decision = decide(opened, budgets, candidates=sizes, factor=factor, drift=not law_only, seed=seed, **options)
    table = allocation_table(result)
    if output is not None:
        write_table(table, output)
    if as_json:
        print_json(allocation_summary(result) | {"decision": decision_summary(decision)})
    elif not quiet:
        print_table(allocation_cells(table))
        say(counted(result.attrs))
        print_loss_unit(result.attrs)
        if result["identified"].any():  # no advice from what the prior alone says
            print_table(decision_cells(decision_table(decision)))
            say("\n".join(decision_statement(decision)))
        print_warnings(list(dict.fromkeys([*allocation_warnings(result), *decision_warnings(decision)])))


@app.command()
def reach(
    fit: FitFile,
    loss: Annotated[
        list[str], typer.Option("--loss", "-L", help="Loss to reach, in the unit of the runs' losses; may be repeated.")
    ],
    cost: CostFormula = None,
    given: Given = None,
    params: ParamsLimit = None,
    tokens: TokensLimit = None,
    ratio: RatioLimit = None,
    unique_tokens: UniqueTokens = None,
    menu: Menu = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The least budget whose best split reaches a loss."""
    from bayescale.budgets.target import (
        least_compute,
        least_compute_summary,
        least_compute_table,
        least_compute_warnings,
    )
    from bayescale.fitting.store import open_fit
    from bayescale.runs.compute import counted

    options = _split_options(cost, given, params, tokens, ratio, unique_tokens, menu)
    with working("looking for the least budget", quiet or as_json):
        result = least_compute(open_fit(fit), [_number("--loss", value) for value in loss], seed=seed, **options)
    if as_json:
        print_json(least_compute_summary(result))
    elif not quiet:
        print_table(least_compute_cells(least_compute_table(result)))
        print_loss_unit(result.attrs)
        say(counted(result.attrs))
        print_warnings(least_compute_warnings(result))


@app.command()
def gain(
    fit: FitFile,
    other: Annotated[Path, typer.Argument(metavar="OTHER.nc", help="The fit to compare it with.")],
    compute: Compute,
    cost: CostFormula = None,
    given: Given = None,
    params: ParamsLimit = None,
    tokens: TokensLimit = None,
    ratio: RatioLimit = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compute-equivalent gain: how much more compute the other recipe needs for the same loss."""
    from bayescale.budgets.target import compute_gain, gain_summary, gain_table, gain_warnings
    from bayescale.fitting.store import open_fit
    from bayescale.runs.compute import counted

    options = _split_options(cost, given, params, tokens, ratio, None, None)
    with working("comparing the frontiers", quiet or as_json):
        budgets = [_number("--compute", value) for value in compute]
        result = compute_gain(open_fit(fit), open_fit(other), budgets, seed=seed, **options)
    if as_json:
        print_json(gain_summary(result))
    elif not quiet:
        print_table(gain_cells(gain_table(result)))
        print_loss_unit(result.attrs)
        say(counted(result.attrs))
        print_warnings(gain_warnings(result))


@app.command()
def approaches(
    fit: FitFile,
    compute: Annotated[str, typer.Option("--compute", "-C", help="Budget in FLOP at which N* is compared.")],
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """N*(C) by the envelope, by isoFLOP parabolas and by the law, side by side."""
    from bayescale.budgets.approaches import approaches as compare  # 'approaches' is this command
    from bayescale.budgets.approaches import approaches_summary, approaches_table, approaches_warnings
    from bayescale.fitting.store import open_fit
    from bayescale.runs.compute import counted

    with working("resampling the runs", quiet or as_json):
        result = compare(open_fit(fit), _number("--compute", compute), seed=seed)
    if as_json:
        print_json(approaches_summary(result))
    elif not quiet:
        print_table(approaches_cells(approaches_table(result)))
        say(counted(result.attrs))
        say(result.attrs["statement"])
        print_warnings(approaches_warnings(result))


@app.command(name="next")
def next_(
    fit: FitFile,
    budget: Annotated[str, typer.Option("--budget", "-B", help="What the new runs may cost together.")],
    target: Annotated[str, typer.Option("--target", "-t", help="loss, params (N*) or regret.")] = "loss",
    params: Annotated[str | None, typer.Option("--params", "-N", help="With the target loss: its parameters.")] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", "-D", help="With the target loss: its tokens.")] = None,
    compute: Annotated[str | None, typer.Option("--compute", "-C", help="With params, regret: the budget.")] = None,
    runs: Annotated[int, typer.Option("--runs", "-n", help="How many runs at most.")] = 1,
    candidates: Annotated[str | None, typer.Option(help="CSV of runs that could be made: params,tokens.")] = None,
    cost: CostFormula = None,
    given: Given = None,
    law_only: Annotated[bool, typer.Option("--law-only", help="Plan as if the law were exactly right.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the plan here (CSV).")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which affordable runs tell most about a target: the next one, or a plan."""
    from bayescale.budgets.design import next_run, next_statement, next_summary, next_table, next_warnings
    from bayescale.fitting.store import open_fit
    from bayescale.jobs.files import write_table
    from bayescale.runs.compute import counted

    _check_output(output, "plan.csv", fit)
    aim = {"params": params, "tokens": tokens, "compute": compute}
    numbers = {name: None if value is None else _number(f"--{name}", value) for name, value in aim.items()}
    with working("weighing candidate runs", quiet or as_json):
        result = next_run(
            open_fit(fit),
            _number("--budget", budget),
            target=target,
            candidates=None if candidates is None else _columns("--candidates", candidates),
            most=runs,
            cost=cost,
            given=_given(given),
            drift=not law_only,
            seed=seed,
            **numbers,
        )
    table = next_table(result)
    if output is not None:
        write_table(table, output)
    if as_json:
        print_json(next_summary(result))
    elif not quiet:
        print_table(plan_cells(table))
        say(next_statement(result))
        say(counted(result.attrs))
        print_warnings(next_warnings(result))


@app.command()
def plan(
    law: Annotated[str | None, typer.Option("--law", "-l", help="Name or path of a law; default: coupled.")] = None,
    quantity: Annotated[str, typer.Option(help="Parameter or derived quantity of the law.")] = "alpha",
    sd: Annotated[float, typer.Option(help="The posterior sd of it that is wanted.")] = 0.01,
    params: Annotated[str, typer.Option("--params", "-N", help="Sizes of the runs, LOW..HIGH.")] = "50M..2B",
    tokens: Annotated[str, typer.Option("--tokens", "-D", help="Tokens of the runs, LOW..HIGH.")] = "1B..100B",
    noise: Annotated[float, typer.Option(help="sd of a run's log loss about the law.")] = 0.005,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Before any run: how many are needed until a quantity of a law is known well enough."""
    from bayescale.budgets.planning import plan_runs, plan_statement, plan_summary

    ranges = {"params": _limit("--params", params), "tokens": _limit("--tokens", tokens)}
    with working("simulating studies", quiet or as_json):
        table = plan_runs(law, quantity=quantity, sd=sd, noise=noise, seed=seed, **ranges)
    if as_json:
        print_json(plan_summary(table))
    elif not quiet:
        print_table(count_cells(table))
        say(plan_statement(table))


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

    _check_output(output, "backtest.csv", runs)
    _check_output(figure, "backtest.png", runs)
    data = _runs(runs, column, unit, [load_law(name) for name in law or [DEFAULT_LAW]])
    from bayescale.evidence.backtest import backtest as run_backtest
    from bayescale.evidence.backtest import backtest_failures, backtest_statement, backtest_table
    from bayescale.jobs.executors import open_executor
    from bayescale.jobs.files import write_table
    from bayescale.runs.read import read_text

    with (
        open_executor(_executor(workers, scheduler)) as executor,
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


@app.command()
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
    noise: Annotated[
        str | None, typer.Option(help="student_t (default) or normal; beta_binomial for proportions.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Try no slower sampler settings: quicker for hard laws.")
    ] = False,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished simulations: a killed run goes on.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")] = None,
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
    _check_output(output, "ranks.csv", design, posterior)
    _check_output(figure, "ranks.png", design, posterior)
    from bayescale.laws.law import load_law

    chosen = load_law(law)
    given = {
        name: _runs(source, column, unit, chosen)
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
        open_executor(_executor(workers, scheduler)) as executor,
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


@app.command()
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
    horizon: Annotated[float, typer.Option(help="Longest forecast to score, in decades of compute.")] = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished forecasts: a killed run goes on.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    column: Columns = None,
    unit: Units = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which law? Left-out runs, larger runs forecast from smaller ones, weights, and an averaged forecast."""
    _check_output(output, "compare.csv", runs)
    if bool(params) != bool(tokens):
        raise InputError("--params and --tokens go together: one of each for every planned run")
    sizes = [[_number("--params", one) for one in params or ()], [_number("--tokens", one) for one in tokens or ()]]
    budgets = [_number("--compute", one) for one in compute or ()]
    from bayescale.laws.law import load_law

    chosen = [load_law(name.strip()) for name in laws.split(",") if name.strip()]
    data = _runs(runs, column, unit, chosen)
    from bayescale.evidence.average import average_allocation, average_forecast
    from bayescale.evidence.compare import compare as compare_fits  # 'compare' is this command
    from bayescale.evidence.compare import fit_laws
    from bayescale.evidence.nested import nested_questions
    from bayescale.evidence.sensitivity import has_split, prior_sensitivity, sensitivity_summary
    from bayescale.evidence.verdict import comparison_summary, comparison_table
    from bayescale.fitting.fit import law_of
    from bayescale.jobs.executors import open_executor
    from bayescale.jobs.files import write_table
    from bayescale.runs.compute import definition_of

    # an averaged forecast rests on how the laws forecast
    forward = forward or bool(params) or bool(budgets)
    with open_executor(_executor(workers, scheduler)) as executor:
        with progress_bar("fitting the laws", quiet or as_json) as step:
            fits = fit_laws(data, chosen, seed=seed, executor=executor, progress=step)
        with progress_bar("comparing them", quiet or as_json) as step:
            result = compare_fits(
                fits,
                forward=forward,
                horizon=horizon,
                groups=groups,
                seed=seed,
                folder=resume,
                executor=executor,
                progress=None if step is None else lambda what, done, total: step(done, total),
            )
    best = fits[str(result["law"].values[0])]
    with working("asking the laws", quiet or as_json):
        answers = [answer for name in fits for answer in nested_questions(fits[name], result)]
        known = has_split(law_of(best)) and not definition_of(best).doubt
        sensitivity = prior_sensitivity(best) if known else None
        mixed = average_forecast(fits, result["weight_forward"], *sizes, seed=seed) if params else None
        split = average_allocation(fits, result["weight_forward"], budgets, seed=seed) if budgets else None
    if output is not None:
        write_table(comparison_table(result).rename_axis("law").reset_index(), output)
    if as_json:
        from bayescale.budgets.allocate import allocation_summary
        from bayescale.forecasts.forecast import forecast_summary

        summary = comparison_summary(result) | {"questions": [vars(answer) for answer in answers]}
        summary["sensitivity"] = None if sensitivity is None else sensitivity_summary(best, sensitivity)
        summary["forecast"] = None if mixed is None else forecast_summary(mixed)
        summary["allocation"] = None if split is None else allocation_summary(split)
        print_json(summary)
    elif not quiet:
        print_read(data.attrs)
        print_comparison(result, answers, sensitivity)
        if mixed is not None:
            from bayescale.forecasts.forecast import forecast_table, forecast_warnings

            print_table(forecast_cells(forecast_table(mixed), None))
            print_warnings(forecast_warnings(mixed))
        if split is not None:
            from bayescale.budgets.allocate import allocation_table, allocation_warnings

            print_table(allocation_cells(allocation_table(split)))
            print_warnings(allocation_warnings(split))


@app.command()
def reproduce(
    fit: FitFile,
    runs: Runs,
    below: Annotated[
        str | None, typer.Option("--below", help="Only the runs below this compute; default: as the fit was made.")
    ] = None,
    column: Columns = None,
    unit: Units = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a fit again from its runs: same bits, same within Monte Carlo error (status 0), or not (status 1)."""
    from bayescale.fitting.fit import law_of
    from bayescale.fitting.reproduce import REPRODUCED, reproduction_summary, reproduction_table
    from bayescale.fitting.reproduce import reproduce as fit_again  # 'reproduce' is this command
    from bayescale.fitting.store import open_fit

    opened = open_fit(fit)
    data = _runs(runs, column, unit, law_of(opened))
    with working("fitting again", quiet or as_json):
        result = fit_again(opened, data, below=None if below is None else _number("--below", below))
    if as_json:
        print_json(reproduction_summary(result))
    elif not quiet:
        print_read(data.attrs)
        if result.sizes["quantity"]:
            print_table(reproduction_cells(reproduction_table(result)))
        say(result.attrs["statement"])
    if result.attrs["verdict"] not in REPRODUCED:
        raise typer.Exit(1)


@app.command()
def report(
    fit: FitFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, one HTML file.")] = Path("report.html"),
    compute: Annotated[
        list[str] | None, typer.Option("--compute", "-C", help="Budget to answer for, in FLOP; may be repeated.")
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--params", "-N", help="Parameters of a planned run; may be repeated.")
    ] = None,
    tokens: Annotated[
        list[str] | None, typer.Option("--tokens", "-D", help="Tokens of a planned run; may be repeated.")
    ] = None,
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="NAME=VALUE", help="Another input of the law: unique_tokens=4B.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Also tell P(loss <= TARGET), in the unit of the runs' losses.")
    ] = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Forecast the fit's own larger runs from its smaller ones (refits).")
    ] = False,
    compare: Annotated[
        str | None, typer.Option(help="Compare with these laws, separated by commas (refits): coupled,chinchilla.")
    ] = None,
    horizon: Annotated[float, typer.Option(help="Longest forecast of the backtest, in decades of compute.")] = 1.5,
    resume: Annotated[Path | None, typer.Option(help="Folder of finished parts of the backtest.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One HTML page of a fit, for whoever decides: no network, one file, with a part that answers for other sizes."""
    from bayescale.display.report import report as make_report  # 'report' is this command
    from bayescale.display.report import save_report
    from bayescale.fitting.fit import law_of, runs_of
    from bayescale.fitting.store import open_fit

    _check_output(output, "report.html", fit)
    opened = open_fit(fit)
    runs, law = runs_of(opened), law_of(opened)
    tested = compared = None
    if backtest:
        from bayescale.evidence.backtest import backtest as run_backtest

        with progress_bar("forecasting the larger runs from the smaller", quiet or as_json) as step:
            tested = run_backtest(runs, law, horizon=horizon, seed=seed, folder=resume, progress=step)
    if compare is not None:
        from bayescale.evidence.compare import compare as compare_fits
        from bayescale.evidence.compare import fit_laws
        from bayescale.laws.law import load_law

        others = [load_law(name.strip()) for name in compare.split(",") if name.strip()]
        others = [other for other in others if other.name != law.name]
        with progress_bar("fitting the laws", quiet or as_json) as step:
            fits = fit_laws(runs, [law, *others], seed=seed, progress=step)
        with working("comparing them", quiet or as_json):
            compared = compare_fits(fits, forward=backtest, horizon=horizon, seed=seed, folder=resume)
    sizes = {"params": params, "tokens": tokens, "compute": compute}
    given = {name: [_number(f"--{name}", one) for one in some] for name, some in sizes.items() if some}
    with working("drawing the page", quiet or as_json):
        page = make_report(
            opened,
            at=_numbers("--at", at),
            target=None if target is None else _number("--target", target),
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


@app.command()
def show(fit: FitFile, as_json: Json = False, quiet: Quiet = False) -> None:
    """What is in a fit: runs, law (shipped, changed or your own), priors, convergence, notes, versions."""
    from bayescale.display.contents import contents_tables, fit_contents
    from bayescale.fitting.store import open_fit

    opened = open_fit(fit)
    if as_json:
        print_json(fit_contents(opened))
    elif not quiet:
        for position, table in enumerate(contents_tables(opened)):
            if position:
                say("")
            print_table(table)
            for note in table.notes:
                say(note)
            print_warnings(table.warnings)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo"),
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole job on the embedded runs: fit those below 1e22 FLOP, forecast the larger, compare with measured."""
    from bayescale.cli.demo import run_demo

    result = run_demo(output, seed=seed, step=lambda what: working(what, quiet or as_json))
    if as_json:
        print_json(result.summary)
    elif not quiet:
        say(f"Fitted {result.fitted} runs below 1e22 FLOP with the law '{result.fit.attrs['law']}'.")
        print_table(forecast_cells(result.forecasts, None))
        say(result.verdict)
        print_table(backtest_cells(result.backtest))
        say(result.statement)
        print_table(allocation_cells(result.allocation))
        print_warnings(result.warnings)
        say("Written: " + ", ".join(str(path) for path in result.files))


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="Data set to get; without it they are listed.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep downloads here instead of the user's cache.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the data sets, or get one: downloaded once, verified by checksum; prints where its file is."""
    from bayescale.runs import datasets as module

    if name is None:
        rows = [
            {"name": key, "embedded": source.url is None, "about": source.about, "cite": source.cite}
            for key, source in module.DATASETS.items()
        ]
        if as_json:
            print_json({"datasets": rows})
        elif not quiet:
            for row in rows:
                say(f"{row['name']} ({'embedded' if row['embedded'] else 'download'}): {row['about']}. {row['cite']}")
        return
    runs = module.fetch_dataset(name, folder)
    path = module.fetch_file(name, folder)
    if as_json:
        print_json({"name": name, "file": str(path), "runs": runs.sizes["run"], "cite": runs.attrs["cite"]})
    elif not quiet:
        say(path)


def _runs(
    given: str, column: Sequence[str] | None, unit: Sequence[str] | None, law: "Law | Sequence[Law] | None" = None
) -> "xr.Dataset":
    from bayescale.runs.datasets import DATASETS, fetch_dataset
    from bayescale.runs.read import read_runs

    # a name without a folder or an ending may be that of a data set; fetch_dataset knows which is meant, or says so
    plain = given.replace("-", "_").isidentifier() and not os.path.exists(given)
    meant = plain and difflib.get_close_matches(given, DATASETS, n=1)
    source = fetch_dataset(given) if meant else given
    return read_runs(source, law, columns=_pairs("--column", column), units=_pairs("--unit", unit))


def _check_output(path: Path | None, example: str, *inputs: "str | Path | None") -> None:
    """Before the work: can the file be where it was asked for, and is it none of those that are read?"""
    from bayescale.jobs.files import check_writable

    if path is None:
        return
    check_writable(path, example)
    for given in inputs:
        if given is not None and path.exists() and os.path.exists(given) and path.samefile(given):
            raise InputError(f"{path} is what is read; give the result another name, such as {example}")


def _executor(workers: int | None, scheduler: str | None) -> int | str | None:
    if workers is not None and scheduler is not None:
        raise InputError("--workers are on this machine, --scheduler has workers of its own: give one of them")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: a number of worker processes of at least 1 is expected")
    return workers if scheduler is None else scheduler


def _below(runs: "xr.Dataset", size: str, most: float) -> "xr.Dataset":
    kept = runs.isel(run=(runs[size] < most).values)
    if not kept.sizes["run"]:
        smallest, unit = float(runs[size].min()), " FLOP" if size == "compute" else ""
        raise InputError(
            f"--below {number_text(most, 6)} leaves no run: the smallest {size} is {number_text(smallest)}{unit}"
        )
    return kept


def _pairs(
    option: str, given: Sequence[str] | None, form: str = "ROLE=NAME", example: str = "loss=val_loss"
) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise InputError(f"{option} {clipped(text)}: {form} is expected, such as {option} {example}")
        if key in pairs:
            raise InputError(f"{option} {clipped(key)} is given twice, {clipped(pairs[key])} and {clipped(value)}")
        pairs[key] = value
    return pairs


def _split_options(cost, given, params, tokens, ratio, unique_tokens, menu) -> dict[str, Any]:
    """Options of a split as the library takes them."""
    return {
        "cost": cost,
        "given": _given(given),
        "params": _limit("--params", params),
        "tokens": _limit("--tokens", tokens),
        "ratio": _limit("--ratio", ratio),
        "unique_tokens": None if unique_tokens is None else _number("--unique-tokens", unique_tokens),
        "menu": None if menu is None else _menu(menu),
    }


def _given(given: Sequence[str] | None) -> dict[str, Any]:
    """Numbers as numbers (2T too), ranges and priors as they stand: the library reads them."""
    values: dict[str, Any] = {}
    for name, text in _pairs("--given", given, "NAME=VALUE", "T=1e12").items():
        try:
            values[name] = _number("--given", text)
        except InputError:
            values[name] = text
    return values


def _limit(option: str, text: str | None) -> Any:
    """``7B..70B``, ``..70B`` and ``7B..`` are limits, ``70B`` holds."""
    if text is None:
        return None
    low, dots, high = text.partition("..")
    if not dots:
        return _number(option, text)
    return tuple(_number(option, end) if end else None for end in (low, high))


def _menu(text: str) -> Any:
    if os.path.exists(text) or text.endswith(".csv"):
        return _columns("--menu", text)
    return [_number("--menu", size) for size in text.split(",") if size]


def _columns(option: str, path: str) -> dict[str, Any]:
    """Columns of numbers of a CSV file."""
    from bayescale.errors import RunsError
    from bayescale.runs.read import read_columns

    try:
        return read_columns(path)
    except RunsError as error:
        raise InputError(f"{option} {error}") from None


def _numbers(option: str, given: Sequence[str] | None) -> dict[str, float]:
    return {name: _number(option, value, positive=False) for name, value in _pairs(option, given).items()}


def _number(option: str, text: str, positive: bool = True) -> float:
    """70e9, 70B and 1.4T are numbers here."""
    factor = SUFFIXES.get(text[-1:].upper(), 1.0)
    try:
        value = float(text[:-1] if factor != 1.0 else text) * factor
    except ValueError:
        several = f"; for several give the option again, {option} 1B {option} 7B" if "," in text else ""
        raise InputError(f"{option} {clipped(text)}: not a number (write 70e9 or 70B{several})") from None
    if not (math.isfinite(value) and (value > 0 or not positive)):
        raise InputError(f"{option} {clipped(text)}: a finite number{' above 0' if positive else ''} is expected")
    return value


if __name__ == "__main__":
    main()
