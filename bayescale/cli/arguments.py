"""Options of several commands, and their texts as runs, numbers, limits and pairs."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayescale.errors import InputError, RunsError
from bayescale.field import clipped, number_in
from bayescale.laws.groups import GROUP
from bayescale.laws.noises import NOISES

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.laws.law import Law
    from bayescale.runs.tables.formats import Table

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
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and the JSON, if asked for).")]
Level = Annotated[float, typer.Option("--level", metavar="PERCENT", help="What the bands are to hold: 95.")]
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
AboveStep = Annotated[str | None, typer.Option(metavar="STEP", help="Leave out rows up to this step.")]
LastOf = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="A column that names runs: of each its last complete row.")
]
DropMissing = Annotated[bool, typer.Option("--drop-missing", help="Leave out rows without a value that is needed.")]
BestOf = Annotated[
    str | None, typer.Option(metavar="COLUMNS", help="Of rows that agree in these the lowest loss: params,tokens.")
]
Group = Annotated[str | None, typer.Option(help="Column of runs over whose values the law varies: family, corpus ...")]
By = Annotated[list[str] | None, typer.Option("--by", metavar="NAME", help="What varies; default: level and slope.")]
PlannedParams = Annotated[
    list[str] | None, typer.Option("--params", "-N", help="Parameters of a planned run; may be repeated.")
]
PlannedTokens = Annotated[
    list[str] | None, typer.Option("--tokens", "-D", help="Tokens of a planned run; may be repeated.")
]
PlannedCompute = Annotated[
    list[str] | None, typer.Option("--compute", "-C", help="Compute of a planned run, in FLOP; may be repeated.")
]
Target = Annotated[
    str | None,
    typer.Option(help="Also the probability to reach TARGET, in the unit of the runs; '>=0.9' gives the side."),
]
PlannedAt = Annotated[
    list[str] | None,
    typer.Option("--at", metavar="NAME=VALUE", help="Another input: unique_tokens=4B, group=pile."),
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
RatioLimit = Annotated[
    str | None, typer.Option("--ratio", help="Limits of tokens per parameter: 20..200; 20 holds it.")
]
UniqueTokens = Annotated[
    str | None, typer.Option("--unique-tokens", help="Distinct tokens there are, for laws of repeated data.")
]
Menu = Annotated[
    str | None, typer.Option("--menu", help="Architectures to choose from: 1B,3B,7B, or a CSV with a column params.")
]
Through = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="NAME=FIT.nc", help="An input of the law that another fit forecasts: loss=loss.nc."),
]
Horizon = Annotated[float, typer.Option(help="Longest forecast to score, in decades of compute.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Refit in this many worker processes.")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Refit on the cluster of a Dask scheduler.")
]


def runs_given(
    given: Sequence[str],
    column: Sequence[str] | None,
    unit: Sequence[str] | None,
    law: "Law | Sequence[Law] | None" = None,
    rows: Mapping[str, Any] | None = None,
) -> "xr.Dataset":
    """Runs of files or folders, or of the data set of that name."""
    return runs_of(source_given(given), column, unit, law, rows)


def runs_of(
    source: "Table | xr.Dataset",
    column: Sequence[str] | None,
    unit: Sequence[str] | None,
    law: "Law | Sequence[Law] | None" = None,
    rows: Mapping[str, Any] | None = None,
) -> "xr.Dataset":
    """Runs of what :func:`source_given` gave."""
    from bayescale.runs.read import read_runs

    options = {"columns": pairs("--column", column), "units": pairs("--unit", unit)} | dict(rows or {})
    return read_runs(source, law, **options)


def source_given(given: Sequence[str]) -> "Table | xr.Dataset":
    """The data set of that name, else the table in files or folders."""
    from bayescale.runs.datasets import runs_given

    return runs_given(given[0] if len(given) == 1 else list(given))


def rows_given(
    where: str | None, above_step: str | None, last_of: str | None, drop_missing: bool, best_of: str | None
) -> dict[str, Any]:
    """Options that choose rows, as :func:`bayescale.read_runs` takes them."""
    names = tuple(name.strip() for name in (best_of or "").split(",") if name.strip())
    step = number("--above-step", above_step, positive=False)
    chosen = {"where": where, "above_step": step, "last_of": last_of, "drop_missing": drop_missing, "best_of": names}
    return {name: value for name, value in chosen.items() if value not in (None, False, ())}


def laws_given(text: str) -> "list[Law]":
    """Laws by name or path, separated by commas."""
    from bayescale.laws.law import load_law

    return [load_law(name.strip()) for name in text.split(",") if name.strip()]


def laws_or_default(name: str | None, source: "Table | xr.Dataset", column: Sequence[str] | None) -> "list[Law]":
    """The law of that name or path, as these runs show what it explains; without one those to choose from for them."""
    from bayescale.fitting.default_law import laws_for

    return laws_for(source, name, pairs("--column", column))


def check_output(path: Path | None, example: str, *inputs: "str | Path | None") -> None:
    """Refuse, before the work, an output that cannot be written or is one of the inputs."""
    from bayescale.jobs.files import check_writable

    if path is None:
        return
    check_writable(path, example)
    for given in inputs:
        if given is not None and path.exists() and os.path.exists(given) and path.samefile(given):
            raise InputError(f"{path} is an input; give the result another name, such as {example}")


def executor_given(workers: int | None, scheduler: str | None) -> int | str | None:
    """What refits, as :func:`bayescale.open_executor` takes it."""
    if workers is not None and scheduler is not None:
        raise InputError("--workers start on this machine, --scheduler has its own: give one of them")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: a number of worker processes of at least 1 is expected")
    return workers if scheduler is None else scheduler


def pairs(
    option: str, given: Sequence[str] | None, form: str = "ROLE=NAME", example: str = "loss=val_loss"
) -> dict[str, str]:
    """``ROLE=NAME`` of an option that may be repeated."""
    found: dict[str, str] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise InputError(f"{option} {clipped(text)}: {form} is expected, such as {option} {example}")
        if key in found:
            raise InputError(f"{option} {clipped(key)} is given twice, {clipped(found[key])} and {clipped(value)}")
        found[key] = value
    return found


def split_options(
    cost: str | None,
    given: Sequence[str] | None,
    params: str | None,
    tokens: str | None,
    ratio: str | None,
    unique_tokens: str | None = None,
    menu: str | None = None,
) -> dict[str, Any]:
    """Options of a split as the library takes them."""
    return {
        "cost": cost,
        "given": values_given(given),
        "params": limit("--params", params),
        "tokens": limit("--tokens", tokens),
        "ratio": limit("--ratio", ratio),
        "unique_tokens": number("--unique-tokens", unique_tokens),
        "menu": menu_given(menu),
    }


def values_given(given: Sequence[str] | None) -> dict[str, Any]:
    """Numbers of --given as numbers; ranges and priors as texts, which the library reads."""
    values: dict[str, Any] = {}
    for name, text in pairs("--given", given, "NAME=VALUE", "T=1e12").items():
        try:
            values[name] = number("--given", text)
        except InputError:
            values[name] = text
    return values


def limit(option: str, text: str | None) -> Any:
    """``7B..70B``, ``..70B`` and ``7B..`` are limits, ``70B`` holds."""
    if text is None or ".." not in text:
        return number(option, text)
    low, _, high = text.partition("..")
    return tuple(number(option, end or None) for end in (low, high))


def menu_given(text: str | None) -> Any:
    """Sizes separated by commas, or the columns of a CSV file."""
    if text is None or os.path.exists(text) or text.endswith(".csv"):
        return columns_of("--menu", text)
    return [number("--menu", size) for size in text.split(",") if size]


def fits_given(through: Sequence[str] | None) -> dict[str, Any]:
    """Fits by the input that each forecasts, of --from."""
    from bayescale.fitting.store import open_fit

    return {
        name: open_fit(Path(path)) for name, path in pairs("--from", through, "NAME=FIT.nc", "loss=loss.nc").items()
    }


def columns_of(option: str, path: str | None) -> dict[str, Any] | None:
    """Columns of numbers of a CSV file."""
    if path is None:
        return None
    from bayescale.runs.read import read_columns

    try:
        return read_columns(path)
    except RunsError as error:
        raise InputError(f"{option} {error}") from None


def named_numbers(option: str, given: Sequence[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` of an option, values as numbers; of a group its name."""
    found: dict[str, Any] = {}
    for name, text in pairs(option, given).items():
        if name != GROUP and number_in(text) is None:
            raise InputError(
                f"{option} {clipped(name)}={clipped(text)}: not a number (write 70e9 or 70B); a group of the fit is "
                f"given as {GROUP}=NAME"
            )
        found[name] = text if name == GROUP else number(option, text, positive=False)
    return found


def numbers(option: str, given: Sequence[str] | None) -> list[float]:
    """Numbers of an option that may be repeated."""
    return [number(option, text) for text in given or ()]


def level(percent: float) -> float:
    """The level of bands as a share."""
    if not 1 <= percent < 100:  # .9 would be 0.9 %
        raise InputError(f"--level {percent:g}: percent between 1 and 100 are expected, such as 95")
    return percent / 100


def target(text: str | None, option: str = "--target") -> "float | str | None":
    """A target: a number, or as it is where it gives its side, ``>=0.9``."""
    return text if text is not None and text.strip()[:1] in ("<", ">") else number(option, text, positive=False)


def number(option: str, text: str | None, positive: bool = True) -> Any:
    """A number as people write it: 70e9, 70B, 1.4T; None where the option is not given."""
    if text is None:
        return None
    value = number_in(text)
    if value is None:
        budget = option in ("--compute", "--budget")
        one, other = ("1e22", "1e23") if budget else ("1B", "7B")
        several = f"; for several give the option again, {option} {one} {option} {other}" if "," in text else ""
        plain = "1e22: FLOP as the runs count it, or what --cost counts" if budget else "70e9 or 70B"
        raise InputError(f"{option} {clipped(text)}: not a number (write {plain}{several})")
    if not (math.isfinite(value) and (value > 0 or not positive)):
        raise InputError(f"{option} {clipped(text)}: a finite number{' above 0' if positive else ''} is expected")
    return value
