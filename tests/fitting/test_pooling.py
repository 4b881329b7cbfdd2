"""Laws that vary over groups: made, fitted, saved, asked for a group that was seen and for a new one."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import bayescale as bs
from bayescale.errors import FitError, LawError, RunsError
from bayescale.forecasts.curve import sample_curve
from bayescale.forecasts.discrepancy import DriftPrior, slope_of
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.forecast import read
from bayescale.forecasts.planned import planned_runs
from bayescale.laws.groups import Groups
from bayescale.laws.law import law_derived, law_loss, load_law
from bayescale.laws.own_priors import without_groups
from bayescale.laws.shipped import kind_of
from bayescale.study import Study

FACTORS = {"pile": 1.0, "c4 en": 1.2, "code": 0.6}


@pytest.fixture(scope="module")
def table():
    """Runs of one law, whose level differs by corpus; of one corpus there are few, and small."""
    rng = np.random.default_rng(1)
    corpus = np.repeat(list(FACTORS), [40, 40, 8])
    large = np.repeat([1.0, 1.0, 0.0], [40, 40, 8])
    N, D = 10 ** (7.5 + rng.uniform(0, 0.6 + large)), 10 ** (9.5 + rng.uniform(0, 0.6 + large))
    loss = np.array([FACTORS[name] for name in corpus]) * law_of(N, D)
    return {"params": N, "tokens": D, "loss": loss * np.exp(0.003 * rng.standard_normal(88)), "corpus": corpus}


def law_of(N, D):
    return 1.7 + 480 / N**0.35 + 2000 / D**0.36


@pytest.fixture(scope="module")
def fit(table):
    return bs.fit(table, "chinchilla", group="corpus", seed=1)


def loss_of(fit, group, N=2e9, D=4e10):
    drawn = bs.forecast(fit, N, D, covariates={"group": group})["predictions"]["loss"]
    return np.quantile(drawn, [0.05, 0.5, 0.95])


def test_a_group_of_few_runs_borrows(fit, table):
    low, middle, high = loss_of(fit, "code")
    truth = FACTORS["code"] * law_of(2e9, 4e10)
    sd = np.log(high / low) / (2 * 1.645)
    assert abs(np.log(middle / truth)) < 3 * sd and sd < 0.04
    few = {name: values[-8:] for name, values in table.items() if name != "corpus"}
    alone = bs.forecast(bs.fit(few, "chinchilla", allow_unconverged=True), 2e9, 4e10)["predictions"]["loss"]
    assert np.log(high / low) < 0.6 * np.ptp(np.log(np.quantile(alone, [0.05, 0.95])))


def test_the_level_of_groups_is_no_slope_of_the_loss(fit):
    """The discrepancy is in units of how fast the loss falls with compute, whatever the groups' levels."""
    study = Study.opened(fit)
    curve = np.log(law_of(study.runs["params"].values, study.runs["tokens"].values))
    factors = np.log([FACTORS[study.law.groups.name_of(code)] for code in study.runs["group"].values])
    slopes = [slope_of(study, curve + times * factors) for times in (0, 1, 10)]
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-12)
    whole = (study.runs["group"] == study.law.groups.code_of("pile")).values
    C = np.log10(study.runs["compute"].values[whole])
    assert slopes[0] == pytest.approx(np.ptp(curve[whole]) / np.ptp(C), rel=0.5)


def test_beyond_is_beyond_the_runs_of_the_group(fit):
    points = bs.forecast(fit, [1e9] * 3, [2e10] * 3, covariates={"group": ["pile", "code", "new"]})
    beyond = points["predictions_constant_data"]["decades_beyond"].values
    assert beyond[0] == beyond[2] == 0 and beyond[1] > 0.8


def test_the_decline_is_beyond_all_runs_and_the_shift_beyond_those_of_the_group(fit):
    """Where another group has runs it is known how curves go on; the recipe of this group may break there."""
    study = Study.opened(fit)
    points = planned_runs(study, [1e9, 1e10], [2e10, 2e11], {"group": "code"})
    compute, codes = points["compute"].values, study.runs["group"].values
    beyond_all = np.maximum(np.log10(compute / study.largest_compute), 0.0)
    beyond_group = np.log10(compute / study.part(codes == study.law.groups.codes["code"]).largest_compute)
    assert beyond_all[0] == 0 < beyond_all[1] and (beyond_group > beyond_all + 0.5).all()
    plain = DriftPrior(length=3.0, log_scale=-4.0, log_scale_sd=0.5, spread=0.7)
    drifts = [
        sample_curve(discrepancy_of(study, prior), points, np.random.default_rng(0)).parts["drift"]
        for prior in (plain, replace(plain, shift=0.01, decline=0.004))
    ]
    added = drifts[1] - drifts[0]
    places = (np.arange(study.draw_count) + 0.5) / study.draw_count
    np.testing.assert_allclose(added.mean(axis=0), -0.004 * beyond_all, atol=1e-9)
    np.testing.assert_allclose(added.std(axis=0), 0.01 * beyond_group * stats.t(4).ppf(places).std(), rtol=1e-6)


def test_a_new_group_is_wider_than_any_seen(fit):
    low, _, high = loss_of(fit, "new")
    assert np.log(high / low) > 3 * np.log(np.divide(*loss_of(fit, "code")[[2, 0]]))
    not_identified = json.loads(fit.attrs["diagnostics"])["not_identified"]
    assert not Study.opened(fit).law.groups.parameters & set(not_identified)


def test_it_is_saved_and_said(fit, tmp_path):
    bs.save_fit(fit, tmp_path / "fit.nc")
    opened = bs.open_fit(tmp_path / "fit.nc")
    np.testing.assert_array_equal(loss_of(opened, "pile"), loss_of(fit, "pile"))
    posterior = opened["posterior"].to_dataset().median()
    assert float(posterior["level_c4_en"] / posterior["level_pile"]) == pytest.approx(1.2, rel=0.02)
    forecast = bs.forecast(opened, [1e9, 2e9], 4e10, covariates={"group": ["pile", "code"]})
    assert list(read(forecast).frame["group"]) == ["pile", "code"]
    split = bs.allocate(opened, 1e21, given={"group": "pile"})
    assert split.attrs["group"] == "pile" and (split["N"] > 0).all()


def test_groups_that_are_not_there(fit, table):
    with pytest.raises(LawError, match="no group 'books'; they are"):
        loss_of(fit, "books")
    with pytest.raises(FitError, match="no column 'recipe' for groups"):
        bs.fit(table, "chinchilla", group="recipe")
    with pytest.raises(FitError, match="say which column"):
        bs.fit(table, "chinchilla", by=["level"])
    with pytest.raises(LawError, match="'height' is no parameter"):
        bs.fit(table, "chinchilla", group="corpus", by=["height"])
    with pytest.raises(RunsError, match="corpus: no group 'code'"):
        bs.read_runs(table, bs.with_groups("chinchilla", ["pile", "c4 en"]), columns={"group": "corpus"})


def test_a_group_of_runs_may_be_called_new():
    law = bs.with_groups("chinchilla", ["New", "old"])
    assert law.groups.codes == {"New": 1.0, "old": 2.0, "another new": 3.0}
    with pytest.raises(LawError, match=r"no group 'absent'; .*'another new' is one without runs"):
        law.groups.code_of("absent")


def test_of_the_text_of_a_law():
    law = bs.with_groups("coupled", ["a", "b"], by={"slope": 0.1})
    assert law.inputs == ("N", "D", "group") and kind_of(law) == "changed"
    assert without_groups(law).text.strip() == load_law("coupled").text.strip()
    assert bs.with_groups(law, ["c", "d"]).groups == Groups(("c", "d"), {"level": 1.0, "slope": 0.25})
    both = bs.with_priors(law, {"slope_contrast1": "Normal(0, 0.5)", "E": "Normal(1.7, 0.1)"})
    assert both.groups == law.groups and without_groups(both).groups is None


def test_groups_differ_by_what_is_stated(rng):
    """In the prior: sd of each group's deviate from their mean, and of a new group's."""
    law = bs.with_groups("chinchilla", ["a", "b", "c", "d"], by={"level": 0.5})
    names = law.groups.contrasts("level")
    values = {name: 0.2 for name in law.priors} | {name: rng.standard_normal(20_000) for name in names}
    constants = {"N_ref": 1e9, "D_ref": 1e10, "L_ref": 2.0}
    derived = law_derived(law, values | constants)
    own = np.log([derived[f"level_{name}"] for name in "abcd"]) - np.log(0.2)
    np.testing.assert_allclose(own.std(axis=1), 0.3 * 0.5 * np.sqrt(1 - 1 / 4), rtol=0.03)
    np.testing.assert_allclose(own.sum(axis=0), 0, atol=1e-12)
    at = {"N": 1e9, "D": 1e10}
    mean, new = (law_loss(law, values | constants | at | {"group": code}) for code in (0.0, 5.0))
    np.testing.assert_allclose(np.log(new / mean).std(), 0.3 * 0.5 * np.sqrt(1 + 1 / 4), rtol=0.03)


def test_whole_numbers_name_groups_too():
    groups = Groups(("2048", "4096"), {"level": 1.0})
    assert groups.code_of("4096") == groups.code_of(4096) == 4096.0 and groups.name_of(4097.0) == "new"


def test_whoever_names_no_group_is_told_how(fit, table):
    for ask in (lambda: bs.forecast(fit, 1e10, 1e12), lambda: bs.allocate(fit, 1e22)):
        with pytest.raises(FitError, match=r"varies over groups; say for which group: .* and new .* as group=NAME"):
            ask()
    unnamed = table | {"corpus": [*table["corpus"][:-1], " "]}
    with pytest.raises(FitError, match="the column 'corpus' names no group for row 87"):
        bs.fit(unnamed, "chinchilla", group="corpus")
    many = table | {"corpus": [f"corpus {i}" for i in range(len(table["corpus"]))]}
    with pytest.raises(FitError, match=r"the column 'corpus' has 8\d values; at most 30 groups can vary together: "):
        bs.fit(many, "chinchilla", group="corpus")


def test_a_gain_of_a_group_over_a_fit_without_groups(fit, table):
    plain = {
        name: np.asarray(table[name])[np.array(table["corpus"]) == "pile"] for name in ("params", "tokens", "loss")
    }
    other = bs.fit(plain, "chinchilla", seed=1)
    one, two = (bs.compute_gain(*pair, 1e21, given={"group": "pile"}) for pair in ((fit, other), (other, fit)))
    assert 0.7 < float(one["gain"].median()) < 1.4 and 0.7 < float(two["gain"].median()) < 1.4
    assert one.attrs["group"] == "pile"
    with pytest.raises(FitError, match="a group is given, but neither fit has groups"):
        bs.compute_gain(other, other, 1e21, given={"group": "pile"})


@pytest.fixture(scope="module")
def sharp():
    """Accuracies from a loss, of two groups, of which one has runs in ``fit``, with codes of its own."""
    loss = np.linspace(1.7, 3.7, 12)
    shown = [np.round(0.25 + 0.7 / (1 + np.exp(4.5 * (loss - at))), 3) for at in (3.0, 1.9)]
    runs = {"loss": np.tile(loss, 2), "accuracy": np.concatenate(shown), "items": np.full(24, 2000.0)}
    runs |= {"group": np.repeat(["pile", "code"], 12)}
    return bs.fit(runs, "accuracy_sigmoid", group="group", by=["shift"], allow_unconverged=True)


def test_a_group_is_named_along_one_size_and_through_a_chain(fit, sharp):
    """Each law of a chain has codes of its own for its groups: a group goes by its name."""
    compute = np.geomspace(1e17, 1e21, 12)
    runs = {"compute": np.tile(compute, 2), "group": np.repeat(["arc", "code"], 12)}
    curve = 1.7 + 2.2 * (compute / 1e17) ** -0.12
    smooth = bs.fit(runs | {"loss": np.concatenate([curve, 0.7 * curve])}, "floor_compute", group="group")
    codes = [Study.opened(one).law.groups.codes["code"] for one in (sharp, smooth, fit)]
    found = bs.least_compute(smooth, 1.9, given={"group": "code"})
    truth = 1e17 * (2.2 / (1.9 / 0.7 - 1.7)) ** (1 / 0.12)
    assert float(found["compute"].median()) == pytest.approx(truth, rel=0.1)
    assert "at group = code" in str(bs.show(found))
    chained = bs.least_compute(sharp, 0.6, through={"loss": smooth}, given={"group": "code"}, chance=0.5)
    assert codes[0] not in codes[1:], "or nothing is tested"
    assert float(chained["compute"].median()) == pytest.approx(truth, rel=0.2)
    assert float(chained["compute_at_chance"][0]) == pytest.approx(truth, rel=0.2)
    at = {"compute": [1e18, 1e21], "group": "code"}
    rows = bs.read(bs.emergence(sharp, through={"loss": smooth}, covariates=at)).frame
    assert list(rows["group"]) == ["code", "code"] and list(rows["p_behind"].round()) == [0, 1]


@pytest.mark.slow
def test_pages_name_the_group(fit, sharp):
    run = {"params": 2e9, "tokens": 4e10}
    page = bs.report(sharp, through={"loss": fit}, at={"group": "code"}, **run)
    loss = bs.forecast(fit, **run, covariates={"group": "code"})
    ends = bs.read(bs.forecast(sharp, covariates={"loss": loss, "group": "code"})).frame.iloc[0]
    said = re.search(r"an accuracy of (0\.\d+)", page)
    assert said and float(said[1]) == pytest.approx(ends["accuracy_q50"], abs=0.01)
    assert "group code" in page and "group code" in bs.report(fit, compute=1e21, at={"group": "code"})
