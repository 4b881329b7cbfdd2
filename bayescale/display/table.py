"""A table as people see it: round numbers with their bands; text in a terminal, HTML in a notebook."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from bayescale.field import number_text, printable, quantity_text, size_text

WORDS = {"prior", "meaning", "choice", "held by", "kind"}  # columns of words; all others but the first hold numbers


@dataclass(frozen=True)
class Table:
    """A table as it is shown: text only, ready to print or, in a notebook, to be seen as HTML.

    Attributes
    ----------
    title : what the table shows and how its numbers are to be read
    header, rows : the cells
    notes : sentences that belong to it
    warnings : what speaks against its numbers
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
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

    @property
    def words(self) -> tuple[bool, ...]:
        """Which columns hold words and not numbers."""
        return tuple(i == 0 or name in WORDS for i, name in enumerate(self.header))

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
    return Table(title, tuple(header), tuple(map(tuple, rows)))


# ---- numbers ---------------------------------------------------------------------------------------------------------


def range_text(name: str, values: Any) -> str:
    """The least and largest of a column, with the unit of compute."""
    least, most = (quantity_text(name, value) for value in (values.min(), values.max()))
    return f"{least.removesuffix(' FLOP')} to {most}"


def band_text(row: Any, name: str, digits: int = 3) -> str:
    """Median and band with as many decimals as the width of the band calls for, ``digits`` at least; without a band the
    median alone."""
    middle, low, high = (row[f"{name}_{label}"] for label in ("q50", "q05", "q95"))
    width = high - low
    if math.isfinite(width) and width > 0:
        digits = min(12, max(digits, 1 - math.floor(math.log10(width))))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]" if low == low else f"{middle:.{digits}f}"


def size_band_text(row: Any, name: str) -> str:
    if row[f"{name}_q05"] != row[f"{name}_q05"]:  # NaN: set by a limit, and has no band
        return size_text(row[f"{name}_q50"])
    return f"{size_text(row[f'{name}_q50'])} [{size_text(row[f'{name}_q05'])}, {size_text(row[f'{name}_q95'])}]"


def number_band_text(row: Any, name: str) -> str:
    """Median and band, or the median alone where a limit leaves none."""
    middle, low, high = (row[f"{name}_{label}"] for label in ("q50", "q05", "q95"))
    return f"{number_text(middle)} [{number_text(low)}, {number_text(high)}]" if low == low else number_text(middle)
