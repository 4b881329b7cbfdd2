"""Commands about budgets: allocate, sample, reach, emergence, gain, approaches, landmarks, next, plan."""

from pathlib import Path
from typing import Annotated

import typer

from bayescale.cli import arguments as arg
from bayescale.display.terminal import print_answer, print_json, print_readings, working


def allocate(
    fit: arg.FitFile,
    compute: arg.Compute,
    cost: arg.CostFormula = None,
    given: arg.Given = None,
    params: arg.ParamsLimit = None,
    tokens: arg.TokensLimit = None,
    ratio: arg.RatioLimit = None,
    unique_tokens: arg.UniqueTokens = None,
    menu: arg.Menu = None,
    candidate: Annotated[list[str] | None, typer.Option(help="A size N to judge besides; may be repeated.")] = None,
    factor: Annotated[float, typer.Option(help="Print P(N within this factor of N*).")] = 2.0,
    law_only: Annotated[bool, typer.Option("--law-only", help="Decide as if the law were exactly right.")] = False,
    level: arg.Level = 90.0,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """The optimal split of a budget into parameters and tokens, and what a wrong one costs."""
    from bayescale.budgets.allocate import allocate as split_compute  # 'allocate' is this command
    from bayescale.budgets.allocate import read as read_allocation
    from bayescale.budgets.decide import decide
    from bayescale.budgets.decide import read as read_decision
    from bayescale.fitting.store import open_fit
    from bayescale.jobs.files import write_table

    arg.check_output(output, "split.csv", fit)
    share = arg.level(level)
    options = arg.split_options(cost, given, params, tokens, ratio, unique_tokens, menu)
    budgets = arg.numbers("--compute", compute)
    sizes = arg.numbers("--candidate", candidate) or None
    opened = open_fit(fit)
    with working("splitting the budget", quiet or as_json):
        options |= {"discrepancy": not law_only}
        result = split_compute(opened, budgets, seed=seed, **options)
        options |= {"candidates": sizes, "factor": factor}
        decision = decide(opened, budgets, seed=seed, **options)
    splits, choices = read_allocation(result, level=share), read_decision(decision)
    if output is not None:
        write_table(splits.frame, output)
    if as_json:
        print_json(splits.to_dict() | {"decision": choices.to_dict()})
    elif not quiet:
        print_readings(splits, choices)


def sample(
    loss_fit: Annotated[Path, typer.Argument(metavar="LOSS.nc", help="A fit of a law of N and D.")],
    fit: Annotated[
        Path, typer.Argument(metavar="SAMPLES.nc", help="A fit of what samples bring at a loss: coverage_of_loss.")
    ],
    compute: arg.Compute,
    samples: Annotated[str, typer.Option(help="Least and most samples of a problem.")] = "1..10000",
    cost: Annotated[
        str | None, typer.Option(help="Of training and sampling; default: 6*N*D + 2*N*T*samples, T from --given.")
    ] = None,
    given: arg.Given = None,
    level: arg.Level = 90.0,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Train longer or sample more: one budget for training and for the samples of every problem."""
    from bayescale.budgets.sampling import COST, read, train_or_sample
    from bayescale.fitting.store import open_fit

    arg.check_output(output, "samples.csv", loss_fit, fit)
    share = arg.level(level)
    budgets, limits = arg.numbers("--compute", compute), arg.limit("--samples", samples)
    options = {"samples": limits, "cost": cost or COST, "given": arg.values_given(given)}
    with working("splitting the budget", quiet or as_json):
        result = train_or_sample(open_fit(loss_fit), open_fit(fit), budgets, seed=seed, **options)
    print_answer(read(result, level=share), as_json, quiet, output)


def reach(
    fit: arg.FitFile,
    target: Annotated[
        list[str],
        typer.Option(
            "--target", "-t", "--loss", "-L", help="Loss or other value; '>=0.9' gives the side; may be repeated."
        ),
    ],
    through: arg.Through = None,
    chance: Annotated[float, typer.Option(help="Also: the least budget that meets it with this probability.")] = 0.9,
    cost: arg.CostFormula = None,
    given: arg.Given = None,
    params: arg.ParamsLimit = None,
    tokens: arg.TokensLimit = None,
    ratio: arg.RatioLimit = None,
    unique_tokens: arg.UniqueTokens = None,
    menu: arg.Menu = None,
    level: arg.Level = 90.0,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """The least budget whose best split reaches a loss; the least size of a law of one size for a target."""
    from bayescale.budgets.target import least_compute, read
    from bayescale.fitting.store import open_fit

    share = arg.level(level)
    options = arg.split_options(cost, given, params, tokens, ratio, unique_tokens, menu)
    with working("looking for the least budget", quiet or as_json):
        links = arg.fits_given(through) or None
        targets = [arg.target(text) for text in target]
        result = least_compute(open_fit(fit), targets, through=links, chance=chance, seed=seed, **options)
    print_answer(read(result, level=share), as_json, quiet)


def emergence(
    fit: Annotated[Path, typer.Argument(metavar="SHARP.nc", help="A fit of an accuracy by a law of the loss.")],
    through: arg.Through = None,
    params: arg.PlannedParams = None,
    tokens: arg.PlannedTokens = None,
    compute: arg.PlannedCompute = None,
    at: arg.PlannedAt = None,
    figure: Annotated[Path | None, typer.Option(help="Draw both metrics here (PNG).")] = None,
    level: arg.Level = 90.0,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """A sharp metric beside the smooth one: between which runs its jump lies, and how much of it is the metric."""
    from bayescale.budgets.emergence import emergence as beside  # 'emergence' is this command
    from bayescale.budgets.emergence import read
    from bayescale.fitting.store import open_fit

    arg.check_output(output, "emergence.csv", fit)
    arg.check_output(figure, "emergence.png", fit)
    share = arg.level(level)
    given = {"params": params, "tokens": tokens, "compute": compute}
    sizes = {name: arg.numbers(f"--{name}", values) or None for name, values in given.items()}
    covariates = arg.named_numbers("--at", at)
    links = arg.fits_given(through)
    with working("following both metrics", quiet or as_json):
        result = beside(open_fit(fit), through=links, covariates=covariates, seed=seed, **sizes)
    if figure is not None:
        from bayescale.display.figures import save_figure
        from bayescale.display.plots_decision import plot_emergence

        save_figure(plot_emergence(result, level=share), figure)
    print_answer(read(result, level=share), as_json, quiet, output)


def gain(
    fit: arg.FitFile,
    other: Annotated[Path, typer.Argument(metavar="OTHER.nc", help="The fit to compare it with.")],
    compute: Annotated[
        list[str],
        typer.Option("--compute", "-C", "--size", help="Budget, or size of laws of one size; may be repeated."),
    ],
    cost: arg.CostFormula = None,
    given: arg.Given = None,
    params: arg.ParamsLimit = None,
    tokens: arg.TokensLimit = None,
    ratio: arg.RatioLimit = None,
    level: arg.Level = 90.0,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Compute-equivalent gain: how much more compute the other recipe needs for the same loss."""
    from bayescale.budgets.gain import compute_gain, read
    from bayescale.fitting.store import open_fit

    share = arg.level(level)
    options = arg.split_options(cost, given, params, tokens, ratio)
    with working("comparing the frontiers", quiet or as_json):
        budgets = arg.numbers("--compute", compute)
        result = compute_gain(open_fit(fit), open_fit(other), budgets, seed=seed, **options)
    print_answer(read(result, level=share), as_json, quiet)


def approaches(
    fit: arg.FitFile,
    compute: Annotated[str, typer.Option("--compute", "-C", help="Budget in FLOP at which N* is compared.")],
    level: arg.Level = 90.0,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """N*(C) by the envelope, by isoFLOP parabolas and by the law, side by side."""
    from bayescale.budgets.approaches import approaches as compare  # 'approaches' is this command
    from bayescale.budgets.approaches import read
    from bayescale.fitting.store import open_fit

    share = arg.level(level)
    with working("resampling the runs", quiet or as_json):
        result = compare(open_fit(fit), arg.number("--compute", compute), level=share, seed=seed)
    print_answer(read(result), as_json, quiet)


def landmarks(
    fit: arg.FitFile,
    level: arg.Level = 90.0,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Well-known models: how many times larger each is than the best size for its compute, by a fit."""
    from bayescale.budgets.landmarks import landmarks as against_best  # 'landmarks' is this command
    from bayescale.budgets.landmarks import read
    from bayescale.fitting.store import open_fit

    arg.check_output(output, "landmarks.csv", fit)
    share = arg.level(level)
    with working("splitting their budgets", quiet or as_json):
        table = against_best(open_fit(fit), level=share, seed=seed)
    print_answer(read(table), as_json, quiet, output)


def next_(
    fit: arg.FitFile,
    budget: Annotated[str, typer.Option("--budget", "-B", help="What the new runs may cost together.")],
    target: Annotated[str, typer.Option("--target", "-t", help="loss, params (N*) or regret.")] = "loss",
    params: Annotated[str | None, typer.Option("--params", "-N", help="With the target loss: its parameters.")] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", "-D", help="With the target loss: its tokens.")] = None,
    compute: Annotated[str | None, typer.Option("--compute", "-C", help="With params, regret: the budget.")] = None,
    runs: Annotated[int, typer.Option("--runs", "-n", help="How many runs at most.")] = 1,
    at: arg.PlannedAt = None,
    candidates: Annotated[str | None, typer.Option(help="CSV of runs that could be made: params,tokens.")] = None,
    cost: arg.CostFormula = None,
    given: arg.Given = None,
    law_only: Annotated[bool, typer.Option("--law-only", help="Plan as if the law were exactly right.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the plan here (CSV).")] = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Which affordable runs tell most about a target: the next one, or a plan."""
    from bayescale.budgets.design import next_run, read
    from bayescale.fitting.store import open_fit

    arg.check_output(output, "plan.csv", fit)
    aim = {"params": params, "tokens": tokens, "compute": compute}
    numbers = {name: arg.number(f"--{name}", value) for name, value in aim.items()}
    with working("weighing candidate runs", quiet or as_json):
        result = next_run(
            open_fit(fit),
            arg.number("--budget", budget),
            target=target,
            candidates=arg.columns_of("--candidates", candidates),
            most=runs,
            cost=cost,
            given=arg.values_given(given),
            at=arg.named_numbers("--at", at),
            discrepancy=not law_only,
            seed=seed,
            **numbers,
        )
    print_answer(read(result), as_json, quiet, output)


def plan(
    law: arg.LawName = None,
    quantity: Annotated[str, typer.Option(help="Parameter or derived quantity of the law.")] = "alpha",
    sd: Annotated[float, typer.Option(help="The posterior sd of it that is wanted.")] = 0.01,
    params: Annotated[str, typer.Option("--params", "-N", help="Sizes of the runs, LOW..HIGH.")] = "50M..2B",
    tokens: Annotated[str, typer.Option("--tokens", "-D", help="Tokens of the runs, LOW..HIGH.")] = "1B..100B",
    spans: Annotated[
        list[str] | None, typer.Option("--range", metavar="NAME=LOW..HIGH", help="Range of another input of the law.")
    ] = None,
    noise: Annotated[float, typer.Option(help="sd of a run's log loss about the law.")] = 0.005,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Before any run: how many are needed until a quantity of a law is known well enough."""
    from bayescale.budgets.planning import plan_runs, read

    ranges = {"params": arg.limit("--params", params), "tokens": arg.limit("--tokens", tokens)}
    further = arg.pairs("--range", spans, "NAME=LOW..HIGH", "samples=1..1000")
    further = {name: arg.limit("--range", text) for name, text in further.items()}
    with working("simulating studies", quiet or as_json):
        table = plan_runs(law, quantity=quantity, sd=sd, noise=noise, ranges=further, seed=seed, **ranges)
    print_answer(read(table), as_json, quiet)
