"""Imports go one way, ARCHITECTURE.md is true, and the wheel holds what the package needs."""

import ast
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bayescale

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bayescale"
# each module may import only from those before it
ORDER = """written files threads chains pareto functions formula split symbolic slope kernel_functions kernel_cache
kernel interpreted priors lawfile law shipped loss_unit noise model starts columns compute runs smooth
lint_values lint_compute lint_rows lint datasets diagnostics sampling quick fit executors batch netcdf saved doors store
reproduce many drift forecast cost surface optimum frontier problem allocate target exchange regret decide
approaches design planning ranks calibrate calibration backtest loo weights compare verdict average
sensitivity nested display tables show terminal javascript pointwise references explorer landmarks figures
plots_loss plots_split plots_trust report_parts report_evidence contents report demo cli""".split()


def imported(module):
    """Modules of the package that a module imports, wherever in it."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            if node.module == "bayescale":
                yield from (alias.name for alias in node.names)
            elif node.module and node.module.startswith("bayescale."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("bayescale."))


def test_every_module_has_its_place():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*ORDER, "__init__"}


@pytest.mark.parametrize("module", ORDER)
def test_imports_go_one_way(module):
    wrong = set(imported(module)) - set(ORDER[: ORDER.index(module)])
    assert not wrong, f"{module} imports {sorted(wrong)}, which come after it"


def test_the_library_does_not_know_its_command_line():
    assert "cli" not in set(imported("__init__"))


@pytest.mark.parametrize("module", ["pymc", "nutpie", "pytensor", "matplotlib", "arviz"])
def test_heavy_packages_are_imported_where_they_are_used(module):
    """Importing bayescale must stay fast: these are imported inside the functions that need them."""
    for path in PACKAGE.glob("*.py"):
        top = ast.parse(path.read_text(encoding="utf-8")).body
        names = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in top if isinstance(node, ast.ImportFrom)]
        assert module not in {name.split(".")[0] for name in names}, path.name


def test_importing_loads_no_slow_package():
    """scipy.stats alone takes as long as all the rest; neither the package nor its command line needs it to start."""
    script = "import sys, bayescale.cli; print([name for name in sys.argv[1:] if name in sys.modules])"
    slow = ["scipy.stats", "scipy.optimize", "pymc", "nutpie", "pytensor", "matplotlib", "arviz_stats", "numba"]
    slow += ["xarray", "pandas"]  # what is public is loaded when it is first used
    done = subprocess.run([sys.executable, "-c", script, *slow], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_package_can_be_sent_to_workers():
    """A function of a notebook is sent with the modules that it names."""
    assert pickle.loads(pickle.dumps(bayescale)) is bayescale


def test_architecture_page_is_true():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:bayescale/)?(\w+)\.py`", page))
    assert set(ORDER) <= named, f"not in ARCHITECTURE.md: {sorted(set(ORDER) - named)}"
    assert named <= set(ORDER), f"in ARCHITECTURE.md but not in the package: {sorted(named - set(ORDER))}"
    for path in re.findall(r"`((?:bayescale|benchmarks|models|tests|docs|data|\.ci)/[\w./-]*)`", page):
        assert (ROOT / path).exists() or (PACKAGE / path).exists(), path


def test_table_of_modules_is_in_the_order_of_imports():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)\.py` \|", page, flags=re.MULTILINE)
    for i, module in enumerate(rows):
        assert not set(imported(module)) - set(rows[:i]), module


def test_nothing_that_is_read_can_run():
    """No pickle, and none of its relatives, is read or written; what is compiled is generated (see kernel_cache.py)."""
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "imp"}
    calls = {"eval", "exec", "compile", "__import__", "load", "read_pickle", "to_pickle", "from_pickle", "system"}
    found = set()
    for path in sorted(PACKAGE.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "allow_pickle" not in text and "np.load" not in text, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not unsafe & {name.split(".")[0] for name in names}, path.name
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                base = getattr(getattr(function, "value", None), "id", "")
                if name in calls and base not in ("re", "tomllib"):
                    found.add((path.stem, name))
    assert found == {("kernel_cache", "exec"), ("kernel_cache", "compile")}


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
    expected = {f"bayescale/{path.name}" for path in PACKAGE.glob("*.py")}
    expected |= {f"bayescale/models/{path.name}" for path in (ROOT / "models").glob("*.toml")}
    for folder in ("data", "templates"):
        expected |= {f"bayescale/{folder}/{path.name}" for path in (PACKAGE / folder).iterdir()}
    assert expected <= names, sorted(expected - names)
    extra = {name for name in names if not name.startswith(("bayescale/", "bayescale-"))}
    assert not extra, f"the wheel holds what is not the package: {sorted(extra)}"
    script = (
        "import bayescale, pathlib; assert pathlib.Path(bayescale.__file__).is_relative_to(pathlib.Path.cwd());"
        "print(len(bayescale.laws()), bayescale.load_dataset('pile').sizes['run'], "
        "bayescale.drift.shipped_prior().length > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "installed", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(len(list((ROOT / "models").glob("*.toml")))), "30", "True"]


def _has(module):
    import importlib.util

    return importlib.util.find_spec(module) is not None
