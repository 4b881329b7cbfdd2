"""Is a law the one that comes with bayescale under its name, and if not, what differs?"""

import functools
import tomllib
from collections.abc import Mapping
from typing import Any

from bayescale.field import listed
from bayescale.laws.law import law_names, load_law, models_folder
from bayescale.laws.law_file import Law
from bayescale.laws.own_priors import without_beliefs, without_count, without_groups

OWN, SHIPPED, CHANGED = "own", "shipped", "changed"
DIFFERENCES_NAMED_MAX = 6  # a sentence counts the others
SHOWN_CHARACTERS_MAX = 100  # in a sentence


def kind_of(law: Law) -> str:
    """ "shipped" for a law of bayescale, "changed" for one that only has the name or title of such, else "own"."""
    name = relative_of(law)
    return OWN if name is None else CHANGED if differences(law) else SHIPPED


def relative_of(law: Law) -> str | None:
    """The shipped law of the same name, else of the same title; None where there is none."""
    shipped = law_names()
    return law.name if law.name in shipped else next((name for name in shipped if _title(name) == law.title), None)


@functools.cache
def _title(name: str) -> str:
    return str(tomllib.loads((models_folder() / f"{name}.toml").read_text(encoding="utf-8"))["title"])


def differences(law: Law) -> list[str]:
    """How a law differs from the shipped law of this name or title, a phrase each; empty where there is no such law."""
    name = relative_of(law)
    if name is None:
        return []
    theirs = load_law(name)
    if law.observed.scale == "share" and theirs.observed.count:  # its items were not counted; that is told as such
        theirs = without_count(theirs)
    if theirs.text == law.text:
        return []
    told = [f"{listed(list(law.groups.by))} vary over {len(law.groups.names)} groups"] if law.groups else []
    law = without_groups(law)
    if theirs.text == law.text:
        return told
    told += _changed("formula", {"": law.formula}, {"": theirs.formula})
    told += _changed("prior of ", *({name: str(prior) for name, prior in one.priors.items()} for one in (law, theirs)))
    weights = ({key: str(b.prior) for key, b in one.beliefs.items() if key not in one.priors} for one in (law, theirs))
    told += _changed("belief of ", *weights)
    told += _changed("where ", law.where_texts, theirs.where_texts)
    told += _changed("derived ", *({name: item.formula for name, item in one.derived.items()} for one in (law, theirs)))
    inputs = ("range", "falls_with", "rises_with", "may_stay_same")
    for field in ("observed", "size", "no_split", "exponents", *inputs, "optimum"):
        if getattr(law, field) != getattr(theirs, field):
            told.append(f"another {field}")
    return told or ["words only (title, source, remarks); formula and priors are the same"]


def _changed(what: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    told = []
    for name in dict.fromkeys([*mine, *theirs]):
        now, then = (_short(part[name]) if name in part else "none" for part in (mine, theirs))
        if mine.get(name) != theirs.get(name):
            told.append(f"{what}{name} is {now}, shipped {then}")
    return told


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 3] + "..."


def changed_law(law: Law) -> list[dict[str, Any]]:
    """A note that a law has the name or title of a shipped law but not its text, or an empty list."""
    told = differences(without_groups(without_beliefs(law)))  # what was given is told as such
    if not told:
        return []
    more = f"; and {len(told) - DIFFERENCES_NAMED_MAX} more" if len(told) > DIFFERENCES_NAMED_MAX else ""
    called = "name" if law.name == relative_of(law) else "title"
    text = f"the law '{law.name}' has the {called} of bayescale's law '{relative_of(law)}' but not its text: "
    return [
        {
            "code": "changed_law",
            "severity": "warning",
            "text": f"{text}{'; '.join(told[:DIFFERENCES_NAMED_MAX])}{more}",
            "rows": [],
        }
    ]
