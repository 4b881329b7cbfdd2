"""Chains that lack only draws go on, others are slowed down, hopeless ones are given up."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import lfilter

from bayescale.display.show import show
from bayescale.errors import FitError
from bayescale.fitting import diagnostics as diagnostics_module
from bayescale.fitting import fit as fit_module
from bayescale.fitting import sampling
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.fit import fit
from bayescale.fitting.reproduce import reproduce
from bayescale.study import Study


@pytest.fixture
def samples(monkeypatch):
    """Chains that are made up: every sampling is noted, its draws are ``draw(tune, draws)`` [chain, draw].

    Nothing is compiled for them, and a law of few parameters is enough.
    """
    noted = []
    monkeypatch.setattr(fit_module, "model_of", lambda study, seed: SimpleNamespace(names=list(study.priors)))

    def use(draw, diverging=0, energy=None):
        def sample(model, draws, tune, chains, seed, target_accept, progress):
            noted.append((tune, draws))
            position = {name: draw(tune, draws) for name in model.names}
            stats = {"diverging": np.arange(chains * draws).reshape(chains, draws) < diverging}
            stats["energy"] = energy(draws) if energy else position[model.names[0]]
            return position, stats

        monkeypatch.setattr(sampling, "sample", sample)
        return noted

    return use


def slow_chains(persistence):
    """Autoregressive draws [chain, draw] of four chains; a longer run begins with the draws of a shorter one."""
    steps = np.random.default_rng(1).standard_normal((4, 8000))

    def draw(tune, draws):
        return lfilter([1.0], [1.0, -persistence], steps)[:, :draws] * 0.1 * np.sqrt(1 - persistence**2)

    return draw


def test_chains_that_lack_only_draws_go_on(pile, samples):
    """4 x 1000 draws of this persistence are worth about 210, 4 x 2000 about 420 and 4 x 4000 about 840."""
    noted = samples(slow_chains(0.9), energy=lambda draws: np.random.default_rng(2).standard_normal((4, draws)))
    tree = fit(pile, "power_compute")
    report, settings = diagnostics(tree), json.loads(tree.attrs["settings"])
    made = noted[-1][1]
    assert report["converged"] and made in (2000, 4000, 8000) and {tune for tune, _ in noted} == {400}
    assert noted[0] == (400, 1000) and [draws for _, draws in noted] == sorted(draws for _, draws in noted)
    assert (report["draws_asked"], report["draws_made"]) == (settings["draws"], settings["draws_made"]) == (1000, made)
    assert tree["posterior"].sizes["draw"] == made
    assert f"the chains went on from 1000 to {made} draws each" in str(show(tree))
    assert reproduce(tree, pile).attrs["verdict"] == "same_bits"


def test_chains_go_on_with_the_draws_they_had(pile):
    few, more = (_positions(pile, draws) for draws in (150, 450))
    for name, values in few.items():
        np.testing.assert_array_equal(values, more[name][:, :150])


def _positions(runs, draws):
    model = fit_module.model_of(Study.of(runs, "chinchilla"), 0)
    return sampling.sample(model, draws, 200, 2, 0, 0.9, False)[0]


@pytest.mark.parametrize(
    ("times_max", "expected"),
    [
        (1, [(400, 1000), (1000, 1000), (2000, 1000), (3000, 1000)]),
        (8, [(400, 1000), (1000, 1000), (2000, 1000), (3000, 1000), (3000, 8000)]),
    ],
)
def test_chains_that_would_need_too_many_draws_are_slowed_down(times_max, expected, pile, samples, monkeypatch):
    """These draws are worth 8 in 4000: 50 times as many would be needed. The last setting does what it may."""
    monkeypatch.setattr(sampling, "TIMES_MAX", times_max)
    monkeypatch.setattr(sampling, "R_HAT_APART", 100.0)
    monkeypatch.setattr(diagnostics_module, "R_HAT_APART", 100.0)
    noted = samples(slow_chains(0.996), energy=lambda draws: np.random.default_rng(2).standard_normal((4, draws)))
    with pytest.raises(FitError, match="did not converge after 4 attempt"):
        fit(pile, "power_compute")
    assert noted == expected


def test_chains_do_not_go_on_where_divergences_rule_out_a_clean_run(pile, samples):
    """Draws are worth about 210 in 4000, as above: 8000 would do, of which 4 may diverge."""
    steady = np.random.default_rng(2).standard_normal((4, 8000))
    noted = samples(slow_chains(0.9), diverging=12, energy=lambda draws: steady[:, :draws])
    fit(pile, "power_compute", allow_unconverged=True)
    assert noted[:4] == [(400, 1000), (1000, 1000), (2000, 1000), (3000, 1000)]
    assert len(noted) > 4 and {tune for tune, _ in noted[4:]} == {3000}  # the last setting goes on all the same


def test_divergences_are_no_lack_of_draws(pile, samples):
    noted = samples(lambda tune, draws: 0.1 * np.random.default_rng(3).standard_normal((4, draws)), diverging=100)
    report = diagnostics(fit(pile, "power_compute", allow_unconverged=True))
    assert noted == [(tune, 1000) for tune in (400, 1000, 2000, 3000)] and report["draws_wanted"] is None


def test_energy_and_divergences_are_objected_to(pile, samples):
    energies = lfilter([1.0], [1.0, -0.9], np.random.default_rng(0).standard_normal((4, 1000)))
    position = 0.1 * np.random.default_rng(3).standard_normal((4, 1000))
    samples(lambda tune, draws: position[:, :draws], diverging=4, energy=lambda draws: energies[:, :draws])
    report = diagnostics(fit(pile, "power_compute", allow_unconverged=True))
    assert 0.1 < report["e_bfmi"] < 0.3 and "E-BFMI is 0." in report["why"] and not report["converged"]
    assert report["divergences"] == 4


def test_an_interrupted_sampler_is_an_interrupt(pile, monkeypatch):
    """nutpie returns what it has by then, which may be tuning."""
    import nutpie

    original = nutpie.sample
    monkeypatch.setattr(nutpie, "sample", lambda *args, tune, **options: original(*args, tune=tune - 50, **options))
    with pytest.raises(KeyboardInterrupt):
        fit(pile, "chinchilla", draws=200)


def test_chains_that_are_apart_twice_are_not_run_again(pile, monkeypatch):
    tried = []
    original = sampling.sample

    def sample(model, draws, tune, *args):
        tried.append(tune)
        position, stats = original(model, draws, 200, *args)
        for values in position.values():
            values[0] += 1.0  # one chain in another place
        return position, stats

    monkeypatch.setattr(sampling, "sample", sample)
    with pytest.raises(FitError, match=r"did not converge after 2 attempt.*a law with fewer parameters"):
        fit(pile, "chinchilla", draws=150)
    assert tried == [400, 1000]  # and they did not go on


def test_sampler_that_cannot_start(pile, monkeypatch):
    import nutpie

    def sample(*args, **options):
        raise RuntimeError("All initialization points failed\ndetails\nmore details")

    monkeypatch.setattr(nutpie, "sample", sample)
    with pytest.raises(FitError, match=r"^the sampler could not start: All initialization points failed; check"):
        fit(pile, "chinchilla")
