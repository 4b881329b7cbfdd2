"""Priors that a law is given: what they may be of, how they are written, what is refused."""

import math

import numpy as np
import pytest
from scipy import stats

from bayescale.errors import FitError, LawError
from bayescale.laws.beliefs import NOISE_PARAMETERS
from bayescale.laws.law import law_derived, law_loss, load_law, log_weight
from bayescale.laws.law_file import parse_law
from bayescale.laws.noises import NOISES
from bayescale.laws.own_priors import with_priors, without_beliefs
from bayescale.laws.priors import Prior
from bayescale.laws.scatter import Scatter
from bayescale.laws.shipped import changed_law, differences

VALUES = {
    "level": 1.1,
    "slope": 0.1,
    "lean": 0.2,
    "floor": 0.6,
    "share": 0.4,
    "N_ref": 1e9,
    "D_ref": 1e10,
    "L_ref": 2.0,
}


def test_prior_of_a_parameter_replaces_the_laws():
    law = load_law("chinchilla")
    mine = with_priors(law, {"lean": "Normal(.1, sigma=.02)"})
    assert mine.priors["lean"].params == {"mu": 0.1, "sigma": 0.02} and mine.priors["lean"].about
    assert {name: prior for name, prior in mine.priors.items() if name != "lean"} == {
        name: prior for name, prior in law.priors.items() if name != "lean"
    }
    assert log_weight(mine, VALUES) == 0.0 and not mine.beliefs["lean"].weight
    assert differences(mine) == ["prior of lean is Normal(mu = 0.1, sigma = 0.02), shipped Normal(mu = 0, sigma = 0.5)"]


@pytest.mark.parametrize(
    "name", ["alpha", "E", "a", "loss(70B, 1.4T)", "loss(D=1.4e12, N=70e9)", "loss(params=70B, tokens=1.4T)"]
)
@pytest.mark.parametrize("dist", ["Normal", "LogNormal"])
def test_weight_is_the_density_of_what_papers_print(name, dist):
    law = with_priors("chinchilla", {name: f"{dist}(.34, .5)"})
    at = VALUES | {"N": 70e9, "D": 1.4e12}
    derived = law_derived(law, VALUES)
    x = np.array([law_loss(law, at) if "(" in name else derived[name], 0.0])
    x[1] = 1.3 * x[0]
    density = stats.norm(0.34, 0.5) if dist == "Normal" else stats.lognorm(0.5, scale=math.exp(0.34))
    # the level moves a loss in proportion, and not the exponents
    moved = VALUES | ({"level": 1.3 * VALUES["level"]} if name == "E" or "(" in name else {"slope": 0.13})
    x[1] = law_loss(law, at | moved) if "(" in name else law_derived(law, moved)[name]
    expected = density.logpdf(x)
    assert log_weight(law, moved) - log_weight(law, VALUES) == pytest.approx(expected[1] - expected[0], rel=1e-9)
    assert law.priors == load_law("chinchilla").priors


def test_text_of_the_law_carries_them_and_gives_the_law_back():
    law = load_law("coupled")
    once = with_priors(law, {"alpha": "Normal(0.34, 0.02)", "q": Prior("LogNormal", {"mu": 0.0, "sigma": 0.1})})
    twice = with_priors(once, {"alpha": "Normal(0.4, 0.02)", "loss(70B, 1.4T)": "Normal(1.95, 0.05)"})
    assert parse_law(twice.text, "coupled") == twice
    assert {name: str(belief.prior) for name, belief in twice.beliefs.items()} == {
        "alpha": "Normal(mu = 0.4, sigma = 0.02)",
        "q": "LogNormal(mu = 0, sigma = 0.1)",
        "loss(70B, 1.4T)": "Normal(mu = 1.95, sigma = 0.05)",
    }
    assert without_beliefs(twice) == law and with_priors(law, None) is law and changed_law(twice) == []


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"gamma": "Normal(0, 1)"}, r"belief 'gamma': no such quantity; those of the law are \['A', 'B', 'E'"),
        ({"sigma": "Normal(0.01, 0.001)"}, "Normal; the scale of the noise takes a LogNormal prior"),
        ({"alpha": "Normal(0)"}, r"prior of alpha = Normal\(0\): Normal takes \['mu', 'sigma'\]"),
        ({"alpha": "Normal(0, 1, 2)"}, r"Normal takes \['mu', 'sigma'\]"),
        ({"alpha": "Normal(0, -1)"}, r"sigma = -1 \(must be > 0\)"),
        ({"alpha": "Normal(0, x)"}, r"not a prior; Normal\(0.34, 0.02\) is one"),
        ({"alpha": "Cauchy(0, 1)"}, "unknown distribution 'Cauchy'"),
        ({"alpha": 0.34}, "not a prior"),
        ({"alpha": "Uniform(0, 1)"}, "Uniform is for parameters; a quantity made of them takes Normal or LogNormal"),
        ({"loss(70B)": "Normal(2, 1)"}, "D is missing; the inputs are N, D"),
        ({"loss(70B, 1T, 3)": "Normal(2, 1)"}, "the inputs are N, D, each given once"),
        ({"loss(N=70B, N=1T)": "Normal(2, 1)"}, "the inputs are N, D, each given once"),
        ({"loss(70B, much)": "Normal(2, 1)"}, "much is no number above 0"),
        ({"accuracy(70B, 1T)": "Normal(2, 1)"}, "the law is of loss, not of accuracy"),
        ({"löss(1, 2)": "Normal(2, 1)"}, "not the name of a quantity"),
        ("alpha=Normal(0, 1)", "priors by name are expected"),
    ],
)
def test_what_is_no_prior_is_refused_in_one_sentence(priors, message):
    with pytest.raises(LawError, match=message) as caught:
        with_priors("chinchilla", priors)
    assert "\n" not in str(caught.value)


def test_priors_of_the_noise_are_its_own():
    assert {name for noise in NOISES.values() for name in noise.priors} == set(NOISE_PARAMETERS)
    law = with_priors("chinchilla", {"sigma": "LogNormal(-6, 0.3)", "tilt": "Normal(0, 0.01)"})
    priors = Scatter.of(law).priors
    assert list(priors) == ["sigma", "tilt", "nu_minus_2"] and priors["tilt"].about
    assert priors["sigma"].params == {"mu": -6.0, "sigma": 0.3} and "sigma" not in law.priors
    assert differences(law) == [
        "belief of sigma is LogNormal(mu = -6, sigma = 0.3), shipped none",
        "belief of tilt is Normal(mu = 0, sigma = 0.01), shipped none",
    ]
    only = with_priors("chinchilla", {"nu_minus_2": "Gamma(2, 0.5)"})
    with pytest.raises(FitError, match="noise 'normal' has no parameter 'nu_minus_2'"):
        Scatter.of(only, "normal")
