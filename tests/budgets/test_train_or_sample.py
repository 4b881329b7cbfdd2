"""Train longer or sample more, in a world whose best is found by brute force."""

import numpy as np
import pytest

import bayescale
from bayescale.errors import FitError
from bayescale.laws.law import load_law

TRUTH = load_law("chinchilla").presets["besiroglu2024"].values  # those of true_fit
RATE, STEEPNESS, DECAY = 2.0, 3.0, 0.3  # -log coverage = 2 exp(3 (L - 2.5)) k**-.3
ASKED = 1e10  # tokens of one sample of every problem


def coverage(loss, samples):
    return np.exp(-RATE * np.exp(STEEPNESS * (loss - 2.5)) * samples**-DECAY)


def best_by_hand(budget):
    """N, samples and coverage of the best of a fine grid."""
    N, k = np.meshgrid(np.geomspace(1e8, 1e12, 1500), np.geomspace(1, 1e4, 1200))
    D = (budget / N - 2 * ASKED * k) / 6
    with np.errstate(all="ignore"):
        loss = TRUTH["E"] + TRUTH["A"] * N ** -TRUTH["alpha"] + TRUTH["B"] * D ** -TRUTH["beta"]
        gives = np.where(D > 0, coverage(loss, k), 0.0)
    at = np.unravel_index(np.argmax(gives), gives.shape)
    return N[at], k[at], gives[at]


@pytest.fixture(scope="module")
def fits(true_fit, coverage_fit):
    return true_fit(draws=200, spread=1e-5), coverage_fit


def test_the_best_is_that_of_brute_force(fits):
    budgets = [3e21, 1e22]
    result = bayescale.train_or_sample(*fits, budgets, given={"T": ASKED})
    for i, budget in enumerate(budgets):
        N, samples, gives = best_by_hand(budget)
        found = result[["samples", "N", "D", "best", "at_first"]].isel(budget=i).median(("chain", "draw"))
        assert float(found["samples"]) == pytest.approx(samples, rel=0.03)
        assert float(found["N"]) == pytest.approx(N, rel=0.03)
        assert float(found["best"]) == pytest.approx(gives, rel=1e-3)
        spent = 6 * found["N"] * found["D"] + 2 * found["N"] * ASKED * found["samples"]
        assert float(spent) == pytest.approx(budget, rel=0.01)
        assert float(found["at_first"]) < float(found["best"])
    assert (result["held"] == 0).all() and result["identified"].all()


def test_where_samples_cost_nearly_all_one_is_taken(fits):
    result = bayescale.train_or_sample(*fits, 1e22, given={"T": 1e15})
    assert result["held"].values.tolist() == [1.0]
    assert any("the limit decides, not the runs" in text for text in bayescale.read(result).warnings)


def test_a_split_that_the_runs_do_not_tell_is_not_shown(true_fit, coverage_fit):
    result = bayescale.train_or_sample(true_fit(draws=200, collinear=True), coverage_fit, 1e22, given={"T": ASKED})
    reading = bayescale.read(result)
    assert not result["identified"].any() and np.isnan(reading.frame["params_q50"]).all()
    assert np.isfinite(reading.frame["samples_q50"]).all()
    assert any("the split of N and D is not identified: N and D move together" in text for text in reading.warnings)
    assert "not identified" in str(bayescale.show(result))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "T"),
        ({"given": {"T": 1e10, "samples": 3.0}}, "'samples' cannot be given a value"),
        ({"given": {"T": 1e10}, "samples": 5}, "the least and the most samples, two numbers"),
        ({"given": {"T": 1e10}, "samples": (10, 1)}, "samples = 10 to 1"),
    ],
)
def test_refusals(fits, options, message):
    with pytest.raises(FitError, match=message):
        bayescale.train_or_sample(*fits, 1e22, **options)
    with pytest.raises(FitError, match="a law of the loss and of one size is expected"):
        bayescale.train_or_sample(fits[0], fits[0], 1e22, given={"T": 1e10})


def test_how_far_it_lies_beyond_the_runs_of_either_fit_is_told(fits):
    near, far = (bayescale.train_or_sample(*fits, budget, given={"T": ASKED}) for budget in (1e22, 1e27))
    largest = float(fits[0]["constant_data"]["compute"].max())
    N, D = (float(far[name].median()) for name in "ND")
    assert float(far["decades_beyond"][0]) == pytest.approx(np.log10(6 * N * D / largest), abs=0.01)
    assert not [text for text in bayescale.read(near).warnings if "decades of compute beyond" in text]
    assert [text for text in bayescale.read(far).warnings if "decades of compute beyond the runs" in text]
    assert bayescale.read(far).frame["decades_beyond"][0] == float(far["decades_beyond"][0])
