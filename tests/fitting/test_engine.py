"""The PyMC model as the engine of a fit: the same posterior, and what is refused before anything is built."""

import json
import sys

import numpy as np
import pytest

import bayescale
from bayescale.errors import FitError
from bayescale.fitting import fit as fit_module
from bayescale.fitting import sampling
from bayescale.fitting.fit import fit

QUANTILES = (0.05, 0.5, 0.95)
APART_MAX = 3.5  # Monte Carlo errors: the largest of 45 such numbers is above it once in 50 times by chance


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "stan"}, "engine = 'stan': one of compiled, pymc is expected"),
        ({"engine": "pymc", "backend": "c"}, "backend = 'c': one of numba, jax, pymc is expected"),
        ({"backend": "jax"}, "backend = 'jax': the engine 'compiled' has none; engine='pymc' has"),
        ({"engine": "pymc", "quick": True}, r"quick=True \(--quick\) goes with the default engine"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message, pile):
    with pytest.raises(FitError, match=message):
        fit(pile, "chinchilla", **options)


def test_jax_that_is_not_installed_is_refused(pile, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(FitError, match=r"^backend = 'jax': JAX is not installed; pip install bayescale\[jax\]$"):
        fit(pile, "chinchilla", engine="pymc", backend="jax")


def test_backend_is_kept_and_asked_for_again(pile, sampled, monkeypatch):
    """The engine is chosen once; how its draws are checked and kept does not depend on it."""
    asked = []

    def engine(study, start, backend):
        asked.append(backend)
        return fit_module.numba_model(study, start)

    monkeypatch.setattr(fit_module, "pymc_engine", engine)
    tree = fit(pile, "chinchilla", engine="pymc", seed=int(sampled.attrs["seed"]))
    settings = json.loads(tree.attrs["settings"])
    assert settings["engine"] == "pymc" and settings["backend"] == "numba"
    np.testing.assert_array_equal(tree["posterior"]["level"], sampled["posterior"]["level"])
    assert bayescale.reproduce(tree, pile).attrs["verdict"] == "same_bits"
    assert asked == ["numba", "numba"]


@pytest.mark.slow
def test_pymcs_model_has_the_same_posterior(pile, crossed_runs):
    """45 quantiles of three studies, with nutpie on PyMC's own compilation of the model."""
    import arviz_stats

    studies = [
        (pile, "chinchilla", ("level", "slope", "alpha", "E", "sigma")),
        (crossed_runs(scatter=0.01), "coupled", ("level", "slope", "alpha", "beta", "sigma")),
        (crossed_runs(sizes=4, lengths=3, scatter=0.01, seed=1), "kaplan", ("level", "slope", "lean", "sigma", "tilt")),
    ]
    apart = []
    for runs, law, names in studies:
        fits = [fit(runs, law, seed=seed, engine=engine) for seed, engine in ((1, "compiled"), (2, "pymc"))]
        ours, theirs = (tree["posterior"].to_dataset()[list(names)] for tree in fits)
        assert set(fits[0].children) == set(fits[1].children)
        assert set(fits[0]["posterior"].data_vars) == set(fits[1]["posterior"].data_vars)
        for q in QUANTILES:
            errors = [arviz_stats.mcse(draws, method="quantile", prob=q) for draws in (ours, theirs)]
            for name in names:
                error = float(np.hypot(*(each[name] for each in errors)))
                apart.append(abs(float(theirs[name].quantile(q)) - float(ours[name].quantile(q))) / error)
    assert len(apart) == 45 and max(apart) < APART_MAX


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "pymc"])
def test_other_backends_draw_from_it_too(backend, pile, sampled):
    if backend == "jax":
        pytest.importorskip("jax", reason="jax is not installed (extra: jax)")
    tree = fit(pile, "chinchilla", engine="pymc", backend=backend, draws=500, seed=3)
    assert set(sampling.STATS.values()) == set(tree["sample_stats"].data_vars)
    for name in ("level", "slope", "sigma"):
        ours, theirs = (part["posterior"][name] for part in (sampled, tree))
        assert float(theirs.median()) == pytest.approx(float(ours.median()), abs=0.25 * float(ours.std()))
