"""Results as tables: the right one for each, round numbers with units and warnings, HTML that a browser can read."""

import importlib
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayescale
from bayescale import reading
from bayescale.display.show import show
from bayescale.display.table import Table, band_text, size_text, table
from bayescale.errors import FitError

pytestmark = pytest.mark.usefixtures("drift_once")
NOTED = {"code": "units", "text": "the tokens look like billions"}
OF_A_FIT = [
    "fit",
    "forecast",
    "allocate",
    "decide",
    "least_compute",
    "compute_gain",
    "approaches",
    "next_run",
    "compare",
]


@pytest.fixture(scope="module")
def scatter():
    """Draws of the noise: r-hat of a constant does not exist."""
    rng = np.random.default_rng(3)
    names = {"sigma": 0.003, "tilt": 0.1, "nu_minus_2": 30.0}
    return {name: value * np.exp(0.1 * rng.standard_normal(400)) for name, value in names.items()}


@pytest.fixture(scope="module")
def learnt(true_fit, scatter):
    return true_fit(draws=400, scatter=scatter, noted=[NOTED])


@pytest.fixture(scope="module")
def results(learnt, make_fit, true_fit, crossed_runs, coverage_fit):
    rng = np.random.default_rng(5)
    slope = 0.1 * np.exp(0.0005 * rng.standard_normal(400))
    kaplan = {"level": 1.35, "slope": slope, "lean": 0.01 * rng.standard_normal(400), "share": 0.5}
    fits = {
        "chinchilla": true_fit(draws=400, spread=0.0003, noted=[NOTED]),
        "kaplan": make_fit("kaplan", kaplan, crossed_runs(), scatter={"sigma": 0.05}),
    }
    return {
        "runs": crossed_runs(),
        "law": bayescale.load_law("chinchilla"),
        "fit": learnt,
        "forecast": bayescale.forecast(learnt, [7e9, 70e9], [1.4e11, 1.4e12]),
        "allocate": bayescale.allocate(learnt, [1e21, 1e23]),
        "decide": bayescale.decide(learnt, 1e22),
        "train_or_sample": _train_or_sample(learnt),
        "least_compute": bayescale.least_compute(learnt, [2.0, 1.5]),
        "compute_gain": bayescale.compute_gain(learnt, learnt, 1e22),
        "emergence": bayescale.emergence(
            coverage_fit, [7e9, 70e9], [1.4e11, 1.4e12], through={"loss": learnt}, covariates={"samples": 10}
        ),
        "approaches": bayescale.approaches(learnt, 1e21),
        "next_run": bayescale.next_run(learnt, 1e21, params=70e9, tokens=1.4e12),
        "landmarks": bayescale.landmarks(learnt),
        "published_split": bayescale.published_split("chinchilla", 5.76e23),
        "prior_sensitivity": bayescale.prior_sensitivity(fits["chinchilla"]),
        "plan_runs": bayescale.plan_runs(quantity="alpha", sd=0.05),
        "backtest": _backtest(),
        "calibrate": _calibration(),
        "compare": bayescale.compare(fits, mend=False),
        "reproduce": _reproduction(fits["chinchilla"], crossed_runs()),
    }


@pytest.mark.parametrize("kind", OF_A_FIT)
def test_a_warning_of_the_runs_stays_with_everything_that_is_made_of_their_fit(results, kind):
    assert show(results[kind]).warnings.count(NOTED["text"]) == 1


@pytest.mark.parametrize("kind", OF_A_FIT)
def test_what_is_not_there_is_not_printed_as_a_number(results, kind):
    """A gain of a fit over itself has no band: it stands alone."""
    assert not re.search(r"\bnan\b", str(show(results[kind])))


def _reproduction(fit, runs):
    """The same fit, as if made again by other draws."""
    again = fit.map_over_datasets(
        lambda group: group.isel(draw=slice(None, None, -1)) if "draw" in group.dims else group
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("bayescale.fitting.reproduce"), "fit", lambda *args, **options: again)
        return bayescale.reproduce(fit, runs)


def _train_or_sample(fit):
    """Draws put together by hand."""
    drawn = {name: fit["posterior"]["alpha"].expand_dims(budget=1, axis=2) for name in ("samples", "N", "D")}
    result = xr.Dataset(drawn | {name: drawn["N"] for name in ("best", "at_first")}).assign_coords(
        compute=("budget", [1e24])
    )
    about = {"size": "samples", "observed": "coverage", "law": "a, b", "cost": "N", "least": 1.0, "told": "[]"}
    told = {name: ("budget", [0.0]) for name in ("held", "decades_beyond", "samples_beyond")}
    told |= {"identified": ("budget", [True]), "why_not": ("budget", [""])}
    return result.assign(told).assign_attrs(kind="train_or_sample", **about)


def _backtest():
    """Two cuts, two runs, put together by hand."""
    shape = (1, 2, 2)
    names = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")
    values = {name: np.full(shape, 0.7 + 0.01 * i) for i, name in enumerate(names)}
    values |= {"observed": np.full(shape, 0.72), "decades_beyond": np.full(shape, 0.4)}
    values |= {"pit": np.full(shape, 0.4), "crps": np.full(shape, 0.004), "elpd": np.full(shape, 2.0)}
    dataset = xr.Dataset(
        {name: (("law", "cut", "run"), value) for name, value in values.items()},
        coords={"law": ["chinchilla"], "edge": ("cut", [1e20, 1e21])},
    )
    dataset["learnt_from"] = ("cut", [20, 30])
    dataset["failed"] = (("law", "cut"), [["", ""]])
    return dataset.assign_attrs(kind="backtest", source="mine", seed=0, horizon=1.0)


def _calibration():
    """Ten simulations, two quantities, put together by hand."""
    values = np.linspace(0.05, 0.95, 10) * np.ones((2, 1))
    arrays = {"truth": values, "rank": np.round(100 * values), "pit": values}
    dataset = xr.Dataset(
        {name: (("quantity", "simulation"), array) for name, array in arrays.items()},
        coords={"quantity": ["alpha", "sigma"]},
    )
    dataset["kind"] = ("quantity", ["parameter", "noise"])
    dataset["status"] = ("simulation", ["unconverged"] + 9 * ["fitted"])
    dataset["why"] = ("simulation", ["r-hat of 'alpha' is 1.2"] + 9 * [""])
    return dataset.assign_attrs(law="chinchilla", source="mine", runs=36, most=100, kind="calibrate", truths="prior")


KINDS = """runs law fit forecast allocate decide least_compute compute_gain emergence approaches landmarks next_run
plan_runs published_split train_or_sample backtest calibrate compare prior_sensitivity reproduce""".split()
HOLDS = {  # in the header or the text of each
    "runs": "nats per token",
    "law": "90 % of it",
    "fit": "r-hat",
    "forecast": "loss, 90 % band",
    "allocate": "tokens per param",
    "decide": "compute wasted",
    "least_compute": "P(reachable)",
    "compute_gain": "P(better)",
    "emergence": "P(jump behind)",
    "approaches": "exponent of N*",
    "next_run": "sd left",
    "landmarks": "source of N and D",
    "published_split": "tokens per parameter",
    "train_or_sample": "samples*",
    "prior_sensitivity": "decided by",
    "plan_runs": "P(sd < 0.05)",
    "backtest": "IS 90 %",
    "calibrate": "p of ranks",
    "compare": "weight LOO",
    "reproduce": "Monte Carlo error",
}


def parsed(shown):
    """The HTML, read by a strict parser: every element closed, every character escaped."""
    return ElementTree.fromstring(f"<div>{shown._repr_html_()}</div>")


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_has_its_table(kind, results):
    shown = show(results[kind])
    assert isinstance(shown, Table) and shown.rows
    assert HOLDS[kind] in str(shown)
    assert all(len(row) == len(shown.header) for row in shown.rows)
    assert all(isinstance(cell, str) for row in shown.rows for cell in row)
    page = parsed(shown)
    assert len(page.findall(".//tbody/tr")) == len(shown.rows)
    assert [cell.text or "" for cell in page.findall(".//thead/tr/th")] == list(shown.header)
    said = " ".join(page.itertext())
    for text in (*shown.notes, *shown.warnings):
        assert text in said
        assert text in str(shown)


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_long(kind, results):
    """Nobody reads 7.000000e+10, or twelve digits of a loss."""
    for row in show(results[kind]).rows:
        for cell in row:
            for number in re.findall(r"(?<![\w:.])\d+\.\d+(?:e[+-]?\d+)?", cell):
                assert len(number.split("e")[0]) <= 9, cell
                assert "000000" not in number, cell


def test_numbers_are_those_of_the_frame(results):
    frame = bayescale.read(results["forecast"], target=1.9).frame
    shown = show(results["forecast"], target=1.9)
    at = {name: shown.header.index(name) for name in ("params", "tokens", "loss, 90 % band", "P(loss <= 1.9)")}
    for row, (_, expected) in zip(shown.rows, frame.iterrows(), strict=True):
        middle, low, high = map(float, re.findall(r"[\d.]+", row[at["loss, 90 % band"]]))
        for seen, name in ((middle, "loss_q50"), (low, "loss_q05"), (high, "loss_q95")):
            assert seen == pytest.approx(expected[name], abs=5.1e-4)
        assert float(row[at["P(loss <= 1.9)"]]) == pytest.approx(expected["p_reach"], abs=5.1e-3)
    assert [row[at["params"]] for row in shown.rows] == ["7B", "70B"]
    assert [row[at["tokens"]] for row in shown.rows] == ["140B", "1.4T"]


def test_warnings_travel_with_the_table(true_fit, scatter):
    bad = true_fit(draws=400, scatter=scatter, converged=False, why="r-hat of 'level' is 1.300 (must be below 1.01)")
    for result in (bad, bayescale.forecast(bad, 70e9, 1.4e12), bayescale.allocate(bad, 1e23)):
        shown = show(result)
        assert "did not converge" in shown.warnings[0]
        strong = [tag.text for tag in parsed(shown).iter("strong")]
        assert strong == ["Warning:"] * len(shown.warnings)
    far = show(bayescale.forecast(true_fit(draws=400), 1e13, 1e15))
    assert any("decades of compute beyond" in text for text in far.warnings)


def test_units_are_said(results):
    for kind in ("forecast", "allocate", "decide", "least_compute", "compute_gain"):
        said = str(show(results[kind]))
        assert "nats per token" in said and "FLOP" in said, kind


def test_a_cost_of_another_kind_is_not_called_flop(learnt):
    result = bayescale.allocate(learnt, 1e6, cost="6*N*D/(mfu*989e12*3600)*price", given={"mfu": 0.4, "price": 2})
    said = " ".join(show(result).notes)
    assert "compute in the unit of the cost 6*N*D/(mfu*989e12*3600)*price" in said


def test_text_lines_up(results):
    lines = str(show(results["allocate"])).splitlines()[1:4]
    ends = [line.index(" dec") if " dec" in line else line.index("beyond") + 2 for line in lines]
    assert len(set(ends)) == 1


def test_markup_in_names_stays_text():
    shown = table("a <b>title</b> & more", ("", "x<y"), [("<script>alert(1)</script>", "1 & 2")])
    html = shown._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert parsed(shown).find(".//tbody/tr/th").text == "<script>alert(1)</script>"


def test_a_notebook_shows_the_html(results):
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is not installed (extra: docs)")
    html = formatters.HTMLFormatter()(show(results["forecast"]))
    assert html.count("<tr>") == 3 and "70B" in html


@pytest.mark.parametrize(
    ("low", "middle", "high", "text"),
    [
        (1.4911, 1.5612, 1.6222, "1.561 [1.491, 1.622]"),
        (1.49112, 1.49234, 1.49348, "1.4923 [1.4911, 1.4935]"),
        (2.00e-5, 2.11e-5, 2.22e-5, "0.0000211 [0.0000200, 0.0000222]"),
        (np.nan, 1.5, np.nan, "1.500"),
        (1.5, 1.5, 1.5, "1.500 [1.500, 1.500]"),
    ],
)
def test_decimals_follow_the_width_of_the_band(low, middle, high, text):
    assert band_text({"x_q05": low, "x_q50": middle, "x_q95": high}, "x") == text


@pytest.mark.parametrize(
    ("value", "text"), [(7e9, "7B"), (1.4e12, "1.4T"), (3.5e8, "350M"), (1234.0, "1.23K"), (5, "5")]
)
def test_sizes_as_people_write_them(value, text):
    assert size_text(value) == text


@pytest.mark.parametrize("wrong", [None, 3, "fit.nc", pd.DataFrame({"a": [1]}), xr.Dataset(), xr.DataTree()])
def test_what_cannot_be_shown(wrong):
    with pytest.raises(FitError, match=r"cannot be shown: give runs, a law, a fit"):
        show(wrong)


def test_a_target_goes_with_a_forecast(learnt):
    with pytest.raises(FitError, match="target does not go with what fit"):
        show(learnt, target=2.0)


def test_every_kind_is_known():
    from bayescale.display import show as module

    assert {*module.TABLE_OF, *reading.KINDS} == set(KINDS)
