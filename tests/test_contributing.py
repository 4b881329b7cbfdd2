"""The examples of CONTRIBUTING.md, carried out as they stand there."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import bayescale
from bayescale.budgets.problem import problem_of
from bayescale.display import gallery, plots_split
from bayescale.errors import RunsError
from bayescale.laws import noises
from bayescale.laws.law import parse_law
from bayescale.runs.read import read_runs
from bayescale.runs.tables import formats

ROOT = Path(__file__).resolve().parent.parent
PARTS = re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def blocks(part):
    """The code blocks under a heading."""
    (text,) = (one for one in PARTS if one.startswith(part + "\n"))
    return re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_a_law():
    law = parse_law(blocks("A law")[0], "one_exponent")
    assert law.inputs == ("N", "D") and set(law.range) == {"N", "D"} and law.traps


def test_a_noise(rng):
    functions, _, row = blocks("A noise")[0].partition("...\n")
    names = dict(vars(noises))
    exec(functions, names)
    noise = eval(f"{{{row}}}", names)["laplace"]
    z = np.array([-4.0, -0.5, 0.0, 2.0])
    values = {"residual": z, "scale": 0.5}
    np.testing.assert_allclose(noise.cdf(values), stats.laplace(scale=0.5).cdf(z))
    assert noise.draw({"scale": np.ones(20_000)}, rng).std() == pytest.approx(np.sqrt(2), rel=0.1)


def test_a_format_of_runs(monkeypatch, tmp_path):
    module, row, test = blocks("A format of runs")
    names = {}
    exec(module, names)
    format_of_toml = eval(row.strip().rstrip(","), vars(formats) | names)
    monkeypatch.setattr(formats, "FORMATS", (format_of_toml, *formats.FORMATS))
    good = tmp_path / "good.runs.toml"
    good.write_text(
        "\n[[run]]\nparams = 1e8\ntokens = 2e9\nloss = 3.5\n[[run]]\nparams = 1e9\ntokens = 2e10\nloss = 2.9\n"
    )
    np.testing.assert_array_equal(read_runs(good)["params"], [1e8, 1e9])
    exec(test, own := {"pytest": pytest, "RunsError": RunsError, "read_runs": read_runs})
    damaged = own["test_damaged_toml_is_one_sentence"]
    (texts,) = (mark.args[1] for mark in damaged.pytestmark)
    for text in texts:
        damaged(tmp_path, text)


def test_a_figure(true_fit, monkeypatch):
    function, row, test = blocks("A figure")
    names = vars(plots_split) | {"problem_of": problem_of}
    exec(function, names)
    plot = eval(f"{{{row}}}", vars(gallery))["ratio"]
    monkeypatch.setattr(bayescale, "plot_ratio", names["plot_ratio"], raising=False)
    monkeypatch.setattr(plots_split, "plot_ratio", names["plot_ratio"], raising=False)
    monkeypatch.setitem(gallery.OF_A_FIT, "ratio", plot)
    exec(test, own := {"np": np, "bayescale": bayescale})
    own["test_ratio_of_each_run"](true_fit)
    assert plot.module == plots_split.__name__.rpartition(".")[2]
    assert gallery.draw("ratio", true_fit(), {}).axes
