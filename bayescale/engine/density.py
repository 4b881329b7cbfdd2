"""law + noise + runs -> log posterior: as formulas, and the same model in PyMC's words.

Both are put together from the same trees (the law's formula, the noise's density, the priors). The first is compiled
and sampled, or, for quick answers from few runs, walked by NumPy; the PyMC one is for whoever wants to read, extend or
check it, and the tests compare them.
"""

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.engine.numba_density import Function, block, compiled
from bayescale.engine.symbolic import symbolic
from bayescale.laws.data_split import has_level
from bayescale.laws.formula import Binary, Name, Node, Number, evaluate, names, parse, substitute
from bayescale.laws.law import Law, parse_law, split_law, with_where
from bayescale.laws.limits import PREDICTED
from bayescale.laws.priors import DISTRIBUTIONS
from bayescale.laws.scatter import NOISES, SCALE, Scatter, beta_binomial_parameters
from bayescale.study import Study

RESIDUAL = {"log": parse("seen - log(predicted)"), "linear": parse("seen - predicted/unit")}


def model_data(study: Study) -> dict[str, np.ndarray]:
    """Everything of the runs that enters the model: parts of the formula that are data, and what was observed.

    Raises
    ------
    ValueError
        If a part of the formula that depends on the runs alone is not finite.
    """
    law, scatter, seen, covariate = study.law, study.scatter, study.seen.values, study.covariate()
    values = with_where(law, study.inputs() | dict(study.constants))
    _, parts = _split(law)
    data = {name: np.asarray(evaluate(part, values), dtype=float) for name, part in parts.items()}
    for value in data.values():
        if not np.isfinite(value).all():
            raise ValueError(f"law '{law.name}': a part of its formula that depends on the runs alone is not finite")
    if scatter.counts:
        count = np.round(covariate)
        return data | {"count": count, "successes": np.round(seen * count)}
    data |= {"log_compute": covariate, "seen": seen / scatter.unit}
    return data | ({"unit": np.asarray(scatter.unit)} if law.observed.scale == "linear" else {})


def _split(law: Law) -> tuple[dict[str, Node], dict[str, Node]]:
    return split_law(law, {*law.inputs, *law.constants, "C_ref"})


def log_posterior(law: Law, noise: str) -> Function:
    """The log posterior of a law and noise up to a constant, over the real line of each parameter."""
    trees, parts = _split(law)
    priors = law.priors | NOISES[noise].priors
    definitions: dict[str, Node] = {}
    once: Node = Number(0.0)
    for name, prior in priors.items():
        known = {key: Number(value) for key, value in prior.params.items()} | {"u": Name(_real(name)), "x": Name(name)}
        definitions[name] = substitute(DISTRIBUTIONS[prior.dist].value, known)
        once = Binary("+", once, substitute(DISTRIBUTIONS[prior.dist].log_density, known))
    definitions |= {name: substitute(tree, {part: Name(_data(part)) for part in parts}) for name, tree in trees.items()}
    seen = {name: Name(_data(name)) for name in ("seen", "unit", "log_compute", "count", "successes")}
    seen |= {"predicted": Name(PREDICTED), "share": Name(PREDICTED)}
    if law.observed.scale in RESIDUAL:
        definitions[_data("scale")] = substitute(SCALE, seen)
        definitions[_data("residual")] = substitute(RESIDUAL[law.observed.scale], seen)
    seen |= {name: Name(_data(name)) for name in ("scale", "residual")}
    each = substitute(NOISES[noise].log_density, seen)
    known = {"proportion": ("count", "successes"), "log": ("log_compute", "seen"), "linear": ("log_compute", "seen")}
    scalars, columns = [], list(known[law.observed.scale])
    by_run = set(law.inputs)
    for name, tree in law.where.items():  # in order: each may use those before it
        by_run |= {name} if names(tree) & by_run else set()
    for name, part in parts.items():
        (columns if names(part) & by_run else scalars).append(name)
    scalars += ["unit"] if law.observed.scale == "linear" else []
    data = (tuple(map(_data, names)) for names in (scalars, columns))
    return Function(tuple(map(_real, priors)), *data, definitions, once, each)


def _real(name: str) -> str:
    return f"real {name}"  # no name of a formula has a space


def _data(name: str) -> str:
    return f"data {name}"


@dataclass(frozen=True)
class Model:
    """A log posterior on given runs, over the real line of each parameter.

    Attributes
    ----------
    names : of the parameters, of law and noise, in the order of a position
    function : the log posterior, to be compiled (:func:`bayescale.engine.numba_density.compiled`) or not
    data : what it reads of the runs
    start : where chains may start [start, parameter]
    """

    names: tuple[str, ...]
    function: Function
    data: np.ndarray
    start: np.ndarray


def model_of_runs(law: Law, noise: str, data: Mapping[str, np.ndarray], start: np.ndarray) -> Model:
    """The log posterior of a law and noise on the runs of ``data`` (see :func:`model_data`)."""
    function = _log_posterior(law.text, law.name, noise)
    names = (*law.priors, *NOISES[noise].priors)
    return Model(names, function, model_block(function, data), start)


def model_block(function: Function, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """What :func:`model_data` returns as the function reads it."""
    return block(function, {_data(name): value for name, value in data.items()})


def nutpie_model(model: Model) -> Any:
    """The same as nutpie takes it; every chain starts at one of the rows of ``start``."""
    from nutpie.compile_pymc import CompiledPyMCModel

    def initial_point(chain_seed: Any) -> np.ndarray:
        return model.start[zlib.crc32(np.asarray(chain_seed).tobytes()) % len(model.start)]

    count, code = len(model.names), compiled(model.function)
    return CompiledPyMCModel(
        dims={},
        _coords={},
        _n_dim=count,
        _shapes={name: () for name in model.names},
        compiled_logp_func=code.density,
        compiled_expand_func=code.expand,
        initial_point_func=initial_point,
        shared_data={},
        shared_var_keys={},
        user_data=model.data,
        n_expanded=count,
        shape_info=(list(model.names), [slice(i, i + 1) for i in range(count)], [()] * count),
        logp_func=None,
        expand_func=None,
    )


@functools.lru_cache(maxsize=128)
def _log_posterior(law_text: str, law_name: str, noise: str) -> Function:
    return log_posterior(parse_law(law_text, law_name), noise)


def build_model(law: Law, noise: str, data: Mapping[str, np.ndarray]) -> Any:
    """The PyMC model of the same log posterior; everything that comes from the runs is ``pm.Data``.

    Parameters
    ----------
    data : what :func:`model_data` returns
    """
    import pymc as pm
    import pytensor.tensor as pt
    from pymc.distributions.transforms import logodds

    trees, _ = _split(law)
    value_of = symbolic if any(map(has_level, trees.values())) else evaluate
    with pm.Model() as model:
        given = {name: pm.Data(name, value) for name, value in data.items()}
        values = dict(given)  # where a law has a name like one of these, 'given' keeps what it is
        for name, prior in (law.priors | NOISES[noise].priors).items():
            # PyMC leaves a LogitNormal on (0, 1), where chains run into its walls; on the logit scale there are none
            options = {"default_transform": logodds} if prior.dist == "LogitNormal" else {}
            values[name] = getattr(pm, prior.dist)(name, **prior.params, **options)
        for name, tree in trees.items():
            values[name] = value_of(tree, values)
        mu = values[PREDICTED]
        if law.observed.scale == "proportion":
            alpha, beta = beta_binomial_parameters(mu, values["overdispersion"])
            pm.BetaBinomial("observed", n=given["count"], alpha=alpha, beta=beta, observed=given["successes"])
            return model
        mu = pt.log(mu) if law.observed.scale == "log" else mu / given["unit"]
        scatter = Scatter(noise, law.observed)
        scale = scatter.scale_at(given["log_compute"], values)
        if scatter.robust:
            pm.StudentT("observed", nu=2 + values["nu_minus_2"], mu=mu, sigma=scale, observed=given["seen"])
        else:
            pm.Normal("observed", mu=mu, sigma=scale, observed=given["seen"])
    return model
