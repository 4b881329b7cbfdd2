"""Many studies, each fitted as :func:`bayescale.fit` would: here, in worker processes or on a Dask cluster."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from bayescale.errors import FitError, LawError, RunsError
from bayescale.fitting.doors import what_is
from bayescale.fitting.fit import fit
from bayescale.fitting.store import open_fit, save_fit
from bayescale.fitting.tree import data_hash
from bayescale.jobs.batch import Failure, digest, run_kept
from bayescale.jobs.versions import versions
from bayescale.laws.law import Law, load_law
from bayescale.runs.datasets import runs_given
from bayescale.runs.read import read_runs


@dataclass(frozen=True)
class _Study:
    """One fit: what a worker needs."""

    runs: xr.Dataset
    law: Law
    settings: dict[str, Any]


def fit_many(
    studies: Sequence[tuple[Any, Any]],
    *,
    noise: str | None = None,
    draws: int = 1000,
    chains: int = 4,
    seed: int = 0,
    quick: bool = False,
    allow_unconverged: bool = False,
    executor: Any = None,
    folder: "str | os.PathLike[str] | None" = None,
    progress: Callable[[int, int], None] | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> list["xr.DataTree | Failure"]:
    """Fit many studies: each as :func:`bayescale.fit` would, here, in worker processes or on a Dask cluster.

    Parameters
    ----------
    studies : pairs of runs and a law, each as :func:`bayescale.fit` takes them
    noise, draws, chains, seed, quick, allow_unconverged : as in :func:`bayescale.fit`, of every fit
    executor : what fits them: None (this process), a number of worker processes, a Dask scheduler or another executor,
        see :func:`bayescale.open_executor`; the numbers are the same
    folder : where each fit is kept as it is done, so that a killed batch goes on
    progress : called with (studies done, studies in all)
    columns, units : as in :func:`bayescale.read_runs`, of the runs of every study

    Returns
    -------
    One fit a study, in the order of the studies, whichever executor; a :class:`Failure`, which says why, where a study
    could not be read or fitted.

    Raises
    ------
    FitError
        If the studies are no pairs, the executor cannot be used, or a fit cannot be written into the folder.
    FileError
        If the folder cannot be made.

    Examples
    --------
    >>> fits = bayescale.fit_many([(runs, "chinchilla"), (runs, "power_compute")])
    >>> [one.attrs["law"] for one in fits]
    ['chinchilla', 'power_compute']
    """
    settings = {"noise": noise, "draws": draws, "chains": chains, "seed": seed, "quick": quick}
    settings["allow_unconverged"] = allow_unconverged
    prepared = [_read(runs, law, settings, columns, units) for runs, law in _pairs(studies)]
    return run_kept(
        _fit, prepared, folder, name=_file_name, read=_kept, write=save_fit, executor=executor, progress=progress
    )


def _pairs(studies: Any) -> list[tuple[Any, Any]]:
    listed = isinstance(studies, Sequence) and not isinstance(studies, str | bytes)
    for study in studies if listed else [studies]:
        if not (isinstance(study, Sequence) and not isinstance(study, str | bytes) and len(study) == 2):
            raise FitError(f"studies are a list of pairs (runs, law); {what_is(study)} is none")
    return list(studies)


def _read(runs: Any, law: Any, settings: dict[str, Any], columns: Any, units: Any) -> "_Study | Failure":
    try:
        law = load_law(law)
        return _Study(read_runs(runs_given(runs), law, columns=columns, units=units), law, settings)
    except (RunsError, LawError) as error:
        return Failure(type(error).__name__, str(error))


def _fit(study: _Study) -> xr.DataTree:
    return fit(study.runs, study.law, **study.settings)


def _kept(path: Path) -> xr.DataTree | None:
    try:
        return open_fit(path)
    except FitError:  # not there yet, or damaged
        return None


def _file_name(study: _Study) -> str:
    about = [data_hash(study.runs, study.law), study.runs.attrs["source"], study.law.text, study.settings, versions()]
    return f"{study.law.name}-{digest(about)}.nc"
