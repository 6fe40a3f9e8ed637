"""A finished graph without its work: every artifact a few bytes, each with its true provenance."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from support.project import Project

from reiqa import layout, params, store
from reiqa.data import catalog
from reiqa.stages import stage_parameters
from reiqa.params import EXPERTS, Params


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
        sets = [*tree.seen(), *tree.corpora()]
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
    for name in [*tree.seen(), *tree.corpora()]:
        yield layout.receipt(name), "fetch", name, [], [layout.raw(name)]
        yield layout.index(name), "index", name, [layout.receipt(name)], []
    shards = []
    if tree.quality.source == "pretrain":
        for corpus in tree.chunks.corpora:
            for number in range(tree.chunks.shard_count(catalog.get_entry(corpus).images)):
                shards.append(layout.shard(corpus, number))
                yield shards[-1], "chunks", corpus, [layout.index(corpus)], []
    learnt = {
        "quality": shards,
        "content": [layout.index(corpus) for corpus in tree.content.corpora],
    }
    for expert in EXPERTS:
        path = layout.model(expert)
        sources = learnt[expert] if tree.expert(expert).source == "pretrain" else []
        yield path, "model", expert, sources, [path.with_suffix(".json")]
    models = [layout.model(expert) for expert in EXPERTS]
    unseen = [layout.index(corpus) for corpus in tree.unseen()]
    yield layout.PROBE, "probe", "", [*models, *unseen], []
    for name in tree.seen():
        features = [layout.features(name, expert) for expert in EXPERTS]
        for expert, path in zip(EXPERTS, features, strict=True):
            inputs = [layout.index(name), layout.model(expert)]
            yield path, "features", f"{name}/{expert}", inputs, []
    for name in tree.datasets:
        beside = [layout.companion(layout.result(name), kind) for kind in layout.RESULT_KINDS]
        yield (
            layout.result(name),
            "fit",
            name,
            layout.regression_inputs(name, *tree.copies()),
            beside,
        )
    used = [*map(layout.result, tree.datasets), *layout.regression_inputs(*tree.seen())]
    yield layout.CROSS, "cross", "", used, []
    results = [layout.result(name) for name in tree.datasets]
    inputs = [*results, layout.CROSS, *models, layout.PROBE]
    yield layout.ALL_SRCC, "report", "", inputs, layout.REPORT_FILES


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
