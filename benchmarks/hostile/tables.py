"""Hostile tables in every format but CSV and parquet: what trackers, trainers, spreadsheets and issues hold."""

import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import bayescale
from benchmarks.hostile.inputs import TRICKS, as_bytes, borne, flipped, mutated
from benchmarks.hostile.runs import CELLS, HEADS, a_table, use_runs

TRACKED = [*("epoch", "step", "status", "State", "run_id", "lr", "tags.x", "Params (M)", "FLOPs (1E21)", "tokens_B")]
TRACKED += [*("loss (bits)", "train/loss", "val_loss error", "batch_size", "n_layers", "d_model", "seq_len", "seed")]
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
    names = list(rows[0]) if rows else []
    kind = rng.randrange(6)
    if kind == 0:
        return "\n".join(map(rng.choice((json.dumps, repr)), rows))
    if kind == 1:
        return json.dumps({name: [row.get(name) for row in rows] for name in (names or "a")})
    if kind == 2:
        return json.dumps({name: {str(i): row.get(name) for i, row in enumerate(rows)} for name in names})
    if kind == 3:
        return json.dumps({"columns": names, "index": [], "data": [list(row.values()) for row in rows]})
    if kind == 4:
        by_name = {f"r{i}": rng.choice((row, {"a": row}, [row])) for i, row in enumerate(rows)}
        return json.dumps(rng.choice((by_name, {"seed": 1, "x": {"y": by_name}}, {"runs": by_name})))
    return json.dumps(rows)


def _wandb(rng: random.Random) -> str:
    states = ("finished", "running", None, 3)
    runs = [
        {"name": f"r{i}", "state": rng.choice(states), "config": {"lr": {"value": 1e-3}} | row, "summary": row}
        for i, row in enumerate(_rows(rng))
    ]
    edges = {"data": {"project": {"runs": {"edges": [{"node": run, "cursor": "x"} for run in runs]}}}}
    return json.dumps(rng.choice((runs, {"runs": runs}, edges)))


def _trainer_state(rng: random.Random) -> str:
    rows = _rows(rng)
    log = [{"step": rng.choice((1, 2, 3, None, "x")), rng.choice(("loss", "eval_loss")): 3.0} | row for row in rows]
    seen = rng.choice((1e9, 0, None, "x", [], {}))
    return json.dumps({"log_history": log, "global_step": 3, "total_flos": seen, "num_input_tokens_seen": seen})


def _evaluation(rng: random.Random) -> str:
    task = {"acc,none": 0.5, "acc_stderr,none": "N/A", "alias": "x"}
    results = {f"task{i}": task | row for i, row in enumerate(_rows(rng))}
    config = rng.choice(({"model_num_parameters": 1e9}, [], None))
    counts = rng.choice(({}, [], {"task0": {}}, {"task0": {"effective": rng.choice((9, None, "x"))}}))
    return json.dumps({"results": results, "versions": {}, "config": config, "n-samples": counts})


def _tracker(rng: random.Random) -> str:
    """CSV as MLflow, Lightning and TensorBoard write it: prefixes, units, gaps, unfinished runs, errors in cells."""
    heads = [*("metrics.val_loss", "params.n_params", "metrics.tokens"), *rng.sample(TRACKED, rng.randrange(6))]
    heads = rng.choice((heads, heads, ["Wall time", "Step", "Value"]))
    cells = ("", "FINISHED", "crashed", "3.36 ± .01", "3.36(1)", "1,300,000,000", "70M", "1e3 B", *CELLS[:14])
    rows = [
        [rng.choice(cells) if rng.random() < 0.2 else f"{10 ** rng.uniform(0, 10):.6g}" for _ in heads]
        for _ in range(rng.choice((0, 3, 12)))
    ]
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in (heads, *rows))


def _long(rng: random.Random) -> str:
    """One piece over and over in one place: patterns and loops that look at it again and again take ages."""
    piece = rng.choice(("\\", "|", "(", "*", "<sup>", "<sup", "[^", "![", "**", "_", "[", *TRICKS, *CELLS))
    table = rng.choice((_markdown, _latex, _log, _json, _history, _chart, _tracker, _sideways, a_table))(rng)
    i = rng.randint(0, len(table))
    return table[:i] + piece * (200_000 // max(1, len(piece))) + table[i:]


def _markdown(rng: random.Random) -> str:
    lines = a_table(rng).split("\n")
    lines = [f"| {line.replace(',', ' | ')} |" for line in lines if line] or ["|"]
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
    odd, before = (
        rng.choice((0.0, 0.3)),
        rng.choice(("", "tokens seen: {}, ", "tokens per iteration will be: 491,520, ")),
    )
    for i in range(rng.choice((2, 4, 30))):
        numbers = (
            rng.choice(("2.9e0", "nan", "1" * 400, "-", *CELLS[:8])) if rng.random() < odd else "3.1" for _ in range(2)
        )
        at = rng.choice((i, 10**i, 0)) if rng.random() < odd else i + 1
        lines.append(step.format(at) + before.format(at * 10**6) + loss.format(*numbers))
    return "\n".join(lines)


def _history(rng: random.Random) -> str:
    """A row for each value of a metric."""
    heads = [rng.choice(("run", "run_id", "step")), "step", rng.choice(("key", "tag", "metric")), "value", "timestamp"]
    names = ("val/loss", "tokens", "n_params", "step", "", "x" * 300, *HEADS[:6])
    odd = rng.choice((0.0, 0.05, 0.5))
    rows = [
        ["ab"[i % 2], str(i // 6), names[i // 2 % 3], rng.choice(("3.1", "1e9")), "1"]
        if rng.random() >= odd
        else [rng.choice("ab"), str(i // 3), rng.choice(names), rng.choice(CELLS[:8]), "1"]
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
        [rng.choice(("params", "tokens", "N")), *(f"{10**i}M" for i in range(2, 6))],
        *([size, *rng.sample(("3.1", "2.9", "2.8", "3", *CELLS[7:10]), 4)] for size in ("1e8", "2e8")),
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


TEXTS: dict[str, Callable[[random.Random], str]] = {
    "json": _json,
    "wandb": _wandb,
    "trainer_state": _trainer_state,
    "evaluation": _evaluation,
    "tracker": _tracker,
    "markdown": _markdown,
    "chart": _chart,
    "delimited": _delimited,
    "log": _log,
    "history": _history,
    "latex": _latex,
    "record_cells": _cells_of_records,
    "sideways": _sideways,
    "long": _long,
}
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
        return make_excel(rng)
    raw = make_text(rng, rng.choice((*TEXTS, "json", "json")))
    if kind > 0.92:
        raw = gzip.compress(raw, 1) if rng.random() < 0.5 else _zstd(raw)
        return raw if rng.random() < 0.5 else flipped(rng, raw)
    return raw


def make_text(rng: random.Random, kind: str) -> bytes:
    """A file in one of ``TEXTS``."""
    text = TEXTS[kind](rng)
    return as_bytes(rng, text if rng.random() < 0.5 or kind == "long" else mutated(rng, text, TRICKS + CELLS))


def make_excel(rng: random.Random) -> bytes:
    raw = _excel(rng)
    return raw if rng.random() < 0.4 else flipped(rng, raw)


def _zstd(raw: bytes) -> bytes:
    import pyarrow as pa

    return pa.compress(raw, codec="zstd", asbytes=True)


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
