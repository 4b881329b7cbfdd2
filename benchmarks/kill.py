"""Kill a fit, a backtest, a batch of fits and a report at random moments, run them again, and compare every byte.

    python -m benchmarks.kill [--kills 20] [--seed 0] [--json]

Every job runs undisturbed once; its files are the reference. Then it is started again and again in another folder and
killed (SIGKILL to all of its processes), at moments drawn evenly over its whole life and, every second time, over the
time in which it writes one of its files. After every kill each file under a name that is not hidden must be there
byte for byte as in the reference, or not at all; every third kill the job is run to its end in what the killed ones
have left, and its files must be all there and the same. The cache of compiled laws begins empty, so that compiling is
killed too.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

POLL_SECONDS = 0.0005
BATCH = """
import sys, bayescale
runs = bayescale.load_dataset("pile")
studies = [(runs.isel(run=slice(i, None)), law) for i in (0, 4) for law in ("chinchilla", "kaplan")]
bayescale.fit_many(studies, seed=3, folder=sys.argv[1] + "/fits")
"""
CLI = (sys.executable, "-m", "bayescale.cli.main")


@dataclass(frozen=True)
class Job:
    """A command that leaves files in {folder}; ``before`` makes what it needs, in {given}.

    Of all kills it gets so large a share.
    """

    name: str
    command: Sequence[str]
    share: float
    before: Sequence[str] = ()


FIT = "fit pile --law chinchilla --below 1e22 --seed 3 --quiet -o"
BACKTEST = "backtest pile --law chinchilla --law kaplan --horizon 0.5 --seed 3 --quiet --resume {folder}/kept"
REPORT = "report {given}/fit.nc --seed 3 --quiet -o {folder}/report.html"
JOBS = (
    Job("fit", (*CLI, *FIT.split(), "{folder}/fit.nc"), 0.3),
    Job(
        "backtest",
        (*CLI, *BACKTEST.split(), "-o", "{folder}/table.csv", "--figure", "{folder}/backtest.png"),
        0.3,
    ),
    Job("fit_many", (sys.executable, "-c", BATCH, "{folder}"), 0.25),
    Job("report", (*CLI, *REPORT.split()), 0.15, before=(*CLI, *FIT.split(), "{given}/fit.nc")),
)


@dataclass(frozen=True)
class Life:
    """An undisturbed run: seconds, the files it left, and seconds from the first sight of a part to its end."""

    seconds: float
    files: dict[str, bytes]
    writing: float


def files(folder: Path) -> dict[str, bytes]:
    """What a user sees in a folder: names and content."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {str(path): (folder / path).read_bytes() for path in paths if not _hidden(path)}


def leftovers(folder: Path) -> list[Path]:
    """What is half written: files below a hidden folder."""
    return [path for path in folder.rglob("*") if path.is_file() and _hidden(path.relative_to(folder))]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _parts(folder: Path) -> set[str]:
    """Names of the folders in which something is being written."""
    found = set()
    for place in (folder, *(path for path in folder.glob("*") if path.is_dir() and path.suffix != ".part")):
        found |= {entry.name for entry in os.scandir(place) if entry.name.endswith(".part")}
    return found


def _start(command: Sequence[str], kernels: Path, **places: Path) -> subprocess.Popen:
    filled = [part.format(**places) if "{" in part and part != BATCH else part for part in command]
    environment = os.environ | {"BAYESCALE_KERNELS": str(kernels)}
    return subprocess.Popen(filled, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)


def _ended(process: subprocess.Popen) -> None:
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(process.args[:6])} ...: {process.stderr.read().strip()}")
    process.stderr.close()


def undisturbed(job: Job, base: Path, given: Path) -> Life:
    folder = base / "reference"
    folder.mkdir()
    begin, seen, gone = time.monotonic(), {}, {}
    process = _start(job.command, base / "kernels of the reference", folder=folder, given=given)
    while process.poll() is None:
        now, parts = time.monotonic(), _parts(folder)
        for name in parts:
            seen.setdefault(name, now)
        for name in set(seen) - parts:
            gone.setdefault(name, now)
        time.sleep(POLL_SECONDS)
    _ended(process)
    writing = max((gone.get(name, now) - at for name, at in seen.items()), default=0.01)
    return Life(time.monotonic() - begin, files(folder), writing)


def killed(
    job: Job, life: Life, kernels: Path, rng: np.random.Generator, at_writing: bool, **places: Path
) -> str | None:
    """Start a job and kill it at a random moment; when that was, or None if it had ended before."""
    begin = time.monotonic()
    moment = begin + rng.uniform(0, life.seconds)
    which = int(rng.integers(1, len(life.files) + 1))  # the file at whose writing it is killed
    old, seen = _parts(places["folder"]), set()
    process = _start(job.command, kernels, **places)
    while process.poll() is None:
        seen |= _parts(places["folder"]) - old
        if at_writing and len(seen) >= which:
            moment, at_writing = time.monotonic() + rng.uniform(0, life.writing), False
        if not at_writing and time.monotonic() >= moment:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stderr.close()
            return f"{time.monotonic() - begin:.2f} s"
        time.sleep(POLL_SECONDS)
    _ended(process)
    return None


def try_job(
    job: Job, base: Path, kills: int, rng: np.random.Generator, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Kill a job so many times; what was seen, as a row of the table."""
    given, folder, kernels = base / "given", base / "killed", base / "kernels"
    for place in (given, folder):
        place.mkdir()
    if job.before:
        _ended(_start(job.before, base / "kernels of the reference", given=given))
    life = undisturbed(job, base, given)
    row = {"job": job.name, "seconds": round(life.seconds, 2), "files": len(life.files), "kills": 0}
    row |= {"half_written": 0, "wrong": 0, "finished": 0, "finished_different": 0, "left_at_the_end": 0}

    def finish() -> None:
        _ended(_start(job.command, kernels, folder=folder, given=given))
        row["finished"] += 1
        row["finished_different"] += files(folder) != life.files
        row["left_at_the_end"] += len(leftovers(folder))
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    while row["kills"] < kills:
        when = killed(job, life, kernels, rng, row["kills"] % 2 == 1, folder=folder, given=given)
        if when is None:  # it had ended before: that run counts as one that went on
            finish()
            continue
        row["kills"] += 1
        found, half = files(folder), len(leftovers(folder))
        row["half_written"] += half > 0
        row["wrong"] += sum(content != life.files.get(name) for name, content in found.items())
        say(f"{job.name}: killed after {when}; {len(found)} of {len(life.files)} files there, {half} half written")
        if row["kills"] % 3 == 0 or row["kills"] == kills:
            finish()
    return row


def run(kills: int, seed: int, say: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """A row a job: kills, half-written and wrong files seen after them, runs that went on and what they left."""
    rng, rows = np.random.default_rng(seed), []
    edges = np.round(kills * np.cumsum([0.0, *(job.share for job in JOBS)])).astype(int)
    for job, count in zip(JOBS, np.diff(edges), strict=True):
        with tempfile.TemporaryDirectory() as base:
            rows.append(try_job(job, Path(base), int(count), rng, say))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = run(given.kills, given.seed, lambda text: print(text, file=sys.stderr))
    if given.json:
        print(json.dumps(rows, indent=2))
    else:
        import pandas as pd

        print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
