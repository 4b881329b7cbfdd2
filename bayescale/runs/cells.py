"""The cells of a column as numbers or texts, and the row of the first that is not allowed."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from bayescale.errors import RunsError
from bayescale.field import written
from bayescale.runs.headings import powers_written
from bayescale.runs.size_unit import POWERS, PREFIX_POWERS, WORD
from bayescale.runs.tables import limits
from bayescale.runs.tables.csv import THOUSANDS
from bayescale.runs.tables.formats import Table
from bayescale.runs.tables.limits import CONTROL, heading

# what the numbers of a column must be, and how a message says it
ALLOWED_TEXTS = {
    "positive": "must be > 0",
    "finite": "must be finite",
    "not negative": "must be at least 0",
    "proportion": "must be between 0 and 1; accuracy (%) heads percentages",
    "share": "must be above 0 and below 1, as the number of items is not known; accuracy (%) heads percentages",
}
# 4.6M, 1.3 billion, ~20bn tokens, 1,300,000,000, 1 300 000, 1,30,00,000, 1.2 x 10^9, 3.36*, 63.2 %
WRITTEN = re.compile(
    r"\s*(?:[~≈]|ca\.?|circa|about|approx\.?)?\s*(?P<number>[+-]?"
    r"(?:[1-9][0-9]{0,2}(?P<between>[,'’_ \u00a0\u2009\u202f])[0-9]{3}(?:(?P=between)[0-9]{3})*(?:\.[0-9]*)?|"
    r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<exponent>[eE][+-]?[0-9]+)|"
    r"\s*(?:[x×·*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?(?P<power>[+-]?[0-9]+)\}?)?"
    rf"\s*(?:(?P<suffix>{WORD})?\.?"
    r"(?:\s*(?:params?|parameters?|toks?|tokens?|flops?|nats?(?:/tok(?:en)?)?))?|(?P<prefix>[kmgtpez])flops?|(?P<percent>%))\s*[*†‡§¶↓↑]*\s*",
    re.IGNORECASE,
)
# other signs for those of WRITTEN
SIGNS = str.maketrans("−∼˜⋅∙✕０１２３４５６７８９．，％", "-~~··×0123456789.,%")
MARKED = re.compile(  # a text in spreadsheets, or bold
    r"""="(.*)"|"(.*)"|'(.*)|(?:tensor|np\.float\d\d)\(([^,()]*)(?:,.*)?\)|\*\*(.*)\*\*|\\(?:textbf|textit|mathbf|num)\{(.*)\}|<b>(.*)</b>"""
)
FOOTNOTE = re.compile(  # 3.36¹, 3.36[1], 3.36^a, 3.36 (b); 2³ may be 8
    r"(?<=[^⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]{3})[⁰¹²³⁴⁵⁶⁷⁸⁹]+$|\s?\[[0-9a-z]\]$|\^\{?[a-z*†]\}?$|\s?\([a-z*†]\)$"
)
DECIMAL_COMMA = re.compile(r"(?:[0-9],(?:[0-9]{1,2}|[0-9]{4,})|(?<![0-9])0,[0-9]{3})(?![0-9,.])")
POINT_OR_EXPONENT = re.compile(r"\.[0-9]|[0-9][eE]")
POINTS_APART = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3}){2,}(?:,[0-9]+)?")  # 1.300.000
POINT_APART = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})*(?:,[0-9]+)?")
PERCENT = re.compile(r"%|\bpercent\b|_(?:pct|percent)$", re.IGNORECASE)  # in a heading of what is observed
MIXED_TIMES = 1e3  # between cells of one column that may be in different units
CELL_CHARACTERS_MAX = 60  # of a number
INFINITE_TEXTS = {"inf", "-inf", "infinity", "-infinity"}
TRUE_TEXTS, FALSE_TEXTS = {"true", "yes", "1"}, {"false", "no", "0"}
HEAD_ROWS = 10  # most columns of text show within them


def as_numbers(column: pd.Series) -> np.ndarray:
    """The column as floats, NaN where a cell is not a number, however people write it."""
    return _read_numbers(column)[0]


def counted(column: pd.Series, factor: float) -> np.ndarray:
    """The column as floats, times the factor of its unit; a cell such as 4.6M has its own, and is a count already."""
    numbers, _, scaled = _read_numbers(column)
    return np.where(scaled, numbers, numbers * factor)


def _read_numbers(column: pd.Series) -> tuple[np.ndarray, str, np.ndarray]:
    """The column as floats, with cells such as 4.6M and 1,300,000; the first such cell; which have a unit [row]."""
    numbers, scaled = _plain_numbers(column), np.zeros(len(column), dtype=bool)
    if column.dtype.kind in "iufbmMc" or not (odd := np.flatnonzero(np.isnan(numbers))).size:
        return numbers, "", scaled
    numbers, first, known = numbers.copy(), "", {}
    texts = {cell for cell in column.iloc[odd] if type(cell) is str and len(cell) <= CELL_CHARACTERS_MAX}
    plainly: Callable[[str], str] = str
    if any(POINTS_APART.fullmatch(text.strip()) for text in texts):  # then 1.300 is no 1.3 either
        plainly, odd = _points_left_out, np.arange(len(column))
    elif any(map(DECIMAL_COMMA.search, texts)) and not any(text.count(",") > 1 for text in texts):
        others = texts | {cell for cell in column.iloc[np.flatnonzero(~np.isnan(numbers))] if type(cell) is str}
        plainly = str if any(map(POINT_OR_EXPONENT.search, others)) else (lambda cell: cell.replace(",", "."))
    for position, cell in zip(odd, column.iloc[odd], strict=True):
        if type(cell) is str:
            if cell not in known:
                known[cell] = _written_number(plainly(cell)) if len(cell) <= CELL_CHARACTERS_MAX else (np.nan, False)
            numbers[position], scaled[position] = known[cell]
            first = first or ("" if np.isnan(numbers[position]) else cell.strip())
    return numbers, first, scaled


def _points_left_out(cell: str) -> str:
    """1.300.000,5 as 1300000.5; a cell with points elsewhere is no number beside such."""
    cell = cell.strip()
    return cell.replace(".", "").replace(",", ".") if POINT_APART.fullmatch(cell) else "" if "." in cell else cell


def _written_number(cell: str) -> tuple[float, bool]:
    """The number of a cell such as 4.6M, 1.3 billion or 1,300,000,000, and whether it has a unit; NaN of any other."""
    if marked := MARKED.fullmatch(cell.strip()):
        cell = next(inner for inner in marked.groups() if inner is not None)
    cell = powers_written(cell.strip().removeprefix("$").removesuffix("$")).translate(SIGNS)
    cell = FOOTNOTE.sub("", cell)
    found = WRITTEN.fullmatch(f"1x{cell}" if cell.startswith("10^") else cell)
    if found is None:
        return np.nan, False
    number = found["number"].replace(found["between"] or ",", "").replace(",", "")
    suffix, prefix = (re.sub(r"\s", "", found[one] or "").casefold() for one in ("suffix", "prefix"))
    power = POWERS.get(suffix, 0) + PREFIX_POWERS.get(prefix, 0) - 2 * bool(found["percent"])
    scaled = bool(power) and not found["percent"]
    if found["exponent"]:
        return float(number + found["exponent"]) * 10.0**power, scaled
    return float(f"{number}e{power + int(found['power'] or 0)}"), scaled


def _plain_numbers(column: pd.Series) -> np.ndarray:
    try:
        found = pd.to_numeric(column, errors="coerce")
    except OverflowError:  # integers too large for a float
        return np.array([_number(value) for value in column], dtype=float)
    except (TypeError, ValueError):  # lists, records
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
    """Rows whose cell is empty, has no digit, such as NaN, - and diverged, or is not finite [row]."""
    missing = ~np.isfinite(as_numbers(column))
    odd = np.flatnonzero(missing)
    if column.dtype.kind not in "iuf":
        missing[odd] = [_says_none(text) for text in texts_of(column.iloc[odd])]
    return missing


def _says_none(text: str) -> bool:
    """Whether a cell says that there is no number: NaN, -, diverged, #DIV/0!."""
    return text.lower() in INFINITE_TEXTS or text.startswith("#") or not any(map(str.isdigit, text))


def all_positive(column: pd.Series) -> bool:
    """Whether every cell is a finite number above 0."""
    numbers = as_numbers(column)
    return bool((np.isfinite(numbers) & (numbers > 0)).all())


def checked_numbers(
    table: Table, name: Any, allowed: str, *, counts: bool = True, factor: float = 1.0
) -> tuple[np.ndarray, str]:
    """The column as floats in its unit, and the first cell that is not written as a plain number, or "".

    Parameters
    ----------
    factor : of the unit of the column, which cells with a unit of their own, such as 4.6M, are divided by
    counts : whether they may be large, as sizes are; of other columns a comma between digits is a question

    Raises
    ------
    RunsError
        If a value is not allowed: the first is shown, the rest are counted.
    """
    column = table.frame[name]
    if column.dtype.kind not in "iuf":  # text; and booleans, dates and complex numbers, which are not to pass for sizes
        column = pd.Series(texts_of(column), index=column.index, dtype=object)
    numbers, written_so, scaled = _read_numbers(column)
    numbers = np.where(scaled, numbers / factor, numbers)
    if not counts and PERCENT.search(str(name)) and not written_so.endswith("%") and column.size:
        numbers, written_so = numbers / 100, f"{written_so or column.iloc[0]} %"
    within = {"positive": numbers > 0, "finite": np.isfinite(numbers), "share": (numbers > 0) & (numbers < 1)}
    within["not negative"] = numbers >= 0
    within["proportion"] = (numbers >= 0) & (numbers <= 1)
    bad = np.flatnonzero(~np.isfinite(numbers) | ~within[allowed])
    if bad.size:
        problem = _problem(str(column.iloc[bad[0]]), numbers[bad[0]], heading(name), allowed, counts)
    elif scaled.any() and (bad := np.flatnonzero(numbers < numbers[scaled].min() / MIXED_TIMES)).size:
        problem = f"{heading(name)} = {column.iloc[bad[0]]} beside cells such as {written_so}: write its unit too"
    elif not counts and written_so and (bad := _thousands(column)).size:
        cell = column.iloc[bad[0]]
        problem = f"{heading(name)} = {cell!r} may be {cell.replace(',', '.')} or {cell.replace(',', '')}: write it so"
    else:
        return numbers, written_so
    more = "" if len(bad) == 1 else f"; {len(bad) - 1} more {'row' if len(bad) == 2 else 'rows'} like it"
    raise RunsError(f"{table.at(bad[0])}: {problem}{more}")


def _thousands(column: pd.Series) -> np.ndarray:
    """Rows with cells such as 1,300."""
    return np.flatnonzero([bool(THOUSANDS.fullmatch(cell)) for cell in column.astype(str)])


def _problem(seen: str, value: float, name: str, allowed: str, counts: bool) -> str:
    """What is wrong with a cell, and what to do."""
    if seen == "":
        wanted = f"a number{' > 0' if allowed == 'positive' else ''} is expected"
        return f"{name} is empty ({wanted}; --drop-missing leaves such rows out)"
    if np.isnan(value) and seen.lower() in ("nan", "na", "none", "<na>"):
        return f"{name} is missing or NaN (give its value, or leave such rows out: --drop-missing)"
    if np.isnan(value):
        example = "write 70e6, 70M or 70000000" if counts else "write 2.31"
        leave = "; --drop-missing leaves such rows out" if _says_none(seen) else ""
        return f"{name} = {seen[:40]!r} is not a number ({example}{leave})"
    if np.isinf(value):
        return f"{name} = {value:g} ({ALLOWED_TEXTS['finite']}); --drop-missing leaves such rows out"
    leave = f"; --where '{name} > 0' leaves such rows out" if value == 0 and name.isidentifier() else ""
    return f"{name} = {value:g} ({ALLOWED_TEXTS[allowed]}){leave}"


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
