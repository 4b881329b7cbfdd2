"""Losses are given and shown in the unit of the runs; inside they are nats."""

import numpy as np
import pytest
from conftest import BESIROGLU, chinchilla_loss, chinchilla_parameters

import bayescale
from bayescale.budgets.allocate import allocate
from bayescale.budgets.decide import decide
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.target import least_compute
from bayescale.display.report import report
from bayescale.display.show import show
from bayescale.errors import FitError, RunsError
from bayescale.evidence.backtest import backtest
from bayescale.fitting.diagnostics import fit_summary
from bayescale.fitting.fit import fit
from bayescale.fitting.store import open_fit, save_fit
from bayescale.forecasts.forecast import forecast, probability_to_reach
from bayescale.runs.loss_unit import UNITS, from_nats, to_nats, unit_sentence
from bayescale.runs.read import read_notes, read_runs
from bayescale.study import Study

pytestmark = pytest.mark.usefixtures("drift_once")

N, D = (grid.ravel() for grid in np.meshgrid(np.logspace(7, 9.5, 8), np.logspace(9, 11.5, 6), indexing="ij"))
LOSS = chinchilla_loss(N, D, **BESIROGLU)
GIVEN = {
    "nats": LOSS,
    "bits": LOSS / np.log(2),
    "bits_per_byte": LOSS / np.log(2),
    "perplexity": np.exp(LOSS),
    "hartleys": LOSS / np.log(10),
    "error": LOSS,
    "mse": LOSS,
}


def read(unit):
    return read_runs({"params": N, "tokens": D, "loss": GIVEN[unit]}, units={"loss": unit})


@pytest.fixture(scope="module")
def fits(make_fit):
    """One posterior, as fits of runs whose losses were given in every unit."""

    def make(unit):
        rng = np.random.default_rng(2)
        runs = read(unit)
        values = {name: value * np.exp(1e-3 * rng.standard_normal(400)) for name, value in BESIROGLU.items()}
        return make_fit("chinchilla", chinchilla_parameters(runs, **values), runs)

    return {unit: make(unit) for unit in UNITS}


@pytest.mark.parametrize("unit", UNITS)
def test_there_and_back(unit):
    np.testing.assert_allclose(to_nats(from_nats(LOSS, unit), unit), LOSS, rtol=1e-14)
    np.testing.assert_allclose(from_nats(LOSS, unit), GIVEN[unit], rtol=1e-14)


@pytest.mark.parametrize("unit", UNITS)
def test_runs_are_kept_in_nats_and_remember_their_unit(unit):
    runs = read_runs(read(unit))
    np.testing.assert_allclose(runs["loss"], LOSS, rtol=1e-12)
    assert runs.attrs["loss_unit"] == unit and UNITS[unit] in str(show(runs))


@pytest.mark.parametrize("unit", ["bits", "bits_per_byte", "perplexity"])
def test_all_that_is_shown_is_in_the_unit(unit, fits):
    """Every loss is that of the same fit in nats, converted; shares, sizes and probabilities are the same."""
    plain, other = fits["nats"], fits[unit]
    trees = [forecast(one, 1e10, 2e11) for one in (plain, other)]
    a, b = (bayescale.read(tree).frame for tree in trees)
    assert float(b["law_loss_q50"][0]) == pytest.approx(float(from_nats(a["law_loss_q50"][0], unit)), rel=1e-6)
    # a loss that was converted differs in its last digit, which may choose another importance draw here and there
    same = np.isclose(trees[1]["predictions"]["loss"], from_nats(trees[0]["predictions"]["loss"], unit), rtol=1e-6)
    assert same.mean() > 0.97
    np.testing.assert_allclose(a["share_drift"], b["share_drift"], rtol=0.05)
    target = float(a["loss_q25"][0])
    reached = [
        float(probability_to_reach(forecast(one, 1e10, 2e11), goal)[0])
        for one, goal in ((plain, target), (other, from_nats(target, unit)))
    ]
    assert reached[0] == pytest.approx(reached[1], abs=0.01) and reached[0] == pytest.approx(0.25, abs=0.03)
    splits = [allocate(one, 1e22) for one in (plain, other)]
    for name in ("loss", "law_loss"):
        assert np.isclose(splits[1][name], from_nats(splits[0][name], unit), rtol=1e-6).mean() > 0.97, name
    np.testing.assert_allclose(splits[1]["N"], splits[0]["N"], rtol=1e-9)
    choices = [decide(one, 1e22, discrepancy=False) for one in (plain, other)]
    np.testing.assert_allclose(choices[1]["expected_loss"], from_nats(choices[0]["expected_loss"], unit), rtol=1e-6)
    for name in ("regret", "compute_regret"):  # shares
        np.testing.assert_allclose(choices[1][name], choices[0][name], atol=1e-6)
    np.testing.assert_allclose(choices[1]["flat_low"], choices[0]["flat_low"], rtol=1e-6)
    summaries = [bayescale.read(forecast(other, 1e10, 2e11)).to_dict(), bayescale.read(splits[1]).to_dict()]
    summaries += [bayescale.read(choices[1]).to_dict(), fit_summary(other)]
    assert all(summary["loss_unit"] == UNITS[unit] for summary in summaries)
    assert unit_sentence({"loss_unit": unit}) in str(show(splits[1]))


@pytest.mark.parametrize("unit", UNITS)
def test_a_loss_to_reach_is_in_the_unit(unit, fits):
    """The target is the loss of the law's best split of 1e22 FLOP: reaching it takes 1e22 FLOP."""
    goal = float(np.median(allocate(fits[unit], 1e22)["law_loss"]))
    reached = least_compute(fits[unit], goal)
    assert float(reached["compute"].median()) == pytest.approx(1e22, rel=0.01)
    summary = bayescale.read(reached).to_dict()
    assert summary["targets"][0]["loss"] == goal and summary["loss_unit"] == UNITS[unit]


@pytest.mark.parametrize("unit", ["nats", "perplexity"])
def test_a_target_that_every_run_has_met_is_asked_about(unit, fits):
    """A perplexity as the target of a fit in nats, as it is met by any run."""
    far = from_nats(LOSS.max() * 1.2, unit)
    for told in (least_compute(fits[unit], far), forecast(fits[unit], 1e10, 2e11)):
        text = str(show(told, **({"target": far} if "predictions" in told else {})))
        assert "is worse than that of every run of the fit" in text and f"({from_nats(LOSS.max(), unit):.4g})" in text
    assert "worse than" not in str(show(least_compute(fits[unit], from_nats(2.2, unit))))
    assert "every run" not in str(show(forecast(fits[unit], 1e10, 2e11), target=f">= {far}"))


def test_measured_losses_are_in_the_unit(fits):
    told = [
        float(forecast(fits[unit], 1e10, 2e11, measured=from_nats(2.2, unit))["predictions_constant_data"]["elpd"][0])
        for unit in ("nats", "perplexity")
    ]
    assert told[0] == pytest.approx(told[1], rel=1e-6)


def test_a_gain_needs_losses_of_one_kind(fits):
    for unit in ("perplexity", "bits"):  # the same runs: neither is better, in whichever unit
        gain = compute_gain(fits["nats"], fits[unit], 1e22)
        assert float(gain["gain"].median()) == pytest.approx(1, rel=1e-6)
        assert abs(float(gain["difference"].median())) < 1e-6
    with pytest.raises(FitError, match=r"in nats per token, of the other in bits per byte: these cannot be compared"):
        compute_gain(fits["nats"], fits["bits_per_byte"], 1e22)
    with pytest.raises(FitError, match=r"of the other error rates: these"):
        compute_gain(fits["nats"], fits["error"], 1e22)


def test_the_unit_is_saved(fits, tmp_path):
    opened = open_fit(save_fit(fits["perplexity"], tmp_path / "fit.nc"))
    assert Study.opened(opened).runs.attrs["loss_unit"] == "perplexity"
    opened.attrs["loss_unit"] = "furlongs"
    with pytest.raises(FitError, match="'loss_unit' is not what it should be"):
        open_fit(save_fit(opened, tmp_path / "changed.nc"))


def test_a_target_below_a_perplexity_of_one(fits):
    with pytest.raises(FitError, match="a perplexity above 1 is expected"):
        least_compute(fits["perplexity"], 0.9)
    with pytest.raises(RunsError, match=r"a perplexity of 0.5 \(must be above 1\)"):
        read_runs({"params": N[:2], "tokens": D[:2], "loss": [3.0, 0.5]}, units={"loss": "perplexity"})


def test_losses_that_look_like_perplexities_are_a_question():
    runs = {"params": N, "tokens": D, "loss": np.exp(1.5 * LOSS)}
    with pytest.raises(RunsError, match="looks like a perplexity; say what it is: --unit loss=perplexity or"):
        fit(runs)


@pytest.mark.slow
def test_the_report_is_in_the_unit(fits, unfigured):
    page = report(fits["bits"], compute=1e22, params=1e10, tokens=2e11, target=3.0)
    assert "Losses are in bits per token." in page and "loss [bits per token]" in page and '"natsIn": 0.69314' in page
    loss = float(bayescale.read(forecast(fits["bits"], 1e10, 2e11)).frame["loss_q50"][0])
    assert f"loss of {loss:.3f}" in page


def test_a_backtest_scores_alike(fits, monkeypatch):
    """Scores are of log loss in nats whatever the unit."""

    from bayescale.evidence import backtest as module

    tables = []
    for unit in ("nats", "perplexity"):
        monkeypatch.setattr(module, "fit", lambda runs, law, seed, one=fits[unit]: one)
        tables.append(backtest(read(unit), "chinchilla", horizon=0.5))
    np.testing.assert_allclose(tables[0]["q50"], tables[1]["q50"], rtol=1e-6)
    np.testing.assert_allclose(tables[0]["elpd"], tables[1]["elpd"], rtol=1e-6)


def test_sentences_of_units():
    said = {unit: unit_sentence({"loss_unit": unit}) for unit in UNITS}
    assert said["nats"] == "Losses are in nats per token." and said["error"] == "Losses are error rates."


def test_a_perplexity_of_bytes_is_none_of_tokens():
    sizes = {"params": [1e8, 2e8, 3e8], "tokens": [1e9, 2e9, 3e9], "byte_perplexity": [3.0, 2.9, 2.8]}
    with pytest.raises(RunsError, match="byte_perplexity looks like a perplexity per byte, not a loss"):
        read_runs(sizes)
    with pytest.raises(RunsError, match="bits_per_byte looks like a loss in bits per byte"):  # which needs no remark
        read_runs(sizes | {"bits_per_byte": [1.6, 1.5, 1.4]})
    (note,) = read_notes(read_runs(sizes, units={"loss": "perplexity"}).attrs)
    assert note == "byte_perplexity is per byte, by its name: its loss is comparable with none per token"
