"""A study's model in PyMC: to read, to extend, to sample."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from bayescale.engine.asked import study_of
from bayescale.engine.density import data_split, observed_data, posterior_data, sum_of_weights
from bayescale.engine.symbolic import symbolic
from bayescale.errors import FitError
from bayescale.field import names_text
from bayescale.laws.data_split import has_level
from bayescale.laws.formula import Number, evaluate
from bayescale.laws.groups import GROUP
from bayescale.laws.input_errors import known_variance
from bayescale.laws.law import Law, column, with_where
from bayescale.laws.limits import PREDICTED
from bayescale.laws.noises import NOISES, SHARE_EDGE
from bayescale.laws.scatter import log_above_of_run
from bayescale.runs.roles import CENSORED
from bayescale.study import Study


def pymc_model(
    runs: Any,
    law: "str | os.PathLike[str] | Law | None" = None,
    *,
    noise: str | None = None,
    priors: Mapping[str, Any] | None = None,
    group: str | None = None,
    by: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Any:
    """The posterior that :func:`bayescale.fit` samples, as a PyMC model: to read, to extend, to sample by other means.

    log_loss_i ~ StudentT(2 + nu_minus_2, mu_i, 1e-4 + sigma * exp(tilt * log_compute_i)), mu_i = log L(N_i, D_i).

    Parameters
    ----------
    runs, law, noise, priors, group, by, columns, units : as in :func:`bayescale.fit`; weights are the potential
        ``weights``

    Returns
    -------
    ``pymc.Model`` with the coordinate ``run``. Free variables are the parameters of law and noise, with the priors of
    the law file. Deterministics are the law's derived quantities, such as the papers' E, A, B, alpha, beta and a, and
    ``mu`` [run]. Observed is ``log_loss`` [run], or what else the law explains, by its name. As ``pm.Data`` it has the
    columns that the law uses [run], the reference constants, ``log_compute`` (log(C / C_ref)) and ``seen``, the
    observed values [run].

    Raises
    ------
    RunsError, LawError, FitError
        As in :func:`bayescale.fit`; FitError too if the law has a name that the model uses itself, such as ``mu``.

    Examples
    --------
    >>> model = bayescale.pymc_model(runs, "chinchilla")
    >>> [variable.name for variable in model.free_RVs][:2]
    ['level', 'slope']
    """
    return build_model(study_of(runs, law, noise, priors, group, by, columns, units))


def build_model(study: Study) -> Any:
    """The ``pymc.Model`` of a study: runs and reference constants as data, priors, the law, and how runs scatter.

    Raises FitError if a part of the law's formula that depends on the runs alone is not finite, or if the law gives a
    name of its own to something that the model names itself.
    """
    import pymc as pm

    posterior_data(study)  # for its checks
    _check_names(study)
    law = study.law
    with pm.Model(coords={"run": study.runs["run"].values}) as model:
        inputs = {symbol: pm.Data(column(symbol), x, dims="run") for symbol, x in study.inputs().items()}
        constants = {name: pm.Data(name, study.constants[name]) for name in law.constants}
        parameters = {name: _prior(name, prior) for name, prior in study.priors.items()}
        values = _law_values(study, inputs | constants, parameters)
        for name, quantity in {**law.derived, **study.scatter.derived}.items():
            if name not in model.named_vars:
                pm.Deterministic(name, evaluate(quantity.tree, values))
        if law.weights:
            pm.Potential("weights", evaluate(sum_of_weights(law, Number(0.0)), values))
        _observe(study, values)
    return model


def _check_names(study: Study) -> None:
    taken = {
        "mu",
        "weights",
        "seen",
        "log_compute",
        *study.known,
        "count",
        "successes",
        study.law.observed.variable,
        *study.constants,
    }
    given = [*study.priors, *study.law.derived, *study.scatter.derived, *map(column, study.law.inputs)]
    if clash := taken & set(given):
        raise FitError(
            f"law '{study.law.name}': PyMC's model uses the names {names_text(clash)} itself; "
            "choose other names in the law file"
        )


def _law_values(study: Study, data: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Every name of the law's formulas, and what they predict, from the data and parameters of the model.

    Sub-expressions that the law reports too (``alpha``) are Deterministics.
    """
    import pymc as pm

    values = with_where(study.law, data)
    # what depends on runs and constants alone is computed of them
    formulas, parts = data_split(study.law, study.scatter.noise, study.known)
    values |= {name: evaluate(part, values) for name, part in parts.items()}
    values |= parameters
    value_of = symbolic if any(map(has_level, formulas.values())) else evaluate
    for name, tree in formulas.items():
        values[name] = value_of(tree, values)
        if name in study.law.derived and study.law.derived[name].formula == name:
            values[name] = pm.Deterministic(name, values[name])
    return values


def _observe(study: Study, values: dict[str, Any]) -> None:
    """How the runs scatter around the law: ``mu`` [run] and the observed variable [run], in the model at hand."""
    import pymc as pm
    import pytensor.tensor as pt

    scatter, predicted, hidden = study.scatter, values[PREDICTED], None
    if scatter.counts:
        count, seen = (pm.Data(key, x, dims="run") for key, x in observed_data(study).items())
        known = {"count": count, "mu": pm.Deterministic("mu", predicted, dims="run")}
    else:
        covariates = {"log_compute": study.covariates(study.runs)["log_compute"], **study.known_data}
        covariates = {key: pm.Data(key, x, dims="run") for key, x in covariates.items()}
        scattering = {
            "log": pt.log,
            "share": lambda share: pt.log(share) - pt.log1p(-share),
            "linear": lambda value: value,
        }
        mu = scattering[study.law.observed.scale](predicted)
        known = {"mu": pm.Deterministic("mu", mu, dims="run")}
        hidden = covariates.get(CENSORED)
        if study.known_errors:
            read = values | covariates | {"predicted": predicted, "unit": scatter.unit}
            variance = evaluate(known_variance(study.law.observed.scale, study.known, scatter.noise), read)
            covariates["known_variance"] = variance
        covariates |= {GROUP: values[GROUP]} if scatter.groups else {}
        known["scale"] = scatter.unit * scatter.scale_at(covariates, values)
        seen = pm.Data("seen", study.seen.values, dims="run")
    distribution, formulas = NOISES[scatter.noise].pymc
    arguments = {key: evaluate(formula, values | known | {"share": predicted}) for key, formula in formulas.items()}
    if hidden is not None:
        _observe_censored(study, distribution, arguments, hidden, seen)
    elif NOISES[scatter.noise].of_share:
        _observe_log_odds(study, distribution, arguments, seen)
    else:
        getattr(pm, distribution)(study.law.observed.variable, **arguments, observed=seen, dims="run")


def _observe_log_odds(study: Study, distribution: str, arguments: Mapping[str, Any], seen: Any) -> None:
    """Log odds of shares of this distribution: with every noise a share is observed by the same variable."""
    import pymc as pm
    import pytensor.tensor as pt

    def share(*given: Any) -> Any:
        return getattr(pm, distribution).dist(**dict(zip(arguments, given, strict=True)))

    def log_odds(*given: Any) -> Any:
        inside = pt.clip(share(*given[: len(arguments)]), SHARE_EDGE, 1 - SHARE_EDGE)
        return pt.log(inside) - pt.log1p(-inside)

    def log_density(value: Any, *given: Any) -> Any:
        return pm.logp(share(*given), pt.sigmoid(value)) - pt.softplus(value) - pt.softplus(-value)

    pm.CustomDist(
        study.law.observed.variable, *arguments.values(), dist=log_odds, logp=log_density, observed=seen, dims="run"
    )


def _observe_censored(study: Study, distribution: str, arguments: Mapping[str, Any], hidden: Any, seen: Any) -> None:
    """Runs of which some show at least what was seen.

    Not ``pm.Censored``: PyMC has the log probability above by one minus the one below, which is 0 in the tail.
    """
    import pymc as pm
    import pytensor.tensor as pt

    def run(*given: Any) -> Any:
        return getattr(pm, distribution).dist(**dict(zip(arguments, given, strict=True)))

    def log_density(value: Any, *rest: Any) -> Any:
        *given, hidden = rest
        known = dict(zip(arguments, given, strict=True))
        known |= {"excess": pt.switch(hidden > 0, (value - known["mu"]) / known["sigma"], 0.0)}
        known |= {"nu_minus_2": known["nu"] - 2} if "nu" in known else {}
        above = evaluate(log_above_of_run(study.scatter.noise), known)
        return pt.switch(hidden > 0, above, pm.logp(run(*given), value))

    pm.CustomDist(
        study.law.observed.variable,
        *arguments.values(),
        hidden,
        dist=lambda *given: run(*given[: len(arguments)]),
        logp=log_density,
        observed=seen,
        dims="run",
    )


def _prior(name: str, prior: Any) -> Any:
    import pymc as pm
    from pymc.distributions.transforms import logodds

    # PyMC samples a LogitNormal on (0, 1), where chains hit the bounds; the logit scale has none
    options = {"default_transform": logodds} if prior.dist == "LogitNormal" else {}
    return getattr(pm, prior.dist)(name, **prior.params, **options)
