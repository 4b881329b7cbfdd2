"""Executors: worker processes of this machine, a Dask cluster, or any object with ``submit``."""

import asyncio
import contextlib
import multiprocessing
import numbers
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bayescale.errors import FitError, needed
from bayescale.field import shown

CONNECT_SECONDS = 4.0  # until a scheduler has answered
WORKERS_SECONDS = 30.0  # until the first worker of a cluster is there
ANSWER_SECONDS = 5.0  # until a scheduler has listed its workers


@dataclass(frozen=True)
class Workers:
    """What runs tasks.

    Attributes
    ----------
    submit : as in ``concurrent.futures``
    most : tasks to submit at a time
    alive : whether there are workers, where these can come and go
    cancel : gives up a task
    """

    submit: Callable[..., Future[Any]]
    most: int = sys.maxsize
    alive: Callable[[], bool] = lambda: True
    cancel: Callable[[Future[Any]], object] = Future.cancel


@contextlib.contextmanager
def open_executor(executor: Any) -> Iterator[Workers | None]:
    """Workers that serve many batches; every function with the option ``executor`` takes the same, for one batch.

    Parameters
    ----------
    executor : None (this process), a number of worker processes on this machine, the address of a Dask scheduler
        (``"tcp://10.0.0.1:8786"``), a Dask client, or whatever has the ``submit`` of ``concurrent.futures``

    Raises
    ------
    FitError
        If it is none of these, worker processes cannot start, no scheduler answers, or it has no workers.

    Examples
    --------
    >>> with bayescale.open_executor(None) as executor:  # here, in this process
    ...     print(executor)
    None
    """
    if executor is None or isinstance(executor, Workers):
        yield executor
    elif isinstance(executor, str) and "://" in executor:
        with _cluster(executor) as client:
            yield _of_client(client)
    elif hasattr(executor, "get_executor"):
        yield _of_client(executor)
    elif hasattr(executor, "submit"):
        yield Workers(executor.submit)
    elif isinstance(executor, numbers.Integral) and not isinstance(executor, bool) and int(executor) >= 1:
        with _processes(int(executor)) as submit:
            yield Workers(submit, int(executor) + 1)  # one more than can run, so that no worker waits for us
    else:
        raise FitError(
            f"executor = {shown(executor)}: None, a number of worker processes of at least 1, the address of a "
            "Dask scheduler (tcp://10.0.0.1:8786), a Dask client or an executor of concurrent.futures is expected"
        )


def _of_client(client: Any) -> Workers:
    def alive() -> bool:
        try:
            return bool(client.sync(client.scheduler.identity, callback_timeout=ANSWER_SECONDS)["workers"])
        except Exception:  # no scheduler either
            return False

    def cancel(future: Future[Any]) -> None:
        if client.status == "running":  # a closed client prints a traceback for every task
            future.cancel()

    submit = client.get_executor(pure=False).submit  # pure tasks that are equal would be one, dead or alive
    return Workers(submit, alive=alive, cancel=cancel)


@contextlib.contextmanager
def _processes(count: int) -> Iterator[Callable[..., Future[Any]]]:
    """``submit`` of a pool of worker processes, which is replaced when one of them dies."""
    pool = None

    def submit(*call: Any) -> Future[Any]:
        nonlocal pool
        if pool is None:
            pool = _pool(count)
            _check_start(pool)
        try:
            return pool.submit(*call)
        except BrokenExecutor:
            pool.shutdown()
            pool = _pool(count)
            return pool.submit(*call)

    try:
        yield submit
    except BaseException:  # an interrupt, most often: what is under way may take as long as a fit does
        for process in list((pool._processes or {}).values()) if pool is not None else ():
            process.kill()
        raise
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _check_start(pool: Any) -> None:
    try:
        pool.submit(os.getpid).result()
    except (BrokenExecutor, RuntimeError):  # the second is what such a script meets in the worker
        raise FitError(
            "the worker processes died while they started; in a script, everything that it does must stand under "
            "\"if __name__ == '__main__':\", since every worker reads the script first"
        ) from None


def _pool(count: int) -> Any:
    from concurrent.futures import ProcessPoolExecutor

    # forking a process in which BLAS, Numba or nutpie have threads can leave the child waiting for ever
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """In a new worker: leave interrupts to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end(parent: Any) -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, args=(multiprocessing.parent_process(),), daemon=True).start()


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """A client of a Dask scheduler that has workers."""
    with needed("distributed", "a Dask scheduler", "dask", FitError):
        from distributed import Client
        from distributed.comm import CommClosedError, get_address_host_port
    try:
        get_address_host_port(address)
    except ValueError as error:  # no port, or a protocol that Dask has not
        raise _nobody(address, error) from None
    try:
        _greet(address)
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (MemoryError, ValueError, CommClosedError):  # what came is read as sizes of messages, or it hung up
        raise _nobody(address, "what answers there is something else") from None
    except Exception as error:  # of sockets, of certificates, of Dask
        raise _nobody(address, str(error) or f"nothing there answers within {CONNECT_SECONDS:g} s") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError:
            raise FitError(
                f"the Dask scheduler at {address} has no workers; start some with 'dask worker {address}'"
            ) from None
        yield client


def _nobody(address: str, why: object) -> FitError:
    return FitError(
        f"no Dask scheduler at {address}: {' '.join(str(why).split())[:200]}; an address such as "
        "tcp://10.0.0.1:8786 is expected, where 'dask scheduler' runs"
    )


def _greet(address: str) -> None:
    """Check that a scheduler answers in time: a client waits for ever for a silent one."""
    from distributed.comm import connect
    from distributed.security import Security

    async def greet() -> None:
        how = Security().get_connection_args("client")
        # one limit, ours: Dask's own would race it, and end in another sentence
        comm = await asyncio.wait_for(connect(address, timeout=2 * CONNECT_SECONDS, **how), CONNECT_SECONDS)
        comm.abort()

    with ThreadPoolExecutor(1) as thread:  # in this one a loop may run already, as in a notebook
        thread.submit(lambda: asyncio.run(greet())).result()
