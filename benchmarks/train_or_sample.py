"""How often the band of the best number of samples, and of the best N, holds the truth, on simulated worlds.

    python -m benchmarks.train_or_sample [SETS]

Each set: 36 runs of Besiroglu's law with .4 % of noise, and coverage of four models at six numbers of samples, of 300
problems each; both laws are fitted, the budget of 1e24 FLOP is split, and compared with the best by brute force.
"""

import sys

import numpy as np

import bayescale

E, A, B, ALPHA, BETA = 1.8172, 482.01, 2085.43, 0.3478, 0.3659
RATE, STEEPNESS, DECAY = 2.0, 3.0, 0.3
BUDGET, ASKED = 1e24, 1e12


def loss_of(N, D):
    return E + A * N**-ALPHA + B * D**-BETA


def coverage_of(loss, k):
    return np.exp(-RATE * np.exp(STEEPNESS * (loss - 2.5)) * k**-DECAY)


def truth():
    """Samples and N of the best split, by a fine grid."""
    N, k = np.meshgrid(np.geomspace(1e9, 1e12, 2000), np.geomspace(1, 1e4, 1600))
    D = (BUDGET / N - 2 * ASKED * k) / 6
    with np.errstate(all="ignore"):
        gives = np.where(D > 0, coverage_of(loss_of(N, D), k), 0.0)
    at = np.unravel_index(np.argmax(gives), gives.shape)
    return {"samples": k[at], "N": N[at]}


def one_set(seed):
    rng = np.random.default_rng(seed)
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(5e7, 3e9, 6), np.geomspace(1e9, 1e11, 6)))
    runs = {"params": N, "tokens": D, "loss": loss_of(N, D) * np.exp(0.004 * rng.standard_normal(36))}
    loss, k = np.repeat([2.1, 2.4, 2.7, 3.0], 6), np.tile(np.geomspace(1, 1000, 6).round(), 4)
    solved = rng.binomial(300, coverage_of(loss, k)) / 300
    sampled = {"loss": loss, "samples": k, "items": np.full(24, 300.0), "coverage": solved}
    fits = [
        bayescale.fit(table, law, quick=True, draws=500, seed=seed, allow_unconverged=True)
        for table, law in ((runs, "chinchilla"), (sampled, "coverage_of_loss"))
    ]
    return bayescale.train_or_sample(*fits, BUDGET, given={"T": ASKED}, seed=seed).isel(budget=0)


def main():
    sets, best = int(sys.argv[1]) if len(sys.argv) > 1 else 100, truth()
    held = {name: [] for name in best}
    for seed in range(sets):
        result = one_set(seed)
        for name, value in best.items():
            low, high = np.quantile(result[name], [0.05, 0.95])
            held[name].append(low <= value <= high)
    for name, value in best.items():
        print(f"{name}: best {value:.4g}, inside the 90 % band in {np.mean(held[name]):.2f} of {sets} sets")


if __name__ == "__main__":
    main()
