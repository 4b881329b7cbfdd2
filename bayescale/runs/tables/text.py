"""The text of a file: UTF-8, UTF-16 or that of Western Windows, without control characters."""

import codecs

from bayescale.errors import RunsError
from bayescale.runs.tables.limits import CONTROL

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
HEAD_BYTES = 200  # of a file in UTF-16 without a mark: in Latin letters every other byte of them is zero


def text_of(content: bytes, where: str) -> str:
    """The text of a file.

    Raises
    ------
    RunsError
        If it is in another encoding, or has a control character; the message names the line.
    """
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), _unmarked(content))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        found = _of_windows(content) if encoding == "utf-8" else None
        if found is None:
            raise RunsError(f"{where} is not UTF-8 or UTF-16 text; save it as CSV in UTF-8") from None
        text = found
    if bad := CONTROL.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise RunsError(f"{where}, line {line}: the control character {bad[0]!r}; a table in plain text is expected")
    return text


def _of_windows(content: bytes) -> str | None:
    """The text in the encoding of Western Windows, as spreadsheets write it; None of what is no text in it."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return None if CONTROL.search(text) else text


def _unmarked(content: bytes) -> str:
    even, odd = content[0:HEAD_BYTES:2], content[1:HEAD_BYTES:2]
    if odd and not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if odd and not any(even) and all(odd) else "utf-8"
