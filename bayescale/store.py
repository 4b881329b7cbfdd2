"""A fit in a file: NetCDF, written whole or not at all, opened without running anything that is in it."""

import json
import os
from pathlib import Path

import numpy as np
import xarray as xr

from bayescale.files import write_whole
from bayescale.fit import FORMAT, FitError, law_of
from bayescale.formula import FormulaError
from bayescale.law import LawError
from bayescale.noise import NOISES


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


def open_fit(path: "str | os.PathLike[str]") -> xr.DataTree:
    """Open a saved fit; nothing in the file is executed, and it is read into memory whole.

    Raises
    ------
    FitError
        If there is no such file, it is truncated or not a fit, or a later version of bayescale wrote it.
    """
    path = Path(path)
    if path.is_dir():
        raise FitError(f"{path} is a folder; a fit saved by bayescale (fit.nc) is expected")
    if not path.exists():
        raise FitError(f"{path}: no such file; 'bayescale fit RUNS -o {path}' makes one")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
    except Exception:  # h5py, h5netcdf and xarray each raise their own kinds on a damaged file
        raise FitError(f"{path}: not a readable NetCDF file; it may be truncated or of another kind") from None
    if "law_text" not in tree.attrs or "posterior" not in tree.children:
        raise FitError(f"{path}: NetCDF, but not a fit saved by bayescale (no law or no posterior in it)")
    if not np.isscalar(tree.attrs.get("bayescale_format")) or int(tree.attrs["bayescale_format"]) > FORMAT:
        raise FitError(
            f"{path}: saved in format {tree.attrs.get('bayescale_format')}, this bayescale reads up to {FORMAT}; "
            "upgrade bayescale"
        )
    try:
        law = law_of(tree)
        missing = sorted({*law.priors, *NOISES[tree.attrs["noise"]].priors} - set(tree["posterior"].data_vars))
        json.loads(tree.attrs["diagnostics"])
    except (LawError, FormulaError, KeyError, TypeError, ValueError) as error:
        raise FitError(f"{path}: damaged: {error}") from None
    if missing:
        raise FitError(f"{path}: damaged: no draws of {missing} in its posterior")
    return tree
