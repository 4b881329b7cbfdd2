"""Batches: order, failures and deaths of workers, by executors made up for the purpose and by real ones."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from bayescale.errors import FitError
from bayescale.jobs import batch, executors
from bayescale.jobs.batch import DEATHS_MAX, Failure, run_batch, run_kept
from bayescale.jobs.executors import Workers, open_executor


def square(x):
    if x == 3:
        raise FitError("three is not to be squared")
    if x == 4:
        raise ZeroDivisionError
    return x * x


def slow_square(x):
    time.sleep(0.05)
    return os.getpid(), x * x


def killing(task):
    """A task that takes its worker with it, the first time (there is a folder to remember it) or every time."""
    x, folder = task
    if x == 2 and not os.path.exists(os.path.join(folder, "killed")):
        open(os.path.join(folder, "killed"), "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


NOT_THREE = Failure("FitError", "three is not to be squared")
SQUARES = [0, 1, 4, NOT_THREE, Failure("ZeroDivisionError", "ZeroDivisionError")]


class Backwards:
    """An executor that finishes the last task first, and whose workers die by plan: {task: how often}."""

    def __init__(self, deaths=None, every=1):
        self.held, self.deaths, self.every, self.calls = [], dict(deaths or {}), every, []

    def submit(self, function, *args):
        future = Future()
        self.held.append((future, function, args))
        self.calls.append(args[1])
        if len(self.held) >= self.every:
            self.finish()
        return future

    def finish(self):
        dying = any(self.deaths.get(args[1], 0) > 0 for _, _, args in self.held)
        for future, function, args in reversed(self.held):
            if dying:
                self.deaths[args[1]] = self.deaths.get(args[1], 0) - 1
                future.set_exception(BrokenExecutor("a worker died"))
            else:
                future.set_result(function(*args))
        self.held = []


def test_in_this_process():
    seen = []
    assert run_batch(square, range(5), arrived=lambda i, result: seen.append((i, result))) == SQUARES
    assert seen == list(enumerate(SQUARES))
    failure = run_batch(square, [4])[0]
    assert "raise ZeroDivisionError" in failure.trace
    assert run_batch(square, []) == [] == run_batch(square, [], executor=2)


def test_what_is_in_the_folder_is_not_made_again(tmp_path):
    """Failures are not kept, a failure among the tasks is its own result, and a damaged file is made again."""

    def read(path):
        text = path.read_text() if path.exists() else ""
        return int(text) if text.isdigit() else None

    files = {"name": str, "read": read, "write": lambda result, path: path.write_text(str(result))}
    seen, unread = [], Failure("RunsError", "no runs")
    options = files | {"progress": lambda done, total: seen.append((done, total))}
    assert run_kept(square, [*range(5), unread], tmp_path / "kept", **options) == [*SQUARES, unread]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["0", "1", "2"]
    assert seen == [(i, 6) for i in range(1, 7)]
    (tmp_path / "kept" / "0").write_text("100")
    (tmp_path / "kept" / "1").write_text("damaged")
    assert run_kept(square, range(3), tmp_path / "kept", **files) == [100, 1, 4]
    assert run_kept(square, range(3), None, **files) == [0, 1, 4]


def test_order_is_kept_whatever_comes_first():
    seen = []
    made = run_batch(square, range(5), executor=Backwards(every=5), arrived=lambda i, _: seen.append(i))
    assert made == SQUARES and seen[:4] == [3, 2, 1, 0] and sorted(seen) == list(range(5))


def test_threads_give_the_same():
    with ThreadPoolExecutor(3) as threads:
        assert run_batch(square, range(5), executor=threads) == SQUARES


def test_those_beside_a_death_run_again_alone_and_none_is_counted_twice():
    executor, seen = Backwards({1: 1}, every=1), []
    assert run_batch(square, range(3), executor=executor, arrived=lambda i, _: seen.append(i)) == [0, 1, 4]
    assert sorted(seen) == [0, 1, 2] and sorted(executor.calls) == [0, 1, 1, 2]


def test_a_task_that_kills_time_and_again_is_given_up():
    executor = Backwards({1: 100}, every=1)
    made = run_batch(square, range(3), executor=executor)
    assert made == [0, Failure("WorkerDied", "its worker died each time (killed, or out of memory)"), 4]
    assert executor.calls.count(1) == 1 + DEATHS_MAX and executor.calls.count(0) == executor.calls.count(2) == 1


def test_an_executor_that_is_shut_down():
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    (failure,) = run_batch(square, [1], executor=threads)
    assert failure.why == "the executor takes no more tasks: RuntimeError: cannot schedule new futures after shutdown"


def test_an_error_of_the_caller_ends_the_batch():
    def full(i, result):
        raise OSError("disk full")

    executor = Backwards()
    with pytest.raises(OSError, match="disk full"):
        run_batch(square, range(3), executor=executor, arrived=full)


def test_a_worker_of_other_versions(monkeypatch):
    import bayescale.jobs.batch as module

    real, calls = module.versions(), []

    def versions():
        calls.append(1)
        return real if len(calls) == 1 else real | {"numpy": "1.0"}

    monkeypatch.setattr(module, "versions", versions)
    (failure,) = run_batch(square, [1])
    assert failure.kind == "VersionError" and "the worker has numpy 1.0, the sender " in failure.why


@pytest.mark.parametrize("executor", [0, -1, True, 1.5, "nowhere", object()])
def test_executors_of_no_use(executor):
    with pytest.raises(FitError, match=r"executor = .*: None, a number of worker processes of at least 1, the"):
        run_batch(square, [1], executor=executor)


def test_tasks_run_with_one_blas_thread():
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    before = threadpool_info()
    (during,) = run_batch(_blas_threads, [None])
    assert during == [1] * len(during) and during
    assert threadpool_info() == before


def _blas_threads(_):
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


class Deserted:
    """Workers that do the first tasks and are gone; they come back, if they do, once that many times was asked."""

    def __init__(self, doing, back=None):
        self.left, self.back, self.asked, self.held = doing, back, 0, []

    def submit(self, function, *args):
        future = Future()
        if self.left > 0:
            self.left -= 1
            future.set_result(function(*args))
        else:
            self.held.append((future, function, args))
        return future

    def alive(self):
        self.asked += 1
        if self.asked == self.back:
            for future, function, args in self.held:
                future.set_result(function(*args))
        return self.asked == self.back


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(batch, "WORKERS_POLL_SECONDS", 0.01)
    monkeypatch.setattr(batch, "NO_WORKERS_SECONDS", 0.1)


def test_the_last_worker_is_gone(short, caplog):
    """What was done is kept, the rest is told from it, and the batch ends."""
    gone, seen = Deserted(2), []
    workers = Workers(gone.submit, most=2, alive=gone.alive)
    made = run_batch(square, [0, 1, 2, 5, 6], executor=workers, arrived=lambda i, _: seen.append(i))
    assert made[:2] == [0, 1] and {failure.kind for failure in made[2:]} == {"NoWorkers"}
    assert sorted(seen) == list(range(5)), "nothing lost, nothing twice"
    assert "there have been no workers for 0 s; start some, and run the same again" in made[4].why
    (said,) = [record.getMessage() for record in caplog.records if record.name == "bayescale"]
    assert said.startswith("the last worker is gone; what it has done is kept")


def test_workers_that_come_back(short, monkeypatch):
    monkeypatch.setattr(batch, "NO_WORKERS_SECONDS", 1e6)
    gone = Deserted(1, back=4)
    workers = Workers(gone.submit, most=9, alive=gone.alive)
    assert run_batch(square, [0, 1, 2], executor=workers) == [0, 1, 4]


# ---- worker processes -----------------------------------------------------------------------------------------------


def processes(_):
    return os.getpid()


def test_worker_processes_are_no_more_than_tasks():
    before = set(multiprocessing.active_children())
    with open_executor(50) as workers:
        pids = run_batch(processes, range(2), executor=workers)
        started = set(multiprocessing.active_children()) - before
        assert 1 <= len(started) <= 2 and set(pids) <= {process.pid for process in started}
        assert run_batch(square, [2, 3], executor=workers) == SQUARES[2:4]
        pids, squares = zip(*run_batch(slow_square, [4, 5], executor=workers), strict=True)
    assert squares == (16, 25) and os.getpid() not in pids


def sleeping(_):
    time.sleep(600)


def test_an_interrupt_waits_for_no_task():
    before, begun = set(multiprocessing.active_children()), time.monotonic()

    def interrupt(*_):
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGALRM, interrupt)  # as Ctrl-C, when a worker has begun to sleep
    try:
        with pytest.raises(KeyboardInterrupt), open_executor(1) as workers:
            run_batch(processes, [0], executor=workers)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            run_batch(sleeping, [0], executor=workers)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)
    assert time.monotonic() - begun < 300 and set(multiprocessing.active_children()) <= before


@pytest.mark.slow
def test_killed_worker_processes_are_replaced(tmp_path):
    seen = []
    tasks = [(x, str(tmp_path)) for x in range(8)]
    made = run_batch(killing, tasks, executor=2, arrived=lambda i, _: seen.append(i))
    gone = Failure("WorkerDied", "its worker died each time (killed, or out of memory)")
    assert made == [0, 1, 4, 9, 16, gone, 36, 49]
    assert sorted(seen) == list(range(8)), "nothing lost, nothing twice"


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path):
    psutil = pytest.importorskip("psutil")  # comes with distributed
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal, sys\nsys.path.insert(0, sys.argv[1])\nfrom test_batch import slow_square\n"
        "from bayescale.jobs.batch import run_batch\n"
        "def end(i, result):\n    print(result[0], flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n    run_batch(slow_square, range(4), executor=1, arrived=end)\n"
    )
    done = subprocess.run(
        [sys.executable, script, os.path.dirname(__file__)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout)
    for _ in range(100):
        if not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the worker lives on")


@pytest.mark.slow
def test_a_script_without_its_guard(tmp_path):
    script = tmp_path / "bare.py"
    script.write_text("from bayescale.jobs.batch import run_batch\nrun_batch(len, [[1]], executor=1)\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "in a script, everything that it does must stand under" in done.stderr


# ---- a Dask cluster -------------------------------------------------------------------------------------------------


def test_no_scheduler(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.3)
    with pytest.raises(FitError, match=r"no Dask scheduler at tcp://127.0.0.1:1: .*; an address such as tcp://10"):
        run_batch(square, [1], executor="tcp://127.0.0.1:1")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "foo://127.0.0.1:1", "http://127.0.0.1:80", "inproc://x"])
def test_what_is_no_address_of_dask(address):
    pytest.importorskip("distributed")
    with pytest.raises(FitError, match=r"no Dask scheduler at .*; an address such as tcp://10\.0\.0\.1:8786 is exp"):
        run_batch(square, [1], executor=address)


@pytest.mark.parametrize("says", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\xff" * 64])
def test_who_takes_a_call_and_is_no_scheduler(monkeypatch, says):
    """Without an end of its own, each of these would wait for ever, and pytest with it."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    calls = []

    def answer():
        with contextlib.suppress(OSError):
            while True:
                calls.append(listening.accept()[0])
                if says is not None:
                    calls[-1].sendall(says)
                    calls[-1].shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(FitError, match=r"no Dask scheduler at .*: (nothing|what answers) there .*; an address su"):
            run_batch(square, [1], executor=address)
        listening.shutdown(socket.SHUT_RDWR)
    for call in calls:
        call.close()


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
        yield made


@pytest.mark.slow
def test_dask_by_address_and_by_client(cluster):
    from distributed import Client

    assert run_batch(square, range(5), executor=cluster.scheduler_address) == SQUARES
    with Client(cluster, set_as_default=False) as client:
        assert run_batch(square, [2, 2, 2, 3], executor=client) == [4, 4, 4, NOT_THREE]


@pytest.mark.slow
def test_a_killed_dask_worker_loses_nothing(cluster):
    seen, killed = [], []

    def arrived(i, result):
        seen.append(i)
        if not killed:
            killed.append(result[0])
            os.kill(result[0], signal.SIGKILL)

    made = run_batch(slow_square, range(60), executor=cluster.scheduler_address, arrived=arrived)
    assert [squared for _, squared in made] == [x * x for x in range(60)]
    assert sorted(seen) == list(range(60)), "nothing lost, nothing twice"
    assert {pid for pid, _ in made} - set(killed), "others took over"


@pytest.mark.parametrize(("status", "cancelled"), [("running", True), ("closed", False)])
def test_tasks_of_a_closed_client_are_not_cancelled(status, cancelled):
    """There is nobody to tell, and Dask prints a traceback for every one."""
    client = SimpleNamespace(status=status, get_executor=lambda pure: SimpleNamespace(submit=None))
    future = Future()
    with open_executor(client) as workers:
        workers.cancel(future)
    assert future.cancelled() == cancelled
