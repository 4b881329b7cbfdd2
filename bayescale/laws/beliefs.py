"""Beliefs about what a law gives: priors that replace those of parameters, weights on what follows from them.

A weight multiplies the posterior by a density of a quantity, without a Jacobian. The law's priors stay, and the weight
counts as one more measurement.
"""

import ast
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bayescale.errors import LawError
from bayescale.field import clipped, names_text, number_in, symbol
from bayescale.laws.formula import Name, Node, Number, names, parse, substitute
from bayescale.laws.law_tables import TABLE_ENTRIES_MAX, Derived, Observed, read_prior
from bayescale.laws.noises import NOISE_PARAMETERS
from bayescale.laws.priors import DISTRIBUTIONS, Prior

# log densities of a quantity x, up to a constant; a weight on one that is bounded would have a wall there
WEIGHTS = {
    "Normal": parse("-0.5*((x - mu)/sigma)**2"),
    "LogNormal": parse("-0.5*((log(x) - mu)/sigma)**2 - log(x)"),
}
# of the noises: scale of the scatter, its change with size, tails, likeness of the items of a proportion
TEXT_MAX = 200  # characters of one belief
LAW_AT = re.compile(r"(\w+)\((.*)\)")  # loss(70B, 1.4T)


@dataclass(frozen=True)
class Belief:
    """What is believed of a parameter, or of a quantity that follows from them.

    Attributes
    ----------
    prior : of a parameter any, of another quantity Normal or LogNormal
    tree : the quantity, a formula of parameters, constants and sub-expressions
    weight : whether it is a weight beside the law's priors; otherwise it replaces the prior of a parameter
    """

    prior: Prior
    tree: Node
    weight: bool

    def log_weight(self, quantity: Node) -> Node:
        """Log density of the quantity up to a constant, as a formula."""
        known = {name: Number(value) for name, value in self.prior.params.items()}
        return substitute(WEIGHTS[self.prior.dist], known | {"x": quantity})


def read_beliefs(
    table: Any,
    trees: Mapping[str, Node],
    priors: Mapping[str, Prior],
    derived: Mapping[str, Derived],
    observed: Observed,
    inputs: Collection[str],
    place: str,
) -> dict[str, Belief]:
    """[beliefs]: by the name of a parameter, a derived quantity, or a point such as ``loss(70B, 1.4T)``.

    Parameters
    ----------
    trees : sub-expressions of the law, in order, and last its formula
    """
    if not isinstance(table, dict) or len(table) > TABLE_ENTRIES_MAX:
        raise LawError(f"{place}: 'beliefs' must be a table [beliefs] of at most {TABLE_ENTRIES_MAX} entries")
    beliefs = {}
    for key, value in table.items():
        here = f"{place}, belief '{clipped(key)}'"
        if not (key.isascii() and key.isprintable() and len(key) <= TEXT_MAX):
            raise LawError(f"{here}: not the name of a quantity")
        prior = read_prior(value, here)
        if key in priors or key in NOISE_PARAMETERS:
            if key == "sigma" and prior.dist != "LogNormal":  # forecasts integrate it in closed form
                raise LawError(f"{here}: {prior.dist}; the scale of the noise takes a LogNormal prior")
            about = priors[key].about if key in priors else ""
            beliefs[key] = Belief(replace(prior, about=about), Name(key), weight=False)
            continue
        if key in derived:
            tree = derived[key].tree
        elif match := LAW_AT.fullmatch(key.strip()):
            tree = _at(match, trees, observed, inputs, here)
        else:
            point = f"{observed.column}({', '.join(f'{name}=...' for name in inputs)})"
            known = names_text([*priors, *derived, *NOISE_PARAMETERS, point])
            raise LawError(f"{here}: no such quantity; those of the law are {known}")
        if prior.dist not in WEIGHTS:
            raise LawError(f"{here}: {prior.dist} is for parameters; a quantity made of them takes Normal or LogNormal")
        beliefs[key] = Belief(prior, tree, weight=True)
    return beliefs


def _at(
    match: re.Match[str], trees: Mapping[str, Node], observed: Observed, inputs: Collection[str], place: str
) -> Node:
    """The formula at a point such as ``loss(70B, 1.4T)`` or ``loss(N=70e9, D=1.4e12)``, of parameters and constants."""
    if match[1] != observed.column:
        raise LawError(f"{place}: the law is of {observed.column}, not of {clipped(match[1])}")
    given: dict[str, Node] = {}
    for position, part in enumerate(filter(None, map(str.strip, match[2].split(",")))):
        name, equals, text = part.partition("=")
        name = symbol(name.strip()) if equals else next(iter(list(inputs)[position:]), "")
        if name not in inputs or name in given:
            raise LawError(f"{place}: the inputs are {', '.join(inputs)}, each given once")
        given[name] = Number(_number(text if equals else part, place))
    if missing := [name for name in inputs if name not in given]:
        raise LawError(f"{place}: {', '.join(missing)} is missing; the inputs are {', '.join(inputs)}")
    known = dict(given)
    for key, tree in trees.items():  # what does not depend on an input stays a name
        if names(tree) & known.keys():
            known[key] = substitute(tree, known)
    *_, formula = trees  # which uses an input at least
    return known[formula]


def _number(text: str, place: str) -> float:
    value = number_in(text)
    if value is None or not 0 < value < 1e300:
        raise LawError(f"{place}: {clipped(text)} is no number above 0, such as 70B or 1.4e12")
    return value


def prior_of(text: Any, what: str) -> Prior:
    """The prior that a text such as ``"Normal(.34, .02)"`` or ``"Normal(mu=.34, sigma=.02)"`` says.

    Raises LawError if it says none.
    """
    if isinstance(text, Prior):
        return text
    here = f"{what} = {clipped(text)}"
    try:
        if not isinstance(text, str) or len(text) > TEXT_MAX:
            raise ValueError
        with warnings.catch_warnings(action="ignore"):  # of odd literals
            call: Any = ast.parse(text.strip(), mode="eval").body  # what is no call of a name lacks what is read of it
        dist = call.func.id
        needed = DISTRIBUTIONS[dist].params if dist in DISTRIBUTIONS else ()
        pairs = [*zip(needed, call.args, strict=False), *((one.arg, one.value) for one in call.keywords)]
        given = {name: ast.literal_eval(value) for name, value in pairs}
        whole = not needed or (len(call.args) <= len(needed) and len(given) == len(pairs))
    except (SyntaxError, AttributeError, ValueError, TypeError, OverflowError, MemoryError, RecursionError):
        raise LawError(f"{here}: not a prior; Normal(0.34, 0.02) is one") from None
    if not whole:
        raise LawError(f"{here}: {dist} takes {list(needed)}")
    return read_prior({"dist": dist} | given, here)


def table_of(priors: Mapping[str, Prior]) -> str:
    """The table [beliefs] of a law file."""
    quoted = {key: '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"' for key in priors}
    lines = [
        f'{quoted[key]} = {{ dist = "{prior.dist}", '
        + ", ".join(f"{name} = {float(value)!r}" for name, value in prior.params.items())
        + " }"
        for key, prior in priors.items()
    ]
    return "\n".join(["[beliefs]", *lines, ""])
