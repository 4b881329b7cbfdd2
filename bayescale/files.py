"""Files appear whole or not at all: written beside the target, flushed to disk, then renamed over it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class FileError(ValueError):
    """A result that cannot be written where it was asked for."""


def write_whole(path: "str | os.PathLike[str]", write: Callable[[Path], object]) -> Path:
    """Have ``write`` fill a temporary file beside ``path`` and, only when it is complete, put it in place.

    Raises
    ------
    OSError
        If the folder is missing or read-only, or the disk is full; the target is then as it was before.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(21, "is a folder, a file name is expected", str(target))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def make_folder(path: "str | os.PathLike[str]") -> Path:
    """The folder, made if need be.

    Raises
    ------
    FileError
        If it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be made: {error.strerror or error}; a folder is expected") from None
    return Path(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_file(path: "str | os.PathLike[str]", write: Callable[[Path], object]) -> Path:
    """:func:`write_whole`, with one sentence where it fails.

    Raises
    ------
    FileError
        If it cannot be written; an older file of that name is then untouched.
    """
    try:
        return write_whole(path, write)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_table(table: Any, path: "str | os.PathLike[str]") -> Path:
    """Write a data frame as CSV, whole or not at all.

    Raises
    ------
    FileError
        If it cannot be written; an older file of that name is then untouched.
    """
    return write_file(path, lambda temporary: table.to_csv(temporary, index=False))
