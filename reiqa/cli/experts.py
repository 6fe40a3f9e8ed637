"""Verbs that make the two experts: pretraining, and weights of others."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout
from reiqa.cli.options import Force, ParamsFile
from reiqa.errors import BadInputError
from reiqa.params import ExpertName


def pretrain(
    expert: Annotated[ExpertName, typer.Option(help="Which encoder.")],
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Pretrain an expert with MoCo-v2. An interrupted run resumes from its last checkpoint.

    Example: `reiqa pretrain --expert quality`
    """
    from reiqa import pipeline

    params = pipeline.load_params(file)
    source = params.expert(expert).source
    if source != "pretrain":
        raise BadInputError(
            f"{file}: {expert}.source is {source}, so it is not trained;"
            f" make it with: reiqa weights import --expert {expert}"
        )
    pipeline.make_expert(expert, params, force)


def weights_import(
    expert: Annotated[ExpertName, typer.Option(help="Which encoder it becomes.")],
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A published checkpoint; params.yaml's own if not given.")
    ] = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Turn a checkpoint (Re-IQA, MoCo-v2, torchvision, or a step of a run here) into an expert.

    With `source: package` in params.yaml, the weights that a package ships.

    Example: `reiqa weights import quality.pth --expert quality`
    """
    from reiqa import pipeline

    params = pipeline.load_params(file)
    section = params.expert(expert)
    if checkpoint is not None and not checkpoint.exists():
        raise BadInputError(f"{checkpoint}: no such file")
    other = checkpoint is not None and (section.file is None or checkpoint != Path(section.file))
    if section.source == "pretrain" or other:
        wanted = checkpoint or "FILE"
        raise BadInputError(
            f"{file}: set {expert}.source to import and {expert}.file to {wanted},"
            " or the next run of the pipeline would undo this"
        )
    pipeline.make_expert(expert, params, force)


def weights_fetch(
    name: Annotated[str, typer.Argument(help="reiqa_quality, reiqa_content or moco_v2_800ep.")],
) -> None:
    """Download a published checkpoint to data/weights, or check the one that is there.

    Example: `reiqa weights fetch moco_v2_800ep`
    """
    from reiqa.encoders import download

    typer.echo(download.fetch_checkpoint(name))
