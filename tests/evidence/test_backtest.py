import os
import signal
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayescale
from bayescale.display.plots_trust import plot_calibration
from bayescale.errors import FileError, FitError
from bayescale.evidence import backtest as module
from bayescale.evidence.backtest import backtest, backtest_failures, scores
from bayescale.field import number_text

# ---- scores, against closed forms -----------------------------------------------------------------------------------


def test_crps_of_a_normal_forecast(rng):
    observed = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    draws = rng.standard_normal((40_000, 5))
    expected = observed * (2 * stats.norm.cdf(observed) - 1) + 2 * stats.norm.pdf(observed) - 1 / np.sqrt(np.pi)
    # the mean distance to the observation has the larger error; that of the draws from each other is correlated with it
    error = np.abs(draws - observed).std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(scores(draws, observed)["crps"] - expected) < 5 * error).all()


def test_crps_by_its_definition(rng):
    draws, observed = rng.gamma(2, size=(50, 3)), np.array([0.1, 2.0, 9.0])
    apart = np.abs(draws[:, None] - draws[None, :]).mean(axis=(0, 1))
    expected = np.abs(draws - observed).mean(axis=0) - apart / 2
    np.testing.assert_allclose(scores(draws, observed)["crps"], expected, rtol=1e-12)


def test_crps_of_a_point_is_its_error():
    assert scores(np.full((10, 1), 2.0), np.array([2.5]))["crps"] == pytest.approx(0.5)


def test_quantiles_and_pit():
    draws = np.arange(101.0)[:, None] + np.zeros(2)
    scored = scores(draws[::-1], np.array([30.0, 1000.0]))
    assert set(scored) == {"observed", "q05", "q10", "q25", "q50", "q75", "q90", "q95", "pit", "crps"}
    levels = {"q05": 5, "q10": 10, "q25": 25, "q50": 50, "q75": 75, "q90": 90, "q95": 95}
    assert {name: scored[name][0] for name in levels} == pytest.approx(levels)
    np.testing.assert_allclose(scored["pit"], [31 / 101, 1.0])


# ---- cuts -----------------------------------------------------------------------------------------------------------


def test_cuts_leave_enough_to_learn_from(crossed_runs):
    runs = crossed_runs(8, 6)
    compute = runs["compute"].values
    cuts = module._cuts(runs, "compute", 1.5)
    assert cuts == sorted(set(cuts), reverse=True) and len(cuts) >= 3
    for edge in cuts:
        below = compute <= edge
        assert edge in compute and below.sum() >= 12 and len(np.unique(runs["params"][below])) >= 4
        assert not below.all()


@pytest.mark.parametrize("horizon", [0, -1, np.nan, np.inf])
def test_horizon_of_no_use(crossed_runs, horizon):
    with pytest.raises(FitError, match=r"horizon = .*: a number of decades above 0 is expected"):
        backtest(crossed_runs(), "chinchilla", horizon=horizon)


def test_too_few_runs(crossed_runs):
    with pytest.raises(
        FitError, match="runs: no cut leaves 12 runs of 4 sizes and enough compute to learn from; there"
    ):
        backtest(crossed_runs(3, 3), "chinchilla")


# ---- the whole, with a fit by hand in place of the sampler ----------------------------------------------------------


@pytest.fixture
def quick(true_fit, monkeypatch):
    """Backtests whose fits are put together by hand; how many were made is counted."""
    made = []

    def fit(runs, law, seed):
        made.append(runs.sizes["run"])
        return true_fit(draws=400, runs=runs, seed=seed)

    monkeypatch.setattr(module, "fit", fit)
    return made


@pytest.fixture
def runs(crossed_runs):
    return crossed_runs(8, 6)


def test_the_result(runs, quick):
    seen = []
    result = backtest(runs, "chinchilla", horizon=1.0, progress=lambda done, total: seen.append((done, total)))
    cuts = result.sizes["cut"]
    assert dict(result.sizes) == {"law": 1, "cut": cuts, "run": 48} and list(result["law"].values) == ["chinchilla"]
    assert seen == [(i + 1, cuts) for i in range(cuts)]
    assert list(result["learnt_from"].values) == quick
    beyond = np.log10(runs["compute"].values / result["edge"].values[:, None])
    expected = np.where((beyond > 0) & (beyond <= 1.0), beyond, np.nan)
    np.testing.assert_allclose(result["decades_beyond"][0], expected)
    told = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(result["crps"][0]), told)
    observed = np.broadcast_to(np.log(runs["loss"].values), told.shape)
    np.testing.assert_allclose(result["observed"].values[0][told], observed[told], rtol=1e-12)
    learnt = runs["compute"].values <= result["edge"].values[:, None]
    assert not (told & learnt).any(), "no run is both learnt from and forecast"
    # the runs follow the law; how many a band holds is chance, for the runs of a cut are off together
    half = (result["q95"] - result["q05"]).values[0][told] / 2
    assert (np.abs(result["observed"] - result["q50"]).values[0][told] < 3.5 * half).all()


def test_goes_on_where_it_was_killed(runs, quick, tmp_path, monkeypatch):
    whole = backtest(runs, "chinchilla", horizon=0.5)
    assert whole.sizes["cut"] >= 2
    quick.clear()
    forecast, calls = module.forecast, []

    def killed_at_the_second(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forecast(*args, **options)

    folder = tmp_path / "kept"
    monkeypatch.setattr(module, "forecast", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        backtest(runs, "chinchilla", horizon=0.5, folder=folder)
    assert len(os.listdir(folder)) == 1
    quick.clear()
    monkeypatch.setattr(module, "forecast", forecast)
    resumed = backtest(runs, "chinchilla", horizon=0.5, folder=folder)
    assert quick == list(whole["learnt_from"].values[1:]), "the first cut is not computed again"
    xr.testing.assert_identical(resumed, whole)  # and the same seed gives the same result
    quick.clear()
    xr.testing.assert_identical(backtest(runs, "chinchilla", horizon=0.5, folder=folder), whole)
    assert quick == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1500], lambda b: b.replace(b"7", b"8", 1), lambda b: b"\xff" * 99]
)
def test_what_was_kept_and_is_damaged_is_computed_again(runs, quick, tmp_path, damage):
    whole = backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path)
    quick.clear()
    kept = sorted(tmp_path.iterdir())[0]
    kept.write_bytes(damage(kept.read_bytes()))
    xr.testing.assert_identical(backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path), whole)
    assert len(quick) == 1


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_fitted(runs, quick, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileError, match="taken: cannot be made: File exists; a folder is expected"):
        backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path / "taken")
    assert quick == []


@pytest.mark.slow
def test_what_was_kept_of_other_runs_is_not_used(runs, crossed_runs, quick, tmp_path):
    backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path)
    before = len(quick)
    backtest(crossed_runs(8, 6, seed=5), "chinchilla", horizon=0.5, folder=tmp_path)
    backtest(runs, "chinchilla", horizon=0.5, seed=9, folder=tmp_path)
    assert len(quick) == 3 * before


def test_a_cut_that_fails_is_reported_and_tried_again(runs, quick, tmp_path, monkeypatch):
    whole = backtest(runs, "chinchilla", horizon=0.5)
    assert whole.sizes["cut"] >= 2 and not whole["failed"].values.any()
    fit, bad = module.fit, int(whole["learnt_from"][1])

    def failing(runs, law, seed):
        if runs.sizes["run"] == bad:
            raise FitError("no chain found a place to start")
        return fit(runs, law, seed=seed)

    monkeypatch.setattr(module, "fit", failing)
    result = backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path)
    where = f"the {bad} runs up to {number_text(float(whole['edge'][1]))} FLOP"
    why = f"backtest, learning from {where}: no chain found a place to start"
    assert list(result["failed"].values[0]) == ["", why, *[""] * (whole.sizes["cut"] - 2)]
    assert backtest_failures(result, "chinchilla") == [why]
    xr.testing.assert_identical(result.drop_isel(cut=1).drop_vars("failed"), whole.drop_isel(cut=1).drop_vars("failed"))
    assert np.isnan(result["q50"].isel(cut=1)).all()
    assert (bayescale.read(result).frame["cuts"] < whole.sizes["cut"]).all()
    said = f"With the law 'chinchilla', nothing could be learnt at 1 of {whole.sizes['cut']} cuts: {why}"
    assert " ".join(bayescale.read(result).says).endswith(said)
    quick.clear()
    monkeypatch.setattr(module, "fit", fit)
    xr.testing.assert_identical(backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path), whole)
    assert quick == [bad], "only the cut that failed is computed"


def test_all_cuts_fail(runs, monkeypatch):
    def failing(runs, law, seed):
        raise FitError("no chain found a place to start")

    monkeypatch.setattr(module, "fit", failing)
    with pytest.raises(FitError, match=r"backtest, learning from the \d+ runs up to .* FLOP: no chain found a place"):
        backtest(runs, "chinchilla", horizon=1.0)


def test_a_law_of_which_all_cuts_fail(runs, quick, monkeypatch):
    fit = module.fit

    def failing(runs, law, seed):
        if law.name == "kaplan":
            raise FitError("no chain found a place to start")
        return fit(runs, law, seed=seed)

    monkeypatch.setattr(module, "fit", failing)
    result = backtest(runs, ["kaplan", "chinchilla"], horizon=0.5)
    assert set(bayescale.read(result).frame["law"]) == {"chinchilla"}
    cuts = result.sizes["cut"]
    assert " ".join(bayescale.read(result).says).startswith(
        f"With the law 'kaplan', nothing could be learnt at {cuts} of {cuts} cuts"
    )


def test_an_executor_is_asked_for_the_missing_cuts_only(runs, quick, tmp_path):
    with ThreadPoolExecutor(1) as thread:
        whole = backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path, executor=thread)
        xr.testing.assert_identical(whole, backtest(runs, "chinchilla", horizon=0.5))
        removed = sorted(tmp_path.iterdir())[0]
        removed.unlink()
        quick.clear()
        xr.testing.assert_identical(backtest(runs, "chinchilla", horizon=0.5, folder=tmp_path, executor=thread), whole)
    assert len(quick) == 1 and removed.exists()


# ---- table, statement, figure ---------------------------------------------------------------------------------------


@pytest.fixture
def by_hand():
    """Two cuts and four forecasts, two at each of two distances."""
    nan = np.nan
    far = np.array([[[nan, 0.3, 0.8], [0.2, 0.7, nan]]])
    observed = np.where(np.isfinite(far), 1.0, nan)
    error = np.array([[[nan, 0.01, 0.04], [-0.01, 0.02, nan]]])
    columns = {"decades_beyond": far, "observed": observed, "crps": np.abs(error) / 2, "pit": observed / 2}
    widths = {"q05": -0.03, "q10": -0.02, "q25": -0.015, "q50": 0.0, "q75": 0.015, "q90": 0.02, "q95": 0.03}
    columns |= {name: observed + error + width for name, width in widths.items()}
    dataset = xr.Dataset({name: (("law", "cut", "run"), values) for name, values in columns.items()})
    dataset = dataset.assign_coords(law=["mine"], edge=("cut", [1e20, 1e19]))
    dataset["failed"] = (("law", "cut"), [["", ""]])
    dataset["learnt_from"] = ("cut", [20, 14])
    return dataset.assign_attrs(kind="backtest", source="runs", seed=0, horizon=1.0)


def test_table_by_hand(by_hand):
    near, far = bayescale.read(by_hand).frame.to_dict("records")
    assert (near["from_decades"], near["to_decades"], near["forecasts"], near["cuts"]) == (0.0, 0.5, 2, 2)
    assert (far["from_decades"], far["to_decades"], far["forecasts"], far["cuts"]) == (0.5, 1.0, 2, 2)
    assert (near["cover50"], near["cover80"], near["cover90"]) == (1.0, 1.0, 1.0)
    assert (far["cover50"], far["cover80"], far["cover90"]) == (0.0, 0.5, 0.5)
    assert near["bias"] == pytest.approx(0) and near["abs_error"] == pytest.approx(0.01)
    assert far["bias"] == pytest.approx(0.03) and far["abs_error"] == pytest.approx(0.03)
    assert near["width90"] == far["width90"] == pytest.approx(0.06)
    # one of two runs lies 0.01 outside a 90 % band: it costs 2/0.1 times that
    assert near["interval_score90"] == pytest.approx(0.06)
    assert far["interval_score90"] == pytest.approx(0.06 + 20 * 0.01 / 2)
    assert near["crps"] == pytest.approx(0.005) and far["crps"] == pytest.approx(0.015)


def test_statement(by_hand):
    assert " ".join(bayescale.read(by_hand).says) == (
        "With the law 'mine', forecasts 0.5 to 1 decades of compute beyond the runs they were learnt from missed the "
        "measured loss by 3.0 % on average (+3.0 % bias), and the 90 % band held 1 of 2. They come from 2 cuts that "
        "share runs: that is few independent looks, and says nothing of farther extrapolations."
    )


def test_figure(by_hand):
    figure = plot_calibration(by_hand)
    left, right = figure.axes
    assert left.get_title("left") == "'mine' on runs: each held-out run"
    shown = [text.get_text().rpartition(":")[0] for text in right.get_legend().get_texts()]
    assert shown == ["0 to 0.5 decades", "0.5 to 1 decades"]
    plt.close(figure)


# ---- slow: with the sampler -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_backtest_of_the_embedded_runs(pile):
    result = backtest(pile, ["chinchilla", "coupled"], horizon=0.75)
    assert list(result["law"].values) == ["chinchilla", "coupled"]
    table = bayescale.read(result).frame
    assert (table.abs_error < 0.1).all() and (table.cover90 >= 0.5).all()


@pytest.mark.slow
def test_identical_in_process_by_processes_and_by_a_cluster_that_loses_a_worker(pile, tmp_path):
    distributed = pytest.importorskip("distributed")
    here = backtest(pile, ["chinchilla", "coupled"], horizon=0.75)
    xr.testing.assert_identical(backtest(pile, ["chinchilla", "coupled"], horizon=0.75, executor=2), here)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            seen = []

            def progress(done, total):
                seen.append(done)
                if done == 1:
                    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

            options = {"horizon": 0.75, "folder": tmp_path, "progress": progress}
            there = backtest(pile, ["chinchilla", "coupled"], **options, executor=client)
    xr.testing.assert_identical(there, here)
    assert seen == list(range(1, 1 + here["failed"].size)), "every cut once"
    assert len(list(tmp_path.iterdir())) == here["failed"].size


# ---- along a law's own size -----------------------------------------------------------------------------------------


def by_truth(monkeypatch, make_fit, parameters):
    """Fits by hand around the truth, in the place of sampled ones."""
    rng = np.random.default_rng(3)
    draws = {name: value * np.exp(0.01 * rng.standard_normal(400)) for name, value in parameters.items()}
    monkeypatch.setattr(module, "fit", lambda runs, law, seed: make_fit(law, draws, runs))


def test_along_the_laws_own_size(make_fit, monkeypatch, rng):
    tokens = np.geomspace(1e8, 1e11, 30)
    runs = {"tokens": tokens, "params": np.full(30, 1e9), "loss": 2 + (1e9 / tokens) ** 0.3}
    by_truth(monkeypatch, make_fit, {"level": 1.3, "slope": 0.1, "floor": 0.6})
    result = backtest(runs, "floor_tokens", horizon=1.0)
    assert result.attrs["size"] == "tokens"
    np.testing.assert_allclose(
        result["decades_beyond"].isel(law=0, cut=0).dropna("run").values,
        np.log10(tokens[tokens > float(result["edge"][0])] / float(result["edge"][0])),
    )
    assert "decades of tokens" in bayescale.read(result).notes[-1]


def test_of_a_coverage_and_of_an_accuracy(make_fit, monkeypatch, rng):
    samples = np.geomspace(1, 1e4, 150)
    share = np.exp(-1.5 * samples**-0.3)
    runs = {"samples": samples, "coverage": rng.binomial(500, share) / 500, "items": np.full(150, 500.0)}
    by_truth(monkeypatch, make_fit, {"rate": 1.5 * 100**-0.3, "decay": 0.3, "overdispersion": 1e-3})
    result = backtest(runs, "coverage")
    far = result.isel(law=0, cut=0).dropna("run", subset=["crps"])
    assert result.attrs["observed"] == "coverage" and far.sizes["run"] >= 8
    inside = (far["q05"] <= far["observed"]) & (far["observed"] <= far["q95"])
    assert float(inside.mean()) > 0.5 and np.isfinite(far["elpd"]).all() and (far["elpd"] <= 0).all()
    assert "coverage: 1 % is a point" in bayescale.read(result).notes[-1]

    loss = np.linspace(3.5, 2.5, 30)
    share = 0.25 + 0.6 / (1 + np.exp(4 * (loss - 2.8)))
    runs = {"loss": loss, "accuracy": rng.binomial(500, share) / 500, "items": np.full(30, 500.0)}
    truth = {"low": 0.25, "reach": 0.8, "shift": -0.03, "steepness": 4.0, "overdispersion": 1e-3}
    by_truth(monkeypatch, make_fit, truth)
    result = backtest(runs, "accuracy_sigmoid", horizon=1.0)
    edge = float(result["edge"][0])
    assert (loss[np.isfinite(result["q50"].values[0, 0])] < edge).all(), "better models are forecast from worse ones"
    assert "tenths of a decade of loss" in bayescale.read(result).says[0]


def test_laws_of_different_sizes_or_observables(crossed_runs):
    runs = crossed_runs()
    with pytest.raises(FitError, match="explain different things"):
        backtest(
            runs.assign(accuracy=0.3 + 0 * runs["loss"], items=0 * runs["loss"] + 100),
            ["coupled", "exact_match"],
            columns={"answer_tokens": "params"},
        )
