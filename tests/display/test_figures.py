"""Figures: what they show is what the functions give, and axes are readable."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.text import Text

import bayescale
from bayescale.budgets.landmarks import known_models, landmarks
from bayescale.display import gallery
from bayescale.display.figures import (
    RUNS_SHOWN,
    figure_source,
    log_ticks,
    loss_axis,
    save_figure,
    shown_runs,
    size_axis,
    style,
)
from bayescale.display.gallery import OF_A_FIT, PLOTS, draw
from bayescale.display.plots_loss import residuals
from bayescale.errors import FitError
from bayescale.study import Study

pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def fit(true_fit):
    return true_fit(400)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(figure):
    figure.canvas.draw()
    return figure


def texts(figure):
    """Every text that is seen in a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def overlapping(figure):
    """Pairs of tick labels of one axis that cover each other."""
    renderer, found = figure.canvas.get_renderer(), []
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [(label.get_text(), label.get_window_extent(renderer)) for label in labels if label.get_text()]
            found += [(a, b) for i, (a, one) in enumerate(boxes) for b, two in boxes[i + 1 :] if one.overlaps(two)]
    return found


@pytest.mark.slow
def test_of_very_many_runs_some_are_shown_and_it_is_said(true_fit, crossed_runs, coarse):
    fit = true_fit(50, runs=crossed_runs(30, 20))
    forecast = bayescale.forecast(fit, 1e10, 1e12)
    figures = [bayescale.plot_forecast(fit, forecast), bayescale.plot_residuals(fit)]
    figures += [plot(fit) for plot in (bayescale.plot_frontier, bayescale.plot_surface, bayescale.plot_isoflops)]
    for figure in figures:
        dots = [len(part.get_offsets()) for axes in figure.axes for part in axes.collections]
        assert max(dots) <= RUNS_SHOWN
        assert f"({RUNS_SHOWN} of 600 shown)" in " ".join(texts(figure))
        assert len(figure_source(figure)["source"]) < 1_000_000
    compute = fit["constant_data"]["compute"].values
    shown = compute[shown_runs(compute)]
    assert len(shown) == RUNS_SHOWN and (shown.min(), shown.max()) == (compute.min(), compute.max())


@pytest.mark.parametrize(
    ("low", "high"), [(1e6, 1e9), (7e8, 3e9), (1e18, 1e26), (255.0, 260.0), (1.0, 1e12), (0.9e9, 1.1e9), (2e7, 6e7)]
)
def test_ticks_are_round_inside_and_few(low, high):
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert (ticks >= low).all() and (ticks <= high * (1 + 1e-9)).all()
    mantissas = ticks / 10.0 ** np.floor(np.log10(ticks) + 1e-9)
    assert np.allclose(mantissas, np.round(mantissas, 3))


def test_axes_in_the_units_of_the_field():
    with style():
        figure, axes = plt.subplots()
        axes.plot([2e7, 3e11], [1.7, 3.4])
        size_axis(axes.xaxis, "parameters N")
        loss_axis(axes.yaxis, "loss")
    drawn(figure)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100M", "1B", "10B", "100B"]
    assert {"2", "3"} <= {label.get_text() for label in axes.get_yticklabels()}


@pytest.mark.parametrize("kind", OF_A_FIT)
def test_figures_of_a_fit(fit, kind):
    planned = {"params": [7e9], "tokens": [140e9]} if "params" in OF_A_FIT[kind].options else {}
    figure = drawn(draw(kind, fit, planned))
    assert not overlapping(figure)
    for axes in figure.axes:
        if axes.get_visible():
            assert axes.has_data(), "an empty panel"
    assert not any("nan" in text.lower().split() or "inf" in text.lower().split() for text in texts(figure))


def test_every_figure_has_its_row():
    folder = Path(gallery.__file__).parent
    defined = {
        f"{path.stem}.{name}"
        for path in folder.glob("plots_*.py")
        for name in re.findall(r"^def (plot_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert defined == {f"{row.module}.plot_{kind}" for kind, row in PLOTS.items()}
    assert {f"plot_{kind}" for kind in PLOTS} < set(bayescale.__all__)


@pytest.mark.parametrize(("name", "count"), [("isoflops", 1), ("frontier", 2), ("residuals", 3)])
def test_figures_on_axes_of_ones_own(fit, name, count):
    own, grid = plt.subplots(count, 1, figsize=(4.9, 3 * count))
    assert getattr(bayescale, f"plot_{name}")(fit, ax=grid) is own
    assert all(axes.has_data() for axes in np.ravel(grid)) and not overlapping(drawn(own))
    with pytest.raises(FitError, match=f"ax: {count} axes of matplotlib are expected"):
        getattr(bayescale, f"plot_{name}")(fit, ax=[*np.ravel(grid), grid])


def test_what_is_not_identified_is_said_on_the_figure(true_fit, coarse):
    fit = true_fit(400, collinear=True)
    for plot, said in (
        (bayescale.plot_frontier, "NOT IDENTIFIED by these runs"),
        (bayescale.plot_landmarks, "NOT IDENTIFIED by these runs"),
        (bayescale.plot_surface, "is not identified by these runs"),
        (bayescale.plot_isoflops, "where the minimum lies is the prior's"),
    ):
        assert said in " ".join(texts(plot(fit))), plot


def test_labels_of_the_surface_lie_inside_and_on_no_run(fit):
    axes = bayescale.plot_surface(fit).axes[0]
    axes.figure.canvas.draw()
    frame = axes.get_window_extent()
    (dots,) = [part for part in axes.collections if part.get_label().endswith("runs")]
    runs = axes.transData.transform(dots.get_offsets())
    drawn = [text for text in axes.texts if re.fullmatch(r"1e\d+|\d\.\d+", text.get_text())]
    assert len(drawn) > 3
    for text in drawn:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1 and frame.y0 <= box.y0 < box.y1 <= frame.y1, text
        assert not text.get_text().startswith("1e") or not box.count_contains(runs), text


def test_isoflop_minima_are_those_of_the_law(fit):
    """Diamonds at N* of the closed form, on budgets spread over the runs."""
    figure = bayescale.plot_isoflops(fit)
    shown = sorted(
        float(line.get_xdata()[0])
        for line in figure.axes[0].lines
        if line.get_marker() == "D" and len(line.get_xdata())
    )
    budgets = np.logspace(*np.log10([fit["constant_data"]["compute"].min(), fit["constant_data"]["compute"].max()]), 6)
    expected = np.median(bayescale.allocate(fit, budgets)["N"], axis=(0, 1))
    assert len(shown) >= 4
    assert np.abs(np.log(np.array(shown)[:, None] / expected[None, :])).min(axis=1).max() < 0.35


def test_residuals_are_measured_minus_law(true_fit):
    from conftest import BESIROGLU, chinchilla_loss

    fit = true_fit(400, spread=1e-4)
    data = fit["constant_data"]
    left, scale = residuals(Study.opened(fit))
    law = chinchilla_loss(data["params"].values, data["tokens"].values, **BESIROGLU)
    np.testing.assert_allclose(left, fit["observed_data"]["log_loss"].values - np.log(law), atol=1e-4)
    assert np.allclose(scale, 0.003 + 1e-4, rtol=0.2)


def test_regret_marks_the_choices_where_they_are(fit):
    decision = bayescale.decide(fit, 1e22, candidates=[2e9])
    (axes,) = drawn(bayescale.plot_regret(decision)).axes
    (best,) = [line for line in axes.lines if line.get_label().startswith("least expected loss")]
    assert best.get_xdata()[0] == pytest.approx(float(decision["N"].values[0, 0]))
    assert best.get_ydata()[0] == pytest.approx(0.0, abs=1e-9)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert any(label.startswith("20 tokens per parameter") for label in labels)
    assert any(label.startswith("N = 2B") for label in labels)


def test_calibration_curves_are_those_of_the_pit():
    """Forecasts whose PIT is uniform lie on the diagonal; twice too narrow ones below it."""
    count = 400
    pit = (np.arange(count) + 0.5) / count
    narrow = np.clip(0.5 + 2 * (pit - 0.5), 0, 1)
    shape = ("law", "cut", "run")
    for values, at_half in ((pit, 50.0), (narrow, 25.0)):
        names = ("observed", "q05", "q25", "q50", "q75", "q95")
        data = {name: (shape, np.zeros((1, 1, count))) for name in names}
        data |= {"learnt_from": ("cut", [20])}
        data |= {"pit": (shape, values.reshape(1, 1, -1)), "decades_beyond": (shape, np.full((1, 1, count), 0.3))}
        result = xr.Dataset(data, coords={"law": ["coupled"]}, attrs={"kind": "backtest", "source": "made up"})
        right = bayescale.plot_calibration(result).axes[1]
        curve = right.lines[0]
        assert np.interp(50.0, curve.get_xdata(), curve.get_ydata()) == pytest.approx(at_half, abs=1.5)
        assert "0 to 0.5 decades: 400" in right.get_legend().get_texts()[0].get_text()


def test_next_run_rings_the_plan(fit):
    plan = bayescale.next_run(fit, 1e21, params=7e9, tokens=140e9, most=3)
    axes = drawn(bayescale.plot_next_run(plan, fit)).axes[0]
    rings = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines}
    assert rings == set(zip(plan["params"].values.tolist(), plan["tokens"].values.tolist(), strict=True))


def test_comparison_shows_who_is_behind():
    laws = ["coupled", "chinchilla"]
    result = xr.Dataset(
        {
            "elpd_i": (("law", "run"), [[3.0, 3.0], [2.0, 2.0]]),
            "d_elpd": ("law", [0.0, -8.0]),
            "d_se": ("law", [0.0, 3.0]),
            "converged": ("law", [True, True]),
            "elpd_cut": (("law", "cut"), [[3.0, 3.2], [2.0, 2.4]]),
            "elpd_forward": ("law", [3.1, 2.2]),
        },
        coords={"law": laws},
        attrs={"kind": "compare"},
    )
    left, right = drawn(bayescale.plot_comparison(result)).axes
    assert sorted(left.lines[0].get_xdata()) == [0.0, 8.0]
    assert any(sorted(line.get_xdata()) == [2.2, 3.1] for line in right.lines)


def test_landmarks_are_the_published_facts():
    """Sizes as the papers print them; Chinchilla is its own law's best split of its compute within a few percent."""
    facts = {row["name"]: (row["params"], row["tokens"]) for row in known_models()}
    assert facts["GPT-3"] == (175e9, 300e9) and facts["Gopher"] == (280e9, 300e9)
    assert facts["Chinchilla"] == (70e9, 1.4e12) and facts["Llama 3 405B"] == (405e9, 15.6e12)
    assert all(row["source"] for row in known_models())


def test_landmarks_against_the_best_split(fit):
    """By the law of Besiroglu et al. 2024 Gopher is several times too large and Chinchilla about right."""
    table = landmarks(fit).set_index("model")
    assert table.loc["Chinchilla", "compute"] == pytest.approx(5.88e23)
    assert 0.7 < table.loc["Chinchilla", "times_q50"] < 1.4
    assert table.loc["Gopher", "times_q50"] > 3 and table.loc["Llama 3 8B", "times_q50"] < 0.2
    assert (table["times_q05"] <= table["times_q50"]).all() and (table["times_q50"] <= table["times_q95"]).all()


@pytest.mark.slow
def test_same_figure_same_file(fit, tmp_path):
    sources = [figure_source(bayescale.plot_residuals(fit)) for _ in range(2)]
    assert sources[0] == sources[1] and sources[0]["source"].startswith("data:image/svg+xml;base64,")
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        path = save_figure(bayescale.plot_residuals(fit), tmp_path / f"figure.{kind}")
        assert path.read_bytes().startswith(start)
