"""The verbs of ``reiqa``: each reads params.yaml, calls one function, writes one kind of file.

Nothing heavy is imported at the top of a module here: ``reiqa --help`` must answer at once.
"""

import contextlib
import io
import logging
import os
import signal
import sys
import warnings
from importlib import metadata
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from reiqa.cli import data, experts, project, results, scores, stages
from reiqa.cli.exit_codes import (
    EXPECTED,
    INTERRUPTED,
    USAGE_ERROR,
    exit_now,
    message_and_code,
    on_interrupt,
)
from reiqa.progress import log


class _Verbs(TyperGroup):
    """A group of verbs that explains itself when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


app = typer.Typer(
    cls=_Verbs,
    help="Blind image quality assessment with two self-supervised experts (Re-IQA, CVPR 2023).",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights = typer.Typer(cls=_Verbs, help="Bring in weights that others have published.")
app.add_typer(weights, name="weights")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reiqa {metadata.version('reiqa')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


# In the order of the work, which is that of the help.
for _verb in (
    *(project.preset, data.datasets, data.fetch, data.index, data.distort, data.chunks),
    *(experts.pretrain, stages.verb("probe"), results.features, results.fit),
    *(stages.verb("cross"), results.report, scores.bundle, scores.score),
    *(project.status, project.doctor),
):
    app.command()(_verb)
weights.command("import")(experts.weights_import)
weights.command("fetch")(experts.weights_fetch)


def _mend_streams() -> None:
    """Keep closed or narrow standard streams from ending a run.

    A closed descriptor would be given to the next file that is opened, which messages of libraries
    would then be written into; a name that the terminal cannot show is shown escaped.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Where a stream was a file and has become a pipe, Python asks for its position in vain.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="backslashreplace")


def main() -> NoReturn:
    """Run a verb; end with 0 for done, 1 for failed work, 2 for bad input, 130 for Ctrl-C."""
    signal.signal(signal.SIGINT, on_interrupt)
    _mend_streams()
    # A stranger's photograph is read or refused; what Pillow thinks of its tags is of no use here.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    code: int | None = INTERRUPTED
    try:
        code = app(prog_name="reiqa", standalone_mode=False)
    except (USAGE_ERROR, *EXPECTED) as error:
        message, code = message_and_code(error)
        log(message)
    except (KeyboardInterrupt, typer.Abort):
        pass
    if code == INTERRUPTED:
        exit_now(code)
    sys.exit(code or 0)
