"""Stacking against closed forms and ArviZ; what forward weights are shrunk to."""

import arviz_stats
import numpy as np
import pytest
import xarray as xr

from bayescale.evidence.weights import START_LOOKS, forward_weights, laws_far_behind, stacking


def test_one_law_ahead_everywhere_takes_all():
    density = np.column_stack([np.zeros(50), np.full(50, -1.0), np.full(50, -3.0)])
    np.testing.assert_allclose(stacking(density), [1, 0, 0], atol=1e-3)


def test_share_of_cases_by_closed_form():
    """Each case is possible under one law only: weights are the shares of the cases."""
    density = np.where(np.arange(10)[:, None] < [7, 0], 0.0, -700.0)
    density[7:, 1] = 0.0
    np.testing.assert_allclose(stacking(density), [0.7, 0.3], atol=1e-6)
    np.testing.assert_allclose(stacking(density, start=np.array([1.0, 4.0])), [8 / 15, 7 / 15], atol=1e-6)
    np.testing.assert_allclose(stacking(density, np.repeat([1.0, 0.5], [7, 3])), [7 / 8.5, 1.5 / 8.5], atol=1e-6)


def test_it_is_arvizs(rng):
    """Their solver is scipy's SLSQP; the maximum is what must agree."""
    density = rng.normal(size=(200, 4)) * 0.5 + [0.0, -0.05, -0.1, -0.6]
    elpd = {f"law{i}": _elpd(density[:, i]) for i in range(4)}
    theirs = arviz_stats.compare(elpd, round_to="none")["weight"].loc[[f"law{i}" for i in range(4)]].values
    ours = stacking(density)

    def score(weights):
        return np.log(np.exp(density) @ weights).sum()

    assert score(ours) >= score(theirs / theirs.sum()) - 1e-3
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def _elpd(pointwise):
    values = xr.DataArray(pointwise, dims="run")
    return arviz_stats.ELPDDataLOO(
        elpd=float(values.sum()),
        se=float(np.sqrt(values.size * values.var())),
        p=1.0,
        n_samples=1000,
        n_data_points=values.size,
        scale="log",
        warning=False,
        good_k=0.7,
        elpd_i=values,
        pareto_k=xr.zeros_like(values),
    )


def evidence(elpd_run, weight_loo, converged, d_elpd=0.0, d_se=1.0):
    """A comparison with one forecast run a cut, [law, cut]."""
    elpd = xr.DataArray(np.asarray(elpd_run, dtype=float)[..., None], dims=("law", "cut", "run"))
    return xr.Dataset(
        {
            "elpd_run": elpd,
            "elpd_forward": elpd.mean(("cut", "run"), skipna=True),
            "weight_loo": ("law", weight_loo),
            "converged": ("law", converged),
            "d_elpd": ("law", np.zeros(len(converged)) + d_elpd),
            "d_se": ("law", np.zeros(len(converged)) + d_se),
        }
    )


def test_without_forecasts_half_equal_half_loo():
    result = evidence(np.zeros((2, 3)), [1.0, 0.0], [True, True]).drop_vars(["elpd_run", "elpd_forward"])
    np.testing.assert_allclose(forward_weights(result), [0.75, 0.25])


def test_looks_are_counted_as_cuts_and_shrunk():
    """Each cut possible under one law only: (cuts + what the start is worth) of all."""
    result = evidence([[0, 0, 0, -700], [-700, -700, -700, 0]], [0.5, 0.5], [True, True])
    expected = (3 + START_LOOKS / 2) / (4 + START_LOOKS)
    np.testing.assert_allclose(forward_weights(result), [expected, 1 - expected], atol=1e-6)


def test_laws_without_evidence_weigh_nothing():
    result = evidence([[0, 0], [0, 0], [np.nan, np.nan]], [0.2, 0.3, 0.5], [True, False, True])
    np.testing.assert_allclose(forward_weights(result), [1, 0, 0])


@pytest.mark.parametrize("runs", [1, 30])
def test_runs_of_a_cut_are_one_look(runs):
    one = evidence([[1.0, 1.0], [0.0, 0.0]], [0.5, 0.5], [True, True])
    many = one.drop_vars("elpd_run").assign(elpd_run=one["elpd_run"].isel(run=np.zeros(runs, dtype=int)))
    np.testing.assert_allclose(forward_weights(many), forward_weights(one), atol=1e-9)


@pytest.mark.parametrize(
    ("d_elpd", "d_se", "left_out"), [(-50, 12, True), (-50, 13, False), (-9.9, 1, False), (-10.1, 1, True)]
)
def test_a_law_far_behind_weighs_nothing(d_elpd, d_se, left_out):
    """However well a few cuts went: behind by more than 4 standard errors and by more than 10."""
    result = evidence([[-9.0], [0.0]], [1.0, 0.0], [True, True], [0.0, d_elpd], [0.0, d_se])
    assert list(laws_far_behind(result)) == [False, left_out]
    assert (forward_weights(result)[1] == 0) == left_out
    without = forward_weights(result.drop_vars(["elpd_run", "elpd_forward"]))
    np.testing.assert_allclose(without, [1.0, 0.0] if left_out else [0.75, 0.25])


def test_the_best_in_range_stays_where_it_could_not_be_forecast():
    result = evidence([[np.nan], [0.0]], [1.0, 0.0], [True, True], [0.0, -100.0])
    np.testing.assert_allclose(forward_weights(result), [1.0, 0.0])
