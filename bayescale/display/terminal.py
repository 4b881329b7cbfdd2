"""What the terminal shows: tables, cards, progress on the error stream, JSON for machines."""

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bayescale.display.table import Table, table_of
from bayescale.display.tables import derived_cells, fit_cells, fit_sentences, priors_cells
from bayescale.field import number_text, printable, quantity_text
from bayescale.reading import Reading, plain
from bayescale.runs.loss_unit import NATS, UNITS


def say(text: object, file: Any = None) -> None:
    """Print a text; what a terminal would obey instead of show is spelt out. All that is printed goes through here."""
    print(printable(text), file=file or sys.stdout)


@contextmanager
def working(what: str, silent: bool) -> Iterator[None]:
    """A spinner on the error stream while something takes its time; the stream stays clean for machines."""
    if silent:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what + " ..."):
        yield


@contextmanager
def progress_bar(what: str, silent: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the error stream for work whose parts can be counted."""
    if silent:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: Any) -> None:
    say(json.dumps(plain(value), indent=2, allow_nan=False))


def print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        say(f"warning: {warning}", file=sys.stderr)


def print_table(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    shown = RichTable(box=None, header_style="bold", pad_edge=False)
    for name, words in zip(table.header, table.words, strict=True):
        shown.add_column(printable(name), justify="left" if words else "right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*map(printable, row))
    # numbers are never cut: on a narrow terminal a long line wraps; cells may hold a law file's words: never markup
    page = io.StringIO()
    Console(file=page, highlight=False, markup=False, emoji=False, width=400).print(shown)
    say(f"{table.title}\n{page.getvalue().rstrip()}")


def print_readings(*readings: Reading) -> None:
    """Tables and sentences one after the other, then the warnings of all; nothing is said twice."""
    said: list[str] = []
    for reading in readings:
        if len(reading.frame):
            print_table(table_of(reading))
        for text in (*reading.says, *reading.notes):
            if text not in said:
                say(text)
                said.append(text)
    print_warnings(list(dict.fromkeys(text for reading in readings for text in reading.warnings)))


def print_fit(tree: Any, level: float) -> None:
    from bayescale.fitting.diagnostics import fit_summary

    summary = fit_summary(tree, level)
    print_table(fit_cells(summary, level))
    say("\n".join(fit_sentences(summary)))
    counted = [note for note in summary["notes"] if note["code"] in ("compute_unit", "compute_differs")]
    for note in counted:
        say(note["text"])
    if summary["loss_unit"] != UNITS[NATS]:
        say(f"Losses asked for and shown are in {summary['loss_unit']}; parameters above that are losses are in nats.")
    print_warnings(summary["warnings"])


def card(law: Any) -> dict[str, Any]:
    from bayescale.laws.formula import latex

    return {
        "name": law.name,
        "title": law.title,
        "about": law.about,
        "cite": law.cite,
        "formula": law.formula,
        "latex": latex(law.tree),
        "inputs": list(law.inputs),
        "observable": law.observed.column,
        "observed": {key: value for key, value in vars(law.observed).items() if value},
        "range": {name: list(pair) for name, pair in law.range.items()},
        "falls_with": list(law.falls_with),
        "rises_with": list(law.rises_with),
        "priors": {name: {"prior": str(prior), "about": prior.about} for name, prior in law.priors.items()},
        "derived": {name: {"formula": item.formula, "about": item.about} for name, item in law.derived.items()},
        "published_formula": law.published_formula,
        "published": {
            name: {
                "source": preset.source,
                "values": dict(preset.values),
                "answers": [
                    {"quantity": a.quantity, "at": dict(a.at), "value": a.value, "within": a.within, "source": a.source}
                    for a in preset.answers
                ],
            }
            for name, preset in law.presets.items()
        },
        "traps": list(law.traps),
    }


def print_law_line(law: Any) -> None:
    formula = law.published_formula or law.formula
    shown = f": {formula}" if len(formula) <= 100 else ""
    say(f"{law.name}({', '.join(law.inputs)}){shown}\n    {law.title}. {law.about}")


def print_card(law: Any) -> None:
    from bayescale.laws.formula import latex
    from bayescale.laws.law import column
    from bayescale.laws.law_tables import OBSERVED_SCALES

    symbol, kind = law.observed.symbol, OBSERVED_SCALES[law.observed.scale]
    say(f"{law.name}: {law.title}\n{law.about}\nSource: {law.cite}")
    if law.observed.column != "loss" or law.observed.scale != "log":
        out_of = f", out of the column {law.observed.count}" if law.observed.count else ""
        say(f"Explains: {law.observed.column} ({kind}{out_of})")
    inputs = [name if column(name) == name else f"{name} (column {column(name)})" for name in law.inputs]
    say(f"Inputs: {', '.join(inputs)}\n")
    if law.published_formula:
        say(f"As published   {symbol} = {law.published_formula}")
    say(f"As sampled     {symbol} = {law.formula}")
    for name, formula in law.where_texts.items():
        say(f"    where {name} = {formula}")
    say(f"LaTeX          {latex(law.tree)}\n")
    print_table(priors_cells(law))
    if law.derived:
        print_table(derived_cells(law))
    for name, preset in law.presets.items():
        values = ", ".join(f"{key} = {number_text(value, 6)}" for key, value in preset.values.items())
        say(f"Published {name}: {values} ({preset.source})")
    for trap in law.traps:
        say(f"Trap: {trap}")


def print_published(law: Any, at: Mapping[str, float], values: Mapping[str, float]) -> None:
    given = ", ".join(f"{name} = {quantity_text(name, value)}" for name, value in at.items())
    say(f"{law.name}: {law.observed.column} by published constants, at {given}")
    for name, value in values.items():
        say(f"{name}: {number_text(value, 6)} ({law.presets[name].source})")
