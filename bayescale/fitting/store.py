"""A fit in a file: NetCDF, written whole or not at all, opened without running anything that is in it.

Behind what NetCDF counts as the file stands one line with the checksum of all before it, so that a bit that a disk or a
copy has changed is noticed. Other programs do not see the line, and drop it when they write the file anew.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import xarray as xr

from bayescale.errors import FileError, FitError
from bayescale.fitting.diagnostics import noted
from bayescale.fitting.doors import opened_fit
from bayescale.fitting.netcdf import BYTES_MAX, NetcdfError, read_tree, tree_bytes
from bayescale.fitting.saved import damage_of
from bayescale.jobs.files import as_path, write_whole
from bayescale.laws.shipped import changed_law
from bayescale.study import law_of

SEAL = "\nbayescale: sha256 of all before this line is {}\n"
SEAL_BYTES = len(SEAL.format("0" * 64))


def save_fit(tree: xr.DataTree, path: "str | os.PathLike[str]") -> Path:
    """Write a fit to NetCDF, whole or not at all; ``arviz.from_netcdf`` can open it too.

    Parameters
    ----------
    tree : what :func:`bayescale.fit` returns
    path : of the file, which is replaced if it exists

    Returns
    -------
    The path.

    Raises
    ------
    FitError
        If it is no fit, or the file cannot be written; an older file of that name is then untouched.

    Examples
    --------
    >>> bayescale.save_fit(fit, "fit.nc").name
    'fit.nc'
    """
    tree = opened_fit(tree)
    if tree.nbytes > BYTES_MAX:
        raise FitError(
            f"{path}: {tree.nbytes / 1e6:.0f} MB of draws; a saved fit may have {BYTES_MAX // 1_000_000} MB, "
            "make it with fewer draws"
        )

    def write(draft: Path) -> None:
        # by way of memory: where a disk is full, HDF5 cannot close its file and takes the process down later
        content = tree_bytes(tree)
        with open(draft, "wb") as file:
            file.write(content)
            file.write(SEAL.format(hashlib.sha256(content).hexdigest()).encode())

    try:
        return write_whole(path, write)
    except OSError as error:
        raise FitError(f"{path}: the fit cannot be written: {error.strerror or error}") from None
    except (ValueError, TypeError) as error:  # a name or a text of the runs that NetCDF has no room for
        raise FitError(f"{path}: the fit cannot be written: {' '.join(str(error).split())[:200]}") from None


def open_fit(path: "str | os.PathLike[str]") -> xr.DataTree:
    """Open a saved fit; nothing in the file is executed, and it is read into memory whole.

    What the file says of its sizes is looked at before anything of it is read, then whether it is a fit: groups,
    dimensions, kinds and ranges of numbers, law and diagnostics.

    Raises
    ------
    FitError
        If there is no such file, it is truncated, changed, too large or not a fit, or a later version of bayescale
        wrote it.

    Examples
    --------
    >>> path = bayescale.save_fit(fit, "fit.nc")
    >>> bayescale.open_fit(path).attrs["law"]
    'chinchilla'
    """
    try:
        path = as_path(path)
    except FileError as error:
        raise FitError(str(error)) from None
    if os.path.isdir(path):
        raise FitError(f"{path} is a folder; a fit saved by bayescale (fit.nc) is expected")
    if not os.path.exists(path):
        raise FitError(f"{path}: no such file; 'bayescale fit RUNS -o {path}' makes one")
    if not os.path.isfile(path):  # a pipe would be waited for, for ever
        raise FitError(f"{path} is a device or a pipe; a fit saved by bayescale (fit.nc) is expected")
    try:
        changed = os.path.getsize(path) <= BYTES_MAX and _changed(path)
    except OSError as error:
        raise FitError(f"{path}: cannot be read: {error.strerror or error}") from None
    if changed:
        raise FitError(
            f"{path}: damaged: it has changed since it was saved (its SHA-256 differs); copy it again from its "
            "source, or make the fit again (bayescale fit)"
        )
    try:
        tree = read_tree(path)
    except NetcdfError as error:
        raise FitError(f"{path}: {error}") from None
    except Exception:  # h5py and xarray each raise their own kinds on a damaged file
        raise FitError(f"{path}: not a readable NetCDF file; it may be truncated or of another kind") from None
    if damage := damage_of(tree):
        raise FitError(f"{path}: {damage}")
    tree.attrs["diagnostics"] = json.dumps(_carried(tree))
    return tree


def _carried(tree: xr.DataTree) -> dict[str, Any]:
    """The diagnostics with what everything made of the fit must say: warnings of the lint, where they were saved before
    diagnostics had them, and that its law is not the shipped one of its name, whatever the file says of that."""
    report = json.loads(tree.attrs["diagnostics"])
    said = report.get("noted") or noted(json.loads(tree.attrs["notes"]))
    report["noted"] = [*noted(changed_law(law_of(tree))), *(note for note in said if note["code"] != "changed_law")]
    return report


def _changed(path: "str | os.PathLike[str]") -> bool:
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
