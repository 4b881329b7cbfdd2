import numpy as np
import pytest

from bayescale.lint import Note, check_runs, far_off, off_diagonal, spread_of_ratio
from bayescale.runs import read_runs


def chinchilla_runs(rng, **changes):
    """24 runs of a plausible study, N and D crossed."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.logspace(7, 9, 6), np.logspace(9, 11, 4)))
    loss = (1.8 + 480 / n**0.35 + 2000 / d**0.366) * np.exp(0.002 * rng.standard_normal(n.size))
    return {"params": n, "tokens": d, "loss": loss} | changes


def codes(table):
    return {note.code: note for note in check_runs(read_runs(table))}


def test_good_runs_raise_no_objection(rng):
    assert check_runs(read_runs(chinchilla_runs(rng))) == []


def test_a_note():
    note = Note("code", "info", "text")
    assert note.rows == () and note == Note("code", "info", "text")


@pytest.mark.parametrize("code", ["few_runs", "few_sizes", "few_token_counts", "collinear_sizes"])
def test_three_runs_are_few(code):
    notes = codes({"N": [1e7, 1e8, 1e9], "D": [2e8, 2e9, 2e10], "loss": [4.0, 3.5, 3.0]})
    assert notes[code].severity == "warning"


def test_collinear_sizes(rng):
    table = chinchilla_runs(rng)
    table["tokens"] = 20 * table["params"]
    assert "N and D move together, along D = 20 N:" in codes(table)["collinear_sizes"].text
    table["tokens"] = table["params"] ** 0.7 * 1e4  # the ratio varies, along one line
    assert "along D ~ N^0.70:" in codes(table)["collinear_sizes"].text
    table["tokens"] = 1e19 / table["params"]  # one isoFLOP curve
    assert "along N D = 1e+19:" in codes(table)["collinear_sizes"].text
    table["tokens"] = np.full_like(table["params"], 1e10)
    assert "along D = 1e+10:" in codes(table)["collinear_sizes"].text


def test_measures_of_a_design():
    line = read_runs({"N": [1e7, 1e8, 1e9], "D": [1e9, 1e10, 1e11], "loss": [3, 2.5, 2.2]})
    assert spread_of_ratio(line) == pytest.approx(1) and off_diagonal(line) == pytest.approx(0, abs=1e-6)
    cross = read_runs({"N": [1e7, 1e7, 1e9, 1e9], "D": [1e9, 1e11, 1e9, 1e11], "loss": [3, 2.5, 2.7, 2.2]})
    assert spread_of_ratio(cross) == pytest.approx(1e4) and off_diagonal(cross) == pytest.approx(np.log(10))
    one_size = read_runs({"N": [1e7, 1e7], "D": [1e9, 1e11], "loss": [3, 2.5]})
    assert off_diagonal(one_size) == 0


def test_duplicates(rng):
    table = {name: np.append(values, values[:2]) for name, values in chinchilla_runs(rng).items()}
    note = codes(table)["duplicates"]
    assert note.rows == (24, 25) and note.text == "2 run(s) repeat an earlier one exactly: drop copies"


def test_repeats_with_another_loss_are_welcome(rng):
    table = {name: np.append(values, values[:1]) for name, values in chinchilla_runs(rng).items()}
    table["loss"][-1] *= 1.001
    assert "duplicates" not in codes(table)


def test_compute_that_is_not_6nd(rng):
    table = chinchilla_runs(rng)
    compute = 6 * table["params"] * table["tokens"]
    compute[[3, 5]] *= [2.0, 0.5]
    note = codes(table | {"compute": compute})["compute_differs"]
    assert note.rows == (3, 5) and note.severity == "info" and "in 2 of 24 runs" in note.text
    assert "compute_differs" not in codes(table | {"compute": 6.5 * table["params"] * table["tokens"]})


@pytest.mark.parametrize(("params", "tokens"), [(1e6, 1e9), (1e9, 1.0), (1.0, 1e9)])
def test_sizes_in_other_units(rng, params, tokens):
    table = chinchilla_runs(rng)
    notes = codes(table | {"params": table["params"] / params, "tokens": table["tokens"] / tokens})
    assert "look like other units" in notes["units"].text and "--unit params=M" in notes["units"].text


def test_a_typing_error_in_a_loss_is_found(rng):
    table = chinchilla_runs(rng)
    table["loss"][7] *= 1.2
    note = codes(table)["surprising_loss"]
    assert (
        note.rows == (7,) and "the worst is run 7, counted from 0" in note.text and "check for divergence" in note.text
    )


def test_what_a_column_may_really_be(rng):
    table = chinchilla_runs(rng)
    assert "looks like a perplexity" in codes(table | {"loss": np.exp(table["loss"])})["perplexity"].text
    swapped = table | {"params": table["tokens"], "tokens": table["params"] / 10}
    assert "are the columns swapped" in codes(swapped)["units"].text
    recipes = table["loss"] * np.where(np.arange(24) % 2, 1.0, 1.3)
    assert "more than one recipe" in codes(table | {"loss": recipes})["scatter"].text


def test_runs_far_off_are_named(rng):
    table = chinchilla_runs(rng)
    table["loss"][[3, 9]] = 80.0, 0.01
    runs = read_runs(table)
    note = codes(table)["surprising_loss"]
    assert note.severity == "warning" and note.rows == (3, 9) and "where the others say about" in note.text
    assert np.flatnonzero(far_off(runs)).tolist() == [3, 9]
    assert not far_off(read_runs(chinchilla_runs(rng))).any()
    assert not far_off(read_runs({"N": [1e7, 1e8, 1e9], "D": [2e8, 2e9, 2e10], "loss": [4.0, 3.5, 0.01]})).any()


def test_which_runs_are_far_off_does_not_depend_on_their_order(rng):
    """20 000 runs, every second three times too high: more than the surface is fitted to."""
    n, d = 10 ** rng.uniform(7, 9, 20_000), 10 ** rng.uniform(9, 11, 20_000)
    loss = (1.8 + 480 / n**0.35 + 2000 / d**0.366) * np.where(np.arange(20_000) % 2, 1.0, 3.0)
    order = rng.permutation(20_000)
    plain = far_off(read_runs({"N": n, "D": d, "loss": loss}))
    shuffled = far_off(read_runs({"N": n[order], "D": d[order], "loss": loss[order]}))
    np.testing.assert_array_equal(plain[order], shuffled)


def test_losses_that_say_nothing(rng):
    table = chinchilla_runs(rng)
    assert "constant_loss" in codes(table | {"loss": np.full(24, 2.5)})
    assert "rising_loss" in codes(table | {"loss": 1 / table["loss"]})


def test_one_run():
    assert "few_runs" in codes({"N": [1e7], "D": [1e9], "loss": [3.0]})
