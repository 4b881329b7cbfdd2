"""Chains: a forecast as an input of another law, draw by draw."""

import numpy as np
import pytest
from scipy.stats import norm

import bayescale
from bayescale.cli.main import main
from bayescale.errors import FitError
from bayescale.fitting.store import save_fit
from bayescale.forecasts.forecast import forecast

pytestmark = pytest.mark.usefixtures("drift_once")
LINEAR = """
title = "A line"
cite = "none"
formula = "a + b*(L - 3)"
{observed}
[priors]
a = {{ dist = "Normal", mu = 1.0, sigma = 1.0, about = "value at a loss of 3" }}
b = {{ dist = "Normal", mu = 0.0, sigma = 1.0, about = "slope" }}
"""
OBSERVED = '[observed]\ncolumn = "score"\nscale = "linear"\n'


@pytest.fixture(scope="module")
def line(make_fit, tmp_path_factory):
    """A fit of score = a + b (L - 3) with known draws and scatter."""

    def make(a=0.01, b=0.02, sigma=0.001):
        path = tmp_path_factory.mktemp("law") / "line.toml"
        path.write_text(LINEAR.format(observed=OBSERVED))
        rng = np.random.default_rng(7)
        loss = np.linspace(2.0, 4.0, 20)
        draws = {"a": 1 + a * rng.standard_normal(4000), "b": -0.5 + b * rng.standard_normal(4000)}
        scatter = {"sigma": sigma, "nu_minus_2": 1e6}
        return make_fit(path, draws, {"loss": loss, "score": 1 - 0.5 * (loss - 3)}, scatter=scatter)

    return make


@pytest.fixture(scope="module")
def upstream(true_fit):
    return true_fit(draws=2000)


def test_a_linear_link_is_its_closed_form(line, upstream):
    """score = a + b (L - 3) + noise: with a, b certain, the draws of the score are those of the loss, mapped."""
    tree = forecast(upstream, [1e10, 7e10], 1.4e12)
    loss = tree["predictions"]["loss"].values.reshape(-1, 2)
    certain = line(a=0.0, b=0.0, sigma=1e-9)
    shown = forecast(certain, covariates={"loss": tree})["predictions"]["law_score"].values.reshape(-1, 2)
    np.testing.assert_allclose(np.sort(shown[:2000], axis=0), np.sort(1 - 0.5 * (loss - 3), axis=0), rtol=1e-12)
    rank = [np.argsort(np.argsort(values[:, 0])) for values in (shown[:2000], loss)]
    assert len(np.unique(rank[0])) == len(rank[1])  # each draw of the loss comes once


def test_widths_add_as_those_of_independent_normals(line, upstream):
    tree = forecast(upstream, 1e10, 2e11)
    loss = tree["predictions"]["loss"].values.ravel()
    chain = forecast(line(a=0.02), covariates={"loss": tree})
    shown = chain["predictions"]["score"].values.ravel()
    spread = np.ptp(np.quantile(loss, [0.05, 0.95]))
    middle, band = np.median(loss), 2 * norm.ppf(0.95)
    variance = 0.02**2 + (0.02 * (middle - 3)) ** 2 + (0.5 * spread / band) ** 2
    assert np.ptp(np.quantile(shown, [0.05, 0.95])) == pytest.approx(band * np.sqrt(variance), rel=0.05)
    points = chain["predictions_constant_data"]
    shares = {name: float(points[f"share_{name}"][0]) for name in ("params", "noise", "drift", "from_loss")}
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9)
    assert shares["from_loss"] == pytest.approx((0.5 * spread / band) ** 2 / variance, abs=0.05)
    parts = [float(points[f"share_from_loss.{name}"][0]) for name in ("params", "drift", "noise")]
    assert sum(parts) == pytest.approx(shares["from_loss"], rel=1e-6)
    assert "from loss" in str(bayescale.show(chain))


def test_a_chain_of_a_law_of_a_loss_draws_at_the_inputs_own_values(make_fit, upstream, tmp_path):
    """The curve of a draw is read at that draw's input: with a wide input the band is that of the law over it."""
    path = tmp_path / "task.toml"
    formula = 'formula = "L_ref*level*(pretrain/pretrain_ref)**k"\n'
    priors = '[priors]\nlevel = { dist = "LogNormal", mu = 0.1, sigma = 0.3, about = "level" }\n'
    priors += 'k = { dist = "LogNormal", mu = 0.0, sigma = 0.5, about = "exponent" }\n'
    path.write_text(f'title = "Task loss"\ncite = "none"\n{formula}size = "pretrain"\n{priors}')
    pretrain = np.geomspace(2.0, 4.0, 20)
    rng = np.random.default_rng(1)
    draws = {"level": 1.3 + 1e-3 * rng.standard_normal(400), "k": 1 + 1e-3 * rng.standard_normal(400)}
    fit = make_fit(path, draws, {"pretrain": pretrain, "loss": pretrain / 3}, scatter={"sigma": 1e-3})
    tree = forecast(upstream, 1e9, 2e10)
    loss = np.log(tree["predictions"]["loss"].values.ravel())
    chain = forecast(fit, covariates={"pretrain": tree})
    shown = np.log(chain["predictions"]["loss"].values.ravel())
    point = forecast(fit, covariates={"pretrain": float(np.exp(np.median(loss)))})
    alone = np.log(point["predictions"]["loss"].values.ravel())
    width = {name: np.ptp(np.quantile(x, [0.05, 0.95])) for name, x in (("in", loss), ("all", shown), ("own", alone))}
    assert width["all"] == pytest.approx(np.hypot(width["in"], width["own"]), rel=0.15)
    assert np.median(shown) == pytest.approx(np.median(alone), abs=0.1 * width["all"])
    with pytest.raises(FitError, match="takes one forecast"):
        forecast(_two_inputs(make_fit, tmp_path), covariates={"one": tree, "two": tree})


def _two_inputs(make_fit, tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(
        'title = "Two"\ncite = "none"\nformula = "L_ref*level*(one/one_ref)**k*(two/two_ref)**k"\nsize = "one"\n'
        '[priors]\nlevel = { dist = "LogNormal", mu = 0.1, sigma = 0.3, about = "level" }\n'
        'k = { dist = "LogNormal", mu = 0.0, sigma = 0.5, about = "exponent" }\n'
    )
    x = np.geomspace(1, 2, 12)
    return make_fit(path, {"level": np.full(8, 1.1), "k": np.full(8, 0.1)}, {"one": x, "two": x[::-1], "loss": x})


def test_what_cannot_be_chained(line, upstream):
    chain = forecast(line(), covariates={"loss": forecast(upstream, 1e10, 2e11)})
    with pytest.raises(FitError, match="'loss' is given a forecast of score"):
        forecast(line(), covariates={"loss": chain})
    with pytest.raises(FitError, match="'params' is not an input"):
        forecast(line(), 1e9, covariates={"loss": 3.0})


def test_on_the_command_line(line, upstream, tmp_path, monkeypatch, capsys):
    score, loss = save_fit(line(), tmp_path / "score.nc"), save_fit(upstream, tmp_path / "loss.nc")

    def run(*args):
        monkeypatch.setattr("sys.argv", ["bayescale", "forecast", str(score), *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, *capsys.readouterr()

    status, out, err = run("--from", f"loss={loss}", "-N", "10B", "-D", "200B", "--target", ">=1.2")
    assert status == 0, err
    assert "from loss" in out and "P(score >= 1.2)" in out
    for args, words in (
        (("--from", f"loss={loss}", "-N", "10B", "-D", "200B", "--at", "depth=3"), "'depth' is not an input of any"),
        (("--from", f"los={loss}", "--at", "loss=3"), "'los' is not an input of any"),
        (("--from", f"loss={score}"), "the fits go round in a circle: loss from loss"),
        (("--from", loss), "NAME=FIT.nc is expected"),
    ):
        status, out, err = run(*args)
        assert status == 1 and words in err
