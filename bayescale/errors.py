"""What is raised: an error whose sentence is for the user is a BayescaleError."""

from collections.abc import Iterator
from contextlib import contextmanager

from bayescale.field import printable


class BayescaleError(ValueError):
    """A user's mistake, or work that cannot be done: the message says what, where, and what to do.

    It is printable, whatever names and cells of a file it quotes.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class RunsError(BayescaleError):
    """Runs that cannot be used; the message names the source, the line or row, the value seen and what is allowed."""


class LawError(BayescaleError):
    """A law file that is missing, cannot be read, or contradicts itself; the message names both sides."""


class FormulaError(BayescaleError):
    """A formula that is not in the language; the message names the offence."""


class FitError(BayescaleError):
    """A fit that cannot be made, trusted, saved or opened; the message says which and what to do."""


class FileError(BayescaleError):
    """A result that cannot be written where it was asked for."""


class InputError(BayescaleError):
    """An argument of the command line that cannot be used."""


@contextmanager
def needed(package: str, what: str, extra: str, error: type[BayescaleError] = RunsError) -> Iterator[None]:
    """Imports of a package that is an extra of this one; where it is not installed, what needs it is refused."""
    try:
        yield
    except ImportError:
        raise error(f"{what} needs {package}: pip install 'bayescale[{extra}]'") from None
