"""Shards: HDF5 files of losslessly compressed windows with their recipes.

A shard is written in one pass and appears under its name when it is complete. A shard of a thousand
photographs takes about a minute, which is the maximum loss in a crash.

Layout, also described in the file: ``windows/00000042`` is one dataset with one HDF5 chunk, so that
a window needs one read. It is ``(3, H, W)`` uint8 with the planes green, red minus green and blue
minus green. Each row except the first stores the difference to the row above, modulo 256. Zstandard
compresses photographs to about 0.40 of their size after this transform, and to 0.62 without it. The
attributes are the recipe (JSON), the SHA-256 of the source and the digest of the window.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import torch
from torch import Tensor

from reiqa import distortions, images, layout, progress, store, tensors
from reiqa.chunks import recipe as recipes
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.data.index import CorpusImage, read_corpus
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.stages import command_for, shards, stage_parameters
from reiqa.store import hdf5

FORMAT = "reiqa chunks 1"

_ENCODING = (
    "windows/N: planes G, R-G, B-G (uint8, modulo 256), each row but the first less the row above;"
    " to decode: running sum down the rows, then R = plane 1 + G and B = plane 2 + G"
)
#: Level 12 is three times slower and saves 1.4 %.
_ZSTD_LEVEL = 6
#: Maximum number of open shards per reader and process.
_MAX_OPEN = 64

#: Exceptions that h5py raises for a corrupted file.
_CORRUPTION_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def cut_shard(corpus: str, number: str, params: Params) -> Path:
    """Write one shard of a corpus (see `write_shard`)."""
    return write_shard(corpus, int(number), len(shards(params, corpus)), params)


def write_shard(corpus: str, number: int, of: int, params: Params) -> Path:
    """Write one shard of a corpus: rows ``number N // of`` to ``(number + 1) N // of``.

    A photograph that cannot be read, has changed since it was indexed or is too small is skipped
    with a log message. The attribute ``skipped`` of the shard lists these photographs.

    Args:
        corpus: name of an indexed corpus.
        number: number of the shard, from 0.
        of: number of shards of the corpus.
        params: all parameters.

    Returns:
        ``layout.shard(corpus, number)``.

    Raises:
        BadInputError: the shard or index does not exist, or the bank is smaller than n_aug.
    """
    if not 0 <= number < of:
        raise BadInputError(f"chunks: shard {number} of {of}: numbers run from 0 to {of - 1}")
    rows = read_corpus(layout.index(corpus))
    rows = rows[number * len(rows) // of : (number + 1) * len(rows) // of]
    types = distortions.resolve(params.bank)
    recipes.chunk_spec(params.chunks, types, params.seed)
    path = layout.shard(corpus, number)
    # The latest file format has checksums for metadata; the pixels have a digest.
    with hdf5.create_file(path, libver="latest") as file:
        group = file.create_group("windows")
        skipped: dict[str, str] = {}
        for row in progress.track(rows, f"chunks {corpus} {number + 1}/{of}"):
            try:
                _add_photograph(group, corpus, row, types, params)
            except BadInputError as error:
                progress.log(f"skipped: {error}")
                skipped[row.image] = str(error)
        _annotate(
            file,
            format=FORMAT,
            encoding=_ENCODING,
            corpus=corpus,
            shard=f"{number}/{of}",
            windows=len(group),
            photographs=len(rows) - len(skipped),
            skipped=json.dumps(skipped),
            parameters=json.dumps(
                stage_parameters(params, "chunks", f"{corpus}/{number}"), sort_keys=True
            ),
            bank_version=distortions.VERSION,
        )
    return path


def _add_photograph(
    group: h5py.Group, corpus: str, row: CorpusImage, types: tuple[str, ...], params: Params
) -> None:
    """Add all windows of one photograph."""
    pixels, digest = read_photograph(corpus, row)
    height, width, _ = pixels.shape
    for number in range(params.chunks.windows_per_image):
        recipe = recipes.draw_recipe(
            params.chunks, types, params.seed, corpus, row.image, number, height, width
        )
        if recipe is None:
            path = layout.image_folder(corpus) / row.image
            raise BadInputError(f"{path}: {width}x{height} pixels are too small for a chunk")
        _store(group, cut_window(pixels, recipe), recipe, digest)


def read_photograph(corpus: str, row: CorpusImage) -> tuple[Pixels, str]:
    """Return the pixels ``(H, W, 3)`` and the SHA-256 of an indexed photograph.

    Raises:
        BadInputError: the file cannot be read, or has changed since it was indexed.
    """
    path = layout.image_folder(corpus) / row.image
    pixels = images.read_rgb(path)
    digest = store.file_digest(path)
    if not digest.startswith(row.digest):
        raise BadInputError(f"{path}: changed since it was indexed; run reiqa index again")
    return pixels, digest


def cut_window(pixels: Pixels, recipe: ChunkRecipe) -> Pixels:
    """Return the part of the window that lies in the photograph (see `pad_window`)."""
    top, left = recipe.frame.top, recipe.frame.left
    return pixels[top : top + recipe.height, left : left + recipe.width]


def pad_window(window: Tensor, recipe: ChunkRecipe) -> Tensor:
    """Extend the part in the photograph, ``(3, H, W)``, to the size of the window by reflection."""
    if window.shape[1:] == (recipe.height, recipe.width):
        return window
    return tensors.reflect(window[None], recipe.height, recipe.width)[0]


def _store(group: h5py.Group, window: Pixels, recipe: ChunkRecipe, source: str) -> None:
    planes = encode(window)
    dataset = _planes(group, f"{len(group):08d}", planes)
    text = json.dumps(recipe.to_dict(), separators=(",", ":"))
    _annotate(dataset, recipe=text, source=source, digest=_digest(planes, text))
    dataset.flush()


def _annotate(target: h5py.File | h5py.Dataset, **values: str | int) -> None:
    """Write attributes; fixed-length text, because HDF5 has no checksum for variable length."""
    for name, value in values.items():
        target.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value


def _text(target: h5py.File | h5py.Dataset, name: str) -> str:
    return bytes(target.attrs[name]).decode()


def _planes(group: h5py.Group, name: str, planes: Pixels) -> h5py.Dataset:
    compression = hdf5plugin.Zstd(clevel=_ZSTD_LEVEL)
    return group.create_dataset(
        name, data=planes, chunks=planes.shape, track_times=False, **compression
    )


def encode(window: Pixels) -> Pixels:
    """Transform ``(H, W, 3)`` pixels to ``(3, H, W)`` differences (see the module docstring)."""
    green = window[..., 1]
    planes = np.stack([green, window[..., 0] - green, window[..., 2] - green])
    planes[:, 1:] -= planes[:, :-1].copy()
    return planes


def decode(planes: Pixels) -> Pixels:
    """Invert `encode`; returns ``(3, H, W)`` red, green, blue."""
    sums = planes.copy()
    # Adding row by row is three times faster than np.add.accumulate.
    for row in range(1, planes.shape[1]):
        sums[:, row] += sums[:, row - 1]
    green, red, blue = sums
    red += green
    blue += green
    return np.stack([red, green, blue])


def _digest(planes: Pixels, recipe: str) -> str:
    sha = hashlib.sha256(planes.data)
    sha.update(recipe.encode())
    return sha.hexdigest()


class ShardReader:
    """Windows and recipes of several shards with a common index.

    Files are opened lazily in each process, so a reader can be created before workers are forked
    and can be pickled.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Verify and open each shard.

        Raises:
            BadInputError: a shard is missing, truncated, damaged, or from another bank version.
        """
        self._paths = list(paths)
        self._open: OrderedDict[Path, h5py.File] = OrderedDict()
        self._process = os.getpid()
        for path in self._paths:
            _check_file(path)
        counts = [int(self._file(path).attrs["windows"]) for path in self._paths]
        self._ends = np.cumsum([0, *counts])
        self.close()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_process": None}

    def window(self, index: int) -> tuple[Tensor, ChunkRecipe]:
        """Return one window and the recipe of its first epoch.

        Returns:
            ``(3, H, W)`` uint8, and the recipe.

        Raises:
            BadInputError: the window is corrupted.
            IndexError: the index is out of range.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self._ends, index, side="right")) - 1
        path = self._paths[shard]
        try:
            dataset = self._file(path)[f"windows/{index - self._ends[shard]:08d}"]
            planes = dataset[...]
            text = _text(dataset, "recipe")
            intact = _digest(planes, text) == _text(dataset, "digest")
            recipe = ChunkRecipe.from_dict(json.loads(text))
        except _CORRUPTION_ERRORS as error:
            raise _damaged(path, error) from None
        if not intact:
            raise _damaged(path, f"window {index - self._ends[shard]}: checksum mismatch")
        return pad_window(torch.from_numpy(decode(planes)), recipe), recipe

    def close(self) -> None:
        """Close all files of this process; they are reopened when needed."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, path: Path) -> h5py.File:
        if self._process != os.getpid():
            # File handles must not be shared with the parent process.
            self._open, self._process = OrderedDict(), os.getpid()
        if path not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[path] = _open_shard(path)
        self._open.move_to_end(path)
        return self._open[path]


def _check_file(path: Path) -> None:
    if not path.exists():
        raise BadInputError(f"{path}: not found; run: {command_for(path)}")
    if reason := hdf5.find_fault(path):
        raise _damaged(path, reason)


def _open_shard(path: Path) -> h5py.File:
    try:
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=0)
    except OSError as error:
        raise _damaged(path, error) from None
    try:
        bank = file.attrs["bank_version"]
        valid = _text(file, "format") == FORMAT and len(file["windows"]) == file.attrs["windows"]
    except _CORRUPTION_ERRORS as error:
        raise _damaged(path, error) from None
    if not valid:
        raise _damaged(path, f"not a complete file of format {FORMAT!r}")
    if bank != distortions.VERSION:
        raise BadInputError(
            f"{path}: made with bank version {bank}, current is {distortions.VERSION}."
            f" Delete it and run: {command_for(path)}"
        )
    return file


def _damaged(path: Path, reason: object) -> BadInputError:
    one_line = " ".join(str(reason).split())
    return BadInputError(f"{path}: damaged ({one_line}). Delete it and run: {command_for(path)}")


def verify_shard(path: Path) -> int:
    """Verify a shard by its provenance, or window by window without provenance.

    Returns:
        Number of windows.

    Raises:
        BadInputError: the shard is missing, damaged or from another bank version.
    """
    # The reader verifies a shard that has provenance.
    reader = ShardReader([path])
    if store.read_provenance(path) is None:
        for index in range(len(reader)):
            reader.window(index)
    reader.close()
    return len(reader)
