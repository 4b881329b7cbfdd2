import dataclasses

import numpy as np
import pytest
import xarray as xr
from conftest import BESIROGLU, chinchilla_loss
from scipy import stats

from bayescale.budgets.decide import decide
from bayescale.forecasts import curve as curve_module
from bayescale.forecasts import discrepancy as discrepancy_module
from bayescale.forecasts import discrepancy_posterior as posterior_module
from bayescale.forecasts.curve import log_predictive_density, sample_curve, squared_width, with_noise
from bayescale.forecasts.discrepancy import Covariance, DriftPrior, cells_of, coordinates, prior_of, shipped_prior
from bayescale.forecasts.discrepancy_posterior import LOG_SCALES, discrepancy_of
from bayescale.forecasts.forecast import forecast
from bayescale.forecasts.planned import planned_runs
from bayescale.forecasts.pointwise import forecast_each
from bayescale.laws.law import load_law
from bayescale.laws.priors import DISTRIBUTIONS
from bayescale.study import Study

POINTS = [10**8.5, 1e10, 1e11], [1e10, 5e11, 2e12]


def planned(fit, params, tokens):
    return planned_runs(Study.opened(fit), params, tokens, {})


def sample_log_loss(fit, points, rng, prior=None):
    """Draws of the parts of the log loss of new runs [draw, point]."""
    found = discrepancy_of(Study.opened(fit), prior)
    return with_noise(found.study, points, sample_curve(found, points, rng), rng)


def forecast_log_loss(fit, seed=0, prior=None):
    """Draws of log loss without noise [draw, point]."""
    parts = sample_log_loss(fit, planned(fit, *POINTS), np.random.default_rng(seed), prior)
    return sum(part for name, part in parts.items() if name != "noise")


# ---- linear algebra -------------------------------------------------------------------------------------------------


@pytest.fixture(params=[(6, 2), (30, 30), (40, 1)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def covariance(request, rng):
    cells, rank = request.param
    basis, noise = rng.standard_normal((cells, rank)), rng.uniform(0.1, 2.0, cells)
    return Covariance.of(basis, noise), basis @ basis.T + np.diag(noise)


def test_solve_is_the_dense_solution(covariance, rng):
    low_rank, dense = covariance
    vectors = rng.standard_normal((len(dense), 3))
    np.testing.assert_allclose(low_rank.solve(vectors), np.linalg.solve(dense, vectors), rtol=1e-8)


def test_squares_are_the_dense_ones(covariance, rng):
    low_rank, dense = covariance
    vectors = rng.standard_normal((len(dense), 3))
    expected = np.einsum("ij,ij->j", vectors, np.linalg.solve(dense, vectors))
    np.testing.assert_allclose(low_rank.squares(vectors), expected, rtol=1e-8)


def test_inverse_diagonal_is_the_dense_one(covariance):
    low_rank, dense = covariance
    np.testing.assert_allclose(low_rank.inverse_diagonal(), np.diag(np.linalg.inv(dense)), rtol=1e-8)


def test_determinant_is_the_dense_one(covariance):
    low_rank, dense = covariance
    assert low_rank.half_log_determinant == pytest.approx(0.5 * np.linalg.slogdet(dense)[1])


def test_density_and_its_curvature_are_the_dense_ones(rng):
    basis, noise, residual = rng.standard_normal((30, 12)), rng.uniform(0.1, 2.0, 30), rng.standard_normal(30)

    def dense(log_sigma):
        normal = stats.multivariate_normal(cov=basis @ basis.T + np.diag(noise * np.exp(2 * log_sigma)))
        return normal.logpdf(residual) + 15 * np.log(2 * np.pi)

    covariance, step = Covariance.of(basis, noise), 1e-3
    assert covariance.log_density(residual) == pytest.approx(dense(0.0))
    differences = (2 * dense(0.0) - dense(step) - dense(-step)) / step**2
    assert covariance.curvature(residual) == pytest.approx(differences, rel=1e-4)


def test_correlation_of_the_drift(rng):
    where = rng.uniform(7, 12, (40, 2))
    correlation = discrepancy_module.correlation(where, where, 3.0)
    np.testing.assert_allclose(np.diag(correlation), 1)
    np.testing.assert_allclose(correlation, correlation.T)
    assert np.linalg.eigvalsh(correlation).min() > 0
    far = discrepancy_module.correlation(np.zeros((1, 2)), np.array([[0.1, 0], [1, 0], [0, 1], [10, 0]]), 3.0)[0]
    assert far[0] > 0.99 and far[1] == far[2] and far[3] < 0.03, "near runs share their drift, far ones do not"
    basis = discrepancy_module.basis_of(where, 3.0)
    np.testing.assert_allclose(basis @ basis.T, correlation, atol=1e-4)


def test_shares_of_the_draws(rng):
    weights = np.array([0.0, 0.123, 0.5, 0.377])
    counts = curve_module._allot(1000, weights, rng)
    assert counts.sum() == 1000 and (np.abs(counts - 1000 * weights) <= 1).all()


@pytest.mark.parametrize("count", [1, 2, 20, 21, 400])
def test_width_of_a_band_is_that_of_the_quantiles(rng, count):
    drawn = rng.standard_t(3, (count, 7))
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    np.testing.assert_array_equal(squared_width(drawn), (high - low) ** 2)
    drawn[0, 2] = np.nan
    assert np.flatnonzero(np.isnan(squared_width(drawn))).tolist() == [2]


# ---- the shipped prior ----------------------------------------------------------------------------------------------


def test_losses_that_are_no_text_have_a_wider_shift_and_nothing_else(crossed_runs):
    law, runs = load_law("coupled"), crossed_runs()
    text = prior_of(law, runs)
    assert text == shipped_prior()
    low = runs.assign(loss=runs["loss"] * 0.3 / runs["loss"].min())
    other = prior_of(law, low)
    assert other.shift == pytest.approx(3 * text.shift) and dataclasses.replace(other, shift=text.shift) == text
    assert prior_of(law, low.assign_attrs(loss_unit="nats")) == text
    assert prior_of(law, runs.assign_attrs(loss_unit="error")) == other


def test_shipped_prior_is_plausible():
    prior = shipped_prior()
    assert 0.5 < prior.length < 10, "decades"
    assert 0.005 < np.exp(prior.log_scale) < 0.2, "of the loss"
    weights = np.exp(prior.log_density(LOG_SCALES))
    weights /= weights.sum()
    assert weights[[0, -1]].max() < 0.05, "the grid holds the prior"


# ---- cells ----------------------------------------------------------------------------------------------------------


def test_few_runs_are_their_own_cells(true_fit):
    fit = true_fit(draws=20)
    cells = cells_of(Study.opened(fit))
    np.testing.assert_array_equal(cells.log_loss, fit["observed_data"]["log_loss"])
    np.testing.assert_allclose(cells.where[:, 0], np.log10(fit["constant_data"]["params"]))
    np.testing.assert_array_equal(cells.variance, 1)


def repeated(runs, times, jitter, rng):
    """Every run ``times`` times, at sizes a little apart."""
    many = xr.concat([runs.drop_vars("run")] * times, dim="run")
    many = many.assign_coords(run=np.arange(many.sizes["run"]))
    for name in ("params", "tokens"):
        many[name] = many[name] * np.exp(jitter * rng.standard_normal(many.sizes["run"]))
    return many.assign(compute=6 * many["params"] * many["tokens"])


@pytest.mark.slow
def test_pooled_runs_give_the_same_forecast(crossed_runs, true_fit, rng, monkeypatch):
    monkeypatch.setattr(discrepancy_module, "POOLED_MAX", 400)
    few = crossed_runs(sizes=20, lengths=15)
    many = repeated(few, 4, 1e-3, rng)
    few_fit, many_fit = true_fit(draws=4000, runs=few), true_fit(draws=4000, runs=many)
    cells = cells_of(Study.opened(many_fit))
    assert many.sizes["run"] == 1200 > 400 >= len(cells.log_loss) >= 200
    # four runs in a cell: a quarter of the variance of one
    assert np.median(cells.variance) == pytest.approx(0.25)
    from_few, from_many = forecast_log_loss(few_fit), forecast_log_loss(many_fit)
    np.testing.assert_allclose(np.median(from_many, axis=0), np.median(from_few, axis=0), atol=0.004)
    assert (from_many.std(axis=0) < 1.3 * from_few.std(axis=0)).all()


@pytest.mark.slow
def test_many_runs_need_no_pooling(crossed_runs, true_fit, rng):
    """More runs than the basis has centres: the drift is carried to them, and says what fewer runs say."""
    few = crossed_runs(sizes=20, lengths=15)
    many = repeated(few, 2, 1e-3, rng)
    assert many.sizes["run"] > discrepancy_module.MAX_CENTRES
    near = np.log10(np.stack([many["params"], many["tokens"]], axis=1))
    basis = discrepancy_module.basis_of(near, 3.0)
    np.testing.assert_allclose(basis @ basis.T, discrepancy_module.correlation(near, near, 3.0), atol=2e-3)
    from_few, from_many = (
        forecast_log_loss(true_fit(draws=1000, runs=few)),
        forecast_log_loss(true_fit(draws=1000, runs=many)),
    )
    apart = np.abs(np.median(from_many, axis=0) - np.median(from_few, axis=0))
    assert (apart < 0.5 * from_few.std(axis=0)).all()


def test_nothing_that_larger_runs_taught_speaks_of_points_among_the_runs(true_fit):
    fit = true_fit(draws=2000)
    largest = float(fit["constant_data"]["compute"].max())
    inside = planned(fit, [1e8], [1e10])
    assert float(inside["compute"][0]) < largest
    plain = DriftPrior(3.0, -3.0, 0.7, 1.0)
    bold = DriftPrior(3.0, -3.0, 0.7, 0.5, 0.3, 0.01, 0.02)
    a, b = (sample_log_loss(fit, inside, np.random.default_rng(1), prior) for prior in (plain, bold))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    far = planned(fit, [1e12], [1e14])
    a, b = (sample_log_loss(fit, far, np.random.default_rng(1), prior) for prior in (plain, bold))
    for name in ("law", "bend", "noise"):
        np.testing.assert_array_equal(a[name], b[name])
    decades = np.log10(6e26 / largest)
    assert np.median(b["drift"] - 0.5 * a["drift"]) == pytest.approx(-0.02 * decades, rel=0.1)


# ---- the posterior --------------------------------------------------------------------------------------------------


def parameters_at(law, at):
    """Weighted quantile function of every parameter at one scale of the drift, from its standardised draws."""
    from scipy.special import ndtr

    for i, (name, prior) in enumerate(law.priors.items()):
        values = DISTRIBUTIONS[prior.dist].quantile(ndtr(np.clip(at.draws[:, i], -7.5, 7.5)), **prior.params)
        mean = np.average(values, weights=at.weights)
        yield name, mean, np.sqrt(np.average((values - mean) ** 2, weights=at.weights))


def test_posterior_at_a_tiny_scale_is_that_of_the_sampler(sampled, monkeypatch):
    """Without drift to speak of, this approximation and NUTS must agree on the law's parameters."""
    monkeypatch.setattr(posterior_module, "LOG_SCALES", np.array([-12.0]))
    monkeypatch.setattr(posterior_module, "PROPOSAL_DRAWS", 4000)
    study = Study.opened(sampled)
    (at,) = discrepancy_of(study, dataclasses.replace(shipped_prior(), tail_df=None)).by_scale
    for name, mean, sd in parameters_at(study.law, at):
        draws = sampled["posterior"][name]
        assert mean == pytest.approx(float(draws.mean()), abs=0.4 * float(draws.std())), name
        assert sd == pytest.approx(float(draws.std()), rel=0.35), name
    assert at.sigma == pytest.approx(float(sampled["posterior"]["sigma"].median()), rel=0.3)


def test_weights_are_probabilities(true_fit):
    fit = true_fit(draws=20)
    found = discrepancy_of(Study.opened(fit))
    weights = found.probabilities
    assert weights.shape == (len(found.by_scale),) and weights.sum() == pytest.approx(1) and (weights >= 0).all()
    for at in found.by_scale:
        assert at.weights.sum() == pytest.approx(1) and np.isfinite(at.log_evidence)
        assert 1 / (at.weights**2).sum() > 20, "the proposals cover the posterior"


def test_scales_that_are_left_out_do_not_count(true_fit):
    fit = true_fit(draws=20)
    study = Study.opened(fit)
    some, every = discrepancy_of(study), discrepancy_of(study, every=True)
    assert [at.log_scale for at in every.by_scale] == LOG_SCALES.tolist() and len(some.by_scale) < len(every.by_scale)
    weights = dict(zip(LOG_SCALES.tolist(), every.probabilities, strict=True))
    kept = {at.log_scale for at in some.by_scale}
    assert sum(weight for log_scale, weight in weights.items() if log_scale not in kept) < 1e-4
    # the draws are others, and the evidence is a mean over them
    np.testing.assert_allclose(some.probabilities, [weights[s] for s in sorted(kept)], atol=0.02)


def mean_log_scale(runs, true_fit):
    found = discrepancy_of(Study.opened(true_fit(draws=20, runs=runs)))
    return found.probabilities @ [at.log_scale for at in found.by_scale]


@pytest.mark.slow
def test_runs_that_follow_the_law_shrink_the_drift(crossed_runs, true_fit):
    few, many = (
        np.mean([mean_log_scale(crossed_runs(size, size, 0.002, seed), true_fit) for seed in range(3)])
        for size in (4, 12)
    )
    assert many < few - 0.2 and many < shipped_prior().log_scale


def test_runs_that_bend_away_from_the_law_widen_the_drift(crossed_runs, true_fit):
    runs = crossed_runs(8, 8, 0.002)
    x, y = np.log10(runs["params"]) - 8.5, np.log10(runs["tokens"]) - 10
    bent = runs.assign(loss=runs["loss"] * np.exp(0.05 * np.sin(3 * x) * np.cos(2 * y)))
    assert mean_log_scale(bent, true_fit) > mean_log_scale(runs, true_fit) + 0.5


def test_one_bad_run_does_not_move_the_forecast(crossed_runs, true_fit):
    runs = crossed_runs(8, 8, 0.002)
    loss = runs["loss"].values.copy()
    loss[30] *= 1.15
    bad = runs.assign(loss=("run", loss))
    a, b = (forecast_log_loss(true_fit(runs=r, scatter={"nu_minus_2": 1.0})) for r in (runs, bad))
    assert (np.abs(np.median(a, axis=0) - np.median(b, axis=0)) < 0.5 * a.std(axis=0)).all()


def test_forecast_of_runs_of_the_law_holds_the_truth(crossed_runs, true_fit):
    truth = np.log(chinchilla_loss(*map(np.array, POINTS), **BESIROGLU))
    draws = forecast_log_loss(true_fit(runs=crossed_runs(8, 8, 0.002)))
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
    # a 90 % band misses by chance; one twice as wide hardly ever
    assert (np.abs(truth - middle) < high - low).all()


# ---- seeds, and options that save work ------------------------------------------------------------------------------


def test_same_seed_same_draws(true_fit):
    fit = true_fit()
    a, b, c = (forecast_log_loss(fit, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_chains_and_draws_do_not_show_the_grid(true_fit):
    """Draws come from a grid of scales; they must be exchangeable, or r-hat of a forecast would mislead."""
    parts = sample_log_loss(true_fit(), planned(true_fit(), *POINTS), np.random.default_rng(0))
    wide = parts["drift"].reshape(2, -1, len(POINTS[0])).std(axis=1)
    np.testing.assert_allclose(wide[0], wide[1], rtol=0.2)


def test_a_study_keeps_its_discrepancy(true_fit, monkeypatch):
    """However many questions are asked of an opened fit, the posterior with drift is computed once; same bits."""
    fit, made = true_fit(draws=200), []
    study, points = Study.opened(fit), ([1e10, 1e11], [1e11, 1e12])
    real = posterior_module._weighted_draws
    monkeypatch.setattr(posterior_module, "_weighted_draws", lambda *args: made.append(1) or real(*args))
    first = forecast(study, *points)
    scales = len(made)
    again, apart, split = forecast(study, *points), forecast_each(study, *map(np.array, points)), decide(study, 1e22)
    assert scales == len(made) == len(study.once(discrepancy_of).by_scale) and "exchange" in split
    np.testing.assert_array_equal(again["predictions"]["loss"], first["predictions"]["loss"])
    np.testing.assert_array_equal(forecast(fit, *points)["predictions"]["loss"], first["predictions"]["loss"])
    assert len(made) == 2 * scales and apart.sizes["point"] == 2


def test_a_wider_prior_gives_a_wider_band(true_fit):
    fit = true_fit()
    narrow, wide = (
        forecast_log_loss(fit, prior=dataclasses.replace(shipped_prior(), log_scale=centre, log_scale_sd=0.1))
        for centre in (-6.0, -1.5)
    )
    assert (wide.std(axis=0)[1:] > 3 * narrow.std(axis=0)[1:]).all()


# ---- slow: the bands cover what the law itself makes ----------------------------------------------------------------


@pytest.mark.slow
def test_bands_cover_runs_simulated_from_the_law(crossed_runs, true_fit):
    held = []
    for seed in range(60):
        fit = true_fit(draws=1000, runs=crossed_runs(6, 5, 0.004, seed))
        low, high = np.quantile(forecast_log_loss(fit, seed), [0.05, 0.95], axis=0)
        truth = np.log(chinchilla_loss(*map(np.array, POINTS), **BESIROGLU))
        held.append((low < truth) & (truth < high))
    assert np.mean(held) >= 0.88


def test_log_predictive_density_is_that_of_the_draws(true_fit):
    """Against a kernel density of the very draws that a forecast shows."""
    fit = true_fit(draws=10_000)
    points = planned(fit, [1e10, 1e8], [2e11, 1e10])
    draws = sum(sample_log_loss(fit, points, np.random.default_rng(2)).values())
    found = discrepancy_of(Study.opened(fit))
    for shift in (0.0, 0.8):
        at = draws.mean(axis=0) + shift * draws.std(axis=0)
        kernel = [stats.gaussian_kde(draws[:, i])(at[i])[0] for i in range(2)]
        density = log_predictive_density(found.study, points, at, sample_curve(found, points, np.random.default_rng(2)))
        np.testing.assert_allclose(density, np.log(kernel), atol=0.1)


def test_coordinates_are_those_of_the_runs_whatever_the_point(make_fit):
    """A sparsity lies on its own scale, also when the runs are all above 0; sizes lie on decades."""
    runs = {"params": np.logspace(7, 9, 12), "tokens": np.tile(np.logspace(9, 10, 3), 4), "loss": np.linspace(3, 2, 12)}
    runs["sparsity"] = np.tile([0.25, 0.5, 0.75], 4)
    parameters = {"level": 1.2, "slope": 0.1, "lean": 0.0, "floor": 0.6, "share": 0.5, "thin": 0.4, "b_S": 0.7}
    fit = make_fit("weight_sparsity", {name: np.full(200, value) for name, value in parameters.items()}, runs)
    point = xr.Dataset({"params": ("point", [1e8]), "tokens": ("point", [1e9]), "sparsity": ("point", [0.0])})
    np.testing.assert_allclose(coordinates(Study.opened(fit), point), [[8.0, 9.0, 0.0]])
    np.testing.assert_allclose(coordinates(Study.opened(fit), Study.opened(fit).runs)[:3, 2], [0.25, 0.5, 0.75])
