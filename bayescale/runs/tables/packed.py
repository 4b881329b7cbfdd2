"""Packed files: gzip and Zstandard, unpacked no further than a table is read."""

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any

from bayescale.errors import RunsError, needed
from bayescale.runs.tables import limits

CHUNK_BYTES = 1_000_000


def unpacked(content: bytes, where: str) -> bytes:
    """The bytes in a packed file, known by its first bytes; those of any other file as they are.

    Raises
    ------
    RunsError
        If the file is damaged, unpacks to more than is read of any table, or nothing here can unpack it.
    """
    found = [opened for magic, opened in PACKED.items() if content.startswith(magic)]
    if not found:
        return content
    stream, parts, size = found[0](content, where), [], 0
    while size <= limits.MAX_BYTES and (part := _next_part(stream, where)):
        parts.append(part)
        size += len(part)
    limits.check_unpacked(size, where)
    return b"".join(parts)


def _next_part(stream: Any, where: str) -> bytes:
    try:
        return stream.read(CHUNK_BYTES)
    except (OSError, EOFError, ValueError, zlib.error):
        raise RunsError(f"{where}: a packed file that cannot be unpacked; it may be truncated or damaged") from None


def _gzip(content: bytes, where: str) -> Any:
    return gzip.GzipFile(fileobj=io.BytesIO(content))


def _zstd(content: bytes, where: str) -> Any:
    with needed("pyarrow", f"{where}: reading .zst", "parquet"):
        import pyarrow as pa
    return pa.CompressedInputStream(pa.BufferReader(content), "zstd")


PACKED: dict[bytes, Callable[[bytes, str], Any]] = {b"\x1f\x8b": _gzip, b"\x28\xb5\x2f\xfd": _zstd}
