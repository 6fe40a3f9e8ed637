"""Runs the cells of a matrix, each in a project folder of its own under work/ablations."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from reiqa import encoders, layout, store
from reiqa import params as parameters
from reiqa.ablations import table
from reiqa.ablations.matrix import Cell, Matrix
from reiqa.data import index as indices
from reiqa.errors import WorkFailedError
from reiqa.identity import parameters_of
from reiqa.params import Params
from reiqa.pretrain import run
from reiqa.progress import log
from reiqa.regression import statistics
from reiqa.regression.evaluation import cross_validate, split_metrics
from reiqa.regression.dataset import load_rated_features
from reiqa.regression.splits import make_splits

_RESULT = Path("result.json")


def run(matrix: Matrix, stages: Callable[[Params], object]) -> list[dict[str, Any]]:
    """Run every cell that is not finished, and write the table.

    Args:
        matrix: its base decides splits and regression of every cell, so that cells differ in
            what was learnt alone.
        stages: makes chunks, the quality expert and its features in the current folder, of the
            params.yaml there, and skips what is fresh.

    Returns:
        The rows that finished, as in ``layout.ABLATIONS``, which is written after each cell.

    Raises:
        BadInputError: an index or image is missing.
        WorkFailedError: a cell did not work; the others were run.
    """
    failed = []
    for number, cell in enumerate(matrix.cells, start=1):
        if result(cell) is None:
            log(f"ablate {number}/{len(matrix.cells)}: {label(cell)}")
            try:
                _finish(cell, matrix.cells[0].params, stages)
            except WorkFailedError as error:
                failed.append(f"{label(cell)}: {error}")
        table.write(layout.ABLATIONS, _rows(matrix.cells))
    if failed:
        raise WorkFailedError("; ".join(failed))
    return _rows(matrix.cells)


def result(cell: Cell) -> dict[str, Any] | None:
    """Return what a finished cell gave; None for one that is still to be run."""
    path = cell.folder / _RESULT
    if not path.exists():
        return None
    read: dict[str, Any] = store.read_json(path)
    return read


def label(cell: Cell) -> str:
    """Return a cell's name for people."""
    return f"{cell.factor} = {cell.value}" if cell.value else cell.factor


def _rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    found = [(cell, result(cell)) for cell in cells]
    return [
        {"factor": cell.factor, "value": cell.value, **row, "folder": cell.folder.as_posix()}
        for cell, row in found
        if row is not None
    ]


def _finish(cell: Cell, base: Params, stages: Callable[[Params], object]) -> None:
    """Bring one cell to its end, from wherever it stands."""
    dataset = base.datasets[0]
    _lay_out(cell, dataset)
    with contextlib.chdir(cell.folder):
        start = time.process_time()
        stages(cell.params)
        found = _judged(dataset, base)
        found["seconds"] = round(time.process_time() - start)
        store.write_json(_RESULT, found)


def _judged(dataset: str, base: Params) -> dict[str, Any]:
    """Return how well the quality expert's features predict ratings, and what its probe says."""
    settings = base.regression
    sample = load_rated_features(dataset, ["quality"])
    splits = make_splits(
        sample.index, settings.protocol, settings.splits, settings.fractions, base.seed
    )
    evaluation = cross_validate(sample, splits, settings, base.compute.threads, ["quality"])
    srcc = statistics.summary_statistics(split_metrics(evaluation, sample.ratings, "quality").values["srcc"])
    expert = layout.model("quality")
    card = store.read_json(layout.companion(expert, "json"))
    probed = run.compare_with_random(encoders.load_encoder(expert), run.probe_windows(base.bank))
    return {
        "srcc": srcc["median"],
        "srcc_std": srcc["std"],
        **{name: probed["quality"][name] for name in table.PROBES},
        **{f"untrained_{name}": probed["quality_random"][name] for name in table.PROBES},
        "steps": card["steps"],
        "pairs_per_step": card["pairs_per_step"],
        "images": len(sample.rows),
        "splits": len(splits),
    }


def _lay_out(cell: Cell, dataset: str) -> None:
    """Make a cell's folder: its parameters, and everything that it shares by link."""
    folder, params = cell.folder, cell.params
    corpora = params.chunks.corpora
    digests = store.input_digests([layout.index(name) for name in [*corpora, dataset]])
    store.write_text(
        folder / layout.PARAMS,
        yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False),
    )
    _link(folder / "data/raw", Path("data/raw"))
    for name in corpora:
        for path in (layout.index(name), store.sidecar(layout.index(name))):
            _link(folder / path, path)
    # Chunks depend on less than a cell does: cells that only train otherwise share them.
    used = [digests[layout.index(name).as_posix()] for name in corpora]
    key = parameters.tree_digest([parameters.stage_parameters(params, "chunks"), used])[:16]
    shared = Path("work/ablations/chunks") / key
    shared.mkdir(parents=True, exist_ok=True)
    _link(folder / "data/chunks", shared)
    _judge_on(folder, dataset, cell.images, params)


def _judge_on(folder: Path, dataset: str, count: int | None, params: Params) -> None:
    """Give a cell the rated images: the whole index, or rows spread evenly over it."""
    path = layout.index(dataset)
    if count is None:
        for each in (path, store.sidecar(path)):
            _link(folder / each, each)
        return
    text = indices.subsample(path, count)
    with contextlib.chdir(folder):
        store.write_text(path, text)
        store.sign_sidecar(path, "index", dataset, parameters_of(params, "index", dataset), {})


def _link(link: Path, target: Path) -> None:
    """Let ``link`` lead to ``target``; both are relative to the project."""
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(os.path.relpath(target, link.parent))
