"""Bands of E and alpha where half of the runs are measured much more precisely than the others.

``python -m benchmarks.known_errors [SETS]`` prints the share of 90 % bands that hold the truth, and how
wide they are with ``loss_se`` relative to without, beside the same by Fisher's information.
"""

import sys

import numpy as np

import bayescale as bs

RUNS, OWN, PRECISE, COARSE = 60, 0.002, 0.002, 0.03


def simulated(seed):
    """Runs of a Chinchilla law near Hoffmann's constants, and these constants."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.5, 9.5, RUNS), 10 ** rng.uniform(9.5, 11.5, RUNS)
    truth = {"E": rng.uniform(1.5, 1.9), "alpha": rng.uniform(0.3, 0.38), "beta": rng.uniform(0.28, 0.38)}
    terms = 0.5 * (N / 3e8) ** -truth["alpha"], 0.5 * (D / 3e10) ** -truth["beta"]
    exact = truth["E"] + sum(terms)
    relative = np.where(np.arange(RUNS) % 2, COARSE, PRECISE)
    loss = exact * np.exp(rng.standard_normal(RUNS) * np.hypot(relative, OWN))
    slopes = np.stack([np.ones(RUNS), *terms, -terms[0] * np.log(N / 3e8), -terms[1] * np.log(D / 3e10)]) / exact
    known, unknown = (
        np.linalg.inv(slopes / scale**2 @ slopes.T)
        for scale in (np.hypot(relative, OWN), np.full(RUNS, np.sqrt(np.mean(relative**2 + OWN**2))))
    )
    narrower = {"E": np.sqrt(known[0, 0] / unknown[0, 0]), "alpha": np.sqrt(known[3, 3] / unknown[3, 3])}
    return {"params": N, "tokens": D, "loss": loss, "se": loss * relative}, truth, narrower


def main(sets=200):
    held = {name: [] for name in ("E", "alpha")}
    ratios = {name: [] for name in held}
    theory = {name: [] for name in held}
    for seed in range(sets):
        table, truth, narrower = simulated(seed)
        options = {"law": "chinchilla", "noise": "normal", "seed": seed, "quick": True, "clusters": "none"}
        fits = [bs.fit(table, columns={"loss_se": "se"}, **options), bs.fit(table, **options)]
        for name in held:
            (low, high), wide = (np.quantile(fit["posterior"][name], [0.05, 0.95]) for fit in fits)
            held[name].append(low <= truth[name] <= high)
            ratios[name].append((high - low) / np.ptp(wide))
            theory[name].append(narrower[name])
    for name in held:
        ratio, expected = (float(np.exp(np.mean(np.log(one[name])))) for one in (ratios, theory))
        print(f"{name}: 90 % band holds {np.mean(held[name]):.3f} of {sets} sets")
        print(f"  its width is {ratio:.2f} of that without; theory {expected:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
