"""A table as people see it: round numbers with their bands; text in a terminal, HTML in a notebook."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

from bayescale.field import number_text, printable, quantity_text, size_text
from bayescale.reading import Column, Reading

WORD_COLUMNS = {"prior", "meaning", "choice", "held by", "kind"}  # all others but the first hold numbers


@dataclass(frozen=True)
class Table:
    """A table as it is shown: text only, ready to print or, in a notebook, to be seen as HTML.

    Attributes
    ----------
    title : what the table shows and how its numbers are to be read
    header, rows : the cells
    words : which columns hold words and not numbers
    notes : sentences that belong to it
    warnings : what speaks against its numbers
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[bool, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [self.title]
        cells_of = [tuple(map(printable, row)) for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells_of, strict=True)]
        for row in cells_of:
            cells = zip(row, widths, self.words, strict=True)
            lines.append("  ".join(f"{cell:{'<' if left else '>'}{width}}" for cell, width, left in cells).rstrip())
        return printable("\n".join([*lines, *self.notes, *(f"warning: {text}" for text in self.warnings)]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """HTML without colours of its own but for the rule beside warnings: it reads on light and on dark pages."""

        def cell(tag: str, text: str, left: bool, scope: str = "") -> str:
            side = "left" if left else "right"
            scope = f' scope="{scope}"' if scope else ""
            space = "normal; min-width: 16em" if left and len(text) > 40 else "nowrap"
            return f'<{tag}{scope} style="text-align: {side}; white-space: {space}">{_escaped(text)}</{tag}>'

        head = "".join(cell("th", name, left, "col") for name, left in zip(self.header, self.words, strict=True))
        body = []
        for first, *rest in self.rows:
            cells = [cell("td", text, left) for text, left in zip(rest, self.words[1:], strict=True)]
            body.append(f"<tr>{cell('th', first, True, 'row')}{''.join(cells)}</tr>")
        parts = [
            f'<div style="overflow-x: auto" tabindex="0" role="region" aria-label="{_escaped(self.title)}">',
            '<table class="bayescale">',
            f'<caption style="caption-side: top; text-align: left">{_escaped(self.title)}</caption>',
            f"<thead><tr>{head}</tr></thead>",
            f"<tbody>{''.join(body)}</tbody></table></div>",
            *(f"<p>{_escaped(text)}</p>" for text in self.notes),
        ]
        rule = "border-left: 0.3em solid #d55e00; padding-left: 0.6em"
        parts += [f'<p style="{rule}"><strong>Warning:</strong> {_escaped(text)}</p>' for text in self.warnings]
        return "".join(parts)


def _escaped(text: str) -> str:
    return escape(printable(text))


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    words = tuple(i == 0 or name in WORD_COLUMNS for i, name in enumerate(header))
    return Table(title, tuple(header), tuple(map(tuple, rows)), words)


def table_of(reading: Reading) -> Table:
    """A reading as people see it: its columns, what it says and rests on, its warnings."""
    columns, frame = reading.columns, reading.frame.to_dict("records")
    rows = tuple(tuple(_cell(one, row, i) for one in columns) for i, row in enumerate(frame))
    words = tuple(i == 0 or one.how == "text" for i, one in enumerate(columns))
    header = tuple(one.heading for one in columns)
    return Table(reading.title, header, rows, words, (*reading.says, *reading.notes), reading.warnings)


def _cell(column: Column, row: dict[str, Any], i: int) -> str:
    instead = column.instead[i] if column.instead else None
    return WRITERS[column.how](row, column) if instead is None else instead


# ---- numbers ---------------------------------------------------------------------------------------------------------


def range_text(name: str, values: Any) -> str:
    """The least and largest of a column, with the unit of compute."""
    least, most = (quantity_text(name, value) for value in (values.min(), values.max()))
    return f"{least.removesuffix(' FLOP')} to {most}"


ENDS = ("q05", "q95")


def band_text(row: Any, name: str, digits: int = 3, ends: Sequence[str] = ENDS) -> str:
    """Median and band with as many decimals as the width of the band calls for, ``digits`` at least; without a band the
    median alone."""
    middle, low, high = (row[f"{name}_{label}"] for label in ("q50", *ends))
    width = high - low
    if math.isfinite(width) and width > 0:
        digits = min(12, max(digits, 1 - math.floor(math.log10(width))))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]" if low == low else f"{middle:.{digits}f}"


def size_band_text(row: Any, name: str, ends: Sequence[str], text: Callable[[float], str] = size_text) -> str:
    """Median and band, or the median alone where a limit leaves none."""
    middle, low, high = (row[f"{name}_{label}"] for label in ("q50", *ends))
    return f"{text(middle)} [{text(low)}, {text(high)}]" if low == low else text(middle)


def _range(low: float, high: float, digits: int) -> str:
    return f"{number_text(low, digits)} {'and more' if math.isinf(high) else f'to {number_text(high, digits)}'}"


def _percents(row: Any, column: Column, decimals: float) -> str:
    shares = [100 * row[name] for name in (column.key, *column.also)]
    shares = shares if decimals == math.inf else [round(share, int(decimals)) for share in shares]
    return " / ".join(number_text(share, column.digits) for share in shares) + " %"


# how a column is written: from a row of the frame, and the column
WRITERS: dict[str, Callable[[Any, Column], str]] = {
    "text": lambda row, one: str(row[one.key]),
    "yes": lambda row, one: "yes" if row[one.key] else "no",
    "number": lambda row, one: number_text(row[one.key], one.digits),
    "decimals": lambda row, one: f"{row[one.key]:.{one.digits}f}",
    "count": lambda row, one: f"{row[one.key]:.0f}",
    "percent": lambda row, one: _percents(row, one, math.inf),
    "coarse percent": lambda row, one: _percents(row, one, 3),  # of a percent: what is less is nothing
    "share": lambda row, one: f"{100 * row[one.key]:.{one.digits}f} %",
    "signed share": lambda row, one: f"{100 * row[one.key]:+.{one.digits}f} %",
    "count in": lambda row, one: f"{row[one.key]:.0f} in {row[one.also[0]]:.0f}",
    "with error": lambda row, one: f"{row[one.key]:.{one.digits}f} +- {row[one.also[0]]:.{one.digits}f}",
    "range": lambda row, one: _range(row[one.key], row[one.also[0]], one.digits),
    "size": lambda row, one: size_text(row[one.key], one.digits),
    "quantity": lambda row, one: quantity_text(one.key, row[one.key]),
    "decades": lambda row, one: f"{row[one.key]:.2f} dec",
    "band": lambda row, one: band_text(row, one.key, one.digits, one.ends),
    "number band": lambda row, one: size_band_text(row, one.key, one.ends, partial(number_text, digits=one.digits)),
    "size band": lambda row, one: size_band_text(row, one.key, one.ends),
    "shares": lambda row, one: "/".join(f"{100 * row[name]:.0f}" for name in (one.key, *one.also)) + " %",
}
