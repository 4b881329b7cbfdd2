"""One thread for linear algebra, so that sums do not depend on the number of cores; all cores for work in parts.

A product of matrices that is split over threads adds up in another order on another number of cores, and differs in its
last digits; random draws amplify them. For matrices of this package's size threads cost more than they give.
"""

import contextlib
import contextvars
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Limit:
    """Count of callers: the limit is the process's, so the first caller sets it and the last one removes it."""

    inside: int = 0
    set: Any = None
    lock: Any = field(default_factory=threading.Lock)
    of_thread: Any = field(default_factory=threading.local)


_LIMIT = _Limit()
BLOCK_NUMBERS = 2**16  # per block, so that its arrays fit in the cache


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """While it is entered, or for every call of a function that it decorates, BLAS runs in the thread that calls it.

    That is NumPy's, and SciPy's where ``scipy.linalg`` is loaded by then: modules that use it import it at their top.
    """
    if getattr(_LIMIT.of_thread, "inside", False):
        yield
        return
    with _LIMIT.lock:
        if not _LIMIT.inside:
            _LIMIT.set = _elsewhere(_set_limit)
        _LIMIT.inside += 1
    _LIMIT.of_thread.inside = True
    try:
        with _set_limit():  # once more, for BLAS whose limits belong to threads, which OpenMP's do
            yield
    finally:
        _LIMIT.of_thread.inside = False
        with _LIMIT.lock:
            _LIMIT.inside -= 1
            if not _LIMIT.inside:
                _elsewhere(_LIMIT.set.restore_original_limits)


def _set_limit() -> Any:
    """Set the limit; leaving the context that is returned removes it."""
    return _libraries(len(sys.modules)).limit(limits=1, user_api="blas")


@functools.lru_cache(maxsize=1)
def _libraries(modules_loaded: int) -> Any:
    """The loaded BLAS libraries. The search takes milliseconds, so it is repeated only after new imports."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _elsewhere(function: Callable[[], Any]) -> Any:
    """The result of a function called in a thread of its own: with threadpoolctl, a living thread that set the limit
    of the process would be the only one that can remove it."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads[Part, Result](work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Results of ``work`` for every part, in order, on all cores; for compiled code that releases the lock."""
    if len(parts) == 1:
        return [work(parts[0])]
    with ThreadPoolExecutor(cores()) as pool:
        # threads do not inherit NumPy's settings of warnings
        contexts = [contextvars.copy_context() for _ in parts]
        return list(pool.map(lambda context, part: context.run(work, part), contexts, parts))


def blocks(rows: int, columns: int) -> list[slice]:
    """The rows of a table as slices of about BLOCK_NUMBERS numbers each, the same on any number of cores."""
    step = max(1, BLOCK_NUMBERS // columns)
    return [slice(first, first + step) for first in range(0, rows, step)]
