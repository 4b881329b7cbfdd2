"""Numbers as people write them in cells, and units in headings: used, and said."""

import numpy as np
import pandas as pd
import pytest

from bayescale.errors import RunsError
from bayescale.laws.law import load_law
from bayescale.runs.cells import as_numbers
from bayescale.runs.headings import unit_in
from bayescale.runs.read import read_notes, read_runs, read_text

PARAMS, TOKENS, LOSS = [70e6, 160e6, 1.4e9], [2e9, 8e9, 30e9], [3.4, 3.1, 2.7]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("4.6M", 4.6e6),
        ("1.3B", 1.3e9),
        (" 2T ", 2e12),
        ("300k", 3e5),
        ("1.3 billion", 1.3e9),
        ("20Bn", 2e10),
        ("1,300,000,000", 1.3e9),
        ("1,300.5", 1300.5),
        ("12,345", 12345.0),
        ("1.3e9", 1.3e9),
        ("1e3K", 1e6),
        ("-2M", -2e6),
        (".5B", 5e8),
        ("3,5", 3.5),
        ("1,0000", 1.0),
        ("1,3B", 1.3e9),
        ("1 300 000", 1.3e6),
        ("1\u202f300\u202f000", 1.3e6),
        ("1'300'000", 1.3e6),
        ("1.300.000", 1.3e6),
        ("1.2 x 10^9", 1.2e9),
        ("1.2×10⁹", 1.2e9),
        ("$1.2\\times 10^{9}$", 1.2e9),
        ("10^-2", 0.01),
        ("~70M", 7e7),
        ("70M params", 7e7),
        ("1.4B tokens", 1.4e9),
        ("2.5 GFLOPs", 2.5e9),
        ("1e21 FLOPs", 1e21),
        ("20G", 2e10),
        ("3 Mrd.", 3e9),
        ("3 Mio.", 3e6),
        ("63.2 %", 0.632),
        ("3.36*", 3.36),
        ("3.36¹", 3.36),
        ("2.9 nats", 2.9),
        ("**2.9**", 2.9),
        ('="14000000"', 1.4e7),
        ("\\textbf{2.9}", 2.9),
        ("31000000²", 3.1e7),
        ("31M²", 3.1e7),
        ("∼70M", 7e7),
        ("1.4⋅10 ^ 7", 1.4e7),
    ],
)
def test_numbers_as_people_write_them(cell, number):
    assert as_numbers(pd.Series(["7", cell], dtype=object)).tolist() == [7.0, number]


@pytest.mark.parametrize(
    "cell",
    ["1.3X", "1_00", "M", "", "1.3.2B", "1 00", "1.2x109", "1B2", "٣M", "0x10M", "<70M", "2³", "1" * 100 + "M"],
)
def test_what_is_no_number(cell):
    assert np.isnan(as_numbers(pd.Series(["7", cell], dtype=object)))[1]


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["6,435", "6,44"], [6.435, 6.44]),
        (["1,300", "12,345"], [1300, 12345]),
        (["1,300,000", "2,5"], [1.3e6, np.nan]),
        (["6.435", "6,44"], [6.435, np.nan]),
        (["1.300.000", "910.000"], [1.3e6, 910000]),
        (["1.300.000", "91.5"], [1.3e6, np.nan]),
        (["1.300", "91.5"], [1.3, 91.5]),
    ],
)
def test_points_and_commas_mean_one_thing_in_a_column(cells, numbers):
    np.testing.assert_equal(as_numbers(pd.Series(cells, dtype=object)), numbers)


def test_what_may_be_read_in_two_ways_is_a_question():
    table = {"params": PARAMS, "tokens": TOKENS, "loss": LOSS}
    with pytest.raises(RunsError, match=r"row 0: params = 70 beside cells such as 160M: write its unit too$"):
        read_runs(table | {"params": ["70", "160M", "1.4B"]})
    with pytest.raises(
        RunsError, match=r"row 0: loss = '3,456' may be 3\.456 or 3456: write it so; 2 more rows like it"
    ):
        read_runs(table | {"loss": ["3,456", "3,123", "2,789"]})
    with pytest.raises(RunsError, match=r"cells such as 72 %, which is no loss in nats; .* --unit loss=error"):
        read_runs(table | {"loss": ["72 %", "65 %", "58%"]})
    errors = read_runs(table | {"loss": ["72 %", "65 %", "58%"]}, units={"loss": "error"})
    np.testing.assert_allclose(errors.loss, [0.72, 0.65, 0.58])
    mixed = read_runs(table | {"params": ["70e6", "160M", "1.4B"]})
    np.testing.assert_allclose(mixed.params, PARAMS)


def test_percentages_of_a_share_are_those_of_its_heading():
    table = {"params": PARAMS, "tokens": TOKENS, "loss": LOSS, "items": [1000] * 3}
    law = load_law("accuracy_sigmoid")
    for name in ("Accuracy (%)", "accuracy %"):
        runs = read_runs(table | {name: [27.5, 41.0, 63.2]}, law)
        np.testing.assert_allclose(runs.accuracy, [0.275, 0.41, 0.632])
        assert f"accuracy = {name} [cells such as 27.5 %]" in read_text(runs.attrs)
    with pytest.raises(RunsError, match=r"accuracy = 27.5 .must be between 0 and 1; accuracy .%. heads percentages"):
        read_runs(table | {"accuracy": [27.5, 41.0, 63.2]}, law)
    with pytest.raises(RunsError, match=r"cells such as 72 %, which is no loss in nats"):
        read_runs(table | {"loss": [1.0] * 3} | {"loss (%)": [72, 65, 58]}, columns={"loss": "loss (%)"})
    del table["loss"]
    with pytest.raises(RunsError, match="acc looks like an accuracy, for which there are other laws"):
        read_runs(table | {"acc": [0.3, 0.4, 0.6]})


@pytest.mark.parametrize("cell", ["diverged", "—", "#N/A", "?", "inf"])
def test_a_cell_without_a_number_is_left_out_on_request(cell):
    table = {"params": PARAMS, "tokens": TOKENS, "loss": ["3.4", cell, "2.7"]}
    with pytest.raises(RunsError, match=r"row 1: loss = .*--drop-missing leaves such rows out"):
        read_runs(table)
    runs = read_runs(table, drop_missing=True)
    assert runs.loss.values.tolist() == [3.4, 2.7] and "1 without loss" in read_text(runs.attrs)


def test_cells_with_suffixes_are_read_and_said():
    runs = read_runs({"params": ["70M", "160M", "1.4B"], "tokens": TOKENS, "loss": LOSS})
    assert runs.params.values.tolist() == PARAMS
    assert (
        read_text(runs.attrs)
        == "loss = loss [nats], params = params [cells such as 70M], tokens = tokens, compute = 6 N D"
    )


def test_a_column_without_a_role_keeps_its_texts():
    runs = read_runs({"params": PARAMS, "tokens": TOKENS, "loss": LOSS, "size_label": ["70M", "160M", "1.4B"]})
    assert runs.size_label.values.tolist() == ["70M", "160M", "1.4B"]


@pytest.mark.parametrize(
    ("role", "name", "found"),
    [
        ("params", "Params (M)", ("Params", "M")),
        ("params", "N [billions]", ("N", "B")),
        ("tokens", "tokens_B", ("tokens", "B")),
        ("tokens", "tokens (1e9)", ("tokens", "B")),
        ("tokens", "total tokens, trillion", ("total tokens,", "T")),
        ("compute", "FLOPs (1E21)", ("FLOPs", "1E21")),
        ("compute", "compute [PF-days]", ("compute", "PF-days")),
        ("compute", "pf_days", ("flops", "PFLOP-day")),
        ("compute", "petaflop/s-days", ("flops", "PFLOP-day")),
        ("compute", "compute PF / days", ("compute", "PFLOP-day")),
        ("compute", "compute_pflops / s-days", ("compute", "PFLOP-day")),
        ("compute", "macſ", ("macſ", "")),  # an s to a search that ignores case, and in no unit
        ("compute", "compute_pf_days", ("compute", "PFLOP-day")),
        ("compute", "train_gflops", ("train_flops", "GFLOP")),
        ("compute", "Total ExaFLOPs", ("Total_flops", "EFLOP")),
        ("compute", "macs", ("flops", "MAC")),
        ("compute", "mflops", ("mflops", "")),
        ("compute", "tflops_per_gpu", ("tflops_per_gpu", "")),
        ("params", "size_m", ("size", "M")),
        ("compute", "flops (6)", ("flops (6)", "")),
        ("params", "Params in millions", ("Params", "M")),
        ("params", "params (in M)", ("params", "M")),
        ("params", "params (×1e6)", ("params", "M")),
        ("params", "N / 10⁶", ("N", "M")),
        ("params", "# params ($10^6$)", ("# params", "M")),
        ("params", "Params (million parameters)²", ("Params parameters", "M")),
        ("params", "params (M, non-embedding) [2]", ("params", "M")),
        ("params", "Params (mil.)", ("Params", "M")),
        ("params", "loss²", ("loss²", "")),
        ("tokens", "tokens_bn", ("tokens", "B")),
        ("tokens", "BTok", ("Tok", "B")),
        ("params", "log2(N)", ("N", "log2")),
        ("params", "ln params", ("params", "ln")),
        ("params", "lnparams", ("lnparams", "")),
        ("tokens", "tokens (log10)", ("tokens", "log10")),
        ("compute", "pfs_days", ("flops", "PFLOP-day")),
        ("compute", "EF-hours", ("flops", "EF-hours")),
        ("compute", "total_GMACs", ("total_flops", "GMACs")),
        ("compute", "Compute (10^18 FLOPs)", ("Compute", "10^18 FLOPs")),
        ("tokens", "tokens (x10^9)", ("tokens", "B")),
        ("tokens", "Tokens (Mrd.)", ("Tokens", "B")),
        ("tokens", "tokensB", ("tokens", "B")),
        ("params", "MParams", ("Params", "M")),
        ("tokens", "GTokens", ("Tokens", "B")),
        ("loss", "Val loss (nats)† ↓", ("Val loss", "nats")),
        ("loss", "loss (bits)", ("loss", "bits")),
        ("loss", "val loss (bits per byte)", ("val loss", "bits_per_byte")),
        ("loss", "loss_nats", ("loss", "nats")),
        ("loss", "Loss (M)", ("Loss (M)", "")),
        ("params", "Params (non-embedding)", ("Params (non-embedding)", "")),
        ("params", "(" * 500, ("(" * 500, "")),
        ("epochs", "epochs (M)", ("epochs (M)", "")),
    ],
)
def test_units_in_headings(role, name, found):
    assert unit_in(role, name) == found


def test_the_unit_of_a_heading_is_used_and_said():
    table = {"Params (M)": [70, 160, 1400], "tokens_B": [2, 8, 30], "Loss (bits)": LOSS}
    runs = read_runs(table)
    np.testing.assert_allclose(runs.params, PARAMS)
    np.testing.assert_allclose(runs.tokens, TOKENS)
    np.testing.assert_allclose(runs.loss, np.array(LOSS) * np.log(2))
    assert runs.attrs["loss_unit"] == "bits"
    assert (
        read_text(runs.attrs)
        == "loss = Loss (bits) [bits], params = Params (M) [M], tokens = tokens_B [B], compute = 6 N D"
    )
    again = read_runs(runs)
    assert again.identical(runs)


def test_a_unit_in_heading_and_cells_counts_once():
    for cells in (["70M", "160M", "1.4B"], ["70", "160M", "1400"], ["70M", "160", "1,400"]):
        table = {"Params (M)": cells, "tokens": TOKENS, "loss": LOSS}
        np.testing.assert_allclose(read_runs(table).params, PARAMS)
        assert read_runs(table, where="params < 1B").sizes["run"] == 2
    np.testing.assert_allclose(
        read_runs({"params": ["70M", "160", "1.4B"], "tokens": TOKENS, "loss": LOSS}, units={"params": "M"}).params,
        PARAMS,
    )


def test_a_letter_at_the_end_of_a_name_is_a_unit_where_numbers_are_too_small_for_counts():
    small = read_runs({"params_m": [70, 160, 1400], "tokens_b": [2, 8, 30], "loss": LOSS})
    np.testing.assert_allclose([small.params, small.tokens], [PARAMS, TOKENS])
    table = {"params": PARAMS, "tokens_a": [1e9, 2e9, 3e9], "tokens_b": TOKENS, "loss": LOSS}
    with pytest.raises(RunsError, match="two of params, tokens and compute are needed"):
        read_runs(table)
    named = read_runs(table, columns={"tokens": "tokens_b"})
    assert named.tokens.values.tolist() == TOKENS and "tokens = tokens_b," in read_text(named.attrs)


def test_an_option_wins_over_the_heading_and_a_letter_with_a_unit_is_a_name():
    runs = read_runs({"N (M)": PARAMS, "D [B]": [2, 8, 30], "loss": LOSS}, units={"params": "1"})
    assert runs.params.values.tolist() == PARAMS and runs.tokens.values.tolist() == TOKENS
    named = read_runs({"a (M)": [70, 160, 1400], "tokens": TOKENS, "loss": LOSS}, columns={"params": "a (M)"})
    np.testing.assert_allclose(named.params, PARAMS)


def test_a_column_in_two_units_is_no_question():
    table = {"FLOPs (1E21)": [1.0, 4.0], "flops": [1e21, 4e21], "tokens": [1e9, 2e9], "loss": [3.0, 2.8]}
    runs = read_runs(table)
    np.testing.assert_allclose(runs["compute"], [1e21, 4e21])
    with pytest.raises(RunsError, match="could each be compute"):
        read_runs(table | {"flops": [1e21, 5e21]})


@pytest.mark.parametrize("cells", [["70", "7", "7e9"], ["70B", "7", "7e9"], ["70B", "7e9", "7e9"]])
def test_a_count_among_numbers_in_a_unit_is_an_error(cells):
    table = {"params": cells, "tokens": TOKENS, "loss": LOSS}
    with pytest.raises(RunsError, match=r"params = 7e9 in the unit B is 7e.18 params, more than any run has"):
        read_runs(table, units={"params": "B"})
    with pytest.raises(RunsError, match=r"7e9 in the unit B"):
        read_runs({"params (B)": ["70", "7", "7e9"], "tokens": TOKENS, "loss": LOSS})


def test_counts_below_a_heading_with_a_unit_are_a_question():
    table = {"params": PARAMS, "loss": LOSS}
    with pytest.raises(RunsError, match=r"by its heading, tokens .B. has a median of 8e.18 tokens: .* --unit tokens=1"):
        read_runs(table | {"tokens (B)": TOKENS})
    assert read_runs(table | {"tokens (B)": TOKENS}, units={"tokens": "1"}).tokens.values.tolist() == TOKENS
    assert read_runs(table | {"tokens (B)": ["2B", "8B", "30B"]}).tokens.values.tolist() == TOKENS
    with pytest.raises(RunsError, match=r"row 0: tokens .B. = 'many' is not a number"):
        read_runs(table | {"tokens (B)": ["many"] * 3})
    with pytest.raises(RunsError, match=r"has a median of 6e.40 compute: .* --unit compute=FLOP"):
        read_runs(table | {"FLOPs (1e21)": [1e19, 6e19, 2e20]})


def test_a_loss_whose_perplexity_is_a_power_of_two_is_in_bits():
    table = {"params": PARAMS, "tokens": TOKENS, "valid_loss": LOSS, "valid_ppl": [round(2**loss, 2) for loss in LOSS]}
    with pytest.raises(RunsError, match=r"valid_ppl is 2 to the power of valid_loss, which then is in bits"):
        read_runs(table)
    assert read_runs(table, units={"loss": "nats"}).loss.values.tolist() == LOSS
    np.testing.assert_allclose(read_runs(table, units={"loss": "bits"}).loss, np.array(LOSS) * np.log(2))
    assert read_runs(table | {"valid_ppl": np.exp(LOSS)}).loss.values.tolist() == LOSS


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        *(
            ("70 lakh", 7e6),
            ("2.5 crore", 2.5e7),
            ("14Cr", 1.4e8),
            ("1400万", 1.4e7),
            ("2.8亿", 2.8e8),
            ("0.5 млрд", 5e8),
        ),
        *(
            ("14 Mio.", 1.4e7),
            ("1,5 Milliarden", 1.5e9),
            ("2 mil millones", 2e9),
            ("7 milhões", 7e6),
            ("0,014B", 1.4e7),
            ("14 mln", 1.4e7),
            ("2 Md", 2e9),
            ("3 milliards", 3e9),
        ),
        *(
            ("1,40,00,000", 1.4e7),
            ("14_000_000", 1.4e7),
            ("ca. 14M", 1.4e7),
            ("14MM", 1.4e7),
            ("１４０", 140.0),
            ("9 tsd", 9e3),
        ),
    ],
)
def test_counts_in_the_words_of_other_languages(cell, number):
    runs = read_runs({"params": [cell] * 3, "tokens": [1e9, 2e9, 4e9], "loss": ["3.3", "3.2", "3.1"]})
    np.testing.assert_allclose(runs.params, number)


@pytest.mark.parametrize(
    ("heading", "factor"),
    [
        *(
            ("Params (lakh)", 1e5),
            ("参数量（百万）", 1e6),
            ("参数量(万)", 1e4),
            ("параметры (млн)", 1e6),
            ("params_mm", 1e6),
            ("params_1e6", 1e6),
            ("params (mln)", 1e6),
        ),
        *(
            ("params (millones)", 1e6),
            ("params (1e5)", 1e5),
            ("Size (M params)", 1e6),
            ("kParams", 1e3),
            ("params (G)", 1e9),
        ),
    ],
)
def test_units_of_headings_in_other_words(heading, factor):
    runs = read_runs({heading: [120.0, 250.0, 500.0], "tokens": [1e9, 2e9, 4e9], "loss": [3.3, 3.2, 3.1]})
    np.testing.assert_allclose(runs.params, np.array([120.0, 250.0, 500.0]) * factor)


def test_a_power_of_ten_is_a_unit_of_counts():
    runs = read_runs({"params": [1.0, 2.0], "tokens": [1e9, 2e9], "loss": [3.3, 3.2]}, units={"params": "1e7"})
    np.testing.assert_allclose(runs.params, [1e7, 2e7])


@pytest.mark.parametrize(
    "names",
    [
        ("Parameter (Mio.)", "Trainings-Token (Mrd.)", "Verlust (Validierung) (nats)"),
        ("nombre de paramètres (millions)", "jetons d'entraînement (milliards)", "perte de validation"),
        ("Número de parámetros (millones)", "tokens de entrenamiento (mil millones)", "pérdida de validación"),
        ("numero di parametri (milioni)", "token di addestramento (miliardi)", "perdita"),
        ("N [M]", "D [B]", "L [nats/token]"),
    ],
)
def test_words_of_other_languages_around_a_name(names):
    columns = ([100, 200, 400], [2, 4, 9], [3.36, 3.1, 2.875])
    runs = read_runs(dict(zip(names, columns, strict=True)))
    assert runs.params.values.tolist() == [1e8, 2e8, 4e8] and runs.tokens.values.tolist() == [2e9, 4e9, 9e9]
    assert not read_notes(runs.attrs)


def test_budgets_of_isoflop_sweeps_are_compute_where_sizes_are_missing():
    sweep = {"params": [1e8, 2e8, 4e8], "loss": [3.36, 3.1, 2.875]}
    for name, cells in (("isoflop_budget", [1e18] * 3), ("budget", ["1e18 FLOPs"] * 3)):
        runs = read_runs(sweep | {name: cells})
        np.testing.assert_allclose(runs.tokens, 1e18 / 6 / runs.params)
    tokens = [2e9, 4e9, 9e9]
    runs = read_runs(sweep | {"tokens": tokens, "budget": tokens})
    np.testing.assert_allclose(runs["compute"], 6 * runs.params * runs.tokens)
    assert not read_notes(runs.attrs)
    assert read_notes(read_runs(sweep | {"tokens": tokens, "budget": [1e18] * 3}).attrs) == [
        "budget is not read as compute, 6 N D is (--column compute=budget if it should be)"
    ]
    with pytest.raises(RunsError, match="two of params, tokens and compute are needed"):
        read_runs(sweep | {"budget": tokens})
