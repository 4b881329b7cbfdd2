"""A law with other priors, or with groups: the same law file with a table [beliefs] or [groups] at its end."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from bayescale.errors import LawError
from bayescale.field import names_text, shown
from bayescale.laws.beliefs import prior_of, table_of
from bayescale.laws.groups import GROUP_SPREADS, OTHER_SPREAD, check_names
from bayescale.laws.law import load_law
from bayescale.laws.law_file import Law, parse_law

TABLES = {
    name: re.compile(rf"^\[{name}\][^\n]*\n.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
    for name in ("beliefs", "groups", "observed")
}


def with_priors(law: Any, priors: "Mapping[str, Any] | None") -> Law:
    """A law with priors of single parameters, or with weights on what follows from them.

    The posterior is proportional to likelihood * priors * weights. A prior of a parameter replaces that of the law
    file. A weight is a density of a derived quantity, or of the loss at a point, without a Jacobian; the law's priors
    stay. Losses are in nats.

    Parameters
    ----------
    law : what :func:`bayescale.load_law` takes
    priors : by the name of a parameter (``"level"``, or ``"sigma"``, which takes a LogNormal), of a derived quantity
        (``"E"``, ``"alpha"``, ``"a"``) or of a point (``"loss(70B, 1.4T)"``, ``"loss(N=70e9, D=1.4e12)"``): a text such
        as ``"Normal(0.34, 0.02)"``, or a Prior. Weights are Normal or LogNormal. What the law was given before stays,
        unless it is given anew

    Returns
    -------
    The law, whose text has the table [beliefs]; every function takes it.

    Raises
    ------
    LawError
        If there is no such quantity, or a prior is none.

    Examples
    --------
    >>> law = bayescale.with_priors("chinchilla", {"lean": "Normal(0, 0.2)"})
    >>> str(law.priors["lean"])
    'Normal(mu = 0, sigma = 0.2)'
    """
    own = load_law(law)
    if not priors:
        return own
    if not isinstance(priors, Mapping):
        raise LawError(f"priors = {shown(priors)}: priors by name are expected, {{'alpha': 'Normal(0.34, 0.02)'}}")
    named = {str(name).strip(): prior_of(text, f"prior of {name!s:.60}") for name, text in priors.items()}
    kept = {name: belief.prior for name, belief in own.beliefs.items()}
    return parse_law(f"{without_beliefs(own).text.rstrip()}\n\n{table_of(kept | named)}", own.name)


def without_beliefs(law: Law) -> Law:
    """The law as its file was before priors were given."""
    return _without(law, "beliefs") if law.beliefs else law


def without_count(law: Law) -> Law:
    """A law of a proportion as one of a share whose number of items is not known.

    Raises LawError if its file does not have [observed] as a table of its own.
    """
    symbol = "" if law.observed.symbol == "Y" else f'symbol = "{law.observed.symbol}"\n'
    table = f'[observed]\ncolumn = "{law.observed.column}"\nscale = "share"\n{symbol}\n'
    text, count = TABLES["observed"].subn(lambda match: table, law.text)
    if not count:
        raise LawError(f"law '{law.name}': [observed] is not a table of its own; write scale = \"share\" into it")
    return parse_law(text, law.name)


def with_groups(law: Any, names: Collection[str], by: Collection[str] | Mapping[str, float] | None = None) -> Law:
    """A law whose parameters vary over groups of runs, which borrow from each other.

    For the runs of group k of K a parameter is x + sigma spread d_k, on the real line of its prior of sd sigma. x, and
    derived quantities such as E and a, are those of the mean group, with the law's prior; d_k ~ Normal(0, 1), less
    their mean. The law has one more input, ``group``: the name of a group in ``covariates`` and ``given``.

    Parameters
    ----------
    law : what :func:`bayescale.load_law` takes
    names : of the groups, 2 to 30; ``"new"``, a group without runs, is added (``"another new"`` if one is called new)
    by : names of the parameters that vary, or spread by name; by default ``level`` (spread 1) and ``slope`` (.25),
        where the law has them; the spread of others is .5. ``sigma``, the scale of the noise, may be among them

    Returns
    -------
    The law, whose text has the table [groups]; every function takes it.

    Raises
    ------
    LawError
        If a name is none, or the law has no such parameter.

    Examples
    --------
    >>> bayescale.with_groups("chinchilla", ["pile", "c4"], ["level"]).groups.names
    ('pile', 'c4')
    """
    law = load_law(law)
    law = without_groups(law)
    check_names(names, f"law '{law.name}'")
    by = [by] if isinstance(by, str) else list(GROUP_SPREADS.keys() & law.priors.keys()) if by is None else by
    if not by:
        raise LawError(
            f"law '{law.name}' has neither level nor slope; say what varies over groups (by=[...], --by ...): its "
            f"parameters are {names_text(law.priors)}"
        )
    spreads = by if isinstance(by, Mapping) else {name: GROUP_SPREADS.get(name, OTHER_SPREAD) for name in sorted(by)}
    inside = ", ".join(f"{json.dumps(str(name))} = {json.dumps(spread)}" for name, spread in spreads.items())
    table = f"[groups]\nnames = {json.dumps(list(names), ensure_ascii=False)}\nby = {{ {inside} }}\n"
    return parse_law(f"{law.text.rstrip()}\n\n{table}", law.name)


def without_groups(law: Law) -> Law:
    """The law as its file was before it was told of groups; priors of their spreads go too."""
    return _without(without_beliefs(law), "groups") if law.groups else law


def _without(law: Law, table: str) -> Law:
    return parse_law(TABLES[table].sub("", law.text).rstrip() + "\n", law.name)
