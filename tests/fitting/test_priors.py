"""Fits with priors of single parameters and weights: against a closed form, what is said, what travels."""

import json

import numpy as np
import pytest
import xarray as xr

import bayescale
from bayescale.engine.pymc import build_model
from bayescale.fitting.diagnostics import check_identification, diagnostics
from bayescale.fitting.fit import fit
from bayescale.laws.law_file import parse_law
from bayescale.laws.own_priors import with_priors
from bayescale.study import Study, law_of

LINE = """
title = "A straight line"
cite = "a test"
formula = "start + rise*x"
[observed]
column = "score"
scale = "linear"
[priors]
start = { dist = "Normal", mu = 0.0, sigma = 2.0, about = "score at 0" }
rise = { dist = "Normal", mu = 0.0, sigma = 2.0, about = "score by x" }
[derived]
total = { formula = "start + 2*rise", about = "score at 2" }
"""
PRIORS = {"rise": "Normal(1.9, 0.05)", "total": "Normal(2.4, 0.02)", "score(x=4)": "Normal(4.4, 0.05)"}
PRIORS |= {"tilt": "Normal(0, 0.01)"}


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(5)
    x = np.linspace(0.1, 3.0, 24)
    return {"x": x, "score": 0.4 + x + 0.05 * rng.standard_normal(24)}


@pytest.fixture(scope="module")
def fitted(runs):
    return fit(runs, parse_law(LINE, "line"), noise="normal", priors=PRIORS, seed=1)


def test_posterior_is_the_closed_form(fitted):
    """Given the noise, the posterior of a line is normal: priors and weights are further observations of it."""
    study = Study.opened(fitted)
    x, seen = study.runs["x"].values, study.seen.values
    sigma, tilt = (fitted["posterior"][name].values.ravel()[:, None] for name in ("sigma", "tilt"))
    sd = study.scatter.unit * (1e-4 + sigma * np.exp(tilt * study.covariates()["log_compute"]))  # [draw, run]
    rows = np.array([*np.column_stack([np.ones_like(x), x]), [1, 0], [0, 1], [1, 2], [1, 4]])
    values = np.array([*seen, 0.0, 1.9, 2.4, 4.4])
    sds = np.concatenate([sd, np.broadcast_to([2.0, 0.05, 0.02, 0.05], (len(sd), 4))], axis=1)
    precision = np.einsum("ri,dr,rj->dij", rows, sds**-2, rows)
    mean = np.linalg.solve(precision, np.einsum("ri,dr,r->di", rows, sds**-2, values)[..., None])[..., 0]
    covariance = np.linalg.inv(precision)
    report = diagnostics(fitted)["ess_bulk"]
    assert float(fitted["posterior"]["tilt"].std()) < 0.012
    for i, name in enumerate(("start", "rise")):
        z = (fitted["posterior"][name].values.ravel() - mean[:, i]) / np.sqrt(covariance[:, i, i])
        assert abs(z.mean()) < 4.5 / np.sqrt(report[name]), name
        assert abs(z.std() - 1) < 4.5 / np.sqrt(report[name]), name


def test_pymcs_model_has_the_same_density(fitted, caller):
    from pytensor.compile import Mode

    from bayescale.engine.density import log_posterior, posterior_data
    from bayescale.fitting.starts import unbounded

    study = Study.opened(fitted)
    call = caller(log_posterior(study.law, "normal"), posterior_data(study))
    model = build_model(study)
    density = model.compile_logp(mode=Mode(linker="py", optimizer=None))
    names = [variable.name for variable in model.value_vars]
    draws = {name: fitted["posterior"][name].values[0, :4] for name in study.priors}
    apart = []
    for position in unbounded(draws, study.priors):
        theirs = float(density({name: np.asarray(x) for name, x in zip(names, position, strict=True)}))
        apart.append(call(position)[1] - theirs)
    np.testing.assert_allclose(apart, apart[0], rtol=1e-8, atol=1e-8)
    assert [one.name for one in model.potentials] == ["weights"]


def test_they_travel_and_are_told(fitted, runs, tmp_path):
    opened = bayescale.open_fit(bayescale.save_fit(fitted, tmp_path / "fit.nc"))
    assert law_of(opened) == with_priors(parse_law(LINE, "line"), PRIORS)
    notes = {note["code"]: note for note in json.loads(opened.attrs["notes"])}
    for text in ("rise ~ Normal(mu = 1.9, sigma = 0.05)", "total ~ Normal(mu = 2.4, sigma = 0.02) (a weight)"):
        assert text in notes["priors_given"]["text"] and text in str(bayescale.show(opened))
    held = bayescale.fit_contents(opened)
    assert held["priors"]["rise"] == "Normal(mu = 1.9, sigma = 0.05)" and set(held["weights"]) == {
        "total",
        "score(x=4)",
    }
    assert bayescale.reproduce(opened, runs).attrs["verdict"] == "same_bits"


def test_prior_that_contradicts_the_runs_is_named(fitted):
    said = [text for text in bayescale.fit_contents(fitted)["warnings"] if "contradict" in text]
    assert len(said) == 1 and said[0].startswith("the prior of rise and the runs contradict each other: the prior says")


def test_a_weight_is_not_taken_for_what_the_runs_say(fitted):
    """Of a quantity of which the runs say nothing the weight decides, and 0.9 of what is believed is in its band."""
    law = with_priors(parse_law(LINE, "line"), {"total": "Normal(2.4, 0.05)"})
    rng = np.random.default_rng(6)
    rows, values, sds = np.array([[1, 0], [0, 1], [1, 2]]), np.array([0, 0, 2.4]), np.array([2.0, 2.0, 0.05])
    covariance = np.linalg.inv(rows.T @ np.diag(sds**-2.0) @ rows)
    start, rise = rng.multivariate_normal(covariance @ rows.T @ (values / sds**2), covariance, size=(4, 1000)).T
    draws = {
        name: (("chain", "draw"), x.T) for name, x in (("start", start), ("rise", rise), ("total", start + 2 * rise))
    }
    draws["sigma"] = draws["start"]
    study = Study.opened(fitted)
    share = check_identification(law, study.runs, xr.Dataset(draws), study.constants)["prior_share"]
    assert share["total"] == pytest.approx(0.9, abs=0.04)


def test_command_line_takes_them():
    from bayescale.cli.fits import _priors
    from bayescale.errors import InputError

    given = ["alpha=Normal(.34, .02)", "loss(N=70B, D=1.4T) = Normal(mu=1.95, sigma=.05)"]
    assert _priors(given) == {"alpha": "Normal(.34, .02)", "loss(N=70B, D=1.4T)": "Normal(mu=1.95, sigma=.05)"}
    for text in ("alpha", "=Normal(0, 1)"):
        with pytest.raises(InputError, match="NAME=PRIOR is expected"):
            _priors([text])
    with pytest.raises(InputError, match="is given twice"):
        _priors(["alpha=Normal(0, 1)", "alpha=Normal(0, 2)"])
