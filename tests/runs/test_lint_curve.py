"""Curves along one size that steepen, and curves that have stopped falling."""

import numpy as np
import pytest

from bayescale.runs.lint import check_runs
from bayescale.runs.lint_observed import _line

TOKENS = np.geomspace(1e8, 1e11, 30)


def told(loss, tokens=TOKENS, law="floor_tokens"):
    notes = {note.code: note for note in check_runs({"tokens": tokens, "loss": loss}, law)}
    return {code: note.text for code, note in notes.items() if code in ("steepening_curve", "plateau")}


def scattered(loss, rng, sd=0.003):
    return loss * np.exp(sd * rng.standard_normal(len(loss)))


def test_a_curve_with_a_slow_start_steepens(rng):
    text = told(scattered(3 * (1 + TOKENS / 3e9) ** -0.3, rng))["steepening_curve"]
    assert "loss falls faster with tokens from 1B on" in text and "m3, m4, broken" in text


def test_a_curve_that_has_ended_is_on_a_plateau(rng):
    text = told(scattered(2 + (TOKENS / 1e8) ** -0.8, rng))["plateau"]
    assert text.startswith("loss hardly falls beyond tokens = 10B (-")
    assert "forecasts take it for a floor" in text


@pytest.mark.parametrize("sd", [0.001, 0.03])
def test_power_laws_with_floors_do_neither(rng, sd):
    """The floor may bend a curve, and scatter may bend a power: of 60 curves none is said to steepen."""
    for _ in range(30):
        floor, exponent = rng.uniform(0.3, 0.9), rng.uniform(0.05, 0.4)
        loss = scattered(2 * (floor + (1 - floor) * (TOKENS / 1e9) ** -exponent), rng, sd)
        assert "steepening_curve" not in told(loss)
    assert not told(scattered(3 * (TOKENS / 1e8) ** -0.1, rng, sd))


def test_neighbours_that_err_together_are_no_break(rng):
    drift = np.cumsum(rng.standard_normal(30))
    assert not told(3 * (TOKENS / 1e8) ** -0.1 * np.exp(0.003 * (drift - drift.mean())))


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_the_error_of_a_slope_is_that_of_neighbours_that_err_together(rng, alike):
    """Over 1000 curves with errors e_i = alike e_(i-1) + normal: slopes scatter by a fifth more or less than stated."""
    x, slopes, errors = np.linspace(0, 1, 60), [], []
    for _ in range(1000):
        left = rng.standard_normal(60)
        for i in range(1, 60):
            left[i] += alike * left[i - 1]
        slope, error = _line(x, left)
        slopes.append(slope)
        errors.append(error)
    # the sd of 1000 slopes is known to 2.2 %; without the correction the ratio would be 1.7, with its sign turned 3
    assert 0.8 < np.std(slopes) / np.mean(errors) < 1.25


def test_few_runs_and_two_sizes_are_not_judged(rng):
    few = np.geomspace(1e8, 1e11, 11)
    assert not told(3 * (1 + few / 3e9) ** -0.3, few)
    both = {"params": TOKENS / 20, "tokens": TOKENS[::-1], "loss": 3 * (1 + TOKENS / 3e9) ** -0.3}
    assert not {"steepening_curve", "plateau"} & {note.code for note in check_runs(both)}
