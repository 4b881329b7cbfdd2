"""Pages of the site that are made and not written: laws from models/, commands, the Python reference, notebooks.

MkDocs calls the functions ``on_...`` (mkdocs.yml, ``hooks``). Formulas become MathML here, which every browser draws by
itself: a script that draws them would have to be fetched, or carried along with its fonts. Notebooks, and commands in
blocks marked ``run``, are executed, so that what pages show is what the package does; DOCS_RUN=0 leaves that out.
"""

import ast
import base64
import csv
import hashlib
import html
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "docs/examples"  # files that the commands of pages read
CACHE = ROOT / ".cache" / "docs"  # what was executed, kept until it or the package changes
SECONDS = 600  # for one cell or one command
WIDTH = 100  # of sentences that commands print
FORMULA_SET_MAX = 250  # characters of a formula that is set as mathematics
RUN = os.environ.get("DOCS_RUN", "1") != "0"


def on_config(config: Any) -> Any:
    """Every law gets its place in the navigation."""
    from bayescale import law_names

    reference = next(item["Reference"] for item in config.nav if "Reference" in item)
    pages = next(item["Laws"] for item in reference if "Laws" in item)
    pages += [
        {name: f"reference/laws/{name}.md"} for name in law_names() if {name: f"reference/laws/{name}.md"} not in pages
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for path, content in generated().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Tables where a page has a mark for them, and blocks of commands marked ``run`` with what they print."""
    for mark, made in TABLES.items():
        markdown = markdown.replace(mark, made()) if mark in markdown else markdown
    blocks = re.findall(COMMANDS, markdown)
    if not blocks:
        return markdown
    printed = iter(
        json.loads(kept("\n".join(blocks), "json", lambda: json.dumps(run_commands(blocks)))) if RUN else blocks
    )
    return re.sub(COMMANDS, lambda _: f"```console\n{next(printed)}```", markdown)


def on_page_content(content: str, **_: Any) -> str:
    return with_mathml(content)


def on_post_page(output: str, **_: Any) -> str:
    """The search says what it is to those who do not see it."""
    search = 'data-md-component="search" role="dialog"'
    return output.replace(search, f'{search} aria-label="Search"')


def generated() -> dict[str, "str | bytes"]:
    """Every page and picture that is made, by its path."""
    from bayescale import law_names, load_law

    pages: dict[str, str | bytes] = {"reference/laws/index.md": law_index()}
    pages |= {f"reference/laws/{name}.md": law_page(load_law(name)) for name in law_names()}
    pages["reference/commands.md"] = command_page()
    pages["reference/python.md"] = python_page()
    pages |= gallery_pages()
    pages["reference/architecture.md"] = architecture_page()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        pages |= notebook_pages(path)
    return pages


# ---- gallery --------------------------------------------------------------------------------------------------------


def gallery_pages() -> dict[str, "str | bytes"]:
    """Every figure of a fit to the public models below 1e22 FLOP, with the command that draws it."""
    from bayescale.display.gallery import OF_A_FIT

    lines = [
        "# Figures",
        "",
        "All figures are of one fit to 23 public models trained on the Pile, those below 1e22 FLOP: `bayescale fit pile"
        " --below 1e22 --law chinchilla -o fit.nc`. In Python `bayescale.plot_forecast(fit, forecast)` and its like"
        " return a matplotlib figure, and most take `ax`.",
        "",
    ]
    pictures = json.loads(kept("gallery", "json", drawn_gallery)) if RUN else {}
    pages: dict[str, str | bytes] = {}
    for kind, row in OF_A_FIT.items():
        command = " ".join(f"bayescale plot fit.nc {kind} {row.example} -o {kind}.png".split())
        lines += [f"## {kind}", "", row.look_for, "", "```", command, "```", ""]
        if kind in pictures:
            lines += [f"![{row.look_for}](gallery/{kind}.png)", ""]
            pages[f"gallery/{kind}.png"] = base64.b64decode(pictures[kind])
    return pages | {"gallery.md": "\n".join(lines)}


def drawn_gallery() -> str:
    """The pictures as JSON, by kind, in base64: what the commands of the page draw."""
    from bayescale.display.gallery import OF_A_FIT

    with tempfile.TemporaryDirectory() as folder:
        start = [sys.executable, "-c", "from bayescale.cli.main import main; main()"]

        def run(words: str) -> None:
            subprocess.run(
                [*start, *words.split()], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
                timeout=SECONDS, capture_output=True,
            )  # fmt: skip

        run("fit pile --below 1e22 --law chinchilla -o fit.nc --quiet")
        for kind, row in OF_A_FIT.items():
            run(f"plot fit.nc {kind} {row.example} -o {kind}.png --quiet")
        return json.dumps(
            {kind: base64.b64encode((Path(folder) / f"{kind}.png").read_bytes()).decode() for kind in OF_A_FIT}
        )


# ---- formulas -------------------------------------------------------------------------------------------------------

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.+?)\\[)\]]</\1>', re.DOTALL)


def with_mathml(content: str) -> str:
    """Formulas marked by arithmatex as MathML."""
    from latex2mathml.converter import convert

    def drawn(match: re.Match) -> str:
        display = "block" if match[2] == "[" else "inline"
        formula = convert(html.unescape(match[3]).strip(), display=display)
        return f'<div class="formula" tabindex="0">{formula}</div>' if display == "block" else formula

    return FORMULA.sub(drawn, content)


# ---- laws -----------------------------------------------------------------------------------------------------------


def law_index() -> str:
    from bayescale import law_names, load_law

    lines = [
        "# Laws",
        "",
        "These pages are made from the files in `models/`. [Choose a law](../../guides/choose-law.md) says which to"
        " take, [How the laws are checked](../../laws.md) how each was checked. `bayescale laws NAME` prints the same"
        " card.",
        "",
        "| law | inputs | explains | |",
        "|---|---|---|---|",
    ]
    for law in map(load_law, law_names()):
        inputs = ", ".join(law.inputs)
        lines.append(f"| [`{law.name}`]({law.name}.md) | {inputs} | {law.observed.column} | {cell(law.title)} |")
    return "\n".join(lines) + "\n"


def law_page(law: Any) -> str:
    from bayescale.display.tables import priors_cells
    from bayescale.field import number_text
    from bayescale.laws.formula import latex
    from bayescale.laws.law import column
    from bayescale.laws.law_tables import OBSERVED_SCALES

    symbol = law.observed.symbol
    lines = [f"# {law.name}", "", f"**{text(law.title)}.** {text(law.about)}", "", f"Source: {text(law.cite)}", ""]
    if law.published_formula:
        lines += ["## As published", "", *set_formula(symbol, law.published_formula), ""]
    lines += ["## As sampled", "", f"$$\n{symbol} = {latex(law.tree)}\n$$", ""]
    if law.where:
        lines += ["where", ""]
        for name, formula in law.where_texts.items():
            lines += [*set_formula(name, formula), ""]
    inputs = [name if column(name) == name else f"{name} (column `{column(name)}`)" for name in law.inputs]
    lines += [f"Inputs: {', '.join(inputs)}."]
    lines += [f"Explains: {law.observed.column}, {OBSERVED_SCALES[law.observed.scale]}."]
    if law.range:
        ranges = [f"{name} {number_text(low)} to {number_text(high)}" for name, (low, high) in law.range.items()]
        lines += [f"Published or customary range: {', '.join(ranges)}."]
    if law.no_split:
        lines += [f"This law does not split a budget: {text(law.no_split)}."]
    shown = priors_cells(law)
    lines += ["", "## Parameters", "", table(("parameter", *shown.header[1:]), shown.rows)]
    if law.derived:
        rows = [(name, item.about, f"${latex(item.tree)}$") for name, item in law.derived.items()]
        lines += ["", "## Derived quantities", "", table(("quantity", "meaning", "formula"), rows)]
    if law.presets:
        lines += ["", "## Published constants", ""]
    for name, preset in law.presets.items():
        values = ", ".join(f"{key} = {value:.10g}" for key, value in preset.values.items())
        lines += [f"`{name}`: {values}", "", f"From {text(preset.source)}", ""]
        for answer in preset.answers:
            lines += [f"- {text(printed(answer))}"]
        lines += [""]
    if law.traps:
        lines += ["", "## Traps", "", *(f"- {text(trap)}" for trap in law.traps)]
    file = "\n".join(f"    {line}".rstrip() for line in law.text.splitlines())
    lines += ["", "## The file", "", f'??? note "models/{law.name}.toml"', "", "    ```toml", file, "    ```", ""]
    return "\n".join(lines)


def set_formula(name: str, formula: str) -> list[str]:
    """A formula as mathematics; a long one as a law file has it, since brackets grow with all that is between them."""
    from bayescale.laws.formula import latex, parse

    if len(formula) > FORMULA_SET_MAX:
        lines = textwrap.wrap(f"{name} = {formula}", 90, subsequent_indent="    ", break_on_hyphens=False)
        return ["```", *lines, "```"]
    return ["$$", f"{latex(parse(name))} = {latex(parse(formula))}", "$$"]


def printed(answer: Any) -> str:
    """A number that the literature prints and the constants reproduce."""
    named = asked(answer, "")
    source = f" ({answer.source})" if answer.source else ""
    return f"printed: {named + ': ' if named else ''}{answer.value:g}{source}"


def asked(answer: Any, otherwise: str) -> str:
    """What a printed number is of, and at which inputs; a long formula, and the law's own, is called ``otherwise``."""
    from bayescale.field import number_text

    at = ", ".join(f"{name} = {number_text(value, 6)}" for name, value in answer.at.items())
    long = len(answer.quantity) > 60 or answer.quantity == "formula"
    return " ".join(part for part in (otherwise if long else answer.quantity, f"at {at}" if at else "") if part)


def text(plain: str) -> str:
    """A plain sentence in Markdown: nothing in it is markup."""
    return re.sub(r"([\\`*_\[\]<>$|])", r"\\\1", plain)


def cell(plain: str) -> str:
    return text(plain).replace("\n", " ")


def table(header: Any, rows: Any) -> str:
    """A Markdown table; the first column is code, formulas stay formulas."""
    lines = [f"| {' | '.join(map(cell, header))} |", "|---" * len(header) + "|"]
    for name, *others in rows:
        shown = [one if one.startswith(("$", "\\")) else cell(one) for one in others]
        lines.append(f"| `{name}` | {' | '.join(shown)} |")
    return "\n".join(lines)


# ---- numbers of others ----------------------------------------------------------------------------------------------


def printed_numbers() -> str:
    """A table of what papers print and the law files reproduce, by paper, and a sentence that sums it up."""
    from bayescale import law_names, load_law
    from bayescale.field import number_text
    from bayescale.laws.formula import evaluate

    lines, apart = [], {}
    for law in map(load_law, law_names()):
        for name, preset in law.presets.items():
            for answer in preset.answers:
                paper = re.findall(r"(?:arXiv|doi):\S+?(?=[,; ]|$)", preset.source)[0]
                here = float(evaluate(answer.tree, dict(preset.values) | answer.at))
                quantity = asked(answer, law.observed.column if answer.quantity == "formula" else "formula in the file")
                source = "; ".join(part for part in (preset.source, answer.source) if part)
                values = f"{number_text(answer.value, 7)} | {number_text(here, digits(answer.value))}"
                link = f"[`{law.name}`](reference/laws/{law.name}.md)"
                lines.append(f"| {text(source)} | {link}, `{name}` | {text(quantity)} | {values} |")
                apart.setdefault(paper, []).append(abs(here / answer.value - 1))
    every = [one for found in apart.values() for one in found]
    head = (
        f"{len(every)} numbers of {len(apart)} papers. Half differ by less than {100 * statistics.median(every):.1f} %,"
        f" the worst by {100 * max(every):.1f} %."
    )
    header = "| printed in | law, constants | quantity | there | here |\n|---|---|---|---|---|"
    return "\n".join((head, "", header, *sorted(lines)))


def digits(value: float) -> int:
    """Digits that show a number as finely as it is printed, 3 at least."""
    return max(3, len(f"{value:.7e}".split("e")[0].replace(".", "").rstrip("0")))


def reference_posteriors() -> str:
    """A table of the posteriors that emcee sampled too, from what benchmarks/independent.py wrote."""
    with open(ROOT / "docs/independent.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row["study"], row["law"]), []).append(float(row["z"]))
    lines = ["| runs | law | numbers | largest difference | sd of differences |", "|---|---|---|---|---|"]
    for (study, law), z in found.items():
        lines.append(f"| {study} | `{law}` | {len(z)} | {max(map(abs, z)):.2f} | {statistics.stdev(z):.2f} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {
    "<!-- printed numbers -->": printed_numbers,
    "<!-- reference posteriors -->": reference_posteriors,
}


# ---- commands and functions -----------------------------------------------------------------------------------------


def command_page() -> str:
    """The command line as it describes itself."""
    import typer

    from bayescale.cli.main import app

    group = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Every command also takes `--help`. Numbers may be written `70e9`, `70B`, `1.4T`, `350M`. A mistake is one",
        "line that begins with `error:`, and status 1. Progress and warnings go to stderr, results to stdout.",
        "",
    ]
    for name, command in group.commands.items():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option" and "--help" not in one.opts]
        usage = " ".join([f"bayescale {name}", *(label(one) for one in arguments), *(["[OPTIONS]"] if options else [])])
        lines += [f"## {name}", "", text(" ".join((command.help or "").split())), "", "```", usage, "```", ""]
        if arguments:
            rows = [(label(one), one.help or "") for one in arguments]
            lines += [table(("argument", "meaning"), rows), ""]
        if options:
            rows = [
                (" ".join([", ".join(one.opts), one.metavar or ""]).strip(), one.help or "", default(one))
                for one in options
            ]
            lines += [table(("option", "meaning", "default"), rows), ""]
    return "\n".join(lines)


def label(argument: Any) -> str:
    shown = argument.metavar or argument.name.upper()
    return shown if argument.required else f"[{shown}]"


def default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default
    return "" if value is None or value is False or value in ("", [], ()) or callable(value) else str(value)


def rooms() -> list[tuple[str, str]]:
    """Rooms of the package and what they hold, in the order of imports."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(\w+)/` \| (.*?) \|", page, flags=re.MULTILINE)


def architecture_page() -> str:
    """ARCHITECTURE.md, and every module with the first line of its docstring."""
    lines = [(ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), "## Modules", ""]
    for name, holds in rooms():
        folder = ROOT / "bayescale" / name
        lines += [f"### `{name}/`: {holds}", "", "| module | holds |", "|---|---|"]
        for path in sorted(folder.rglob("*.py")):
            if path.name != "__init__.py":
                about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
                about = about.replace("``", "`").replace("|", "\\|")
                lines.append(f"| `{path.relative_to(folder).as_posix()}` | {about} |")
        lines.append("")
    return "\n".join(lines)


def python_page() -> str:
    """Every public function under the module it lives in, in the order in which modules build on each other."""
    import importlib

    import bayescale

    homes: dict[str, list[str]] = {}
    errors = [name for name in bayescale.__all__ if name.endswith("Error")]
    for name in bayescale.__all__:
        if name in errors:
            continue
        homes.setdefault(getattr(bayescale, name).__module__, []).append(name)
    lines = [
        "# Python",
        "",
        "All of these names are in `bayescale` itself: `bayescale.fit`, `bayescale.forecast`, and so on. The first one",
        "or two arguments are positional; name the others. Functions return new objects and change no argument.",
        "In the examples `runs` are 24 runs (`params`, `tokens`, `loss`), `fit` is a fit of them, `other` a fit of",
        "another recipe, `coverage_fit` one of what samples bring at a loss, and `np` is NumPy.",
        "",
    ]
    order = [name for name, _ in rooms()]
    for module in sorted(homes, key=lambda name: (order.index(name.split(".")[1]), name)):
        about = (importlib.import_module(module).__doc__ or "").split("\n")[0]
        lines += [f"## {module.rpartition('.')[2]}", "", text(about.replace("``", "")), ""]
        lines += [f"::: {module}.{name}" for name in homes[module]]
        lines += [""]
    lines += ["## Errors", "", "All are subclasses of `ValueError`. Their message is meant for the user.", ""]
    lines += [f"::: {getattr(bayescale, name).__module__}.{name}" for name in errors]
    return "\n".join(lines)


# ---- what is executed -----------------------------------------------------------------------------------------------

COMMANDS = re.compile(r"^```run\n(.*?)^```", re.DOTALL | re.MULTILINE)


def kept(content: str, kind: str, make: Callable[[], str]) -> str:
    """What ``make`` returns, made again only when its content or the package has changed."""
    from bayescale.jobs.files import write_whole

    code = [Path(__file__), *sorted((ROOT / "bayescale").rglob("*.py")), *sorted((ROOT / "models").glob("*.toml"))]
    code += sorted(path for path in EXAMPLES.rglob("*") if path.is_file())
    known = b"\0".join([content.encode(), *(path.read_bytes() for path in code)])
    path = CACHE / f"{hashlib.sha256(known).hexdigest()[:16]}.{kind}"
    if not path.exists():
        made = make()
        CACHE.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: temporary.write_text(made, encoding="utf-8"))
    return path.read_text(encoding="utf-8")


def run_commands(blocks: list[str]) -> list[str]:
    """Each block with what its commands print; the blocks of a page share a folder, which has the examples."""
    shown = []
    start = [sys.executable, "-c", "from bayescale.cli.main import main; main()"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
        for block in blocks:
            lines = []
            for command in block.splitlines():
                words = shlex.split(command, comments=True)
                done = subprocess.run(
                    start + words[1:],
                    cwd=folder,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=SECONDS,
                )
                if done.returncode:
                    raise RuntimeError(f"{command}: {done.stdout}")
                lines += [f"$ {command}", *(part for line in done.stdout.splitlines() for part in fitting(line))]
            shown.append("\n".join(lines) + "\n")
    return shown


def fitting(line: str) -> list[str]:
    """Sentences in lines that fit on the page; rows of tables, which have gaps, as they are."""
    return [line.rstrip()] if "  " in line else textwrap.wrap(line, WIDTH)


def notebook_pages(path: Path) -> dict[str, "str | bytes"]:
    """A notebook as a page with its pictures, and as the file that was run."""
    import nbformat
    from nbconvert import MarkdownExporter

    stored = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(kept(stored, "ipynb", lambda: executed(stored)) if RUN else stored, as_version=4)
    for cell in notebook.cells:
        if printed := [one for one in cell.get("outputs", []) if one.output_type == "stream"]:
            lines = "".join(one.text for one in printed).rstrip().splitlines()
            printed[0].text = "\n".join(part for line in lines for part in fitting(line) or [""]) + "\n"
            cell.outputs = [one for one in cell.outputs if one.output_type != "stream" or one is printed[0]]
    body, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": path.stem})
    # tables need the width of the page
    body = f"---\nhide: [toc]\n---\n\n{body}\n\nThe notebook itself: [{path.name}]({path.name}){{ download }}\n"
    pages: dict[str, str | bytes] = {f"notebooks/{path.stem}.md": body, f"notebooks/{path.name}": stored}
    return pages | {f"notebooks/{name}": data for name, data in resources.get("outputs", {}).items()}


def executed(stored: str) -> str:
    """A notebook with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.reads(stored, as_version=4)
    quiet = ["--IPKernelApp.log_level=40"]  # it warns of unencrypted messages on this machine
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            extra_arguments=quiet,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=os.environ | {"PYTHONPATH": str(ROOT)})
    return nbformat.writes(notebook)
