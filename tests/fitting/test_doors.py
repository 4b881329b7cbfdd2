"""The doors of the package: whatever a function is given, it answers, marks its answer, or says what is wrong."""

import functools
import importlib
import json
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayescale
from bayescale.errors import FitError
from bayescale.fitting import doors
from bayescale.jobs.batch import Failure
from bayescale.laws.law import column, load_law
from bayescale.laws.noises import NOISES, default_noise
from bayescale.laws.priors import quantile
from bayescale.reading import KINDS
from bayescale.study import Study, law_of

pytestmark = pytest.mark.usefixtures("drift_once")

OURS = (FitError, bayescale.RunsError, bayescale.LawError, bayescale.FileError)
FEW = {"draws": 200, "chains": 3}  # enough for a fit to be asked for; none of these is ever made


# ---- what every public function takes first -------------------------------------------------------------------------
#
# name: (what it takes first, how it is called with that). "fit", "fits", "runs", "law", "path", and the functions whose
# results others read. A new public function fails the test below until it has a row here.

CALLS = {
    "allocate": ("fit", lambda x: bayescale.allocate(x, 1e21)),
    "approaches": ("fit", lambda x: bayescale.approaches(x, 1e21)),
    "complete": ("fit", bayescale.complete),
    "compute_gain": ("fit", lambda x: bayescale.compute_gain(x, x, 1e21)),
    "decide": ("fit", lambda x: bayescale.decide(x, 1e21)),
    "emergence": ("fit", lambda x: bayescale.emergence(_sampled(), through={"loss": x}, **_emerging())),
    "fit_contents": ("fit", bayescale.fit_contents),
    "forecast": ("fit", lambda x: bayescale.forecast(x, **_sizes(x))),
    "landmarks": ("fit", bayescale.landmarks),
    "least_compute": ("fit", lambda x: bayescale.least_compute(x, 2.2)),
    "loo": ("fit", lambda x: bayescale.loo(x, mend=False)),
    "nested_questions": ("fit", bayescale.nested_questions),
    "next_run": ("fit", lambda x: bayescale.next_run(x, 1e20, params=7e9, tokens=1.4e11)),
    "plot_forecast": ("fit", lambda x: bayescale.plot_forecast(x, bayescale.forecast(x, **_sizes(x)))),
    "plot_frontier": ("fit", bayescale.plot_frontier),
    "plot_isoflops": ("fit", bayescale.plot_isoflops),
    "plot_landmarks": ("fit", bayescale.plot_landmarks),
    "plot_priors": ("fit", bayescale.plot_priors),
    "plot_residuals": ("fit", bayescale.plot_residuals),
    "plot_surface": ("fit", bayescale.plot_surface),
    "prior_sensitivity": ("fit", bayescale.prior_sensitivity),
    "report": ("fit", bayescale.report),
    "reproduce": ("fit", lambda x: bayescale.reproduce(x, {"params": [1e8], "tokens": [1e10], "loss": [3.0]})),
    "save_fit": ("fit", lambda x: bayescale.save_fit(x, "never.nc")),
    "train_or_sample": ("fit", lambda x: bayescale.train_or_sample(x, _sampled(), 1e22, given={"T": 1e10})),
    "average_allocation": ("fits", lambda x: bayescale.average_allocation(x, _even(x), 1e21)),
    "average_forecast": ("fits", lambda x: bayescale.average_forecast(x, _even(x), 7e9, 1.4e11)),
    "compare": ("fits", lambda x: bayescale.compare(x, mend=False)),
    "backtest": ("runs", bayescale.backtest),
    "final_loss": ("runs", lambda x: bayescale.final_loss(x, np.full(9, 3e-4))),
    "on_schedule": ("runs", lambda x: bayescale.on_schedule(x, np.full(9, 3e-4))),
    "check_runs": ("runs", bayescale.check_runs),
    "fit": ("runs", bayescale.fit),
    "fit_from_draws": ("draws", lambda x: bayescale.fit_from_draws(x, bayescale.load_dataset("pile"))),
    "fit_laws": ("runs", lambda x: bayescale.fit_laws(x, ["chinchilla", "coupled"], **FEW)),
    "pymc_model": ("runs", bayescale.pymc_model),
    "read_runs": ("runs", bayescale.read_runs),
    "calibrate": ("law", lambda x: bayescale.calibrate(x, simulations=10)),
    "load_law": ("law", bayescale.load_law),
    "with_priors": ("law", lambda x: bayescale.with_priors(x, {"level": "LogNormal(0, 1)"})),
    "with_groups": ("law", lambda x: bayescale.with_groups(x, ["a", "b"])),
    "published_split": ("law", lambda x: bayescale.published_split(x, 5.76e23)),
    "plan_runs": ("law", lambda x: bayescale.plan_runs(x, counts=[8])),
    "plot_calibration": ("backtest", bayescale.plot_calibration),
    "plot_ranks": ("calibrate", bayescale.plot_ranks),
    "driving_runs": ("compare", bayescale.driving_runs),
    "plot_comparison": ("compare", bayescale.plot_comparison),
    "plot_regret": ("decide", bayescale.plot_regret),
    "read": ("result", bayescale.read),
    "plot_next_run": ("next_run", bayescale.plot_next_run),
    "plot_emergence": ("emergence", bayescale.plot_emergence),
    "save_report": ("page", lambda x: bayescale.save_report(x, "never.html")),
    "open_fit": ("path", bayescale.open_fit),
    "load_dataset": ("path", bayescale.load_dataset),
    "fit_many": ("studies", bayescale.fit_many),
    "open_executor": ("executor", lambda x: bayescale.open_executor(x).__enter__()),
}
# show takes anything that a person may want to see; laws takes nothing; a schedule is numbers; the others are kinds of
# things, not functions
OTHERS = {
    "show",
    "law_names",
    "learning_rates",
    "schedule_areas",
    "schedule_cooling",
    "Failure",
    "Law",
    *(name for name in bayescale.__all__ if name.endswith("Error")),
}


def _sizes(fit):
    """Sizes ten times the largest run, by the inputs of the law of a fit."""
    if not isinstance(fit, xr.DataTree) or "constant_data" not in fit.children:
        return {"params": 7e9, "tokens": 1.4e11}
    data = fit["constant_data"]
    inputs = [column(symbol) for symbol in law_of(fit).inputs]
    return {"covariates": {name: 1.5 * float(data[name].max()) for name in inputs}}


def with_attrs(fit, **attrs):
    changed = fit.copy()
    changed.attrs = fit.attrs | attrs
    return changed


@functools.cache
def _sampled():
    """A fit of what samples bring at a loss, of draws put together."""
    rng = np.random.default_rng(0)
    middle = {"rate": 1.0, "steepness": 2.0, "decay": 0.3, "overdispersion": 0.01}
    draws = {
        name: (("chain", "draw"), value * np.exp(0.1 * rng.standard_normal((4, 300)))) for name, value in middle.items()
    }
    runs = {"loss": [2.0, 2.2, 2.4, 2.6, 2.8, 3.0], "samples": [1.0, 4.0, 16.0, 1.0, 4.0, 16.0]}
    runs |= {"coverage": [0.7, 0.8, 0.8, 0.3, 0.4, 0.5], "items": [100.0] * 6}
    return bayescale.fit_from_draws(xr.Dataset(draws), runs, "coverage_of_loss")


def _emerging():
    return {"params": [1e9, 7e9], "tokens": 1.4e11, "covariates": {"samples": 10.0}}


def _even(fits):
    return dict.fromkeys(fits, 0.5) if isinstance(fits, dict) else {"a": 0.5}


def test_every_public_name_has_a_row():
    assert {*CALLS, *OTHERS} == set(bayescale.__all__)
    for module, _ in KINDS.values():
        assert callable(importlib.import_module(f"bayescale.{module}").read), "a result that read does not read"


# ---- what it may be given instead -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit(true_fit):
    rng = np.random.default_rng(3)
    scatter = {"sigma": 0.003, "tilt": 0.1, "nu_minus_2": 30.0}
    return true_fit(
        draws=400, scatter={name: value * np.exp(0.1 * rng.standard_normal(400)) for name, value in scatter.items()}
    )


@pytest.fixture(scope="module")
def others(fit, crossed_runs):
    """Things that are not what is wanted, by name; some of them are, for some functions."""
    forecast = bayescale.forecast(fit, 7e9, 1.4e11)
    empty = crossed_runs().isel(run=[])
    return OrderedDict(
        nothing=None,
        number=3,
        truth=True,
        nan=float("nan"),
        text="no such thing",
        path="nowhere/fit.nc",
        bytes=b"fit.nc",
        a_list=[fit],
        a_dict={},
        a_set={1, 2},
        a_function=len,
        an_object=object(),
        numbers=np.ones((2, 3, 4)),
        frame=pd.DataFrame(),
        frame_without_rows=pd.DataFrame({"params": [], "tokens": [], "loss": []}),
        frame_of_others=pd.DataFrame({"a": [1.0], "b": ["x"]}),
        dataset=xr.Dataset(),
        runs_without_rows=empty,
        tree=xr.DataTree(),
        posterior=fit["posterior"],
        posterior_alone=xr.DataTree.from_dict({"posterior": fit["posterior"].to_dataset()}),
        array=fit["posterior"]["level"],
        fit=fit,
        runs=crossed_runs(),
        law=load_law("chinchilla"),
        forecast=forecast,
        allocation=bayescale.allocate(fit, [1e21, 1e22]),
        decision=bayescale.decide(fit, 1e21),
        plan=bayescale.plan_runs("chinchilla", counts=[8]),
        fits={"a": fit, "b": "fit.nc"},
        studies=[(1, 2, 3)],
    )


# what is right for a kind, and so not wrong
RIGHT = {
    "fit": {"fit"},
    "runs": {"runs"},
    "law": {"law", "nothing"},  # the default law
    "forecast": {"forecast"},
    "result": {"forecast", "allocation", "decision", "plan"},
    "allocate": {"allocation"},
    "decide": {"decision"},
    "plan_runs": {"plan"},
    "page": {"text", "path"},
    "executor": {"nothing", "number"},
    "studies": {"a_dict", "a_set", "dataset", "frame"},
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_something_else_is_refused_in_one_sentence(name, others, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind, call = CALLS[name]
    for what, given in others.items():
        if what in RIGHT.get(kind, ()):
            continue
        try:
            answer = call(given)
        except OURS as error:
            said = str(error)
        except Exception as error:
            pytest.fail(f"{name}({what}): {type(error).__name__}: {error}")
        else:
            one = answer[0] if isinstance(answer, list) and answer else answer
            if isinstance(one, Failure):  # a batch says it so, and goes on with the others
                said = one.why
            elif kind in ("studies", "runs") and isinstance(answer, list):
                continue  # of no studies there are no fits
            else:
                pytest.fail(f"{name}({what}) answers {answer!r:.80}")
        assert said and said.isprintable() and len(said) < 600, f"{name}({what}): {said[:200]!r}"
    assert list(tmp_path.iterdir()) == [], "what is refused writes nothing"


def test_forecasts_sentence_is_everybodys(crossed_runs):
    for name, (kind, call) in CALLS.items():
        if kind == "fit":
            with pytest.raises(FitError, match=r"^a fit is expected, not runs \(Dataset\): make one with fit\(runs\)"):
                call(crossed_runs())
            assert name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fit: fit.drop_nodes("constant_data"), "its constant_data"),
        (lambda fit: fit.isel(draw=[]), r"its posterior is not \[chain, draw\]"),
        (lambda fit: fit.isel(chain=0), r"its posterior is not \[chain, draw\]"),
        (lambda fit: fit * np.nan, "this fit cannot be used"),
        (lambda fit: with_attrs(fit, diagnostics="{}"), "this fit cannot be used"),
        (lambda fit: with_attrs(fit, law_text="x"), "this fit cannot be used"),
    ],
)
def test_a_fit_that_lost_something_says_so(fit, change, message):
    changed = change(fit)
    changed.attrs = fit.attrs | changed.attrs
    for name in ("allocate", "loo", "plot_priors", "save_fit"):
        with pytest.raises(FitError, match=message):
            CALLS[name][1](changed)


def test_a_result_that_lost_a_dimension_says_so(fit):
    result = bayescale.allocate(fit, [1e21, 1e22])
    with pytest.raises(FitError, match=r"is empty along 'budget'; select with a list, isel\(budget=\[0\]\)"):
        bayescale.read(result.isel(budget=0))
    assert len(bayescale.read(result.isel(budget=[0])).frame) == 1


# ---- numbers --------------------------------------------------------------------------------------------------------

# options that are one number, or one or several, and how they are given
NUMBERS = {
    "compute": lambda fit, x: bayescale.allocate(fit, x),
    "params": lambda fit, x: bayescale.forecast(fit, x, 1e12),
    "covariate": lambda fit, x: bayescale.forecast(fit, 1e9, covariates={"tokens": x}),
    "loss": lambda fit, x: bayescale.least_compute(fit, x),
    "gain": lambda fit, x: bayescale.compute_gain(fit, fit, x),
    "tolerance": lambda fit, x: bayescale.decide(fit, 1e21, tolerance=x),
    "factor": lambda fit, x: bayescale.decide(fit, 1e21, factor=x),
    "budget": lambda fit, x: bayescale.next_run(fit, x, params=7e9, tokens=1e11),
    "measured": lambda fit, x: bayescale.forecast(fit, 1e9, 1e11, measured=x),
    "below": lambda fit, x: bayescale.reproduce(fit, {"params": [1e8], "tokens": [1e10], "loss": [3.0]}, below=x),
    "horizon": lambda fit, x: bayescale.backtest({"params": [1e8], "tokens": [1e10], "loss": [3.0]}, horizon=x),
    "sd": lambda fit, x: bayescale.plan_runs(sd=x),
    "noise": lambda fit, x: bayescale.plan_runs(noise=x),
    "weight": lambda fit, x: bayescale.average_forecast({"a": fit, "b": fit}, {"a": x, "b": 1.0}, 1e9, 1e11),
    "frontier": lambda fit, x: bayescale.plot_frontier(fit, x),
    "limit": lambda fit, x: bayescale.allocate(fit, 1e21, params=(1e6, x)),
    "ratio": lambda fit, x: bayescale.allocate(fit, 1e21, ratio=(x, 1e6)),
    "given": lambda fit, x: bayescale.allocate(fit, 1e21, cost="6*N*D + 2*N*T", given={"T": x}),
    "menu": lambda fit, x: bayescale.allocate(fit, 1e21, menu=[1e9, x]),
    "seed": lambda fit, x: bayescale.forecast(fit, 1e9, 1e11, seed=x),
    "target": lambda fit, x: bayescale.read(bayescale.forecast(fit, 1e9, 1e11), target=x).frame,
    "draws": lambda fit, x: bayescale.fit({"params": [1e8], "tokens": [1e10], "loss": [3.0]}, draws=x),
}
MAY_BE_NONE = {"measured", "below", "frontier", "limit", "ratio", "target", "covariate"}
NO_NUMBERS = {
    "text": "seventy",
    "truth": True,
    "nan": float("nan"),
    "complex": 1j,
    "infinite": float("inf"),
    "minus": -2.0,
    "dict": {"a": 1},
    "object": object(),
    "complex_array": np.array([1e9 + 1j]),
    "dates": np.array(["2026-01-01"], "M8[D]"),
    "too large for a float": 10**400,
    "three dimensions": np.ones((2, 2, 2)),
    "nothing": None,
}


@pytest.mark.parametrize("option", NUMBERS)
def test_what_is_no_number_is_refused_in_one_sentence(option, fit):
    for what, given in NO_NUMBERS.items():
        if what == "nothing" and option in MAY_BE_NONE:
            continue
        with pytest.raises(OURS) as refused:
            pytest.fail(f"{option}({what}) answers {NUMBERS[option](fit, given)!r:.80}")
        assert str(refused.value).isprintable() and len(str(refused.value)) < 400, f"{option}({what})"


@pytest.mark.parametrize("given", [7, 7.0, np.int64(7), np.float32(7), np.array(7), xr.DataArray(7.0)])
def test_one_number_in_every_form(given):
    assert doors.number("x", given) == 7.0


@pytest.mark.parametrize(
    "given", [[7, 8], (7, 8.0), np.array([7, 8]), pd.Series([7, 8]), xr.DataArray([7.0, 8.0]), [7, np.int64(8)]]
)
def test_numbers_in_every_form(given):
    np.testing.assert_array_equal(doors.numbers("x", given), [7.0, 8.0])
    assert doors.numbers("x", 10**24)[0] == 1e24  # a budget as a whole number, above what 64 bits hold


def test_sizes_as_people_write_them(fit):
    """70B, 1.4T, 2e6 and 7B..70B in Python, as on the command line."""
    same = bayescale.forecast(fit, 7e9, 1.4e11), bayescale.forecast(fit, "7B", "140B")
    assert same[0]["predictions"].identical(same[1]["predictions"])
    assert doors.numbers("x", ["7B", 1, "2e6"]).tolist() == [7e9, 1.0, 2e6]
    limits = {"params": (1e9, 7e10), "tokens": (None, 2e12), "ratio": (5.0, 200.0)}
    written = {"params": "1B..70B", "tokens": "..2T", "ratio": "5..200"}
    asked = [bayescale.allocate(fit, *one) for one in ((1e22,), ("1e22",))]
    asked += [bayescale.allocate(fit, "1e22", **one) for one in (limits, written)]
    assert asked[0].identical(asked[1]) and asked[2].identical(asked[3])
    menus = [bayescale.decide(fit, 1e22, menu=menu) for menu in ([1e9, 7e9], "1B,7B", ["1B", "7B"])]
    assert menus[0].identical(menus[1]) and menus[0].identical(menus[2])
    assert bayescale.least_compute(fit, "2.1").identical(bayescale.least_compute(fit, 2.1))
    held = [bayescale.allocate(fit, 1e22, ratio=ratio) for ratio in ("20", 20, (20, 20))]
    assert held[0].identical(held[1]) and held[0].identical(held[2])
    with pytest.raises(FitError, match=r"params = '7X': a finite number above 0 is expected"):
        bayescale.allocate(fit, 1e22, params="7X..")


def test_names_of_data_sets_are_runs():
    """As on the command line; a name nearly right is a mistake that is told."""
    named, loaded = (Study.of(one) for one in ("pile", bayescale.load_dataset("pile")))
    assert named.runs.identical(loaded.runs)
    with pytest.raises(bayescale.RunsError, match=r"no data set .pyle.; there are .*did you mean .pile."):
        bayescale.check_runs("pyle")


# ---- an unconverged fit ---------------------------------------------------------------------------------------------

LOST = "r-hat of 'level' is 1.300 (must be below 1.01)"


@pytest.fixture(scope="module")
def unconverged(fit):
    report = json.loads(fit.attrs["diagnostics"]) | {"converged": False, "clean": False, "why": LOST, "r_hat_max": 1.3}
    return with_attrs(fit, diagnostics=json.dumps(report))


def marked(answer):
    """Whether an answer says that the fit behind it did not converge."""
    if isinstance(answer, plt.Figure):
        texts = [text.get_text() for text in answer.findobj(plt.Text)]
        plt.close(answer)
        return any("did not converge" in text for text in texts)
    if hasattr(answer, "attrs") and "diagnostics" in answer.attrs:
        return not json.loads(answer.attrs["diagnostics"])["converged"]
    if isinstance(answer, list):
        return all(map(marked, answer))
    return "did not converge" in str(getattr(answer, "verdict", answer))


@pytest.mark.parametrize("name", [name for name, (kind, _) in CALLS.items() if kind == "fit"])
def test_what_is_made_of_an_unconverged_fit_says_so(name, unconverged, tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    if name == "save_fit":  # the file is the fit, with its mark
        return
    try:
        answer = CALLS[name][1](unconverged)
    except OURS as error:
        assert "converge" in str(error)
        return
    if name == "reproduce":  # nothing is made of the fit: its runs are others
        assert answer.attrs["verdict"] == "other_runs"
        return
    assert marked(answer), name


def test_no_truth_is_drawn_from_an_unconverged_fit(unconverged):
    with pytest.raises(FitError, match="did not converge"):
        bayescale.calibrate("chinchilla", posterior=unconverged, simulations=10)


def test_tables_of_results_are_marked_too(unconverged):
    for shown in (bayescale.allocate, bayescale.decide):
        assert any("did not converge" in text for text in bayescale.show(shown(unconverged, 1e21)).warnings)


# ---- a fit of another law -------------------------------------------------------------------------------------------

# of one size, of three, of two of no name; a law of N and D is asked everything by the tests of an unconverged fit
SOME = ("power_compute", "data_constrained", "m4")


def _fit_of(law, make_fit, draws=40):
    """A fit by hand of any law: runs over its published range, parameters near the middle of their priors."""
    law, rng = load_law(law), np.random.default_rng(5)
    spread = {symbol: rng.permutation((np.arange(20) + 0.5) / 20) for symbol in law.inputs}
    runs = {}
    for symbol, share in spread.items():
        low, high = law.range.get(symbol, (1.0, 10.0))
        runs[column(symbol)] = low * (high / low) ** share if low > 0 else low + (high - low) * share
    falling = 1 - np.mean(list(spread.values()), axis=0)
    runs[law.observed.column] = {
        "log": 2.0 + falling, "linear": -1.0 - falling, "proportion": np.round(40 + 20 * falling) / 100,
    }[law.observed.scale]  # fmt: skip
    if law.observed.count:
        runs[law.observed.count] = np.full(20, 100.0)
    near = {
        name: quantile(prior, np.clip(0.5 + 0.1 * rng.standard_normal(draws), 0.2, 0.8))
        for name, prior in law.priors.items()
    }
    noise = NOISES[default_noise(law.observed.scale)].priors
    scatter = {name: quantile(prior, np.full(draws, 0.5)) for name, prior in noise.items()}
    return make_fit(law, near, runs, scatter=scatter)


def walk(law, make_fit):
    fit = _fit_of(law, make_fit)
    for name, (kind, call) in CALLS.items():
        if kind == "fit" and name not in ("save_fit", "report", "plot_landmarks"):
            try:
                answer = call(fit)
            except OURS as error:
                assert str(error).isprintable(), f"{law}: {name}: {error}"
            except Exception as error:
                pytest.fail(f"{law}: {name}: {type(error).__name__}: {error}")
            else:
                if isinstance(answer, plt.Figure):
                    plt.close(answer)
    assert bayescale.show(fit).rows
    try:
        drawn = bayescale.forecast(fit, **_sizes(fit))
    except OURS as error:  # a sparsity above 1, where the law has no value
        assert "no finite value" in str(error), f"{law}: {error}"
    else:
        assert bayescale.show(drawn).rows


@pytest.mark.parametrize("law", SOME)
def test_a_fit_of_any_law_is_answered_or_refused(law, make_fit):
    walk(law, make_fit)


@pytest.mark.slow
@pytest.mark.parametrize("law", [name for name in bayescale.law_names() if name not in SOME])
def test_a_fit_of_every_law_is_answered_or_refused(law, make_fit):
    walk(law, make_fit)
