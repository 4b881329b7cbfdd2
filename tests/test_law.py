import re

import numpy as np
import pytest
from pytensor.compile import Mode
from scipy.optimize import minimize_scalar
from scipy.special import logit

from bayescale.formula import evaluate, latex, parse
from bayescale.law import (
    DISTRIBUTIONS,
    MAX_BYTES,
    LawError,
    column,
    law_derived,
    law_loss,
    laws,
    load_law,
    parse_law,
    reference_constants,
    sample_priors,
)

REFERENCE = {"L_ref": 2.0, "N_ref": 1e9, "D_ref": 2e10}
DRAWS = 50


def values_of(law, rng, draws=DRAWS):
    """Prior draws [draw, 1, 1], sizes N [N, 1] and D [D] over what anyone trains, and the reference constants."""
    parameters = {name: value[:, None, None] for name, value in sample_priors(law, draws, rng).items()}
    sizes = {"N": np.logspace(7, 12, 6)[:, None], "D": np.logspace(8, 14, 7)}
    others = {name: np.float64(1.0) for name in law.inputs if name not in sizes}
    references = {name: REFERENCE.get(name, 1.0) for name in law.constants}
    return parameters, sizes | others, references


# ---- the contract that every law file keeps -------------------------------------------------------------------------


@pytest.fixture(params=laws())
def law(request):
    return load_law(request.param)


def test_law_says_what_it_is(law):
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi", law.cite), "cite a paper by its arXiv number or DOI"
    assert law.title and law.about and law.traps
    assert all(prior.about for prior in law.priors.values())
    assert all(quantity.about for quantity in law.derived.values())
    assert parse_law(law.text, law.name) == law, "the text alone gives the law again"


def test_law_renders_as_latex(law):
    for tree in (law.tree, *law.where.values(), *(quantity.tree for quantity in law.derived.values())):
        assert latex(tree).count("{") == latex(tree).count("}")


def test_prior_predictive_is_plausible(law, rng):
    parameters, sizes, references = values_of(law, rng, draws=400)
    loss = law_loss(law, parameters | sizes | references)
    assert np.isfinite(loss).all() and (loss > 0).all()
    at_reference = law_loss(
        law, parameters | references | {"N": 1e9, "D": 2e10} | dict.fromkeys(sizes.keys() - {"N", "D"}, 1.0)
    )
    low, median, high = np.quantile(at_reference / REFERENCE["L_ref"], [0.05, 0.5, 0.95])
    assert 0.3 < low < median < high < 10 and 0.7 < median < 2


def test_loss_falls_with_params_and_tokens(law, rng):
    parameters, sizes, references = values_of(law, rng)
    loss = np.broadcast_to(law_loss(law, parameters | sizes | references), (DRAWS, 6, 7))
    for axis, symbol in ((1, "N"), (2, "D")):
        if symbol in law.inputs:
            # a term that has died out may leave two losses equal to the last digit
            steps = np.diff(loss, axis=axis)
            assert (steps <= 1e-12 * loss.max()).all() and (steps < 0).any(), symbol


def test_published_formula_is_the_same_law(law, rng):
    if not law.published_formula:
        pytest.skip("no published formula")
    parameters, sizes, references = values_of(law, rng)
    with np.errstate(all="ignore"):
        theirs = evaluate(parse(law.published_formula), parameters | law_derived(law, parameters | references) | sizes)
    ours = law_loss(law, parameters | sizes | references)
    finite = np.isfinite(theirs)  # N_c and D_c leave the range of floats when an exponent is tiny
    assert finite.mean() > 0.9
    np.testing.assert_allclose(ours[finite], theirs[finite], rtol=1e-9)


def test_optimum_is_the_minimum_along_fixed_compute(law, rng):
    if law.optimum is None:
        pytest.skip("no closed-form optimum")
    parameters, _, references = values_of(law, rng, draws=40)
    parameters = {name: value.ravel() for name, value in parameters.items()}
    for draw in range(40):
        values = {name: value[draw] for name, value in parameters.items()} | references
        for compute in (1e20, 5.76e23):
            given = values | {"C": compute}
            for name, tree in law.where.items():
                given[name] = evaluate(tree, given)
            best = float(evaluate(law.optimum, given))

            def loss(log_n, values=values, compute=compute):
                n = np.exp(log_n)
                return float(law_loss(law, values | {"N": n, "D": compute / (6 * n)}))

            found = minimize_scalar(loss, bounds=(np.log(best) - 3, np.log(best) + 3), options={"xatol": 1e-10})
            # a minimum is flat: the place is known to the square root of the precision of the loss, the loss to all
            assert loss(np.log(best)) <= found.fun * (1 + 1e-12)
            assert found.x == pytest.approx(np.log(best), abs=2e-2)


def test_presets_evaluate(law):
    for name, preset in law.presets.items():
        sizes = {"N": 1e9, "D": 2e10} | dict.fromkeys(set(law.inputs) - {"N", "D"}, 1.0)
        loss = evaluate(parse(law.published_formula), dict(preset.values) | sizes)
        assert 0.1 < loss < 10, name
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi", preset.source), name


# ---- numbers printed in the literature ------------------------------------------------------------------------------


def published_loss(law_name, preset, **sizes):
    law = load_law(law_name)
    return float(evaluate(parse(law.published_formula), dict(law.presets[preset].values) | sizes))


def published_ratio(preset, compute):
    """Tokens per parameter that minimise a published law, found numerically."""
    best = minimize_scalar(
        lambda log_n: published_loss("chinchilla", preset, N=np.exp(log_n), D=compute / 6 / np.exp(log_n)),
        bounds=(np.log(1e7), np.log(1e14)),
        options={"xatol": 1e-8},
    )
    return compute / 6 / np.exp(best.x) ** 2


@pytest.mark.parametrize(
    ("preset", "compute", "ratio", "precision"),
    [
        ("besiroglu2024", 1e21, 21.5, 0.05),
        ("besiroglu2024", 5.76e23, 18.3, 0.05),
        ("besiroglu2024", 3.8e25, 16.4, 0.05),
        ("hoffmann2022", 5.76e23, 59, 0.5),
    ],
)
def test_published_tokens_per_parameter(preset, compute, ratio, precision):
    assert published_ratio(preset, compute) == pytest.approx(ratio, abs=precision)


def test_published_allocation_exponents():
    for preset, a in (("hoffmann2022", 0.46), ("besiroglu2024", 0.513)):  # of N* ~ C**a
        constants = load_law("chinchilla").presets[preset].values
        assert constants["beta"] / (constants["alpha"] + constants["beta"]) == pytest.approx(a, abs=0.005)


def test_published_kaplan_loss():
    assert published_loss("kaplan", "kaplan2020", N=1e9, D=np.inf) == pytest.approx(2.319, abs=5e-4)


def test_coupled_law_contains_the_two_others(rng):
    coupled, chinchilla, kaplan = map(load_law, ("coupled", "chinchilla", "kaplan"))
    parameters, sizes, references = values_of(chinchilla, rng)
    same = law_loss(coupled, parameters | sizes | references | {"q": 1.0})
    np.testing.assert_allclose(same, law_loss(chinchilla, parameters | sizes | references), rtol=1e-12)

    values = parameters | references | {"floor": 0.0}
    exponents = law_derived(kaplan, {name: value for name, value in values.items() if name != "floor"})
    same = law_loss(coupled, values | sizes | {"q": exponents["alpha_D"]})
    np.testing.assert_allclose(same, law_loss(kaplan, values | sizes), rtol=1e-9)


# ---- helpers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_prior_quantiles_are_those_of_the_pymc_distribution(name):
    import pymc as pm

    params = {"mu": 0.3, "sigma": 0.7, "lower": -0.5, "upper": 1.5, "lam": 2.0, "alpha": 2.5, "beta": 1.5}
    params = {key: params[key] for key in DISTRIBUTIONS[name].params}
    probability = np.array([0.05, 0.5, 0.95])
    value = DISTRIBUTIONS[name].quantile(probability, **params)
    if name == "LogitNormal":  # PyMC has no distribution function of its own for it
        name, value = "Normal", logit(value)
    below = pm.logcdf(getattr(pm, name).dist(**params), value).eval(mode=Mode(linker="py", optimizer=None))
    np.testing.assert_allclose(np.exp(below), probability, rtol=1e-6)


def test_reference_constants_are_centres_of_the_runs():
    runs = {"params": np.array([1e8, 1e10]), "tokens": np.array([2e9, 8e9]), "loss": np.array([3.0, 2.5])}
    constants = reference_constants(load_law("coupled"), runs)
    assert constants == pytest.approx({"N_ref": 1e9, "D_ref": 4e9, "L_ref": 2.5})
    assert column("N") == "params" and column("epochs") == "epochs"


def test_prior_draws_repeat_with_the_seed():
    law = load_law("coupled")
    first, second = (sample_priors(law, 3, np.random.default_rng(5)) for _ in range(2))
    assert list(first) == list(law.priors)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


# ---- broken law files -----------------------------------------------------------------------------------------------

GOOD = """
title = "Power law in N"
cite = "nobody"
formula = "L_ref*level*u"
[where]
u = "(N/N_ref)**(-slope)"
[priors]
level = { dist = "LogNormal", mu = 0.0, sigma = 0.3, about = "level" }
slope = { dist = "LogNormal", mu = -2.0, sigma = 0.5, about = "slope" }
[derived]
twice = { formula = "2*slope", about = "twice the slope" }
[optimum]
N = "N_ref*C"
[published]
formula = "twice*N**(-slope)"
[published.presets.one]
source = "here"
values = { twice = 1.0, slope = 0.5 }
"""


def test_the_good_law_is_good():
    law = parse_law(GOOD, "good")
    assert law.inputs == ("N",) and law.constants == ("L_ref", "N_ref") and list(law.presets) == ["one"]
    assert repr(law) == "Law('good': L_ref*level*u)"
    assert str(law.priors["slope"]) == "LogNormal(mu = -2, sigma = 0.5)"


def test_columns_of_the_runs_may_stand_in_a_formula():
    law = parse_law(GOOD.replace("level*u", "level*u*(epochs/epochs_ref)**(-slope)"), "good")
    assert law.inputs == ("N", "epochs") and "epochs_ref" in law.constants


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title", "colour", r"law 'bad': unknown keys \['colour'\]; the keys are"),
        ('title = "Power law in N"', "", r"'title' is missing or empty"),
        ('"Power law in N"', '""', r"'title' is missing or empty"),
        ('"Power law in N"', "5", r"'title' must be text, not 5"),
        ('"Power law in N"', '"\\u001b[2J"', r"'title' has a control character"),
        ('cite = "nobody"', "", r"'cite' is missing or empty"),
        ('formula = "L_ref*level*u"', "", r"'formula' is missing or empty"),
        ("L_ref*level*u", "L_ref*level*u.real", r"law 'bad', formula: attribute access 'u.real'"),
        ("2*slope", "__import__('os')", r"derived 'twice': unknown function '__import__'"),
        ("level =", "levle =", r"no prior for \['level'\]; priors not in the formula \['levle'\]"),
        ("level*u", "u", r"law 'bad': priors not in the formula \['level'\]"),
        ("level*u", "level*(D/D_ref)", r"\['u'\] in \[where\] are not used by the formula"),
        ("L_ref*", "D_ref*", r"'D_ref' is the centre of D, which the formula does not use"),
        ("(N/N_ref)**(-slope)", "2**(-slope)", "uses no column of the runs such as N or D"),
        ('"LogNormal", mu = 0.0', '"Cauchy", mu = 0.0', r"prior 'level': unknown distribution 'Cauchy'; allowed are"),
        ('"LogNormal", mu = 0.0', '"Normal", nu = 0.0', r"Normal takes \['mu', 'sigma'\], given \['nu', 'sigma'\]"),
        ("mu = 0.0, sigma", "sigma", r"LogNormal takes \['mu', 'sigma'\], given \['sigma'\]"),
        ("sigma = 0.3", "sigma = -0.3", r"prior 'level': sigma = -0.3 \(must be > 0\)"),
        ("sigma = 0.3", "sigma = 0", r"sigma = 0 \(must be > 0\)"),
        ("sigma = 0.3", "sigma = inf", r"prior 'level': sigma must be a finite number, not inf"),
        ("sigma = 0.3", "sigma = nan", "sigma must be a finite number, not nan"),
        ("sigma = 0.3", "sigma = true", "sigma must be a finite number, not True"),
        ("sigma = 0.3", 'sigma = "0.3"', "sigma must be a finite number, not '0.3'"),
        ("sigma = 0.3", "sigma = 1" + "0" * 400, "sigma must be a finite number, not inf"),
        ("sigma = 0.3", "sigma = 0x" + "f" * 9000, "sigma must be a finite number, not inf"),
        ('"nobody"', "0x" + "f" * 9000, "'cite' must be text, not a huge integer"),
        ("sigma = 0.3", "sigma = 1" + "0" * 5000, "not valid TOML"),
        ('"LogNormal", mu = 0.0, sigma = 0.3', '"Uniform", lower = 2, upper = 1', "lower = 2 must be below upper = 1"),
        ("level = {", "level = [{", "not valid TOML"),
        ("level = {", "N = {", "'N' has a meaning of its own"),
        ("level = {", "N_ref = {", "'N_ref' has a meaning of its own"),
        ("twice = {", "sigma = {", "'sigma' has a meaning of its own"),
        ("u = ", "loss = ", "'loss' has a meaning of its own"),
        ("u = ", "data_0 = ", "'data_0' has a meaning of its own"),
        ("u = ", '"a/b" = "1"\nu = ', r"'a/b' in \[where\] is not a name"),
        ("[where]\n", '[where]\nlate = "u"\n', r"where.late uses \['u'\], which must stand above it"),
        ("-slope)", "-slope*u)", r"where.u uses \['u'\], which must stand above it"),
        ("[where]", '[where]\na = "b"\nb = "a"', r"where.a uses \['b'\], which must stand above it"),
        ("[where]", '[where]\nlevel = "1"', r"\['level'\] stand both in \[where\] and in \[priors\]"),
        ('[where]\nu = "(N/N_ref)**(-slope)"', "where = 5", r"'where' must be a table \[where\], not 5"),
        ("2*slope", "2*N", r"derived 'twice' uses \['N'\]; known here are"),
        ("2*slope", "2*u", r"derived 'twice' uses \['u'\]; known here are"),  # u depends on N
        ("twice = {", "slope = {", "'slope' is both a prior and a derived quantity"),
        ("N_ref*C", "N*C", r"optimum.N uses \['N'\]"),
        ('N = "N_ref*C"', 'D = "C"', r"\[optimum\]: unknown keys \['D'\]; the keys are \['N'\]"),
        ("twice*N**", "thrice*N**", r"published.formula uses \['thrice'\]"),
        ("twice = 1.0,", "", r"preset 'one' gives \['slope'\], the published formula needs \['slope', 'twice'\]"),
        ('source = "here"', 'source = ""', "preset 'one': 'source' is empty"),
        ('source = "here"', "", "preset 'one' needs 'source' and a table 'values'"),
        ("[where]", "traps = 5\n[where]", "'traps' must be a list of sentences"),
        ("[where]", "[where", "not valid TOML"),
        ("[where]", "x = " + "[" * 5000, "not valid TOML"),
    ],
    ids=lambda text: str(text)[:24],
)
def test_broken_law(old, new, message):
    assert old in GOOD
    with pytest.raises(LawError, match=message) as refused:
        parse_law(GOOD.replace(old, new, 1), "bad")
    assert "\n" not in str(refused.value)


def test_long_chains_of_sub_expressions_are_refused():
    laughs = '[where]\nr0 = "slope"\n' + "\n".join(f'r{i} = "r{i - 1}*r{i - 1}"' for i in range(1, 500))
    with pytest.raises(LawError, match=r"501 entries in \[where\]; at most 100 are allowed"):
        parse_law(GOOD.replace("[where]", laughs, 1), "bad")


def test_a_short_chain_is_linear_work():
    laughs = '[where]\nr0 = "slope"\n' + "\n".join(f'r{i} = "r{i - 1}*r{i - 1}"' for i in range(1, 60))
    law = parse_law(GOOD.replace("[where]", laughs, 1).replace("-slope)", "-r59)", 1), "chain")
    assert law_loss(law, {"N": 2.0, "N_ref": 1.0, "L_ref": 1.0, "level": 1.0, "slope": 0.5}) == pytest.approx(1.0)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_law_from_a_path_and_passed_through(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, encoding="utf-8")
    law = load_law(path)
    assert law.name == "mine" and load_law(str(path)) == law and load_law(law) is law


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chinchila", "unknown law 'chinchila'; the laws are .*chinchilla.*; did you mean 'chinchilla'"),
        ("zzz", "unknown law 'zzz'; the laws are .*; a law file of your own is given by its path, ./mine.toml"),
        ("", "unknown law ''"),
        ("./absent.toml", "law file 'absent.toml': No such file"),
        ("a\0b.toml", "null byte"),
    ],
)
def test_unknown_law(name, message):
    with pytest.raises(LawError, match=message):
        load_law(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), "broken.toml is not UTF-8 text"),
        (b"title = 'caf\xe9'", "is not UTF-8 text"),
        (b"\x00\x01\x02", "law 'broken': not valid TOML"),
        (b"", "law 'broken': 'title' is missing or empty"),
        (b"#" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes: this is not a law file"),
    ],
    ids=["utf16", "latin1", "binary", "empty", "large"],
)
def test_unreadable_law_file(tmp_path, content, message):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(LawError, match=message):
        load_law(path)


def test_folder_for_a_law_file(tmp_path):
    with pytest.raises(LawError, match="Is a directory"):
        load_law(tmp_path)
