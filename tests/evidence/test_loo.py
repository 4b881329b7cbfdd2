"""PSIS-LOO against ArviZ and closed forms; refits; groups; LOO-PIT."""

import json

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

from bayescale.errors import FitError
from bayescale.evidence import loo as module
from bayescale.evidence.loo import group_runs, log_likelihood, loo, sum_groups

FLAT = """title = "One level"
cite = "tests"
formula = "L_ref * level * (N/N_ref)**(-slope)"
[priors]
level = { dist = "LogNormal", mu = 0.0, sigma = 1.0, about = "level" }
slope = { dist = "LogNormal", mu = -2.0, sigma = 1.0, about = "slope" }
"""


@pytest.fixture(scope="module")
def near(true_fit):
    """Draws so close to each other that importance sampling is safe."""
    return true_fit(draws=1000, spread=0.0003)


@pytest.fixture(scope="module")
def level_fit(make_fit, crossed_runs, tmp_path_factory):
    """Exact posterior draws of one level, flat prior and known normal noise: LOO has a closed form."""
    path = tmp_path_factory.mktemp("loo") / "flat.toml"
    path.write_text(FLAT)
    rng = np.random.default_rng(3)
    runs = crossed_runs(5, 4)
    scatter, slope = 0.02, 1e-9
    log_loss = -1 + scatter * rng.standard_normal(runs.sizes["run"])
    runs = runs.assign(loss=("run", np.exp(log_loss)))
    centre = log_loss.mean() - log_loss.min()  # L_ref is the smallest loss
    level = np.exp(centre + scatter / np.sqrt(log_loss.size) * rng.standard_normal(4000))
    sigma = {"sigma": scatter - 1e-4, "tilt": 0.0}  # the scale is 1e-4 + sigma
    return make_fit(path, {"level": level, "slope": slope}, runs, noise="normal", scatter=sigma), log_loss, scatter


def test_it_is_arvizs(near):
    ours, theirs = loo(near, mend=False), arviz_stats.loo(near, pointwise=True, reff=1.0)
    np.testing.assert_allclose(ours["elpd_loo"], theirs.elpd_i, atol=1e-6)
    np.testing.assert_allclose(ours["pareto_k"], theirs.pareto_k, atol=1e-6)
    assert float(ours["p_loo"].sum()) == pytest.approx(theirs.p, abs=1e-6)
    assert ours.attrs["good_k"] == pytest.approx(theirs.good_k)


def test_closed_form_of_a_normal_mean(level_fit):
    fit, log_loss, scatter = level_fit
    n = log_loss.size
    others = (log_loss.sum() - log_loss) / (n - 1)
    predictive = stats.norm(others, scatter * np.sqrt(1 + 1 / (n - 1)))
    result = loo(fit)
    assert not result["mended"].any()
    np.testing.assert_allclose(result["elpd_loo"], predictive.logpdf(log_loss), atol=0.03)
    np.testing.assert_allclose(result["pit"], predictive.cdf(log_loss), atol=0.01)
    lppd = stats.norm(log_loss.mean(), scatter * np.sqrt(1 + 1 / n)).logpdf(log_loss)
    exact = (lppd - predictive.logpdf(log_loss)).sum()
    assert float(result["p_loo"].sum()) == pytest.approx(exact, abs=0.15)


def test_closed_form_of_groups(level_fit):
    """The joint density of a group given the others: a normal with shared error of the mean."""
    fit, log_loss, scatter = level_fit
    labels = np.repeat(["a", "b", "c", "d", "e"], 4)
    result = loo(fit, groups=labels)
    for i, label in enumerate(result["group"].values):
        out = labels == label
        k, rest = out.sum(), (~out).sum()
        covariance = scatter**2 * (np.eye(k) + 1 / rest)
        exact = stats.multivariate_normal(np.full(k, log_loss[~out].mean()), covariance).logpdf(log_loss[out])
        assert float(result["elpd_loo"][i]) == pytest.approx(exact, abs=0.1)


def test_pit_is_arvizs(true_fit):
    fit = true_fit(draws=2000, spread=0.0003)
    rng = np.random.default_rng(0)
    values = fit["posterior"]
    mean = (fit["observed_data"]["log_loss"] - _residual(fit)).transpose("chain", "draw", "run")
    scale = 1e-4 + values["sigma"]
    noise = rng.standard_t((2 + values["nu_minus_2"]).values[..., None], mean.shape)
    tree = fit.copy()
    tree["posterior_predictive"] = xr.Dataset({"log_loss": mean + scale * xr.DataArray(noise, dims=mean.dims)})
    theirs = arviz_stats.loo_pit(tree)["log_loss"]
    np.testing.assert_allclose(loo(fit, mend=False)["pit"], theirs, atol=0.04)


def _residual(fit):
    from bayescale.fitting.tree import draws_of
    from bayescale.laws.law import law_loss
    from bayescale.study import law_of

    inputs = {"N": fit["constant_data"]["params"], "D": fit["constant_data"]["tokens"]}
    log_law = np.log(law_loss(law_of(fit), draws_of(fit) | inputs))
    return (fit["observed_data"]["log_loss"] - log_law).transpose("chain", "draw", "run")


# ---- refits ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def refitted(monkeypatch, true_fit):
    """Refits that take no time: each returns the same tree, and what was kept is written down."""
    calls, converged, same = [], [True], true_fit(draws=400, spread=0.002)

    def refit(study, kept, *, draws, seed):
        calls.append(np.asarray(kept))
        if converged[0] is None:
            raise FitError("the sampler could not start")
        tree = same.copy()
        tree.attrs["diagnostics"] = json.dumps({"converged": converged[0], "why": "r-hat 1.2"})
        return tree

    monkeypatch.setattr(module, "refit", refit)
    return calls, converged


def outlier(true_fit, crossed_runs):
    """One run far off the law, with draws that differ about it: its importance weights have no tail to speak of."""
    runs = crossed_runs()
    loss = runs["loss"].values.copy()
    loss[5] *= 1.05
    return true_fit(
        draws=1000, spread=0.001, runs=runs.assign(loss=("run", loss)), scatter={"sigma": 0.002}, noise="normal"
    )


def test_bad_runs_are_refitted_without(true_fit, crossed_runs, refitted):
    fit = outlier(true_fit, crossed_runs)
    before = loo(fit, mend=False)
    bad = np.flatnonzero(~(before["pareto_k"] <= before.attrs["good_k"]))
    assert 5 in bad and not before["mended"].any()
    seen = []
    after = loo(fit, progress=lambda done, total: seen.append((done, total)))
    calls, _ = refitted
    assert [list(np.flatnonzero(~kept)) for kept in calls] == [[i] for i in bad]
    assert seen == [(i + 1, len(bad)) for i in range(len(bad))]
    np.testing.assert_array_equal(np.flatnonzero(after["mended"]), bad)
    assert float(after["pareto_k"].max()) <= after.attrs["good_k"]
    left_out = true_fit(draws=400, spread=0.002)["log_likelihood"]["log_loss"].values.reshape(400, -1)
    expected = logsumexp(left_out, axis=0) - np.log(400)
    np.testing.assert_allclose(after["elpd_loo"][bad], expected[bad])
    good = np.setdiff1d(np.arange(24), bad)
    np.testing.assert_array_equal(after["elpd_loo"][good], before["elpd_loo"][good])


@pytest.mark.parametrize(
    ("outcome", "why"),
    [(False, "a refit without 1 run did not converge: r-hat 1.2"), (None, "the sampler could not start")],
)
def test_a_refit_that_fails_mends_nothing(true_fit, crossed_runs, refitted, outcome, why):
    refitted[1][0] = outcome
    after = loo(outlier(true_fit, crossed_runs))
    assert after.attrs["not_mended"] == why
    assert not after["mended"].any() and not (after["pareto_k"] <= after.attrs["good_k"]).all()


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_numbers_close_together_are_one_group(near):
    labels, members = group_runs(near, "params")
    np.testing.assert_array_equal(members, np.repeat(np.arange(6), 4))
    assert labels[0] == "31.6M"
    budgets = np.array([1.0, 1.04, 1.07, 5.0, 5.1, 30.0] * 4)
    fit = near.copy()
    fit["constant_data"] = near["constant_data"].to_dataset().assign(compute=("run", budgets))
    assert list(group_runs(fit, "compute")[1]) == [0, 0, 0, 1, 1, 2] * 4


def test_groups_are_summed(near):
    pointwise = log_likelihood(near)
    members = np.tile([2, 0, 1], 8)
    summed = sum_groups(pointwise, members)
    for group in range(3):
        np.testing.assert_allclose(summed.isel(group=group), pointwise.values[..., members == group].sum(axis=-1))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("colour", "groups = 'colour': no such column of the runs; the columns are compute, params, tokens"),
        (["a", "b"], "groups: 2 label.s. for 24 runs; one label a run is expected"),
        (["a"] * 24, "groups: 1 group.s.; at least 3 are needed"),
    ],
)
def test_groups_of_no_use(near, groups, message):
    with pytest.raises(FitError, match=message):
        loo(near, groups=groups)


def test_groups_of_a_fit_without_log_likelihood(near):
    with pytest.raises(FitError, match="keeps no pointwise log likelihood"):
        loo(near.copy().drop_nodes("log_likelihood"), groups=["a", "b", "c"] * 8)


def test_runs_by_chunks_are_as_all_at_once(sampled, monkeypatch):
    """A fit of very many runs keeps no log likelihood: what is computed again for some runs at a time is the same."""
    whole = loo(sampled, mend=False)
    monkeypatch.setattr(module, "CHUNK_VALUES", 5 * sampled["posterior"]["level"].size)
    seen = []
    chunks = loo(sampled.copy().drop_nodes("log_likelihood"), progress=lambda done, total: seen.append((done, total)))
    for name in ("elpd_loo", "p_loo", "pareto_k", "pit"):
        np.testing.assert_allclose(chunks[name], whole[name], rtol=1e-9, err_msg=name)
    assert seen[-1] == (5, 5)
