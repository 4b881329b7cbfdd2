"""A first look: what a table holds, which rows should go, the options that leave them out, and the tidy table."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayescale.errors import RunsError
from bayescale.jobs.files import write_table
from bayescale.runs.proposal import command, look, option_texts, tidy
from bayescale.runs.read import read_runs

N, D = np.repeat([5e7, 1e8, 2e8, 4e8], 3), np.tile([2e9, 6e9, 2e10], 4)
LOSS = np.round(1.7 + 400 / N**0.34 + 400 / D**0.28, 4)
RUNS = pd.DataFrame(
    {"Name": [f"r{i}" for i in range(12)], "State": "finished", "n_params": N, "tokens": D, "eval/loss": LOSS}
)


def test_a_clean_table_asks_for_nothing():
    found = look(RUNS, None, {})
    assert found.options == {} and found.left_out == "" and found.left == 12


def test_crashed_and_incomplete_rows():
    table = RUNS.astype(object)
    table.loc[3, "eval/loss"] = "oops"
    table.loc[[5, 6], "State"] = "crashed", 'kil"led'
    table.loc[7, "State"] = "failed"
    found = look(table.assign(State=table["State"].replace('kil"led', "killed")), None, {})
    assert found.notes[0].code == "missing_values"
    assert "row 3: eval/loss = 'oops' is not a number (write 2.31; --drop-missing leaves" in found.notes[0].text
    where = 'State not in ["crashed", "failed", "killed"]'
    assert found.options == {"drop_missing": True, "where": where}
    assert found.left_out == f"left out 4 rows: 3 not meeting {where}, 1 without eval/loss" and found.left == 8
    assert read_runs(table, **found.options).sizes["run"] == 9  # a state spelt otherwise is another state
    words = option_texts(found.options)
    assert command(["bayescale", *words]) == f"bayescale --drop-missing --where '{where}'"


def test_checkpoints_and_settings_one_after_the_other(rng):
    steps = np.tile([100, 200, 300, 400], 12)
    table = pd.DataFrame(
        {
            "run": np.repeat([f"r{i}" for i in range(12)], 4),
            "step": steps,
            "params": np.repeat(np.tile([5e7, 1e8, 4e8], 4), 4),
            "tokens": np.repeat(np.repeat([2e9, 8e9], 6), 4) * steps / 400,
            "lr": np.repeat(np.tile(np.repeat([1e-3, 2e-3], 3), 2), 4),
            "loss": 3 + rng.uniform(0, 0.5, 48),
        }
    )
    found = look(table, None, {"columns": {}, "units": {}})
    assert {name: value for name, value in found.options.items() if value} == {
        "last_of": "run_name",
        "best_of": ("params", "tokens"),
    }
    assert found.left == 6 and "before the last of their run_name" in found.left_out
    assert option_texts(found.options) == ["--last-of", "run_name", "--best-of", "params,tokens"]
    assert look(table, None, {"last_of": "run", "best_of": ("params", "tokens")}).left_out == ""


def test_a_condition_is_added_to_the_one_given():
    table = RUNS.assign(State=["crashed"] + ["finished"] * 11)
    found = look(table, None, {"where": "tokens > 3B or Name == 'r0'"})
    assert found.options["where"] == "(tokens > 3B or Name == 'r0') and State not in [\"crashed\"]"
    assert found.left == 8


def test_what_cannot_be_read_is_refused_as_ever():
    with pytest.raises(RunsError, match="no column for loss"):
        look(RUNS.drop(columns="eval/loss"), None, {})
    with pytest.raises(RunsError, match="tokens = '1x' is not a number"):
        look(RUNS.astype(object).assign(tokens="1x"), None, {})


@pytest.mark.parametrize("unit", ["nats", "bits", "bits_per_byte", "perplexity"])
def test_the_tidy_table_reads_as_the_runs_do(unit, tmp_path):
    loss = np.exp(LOSS) if unit == "perplexity" else LOSS
    runs = read_runs(RUNS.assign(**{"eval/loss": loss}), units={"loss": unit})
    write_table(tidy(runs), tmp_path / "tidy.csv")
    again = read_runs(tmp_path / "tidy.csv")
    xr.testing.assert_allclose(runs.drop_vars("run"), again.drop_vars("run"), rtol=1e-12)
    assert again.attrs.get("loss_unit", "nats") == unit and json.loads(again.attrs["read"])["compute"] == "6 N D"


def test_a_column_of_compute_stays_in_the_tidy_table():
    runs = read_runs(RUNS.assign(flops=7 * N * D))
    assert list(tidy(runs))[:4] == ["params", "tokens", "compute", "loss"]


def test_the_examples_of_the_tutorial_ask_for_what_the_tutorial_does(tmp_path):
    made = Path(__file__).parents[2] / "docs/examples"
    found = look([str(made / "chart.csv")], None, {})
    assert found.options == {"last_of": "run_name"} and (found.runs.sizes["run"], found.left) == (181, 16)
    runs = read_runs(made / "chart.csv", last_of="run")
    np.testing.assert_allclose(np.unique(runs.params), [2e7, 6e7, 1.8e8, 5.4e8])
    np.testing.assert_allclose(np.unique(np.round(runs.tokens / runs.params)), [10, 20, 40, 80])
    true = 1.8 + 482 * runs.params.values**-0.348 + 2085 * runs.tokens.values**-0.366
    assert np.abs(np.log(runs.loss.values / true)).max() < 0.02
    found = look([str(made / "states")], None, {})
    assert found.options == {"drop_missing": True} and found.left == 6
    np.testing.assert_allclose(np.unique(np.round(found.runs.params, -3)), [2e7, 8e7, 3e8])
    # in a process of its own, where no seed is shifted
    subprocess.run([sys.executable, "-m", "benchmarks.examples", str(tmp_path)], cwd=made.parents[1], check=True)
    assert (tmp_path / "chart.csv").read_text() == (made / "chart.csv").read_text()
