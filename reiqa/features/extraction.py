"""Full image at each scale through the frozen experts, pooled, side by side.

Images of one shape are encoded together; none is padded, for that would change its features. Each
is decoded once for all experts of a run, in threads that run ahead of the encoders.
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
from reiqa.encoders import NORMALIZATION
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


def extract(dataset: str, expert: ExpertName, params: Params, strict: bool = False) -> Path:
    """Compute the features of a rated set through one expert.

    Rows known from an earlier run with the same weights and preprocessing are reused; rows
    computed now are kept under ``work/features`` as they come.

    Args:
        dataset: its index must be there.
        expert: its weights must be there.
        params: ``features`` and ``compute`` matter.
        strict: stop at the first image that cannot be used, instead of giving it an error row.

    Returns:
        ``layout.features(dataset, expert)``: ``(N, scales * width)``.

    Raises:
        BadInputError: the index or the weights are not there; with ``strict``, a bad image.
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
    """Compute the rows that `extract` will want for each of several experts, in one pass.

    Each image is decoded and halved once for all of them. Arguments and errors are those of
    `extract`.
    """
    earlier = [layout.features(dataset, expert) for expert in experts]
    _encode_all(experts, _dataset_source(dataset), params, strict, earlier)


def extract_folder(
    folder: Path, experts: Sequence[ExpertName], params: Params, out: Path, strict: bool = False
) -> Path:
    """Compute the features of every image under a folder through one expert or several.

    Args:
        folder: searched with its subfolders.
        experts: their features stand side by side, in this order.
        params: ``features`` and ``compute`` matter.
        out: the cache to write.
        strict: stop at the first image that cannot be used.

    Raises:
        BadInputError: there is no image in the folder; with ``strict``, a bad image.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder")
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in layout.IMAGE_SUFFIXES
        and not any(map(layout.is_hidden, path.relative_to(folder).parts))
    )
    if not names:
        raise BadInputError(f"{folder}: no image in this folder")
    source = _ImageSource("folder", folder, names, parameters.tree_digest(names), None)
    parts = _encode_all(experts, source, params, strict, [out] * len(experts))
    cache.write_features(out, parts[0] if len(parts) == 1 else _concatenate(parts))
    _report(source, parts)
    return out


@dataclass(frozen=True)
class _ImageSource:
    """Images to encode: the job's name, where they lie, which, from what, and how large."""

    job: str
    root: Path
    names: list[str]
    index: str
    resize: int | None


def _dataset_source(dataset: str) -> _ImageSource:
    path = layout.index(dataset)
    names = list(indices.read_index(path).images)
    return _ImageSource(
        dataset,
        layout.raw(dataset),
        names,
        store.verified_digest(path),
        catalog.get_entry(dataset).resize,
    )


@dataclass(frozen=True)
class ExpertRun:
    """One expert at work: what decides its features, its encoder, and its rows so far."""

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
    """Return the features of ``source`` by expert; ``earlier`` may hold rows to be reused."""
    viewing = ResizePolicy.from_params(params.features, source.resize)
    # The GPU is chosen before torch first looks for one.
    with devices.device(params.compute) as processor, ThreadPoolExecutor(_workers()) as pool:
        lines = [
            _expert_run(expert, source, params, processor, path)
            for expert, path in zip(experts, earlier, strict=True)
        ]
        paths = [source.root / name for name in source.names]
        known = file_digests(paths, pool)
        wanted = {digest: path for digest, path in zip(known, paths, strict=True) if digest}
        pending = [
            EncodeJob(path, digest)
            for digest, path in wanted.items()
            if any(digest not in line.rows for line in lines)
        ]
        faults: dict[str, str] = {}
        done = len(wanted) - len(pending)
        with progress_bar(
            f"features {source.job} {' + '.join(experts)}", len(wanted), done=done
        ) as shown:
            for batch in decode_batches(plan_batches(pending, viewing, pool), viewing, pool):
                for group in _by_shape(batch, faults):
                    _encode(group, lines, params.features.scales, processor, faults)
                if strict and faults:
                    raise BadInputError(next(iter(faults.values())))
                shown.update(len(batch))
    for path, digest in zip(paths, known, strict=True):
        if not digest and strict:
            raise BadInputError(f"{path}: no such file, or not readable")
    return [_collect_table(source, known, line, faults) for line in lines]


def _expert_run(
    expert: ExpertName, source: _ImageSource, params: Params, processor: torch.device, earlier: Path
) -> ExpertRun:
    settings, weights = params.features, layout.model(expert)
    encoder = load_encoder(weights)
    precision = params.compute.precision if processor.type == "cuda" else "float32"
    recipe = FeatureRecipe(
        {expert: store.verified_digest(weights)},
        {
            "format": STAGES["features"].format,
            "scales": list(settings.scales),
            "pooling": settings.pooling,
            "half": "antialiased bicubic",
            "resize": source.resize,
            "max_pixels": settings.max_pixels,
            "normalisation": NORMALIZATION[expert].name,
            "precision": precision,
            "processor": processor.type,
        },
    )
    key = parameters.tree_digest([dict(recipe.weights), dict(recipe.preprocessing)])[:24]
    encoding = FrozenEncoder(encoder, settings.scales, processor, precision, settings.pooling)
    rows = RowStore(store.WORK / "features" / key, f"{source.job}-{expert}", encoding.width)
    _reuse_rows(earlier, recipe, rows)
    return ExpertRun(recipe, encoding, rows)


def _by_shape(
    batch: Sequence[DecodedImage], faults: dict[str, str]
) -> list[list[tuple[DecodedImage, Pixels]]]:
    """Sort what was decoded by shape, since a header may lie; note in ``faults`` what was not."""
    shapes: dict[tuple[int, ...], list[tuple[DecodedImage, Pixels]]] = defaultdict(list)
    for item in batch:
        if item.pixels is None:
            faults[item.job.digest] = item.fault
        else:
            shapes[item.pixels.shape].append((item, item.pixels))
    return list(shapes.values())


def _encode(
    group: Sequence[tuple[DecodedImage, Pixels]],
    lines: Sequence[ExpertRun],
    scales: Sequence[float],
    processor: torch.device,
    faults: dict[str, str],
) -> None:
    """Add the rows of images of one shape; note in ``faults`` what gives none."""
    seen = scaled_views(to_batch([pixels for _, pixels in group], processor), scales)
    for line in lines:
        lacking = [at for at, (item, _) in enumerate(group) if item.job.digest not in line.rows]
        if not lacking:
            continue
        values = line.encoding.encode([view[lacking] for view in seen])
        sound = np.isfinite(values.sum(axis=1))
        items = [group[at][0] for at in lacking]
        for item, finite in zip(items, sound, strict=True):
            if not finite:
                faults[item.job.digest] = f"{item.job.path}: its features are not finite numbers"
        kept = [item for item, finite in zip(items, sound, strict=True) if finite]
        shrunk = np.array([item.shrunk for item in kept], dtype=np.float32)
        line.rows.append([item.job.digest for item in kept], values[sound], shrunk)


def _collect_table(
    source: _ImageSource, known: Sequence[str], line: ExpertRun, faults: Mapping[str, str]
) -> FeatureTable:
    """Put an expert's rows in the order of the index."""
    values = np.full((len(known), line.encoding.width), np.nan, dtype=np.float32)
    shrunk: Column = np.ones(len(known), dtype=np.float32)
    errors = [""] * len(known)
    for row, (name, digest) in enumerate(zip(source.names, known, strict=True)):
        if digest in line.rows:
            values[row], shrunk[row] = line.rows.get(digest)
        else:
            errors[row] = faults.get(digest, f"{source.root / name}: no such file, or not readable")
    return FeatureTable(source.names, values, known, errors, shrunk, line.recipe, source.index)


def _report(source: _ImageSource, found: Sequence[FeatureTable]) -> None:
    """Say what was wrong with which image, once for all experts."""
    errors = dict.fromkeys(line for features in found for line in features.errors if line)
    scaled = max(int((features.shrunk < 1).sum()) for features in found)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        many = f"{len(errors)} of {len(source.names)}"
        log(f"features {source.job}: {many} images not usable: {next(iter(errors))}{more}")
        log("once they are mended, the same command with --force takes them in")
    if scaled:
        log(f"features {source.job}: {scaled} images over max_pixels were scaled down")


def _reuse_rows(earlier: Path, recipe: FeatureRecipe, rows: RowStore) -> None:
    """Take rows from a cache made before, if it holds the same kind of features and is whole."""
    if not earlier.exists():
        return
    try:
        old = cache.read_features(earlier)
    except BadInputError as error:
        log(f"{earlier}: damaged, so it is made anew ({error})")
        return
    if old.recipe != recipe:
        return
    for digest, values, shrunk, fault in zip(
        old.digests, old.values, old.shrunk, old.errors, strict=True
    ):
        if not fault and digest not in rows:
            rows.add_known(digest, values, float(shrunk))


def _concatenate(parts: Sequence[FeatureTable]) -> FeatureTable:
    """Join the features of several experts; an image that failed in one has failed."""
    first = parts[0]
    errors = [
        next(filter(None, lines), "") for lines in zip(*(p.errors for p in parts), strict=True)
    ]
    values = np.concatenate([part.values for part in parts], axis=1)
    values[[bool(line) for line in errors]] = np.nan
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
    """Threads that decode: every processor this job may use."""
    return max(2, devices.cpu_count())
