"""The text of a law file -> Law, checked: every name has a meaning, every number is finite, nothing is executed."""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bayescale.errors import LawError
from bayescale.field import SYMBOLS, clipped, names_text
from bayescale.laws.beliefs import Belief, read_beliefs
from bayescale.laws.formula import Node, names
from bayescale.laws.functions import FUNCTIONS
from bayescale.laws.groups import Groups, grouped_derived, grouped_priors, grouped_trees, read_groups, words_of
from bayescale.laws.law_tables import (
    Derived,
    Observed,
    Preset,
    check_keys,
    check_uses,
    read_derived,
    read_exponents,
    read_formula,
    read_inputs,
    read_observed,
    read_prior,
    read_published,
    read_range,
    read_size,
    read_table,
    read_text,
    read_toml,
    read_traps,
)
from bayescale.laws.limits import PREDICTED, check_compile_time, check_constants, check_size
from bayescale.laws.noises import NOISE_PARAMETERS
from bayescale.laws.priors import Prior

# symbol of the field -> column of the runs
SYMBOL_COLUMNS = {symbol: name for name, symbol in SYMBOLS.items()} | {"L": "loss"}
# names that a fit uses itself, besides N_ref, L_span, data_0 and their like
RESERVED = {
    *(*SYMBOL_COLUMNS, *SYMBOL_COLUMNS.values(), *FUNCTIONS, PREDICTED, *NOISE_PARAMETERS),
    *("observed", "log_loss", "log_compute", "count", "chain", "draw", "run", "point"),
}
# variables and dimensions of fits and forecasts
RESERVED_COLUMNS = {"chain", "draw", "run", "point", "kept", "decades_beyond", "nearest_run", "elpd"}


@dataclass(frozen=True, repr=False)
class Law:
    """A scaling law as data: formula, priors, derived quantities, published constants.

    Two laws of the same text and name are equal. The text is read and checked once.

    Attributes
    ----------
    text : the law file itself; it travels inside a saved fit, so that opening one needs no file
    name : what the law is called on the command line (the stem of its file)
    formula : the loss, or whatever ``observed`` names, as text; ``tree`` is the same, parsed
    where : named sub-expressions, in order; ``where_texts`` are the same as written, ``where_names`` what each uses
    priors : a prior for every parameter
    groups : over which of its parameters vary, or None
    beliefs : what else is believed: priors that replace those, and weights on what follows from the parameters
    inputs : columns of the runs that the formula uses, as symbols (N, D, ...)
    constants : reference constants that the formula uses (N_ref: geometric mean of N; L_ref: smallest loss)
    observed : what the formula gives: the logarithm of the loss unless the file says otherwise
    range : published or customary range of each input
    size : the input that says how large a run is, where that is not compute
    no_split : why this law cannot split a budget C = 6 N D, or an empty text
    falls_with, rises_with : inputs in which the formula is monotone
    may_stay_same : inputs in which runs need not differ: where they do not, their effect is its prior
    exponents : derived quantity that is the exponent of N or of D, where the law has a floor
    optimum : closed-form N*(C) under C = 6 N D, or None

    Raises
    ------
    LawError
        Naming the law, the key or name at fault, and what was expected.
    """

    text: str
    name: str
    title: str = field(init=False, compare=False)
    cite: str = field(init=False, compare=False)
    about: str = field(init=False, compare=False)
    formula: str = field(init=False, compare=False)
    tree: Node = field(init=False, compare=False)
    where: Mapping[str, Node] = field(init=False, compare=False)
    where_texts: Mapping[str, str] = field(init=False, compare=False)
    where_names: Mapping[str, frozenset[str]] = field(init=False, compare=False)
    priors: Mapping[str, Prior] = field(init=False, compare=False)
    groups: Groups | None = field(init=False, compare=False)
    beliefs: Mapping[str, Belief] = field(init=False, compare=False)
    derived: Mapping[str, Derived] = field(init=False, compare=False)
    inputs: tuple[str, ...] = field(init=False, compare=False)
    constants: tuple[str, ...] = field(init=False, compare=False)
    observed: Observed = field(init=False, compare=False)
    range: Mapping[str, tuple[float, float]] = field(init=False, compare=False)
    size: str = field(init=False, compare=False)
    no_split: str = field(init=False, compare=False)
    falls_with: tuple[str, ...] = field(init=False, compare=False)
    rises_with: tuple[str, ...] = field(init=False, compare=False)
    may_stay_same: tuple[str, ...] = field(init=False, compare=False)
    exponents: Mapping[str, str] = field(init=False, compare=False)
    optimum: Node | None = field(init=False, compare=False)
    published_formula: str = field(init=False, compare=False)
    presets: Mapping[str, Preset] = field(init=False, compare=False)
    traps: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        for key, value in _contents(self.text, f"law '{clipped(self.name)}'").items():
            fixed = MappingProxyType(value) if isinstance(value, dict) else value
            object.__setattr__(self, key, fixed)

    @property
    def weights(self) -> dict[str, Belief]:
        """Those of the beliefs that are weights."""
        return {key: belief for key, belief in self.beliefs.items() if belief.weight}

    def __repr__(self) -> str:
        return f"Law({self.name!r}: {self.formula})"

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return parse_law, (self.text, self.name)


@functools.lru_cache(maxsize=256)
def parse_law(text: str, name: str) -> Law:
    """The law in the text of a law file, checked; the same text is read once.

    Raises LawError as :class:`Law`.
    """
    return Law(text, name)


def _contents(text: str, place: str) -> dict[str, Any]:
    """The contents of a law file by attribute of ``Law``: each table checked alone, then against the others."""
    table = read_toml(text, place)
    part = {
        key: read_table(table, key, place) for key in ("where", "priors", "derived", "optimum", "observed", "range")
    }
    where = {key: read_formula(value, f"{place}, where.{key}") for key, value in part["where"].items()}
    tree = read_formula(table["formula"], f"{place}, formula")
    priors = {key: read_prior(value, f"{place}, prior '{key}'") for key, value in part["priors"].items()}
    derived = {key: read_derived(value, f"{place}, derived '{key}'") for key, value in part["derived"].items()}
    check_keys(best := part["optimum"], {"N"}, f"{place}, [optimum]")
    observed = read_observed(part["observed"], f"{place}, [observed]")
    optimum = read_formula(best["N"], f"{place}, optimum.N") if best else None
    groups, texts = read_groups(table.get("groups"), priors, {*where, *priors, *derived}, place), dict(part["where"])
    if groups:
        derived, texts = grouped_derived(groups, where, derived, priors), texts | words_of(groups)
        others = {PREDICTED: tree} | ({} if optimum is None else {"optimum": optimum})
        where, others = grouped_trees(groups, where, others, priors)
        tree, optimum, priors = others[PREDICTED], others.get("optimum"), grouped_priors(groups, priors)

    _check_reserved((*where, *priors, *derived), place)
    check_size((tree, *where.values(), *(quantity.tree for quantity in derived.values())), place)
    used = _used(tree, where, priors, place)
    check_constants(where, tree, place)
    check_compile_time(where, tree, priors, place)
    constants, inputs = _symbols(used, where, priors, place)
    _check_observed(observed, inputs, place)
    _check_references(constants, inputs, observed, place)

    # what depends on N or D has no value of its own in a posterior
    known = {*priors, f"{observed.symbol}_ref", f"{observed.symbol}_span", *(f"{symbol}_ref" for symbol in inputs)}
    known = _with_where(where, known)
    for key, quantity in derived.items():
        check_uses(quantity.tree, known, f"{place}, derived '{key}'")
        if key in priors:
            raise LawError(f"{place}: '{key}' is both a prior and a derived quantity")
    trees = {**where, PREDICTED: tree}
    beliefs = read_beliefs(table.get("beliefs", {}), trees, priors, derived, observed, inputs, place)
    priors |= {key: belief.prior for key, belief in beliefs.items() if key in priors}
    if beliefs:
        weights = {key: belief.log_weight(belief.tree) for key, belief in beliefs.items() if belief.weight}
        check_compile_time({**where, **weights}, tree, priors, place)
    if optimum is not None:  # inputs besides N and D (a number of experts) are given with the budget
        given = known | {"C"} | set(inputs) - {"N", "D"}
        check_uses(optimum, _with_where(where, given), f"{place}, optimum.N")
    published_formula, presets = read_published(table, {*priors, *derived}, inputs, place)
    return {
        "title": table["title"],
        "cite": table["cite"],
        "formula": table["formula"],
        "tree": tree,
        "where": where,
        "where_texts": texts,
        "where_names": {key: frozenset(names(tree)) for key, tree in where.items()},
        "priors": priors,
        "groups": groups,
        "beliefs": beliefs,
        "derived": derived,
        "inputs": inputs,
        "constants": constants,
        "observed": observed,
        "optimum": optimum,
        "published_formula": published_formula,
        "presets": presets,
        "traps": read_traps(table, place),
        "falls_with": read_inputs(table, "falls_with", inputs, place),
        "rises_with": read_inputs(table, "rises_with", inputs, place),
        "may_stay_same": read_inputs(table, "may_stay_same", inputs, place),
        "size": read_size(table, inputs, place),
        "exponents": read_exponents(table, inputs, derived, place),
        "about": read_text(table, "about", place),
        "range": {key: read_range(value, key, inputs, place) for key, value in part["range"].items()},
        "no_split": read_text(table, "no_split", place),
    }


def column(symbol: str) -> str:
    """The column of the runs that a symbol of the formula stands for: N is params."""
    return SYMBOL_COLUMNS.get(symbol, symbol)


def _check_reserved(defined: Collection[str], place: str) -> None:
    for key in defined:
        if key in RESERVED or key.endswith(("_ref", "_span")) or key.startswith("data_"):
            raise LawError(f"{place}: '{key}' has a meaning of its own and cannot be defined here; choose another name")


def _used(tree: Node, where: Mapping[str, Node], priors: Collection[str], place: str) -> set[str]:
    """Names that the formula needs, through its sub-expressions, which may use only those above them."""
    both = set(where) & set(priors)
    if both:
        raise LawError(f"{place}: {names_text(both)} stand both in [where] and in [priors]")
    seen: set[str] = set()
    used = names(tree)
    for key, sub in where.items():
        late = (names(sub) & set(where)) - seen
        if late:
            raise LawError(f"{place}: where.{key} uses {names_text(late)}, which must stand above it")
        seen.add(key)
    for key in reversed(list(where)):
        if key in used:
            used |= names(where[key])
    unused = set(where) - used
    if unused:
        raise LawError(f"{place}: {names_text(unused)} in [where] are not used by the formula")
    return used


def _symbols(
    used: set[str], where: Collection[str], priors: Collection[str], place: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reference constants and inputs among the names that the formula uses; every other one is a parameter."""
    constants = tuple(sorted(name for name in used if name.endswith(("_ref", "_span"))))
    free = used - {*constants, *priors, *where}
    inputs = (*(symbol for symbol in SYMBOL_COLUMNS if symbol in free), *sorted(free - set(SYMBOL_COLUMNS)))
    unused = set(priors) - used
    if unused:  # a name that is neither prior nor symbol may be a column of the runs, or the other half of a typo
        lone = free - set(SYMBOL_COLUMNS)
        other = f"no prior for {names_text(lone)}; " if lone else ""
        raise LawError(f"{place}: {other}priors not in the formula {names_text(unused)}")
    if not priors:
        raise LawError(f"{place}: no [priors]; every parameter of the formula needs one")
    if not inputs:
        raise LawError(f"{place}: the formula uses no column of the runs such as N or D")
    return constants, inputs


def _check_observed(observed: Observed, inputs: Collection[str], place: str) -> None:
    if taken := RESERVED_COLUMNS & {*inputs, observed.column, observed.count}:
        raise LawError(f"{place}: {names_text(taken)} cannot be a column of the runs here; rename it in both")
    for symbol in inputs:
        if column(symbol) in (observed.column, observed.count):
            raise LawError(
                f"{place}: the formula uses {symbol}, the column '{column(symbol)}', which is what it explains; "
                "name another column in [observed]"
            )
    if observed.symbol in inputs:
        raise LawError(f"{place}: {observed.symbol} is an input; give what is observed another 'symbol' in [observed]")


def _check_references(constants: Collection[str], inputs: Collection[str], observed: Observed, place: str) -> None:
    for reference in sorted(set(constants) - {f"{observed.symbol}_ref", f"{observed.symbol}_span"}):
        symbol = reference.removesuffix("_ref").removesuffix("_span")
        if reference.endswith("_span"):
            raise LawError(f"{place}: '{reference}': only {observed.symbol}_span, of what is observed, is known")
        if symbol not in inputs:
            raise LawError(f"{place}: '{reference}' is the centre of {symbol}, which the formula does not use")


def _with_where(where: Mapping[str, Node], known: set[str]) -> set[str]:
    """``known`` names, and the sub-expressions that they determine."""
    known = set(known)
    for key, tree in where.items():
        known |= {key} if names(tree) <= known else set()
    return known
