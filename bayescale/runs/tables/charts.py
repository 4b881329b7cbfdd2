"""Charts and histories of experiment trackers -> a row for each run and step, one function a layout."""

import re
from typing import Any

import pandas as pd

from bayescale.field import clipped
from bayescale.runs.spellings import is_called, plainly
from bayescale.runs.tables.limits import check_headings
from bayescale.runs.tables.records import frame_of

BOUNDS = ("__MIN", "__MAX")  # of the points that W&B averages into one
RUN_AND_METRIC = " - "  # run and metric, in W&B's headings
METRICS = ("metric", "metricname", "key", "tag", "variable")  # columns that name what another, value, has
METRICS_MAX = 200
SCALARS = ["Wall time", "Step", "Value"]  # TensorBoard's header
SCALARS_NAME = re.compile(r"(?:run-)?(?P<run>.+?)[-_]tag-(?P<tag>.+?)(?:\.csv)?(?:\.gz|\.zst)?", re.IGNORECASE)


def of_metrics(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, str]:
    """A table whose rows are single values of metrics, as histories of MLflow and TensorBoard are exported."""
    plain = {plainly(name): name for name in frame.columns}
    metric = next((plain[name] for name in METRICS if name in plain), None)
    value = plain.get("value", plain.get("metricvalue"))
    if metric is None or value is None:
        return frame, ""
    others = [name for name in frame.columns if name not in (metric, value) and not is_called(name, "moment")]
    called = [str(name) for name in frame[metric].unique()]
    if len(called) > METRICS_MAX or {*called} & {*map(str, others)} or not others:
        return frame, ""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    keys = zip(*(frame[name].astype(str) for name in others), strict=True)
    for key, name, number in zip(keys, frame[metric], frame[value], strict=True):
        rows.setdefault(key, dict(zip(others, key, strict=True)))[str(name)] = number
    table = frame_of(rows.values(), where)
    return table, f"{clipped(metric)} names metrics: read as {len(table)} rows with a column for each of {len(called)}"


def of_curves(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, str]:
    """A chart of W&B's, a column a run."""
    names = [str(name) for name in frame.columns]
    bounds = [name for name in names if name.endswith(BOUNDS) and RUN_AND_METRIC in name]
    curves = [name for name in names if RUN_AND_METRIC in name and name not in bounds]
    others = [name for name in names if RUN_AND_METRIC not in name]
    metrics = {name.rpartition(RUN_AND_METRIC)[2] for name in curves}
    if len(others) != 1 or not curves or not {name[: -len(BOUNDS[0])] for name in bounds} <= set(curves):
        return frame, ""
    if metrics & {"run", *others}:
        return frame, ""
    axis = others[0]
    parts: dict[str, pd.DataFrame] = {}  # a table a run, a column a metric
    prefix = "Group: " if all(name.startswith("Group: ") for name in curves) else ""
    for name in curves:
        run, _, metric = name.removeprefix(prefix).rpartition(RUN_AND_METRIC)
        part = parts.setdefault(run, pd.DataFrame({"run": [run] * len(frame), axis: frame[axis].values}, dtype=object))
        part[metric] = frame[name].values
    table = pd.concat(parts.values(), ignore_index=True).fillna("")
    table = table[(table.iloc[:, 2:] != "").any(axis=1)].reset_index(drop=True)
    check_headings(list(table.columns), where)
    dropped = len(frame.columns) - 1 - len(curves)
    said = f"; {dropped} columns __MIN and __MAX are left out" if dropped else ""
    return table, f"a chart of {len(parts)} runs, a column each: read as {len(table)} rows{said}"


def of_scalars(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, str]:
    """A curve of TensorBoard's, whose run and tag the name of the file has."""
    if [*map(str, frame.columns)] != SCALARS:
        return frame, ""
    found = SCALARS_NAME.fullmatch(where)
    run, tag = (found["run"], found["tag"]) if found else (where.removesuffix(".csv"), "value")
    table = pd.DataFrame({"run": run, "step": frame["Step"], tag: frame["Value"]}, index=frame.index, dtype=object)
    return table, f"scalars of TensorBoard: {clipped(tag)} of the run {clipped(run)}"
