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

from reiqa import devices, layout, store
from reiqa import params as parameters
from reiqa.data import catalog
from reiqa.data import index as indices
from reiqa.encoders import NORMALISATION
from reiqa.encoders import load as load_encoder
from reiqa.errors import BadInputError
from reiqa.features import cache
from reiqa.features.cache import Column, Features, Recipe
from reiqa.features.decoding import Decoded, decoded
from reiqa.features.encoding import Encoding, stacked, views
from reiqa.features.plan import Job, Pixels, Viewing, batches, digests
from reiqa.features.rows import RowStore
from reiqa.params import ExpertName, Params
from reiqa.progress import meter, say


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
    source = _rated(dataset)
    (found,) = _through([expert], source, params, strict, [path])
    cache.write(path, found)
    _report(source, [found])
    return path


def prepare(
    dataset: str, experts: Sequence[ExpertName], params: Params, strict: bool = False
) -> None:
    """Compute the rows that `extract` will want for each of several experts, in one pass.

    Each image is decoded and halved once for all of them. Arguments and errors are those of
    `extract`.
    """
    earlier = [layout.features(dataset, expert) for expert in experts]
    _through(experts, _rated(dataset), params, strict, earlier)


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
        if path.suffix.lower() in layout.SUFFIXES
        and not any(map(layout.is_hidden, path.relative_to(folder).parts))
    )
    if not names:
        raise BadInputError(f"{folder}: no image in this folder")
    source = _Source("folder", folder, names, parameters.digest(names), None)
    parts = _through(experts, source, params, strict, [out] * len(experts))
    cache.write(out, parts[0] if len(parts) == 1 else _side_by_side(parts))
    _report(source, parts)
    return out


@dataclass(frozen=True)
class _Source:
    """Images to encode: the job's name, where they lie, which, from what, and how large."""

    job: str
    root: Path
    names: list[str]
    index: str
    resize: int | None


def _rated(dataset: str) -> _Source:
    path = layout.index(dataset)
    names = list(indices.read(path).images)
    return _Source(
        dataset, layout.raw(dataset), names, store.verified(path), catalog.get(dataset).resize
    )


@dataclass(frozen=True)
class _Line:
    """One expert at work: what decides its features, its encoder, and its rows so far."""

    recipe: Recipe
    encoding: Encoding
    rows: RowStore


def _through(
    experts: Sequence[ExpertName],
    source: _Source,
    params: Params,
    strict: bool,
    earlier: Sequence[Path],
) -> list[Features]:
    """Return the features of ``source`` by expert; ``earlier`` may hold rows to be reused."""
    viewing = Viewing.of(params.features, source.resize)
    # The GPU is chosen before torch first looks for one.
    with devices.device(params.compute) as processor, ThreadPoolExecutor(_workers()) as pool:
        lines = [
            _line(expert, source, params, processor, path)
            for expert, path in zip(experts, earlier, strict=True)
        ]
        paths = [source.root / name for name in source.names]
        known = digests(paths, pool)
        wanted = {digest: path for digest, path in zip(known, paths, strict=True) if digest}
        pending = [
            Job(path, digest)
            for digest, path in wanted.items()
            if any(digest not in line.rows for line in lines)
        ]
        faults: dict[str, str] = {}
        done = len(wanted) - len(pending)
        with meter(f"features {source.job} {' + '.join(experts)}", len(wanted), done=done) as shown:
            for batch in decoded(batches(pending, viewing, pool), viewing, pool):
                for group in _by_shape(batch, faults):
                    _encode(group, lines, params.features.scales, processor, faults)
                if strict and faults:
                    raise BadInputError(next(iter(faults.values())))
                shown.advance(len(batch))
    for path, digest in zip(paths, known, strict=True):
        if not digest and strict:
            raise BadInputError(f"{path}: no such file, or not readable")
    return [_gather(source, known, line, faults) for line in lines]


def _line(
    expert: ExpertName, source: _Source, params: Params, processor: torch.device, earlier: Path
) -> _Line:
    settings, weights = params.features, layout.model(expert)
    encoder = load_encoder(weights)
    precision = params.compute.precision if processor.type == "cuda" else "float32"
    recipe = Recipe(
        {expert: store.verified(weights)},
        {
            "format": store.FORMATS["features"],
            "scales": list(settings.scales),
            "pooling": settings.pooling,
            "half": "antialiased bicubic",
            "resize": source.resize,
            "max_pixels": settings.max_pixels,
            "normalisation": NORMALISATION[expert].name,
            "precision": precision,
            "processor": processor.type,
        },
    )
    key = parameters.digest([dict(recipe.weights), dict(recipe.preprocessing)])[:24]
    encoding = Encoding(encoder, settings.scales, processor, precision, settings.pooling)
    rows = RowStore(store.WORK / "features" / key, f"{source.job}-{expert}", encoding.width)
    _recall(earlier, recipe, rows)
    return _Line(recipe, encoding, rows)


def _by_shape(
    batch: Sequence[Decoded], faults: dict[str, str]
) -> list[list[tuple[Decoded, Pixels]]]:
    """Sort what was decoded by shape, since a header may lie; note in ``faults`` what was not."""
    shapes: dict[tuple[int, ...], list[tuple[Decoded, Pixels]]] = defaultdict(list)
    for item in batch:
        if item.pixels is None:
            faults[item.job.digest] = item.fault
        else:
            shapes[item.pixels.shape].append((item, item.pixels))
    return list(shapes.values())


def _encode(
    group: Sequence[tuple[Decoded, Pixels]],
    lines: Sequence[_Line],
    scales: Sequence[float],
    processor: torch.device,
    faults: dict[str, str],
) -> None:
    """Add the rows of images of one shape; note in ``faults`` what gives none."""
    seen = views(stacked([pixels for _, pixels in group], processor), scales)
    for line in lines:
        lacking = [at for at, (item, _) in enumerate(group) if item.job.digest not in line.rows]
        if not lacking:
            continue
        values = line.encoding.rows([view[lacking] for view in seen])
        sound = np.isfinite(values.sum(axis=1))
        items = [group[at][0] for at in lacking]
        for item, finite in zip(items, sound, strict=True):
            if not finite:
                faults[item.job.digest] = f"{item.job.path}: its features are not finite numbers"
        kept = [item for item, finite in zip(items, sound, strict=True) if finite]
        shrunk = np.array([item.shrunk for item in kept], dtype=np.float32)
        line.rows.append([item.job.digest for item in kept], values[sound], shrunk)


def _gather(
    source: _Source, known: Sequence[str], line: _Line, faults: Mapping[str, str]
) -> Features:
    """Put an expert's rows in the order of the index."""
    values = np.full((len(known), line.encoding.width), np.nan, dtype=np.float32)
    shrunk: Column = np.ones(len(known), dtype=np.float32)
    errors = [""] * len(known)
    for row, (name, digest) in enumerate(zip(source.names, known, strict=True)):
        if digest in line.rows:
            values[row], shrunk[row] = line.rows.get(digest)
        else:
            errors[row] = faults.get(digest, f"{source.root / name}: no such file, or not readable")
    return Features(source.names, values, known, errors, shrunk, line.recipe, source.index)


def _report(source: _Source, found: Sequence[Features]) -> None:
    """Say what was wrong with which image, once for all experts."""
    errors = dict.fromkeys(line for features in found for line in features.errors if line)
    scaled = max(int((features.shrunk < 1).sum()) for features in found)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        many = f"{len(errors)} of {len(source.names)}"
        say(f"features {source.job}: {many} images not usable: {next(iter(errors))}{more}")
        say("once they are mended, the same command with --force takes them in")
    if scaled:
        say(f"features {source.job}: {scaled} images over max_pixels were scaled down")


def _recall(earlier: Path, recipe: Recipe, rows: RowStore) -> None:
    """Take rows from a cache made before, if it holds the same kind of features and is whole."""
    if not earlier.exists():
        return
    try:
        old = cache.read(earlier)
    except BadInputError as error:
        say(f"{earlier}: damaged, so it is made anew ({error})")
        return
    if old.recipe != recipe:
        return
    for digest, values, shrunk, fault in zip(
        old.digests, old.values, old.shrunk, old.errors, strict=True
    ):
        if not fault and digest not in rows:
            rows.remember(digest, values, float(shrunk))


def _side_by_side(parts: Sequence[Features]) -> Features:
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
    recipe = Recipe(weights, preprocessing)
    return Features(first.images, values, first.digests, errors, first.shrunk, recipe, first.index)


def _workers() -> int:
    """Threads that decode: every processor this job may use."""
    return max(2, devices.processors())
