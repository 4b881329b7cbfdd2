"""Laws by name, by path or as given, and their values: loss, derived quantities, reference constants, prior draws."""

import difflib
import functools
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bayescale.errors import LawError
from bayescale.field import number_text
from bayescale.laws.data_split import fold, split_data
from bayescale.laws.formula import Binary, Call, Name, Negative, Node, evaluate, names, nodes, parse
from bayescale.laws.law_file import SYMBOL_COLUMNS
from bayescale.laws.law_file import Law as Law  # "as": other modules import these three from here
from bayescale.laws.law_file import column as column
from bayescale.laws.law_file import parse_law as parse_law
from bayescale.laws.law_tables import LAW_BYTES_MAX
from bayescale.laws.limits import PREDICTED
from bayescale.laws.priors import from_normal, quantile

DEFAULT_LAW = "coupled"
# of a standardised parameter: beyond, a probability is 0 or 1 to all digits and a quantile infinite
PARAMETER_Z_MAX = 7.5
SHARES = ("proportion", "share")  # scales of what lies between 0 and 1
NO_SIZE = 'the law does not say what the size of a run is (size = "..." in its file)'


@functools.cache
def models_folder() -> Path:
    """Where the law files are: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent.parent
    return next(folder for folder in (here / "models", here.parent / "models") if folder.is_dir())


def law_names() -> list[str]:
    """Names of the laws that come with bayescale.

    Examples
    --------
    >>> "chinchilla" in bayescale.law_names()
    True
    """
    return sorted(path.stem for path in models_folder().glob("*.toml"))


def load_law(law: "str | os.PathLike[str] | Law") -> Law:
    """A law by name (``"chinchilla"``) or by path (``"./mine.toml"``); a ``Law`` is passed through.

    Raises
    ------
    LawError
        If there is no such law or file, or the file contradicts itself.

    Examples
    --------
    >>> bayescale.load_law("chinchilla").published_formula
    'E + A*N**(-alpha) + B*D**(-beta)'
    """
    if isinstance(law, Law):
        return law
    if not isinstance(law, str | os.PathLike) or not isinstance(os.fspath(law), str):
        raise LawError(f"a law is expected: its name, the path of a law file or a Law, not a {type(law).__name__}")
    given = os.fspath(law)
    shipped = models_folder() / f"{given}.toml"
    if given.isidentifier() and shipped.is_file():
        path = shipped
    elif given.endswith(".toml") or os.sep in given:
        path = Path(given)
        if not path.stem.isprintable():
            raise LawError(f"law file {given}: its name is that of the law, and must be printable; rename it")
    else:
        near = difflib.get_close_matches(given, law_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "a law file of your own is given by its path, ./mine.toml"
        raise LawError(f"unknown law '{given}'; {hint} ('bayescale laws' lists them all)")
    try:
        with open(path, "rb") as file:
            content = file.read(LAW_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise LawError(f"law file {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > LAW_BYTES_MAX:
        raise LawError(f"law file {path} is larger than {LAW_BYTES_MAX} bytes: this is not a law file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LawError(f"law file {path} is not UTF-8 text") from None
    return parse_law(text, name=path.stem)


def is_joint(law: Law) -> bool:
    """Whether a run has two sizes, N and D, so that a budget must be split."""
    return {"N", "D"} <= set(law.inputs)


def size_column(law: Law) -> str | None:
    """The column that says how large a run is, or None: as the law file says, else compute where the law has N and D or
    C, else the only one of params, tokens and loss that it uses (params before tokens before loss)."""
    if law.size:
        return column(law.size)
    if "C" in law.inputs or is_joint(law):
        return "compute"
    return next((SYMBOL_COLUMNS[symbol] for symbol in SYMBOL_COLUMNS if symbol in law.inputs), None)


def goal_sign(law: Law, falling: Collection[str] = ("loss",)) -> str:
    """On which side of a target a better run lies, "<=" or ">=".

    A loss is to be small. Anything else is to go where it goes as runs grow, by the law's ``rises_with`` and
    ``falls_with`` (a lower loss is a better model); where the law does not say, a share is to be large.

    Parameters
    ----------
    falling : inputs of which less is better, such as what another law of a chain explains
    """
    size = size_column(law)
    rises, falls = ([column(symbol) for symbol in some] for some in (law.rises_with, law.falls_with))
    if law.observed.column == "loss":
        upwards = False
    elif size in (*rises, *falls):
        upwards = (size in rises) != (size in falling)
    else:
        upwards = law.observed.scale in SHARES
    return ">=" if upwards else "<="


def run_sizes(law: Law, runs: Mapping[Any, Any]) -> np.ndarray:
    """How large each run is [run]: all alike, 1, where the law has no size."""
    size = size_column(law)
    if size is None:
        return np.ones(len(np.asarray(runs[column(law.inputs[0])])))
    return np.asarray(runs[size])


def positive_columns(law: Law) -> frozenset[str]:
    """Columns that must be above 0: N, D, C and L, the size, a number of items, and what the formula takes the
    logarithm of, or a power that is not a whole number of at least 0."""
    trees = fold({**law.where, PREDICTED: law.tree})  # names that stand for numbers are numbers
    signs: dict[str, set[str]] = {}  # of a named sub-expression: the names that decide whether it is above 0
    for key, tree in trees.items():  # in order: each uses only those before it
        signs[key] = _factors(tree, signs)
    symbols: set[str] = set()
    for part in (part for tree in trees.values() for part in nodes(tree)):
        match part:
            case Call(function="log" | "log10" | "sqrt", args=(of,)):
                symbols |= _factors(of, signs)
            case Binary(op="**", left=of, right=exponent) if _remainder(exponent, 1) != 0:
                symbols |= _factors(of, signs)
    symbols = {symbol.removesuffix("_ref") for symbol in symbols}
    columns = {column(symbol) for symbol in law.inputs if symbol in symbols or symbol in SYMBOL_COLUMNS}
    return frozenset(columns | {name for name in (size_column(law), law.observed.count) if name})


def _factors(tree: Node, signs: Mapping[str, set[str]]) -> set[str]:
    """Names that are factors of a product, and so decide its sign; none of a sum."""
    match tree:
        case Name(id=name):
            return signs.get(name, {name})
        case Negative(of=of):
            return _factors(of, signs)
        case Binary(op="*" | "/", left=left, right=right):
            return _factors(left, signs) | _factors(right, signs)
        case Binary(op="**", left=left, right=exponent) if _remainder(exponent, 2) != 0:
            return _factors(left, signs)
    return set()


def _remainder(exponent: Node, divisor: int) -> float:
    """What is left of an exponent that is a number of at least 0, or NaN: 0 by 1 where it is whole, by 2 where even."""
    value = math.nan if names(exponent) else float(evaluate(exponent, {}))
    return value % divisor if value >= 0 else math.nan


def reference_constants(law: Law, runs: Mapping[Any, Any]) -> dict[str, float]:
    """Reference constants of a law for these runs.

    ``N_ref`` and its like are geometric means of the inputs (means where an input is not positive everywhere),
    ``L_ref`` is the smallest observed value, ``L_span`` the range of the observed values. (:func:`bayescale.fit` leaves
    out runs that lie far off all others, see :func:`bayescale.runs.smooth.far_off`.)

    Parameters
    ----------
    runs : columns by name, each [run]
    """
    constants = {}
    for constant in law.constants:
        symbol, _, kind = constant.rpartition("_")
        if symbol == law.observed.symbol:
            seen = np.asarray(runs[law.observed.column])
            constants[constant] = float(np.min(seen) if kind == "ref" else np.ptp(seen))
        else:
            values = np.asarray(runs[column(symbol)])
            centre = np.exp(np.mean(np.log(values))) if np.all(values > 0) else np.mean(values)
            constants[constant] = float(centre)
    return constants


def with_where(law: Law, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` (parameters, inputs, constants) and, if not among them, the sub-expressions that they determine."""
    values = dict(values)
    for key, tree in law.where.items():
        if key not in values and law.where_names[key] <= values.keys():
            values[key] = evaluate(tree, values)
    return values


def split_law(law: Law, known: Collection[str]) -> tuple[dict[str, Node], dict[str, Node]]:
    """Sub-expressions and formula of a law, what depends on ``known`` names alone split off (see ``split_data``)."""
    return split_data({**law.where, PREDICTED: law.tree}, known, law.priors, law.constants)


def law_loss(law: Law, values: Mapping[str, Any]) -> Any:
    """Loss of the law; ``values`` gives every parameter, input and constant, of any shapes that broadcast."""
    return evaluate(law.tree, with_where(law, values))


def loss_given(law: Law, inputs: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
    """The loss at fixed ``inputs`` (inputs and constants), as a function of the parameters alone.

    For those who ask many times: what depends on the inputs alone is computed once, and powers of it are exponentials.
    """
    trees, parts = split_law(law, inputs)
    known = with_where(law, inputs)
    data = {name: evaluate(part, known) for name, part in parts.items()}

    def loss(params: Mapping[str, Any]) -> Any:
        values = data | dict(params)
        for name, tree in trees.items():
            values[name] = evaluate(tree, values)
        return values[PREDICTED]

    return loss


def law_derived(law: Law, values: Mapping[str, Any]) -> dict[str, Any]:
    """Derived quantities of the law from its parameters and constants."""
    values = with_where(law, values)
    return {key: evaluate(quantity.tree, values) for key, quantity in law.derived.items()}


def log_weight(law: Law, values: Mapping[str, Any]) -> Any:
    """Log of the weights of [beliefs] at these parameters and constants, up to a constant; 0 where there are none."""
    values = with_where(law, values)
    return sum((evaluate(belief.log_weight(belief.tree), values) for belief in law.weights.values()), 0.0)


def published_values(law: Law, at: Mapping[str, float]) -> dict[str, float]:
    """What a law gives with each set of its published constants, at these inputs (columns or symbols) -> preset: value.

    Raises LawError if the law has no published constants, or an input is missing or not one of the law's.
    """
    if not law.presets:
        raise LawError(f"law '{law.name}' comes without published constants; fit it to runs")
    symbols = {column(symbol): symbol for symbol in law.inputs} | {symbol: symbol for symbol in law.inputs}
    unknown = sorted(set(at) - set(symbols))
    twice = [symbol for symbol in law.inputs if symbol != column(symbol) and {symbol, column(symbol)} <= set(at)]
    if twice:
        raise LawError(f"law '{law.name}': {twice[0]} and {column(twice[0])} are the same input; give one of them")
    values = {symbols[name]: float(value) for name, value in at.items() if name in symbols}
    missing = [column(symbol) for symbol in law.inputs if symbol not in values]
    if unknown or missing:
        wrong = f"'{unknown[0]}' is not one of them" if unknown else f"{', '.join(missing)} is missing"
        raise LawError(f"law '{law.name}' takes {', '.join(map(column, law.inputs))}: {wrong}")
    formula = parse(law.published_formula)
    found = {name: float(evaluate(formula, dict(preset.values) | values)) for name, preset in law.presets.items()}
    for name, value in found.items():
        share = 0 <= value <= 1
        possible = {"log": value > 0, "linear": True, "proportion": share, "share": share}[law.observed.scale]
        if not (np.isfinite(value) and possible):
            raise LawError(
                f"law '{law.name}', constants '{name}': {law.observed.column} comes out as "
                f"{number_text(value, 6)} there, "
                f"outside what it can be; the published range is {_range_text(law)}"
            )
    return found


def _range_text(law: Law) -> str:
    return ", ".join(
        f"{column(symbol)} {number_text(low)} to {number_text(high)}" for symbol, (low, high) in law.range.items()
    )


def standard_parameters(law: Law, z: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters [draw] from z [draw, parameter], on the scale where each prior is a standard normal.

    Beyond PARAMETER_Z_MAX a parameter stays where it is there.
    """
    z = np.clip(z, -PARAMETER_Z_MAX, PARAMETER_Z_MAX)
    return {name: from_normal(prior, z[:, i]) for i, (name, prior) in enumerate(law.priors.items())}


def sample_priors(law: Law, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Independent draws of every parameter from its prior, each [draw]."""
    return {key: quantile(prior, rng.uniform(size=draws)) for key, prior in law.priors.items()}
