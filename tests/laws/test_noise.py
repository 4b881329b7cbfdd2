import numpy as np
import pytest
from scipy import stats

from bayescale.laws.law_file import RESERVED
from bayescale.laws.scatter import NOISES, cumulative, log_density, log_mass, noise_scale, sample_noise, sample_share

VALUES = {"sigma": 0.01, "tilt": 0.1, "nu_minus_2": 3.0}
REFERENCE = {"student_t": stats.t(df=5), "normal": stats.norm()}


@pytest.mark.parametrize("name", REFERENCE)
def test_log_density_is_scipys(name):
    residual, scale = np.array([-0.3, 0.0, 0.01, 5.0]), np.array([0.01, 0.02, 0.1, 1.0])
    expected = REFERENCE[name].logpdf(residual / scale) - np.log(scale)
    np.testing.assert_allclose(log_density(NOISES[name], residual, scale, VALUES), expected, rtol=1e-12)


@pytest.mark.parametrize("name", REFERENCE)
def test_draws_have_the_quantiles_of_the_density(name, rng):
    scale = np.broadcast_to([0.01, 0.1], (20_000, 2))
    values = VALUES | {"nu_minus_2": np.full(20_000, 3.0)}
    draws = sample_noise(NOISES[name], scale, values, rng)
    assert draws.shape == scale.shape
    for probability in (0.05, 0.25, 0.5, 0.75, 0.95):
        # the share below a quantile has a standard deviation of at most 0.0035
        below = (draws / scale < REFERENCE[name].ppf(probability)).mean(axis=0)
        np.testing.assert_allclose(below, probability, atol=0.02)


def test_each_draw_has_its_own_degrees_of_freedom(rng):
    scale = np.ones((2, 20_000))
    draws = sample_noise(NOISES["student_t"], scale, {"nu_minus_2": np.array([0.1, 1000.0])}, rng)
    heavy, light = (np.abs(draws) > 5).mean(axis=1)
    assert heavy > 0.01 and light < 0.001


def test_scale_changes_with_compute():
    assert noise_scale(VALUES, np.log(10.0)) == pytest.approx(1e-4 + 0.01 * 10**0.1)
    assert noise_scale(VALUES, 0.0) == pytest.approx(1e-4 + 0.01)


def test_parameters_of_a_noise_are_reserved_in_law_files():
    for noise in NOISES.values():
        assert set(noise.priors) <= RESERVED
        assert noise.about and all(prior.about for prior in noise.priors.values())


def test_log_mass_is_scipys_beta_binomial():
    successes, count, share, overdispersion = np.array([0, 3, 50, 100]), 100, np.array([0.1, 0.02, 0.5, 0.97]), 0.05
    size = 1 / overdispersion - 1
    expected = stats.betabinom(count, share * size, (1 - share) * size).logpmf(successes)
    np.testing.assert_allclose(log_mass(successes, count, share, overdispersion), expected, rtol=1e-9)


def test_shares_scatter_more_than_independent_items(rng):
    share = np.full(20_000, 0.3)
    independent, alike = (sample_share(200, share, np.full(20_000, rho), rng).std() for rho in (1e-9, 0.05))
    binomial = np.sqrt(0.3 * 0.7 / 200)
    assert independent == pytest.approx(binomial, rel=0.03)
    assert alike == pytest.approx(binomial * np.sqrt(1 + 199 * 0.05), rel=0.03)  # variance of the beta-binomial


@pytest.mark.parametrize("name", ["student_t", "normal"])
def test_distribution_function_is_scipys(name):
    residual, scale, values = np.linspace(-0.02, 0.03, 7), 0.005, {"nu_minus_2": 3.0}
    exact = stats.t(5.0, scale=scale) if NOISES[name].robust else stats.norm(scale=scale)
    np.testing.assert_allclose(cumulative(NOISES[name], residual, scale, values), exact.cdf(residual), rtol=1e-9)
