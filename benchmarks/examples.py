"""The raw exports of the tutorial: a chart of W&B with gaps, and the states of six trainings, of made-up runs.

    python -m benchmarks.examples [docs/examples]

The losses are L(N, D) = 1.8 + 482 N^-.348 + 2085 D^-.366 at the end of a run, with .4 % of noise; on the way a run lies
above the law, as its learning rate has not come down.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np

SIZES = {"20M": 20e6, "60M": 60e6, "180M": 180e6, "540M": 540e6}
RATIOS = (10, 20, 40, 80)  # tokens per parameter
TOKENS_A_STEP = 524_288
EVALUATED_EVERY = 250  # steps


def law(N: float, D: float) -> float:
    return 1.8 + 482 * N**-0.348 + 2085 * D**-0.366


def curve(N: float, D: float, rng: np.random.Generator) -> dict[int, float]:
    """Step -> evaluated loss of a run."""
    last = round(D / TOKENS_A_STEP)
    steps = [*range(EVALUATED_EVERY, last, EVALUATED_EVERY), last]
    luck = np.exp(0.004 * rng.standard_normal())
    return {
        step: law(N, step * TOKENS_A_STEP)
        * luck
        * (1 + 0.04 * (1 - step / last))
        * np.exp(1e-3 * rng.standard_normal())
        for step in steps
    }


def chart(path: Path) -> None:
    """A column a run, its step in common, every third point missing here and there, as the tracker samples."""
    rng = np.random.default_rng(1)
    runs = {f"gpt-{name}-{r}tpp": curve(N, r * N, rng) for name, N in SIZES.items() for r in RATIOS}
    steps = sorted({step for one in runs.values() for step in one})
    kept = {step for one in runs.values() for step in (max(one),)} | set(steps[:: max(1, len(steps) // 60)])
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["Step", *(f"{run} - eval/loss{end}" for run in runs for end in ("", "__MIN", "__MAX"))])
        for step in sorted(kept):
            cells = []
            for one in runs.values():
                seen = step in one and (step == max(one) or rng.random() > 0.2)
                cells += [f"{one[step]:.5f}" if seen else ""] * 3
            writer.writerow([step, *cells])


def states(folder: Path) -> None:
    """A folder a run, with the state that its trainer left."""
    rng = np.random.default_rng(2)
    for number, (N, D) in enumerate([(2e7, 4e8), (2e7, 2e9), (8e7, 1.2e9), (8e7, 6e9), (3e8, 4e9), (3e8, 1.5e10)]):
        losses = list(curve(N, D, rng).items())
        losses = losses[:: max(1, len(losses) // 8)][:-1] + losses[-1:]
        last = losses[-1][0]
        log = [{"epoch": round(step / last, 3), "eval_loss": round(loss, 5), "step": step} for step, loss in losses]
        state = {
            "global_step": last,
            "max_steps": last,
            "num_input_tokens_seen": last * TOKENS_A_STEP,
            "total_flos": 6 * N * last * TOKENS_A_STEP,
            "log_history": log,
        }
        (folder / f"run-{number}").mkdir(parents=True, exist_ok=True)
        (folder / f"run-{number}" / "trainer_state.json").write_text(json.dumps(state, indent=1) + "\n")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/examples")
    folder.mkdir(parents=True, exist_ok=True)
    chart(folder / "chart.csv")
    states(folder / "states")


if __name__ == "__main__":
    main()
