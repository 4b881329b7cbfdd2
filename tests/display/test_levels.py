"""Bands of another level than 90 %: their ends are quantiles of the draws, in frames, tables and commands."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayescale
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.target import least_compute
from bayescale.errors import FitError
from bayescale.field import band_ends, size_text
from bayescale.fitting.clusters import clustered_posterior
from bayescale.study import Study

pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def fit(true_fit):
    return true_fit(200, spread=0.01)


def test_labels_of_levels():
    assert band_ends(0.9) == {"q05": 0.05, "q95": 0.95} and band_ends(0.5) == {"q25": 0.25, "q75": 0.75}
    assert band_ends(0.99) == {"q005": 0.005, "q995": 0.995} and band_ends(0.68) == {"q16": 0.16, "q84": 0.84}


def test_ends_are_quantiles_of_the_draws(fit):
    tree = bayescale.forecast(fit, 7e9, 140e9)
    row = bayescale.read(tree, level=0.95).frame.iloc[0]
    ends = np.quantile(tree["predictions"]["loss"].values, [0.025, 0.975])
    np.testing.assert_allclose([row.loss_q025, row.loss_q975], ends, rtol=1e-12)
    table = bayescale.show(tree, level=0.95)
    assert "95 % band" in table.title and "loss, 95 % band" in table.header
    assert f"[{ends[0]:.3f}, {ends[1]:.3f}]" in str(table)
    read = bayescale.read(tree, level=0.95).to_dict()["points"][0]["loss"]
    assert {"q025", "q975", "q05", "q95"} <= set(read)


@pytest.mark.parametrize("kind", ["allocate", "least_compute", "compute_gain"])
def test_levels_of_splits_targets_and_gains(fit, true_fit, kind):
    made = {
        "allocate": lambda: bayescale.allocate(fit, 1e22),
        "least_compute": lambda: least_compute(fit, 2.2),
        "compute_gain": lambda: compute_gain(fit, true_fit(200, spread=0.02), 1e22),
    }[kind]()
    name = {"allocate": "params", "least_compute": "compute", "compute_gain": "gain"}[kind]
    row = bayescale.read(made, level=0.99).frame.iloc[0]
    assert row[f"{name}_q005"] <= row[f"{name}_q05"] <= row[f"{name}_q95"] <= row[f"{name}_q995"]
    assert "99 % band" in str(bayescale.show(made, level=0.99)) and "90 % band" in str(bayescale.show(made))


@pytest.mark.parametrize("level", [95, 0, 1.0, "wide", True])
def test_what_is_no_level_is_refused(fit, level):
    with pytest.raises(FitError, match=re.escape("a share between 0 and 1 is expected, such as 0.95")):
        bayescale.read(bayescale.forecast(fit, 7e9, 140e9), level=level)


def test_what_has_no_bands_takes_no_level(fit):
    with pytest.raises(FitError, match="level does not go with what decide"):
        bayescale.read(bayescale.decide(fit, 1e22), level=0.95)


# ---- everything that shows a band takes a level ----------------------------------------------------------------------


def test_approaches_landmarks_and_samples_take_a_level(fit, coverage_fit):
    ways = bayescale.approaches(fit, 1e22, level=0.95)
    assert {"params_q025", "params_q50", "params_q975"} <= set(ways.data_vars) and "params_q05" not in ways
    assert "95 % band" in str(bayescale.show(ways)) and "90 %" not in str(bayescale.show(ways))
    table = bayescale.landmarks(fit, level=0.95)
    wide, usual = (one[f"times_{end}"] for one, end in ((table, "q025"), (bayescale.landmarks(fit), "q05")))
    assert (wide <= usual).all() and "N over N*, 95 % band" in str(bayescale.show(table))
    result = bayescale.train_or_sample(fit, coverage_fit, 1e22, given={"T": 1e10})
    row = bayescale.read(result, level=0.95).frame.iloc[0]
    assert row.samples_q025 <= row.samples_q05 and "95 % band" in str(bayescale.show(result, level=0.95))


def test_a_fit_is_shown_at_a_level(fit):
    table = bayescale.show(fit, level=0.95)
    ends = np.quantile(clustered_posterior(Study.opened(fit))["E"].values, [0.025, 0.975])
    assert "95 % band" in table.title and table.header[2:4] == ("q025", "q975")
    found = bayescale.fit_contents(fit, level=0.95)["parameters"]["E"]
    np.testing.assert_allclose([found["q025"], found["q975"]], ends)
    with pytest.raises(FitError, match="level does not go"):
        bayescale.show(bayescale.decide(fit, 1e22), level=0.95)


@pytest.mark.slow
def test_a_page_at_a_level(fit, undrawn):
    html = bayescale.report(fit, compute=1e22, params=7e9, tokens=140e9, target=2.3, level=0.95)
    row = bayescale.read(bayescale.forecast(fit, 7e9, 140e9), level=0.95).frame.iloc[0]
    assert f"with 95 % probability between {row.loss_q025:.3f} and {row.loss_q975:.3f}" in html
    assert "loss, 95 % band" in html and "hold 95 % unless said otherwise" in html
    split = bayescale.read(bayescale.allocate(fit, 1e22), level=0.95).frame.iloc[0]
    assert f"within {size_text(split.params_q50)} [{size_text(split.params_q025)}, " in html


def legends(figure):
    return " ".join(text.get_text() for axes in figure.axes for text in axes.findobj(plt.Text))


@pytest.mark.slow
def test_figures_at_a_level(fit, coarse):
    tree = bayescale.forecast(fit, 7e9, 140e9)
    for draw in (
        lambda **level: bayescale.plot_forecast(fit, tree, **level),
        lambda **level: bayescale.plot_frontier(fit, **level),
        lambda **level: bayescale.plot_isoflops(fit, **level),
        lambda **level: bayescale.plot_landmarks(fit, **level),
    ):
        for options, percent, other in (({}, "90", "95 %"), ({"level": 0.95}, "95", "90 %")):
            text = legends(draw(**options))
            assert percent in text and other not in text
            plt.close("all")
