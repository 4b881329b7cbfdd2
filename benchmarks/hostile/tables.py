"""Hostile tables in every format but CSV and parquet: what trackers, trainers, spreadsheets and issues hold."""

import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import bayescale
from benchmarks.hostile.inputs import TRICKS, as_bytes, borne, flipped, mutated, scratch
from benchmarks.hostile.runs import CELLS, HEADS, a_table, use_runs

ODD = [None, True, -1, 0, 1e400, float("nan"), 10**400, "x", "70B", "3,1"]
ODD += [[], [1, [2]], {"value": 3.1}, {"a": {"b": 1}}]


def _rows(rng: random.Random) -> list[dict[str, Any]]:
    heads = ["params", "tokens", "loss", *rng.sample(HEADS, rng.choice((0, 1, 3)))]
    odd = rng.choice((0.0, 0.0, 0.05, 0.5))
    return [
        {head: 10 ** rng.uniform(0, 10) if rng.random() >= odd else rng.choice(ODD) for head in heads}
        for _ in range(rng.choice((0, 1, 3, 12)))
    ]


def _json(rng: random.Random) -> str:
    rows = _rows(rng)
    kind = rng.randrange(8)
    if kind == 0:
        return "\n".join(json.dumps(row) for row in rows)
    if kind == 1:
        return json.dumps({name: [row.get(name) for row in rows] for name in (rows[0] if rows else "a")})
    if kind == 2:
        return json.dumps({name: {str(i): row.get(name) for i, row in enumerate(rows)} for name in (rows or [{}])[0]})
    if kind == 3:
        names = list(rows[0]) if rows else []
        return json.dumps({"columns": names, "index": [], "data": [list(row.values()) for row in rows]})
    if kind == 4:
        runs = [{"name": f"r{i}", "state": "finished", "config": row, "summary": row} for i, row in enumerate(rows)]
        return json.dumps(rng.choice((runs, {"runs": runs})))
    if kind == 5:
        log = [{"step": rng.choice((1, 2, 3, None, "x")), rng.choice(("loss", "eval_loss")): 3.0} | row for row in rows]
        return json.dumps({"log_history": log, "global_step": 3, "total_flos": rng.choice((1e18, None, "x"))})
    if kind == 6:
        task = {"acc,none": 0.5, "acc_stderr,none": "N/A", "alias": "x"}
        results = {f"task{i}": task | row for i, row in enumerate(rows)}
        config = rng.choice(({"model_num_parameters": 1e9}, [], None))
        counts = rng.choice(({}, [], {"task0": {}}))
        return json.dumps({"results": results, "versions": {}, "config": config, "n-samples": counts})
    return json.dumps(rows)


def _markdown(rng: random.Random) -> str:
    lines = a_table(rng).split("\n")
    lines = [f"| {line.replace(',', ' | ')} |" for line in lines if line]
    rule = "|" + "---|" * (lines[0].count("|") - 1)
    return rng.choice(("", "text before\n\n")) + "\n".join([lines[0], rule, *lines[1:]]) + rng.choice(("", "\n\nafter"))


def _chart(rng: random.Random) -> str:
    runs = [rng.choice(("Group: a", "b - c", "", "44M-20tpp", "x")) + str(i) for i in range(rng.choice((1, 3, 16)))]
    ends = rng.choice((("",), ("", "__MIN", "__MAX"), ("", "__MAX")))
    header = [rng.choice(("Step", "tokens", "run")), *(f"{run} - loss{end}" for run in runs for end in ends)]
    rows = [[str(i), *(rng.choice(("", "3.1", *CELLS[:12])) for _ in header[1:])] for i in range(rng.choice((0, 2, 9)))]
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in (header, *rows))


def _log(rng: random.Random) -> str:
    """Lines as trainers print them, with odd numbers among them."""
    step = rng.choice(("step {}: ", "iter {}: ", " iteration {:8d}/  500000 | ", "[step={}/7000,epoch=0]\n    ", "{}"))
    loss = rng.choice(
        ("train loss {}, val loss {}", "lm loss: {} | grad norm: {} |", "val_loss={} time={}ms", "loss {} {}")
    )
    lines = [
        rng.choice(("number of parameters: 123.59M", "tokens per iteration will be: 491,520", "batch = 5 * 8", ""))
    ]
    for i in range(rng.choice((2, 4, 30))):
        numbers = (rng.choice(("3.1", "2.9e0", "nan", "1" * 400, "-", *CELLS[:8])) for _ in range(2))
        lines.append(step.format(rng.choice((i, 10**i, 0))) + loss.format(*numbers))
    return "\n".join(lines)


def _history(rng: random.Random) -> str:
    """A row for each value of a metric."""
    heads = [rng.choice(("run", "run_id", "step")), "step", rng.choice(("key", "tag", "metric")), "value", "timestamp"]
    names = ("val/loss", "tokens", "n_params", "step", "", "x" * 300, *HEADS[:6])
    rows = [
        [rng.choice("ab"), str(i // 3), rng.choice(names), rng.choice(("3.1", "1e9", *CELLS[:8])), "1"]
        for i in range(rng.choice((0, 3, 30)))
    ]
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in (heads, *rows))


def _latex(rng: random.Random) -> str:
    rows = (line.replace(",", " & ") for line in a_table(rng).split("\n"))
    return rng.choice(("", "\\begin{tabular}{lrr}\n\\toprule\n")) + "\n".join(f"{row} \\\\ \\hline" for row in rows)


def _cells_of_records(rng: random.Random) -> str:
    """The CSV of W&B's example: records in cells, as Python or as JSON prints them."""
    written = rng.choice((json.dumps, repr))
    rows = [written(row).replace('"', '""') for row in _rows(rng)]
    return "name,summary,config\n" + "\n".join(f'r{i},"{row}","{row}"' for i, row in enumerate(rows))


def _sideways(rng: random.Random) -> str:
    """Runs side by side, or a column for each size."""
    cells = [line.split(",") for line in a_table(rng).split("\n")[: rng.choice((3, 5))]]
    wide = [
        [rng.choice(("params", "tokens", "N")), *(f"{10**i}M" for i in range(4))],
        *(["1e8", *CELLS[:4]] for _ in "ab"),
    ]
    rows = list(zip(*cells, strict=False)) if rng.random() < 0.5 else wide
    return "\n".join(",".join(row) for row in rows)


def _delimited(rng: random.Random) -> str:
    return a_table(rng).replace(",", rng.choice("\t;|")).replace(".", rng.choice(".,"))


def _excel(rng: random.Random) -> bytes:
    import openpyxl
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = openpyxl.Workbook(write_only=True)
    for _ in range(rng.choice((1, 1, 2))):
        sheet = book.create_sheet()
        for line in a_table(rng).split("\n"):
            sheet.append([_cell(cell) for cell in ILLEGAL_CHARACTERS_RE.sub("", line).split(",")])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _cell(text: str) -> Any:
    try:
        return float(text) if np.isfinite(float(text)) else text
    except ValueError:
        return text[:300]


TEXTS: list[Callable[[random.Random], str]] = [_json, _json, _json, _markdown, _chart, _delimited, a_table]
TEXTS += [_log, _history, _latex, _cells_of_records, _sideways]
BOMBS: list[Callable[[], bytes]] = [
    lambda: gzip.compress(bytes(200_000_000), 1),
    lambda: b"[" * 2_000_000,
    lambda: b'{"a":' * 500_000,
    lambda: b"[" + b"{}," * 1_000_000 + b"{}]",
    lambda: b'[{"a":' + b"9" * 1_000_000 + b"}]",
    lambda: b"|a|b|\n|" + b"-|" * 2 + b"\n" + b"|1|2|\n" * 300_000,
    lambda: b"|" * 1_000_000 + b"\n" + b"|-" * 500_000 + b"|",
    lambda: b"|a|\n|" + b"-" * 1_000_000 + b"x",
]


def make_tables(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.004:
        return rng.choice(BOMBS)()
    if kind < 0.08:
        raw = _excel(rng)
        return raw if rng.random() < 0.4 else flipped(rng, raw)
    text = rng.choice(TEXTS)(rng)
    raw = as_bytes(rng, text if rng.random() < 0.5 else mutated(rng, text, TRICKS + CELLS))
    if kind > 0.92:
        raw = gzip.compress(raw, 1) if rng.random() < 0.5 else _zstd(raw)
        return raw if rng.random() < 0.5 else flipped(rng, raw)
    return raw


def _zstd(raw: bytes) -> bytes:
    import pyarrow as pa

    return pa.compress(raw, codec="zstd", asbytes=True)


def bear_tables(raw: bytes) -> bool:
    path = scratch("runs")
    path.write_bytes(raw)
    return borne(lambda: use_runs(bayescale.read_runs(path), keep=sum(raw) % 8 == 0))


WORDS = [
    "run",
    "step",
    "State",
    "optim.lr",
    "`eval/loss`",
    "loss",
    "params",
    "absent",
    "'finished'",
    '"x"',
    "1e-3",
    "1.3B",
]
BETWEEN = ["==", "!=", "<", ">=", "<", "in", "not in", "and", "or", "+", "*", "/", "-", "is", "**", "="]
SOME = {
    "run": ["a", "a", "b"],
    "step": [1, 2, 3],
    "State": ["finished", "", "crashed"],
    "optim.lr": ["1e-3", "x", ""],
    "eval/loss": [3.1, 2.9, 2.8],
    "params": ["70M", 2e8, 3e8],
    "tokens": [1e9, 2e9, 3e9],
}


def _a_condition(rng: random.Random) -> str:
    parts = [rng.choice(WORDS)]
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        parts += [rng.choice(BETWEEN[:6] if rng.random() < 0.7 else BETWEEN), rng.choice(WORDS)]
        if rng.random() < 0.5:
            parts += [rng.choice(("and", "or", "and not")), rng.choice(WORDS), "==", rng.choice(WORDS)]
    text = " ".join(parts)
    return f"({text})" if rng.random() < 0.2 else text


def make_conditions(rng: random.Random) -> bytes:
    text = _a_condition(rng)
    return (text if rng.random() < 0.5 else mutated(rng, text, TRICKS + WORDS + BETWEEN)).encode(
        "utf-8", "surrogatepass"
    )


def bear_conditions(raw: bytes) -> bool:
    text = raw.decode("utf-8", "surrogateescape")
    return borne(lambda: use_runs(bayescale.read_runs(SOME, where=text)))
