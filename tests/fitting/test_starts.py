"""Chains start where the posterior is: near known constants, at the better of two optima, the same for one seed."""

import numpy as np
import pytest

from bayescale.engine.pymc import build_model
from bayescale.fitting.starts import STARTS, _modes, start_points, unbounded
from bayescale.laws.law import law_loss, load_law
from bayescale.laws.noises import NOISES
from bayescale.laws.priors import Prior
from bayescale.laws.scatter import Scatter
from bayescale.study import Study


def inputs_of(law, runs):
    study = Study.bound(law, Scatter.of(law), runs)
    return study.inputs() | study.constants


def test_starts_lie_at_the_truth(crossed_runs):
    runs, law = crossed_runs(12, 10, scatter=0.001), load_law("chinchilla")
    inputs = inputs_of(law, runs)
    found, sigma = start_points(law, inputs, np.log(runs["loss"].values), 0.0, seed=1)
    loss = law_loss(law, {name: value[:, None] for name, value in found.items()} | inputs)
    error = np.log(loss / runs["loss"].values)
    assert error.shape == (STARTS, 120) and np.sqrt((error**2).mean(axis=1)).max() < 0.004
    assert np.median(sigma) == pytest.approx(0.001, rel=0.5)


def test_optima_are_weighed_by_their_evidence():
    """exp(-value) times the volume of each normal peak, but for the 2 pi of all; a second climb to one peak is none."""
    z = np.array([[0.0, 0.0], [5.0, 5.0], [0.01, 0.0]])
    precision = np.array([np.diag([4.0, 9.0]), np.eye(2), np.diag([4.0, 9.0])])
    modes, log_evidence = _modes(z, np.array([1.0, 0.5, 1.1]), precision)
    np.testing.assert_array_equal(modes, [1, 0])
    np.testing.assert_allclose(np.exp(log_evidence), [np.exp(-0.5), np.exp(-1.0) / 6], rtol=1e-12)


def test_poor_optima_start_no_chain(rng):
    """Chains left to themselves were seen to stay with the break on the wrong side; every start is on the right one."""
    law = load_law("broken")
    x = np.logspace(0, 4, 60)
    truth = {"level": 1.2, "slope": 0.1, "floor": 0.6, "c1": -0.5, "log_break1": 0.8, "f1": 0.3}
    inputs = {"x": x, "x_ref": 100.0, "L_ref": 2.0}
    seen = np.log(law_loss(law, truth | inputs)) + 0.004 * rng.standard_normal(60)
    found, _ = start_points(law, inputs, seen, 0.0, seed=1)
    assert (np.abs(found["log_break1"] - 0.8) < 0.3).all() and (found["c1"] < -0.3).all()


def test_same_seed_same_starts(crossed_runs):
    runs, law = crossed_runs(), load_law("coupled")
    given = law, inputs_of(law, runs), np.log(runs["loss"].values), 0.0
    (first, _), (second, _), (other, _) = (start_points(*given, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first["slope"], second["slope"])
    assert (first["slope"] != other["slope"]).any()


def test_nothing_finite_is_no_start():
    law = load_law("power_params")
    assert start_points(law, {"N": np.ones(5), "N_ref": 1.0, "L_ref": 2.0}, np.full(5, np.nan), 0.0, seed=0) is None


@pytest.mark.parametrize(
    ("dist", "params"),
    [
        ("Normal", {"mu": 0.0, "sigma": 1.0}),
        ("LogNormal", {"mu": 0.0, "sigma": 1.0}),
        ("LogitNormal", {"mu": 0.0, "sigma": 1.0}),
        ("HalfNormal", {"sigma": 1.0}),
        ("Exponential", {"lam": 1.0}),
        ("Gamma", {"alpha": 2.0, "beta": 2.0}),
        ("Beta", {"alpha": 2.0, "beta": 2.0}),
        ("Uniform", {"lower": -1.0, "upper": 3.0}),
        ("TruncatedNormal", {"mu": 0.0, "sigma": 1.0, "lower": -1.0, "upper": 3.0}),
    ],
)
def test_positions_are_those_of_pymc(dist, params):
    """The value that PyMC samples for a parameter of 0.3 is the one that the starts give."""
    import pymc as pm
    from pymc.distributions.transforms import logodds

    options = {"default_transform": logodds} if dist == "LogitNormal" else {}
    with pm.Model() as model:
        variable = getattr(pm, dist)("x", **params, **options, initval=0.3)
    (position,) = model.initial_point().values()
    mine = unbounded({"x": np.array([0.3])}, {"x": Prior(dist, params)})
    assert variable.name == "x" and mine[0, 0] == pytest.approx(float(position), rel=1e-9)


def test_positions_are_in_the_order_of_the_model(crossed_runs):
    law, runs = load_law("coupled"), crossed_runs()
    model = build_model(Study.bound(law, Scatter.of(law), runs))
    names = [variable.name for variable in model.free_RVs]
    assert names == [*law.priors, *NOISES["student_t"].priors]
