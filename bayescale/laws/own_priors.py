"""A law with other priors: the same law file with a table [beliefs] at its end."""

import re
from collections.abc import Mapping
from typing import Any

from bayescale.errors import LawError
from bayescale.field import shown
from bayescale.laws.beliefs import prior_of, table_of
from bayescale.laws.law import load_law
from bayescale.laws.law_file import Law, parse_law

TABLE = re.compile(r"^\[beliefs\][^\n]*\n.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)


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
    """
    law = load_law(law)
    if not priors:
        return law
    if not isinstance(priors, Mapping):
        raise LawError(f"priors = {shown(priors)}: priors by name are expected, {{'alpha': 'Normal(0.34, 0.02)'}}")
    named = {str(name).strip(): prior_of(text, f"prior of {name!s:.60}") for name, text in priors.items()}
    kept = {name: belief.prior for name, belief in law.beliefs.items()}
    return parse_law(f"{without_beliefs(law).text.rstrip()}\n\n{table_of(kept | named)}", law.name)


def without_beliefs(law: Law) -> Law:
    """The law as its file was before priors were given."""
    return parse_law(TABLE.sub("", law.text).rstrip() + "\n", law.name) if law.beliefs else law
