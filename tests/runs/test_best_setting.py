"""The lowest of several noisy losses is too low: by how much, and what --best-of makes of it."""

import numpy as np
import pytest

from bayescale.runs.best_setting import selection
from bayescale.runs.read import read_notes, read_runs

CELLS, SETTINGS = 20, 15


def sweep(seed, sigma=0.005, bend=0.03, skew=0.0):
    """Log losses of cells at settings, and the true log loss of the best setting of each cell; the optimum moves."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, SETTINGS)
    away = x - rng.uniform(-0.4, 0.4, (CELLS, 1))
    true = 1 + bend * away**2 + skew * np.maximum(away, 0) ** 3
    return true + sigma * rng.standard_normal(true.shape), x, true.min(axis=1)


def judged(studies, **options):
    """Mean and coverage of the corrected minimum, in log loss."""
    off, held = [], []
    for seed in range(studies):
        losses, x, best = sweep(seed, **options)
        cell = np.repeat(np.arange(CELLS), SETTINGS)
        found = selection(losses.ravel(), cell, [np.tile(x, CELLS)])
        lowest = losses.min(axis=1)
        off.append(lowest - found.bias - best)
        held.append((lowest - found.high <= best) & (best <= lowest - found.low))
    return np.mean(off), np.mean(held)


@pytest.mark.parametrize("options", [{}, {"bend": 0.0}, {"bend": 0.1}, {"sigma": 0.002}, {"skew": 0.1}], ids=str)
def test_the_minimum_is_corrected_and_its_band_holds(options):
    off, held = judged(6, **options)
    assert abs(off) < 0.002 and 0.8 < held < 0.99  # of 120 cells


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.002, 0.005, 0.01])
@pytest.mark.parametrize("options", [{"bend": 0.0}, {"bend": 0.02}, {"bend": 0.05}, {"bend": 0.1}], ids=str)
def test_within_a_fifth_of_a_percent_and_the_band_covers(sigma, options):
    off, held = judged(60, sigma=sigma, **options)
    assert abs(off) < 0.002 and 0.86 < held < 0.94


def test_repeats_of_one_setting():
    rng = np.random.default_rng(1)
    y = 0.01 * rng.standard_normal(200 * 5)
    found = selection(y, np.repeat(np.arange(200), 5), [])
    assert found.sigma == pytest.approx(0.01, rel=0.1)
    assert found.bias.mean() == pytest.approx(-1.163 * 0.01, rel=0.1)  # the least of five standard normals


def test_too_few_settings_tell_nothing():
    y = np.array([1.0, 1.1, 1.2, 1.0, 1.1, 1.2])
    assert selection(y, np.repeat([0, 1], 3), [np.tile([0.0, 1.0, 2.0], 2)]) is None


def table(seed=0, **options):
    losses, x, best = sweep(seed, **options)
    params, tokens = np.repeat([1e8, 2e8, 4e8, 8e8], 5), np.tile([1e9, 2e9, 4e9, 8e9, 16e9], 4)
    columns = {"params": np.repeat(params, SETTINGS), "tokens": np.repeat(tokens, SETTINGS)}
    columns |= {"lr": np.tile(1e-3 * 10**x, CELLS), "loss": np.exp(losses).ravel()}
    return columns | {"train/loss": np.exp(losses).ravel() - 0.1}, np.exp(losses.min(axis=1)), np.exp(best)


def test_best_of_says_what_it_does_and_keeps_what_was_measured():
    columns, lowest, best = table()
    runs = read_runs(columns, best_of=("params", "tokens"))
    np.testing.assert_allclose(runs.lowest_loss, lowest)
    assert abs(np.log(runs.loss.values / best).mean()) < 0.002 < abs(np.log(lowest / best).mean())
    assert (runs.loss_q05 < runs.loss).all() and (runs.loss < runs.loss_q95).all()
    assert runs.loss.attrs["units"] == "nats"
    note = read_notes(runs.attrs)[0]
    assert note.startswith("each loss is the lowest of several (lr), and lies 0.")
    assert "% (mean) below the true loss of the best setting, as losses scatter by 0." in note
    assert read_runs(runs).identical(runs)


def test_the_order_of_the_rows_does_not_matter():
    columns, _, _ = table()
    order = np.random.default_rng(0).permutation(len(columns["lr"]))
    runs = read_runs(columns, best_of=("params", "tokens"))
    other = read_runs({name: values[order] for name, values in columns.items()}, best_of=("params", "tokens"))
    kept = runs.sortby(["params", "tokens"]), other.sortby(["params", "tokens"])
    np.testing.assert_allclose(*(one.lowest_loss for one in kept))
    np.testing.assert_allclose(*(one.loss for one in kept), rtol=1e-3)


def test_where_the_bias_cannot_be_told_losses_stay():
    columns, lowest, _ = table()
    columns["optimizer"] = np.tile(["adam", "lion", "muon"], 100)
    runs = read_runs(columns, best_of=("params", "tokens"))
    np.testing.assert_allclose(runs.loss, lowest)
    assert read_notes(runs.attrs)[0].endswith("by an amount that these runs do not tell") and "lowest_loss" not in runs


def test_perplexities_are_compared_as_losses():
    columns, _, _ = table()
    plain = read_runs(columns, best_of=("params", "tokens"))
    columns["loss"] = np.exp(columns["loss"])
    runs = read_runs(columns, best_of=("params", "tokens"), units={"loss": "perplexity"})
    np.testing.assert_allclose(runs.loss, plain.loss, rtol=1e-9)
