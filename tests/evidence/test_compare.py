"""Comparison against ArviZ; ties, disagreement and refusals in words; forward evidence; the command."""

import json
import sys

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import STUDIES, needs_studies

import bayescale
from bayescale.cli import main as cli
from bayescale.display.show import show
from bayescale.errors import FitError
from bayescale.evidence import compare as module
from bayescale.evidence.compare import compare, fit_laws
from bayescale.evidence.verdict import (
    driving_runs,
    forward_ties,
    ties,
)
from bayescale.study import Study


@pytest.fixture(scope="module")
def fits(true_fit, make_fit, crossed_runs):
    """The true law, and kaplan somewhere near the same runs."""
    runs = crossed_runs()
    near = true_fit(draws=400, spread=0.0003)
    rng = np.random.default_rng(5)
    slope = 0.1 * np.exp(0.0005 * rng.standard_normal(400))
    kaplan = {"level": 1.35, "slope": slope, "lean": 0.01 * rng.standard_normal(400), "share": 0.5}
    return {"chinchilla": near, "kaplan": make_fit("kaplan", kaplan, runs, scatter={"sigma": 0.05})}


@pytest.fixture(scope="module")
def result(fits):
    return compare(fits, mend=False)


def test_it_is_arvizs(fits, result):
    theirs = arviz_stats.compare({name: arviz_stats.loo(tree, reff=1.0, pointwise=True) for name, tree in fits.items()},
                                 round_to="none")  # fmt: skip
    ours = bayescale.read(result).frame.set_index("law")
    assert list(ours.index) == list(theirs.index) == ["chinchilla", "kaplan"]
    ours["dse"] *= np.sqrt(23 / 24)  # theirs divides by n, and by n - 1 for se; R's loo and we by n - 1 for both
    for name in ("elpd", "se", "p", "elpd_diff", "dse"):
        np.testing.assert_allclose(ours[name], theirs[name].astype(float), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours["weight_loo"], theirs["weight"].astype(float), atol=0.01)


def test_fits_of_different_numbers_of_draws_each_have_their_limit_of_pareto_k(fits, true_fit):
    few = true_fit(draws=100, spread=0.0003)
    found = compare({"many": fits["chinchilla"], "few": few}, mend=False)
    for name, tree in (("many", fits["chinchilla"]), ("few", few)):
        draws = tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"]
        assert float(found["good_k"].sel(law=name)) == pytest.approx(min(0.7, 1 - 1 / np.log10(draws)))
    assert found["good_k"].values.min() < found["good_k"].values.max()


def test_arviz_draws_the_table(result):
    import arviz_plots
    import matplotlib.pyplot as plt

    arviz_plots.plot_compare(bayescale.read(result).frame.set_index("law"), backend="matplotlib")
    arviz_plots.plot_compare(bayescale.read(result).frame.set_index("law"), relative_scale=False, backend="matplotlib")
    plt.close("all")


def test_pointwise_differences_name_the_runs(result):
    table = driving_runs(result, most=24)
    assert table["d_elpd"].sum() == pytest.approx(-float(result["d_elpd"][1]))
    assert (np.diff(np.abs(table["d_elpd"])) <= 0).all() and table["share"].sum() == pytest.approx(1)


def test_band_of_left_out_runs_that_holds_too_few_is_told(result):
    by_hand = result.assign(cover90_loo=("law", [22 / 24, 12 / 24]))
    assert list(bayescale.read(by_hand).warnings) == [
        "law 'kaplan': the 90 % band predicted by the others held 50 % of the left-out runs: "
        "its noise does not describe their scatter"
    ]
    inside = (result["pit"] > 0.05) & (result["pit"] < 0.95)
    np.testing.assert_allclose(result["cover90_loo"], inside.mean("run"))


def test_groups_of_runs(fits):
    grouped = compare(fits, groups="params", mend=False)
    assert grouped.sizes["group"] == 6 and grouped.attrs["unit"] == "group of params"
    assert "each group of params predicted from the others" in " ".join(bayescale.read(grouped).says)
    assert "With 6 groups these standard errors are rough" in " ".join(bayescale.read(grouped).says)


def test_unconverged_law_is_last_and_weighs_nothing(fits):
    bad = fits["chinchilla"].copy()
    bad.attrs["diagnostics"] = json.dumps(json.loads(bad.attrs["diagnostics"]) | {"converged": False})
    marked = compare({"chinchilla": bad, "kaplan": fits["kaplan"]}, mend=False)
    assert list(marked["law"].values) == ["kaplan", "chinchilla"]
    assert list(marked["weight_loo"].values) == [1.0, 0.0] and list(marked["converged"].values) == [True, False]
    assert ties(marked) == ["kaplan"]
    assert (
        bayescale.read(marked).warnings[0] == "law 'chinchilla' did not converge: it is left out of ranks and weights"
    )
    with pytest.raises(FitError, match=r"none of the laws converged \(a, b\)"):
        compare({"a": bad, "b": bad}, mend=False)


# ---- refusals name both sides ---------------------------------------------------------------------------------------


def changed(tree, **columns):
    """The fit with other columns of its runs."""
    tree = tree.copy()
    tree["constant_data"] = tree["constant_data"].to_dataset().assign(columns)
    return tree


def test_different_runs(fits, true_fit, crossed_runs):
    other = true_fit(draws=400, runs=crossed_runs(5, 4))
    with pytest.raises(
        FitError, match=r"'a' and 'b' were fitted to different runs \(24 of .* and 20 of .*\); fit both"
    ):
        compare({"a": fits["chinchilla"], "b": other})
    with pytest.raises(FitError, match=r"'a' and 'b' were fitted to different runs .* differ in loss"):
        compare({"a": fits["chinchilla"], "b": true_fit(draws=400, runs=crossed_runs(seed=9))})


def test_different_counts_of_N(fits):
    tree = fits["chinchilla"]
    other = changed(tree, params=0.8 * tree["constant_data"]["params"])
    with pytest.raises(FitError, match=r"'a' and 'b' count N differently \(row 0: params = 3.162e7 and 2.53e7"):
        compare({"a": tree, "b": other})


def test_different_observables(fits, make_fit, crossed_runs, tmp_path):
    path = tmp_path / "plain.toml"
    path.write_text(
        'title = "t"\ncite = "c"\nformula = "level - slope*log(N/N_ref)"\n'
        '[observed]\ncolumn = "loss"\nscale = "linear"\nsymbol = "L"\n[priors]\n'
        'level = { dist = "Normal", mu = 3.0, sigma = 1.0, about = "level" }\n'
        'slope = { dist = "Normal", mu = 0.0, sigma = 1.0, about = "slope" }\n'
    )
    other = make_fit(path, {"level": np.full(400, 2.7), "slope": 0.1}, crossed_runs())
    with pytest.raises(FitError, match=r"'a' and 'b' explain different observables \(loss, log and loss, linear\)"):
        compare({"a": fits["chinchilla"], "b": other})


def test_one_fit_or_none(fits):
    with pytest.raises(FitError, match=r"1 fit\(s\) to compare; two or more are needed"):
        compare({"a": fits["chinchilla"]})
    with pytest.raises(FitError, match=r"fits by name are expected, not 'runs.csv'; fit_laws\(runs, laws\) makes them"):
        compare("runs.csv")
    with pytest.raises(FitError, match="'b': a fit is expected, not a Dataset"):
        compare({"a": fits["chinchilla"], "b": xr.Dataset()})


@pytest.mark.parametrize(
    ("laws", "message"),
    [
        (["coupled"], "1 law.s. to compare; two or more"),
        (["coupled", "kaplan", "coupled"], "two of the laws are called coupled"),
    ],
)
def test_laws_of_no_use(crossed_runs, laws, message):
    with pytest.raises(FitError, match=message):
        fit_laws(crossed_runs(), laws)


# ---- forward evidence -----------------------------------------------------------------------------------------------


@pytest.fixture
def forecasts(monkeypatch):
    """Backtests that take no time; elpd of a run and CRPS by law, or a reason why there are none."""
    scores = {"chinchilla": ([1.0, 1.2, 1.1], 0.01), "kaplan": ([2.0, 2.3, 2.1], 0.005)}
    failures = scores["failures"] = {}

    def backtest(runs, law, *, horizon, seed, folder, executor, progress):
        score = scores[law.name]
        if isinstance(score, str):
            raise FitError(score)
        elpd, count = np.full((1, len(score[0]), runs.sizes["run"]), np.nan), len(score[0])
        for cut, value in enumerate(score[0]):
            elpd[0, cut, -(cut + 1) :] = value
        progress(count, count)
        dims = ("law", "cut", "run")
        crps = np.where(np.isnan(elpd), np.nan, score[1])
        return xr.Dataset(
            {
                **{"elpd": (dims, elpd), "crps": (dims, crps), "decades_beyond": (dims, crps)},
                "failed": (dims[:2], [failures.get(law.name, [""] * count)]),
            },
            coords={"law": [law.name], "edge": ("cut", np.arange(count, dtype=float))},
        )

    monkeypatch.setattr(module, "backtest", backtest)
    return scores


def test_scores_of_cuts_and_disagreement(fits, forecasts):
    seen = []
    result = compare(fits, forward=True, mend=False, progress=lambda *step: seen.append(step))
    table = bayescale.read(result).frame.set_index("law")
    np.testing.assert_allclose(table["elpd_forward"], [1.1, 32 / 15])
    np.testing.assert_allclose(table["crps_forward"], [0.01, 0.005])
    assert list(table["rank_forward"]) == [1, 0]
    # three cuts cannot tell against left-out runs that speak so loudly
    assert table["elpd_diff"]["kaplan"] < min(-4 * table["dse"]["kaplan"], -10)
    assert list(table["weight_forward"]) == [1.0, 0.0] and list(table["far_behind"]) == [False, True]
    assert "has no weight: behind by more than 4 standard errors and 10 elpd." in " ".join(bayescale.read(result).says)
    assert "0.00, far behind" in str(show(result))
    assert list(result["forecasts"].values) == [1, 2, 3]
    verdict = " ".join(bayescale.read(result).says)
    assert "In range (each run predicted from the others), 'chinchilla' is best; 'kaplan' (-" in verdict
    assert "3 cuts that share runs, few independent looks), 'kaplan' is best." in verdict
    assert "The two disagree: 'chinchilla' in range, 'kaplan' forward. For a forecast believe the second." in verdict
    assert seen[0] == ("leaving runs out", 1, 2) and seen[-1] == ("forecasting larger runs from smaller", 6, 6)
    assert not [warning for warning in bayescale.read(result).warnings if "forward" in warning]


def test_a_lead_within_its_spread_over_cuts_is_a_tie(fits, forecasts):
    forecasts["kaplan"] = ([0.9, 1.9, 1.0], 0.01)
    assert set(forward_ties(compare(fits, forward=True, mend=False))) == {"chinchilla", "kaplan"}


def test_a_single_cut_decides_nothing(fits, forecasts):
    forecasts |= {"chinchilla": ([1.0], 0.01), "kaplan": ([5.0], 0.01)}
    result = compare(fits, forward=True, mend=False)
    assert forward_ties(result) == ["kaplan", "chinchilla"]
    assert "a single cut, one look), 'kaplan' is best, and 'chinchilla' cannot be told from it" in " ".join(
        bayescale.read(result).says
    )


def test_a_law_that_cannot_be_backtested_is_said_and_weighs_nothing(fits, forecasts):
    forecasts["kaplan"] = "learning from 12 runs did not converge"
    result = compare(fits, forward=True, mend=False)
    assert list(result["weight_forward"].values) == [1.0, 0.0]
    assert "'kaplan': learning from 12 runs did not converge" in bayescale.read(result).warnings[-1]


def test_a_law_that_fails_at_one_cut_is_said_and_weighs_nothing(fits, forecasts):
    """Its mean over the other cuts is no match for the means of laws that were scored at all of them."""
    forecasts["failures"]["kaplan"] = ["", "learning from 12 runs did not converge", ""]
    result = compare(fits, forward=True, mend=False)
    assert list(result["weight_forward"].values) == [1.0, 0.0]
    assert "'kaplan': learning from 12 runs did not converge" in bayescale.read(result).warnings[-1]


def test_forecasts_of_another_noise_are_not_taken_for_the_fits(fits, forecasts, true_fit):
    normal = true_fit(draws=400, spread=0.0003, noise="normal")
    result = compare({"chinchilla": normal, "kaplan": fits["kaplan"]}, forward=True, mend=False)
    assert list(result["weight_forward"].values) == [1.0, 0.0], "the other is far behind"
    assert "forecasts are made with the default noise, this fit with 'normal'" in bayescale.read(result).warnings[-1]


def test_no_forward_evidence_at_all(fits, forecasts):
    forecasts |= {"chinchilla": "no cut leaves enough runs", "kaplan": "no cut leaves enough runs"}
    result = compare(fits, forward=True, mend=False)
    assert list(result["weight_forward"].values) == [1.0, 0.0], "the other is far behind"
    assert "'kaplan' (-" in " ".join(bayescale.read(result).says).split("has no weight")[0]
    assert "Forward: no evidence (no cut leaves enough runs)" in " ".join(bayescale.read(result).says)
    assert bayescale.read(result).to_dict()["forward_ties"] is None


# ---- ties by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("d_elpd", "d_se", "tied"), [(-3.9, 0.5, True), (-4.1, 0.5, False), (-10, 6, True), (-10, 4, False)]
)
def test_tie_is_below_four_or_two_standard_errors(d_elpd, d_se, tied):
    by_hand = xr.Dataset(
        {"d_elpd": ("law", [0.0, d_elpd]), "d_se": ("law", [0.0, d_se]), "converged": ("law", [True, True])},
        coords={"law": ["a", "b"]},
    )
    assert ties(by_hand) == (["a", "b"] if tied else ["a"])


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capsys, fits, forecasts, tmp_path):
    monkeypatch.setattr(bayescale, "fit_laws", lambda runs, laws, *, seed, executor, progress: fits)
    path = tmp_path / "runs.csv"
    runs = Study.opened(fits["chinchilla"]).runs
    pd.DataFrame({name: runs[name].values for name in ("params", "tokens", "loss")}).to_csv(path, index=False)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["bayescale", "compare", str(path), "--laws", "chinchilla,kaplan", *args])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return exit.value.code, out, err

    return run


def test_json(command):
    status, out, err = command("--forward", "--json")
    assert status == 0, err
    summary = json.loads(out)
    assert set(summary["laws"][0]) >= {
        "law", "elpd_loo", "se", "p_loo", "d_elpd", "d_se", "pareto_k_max", "k_bad", "elpd_forward", "crps_forward",
        "weight_loo", "weight_forward", "converged", "far_behind",
    }  # fmt: skip
    assert [row["law"] for row in summary["laws"]] == ["chinchilla", "kaplan"] and summary["verdict"]
    assert {answer["parameter"] for answer in summary["questions"]} == {"floor", "lean"}
    assert summary["sensitivity"]["law"] == "chinchilla" and summary["forecast"] is None


def test_printed(command, tmp_path):
    path = tmp_path / "table.csv"
    status, out, err = command("-N", "1B", "-D", "20B", "-o", str(path))
    assert status == 0, err
    for piece in ("elpd LOO", "weight forward", "The two disagree", "Most of the difference", "is E = 0",
                  "laws/law/drift/noise"):  # fmt: skip
        assert piece in out, piece
    assert list(pd.read_csv(path)["law"]) == ["chinchilla", "kaplan"]


def test_sizes_go_together(command):
    status, out, err = command("-N", "1B")
    assert status == 1 and err.startswith("error: --params and --tokens go together") and not out


def test_quiet(command):
    assert command("--quiet") == (0, "", "")


# ---- the whole, sampled ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_studies
def test_published_comparison_of_chinchillas_runs():
    """Coupled over chinchilla by 10 +- 6 and kaplan behind by 240 +- 20 of elpd, as other software found."""
    result = compare(fit_laws(STUDIES / "chinchilla-epoch.csv", ["coupled", "chinchilla", "kaplan"]))
    assert list(result["law"].values) == ["coupled", "chinchilla", "kaplan"]
    assert -16 < float(result["d_elpd"].sel(law="chinchilla")) < -2
    assert float(result["d_elpd"].sel(law="kaplan")) == pytest.approx(-240, abs=25)
    assert (result["k_bad"] == 0).all()
