"""How texts, numbers, sizes, units and rows are written for people: 7B, 1.4T, 3.65e25 FLOP, lines 4 and 7."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

FLOPS_PER_PARAM_TOKEN = 6.0  # C = 6 N D: forward and backward pass, no attention term
TRAINING = "6*N*D"  # the same as a formula: compute of a training run [FLOP]
# of columns that are sizes, as formulas and people write them
SYMBOLS = {"params": "N", "tokens": "D", "compute": "C"}
SIZE_UNITS = {"params": "parameters", "tokens": "tokens", "compute": "FLOP"}
BAND = 0.9  # what the wider band of an interval holds, unless another level is asked for
BAND_LEVELS = (0.5, 0.8, 0.9)  # of bands whose coverage is counted
SUFFIXES = (("T", 12), ("B", 9), ("M", 6), ("K", 3))
SIZE_MAX = 1e15  # larger sizes are written as powers of ten, not as 3640T
PLAIN_MIN, PLAIN_MAX = 1e-4, 1e6  # of numbers without a power of ten
SIZES_SAID = "N in parameters, D in tokens (7B is 7e9)"
NAMED_ROWS_MAX = 5
LISTED_NAMES_MAX = 12


def printable(value: object) -> str:
    """A text in which everything that a terminal would not show as text is spelt out, except newlines.

    This concerns escape sequences, bidirectional marks, invisible characters and lone surrogates.

    >>> printable("a\\x1b[2Jb, \\u202etxt.exe, caf\\u00e9")
    'a\\\\x1b[2Jb, \\\\u202etxt.exe, café'
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(_spelt(character) for character in text)


def _spelt(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode()


def number_text(value: float, digits: int = 3) -> str:
    """A number of so many digits: 0.0123, 1230, 3.65e25; never 1.23e+03.

    >>> [number_text(value) for value in (0.35, 99.96, 1234.5, 3.645e25, 1e22, 2e-7)]
    ['0.35', '100', '1230', '3.65e25', '1e22', '2e-7']
    """
    value = float(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    if PLAIN_MIN <= abs(rounded) < PLAIN_MAX:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
        text = f"{rounded:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, power = f"{rounded:.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(power)}"


def size_text(value: float, digits: int = 3) -> str:
    """How sizes are written in this field: 7B, 1.4T, 350M; beyond that 3.65e25."""
    value = float(value)
    if not 1000 <= value < SIZE_MAX:
        return number_text(value, digits)
    rounded = float(f"{value:.{digits - 1}e}")  # before the letter is chosen: 999.9e9 is 1T
    suffix, power = next(pair for pair in SUFFIXES if rounded >= 10 ** pair[1])
    whole = rounded >= SIZE_MAX
    return number_text(rounded, digits) if whole else f"{number_text(rounded / 10**power, digits)}{suffix}"


def number_in(text: str) -> float | None:
    """The number that a text writes as people do, or None.

    >>> number_in("70e9"), number_in("1.5T"), number_in("many")
    (70000000000.0, 1500000000000.0, None)
    """
    text = text.strip()
    power = dict(SUFFIXES).get(text[-1:].upper(), 0)
    try:
        return float(text[:-1] if power else text) * 10.0**power
    except ValueError:
        return None


def how_many(count: float, noun: str) -> str:
    """A count and what is counted.

    >>> how_many(1, "run"), how_many(2.0, "run")
    ('1 run', '2 runs')
    """
    return f"{count:.0f} {noun}{'' if count == 1 else 's'}"


def as_float(value: Any) -> float:
    """A number as a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def quantity_text(name: str, value: float | str) -> str:
    """A value of a column: compute in FLOP, large numbers as sizes, others as numbers, a name as it is.

    >>> quantity_text("compute", 3.645e25), quantity_text("tokens", 1.4e12), quantity_text("epochs", 4.0)
    ('3.645e25 FLOP', '1.4T', '4')
    """
    if isinstance(value, str):
        return value
    if name == "compute":
        return f"{number_text(value, 4)} FLOP"
    return size_text(value) if abs(value) >= 1000 else number_text(value, 4)


def band_ends(level: float = BAND) -> dict[str, float]:
    """The quantiles at the ends of an equal-tailed band, by their labels.

    >>> band_ends(), band_ends(0.95)
    ({'q05': 0.05, 'q95': 0.95}, {'q025': 0.025, 'q975': 0.975})
    """
    ends = [round((1 + sign * level) / 2, 9) for sign in (-1, 1)]
    return {f"q{f'{end:.9f}'.rstrip('0')[2:].ljust(2, '0')}": end for end in ends}


def middle_and_ends(level: float) -> dict[str, float]:
    """The quantiles that tell a band, by their labels: its ends and the median, the least first."""
    low, high = band_ends(level).items()
    return dict([low, ("q50", 0.5), high])


def band_percent(level: float) -> str:
    """90 %, 99.9 %."""
    return f"{100 * level:.6g} %"


def symbol(name: str) -> str:
    """N, D or C of the columns that are sizes; other columns have their own names."""
    return SYMBOLS.get(name, name)


def listed(items: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def clipped(value: object, most: int = 60, end: bool = False) -> str:
    """Text for a message: on one line and short; with ``end``, the end of a long text is kept."""
    text = written(value)
    text = text if text.isprintable() else repr(text)
    if len(text) <= most:
        return text
    return "..." + text[3 - most :] if end else text[: most - 3] + "..."


def written(value: object) -> str:
    """A value as text, or its type where it cannot be written out."""
    try:
        return str(value)
    except Exception:  # a cell may hold anything; Python writes out no integer of more than 4300 digits
        return f"a value of type {type(value).__name__}"


def names_text(found: Iterable[str]) -> str:
    """Names fit for a message: sorted, as a list, not too many."""
    names = [clipped(name) for name in sorted(found)]
    more = len(names) - LISTED_NAMES_MAX
    return f"{names[:LISTED_NAMES_MAX]}{f' and {more} more' if more > 0 else ''}"


def shown(value: Any, most: int = 60) -> str:
    """A value fit for a message."""
    try:
        return clipped(repr(value), most)
    except ValueError:  # Python does not write out integers of more than 4300 digits
        return "a huge integer"


def row_text(place: str, label: Any) -> str:
    """One run as its user counts it: line 14 of a file, row 12 (from 0) of a table in memory."""
    return f"{place} {label}"


def rows_text(place: str, labels: Iterable[Any]) -> str:
    """Some runs as their user counts them: the first few, and how many more."""
    labels = list(labels)
    if len(labels) == 1:
        return row_text(place, labels[0])
    more = len(labels) - NAMED_ROWS_MAX
    named = [str(label) for label in (labels if more <= 1 else labels[:NAMED_ROWS_MAX])]
    return f"{place}s {listed(named if more <= 1 else [*named, f'{more} more'])}"
