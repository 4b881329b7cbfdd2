"""Does comparison find the family that made the data?

    python -m benchmarks.compare_recovery TABLE.csv [--sets 40]     # resumable: a set a row
    python -m benchmarks.compare_recovery TABLE.csv --summary

Sets of runs are simulated from four families: chinchilla, kaplan, coupled with q = 0.5, and a law of one exponent with
a break in the middle of the runs (`benchmarks/laws/broken.toml`; with an exponent for N and one for D besides, chains
mix too slowly). Constants are drawn around published ones, the design is an isoFLOP sweep, the noise Student-t with 5
degrees of freedom and a scale of 0.2 to 0.8 %. All four laws are fitted to every set and compared by LOO.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale
from bayescale.evidence.compare import compare, fit_laws

BROKEN = Path(__file__).parent / "laws" / "broken.toml"
LAWS = ("chinchilla", "kaplan", "coupled", str(BROKEN))
TRUTHS = ("chinchilla", "kaplan", "coupled", "broken")


def design(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An isoFLOP sweep: 5 to 8 budgets over 2 to 3 decades, 6 to 10 sizes at each, tokens per parameter 2 to 500."""
    budgets = np.logspace(18.5, 18.5 + rng.uniform(2, 3), rng.integers(5, 9))
    ratio = np.exp(np.linspace(np.log(2), np.log(500), rng.integers(6, 11)))
    compute, ratio = (grid.ravel() for grid in np.meshgrid(budgets, ratio, indexing="ij"))
    ratio = ratio * np.exp(0.1 * rng.standard_normal(ratio.size))
    N = np.sqrt(compute / (6 * ratio))
    return N, compute / (6 * N)


def true_loss(truth: str, N: np.ndarray, D: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Losses without noise, of constants drawn around published ones."""
    n, d = np.log(N / 3e8), np.log(D / 1e10)
    if truth == "kaplan":
        alpha_n, alpha_d = rng.uniform(0.06, 0.10), rng.uniform(0.08, 0.12)
        share = rng.uniform(0.3, 0.7)
        return 2.8 * (share * np.exp(-n * alpha_n / alpha_d) + (1 - share) * np.exp(-d)) ** alpha_d
    alpha, beta, q = rng.uniform(0.28, 0.40), rng.uniform(0.28, 0.42), 0.5 if truth == "coupled" else 1.0
    beta = alpha if truth == "broken" else beta
    E, reducible, share = rng.uniform(1.5, 1.9), rng.uniform(0.7, 1.1), rng.uniform(0.35, 0.65)
    data_term = (1 - share) * np.exp(-d * beta / q)
    if truth == "broken":
        bend = rng.choice([-1, 1]) * rng.uniform(0.15, 0.3)
        data_term = data_term * (
            np.exp(bend / 2 * (d - d.mean())) * ((1 + np.exp(2 * (d - d.mean()))) / 2) ** (-bend / 2)
        )
    return E + reducible * (share * np.exp(-n * alpha / q) + data_term) ** q


def one_set(truth: str, number: int) -> dict:
    rng = np.random.default_rng([TRUTHS.index(truth), number])
    N, D = design(rng)
    scatter = rng.uniform(0.002, 0.008)
    loss = true_loss(truth, N, D, rng) * np.exp(scatter * rng.standard_t(5, N.size))
    runs = bayescale.read_runs({"params": N, "tokens": D, "loss": loss})
    table = bayescale.read(compare(fit_laws(runs, LAWS, draws=500, seed=number))).frame.set_index("law")
    row = table.loc[truth]
    return {
        "truth": truth,
        "set": number,
        "runs": N.size,
        "scatter": scatter,
        "first": table.index[0],
        "rank": int(row["rank"]),
        "d_elpd": row["elpd_diff"],
        "d_se": row["dse"],
        "found": bool(row["converged"] and (row["rank"] == 0 or abs(row["elpd_diff"]) < 2 * row["dse"])),
        "k_mended": int(table["k_mended"].sum()),
        "k_bad": int(table["k_bad"].sum()),
        "unconverged": int((~table["converged"]).sum()),
        "ties": int((np.abs(table["elpd_diff"]) < 2 * table["dse"]).sum()),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    grouped = table.groupby("truth", sort=False)
    return pd.DataFrame(
        {
            "sets": grouped.size(),
            "found": grouped["found"].mean(),
            "first": grouped["rank"].apply(lambda rank: (rank == 0).mean()),
            "worst_d_elpd": grouped["d_elpd"].min(),
            "ties": grouped["ties"].mean(),
            "k_mended": grouped["k_mended"].sum(),
            "k_bad": grouped["k_bad"].sum(),
            "unconverged": grouped["unconverged"].sum(),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--truths", default=",".join(TRUTHS))
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    rows = pd.read_csv(args.table).to_dict("records") if args.table.exists() else []
    if not args.summary:
        done = {(row["truth"], row["set"]) for row in rows}
        for number in range(args.sets):
            for truth in args.truths.split(","):
                if (truth, number) not in done:
                    rows.append(one_set(truth, number))
                    pd.DataFrame(rows).to_csv(args.table, index=False)
                    print({k: rows[-1][k] for k in ("truth", "set", "first", "d_elpd", "d_se", "found")}, flush=True)
    print(summary(pd.DataFrame(rows)).round(3).to_string())


if __name__ == "__main__":
    main()
