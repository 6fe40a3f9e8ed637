"""Verbs for scorers: bundle and score."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reiqa import store
from reiqa.cli.options import require_rated_dataset
from reiqa.errors import BadInputError
from reiqa.progress import log


def bundle(
    dataset: Annotated[
        str | None, typer.Option(help="Bundle the regressor of this rated dataset.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of the bundle; its name is the bundle's name."),
    ] = Path("bundles/mine"),
    notes: Annotated[
        Path | None, typer.Option(help="Text file for the model card, e.g. limitations.")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="More results of the same experts, for the model card."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Also export the bundle to this ONNX file.")
    ] = None,
) -> None:
    """Bundle both experts and the regressor of a dataset into a portable scorer with a model card.

    With --onnx and without --dataset, export the existing bundle --out to ONNX.

    Example: `reiqa bundle --dataset biq2021 --out bundles/mine`
    """
    if dataset is None and onnx is None:
        raise BadInputError(
            "bundle: no dataset given; pass --dataset with the dataset of a finished run"
        )
    if notes is not None and not notes.is_file():
        raise BadInputError(f"{notes}: no such file")
    from reiqa.scoring import build

    if dataset is not None:
        require_rated_dataset(dataset)
        with store.locked(out):
            typer.echo(build.build_bundle(dataset, out, notes, also or []).identity)
    if onnx is not None:
        from reiqa.scoring import Scorer
        from reiqa.scoring.onnx import export_onnx

        export_onnx(Scorer.load(out), onnx)
        log(f"{onnx}: written")


def score(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders or patterns; - reads a list from standard input."),
    ],
    bundle: Annotated[str, typer.Option(help="Name or folder of a bundle.")] = "lite",
    form: Annotated[
        Literal["table", "csv", "jsonl"] | None,
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
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Device to compute on.")
    ] = "cpu",
) -> None:
    """Score the quality of photographs from 0 to 100; higher is better.

    Example: `reiqa score photo.jpg holiday/ --sort worst`
    """
    from reiqa.scoring import run

    run.score_paths(paths, bundle, form, out, sort, maps, recursive, threads, device, html)
