"""A fit in a file: NetCDF, written whole or not at all, opened without running anything that is in it."""

import os
import warnings
from pathlib import Path

import xarray as xr

from bayescale.files import write_whole
from bayescale.fit import FitError
from bayescale.saved import damage_of, objection_to


def save_fit(tree: xr.DataTree, path: "str | os.PathLike[str]") -> Path:
    """Write a fit to NetCDF, whole or not at all; ``arviz.from_netcdf`` can open it too.

    Raises
    ------
    FitError
        If the file cannot be written; an older file of that name is then untouched.
    """
    try:
        return write_whole(path, lambda temporary: tree.to_netcdf(temporary, engine="h5netcdf"))
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
        If there is no such file, it is truncated, too large or not a fit, or a later version of bayescale wrote it.
    """
    if os.path.isdir(path):
        raise FitError(f"{path} is a folder; a fit saved by bayescale (fit.nc) is expected")
    if not os.path.exists(path):
        raise FitError(f"{path}: no such file; 'bayescale fit RUNS -o {path}' makes one")
    if not os.path.isfile(path):
        raise FitError(f"{path} is a device or a pipe; a fit saved by bayescale (fit.nc) is expected")
    try:
        objection = objection_to(path)
        if not objection:
            with (
                warnings.catch_warnings(action="ignore"),
                xr.open_datatree(path, engine="h5netcdf", decode_times=False, decode_timedelta=False) as opened,
            ):
                tree = opened.load()
    except Exception:  # h5py, h5netcdf and xarray each raise their own kinds on a damaged file
        raise FitError(f"{path}: not a readable NetCDF file; it may be truncated or of another kind") from None
    objection = objection or damage_of(tree)
    if objection:
        raise FitError(f"{path}: {objection}")
    return tree
