"""Inputs that nobody means well with, for every parser of bayescale, and what a parser must do with them.

A target makes inputs out of a random generator (grammars, mutations of valid examples, known tricks) and bears one:
it is either used as its owner would use it, or refused with one plain sentence. Everything else is a crash.
``benchmarks/fuzz.py`` drives targets by the thousand, ``tests/test_hostile.py`` by the hundred and over a kept corpus.
"""

import functools
import io
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bayescale
from bayescale.files import FileError
from bayescale.fit import FitError
from bayescale.formula import FormulaError
from bayescale.law import LawError, models_folder
from bayescale.runs import RunsError

REFUSALS = (FormulaError, LawError, RunsError, FitError, FileError)
LONGEST_SENTENCE = 1000
SECONDS = 2.0
MEGABYTES = 1000
CANARY = Path(tempfile.gettempdir()) / f"bayescale-canary-{os.getpid()}"

TRICKS = [
    *("", " ", "\t", "\n", "\r", "\r\n", "\x00", "\x1b[2J", "\x7f", "\ufeff", "\u2028", "\u202e", "\xa0", "\u0663"),
    *("é", "Ｎ", "𝟏", "\U0010ffff", "\udcff", "'", '"', '"""', "'''", "\\", "\\u0000", "#", ";", ",", "=", "..", ":"),
    *("{0}", "{a}", "{", "}", "%s", "$(id)", "`id`", "[/]", "[bold]", "[link=x]", "</script>", "<b>", "&lt;"),
    *("inf", "-inf", "nan", "NaN", "None", "True", "false", "0", "-1", "-0.0", "1e400", "-1e400", "5e-324", "1e308"),
    *("9" * 400, "9" * 5000, "0x" + "f" * 400, "0x" + "f" * 5000, "1_0", "1__0", "0b1", "0o7", "1j", "1.", ".5", "1e"),
    *("(" * 70, "(" * 500, "[" * 90, "[" * 900, "{" * 90, "-" * 90, "-" * 1500, "~", "not " * 90, "a." * 400, "**"),
    *("__import__", "__class__", "().__class__", "lambda: 0", "exec", "eval", "open", "os", "x := 1", "*x", "f'{x}'"),
    *("N", "D", "C", "L", "N_ref", "L_ref", "L_span", "q_ref", "chain", "draw", "run", "self", "data_0", "predicted"),
    f"__import__('pathlib').Path('{CANARY}').touch()",
]


@dataclass(frozen=True)
class Target:
    """One parser: what it is given, and how one input is borne. ``bear`` says whether the input was accepted."""

    make: Callable[[random.Random], bytes]
    bear: Callable[[bytes], bool]
    change: Callable[[random.Random, bytes], bytes]  # a small change of an input
    suffix: str = "txt"


class BadRefusalError(AssertionError):
    """A refusal that is not one plain sentence."""


def borne(use: Callable[[], Any]) -> bool:
    """Whether it worked, or False where it was refused as it should be."""
    try:
        use()
    except REFUSALS as error:
        said = str(error)
        if not (said.strip() and said.isprintable() and len(said) <= LONGEST_SENTENCE):
            raise BadRefusalError(f"{type(error).__name__} of {len(said)} characters: {said[:300]!r}") from error
        return False
    return True


# ---- text in general -----------------------------------------------------------------------------------------------


def mutated(rng: random.Random, text: str, words: list[str]) -> str:
    """Text with a few pieces cut, doubled, moved or replaced."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        i, j = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        j = min(j, i + rng.choice((0, 1, 2, 8, 40)))
        piece = rng.choice(words) if rng.random() < 0.6 else text[j : j + rng.choice((1, 3, 12))]
        kind = rng.randrange(8)
        if kind == 0:
            text = text[:i] + text[j:]
        elif kind in (1, 2, 3):
            text = text[:i] + piece + text[j:]
        elif kind == 4:
            text = text[:i] + piece + text[i:]
        elif kind == 5:
            text = text[:j] + text[i:j] + text[j:]
        elif kind == 6:
            text = text[:j] + text[i:j] * rng.choice((2, 10, 100)) + text[j:]
        else:
            text = text[:i] if rng.random() < 0.3 else text[:i] + chr(rng.randrange(0x250)) + text[i + 1 :]
    return text[:200_000]


def as_bytes(rng: random.Random, text: str) -> bytes:
    """Text as a stranger's editor may have saved it."""
    kind = rng.random()
    if kind < 0.03:
        return text.encode("utf-16", "surrogatepass")
    if kind < 0.05:
        return text.encode("latin-1", "replace")
    if kind < 0.09:
        return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
    raw = text.encode("utf-8", "surrogatepass")
    if kind < 0.12:
        raw = raw.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\r", b"\x0b")))
    return flipped(rng, raw) if kind > 0.94 else raw


def flipped(rng: random.Random, raw: bytes) -> bytes:
    """Bytes as a disk or a stranger may have changed them."""
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        i = rng.randrange(len(changed))
        kind = rng.randrange(10)
        if kind < 4:
            changed[i] ^= 1 << rng.randrange(8)
        elif kind < 6:
            changed[i] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 6:
            width = rng.choice((2, 4, 8))
            value = rng.choice((0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width) - 1, rng.getrandbits(8 * width)))
            changed[i : i + width] = value.to_bytes(width, "little")
        elif kind == 7:
            width = rng.choice((4, 16, 200))
            k = rng.randrange(len(changed))
            changed[i : i + width] = changed[k : k + width]
        elif kind == 8:
            changed[i : i + rng.choice((1, 8, 512))] = b""
        else:
            changed = changed[:i] if rng.random() < 0.5 else changed + bytes(changed[:i])
    return bytes(changed)


def mixed(seldom: float, valid: Callable[[random.Random], str], tricks: list[str]) -> Callable[[random.Random], str]:
    """Valid text, one time in 1/``seldom`` as it is, else mutated."""

    def make(rng: random.Random) -> str:
        text = valid(rng)
        return text if rng.random() < seldom else mutated(rng, text, tricks)

    return make


# ---- formulas ------------------------------------------------------------------------------------------------------

NAMES = ["N", "D", "C", "N_ref", "D_ref", "alpha", "beta", "E", "A", "B", "q", "x", "floor", "x0", "d1", "exp", "i"]
NUMBERS = ["0", "1", "2", "3.0", "0.5", "1e-9", "1e9", "1e308", "-1", "64", "65", "406.4", "1e400", "007", "0x10", "1_0"]


def grammatical(rng: random.Random, depth: int = 5) -> str:
    """A formula of the language, or nearly."""
    from bayescale.formula import FUNCTIONS

    kind = rng.random()
    if depth <= 0 or kind < 0.25:
        return rng.choice(NAMES) if rng.random() < 0.7 else rng.choice(NUMBERS)
    if kind < 0.65:
        op = rng.choice(("+", "-", "*", "/", "**", "*", "/", "%", "//", "@", "^", "<"))
        return f"({grammatical(rng, depth - 1)} {op} {grammatical(rng, depth - 1)})"
    if kind < 0.75:
        return f"-{grammatical(rng, depth - 1)}"
    name = rng.choice(list(FUNCTIONS))
    count = FUNCTIONS[name].arity if rng.random() < 0.97 else rng.randrange(4)
    return f"{name}({', '.join(grammatical(rng, depth - 1) for _ in range(count))})"


def a_formula(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return grammatical(rng, rng.choice((2, 4, 6, 8)))
    if kind < 0.6:
        return rng.choice(law_formulas())
    part = rng.choice(("N+", "-", "N**", "exp(", "(N*", "1/", "minimum(N,", "--", "2**-", "saturation(D,", "a."))
    count = rng.choice((5, 50, 59, 60, 61, 200, 600, 1000, 3000))
    return part * count + "N" + ")" * (part.count("(") * count if rng.random() < 0.8 else rng.randrange(5))


@functools.cache
def law_formulas() -> list[str]:
    return [law.formula for law in map(bayescale.load_law, bayescale.laws())]


def make_formula(rng: random.Random) -> bytes:
    text = mixed(0.5, a_formula, TRICKS)(rng)
    return text.encode("utf-8", "surrogatepass") if rng.random() < 0.97 else as_bytes(rng, text)


def bear_formula(raw: bytes) -> bool:
    from bayescale import formula
    from bayescale.javascript import javascript
    from bayescale.lawfile import parse_law
    from bayescale.slope import value_and_slope

    def use() -> None:
        tree = formula.parse(raw.decode("utf-8", "surrogateescape"))
        used = sorted(set(formula.names(tree)))
        for values in (0.5, -3.0, np.array([[1e-9, 2.0, 1e12]])):
            formula.evaluate(tree, dict.fromkeys(used, values))
        value_and_slope(tree, dict.fromkeys(used, np.array([1.0, 7.0])), {used[0]: np.ones(2)} if used else {})
        formula.latex(tree)
        javascript(tree)
        if len(used) > 1:  # names with a meaning of their own are refused here
            borne(lambda: use_law_source(parse_law(law_around(raw.decode("utf-8"), used), "law")))

    return borne(use)


def law_around(text: str, used: list[str]) -> str:
    """A law file with this formula: its first name is a column of the runs, the others are parameters."""
    priors = "\n".join(f'{name} = {{ dist = "LogNormal", mu = 0, sigma = 1 }}' for name in used[1:])
    return f'title = "t"\ncite = "c"\nformula = {json.dumps(text)}\n[priors]\n{priors}\n'


def use_law_source(law: Any) -> str:
    """What would be compiled for a law: Python, and no word of it a stranger's."""
    from bayescale.kernel import source
    from bayescale.model import log_posterior
    from bayescale.noise import default_noise

    text = source(log_posterior(law, default_noise(law.observed.scale)))
    compile(text, "<source of a kernel>", "exec")
    return text


# ---- law files -----------------------------------------------------------------------------------------------------

VALUES = [
    *('""', '"x"', "1", "-1", "0", "1e308", "1e400", "inf", "nan", "true", "1979-05-27", "[]", "[1]", "[[1]]", "{}"),
    *('"N"', '["N"]', "[1, 2]", "[2, 1]", "[nan, 1]", '{ a = 1 }', '{ dist = "Normal" }', "0x" + "f" * 4000, "9" * 5000),
    *('{ dist = "Uniform", lower = 1, upper = 0 }', '{ dist = "Gamma", alpha = 1e300, beta = 1e-300 }'),
    *('{ dist = "Beta", alpha = 1e-300, beta = 1e300 }', '{ dist = "TruncatedNormal", mu = 1e9, sigma = 1, lower = 0, upper = 1 }'),
    *('{ dist = "Normal", mu = 0, sigma = 0 }', "[" * 300 + "]" * 300, "[" * 3000 + "]" * 3000, "{ a.b.c.d = 1 }"),
    *('["a", 1, []]', "[[" + "9" * 4500 + "]]", '"\\u0000"', '"[/]"', '"</script>"', '"\\u001b[2J"'),
]
KEYS = [
    *("title", "cite", "about", "formula", "traps", "falls_with", "rises_with", "size", "no_split", "observed", "where"),
    *("priors", "derived", "range", "exponents", "optimum", "published", "N", "D", "column", "symbol", "scale", "count"),
    *("dist", "mu", "sigma", "presets", "values", "answers", "source", "at", "value", "within", "quantity", "alpha"),
    *("chain", "draw", "run", "posterior", "loss", "__class__", "x", "log_loss"),
]
SMALL_LAW = """\
title = "t"
cite = "c"
formula = "E + a*(N/N_ref)**(-alpha)"
[priors]
E = { dist = "LogNormal", mu = 0, sigma = 1 }
a = { dist = "LogNormal", mu = 0, sigma = 1 }
alpha = { dist = "LogNormal", mu = -1, sigma = 1 }
"""


FIT_LAW = """\
title = "t"
cite = "c"
formula = "L_ref*level*(N/N_ref)**(-alpha)*(D/D_ref)**(-beta)"
[priors]
level = { dist = "LogNormal", mu = 0, sigma = 1 }
alpha = { dist = "LogNormal", mu = -2, sigma = 1 }
beta = { dist = "LogNormal", mu = -2, sigma = 1 }
[derived]
A = { formula = "L_ref*level*N_ref**alpha", about = "amplitude" }
"""


@functools.cache
def law_texts() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(models_folder().glob("*.toml"))]


def a_law(rng: random.Random) -> str:
    text = rng.choice(law_texts()) if rng.random() < 0.7 else SMALL_LAW
    lines = text.splitlines()
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        i = rng.randrange(len(lines))
        kind, key = rng.randrange(8), rng.choice(KEYS)
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[i])
        elif kind == 2:
            lines.insert(i, f"{key} = {rng.choice(VALUES)}")
        elif kind == 3:
            lines[i] = f"{lines[i].partition('=')[0]}= {rng.choice(VALUES)}"
        elif kind == 4:
            lines.insert(i, rng.choice((f"[{key}]", f"[[{key}]]", f"[{key}.{rng.choice(KEYS)}]")))
        elif kind == 5:
            lines[i] = lines[i].replace(rng.choice(("alpha", "E", "N", "floor", "slope")), rng.choice(KEYS))
        elif kind == 6:
            lines[i] = lines[i].partition("=")[0] + f'= "{a_formula(rng)}"'
        else:
            lines.insert(i, rng.choice(bombs())())
    return "\n".join(lines)


def bombs() -> list[Callable[[], str]]:
    return [
        lambda: ".".join("a" * 1 for _ in range(8000)) + " = 1",
        lambda: "\n".join(f"w{i} = \"{' + '.join([f'w{i - 1}'] * 200) if i else 'N'}\"" for i in range(60)),
        lambda: "\n".join(f'p{i} = {{ dist = "Normal", mu = 0, sigma = 1 }}' for i in range(150)),
        lambda: "[where]\n" + "\n".join(f'w{i} = "w{i - 1}*w{i - 1}"' if i else 'w0 = "N"' for i in range(99)),
        lambda: "traps = [" + '"x",' * 15000 + "]",
        lambda: "x = [" + "[" * 20000 + "]" * 20000 + "]",
        lambda: "x = " + "{a=" * 5000 + "1" + "}" * 5000,
        lambda: "\n".join("[" + ".".join("ab"[i >> k & 1] for k in range(12)) + "]" for i in range(2000)),
        lambda: 'x = """' + "\\" * 9000 + '"""',
        lambda: "# " + "x" * 70000,
    ]


def make_law(rng: random.Random) -> bytes:
    return as_bytes(rng, mixed(0.6, a_law, TRICKS + VALUES + KEYS)(rng))


def bear_law(raw: bytes) -> bool:
    path = scratch("law.toml")
    path.write_bytes(raw)
    return borne(lambda: use_law(bayescale.load_law(str(path))))


def use_law(law: Any) -> None:
    """What is asked of a law before any runs: its card, its table, its constants, its priors, its page's script."""
    from bayescale.javascript import law_script
    from bayescale.law import column, law_derived, law_loss, reference_constants, sample_priors
    from bayescale.terminal import card, print_card, print_law_line

    with silent():
        print_card(law)
        print_law_line(law)
    card(law)
    str(bayescale.show(law))
    points = np.array([1e8, 1e9, 1e10])
    seen = {column(symbol): points for symbol in law.inputs} | {law.observed.column: np.array([3.0, 2.5, 2.2])}
    constants = reference_constants(law, seen)
    drawn = {name: value[:, None] for name, value in sample_priors(law, 20, np.random.default_rng(0)).items()}
    inputs = {symbol: points for symbol in law.inputs}
    law_loss(law, drawn | constants | inputs)
    law_derived(law, drawn | constants)
    law_script(law, constants)
    use_law_source(law)


# ---- runs ----------------------------------------------------------------------------------------------------------

HEADS = [
    *("params", "tokens", "loss", "compute", "N", "D", "C", "L", "n_params", "val_loss", "run", "run_name", "family"),
    *("source", "chain", "draw", "index", "level_0", "a/b", "a_b", ".", "..", "", "x" * 300, "é", "N ", "\x00", "a\nb"),
]
CELLS = [
    *("1e9", "2e9", "3.1", "70B", "1,5", "1e400", "-1", "0", "", "nan", "NA", "None", "inf", "x", "True", "9" * 400),
    *("9" * 5000, "1_000", "0x10", "1e-320", " 5 ", "5 ", "٣", "=1+1", "a\x00b", "é", '"', "1.0.0", "[1]", "1979-05-27"),
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
    *({}, {}, {}, {}, {}, {}, {}, {}, {"columns": {"loss": "val_loss"}}, {"columns": {"params": "C", "tokens": "C"}}),
    *({"units": {"params": "M"}}, {"units": {"loss": "bits"}}, {"units": {"x\n": "y"}}, {"columns": {"x" * 3000: "y"}}),
    *({"columns": {"loss": "z" * 3000}}, {"law": "broken"}, {"law": "coverage"}, {"law": "vocabulary"}),
]


def bear_table(raw: bytes) -> bool:
    path = scratch("runs.csv")
    path.write_bytes(raw)
    options = dict(OPTIONS[sum(raw[:64]) % len(OPTIONS)])
    if "law" in options:
        options["law"] = bayescale.load_law(options["law"])
    return borne(lambda: use_runs(bayescale.read_runs(path, **options), keep=sum(raw) % 8 == 0))


def use_runs(runs: Any, keep: bool = False) -> None:
    """What is done with runs before a fit, and with their columns in its file."""
    from bayescale.cli import print_json

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
        lambda: pa.array([rng.choice((0.0, float("nan"), float("inf"), -1.0, None)) for _ in range(rows)], pa.float64()),
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


def bear_parquet(raw: bytes) -> bool:
    path = scratch("runs.parquet")
    path.write_bytes(raw)
    return borne(lambda: use_runs(bayescale.read_runs(path), keep=sum(raw) % 8 == 0))


# a table in memory is written down as JSON: {"column": [kind, values]}
FRAME_CELLS = [1.0, 2e9, 3, "x", "5", None, True, float("nan"), float("inf"), 0, -1, "9" * 5000, [], {"a": 1}, 1e-320]
KINDS = ["dict", "dict", "pandas", "polars", "xarray"]
HOWS = ["list", "list", "list", "array", "object", "huge", "bytes", "complex", "date", "category", "grid", "scalar", "set"]


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
        elif recipe["kind"] == "polars":
            import polars

            given = polars.DataFrame(columns, strict=False)
        elif recipe["kind"] == "xarray":
            given = xr.Dataset({head: ("row", values) for head, values in columns.items()})
        else:
            given = columns
    except Exception:  # not even a table: there is nothing to give to bayescale
        return False
    return borne(lambda: use_runs(bayescale.read_runs(given), keep=sum(raw) % 8 == 0))


# ---- saved fits: bytes, and what is in them -------------------------------------------------------------------------


@functools.cache
def a_fit() -> Any:
    """A small fit, real but for its number of draws."""
    import xarray as xr

    rng = np.random.default_rng(0)
    N, D = (grid.ravel() for grid in np.meshgrid(np.logspace(7.5, 9.5, 3), np.logspace(9, 11, 3)))
    loss = 30 * N**-0.06 * D**-0.05 * np.exp(0.003 * rng.standard_normal(9))
    runs = bayescale.read_runs({"params": N, "tokens": D, "loss": loss, "family": ["a", "b", "c"] * 3})
    law = scratch("small.toml")
    law.write_text(FIT_LAW)
    fit = bayescale.fit(runs, str(law), draws=300, chains=2, quick=True, allow_unconverged=True)
    groups = {name: group.to_dataset() for name, group in fit.children.items()}
    thin = {name: group.isel(draw=slice(15)) if "draw" in group.dims else group for name, group in groups.items()}
    tree = xr.DataTree.from_dict(thin)
    tree.attrs = fit.attrs
    return tree


@functools.cache
def fit_bytes() -> bytes:
    path = bayescale.save_fit(a_fit(), scratch("base.nc"))
    return path.read_bytes()


def make_fit_bytes(rng: random.Random) -> bytes:
    return fit_bytes() if rng.random() < 0.01 else flipped(rng, fit_bytes())


def bear_fit_bytes(raw: bytes) -> bool:
    path = scratch("fit.nc")
    path.write_bytes(raw)
    return borne(lambda: use_fit(bayescale.open_fit(path), sum(raw)))


def use_fit(fit: Any, salt: int) -> None:
    """What is asked of an opened fit: its table and JSON, and now and then a forecast, a split, a page."""
    from bayescale import drift
    from bayescale.cli import print_json
    from bayescale.diagnostics import fit_summary
    from bayescale.terminal import print_fit

    kind = salt % 400
    with silent():
        print_json(fit_summary(fit)) if kind % 2 else print_fit(fit)
    if kind < 30:
        str(bayescale.show(fit))
    if kind < 4:
        kept, drift.LOG_SCALES = drift.LOG_SCALES, drift.LOG_SCALES[::6]  # a coarse grid of scales: time
        try:
            if kind == 0:
                forecast = bayescale.forecast(fit, 1e10, 1e12)
                str(bayescale.show(forecast, target=1.5))
            elif kind == 1:
                str(bayescale.show(bayescale.allocate(fit, 1e21)))
            elif kind == 2:
                bayescale.loo(fit, mend=False)
            else:
                str(bayescale.show(bayescale.decide(fit, 1e21)))
        finally:
            drift.LOG_SCALES = kept


# changes of a fit are written down as JSON: [[what, where, value], ...]
GROUPS = ["posterior", "sample_stats", "observed_data", "constant_data", "log_likelihood"]
FIT_NAMES = [
    *("level", "alpha", "beta", "sigma", "tilt", "nu_minus_2", "A", "params", "tokens", "compute", "family"),
    *("D_ref", "L_ref", "C_ref", "log_loss", "diverging", "chain", "draw", "run"),
]
ATTRIBUTES = ["law", "law_text", "noise", "seed", "source", "data_hash", "settings", "diagnostics", "notes", "versions"]
TEXTS = [
    *("", "x", "\x1b[2J", "[/]", "</script><script>alert(1)</script>", "a\nb", "y" * 5000, "[" * 5000, "{}", "[]", "[1]"),
    *("null", "NaN", '{"converged": true}', '{"converged": {"a": 1}}', "9" * 5000, "normal", "beta_binomial", "\ud7ff"),
    *("[[[]]]", '[{"code": 1}]', '[{"code": "a", "severity": "warning", "text": "\\u001b"}]', "inf", "-1", "1e400"),
]
NUMERIC = [0.0, -1.0, 1e300, -1e300, 1e-300, float("nan"), float("inf"), 5.0, 1.0]


def make_fit_changes(rng: random.Random) -> bytes:
    changes = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        group, name = rng.choice(GROUPS), rng.choice(FIT_NAMES)
        kind = rng.randrange(12)
        if kind == 0:
            changes.append(["attribute", rng.choice(ATTRIBUTES), rng.choice([*TEXTS, 1, -5, 2.5, 2**70, [1.0, 2.0], None])])
        elif kind == 1:
            text = rng.choice(law_texts()) if rng.random() < 0.2 else a_law(rng) if rng.random() < 0.2 else FIT_LAW
            text = mutated(rng, text, TRICKS + VALUES + KEYS) if rng.random() < 0.7 else text
            changes.append(["attribute", "law_text", text])
        elif kind in (2, 3):
            changes.append(["report", rng.choice(sorted(json.loads(a_fit().attrs["diagnostics"]))), _report_value(rng)])
        elif kind in (4, 5, 6):
            changes.append(["values", [group, name], [rng.randrange(100), rng.choice(NUMERIC)]])
        elif kind == 7:
            changes.append(["fill", [group, name], rng.choice(NUMERIC)])
        elif kind == 8:
            changes.append(["dtype", [group, name], rng.choice(("f4", "i8", "i1", "U", "bool", "S5", "u8"))])
        elif kind == 9:
            changes.append(["dims", [group, name], rng.choice(("scalar", "first", "transpose", "extra", "empty", "one"))])
        elif kind == 10:
            changes.append(["drop", [group, rng.choice((name, ""))], None])
        else:
            changes.append(["odd", [group, name], rng.choice(ODDITIES)])
    return json.dumps(changes).encode()


def _report_value(rng: random.Random) -> Any:
    return rng.choice([*TEXTS, *NUMERIC, None, True, {}, [], {"E": None}, {"E": "x"}, ["E"], [1], {"a": {"b": []}}, 10**30])


ODDITIES = [
    *("huge", "huge chunked", "huge compact rows", "loop", "external link", "soft link", "external data", "virtual"),
    *("many groups", "deep groups", "big attribute", "text attribute", "scale_factor", "units", "coordinates", "compound"),
    *("reference", "vlen", "enum", "fill value", "shared texts", "dimension list", "filter", "dtype attribute", "opaque"),
]


def bear_fit_changes(raw: bytes) -> bool:
    path = scratch("fit.nc")
    path.write_bytes(fit_bytes())
    for what, where, value in json.loads(raw):
        try:
            change_file(path, what, where, value)
        except (LookupError, ValueError, TypeError, OSError, OverflowError, RuntimeError):
            pass  # the library of the format does not let this be written
    return borne(lambda: use_fit(bayescale.open_fit(path), sum(raw)))


def change_file(path: Path, what: str, where: Any, value: Any) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        if what == "attribute":
            del file.attrs[where]
            if value is not None:
                file.attrs[where] = value
            return
        if what == "report":
            report = json.loads(file.attrs["diagnostics"])
            report[where] = value
            file.attrs["diagnostics"] = json.dumps(report)
            return
        group, name = where
        place = file[group]
        if what == "drop":
            del file[f"{group}/{name}".rstrip("/")]
        elif what == "odd":
            make_odd(file, place, name, value)
        elif what == "values":
            flat = place[name][...].ravel()
            flat[value[0] % flat.size] = value[1]
            place[name][...] = flat.reshape(place[name].shape)
        elif what == "fill":
            place[name][...] = value
        else:
            data, dims = place[name][...], [list(dim.keys()) for dim in place[name].dims]
            if what == "dtype":
                data = data.astype(object).astype(str).astype(h5py.string_dtype()) if value == "U" else data.astype(value)
            else:
                data = {
                    "scalar": lambda: data.ravel()[0],
                    "first": lambda: data[0],
                    "transpose": lambda: data.T,
                    "extra": lambda: data[..., None],
                    "empty": lambda: data[:0],
                    "one": lambda: data[:1],
                }[value]()
            del place[name], dims
            place[name] = data


def make_odd(file: Any, place: Any, name: str, odd: str) -> None:
    """Things that HDF5 can and a fit never does."""
    import h5py

    if odd in ("huge", "huge chunked", "huge compact rows", "external data", "virtual", "compound", "reference", "vlen"):
        dims = place[name].shape if name in place else (9,)
        if name in place:
            del place[name]
        kinds: dict[str, Callable[[], Any]] = {
            "huge": lambda: place.create_dataset(name, (10**12,), "f8"),
            "huge chunked": lambda: place.create_dataset(name, (10**9,), "f8", chunks=(2**20,), compression="gzip"),
            "huge compact rows": lambda: place.create_dataset(name, (2, 10**8), "f8", chunks=(2, 1000)),
            "external data": lambda: place.create_dataset(name, (9,), "u1", external=[("/etc/hostname", 0, 9)]),
            "virtual": lambda: place.create_virtual_dataset(name, _virtual()),
            "compound": lambda: place.create_dataset(name, data=np.zeros(9, dtype=[("a", "f8"), ("b", "i4")])),
            "reference": lambda: place.create_dataset(name, data=np.array([file.ref] * 9, dtype=h5py.ref_dtype)),
            "vlen": lambda: place.create_dataset(name, dims, dtype=h5py.vlen_dtype(np.float64)),
        }
        kinds[odd]()
    elif odd == "loop":
        place["again"] = file["/"]
    elif odd == "external link":
        place["other"] = h5py.ExternalLink("/etc/hostname", "/")
    elif odd == "soft link":
        place["soft"] = h5py.SoftLink("/posterior")
    elif odd == "many groups":
        for i in range(3100):
            place.create_group(f"g{i}")
    elif odd == "deep groups":
        place.create_group("/".join("g" * 60))
    elif odd == "big attribute":
        place.attrs.create("big", np.zeros(7000))
        for i in range(150):
            place.attrs[f"a{i}"] = i
    elif odd == "text attribute":
        place.attrs["texts"] = ["x" * 1000] * 40
    elif odd == "scale_factor":
        place[name].attrs["scale_factor"] = 1e300 if len(name) % 2 else "x"
    elif odd == "units":
        place[name].attrs["units"] = "days since 0001-01-01"
    elif odd == "coordinates":
        place[name].attrs["coordinates"] = "chain draw run level nothing"
    elif odd == "fill value":
        place[name].attrs["_FillValue"] = place[name][...].ravel()[0]
    elif odd == "dtype attribute":
        place[name].attrs["dtype"] = "bool" if len(name) % 2 else "O"
    elif odd == "enum":
        place.create_dataset("enum", (9,), dtype=h5py.enum_dtype({"a": 0, "b": 1}))
    elif odd == "opaque":
        place.create_dataset("opaque", data=np.array([b"abc"] * 3, dtype="V3"))
    elif odd == "shared texts":
        place.create_dataset("texts", data=np.array(["x" * 10_000] * 500, dtype=object), dtype=h5py.string_dtype())
    elif odd == "dimension list":
        place[name].attrs["DIMENSION_LIST"] = np.zeros(3)
    elif odd == "filter":
        place.create_dataset("packed", data=np.arange(1000), chunks=(100,), compression="lzf")


def _virtual() -> Any:
    import h5py

    layout = h5py.VirtualLayout((9,), "f8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (9,))
    return layout


# ---- options of the command line -----------------------------------------------------------------------------------

QUANTITIES = [
    *("2T", "1e12", "0.35..0.5", "..", "0.5..", "..0.5", "0.5..0.2", "0.1..0.2..0.3", "." * 4000, "Beta(alpha=40, beta=60)"),
    *("Beta(alpha=40)", "Beta(40, 60)", "Normal(mu=0, sigma=1)", "Uniform(lower=2, upper=1)", "Gamma(alpha=1e300, beta=1e-300)"),
    *("TruncatedNormal(mu=1, sigma=1, lower=5, upper=1)", "Beta(**{})", "Beta(alpha=" + "9" * 500 + ", beta=1)", "f(x)", "(" * 300),
    *("Beta(alpha=1, alpha=2)", "LogNormal(mu=800, sigma=1)", "HalfNormal(sigma=1if)", "Beta(alpha=" + "-" * 2000 + "1, beta=1)"),
    *("os.system('x')", "Exponential(lam=1e-320)", "LogNormal(mu=0, sigma=True)", "LogNormal(mu=0, sigma='1')", "0", "-1", "1e400"),
]
COSTS = [
    *("6*N*D", "6*N*D + 2*N*T", "6*N*D/(mfu*989e12*3600)*price", "N", "N*D**2", "N*D + exp(D)", "6*N*D*0", "-N*D", "N**N*D"),
    *("6*N*D + minimum(N, D)", "N*D*price**price", "log(N)*D", "N*D/0", "N*D*q", "6*N*D" + "*1" * 400, "N+D", "sqrt(N*D)"),
]
LIMITS = ["7B..70B", "..70B", "7B..", "70B", "..", "70B..7B", "x", "1e400", "-1", "0", "5" * 500, "1..2..3", "nan"]
MENUS = ["1B,3B,7B", "", ",", "x", "1B,,3B", "0", "1e9," * 300, "nowhere.csv", "http://127.0.0.1:9/x.csv", "MENU", "/", "\x00"]
MENU_TEXTS = [
    *("params,price\n1e9,1\n2e9,2\n", "params\n", "", "a,b\n1,2\n", "params,params\n1,2\n", "params\nx\n", "params\n-1\n"),
    *("params,layers\n1e9\n", "\x00", '"', "params\n" + "1e9\n" * 3000, "params" + ",x" * 500 + "\n", "params\n1e400\n"),
]
PAIRS = ["", "=", "a=", "=b", "a=b=c", "loss=loss", "params=tokens", "x" * 3000 + "=1", "loss=\x1b[2J", "params=M", "loss=bits"]


def make_options(rng: random.Random) -> bytes:
    def some(values: list[str], odd: float = 0.1) -> str:
        value = rng.choice(values)
        return mutated(rng, value, TRICKS)[:6000] if rng.random() < odd else value

    names = ["T", "mfu", "price", "q", "unique_tokens", "N", "D", "C", "x"]
    cost = some(COSTS[:3] if rng.random() < 0.6 else COSTS) if rng.random() < 0.9 else mixed(0.5, a_formula, TRICKS)(rng)
    wanted = [name for name in names if name in cost and name not in "NDC"] if rng.random() < 0.8 else []
    wanted += rng.sample(names, rng.choice((0, 0, 0, 0, 1, 2)))
    given = [f"{name}={some(QUANTITIES[:3] if rng.random() < 0.6 else QUANTITIES)}" for name in wanted]
    options = {"cost": cost, "given": given, "menu_text": some(MENU_TEXTS)}
    for name in ("params", "tokens", "ratio", "unique_tokens"):
        options[name] = some(LIMITS) if rng.random() < 0.1 else None
    options["menu"] = some(MENUS) if rng.random() < 0.2 else None
    options["column"] = [some(PAIRS) for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))]
    options["unit"] = [some(PAIRS) for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))]
    return json.dumps(options).encode()


def bear_options(raw: bytes) -> bool:
    """The options as the command line gives them, through to the problem that is then solved."""
    from bayescale import cli
    from bayescale.problem import problem_of

    options = json.loads(raw)
    runs = scratch("few.csv")
    runs.write_text("params,tokens,loss,C\n1e7,1e9,3,1\n2e7,3e9,2,2\n")
    menu = scratch("menu.csv")
    menu.write_text(options.pop("menu_text"), encoding="utf-8", errors="surrogatepass")
    options["menu"] = str(menu) if options["menu"] == "MENU" else options["menu"]
    column, unit = options.pop("column"), options.pop("unit")
    used = borne(lambda: _told(lambda: cli._runs(str(runs), column, unit)))
    return borne(lambda: _told(lambda: problem_of(a_fit(), **cli._split_options(**options)))) and used


def _told(use: Callable[[], Any]) -> None:
    """A mistake as the command line tells it."""
    from bayescale import cli

    try:
        use()
    except cli.InputError as error:
        raise FitError(str(error)) from error


# ---- small things --------------------------------------------------------------------------------------------------


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="bayescale-fuzz-")


def scratch(name: str) -> Path:
    return Path(_folder().name) / name


class silent:  # noqa: N801
    """What is printed meanwhile goes nowhere, but must be printable as UTF-8."""

    def __enter__(self) -> None:
        self.kept = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = self.kept


def change_text(rng: random.Random, raw: bytes) -> bytes:
    return mutated(rng, raw.decode("utf-8", "surrogateescape"), TRICKS).encode("utf-8", "surrogatepass")


TARGETS = {
    "formulas": Target(make_formula, bear_formula, change_text),
    "laws": Target(make_law, bear_law, change_text, "toml"),
    "runs": Target(make_table, bear_table, change_text, "csv"),
    "parquet": Target(make_parquet, bear_parquet, flipped, "parquet"),
    "frames": Target(make_frame, bear_frame, lambda rng, raw: make_frame(rng), "json"),
    "fits": Target(make_fit_bytes, bear_fit_bytes, flipped, "nc"),
    "fit contents": Target(make_fit_changes, bear_fit_changes, lambda rng, raw: make_fit_changes(rng), "json"),
    "options": Target(make_options, bear_options, lambda rng, raw: make_options(rng), "json"),
}
