"""The documentation site: every law, command and function has its place; it builds strictly and asks no network."""

import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import typing
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import bayescale

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bayescale"
DOCS = ROOT / "docs"


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "build" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages():
    return load("pages")


@pytest.fixture(scope="module")
def docstrings():
    pytest.importorskip("griffe", reason="griffe is not installed (extra: docs)")
    return load("docstrings")


# ---- formulas --------------------------------------------------------------------------------------------------------


def test_formulas_become_mathml(pages):
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed (extra: docs)")
    content = '<p>so <span class="arithmatex">\\(a &lt; b\\)</span></p><div class="arithmatex">\\[\nx^{2}\n\\]</div>'
    shown = pages.with_mathml(content)
    page = ElementTree.fromstring(f"<div>{shown}</div>")
    found = page.findall(".//{http://www.w3.org/1998/Math/MathML}math")
    assert [one.get("display") for one in found] == ["inline", "block"]
    assert "".join(found[0].itertext()) == "a<b" and "arithmatex" not in shown


@pytest.mark.parametrize("name", bayescale.law_names())
def test_every_law_has_a_page(name, pages):
    latex2mathml = pytest.importorskip("latex2mathml.converter", reason="latex2mathml is not installed (extra: docs)")
    law = bayescale.load_law(name)
    page = pages.law_page(law)
    formulas = re.findall(r"\$\$\n(.+?)\n\$\$", page) + re.findall(r"\| \$(.+?)\$ \|", page)
    long = re.findall(r"^```\n\w+ = ", page, flags=re.MULTILINE)  # as text
    assert len(formulas) + len(long) == bool(law.published_formula) + 1 + len(law.where) + len(law.derived)
    for formula in formulas:
        drawn = "".join(ElementTree.fromstring(latex2mathml.convert(formula)).itertext())
        assert drawn and "\\" not in drawn, f"{name}: {formula} is drawn as {drawn}"
    for parameter in (*law.priors, *law.derived):
        assert f"| `{parameter}` |" in page
    for preset in law.presets:
        assert f"`{preset}`: " in page
    # a row of a table stays one row: as many bars in each as in its head, but for those inside formulas
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        rows = [re.sub(r"\$.*?\$|\\\|", "", line) for line in block.splitlines()]
        assert len({line.count("|") for line in rows}) == 1, block


def test_the_index_lists_every_law(pages):
    index = pages.law_index()
    assert re.findall(r"^\| \[`(\w+)`\]\(\1\.md\)", index, flags=re.MULTILINE) == bayescale.law_names()


# ---- commands and functions ------------------------------------------------------------------------------------------


def test_every_command_and_option_is_described(pages):
    import typer

    from bayescale.cli.main import app

    page = pages.command_page()
    commands = typer.main.get_command(app).commands
    assert re.findall(r"^## (\S+)$", page, flags=re.MULTILINE) == list(commands)
    for name, command in commands.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            assert (parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name) in section.lower() or (
                parameter.metavar and parameter.metavar in section
            ), f"{name}: {parameter.opts}"
    fit = page.split("\n## fit\n")[1].split("\n## ")[0]
    assert re.search(r"`--draws` \| .* \| 1000 \|", fit) and re.search(r"`--seed` \| .* \| 0 \|", fit)


def test_every_public_function_is_described(pages):
    page = pages.python_page()
    named = re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)
    assert sorted(path.rpartition(".")[2] for path in named) == sorted(bayescale.__all__)
    for path in named:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name) is getattr(bayescale, name)


def sections(text):
    """Title -> text of the sections of a numpydoc docstring; what comes before them has no title."""
    parts = re.split(r"^(\w+)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def arguments(function):
    """Names that a function takes; of ``**options`` with a type those of the type too."""
    for name, one in inspect.signature(function).parameters.items():
        yield name
        if one.kind is one.VAR_KEYWORD and typing.get_origin(one.annotation) is typing.Unpack:
            yield from typing.get_type_hints(typing.get_args(one.annotation)[0])


@pytest.mark.parametrize("name", sorted(bayescale.__all__))
def test_every_public_function_says_what_it_does(name):
    """A sentence first; every parameter named, and none that is not taken; what comes back."""
    thing = getattr(bayescale, name)
    told = sections(inspect.getdoc(thing) or "")
    assert re.match(r"[A-Z`].*?[.:?]", told[""], re.DOTALL), f"{name}: no sentence"
    if isinstance(thing, type):
        return
    heads = re.findall(r"^(\w[\w, *]*?) : ", told.get("Parameters", ""), flags=re.MULTILINE)
    named = [one.strip(" *") for head in heads for one in head.split(",")]
    taken = set(arguments(thing))
    assert len(named) == len(set(named)) and set(named) <= taken, f"{name} takes no {sorted(set(named) - taken)}"
    given = inspect.signature(thing)
    if len(given.parameters) > 1:
        options = {key for key, one in given.parameters.items() if one.kind is one.VAR_KEYWORD}
        missing = (
            set(given.parameters) - set(named) - (options if taken - set(given.parameters) <= set(named) else set())
        )
        assert not missing, f"{name} says nothing of {sorted(missing)}"
        if given.return_annotation not in (None, "None", "Figure", "plt.Figure", "list[str]"):
            assert told.get("Returns", "").strip(), f"{name} does not say what it returns"


def test_docstrings_as_markdown(docstrings):
    assert docstrings.markdown("of :func:`bayescale.fit`") == "of [`fit`][bayescale.fitting.fit.fit]"
    assert docstrings.markdown("in :mod:`bayescale.forecasts.curve`") == "in `bayescale.forecasts.curve`"
    assert docstrings.markdown("N* and D*, ``C**a`` too") == r"N\* and D\*, ``C**a`` too"
    text = "Say.\n\nParameters\n----------\nN, D : sizes,\n    both\nseed : of draws\n\nReturns\n-------\nTree of it\n"
    assert docstrings.with_sections(text, "DataTree") == (
        "Say.\n\nParameters\n----------\nN, D\n    sizes,\n    both\nseed\n    of draws\n\n"
        "Returns\n-------\nDataTree\n    Tree of it\n\n"
    )


# ---- pages -----------------------------------------------------------------------------------------------------------


def written():
    return sorted(path for path in DOCS.rglob("*.md"))


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in written():
        assert f" {path.relative_to(DOCS).as_posix()}\n" in navigation, path


FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text, *kinds):
    return [block for kind, block in re.findall(FENCE, text) if kind in kinds]


def commands_in(text):
    """Commands of bayescale in blocks of code, without comments."""
    whole = [block.replace("\\\n", " ") for block in blocks(text, "", "run", "console")]
    lines = [line.split(" #")[0].strip() for block in whole for line in block.splitlines()]
    return [line for line in lines if line.startswith("bayescale ") and "..." not in line]


def test_commands_are_found():
    text = "```csv\na\n```\n\nbayescale no\n\n```\nbayescale laws \\\n  x # all\nmake x\n```\n\n"
    text += "```run\nbayescale demo\n```\n"
    assert [shlex.split(one) for one in commands_in(text)] == [["bayescale", "laws", "x"], ["bayescale", "demo"]]


@pytest.mark.parametrize("path", [ROOT / "README.md", *written()], ids=lambda path: path.name)
def test_commands_in_the_text_exist(path):
    """Every command, and every option of it, that a page shows is one of the command line."""
    import typer

    from bayescale.cli.main import app

    commands = typer.main.get_command(app).commands
    for line in commands_in(path.read_text(encoding="utf-8")):
        _, name, *rest = shlex.split(line)
        assert name in commands, line
        options = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        options |= {option for parameter in commands[name].params for option in parameter.secondary_opts}
        for word in rest:
            if re.match(r"--?[A-Za-z]", word):
                assert word in options, f"{line}: {word}"


@pytest.mark.parametrize("path", [ROOT / "README.md", *written()], ids=lambda path: path.name)
def test_python_in_the_text_names_what_exists(path):
    for block in blocks(path.read_text(encoding="utf-8"), "python"):
        compile(block, str(path), "exec")
        for name in re.findall(r"bayescale\.(\w+)\(", block):
            assert name in bayescale.__all__, name


def test_blocks_marked_run_show_what_is_printed(pages, monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "CACHE", tmp_path)
    monkeypatch.setattr(pages, "RUN", True)
    page = "Look:\n\n```run\nbayescale laws chinchilla --at params=70e9,tokens=1.4e12\n```\n\nSo.\n"
    shown = pages.on_page_markdown(page)
    assert shown.startswith("Look:\n\n```console\n$ bayescale laws chinchilla") and shown.endswith("```\n\nSo.\n")
    assert "1.92086" in shown  # 1.6934 + 406.4/70e9**.33917084 + 410.7/1.4e12**.2849083
    # kept: not run a second time
    monkeypatch.setattr(pages, "run_commands", lambda blocks: pytest.fail("it ran again"))
    assert pages.on_page_markdown(page) == shown
    assert pages.on_page_markdown("nothing to run") == "nothing to run"


def test_a_command_that_fails_stops_the_build(pages):
    with pytest.raises(RuntimeError, match="bayescale laws nosuch: error: "):
        pages.run_commands(["bayescale laws nosuch\n"])


def test_sentences_wrap_and_tables_do_not(pages):
    sentence, row = "word " * 60, "a" * 80 + "  " + "b" * 80
    assert max(map(len, pages.fitting(sentence))) <= pages.WIDTH
    assert pages.fitting(row) == [row]


# ---- the README, run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the README's commands run: its smallest file of runs, its law."""
    import pandas as pd

    where = tmp_path_factory.mktemp("readme")
    runs = bayescale.load_dataset("pile").to_dataframe()
    small = runs[runs["compute"] < 1e22]
    pd.DataFrame(small[["params", "tokens", "loss"]]).to_csv(where / "runs.csv", index=False)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (where / "mine.toml").write_text(blocks(readme, "toml")[0], encoding="utf-8")
    return where


@pytest.mark.slow
def test_readme_python_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {}
    exec(blocks(readme, "python")[0], names)
    out = capsys.readouterr().out
    assert "P(loss <= 1.95)" in out and "Optimal split" in out and "decades of compute beyond" in out
    # the number below the picture; it is printed with two decimals
    stated = re.search(
        r"forecast ([\d.]+), 90 % band \[([\d.]+), ([\d.]+)\]; measured ([\d.]+)\.\nThe law alone says "
        r"\[([\d.]+), ([\d.]+)\]",
        readme,
    )
    runs = bayescale.load_dataset("pile")
    neox = runs.isel(run=int((runs["model"] == "GPT-NeoX 20B").values.argmax()))
    row = bayescale.read(bayescale.forecast(names["fit"], float(neox["params"]), float(neox["tokens"]))).frame.iloc[0]
    found = [row.loss_q50, row.loss_q05, row.loss_q95, float(neox["loss"]), row.law_loss_q05, row.law_loss_q95]
    assert [float(value) for value in stated.groups()] == pytest.approx(found, abs=0.008)


def test_a_long_formula_is_no_tower_of_brackets(pages):
    short, long = pages.set_formula("L", "E + A*N**(-alpha)"), pages.set_formula("L", " + ".join(["E"] * 90))
    assert short[0] == short[-1] == "$$" and "A" in short[1]
    assert long[0] == long[-1] == "```" and max(map(len, long)) <= 90
    assert " ".join(line.strip() for line in long[1:-1]) == "L = " + " + ".join(["E"] * 90)
    assert not any("()" in page for page in map(pages.law_page, map(bayescale.load_law, ["coverage", "chinchilla"])))


def test_the_record_is_one():
    """How often bands held on other studies: the page, the README and the table that it is from say the same."""
    from bayescale.display.report_evidence import HELD_ELSEWHERE

    table = (ROOT / "docs/calibration.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"each source left out of its numbers \| \.(\d+) / \.(\d+) / \.(\d+) \|", table)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for text in (readme, HELD_ELSEWHERE["joint"]):
        assert re.search(r"50, 80 and 90 % bands [a-z ]+ (\d+), (\d+) and (\d+) %", text).groups() == row


@pytest.mark.slow
def test_readme_commands_run(folder):
    """Every command of the README, in its order, does what it says: status 0."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = [sys.executable, "-c", "from bayescale.cli.main import main; main()"]
    commands = commands_in((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(commands) >= 13
    steps = range(500, 10_001, 500)  # of a job that still runs
    curve = "".join(f"{step},{3e-4},{2.4 + 12 * step**-0.5:.4f}\n" for step in steps)
    (folder / "curve.csv").write_text(f"step,lr,loss\n{curve}")
    solved = [(loss, k) for loss in (1.6, 1.9, 2.2) for k in (1, 10, 100, 1000)]
    rows = "".join(f"{loss},{k},{np.exp(-np.exp(1.5 * (loss - 1.6)) * k**-0.25):.3f},500\n" for loss, k in solved)
    (folder / "coverage.csv").write_text(f"loss,samples,coverage,items\n{rows}")
    bayescale.save_fit(bayescale.fit(folder / "coverage.csv", "coverage_of_loss"), folder / "coverage.nc")
    rows = "".join(f"{x},{0.25 + 0.7 / (1 + np.exp(4 * (x - 1.9))):.3f},2000\n" for x in np.linspace(1.5, 2.7, 16))
    (folder / "acc.csv").write_text(f"loss,accuracy,items\n{rows}")
    bayescale.save_fit(bayescale.fit(folder / "acc.csv", "accuracy_sigmoid"), folder / "acc.nc")
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] in ("calibrate", "demo", "report"):
            continue  # they have tests of their own
        for name in re.findall(r"\b(?:ours|theirs|loss)\.nc", command):
            shutil.copy(folder / "fit.nc", folder / name)
        done = subprocess.run(start + words, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"


# ---- the whole site --------------------------------------------------------------------------------------------------


class Requests(HTMLParser):
    """What a page would fetch to be shown: not the links that a reader may follow."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        fetched = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}.get(tag)
        if fetched and attrs.get("rel") != "canonical" and attrs.get(fetched):
            self.found.append(attrs[fetched])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="mkdocs-material is not installed (extra: docs)")
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        # notebooks and commands have tests of their own
        env=os.environ | {"DOCS_RUN": "0", "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_builds_strictly_and_asks_no_network(site):
    built = sorted(site.rglob("*.html"))
    assert len(built) > len(written()) + len(bayescale.law_names())
    for path in built:
        reader = Requests()
        reader.feed(path.read_text(encoding="utf-8"))
        outside = [url for url in reader.found if re.match(r"(?:https?:)?//", url)]
        assert not outside, f"{path.name} asks for {outside}"
        assert "arithmatex" not in path.read_text(encoding="utf-8"), f"{path.name}: a formula is not drawn"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_search_works_from_a_file(site):
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("chromium and chromium-driver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra: test)")
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(option)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as window:
        window.get((site / "guides/budget.html").as_uri())
        field = window.find_element("css selector", "[data-md-component=search-query]")
        WebDriverWait(window, 20).until(lambda _: field.is_displayed())
        window.execute_script("arguments[0].click(); arguments[0].focus()", field)
        field.send_keys("discrepancy")
        found = WebDriverWait(window, 30).until(lambda _: window.find_elements("css selector", ".md-search-result a"))
        assert found[0].get_attribute("href").startswith("file:")
