import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading

import pandas as pd
import pytest

from bayescale.errors import FileError
from bayescale.jobs.files import write_table, write_whole


def test_writes_and_returns_the_path(tmp_path):
    target = write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert target == tmp_path / "a.txt" and target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_replaces_an_older_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    write_whole(str(target), lambda path: path.write_text("new"))
    assert target.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_the_target_is_untouched_until_all_is_written(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write(path):
        path.write_text("half")
        assert target.read_text() == "old" and path.parent.parent == target.parent
        path.write_text("whole")

    write_whole(target, write)
    assert target.read_text() == "whole"


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_a_failing_writer_leaves_all_as_it_was(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write(path):
        path.write_text("half")
        raise error("disk full")

    with pytest.raises(error, match="disk full"):
        write_whole(target, write)
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_writer_may_replace_the_temporary_file(tmp_path):
    def write(path):
        path.unlink()
        path.write_text("new")

    assert write_whole(tmp_path / "a.txt", write).read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_folder_as_target(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, a file name is expected"):
        write_whole(tmp_path / "folder", lambda path: path.write_text("new"))
    assert os.listdir(tmp_path) == ["folder"] and not os.listdir(tmp_path / "folder")


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "absent" / "a.txt", lambda path: path.write_text("new"))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        target = write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
        assert os.umask(mask) == mask, "the umask of the process is left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_table_is_written_as_csv(tmp_path):
    table = pd.DataFrame({"N": [1.5], "name": ["a, b"]})
    path = write_table(table, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), table)


def test_a_table_that_cannot_be_written(tmp_path):
    table = pd.DataFrame({"N": [1.5]})
    with pytest.raises(FileError, match=r"absent/table\.csv: cannot be written: No such file or directory"):
        write_table(table, tmp_path / "absent" / "table.csv")
    with pytest.raises(FileError, match="cannot be written: is a folder"):
        write_table(table, tmp_path)


# ---- killed writers, many writers, hostile targets -------------------------------------------------------------------

KILLED = """
import os, signal, sys
from bayescale.jobs.files import write_whole
def write(path):
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
write_whole(sys.argv[1], write)
"""


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path):
    target, other = tmp_path / "a.txt", tmp_path / "a.txt.csv"
    target.write_text("old")
    for path in (target, target, other):
        assert subprocess.run([sys.executable, "-c", KILLED, path]).returncode == -9
    left = sorted(set(os.listdir(tmp_path)) - {"a.txt"}, key=lambda name: name.startswith(".a.txt.csv."))
    assert len(left) == 2 and all(name.startswith(".a.txt.") for name in left)
    assert [name.startswith(".a.txt.csv.") for name in left] == [False, True]
    assert target.read_text() == "old", "the second writer has swept what the first left, and left its own"
    write_whole(target, lambda path: path.write_text("new"))
    assert target.read_text() == "new" and sorted(os.listdir(tmp_path)) == [left[1], "a.txt"], "only of this name"
    write_whole(other, lambda path: path.write_text("new"))
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "a.txt.csv"]


def test_what_another_is_writing_is_left_alone(tmp_path):
    target = tmp_path / "a.txt"

    def first(path):
        path.write_text("first")
        write_whole(target, lambda path: path.write_text("second"))
        assert target.read_text() == "second" and path.read_text() == "first"

    write_whole(target, first)
    assert target.read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]


def test_what_is_not_ours_is_never_swept(tmp_path):
    target, mine = tmp_path / "a.txt", tmp_path / ".a.txt.abcdefgh.part"
    mine.write_text("a plain file")
    full = tmp_path / ".a.txt.hgfedcba.part"
    full.mkdir()
    (full / "notes").write_text("somebody's")
    link = tmp_path / ".a.txt.linklink.part"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("keep")
    link.symlink_to(tmp_path / "elsewhere")
    write_whole(target, lambda path: path.write_text("new"))
    assert mine.read_text() == "a plain file" and (full / "notes").exists() and link.is_symlink()
    assert (tmp_path / "elsewhere" / "a.txt").read_text() == "keep"


WRITER = """
import sys
from bayescale.jobs.files import write_whole
for i in range(25):
    write_whole(sys.argv[1], lambda path: path.write_text(sys.argv[2] * 200_000))
"""


def test_writers_of_one_target_do_not_mix(tmp_path):
    target = tmp_path / "a.txt"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, target, letter]) for letter in "abc"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if target.exists():
            text = target.read_text()
            assert len(text) == 200_000 and len(set(text)) == 1
            seen.add(text[0])
    assert [writer.returncode for writer in writers] == [0, 0, 0] and seen and os.listdir(tmp_path) == ["a.txt"]


def test_folder_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    real, swept = fcntl.flock, []

    def flock(handle, kind):
        if not swept:
            swept.append(next(tmp_path.iterdir()))
            swept[0].rmdir()
        return real(handle, kind)

    monkeypatch.setattr("fcntl.flock", flock)
    write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert swept and os.listdir(tmp_path) == ["a.txt"]


def test_file_system_without_locks(tmp_path, monkeypatch):
    def flock(handle, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    (tmp_path / ".a.txt.abcdefgh.part").mkdir()
    write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert sorted(os.listdir(tmp_path)) == [".a.txt.abcdefgh.part", "a.txt"], "who knows whose that is"


def test_device_or_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", "/dev/null"):
        before = os.stat(target)
        with pytest.raises(FileError, match="cannot be written: is a device or a pipe, a file name is expected"):
            write_table(pd.DataFrame({"N": [1.5]}), target)
        assert os.stat(target).st_ino == before.st_ino
    assert os.listdir(tmp_path) == ["pipe"]


def test_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.txt").write_text("old")
    (tmp_path / "a.txt").symlink_to(tmp_path / "there" / "a.txt")
    assert write_whole(tmp_path / "a.txt", lambda path: path.write_text("new")) == tmp_path / "a.txt"
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "there" / "a.txt").read_text() == "new"


def test_threads_get_the_permissions_of_the_umask(tmp_path):
    """The umask belongs to the whole process: setting it to read it would let files of other threads be anybody's."""
    seen, stop = set(), threading.Event()

    def watcher():
        while not stop.is_set():
            handle = os.open(tmp_path / "watched", os.O_CREAT | os.O_WRONLY, 0o666)
            seen.add(os.fstat(handle).st_mode & 0o777)
            os.close(handle)
            (tmp_path / "watched").unlink()

    thread = threading.Thread(target=watcher)
    before = os.umask(0o077)
    try:
        thread.start()
        for i in range(50):
            write_whole(tmp_path / f"{i}.txt", lambda path: path.write_text("new"))
    finally:
        stop.set()
        thread.join()
        os.umask(before)
    assert seen == {0o600}


def test_full_disk(full_disk):
    """Tables, figures and reports too: one sentence, the older file, nothing beside it."""
    from matplotlib.figure import Figure

    from bayescale.display.figures import save_figure
    from bayescale.display.report import save_report

    figure = Figure()
    figure.add_subplot().plot(range(50), marker="o")
    writers = {
        "a.csv": lambda path: write_table(pd.DataFrame({"N": range(99_999)}), path),
        "a.png": lambda path: save_figure(figure, path),
        "a.pdf": lambda path: save_figure(figure, path),
        "a.html": lambda path: save_report("x" * 99_999, path),
    }
    for name, write in writers.items():
        (full_disk / name).write_bytes(b"")
        with pytest.raises(FileError, match=f"{name}: cannot be written: No space left on device$"):
            write(full_disk / name)
    assert sorted(os.listdir(full_disk)) == [*sorted(writers), "others"]
