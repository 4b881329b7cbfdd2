"""Options of several commands; those that go together are fields of a dataclass, which :func:`flat` takes apart."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import bayescale
from bayescale.cli import arguments as arg
from bayescale.display.terminal import print_json, print_readings, progress_bar, say, working
from bayescale.errors import InputError
from bayescale.laws.noises import NOISES

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.laws.law import Law
    from bayescale.reading import Reading
    from bayescale.runs.tables.formats import Table


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """A command as Typer reads it, with options of its own instead of parameters that are groups of them."""
    own = inspect.signature(command).parameters
    groups: dict[str, Any] = {name: one.annotation for name, one in own.items() if is_dataclass(one.annotation)}
    options = {name: inspect.signature(group).parameters for name, group in groups.items()}

    def run(**given: Any) -> None:
        made = {name: group(**{one: given.pop(one) for one in options[name]}) for name, group in groups.items()}
        command(**given, **made)

    every = [one for name, mine in own.items() for one in (options[name].values() if name in groups else [mine])]
    signature = inspect.Signature([one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in every])
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUNS", help="Files or folders of runs in any format, or the name of a data set."),
]
FitFile = Annotated[Path, typer.Argument(metavar="FIT.nc", help="A fit saved by 'bayescale fit'.")]
LawName = Annotated[
    str | None,
    typer.Option("--law", "-l", help="Name or path of a law; default: coupled, or one chosen for runs of one size."),
]
Noise = Annotated[str | None, typer.Option(help=f"How runs scatter: {', '.join(NOISES)}; default: what suits the law.")]
TableFile = Annotated[Path | None, typer.Option("--output", "-o", help="Save the table here (CSV).")]
Level = Annotated[
    float, typer.Option("--level", metavar="PERCENT", callback=arg.level, help="What the bands are to hold: 95.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same draws, on one machine.")]
Columns = Annotated[
    list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="Which column is which: loss=pile_loss ...")
]
Units = Annotated[
    list[str] | None,
    typer.Option("--unit", metavar="ROLE=UNIT", help="Units: params=M, tokens=B, loss=bits, compute=GFLOP ..."),
]
Where = Annotated[
    str | None, typer.Option(metavar="CONDITION", help="""Rows that are runs: 'state == "finished" and lr > 1e-4'.""")
]
Target = Annotated[
    str | None,
    typer.Option(help="Also the probability to reach TARGET, in the unit of the runs; '>=0.9' gives the side."),
]
PlannedParams = Annotated[
    list[str] | None, typer.Option("--params", "-N", help="Parameters of a planned run; may be repeated.")
]
PlannedTokens = Annotated[
    list[str] | None, typer.Option("--tokens", "-D", help="Tokens of a planned run; may be repeated.")
]
PlannedAt = Annotated[
    list[str] | None,
    typer.Option("--at", metavar="NAME=VALUE", help="Another input: unique_tokens=4B, group=pile."),
]
Compute = Annotated[
    list[str],
    typer.Option("--compute", "-C", help="Budget: FLOP as the runs count it; with --cost in its unit, '2e6 dollars'."),
]
CostFormula = Annotated[
    str | None,
    typer.Option("--cost", help="What a run costs: a formula of N, D and names in --given; default: its compute."),
]
Given = Annotated[
    list[str] | None,
    typer.Option("--given", metavar="NAME=VALUE", help="A number, a 90 % range 0.35..0.5, or Beta(alpha=40, beta=60)."),
]
RatioLimit = Annotated[
    str | None, typer.Option("--ratio", help="Limits of tokens per parameter: 20..200; 20 holds it.")
]
Through = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="NAME=FIT.nc", help="An input of the law that another fit forecasts: loss=loss.nc."),
]
Horizon = Annotated[float, typer.Option(help="Longest forecast to score, in decades of compute.")]


@dataclass(frozen=True)
class Said:
    """What a command prints."""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and the JSON, if asked for).")
    ] = False

    def working(self, what: str) -> AbstractContextManager[None]:
        """A spinner while something takes its time."""
        return working(what, self.quiet or self.as_json)

    def progress(self, what: str) -> AbstractContextManager[Callable[[int, int], None] | None]:
        """A bar for work whose parts can be counted."""
        return progress_bar(what, self.quiet or self.as_json)

    def answer(self, reading: "Reading", output: Path | None = None) -> None:
        """The answer of a command: its numbers into a file, if one was asked for, and as JSON or in words."""
        if output is not None:
            from bayescale.jobs.files import write_table

            write_table(reading.frame, output)
        if self.as_json:
            print_json(reading.to_dict())
        elif not self.quiet:
            print_readings(reading)

    def written(self, path: Path, **about: Any) -> None:
        """The answer of a command that makes one file."""
        if self.as_json:
            print_json({"file": str(path), **about})
        elif not self.quiet:
            say(f"Written: {path}")


@dataclass(frozen=True)
class TableOptions:
    """How a table of runs is read: which columns are which, and which rows are runs."""

    column: Columns = None
    unit: Units = None
    where: Where = None
    above_step: Annotated[str | None, typer.Option(metavar="STEP", help="Leave out rows up to this step.")] = None
    last_of: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="A column that names runs: of each its last complete row.")
    ] = None
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out rows without a value that is needed.")
    ] = False
    best_of: Annotated[
        str | None, typer.Option(metavar="COLUMNS", help="Of rows that agree in these the lowest loss: params,tokens.")
    ] = None

    @property
    def named(self) -> dict[str, dict[str, str]]:
        """Columns and units, as :func:`bayescale.read_runs` takes them."""
        return {"columns": arg.pairs("--column", self.column), "units": arg.pairs("--unit", self.unit)}

    @property
    def rows(self) -> dict[str, Any]:
        """What chooses rows, the same."""
        names = tuple(name.strip() for name in (self.best_of or "").split(",") if name.strip())
        step = arg.number("--above-step", self.above_step, positive=False)
        chosen = {"where": self.where, "above_step": step, "last_of": self.last_of}
        chosen |= {"drop_missing": self.drop_missing, "best_of": names}
        return {name: value for name, value in chosen.items() if value not in (None, False, ())}

    def read(self, source: "Table | xr.Dataset", law: "Law | Sequence[Law] | None") -> "xr.Dataset":
        """The runs in what :func:`bayescale.cli.arguments.source_given` gave."""
        runs: xr.Dataset = bayescale.read_runs(source, law, **self.named, **self.rows)
        return runs

    def laws(self, name: str | None, source: "Table | xr.Dataset") -> "list[Law]":
        """The law of that name or path, as these runs show what it explains; without one those to choose from."""
        from bayescale.fitting.default_law import laws_for

        return laws_for(source, name, self.named["columns"])


@dataclass(frozen=True)
class Planned:
    """Runs to be made."""

    params: PlannedParams = None
    tokens: PlannedTokens = None
    compute: Annotated[
        list[str] | None, typer.Option("--compute", "-C", help="Compute of a planned run, in FLOP; may be repeated.")
    ] = None
    at: PlannedAt = None

    @property
    def inputs(self) -> dict[str, Any]:
        """Inputs of the law, by column."""
        sizes = {name: arg.numbers(f"--{name}", getattr(self, name)) for name in ("params", "tokens", "compute")}
        return {name: values for name, values in sizes.items() if values} | arg.named_numbers("--at", self.at)


@dataclass(frozen=True)
class SplitOptions:
    """What a run costs, and limits of a split."""

    cost: CostFormula = None
    given: Given = None
    params: Annotated[str | None, typer.Option("--params", "-N", help="Limits of N: 7B..70B, ..70B; 70B holds it.")] = (
        None
    )
    tokens: Annotated[str | None, typer.Option("--tokens", "-D", help="Limits of D: ..2T, or 2T to hold it.")] = None
    ratio: RatioLimit = None

    @property
    def options(self) -> dict[str, Any]:
        """As the library takes them."""
        limits = {name: arg.limit(f"--{name}", getattr(self, name)) for name in ("params", "tokens", "ratio")}
        return {"cost": self.cost, "given": arg.values_given(self.given)} | limits


@dataclass(frozen=True)
class Stock:
    """What there is to train on, and to choose from."""

    unique_tokens: Annotated[
        str | None, typer.Option("--unique-tokens", help="Distinct tokens there are, for laws of repeated data.")
    ] = None
    menu: Annotated[
        str | None,
        typer.Option("--menu", help="Architectures to choose from: 1B,3B,7B, or a CSV with a column params."),
    ] = None

    @property
    def options(self) -> dict[str, Any]:
        """As the library takes them."""
        return {"unique_tokens": arg.number("--unique-tokens", self.unique_tokens), "menu": arg.menu_given(self.menu)}


@dataclass(frozen=True)
class Refits:
    """Where refits run."""

    workers: Annotated[int | None, typer.Option("--workers", help="Refit in this many worker processes.")] = None
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Refit on the cluster of a Dask scheduler."),
    ] = None

    def open(self) -> Any:
        """What refits, see :func:`bayescale.open_executor`."""
        if self.workers is not None and self.scheduler is not None:
            raise InputError("--workers start on this machine, --scheduler has its own: give one of them")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: a number of worker processes of at least 1 is expected")
        return bayescale.open_executor(self.workers if self.scheduler is None else self.scheduler)
