"""Models that everybody knows, as reference points: how far each is from the best split of its compute by a fit."""

import functools
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.allocate import allocate
from bayescale.fitting.doors import opened_fit
from bayescale.runs.compute import definition_of


@functools.cache
def landmarks() -> tuple[dict[str, Any], ...]:
    """The models of ``landmarks.toml``: ``name``, ``params``, ``tokens``, ``source``."""
    with open(Path(__file__).parent / "landmarks.toml", "rb") as file:
        return tuple(tomllib.load(file)["model"])


def landmark_table(fit: xr.DataTree, *, seed: int = 0) -> pd.DataFrame:
    """How far each landmark is from the posterior optimum of its compute, if the law of a fit held for it too.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of N and D alone
    seed : as in :func:`bayescale.allocate`

    Returns
    -------
    Table, a row a model: ``model``, ``params``, ``tokens``, ``compute`` as the fit counts it, ``times_q05``,
    ``times_q50``, ``times_q95`` (its N over N*: 2 is twice as large as the best split has it), ``decades_beyond``,
    ``identified`` and ``source``; its attribute ``diagnostics`` is that of the fit.

    Raises
    ------
    FitError
        As :func:`bayescale.allocate`.
    """
    fit = opened_fit(fit)
    rows = landmarks()
    table = pd.DataFrame({"model": [row["name"] for row in rows]})
    for name in ("params", "tokens"):
        table[name] = [float(row[name]) for row in rows]
    table["compute"] = definition_of(fit).compute(table["params"], table["tokens"])
    split = allocate(fit, table["compute"].to_numpy(), seed=seed)
    times = table["params"].to_numpy() / split["N"].stack(sample=("chain", "draw")).transpose("sample", "budget").values
    for name, share in (("times_q05", 0.05), ("times_q50", 0.5), ("times_q95", 0.95)):
        table[name] = np.quantile(times, share, axis=0)
    table["decades_beyond"] = split["decades_beyond"].values
    table["identified"] = split["identified"].values
    table["source"] = [row["source"] for row in rows]
    table.attrs = {"law": fit.attrs["law"], "diagnostics": fit.attrs["diagnostics"]}
    return table
