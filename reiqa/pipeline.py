"""Run stages from Python: each function makes what is missing or stale, and nothing else.

    from reiqa import pipeline
    params = pipeline.load_params()
    pipeline.make("fit", params, "koniq10k")

`make` runs any stage of `reiqa.stages`; the other functions are for stages with options of their
own. All work in the current folder, as the command line does.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from reiqa import catalog, devices, distortions, layout, store
from reiqa import params as parameters
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, ExpertName, Params
from reiqa.stages import STAGES, artifacts, lookup, shards


def load_params(file: Path = layout.PARAMS) -> Params:
    """Read params.yaml, and check its names against the catalog and the bank.

    Raises:
        BadInputError: the file is missing, or holds what is not allowed.
    """
    return parameters.load_params(
        file, catalog.rated_names(), catalog.corpus_names(), distortions.names
    )


def make(
    stage: str,
    params: Params,
    item: str = "",
    force: bool = False,
    work: Callable[[], object] | None = None,
    recorded: Params | None = None,
) -> bool:
    """Make an artifact of a stage unless it is up to date; say whether it was made.

    Args:
        stage: a key of `STAGES`.
        params: all parameters.
        item: which artifact; a value for each wildcard of the stage, with slashes.
        force: make it even if it is up to date.
        work: does it in place of the stage's function.
        recorded: parameters to record in place of ``params``: for work that deviates from them, so
            that the next run under params.yaml does not take the artifact for its own.

    Raises:
        BadInputError: an input is missing or corrupt, or the parameters do not allow it.
    """
    spec = STAGES[stage]
    arguments: list[object] = [*spec.values(item), *([params] if spec.parameters else [])]
    path = spec.path(item)
    return store.make_artifact(
        path,
        stage,
        item,
        lookup(recorded or params),
        spec.reads(params, item),
        work or (lambda: spec.function()(*arguments)),
        force,
        spec.beside(path),
    )


def fetch(
    datasets: Iterable[str], params: Params, mirror: Path | None = None, force: bool = False
) -> list[BaseException]:
    """Download datasets, several at once; one that fails does not stop the others.

    Args:
        datasets: names in the catalog.
        params: all parameters.
        mirror: folder to look in before any download.
        force: download even what is complete.

    Returns:
        What the failed ones raised.

    Raises:
        BadInputError: a name is not in the catalog.
    """
    from reiqa.data import fetch as downloads
    from reiqa.data.concurrency import run_each

    names = list(dict.fromkeys(datasets))
    for name in names:
        catalog.get_entry(name)

    def download(name: str) -> None:
        again = force or not downloads.is_complete(name)
        make("fetch", params, name, again, lambda: downloads.fetch(name, mirror, force))

    done: Sequence[Future[None]] = run_each(download, names, downloads.AT_ONCE)
    return [error for job in done if (error := job.exception()) is not None]


def index(
    dataset: str,
    params: Params,
    allow_missing: bool = False,
    verify: bool = False,
    force: bool = False,
) -> bool:
    """Match a dataset's images and ratings in one checked table.

    Args:
        dataset: a name in the catalog.
        params: all parameters.
        allow_missing: accept that listed images are absent, whatever ``params`` say.
        verify: read every image's header.
        force: make it even if it is up to date.

    Raises:
        BadInputError: images are missing or do not match the ratings.
    """
    from reiqa.data import index as indices

    catalog.get_entry(dataset)
    if allow_missing:
        tolerant = params.data.model_copy(update={"allow_missing": True})
        params = params.model_copy(update={"data": tolerant})
    return make(
        "index",
        params,
        dataset,
        force,
        lambda: indices.index_dataset(dataset, params, verify),
    )


def fetch_and_index(dataset: str, params: Params) -> None:
    """Make the index of a dataset that has none, from the mirror of the environment if one is set.

    Raises:
        BadInputError: the dataset cannot be downloaded or indexed.
    """
    if layout.index(dataset).exists():
        return
    mirror = os.environ.get("REIQA_MIRROR")
    for error in fetch([dataset], params, Path(mirror) if mirror else None):
        raise error
    index(dataset, params)


def chunks(corpus: str, params: Params, force: bool = False) -> None:
    """Cut all shards of a corpus.

    Raises:
        BadInputError: there is no such corpus, or it has no index.
    """
    for item in shards(params, corpus):
        make("chunks", params, item, force)


def make_expert(expert: ExpertName, params: Params, force: bool = False) -> None:
    """Pretrain an expert, or import its weights where ``params`` say so.

    Under torchrun every process calls this; the first holds the artifact's lock and decides.

    Raises:
        BadInputError: its inputs are missing, or its checkpoint does not fit.
    """
    work = STAGES["model"].function()
    if os.environ.get("RANK", "0") != "0":
        if devices.receive_decision():
            work(expert, params)
        return

    def announced() -> None:
        devices.broadcast_decision(True)
        work(expert, params)

    if not make("model", params, expert, force, announced):
        devices.broadcast_decision(False)


def features(
    dataset: str,
    params: Params,
    experts: Sequence[ExpertName] = EXPERTS,
    strict: bool = False,
    force: bool = False,
) -> None:
    """Encode a dataset with frozen experts, in one pass over its images.

    Args:
        dataset: a rated set in the catalog; fetched and indexed first if it is not there.
        params: all parameters.
        experts: which; their models must exist.
        strict: stop at an image that cannot be read.
        force: make the caches even if they are up to date.

    Raises:
        BadInputError: a model or image is missing, or the dataset is unknown.
    """
    from reiqa import features as extraction

    for name in experts:
        require_model(name)
    fetch_and_index(dataset, params)
    freshness = store.Freshness(lookup(params))
    stale = [name for name in experts if not freshness.is_fresh(layout.features(dataset, name))]
    if len(stale) > 1:
        # In one pass each image is decoded once for both; below each takes its rows from there.
        with ExitStack() as held:
            for name in stale:
                held.enter_context(store.locked(layout.features(dataset, name)))
            extraction.extract_rows(dataset, stale, params, strict)

    def work(name: ExpertName) -> Callable[[], object]:
        return lambda: extraction.extract(dataset, name, params, strict)

    for name in experts:
        # A strict run must not take a cache with error rows for its own.
        again = force or (strict and extraction.has_errors(layout.features(dataset, name)))
        make("features", params, f"{dataset}/{name}", again, work(name))


def folder_features(
    images: Path,
    out: Path,
    params: Params,
    experts: Sequence[ExpertName] = EXPERTS,
    strict: bool = False,
) -> None:
    """Encode any folder of images, in one HDF5 file.

    Args:
        images: the folder.
        out: the file to write.
        params: all parameters.
        experts: which; their models must exist.
        strict: stop at an image that cannot be read.

    Raises:
        BadInputError: a model is missing, or the folder holds no images.
    """
    from reiqa import features as extraction

    for name in experts:
        require_model(name)
    with store.locked(store.WORK / "features" / "folder"):
        store.remove_partials(out)
        extraction.extract_folder(images, list(experts), params, out, strict)


def require_model(expert: ExpertName) -> None:
    """Check that an expert has been made.

    Raises:
        BadInputError: it has not; the message names the command that makes it.
    """
    path = layout.model(expert)
    if not path.exists():
        raise BadInputError(f"{path}: not made yet; run: {STAGES['model'].command_for(expert)}")


def fit(dataset: str, params: Params, splits: Path | None = None, force: bool = False) -> bool:
    """Fit and evaluate a dataset's regressors.

    Args:
        dataset: a rated set in the catalog, with features of both experts.
        params: all parameters.
        splits: a table of splits to use in place of the protocol's.
        force: make it even if it is up to date.

    Raises:
        BadInputError: features are missing, or the table does not fit the dataset.
    """
    if splits is None:
        return make("fit", params, dataset, force)
    from reiqa import regression

    if not splits.is_file():
        raise BadInputError(f"{splits}: no such file")
    protocol = f"{splits.name} {store.file_digest(splits)}"
    section = params.regression.model_copy(update={"protocol": protocol})
    recorded = params.model_copy(update={"regression": section})
    work = lambda: regression.fit(dataset, params, splits)  # noqa: E731
    return make("fit", params, dataset, force, work, recorded)


def status(params: Params) -> list[tuple[Path, str]]:
    """Return every artifact of a whole run, and why it is stale; empty where it is up to date."""
    freshness = store.Freshness(lookup(params))
    paths = [stage.path(item) for stage, item in artifacts(params)]
    return [(path, freshness.why_stale(path) or "") for path in paths]
