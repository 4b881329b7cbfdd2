"""A share that follows from a loss: among the runs by the law, beyond them with an error that all points share."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

import bayescale
from bayescale.forecasts.forecast import forecast
from bayescale.forecasts.link_error import ERROR_DF, SCATTERS, SETTLED_DECADES
from bayescale.laws.own_priors import without_count

SIGMA = 0.1
LOW, REACH, STEEPNESS = 0.25, 0.9, 3.0
LOSSES = np.linspace(2.0, 3.0, 12)
MIDDLE = np.exp(np.log(LOSSES).mean())


def sigmoid(loss):
    return LOW + (1 - LOW) * REACH * expit(STEEPNESS * (MIDDLE - np.asarray(loss)))


@pytest.fixture
def share(make_fit):
    """A law whose parameters are known; the scatter of the log odds is SIGMA."""
    law = without_count(bayescale.load_law("accuracy_sigmoid"))
    draws = 8000
    parameters = {"low": LOW, "reach": REACH, "shift": 0.0, "steepness": STEEPNESS, "sigma": SIGMA, "tilt": 0.0}
    parameters = {name: np.full(draws, value) for name, value in parameters.items()}
    return make_fit(law, parameters, {"loss": LOSSES, "accuracy": sigmoid(LOSSES)}, noise="normal")


def log_odds(tree, name="accuracy"):
    return logit(tree["predictions"][name].stack(sample=("chain", "draw")).transpose("sample", "point").values)


def test_error_in_closed_form(share):
    """Quantiles of (SCATTERS t + z) SIGMA around the law, by the convolution of a Student-t and a normal."""
    tree = forecast(share, covariates={"loss": [1.7, 1.9, 2.4]})
    np.testing.assert_allclose(tree["predictions"]["law_accuracy"][0, 0], sigmoid([1.7, 1.9, 2.4]), rtol=1e-9)
    off = (log_odds(tree) - logit(sigmoid([1.7, 1.9, 2.4]))) / SIGMA
    for at in (0, 1):
        places, known = np.linspace(-8, 8, 65), off[:, at]
        # P(SCATTERS t + z < x), the mean over z
        z = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
        expected = np.array([stats.t.cdf((x - z) / SCATTERS, ERROR_DF).mean() for x in places])
        found = (known[:, None] < places).mean(axis=0)
        assert abs(found - expected).max() < 1.95 / np.sqrt(len(known))  # Kolmogorov, once in a thousand times
    assert stats.kstest(off[:, 2], "norm").pvalue > 1e-3  # among the runs there is none
    assert np.corrcoef(off[:, 0], off[:, 1])[0, 1] > 0.7  # both are off together


def test_it_comes_in_a_little_beyond_the_runs(share):
    half = LOSSES.min() * 10 ** (-SETTLED_DECADES["loss"] / 2)
    here, there = (log_odds(forecast(share, covariates={"loss": [loss]})).std() for loss in (half, 1.7))
    assert here < 0.75 * there
    shown = bayescale.read(forecast(share, covariates={"loss": [LOSSES.min(), 1.7]})).frame
    assert shown["share_drift"][0] == 0 and shown["share_drift"][1] > 0.5
    np.testing.assert_allclose(shown[["share_params", "share_drift", "share_noise"]].sum(axis=1), 1)


def test_better_models_of_a_chain_err_at_a_loss_that_was_seen(share, true_fit):
    """The loss lies amid those of the runs, but its forecast is of a model larger than any of them."""
    smooth = true_fit(draws=500)
    largest = 6 * smooth["constant_data"]["params"] * smooth["constant_data"]["tokens"]
    N = float(np.sqrt(largest.max() / 120))
    within, beyond = (forecast(smooth, size, 20 * size) for size in (N / 100, 10 * N))
    assert float(within["predictions_constant_data"]["decades_beyond"].max()) == 0
    parts = [bayescale.read(forecast(share, covariates={"loss": one})).frame for one in (within, beyond)]
    assert parts[0]["share_drift"][0] == 0 and parts[1]["share_drift"][0] > 0


def test_counts_err_by_the_scatter_between_runs_and_not_by_that_of_items(make_fit):
    runs = {"loss": LOSSES, "accuracy": sigmoid(LOSSES), "items": np.full(12, 50.0)}
    parameters = {"low": LOW, "reach": REACH, "shift": 0.0, "steepness": STEEPNESS}
    parameters = {name: np.full(8000, value) for name, value in parameters.items()}
    widths = []
    for overdispersion in (1e-7, 0.02):
        fit = make_fit("accuracy_sigmoid", parameters, runs, scatter={"overdispersion": overdispersion})
        tree = forecast(fit, covariates={"loss": [1.7], "items": [1e6]})
        widths.append(float(tree["predictions"]["accuracy"].std()))
    share = sigmoid(1.7)
    assert widths[0] < 3 * np.sqrt(share * (1 - share) / 1e6)
    # in log odds SCATTERS t4 of sd sqrt(2), times sqrt(overdispersion / (p (1 - p))): a p (1 - p) of that in the share
    assert widths[1] == pytest.approx(SCATTERS * np.sqrt(2 * 0.02 * share * (1 - share)), rel=0.35)


def test_a_share_next_to_nothing_does_not_jump_to_one(make_fit):
    """By its sd the scatter of a share of 1e-5 with overdispersion .02 is 45 log odds: anything would be likely."""
    parameters = {"low": 1e-6, "reach": 1.1e-5, "shift": 0.0, "steepness": 3.0}
    parameters = {name: np.full(8000, value) for name, value in parameters.items()}
    runs = {"loss": LOSSES, "accuracy": np.full(12, 0.0), "items": np.full(12, 1000.0)}
    fit = make_fit("accuracy_sigmoid", parameters, runs, scatter={"overdispersion": 0.02})
    shown = forecast(fit, covariates={"loss": [1.7], "items": [1e9]})["predictions"]["accuracy"]
    # one log odds at most: the 90 % point of the Student-t is 1.53, so that the share is below 1.2e-5 exp(3 x 1.53)
    assert float(shown.quantile(0.9)) < 2e-3


def test_what_is_measured_is_scored_with_the_error(share):
    far = sigmoid(1.7) + 0.03
    elpd = [
        float(
            forecast(share, covariates={"loss": [loss]}, measured=[far + sigmoid(loss) - sigmoid(1.7)])[
                "predictions_constant_data"
            ]["elpd"][0]
        )
        for loss in (1.7, 2.0)
    ]
    assert elpd[0] > elpd[1]
