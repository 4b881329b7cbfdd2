from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, special, stats

from bayescale.errors import FitError
from bayescale.laws.derivatives import derivative
from bayescale.laws.formula import Binary, Number, evaluate
from bayescale.laws.input_errors import known_variance
from bayescale.laws.law import load_law
from bayescale.laws.law_file import RESERVED, Observed
from bayescale.laws.noises import NOISES
from bayescale.laws.priors import quantile
from bayescale.laws.scatter import Scatter, log_density_of_run

VALUES = {"sigma": 0.01, "tilt": 0.1, "nu_minus_2": 3.0}
REFERENCE = {"student_t": stats.t(df=5), "normal": stats.norm()}
SHARE = Scatter("beta_binomial", Observed("accuracy", "A", "proportion", "count"))
BETA = Scatter("beta", Observed("accuracy", "A", "share"))


def of_loss(noise):
    return Scatter(noise, Observed())


@pytest.mark.parametrize("name", REFERENCE)
def test_log_density_is_scipys(name):
    residual, scale = np.array([-0.3, 0.0, 0.01, 5.0]), np.array([0.01, 0.02, 0.1, 1.0])
    expected = REFERENCE[name].logpdf(residual / scale) - np.log(scale)
    np.testing.assert_allclose(of_loss(name).log_density_of(residual, scale, VALUES), expected, rtol=1e-12)


OF_RESIDUALS = [name for name, noise in NOISES.items() if "proportion" not in noise.observed]


def values_of(name):
    """The medians of the priors of a noise."""
    return {key: float(quantile(prior, 0.5)) for key, prior in NOISES[name].priors.items()}


@pytest.mark.parametrize("name", OF_RESIDUALS)
def test_cdf_of_every_noise_is_the_integral_of_its_density(name):
    noise, values, z = NOISES[name], values_of(name), np.linspace(-60, 60, 240_001)
    at = {**values, "residual": z, "scale": 1.0, "share": 0.7}
    integral = integrate.cumulative_trapezoid(np.exp(evaluate(noise.log_density, at)), z, initial=0.0)
    cdf = noise.cdf(at)
    np.testing.assert_allclose(cdf - cdf[0], integral, atol=1e-6)
    assert cdf[0] < 1e-3 and cdf[-1] > 1 - 1e-3


@pytest.mark.parametrize("name", OF_RESIDUALS)
def test_draws_of_every_noise_follow_its_cdf(name, rng):
    at = {**values_of(name), "scale": np.full(20_000, 0.1), "share": 0.7}
    draws = np.sort(NOISES[name].draw(at, rng))
    cdf = NOISES[name].cdf({**at, "residual": draws})
    # Kolmogorov's distance: below 1.95 / sqrt(n) in all but 1 of 1000
    assert np.abs(cdf - (np.arange(20_000) + 0.5) / 20_000).max() < 1.95 / np.sqrt(20_000)


@pytest.mark.parametrize("name", ["student_t", "normal"])
def test_the_student_t_that_stands_for_these_noises_is_themselves(name):
    nu = float(of_loss(name).tail_df(VALUES))
    assert nu == (5.0 if name == "student_t" else np.inf)
    z = np.linspace(-8, 8, 33)
    density = stats.norm if name == "normal" else stats.t(nu)
    np.testing.assert_allclose(of_loss(name).log_density_of(z, 1.0, VALUES), density.logpdf(z), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in OF_RESIDUALS if "log" in NOISES[name].observed])
def test_the_student_t_that_a_noise_is_most_like_is_as_wide(name, rng):
    """What is drawn in its place has the same middle half, within a tenth; a noise of twice its spread would not."""
    values = VALUES | {"scale": np.ones(200_000)}
    drawn = NOISES[name].draw(values, rng)
    spread = evaluate(NOISES[name].spread, {**VALUES, "scale": 1.0})
    like = spread * stats.t(of_loss(name).tail_df(VALUES)).ppf(0.75)
    assert np.quantile(np.abs(drawn), 0.5) == pytest.approx(like, rel=0.1)


@pytest.mark.parametrize("name", [name for name, noise in NOISES.items() if noise.log_above is not None])
def test_the_probability_above_is_what_the_distribution_function_leaves(name):
    excess = np.array([-3.0, -0.5, 0.0, 1.0, 4.0])
    above = of_loss(name).log_above(excess, VALUES)
    below = NOISES[name].cdf({**VALUES, "residual": excess, "scale": 1.0})
    np.testing.assert_allclose(np.exp(above), 1 - below, rtol=1e-7)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_log_density_is_that_of_the_residual(scale):
    unit = 1.0 if scale == "log" else 4.0
    scatter = Scatter("student_t", Observed("y", "L", scale), unit)
    shown, predicted, covariate = np.array([2.0, 2.1, 2.6]), 2.05, np.array([-1.0, 0.0, 2.0])
    seen = np.log(shown) if scale == "log" else shown
    residual = np.log(shown / predicted) if scale == "log" else shown - predicted
    width, given = unit * (1e-4 + 0.01 * np.exp(0.1 * covariate)), {"log_compute": covariate}
    expected = stats.t(df=5, scale=width)
    np.testing.assert_allclose(scatter.residual(seen, predicted) * unit, residual, rtol=1e-12)
    np.testing.assert_allclose(scatter.log_density(seen, predicted, given, VALUES), expected.logpdf(residual))
    np.testing.assert_allclose(scatter.cdf(seen, predicted, given, VALUES), expected.cdf(residual))
    np.testing.assert_allclose(scatter.inverse(scatter.transform(shown)), shown, rtol=1e-14)


@pytest.mark.parametrize("name", REFERENCE)
def test_draws_have_the_quantiles_of_the_density(name, rng):
    scale = np.broadcast_to([0.01, 0.1], (20_000, 2))
    values = VALUES | {"nu_minus_2": np.full((20_000, 1), 3.0)}
    draws = of_loss(name).sample_noise(scale, values, rng)
    assert draws.shape == scale.shape
    for probability in (0.05, 0.25, 0.5, 0.75, 0.95):
        # the share below a quantile has a standard deviation of at most 0.0035
        below = (draws / scale < REFERENCE[name].ppf(probability)).mean(axis=0)
        np.testing.assert_allclose(below, probability, atol=0.02)


def test_each_draw_has_its_own_degrees_of_freedom(rng):
    scale = np.ones((2, 20_000))
    draws = of_loss("student_t").sample_noise(scale, {"nu_minus_2": np.array([[0.1], [1000.0]])}, rng)
    heavy, light = (np.abs(draws) > 5).mean(axis=1)
    assert heavy > 0.01 and light < 0.001


def test_runs_that_are_drawn_scatter_as_the_density_says(rng):
    predicted, covariate = np.full((20_000, 2), 2.0), np.array([0.0, 3.0])
    loss = of_loss("normal").sample(predicted, {"log_compute": covariate}, VALUES, rng)
    np.testing.assert_allclose(np.log(loss / 2.0).std(axis=0), 1e-4 + 0.01 * np.exp(0.1 * covariate), rtol=0.03)
    scatter = Scatter("normal", Observed("y", "L", "linear"), unit=4.0)
    linear = scatter.sample(predicted - 2.0, {"log_compute": covariate}, VALUES, rng)
    np.testing.assert_allclose(linear.std(axis=0) / 4.0, 1e-4 + 0.01 * np.exp(0.1 * covariate), rtol=0.03)


def test_scale_changes_with_compute():
    assert of_loss("normal").scale_at({"log_compute": np.log(10.0)}, VALUES) == pytest.approx(1e-4 + 0.01 * 10**0.1)
    assert of_loss("normal").scale_at({"log_compute": 0.0}, VALUES) == pytest.approx(1e-4 + 0.01)
    known = {"log_compute": 0.0, "known_variance": 0.03**2}
    assert of_loss("normal").scale_at(known, VALUES) == pytest.approx(np.hypot(1e-4 + 0.01, 0.03))


def test_noise_must_be_for_what_the_law_explains():
    law = load_law("chinchilla")
    assert Scatter.of(law).noise == "student_t" and Scatter.of(law).unit == 1.0
    with pytest.raises(FitError, match="unknown noise 'cauchy'; the noises are student_t, normal, beta_binomial"):
        Scatter.of(law, "cauchy")
    with pytest.raises(FitError, match=r"not for what law 'chinchilla' explains .* allowed are student_t, normal"):
        Scatter.of(law, "beta_binomial")


def test_parameters_of_a_noise_are_reserved_in_law_files():
    for noise in NOISES.values():
        assert set(noise.priors) <= RESERVED
        assert noise.about and all(prior.about for prior in noise.priors.values())


def test_log_mass_is_scipys_beta_binomial():
    successes, count, share, overdispersion = np.array([0, 3, 50, 100]), 100, np.array([0.1, 0.02, 0.5, 0.97]), 0.05
    size = 1 / overdispersion - 1
    expected = stats.betabinom(count, share * size, (1 - share) * size)
    given = successes / count, share, {"count": count}, {"overdispersion": overdispersion}
    np.testing.assert_allclose(SHARE.log_density(*given), expected.logpmf(successes), rtol=1e-9)
    middle = expected.cdf(successes) - expected.pmf(successes) / 2
    np.testing.assert_allclose(SHARE.cdf(*given), middle, rtol=1e-9)


def test_shares_scatter_more_than_independent_items(rng):
    share, items = np.full(20_000, 0.3), {"count": 200}
    independent, alike = (SHARE.sample(share, items, {"overdispersion": rho}, rng).std() for rho in (1e-9, 0.05))
    binomial = np.sqrt(0.3 * 0.7 / 200)
    assert independent == pytest.approx(binomial, rel=0.03)
    assert alike == pytest.approx(binomial * np.sqrt(1 + 199 * 0.05), rel=0.03)  # variance of the beta-binomial


def test_beta_is_scipys_and_of_log_odds():
    """The density of log odds z of a share y is that of y times dy/dz = y (1 - y)."""
    shown, share, scale = np.array([0.01, 0.4, 0.999]), np.array([0.05, 0.5, 0.97]), np.array([0.02, 0.1, 0.6])
    values, covariates = {"sigma": scale - 1e-4, "tilt": 0.0}, {"log_compute": np.zeros(3)}
    expected = stats.beta(share / scale**2, (1 - share) / scale**2)
    given = BETA.transform(shown), share, covariates, values
    log_density = expected.logpdf(shown) + np.log(shown * (1 - shown))
    np.testing.assert_allclose(BETA.log_density(*given), log_density, rtol=1e-9)
    np.testing.assert_allclose(BETA.cdf(*given), expected.cdf(shown), rtol=1e-9)


def test_slopes_of_the_beta_density_are_those_of_scipys():
    formula, at = NOISES["beta"].log_density, {"residual": 0.3, "share": 0.6, "scale": 0.1}

    def by_scipy(share, scale):  # of a given share that was seen
        seen = special.expit(0.3 + special.logit(0.6))
        return stats.beta.logpdf(seen, share / scale**2, (1 - share) / scale**2)

    step = 1e-6
    by_residual = Binary("/", derivative(formula, "residual"), Number(0.6 * 0.4))  # it falls as the log odds rise
    by_share = Binary("-", derivative(formula, "share"), by_residual)
    slope = (by_scipy(0.6 + step, 0.1) - by_scipy(0.6 - step, 0.1)) / (2 * step)
    assert evaluate(by_share, at) == pytest.approx(slope, rel=1e-6)
    slope = (by_scipy(0.6, 0.1 + step) - by_scipy(0.6, 0.1 - step)) / (2 * step)
    assert evaluate(derivative(formula, "scale"), at) == pytest.approx(slope, rel=1e-6)


def test_beta_shares_scatter_by_the_law_and_stay_inside(rng):
    share, values, covariates = np.array([0.02, 0.5, 0.98]), {"sigma": 0.1 - 1e-4, "tilt": 0.0}, {"log_compute": 0.0}
    drawn = BETA.sample(np.broadcast_to(share, (20_000, 3)), covariates, values, rng)
    np.testing.assert_allclose(drawn.mean(axis=0), share, atol=5 * 0.05 / np.sqrt(20_000))
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(share * (1 - share) * 0.01 / 1.01), rtol=0.05)
    far = BETA.sample(np.broadcast_to([1e-6, 1 - 1e-6], (20_000, 2)), covariates, values | {"sigma": 0.9}, rng)
    assert ((far > 0) & (far < 1)).all()  # of which most are 0 or 1 to all digits


def test_the_spread_of_a_noise_is_the_sd_of_what_scatters(rng):
    share, values, covariates = np.full(20_000, 0.8), {"sigma": 0.02, "tilt": 0.0}, {"log_compute": 0.0}
    odds = BETA.sample_transformed(share, covariates, values, rng)
    assert BETA.spread_at(share[0], covariates, values) == pytest.approx(odds.std(), rel=0.03)
    alike, items = {"overdispersion": 0.05}, {"count": 200.0}
    assert SHARE.spread_at(0.8, items, alike) == pytest.approx(SHARE.sample(share, items, alike, rng).std(), rel=0.03)
    linear = Scatter("normal", Observed("y", "L", "linear"), unit=4.0)
    assert linear.spread_at(1.0, covariates, values) == pytest.approx(4.0 * (1e-4 + 0.02))


def test_known_errors_of_a_share_are_in_the_unit_of_its_noise():
    """A standard error e of a share adds e^2 to its variance share*(1 - share)*scale^2."""
    at = {"known_error": 0.01 / (0.8 * 0.2), "predicted": 0.8}
    variance = evaluate(known_variance("share", ["known_error"], "beta"), at)
    assert variance * 0.8 * 0.2 == pytest.approx(0.01**2)
    assert evaluate(known_variance("share", ["known_error"], "normal"), at) == pytest.approx((0.01 / 0.16) ** 2)


def test_noise_without_a_probability_above_is_not_for_censored_runs(monkeypatch):
    monkeypatch.setitem(NOISES, "normal", replace(NOISES["normal"], log_above=None))
    with pytest.raises(FitError, match="noise 'normal' is not for censored runs; allowed are student_t"):
        log_density_of_run("normal", {"censored"})
    assert log_density_of_run("normal", set()) == NOISES["normal"].log_density
