"""Texts of the command line as runs, laws, numbers, limits and pairs."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bayescale
from bayescale.errors import InputError, RunsError
from bayescale.field import SIZE_UNITS, clipped, number_in, size_text
from bayescale.laws.groups import GROUP

COUNT_MIN = 1e3  # smaller sizes are in millions or billions
# numbers of options that are no sizes
EXAMPLES = dict.fromkeys(("--target", "--loss", "--measured"), "1.95, or 0.7 of a share")
EXAMPLES |= dict.fromkeys(("--peak", "--final"), "3e-4") | dict.fromkeys(("--steps", "--warmup", "--cooldown"), "24000")

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.laws.law import Law
    from bayescale.runs.tables.formats import Table


def source_given(given: Sequence[str]) -> "Table | xr.Dataset":
    """The data set of that name, else the table in files or folders."""
    from bayescale.runs.datasets import runs_given

    return runs_given(given[0] if len(given) == 1 else list(given))


def laws_given(text: str) -> "list[Law]":
    """Laws by name or path, separated by commas."""
    return [bayescale.load_law(name.strip()) for name in text.split(",") if name.strip()]


def check_output(path: Path | None, example: str, *inputs: "str | Path | None") -> None:
    """Refuse, before the work, an output that cannot be written or is one of the inputs."""
    from bayescale.jobs.files import check_writable

    if path is None:
        return
    check_writable(path, example)
    for given in inputs:
        if given is not None and path.exists() and os.path.exists(given) and path.samefile(given):
            raise InputError(f"{path} is an input; give the result another name, such as {example}")


def draw(path: Path | None, plot: Callable[[], Any]) -> None:
    """A figure as a file, if one is asked for."""
    if path is not None:
        from bayescale.display.figures import save_figure

        save_figure(plot(), path)


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
    named = pairs("--from", through, "NAME=FIT.nc", "loss=loss.nc")
    return {name: bayescale.open_fit(Path(path)) for name, path in named.items()}


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


def in_counts(fit: "xr.DataTree", inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs of planned runs; sizes that can be no counts, 7 where the runs of a fit have 1B, are a question."""
    for name in ("params", "tokens"):
        given = inputs.get(name) or []
        values = [value for value in (given if isinstance(given, list) else [given]) if value < COUNT_MIN]
        smallest = float(fit["constant_data"][name].min()) if values and name in fit["constant_data"] else 0.0
        if values and smallest > COUNT_MIN * values[0]:
            raise InputError(
                f"--{name} {values[0]:g}: {values[0]:g} {SIZE_UNITS[name]}, where the runs of the fit have "
                f"{size_text(smallest)} or more; write the unit, {values[0]:g}B or {values[0]:g}M"
            )
    return inputs


def numbers(option: str, given: Sequence[str] | None) -> list[float]:
    """Numbers of an option that may be repeated."""
    return [number(option, text) for text in given or ()]


def budgets(given: Sequence[str] | None) -> list[Any]:
    """Budgets of --compute: numbers, and texts that name a unit as they are, ``2e6 dollars``."""
    return [text if " " in text.strip() else number("--compute", text) for text in given or ()]


def level(percent: float | None) -> float | None:
    """The level of bands as a share."""
    if percent is not None and not 1 <= percent < 100:  # .9 would be 0.9 %
        raise InputError(f"--level {percent:g}: percent between 1 and 100 are expected, such as 95")
    return None if percent is None else percent / 100


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
        plain = (
            "1e22: FLOP as the runs count it, or what --cost counts" if budget else EXAMPLES.get(option, "70e9 or 70B")
        )
        raise InputError(f"{option} {clipped(text)}: not a number (write {plain}{several})")
    if not (math.isfinite(value) and (value > 0 or not positive)):
        raise InputError(f"{option} {clipped(text)}: a finite number{' above 0' if positive else ''} is expected")
    return value
