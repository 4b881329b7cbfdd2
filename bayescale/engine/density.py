"""A study's log posterior as formulas of law, priors and noise, and the data that they read."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bayescale.errors import FitError
from bayescale.laws.data_split import split_data
from bayescale.laws.formula import Binary, Name, Node, Number, evaluate, names, parse, substitute
from bayescale.laws.input_errors import input_roles, known_variance, slopes
from bayescale.laws.law import Law, with_where
from bayescale.laws.limits import PREDICTED
from bayescale.laws.noises import inside
from bayescale.laws.priors import DISTRIBUTIONS
from bayescale.laws.scatter import SCALE, SCALE_WITH_ERRORS, Scatter, log_density_of_run
from bayescale.study import Study

NOISE_COLUMNS = ("seen", "log_compute", "count", "successes")  # what noises read of the runs
_SIGMA = "sigma of a run"
_INSIDE = inside("predicted")
RESIDUAL = {
    "log": parse("seen - log(predicted)"),
    "linear": parse("seen - predicted/unit"),
    "share": parse(f"seen - log({_INSIDE}) + log(1 - {_INSIDE})"),
}


@dataclass(frozen=True, eq=False)  # hashed by identity, so that its compiled code can be cached
class Density:
    """Log density = ``once`` + sum over runs of ``each``, with its gradient by ``position``.

    Attributes
    ----------
    position : names of the variables of the gradient, in order
    scalars, columns : names of the data, one number each and one number per run
    definitions : trees of further names, each of earlier names
    once, each : trees of all these names
    """

    position: tuple[str, ...]
    scalars: tuple[str, ...]
    columns: tuple[str, ...]
    definitions: Mapping[str, Node]
    once: Node
    each: Node


def observed_data(study: Study) -> dict[str, np.ndarray]:
    """What the noise reads of the runs: observed values, and what their scatter depends on [run]."""
    scatter, seen, covariates = study.scatter, study.seen.values, study.covariates(study.runs)
    if scatter.counts:
        count = np.round(covariates["count"])
        return {"count": count, "successes": np.round(seen * count)}
    unit = {"unit": np.asarray(scatter.unit)} if study.law.observed.scale == "linear" else {}
    return {"log_compute": covariates["log_compute"], "seen": seen / scatter.unit} | study.known_data | unit


def posterior_data(study: Study) -> dict[str, np.ndarray]:
    """Data of :func:`log_posterior`: parts of the law's formula that depend on runs alone, and observed values.

    Raises FitError if a part of the formula that depends on the runs alone is not finite.
    """
    values = with_where(study.law, study.inputs() | dict(study.constants))
    _, parts = data_split(study.law, study.scatter.noise, study.known)
    data = {name: np.asarray(evaluate(part, values), dtype=float) for name, part in parts.items()}
    for value in data.values():
        if not np.isfinite(value).all():
            raise FitError(
                f"law '{study.law.name}': a part of its formula that depends on the runs alone is not finite"
            )
    return {_data(name): value for name, value in (data | observed_data(study)).items()}


@functools.lru_cache(maxsize=128)
def data_split(law: Law, noise: str, known: tuple[str, ...] = ()) -> tuple[dict[str, Node], dict[str, Node]]:
    """Sub-expressions, formula and weighted quantities of a law, without the parts that are data, and these parts.

    So are the scale of the noise, and the law's slopes by inputs whose errors are ``known``.
    """
    scatter = Scatter.of(law, noise)
    trees = {**law.where, PREDICTED: law.tree} | ({_SIGMA: scatter.sigma} if scatter.groups else {})
    trees |= slopes(law, tuple(name for name in known if name in input_roles(law)))
    trees |= {_weighted(key): belief.tree for key, belief in law.weights.items()}
    return split_data(trees, {*law.inputs, *law.constants, "C_ref"}, {**law.priors, **scatter.priors}, law.constants)


@functools.lru_cache(maxsize=128)
def log_posterior(law: Law, noise: str, known: tuple[str, ...] = ()) -> Density:
    """The log posterior of a law and noise up to a constant, over the real line of each parameter.

    ``known`` names what is known of single runs besides (:attr:`bayescale.study.Study.known`).
    """
    trees, parts = data_split(law, noise, known)
    priors = {**law.priors, **Scatter.of(law, noise).priors}
    definitions: dict[str, Node] = {}
    once: Node = Number(0.0)
    for name, prior in priors.items():
        of = {key: Number(value) for key, value in prior.params.items()} | {"u": Name(_real(name)), "x": Name(name)}
        definitions[name] = substitute(DISTRIBUTIONS[prior.dist].value, of)
        once = Binary("+", once, substitute(DISTRIBUTIONS[prior.dist].log_density, of))
    definitions |= {name: substitute(tree, {part: Name(_data(part)) for part in parts}) for name, tree in trees.items()}
    once = sum_of_weights(law, once)
    seen = {name: Name(_data(name)) for name in (*NOISE_COLUMNS, *known, "unit")}
    seen |= {"predicted": Name(PREDICTED), "share": Name(PREDICTED)}
    if law.observed.scale in RESIDUAL:
        variance = known_variance(law.observed.scale, known, noise)
        scale = SCALE if variance == Number(0.0) else substitute(SCALE_WITH_ERRORS, {"known_variance": variance})
        sigma = {"sigma": Name(_SIGMA)} if _SIGMA in trees else {}
        definitions[_data("scale")] = substitute(scale, seen | sigma)
        definitions[_data("residual")] = substitute(RESIDUAL[law.observed.scale], seen)
    seen |= {name: Name(_data(name)) for name in ("scale", "residual")}
    each = substitute(log_density_of_run(noise, known), seen)
    always = ("log_compute", "seen") if law.observed.scale in RESIDUAL else ("count", "successes")
    scalars: list[str] = []
    columns = [*always, *known]
    by_run = set(law.inputs)
    for name, tree in law.where.items():  # in order: each may use those before it
        by_run |= {name} if names(tree) & by_run else set()
    for name, part in parts.items():
        (columns if names(part) & by_run else scalars).append(name)
    scalars += ["unit"] if law.observed.scale == "linear" else []
    position = tuple(map(_real, priors))
    return Density(position, tuple(map(_data, scalars)), tuple(map(_data, columns)), definitions, once, each)


def sum_of_weights(law: Law, start: Node) -> Node:
    """``start`` and the log weights of a law's beliefs, of the names that :func:`data_split` gives their quantities."""
    for key, belief in law.weights.items():
        start = Binary("+", start, belief.log_weight(Name(_weighted(key))))
    return start


def _weighted(name: str) -> str:
    return f"weighted {name}"


def _real(name: str) -> str:
    return f"real {name}"  # no name of a formula has a space


def _data(name: str) -> str:
    return f"data {name}"
