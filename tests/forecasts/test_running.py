"""The final loss of a running job, in a world whose law is known."""

import numpy as np
import pytest

import bayescale
from bayescale.runs.schedule import learning_rates, of_schedule

STEPS = 20_000


COOL = {"annealing": 0.4, "multi_power": 0.13}


def world(law, rates, rng):
    """A curve of L = 2.5 + 0.6 S1**-0.7 less cooling with noise of 0.2 %, up to 40 % of its schedule; and its end."""
    steps = np.linspace(1500, 0.4 * STEPS, 40).astype(int)
    S1, second = of_schedule(law, rates, [*steps, STEPS]).values()
    loss = 2.5 + 0.6 * S1**-0.7 - COOL[law] * second
    return {"step": steps, "loss": loss[:-1] * (1 + 0.002 * rng.standard_normal(40))}, loss[-1]


@pytest.mark.parametrize("law", COOL)
def test_the_end_of_schedules_that_cool_later(law, rng, drift_once):
    """No rate has fallen yet where wsd is stopped: what cooling brings is the prior's, and the band holds the end."""
    for kind, options in (("cosine", {"final": 3e-5}), ("wsd", {"cooldown": 4000})):
        rates = learning_rates(kind, STEPS, peak=3e-4, warmup=1000, **options)
        curve, end = world(law, rates, rng)
        tree = bayescale.final_loss(curve, rates, law=law)
        low, middle, high = np.quantile(tree["predictions"]["loss"], [0.05, 0.5, 0.95])
        assert low < end < high
        assert abs(middle / end - 1) < 0.3 * (curve["loss"][-1] / end - 1), "nearer than the last measured loss"
        assert np.log(high / low) < 2 * np.log(curve["loss"][-1] / end), "no wider than twice what is still to fall"
