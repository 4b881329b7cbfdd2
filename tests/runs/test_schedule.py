"""Learning-rate schedules and their areas, against sums by hand."""

import numpy as np
import pytest

from bayescale.errors import RunsError
from bayescale.runs import schedule
from bayescale.runs.schedule import (
    learning_rates,
    of_schedule,
    on_schedule,
    rates_of,
    schedule_areas,
    schedule_cooling,
    schedule_in,
)


def test_schedules():
    np.testing.assert_allclose(learning_rates("constant", 3, peak=2.0), [2, 2, 2])
    np.testing.assert_allclose(learning_rates("linear", 4, peak=4.0), [3, 2, 1, 0])
    np.testing.assert_allclose(learning_rates("linear", 6, peak=4.0, warmup=2), [2, 4, 3, 2, 1, 0])
    np.testing.assert_allclose(
        learning_rates("cosine", 4, peak=1.0, final=0.5),
        0.5 + 0.25 * (1 + np.cos([np.pi * t / 4 for t in (1, 2, 3, 4)])),
    )
    np.testing.assert_allclose(learning_rates("wsd", 5, peak=1.0, final=0.2, cooldown=2), [1, 1, 1, 0.6, 0.2])


def by_hand(rates, memory):
    """The double sum of arXiv:2408.11029: S2 = sum_{i <= t} sum_{k <= i} (rate_{k-1} - rate_k) memory^(i - k)."""
    S2 = np.zeros(len(rates))
    for t in range(len(rates)):
        S2[t] = sum((rates[k - 1] - rates[k]) * memory ** (i - k) for i in range(1, t + 1) for k in range(1, i + 1))
    return np.cumsum(rates), S2


@pytest.mark.parametrize("memory", [0.5, 0.99, 1.0])
def test_areas_are_the_papers_sums(rng, memory):
    rates = np.concatenate([[3.0], rng.uniform(0.1, 3.0, 20)])
    for found, expected in zip(schedule_areas(rates, memory=memory), by_hand(rates, memory), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_warm_up_counts_at_the_peak():
    S1, S2 = schedule_areas([0.1, 0.5, 1.0, 1.0, 0.5])
    np.testing.assert_allclose(S1, [1, 2, 3, 4, 4.5])
    np.testing.assert_allclose(S2, [0, 0, 0, 0, 0.5])


def cooling_by_hand(rates, C, beta, gamma):
    """The sum of arXiv:2503.12811 at each step, over falls from the peak on, as shares of the peak."""
    peak, first, found = max(rates), int(np.argmax(rates)), []
    for t in range(len(rates)):
        terms = [
            (rates[k - 1] - rates[k]) / peak * (1 - (C * rates[k] ** -gamma * sum(rates[k : t + 1]) + 1) ** -beta)
            for k in range(first + 1, t + 1)
        ]
        found.append(sum(terms))
    return np.array(found)


def test_cooling_is_the_papers_sum(rng, monkeypatch):
    """Also of rates that rise again, at chosen steps, and in parts."""
    rates, shape = np.concatenate([[0.1, 0.2, 0.4], rng.uniform(0.1, 0.3, 20)]), {"C": 1.7, "beta": 0.5, "gamma": 0.3}
    expected = cooling_by_hand(rates, **shape)
    S1, cooling = schedule_cooling(rates, **shape)
    np.testing.assert_allclose(S1, np.cumsum(rates))
    np.testing.assert_allclose(cooling, expected, rtol=1e-12, atol=1e-15)
    monkeypatch.setattr(schedule, "FALLS_AT_ONCE", 10)
    np.testing.assert_allclose(schedule_cooling(rates, [23, 4, 2], **shape)[1], expected[[22, 3, 1]], atol=1e-15)


def test_cooling_by_one_fall_has_a_closed_form():
    """From 3e-4 to 1e-4: two thirds of the peak, times G of the learning since; none by the fall to a rate of 0."""
    rates = np.repeat([3e-4, 1e-4, 0.0], 1000)
    cooling = schedule_cooling(rates, [1000, 1001, 2000, 3000])[1]
    worked = [1 - (2.08 * 1e-4**-0.644 * 1e-4 * steps + 1) ** -0.592 for steps in (1, 1000, 1000)]
    np.testing.assert_allclose(cooling, np.array([0.0, *worked]) * 2 / 3, rtol=1e-9)
    constant = np.full(50, 2.0)
    np.testing.assert_array_equal(schedule_cooling(constant)[1], np.zeros(50))


def test_what_a_law_takes_is_the_same_for_rates_in_any_unit():
    rates = learning_rates("cosine", 200, peak=3e-4, warmup=20)
    for law in ("annealing", "multi_power"):
        one, other = (of_schedule(law, times * rates, [50, 200]) for times in (1.0, 20.0))
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-9)
    runs = on_schedule({"step": [50, 100], "loss": [4.0, 3.0]}, 20 * rates, law="multi_power")
    np.testing.assert_allclose(runs["lr_cooling"], of_schedule("multi_power", rates, [50, 100])["lr_cooling"])


def test_rates_between_those_of_a_file(tmp_path):
    np.testing.assert_allclose(rates_of([5, 1], [1.0, 3.0]), [3, 2.5, 2, 1.5, 1])
    path = tmp_path / "lr.csv"
    path.write_text("step,lr\n1,3e-4\n3,1e-4\n")
    np.testing.assert_allclose(schedule_in(path), [3e-4, 2e-4, 1e-4])
    path.write_text("step,rate\n1,3e-4\n")
    with pytest.raises(RunsError, match="'lr' is not one"):
        schedule_in(path)


def test_a_curve_beside_its_schedule():
    rates = learning_rates("linear", 10, peak=6e-4, warmup=3)
    runs = on_schedule({"step": [2, 4, 6], "loss": [5.0, 4.0, 3.0]}, rates)
    S1, S2 = schedule_areas(rates / 2)
    np.testing.assert_allclose(runs["lr_area"], S1[[3, 5]], err_msg="scaled to a peak of 3e-4; no warm-up")
    np.testing.assert_allclose(runs["anneal_area"], S2[[3, 5]])
    np.testing.assert_allclose(runs["loss"], [4.0, 3.0])


def test_steps_are_found_by_their_usual_names():
    rates = learning_rates("linear", 10, peak=6e-4)
    curve = {"loss": [5.0, 4.0, 3.0]}
    plain = on_schedule(curve | {"step": [2, 4, 6]}, rates)
    np.testing.assert_allclose(on_schedule(curve | {"iter": [2, 4, 6]}, rates)["lr_area"], plain["lr_area"])
    with pytest.raises(RunsError, match=r"no column 'steps' among loss, iter; .*--step NAME"):  # a name that was given
        on_schedule(curve | {"iter": [2, 4, 6]}, rates, step="steps")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: learning_rates("sine", 9, peak=1.0), "constant, linear, cosine, wsd are known"),
        (lambda: learning_rates("cosine", 9, peak=1.0, warmup=9), "9 of them warm-up"),
        (lambda: learning_rates("cosine", 9, peak=1.0, final=2.0), "0 <= final <= peak"),
        (lambda: learning_rates("wsd", 9, peak=1.0), "wsd needs the steps of its cool-down"),
        (lambda: learning_rates("cosine", 9, peak=1.0, cooldown=3), "goes with the schedule wsd only, not with cosine"),
        (lambda: schedule_areas([1.0, np.nan]), "finite numbers of at least 0"),
        (lambda: schedule_areas([1.0], memory=2.0), "above 0 and at most 1"),
        (lambda: schedule_cooling([1.0, np.inf]), "finite numbers of at least 0"),
        (lambda: schedule_cooling([1.0, 0.5], [3]), "whole numbers from 1 to 2"),
        (lambda: schedule_cooling([1.0, 0.5], C=0.0), "C = 0, beta = 0.592: numbers above 0"),
        (lambda: schedule_cooling(np.linspace(1, 0, 100_000)), "takes too long; ask for fewer steps"),
        (lambda: on_schedule({"step": [1], "loss": [1.0]}, [1.0], law="m3"), "annealing and multi_power do"),
        (lambda: on_schedule({"loss": [1.0]}, [1.0]), "no column 'step' among"),
        (lambda: on_schedule({"step": [1, 12], "loss": [2.0, 1.0]}, [1.0] * 9), "row 1: step is 12, not one of the 9"),
        (lambda: on_schedule({"step": [1], "loss": [2.0]}, [1.0, 2.0, 3.0]), "no row after the warm-up"),
    ],
)
def test_refusals(made, message):
    with pytest.raises(RunsError, match=message):
        made()
