"""Verbs that make a scorer to give away, and use one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reiqa import store
from reiqa.cli.options import require_rated_dataset
from reiqa.errors import BadInputError
from reiqa.progress import log


def bundle(
    dataset: Annotated[
        str | None, typer.Option(help="Make a bundle of the run on this rated set.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Its folder; the bundle is named as it is.")
    ] = Path("bundles/mine"),
    notes: Annotated[
        Path | None, typer.Option(help="A text for the card: what the scorer is bad at.")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="A result of the same experts by another protocol, for the card."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Write the bundle as this ONNX file as well.")
    ] = None,
) -> None:
    """Make a scorer to give away: both experts and the regressor of a dataset, with a card.

    With --onnx alone, a bundle that is there (--out names it) becomes an ONNX file.

    Example: `reiqa bundle --dataset biq2021 --out bundles/mine`
    """
    if dataset is None and onnx is None:
        raise BadInputError("bundle: name the rated set of a finished run with --dataset")
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
        typer.Argument(help="Files, folders, patterns; - for a list on standard input."),
    ],
    bundle: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "lite",
    form: Annotated[
        Literal["table", "csv", "jsonl"] | None,
        typer.Option("--format", help="Of the rows; a table, or by the suffix of --out."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Keep rows here; those already there are not made again."),
    ] = None,
    sort: Annotated[
        Literal["worst", "best", "name"] | None, typer.Option(help="Which rows come first.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option("--map", help="Draw into this folder where each image is bad.")
    ] = None,
    recursive: Annotated[bool, typer.Option(help="Look into the folders of a folder.")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Images at a time; all processors if not given.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")
    ] = "cpu",
) -> None:
    """Say how good photographs are: 0 to 100 points, higher is better.

    Example: `reiqa score photo.jpg holiday/ --sort worst`
    """
    from reiqa.scoring import run

    run.score_paths(paths, bundle, form, out, sort, maps, recursive, threads, device)
