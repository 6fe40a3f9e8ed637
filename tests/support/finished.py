"""A finished graph without its work: every artifact a few bytes, each with its true provenance."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from support.project import Project

from reiqa import layout, params, stages, store
from reiqa.params import Params
from reiqa.stages import stage_parameters


def finish(project: Project, photographs: int = 0) -> int:
    """Put down all that the project's parameters ask for, as if each verb had run.

    Args:
        project: what is finished; its params.yaml decides the graph.
        photographs: empty files spread over the folders of the sets.

    Returns:
        How many artifacts that are; each is one job.
    """
    with contextlib.chdir(project.folder):
        tree = params.load_params(layout.PARAMS)
        sets = [*tree.feature_datasets(), *tree.corpora()]
        for place, name in enumerate(sets):
            _photographs(layout.raw(name), len(range(place, photographs, len(sets))))
        made = list(artifacts(tree))
        for each in made:
            _put(tree, *each)
        return len(made)


def artifacts(
    tree: Params,
) -> Iterable[tuple[Path, str, str, list[Path], list[Path]]]:
    """Path, stage, item, inputs and companions of every artifact, inputs first."""
    for stage, item in stages.artifacts(tree):
        path = stage.path(item)
        yield path, stage.name, item, stage.reads(tree, item), stage.companion_paths(path)


def _put(
    tree: Params, path: Path, stage: str, item: str, inputs: list[Path], beside: list[Path]
) -> None:
    for each in (path, *beside):
        _write(each)
    digests = store.input_digests(inputs)
    store.sign_sidecar(path, stage, item, stage_parameters(tree, stage, item), digests, beside)


def _write(path: Path) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n" if path.suffix == ".json" else f"{path}\n")


def _photographs(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:07d}.jpg").write_text(f"{folder.name} {number}")
