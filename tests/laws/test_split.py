"""What is known before the parameters: numbers, data, and which powers may be written as exponentials."""

import numpy as np
import pytest

from bayescale.engine.density import Density, log_posterior
from bayescale.engine.numba_density import source
from bayescale.errors import LawError
from bayescale.laws.data_split import fold, split_data
from bayescale.laws.formula import evaluate, parse
from bayescale.laws.javascript import law_script
from bayescale.laws.law import law_loss, loss_given
from bayescale.laws.law_file import parse_law

TEXT = """title = "t"
cite = "c"
formula = "exp(E + (0.3 + t)**{power}*0.05*log(N/N_ref)**2)"
{where}
[priors]
E = {{ dist = "Normal", mu = 0.5, sigma = 1 }}
t = {{ dist = "Normal", mu = -1.2, sigma = 0.3 }}
"""


def law(power, where=""):
    return parse_law(TEXT.format(power=power, where=f"[where]\n{where}" if where else ""), "law")


@pytest.mark.parametrize(
    ("power", "where"), [("k", 'k = "2"'), ("k", 'half = "1"\nk = "half + half"'), ("-k", 'k = "-2"')]
)
def test_a_number_with_a_name_is_a_number(power, where):
    """The same machine code, the same JavaScript, the same values of a negative base."""
    named, plain = law(power, where), law("2")
    assert source(log_posterior(named, "student_t")) == source(log_posterior(plain, "student_t"))
    fixed = {"N_ref": 1e9}
    assert law_script(named, fixed).partition("const loss")[2] == law_script(plain, fixed).partition("const loss")[2]
    inputs, params = {"N": np.array([1e8, 1e9, 1e10]), **fixed}, {"E": 0.5, "t": -1.2}
    expected = np.exp(0.5 + 0.81 * 0.05 * np.log(inputs["N"] / 1e9) ** 2)
    np.testing.assert_allclose(law_loss(named, inputs | params), expected, rtol=1e-14)
    np.testing.assert_allclose(loss_given(named, inputs)(params), expected, rtol=1e-14)


def test_names_of_numbers_are_held_to_what_numbers_are():
    with pytest.raises(LawError, match="exponent 65 in formula: at most 64"):
        law("k", 'k = "64 + 1"')
    with pytest.raises(LawError, match=r"where\.k must be a finite number, not inf"):
        law("k", 'k = "1e300*1e300"')


def test_folding_leaves_what_has_names():
    folded = fold({"k": parse("2"), "half": parse("k/4"), "w": parse("half*t"), "out": parse("w**half + k")})
    assert folded["w"] == parse("0.5*t") and folded["out"] == parse("w**0.5 + 2")


@pytest.mark.parametrize("exponent", ["n", "n + 1", "2*w", "minimum(q, 2)", "maximum(w, 2*tanh(q))"])
def test_a_power_that_may_have_a_negative_base_stays_one(exponent):
    """Whole numbers as exponents, from the data or where a minimum holds them: (-1.5)**2 is 2.25 and not NaN."""
    trees = {"w": parse("n/2"), "out": parse(f"t**({exponent})")}
    split, parts = split_data(trees, {"n"}, {"t", "q"})
    values = {"t": np.array([-1.5, 2.0, 0.0]), "q": 30.0, "n": np.array([2.0, 2.0, 2.0])}
    direct = values | {"w": values["n"] / 2}
    ready = direct | {name: evaluate(part, direct) for name, part in parts.items()}
    expected = evaluate(trees["out"], direct)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(evaluate(split["out"], ready), expected, rtol=1e-14)


def test_its_slopes_are_those_of_a_power(caller):
    function = Density(("t",), (), ("n",), {}, parse("0"), parse("t**n"))
    status, value, gradient = caller(function, {"n": np.array([1.0, 2.0, 3.0])})([-1.5])
    assert status == 0 and value == pytest.approx(-1.5 + 2.25 - 3.375)
    assert gradient[0] == pytest.approx(1 - 3 + 3 * 2.25)
    assert "x0 ** c0" in source(function) and "c0 * x0 ** (c0 - 1.0)" in source(function)


def test_an_exponent_that_moves_makes_an_exponential():
    split, _ = split_data({"out": parse("(a + b)**(-q/2)")}, set(), {"a", "b", "q"})
    assert split["out"] == parse("exp(-q/2*log(a + b))")
