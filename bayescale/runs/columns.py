"""Which column of a table plays which role, and a question where two columns fit."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.field import clipped
from bayescale.runs.headings import LOGARITHM_MAX, LOGARITHMS, may_be_speed, named_by_unit, unit_in
from bayescale.runs.loss_unit import PERPLEXITY
from bayescale.runs.losses import (
    also_meant,
    check_base,
    given_loss,
    held_out,
    kin,
    not_of_tokens,
    of_training,
    without_training,
)
from bayescale.runs.question import Numbers, Question, column_option, names_text, other_loss_text, which_text
from bayescale.runs.size_unit import flop_in
from bayescale.runs.spellings import (
    COUNT_MEDIAN_MIN,
    DATA_UNITS,
    LETTERS,
    NAMES,
    SIZES,
    VAGUE_MEDIAN_MIN,
    VAGUE_NAMES,
    is_letter,
    is_name,
    last_part,
    other_loss,
    plainly,
    related,
    settings_of,
    words_of,
)
from bayescale.runs.unused import passed_over_size, unused_columns

SPEED_LOG_MAX = 0.4  # runs whose N D differs ten-fold have other compute: such a column is FLOP a second
EQUAL_RELATIVE = 1e-3  # relative difference of columns that count as equal


@dataclass(frozen=True)
class Found:
    """Which column plays each role, notes on that, and notes on columns that play none.

    The latter depend on the names that a file has: of runs that were read before they were said then.
    """

    roles: dict[str, Any]
    notes: tuple[str, ...]
    unused: tuple[str, ...] = ()


def find_columns(
    names: Sequence[Any],
    given: Mapping[str, Any],
    needs: Sequence[str],
    units: Mapping[str, str],
    numbers: Numbers,
) -> Found:
    """Role -> column: as given, else the only column with a fitting name.

    Full names precede the last part of a path (``model.n_params``), which precedes units (``pf_days``) and letters. Two
    names of one rank are a question, unless their numbers are equal. A column may play two roles.

    Parameters
    ----------
    given : role -> column, as the user says
    needs : roles that must be found, or asked for; other sizes are taken where a full name leaves no question
    units : role -> unit: a unit given for a role says that there is such a column
    numbers : the numbers of a column by its name

    Raises
    ------
    Question
        If two columns could be meant.
    """
    roles, notes = dict(given), given_loss(given.get("loss"), units)
    for role in SIZES:
        if role in given and role not in units and _is_logarithm(role, given[role], numbers):
            name = clipped(given[role])
            raise Question(
                f"{name} is a logarithm, by its name and numbers: say its base (--unit {role}=log10, log2 or ln)"
            )
    own = [role for role in needs if role not in NAMES and role not in given]
    for role in own:
        if (name := _own(role, names)) is not None:
            roles[role] = name
    taken = [*given.values(), *(roles[role] for role in own if role in roles)]
    for role in NAMES:
        if role in given:
            continue
        asked = role in {*needs, *units} or (role == "compute" and {"params", "tokens"} <= set(needs))
        if not asked and role == "loss":
            continue
        other = [given[one] for one in NAMES if one in given]
        free = [name for name in names if name not in other and (asked or name not in taken)]
        name, said = _guess(role, free, asked, units.get(role), numbers)
        notes += said
        if name is not None:
            roles[role] = name
    notes += not_of_tokens(given, roles, units)
    if "loss" in roles and "loss" not in units and not unit_in("loss", roles["loss"])[1]:
        check_base(roles["loss"], names, numbers)
    if reason := _no_compute(roles, given, units, numbers):
        del roles["compute"]
        notes.append(reason)
    unused = unused_columns(names, roles, numbers)
    return Found(roles, (*notes, *passed_over_size(names, roles, numbers, [*notes, *unused])), tuple(unused))


def _own(role: str, names: Sequence[Any]) -> Any:
    """The column of an input that only this law has: of its exact name, else of the only other spelling."""
    if role in names:
        return role
    alike = [name for name in names if plainly(name) == plainly(role)]
    if len(alike) > 1:
        raise Question(which_text(role, alike))
    return alike[0] if alike else None


def _guess(role: str, names: Sequence[Any], asked: bool, unit: str | None, numbers: Numbers) -> tuple[Any, list[str]]:
    """The column of a role that the user has not named, or None; and notes on others."""
    parts = {name: unit_in(role, name, numbers) for name in names}
    bare = {name: plainly(part) for name, (part, _) in parts.items()}
    with_unit = [name for name in names if bare[name] == LETTERS[role] and parts[name][1]]
    full = [name for name in names if is_name(role, parts[name][0]) or name in with_unit]
    full = [name for name in full if parts[name][1] not in LOGARITHMS] or full
    by_unit = [name for name in full if role == "compute" and named_by_unit(name)]
    full = [name for name in full if name not in by_unit]
    others = {name: kind for name in names if role == "loss" and (kind := other_loss(name))}
    meant = [name for name, kind in others.items() if unit and kin(unit) == kin(kind)]
    if meant:  # a perplexity is never called a loss, bits may be
        return _one(role, meant if unit == PERPLEXITY else [*meant, *full], numbers), []
    settings = settings_of(names)
    last = [name for name in names if name not in full and is_name(role, last_part(name, settings))]
    vague = [name for name in names if bare[name] == VAGUE_NAMES.get(role)]
    vague = [name for name in vague if unit or parts[name][1] or _is_count(name, numbers, VAGUE_MEDIAN_MIN[role])]
    letters = [name for name in names if is_letter(role, name)]
    letters = [
        name
        for name in letters
        if plainly(name) == LETTERS[role] or role == "loss" or _is_count(name, numbers, COUNT_MEDIAN_MIN[role])
    ]
    if not asked:
        if len(full) > 1 and not _all_same(full, numbers):
            return None, [f"{names_text(full)} could each be {role}, and none is read (--column {role}=...)"]
        return (full[0] if full else None), []
    if not (full or last or by_unit or vague):
        if others and not letters:
            name = min(others, key=lambda one: others[one] == PERPLEXITY and bool(words_of(one) & DATA_UNITS))
            raise Question(other_loss_text(name, others[name]))
        return _by_letter(role, letters, [*others, *names], numbers), []
    found, passed_over = full or last or by_unit or vague, list[str]()
    if role == "loss":
        found = found if any(not of_training(name) for name in found) else [*full, *last]
        found, passed_over = without_training(found)
        passed_over += held_out(found, others)
        if meant := also_meant(found, full, names, numbers):
            raise Question(which_text(role, sorted([*found, *meant], key=of_training)))
    name = _one(role, found, numbers)
    notes = passed_over + [
        f"{clipped(other)} is not read as {role}, {clipped(name)} is ({column_option(role, other)} if it should be)"
        for other in (*(last if full else ()), *(by_unit if name not in by_unit else ()), *letters)
        if not (_all_same([name, other], numbers) or _proportional(role, name, other, numbers))
    ]
    for letter in letters:
        if _could_be(role, letter, numbers) and not _proportional(role, name, letter, numbers):
            raise Question(which_text(role, [name, letter]))
    return name, notes


def _is_logarithm(role: str, name: Any, numbers: Numbers) -> bool:
    """Whether a column is the logarithm of a size, to a base that its name does not say: ``logN``."""
    values = None if unit_in(role, name)[1] in LOGARITHMS else numbers(name)
    words = words_of(last_part(name))
    called = any(word.startswith(("log", "ln")) for word in words)
    return called and values is not None and np.nanmax(values) < LOGARITHM_MAX


def _by_letter(role: str, letters: list[Any], names: Sequence[Any], numbers: Numbers) -> Any:
    """The column called by a letter, where no other column could be meant."""
    if not letters:
        return None
    near = [name for name in names if name not in letters and numbers(name) is not None]
    near = [name for name in near if related(role, name) or (role == "loss" and other_loss(name))]
    if len(letters) > 1 or near:
        raise Question(which_text(role, [*letters, *near]))
    values = numbers(letters[0])
    if role == "loss" and values is not None and len(values) > 3 and (values >= 2).all() and _whole(values):
        raise Question(
            f"the column {clipped(letters[0])} has whole numbers only, {values.min():g} to {values.max():g}: is it the "
            f"loss? If so say it (columns={{'loss': {letters[0]!r}}}, {column_option('loss', letters[0])})"
        )
    return letters[0]


def _one(role: str, found: list[Any], numbers: Numbers) -> Any:
    """The only column found; the first of several equal ones."""
    if len(found) == 1:  # comparing numbers of very many runs is slow
        return found[0]
    filled = [name for name in found if numbers(name) is not None] or found
    in_units = all(_proportional(role, filled[0], name, numbers) for name in filled[1:]) and any(
        unit_in(role, name)[1] for name in filled
    )
    if len(filled) > 1 and not (in_units or _all_same(filled, numbers)):
        raise Question(which_text(role, filled))
    return filled[0]


def _no_compute(roles: Mapping[str, Any], given: Mapping[str, Any], units: Mapping[str, str], numbers: Numbers) -> str:
    """Why a column called C, or by a unit, is not compute: it does not follow N D where both are known."""
    name = roles.get("compute")
    if name is None or "compute" in {*given, *units}:
        return ""
    doubtful = plainly(name) == LETTERS["compute"] or named_by_unit(name)
    if not {"params", "tokens"} <= roles.keys():
        speed = doubtful and may_be_speed(name)
        said = f"{clipped(name)} may be of a second or of a pass ({column_option('compute', name)} if not)"
        return said if speed else ""
    if plainly(name) == VAGUE_NAMES["compute"]:  # of tokens or of money, it may be
        return f"{clipped(name)} is not read as compute, 6 N D is ({column_option('compute', name)} if it should be)"
    N, D, C = (numbers(roles[role]) for role in SIZES)
    if C is None or not np.nanmax(C, initial=0.0) > 0:
        return f"{clipped(name)} is not read as compute: none of its cells is a number above 0"
    if N is None or D is None or not len(C):
        return ""
    with np.errstate(all="ignore"):
        scale, ratio = np.log(N) + np.log(D), np.log(C) - np.log(N) - np.log(D)
    if not np.isfinite(ratio).all():
        return ""  # reading the cells reports which is wrong
    if not doubtful:
        goes_along = np.ptp(scale) <= np.log(10.0) or np.ptp(np.log(C)) > SPEED_LOG_MAX
    else:
        goes_along = np.ptp(ratio) <= max(np.log(10.0), 0.5 * np.ptp(scale))
        factor = flop_in(unit_in("compute", name)[1]) or 1.0
        goes_along &= np.median(C) * factor >= COUNT_MEDIAN_MIN["compute"]
    if goes_along:
        return ""
    return (
        f"{clipped(name)} is not read as compute: its values, {C.min():.4g} to {C.max():.4g}, do not go with 6 N D "
        f"({column_option('compute', name)} if it is)"
    )


def _could_be(role: str, letter: Any, numbers: Numbers) -> bool:
    """Whether the numbers of a column called by a letter could be those of its role."""
    values = numbers(letter)
    if values is None or not (np.isfinite(values) & (values > 0)).all():
        return False
    return not _whole(values) if role == "loss" else bool(np.median(values) >= COUNT_MEDIAN_MIN[role])


def _is_count(name: Any, numbers: Numbers, median_min: float) -> bool:
    """Whether the numbers of a column, if it has any, are as large as those of a size."""
    values = numbers(name)
    return values is None or bool(np.nanmedian(values) >= median_min)


def _whole(values: np.ndarray) -> bool:
    return bool((values == np.round(values)).all())


def _all_same(names: Sequence[Any], numbers: Numbers) -> bool:
    columns = [column for name in names if (column := numbers(name)) is not None]
    if len(columns) < len(names):
        return False
    return all(np.allclose(a, b, rtol=EQUAL_RELATIVE, atol=0, equal_nan=True) for a, b in itertools.pairwise(columns))


def _proportional(role: str, name: Any, other: Any, numbers: Numbers) -> bool:
    """Whether one column is the other in another unit: of counts a power of ten, as all may be 8 times the active."""
    a, b = numbers(name), numbers(other)
    if a is None or b is None or len(a) < 2:
        return False
    with np.errstate(all="ignore"):
        ratio = np.log10(a) - np.log10(b)
    if not (np.isfinite(ratio).all() and np.ptp(ratio) <= EQUAL_RELATIVE and np.ptp(a) > 0):
        return False
    power = float(np.median(ratio))
    return role not in ("params", "tokens") or abs(power - round(power)) < EQUAL_RELATIVE
