"""Verbs that make the two experts: pretraining, the probe, weights of others."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from reiqa import devices, layout, store
from reiqa.cli.given import Force, ParamsFile, bound, load
from reiqa.errors import BadInputError
from reiqa.identity import under
from reiqa.params import EXPERTS, ExpertName, Params


def pretrain(
    expert: Annotated[ExpertName, typer.Option(help="Which encoder.")],
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Pretrain an expert with MoCo-v2; run it again after a cut and it goes on where it stopped.

    Example: `reiqa pretrain --expert quality`
    """
    params = load(file)
    source = params.expert(expert).source
    if source != "pretrain":
        raise BadInputError(
            f"{file}: {expert}.source is {source}, so it is not trained;"
            f" make it with: reiqa weights import --expert {expert}"
        )
    from reiqa import pretrain as training

    if os.environ.get("RANK", "0") != "0":
        # Under torchrun the first process holds the artifact's lock and decides; the others help.
        if devices.told_of_work():
            training.pretrain(expert, params)
        return

    def work() -> None:
        devices.tell_of_work(True)
        training.pretrain(expert, params)

    if not _make_model(expert, params, training.inputs(expert, params), work, force):
        devices.tell_of_work(False)


def probe(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Measure what both experts know, beside random weights: models/probe.json.

    Of a distortion its type and level, and of a photograph another crop.

    Example: `reiqa probe`
    """
    from reiqa.pretrain import probing

    params = load(file)
    inputs = [
        *(layout.model(name) for name in EXPERTS),
        *(layout.index(corpus) for corpus in params.unseen()),
    ]
    store.make(
        layout.PROBE, "probe", "", under(params), inputs, bound(probing.write, params), force
    )


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
    from reiqa import encoders

    params = load(file)
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
    _make_model(expert, params, [], bound(encoders.obtain, expert, params), force)


def weights_fetch(
    name: Annotated[str, typer.Argument(help="reiqa_quality, reiqa_content or moco_v2_800ep.")],
) -> None:
    """Download a published checkpoint to data/weights, or check the one that is there.

    Example: `reiqa weights fetch moco_v2_800ep`
    """
    from reiqa.encoders import download

    typer.echo(download.fetch(name))


def _make_model(
    expert: ExpertName,
    params: Params,
    inputs: list[Path],
    work: Callable[[], object],
    force: bool,
) -> bool:
    path = layout.model(expert)
    beside = [layout.beside(path, kind) for kind in layout.MODELLED]
    return store.make(path, "model", expert, under(params), inputs, work, force, beside)
