"""Compiled densities: values and gradients against NumPy, and accuracy."""

import numpy as np
import pytest
from scipy import special
from scipy.optimize import approx_fprime

from bayescale.formula import FUNCTIONS, evaluate, parse
from bayescale.interpreted import gradients
from bayescale.kernel import RULES, Function, block, source
from bayescale.kernel_functions import BLOCK


def straight(function, data, position):
    """The same density by NumPy."""
    values = dict(data) | dict(zip(function.position, position, strict=True))
    for name, tree in function.definitions.items():
        values[name] = evaluate(tree, values)
    rows = max(np.size(data[name]) for name in function.columns)
    return float(evaluate(function.once, values)) + float(
        np.sum(np.broadcast_to(evaluate(function.each, values), rows))
    )


def check(caller, function, data, position, rtol=1e-6):
    status, value, gradient = caller(function, data)(position)
    assert status == 0
    assert value == pytest.approx(straight(function, data, position), rel=1e-12)
    expected = approx_fprime(np.asarray(position, float), lambda x: straight(function, data, x), 1e-7)
    np.testing.assert_allclose(gradient, expected, rtol=rtol * 100, atol=1e-5)
    # and by NumPy, at more than one position
    values, slopes = gradients(function, block(function, data), np.stack([position, np.add(position, 0.1)]))
    assert values[0] == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(slopes[0], gradient, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(values[1], straight(function, data, np.add(position, 0.1)), rtol=1e-12)
    np.testing.assert_allclose(slopes[1], caller(function, data)(np.add(position, 0.1))[2], rtol=1e-6, atol=1e-9)


DATA = {"s": 1.7, "c": np.linspace(0.2, 2.0, 13)}
ONE = {name for name, function in FUNCTIONS.items() if function.arity == 1}


def test_every_function_of_the_language_is_here():
    assert set(FUNCTIONS) <= set(RULES)
    assert all(len(RULES[name]) == 1 + function.arity for name, function in FUNCTIONS.items())


@pytest.mark.parametrize("rows", [1, 13, BLOCK, 2 * BLOCK + 22])
def test_every_function_and_operation(caller, rows):
    """All of them in one density, of the runs and of the parameters alone."""
    each = [f"{name}(0.3 + x*c + y**2)" for name in ONE] + [f"{name}(x*c, y + s)" for name in set(FUNCTIONS) - ONE]
    once = [f"{name}(0.2 + x*y)" for name in ONE] + [f"{name}(x, y)" for name in set(FUNCTIONS) - ONE]
    each += ["(c*x)**3", "(c + y)**-1.5", "x**4/c", "-(c/y)", "(2*y)**0.5 - c", "2**3*c"]
    function = Function(
        ("x", "y"), ("s",), ("c",), {"a": parse("x*y - s")}, parse(" + ".join(once)), parse(" + ".join([*each, "a*c"]))
    )
    check(caller, function, DATA | {"c": np.linspace(0.2, 2.0, rows)}, [0.7, 1.3])


def test_one_loop_where_the_arrays_between_loops_would_be_many(caller, monkeypatch):
    def nested():
        return Function(("x", "y"), (), ("c",), {}, parse("0"), parse("log(c + exp(x*c))*exp(y*log(c)) + tanh(y*c)"))

    data = {"c": np.linspace(0.2, 2.0, 2 * BLOCK + 22)}
    assert source(nested()).count("for i in range(size)") > 2
    monkeypatch.setattr("bayescale.kernel.ARRAYS_MAX", 1)
    assert source(nested()).count("for i in range(size)") == 1
    check(caller, nested(), data, [0.7, 1.3])


def test_saturation_over_its_range(caller):
    function = Function(("x", "y"), (), ("c",), {}, parse("0"), parse("c*saturation(x + c, exp(y))"))
    for x, y in [(-8.0, -1.0), (0.0, 0.0), (3.0, 1.5), (6.0, -2.0)]:
        check(caller, function, DATA, [x, y], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "theirs", "low", "high"),
    [
        ("exp(u*c)", np.exp, -700, 700),
        ("exp(u*c)", np.exp, -1, 1),
        ("log(u*c)", np.log, 1e-300, 1e300),
        ("log(u*c)", np.log, 0.9, 1.1),
        ("log1p(u*c)", np.log1p, 1e-12, 1e-3),
        ("log1p(u*c)", np.log1p, -0.9, 1e6),
        ("expm1(u*c)", np.expm1, 1e-12, 1e-2),
        ("expm1(u*c)", np.expm1, -30, 600),
        ("tanh(u*c)", np.tanh, 1e-12, 1e-3),
        ("tanh(u*c)", np.tanh, -30, 30),
        ("log10(u*c)", np.log10, 1e-300, 1e300),
        ("sigmoid(u*c)", special.expit, -40, 40),
        ("logaddexp(0, u*c)", lambda x: np.logaddexp(0, x), -36, 36),
    ],
)
def test_functions_are_as_exact_as_the_c_librarys(text, theirs, low, high, caller):
    """One run at a time, inlined in a density as they are in use: to a few units of the last place."""
    function = Function(("u",), (), ("c",), {}, parse("0"), parse(text))
    call = caller(function, {"c": np.ones(1)})
    grid = np.geomspace(low, high, 997) if low > 0 else np.linspace(low, high, 997)
    values = np.array([call([u])[1] for u in grid])
    np.testing.assert_allclose(values, theirs(grid), rtol=2e-15)


def test_digamma_is_scipys(caller):
    """Through the derivative of gammaln."""
    function = Function(("u",), (), ("c",), {}, parse("0"), parse("gammaln(u*c)"))
    call = caller(function, {"c": np.ones(1)})
    grid = np.concatenate([np.geomspace(0.01, 1e5, 200), [-0.5, -1.3, -1e6 - 0.3]])
    slopes = np.array([call([u])[2][0] for u in grid])
    np.testing.assert_allclose(slopes, special.digamma(grid), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("text", ["gammaln(u*c)", "minimum(maximum(log(u*c), 1e-9), 1 - 1e-9)", "maximum(2*c, log(u))"])
@pytest.mark.parametrize("position", [[-np.inf], [np.nan], [-1e300]])
def test_no_number_stays_no_number(text, position, caller):
    """And comes back at once: none of these may hang or be taken for a density."""
    function = Function(("u",), (), ("c",), {}, parse("0"), parse(text))
    assert caller(function, {"c": np.ones(2)})(position)[0] in (3, 4)


def test_name_of_the_data_cannot_be_defined_again():
    with pytest.raises(ValueError, match="'c' is defined twice"):
        source(Function(("u",), (), ("c",), {"c": parse("u")}, parse("u"), parse("c")))


@pytest.mark.parametrize("position", [[-1.0], [0.0], [np.nan], [800.0], [np.inf]])
def test_what_is_not_finite_is_said(position, caller):
    function = Function(("u",), (), ("c",), {}, parse("0"), parse("log(u) + exp(u*c)"))
    assert caller(function, {"c": np.ones(3)})(position)[0] in (3, 4)


def test_no_text_of_a_law_reaches_the_source():
    """Names are replaced, numbers are written by repr: a stranger's law file cannot put code there."""
    function = Function(("evil__import__",), ("os_system",), ("c",), {}, parse("evil__import__"), parse("c*os_system"))
    text = source(function)
    assert "evil" not in text and "os_system" not in text
