"""Compiled code in the cache folder: kept and used again, never taken from where others write, damage mended."""

import fcntl
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bayescale.engine.cache import compiled_module

module = sys.modules["bayescale.engine.cache"]
TEXT = """
import numba
from numba import types
CACHE = True
@numba.cfunc(types.float64(types.float64), cache=CACHE)
def density(x):
    return 17.0 * x
"""


def load(folder):
    """Whether it came from the cache; None if it could not even be kept there. What it computes is right each time."""
    made = compiled_module(TEXT, folder)
    assert made.density.ctypes(2.0) == 34.0
    return bool(made.density.cache_hits) if made.__name__.startswith("bayescale_kernel_") else None


def kept(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path):
    assert load(tmp_path / "kernels") is False
    return tmp_path / "kernels"


class Hostile:
    """What runs when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def poison(folder, canary):
    """Put into the cache what a stranger would, with checksums that fit."""
    for path in kept(folder):
        if path.suffix in (".nbi", ".nbc"):
            path.write_bytes(pickle.dumps(Hostile(canary)))
    (source,) = Path(folder).glob("*.py")
    module._sums(source).write_text(module._checksums(source))


def test_kept_and_used_again(folder):
    names = {path.suffix for path in kept(folder)}
    assert names == {".py", ".nbi", ".nbc", ".sha256"}
    dates = {path: path.stat().st_mtime_ns for path in kept(folder)}
    assert load(folder) is True
    assert dates == {path: path.stat().st_mtime_ns for path in kept(folder)}, "nothing is written the second time"


def test_everything_is_the_users_alone_whatever_the_umask(tmp_path):
    before = os.umask(0o000)
    try:
        assert load(tmp_path / "new" / "kernels") is False and load(tmp_path / "new" / "kernels") is True
    finally:
        os.umask(before)
    assert not any(path.stat().st_mode & 0o077 for path in (tmp_path / "new").rglob("*"))


@pytest.mark.parametrize("suffix", [".nbi", ".nbc", ".sha256", ".py"])
@pytest.mark.parametrize("damage", ["empty", "half", "bit", "garbage", "gone"])
def test_damage_is_noticed_before_anything_runs(folder, suffix, damage):
    (path,) = (path for path in kept(folder) if path.suffix == suffix)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        changed = {"empty": b"", "half": content[:middle], "bit": flipped, "garbage": b"\xff\xfe\x00 raise SystemExit"}
        path.write_bytes(changed[damage])
    assert load(folder) is False and load(folder) is True


def test_pickle_that_was_put_there_is_not_opened(folder, tmp_path):
    for path in kept(folder):
        if path.suffix in (".nbi", ".nbc"):
            path.write_bytes(pickle.dumps(Hostile(tmp_path / "canary")))
    assert load(folder) is False and not (tmp_path / "canary").exists()
    poison(folder, tmp_path / "canary")
    load(folder)
    assert (tmp_path / "canary").exists(), "this test can fail: the user's own files are believed"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
@pytest.mark.parametrize("which", [".", "__pycache__", ".."])
def test_folder_where_others_may_write_is_not_trusted(folder, tmp_path, which, mode):
    poison(folder, tmp_path / "canary")
    (folder / which).chmod(mode)
    if which == ".." and mode == 0o1777:  # like /tmp: others cannot move what is the user's
        load(folder)
        assert (tmp_path / "canary").exists()
    else:
        assert load(folder) is None and not (tmp_path / "canary").exists()
    (folder / which).chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser can give files away")
@pytest.mark.parametrize("which", [".", "__pycache__", "..", "files"])
def test_what_belongs_to_others_is_not_trusted(folder, tmp_path, which):
    poison(folder, tmp_path / "canary")
    for path in kept(folder) if which == "files" else [folder / which]:
        os.chown(path, 12345, -1)
    assert load(folder) is (False if which == "files" else None) and not (tmp_path / "canary").exists()


def test_file_that_others_may_write_is_made_anew(folder, tmp_path):
    poison(folder, tmp_path / "canary")
    for path in kept(folder):
        path.chmod(0o666)
    assert load(folder) is False and not (tmp_path / "canary").exists()


def test_link_to_another_folder_is_judged_by_that(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert load(tmp_path / "link") is True
    os.rename(folder / "__pycache__", tmp_path / "elsewhere")
    (folder / "__pycache__").symlink_to(tmp_path / "elsewhere")
    assert load(folder) is None


def test_folder_that_is_given_to_numba_is_not_looked_at(tmp_path, monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    assert load(tmp_path / "kernels") is False and load(tmp_path / "kernels") is True
    assert not (tmp_path / "numba").exists() and str(tmp_path / "numba") == numba.config.CACHE_DIR


# ---- where nothing can be kept --------------------------------------------------------------------------------------


def test_nowhere_to_keep_it(tmp_path):
    (tmp_path / "file").write_text("")
    assert load(tmp_path / "file" / "kernels") is None


def test_pipe_or_folder_in_the_place_of_the_source(folder):
    (source,) = folder.glob("*.py")
    source.unlink()
    os.mkfifo(source)
    assert load(folder) is None
    source.unlink()
    source.mkdir()
    assert load(folder) is None


def test_full_disk(full_disk):
    assert load(full_disk / "kernels") is None
    assert not [path for path in kept(full_disk) if path.suffix in (".nbi", ".nbc")]


def test_read_only_folder(folder, read_only):
    assert load(read_only(folder)) is None


def test_no_home_folder(monkeypatch):
    import bayescale.engine.numba_density as kernel

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/proc/nowhere")
    assert load(kernel._default_folder()) is None


# ---- many processes -------------------------------------------------------------------------------------------------


SCRIPT = """
import sys
from bayescale.engine import cache as kernel_cache
from bayescale.engine.cache import compiled_module
kernel_cache.WAIT_SECONDS = 60.0  # the machine may be busy
made = compiled_module(sys.argv[2], sys.argv[1])
assert made.density.ctypes(2.0) == 34.0
print(int(made.density.cache_hits > 0))
"""


def start(folder):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, folder, TEXT], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_of_two_processes_one_compiles(tmp_path):
    processes = [start(tmp_path / "kernels") for _ in range(2)]
    assert sorted(process.communicate(timeout=120)[0].strip() for process in processes) == ["0", "1"]
    assert len(kept(tmp_path)) == 4


HOLDER = """
import fcntl, sys, time
handle = open(sys.argv[1])
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_lock_of_a_process_that_hangs_or_was_killed(folder, monkeypatch):
    (source,) = folder.glob("*.py")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, source], stdout=subprocess.PIPE, text=True)
    with holder:
        holder.stdout.readline()
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
        assert load(folder) is None, "not waited for for ever"
        holder.kill()
    assert load(folder) is True


def test_a_held_lock_is_waited_for_once(folder, monkeypatch):
    """Not once to load and again to compile; and not for long, as its holder may be stopped."""
    assert module.WAIT_SECONDS <= 8
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    (source,) = folder.glob("*.py")
    with open(source) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert load(folder) is None
    assert module.WAIT_SECONDS <= now[0] - 100 < module.WAIT_SECONDS + 1


def test_what_a_killed_numba_left_is_swept(folder):
    (index,) = (path for path in kept(folder) if path.suffix == ".nbi")
    left = index.with_name(index.name + ".tmp.0123456789abcdef")
    left.write_bytes(index.read_bytes()[:50])
    assert load(folder) is False and not left.exists() and load(folder) is True
