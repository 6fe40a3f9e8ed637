"""Run stages from Python: each function makes only what is missing or stale.

    from reiqa import pipeline
    params = pipeline.load_params()
    pipeline.run_stage("fit", params, "koniq10k")

`run_stage` runs any stage of `reiqa.stages`. The other functions are for stages with additional
options. All functions use the current folder, as the command line does.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from reiqa import catalog, devices, distortions, layout, store
from reiqa import params as parameters
from reiqa.backbone_check import check_timm_backbones
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, ExpertName, Params
from reiqa.stages import STAGES, artifacts, lookup, shards


def load_params(file: Path = layout.PARAMS) -> Params:
    """Read params.yaml and check its names against the catalog, the bank and timm.

    Raises:
        BadInputError: the file is missing or invalid.
    """
    params = parameters.load_params(
        file, catalog.rated_names(), catalog.corpus_names(), lambda: distortions.TYPES
    )
    for name in params.degraded_datasets():
        owner = catalog.get_entry(name).shares
        if not owner:
            raise BadInputError(
                f"{file}: regression.ranking.dataset: {name} does not hold copies of another"
                " dataset (shares in the catalog); name one that does"
            )
        if owner not in params.datasets:
            raise BadInputError(
                f"{file}: regression.ranking.dataset: {name} holds copies of {owner}; add {owner}"
                " to datasets, or set regression.ranking to null"
            )
    try:
        check_timm_backbones(params)
    except BadInputError as error:
        raise BadInputError(f"{file}: {error}") from None
    return params


def run_stage(
    stage: str,
    params: Params,
    item: str = "",
    force: bool = False,
    work: Callable[[], object] | None = None,
    recorded: Params | None = None,
) -> bool:
    """Make an artifact of a stage unless it is up to date; return whether it was made.

    Args:
        stage: a key of `STAGES`.
        params: all parameters.
        item: item of the stage: the values of its wildcards, separated by slashes.
        force: make the artifact even if it is up to date.
        work: function to call instead of the stage's function.
        recorded: parameters to record instead of ``params``. Needed if ``work`` deviates from
            ``params``, so that the artifact is stale in the next run under params.yaml.

    Raises:
        BadInputError: an input is missing or corrupted, or the parameters are invalid.
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
        spec.companion_paths(path),
    )


def fetch(
    datasets: Iterable[str], params: Params, mirror: Path | None = None, force: bool = False
) -> list[BaseException]:
    """Download datasets in parallel; one that fails does not stop the others.

    Args:
        datasets: names in the catalog.
        params: all parameters.
        mirror: folder to search before downloading.
        force: fetch again even if complete.

    Returns:
        Exceptions of the failed datasets.

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
        run_stage("fetch", params, name, again, lambda: downloads.fetch(name, mirror, force))

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
        allow_missing: accept missing images, overriding ``params``.
        verify: read the header of every image.
        force: make it even if it is up to date.

    Raises:
        BadInputError: images are missing or do not match the ratings.
    """
    from reiqa.data import index as indices

    if catalog.get_entry(dataset).folder:
        # Nothing is downloaded: the receipt records what the folder contains now.
        run_stage("fetch", params, dataset)
    if allow_missing:
        tolerant = params.data.model_copy(update={"allow_missing": True})
        params = params.model_copy(update={"data": tolerant})
    return run_stage(
        "index",
        params,
        dataset,
        force or verify,
        lambda: indices.index_dataset(dataset, params, verify),
    )


def fetch_and_index(dataset: str, params: Params) -> None:
    """Fetch and index a dataset without an index, using the mirror in ``REIQA_MIRROR``.

    A local dataset is indexed again if its files changed.

    Raises:
        BadInputError: the dataset cannot be downloaded or indexed.
    """
    if catalog.get_entry(dataset).folder:
        index(dataset, params)
        return
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
        run_stage("chunks", params, item, force)


def make_expert(expert: ExpertName, params: Params, force: bool = False) -> None:
    """Pretrain an expert, or import its weights, as ``params`` specify.

    Under torchrun every process calls this function. The main process holds the lock of the
    artifact and decides whether to train.

    Raises:
        BadInputError: inputs are missing, or the checkpoint does not match the backbone.
    """
    work = STAGES["model"].function()
    if os.environ.get("RANK", "0") != "0":
        if devices.receive_decision():
            work(expert, params)
        return

    def broadcast_and_work() -> None:
        devices.broadcast_decision(True)
        work(expert, params)

    if not run_stage("model", params, expert, force, broadcast_and_work):
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
        dataset: a rated dataset in the catalog; fetched and indexed first if missing.
        params: all parameters.
        experts: experts to use; one that is not pretrained is imported if its model is missing.
        strict: raise at an unreadable image.
        force: make the caches even if they are up to date.

    Raises:
        BadInputError: a model or image is missing, or the dataset is unknown.
    """
    for name in experts:
        if params.expert(name).source != "pretrain" and not layout.model(name).exists():
            make_expert(name, params)
        require_model(name)
    fetch_and_index(dataset, params)
    freshness = store.Freshness(lookup(params))
    stale = [name for name in experts if not freshness.is_fresh(layout.features(dataset, name))]
    if len(stale) > 1:
        from reiqa.features.extraction import extract_rows

        # One pass decodes each image once for all experts; the loop below reuses the rows.
        with ExitStack() as locks:
            for name in stale:
                locks.enter_context(store.locked(layout.features(dataset, name)))
            extract_rows(dataset, stale, params, strict)

    def work(name: ExpertName) -> Callable[[], object]:
        return lambda: STAGES["features"].function()(dataset, name, params, strict)

    with_errors: set[ExpertName] = set()
    if strict:  # A strict run must not accept a cache with error rows.
        from reiqa.features.cache import has_errors

        with_errors = {name for name in experts if has_errors(layout.features(dataset, name))}
    for name in experts:
        run_stage("features", params, f"{dataset}/{name}", force or name in with_errors, work(name))


def folder_features(
    images: Path,
    out: Path,
    params: Params,
    experts: Sequence[ExpertName] = EXPERTS,
    strict: bool = False,
) -> None:
    """Encode a folder of images into one HDF5 file.

    Args:
        images: the folder.
        out: the file to write.
        params: all parameters.
        experts: experts to use; their models must exist.
        strict: raise at an unreadable image.

    Raises:
        BadInputError: a model is missing, the folder contains no images, or ``out`` cannot be
            written or has other content.
    """
    from reiqa.features.cache import check_output

    for name in experts:
        require_model(name)
    out = store.link_target(out)
    check_output(out)
    from reiqa.features.extraction import extract_folder  # torch, after what fails at once

    with store.locked(store.WORK / "features" / "folder"):
        store.remove_partials(out)
        extract_folder(images, list(experts), params, out, strict)


def require_model(expert: ExpertName) -> None:
    """Check that the model of an expert exists.

    Raises:
        BadInputError: the model does not exist.
    """
    path = layout.model(expert)
    if not path.exists():
        raise BadInputError(f"{path}: not found; run: {STAGES['model'].command_for(expert)}")


def fit(dataset: str, params: Params, splits: Path | None = None, force: bool = False) -> bool:
    """Fit and evaluate a dataset's regressors.

    Args:
        dataset: a rated dataset in the catalog, with features of both experts.
        params: all parameters.
        splits: a table of splits that replaces those of the protocol.
        force: make it even if it is up to date.

    Raises:
        BadInputError: features are missing, or the table does not match the dataset.
    """
    if splits is None:
        return run_stage("fit", params, dataset, force)
    if not splits.is_file():
        raise BadInputError(f"{splits}: no such file")
    protocol = f"{splits.name} {store.file_digest(splits)}"
    section = params.regression.model_copy(update={"protocol": protocol})
    recorded = params.model_copy(update={"regression": section})
    work = lambda: STAGES["fit"].function()(dataset, params, splits)  # noqa: E731
    return run_stage("fit", params, dataset, force, work, recorded)


def status(params: Params) -> list[tuple[Path, str]]:
    """Return all artifacts with the reason why they are stale, or "" if they are up to date."""
    freshness = store.Freshness(lookup(params))
    paths = [stage.path(item) for stage, item in artifacts(params)]
    return [(path, freshness.why_stale(path) or "") for path in paths]
