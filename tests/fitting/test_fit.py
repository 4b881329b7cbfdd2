import json
import re
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescale.engine.pymc import pymc_model
from bayescale.errors import FitError
from bayescale.fitting import diagnostics as diagnostics_module
from bayescale.fitting import fit as fit_module
from bayescale.fitting import sampling
from bayescale.fitting.diagnostics import diagnostics, fit_summary, trust_warnings
from bayescale.fitting.fit import fit, refit
from bayescale.fitting.tree import draws_of
from bayescale.laws import law_file
from bayescale.laws.law import law_derived, law_loss, load_law
from bayescale.laws.law_file import parse_law
from bayescale.laws.noises import NOISES
from bayescale.study import Study, law_of

CHINCHILLA_RUNS = {"N": [1e7, 1e8, 1e9, 1e7, 1e9], "D": [1e9, 1e10, 1e11, 1e11, 1e9], "loss": [4.0, 3.0, 2.3, 3.6, 3.4]}


# ---- what a fit holds -----------------------------------------------------------------------------------------------


def test_groups_dims_and_attributes(sampled, pile):
    assert set(sampled.children) == {"posterior", "sample_stats", "observed_data", "constant_data", "log_likelihood"}
    law = load_law("chinchilla")
    expected = {*law.priors, *law.derived, *NOISES["student_t"].priors}
    assert set(sampled["posterior"].data_vars) == expected
    assert all(variable.dims == ("chain", "draw") for variable in sampled["posterior"].data_vars.values())
    made = json.loads(sampled.attrs["diagnostics"])["draws_made"]  # 1000, or more where chains had to go on
    assert dict(sampled["posterior"].sizes) == {"chain": 4, "draw": made} and made % 1000 == 0
    assert sampled["log_likelihood"]["log_loss"].dims == ("chain", "draw", "run")
    np.testing.assert_array_equal(sampled["observed_data"]["log_loss"], np.log(pile["loss"]))
    np.testing.assert_array_equal(sampled["constant_data"]["params"], pile["params"])
    assert list(sampled["constant_data"]["family"].values) == list(pile["family"].values)
    assert law_of(sampled) == law and sampled.attrs["source"] == "pile"
    assert json.loads(sampled.attrs["versions"])["bayescale"]
    assert json.loads(sampled.attrs["settings"])["draws"] == 1000


def test_pointwise_log_likelihood_is_scipys(sampled, pile):
    values = draws_of(sampled) | {"N": pile["params"], "D": pile["tokens"]}
    mean = np.log(law_loss(load_law("chinchilla"), values)).transpose("chain", "draw", "run")
    log_compute = np.log(pile["compute"] / float(sampled["constant_data"]["C_ref"]))
    scale = (1e-4 + values["sigma"] * np.exp(values["tilt"] * log_compute)).transpose("chain", "draw", "run")
    nu = (2 + values["nu_minus_2"]).values[..., None]
    expected = stats.t(nu, mean.values, scale.values).logpdf(np.log(pile["loss"].values))
    np.testing.assert_allclose(sampled["log_likelihood"]["log_loss"], expected, rtol=1e-9, atol=1e-9)


def test_derived_quantities_follow_from_the_parameters(sampled, pile):
    posterior = sampled["posterior"]
    expected = law_derived(load_law("chinchilla"), draws_of(sampled))
    for name, value in expected.items():
        np.testing.assert_allclose(posterior[name], value, rtol=1e-12, err_msg=name)
    # what papers print gives the same losses again
    N, D = pile["params"], pile["tokens"]
    printed = posterior["E"] + posterior["A"] / N ** posterior["alpha"] + posterior["B"] / D ** posterior["beta"]
    ours = law_loss(load_law("chinchilla"), draws_of(sampled) | {"N": N, "D": D})
    xr.testing.assert_allclose(printed.transpose(*ours.dims), ours, rtol=1e-9)


@pytest.mark.slow
def test_log_likelihood_is_left_out_when_it_would_fill_the_memory(sampled, pile, monkeypatch):
    monkeypatch.setattr("bayescale.fitting.tree.LOG_LIKELIHOOD_MAX", 1000)
    tree = fit(pile, "chinchilla", draws=300, allow_unconverged=True)
    assert "log_likelihood" not in tree.children and "posterior" in tree.children


# ---- the same seed gives the same draws, and swapped data those of a model compiled for them -------------------------


def test_same_seed_same_draws(sampled, pile):
    from conftest import SEED

    again = fit(pile, "chinchilla", seed=SEED)
    xr.testing.assert_identical(again["posterior"].to_dataset(), sampled["posterior"].to_dataset())
    assert again.attrs == sampled.attrs


def test_other_seed_other_draws(sampled, pile):
    other = fit(pile, "chinchilla", seed=3)
    for name in ("level", "sigma"):
        assert not np.array_equal(other["posterior"][name], sampled["posterior"][name])
        assert float(other["posterior"][name].median()) == pytest.approx(
            float(sampled["posterior"][name].median()), abs=0.2 * float(sampled["posterior"][name].std())
        )


@pytest.mark.slow
def test_pymc_samples_the_same_posterior(pile, sampled):
    """PyMC's own sampler on its own compilation of the model: quantiles within four Monte Carlo errors."""
    import arviz_stats
    import pymc as pm

    with pymc_model(pile, "chinchilla"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pm.sample(
            draws=1000, tune=1500, chains=2, cores=1, target_accept=0.95, random_seed=1, progressbar=False
        )
    ours, theirs = (tree["posterior"].to_dataset() for tree in (sampled, theirs))
    for q in (0.1, 0.5, 0.9):
        errors = [arviz_stats.mcse(draws, method="quantile", prob=q) for draws in (ours, theirs)]
        for name in ("level", "slope", "lean", "sigma"):
            error = float(np.hypot(*(each[name] for each in errors)))
            assert error < 0.2 * float(ours[name].std())
            assert float(theirs[name].quantile(q)) == pytest.approx(float(ours[name].quantile(q)), abs=4 * error), name


def test_order_of_the_runs_does_not_matter(pile, sampled):
    shuffled = fit(pile.isel(run=np.random.default_rng(0).permutation(pile.sizes["run"])), "chinchilla", seed=1)
    for name in ("level", "slope", "sigma"):
        a, b = shuffled["posterior"][name], sampled["posterior"][name]
        assert float(a.median()) == pytest.approx(float(b.median()), abs=0.2 * float(b.std()))


# ---- refusals, before a model is made -------------------------------------------------------------------------------


@pytest.fixture
def no_model_is_made(monkeypatch):
    def make(*args):
        raise AssertionError("a model before the runs and the law were checked")

    monkeypatch.setattr(fit_module, "numba_model", make)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"N": [1e7], "D": [1e9], "loss": [4.0]}, r"runs: 1 run\(s\); a fit needs at least 4, and 12 or more"),
        (
            {"N": [1e7, 1e8, 1e9], "D": [1e9, 1e10, 1e11], "loss": [4.0, 3, 2]},
            r"runs: 3 run\(s\); a fit needs at least 4",
        ),
        (
            CHINCHILLA_RUNS | {"N": [1e8] * 5},
            "all 5 runs have params = 100M; law 'chinchilla' needs at least two diff",
        ),
        (CHINCHILLA_RUNS | {"D": [1e10] * 5}, r"all 5 runs have tokens = 10B; .* at least two different values"),
        (CHINCHILLA_RUNS | {"loss": [2.5] * 5}, "runs: all 5 losses are 2.5; there is nothing to learn from"),
    ],
)
def test_runs_that_do_not_fit(change, message, no_model_is_made):
    with pytest.raises(FitError, match=message):
        fit(change, "chinchilla")


LAW_WITH_EPOCHS = """
title = "Repeated data"
cite = "none"
formula = "L_ref * level * (N/N_ref)**(-slope) * epochs**(-gain)"
[priors]
level = { dist = "LogNormal", mu = 0.0, sigma = 0.3, about = "level" }
slope = { dist = "LogNormal", mu = -2.3, sigma = 0.6, about = "slope" }
gain  = { dist = "LogNormal", mu = -2.3, sigma = 0.6, about = "gain" }
"""


@pytest.fixture
def law_with_epochs(tmp_path):
    path = tmp_path / "epochs.toml"
    path.write_text(LAW_WITH_EPOCHS)
    return path


def test_missing_column(law_with_epochs, no_model_is_made):
    message = r"runs: no column for epochs among N, .* which law 'epochs' uses; say which it is \(columns="
    with pytest.raises(ValueError, match=message):
        fit(CHINCHILLA_RUNS, law_with_epochs)


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        ([1, 2, 0, 4, 4], r"runs, row 2: epochs = 0 \(must be > 0\)"),
        ([1, 2, -3, 4, 4], r"runs, row 2: epochs = -3 \(must be > 0\)"),
        (["one", "two", "one", "two", "two"], "runs, row 0: epochs = 'one' is not a number"),
        ([1, np.nan, 1, 2, 2], "runs, row 1: epochs is missing or NaN"),
        ([2, 2, 2, 2, 2], "all 5 runs have epochs = 2"),
    ],
)
def test_column_of_no_use(law_with_epochs, epochs, message, no_model_is_made):
    with pytest.raises(ValueError, match=message):
        fit(CHINCHILLA_RUNS | {"epochs": epochs}, law_with_epochs)


def test_law_without_a_value_for_a_run(no_model_is_made):
    """2 - epochs is below 0 there, which no single input shows."""
    law = parse_law(LAW_WITH_EPOCHS.replace("epochs**", "(2.5 - epochs)**"), "epochs")
    message = r"runs, row 2: law 'epochs' gives nan \(.*epochs = 3\) at the middle of its priors"
    with pytest.raises(FitError, match=message):
        fit(CHINCHILLA_RUNS | {"epochs": [1, 2, 3, 1, 2]}, law)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "cauchy"}, "unknown noise 'cauchy'; the noises are student_t, normal"),
        ({"draws": 10}, r"draws = 10 \(a whole number of at least 100 is expected\)"),
        ({"draws": 1000.0}, r"draws = 1000.0 \(a whole number"),
        ({"draws": "many"}, r"draws = 'many' \(a whole number"),
        ({"chains": 1}, r"chains = 1 \(a whole number from 2 to 100 is expected\)"),
        ({"seed": -1}, r"seed = -1 \(a whole number of at least 0 is expected\)"),
        ({"seed": 0.5}, r"seed = 0.5 \(a whole number of at least 0 is expected\)"),
    ],
)
def test_options_of_no_use(options, message, no_model_is_made):
    with pytest.raises(FitError, match=message):
        fit(CHINCHILLA_RUNS, "chinchilla", **options)


# ---- the gate: what did not converge is an error unless it is asked for ---------------------------------------------


@pytest.fixture
def one_attempt(monkeypatch):
    monkeypatch.setattr(sampling, "SETTINGS", ((400, 0.9),))
    monkeypatch.setattr(sampling, "TIMES_MAX", 1)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        (
            "r_hat_limit",
            lambda *_: 0.5,
            r".*r-hat of '\w+' is \d.* \(must be below 0.5\).*; try more draws",
        ),
        (
            "ess_limit",
            lambda _: 1e9,
            r".*draws of '\w+' are \d+ \(must be above 1000000000\).*; try more draws",
        ),
        ("DIVERGENCES_MAX", -1.0, r".*\d+ divergences \(at most -800\).*; try .*narrower priors"),
        ("E_BFMI_MIN", 1e3, r".*E-BFMI is [01]\.\d\d \(must be above 1000.0\); try .*narrower priors"),
    ],
)
def test_unconverged_fit_is_an_error(limit, value, message, pile, monkeypatch, one_attempt):
    monkeypatch.setattr(diagnostics_module, limit, value)
    remedy = r".*; check the runs \(bayescale check\); or .* with allow_unconverged=True"
    head = r"law 'chinchilla' on pile did not converge after 1 attempt: "
    with pytest.raises(FitError, match=head + message + remedy):
        fit(pile, "chinchilla", draws=200)


def test_unconverged_fit_is_marked_when_it_is_asked_for(pile, monkeypatch, one_attempt):
    monkeypatch.setattr(diagnostics_module, "r_hat_limit", lambda *_: 0.5)
    tree = fit(pile, "chinchilla", draws=200, allow_unconverged=True)
    report = diagnostics(tree)
    assert report["converged"] is False and "r-hat of" in report["why"]
    assert trust_warnings(report)[0].startswith("the chains did not converge (r-hat of")


# ---- diagnostics ----------------------------------------------------------------------------------------------------


def test_diagnostics(sampled):
    report = diagnostics(sampled)
    assert report["converged"] and report["clean"] and report["divergences"] <= 2
    assert report["r_hat_max"] == max(report["r_hat"].values()) < 1.01
    assert report["ess_min"] == min(report["ess_bulk"].values()) > 400
    law = load_law("chinchilla")
    assert set(report["prior_share"]) == {*law.priors, *law.derived}
    assert all(0 <= share <= 0.95 for share in report["prior_share"].values())


def test_collinear_sizes_are_named(pile, monkeypatch, one_attempt):
    cerebras = pile.isel(run=pile["family"].str.startswith("cerebras").values)
    report = diagnostics(fit(cerebras, "chinchilla", allow_unconverged=True))
    assert report["collinear"] is True and report["not_identified"]
    assert "N and D move together in the runs" in " ".join(trust_warnings(report | {"converged": True, "clean": True}))


def test_summary_of_a_fit(sampled):
    summary = json.loads(json.dumps(fit_summary(sampled)))
    assert {"law", "runs", "parameters", "diagnostics"} <= set(summary)
    assert summary["law"] == "chinchilla" and summary["runs"] == 23
    for name, row in summary["parameters"].items():
        assert {"median", "q05", "q95", "r_hat", "ess_bulk"} <= set(row), name
        assert row["q05"] < row["median"] < row["q95"]
    assert set(summary["parameters"]) == set(sampled["posterior"].data_vars)
    assert {"divergences", "r_hat_max", "ess_min", "converged"} <= set(summary["diagnostics"])


# ---- refits ---------------------------------------------------------------------------------------------------------


def test_refit_learns_from_the_kept_runs_and_scores_all(sampled, pile):
    kept = np.ones(pile.sizes["run"], dtype=bool)
    kept[[3, 7]] = False
    again = refit(Study.opened(sampled), kept, seed=1)
    chains, draws, runs = again["log_likelihood"]["log_loss"].shape
    assert (chains, runs) == (4, pile.sizes["run"]) and draws in (500, 1000, 2000, 4000)  # chains may go on
    for name in ("N_ref", "D_ref", "L_ref", "C_ref"):
        assert float(again["constant_data"][name]) == float(sampled["constant_data"][name])
    np.testing.assert_array_equal(again["constant_data"]["kept"], kept)
    assert json.loads(again.attrs["diagnostics"])["converged"]
    # log densities of the kept runs agree with importance weights of the whole fit, those without the two runs
    log_weights = -sampled["log_likelihood"]["log_loss"].isel(run=~kept).sum("run")
    weights = np.exp(log_weights - log_weights.max())
    expected = (sampled["posterior"]["level"] * weights).sum() / weights.sum()
    assert float(again["posterior"]["level"].mean()) == pytest.approx(float(expected), abs=0.003)


def test_runs_of_a_fit_are_the_runs(sampled, pile):
    for name in ("params", "tokens", "compute", "loss"):
        np.testing.assert_allclose(Study.opened(sampled).runs[name], pile[name], rtol=1e-12)


@pytest.mark.parametrize("draws", [150.0, "many"])
def test_draws_of_no_use(draws, pile):
    with pytest.raises(FitError, match="a whole number"):
        fit(pile, "chinchilla", draws=draws)


def test_whole_numbers_of_numpy_are_whole_numbers(pile):
    assert fit(pile, "chinchilla", quick=True, draws=np.int64(300), seed=np.int32(2)).attrs["seed"] == 2


def test_a_fit_reads_its_law_once(pile, monkeypatch):
    read = law_file._contents
    texts = []
    monkeypatch.setattr(law_file, "_contents", lambda text, place: texts.append(text) or read(text, place))
    law_file.parse_law.cache_clear()
    fit(pile, "chinchilla", quick=True, draws=300)
    assert texts == [load_law("chinchilla").text]


def test_refit_of_a_quantity_that_may_be_negative_keeps_its_unit(rng):
    """The left-out run has the extreme value: sampling and scoring must measure the scatter in one unit."""
    text = """title = "A line"
cite = "tests"
formula = "level + slope*log(N/N_ref)"
[observed]
column = "gap"
symbol = "G"
scale = "linear"
[priors]
level = { dist = "Normal", mu = 0.0, sigma = 1.0, about = "level" }
slope = { dist = "Normal", mu = 0.0, sigma = 1.0, about = "slope" }
"""
    N = np.logspace(7, 9, 16)
    gap = 0.1 * np.log(N / 1e8) + 0.01 * rng.standard_normal(16)
    gap[0] = 3.0
    tree = fit({"params": N, "gap": gap}, parse_law(text, "line"), draws=300)
    again = refit(Study.opened(tree), np.arange(16) > 0, draws=300)
    values = {name: again["posterior"][name].values for name in ("level", "slope", "sigma", "tilt", "nu_minus_2")}
    unit = np.ptp(gap)
    scale = 1e-4 + values["sigma"] * np.exp(values["tilt"] * np.log(N[5] / float(tree["constant_data"]["C_ref"])))
    mean = values["level"] + values["slope"] * np.log(N[5] / float(tree["constant_data"]["N_ref"]))
    expected = stats.t.logpdf(gap[5] / unit, 2 + values["nu_minus_2"], mean / unit, scale) - np.log(unit)
    np.testing.assert_allclose(again["log_likelihood"]["gap"].values[:, :, 5], expected, rtol=1e-9)
    # and the scatter that was sampled is of that unit: .01 in units of .42 would be .024, in units of 3.5 it is .003
    assert float(np.median(values["sigma"])) < 0.01


def test_names_of_a_law_do_not_reach_the_data(crossed_runs):
    """'seen' is what the engine calls the measured losses; a law may still use the word."""
    text = load_law("shared_exponent").text
    renamed = re.sub(r"\blevel\b", "seen", text)
    one, other = (fit(crossed_runs(), parse_law(t, "mine"), quick=True, draws=300) for t in (text, renamed))
    np.testing.assert_allclose(one["posterior"]["level"], other["posterior"]["seen"], rtol=1e-9)
