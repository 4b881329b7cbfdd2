"""Which column of a table plays each role for these laws, and in which unit."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayescale.errors import RunsError
from bayescale.field import clipped, number_in
from bayescale.laws.input_errors import input_roles
from bayescale.laws.law import Law, column, positive_columns
from bayescale.runs.cells import as_numbers, counted
from bayescale.runs.columns import Found, find_columns
from bayescale.runs.guess import guesses
from bayescale.runs.headings import LOGARITHMS, factor_of, unit_in
from bayescale.runs.loss_unit import LOSS_UNITS
from bayescale.runs.question import Question
from bayescale.runs.spellings import NAMES, SIZES, related_columns, words_of
from bayescale.runs.tables.formats import Table
from bayescale.runs.tables.limits import heading

POWERS_ALLOWED = "log10, log2, ln and powers of ten such as 1e21"
UNITS_ALLOWED = dict.fromkeys(("params", "tokens"), f"1, K, M, B, T, {POWERS_ALLOWED}")
UNITS_ALLOWED |= {"compute": f"FLOP, GFLOP, TFLOP, PFLOP, EFLOP, MAC, PFLOP-day, {POWERS_ALLOWED}"}
UNITS_ALLOWED |= {"loss": ", ".join(LOSS_UNITS)}
LARGEST_SIZES = {"params": 1e13, "tokens": 1e15, "compute": 1e29}  # of the largest runs a thousand times more
HEADINGS_LISTED = 15
TIME = re.compile(r".{0,60}?(?:hours?|hrs?|[gt]pu[\W_]*h)\W*", re.IGNORECASE | re.DOTALL)  # GPU-hours
ACCURACIES = {"acc", "accuracy", "accuracies"}
RELATIVE = "relative"  # the unit of standard errors that are shares of a size
CENSORED = "censored"  # the role that says of which runs a least loss is known, and no more


def needed_roles(laws: Sequence[Law]) -> tuple[str, ...]:
    """Roles that a law needs; two of the three sizes are enough."""
    if not laws:
        return (*SIZES, "loss")
    needed = [column(symbol) for law in laws for symbol in law.inputs]
    needed += [name for law in laws for name in (law.observed.column, law.observed.count) if name]
    return tuple(dict.fromkeys(needed))


def error_column(law: Law) -> str:
    """The role of known standard errors of what a law explains: ``loss_se``. A proportion has none, it has a count."""
    return "" if law.observed.scale == "proportion" else f"{law.observed.column}_se"


def _error_columns(laws: Sequence[Law]) -> list[str]:
    return ["loss_se"] if not laws else [name for law in laws if (name := error_column(law))]


def scatter_roles(laws: Sequence[Law]) -> list[str]:
    """Roles of what is known of how single runs scatter; given, never guessed."""
    errors = _error_columns(laws)
    return [*errors, *input_errors(laws), CENSORED] if errors else []


def input_errors(laws: Sequence[Law]) -> list[str]:
    """Roles of the standard errors of inputs, ``params_se`` and its like."""
    if not laws:
        return [f"{size}_se" for size in SIZES]
    return list(dict.fromkeys(role for law in laws for role in input_roles(law)))


def allowed_numbers(laws: Sequence[Law], role: str) -> str:
    """What the numbers of a column must be: positive, finite, or a proportion."""
    if role in input_errors(laws):
        return "not negative"
    if role in (*SIZES, *_error_columns(laws)) or any(role in positive_columns(law) for law in laws):
        return "positive"
    scales = {"log": "positive", "linear": "finite", "proportion": "proportion", "share": "share"}
    explained = [law.observed.scale for law in laws if role == law.observed.column]
    return scales[explained[0]] if explained else "positive" if role == "loss" and not laws else "finite"


def find_roles(
    table: Table, given: Mapping[str, Any], units: Mapping[str, str], laws: Sequence[Law]
) -> tuple[Table, Found]:
    """Which column plays each role: as given, else as its name says (see :mod:`bayescale.runs.columns`).

    Sizes that no column has are guessed where they can be: the table has them as further columns.
    """
    names, needs = list(table.frame.columns), needed_roles(laws)
    if not names:
        raise RunsError(f"{table.where}: it has no columns: no run is in it, or nothing was logged yet")
    _check_given(table, given, list(dict.fromkeys((*NAMES, *needs, *scatter_roles(laws)))))

    try:
        found = find_columns(names, given, needs, units, lambda name: numbers_of(table, name))
        have = [role for role in SIZES if role in found.roles]
        missing = [role for role in SIZES if role in needs and role not in have]
        counts = {role: size_of(table, role, found.roles[role], units.get(role, "")) for role in have}
        guessed = guesses(table, counts) if missing or {"params", "tokens"} <= {*needs} else {}
    except Question as question:
        raise RunsError(f"{table.where}: {question}") from None
    for role in needs:
        if role not in found.roles and role not in SIZES:
            sizes = [size for size in missing if size not in guessed] if len({*have, *guessed}) < 2 else []
            raise RunsError(f"{table.where}: {_not_found(role, names, laws, sizes)}")
    if guessed:
        columns = {role: f"{guess.made_of} (guess)" for role, guess in guessed.items()}
        frame = table.frame.assign(**{columns[role]: guess.values for role, guess in guessed.items()})
        table = replace(table, frame=frame)
        found = replace(
            found, roles=found.roles | columns, notes=(*found.notes, *(guess.note for guess in guessed.values()))
        )
        have = [role for role in SIZES if role in found.roles]
        missing = [role for role in missing if role not in have]
    if missing and len(have) < 2:
        times = [clipped(name) for name in names if TIME.fullmatch(str(name))]
        time = (
            f"{times[0]} is a time: add tokens, or FLOP (seconds x FLOP a second that were reached); " if times else ""
        )
        wanted = "two of params, tokens and compute are" if len(set(needs) & set(SIZES)) > 1 else f"{missing[0]} is"
        raise RunsError(
            f"{table.where}: {wanted} needed, found {have or 'none'} among {_headings(names)}; {time}"
            f"name the columns so, or say which they are (columns={{'{missing[0]}': ...}}, --column {missing[0]}=...)"
            + (f"; a law of {have[0]} alone needs no other (--law floor_{have[0]})" if have else "")
        )
    return table, found


def numbers_of(table: Table, name: Any) -> np.ndarray | None:
    """The numbers of a column, or None where it has none."""
    values = as_numbers(table.frame[name])
    return values if np.isfinite(values).any() else None


def size_of(table: Table, role: str, name: Any, unit: str = "") -> np.ndarray:
    """The numbers of a column of sizes as counts or FLOP, by the unit given, else that of its heading [run]."""
    unit = unit or unit_in(role, name, lambda one: numbers_of(table, one))[1]
    with np.errstate(all="ignore"):
        if unit in LOGARITHMS:
            return np.asarray(LOGARITHMS[unit] ** as_numbers(table.frame[name]))
        return counted(table.frame[name], (factor_of(role, unit) if unit else 1.0) or 1.0)


def units_of(
    table: Table, roles: Mapping[str, Any], given: Mapping[str, str], before: Collection[str]
) -> dict[str, str]:
    """Role -> its unit: as given, else as the heading of its column says; roles read ``before`` have theirs.

    Raises
    ------
    RunsError
        If sizes are larger in their unit than any are.
    """
    new = {role: name for role, name in roles.items() if role not in {*before, *given}}
    found = {role: unit_in(role, name, lambda one: numbers_of(table, one))[1] for role, name in new.items()}
    units = {role: unit for role, unit in found.items() if unit} | dict(given)
    for role in LARGEST_SIZES:
        if role not in roles or role not in units or units[role] in LOGARITHMS:
            continue
        name, values = roles[role], size_of(table, role, roles[role], units[role])
        values = np.where(np.isfinite(values), values, 0.0)
        large = np.flatnonzero(values > LARGEST_SIZES[role])
        if 2 * large.size > len(values) and role not in given:
            plain = "FLOP" if role == "compute" else "1"
            raise RunsError(
                f"{table.where}: by its heading, {heading(name)} has a median of {np.median(values):.2g} {role}: are "
                f"its numbers in another unit (units={{'{role}': '{plain}'}}, --unit {role}={plain})?"
            )
        if large.size:
            cell = clipped(table.frame[name].iloc[large[0]], 40)
            raise RunsError(
                f"{table.at(large[0])}: {heading(name)} = {cell} in the unit {units[role]} is {values[large[0]]:.2g} "
                f"{role}, more than any run has: write it in that unit"
            )
    return units


def from_logarithms(
    table: Table, roles: Mapping[str, Any], units: Mapping[str, str]
) -> tuple[Table, dict[str, str], list[str]]:
    """The table with sizes where their logarithms stood, the other units, and notes on it."""
    logarithms = {
        role: roles[role] for role, unit in units.items() if unit in LOGARITHMS and role in {*SIZES} & {*roles}
    }
    if not logarithms:
        return table, dict(units), []
    with np.errstate(over="ignore"):
        raised = {name: LOGARITHMS[units[role]] ** as_numbers(table.frame[name]) for role, name in logarithms.items()}
    left = {role: unit for role, unit in units.items() if role not in logarithms}
    notes = [f"{clipped(name)} is read as {units[role]} of {role}" for role, name in logarithms.items()]
    return replace(table, frame=table.frame.assign(**raised)), left, notes


def _check_given(table: Table, given: Mapping[str, Any], known: Sequence[str]) -> None:
    where, names = table.where, list(table.frame.columns)
    for role, name in given.items():
        if role not in known:
            raise RunsError(
                f"{where}: unknown role '{heading(role)}' for column '{heading(name)}'; "
                f"the roles are {', '.join(known)}"
            )
        if name not in names:
            turned = f" ({'; '.join(table.notes)})" if table.notes else ""  # as where seeds stood side by side
            text = f"no column '{heading(name)}' for {role}; the columns are {_headings(names)}{turned}"
            raise RunsError(f"{where}: {text}")
        twice = [other for other in NAMES if other != role and role in NAMES and given.get(other) == name]
        if twice:  # an input of the law's own may be one of them too
            raise RunsError(f"{where}: column '{heading(name)}' is given for both {role} and {twice[0]}")


def _not_found(role: str, names: Sequence[Any], laws: Sequence[Law], sizes: Sequence[str]) -> str:
    """No column for a role, nor for these sizes."""
    if names and all(number_in(str(name)) is not None for name in names):
        return (
            f"its first line is {_headings(names)}, numbers where headings are expected; put a line of headings above "
            "it, such as params,tokens,loss"
        )
    users = [law.name for law in laws if role in needed_roles([law])]
    using = f", which law {users[0]!r} uses" if users else ""
    near = [clipped(name, 40) for name in related_columns(role, names)][:3]
    hint = "name it loss or val_loss, or say" if role == "loss" else "say"
    hint = f"is it {' or '.join(near)}? Say" if near else hint
    shares = [clipped(name, 40) for name in names if words_of(name) & ACCURACIES]
    if role == "loss" and shares and all(law.observed.column == "loss" for law in laws):
        hint = f"{shares[0]} looks like an accuracy, for which there are other laws (bayescale laws); else {hint}"
    also = f"; nor was {' or '.join(sizes)} found (--column {sizes[0]}=...)" if sizes else ""
    return (
        f"no column for {role} among {_headings(names)}{using}; "
        f"{hint} which it is (columns={{'{role}': ...}}, --column {role}=...){also}"
    )


def multipliers(units: Mapping[str, str], roles: Mapping[str, Any], where: str) -> dict[str, float]:
    """What to multiply the column of each role by."""
    factors = dict.fromkeys(roles, 1.0)
    for role, unit in units.items():
        if role.endswith("_se") and role in roles:
            if unit != RELATIVE:
                raise RunsError(
                    f"{where}: unknown unit '{heading(unit)}' for {heading(role)}; '{RELATIVE}' is one, a share of the "
                    f"size; without it the column is in the unit of {heading(role.removesuffix('_se'))}"
                )
            continue
        if role not in UNITS_ALLOWED:
            raise RunsError(
                f"{where}: a unit is given for '{heading(role)}'; units go with params, tokens, compute, loss"
            )
        if (factor := factor_of(role, unit)) is None:
            allowed = UNITS_ALLOWED[role]
            raise RunsError(f"{where}: unknown unit '{heading(unit)}' for {role}; allowed are {allowed}")
        if role not in roles:
            raise RunsError(
                f"{where}: a unit is given for {role}, but no column; the columns read are {_headings(list(roles))}"
            )
        factors[role] = factor
    return factors


def _headings(names: Sequence[Any]) -> str:
    shown = ", ".join(clipped(name, 40) for name in names[:HEADINGS_LISTED]) or "no columns"
    more = len(names) - HEADINGS_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
