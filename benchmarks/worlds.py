"""Simulated worlds: what the band of a forecast holds where the law is true, and where something else is.

    python -m benchmarks.worlds [WORLD ...] [--studies 30] [--runs 200] [--table docs/worlds.csv]

Each study is an isoFLOP sweep of ten budgets from 1e18 to 1e21 FLOP with noise of .2 %; runs one and one and a half
decades beyond are forecast with the default law. Printed by world: how often the 90 % band holds at each horizon, its
width [% of the loss], and the same of law and noise without the discrepancy.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale
from bayescale.jobs.files import write_table
from bayescale.laws.formula import evaluate, parse
from bayescale.laws.law import law_loss, load_law
from bayescale.study import Study

BUDGETS = np.geomspace(1e18, 1e21, 10)
HORIZONS_DECADES = (1.0, 1.5)
TEST_RUNS = 10  # at each horizon
NOISE = 0.002
BREAK = (0.1, 0.3)  # of the slope beyond the runs
OFFSET = 0.004  # sd of what the runs of a budget share
RATE = 0.003  # rise of the log loss by a square decade of N, of a learning rate that was not tuned to the size
SHIFT = (0.01, 0.03)  # of the loss beyond the runs, either way


def coupled(rng: np.random.Generator) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """log L(N, D) of the default law with constants drawn around published ones."""
    law = load_law("coupled")
    params = {
        "level": 1.25,
        "slope": np.exp(rng.normal(np.log(0.1), 0.2)),
        "lean": rng.normal(0, 0.2),
        "floor": rng.uniform(0.45, 0.8),
        "share": rng.uniform(0.35, 0.65),
        "q": np.exp(rng.normal(np.log(0.7), 0.3)),
    }
    constants = {"N_ref": 5e8, "D_ref": 1e10, "L_ref": 2.0}
    return lambda N, D: np.log(law_loss(law, params | constants | {"N": N, "D": D}))


def farseer(rng: np.random.Generator) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """log L(N, D) of Farseer's law with its published constants, times a constant."""
    law, scale = load_law("farseer"), rng.uniform(0.8, 1.2)
    formula, values = parse(law.published_formula), dict(law.presets["li2025"].values)
    return lambda N, D: np.log(scale * evaluate(formula, values | {"N": N, "D": D}))


def world(name: str, rng: np.random.Generator, compute: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Runs at these budgets [run], and how many decades each lies beyond BUDGETS."""
    law = farseer(rng) if name == "farseer" else coupled(rng)
    ratio = 20 * np.exp(rng.uniform(-2.3, 2.3, compute.size))  # tokens per parameter
    N = np.sqrt(compute / (6 * ratio))
    beyond = np.maximum(np.log10(compute / BUDGETS[-1]), 0.0)
    log_loss = law(N, ratio * N)
    if name in ("steeper", "flatter"):
        middle = np.sqrt(BUDGETS[-1] / 120)
        slope = law(middle, 20 * middle) - law(middle * 10**0.5, 20 * middle * 10**0.5)  # a decade of compute
        log_loss = log_loss + rng.uniform(*BREAK) * slope * beyond * (1 if name == "flatter" else -1)
    elif name == "shift":
        log_loss = log_loss + rng.choice([-1, 1]) * rng.uniform(*SHIFT) * (beyond > 0)
    elif name == "rate":
        log_loss = log_loss + RATE * np.log10(N / 1e8) ** 2
    elif name == "offsets":
        budgets, of = np.unique(compute, return_inverse=True)
        log_loss = log_loss + OFFSET * rng.standard_normal(budgets.size)[of]
    loss = np.exp(log_loss + NOISE * rng.standard_t(5, compute.size))
    return pd.DataFrame({"params": N, "tokens": ratio * N, "loss": loss}), beyond


WORLDS = {
    "law": "the law is true",
    "farseer": "Farseer's law, whose exponent changes with N",
    "rate": "a learning rate that grows wrong with N",
    "steeper": "the slope grows by 10 to 30 % beyond the runs",
    "flatter": "the slope falls by 10 to 30 % beyond the runs",
    "shift": "a recipe that shifts the loss by 1 to 3 % beyond the runs",
    "offsets": "offsets of .4 % a budget",
}


def scored(name: str, runs: int, seed: int) -> list[dict[str, float]]:
    """One study: at each horizon how much is held, and how wide it is."""
    rng = np.random.default_rng([seed, list(WORLDS).index(name)])
    compute = np.concatenate(
        [np.repeat(BUDGETS, runs // BUDGETS.size), *(np.full(TEST_RUNS, 10**h * BUDGETS[-1]) for h in HORIZONS_DECADES)]
    )
    table, beyond = world(name, rng, compute)
    train, test = table[beyond == 0], table[beyond > 0]
    fit = bayescale.fit(train, seed=seed, quick=True, allow_unconverged=True)
    drawn = bayescale.forecast(fit, test["params"], test["tokens"], seed=seed)["predictions"]
    study = Study.opened(fit)
    curve = np.log(drawn["law_loss"].values.reshape(-1, len(test)))
    scale = study.scatter.scale_at({"log_compute": study.covariates()["log_compute"].max()}, study.draws) * np.ones(
        len(test)
    )
    bands = {
        "": np.log(drawn["loss"].values.reshape(-1, len(test))),
        "law_": curve + study.scatter.sample_noise(scale, study.draws, rng),
    }
    seen, rows = np.log(test["loss"].to_numpy()), []
    for horizon in HORIZONS_DECADES:
        here = np.isclose(beyond[beyond > 0], horizon)
        row = {"world": name, "runs": runs, "seed": seed, "horizon_decades": horizon}
        for prefix, values in bands.items():
            low, high = np.quantile(values[:, here], [0.05, 0.95], axis=0)
            row[f"{prefix}held"] = ((low <= seen[here]) & (seen[here] <= high)).mean()
            row[f"{prefix}width_percent"] = 100 * (high - low).mean()
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--studies", type=int, default=30)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    rows = []
    for name in given.worlds:
        rows += [row for seed in range(given.studies) for row in scored(name, given.runs, seed)]
        shown = pd.DataFrame(rows).query("world == @name").drop(columns=["world", "runs", "seed"])
        print(f"{WORLDS[name]} ({given.studies} studies of {given.runs} runs)")
        print(shown.groupby("horizon_decades").mean().round(2).to_string(), flush=True)
    if given.table:
        columns = ["world", "runs", "horizon_decades"]
        write_table(
            pd.DataFrame(rows).drop(columns="seed").groupby(columns, sort=False).mean().reset_index(), given.table
        )


if __name__ == "__main__":
    main()
