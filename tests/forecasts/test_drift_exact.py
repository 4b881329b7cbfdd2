"""The discrepancy against closed forms: a law that is linear in its parameters, with normal noise, has an exact
posterior and an exact forecast. Everything here is compared to six digits or better, but for what EM leaves open."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import LOG_LINEAR
from scipy import optimize, stats

from bayescale.forecasts.curve import log_predictive_density, open_contrasts, sample_curve, with_noise
from bayescale.forecasts.discrepancy import Covariance, DriftPrior, cells_of, slope_of
from bayescale.forecasts.discrepancy_posterior import AtScale, Discrepancy, discrepancy_of
from bayescale.forecasts.planned import planned_runs
from bayescale.laws.formula import parse
from bayescale.laws.law import parse_law
from bayescale.laws.noises import NOISES
from bayescale.laws.own_priors import with_priors
from bayescale.study import Study

CENTRE, SD = np.array([0.1, 0.08, 0.06]), np.array([0.3, 0.05, 0.05])  # of log level, alpha and beta
LENGTH, TILT = 3.0, 0.04
SIGMA_PRIOR = (-5.0, 1.0)  # of log sigma: the noise's own


def runs(rng, sizes=4, lengths=4, scatter=0.003):
    N, D = (x.ravel() for x in np.meshgrid(np.logspace(7, 9, sizes), np.logspace(9, 11, lengths), indexing="ij"))
    bend = 0.02 * np.sin(3 * np.log10(N)) * np.cos(2 * np.log10(D))  # what the law cannot follow
    loss = 2.0 * (N / 1e8) ** -0.07 * (D / 1e10) ** -0.05 * np.exp(bend + scatter * rng.standard_normal(N.size))
    return {"params": N, "tokens": D, "loss": loss}


@pytest.fixture(scope="module")
def linear_fit(make_fit):
    bent = runs(np.random.default_rng(1))

    def make(data=None, noise="normal", draws=2, **scatter):
        values = {name: np.full(draws, value) for name, value in zip(("level", "alpha", "beta"), CENTRE, strict=True)}
        values["level"] = np.exp(values["level"])
        scatter = {"sigma": 0.004, "tilt": TILT} | scatter
        return make_fit(parse_law(LOG_LINEAR, "linear"), values, data or bent, noise=noise, scatter=scatter)

    return make


class Exact:
    """The linear model of a fit in dense matrices: y = base + slopes @ z + drift + noise, z standard normal."""

    def __init__(self, fit):
        data, self.fit = fit["constant_data"].to_dataset(), fit
        self.y = fit["observed_data"]["log_loss"].values
        self.base, self.slopes = self.law(data["params"].values, data["tokens"].values)
        self.where = np.log10(np.stack([data["params"].values, data["tokens"].values], axis=1))
        self.variance = np.exp(2 * TILT * np.log(data["compute"].values / float(data["C_ref"])))

    def law(self, N, D):
        refs = self.fit["constant_data"]
        columns = [np.ones_like(N), -np.log(N / float(refs["N_ref"])), -np.log(D / float(refs["D_ref"]))]
        design = np.stack(columns, axis=1)
        return np.log(float(refs["L_ref"])) + design @ CENTRE, design * SD

    def covariance(self, log_scale, sigma):
        correlation = matern(self.where, self.where)
        return np.exp(2 * log_scale) * correlation + np.diag(sigma**2 * self.variance)

    def posterior(self, log_scale, sigma):
        """Mean and covariance of z, the drift integrated out."""
        inverse = np.linalg.inv(self.covariance(log_scale, sigma))
        covariance = np.linalg.inv(self.slopes.T @ inverse @ self.slopes + np.eye(3))
        return covariance @ self.slopes.T @ inverse @ (self.y - self.base), covariance

    def log_joint(self, z, log_scale, sigma):
        normal = stats.multivariate_normal(self.base, self.covariance(log_scale, sigma))
        return normal.logpdf(self.y - z @ self.slopes.T) + stats.norm.logpdf(z).sum(axis=1)

    def log_evidence(self, log_scale, sigma):
        """log p(y | scale, sigma), parameters and drift integrated out."""
        whole = self.covariance(log_scale, sigma) + self.slopes @ self.slopes.T
        return stats.multivariate_normal(self.base, whole).logpdf(self.y)


def matern(a, b):
    r = np.sqrt(3) * np.linalg.norm(a[:, None] - b[None], axis=2) / LENGTH
    return (1 + r) * np.exp(-r)


def prior(spread=1.0, **beyond):
    return DriftPrior(LENGTH, -3.0, 0.7, spread, **beyond)


@pytest.fixture(scope="module")
def scales(linear_fit):
    """The posterior at three scales of the drift, EM carried on until nothing moves; and the exact model."""
    fit = linear_fit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayescale.forecasts.discrepancy_posterior.LOG_SCALES", np.array([-4.5, -3.5, -2.5]))
        patch.setattr("bayescale.forecasts.discrepancy_posterior.EM_STILL_STEPS", -1)
        patch.setattr("bayescale.forecasts.discrepancy_posterior.EM_STEPS", 200)
        return Exact(fit), discrepancy_of(Study.opened(fit), prior(), every=True).by_scale


# ---- the posterior at each scale ------------------------------------------------------------------------------------


def test_importance_weights_are_exact_posterior_over_proposal(scales):
    exact, by_scale = scales
    for at in by_scale:
        mean, covariance = exact.posterior(at.log_scale, at.sigma)
        proposal = stats.multivariate_t(mean, 1.15**2 * covariance, df=8)
        log_weights = exact.log_joint(at.draws, at.log_scale, at.sigma) - proposal.logpdf(at.draws)
        expected = np.exp(log_weights - log_weights.max())
        np.testing.assert_allclose(at.weights, expected / expected.sum(), rtol=1e-6, atol=1e-12)


def test_weighted_draws_have_the_exact_mean_and_sd(scales):
    exact, by_scale = scales
    for at in by_scale:
        mean, covariance = exact.posterior(at.log_scale, at.sigma)
        sd, error = np.sqrt(np.diag(covariance)), np.sqrt((at.weights**2).sum())
        found = at.weights @ at.draws
        assert (np.abs(found - mean) < 4.5 * error * sd).all()
        np.testing.assert_allclose(np.sqrt(at.weights @ (at.draws - mean) ** 2), sd, rtol=4.5 * error)


def test_what_is_believed_of_a_quantity_counts_as_one_more_observation(linear_fit):
    """alpha + beta ~ Normal(.2, .002), where priors and runs say .14: the posterior stays normal."""
    plain, believed = linear_fit(), 0.2
    law = with_priors(parse_law(LOG_LINEAR, "linear"), {"both": f"Normal({believed}, 0.002)"})
    fit = plain.copy()
    fit.attrs = fit.attrs | {"law_text": law.text}
    exact = Exact(plain)
    for at in discrepancy_of(Study.opened(fit), prior(), every=True).by_scale:
        mean, covariance = exact.posterior(at.log_scale, at.sigma)
        row = np.array([0.0, SD[1], SD[2]])
        gain = covariance @ row / (row @ covariance @ row + 0.002**2)
        expected, left = (
            mean + gain * (believed - CENTRE[1:].sum() - row @ mean),
            covariance - np.outer(gain, row @ covariance),
        )
        sd, error = np.sqrt(np.diag(left)), np.sqrt((at.weights**2).sum())
        assert error < 0.1
        assert (np.abs(at.weights @ at.draws - expected) < 4.5 * error * sd).all()
        np.testing.assert_allclose(np.sqrt(at.weights @ (at.draws - expected) ** 2), sd, rtol=4.5 * error)


def test_evidence_between_scales_is_exact(scales):
    """The estimate is a mean of ratios at the draws: the same mean of exact ratios, and the closed form within its
    Monte Carlo error. Sigma is integrated out by Laplace, so its own part is subtracted."""
    exact, by_scale = scales
    estimates, means, closed, errors = [], [], [], []
    for at in by_scale:
        mean, covariance = exact.posterior(at.log_scale, at.sigma)
        ratio = exact.log_joint(at.draws, at.log_scale, at.sigma)
        ratio -= stats.multivariate_t(mean, 1.15**2 * covariance, df=8).logpdf(at.draws)
        of_sigma = np.log(at.log_sigma_sd) - 0.5 * ((np.log(at.sigma) - SIGMA_PRIOR[0]) / SIGMA_PRIOR[1]) ** 2
        estimates.append(at.log_evidence - of_sigma)
        means.append(np.log(np.mean(np.exp(ratio - ratio.max()))) + ratio.max())
        closed.append(exact.log_evidence(at.log_scale, at.sigma))
        errors.append(np.std(np.exp(ratio - means[-1])) / np.sqrt(len(ratio)))
    assert len(estimates) == 3
    np.testing.assert_allclose(np.diff(estimates), np.diff(means), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(means, closed, atol=4.5 * max(errors))


def test_sd_of_log_sigma_is_that_of_the_exact_curvature(scales):
    exact, by_scale = scales
    for at in by_scale:
        mean, _ = exact.posterior(at.log_scale, at.sigma)
        residual = exact.y - exact.base - exact.slopes @ mean

        def density(log_sigma, log_scale=at.log_scale, residual=residual):
            return stats.multivariate_normal(cov=exact.covariance(log_scale, np.exp(log_sigma))).logpdf(residual)

        here, step = np.log(at.sigma), 1e-3
        curvature = (2 * density(here) - density(here + step) - density(here - step)) / step**2
        expected = 1 / np.sqrt(max(curvature, 0.0) + 1 / SIGMA_PRIOR[1] ** 2)
        assert at.log_sigma_sd == pytest.approx(expected, rel=2e-4)


def test_sigma_is_at_the_mode_of_its_exact_marginal_posterior(scales):
    exact, by_scale = scales
    for at in by_scale:

        def objective(log_sigma, log_scale=at.log_scale):
            log_prior = -0.5 * ((log_sigma - SIGMA_PRIOR[0]) / SIGMA_PRIOR[1]) ** 2
            return -exact.log_evidence(log_scale, np.exp(log_sigma)) - log_prior

        best = optimize.minimize_scalar(objective, bounds=(-9, -2), method="bounded").x
        # EM comes near in ever smaller steps: what is left is a fiftieth of the sd of log sigma at most
        assert np.log(at.sigma) == pytest.approx(best, abs=0.02 * at.log_sigma_sd)


def test_student_t_noise_ends_at_the_mode_of_the_exact_likelihood(linear_fit, rng, monkeypatch):
    """Without drift to speak of, parameters and sigma are where the exact Student-t posterior is highest."""
    nu = 4.0
    data = runs(rng, 20, 20, scatter=0.0)
    N, D = data["params"], data["tokens"]
    data["loss"] = 2.0 * (N / 1e8) ** -0.07 * (D / 1e10) ** -0.05 * np.exp(0.004 * rng.standard_t(nu, N.size))
    fit = linear_fit(data, noise="student_t", nu_minus_2=nu - 2)
    exact = Exact(fit)
    monkeypatch.setattr("bayescale.forecasts.discrepancy_posterior.LOG_SCALES", np.array([-14.0]))
    monkeypatch.setattr("bayescale.forecasts.discrepancy_posterior.EM_STILL_STEPS", -1)
    (at,) = discrepancy_of(Study.opened(fit), prior()).by_scale

    def objective(theta):
        residual = exact.y - exact.base - exact.slopes @ theta[:3]
        scale = np.exp(theta[3]) * np.sqrt(exact.variance)
        log_prior = stats.norm.logpdf(theta[:3]).sum() + stats.norm.logpdf(theta[3], *SIGMA_PRIOR)
        return -stats.t.logpdf(residual, nu, scale=scale).sum() - log_prior

    start = np.append(exact.posterior(-14.0, 0.004)[0], np.log(0.004))
    best = optimize.minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}).x
    assert np.log(at.sigma) == pytest.approx(best[3], abs=0.025), "nu + 2 for nu + 1 would move it by .09"
    error = np.sqrt((at.weights**2).sum())
    sd = np.sqrt(at.weights @ (at.draws - at.weights @ at.draws) ** 2)
    assert (np.abs(at.weights @ at.draws - best[:3]) < (0.1 + 4.5 * error) * sd).all()


def test_the_tails_beside_a_drift_are_the_priors(linear_fit, rng):
    """Whatever tails a fit without drift found; a fit whose noise is normal keeps it."""
    found = {}
    data = runs(rng, 8, 8)
    for noise, nu, tail_df in (("student_t", 30.0, 4.0), ("student_t", 4.0, None), ("normal", None, 4.0)):
        fit = linear_fit(data, noise=noise, **({} if nu is None else {"nu_minus_2": nu - 2}))
        study = Study.opened(fit)
        given = discrepancy_of(study, prior(tail_df=tail_df))
        curve = sample_curve(given, planned_runs(study, [1e10], [1e12], {}), np.random.default_rng(0))
        drawn = with_noise(study, planned_runs(study, [1e10], [1e12], {}), curve, np.random.default_rng(0))
        found[noise, tail_df] = given, curve, drawn["noise"]
    (ours, ours_curve, ours_noise), (fits, _, fits_noise), (normal, normal_curve, _) = found.values()
    np.testing.assert_array_equal(ours_curve.tail_df, 4)
    assert [at.sigma for at in ours.by_scale] == [at.sigma for at in fits.by_scale]
    np.testing.assert_array_equal(ours_noise, fits_noise)
    drawn = np.random.default_rng(0).standard_t(np.full(ours_noise.shape, 4.0))
    scales = ours_noise / drawn / ours_curve.sigma[:, None]
    np.testing.assert_allclose(scales, scales[0, 0])
    assert np.isinf(normal_curve.tail_df).all() and normal.by_scale[0].sigma != fits.by_scale[0].sigma


def test_any_noise_of_a_fit_is_drawn_as_the_student_t_it_is_most_like(linear_fit, rng, monkeypatch):
    """Its sigma beside a drift is the scale of that Student-t, not of its own formula."""
    study = Study.opened(linear_fit(runs(rng, 8, 8), noise="student_t", nu_minus_2=2.0))
    points = planned_runs(study, [1e10], [1e12], {})
    curve = sample_curve(discrepancy_of(study, prior(tail_df=4.0)), points, np.random.default_rng(0))
    drawn = with_noise(study, points, curve, np.random.default_rng(0))["noise"]
    density = log_predictive_density(study, points, np.array([0.5]), curve)
    logistic = replace(
        NOISES["student_t"],
        draw=lambda values, rng: rng.logistic(0.0, values["scale"]),
        log_density=parse("-residual/scale - log(scale) - 2*log1p(exp(-residual/scale))"),
        spread=parse("1.6*scale"),
        tail_df=parse("9"),
    )
    monkeypatch.setitem(NOISES, "logistic", logistic)
    other = replace(study, scatter=replace(study.scatter, noise="logistic"))
    np.testing.assert_array_equal(with_noise(other, points, curve, np.random.default_rng(0))["noise"], drawn)
    np.testing.assert_array_equal(log_predictive_density(other, points, np.array([0.5]), curve), density)


# ---- the forecast ---------------------------------------------------------------------------------------------------


class Cubature:
    """In place of a random generator: points whose mean and covariance are exactly those of what they stand for.

    Parameters are taken in turn, ``points`` of them; every one of them with all of the ``2 * points`` normals
    +- sqrt(points) e_i, whose mean is 0 and whose covariance is 1.
    """

    def __init__(self, choices, points):
        self.choices, self.points = choices, points

    def uniform(self):
        return 0.5

    def choice(self, count, size, p):
        assert size == self.choices * 2 * self.points and count == self.choices
        np.testing.assert_allclose(p, 1 / count)
        return np.repeat(np.arange(count), 2 * self.points)

    def standard_normal(self, size):
        if size == self.choices * 2 * self.points:
            return np.zeros(size)  # of log sigma
        unit = np.sqrt(self.points) * np.eye(self.points)
        assert size == (self.choices * 2 * self.points, self.points)
        return np.tile(np.concatenate([unit, -unit]), (self.choices, 1))

    def permutation(self, count):
        return np.arange(count)


LOG_SCALE, SIGMA = -3.0, 0.004


def given_scale(fit, drift_prior, at):
    study = Study.opened(fit)
    return Discrepancy(study, drift_prior, cells_of(study), (at,))


def forecast(linear_fit, given):
    """Draws of the curve at four points, and everything of the exact forecast: inside, at the edge, and beyond."""
    largest = 9.0, 11.0
    params, tokens = [10**8.2, 10 ** (largest[0] + 0.05), 1e10, 1e11], [10**9.7, 10 ** (largest[1] + 0.05), 1e12, 2e12]
    fit = linear_fit(draws=6 * 2 * len(params))
    exact = Exact(fit)
    mean, covariance = exact.posterior(LOG_SCALE, SIGMA)
    root = np.sqrt(3) * np.linalg.cholesky(covariance).T
    values, vectors = np.linalg.eigh(matern(exact.where, exact.where))
    whole = Covariance.of(np.exp(LOG_SCALE) * vectors * np.sqrt(values), SIGMA**2 * exact.variance)
    at = AtScale(LOG_SCALE, 0.0, SIGMA, 0.1, whole, np.concatenate([mean + root, mean - root]), np.full(6, 1 / 6))
    points = planned_runs(Study.opened(fit), params, tokens, {})
    curve = sample_curve(given_scale(fit, given, at), points, Cubature(6, len(params)))
    return exact, points, curve


def closed_form(exact, points):
    """Mean and covariance of the curve at the points, from the joint normal distribution of it and the runs."""
    base, slopes = exact.law(points["params"].values, points["tokens"].values)
    new = np.log10(np.stack([points["params"].values, points["tokens"].values], axis=1))
    variance = np.exp(2 * LOG_SCALE)
    seen = exact.covariance(LOG_SCALE, SIGMA) + exact.slopes @ exact.slopes.T
    across = variance * matern(new, exact.where) + slopes @ exact.slopes.T
    prior_covariance = variance * matern(new, new) + slopes @ slopes.T
    gain = across @ np.linalg.inv(seen)
    return base + gain @ (exact.y - exact.base), prior_covariance - gain @ across.T


def left_open(exact, points):
    """sd of what the runs leave open of the drift at the points."""
    new = np.log10(np.stack([points["params"].values, points["tokens"].values], axis=1))
    variance = np.exp(2 * LOG_SCALE)
    across = variance * matern(new, exact.where)
    explained = across @ np.linalg.solve(exact.covariance(LOG_SCALE, SIGMA), across.T)
    return np.sqrt(variance - np.diag(explained))


def test_forecast_is_the_exact_conditional_distribution(linear_fit):
    exact, points, curve = forecast(linear_fit, prior())
    mean, covariance = closed_form(exact, points)
    np.testing.assert_allclose(curve.log_loss.mean(axis=0), mean, rtol=1e-7)
    np.testing.assert_allclose(np.cov(curve.log_loss.T, bias=True), covariance, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(curve.sigma, SIGMA)


def test_the_spread_is_for_points_beyond_the_runs(linear_fit):
    """It comes in over a fifth of a decade: at half of that, half of it counts."""
    exact, points, curve = forecast(linear_fit, prior(spread=0.8))
    beyond = np.clip(np.log10(points["compute"].values / 6e20) / 0.2, 0.0, 1.0)
    np.testing.assert_allclose(beyond, [0.0, 0.5, 1.0, 1.0], atol=1e-9)
    plain, _ = closed_form(exact, points)
    np.testing.assert_allclose(curve.log_loss.mean(axis=0), plain, rtol=1e-7)
    sd = curve.parts["drift"].std(axis=0)
    np.testing.assert_allclose(sd, (1 + beyond * (0.8 - 1)) * left_open(exact, points), rtol=1e-6)


def quantiles(distribution, draws):
    """Of as many equal shares as there are draws, in order [draw, 1]."""
    return distribution.ppf((np.arange(draws) + 0.5) / draws)[:, None]


def test_the_shift_grows_with_decades_beyond_the_runs(linear_fit):
    """One Student-t shift a draw, the same at all points, times their decades beyond; the decline lowers them."""
    _, points, plain = forecast(linear_fit, prior())
    _, _, moved = forecast(linear_fit, prior(shift=0.01, decline=0.004))
    decades = np.maximum(np.log10(points["compute"].values / 6e20), 0.0)
    np.testing.assert_allclose(decades[:2], [0.0, 0.1], atol=1e-9)
    added = moved.parts["drift"] - plain.parts["drift"]
    shift = 0.01 * quantiles(stats.t(4), len(added)) - 0.004
    np.testing.assert_allclose(added, decades * shift, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(added.mean(axis=0), -0.004 * decades, atol=1e-12)
    for name in ("law", "bend"):
        np.testing.assert_array_equal(moved.parts[name], plain.parts[name])


def test_a_shift_in_units_of_the_drifts_scale(linear_fit):
    """Twice the scale in every draw, twice the shift."""
    _, points, plain = forecast(linear_fit, prior())
    decades = np.maximum(np.log10(points["compute"].values / 6e20), 0.0)
    _, _, moved = forecast(linear_fit, prior(shift_of_scale=0.3))
    added = moved.parts["drift"] - plain.parts["drift"]
    shift = 0.3 * np.exp(LOG_SCALE) * quantiles(stats.t(4), len(added))
    np.testing.assert_allclose(added, decades * shift, rtol=1e-9, atol=1e-12)


def test_the_spread_of_a_study_is_lognormal(linear_fit):
    _, _, plain = forecast(linear_fit, prior(spread=0.8))
    _, _, wide = forecast(linear_fit, prior(spread=0.8, spread_log_sd=0.5))
    # the points: inside, at half of the spread, and fully beyond
    times = np.exp(0.5 * quantiles(stats.norm, len(wide.sigma)))
    share = np.array([0.0, 0.5, 1.0, 1.0])
    expected = plain.parts["drift"] * (1 + share * (0.8 * times - 1)) / (1 + share * (0.8 - 1))
    np.testing.assert_allclose(wide.parts["drift"], expected, rtol=1e-9, atol=1e-12)


def test_what_is_left_open_between_points_is_the_exact_conditional_covariance(linear_fit):
    """One scale and no spread: c.T V c, V the covariance of the drift given the runs' residuals, c = (1, -1)."""
    exact, points, _ = forecast(linear_fit, prior())
    values, vectors = np.linalg.eigh(matern(exact.where, exact.where))
    whole = Covariance.of(np.exp(LOG_SCALE) * vectors * np.sqrt(values), SIGMA**2 * exact.variance)
    at = AtScale(LOG_SCALE, 0.0, SIGMA, 0.1, whole, np.zeros((1, 3)), np.ones(1))
    pairs = np.array([[0, 0], [2, 3], [1, 1], [3, 2], [0, 1]])
    first, second = points.isel(point=pairs[:, 0]), points.isel(point=pairs[:, 1])
    new = np.log10(np.stack([points["params"].values, points["tokens"].values], axis=1))
    variance = np.exp(2 * LOG_SCALE)
    across = variance * matern(new, exact.where)
    left = variance * matern(new, new) - across @ np.linalg.solve(exact.covariance(LOG_SCALE, SIGMA), across.T)
    contrast = np.eye(len(new))[pairs[:, 0]] - np.eye(len(new))[pairs[:, 1]]
    found = open_contrasts(given_scale(exact.fit, prior(), at), first, second)
    np.testing.assert_allclose(found, contrast @ left @ contrast.T, rtol=1e-6, atol=1e-12)
    assert found[1, 3] == pytest.approx(-found[1, 1]) and abs(found[1, 4]) > 0
    wide = open_contrasts(given_scale(exact.fit, prior(spread=0.8, spread_log_sd=0.5), at), first, second)
    mean, square = 0.8 * np.exp(0.5**2 / 2), 0.8**2 * np.exp(2 * 0.5**2)
    beyond = np.clip(np.log10(first["compute"].values / 6e20) / 0.2, 0.0, 1.0)  # the share of the spread
    factor = [[(1 - a) * (1 - b) + (a + b - 2 * a * b) * mean + a * b * square for b in beyond] for a in beyond]
    np.testing.assert_allclose(wide, found * np.array(factor), rtol=1e-9, atol=1e-12)


def test_drifts_are_in_units_of_the_runs_slope(linear_fit):
    fit = linear_fit()
    study = Study.opened(fit)
    curve = Exact(fit).base  # the parameters of the fit are the centre of their priors
    decades = np.ptp(np.log10(study.runs["params"].values * study.runs["tokens"].values))
    slope = slope_of(study, curve)
    assert slope == pytest.approx(np.ptp(curve) / decades, rel=1e-12)
    known = prior(shift=0.01, decline=0.004, slope=slope / 2)
    twice = known.at_slope(slope)
    assert twice.log_scale == pytest.approx(known.log_scale + np.log(2), rel=1e-12)
    assert (twice.shift, twice.decline) == pytest.approx((0.02, 0.008), rel=1e-12)
    assert (twice.length, twice.log_scale_sd, twice.spread) == (known.length, known.log_scale_sd, known.spread)
    assert twice.at_slope(1.0) == twice, "it is in the study's own units now"
    found = discrepancy_of(study, known).prior
    assert found.slope is None
    assert found.log_scale == pytest.approx(twice.log_scale, rel=1e-6)


def test_points_apart_are_each_the_exact_one(linear_fit):
    """Points that share their random numbers have, each by itself, the distribution that they have together."""
    fit = linear_fit(draws=40_000)
    exact = Exact(fit)
    mean, covariance = exact.posterior(LOG_SCALE, SIGMA)
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(mean, covariance, 4000)
    values, vectors = np.linalg.eigh(matern(exact.where, exact.where))
    whole = Covariance.of(np.exp(LOG_SCALE) * vectors * np.sqrt(values), SIGMA**2 * exact.variance)
    at = AtScale(LOG_SCALE, 0.0, SIGMA, 0.1, whole, draws, np.full(4000, 1 / 4000))
    points = planned_runs(Study.opened(fit), [10**8.2, 1e10], [10**9.7, 1e12], {})
    curve = sample_curve(given_scale(fit, prior(), at), points, rng, apart=True)
    expected, whole_covariance = closed_form(exact, points)
    sd = np.sqrt(np.diag(whole_covariance))
    assert (np.abs(curve.log_loss.mean(axis=0) - expected) < 5 * sd / np.sqrt(4000)).all()
    np.testing.assert_allclose(curve.log_loss.std(axis=0), sd, rtol=5 / np.sqrt(2 * 4000))
