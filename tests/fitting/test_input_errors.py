"""Errors of N and D: read, passed on through the slope of the law, kept in a fit, and as latent sizes have them."""

import numpy as np
import pytest
from conftest import LINE, chinchilla_loss, with_and_without, without

import bayescale as bs
from bayescale.errors import FitError, RunsError
from bayescale.laws.input_errors import slopes
from bayescale.laws.law import law_loss
from bayescale.laws.law_file import parse_law
from bayescale.laws.slope import value_and_slope
from bayescale.runs.read import read_text
from bayescale.study import Study

RUNS = 60
COLUMNS = {"params_se": "N_err", "tokens_se": "D_err"}
TRUTH = {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.36}


def loss_at(N, D):
    return chinchilla_loss(N, D, **TRUTH)


def table_of(seed, error=0.3, noise=0.003):
    """Runs of Chinchilla's law; of two in three N and D are known to 30 % only."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.5, 9.5, RUNS), 10 ** rng.uniform(9.5, 11.5, RUNS)
    relative = np.where(np.arange(RUNS) % 3, error, 0.0)
    told = {name: x * np.exp(relative * rng.standard_normal(RUNS)) for name, x in (("params", N), ("tokens", D))}
    loss = loss_at(N, D) * np.exp(noise * rng.standard_normal(RUNS))
    return told | {"loss": loss, "N_err": told["params"] * relative, "D_err": told["tokens"] * relative}


@pytest.fixture(scope="module")
def table():
    return table_of(1)


@pytest.fixture(scope="module")
def fits(table):
    return with_and_without(table, COLUMNS)


@pytest.mark.parametrize("name", ["chinchilla", "coupled", "data_constrained", "m4", "precision", "kaplan"])
def test_slopes_are_those_by_numpy(name, design, rng):
    """The formula of the slope against forward differentiation, at draws from the prior."""
    law = bs.load_law(name)
    inputs, references = design(law, rng)
    values = inputs | references
    values |= {key: x[0] for key, x in bs.laws.law.sample_priors(law, 1, rng).items()}
    from bayescale.laws.formula import evaluate, substitute
    from bayescale.laws.law_file import column

    whole = {}
    for key, tree in law.where.items():
        whole[key] = substitute(tree, whole)
    for symbol in law.inputs:
        (found,) = slopes(law, (f"{column(symbol)}_se",)).values()
        expected = value_and_slope(substitute(law.tree, whole), values, {symbol: np.ones_like(inputs[symbol])})[1]
        np.testing.assert_allclose(np.nan_to_num(evaluate(found, values)), np.nan_to_num(expected), rtol=1e-9)


def test_they_are_said_and_kept(table, fits, tmp_path):
    study = Study.opened(bs.open_fit(bs.save_fit(fits[0], tmp_path / "fit.nc")))
    assert study.known == ("params_se", "tokens_se") and '"params_se": "N_err"' in study.attrs["read"]
    assert "params_se = N_err" in str(bs.show(study.fit))
    assert "known_variance" not in study.covariates(study.runs)
    assert bs.reproduce(study.fit, table, columns=COLUMNS).attrs["verdict"] == "same_bits"
    other = table | {"N_err": 2 * table["N_err"]}
    assert "the column 'params_se' differs" in str(bs.reproduce(study.fit, other, columns=COLUMNS).attrs["runs_differ"])


def test_the_variance_is_that_of_first_order(table, fits):
    """By hand, at one draw: (alpha A N^-alpha / L)^2 (error of log N)^2, and so for D."""
    study = Study.opened(fits[0])
    at = {name: float(x) for name, x in study.posterior.isel(chain=1, draw=7).data_vars.items()}
    n, d = at["A"] * table["params"] ** -at["alpha"], at["B"] * table["tokens"] ** -at["beta"]
    relative = table["N_err"] / table["params"]
    expected = ((at["alpha"] * n) ** 2 + (at["beta"] * d) ** 2) * (relative / (at["E"] + n + d)) ** 2
    np.testing.assert_allclose(study.covariates(values=at)["known_variance"], expected, rtol=1e-9)


def off_the_truth(fit):
    """Mean distance of the law from the truth, in logarithms."""
    N, D = np.array([3e8, 1e9, 3e9]), np.array([1e10, 3e10, 1e11])
    there = bs.forecast(fit, N, D)["predictions"]["law_loss"]
    return float(np.abs(np.log(there).median(("chain", "draw")) - np.log(loss_at(N, D))).mean())


@pytest.mark.slow
def test_runs_of_known_sizes_count_for_more(table, fits):
    """The scatter that is learnt is that of the losses, and the law is nearer to the truth."""
    known, unknown = (Study.opened(fit) for fit in fits)
    assert known.medians["sigma"] < 0.006 < 0.015 < unknown.medians["sigma"]
    off = np.zeros(2)
    for pair in (fits, *(with_and_without(table_of(seed), COLUMNS) for seed in range(2, 6))):  # one may be lucky
        off += [off_the_truth(fit) for fit in pair]
    assert off[0] < 0.8 * off[1]
    shown = [bs.forecast(study.fit, 1e9, 3e10)["predictions"]["loss"] for study in (known, unknown)]
    widths = [np.ptp(np.quantile(np.log(x), [0.05, 0.95])) for x in shown]
    assert widths[0] < 0.5 * widths[1]  # a forecast is of a run of known size


def test_units(table):
    """Absolute in the unit of the size, or relative if said so; read again they are the same."""
    relative = table | {name: table[name] / table[size] for name, size in (("N_err", "params"), ("D_err", "tokens"))}
    units = {"params_se": "relative", "tokens_se": "relative"}
    plain = bs.read_runs(table, columns=COLUMNS)
    told = bs.read_runs(relative, columns=COLUMNS, units=units)
    in_millions = table | {name: table[name] / 1e6 for name in ("params", "N_err")}
    for runs in (told, bs.read_runs(in_millions, columns=COLUMNS, units={"params": "M"})):
        np.testing.assert_allclose(runs["params_se"], plain["params_se"], rtol=1e-12)
    assert "params_se = N_err [relative]" in read_text(told.attrs)
    again = bs.read_runs(plain)
    np.testing.assert_array_equal(again["params_se"], plain["params_se"])
    assert read_text(again.attrs) == read_text(plain.attrs)
    with pytest.raises(RunsError, match="unknown unit 'M' for params_se; 'relative' is one"):
        bs.read_runs(table, columns=COLUMNS, units={"params_se": "M"})
    with pytest.raises(RunsError, match="row 0: N_err = -1 "):
        bs.read_runs(table | {"N_err": np.full(RUNS, -1.0)}, columns=COLUMNS)


def test_of_any_input_of_any_law():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 40)
    dx = np.where(np.arange(40) % 2, 0.3, 0.0)
    table = {"x": x + dx * rng.standard_normal(40), "y": 1 + x + 0.01 * rng.standard_normal(40), "dx": dx}
    law = parse_law(LINE, "line")
    fit = bs.fit(table, law, noise="normal", columns={"x_se": "dx"}, quick=True)
    assert abs(float(fit["posterior"]["c"].median()) - 1) < 0.03
    gamma = parse_law(LINE.replace("c*x", "c*gammaln(x + 2)"), "gamma")
    with pytest.raises(FitError, match="x_se cannot be used, as its formula has gammaln of x"):
        bs.fit(table, gamma, noise="normal", columns={"x_se": "dx"}, quick=True)


@pytest.mark.slow
def test_a_model_of_latent_sizes_says_the_same():
    """log N of a run ~ Normal(what is told, its error), and so for D, sampled with everything else by PyMC."""
    import pymc as pm
    import pytensor.tensor as pt

    table = table_of(3, error=0.15)
    fit = bs.fit(table, "chinchilla", noise="normal", columns=COLUMNS, draws=1000)
    study = Study.of(table, "chinchilla", "normal", columns=COLUMNS)
    some = np.flatnonzero(table["N_err"] > 0)
    with pm.Model():
        values = {name: getattr(pm, prior.dist)(name, **prior.params) for name, prior in study.priors.items()}
        for symbol, size in (("N", "params"), ("D", "tokens")):
            told = np.log(table[size])
            off = pm.Normal(f"off_{symbol}", 0, 1, shape=len(some))
            values[symbol] = pt.exp(pt.set_subtensor(pt.zeros(RUNS)[some], 0.15 * off) + told)
        mu = pt.log(law_loss(study.law, values | dict(study.constants)))
        scale = 1e-4 + values["sigma"] * pt.exp(values["tilt"] * study.covariates(study.runs)["log_compute"])
        pm.Normal("log_loss", mu, scale, observed=study.seen.values)
        trace = pm.sample(1000, tune=1500, chains=4, cores=2, nuts_sampler="nutpie", random_seed=1, target_accept=0.95,
                          progressbar=False, compute_convergence_checks=False)  # fmt: skip
    latent = bs.fit_from_draws(trace, without(table, "N_err", "D_err"), "chinchilla", noise="normal",
                               allow_unconverged=True)["posterior"]  # fmt: skip
    for name in ("E", "alpha", "beta", "level", "slope"):
        ours, theirs = fit["posterior"][name], latent[name]
        assert abs(float(ours.median() - theirs.median())) < 0.35 * float(theirs.std()), name
        assert 0.75 < float(ours.std() / theirs.std()) < 1.33, name


@pytest.mark.slow
def test_bands_hold_over_simulated_studies():
    held = []
    for seed in range(60):
        table = table_of(300 + seed, error=0.2)
        fit = bs.fit(table, "chinchilla", noise="normal", quick=True, columns=COLUMNS)["posterior"]
        for name in ("E", "alpha", "beta"):
            q05, q95 = np.quantile(fit[name], [0.05, 0.95])
            held.append(q05 <= TRUTH[name] <= q95)
    assert 0.82 <= np.mean(held) <= 0.96, np.mean(held)
