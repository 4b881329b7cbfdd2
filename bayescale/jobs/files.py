"""Files appear whole or not at all: written beside the target, flushed to disk, then renamed over it.

A draft is in a folder of its own, ``.NAME.xxxxxxxx.part``, which its writer holds locked. The system releases the lock
when the writer ends, so the next write of that name removes what a killed process left, and no draft in progress.
"""

import contextlib
import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bayescale.errors import FileError
from bayescale.field import printable

try:
    import fcntl
except ImportError:  # no POSIX: nothing is locked, and nothing swept
    fcntl = None  # type: ignore[assignment]

NAME_BYTES_MAX = 255  # of a file name, on every file system in use
FOLDER_TRIES_MAX = 20  # another process may remove a folder before it is locked


def as_path(given: object) -> Path:
    """A path that a caller gave.

    Raises FileError if it is none.
    """
    if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str):
        raise FileError(f"a path is expected, as text or a Path, not of type {type(given).__name__}")
    return Path(given)


def check_writable(given: object, example: str = "result") -> Path:
    """A path at which a file can be written, as far as this can be checked in advance.

    Messages end with the name of a file as an ``example``. Raises FileError, naming what is in the way.
    """
    path = as_path(given)
    if not path.name or not str(path).isprintable():
        raise FileError(f"{path}: a file name of printable characters is expected")
    if (size := len(os.fsencode(path.name))) > NAME_BYTES_MAX:
        raise FileError(f"{path.name[:60]}...: a file name of {size} bytes; at most {NAME_BYTES_MAX} are allowed")
    folder = path.parent
    try:
        if not folder.is_dir():
            raise FileError(f"{path}: the folder {folder} does not exist; make it first, or give another path")
        if path.is_dir():
            raise FileError(f"{path} is a folder; the name of a file in it is expected, such as {path / example}")
        if path.exists() and not path.is_file():
            raise FileError(f"{path} is a device or a pipe; the name of a file is expected, such as {example}")
        tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent).close()
    except OSError as error:
        reason = error.strerror or error
        raise FileError(
            f"{path}: nothing can be written in the folder {folder} ({reason}); give another path"
        ) from None
    return path


def write_whole(path: "str | os.PathLike[str]", write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, and put it in place when it is complete.

    A link stays a link: its target is written. An existing file keeps its mode. Raises OSError if the folder is missing
    or read-only, the disk is full, or ``path`` is neither new nor a plain file; what is there is then as it was before.
    """
    if not os.fspath(as_path(path)).isprintable():
        raise FileError(f"{path}: a file name of printable characters is expected")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, a file name is expected", str(path))
    if target.exists() and not target.is_file():  # a file put in the place of /dev/null would be there for everybody
        raise OSError(errno.EINVAL, "is a device or a pipe, a file name is expected", str(path))
    _sweep(target)
    with _draft(target) as draft:
        write(draft)
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # nothing there yet, or a file system without modes
            draft.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(draft, target)
        _flush(target.parent)
    return Path(path)


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """An empty file of the name of the target, alone in a locked folder beside it."""
    folder, lock = _locked_folder(target)
    try:
        draft = folder / target.name
        draft.touch()
        yield draft
    finally:
        _remove(folder, target.name)
        if lock is not None:
            os.close(lock)


def _locked_folder(target: Path) -> tuple[Path, int | None]:
    for _ in range(FOLDER_TRIES_MAX):
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target), suffix=".part"))
        if fcntl is None:
            return folder, None
        with contextlib.suppress(FileNotFoundError):  # swept before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)
    raise OSError(errno.EAGAIN, "other processes keep removing what is written here", str(target))


def _sweep(target: Path) -> None:
    """Remove the unlocked folders of killed writers of this target."""
    if fcntl is None:
        return
    name = re.compile(re.escape(_prefix(target)) + r"[a-z0-9_]{8}\.part")
    with contextlib.suppress(OSError):  # a folder that cannot be listed: writing may still work, or says why not
        for entry in os.scandir(target.parent):
            if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # locked, or gone
                    lock = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        _remove(Path(entry.path), target.name)
                    finally:
                        os.close(lock)


def _prefix(target: Path) -> str:
    """Prefix of the folder of a draft; a long name is shortened, as the folder's name is longer."""
    name = target.name
    if len(os.fsencode(name)) > NAME_BYTES_MAX - 40:
        name = f"{name[:40]}.{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return f".{name}."


def _remove(folder: Path, name: str) -> None:
    """Remove a folder of this module; one that holds anything else than the file of that name stays."""
    with contextlib.suppress(OSError):
        (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _flush(folder: Path) -> None:
    """Flush the new name to disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(path: "str | os.PathLike[str]") -> Path:
    """The folder, made if need be.

    Raises FileError if it cannot be made.
    """
    try:
        as_path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be made: {error.strerror or error}; a folder is expected") from None
    return Path(path)


def write_file(path: "str | os.PathLike[str]", write: Callable[[Path], object]) -> Path:
    """:func:`write_whole`, with one sentence where it fails.

    Raises FileError if it cannot be written; an older file of that name is then untouched.
    """
    try:
        return write_whole(path, write)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from None


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # of cells that a spreadsheet executes
CHECKSUM_MARK = "# sha256 "  # starts the last line of a kept text: a changed text is computed again


def keep_text(text: str, path: "str | os.PathLike[str]") -> Path:
    """Write a text that ends in a newline, and its checksum for :func:`kept_text`."""
    sealed = f"{text}{CHECKSUM_MARK}{hashlib.sha256(text.encode()).hexdigest()}\n"
    return write_file(path, lambda draft: draft.write_text(sealed, encoding="utf-8"))


def kept_text(path: "str | os.PathLike[str]") -> str | None:
    """What :func:`keep_text` wrote, or None: not there, or damaged."""
    try:
        text, _, digest = Path(path).read_text(encoding="utf-8").rpartition(CHECKSUM_MARK)
    except (OSError, ValueError):
        return None
    return text if hashlib.sha256(text.encode()).hexdigest() == digest.strip() else None


def write_table(table: Any, path: "str | os.PathLike[str]") -> Path:
    """Write a data frame as CSV, whole or not at all.

    Raises FileError if it cannot be written; an older file of that name is then untouched.
    """
    safe = table.rename(columns=_cell).map(_cell)
    return write_file(path, lambda temporary: safe.to_csv(temporary, index=False))


def _cell(value: Any) -> Any:
    """A text that is safe in spreadsheets and terminals; numbers as they are."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(FORMULA_STARTS) else printable(value)
