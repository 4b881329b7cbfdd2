"""Does honesty drown the signal? Bands on data simulated from the law itself.

    python -m benchmarks.clean [--studies 100]

Each simulated study has 100 runs on isoFLOP curves from a law drawn around published constants, with Student-t noise of
0.2 to 0.8 %; runs one decade of compute beyond are forecast. Printed: how often the 90 % band of the forecast holds,
and how wide it is relative to the band without the discrepancy (law and noise), and to that of the curve alone.
"""

import argparse

import numpy as np
import pandas as pd

import bayescale
from bayescale.forecasts.discrepancy import shipped_prior
from bayescale.laws.law import law_loss, load_law
from bayescale.study import Study

BUDGETS = np.geomspace(1e18, 1e21, 10)
SIZES_PER_BUDGET = 10


def study(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of one simulated study and the larger runs that follow."""
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
    sigma = np.exp(rng.uniform(np.log(0.002), np.log(0.008)))

    def runs(budgets: np.ndarray) -> pd.DataFrame:
        compute = np.repeat(budgets, SIZES_PER_BUDGET)
        ratio = 20 * np.exp(rng.uniform(-2.3, 2.3, len(compute)))  # tokens per parameter
        n = np.sqrt(compute / (6 * ratio))
        loss = law_loss(law, params | constants | {"N": n, "D": ratio * n})
        return pd.DataFrame(
            {"params": n, "tokens": ratio * n, "loss": loss * np.exp(sigma * rng.standard_t(5, len(n)))}
        )

    return runs(BUDGETS), runs(np.array([1e22]))


def one(rng: np.random.Generator, seed: int) -> dict[str, float]:
    train, test = study(rng)
    fit = bayescale.fit(train, seed=seed)
    predicted = bayescale.forecast(fit, test["params"], test["tokens"], seed=seed)
    loss, curve = (np.log(predicted["predictions"][name]) for name in ("loss", "law_loss"))
    opened = Study.opened(fit)
    scale = opened.scatter.scale_at(opened.covariate().max(), opened.draws) * np.ones(len(test))
    noise = opened.scatter.sample_noise(scale, opened.draws, rng)
    without = curve.stack(sample=("chain", "draw")).transpose("sample", "point").values + noise
    low, high = loss.quantile([0.05, 0.95], ("chain", "draw")).values
    observed = np.log(test["loss"].to_numpy())
    width = (high - low).mean()
    return {
        "held": ((low <= observed) & (observed <= high)).mean(),
        "held_without": (
            (np.quantile(without, 0.05, 0) <= observed) & (observed <= np.quantile(without, 0.95, 0))
        ).mean(),
        "to_law_and_noise": width / np.diff(np.quantile(without, [0.05, 0.95], axis=0), axis=0).mean(),
        "to_curve": width / np.diff(curve.quantile([0.05, 0.95], ("chain", "draw")).values, axis=0).mean(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    rows = []
    for i in range(args.studies):
        rows.append(one(rng, i))
        if (i + 1) % 10 == 0:
            table = pd.DataFrame(rows)
            print(i + 1, table.mean().round(3).to_dict(), flush=True)
    runs = len(BUDGETS) * SIZES_PER_BUDGET
    print(f"\n{args.studies} clean studies of {runs} runs, one decade out, with {shipped_prior()}")
    without = table.held_without.mean()
    print(f"90 % band held {table.held.mean():.3f}, of law and noise without the discrepancy {without:.3f}")
    for name, called in (
        ("to_law_and_noise", "law and noise without the discrepancy"),
        ("to_curve", "the curve alone"),
    ):
        ratio = table[name]
        most = ratio.quantile(0.9)
        print(f"width to {called}: mean {ratio.mean():.2f}, median {ratio.median():.2f}, nine in ten below {most:.2f}")


if __name__ == "__main__":
    main()
