"""Checks of what public functions are given: fits, results of other functions, numbers, names.

Each returns what it was given, in one form, or raises a FitError that says what is expected.
"""

import math
import numbers as kinds
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import FitError
from bayescale.field import as_float, clipped, number_in, shown
from bayescale.fitting.saved import damage_of
from bayescale.laws.law_file import Law
from bayescale.reading import KINDS
from bayescale.study import Study

# ---- fits and results ------------------------------------------------------------------------------------------------


GOAL_SIGNS = ("<=", ">=")
SEED_MAX = 2**63 - 1  # of a number in a NetCDF file
OURS = {"law_text", "bayescale_format"}  # attributes that no tree of others has


def kind_of(given: Any) -> str | None:
    """Which kind of thing a caller gave: "fit", "runs", "law", or the function that returned it; None if unknown."""
    if isinstance(given, Law):
        return "law"
    if not isinstance(given, xr.DataTree | xr.Dataset | pd.DataFrame):
        return None
    kind = given.attrs.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        return kind
    if isinstance(given, xr.DataTree):
        return "fit" if "posterior" in given.children else None
    return "runs" if isinstance(given, xr.Dataset) and set(given.dims) == {"run"} and "source" in given.attrs else None


def what_is(given: Any) -> str:
    """What a caller gave, in words fit for a message."""
    if given is None or isinstance(given, bool | np.bool_ | str | bytes | kinds.Number):
        if isinstance(given, float):
            return f"{given:g}"
        return shown(given.item() if isinstance(given, np.generic) else given)
    kind, name = kind_of(given), type(given).__name__
    if kind == "fit":
        return "a fit"
    if kind in ("runs", "law"):
        return f"{'runs' if kind == 'runs' else 'a law'} ({name})"
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}" + (f" of {kind}" if kind else "")


def opened_fit(given: "xr.DataTree | Study") -> xr.DataTree:
    """The fit that a public function was given, checked.

    Raises FitError if it is something else, or a fit of which something is missing or changed.
    """
    if isinstance(given, Study):
        return given.tree
    if not isinstance(given, xr.DataTree) or not OURS & set(given.attrs):
        raise FitError(f"a fit is expected, not {what_is(given)}: make one with fit(runs), or open_fit(path)")
    if damage := damage_of(given):
        raise FitError(f"this fit cannot be used: {damage}")
    return given


def opened(given: "xr.DataTree | Study") -> Study:
    """The study of the fit that a public function was given, checked; a study that was opened before is passed through.

    Raises FitError as :func:`opened_fit`.
    """
    return given if isinstance(given, Study) else Study.opened(opened_fit(given))


def opened_fits(given: Any) -> dict[str, xr.DataTree]:
    """Fits by name, as :func:`bayescale.fit_laws` returns them.

    Raises FitError if it is no mapping of names to fits.
    """
    if not isinstance(given, Mapping):
        raise FitError(f"fits by name are expected, not {what_is(given)}; fit_laws(runs, laws) makes them")
    for name, one in given.items():
        try:
            opened_fit(one)
        except FitError as error:
            raise FitError(f"'{clipped(name)}': {error}") from None
    return {str(name): one for name, one in given.items()}


def opened_result(given: Any, maker: str) -> Any:
    """What the function ``maker`` returned, given to another that reads it.

    Raises FitError if it is something else, or has lost a dimension.
    """
    if kind_of(given) != maker:
        raise FitError(f"what {maker}(...) returns is expected, not {what_is(given)}")
    if without := [dim for dim in KINDS[maker][1] if not given.sizes.get(dim)]:
        raise FitError(
            f"what {maker}(...) returns is expected whole; this one is empty along '{without[0]}'; select with a "
            f"list, isel({without[0]}=[0]), so that the dimension stays"
        )
    if maker == "forecast" and "predictions_constant_data" not in given.children:
        raise FitError("what forecast(...) returns is expected whole; this one has no group predictions_constant_data")
    return given


# ---- numbers ---------------------------------------------------------------------------------------------------------


def real(given: Any) -> float | None:
    """A real number, also as NumPy, pandas or xarray hold one, or as people write sizes: 70B, 1.4T, 2e6.

    None for everything else: other text, truth values, i.
    """
    if isinstance(given, str):
        return number_in(given)
    if isinstance(given, np.ndarray | xr.DataArray) and given.ndim == 0:
        given = given.item() if given.dtype.kind in "iuf" else None
    if isinstance(given, bool | np.bool_) or not isinstance(given, kinds.Real):
        return None
    return as_float(given)


def number(name: str, given: Any, expected: str = "a finite number above 0", *, above: float = 0.0) -> float:
    """One finite number above ``above``; ``expected`` says so in words."""
    value = real(given)
    if value is None or not (math.isfinite(value) and value > above):
        raise FitError(f"{name} = {what_is(given)}: {expected} is expected")
    return value


def ends_in(given: Any) -> Any:
    """The ends of a range written ``7B..70B``, ``..2T`` or ``7B..``, None for an open one; else what is given."""
    if not isinstance(given, str) or ".." not in given:
        return given
    low, _, high = given.partition("..")
    return low.strip() or None, high.strip() or None


def goal(name: str, given: Any, sign: str, observed: str, positive: bool, share: bool) -> tuple[str, float]:
    """A target as its side and value: a number, on the side ``sign``, or a text such as ">= .9" that gives the side."""
    expected = f"a {observed} above 0" if positive else f"a value of {observed}"
    value = given
    if isinstance(given, str) and given.strip()[:2] in GOAL_SIGNS:
        sign, value = given.strip()[:2], given.strip()[2:]
        try:
            value = float(value)
        except ValueError:
            raise FitError(f"{name} = {what_is(given)}: {sign} and a number are expected") from None
    found = number(name, value, expected, above=0.0 if positive else -math.inf)
    if share and not 0 <= found <= 1:
        raise FitError(f"{name} = {what_is(given)}: {observed} is a share from 0 to 1; write 60 % as 0.6")
    return sign, found


def level_of(given: Any) -> float:
    """What a band is to hold, as a share: 0.95.

    Raises FitError if it is no number between 0 and 1.
    """
    return proportion("level", given, "a share between 0 and 1 is expected, such as 0.95")


def check_whole(name: str, number: Any, least: int, most: int | None = None) -> None:
    """Raise FitError unless ``number`` is a whole number of at least ``least`` and, where given, at most ``most``."""
    whole = isinstance(number, kinds.Integral) and not isinstance(number, bool)
    if not whole or number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise FitError(f"{name} = {shown(number)} (a whole number {limits} is expected)")


def check_seed(seed: Any) -> None:
    """Raise FitError unless ``seed`` is a whole number from 0 to the largest that a saved fit can hold."""
    if isinstance(seed, kinds.Integral) and int(seed) > SEED_MAX:
        raise FitError(f"seed = {shown(seed)} (a whole number below 2**63 is expected)")
    check_whole("seed", seed, 0)


def proportion(name: str, given: Any, expected: str = "a number between 0 and 1 is expected") -> float:
    """A number between 0 and 1, neither of them."""
    value = real(given)
    if value is None or not 0 < value < 1:
        raise FitError(f"{name} = {what_is(given)}: {expected}")
    return value


def numbers(name: str, given: Any, unit: str = "") -> np.ndarray:
    """A number or a flat sequence of them, as an array; whether they are finite is the caller's to say."""
    expected = f"{name} must be a number{unit}, or a flat sequence of them"
    if isinstance(given, bytes | Mapping | None) or isinstance(given, xr.Dataset | xr.DataTree | pd.DataFrame):
        raise FitError(f"{expected}, not {what_is(given)}")
    # a list one by one: NumPy would make numbers of truth values among others
    try:
        row = np.atleast_1d(np.asarray(given, dtype=object if isinstance(given, list | tuple) else None))
    except (TypeError, ValueError):  # lists of several lengths
        raise FitError(expected) from None
    if row.ndim != 1 or not row.size:
        raise FitError(f"{expected}; this is {'empty' if not row.size else f'of {row.ndim} dimensions'}")
    if row.dtype.kind in "iuf":
        return row.astype(float)
    values = [real(one) for one in row] if row.dtype.kind in "OU" else [None]
    if None in values:
        raise FitError(f"{expected}, not {what_is(row[values.index(None)])}")
    return np.array(values, dtype=float)


def flag(name: str, given: Any) -> bool:
    """True or False."""
    if not isinstance(given, bool | np.bool_):
        raise FitError(f"{name} = {what_is(given)}: True or False is expected")
    return bool(given)


def one_of(name: str, given: Any, known: Any) -> str:
    """A name among those that are known."""
    known = [str(one) for one in known]
    if not isinstance(given, str) or given not in known:
        raise FitError(f"{name} = {what_is(given)}: one of {', '.join(known)} is expected")
    return str(given)


def mapping(name: str, given: Any) -> dict[str, Any]:
    """Values by name; None stands for none."""
    if given is not None and not isinstance(given, Mapping):
        raise FitError(f"{name} = {what_is(given)}: values by name are expected, {name}={{'NAME': VALUE}}")
    return {} if given is None else {str(key): value for key, value in given.items()}
