"""runs -> forecasts of their own larger runs from their smaller ones -> coverage and scores."""

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import FitError
from bayescale.field import BAND_LEVELS, how_many, number_text
from bayescale.fitting.default_law import distinct_laws, laws_for
from bayescale.fitting.doors import check_seed, number, opened_result
from bayescale.fitting.fit import fit
from bayescale.fitting.tree import data_hash
from bayescale.forecasts.discrepancy import has_drift, prior_of
from bayescale.forecasts.forecast import forecast
from bayescale.jobs.batch import Failure, digest, run_kept
from bayescale.jobs.files import keep_text, kept_text
from bayescale.jobs.versions import versions
from bayescale.laws.law import NO_SIZE, Law, column, size_column
from bayescale.reading import Column, Reading
from bayescale.runs.datasets import runs_given
from bayescale.runs.known import censored_runs
from bayescale.runs.loss_unit import from_nats, loss_unit, to_nats
from bayescale.runs.read import READ_ATTRIBUTES, read_runs, read_said, read_text
from bayescale.study import Study

# upper edges of the rows of the table, in decades of compute beyond the runs learnt from
HORIZON_BIN_DECADES = (0.5, 1.0, 1.5, 2.0, 3.0, np.inf)
CUT_STEP_DECADES = 0.25  # of compute, or another size
LOSS_SHARE = 0.1  # of these distances where the size is a loss: a tenth of a decade of loss is a long way
# what must be left to learn from, as in the studies the discrepancy was derived on
MIN_RUNS, MIN_SIZES, MIN_SPAN = 12, 4, 0.7  # the span in units of the horizon


def backtest(
    runs: Any,
    laws: Any = None,
    *,
    horizon: float = 1.5,
    seed: int = 0,
    folder: "str | Path | None" = None,
    executor: Any = None,
    progress: Callable[[int, int], None] | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Forecast the user's larger runs from the smaller ones, at several cuts, and score the bands.

    At each cut the runs below a compute, or below another size of the law, are learnt from and those above it, up to
    ``horizon`` decades, are forecast with everything at its default. Cuts stand every 0.25 decades below the largest
    run, as long as 12 runs, 4 model sizes and 0.7 x the forecast distance are left to learn from. Where the size is a
    loss, runs of lower loss are forecast from those of higher loss, and all distances are a tenth of these.

    Parameters
    ----------
    runs : what :func:`bayescale.read_runs` returns or takes
    laws : one law or a sequence of them (names, paths, Law); by default those that :func:`bayescale.fit` chooses from
    horizon : longest distance to score [decades of compute, or of the laws' own size]
    seed : of every fit and forecast
    folder : where the result of each cut is kept, so that a killed backtest goes on where it was
    executor : what refits at the cuts: None (this process), a number of worker processes, a Dask scheduler or another
        executor, see :func:`bayescale.open_executor`; the numbers are the same
    progress : called with (cuts done, cuts in all) after each
    columns, units : as in :func:`bayescale.read_runs`

    Returns
    -------
    Dataset [law, cut, run]: ``decades_beyond``, ``observed`` log loss (or a proportion itself, or what may be negative
    in units of its range), quantiles ``q05`` ... ``q95`` of its forecast, ``pit``, ``crps`` and ``elpd`` (log
    predictive density), NaN where a run is not forecast at a cut; ``edge`` [cut] is the largest size learnt from,
    ``learnt_from`` [cut] the number of runs; ``failed`` [law, cut] says why nothing could be learnt at a cut, and is
    empty where it could. :func:`bayescale.read` sums it up.

    Raises
    ------
    FitError
        If no cut leaves enough runs to learn from, or the fits of all cuts fail.

    Examples
    --------
    >>> bayescale.backtest(runs, "chinchilla", horizon=1.0)["pit"].dims
    ('law', 'cut', 'run')
    """
    horizon = number("horizon", horizon, "a number of decades above 0")
    check_seed(seed)
    named, runs = [None] if laws is None else distinct_laws(laws), runs_given(runs)
    chosen = [one for law in named for one in laws_for(runs, law, columns)]
    runs = read_runs(runs, chosen, columns=columns, units=units)
    if unlike := [law.name for law in chosen if law.observed != chosen[0].observed]:
        raise FitError(f"laws '{chosen[0].name}' and '{unlike[0]}' explain different things; backtest them apart")
    size = _common_size(chosen, runs)
    cuts = _cuts(runs, size, horizon)
    tasks = [_Cut(runs, law, size, edge, horizon, seed) for law in chosen for edge in cuts]
    tables = run_kept(
        _one_cut, tasks, folder, name=_file_name, read=_kept, write=_write, executor=executor, progress=progress
    )
    good = [table for table in tables if not isinstance(table, Failure)]
    if not good:
        raise FitError(tables[0].why)
    dims, grid = ("law", "cut", "run"), (len(chosen), len(cuts))
    whole = [good[0] * np.nan if isinstance(table, Failure) else table for table in tables]
    dataset = xr.Dataset(
        {name: (dims, np.stack([table[name] for table in whole]).reshape(*grid, -1)) for name in good[0].columns},
        coords={"law": [law.name for law in chosen], "edge": ("cut", cuts)},
    )
    failed = [table.why if isinstance(table, Failure) else "" for table in tables]
    dataset["failed"] = (("law", "cut"), np.array(failed, dtype=object).reshape(grid))
    dataset["learnt_from"] = ("cut", [int((_scale(runs, size) <= _scale({size: edge}, size)).sum()) for edge in cuts])
    observed = chosen[0].observed
    about = {"kind": "backtest", "size": size, "observed": observed.column, "scale": observed.scale}
    about |= {name: runs.attrs[name] for name in READ_ATTRIBUTES if name in runs.attrs}
    return dataset.assign_attrs(about, seed=seed, horizon=horizon)


def _common_size(laws: list[Law], runs: xr.Dataset) -> str:
    """Along which size runs are larger or smaller: that of the laws, or compute where they differ."""
    sizes = set()
    for law in laws:
        size = size_column(law)
        if size is None:
            raise FitError(f"law '{law.name}' cannot be backtested: {NO_SIZE}, so none is the larger")
        sizes.add(size)
    if len(sizes) > 1 and "compute" not in runs:
        raise FitError(f"the laws go along different sizes ({', '.join(sorted(sizes))}); backtest them apart")
    return sizes.pop() if len(sizes) == 1 else "compute"


def _scale(runs: Mapping[Any, Any], size: str) -> np.ndarray:
    """How large runs are [decades, times 1 / LOSS_SHARE for a loss, of which the lowest is the best run]."""
    decades = np.log10(np.asarray(runs[size], dtype=float))
    return -decades / LOSS_SHARE if size == "loss" else decades


def _cuts(runs: xr.Dataset, size: str, horizon: float) -> list[float]:
    """Largest size learnt from at each cut, the largest first; cuts that learn from the same runs count once."""
    scale = _scale(runs, size)
    sized = runs["params"] if "params" in runs and size == "compute" else runs[size]
    cuts: list[float] = []
    for distance in np.arange(CUT_STEP_DECADES, horizon + 1e-9, CUT_STEP_DECADES):
        below = scale <= scale.max() - distance
        if not below.any():
            break
        sizes = len(np.unique(sized.values[below]))
        enough = below.sum() >= MIN_RUNS and sizes >= MIN_SIZES and np.ptp(scale[below]) >= MIN_SPAN * distance
        edge = float(runs[size].values[below][scale[below].argmax()])
        if enough and edge not in cuts:
            cuts.append(edge)
    if not cuts:
        raise FitError(
            f"{runs.attrs['source']}: no cut leaves {MIN_RUNS} runs of {MIN_SIZES} sizes and enough compute to learn "
            "from; there is nothing to backtest on, and forecasts of these runs rest on what other studies have shown"
        )
    return cuts


@dataclass(frozen=True)
class _Cut:
    """One law at one cut: what a worker needs."""

    runs: xr.Dataset
    law: Law
    size: str
    edge: float
    horizon: float
    seed: int


def _file_name(cut: _Cut) -> str:
    about = [data_hash(cut.runs, cut.law), cut.law.text, cut.edge, cut.horizon, cut.seed]
    about += [asdict(prior_of(cut.law, cut.runs)), versions()]
    return f"{cut.law.name}-{cut.edge:.3e}-{digest(about)}.csv"


def _write(table: pd.DataFrame, path: Path) -> None:
    keep_text(table.to_csv(index=False), path)


def _kept(path: Path) -> pd.DataFrame | None:
    """The table of a cut as it was kept, or None: not there yet, or damaged."""
    if (text := kept_text(path)) is None:
        return None
    return pd.read_csv(io.StringIO(text), dtype=str).astype(float)  # as text: bit-equal in every version of pandas


def _one_cut(cut: _Cut) -> pd.DataFrame:
    """Scores of one law at one cut, a row a run."""
    runs, law, edge, seed = cut.runs, cut.law, cut.edge, cut.seed
    beyond = _scale(runs, cut.size) - _scale({cut.size: edge}, cut.size)
    train = runs.isel(run=beyond <= 0)
    test = (beyond > 0) & (beyond <= cut.horizon) & ~censored_runs(runs)  # no forecast of these can be scored
    try:
        learnt = fit(train, law, seed=seed)
    except FitError as error:
        raise FitError(
            f"backtest, learning from the {train.sizes['run']} runs up to "
            f"{number_text(edge)} {'FLOP' if cut.size == 'compute' else cut.size}: {error}"
        ) from None
    new = runs.isel(run=test)
    inputs = {column(symbol): new[column(symbol)].values for symbol in law.inputs}
    if law.observed.count:
        inputs[law.observed.count] = new[law.observed.count].values
    name, is_loss = law.observed.column, has_drift(law)
    seen, unit = new[name].values, loss_unit(learnt.attrs)
    measured = from_nats(seen, unit) if is_loss else seen
    predicted = forecast(learnt, covariates=inputs, measured=measured, seed=seed)
    shown = predicted["predictions"][name].stack(sample=("chain", "draw")).transpose("sample", "point").values
    shown = to_nats(shown, unit) if is_loss else shown
    scatter = Study.opened(learnt).scatter
    draws, seen = (scatter.transform(values) / scatter.unit for values in (shown, seen))
    scored = scores(draws, seen) | {"elpd": predicted["predictions_constant_data"]["elpd"].values}
    table = pd.DataFrame({name: np.full(runs.sizes["run"], np.nan) for name in ("decades_beyond", *scored)})
    table.loc[test, "decades_beyond"] = beyond[test]
    for name, values in scored.items():
        table.loc[test, name] = values
    return table


def scores(draws: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    """Quantiles, PIT and CRPS of forecasts [draw, run] of log loss against what was observed [run].

    CRPS = E|X - y| - E|X - X'|/2, by the sorted-sample form (Gneiting and Raftery 2007,
    doi:10.1198/016214506000001437).
    """
    ordered = np.sort(draws, axis=0)
    count = len(ordered)
    weight = (2 * np.arange(1, count + 1) - count - 1)[:, None]
    crps = np.abs(draws - observed).mean(axis=0) - (weight * ordered).sum(axis=0) / count**2
    levels = sorted({0.5, *((1 - level) / 2 for level in BAND_LEVELS), *((1 + level) / 2 for level in BAND_LEVELS)})
    quantiles = np.quantile(draws, levels, axis=0)
    named = {_quantile_name(level): values for level, values in zip(levels, quantiles, strict=True)}
    return {"observed": observed, **named, "pit": (draws <= observed).mean(axis=0), "crps": crps}


def _quantile_name(level: float) -> str:
    return f"q{round(100 * level):02d}"


def backtest_failures(result: xr.Dataset, law: str) -> list[str]:
    """Why nothing could be learnt with a law, at the cuts where that is so."""
    return [str(why) for why in result["failed"].sel(law=law).values if why]


def read(result: xr.Dataset) -> Reading:
    """What a backtest says, a row a law and range of decades beyond the runs learnt from.

    Columns: ``law``, ``from_decades``, ``to_decades``, ``forecasts``, ``cuts``, ``cover50``, ``cover80``, ``cover90``
    (shares of runs inside the bands), ``bias`` and ``abs_error`` of the median, ``width90``, ``interval_score90`` and
    ``crps``, all of log loss (0.01 = 1 % of the loss). It says how far an extrapolation of these runs can be trusted.
    """
    result = opened_result(result, "backtest")
    frame = _by_distance(result)
    says = _statement(result, frame)
    columns = (
        Column("law", "law"),
        Column("from_decades", "decades beyond", "decades", "range", 6, ("to_decades",)),
        Column("forecasts", "forecasts in cuts", "", "count in", also=("cuts",)),
        *(Column(f"cover{level}", f"{level} %", "", "share", 0) for level in (50, 80, 90)),
        Column("bias", "bias", "", "signed share", 2),
        Column("abs_error", "error", "", "share", 2),
        Column("width90", "width 90 %", "", "share", 1),
        Column("crps", "CRPS", "", "decimals", 4),
        Column("interval_score90", "IS 90 %", "", "decimals", 4),
    )
    distance, observed = _words(result)
    of = {"proportion": f"{observed}: 1 % is a point", "linear": f"{observed}: 1 % is a hundredth of its range"}
    of |= {"share": f"log odds of {observed}: 1 % is .01", "log": f"log {observed}: 1 % is 1 % of the {observed}"}
    units = f"Bias, error, width and scores are of {of[result.attrs.get('scale', 'log')]}; distances are in {distance}."
    failed = {name: backtest_failures(result, name) for name in map(str, result["law"].values)}
    return Reading(
        "Backtest: how often the bands held, by distance beyond the runs learnt from",
        frame,
        columns,
        says=(says,),
        notes=(*read_said(result.attrs), units),
        about={"read": read_text(result.attrs), "statement": says, "failed": failed},
        rows="backtest",
    )


def _by_distance(result: xr.Dataset) -> pd.DataFrame:
    rows = []
    for law in result["law"].values:
        of_law = result.sel(law=law)
        lower = 0.0
        for upper in HORIZON_BIN_DECADES:
            inside = ((of_law["decades_beyond"] > lower) & (of_law["decades_beyond"] <= upper)).values
            if inside.any():
                picked = {
                    str(name): of_law[name].values[inside] for name in of_law if of_law[name].dims == ("cut", "run")
                }
                row = {"law": str(law), "from_decades": lower, "to_decades": upper}
                row |= {"forecasts": int(inside.sum()), "cuts": int(inside.any(axis=1).sum())}
                rows.append(row | _summed(picked))
            lower = upper
    return pd.DataFrame(rows)


def _summed(picked: dict[str, np.ndarray]) -> dict[str, float]:
    observed, median = picked["observed"], picked["q50"]
    row = {}
    for level in BAND_LEVELS:
        low, high = (picked[_quantile_name((1 + sign * level) / 2)] for sign in (-1, 1))
        row[f"cover{round(100 * level)}"] = float(((low <= observed) & (observed <= high)).mean())
    outside = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
    row |= {"bias": float((median - observed).mean()), "abs_error": float(np.abs(median - observed).mean())}
    row |= {"width90": float((high - low).mean())}
    row |= {"interval_score90": float((high - low + outside * 2 / (1 - BAND_LEVELS[-1])).mean())}
    return row | {"crps": float(picked["crps"].mean())}


def _words(result: xr.Dataset) -> tuple[str, str]:
    """What distances are measured in, and what is observed."""
    size = result.attrs.get("size", "compute")
    distance = "tenths of a decade of loss" if size == "loss" else f"decades of {size}"
    return distance, result.attrs.get("observed", "loss")


def _statement(result: xr.Dataset, table: pd.DataFrame) -> str:
    """How far an extrapolation of these runs can be trusted, in one or two plain sentences a law."""
    sentences, (distance, observed) = [], _words(result)
    for law in map(str, result["law"].values):
        rows = table[table["law"] == law]
        if len(rows):
            far = rows.iloc[-1]
            held = round(far.cover90 * far.forecasts)
            shared = "" if far.cuts == 1 else " that share runs"
            looks = "a single look" if far.cuts == 1 else "few independent looks"
            sentences.append(
                f"With the law '{law}', forecasts {_range_text(far.from_decades, far.to_decades)} {distance} beyond "
                f"the runs they were learnt from missed the measured {observed} by {100 * far.abs_error:.1f} % on "
                f"average ({100 * far.bias:+.1f} % bias), and the 90 % band held {held} of {far.forecasts:.0f}. "
                f"They come from {how_many(far.cuts, 'cut')}{shared}: that is {looks}, "
                "and says nothing of farther extrapolations."
            )
        if failed := backtest_failures(result, law):
            sentences.append(
                f"With the law '{law}', nothing could be learnt at {len(failed)} of "
                f"{how_many(result.sizes['cut'], 'cut')}: {failed[0]}"
            )
    return " ".join(sentences)


def _range_text(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if np.isfinite(high) else f"over {low:g}"
