"""What a column of compute counts, and that budgets are spent in it."""

import numpy as np
import pytest
from conftest import BESIROGLU, chinchilla_loss, chinchilla_parameters
from scipy.optimize import minimize_scalar

import bayescale
from bayescale import study as study_module
from bayescale.budgets.allocate import allocate
from bayescale.budgets.approaches import approaches
from bayescale.budgets.decide import decide
from bayescale.budgets.gain import compute_gain
from bayescale.budgets.landmarks import landmarks
from bayescale.budgets.target import least_compute
from bayescale.errors import FitError, RunsError
from bayescale.fitting.store import open_fit, save_fit
from bayescale.forecasts.forecast import forecast
from bayescale.laws.javascript import law_script
from bayescale.laws.law import load_law
from bayescale.runs.compute import Definition, counted, learn, objection_to
from bayescale.runs.lint import check_runs, remarks
from bayescale.runs.read import read_notes, read_runs
from bayescale.runs.size_unit import flop_in
from bayescale.study import Study

N, D = (grid.ravel() for grid in np.meshgrid(np.logspace(7, 9.5, 8), np.logspace(9, 11.5, 6), indexing="ij"))
ATTENTION = 6 * N * D * (1 + 1.9 * (N / 3e7) ** -0.4)


def digits(values, count):
    return np.array([float(f"{value:.{count}g}") for value in values])


@pytest.mark.parametrize(
    ("name", "value"),
    [("FLOP", 1), ("GFLOP", 1e9), ("gflops", 1e9), ("TFLOP", 1e12), ("PFLOP", 1e15), ("EFLOP", 1e18), ("1e21", 1e21),
     ("1e21 FLOP", 1e21), ("MAC", 2), ("PFLOP-day", 86400e15), ("PF-days", 86400e15),
     ("pfs-days", 86400e15), ("PFLOP/s-days", 86400e15), ("TFLOP/s-hours", 3600e12), ("GMACs", 2e9), ("10^18", 1e18),
     ("GPU-hours", None), ("12", None), ("ell", None)],
)  # fmt: skip
def test_units_by_name(name, value):
    assert flop_in(name) == value


@pytest.mark.parametrize("unit", [1e9, 1e12, 1e15, 1e18, 1e21, 10.0, 86400e15])
@pytest.mark.parametrize("printed", [3, 15])
def test_a_unit_is_seen(unit, printed):
    found = learn(N, D, digits(6 * N * D / unit, printed))
    assert found.unit == unit and found.formula == "6*N*D" and not found.doubt


@pytest.mark.parametrize(("factor", "formula"), [(1, "N*D"), (2, "2*N*D"), (3, "3*N*D"), (6.5, "6.5*N*D")])
def test_another_constant_is_a_definition(factor, formula):
    found = learn(N, D, factor * N * D)
    assert (found.formula, found.unit, found.doubt) == (formula, 1.0, "")


def test_gpu_hours_are_no_unit_of_flop():
    hours = 6 * N * D / (989e12 * 0.4 * 3600)  # an H100 at 40 %: nothing says that it is not 4.2 N D in EFLOP
    found = learn(N, D, hours)
    assert found.unit == 1.0 and "7.02e-19 times 6 N D, which is no unit of FLOP: name the unit" in found.doubt
    scattered = learn(N, D, hours * np.exp(0.1 * np.random.default_rng(1).standard_normal(N.size)))
    assert scattered.unit == 1.0 and "no unit of FLOP" in scattered.doubt
    named = learn(N, D, 4.2 * N * D, unit_known=True)  # as read by --unit compute=EFLOP
    assert (named.formula, named.doubt) == ("4.2*N*D", "")


@pytest.mark.parametrize("unit", [1.0, 1e9, 1e21])
def test_attention_is_learnt(unit):
    found = learn(N, D, ATTENTION / unit)
    far = np.array([1e6, 1e12])
    assert found.unit == unit
    np.testing.assert_allclose(found.compute(far, 1e10), 6e10 * far * (1 + 1.9 * (far / 3e7) ** -0.4), rtol=1e-3)


def test_embeddings_that_are_counted_in_n_alone_are_learnt():
    found = learn(N, D, 6 * D * N**2 / (N + 5e4 * N**0.4))
    np.testing.assert_allclose(found.compute(1e12, 1.0), 6e12, rtol=0.01)
    assert not objection_to(found.formula)


def test_budgets_that_runs_only_nearly_spend_are_6nd(rng):
    found = learn(N, D, digits(6 * N * D * np.exp(0.04 * rng.standard_normal(N.size)), 2))
    assert found.formula == "6*N*D" and not found.doubt


def test_typing_errors_are_named_and_change_nothing():
    compute = ATTENTION.copy()
    compute[[3, 20]] *= [10, 0.1]
    loss = chinchilla_loss(N, D, **BESIROGLU)
    runs = read_runs({"params": N, "tokens": D, "compute": compute, "loss": loss})
    note = next(note for note in check_runs(runs) if note.code == "compute_differs")
    assert note.rows == (3, 20) and "46 of 48 runs" in note.text
    np.testing.assert_allclose(learn(N, D, compute).compute(N, D), ATTENTION, rtol=1e-3)


@pytest.mark.parametrize("compute", [6 * N * D * (D / 1e10) ** 0.4, 6 * N * D * np.exp(np.sin(7 * np.arange(N.size)))])
def test_what_does_not_follow_from_n_is_not_learnt(compute):
    assert "that ratio does not follow from N" in learn(N, D, compute).doubt


def test_few_sizes_are_not_taken_for_a_curve(rng):
    """Scatter of five runs is hardly ever explained by two numbers: none of 8000 such tables was."""
    scatter = np.exp(0.04 * rng.standard_normal((40, 5)))
    learnt = np.array([learn(N[::10], D[::10], 6 * N[::10] * D[::10] * one).compute(1e11, 1.0) for one in scatter])
    assert (np.abs(np.log(learnt / 6e11)) < 0.3).all()


@pytest.mark.parametrize("sizes", [4, 5, 9])
def test_a_curve_is_learnt_of_few_sizes(sizes, rng):
    size = np.logspace(7, 9, sizes)
    truth = 6 * size * (1 + 1.9 * (size / 3e7) ** -0.4) * 1e10
    assert learn(size, np.full(sizes, 1e10), digits(truth, 4)).compute(1e11, 1.0) == pytest.approx(6.45e11, rel=0.01)
    noisy = learn(size, np.full(sizes, 1e10), truth * np.exp(0.002 * rng.standard_normal(sizes)))
    assert noisy.compute(1e11, 1.0) == pytest.approx(6.45e11, rel=0.05)


@pytest.mark.parametrize("compute", [1.0, 1.3])
def test_two_or_three_sizes_are_no_curve(compute):
    """Two numbers go through any two sizes; three runs must lie on a curve nearly exactly."""
    for size in (np.array([1e7, 1e9]), np.array([1e7, 1e8, 1e9])):
        counted = 6e10 * size * np.exp(0.05 * np.array([1.0, -1.0, 0.5]))[: size.size] * compute
        assert "N/" not in learn(size, np.full(size.size, 1e10), counted).formula


def test_compute_is_learnt_once_in_a_fit(monkeypatch):
    found = []
    monkeypatch.setattr(
        study_module, "learn", lambda *sizes, **options: found.append(learn(*sizes, **options)) or found[0]
    )
    loss = chinchilla_loss(N, D, **BESIROGLU)
    study = Study.of({"params": N, "tokens": D, "compute": ATTENTION, "loss": loss})
    note = next(note for note in remarks(study.runs, study.law, study.definition) if note.code == "compute_differs")
    assert study.definition.formula in note.text and len(found) == 1


@pytest.mark.parametrize(
    ("formula", "why"),
    [
        ("6*N*D**2", "a number of FLOP a token"),
        ("6*N", "not a formula of N and D"),
        ("6*N*D - 1e9*D", "rises"),
        ("6*N*)", ""),
    ],
)
def test_what_is_no_definition(formula, why):
    assert why in objection_to(formula)


@pytest.mark.parametrize("compute", [6 * N * D, N * D, ATTENTION, digits(6 * N * D, 3)])
@pytest.mark.parametrize("unit", [1e9, 1e21])
def test_a_column_in_another_unit_is_the_same_runs(compute, unit):
    """To the bit: the draws of a fit, and with them its forecasts, must not depend on the unit."""
    table = {"params": N, "tokens": D, "loss": chinchilla_loss(N, D, **BESIROGLU)}
    plain, other = (read_runs(table | {"compute": values}) for values in (compute, compute / unit))
    np.testing.assert_array_equal(plain["compute"].values, other["compute"].values)
    note = next(note for note in check_runs(other) if note.code == "compute_unit")
    assert f"--unit compute={other.attrs['compute_unit']}" in note.text and "compute_unit" not in plain.attrs
    again = read_runs(other)  # the note stays
    assert [note.code for note in check_runs(again)] == [note.code for note in check_runs(other)]
    said = read_runs(table | {"compute": compute / unit}, units={"compute": f"{unit:.0e}"})
    np.testing.assert_array_equal(said["compute"].values, plain["compute"].values)
    assert "compute_unit" not in {note.code for note in check_runs(said)}


def test_a_unit_that_was_said_is_not_second_guessed():
    table = {"params": N, "tokens": D, "compute": 6e-9 * N * D, "loss": chinchilla_loss(N, D, **BESIROGLU)}
    runs = read_runs(read_runs(table, units={"compute": "FLOP"}))
    np.testing.assert_allclose(runs["compute"], 6e-9 * N * D, rtol=1e-9)
    with pytest.raises(RunsError, match="unknown unit 'furlong' for compute; allowed are FLOP, GFLOP"):
        read_runs(table, units={"compute": "furlong"})


def test_sizes_in_another_unit_are_asked_about():
    runs = {"params": N, "tokens": D / 1e9, "compute": 6 * N * D, "loss": chinchilla_loss(N, D, **BESIROGLU)}
    note = next(note for note in check_runs(read_runs(runs)) if note.code == "compute_differs")
    assert note.severity == "warning" and "--unit tokens=B" in note.text


# ---- of a fit -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted_fit(make_fit):
    """A fit around the truth whose runs record this compute."""

    def make(compute, spread=1e-4, draws=200):
        rng = np.random.default_rng(2)
        runs = read_runs({"params": N, "tokens": D, "compute": compute, "loss": chinchilla_loss(N, D, **BESIROGLU)})
        values = {name: value * np.exp(spread * rng.standard_normal(draws)) for name, value in BESIROGLU.items()}
        return make_fit("chinchilla", chinchilla_parameters(runs, **values), runs)

    return make


def best_size(budget, per_token):
    """N* under cost per_token(N) * D, by SciPy over the law that made the runs."""

    def loss(log_n):
        return chinchilla_loss(np.exp(log_n), budget / per_token(np.exp(log_n)), **BESIROGLU)

    return np.exp(
        minimize_scalar(loss, bounds=(np.log(1e6), np.log(1e13)), method="bounded", options={"xatol": 1e-9}).x
    )


@pytest.mark.parametrize(
    ("compute", "per_token"),
    [
        (N * D, lambda n: n),
        (ATTENTION / 1e9, lambda n: 6 * n * (1 + 1.9 * (n / 3e7) ** -0.4)),
        (6 * N * D, lambda n: 6 * n),
    ],
)
def test_budgets_are_spent_as_the_runs_count(compute, per_token, counted_fit):
    fit = counted_fit(compute)
    split, budget = allocate(fit, 1e21), 1e21
    found, tokens = (float(split[name].median()) for name in ("N", "D"))
    right = best_size(budget, per_token)
    assert found == pytest.approx(right, rel=0.01)
    assert per_token(found) * tokens == pytest.approx(budget, rel=2e-3)
    least = chinchilla_loss(right, budget / per_token(right), **BESIROGLU)
    assert float(least_compute(fit, least)["compute"].median()) == pytest.approx(budget, rel=0.02)
    chosen = decide(fit, 1e21, discrepancy=False)
    assert per_token(float(chosen["N"][0, 0])) * float(chosen["D"][0, 0]) == pytest.approx(budget, rel=2e-3)
    assert bayescale.read(split).to_dict()["cost"] == fit.attrs["compute"] and fit.attrs["compute"] in counted(
        split.attrs
    )
    plain = allocate(fit, 1e21, cost="6*N*D")
    assert float(plain["N"].median()) == pytest.approx(best_size(budget, lambda n: 6 * n), rel=0.01)


@pytest.mark.parametrize("compute", [N * D, ATTENTION, digits(6 * N * D, 1), 6e-9 * N * D])
def test_no_run_lies_beyond_itself(compute, counted_fit):
    fit = counted_fit(compute)
    assert (forecast(fit, N, D)["predictions_constant_data"]["decades_beyond"] == 0).all()
    tenfold = forecast(fit, N.max() * 10, D.max())["predictions_constant_data"]["decades_beyond"]
    assert tenfold.item() == pytest.approx(1.0, abs=0.15)


def test_parabolas_spend_the_budget(make_fit):
    budgets = np.repeat(np.geomspace(1e18, 1e21, 5), 7)
    sizes = np.sqrt(budgets / 20) * np.tile(np.geomspace(0.2, 5, 7), 5)
    runs = read_runs(
        {"params": sizes, "tokens": budgets / sizes, "compute": budgets,
         "loss": chinchilla_loss(sizes, budgets / sizes, **BESIROGLU)}
    )  # fmt: skip
    rng = np.random.default_rng(2)
    values = {name: value * np.exp(1e-3 * rng.standard_normal(100)) for name, value in BESIROGLU.items()}
    ways = approaches(make_fit("chinchilla", chinchilla_parameters(runs, **values), runs), 1e21)
    spent = ways["params_q50"] * ways["tokens_q50"]
    np.testing.assert_allclose(spent, 1e21, rtol=1e-3)
    assert ways.attrs["cost"] == "N*D"


def test_what_cannot_be_learnt_is_refused_with_the_remedy(counted_fit):
    fit = counted_fit(6 * N * D * (D / 1e10) ** 0.4)
    for ask in (lambda: allocate(fit, 1e21), lambda: least_compute(fit, 2.5), lambda: approaches(fit, 1e21)):
        with pytest.raises(FitError, match=r"does not follow from N.*--cost '6\*N\*D'"):
            ask()
    assert allocate(fit, 1e21, cost="6*N*D")["identified"].all()
    assert (forecast(fit, N, D)["predictions_constant_data"]["decades_beyond"] == 0).all()


def test_a_gain_needs_one_way_to_count(counted_fit):
    ours, theirs = counted_fit(6 * N * D), counted_fit(N * D)
    with pytest.raises(FitError, match=r"counted as 6\*N\*D in one fit and as N\*D in the other"):
        compute_gain(ours, theirs, 1e21)
    assert float(compute_gain(ours, theirs, 1e21, cost="6*N*D")["gain"].median()) == pytest.approx(1, rel=0.02)
    with pytest.raises(FitError, match=r"6\*N\*D in one fit and as 8\*N\*D in the other"):
        compute_gain(ours, counted_fit(8 * N * D), 1e21)
    # attention in one of them may be a difference of the recipes: it is said
    told = compute_gain(ours, counted_fit(ATTENTION), 1e21)
    assert float(told["gain"].median()) > 1.1
    warned = [text for text in bayescale.read(told).warnings if "compute is counted as 6*N*D in the first fit" in text]
    assert len(warned) == 1 and "the gain includes that; cost='6*N*D'" in warned[0]
    assert not any("is counted as" in text for text in bayescale.read(compute_gain(ours, ours, 1e21)).warnings)


def test_landmarks_are_counted_alike(counted_fit):
    table = landmarks(counted_fit(N * D))
    np.testing.assert_allclose(table["compute"], table["params"] * table["tokens"])


def test_the_definition_is_saved_and_checked(counted_fit, tmp_path):
    fit = counted_fit(ATTENTION / 1e9)
    opened = open_fit(save_fit(fit, tmp_path / "fit.nc"))
    assert (
        opened.attrs["compute"] == fit.attrs["compute"] and Study.opened(opened).runs.attrs["compute_unit"] == "GFLOP"
    )
    del fit.attrs["compute"]  # as earlier versions saved it
    assert allocate(open_fit(save_fit(fit, tmp_path / "old.nc")), 1e21).attrs["cost"] == "6*N*D"
    fit.attrs["compute"] = "6*N*D**2"
    with pytest.raises(FitError, match="its attribute 'compute' is not what it should be"):
        open_fit(save_fit(fit, tmp_path / "changed.nc"))


def test_the_page_counts_alike():
    script = law_script(load_law("chinchilla"), {"N_ref": 1.0, "D_ref": 1.0, "L_ref": 1.0}, "N*D")
    assert "const compute = ($N, $D) => ($N * $D);" in script


def test_sizes_that_a_budget_buys():
    found = Definition("6*N*(1 + 1.9*(N/3e7)**(-0.4))*D")
    size = found.params(20.0, np.array([1e18, 1e24]))
    np.testing.assert_allclose(found.compute(size, 20 * size), [1e18, 1e24], rtol=1e-9)
    np.testing.assert_allclose(Definition().params(20.0, 1.2e23), np.sqrt(1.2e23 / 120), rtol=1e-9)


def test_compute_that_buys_less_than_a_token_asks_for_its_unit():
    table = {"params": N, "loss": np.linspace(3, 2, len(N))}
    for unit in (1e18, 86400e15, 4e17):  # the last: GPU-hours
        with pytest.raises(RunsError, match=r"row 0: tokens = compute / 6 N comes out as .*: compute is no comp"):
            read_runs(table | {"compute": 6 * N * D / unit})
    with pytest.raises(RunsError, match=r"params = compute / 6 D comes out as .* give params instead"):
        read_runs({"tokens": D, "compute": 6 * N * D / 1e18, "loss": table["loss"]})
    runs = read_runs(table | {"compute": 6 * N * D / 1e18}, units={"compute": "EFLOP"})
    np.testing.assert_allclose(runs.tokens, D)


def test_a_speed_is_no_compute():
    table = {"params": N, "tokens": D, "loss": np.linspace(3, 2, len(N))}
    runs = read_runs(table | {"flops": np.linspace(1.2e14, 1.3e14, len(N))})
    np.testing.assert_allclose(runs["compute"], 6 * N * D)
    assert "flops is not read as compute" in read_notes(runs.attrs)[0]


def test_sizes_near_the_end_of_what_a_float_holds_have_no_definition():
    table = {"params": [1e-320], "tokens": [3.9e7], "loss": [3.0], "compute": [5.2e9]}
    runs = read_runs(table)
    assert learn(*(runs[name].values for name in ("params", "tokens", "compute"))).doubt
