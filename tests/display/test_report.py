"""The page of a fit: what it says at its head, numbers are those of the functions, that it is one safe file."""

import html as entities
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import bayescale
from bayescale.budgets.allocate import allocate
from bayescale.display import explorer as explorer_module
from bayescale.display.explorer import explorer
from bayescale.display.question import Question
from bayescale.display.report import report, save_report
from bayescale.errors import FileError, FitError
from bayescale.field import number_text
from bayescale.fitting.diagnostics import noted
from bayescale.forecasts.forecast import forecast
from bayescale.laws.law import law_names, load_law
from bayescale.laws.law_file import parse_law
from bayescale.laws.references import METHOD, bibtex, cited, entries
from bayescale.study import Study

pytestmark = pytest.mark.usefixtures("drift_once")

VOID = {"meta", "link", "img", "input", "br", "path", "line", "circle"}


class Page(HTMLParser):
    """Text, addresses and elements of a page; checks that every element that opens closes."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.addresses, self.ids, self.images = [], "", [], [], []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("src", "href", "action", "srcset") if name in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.images += [attrs] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def head(html):
    """Level and text of the box at the head of the page."""
    level, text = re.search(r'<section class="verdict (\w+)".*?>(.*?)</section>', html, re.DOTALL).groups()
    return level, re.sub(r"\s+", " ", entities.unescape(re.sub("<.*?>", " ", text))).strip()


def answer(html):
    """The sentences under the question."""
    return " ".join(entities.unescape(text) for text in re.findall(r'<p class="answer">(.*?)</p>', html, re.DOTALL))


@pytest.fixture(scope="module")
def varied_fit(true_fit):
    """Fits by hand whose noise varies too: r-hat of what never varies is not defined."""

    def make(**options):
        rng = np.random.default_rng(3)
        noise = {"sigma": 0.003, "tilt": 0.01, "nu_minus_2": 30.0}
        scatter = {name: value * np.exp(0.1 * rng.standard_normal(400)) for name, value in noise.items()}
        return true_fit(400, scatter=scatter, **options)

    return make


@pytest.fixture(scope="module")
def fit(varied_fit):
    return varied_fit()


@pytest.fixture(scope="module")
def html(fit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer_module, "GRID_STEP_DECADES", 1.0)  # no test of this file asks more of the page's grid
        return report(fit, compute=1e22, params=7e9, tokens=140e9, target=2.2)


def test_one_file_that_loads_nothing(html, tmp_path):
    page = Page(html)
    assert {address.partition(":")[0] for address in page.addresses} <= {"data", "#answer"}
    assert len(page.ids) == len(set(page.ids))
    assert all(len(image["alt"]) > 30 for image in page.images) and len(page.images) == 8
    path = save_report(html, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == html and path.stat().st_size < 3e6


def test_the_answer_comes_first_and_is_that_of_the_functions(fit, html):
    text = Page(html).text
    row = bayescale.read(forecast(fit, 7e9, 140e9), target=2.2).frame.iloc[0]
    said = f"A run of 7B parameters on 140B tokens is forecast to end at a loss of {row.loss_q50:.3f}, with 90 % "
    said += f"probability between {row.loss_q05:.3f} and {row.loss_q95:.3f}; it reaches 2.2 or less with probability "
    assert f"{said}{row.p_reach:.2f}." in text
    split = bayescale.read(allocate(fit, 1e22)).frame.iloc[0]
    assert f"{split.loss_q50:.3f} [{split.loss_q05:.3f}, {split.loss_q95:.3f}]" in text
    order = ["Bands of the loss", "Allocation", "Which law", "How far to trust it", "The runs", "Priors"]
    places = [html.index(f"<h2>{title}</h2>") for title in [*order, "Method and citations"]]
    assert places == sorted(places)
    assert "author = {Hoffmann, Jordan and others}" in text and "hoffmann2022" in text
    assert "--backtest" in text and "--compare" in text  # what is left out is said, and how to add it


@pytest.mark.slow
def test_same_fit_same_page(fit, unfigured):
    assert report(fit, compute=1e22) == report(fit, compute=1e22)


def test_a_good_fit_is_said_to_be_one(html):
    assert head(html) == ("fine", head(html)[1]) and "Nothing is known against" in head(html)[1]


@pytest.mark.slow
def test_how_far_what_was_asked_lies_is_said(varied_fit, undrawn):
    """1.7 decades are no nearness, although no warning is due before 2."""
    fit = varied_fit()
    most = fit["constant_data"]["compute"].values.max()
    _, text = head(report(fit, params=[1e10], tokens=[50 * most / 6e10]))
    assert "what was asked lies up to 1.7 decades of compute beyond them" in text and "nothing asked" not in text


def test_an_unconverged_fit_is_said_to_be_one(varied_fit, undrawn):
    bad = varied_fit(converged=False, clean=False, why="r-hat of 'floor' is 1.300 (must be below 1.01)")
    page = report(bad, compute=1e22)
    level, text = head(page)
    assert level == "stop"
    assert "chains did not converge (r-hat of 'floor' is 1.300" in text and "must not be trusted" in text
    first = answer(page)
    assert first.startswith("For 1e22 FLOP the best split is not known: the chains of the fit did not converge")
    assert "train " not in first
    assert explorer(Question(Study.opened(bad)))["doubt"].startswith("The chains of the fit did not converge")


@pytest.mark.slow
def test_collinear_runs_are_said_to_be_so(varied_fit, undrawn):
    html = report(varied_fit(collinear=True, not_identified=["lean", "share"]), compute=1e22)
    assert "Well-known models" not in html  # none of them could be told from its best size
    level, text = head(html)
    assert level == "stop" and "N and D move together" in text and "next to nothing of lean, share" in text
    text = answer(html)
    assert text.startswith("For 1e22 FLOP the best split is not known: N and D move together") and "train " not in text
    assert "Runs of 4 sizes or more at each of two budgets would tell" in text


@pytest.mark.slow
def test_what_the_check_of_the_runs_saw_is_said_once(varied_fit, undrawn):
    note = {"severity": "warning", "rows": []}
    notes = [
        note | {"code": "collinear_sizes", "text": "N and D move together, along D = 20 N: their effects are one"},
        note | {"code": "scatter", "text": "losses scatter by 40 % around a smooth surface"},
    ]
    carried = noted(notes)
    fit = varied_fit(collinear=True, not_identified=["lean"], noted=carried)
    _, text = head(report(fit))
    assert "N and D move together in the runs" in text and "along D = 20 N" not in text and "scatter by 40 %" in text
    fit = varied_fit(noted=carried)
    fit.attrs["diagnostics"] = json.dumps(json.loads(fit.attrs["diagnostics"]) | {"scatter": 0.4})  # said in its words
    _, text = head(report(fit))
    assert (
        "N and D move together, along" in text
        and "losses scatter by 40 %" not in text
        and "runs scatter by 40 %" in text
    )


@pytest.mark.slow
def test_four_decades_out_is_said_to_be_far(fit, undrawn):
    largest = float(fit["constant_data"]["compute"].max())
    page = report(fit, compute=1e4 * largest)
    level, text = head(page)
    assert level == "stop" and "4.0 decades of compute beyond the largest run" in text
    said = bayescale.read(bayescale.decide(fit, 1e4 * largest)).says[0]
    why = "the best split is not known: it lies 4.0 decades of compute beyond the largest run, and bands were checked "
    why += "up to 1.5. Runs of 320 times that run's compute or more would bring it near enough."
    assert why in said and why in answer(page) and "train " not in said + answer(page)
    assert "costs less than" not in Page(page).text.partition("The price of being wrong")[2].partition("What would")[0]
    page = report(fit, compute=largest, params=1e12, tokens=1e14)
    level, text = head(page)
    assert level == "stop" and "decades of compute beyond the largest run" in text
    assert answer(page).startswith("What loss a run of 1T parameters on 100T tokens will end at is not known: it lies")
    assert f"For {number_text(largest)} FLOP, train " in answer(page)


def test_too_few_runs_advise_nothing(varied_fit, undrawn):
    note = {"severity": "warning", "rows": [], "code": "too_few_runs", "text": "5 runs do not tell it; 12 are wanted"}
    fit = varied_fit(noted=noted([note]))
    page, said = report(fit, compute=1e22), bayescale.read(bayescale.decide(fit, 1e22)).says[0]
    assert head(page)[0] == "stop" and "neither is what it costs to be wrong" in Page(page).text
    for text in (answer(page), said):
        assert "the best split is not known: 5 runs do not tell it. 12 runs or more, of at least 4 sizes, would" in text
        assert "train " not in text


def test_a_law_of_one_size_has_a_page_without_a_split(make_fit, rng, undrawn):
    N = np.logspace(7, 10, 20)
    runs = {"params": N, "loss": 1.7 + 400 * N**-0.34}
    draws = {name: prior for name, prior in zip(load_law("floor_params").priors, [1.0, 0.3, 0.6], strict=False)}
    draws = {name: value * np.exp(0.01 * rng.standard_normal(200)) for name, value in draws.items()}
    noise = {"sigma": 0.003, "tilt": 0.01, "nu_minus_2": 30.0}
    scatter = {name: value * np.exp(0.1 * rng.standard_normal(200)) for name, value in noise.items()}
    fit = make_fit("floor_params", draws, runs, scatter=scatter)
    html = report(fit, params=30e9)
    assert "A run of 30B parameters is forecast" in Page(html).text and "<h2>Allocation</h2>" not in html
    page = report(fit, params=70e9, target=2.0)
    far = answer(page)
    assert far.startswith("What loss a run of 70B parameters will end at is not known: it lies 0.8 decades of params")
    assert "explorer-data" not in html
    text = re.sub(r"\s+", " ", Page(page).text).partition("[priors]")[0]
    for word in ("N and D", "split", "tokens", "compute a"):  # of laws that this one is not
        assert word not in text.replace("another tokenizer", "").replace("nats per token", ""), word
    assert "36 curves of images" in text and "least params" in text
    assert "No planned run was given" in report(fit)


def test_text_of_a_stranger_is_no_part_of_the_page(varied_fit, undrawn):
    note = {"code": "x", "severity": "warning", "text": "</p><img src=http://x.y/z>", "rows": []}
    bad = varied_fit(noted=noted([note]))
    bad.attrs["source"] = "<script>alert(1)</script>"
    bad.attrs["notes"] = json.dumps([note])
    page = report(bad, compute=1e22)
    assert "<script>alert" not in page and "<img src=http" not in page
    assert "<script>alert(1)</script>" in Page(page).text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute": -1}, "compute = -1"),
        ({"params": 1e9}, "params and tokens go together"),
        ({"at": {"epochs": 4.0}}, "'epochs' is not a further input of law 'chinchilla'"),
        ({"params": "many", "tokens": 1e9}, "params must be a number"),
        ({"params": 1e9, "tokens": -5.0}, "tokens = -5"),
    ],
)
def test_what_cannot_be_answered_is_refused(fit, options, message):
    with pytest.raises(FitError, match=re.escape(message)):
        report(fit, **options)


def test_what_is_no_fit_is_refused(tmp_path):
    with pytest.raises(FitError, match=r"a fit is expected, not 'fit\.nc'"):
        report("fit.nc")
    with pytest.raises(FileError, match="cannot be written"):
        save_report("<!doctype html>", tmp_path / "no" / "report.html")


@pytest.mark.slow
def test_large_fits_are_thinned_and_it_is_said(fit, unfigured, monkeypatch):
    monkeypatch.setattr(explorer_module, "PAGE_NUMBERS_MAX", 200 * (5 + explorer_module.RANK_MAX + 1))
    data = explorer(Question(Study.opened(fit)))
    assert (data["count"], data["every"]) == (200, 2)
    assert "from 200 posterior draws (one in 2 of the fit's" in re.sub(r"\s+", " ", Page(report(fit)).text)


def test_weights_and_shapes_give_back_smooth_curves(rng):
    x = np.linspace(0, 1, 300)
    curves = np.exp(rng.normal(size=(500, 1)) * x) + rng.normal(size=(500, 1)) * np.cos(3 * x)
    weights, shapes = explorer_module.compressed(0.05 * curves)
    assert shapes.shape[0] < 12
    np.testing.assert_allclose(weights @ shapes, 0.05 * curves, atol=2e-3)


# ---- citations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", law_names())
def test_every_cited_paper_has_its_entry(name):
    law = load_law(name)
    assert cited(law), law.cite
    assert set(cited(law)) <= entries().keys()


def test_bibtex_is_well_formed():
    every = bibtex(entries())
    keys = re.findall(r"^@\w+\{([\w.]+),$", every, re.MULTILINE)
    assert len(keys) == len(entries()) == len(set(keys))
    for entry in every.split("\n\n"):
        assert entry.count("{") == entry.count("}") and "author = {" in entry and "title = {" in entry
    assert set(METHOD) <= entries().keys()


def test_first_authors_are_those_of_the_laws():
    """The surname that a law file gives before each arXiv number, against the author of the entry."""
    for name in law_names():
        for surname, key in re.findall(
            r"(\w+)(?: et al\.|, \w+, \w+)? \d{4}, arXiv:(\d{4}\.\d{5})", load_law(name).cite
        ):
            assert surname in entries()[key].partition("title")[0], (name, surname, key)


def test_a_law_of_ones_own_cites_what_it_says():
    text = Path(load_law("chinchilla").name + ".toml")
    own = parse_law(load_law("chinchilla").text.replace("arXiv:2203.15556, eq. 10", "arXiv:2999.01234", 1), text.stem)
    assert "arxiv2999.01234" in bibtex(cited(own))
