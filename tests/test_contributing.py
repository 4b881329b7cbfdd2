"""The examples of CONTRIBUTING.md, carried out as they stand there."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bayescale.budgets.problem import problem_of
from bayescale.cli.plots import KINDS
from bayescale.display import plots_split
from bayescale.errors import RunsError
from bayescale.laws import noises
from bayescale.laws.law import parse_law

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


def test_a_format_of_runs():
    module, row, _ = blocks("A format of runs")
    names = {}
    exec(module, names)
    table = names["read_toml"](b"[[run]]\nparams = 1e8\n[[run]]\nparams = 2e8\ntokens = 1e9\n", "x")
    assert list(table) == ["params", "tokens"] and list(table["params"]) == [1e8, 2e8]
    with pytest.raises(RunsError, match="x: not TOML"):
        names["read_toml"](b"[[run]]\na = ", "x")
    assert '".runs.toml"' in row


def test_a_figure(true_fit):
    names = vars(plots_split) | {"problem_of": problem_of}
    exec(blocks("A figure")[0], names)
    fit = true_fit()
    points = names["plot_ratio"](fit).axes[0].collections[0].get_offsets()
    runs = fit["constant_data"]
    np.testing.assert_allclose(np.asarray(points)[:, 1], (runs["tokens"] / runs["params"]).values)


def test_every_kind_of_figure_is_in_the_gallery(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "build"))
    sys.modules.pop("pages", None)
    import pages

    assert {kind for kind, _, _ in pages.GALLERY} == set(KINDS)
