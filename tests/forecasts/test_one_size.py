"""The discrepancy of laws of one size: along their own size."""

import numpy as np
import pytest

import bayescale
from bayescale.forecasts.discrepancy import one_size, shipped_prior, slope_of
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.forecast import forecast
from bayescale.laws.law import law_names, load_law
from bayescale.study import Study

pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def curve(make_fit):
    def make(power=0.15):
        tokens = np.geomspace(1e8, 1e10, 20)
        rng = np.random.default_rng(4)
        loss = 3.0 * (tokens / 1e8) ** -power * np.exp(0.002 * rng.standard_normal(20))
        draws = {
            "level": 10**power * np.exp(1e-3 * rng.standard_normal(400)),
            "alpha_D": power + 1e-3 * rng.uniform(size=400),
        }
        return make_fit("power_tokens", draws, {"tokens": tokens, "loss": loss}, scatter={"sigma": 0.002})

    return make


def width(fit, tokens, seed=0):
    log_loss = np.log(
        forecast(fit, tokens=tokens, seed=seed)["predictions"]["loss"].values.reshape(-1, np.size(tokens))
    )
    return np.ptp(np.quantile(log_loss, [0.05, 0.95], axis=0), axis=0)


def test_the_band_opens_along_the_laws_own_size(curve):
    """The shift is in units of the drift's scale: of draws whose shift is 0 the band is narrower by it."""
    fit = curve()
    inside, near, far = width(fit, [1e9, 3e10, 3e11])
    found = discrepancy_of(Study.opened(fit))
    scale = np.exp(found.probabilities @ [at.log_scale for at in found.by_scale])
    shift = shipped_prior("drift_one_size").shift_of_scale * scale  # a decade
    for band, decades in ((near, np.log10(3)), (far, np.log10(30))):
        assert band > 0.8 * 2 * 2.13 * shift * decades, "5 % points of a Student-t of 4 degrees of freedom"
    assert inside < 0.5 * near < 0.5 * far


def test_flat_and_steep_curves_open_alike(curve):
    # one forecast of 400 draws with heavy tails tells the width to some 7 %
    flat, steep = (np.mean([width(curve(power), [1e11], seed) for seed in range(8)]) for power in (0.1, 0.3))
    assert steep / flat == pytest.approx(1, rel=0.15)


def test_slope_along_the_size(curve):
    study = Study.opened(curve())
    line = -0.15 * np.log(study.runs["tokens"].values)
    assert slope_of(study, line) == pytest.approx(0.15 * np.log(10), rel=1e-9)


def test_which_laws_have_one_size():
    sizes = {name: one_size(load_law(name)) for name in law_names()}
    assert sizes["floor_compute"] == "compute" and sizes["m4"] == "x" and sizes["coverage"] == "samples"
    assert sizes["coupled"] is None and sizes["accuracy_sigmoid"] is None
    assert sizes["kaplan_steps"] == sizes["floor_params"] == "params"


def test_far_points_are_said_to_be_unchecked(curve):
    near, far = (bayescale.read(forecast(curve(), tokens=tokens)).warnings for tokens in (2e10, 1e12))
    assert not any("decades of tokens" in text for text in near)
    assert any("bands were checked on real studies up to 0.35 decades of tokens" in text for text in far)
