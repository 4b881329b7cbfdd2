import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

from bayescale.errors import RunsError
from bayescale.runs.read import read_runs
from bayescale.runs.tables import limits

COLUMNS = {"N": [1e6, 2e6, 3e6], "D": [2e7, 4e7, 7e7], "loss": [3.5, 3.2, 3.1], "corpus": ["pile", "pile", "c4"]}
CSV = "N,D,loss\n1e6,2e7,3.5\n2e6,4e7,3.2\n"


@pytest.fixture
def csv(tmp_path):
    def write(content):
        path = tmp_path / "runs.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def refused(message, source, **options):
    """Reading must fail with one plain sentence that matches ``message``."""
    with pytest.raises(RunsError, match=message) as error:
        read_runs(source, **options)
    text = str(error.value)
    assert text.isprintable() and len(text) < 2500


# ---- what can be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "path as text", "parquet", "pandas", "polars", "xarray", "its own result"])
def test_all_sources_give_the_same_dataset(kind, tmp_path):
    frame = pd.DataFrame(COLUMNS)
    if kind in ("csv", "path as text"):
        source = tmp_path / "runs.csv"
        frame.to_csv(source, index=False)
        source = str(source) if kind == "path as text" else source
    elif kind == "parquet":
        source = tmp_path / "runs.parquet"
        frame.to_parquet(source)
    elif kind == "pandas":
        source = frame.set_index(pd.Index([7, 8, 9]))
    elif kind == "polars":
        source = pl.DataFrame(COLUMNS)
    elif kind == "xarray":
        source = xr.Dataset({name: ("model", values) for name, values in COLUMNS.items()})
    else:
        source = read_runs(COLUMNS)
    runs = read_runs(source)
    in_memory = read_runs(COLUMNS)
    xr.testing.assert_identical(*(one.drop_attrs(deep=False).drop_vars("run") for one in (runs, in_memory)))
    lines = kind in ("csv", "path as text")  # counted as people see them: the header is line 1
    assert list(runs["run"].values) == [2, 3, 4] if lines else list(runs["run"].values) == [0, 1, 2]
    assert runs.attrs["rows"] == ("line" if lines else "row")
    assert runs.attrs["source"] == {"csv": "runs.csv", "path as text": "runs.csv", "parquet": "runs.parquet"}.get(
        kind, "runs"
    )


def test_the_content_of_a_file_says_its_format_and_not_its_name(tmp_path):
    frame, path = pd.DataFrame(COLUMNS), tmp_path / "runs.csv"
    frame.to_parquet(path)
    assert read_runs(path).attrs["rows"] == "row"
    xr.testing.assert_equal(read_runs(path), read_runs(frame))


def test_the_dataset():
    runs = read_runs(COLUMNS)
    assert list(runs.data_vars) == ["params", "tokens", "compute", "loss", "corpus"]
    assert dict(runs.sizes) == {"run": 3} and runs.loss.attrs["units"] == "nats"
    assert all(runs[name].dtype == float for name in ("params", "tokens", "compute", "loss"))
    np.testing.assert_array_equal(runs["compute"], 6 * runs.params * runs.tokens)
    assert list(runs.corpus.values) == ["pile", "pile", "c4"]


@pytest.mark.parametrize("missing", ["params", "tokens", "compute"])
def test_the_third_size_follows_from_two(missing):
    full = {"params": [1e6, 2e6], "tokens": [2e7, 4e7], "compute": [1.2e14, 4.8e14], "loss": [3.0, 2.9]}
    runs = read_runs({name: values for name, values in full.items() if name != missing})
    np.testing.assert_allclose(runs[missing], full[missing], rtol=1e-15)


def test_given_compute_is_kept():
    assert list(read_runs(COLUMNS | {"C": [1e14, 2e14, 3e14]})["compute"].values) == [1e14, 2e14, 3e14]


@pytest.mark.parametrize(
    ("params", "tokens", "loss"),
    [
        ("params", "tokens", "loss"),
        ("N", "D", "L"),
        ("n_params", "n_tokens", "val_loss"),
        ("Model Size", "Training-Tokens", "Validation Loss"),
        (" num_params ", "D tokens", "EVAL_LOSS"),
    ],
)
def test_columns_are_guessed(params, tokens, loss):
    runs = read_runs({loss: [3.0], tokens: [2e7], params: [1e6]})
    assert (runs.params.item(), runs.tokens.item(), runs.loss.item()) == (1e6, 2e7, 3.0)


def test_the_full_name_is_taken_and_the_letter_kept():
    runs = read_runs({"loss": [3.0], "N": [5.0], "params": [1e6], "D": [2e7]})
    assert runs.loss.item() == 3.0 and runs.params.item() == 1e6
    assert runs.N.item() == 5.0


def test_columns_can_be_named():
    table = {"N": [1e6], "D": [2e7], "loss": [3.0], "pile_loss": [2.5]}
    runs = read_runs(table, columns={"loss": "pile_loss"})
    assert runs.loss.item() == 2.5 and set(runs.data_vars) == {"params", "tokens", "compute", "loss"}


def test_units():
    table = {"N": [70.0], "D": [1.4], "C": [2.0], "loss": [3.0]}
    runs = read_runs(table, units={"params": "M", "tokens": "B", "compute": "PF-days", "loss": "bits"})
    assert runs.params.item() == pytest.approx(70e6) and runs.tokens.item() == pytest.approx(1.4e9)
    assert runs["compute"].item() == pytest.approx(1.728e20) and runs.loss.item() == pytest.approx(3 * np.log(2))


def test_compute_from_sizes_in_units():
    assert (
        read_runs({"N": [1], "D": [2], "loss": [3]}, units={"params": "M", "tokens": "B"})["compute"].item() == 1.2e16
    )


def test_integers_do_not_overflow(csv):
    expected = [6.0 * 10**11 * 10**13]  # 6e24, beyond 64 bits
    assert read_runs({"N": [10**11], "D": [10**13], "loss": [2]})["compute"].values == expected
    assert read_runs({"N": np.array([10**9], "int32"), "D": [10**15], "loss": [2]})["compute"].values == expected
    assert read_runs(csv("N,D,loss\n100000000000,10000000000000,2\n"))["compute"].values == expected
    assert read_runs({"N": [10**30], "D": [10**13], "loss": [2]}).params.item() == 1e30


def test_numbers_as_text_are_read():
    assert read_runs({"N": ["1e6"], "D": [" 20000000 "], "loss": pd.Categorical(["3.5"])}).tokens.item() == 2e7


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + CSV,
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        CSV.rstrip("\n"),
        "\n\n" + CSV,
        CSV.replace("\n", "\n\n  \n,,\n"),
        CSV.replace(",", " , "),
        CSV.replace("1e6", '"1e6"'),
    ],
    ids=["BOM", "CRLF", "CR", "no last newline", "blank first", "blank lines", "spaces", "quotes"],
)
def test_habits_of_spreadsheets(csv, content):
    xr.testing.assert_identical(read_runs(csv(content)).drop_vars("run"), read_runs(csv(CSV)).drop_vars("run"))


def test_other_columns_get_names_that_can_be_saved(csv):
    runs = read_runs(csv(",N,D,loss,run,D/N,note,tuned\n0,1e6,2e7,3.5,a,20,,True\n1,2e6,4e7,3.2,b,20,x,False\n"))
    assert list(runs.data_vars)[4:] == ["column_1", "run_name", "D_N", "note", "tuned"]
    assert list(runs.run.values) == [2, 3] and list(runs.run_name.values) == ["a", "b"]
    assert list(runs.note.values) == ["", "x"] and list(runs.tuned.values) == ["True", "False"]
    assert runs.D_N.dtype == float
    assert xr.DataTree(runs).to_dataset().equals(runs), "xarray too refuses / in the names of a tree"


def test_a_line_break_in_a_note_is_kept(csv):
    runs = read_runs(csv('N,D,loss,note\n1e6,2e7,3.5,"two\nlines"\n2e6,4e7,3.2,one\n'))
    assert list(runs.note.values) == ["two\nlines", "one"]


def test_the_source_is_not_changed():
    frame = pd.DataFrame(COLUMNS)
    read_runs(frame, units={"params": "M"})
    pd.testing.assert_frame_equal(frame, pd.DataFrame(COLUMNS))


# ---- what cannot ----------------------------------------------------------------------------------------------------

NOT_A_NUMBER = "is not a number .write 70e6, 70M or 70000000."


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("1.3X", f"N = '1.3X' {NOT_A_NUMBER}"),
        ('"1,00"', f"N = '1,00' {NOT_A_NUMBER}"),
        ("1_00", f"N = '1_00' {NOT_A_NUMBER}"),
        ("0x10", f"N = '0x10' {NOT_A_NUMBER}"),
        ("True", f"N = 'True' {NOT_A_NUMBER}"),
        ("\u0661\u0662", "N = .* is not a number"),
        ('"1\n2"', r"N = '1\\n2' is not a number"),
        ("x" * 9000, "N = 'x{40}' is not a number"),
        ("", r"N is empty \(a number > 0 is expected; --drop-missing leaves such rows out\)"),
        ('""', "N is empty"),
        ("NaN", r"N is missing or NaN \(give its value, or leave such rows out: --drop-missing\)"),
        ("NA", "N is missing or NaN"),
        ("inf", r"N = inf \(must be finite\)"),
        ("-inf", r"N = -inf \(must be finite\)"),
        ("9" * 400, r"N = (inf \(must be finite\)|'9+\.*' is not a number)"),  # pandas 2 says so
        ("0", r"N = 0 \(must be > 0\)"),
        ("-1", r"N = -1 \(must be > 0\)"),
    ],
    ids=lambda text: repr(text)[:16],
)
def test_a_bad_cell_is_shown_with_its_line(csv, cell, problem):
    refused(f"^runs.csv, line 3: {problem}", csv(CSV.replace("2e6", cell)))


def test_line_numbers_are_those_of_the_file(csv):
    refused("line 8: D = 'x'", csv('\nN,D,loss,note\n\n1,2,3,"a\nb"\n  \n,,,\n2,x,3,c\n'))
    refused("line 5: D = 'x'", csv('N,D,loss,note\r\n1,2,3,"a\r\nb"\r\n\r\n2,x,3,c\r\n'))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "^runs.csv is empty; a header line and one line for each run are expected"),
        ("\n\n \n", "^runs.csv is empty"),
        ("N,D,loss\n", "^runs.csv: no runs; a header line"),
        ("N,D,perplexity\n1,2,3\n", "^runs.csv: the column perplexity looks like a perplexity, not a loss in nats"),
        ("1e6,2e7,3.5\n2e6,4e7,3.2\n", "its first line is 1e6, 2e7, 3.5, numbers where headings"),
        ("N,loss\n1,2\n", r"two of params, tokens and compute are needed, found \['params'\] among N, loss"),
        ("loss\n2\n", "two of params, tokens and compute are needed, found none among loss"),
        ("N,N,D,loss\n1,2,3,4\n", r"^runs.csv, line 1: columns \['N'\] stand twice; rename or drop one of each"),
        ("N,D,loss\n1,2\n", r"^runs.csv, line 2: 2 field\(s\), the header has 3"),
        ("N,D,loss\n1,2,3\n1,2,3,4\n", r"^runs.csv, line 3: 4 field\(s\), the header has 3"),
        ("N,D,loss\n1,000,2,3\n", r"^runs.csv, line 2: 4 field\(s\), the header has 3"),
        ('N,D,loss\n1,2,"3\n4,5,6\n', "^runs.csv, line 2: not CSV: unexpected end of data"),
        ('N,D,"lo\nsses"\n1,2,3\n', r"no column for loss among N, D, 'lo\\nsses'"),
        (",".join(f"c{i}" for i in range(3000)) + "\n", "0 rows of 3000 columns; at most 1500000 rows, 1000 columns"),
        (",".join(f"c{i}" for i in range(150)) + "\n", "c14 and 135 more; name it loss"),
        ("c" * 900 + "\n1\n", r"among c{37}\.\.\.; name it loss"),
        ("c" * 9000 + "\n1\n", r"line 1: the column c{77}\.\.\. has a name of 9000 characters; at most 1000 are read"),
        (bytes(range(256)), "^runs.csv is not UTF-8 or UTF-16 text; save it as CSV in UTF-8"),
        (b"\x00" * 100, r"line 1: the control character '.x00'; a table in plain text is expected"),
        (b"PAR1\x15\x04\x15\x10", "^runs.csv: not a readable parquet file; it may be truncated or of another format"),
        (CSV.replace("loss", "x \xe9").encode("latin-1"), "no column for loss among N, D, x \xe9"),
        ("N,D,loss\n1e200,1e200,3\n", "^runs.csv, line 2: compute comes out as inf, by the units and C = 6 N D"),
        ("C,D,loss\n1e-300,1e200,3\n", "^runs.csv, line 2: params comes out as 0"),
    ],
    ids=lambda text: repr(text)[:24],
)
def test_a_bad_file(csv, content, message):
    refused(message, csv(content))


def test_limits_are_those_of_the_file_and_not_of_what_reading_adds(csv, monkeypatch):
    """compute is added, and a Dataset has its counting of rows: what was read once is read again, as fit does."""
    rows = "".join(f"{i}e6,{i}e8,{3 + 1 / i},a\n" for i in range(1, 11))
    path = csv("N,D,loss,family\n" + rows)
    monkeypatch.setattr(limits, "MAX_CELLS", 40)
    monkeypatch.setattr(limits, "MAX_COLUMNS", 4)
    read = read_runs(path)
    assert read_runs(read).identical(read) and list(read.data_vars)[2] == "compute"
    monkeypatch.setattr(limits, "MAX_CELLS", 39)
    with pytest.raises(RunsError, match=r"10 rows of 4 columns; at most 1500000 rows, .* 39 cells of a file"):
        read_runs(path)


def test_bad_paths(tmp_path):
    refused(
        "is a folder without tables; a CSV, JSON, parquet, Excel, Markdown or event file is expected in it", tmp_path
    )
    refused("absent.csv: no such file; a CSV, JSON, parquet, .* file of runs is expected", tmp_path / "absent.csv")
    refused("absent.parquet: no such file", tmp_path / "absent.parquet")
    refused("no such file", "a" * 5000)
    refused("no such file", "a\0b.csv")
    refused("no such file", tmp_path / "a\nb.csv")


def test_a_parquet_file_whose_texts_are_not_unicode(tmp_path):
    """They would fail where they are first looked at: in an option that compares them, or a report."""
    starts, texts = np.arange(4, dtype="<i4").tobytes(), b"\xffab"
    names = pa.StringArray.from_buffers(3, pa.py_buffer(starts), pa.py_buffer(texts))
    numbers = {name: COLUMNS[name] for name in ("N", "D", "loss")}
    pq.write_table(pa.table(numbers | {"corpus": names}), tmp_path / "runs.parquet")
    refused("runs.parquet: not a readable parquet file", tmp_path / "runs.parquet")


def test_bytes_may_be_labels_and_need_be_no_text(tmp_path):
    numbers = {name: COLUMNS[name] for name in ("N", "D", "loss")}
    pq.write_table(pa.table(numbers | {"corpus": [b"pile", b"\xff", b"\xff"]}), tmp_path / "runs.parquet")
    assert read_runs(tmp_path / "runs.parquet", last_of="corpus").sizes["run"] == 2


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_a_truncated_parquet_file(tmp_path, keep):
    path = tmp_path / "runs.parquet"
    pd.DataFrame(COLUMNS).to_parquet(path)
    path.write_bytes(path.read_bytes()[:keep])
    refused("^runs.parquet: not a readable parquet file; it may be truncated or of another format", path)


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ([1e6, None], "runs, row 1: N is missing or NaN"),
        (pd.array([1, None], dtype="Int64"), "runs, row 1: N is missing or NaN"),
        ([1e6, np.nan], "runs, row 1: N is missing or NaN"),
        ([1e6, -np.inf], r"runs, row 1: N = -inf \(must be finite\)"),
        ([0, -1], r"runs, row 0: N = 0 \(must be > 0\); --where 'N > 0' leaves such rows out; 1 more row like it"),
        ([True, True], "runs, row 0: N = 'True' is not a number"),
        ([1 + 2j, 1], "row 0: N = .* is not a number"),
        ([[1, 2], [3]], "row 0: N = .* is not a number"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "row 0: N = '2020-01-01' is not a number"),
        (["70X", "1Y"], "runs, row 0: N = '70X' is not a number .*; 1 more row like it"),
    ],
    ids=lambda text: repr(text)[:16],
)
def test_a_bad_column(column, problem):
    refused(problem, {"N": column, "D": [1e7, 2e7], "loss": [3.0, 2.9]})


def test_how_many_more_rows_are_bad():
    refused("; 2 more rows like it", {"N": [1.0, 0, 0, 0], "D": [1e7] * 4, "loss": [3.0] * 4})


@pytest.mark.parametrize("source", [None, 3, [1, 2], [], np.ones((2, 3)), [{"N": 1}, 2]], ids=str)
def test_not_a_table(source):
    refused(f"runs of type {type(source).__name__} cannot be read: give a path of a table", source)


def test_bad_tables():
    refused("runs: the columns do not make a table", {"N": [1, 2], "D": [1], "loss": [1]})
    refused("runs: the columns do not make a table", {"N": 1, "D": 2, "loss": 3})
    refused("it has no columns", {})
    refused("it has no columns", pd.DataFrame())
    refused(r"columns \['N'\] stand twice", pd.DataFrame([[1, 2, 3, 4]], columns=["N", "N", "D", "loss"]))
    refused("one dimension is expected", xr.Dataset({"N": ("a", [1.0]), "loss": ("b", [1.0])}))
    refused("no runs", {"N": [], "D": [], "loss": []})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"los": "loss"}}, "unknown role 'los' for column 'loss'; the roles are params, tokens"),
        ({"columns": {"loss": "x"}}, "no column 'x' for loss; the columns are N, D, loss, corpus"),
        ({"columns": {"params": "N", "tokens": "N"}}, "column 'N' is given for both params and tokens"),
        ({"columns": {"loss": "corpus"}}, "runs, row 0: corpus = 'pile' is not a number"),
        ({"units": {"params": "G"}}, "unknown unit 'G' for params; allowed are 1, K, M, B, T"),
        ({"units": {"params": "PF-days"}}, "unknown unit 'PF-days' for params"),
        ({"units": {"loss": "M"}}, "unknown unit 'M' for loss; allowed are nats, bits"),
        ({"units": {"size": "M"}}, "a unit is given for 'size'; units go with params, tokens, compute, loss"),
        ({"units": {"compute": "PF-days"}}, "a unit is given for compute, but no column"),
    ],
)
def test_bad_options(options, message):
    refused(message, COLUMNS, **options)


def test_messages_do_not_show_where_a_file_lies(csv, tmp_path):
    with pytest.raises(RunsError) as error:
        read_runs(csv("N,D\n1,2\n"))
    assert not re.search(re.escape(str(tmp_path)), str(error.value))


def test_two_columns_of_one_name_are_not_mixed():
    table = {"N": [1e7, 1e8], "D": [1e9, 1e10], "loss": [3.0, 2.5], "a/b": [1.0, 2.0], "a_b": [3.0, 4.0]}
    with pytest.raises(RunsError, match=r"would both be kept as a_b; rename one"):
        read_runs(table)


def test_numbers_where_columns_should_be():
    with pytest.raises(RunsError):
        read_runs({name: np.array(1e9) for name in ("params", "tokens", "loss")})
