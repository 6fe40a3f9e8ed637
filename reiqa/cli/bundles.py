"""Verbs for bundles: bundle, bundles and export."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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
) -> None:
    """Bundle both experts and the regressor of a dataset into a portable scorer with a model card.

    Example: `reiqa bundle --dataset biq2021 --out bundles/mine`
    """
    if dataset is None:
        raise BadInputError(
            "bundle: no dataset given; pass --dataset with the dataset of a finished run"
        )
    if notes is not None and not notes.is_file():
        raise BadInputError(f"{notes}: no such file")
    require_rated_dataset(dataset)
    from reiqa import store
    from reiqa.scoring import build

    with store.locked(out):
        made = build.build_bundle(dataset, out, notes, also or [])
    typer.echo(f"{made.identity}; score with: reiqa score FOLDER --bundle {out}")


def bundles(
    form: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Output format.")
    ] = "table",
    speed: Annotated[
        bool, typer.Option(help="Measure the speed of each bundle, which takes seconds.")
    ] = True,
) -> None:
    """List the installed bundles with size, training set, accuracy and measured speed.

    Speed is the processor time to score one decoded 1024x768 image on one thread of this machine.

    Example: `reiqa bundles --format json`
    """
    from reiqa.scoring import installed

    rows = installed.list_bundles(speed)
    typer.echo(installed.as_json(rows) if form == "json" else installed.as_text(rows))


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="ONNX file to write.")],
    bundle: Annotated[
        str, typer.Argument(help="Name, folder or hub address (hf://USER/REPO) of a bundle.")
    ] = "lite",
) -> None:
    """Export a bundle to an ONNX file from pixels to points.

    Example: `reiqa export lite -o lite.onnx`
    """
    from reiqa import store

    store.check_target(out, ".onnx")
    from reiqa.scoring.bundle import load_bundle

    # Before the import of torch, which takes seconds.
    found = load_bundle(bundle)
    from reiqa.scoring import Scorer
    from reiqa.scoring.onnx import export_onnx

    export_onnx(Scorer(found), store.link_target(out))
    log(f"{out}: written")
