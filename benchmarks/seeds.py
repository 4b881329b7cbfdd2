"""Does what is said of a split depend on the seed? Ten seeds, several studies, with and without limits and costs.

    python -m benchmarks.seeds STUDY.csv ... [--seeds 10]

For every study the budget of ten times the largest run is split as compute, with a limit of the tokens that holds, with
an uncertain use of the hardware, and with both; each at every seed of the decision, and at every seed of the fit. Told
is the largest over the smallest of: N of the decision, its expected regret, the median and 95 % point of the waste,
the width of the flat region; and the Monte Carlo error that is told of the expected regret, as a share of it. Exits
with 1 where N or the expected regret is above 1.1, unless the decision itself says that its regret is no better known.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale
from bayescale.budgets.allocate import allocate
from bayescale.budgets.decide import REGRET_ERROR_SAID, decide
from bayescale.fitting.fit import fit

MOST = 1.1


def told(learnt, budget: float, options: dict, seed: int) -> dict[str, float]:
    row = bayescale.read(decide(learnt, budget, seed=seed, **options)).frame.iloc[0]
    return {
        "N": row.params,
        "regret": row.expected_regret,
        "error told": row.expected_regret_error / row.expected_regret,
        "waste 95 %": row.compute_regret_q95,
        "flat": row.flat_high / row.flat_low,
    }


def questions(learnt) -> dict[str, tuple[float, dict]]:
    budget = 10 * float((6 * learnt["constant_data"]["params"] * learnt["constant_data"]["tokens"]).max())
    tokens = {"tokens": (None, 0.5 * float(allocate(learnt, budget)["D"].median()))}
    money = {"cost": "6*N*D/mfu", "given": {"mfu": "0.35..0.5"}}
    inference = {"cost": "6*N*D + 2*N*T", "given": {"T": 5.0 * tokens["tokens"][1]}}
    return {
        "compute": (budget, {}),
        "limit": (budget, tokens),
        "uncertain cost": (budget / 0.42, money),
        "uncertain cost, limit": (budget / 0.42, money | tokens),
        "inference": (budget, inference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--fits", type=int, default=0, help="also fit anew at so many seeds")
    args = parser.parse_args()
    rows = []
    for path in args.studies:
        learnt = fit(path)
        asked = questions(learnt)
        fits = [fit(path, seed=seed) for seed in range(args.fits)]
        for name, (budget, options) in asked.items():
            of = {"decision": [told(learnt, budget, options, seed) for seed in range(args.seeds)]}
            if fits:
                of["fit"] = [told(one, budget, options, 0) for one in fits]
            for what, found in of.items():
                table = pd.DataFrame(found)
                row = {"study": path.stem, "question": name, "seeds of": what, "regret %": 100 * table.regret.median()}
                with np.errstate(all="ignore"):
                    rows.append(row | dict(table.max() / table.min()) | {"error told": table["error told"].median()})
        print(path.stem, flush=True)
    result = pd.DataFrame(rows)
    print(result.round(3).to_string(index=False))
    if (result["N"] > MOST).any() or ((result["regret"] > MOST) & (result["error told"] < REGRET_ERROR_SAID)).any():
        sys.exit(1)


if __name__ == "__main__":
    main()
