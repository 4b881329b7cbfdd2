"""The tables of a law file, one checker each: TOML -> priors, derived quantities, presets and their like.

``place`` says in messages where a value stands: ``law 'mine', prior 'slope'``.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from bayescale.errors import FormulaError, LawError
from bayescale.field import clipped, names_text, shown
from bayescale.laws.formula import NAME_CHARACTERS_MAX, Node, names, parse
from bayescale.laws.limits import finite
from bayescale.laws.priors import DISTRIBUTIONS, Prior

LAW_BYTES_MAX = 64_000
LINE_DOTS_MAX = 200  # in one line: parsing a dotted key takes time that grows with the square of its parts
TABLE_ENTRIES_MAX = 100  # of one table: sub-expressions, priors, derived quantities, presets
KEYS = {
    *("title", "cite", "about", "formula", "traps", "falls_with", "rises_with", "may_stay_same", "size"),
    *("no_split", "observed", "where", "priors", "derived", "range", "exponents", "optimum", "published"),
    *("beliefs", "groups"),
}
OBSERVED_SCALES = {
    "log": "the logarithm of a positive quantity, such as the loss",
    "linear": "a quantity that may be negative",
    "proportion": "a share of a known number of items, such as an accuracy",
    "share": "a share whose number of items is not known, such as a mean over tasks: its log odds scatter",
}
EXPONENT_SYMBOLS = ("N", "D")  # whose exponents say what limits the loss


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


# ---- what every table is made of -------------------------------------------------------------------------------------


def read_toml(text: str, place: str) -> dict[str, Any]:
    """The table of a whole law file: known keys, and the three that every law has."""
    if len(text) > LAW_BYTES_MAX:
        raise LawError(f"{place}: larger than {LAW_BYTES_MAX} bytes: this is not a law file")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > LINE_DOTS_MAX:
            raise LawError(
                f"{place}: line {number} has {line.count('.')} dots; at most {LINE_DOTS_MAX} are allowed in one"
            )
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise LawError(f"{place}: not valid TOML: lists or tables nested too deep") from None
    except ValueError as error:  # TOMLDecodeError is one; so is that of a huge integer
        raise LawError(f"{place}: not valid TOML: {clipped(error, 200)}") from None
    check_keys(table, KEYS, place)
    for key in ("title", "cite", "formula"):
        if not read_text(table, key, place):
            raise LawError(f"{place}: '{key}' is missing or empty")
    return table


def check_keys(table: Mapping[str, Any], allowed: set[str], place: str) -> None:
    """Refuse keys that have no meaning here."""
    unknown = set(table) - allowed
    if unknown:
        raise LawError(f"{place}: unknown keys {names_text(unknown)}; the keys are {sorted(allowed)}")


def check_uses(tree: Node, known: set[str], place: str) -> None:
    """Refuse a formula that uses other names than these."""
    unknown = names(tree) - known
    if unknown:
        raise LawError(f"{place} uses {names_text(unknown)}; known here are {names_text(known)}")


def read_table(table: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    """A table inside another, empty where there is none; its keys are names."""
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise LawError(f"{place}: '{key}' must be a table [{key}], not {shown(value)}")
    if len(value) > TABLE_ENTRIES_MAX:
        raise LawError(f"{place}: {len(value)} entries in [{key}]; at most {TABLE_ENTRIES_MAX} are allowed")
    for name in value:
        _check_name(name, f"{place}: {clipped(repr(name))} in [{key}]")
    return value


def _check_name(name: str, what: str) -> None:
    if not (name.isascii() and name.isidentifier()):
        raise LawError(f"{what} is not a name (letters, digits and _ only)")
    if len(name) > NAME_CHARACTERS_MAX:
        raise LawError(f"{what} has {len(name)} characters; {NAME_CHARACTERS_MAX} are allowed")


def read_text(table: Mapping[str, Any], key: str, place: str) -> str:
    """A text of a table, empty where there is none."""
    value = table.get(key, "")
    if not isinstance(value, str):
        raise LawError(f"{place}: '{key}' must be text, not {shown(value)}")
    if not value.replace("\n", "").isprintable():
        raise LawError(f"{place}: '{key}' has a control character in it: {shown(value)}")
    return value


def read_formula(text: Any, place: str) -> Node:
    """The tree of a formula; what is wrong with it is said with its place."""
    try:
        return parse(text)
    except FormulaError as error:
        raise LawError(f"{place}: {error}") from None


# ---- one table each --------------------------------------------------------------------------------------------------


def read_prior(table: Any, place: str) -> Prior:
    """One line of [priors]."""
    if not isinstance(table, dict) or "dist" not in table:
        raise LawError(
            f'{place} must be a table such as {{ dist = "LogNormal", mu = 0.0, sigma = 1.0, about = "..." }}'
        )
    dist, about = read_text(table, "dist", place), read_text(table, "about", place)
    if dist not in DISTRIBUTIONS:
        raise LawError(f"{place}: unknown distribution '{clipped(dist)}'; allowed are {', '.join(DISTRIBUTIONS)}")
    params = {key: value for key, value in table.items() if key not in ("dist", "about")}
    needed = DISTRIBUTIONS[dist].params
    if set(params) != set(needed):
        raise LawError(f"{place}: {dist} takes {list(needed)}, given {names_text(params)}")
    numbers = {key: finite(params[key], f"{place}: {key}") for key in needed}
    for key in DISTRIBUTIONS[dist].positive:
        if numbers[key] <= 0:
            raise LawError(f"{place}: {key} = {numbers[key]:g} (must be > 0)")
    if "lower" in numbers and not numbers["lower"] < numbers["upper"]:
        raise LawError(f"{place}: lower = {numbers['lower']:g} must be below upper = {numbers['upper']:g}")
    return Prior(dist, MappingProxyType(numbers), about)


def read_derived(table: Any, place: str) -> Derived:
    """One line of [derived]."""
    if not isinstance(table, dict):
        raise LawError(f'{place} must be a table such as {{ formula = "...", about = "..." }}')
    check_keys(table, {"formula", "about"}, place)
    formula = read_text(table, "formula", place)
    return Derived(formula, read_formula(table.get("formula"), place), read_text(table, "about", place))


def read_observed(table: Mapping[str, Any], place: str) -> Observed:
    """[observed]: by default the logarithm of the loss."""
    check_keys(table, {"column", "symbol", "scale", "count"}, place)
    given = {key: read_text(table, key, place) for key in table}
    for key in ("column", "symbol", "count"):
        if key in given:
            _check_name(given[key], f"{place}: {key} = {shown(given[key])}")
    symbol = "L" if given.get("column", "loss") == "loss" else "Y"
    observed = Observed(**({"symbol": symbol} | given))
    if observed.scale not in OBSERVED_SCALES:
        raise LawError(
            f"{place}: unknown scale '{clipped(observed.scale)}'; the scales are {', '.join(OBSERVED_SCALES)}"
        )
    if (observed.scale == "proportion") != bool(observed.count):
        raise LawError(
            f"{place}: a proportion, and nothing else, names its 'count', the column with the number of items"
        )
    return observed


def read_range(value: Any, key: str, inputs: tuple[str, ...], place: str) -> tuple[float, float]:
    """One line of [range]."""
    if key not in inputs:
        raise LawError(f"{place}: [range] gives '{key}', which is not an input; the inputs are {names_text(inputs)}")
    if not isinstance(value, list) or len(value) != 2:
        raise LawError(f"{place}: range.{key} must be a pair [low, high], not {shown(value)}")
    low, high = (finite(edge, f"{place}: range.{key}") for edge in value)
    if not low < high:
        raise LawError(f"{place}: range.{key}: low = {low:g} must be below high = {high:g}")
    return low, high


def read_traps(table: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """``traps``: sentences."""
    traps = table.get("traps", [])
    if not isinstance(traps, list) or not all(isinstance(trap, str) and trap.isprintable() for trap in traps):
        raise LawError(f"{place}: 'traps' must be a list of sentences")
    if len(traps) > TABLE_ENTRIES_MAX:
        raise LawError(f"{place}: {len(traps)} 'traps'; at most {TABLE_ENTRIES_MAX} are allowed")
    return tuple(traps)


def read_inputs(table: Mapping[str, Any], key: str, inputs: tuple[str, ...], place: str) -> tuple[str, ...]:
    """``falls_with``, ``rises_with`` and ``may_stay_same``: inputs."""
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) and name in inputs for name in value):
        raise LawError(f"{place}: '{key}' must be a list of inputs out of {names_text(inputs)}, not {shown(value)}")
    return tuple(value)


def read_size(table: Mapping[str, Any], inputs: tuple[str, ...], place: str) -> str:
    """``size``: one of the inputs."""
    size = read_text(table, "size", place)
    if size and size not in inputs:
        raise LawError(f"{place}: 'size' must be one of the inputs {names_text(inputs)}, not {shown(size)}")
    return size


def read_exponents(
    table: Mapping[str, Any], inputs: tuple[str, ...], derived: Mapping[str, Derived], place: str
) -> dict[str, str]:
    """[exponents]: derived quantities by symbol."""
    exponents = read_table(table, "exponents", place)
    for key, value in exponents.items():
        if key not in EXPONENT_SYMBOLS or key not in inputs or not isinstance(value, str) or value not in derived:
            raise LawError(
                f"{place}: [exponents] names, for N and D, the derived quantity that is its exponent, "
                f"not {key} = {shown(value)}"
            )
    return exponents


def read_published(
    table: Mapping[str, Any], parameters: set[str], inputs: tuple[str, ...], place: str
) -> tuple[str, dict[str, Preset]]:
    """[published]: the paper's own formula, and presets for its constants.

    Parameters
    ----------
    parameters : names of the law's own parameters and derived quantities, of which the paper's are some
    """
    published, place_here = read_table(table, "published", place), f"{place}, [published]"
    check_keys(published, {"formula", "presets"}, place_here)
    if not published:
        return "", {}
    formula = read_formula(published.get("formula"), f"{place}, published.formula")
    check_uses(formula, {*parameters, *inputs}, f"{place}, published.formula")
    presets, constants = {}, names(formula) - set(inputs)
    for key, value in read_table(published, "presets", place_here).items():
        presets[key] = preset = _preset(value, formula, f"{place}, preset '{key}'")
        if set(preset.values) != constants:
            raise LawError(
                f"{place}, preset '{key}' gives {names_text(preset.values)}, "
                f"the published formula needs {names_text(constants)}"
            )
    return published["formula"], presets


def _preset(table: Any, formula: Node, place: str) -> Preset:
    keys = {"source", "values", "answers"}
    if not isinstance(table, dict) or not set(table) <= keys or not isinstance(table.get("values"), dict):
        raise LawError(f"{place} needs 'source' and a table 'values', and may have 'answers'")
    if not read_text(table, "source", place):
        raise LawError(f"{place}: 'source' is empty; say where the numbers are printed")
    values = {key: finite(value, f"{place}: {key}") for key, value in read_table(table, "values", place).items()}
    answers = table.get("answers", [])
    if not isinstance(answers, list) or len(answers) > TABLE_ENTRIES_MAX:
        raise LawError(f"{place}: 'answers' must be a list of tables")
    answers = tuple(_answer(one, formula, values, f"{place}, answers") for one in answers)
    return Preset(table["source"], MappingProxyType(values), answers)


def _answer(table: Any, formula: Node, values: Mapping[str, float], place: str) -> Answer:
    if not isinstance(table, dict) or not isinstance(table.get("at", {}), dict):
        raise LawError(f"{place}: tables such as {{ at = {{ N = 70e9, D = 1.4e12 }}, value = 1.94, within = 0.01 }}")
    check_keys(table, {"quantity", "at", "value", "within", "source"}, place)
    at = {key: finite(value, f"{place}: at {key}") for key, value in read_table(table, "at", place).items()}
    quantity = read_text(table, "quantity", place)
    value, within = (finite(table.get(key), f"{place}: {key}") for key in ("value", "within"))
    tree = read_formula(quantity, place) if quantity else formula
    check_uses(tree, {*values, *at}, place)
    if within <= 0 or value == 0:
        raise LawError(f"{place}: 'within' is a relative precision above 0 of a 'value' that is not 0")
    return Answer(quantity or "formula", tree, MappingProxyType(at), value, within, read_text(table, "source", place))
