"""A page answers the question that was asked: units, limits, targets, another recipe; numbers as by the commands."""

import re

import numpy as np
import pytest
from test_report import Page

import bayescale
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.target import least_compute
from bayescale.display.report import report
from bayescale.errors import FitError
from bayescale.field import number_text, size_text

pytestmark = pytest.mark.usefixtures("drift_once")

DOLLARS = "(6*N*D + 2*N*T)/(mfu*peak)/3600*price"
GIVEN = {"T": 5e12, "mfu": "0.35..0.5", "peak": 1e15, "price": 2.0}
MOST = {"tokens": (None, 2e12)}


@pytest.fixture(scope="module")
def fit(true_fit):
    rng = np.random.default_rng(3)
    noise = {"sigma": 0.003, "tilt": 0.01, "nu_minus_2": 30.0}
    return true_fit(
        300, scatter={name: value * np.exp(0.1 * rng.standard_normal(300)) for name, value in noise.items()}
    )


def words(html):
    return re.sub(r"\s+", " ", Page(html).text)


def test_dollars_and_flop_on_one_page(fit, undrawn):
    html = report(
        fit,
        compute=["2e5 dollars", "1e23 FLOP"],
        params=70e9,
        tokens=1.4e12,
        cost=DOLLARS,
        given=GIVEN,
        limits=MOST,
        title="Shall we?",
        author="A. Person",
        note="Of the <old> recipe.",
    )
    text = words(html)
    assert "<title>Shall we?</title>" in html and "<h1>Shall we?</h1>" in html
    assert "by A. Person" in text and "Of the <old> recipe." in text and "<old>" not in html
    asked = "What loss will a run of 70B parameters on 1.4T tokens end at, and which model should be trained for "
    assert f"{asked}200,000 dollars or 1e23 FLOP with at most 2T tokens?" in text
    dollars = {"cost": DOLLARS, "given": GIVEN}
    for budget, told, options in ((2e5, "200,000 dollars", dollars), (1e23, "1e23 FLOP", {})):
        decision = bayescale.decide(fit, budget, tokens=MOST["tokens"], **options)
        N, D = (float(decision[name].values[0, 0]) for name in ("N", "D"))
        row = bayescale.read(bayescale.forecast(fit, N, D)).frame.iloc[0]
        said = f"For {told}, train {size_text(N)} parameters on {size_text(D)} tokens: the loss is "
        assert f"{said}forecast to end at {row.loss_q50:.3f}, with 90 % probability between {row.loss_q05:.3f}" in text
        split = bayescale.read(bayescale.allocate(fit, budget, tokens=MOST["tokens"], **options)).frame.iloc[0]
        assert f"within {size_text(split.params_q50)} [{size_text(split.params_q05)}, " in text
    assert "The cost is uncertain (mfu 0.35..0.5)" in text


@pytest.mark.slow
def test_a_budget_is_in_the_unit_of_the_cost_as_in_allocate(fit, undrawn):
    text = words(report(fit, compute=2e5, cost=DOLLARS, given=GIVEN))
    N = float(bayescale.decide(fit, 2e5, cost=DOLLARS, given=GIVEN)["N"].values[0, 0])
    assert f"For 200,000, train {size_text(N)} parameters" in text and "Budgets in" not in text


@pytest.mark.slow
def test_the_least_budget_for_the_target_is_that_of_reach(fit, undrawn):
    text = words(report(fit, compute=1e23, target=2.1))
    row = bayescale.read(least_compute(fit, 2.1)).frame.iloc[0]
    assert "will it reach 2.1, and what is the least that does?" in text
    assert f"{number_text(row.compute_q50)} [{number_text(row.compute_q05)}, {number_text(row.compute_q95)}]" in text


@pytest.mark.slow
def test_another_recipe_is_compared_as_by_gain(fit, true_fit, undrawn):
    other = true_fit(300, spread=0.02)
    text = words(report(fit, compute=1e23, other=other))
    row = bayescale.read(compute_gain(fit, other, 1e23)).frame.iloc[0]
    assert f"would need {number_text(row.gain_q50)} times as much (90 % band {number_text(row.gain_q05)} to " in text
    assert f"better with probability {row.p_better:.2f}" in text


@pytest.mark.slow
def test_a_menu_and_the_price_of_another_size(fit, undrawn):
    text = words(report(fit, compute=1e23, menu=[7e9, 30e9, 70e9]))
    assert "with one of 7B, 30B, 70B?" in text
    assert "The price of being wrong" in text and "What would change the answer" in text
    assert "train 30B parameters" in text or "train 7B parameters" in text or "train 70B parameters" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute": "2e6 dollars"}, "a budget in dollars: say what a run costs in that unit"),
        ({"compute": ["2e6 dollars", "3 euros"], "cost": DOLLARS, "given": GIVEN}, "one cost has one unit"),
        ({"compute": "much money"}, "a number is expected, or one with its unit, such as '2e6 dollars'"),
        ({"limits": {"loss": (1, 2)}}, "limits: 'loss' is none of"),
        ({"given": {"mfu": 0.4}}, "['mfu'] given, but no cost uses them"),
        ({"cost": "6*N*D*x"}, "cost '6*N*D*x': no value for ['x']"),
        ({"title": 7}, "title = 7: a text"),
    ],
)
def test_what_cannot_be_asked_is_refused(fit, options, message):
    with pytest.raises(FitError, match=re.escape(message)):
        report(fit, **options)
