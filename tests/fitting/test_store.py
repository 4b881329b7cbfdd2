import json
import os
import subprocess
import sys

import arviz
import numpy as np
import pytest
import xarray as xr

from bayescale.errors import FitError
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.netcdf import tree_bytes
from bayescale.fitting.store import SEAL_BYTES, open_fit, save_fit
from bayescale.forecasts.forecast import forecast
from bayescale.study import law_of

SIZES = [7e9, 20e9], [3e11, 5e11]


@pytest.fixture(scope="module")
def saved(sampled, tmp_path_factory):
    return save_fit(sampled, tmp_path_factory.mktemp("store") / "fit.nc")


@pytest.fixture(scope="module")
def small(true_fit):
    return true_fit(draws=20)


@pytest.fixture
def tampered(small, tmp_path):
    """A small fit, changed by a function that is given its tree, in a file."""

    def write(change):
        tree = small.copy(deep=True)
        tree = change(tree) or tree
        (tmp_path / "fit.nc").write_bytes(tree_bytes(tree))  # without the line of its checksum, which would tell
        return tmp_path / "fit.nc"

    return write


def refused(path, message):
    with pytest.raises(FitError, match=message) as error:
        open_fit(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


# ---- there and back -------------------------------------------------------------------------------------------------


def test_round_trip_is_bit_equal(sampled, saved):
    opened = open_fit(saved)
    assert set(opened.children) == set(sampled.children)
    for group in sampled.children:
        xr.testing.assert_identical(opened[group].to_dataset(), sampled[group].to_dataset())
    assert {name: np.asarray(value).item() for name, value in opened.attrs.items()} == sampled.attrs
    assert law_of(opened) == law_of(sampled)


def test_a_fit_saved_before_warnings_were_carried_carries_them(small, tmp_path):
    old = small.copy()
    notes = [{"code": "units", "severity": "warning", "text": "tokens in billions?", "rows": []}]
    old.attrs["notes"] = json.dumps([*notes, {"code": "few", "severity": "info", "text": "nothing much", "rows": []}])
    found = open_fit(save_fit(old, tmp_path / "old.nc"))
    assert trust_warnings(diagnostics(found)) == ["tokens in billions?"]


def test_nothing_else_is_left_in_the_folder(saved):
    assert os.listdir(saved.parent) == ["fit.nc"]


def test_opened_fit_needs_its_file_no_more(true_fit, tmp_path):
    path = save_fit(true_fit(draws=20), tmp_path / "fit.nc")
    opened = open_fit(path)
    path.unlink()
    assert forecast(opened, 1e10, 1e12)["predictions"]["loss"].shape == (2, 10, 1)


@pytest.mark.slow
def test_a_new_process_gives_the_same_forecast_to_the_last_bit(sampled, saved, tmp_path):
    script = (
        "import sys, bayescale; tree = bayescale.forecast(bayescale.open_fit(sys.argv[1]), "
        f"{SIZES[0]}, {SIZES[1]}, seed=4); tree['predictions'].to_dataset().to_netcdf(sys.argv[2], engine='h5netcdf')"
    )
    subprocess.run([sys.executable, "-c", script, saved, tmp_path / "there.nc"], check=True)
    here = forecast(sampled, *SIZES, seed=4)["predictions"].to_dataset()
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "there.nc", engine="h5netcdf"), here)


def test_opening_needs_no_law_file(true_fit, tmp_path, monkeypatch):
    path = save_fit(true_fit(draws=20), tmp_path / "fit.nc")
    monkeypatch.setattr("bayescale.laws.law.models_folder", lambda: tmp_path / "nowhere")
    assert law_of(open_fit(path)).name == "chinchilla"


# one published loss of the embedded runs looks wrong, and leaving it out moves the posterior much
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_plain_arviz_works_on_the_file(saved):
    opened = arviz.from_netcdf(saved)
    table = arviz.summary(opened, var_names=["E", "alpha", "beta"])
    assert list(table.index) == ["E", "alpha", "beta"]
    elpd = arviz.loo(opened)
    assert elpd.n_data_points == 23 and np.isfinite(elpd.elpd)
    plot = arviz.plot_trace_dist(opened, var_names=["E"], backend="matplotlib")
    import matplotlib.pyplot as plt

    assert plot is not None and plt.get_fignums()
    plt.close("all")


def test_an_older_file_is_replaced(true_fit, tmp_path):
    save_fit(true_fit(draws=20, seed=1), tmp_path / "fit.nc")
    save_fit(true_fit(draws=20, seed=2), tmp_path / "fit.nc")
    assert open_fit(tmp_path / "fit.nc").attrs["seed"] == 2


def test_any_column_of_the_runs_survives(true_fit, crossed_runs, tmp_path):
    runs = crossed_runs().assign({"family/größe": ("run", np.array(["a b", ""] * 12, dtype=object))})
    path = save_fit(true_fit(draws=20, runs=runs.rename({"family/größe": "größe"})), tmp_path / "fit.nc")
    assert list(open_fit(path)["constant_data"]["größe"].values[:2]) == ["a b", ""]


# ---- what cannot be opened ------------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    refused(tmp_path / "absent.nc", r"absent\.nc: no such file; 'bayescale fit RUNS -o .*absent\.nc' makes one")


def test_folder(tmp_path):
    refused(tmp_path, r"is a folder; a fit saved by bayescale \(fit.nc\) is expected")


@pytest.mark.parametrize("sealed", [True, False])
def test_truncated_file(small, tmp_path, sealed):
    """At every twentieth of its length, and at the ends; also those that another program wrote, without our line."""
    path = save_fit(small, tmp_path / "fit.nc")
    content = path.read_bytes() if sealed else path.read_bytes()[:-SEAL_BYTES]
    path.write_bytes(content)
    assert open_fit(path).attrs["law"] == "chinchilla"
    for kept in (0, 1, 7, 8, 10, 100, *(len(content) * k // 20 for k in range(1, 20)), len(content) - SEAL_BYTES - 1):
        path.write_bytes(content[:kept])
        refused(path, r"fit\.nc: not a readable NetCDF file; it may be truncated or of another kind")


def test_one_bit_anywhere(small, tmp_path):
    """Of the numbers too, where NetCDF itself would not notice."""
    path = save_fit(small, tmp_path / "fit.nc")
    content = path.read_bytes()
    for at in np.linspace(0, len(content) - SEAL_BYTES - 1, 40).astype(int):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        refused(path, r"fit\.nc: damaged: it has changed since it was saved \(its SHA-256 differs\); copy it again")


def test_what_other_programs_have_written_anew_is_not_damaged(small, tmp_path):
    save_fit(small, tmp_path / "fit.nc")
    changed = xr.load_datatree(tmp_path / "fit.nc", engine="h5netcdf")
    changed.attrs["versions"] = '{"mine": "1"}'
    changed.to_netcdf(tmp_path / "mine.nc", engine="h5netcdf")
    assert open_fit(tmp_path / "mine.nc").attrs["versions"] == '{"mine": "1"}'
    import h5py

    with h5py.File(tmp_path / "fit.nc", "a") as file:  # in place
        file.attrs["versions"] = '{"mine too, and longer": "than before"}'
    assert open_fit(tmp_path / "fit.nc").attrs["versions"] == '{"mine too, and longer": "than before"}'


def test_pipe_or_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fit.nc")
    refused(tmp_path / "fit.nc", r"fit\.nc is a device or a pipe; a fit saved by bayescale \(fit.nc\) is expected")
    refused("/dev/zero", "is a device or a pipe")


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "fit.nc").write_bytes(b"")
    monkeypatch.setattr("builtins.open", forbidden)
    refused(tmp_path / "fit.nc", r"fit\.nc: cannot be read: Permission denied")


def test_samples_of_another_program(tmp_path):
    trace = {"posterior": {"alpha": np.zeros((2, 10))}, "observed_data": {"y": np.zeros(3)}}
    arviz.from_dict(trace).to_netcdf(tmp_path / "trace.nc", engine="h5netcdf")
    refused(tmp_path / "trace.nc", "NetCDF, but not a fit saved by bayescale")


def test_later_format_says_so_whatever_else_is_in_it(tmp_path):
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"bayescale_format": 7}), "draws": xr.Dataset({"a": 1.0})})
    tree.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    refused(tmp_path / "fit.nc", "saved in format 7, this bayescale reads up to 1; upgrade bayescale")


@pytest.mark.parametrize("content", [b"N,D,loss\n1,2,3\n", b"\x00" * 4096, b"\x89HDF\r\n\x1a\n" + b"\xff" * 4096])
def test_file_of_another_kind(tmp_path, content):
    path = tmp_path / "fit.nc"
    path.write_bytes(content)
    refused(path, "not a readable NetCDF file; it may be truncated or of another kind")


def test_foreign_netcdf(tmp_path):
    path = tmp_path / "weather.nc"
    xr.Dataset({"rain": ("day", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    refused(path, r"weather\.nc: NetCDF, but not a fit saved by bayescale \(no law or no posterior in it\)")


def with_attribute(name, value):
    def change(tree):
        tree.attrs[name] = value

    return change


def without_attribute(name):
    def change(tree):
        del tree.attrs[name]

    return change


def without(group, name):
    def change(tree):
        tree[group] = xr.DataTree(tree[group].to_dataset().drop_vars(name))

    return change


def with_posterior_of_one_chain(tree):
    tree["posterior"] = xr.DataTree(tree["posterior"].to_dataset().isel(chain=0))


DAMAGES = [
    (with_attribute("bayescale_format", 2), "saved in format 2, this bayescale reads up to 1; upgrade bayescale"),
    (with_attribute("bayescale_format", "new"), "saved in format new, this bayescale reads up to 1"),
    (without_attribute("bayescale_format"), "saved in format None, this bayescale reads up to 1"),
    (without_attribute("law_text"), "not a fit saved by bayescale"),
    (without_attribute("noise"), r"damaged: no \['noise'\] among its attributes; make the fit again"),
    (without_attribute("seed"), r"damaged: no \['seed'\] among its attributes"),
    (with_attribute("noise", "cauchy"), "damaged: its attribute 'noise' is not what it should be"),
    (with_attribute("diagnostics", "{"), "damaged: its diagnostics cannot be read"),
    (with_attribute("diagnostics", "{}"), "damaged: converged is missing from it"),
    (with_attribute("law_text", "title = 1"), "damaged: law 'chinchilla': 'title' must be text, not 1"),
    (without("posterior", "slope"), r"damaged: no \['slope'\] in its posterior"),
    (without("posterior", ["level", "sigma"]), r"damaged: no \['level', 'sigma'\] in its posterior"),
    (without("constant_data", "N_ref"), r"damaged: no \['N_ref'\] in its constant_data"),
    (without("constant_data", "tokens"), r"damaged: no \['tokens'\] in its constant_data"),
    (without("observed_data", "log_loss"), r"damaged: no \['log_loss'\] in its observed_data"),
    (lambda tree: tree.drop_nodes("posterior"), "not a fit saved by bayescale"),
    (lambda tree: tree.drop_nodes("constant_data"), "damaged: no .*'params', 'tokens'.* in its constant_data"),
    (with_posterior_of_one_chain, r"its posterior is not \[chain, draw\]"),
]


# all of them take a quarter of a minute
@pytest.mark.parametrize(
    ("change", "message"),
    [pytest.param(*damage, marks=pytest.mark.slow if i % 3 else ()) for i, damage in enumerate(DAMAGES)],
)
def test_damaged_fit(tampered, change, message):
    refused(tampered(change), message)


@pytest.mark.parametrize("hostile", ["__import__('os').system('touch {canary}')", "level.__class__", "9**9**9"])
def test_hostile_law_in_a_fit_runs_nothing(tampered, tmp_path, hostile):
    canary = tmp_path / "canary"

    def change(tree):
        text = tree.attrs["law_text"].replace(
            "L_ref * level *", hostile.format(canary=canary) + " * L_ref * level *", 1
        )
        tree.attrs["law_text"] = text

    refused(tampered(change), "damaged: law 'chinchilla', formula: .*(not allowed in a formula|exponent)")
    assert not canary.exists()


def test_attributes_are_data_not_code(tampered):
    path = tampered(with_attribute("versions", json.dumps({"bayescale": "99"})))
    assert open_fit(path).attrs["versions"] == '{"bayescale": "99"}'


# ---- what cannot be written -----------------------------------------------------------------------------------------


def test_missing_folder_to_save_in(true_fit, tmp_path):
    with pytest.raises(FitError, match=r"absent/fit\.nc: the fit cannot be written: No such file or directory"):
        save_fit(true_fit(draws=20), tmp_path / "absent" / "fit.nc")


def test_folder_in_the_place_of_the_file(true_fit, tmp_path):
    with pytest.raises(FitError, match="the fit cannot be written: is a folder, a file name is expected"):
        save_fit(true_fit(draws=20), tmp_path)


def test_read_only_folder(true_fit, tmp_path, read_only):
    (tmp_path / "folder").mkdir()
    save_fit(true_fit(draws=20), tmp_path / "folder" / "fit.nc")
    before = (tmp_path / "folder" / "fit.nc").read_bytes()
    read_only(tmp_path / "folder")
    with pytest.raises(FitError, match=r"the fit cannot be written: (Permission denied|Read-only file system)$"):
        save_fit(true_fit(draws=20, seed=7), tmp_path / "folder" / "fit.nc")
    assert (tmp_path / "folder" / "fit.nc").read_bytes() == before


def test_full_disk(true_fit, full_disk):
    (full_disk / "fit.nc").write_bytes(b"older")
    with pytest.raises(FitError, match=r"fit\.nc: the fit cannot be written: No space left on device$"):
        save_fit(true_fit(draws=20), full_disk / "fit.nc")
    assert (full_disk / "fit.nc").read_bytes() == b"older" and sorted(os.listdir(full_disk)) == ["fit.nc", "others"]


@pytest.mark.slow
def test_file_that_may_not_grow(true_fit, tmp_path):
    """A limit of the system, in a process of its own: nothing may die of it, at once or when it ends."""
    fit = save_fit(true_fit(draws=20), tmp_path / "fit.nc")
    script = (
        "import resource, signal, sys, bayescale; tree = bayescale.open_fit(sys.argv[1]);"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "try: bayescale.save_fit(tree, sys.argv[2])\n"
        "except bayescale.FitError as error: print(error)"
    )
    command = [sys.executable, "-c", script, fit, tmp_path / "new.nc"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("new.nc: the fit cannot be written: File too large\n") and not done.stderr
    assert os.listdir(tmp_path) == ["fit.nc"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_failing_write_leaves_the_older_fit(true_fit, tmp_path, monkeypatch, error):
    path = save_fit(true_fit(draws=20), tmp_path / "fit.nc")
    before = path.read_bytes()

    def fail(handle):
        raise error

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(FitError, match=f"the fit cannot be written: {error.strerror}"):
        save_fit(true_fit(draws=20, seed=7), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["fit.nc"]
