"""A fit in a file: NetCDF, written whole or not at all, opened without running anything that is in it.

Behind what NetCDF counts as the file stands one line with the checksum of all before it, so that a bit that a disk or a
copy has changed is noticed. Other programs do not see the line, and drop it when they write the file anew.
"""

import hashlib
import json
import numbers
import os
import re
from pathlib import Path

import xarray as xr

from bayescale.diagnostics import trust_warnings
from bayescale.files import write_whole
from bayescale.fit import FORMAT, FitError, law_of
from bayescale.formula import FormulaError
from bayescale.law import LawError, column, size_column
from bayescale.noise import NOISES

SEAL = "\nbayescale: sha256 of all before this line is {}\n"
SEAL_BYTES = len(SEAL.format("0" * 64))


def save_fit(tree: xr.DataTree, path: "str | os.PathLike[str]") -> Path:
    """Write a fit to NetCDF, whole or not at all; ``arviz.from_netcdf`` can open it too.

    Raises
    ------
    FitError
        If the file cannot be written; an older file of that name is then untouched.
    """

    def write(draft: Path) -> None:
        # by way of memory: where a disk is full, HDF5 cannot close its file and takes the process down later
        content = tree.to_netcdf(engine="h5netcdf")
        with open(draft, "wb") as file:
            file.write(content)
            file.write(SEAL.format(hashlib.sha256(content).hexdigest()).encode())

    try:
        return write_whole(path, write)
    except OSError as error:
        raise FitError(f"{path}: the fit cannot be written: {error.strerror or error}") from None


def open_fit(path: "str | os.PathLike[str]") -> xr.DataTree:
    """Open a saved fit; nothing in the file is executed, and it is read into memory whole.

    Raises
    ------
    FitError
        If there is no such file, it is truncated, changed or not a fit, or a later version of bayescale wrote it.
    """
    path = Path(path)
    if path.is_dir():
        raise FitError(f"{path} is a folder; a fit saved by bayescale (fit.nc) is expected")
    if not path.exists():
        raise FitError(f"{path}: no such file; 'bayescale fit RUNS -o {path}' makes one")
    if not path.is_file():  # a pipe would be waited for, for ever
        raise FitError(f"{path} is a device or a pipe; a fit saved by bayescale (fit.nc) is expected")
    try:
        changed = _changed(path)
    except OSError as error:
        raise FitError(f"{path}: cannot be read: {error.strerror or error}") from None
    if changed:
        raise FitError(
            f"{path}: damaged: it is not as it was when it was saved (its SHA-256 differs); copy it again from where "
            "it came, or make the fit again (bayescale fit)"
        )
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
    except Exception:  # h5py, h5netcdf and xarray each raise their own kinds on a damaged file
        raise FitError(f"{path}: not a readable NetCDF file; it may be truncated or of another kind") from None
    saved_in = tree.attrs.get("bayescale_format")
    if isinstance(saved_in, numbers.Integral) and saved_in > FORMAT:  # first, for who knows what a later format holds
        raise FitError(f"{path}: saved in format {saved_in}, this bayescale reads up to {FORMAT}; upgrade bayescale")
    if "law_text" not in tree.attrs or "posterior" not in tree.children:
        raise FitError(f"{path}: NetCDF, but not a fit saved by bayescale (no law or no posterior in it)")
    if not isinstance(saved_in, numbers.Integral):
        raise FitError(f"{path}: saved in format {saved_in}, this bayescale reads up to {FORMAT}; upgrade bayescale")
    try:
        damage = _damage(tree)
    except (LawError, FormulaError) as error:
        damage = str(error)
    except KeyError as error:
        damage = f"{error.args[0]} is missing from it"
    except (TypeError, ValueError):
        damage = "its diagnostics cannot be read"
    if damage:
        raise FitError(f"{path}: damaged: {damage}; make the fit again (bayescale fit)")
    return tree


def _changed(path: Path) -> bool:
    """Whether a file has its line with the checksum, and is not what it says."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END) - SEAL_BYTES
        if size < 0:
            return False
        file.seek(size)
        seal = re.fullmatch(re.escape(SEAL).replace(r"\{\}", "([0-9a-f]{64})").encode(), file.read())
        if seal is None:
            return False
        file.seek(0)
        digest, left = hashlib.sha256(), size
        while left and (part := file.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
        return digest.hexdigest() != seal[1].decode()


def _damage(tree: xr.DataTree) -> str:
    """What a fit lacks that a forecast needs, or an empty text."""
    needed_attributes = {"law", "noise", "source", "seed", "notes", "diagnostics"}
    missing = sorted(needed_attributes - set(tree.attrs))
    if missing:
        return f"no {missing} among its attributes"
    if tree.attrs["noise"] not in NOISES:
        return f"unknown noise '{tree.attrs['noise']}'"
    trust_warnings(json.loads(tree.attrs["diagnostics"]))
    law = law_of(tree)
    needed = {
        "posterior": {*law.priors, *NOISES[tree.attrs["noise"]].priors},
        "constant_data": {*law.constants, *map(column, law.inputs), size_column(law), "C_ref"},
        "observed_data": {law.observed.variable},
    }
    for group, names in needed.items():
        present = set(tree[group].data_vars) if group in tree.children else set()
        if names - present:
            return f"no {sorted(names - present)} in its {group}"
    if any(tree["posterior"][name].dims != ("chain", "draw") for name in needed["posterior"]):
        return "its posterior is not [chain, draw]"
    return ""
