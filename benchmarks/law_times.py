"""What a fit of every law takes on 200 runs, in seconds of processors, as a multiple of the law 'chinchilla'.

    python -m benchmarks.law_times [LAW ...] [--table docs/law-times.csv]

Runs are simulated as in benchmarks.recovery, three sets a law; the first fit, which compiles, is not counted. A fit
whose chains mix slowly is tried again with slower settings of the sampler, and that time is counted.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale
from bayescale.fitting.diagnostics import diagnostics
from bayescale.jobs.files import write_table
from bayescale.laws.law import law_names, load_law
from benchmarks import recovery

RUNS, SETS = 200, 3


def seconds(name: str) -> tuple[float, int]:
    """Median of the warm fits, and how many of them converged."""
    law, times, converged = load_law(name), [], 0
    for seed in (0, *range(SETS)):
        runs, _ = recovery.simulated(law, seed, RUNS)
        started = time.process_time()
        tree = bayescale.fit(runs, law, seed=seed, allow_unconverged=True)
        times.append(time.process_time() - started)
        converged += len(times) > 1 and diagnostics(tree)["converged"]
    return float(np.median(times[1:])), converged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("laws", nargs="*", default=law_names())
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    rows, base = [], None
    for name in dict.fromkeys(("chinchilla", *given.laws)):
        taken, converged = seconds(name)
        base = base or taken
        rows.append(
            {
                "law": name,
                "seconds": round(taken, 2),
                "times_chinchilla": round(taken / base, 2),
                "converged": f"{converged} of {SETS}",
            }
        )
        print(
            f"{name:20s} {taken:7.2f} s   {taken / base:6.2f} times chinchilla   {converged} of {SETS} converged",
            flush=True,
        )
    if given.table:
        write_table(pd.DataFrame(rows), given.table)


if __name__ == "__main__":
    main()
