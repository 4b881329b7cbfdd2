"""Which of many runs tell most about a target, from draws of the target and of the runs' losses.

Screening is linear and Gaussian over the draws of the posterior: after a run at x whose noise has the variance s^2,

    Var(T | run at x) = Var T - Cov(T, f(x))^2 / (Var f(x) + s^2),      f(x) = log loss at x, T the target,

for all candidates at once and without a refit; a plan of several runs is greedy, with the covariances updated after
each. The best plan is then looked at without the assumption: outcomes are simulated, the draws weighted by how well
they foretold each.
"""

from dataclasses import dataclass

import numpy as np

TAIL_DF = 4.0  # of the Student-t that gives less weight to far draws in the covariances
MAD_OF_NORMAL = 0.6745  # median absolute deviation of a standard normal
OUTCOMES_SIMULATED = 64  # of each plan that gets a close look
PLAN_RUNS_MAX = 200


@dataclass(frozen=True)
class Beliefs:
    """What the posterior believes of the target and of runs that could be made, as draws of both."""

    target: np.ndarray  # [draw]
    losses: np.ndarray  # log loss of each candidate, without noise [draw, candidate]
    scatter: np.ndarray  # scale of the noise of each, as informative as a normal one of that scale [candidate]


def covariance(beliefs: Beliefs) -> np.ndarray:
    """Covariance of the target and the candidates' log losses [1 + candidate, 1 + candidate].

    Draws far out count less, as in a fit of a Student-t: the scale of the discrepancy is not known, and draws of a
    large one would rule a plain covariance, which is then one of the tails and not of the band. The whole is scaled to
    the middle of the target's draws, so that for normal draws it is their covariance.
    """
    joint = np.column_stack([beliefs.target, beliefs.losses])
    apart = joint - np.median(joint, axis=0)
    spread = np.maximum(np.median(np.abs(apart), axis=0) / MAD_OF_NORMAL, 1e-300)
    square = (apart / spread) ** 2
    weight = (TAIL_DF + 1) / (TAIL_DF + square.mean(axis=1))
    weight /= weight.sum()
    apart = joint - weight @ joint
    weighted = (weight[:, None] * apart).T @ apart
    return weighted * (spread[0] ** 2 / max(weighted[0, 0], 1e-300))


def screen(joint: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Share of the target's variance that each candidate alone would remove [candidate]."""
    known = np.diag(joint)[1:] + scatter**2
    return np.clip(joint[0, 1:] ** 2 / (known * max(joint[0, 0], 1e-300)), 0.0, 1.0)


def greedy_plan(
    joint: np.ndarray,
    scatter: np.ndarray,
    prices: np.ndarray,
    budget: float,
    most: int,
    *,
    once: bool,
    thrift: float,
) -> tuple[list[int], list[float]]:
    """Candidates in the order in which they are taken, and the sd of the target after each.

    Each is the affordable one that removes most of the target's variance per cost**thrift; after it the covariances
    of the rest are those given its outcome (a rank-one update).
    """
    noise, start = scatter**2, joint[0, 0]
    left = budget
    taken: list[int] = []
    sds: list[float] = []
    free = np.ones(len(prices), dtype=bool)
    for _ in range(min(most, PLAN_RUNS_MAX)):
        can = free & (prices <= left * (1 + 1e-9))
        if not can.any():
            break
        removed = joint[0, 1:] ** 2 / (np.diag(joint)[1:] + noise)
        worth = np.where(can, removed / prices**thrift, -np.inf)
        i = int(np.argmax(worth))
        if taken and removed[i] <= 1e-6 * start:
            break
        column = joint[:, i + 1]
        joint = joint - np.outer(column, column) / (column[i + 1] + noise[i])
        left -= prices[i]
        free[i] = not once
        taken.append(i)
        sds.append(float(np.sqrt(max(joint[0, 0], 0.0))))
    return taken, sds


def expected_width(beliefs: Beliefs, plan: list[int], rng: np.random.Generator) -> tuple[float, float]:
    """Width of the target's 90 % band after the runs of a plan, the mean over simulated outcomes; effective draws.

    No assumption of a linear or normal target: for each outcome the draws are weighted by its likelihood. The draw
    that the outcome was made from is left out. Few effective draws mean that the runs would say more than weighting can
    show.
    """
    draws = len(beliefs.target)
    losses, noise = beliefs.losses[:, plan], beliefs.scatter[plan]
    widths, effective = [], []
    for truth in rng.choice(draws, min(OUTCOMES_SIMULATED, draws), replace=False):
        outcome = losses[truth] + noise * rng.standard_normal(len(plan))
        log_weight = -0.5 * (((outcome - losses) / noise) ** 2).sum(axis=1)
        log_weight[truth] = -np.inf
        weight = np.exp(log_weight - log_weight.max())
        effective.append(weight.sum() ** 2 / (weight**2).sum())
        widths.append(band_width(beliefs.target, weight))
    return float(np.mean(widths)), float(np.median(effective))


def band_width(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values)
    share = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
    low, high = np.interp([0.05, 0.95], share, values[order])
    return float(high - low)
