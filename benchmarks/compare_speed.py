"""How long a comparison of eight joint laws takes, mending included: with everything to compile, and again without.

python -m benchmarks.compare_speed RUNS.csv
"""

import argparse
import time

import bayescale

LAWS = "coupled chinchilla kaplan shared_exponent generalized_kaplan multiplicative rosenfeld farseer".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs")
    runs = bayescale.read_runs(parser.parse_args().runs)
    for what in ("compiling", "compiled"):
        wall, cpu, marks = time.perf_counter(), time.process_time(), []

        def step(done: int, total: int, marks: list[float] = marks) -> None:
            marks.append(time.process_time())

        fits = bayescale.fit_laws(runs, LAWS, progress=step)
        fitted = time.process_time()
        result = bayescale.compare(fits)
        print(
            f"{what}: {time.perf_counter() - wall:.0f} s by the clock, {time.process_time() - cpu:.0f} s of one core "
            f"({fitted - cpu:.0f} fits, {time.process_time() - fitted:.0f} LOO and mending)"
        )
        each = zip(LAWS, [cpu, *marks], marks, strict=False)
        print("  " + ", ".join(f"{law} {end - start:.1f}" for law, start, end in each), flush=True)
    print(bayescale.read(result).frame.to_string())
    print(" ".join(bayescale.read(result).says))


if __name__ == "__main__":
    main()
