"""Every format of tables, well formed and damaged: what is read equals a table made by hand."""

import gzip
import io
import json
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr

from bayescale.errors import RunsError
from bayescale.runs.lint import check_runs
from bayescale.runs.read import read_notes, read_runs
from bayescale.runs.tables import limits
from bayescale.runs.tables.formats import read_table

TABLE = {"params": [1e8, 2e8, 4e8], "tokens": [2e9, 4e9, 9e9], "loss": [3.36, 3.1, 2.875], "note": ["a", "b,c", ""]}
CSV = 'params,tokens,loss,note\n1e8,2e9,3.36,a\n2e8,4e9,3.1,"b,c"\n4e8,9e9,2.875,\n'
PLAIN = CSV.replace('"b,c"', "b")
ROWS = [dict(zip(TABLE, values, strict=True)) for values in zip(*TABLE.values(), strict=True)]
MARKDOWN = """We ran three. Results:

| params | tokens | **loss** | [note](x) |
|-------:|:------:|----------|---|
| 1e8 | 2e9 | **3.36** | `a` |
| 2e8 | 4e9 | 3.1 | b,c |
| 4e8 | 9e9 | __2.875__ | |

and more | later
"""


def excel(rows, first="runs"):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = first
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


SHEET = [[], ["params", "tokens", "loss", "note"], *zip(*TABLE.values(), strict=True)]
GOOD = {
    "comma": CSV,
    "tab": PLAIN.replace(",", "\t"),
    "semicolon": PLAIN.replace(",", ";"),
    "decimal comma": PLAIN.replace(",", ";").replace(".", ","),
    "decimal comma, three digits": "params;tokens;loss;note\n1e8;2e9;3,360;a\n2e8;4e9;3,100;b\n4e8;9e9;2,875;\n",
    "thousands between semicolons": "params;tokens;loss;note\n"
    + "100,000,000;2e9;3.36;a\n200,000,000;4e9;3.1;b\n400,000,000;9e9;2.875;\n",
    "bar": PLAIN.replace(",", "|"),
    "BOM": "\ufeff" + CSV,
    "UTF-16": CSV.encode("utf-16"),
    "UTF-16 without a mark": CSV.encode("utf-16-le"),
    "UTF-16 big": CSV.encode("utf-16-be"),
    "gzip": gzip.compress(CSV.encode()),
    "zstd": pa.compress(CSV.encode(), codec="zstd", asbytes=True),
    "records": json.dumps(ROWS, indent=1),
    "records with a mark": "\ufeff" + json.dumps(ROWS),
    "lines": "\n".join(map(json.dumps, ROWS)) + "\n",
    "packed lines": gzip.compress("\n".join(map(json.dumps, ROWS)).encode()),
    "by column": json.dumps(TABLE),
    "pandas": pd.DataFrame(TABLE).to_json(),
    "pandas split": pd.DataFrame(TABLE).to_json(orient="split"),
    "pandas table": pd.DataFrame(TABLE).to_json(orient="table", index=False),
    "under a name": json.dumps({"runs": ROWS, "count": 3}),
    "by name": json.dumps({f"r{i}": row | {"curve": [[1, 2.0]]} for i, row in enumerate(ROWS)}),
    "by name, deep": json.dumps({"seed": 1, "results": {"sweep": {f"r{i}": row for i, row in enumerate(ROWS)}}}),
    "markdown": MARKDOWN,
    "markdown without outer bars": "params|tokens|loss|note\n-|-|-|-\n" + PLAIN.partition("\n")[2].replace(",", "|"),
    "excel": excel(SHEET),
}


def workbook(**sheets):
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def bytes_of(content):
    return content if isinstance(content, bytes) else content.encode()


@pytest.fixture
def file(tmp_path):
    def write(content, name="runs"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of(content))
        return path

    return write


def refused(source, message):
    with pytest.raises(RunsError, match=message) as error:
        read_runs(source)
    assert str(error.value).isprintable() and len(str(error.value)) < 500


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("name", ["runs", "runs.csv"])
def test_every_format_gives_the_same_runs(kind, name, file):
    runs, expected = read_runs(file(GOOD[kind], name)), read_runs(TABLE)
    note = [text.replace("b,c", "b") for text in map(str, runs.note.values)]
    assert note == ["a", "b", ""] and runs.attrs["source"] == name
    runs = runs.drop_vars(["run", "note", "name"], errors="ignore")
    xr.testing.assert_equal(runs, expected.drop_vars(["run", "note"]))


def test_of_several_tables_in_markdown_the_one_with_losses(file):
    sizes = "## Models\n\n| Model | Params | Layers |\n|---|---|---|\n| tiny | 1e8 | 4 |\n\n"
    results = "## Results\n\n| Params | Tokens | Val Loss |\n|---|---|---|\n| 1e8 | 2e9 | 3.1 |\n| 2e8 | 4e9 | 2.9 |\n"
    assert list(read_runs(file(sizes + results))["loss"].values) == [3.1, 2.9]
    assert list(read_table(file(sizes)).frame.columns) == ["Model", "Params", "Layers"]


def test_tables_in_markdown_with_the_same_columns_are_read_together(file):
    first, second = (
        f"| N | D | loss |\n|-|-|-|\n| {n} | 1e9 | {loss} |\n\n" for n, loss in (("1e8", 3.1), ("2e8", 2.9))
    )
    runs = read_runs(file("# ours\n" + first + "# theirs\n" + second + "| lr | loss |\n|-|-|\n| 1 | 2 |\n"))
    assert runs.loss.values.tolist() == [3.1, 2.9] and runs.table.values.tolist() == ["no. 1", "no. 2"]
    assert "of the tables, no. 3 is left out" in read_notes(runs.attrs)[0]
    with pytest.raises(RunsError, match=r"table no\. 2, line 8: loss = -2.9 \(must be > 0\)"):
        read_runs(file(first + "# theirs\n" + second.replace("2.9", "-2.9")))


def test_of_a_workbook_the_sheets_with_runs_are_read_together(file):
    about = [["note", "note"], ["internal", "see the others"]]
    small = [["Params", "Tokens", "Loss"], [1e8, 2e9, 3.36], [2e8, 4e9, 3.1]]
    large = [["Large runs"], ["Params", "Tokens", "Loss", "who"], [4e8, 9e9, 2.875, "a"]]
    runs = read_runs(file(workbook(about=about, small=small, large=large)))
    assert runs.loss.values.tolist() == [3.36, 3.1, 2.875] and runs.sheet.values.tolist() == ["small"] * 2 + ["large"]
    (note,) = [note for note in read_notes(runs.attrs) if "sheet" in note]
    assert "2 sheets are read together; the column sheet says which one a row is from" in note
    assert "of the sheets, about is left out" in note
    alone = read_runs(file(workbook(about=about, small=small)))
    assert alone.loss.values.tolist() == [3.36, 3.1] and "sheet" not in alone
    large[2][2] = "lots"
    refused(file(workbook(small=small, large=large)), "runs, sheet large, row 3: Loss = 'lots' is not a number")


def test_a_table_without_headings_is_told_so(file):
    refused(file("1e8,2e9,3.36\n2e8,4e9,3.1\n"), "runs: its first line is 1e8, 2e9, 3.36, numbers where headings are")


def test_runs_by_name_whose_parts_are_records(file):
    runs = {f"e{i}": {"hyper": {"n_params": 1e8 * i, "tokens": 1e9}, "results": {"val_loss": 3.0}} for i in (1, 2, 3)}
    for value in (runs, {"date": "x", "experiments": runs}):
        read = read_runs(file(json.dumps(value), "runs.json"))
        assert list(read.params.values) == [1e8, 2e8, 3e8] and list(read.name.values) == [*runs]


def test_runs_by_name_in_two_parts(file):
    """As sweeps write their summary; what has no size and loss of its own is no run."""
    runs = {name: {"n_params": 10.0**i, "tokens": 1e9, "val_loss": 4 - i / 10} for i, name in enumerate("abc", start=6)}
    found = read_runs(file(json.dumps({"lr": 1e-3, "sp": runs, "mup": runs, "fit": {"alpha": {"loss": 1.0}}})))
    assert list(found["name"].values) == [*"abcabc"] and list(found["part"].values) == 3 * ["sp"] + 3 * ["mup"]
    one = {"train": {"loss": 3.1}, "val": {"loss": 3.2}, "params": 1e8}
    assert list(read_table(file(json.dumps(one))).frame.columns) == ["train.loss", "val.loss", "params"]


@pytest.mark.parametrize(
    ("kind", "where"),
    [("comma", "line 3"), ("tab", "line 3"), ("lines", "row 2"), ("records", "row 1"), ("markdown", "line 6")],
)
def test_a_bad_cell_is_named_by_its_place(kind, where, file):
    content = bytes_of(GOOD[kind]).replace(b"4000000000.0", b'"x"').replace(b"4e9", b"x")
    refused(file(content), f"^runs, {where}: tokens = 'x' is not a number")


BAD = {
    "not all of a gzip file": (gzip.compress(CSV.encode())[:40], "cannot be unpacked; it may be truncated or damaged"),
    "not all of a zstd file": (GOOD["zstd"][:40], "cannot be unpacked; it may be truncated or damaged"),
    "odd UTF-16": (CSV.encode("utf-16")[:-1], "is not UTF-8 or UTF-16 text"),
    "a row too short": (PLAIN.replace(",", ";").replace("4e9;", ""), r"line 3: 3 field\(s\), the header has 4"),
    "truncated JSON": (json.dumps(ROWS)[:-9], "line 1: not JSON: "),
    "a truncated line": ("\n".join(map(json.dumps, ROWS))[:-9], "^runs, line 3: not JSON: "),
    "a line of another kind": ('{"a":1}\n{"a":2}\n[1]\n', "record 2 .from 0. is of type list"),
    "no records": ("[[1,2],[3,4]]", "record 0 .from 0. is of type list, not names with values"),
    "deep": ("[" * 100_000, "nested too deep"),
    "deep objects": ('{"a":' * 30 + "1" + "}" * 30, "nested more than 20 deep"),
    "a long number": ('[{"params":' + "9" * 5000 + "}]", "a number too long"),
    "a short row": ('{"columns": ["a", "b"], "data": [[1, 2], [3]]}', "row 1: a list of 2 values is expected"),
    "a markdown row too long": (MARKDOWN.replace("| b,c |", "| b | c |"), r"line 6: 5 field\(s\), the header has 4"),
    "a heading twice": (MARKDOWN.replace("[note](x)", "loss"), r"line 3: columns \['loss'\] stand twice"),
    "half a workbook": (GOOD["excel"][:3000], "not a readable Excel workbook; it may be truncated"),
    "an empty workbook": (excel([["params"]]), "is empty; a header row and one row for each run are expected"),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_files(kind, file):
    content, message = BAD[kind]
    refused(file(content), message)


def test_what_unpacks_to_too_much_is_refused(file, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 1_000_000)
    zeros = b"1,1\n" * 500_000
    for packed in (gzip.compress(zeros, 1), pa.compress(zeros, codec="zstd", asbytes=True)):
        refused(file(packed), "unpacks to more than 1 MB; at most so much is read")
    refused(file(excel([["a"], *[[f"{i:0>2000}"] for i in range(1500)]])), "unpacks to more than 2 MB")


HEAD = "params,tokens,loss,note\n1e8,2e9,3.1,"
ENDLESS = {
    "markdown": "|params|tokens|loss|note|\n|-|-|-|-|\n|1e8|2e9|3.1|" + "[" * 400_000 + "|\n",
    "latex": HEAD.replace(",", " & ").replace("\n", " \\\\\n") + "a" + "\u00a0" * 200_000 + "b \\\\\n",
    "slashes of a log": "step 1: loss 3.1\n" * 3 + ("a/" * 950 + "\n") * 400,
    "digits of a log": "step 1: loss 3.1\n" * 3 + ("a=" + "1" * 1900 + "x\n") * 400,
    "heading": HEAD.replace("note", "_" * 200_000) + "a\n",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_one_sign_over_and_over_takes_no_ages(kind, file):
    began = time.process_time()
    try:
        read_runs(file(ENDLESS[kind]))
    except RunsError as error:
        assert len(str(error)) < 500
    assert time.process_time() - began < 2


def test_of_losses_none_of_which_is_a_number_none_is_the_best():
    with pytest.raises(RunsError, match="loss = 'x' is not a number"):
        read_runs({"params": [1e8, 1e8], "tokens": [1e9, 1e9], "loss": ["x", "y"]}, best_of="params")


def test_sizes_of_many_decades_beside_compute_are_read_without_a_warning(file):
    rows = "57448.4,44228.9,2.52278e6,2.12184e7\n70558,3.1,338.348,12.9467\n13496.1,26677.4,702848,11267.6\n"
    path = file("metrics.val_loss,params.n_params,metrics.tokens,FLOPs (1E21)\n" + rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_runs(read_runs(path))


def test_a_workbook_with_entities_is_not_read(file):
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD["excel"])) as book, zipfile.ZipFile(out, "w") as other:
        for name in book.namelist():
            text = book.read(name)
            text = text.replace(b"<worksheet", b'<!DOCTYPE x [<!ENTITY a "b">]><worksheet', 1)
            other.writestr(name, text)
    refused(file(out.getvalue()), "a workbook whose parts define entities of their own is not read")


# ---- what trackers and trainers write -------------------------------------------------------------------------------


def frame_of(path):
    table = read_table(path)
    return table.frame.to_dict("list"), table.notes


def test_a_chart_of_wandb(file):
    header = "Step,a-1 - val/loss,a-1 - val/loss__MIN,a-1 - val/loss__MAX,b - x - val/loss,b - x - val/loss__MIN"
    rows = [["100", "3.5", "3.4", "3.6", "", ""], ["200", "", "", "", "3.1", "3.0"], ["300", "3.2", "", "", "3.0", "2"]]
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in (header.split(","), *rows))
    columns, (note,) = frame_of(file(text))
    assert columns == {
        "run": ["a-1", "a-1", "b - x", "b - x"],
        "Step": ["100", "300", "200", "300"],
        "val/loss": ["3.5", "3.2", "3.1", "3.0"],
    }
    assert note == "a chart of 2 runs, a column each: read as 4 rows; 3 columns __MIN and __MAX are left out"
    refused(file(text), "two of params, tokens and compute are needed, found none among run, Step, val/loss")


def test_a_chart_of_groups_with_two_metrics(file):
    columns, _ = frame_of(file("Step,Group: a - m,Group: b - m,Group: a - k,Group: b - k\n1,2,3,4,\n2,,5,,6\n"))
    assert columns == {"run": ["a", "b", "b"], "Step": ["1", "1", "2"], "m": ["2", "3", "5"], "k": ["4", "", "6"]}


@pytest.mark.parametrize("header", ["a - b,c - d", "Step,x - loss,y - loss__MAX", "run,Step,a - loss", "Step,a - Step"])
def test_other_tables_with_such_headings_stay_as_they_are(header, file):
    columns, notes = frame_of(file(f"{header}\n{','.join('1' for _ in header.split(','))}\n"))
    assert list(columns) == header.split(",") and not notes


def test_scalars_of_tensorboard(file):
    path = file("Wall time,Step,Value\n1.7e9,10,3.5\n1.7e9,20,3.25\n", "run-gpt_44M-tag-eval_loss.csv")
    columns, (note,) = frame_of(path)
    assert columns == {"run": ["gpt_44M"] * 2, "step": ["10", "20"], "eval_loss": ["3.5", "3.25"]}
    assert note == "scalars of TensorBoard: eval_loss of the run gpt_44M"
    columns, _ = frame_of(file("Wall time,Step,Value\n1,10,3.5\n", "curve.csv"))
    assert columns == {"run": ["curve"], "step": ["10"], "value": ["3.5"]}


RUNS_OF_WANDB = [
    {"name": "a", "state": "finished", "config": {"n_params": 1e8, "lr": {"value": 1e-3, "desc": None}, "layers": [1]},
     "summary": {"eval/loss": 3.4, "train/tokens_seen": 2e9, "_wandb": {"runtime": 5}}},
    {"name": "b", "state": "crashed", "config": {"n_params": 2e8, "lr": {"value": 2e-3, "desc": None}},
     "summary": {"train/tokens_seen": 3e9}},
]  # fmt: skip


@pytest.mark.parametrize(("run", "metric"), [("run", "tag"), ("run_id", "key"), ("trial", "Metric")])
def test_a_row_for_each_value_of_a_metric(run, metric, file):
    lines = [f"{run},step,{metric},value,timestamp"]
    for name, params, loss in (("a", 1e8, 3.2), ("b", 2e8, 3.0)):
        for step in (100, 200):
            logged = {"n_params": params, "tokens": 1e7 * step, "val/loss": loss - step / 1e4}
            lines += [f"{name},{step},{what},{number},{number}" for what, number in logged.items()]
    runs = read_runs(file("\n".join(lines), "history.csv"))
    np.testing.assert_allclose(runs.params, [1e8, 1e8, 2e8, 2e8])
    np.testing.assert_allclose(runs.loss, [3.19, 3.18, 2.99, 2.98])
    assert f"{metric} names metrics: read as 4 rows with a column for each of 3" in read_notes(runs.attrs)
    assert read_runs(file("\n".join(lines), "history.csv"), last_of=run).sizes["run"] == 2


NANO = """Overriding config with config/train.py:
batch_size = 12
gradient_accumulation_steps = 5 * 8
tokens per iteration will be: 491,520
number of parameters: 123.59M
step 0: train loss 10.9, val loss 10.95
iter 0: loss 10.9, time 123.45ms, mfu -100.00%
step 250: train loss 4.1, val loss 4.2
iter 250: loss 4.0000, time 99.1ms, mfu 41.2%
step 500: train loss 3.5, val loss 3.6
saving checkpoint to out
"""
MEGATRON = "".join(
    f" [2026-01-01 00:00:00] iteration {step:8d}/  500000 | consumed samples: {step * 256:12d} | elapsed time per "
    f"iteration (ms): 300.1 | learning rate: 1.500E-04 | lm loss: {3 + 100 / step:.6E} | grad norm: 0.3 |\n"
    for step in (100, 200, 300)
)
TITAN = "".join(
    f"[rank0]:[titan] 2026-01-01 00:00:00,000 - root - INFO - step: {step}  loss:  {3 + 100 / step:.4f}  "
    "memory: 20.00GiB(21.05%)  tps: 7,000  mfu: 41.00%\n"
    for step in (100, 200, 300)
)
OLMO = "".join(
    f"2026-01-01\tINFO\t[step={step}/7000,epoch=0]\n    train/CrossEntropyLoss={3 + 100 / step:.3f}\n"
    f"    throughput/total_tokens={step}000000\n"
    for step in (100, 200, 300)
)
MODDED = "".join(f"step:{step}/5100 val_loss:{3 + 100 / step:.4f} train_time:12ms\n" for step in (100, 200, 300))
FAIRSEQ = "".join(
    f"2026-01-01 00:00:00 | INFO | train_inner | epoch 001:  {step} / 1234 loss={3 + 100 / step:.3f}, ppl=16, wps=100, "
    f"num_updates={step}, lr=0.0003\n"
    for step in (100, 200, 300)
)
PRINTED = "".join(
    f"{{'loss': {3 + 100 / step:.4f}, 'step': {step}, 'learning_rate': np.float64(0.0003)}}\n"
    for step in (100, 200, 300)
)


def test_a_log_of_a_trainer_with_its_sizes(file):
    runs = read_runs(file(NANO, "gpt.log"), drop_missing=True)
    np.testing.assert_allclose(runs.params, 123.59e6)
    np.testing.assert_allclose(runs.tokens, [250 * 491520, 500 * 491520])
    np.testing.assert_allclose(runs.loss, [4.2, 3.6])
    np.testing.assert_allclose(runs["batch_size"], 12)


@pytest.mark.parametrize(
    ("log", "loss"),
    [
        (MEGATRON, "lm loss"),
        (TITAN, "loss"),
        (OLMO, "train/CrossEntropyLoss"),
        (MODDED, "val_loss"),
        (FAIRSEQ, "loss"),
        (PRINTED, "loss"),
    ],
    ids=["Megatron", "torchtitan", "OLMo", "modded", "fairseq", "printed"],
)
def test_logs_of_trainers_have_a_row_a_step(log, loss, file):
    frame = read_table(file(log, "run.out")).frame
    assert frame["step"].astype(float).tolist() == [100, 200, 300]
    np.testing.assert_allclose(frame[loss].astype(float), [4, 3.5, 3 + 1 / 3], rtol=1e-3)


def test_prose_about_steps_is_no_log(file):
    text = "params,tokens,loss,note\n" + "1e8,2e9,3.1,at step 100 the loss was 3.2\n" * 4 + "2e8,4e9,2.9,fine\n"
    assert read_runs(file(text, "runs.csv")).sizes["run"] == 5


def test_runs_of_wandb_as_json(file):
    columns, _ = frame_of(file(json.dumps(RUNS_OF_WANDB)))
    assert columns == {
        "name": ["a", "b"],
        "state": ["finished", "crashed"],
        "config.n_params": [1e8, 2e8],
        "config.lr": [1e-3, 2e-3],
        "summary.eval/loss": [3.4, ""],
        "summary.train/tokens_seen": [2e9, 3e9],
        "summary._wandb.runtime": [5, ""],
    }
    refused(file(json.dumps(RUNS_OF_WANDB)), "row 1: summary.eval/loss is empty")
    runs = read_runs(file(json.dumps(RUNS_OF_WANDB[:1])))
    assert (runs.params.item(), runs.tokens.item(), runs.loss.item()) == (1e8, 2e9, 3.4)


def test_runs_of_mlflow(file):
    head = "run_id,status,artifact_uri,metrics.val_loss,metrics.tokens,params.n_params,params.lr,tags.mlflow.runName\n"
    runs = read_runs(file(head + "1a,FINISHED,s3:x,3.4,2e9,1e8,.001,first\n2b,FINISHED,s3:y,3.1,4e9,2e8,.001,second\n"))
    assert list(runs.loss.values) == [3.4, 3.1] and list(runs.params.values) == [1e8, 2e8]


STATE = {
    "global_step": 30,
    "total_flos": 1.2e18,
    "num_input_tokens_seen": 2_000_000_000,
    "log_history": [
        {"epoch": 0.1, "loss": 3.9, "learning_rate": 1e-3, "step": 10},
        {"epoch": 0.1, "eval_loss": 3.8, "eval_runtime": 1.0, "step": 10},
        {"epoch": 0.3, "loss": 3.4, "step": 30},
        {"epoch": 0.3, "eval_loss": 3.36, "step": 30},
        {"epoch": 0.3, "step": 30, "total_flos": 1.2e18, "train_loss": 3.7, "train_runtime": 99.0},
    ],
}


def test_what_has_logged_nothing_is_said_to_be_empty(tmp_path):
    path = tmp_path / "trainer_state.json"
    path.write_text('{"log_history": [], "global_step": 0}')
    with pytest.raises(RunsError, match="it has no columns: no run is in it, or nothing was logged"):
        read_runs(path)


def test_the_state_of_a_trainer(file):
    columns, _ = frame_of(file(json.dumps(STATE)))
    assert columns["step"] == [10, 30] and columns["eval_loss"] == [3.8, 3.36] and columns["train_loss"] == [3.9, 3.4]
    assert columns["total_flops"] == ["", 1.2e18] and columns["num_input_tokens_seen"] == ["", 2_000_000_000]
    assert "train_runtime" not in columns
    last = file(json.dumps(STATE | {"log_history": STATE["log_history"][2:]}))
    runs = read_runs(last)
    assert runs.params.item() == pytest.approx(1e8) and runs.loss.item() == 3.36
    assert read_notes(runs.attrs) == ["train_loss is not read as loss (--column loss=train_loss if it should be)"]
    assert frame_of(file(json.dumps({"log_history": []})))[0] == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(STATE)[:-9], "line 1: not JSON"),
        (json.dumps(STATE | {"log_history": [7, *STATE["log_history"]]}), "no column for loss among global_step"),
        (json.dumps({"results": {"arc": {"acc,none": 0.6}}, "versions": {}})[:-9], "line 1: not JSON"),
        ("Wall time,Step,Value\n1.7e9,10,3.5\n1.7e9,3.25\n", r"line 3: 2 field\(s\), the header has 3"),
    ],
)
def test_what_trainers_write_when_damaged(content, message, file):
    refused(file(content), message)


def test_results_of_an_evaluation(file):
    results = {
        "results": {
            "arc_easy": {"acc,none": 0.6, "acc_stderr,none": 0.01, "alias": "arc_easy"},
            "gsm8k": {"exact_match,strict": 0.2, "exact_match_stderr,strict": "N/A", "exact_match,flexible": 0.3},
        },
        "config": {"model": "hf", "model_args": "pretrained=x", "model_num_parameters": 44_000_000},
        "n-samples": {"arc_easy": {"original": 2376, "effective": 2300}, "gsm8k": 1319},
        "versions": {},
    }
    columns, _ = frame_of(file(json.dumps(results)))
    assert columns == {
        "model": ["pretrained=x"] * 3,
        "params": [44_000_000] * 3,
        "task": ["arc_easy", "gsm8k", "gsm8k"],
        "filter": ["", "strict", "flexible"],
        "items": [2300, 1319, 1319],
        "acc": [0.6, "", ""],
        "acc_stderr": [0.01, "", ""],
        "exact_match": ["", 0.2, 0.3],
        "exact_match_stderr": ["", "", ""],
    }


# ---- several files --------------------------------------------------------------------------------------------------


def test_several_files_and_a_folder(file, tmp_path):
    paths = [file(CSV, "all/one.csv"), file(json.dumps(ROWS[:2]), "all/two.json")]
    file("not a table", "all/notes.log")
    for source in (paths, [str(path) for path in paths], tmp_path / "all"):
        runs = read_runs(source)
        assert list(runs.file.values) == ["one"] * 3 + ["two"] * 2 and runs.attrs["source"] == "2 files"
        assert list(runs.run.values) == [0, 1, 2, 3, 4] and list(runs.loss.values) == [3.36, 3.1, 2.875, 3.36, 3.1]
        assert read_notes(runs.attrs) == ["2 files are read together; the column file says which file a row is from"]
    assert read_runs(paths[:1]).identical(read_runs(paths[0]))


def test_of_a_folder_what_has_no_loss_and_no_size_is_left_out(file, tmp_path):
    for run, params in (("a", 1e8), ("b", 2e8)):
        file(json.dumps({"val/loss": 3.0, "n_params": params, "tokens": 1e9}), f"w/{run}/wandb-summary.json")
        file(json.dumps({"os": "Linux", "python": "3.13"}), f"w/{run}/wandb-metadata.json")
        file("numpy==2.4\npandas==3.0\n", f"w/{run}/requirements.txt")
    runs = read_runs(tmp_path / "w")
    assert list(runs.params.values) == [1e8, 2e8] and list(runs.file.values) == ["a", "b"]
    told = "4 files of the folder have neither a loss nor a size and are left out, such as requirements.txt and "
    assert told + "wandb-metadata.json" in read_notes(runs.attrs)
    with pytest.raises(RunsError, match="no column for loss"):
        read_runs([tmp_path / "w" / "a" / "requirements.txt", tmp_path / "w" / "b" / "requirements.txt"])
    (tmp_path / "w/a/wandb-summary.json").unlink(), (tmp_path / "w/b/wandb-summary.json").unlink()
    with pytest.raises(RunsError, match="4 files: none of them has a column of a loss or of a size"):
        read_runs(tmp_path / "w")


def test_files_of_one_name_are_told_apart_by_their_folders(file, tmp_path):
    for name in ("a", "b"):
        file(json.dumps(STATE | {"log_history": STATE["log_history"][2:]}), f"runs/{name}/trainer_state.json")
    assert list(read_runs(tmp_path / "runs").file.values) == ["a", "b"]


def test_a_bad_cell_in_one_of_several_files(file):
    refused([file(CSV, "one.csv"), file(CSV.replace("4e9", "x"), "two.csv")], "^two.csv, line 3: tokens = 'x'")
    refused([file(CSV, "one.csv"), file("params,loss\n1,2\n", "two.csv")], "^two.csv, line 2: tokens is empty")


def test_limits_hold_for_all_files_together(file, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ROWS", 5)
    refused([file(CSV, "one.csv"), file(CSV, "two.csv")], "2 files: more than 5 rows or .* cells together")


# ---- tables in memory -----------------------------------------------------------------------------------------------

FRAME = pd.DataFrame(TABLE)
IN_MEMORY = {
    "nullable": FRAME.convert_dtypes(),
    "arrow types": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "categorical": FRAME.astype({"params": "category", "note": "category"}),
    "polars": pl.DataFrame(TABLE),
    "lazy": pl.LazyFrame(TABLE),
    "pyarrow": pa.table(TABLE),
    "xarray": xr.Dataset({name: ("model", values) for name, values in TABLE.items()}),
    "records": ROWS,
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_tables_in_memory(kind):
    xr.testing.assert_equal(read_runs(IN_MEMORY[kind]), read_runs(TABLE))


def test_a_lazy_frame_that_cannot_be_collected(tmp_path):
    refused(pl.scan_parquet(tmp_path / "absent.parquet"), "runs: the table cannot be made: ")


def test_missing_values_of_frames_are_named():
    table = pl.LazyFrame({"params": [1e8, None], "tokens": [2e9, 2e9], "loss": [3.0, 2.9]})
    refused(table, "row 1: params is missing or NaN")
    assert np.isfinite(read_runs(table.head(1)).loss.item())


def test_what_an_index_says_is_a_column():
    frame = pd.DataFrame({"params": [1e8, 2e8], "tokens": [1e9, 2e9], "loss": [3.3, 3.2]})
    plain = read_runs(frame)
    for one in (
        frame.groupby(["params", "tokens"]).mean(),
        frame.set_index("params"),
        frame.set_index("params", drop=False),
    ):
        np.testing.assert_array_equal(read_runs(one).params, plain.params)
    named = read_runs(frame.set_axis(["a", "mean"], axis=0))
    assert named["index"].values.tolist() == ["a", "mean"]
    several = frame.set_axis(
        pd.MultiIndex.from_tuples([("size", "params"), ("size", "tokens"), ("eval", "loss")]), axis=1
    )
    assert read_runs(several).loss.values.tolist() == [3.3, 3.2]
    assert read_runs(frame.iloc[::-1]).loss.values.tolist() == [3.2, 3.3]
