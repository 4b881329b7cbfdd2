"""Nested questions: is q = 1, is alpha = beta, is E = 0? Posterior mass, Savage-Dickey where it is valid, LOO."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bayescale.field import number_text
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.doors import opened, opened_result
from bayescale.laws.priors import FARTHEST_PRIOR_SD, Prior, to_normal
from bayescale.study import Study

TAIL_SHARE = 0.002  # of the draws on either side, where a density estimate fails
DECISIVE_BAYES_FACTOR = 10.0


@dataclass(frozen=True)
class Question:
    """A parameter at which a law turns into a simpler one."""

    parameter: str
    value: float
    asks: str
    nested: Mapping[str, str]  # law -> the law it turns into there


QUESTIONS = (
    Question("q", 1.0, "is q = 1 (the shortages of N and D simply add)?", {"coupled": "chinchilla"}),
    Question("lean", 0.0, "is alpha = beta (one exponent for N and D)?", {"chinchilla": "shared_exponent"}),
    Question("floor", 0.0, "is E = 0 (no irreducible loss)?", {"coupled": "generalized_kaplan"}),
)


@dataclass(frozen=True)
class Answer:
    """What a fit says to a nested question.

    Attributes
    ----------
    band : q05, q50 and q95 of the parameter
    below : posterior probability of the parameter below the value
    bayes_factor : for the value against the law with the parameter free; NaN where Savage-Dickey is not valid
    log10_se : Monte Carlo standard error of its log10
    bound : the value lies beyond the draws, and the Bayes factor, by a normal tail, is an order of magnitude
    d_elpd, d_se : elpd_loo of the nested law minus that of the law, NaN when the nested law was not compared
    says : the answer in plain words
    """

    law: str
    question: str
    parameter: str
    value: float
    band: tuple[float, float, float]
    below: float
    bayes_factor: float
    log10_se: float
    bound: bool
    nested: str
    d_elpd: float
    d_se: float
    verdict: str
    says: str


def nested_questions(fit: xr.DataTree | Study, comparison: xr.Dataset | None = None) -> list[Answer]:
    """Is a parameter equal to a value, at which the law turns into a simpler one? Every question of QUESTIONS.

    Savage and Dickey: the Bayes factor of the value against the free parameter is posterior over prior density there,
    provided the prior has density there and the simpler law keeps the priors of everything else. At an edge of the
    support (E = 0) it has none, and LOO against the simpler law is the answer. All of this takes the law to be right.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    comparison : of this law with others, :func:`bayescale.compare`; where the nested law is among them its LOO is told

    Returns
    -------
    An answer to each question that the law can be asked: posterior mass, Bayes factor and LOO, each where it is
    defined, and a sentence.

    Raises
    ------
    FitError
        If it is no fit, or ``comparison`` is no comparison.

    Notes
    -----
    Dickey 1971, doi:10.1214/aoms/1177693507. A Bayes factor depends on the width of the prior, LOO hardly.

    Examples
    --------
    >>> bayescale.nested_questions(fit)[0].question
    'is alpha = beta (one exponent for N and D)?'
    """
    study = opened(fit)
    comparison = None if comparison is None else opened_result(comparison, "compare")
    return [answer_to(study, one, comparison) for one in QUESTIONS if one.parameter in study.law.priors]


def answer_to(study: Study, question: Question, comparison: xr.Dataset | None = None) -> Answer:
    """The answer to one question about a parameter of the study's law."""
    law, name, value = study.law, question.parameter, question.value
    draws = study.posterior[name].transpose("chain", "draw").values
    low, middle, high = (float(q) for q in np.quantile(draws, [0.05, 0.5, 0.95]))
    factor, error, bound = _savage_dickey(law.priors[name], draws, value)
    nested = question.nested.get(law.name, "")
    d_elpd, d_se = _loo_difference(comparison, law.name, nested)
    verdict = _verdict(low <= value <= high, factor, d_elpd, d_se)
    if not diagnostics(study)["converged"]:
        verdict = "unknown: the fit did not converge"
    answer = Answer(
        law=law.name,
        question=question.asks,
        parameter=name,
        value=value,
        band=(low, middle, high),
        below=float((draws < value).mean()),
        bayes_factor=factor,
        log10_se=error,
        bound=bound,
        nested=nested,
        d_elpd=d_elpd,
        d_se=d_se,
        verdict=verdict,
        says="",
    )
    return replace(answer, says=_says(answer, law.priors[name]))


def _savage_dickey(prior: Prior, draws: np.ndarray, value: float) -> tuple[float, float, bool]:
    """Bayes factor, standard error of its log10, and whether the value lies beyond the draws.

    Both densities are taken on the scale where the prior is a standard normal; draws are [chain, draw].
    """
    from scipy.stats import gaussian_kde, norm

    z0 = float(to_normal(prior, value, FARTHEST_PRIOR_SD, 20_001))
    if abs(z0) >= FARTHEST_PRIOR_SD * 0.999:  # an edge of the support, or beyond it
        return float("nan"), float("nan"), False
    z = np.asarray(to_normal(prior, draws, FARTHEST_PRIOR_SD, 20_001))
    low, high = np.quantile(z, [TAIL_SHARE, 1 - TAIL_SHARE])
    bound = not low <= z0 <= high
    at = min(max(z0, low), high)
    density = gaussian_kde(z.ravel())(at)[0]
    chains = np.array([gaussian_kde(chain)(at)[0] for chain in z])
    error = chains.std(ddof=1) / np.sqrt(len(chains)) / density / np.log(10) if len(chains) > 1 else float("nan")
    if bound:
        density = min(density, norm.pdf(z0, z.mean(), z.std()))
    return float(density / norm.pdf(z0)), float(error), bool(bound)


def _loo_difference(comparison: xr.Dataset | None, law: str, nested: str) -> tuple[float, float]:
    if comparison is None or not {law, nested} <= set(map(str, comparison["law"].values)):
        return float("nan"), float("nan")
    pair = comparison.sel(law=[nested, law])
    if not pair["converged"].all():
        return float("nan"), float("nan")
    difference = (pair["elpd_i"].isel(law=0) - pair["elpd_i"].isel(law=1)).values
    return float(difference.sum()), float(np.sqrt(difference.size) * difference.std(ddof=1))


def _verdict(inside: bool, factor: float, d_elpd: float, d_se: float) -> str:
    """'no', 'yes' or 'open', from the Bayes factor where there is one and the value's being ``inside`` the band, else
    from LOO."""
    if np.isfinite(factor):
        no, yes = factor < 1 / DECISIVE_BAYES_FACTOR and not inside, factor > DECISIVE_BAYES_FACTOR and inside
        return "no" if no else "yes" if yes else "open"
    if np.isfinite(d_elpd):
        return "no" if d_elpd < -max(2 * d_se, 4.0) else "yes" if d_elpd > max(2 * d_se, 4.0) else "open"
    return "open"


def _says(answer: Answer, prior: Prior) -> str:
    name, value, (low, middle, high) = answer.parameter, answer.value, answer.band
    parts = [f"{name} = {number_text(middle)} [{number_text(low)}, {number_text(high)}]"]
    if np.isfinite(answer.bayes_factor):
        parts[0] += f", P({name} < {value:g}) = {answer.below:.3f}"
        parts.append(
            f"Bayes factor for {name} = {value:g}: {'about ' if answer.bound else ''}"
            f"{number_text(answer.bayes_factor, 2)} (with the prior {prior})"
        )
    else:
        parts.append(f"{value:g} is at the edge of the prior, so that no Bayes factor exists")
    if np.isfinite(answer.d_elpd):
        parts.append(f"elpd_loo of '{answer.nested}' {answer.d_elpd:+.1f} +- {answer.d_se:.1f}")
    elif answer.nested:
        parts.append(f"compare with the law '{answer.nested}' for its LOO")
    return f"law '{answer.law}', {answer.question} {answer.verdict.capitalize()}: {'; '.join(parts)}."
