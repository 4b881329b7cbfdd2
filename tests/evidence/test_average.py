"""Mixtures of laws: weights, quantiles, the share of the variance between them."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayescale
from bayescale.errors import FitError
from bayescale.evidence import average
from bayescale.evidence.average import average_allocation, average_forecast, spread_between
from bayescale.forecasts.forecast import forecast


@pytest.fixture(scope="module")
def fits(true_fit, make_fit, crossed_runs):
    near = true_fit(draws=600, spread=0.001)
    rng = np.random.default_rng(5)
    kaplan = {"level": 1.35, "slope": 0.1 * np.exp(0.01 * rng.standard_normal(600)), "lean": 0.2, "share": 0.5}
    return {"chinchilla": near, "kaplan": make_fit("kaplan", kaplan, crossed_runs(), not_identified=["lean"])}


@pytest.fixture(scope="module")
def mixed(fits):
    return average_forecast(fits, {"chinchilla": 0.75, "kaplan": 0.25}, [1e10, 1e9], [2e11, 2e10])


def test_draws_come_by_weight_and_whole(fits, mixed):
    laws = mixed["predictions"]["law"].values
    assert (laws == "kaplan").mean() == pytest.approx(0.25, abs=1 / 600) and laws.shape == (2, 300)
    parts = {"chinchilla": forecast(fits["chinchilla"], [1e10, 1e9], [2e11, 2e10], seed=0)}
    parts["kaplan"] = forecast(fits["kaplan"], [1e10, 1e9], [2e11, 2e10], seed=1)
    for name, part in parts.items():
        theirs = {tuple(row) for row in part["predictions"]["loss"].values.reshape(-1, 2)}
        ours = {tuple(row) for row in mixed["predictions"]["loss"].values[laws == name]}
        assert ours <= theirs and len(ours) == (laws == name).sum()  # whole draws over the points, none of them twice


def test_distribution_function_is_the_weighted_one(fits, mixed):
    parts = [forecast(tree, [1e10, 1e9], [2e11, 2e10], seed=i) for i, tree in enumerate(fits.values())]
    for at in np.quantile(mixed["predictions"]["loss"].values[..., 0], [0.1, 0.3, 0.5, 0.8]):
        below = [(part["predictions"]["loss"][..., 0] <= at).mean().item() for part in parts]
        expected, drawn = 0.75 * below[0] + 0.25 * below[1], mixed["predictions"]["loss"][..., 0]
        error = np.sqrt(expected * (1 - expected) * 2 / drawn.size)  # Monte Carlo, of the mixture and of its parts
        assert (drawn <= at).mean().item() == pytest.approx(expected, abs=4.5 * error)


def test_all_weight_on_one_law_is_its_forecast(fits):
    alone = average_forecast(fits, {"chinchilla": 1.0, "kaplan": 0.0}, 1e10, 2e11)
    own = forecast(fits["chinchilla"], 1e10, 2e11, seed=0)
    np.testing.assert_array_equal(
        np.sort(alone["predictions"]["loss"].values.ravel()), np.sort(own["predictions"]["loss"].values.ravel())
    )
    assert float(alone["predictions_constant_data"]["share_laws"][0]) == 0
    assert alone.attrs["law"] == "average of chinchilla 1.00"


def test_spread_between_laws_by_closed_form(rng):
    """Two normals 2 apart, sd 1 and 3, weights .75 and .25: between .75*.25*4, within .75 + .25*9."""
    quantiles = stats.norm.ppf((np.arange(80_000) + 0.5) / 80_000)
    draws = [xr.DataArray(m + s * rng.permutation(quantiles).reshape(4, -1, 1), dims=("chain", "draw", "point"))
             for m, s in ((0, 1), (2, 3))]  # fmt: skip
    between, within = spread_between(draws, np.array([0.75, 0.25]))
    assert between[0] == pytest.approx(0.75, rel=0.001)
    assert sum(within)[0] == pytest.approx(3.0, rel=0.001)


def test_shares_sum_to_one_and_are_told(mixed):
    points = mixed["predictions_constant_data"]
    names = [name for name in points.data_vars if name.startswith("share_")]
    assert set(names) == {"share_laws", "share_params", "share_drift", "share_noise"}
    np.testing.assert_allclose(sum(points[name].values for name in names), 1)
    assert set(bayescale.read(mixed).to_dict()["points"][0]["share_of_variance"]) == {
        "laws",
        "params",
        "drift",
        "noise",
    }
    assert "share_laws" in bayescale.read(mixed).frame


def test_the_laws_travel_with_the_average(mixed):
    assert json.loads(mixed.attrs["weights"]) == {"chinchilla": 0.75, "kaplan": 0.25}
    assert "the runs say next to nothing of lean (kaplan)" in bayescale.read(mixed).warnings[0]


def test_warnings_of_the_runs_travel_with_the_average_once(true_fit):
    note = {"code": "units", "text": "tokens in billions?"}
    fits = {name: true_fit(draws=100, noted=[note]) for name in ("one", "two")}
    assert bayescale.read(average_forecast(fits, {"one": 0.5, "two": 0.5}, 1e9, 2e10)).warnings.count(note["text"]) == 1
    split = average_allocation(fits, {"one": 0.5, "two": 0.5}, 1e21)
    assert bayescale.read(split).to_dict()["warnings"].count(note["text"]) == 1


def test_weights_from_a_comparison(fits):
    weights = xr.DataArray([0.003, 2.0], dims="law", coords={"law": ["kaplan", "chinchilla"]})
    chosen, values = average._weighted(fits, weights)
    assert list(chosen) == ["chinchilla"] and list(values) == [1.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"chinchilla": 1.0}, "weights are given for chinchilla, fits for chinchilla, kaplan"),
        ({"chinchilla": 1.0, "kaplan": -0.1}, "weights = 1, -0.1: finite numbers, none below 0"),
        ({"chinchilla": 0.0, "kaplan": 0.0}, "not all 0"),
        ({"chinchilla": np.nan, "kaplan": 0.5}, "weight of 'chinchilla' = nan: a number of at least 0"),
        ([0.5, 0.5], "weights by name of the law are expected, not a list"),
    ],
)
def test_weights_of_no_use(fits, weights, message):
    with pytest.raises(FitError, match=message):
        average_forecast(fits, weights, 1e10, 2e11)


@pytest.mark.slow
def test_allocation(fits):
    weights = {"chinchilla": 0.75, "kaplan": 0.25}
    result = average_allocation(fits, weights, [1e21, 1e23])
    np.testing.assert_allclose((6 * result["N"] * result["D"] / result["compute"]).values, 1)
    of_kaplan = result["law"].values == "kaplan"
    assert of_kaplan.mean() == pytest.approx(0.25, abs=1 / 600)
    log_n = np.log(result["N"].values)
    medians = [np.median(log_n[of_kaplan], axis=0), np.median(log_n[~of_kaplan], axis=0)]
    between = 0.75 * 0.25 * (medians[0] - medians[1]) ** 2
    assert (result["share_laws"] > 0).all() and (result["share_laws"] < 1).all() and (between > 0).all()
    table = bayescale.read(result).frame
    assert table["loss_q50"].notna().all() and table["params_q05"][0] < table["params_q95"][0]
    assert bayescale.read(result).to_dict()["law"] == "average of chinchilla 0.75, kaplan 0.25"
    assert isinstance(list(bayescale.read(result).warnings), list)
