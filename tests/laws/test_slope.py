import numpy as np
import pytest

from bayescale.laws.formula import FUNCTIONS, evaluate, parse
from bayescale.laws.slope import value_and_slope

FORMULAS = [
    "2*x + 3*y - x*y",
    "x/y - y/x",
    "x**y",
    "x**2 + 2**x",
    "-(x**(-0.3))",
    "exp(-x*y)/log(1 + x)",
    "minimum(x, y)*maximum(x**2, y)",
    "logaddexp(x, 2*y)",
    "abs(x - 5)*tanh(y)",
    "saturation(log(x), y)",
    "5",
]


def difference(tree, at, direction, step=1e-6):
    ends = [evaluate(tree, {name: at[name] + sign * step * direction[name] for name in at}) for sign in (1, -1)]
    return (np.asarray(ends[0]) - ends[1]) / (2 * step)


@pytest.mark.parametrize("text", [*FORMULAS, *(f"{name}(x)" for name, f in FUNCTIONS.items() if f.arity == 1)])
def test_slope_is_that_of_small_differences(text, rng):
    tree = parse(text)
    at = {"x": rng.uniform(0.5, 3, 50), "y": rng.uniform(0.5, 3, 50)}
    direction = {"x": rng.normal(size=50), "y": rng.normal(size=50)}
    value, slope = value_and_slope(tree, at, direction)
    np.testing.assert_allclose(value, evaluate(tree, at))
    np.testing.assert_allclose(0.0 if slope is None else slope, difference(tree, at, direction), rtol=1e-6, atol=1e-7)


def test_what_stands_still_has_no_slope():
    assert value_and_slope(parse("exp(y) + 2*y"), {"y": 1.0}, {"x": 1.0})[1] is None
    assert value_and_slope(parse("x*y"), {"x": 2.0, "y": 3.0}, {"x": 1.0})[1] == 3.0


def test_the_floor_drops_out():
    """A loss that is nearly all floor: its derivative is exact, where a difference of losses is rounding error."""
    tree = parse("E + A*exp(-a*x)")
    values = {"E": 1.0, "A": 1e-12, "a": 0.3, "x": 2.0}
    _, slope = value_and_slope(tree, values, {"x": 1.0})
    np.testing.assert_allclose(slope, -0.3e-12 * np.exp(-0.6), rtol=1e-14)


@pytest.mark.parametrize("text", [
    "minimum(y, exp(1000*x))", "maximum(-y, log(x - 1))", "minimum(y, maximum(exp(1000*x), 1/(x - 1)))",
    "tanh(exp(1000*x))*y", "sigmoid(-exp(1000*x)) + y", "y + exp(-exp(1000*x))", "logaddexp(y, log(x - 1))",
    "saturation(y, 2) + 0*minimum(1, expm1(800*x))",
])  # fmt: skip
def test_a_branch_not_taken_has_no_slope_however_steep(text):
    """At x = 1 what is left out is infinite, or its slope is; the slope by y is that of the rest."""
    values = {"x": np.ones(2), "y": np.array([0.3, 0.4])}
    _, by_x = value_and_slope(parse(text), values, {"x": 1.0})
    _, by_y = value_and_slope(parse(text), values, {"y": 1.0})
    np.testing.assert_array_equal(np.broadcast_to(by_x, 2), 0.0)
    np.testing.assert_allclose(by_y, difference(parse(text), values, {"x": 0.0, "y": 1.0}), rtol=1e-6)
