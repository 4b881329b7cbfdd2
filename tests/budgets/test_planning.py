import json

import numpy as np
import pytest

import bayescale
from bayescale.budgets.planning import plan_runs, posterior_sd
from bayescale.errors import FitError
from bayescale.fitting.fit import fit
from bayescale.laws.law import law_names, load_law, parse_law
from bayescale.runs.read import read_runs

LINE = """
title = "A straight line on log axes"
cite = "here"
formula = "exp(level - alpha*log(N))*D**0"
[priors]
level = { dist = "Normal", mu = 0.0, sigma = 2.0, about = "a" }
alpha = { dist = "Normal", mu = 0.3, sigma = 0.5, about = "b" }
"""


def test_linear_regression_is_exact(rng):
    """log L = level - alpha log N: the textbook posterior of a linear regression with normal priors."""
    law = parse_law(LINE, "line")
    N, D = np.exp(rng.uniform(0, 3, 20)), np.ones(20)
    design = np.column_stack([np.ones(20), -np.log(N)])
    precision = np.diag([1 / 4.0, 1 / 0.25]) + design.T @ design / 0.1**2
    expected = np.sqrt(np.linalg.inv(precision)[1, 1])
    found = posterior_sd(law, "alpha", rng.standard_normal((50, 2)), {"N": N, "D": D}, 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_more_runs_tell_more_and_no_runs_leave_the_prior():
    table = plan_runs("chinchilla", counts=(1, 8, 64, 512))
    assert (np.diff(table.sd_q50) < 0).all() and (np.diff(table.p_enough) >= 0).all()
    assert (table.sd_q05 < table.sd_q50).all() and (np.diff(table.compute) > 0).all()
    noisy = plan_runs("chinchilla", counts=(64,), noise=0.02)
    assert noisy.sd_q50[0] > 1.5 * table.sd_q50[2]


def test_statement():
    table = plan_runs("kaplan", quantity="alpha_N")
    assert "runs" in " ".join(
        bayescale.read(table).says
    ) and "reach sd(alpha_N) < 0.01 in half of the truths" in " ".join(bayescale.read(table).says)
    never = plan_runs("coupled", sd=1e-5, counts=(8, 16))
    assert "16 runs do not reach sd(alpha) < 1e-05" in " ".join(bayescale.read(never).says)
    json.dumps(bayescale.read(table).to_dict(), allow_nan=False)


def test_seeds():
    one, same, other = (plan_runs(counts=(12,), seed=seed) for seed in (0, 0, 1))
    assert one.equals(same) and not one.equals(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantity": "zeta"}, "law 'coupled' has no quantity 'zeta'; it has A, B, E"),
        ({"sd": 0}, "sd = 0: a number above 0"),
        ({"noise": -1}, "noise = -1: an sd of log loss above 0 is expected"),
        ({"params": (1e9, 1e8)}, "0 < smallest < largest"),
        ({"tokens": 5}, r"tokens = 5: a pair \(smallest, largest\)"),
        ({"counts": [1.5]}, "counts must be whole numbers"),
    ],
)
def test_requests_of_no_use(options, message):
    with pytest.raises(FitError, match=message):
        plan_runs(**options)


@pytest.mark.parametrize("name", [name for name in law_names() if name != "broken2"])
def test_every_law_is_planned(name):
    law = load_law(name)
    table = plan_runs(name, quantity=next(iter(law.priors)), counts=(8, 64))
    assert (table.sd_q50 > 0).all() and table.sd_q50[1] <= table.sd_q50[0]
    assert ("compute" in table) == ({"N", "D"} <= set(law.inputs))
    assert bayescale.read(table).says


def test_ranges_of_other_inputs():
    narrow, wide = (
        plan_runs("coverage", quantity="b", ranges={"samples": (1, high)}, counts=(32,)) for high in (10, 1e4)
    )
    assert wide.sd_q50[0] < narrow.sd_q50[0]
    with pytest.raises(FitError, match="a range of 'depth' is given"):
        plan_runs("coverage", quantity="b", ranges={"depth": (1, 2)})


@pytest.mark.slow
def test_sampled_posteriors_are_as_wide_as_planned():
    """Studies are simulated at truths from the priors and really fitted; their sd of alpha is what the plan said."""
    from scipy.special import ndtr

    from bayescale.laws.law import law_loss, reference_constants
    from bayescale.laws.priors import DISTRIBUTIONS

    law, rng = load_law("chinchilla"), np.random.default_rng(7)
    ratios = []
    for _ in range(12):
        z = rng.standard_normal((1, len(law.priors)))
        N, D = np.exp(rng.uniform(np.log([[5e7], [1e9]]), np.log([[2e9], [1e11]]), (2, 48)))
        constants = reference_constants(law, {"params": N, "tokens": D, "compute": 6 * N * D, "loss": np.ones(1)})
        truth = {
            name: DISTRIBUTIONS[prior.dist].quantile(ndtr(z[0, i]), **prior.params)
            for i, (name, prior) in enumerate(law.priors.items())
        }
        loss = law_loss(law, truth | constants | {"N": N, "D": D}) * np.exp(0.005 * rng.standard_normal(48))
        posterior = fit(
            read_runs({"params": N, "tokens": D, "loss": loss}), law, noise="normal", allow_unconverged=True
        )
        ratios.append(
            float(posterior["posterior"]["alpha"].std()) / posterior_sd(law, "alpha", z, {"N": N, "D": D}, 0.005)[0]
        )
    assert np.median(ratios) == pytest.approx(1.0, abs=0.25), ratios
