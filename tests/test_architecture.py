"""Imports go one way between rooms, ARCHITECTURE.md is true, and the wheel holds what the package needs."""

import ast
import functools
import graphlib
import pickle
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import bayescale
from benchmarks.house import too_large
from benchmarks.mutants import MUTANTS, place

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bayescale"
# a room may import from those before it; those on the ground floor and the study are single modules
ROOMS = "field errors reading jobs laws runs study engine fitting forecasts budgets evidence display cli".split()
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
MODULES = [".".join(path.parts) for path in MODULES if path.name not in ("__init__", "__main__")]


def path_of(module):
    return PACKAGE / f"{module.replace('.', '/')}.py"


@functools.cache
def nodes(path):
    """Every node of the syntax tree of a file, those at the top first."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """Half a million nodes would slow every later search for garbage."""
    yield
    nodes.cache_clear()


@functools.cache
def imported(module):
    """Modules of the package that a module imports, wherever in it, as room.module."""
    return set(_imported(module))


def _imported(module):
    for node in nodes(path_of(module)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            if node.module and node.module.split(".")[0] == "bayescale":
                inside = node.module.removeprefix("bayescale").removeprefix(".")
                if inside in MODULES:
                    yield inside
                else:  # from bayescale.room import module
                    yield from (f"{inside}.{alias.name}".strip(".") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("bayescale.") for a in node.names if a.name.startswith("bayescale."))


def room(module):
    return module.split(".")[0]


def test_every_module_has_its_room():
    assert {room(module) for module in MODULES} == set(ROOMS)
    for path in PACKAGE.iterdir():
        if path.is_dir() and path.name != "__pycache__":
            about = ast.get_docstring(ast.parse((path / "__init__.py").read_text(encoding="utf-8")))
            assert about, f"{path.name} does not say what it is"
            assert len((path / "__init__.py").read_text(encoding="utf-8").splitlines()) < 5, "a room holds no code"


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_one_way(module):
    found = imported(module)
    assert found <= set(MODULES), f"{module} imports {sorted(found - set(MODULES))}, which do not exist"
    wrong = {other for other in found if ROOMS.index(room(other)) > ROOMS.index(room(module))}
    assert not wrong, f"{module} imports {sorted(wrong)}, from rooms that come after its own"


def test_a_constant_has_a_name_of_its_own():
    """One that stands in two modules is either the same, and wants one place, or another, and wants another name."""
    homes = {}
    for module in MODULES:
        top = [node for node in nodes(path_of(module))[0].body if isinstance(node, ast.Assign | ast.AnnAssign)]
        targets = [target for node in top for target in getattr(node, "targets", None) or [node.target]]
        names = [one for target in targets for one in getattr(target, "elts", [target]) if isinstance(one, ast.Name)]
        for name in names:
            if name.id.isupper():
                homes.setdefault(name.id, set()).add(module)
    assert not {name: sorted(modules) for name, modules in homes.items() if len(modules) > 1}


def test_modules_and_functions_are_small():
    assert not set(too_large())


def test_every_line_that_a_mutant_spoils_is_there():
    for mutant in MUTANTS:
        assert place(mutant, ROOT).is_file()


@pytest.mark.parametrize("name", ROOMS)
def test_modules_of_a_room_do_not_import_in_a_circle(name):
    inside = {module: {o for o in imported(module) if room(o) == name} for module in MODULES if room(module) == name}
    list(graphlib.TopologicalSorter(inside).static_order())  # raises CycleError


def test_no_public_function_is_named_like_a_module():
    """So that ``bayescale.name`` is one thing, and importing a module hides nothing."""
    assert not set(bayescale.__all__) & (set(ROOMS) | {path.stem for path in PACKAGE.glob("*.py")})


def test_the_library_does_not_know_its_command_line():
    assert not [
        module for module in MODULES if room(module) != "cli" and any(room(o) == "cli" for o in imported(module))
    ]


@pytest.mark.parametrize("module", ["pymc", "nutpie", "pytensor", "matplotlib", "arviz"])
def test_heavy_packages_are_imported_where_they_are_used(module):
    """Importing bayescale must stay fast: these are imported inside the functions that need them."""
    for path in PACKAGE.rglob("*.py"):
        top = nodes(path)[0].body
        names = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in top if isinstance(node, ast.ImportFrom)]
        assert module not in {name.split(".")[0] for name in names}, path.name


def test_what_is_said_to_be_missing_is_an_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    calls = [node for module in MODULES for node in nodes(path_of(module)) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "needed"]
    assert len(calls) >= 5
    for call in calls:
        package, extra = call.args[0].value, call.args[2].value
        assert any(re.match(rf"{package}\b", one) for one in extras[extra]), package


def test_importing_loads_no_slow_package():
    """scipy.stats alone takes as long as all the rest; neither the package nor its command line needs it to start."""
    script = "import sys, bayescale.cli.main; print([name for name in sys.argv[1:] if name in sys.modules])"
    slow = ["scipy.stats", "scipy.optimize", "pymc", "nutpie", "pytensor", "matplotlib", "arviz_stats", "numba"]
    slow += ["xarray", "pandas"]  # what is public is loaded when it is first used
    done = subprocess.run([sys.executable, "-c", script, *slow], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_none_of_its_rooms():
    script = "import sys, bayescale; print(sorted(name for name in sys.modules if name.startswith('bayescale.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (
        done.stdout.strip() == "['bayescale.display', 'bayescale.display.gallery']"
    )  # a table, which imports nothing of the package


def test_the_package_can_be_sent_to_workers():
    """A function of a notebook is sent with the modules that it names."""
    cloudpickle = pytest.importorskip("cloudpickle", reason="comes with Dask, which is an extra")
    assert pickle.loads(cloudpickle.dumps(bayescale)) is bayescale


def test_architecture_page_is_true():
    """Every room has its row, in the order of imports, and every file that the page names is there."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| (.*?) \| (.*?) \|$", page, flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == [name for name in ROOMS if (PACKAGE / name).is_dir()]
    for name, _, first in rows:
        for module in re.findall(r"`(\w+\.py)`", first):
            assert (PACKAGE / name / module).is_file(), f"{name}: {module}"
    inside = "|".join(name for name, _, _ in rows)
    for path in re.findall(rf"`((?:{inside})/[\w./-]*)`", page):
        assert (PACKAGE / path).exists(), path
    for path in re.findall(r"`((?:bayescale|benchmarks|models|tests|docs|\.ci)/[\w./-]*)`", page):
        assert (ROOT / path).exists(), path
    assert len(page.splitlines()) <= 120, "it is one page"


@pytest.mark.parametrize("module", MODULES)
def test_the_first_line_of_a_module_says_what_it_holds(module):
    about = ast.get_docstring(nodes(path_of(module))[0])
    assert about and 20 <= len(about.splitlines()[0]) <= 118


def test_nothing_that_is_read_can_run():
    """No pickle, and none of its relatives, is read or written; what is compiled is generated (see engine/cache.py)."""
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "imp"}
    calls = {"eval", "exec", "compile", "__import__", "load", "read_pickle", "to_pickle", "from_pickle", "system"}
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "allow_pickle" not in text and "np.load" not in text, path.name
        for node in nodes(path):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not unsafe & {name.split(".")[0] for name in names}, path.name
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                base = getattr(getattr(function, "value", None), "id", "")
                if name in calls and base not in ("re", "tomllib"):
                    found.add((path.stem, name))
    assert found == {("cache", "exec"), ("cache", "compile")}


# ---- the wheel ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wheel_holds_all_and_works(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__", ".*_cache", ".hypothesis", "demo")
    )
    # the isolated build fetches hatchling; the one of this environment will do
    build = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "-q", "-w", str(tmp_path)]
    build += ["--no-build-isolation"] if _has("hatchling") else []
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("bayescale-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    inside = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {f"bayescale/{path.relative_to(PACKAGE).as_posix()}" for path in inside}
    expected |= {f"bayescale/models/{path.name}" for path in (ROOT / "models").glob("*.toml")}
    assert expected <= names, sorted(expected - names)
    extra = {name for name in names if not name.startswith(("bayescale/", "bayescale-"))}
    assert not extra, f"the wheel holds what is not the package: {sorted(extra)}"
    script = (
        "import bayescale, pathlib; from bayescale.forecasts import discrepancy; "
        "assert pathlib.Path(bayescale.__file__).is_relative_to(pathlib.Path.cwd());"
        "print(len(bayescale.law_names()), bayescale.load_dataset('pile').sizes['run'], "
        "discrepancy.shipped_prior().length > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "installed", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(len(list((ROOT / "models").glob("*.toml")))), "30", "True"]


def test_the_conda_recipe_needs_what_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    recipe = (ROOT / ".ci/conda/recipe.yaml").read_text(encoding="utf-8")
    host, run = (
        re.findall(r"^    - (.+?)(?: #.*)?$", part, flags=re.MULTILINE)
        for part in recipe.split("\nrequirements:\n")[1].split("\ntests:\n")[0].split("  run:\n")
    )
    # conda has no extras, and matplotlib there brings a toolkit for windows
    elsewhere = {"arviz-stats[xarray]": "arviz-stats", "matplotlib": "matplotlib-base"}
    needed = [f"python {project['project']['requires-python']}"]
    for one in project["project"]["dependencies"]:
        name, versions = re.fullmatch(r"([\w\[\]-]+)(.*)", one).groups()
        needed.append(f"{elsewhere.get(name, name)} {versions}")
        needed += ["xarray-einstats"] if name == "arviz-stats[xarray]" else []
    assert run == needed
    built = [one.replace(">=", " >=") for one in project["build-system"]["requires"]]
    assert host == [needed[0], "pip", *built]
    assert (
        f"license: {project['project']['license']}" in recipe
        and f'summary: "{project["project"]["description"]}"' in recipe
    )


def _has(module):
    import importlib.util

    return importlib.util.find_spec(module) is not None
