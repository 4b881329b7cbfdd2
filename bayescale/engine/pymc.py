"""A study's model in PyMC, to read, extend and sample; and as an engine for the same posterior."""

import functools
import warnings
from typing import Any

import numpy as np

from bayescale.engine.density import data_split, observed_data, posterior_data
from bayescale.engine.model import Code, Model
from bayescale.engine.symbolic import symbolic
from bayescale.laws.data_split import has_level
from bayescale.laws.formula import evaluate
from bayescale.laws.law import column, with_where
from bayescale.laws.limits import PREDICTED
from bayescale.laws.scatter import beta_binomial_parameters
from bayescale.study import Study


def build_model(study: Study) -> Any:
    """The ``pymc.Model`` of a study: columns [run] and reference constants as data, then priors, law and scatter.

    Raises
    ------
    FitError
        If a part of the law's formula that depends on the runs alone is not finite.
    """
    import pymc as pm
    import pytensor.tensor as pt

    posterior_data(study)  # for its checks
    law, scatter, shown = study.law, study.scatter, observed_data(study)
    with pm.Model(coords={"run": study.runs["run"].values}) as model:
        inputs = {symbol: pm.Data(column(symbol), x, dims="run") for symbol, x in study.inputs().items()}
        constants = {name: pm.Data(name, x) for name, x in study.constants.items()}
        names = ("count", "successes") if scatter.counts else ("log_compute", "seen")
        covariate, seen = (pm.Data(name, shown[name], dims="run") for name in names)

        values = with_where(law, inputs | constants)
        formulas, parts = data_split(law)  # what depends on runs and constants alone is computed of them
        values |= {name: evaluate(part, values) for name, part in parts.items()}
        values |= {name: _prior(name, prior) for name, prior in study.priors.items()}
        noise = {name: values[name] for name in scatter.priors}
        value_of = symbolic if any(map(has_level, formulas.values())) else evaluate
        for name, tree in formulas.items():
            values[name] = value_of(tree, values)

        if scatter.counts:
            alpha, beta = beta_binomial_parameters(values[PREDICTED], noise["overdispersion"])
            pm.BetaBinomial("observed", n=covariate, alpha=alpha, beta=beta, observed=seen, dims="run")
            return model
        mu = pt.log(values[PREDICTED]) if law.observed.scale == "log" else values[PREDICTED] / scatter.unit
        about = {"mu": mu, "sigma": scatter.scale_at(covariate, noise), "observed": seen, "dims": "run"}
        if scatter.robust:
            pm.StudentT("observed", nu=2 + noise["nu_minus_2"], **about)
        else:
            pm.Normal("observed", **about)
    return model


def _prior(name: str, prior: Any) -> Any:
    import pymc as pm
    from pymc.distributions.transforms import logodds

    # PyMC samples a LogitNormal on (0, 1), where chains hit the bounds; the logit scale has none
    options = {"default_transform": logodds} if prior.dist == "LogitNormal" else {}
    return getattr(pm, prior.dist)(name, **prior.params, **options)


def pymc_model(study: Study, start: np.ndarray) -> Model:
    """The log posterior of a study as PyMC computes it, compiled by Numba; chains may start at ``start``."""
    built = build_model(study)
    return Model(tuple(study.priors), study.runs.sizes["run"], start, functools.cache(lambda: _code_of(built)))


def _code_of(built: Any) -> Code:
    import numba
    from numba import types
    from nutpie import compile_pymc_model

    doubles = types.CPointer(types.double)

    @numba.cfunc(types.int64(types.uint64, types.uint64, doubles, doubles, types.voidptr))
    def expand(dim, expanded, position, out, data):
        for i in range(dim):
            out[i] = position[i]
        return 0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = compile_pymc_model(built)
    return Code(made.compiled_logp_func, expand, made.user_data, made.shared_data)
