import json

import numpy as np
import pytest
import xarray as xr
from conftest import BESIROGLU, chinchilla_loss, chinchilla_parameters
from scipy.special import ndtri

import bayescale
from bayescale.errors import FitError
from bayescale.forecasts import discrepancy_posterior as posterior_module
from bayescale.forecasts.curve import sample_curve, with_noise
from bayescale.forecasts.discrepancy import DriftPrior
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.forecast import QUANTILES, edge_error, forecast, probability_to_reach
from bayescale.forecasts.planned import planned_runs
from bayescale.study import Study

LARGEST = 6 * 10**9.5 * 1e11  # compute of the largest of the crossed runs


@pytest.fixture(scope="module")
def learnt(true_fit):
    return true_fit()


@pytest.fixture(scope="module")
def near(learnt):
    return forecast(learnt, 1e10, 1e11)


def parts(fit, params, tokens, seed=0):
    """The parts of log loss, [draw, point] each, and the surface that a run scatters around: all of them but noise."""
    found, rng = discrepancy_of(Study.opened(fit)), np.random.default_rng(seed)
    points = planned_runs(found.study, params, tokens, {})
    drawn = with_noise(found.study, points, sample_curve(found, points, rng), rng)
    return drawn | {"surface": sum(part for name, part in drawn.items() if name != "noise")}


def log_width(tree, name="loss"):
    """Width of the 90 % band of log loss [point]."""
    low, high = np.log(tree["predictions"][name]).quantile([0.05, 0.95], dim=("chain", "draw")).values
    return high - low


# ---- the law alone, against arithmetic by hand ----------------------------------------------------------------------


def test_law_loss_of_two_draws_by_hand(crossed_runs, make_fit):
    runs = crossed_runs()
    constants = {
        "E": [1.8, 1.7],
        "A": [480.0, 400.0],
        "B": [2085.0, 410.0],
        "alpha": [0.35, 0.34],
        "beta": [0.37, 0.28],
    }
    constants = {name: np.array(values) for name, values in constants.items()}
    fit = make_fit("chinchilla", chinchilla_parameters(runs, **constants), runs)
    tree = forecast(fit, [7e9, 70e9], [2e11, 1.4e12])
    for draw in range(2):
        one = {name: values[draw] for name, values in constants.items()}
        expected = [chinchilla_loss(7e9, 2e11, **one), chinchilla_loss(70e9, 1.4e12, **one)]
        np.testing.assert_allclose(tree["predictions"]["law_loss"].values[draw, 0], expected, rtol=1e-12)


def test_law_of_the_users_own_by_hand(crossed_runs, make_fit, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "one axis"\ncite = "none"\nformula = "L_ref * level * (N/N_ref)**(-slope) * epochs**(-gain)"\n'
        "[priors]\n"
        'level = { dist = "LogNormal", mu = 0.0, sigma = 0.3, about = "a" }\n'
        'slope = { dist = "LogNormal", mu = -2.3, sigma = 0.6, about = "b" }\n'
        'gain = { dist = "LogNormal", mu = -2.3, sigma = 0.6, about = "c" }\n'
    )
    runs = crossed_runs()
    runs["epochs"] = ("run", np.tile([1.0, 4.0], 12))
    fit = make_fit(path, {"level": [1.0, 1.1], "slope": [0.1, 0.05], "gain": [0.02, 0.03]}, runs)
    tree = forecast(fit, 1e10, covariates={"epochs": 2})
    n_ref, l_ref = float(fit["constant_data"]["N_ref"]), float(runs["loss"].min())
    expected = [l_ref * 1.0 * (1e10 / n_ref) ** -0.1 * 2**-0.02, l_ref * 1.1 * (1e10 / n_ref) ** -0.05 * 2**-0.03]
    np.testing.assert_allclose(tree["predictions"]["law_loss"].values[:, 0].ravel(), expected, rtol=1e-12)
    with pytest.raises(FitError, match="law 'mine' also needs epochs; its inputs are params, epochs"):
        forecast(fit, 1e10, 1e12)


def test_the_forecast_tree(learnt):
    tree = forecast(learnt, [1e9, 1e10, 1e11], 1e12)
    assert set(tree.children) == {"predictions", "predictions_constant_data"}
    for name in ("law_loss", "loss"):
        assert tree["predictions"][name].dims == ("chain", "draw", "point")
        assert tree["predictions"][name].shape == (2, 1000, 3)
    points = tree["predictions_constant_data"]
    np.testing.assert_array_equal(points["compute"], 6e12 * np.array([1e9, 1e10, 1e11]))
    np.testing.assert_allclose(points["decades_beyond"], np.maximum(0, np.log10(points["compute"] / LARGEST)))
    assert points["decades_beyond"][0] > 0 and tree.attrs["law"] == "chinchilla"
    assert forecast(learnt, 1e8, 1e10)["predictions_constant_data"]["decades_beyond"] == 0


def test_band_holds_the_truth_where_the_law_is_right(learnt):
    N, D = np.array([1e9, 1e10, 7e10]), np.array([5e10, 5e11, 1.4e12])
    for name in ("law_loss", "loss"):
        low, high = forecast(learnt, N, D)["predictions"][name].quantile([0.05, 0.95], dim=("chain", "draw")).values
        truth = chinchilla_loss(N, D, **BESIROGLU)
        assert (low < truth).all() and (truth < high).all(), name


def test_the_fit_is_left_as_it_was(learnt):
    before = learnt.copy(deep=True)
    forecast(learnt, 1e10, 1e12)
    assert learnt.identical(before)


# ---- drift and noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["params", "tokens", "both"])
def test_drift_opens_with_distance(learnt, axis):
    steps = 10.0 ** np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    params = 10**9.5 * (steps if axis in ("params", "both") else np.ones(5))
    tokens = 1e11 * (steps if axis in ("tokens", "both") else np.ones(5))
    sd = parts(learnt, params, tokens)["surface"].std(axis=0)
    assert (np.diff(sd) > 0).all() and sd[-1] > 3 * sd[0], sd


def test_drift_is_small_inside_the_data(learnt):
    inside, beyond = parts(learnt, [10**8.5, 10**10.5], [1e10, 1e12])["surface"].std(axis=0)
    assert inside < 0.003 and inside < beyond / 3


def test_drift_is_shared_by_near_points(learnt):
    correlation = np.corrcoef(parts(learnt, [1e11, 1.1e11, 1e8], [1e12, 1e12, 1e10])["surface"].T)
    assert correlation[0, 1] > 0.98
    assert abs(correlation[0, 2]) < 0.6


def test_band_of_loss_is_wider_than_that_of_the_law(true_fit):
    tree = forecast(true_fit(spread=0.001), [1e9, 1e10, 1e11], [1e11, 1e12, 1e13])
    assert (log_width(tree) > log_width(tree, "law_loss")).all()
    assert (np.diff(log_width(tree)) > 0).all()


@pytest.mark.parametrize("tilt", [-0.2, 0.2])
def test_noise_is_not_extrapolated(true_fit, tilt):
    """A trend of the noise holds inside the data; beyond them the noise is that of their edge."""
    fit = true_fit(draws=20_000, scatter={"sigma": 0.02, "tilt": tilt})
    smallest = 6 * 10**7.5 * 1e9
    noise = parts(fit, [10**7.5, 10**9.5, 1e11, 1e13], [1e9, 1e11, 1e12, 1e13])["noise"]
    width = np.subtract(*np.quantile(noise, [0.75, 0.25], axis=0))  # the sd of such tails is that of a few draws
    assert width[1] / width[0] == pytest.approx((LARGEST / smallest) ** tilt, rel=0.1)
    np.testing.assert_allclose(width[2:], width[1], rtol=0.1)


def test_noise_is_drawn_for_each_run_on_its_own(learnt):
    noise = parts(learnt, [1e11, 1e11], [1e12, 1e12])["noise"]
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.1


def test_shares_of_the_variance_sum_to_one(learnt):
    points = forecast(learnt, [1e8, 1e10, 1e12], [1e10, 1e12, 1e14])["predictions_constant_data"]
    shares = np.stack([points[f"share_{name}"] for name in ("params", "drift", "noise")])
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    assert (shares >= 0).all()
    assert shares[2, 0] > 0.5 and shares[2, 2] < shares[2, 0], "inside the data the noise is what is left"


@pytest.mark.parametrize("noise", ["student_t", "normal"])
def test_both_noises(true_fit, noise):
    assert np.isfinite(forecast(true_fit(draws=200, noise=noise), 1e10, 1e12)["predictions"]["loss"]).all()


# ---- seeds ----------------------------------------------------------------------------------------------------------


def test_seeds(learnt):
    a, b, c = (forecast(learnt, [1e10, 1e11], 1e12, seed=seed)["predictions"] for seed in (0, 0, 1))
    assert a.identical(b)
    assert a["law_loss"].identical(c["law_loss"]), "the law's own draws are those of the fit"
    assert not np.array_equal(a["loss"], c["loss"])
    np.testing.assert_allclose(a["loss"].median(("chain", "draw")), c["loss"].median(("chain", "draw")), rtol=0.01)


@pytest.mark.parametrize("seed", [-1, 0.5, "now", None])
def test_seed_of_no_use(learnt, seed):
    with pytest.raises(FitError, match=r"seed = .* \(a whole number of at least 0 is expected\)"):
        forecast(learnt, 1e10, 1e12, seed=seed)


# ---- the risk of missing a target -----------------------------------------------------------------------------------


def test_probability_to_reach_a_target(learnt):
    tree = forecast(learnt, [1e10, 1e11], [1e12, 1e13])
    targets = np.linspace(1.5, 3, 31)
    reached = np.array([probability_to_reach(tree, target) for target in targets])
    assert (np.diff(reached, axis=0) >= 0).all() and (reached[0] < 0.05).all() and (reached[-1] == 1).all()
    likely = reached[:, 0] < 0.95  # the larger run has the wider band, so its upper tail may reach farther
    assert (reached[likely, 1] >= reached[likely, 0]).all(), "the larger run reaches a target sooner"
    for label, share in QUANTILES.items():
        at = bayescale.read(tree).frame[f"loss_{label}"]
        assert probability_to_reach(tree, at[0])[0] == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize("target", [0.0, -1.0, np.nan, np.inf])
def test_target_of_no_use(near, target):
    with pytest.raises(FitError, match=r"target = .*: a loss above 0 is expected"):
        probability_to_reach(near, target)


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "tokens", "message"),
    [
        (0, 1e12, "params = 0: a planned run needs a finite number above 0"),
        (1e10, -1e12, r"tokens = -1e12: a planned run needs a finite number above 0"),
        (np.nan, 1e12, "params = nan: a planned run"),
        ([1e10, np.inf], 1e12, "params = inf: a planned run"),
        (
            [1e9, 1e10],
            [1e11, 1e12, 1e13],
            "params, tokens and covariates must be numbers, or sequences of one length",
        ),
        ("seventy", 1e12, "params must be a number, or a flat sequence of them, not 'seventy'"),
        ([], [], "params must be a number, or a flat sequence of them; this is empty"),
        (np.full(2001, 1e9), 1e12, "2001 points: 1 to 2000 can be forecast together"),
        (np.full((2, 2), 1e9), 1e12, "params must be a number, or a flat sequence of them; this is of 2 dimensions"),
    ],
)
def test_sizes_of_no_use(learnt, params, tokens, message):
    with pytest.raises(FitError, match=message):
        forecast(learnt, params, tokens)


def test_law_that_overflows(crossed_runs, make_fit, tmp_path):
    path = tmp_path / "steep.toml"
    path.write_text(
        'title = "steep"\ncite = "none"\nformula = "L_ref * level * exp((N/N_ref)**slope - 1)"\n[priors]\n'
        'level = { dist = "LogNormal", mu = 0.0, sigma = 0.3, about = "a" }\n'
        'slope = { dist = "LogNormal", mu = 0.0, sigma = 0.3, about = "b" }\n'
    )
    fit = make_fit(path, {"level": [1.0, 1.1], "slope": [1.0, 1.1]}, crossed_runs())
    with pytest.raises(FitError, match="the law has no finite value at one of the points: they are too far"):
        forecast(fit, 1e15)


# ---- how far to trust it, and what machines read --------------------------------------------------------------------


def test_nothing_against_a_near_forecast(near):
    assert bayescale.read(near).warnings == bayescale.read(near).says == ()


def test_warning_of_far_points(learnt):
    reading = bayescale.read(forecast(learnt, [1e10, 1e13], [1e11, 1e14]))
    (warning,) = reading.warnings
    assert warning.startswith(
        "the farthest point lies 6.5 decades of compute beyond the largest run; bands were checked"
    )
    assert reading.says[0].startswith(
        "The loss of the farthest run is not known: it lies 6.5 decades of compute beyond"
    )
    (said,) = bayescale.read(forecast(learnt, 1e13, 1e14)).says
    assert said.startswith("The loss of this run is not known: ") and said.endswith("would bring it near enough.")


@pytest.mark.parametrize(
    ("report", "warning"),
    [
        ({"collinear": True}, "N and D move together in the runs: the prior alone tells their effects apart"),
        (
            {"not_identified": ["floor", "share"]},
            "the runs say next to nothing of floor, share; the prior decides there",
        ),
        (
            {"converged": False, "clean": False, "why": "r-hat of 'a' is 1.2"},
            "the chains did not converge .r-hat of 'a'",
        ),
        ({"clean": False, "divergences": 5}, "5 divergences: the tails of the posterior may be under-explored"),
    ],
)
def test_warnings_of_the_fit_travel_with_its_forecasts(true_fit, report, warning):
    tree = forecast(true_fit(draws=20, **report), 1e10, 1e11)
    assert any(text.startswith(warning.replace(".r-hat", "(r-hat")) for text in bayescale.read(tree).warnings)
    assert bayescale.read(tree).to_dict()["warnings"] == list(bayescale.read(tree).warnings)


def test_table(learnt):
    table = bayescale.read(forecast(learnt, [1e10, 1e11], 1e12), target=2.0).frame
    quantiles = [f"{name}_{label}" for name in ("law_loss", "loss") for label in QUANTILES]
    sizes = ["params", "tokens", "compute", "decades_beyond", "nearest_run"]
    more = {"loss_q99", "p_break", "edge_error", "target", "p_reach"}
    assert set(table.columns) == {*sizes, *quantiles, "share_params", "share_drift", "share_noise", *more}
    assert len(table) == 2 and (np.diff(table[quantiles[:5]]) > 0).all() and (np.diff(table[quantiles[5:]]) > 0).all()


def test_summary_for_machines(learnt):
    tree = forecast(learnt, [1e10, 1e11], 1e12)
    summary = json.loads(json.dumps(bayescale.read(tree).to_dict(), allow_nan=False))
    assert set(summary) == {"law", "loss_unit", "points", "diagnostics", "warnings"} and len(summary["points"]) == 2
    for point in summary["points"]:
        sizes = {"params", "tokens", "compute", "decades_beyond", "nearest_run"}
        assert set(point) == {*sizes, "law_loss", "loss", "share_of_variance", "p_break", "edge_error"}
        assert set(point["law_loss"]) == set(point["loss"]) - {"q99"} == {"q05", "q25", "q50", "q75", "q95"}
        assert set(point["share_of_variance"]) == {"params", "drift", "noise"}
    assert summary["diagnostics"]["converged"] is True
    with_target = bayescale.read(tree, target=2.0).to_dict()["points"][0]
    assert with_target["target"] == 2.0 and 0 <= with_target["p_reach"] <= 1


# ---- laws of something else than L(N, D) ----------------------------------------------------------------------------


def test_forecast_of_a_proportion_is_a_share_of_items(make_fit, rng):
    runs = {"loss": np.linspace(2.0, 3.0, 12), "accuracy": np.linspace(0.8, 0.3, 12), "items": np.full(12, 50.0)}
    parameters = {"low": 0.25, "reach": 0.9, "shift": 0.0, "steepness": 3.0}
    fit = make_fit("accuracy_sigmoid", {name: np.full(4000, value) for name, value in parameters.items()}, runs)
    tree = forecast(fit, covariates={"loss": [2.1, 2.5]})  # amid the runs
    L = np.array([2.1, 2.5])
    mid = np.exp(np.log(np.linspace(2.0, 3.0, 12)).mean())
    expected = 0.25 + 0.75 * 0.9 / (1 + np.exp(3.0 * (L - mid)))
    np.testing.assert_allclose(tree["predictions"]["law_accuracy"][0, 0], expected, rtol=1e-12)
    shown = tree["predictions"]["accuracy"].values.reshape(-1, 2)
    np.testing.assert_allclose(shown * 50, np.round(shown * 50), atol=1e-9)  # of 50 items, as in the runs
    np.testing.assert_allclose(shown.mean(axis=0), expected, atol=0.01)
    inflated = np.sqrt(1 + 49 * 0.02)  # by the overdispersion of the fit
    np.testing.assert_allclose(shown.std(axis=0), inflated * np.sqrt(expected * (1 - expected) / 50), rtol=0.06)
    points = tree["predictions_constant_data"]
    further = forecast(fit, covariates={"loss": [1.5]})["predictions_constant_data"]
    assert further["decades_beyond"].values == pytest.approx(np.log10(2.0 / 1.5)) and further["share_drift"] > 0
    np.testing.assert_allclose(points["share_drift"], 0.0)
    table = bayescale.read(tree, target=0.5).frame
    assert {"accuracy_q05", "law_accuracy_q95", "loss", "p_reach"} <= set(table)
    assert probability_to_reach(tree, 0.5) == pytest.approx((shown >= 0.5).mean(axis=0))  # an accuracy is to be high
    assert probability_to_reach(tree, "<= 0.5") == pytest.approx((shown <= 0.5).mean(axis=0))


def test_forecast_of_a_quantity_that_may_be_negative(make_fit):
    runs = {"params_nonvocab": np.logspace(7, 9, 12), "vocab_params": np.logspace(6, 8, 12)[::-1]}
    runs |= {"tokens": np.tile(np.logspace(8, 10, 4), 3), "loss": np.linspace(-1.0, -5.0, 12)}
    parameters = {"middle": 0.3, "slope_nv": 0.05, "alpha1": 0.4, "slope_v": 0.02, "alpha2": 0.6, "slope_d": 0.2}
    parameters = {name: np.full(4000, value) for name, value in (parameters | {"beta": 0.4}).items()}
    fit = make_fit("vocabulary", parameters, runs)
    tree = forecast(fit, tokens=1e11, covariates={"params_nonvocab": 1e9, "vocab_params": 1e8})
    law, shown = (tree["predictions"][name].values.ravel() for name in ("law_loss", "loss"))
    assert np.ptp(law) == 0 and law[0] < -5
    # sigma .003 of the range of 4, Student-t with 32 degrees of freedom
    assert shown.std() == pytest.approx((0.003 + 1e-4) * 4.0 * np.sqrt(32 / 30), rel=0.06)


def test_forecast_along_one_size(make_fit):
    runs = {"x": np.logspace(6, 9, 14), "loss": 2.0 * np.logspace(6, 9, 14) ** -0.05 * 1e6**0.05}
    parameters = {"level": np.full(400, 1.2), "slope": np.full(400, 0.05), "shift": np.full(400, 0.01)}
    fit = make_fit("m3", parameters, runs)
    tree = forecast(fit, covariates={"x": 1e10})
    points = tree["predictions_constant_data"]
    assert points["decades_beyond"].item() == pytest.approx(1.0) and "compute" not in points
    assert 0 < points["share_drift"].item() < 1
    with pytest.raises(FitError, match="law 'm3' also needs x; its inputs are x"):
        forecast(fit, 1e9, 1e10)
    with pytest.raises(FitError, match="'y' is not an input of law 'm3'; its inputs are x"):
        forecast(fit, covariates={"x": 1e9, "y": 1.0})
    with pytest.raises(FitError, match="'tokens' is not an input of law 'm3'; its inputs are x"):
        forecast(fit, tokens=1e9, covariates={"x": 1e9})


def test_what_is_given_twice_is_refused(learnt):
    with pytest.raises(FitError, match="params is given twice, by itself and among the covariates"):
        forecast(learnt, 1e9, 1e10, covariates={"params": 2e9})
    with pytest.raises(FitError, match="'compute' is not an input of law 'chinchilla'; its inputs are params, tokens"):
        forecast(learnt, 1e9, 1e10, covariates={"compute": 1e22})


def test_the_nearest_of_many_runs_is_the_nearest_of_all(learnt, monkeypatch):
    from bayescale.forecasts import planned

    study = Study.opened(learnt)
    points = planned_runs(study, [1e8, 3e9, 1e12], [1e10, 1e12, 1e9], {})
    one_by_one = planned._nearest_run(study, points)
    monkeypatch.setattr(planned, "PAIRS_MAX", 0)
    np.testing.assert_allclose(planned._nearest_run(study, points), one_by_one, rtol=1e-12)


@pytest.mark.parametrize(
    ("share", "ess", "expected"), [(0.0, 400.0, 0.0102), (1.0, 400.0, 0.0322), (0.5, 400.0, 0.0239)]
)
def test_monte_carlo_error_of_the_edges_of_a_normal_forecast(near, share, ess, expected):
    """sqrt(.05 .95 / n) / (density at 1.645 sd) / (2 x 1.645), n = 1 / (share / ess + (1 - share) / 4000)."""
    tree = near.copy(deep=True)
    draws = ndtri((np.random.default_rng(3).permutation(4000) + 0.5) / 4000).reshape(4, 1000, 1)
    tree["predictions"] = xr.Dataset({"loss": (("chain", "draw", "point"), 2 + 0.01 * draws)})
    tree["predictions_constant_data"]["share_params"] = xr.DataArray([share], dims="point")
    tree.attrs = tree.attrs | {"drift_ess": ess}
    assert edge_error(tree)[0] == pytest.approx(expected, rel=0.1)


def test_what_one_run_in_a_hundred_exceeds_is_told(near):
    reading = bayescale.read(near)
    worst = float(near["predictions"]["loss"].quantile(0.99))
    assert reading.frame["loss_q99"][0] == pytest.approx(worst)
    assert reading.to_dict()["points"][0]["loss"]["q99"] == pytest.approx(worst)
    assert any(text.startswith("One run in 100 is worse than ") for text in reading.notes)
    tree = near.copy()
    tree.attrs = tree.attrs | {"drift_ess": 60.0}
    tree["predictions_constant_data"]["share_params"] = xr.DataArray([1.0], dims="point")
    assert any("Monte Carlo error of the band's edges" in text for text in bayescale.read(tree).notes)


def test_the_probability_of_a_break_is_the_share_of_draws_outside_law_and_noise(sampled, monkeypatch):
    """With a drift of nothing it is about .1; with one that dwarfs law and noise nearly 1."""
    learnt = sampled
    place = {"params": [1e10], "tokens": [1e12]}
    for log_scale, low, high in ((-6.5, 0.05, 0.2), (1.0, 0.8, 1.0)):
        prior = DriftPrior(length=3.0, log_scale=log_scale, log_scale_sd=0.01, spread=1.0)
        monkeypatch.setattr(posterior_module, "prior_of", lambda *_, prior=prior: prior)
        found = forecast(learnt.copy(), **place)["predictions_constant_data"]["p_break"].item()
        assert low <= found <= high, log_scale
