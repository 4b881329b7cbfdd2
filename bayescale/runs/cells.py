"""The cells of a column as numbers or texts, and the row of the first that is not allowed."""

import re
from typing import Any

import numpy as np
import pandas as pd

from bayescale.errors import RunsError
from bayescale.field import SUFFIXES, written
from bayescale.runs.tables import limits
from bayescale.runs.tables.formats import Table
from bayescale.runs.tables.limits import CONTROL, heading

# what the numbers of a column must be, and how a message says it
ALLOWED_TEXTS = {
    "positive": "must be > 0",
    "finite": "must be finite",
    "not negative": "must be at least 0",
    "proportion": "must be between 0 and 1",
    "share": "must be above 0 and below 1: the number of items is not known",
}
# 4.6M, 1.3 billion, 1,300,000,000
WRITTEN = re.compile(
    r"\s*(?P<number>[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+\.?[0-9]*|\.[0-9]+))(?P<exponent>[eE][+-]?[0-9]+)?"
    r"\s*(?P<suffix>[kmbt]|mn|bn|tn|thousand|million|billion|trillion)?\s*",
    re.IGNORECASE,
)
POWERS = {"": 0} | dict(SUFFIXES)
CELL_CHARACTERS_MAX = 60  # of a number
MISSING_TEXTS = {"", "-", "nan", "na", "n/a", "none", "null", "<na>", "nat", "inf", "-inf", "infinity", "-infinity"}
TRUE_TEXTS, FALSE_TEXTS = {"true", "yes", "1"}, {"false", "no", "0"}
HEAD_ROWS = 10  # most columns of text show within them


def as_numbers(column: pd.Series) -> np.ndarray:
    """The column as floats, NaN where a cell is not a number, however people write it."""
    return _read_numbers(column)[0]


def _read_numbers(column: pd.Series) -> tuple[np.ndarray, str]:
    """The column as floats, with cells such as 4.6M and 1,300,000; and the first such cell."""
    numbers = _plain_numbers(column)
    if column.dtype.kind in "iufbmMc" or not (odd := np.flatnonzero(np.isnan(numbers))).size:
        return numbers, ""
    numbers, first, known = numbers.copy(), "", {}
    for position, cell in zip(odd, column.iloc[odd], strict=True):
        if type(cell) is str:
            if cell not in known:
                known[cell] = _written_number(cell)
            numbers[position] = known[cell]
            first = first or ("" if np.isnan(known[cell]) else cell.strip())
    return numbers, first


def _written_number(cell: str) -> float:
    """The number of a cell such as 4.6M, 1.3 billion or 1,300,000,000; NaN of any other."""
    found = WRITTEN.fullmatch(cell) if len(cell) <= CELL_CHARACTERS_MAX else None
    if found is None:
        return np.nan
    number, exponent = found["number"].replace(",", ""), found["exponent"] or ""
    power = POWERS[(found["suffix"] or "")[:1].upper()]
    return float(f"{number}e{power}") if not exponent else float(f"{number}{exponent}") * 10.0**power


def _plain_numbers(column: pd.Series) -> np.ndarray:
    try:
        found = pd.to_numeric(column, errors="coerce")
    except (TypeError, ValueError, OverflowError):  # lists, records, integers too large for a float
        return np.full(len(column), np.nan)
    if found.dtype.kind == "c":
        return np.full(len(column), np.nan)
    try:
        return found.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError, OverflowError):
        return np.array([_number(value) for value in found], dtype=float)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan
    except OverflowError:
        return np.inf


def missing_cells(column: pd.Series) -> np.ndarray:
    """Rows whose cell is empty, or says that its value is missing or not finite [row]."""
    missing = ~np.isfinite(as_numbers(column))
    odd = np.flatnonzero(missing)
    if column.dtype.kind not in "iuf":
        missing[odd] = [text.lower() in MISSING_TEXTS for text in texts_of(column.iloc[odd])]
    return missing


def all_positive(column: pd.Series) -> bool:
    """Whether every cell is a finite number above 0."""
    numbers = as_numbers(column)
    return bool((np.isfinite(numbers) & (numbers > 0)).all())


def checked_numbers(table: Table, name: Any, allowed: str) -> tuple[np.ndarray, str]:
    """The column as floats, and the first cell that is not written as a plain number, or "".

    Raises
    ------
    RunsError
        If a value is not allowed: the first is shown, the rest are counted.
    """
    column = table.frame[name]
    if column.dtype.kind not in "iuf":  # text; and booleans, dates and complex numbers, which are not to pass for sizes
        column = pd.Series(texts_of(column), index=column.index, dtype=object)
    numbers, written_so = _read_numbers(column)
    within = {"positive": numbers > 0, "finite": np.isfinite(numbers), "share": (numbers > 0) & (numbers < 1)}
    within["not negative"] = numbers >= 0
    within["proportion"] = (numbers >= 0) & (numbers <= 1)
    bad = np.flatnonzero(~np.isfinite(numbers) | ~within[allowed])
    if not bad.size:
        return numbers, written_so
    seen, value, name = str(column.iloc[bad[0]]), numbers[bad[0]], heading(name)
    if seen == "":
        wanted = f"a number{' > 0' if allowed == 'positive' else ''} is expected"
        problem = f"{name} is empty ({wanted}; --drop-missing leaves such rows out)"
    elif np.isnan(value) and seen.lower() in ("nan", "na", "none", "<na>"):
        problem = f"{name} is missing or NaN (give its value, or leave such rows out: --drop-missing)"
    elif np.isnan(value):
        problem = f"{name} = {seen[:40]!r} is not a number (write 70e6, 70M or 70000000)"
    else:
        problem = f"{name} = {value:g} ({ALLOWED_TEXTS['finite' if np.isinf(value) else allowed]})"
    more = "" if len(bad) == 1 else f"; {len(bad) - 1} more {'row' if len(bad) == 2 else 'rows'} like it"
    raise RunsError(f"{table.at(bad[0])}: {problem}{more}")


def checked_flags(table: Table, name: Any) -> np.ndarray:
    """A column of true and false as 1 and 0.

    Raises
    ------
    RunsError
        If a cell is neither.
    """
    texts = [text.lower().removesuffix(".0") for text in texts_of(table.frame[name])]
    for row, text in enumerate(texts):
        if text not in TRUE_TEXTS | FALSE_TEXTS:
            raise RunsError(f"{table.at(row)}: {heading(name)} = {text[:40]!r} (true or false is expected)")
    return np.array([text in TRUE_TEXTS for text in texts], dtype=float)


def numbers_or_texts(table: Table, name: Any) -> np.ndarray:
    """A column that no role claims: numbers where all cells are numbers, else text."""
    column = table.frame[name]
    if np.isfinite(_plain_numbers(column.iloc[:HEAD_ROWS])).all() and not pd.api.types.is_bool_dtype(column):
        numbers = _plain_numbers(column)
        if column.notna().all() and np.isfinite(numbers).all():
            return numbers
    texts = texts_of(column)
    if sum(map(len, texts)) > limits.MAX_BYTES:  # in a dictionary many cells may share one long text
        most = limits.MAX_BYTES // 1_000_000
        raise RunsError(f"{table.where}: the texts of {heading(name)} come to more than {most} MB; drop it")
    for row, text in enumerate(texts):
        if not text.isprintable() and CONTROL.search(text):
            raise RunsError(f"{table.at(row)}: a control character in the column {heading(name)}; take it out")
    return np.array(texts, dtype=object)


def texts_of(column: pd.Series) -> list[str]:
    """The cells of a column as texts."""
    values = column.astype(str if column.dtype.kind in "mM" else object)  # dates as they are usually written
    return [(value if type(value) is str else written(value)).strip() for value in values]
