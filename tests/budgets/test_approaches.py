import numpy as np
import pytest
from conftest import BESIROGLU, chinchilla_loss, chinchilla_parameters

import bayescale
from bayescale.budgets.approaches import approaches, budgets_in, envelope, isoflop
from bayescale.errors import FitError
from bayescale.runs.read import read_runs


def isoflops(constants, scatter=0.0, span=8.0, sizes=9, seed=3):
    """Budgets from 1e19 to 1e22, each with sizes around its optimum."""
    a = constants["beta"] / (constants["alpha"] + constants["beta"])
    G = (constants["alpha"] * constants["A"] / (constants["beta"] * constants["B"])) ** (
        1 / (constants["alpha"] + constants["beta"])
    )
    C = np.repeat(np.geomspace(1e19, 1e22, 7), sizes)
    N = G * (C / 6) ** a * np.tile(np.geomspace(1 / span, span, sizes), 7)
    loss = chinchilla_loss(N, C / 6 / N, **constants)
    loss = loss * np.exp(scatter * np.random.default_rng(seed).standard_normal(loss.size))
    return read_runs({"params": N, "tokens": C / 6 / N, "loss": loss})


@pytest.fixture(scope="module")
def fitted(make_fit):
    def make(runs, constants):
        rng = np.random.default_rng(0)
        values = {name: value * np.exp(0.005 * rng.standard_normal(400)) for name, value in constants.items()}
        return make_fit("chinchilla", chinchilla_parameters(runs, **values), runs)

    return make


SYMMETRIC = BESIROGLU | {"alpha": 0.35, "beta": 0.35}


def test_parabolas_are_exact_where_n_and_d_matter_alike(rng):
    runs = isoflops(SYMMETRIC)
    line = isoflop(*(np.log(runs[name].values) for name in ("params", "compute", "loss")), rng)
    at = np.median(line.intercept + line.a * np.log(1e23))
    G = (SYMMETRIC["A"] / SYMMETRIC["B"]) ** (1 / 0.7)
    assert line.points == 7 and np.median(line.a) == pytest.approx(0.5, abs=0.01)
    assert np.exp(at) == pytest.approx(G * (1e23 / 6) ** 0.5, rel=0.05)


def test_parabolas_are_biased_where_they_do_not():
    """alpha/beta = 3, sizes up to 8 times off: arXiv:2603.22339 finds D* wrong by up to a quarter; ours is as wrong."""
    constants = BESIROGLU | {"alpha": 0.46, "beta": 0.155, "B": 2085.0 / 100}
    runs = isoflops(constants, span=8)
    line = isoflop(*(np.log(runs[name].values) for name in ("params", "compute", "loss")), np.random.default_rng(0))
    a = constants["beta"] / (constants["alpha"] + constants["beta"])
    G = (constants["alpha"] * constants["A"] / (constants["beta"] * constants["B"])) ** (
        1 / (constants["alpha"] + constants["beta"])
    )
    N = np.exp(np.median(line.intercept + line.a * np.log(1e24)))
    assert abs(np.log(N / (G * (1e24 / 6) ** a))) > 0.1


def test_envelope_finds_the_exponent(rng):
    runs = isoflops(SYMMETRIC, sizes=25)
    line = envelope(*(np.log(runs[name].values) for name in ("params", "compute", "loss")), rng)
    assert line.points == 7 and np.median(line.a) == pytest.approx(0.5, abs=0.05)


def test_of_runs_with_the_same_loss_the_envelope_takes_the_first_of_the_sample(monkeypatch):
    """Rounded losses are often the same; every sample then has its own best run, as if it had been sorted."""
    monkeypatch.setattr("bayescale.budgets.approaches.RESAMPLES", 20)
    rng = np.random.default_rng(0)
    log_c, log_n, log_loss = rng.uniform(0, 9, 60), rng.uniform(0, 5, 60), rng.integers(0, 3, 60) / 10
    index = np.searchsorted(np.linspace(log_c.min(), log_c.max() + 1e-9, 13), log_c, side="right") - 1
    samples, slopes = np.random.default_rng(1), []
    for _ in range(20):
        drawn = samples.integers(0, 60, 60)
        ordered = drawn[np.argsort(log_loss[drawn], kind="stable")]
        best = ordered[np.unique(index[ordered], return_index=True)[1]]
        slopes.append(np.polyfit(log_c[best], log_n[best], 1)[0])
    line = envelope(log_n, log_c, log_loss, np.random.default_rng(1))
    np.testing.assert_array_equal(line.a, slopes)


def test_side_by_side(fitted):
    runs = isoflops(SYMMETRIC, scatter=0.001)
    result = approaches(fitted(runs, SYMMETRIC), 1e23)
    table = bayescale.read(result).frame
    assert list(table.approach) == ["1 envelope", "2 isoFLOP parabola", "3 law, posterior"]
    assert (table.a_q05 < table.a_q95).all() and ((table.a_q50 - 0.5).abs() < 0.05).all()
    np.testing.assert_allclose(6 * table.params_q50 * table.tokens_q50, 1e23, rtol=0.02)
    assert result.attrs["agree"] == 1 and result.attrs["statement"].startswith(
        "The 90 % bands of approaches 1 (envelope), 2 (isoFLOP parabola) and 3 (law, posterior) overlap"
    )
    assert bayescale.read(result).to_dict()["agree"] is True


def test_disagreement_is_said(fitted):
    runs = isoflops(SYMMETRIC, scatter=0.001)
    result = approaches(fitted(runs, BESIROGLU | {"alpha": 0.5, "beta": 0.3}), 1e23)
    assert result.attrs["agree"] == 0 and "do not all overlap" in result.attrs["statement"]


def test_runs_that_are_no_isoflops(crossed_runs, true_fit):
    result = approaches(true_fit(draws=200, runs=crossed_runs()), 1e22)
    table = bayescale.read(result).frame.set_index("approach")
    assert "of 4 or more sizes" in table.loc["2 isoFLOP parabola", "why_not"]
    assert np.isnan(table.loc["2 isoFLOP parabola", "a_q50"])
    assert any("approach 2" in text for text in bayescale.read(result).to_dict()["warnings"])


def test_budgets_are_runs_of_nearly_the_same_compute():
    log_c = np.log([1e20, 1.03e20, 0.98e20, 1e21, 1.02e21, 5e22])
    assert [sorted(group) for group in budgets_in(log_c)] == [[0, 1, 2], [3, 4], [5]]
    assert budgets_in(np.log(np.geomspace(1e20, 1e22, 200))) == [], "a continuum is no set of budgets"


def test_one_budget_is_asked_for(true_fit):
    with pytest.raises(FitError, match="one budget"):
        approaches(true_fit(draws=200), [1e22, 1e23])
