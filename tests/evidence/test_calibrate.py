"""Calibration: right posteriors pass and wrong ones fail, nothing drops out in silence, a killed one goes on."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayescale
from bayescale.errors import FitError
from bayescale.evidence import calibrate as module
from bayescale.laws.law import load_law
from bayescale.laws.noises import NOISES
from bayescale.laws.scatter import Scatter
from bayescale.study import Study

# ---- a conjugate model: normal mean, known noise --------------------------------------------------------------------


def conjugate(rng, simulations=400, *, shift=0.0, stretch=1.0, prior_only=False):
    """Ranks of theta ~ N(0, 1) given four y ~ N(theta, 1), from posterior draws that are right or wrong by so much."""
    parts = {"truth": [], "rank": [], "pit": []}
    for _ in range(simulations):
        theta = rng.standard_normal()
        y = theta + rng.standard_normal(4)
        middle, sd = (0.0, 1.0) if prior_only else (y.sum() / 5, 5**-0.5)
        draws = middle + shift * sd + stretch * sd * rng.standard_normal((4, 1000))
        likelihood = [-0.5 * ((y[:, None] - np.ravel(value)) ** 2).sum(axis=0) for value in (theta, draws)]
        pairs = [(theta, draws), (likelihood[0].item(), likelihood[1].reshape(4, 1000))]
        ranked = [module._rank(truth, drawn, rng) for truth, drawn in pairs]
        for part, values in zip(
            parts.values(), ([truth for truth, _ in pairs], *zip(*ranked, strict=True)), strict=True
        ):
            part.append(values)
    return by_hand({name: np.array(values).T for name, values in parts.items()})


def by_hand(arrays, status="fitted", **attrs):
    count = arrays["rank"].shape[1]
    result = xr.Dataset(
        {name: (("quantity", "simulation"), values) for name, values in arrays.items()},
        coords={"quantity": ["theta", "log_likelihood"], "simulation": np.arange(count)},
    )
    result["kind"] = ("quantity", ["parameter", "data"])
    statuses = np.full(count, status, dtype=object) if isinstance(status, str) else np.array(status, dtype=object)
    result["status"] = ("simulation", statuses)
    result["why"] = ("simulation", np.where(statuses == "fitted", "", "r-hat of 'theta' is 1.2"))
    about = {"law": "conjugate", "noise": "normal", "source": "mine", "runs": 4, "most": 100}
    about |= {"kind": "calibrate", "truths": "prior"}
    return result.assign_attrs(about | {"draws": 1000, "seed": 0} | attrs)


def test_the_right_posterior_passes(rng):
    result = conjugate(rng)
    table = bayescale.read(result).frame
    assert table.inside.all() and not list(bayescale.read(result).warnings)
    for level in (50, 80, 90):
        share = level / 100
        assert np.abs(table[f"cover{level}"] - share).max() < 4 * np.sqrt(share * (1 - share) / 400)
    assert table.cover90_se.tolist() == pytest.approx([0.015, 0.015])


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [{"shift": 0.4}, {"shift": -0.4}, {"stretch": 0.7}, {"stretch": 1.4}])
def test_a_wrong_posterior_fails(rng, wrong):
    result = conjugate(rng, **wrong)
    table = bayescale.read(result).frame.set_index("quantity")
    assert not table.inside["theta"] and table.p["theta"] < 1e-4
    assert "the ranks of 'theta' leave the simultaneous band" in bayescale.read(result).warnings[0]
    assert " 2 of 2 quantities" not in " ".join(bayescale.read(result).says)


def test_a_posterior_that_ignores_the_runs_fails_by_the_likelihood_alone(rng):
    """The prior as posterior has uniform ranks of every parameter; only what is a function of the data sees it."""
    table = bayescale.read(conjugate(rng, prior_only=True)).frame.set_index("quantity")
    assert table.inside["theta"] and not table.inside["log_likelihood"]


def test_level_is_split_over_the_quantities():
    ranks = np.stack([np.linspace(0, 100, 20), np.linspace(0, 60, 20)]).astype(int)  # even, and none above 60
    result = by_hand({"truth": ranks, "rank": ranks, "pit": ranks / 100})
    least = float(bayescale.read(result).frame.p.min())
    assert 0 < least < 0.4
    assert bayescale.read(result, level=1.99 * least).frame.inside.all()
    assert not bayescale.read(result, level=2.01 * least).frame.inside.all()
    for level in (0, 1, -0.5):
        with pytest.raises(FitError, match="a number between 0 and 1 is expected"):
            bayescale.read(result, level=level)


def test_what_is_left_out_is_said(rng):
    whole = conjugate(rng, 40)
    status = ["unconverged"] * 3 + ["refused"] * 2 + ["failed"] + ["fitted"] * 34
    arrays = {name: whole[name].values.copy() for name in ("truth", "rank", "pit")}
    for values in arrays.values():
        values[:, 3:6] = np.nan
    arrays["rank"][1, 39] = np.nan
    result = by_hand(arrays, status)
    table = bayescale.read(result).frame
    assert table.simulations.tolist() == [34, 33]
    assert table.p.tolist() != table.p_all.tolist()
    said = " / ".join(bayescale.read(result).warnings)
    for part in (
        "3 of 40 simulations did not converge",
        "2 of 40 simulations made runs that fit() refuses",
        "1 of 40 simulations could not be fitted (the first: r-hat of 'theta'",
        "too many simulations have no fit",
        "log_likelihood: not finite in some simulations",
    ):
        assert part in said
    summary = bayescale.read(result).to_dict()
    assert summary["status"] == {"failed": 1, "fitted": 34, "refused": 2, "unconverged": 3}
    json.dumps(summary)


def test_ranks_break_ties_by_lot(rng):
    draws = np.zeros((4, 1000))
    ranks = [module._rank(0.0, draws, rng)[0] for _ in range(300)]
    assert min(ranks) < 10 and max(ranks) > 90
    assert module._rank(1.0, draws, rng) == (100, 1.0) and module._rank(-1.0, draws, rng) == (0, 0.0)
    assert np.isnan(module._rank(np.nan, draws, rng)).all()
    assert np.isnan(module._rank(0.0, np.full((4, 1000), np.inf), rng)).all()


# ---- simulated runs -------------------------------------------------------------------------------------------------


def simulation(law="kaplan", noise="student_t", *, truth=None):
    law = load_law(law)
    design = module._default_design(law)
    study = Study.bound(law, Scatter.of(law, noise), design)
    drawn = module._prior_draw(study, np.random.default_rng(4)) | (truth or {})
    return module._Simulation(study, drawn, False, 200, False, 0, 0)


@pytest.mark.parametrize("name", bayescale.law_names())
def test_every_law_has_a_design(name):
    law = load_law(name)
    design = module._default_design(law)
    assert design.sizes["run"] in (36, 48)
    for symbol, (low, high) in law.range.items():
        values = design[module.column(symbol)].values
        assert values.min() >= low * (1 - 1e-9) and values.max() <= high * (1 + 1e-9) and np.ptp(values) > 0


def test_draws_are_from_the_priors():
    study = simulation().study
    draws = [module._prior_draw(study, np.random.default_rng([i, 0])) for i in range(500)]
    priors = {
        "level": stats.lognorm(0.3, scale=np.exp(0.15)),
        "lean": stats.norm(0, 0.5),
        "sigma": stats.lognorm(1.0, scale=np.exp(-5)),
        "nu_minus_2": stats.gamma(2, scale=10),
    }
    for name, prior in priors.items():
        assert stats.kstest([draw[name] for draw in draws], prior.cdf).pvalue > 1e-6, name


@pytest.mark.parametrize("noise", ["student_t", "normal"])
def test_scatter_is_that_of_the_noise(noise, rng):
    """Standardised by hand, the simulated losses of Kaplan's law follow SciPy's t or normal distribution."""
    task = simulation(noise=noise, truth={"sigma": 0.02, "tilt": 0.1, "nu_minus_2": 3.0})
    p, refs = task.truth, task.study.constants
    N, D, C = (task.study.runs[name].values for name in ("params", "tokens", "compute"))
    alpha = p["slope"] / (p["share"] + (1 - p["share"]) * np.exp(-p["lean"]))
    beta = alpha * np.exp(-p["lean"])
    inside = p["share"] * (N / refs["N_ref"]) ** (-alpha / beta) + (1 - p["share"]) * refs["D_ref"] / D
    middle = np.log(refs["L_ref"] * p["level"]) + beta * np.log(inside)
    scale = 1e-4 + 0.02 * np.exp(0.1 * (np.log(C) - np.log(C).mean()))
    runs = [module._new_runs(task, rng) for _ in range(60)]
    scatter = np.concatenate([(np.log(one["loss"].values) - middle) / scale for one in runs])
    shape = stats.t(5) if noise == "student_t" else stats.norm()
    assert stats.kstest(scatter, shape.cdf).pvalue > 1e-6
    made = Study.bound(task.study.law, task.study.scatter, runs[0], refs)
    at_truth = {name: np.array([[value]]) for name, value in p.items()}
    assert module.pointwise_log_likelihood(made, at_truth).sum() == pytest.approx(
        (shape.logpdf(scatter[:36]) - np.log(scale)).sum(), rel=1e-9
    )


def test_runs_that_fit_refuses_are_counted():
    found = module._simulate(simulation(truth={"slope": 1e4}))  # losses below the range of floats
    assert found["status"] == "refused" and "loss" in found["why"] and "rank" not in found


def test_the_run_beyond_is_ten_times_the_largest():
    law = load_law("chinchilla")
    design = module._default_design(law)
    beyond = module._beyond(law, design)
    assert 6 * beyond["N"] * beyond["D"] == pytest.approx(10 * float(design["compute"].max()))
    assert module._beyond(load_law("power_params"), module._default_design(load_law("power_params"))).keys() == {"N"}
    assert module._beyond(load_law("coverage"), module._default_design(load_law("coverage"))) is None


# ---- the whole loop -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sbc")
    options = {"simulations": 10, "draws": 300, "seed": 3, "folder": folder}
    return bayescale.calibrate("power_compute", **options), options


def test_a_small_one(small):
    result, _ = small
    law = load_law("power_compute")
    names = {*law.priors, *law.derived, *NOISES["student_t"].priors, "log_likelihood", "loss_beyond"}
    assert set(result["quantity"].values) == names and result.sizes["simulation"] == 10
    assert (result["status"] == "fitted").all()
    assert np.isfinite(result["rank"]).all() and ((result["rank"] >= 0) & (result["rank"] <= 100)).all()
    # ranks are of the same truth among few of the draws that pit is of
    assert np.abs(result["rank"] / 100 - result["pit"]).max() < 0.25
    kinds = dict(zip(result["quantity"].values, result["kind"].values, strict=True))
    assert kinds["level"] == "parameter" and kinds["sigma"] == "noise" and kinds["log_likelihood"] == "data"


def test_once_is_one_attempt(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "refit", lambda *args, **options: asked.append(options["enough"]) or 1 / 0)
    for once in (True, False):
        with pytest.raises(ZeroDivisionError):
            module._simulate(dataclasses.replace(simulation(), once=once))
    assert asked == ["first", "clean"]


def test_nothing_converged(small):
    nothing = small[0].copy()
    nothing["status"] = ("simulation", np.full(nothing.sizes["simulation"], "unconverged", dtype=object))
    assert "nothing can be said" in " ".join(bayescale.read(nothing).says)
    assert "did not converge" in " ".join(bayescale.read(nothing).warnings)
    bayescale.plot_ranks(nothing)


def test_a_killed_one_goes_on(small, monkeypatch):
    result, options = small
    kept = sorted(options["folder"].iterdir())
    assert len(kept) == 10
    kept[3].unlink()
    kept[5].write_text("{")  # not ours to trust
    fitted = []
    real = module.refit
    monkeypatch.setattr(module, "refit", lambda *args, **given: fitted.append(1) or real(*args, **given))
    again = bayescale.calibrate("power_compute", **options)
    assert len(fitted) == 2 and again.identical(result)
    more = bayescale.calibrate("power_compute", **options | {"simulations": 11})
    assert len(fitted) == 3 and more.isel(simulation=slice(10))["rank"].equals(result["rank"])


def test_posterior_fits_old_and_new_runs_together(sampled, pile, monkeypatch):
    seen = []

    def refit(study, kept, **options):
        seen.append(study)
        raise FitError("enough seen")

    monkeypatch.setattr(module, "refit", refit)
    with pytest.raises(FitError, match="no simulation could be fitted; the first: enough seen"):
        bayescale.calibrate("chinchilla", posterior=sampled, simulations=10)
    assert len(seen) == 10
    study, old = seen[0], sampled["observed_data"]["log_loss"].values
    assert study.runs.sizes["run"] == 2 * len(old)
    np.testing.assert_allclose(study.seen.values[: len(old)], old, rtol=1e-15)
    new = study.seen.values[len(old) :]
    assert 0 < np.abs(new - old).max() < 1 and not np.array_equal(new, seen[1].seen.values[len(old) :])
    for name in ("N_ref", "D_ref", "L_ref", "C_ref"):
        assert study.constants[name] == float(sampled["constant_data"][name])
    assert np.array_equal(study.runs["params"], np.tile(sampled["constant_data"]["params"], 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"simulations": 5}, "simulations = 5"),
        ({"draws": 100}, "draws = 100"),
        ({"seed": -1}, "seed = -1"),
        ({"law": "vocabulary"}, "its noise is in units of the range of the observed values"),
        ({"noise": "loud"}, "unknown noise 'loud'; the noises are student_t, normal, beta_binomial"),
        ({"law": "coverage", "noise": "normal"}, "allowed are beta_binomial"),
        ({"design": {"N": [1]}, "posterior": {"N": [1]}}, "give a design or runs for a posterior"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(FitError, match=message.replace("(", r"\(")):
        bayescale.calibrate(**options)


def test_the_fit_must_be_of_the_law(sampled):
    with pytest.raises(FitError, match="the fit is of the law 'chinchilla', not of 'coupled'"):
        bayescale.calibrate(posterior=sampled)
    draws = sampled["posterior"]["level"].size  # chains that lacked draws have gone on
    with pytest.raises(FitError, match=f"{draws + 1} simulations need as many posterior draws; the fit has {draws}"):
        bayescale.calibrate("chinchilla", posterior=sampled, simulations=draws + 1)


def test_a_law_without_a_range_needs_a_design(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(load_law("power_compute").text.split("[range]")[0])
    with pytest.raises(FitError, match="gives no range of C; give a design"):
        bayescale.calibrate(path)


def test_figure(rng):
    import matplotlib.pyplot as plt

    figure = bayescale.plot_ranks(conjugate(rng, 60, shift=2.0))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left").split(",")[0] for axes in panels] == ["theta", "log_likelihood"]
    line = panels[0].lines[0].get_ydata()
    band = panels[0].collections[0].get_paths()[0].vertices
    assert line[0] == 0 and line[-1] == 0 and np.abs(line).max() > np.abs(band[:, 1]).max()
    plt.close(figure)


@pytest.mark.slow
def test_the_engine_passes_and_a_wrong_noise_fails(monkeypatch):
    """100 simulations of a small law; then runs that scatter twice as much as they are said to."""
    options = {"simulations": 100, "seed": 11}
    right = bayescale.read(bayescale.calibrate("power_compute", **options)).frame
    assert right.inside.all() and (right.simulations > 95).all()
    assert right.cover90.mean() == pytest.approx(0.9, abs=0.06)
    real = Scatter.sample_residual
    monkeypatch.setattr(Scatter, "sample_residual", lambda *args: 2 * real(*args))
    wrong = bayescale.read(bayescale.calibrate("power_compute", **options)).frame.set_index("quantity")
    assert not wrong.inside["sigma"] and wrong.p["sigma"] < 1e-6
