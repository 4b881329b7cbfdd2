"""Compiled densities: values and gradients against NumPy, and accuracy."""

import numpy as np
import pytest
from differential import density_by_numpy
from scipy import special
from scipy.optimize import approx_fprime

from bayescale.engine.density import Density
from bayescale.engine.numba_density import source
from bayescale.engine.numba_functions import BLOCK
from bayescale.laws.formula import evaluate, parse
from bayescale.laws.functions import FUNCTIONS


def check(caller, function, data, position, rtol=1e-6):
    status, value, gradient = caller(function, data)(position)
    assert status == 0
    here, slopes = density_by_numpy(function, data, position)
    assert value == pytest.approx(here, rel=1e-12)
    expected = approx_fprime(np.asarray(position, float), lambda x: density_by_numpy(function, data, x)[0], 1e-7)
    np.testing.assert_allclose(gradient, expected, rtol=rtol * 100, atol=1e-5)
    np.testing.assert_allclose(slopes, gradient, rtol=1e-6, atol=1e-9)


DATA = {"s": 1.7, "c": np.linspace(0.2, 2.0, 13)}
ONE, TWO = ([name for name, function in FUNCTIONS.items() if function.arity == arity] for arity in (1, 2))


@pytest.mark.parametrize("rows", [1, 13, BLOCK, 2 * BLOCK + 22])
def test_every_function_and_operation(caller, rows):
    """All of them in one density, of the runs and of the parameters alone."""
    each = [f"{name}(0.3 + x*c + y**2)" for name in ONE] + [f"{name}(x*c, y + s)" for name in TWO]
    once = [f"{name}(0.2 + x*y)" for name in ONE] + [f"{name}(x, y)" for name in TWO]
    each += ["(c*x)**3", "(c + y)**-1.5", "x**4/c", "-(c/y)", "(2*y)**0.5 - c", "2**3*c"]
    function = Density(
        ("x", "y"), ("s",), ("c",), {"a": parse("x*y - s")}, parse(" + ".join(once)), parse(" + ".join([*each, "a*c"]))
    )
    check(caller, function, DATA | {"c": np.linspace(0.2, 2.0, rows)}, [0.7, 1.3])


def test_one_loop_where_the_arrays_between_loops_would_be_many(caller, monkeypatch):
    def nested():
        return Density(("x", "y"), (), ("c",), {}, parse("0"), parse("log(c + exp(x*c))*exp(y*log(c)) + tanh(y*c)"))

    data = {"c": np.linspace(0.2, 2.0, 2 * BLOCK + 22)}
    assert source(nested()).count("for i in range(size)") > 2
    monkeypatch.setattr("bayescale.engine.numba_source.ARRAYS_MAX", 1)
    assert source(nested()).count("for i in range(size)") == 1
    check(caller, nested(), data, [0.7, 1.3])


def test_saturation_over_its_range(caller):
    function = Density(("x", "y"), (), ("c",), {}, parse("0"), parse("c*saturation(x + c, exp(y))"))
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
    function = Density(("u",), (), ("c",), {}, parse("0"), parse(text))
    call = caller(function, {"c": np.ones(1)})
    grid = np.geomspace(low, high, 997) if low > 0 else np.linspace(low, high, 997)
    values = np.array([call([u])[1] for u in grid])
    np.testing.assert_allclose(values, theirs(grid), rtol=2e-15)


def test_digamma_is_scipys(caller):
    """Through the derivative of gammaln."""
    function = Density(("u",), (), ("c",), {}, parse("0"), parse("gammaln(u*c)"))
    call = caller(function, {"c": np.ones(1)})
    grid = np.concatenate([np.geomspace(0.01, 1e5, 200), [-0.5, -1.3, -1e6 - 0.3]])
    slopes = np.array([call([u])[2][0] for u in grid])
    np.testing.assert_allclose(slopes, special.digamma(grid), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("text", ["gammaln(u*c)", "minimum(maximum(log(u*c), 1e-9), 1 - 1e-9)", "maximum(2*c, log(u))"])
@pytest.mark.parametrize("position", [[-np.inf], [np.nan], [-1e300]])
def test_no_number_stays_no_number(text, position, caller):
    """And comes back at once: none of these may hang or be taken for a density."""
    function = Density(("u",), (), ("c",), {}, parse("0"), parse(text))
    assert caller(function, {"c": np.ones(2)})(position)[0] in (3, 4)


def test_name_of_the_data_cannot_be_defined_again():
    with pytest.raises(ValueError, match="'c' is defined twice"):
        source(Density(("u",), (), ("c",), {"c": parse("u")}, parse("u"), parse("c")))


@pytest.mark.parametrize("position", [[-1.0], [0.0], [np.nan], [800.0], [np.inf]])
def test_what_is_not_finite_is_said(position, caller):
    function = Density(("u",), (), ("c",), {}, parse("0"), parse("log(u) + exp(u*c)"))
    assert caller(function, {"c": np.ones(3)})(position)[0] in (3, 4)


def test_no_text_of_a_law_reaches_the_source():
    """Names are replaced, numbers are written by repr: a stranger's law file cannot put code there."""
    function = Density(("evil__import__",), ("os_system",), ("c",), {}, parse("evil__import__"), parse("c*os_system"))
    text = source(function)
    assert "evil" not in text and "os_system" not in text


def test_a_branch_not_taken_has_no_slope_however_steep(caller):
    """At x = 1 what is left out is infinite, or its slope is."""
    each = (
        "minimum(y, exp(1000*x)*c) + maximum(-y, log(x - c)) + minimum(y, maximum(exp(1000*x), 1/(x - c)))"
        " + tanh(exp(1000*x*c))*y + sigmoid(-exp(1000*x*c)) + exp(-exp(1000*x*c)) + logaddexp(y, log(x - c))"
    )
    function = Density(("x", "y"), (), ("c",), {}, parse("minimum(y, exp(1000*x))"), parse(each))
    status, value, gradient = caller(function, {"c": np.ones(3)})([1.0, 0.3])
    assert status == 0
    assert value == pytest.approx(0.3 + 3 * (0.3 - 0.3 + 0.3 + 0.3 + 0.3), rel=1e-14)
    np.testing.assert_allclose(gradient, [0.0, 1 + 3 * (1 - 1 + 1 + 1 + 1)], rtol=1e-14)
    here = density_by_numpy(function, {"c": np.ones(3)}, [1.0, 0.3])
    np.testing.assert_allclose([here[0], *here[1]], [value, *gradient], rtol=1e-14)


def test_powers_whose_exponents_are_data_or_held(caller):
    """Negative bases and whole exponents: values and slopes as of the powers themselves."""
    function = Density(("x", "y"), (), ("n",), {}, parse("x**minimum(y, 3)"), parse("x**n + (x*n)**0 + (n*x)**1"))
    status, value, gradient = caller(function, {"n": np.array([1.0, 2.0, 4.0])})([-1.5, 7.0])
    assert status == 0
    assert value == pytest.approx(-3.375 + (-1.5 + 2.25 + 5.0625) + 3 + 7 * -1.5, rel=1e-14)
    np.testing.assert_allclose(gradient, [3 * 2.25 + (1 - 3 + 4 * -3.375) + 7, 0.0], rtol=1e-14)


def test_a_power_of_a_negative_number(caller):
    """With an exponent that a minimum may hold at a whole number, it stays a power: of the number, sign and all."""
    function = Density(("x",), (), ("c",), {}, parse("0"), parse("c*(-2)**minimum(x, 3)"))
    status, value, _ = caller(function, {"c": np.ones(2)})([7.0])
    assert status == 0 and value == -16.0
    status, value, _ = caller(function, {"c": np.ones(2)})([2.0])
    assert status == 0 and value == 8.0


def test_saturation_is_found_to_the_last_digits():
    """Against bisection of its logit s, on which -log(1 + exp(-s)) + alpha*log(1 + exp(s)) = log z rises."""
    alpha, log_z = np.meshgrid(
        np.geomspace(1e-6, 1e6, 41), np.r_[-np.geomspace(1e-4, 300, 40), np.geomspace(1e-4, 3e3, 40)]
    )
    low, high = np.minimum(log_z, log_z / alpha) - 800, np.maximum(log_z, log_z / alpha) + 800
    for _ in range(200):
        s = (low + high) / 2
        above = alpha * np.logaddexp(0, s) - np.logaddexp(0, -s) > log_z
        low, high = np.where(above, low, s), np.where(above, s, high)
    found = evaluate(parse("saturation(log_z, alpha)"), {"log_z": log_z, "alpha": alpha})
    np.testing.assert_allclose(found, np.minimum(special.expit(s), 1 - 2.0**-53), rtol=1e-12)


@pytest.mark.parametrize("alpha", [1e-9, 1e-3, 0.3, 1.0, 40.0, 101.0, 1e4, 1e9])
def test_saturation_solves_its_equation_for_all_arguments(alpha):
    """log r - alpha*log(1 - r) = log z."""
    log_z = np.array([-1000.0, -101.0, -99.0, -5.0, -0.1, 0.1, 3.0, 30.0])
    tree = parse("saturation(log_z, alpha)")
    found = evaluate(tree, {"log_z": log_z, "alpha": alpha})
    inner = (found > 1e-300) & (found < 1 - 1e-6)
    r = found[inner]
    np.testing.assert_allclose(np.log(r) - alpha * np.log1p(-r), log_z[inner], rtol=1e-9, atol=1e-12)
    assert (found[~inner & (log_z < 0)] < 1e-300).all() and (np.diff(found) >= 0).all()
    ends = {"log_z": np.array([-np.inf, np.inf, np.nan, 0.0]), "alpha": np.array([alpha, alpha, alpha, -alpha])}
    np.testing.assert_array_equal(evaluate(tree, ends), [0.0, 1 - 2.0**-53, np.nan, np.nan])
