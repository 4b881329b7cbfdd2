"""A fit made again: what it was made with is what it is made again with; the same bits, by chance apart, or not."""

import json
import re

import numpy as np
import pytest
import xarray as xr

import bayescale
from bayescale.display.show import show
from bayescale.errors import FitError
from bayescale.fitting import reproduce as module
from bayescale.fitting.fit import fit
from bayescale.fitting.reproduce import APART_MAX, reproduce
from bayescale.fitting.store import open_fit, save_fit


@pytest.fixture
def by_hand(true_fit, monkeypatch):
    """In place of a fit the same draws by hand, changed by a function; what was asked for is written down."""

    def make(change=lambda tree: tree, **options):
        asked, before = [], true_fit(draws=1000)
        again = change(before.copy(deep=True))

        def fitted(runs, law, **settings):
            asked.append((runs.sizes["run"], law.name, settings))
            return again

        monkeypatch.setattr(module, "fit", fitted)
        return before, asked

    return make


def moved(name, by, draws=None):
    """A quantity moved by so many of its standard deviations, or other draws of it."""

    def change(tree):
        x = tree["posterior"][name]
        x.values = x.values + by * x.values.std() if draws is None else draws
        return tree

    return change


def test_made_again_as_it_was_made(by_hand, crossed_runs):
    before, asked = by_hand()
    result = reproduce(before, crossed_runs())
    settings = {
        "noise": "student_t",
        "draws": 500,
        "chains": 2,
        "seed": 0,
        "quick": False,
        "allow_unconverged": True,
        "engine": "compiled",
        "backend": None,
    }
    assert asked == [(24, "chinchilla", settings)]
    assert result.attrs["verdict"] == "same_bits" and (result["apart"] == 0).all()
    assert result.attrs["statement"].startswith("Same bits: every draw of all ")
    table = bayescale.read(result).frame
    posterior = before["posterior"]
    assert list(table["quantity"]) == list(posterior.data_vars)
    np.testing.assert_allclose(table["then_q95"], [np.quantile(posterior[name], 0.95) for name in posterior.data_vars])
    summary = json.loads(json.dumps(bayescale.read(result).to_dict()))
    assert summary["verdict"] == "same_bits" and summary["quantities"][0]["apart"] == 0
    assert "Same bits" in show(result).notes[0]


@pytest.mark.parametrize(
    ("report", "quick"),
    [({"method": "importance", "pareto_k": 0.3}, True), ({"method": "nuts", "not_quick": "k"}, True), ({}, False)],
)
def test_a_quick_fit_is_made_quickly(by_hand, crossed_runs, report, quick):
    before, asked = by_hand()
    before.attrs["diagnostics"] = json.dumps(json.loads(before.attrs["diagnostics"]) | report)
    reproduce(before, crossed_runs())
    assert asked[0][2]["quick"] is quick


def test_largest_difference_in_monte_carlo_errors(by_hand, crossed_runs):
    """By hand: a thousand independent draws, moved; the error of the difference of two such means is known."""
    before, _ = by_hand(moved("level", 3 * np.sqrt(2 / 1000)))
    result = reproduce(before, crossed_runs())
    far = float(result["apart"].sel(quantity="level", statistic="mean"))
    assert far == pytest.approx(3, rel=0.15), "mcse allows for chains that are not independent"
    assert result.attrs["verdict"] == "same_within_error"
    assert "of 'level', is" in result.attrs["statement"] and "not the same bits" in result.attrs["statement"]
    before, _ = by_hand(moved("level", 7 * np.sqrt(2 / 1000)))
    result = reproduce(before, crossed_runs())
    assert result.attrs["verdict"] == "different" and float(result["apart"].max()) > APART_MAX
    assert result.attrs["statement"].startswith("Different: the largest difference, of the ")


def test_another_spread_around_the_same_mean_is_different(by_hand, crossed_runs):
    before, _ = by_hand()
    x = before["posterior"]["slope"].values
    _, _ = by_hand(moved("slope", 0, draws=x.mean() + 1.5 * (x - x.mean())))
    result = reproduce(before, crossed_runs())
    assert result.attrs["verdict"] == "different"
    assert float(result["apart"].sel(quantity="slope", statistic="mean")) < 1e-6


def test_weighted_draws_are_worth_what_their_weights_say(by_hand, crossed_runs):
    by = 6 * np.sqrt(2 / 1000)

    def importance(tree):
        report = json.loads(tree.attrs["diagnostics"]) | {"method": "importance", "pareto_k": 0.3, "ess_min": 250.0}
        tree.attrs["diagnostics"] = json.dumps(report)
        return tree

    before, _ = by_hand(lambda tree: importance(moved("level", by)(tree)))
    far = float(reproduce(importance(before), crossed_runs())["apart"].sel(quantity="level", statistic="mean"))
    assert far == pytest.approx(3, rel=0.15), "a quarter of the draws: twice the error"


def test_a_quantity_without_spread(by_hand, crossed_runs):
    before, _ = by_hand(moved("tilt", 0, draws=np.full((2, 500), 1e-9)))
    result = reproduce(before, crossed_runs())
    assert result.attrs["verdict"] == "different" and float(result["apart"].sel(quantity="tilt").max()) > 1e6


def test_what_has_changed_is_said(by_hand, crossed_runs):
    before, _ = by_hand()
    before.attrs["versions"] = json.dumps(module.versions() | {"numpy": "1.0"})
    before.attrs["machine"] = "z80"
    result = reproduce(before, crossed_runs())
    first, second = result.attrs["versions_differ"]
    assert first.startswith("numpy was 1.0, is ") and second.startswith("the processor was z80, is ")
    assert "What has changed: numpy was 1.0" in result.attrs["statement"]


# ---- other runs -----------------------------------------------------------------------------------------------------


def with_loss(runs, rows, factor):
    loss = runs["loss"].values.copy()
    loss[rows] *= factor
    return runs.assign(loss=("run", loss))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda runs: with_loss(runs, [3], 1.01),
            r"^the column 'loss' differs in 1 of 24 runs \(row 3: [\d.]+, in the",
        ),
        (lambda runs: with_loss(runs, range(9), 1.01), r"differs in 9 of 24 runs \(row 0: .* and 6 more\)$"),
        (lambda runs: runs.isel(run=slice(1, None)), "^23 runs, the fit was made on 24; 1 of the runs not among those"),
        (lambda runs: runs.isel(run=[0, *range(24)]), "^25 runs, the fit was made on 24$"),
        (lambda runs: runs.isel(run=slice(None, None, -1)), "^the same runs in another order$"),
        (lambda runs: runs.assign(tokens=runs["tokens"] * 2), "^the column 'tokens' differs in 24 of 24"),
    ],
)
def test_other_runs_are_named_and_not_fitted(by_hand, crossed_runs, change, said):
    before, asked = by_hand()
    result = reproduce(before, change(crossed_runs()))
    assert result.attrs["verdict"] == "other_runs" and not asked
    assert re.search(said, "; ".join(result.attrs["runs_differ"])), result.attrs["runs_differ"]
    assert result.attrs["statement"].startswith("Other runs: ") and "Nothing was fitted." in result.attrs["statement"]
    assert not len(bayescale.read(result).frame) and show(result).rows in ((), [])


def test_a_column_that_is_not_there_any_more(true_fit, crossed_runs):
    tree = true_fit(draws=200)
    found = module._runs_differ(tree, module.law_of(tree), crossed_runs().drop_vars(["compute", "loss"]))
    assert found == ["there is no column 'compute'", "there is no column 'loss'"]


def test_columns_that_the_fit_does_not_use_do_not_matter(by_hand, crossed_runs):
    before, _ = by_hand()
    runs = crossed_runs().assign(colour=("run", np.arange(24.0)))
    assert reproduce(before, runs).attrs["verdict"] == "same_bits"


def test_below_is_as_the_fit_was_made(by_hand, true_fit, crossed_runs, monkeypatch):
    runs = crossed_runs()
    small = runs.isel(run=(runs["compute"] < 1e20).values)
    before = true_fit(draws=200, runs=small)
    monkeypatch.setattr(module, "fit", lambda *args, **options: before)
    assert reproduce(before, runs).attrs["verdict"] == "other_runs"
    assert reproduce(before, runs, below=1e20).attrs["verdict"] == "same_bits"
    before.attrs["below"] = 1e20
    assert reproduce(before, runs).attrs["verdict"] == "same_bits"


def test_not_a_fit(crossed_runs):
    with pytest.raises(FitError, match="a fit is expected, not runs"):
        reproduce(crossed_runs(), crossed_runs())


def test_a_fit_that_is_refused_now(true_fit, crossed_runs):
    with pytest.raises(FitError, match="the fit cannot be made again: draws = 10 "):
        reproduce(true_fit(draws=20), crossed_runs())


# ---- really ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sampled_fit_from_its_file(sampled, pile, tmp_path):
    opened = open_fit(save_fit(sampled, tmp_path / "fit.nc"))
    result = reproduce(opened, pile)
    assert result.attrs["verdict"] == "same_bits" and not result.attrs["versions_differ"]
    older = opened.copy()
    for name in ("settings", "versions", "machine", "data_hash"):  # as files may be that were saved long ago
        del older.attrs[name]
    older.attrs["seed"] = np.int64(opened.attrs["seed"] + 1)
    result = reproduce(older, pile)
    assert result.attrs["verdict"] == "same_within_error", result.attrs["statement"]
    assert len(result.attrs["versions_differ"]) == len(module.versions())


@pytest.mark.slow
@pytest.mark.parametrize("quick", [True, False])
def test_another_law_text_or_noise_is_different(pile, quick):
    made = fit(pile, "chinchilla", seed=3, quick=quick, draws=500)
    assert reproduce(made, pile).attrs["verdict"] == "same_bits"
    line = next(line for line in made.attrs["law_text"].splitlines() if line.startswith("lean "))
    for name, text in (("law_text", made.attrs["law_text"].replace(line, moved_up(line))), ("noise", "normal")):
        other = made.copy()
        other.attrs[name] = text
        if name == "noise":  # and so without a parameter that the fit has
            assert reproduce(other, pile).attrs["verdict"] in ("same_within_error", "different")
            continue
        result = reproduce(other, pile)
        assert result.attrs["verdict"] == "different", result.attrs
        assert float(result["apart"].sel(quantity="lean", statistic="mean")) > 10


def moved_up(line):
    """A prior that the runs say little about, moved."""
    assert "mu = " in line, line
    before = line.split("mu = ")[1].split(",")[0]
    return line.replace(f"mu = {before}", f"mu = {float(before) + 1}", 1)


@pytest.mark.slow
def test_every_setting_of_the_command_is_in_the_file(tmp_path, pile):
    for options in ({"noise": "normal"}, {"draws": 300, "chains": 3}, {"quick": True}, {"seed": 2**40}):
        made = fit(pile, "kaplan", **options)
        result = reproduce(open_fit(save_fit(made, tmp_path / "fit.nc")), pile)
        assert result.attrs["verdict"] == "same_bits", (options, result.attrs["statement"])
        xr.testing.assert_equal(result["then"].drop_attrs(), result["now"].drop_attrs())
