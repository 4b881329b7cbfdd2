"""The groups of ArviZ that a fit computes on demand: prior, predictions of the fitted runs, log prior."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.fitting.doors import opened
from bayescale.fitting.tree import LOG_LIKELIHOOD_MAX, as_dataset, pointwise_log_likelihood
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import law_derived, law_loss, log_weight
from bayescale.laws.priors import log_prior, quantile
from bayescale.study import Study

PRIOR_DRAWS = 1000
PRIOR_DRAWS_WEIGHED = 40_000  # of which weights leave fewer


@one_blas_thread()
def complete(fit: xr.DataTree | Study) -> xr.DataTree:
    """A fit with every group that ArviZ's functions ask for.

    A saved fit has ``posterior``, ``sample_stats``, ``log_likelihood``, ``observed_data`` and ``constant_data``. What
    would double its file is computed here, with the seed of the fit: the same call gives the same draws.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns

    Returns
    -------
    DataTree with the groups of the fit and

    - ``posterior_predictive``: the observed variable of the fitted runs, law and noise [chain, draw, run]
    - ``prior``: parameters and derived quantities [chain, draw], 1000 draws
    - ``prior_predictive``: the observed variable [chain, draw, run]
    - ``log_prior``: log density of every parameter at the draws of the posterior [chain, draw], and ``weights``, of the
      weights that a law was given, up to a constant
    - ``log_likelihood``, where so many runs have none in the fit

    Raises
    ------
    FitError
        If it is no fit, or has more than 5e7 draws times runs.

    Examples
    --------
    >>> sorted(set(bayescale.complete(fit).children) - set(fit.children))
    ['log_prior', 'posterior_predictive', 'prior', 'prior_predictive']
    """
    study = opened(fit)
    posterior, count = study.posterior, study.seen.size
    if (total := study.draw_count * count) > LOG_LIKELIHOOD_MAX:
        raise FitError(
            f"predictions of {count} runs are {total:.2g} numbers; at most {LOG_LIKELIHOOD_MAX:.0e} are kept"
        )
    rng = np.random.default_rng([int(study.attrs["seed"]), 104])
    drawn = {name: posterior[name].transpose("chain", "draw").values for name in study.priors}
    prior = _prior_draws(study, rng)
    of_prior = as_dataset({name: prior[name] for name in prior if name in posterior})
    log_priors = {name: log_prior(prior, drawn[name]) for name, prior in study.priors.items()}
    if study.law.weights:
        log_priors["weights"] = log_weight(study.law, drawn | dict(study.constants))
    tree = study.tree.copy()
    tree["posterior_predictive"] = _predicted(study, drawn, posterior, rng)
    tree["prior"] = xr.DataTree(of_prior)
    tree["prior_predictive"] = _predicted(study, {name: prior[name] for name in study.priors}, of_prior, rng)
    tree["log_prior"] = xr.DataTree(as_dataset(log_priors).assign_coords(posterior.coords))
    if "log_likelihood" not in tree.children:
        density = pointwise_log_likelihood(study, drawn)
        tree["log_likelihood"] = xr.DataTree(_by_run(study, density, posterior))
    return tree


def _prior_draws(study: Study, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws of parameters and derived quantities from priors and weights [chain, draw], as one chain."""
    count = PRIOR_DRAWS_WEIGHED if study.law.weights else PRIOR_DRAWS
    draws = {name: quantile(prior, rng.uniform(size=count)) for name, prior in study.priors.items()}
    draws |= {
        name: np.broadcast_to(value, count)
        for name, value in law_derived(study.law, draws | dict(study.constants)).items()
    }
    if study.law.weights:
        log_weights = np.nan_to_num(log_weight(study.law, draws | dict(study.constants)), nan=-np.inf)
        weights = np.exp(log_weights - log_weights.max())
        chosen = rng.choice(count, PRIOR_DRAWS, p=weights / weights.sum())
        draws = {name: values[chosen] for name, values in draws.items()}
    return {name: values[None, :] for name, values in draws.items()}


def _predicted(study: Study, draws: Mapping[str, np.ndarray], like: xr.Dataset, rng: np.random.Generator) -> Any:
    """What new runs of the same sizes would show, as they are observed: log loss, say [chain, draw, run]."""
    values = {name: x[..., None] for name, x in draws.items()}
    scatter, covariates = study.scatter, study.covariates(values=values)
    with np.errstate(all="ignore"):
        predicted = law_loss(study.law, values | study.inputs() | dict(study.constants))
        predicted = np.broadcast_to(predicted, (*values[next(iter(values))].shape[:2], study.seen.size))
        shown = scatter.sample_transformed(predicted, covariates, values, rng)
    return xr.DataTree(_by_run(study, shown, like))


def _by_run(study: Study, values: np.ndarray, like: xr.Dataset) -> xr.Dataset:
    coords = {"chain": like["chain"].values, "draw": like["draw"].values, "run": study.runs["run"].values}
    return xr.Dataset({study.seen.name: (("chain", "draw", "run"), values)}, coords)
