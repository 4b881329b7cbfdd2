"""Commands about budgets: allocate, reach, gain, approaches, next, plan."""

from pathlib import Path
from typing import Annotated

import typer

from bayescale.cli.arguments import (
    Compute,
    CostFormula,
    FitFile,
    Given,
    Json,
    LawName,
    Menu,
    ParamsLimit,
    Quiet,
    RatioLimit,
    Seed,
    TableFile,
    TokensLimit,
    UniqueTokens,
    check_output,
    columns_of,
    limit,
    number,
    numbers,
    split_options,
    values_given,
)
from bayescale.display.tables import (
    allocation_cells,
    approaches_cells,
    count_cells,
    decision_cells,
    gain_cells,
    least_compute_cells,
    plan_cells,
)
from bayescale.display.terminal import print_json, print_loss_unit, print_table, print_warnings, say, working


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
    output: TableFile = None,
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

    check_output(output, "split.csv", fit)
    options = split_options(cost, given, params, tokens, ratio, unique_tokens, menu)
    budgets = numbers("--compute", compute)
    sizes = numbers("--candidate", candidate) or None
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

    options = split_options(cost, given, params, tokens, ratio, unique_tokens, menu)
    with working("looking for the least budget", quiet or as_json):
        result = least_compute(open_fit(fit), numbers("--loss", loss), seed=seed, **options)
    if as_json:
        print_json(least_compute_summary(result))
    elif not quiet:
        print_table(least_compute_cells(least_compute_table(result)))
        print_loss_unit(result.attrs)
        say(counted(result.attrs))
        print_warnings(least_compute_warnings(result))


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

    options = split_options(cost, given, params, tokens, ratio)
    with working("comparing the frontiers", quiet or as_json):
        budgets = numbers("--compute", compute)
        result = compute_gain(open_fit(fit), open_fit(other), budgets, seed=seed, **options)
    if as_json:
        print_json(gain_summary(result))
    elif not quiet:
        print_table(gain_cells(gain_table(result)))
        print_loss_unit(result.attrs)
        say(counted(result.attrs))
        print_warnings(gain_warnings(result))


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
        result = compare(open_fit(fit), number("--compute", compute), seed=seed)
    if as_json:
        print_json(approaches_summary(result))
    elif not quiet:
        print_table(approaches_cells(approaches_table(result)))
        say(counted(result.attrs))
        say(result.attrs["statement"])
        print_warnings(approaches_warnings(result))


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

    check_output(output, "plan.csv", fit)
    aim = {"params": params, "tokens": tokens, "compute": compute}
    numbers = {name: number(f"--{name}", value) for name, value in aim.items()}
    with working("weighing candidate runs", quiet or as_json):
        result = next_run(
            open_fit(fit),
            number("--budget", budget),
            target=target,
            candidates=columns_of("--candidates", candidates),
            most=runs,
            cost=cost,
            given=values_given(given),
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


def plan(
    law: LawName = None,
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

    ranges = {"params": limit("--params", params), "tokens": limit("--tokens", tokens)}
    with working("simulating studies", quiet or as_json):
        table = plan_runs(law, quantity=quantity, sd=sd, noise=noise, seed=seed, **ranges)
    if as_json:
        print_json(plan_summary(table))
    elif not quiet:
        print_table(count_cells(table))
        say(plan_statement(table))
