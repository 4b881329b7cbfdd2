"""What is said of priors that were given: what they are, and whether they contradict the runs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bayescale.field import number_text
from bayescale.laws.beliefs import Belief
from bayescale.laws.formula import evaluate
from bayescale.laws.law import with_where
from bayescale.laws.own_priors import without_beliefs
from bayescale.laws.priors import quantile
from bayescale.laws.scatter import Scatter
from bayescale.study import Study

CONFLICT_SD = 3.0  # between prior and runs, in sd of their difference, above which they contradict each other
PRIOR_QUANTILES = np.linspace(0.0005, 0.9995, 1000)


def prior_notes(study: Study, posterior_of: Callable[[Study], tuple[Mapping[str, Any], Any]]) -> list[dict[str, Any]]:
    """Notes on the priors that the law of a study was given; none of a law as its file is.

    Parameters
    ----------
    posterior_of : of a study: its convergence, and its posterior by parameter [chain, draw]
    """
    beliefs = study.law.beliefs
    if not beliefs:
        return []
    told = [f"{name} ~ {belief.prior}{' (a weight)' if belief.weight else ''}" for name, belief in beliefs.items()]
    notes = [_note("priors_given", "info", f"priors were given: {'; '.join(told)}; losses in nats")]
    law = without_beliefs(study.law)
    plain = Study.bound(law, Scatter.of(law, study.scatter.noise), study.runs, study.constants)
    convergence, posterior = posterior_of(plain)
    if not convergence["converged"]:
        text = "whether the given priors contradict the runs is not known: without them the chains do not converge"
        return [*notes, _note("prior_unchecked", "warning", text)]
    values = {name: np.ravel(posterior[name]) for name in study.priors} | dict(study.constants)
    values = with_where(study.law, values)
    said = (_conflict(name, belief, evaluate(belief.tree, values)) for name, belief in beliefs.items())
    return [*notes, *(_note("prior_conflict", "warning", text) for text in said if text)]


def _conflict(name: str, belief: Belief, by_runs: np.ndarray) -> str:
    """What is said where a prior and the posterior without it are far apart, or an empty text."""
    prior = quantile(belief.prior, PRIOR_QUANTILES)
    scale = np.log if belief.prior.dist == "LogNormal" and (by_runs > 0).all() else np.asarray
    (low, middle, high), (least, centre, most) = (np.quantile(scale(x), [0.16, 0.5, 0.84]) for x in (by_runs, prior))
    apart = abs(middle - centre) / max(np.hypot(high - low, most - least) / 2, 1e-300)
    if not apart > CONFLICT_SD:
        return ""
    q05, q50, q95 = (number_text(x) for x in np.quantile(by_runs, [0.05, 0.5, 0.95]))
    return (
        f"the prior of {name} and the runs contradict each other: the prior says {belief.prior}, the runs without it "
        f"{q50} (90 % band {q05} to {q95}), {apart:.1f} sd apart; one of the two is wrong, or the law is"
    )


def _note(code: str, severity: str, text: str) -> dict[str, Any]:
    return {"code": code, "severity": severity, "text": text, "rows": []}
