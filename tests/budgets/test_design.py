import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayescale
from bayescale.budgets.aim import Aim, target_draws
from bayescale.budgets.design import _scatter, next_run
from bayescale.budgets.screening import Beliefs, covariance, expected_width, greedy_plan, screen
from bayescale.errors import FitError
from bayescale.forecasts.planned import planned_runs
from bayescale.study import Study

AIM = {"params": 70e9, "tokens": 1.4e12}
pytestmark = pytest.mark.usefixtures("drift_once")


@pytest.fixture(scope="module")
def learnt(true_fit):
    return true_fit(draws=1000)


@pytest.fixture(scope="module")
def linear():
    """A target and losses that are linear in normal parameters: everything is known in closed form."""
    theta = np.random.default_rng(1).standard_normal((40_000, 3))
    height, angle = np.linspace(-0.9, 0.9, 12), 2.4 * np.arange(12)  # evenly over the sphere
    around = np.sqrt(1 - height**2)
    slopes = np.linspace(1, 2.5, 12) * np.array([around * np.cos(angle), around * np.sin(angle), height])
    return Beliefs(theta @ np.array([1.0, 0.5, -0.3]), theta @ slopes, np.full(12, 0.5)), slopes


def posterior_sd(slopes, noise):
    """sd of the target after runs at these slopes [parameter, run], by linear algebra."""
    precision = np.eye(3) + slopes @ slopes.T / noise**2
    direction = np.array([1.0, 0.5, -0.3])
    return np.sqrt(direction @ np.linalg.solve(precision, direction))


def test_targets_of_a_split_are_exact_where_losses_are_parabolas():
    log_n, best = np.linspace(0.0, 4.0, 9), np.array([1.1, 2.0, 2.7])  # nodes half apart: 1.0, 2.0 and 2.5 are nearest
    points = xr.Dataset({"params": ("point", np.exp(log_n))})
    log_loss = (log_n - best[:, None]) ** 2
    found = {kind: target_draws(Aim(kind, "", points, 0.0, 0.0), log_loss) for kind in ("loss", "params", "regret")}
    assert found["loss"] == pytest.approx(best**2)
    assert found["params"] == pytest.approx(best)
    # 2.0 is best on average; the sign is that of the miss, and the square what it costs above the least node
    assert found["regret"] == pytest.approx([-np.sqrt(0.9**2 - 0.1**2), 0.0, np.sqrt(0.7**2 - 0.2**2)])


def test_screening_is_exact_for_linear_normal_beliefs(linear):
    beliefs, slopes = linear
    gain = screen(covariance(beliefs), beliefs.scatter)
    expected = [1 - posterior_sd(slopes[:, [i]], 0.5) ** 2 / 1.34 for i in range(12)]
    np.testing.assert_allclose(gain, expected, atol=0.02)  # draws far out count less


def test_far_draws_count_as_in_a_student_t_of_four_degrees_of_freedom():
    """Near draws that do not covary and two far ones that do: their weights alone make the covariance."""
    near, far = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]), np.array([[-10, -10], [10, 10]])
    target, losses = np.concatenate([near, far]).astype(float).T
    variance = 1 / stats.norm.ppf(0.75) ** 2  # of the normal whose median absolute deviation is 1, as the target's is
    weight = {size: 1 / (4 + size**2 / variance) for size in (1, 10)}
    expected = variance * 200 * weight[10] / (200 * weight[10] + 4 * weight[1])
    joint = covariance(Beliefs(target, losses[:, None], np.ones(1)))
    np.testing.assert_allclose(joint, [[variance, expected], [expected, variance]], rtol=1e-4)


def test_greedy_plan_is_the_best_of_each_step(linear):
    beliefs, slopes = linear
    joint = covariance(beliefs)
    chosen, sds = greedy_plan(joint, beliefs.scatter, np.ones(12), 4.0, 10, once=True, thrift=0.0)
    assert len(chosen) == len(set(chosen)) == 4, "the budget pays for four"
    for k in range(1, 5):
        others = [[*chosen[: k - 1], i] for i in range(12) if i not in chosen[: k - 1]]
        best = min(posterior_sd(slopes[:, plan], 0.5) for plan in others)
        assert posterior_sd(slopes[:, chosen[:k]], 0.5) == pytest.approx(best, rel=0.03)
    np.testing.assert_allclose(sds, [posterior_sd(slopes[:, chosen[:k]], 0.5) for k in range(1, 5)], rtol=0.05)


def test_width_by_weighting_agrees_with_linear_algebra(linear):
    beliefs, slopes = linear
    width, effective = expected_width(beliefs, [0, 1], np.random.default_rng(0))
    assert width == pytest.approx(2 * 1.645 * posterior_sd(slopes[:, [0, 1]], 0.5), rel=0.03)
    assert effective > 100


def test_the_draw_behind_an_outcome_is_left_out():
    """Of n draws that a run does not tell apart, n - 1 are left."""
    beliefs = Beliefs(np.arange(7.0), np.zeros((7, 1)), np.ones(1))
    assert expected_width(beliefs, [0], np.random.default_rng(0))[1] == pytest.approx(6, rel=1e-12)


def test_noise_of_heavy_tails_tells_less_by_its_fisher_information(true_fit):
    normal, heavy = (
        Study.opened(true_fit(draws=8, noise=noise, scatter={"sigma": 0.003, "nu_minus_2": 1.0}))
        for noise in ("normal", "student_t")
    )
    points = planned_runs(normal, [1e10, 1e11], [1e12, 1e12], {})
    information = stats.t(3).expect(lambda x: (4 * x / (3 + x**2)) ** 2)  # of the squared slope of its log density
    np.testing.assert_allclose(_scatter(heavy, points), _scatter(normal, points) / np.sqrt(information), rtol=1e-7)


def test_cost_is_minded(linear):
    beliefs, _ = linear
    joint = covariance(beliefs)
    prices = np.ones(12)
    best = int(np.argmax(screen(joint, beliefs.scatter)))
    prices[best] = 50.0
    chosen, _ = greedy_plan(joint, beliefs.scatter, prices, 50.0, 1, once=True, thrift=1.0)
    assert chosen != [best] and greedy_plan(joint, beliefs.scatter, prices, 50.0, 1, once=True, thrift=0.0)[0] == [best]
    assert best not in greedy_plan(joint, beliefs.scatter, prices, 49.0, 12, once=True, thrift=0.0)[0]


def test_next_run(learnt):
    result = next_run(learnt, 1e21, discrepancy=False, **AIM)
    assert result.sizes["run"] == 1 and float(result["cost"][0]) <= 1e21
    best = float(result["candidate_sd"].min())
    assert float(result["sd_after"][0]) == pytest.approx(best, rel=1e-6), "one run: that which alone tells most"
    assert result.attrs["width_after"] < result.attrs["width_now"]
    more = next_run(learnt, 1e21, most=6, discrepancy=False, **AIM)
    assert more.sizes["run"] > 1 and float(more["spent"][-1]) <= 1e21 * (1 + 1e-9)
    assert (np.diff(more["sd_after"]) < 0).all() and float(more["sd_after"][-1]) < best


def test_a_run_dearer_than_the_one_asked_about_is_not_proposed(learnt):
    price = 6 * float(AIM["params"]) * float(AIM["tokens"])
    result = next_run(learnt, 1e3 * price, discrepancy=False, **AIM)
    assert float(result["candidate_cost"].max()) <= price * (1 + 1e-9)
    own = next_run(learnt, 1e3 * price, candidates={"params": [1e12], "tokens": [1e12]}, discrepancy=False, **AIM)
    assert float(own["params"][0]) == 1e12  # that of a list of one's own is


@pytest.mark.parametrize("target", ["params", "regret"])
def test_targets_about_a_split(target, learnt):
    result = next_run(learnt, 1e21, target=target, compute=5.76e23, most=3, discrepancy=False)
    assert (np.diff(result["sd_after"]) < 0).all() and "5.76e23" in result.attrs["target"]


def test_the_mean_square_of_the_regret_target_is_the_expected_regret(learnt):
    from bayescale.budgets.decide import decide

    result = next_run(learnt, 1e21, target="regret", compute=1e23, discrepancy=False)
    decided = decide(learnt, 1e23, discrepancy=False)
    share = float(decided["expected_regret"][0, 0])
    assert result.attrs["sd_now"] ** 2 == pytest.approx(share, rel=0.6)  # draws far out count less


def test_drift_asks_for_larger_runs(learnt):
    certain, wary = (next_run(learnt, 1e22, discrepancy=drift, **AIM) for drift in (False, True))
    # how much of the best run's gain a tenth of the budget brings: most of it if the law is right, else little
    told = [
        float(plan["gain"].where(plan["candidate_cost"] < 1e21, 0).max() / plan["gain"].max())
        for plan in (certain, wary)
    ]
    assert told[0] > 2 * told[1]
    assert any("exactly right" in text for text in bayescale.read(certain).warnings)


def test_candidates_of_ones_own_are_taken_once(learnt):
    table = {"params": [1e8, 1e9, 3e9], "tokens": [1e10, 1e10, 2e10]}
    result = next_run(learnt, 1e24, candidates=table, most=10, discrepancy=False, **AIM)
    assert sorted(result["params"].values) == [1e8, 1e9, 3e9]
    few = next_run(learnt, 6.1e19, candidates=table, most=10, discrepancy=False, **AIM)
    assert set(few["params"].values) <= {1e8, 1e9}


def test_table_statement_summary(learnt):
    result = next_run(learnt, 1e21, most=2, discrepancy=False, **AIM)
    table = bayescale.read(result).frame
    assert (
        list(table.columns[:5]) == ["run", "params", "tokens", "tokens_per_param", "cost"]
        and (table.sd_share < 1).all()
    )
    assert " ".join(bayescale.read(result).says).startswith("The 90 % band of log loss at N = 70B, D = 1.4T is ")
    summary = json.loads(json.dumps(bayescale.read(result).to_dict(), allow_nan=False))
    assert len(summary["plan"]) == result.sizes["run"] and summary["width_after"] < summary["width_now"]


@pytest.mark.parametrize(
    ("budget", "options", "message"),
    [
        (0, AIM, "budget = 0: a finite number above 0"),
        (1e21, {}, "the target 'loss' is that of one run: give its params and tokens"),
        (1e21, {"target": "params"}, "the target 'params' is about the split of one budget: give compute"),
        (1e21, {"target": "fame", **AIM}, "unknown target 'fame'; the targets are loss, params, regret"),
        (1e21, {"most": 0, **AIM}, "most = 0"),
        (1e21, {"cost": "6*N*D*p", "given": {"p": "1..2"}, **AIM}, "a plan needs certain values"),
        (1e10, AIM, "no candidate run is within the budget of 1e10: the cheapest of 1 costs"),
        (
            1e21,
            {"candidates": {"params": [1e9]}, **AIM},
            "candidates are a table with the columns 'params' and 'tokens'",
        ),
        (1e21, {"candidates": {"params": [-1], "tokens": [1]}, **AIM}, "params = -1: a planned run needs"),
    ],
)
def test_requests_of_no_use(budget, options, message, learnt):
    with pytest.raises(FitError, match=message):
        next_run(learnt, budget, **options)
