"""Extract features of full images at each scale with the frozen experts.

Images of equal shape are batched; padding would change their features. Each image is decoded once
for all experts, in threads that run ahead of the encoders.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reiqa import catalog, devices, layout, store
from reiqa import params as parameters
from reiqa.data import index as indices
from reiqa.data import receipts
from reiqa.data.image_files import ImageFiles
from reiqa.encoders import load_encoder as load_encoder
from reiqa.errors import BadInputError
from reiqa.features import cache
from reiqa.features.batching import EncodeJob, Pixels, ResizePolicy, file_digests, plan_batches
from reiqa.features.cache import Column, FeatureRecipe, FeatureTable
from reiqa.features.decoding import DecodedImage, decode_batches
from reiqa.features.encoding import FrozenEncoder, scaled_views, to_batch
from reiqa.features.row_store import RowStore
from reiqa.params import ExpertName, Params
from reiqa.progress import log, progress_bar
from reiqa.stages import STAGES
from reiqa.tensors import upload


def extract(dataset: str, expert: ExpertName, params: Params, strict: bool = False) -> Path:
    """Compute the features of a rated dataset with one expert.

    Rows from an earlier run with the same weights and preprocessing are reused. New rows are
    stored under ``work/features`` as soon as they are computed.

    Args:
        dataset: name of the dataset; its index must exist.
        expert: name of the expert; its weights must exist.
        params: uses ``features`` and ``compute``.
        strict: raise at the first unusable image instead of writing an error row.

    Returns:
        ``layout.features(dataset, expert)``: ``(N, scales * width)``.

    Raises:
        BadInputError: the index or the weights are missing; with ``strict``, a bad image.
    """
    path = layout.features(dataset, expert)
    source = _dataset_source(dataset)
    (found,) = _encode_all([expert], source, params, strict, [path])
    cache.write_features(path, found)
    _report(source, [found])
    return path


def extract_rows(
    dataset: str, experts: Sequence[ExpertName], params: Params, strict: bool = False
) -> None:
    """Compute the rows that `extract` needs for several experts in one pass.

    Each image is decoded and downscaled once for all experts. See `extract` for arguments and
    errors.
    """
    earlier = [layout.features(dataset, expert) for expert in experts]
    _encode_all(experts, _dataset_source(dataset), params, strict, earlier)


def extract_folder(
    folder: Path, experts: Sequence[ExpertName], params: Params, out: Path, strict: bool = False
) -> Path:
    """Compute the features of all images in a folder with one or more experts.

    Args:
        folder: searched recursively.
        experts: experts whose features are concatenated in this order.
        params: uses ``features`` and ``compute``.
        out: the cache to write.
        strict: raise at the first unusable image.

    Raises:
        BadInputError: the folder contains no image; with ``strict``, a bad image.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder")
    names = ImageFiles.under(folder).images()
    if not names:
        raise BadInputError(f"{folder}: no image in this folder")
    source = _ImageSource("folder", folder, names, parameters.tree_digest(names), None)
    parts = _encode_all(experts, source, params, strict, [out] * len(experts))
    cache.write_features(out, parts[0] if len(parts) == 1 else _concatenate(parts))
    _report(source, parts)
    return out


@dataclass(frozen=True)
class _ImageSource:
    """Images to encode: job name, root folder, file names, digest of the index, and resize."""

    job: str
    root: Path
    names: list[str]
    index: str
    resize: int | None


def _dataset_source(dataset: str) -> _ImageSource:
    path, entry = layout.index(dataset), catalog.get_entry(dataset)
    if entry.folder:
        receipts.require_folder(entry)
    names = list(indices.read_index(path).images)
    return _ImageSource(
        dataset,
        layout.image_folder(dataset),
        names,
        store.verified_digest(path),
        entry.resize,
    )


@dataclass(frozen=True)
class ExpertRun:
    """An expert during extraction: recipe, encoder and stored rows."""

    recipe: FeatureRecipe
    encoding: FrozenEncoder
    rows: RowStore


def _encode_all(
    experts: Sequence[ExpertName],
    source: _ImageSource,
    params: Params,
    strict: bool,
    earlier: Sequence[Path],
) -> list[FeatureTable]:
    """Return the features of ``source`` by expert; ``earlier`` are caches with reusable rows."""
    policy = ResizePolicy.from_params(params.features, source.resize)
    # Select the GPU before torch initialises CUDA.
    with devices.device(params.compute) as processor, ThreadPoolExecutor(_workers()) as pool:
        devices.warn_of_emulation("features.precision", params.features.precision, processor)
        runs = [
            _expert_run(expert, source, params, processor, path)
            for expert, path in zip(experts, earlier, strict=True)
        ]
        paths = [source.root / name for name in source.names]
        known = file_digests(paths, pool)
        wanted = {digest: path for digest, path in zip(known, paths, strict=True) if digest}
        pending = [
            EncodeJob(path, digest)
            for digest, path in wanted.items()
            if any(digest not in run.rows for run in runs)
        ]
        errors_by_digest: dict[str, str] = {}
        done = len(wanted) - len(pending)
        with progress_bar(
            f"features {source.job} {' + '.join(experts)}", len(wanted), done=done
        ) as bar:
            for batch in decode_batches(plan_batches(pending, policy, pool), policy, pool):
                for group in _by_shape(batch, errors_by_digest):
                    _encode(group, runs, params.features.scales, processor, errors_by_digest)
                if strict and errors_by_digest:
                    raise BadInputError(next(iter(errors_by_digest.values())))
                bar.update(len(batch))
    for path, digest in zip(paths, known, strict=True):
        if not digest and strict:
            raise BadInputError(f"{path}: no such file, or not readable")
    return [_collect_table(source, known, run, errors_by_digest) for run in runs]


def _expert_run(
    expert: ExpertName, source: _ImageSource, params: Params, processor: torch.device, earlier: Path
) -> ExpertRun:
    settings, weights = params.features, layout.model(expert)
    encoder = load_encoder(weights)
    recipe = FeatureRecipe(
        {expert: store.verified_digest(weights)},
        {
            "format": STAGES["features"].format,
            "scales": list(settings.scales),
            "pooling": settings.pooling,
            "half": "antialiased bicubic",
            "resize": source.resize,
            "max_pixels": settings.max_pixels,
            "normalisation": encoder.normalization.name,
            "precision": settings.precision,
            "processor": processor.type,
        },
    )
    key = parameters.tree_digest([dict(recipe.weights), dict(recipe.preprocessing)])[:24]
    encoding = FrozenEncoder(
        encoder, settings.scales, processor, settings.precision, settings.pooling
    )
    rows = RowStore(store.WORK / "features" / key, f"{source.job}-{expert}", encoding.width)
    _reuse_rows(earlier, recipe, rows)
    return ExpertRun(recipe, encoding, rows)


def _by_shape(
    batch: Sequence[DecodedImage], errors_by_digest: dict[str, str]
) -> list[list[tuple[DecodedImage, Pixels]]]:
    """Group decoded images by actual shape, as headers can be wrong; record decoding errors."""
    shapes: dict[tuple[int, ...], list[tuple[DecodedImage, Pixels]]] = defaultdict(list)
    for item in batch:
        if item.pixels is None:
            errors_by_digest[item.job.digest] = item.error
        else:
            shapes[item.pixels.shape].append((item, item.pixels))
    return list(shapes.values())


def _encode(
    group: Sequence[tuple[DecodedImage, Pixels]],
    runs: Sequence[ExpertRun],
    scales: Sequence[float],
    processor: torch.device,
    errors_by_digest: dict[str, str],
) -> None:
    """Encode images of one shape and store their rows; record images without finite features."""
    seen = scaled_views(to_batch([pixels for _, pixels in group], processor), scales)
    for run in runs:
        missing = [at for at, (item, _) in enumerate(group) if item.job.digest not in run.rows]
        if not missing:
            continue
        # A list as index would be copied to the device, even one that selects everything.
        rows = None if len(missing) == len(group) else upload(missing, processor)
        views = seen if rows is None else [view.index_select(0, rows) for view in seen]
        values = run.encoding.encode(views)
        valid = np.isfinite(values.sum(axis=1))
        items = [group[at][0] for at in missing]
        for item, finite in zip(items, valid, strict=True):
            if not finite:
                errors_by_digest[item.job.digest] = f"{item.job.path}: features are not finite"
        kept = [item for item, finite in zip(items, valid, strict=True) if finite]
        shrunk = np.array([item.shrunk for item in kept], dtype=np.float32)
        run.rows.append([item.job.digest for item in kept], values[valid], shrunk)


def _collect_table(
    source: _ImageSource, known: Sequence[str], run: ExpertRun, errors_by_digest: Mapping[str, str]
) -> FeatureTable:
    """Return the rows of an expert in the order of the index."""
    values = np.full((len(known), run.encoding.width), np.nan, dtype=np.float32)
    shrunk: Column = np.ones(len(known), dtype=np.float32)
    errors = [""] * len(known)
    for row, (name, digest) in enumerate(zip(source.names, known, strict=True)):
        if digest in run.rows:
            values[row], shrunk[row] = run.rows.get(digest)
        else:
            errors[row] = errors_by_digest.get(
                digest, f"{source.root / name}: no such file, or not readable"
            )
    return FeatureTable(source.names, values, known, errors, shrunk, run.recipe, source.index)


def _report(source: _ImageSource, found: Sequence[FeatureTable]) -> None:
    """Log unusable and downscaled images once for all experts."""
    errors = dict.fromkeys(message for features in found for message in features.errors if message)
    scaled = max(int((features.shrunk < 1).sum()) for features in found)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        many = f"{len(errors)} of {len(source.names)}"
        log(f"features {source.job}: {many} images not usable: {next(iter(errors))}{more}")
        log("fix these images and rerun with --force to include them")
    if scaled:
        log(f"features {source.job}: {scaled} images over max_pixels were scaled down")


def _reuse_rows(earlier: Path, recipe: FeatureRecipe, rows: RowStore) -> None:
    """Reuse the rows of an existing cache if it is valid and has the same recipe."""
    if not earlier.exists():
        return
    try:
        old = cache.read_features(earlier)
    except BadInputError as error:
        log(f"{earlier}: damaged; making it again ({error})")
        return
    if old.recipe != recipe:
        return
    for digest, values, shrunk, row_error in zip(
        old.digests, old.values, old.shrunk, old.errors, strict=True
    ):
        if not row_error and digest not in rows:
            rows.add_known(digest, values, float(shrunk))


def _concatenate(parts: Sequence[FeatureTable]) -> FeatureTable:
    """Concatenate the features of several experts; an error of one expert applies to the row."""
    first = parts[0]
    errors = [next(filter(None, rows), "") for rows in zip(*(p.errors for p in parts), strict=True)]
    values = np.concatenate([part.values for part in parts], axis=1)
    values[[bool(message) for message in errors]] = np.nan
    weights = {name: digest for part in parts for name, digest in part.recipe.weights.items()}
    preprocessing = dict(first.recipe.preprocessing)
    preprocessing["normalisation"] = {
        name: part.recipe.preprocessing["normalisation"]
        for part in parts
        for name in part.recipe.weights
    }
    recipe = FeatureRecipe(weights, preprocessing)
    return FeatureTable(
        first.images, values, first.digests, errors, first.shrunk, recipe, first.index
    )


def _workers() -> int:
    """Return the number of decoding threads."""
    return max(2, devices.cpu_count())
