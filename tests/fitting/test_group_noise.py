"""The scale of the noise of each group: made, learnt, saved, and used by forecasts."""

import numpy as np
import pytest
from scipy.special import ndtri

import bayescale as bs
from bayescale.errors import FitError, LawError
from bayescale.fitting.diagnostics import diagnostics
from bayescale.forecasts.discrepancy import cells_of
from bayescale.study import Study

NOISE = {"clean": 0.003, "noisy": 0.03, "few": 0.01}
BY = ["level", "sigma"]


def table_of(seed, counts=(40, 40, 8), exact=False):
    """Runs of three corpora; if ``exact``, the scatter of each is that of a normal, whatever was drawn."""
    rng = np.random.default_rng(seed)
    corpus = np.repeat(list(NOISE), counts)
    N, D = (10 ** (low + 2 * rng.uniform(size=len(corpus))) for low in (7.5, 9.5))
    drawn = rng.standard_normal(len(corpus))
    if exact:
        for name, count in zip(NOISE, counts, strict=True):
            even = ndtri((np.arange(count) + 0.5) / count)
            drawn[corpus == name] = rng.permutation(even / np.sqrt(np.mean(even**2)))
    noise = np.array([NOISE[name] for name in corpus]) * drawn
    return {"params": N, "tokens": D, "loss": (1.7 + 480 / N**0.35 + 2000 / D**0.36) * np.exp(noise), "corpus": corpus}


@pytest.fixture(scope="module")
def fit():
    return bs.fit(table_of(1, exact=True), "chinchilla", group="corpus", by=BY, noise="normal", seed=1)


def test_each_group_has_its_scale(fit, tmp_path):
    opened = bs.open_fit(bs.save_fit(fit, tmp_path / "fit.nc"))
    posterior = opened["posterior"].to_dataset()
    table = table_of(1, exact=True)
    noise = np.log(table["loss"] / (1.7 + 480 / table["params"] ** 0.35 + 2000 / table["tokens"] ** 0.36))
    for name in ("clean", "noisy"):
        low, high = np.quantile(posterior[f"sigma_{name}"], [0.02, 0.98])
        shown = np.sqrt(np.mean(noise[table["corpus"] == name] ** 2))
        assert low < shown < high < 2 * low and 0.7 < shown / NOISE[name] < 1.3, name
    assert posterior["sigma_few"].std() / posterior["sigma_few"].mean() > 0.2
    text = str(bs.show(opened))
    assert "sigma_noisy" in text and "sigma_contrast1" in text
    assert not [name for name in diagnostics(opened)["not_identified"] if "contrast" in name]


def test_forecasts_of_a_group_have_its_noise(fit):
    widths = {}
    for name in (*NOISE, "new"):
        drawn = bs.forecast(fit, 1e9, 3e10, covariates={"group": name})["predictions"]["loss"]
        widths[name] = np.ptp(np.log(np.quantile(drawn, [0.05, 0.95])))
    assert widths["clean"] < 0.4 * widths["noisy"] and widths["clean"] < widths["few"] < widths["new"]
    assert 0.7 < widths["noisy"] / (2 * 1.645 * NOISE["noisy"]) < 1.4


def test_the_discrepancy_and_leave_one_out_know_it(fit):
    study = Study.opened(fit)
    code = np.asarray(study.runs["group"])
    spread = cells_of(study).variance
    ratio = np.sqrt(spread[code == study.law.groups.code_of("noisy")].mean() / spread[code == 1.0].mean())
    expected = study.posterior["sigma_noisy"].median() / study.posterior["sigma_clean"].median()
    assert ratio == pytest.approx(float(expected), rel=0.2)
    pit = bs.loo(fit, mend=False)["pit"].values
    for name in ("clean", "noisy"):
        inside = (np.abs(pit[code == study.law.groups.code_of(name)] - 0.5) < 0.25).mean()
        assert 0.3 < inside < 0.7, name


def test_clean_groups_count_for_more_than_with_one_noise(fit):
    shared = bs.fit(table_of(1, exact=True), "chinchilla", group="corpus", by=["level"], noise="normal", seed=1)
    widths = [float(one["posterior"]["alpha"].std()) for one in (fit, shared)]
    assert widths[0] < 0.6 * widths[1]
    assert float(fit["log_likelihood"]["log_loss"].sum("run").mean()) > 30 + float(
        shared["log_likelihood"]["log_loss"].sum("run").mean()
    )


def test_refusals():
    with pytest.raises(LawError, match="sigma varies along with parameters of the law; name one of them"):
        bs.fit(table_of(1, exact=True), "chinchilla", group="corpus", by=["sigma"])
    with pytest.raises(LawError, match="'tilt' is no parameter of the law or the noise"):
        bs.with_groups("chinchilla", ["a", "b"], by=["level", "tilt"])
    law = bs.with_groups("coverage", ["a", "b"], by=[next(iter(bs.load_law("coverage").priors)), "sigma"])
    with pytest.raises(FitError, match="noise 'beta_binomial' has no sigma that could vary over groups"):
        Study.bound(law, bs.laws.scatter.Scatter.of(law), None)


@pytest.mark.slow
def test_scales_of_groups_are_recovered():
    """Over 20 simulated studies: 90 % bands of the three scales."""
    held = []
    for seed in range(20):
        fit = bs.fit(table_of(100 + seed), "chinchilla", group="corpus", by=BY, noise="normal")["posterior"]
        for name, truth in NOISE.items():
            low, high = np.quantile(fit[f"sigma_{name}"], [0.05, 0.95])
            held.append(low <= truth + 1e-4 and truth - 1e-4 <= high)
    assert 0.8 <= np.mean(held) <= 0.99
