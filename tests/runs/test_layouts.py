"""Tables as sheets, papers and trackers lay them out, well formed and damaged: what is read equals one made by hand."""

import io
import json
import re

import numpy as np
import pytest

from bayescale.errors import RunsError
from bayescale.runs.read import read_notes, read_runs, read_text

HAND_MADE = {"params": [1e8, 2e8, 4e8], "tokens": [2e9, 4e9, 9e9], "loss": [3.36, 3.125, 2.875]}
ROWS = [dict(zip(HAND_MADE, values, strict=True)) for values in zip(*HAND_MADE.values(), strict=True)]
LINES = "1e8,2e9,3.36\n2e8,4e9,3.125\n4e8,9e9,2.875\n"
CSV = "params,tokens,loss\n" + LINES


def excel(*rows):
    import openpyxl

    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


VALUES = [list(row.values()) for row in ROWS]
IN_UNITS = [[100, 2, 3.36], [200, 4, 3.125], [400, 9, 2.875]]
OF_WANDB = [
    {"summary": {"val_loss": r["loss"], "tokens": r["tokens"]}, "config": {"n_params": r["params"]}} for r in ROWS
]
MARKDOWN = """Table 3.

| Model | Params | Tokens | Val loss (nats)† |
|:--|--:|--:|:--:|
| **a**<sup>1</sup> | 100M | 2B | 3.36* |
| b | 200M | 4B | **3.125**‡ |
| c | 400M | 9B | 2.875[^1] |

[^1]: again
"""


def export(write):
    """As W&B's own example writes runs: a text of its settings and one of its results in each row."""
    lines = [f'{i},"{write(run["summary"])}","{write(run["config"])}",r{i}' for i, run in enumerate(OF_WANDB)]
    return "\n".join([",summary,config,name", *lines]) + "\n"


def as_json(value):
    return json.dumps(value).replace('"', '""')


def of_tracker(head, line):
    """A table with a line for each run: i, its position, and what it is."""
    return head + "".join(f"{line.format(i=i, **row)}\n" for i, row in enumerate(ROWS))


# file, and what damages it: a text, what it becomes, the message
FILES = {
    "a title": ("Sweep, spring\n\n" + CSV, ("4e9", "x1"), "line 5: tokens = 'x1'"),
    "comments": ("# of 2026\n# ours\n" + CSV, ("4e9,", ""), r"line 5: 2 field\(s\), the header has 3"),
    "a title of a spreadsheet": ("Sweep,,\n,,\n" + CSV, ("2e8", "0"), r"line 5: params = 0 .must be > 0.; --where"),
    "a title above semicolons": (
        "Sweep\n" + CSV.replace(",", ";").replace(".", ","),
        ("3,36", "3,3,6"),
        "line 3: loss = '3,3,6' is not a number",
    ),
    "two lines of headings": ("Size,,Result\n" + CSV, ("3.125", ""), "line 4: loss is empty"),
    "a line of units": (
        "params,tokens,loss\nM,B,nats\n100,2,3.36\n200,4,3.125\n400,9,2.875\n",
        ("200", "x1"),
        r"line 4: params \(M\) = 'x1' is not a number",
    ),
    "commas at the end": (
        "params,tokens,loss\n" + LINES.replace("\n", ",,\n"),
        ("3.125,,", "3.125,,x"),
        r"line 3: 5 field\(s\), the header has 3",
    ),
    "between blanks": (
        " params   tokens   loss\n    1e8      2e9   3.36\n    2e8      4e9  3.125\n    4e8      9e9  2.875\n",
        ("    2e8", ""),
        "no column for loss among params   tokens   loss",
    ),
    "of Western Windows": (
        CSV.replace("loss\n", "loss,größe\n").replace("5\n", "5,é\n").replace("6\n", "6,–\n").encode("cp1252"),
        (b"\xe9", b"\x81"),
        "is not UTF-8 or UTF-16 text; save it as CSV in UTF-8",
    ),
    "an Excel title": (
        excel(["Sweep of spring"], ["by", "Jane"], [], list(HAND_MADE), *VALUES),
        None,
        "not a readable Excel workbook",
    ),
    "Excel with a row of units": (
        excel(["params", "tokens", "loss"], ["(M)", "(B)", "-"], *IN_UNITS),
        None,
        "not a readable Excel workbook",
    ),
    "Excel with marks beside": (
        excel(list(HAND_MADE), VALUES[0], [*VALUES[1], "", "again?"], VALUES[2]),
        None,
        "not a readable Excel workbook",
    ),
    "footnotes": (MARKDOWN, ("4B", "4X"), r"line 6: Tokens = '4X' is not a number"),
    "records as Python prints them": (export(str), ("3.125", "3x"), "no column for loss among column_1, summary"),
    "records as JSON in cells": (
        export(as_json),
        ("3.125", '""3x""'),
        "line 3: summary.val_loss = '3x' is not a number",
    ),
    "records in JSON": (
        json.dumps([{name: json.dumps(value) for name, value in run.items()} for run in OF_WANDB]),
        ("3.125", "null"),
        "row 1: summary.val_loss is empty",
    ),
    "an answer of GraphQL": (
        json.dumps({"data": {"project": {"runs": {"edges": [{"node": run} for run in ROWS]}}}}),
        ("3.125", '"3x"'),
        "row 1: loss = '3x' is not a number",
    ),
    "rows with a header in JSON": (
        json.dumps([list(HAND_MADE), *VALUES]),
        (", 3.125", ""),
        "row 1: a list of 3 values is expected",
    ),
    "columns and a constant in JSON": (
        json.dumps({"seed": 1, "about": {"gpu": "A100"}, **HAND_MADE}),
        ("4000000000.0, ", ""),
        "no column for loss among seed, about.gpu",
    ),
    "runs of W&B": (
        of_tracker(
            "Name,State,Notes,Tags,Created,Runtime,lr,n_params,tokens,val/loss\n",
            "r{i},finished,-,,2026-01-01T00:00:00.000Z,99,.001,{params},{tokens},{loss}",
        ),
        ("3.125", "Infinity"),
        r"line 3: val/loss = inf .must be finite",
    ),
    "a history of W&B": (
        of_tracker("", '{{"_step": {i}, "_runtime": 9, "val/loss": {loss}, "n_params": {params}, "tokens": {tokens}}}'),
        ("3.125", '"NaN"'),
        "row 2: val/loss is missing or NaN",
    ),
    "a chart of W&B": (
        "Step,"
        + ",".join(f"{run} - {what}" for run in "abc" for what in ("n_params", "tokens", "val/loss"))
        + "\n1,"
        + LINES.strip().replace("\n", ",")
        + "\n",
        ("3.125,", ""),
        r"line 2: 9 field\(s\), the header has 10",
    ),
    "runs of MLflow": (
        of_tracker(
            "run_id,status,artifact_uri,metrics.val_loss,metrics.tokens,params.n_params,params.lr\n",
            "{i}a,FINISHED,s3:x,{loss},{tokens},{params},.001",
        ),
        ("3.125", ""),
        "line 3: metrics.val_loss is empty",
    ),
    "a history of MLflow": (
        of_tracker(
            "run_id,step,key,value,timestamp\n",
            "r{i},9,params,{params},1\nr{i},9,tokens,{tokens},1\nr{i},9,val_loss,{loss},1",
        ),
        ("3.125", "3x"),
        "row 1: val_loss = '3x' is not a number",
    ),
    "metrics of Lightning": (
        of_tracker("epoch,n_params,step,tokens,train_loss,val_loss\n", "{i},{params},{i}99,{tokens},,{loss}"),
        ("3.125", ""),
        "line 3: val_loss is empty",
    ),
    "a log": (
        of_tracker("", "step {i}: n_params {params:.0f}, tokens {tokens:.0f}, val loss {loss}"),
        ("n_params 2", "n_params -2"),
        r"row 1: n_params = -2e.08 .must be > 0",
    ),
}


LATEX = r"""
\begin{tabular}{lll}
\toprule
params ($10^6$) & tokens & \# loss \\ \midrule
10 & 1B & \textbf{3.5} \\[2pt] % the first
100 & 2B & 3.125 \\ \hline
1000 & 4B & $2.875$ \\
\bottomrule
\end{tabular}
"""
SIDEWAYS = "model,a,b,c\nparams,10M,100M,1B\ntokens,1e9,2e9,4e9\nloss,3.5,3.125,2.875\n"


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "runs"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("kind", FILES)
def test_it_equals_a_table_made_by_hand(kind, file):
    content, _, _ = FILES[kind]
    runs = read_runs(file(content))
    for name, values in HAND_MADE.items():
        np.testing.assert_allclose(runs[name].values, values, rtol=1e-12)


@pytest.mark.parametrize("kind", FILES)
def test_it_is_refused_with_one_sentence_when_damaged(kind, file):
    content, change, message = FILES[kind]
    damaged = content[: len(content) // 2] if change is None else content.replace(*change, 1)
    assert damaged != content
    with pytest.raises(RunsError, match=message) as error:
        read_runs(file(damaged))
    assert str(error.value).isprintable() and len(str(error.value)) < 500


def test_powers_of_ten_below_a_header_are_no_units(file):
    runs = read_runs(file("params,tokens,compute,loss\n1e7,1e9,1e17,1e0\n1e8,1e9,6e17,2\n"), units={"compute": "FLOP"})
    assert runs.params.values.tolist() == [1e7, 1e8]


def test_what_stands_above_a_header_is_said(file):
    runs = read_runs(file(FILES["comments"][0]))
    assert list(runs.run.values) == [4, 5, 6]
    assert read_notes(runs.attrs) == ["2 lines above the header are left out: # of 2026 # ours"]  # it may say a unit
    assert read_text(read_runs(file(FILES["a line of units"][0])).attrs).startswith("loss = loss (nats) [nats], params")


@pytest.mark.parametrize("cells", ["3.36 ± .02,3.125+/-.01,2.875 ± .01", "3.36(2),3.125(10),2.875(10)"])
def test_errors_beside_numbers_are_a_column_of_their_own(cells, file):
    header, *lines = CSV.splitlines()
    texts = [",".join([*line.split(",")[:2], cell]) for line, cell in zip(lines, cells.split(","), strict=True)]
    path = file("\n".join([header, *texts]))
    plain, known = read_runs(path), read_runs(path, columns={"loss_se": "loss error"})
    assert plain.loss.values.tolist() == HAND_MADE["loss"] and "loss_se" not in plain
    np.testing.assert_allclose(known.loss_se, [0.02, 0.01, 0.01])
    assert read_notes(plain.attrs)[0] == "numbers have errors beside them, read as loss error"
    assert "--column 'loss_se=loss error' adds it" in read_notes(plain.attrs)[1]


def test_records_in_cells_are_never_evaluated(file):
    text = '__import__("os").system("touch /tmp/x")'.replace('"', '""')
    runs = read_runs(file(export(lambda value: f"{str(value)[:-1]}, 'x': {text}, 'y': np.float64(2.5), 'z': nan}}")))
    assert "summary.x" not in runs and (runs["summary.y"].values == 2.5).all()
    lines = [f"{line},{{{'-' * 9000}}}" for line in CSV.splitlines()[1:]]
    assert "deep" in read_runs(file("\n".join(["params,tokens,loss,deep", *lines])))


def test_a_page_of_the_web_is_no_table(file):
    with pytest.raises(RunsError, match="runs: an HTML or XML page, no table; download the table itself"):
        read_runs(file("\n<!DOCTYPE html><table><tr><td>params"))


@pytest.mark.parametrize("content", [LATEX, SIDEWAYS, SIDEWAYS.replace(",", " & ").replace("\n", " \\\\\n")])
def test_tables_of_papers(content, file):
    runs = read_runs(file(content))
    assert runs.params.values.tolist() == [1e7, 1e8, 1e9] and runs.tokens.values.tolist() == [1e9, 2e9, 4e9]
    assert runs.loss.values.tolist() == [3.5, 3.125, 2.875]
    assert (content is LATEX) or read_notes(runs.attrs)[0].startswith("rows and columns are exchanged")


def test_a_column_for_each_size(file):
    runs = read_runs(file("tokens (B),10M,100M,1000000000\n1,3.5,3.3,\n2,3.4,3.125,2.9\n"))
    assert runs.params.values.tolist() == [1e7, 1e7, 1e8, 1e8, 1e9] and runs.tokens.values[:2].tolist() == [1e9, 2e9]
    assert runs.loss.values.tolist() == [3.5, 3.4, 3.3, 3.125, 2.9]
    assert read_notes(runs.attrs)[0] == "headings are read as params, what stands below them as losses: 5 rows"
    for other in ("tokens,2019,2020,2021\n1e9,3,2,1\n", "tokens,10M,100M,1B\n1e9,3,lots,1\n"):
        with pytest.raises(RunsError, match="no column for loss among tokens"):
            read_runs(file(other))
    runs = read_runs(file("params,1B tokens,2B tokens,4B tokens\n1e7,3.5,3.4,3.3\n1e8,3.3,3.125,3\n"))
    assert runs.tokens.values.tolist() == [1e9, 1e9, 2e9, 2e9, 4e9, 4e9] and runs.params.values[1] == 1e8
    with pytest.raises(RunsError, match="no column for loss among params, 1B params"):
        read_runs(file("params,1B params,2B params,4B params\n1e7,3.5,3.4,3.3\n1e8,3.3,3.125,3\n"))
    rows = [
        {"tokens": 1e9, "10M": 3.5, "100M": 10**400, "1B": 2.9},
        {"tokens": 2e9, "10M": 3.4, "100M": 3.1, "1B": 2.8},
    ]
    with pytest.raises(RunsError, match="no column for loss among tokens"):
        read_runs(file(json.dumps(rows)))


@pytest.mark.parametrize("cells", [("3.5 (0.02)", "3.125", "2.875 (.01)"), ("3.5 ± .02", "3.125", "2.875(10)")])
def test_some_numbers_have_errors(cells, file):
    lines = [f"{10.0**power},1e9,{cell}" for power, cell in zip((7, 8, 9), cells, strict=True)]
    assert read_runs(file("\n".join(["params,tokens,loss", *lines]))).loss.values.tolist() == [3.5, 3.125, 2.875]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x80\x04abc", "a pickle"),
        (b"\x89HDF\r\n", "an HDF5 file, such as a saved fit"),
        (":W&B\0\0\0", "a log of Weights & Biases itself, which is not read"),
        ('{"cells": [], "nbformat": 4}', "a notebook, no table"),
    ],
)
def test_what_is_no_table_is_told_what_it_is(content, what, file):
    with pytest.raises(RunsError, match=f"runs: {what}"):
        read_runs(file(content))


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("runs.yaml", "- params: 1e8\n  tokens: 1e9\n  loss: 3.5\n", "YAML"),
        ("runs.toml", "[[run]]\nparams = 1e8\nloss = 3.5\n", "TOML"),
    ],
)
def test_texts_of_other_formats_are_told_by_their_ending(name, text, what, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(RunsError, match=f"{name}: {what}, which is not read; save the runs as JSON or CSV"):
        read_runs(tmp_path / name)
    (tmp_path / name).write_text('[["params", "tokens", "loss"], [1e8, 1e9, 3.5]]')  # the content decides
    assert read_runs(tmp_path / name).sizes["run"] == 1


def test_a_row_of_powers_of_ten_and_nats_a_token(file):
    runs = read_runs(file("N,D,L\n10^6,10^9,nat/token\n100,2,3.5\n200,4,3.25\n400,8,3.0\n"))
    assert runs.params.values.tolist() == [1e8, 2e8, 4e8] and runs.tokens.values.tolist() == [2e9, 4e9, 8e9]


@pytest.mark.parametrize(
    "more", ["# second half\n", "* diverged once,,\n", "params,tokens,loss\n", "# a\nparams,tokens,loss\n† b\n"]
)
def test_remarks_and_headers_among_the_rows_are_left_out_and_said(more, file):
    runs = read_runs(file(f"params,tokens,loss\n1e8,1e9,3.5\n{more}2e8,2e9,3.25\n4e8,4e9,3.0\n{more}"))
    assert list(runs.params.values) == [1e8, 2e8, 4e8] and next(iter(runs.run.values)) == 2
    (note,) = read_notes(runs.attrs)
    assert note.startswith(f"{2 * more.count(chr(10))} lines are left out as remarks or headers")
    (note,) = read_notes(read_runs(file("params,tokens,loss\n1e8,1e9,3.5\n# half\n2e8,2e9,3.25\n4e8,4e9,3.0\n")).attrs)
    assert note == "one line is left out as remarks or headers: # half"


@pytest.mark.parametrize(
    "names", [("loss_seed0", "loss_seed1"), ("val loss (seed 0)", "val loss (seed 1)"), ("run0/loss", "run1/loss")]
)
def test_losses_of_seeds_side_by_side_are_runs_of_their_own(names, file):
    text = f"params,tokens,{','.join(names)}\n1e8,1e9,3.5,3.25\n2e8,2e9,3.0,\n"
    runs = read_runs(file(text))
    assert runs.params.values.tolist() == [1e8, 2e8, 1e8] and runs.loss.values.tolist() == [3.5, 3.0, 3.25]
    assert runs.seed.values.tolist() == [0, 0, 1]
    (note,) = read_notes(runs.attrs)
    assert note.startswith(f"{names[0]} and {names[1]} are losses of one run with other seeds")
    with pytest.raises(RunsError, match=f"the columns are .*seed.*{re.escape(note)}"):
        read_runs(file(text), columns={"loss": names[0]})
    assert read_runs(file(text), where="seed == 1").loss.values.tolist() == [3.25]


@pytest.mark.parametrize("mean", ["loss", "loss_mean", "avg_loss", "final_loss"])
def test_losses_of_seeds_beside_their_mean_are_not_read_and_that_is_said(mean, file):
    runs = read_runs(file(f"params,tokens,{mean},loss_seed0,loss_seed1\n1e8,1e9,3.5,3.75,3.25\n"))
    assert runs.loss.values.tolist() == [3.5]
    assert f"loss_seed0 and loss_seed1 stand beside {mean}, which is read" in read_notes(runs.attrs)[0]


def test_losses_of_seeds_are_read_beside_a_loss_in_training(file):
    runs = read_runs(file("params,tokens,train_loss,val_loss_seed0,val_loss_seed1\n1e8,1e9,3.5,3.75,3.25\n"))
    assert runs.loss.values.tolist() == [3.75, 3.25]


@pytest.mark.parametrize("sep", ["  ", " ", "\t"])
def test_a_printed_table_whose_rows_are_counted(sep, file):
    rows = (sep.join(row) for row in (("0", "1e8", "1e9", "3.5"), ("1", "2e8", "2e9", "3.25")))
    runs = read_runs(file("\n".join((sep.join(("params", "tokens", "loss")), *rows))))
    assert list(runs.loss.values) == [3.5, 3.25] and list(runs.row.values) == [0, 1]


def test_decimal_commas_before_suffixes_between_semicolons(file):
    runs = read_runs(file("params;tokens;loss\n0,070B;1,300B;3,512\n0,160B;2,6B;3,25\n"))
    assert list(runs.params.values) == [7e7, 1.6e8] and list(runs.tokens.values) == [1.3e9, 2.6e9]
    assert list(runs.loss.values) == [3.512, 3.25]
