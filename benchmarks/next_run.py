"""Do chosen runs tell more than random ones? On real studies, judged by refits.

    python -m benchmarks.next_run STUDIES [--repeats 20] [-o next-run.csv]

Two settings for each study:

half      The smallest runs that together took half of the study's compute have been made; the other half is left. Any
          run of a grid of sizes and lengths may be bought. What it shows is simulated: the law at the posterior median
          of all of the study's runs, and noise. Random: runs of the grid drawn one after the other from those that can
          still be paid, until none can. At most MOST runs are bought either way.
unused    FIRST runs, drawn at random from the lower SMALL of compute, have been made; the study's other runs can be
          bought for a twentieth of what they cost together, each once. They show the losses that were measured.

Targets: log loss at ten times the compute of the largest run and 20 tokens per parameter, with the discrepancy and by
the law alone, and log N* at that compute, by the law alone. ``removed`` is the share of the width of its 90 % band that
went.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.budgets.design import next_run
from bayescale.budgets.optimum import best_split
from bayescale.budgets.problem import problem_of
from bayescale.fitting import sampling
from bayescale.fitting.fit import fit
from bayescale.fitting.tree import draws_of
from bayescale.forecasts.curve import sample_curve
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.planned import planned_runs
from bayescale.laws.law import law_loss
from bayescale.runs.read import read_runs
from bayescale.study import Study, law_of

STUDIES = ("chinchilla-epoch", "llama3-isoflop", "marin-dclm", "porian-rw-tuned-short-const", "misfitting-best-lr")
SMALL = 0.4  # quantile of compute below which the first runs lie
FIRST = 16
MOST = 50
# hundreds of refits: one setting of the sampler each, whatever the diagnostics say
sampling.SETTINGS = sampling.SETTINGS[:1]


def learn(runs: xr.Dataset, seed: int) -> xr.DataTree:
    return fit(runs, draws=500, seed=seed, allow_unconverged=True)


def width(draws: np.ndarray) -> float:
    return float(np.ptp(np.quantile(draws, [0.05, 0.95])))


def width_with_drift(tree: xr.DataTree, aim: tuple[float, float, float]) -> float:
    study = Study.opened(tree)
    points = planned_runs(study, aim[0], aim[1], {})
    return width(sample_curve(discrepancy_of(study), points, np.random.default_rng(0)).log_loss)


def with_runs(tree: xr.DataTree, runs: xr.Dataset) -> xr.DataTree:
    """A fit's tree with other runs in it: all that the posterior with its discrepancy takes from it."""
    data = tree["constant_data"].to_dataset()
    constants = data[[name for name in data.data_vars if not data[name].dims]]
    groups = {name: tree[name].to_dataset() for name in ("posterior", "sample_stats")}
    groups["constant_data"] = runs.drop_vars("loss").merge(constants)
    groups["observed_data"] = xr.Dataset({"log_loss": np.log(runs["loss"])})
    other = xr.DataTree.from_dict(groups)
    other.attrs = tree.attrs
    return other


def joined(runs: xr.Dataset, params, tokens, loss) -> xr.Dataset:
    columns = {"params": params, "tokens": tokens, "loss": loss}
    return read_runs({name: np.concatenate([runs[name].values, values]) for name, values in columns.items()})


def half(runs: xr.Dataset, repeats: int) -> Iterator[list[dict]]:
    order = np.argsort(runs["compute"].values, kind="stable")
    spent = np.cumsum(runs["compute"].values[order])
    made = runs.isel(run=np.sort(order[spent <= spent[-1] / 2]))
    truth, start = learn(runs, 0), learn(made, 0)
    aim = _aim(runs)
    budget = float(runs["compute"].sum() - made["compute"].sum())
    chosen = {}
    for target, options in _targets(*aim).items():
        plan = next_run(start, budget, most=MOST, **options)
        chosen[target] = plan["params"].values, plan["tokens"].values
    sizes, lengths, prices = (plan[f"candidate_{name}"].values for name in ("params", "tokens", "cost"))
    middle = {name: float(value.median()) for name, value in draws_of(truth).items()}
    values = {name: middle[name] for name in (*law_of(truth).priors, *law_of(truth).constants)}
    before = widths(start, aim)
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        random, left = [], budget
        while len(random) < MOST and (prices <= left).any():
            random.append(int(rng.choice(np.flatnonzero(prices <= left))))
            left -= prices[random[-1]]
        outcomes = {}
        for arm, (params, tokens) in {"random": (sizes[random], lengths[random]), **chosen}.items():
            noise = middle["sigma"] * rng.standard_t(2 + middle["nu_minus_2"], size=len(params))
            loss = law_loss(law_of(truth), values | {"N": params, "D": tokens}) * np.exp(noise)
            outcomes[arm] = joined(made, params, tokens, loss)
        yield _rows("half", start, before, outcomes, made.sizes["run"], aim, seed)


def unused(runs: xr.Dataset, seed: int, share: float = 0.05) -> list[dict]:
    rng = np.random.default_rng(seed)
    compute = runs["compute"].values
    small = np.flatnonzero(compute <= np.quantile(compute, SMALL))
    first = rng.choice(small, min(FIRST, len(small)), replace=False)
    while len(np.unique(runs["params"].values[first])) < 4:
        first = rng.choice(small, min(FIRST, len(small)), replace=False)
    pool = np.setdiff1d(np.arange(len(compute)), first)
    budget = share * compute[pool].sum()
    start = learn(runs.isel(run=first), seed)
    random, left = [], budget
    for i in rng.permutation(pool):
        if compute[i] <= left:
            random.append(i)
            left -= compute[i]
    bought = {"random": np.array(random)}
    N, D, far = _aim(runs)
    table = {name: runs[name].values[pool] for name in ("params", "tokens")}
    for target, aim in _targets(N, D, far).items():
        plan = next_run(start, budget, candidates=table, most=200, seed=seed, **aim)
        rows = zip(plan["params"].values, plan["tokens"].values, strict=True)
        bought[target] = np.array([pool[(table["params"] == n) & (table["tokens"] == d)][0] for n, d in rows])
    outcomes = {arm: runs.isel(run=np.concatenate([first, chosen])) for arm, chosen in bought.items()}
    return _rows("unused", start, widths(start, (N, D, far)), outcomes, len(first), (N, D, far), seed)


def _aim(runs: xr.Dataset) -> tuple[float, float, float]:
    far = 10 * float(runs["compute"].max())
    N = float(np.sqrt(far / 120))
    return N, 20 * N, far


def _targets(N: float, D: float, far: float) -> dict[str, dict]:
    return {
        "loss, drift": {"params": N, "tokens": D},
        "loss, law": {"params": N, "tokens": D, "discrepancy": False},
        "N*, law": {"target": "params", "compute": far, "discrepancy": False},
    }


def widths(tree: xr.DataTree, aim: tuple[float, float, float], discrepancy: bool = True) -> dict[str, float]:
    """Widths of the targets' bands by the law of a fit."""
    N, D, far = aim
    law = np.log(law_loss(law_of(tree), draws_of(tree) | {"N": N, "D": D})).values
    best = np.log(best_split(problem_of(Study.opened(tree)), np.array([[far]])).N)
    found = {"loss, law": width(law), "N*, law": width(best)}
    return found | ({"loss, drift": width_with_drift(tree, aim)} if discrepancy else {})


def _rows(setting, start, before, outcomes, first: int, aim, seed: int) -> list[dict]:
    rows = []
    for arm, runs in outcomes.items():
        if arm == "loss, drift":
            after = {arm: width_with_drift(with_runs(start, runs), aim)}
        else:
            learnt = learn(runs, seed)
            after = widths(learnt, aim, discrepancy=arm == "random")
        for target, width_before in before.items():
            if arm in ("random", target):
                row = {"setting": setting, "target": target, "chosen": arm != "random"}
                row |= {"bought": runs.sizes["run"] - first, "before": width_before, "after": after[target]}
                rows.append(row)
    return rows


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Medians over repeats: the share of the width that each way of buying removed."""
    keys = ["setting", "target", "study", "repeat"]
    wide = table.set_index([*keys, "chosen"])[["before", "after", "bought"]].unstack("chosen")
    removed = {chosen: 1 - wide[("after", chosen)] / wide[("before", chosen)] for chosen in (True, False)}
    frame = pd.DataFrame(
        {
            "before": wide[("before", True)],
            "removed_chosen": removed[True],
            "removed_random": removed[False],
            "more": removed[True] - removed[False],
            "width_ratio": wide[("after", True)] / wide[("after", False)],
            "bought_chosen": wide[("bought", True)],
            "bought_random": wide[("bought", False)],
        }
    )
    medians = frame.groupby(keys[:3]).median()
    medians.insert(3, "times", medians["removed_chosen"] / medians["removed_random"])
    medians.insert(4, "better_in", (frame["more"] > 0).groupby(level=keys[:3]).mean())
    return medians.drop(columns="more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--settings", nargs="+", default=["half", "unused"])
    parser.add_argument("--only", nargs="+", default=list(STUDIES))
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    rows = []
    for setting in args.settings:
        for study in args.only:
            runs = read_runs(args.studies / f"{study}.csv")
            began = time.perf_counter()
            each = half(runs, args.repeats) if setting == "half" else (unused(runs, i) for i in range(args.repeats))
            for repeat, found in enumerate(each):
                rows += [{"study": study, "repeat": repeat, **row} for row in found]
                if args.output:
                    pd.DataFrame(rows).to_csv(args.output, index=False, float_format="%.5g")
            print(f"{setting}, {study}: {time.perf_counter() - began:.0f} s", flush=True)
    print(summary(pd.DataFrame(rows)).round(3).to_string())


if __name__ == "__main__":
    main()
