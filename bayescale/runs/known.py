"""What a table says of how single runs scatter: errors of what was observed and of inputs, and which are censored."""

import numpy as np
import xarray as xr

from bayescale.laws.input_errors import OF_OBSERVED, input_roles
from bayescale.laws.law import Law
from bayescale.runs.read import read_roles
from bayescale.runs.roles import CENSORED, error_column


def known_of(law: Law, runs: xr.Dataset) -> tuple[str, ...]:
    """What is known of single runs: ``known_error`` of what was observed, roles such as ``params_se``, ``censored``."""
    read = read_roles(runs.attrs)
    observed = [OF_OBSERVED] if error_column(law) in read else []
    return (*observed, *(role for role in (*input_roles(law), CENSORED) if role in read))


def known_data(law: Law, runs: xr.Dataset, unit: float) -> dict[str, np.ndarray]:
    """The same by name [run]: errors of what was observed as it scatters, in units of ``unit``, 1 of a censored run."""
    found = {}
    for name in known_of(law, runs):
        if name == OF_OBSERVED:
            seen = np.asarray(runs[law.observed.column])
            per = {"log": seen, "share": seen * (1 - seen)}.get(law.observed.scale, 1.0)  # of what scatters
            found[name] = np.asarray(runs[error_column(law)]) / per / unit
        else:
            found[name] = np.asarray(runs[name], dtype=float)
    return found


def censored_runs(runs: xr.Dataset) -> np.ndarray:
    """Runs of which no more is known than that their loss is at least what was measured [run]."""
    if CENSORED in read_roles(runs.attrs):
        return np.asarray(runs[CENSORED].values) > 0
    return np.zeros(runs.sizes["run"], dtype=bool)


def without_censored(runs: xr.Dataset) -> xr.Dataset:
    """Runs whose loss was measured."""
    hidden = censored_runs(runs)
    return runs.isel(run=~hidden) if hidden.any() else runs
