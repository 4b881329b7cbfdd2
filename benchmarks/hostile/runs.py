"""Hostile tables of runs: CSV, parquet, and what Python holds in memory."""

import io
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import bayescale
from benchmarks.hostile.inputs import TRICKS, as_bytes, borne, flipped, mixed, scratch, silent

HEADS = [
    *("params", "tokens", "loss", "compute", "N", "D", "C", "L", "n_params", "val_loss", "run", "run_name", "family"),
    *("source", "chain", "draw", "index", "level_0", "a/b", "a_b", ".", "..", "", "x" * 300, "é", "N ", "\x00", "a\nb"),
]
CELLS = [
    *("1e9", "2e9", "3.1", "70B", "1,5", "1e400", "-1", "0", "", "nan", "NA", "None", "inf", "x", "True", "9" * 400),
    *(
        "9" * 5000,
        "1_000",
        "0x10",
        "1e-320",
        " 5 ",
        "5 ",
        "٣",
        "=1+1",
        "a\x00b",
        "é",
        '"',
        "1.0.0",
        "[1]",
        "1979-05-27",
    ),
]


def a_table(rng: random.Random) -> str:
    """A CSV file of runs, more or less."""
    heads = ["params", "tokens", "loss"] if rng.random() < 0.8 else rng.sample(HEADS, rng.randint(1, 6))
    heads += [head for head in rng.sample(HEADS, rng.choice((0, 0, 1, 3))) if rng.random() < 0.1 or head not in heads]
    rows = rng.choice((0, 1, 3, 8, 30))
    odd = rng.choice((0.0, 0.0, 0.02, 0.3))
    cells = [
        [f"{10 ** rng.uniform(0, 10):.6g}" if rng.random() >= odd else rng.choice(CELLS) for _ in heads]
        for _ in range(rows)
    ]
    return "\n".join(",".join(row) for row in [heads, *cells]) + rng.choice(("\n", "", "\n\n", "\n,,\n"))


def make_table(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.01:
        return rng.choice(TABLE_BOMBS)()
    return as_bytes(rng, mixed(0.5, a_table, TRICKS + CELLS + HEADS)(rng))


TABLE_BOMBS: list[Callable[[], bytes]] = [
    lambda: b"params,tokens,loss\n" + b"1" * 3_000_000,
    lambda: b"params,tokens,loss" + b",x" * 20_000 + b"\n",
    lambda: b"params,tokens,loss," + b",".join(b"c%d" % i for i in range(20_000)) + b"\n" + b"1," * 20_002 + b"1\n",
    lambda: b'params,tokens,loss\n"' + b"\n" * 1_000_000,
    lambda: b"params,tokens,loss\n" + b"\n" * 2_000_000,
    lambda: b"params,tokens,loss\n" + b'""' * 1_000_000,
    lambda: b"params,tokens,loss\n" + b"1,1,1\n" * 400_000,
    lambda: b"\x00" * 1_000_000,
    lambda: b"p" * 130_000 + b",tokens,loss\n1,2,3\n",
]
OPTIONS = [
    *({"columns": {"loss": "val_loss"}}, {"columns": {"params": "C", "tokens": "C"}}),
    *({"units": {"params": "M"}}, {"units": {"loss": "bits"}}, {"units": {"x\n": "y"}}, {"columns": {"x" * 3000: "y"}}),
    *({"drop_missing": True}, {"last_of": "run"}, {"above_step": 1.0}, {"best_of": ("params", "tokens")}),
    *({"columns": {"loss": "z" * 3000}}, {"law": "broken"}, {"law": "coverage"}, {"law": "vocabulary"}),
]


def bear_file(raw: bytes, name: str = "runs") -> bool:
    path = scratch(name)
    path.write_bytes(raw)
    options = dict(enumerate(OPTIONS)).get(sum(raw[:64]) % 45, {}).copy()  # most files are read without
    if "law" in options:
        options["law"] = bayescale.load_law(options["law"])
    return borne(lambda: use_runs(bayescale.read_runs(path, **options), keep=sum(raw) % 8 == 0))


def use_runs(runs: Any, keep: bool = False) -> None:
    """What is done with runs before a fit, and with their columns in its file."""
    from bayescale.display.terminal import print_json

    bayescale.check_runs(runs)
    str(bayescale.show(runs))
    bayescale.read_runs(runs) if {"params", "tokens", "loss"} <= set(runs) else None
    with silent():
        print_json({"source": runs.attrs["source"], "columns": list(runs.data_vars)})
    if keep:
        runs.to_netcdf(scratch("runs.nc"), engine="h5netcdf")


def make_parquet(rng: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = rng.choice((0, 1, 5, 40))
    kinds: list[Callable[[], Any]] = [
        lambda: pa.array([10 ** rng.uniform(0, 10) for _ in range(rows)]),
        lambda: pa.array([rng.randrange(1, 2**40) for _ in range(rows)]),
        lambda: pa.array([rng.choice(("a", "é", "1", "x\x00", "")) for _ in range(rows)]),
        lambda: pa.array([[1.0] * rng.randrange(4) for _ in range(rows)], pa.list_(pa.float64())),
        lambda: pa.array([{"a": 1} for _ in range(rows)], pa.struct([("a", pa.int64())])),
        lambda: pa.array([rng.choice((None, True, False)) for _ in range(rows)], pa.bool_()),
        lambda: pa.array([rng.randrange(2**62) for _ in range(rows)], pa.timestamp("s")),
        lambda: pa.array(["k"] * rows).dictionary_encode(),
        lambda: pa.nulls(rows),
        lambda: pa.array([b"\xff\x00"] * rows, pa.binary()),
        lambda: pa.array([rng.randrange(10**6) for _ in range(rows)]).cast(pa.decimal128(38, 2)),
        lambda: pa.array(
            [rng.choice((0.0, float("nan"), float("inf"), -1.0, None)) for _ in range(rows)], pa.float64()
        ),
        lambda: pa.array([rng.randrange(10**9) for _ in range(rows)], pa.duration("ns")),
    ]
    heads = ["params", "tokens", "loss"] if rng.random() < 0.8 else rng.sample(HEADS, 3)
    heads += rng.sample(HEADS, rng.choice((0, 1, 3)))
    odd = rng.choice((0.0, 0.2))
    arrays = [kinds[0]() if i < 3 and rng.random() >= odd else rng.choice(kinds)() for i in range(len(heads))]
    table = pa.Table.from_arrays(arrays, names=heads)
    if rng.random() < 0.3:
        meta = rng.choice((b"{}", b"{", b"[1]", b'{"index_columns": ["params"], "columns": [], "column_indexes": []}'))
        table = table.replace_schema_metadata({b"pandas": meta})
    buffer = io.BytesIO()
    try:
        pq.write_table(table, buffer, compression=rng.choice(("none", "snappy", "zstd", "gzip")))
    except pa.ArrowInvalid:
        return b"PAR1"
    raw = buffer.getvalue()
    return raw if rng.random() < 0.3 else flipped(rng, raw)


# a table in memory is written down as JSON: {"column": [kind, values]}
FRAME_CELLS = [1.0, 2e9, 3, "x", "5", None, True, float("nan"), float("inf"), 0, -1, "9" * 5000, [], {"a": 1}, 1e-320]
KINDS = ["dict", "dict", "pandas", "polars", "lazy", "arrow", "records", "xarray"]
HOWS = [
    "list",
    "list",
    "list",
    "array",
    "object",
    "huge",
    "bytes",
    "complex",
    "date",
    "category",
    "grid",
    "scalar",
    "set",
]


def make_frame(rng: random.Random) -> bytes:
    heads = ["params", "tokens", "loss"] if rng.random() < 0.7 else rng.sample(HEADS, 3)
    heads += rng.sample(HEADS, rng.choice((0, 1, 3)))
    rows, odd = rng.choice((0, 1, 4, 20)), rng.choice((0.0, 0.0, 0.05, 0.5))
    columns = []
    for head in heads:
        how = rng.choice(HOWS) if rng.random() < odd else "list"
        count = rows if rng.random() > odd / 4 else rng.randrange(5)
        cells = [10 ** rng.uniform(0, 9) if rng.random() >= odd else rng.choice(FRAME_CELLS) for _ in range(count)]
        columns.append([head, how, cells])
    return json.dumps({"kind": rng.choice(KINDS), "columns": columns}).encode()


def bear_frame(raw: bytes) -> bool:
    import pandas as pd
    import xarray as xr

    recipe = json.loads(raw)
    made: dict[str, Callable[[list], Any]] = {
        "list": list,
        "array": lambda cells: np.array([c if isinstance(c, float) else 1.0 for c in cells]),
        "object": lambda cells: np.array([str(c)[:9] for c in cells], dtype=object),
        "huge": lambda cells: [10**6000] * len(cells),
        "bytes": lambda cells: [b"\xff"] * len(cells),
        "complex": lambda cells: np.ones(len(cells), dtype=complex),
        "date": lambda cells: np.array(["1979-05-27"] * len(cells), dtype="datetime64[s]"),
        "category": lambda cells: pd.Categorical([str(c)[:9] for c in cells]),
        "grid": lambda cells: np.ones((len(cells), 2)),
        "scalar": lambda cells: 5.0,
        "set": lambda cells: {1.0, 2.0},
    }
    columns = {head: made[how](cells) for head, how, cells in recipe["columns"]}
    try:
        if recipe["kind"] == "pandas":
            given: Any = pd.DataFrame(columns)
        elif recipe["kind"] in ("polars", "lazy"):
            import polars

            given = polars.DataFrame(columns, strict=False)
            given = given.lazy() if recipe["kind"] == "lazy" else given
        elif recipe["kind"] == "arrow":
            import pyarrow as pa

            given = pa.table(columns)
        elif recipe["kind"] == "records":
            given = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=False)]
        elif recipe["kind"] == "xarray":
            given = xr.Dataset({head: ("row", values) for head, values in columns.items()})
        else:
            given = columns
    except Exception:  # not even a table: there is nothing to give to bayescale
        return False
    return borne(lambda: use_runs(bayescale.read_runs(given), keep=sum(raw) % 8 == 0))
