"""The final loss of a running job, in a world whose law is known."""

import numpy as np

import bayescale
from bayescale.runs.schedule import learning_rates, scaled_areas

STEPS = 20_000


def world(rates, rng):
    """A curve of L = 2.5 + 0.6 S1**-0.7 - 0.4 S2 with noise of 0.2 %, up to 40 % of its schedule; and its end."""
    S1, S2 = scaled_areas(rates)
    loss = 2.5 + 0.6 * S1**-0.7 - 0.4 * S2
    steps = np.linspace(1500, 0.4 * STEPS, 40).astype(int)
    return {"step": steps, "loss": loss[steps - 1] * (1 + 0.002 * rng.standard_normal(40))}, loss[-1]


def test_the_end_of_schedules_that_cool_later(rng, drift_once):
    """No rate has fallen yet where wsd is stopped: what cooling brings is the prior's, and the band holds the end."""
    for kind, options in (("cosine", {"final": 3e-5}), ("wsd", {"cooldown": 4000})):
        rates = learning_rates(kind, STEPS, peak=3e-4, warmup=1000, **options)
        curve, end = world(rates, rng)
        tree = bayescale.final_loss(curve, rates)
        low, middle, high = np.quantile(tree["predictions"]["loss"], [0.05, 0.5, 0.95])
        assert low < end < high
        assert abs(middle / end - 1) < 0.3 * (curve["loss"][-1] / end - 1), "nearer than the last measured loss"
        assert high / low < 1.15
