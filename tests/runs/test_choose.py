"""Which rows are the runs: conditions, complete rows, last checkpoints, the best of each size; what goes is counted."""

import json

import numpy as np
import pandas as pd
import pytest

from bayescale.errors import RunsError
from bayescale.laws.law import load_law
from bayescale.runs.choose import Asked, Choice, choose
from bayescale.runs.condition import Condition
from bayescale.runs.read import read_notes, read_runs, read_text
from bayescale.runs.tables.formats import Table

TABLE = {
    "run": ["a", "a", "b", "b", "c"],
    "step": [10, 20, 10, 20, 10],
    "State": ["finished", "finished", "finished", "finished", "crashed"],
    "optim.lr": ["1e-3", "1e-3", "2e-4", "", "1e-3"],
    "eval/loss": ["3.5", "3.2", "3.4", "", "nan"],
    "n_params": ["70M", "70M", "1.3B", "1.3B", "2B"],
    "tokens": [1e9, 2e9, 1e9, 2e9, 1e9],
}


def rows(**options):
    runs = read_runs(TABLE, **options)
    return list(runs.run.values), json.loads(runs.attrs.get("left_out", "{}"))


def answer(text, table=TABLE):
    frame = pd.DataFrame(table)
    roles = {"params": "n_params", "loss": "eval/loss"}
    found = Condition(text, Table(frame, "runs", "row"), roles, {"params": 1.0, "loss": 1.0}).rows()
    return "".join("y" if yes else "n" if no else "?" for yes, no in zip(found.yes, found.no, strict=True))


# ---- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("State == 'finished'", "yyyyn"),
        ('State != "finished"', "nnnny"),
        ("state in ['crashed', 'killed']", "nnnny"),
        ("state not in ('crashed', 'killed')", "yyyyn"),
        ("optim.lr > 5e-4", "yyn?y"),
        ("not optim.lr > 5e-4", "nny?n"),
        ("optim.lr > 5e-4 and run == 'b'", "nnn?n"),
        ("optim.lr > 5e-4 or step == 20", "yynyy"),
        ("optim.lr > 5e-4 and step == 10", "ynnny"),
        ("`eval/loss` < 3.45", "nyy??"),
        ("loss < 3.45", "nyy??"),
        ("eval_loss < 3.45", "nyy??"),
        ("params >= 1.3B", "nnyyy"),
        ("params > 1300M", "nnnny"),
        ("tokens / params > 1.2", "yynyn"),
        ("10 <= step < 20", "ynyny"),
        ("-step < -15", "nynyn"),
        ("step * 2 - 10 == tokens * 0 + 10", "ynyny"),
        ("`optim.lr` == ''", "nnnyn"),
        ("step == 20 or True == run", "nynyn"),
        ("1 < 2", "yyyyy"),
        ("'70M' == n_params", "yynnn"),
    ],
)
def test_conditions(text, expected):
    assert answer(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a condition"),
        ("state = 'x'", "is not a condition; allowed are columns, numbers, texts in quotes"),
        ("state", "Name is not allowed in a condition"),
        ("absent > 1", "absent is no column; the columns are run, step, State"),
        ("run > 1", "the column run has no numbers; put a text in quotes"),
        ("state == finished", "the column State has no numbers; put a text in quotes"),
        ("state < 'x'", "< and > compare numbers"),
        ("state in 'finished'", "after 'in' a list is expected"),
        ("state in []", "after 'in' a list is expected"),
        ("__import__('os').system('x') == 1", "Call is not allowed"),
        ("step.__class__ == 1", "step.__class__ is no column"),
        ("(lambda: 1)() == 1", "Call is not allowed"),
        ("step[0] == 1", "Subscript is not allowed"),
        ("step ** 9 ** 9 > 1", "BinOp is not allowed"),
        ("step is 1", "Is is not allowed"),
        ("(x := step) > 1", "NamedExpr is not allowed"),
        ("not " * 50 + "step > 1", "nested more than 40 deep"),
        ("step > " + "-" * 50 + "1", "nested more than 40 deep"),
        ("(" * 300 + "1", "is not a condition"),
        ("step > 1 " * 400, "at most 2000 are allowed"),
        ("step > 1\x00", "is not a condition"),
    ],
)
def test_what_is_no_condition(text, message):
    with pytest.raises(RunsError, match=message) as error:
        answer(text)
    assert str(error.value).isprintable() and len(str(error.value)) < 500


def test_a_huge_number_is_a_number():
    assert answer("step < " + "9" * 400) == "yyyyy"


# ---- rows -----------------------------------------------------------------------------------------------------------


def test_nothing_is_left_out_unless_asked():
    with pytest.raises(RunsError, match=r"row 3: eval/loss is empty .*--drop-missing leaves such rows out"):
        rows()


def test_missing_values():
    assert rows(drop_missing=True) == ([0, 1, 2], {"without eval/loss": 2})


def test_a_condition_is_counted_with_what_it_cannot_say():
    kept, left_out = rows(where="optim.lr > 0 and state == 'finished'")
    assert kept == [0, 1, 2]
    shown = "optim.lr > 0 and state == 'finished'"
    assert left_out == {f"not meeting {shown}": 1, f"without a value for {shown}": 1}


def test_last_complete_rows():
    kept, left_out = rows(last_of="run")
    assert kept == [1, 2]
    assert left_out == {"without eval/loss (all rows of c)": 2, "before the last of their run": 1}
    assert rows(last_of="run", where="run != 'c'")[1] == {
        "not meeting run != 'c'": 1,
        "without eval/loss": 1,
        "before the last of their run": 1,
    }


def test_the_last_row_is_that_of_the_largest_step_whatever_the_order():
    table = {"name": ["a", "a", "a"], "params": [1e8] * 3, "tokens": [3e9, 1e9, 2e9], "loss": [3.0, 3.2, 3.1]}
    assert read_runs(table, last_of="name").loss.values == [3.0]
    assert read_runs(table | {"step": [1, 3, 2]}, last_of="name").loss.values == [3.2]
    assert read_runs(table | {"tokens": [1e9] * 3}, last_of="name").loss.values == [3.1]


def test_above_a_step():
    assert rows(above_step=10, drop_missing=True) == ([1], {"up to step 10": 3, "without eval/loss": 1})
    with pytest.raises(RunsError, match="--above-step: no column of steps"):
        read_runs({"params": [1e8], "tokens": [1e9], "loss": [3.0]}, above_step=1)


@pytest.mark.parametrize("name", ["iterations", "global_steps", "num_updates", "trainer/global_step", "Steps"])
def test_steps_are_found_by_their_usual_names(name):
    """W&B's ``_step`` counts calls, and ``max_steps`` is a plan: neither is read where steps are there."""
    table = {"_step": [1, 2, 3], "max_steps": [3000] * 3, name: [1000, 2000, 3000]}
    runs = read_runs(table | {"params": 1e8, "tokens": [1e9, 2e9, 3e9], "loss": [3.3, 3.2, 3.1]}, above_step=1500)
    assert list(runs.run.values) == [1, 2] and f"1 up to {name} 1500" in read_text(runs.attrs)


SWEEP = {
    "params": [1e8, 1e8, 1e8, 2e8, 2e8, 1e8],
    "tokens": [2e9, 2.0001e9, 2e9, 2e9, 2e9, 4e9],
    "lr": [1, 2, 4, 1, 2, 1],
    "loss": [3.3, 3.2, 3.25, 3.1, 3.0, 3.15],
}


def test_the_best_of_each_size():
    runs = read_runs(SWEEP, best_of=["params", "tokens"])
    assert runs.loss.values.tolist() == [3.2, 3.0, 3.15] and runs.lr.values.tolist() == [2, 2, 1]
    reason = "not the lowest loss of their (params, tokens), chosen from 1 to 3 in each of 3"
    assert json.loads(runs.attrs["left_out"]) == {reason: 3}


def test_the_best_of_copies_is_one_of_them():
    runs = pd.DataFrame({"params": [1e8, 1e8, 1e9, 1e9], "tokens": 4 * [1e10], "loss": [3.1, 3.1, 2.8, 2.8]})
    found = read_runs(runs, best_of=("params", "tokens"))
    assert list(found["loss"].values) == [3.1, 2.8] and "lowest_loss" not in found
    assert "the rows that agree have equal losses: one of each is kept" in read_notes(found.attrs)


def test_a_bad_loss_is_not_passed_over_by_the_best():
    table = SWEEP | {"loss": ["3.3", "x", "3.25", "3.1", "3.0", "3.15"]}
    with pytest.raises(RunsError, match="row 1: loss = 'x' is not a number"):
        read_runs(table, best_of=["params", "tokens"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "step > 99"}, "--where leaves no run: 5 not meeting step > 99"),
        ({"above_step": 99}, "--above-step leaves no run: 5 up to step 99"),
        ({"last_of": "absent"}, "--last-of absent: no such column; the columns are run, step"),
        ({"best_of": ["params", "absent"], "drop_missing": True}, "--best-of absent: no such column"),
    ],
)
def test_choices_that_cannot_be_made(options, message):
    with pytest.raises(RunsError, match=message):
        rows(**options)


def test_what_was_left_out_is_said_with_what_was_read_and_kept():
    runs = read_runs(TABLE, where="run != 'c'", drop_missing=True)
    said = "; left out 2 rows: 1 not meeting run != 'c', 1 without eval/loss"
    assert read_text(runs.attrs).endswith("compute = 6 N D" + said)
    again = read_runs(runs, load_law("chinchilla"))
    assert read_text(again.attrs) == read_text(runs.attrs)
    more = read_runs(runs, where="step > 10")
    assert read_text(more.attrs).endswith(
        "left out 4 rows: 1 not meeting run != 'c', 1 without eval/loss, 2 not meeting step > 10"
    )


def test_the_bad_cell_of_a_chosen_row_is_named_by_its_own_place():
    with pytest.raises(RunsError, match="runs, row 4: eval/loss is missing"):
        rows(where="state == 'crashed'")


def test_choices_are_quick_on_many_rows():
    import time

    count = 100_000
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"run": rng.integers(0, 500, count).astype(str), "tokens": rng.uniform(1e9, 1e10, count)})
    frame["loss"], frame["params"] = rng.uniform(2, 4, count), 1e8
    asked = Asked(Table(frame, "runs", "row"), {"loss": "loss", "tokens": "tokens"}, {}, ["loss", "tokens"])
    began = time.process_time()
    table, left_out, _ = choose(asked, Choice(where="run != '1'", last_of="run"))
    assert time.process_time() - began < 2 and len(table.frame) == 499 and sum(left_out.values()) == count - 499
