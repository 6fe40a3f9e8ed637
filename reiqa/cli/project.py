"""Verbs about a whole project: its presets, its state, its environment."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout, store, text
from reiqa import params as parameters
from reiqa.cli.options import ParamsFile
from reiqa.errors import BadInputError
from reiqa.progress import log


def preset(
    name: Annotated[str, typer.Argument(help="demo, biq2021 or paper.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")] = layout.PARAMS,
    force: Annotated[bool, typer.Option("--force", help="Even over a file you changed.")] = False,
) -> None:
    """Write a preset to params.yaml.

    Example: `reiqa preset biq2021`
    """
    folder = Path(parameters.__file__).parent / "presets"
    texts = {file.stem: file.read_text(encoding="utf-8") for file in folder.glob("*.yaml")}
    if name not in texts:
        raise BadInputError(f"preset {name!r}: no such preset; allowed: {', '.join(sorted(texts))}")
    if out.exists() and not force and out.read_text(encoding="utf-8") not in texts.values():
        raise BadInputError(f"{out}: holds changes of your own; keep them, or say --force")
    store.write_text(out, texts[name])
    log(f"{out}: now the preset {name}")


def status(
    everything: Annotated[
        bool, typer.Option("--all", help="List what is up to date as well.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Say which artifacts are stale or missing, and why.

    Example: `reiqa status`
    """
    from reiqa import pipeline

    found = pipeline.status(pipeline.load_params(file))
    shown = [(str(path), why or "up to date") for path, why in found if why or everything]
    if shown:
        typer.echo(text.align_columns(("artifact", "state"), shown))
    stale = sum(bool(why) for _, why in found)
    typer.echo(f"{len(found) - stale} of {len(found)} artifacts are up to date")


def doctor(
    results: Annotated[
        bool, typer.Option("--results", help="Walk back from the results to what they came from.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Say what works on this machine and what does not.

    Example: `reiqa doctor --results`
    """
    from reiqa import doctor as checks

    sound = checks.check_lineage(layout.ALL_SRCC) if results else checks.check_environment(file)
    raise typer.Exit(0 if sound else 1)
