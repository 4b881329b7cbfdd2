import numpy as np
import pytest

from bayescale.budgets.cost import (
    check_rises,
    draw_quantities,
    linear_in,
    parse_cost,
    quantity,
    spend,
    tokens_at,
    tokens_slope,
)
from bayescale.errors import FitError
from bayescale.field import TRAINING
from bayescale.laws.formula import evaluate, parse
from bayescale.laws.priors import Prior

GIVEN = {"T": 3e12, "mfu": 0.4, "peak": 989e12}
COSTS = [
    TRAINING,
    "6*N*D + 2*N*T",
    "(6*N + 1e9)*D/(mfu*peak)",
    "-(-6*N*D)",
    "6*N*D - 1e3*(D - N)",
    "6*N**1.1*D**0.9",  # not linear in D
    "6*N*D + 1e-3*D**1.5",
]


def test_parts_of_a_cost_linear_in_tokens(rng):
    values = {"N": rng.uniform(1, 9, 20), "D": rng.uniform(1, 9, 20), "T": 2.0, "mfu": 0.5, "peak": 3.0}
    for text in COSTS[:5]:
        parts = linear_in(parse(text), "D")
        together = evaluate(parts[0], values) + evaluate(parts[1], values) * values["D"]
        np.testing.assert_allclose(together, evaluate(parse(text), values), rtol=1e-12)
    for text in (*COSTS[5:], "D*D", "exp(D)", "1/D"):
        assert linear_in(parse(text), "D") is None


@pytest.mark.parametrize("text", COSTS)
def test_tokens_that_a_budget_buys_cost_the_budget(text):
    cost = parse_cost(text, {name: GIVEN[name] for name in GIVEN if name in text})
    values = draw_quantities(cost.given, 1, np.random.default_rng(0))
    N = np.array([[1e8, 1e9, 1e10]])
    budget = spend(cost, values, N, np.full((1, 3), 2e11))
    D = tokens_at(cost, values, N, budget)
    np.testing.assert_allclose(D, 2e11, rtol=1e-9)
    step = 1e-6
    moved = [tokens_at(cost, values, N * np.exp(sign * step), budget) for sign in (1, -1)]
    expected = (moved[0] - moved[1]) / (2 * step)
    np.testing.assert_allclose(tokens_slope(cost, values, N, D), expected, rtol=1e-5)


def test_a_budget_that_buys_no_token():
    cost = parse_cost("6*N*D + 2*N*T", {"T": 1e12})
    D = tokens_at(cost, {"T": 1e12}, np.array([[1e9, 1e12]]), np.array([[1e22]]))
    np.testing.assert_allclose(D[0, 0], (1e22 - 2e21) / 6e9)
    assert np.isnan(D[0, 1])


def test_a_range_is_the_90_percent_band_of_a_log_normal():
    draws = draw_quantities({"mfu": quantity("mfu", "0.35..0.5")}, 200_000, np.random.default_rng(0))["mfu"]
    np.testing.assert_allclose(np.quantile(draws, [0.05, 0.95]), [0.35, 0.5], rtol=0.01)
    assert quantity("T", "1T..50T") == quantity("T", "1e12..50e12") and quantity("T", " 5T ") == 5e12
    assert quantity("mfu", "40%") == quantity("mfu", " 40 % ") == 0.4
    assert quantity("mfu", "35%..50%") == quantity("mfu", "0.35..0.5")
    assert quantity("T", "2e12") == 2e12 and quantity("T", 0) == 0.0
    assert quantity("mfu", "Beta(alpha=40, beta=60)") == Prior("Beta", {"alpha": 40.0, "beta": 60.0})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("much", r"mfu = 'much': a number, a range such as 0.35..0.5, or a prior"),
        ("0.5..0.3", r"a range LOW..HIGH with 0 < LOW < HIGH is expected"),
        ("0..1", r"a range LOW..HIGH with 0 < LOW < HIGH is expected"),
        ("140%", r"mfu = '140%': a share of the peak is expected, at most 1, such as 0.4 or 40%"),
        ("%", r"mfu = '%': a number"),
        (-1, r"mfu = -1: a finite number of at least 0 is expected"),
        (float("nan"), "a finite number of at least 0 is expected"),
        ("Beta(40, 60)", r"Beta takes \['alpha', 'beta'\] by name"),
        ("Beta(alpha=40)", r"Beta takes \['alpha', 'beta'\] by name"),
        ("Cauchy(alpha=1)", "the distributions are Normal, LogNormal"),
        ("Beta(alpha=-1, beta=1)", "alpha, beta must be finite and above 0"),
        ("__import__('os')", "the distributions are|not a prior"),
        ("a.b(c=1)", "not a prior"),
    ],
)
def test_values_of_no_use(value, message):
    with pytest.raises(FitError, match=message):
        quantity("mfu", value)


def test_a_prior_that_reaches_below_zero():
    given = {"price": quantity("price", "Normal(mu=1, sigma=2)")}
    with pytest.raises(FitError, match=r"price ~ Normal.*: some of its draws are below 0"):
        draw_quantities(given, 1000, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("6*N", {}, r"cost '6\*N' uses \['N'\]; what a run costs must depend on both N and D"),
        ("6*N*D + 2*N*T", {}, r"no value for \['T'\]"),
        ("6*N*D +", {}, "cost: formula .* is not an expression"),
        ("N.__class__*D", {}, "cost: attribute access"),
    ],
)
def test_costs_of_no_use(text, given, message):
    with pytest.raises(FitError, match=message):
        parse_cost(text, given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6*N*D - 1e30", "is not a finite number above 0 at every size"),
        ("6*N/D", "does not rise with D everywhere"),
        ("6*D/N", "does not rise with N everywhere"),
        ("minimum(N, 1e9)*D", "does not rise with N everywhere"),
    ],
)
def test_a_cost_must_rise(text, message):
    with pytest.raises(FitError, match=message):
        check_rises(parse_cost(text, {}), {})
