"""A sharp metric beside the smooth one: closed forms of where it jumps, and what is said of it."""

import numpy as np
import pytest

import bayescale
from bayescale.budgets.emergence import emergence
from bayescale.budgets.target import least_compute
from bayescale.cli.main import main
from bayescale.errors import FitError
from bayescale.fitting.store import save_fit
from bayescale.forecasts.forecast import forecast

pytestmark = pytest.mark.usefixtures("drift_once")
RUNS = {"params": [7e10, 1e8, 1e9], "tokens": [1.4e12, 2e9, 2e10]}
FLOOR = 1.2


@pytest.fixture(scope="module")
def smooth(true_fit):
    return true_fit(draws=2000)


@pytest.fixture(scope="module")
def sharp(make_fit):
    """A fit of exact match = exp(-answer_tokens (L - FLOOR)), its parameters known."""

    def make(losses=(1.5, 4.0)):
        loss, tokens = np.linspace(*losses, 24), np.tile([1.0, 4.0], 12)
        shown = np.round(np.exp(-tokens * (loss - FLOOR)), 3)
        runs = {"loss": loss, "answer_tokens": tokens, "accuracy": shown, "items": np.full(24, 1000.0)}
        middle = np.exp(np.log(loss).mean())
        draws = {"guess": np.full(2000, 1e-12), "c": np.ones(2000), "floor": np.full(2000, FLOOR / middle)}
        return make_fit("exact_match", draws, runs)

    return make


@pytest.mark.parametrize("answer_tokens", [1.0, 4.0])
def test_where_the_rise_lies_is_its_closed_form(sharp, smooth, answer_tokens):
    """A share s of exact match is reached at L = FLOOR - log(s) / tokens; half of it is behind runs of less loss."""
    found = emergence(sharp(), **RUNS, through={"loss": smooth}, covariates={"answer_tokens": answer_tokens})
    for share in (0.1, 0.5, 0.9):
        at = found["rise_at"].sel(share=share)
        np.testing.assert_allclose(at, FLOOR - np.log(share) / answer_tokens, rtol=1e-6)
    np.testing.assert_allclose(found["lowest"], 0, atol=1e-9)
    np.testing.assert_allclose(found["highest"], 1, atol=1e-9)
    half = FLOOR + np.log(2) / answer_tokens
    loss = forecast(smooth, **RUNS)["predictions"]["loss"]
    behind = np.sort((loss <= half).mean(("chain", "draw")).values)
    np.testing.assert_allclose(found["p_behind"], behind, atol=1e-12)
    assert list(found["params"].values) == [1e8, 1e9, 7e10], "from the worse to the better"
    np.testing.assert_allclose(found["p_between"].sum(), behind[-1], rtol=1e-12)


def test_how_much_is_the_metric(sharp, smooth):
    """From 10 to 90 % of exact match of k tokens the probability of one goes from f .1**(1/k) to f .9**(1/k)."""
    found = emergence(sharp(), **RUNS, through={"loss": smooth}, covariates={"answer_tokens": 4.0})
    first, last = (np.exp(-FLOOR) * share**0.25 for share in (0.1, 0.9))
    says = " ".join(bayescale.read(found).says)
    assert f"goes from {first:.2g} to {last:.2g}: accuracy is {0.8 / (last - first):.2g} times as sharp" in says
    reading = bayescale.read(found, level=0.95)
    assert {"accuracy_q025", "accuracy_q975", "loss_q025", "p_behind", "p_between"} <= set(reading.frame)
    assert reading.to_dict()["points"][0]["loss"]["q50"] > reading.to_dict()["points"][2]["loss"]["q50"]
    assert not any("law and its noise only" in text for text in reading.warnings)  # by a loss its error is known
    assert not any("of that way only" in text for text in reading.warnings)


def test_a_rise_that_has_hardly_begun_is_said(sharp, smooth):
    found = emergence(sharp((2.5, 4.0)), **RUNS, through={"loss": smooth}, covariates={"answer_tokens": 1.0})
    assert any("27 % of that way only" in text for text in bayescale.read(found).warnings)


def test_an_error_falls_and_stays_a_share(smooth, make_fit):
    """top - k exp(-gamma L) falls below 0; its way is from top to 0, half of it at exp(gamma L) = 2 k/top"""
    loss = np.linspace(2.3, 4.0, 20)
    shown = np.round(0.9 * (1 - 0.5 * np.exp(-0.75 * (loss - 3.0))), 3)
    drop = 0.5 * np.exp(-0.75 * (np.exp(np.log(loss).mean()) - 3.0))
    draws = {"top": np.full(2000, 0.9), "drop": np.full(2000, drop), "gamma": np.full(2000, 0.75)}
    error = make_fit("error_of_loss", draws, {"loss": loss, "error": shown, "items": np.full(20, 2000.0)})
    found = emergence(error, **RUNS, through={"loss": smooth})
    np.testing.assert_allclose(found["lowest"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(found["highest"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found["rise_at"].sel(share=0.5), 3.0, rtol=1e-5)
    assert "Half of the fall of error from 0.90 to 0.00" in " ".join(bayescale.read(found).says)


@pytest.fixture
def by_task(make_fit, tmp_path):
    """A fit of accuracy = 1/(1 + exp(2 (task - 3))) by a law of one's own, and one of task = pretrain."""
    (tmp_path / "sharp.toml").write_text(
        'title = "accuracy by task loss"\ncite = "mine"\nsize = "task"\nfalls_with = ["task"]\n'
        'formula = "sigmoid(-steep*(task - mid))"\nobserved = { column = "accuracy", scale = "proportion", '
        'count = "items" }\n[priors]\nsteep = { dist = "LogNormal", mu = 0.0, sigma = 1.0, about = "slope" }\n'
        'mid = { dist = "LogNormal", mu = 1.0, sigma = 1.0, about = "middle" }\n'
    )
    (tmp_path / "smooth.toml").write_text(
        'title = "task loss by loss"\ncite = "mine"\nsize = "pretrain"\nformula = "factor*pretrain"\n[priors]\n'
        'factor = { dist = "LogNormal", mu = 0.0, sigma = 1.0, about = "factor" }\n'
    )
    at, know = np.linspace(1.5, 4.5, 20), np.ones(200)
    shown = np.round(1 / (1 + np.exp(2 * (at - 3))), 3)
    runs = {"task": at, "accuracy": shown, "items": np.full(20, 1000.0)}
    sharp = make_fit(str(tmp_path / "sharp.toml"), {"steep": 2 * know, "mid": 3 * know}, runs)
    return sharp, make_fit(str(tmp_path / "smooth.toml"), {"factor": know}, {"pretrain": at, "loss": at})


def test_a_size_of_which_less_is_better_is_followed_downward(by_task):
    """Accuracy rises from 0 to 1 as the task's loss falls; half of it is at 3, behind 2.9 and not behind 3.1."""
    sharp, task = by_task
    found = emergence(sharp, through={"task": task}, covariates={"pretrain": [2.5, 3.5]})
    np.testing.assert_allclose(found["lowest"], 0, atol=1e-9)
    np.testing.assert_allclose(found["rise_at"].sel(share=0.5), 3, rtol=1e-3)
    assert list(found["pretrain"].values) == [3.5, 2.5] and list(found["p_behind"].values) == [0, 1]
    through = least_compute(sharp, 0.7, through={"task": task})
    assert (
        through.attrs["goal"]
        == ">="
        == bayescale.forecast(sharp, covariates={"task": forecast(task, covariates={"pretrain": 2.5})}).attrs["goal"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"through": {}}, r"takes answer_tokens, loss; exactly one of these is to be given by the fit"),
        ({"through": {"pretrain": None}}, "through"),
    ],
)
def test_what_cannot_be_set_side_by_side(sharp, smooth, options, message):
    options = {"through": {name: smooth for name in options["through"]}}
    with pytest.raises(FitError, match=message):
        emergence(sharp(), **RUNS, covariates={"answer_tokens": 1.0}, **options)


def test_a_loss_is_no_sharp_metric(smooth, make_fit, tmp_path):
    path = tmp_path / "task.toml"
    prior = 'level = { dist = "LogNormal", mu = 0.1, sigma = 0.3, about = "level" }'
    path.write_text(
        f'title = "Task loss"\ncite = "none"\nformula = "L_ref*level*x/x_ref"\nsize = "x"\n[priors]\n{prior}\n'
    )
    x = np.geomspace(2.0, 4.0, 12)
    task = make_fit(path, {"level": np.full(40, 1.3)}, {"x": x, "loss": x / 3})
    with pytest.raises(FitError, match="explains loss; an accuracy or another share"):
        emergence(task, **RUNS, through={"x": smooth})


def test_on_the_command_line_and_as_a_figure(sharp, smooth, tmp_path, monkeypatch, capsys):
    files = save_fit(sharp(), tmp_path / "sharp.nc"), save_fit(smooth, tmp_path / "smooth.nc")
    sizes = ["-N", "100M", "-D", "2B", "-N", "70B", "-D", "1.4T", "--at", "answer_tokens=4"]
    command = ["bayescale", "emergence", str(files[0]), "--from", f"loss={files[1]}", *sizes]
    monkeypatch.setattr("sys.argv", [*command, "--figure", str(tmp_path / "both.png")])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert "P(jump behind)" in shown and "Half of the rise of accuracy from 0.00 to 1.00" in shown
    assert (tmp_path / "both.png").read_bytes()[:4] == b"\x89PNG"
