"""Inputs that nobody means well with, for every parser of bayescale, and what a parser must do with them.

A target makes inputs out of a random generator (grammars, mutations of valid examples, known tricks) and bears one:
it is either used as its owner would use it, or refused with one plain sentence. Everything else is a crash.
``benchmarks/fuzz.py`` drives targets by the thousand, ``tests/test_hostile.py`` by the hundred and over a kept corpus.
"""

import atexit
import functools
import io
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayescale.errors import FileError, FitError, FormulaError, LawError, RunsError

REFUSALS = (FormulaError, LawError, RunsError, FitError, FileError)
LONGEST_SENTENCE = 1000
SECONDS = 2.0
MEGABYTES = 1000
CANARY = Path(tempfile.gettempdir()) / f"bayescale-canary-{os.getpid()}"

TRICKS = [
    *("", " ", "\t", "\n", "\r", "\r\n", "\x00", "\x1b[2J", "\x7f", "\ufeff", "\u2028", "\u202e", "\xa0", "\u0663"),
    *("é", "Ｎ", "𝟏", "\U0010ffff", "\udcff", "'", '"', '"""', "'''", "\\", "\\u0000", "#", ";", ",", "=", "..", ":"),
    *("{0}", "{a}", "{", "}", "%s", "$(id)", "`id`", "[/]", "[bold]", "[link=x]", "</script>", "<b>", "&lt;"),
    *("inf", "-inf", "nan", "NaN", "None", "True", "false", "0", "-1", "-0.0", "1e400", "-1e400", "5e-324", "1e308"),
    *("9" * 400, "9" * 5000, "0x" + "f" * 400, "0x" + "f" * 5000, "1_0", "1__0", "0b1", "0o7", "1j", "1.", ".5", "1e"),
    *("(" * 70, "(" * 500, "[" * 90, "[" * 900, "{" * 90, "-" * 90, "-" * 1500, "~", "not " * 90, "a." * 400, "**"),
    *("__import__", "__class__", "().__class__", "lambda: 0", "exec", "eval", "open", "os", "x := 1", "*x", "f'{x}'"),
    *("N", "D", "C", "L", "N_ref", "L_ref", "L_span", "q_ref", "chain", "draw", "run", "self", "data_0", "predicted"),
    f"__import__('pathlib').Path('{CANARY}').touch()",
]


@dataclass(frozen=True)
class Target:
    """One parser: what it is given, and how one input is borne. ``bear`` says whether the input was accepted."""

    make: Callable[[random.Random], bytes]
    bear: Callable[[bytes], bool]
    change: Callable[[random.Random, bytes], bytes]  # a small change of an input
    suffix: str = "txt"


class BadRefusalError(AssertionError):
    """A refusal that is not one plain sentence."""


def borne(use: Callable[[], Any]) -> bool:
    """Whether it worked, or False where it was refused as it should be."""
    try:
        use()
    except REFUSALS as error:
        said = str(error)
        if not (said.strip() and said.isprintable() and len(said) <= LONGEST_SENTENCE):
            raise BadRefusalError(f"{type(error).__name__} of {len(said)} characters: {said[:300]!r}") from error
        return False
    return True


def mutated(rng: random.Random, text: str, words: list[str]) -> str:
    """Text with a few pieces cut, doubled, moved or replaced."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        i, j = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        j = min(j, i + rng.choice((0, 1, 2, 8, 40)))
        piece = rng.choice(words) if rng.random() < 0.6 else text[j : j + rng.choice((1, 3, 12))]
        kind = rng.randrange(8)
        if kind == 0:
            text = text[:i] + text[j:]
        elif kind in (1, 2, 3):
            text = text[:i] + piece + text[j:]
        elif kind == 4:
            text = text[:i] + piece + text[i:]
        elif kind == 5:
            text = text[:j] + text[i:j] + text[j:]
        elif kind == 6:
            text = text[:j] + text[i:j] * rng.choice((2, 10, 100)) + text[j:]
        else:
            text = text[:i] if rng.random() < 0.3 else text[:i] + chr(rng.randrange(0x250)) + text[i + 1 :]
    return text[:200_000]


def as_bytes(rng: random.Random, text: str) -> bytes:
    """Text as a stranger's editor may have saved it."""
    kind = rng.random()
    if kind < 0.03:
        return text.encode("utf-16", "surrogatepass")
    if kind < 0.05:
        return text.encode("latin-1", "replace")
    if kind < 0.09:
        return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
    raw = text.encode("utf-8", "surrogatepass")
    if kind < 0.12:
        raw = raw.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\r", b"\x0b")))
    return flipped(rng, raw) if kind > 0.94 else raw


def flipped(rng: random.Random, raw: bytes) -> bytes:
    """Bytes as a disk or a stranger may have changed them."""
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        i = rng.randrange(len(changed))
        kind = rng.randrange(10)
        if kind < 4:
            changed[i] ^= 1 << rng.randrange(8)
        elif kind < 6:
            changed[i] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 6:
            width = rng.choice((2, 4, 8))
            value = rng.choice((0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width) - 1, rng.getrandbits(8 * width)))
            changed[i : i + width] = value.to_bytes(width, "little")
        elif kind == 7:
            width = rng.choice((4, 16, 200))
            k = rng.randrange(len(changed))
            changed[i : i + width] = changed[k : k + width]
        elif kind == 8:
            changed[i : i + rng.choice((1, 8, 512))] = b""
        else:
            changed = changed[:i] if rng.random() < 0.5 else changed + bytes(changed[:i])
    return bytes(changed)


def mixed(seldom: float, valid: Callable[[random.Random], str], tricks: list[str]) -> Callable[[random.Random], str]:
    """Valid text, one time in 1/``seldom`` as it is, else mutated."""

    def make(rng: random.Random) -> str:
        text = valid(rng)
        return text if rng.random() < seldom else mutated(rng, text, tricks)

    return make


def change_text(rng: random.Random, raw: bytes) -> bytes:
    return mutated(rng, raw.decode("utf-8", "surrogateescape"), TRICKS).encode("utf-8", "surrogatepass")


@functools.cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="bayescale-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def scratch(name: str) -> Path:
    return Path(_folder()) / name


class silent:
    """What is printed meanwhile goes nowhere, but must be printable as UTF-8."""

    def __enter__(self) -> None:
        self.kept = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = self.kept
