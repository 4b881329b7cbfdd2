import json

import numpy as np
import pytest
import xarray as xr
from conftest import BESIROGLU, chinchilla_loss, chinchilla_parameters
from scipy.optimize import minimize_scalar

import bayescale
from bayescale.budgets import exchange
from bayescale.budgets.allocate import allocate
from bayescale.budgets.approaches import approaches
from bayescale.budgets.decide import decide
from bayescale.budgets.exchange import EXCHANGE_SD, Exchange
from bayescale.budgets.gain import compute_gain
from bayescale.errors import FitError
from bayescale.fitting.tree import draws_of
from bayescale.forecasts.forecast import QUANTILES
from bayescale.laws.law import law_loss, load_law, sample_priors

BUDGETS = [1e19, 1e22, 5.76e23]
pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def learnt(true_fit):
    return true_fit()


def prior_fit(make_fit, runs, law, rng, **fixed):
    draws = {name: values[:300] for name, values in sample_priors(load_law(law), 300, rng).items()}
    return make_fit(law, draws | {name: np.full(300, value) for name, value in fixed.items()}, runs)


# ---- the optimum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "fixed"),
    [
        ("chinchilla", {}),
        ("kaplan", {}),
        ("coupled", {}),
        ("coupled", {"q": 0.3}),
        pytest.param("coupled", {"q": 1.0}, marks=pytest.mark.slow),
        pytest.param("coupled", {"q": 0.5}, marks=pytest.mark.slow),
        pytest.param("coupled", {"q": 1.5}, marks=pytest.mark.slow),
    ],
)
def test_closed_form_is_the_numeric_optimum(law, fixed, make_fit, crossed_runs, rng):
    fit = prior_fit(make_fit, crossed_runs(), law, rng, **fixed)
    closed = allocate(fit, BUDGETS)
    numeric = allocate(fit, BUDGETS, closed_form=False)
    N, D = closed["N"].values, closed["D"].values
    searched = (N > 10) & (D > 10)  # the search goes from one parameter to one token
    assert searched.mean() > 0.9
    assert np.abs(numeric["N"].values / N - 1)[searched].max() < 1e-6
    np.testing.assert_allclose(numeric["law_loss"].values[searched], closed["law_loss"].values[searched], rtol=1e-12)


@pytest.mark.parametrize("law", ["chinchilla", "kaplan", "coupled"])
def test_no_other_split_is_better(law, make_fit, crossed_runs, rng):
    fit = prior_fit(make_fit, crossed_runs(), law, rng)
    best = allocate(fit, BUDGETS)["law_loss"]
    for i, compute in enumerate(BUDGETS):
        N = xr.DataArray(np.geomspace(1e3, compute / 6e3, 200), dims="split")
        there = law_loss(load_law(law), draws_of(fit) | {"N": N, "D": compute / (6 * N)})
        assert (best.isel(budget=i) <= there * (1 + 1e-12)).all()


def test_optimum_by_hand(make_fit, crossed_runs):
    runs = crossed_runs()
    fit = make_fit("chinchilla", chinchilla_parameters(runs, **{k: np.full(4, v) for k, v in BESIROGLU.items()}), runs)
    result = allocate(fit, 5.76e23)
    G = (BESIROGLU["alpha"] * BESIROGLU["A"] / (BESIROGLU["beta"] * BESIROGLU["B"])) ** (
        1 / (BESIROGLU["alpha"] + BESIROGLU["beta"])
    )
    a = BESIROGLU["beta"] / (BESIROGLU["alpha"] + BESIROGLU["beta"])
    N = G * (5.76e23 / 6) ** a
    found = minimize_scalar(
        lambda log_n: chinchilla_loss(np.exp(log_n), 5.76e23 / (6 * np.exp(log_n)), **BESIROGLU),
        bounds=(np.log(1e9), np.log(1e12)),
        options={"xatol": 1e-9},
    )
    np.testing.assert_allclose(result["law_N"].values, N, rtol=1e-9)
    np.testing.assert_allclose(result["law_N"].values, np.exp(found.x), rtol=1e-4)
    # the ratio that Besiroglu et al. 2024 print for Chinchilla's budget, instead of Hoffmann et al.'s 60 to 90
    np.testing.assert_allclose(result["law_D"] / result["law_N"], 18.3, atol=0.1)
    np.testing.assert_allclose(result["law_loss"].values, found.fun, rtol=1e-12)


def test_the_result(learnt):
    result = allocate(learnt, BUDGETS)
    for name in ("N", "D", "tokens_per_param", "law_loss", "loss"):
        assert result[name].dims == ("chain", "draw", "budget") and result[name].shape == (2, 1000, 3)
    np.testing.assert_allclose(6 * result["N"] * result["D"] / result["compute"], 1, rtol=1e-12)
    np.testing.assert_allclose(result["tokens_per_param"], result["D"] / result["N"], rtol=1e-12)
    assert result["identified"].values.all() and list(result["why_not"].values) == [""] * 3
    assert (np.diff(result["law_loss"].median(("chain", "draw"))) < 0).all()
    widths = np.diff(np.log(result["N"]).quantile([0.05, 0.95], ("chain", "draw")), axis=0)[0]
    assert (widths > 0).all() and widths[2] > widths[1], "never a band of no width; it opens with the budget"


def test_one_budget_as_a_number(learnt):
    assert allocate(learnt, 1e22)["N"].sizes["budget"] == 1


def test_seeds(learnt):
    a, b, c = (allocate(learnt, BUDGETS, seed=seed) for seed in (0, 0, 1))
    assert a.identical(b) and a["law_N"].identical(c["law_N"])
    assert not np.array_equal(a["N"], c["N"]) and not np.array_equal(a["loss"], c["loss"])


def test_the_law_alone(learnt):
    """Without discrepancy N* is that of the law; with it N* D* and the law's loss stay, and the band is wider."""
    alone, wrong = allocate(learnt, BUDGETS, discrepancy=False), allocate(learnt, BUDGETS)
    np.testing.assert_array_equal(alone["N"], alone["law_N"])
    for name in ("law_N", "law_D"):
        np.testing.assert_array_equal(alone[name], wrong[name])
    np.testing.assert_allclose(wrong["law_loss"], alone["law_loss"], rtol=1e-12)
    np.testing.assert_allclose(wrong["N"] * wrong["D"], alone["N"] * alone["D"], rtol=1e-12)
    widths = [
        np.ptp(np.log(one["N"]).quantile([0.05, 0.95], ("chain", "draw")).values, axis=0) for one in (alone, wrong)
    ]
    assert (widths[1] > widths[0]).all()
    said = [" ".join(bayescale.read(one).warnings) for one in (alone, wrong)]
    assert "taken to be exactly right" in said[0] and "exactly right" not in said[1]


# ---- what is not identified is said to be so ------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"params": (None, 1e9)}])
def test_tokens_in_billions_give_no_advice(learnt, limits):
    told = "median params 410M and tokens 50 look like other units"
    fit = learnt.copy()
    fit.attrs = learnt.attrs | {"notes": json.dumps([{"code": "units", "severity": "warning", "text": told}])}
    assert allocate(fit, BUDGETS, **limits)["identified"].values.all()  # of small models the note alone is none
    fit["constant_data"] = fit["constant_data"].to_dataset().assign(tokens=fit["constant_data"]["tokens"] / 1e9)
    result = allocate(fit, BUDGETS, **limits)
    assert not result["identified"].values.any() and list(result["why_not"].values) == [told] * 3
    chosen = decide(fit, BUDGETS, **limits)
    says = bayescale.read(chosen).says
    assert all(f": the best split is not known: {told}. " in said for said in says) and len(says) == 3
    assert bayescale.read(chosen).frame.empty


def test_collinear_runs(true_fit):
    fit = true_fit(draws=400, collinear=True)
    result = allocate(fit, [1e22, 1e23])
    assert not result["identified"].values.any()
    assert list(result["why_not"].values) == ["N and D move together in the runs: the split comes from the prior"] * 2
    summary = json.loads(json.dumps(bayescale.read(result).to_dict(), allow_nan=False))
    for budget in summary["budgets"]:
        assert budget["identified"] is False
        for name in ("params", "tokens", "tokens_per_param"):
            assert set(budget[name].values()) == {None}, "a split that is not known is not printed"
        assert all(isinstance(value, float) for value in budget["loss"].values())
    assert "1e22 FLOP: not identified: N and D move together" in " ".join(bayescale.read(result).warnings)


def test_band_of_the_prior_is_not_identified(make_fit, crossed_runs, rng):
    result = allocate(prior_fit(make_fit, crossed_runs(), "chinchilla", rng), 1e22)
    assert not result["identified"].values.any()
    assert result["why_not"].values[0].endswith(" % as wide as the prior's: the runs do not fix the split")


NO_OPTIMUM = """
title = "Chinchilla without its closed form"
cite = "arXiv:2203.15556"
formula = "L_ref * level * (floor + (1 - floor)*(share*(N/N_ref)**(-alpha) + (1 - share)*(D/D_ref)**(-beta)))"
[priors]
level = { dist = "LogNormal", mu = 0.15, sigma = 0.3, about = "a" }
alpha = { dist = "LogNormal", mu = -1.0, sigma = 0.5, about = "b" }
beta  = { dist = "LogNormal", mu = -1.0, sigma = 0.5, about = "c" }
floor = { dist = "LogitNormal", mu = 0.8, sigma = 0.8, about = "d" }
share = { dist = "LogitNormal", mu = 0.0, sigma = 1.0, about = "e" }
"""


@pytest.fixture
def law_file(tmp_path):
    def write(text):
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"

    return write


def users_parameters(runs, spread, rng):
    ours = chinchilla_parameters(runs, **BESIROGLU)
    values = {name: ours[name] for name in ("level", "floor", "share")}
    values |= {"alpha": BESIROGLU["alpha"], "beta": BESIROGLU["beta"]}
    return {name: value * np.exp(spread * rng.standard_normal(200)) for name, value in values.items()}


def test_users_law_without_an_optimum(law_file, make_fit, crossed_runs, rng):
    runs = crossed_runs()
    result = allocate(make_fit(law_file(NO_OPTIMUM), users_parameters(runs, 0.002, rng), runs), 5.76e23)
    assert result["identified"].values.all()
    assert float((result["law_D"] / result["law_N"]).median()) == pytest.approx(18.3, rel=0.1)


def test_law_without_an_interior_optimum(law_file, make_fit, crossed_runs, rng):
    """D hurts instead of helping: the best split is at the edge of what is searched."""
    runs = crossed_runs()
    text = NO_OPTIMUM.replace("(D/D_ref)**(-beta)", "(D/D_ref)**beta")
    result = allocate(make_fit(law_file(text), users_parameters(runs, 0.002, rng), runs), 1e20)
    assert not result["identified"].values.any()
    assert result["why_not"].values[0] == "no optimum inside the searched range in 100 % of the draws"


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("L_ref * level * (N/N_ref)**(-alpha)", r"law 'mine' uses \['N'\]; a split of compute needs a law of N and D"),
        (
            "L_ref * level * ((N/N_ref)**(-alpha) + (D/D_ref)**(-alpha)) * epochs**(-alpha)",
            r"law 'mine' needs \['epochs'\] besides N and D",
        ),
    ],
)
def test_law_that_cannot_split_compute(formula, message, law_file, make_fit, crossed_runs):
    head = NO_OPTIMUM.splitlines()
    text = "\n".join([*head[:3], f'formula = "{formula}"', "[priors]", *head[5:7]])
    runs = crossed_runs().assign(epochs=("run", np.tile([1.0, 2.0], 12)))
    fit = make_fit(law_file(text), {"level": [1.0, 1.0], "alpha": [0.3, 0.4]}, runs)
    with pytest.raises(FitError, match=message):
        allocate(fit, 1e22)


# ---- refusals, tables, JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (0, "compute = 0: a budget must be finite and above 6 FLOP"),
        (-1e22, r"compute = -1e22: a budget must be finite and above 6 FLOP"),
        ([1e22, np.nan], "compute = nan: a budget must be finite"),
        (np.inf, "compute = inf: a budget must be finite"),
        (6, "compute = 6: a budget must be finite and above 6 FLOP"),
        ([], "compute must be a number of FLOP, or a flat sequence of them"),
        ([[1e22]], "compute must be a number of FLOP, or a flat sequence of them"),
        ("much", "compute must be a number of FLOP, or a flat sequence of them, not 'much'"),
        (None, "compute"),
    ],
)
def test_budgets_of_no_use(learnt, compute, message):
    with pytest.raises(FitError, match=message):
        allocate(learnt, compute)


def test_table(learnt):
    table = bayescale.read(allocate(learnt, BUDGETS)).frame
    names = ("params", "tokens", "tokens_per_param", "law_loss", "law_params", "law_tokens", "loss")
    bands = [f"{name}_{q}" for name in names for q in QUANTILES]
    exponents = [f"a_{q}" for q in QUANTILES]
    assert list(table.columns) == ["compute", *bands, "identified", "why_not", "held", "decades_beyond", *exponents]
    assert list(table["compute"]) == BUDGETS and (table.params_q05 < table.params_q95).all()


def test_summary_for_machines(learnt):
    summary = json.loads(json.dumps(bayescale.read(allocate(learnt, BUDGETS)).to_dict(), allow_nan=False))
    assert set(summary) == {"law", "cost", "loss_unit", "budgets", "diagnostics", "warnings"}
    for budget, compute in zip(summary["budgets"], BUDGETS, strict=True):
        assert {"compute", "params", "tokens", "tokens_per_param", "loss", "identified"} <= set(budget)
        assert budget["compute"] == compute and budget["identified"] is True
        for name in ("params", "tokens", "tokens_per_param", "loss"):
            assert list(budget[name]) == list(QUANTILES) and budget[name]["q05"] < budget[name]["q95"]


# ---- costs, limits, menus, further inputs ---------------------------------------------------------------------------


def test_cost_in_money_with_uncertain_use_of_the_hardware(learnt):
    """Budget / price * peak * mfu is the compute; at a certain mfu the split is that of this compute."""
    given = {"mfu": 0.4, "peak": 989e12, "price": 2.0}
    cost = "6*N*D/(mfu*peak*3600)*price"
    money, compute = allocate(learnt, 1e6, cost=cost, given=given), allocate(learnt, 1e6 / 2 * 3600 * 989e12 * 0.4)
    np.testing.assert_allclose(money["N"], compute["N"], rtol=1e-7)
    unsure = allocate(learnt, 1e6, cost=cost, given=given | {"mfu": "0.2..0.8"})
    widths = [float(np.ptp(np.log(r["N"]).quantile([0.05, 0.95]).values)) for r in (money, unsure)]
    by_cost = float(learnt["posterior"]["a"].median()) * np.log(4)  # of log N*, as the budget in FLOP is wide by log 4
    assert widths[1] == pytest.approx(np.hypot(widths[0], by_cost), rel=0.1), "the uncertain cost is in the band"
    assert unsure.attrs["cost"] == cost and money["identified"].all()


def test_limit_that_holds_is_said_and_leaves_no_band(learnt):
    result = allocate(learnt, [1e22, 1e23], ratio=(4000, None))
    np.testing.assert_allclose(result["tokens_per_param"], 4000, rtol=1e-9)
    assert list(result["held"].values) == ["tokens per parameter >= 4K in 100 % of the draws"] * 2
    assert result["identified"].all() and not any(result["why_not"].values), "who sets a limit knows the split"
    table = bayescale.read(result).frame
    assert np.isnan(table[["params_q05", "params_q95", "tokens_per_param_q05"]].values).all(), "no band of no width"
    np.testing.assert_allclose(table.tokens_per_param_q50, 4000)
    budget = json.loads(json.dumps(bayescale.read(result).to_dict(), allow_nan=False))["budgets"][0]
    assert budget["params"]["q05"] is None and budget["params"]["q50"] > 0 and budget["held"]
    assert "1e22 FLOP: held by your limit: tokens per parameter >= 4K" in " ".join(bayescale.read(result).warnings)


@pytest.mark.parametrize("limits", [{"ratio": (200, None)}, {"menu": [1e9, 1e11]}, {"tokens": (None, 1e13)}])
def test_limits_do_not_hide_that_the_runs_tell_nothing(limits, true_fit):
    """Of a menu, and of a limit that holds few draws, the best is still learnt: not from runs on one line."""
    result = allocate(true_fit(draws=400, collinear=True), 1e22, **limits)
    assert bool(result["identified"].all()) == ("ratio" in limits)


def test_more_money_than_the_limits_let_one_spend(learnt):
    """It is left over: the largest model on all the tokens there are."""
    result = allocate(learnt, 1e24, params=(None, 1e9), tokens=(None, 1e10))
    np.testing.assert_allclose(
        [result["N"].values.ravel(), result["D"].values.ravel()], [[1e9], [1e10]] * np.ones(2000)
    )
    assert result["held"].values[0] == "params <= 1B and tokens <= 10B in 100 % of the draws"


@pytest.mark.parametrize("seed", range(3))
def test_an_uncertain_cost_with_a_limit_has_tokens_in_every_draw(learnt, seed):
    """Draws that could buy more than the limit train on the limit; the median run does too."""
    money = {"cost": "6*N*D/mfu", "given": {"mfu": "0.3..0.6"}}
    free = allocate(learnt, 1e23, seed=seed, **money)
    most = float(free["D"].median()) / 3
    held = allocate(learnt, 1e23, seed=seed, tokens=(None, most), **money)
    assert float(held["D"].max()) <= most * (1 + 1e-9) and held["identified"].all()
    np.testing.assert_allclose(held["D"].median(), most, rtol=1e-9)


def test_exponents_where_a_part_of_the_cost_leaves_little_for_training(learnt, monkeypatch):
    """At a smaller budget the size of this one may not be affordable: its own split counts."""
    open_drift = Exchange(np.zeros(1), np.full(1, 0.1))  # the runs' own drift would move the split at either end
    monkeypatch.setattr(exchange, "_exchange_aside", lambda *_: (open_drift, open_drift, np.array([0.8])))
    result = allocate(learnt, 1e24, cost="6*N*D + 2*N*T", given={"T": 5e12})
    exact = allocate(learnt, 1e24, cost="6*N*D + 2*N*T", given={"T": 5e12}, discrepancy=False)
    for name in ("a", "b"):
        # five standard errors of a median
        apart = 5 * 1.25 * float(result[name].std()) / np.sqrt(result[name].size)
        assert float(result[name].median()) == pytest.approx(float(exact[name].median()), abs=apart)
        assert apart < 0.02


def test_limits_that_fix_the_split_do_not_hide_what_the_runs_tell(learnt):
    """Close limits on both sides make the prior's band as narrow as the runs': they are not what is asked about."""
    money = {"cost": "6*N*D/mfu", "given": {"mfu": "0.3..0.5"}}
    free = allocate(learnt, 1e23, **money)
    N, D = (float(free[name].median()) for name in "ND")
    held = allocate(learnt, 1e23, params=(None, 1.05 * N), tokens=(0.9 * D, 1.2 * D), **money)
    assert held["identified"].all() and held["held"].values[0]


@pytest.mark.parametrize(("compute", "message"), [(24, "less than a millionth"), (1e33, r"at most 1e32 are answered")])
def test_budgets_of_no_run_are_refused(learnt, compute, message):
    for question in (allocate, decide, approaches):
        with pytest.raises(FitError, match=message):
            question(learnt, compute)
    with pytest.raises(FitError, match=message):
        compute_gain(learnt, learnt, compute)


def test_five_runs_tell_no_split(true_fit, crossed_runs):
    """As many runs as the law has parameters fix nothing, however narrow the prior."""
    few = crossed_runs().isel(run=[0, 5, 11, 17, 23])
    result = allocate(true_fit(draws=400, runs=few), 1e22)
    assert result["why_not"].values[0] == "5 runs do not tell the 5 parameters of the law: the prior sets the split"


def test_an_option_that_is_none(learnt):
    with pytest.raises(TypeError, match="'colour' is no option of a split; they are cost, given, params"):
        allocate(learnt, 1e23, colour="red")


def test_sizes_can_be_held(learnt):
    fixed = allocate(learnt, 1e22, params=1e9)
    np.testing.assert_allclose([fixed["N"].values.ravel()[0], fixed["D"].values.ravel()[0]], [1e9, 1e22 / 6e9])
    assert fixed["held"].values[0] == "params = 1B in 100 % of the draws"
    tokens = allocate(learnt, 1e22, tokens=1e11)
    np.testing.assert_allclose(tokens["N"], 1e22 / 6e11, rtol=1e-9)


def test_limits_that_leave_the_optimum_inside_change_nothing(learnt):
    free, bound = allocate(learnt, BUDGETS), allocate(learnt, BUDGETS, params=(1e6, 1e13), ratio=(0.1, 1e4))
    np.testing.assert_allclose(bound["N"], free["N"], rtol=1e-7)
    assert bound["identified"].all() and not any(bound["held"].values)


def test_menu(learnt):
    result = allocate(learnt, [1e22, 5.76e23], menu=[1e9, 1e10, 7e10])
    assert set(np.unique(result["N"])) <= {1e9, 1e10, 7e10} and "a" not in result
    free = allocate(learnt, [1e22, 5.76e23])
    assert (result["law_loss"] >= free["law_loss"] - 1e-12).all()
    small = allocate(learnt, 5.76e23, menu=[1e8, 1e9])
    assert small["held"].values[0].startswith("the largest of the menu in ") and small["identified"].all()
    deep = allocate(learnt, 1e22, menu={"params": [1e9, 1e10], "layers": [10, 200]}, cost="(6*N + 1e8*layers)*D")
    assert np.isfinite(deep["loss"]).all()


def test_exponents_are_those_of_the_posterior(learnt):
    result = allocate(learnt, BUDGETS, discrepancy=False)
    for i in range(len(BUDGETS)):
        np.testing.assert_allclose(result["a"].isel(budget=i), learnt["posterior"]["a"], atol=1e-5)
    assert (result["loss_exponent"] > 0).all()


def test_exponents_follow_the_error_of_the_law_from_budget_to_budget(learnt, monkeypatch):
    """a is the law's and (x(10 C) - x(C / 10)) / ln 100: what is open goes together as the drift does, the rest not."""
    open_sd, alike, rise = (0.1, 0.3), 0.8, 0.25
    below, above = (Exchange(np.array([c]), np.array([sd])) for c, sd in zip((0.0, rise), open_sd, strict=True))
    monkeypatch.setattr(exchange, "_exchange_aside", lambda *_: (below, above, np.array([alike])))
    result, exact = (allocate(learnt, 1e24, discrepancy=wrong) for wrong in (True, False))
    moved = (result["a"] - exact["a"]).values * np.log(100)
    assert moved.mean() == pytest.approx(rise, abs=1e-3)
    variance = open_sd[0] ** 2 + open_sd[1] ** 2 - 2 * alike * np.prod(open_sd) + 2 * EXCHANGE_SD**2
    assert moved.var() == pytest.approx(variance, rel=0.1)
    np.testing.assert_allclose(result["a"] + result["b"], 1.0, atol=1e-9)


def test_exponents_are_less_certain_far_out(learnt):
    """Where nothing is known of N* little is known of its slope, also where the error of N* has reached its limit."""
    near, far, beyond = (allocate(learnt, budget)["a"].std() for budget in (1e22, 1e26, 1e29))
    assert float(far) > 1.5 * float(near) and float(beyond) > 0.9 * float(far)


@pytest.fixture(scope="module")
def prior_of(make_fit, crossed_runs):
    """A fit by hand at draws of a law's priors, for runs with its further inputs."""

    def make(law, **columns):
        runs = crossed_runs().assign({name: ("run", np.resize(np.array(x), 24)) for name, x in columns.items()})
        rng = np.random.default_rng(3)
        return make_fit(law, {name: x[:100] for name, x in sample_priors(load_law(law), 100, rng).items()}, runs)

    return make


def test_unique_tokens(prior_of):
    fit = prior_of("data_constrained", unique_tokens=[1e9, 1e10, 1e11])
    plenty, few = (allocate(fit, [1e21, 1e23], unique_tokens=tokens, discrepancy=False) for tokens in (1e18, 3e10))
    chinchilla = allocate(fit, [1e21, 1e23], given={"unique_tokens": 1e18}, discrepancy=False)
    np.testing.assert_allclose(plenty["N"], chinchilla["N"], rtol=1e-6)
    slack = (plenty["D"] < 3e10).values
    assert 0.1 < slack.mean() < 0.9
    np.testing.assert_allclose(few["N"].values[slack], plenty["N"].values[slack], rtol=1e-3)
    law, values = load_law("data_constrained"), draws_of(fit)
    worse = (few["law_loss"] / plenty["law_loss"] - 1).values
    scarce = law_loss(law, values | {"N": plenty["N"], "D": plenty["D"], "unique_tokens": 3e10}) / plenty["law_loss"]
    felt = scarce.transpose(*plenty["law_loss"].dims).values > 1 + 1e-12  # elsewhere the term of the data has died out
    assert (worse > -1e-12).all() and felt[~slack].mean() > 0.8 and (worse[felt & ~slack] > 0).all()
    N = xr.DataArray(np.geomspace(1e6, 1e13, 4000), dims="split")
    there = law_loss(law, values | {"N": N, "D": 1e23 / (6 * N), "unique_tokens": 3e10})
    best = few["law_loss"].isel(budget=1)
    assert (best <= there.min("split") * (1 + 1e-9)).all()


def test_experts_are_given(prior_of):
    fit = prior_of("joint_moe", experts=[1.0, 8.0, 32.0])
    few, many = (allocate(fit, 1e22, given={"experts": experts}) for experts in (1, 32))
    assert not np.allclose(few["N"], many["N"])
    numeric = allocate(fit, 1e22, given={"experts": 32}, closed_form=False)
    np.testing.assert_allclose(numeric["N"], many["N"], rtol=1e-6)
    with pytest.raises(FitError, match=r"law 'joint_moe' needs \['experts'\] besides N and D"):
        allocate(fit, 1e22)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": (1e12, 1e9)}, "the least is above the most; no split can keep to that"),
        ({"params": 1e9, "tokens": 1e11}, "both params and tokens are held"),
        (
            {"cost": "6*N*D/mfu", "given": {"mfu": 40}},
            "mfu = 40: a share of the peak is expected, at most 1, such as 0.4",
        ),
        ({"cost": "6*N*D/mfu", "given": {"mfu": "35..50"}}, "mfu = '35': a share of the peak"),
        ({"tokens": "many"}, "tokens = 'many': a number or a pair"),
        ({"tokens": (0, 1e12)}, "tokens = 0: a finite number above 0"),
        (
            {"params": (1e13, None), "ratio": (20, None)},
            "has no split that keeps to the limits: params >= 10T asks for at least 10T parameters",
        ),
        ({"tokens": (1e50, None)}, "does not buy tokens >= 1e"),
        ({"menu": []}, "the menu is empty"),
        ({"menu": [1e9, -1]}, "menu: params = -1: a finite number above 0"),
        ({"menu": {"size": [1e9]}}, "a menu needs the column 'params'"),
        ({"menu": [1e25]}, "does not allow any of the 1 architectures of the menu"),
        ({"menu": [1e9], "ratio": (1e9, None)}, "does not allow any of the 1 architectures"),
        ({"unique_tokens": 1e10}, "law 'chinchilla' does not know repeated data"),
        ({"given": {"N": 1e9}}, "N cannot be given a value"),
        ({"given": {"T": 1e9}}, r"\['T'\] given, but neither the cost '6\*N\*D' nor the law 'chinchilla' uses them"),
        ({"cost": "6*N*D + 2*N*T"}, r"no value for \['T'\]"),
        ({"cost": "6*N*D + 2*N*T", "given": {"T": 1e30}}, "does not buy one token for one parameter"),
    ],
)
def test_requests_that_cannot_be_met(learnt, options, message):
    with pytest.raises(FitError, match=message):
        allocate(learnt, 1e22, **options)


def test_a_ratio_is_held(learnt):
    held, pair = (allocate(learnt, 1e22, ratio=ratio) for ratio in (20, (20, 20)))
    np.testing.assert_allclose(held["D"] / held["N"], 20)
    assert held.equals(pair)


def test_a_law_of_something_else_is_refused(prior_of):
    with pytest.raises(FitError, match="a split of compute needs a law of N and D"):
        allocate(prior_of("power_params"), 1e22)


@pytest.mark.slow
def test_decisions_and_targets_with_further_inputs(prior_of):
    from bayescale.budgets.decide import decide
    from bayescale.budgets.target import least_compute

    repeated = prior_of("data_constrained", unique_tokens=[1e9, 1e10, 1e11])
    decided = decide(repeated, 1e21, unique_tokens=3e10)
    assert np.isfinite(decided["N"].values).all()
    free, short = (least_compute(repeated, 2.8, unique_tokens=tokens)["compute"].values for tokens in (1e18, 1e9))
    assert (short >= free * (1 - 1e-6)).all() and (short > free).any()
    experts = decide(prior_of("joint_moe", experts=[1.0, 8.0, 32.0]), 1e21, given={"experts": 8}, discrepancy=False)
    assert (experts["expected_regret"].values[:, :1] <= experts["expected_regret"].values + 1e-12).all()


def test_budgets_with_their_unit(learnt):
    cost = {"cost": "6*N*D/1e18", "exponents": False, "discrepancy": False}
    told, plain = (allocate(learnt, compute, **cost) for compute in (["1e4 dollars"], [1e4]))
    np.testing.assert_array_equal(told["N"], plain["N"])
    assert told.attrs["unit"] == "dollars" and "unit" not in plain.attrs
    assert bayescale.read(told).columns[0].unit == "dollars"
    flop = allocate(learnt, "10 ZFLOP", exponents=False, discrepancy=False)
    assert flop["compute"].item() == 1e22
    np.testing.assert_array_equal(decide(learnt, ["1e22 FLOP"])["N"], decide(learnt, 1e22)["N"])


@pytest.mark.parametrize(
    "compute, options, message",
    [
        ("2e6 dollars", {}, "a budget in dollars: say what a run costs in that unit"),
        ("1e22 FLOP", {"cost": "6*N*D/1e18"}, r"a budget in FLOP, but a run costs 6\*N\*D/1e18"),
        (["1e4 dollars", "1e4 euros"], {"cost": "6*N*D/1e18"}, "budgets in dollars and euros: one cost has one unit"),
        ("much money", {}, "a number is expected, or one with its unit, such as '2e6 dollars'"),
    ],
)
def test_budgets_whose_unit_nothing_counts(compute, options, message, learnt):
    with pytest.raises(FitError, match=message):
        allocate(learnt, compute, **options)
