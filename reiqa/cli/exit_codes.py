"""Error messages and exit codes of the command line."""

import os
import signal
import sys
from typing import Any, NoReturn

import typer

from reiqa import text
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.progress import log

#: Base class of click's usage errors. Some versions of typer vendor click, others import it.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]

#: Errors reported as one line. Any other exception is a bug and shows its traceback.
EXPECTED = (BadInputError, WorkFailedError, OSError)

#: Exit code after Ctrl-C, as in shells.
INTERRUPTED = 130


def on_interrupt(_number: int, _frame: object) -> NoReturn:
    """Handle Ctrl-C: log how to resume, and stop.

    Raises:
        KeyboardInterrupt: always.
    """
    # A second Ctrl-C kills the process immediately.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log("reiqa: interrupted; finished work is kept. Run the same command again to resume.")
    raise KeyboardInterrupt


def exit_now(code: int) -> NoReturn:
    """Exit without joining threads, which could wait minutes for a server."""
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def message_and_code(error: BaseException) -> tuple[str, int]:
    """Return the message line and the exit code of an expected error."""
    if isinstance(error, USAGE_ERROR):
        message, code = _usage(error), 2
    elif isinstance(error, OSError):
        from reiqa import store

        # Disk full, no permission and the like: the system's message is the clearest.
        message, code = f"{error.filename or 'the system'}: {error.strerror or error}", 1
        message += ". Free disk space and rerun." * (error.errno in store.DISK_FULL_ERRORS)
    else:
        message, code = str(error), 2 if isinstance(error, BadInputError) else 1
    return f"reiqa: {text.escape_control_characters(' '.join(message.split()))}", code


def _usage(error: Any) -> str:
    """Return a one-line description of a usage error, with a pointer to the help."""
    command = error.ctx.command_path if error.ctx else " ".join(["reiqa", *sys.argv[1:2]])
    verb = command.removeprefix("reiqa").strip()
    what = error.format_message().replace("Value error, ", "").replace("(s)", "").rstrip(".")
    what = what.replace("Input should be", "must be").partition(", unable to parse")[0]
    return f"{verb}{': ' * bool(verb)}{what[:1].lower()}{what[1:]} (see: {command} --help)"
