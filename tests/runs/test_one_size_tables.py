"""Is a table one of runs that differ in one size only, and in which."""

import numpy as np
import pytest

import bayescale
from bayescale.errors import RunsError
from bayescale.runs.one_size import only_size

LOSS = [3.0, 2.8, 2.6, 2.5]
UP = [1e9, 2e9, 4e9, 8e9]
SAME = [7e7] * 4


@pytest.mark.parametrize(
    ("table", "size"),
    [
        ({"tokens": UP, "loss": LOSS}, "tokens"),
        ({"n_params": UP, "loss": LOSS}, "params"),
        ({"D": UP, "loss": LOSS}, "tokens"),
        ({"flops": [1e20, 2e20, 3e20, 4e20], "loss": LOSS}, "compute"),
        ({"params": SAME, "tokens": UP, "loss": LOSS}, "tokens"),
        ({"params": UP, "tokens": SAME, "loss": LOSS}, "params"),
        ({"params": UP, "compute": [6 * n * 7e7 for n in UP], "loss": LOSS}, "params"),
        ({"tokens": UP, "compute": [6 * 7e7 * d for d in UP], "loss": LOSS}, "tokens"),
        ({"params": UP, "tokens": UP[::-1], "loss": LOSS}, None),
        ({"params": UP, "tokens": UP, "compute": [6 * n * n for n in UP], "loss": LOSS}, None),
        ({"x": UP, "loss": LOSS}, "x"),
        ({"loss": LOSS}, None),
        ({"tokens": UP, "n_layers": [2, 4, 8, 16], "d_model": [64, 128, 256, 512], "loss": LOSS}, None),
        ({"n_params": UP, "total_params": UP[::-1], "loss": LOSS}, None),
        ({"tokens": UP, "params_of_model": UP[::-1], "loss": LOSS}, None),
    ],
)
def test_the_only_size(table, size):
    assert only_size(table) == size


def test_a_column_that_is_said_to_be_x():
    assert only_size({"examples": UP, "loss": LOSS}) is None
    assert only_size({"examples": UP, "loss": LOSS}, {"x": "examples"}) == "x"


def test_runs_that_were_read_are_as_their_table():
    table = {"params": SAME, "tokens": UP, "loss": LOSS}
    runs = bayescale.read_runs(table, bayescale.load_law("floor_tokens"))
    assert only_size(runs) == only_size(table) == "tokens"
    assert only_size(bayescale.load_dataset("pile")) is None


def test_sizes_that_are_missing_in_some_rows():
    assert only_size({"params": [7e7, np.nan, 7e7, 7e7], "tokens": UP, "loss": LOSS}) == "tokens"


def test_an_infinite_size_is_no_size_of_one_value():
    table = {"params": [np.inf] * 5, "tokens": [1e9, 2e9, 4e9, 8e9, 1e10], "loss": [3.0, 2.9, 2.8, 2.7, 2.6]}
    with pytest.raises(RunsError, match="must be finite"):
        bayescale.fit(table)
