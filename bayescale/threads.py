"""One thread for linear algebra, so that sums do not depend on the number of cores.

A product of matrices that is split over threads adds up in another order on another number of cores, and differs in its
last digits; random draws amplify them. For matrices of this package's size threads cost more than they give.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Limit:
    """Who is inside: the limit is the whole process's, so the first sets it and the last to leave takes it away."""

    inside: int = 0
    set: Any = None
    lock: Any = field(default_factory=threading.Lock)


_LIMIT = _Limit()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """While it is entered, or for every call of a function that it decorates, BLAS runs in the thread that calls it."""
    import scipy.linalg  # noqa: F401  its own BLAS is limited too, if it is there by now
    from threadpoolctl import threadpool_limits

    with _LIMIT.lock:
        if not _LIMIT.inside:
            _LIMIT.set = threadpool_limits(1, user_api="blas")
        _LIMIT.inside += 1
    try:
        yield
    finally:
        with _LIMIT.lock:
            _LIMIT.inside -= 1
            if not _LIMIT.inside:
                _LIMIT.set.restore_original_limits()
