"""Models that everybody knows, as reference points: how far each is from the best split of its compute by a fit."""

import functools
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.allocate import allocate
from bayescale.field import BAND, SIZES_SAID, band_ends, band_percent, middle_and_ends
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import level_of, opened, opened_result
from bayescale.reading import Column, Reading, unless
from bayescale.study import Study


@functools.cache
def known_models() -> tuple[dict[str, Any], ...]:
    """The models of ``landmarks.toml``: ``name``, ``params``, ``tokens``, ``source``."""
    with open(Path(__file__).parent / "landmarks.toml", "rb") as file:
        return tuple(tomllib.load(file)["model"])


def landmarks(fit: xr.DataTree | Study, *, level: float = BAND, seed: int = 0) -> pd.DataFrame:
    """How far each landmark is from the posterior optimum of its compute, if the law of a fit held for it too.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` returns, of a law of N and D alone
    level : what the bands are to hold; ``times_q05`` is then named by another end, ``times_q025``
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

    Examples
    --------
    >>> "GPT-3" in set(bayescale.landmarks(fit)["model"])
    True
    """
    study, level = opened(fit), level_of(level)
    rows = known_models()
    table = pd.DataFrame({"model": [row["name"] for row in rows]})
    for name in ("params", "tokens"):
        table[name] = [float(row[name]) for row in rows]
    table["compute"] = study.definition.compute(table["params"], table["tokens"])
    split = allocate(study, table["compute"].to_numpy(), exponents=False, seed=seed)
    times = table["params"].to_numpy() / split["N"].stack(sample=("chain", "draw")).transpose("sample", "budget").values
    for label, share in middle_and_ends(level).items():
        table[f"times_{label}"] = np.quantile(times, share, axis=0)
    table["decades_beyond"] = split["decades_beyond"].values
    table["identified"] = split["identified"].values
    table["source"] = [row["source"] for row in rows]
    table.attrs = {"kind": "landmarks", "law": study.law.name, "diagnostics": study.attrs["diagnostics"]}
    table.attrs["level"] = level
    return table


def read(table: pd.DataFrame) -> Reading:
    """What the landmarks say, a row a model."""
    table = opened_result(table, "landmarks")
    level = float(table.attrs.get("level", BAND))
    columns = (
        Column("model", "model"),
        Column("params", "N", "parameters", "size"),
        Column("tokens", "D", "tokens", "size"),
        Column("compute", "compute", "FLOP", "number", 2),
        Column("times", f"N over N*, {band_percent(level)} band", "", "number band", 2, ends=tuple(band_ends(level)),
               instead=unless(table["identified"], "not identified")),
        Column("decades_beyond", "decades beyond", "decades", "decimals", 1),
        Column("source", "source of N and D"),
    )  # fmt: skip
    return Reading(
        "Well-known models: how many times larger each is than the best size for its compute, if the law of these runs "
        "held for it",
        table,
        columns,
        warnings=tuple(trust_warnings(diagnostics(table))),
        notes=(f"{SIZES_SAID}.",),
        about={"law": table.attrs["law"]},
    )
