"""The best split of a budget by published constants."""

import pytest

import bayescale
from bayescale.errors import BayescaleError
from bayescale.laws.law import load_law


def hoffmann_optimum(values, compute):
    """Eq. 4 of arXiv:2203.15556: N* = G (C/6)^a."""
    alpha, beta = values["alpha"], values["beta"]
    G = (alpha * values["A"] / (beta * values["B"])) ** (1 / (alpha + beta))
    return G * (compute / 6) ** (beta / (alpha + beta))


@pytest.mark.parametrize("compute", [1e18, 5.76e23, 1e28])
def test_chinchilla_is_its_closed_form(compute):
    table = bayescale.published_split("chinchilla", compute).set_index("preset")
    for name, preset in load_law("chinchilla").presets.items():
        found, values = table.loc[name], preset.values
        assert found["params"] == pytest.approx(hoffmann_optimum(values, compute), rel=1e-6)
        assert 6 * found["params"] * found["tokens"] == pytest.approx(compute, rel=1e-9)
        reducible = values["A"] * found["params"] ** -values["alpha"] + values["B"] * found["tokens"] ** -values["beta"]
        assert found["loss"] == pytest.approx(values["E"] + reducible, rel=1e-12)


def test_what_the_papers_constants_say_of_the_compute_of_chinchilla():
    """59 tokens per parameter by the constants of Hoffmann et al., 18.3 by those of Besiroglu et al."""
    ratio = bayescale.published_split("chinchilla", 5.76e23).set_index("preset")["ratio"]
    assert ratio["hoffmann2022"] == pytest.approx(58.9, abs=0.1)
    assert ratio["besiroglu2024"] == pytest.approx(18.26, abs=0.02)


def test_repeated_data():
    ample, scarce = (
        bayescale.published_split("data_constrained", 1e22, given={"unique_tokens": unique}) for unique in (1e13, 2e10)
    )
    values = load_law("data_constrained").presets["muennighoff2023"].values
    assert ample["params"][0] == pytest.approx(hoffmann_optimum(values, 1e22), rel=0.05), "nothing is repeated"
    assert scarce["loss"][0] > ample["loss"][0]


@pytest.mark.parametrize(
    ("law", "options", "message"),
    [
        ("m3", {}, "a split of compute needs a law of N and D"),
        ("rosenfeld", {}, "law 'rosenfeld' comes without published constants"),
        ("precision", {}, r"needs \['bits'\] besides compute|law 'precision'"),
        ("data_constrained", {}, r"needs \['unique_tokens'\] besides compute; .*--at unique_tokens="),
        ("chinchilla", {"given": {"epochs": 2.0}}, "'epochs' is not an input of law 'chinchilla'"),
    ],
)
def test_refusals(law, options, message):
    with pytest.raises(BayescaleError, match=message):
        bayescale.published_split(law, 1e22, **options)


def test_no_split_where_the_loss_falls_to_the_end():
    table = bayescale.published_split("farseer", 5.76e23)
    assert table["at_end"].all() == ("no best split" in str(bayescale.show(table)))
