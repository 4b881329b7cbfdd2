"""The optimum against closed forms, brute force and identities, over laws and draws of their priors."""

import time

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from bayescale.budgets.axis import Axis, curve_of, least_size
from bayescale.budgets.cost import parse_cost
from bayescale.budgets.minimise import minimise, root
from bayescale.budgets.optimum import Limits, Problem, best_split, frontier_slopes
from bayescale.budgets.regret import trained_tokens
from bayescale.budgets.surface import loss_at, loss_surface
from bayescale.errors import FitError
from bayescale.field import TRAINING
from bayescale.laws.formula import evaluate
from bayescale.laws.law import law_names, load_law, parse_law, sample_priors, with_where

BUDGETS = np.array([[1e19, 1e22, 5.76e23, 1e26]])
REFERENCES = {"N_ref": 1e9, "D_ref": 2e10, "L_ref": 2.2}
PLAIN = parse_cost(TRAINING, {})

PRIORS = """
[priors]
E = { dist = "LogNormal", mu = 0.5, sigma = 0.3, about = "floor" }
"""
# Gadre et al. 2024, arXiv:2403.08540: E + (a M^eta + b M^-eta) C^-eta, M = D/N; its optimum is M* = (b/a)^(1/(2 eta))
OVERTRAINING = """
title = "Over-training"
cite = "arXiv:2403.08540"
formula = "E + (a*(D/N)**eta + b*(D/N)**(-eta)) * (6*N*D)**(-eta)"
[optimum]
N = "(C/6)**0.5 * (a/b)**(1/(4*eta))"
[priors]
E = { dist = "LogNormal", mu = 0.5, sigma = 0.3, about = "floor" }
a = { dist = "LogNormal", mu = 4.0, sigma = 0.5, about = "a" }
b = { dist = "LogNormal", mu = 6.0, sigma = 0.5, about = "b" }
eta = { dist = "LogNormal", mu = -1.9, sigma = 0.2, about = "exponent" }
"""
# Ludziejewski et al. 2025, arXiv:2502.05172, eq. 6 and 7, with their constants scattered a little
MOE = """
title = "Joint law of mixtures of experts"
cite = "arXiv:2502.05172"
formula = "m*N**mu + n*D**nu + c"
[where]
grown = "1/(1/(experts - 1 + 1/(1/2.0732 - 1/290.4521)) + 1/290.4521)"
mu = "-alpha + gamma*log(grown)"
nu = "-beta - zeta*log(grown)"
m = "a*grown**(-delta)"
n = "b*grown**omega"
[priors]
a = { dist = "LogNormal", mu = 3.581, sigma = 0.05, about = "a" }
b = { dist = "LogNormal", mu = 3.583, sigma = 0.05, about = "b" }
alpha = { dist = "LogNormal", mu = -1.6665, sigma = 0.02, about = "alpha" }
beta = { dist = "LogNormal", mu = -1.7288, sigma = 0.02, about = "beta" }
gamma = { dist = "LogNormal", mu = -4.6254, sigma = 0.05, about = "gamma" }
zeta = { dist = "LogNormal", mu = -3.6535, sigma = 0.05, about = "zeta" }
delta = { dist = "LogNormal", mu = -1.4762, sigma = 0.05, about = "delta" }
omega = { dist = "LogNormal", mu = -0.5926, sigma = 0.05, about = "omega" }
c = { dist = "LogNormal", mu = 0.3102, sigma = 0.05, about = "floor" }
"""
# no closed form: amplitude and exponent of the data term vary with N (Farseer, arXiv:2506.10972)
FARSEER = """
title = "Farseer"
cite = "arXiv:2506.10972"
formula = "exp(g3*(N/1e9)**c + f3) + exp(g2*(N/1e9)**b + f2) * (D/1e10)**(-exp(g1*(N/1e9)**a + f1))"
[priors]
a = { dist = "LogNormal", mu = -2.0, sigma = 0.2, about = "a" }
b = { dist = "LogNormal", mu = -2.0, sigma = 0.2, about = "b" }
c = { dist = "LogNormal", mu = -2.0, sigma = 0.2, about = "c" }
g1 = { dist = "Normal", mu = 0.1, sigma = 0.02, about = "g1" }
g2 = { dist = "Normal", mu = -0.3, sigma = 0.1, about = "g2" }
g3 = { dist = "Normal", mu = -1.0, sigma = 0.2, about = "g3" }
f1 = { dist = "Normal", mu = -1.3, sigma = 0.1, about = "f1" }
f2 = { dist = "Normal", mu = -0.5, sigma = 0.2, about = "f2" }
f3 = { dist = "Normal", mu = 1.6, sigma = 0.1, about = "f3" }
"""
# Muennighoff et al. 2023, arXiv:2305.16264, without the excess of parameters
REPEATED = """
title = "Repeated data"
cite = "arXiv:2305.16264"
formula = "E + A*N**(-alpha) + B*seen**(-alpha)"
[where]
seen = "unique_tokens*(1 + halt*(1 - exp(-(D/unique_tokens - 1)/halt)))"
[priors]
E = { dist = "LogNormal", mu = 0.6255, sigma = 0.05, about = "floor" }
A = { dist = "LogNormal", mu = 6.255, sigma = 0.1, about = "A" }
B = { dist = "LogNormal", mu = 7.305, sigma = 0.1, about = "B" }
alpha = { dist = "LogNormal", mu = -1.0422, sigma = 0.03, about = "alpha" }
halt = { dist = "LogNormal", mu = 2.73, sigma = 0.2, about = "R_D*" }
"""


def drawn(law, count, rng, **fixed):
    """Draws of a law's priors as columns, with its reference constants."""
    values = {name: x[:, None] for name, x in sample_priors(law, count, rng).items()}
    values |= {name: np.full((count, 1), value) for name, value in fixed.items() if name in law.priors}
    others = {name: value for name, value in fixed.items() if name not in law.priors}
    return values | {name: REFERENCES[name] for name in law.constants} | others


def problem(law, values, **options):
    unique = options.pop("unique_tokens", None)
    return Problem(loss_surface(law, values, unique), **({"cost": PLAIN, "cost_values": {}} | options))


CLOSED = [(name, {}) for name in ("chinchilla", "kaplan", "coupled")]
CLOSED += [("coupled", {"q": q}) for q in (0.3, 0.5, 1.0, 1.5)]


@pytest.mark.parametrize(("name", "fixed"), CLOSED)
def test_closed_forms(name, fixed, rng):
    """A thousand random posteriors: draws of the priors, far wider than any posterior."""
    law = load_law(name)
    values = drawn(law, 1000, rng, **fixed)
    found = best_split(problem(law, values), BUDGETS)
    N = evaluate(law.optimum, with_where(law, values | {"C": BUDGETS}))
    searched = (N > 1) & (BUDGETS / (6 * N) > 1)
    assert searched.mean() > 0.98
    assert np.abs(found.N / N - 1)[searched].max() < 1e-6
    assert (found.held == "")[searched].all() and (found.held != "")[~searched].all()
    np.testing.assert_allclose(6 * found.N * found.D / BUDGETS, np.ones(N.shape), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in law_names() if load_law(name).optimum is not None])
def test_every_closed_form_that_comes_along(name, rng):
    law = load_law(name)
    others = {symbol: 8.0 if symbol == "experts" else 1e10 for symbol in law.inputs if symbol not in "NDC"}
    REFERENCES.update({constant: 4.0 for constant in law.constants if constant not in REFERENCES})
    values = drawn(law, 200, rng, **others)
    found = best_split(problem(law, values), BUDGETS)
    N = evaluate(law.optimum, with_where(law, values | {"C": BUDGETS}))
    surface, ends = loss_surface(law, values), np.stack(np.broadcast_arrays(1.0, BUDGETS / 6))
    with np.errstate(all="ignore"):
        plain = found.loss >= np.fmin(*(loss_at(surface, N, BUDGETS / (6 * N)) for N in ends))  # guessing throughout
    searched = (N > 1) & (BUDGETS / (6 * N) > 1) & ~plain
    assert searched.mean() > 0.5
    assert np.abs(found.N / N - 1)[searched].max() < 1e-4


@pytest.mark.parametrize("width", [0.05, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("centre", [3.0, 17.3, 30.0])
def test_a_well_in_a_plain_is_found(width, centre):
    """2 - exp(-((x - middle)/width)^2), whose slope is exactly 0 beside it: the plain is not the least.

    One of the grid's points, 1.7 apart, lies in the well: a narrow one is moved there."""
    low, high = np.zeros((1, 1)), np.full((1, 1), 40.8)
    middle = np.round(centre / 1.7) * 1.7 + 0.4 * min(width, 1.0)

    def objective(x):
        return 2 - np.exp(-(((x - middle) / width) ** 2))

    def slope(x):
        return 2 * (x - middle) / width**2 * np.exp(-(((x - middle) / width) ** 2))

    x, value, at = minimise(objective, slope, low, high)
    assert value == objective(x)
    assert x[0, 0] == pytest.approx(middle, abs=1e-5) and at[0, 0] == 0


def test_over_training_law(rng):
    law = parse_law(OVERTRAINING, "overtraining")
    values = drawn(law, 1000, rng)
    found = best_split(problem(law, values), BUDGETS)
    ratio = (values["b"] / values["a"]) ** (1 / (2 * values["eta"]))
    np.testing.assert_allclose(found.D / found.N, np.broadcast_to(ratio, found.N.shape), rtol=1e-6)


@pytest.mark.parametrize("experts", [1.0, 8.0, 32.0])
def test_mixture_of_experts_for_each_number_of_experts(experts, rng):
    law = parse_law(MOE, "moe")
    values = drawn(law, 1000, rng, experts=experts)
    found = best_split(problem(law, values), BUDGETS)
    v = with_where(law, values)
    N = (v["mu"] * v["m"] / (v["nu"] * v["n"])) ** (1 / (-v["mu"] - v["nu"])) * (BUDGETS / 6) ** (
        v["nu"] / (v["mu"] + v["nu"])
    )
    np.testing.assert_allclose(found.N, N, rtol=1e-6)


def test_published_optima_of_mixtures_of_experts():
    """Their table: at 1e20 FLOP a dense model of 1.73B on 9.65B tokens, with 32 experts 674M on 24.7B."""
    law = parse_law(MOE, "moe")
    theirs = {"a": 35.91, "b": 35.98, "alpha": 0.1889, "beta": 0.1775, "gamma": 0.0098, "zeta": 0.0259}
    theirs |= {"delta": 0.2285, "omega": 0.5529, "c": 1.3637}
    for experts, N, D in ((1.0, 1.73e9, 9.65e9), (32.0, 674e6, 24.7e9)):
        values = drawn(law, 2, np.random.default_rng(0), experts=experts, **theirs)
        found = best_split(problem(law, values), np.array([[1e20]]))
        np.testing.assert_allclose([found.N[0, 0], found.D[0, 0]], [N, D], rtol=0.01)


def test_no_closed_form_brute_force(rng):
    law = parse_law(FARSEER, "farseer")
    values = drawn(law, 200, rng)
    surface = loss_surface(law, values)
    found = best_split(problem(law, values), BUDGETS[:, :3])
    for i, budget in enumerate(BUDGETS[0, :3]):
        N = np.geomspace(1.0, budget / 6, 20_001)[None, :]
        loss = loss_at(surface, N, budget / (6 * N))
        loss[np.isnan(loss)] = np.inf
        best = loss.argmin(axis=1)
        assert (found.loss[:, i] <= loss.min(axis=1) * (1 + 1e-12)).all()
        step = np.log(N[0, 1] / N[0, 0])
        assert np.abs(np.log(found.N[:, i] / N[0, best])).max() <= step


@pytest.mark.parametrize("name", ["farseer", "rosenfeld", "own"])
def test_no_point_of_a_grid_is_better(name, rng):
    """Nor where there are two wells along a budget, or the loss is 0, or no number, over part of it."""
    law = parse_law(FARSEER, "own") if name == "own" else load_law(name)
    values = drawn(law, 100, rng)
    found, surface = best_split(problem(law, values), BUDGETS), loss_surface(law, values)
    for i, budget in enumerate(BUDGETS[0]):
        N = np.geomspace(1.0, budget / 6, 2001)[None, :]
        with np.errstate(all="ignore"):
            least = np.nan_to_num(loss_at(surface, N, budget / (6 * N)), nan=np.inf).min(axis=1)
        assert (found.loss[:, i] <= least * (1 + 1e-6)).all()


def test_the_lower_of_two_wells_is_found():
    """(y^2 - 1)^2 + lean y with y = (x - 20) / 6 has wells near y = -1 and 1; the lean says which is lower."""
    lean = np.array([[-0.3], [-1e-3], [1e-3], [0.3]])

    def objective(x):
        y = (x - 20) / 6
        return 2 + (y**2 - 1) ** 2 + lean * y

    def slope(x):
        y = (x - 20) / 6
        return (4 * y * (y**2 - 1) + lean) / 6

    x, value, _ = minimise(objective, slope, np.zeros((1, 3)), np.array([[40.0, 41.3, 47.9]]))
    every = np.linspace(0.0, 40.0, 100_001)[None, :]
    least = objective(every)
    np.testing.assert_allclose(x, np.broadcast_to(every[:, least.argmin(axis=1)].T, x.shape), atol=1e-3)
    assert (value <= least.min(axis=1, keepdims=True)).all()


def test_one_draw_against_scipy(rng):
    law = parse_law(FARSEER, "farseer")
    values = drawn(law, 3, rng)
    surface = loss_surface(law, values)
    found = best_split(problem(law, values), np.array([[1e22]]))
    every = np.linspace(0.0, np.log(1e22 / 6), 20_001)  # one parameter to one token
    lowest = loss_at(surface, np.exp(every)[None, :], 1e22 / 6 / np.exp(every)[None, :]).argmin(axis=1)
    for i in range(3):
        best = minimize_scalar(  # from the lowest of many, for there may be two wells
            lambda x, i=i: loss_at(surface, np.exp(x), 1e22 / 6 / np.exp(x))[i, 0],
            bounds=(every[max(lowest[i] - 1, 0)], every[min(lowest[i] + 1, len(every) - 1)]),
            method="bounded",
            options={"xatol": 1e-9},
        )
        np.testing.assert_allclose(found.N[i, 0], np.exp(best.x), rtol=1e-4)


def test_a_kink_is_found(rng):
    """The bottleneck max(u, v): its minimum has no derivative."""
    smooth = "E + (a*(D/N)**eta + b*(D/N)**(-eta)) * (6*N*D)**(-eta)"
    text = OVERTRAINING.replace(smooth, "E + maximum(a*N**(-eta), b*D**(-eta))")
    law = parse_law(text, "bottleneck")
    values = drawn(law, 300, rng)
    found = best_split(problem(law, values), BUDGETS)
    at_kink = (values["a"] / values["b"]) ** (1 / values["eta"])  # N/D where both terms are equal
    inside = found.held == ""  # a draw far out has its kink below one parameter
    assert inside.mean() > 0.9
    np.testing.assert_allclose((found.N / found.D)[inside], np.broadcast_to(at_kink, found.N.shape)[inside], rtol=1e-6)


# ---- costs and limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("demand", [0.0, 1e11, 1e13])
def test_wedge_of_inference_demand(demand, rng):
    """alpha u / (beta v) = 1 + T / (3 D) at the optimum of 6 N D + 2 N T (Sardana et al. 2024, arXiv:2401.00448)."""
    law = load_law("chinchilla")
    values = drawn(law, 1000, rng)
    cost = parse_cost("6*N*D + 2*N*T", {"T": demand})
    budget = np.array([[1e22, 1e24]])
    found = best_split(problem(law, values, cost=cost, cost_values={"T": demand}), budget)
    inside = found.held == ""
    assert inside.mean() > 0.9
    v = with_where(law, values)
    alpha_u = v["alpha"] * v["share"] * (found.N / v["N_ref"]) ** (-v["alpha"])
    beta_v = v["beta"] * (1 - v["share"]) * (found.D / v["D_ref"]) ** (-v["beta"])
    np.testing.assert_allclose((alpha_u / beta_v)[inside], (1 + demand / (3 * found.D))[inside], rtol=1e-5)
    np.testing.assert_allclose(6 * found.N * found.D + 2 * found.N * demand, np.broadcast_to(budget, found.N.shape))


def test_repeated_data_against_brute_force_and_without_need(rng):
    law = parse_law(REPEATED, "repeated")
    values = drawn(law, 100, rng)
    budget = np.array([[1e19, 1e22]])
    free = best_split(problem(law, values, unique_tokens=1e15), budget)
    capped = best_split(problem(law, values, unique_tokens=2e10), budget)
    slack = free.D < 2e10
    assert slack[:, 0].all() and not slack[:, 1].any()  # the cap binds at the second budget only
    np.testing.assert_allclose(capped.N[:, 0], free.N[:, 0], rtol=1e-6)
    assert (capped.loss[:, 1] > free.loss[:, 1]).all() and (capped.N[:, 1] > free.N[:, 1]).all()
    N = np.geomspace(1e8, 1e12, 40_001)[None, :]
    loss = loss_at(loss_surface(law, values, 2e10), N, 1e22 / (6 * N))
    assert np.abs(np.log(capped.N[:, 1] / N[0, loss.argmin(axis=1)])).max() <= np.log(N[0, 1] / N[0, 0])


@pytest.mark.parametrize(
    ("limits", "held", "ratio"),
    [
        (Limits(ratio=(40.0, np.inf)), "tokens per parameter >= 40", 40.0),
        (Limits(ratio=(0.0, 5.0)), "tokens per parameter <= 5", 5.0),
        (Limits(tokens=(0.0, 1e11)), "tokens <= 100B", 1e11**2 * 6 / 1e23),
        (Limits(params=(0.0, 1e10)), "params <= 10B", 1e23 / 6e20),
        (Limits(params=(1e12, 1e12)), "params = 1T", 1e23 / 6e24),
        (Limits(tokens=(3e12, 3e12)), "tokens = 3T", 3e12**2 * 6 / 1e23),
    ],
)
def test_limits_hold(limits, held, ratio):
    law = load_law("chinchilla")
    values = drawn(law, 5, np.random.default_rng(0))
    values |= {"lean": np.zeros((5, 1)), "share": np.full((5, 1), 0.5), "slope": np.full((5, 1), 0.05)}
    found = best_split(problem(law, values, limits=limits), np.array([[1e23]]))
    assert set(found.held.ravel()) == {held}
    np.testing.assert_allclose(found.D / found.N, ratio, rtol=1e-8)


def test_limits_that_do_not_bind_change_nothing(rng):
    law = load_law("coupled")
    values = drawn(law, 100, rng)
    free = best_split(problem(law, values), BUDGETS[:, 1:2])
    wide = Limits((1.0, 1e20), (1.0, 1e25), (1e-12, 1e15))
    bound = best_split(problem(law, values, limits=wide), BUDGETS[:, 1:2])
    inside = (free.held == "") & (bound.held == "")
    assert inside.mean() > 0.9
    np.testing.assert_allclose(bound.N[inside], free.N[inside], rtol=1e-6)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(params=(1e12, np.inf), ratio=(20.0, np.inf)), "no split that keeps to the limits: params >= 1T"),
        (Limits(tokens=(1e30, np.inf)), r"a budget of 1e22 does not buy tokens >= 1e30"),
        (
            Limits(params=(1e22, np.inf)),
            r"params >= 1e22 asks for at least 1e22 parameters, one token allows",
        ),
    ],
)
def test_limits_that_cannot_be_kept(limits, message):
    law = load_law("chinchilla")
    impossible = problem(law, drawn(law, 2, np.random.default_rng(0)), limits=limits)
    with pytest.raises(FitError, match=message):
        best_split(impossible, np.array([[1e22]]))
    assert np.isinf(best_split(impossible, np.array([[1e22]]), strict=False).loss).all()


@pytest.mark.parametrize("menu", [None, {"params": np.array([1e9, 2e9])}], ids=["limits", "menu"])
def test_one_rule_for_draws_of_a_cost_that_are_short_of_a_limit(menu):
    """Up to 1 % of the draws may be short, of a budget as of a size; they train on what the budget buys."""
    law, draws, budget = load_law("chinchilla"), 400, np.array([[1e22]])
    limits = Limits(params=(1e9, 1e9 if menu is None else np.inf), tokens=(1e12, np.inf))
    values = drawn(law, draws, np.random.default_rng(0))

    def dear_in(count):
        price = np.where(np.arange(draws) < count, 10.0, 1.0)[:, None]
        cost = {"cost": parse_cost("6*N*D*price", {"price": 1.0}), "cost_values": {"price": price}}
        return problem(law, values, limits=limits, menu=menu, **cost)

    few, many = dear_in(4), dear_in(5)
    found = best_split(few, budget)
    assert (found.N == pytest.approx(1e9)) and np.isfinite(found.loss).all()
    np.testing.assert_allclose(found.D[:4], 1e22 / 6e10)
    np.testing.assert_allclose(found.D[4:], 1e22 / 6e9)
    assert np.isfinite(trained_tokens(few, np.array([1e9]), 1e22)).all()
    assert np.isnan(trained_tokens(many, np.array([1e9]), 1e22)).all()
    with pytest.raises(FitError, match="in 5 of the 400 draws of its cost"):
        best_split(many, budget)
    assert np.isinf(best_split(few, budget, strict=False).loss).sum() == 4


def test_a_budget_that_buys_no_token_in_one_draw_is_refused():
    law = load_law("chinchilla")
    price = np.where(np.arange(1000) < 1, 1e30, 1.0)[:, None]
    cost = {"cost": parse_cost("6*N*D*price", {"price": 1.0}), "cost_values": {"price": price}}
    message = "in 1 of the 1000 draws of its cost, does not buy one token for one parameter"
    with pytest.raises(FitError, match=message):
        best_split(problem(law, drawn(law, 1000, np.random.default_rng(0)), **cost), np.array([[1e22]]))


def test_a_menu_is_chosen_from_by_loss(rng):
    law = load_law("coupled")
    values = drawn(law, 300, rng)
    menu = {"params": np.array([1e9, 7e9, 7e10])}
    found = best_split(problem(law, values, menu=menu), BUDGETS[:, 1:3])
    for i, budget in enumerate(BUDGETS[0, 1:3]):
        loss = loss_at(loss_surface(law, values), menu["params"][None, :], budget / (6 * menu["params"][None, :]))
        np.testing.assert_array_equal(found.N[:, i], menu["params"][loss.argmin(axis=1)])
        np.testing.assert_array_equal(found.loss[:, i], loss.min(axis=1))


def test_a_menu_with_costs_of_its_own():
    """Attention is dearer in the deep model of the same size, so that it sees fewer tokens."""
    law = load_law("chinchilla")
    values = drawn(law, 2, np.random.default_rng(0))
    menu = {"params": np.array([1e9, 1e9]), "layers": np.array([10.0, 100.0])}
    cost = parse_cost("(6*N + 1e7*layers)*D", {}, ["layers"])
    found = best_split(problem(law, values, menu=menu, cost=cost), np.array([[1e21]]))
    np.testing.assert_allclose(found.D, 1e21 / (6e9 + 1e8))


# ---- frontier and its inverse ---------------------------------------------------------------------------------------


def test_exponents_of_the_frontier(rng):
    law = load_law("chinchilla")
    values = drawn(law, 200, rng)
    which = problem(law, values)
    split = best_split(which, BUDGETS[:, 1:2])
    slopes = frontier_slopes((which, which), BUDGETS[0, 1:2], split)
    v = with_where(law, values)
    free = split.held == ""  # the closed form knows of no least size
    assert free.mean() > 0.9
    np.testing.assert_allclose(slopes["a"][free], (v["beta"] / (v["alpha"] + v["beta"]))[free], atol=1e-5)
    np.testing.assert_allclose(slopes["a"] + slopes["b"], 1.0, atol=1e-9)


def frontier(which):
    return Axis(None, "compute", curve_of(which), 1e15, 1e30, {})


def test_least_budget_inverts_the_frontier(rng):
    law = load_law("coupled")
    which = problem(law, drawn(law, 300, rng))
    budget = np.array([[3e20, 7e22]])
    there = best_split(which, budget)
    steep = there.loss > 1.0001 * best_split(which, 1.5 * budget).loss  # where all is floor the inverse means nothing
    assert steep.mean() > 0.8
    again, near = least_size(frontier(which), lambda loss, goal: np.log(loss / goal), there.loss)
    split = best_split(which, again, near)
    np.testing.assert_allclose(again[steep], np.broadcast_to(budget, again.shape)[steep], rtol=1e-4)
    np.testing.assert_allclose(split.loss[steep], there.loss[steep], rtol=1e-9)


def test_a_loss_below_the_floor_is_never_reached():
    law = load_law("chinchilla")
    values = drawn(law, 50, np.random.default_rng(0))
    floor = values["level"] * values["floor"] * REFERENCES["L_ref"]
    axis = frontier(problem(law, values))
    budget, _ = least_size(axis, lambda loss, goal: np.log(loss / goal), 0.99 * floor)
    assert np.isnan(budget).all()


def test_root_of_functions_with_known_roots(rng):
    target = rng.uniform(0.1, 3, 100)
    ends = np.full(100, -5.0), np.full(100, 5.0)
    found = root(lambda x: np.exp(x) - target, *ends, *(np.exp(end) - target for end in ends))
    np.testing.assert_allclose(found, np.log(target), atol=1e-7)


def test_no_loop_over_draws():
    """0.2 s on a free core; a loop over 4000 draws x 20 budgets would take minutes."""
    law = load_law("coupled")
    which = problem(law, drawn(law, 4000, np.random.default_rng(0)))
    start = time.process_time()
    best_split(which, np.geomspace(1e20, 1e26, 20)[None, :])
    assert time.process_time() - start < 10
