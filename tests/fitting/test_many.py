"""Many studies: each fit is the one that `fit` makes; failures, resuming."""

import pytest
import xarray as xr

from bayescale.errors import FitError
from bayescale.fitting import many as module
from bayescale.fitting.fit import fit
from bayescale.fitting.many import fit_many
from bayescale.jobs.batch import Failure


@pytest.fixture
def quick(true_fit, monkeypatch):
    """Fits put together by hand in place of sampled ones; what was fitted is written down."""
    made = []

    def by_hand(runs, law, *, seed, **settings):
        made.append((runs.sizes["run"], law.name, seed, settings))
        if runs.sizes["run"] == 20:
            raise FitError("these runs are not to be fitted")
        return true_fit(draws=100, runs=runs, seed=seed)

    monkeypatch.setattr(module, "fit", by_hand)
    return made


def test_order_settings_and_failures(crossed_runs, quick, tmp_path):
    studies = [
        (crossed_runs(4, 4), "chinchilla"),
        (crossed_runs(5, 4), "chinchilla"),
        (tmp_path / "absent.csv", "chinchilla"),
        (crossed_runs(6, 4), "chinchila"),
        (crossed_runs(6, 4), "coupled"),
    ]
    seen = []
    first, second, third, fourth, fifth = fit_many(
        studies, draws=200, seed=7, progress=lambda done, total: seen.append((done, total))
    )
    assert first["observed_data"].sizes["run"] == 16 and fifth["observed_data"].sizes["run"] == 24
    assert second == Failure("FitError", "these runs are not to be fitted")
    assert third.kind == "RunsError" and "absent.csv" in third.why
    assert fourth.kind == "LawError" and "did you mean 'chinchilla'?" in fourth.why
    settings = {"noise": None, "draws": 200, "chains": 4, "quick": False, "allow_unconverged": False}
    assert quick == [(16, "chinchilla", 7, settings), (20, "chinchilla", 7, settings), (24, "coupled", 7, settings)]
    assert seen == [(2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.slow
def test_goes_on_where_it_was_killed(crossed_runs, quick, tmp_path):
    studies = [(crossed_runs(size, 4), "chinchilla") for size in (4, 6, 7)]

    def killed(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_many(studies, folder=tmp_path / "fits", progress=killed)
    assert len(quick) == 2 == len(list((tmp_path / "fits").iterdir()))
    fits = fit_many(studies, folder=tmp_path / "fits")
    assert [made[0] for made in quick] == [16, 24, 28], "nothing is fitted twice"
    for again, (runs, _) in zip(fits, studies, strict=True):
        assert again["observed_data"].sizes["run"] == runs.sizes["run"]
    assert len(fit_many(studies, folder=tmp_path / "fits", seed=1)) == 3 and len(quick) == 6, "another seed, other fits"
    damaged = sorted((tmp_path / "fits").iterdir())[0]
    damaged.write_bytes(b"")
    fit_many(studies, folder=tmp_path / "fits")
    fit_many(studies, folder=tmp_path / "fits", seed=1)
    assert len(quick) == 7, "a damaged file is made again"


@pytest.mark.slow
def test_the_fits_are_those_of_fit_whichever_executor(pile, crossed_runs):
    studies = [(pile, "chinchilla"), (crossed_runs(8, 5), "chinchilla"), (pile, "kaplan")]
    here = [fit(runs, law, seed=3) for runs, law in studies]
    for executor in (None, 2):
        for one, other in zip(fit_many(studies, seed=3, executor=executor), here, strict=True):
            xr.testing.assert_identical(one, other)
