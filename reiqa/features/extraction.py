"""Full image at each scale through a frozen expert, pooled, side by side.

Images of one shape are encoded together; none is padded, for that would change its features.
Decoding runs ahead of the encoder in threads.
"""

import os
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reiqa import images, layout, store
from reiqa import params as parameters
from reiqa.data import catalog
from reiqa.data import index as indices
from reiqa.devices import device
from reiqa.encoders import NORMALISATION
from reiqa.encoders import load as load_encoder
from reiqa.errors import BadInputError
from reiqa.features import cache
from reiqa.features.cache import Column, Features, Recipe
from reiqa.features.encoding import Encoding
from reiqa.features.plan import Job, Pixels, Viewing, batches, digests
from reiqa.features.rows import RowStore
from reiqa.params import ExpertName, Params
from reiqa.progress import meter, say

#: Batches decoded ahead of the encoder.
_AHEAD = 2


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
    names = list(indices.read(layout.index(dataset)).images)
    source = _Source(
        f"{dataset}-{expert}",
        layout.raw(dataset),
        names,
        store.file_digest(layout.index(dataset)),
        catalog.get(dataset).resize,
    )
    cache.write(path, _through(expert, source, params, strict, earlier=path))
    return path


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
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in images.SUFFIXES
    )
    if not names:
        raise BadInputError(f"{folder}: no image in this folder")
    source = _Source("folder", folder, names, parameters.digest(names), None)
    parts = [_through(expert, source, params, strict, earlier=out) for expert in experts]
    cache.write(out, parts[0] if len(parts) == 1 else _side_by_side(parts))
    return out


@dataclass(frozen=True)
class _Source:
    """Images to encode: the job's name, where they lie, which, from what, and how large."""

    job: str
    root: Path
    names: list[str]
    index: str
    resize: int | None


def _through(
    expert: ExpertName, source: _Source, params: Params, strict: bool, earlier: Path
) -> Features:
    """Return the features of ``source``; ``earlier`` may be a cache whose rows can be reused."""
    settings, weights = params.features, layout.model(expert)
    viewing = Viewing.of(settings, source.resize)
    # The GPU is chosen before torch first looks for one.
    with device(params.compute) as processor:
        encoder = load_encoder(weights)
        recipe = Recipe(
            {expert: store.file_digest(weights)},
            {
                "scales": list(settings.scales),
                "half": "antialiased bicubic",
                "resize": source.resize,
                "max_pixels": settings.max_pixels,
                "normalisation": NORMALISATION[expert].name,
                "precision": params.compute.precision if processor.type == "cuda" else "float32",
                "processor": processor.type,
            },
        )
        key = parameters.digest([dict(recipe.weights), dict(recipe.preprocessing)])[:24]
        width = len(settings.scales) * encoder.width
        rows = RowStore(store.WORK / "features" / key, source.job, width)
        _recall(earlier, recipe, rows)
        encoding = Encoding(encoder, settings.scales, processor, recipe.preprocessing["precision"])
        return _compute(source, viewing, encoding, rows, recipe, strict)


def _compute(
    source: _Source,
    viewing: Viewing,
    encoding: Encoding,
    rows: RowStore,
    recipe: Recipe,
    strict: bool,
) -> Features:
    paths = [source.root / name for name in source.names]
    faults: dict[str, str] = {}
    with ThreadPoolExecutor(_workers()) as pool:
        known = digests(paths, pool)
        wanted = {digest: path for digest, path in zip(known, paths, strict=True) if digest}
        pending = [Job(path, digest) for digest, path in wanted.items() if digest not in rows]
        reused = len(wanted) - len(pending)
        with meter(f"features {source.job}", len(wanted), done=reused) as shown:
            for batch in _decoded(batches(pending, viewing, pool), viewing, pool):
                _encode(batch, encoding, rows, faults, strict)
                shown.advance(len(batch))
    for path, digest in zip(paths, known, strict=True):
        if not digest and strict:
            raise BadInputError(f"{path}: no such file, or not readable")
    return _gather(source, known, encoding.width, rows, faults, recipe)


@dataclass(frozen=True)
class _Decoded:
    """A file as the encoder sees it, or why it cannot be seen."""

    job: Job
    pixels: Pixels | None
    shrunk: float = 1.0
    fault: str = ""


def _decoded(
    planned: Sequence[Sequence[Job]], viewing: Viewing, pool: ThreadPoolExecutor
) -> Iterator[list[_Decoded]]:
    """Yield each batch decoded, while the pool works on the next ones."""

    def decode(job: Job) -> _Decoded:
        try:
            pixels, shrunk = viewing.load(job.path)
        except BadInputError as error:
            return _Decoded(job, None, fault=str(error))
        return _Decoded(job, pixels, shrunk)

    running: deque[list[Future[_Decoded]]] = deque()
    for batch in planned:
        running.append([pool.submit(decode, job) for job in batch])
        if len(running) > _AHEAD:
            yield [future.result() for future in running.popleft()]
    while running:
        yield [future.result() for future in running.popleft()]


def _encode(
    batch: Sequence[_Decoded],
    encoding: Encoding,
    rows: RowStore,
    faults: dict[str, str],
    strict: bool,
) -> None:
    """Encode a decoded batch into ``rows``; note in ``faults`` what cannot be used."""
    # A header may lie about the shape, so what was planned together is sorted once more.
    shapes: dict[tuple[int, ...], list[tuple[_Decoded, Pixels]]] = defaultdict(list)
    for item in batch:
        if item.pixels is None:
            faults[item.job.digest] = item.fault
        else:
            shapes[item.pixels.shape].append((item, item.pixels))
    for group in shapes.values():
        values = encoding([pixels for _, pixels in group])
        sound = np.isfinite(values.sum(axis=1))
        for (item, _), finite in zip(group, sound, strict=True):
            if not finite:
                faults[item.job.digest] = f"{item.job.path}: its features are not finite numbers"
        kept = [item for (item, _), finite in zip(group, sound, strict=True) if finite]
        shrunk = np.array([item.shrunk for item in kept], dtype=np.float32)
        rows.append([item.job.digest for item in kept], values[sound], shrunk)
    if strict and faults:
        raise BadInputError(next(iter(faults.values())))


def _gather(
    source: _Source,
    known: Sequence[str],
    width: int,
    rows: RowStore,
    faults: dict[str, str],
    recipe: Recipe,
) -> Features:
    """Put the rows in the order of the index and say what was wrong."""
    values = np.full((len(known), width), np.nan, dtype=np.float32)
    shrunk: Column = np.ones(len(known), dtype=np.float32)
    errors = [""] * len(known)
    for row, (name, digest) in enumerate(zip(source.names, known, strict=True)):
        if digest in rows:
            values[row], shrunk[row] = rows.get(digest)
        else:
            errors[row] = faults.get(digest, f"{source.root / name}: no such file, or not readable")
    bad, scaled = sum(map(bool, errors)), int((shrunk < 1).sum())
    if bad:
        say(f"features {source.job}: {bad} of {len(known)} images not usable: {_first(errors)}")
    if scaled:
        say(f"features {source.job}: {scaled} images over max_pixels were scaled down")
    return Features(source.names, values, known, errors, shrunk, recipe, source.index)


def _first(errors: Sequence[str]) -> str:
    lines = [line for line in errors if line]
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def _recall(earlier: Path, recipe: Recipe, rows: RowStore) -> None:
    """Take rows from a cache made before, if it holds the same kind of features and is whole."""
    if not earlier.exists():
        return
    try:
        old = cache.read(earlier)
    except BadInputError as error:
        say(f"{error}: its rows are computed anew")
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
    return max(2, len(os.sched_getaffinity(0)))
