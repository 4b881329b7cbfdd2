"""The same posteriors from another engine: emcee's ensembles on densities written by hand.

    python -m benchmarks.independent [RUNS.csv ...] [--draws 4000] [--steps 20000] [--table docs/independent.csv]

Laws chinchilla, kaplan and coupled on each file (by default the embedded runs of the Pile). What is written here shares
no code with the package: columns are read by NumPy, reference constants, priors, noise, laws and derived constants are
written out, and emcee (extra `bench`) moves by differential evolution, without gradients. Posterior means and 5, 50
and 95 % points are compared in units of the Monte Carlo error of their difference: ours by autocorrelation within and
between chains (ArviZ), emcee's by means of batches of many autocorrelation times. Amplitudes are compared as
logarithms.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln

WALKERS, BATCHES = 64, 50
WARMUP = 0.2  # share of emcee's steps that is thrown away
POINTS = (0.05, 0.5, 0.95)


def main() -> None:
    import bayescale

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    embedded = Path(bayescale.__file__).parent / "runs" / "pile.csv"
    parser.add_argument("runs", nargs="*", type=Path, default=[embedded])
    parser.add_argument("--laws", default="chinchilla,kaplan,coupled")
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    tables = []
    for path in given.runs:
        for law in given.laws.split(","):
            table = compared(path, law, given.draws, given.steps)
            tables.append(table)
            worst = table.loc[table.z.abs().idxmax()]
            print(
                f"{path.stem:24s} {law:12s} {len(table):3d} comparisons, largest |z| {abs(worst.z):.2f} "
                f"({worst.quantity}, {worst.statistic}); z has sd {table.z.std():.2f}; "
                f"emcee: autocorrelation {table.autocorrelation.iloc[0]:.0f} steps",
                flush=True,
            )
    whole = pd.concat(tables)
    print(f"{len(whole)} comparisons, largest |z| {whole.z.abs().max():.2f}, sd of z {whole.z.std():.2f}")
    if given.table:
        from bayescale.jobs.files import write_table

        write_table(whole.round({"ours": 6, "emcee": 6, "error": 7, "z": 3, "autocorrelation": 1}), given.table)


def compared(path: Path, law: str, draws: int, steps: int) -> pd.DataFrame:
    """A row a quantity and statistic: ours, emcee's, the Monte Carlo error of their difference, and z."""
    ours = from_package(path, law, draws)
    theirs, autocorrelation = from_emcee(path, law, steps)
    rows = []
    for name, walkers in theirs.items():
        for statistic in ("mean", *POINTS):
            here, here_error = of_chains(ours[name], statistic)
            there, there_error = of_ensemble(walkers, statistic)
            error = np.hypot(here_error, there_error)
            row = {"study": path.stem, "law": law, "quantity": name}
            row |= {"statistic": "mean" if statistic == "mean" else f"q{round(100 * statistic):02d}"}
            row |= {"ours": here, "emcee": there, "error": error, "z": (here - there) / error}
            rows.append(row | {"autocorrelation": autocorrelation})
    return pd.DataFrame(rows)


# ---- the package ----------------------------------------------------------------------------------------------------


def from_package(path: Path, law: str, draws: int) -> dict[str, np.ndarray]:
    """Posterior draws [chain, draw] of the package, of what :func:`quantities` names."""
    import bayescale

    posterior = bayescale.fit(path, law, draws=draws, seed=11)["posterior"]
    found = {name: posterior[name].values for name in posterior.data_vars}
    return found | {f"log {name}": np.log(found[name]) for name in ("A", "B", "N_c", "D_c") if name in found}


def of_chains(draws: np.ndarray, statistic: Any) -> tuple[float, float]:
    import arviz_stats

    if statistic == "mean":
        return float(draws.mean()), float(arviz_stats.mcse(draws, method="mean"))
    error = arviz_stats.mcse(draws, method="quantile", prob=statistic)
    return float(np.quantile(draws, statistic)), float(error)


# ---- by hand --------------------------------------------------------------------------------------------------------


def from_emcee(path: Path, law: str, steps: int) -> tuple[dict[str, np.ndarray], float]:
    """Draws [step, walker] of emcee, and its autocorrelation time in steps."""
    import emcee
    from scipy.optimize import minimize

    density, constants, count = by_hand(path, law)
    rng = np.random.default_rng(5)
    places = 0.5 * rng.standard_normal((8, count))
    with np.errstate(all="ignore"):
        tries = [minimize(lambda x: -density(x[None])[0], place, method="BFGS") for place in places]
    best = min((one for one in tries if np.isfinite(one.fun)), key=lambda one: one.fun)
    start = (
        best.x
        + 0.3 * rng.standard_normal((WALKERS, count)) @ np.linalg.cholesky(best.hess_inv + 1e-8 * np.eye(count)).T
    )
    # without the snooker move: as written in emcee 3.1.6 its step grows with the distance from the third walker, the
    # factor that should account for it does not, and bands come out some 4 % too narrow when it is a tenth of the moves
    moves = [(emcee.moves.DEMove(), 0.9), (emcee.moves.StretchMove(), 0.1)]
    sampler = emcee.EnsembleSampler(WALKERS, count, density, vectorize=True, moves=moves)
    np.random.seed(7)  # emcee draws from NumPy's global state
    sampler.run_mcmc(start, steps)
    chain = sampler.get_chain(discard=int(WARMUP * steps))
    autocorrelation = float(np.max(emcee.autocorr.integrated_time(chain, quiet=True)))
    flat = chain.reshape(-1, count)
    return {
        name: value.reshape(chain.shape[:2]) for name, value in quantities(flat, law, constants).items()
    }, autocorrelation


def of_ensemble(walkers: np.ndarray, statistic: Any) -> tuple[float, float]:
    """A statistic of draws [step, walker] and its error: walkers depend on each other, batches of steps hardly do."""
    length = len(walkers) // BATCHES

    def error(series: np.ndarray) -> float:
        means = series[: length * BATCHES].reshape(BATCHES, -1).mean(axis=1)
        return float(means.std(ddof=1) / np.sqrt(BATCHES))

    if statistic == "mean":
        return float(walkers.mean()), error(walkers)
    value = np.quantile(walkers, statistic)
    share = error((walkers <= value).astype(float))
    low, high = np.quantile(walkers, np.clip([statistic - share, statistic + share], 0, 1))
    return float(value), float(high - low) / 2


NOISE = ("sigma", "tilt", "nu_minus_2")
NAMES = {
    "chinchilla": ("level", "slope", "lean", "floor", "share", *NOISE),
    "kaplan": ("level", "slope", "lean", "share", *NOISE),
    "coupled": ("level", "slope", "lean", "floor", "share", "q", *NOISE),
}
# mean and sd of each parameter's normal coordinate: its logarithm, its logit, or itself; nu - 2 is Gamma(2, .1)
PRIORS = {
    "level": (0.15, 0.3),
    "slope": (-2.3, 0.6),
    "lean": (0.0, 0.5),
    "floor": (0.7, 0.75),
    "share": (0.0, 1.0),
    "q": (0.0, 0.4),
    "sigma": (-5.0, 1.0),
    "tilt": (0.0, 0.2),
}


def values(x: np.ndarray, law: str, refs: dict[str, float]) -> dict[str, np.ndarray]:
    """Parameters [position] from positions in units of the priors; of nu - 2 the position is log((nu - 2)/10).

    ``F`` is the share of the floor at the reference point: its odds are those of ``floor`` times (N D / 1e18)**.11.
    """
    found = {}
    for name, column in zip(NAMES[law], x.T, strict=True):
        if name == "nu_minus_2":
            found[name] = 10 * np.exp(column)
            continue
        mean, sd = PRIORS[name]
        u = mean + sd * column
        found[name] = (
            u if name in ("lean", "tilt") else 1 / (1 + np.exp(-u)) if name in ("floor", "share") else np.exp(u)
        )
    if "floor" in found:
        odds = found["floor"] / (1 - found["floor"]) * (refs["N"] * refs["D"] / 1e18) ** 0.11
        found["F"] = odds / (1 + odds)
    return found


def exponents(p: dict[str, np.ndarray], law: str) -> tuple[np.ndarray, np.ndarray]:
    """Of N and D, from the slope along the diagonal and the log of their ratio."""
    falls = p["slope"] / (1 - p["F"]) if law != "kaplan" else p["slope"]
    alpha = falls / (p["share"] + (1 - p["share"]) * np.exp(-p["lean"]))
    return alpha, alpha * np.exp(-p["lean"])


def by_hand(path: Path, law: str) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, float], int]:
    """Log posterior of positions [position, parameter], reference constants, number of parameters."""
    runs = pd.read_csv(path)
    N, D, loss = (runs[name].to_numpy(float) for name in ("params", "tokens", "loss"))
    C = runs["compute"].to_numpy(float) if "compute" in runs else 6 * N * D
    refs = {"N": float(np.exp(np.log(N).mean())), "D": float(np.exp(np.log(D).mean())), "L": float(loss.min())}
    n, d, c, seen = np.log(N / refs["N"]), np.log(D / refs["D"]), np.log(C), np.log(loss / refs["L"])
    c = c - c.mean()

    def density(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            p = {name: value[:, None] for name, value in values(x, law, refs).items()}
            alpha, beta = exponents(p, law)
            share = p["share"]
            if law == "kaplan":
                mean = beta * np.log(share * np.exp(-alpha / beta * n) + (1 - share) * np.exp(-d))
            else:
                q = p.get("q", 1.0)
                short = (share * np.exp(-alpha / q * n) + (1 - share) * np.exp(-beta / q * d)) ** q
                mean = np.log(p["F"] + (1 - p["F"]) * short)
            scale = 1e-4 + p["sigma"] * np.exp(p["tilt"] * c)
            nu, z = p["nu_minus_2"] + 2, (seen - np.log(p["level"]) - mean) / scale
            each = -np.log(scale) - (nu + 1) / 2 * np.log1p(z * z / nu)
            nu = nu[:, 0]
            total = each.sum(axis=1) + len(seen) * (gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi))
            # standard normal positions; Gamma(2, .1) of nu - 2 = 10 exp(x), with the Jacobian
            total += -0.5 * (x[:, :-1] ** 2).sum(axis=1) + 2 * x[:, -1] - np.exp(x[:, -1])
        return np.where(np.isfinite(total), total, -np.inf)

    return density, refs, len(NAMES[law])


def quantities(x: np.ndarray, law: str, refs: dict[str, float]) -> dict[str, np.ndarray]:
    """Parameters and the constants that papers print [position]."""
    p = values(x, law, refs)
    alpha, beta = exponents(p, law)
    level, share = np.log(refs["L"] * p["level"]), p["share"]
    if law == "kaplan":
        derived = {"alpha_N": alpha, "alpha_D": beta}
        derived["log N_c"] = np.log(refs["N"]) + (np.log(share) + level / beta) * beta / alpha
        derived["log D_c"] = np.log(refs["D"]) + np.log(1 - share) + level / beta
    else:
        q, falls = p.get("q", 1.0), level + np.log(1 - p["F"])
        derived = {"alpha": alpha, "beta": beta, "E": np.exp(level) * p["F"]}
        derived["log A"] = falls + q * np.log(share) + alpha * np.log(refs["N"])
        derived["log B"] = falls + q * np.log(1 - share) + beta * np.log(refs["D"])
    return {name: value for name, value in p.items() if name != "F"} | derived | {"a": beta / (alpha + beta)}


if __name__ == "__main__":
    main()
