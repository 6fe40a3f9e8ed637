"""Verbs that make the two experts: pretraining and published weights."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout
from reiqa.cli.options import Force, ParamsFile
from reiqa.errors import BadInputError
from reiqa.expert_names import ExpertName


def pretrain(
    expert: Annotated[ExpertName, typer.Option(help="Expert to train.")],
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
            f"{file}: {expert}.source is {source}, so it is not trained."
            f" Run: reiqa weights import --expert {expert}"
        )
    pipeline.make_expert(expert, params, force)


def weights_import(
    expert: Annotated[ExpertName, typer.Option(help="Expert to create.")],
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Published checkpoint; default: the file in params.yaml.")
    ] = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Import a checkpoint (Re-IQA, MoCo-v2, torchvision, reiqa) or the expert of a bundle.

    With `source: package` in params.yaml, it uses the weights of an installed package.

    Example: `reiqa weights import quality.pth --expert quality`
    """
    from reiqa import pipeline

    params = pipeline.load_params(file)
    section = params.expert(expert)
    if checkpoint is not None and not layout.checkpoint(str(checkpoint)).exists():
        raise BadInputError(f"{checkpoint}: no such file")
    other = checkpoint is not None and (section.file is None or checkpoint != Path(section.file))
    if section.source == "pretrain" or other:
        wanted = checkpoint or "FILE"
        raise BadInputError(
            f"{file}: {expert}.source and {expert}.file do not name this checkpoint, so the next"
            f" pipeline run would undo the import. Set {expert}.source to import and"
            f" {expert}.file to {wanted}."
        )
    pipeline.make_expert(expert, params, force)


def weights_fetch(
    name: Annotated[str, typer.Argument(help="reiqa_quality, reiqa_content or moco_v2_800ep.")],
) -> None:
    """Download a published checkpoint to data/weights, or verify an existing one.

    Example: `reiqa weights fetch moco_v2_800ep`
    """
    from reiqa.encoders import download

    typer.echo(download.fetch_checkpoint(name))
