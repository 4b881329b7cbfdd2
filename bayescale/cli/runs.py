"""Commands about runs: check, datasets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayescale.cli import arguments as arg
from bayescale.cli import options as opt
from bayescale.display.table import range_text
from bayescale.display.terminal import print_json, say
from bayescale.jobs.files import write_table

if TYPE_CHECKING:
    import xarray as xr

RANGES_MAX = 12  # columns whose range is shown


def check(
    runs: opt.Runs,
    *,
    law: Annotated[str | None, typer.Option("--law", "-l", help="Check the runs as those of this law.")] = None,
    table: opt.TableOptions,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the runs as read here (CSV).")] = None,
    said: opt.Said,
) -> None:
    """Start here: read runs, say what was read, what a careful reader would leave out, and the next command."""
    from bayescale.runs.proposal import command, look, option_texts, tidy
    from bayescale.runs.read import read_text

    arg.check_output(output, "tidy.csv", *runs)
    source = arg.source_given(runs)
    laws = table.laws(law, source)
    found = look(source, laws[0] if law or len(laws) > 1 else None, table.named | table.rows)
    data = found.runs
    about = [*(["--law", law] if law else []), *(word for one in table.column or () for word in ("--column", one))]
    about += [word for one in table.unit or () for word in ("--unit", one)]
    following = command(["bayescale", "fit", *runs, *about, *option_texts(found.options), "-o", "fit.nc"])
    if output is not None:
        write_table(tidy(data), output)
    if said.as_json:
        print_json(
            {
                "source": data.attrs["source"],
                "runs": data.sizes["run"],
                "counted_by": data.attrs["rows"],
                "read": read_text(data.attrs),
                "columns": [str(name) for name in data.data_vars],
                "notes": [
                    vars(note) | {"rows": list(note.rows), "options": dict(note.options)} for note in found.notes
                ],
                "would_leave_out": found.left_out,
                "next": following,
            }
        )
    elif not said.quiet:
        _say_runs(data)
        for note in found.notes:
            say(f"{note.severity}: {note.text} [{note.code}]")
        if not found.notes:
            say("nothing to object to")
        if found.left_out:
            say(f"with the options of the next command: {found.left_out}; {found.left} runs stay")
        if output is not None:
            say(f"saved: {output}")
        say(f"next: {following}")


def _say_runs(runs: "xr.Dataset") -> None:
    """How many runs, the range of every column of numbers, and which columns were read."""
    from bayescale.runs.loss_unit import from_nats, loss_unit
    from bayescale.runs.read import read_text

    shown = {str(name): one.values for name, one in runs.data_vars.items() if one.dtype.kind == "f"}
    if "loss" in shown:
        shown["loss"] = from_nats(shown["loss"], loss_unit(runs.attrs))
    ranges = [f"{name} {range_text(name, values)}" for name, values in shown.items()]
    more = f" and {len(ranges) - RANGES_MAX} more columns of numbers" if len(ranges) > RANGES_MAX else ""
    say(f"{runs.attrs['source']}: {runs.sizes['run']} runs; {', '.join(ranges[:RANGES_MAX])}{more}")
    say(f"read: {read_text(runs.attrs)}")


def datasets(
    name: Annotated[str | None, typer.Argument(help="Data set to get; without it they are listed.")] = None,
    *,
    folder: Annotated[Path | None, typer.Option(help="Keep downloads here instead of the user's cache.")] = None,
    said: opt.Said,
) -> None:
    """List the data sets, or get one: downloaded once, verified by checksum; prints where its file is."""
    from bayescale.runs import datasets as module

    if name is None:
        rows = [
            {
                "name": key,
                "embedded": source.url is None,
                "about": source.about,
                "cite": source.cite,
                "licence": source.licence,
            }
            for key, source in module.DATASETS.items()
        ]
        if said.as_json:
            print_json({"datasets": rows})
        elif not said.quiet:
            for row in rows:
                kept = "embedded" if row["embedded"] else "download"
                say(f"{row['name']} ({kept}): {row['about']}. {row['cite']}. Licence: {row['licence']}")
        return
    runs = module.load_dataset(name, folder)
    path = module.fetch_file(name, folder)
    if said.as_json:
        print_json({"name": name, "file": str(path), "runs": runs.sizes["run"], "cite": runs.attrs["cite"]})
    elif not said.quiet:
        say(path)
