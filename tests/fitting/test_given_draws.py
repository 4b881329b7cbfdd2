"""Draws that were made elsewhere become a fit, or are refused by name."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import bayescale
from bayescale.errors import FitError
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.given_draws import fit_from_draws
from bayescale.study import Study


@pytest.fixture(scope="module")
def drawn(sampled, pile):
    """What a sampler of an extended model returns: more variables, other groups, no attributes."""
    posterior = sampled["posterior"].to_dataset()
    posterior = posterior.assign(
        mu=(("chain", "draw", "run"), np.zeros((*sampled["posterior"]["level"].shape, pile.sizes["run"])))
    )
    stats = sampled["sample_stats"].to_dataset().assign(step=(("chain",), np.ones(4)))
    return xr.DataTree.from_dict({"posterior": posterior.drop_vars("alpha"), "sample_stats": stats})


def test_draws_become_the_fit_that_was_sampled(drawn, sampled, pile, tmp_path):
    fit = fit_from_draws(drawn, pile, "chinchilla")
    for group in ("posterior", "log_likelihood", "observed_data", "constant_data", "sample_stats"):
        xr.testing.assert_allclose(fit[group].to_dataset(), sampled[group].to_dataset())
    ours, theirs = diagnostics(fit), diagnostics(sampled)
    for name in ("converged", "clean", "r_hat_max", "ess_min", "e_bfmi", "divergences", "prior_share", "noted"):
        assert ours[name] == theirs[name], name
    opened = bayescale.open_fit(bayescale.save_fit(fit, tmp_path / "fit.nc"))
    assert bayescale.allocate(opened, 1e21).attrs["kind"] == "allocate"
    with pytest.raises(FitError, match="the draws of this fit were made elsewhere"):
        bayescale.reproduce(opened, pile)


def test_draws_without_statistics_say_so(drawn, pile):
    fit = fit_from_draws(drawn["posterior"].to_dataset(), pile, "chinchilla")
    assert json.loads(fit.attrs["notes"])[0]["code"] == "no_divergences"
    assert any("divergences" in text for text in bayescale.read(bayescale.allocate(fit, 1e21)).warnings)


def changed(drawn, name, change):
    posterior = drawn["posterior"].to_dataset().copy()
    posterior[name] = change(posterior[name].copy(deep=True))
    return posterior


def _with(value):
    def change(values):
        values[1, 7] = value
        return values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["posterior"].to_dataset().drop_vars(["lean", "tilt"]), r"draws of \['lean', 'tilt'\] are missing"),
        (lambda x: changed(x, "lean", _with(np.nan)), r"1 of \d+ draws of 'lean' are not finite"),
        (lambda x: changed(x, "level", _with(-1.0)), r"1 of \d+ draws of 'level' are outside its prior LogNormal"),
        (lambda x: changed(x, "lean", lambda v: v.isel(chain=0)), r"'lean' are \[draw\]; \[chain, draw\] is expected"),
        (lambda x: changed(x, "lean", lambda v: v.expand_dims(group=2)), r"\[group, chain, draw\]; \[chain, draw\] is"),
        (lambda x: changed(x, "lean", lambda v: v.astype(str)), "draws of 'lean' are no numbers"),
        (lambda x: x["posterior"].to_dataset().isel(draw=slice(50)), "draws = 50 "),
        (lambda x: x["posterior"].to_dataset().isel(chain=[0]), "chains = 1 "),
        (lambda x: x["sample_stats"].to_dataset(), r"draws of \['floor', 'lean', .*\] are missing"),
        (lambda x: xr.DataTree(), r"draws are expected, a tree with the group posterior \[chain, draw\]"),
    ],
)
def test_draws_that_cannot_be_used_are_refused_by_name(change, message, drawn, pile):
    with pytest.raises(FitError, match=message):
        fit_from_draws(change(drawn), pile, "chinchilla")


def test_chains_apart_do_not_pass_the_gate(drawn, pile):
    apart = changed(drawn, "lean", lambda x: x + 0.3 * x["chain"])
    with pytest.raises(FitError, match="did not converge after 1 attempt"):
        fit_from_draws(apart, pile, "chinchilla")
    assert not diagnostics(fit_from_draws(apart, pile, "chinchilla", allow_unconverged=True))["converged"]


def test_statistics_of_other_draws_are_refused(drawn, pile):
    other = drawn.copy()
    other["sample_stats"] = xr.DataTree(drawn["sample_stats"].to_dataset().isel(draw=slice(10)))
    with pytest.raises(FitError, match="'diverging' of the draws' sample_stats has other chains or draws"):
        fit_from_draws(other, pile, "chinchilla")


def test_groups_come_back_too(pile):
    """The model of pooled groups has the fit's parameters, and its draws become that fit."""
    pooled = bayescale.fit(pile, "chinchilla", group="family", by=["level"], noise="normal", draws=200, chains=4)
    options = {"group": "family", "by": ["level"], "noise": "normal"}
    model = bayescale.pymc_model(pile, "chinchilla", **options)
    study = Study.opened(pooled)
    assert {variable.name for variable in model.free_RVs} == set(study.priors)
    assert {f"level_{name}" for name in ("pythia", "cerebras_gpt")} <= {one.name for one in model.deterministics}
    again = fit_from_draws(pooled, pile, "chinchilla", **options)
    xr.testing.assert_allclose(again["posterior"].to_dataset(), pooled["posterior"].to_dataset())
    points = {"covariates": {"group": "pythia"}, "seed": 1}
    ours, theirs = (bayescale.forecast(fit, 2e10, 4e11, **points)["predictions"]["law_loss"] for fit in (again, pooled))
    np.testing.assert_allclose(ours, theirs)


GUIDE = (Path(__file__).resolve().parent.parent.parent / "docs" / "guides" / "pymc.md").read_text(encoding="utf-8")
BEFORE, _, WISHES = GUIDE.partition("## Five wishes")
WISHES, _, AFTER = WISHES.partition("## All of ArviZ")


def blocks(text):
    return re.findall(r"^```python\n(.+?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run_block(block, names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(block, names)


@pytest.fixture(scope="module")
def first_names():
    """What the first example of the guide leaves: modules, runs, the model."""
    names = {}
    run_block(blocks(GUIDE)[0], names)
    return names


def test_five_wishes_of_under_ten_lines():
    assert len(blocks(WISHES)) == 5 and all(len(block.splitlines()) < 10 for block in blocks(WISHES))


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks(WISHES), ids=["prior", "covariate", "family", "errors", "numpyro"])
def test_wishes_come_true(block, first_names, tmp_path, monkeypatch):
    if "numpyro" in block:
        pytest.importorskip("numpyro", reason="pip install numpyro")
    monkeypatch.chdir(tmp_path)
    names = dict(first_names)
    run_block(block, names)
    made = [value for name, value in names.items() if name not in first_names and isinstance(value, xr.DataTree)]
    assert all(diagnostics(one)["converged"] for one in made if "diagnostics" in one.attrs) and made


@pytest.mark.slow
def test_guide_runs():
    """Every other Python example of the guide, one after the other."""
    names = {}
    for block in blocks(BEFORE + AFTER):
        run_block(block, names)
    pulled, fit = (float(names[name]["posterior"]["alpha"].std()) for name in ("pulled", "fit"))
    assert pulled < fit and pulled < 0.03
