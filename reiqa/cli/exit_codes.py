"""How a verb ends: with one line for a person, and an exit code for the shell."""

import os
import signal
import sys
from typing import Any, NoReturn

import typer

from reiqa import store, text
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.progress import log

#: The root of click's usage errors; typer has its own copy of click, and had not always.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]

#: What is told in a line; anything else is a fault of this program, and shows where.
EXPECTED = (BadInputError, WorkFailedError, OSError)

#: Exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130


def on_interrupt(_number: int, _frame: object) -> NoReturn:
    """Handle Ctrl-C: say what becomes of the work, and end it.

    Raises:
        KeyboardInterrupt: always.
    """
    # A second Ctrl-C ends the process whatever it does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log("reiqa: interrupted; what is finished is kept, the same command goes on from there")
    raise KeyboardInterrupt


def exit_now(code: int) -> NoReturn:
    """End at once: threads that wait for a server would hold an orderly end up for minutes."""
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def message_and_code(error: BaseException) -> tuple[str, int]:
    """Return the line and the exit code that an expected error comes to."""
    if isinstance(error, USAGE_ERROR):
        told, code = _usage(error), 2
    elif isinstance(error, OSError):
        # Disk full, no permission, a folder in the way: the system's words say it best.
        told, code = f"{error.filename or 'the system'}: {error.strerror or error}", 1
        told += "; make room and run again" * (error.errno in store.DISK_FULL_ERRORS)
    else:
        told, code = str(error), 2 if isinstance(error, BadInputError) else 1
    return f"reiqa: {text.escape_control_characters(' '.join(told.split()))}", code


def _usage(error: Any) -> str:
    """Say in one line what is wrong with the words of a command, and where they are explained."""
    command = error.ctx.command_path if error.ctx else " ".join(["reiqa", *sys.argv[1:2]])
    verb = command.removeprefix("reiqa").strip()
    what = error.format_message().replace("Value error, ", "").replace("(s)", "").rstrip(".")
    return f"{verb}{': ' * bool(verb)}{what[:1].lower()}{what[1:]} (see: {command} --help)"
