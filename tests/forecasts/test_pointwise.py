"""Forecasts of many points at once against the forecast of each alone."""

import numpy as np
import pytest

import bayescale
from bayescale.forecasts.forecast import QUANTILES, forecast
from bayescale.forecasts.pointwise import POINTS_AT_ONCE, forecast_each

pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.mark.parametrize("seed", [0, 7])
def test_each_as_if_alone(true_fit, seed):
    """Inside the runs, beyond them, and far from their shape; in the first and in a later block of points."""
    fit = true_fit(400)
    N = np.concatenate([[1e9, 70e9, 1e8], np.geomspace(1e8, 1e10, POINTS_AT_ONCE), [3e9]])
    D = np.concatenate([[2e10, 1.4e12, 1e13], np.geomspace(1e10, 1e11, POINTS_AT_ONCE), [6e12]])
    every = forecast_each(fit, N, D, seed=seed)
    for i in (0, 1, 2, len(N) - 1):
        row = bayescale.read(forecast(fit, N[i], D[i], seed=seed)).frame.iloc[0]
        np.testing.assert_allclose(
            [every[name][i] for name in QUANTILES], [row[f"loss_{q}"] for q in QUANTILES], rtol=1e-9
        )
        np.testing.assert_allclose(
            [every[name][i] for name in ("params", "drift", "noise", "decades_beyond", "nearest_run")],
            row[["share_params", "share_drift", "share_noise", "decades_beyond", "nearest_run"]].astype(float),
            rtol=1e-7,
        )


def test_bands_along_a_curve_are_smooth(true_fit):
    """Joint draws of neighbours would jump by the chance of a quantile; these do not."""
    C = np.geomspace(1e22, 1e23, 60)
    N = np.sqrt(C / 120)
    upper = np.log(forecast_each(true_fit(400), N, 20 * N)["q95"].values)
    assert np.abs(np.diff(upper, 2)).max() < 2e-3
