"""Law: a law file loaded and checked; by name, by path, or from a saved fit."""

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from bayescale.formula import FUNCTIONS, FormulaError, Node, evaluate, names, parse

COLUMNS = {"N": "params", "D": "tokens", "C": "compute"}  # symbol of the field -> column of the runs
OBSERVED = "loss"  # the column that a law explains
MAX_BYTES = 64_000
MAX_ENTRIES = 100  # of one table: sub-expressions, priors, derived quantities, presets
# what a fit calls things of its own; N_ref, data_0 and their like are taken too
RESERVED = {*COLUMNS, OBSERVED, "sigma", "tilt", "nu_minus_2", "observed", "log_loss", "log_compute", *FUNCTIONS}


class LawError(ValueError):
    """A law file that is missing, cannot be read, or contradicts itself; the message names both sides."""


@dataclass(frozen=True)
class Distribution:
    """One entry of the allow-list of priors: parameters, which of them must be positive, and its quantiles."""

    params: tuple[str, ...]
    positive: tuple[str, ...]
    quantile: Callable[..., Any]


def _truncated_normal(u, mu, sigma, lower, upper):
    low, high = special.ndtr((lower - mu) / sigma), special.ndtr((upper - mu) / sigma)
    return mu + sigma * special.ndtri(low + u * (high - low))


# names and parameters are PyMC's, so that a prior reads the same in a law file and in a model
DISTRIBUTIONS = {
    "Normal": Distribution(("mu", "sigma"), ("sigma",), lambda u, mu, sigma: mu + sigma * special.ndtri(u)),
    "LogNormal": Distribution(("mu", "sigma"), ("sigma",), lambda u, mu, sigma: np.exp(mu + sigma * special.ndtri(u))),
    "LogitNormal": Distribution(
        ("mu", "sigma"), ("sigma",), lambda u, mu, sigma: special.expit(mu + sigma * special.ndtri(u))
    ),
    "HalfNormal": Distribution(("sigma",), ("sigma",), lambda u, sigma: sigma * special.ndtri((1 + u) / 2)),
    "TruncatedNormal": Distribution(("mu", "sigma", "lower", "upper"), ("sigma",), _truncated_normal),
    "Exponential": Distribution(("lam",), ("lam",), lambda u, lam: -np.log1p(-u) / lam),
    "Gamma": Distribution(
        ("alpha", "beta"), ("alpha", "beta"), lambda u, alpha, beta: special.gammaincinv(alpha, u) / beta
    ),
    "Beta": Distribution(
        ("alpha", "beta"), ("alpha", "beta"), lambda u, alpha, beta: special.betaincinv(alpha, beta, u)
    ),
    "Uniform": Distribution(("lower", "upper"), (), lambda u, lower, upper: lower + u * (upper - lower)),
}


@dataclass(frozen=True)
class Prior:
    dist: str
    params: Mapping[str, float]
    about: str = ""

    def __str__(self) -> str:
        return f"{self.dist}({', '.join(f'{name} = {value:g}' for name, value in self.params.items())})"


@dataclass(frozen=True)
class Derived:
    """A quantity computed from the parameters, kept in the posterior: what papers print."""

    formula: str
    tree: Node
    about: str


@dataclass(frozen=True)
class Preset:
    """Published constants, in the paper's own parameters."""

    source: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Law:
    """A scaling law as data: formula, priors, derived quantities, published constants.

    Attributes
    ----------
    name : what the law is called on the command line (the stem of its file)
    text : the law file itself; it travels inside a saved fit, so that opening one needs no file
    formula : the loss as text; ``tree`` is the same, parsed
    where : named sub-expressions, in order
    priors : a prior for every parameter
    inputs : columns of the runs that the formula uses, as symbols (N, D, ...)
    constants : reference constants that the formula uses (N_ref: geometric mean of N; L_ref: smallest loss)
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
    priors: Mapping[str, Prior]
    derived: Mapping[str, Derived]
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    optimum: Node | None
    published_formula: str
    presets: Mapping[str, Preset]
    traps: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Law({self.name!r}: {self.formula})"


def models_folder() -> Path:
    """Where the law files are: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return next(folder for folder in (here / "models", here.parent / "models") if folder.is_dir())


def laws() -> list[str]:
    """Names of the laws that come with bayescale."""
    return sorted(path.stem for path in models_folder().glob("*.toml"))


def load_law(law: "str | os.PathLike[str] | Law") -> Law:
    """A law by name (``"chinchilla"``) or by path (``"./mine.toml"``); a ``Law`` is passed through.

    Raises
    ------
    LawError
        If there is no such law or file, or the file contradicts itself.
    """
    if isinstance(law, Law):
        return law
    given = os.fspath(law)
    if given in laws():
        path = models_folder() / f"{given}.toml"
    elif given.endswith(".toml") or os.sep in given:
        path = Path(given)
    else:
        near = difflib.get_close_matches(given, laws(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "a law file of your own is given by its path, ./mine.toml"
        raise LawError(f"unknown law '{given}'; the laws are {', '.join(laws())}; {hint}")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise LawError(f"law file {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise LawError(f"law file {path} is larger than {MAX_BYTES} bytes: this is not a law file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise LawError(f"law file {path} is not UTF-8 text") from None
    return parse_law(text, name=path.stem)


def parse_law(text: str, name: str) -> Law:
    """The law in the text of a law file, checked.

    Raises
    ------
    LawError
        Naming the law, the key or name at fault, and what was expected.
    """
    where = f"law '{name}'"
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError; so is that of a huge integer
        raise LawError(f"{where}: not valid TOML: {error}") from None

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

    for key in (*trees, *priors, *derived):
        if key in RESERVED or key.endswith("_ref") or key.startswith("data_"):
            raise LawError(f"{where}: '{key}' has a meaning of its own and cannot be defined here; choose another name")
    used = _check_order(tree, trees, set(priors), where)
    constants = tuple(sorted(name for name in used if name.endswith("_ref")))
    free = used - set(constants) - set(priors) - set(trees)
    inputs = (*(symbol for symbol in COLUMNS if symbol in free), *sorted(free - set(COLUMNS)))
    unused = sorted(set(priors) - used)
    if unused:  # a name that is neither prior nor symbol may be a column of the runs, or the other half of a typo
        lone = sorted(free - set(COLUMNS))
        other = f"no prior for {lone}; " if lone else ""
        raise LawError(f"{where}: {other}priors not in the formula {unused}")
    if not priors:
        raise LawError(f"{where}: no [priors]; every parameter of the formula needs one")
    if not inputs:
        raise LawError(f"{where}: the formula uses no column of the runs such as N or D")
    for constant in constants:
        symbol = constant.removesuffix("_ref")
        if symbol not in (*inputs, "L"):
            raise LawError(f"{where}: '{constant}' is the centre of {symbol}, which the formula does not use")
    known = {*priors, *(f"{n}_ref" for n in (*inputs, "L"))}
    for key, sub in trees.items():  # what depends on N or D has no value of its own in a posterior
        if set(names(sub)) <= known:
            known.add(key)
    for key, quantity in derived.items():
        _only(quantity.tree, known, f"{where}, derived '{key}'")
        if key in priors:
            raise LawError(f"{where}: '{key}' is both a prior and a derived quantity")
    optimum_tree = _parse(optimum["N"], f"{where}, optimum.N") if optimum else None
    if optimum_tree is not None:
        _only(optimum_tree, known | {"C"}, f"{where}, optimum.N")

    published = _table(table, "published", where)
    _known_keys(published, {"formula", "presets"}, f"{where}, [published]")
    presets = {
        key: _preset(value, f"{where}, preset '{key}'")
        for key, value in _table(published, "presets", f"{where}, [published]").items()
    }
    if published:
        theirs = _parse(published.get("formula"), f"{where}, published.formula")
        _only(theirs, {*priors, *derived, *inputs}, f"{where}, published.formula")
        for key, preset in presets.items():
            if set(preset.values) != set(names(theirs)) - set(inputs):
                raise LawError(
                    f"{where}, preset '{key}' gives {sorted(preset.values)}, "
                    f"the published formula needs {sorted(set(names(theirs)) - set(inputs))}"
                )
    traps = table.get("traps", [])
    if not isinstance(traps, list) or not all(isinstance(trap, str) and trap.isprintable() for trap in traps):
        raise LawError(f"{where}: 'traps' must be a list of sentences")

    return Law(
        name=name,
        text=text,
        title=table["title"],
        cite=table["cite"],
        about=_text(table, "about", where),
        formula=table["formula"],
        tree=tree,
        where=trees,
        priors=priors,
        derived=derived,
        inputs=inputs,
        constants=constants,
        optimum=optimum_tree,
        published_formula=published.get("formula", ""),
        presets=presets,
        traps=tuple(traps),
    )


TOP_KEYS = {"title", "cite", "about", "formula", "traps", "where", "priors", "derived", "optimum", "published"}


def _known_keys(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise LawError(f"{where}: unknown keys {unknown}; the keys are {sorted(allowed)}")


def _table(table: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise LawError(f"{where}: '{key}' must be a table [{key}], not {_shown(value)}")
    if len(value) > MAX_ENTRIES:
        raise LawError(f"{where}: {len(value)} entries in [{key}]; at most {MAX_ENTRIES} are allowed")
    for name in value:
        if not (name.isascii() and name.isidentifier()):
            raise LawError(f"{where}: {name!r} in [{key}] is not a name (letters, digits and _ only)")
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise LawError(f"{where}: '{key}' must be text, not {_shown(value)}")
    if not value.replace("\n", "").isprintable():
        raise LawError(f"{where}: '{key}' has a control character in it: {_shown(value)}")
    return value


def _parse(text: Any, where: str) -> Node:
    try:
        return parse(text)
    except FormulaError as error:
        raise LawError(f"{where}: {error}") from None


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LawError(f"{what} must be a finite number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise LawError(f"{what} must be a finite number, not {number}")
    return number


def _shown(value: Any) -> str:
    try:
        return repr(value)[:60]
    except ValueError:  # Python does not write out integers of more than 4300 digits
        return "a huge integer"


def _prior(table: Any, where: str) -> Prior:
    if not isinstance(table, dict) or "dist" not in table:
        raise LawError(
            f'{where} must be a table such as {{ dist = "LogNormal", mu = 0.0, sigma = 1.0, about = "..." }}'
        )
    dist, about = _text(table, "dist", where), _text(table, "about", where)
    if dist not in DISTRIBUTIONS:
        raise LawError(f"{where}: unknown distribution '{dist}'; allowed are {', '.join(DISTRIBUTIONS)}")
    params = {key: value for key, value in table.items() if key not in ("dist", "about")}
    needed = DISTRIBUTIONS[dist].params
    if set(params) != set(needed):
        raise LawError(f"{where}: {dist} takes {list(needed)}, given {sorted(params)}")
    numbers = {key: _number(params[key], f"{where}: {key}") for key in needed}
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


def _preset(table: Any, where: str) -> Preset:
    if not isinstance(table, dict) or set(table) != {"source", "values"} or not isinstance(table["values"], dict):
        raise LawError(f"{where} needs 'source' and a table 'values'")
    if not _text(table, "source", where):
        raise LawError(f"{where}: 'source' is empty; say where the numbers are printed")
    values = {key: _number(value, f"{where}: {key}") for key, value in table["values"].items()}
    return Preset(table["source"], values)


def _check_order(tree: Node, trees: Mapping[str, Node], priors: set[str], where: str) -> set[str]:
    """Names that the formula needs, through its sub-expressions, which may use only those above them."""
    both = sorted(set(trees) & priors)
    if both:
        raise LawError(f"{where}: {both} stand both in [where] and in [priors]")
    seen: set[str] = set()
    used = set(names(tree))
    for key, sub in trees.items():
        late = sorted((set(names(sub)) & set(trees)) - seen)
        if late:
            raise LawError(f"{where}: where.{key} uses {late}, which must stand above it")
        seen.add(key)
    for key in reversed(list(trees)):
        if key in used:
            used |= set(names(trees[key]))
    unused = sorted(set(trees) - used)
    if unused:
        raise LawError(f"{where}: {unused} in [where] are not used by the formula")
    return used


def _only(tree: Node, known: set[str], where: str) -> None:
    unknown = sorted(set(names(tree)) - known)
    if unknown:
        raise LawError(f"{where} uses {unknown}; known here are {sorted(known)}")


def column(symbol: str) -> str:
    """The column of the runs that a symbol of the formula stands for: N is params."""
    return COLUMNS.get(symbol, symbol)


def reference_constants(law: Law, runs: Mapping[str, Any]) -> dict[str, float]:
    """Reference constants of a law for these runs: geometric mean of each size, smallest loss.

    Parameters
    ----------
    runs : columns by name, each [run]
    """
    constants = {}
    for constant in law.constants:
        symbol = constant.removesuffix("_ref")
        if symbol == "L":
            constants[constant] = float(np.min(runs[OBSERVED]))
        else:
            constants[constant] = float(np.exp(np.mean(np.log(runs[column(symbol)]))))
    return constants


def with_where(law: Law, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` (parameters, inputs, constants) and, if not among them, the sub-expressions that they determine."""
    values = dict(values)
    for key, tree in law.where.items():
        if key not in values and set(names(tree)) <= set(values):
            values[key] = evaluate(tree, values)
    return values


def law_loss(law: Law, values: Mapping[str, Any]) -> Any:
    """Loss of the law; ``values`` gives every parameter, input and constant, of any shapes that broadcast."""
    return evaluate(law.tree, with_where(law, values))


def law_derived(law: Law, values: Mapping[str, Any]) -> dict[str, Any]:
    """Derived quantities of the law from its parameters and constants."""
    values = with_where(law, values)
    return {key: evaluate(quantity.tree, values) for key, quantity in law.derived.items()}


def sample_priors(law: Law, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Independent draws of every parameter from its prior, each [draw]."""
    return {
        key: DISTRIBUTIONS[prior.dist].quantile(rng.uniform(size=draws), **prior.params)
        for key, prior in law.priors.items()
    }
