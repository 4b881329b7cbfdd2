"""Hostile saved fits: changed bytes, and whole files with hostile contents."""

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import bayescale
from bayescale.fitting.store import SEAL_BYTES
from benchmarks.hostile.inputs import TRICKS, borne, flipped, mutated, scratch, silent
from benchmarks.hostile.laws import FIT_LAW, KEYS, VALUES, a_law, law_texts


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
    """Its file without the line of its checksum, which would tell of every change before the parser sees it."""
    path = bayescale.save_fit(a_fit(), scratch("base.nc"))
    return path.read_bytes()[:-SEAL_BYTES]


def make_fit_bytes(rng: random.Random) -> bytes:
    return fit_bytes() if rng.random() < 0.01 else flipped(rng, fit_bytes())


def bear_fit_bytes(raw: bytes) -> bool:
    path = scratch("fit.nc")
    path.write_bytes(raw)
    return borne(lambda: use_fit(bayescale.open_fit(path), sum(raw)))


def use_fit(fit: Any, salt: int) -> None:
    """What is asked of an opened fit: its table and JSON, and now and then a forecast, a split, a page."""
    from bayescale.display.terminal import print_fit, print_json
    from bayescale.field import BAND
    from bayescale.fitting.diagnostics import fit_summary
    from bayescale.forecasts import discrepancy_posterior

    kind = salt % 400
    with silent():
        print_json(fit_summary(fit)) if kind % 2 else print_fit(fit, BAND)
    if kind < 30:
        str(bayescale.show(fit))
    if kind < 4:
        kept, discrepancy_posterior.LOG_SCALES = (
            discrepancy_posterior.LOG_SCALES,
            discrepancy_posterior.LOG_SCALES[::6],
        )  # a coarse grid of scales: time
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
            discrepancy_posterior.LOG_SCALES = kept


# changes of a fit are written down as JSON: [[what, where, value], ...]
GROUPS = ["posterior", "sample_stats", "observed_data", "constant_data", "log_likelihood"]
FIT_NAMES = [
    *("level", "alpha", "beta", "sigma", "tilt", "nu_minus_2", "A", "params", "tokens", "compute", "family"),
    *("D_ref", "L_ref", "C_ref", "log_loss", "diverging", "chain", "draw", "run"),
]
ATTRIBUTES = ["law", "law_text", "noise", "seed", "source", "data_hash", "settings", "diagnostics", "notes", "versions"]
ATTRIBUTES += ["machine", "below"]
TEXTS = [
    *(
        "",
        "x",
        "\x1b[2J",
        "[/]",
        "</script><script>alert(1)</script>",
        "a\nb",
        "y" * 5000,
        "[" * 5000,
        "{}",
        "[]",
        "[1]",
    ),
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
            changes.append(
                ["attribute", rng.choice(ATTRIBUTES), rng.choice([*TEXTS, 1, -5, 2.5, 2**70, [1.0, 2.0], None])]
            )
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
            changes.append(
                ["dims", [group, name], rng.choice(("scalar", "first", "transpose", "extra", "empty", "one"))]
            )
        elif kind == 10:
            changes.append(["drop", [group, rng.choice((name, ""))], None])
        else:
            changes.append(["odd", [group, name], rng.choice(ODDITIES)])
    return json.dumps(changes).encode()


def _report_value(rng: random.Random) -> Any:
    return rng.choice(
        [*TEXTS, *NUMERIC, None, True, {}, [], {"E": None}, {"E": "x"}, ["E"], [1], {"a": {"b": []}}, 10**30]
    )


ODDITIES = [
    *("huge", "huge chunked", "huge compact rows", "loop", "external link", "soft link", "external data", "virtual"),
    *(
        "many groups",
        "deep groups",
        "big attribute",
        "text attribute",
        "scale_factor",
        "units",
        "coordinates",
        "compound",
    ),
    *(
        "reference",
        "vlen",
        "enum",
        "fill value",
        "shared texts",
        "dimension list",
        "filter",
        "dtype attribute",
        "opaque",
    ),
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
                with np.errstate(invalid="ignore"):  # a number that the other kind has not
                    data = (
                        data.astype(object).astype(str).astype(h5py.string_dtype())
                        if value == "U"
                        else data.astype(value)
                    )
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

    if odd in (
        "huge",
        "huge chunked",
        "huge compact rows",
        "external data",
        "virtual",
        "compound",
        "reference",
        "vlen",
    ):
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
        for i in range(101):
            place.attrs[f"a{i}"] = i
    elif odd == "text attribute":
        place.attrs["texts"] = ["x"] * 1200
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
