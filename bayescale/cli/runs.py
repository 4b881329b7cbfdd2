"""Commands about runs: check, datasets."""

from pathlib import Path
from typing import Annotated

import typer

from bayescale.cli import arguments as arg
from bayescale.display.table import range_text
from bayescale.display.terminal import print_json, say


def check(
    runs: arg.Runs,
    law: Annotated[str | None, typer.Option("--law", "-l", help="Check the runs as those of this law.")] = None,
    column: arg.Columns = None,
    unit: arg.Units = None,
    where: arg.Where = None,
    above_step: arg.AboveStep = None,
    last_of: arg.LastOf = None,
    drop_missing: arg.DropMissing = False,
    best_of: arg.BestOf = None,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Read runs and say what a careful reader would object to."""
    from bayescale.laws.law import load_law
    from bayescale.runs.lint import remarks
    from bayescale.runs.loss_unit import from_nats, loss_unit
    from bayescale.runs.read import read_text

    chosen = load_law(law) if law else None
    data = arg.runs_given(runs, column, unit, chosen, arg.rows_given(where, above_step, last_of, drop_missing, best_of))
    notes = remarks(data, chosen)
    if as_json:
        print_json(
            {
                "source": data.attrs["source"],
                "runs": data.sizes["run"],
                "counted_by": data.attrs["rows"],
                "read": read_text(data.attrs),
                "columns": [str(name) for name in data.data_vars],
                "notes": [vars(note) | {"rows": list(note.rows)} for note in notes],
            }
        )
    elif not quiet:
        numeric = [name for name in data if data[name].dtype.kind == "f"]
        unit = loss_unit(data.attrs)
        shown = {name: data[name].values for name in numeric}
        if "loss" in shown:
            shown["loss"] = from_nats(shown["loss"], unit)
        ranges = ", ".join(f"{name} {range_text(name, values)}" for name, values in shown.items())
        say(f"{data.attrs['source']}: {data.sizes['run']} runs; {ranges}")
        say(f"read: {read_text(data.attrs)}")
        for note in notes:
            say(f"{note.severity}: {note.text} [{note.code}]")
        if not notes:
            say("nothing to object to")


def datasets(
    name: Annotated[str | None, typer.Argument(help="Data set to get; without it they are listed.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep downloads here instead of the user's cache.")] = None,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """List the data sets, or get one: downloaded once, verified by checksum; prints where its file is."""
    from bayescale.runs import datasets as module

    if name is None:
        rows = [
            {"name": key, "embedded": source.url is None, "about": source.about, "cite": source.cite}
            for key, source in module.DATASETS.items()
        ]
        if as_json:
            print_json({"datasets": rows})
        elif not quiet:
            for row in rows:
                say(f"{row['name']} ({'embedded' if row['embedded'] else 'download'}): {row['about']}. {row['cite']}")
        return
    runs = module.load_dataset(name, folder)
    path = module.fetch_file(name, folder)
    if as_json:
        print_json({"name": name, "file": str(path), "runs": runs.sizes["run"], "cite": runs.attrs["cite"]})
    elif not quiet:
        say(path)
