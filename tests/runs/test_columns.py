"""Which column is which: full names before letters, questions where two fit, and what is said of the rest."""

import json

import numpy as np
import pytest

import bayescale
from bayescale.errors import RunsError
from bayescale.fitting.diagnostics import fit_summary
from bayescale.laws import law as law_module
from bayescale.laws.law import load_law
from bayescale.laws.law_file import parse_law
from bayescale.runs.read import read_notes, read_runs, read_text
from bayescale.runs.spellings import AROUND, HEADS, is_name

N, D = np.array([1e7, 1e7, 1e8, 1e8, 1e9]), np.array([1e9, 1e10, 2e9, 2e10, 1e11])
LOSS = np.array([3.6, 3.3, 2.9, 2.7, 2.3])
FULL = {"n_params": N, "n_tokens": D, "val_loss": LOSS}


def read(table, law=None, **options):
    runs = read_runs(table, law and load_law(law), **options)
    return read_text(runs.attrs), read_notes(runs.attrs)


def asks(table, *names, option, **options):
    """Reading is refused by a sentence that names the columns and the option that settles it."""
    with pytest.raises(RunsError) as error:
        read_runs(table, **options)
    for text in (*names, option):
        assert text in str(error.value)


# ---- what is read ---------------------------------------------------------------------------------------------------


def test_what_was_read_is_one_line():
    text, notes = read(FULL)
    assert text == "loss = val_loss [nats], params = n_params, tokens = n_tokens, compute = 6 N D" and not notes
    text, _ = read({"flops": 6 * N * D, "model_size": N / 1e6, "L": LOSS}, units={"params": "M", "loss": "bits"})
    assert text == "loss = L [bits], params = model_size [M], tokens = compute / 6 N, compute = flops"


@pytest.mark.parametrize(
    "spelling",
    [
        *("eval/loss", "eval_loss", "evalLoss", "Eval Loss", "eval.loss", "summary.eval/loss", "val/loss", "test-loss"),
        *("val/ce", "neg_log_likelihood", "eval log-perplexity", "log_ppl", "loss_val", "Loss (validation)", "L_val"),
        *("Final validation loss", "loss per token", "nats/token", "ln(ppl)", "L(N, D)", "last_val_loss", "loss ↓"),
    ],
)
def test_spellings_of_a_loss(spelling):
    assert read({"params": N, "tokens": D, spelling: LOSS})[0].startswith(f"loss = {spelling} [nats]")


@pytest.mark.parametrize(
    ("role", "spelling"),
    [
        *(("params", name) for name in ("parameter_count", "model.n_params", "numParams", "n_params_total", "size")),
        *(("params", name) for name in ("params_non_embedding", "non-embedding params", "config/model/num_params")),
        *(("params", name) for name in ("No. of parameters", "Params excluding embeddings", "N (non-embedding)")),
        *(("params", name) for name in ("active parameter count", "numero di parametri", "learnable parameters")),
        *(("tokens", name) for name in ("tokens trained on", "Number of training tokens", "D (tokens)", "D_train")),
        *(("compute", name) for name in ("compute budget (FLOP)", "FLOPs used", "C_total")),
        *(("tokens", name) for name in ("total_tokens", "train/tokens_seen", "Token count", "data.tokens")),
        *(("compute", name) for name in ("flops", "FLOPs", "total_flops", "train/flops", "training compute")),
    ],
)
def test_spellings_of_sizes(role, spelling):
    table = {"params": N, "tokens": D, "compute": 6 * N * D, "loss": LOSS}
    table[spelling] = table.pop(role)
    text, notes = read(table)
    assert f"{role} = {spelling}" in text and not notes


def test_no_spelling_has_two_meanings():
    """Every word of a role, alone and with every word around it, on either side."""
    for role in HEADS:
        heads, around = ([one for one in words[role].split() if one.isalpha()] for words in (HEADS, AROUND))
        for name in (
            *heads,
            *(f"{one}_{head}" for head in heads for one in around),
            *(f"{heads[0]} {one}" for one in around),
        ):
            assert [one for one in HEADS if is_name(one, name)] == [role], name


def test_runs_that_were_read_are_read_again_as_they_are():
    table = FULL | {"train_loss": LOSS - 0.05, "L": [3, 6, 9, 12, 15]}
    runs = read_runs(table, columns={"loss": "val_loss"})
    again = read_runs(runs, load_law("coupled"))
    assert again.identical(runs) and again.train_loss.values == pytest.approx(LOSS - 0.05)
    other = read_runs(runs, columns={"loss": "train_loss"})
    assert other.loss.values == pytest.approx(LOSS - 0.05) and "loss = train_loss" in read_text(other.attrs)
    with pytest.raises(RunsError, match="have been read already"):
        read_runs(runs, units={"tokens": "B"})


# ---- letters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "values", "role", "full"),
    [
        ("L", [3, 4, 6, 8, 12], "loss", "val_loss"),
        ("D", [256, 512, 512, 768, 1024], "tokens", "n_tokens"),
        ("N", [3, 4, 6, 8, 12], "params", "n_params"),
    ],
)
def test_a_full_name_wins_over_a_letter_with_a_note(letter, values, role, full):
    text, (note,) = read({letter: values} | FULL)
    assert f"{role} = {full}" in text
    assert note.startswith(f"{letter} is not read as {role}, {full} is") and f"--column {role}={letter}" in note


def test_a_letter_in_another_unit_is_the_same_thing():
    assert read(FULL | {"D": D / 1e9}) == read(FULL)


@pytest.mark.parametrize(
    ("more", "names", "role"),
    [
        ({"D": D[::-1]}, ("n_tokens", "D"), "tokens"),
        ({"L": LOSS - 0.1}, ("val_loss", "L"), "loss"),
        ({"Val Loss": LOSS - 0.1}, ("val_loss", "Val Loss"), "loss"),
        ({"eval_loss": LOSS - 0.1}, ("val_loss", "eval_loss"), "loss"),
        ({"params_non_embedding": N * 0.8}, ("n_params", "params_non_embedding"), "params"),
        ({"flops": 6 * N * D, "compute": 7 * N * D}, ("flops", "compute"), "compute"),
    ],
)
def test_two_columns_that_could_be_the_same_thing_are_a_question(more, names, role):
    for law in (None, load_law("coupled")):
        asks(FULL | more, *names, option=f"--column {role}=", law=law)
    settled = read_runs(FULL | more, columns={name: found for name, found in FULL_ROLES.items() if name == role})
    assert f"{role} = {FULL_ROLES[role]}" in read_text(settled.attrs) or role == "loss"


def test_a_loss_beside_a_training_loss_is_read():
    table = FULL | {"train_loss": LOSS - 0.1, "loss": LOSS}
    del table["val_loss"]
    text, notes = read(table)
    assert "loss = loss" in text and any("train_loss is not read as loss" in note for note in notes)
    text, notes = read(table | {"val_loss": LOSS + 0.1})
    assert "loss = val_loss" in text and any(note.startswith("loss is not read as loss") for note in notes)
    asks(table | {"val_loss": LOSS + 0.1, "test_loss": LOSS}, "val_loss", "test_loss", option="--column loss=")


def test_a_training_loss_beside_losses_of_corpora_is_a_question():
    """No name says held out: which corpus is meant is the user's to say, and the training loss is none of them."""
    losses = {"loss/train": LOSS - 0.1, "loss/c4": LOSS, "loss/books": LOSS + 0.1}
    asks(
        {"params": N, "tokens": D} | losses, "loss/c4, loss/books and loss/train could", option="--column loss=loss/c4"
    )
    text, _ = read({"params": N, "tokens": D, "train_loss": LOSS, "moe_aux_loss": LOSS / 50, "loss_std": LOSS / 100})
    assert text.startswith("loss = train_loss")  # parts of a loss and its spread are no others


def test_an_option_is_quoted_as_a_shell_needs_it():
    asks({"N (all)": N, "N (active)": 2 * N, "D": D, "loss": LOSS}, "could", option="--column 'params=N (active)'")


def test_a_loss_beside_a_training_loss_is_read_at_the_end_of_a_path():
    text, (note,) = read({"params": N, "tokens": D, "summary/val/loss": LOSS, "summary/train/loss": LOSS - 0.1})
    assert text.startswith("loss = summary/val/loss") and note.startswith("summary/train/loss is not read as loss")


def test_a_size_that_follows_from_the_others_does_not_hide_a_column_of_its_words():
    flop, tokens = {"n_params": N, "flops": 9 * N * D, "loss": LOSS}, {"n_params": N, "n_tokens": D, "loss": LOSS}
    read_as, notes = read(flop | {"Dataset tokens": D, "context tokens": np.full(5, 2048.0)})
    assert "tokens = compute / 6 N" in read_as
    assert notes == ["Dataset tokens is not read as tokens (--column 'tokens=Dataset tokens' if it should be)"]
    (note,) = read(tokens | {"est_flops": 9 * N * D, "flops_per_second": N})[1]
    assert note.startswith("est_flops is not read as compute")


def test_a_held_out_loss_in_another_unit_is_named_beside_a_training_loss():
    runs = {"params": [1e8, 2e8], "tokens": [1e9, 2e9], "train/loss": [3.1, 2.9]}
    (note,) = read_notes(read_runs(runs | {"val/bpb": [0.9, 0.8]}).attrs)
    assert note == (
        "val/bpb, which is not of training, is not read as loss (--column loss=val/bpb --unit loss=bits_per_byte)"
    )
    assert not read_notes(read_runs(runs | {"train/ppl": [22.0, 18.0]}).attrs)


FULL_ROLES = {"params": "n_params", "tokens": "n_tokens", "loss": "val_loss", "compute": "flops"}


def test_two_columns_that_say_the_same_are_no_question():
    assert read(FULL | {"flops": 6 * N * D, "compute": np.round(6 * N * D, -10)})[0].endswith("compute = flops")


def test_two_letters_of_one_role_are_a_question():
    asks({"N": N, "n": np.arange(5.0) + 1, "D": D, "loss": LOSS}, "N and n", option="--column params=")


def test_a_letter_does_not_stand_for_a_column_of_its_name():
    """L beside pile_loss: layers or a loss, who knows."""
    asks({"N": N, "D": D, "L": LOSS, "pile_loss": LOSS}, "L and pile_loss", option="--column loss=")
    asks({"N": N, "D": D, "L": [3, 4, 6, 8, 12]}, "whole numbers only, 3 to 12", option="--column loss=L")
    asks({"N": N, "D": D, "pile_loss": LOSS}, "is it pile_loss?", option="--column loss=")
    said = read({"N": N, "D": D, "L": [3, 4, 6, 8, 12]}, columns={"loss": "L"})
    assert said[0].startswith("loss = L [nats]")


def test_a_column_C_is_compute_where_it_goes_with_6_N_D():
    text, (note,) = read(FULL | {"C": [2048] * 5})
    assert text.endswith("compute = 6 N D") and note.startswith("C is not read as compute: its values, 2048 to 2048")
    attention = 6 * N * D * (1 + 2.6 * (N / 4.6e6) ** -0.3)
    assert read(FULL | {"C": attention})[0].endswith("compute = C")
    assert read({"C": 6 * N * D, "D": D, "loss": LOSS})[0].endswith("params = compute / 6 D, tokens = D, compute = C")
    assert "compute = C" in read(FULL | {"C": [2048] * 5}, columns={"compute": "C"})[0]


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [("pf_days", "PFLOP-day", 86400e15), ("train_gflops", "GFLOP", 1e9), ("total_macs", "MAC", 2.0)],
)
def test_compute_named_by_its_unit_is_what_budgets_mean(name, unit, factor):
    attention = 6 * N * D * (1 + 2.6 * (N / 4.6e6) ** -0.3)
    runs = read_runs(FULL | {name: attention / factor})
    np.testing.assert_allclose(runs["compute"], attention)
    assert f"compute = {name} [{unit}]" in read_text(runs.attrs)
    alone = read_runs({"params": N, name: 6 * N * D / factor, "loss": LOSS})
    np.testing.assert_allclose(alone["tokens"], D)


@pytest.mark.parametrize("cells", [["A100"] * 5, [0.0] * 5, ["n/a"] * 5])
def test_compute_without_a_number_is_not_needed_beside_N_and_D(cells):
    text, (note,) = read(FULL | {"compute": cells})
    assert text.endswith("compute = 6 N D") and note == (
        "compute is not read as compute: none of its cells is a number above 0"
    )


@pytest.mark.parametrize("name", "dice cell test_cell once device compute_node not_ok n_count d_model place".split())
def test_words_of_other_things_are_no_names(name):
    assert not [role for role in HEADS if is_name(role, name)]
    asks({name: [3, 4, 5, 6, 8], "flops": 6 * N * D, "loss": LOSS}, "two of params, tokens", option="--column params=")


def test_the_logarithm_of_D_is_no_loss():
    text, _ = read({"ln(N)": np.log(N), "ln(D)": np.log(D), "val_loss": LOSS})
    assert text.startswith("loss = val_loss [nats], params = ln(N)") and "tokens = ln(D)" in text


def test_a_speed_is_not_compute():
    speed = {"tflops": [151.0, 148.0, 155.0, 150.0, 149.0]}
    text, (note,) = read(FULL | speed)
    assert text.endswith("compute = 6 N D") and note.startswith("tflops is not read as compute: its values, 148 to 155")
    text, (note,) = read(FULL | speed | {"flops": 6 * N * D})
    assert text.endswith("compute = flops") and note.startswith("tflops is not read as compute, flops is")
    with pytest.raises(RunsError, match=r"two of params, .* alone needs no other \(--law floor_params\)"):
        read_runs({"params": N, "loss": LOSS} | speed)


@pytest.mark.parametrize("name", ["tok/s", "throughput/tokens/s", "Tokens/sec"])
def test_tokens_a_second_are_no_tokens(name):
    """With params and compute the tokens follow; without compute they are asked for."""
    with pytest.raises(RunsError, match=r"two of params, tokens and compute are needed, found \['params'\]"):
        read_runs({"params": N, name: 1e14 / N, "loss": LOSS})
    np.testing.assert_allclose(read_runs({"params": N, "flops": 6 * N * D, name: 1e14 / N, "loss": LOSS}).tokens, D)
    assert "PFLOP" in read({"params": N, "petaflop/s-days": 6 * N * D / 8.64e19, "loss": LOSS})[0]  # no rate


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"fwd_flops_per_token": 2 * N}, "looks like FLOP a token and is not used: compute is counted as 6 N D"),
        ({"flops_per_token": 9 * N}, "compute is a guess of flops_per_token x tokens"),
        ({"unique_tokens": D / 4}, "unique_tokens is not used: tokens repeat, up to 4 times"),
        ({"epochs": [1, 1, 2, 4, 8]}, "epochs is not used: tokens repeat, up to 8 times"),
        ({"epochs": [1] * 5}, None),
        ({"unique_tokens": D}, None),
    ],
)
def test_what_is_said_of_the_runs_and_not_used_is_told(column, told):
    _, notes = read(FULL | column)
    assert [told in note for note in notes] == [True] * (told is not None)
    if "unique_tokens" in column:
        assert not read(FULL | column, "data_constrained")[1]


# ---- perplexities, bits, standard errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["perplexity", "eval/ppl", "val_ppl"])
def test_a_perplexity_is_a_question_and_not_a_loss(name):
    table = {"params": N, "tokens": D, name: np.exp(LOSS)}
    asks(table, name, "a perplexity", option="--unit loss=perplexity")
    asks(table, name, "a perplexity", option="--unit loss=perplexity", columns={"loss": name})
    assert read(table | {"loss": LOSS})[0].startswith("loss = loss [nats]")
    assert read(table, columns={"loss": name}, units={"loss": "nats"})[0].startswith(f"loss = {name} [nats]")


def test_bits_are_found_by_their_unit():
    table = {"params": N, "tokens": D, "val_bpb": LOSS / 3}
    asks(table, "val_bpb", option="--unit loss=bits_per_byte")
    runs = read_runs(table, units={"loss": "bits"})
    assert read_text(runs.attrs).startswith("loss = val_bpb [bits]")
    assert runs.loss.values == pytest.approx(LOSS / 3 * np.log(2))


@pytest.mark.parametrize("name", ["loss_se", "val_loss_stderr", "std_loss", "Loss SE", "se", "stderr"])
def test_a_standard_error_that_is_not_used_is_told(name):
    runs = read_runs(FULL | {name: [0.01] * 5})
    (note,) = [note.text for note in bayescale.check_runs(runs) if note.code == "columns"]
    assert note.startswith(f"{name} looks like the standard error of the loss and is not used")


def test_a_spread_of_repeats_is_told_from_a_standard_error():
    for name, spread in (("loss_std", True), ("loss_se", False)):
        (note,) = read({"params": N, "tokens": D, "loss": LOSS, name: LOSS / 100})[1]
        assert ("divide it by the root of their number" in note) is spread


# ---- laws with inputs of their own -----------------------------------------------------------------------------------

RATES = """
title = "Decay of each group at a rate of its own"
cite = "none"
formula = "(a1*g1 + a2*g2)*exp(-(b1*g1 + b2*g2)*{name}) + 1"
[observed]
column = "y"
scale = "linear"
[priors]
a1 = {{ dist = "LogNormal", mu = 0.5, sigma = 0.6, about = "amplitude" }}
a2 = {{ dist = "LogNormal", mu = 0.5, sigma = 0.6, about = "amplitude" }}
b1 = {{ dist = "LogNormal", mu = -1.5, sigma = 0.7, about = "rate" }}
b2 = {{ dist = "LogNormal", mu = -1.5, sigma = 0.7, about = "rate" }}
"""
TRUTH = {"a1": 2.5, "a2": 2.0, "b1": 0.2, "b2": 0.4}


def groups(name, rng):
    """Two groups with their own rates, and the law of them; ``name`` is that of the column of times."""
    age, first = np.tile([2.0, 4, 6, 8, 12, 16], 2), np.repeat([1.0, 0.0], 6)
    law = parse_law(RATES.format(name=name), "rates")
    values = TRUTH | {name: age, "g1": first, "g2": 1 - first}
    y = law_module.law_loss(law, values) + 0.005 * rng.standard_normal(12)
    return {name: age, "g1": first, "g2": 1 - first, "y": y}, law


def test_a_law_of_groups_does_not_depend_on_the_alphabet(rng):
    """The only difference is whether the name of the column comes before or after g1."""
    seed = int(rng.integers(1e6))
    fits = {}
    for name in ("age", "time"):
        runs, law = groups(name, np.random.default_rng(seed))
        fits[name] = bayescale.fit(runs, law, draws=500)
    for name, value in TRUTH.items():
        one, other = (fit["posterior"][name].values for fit in fits.values())
        np.testing.assert_array_equal(one, other)
        assert abs(np.median(one) - value) < 5 * one.std()
    forecast = bayescale.forecast(fits["time"], covariates={"time": 10.0, "g1": 0.0, "g2": 1.0})
    assert np.isnan(forecast["predictions_constant_data"]["decades_beyond"]).all()
    assert any("does not say what the size" in text for text in bayescale.read(forecast).warnings)
    shown = bayescale.show(forecast)
    assert "beyond" not in shown.header
    summary = fit_summary(fits["time"])
    assert "tilt" not in summary["parameters"] and summary["size"] is None
    assert summary["read"] == "y = y, g1 = g1, g2 = g2, time = time"
    with pytest.raises(bayescale.FitError, match="what the size of a run is"):
        bayescale.reproduce(fits["time"], runs, below=3.0)


SCORE = """
title = "Share of items against a score that may be negative"
cite = "none"
formula = "low + (1 - low)*sigmoid({score} - mid)"
[observed]
column = "accuracy"
scale = "proportion"
count = "items"
[priors]
low = {{ dist = "LogitNormal", mu = -1.1, sigma = 0.3, about = "guessing" }}
mid = {{ dist = "Normal", mu = 0, sigma = 3, about = "middle" }}
"""


def test_an_input_may_be_negative_unless_its_logarithm_or_power_is_taken():
    score = np.linspace(-3, 3, 12)
    table = {"score": score, "accuracy": 0.25 + 0.75 / (1 + np.exp(-score)), "items": [1000] * 12}
    law = parse_law(SCORE.format(score="score"), "score")
    assert read_runs(table, law).score.values == pytest.approx(score)
    fit = bayescale.fit(table, law, draws=500)
    assert abs(float(fit["posterior"]["mid"].median())) < 0.1
    for formula in ("log(score)", "score**0.5", "(score/score_ref)**(-mid)", "score**(-2)", "sqrt(2*score)"):
        with pytest.raises(RunsError, match="row 0: score = -3 "):
            read_runs(table, parse_law(SCORE.format(score=formula), "score"))
    squared = SCORE.format(score="score**k").replace("[observed]", '[where]\nk = "2"\n[observed]')
    read_runs(table, parse_law(squared, "score"))
    for formula in ("score**2", "log(1 + score**2)", "exp(score)", "(1 + score)**2", "log(score**2)"):
        read_runs(table, parse_law(SCORE.format(score=formula), "score"))


def test_the_size_may_be_named_in_the_law_file():
    text = SCORE.format(score="log(age/age_ref)*width").replace("[observed]", 'size = "age"\n[observed]')
    law = parse_law(text, "score")
    assert law_module.size_column(law) == "age" and law_module.positive_columns(law) == {"age", "items"}
    assert law_module.size_column(parse_law(text.replace('size = "age"', ""), "score")) is None


def test_one_column_may_play_two_roles():
    law = parse_law(
        load_law("coupled").text.replace("L_ref * level", "L_ref * level * width**0"),
        "wide",
    )
    runs = read_runs(FULL, law, columns={"width": "n_params"})
    np.testing.assert_array_equal(runs.width, runs.params)
    with pytest.raises(RunsError, match="given for both"):
        read_runs(FULL, columns={"params": "n_params", "tokens": "n_params"})


# ---- wherever runs are taken -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """Runs with a loss column that no spelling gives away, and tokens in billions."""
    n, d = (grid.ravel() for grid in np.meshgrid([1e8, 2e8, 4e8, 8e8], [2e9, 8e9, 3e10], indexing="ij"))
    loss = 1.7 + (n / 3e5) ** -0.35 + (d / 2e6) ** -0.33
    return {"model_params": n, "train_tokens": d / 1e9, "pile_loss": loss * (1 + 0.001 * np.sin(np.arange(12)))}


OPTIONS = {"columns": {"loss": "pile_loss"}, "units": {"tokens": "B"}}
SAID = "loss = pile_loss [nats], params = model_params, tokens = train_tokens [B], compute = 6 N D"


def test_columns_and_units_wherever_runs_are_taken(table):
    fit = bayescale.fit(table, quick=True, **OPTIONS)
    assert read_text(fit.attrs) == SAID and float(fit["constant_data"]["tokens"].max()) == 3e10
    assert not [note for note in bayescale.check_runs(table, **OPTIONS) if note.code == "units"]
    again = bayescale.reproduce(fit, table, **OPTIONS)
    assert again.attrs["verdict"] == "same_bits" and read_text(again.attrs) == SAID
    (one,) = bayescale.fit_many([(table, "coupled")], quick=True, **OPTIONS)
    np.testing.assert_array_equal(one["posterior"]["alpha"], fit["posterior"]["alpha"])
    with pytest.raises(bayescale.FitError, match="no cut leaves"):  # so few runs, but they were read
        bayescale.backtest(table, **OPTIONS)
    assert json.loads(fit_summary(fit)["read"].join('""')) == SAID
    assert f"read: {SAID}" in bayescale.show(fit).notes
    for function in (bayescale.fit, bayescale.backtest, bayescale.check_runs, bayescale.pymc_model):
        with pytest.raises(RunsError, match="is it pile_loss"):
            function(table)


def test_columns_of_several_laws(table):
    """What one of the laws needs may be named, though the first does not use it."""
    runs = read_runs(
        table, [load_law("power_params"), load_law("coupled")], columns={"tokens": "train_tokens", "loss": "pile_loss"}
    )
    assert "tokens = train_tokens" in read_text(runs.attrs)
    with pytest.raises(RunsError, match="which law 'data_constrained' uses"):
        read_runs(table, [load_law("coupled"), load_law("data_constrained")], **OPTIONS)


@pytest.mark.parametrize(
    ("losses", "asked"),
    [
        (["eval/paloma/c4/loss", "eval/paloma/macro_loss"], True),
        (["loss", "eval_c4_loss"], True),
        (["loss", "c4_loss"], False),
        (["val_loss", "eval_c4_loss"], False),
        (["model.val.loss", "model.z_loss"], False),
        (["model.val.loss", "loss_scale"], False),
    ],
)
def test_another_loss_that_could_be_meant_is_a_question(losses, asked):
    table = {
        "params": [1e8, 2e8, 3e8],
        "tokens": [1e9, 2e9, 3e9],
        losses[0]: [3.3, 3.2, 3.1],
        losses[1]: [3.5, 3.4, 3.2],
    }
    if asked:
        with pytest.raises(RunsError, match=f"{losses[0]} and {losses[1]} could each be loss"):
            read_runs(table)
    else:
        assert read_runs(table).loss.values.tolist() == [3.3, 3.2, 3.1]


@pytest.mark.parametrize(
    "names",
    [
        ("Parameter", "Trainingstokens", "Verlust"),
        ("paramètres", "jetons", "perte"),
        ("参数量", "训练token数", "验证损失"),
    ],
)
def test_columns_in_other_languages(names):
    runs = read_runs(dict(zip(names, ([1e8, 2e8], [1e9, 2e9], [3.3, 3.2]), strict=True)))
    assert (runs.params.values[0], runs.tokens.values[0], runs.loss.values[0]) == (1e8, 1e9, 3.3)


def test_all_that_is_missing_is_said_at_once():
    table = {"storlek": [1e8, 2e8], "mängd": [1e9, 2e9], "förlust": [3.3, 3.2]}
    with pytest.raises(RunsError, match=r"--column loss=...\); nor was params or tokens or compute found"):
        read_runs(table)


def test_the_logarithm_of_a_size():
    table = {"tokens": [1e9, 2e9], "loss": [3.3, 3.2]}
    for name in ("log10 params", "log10(N)", "log_10_params"):
        runs = read_runs(table | {name: [8.0, "9"]})
        np.testing.assert_allclose(runs.params, [1e8, 1e9])
        assert read_notes(runs.attrs) == [f"{name} is read as log10 of params"]
        assert read_runs(runs).identical(runs)
    beside = read_runs(table | {"params": [1e8, 1e9], "log10_params": [8, 9]})
    assert beside.params.values.tolist() == [1e8, 1e9] and not read_notes(beside.attrs)
    chosen = read_runs(table | {"log10 params": [8, 9]}, where="params > 500M")
    assert chosen.params.values.tolist() == [1e9]
    with pytest.raises(RunsError, match="logN is a logarithm, by its name and numbers: say its base"):
        read_runs(table | {"logN": [8, 9]}, columns={"params": "logN"})
    runs = read_runs(table | {"logN": [8, 9]}, columns={"params": "logN"}, units={"params": "log10"})
    np.testing.assert_allclose(runs.params, [1e8, 1e9])
    with pytest.raises(RunsError, match=r"row 1: .* comes out as inf|row 1: log10 params = inf"):
        read_runs(table | {"log10 params": [8, 400]})


def test_other_bases_of_logarithms():
    table = {"tokens": [1e9, 2e9], "loss": [3.3, 3.2]}
    for name, values in (("ln(params)", np.log([1e8, 1e9])), ("log2_params", np.log2([1e8, 1e9]))):
        np.testing.assert_allclose(read_runs(table | {name: values}).params, [1e8, 1e9])
    with pytest.raises(RunsError, match=r"say its base .--unit params=log10, log2 or ln"):
        read_runs(table | {"params (log)": [18.4, 20.7]}, columns={"params": "params (log)"})


@pytest.mark.parametrize("name", ["params/tokens", "loss/params", "1/params", "√params", "params²"])
def test_a_ratio_is_no_path(name):
    table = {"tokens": [1e9, 2e9, 4e9], "loss": [3.3, 3.2, 3.1], name: [10.0, 20.0, 40.0]}
    with pytest.raises(RunsError, match=r"two of params, tokens and compute are needed"):
        read_runs(table)
    assert read_runs(table | {"model/params": [1e8, 2e8, 4e8]}).params[0] == 1e8


def test_active_and_all_parameters_are_a_question():
    table = {"tokens": [1e9, 2e9, 4e9], "loss": [3.3, 3.2, 3.1]}
    active, every = [1e8, 2e8, 4e8], [8e8, 16e8, 32e8]
    for names in (("Activated params", "Total params"), ("n_active", "N"), ("trainable params", "all params")):
        with pytest.raises(RunsError, match="could each be params"):
            read_runs(table | dict(zip(names, (active, every), strict=True)))
    millions = {"active params (M)": [100, 200, 400], "params (M)": [800, 1600, 3200]}
    with pytest.raises(RunsError, match="could each be params"):
        read_runs(table | millions)
    assert read_runs(table | {"params (M)": [100, 200, 400], "params": active}).params[0] == 1e8


def test_a_size_too_small_for_parameters_is_another():
    table = {"tokens": [1e9, 2e9, 4e9], "loss": [3.3, 3.2, 3.1]}
    with pytest.raises(RunsError, match=r"two of params, tokens and compute are needed"):
        read_runs(table | {"size": [256, 512, 1024]})
    assert read_runs(table | {"size": [1e8, 2e8, 4e8]}).params[0] == 1e8
    assert read_runs(table | {"size": [100, 200, 400]}, units={"params": "M"}).params[0] == 1e8


@pytest.mark.parametrize(
    ("name", "said"),
    [("log10 loss", "a logarithm"), ("excess_loss", "a difference"), ("loss x 100", "a multiple"), ("nll", None),
     ("loss per byte", "no loss per token"), ("log ppl", None), ("sum_loss", "a sum"), ("loss_c4", None)],
)  # fmt: skip
def test_a_loss_that_is_given_and_called_otherwise_is_said(name, said):
    table = {"params": [1e8, 2e8, 4e8], "tokens": [1e9, 2e9, 4e9], name: [3.3, 3.2, 3.1]}
    notes = read_notes(read_runs(table, columns={"loss": name}).attrs)
    stands = (
        f"{name} is read as it stands, in nats per token; its name may say {said} (--unit loss=nats if it does not)"
    )
    assert notes == ([] if said is None else [stands])
    assert not read_notes(read_runs(table, columns={"loss": name}, units={"loss": "nats"}).attrs)


def test_parameters_of_mixtures_are_asked_about():
    table = {"params": [1e8, 2e8, 4e8], "tokens": [1e9, 2e9, 4e9], "loss": [3.3, 3.2, 3.1]}
    (note,) = read_notes(read_runs(table | {"n_experts": [1, 8, 8]}).attrs)
    assert note == "by n_experts, runs are mixtures of experts: does params count all parameters, or the active ones?"
    assert not read_notes(read_runs(table | {"n_experts": [1, 1, 1]}).attrs)
    active = {"active_params": table.pop("params")}
    runs = read_runs(table | active | {"n_experts": [8, 8, 8]})
    assert not read_notes(runs.attrs)
    assert not read_notes(read_runs(runs).attrs)  # as fits read them, once a column has the name of its role


def test_a_training_loss_by_its_full_name_does_not_hide_another_at_the_end_of_a_path():
    text, (note,) = read(
        {"params": N, "tokens": D, "train/CrossEntropyLoss": LOSS, "eval/c4/CrossEntropyLoss": LOSS + 1}
    )
    assert text.startswith("loss = eval/c4/CrossEntropyLoss") and "train/CrossEntropyLoss is not read" in note


def test_all_and_active_parameters_by_letters_are_a_question():
    asks({"N_total": 8 * N, "N_active": N, "D": D, "loss": LOSS}, "could each be params", option="--column params=")


@pytest.mark.parametrize("name", ["D/N", "tokens/params", "tokens per parameter", "TPP", "token-to-param ratio"])
def test_tokens_per_parameter_give_the_other_size(name):
    runs = read_runs({"params (M)": N / 1e6, name: D / N, "loss": LOSS})
    np.testing.assert_allclose(runs.tokens, D)
    assert f"tokens = params x {name} (guess)" in read_text(runs.attrs)
    np.testing.assert_allclose(read_runs({name: D / N, "tokens": D, "loss": LOSS}).params, N)


@pytest.mark.parametrize(
    ("name", "unit"),
    [("flops_per_token", 1.0), ("FLOPs/token", 1.0), ("train_gflops_per_tok", 1e9), ("FLOP a token", 1)],
)
def test_flop_a_token_times_tokens_is_compute(name, unit):
    runs = read_runs({"params": N, "tokens": D, name: 8 * N / unit, "loss": LOSS})
    np.testing.assert_allclose(runs["compute"], 8 * N * D)
    assert f"compute = {name} x tokens (guess)" in read_text(runs.attrs)
    np.testing.assert_allclose(read_runs({"tokens": D, name: 6 * N / unit, "loss": LOSS})["params"], N)


@pytest.mark.parametrize("name", ["n_chars", "words", "data (GB)", "bytes"])
def test_tokens_that_are_given_and_count_something_else_are_told(name):
    _, (note,) = read({"params": N, name: 4 * D, "loss": LOSS}, columns={"tokens": name})
    assert note.startswith(f"{name} is read as tokens; its name says")


@pytest.mark.parametrize("name", ["loss - E", "L-E", "Δloss", "loss - 1.69", "100*loss", "reducible_loss"])
def test_a_loss_that_is_given_and_may_be_a_difference_is_told(name):
    _, (note,) = read({"params": N, "tokens": D, name: LOSS - 1}, columns={"loss": name})
    assert note.startswith(f"{name} is read as it stands, in nats per token; its name may say")


@pytest.mark.parametrize("name", ["log10 ppl", "log10_perplexity", "lg(ppl)", "log_10 ppl"])
def test_logarithms_to_the_base_10_of_perplexities_are_hartleys(name):
    table = {"params": N, "tokens": D, name: LOSS / np.log(10)}
    asks(table, name, "base 10", option="--unit loss=hartleys")
    np.testing.assert_allclose(read_runs(table, units={"loss": "hartleys"}).loss, LOSS)
    (note,) = read_notes(read_runs(table, columns={"loss": name}).attrs)
    assert "--unit loss=hartleys" in note


def test_repeated_tokens_are_said_once():
    table = {"params": N, "tokens": D, "loss": LOSS, "unique_tokens": [d / 4 for d in D], "epochs": [4] * len(D)}
    assert sum("tokens repeat" in note for note in read_notes(read_runs(table).attrs)) == 1


@pytest.mark.parametrize("name", ["gpu_hours", "GPU-h", "A100 hours"])
def test_hours_are_no_size_and_the_message_says_what_is_missing(name):
    with pytest.raises(RunsError, match=f"{name} is a time: add tokens, or FLOP"):
        read_runs({"params": N, name: [1.0, 2.0, 3.0, 4.0, 5.0], "loss": LOSS})


def test_tokens_of_a_data_set_without_epochs_are_seen_once():
    text, _ = read({"params": N, "dataset_tokens": D, "loss": LOSS})
    assert "tokens = dataset_tokens (guess)" in text
    text, _ = read({"params": N, "dataset_tokens": D, "epochs": [1, 2, 1, 2, 1], "loss": LOSS})
    assert "tokens = dataset_tokens x epochs (guess)" in text


def test_batches_in_a_unit_are_counted():
    runs = read_runs({"params": N, "steps (K)": D / 5e5 / 1e3, "batch (M tokens)": [0.5] * 5, "loss": LOSS})
    np.testing.assert_allclose(runs.tokens, D)


def test_what_heads_settings_is_no_part_of_a_ratio():
    table = {"parameters/n_params": N, "parameters/tokens": D, "metrics/val/loss": LOSS}
    with pytest.raises(RunsError, match="two of params, tokens and compute"):
        read_runs(table)
    assert "tokens = parameters/tokens" in read(table | {"parameters/lr": [1e-3] * 5})[0]
