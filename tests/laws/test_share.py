"""Shares whose number of items is not known: their log odds scatter."""

import json

import numpy as np
import pytest
from scipy import special, stats

import bayescale
from bayescale.engine.asked import study_of
from bayescale.errors import LawError, RunsError
from bayescale.fitting.default_law import laws_for
from bayescale.laws.law import load_law
from bayescale.laws.law_file import parse_law
from bayescale.laws.own_priors import without_count
from bayescale.laws.scatter import Scatter
from bayescale.laws.shipped import kind_of
from bayescale.study import law_of

LOSS = np.linspace(2.0, 3.5, 24)


def accuracies(seed=1, scatter=0.05):
    """0.2 + 0.7 / (1 + exp(4 (L - 2.7))), log odds off by a normal error."""
    middle = 0.2 + 0.7 * special.expit(-4 * (LOSS - 2.7))
    return special.expit(special.logit(middle) + scatter * np.random.default_rng(seed).standard_normal(24))


def test_a_law_of_a_proportion_without_its_count():
    law = without_count(load_law("accuracy_sigmoid"))
    assert (law.observed.column, law.observed.scale, law.observed.count) == ("accuracy", "share", "")
    assert law.formula == load_law("accuracy_sigmoid").formula and law.name == "accuracy_sigmoid"
    inline = load_law("accuracy_sigmoid").text.replace("[observed]\n", "[observed] # ").replace("[observed] # ", "")
    with pytest.raises(LawError):
        without_count(parse_law("observed = { column = 'y', scale = 'proportion', count = 'n' }\n" + inline, "mine"))


def test_which_law_is_taken():
    table = {"loss": LOSS, "accuracy": accuracies()}
    assert laws_for(table, "accuracy_sigmoid")[0].observed.scale == "share"
    counted = table | {"items": np.full(24, 500.0)}
    assert laws_for(counted, "accuracy_sigmoid")[0] == load_law("accuracy_sigmoid")
    named = laws_for(table | {"n": np.full(24, 500.0)}, "accuracy_sigmoid", {"items": "n"})
    assert named[0].observed.scale == "proportion"


def test_the_density_is_normal_in_log_odds():
    law = without_count(load_law("accuracy_sigmoid"))
    scatter, share = Scatter.of(law, "normal"), np.array([0.2, 0.7])
    seen, values = np.array([0.25, 0.6]), {"sigma": np.array([[0.1]]), "tilt": np.array([[0.0]])}
    covariates = {"log_compute": np.zeros(2)}
    found = scatter.log_density(scatter.transform(seen), share, covariates, values)
    expected = stats.norm(special.logit(share), 0.1 + 1e-4).logpdf(special.logit(seen))
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)
    np.testing.assert_allclose(scatter.inverse(scatter.transform(seen)), seen, rtol=1e-12)
    drawn = scatter.sample(np.full((20_000, 1), 0.95), {"log_compute": np.zeros(1)}, values, np.random.default_rng(0))
    assert ((drawn > 0) & (drawn < 1)).all()
    assert np.std(special.logit(drawn)) == pytest.approx(0.1, rel=0.03)


def test_fit_and_forecast_without_items():
    fit = bayescale.fit({"loss": LOSS, "accuracy": accuracies()}, "accuracy_sigmoid", draws=300, chains=2)
    assert float(fit["posterior"]["sigma"].median()) == pytest.approx(0.05, rel=0.5)
    codes = {note["code"] for note in json.loads(fit.attrs["notes"])}
    assert "uncounted" in codes and "changed_law" not in codes and kind_of(law_of(fit)) == "shipped"
    tree = bayescale.forecast(fit, covariates={"loss": [1.9, 2.7]})
    least, low, high, most = np.quantile(tree["predictions"]["accuracy"], [0.002, 0.05, 0.95, 0.998], axis=(0, 1))
    truth = 0.2 + 0.7 * special.expit(-4 * (np.array([1.9, 2.7]) - 2.7))
    assert ((least < truth) & (truth < most)).all() and (most < 1).all() and (high - low < 0.1).all()


@pytest.mark.parametrize("engine", ["compiled", pytest.param("pymc", marks=pytest.mark.slow)])
def test_fit_and_forecast_with_beta_noise(engine):
    """Constants of sigma = .04; nearly all mass of a high share lies between it and 1."""
    middle, scale = 0.2 + 0.78 * special.expit(-6 * (LOSS - 2.7)), 0.04
    shares = np.random.default_rng(2).beta(middle / scale**2, (1 - middle) / scale**2)
    table = {"loss": LOSS, "accuracy": shares}
    fit = bayescale.fit(table, "accuracy_sigmoid", noise="beta", draws=500, chains=2, engine=engine)
    assert float(fit["posterior"]["sigma"].median()) == pytest.approx(scale, rel=0.5)
    tree = bayescale.forecast(fit, covariates={"loss": [0.5, 2.7]}, measured=[0.97, 0.59])
    drawn = tree["predictions"]["accuracy"]
    low, middle, high = np.quantile(drawn, [0.001, 0.5, 0.999], axis=(0, 1))
    assert ((drawn > 0) & (drawn < 1)).all() and (low < [0.98, 0.59]).all() and (high > [0.98, 0.59]).all()
    assert np.isfinite(tree["predictions_constant_data"]["elpd"]).all()
    seen = bayescale.complete(fit)["posterior_predictive"]["accuracy"]
    held = (seen.quantile(0.05, ("chain", "draw")) < special.logit(shares)).mean()
    assert 0.75 < float(held) <= 1.0
    assert np.isfinite(bayescale.loo(fit)["elpd_loo"]).all()


def test_in_groups_too():
    """Whoever builds a study: a fit, or a model for PyMC."""
    table = {"loss": LOSS, "accuracy": accuracies(), "corpus": ["a", "b"] * (len(LOSS) // 2)}
    study = study_of(table, "accuracy_sigmoid", None, None, "corpus", ["steepness"], None, None)
    assert study.law.observed.scale == "share" and study.law.groups.names == ("a", "b")


def test_shares_of_0_and_1_are_refused():
    table = {"loss": LOSS, "accuracy": np.r_[0.0, accuracies()[1:]]}
    with pytest.raises(
        RunsError,
        match=r"must be above 0 and below 1, as the number of items is not known; accuracy .%. heads percentages",
    ):
        bayescale.fit(table, "accuracy_sigmoid", noise="beta")
