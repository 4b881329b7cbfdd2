"""The text of a law file -> Law, checked: every name has a meaning, every number is finite, nothing is executed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bayescale.errors import FormulaError, LawError
from bayescale.field import clipped, names_text, shown
from bayescale.laws.formula import MAX_NAME, Node, names, parse
from bayescale.laws.functions import FUNCTIONS
from bayescale.laws.limits import PREDICTED, check_compile_time, check_constants, check_size, finite
from bayescale.laws.priors import DISTRIBUTIONS, Prior

# symbol of the field -> column of the runs
COLUMNS = {"N": "params", "D": "tokens", "C": "compute", "L": "loss"}
MAX_BYTES = 64_000
MAX_DOTS = 200  # in one line: the time that TOML takes for a dotted key grows with the square of its parts
MAX_ENTRIES = 100  # of one table: sub-expressions, priors, derived quantities, presets
# what a fit calls things of its own; N_ref, L_span, data_0 and their like are taken too
RESERVED = {
    *(*COLUMNS, *COLUMNS.values(), *FUNCTIONS, PREDICTED, "sigma", "tilt", "nu_minus_2", "overdispersion"),
    *("observed", "log_loss", "log_compute", "count", "chain", "draw", "run", "point"),
}
# what forecasts say of a point besides its inputs, and the dimensions of fits and forecasts
TAKEN_COLUMNS = {"chain", "draw", "run", "point", "kept", "decades_beyond", "nearest_run", "elpd"}
OBSERVED_SCALES = {
    "log": "the logarithm of a positive quantity, such as the loss",
    "linear": "a quantity that may be negative",
    "proportion": "a share of a known number of items, such as an accuracy",
}
QUANTITIES = ("N", "D")  # whose exponents say what limits the loss


@dataclass(frozen=True)
class Derived:
    """A quantity computed from the parameters, kept in the posterior: what papers print."""

    formula: str
    tree: Node
    about: str


@dataclass(frozen=True)
class Observed:
    """What the formula gives and a run shows.

    Attributes
    ----------
    column : of the runs
    symbol : of the reference constants: with L, ``L_ref`` is the smallest observed value, ``L_span`` their range
    scale : one of OBSERVED_SCALES, on which a run scatters around the law
    count : of a proportion, the column with the number of items it is a share of
    """

    column: str = "loss"
    symbol: str = "L"
    scale: str = "log"
    count: str = ""

    @property
    def variable(self) -> str:
        """Its name in a fit: ``log_loss`` for a loss."""
        return f"log_{self.column}" if self.scale == "log" else self.column


@dataclass(frozen=True)
class Answer:
    """A number printed in the literature that published constants must reproduce."""

    quantity: str  # formula over the constants and inputs; "formula" stands for the published formula
    tree: Node
    at: Mapping[str, float]
    value: float
    within: float  # relative
    source: str


@dataclass(frozen=True)
class Preset:
    """Published constants, in the paper's own parameters, and printed numbers that they reproduce."""

    source: str
    values: Mapping[str, float]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Law:
    """A scaling law as data: formula, priors, derived quantities, published constants.

    Attributes
    ----------
    name : what the law is called on the command line (the stem of its file)
    text : the law file itself; it travels inside a saved fit, so that opening one needs no file
    formula : the loss, or whatever ``observed`` names, as text; ``tree`` is the same, parsed
    where : named sub-expressions, in order; ``where_texts`` are the same as written, ``where_names`` what each uses
    priors : a prior for every parameter
    inputs : columns of the runs that the formula uses, as symbols (N, D, ...)
    constants : reference constants that the formula uses (N_ref: geometric mean of N; L_ref: smallest loss)
    observed : what the formula gives: the logarithm of the loss unless the file says otherwise
    range : published or customary range of each input
    size : the input that says how large a run is, where that is not compute
    no_split : why a budget C = 6 N D is not to be split by this law, or an empty text
    falls_with, rises_with : inputs in which the formula is monotone
    exponents : derived quantity that is the exponent of N or of D, where the law has a floor
    optimum : closed-form N*(C) under C = 6 N D, or None
    """

    name: str
    text: str
    title: str
    cite: str
    about: str
    formula: str
    tree: Node
    where: Mapping[str, Node]
    where_texts: Mapping[str, str]
    where_names: Mapping[str, frozenset[str]]
    priors: Mapping[str, Prior]
    derived: Mapping[str, Derived]
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    observed: Observed
    range: Mapping[str, tuple[float, float]]
    size: str
    no_split: str
    falls_with: tuple[str, ...]
    rises_with: tuple[str, ...]
    exponents: Mapping[str, str]
    optimum: Node | None
    published_formula: str
    presets: Mapping[str, Preset]
    traps: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Law({self.name!r}: {self.formula})"


def parse_law(text: str, name: str) -> Law:
    """The law in the text of a law file, checked.

    Raises
    ------
    LawError
        Naming the law, the key or name at fault, and what was expected.
    """
    where = f"law '{clipped(name)}'"
    table = _toml(text, where)

    _known_keys(table, TOP_KEYS, where)
    for key in ("title", "cite", "formula"):
        if not _text(table, key, where):
            raise LawError(f"{where}: '{key}' is missing or empty")
    trees = {key: _parse(value, f"{where}, where.{key}") for key, value in _table(table, "where", where).items()}
    tree = _parse(table["formula"], f"{where}, formula")
    priors = {key: _prior(value, f"{where}, prior '{key}'") for key, value in _table(table, "priors", where).items()}
    derived = {
        key: _derived(value, f"{where}, derived '{key}'") for key, value in _table(table, "derived", where).items()
    }
    optimum = _table(table, "optimum", where)
    _known_keys(optimum, {"N"}, f"{where}, [optimum]")
    observed = _observed(_table(table, "observed", where), f"{where}, [observed]")

    for key in (*trees, *priors, *derived):
        if key in RESERVED or key.endswith(("_ref", "_span")) or key.startswith("data_"):
            raise LawError(f"{where}: '{key}' has a meaning of its own and cannot be defined here; choose another name")
    check_size((tree, *trees.values(), *(quantity.tree for quantity in derived.values())), where)
    used = _check_order(tree, trees, set(priors), where)
    check_constants(trees, tree, where)
    check_compile_time(trees, tree, priors, where)
    constants = tuple(sorted(name for name in used if name.endswith(("_ref", "_span"))))
    free = used - set(constants) - set(priors) - set(trees)
    inputs = (*(symbol for symbol in COLUMNS if symbol in free), *sorted(free - set(COLUMNS)))
    unused = set(priors) - used
    if unused:  # a name that is neither prior nor symbol may be a column of the runs, or the other half of a typo
        lone = free - set(COLUMNS)
        other = f"no prior for {names_text(lone)}; " if lone else ""
        raise LawError(f"{where}: {other}priors not in the formula {names_text(unused)}")
    if not priors:
        raise LawError(f"{where}: no [priors]; every parameter of the formula needs one")
    if not inputs:
        raise LawError(f"{where}: the formula uses no column of the runs such as N or D")
    own = {f"{observed.symbol}_ref", f"{observed.symbol}_span"}
    if taken := TAKEN_COLUMNS & {*inputs, observed.column, observed.count}:
        raise LawError(f"{where}: {names_text(taken)} cannot be a column of the runs here; rename it in both")
    for symbol in inputs:
        if column(symbol) in (observed.column, observed.count):
            raise LawError(
                f"{where}: the formula uses {symbol}, the column '{column(symbol)}', which is what it explains; "
                "name another column in [observed]"
            )
    if observed.symbol in inputs:
        raise LawError(f"{where}: {observed.symbol} is an input; give what is observed another 'symbol' in [observed]")
    for reference in sorted(set(constants) - own):
        symbol = reference.removesuffix("_ref").removesuffix("_span")
        if reference.endswith("_span"):
            raise LawError(f"{where}: '{reference}': only {observed.symbol}_span, of what is observed, is known")
        if symbol not in inputs:
            raise LawError(f"{where}: '{reference}' is the centre of {symbol}, which the formula does not use")
    known = {*priors, *own, *(f"{n}_ref" for n in inputs)}
    for key, sub in trees.items():  # what depends on N or D has no value of its own in a posterior
        if names(sub) <= known:
            known.add(key)
    for key, quantity in derived.items():
        _only(quantity.tree, known, f"{where}, derived '{key}'")
        if key in priors:
            raise LawError(f"{where}: '{key}' is both a prior and a derived quantity")
    optimum_tree = _parse(optimum["N"], f"{where}, optimum.N") if optimum else None
    if optimum_tree is not None:
        # inputs besides N and D (a number of experts) are given with the budget, and what follows from them
        given = known | {"C"} | set(inputs) - {"N", "D"}
        for key, sub in trees.items():
            given |= {key} if names(sub) <= given else set()
        _only(optimum_tree, given, f"{where}, optimum.N")

    published = _table(table, "published", where)
    _known_keys(published, {"formula", "presets"}, f"{where}, [published]")
    presets = {}
    if published:
        theirs = _parse(published.get("formula"), f"{where}, published.formula")
        _only(theirs, {*priors, *derived, *inputs}, f"{where}, published.formula")
        for key, value in _table(published, "presets", f"{where}, [published]").items():
            presets[key] = preset = _preset(value, theirs, set(inputs), f"{where}, preset '{key}'")
            if set(preset.values) != names(theirs) - set(inputs):
                raise LawError(
                    f"{where}, preset '{key}' gives {names_text(preset.values)}, "
                    f"the published formula needs {names_text(names(theirs) - set(inputs))}"
                )
    traps = table.get("traps", [])
    if not isinstance(traps, list) or not all(isinstance(trap, str) and trap.isprintable() for trap in traps):
        raise LawError(f"{where}: 'traps' must be a list of sentences")
    if len(traps) > MAX_ENTRIES:
        raise LawError(f"{where}: {len(traps)} 'traps'; at most {MAX_ENTRIES} are allowed")

    falls_with, rises_with = (_inputs_of(table, key, inputs, where) for key in ("falls_with", "rises_with"))
    size = _text(table, "size", where)
    if size and size not in inputs:
        raise LawError(f"{where}: 'size' must be one of the inputs {names_text(inputs)}, not {shown(size)}")
    exponents = _table(table, "exponents", where)
    for key, value in exponents.items():
        if key not in QUANTITIES or key not in inputs or not isinstance(value, str) or value not in derived:
            raise LawError(
                f"{where}: [exponents] names, for N and D, the derived quantity that is its exponent, "
                f"not {key} = {shown(value)}"
            )

    return Law(
        name=name,
        text=text,
        title=table["title"],
        cite=table["cite"],
        about=_text(table, "about", where),
        formula=table["formula"],
        tree=tree,
        where=trees,
        where_texts=dict(table.get("where", {})),
        where_names={key: frozenset(names(tree)) for key, tree in trees.items()},
        priors=priors,
        derived=derived,
        inputs=inputs,
        constants=constants,
        observed=observed,
        range={key: _range(value, key, inputs, where) for key, value in _table(table, "range", where).items()},
        size=size,
        no_split=_text(table, "no_split", where),
        falls_with=falls_with,
        rises_with=rises_with,
        exponents=dict(exponents),
        optimum=optimum_tree,
        published_formula=published.get("formula", ""),
        presets=presets,
        traps=tuple(traps),
    )


TOP_KEYS = {
    *("title", "cite", "about", "formula", "traps", "falls_with", "rises_with", "size", "no_split"),
    *("observed", "where", "priors", "derived", "range", "exponents", "optimum", "published"),
}


def column(symbol: str) -> str:
    """The column of the runs that a symbol of the formula stands for: N is params."""
    return COLUMNS.get(symbol, symbol)


def _toml(text: str, where: str) -> dict[str, Any]:
    """The table of a law file, after a look at what would make reading it long."""
    if len(text) > MAX_BYTES:
        raise LawError(f"{where}: larger than {MAX_BYTES} bytes: this is not a law file")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MAX_DOTS:
            raise LawError(f"{where}: line {number} has {line.count('.')} dots; at most {MAX_DOTS} are allowed in one")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise LawError(f"{where}: not valid TOML: lists or tables nested too deep") from None
    except ValueError as error:  # TOMLDecodeError is one; so is that of a huge integer
        raise LawError(f"{where}: not valid TOML: {clipped(error, 200)}") from None


def _known_keys(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = set(table) - allowed
    if unknown:
        raise LawError(f"{where}: unknown keys {names_text(unknown)}; the keys are {sorted(allowed)}")


def _table(table: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise LawError(f"{where}: '{key}' must be a table [{key}], not {shown(value)}")
    if len(value) > MAX_ENTRIES:
        raise LawError(f"{where}: {len(value)} entries in [{key}]; at most {MAX_ENTRIES} are allowed")
    for name in value:
        _check_name(name, f"{where}: {clipped(repr(name))} in [{key}]")
    return value


def _check_name(name: str, what: str) -> None:
    if not (name.isascii() and name.isidentifier()):
        raise LawError(f"{what} is not a name (letters, digits and _ only)")
    if len(name) > MAX_NAME:
        raise LawError(f"{what} has {len(name)} characters; {MAX_NAME} are allowed")


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise LawError(f"{where}: '{key}' must be text, not {shown(value)}")
    if not value.replace("\n", "").isprintable():
        raise LawError(f"{where}: '{key}' has a control character in it: {shown(value)}")
    return value


def _parse(text: Any, where: str) -> Node:
    try:
        return parse(text)
    except FormulaError as error:
        raise LawError(f"{where}: {error}") from None


def _prior(table: Any, where: str) -> Prior:
    if not isinstance(table, dict) or "dist" not in table:
        raise LawError(
            f'{where} must be a table such as {{ dist = "LogNormal", mu = 0.0, sigma = 1.0, about = "..." }}'
        )
    dist, about = _text(table, "dist", where), _text(table, "about", where)
    if dist not in DISTRIBUTIONS:
        raise LawError(f"{where}: unknown distribution '{clipped(dist)}'; allowed are {', '.join(DISTRIBUTIONS)}")
    params = {key: value for key, value in table.items() if key not in ("dist", "about")}
    needed = DISTRIBUTIONS[dist].params
    if set(params) != set(needed):
        raise LawError(f"{where}: {dist} takes {list(needed)}, given {names_text(params)}")
    numbers = {key: finite(params[key], f"{where}: {key}") for key in needed}
    for key in DISTRIBUTIONS[dist].positive:
        if numbers[key] <= 0:
            raise LawError(f"{where}: {key} = {numbers[key]:g} (must be > 0)")
    if "lower" in numbers and not numbers["lower"] < numbers["upper"]:
        raise LawError(f"{where}: lower = {numbers['lower']:g} must be below upper = {numbers['upper']:g}")
    return Prior(dist, numbers, about)


def _derived(table: Any, where: str) -> Derived:
    if not isinstance(table, dict):
        raise LawError(f'{where} must be a table such as {{ formula = "...", about = "..." }}')
    _known_keys(table, {"formula", "about"}, where)
    return Derived(_text(table, "formula", where), _parse(table.get("formula"), where), _text(table, "about", where))


def _observed(table: Mapping[str, Any], where: str) -> Observed:
    _known_keys(table, {"column", "symbol", "scale", "count"}, where)
    given = {key: _text(table, key, where) for key in table}
    for key in ("column", "symbol", "count"):
        if key in given:
            _check_name(given[key], f"{where}: {key} = {shown(given[key])}")
    symbol = "L" if given.get("column", "loss") == "loss" else "Y"
    observed = Observed(**({"symbol": symbol} | given))
    if observed.scale not in OBSERVED_SCALES:
        raise LawError(
            f"{where}: unknown scale '{clipped(observed.scale)}'; the scales are {', '.join(OBSERVED_SCALES)}"
        )
    if (observed.scale == "proportion") != bool(observed.count):
        raise LawError(
            f"{where}: a proportion, and nothing else, names its 'count', the column with the number of items"
        )
    return observed


def _range(value: Any, key: str, inputs: tuple[str, ...], where: str) -> tuple[float, float]:
    if key not in inputs:
        raise LawError(f"{where}: [range] gives '{key}', which is not an input; the inputs are {names_text(inputs)}")
    if not isinstance(value, list) or len(value) != 2:
        raise LawError(f"{where}: range.{key} must be a pair [low, high], not {shown(value)}")
    low, high = (finite(edge, f"{where}: range.{key}") for edge in value)
    if not low < high:
        raise LawError(f"{where}: range.{key}: low = {low:g} must be below high = {high:g}")
    return low, high


def _inputs_of(table: Mapping[str, Any], key: str, inputs: tuple[str, ...], where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) and name in inputs for name in value):
        raise LawError(f"{where}: '{key}' must be a list of inputs out of {names_text(inputs)}, not {shown(value)}")
    return tuple(value)


def _preset(table: Any, formula: Node, inputs: set[str], where: str) -> Preset:
    keys = {"source", "values", "answers"}
    if not isinstance(table, dict) or not set(table) <= keys or not isinstance(table.get("values"), dict):
        raise LawError(f"{where} needs 'source' and a table 'values', and may have 'answers'")
    if not _text(table, "source", where):
        raise LawError(f"{where}: 'source' is empty; say where the numbers are printed")
    values = {key: finite(value, f"{where}: {key}") for key, value in _table(table, "values", where).items()}
    answers = table.get("answers", [])
    if not isinstance(answers, list) or len(answers) > MAX_ENTRIES:
        raise LawError(f"{where}: 'answers' must be a list of tables")
    return Preset(table["source"], values, tuple(_answer(one, formula, values, inputs, where) for one in answers))


def _answer(table: Any, formula: Node, values: Mapping[str, float], inputs: set[str], where: str) -> Answer:
    where = f"{where}, answers"
    if not isinstance(table, dict) or not isinstance(table.get("at", {}), dict):
        raise LawError(f"{where}: tables such as {{ at = {{ N = 70e9, D = 1.4e12 }}, value = 1.94, within = 0.01 }}")
    _known_keys(table, {"quantity", "at", "value", "within", "source"}, where)
    at = {key: finite(value, f"{where}: at {key}") for key, value in _table(table, "at", where).items()}
    quantity = _text(table, "quantity", where)
    value, within = (finite(table.get(key), f"{where}: {key}") for key in ("value", "within"))
    tree = _parse(quantity, where) if quantity else formula
    _only(tree, {*values, *at}, where)
    if within <= 0 or value == 0:
        raise LawError(f"{where}: 'within' is a relative precision above 0 of a 'value' that is not 0")
    return Answer(quantity or "formula", tree, at, value, within, _text(table, "source", where))


def _check_order(tree: Node, trees: Mapping[str, Node], priors: set[str], where: str) -> set[str]:
    """Names that the formula needs, through its sub-expressions, which may use only those above them."""
    both = set(trees) & priors
    if both:
        raise LawError(f"{where}: {names_text(both)} stand both in [where] and in [priors]")
    seen: set[str] = set()
    used = names(tree)
    for key, sub in trees.items():
        late = (names(sub) & set(trees)) - seen
        if late:
            raise LawError(f"{where}: where.{key} uses {names_text(late)}, which must stand above it")
        seen.add(key)
    for key in reversed(list(trees)):
        if key in used:
            used |= names(trees[key])
    unused = set(trees) - used
    if unused:
        raise LawError(f"{where}: {names_text(unused)} in [where] are not used by the formula")
    return used


def _only(tree: Node, known: set[str], where: str) -> None:
    unknown = names(tree) - known
    if unknown:
        raise LawError(f"{where} uses {names_text(unknown)}; known here are {names_text(known)}")
