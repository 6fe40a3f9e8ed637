"""The verb for scores of images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reiqa.layout import LEAST_SIDE


def score(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders or patterns; - reads a list from standard input."),
    ],
    bundle: Annotated[
        str, typer.Option(help="Name, folder or hub address (hf://USER/REPO) of a bundle.")
    ] = "lite",
    form: Annotated[
        Literal["table", "csv", "jsonl", "json"] | None,
        typer.Option("--format", help="Output format; default: table, or the suffix of --out."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Output file; images already in it are skipped."),
    ] = None,
    sort: Annotated[
        Literal["worst", "best", "name"] | None, typer.Option(help="Sort order of the rows.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option("--map", help="Folder for quality maps of the images.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write a page of thumbnails with scores to this HTML file."),
    ] = None,
    recursive: Annotated[bool, typer.Option(help="Search subfolders.")] = True,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Number of images scored in parallel; default: all processors."),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(
            min=LEAST_SIDE,
            help="Scale larger images down to this shorter side in pixels, to compare sizes.",
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Device to compute on.")
    ] = "cpu",
) -> None:
    """Score the quality of photographs from 0 to 100; higher is better.

    Example: `reiqa score photo.jpg holiday/ --sort worst`
    """
    from reiqa.scoring import run

    run.score_paths(paths, bundle, form, out, sort, maps, recursive, threads, device, html, resize)
