"""Importance sampling around the optimum: right where it vouches for itself, refused where it does not."""

import arviz_stats
import numpy as np
import pytest
from scipy import stats

from bayescale.display.show import show
from bayescale.engine.density import Density
from bayescale.engine.model import Model
from bayescale.engine.numba_density import code_of
from bayescale.errors import FitError
from bayescale.fitting import quick as quick_module
from bayescale.fitting import sampling
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.fit import fit
from bayescale.fitting.quick import NotTrusted, approximate
from bayescale.fitting.sampling import SamplerError
from bayescale.laws.formula import parse
from bayescale.laws.priors import Prior

NORMAL = Prior("Normal", {"mu": 0.0, "sigma": 1.0})


def model_of(once, names, start):
    """A model whose log density is ``once``, without runs to speak of."""
    function = Density(names, (), ("c",), {}, parse(once), parse("0*c*" + names[0]))
    return Model(names, 1, np.array(start), lambda: code_of(function, {"c": np.zeros(1)}))


def test_gaussian_posterior_is_met():
    """Closed form: N((1, -2), [[1, .8], [.8, 1]])."""
    log_density = "-0.5*((x - 1)**2 - 1.6*(x - 1)*(y + 2) + (y + 2)**2)/0.36"
    model = model_of(log_density, ("x", "y"), [[0.0, 0.0], [3.0, -5.0]])
    convergence, posterior, _, _ = approximate(model, {"x": NORMAL, "y": NORMAL}, 5000, 4, seed=1)
    x, y = (posterior[name].values.ravel() for name in ("x", "y"))
    assert convergence["pareto_k"] < 0.3 and convergence["method"] == "importance"
    assert x.mean() == pytest.approx(1, abs=0.03) and y.mean() == pytest.approx(-2, abs=0.03)
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(0.8, abs=0.01)
    assert stats.kstest((x - 1), "norm").statistic < 0.02


def test_skew_posterior_is_met():
    """The logarithm of a Gamma(3) variable, whose tails are of two kinds."""
    model = model_of("3*x - exp(x)", ("x",), [[0.0], [2.0]])
    _, posterior, _, _ = approximate(model, {"x": NORMAL}, 5000, 4, seed=1)
    assert stats.kstest(np.exp(posterior["x"].values.ravel()), stats.gamma(3).cdf).statistic < 0.02


def test_copies_of_a_draw_count_as_one():
    rng = np.random.default_rng(1)
    x = rng.normal(size=16_000)
    weight = np.where(x < np.quantile(x, 0.0025), 100.0, 1.0)  # those far below count a hundredfold
    weight /= weight.sum()
    chosen = quick_module._resampled(weight, 4000, rng)
    copies = np.bincount(chosen, minlength=16_000)
    assert (np.abs(copies - 4000 * weight) < 1).all()
    orders = (chosen, rng.permutation(chosen))
    seen, shuffled = (arviz_stats.ess(x[each].reshape(4, 1000), method="quantile", prob=0.05) for each in orders)
    assert seen < 0.2 * shuffled


@pytest.mark.parametrize("sharp", [0.5, 5000])
def test_two_optima_are_both_met(sharp):
    log_density = f"logaddexp(-{sharp}*(x - 4)**2, -{sharp}*(x + 4)**2 + log(3))"
    model = model_of(log_density, ("x",), [[3.9], [-3.9]])
    _, posterior, _, _ = approximate(model, {"x": NORMAL}, 5000, 4, seed=1)
    assert float((posterior["x"] < 0).mean()) == pytest.approx(0.75, abs=0.02)


def test_no_optimum_of_weight_is_left_out():
    """One whose starts come late among many, and a broad one whose peak is far lower than that of a narrow one."""
    start = np.concatenate([np.full(6, 4.1), np.full(58, -4.1)])[:, None]
    log_density = "logaddexp(-50*(x - 4)**2 + log(0.4), -50*(x + 4)**2 + log(0.6))"
    _, posterior, _, _ = approximate(model_of(log_density, ("x",), start), {"x": NORMAL}, 2000, 4, seed=1)
    assert float((posterior["x"] < 0).mean()) == pytest.approx(0.6, abs=0.03)

    names = tuple("pqrtuv")
    narrow = " - ".join(f"5000*({name} - 3)**2" for name in names)
    broad = " - ".join(f"0.5*({name} + 3)**2" for name in names)
    start = [[3.0] * 6, [-3.0] * 6]
    model = model_of(f"logaddexp(12 - {narrow}, -{broad})", names, start)
    _, posterior, _, _ = approximate(model, dict.fromkeys(names, NORMAL), 2000, 4, seed=1)
    # masses: exp(12) * 100**-6 against 1
    assert float((posterior["p"] < 1).mean()) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(("draws", "chains"), [(101, 4), (210, 2)])
def test_few_draws_of_a_quick_answer_are_chains_or_enough(pile, draws, chains):
    report = diagnostics(fit(pile, "chinchilla", quick=True, draws=draws, chains=chains, allow_unconverged=True))
    assert report["method"] == "nuts" or report["converged"]


@pytest.mark.parametrize(
    ("log_density", "start", "reason"),
    [
        # a Cauchy far wider than its curvature at the optimum says, in many directions
        ("-3*log1p(abs(x)**0.5)", [[0.3], [-0.2]], "Pareto k|count|curvature|far from|optimum"),
        ("log(0*x)", [[0.0]], "not finite|curvature"),
    ],
)
def test_what_is_not_to_be_trusted_is_refused(log_density, start, reason):
    with pytest.raises(NotTrusted, match=reason):
        approximate(model_of(log_density, ("x",), start), {"x": NORMAL}, 1000, 4, seed=1)


@pytest.mark.slow
def test_quick_fit_agrees_with_chains(pile, sampled):
    # the weights of a seed in five do not vouch for themselves
    trees = [fit(pile, "chinchilla", quick=True, seed=seed) for seed in range(1, 8)]
    trees = [tree for tree in trees if "not_quick" not in diagnostics(tree)][:4]
    assert len(trees) > 1
    for report in map(diagnostics, trees):
        assert report["method"] == "importance" and report["pareto_k"] < 0.7
    assert dict(trees[0]["posterior"].sizes) == {"chain": 4, "draw": 1000}
    *ours, theirs = (fitted["posterior"].to_dataset() for fitted in (*trees, sampled))
    for q in (0.05, 0.5, 0.95):
        *errors, its = (arviz_stats.mcse(draws, method="quantile", prob=q) for draws in (*ours, theirs))
        for name in ("level", "slope", "lean", "sigma"):
            # of a mean over seeds: the Monte Carlo error of one is itself known poorly in the tails
            error = float(np.hypot(np.linalg.norm([each[name] for each in errors]) / len(ours), its[name]))
            assert error < 0.1 * float(theirs[name].std())
            mean = np.mean([draws[name].quantile(q) for draws in ours])
            assert mean == pytest.approx(float(theirs[name].quantile(q)), abs=4 * error), name


def test_a_climb_from_far_off_arrives_or_says_so():
    def gradients(position):  # Rosenbrock's valley, whose floor is bent
        x, y = position.T
        value = -((1 - x) ** 2) - 100 * (y - x**2) ** 2
        slope = np.stack([2 * (1 - x) + 400 * x * (y - x**2), -200 * (y - x**2)], axis=1)
        return value, slope

    value, x = quick_module._climbed(gradients, np.array([-3.0, 12.0]))
    assert value == pytest.approx(0, abs=1e-8) and x == pytest.approx([1, 1], abs=1e-3)
    with pytest.raises(NotTrusted, match="an optimum of the posterior is not found"):
        quick_module._climbed(lambda position: (position[:, 0], np.ones_like(position)), np.zeros(1))


def test_chains_are_sampled_where_the_weights_do_not_vouch(pile, monkeypatch):
    monkeypatch.setattr(quick_module, "PARETO_K_MAX", -1.0)
    report = diagnostics(fit(pile, "chinchilla", quick=True, draws=200, allow_unconverged=True))
    assert report["method"] == "nuts" and report["not_quick"].startswith("Pareto k of the importance weights is")


def test_same_seed_same_quick_draws(pile):
    first, second, other = (fit(pile, "chinchilla", quick=True, seed=seed)["posterior"] for seed in (5, 5, 6))
    assert first.identical(second) and not first.identical(other)


def test_of_very_many_runs_a_quick_answer_is_tried_unasked(many_runs, monkeypatch):
    from bayescale.fitting import fit as fit_module

    monkeypatch.setattr(fit_module, "MANY_RUNS", 200)
    tree = fit(many_runs, "chinchilla", draws=300)
    report = diagnostics(tree)
    assert report["method"] == "importance" and report["quick_because"] == "chains of 300 runs take minutes"
    assert "it was taken because chains of 300 runs take minutes" in str(show(tree))

    def sample(*args):
        raise SamplerError("chains were sampled")

    monkeypatch.setattr(sampling, "sample", sample)
    with pytest.raises(FitError, match="chains were sampled"):
        fit(many_runs, "chinchilla", quick=False)


def test_quick_needs_no_sampler(many_runs, monkeypatch):
    from bayescale.fitting import sampling as sampling

    def sample(*args):
        raise AssertionError("chains were sampled")

    monkeypatch.setattr(sampling, "sample", sample)
    fit(many_runs, "chinchilla", quick=True)
