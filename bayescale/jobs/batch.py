"""Many tasks, one function: here, in worker processes or on a Dask cluster, with the same results in the same order.

Every task runs with one BLAS thread: sums split over threads differ in their last digits. A task that fails leaves a
:class:`Failure`. A task whose worker died runs again, alone, as another may have been the cause; a task that kills its
worker DEATHS_MAX times is given up.
"""

import hashlib
import json
import logging
import os
import queue
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayescale.errors import FitError
from bayescale.jobs.executors import Workers, open_executor
from bayescale.jobs.files import make_folder
from bayescale.jobs.threads import one_blas_thread
from bayescale.jobs.versions import versions

DEATHS_MAX = 2  # of workers that ran one task alone: then the task is to blame
WORKERS_POLL_SECONDS = 5.0  # without a result before the executor is asked for its workers
NO_WORKERS_SECONDS = 60.0  # before the remaining tasks are given up
# errors of a worker and not of its task; Dask's are known by name, so that it is not imported
KILLED_ERROR = "KilledWorker"  # raised after several tries by Dask
DEATH_ERRORS = {KILLED_ERROR, "FutureCancelledError", "FutureLostError", "CommClosedError"}


@dataclass(frozen=True)
class Failure:
    """The result of a task that failed.

    Attributes
    ----------
    kind : the class of the error
    why : its message, after the class of an error that is not bayescale's own
    trace : where it was raised, for reports of bugs
    """

    kind: str
    why: str
    trace: str = field(default="", compare=False, repr=False)


def run_batch(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    executor: Any = None,
    arrived: Callable[[int, Any], None] | None = None,
) -> list[Any]:
    """``[function(task) for task in tasks]``, with a :class:`Failure` where that raised an error.

    Raises FitError if the function or the executor is none, or its worker processes cannot start.

    Parameters
    ----------
    function : of a module, and its result a function of the task alone: it may run twice, and anywhere
    tasks : small things that can be pickled
    executor : what runs them, see :func:`open_executor`; None is this process, one after the other
    arrived : called in this thread with (index, result) as results come in, once each, in whatever order they come

    Returns
    -------
    One result a task, in the order of the tasks.
    """
    if not callable(function):
        raise FitError(f"run_batch applies a function to every task; a {type(function).__name__} is none")
    tasks, results = list(tasks), {}

    def keep(i: int, result: Any) -> None:
        results[i] = result
        if arrived is not None:
            arrived(i, result)

    with one_blas_thread(), open_executor(executor if tasks else None) as workers:
        if workers is None:
            for i, task in enumerate(tasks):
                keep(i, _result(function, task, versions()))
        else:
            _run_elsewhere(function, tasks, workers, keep)
    return [results[i] for i in range(len(tasks))]


def run_kept(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    folder: "str | os.PathLike[str] | None",
    *,
    name: Callable[[Any], str],
    read: Callable[[Path], Any],
    write: Callable[[Any, Path], object],
    executor: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """:func:`run_batch` that resumes where it was killed: results are kept in a folder, and read from it.

    Parameters
    ----------
    tasks : a :class:`Failure` among them is its own result
    folder : where results are kept, made if need be; None keeps nothing
    name : file name of a task, unique to everything that determines its result
    read : the result in a file; None where it is missing or damaged
    write : writes a result that is no :class:`Failure` to a file
    progress : called with (results so far, results in all)
    """
    results = [task if isinstance(task, Failure) else None for task in tasks]
    paths: dict[int, Path] = {}
    for i, task in enumerate(tasks):
        if folder is not None and results[i] is None:
            paths[i] = make_folder(folder) / name(task)
            results[i] = read(paths[i])
    missing = [i for i, result in enumerate(results) if result is None]
    done = len(results) - len(missing)
    if progress is not None and done:
        progress(done, len(results))

    def arrived(k: int, result: Any) -> None:
        nonlocal done
        done += 1
        if paths and not isinstance(result, Failure):
            write(result, paths[missing[k]])
        if progress is not None:
            progress(done, len(results))

    made = run_batch(function, [tasks[i] for i in missing], executor=executor, arrived=arrived)
    for i, result in zip(missing, made, strict=True):
        results[i] = result
    return results


def digest(about: Any) -> str:
    """A short hash of what determines a result, for names of files."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _result(function: Callable[[Any], Any], task: Any, expected: dict[str, str]) -> Any:
    """What a worker sends back; an error as text, since not every exception can be pickled."""
    here = versions()
    if here != expected:
        name = next(name for name in expected if here.get(name) != expected[name])
        why = f"the worker has {name} {here.get(name)}, the sender {expected[name]}; results would not be the same"
        return Failure("VersionError", f"{why}, give both the same versions")
    try:
        with one_blas_thread():
            return function(task)
    except Exception as error:
        return Failure(type(error).__name__, _text(error), traceback.format_exc())


def _run_elsewhere(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    workers: Workers,
    keep: Callable[[int, Any], None],
) -> None:
    """Run tasks and hand on every result; tasks whose worker died run again, alone."""
    waiting = deque(range(len(tasks)))
    suspects: deque[int] = deque()
    running: dict[Future[Any], tuple[int, bool]] = {}
    deaths: Counter[int] = Counter()
    done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    try:
        while waiting or suspects or running:
            alone = bool(suspects)
            while _room(waiting, suspects, running, workers.most):
                i = (suspects if alone else waiting).popleft()
                try:
                    future = workers.submit(_result, function, tasks[i], versions())
                except FitError:  # our own workers cannot start
                    raise
                except Exception as error:  # shut down, or broken and not ours to replace
                    keep(i, Failure(type(error).__name__, f"the executor takes no more tasks: {_text(error)}"))
                    continue
                running[future] = i, alone
                future.add_done_callback(done.put)
            if not running:
                continue
            finished = _next(done, workers)
            if finished is None:
                why = f"there have been no workers for {NO_WORKERS_SECONDS:.0f} s; start some, and run the same again"
                for i in (*(i for i, _ in running.values()), *suspects, *waiting):
                    keep(i, Failure("NoWorkers", why))
                return
            i, alone = running.pop(finished)
            raised = _error(finished)
            if raised is None:
                keep(i, finished.result())
            elif not (isinstance(raised, BrokenExecutor | CancelledError) or type(raised).__name__ in DEATH_ERRORS):
                keep(i, Failure(type(raised).__name__, _text(raised)))
            else:
                deaths[i] += alone
                if deaths[i] >= (1 if type(raised).__name__ == KILLED_ERROR else DEATHS_MAX):
                    keep(i, Failure("WorkerDied", "its worker died each time (killed, or out of memory)"))
                else:
                    suspects.append(i)
    finally:
        for future in running:
            workers.cancel(future)


def _next(done: queue.SimpleQueue[Future[Any]], workers: Workers) -> Future[Any] | None:
    """The next finished task; None where there have been no workers for NO_WORKERS_SECONDS."""
    gone = None
    while True:
        try:
            return done.get(timeout=WORKERS_POLL_SECONDS)
        except queue.Empty:
            if workers.alive():
                gone = None
            elif gone is None:
                gone = time.monotonic()
                logging.getLogger("bayescale").warning(
                    "the last worker is gone; what it has done is kept, the rest waits %.0f s for others",
                    NO_WORKERS_SECONDS,
                )
            elif time.monotonic() - gone > NO_WORKERS_SECONDS:
                return None


def _room(waiting: deque[int], suspects: deque[int], running: dict[Any, tuple[int, bool]], most: int) -> bool:
    """Whether a task may start; a suspect runs alone."""
    if suspects or any(alone for _, alone in running.values()):
        return bool(suspects) and not running
    return bool(waiting) and len(running) < most


def _error(future: Future[Any]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _text(error: BaseException) -> str:
    """The message of an error; of one that is not ours, with its class, which often says more."""
    ours = type(error).__module__.startswith("bayescale.")
    return str(error) if ours else f"{type(error).__name__}: {error}".removesuffix(": ")
