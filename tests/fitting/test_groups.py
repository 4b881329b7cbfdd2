"""All groups of ArviZ, and all of its functions on a fit that was saved and opened."""

import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayescale
from bayescale.errors import FitError
from bayescale.fitting.groups import complete
from bayescale.laws.own_priors import with_priors

GROUPS = {
    *("posterior", "posterior_predictive", "prior", "prior_predictive", "log_likelihood", "log_prior"),
    *("sample_stats", "observed_data", "constant_data"),
}


@pytest.fixture(scope="module")
def saved(sampled, tmp_path_factory):
    return bayescale.open_fit(bayescale.save_fit(sampled, tmp_path_factory.mktemp("groups") / "fit.nc"))


@pytest.fixture(scope="module")
def whole(saved):
    return complete(saved)


def test_every_group_has_its_dims_and_coords(whole, saved, pile):
    assert set(whole.children) == GROUPS and set(saved.children) < GROUPS
    runs = list(pile["run"].values)
    for group in ("posterior_predictive", "prior_predictive", "log_likelihood"):
        values = whole[group]["log_loss"]
        assert values.dims == ("chain", "draw", "run") and list(values["run"].values) == runs, group
    for group in ("prior", "log_prior", "posterior"):
        assert all(values.dims == ("chain", "draw") for values in whole[group].data_vars.values()), group
    assert set(whole["prior"].data_vars) == set(whole["posterior"].data_vars)
    for group in ("posterior", "log_prior", "posterior_predictive", "sample_stats"):
        assert whole[group]["chain"].size == 4 and whole[group]["draw"].size == saved["posterior"]["draw"].size, group
    xr.testing.assert_identical(whole["posterior"].to_dataset(), saved["posterior"].to_dataset())


def test_the_same_call_gives_the_same_draws_and_can_be_saved(whole, saved, tmp_path):
    again = complete(saved)
    for group in GROUPS:
        xr.testing.assert_identical(whole[group].to_dataset(), again[group].to_dataset())
    opened = bayescale.open_fit(bayescale.save_fit(whole, tmp_path / "whole.nc"))
    assert set(opened.children) == GROUPS
    xr.testing.assert_allclose(opened["prior_predictive"].to_dataset(), whole["prior_predictive"].to_dataset())


def test_log_prior_is_scipys(whole):
    posterior, law = whole["posterior"], bayescale.load_law("chinchilla")
    p = law.priors["level"].params
    expected = stats.lognorm(p["sigma"], scale=np.exp(p["mu"])).logpdf(posterior["level"])
    np.testing.assert_allclose(whole["log_prior"]["level"], expected, atol=2e-3)
    expected = stats.gamma(2.0, scale=10.0).logpdf(posterior["nu_minus_2"])
    np.testing.assert_allclose(whole["log_prior"]["nu_minus_2"], expected, atol=2e-3)


def test_predictions_scatter_around_the_law_as_the_noise_says(whole, pile):
    """The probability transform of a prediction by its own noise is uniform, draw by draw."""
    from bayescale.laws.law import law_loss
    from bayescale.study import Study

    study = Study.opened(whole)
    values = {name: whole["posterior"][name].values[..., None] for name in study.priors}
    predicted = law_loss(study.law, values | study.inputs() | dict(study.constants))
    shown = whole["posterior_predictive"]["log_loss"].values
    u = study.scatter.cdf(shown, predicted, study.covariates(), values)
    assert stats.kstest(u.ravel()[::7], "uniform").pvalue > 1e-4
    assert abs(float(np.mean(u < 0.1)) - 0.1) < 0.01


def test_weights_of_a_law_count_in_its_prior(make_fit, pile, saved):
    law = with_priors("chinchilla", {"alpha": "Normal(0.34, 0.02)"})
    draws = {name: saved["posterior"][name].values.ravel()[:400] for name in bayescale.load_law("chinchilla").priors}
    whole = complete(make_fit(law, draws, pile))
    assert abs(float(whole["prior"]["alpha"].mean()) - 0.34) < 0.01 and float(whole["prior"]["alpha"].std()) < 0.03
    alpha, weights = whole["posterior"]["alpha"].values, whole["log_prior"]["weights"].values
    np.testing.assert_allclose(
        weights - weights[0, 0], -0.5 * (((alpha - 0.34) / 0.02) ** 2 - ((alpha[0, 0] - 0.34) / 0.02) ** 2)
    )


def test_what_is_too_large_is_refused(saved, monkeypatch):
    monkeypatch.setattr("bayescale.fitting.groups.LOG_LIKELIHOOD_MAX", 1000)
    values = 23 * saved["posterior"]["level"].size
    with pytest.raises(
        FitError, match=re.escape(f"predictions of 23 runs are {values:.2g} numbers; at most 1e+03 are kept")
    ):
        complete(saved)


@pytest.mark.parametrize("law", ["coverage", "error_of_loss"])
def test_laws_of_other_quantities_have_all_groups_too(law, make_fit, design, rng):
    law = bayescale.load_law(law)
    inputs, references = design(law, rng)
    middle = {name: float(bayescale.laws.priors.quantile(prior, 0.5)) for name, prior in law.priors.items()}
    from bayescale.laws.law import column, law_loss

    shown = np.broadcast_to(law_loss(law, middle | inputs | references), 40)
    runs = {column(name): values for name, values in inputs.items()}
    runs |= {law.observed.column: np.clip(shown, 0.05, 0.95)}
    runs |= {law.observed.count: np.full(40, 100.0)} if law.observed.count else {}
    whole = complete(make_fit(law, middle, runs))
    assert set(whole.children) == GROUPS
    assert np.isfinite(whole["posterior_predictive"][law.observed.variable]).all()


# ---- ArviZ's functions on a fit that was opened ----------------------------------------------------------------------

STATS = {
    "summary": lambda az, fit, whole: az.summary(fit, var_names=["E", "alpha", "beta", "a"]),
    "loo": lambda az, fit, whole: az.loo(fit),
    "compare": lambda az, fit, whole: az.compare(
        {"a": az.loo(fit, pointwise=True), "b": az.loo(whole, pointwise=True)}
    ),
    "loo_pit": lambda az, fit, whole: az.loo_pit(whole),
    "psense_summary": lambda az, fit, whole: az.psense_summary(whole, var_names=["E", "alpha"]),
}
NAMES = ["E", "alpha"]
PLOTS = {
    "plot_ppc_dist": lambda az, whole: az.plot_ppc_dist(whole),
    "plot_ppc_pit": lambda az, whole: az.plot_ppc_pit(whole),
    "plot_loo_pit": lambda az, whole: az.plot_loo_pit(whole),
    "plot_prior_posterior": lambda az, whole: az.plot_prior_posterior(whole, var_names=NAMES),
    "plot_trace_dist": lambda az, whole: az.plot_trace_dist(whole, var_names=NAMES),
    "plot_pair": lambda az, whole: az.plot_pair(whole, var_names=NAMES),
    "plot_forest": lambda az, whole: az.plot_forest(whole, var_names=NAMES),
    "plot_rank": lambda az, whole: az.plot_rank(whole, var_names=NAMES),
    "plot_energy": lambda az, whole: az.plot_energy(whole),
    "plot_khat": lambda az, whole: az.plot_khat(_elpd(whole)),
}


def _elpd(whole):
    import arviz_stats

    return arviz_stats.loo(whole, pointwise=True)


@pytest.mark.parametrize("name", STATS)
def test_statistics(name, saved, whole):
    import arviz_stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pareto k above its limit
        found = STATS[name](arviz_stats, saved, whole)
    if name == "summary":
        assert list(found.index) == ["E", "alpha", "beta", "a"]
    elif name == "loo":
        assert found.elpd == pytest.approx(bayescale.loo(saved, mend=False).attrs.get("elpd", found.elpd), abs=0.5)
    elif name == "loo_pit":
        assert ((found["log_loss"] >= 0) & (found["log_loss"] <= 1)).all()
    else:
        assert len(found) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", PLOTS)
def test_plots(name, whole):
    arviz_plots = pytest.importorskip("arviz_plots", reason="pip install arviz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert PLOTS[name](arviz_plots, whole) is not None
    plt.close("all")
