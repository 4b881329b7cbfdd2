"""Columns whose names have a word of a role but are none of its names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayescale.field import clipped
from bayescale.runs.question import Numbers, column_option
from bayescale.runs.spellings import OTHER_MEANINGS, SIZES, WORDS, is_letter, is_name, other_loss, words_of


def related(role: str, name: Any) -> bool:
    """Whether a name has a word of a role, and none of another meaning."""
    words = words_of(name)
    return bool(words & WORDS[role]) and not words & OTHER_MEANINGS


def related_columns(role: str, names: Sequence[Any]) -> list[Any]:
    """Columns whose names are related to a role."""
    return [name for name in names if role in WORDS and related(role, name)]


def roles_named(names: Sequence[Any]) -> set[str]:
    """The roles that columns of these names may have."""
    known = (is_name, is_letter, related)
    found = {role for role in WORDS for name in names if any(one(role, name) for one in known)}
    return found | ({"loss"} if any(map(other_loss, names)) else set())


def passed_over_size(
    names: Sequence[Any], roles: Mapping[str, Any], numbers: Numbers, notes: Sequence[str]
) -> list[str]:
    """Notes on columns that may be the size which follows from the other two, as no column has its full name."""
    missing = [role for role in SIZES if role not in roles]
    if len(missing) != 1:
        return []
    role = missing[0]
    found = [
        name
        for name in related_columns(role, names)
        if (values := numbers(name)) is not None and np.unique(values).size > 1
    ]
    return [
        f"{clipped(name)} is not read as {role} ({column_option(role, name)} if it should be)"
        for name in found
        if not any(clipped(name) in note for note in notes)
    ]
