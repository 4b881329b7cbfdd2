"""Every public function has an example in its docstring, and every example prints what stands below it."""

import doctest
import importlib
import inspect
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayescale

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bayescale"
FUNCTIONS = [name for name in bayescale.__all__ if inspect.isfunction(getattr(bayescale, name))]
SLOW = {name for name in FUNCTIONS if name.startswith(("plot_", "fit"))} - {"fit_contents"}
SLOW |= {"backtest", "calibrate", "compare", "driving_runs", "final_loss", "reproduce", "report", "save_report"}

pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def names(true_fit, crossed_runs, coverage_fit):
    """What examples may use: the package, NumPy, 24 runs as columns, a fit of them, one of another recipe, one of
    what samples bring."""
    rng = np.random.default_rng(3)
    noise = {"sigma": 0.003, "tilt": 0.01, "nu_minus_2": 30.0}
    noise = {name: value * np.exp(0.1 * rng.standard_normal(400)) for name, value in noise.items()}
    columns = {name: values.values for name, values in crossed_runs().data_vars.items() if name != "compute"}
    given = {"bayescale": bayescale, "np": np, "runs": columns, "coverage_fit": coverage_fit}
    return given | {"fit": true_fit(400, scatter=noise), "other": true_fit(400, spread=0.02, scatter=noise)}


def run(name, text, given):
    """The examples of a text, each of which must print what stands below it."""
    said = []
    test = doctest.DocTestParser().get_doctest(text, dict(given), name, name, 0)
    tried = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test, out=said.append)
    plt.close("all")
    assert tried.attempted and not tried.failed, "".join(said)


def example(name):
    text = inspect.getdoc(getattr(bayescale, name))
    assert "\nExamples\n--------\n>>> " in text, f"{name} has no example"
    return text


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in SLOW])
def test_every_public_function_has_an_example_that_runs(name, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(name, example(name), names)


@pytest.mark.parametrize("name", sorted(SLOW))
def test_every_slow_function_has_an_example(name):
    example(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_examples_of_slow_functions_run(name, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(name, example(name), names)


def test_examples_inside_the_package_run():
    for path in PACKAGE.rglob("*.py"):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for test in doctest.DocTestFinder().find(module):
            if test.examples and test.name.rpartition(".")[2] not in FUNCTIONS:
                run(test.name, test.docstring, vars(module))
