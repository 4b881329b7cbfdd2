"""Reading a file: as xarray does where it is honest, and never more than stands in it where it is not."""

import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from bayescale.fitting import netcdf
from bayescale.fitting.netcdf import NetcdfError, read_tree, tree_bytes
from bayescale.fitting.store import open_fit, save_fit
from bayescale.laws.law import law_loss
from bayescale.study import Study

SAVED = Path(__file__).parent.parent / "saved" / "format_1.nc"
TEXT = h5py.string_dtype()
BIG = 2_000_000


def by_xarray(path):
    with xr.open_datatree(path, engine="h5netcdf", decode_times=False, decode_timedelta=False) as opened:
        return opened.load()


def same(found, expected):
    assert list(found.children) == list(expected.children)
    for name in ("/", *expected.children):
        there, here = expected[name].to_dataset(inherit=False), found[name].to_dataset(inherit=False)
        xr.testing.assert_identical(here, there)
        assert list(here.variables) == list(there.variables) and list(here.attrs) == list(there.attrs)
        for variable in there.variables:
            if there[variable].dtype.kind in "biuf":
                assert here[variable].dtype == there[variable].dtype
                assert here[variable].values.tobytes() == there[variable].values.tobytes()


# ---- what is honest -------------------------------------------------------------------------------------------------


def test_a_fit_of_the_first_version_opens_as_ever(tmp_path):
    opened = open_fit(SAVED)
    same(read_tree(SAVED), by_xarray(SAVED))
    assert opened.attrs["law"] == "small" and opened.sizes == {} and opened["posterior"].sizes["draw"] == 15
    same(open_fit(save_fit(opened, tmp_path / "again.nc")), opened)


@pytest.mark.parametrize("path", sorted(SAVED.parent.glob("*.nc")), ids=lambda path: path.stem)
def test_kept_fits_open_and_their_law_gives_their_likelihood(path):
    """Kept fits of every released format: a later version reads the same law, noise and draws from them."""
    study = Study.opened(open_fit(path))
    values = {name: value.values[..., None] for name, value in study.posterior.items()} | dict(study.constants)
    predicted = law_loss(study.law, values | study.inputs())
    found = study.scatter.log_density(study.seen.values, predicted, study.covariates(), values)
    kept = study.fit["log_likelihood"][study.law.observed.variable].transpose("chain", "draw", "run")
    np.testing.assert_allclose(found, kept.values, rtol=1e-9, atol=1e-9)


def test_numbers_texts_and_attributes_as_xarray_reads_them(tmp_path):
    edges = np.array([-0.0, np.nan, np.inf, 5e-324, 1.7976931348623157e308])
    numbers = {f"n_{kind}": ("run", np.arange(5).astype(kind)) for kind in ("i1", "i2", "i4", "i8", "u1", "u8", "f4")}
    words = {
        "text": ("run", np.array(["größe", "", "a b", "尺" * 300, "größe"], dtype=object)),
        "yes": ("run", np.array([True, False, True, True, False])),
        "edges": ("run", edges, {"units": "days since 2000-01-01", "long": "ü"}),
        "one": ((), 2.5),
        "cube": (("run", "chain", "draw"), np.random.default_rng(0).normal(size=(5, 2, 3))),
        "none": ("nobody", np.zeros(0)),
        "square": (("chain", "draw"), np.arange(6).reshape(2, 3)),
    }
    data = xr.Dataset(numbers | words, coords={"run": np.arange(5), "draw": [1.5, 2.5, 3.5]})  # 'chain' has none
    attrs = {"text": "two\nlines ü", "empty": "", "whole": 7, "part": 0.1, "list": ["a", "bc"], "array": np.arange(3.0)}
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "a": data, "b": data[["square"]]})
    tree.to_netcdf(tmp_path / "xarray.nc", engine="h5netcdf")
    (tmp_path / "ours.nc").write_bytes(tree_bytes(tree))
    for path in (tmp_path / "xarray.nc", tmp_path / "ours.nc"):
        found = read_tree(path)
        same(found, by_xarray(path))
        same(found, tree)
        assert [list(found[name].variables) for name in "ab"] == [list(tree[name].variables) for name in "ab"]
        assert all(type(found.attrs[name]) is kind for name, kind in (("text", str), ("whole", int), ("part", float)))


@pytest.mark.parametrize("odd", [{"a/b": ("run", [1.0])}, {"a": ("run", np.array([1, "b"], dtype=object))}])
def test_what_has_no_place_in_a_file_is_not_written(odd):
    with pytest.raises((ValueError, TypeError)):
        tree_bytes(xr.DataTree.from_dict({"posterior": xr.Dataset(odd)}))


def test_the_newer_layout_of_hdf5(tmp_path):
    """Other versions of attributes and directories, as other programs write them."""
    with h5py.File(tmp_path / "new.nc", "w", libver="latest") as file:
        file.attrs["text"], file.attrs["fixed"] = "words", np.bytes_(b"bytes")
        group = file.create_group("posterior")
        group["level"] = np.arange(6.0).reshape(2, 3)
        for axis, name in enumerate(("chain", "draw")):
            group[name] = np.arange(2 + axis)
            group[name].make_scale(name)
            group["level"].dims[axis].attach_scale(group[name])
        group.create_dataset("text", data=["a", "b"], dtype=TEXT).dims[0].attach_scale(group["chain"])
    found = read_tree(tmp_path / "new.nc")
    assert found.attrs == {"text": "words", "fixed": "bytes"}
    assert found["posterior"]["level"].dims == ("chain", "draw") and found["posterior"]["level"].values[1, 2] == 5.0
    assert list(found["posterior"]["text"].values) == ["a", "b"]


# ---- what is not ----------------------------------------------------------------------------------------------------


def patched(path, length, replace):
    """The places of a file where a text of this length is referred to, written anew."""
    raw = bytearray(path.read_bytes())
    at = raw.find(struct.pack("<I", length))
    while at >= 0:
        heap = int.from_bytes(raw[at + 4 : at + 12], "little")
        if raw[heap : heap + 4] == b"GCOL":
            raw[at : at + 16] = replace(bytes(raw[at : at + 16]))
        at = raw.find(struct.pack("<I", length), at + 1)
    path.write_bytes(raw)


def shared_by_attributes(path, attributes=90):
    """Many attributes that are one long text."""
    with h5py.File(path, "w") as file:
        file.attrs.create("big", "x" * BIG, dtype=TEXT)
        for place in ("a", "b"):
            for i in range(attributes):
                file.require_group(place).attrs.create(f"a{i}", "abcde", dtype=TEXT)
    kept = []
    patched(path, BIG, lambda cell: kept.append(cell) or cell)
    patched(path, 5, lambda cell: kept[0])


def shared_by_cells(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("posterior/family", data=["x" * BIG] + ["abcde"] * 500, dtype=TEXT)
    kept = []
    patched(path, BIG, lambda cell: kept.append(cell) or cell)
    patched(path, 5, lambda cell: kept[0])


def claiming(where):
    def make(path):
        with h5py.File(path, "w") as file:
            if where == "attribute":
                file.attrs["law"] = "abcde"
            elif where == "list":
                file.attrs["law"] = ["a", "abcde"]
            else:
                file.create_dataset("posterior/family", data=["abcde"], dtype=TEXT)
        patched(path, 5, lambda cell: struct.pack("<I", 2**31) + cell[4:])

    return make


def lists_of_numbers(path):
    with h5py.File(path, "w") as file:
        values = np.empty(50, dtype=object)
        values[:] = [np.arange(4, dtype="u1")] * 50
        file.attrs.create("a", values, dtype=h5py.vlen_dtype(np.dtype("u1")))


def numbers(**options):
    attrs = options.pop("attrs", {})

    def make(path):
        with h5py.File(path, "w") as file:
            made = file.create_dataset("posterior/level", **({"shape": (2, 250_000_000), "dtype": "u1"} | options))
            made.attrs.update(attrs)

    return make


PACKED = "is packed"
ATTACKS = {
    "attributes that share a text": (shared_by_attributes, "its attributes come to more than 20 MB"),
    "cells that share a text": (shared_by_cells, "its data would be larger than the file"),
    "an attribute of 2 GB": (claiming("attribute"), "its attributes come to more than 20 MB"),
    "a list of 2 GB": (claiming("list"), "its attributes come to more than 20 MB"),
    "a cell of 2 GB": (claiming("cell"), "its data would be larger than the file"),
    "lists of numbers": (lists_of_numbers, "the attribute 'a' holds neither numbers nor text"),
    "never written": (numbers(), PACKED),
    "compressed": (numbers(chunks=(1, 1_000_000), compression="gzip"), PACKED),
    "too large to be": (numbers(shape=(10**6, 10**6), chunks=(1000, 1000), dtype="f8"), PACKED),
    "scaled": (numbers(shape=(9,), data=np.arange(9.0), attrs={"scale_factor": 2.5}), r"is packed \(scale_factor\)"),
    "filled": (numbers(shape=(9,), data=np.arange(9.0), attrs={"_FillValue": 7.0}), r"is packed \(_FillValue\)"),
    "masked": (numbers(shape=(9,), data=np.arange(9.0), attrs={"missing_value": 7.0}), r"is packed \(missing_value\)"),
    "pairs": (numbers(shape=(9,), dtype=[("a", "f8"), ("b", "i4")]), "holds neither numbers nor text"),
}


@pytest.mark.parametrize(("make", "message"), ATTACKS.values(), ids=ATTACKS)
def test_what_is_larger_than_its_file_is_refused(tmp_path, make, message):
    make(tmp_path / "fit.nc")
    with pytest.raises(NetcdfError, match=message) as error:
        read_tree(tmp_path / "fit.nc")
    assert "\n" not in str(error.value)


def test_refusals_cost_no_memory(tmp_path):
    """All attacks one after the other, in a process that counts: all together less than the least of them claims."""
    paths = [tmp_path / f"{i}.nc" for i in range(len(ATTACKS))]
    for path, (make, _) in zip(paths, ATTACKS.values(), strict=True):
        make(path)
    script = """
import resource, sys, h5py, xarray, bayescale
bayescale.open_fit  # loads what it needs
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before, refused = peak(), 0
for path in sys.argv[1:]:
    try:
        bayescale.open_fit(path)
    except bayescale.FitError:
        refused += 1
print(refused, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    refused, megabytes = map(int, done.stdout.split())
    assert refused == len(paths) and megabytes < 150


def test_a_claim_is_found_whatever_stands_before_it(tmp_path):
    """The same name many times, on a file, its groups and variables: the largest claim counts."""
    with h5py.File(tmp_path / "fit.nc", "w") as file:
        for i in range(20):
            file.create_group(f"g{i}").attrs["about"] = "x" * (i + 1)
        file["x"] = np.zeros(3)
        file["x"].attrs["about"] = "y" * 777
    with open(tmp_path / "fit.nc", "rb") as raw:
        content = raw.read()
    source = netcdf._Source(content, netcdf._heaps(content))
    assert netcdf._claim("about", source) == 777 and netcdf._claim("bout", source) == 0


def test_a_variable_that_another_program_has_removed(tmp_path):
    """Its dimensions still have it in their lists."""
    (tmp_path / "fit.nc").write_bytes(SAVED.read_bytes())
    with h5py.File(tmp_path / "fit.nc", "r+") as file:
        del file["sample_stats/diverging"]
        del file.attrs["machine"]
        file.attrs["versions"] = '{"mine": "1"}'
    opened = open_fit(tmp_path / "fit.nc")
    assert "diverging" not in opened["sample_stats"] and "diverging" in open_fit(SAVED)["sample_stats"]
    assert opened.attrs["versions"] == '{"mine": "1"}' and "machine" not in opened.attrs


def test_lists_of_dimensions_have_a_limit(tmp_path):
    with h5py.File(tmp_path / "fit.nc", "w") as file:
        file["posterior/x"] = np.zeros(1)
        lists = np.array(
            [(file["posterior/x"].ref, 0)] * 3000, dtype=[("dataset", h5py.ref_dtype), ("dimension", "i4")]
        )
        for i in range(4):
            file[f"posterior/d{i}"] = np.zeros(1)
            file[f"posterior/d{i}"].attrs["REFERENCE_LIST"] = lists
    with pytest.raises(NetcdfError, match="its dimensions make no sense"):
        read_tree(tmp_path / "fit.nc")


def test_limits_of_the_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(netcdf, "OBJECTS_MAX", 5)
    monkeypatch.setattr(netcdf, "ATTRIBUTES_MAX", 3)
    for name, change, message in (
        ("objects", lambda file: [file.create_group(f"g{i}") for i in range(6)], "more than 5 groups and variables"),
        ("attributes", lambda file: file.attrs.update({f"a{i}": i for i in range(4)}), "more than 3 attributes at one"),
        ("names", lambda file: [file.create_group(f"g{i}").attrs.create(f"a{i}", "x") for i in range(4)], "3 names"),
        ("deep", lambda file: file.create_group("a/b"), "groups within its groups"),
        ("loop", lambda file: file.__setitem__("a", file["/"]), "groups within its groups"),
        ("soft", lambda file: file.__setitem__("a", h5py.SoftLink("/")), "refers to other places or files"),
    ):
        with h5py.File(tmp_path / f"{name}.nc", "w") as file:
            change(file)
        with pytest.raises(NetcdfError, match=message):
            read_tree(tmp_path / f"{name}.nc")
