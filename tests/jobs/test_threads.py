"""The limit is there while anybody is inside, and gone when the last has left."""

import inspect
import threading

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  its BLAS is another one
from threadpoolctl import threadpool_info, threadpool_limits

from bayescale.fitting.fit import fit
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.jobs.threads import one_blas_thread
from bayescale.study import Study


def counts():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def three():
    """A process whose BLAS has three threads, set by a thread that is gone, as if by the environment."""

    def elsewhere(count):
        thread = threading.Thread(target=lambda: threadpool_limits(count, user_api="blas"))
        thread.start()
        thread.join()

    (before,) = counts()
    elsewhere(3)
    yield
    elsewhere(before)


def test_one_inside_as_before_outside(three):
    @one_blas_thread()
    def inside():
        with one_blas_thread():
            assert counts() == {1}
        return counts()

    assert counts() == {3} and inside() == {1} and counts() == {3} and inside() == {1}
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert counts() == {3}


def test_threads_that_overlap(three):
    """The first to leave must not take the limit from the other, and the last must not leave it behind."""
    first_is_in, first_is_out, second_is_in = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def first():
        with one_blas_thread():
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()

    def second():
        first_is_in.wait(10)
        with one_blas_thread():
            second_is_in.set()
            first_is_out.wait(10)
            seen.append(counts())

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{1}] and counts() == {3}


def test_decorated_functions_keep_their_signature():
    assert "allow_unconverged" in inspect.signature(fit).parameters and fit.__doc__.startswith("Sample the posterior")


def arrays(value):
    """All numbers of a result, as bytes."""
    if hasattr(value, "__dict__"):
        value = list(vars(value).values())
    if isinstance(value, list | tuple):
        return b"".join(map(arrays, value))
    return np.asarray(value).tobytes()


@pytest.mark.slow
def test_bits_of_the_drift_do_not_depend_on_threads(true_fit, crossed_runs):
    """Products of matrices with a few hundred rows, which differ on two threads if they are let."""
    study = Study.opened(true_fit(draws=400, runs=crossed_runs(20, 20)))
    limited, free = [], []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            limited.append(arrays(discrepancy_of(study).by_scale))
            free.append(arrays(discrepancy_of.__wrapped__(study).by_scale))
    assert limited[0] == limited[1] == free[0] and len(free[0]) > 10**5
    if limited[0] == free[1]:
        pytest.skip("this BLAS gives the same bits on two threads")
