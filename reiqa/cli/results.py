"""Verbs from images to results: features, fit and report."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout
from reiqa.cli.options import Dataset, Force, ParamsFile, require_rated_dataset
from reiqa.errors import BadInputError
from reiqa.expert_names import EXPERTS, VARIANTS, ExpertName
from reiqa.progress import log


def features(
    dataset: Annotated[
        str | None, typer.Option(help="Name of a rated dataset (see: reiqa datasets).")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images, instead of --dataset.")
    ] = None,
    expert: Annotated[
        ExpertName | None, typer.Option(help="Only this expert; default: both.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Output file for --images.")] = Path(
        "features.h5"
    ),
    strict: Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image.")] = False,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Extract features of images with the frozen experts and cache them as HDF5.

    Missing images and indexes are fetched and built first. The experts must exist.

    Example: `reiqa features --dataset demo`
    """
    from reiqa import pipeline

    params = pipeline.load_params(file)
    experts: list[ExpertName] = [expert] if expert else list(EXPERTS)
    if (dataset is None) == (images is None):
        raise BadInputError("features: pass either --dataset NAME or --images DIR")
    if dataset is not None:
        require_rated_dataset(dataset)
        pipeline.features(dataset, params, experts, strict, force)
    if images is not None:
        pipeline.folder_features(images, out, params, experts, strict)
        log(f"{out}: written")


def fit(
    dataset: Dataset,
    splits: Annotated[Path | None, typer.Option(help="Table with your own splits.")] = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Fit the regressor of a dataset and evaluate it by the protocol.

    Example: `reiqa fit --dataset demo`
    """
    from reiqa import pipeline, store

    require_rated_dataset(dataset)
    pipeline.fit(dataset, pipeline.load_params(file), splits, force)
    result = store.read_json(layout.result(dataset))
    medians = [(name, result["variants"][name]["srcc"]["median"]) for name in VARIANTS]
    shown = ", ".join(
        f"{name} {'undefined' if srcc is None else f'{srcc:.3f}'}" for name, srcc in medians
    )
    typer.echo(f"{dataset}: median SRCC {shown} over {result['protocol']['text']}")
    if any(srcc is None for _, srcc in medians):
        typer.echo("undefined: a test part needs two images with different scores")
    typer.echo(f"Result: {layout.result(dataset)}")


def report(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Collect all results into results/all_srcc.csv and the page results/report.html.

    Example: `reiqa report`
    """
    from reiqa import pipeline
    from reiqa.report.tables import table_text

    pipeline.run_stage("report", pipeline.load_params(file), force=force)
    typer.echo(table_text())
    typer.echo(f"Table:  {layout.ALL_SRCC}\nReport: {layout.REPORT.absolute().as_uri()}")
