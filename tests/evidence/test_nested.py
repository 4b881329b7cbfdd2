"""Savage-Dickey against closed forms; answers in words."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescale.evidence.nested import QUESTIONS, nested_questions
from bayescale.laws.law import load_law

Q, LEAN, FLOOR = QUESTIONS


def ask(fit, question, comparison=None):
    return next(one for one in nested_questions(fit, comparison) if one.parameter == question.parameter)


@pytest.fixture(scope="module")
def coupled(make_fit, crossed_runs):
    """A fit of 'coupled' by hand, whose log q is normal of the given mean and sd: its quantiles, in any order."""

    def make(mean=0.0, sd=0.1, draws=4000, lean=0.0, **report):
        rng = np.random.default_rng(8)
        values = {"level": 1.3, "slope": 0.1, "floor": 0.6, "share": 0.5}
        log_q = mean + sd * rng.permutation(stats.norm.ppf((np.arange(draws) + 0.5) / draws))
        values |= {"q": np.exp(log_q), "lean": lean + 0.1 * rng.standard_normal(draws)}
        return make_fit("coupled", values, crossed_runs(), **report)

    return make


@pytest.mark.parametrize("mean", [0.0, 0.1, -0.2])
def test_bayes_factor_by_closed_form(coupled, mean):
    sd, prior_sd = 0.1, load_law("coupled").priors["q"].params["sigma"]
    answer = ask(coupled(mean, sd), Q)
    exact = stats.norm(mean, sd).pdf(0.0) / stats.norm(0, prior_sd).pdf(0.0)
    assert answer.bayes_factor == pytest.approx(exact, rel=0.2)
    assert not answer.bound and answer.log10_se < 0.1
    assert answer.below == pytest.approx(stats.norm(mean, sd).cdf(0.0), abs=0.02)
    assert answer.band[1] == pytest.approx(np.exp(mean), rel=0.02)


def test_far_value_gives_an_order_of_magnitude_and_no(coupled):
    answer = ask(coupled(-1.0, 0.1), Q)
    exact = stats.norm(-1.0, 0.1).pdf(0.0) / stats.norm(0, 0.4).pdf(0.0)
    assert answer.bound and abs(np.log10(answer.bayes_factor / exact)) < 2
    assert answer.verdict == "no" and "about" in answer.says and "P(q < 1) = 1.000" in answer.says


def test_narrow_posterior_at_the_value_says_yes(coupled):
    answer = ask(coupled(0.0, 0.02), Q)
    assert answer.verdict == "yes" and answer.bayes_factor > 10


def test_edge_of_the_prior_has_no_bayes_factor(coupled):
    answer = ask(coupled(), FLOOR)
    assert np.isnan(answer.bayes_factor) and "0 is at the edge of the prior" in answer.says
    assert answer.verdict == "open" and "compare with the law 'generalized_kaplan'" in answer.says


def comparison(law, nested, differences, converged=(True, True)):
    pointwise = np.stack([np.zeros(len(differences)), np.asarray(differences)])
    scores = {"elpd_i": (("law", "run"), pointwise), "converged": ("law", list(converged))}
    return xr.Dataset(scores, coords={"law": [law, nested]}, attrs={"kind": "compare"})


def test_loo_against_the_nested_law_is_told(coupled):
    beside = comparison("coupled", "generalized_kaplan", np.full(24, -1.0) + 0.1 * np.arange(24) / 24)
    answer = ask(coupled(), FLOOR, beside)
    assert answer.d_elpd == pytest.approx(-24 + 0.1 * 23 / 2) and answer.verdict == "no"
    assert "elpd_loo of 'generalized_kaplan' -22.9 +- 0.1" in answer.says
    unconverged = comparison("coupled", "generalized_kaplan", np.full(24, -1.0), (True, False))
    assert np.isnan(ask(coupled(), FLOOR, unconverged).d_elpd)


def test_questions_a_law_can_be_asked(coupled, true_fit):
    assert [answer.parameter for answer in nested_questions(coupled())] == ["q", "lean", "floor"]
    assert [answer.parameter for answer in nested_questions(true_fit(draws=400))] == ["lean", "floor"]


def test_unconverged_fit_answers_nothing(coupled):
    assert "did not converge" in ask(coupled(converged=False), Q).verdict


def test_the_nested_laws_are_the_law_at_the_value(rng):
    """coupled at q = 1 is chinchilla, so that its Bayes factor is that of the two laws: same formula, same priors."""
    from bayescale.laws.law import law_loss

    coupled, chinchilla = load_law("coupled"), load_law("chinchilla")
    assert {name: str(prior) for name, prior in coupled.priors.items() if name != "q"} == {
        name: str(prior) for name, prior in chinchilla.priors.items()
    }
    values = {"level": 1.2, "slope": 0.08, "lean": 0.3, "floor": 0.6, "share": 0.4, "N_ref": 1e9, "D_ref": 2e10}
    values |= {"L_ref": 2.0, "N": rng.uniform(1e7, 1e10, 9), "D": rng.uniform(1e9, 1e12, 9)}
    np.testing.assert_allclose(law_loss(coupled, values | {"q": 1.0}), law_loss(chinchilla, values))
