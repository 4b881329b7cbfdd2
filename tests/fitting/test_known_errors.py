"""Known standard errors of single runs: read, used, kept in a fit, and worth what theory says."""

import numpy as np
import pytest
from conftest import LINE, with_and_without

import bayescale as bs
from bayescale.errors import RunsError
from bayescale.study import Study

RUNS = 60


def table_of(seed, precise=0.002, coarse=0.04, runs=RUNS):
    """Runs of Chinchilla's law, of two precisions, as a table with the standard errors of their losses."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.5, 9.5, runs), 10 ** rng.uniform(9.5, 11.5, runs)
    exact = 1.7 + 480 / N**0.35 + 2000 / D**0.36
    relative = np.where(np.arange(runs) % 3, coarse, precise)
    loss = exact * np.exp(rng.standard_normal(runs) * np.hypot(relative, 0.001))
    return {"params": N, "tokens": D, "loss": loss, "se": loss * relative}


def fits_of(table):
    return table, *with_and_without(table, {"loss_se": "se"})


@pytest.fixture(scope="module")
def fits():
    return fits_of(table_of(1))


def test_they_are_said_and_kept(fits, tmp_path):
    table, fit, _ = fits
    path = tmp_path / "fit.nc"
    bs.save_fit(fit, path)
    study = Study.opened(bs.open_fit(path))
    assert study.known == ("known_error",) and '"loss_se": "se"' in study.attrs["read"]
    np.testing.assert_allclose(study.covariates()["known_variance"], (table["se"] / table["loss"]) ** 2)
    assert "known_variance" not in study.covariates(study.runs)  # nothing is known of the errors of new runs


@pytest.mark.slow
def test_bands_are_narrower_by_what_theory_says():
    """Fisher's information of E, with the scatter that each of the fits assumes.

    Of 400 runs, for which priors say little; four tables, for the luck of one.
    """
    apart = []
    for table, known, unknown in (fits_of(table_of(seed, runs=400)) for seed in range(4)):
        relative = table["se"] / table["loss"]
        even = np.full(len(relative), np.sqrt(np.mean(relative**2)))
        expected = _sd_of_the_floor(table, np.hypot(relative, 0.001)) / _sd_of_the_floor(table, even)
        seen = float(known["posterior"]["E"].std() / unknown["posterior"]["E"].std())
        assert expected < 0.4 and seen < 0.6
        apart.append(np.log(seen / expected))
        assert float(known["posterior"]["sigma"].median()) < 0.006 < float(unknown["posterior"]["sigma"].median())
    assert abs(np.mean(apart)) < np.log(1.4)


def _sd_of_the_floor(table, scale):
    N, D = table["params"], table["tokens"]
    E, A, B, alpha, beta = 1.7, 480, 2000, 0.35, 0.36
    n, d = A / N**alpha, B / D**beta
    slopes = np.stack([np.ones(len(n)), n / A, d / B, -n * np.log(N), -d * np.log(D)]) / (E + n + d)
    return np.sqrt(np.linalg.inv((slopes / scale**2) @ slopes.T)[0, 0])


def test_forecasts_hold_what_is_learnt_not_the_errors(fits):
    _, known, unknown = fits
    widths = []
    for fit in (known, unknown):
        shown = bs.forecast(fit, 1e9, 1e11)["predictions"]["loss"].values
        widths.append(np.ptp(np.quantile(np.log(shown), [0.05, 0.95])))
    assert widths[0] < 0.5 * widths[1]


def test_units_and_refusals():
    table = table_of(2)
    in_bits = table | {name: table[name] / np.log(2) for name in ("loss", "se")}
    options = {"columns": {"loss_se": "se"}}
    runs = bs.read_runs(in_bits, units={"loss": "bits"}, **options)
    np.testing.assert_allclose(runs["loss_se"], table["se"])
    with pytest.raises(RunsError, match="not with a perplexity"):
        bs.read_runs(table | {"loss": np.exp(table["loss"])}, units={"loss": "perplexity"}, **options)
    with pytest.raises(RunsError, match="se = 0"):
        bs.read_runs(table | {"se": np.zeros(RUNS)}, **options)


def test_of_another_quantity_than_a_loss():
    """Runs with their errors, of which the large one hardly counts."""
    from bayescale.laws.law_file import parse_law

    x = np.linspace(0, 1, 12)
    y, dy = 1 + x, np.full(12, 0.001)
    y[3], dy[3] = 9.0, 20.0
    fit = bs.fit(
        {"x": x, "y": y, "dy": dy}, parse_law(LINE, "line"), noise="normal", columns={"y_se": "dy"}, quick=True
    )
    assert float(abs(fit["posterior"]["c"].median() - 1)) < 0.02
