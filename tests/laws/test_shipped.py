"""Laws that have a shipped name and another text are found, and said to be so by all that is made of their fits."""

import json

import pytest

import bayescale
from bayescale.display.contents import contents_tables, fit_contents
from bayescale.errors import FitError
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.reproduce import reproduce
from bayescale.fitting.store import open_fit, save_fit
from bayescale.forecasts.forecast import forecast
from bayescale.laws.law import law_names, load_law, models_folder
from bayescale.laws.law_file import parse_law
from bayescale.laws.shipped import changed_law, differences, kind_of

pytestmark = pytest.mark.usefixtures("drift_once")
TEXT = (models_folder() / "chinchilla.toml").read_text(encoding="utf-8")
NARROW = TEXT.replace("mu = 0.0, sigma = 0.5, about", "mu = 0.4, sigma = 0.03, about")
SAID = "prior of lean is Normal(mu = 0.4, sigma = 0.03), shipped Normal(mu = 0, sigma = 0.5)"


@pytest.mark.parametrize("name", law_names())
def test_shipped_laws_are_shipped(name):
    assert kind_of(load_law(name)) == "shipped" and changed_law(load_law(name)) == []


def test_what_differs_is_named():
    assert TEXT != NARROW
    assert differences(parse_law(NARROW, "chinchilla")) == [SAID]
    steeper = TEXT.replace("(1 - share)*(D/D_ref)**(-beta)", "(1 - share)*(D/D_ref)**(-2*beta)", 1)
    assert "formula is L_ref * level" in differences(parse_law(steeper, "chinchilla"))[0]
    remark = TEXT.replace("the two shortages add", "two shortages add")
    assert differences(parse_law(remark, "chinchilla")) == [
        "words only (title, source, remarks); formula and priors are the same"
    ]


def test_another_name_does_not_hide_it():
    law = parse_law(NARROW, "mine")  # the title is still that of the shipped law
    assert kind_of(law) == "changed" and "has the title of bayescale's law 'chinchilla'" in changed_law(law)[0]["text"]
    own = parse_law(NARROW.replace("Chinchilla: an irr", "My own irr"), "mine")
    assert kind_of(own) == "own" and changed_law(own) == [] and differences(own) == []


@pytest.fixture(scope="module")
def changed(true_fit):
    """A fit of a law that only has the name of the shipped one; the fit itself says nothing of it."""
    fit = true_fit(draws=100)
    fit.attrs["law_text"] = NARROW
    return fit


def test_a_saved_fit_of_a_changed_law_says_so_with_all_that_is_made_of_it(changed, tmp_path):
    opened = open_fit(save_fit(changed, tmp_path / "fit.nc"))
    assert any(SAID in text for text in trust_warnings(diagnostics(opened)))
    assert sum(SAID in text for text in bayescale.read(forecast(opened, 1e9, 2e10)).warnings) == 1
    again = open_fit(save_fit(opened, tmp_path / "again.nc"))
    assert sum(SAID in text for text in trust_warnings(diagnostics(again))) == 1
    hidden = changed.copy()
    claimed = [{"code": "changed_law", "severity": "warning", "text": "all is well", "rows": []}]
    hidden.attrs["notes"] = json.dumps(claimed)
    told = trust_warnings(diagnostics(open_fit(save_fit(hidden, tmp_path / "hidden.nc"))))
    assert any(SAID in text for text in told) and "all is well" not in told


def test_reproduce_says_so(changed, crossed_runs):
    other = reproduce(changed, crossed_runs(seed=1))  # other runs: nothing is fitted
    assert SAID in other.attrs["statement"] and len(other.attrs["law_differs"]) == 1


def test_what_is_in_a_fit(changed, true_fit, crossed_runs):
    held = fit_contents(changed)
    assert held["law"]["kind"] == "changed" and held["law"]["differences"] == [SAID]
    assert held["runs"]["count"] == 24 and held["runs"]["counted_by"] == "row" and held["noise"] == "student_t"
    assert set(held["runs"]["columns"]) == {"params", "tokens", "compute", "loss"}
    text = "\n".join(str(table) for table in contents_tables(changed))
    assert "NOT the law 'chinchilla' that bayescale ships" in text and SAID in text
    shipped = true_fit(draws=100)
    assert fit_contents(shipped)["law"]["kind"] == "shipped"
    shipped.attrs["read"] = json.dumps({"loss": "val_loss [nats]", "compute": "6 N D"})
    assert fit_contents(shipped)["read"] == "loss = val_loss [nats], compute = 6 N D"  # a line, as everywhere
    assert "read as" in str(contents_tables(shipped)[0]) and "{" not in fit_contents(shipped)["read"]
    assert "as bayescale ships it" in str(contents_tables(shipped)[0])
    with pytest.raises(FitError, match="a fit is expected"):
        fit_contents(crossed_runs())
