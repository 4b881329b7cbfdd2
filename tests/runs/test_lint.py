import re

import numpy as np
import pandas as pd
import pytest

from bayescale.runs.lint import check_runs
from bayescale.runs.lint_settings import offsets_of
from bayescale.runs.read import read_runs
from bayescale.runs.remark import Note
from bayescale.runs.smooth import far_off, off_diagonal, seen_by, spread_of_ratio, surface_through


def chinchilla_runs(rng, **changes):
    """24 runs of a plausible study, N and D crossed."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.logspace(7, 9, 6), np.logspace(9, 11, 4)))
    loss = (1.8 + 480 / n**0.35 + 2000 / d**0.366) * np.exp(0.002 * rng.standard_normal(n.size))
    return {"params": n, "tokens": d, "loss": loss} | changes


def codes(table, law=None, **options):
    return {note.code: note for note in check_runs(table, law, **options)}


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
    assert "along N D = 1e19:" in codes(table)["collinear_sizes"].text
    table["tokens"] = np.full_like(table["params"], 1e10)
    assert "along D = 10B:" in codes(table)["collinear_sizes"].text


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
    assert note.rows == (24, 25)
    assert note.text == "2 run(s) repeat an earlier one exactly (rows 24 and 25): drop copies"


def test_repeats_with_another_loss_are_welcome(rng):
    table = {name: np.append(values, values[:1]) for name, values in chinchilla_runs(rng).items()}
    table["loss"][-1] *= 1.001
    assert "duplicates" not in codes(table)


def test_compute_that_is_not_6nd(rng):
    table = chinchilla_runs(rng)
    compute = 6 * table["params"] * table["tokens"]
    compute[[3, 5]] *= [2.0, 0.5]
    note = codes(table | {"compute": compute})["compute_differs"]
    assert note.rows == (3, 5) and note.severity == "info" and "in 2 of 24 runs (rows 3 and 5)" in note.text
    other = codes(table | {"compute": 6.5 * table["params"] * table["tokens"]})["compute_differs"]
    assert "taken to count 6.5*N*D (within 0.01 % in all 24 runs)" in other.text and other.severity == "info"


@pytest.mark.parametrize(("params", "tokens"), [(1e6, 1e9), (1e9, 1.0), (1.0, 1e9)])
def test_sizes_in_other_units(rng, params, tokens):
    table = chinchilla_runs(rng)
    notes = codes(table | {"params": table["params"] / params, "tokens": table["tokens"] / tokens})
    assert "look like other units" in notes["units"].text
    assert ("--unit params=M" in notes["units"].text, "--unit tokens=B" in notes["units"].text) == (
        params > 1,
        tokens > 1,
    )


def test_a_typing_error_in_a_loss_is_found(rng):
    table = chinchilla_runs(rng)
    table["loss"][7] *= 1.2
    note = codes(table)["surprising_loss"]
    assert note.rows == (7,) and "a smooth surface, row 7 (N" in note.text and "check for divergence" in note.text


def test_losses_too_low_for_text_are_said_unless_their_unit_was(rng):
    table = chinchilla_runs(rng)
    low = table | {"loss": table["loss"] / table["loss"].min() * 0.3}
    assert "as low as 0.3 are taken for no cross-entropy of text" in codes(low)["other_losses"].text
    assert "other_losses" not in codes(table)
    for unit in ("nats", "error", "mse"):
        assert "other_losses" not in {note.code for note in check_runs(low, units={"loss": unit})}


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
    assert np.flatnonzero(far_off(seen_by(runs))).tolist() == [3, 9]
    assert not far_off(seen_by(read_runs(chinchilla_runs(rng)))).any()
    assert not far_off(
        seen_by(read_runs({"N": [1e7, 1e8, 1e9], "D": [2e8, 2e9, 2e10], "loss": [4.0, 3.5, 0.01]}))
    ).any()


def test_which_runs_are_far_off_does_not_depend_on_their_order(rng):
    """20 000 runs, every second three times too high: more than the surface is fitted to."""
    n, d = 10 ** rng.uniform(7, 9, 20_000), 10 ** rng.uniform(9, 11, 20_000)
    loss = (1.8 + 480 / n**0.35 + 2000 / d**0.366) * np.where(np.arange(20_000) % 2, 1.0, 3.0)
    order = rng.permutation(20_000)
    plain = far_off(seen_by(read_runs({"N": n, "D": d, "loss": loss})))
    shuffled = far_off(seen_by(read_runs({"N": n[order], "D": d[order], "loss": loss[order]})))
    np.testing.assert_array_equal(plain[order], shuffled)


def test_losses_that_say_nothing(rng):
    table = chinchilla_runs(rng)
    assert "constant_loss" in codes(table | {"loss": np.full(24, 2.5)})
    assert "rising_loss" in codes(table | {"loss": 1 / table["loss"]})


def test_sizes_that_tell_nothing_are_said_to(rng):
    """A loss of other corpora beside the accuracy of one task, say: a law of the two would be a law of scatter.

    Of so many runs chance tells next to nothing.
    """
    assert "unexplained" not in codes(chinchilla_runs(rng))
    n, d = 10 ** rng.uniform(7, 9, 300), 10 ** rng.uniform(9, 11, 300)
    note = codes({"params": n, "tokens": d, "loss": 3 + rng.uniform(size=300)})["unexplained"]
    assert note.severity == "warning"
    assert "params and tokens tell" in note.text and "of the variance of loss" in note.text
    loss = np.linspace(3.5, 2.0, 300)
    odds = -2 * (loss - 2.8) + 0.2 * rng.standard_normal(300)
    shares = {"loss": loss, "accuracy": 0.2 + 0.7 / (1 + np.exp(-odds))}
    assert set(codes(shares, "accuracy_sigmoid")) == {"uncounted"}
    told = codes(shares | {"loss": rng.permutation(loss)}, "accuracy_sigmoid")
    assert set(told) == {"uncounted", "unexplained"}
    assert "loss tells" in told["unexplained"].text and "of the variance of accuracy" in told["unexplained"].text


def test_a_column_that_may_count_the_items_is_named(rng):
    loss, items = np.linspace(3.5, 2.0, 24), np.resize([500.0, 1200.0], 24)
    share = rng.binomial(items.astype(int), 0.2 + 0.7 / (1 + np.exp(2 * (loss - 2.8)))) / items
    table = {"loss": loss, "accuracy": share, "n": items, "layers": np.full(24, 24.0), "flops": loss * 1e18}
    note = codes(table, "accuracy_sigmoid")["uncounted"]
    assert note.severity == "warning" and "--column items=n says that it counts them" in note.text
    printed = codes(table | {"accuracy": np.round(share, 4)}, "accuracy_sigmoid")["uncounted"]
    assert "items=n" in printed.text
    fives = codes(table | {"accuracy": np.round(share * 500) / 500, "n": np.full(24, 500)}, "accuracy_sigmoid")
    assert fives["uncounted"].severity == "warning"
    # shares of three digits times a thousand are whole numbers anyway, and shares of two digits tell nothing
    others = {"loss": loss, "accuracy": np.round(rng.uniform(0.3, 0.8, 24), 3), "steps": np.full(24, 20_000.0)}
    assert codes(others, "accuracy_sigmoid")["uncounted"].severity == "info"
    assert codes(table | {"accuracy": np.round(share, 2)}, "accuracy_sigmoid")["uncounted"].severity == "info"


def test_one_run():
    assert "few_runs" in codes({"N": [1e7], "D": [1e9], "loss": [3.0]})


# ---- what the rows are -----------------------------------------------------------------------------------------------


def test_a_path_a_frame_and_a_dataset_are_checked_alike(rng, tmp_path):
    table = pd.DataFrame(chinchilla_runs(rng))
    table.loc[7, "loss"] *= 1.2
    table.to_csv(tmp_path / "runs.csv", index=False)
    found = [check_runs(runs) for runs in (table, read_runs(table), dict(table), tmp_path / "runs.csv")]
    assert found[0] == found[1] == found[2] and [note.code for note in found[3]] == ["surprising_loss"]
    assert found[0][0].rows == (7,) and found[3][0].rows == (9,)  # of a file the line, below the header
    assert "row 7" in found[0][0].text and "line 9" in found[3][0].text
    other = table.rename(columns={"loss": "pile", "tokens": "seen"}).assign(seen=table["tokens"] / 1e9)
    assert check_runs(other, columns={"loss": "pile", "tokens": "seen"}, units={"tokens": "B"}) == found[0]


def test_lines_are_those_of_the_file_whatever_is_left_out(rng, tmp_path):
    table = pd.DataFrame(chinchilla_runs(rng))
    lines = table.to_csv(index=False).splitlines()
    (tmp_path / "runs.csv").write_text("\n".join([*lines[:4], "", *lines[4:]]))
    runs = read_runs(tmp_path / "runs.csv")
    assert runs["run"].values.tolist() == [2, 3, 4, *range(6, 27)] and runs.attrs["rows"] == "line"
    kept = runs.isel(run=slice(5, None))
    again = read_runs(kept)
    assert again["run"].values.tolist() == kept["run"].values.tolist() and again.attrs["rows"] == "line"
    assert read_runs(table)["run"].values.tolist() == list(range(24))


@pytest.mark.parametrize("name", ["State", "outcome"])
def test_crashed_runs_are_named(rng, name):
    table = chinchilla_runs(rng)
    state = np.full(24, "finished", dtype=object)
    assert name not in codes(table | {name: state}) and "unfinished_runs" not in codes(table | {name: state})
    state[[3, 5, 8]] = "crashed", "Failed", "running"
    note = codes(table | {name: state})["unfinished_runs"]
    assert note.rows == (3, 5, 8) and note.severity == "warning"
    assert "1 crashed, 1 failed and 1 running of 24 runs (rows 3, 5 and 8)" in note.text
    (where,) = re.findall(r"\(--where '(.*)'\)$", note.text)  # what it says to do is what does it
    assert note.options == (("where", where),)
    left = read_runs(table | {name: state}, where=where)
    assert list(left["run"].values) == [row for row in range(24) if row not in (3, 5, 8)]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("diverged", 0, 1), ("is_diverged", "False", "True"), ("completed", "yes", "no"), ("finished", 1, 0)],
)
def test_runs_that_a_flag_says_diverged_are_named(rng, name, good, bad):
    flag = np.full(24, good, dtype=object if isinstance(good, str) else float)
    table = chinchilla_runs(rng) | {name: flag}
    assert "unfinished_runs" not in codes(table)
    flag[[3, 5]] = bad
    note = codes(table)["unfinished_runs"]
    assert note.rows == (3, 5) and f"by the column {name}, 2 of 24 runs diverged or did not finish" in note.text
    left = read_runs(table, where=dict(note.options)["where"])
    assert list(left["run"].values) == [row for row in range(24) if row not in (3, 5)]


def test_tokens_made_of_compute_in_another_unit_ask_for_the_unit_of_compute(rng):
    table = chinchilla_runs(rng)
    table = {"params": table["params"], "compute": 6 * table["params"] * table["tokens"] / 1e9, "loss": table["loss"]}
    note = codes(table)["units"]
    assert "which is compute / 6 N" in note.text and "--unit compute=" in note.text and "tokens=B" not in note.text


def test_a_word_among_others_is_no_state(rng):
    table = chinchilla_runs(rng)
    assert "unfinished_runs" not in codes(table | {"comment": ["failed once"] * 23 + ["failed"]})


def sweep(rng, rates, effect):
    """Every run of the study at several learning rates; the loss of all but the first is above it by so much."""
    table = {name: np.repeat(values, len(rates)) for name, values in chinchilla_runs(rng).items()}
    table["loss"] *= np.exp(np.tile(effect, 24))
    return table | {"lr": np.tile(rates, 24)}


def test_many_settings_of_one_cell(rng):
    note = codes(sweep(rng, [1e-4, 3e-4, 1e-3], [0.0, 0.02, 0.1]))["many_settings"]
    assert "72 of 72 runs share their (N, D)" in note.text and "differ in lr (3 values)" in note.text
    assert "differs by 1" in note.text and note.rows == tuple(range(72))  # 10 or 11 %, with noise
    assert "many_settings" not in codes(sweep(rng, [1e-4, 3e-4, 1e-3], [0.0, 0.001, -0.001]))  # no matter which
    seeds = sweep(rng, [0, 1, 2], [0.0, 0.02, 0.1])
    seeds["seed"] = seeds.pop("lr")
    assert "many_settings" not in codes(seeds)  # repeats are welcome


def test_a_setting_at_whose_edge_the_loss_is_lowest_may_be_a_size(rng):
    """The best of such settings is not proposed: it would leave out what a law of the size is fitted to."""
    size = codes(sweep(rng, [500, 2000, 8000], [0.0, -0.1, -0.2]))["many_settings"]
    assert "lowest at the largest lr throughout. If lr is a size" in size.text and not dict(size.options)
    setting = codes(sweep(rng, [1e-4, 3e-4, 1e-3], [0.1, 0.0, 0.1]))["many_settings"]
    assert "--best-of" in setting.text and dict(setting.options) == {"best_of": ("params", "tokens")}


def test_a_share_in_percent_is_named(rng):
    """A power of the share takes percentages without a word, and its constants are then others."""
    share = np.tile([0.1, 0.3, 0.6, 0.9], 6)
    tokens = np.repeat(np.geomspace(1e9, 3e10, 6), 4)
    loss = share**-0.08 * (1e3 * tokens**-0.35 + 1.4) * np.exp(0.003 * rng.standard_normal(24))

    def told(mix_share):
        notes = check_runs({"tokens": tokens, "mix_share": mix_share, "loss": loss}, "bimix")
        return [note.text for note in notes if note.code == "units"]

    (text,) = told(100 * share)
    assert text.startswith("mix_share is up to 90, where law 'bimix' is for 0.05 to 1: is it in percent?")
    assert not told(share)


def test_checkpoints_of_one_run(rng):
    """24 runs of ten rows each: tokens grow, the learning rate falls to nothing."""
    step = np.arange(1, 11)
    ends = chinchilla_runs(rng)
    table = {
        "run": np.repeat([f"run {i}" for i in range(24)], 10),
        "params": np.repeat(ends["params"], 10),
        "tokens": np.outer(ends["tokens"], step / 10).ravel(),
        "loss": np.outer(ends["loss"], 1 + 0.5 * (1 - step / 10)).ravel(),
    }
    note = codes(table)["checkpoints"]
    assert "240 of 240 rows are on the way of 24 runs by the column run_name ('run 0': 10 rows" in note.text
    assert "lr" not in note.text
    numbered = codes(table | {"run": np.repeat(np.arange(24), 10)})["checkpoints"]
    assert dict(numbered.options) == {"last_of": "run_name"} and "24 runs" in numbered.text
    rate = np.tile(np.cos(np.pi / 2 * step / 10) ** 2, 24)  # above a tenth of the largest in 8 of 10 rows
    table["optim.lr"] = rate
    high = int((rate > 0.1 * rate[0]).sum())
    assert f"in {high} of them optim.lr is still above 10 %" in codes(table)["checkpoints"].text
    assert "many_settings" not in codes(table)
    ends["run"] = [f"run {i}" for i in range(24)]
    assert "checkpoints" not in codes(ends) and "checkpoints" not in codes(
        ends | {"run": [f"{n:g}" for n in ends["params"]]}
    )


@pytest.mark.parametrize("name", ["runName", "tags.mlflow.runName", "experimentName", "display_name", "Run ID"])
def test_runs_are_named_in_every_usual_spelling(name):
    n, k = (grid.ravel() for grid in np.meshgrid([1e7, 3e7, 1e8, 3e8], np.arange(1, 13), indexing="ij"))
    tokens = 20 * n * k**1.3  # no ladder, which needs no name
    table = {"params": n, "tokens": tokens, "loss": 1.7 + 400 / n**0.34 + 410 / tokens**0.28}
    assert dict(codes(table | {name: [f"run of {size:g}" for size in n]})["checkpoints"].options) == {"last_of": name}
    flagged = codes(table | {"isDiverged": [True] + [False] * 47})["unfinished_runs"]
    assert flagged.rows == (0,)


def test_checkpoints_that_no_column_names():
    """Equal steps of D of each N, beside a column of steps, and studies that were designed."""
    n, k = (grid.ravel() for grid in np.meshgrid([1e7, 3e7, 1e8, 3e8], np.arange(1, 13), indexing="ij"))

    def about(tokens, **more):
        return codes({"params": n, "tokens": tokens, "loss": 1.7 + 400 / n**0.34 + 410 / tokens**0.28} | more)

    note = about(20 * n * k / 12, step=1000 * k)["checkpoints"]
    assert "48 of 48 rows, of 4 N, rise in equal steps of D" in note.text and len(note.rows) == 48
    assert dict(note.options) == {"last_of": "params"}
    assert "checkpoints" not in about(20 * n * k / 12)
    for designed in (1e9 * k, 1e9 * 2**k, n * 1.5**k):  # the same D of each N, and ratios
        assert "checkpoints" not in about(designed, step=designed / 5e5)


def grouped(rng, offset, count=5):
    """The study twice, on two corpora; losses of the second are above those of the first."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.logspace(7, 9, 6), np.logspace(9, 11, count)))
    loss = [(1.8 + 480 / n**0.35 + 2000 / d**0.366) * np.exp(shift) for shift in (0.0, offset)]
    loss = np.concatenate(loss) * np.exp(0.004 * rng.standard_normal(2 * n.size))
    return {
        "params": np.tile(n, 2),
        "tokens": np.tile(d, 2),
        "loss": loss,
        "corpus": np.repeat(["web", "code"], n.size),
    }


def test_groups_that_do_not_share_a_curve(rng):
    table = grouped(rng, 0.05)
    note = codes(table)["groups_differ"]
    assert "by the column corpus, 'code' lies 5" in note.text and "above 'web' at the same sizes" in note.text
    assert "many_settings" not in codes(table | {"which": np.repeat([1.0, 2.0], 30)})  # said once, of either column
    assert "groups_differ" not in codes(grouped(rng, 0.0))
    own = table | {"corpus": [f"{name} {i}" for i, name in enumerate(table["corpus"])]}  # a value a row
    assert "groups_differ" not in codes(own)
    sizes = table | {"corpus": [f"{n:.3g}" for n in table["params"]]}  # N by another name
    assert "groups_differ" not in codes(sizes)


def test_groups_whose_sizes_differ_too_have_no_distance(rng):
    """Schedules that alternate along tokens per parameter: an offset of one is a bend in the sizes."""
    n, ratio = (grid.ravel() for grid in np.meshgrid(np.logspace(7.6, 9.2, 6), [8.0, 21.0, 55.0, 140.0]))
    schedule = np.select([ratio == 21, ratio == 140], ["wsd", "constant"], "cosine")
    loss = (1.8 + 480 / n**0.35 + 2000 / (n * ratio) ** 0.366) * np.where(schedule == "constant", 1.1, 1.0)
    loss = loss * np.exp(0.003 * rng.standard_normal(24))
    tokens = n * ratio * (1 + 1e-4 * rng.standard_normal(24))  # rounded, so that the offset is nearly open only
    text = codes({"params": n, "tokens": tokens, "loss": loss, "schedule": schedule})["groups_differ"].text
    assert "by the column schedule, groups lie apart, how far cannot be told" in text and "above" not in text


def test_groups_by_lot_are_told_apart_as_rarely_as_is_said(rng):
    """Labels by lot say nothing: the share of tables with p below .02 is .02, within 4 standard errors."""
    table, tables = grouped(rng, 0.0), 1000
    table.pop("corpus")
    seen = seen_by(read_runs(table))
    surface, found = surface_through(seen), 0
    for _ in range(tables):
        codes_by_lot = rng.integers(3, size=seen.number)
        with_any = offsets_of(seen, surface, codes_by_lot)[0]
        found += with_any < 0.02
    assert found / tables == pytest.approx(0.02, abs=4 * np.sqrt(0.02 * 0.98 / tables))


def test_states_and_dates_are_no_groups(rng):
    table = grouped(rng, 0.05)
    table["State"] = np.where(table.pop("corpus") == "web", "finished", "crashed")
    assert "groups_differ" not in codes(table) and "unfinished_runs" in codes(table)


# ---- laws of one size ------------------------------------------------------------------------------------------------


def one_size(rng, count=20):
    d = np.logspace(8, 11, count)
    return {"tokens": d, "loss": (1.8 + 400 / d**0.3) * np.exp(0.003 * rng.standard_normal(count))}


def test_laws_of_one_size_are_looked_at_as_others(rng):
    table = one_size(rng)
    assert codes(table, "floor_tokens") == {}
    wrong = table["loss"].copy()
    wrong[4] *= 10
    found = codes(table | {"loss": wrong}, "floor_tokens")
    assert set(found) == {"surprising_loss"} and found["surprising_loss"].rows == (4,)
    assert "off a smooth curve, row 4 (D " in found["surprising_loss"].text
    twice = {name: np.append(values, values[3]) for name, values in table.items()}
    assert codes(twice, "floor_tokens")["duplicates"].rows == (20,)
    two = {"tokens": np.repeat([1e9, 1e10], 8), "loss": np.repeat([3.1, 2.6], 8) + 0.01 * rng.standard_normal(16)}
    assert "2 token count(s): the effect of D rests on the prior" in codes(two, "floor_tokens")["few_token_counts"].text
    billions = table | {"tokens": table["tokens"] / 1e9}
    assert "median tokens" in codes(billions, "floor_tokens")["units"].text


def test_too_few_runs_for_a_law_say_so(rng):
    table = {name: values[::5][:5] for name, values in chinchilla_runs(rng).items()}
    assert "5 runs do not tell the 5 parameters of the law" in codes(table, "chinchilla")["too_few_runs"].text
    assert "too_few_runs" not in codes(one_size(rng, 8), "floor_tokens")


def test_a_slip_of_a_power_of_ten(rng):
    """One run's tokens are typed a thousand times too many."""
    table = one_size(rng, 40)
    slipped = table["tokens"].copy()
    slipped[5] *= 1000  # it is then as large as the largest, and its loss far too high for that
    note = codes(table | {"tokens": slipped}, "floor_tokens")["surprising_loss"]
    assert note.rows == (5,) and f"(D 1000 times smaller, {table['tokens'][5] / 1e6:.3g}M, would" in note.text
    slipped[5] = table["tokens"].max() * 100
    note = codes(table | {"tokens": slipped}, "floor_tokens")["isolated_size"]
    assert note.rows == (5,) and "row 5 has D 10T, 100 times the next largest" in note.text


def test_rows_that_sum_up_others_are_named(rng):
    table = chinchilla_runs(rng)
    names = [f"r{row}" for row in range(len(table["loss"]))]
    more = {name: np.append(values, values.mean()) for name, values in table.items()} | {"name": [*names, "Average"]}
    note = codes(more)["summary_rows"]
    assert note.rows == (len(names),) and dict(note.options)["where"] == 'name not in ["Average"]'
    assert "summary_rows" not in codes(table | {"pooling": ["mean"] * 12 + ["cls"] * 12})


def test_rows_in_another_unit_are_named(rng):
    table = chinchilla_runs(rng)
    mixed = table | {"params": np.where(np.arange(24) % 3, table["params"], table["params"] / 1e6)}
    assert codes(mixed)["mixed_units"].rows == tuple(range(0, 24, 3)) and "mixed_units" not in codes(table)
    assert "look like other units" in codes(table | {"tokens": table["tokens"] * 1e9})["units"].text


def test_marks_that_a_run_is_none(rng):
    table = chinchilla_runs(rng)
    for name, good, bad in (("exclude", "no", "yes"), ("valid", True, False), ("use", 1, 0)):
        note = codes(table | {name: [good] * 23 + [bad]})["unfinished_runs"]
        assert note.rows == (23,) and "1 of 24 runs are marked as no good" in note.text
    assert codes(table | {"note": [""] * 23 + ["diverged"]})["unfinished_runs"].rows == (23,)
    note = codes(table | {"type": ["measured"] * 23 + ["Predicted"]})["summary_rows"]
    assert dict(note.options)["where"] == 'type not in ["Predicted"]'
    assert "perplexity" not in {
        one.code for one in check_runs(table | {"loss": table["loss"] * 10}, units={"loss": "error"})
    }


def test_error_rates_that_look_like_percentages(rng):
    table = chinchilla_runs(rng)
    for times, told in ((10, True), (0.1, False)):
        found = {note.code for note in check_runs(table | {"loss": table["loss"] * times}, units={"loss": "error"})}
        assert ("percentages" in found) == told and "perplexity" not in found
