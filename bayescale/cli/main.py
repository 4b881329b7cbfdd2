"""The command line: its commands, and its errors as one sentence and status 1."""

import atexit
import contextlib
import errno
import gc
import logging
import os
import sys
from collections import Counter
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from bayescale.cli.budgets import allocate, approaches, emergence, gain, landmarks, next_, plan, reach, sample
from bayescale.cli.demo import demo
from bayescale.cli.evidence import backtest, calibrate, compare
from bayescale.cli.fits import cite, fit, reproduce, show
from bayescale.cli.forecasts import forecast, running
from bayescale.cli.laws import laws
from bayescale.cli.options import flat
from bayescale.cli.plots import plot
from bayescale.cli.report import report
from bayescale.cli.runs import check, datasets
from bayescale.display.terminal import say
from bayescale.errors import BayescaleError, InputError

# in the order of the help
COMMANDS = (
    *(check, laws, fit, forecast, running, allocate, sample, reach, emergence, gain, approaches, landmarks),
    *(next_, plan, backtest, calibrate, compare),
    *(reproduce, report, plot, show, cite, demo, datasets),
)
STREAM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # of the output
MESSAGE_CHARACTERS_MAX = 2000
INTERRUPTED = 130  # the status of a process that Ctrl-C ended


class Command(TyperCommand):
    """A command that refuses an option of one value given twice, whose first value Typer would drop."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, seen = self.make_parser(ctx).parse_args(list(args))  # one entry for each time that an option was given
        for option, times in Counter[Any](seen).items():
            if times > 1 and option.param_type_name == "option" and not (option.multiple or option.is_flag):
                raise InputError(f"{' / '.join(option.opts)} is given {times} times; it takes one value")
        return super().parse_args(ctx, args)


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        say(version_of("bayescale"))
        raise typer.Exit


@app.callback()
def bayescale(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Bayesian scaling laws: credible bands for the loss of training runs not yet made."""


for command in COMMANDS:
    app.command(name=command.__name__.strip("_").replace("_", "-"), cls=Command)(flat(command))


def main() -> None:
    """Entry point: a user's mistake is one plain sentence and status 1."""
    _prepare_process()
    try:
        arguments = sys.argv[1:]
        status = typer.main.get_command(app)(arguments or ["--help"], standalone_mode=False, prog_name="bayescale")
        if not arguments:
            raise InputError("a command is expected; 'bayescale --help' lists them")
        if status == INTERRUPTED:  # as Typer passes an interrupt on
            raise KeyboardInterrupt
        sys.stdout.flush()  # before the status says that all went well
    except KeyboardInterrupt:
        resumed = any(one.split("=")[0] == "--resume" for one in sys.argv)
        say(f"stopped{' (the folder of --resume is kept: the same command goes on)' if resumed else ''}", sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    except typer.TyperException as error:  # an unknown command or option, a missing argument
        text = " ".join(error.format_message().split())
        _fail(f"{text[:1].lower()}{text[1:].rstrip('.')}; see 'bayescale --help' and 'bayescale COMMAND --help'")
    except BayescaleError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is not None or error.errno not in STREAM_ERRORS:
            raise
        with contextlib.suppress(OSError):  # or Python would try again at its end, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"the output cannot be written: {error.strerror}")
    raise SystemExit(status if isinstance(status, int) else 0)


def _prepare_process() -> None:
    try:
        Path.home()
    except RuntimeError:  # a user without a home, as in some containers: packages that keep files there would fail
        os.environ["HOME"] = os.devnull  # so they find that nothing can be kept
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # which would tell so, in two sentences
    gc.set_threshold(100_000)  # imports make little garbage; collecting it takes a twentieth of the start
    atexit.register(gc.freeze)  # nor is there any use in a last search through all that was imported
    for stream in (sys.stdout, sys.stderr):  # a terminal without Unicode shows escapes
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str) -> NoReturn:
    say(f"error: {' '.join(message.split())[:MESSAGE_CHARACTERS_MAX]}", sys.stderr)
    raise SystemExit(1) from None


if __name__ == "__main__":
    main()
