"""Sizes that no column has are guessed, and said to be guesses."""

import numpy as np
import pytest

from bayescale.errors import RunsError
from bayescale.runs.guess import _said
from bayescale.runs.read import read_notes, read_runs, read_text

LOSS = [3.4, 3.1, 2.9]


def test_layers_and_width():
    runs = read_runs(
        {"model.n_layers": [6, 12, 24], "hidden_size": [256, 512, 1024], "tokens": [1e9] * 3, "loss": LOSS}
    )
    np.testing.assert_allclose(runs.params, [12 * 6 * 256**2, 12 * 12 * 512**2, 12 * 24 * 1024**2])
    assert "params = 12 model.n_layers hidden_size^2 (guess)" in read_text(runs.attrs)
    (note,) = read_notes(runs.attrs)
    assert note.startswith("params is a guess of 12 x layers x width^2, without embeddings (--column params=...")
    assert read_runs(runs).identical(runs)


def test_steps_batch_and_length():
    table = {"params": [1e8, 2e8, 3e8], "max_steps": [1000, 2000, 3000], "loss": LOSS}
    runs = read_runs(table | {"batch_size": [64] * 3, "seq_len": [1024] * 3})
    np.testing.assert_allclose(runs.tokens, np.array([1000, 2000, 3000]) * 64 * 1024)
    assert "tokens = max_steps x batch_size x seq_len (guess)" in read_text(runs.attrs)
    runs = read_runs(table | {"tokens_per_step": ["0.5M"] * 3})
    np.testing.assert_allclose(runs.tokens, np.array([1000, 2000, 3000]) * 5e5)


def test_steps_done_come_before_those_planned_and_those_of_calls():
    table = {"params": [1e8, 2e8, 3e8], "loss": LOSS, "tokens_per_step": [1e6] * 3, "_step": [1, 2, 3]}
    table |= {"steps": [9000] * 3, "max_steps": [9000] * 3, "config/step": [1000, 2000, 3000]}
    assert read_runs(table).tokens.values.tolist() == [1e9, 2e9, 3e9]
    named = {"exp_name": ["a-125M-2.5Btok", "b-350M-7Btok", "c-1.3B-26Btok"], "loss": LOSS}
    assert read_runs(named).params.values.tolist() == [125e6, 350e6, 1.3e9]


def test_the_batch_of_one_device():
    table = {"params": [1e8, 2e8, 3e8], "max_steps": [1000, 2000, 3000], "loss": LOSS, "seq_len": [1024] * 3}
    parts = {"gradient_accumulation_steps": [4] * 3, "world_size": [8, 8, 16]}
    runs = read_runs(table | parts | {"per_device_train_batch_size": [16] * 3})
    np.testing.assert_allclose(runs.tokens, [1000 * 512 * 1024, 2000 * 512 * 1024, 3000 * 1024 * 1024])
    assert read_runs(table | parts | {"global_batch_size": [512] * 3}).tokens[0] == 1000 * 512 * 1024
    assert read_runs(table | {"batch_size": [512] * 3, "grad_accum": [1] * 3}).tokens[0] == 1000 * 512 * 1024
    message = "batch_size may be the batch of one device, as gradient_accumulation_steps and world_size is there"
    with pytest.raises(RunsError, match=message):
        read_runs(table | parts | {"batch_size": [16] * 3})
    with pytest.raises(RunsError, match="two of params, tokens and compute are needed"):
        read_runs(table | {"micro_batch_size": [16] * 3})


def test_a_batch_that_is_counted_in_tokens():
    """As nanoGPT and nanochat do: 524288 sequences of 8192 tokens would be four thousand million tokens a step."""
    table = {"params": [1e8, 2e8, 3e8], "loss": [3.1, 3.0, 2.9], "step": [1000, 2000, 3000]}
    runs = read_runs(table | {"total_batch_size": [524288] * 3, "max_seq_len": [8192] * 3})
    np.testing.assert_allclose(runs["tokens"], [524288e3, 524288 * 2e3, 524288 * 3e3])
    assert "tokens = step x total_batch_size (guess)" in read_text(runs.attrs)


def test_names_of_runs_and_the_way_of_each():
    names = ["gpt-44M-20tpp", "gpt-44M-20tpp", "gpt-1.3B-5tpp"]
    runs = read_runs({"run": names, "Step": [50, 100, 400], "eval/loss": LOSS})
    np.testing.assert_allclose(runs.params, [44e6, 44e6, 1.3e9])
    np.testing.assert_allclose(runs.tokens, [440e6, 880e6, 6.5e9])
    assert "params = params in run (guess), tokens = tokens in run (guess)" in read_text(runs.attrs)
    assert "along Step up to the last of each run" in read_notes(runs.attrs)[1]
    with pytest.raises(RunsError, match=r"row 0: tokens in run \(guess\) is missing or NaN"):
        read_runs({"run": names, "Step": [0, 100, 400], "loss": LOSS})
    assert read_runs({"run": names, "Step": [0, 100, 400], "loss": LOSS}, last_of="run").sizes["run"] == 2


@pytest.mark.parametrize(
    ("name", "what", "value"),
    [
        ("gpt-44M-5tpp", "params", 44e6),
        ("prot-iso-P4.6M", "params", 4.6e6),
        ("N1.3B_D26B", "params", 1.3e9),
        ("N1.3B_D26B", "tokens", 26e9),
        ("70M-2Btok", "params", 70e6),
        ("70M-2Btok", "tokens said", 2e9),
        ("70m 300B tokens", "tokens said", 300e9),
        ("llama-7b-500bt", "params", 7e9),
        ("llama-7b-500bt", "tokens said", 500e9),
        ("llama-7b-500b", "tokens said", None),
        ("44M-0.5tpp", "ratio", 0.5),
        ("70M-vs-1B", "params", None),
        ("lr3e-4", "params", None),
        ("v2Beta", "params", None),
        ("", "params", None),
        ("5M" * 5000, "params", None),
    ],
)
def test_what_a_name_says(name, what, value):
    assert _said(name, what) == value


def test_nothing_is_guessed_where_columns_say_it_or_not_all_names_do():
    runs = read_runs({"name": ["44M", "70M", "1B"], "params": [1e7] * 3, "tokens": [1e9] * 3, "loss": LOSS})
    assert not read_notes(runs.attrs) and runs.params.values.tolist() == [1e7] * 3
    with pytest.raises(RunsError, match="two of params, tokens and compute are needed, found"):
        read_runs({"name": ["44M", "70M", "large"], "tokens": [1e9] * 3, "loss": LOSS})


def test_tokens_of_several_passes():
    table = {"params": [1e8, 2e8, 4e8], "unique_tokens": [1e9, 1e9, 2e9], "epochs": [1, 4, 2], "loss": [3.2, 3.0, 2.9]}
    runs = read_runs(table)
    np.testing.assert_allclose(runs["tokens"], [1e9, 4e9, 4e9])
    assert "tokens = unique_tokens x epochs (guess)" in read_text(runs.attrs)


@pytest.mark.parametrize("name", ["num_train_epochs", "training_epochs", "epoch"])
def test_passes_are_counted_by_any_of_their_names(name):
    """Else the tokens of the data set would be taken for those of the run."""
    table = {"params": [1e8, 2e8, 4e8], "dataset_tokens": [1e9, 1e9, 2e9], name: [1, 4, 2], "loss": [3.2, 3.0, 2.9]}
    np.testing.assert_allclose(read_runs(table)["tokens"], [1e9, 4e9, 4e9])


def test_names_of_checkpoints_say_sizes():
    names = ["a_44M_1B-tokens_s0", "a_70M_2B-tokens_s0", "a_1B_3B-tokens_s0"]
    runs = read_runs({"checkpoint": names, "loss": LOSS})
    assert runs.params.values.tolist() == [44e6, 70e6, 1e9] and runs.tokens.values.tolist() == [1e9, 2e9, 3e9]


def test_tokens_that_repeat_are_said_to():
    columns = {"params": [1e8, 2e8, 4e8], "unique_tokens": [1e9, 1e9, 2e9], "loss": [3.0, 2.9, 2.8]}
    read = read_runs(columns | {"epochs": [1, 2, 4]})
    (said,) = [text for text in read_notes(read.attrs) if "tokens is a guess" in text]
    assert "tokens repeat, up to 4 times" in said and "--law data_constrained" in said
    (said,) = [text for text in read_notes(read_runs(columns | {"epochs": [1, 1, 1]}).attrs) if "guess" in text]
    assert "repeat" not in said


def test_steps_that_were_done_precede_those_planned():
    table = {"params": [1e8, 2e8, 3e8], "max_steps": [2000] * 3, "tokens_per_step": [1e6] * 3, "loss": LOSS}
    assert read_runs(table | {"global_step": [500, 1000, 2000]}).tokens.values.tolist() == [5e8, 1e9, 2e9]
    assert read_runs(table | {"_step": [50, 100, 200]}).tokens.values.tolist() == [2e9] * 3  # W&B's count of calls


def test_samples_and_length():
    table = {"params": [1e8, 2e8, 3e8], "consumed_samples": [1e6, 2e6, 3e6], "loss": LOSS}
    assert read_runs(table | {"encoder_seq_length": [2048] * 3}).tokens[0] == 1e6 * 2048


def test_a_batch_that_may_count_tokens_is_a_question():
    table = {"params": [1e8, 2e8, 3e8], "steps": [1000, 2000, 3000], "loss": LOSS, "seq_len": [512] * 3}
    with pytest.raises(RunsError, match="batch_size may count sequences or tokens: call it batch_size_sequences or"):
        read_runs(table | {"batch_size": [65536] * 3})
    assert read_runs(table | {"batch_size_tokens": [65536] * 3}).tokens[0] == 1000 * 65536
    assert read_runs(table | {"batch_size_sequences": [65536] * 3}).tokens[0] == 1000 * 65536 * 512
