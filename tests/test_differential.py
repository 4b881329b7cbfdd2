"""All evaluators of the formula language give the same numbers: NumPy, machine code, PyTensor, JavaScript."""

import random

import numpy as np
import pytest
from differential import (
    LARGEST,
    NODE,
    by_javascript,
    by_machine_code,
    by_numpy,
    by_pytensor,
    by_slope,
    case,
    plain,
    random_case,
    uncertainty,
)

needs_node = pytest.mark.skipif(NODE is None, reason="node, which runs the JavaScript, is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the comparison; evaluators are silent themselves


def points(rng, count=8):
    at = {name: np.array([rng.gauss(0, 1) for _ in range(count)]) for name in ("t", "u", "v", "y")}
    return at | {"x": np.exp(at["y"]), "n": np.array([float(i % 4) for i in range(count)])}


# every function, and what has gone wrong: whole exponents under a name, in the data, held by a minimum; branches that
# are not taken and infinite; bases that are 0 for a whole range; exponents of the saturation far from 1
FIXED = [
    [("k", "2"), ("half", "k/4"), "(0.3 + t)**k*x + (t*t + x)**half - (t - 5)**(k + 1)"],
    ["t**n + (t - u)**(n + 1)*0.1 + (u - 3)**minimum(t*t + 4, 2)"],
    ["minimum(t, exp(1000*x)) + maximum(u, -1/(x - x)) + minimum(1, maximum(0, t - 9)**exp(v)*log(n)*0 + 2)"],
    [("w", "exp(1000 + x)"), "minimum(t, w*u*u + w) + tanh(w + t*t*w)*u + sigmoid(-w)*v + exp(-w*(1 + v*v))*x"],
    ["logaddexp(t, -exp(900 + x)) + logaddexp(u, t) + abs(v) + log1p(t*t) - log10(x + u*u) + sqrt(x + t*t)"],
    ["saturation(t, exp(5*u)) + saturation(u, x*1e4) + saturation(-x, 1e-6*x) + expm1(v) + gammaln(x + t*t) + log(x)"],
]


def agree(one, there, tolerance, where=True):
    here = by_numpy(one)
    same = (np.abs(here - there) <= tolerance) | (~np.isfinite(here) & ~np.isfinite(there))
    return same | ~(plain(one) & where)


def value_tolerance(one):
    return np.nan_to_num(1e-9 * np.abs(by_numpy(one)) + 100 * uncertainty(one) + 1e-290, nan=np.inf)


def slopes_agree(one, there, where=True):
    """With the slopes by NumPy, where they are finite and so is the value."""
    value, here = by_slope(one)
    tolerance = 1e-7 * np.abs(here) + 1e-9 * np.abs(value)[:, None] + 1e-12
    tolerance = tolerance + 100 * np.nan_to_num(uncertainty(one, lambda moved: by_slope(moved)[1]), nan=np.inf)
    finite = plain(one) & where & (np.abs(value) < LARGEST) & (np.abs(here) < LARGEST).all(axis=1)
    return (np.abs(here - there) <= tolerance).all(axis=1) | ~finite, finite


def check_machine_code(one, caller):
    status, value, slopes = by_machine_code(one, caller)
    same, finite = slopes_agree(one, slopes)
    assert (status[finite] == 0).all(), "a number and its slope are taken for none"
    assert (status[plain(one) & ~np.isfinite(by_numpy(one))] != 0).all(), "no number is taken for one"
    assert agree(one, value, value_tolerance(one), where=finite).all() and same.all()
    return finite.sum()


def check_pytensor(one):
    value, slopes = by_pytensor(one)
    assert agree(one, value, value_tolerance(one)).all()
    assert slopes_agree(one, slopes)[0].all()


def check_numpy(one):
    assert agree(one, by_slope(one)[0], value_tolerance(one)).all()


@pytest.mark.parametrize("texts", FIXED, ids=lambda texts: texts[-1][:40])
def test_fixed_formulas_in_numpy_and_pytensor(texts):
    one = case(texts, points(random.Random(1)))
    check_numpy(one)
    check_pytensor(one)


@pytest.mark.parametrize("texts", FIXED[:4:2], ids=lambda texts: texts[-1][:40])
def test_fixed_formulas_in_machine_code(texts, caller):
    check_machine_code(case(texts, points(random.Random(1))), caller)


@needs_node
def test_formulas_in_javascript():
    """Those above, and random ones: all in one run of the engine."""
    cases = [case(texts, points(random.Random(1))) for texts in FIXED]
    cases += [random_case(random.Random(seed)) for seed in range(100)]
    for one, there in zip(cases, by_javascript(cases), strict=True):
        check_numpy(one)
        assert agree(one, there, value_tolerance(one)).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_random_formulas_in_machine_code(seed, caller):
    check_machine_code(random_case(random.Random(1000 + seed)), caller)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(2000, 2200, 20))
def test_random_formulas_in_pytensor(first):
    for seed in range(first, first + 20):
        check_pytensor(random_case(random.Random(seed)))


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("first", range(3000, 6000, 250))
def test_many_random_formulas_in_javascript(first):
    cases = [random_case(random.Random(seed)) for seed in range(first, first + 250)]
    for one, there in zip(cases, by_javascript(cases), strict=True):
        check_numpy(one)
        assert agree(one, there, value_tolerance(one)).all()
