"""The log posterior that is sampled: against one written by hand with SciPy, and against PyMC's of the same model."""

import re
from pathlib import Path

import numpy as np
import pytest
from differential import density_by_numpy
from pymc.pytensorf import gradient
from pytensor.compile import Mode
from scipy import special, stats

from bayescale.engine.density import log_posterior, posterior_data
from bayescale.engine.model import density_of, log_densities, nutpie_model
from bayescale.engine.numba_density import LARGEST, numba_model
from bayescale.engine.pymc import build_model
from bayescale.engine.pymc_engine import pymc_engine
from bayescale.errors import FitError
from bayescale.fitting.starts import unbounded
from bayescale.laws.formula import evaluate
from bayescale.laws.law import column, law_derived, law_loss, law_names, load_law, sample_priors
from bayescale.laws.law_file import parse_law
from bayescale.laws.noises import NOISES, default_noise
from bayescale.laws.own_priors import with_groups, without_count
from bayescale.laws.priors import DISTRIBUTIONS, Prior, from_real, quantile, to_real
from bayescale.laws.scatter import Scatter
from bayescale.runs.read import read_runs
from bayescale.study import Study

ROOT = Path(__file__).resolve().parent.parent.parent
BOTH_NOISES = ["student_t", pytest.param("normal", marks=pytest.mark.slow)]
PYTHON = Mode(linker="py", optimizer=None)  # nothing is rewritten or compiled


@pytest.fixture
def prepared(caller):
    """The study of a law on runs, and its compiled density."""

    def make(law, noise, runs):
        study = Study.bound(law, Scatter.of(law, noise), runs)
        return study, caller(log_posterior(law, noise, study.known), posterior_data(study))

    return make


def positions(law, noise, rng, points):
    draws = sample_priors(law, points, rng)
    draws |= {"sigma": rng.uniform(0.003, 0.03, points), "tilt": rng.normal(0, 0.2, points)}
    draws |= {"nu_minus_2": rng.uniform(0.5, 30, points), "overdispersion": rng.uniform(0.001, 0.1, points)}
    priors = law.priors | Scatter.of(law, noise).priors
    draws |= {name: rng.uniform(0.2, 1.5, points) for name in priors if name not in draws}  # of a scale by group
    return {name: draws[name] for name in priors}, unbounded(draws, priors)


# ---- written by hand ------------------------------------------------------------------------------------------------


def by_hand(prior):
    """Log density of the parameter itself, by SciPy, and log |d value / d real|."""
    p = prior.params
    match prior.dist:
        case "Normal":
            return stats.norm(p["mu"], p["sigma"]).logpdf, lambda x: 0.0
        case "LogNormal":
            return stats.lognorm(p["sigma"], scale=np.exp(p["mu"])).logpdf, np.log
        case "Gamma":
            return stats.gamma(p["alpha"], scale=1 / p["beta"]).logpdf, np.log
        case "LogitNormal":
            logit_normal = stats.norm(p["mu"], p["sigma"])
            return lambda x: logit_normal.logpdf(special.logit(x)) - np.log(x * (1 - x)), lambda x: np.log(x * (1 - x))
    raise NotImplementedError(prior.dist)


@pytest.mark.parametrize(("law", "noise"), [("chinchilla", "student_t"), ("coupled", "normal")])
def test_density_is_the_one_written_by_hand(law, noise, pile, rng, prepared):
    law = load_law(law)
    study, call = prepared(law, noise, pile)
    values, real = positions(law, noise, rng, points=5)
    sizes = {"N": pile["params"].values, "D": pile["tokens"].values}
    differences = []
    for i in range(5):
        at = {name: value[i] for name, value in values.items()}
        expected = 0.0
        for name, prior in (law.priors | NOISES[noise].priors).items():
            density, jacobian = by_hand(prior)
            expected += density(at[name]) + jacobian(at[name])
        mean = np.log(law_loss(law, at | sizes | dict(study.constants)))
        scale = 1e-4 + at["sigma"] * (pile["compute"].values / study.constants["C_ref"]) ** at["tilt"]
        scatter = stats.t(2 + at["nu_minus_2"], mean, scale) if noise == "student_t" else stats.norm(mean, scale)
        expected += scatter.logpdf(np.log(pile["loss"].values)).sum()
        status, value, _ = call(real[i])
        assert status == 0
        differences.append(value - expected)
    np.testing.assert_allclose(differences, differences[0], rtol=1e-9, atol=1e-7)  # the same constant everywhere


# ---- against PyMC ---------------------------------------------------------------------------------------------------


@pytest.fixture
def runs_of_law(design, rng):
    """Runs over the law's published range that the law itself has made."""

    def make(law):
        inputs, references = design(law, rng)
        middle = {
            name: float(DISTRIBUTIONS[prior.dist].quantile(0.5, **prior.params)) for name, prior in law.priors.items()
        }
        return runs_from(law, inputs, law_loss(law, middle | inputs | references))

    return make


def runs_from(law, inputs, made):
    count = len(next(iter(inputs.values())))
    made = np.broadcast_to(made, count)
    columns = {column(symbol): values for symbol, values in inputs.items()}
    columns |= {law.observed.column: np.clip(made, 0.05, 0.95) if law.observed.count else made}
    columns |= {law.observed.count: np.full(count, 100.0)} if law.observed.count else {}
    return read_runs(columns, law)


def check_engines(law, noise, runs, rng, prepared, points=3):
    """Compiled formulas against NumPy's value and slopes, also far out, and against PyMC's: up to a constant."""
    study, call = prepared(law, noise, runs)
    density, data = log_posterior(law, noise, study.known), posterior_data(study)
    _, real = positions(law, noise, rng, points)
    for i, position in enumerate(np.concatenate([real, 40 * real])):
        status, value, ours = call(position)
        here, slopes = density_by_numpy(density, data, position)
        finite = [abs(here) < LARGEST, bool((np.abs(slopes) < LARGEST).all())]
        assert status == (0 if all(finite) else 3 if not finite[1] else 4), (law.name, position)
        if status == 0:
            assert value == pytest.approx(here, rel=1e-10), law.name
        if status == 0 and i < points:  # far out what is left of a gradient may be rounding errors
            size = np.abs(slopes).max()
            np.testing.assert_allclose(ours, slopes, rtol=1e-7, atol=1e-9 * size, err_msg=law.name)

    model = build_model(study)
    names = [variable.name for variable in model.value_vars]
    log_density = model.logp()
    of_pymc = model.compile_fn([log_density, gradient(log_density, model.value_vars)], mode=PYTHON)
    differences = []
    for position in real:
        at = {name: np.asarray(x) for name, x in zip(names, position, strict=True)}
        theirs, their_slopes = of_pymc(at)
        status, ours, our_slopes = call(position)
        if not (np.isfinite(theirs) and np.isfinite(their_slopes).all()):
            continue
        assert status == 0, (law.name, dict(zip(names, position, strict=True)))
        differences.append(ours - theirs)
        size = np.abs(their_slopes).max() + abs(theirs)
        np.testing.assert_allclose(our_slopes, their_slopes, rtol=1e-6, atol=1e-9 * size, err_msg=law.name)
    assert differences, "no point where PyMC's density is finite"
    np.testing.assert_allclose(differences, differences[0], rtol=1e-7, atol=1e-6, err_msg=law.name)


@pytest.mark.parametrize("law", ["coupled", "coverage"])
def test_density_and_gradient_are_pymcs(law, runs_of_law, rng, prepared):
    law = load_law(law)
    check_engines(law, default_noise(law.observed.scale), runs_of_law(law), rng, prepared)


@pytest.mark.parametrize("noise", BOTH_NOISES)
def test_known_errors_are_pymcs(noise, runs_of_law, rng, prepared):
    law = load_law("chinchilla")
    runs = runs_of_law(law)
    table = {name: runs[name].values for name in ("params", "tokens", "loss")}
    table["se"] = table["loss"] * rng.uniform(0.001, 0.03, runs.sizes["run"])
    check_engines(law, noise, read_runs(table, law, columns={"loss_se": "se"}), rng, prepared)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chinchilla", pytest.param("data_constrained", marks=pytest.mark.slow)])
def test_errors_of_inputs_are_pymcs(name, runs_of_law, rng, prepared):
    """Both engines from one formula of the slope; data_constrained has a kink."""
    law = load_law(name)
    runs = runs_of_law(law)
    table = {name: values.values for name, values in runs.data_vars.items()}
    columns = {f"{column(symbol)}_se": f"{column(symbol)}_err" for symbol in law.inputs}
    for symbol in law.inputs:
        table[f"{column(symbol)}_err"] = table[column(symbol)] * rng.uniform(0.0, 0.2, runs.sizes["run"])
    table["se"] = table["loss"] * 0.01
    check_engines(law, "student_t", read_runs(table, law, columns=columns | {"loss_se": "se"}), rng, prepared)


@pytest.mark.parametrize("noise", BOTH_NOISES)
def test_censored_runs_are_pymcs(noise, runs_of_law, rng, prepared):
    law = load_law("chinchilla")
    runs = runs_of_law(law)
    table = {name: runs[name].values for name in ("params", "tokens", "loss")}
    table["diverged"] = np.arange(runs.sizes["run"]) % 5 == 0
    table["loss"] = table["loss"] * np.where(table["diverged"], np.exp(rng.normal(0, 0.02, runs.sizes["run"])), 1.0)
    check_engines(law, noise, read_runs(table, law, columns={"censored": "diverged"}), rng, prepared)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [*BOTH_NOISES, "beta"])
def test_a_share_without_a_count_is_pymcs(noise, runs_of_law, rng, prepared):
    law = without_count(load_law("accuracy_sigmoid"))
    check_engines(law, noise, runs_of_law(law), rng, prepared)


@pytest.mark.slow
def test_known_errors_of_a_beta_share_are_pymcs(runs_of_law, rng, prepared):
    law = without_count(load_law("accuracy_sigmoid"))
    runs = runs_of_law(law)
    table = {name: runs[name].values for name in ("loss", "accuracy")}
    table |= {"se": rng.uniform(0.001, 0.03, runs.sizes["run"]), "loss_err": rng.uniform(0, 0.05, runs.sizes["run"])}
    columns = {"accuracy_se": "se", "loss_se": "loss_err"}
    check_engines(law, "beta", read_runs(table, law, columns=columns), rng, prepared)


@pytest.mark.slow
def test_log_odds_of_beta_shares_in_pymc_are_those_of_the_noise(runs_of_law):
    """Log likelihoods without a constant between them, and draws that follow the noise."""
    import pymc as pm

    law = without_count(load_law("accuracy_sigmoid"))
    study = Study.bound(law, Scatter.of(law, "beta"), runs_of_law(law))
    model, values = build_model(study), {name: quantile(prior, 0.5) for name, prior in study.priors.items()}
    fixed = pm.do(model, values)
    with fixed:
        observed = fixed["accuracy"]
        theirs = fixed.compile_fn(pm.logp(observed, study.seen.values), mode=PYTHON, point_fn=False)()
        drawn = pm.draw(observed, 4000, random_seed=1, mode=PYTHON)
    predicted = law_loss(law, values | study.inputs() | dict(study.constants))
    covariates = study.covariates(study.runs)
    ours = study.scatter.log_density(study.seen.values, predicted, covariates, values)
    np.testing.assert_allclose(theirs, ours, rtol=1e-8)
    below = study.scatter.cdf(drawn, predicted, covariates, values)  # uniform: the mean's sd is .29/sqrt(4000)
    np.testing.assert_allclose(below.mean(axis=0), 0.5, atol=5 * 0.29 / np.sqrt(4000))


@pytest.mark.parametrize("by", [["level", "lean", "floor"], ["level", "sigma"]])
def test_a_law_with_groups_is_pymcs(by, runs_of_law, rng, prepared):
    plain = load_law("chinchilla")
    made = runs_of_law(plain)
    law = with_groups(plain, ["a", "b c", "d"], by=by)
    table = {name: made[name].values for name in ("params", "tokens", "loss")}
    table["recipe"] = np.resize(["a", "b c", "d"], made.sizes["run"])
    check_engines(law, "student_t", read_runs(table, law, columns={"group": "recipe"}), rng, prepared)


@pytest.mark.slow
@pytest.mark.parametrize("law", law_names())
def test_density_and_gradient_of_every_law_are_pymcs(law, runs_of_law, rng, prepared):
    law = load_law(law)
    for noise in NOISES:
        if law.observed.scale in NOISES[noise].observed:
            check_engines(law, noise, runs_of_law(law), rng, prepared)


@pytest.mark.parametrize("engine", [numba_model, pytest.param(pymc_engine, marks=pytest.mark.slow)])
def test_an_engine_gives_a_sampler_what_it_needs(engine, pile, rng):
    import nutpie

    law = load_law("chinchilla")
    study = Study.bound(law, Scatter.of(law, "normal"), pile)
    values, start = positions(law, "normal", rng, points=4)
    model = engine(study, start)
    assert model.names == tuple(values) and model.rows == pile.sizes["run"] and model.compiled() is model.compiled()
    density = density_of(model)
    found = [density(position) for position in start]
    together = log_densities(model, start)
    np.testing.assert_array_equal(together, [value for value, _ in found])
    reference = density_of(numba_model(study, start))
    expected = [reference(position) for position in start]
    np.testing.assert_allclose(together - together[0], [value - expected[0][0] for value, _ in expected], rtol=1e-7)
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())
    assert density(np.full(len(start[0]), 1e200))[0] == -np.inf
    settings = {"draws": 20, "tune": 20, "chains": 1, "cores": 1, "seed": 1, "progress_bar": False}
    trace = nutpie.sample(nutpie_model(model), save_warmup=False, **settings)
    assert set(trace.posterior.data_vars) == set(model.names)
    assert np.isfinite(trace.posterior["level"].values).all()


@pytest.mark.slow
def test_gradient_is_finite_at_the_start(runs_of_law, rng, prepared):
    """Of every law's log posterior at the middle of its priors, where no chain should find a wall."""
    for name in law_names():
        law = load_law(name)
        noise = default_noise(law.observed.scale)
        _, call = prepared(law, noise, runs_of_law(law))
        priors = law.priors | NOISES[noise].priors
        middle = {name: DISTRIBUTIONS[prior.dist].quantile(0.5, **prior.params) for name, prior in priors.items()}
        status, value, gradient = call(unbounded({key: np.array([x]) for key, x in middle.items()}, priors)[0])
        assert status == 0 and np.isfinite(value) and (gradient != 0).mean() > 0.8, law.name


PRIORS = {
    "Normal": {"mu": 0.3, "sigma": 1.2},
    "LogNormal": {"mu": 0.3, "sigma": 1.2},
    "LogitNormal": {"mu": 0.3, "sigma": 1.2},
    "HalfNormal": {"sigma": 1.2},
    "Exponential": {"lam": 0.7},
    "Gamma": {"alpha": 2.5, "beta": 1.7},
    "Beta": {"alpha": 2.5, "beta": 1.7},
    "Uniform": {"lower": -1.0, "upper": 3.0},
    "TruncatedNormal": {"mu": 0.3, "sigma": 1.2, "lower": -1.0, "upper": 3.0},
}


@pytest.mark.parametrize("dist", DISTRIBUTIONS)
def test_prior_on_the_real_line_is_pymcs(dist):
    import pymc as pm
    from pymc.distributions.transforms import logodds

    with pm.Model() as model:
        options = {"default_transform": logodds} if dist == "LogitNormal" else {}
        getattr(pm, dist)("x", **PRIORS[dist], **options)
    density = model.compile_logp(mode=PYTHON)
    (name,) = (variable.name for variable in model.value_vars)
    prior, grid = Prior(dist, PRIORS[dist]), np.linspace(-2.0, 2.0, 9)
    values = from_real(prior, grid)
    np.testing.assert_allclose(to_real(prior, values), grid, atol=1e-12)
    ours = evaluate(DISTRIBUTIONS[dist].log_density, {"u": grid, "x": values, **PRIORS[dist]})
    theirs = np.array([float(density({name: np.asarray(u)})) for u in grid])
    np.testing.assert_allclose(ours - theirs, (ours - theirs)[0], atol=1e-10)


def test_model_reads_like_the_paper(pile):
    law = load_law("chinchilla")
    model = build_model(Study.bound(law, Scatter.of(law, "normal"), pile))
    assert [variable.name for variable in model.free_RVs] == [*law.priors, "sigma", "tilt"]
    assert [variable.name for variable in model.observed_RVs] == ["log_loss"]
    assert {variable.name for variable in model.deterministics} == {*law.derived, "mu"}
    by_run = ["params", "tokens", "log_compute", "seen", "mu", "log_loss"]
    assert {name: tuple(dims) for name, dims in model.named_vars_to_dims.items()} == dict.fromkeys(by_run, ("run",))
    data = {variable.name for variable in model.data_vars}
    assert data == {"N_ref", "D_ref", "L_ref", "params", "tokens", "log_compute", "seen"}
    assert list(model.coords["run"]) == list(pile["run"].values)


def test_papers_constants_and_mu_are_those_of_the_law(pile):
    law = load_law("chinchilla")
    study = Study.bound(law, Scatter.of(law), pile)
    model = build_model(study)
    values = {name: float(DISTRIBUTIONS[p.dist].quantile(0.4, **p.params)) for name, p in study.priors.items()}
    names = [*law.derived, "mu"]
    replaced = model.replace_rvs_by_values([model[name] for name in names])
    position = unbounded({name: np.array([value]) for name, value in values.items()}, study.priors)[0]
    at = dict(zip(model.value_vars, position, strict=True))
    options = {"on_unused_input": "ignore", "mode": PYTHON}
    found = {name: one.eval(at, **options) for name, one in zip(names, replaced, strict=True)}
    for name, value in law_derived(law, values | dict(study.constants)).items():
        assert float(found[name]) == pytest.approx(value, rel=1e-10), name
    printed = found["E"] + found["A"] / pile["params"] ** found["alpha"] + found["B"] / pile["tokens"] ** found["beta"]
    np.testing.assert_allclose(found["mu"], np.log(printed), rtol=1e-10)


def test_graph_of_the_model_is_that_of_the_docs(pile):
    import pymc as pm

    pytest.importorskip("graphviz", reason="draws graphs (extra: test)")
    law = load_law("chinchilla")
    graph = pm.model_to_graphviz(build_model(Study.bound(law, Scatter.of(law), pile))).source
    edges = {tuple(edge) for edge in re.findall(r"^\s*(\w+) -> (\w+)$", graph, flags=re.MULTILINE)}
    assert {("alpha", "mu"), ("beta", "mu"), ("params", "mu"), ("mu", "log_loss"), ("sigma", "log_loss")} <= edges
    drawn = (ROOT / "docs" / "pymc_model.svg").read_text(encoding="utf-8")
    assert set(re.findall(r"<title>(\w+)&#45;&gt;(\w+)</title>", drawn)) == edges


def test_a_name_that_the_model_uses_itself_is_refused(pile):
    text = load_law("chinchilla").text.replace("a     = {", "mu    = {")
    law = parse_law(text, "mine")
    with pytest.raises(FitError, match=r"law 'mine': PyMC's model uses the names \['mu'\] itself"):
        build_model(Study.bound(law, Scatter.of(law), pile))
