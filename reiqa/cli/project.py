"""Verbs for a project: preset, status and doctor."""

from pathlib import Path
from typing import Annotated

import typer

import reiqa
from reiqa import layout, text
from reiqa.cli.options import ParamsFile
from reiqa.errors import BadInputError
from reiqa.progress import log


def preset(
    name: Annotated[str, typer.Argument(help="demo, biq2021 or paper.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = layout.PARAMS,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a modified file.")] = False,
) -> None:
    """Write a preset to params.yaml.

    Example: `reiqa preset biq2021`
    """
    from reiqa import store

    folder = Path(reiqa.__file__).parent / "presets"
    texts = {file.stem: file.read_text(encoding="utf-8") for file in folder.glob("*.yaml")}
    if name not in texts:
        raise BadInputError(f"preset {name!r}: no such preset; allowed: {', '.join(sorted(texts))}")
    if out.exists() and not force and out.read_text(encoding="utf-8") not in texts.values():
        raise BadInputError(f"{out}: the file has been modified; pass --force to overwrite it")
    store.write_text(out, texts[name])
    log(f"{out}: preset {name} written")


def status(
    everything: Annotated[
        bool, typer.Option("--all", help="List up-to-date artifacts too.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """List artifacts that are stale or missing, with the reason.

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
        bool, typer.Option("--results", help="Check the lineage of the results.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Check the installation and the hardware of this machine.

    Example: `reiqa doctor --results`
    """
    from reiqa import doctor as checks

    passed = checks.check_lineage(layout.ALL_SRCC) if results else checks.check_environment(file)
    raise typer.Exit(0 if passed else 1)
