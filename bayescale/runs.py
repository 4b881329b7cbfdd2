"""Observed runs: CSV, parquet, data frame or xarray -> Dataset [run]; and what a careful reader would object to."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

FLOPS_PER_PARAM_TOKEN = 6.0  # C = 6 N D: forward and backward pass, no attention term

# the first spelling of each row that a table has is taken; case, spaces and dashes do not matter
SPELLINGS = {
    "params": (
        "params",
        "n",
        "n_params",
        "num_params",
        "parameters",
        "n_parameters",
        "model_size",
        "size",
        "model_params",
    ),
    "tokens": ("tokens", "d", "n_tokens", "num_tokens", "training_tokens", "train_tokens", "d_tokens", "tokens_seen"),
    "compute": ("compute", "c", "flops", "flop", "training_flop", "training_flops", "train_flops", "total_flops"),
    "loss": ("loss", "l", "val_loss", "validation_loss", "eval_loss", "test_loss", "final_loss", "train_loss"),
}
SIZES = ("params", "tokens", "compute")
MULTIPLIERS = {"1": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "PF-days": 8.64e19}
LOSS_UNITS = {"nats": 1.0, "bits": float(np.log(2.0))}
MAX_ROWS = 2_000_000


class RunsError(ValueError):
    """Runs that cannot be used; the message names the source, the line or row, the value seen and what is allowed."""


@dataclass(frozen=True)
class Note:
    """One remark of the lint: a stable code, how serious, a sentence that says what to do, and the rows it is about."""

    code: str
    severity: str  # "warning" or "info"
    text: str
    rows: tuple[int, ...] = ()


def read_runs(
    source: Any, *, columns: Mapping[str, str] | None = None, units: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Observed training runs as a Dataset with the dimension ``run``.

    Parameters
    ----------
    source : path to a CSV or parquet file, pandas or polars data frame, dict of columns, or xarray Dataset
    columns : role -> column name, e.g. ``{"loss": "pile_loss"}``; roles not given are guessed from common spellings
    units : role -> unit: K, M, B, T for params and tokens, PF-days for compute, bits for loss.
        Without it params and tokens are counts, compute is FLOP and loss is nats per token

    Returns
    -------
    Dataset with float variables ``params``, ``tokens``, ``compute`` (6 N D when not given) and ``loss`` [run];
    every other column is kept under its own name.

    Raises
    ------
    RunsError
        Naming the line (of a file) or row, the value and what is allowed.
    """
    frame, where, first_line = _as_frame(source)
    if len(frame) > MAX_ROWS:
        raise RunsError(f"{where}: {len(frame)} rows; at most {MAX_ROWS} are read")
    roles = _roles(list(frame.columns), dict(columns or {}), where)
    values = {
        role: _positive(frame[name], name, where, first_line) * _multiplier(role, units, where)
        for role, name in roles.items()
    }
    for role in set(units or {}) - set(SPELLINGS):
        raise RunsError(f"{where}: a unit is given for '{role}'; units go with {', '.join(SPELLINGS)}")
    if not len(frame):
        raise RunsError(f"{where}: no runs; a header line and one line for each run are expected")
    if "params" in values and "tokens" in values:
        values.setdefault("compute", FLOPS_PER_PARAM_TOKEN * values["params"] * values["tokens"])
    elif "compute" in values and "params" in values:
        values["tokens"] = values["compute"] / (FLOPS_PER_PARAM_TOKEN * values["params"])
    elif "compute" in values and "tokens" in values:
        values["params"] = values["compute"] / (FLOPS_PER_PARAM_TOKEN * values["tokens"])
    runs = xr.Dataset({role: ("run", values[role]) for role in (*SIZES, "loss") if role in values})
    for name in frame.columns:
        if name not in roles.values() and str(name) not in runs:
            runs[str(name)] = ("run", _other(frame[name]))
    runs = runs.assign_coords(run=np.arange(len(frame)))
    runs["loss"].attrs["units"] = "nats"
    runs.attrs["source"] = where
    return runs


def _as_frame(source: Any) -> tuple[pd.DataFrame, str, int | None]:
    """The table as a frame of text or values, what to call it in messages, and the line number of its first row."""
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    if isinstance(source, xr.Dataset):
        if len(source.dims) != 1:
            raise RunsError(f"runs: a Dataset with one dimension is expected, this one has {tuple(source.dims)}")
        frame = source.to_dataframe().reset_index(drop=True)
        return frame, source.attrs.get("source", "runs"), None
    if isinstance(source, pd.DataFrame):
        frame = source
    elif isinstance(source, Mapping):
        try:
            frame = pd.DataFrame(dict(source))
        except ValueError as error:
            raise RunsError(f"runs: the columns do not make a table: {error}") from None
    elif hasattr(source, "to_dict") and hasattr(source, "columns"):  # polars, without importing it
        frame = pd.DataFrame(source.to_dict(as_series=False))
    else:
        raise RunsError(
            f"runs of type {type(source).__name__} cannot be read: "
            "give a CSV or parquet path, a pandas or polars frame, a dict of columns or an xarray Dataset"
        )
    repeated = sorted(str(name) for name in frame.columns[frame.columns.duplicated()].unique())
    if repeated:
        raise RunsError(f"runs: columns {repeated} stand twice; rename or drop one of each")
    return frame.reset_index(drop=True), "runs", None


def _read_file(path: Path) -> tuple[pd.DataFrame, str, int | None]:
    where = path.name
    if path.is_dir():
        raise RunsError(f"{path} is a folder; a CSV or parquet file is expected")
    if not path.exists():
        raise RunsError(f"{path}: no such file; a CSV or parquet file of runs is expected")
    if path.suffix in (".parquet", ".pq"):
        try:
            frame = pd.read_parquet(path)
        except ImportError:
            raise RunsError(f"{where}: reading parquet needs pyarrow: pip install 'bayescale[parquet]'") from None
        except Exception:
            raise RunsError(f"{where}: not a readable parquet file; it may be truncated or of another format") from None
        return frame.reset_index(drop=True), where, None
    try:
        # all cells as text: a bad one can then be shown as it was written, with its line
        cells = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig"
        )
    except pd.errors.EmptyDataError:
        raise RunsError(f"{where} is empty; a header line and one line for each run are expected") from None
    except UnicodeDecodeError:
        raise RunsError(f"{where} is not UTF-8 text; save it as CSV in UTF-8, or give a .parquet file") from None
    except pd.errors.ParserError as error:
        reason = str(error).rpartition("C error: ")[2].strip()
        raise RunsError(f"{where}: not a table: {reason}; every line needs as many fields as the header") from None
    except OSError as error:
        raise RunsError(f"{where}: {error.strerror or error}") from None
    header = [str(name).strip() for name in cells.iloc[0]]
    if len(header) == 1:
        for delimiter, called in ((";", "semicolon"), ("\t", "tab"), ("|", "bar")):
            if delimiter in header[0]:
                raise RunsError(f"{where}, line 1: the fields are separated by a {called}; a comma is expected")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise RunsError(f"{where}, line 1: columns {repeated} stand twice; rename or drop one of each")
    cells.columns = header
    cells = cells.iloc[1:]
    blank = (cells.fillna("") == "").all(axis=1)  # the index keeps the line numbers
    return cells[~blank], where, 2


def _roles(names: Sequence[Any], given: dict[str, str], where: str) -> dict[str, Any]:
    """Role -> column: as given, else the first known spelling that the table has."""
    for role, name in given.items():
        if role not in SPELLINGS:
            raise RunsError(f"{where}: unknown role '{role}' for column '{name}'; the roles are {', '.join(SPELLINGS)}")
        if name not in names:
            raise RunsError(f"{where}: no column '{name}' for {role}; the columns are {', '.join(map(str, names))}")
    roles = dict(given)
    plain = {str(name).strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(list(names))}
    for role, spellings in SPELLINGS.items():
        if role not in roles:
            found = next((plain[spelling] for spelling in spellings if spelling in plain), None)
            if found is not None and found not in roles.values():
                roles[role] = found
    if "loss" not in roles:
        raise RunsError(
            f"{where}: no column for loss among {', '.join(map(str, names))}; "
            "name it loss or val_loss, or say which it is (columns={'loss': ...}, --column loss=...)"
        )
    if sum(role in roles for role in SIZES) < 2:
        have = [role for role in SIZES if role in roles]
        raise RunsError(
            f"{where}: two of params, tokens and compute are needed, found {have or 'none'} among "
            f"{', '.join(map(str, names))}; name the columns so, or say which they are (--column params=...)"
        )
    return roles


def _multiplier(role: str, units: Mapping[str, str] | None, where: str) -> float:
    unit = (units or {}).get(role)
    if unit is None:
        return 1.0
    allowed = LOSS_UNITS if role == "loss" else MULTIPLIERS
    if unit not in allowed:
        raise RunsError(f"{where}: unknown unit '{unit}' for {role}; allowed are {', '.join(allowed)}")
    return allowed[unit]


def _positive(column: pd.Series, name: Any, where: str, first_line: int | None) -> np.ndarray:
    """The column as floats, all finite and above 0, or an error that shows the first offender and counts the rest."""
    text = column.astype(str).str.strip() if column.dtype == object or pd.api.types.is_string_dtype(column) else None
    numbers = pd.to_numeric(column if text is None else text, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(numbers) | (numbers <= 0))
    if not bad.size:
        return numbers
    seen, value = column.iloc[bad[0]], numbers[bad[0]]
    place = f"{where}, line {column.index[bad[0]] + 1}" if first_line is not None else f"{where}, row {bad[0]}"
    if text is not None and seen is not None and str(seen).strip() == "":
        problem = f"{name} is empty (a number > 0 is expected)"
    elif np.isnan(value) and str(seen).strip().lower() not in ("nan", "na", "none", "<na>"):
        problem = f"{name} = {str(seen)[:40]!r} is not a number (write 70e6 or 70000000, without units or commas)"
    elif np.isnan(value):
        problem = f"{name} is missing or NaN (drop the run, or give its value)"
    elif np.isinf(value):
        problem = f"{name} = {value:g} (must be finite)"
    else:
        problem = f"{name} = {value:g} (must be > 0)"
    more = "" if len(bad) == 1 else f"; {len(bad) - 1} more {'row' if len(bad) == 2 else 'rows'} like it"
    raise RunsError(f"{place}: {problem}{more}")


def _other(column: pd.Series) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce")
    if column.notna().all() and numbers.notna().all() and not pd.api.types.is_bool_dtype(column):
        return numbers.to_numpy(dtype=float)
    return column.astype(str).to_numpy(dtype=object)


def spread_of_ratio(runs: xr.Dataset) -> float:
    """How many times the largest tokens per parameter is the smallest: what tells N and D apart."""
    ratio = (runs.tokens / runs.params).values
    return float(ratio.max() / ratio.min())


def off_diagonal(runs: xr.Dataset) -> float:
    """Spread (sd, in e-folds) of log D about its best line on log N: 0 when N and D move together."""
    n, d = np.log(runs.params.values), np.log(runs.tokens.values)
    n, d = n - n.mean(), d - d.mean()
    if not n.any() or not d.any():
        return 0.0
    return float(np.sqrt(max(0.0, (d @ d - (n @ d) ** 2 / (n @ n)) / len(d))))


def check_runs(runs: xr.Dataset) -> list[Note]:
    """What a careful reader would object to in these runs; an empty list when nothing."""
    notes = []

    def add(code: str, severity: str, text: str, rows: Sequence[int] = ()) -> None:
        notes.append(Note(code, severity, text, tuple(int(row) for row in rows)))

    n, d, c, loss = (runs[name].values for name in (*SIZES, "loss"))
    count, sizes = len(loss), len(np.unique(n))
    if count < 12:
        add("few_runs", "warning", f"{count} runs: bands will be wide and rest on the priors; 12 or more are wanted")
    if sizes < 4:
        add("few_sizes", "warning", f"{sizes} model size(s): the effect of N rests on the prior; 4 or more are wanted")
    if len(np.unique(d)) < 4:
        add("few_token_counts", "warning", f"{len(np.unique(d))} token count(s): the effect of D rests on the prior")
    if count >= 3 and (off_diagonal(runs) < 0.1 or spread_of_ratio(runs) < 3):
        add(
            "collinear_sizes",
            "warning",
            f"N and D move together (tokens per parameter vary {spread_of_ratio(runs):.3g} times, 3 or more are "
            "wanted): the runs do not tell the effects of N and D apart; vary D at fixed N",
        )
    ratio = c / (FLOPS_PER_PARAM_TOKEN * n * d)
    odd = np.flatnonzero(np.abs(np.log(ratio)) > np.log(1.5))
    if odd.size:
        add(
            "compute_differs",
            "info",
            f"compute differs from 6 N D by more than 1.5 times in {odd.size} of {count} runs: "
            "N may exclude embeddings, or compute may include attention",
            odd,
        )
    if np.median(d / n) < 0.1 or np.median(n) < 1e3 or np.median(d) < 1e4:
        add(
            "units",
            "warning",
            f"median params {np.median(n):.3g} and tokens {np.median(d):.3g} look like other units; "
            "give them as counts or say the unit (--unit params=M --unit tokens=B)",
        )
    keys = pd.DataFrame({"n": n, "d": d, "loss": loss})
    exact = np.flatnonzero(keys.duplicated(keep="first"))
    if exact.size:
        add("duplicates", "warning", f"{exact.size} run(s) repeat an earlier one exactly: drop copies", exact)
    notes += _surprising_losses(n, d, loss)
    if count and np.ptp(loss) < 1e-9 * np.max(loss):
        add("constant_loss", "warning", "all losses are equal: there is nothing to learn from")
    elif count >= 6 and _slope(np.log(c), np.log(loss)) > 0:
        add("rising_loss", "warning", "loss rises with compute: check the columns and the sign of the loss")
    return notes


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    x = x - x.mean()
    return float(x @ y / (x @ x)) if x.any() else 0.0


def _surprising_losses(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> list[Note]:
    """Runs far from a smooth surface through all of them: quadratic in log N and log D, fitted robustly."""
    x, y = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean()
    design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    if len(loss) < 12:
        return []
    target, weight = np.log(loss), np.ones_like(loss)
    for _ in range(30):
        coefficients = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0]
        residual = target - design @ coefficients
        scale = max(1.4826 * np.median(np.abs(residual)), 1e-12)
        weight = 1 / np.sqrt(1 + (residual / (2 * scale)) ** 2)
    rows = np.flatnonzero((np.abs(residual) > 6 * scale) & (np.abs(residual) > 0.02))
    if not rows.size:
        return []
    worst = rows[np.argmax(np.abs(residual[rows]))]
    return [
        Note(
            "surprising_loss",
            "info",
            f"{rows.size} run(s) lie more than 2 % and 6 robust sd off a smooth surface, the worst is row {worst} "
            f"(N {n[worst]:.3g}, D {d[worst]:.3g}, loss {loss[worst]:.4g}, {100 * residual[worst]:+.1f} %): "
            "check for divergence or a typing error; the noise model allows for some",
            tuple(int(row) for row in rows),
        )
    ]
