"""Commands about budgets: allocate, sample, reach, emergence, gain, approaches, landmarks, next, plan."""

from pathlib import Path
from typing import Annotated

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.display.terminal import print_json, print_readings
from bayescale.jobs.files import write_table


def allocate(
    fit: opt.FitFile,
    compute: opt.Compute,
    *,
    split: opt.SplitOptions,
    stock: opt.Stock,
    candidate: Annotated[list[str] | None, typer.Option(help="A size N to judge besides; may be repeated.")] = None,
    factor: Annotated[float, typer.Option(help="Print P(N within this factor of N*).")] = 2.0,
    law_only: Annotated[bool, typer.Option("--law-only", help="Decide as if the law were exactly right.")] = False,
    level: opt.Level = 90.0,
    output: opt.TableFile = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """The optimal split of a budget into parameters and tokens, and what a wrong one costs."""
    arg.check_output(output, "split.csv", fit)
    options = split.options | stock.options | {"discrepancy": not law_only, "seed": seed}
    budgets = arg.budgets(compute)
    sizes = arg.numbers("--candidate", candidate) or None
    opened = bayescale.open_fit(fit)
    with said.working("splitting the budget"):
        result = bayescale.allocate(opened, budgets, **options)
        decision = bayescale.decide(opened, budgets, candidates=sizes, factor=factor, **options)
    splits, choices = bayescale.read(result, level=level), bayescale.read(decision)
    if output is not None:
        write_table(splits.frame, output)
    if said.as_json:
        print_json(splits.to_dict() | {"decision": choices.to_dict()})
    elif not said.quiet:
        print_readings(splits, choices)


def sample(
    loss_fit: Annotated[Path, typer.Argument(metavar="LOSS.nc", help="A fit of a law of N and D.")],
    fit: Annotated[
        Path, typer.Argument(metavar="SAMPLES.nc", help="A fit of what samples bring at a loss: coverage_of_loss.")
    ],
    compute: opt.Compute,
    *,
    samples: Annotated[str, typer.Option(help="Least and most samples of a problem.")] = "1..10000",
    cost: Annotated[
        str | None, typer.Option(help="Of training and sampling; default: 6*N*D + 2*N*T*samples, T from --given.")
    ] = None,
    given: opt.Given = None,
    level: opt.Level = 90.0,
    output: opt.TableFile = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Train longer or sample more: one budget for training and for the samples of every problem."""
    arg.check_output(output, "samples.csv", loss_fit, fit)
    budgets, limits = arg.numbers("--compute", compute), arg.limit("--samples", samples)
    options = {"samples": limits, "given": arg.values_given(given), "seed": seed} | ({"cost": cost} if cost else {})
    with said.working("splitting the budget"):
        result = bayescale.train_or_sample(bayescale.open_fit(loss_fit), bayescale.open_fit(fit), budgets, **options)
    said.answer(bayescale.read(result, level=level), output)


def reach(
    fit: opt.FitFile,
    target: Annotated[
        list[str],
        typer.Option(
            "--target", "-t", "--loss", "-L", help="Loss or other value; '>=0.9' gives the side; may be repeated."
        ),
    ],
    *,
    through: opt.Through = None,
    chance: Annotated[float, typer.Option(help="Also: the least budget that meets it with this probability.")] = 0.9,
    split: opt.SplitOptions,
    stock: opt.Stock,
    level: opt.Level = 90.0,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """The least budget whose best split reaches a loss; the least size of a law of one size for a target."""
    options = split.options | stock.options
    with said.working("looking for the least budget"):
        options |= {"through": arg.fits_given(through) or None, "chance": chance, "seed": seed}
        targets = [arg.target(text) for text in target]
        result = bayescale.least_compute(bayescale.open_fit(fit), targets, **options)
    said.answer(bayescale.read(result, level=level))


def emergence(
    fit: Annotated[Path, typer.Argument(metavar="SHARP.nc", help="A fit of an accuracy by a law of the loss.")],
    *,
    through: opt.Through = None,
    planned: opt.Planned,
    figure: Annotated[Path | None, typer.Option(help="Draw both metrics here (PNG).")] = None,
    level: opt.Level = 90.0,
    output: opt.TableFile = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """A sharp metric beside the smooth one: between which runs its jump lies, and how much of it is the metric."""
    arg.check_output(output, "emergence.csv", fit)
    arg.check_output(figure, "emergence.png", fit)
    inputs, links = planned.inputs, arg.fits_given(through)
    with said.working("following both metrics"):
        result = bayescale.emergence(bayescale.open_fit(fit), through=links, covariates=inputs, seed=seed)
    arg.draw(figure, lambda: bayescale.plot_emergence(result, level=level))
    said.answer(bayescale.read(result, level=level), output)


def gain(
    fit: opt.FitFile,
    other: Annotated[Path, typer.Argument(metavar="OTHER.nc", help="The fit to compare it with.")],
    compute: Annotated[
        list[str],
        typer.Option("--compute", "-C", "--size", help="Budget, or size of laws of one size; may be repeated."),
    ],
    *,
    split: opt.SplitOptions,
    level: opt.Level = 90.0,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Compute-equivalent gain: how much more compute the other recipe needs for the same loss."""
    options = split.options
    with said.working("comparing the frontiers"):
        budgets = arg.budgets(compute)
        result = bayescale.compute_gain(*map(bayescale.open_fit, (fit, other)), budgets, seed=seed, **options)
    said.answer(bayescale.read(result, level=level))


def approaches(
    fit: opt.FitFile,
    compute: Annotated[str, typer.Option("--compute", "-C", help="Budget in FLOP at which N* is compared.")],
    *,
    level: opt.Level = 90.0,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """N*(C) by the envelope, by isoFLOP parabolas and by the law, side by side."""
    with said.working("resampling the runs"):
        opened, budget = bayescale.open_fit(fit), arg.number("--compute", compute)
        result = bayescale.approaches(opened, budget, level=level, seed=seed)
    said.answer(bayescale.read(result))


def landmarks(
    fit: opt.FitFile, *, level: opt.Level = 90.0, output: opt.TableFile = None, seed: opt.Seed = 0, said: opt.Said
) -> None:
    """Well-known models: how many times larger each is than the best size for its compute, by a fit."""
    arg.check_output(output, "landmarks.csv", fit)
    with said.working("splitting their budgets"):
        table = bayescale.landmarks(bayescale.open_fit(fit), level=level, seed=seed)
    said.answer(bayescale.read(table), output)


def next_(
    fit: opt.FitFile,
    budget: Annotated[str, typer.Option("--budget", "-B", help="What the new runs may cost together.")],
    *,
    target: Annotated[str, typer.Option("--target", "-t", help="loss, params (N*) or regret.")] = "loss",
    params: Annotated[str | None, typer.Option("--params", "-N", help="With the target loss: its parameters.")] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", "-D", help="With the target loss: its tokens.")] = None,
    compute: Annotated[str | None, typer.Option("--compute", "-C", help="With params, regret: the budget.")] = None,
    runs: Annotated[int, typer.Option("--runs", "-n", help="How many runs at most.")] = 1,
    at: opt.PlannedAt = None,
    candidates: Annotated[str | None, typer.Option(help="CSV of runs that could be made: params,tokens.")] = None,
    cost: opt.CostFormula = None,
    given: opt.Given = None,
    law_only: Annotated[bool, typer.Option("--law-only", help="Plan as if the law were exactly right.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the plan here (CSV).")] = None,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Which affordable runs tell most about a target: the next one, or a plan."""
    arg.check_output(output, "plan.csv", fit)
    aim = {"params": params, "tokens": tokens, "compute": compute}
    numbers = {name: arg.number(f"--{name}", value) for name, value in aim.items()}
    with said.working("weighing candidate runs"):
        opened = bayescale.open_fit(fit)
        result = bayescale.next_run(
            opened,
            arg.number("--budget", budget),
            target=target,
            candidates=arg.columns_of("--candidates", candidates),
            most=runs,
            cost=cost,
            given=arg.values_given(given),
            at=arg.named_numbers("--at", at),
            discrepancy=not law_only,
            seed=seed,
            **arg.in_counts(opened, numbers),
        )
    said.answer(bayescale.read(result), output)


def plan(
    *,
    law: opt.LawName = None,
    quantity: Annotated[str, typer.Option(help="Parameter or derived quantity of the law.")] = "alpha",
    sd: Annotated[float, typer.Option(help="The posterior sd of it that is wanted.")] = 0.01,
    params: Annotated[str, typer.Option("--params", "-N", help="Sizes of the runs, LOW..HIGH.")] = "50M..2B",
    tokens: Annotated[str, typer.Option("--tokens", "-D", help="Tokens of the runs, LOW..HIGH.")] = "1B..100B",
    spans: Annotated[
        list[str] | None, typer.Option("--range", metavar="NAME=LOW..HIGH", help="Range of another input of the law.")
    ] = None,
    noise: Annotated[float, typer.Option(help="sd of a run's log loss about the law.")] = 0.005,
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """Before any run: how many are needed until a quantity of a law is known well enough."""
    ranges = {"params": arg.limit("--params", params), "tokens": arg.limit("--tokens", tokens)}
    further = arg.pairs("--range", spans, "NAME=LOW..HIGH", "samples=1..1000")
    further = {name: arg.limit("--range", text) for name, text in further.items()}
    with said.working("simulating studies"):
        table = bayescale.plan_runs(law, quantity=quantity, sd=sd, noise=noise, ranges=further, seed=seed, **ranges)
    said.answer(bayescale.read(table))
