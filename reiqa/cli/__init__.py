"""The command line of ``reiqa``. Each verb reads params.yaml and calls one function.

The modules of this package import heavy dependencies inside functions, to keep ``reiqa --help``
fast.
"""

import contextlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from reiqa import extras
from reiqa.cli import bundles, data, experts, project, results, scores, stages
from reiqa.cli.exit_codes import (
    EXPECTED,
    INTERRUPTED,
    USAGE_ERROR,
    exit_now,
    message_and_code,
    on_interrupt,
)
from reiqa.progress import log
from reiqa.stages import STAGES


class _Verbs(TyperGroup):
    """A command group that prints its help when no verb is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


app = typer.Typer(
    cls=_Verbs,
    help="Blind image quality assessment with two self-supervised experts (Re-IQA, CVPR 2023).",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights = typer.Typer(cls=_Verbs, help="Download and import published weights.")
app.add_typer(weights, name="weights")
datasets = typer.Typer(invoke_without_command=True, callback=data.datasets)
app.add_typer(datasets, name="datasets")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

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


#: Verbs that work without the packages of the pipeline.
_BASE = {
    *(project.preset, project.status, project.doctor, data.datasets_add),
    *(scores.score, bundles.bundles),
}


def _needs_pipeline(verb: Callable[..., None]) -> Callable[..., None]:
    """Refuse a verb before it starts any work, if packages of the pipeline are not installed."""

    @wraps(verb)
    def run(*arguments: Any, **options: Any) -> None:
        extras.require_pipeline(verb.__name__.replace("_", " "))
        verb(*arguments, **options)

    return run


def _register(group: typer.Typer, verb: Callable[..., None], name: str | None = None) -> None:
    group.command(name)(verb if verb in _BASE else _needs_pipeline(verb))


# In the order of the pipeline; the help lists the verbs in this order.
for _verb in (
    *(project.preset, data.fetch, data.index, data.distort, data.chunks),
    *(experts.pretrain, stages.verb("probe"), results.features, results.fit),
    *(stages.verb("cross"), results.report, bundles.bundle, scores.score),
    *(bundles.bundles, bundles.export, project.status, project.doctor),
):
    _register(app, _verb)
# Stages without a hand-written verb get a generated one.
_REGISTERED = {_verb.callback.__name__ for _verb in app.registered_commands if _verb.callback}
for _name in STAGES:
    if _name not in {*_REGISTERED, "model"}:
        _register(app, stages.verb(_name))
_register(datasets, data.datasets_add, "add")
_register(weights, experts.weights_import, "import")
_register(weights, experts.weights_fetch, "fetch")


def _repair_streams() -> None:
    """Make runs robust against closed standard streams and limited terminal encodings.

    A closed descriptor would be reused by the next opened file, and libraries would write messages
    into that file. Characters that the terminal cannot encode are escaped.
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
            # Python cannot query the position of a stream that was a file and became a pipe.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="backslashreplace")


def main() -> NoReturn:
    """Run a verb. Exit codes: 0 success, 1 failed work, 2 bad input, 130 Ctrl-C."""
    signal.signal(signal.SIGINT, on_interrupt)
    _repair_streams()
    # Images are either read or rejected; Pillow's warnings about their tags do not help the user.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    code: int | None = INTERRUPTED
    try:
        with extras.explain_missing(" ".join(sys.argv[1:2])):
            code = app(prog_name="reiqa", standalone_mode=False)
    except (USAGE_ERROR, *EXPECTED) as error:
        message, code = message_and_code(error)
        log(message)
    except (KeyboardInterrupt, typer.Abort):
        pass
    if code == INTERRUPTED:
        exit_now(code)
    sys.exit(code or 0)
