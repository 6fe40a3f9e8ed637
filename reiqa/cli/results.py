"""Verbs from photographs to tables: features, fit, report."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout
from reiqa.cli.options import Dataset, Force, ParamsFile, require_rated_dataset
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, ExpertName
from reiqa.progress import log


def features(
    dataset: Annotated[str | None, typer.Option(help="A rated set of: reiqa datasets.")] = None,
    images: Annotated[Path | None, typer.Option(help="Any folder of images instead.")] = None,
    expert: Annotated[ExpertName | None, typer.Option(help="Both if not given.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="With --images.")] = Path("features.h5"),
    strict: Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image.")] = False,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Turn images into features with the frozen experts, cached as HDF5.

    What the dataset still lacks (photographs, index) is made first; the experts must be there.

    Example: `reiqa features --dataset demo`
    """
    from reiqa import pipeline

    params = pipeline.load_params(file)
    experts: list[ExpertName] = [expert] if expert else list(EXPERTS)
    if (dataset is None) == (images is None):
        raise BadInputError("features: give either --dataset NAME or --images DIR")
    if dataset is not None:
        require_rated_dataset(dataset)
        pipeline.features(dataset, params, experts, strict, force)
    if images is not None:
        pipeline.folder_features(images, out, params, experts, strict)
        log(f"{out}: written")


def fit(
    dataset: Dataset,
    splits: Annotated[Path | None, typer.Option(help="A table of splits of your own.")] = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Fit the regressor of a dataset by the protocol, and measure it.

    Example: `reiqa fit --dataset demo`
    """
    from reiqa import pipeline

    require_rated_dataset(dataset)
    pipeline.fit(dataset, pipeline.load_params(file), splits, force)


def report(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Gather all results into results/all_srcc.csv and one page, results/report.html.

    Example: `reiqa report`
    """
    from reiqa import pipeline
    from reiqa.report.tables import table_text

    pipeline.make("report", pipeline.load_params(file), force=force)
    typer.echo(table_text())
    typer.echo(f"Table:  {layout.ALL_SRCC}\nReport: {layout.REPORT.absolute().as_uri()}")
