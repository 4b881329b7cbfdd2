"""Nobody's file makes bayescale crash, hang, eat memory or run code (see benchmarks/fuzz.py)."""

import re
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayescale.budgets import problem
from bayescale.budgets.problem import problem_of
from bayescale.errors import FitError, LawError, RunsError
from bayescale.evidence.loo import loo
from bayescale.fitting import netcdf, saved
from bayescale.fitting.store import open_fit, save_fit
from bayescale.laws import formula, law_tables, limits
from bayescale.laws.law_file import parse_law
from bayescale.runs.read import read_columns, read_runs
from bayescale.runs.tables import limits as tables
from bayescale.study import Study
from benchmarks.fuzz import drive
from benchmarks.hostile import MEGABYTES, SECONDS, TARGETS
from benchmarks.hostile.fits import fit_bytes

HERE = Path(__file__).parent
CORPUS = sorted((HERE / "corpus").glob("*/*"))
ROOT = HERE.parent


def mildly(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)


# ---- every input that once did harm, and tricks that never may ------------------------------------------------------


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_corpus(path):
    """Those whose names begin with ok_ are used, all others refused with one plain sentence."""
    fit_bytes()  # made once, and not what is timed here
    start = time.process_time()
    accepted = TARGETS[path.parent.name].bear(path.read_bytes())
    assert accepted == path.name.startswith("ok_")
    assert time.process_time() - start < 2 * SECONDS  # twice, as the first of a kind also imports


def test_the_corpus_has_every_parser_that_ever_failed():
    assert {path.parent.name for path in CORPUS} == set(TARGETS)


# ---- a few inputs of every kind, each time others ------------------------------------------------------------------


@pytest.mark.parametrize(
    "parser", ["formulas", "laws", "runs", "tables", "parquet", "frames", "options", "fits", "contents"]
)
def test_made_inputs(parser):
    target = TARGETS[parser]

    @mildly(2 if parser in {"fits", "contents"} else 6)  # a fit takes a tenth of a second to open
    @given(st.randoms(use_true_random=False))
    def bears(rng):
        target.bear(target.make(rng))

    bears()


@pytest.mark.parametrize("parser", ["formulas", "laws", "runs", "tables", "parquet", "fits"])
def test_any_bytes(parser):
    @mildly(15)
    @given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def bears(raw):
        TARGETS[parser].bear(raw)

    bears()


NAMES = st.sampled_from(["N", "D", "alpha", "E"])
FORMULAS = st.recursive(
    NAMES | st.floats(0, 1e3).map(repr) | st.integers(0, 99).map(str),
    lambda part: (
        st.tuples(part, st.sampled_from("+-*/"), part).map("({0[0]} {0[1]} {0[2]})".format)
        | st.tuples(st.sampled_from(["exp", "log1p", "tanh", "sigmoid", "abs"]), part).map("{0[0]}({0[1]})".format)
    ),
    max_leaves=25,
)


@mildly(30)
@given(FORMULAS, st.tuples(*[st.floats(0.1, 10)] * 4))
def test_every_formula_of_the_language_means_what_python_says(text, numbers):
    names = {
        "exp": np.exp,
        "log1p": np.log1p,
        "tanh": np.tanh,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "abs": np.abs,
    }
    values = dict(zip(("N", "D", "alpha", "E"), map(np.float64, numbers), strict=True))
    with np.errstate(all="ignore"):
        expected = eval(
            re.sub(r"(?<![\w.])(\d+(\.\d+)?(e[+-]?\d+)?)", r"F(\1)", text), names | values | {"F": np.float64}
        )
    found = float(formula.evaluate(formula.parse(text), values))
    assert np.isclose(found, float(expected), rtol=1e-9, atol=1e-12, equal_nan=True)


# ---- limits: enforced before the work, and said --------------------------------------------------------------------


def test_texts_kept_in_a_ring_are_not_walked(tmp_path):
    # the entry of a collection of texts that says that it has no length: HDF5 2.0 never comes to the next
    raw = bytearray(fit_bytes())
    first = raw.index(b"GCOL") + 16
    raw[first : first + 2], raw[first + 8 : first + 16] = bytes(2), bytes(8)
    (tmp_path / "fit.nc").write_bytes(bytes(raw))
    with pytest.raises(ValueError, match="a place where texts are kept makes no sense"):
        netcdf.read_tree(tmp_path / "fit.nc")
    with pytest.raises(FitError, match="not a readable NetCDF file; it may be truncated or of another kind"):
        open_fit(tmp_path / "fit.nc")
    with pytest.raises(ValueError, match="a place where texts are kept makes no sense"):  # such entries to its very end
        netcdf._heaps(b"GCOL\x01\0\0\0" + (64).to_bytes(8, "little") + bytes(48))


def test_a_file_of_another_kind_in_a_fit_is_not_read(tmp_path):
    (tmp_path / "secret").write_text("not yours")
    with h5py.File(tmp_path / "fit.nc", "w") as file:
        file.create_dataset("posterior/level", (9,), "u1", external=[(str(tmp_path / "secret"), 0, 9)])
    with pytest.raises(FitError, match="refers to other places or files; a fit holds all its data itself"):
        open_fit(tmp_path / "fit.nc")


@pytest.mark.parametrize("suffix", [pytest.param("csv", marks=pytest.mark.slow), "parquet"])
def test_rows_out_of_nothing(tmp_path, suffix):
    rows, path = tables.MAX_ROWS + 1, tmp_path / f"runs.{suffix}"
    if suffix == "csv":
        path.write_text("params,tokens,loss\n" + "1e9,1e9,3\n" * rows)
    else:
        pq.write_table(pa.table({name: pa.array([1e9] * rows) for name in ("params", "tokens", "loss")}), path)
    with pytest.raises(RunsError, match=rf"{rows} rows of 3 columns; at most 1500000 rows, 1000 columns and"):
        read_runs(path)


def test_a_file_larger_than_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_BYTES", 1_000_000)
    for suffix in ("csv", "parquet"):
        path = tmp_path / f"runs.{suffix}"
        path.write_bytes(b"x" * 1_000_001)
        with pytest.raises(RunsError, match=rf"runs\.{suffix}: larger than 1 MB; at most so much is read"):
            read_runs(path)


def test_heaps_that_lie_in_each_other_are_walked_once():
    """Entries that are heads of further collections: walked one by one, to the end of the file, they take ages."""
    size = 200_000
    raw = bytearray(b"\x89HDF\r\n\x1a\n".ljust(size, b"\0"))
    for at in range(64, size, 32):
        raw[at : at + 16] = (1).to_bytes(2, "little") + bytes(6) + (16).to_bytes(8, "little")
        raw[at + 16 : at + 32] = b"GCOL\x01\0\0\0" + (size - at - 16).to_bytes(8, "little")
    began = time.process_time()
    assert len(netcdf._heaps(raw)) == 1
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("versions", "[1]"),
        ("versions", "x"),
        ("versions", '{"numpy": "\\u001b[2J"}'),
        ("settings", "[1]"),
        ("below", "abc"),
        ("below", -1.0),
        ("machine", "\x1b]0;x"),
    ],
)
def test_what_a_fit_says_besides_is_looked_at_too(true_fit, name, value):
    tree = true_fit(draws=40)
    tree.attrs |= {"versions": "{}", "settings": "{}", "machine": "x86_64", "below": 1e22}
    assert saved.damage_of(tree) == ""
    tree.attrs[name] = value
    assert saved.damage_of(tree).startswith("damaged: ")


def test_texts_that_unpack_without_end_are_refused(tmp_path):
    # a dictionary of one long text and many references to it: 4 GB out of less than a MB
    columns = {name: pa.array([1e9] * 40_000) for name in ("params", "tokens", "loss")}
    table = pa.table(columns | {"text": pa.DictionaryArray.from_arrays(pa.array([0] * 40_000), ["x" * 100_000])})
    pq.write_table(table, tmp_path / "runs.parquet", store_schema=False, compression="zstd")
    with pytest.raises(RunsError, match="the texts of text come to more than 128 MB; drop it"):
        read_runs(tmp_path / "runs.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#" * (law_tables.LAW_BYTES_MAX + 1), "larger than 64000 bytes: this is not a law file"),
        ("a" + ".a" * 201 + " = 1", "line 1 has 201 dots; at most 200 are allowed in one"),
        ("x = " + "[" * 60_000, "not valid TOML: lists or tables nested too deep"),
        (
            "title = 't'\ncite = 'c'\nformula = '" + "x" * 61 + "'",
            "the name 'x{56}...' in formula has 61 ch",
        ),
        (
            "title = 't'\ncite = 'c'\nformula = 'N'\n[where]\n" + "x" * 61 + " = 'N'",
            "has 61 characters; 60 are allow",
        ),
        ("[priors]\n" + "".join(f"p{i} = 1\n" for i in range(101)), "101 entries in|'title' is missing"),
    ],
)
def test_limits_of_a_law(text, message):
    with pytest.raises(LawError, match=message):
        parse_law(text, "mine")


def test_limits_are_told_in_the_documentation():
    page = (ROOT / "docs/faq.md").read_text()
    section = page.partition("### How large may my files be?")[2].partition("\n### ")[0]
    for limit in (
        *(
            formula.FORMULA_CHARACTERS_MAX,
            formula.NODES_MAX,
            law_tables.LAW_BYTES_MAX,
            limits.PARTS_MAX,
            law_tables.TABLE_ENTRIES_MAX,
        ),
        *(tables.MAX_ROWS, tables.MAX_COLUMNS, tables.MAX_CELLS, tables.MAX_NAME_CHARACTERS, problem.MENU_MAX),
    ):
        assert f"{limit:,}".replace(",", " ") in section, limit
    assert f"nested {formula.DEPTH_MAX} deep, names of {formula.NAME_CHARACTERS_MAX} characters" in section
    for megabytes in (tables.MAX_BYTES, netcdf.BYTES_MAX):
        assert f"{megabytes // 1_000_000} MB" in section


def test_a_menu_is_not_fetched_and_not_endless(tmp_path, true_fit):
    with pytest.raises(RunsError, match="No such file or directory"):
        read_columns("http://127.0.0.1:9/menu.csv")
    with pytest.raises(FitError, match="a menu of 1001 architectures: at most 1000 are allowed"):
        problem_of(Study.opened(true_fit(draws=20)), menu=np.geomspace(1e8, 1e9, 1001))


def test_a_column_that_netcdf_cannot_hold_is_no_traceback(true_fit, tmp_path):
    fit = true_fit(draws=20)
    data = fit["constant_data"].to_dataset().assign({"family": ("run", np.array(["a\x00b"] * 24, dtype=object))})
    fit["constant_data"] = xr.DataTree(data)
    with pytest.raises(FitError, match=r"fit\.nc: the fit cannot be written: .*NUL"):
        save_fit(fit, tmp_path / "fit.nc")
    assert not (tmp_path / "fit.nc").exists()


def test_leaving_out_needs_draws(true_fit):
    with pytest.raises(FitError, match="a fit of 20 draws: leaving runs out by importance needs at least 25"):
        loo(true_fit(draws=20))


# ---- by the thousand ------------------------------------------------------------------------------------------------

THOUSANDS = {
    "formulas": 10_000,
    "laws": 5_000,
    "runs": 10_000,
    "tables": 10_000,
    "conditions": 10_000,
    "parquet": 5_000,
    "frames": 5_000,
    "options": 10_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("parser", TARGETS)
def test_by_the_thousand(parser):
    """In a process of its own in which running code is forbidden; a fit takes a tenth of a second to open."""
    if parser == "events":
        pytest.importorskip("tensorboard", reason="without TensorBoard its files are refused, all of them")
    tally = drive(parser, THOUSANDS.get(parser, 400), 20260101, None)
    assert tally["crashes"] == []
    assert tally["accepted"] > 0 and tally["refused"] > 0
    assert tally["peak_mb"] < MEGABYTES


@pytest.mark.slow
@pytest.mark.parametrize("parser", ["formulas", "laws", "runs"])  # those of bytes: the others are lists of choices
def test_guided_by_coverage(parser, tmp_path):
    pytest.importorskip("atheris", reason="Atheris is not to be had for this Python or machine")
    command = [sys.executable, "-m", "benchmarks.fuzz", "--parser", parser, "--atheris", "20"]
    command += ["--keep", str(tmp_path)]
    held = np.ones(200_000_000)  # 1.6 GB of whoever starts it, more than its limit, are not counted against it
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    del held
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]  # the exception is on standard output
    assert re.search(r"Done \d{2,} runs", done.stderr)


@pytest.mark.slow
def test_accepted_formulas_compile_to_what_they_mean(caller):
    """Of ten grammatical formulas, the density that Numba makes of a law with it, against NumPy."""
    import random

    from bayescale.engine.density import Density
    from bayescale.laws.data_split import split_data
    from bayescale.laws.formula import Binary, Call, Name, Number, evaluate, names, parse
    from benchmarks.hostile.laws import grammatical

    checked, rng = 0, random.Random(5)
    while checked < 10:
        try:
            tree = parse(grammatical(rng, 4))
        except formula.FormulaError:
            continue
        free = sorted(names(tree))
        at = {name: 0.5 + 0.1 * i for i, name in enumerate(free)}
        with np.errstate(all="ignore"):
            expected = float(np.asarray(evaluate(tree, at)))
        if len(free) < 2 or not abs(expected) < 1e6:
            continue
        trees, _ = split_data({"predicted": Binary("+", tree, Number(0.0))}, (), free)
        once = Binary("-", Call("abs", (Name(free[0]),)), Call("abs", (Name(free[0]),)))
        each = Binary("+", Name("predicted"), Binary("*", Number(0.0), Name("k")))
        function = Density(tuple(free), (), ("k",), trees, once, each)
        call = caller(function, {"k": np.ones(3)})
        status, value, _ = call(np.array([at[name] for name in free]))
        if status == 0:
            assert np.isclose(value, 3 * expected, rtol=1e-8, atol=1e-9)
            checked += 1
