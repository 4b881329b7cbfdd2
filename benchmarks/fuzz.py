"""Ten thousand hostile inputs for every parser: is there one that crashes, hangs, eats memory or runs code?

    python -m benchmarks.fuzz [--parser runs] [--inputs 10000] [--seed 0] [--keep FOLDER]
    python -m benchmarks.fuzz --parser laws --atheris 60      # guided by coverage, for so many seconds

Every parser works in a process of its own, under an audit hook that turns into a crash whatever would run a program,
open a connection, unpickle, or execute text. A crash is also: any exception but the package's own, a refusal that is
not one plain sentence, a warning, more than 2 s of CPU for one input or 20 s by the clock, or the death of the process.
Printed is a table: inputs, accepted, refused, crashes, the slowest input, the peak memory of the process, and what it
has without inputs.
"""

import argparse
import faulthandler
import hashlib
import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

DEADLY_SECONDS = 20  # one input that takes longer ends the process
FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pickle.find_class"),
    *("socket.connect", "socket.getaddrinfo", "socket.bind", "webbrowser.open"),
    "urllib.Request",
}


class CodeRunError(BaseException):
    """Something ran that no input may run; not an Exception, so that nothing takes it for a damaged file."""


def forbid_code() -> None:
    """From here on in this process, running what an input says is an error."""
    seen = []

    def hook(event: str, args: tuple) -> None:
        text = event == "exec" and getattr(args[0], "co_filename", "<").startswith("<") and not _known(args[0])
        if (event in FORBIDDEN or text) and not seen:
            seen.append(event)
            try:
                raise CodeRunError(f"{event} {args!r}"[:300])
            finally:
                seen.clear()

    sys.addaudithook(hook)


def _known(code) -> bool:
    """Text that Python's own library executes: data classes, named tuples, frozen modules; Numba's own."""
    return code.co_filename.startswith(("<frozen", "<string>", "<template>", "<attrs", "<__array_function__"))


def work(name: str, inputs: int, seed: int, first: int, state: Path, keep: Path | None) -> None:
    """Bear inputs from ``first`` on; ``state`` always says how far this has come."""
    from benchmarks.hostile import CANARY, FORMATS, SECONDS, TARGETS

    target = (TARGETS | FORMATS)[name]
    warnings.simplefilter("error")
    _warm(target)
    tally = {"accepted": 0, "refused": 0, "crashes": [], "slowest": 0.0, "slowest_input": "", "next": first}
    tally["base_mb"] = tally["peak_mb"] = _megabytes()
    forbid_code()
    for i in range(first, inputs):
        raw = target.make(random.Random(f"{name} {seed} {i}"))
        tally["next"] = i + 1
        if i % 50 == 0:
            state.write_text(json.dumps(tally))
        _current(state).write_bytes(raw)
        _index(state).write_text(str(i))
        faulthandler.dump_traceback_later(DEADLY_SECONDS, exit=True)
        start = time.process_time()
        problem = _bear(target, raw)
        took = time.process_time() - start
        faulthandler.cancel_dump_traceback_later()
        if took > tally["slowest"]:
            tally["slowest"], tally["slowest_input"] = took, i
        # reading a large file takes its time: what hangs is what takes more than its bytes can explain
        if took > SECONDS * max(1.0, len(raw) / 1e6) and not isinstance(problem, str):
            problem = f"{took:.1f} s"
        peak = _megabytes()
        if peak > tally["peak_mb"] + 50:
            tally["peak_mb"], tally["peak_input"] = peak, i
        if CANARY.exists():
            problem = "code was run"
            CANARY.unlink()
        if isinstance(problem, str):
            tally["crashes"].append([i, problem])
            _keep(keep, name, target.suffix, raw)
        else:
            tally["accepted" if problem else "refused"] += 1
    tally["peak_mb"] = _megabytes()
    state.write_text(json.dumps(tally))


def _warm(target) -> None:
    """What is imported late is imported now, before code is forbidden."""
    import llvmlite.binding

    from benchmarks.hostile.runs import bear_file

    platform.processor()  # asks a program once, and remembers
    llvmlite.binding.get_host_cpu_name()
    bear_file(b"params,tokens,loss\n1e8,2e9,3.1\n2e8,4e9,2.9\n")  # few inputs of some kinds are accepted
    for i in range(60):
        _bear(target, target.make(random.Random(f"warm {i}")))


def _bear(target, raw: bytes) -> bool | str:
    """Whether an input was accepted, or what went wrong."""
    try:
        return target.bear(raw)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "bayescale" in f.filename]
        return f"{type(error).__name__}: {str(error)[:200]!r} at {' < '.join(reversed(ours[-3:]))}"


def _megabytes() -> float:
    """What this process has used at most."""
    try:  # Linux: what getrusage says there counts what the parent held when it started this process
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    except (OSError, TypeError):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _current(state: Path) -> Path:
    return state.with_suffix(".input")


def _index(state: Path) -> Path:
    return state.with_suffix(".index")


def _keep(folder: Path | None, name: str, suffix: str, raw: bytes) -> None:
    if folder is not None:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{hashlib.sha256(raw).hexdigest()[:12]}.{suffix}").write_bytes(raw)


def drive(name: str, inputs: int, seed: int, keep: Path | None) -> dict:
    """The tally of one parser; a process that dies is counted as a crash and goes on after the input it died of."""
    from benchmarks.hostile import FORMATS, TARGETS

    total = {"accepted": 0, "refused": 0, "crashes": [], "slowest": 0.0, "base_mb": 0.0, "peak_mb": 0.0}
    first = 0
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.json"
        while first < inputs:
            state.unlink(missing_ok=True)
            _index(state).unlink(missing_ok=True)
            command = [sys.executable, "-m", "benchmarks.fuzz", "--parser", name, "--inputs", str(inputs)]
            command += ["--seed", str(seed), "--work", str(first), str(state), *(["--keep", str(keep)] if keep else [])]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            tally = json.loads(state.read_text()) if state.exists() else {"crashes": []}
            died = done.returncode != 0
            if died and not _index(state).exists():
                raise SystemExit(f"{name}: the worker could not start\n{done.stderr[-2000:]}")
            for key in ("accepted", "refused", "crashes"):
                total[key] += tally.get(key, total[key] * 0)
            for key in ("slowest", "base_mb", "peak_mb"):
                total[key] = max(total[key], tally.get(key, 0.0))
            for key in ("slowest_input", "peak_input"):
                total[key] = tally.get(key, "")
            if not died:
                break
            first = int(_index(state).read_text()) + 1
            why = "hang" if "Timeout" in done.stderr else f"the process died ({done.returncode})"
            total["crashes"].append([first - 1, f"{why}: {done.stderr.strip()[-1500:]}"])
            _keep(keep, name, (TARGETS | FORMATS)[name].suffix, _current(state).read_bytes())
    return total


def guided(name: str, seconds: int, seed: int, keep: Path | None) -> None:
    """Atheris: inputs grown by what code they reach; half of the changes are those of the target's own maker."""
    import atheris

    with atheris.instrument_imports(include=["bayescale"]):
        import benchmarks.hostile as hostile
    target = (hostile.TARGETS | hostile.FORMATS)[name]
    warnings.simplefilter("error")
    _warm(target)
    forbid_code()

    def one(raw: bytes) -> None:
        start = time.perf_counter()
        problem = _bear(target, raw)
        took = time.perf_counter() - start
        if not isinstance(problem, str) and took > hostile.SECONDS * 4:  # instrumented code is slow
            problem = f"{took:.1f} s"
        if isinstance(problem, str):
            _keep(keep, name, target.suffix, raw)
            raise RuntimeError(f"of the input {raw[:500]!r}: {problem}")

    def changed(raw: bytes, size: int, salt: int) -> bytes:
        rng = random.Random(salt)
        kind = rng.random()
        if kind < 0.1:
            return target.make(rng)[:size]
        return target.change(rng, raw)[:size] if kind < 0.5 else atheris.Mutate(raw, size)

    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(50):
            Path(folder, f"{i}").write_bytes(target.make(random.Random(f"{seed} {i}")))
        options = [f"-max_total_time={seconds}", f"-seed={seed + 1}", "-timeout=20", "-rss_limit_mb=1500"]
        options += ["-max_len=20000", "-verbosity=1", f"-artifact_prefix={keep or folder}/"]  # of what hangs or dies
        atheris.Setup([sys.argv[0], *options, folder], one, custom_mutator=changed)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parser", action="append", help="one of the parsers, or a format of tables; may be repeated")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the inputs that crash")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="guided by coverage, for one parser")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.parser[0], given.inputs, given.seed, int(given.work[0]), Path(given.work[1]), given.keep)
        os._exit(0)  # threads of libraries must not keep it
    if given.atheris:
        if len(given.parser or ()) != 1:
            raise SystemExit("--atheris goes with one --parser")
        # libFuzzer's limit is on the peak that getrusage reports, which on Linux is at first that of whoever started
        # this process; a fork of it starts from its own
        if child := os.fork():
            raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return guided(given.parser[0], given.atheris, given.seed, given.keep)
    from benchmarks.hostile import TARGETS

    print(f"{'parser':10} {'inputs':>7} {'accepted':>8} {'refused':>8} {'crashes':>7} {'slowest':>8} {'memory':>16}")
    failed = False
    for name in given.parser or TARGETS:
        tally = drive(name, given.inputs, given.seed, given.keep)
        memory = f"{tally['peak_mb']:.0f} of {tally['base_mb']:.0f} MB"
        print(
            f"{name:10} {given.inputs:7} {tally['accepted']:8} {tally['refused']:8} {len(tally['crashes']):7} "
            f"{tally['slowest']:6.2f} s {memory:>16}",
            flush=True,
        )
        for i, problem in tally["crashes"][:200]:
            print(f"    input {i}: {problem}")
        failed |= bool(tally["crashes"])
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
