"""Clusters of residuals: found where they are and not elsewhere, and bands that hold what they should."""

import numpy as np
import pytest
from conftest import LOG_LINEAR
from scipy import stats

import bayescale
from bayescale.errors import FitError
from bayescale.evidence.compare import compare
from bayescale.fitting.clusters import FALSE_ALARM_SHARE, NONE, _Looks, alike, clustered_posterior, clusters_of
from bayescale.fitting.diagnostics import fit_summary
from bayescale.laws.law import parse_law
from bayescale.study import Study

NOISE, FAMILIES, SIZES = 0.002, 12, 5
TRUE = {"alpha": 0.07, "beta": 0.05}


def runs(rng, shared):
    """Families of runs along D, each of one N; ``shared`` is the sd of what the runs of a family share."""
    N, D = (x.ravel() for x in np.meshgrid(np.logspace(7, 9, FAMILIES), np.logspace(9, 11, SIZES), indexing="ij"))
    family = np.repeat(np.arange(FAMILIES), SIZES)
    log_loss = np.log(2.0) - TRUE["alpha"] * np.log(N / 1e8) - TRUE["beta"] * np.log(D / 1e10)
    log_loss += NOISE * rng.standard_normal(N.size) + shared * rng.standard_normal(FAMILIES)[family]
    return {"params": N, "tokens": D, "loss": np.exp(log_loss), "family": [f"f{i:02}" for i in family]}


def least_squares(data, rng):
    """A fit whose draws are the posterior of independent runs: normal noise, priors too wide to matter."""
    N, D, y = np.asarray(data["params"]), np.asarray(data["tokens"]), np.log(data["loss"])
    middle = [np.exp(np.log(x).mean()) for x in (N, D)]
    design = np.column_stack([np.ones_like(y), -np.log(N / middle[0]), -np.log(D / middle[1])])
    mean, inverse = np.linalg.lstsq(design, y)[0], np.linalg.inv(design.T @ design)
    sigma = np.sqrt(((y - design @ mean) ** 2).sum() / (y.size - 3))
    drawn = mean + sigma * rng.standard_normal((4000, 3)) @ np.linalg.cholesky(inverse).T
    level = np.exp(drawn[:, 0] - np.log(min(data["loss"])))
    return {"level": level, "alpha": drawn[:, 1], "beta": drawn[:, 2]}, sigma, design


def said(fit, clusters):
    """The same fit, of which a user has said by which column residuals go together."""
    fit = fit.copy()
    fit.attrs = fit.attrs | {"clusters": clusters}
    return fit


@pytest.fixture
def clustered(make_fit):
    def make(seed, shared, clusters=None):
        rng = np.random.default_rng(seed)
        data = runs(rng, shared)
        values, sigma, design = least_squares(data, rng)
        scatter = {"sigma": sigma, "tilt": 0.0}
        fit = make_fit(parse_law(LOG_LINEAR, "linear"), values, data, noise="normal", scatter=scatter)
        return (said(fit, clusters) if clusters else fit), sigma, design

    return make


def test_independent_runs_have_no_clusters(clustered):
    found = [clusters_of(Study.opened(clustered(seed, 0.0)[0])) for seed in range(60)]
    # families and their sizes are one look, lengths another: one table in ten
    assert stats.binom.sf(sum(one is not None for one in found) - 1, 60, 2 * FALSE_ALARM_SHARE) > 1e-4
    stretched = [one.ratio for one in found if one is not None]
    assert not stretched or max(stretched) < 3


def test_settings_and_measurements_are_no_clusters(clustered):
    """A number that goes with the residuals, as a measured one may, says nothing of which runs err together."""
    fit, *_ = clustered(3, 0.0)
    residual = _Looks.of(Study.opened(fit)).score
    more = {"grad_norm": 1.0 + np.argsort(np.argsort(residual)) // 5, "batch": residual + 10}
    columns = fit["constant_data"].to_dataset().assign({name: ("run", values) for name, values in more.items()})
    fit["constant_data"] = columns
    found = clusters_of(Study.opened(fit))
    assert found is None or found.column in ("params", "tokens", "family")
    by_hand = clusters_of(Study.opened(said(fit, "grad_norm")))
    assert by_hand.column == "grad_norm" and by_hand.count == FAMILIES


def test_families_are_found_and_named(clustered):
    for seed in range(5):
        clusters = clusters_of(Study.opened(clustered(seed, 0.006)[0]))
        assert clusters.column in ("family", "params") and clusters.count == FAMILIES and clusters.ratio > 1.4


def test_bands_are_those_of_the_families(clustered):
    """What families share moves alpha by the regression of family means: sd = sqrt(shared^2 + noise^2/5) / spread."""
    ratios, held = [], 0
    spread = np.sqrt(((np.log(np.logspace(7, 9, FAMILIES)) - np.log(1e8)) ** 2).sum())
    right = np.sqrt(0.006**2 + NOISE**2 / SIZES) / spread
    for seed in range(40):
        posterior = clustered_posterior(Study.opened(clustered(seed, 0.006, "family")[0]))
        ratios.append(float(posterior["alpha"].std()) / right)
        low, high = np.quantile(posterior["alpha"], [0.05, 0.95])
        held += low < TRUE["alpha"] < high
        np.testing.assert_allclose(posterior["both"], posterior["alpha"] + posterior["beta"])
    assert 0.85 < np.mean(ratios) < 1.3
    assert held >= 29  # of 40, where .90 is right: fewer once in 2000 times


def test_leaving_out_a_cluster_is_exact_for_a_linear_law(rng):
    """Ridge regression without each cluster in turn: one Newton step goes all the way."""
    slope, seen, members = rng.standard_normal((24, 3)), rng.standard_normal(24), np.repeat(np.arange(8), 3)

    def solution(kept):
        return np.linalg.solve(slope[kept].T @ slope[kept] + np.eye(3), slope[kept].T @ seen[kept])

    mean = solution(np.full(24, True))
    looks = _Looks(np.zeros((5, 3)), mean, slope, seen - slope @ mean, 1.0)
    left_out = np.array([solution(members != cluster) for cluster in range(8)])
    apart, inverse = left_out - left_out.mean(axis=0), np.linalg.inv(slope.T @ slope + np.eye(3))
    np.testing.assert_allclose(looks.covariance(members), 7 / 8 * apart.T @ apart + inverse @ inverse, rtol=1e-9)


def test_no_band_becomes_narrower_and_what_families_do_not_touch_stays(clustered):
    fit, *_ = clustered(3, 0.006, "family")
    study = Study.opened(fit)
    before, after = study.posterior, clustered_posterior(study)
    for name in ("level", "alpha", "beta"):
        assert float(after[name].std()) > 0.999 * float(before[name].std()), name
        assert abs(float(after[name].mean() - before[name].mean())) < 0.05 * float(before[name].std()), name
    assert float(after["alpha"].std()) > 1.4 * float(before["alpha"].std())
    np.testing.assert_array_equal(after["sigma"], before["sigma"])


def test_summary_says_so(clustered):
    fit, *_ = clustered(3, 0.006)
    summary = fit_summary(fit)
    assert summary["clusters"]["count"] == FAMILIES
    alpha = summary["parameters"]["alpha"]
    assert alpha["q05"] < alpha["q05_runs"] and alpha["q95_runs"] < alpha["q95"]
    assert "go together (12 clusters" in str(bayescale.show(fit))
    held = fit_summary(said(fit, NONE))
    assert held["clusters"] is None and "q05_runs" not in held["parameters"]["alpha"]
    assert held["parameters"]["alpha"]["q05"] == alpha["q05_runs"]


def test_laws_are_compared_by_cluster(clustered):
    fit, *_ = clustered(3, 0.006, "family")
    other, *_ = clustered(3, 0.006, "family")
    result = compare({"one": fit, "two": other}, mend=False)
    assert result.attrs["unit"] == "group of family" and result.sizes["group"] == FAMILIES
    assert {"d_elpd_runs", "d_se_runs"} <= set(result.data_vars)
    by_run = compare({"one": fit, "two": other}, groups=NONE, mend=False)
    assert by_run.attrs["unit"] == "run" and "d_elpd_runs" not in by_run


@pytest.mark.parametrize("spoil", [np.nan, 0.07])
def test_draws_that_are_all_alike_or_no_numbers_are_left_as_they_are(clustered, spoil):
    fit, *_ = clustered(3, 0.006, "family")
    if np.isnan(spoil):
        fit["posterior"]["alpha"][0, 3] = spoil
    else:
        fit["posterior"]["alpha"][:] = spoil
    study = Study.opened(fit)
    assert clusters_of(study) is None and clustered_posterior(study) is study.posterior


def test_numbers_close_to_each_other_are_one_cluster():
    np.testing.assert_array_equal(alike(np.array([6e18, 1e20, 6.1e18, 1.04e20, 3e19])), [0, 2, 0, 2, 1])
    np.testing.assert_array_equal(alike(np.array(["b", "a", "b"])), [1, 0, 1])
    np.testing.assert_array_equal(alike(np.array([0.0, 1.0, 0.0])), [0, 1, 0])


def test_a_column_that_is_none_is_refused(rng):
    data = runs(rng, 0.0)
    with pytest.raises(FitError, match=r"clusters = 'families': no such column of the runs; there are .*family"):
        bayescale.fit(data, "kaplan", clusters="families")
    few = data | {"family": ["a", "b", "c"] * 20}
    with pytest.raises(FitError, match="clusters = 'family': 3 cluster"):
        bayescale.fit(few, "kaplan", clusters="family")


def test_the_choice_is_kept(clustered, tmp_path):
    fit, *_ = clustered(3, 0.0, "family")
    opened = bayescale.open_fit(bayescale.save_fit(fit, tmp_path / "fit.nc"))
    assert fit_summary(opened)["clusters"]["column"] == "family"
    with pytest.raises(FitError, match="its clusters are no column of its runs"):
        bayescale.save_fit(said(fit, "elsewhere"), tmp_path / "no.nc")


@pytest.mark.parametrize(("noise", "nu_minus_2"), [("normal", None), ("student_t", 1.0)])
def test_scores_are_the_slopes_of_the_noises_density(true_fit, noise, nu_minus_2):
    """score = -d log p / d residual, in units of the scale; its mean square under the noise is the information."""
    heavy = {} if nu_minus_2 is None else {"nu_minus_2": nu_minus_2}
    study = Study.opened(true_fit(draws=400, noise=noise, scatter={"sigma": 0.004, "tilt": 0.0} | heavy))
    looks = _Looks.of(study)
    values = {name: float(study.posterior[name].median()) for name in study.scatter.priors}
    scale = study.scatter.scale_at(study.covariates(), values)
    residual = (study.seen.values - study.standardised()(looks.mean)[0]) / scale

    def log_density(z):
        return study.scatter.log_density_of(z, 1.0, values)

    np.testing.assert_allclose(
        looks.score, (log_density(residual - 1e-5) - log_density(residual + 1e-5)) / 2e-5, atol=1e-6
    )
    z = np.linspace(-300, 300, 600_001)
    slope = np.gradient(log_density(z), z)
    assert looks.information == pytest.approx(np.trapezoid(slope**2 * np.exp(log_density(z)), z), rel=1e-3)
