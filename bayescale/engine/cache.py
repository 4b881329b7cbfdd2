"""Source of a density -> its compiled module, from the user's cache folder where its files can be trusted.

Numba keeps machine code as pickles, and loading a pickle executes it. So kernels are loaded only from folders that
nobody but the user and the superuser can write, and only if their checksums, listed per kernel, match. Others are
deleted and compiled again; without a usable folder, compiled code lives as long as the process. Neither is reported, as
the numbers are the same.
"""

import contextlib
import hashlib
import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from bayescale.jobs.files import write_whole

try:
    import fcntl
except ImportError:  # no POSIX: two processes may compile the same kernel, and the second throws the first's away
    fcntl = None  # type: ignore[assignment]

WAIT_SECONDS = 4.0  # for another process that compiles the same kernel; then it is compiled here, too
LOCK_POLL_SECONDS = 0.02
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def compiled_module(text: str, folder: "str | os.PathLike[str] | None") -> ModuleType:
    """The executed module of a source text: from the folder, or compiled and kept there if possible.

    Parameters
    ----------
    text : source in which ``CACHE`` says whether Numba is to keep its machine code
    folder : of the cache; made if need be, with access for the user alone; None keeps nothing
    """
    path = None if folder is None else _source_file(text, Path(folder))
    end = time.monotonic() + WAIT_SECONDS
    if path is not None:
        with _locked(path, end, shared=True) as held:
            if held and _whole(path):
                with contextlib.suppress(Exception):  # whole, and Numba cannot read it all the same: compiled anew
                    return _run(path, text)
        with _locked(path, end) as held:
            if held:
                try:
                    if not _whole(path):  # another process may have compiled it meanwhile
                        _forget(path)
                    module = _run(path, text)
                    _seal(path)
                    return module
                except Exception:  # a full disk, or what is there cannot be loaded
                    _log("kernel %s cannot be kept", path)
                    _forget(path)
    module = ModuleType("bayescale_kernel")
    exec(compile(text.replace("CACHE = True", "CACHE = False"), "<bayescale kernel>", "exec"), module.__dict__)
    return module


def _log(message: str, *about: object) -> None:
    logging.getLogger("bayescale").debug(message, *about, exc_info=sys.exc_info()[0] is not None)


def _source_file(text: str, folder: Path) -> Path | None:
    """The file of this source in a folder that is the user's alone, written if need be; None if there is none."""
    key = f"{sys.implementation.cache_tag}\n{text}".encode()
    try:
        machine_code = folder.resolve() / "__pycache__"  # where Numba keeps that of a source beside it
        for part in (*reversed(machine_code.parents), machine_code):  # whatever the umask: a group is others, too
            part.mkdir(mode=0o700, exist_ok=True)
        folder = machine_code.parent
        for part in (machine_code, folder, *folder.parents):
            if not _of_user(part, own=part in (machine_code, folder)):
                _log("kernels are not kept in %s: others may write in %s", folder, part)
                return None
        if not os.access(machine_code, os.W_OK):  # Numba would look for another place, of its own
            return None
        path = folder / f"kernel_{hashlib.sha256(key).hexdigest()[:24]}.py"
        if not (path.is_file() and _of_user(path) and path.read_bytes() == text.encode()):
            _forget(path)  # Numba before 0.68 compiles anew for a source of another date: checksums would be wrong
            write_whole(path, lambda draft: draft.write_bytes(text.encode()))
            path.chmod(0o600)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        _log("kernels are not kept in %s", folder)
        return None
    return path


def _of_user(path: Path, own: bool = True) -> bool:
    """Whether only the user and the superuser can have written it; parent folders may be sticky, as /tmp is."""
    about = path.lstat()
    if not hasattr(os, "getuid"):
        return True
    others = bool(about.st_mode & OTHERS_WRITE)
    if own:
        return about.st_uid == os.getuid() and not others and not stat.S_ISLNK(about.st_mode)
    return about.st_uid in (0, os.getuid()) and (not others or bool(about.st_mode & stat.S_ISVTX))


@contextlib.contextmanager
def _locked(path: Path, end: float, shared: bool = False) -> Iterator[bool]:
    """Whether no other process is compiling this kernel, or, if not ``shared``, loading it; waits until ``end``.

    The system releases the lock when its holder ends, so there are no stale ones.
    """
    if fcntl is None:
        yield True
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # swept by whoever cleans caches
        yield False
        return
    try:
        held = None
        while held is None:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                held = False if time.monotonic() > end else None
                time.sleep(LOCK_POLL_SECONDS)
            except OSError:  # a file system without locks
                held = True
        yield held
    finally:
        os.close(handle)


def _files(path: Path) -> list[Path]:
    return sorted((path.parent / "__pycache__").glob(f"{path.stem}.*"))


def _sums(path: Path) -> Path:
    return path.parent / "__pycache__" / f"{path.stem}.sha256"


def _checksums(path: Path) -> str:
    """Checksums of the files of a kernel, as sha256sum writes them."""
    files = [one for one in _files(path) if one != _sums(path)]
    return "".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in files)


def _whole(path: Path) -> bool:
    """Whether the files of a kernel are the user's, and match their checksums."""
    try:
        if not all(_of_user(one) and one.is_file() for one in _files(path)):
            return False
        return _sums(path).read_bytes() == _checksums(path).encode() != b""
    except OSError:
        return False


def _seal(path: Path) -> None:
    for one in _files(path):
        one.chmod(0o600)
    if not _whole(path):
        write_whole(_sums(path), lambda draft: draft.write_text(_checksums(path), encoding="utf-8"))
        _sums(path).chmod(0o600)


def _forget(path: Path) -> None:
    for one in _files(path):
        with contextlib.suppress(OSError):
            one.unlink()


def _run(path: Path, text: str) -> ModuleType:
    """The module, executed from the text; Numba finds its machine code by the file's name."""
    import numba

    module = ModuleType(f"bayescale_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # machine code that Numba finds in its cache is bound to the module's name
    # a folder that the environment gives to Numba is not one that has been looked at here
    settings = {name: "" for name in ("CACHE_DIR", "CACHE_LOCATOR_CLASSES") if hasattr(numba.config, name)}
    before = {name: getattr(numba.config, name) for name in settings}
    try:
        vars(numba.config).update(settings)
        exec(compile(text, str(path), "exec"), module.__dict__)
    finally:
        vars(numba.config).update(before)
    return module
