"""The JavaScript of a law against NumPy, run by another engine than any written here."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from scipy import special

from bayescale.laws.formula import evaluate, names, parse
from bayescale.laws.functions import FUNCTIONS
from bayescale.laws.javascript import HELPERS, javascript, law_script
from bayescale.laws.law import law_loss, law_names, load_law, sample_priors

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node, which runs the JavaScript, is not installed")
EXPRESSIONS = [
    "2 - 3 - 4", "2 / 3 / 4", "2**3**2", "-2**2", "(-x)**2", "-(x - 1)", "x - -1", "1e-300*x", "x*y + y/x - 1",
    "exp(x)", "log(x)", "log10(x)", "log1p(x)", "expm1(-x)", "sqrt(x)", "abs(-x)", "tanh(x)", "sigmoid(x - 3)",
    "sigmoid(-40*x)", "gammaln(x)", "gammaln(0.01*x)", "gammaln(1000*x)", "minimum(x, y)", "maximum(x, y)",
    "logaddexp(x, y)", "logaddexp(-800*x, 3)", "logaddexp(x, x)", "saturation(x, y)", "saturation(-5*x, 0.1)",
]  # fmt: skip


def run_node(source):
    done = subprocess.run([NODE, "-e", source], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_function_is_left_out():
    assert [name for name in FUNCTIONS if f"{name}(" not in " ".join(EXPRESSIONS)] == []


def test_names_that_are_words_of_javascript():
    assert javascript(parse("new*delete + NaN")) == "(($new * $delete) + $NaN)"


@needs_node
def test_expressions_as_numpy():
    values = {"x": 1.7, "y": 0.35}
    rendered = ", ".join(javascript(parse(text)) for text in EXPRESSIONS)
    found = run_node(f"{HELPERS} const $x = 1.7, $y = 0.35; console.log(JSON.stringify([{rendered}]))")
    expected = [float(evaluate(parse(text), values)) for text in EXPRESSIONS]
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@needs_node
def test_every_law_of_n_and_d():
    """Draws of the priors of each law, at sizes over six decades."""
    N, D = np.logspace(7, 12, 6), np.logspace(9, 14, 6)
    sources, expected, chosen = [], [], []
    for name in law_names():
        law = load_law(name)
        if not {"N", "D"} <= set(law.inputs):
            continue
        fixed = {constant: 1.5e9 if constant[0] in "NDC" else 2.5 for constant in law.constants}
        fixed |= {symbol: 0.4 for symbol in law.inputs if symbol not in "NDC"}
        draws = sample_priors(law, 20, np.random.default_rng(1))
        free = {"N": N[:, None], "D": D[:, None]} | ({"C": 6 * N * D} if "C" in law.inputs else {})
        loss = np.broadcast_to(law_loss(law, {**fixed, **draws, **free}), (6, 20))
        rows = np.array([draws[parameter] for parameter in law.priors]).T.tolist()
        sources.append(
            f"((law) => {json.dumps(rows)}.map((row) => {json.dumps(N.tolist())}.map((N, i) => "
            f"law.loss(law.prepare(...row), 0, N, {json.dumps(D.tolist())}[i]))))({law_script(law, fixed)})"
        )
        expected.append(loss.T)
        chosen.append(name)
    found = run_node(f"{HELPERS} console.log(JSON.stringify([{', '.join(sources)}]))")
    assert len(chosen) > 10
    for name, here, there in zip(chosen, found, expected, strict=True):
        np.testing.assert_allclose(np.array(here, dtype=float), there, rtol=1e-9, err_msg=name)


def test_what_depends_on_parameters_alone_is_prepared():
    law = load_law("coupled")
    loss = law_script(law, dict.fromkeys(law.constants, 1.0)).partition("const loss")[2]
    assert not set(law.priors) & set(names(parse(loss.split("const $predicted = ")[1].split(";")[0].replace("$", "")
                                                 .replace("Math.", ""))))  # fmt: skip


@needs_node
def test_gammaln_is_scipys_for_all_arguments(rng):
    """And ends: by recurrence alone, -1e17 would never reach 1."""
    near, far, integers = 10 ** rng.uniform(-12, -1, 50), 10 ** rng.uniform(-300, 308, 200), np.arange(-50.0, 50.0)
    odd = [
        -33.9999,
        -34.0001,
        12.9999,
        13.0001,
        2.5563e305,
        2.5564e305,
        -1e9,
        -1e17,
        -1e308,
        5e-324,
        -5e-324,
        0.5 - 1e15,
    ]
    x = np.concatenate(
        [rng.uniform(-60, 60, 500), integers, integers + 1e-13, integers - 1e-9, 1 + near, 2 - near, odd]
    )
    x = np.concatenate([x, far, -far])
    expected = special.gammaln([*x, np.inf, -np.inf, np.nan])
    source = f"{HELPERS} const x = {json.dumps(x.tolist())}.concat([Infinity, -Infinity, NaN]);"
    found = run_node(f"{source} console.log(JSON.stringify(x.map((v) => String(gammaln(v)))))")
    found = np.array([float(text.replace("Infinity", "inf")) for text in found])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
