"""Do chosen runs tell more than random ones? Real studies, real losses.

    python -m benchmarks.next_run STUDIES [--repeats 20] [-o next-run.csv]

Of each study some small runs are taken as already made: FIRST of those in the lower SMALL of compute, drawn at random.
All others could be made; their measured losses are known to this script alone. A share of their total compute is spent,
once on runs that ``next_run`` chose for a target and once on affordable runs drawn at random until nothing more can be
bought. The law is then fitted to the first runs and the bought ones, and the width of the target's 90 % band compared
with what it was. Targets: log loss at ten times the compute of the study's largest run and 20 tokens per parameter, by
the law alone and with drift, and log N* at that compute.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bayescale.design import next_run
from bayescale.drift import posterior_by_scale, sample_log_loss, shipped_prior
from bayescale.fit import draws_of, fit, law_of
from bayescale.forecast import planned_runs
from bayescale.law import law_loss
from bayescale.runs import read_runs

STUDIES = ("chinchilla-epoch", "llama3-isoflop", "marin-dclm", "porian-rw-tuned-short-const", "misfitting-best-lr")
SMALL = 0.4  # quantile of compute below which the first runs lie
FIRST = 16
TARGETS = {"loss, law": {"drift": False}, "loss, drift": {"drift": True}, "N*, law": {"drift": False}}


def widths(runs, kept, N: float, D: float, seed: int) -> dict[str, float]:
    """Widths of the 90 % bands of the targets, learnt from some of the runs."""
    learnt = fit(runs.isel(run=np.flatnonzero(kept)), draws=500, seed=seed, allow_unconverged=True)
    law = np.log(law_loss(law_of(learnt), draws_of(learnt) | {"N": N, "D": D})).values.ravel()
    by_scale = posterior_by_scale(learnt, shipped_prior().length)
    parts = sample_log_loss(learnt, planned_runs(learnt, N, D, {}), np.random.default_rng(0), by_scale=by_scale)
    wide = sum(parts[name] for name in ("law", "bend", "drift")).values.ravel()
    best = np.log(allocate_params(learnt, 6 * N * D))
    found = {
        name: float(np.ptp(np.quantile(x, [0.05, 0.95]))) for name, x in zip(TARGETS, (law, wide, best), strict=True)
    }
    return found | {"fit": learnt}


def allocate_params(learnt, compute: float) -> np.ndarray:
    from bayescale.optimum import best_split
    from bayescale.problem import problem_of

    return best_split(problem_of(learnt)[0], np.array([[compute]])).N.ravel()


def one_repeat(runs, share: float, rng: np.random.Generator, seed: int) -> list[dict]:
    compute = runs["compute"].values
    small = np.flatnonzero(compute <= np.quantile(compute, SMALL))
    while True:
        first = rng.choice(small, min(FIRST, len(small)), replace=False)
        if len(np.unique(runs["params"].values[first])) >= 4:
            break
    made = np.zeros(len(compute), dtype=bool)
    made[first] = True
    far = 10 * compute.max()
    N = np.sqrt(far / 120)
    D = 20 * N
    before = widths(runs, made, N, D, seed)
    pool = np.flatnonzero(~made)
    budget = share * compute[pool].sum()
    table = {name: runs[name].values[pool] for name in ("params", "tokens")}
    arms = {"random": pool[_affordable(compute[pool], budget, rng)]}
    for name, options in TARGETS.items():
        aim = {"target": "params", "compute": far} if name.startswith("N") else {"params": N, "tokens": D}
        plan = next_run(before["fit"], budget, candidates=table, most=200, seed=seed, **aim, **options)
        arms[name] = np.array(
            [
                pool[(table["params"] == p) & (table["tokens"] == d)][0]
                for p, d in zip(plan["params"].values, plan["tokens"].values, strict=True)
            ]
        )
    rows = []
    for arm, bought in arms.items():
        kept = made.copy()
        kept[bought] = True
        after = widths(runs, kept, N, D, seed)
        for target in TARGETS:
            if arm in ("random", target):
                rows.append(
                    {
                        "share": share,
                        "target": target,
                        "chosen": arm != "random",
                        "bought": len(bought),
                        "spent": compute[bought].sum() / budget,
                        "before": before[target],
                        "after": after[target],
                    }
                )
    return rows


def _affordable(prices: np.ndarray, budget: float, rng: np.random.Generator) -> list[int]:
    bought = []
    for i in rng.permutation(len(prices)):
        if prices[i] <= budget:
            bought.append(int(i))
            budget -= prices[i]
    return bought


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Medians over repeats: how much of the width each way of buying removed, and their ratio."""
    keys = ["study", "share", "target", "repeat"]
    wide = table.set_index([*keys, "chosen"])[["before", "after", "bought"]].unstack("chosen")
    lost = {chosen: 1 - wide[("after", chosen)] / wide[("before", chosen)] for chosen in (True, False)}
    frame = pd.DataFrame(
        {
            "before": wide[("before", True)],
            "removed_chosen": lost[True],
            "removed_random": lost[False],
            "more": lost[True] / lost[False] - 1,
            "width_ratio": wide[("after", True)] / wide[("after", False)],
            "bought_chosen": wide[("bought", True)],
            "bought_random": wide[("bought", False)],
        }
    )
    medians = frame.groupby(["target", "share", "study"]).median()
    medians["more_of_medians"] = medians["removed_chosen"] / medians["removed_random"] - 1
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.05])
    parser.add_argument("--only", nargs="+", default=list(STUDIES))
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    rows = []
    for study in args.only:
        runs = read_runs(args.studies / f"{study}.csv")
        start = time.perf_counter()
        for repeat in range(args.repeats):
            for share in args.shares:
                found = one_repeat(runs, share, np.random.default_rng(repeat), repeat)
                rows += [{"study": study, "repeat": repeat, **row} for row in found]
            if args.output:
                pd.DataFrame(rows).to_csv(args.output, index=False, float_format="%.5g")
        print(f"{study}: {time.perf_counter() - start:.0f} s", flush=True)
    print(summary(pd.DataFrame(rows)).round(3).to_string())


if __name__ == "__main__":
    main()
