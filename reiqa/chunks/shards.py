"""Shards: HDF5 files of windows, losslessly compressed, each with its recipe.

A shard is made in one pass and appears under its name when it is whole. Making one of a thousand
photographs takes about a minute, so a kill costs no more than that; finished shards stay.

Layout, described in the file as well: ``windows/00000042`` is one dataset of one chunk, so that a
window is one read: ``(3, H, W)`` uint8, the planes being green, red minus green and blue minus
green, each row but the first less the row above it, all modulo 256. Zstandard alone keeps about
0.62 of a photograph's bytes, after this step about 0.40, and undoing it is one running sum. Its
attributes are the recipe (JSON), the source's SHA-256 and that of the window's pixels.
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
#: Level 12 takes three times as long to write and saves one byte in seventy.
_ZSTD_LEVEL = 6
#: Shards kept open at once by one reader and process.
_OPEN = 64

#: What h5py raises on a file that is not what it was.
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def cut_shard(corpus: str, number: str, params: Params) -> Path:
    """Write one of a corpus's shards (see `write_shard`)."""
    return write_shard(corpus, int(number), len(shards(params, corpus)), params)


def write_shard(corpus: str, number: int, of: int, params: Params) -> Path:
    """Write one shard of a corpus: rows ``number N // of`` to ``(number + 1) N // of``.

    A photograph that cannot be read, has changed since it was indexed or is too small is named on
    stderr and in the shard's attribute ``skipped``, and left out.

    Args:
        corpus: name of an indexed corpus.
        number: of the shard, from 0.
        of: how many shards the corpus makes.
        params: all parameters.

    Returns:
        ``layout.shard(corpus, number)``.

    Raises:
        BadInputError: there is no such shard or index, or the bank is smaller than n_aug.
    """
    if not 0 <= number < of:
        raise BadInputError(f"chunks: shard {number} of {of}: numbers run from 0 to {of - 1}")
    rows = read_corpus(layout.index(corpus))
    rows = rows[number * len(rows) // of : (number + 1) * len(rows) // of]
    types = distortions.resolve(params.bank)
    recipes.chunk_spec(params.chunks, types, params.seed)
    path = layout.shard(corpus, number)
    # The latest file format puts a checksum on all that is not pixels; those have a digest.
    with hdf5.create_file(path, libver="latest") as file:
        group = file.create_group("windows")
        skipped: dict[str, str] = {}
        for row in progress.track(rows, f"chunks {corpus} {number + 1}/{of}"):
            try:
                _add(group, corpus, row, types, params)
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


def _add(
    group: h5py.Group, corpus: str, row: CorpusImage, types: tuple[str, ...], params: Params
) -> None:
    """Store all windows of one photograph."""
    path = layout.raw(corpus) / row.image
    pixels = images.read_rgb(path)
    digest = store.file_digest(path)
    if not digest.startswith(row.digest):
        raise BadInputError(f"{path}: changed since it was indexed; run reiqa index again")
    height, width, _ = pixels.shape
    for number in range(params.chunks.windows_per_image):
        recipe = recipes.draw_recipe(
            params.chunks, types, params.seed, corpus, row.image, number, height, width
        )
        if recipe is None:
            raise BadInputError(f"{path}: {width}x{height} pixels are too few to cut a chunk from")
        top, left = recipe.frame.top, recipe.frame.left
        window = pixels[top : top + recipe.height, left : left + recipe.width]
        _store(group, window, recipe, digest)


def _store(group: h5py.Group, window: Pixels, recipe: ChunkRecipe, source: str) -> None:
    planes = encode(window)
    dataset = _planes(group, f"{len(group):08d}", planes)
    text = json.dumps(recipe.to_dict(), separators=(",", ":"))
    _annotate(dataset, recipe=text, source=source, digest=_digest(planes, text))
    dataset.flush()


def _annotate(target: h5py.File | h5py.Dataset, **values: str | int) -> None:
    """Write attributes; text at fixed length, for only that lies where HDF5 has a checksum."""
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
    """Decorrelate ``(H, W, 3)`` pixels into ``(3, H, W)`` differences (see the module)."""
    green = window[..., 1]
    planes = np.stack([green, window[..., 0] - green, window[..., 2] - green])
    planes[:, 1:] -= planes[:, :-1].copy()
    return planes


def decode(planes: Pixels) -> Pixels:
    """Undo `encode`, in the order of a tensor: ``(3, H, W)`` red, green, blue."""
    sums = planes.copy()
    # An addition a row takes a third of the time of numpy's accumulate.
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
    """Windows and recipes of several shards, under one running number.

    Files are opened when first needed, by each process anew: a reader may be made before workers
    are forked, and may be sent to them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Look into each shard, once every byte of it is known to be what was written.

        Raises:
            BadInputError: a shard is missing, cut off, damaged, or of another bank.
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
        """Read one window and the recipe of its first epoch.

        Returns:
            ``(3, H, W)`` uint8, and the recipe.

        Raises:
            BadInputError: its bytes are not those that were written.
            IndexError: there is no such window.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self._ends, index, side="right")) - 1
        path = self._paths[shard]
        try:
            dataset = self._file(path)[f"windows/{index - self._ends[shard]:08d}"]
            planes = dataset[...]
            text = _text(dataset, "recipe")
            sound = _digest(planes, text) == _text(dataset, "digest")
            recipe = ChunkRecipe.from_dict(json.loads(text))
        except _DAMAGE as error:
            raise _damaged(path, error) from None
        if not sound:
            raise _damaged(path, f"window {index - self._ends[shard]} is not what was written")
        window = torch.from_numpy(decode(planes))
        if window.shape[1:] != (recipe.height, recipe.width):
            window = tensors.reflect(window[None], recipe.height, recipe.width)[0]
        return window, recipe

    def close(self) -> None:
        """Close all files of this process; they are opened again when needed."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, path: Path) -> h5py.File:
        if self._process != os.getpid():
            # The parent's handles are its own.
            self._open, self._process = OrderedDict(), os.getpid()
        if path not in self._open:
            if len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[path] = _opened(path)
        self._open.move_to_end(path)
        return self._open[path]


def _check_file(path: Path) -> None:
    if not path.exists():
        raise BadInputError(f"{path}: no such file; make it with: {command_for(path)}")
    if reason := hdf5.find_fault(path):
        raise _damaged(path, reason)


def _opened(path: Path) -> h5py.File:
    try:
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=0)
    except OSError as error:
        raise _damaged(path, error) from None
    try:
        bank = file.attrs["bank_version"]
        whole = _text(file, "format") == FORMAT and len(file["windows"]) == file.attrs["windows"]
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    if not whole:
        raise _damaged(path, f"not a whole file of format {FORMAT!r}")
    if bank != distortions.VERSION:
        raise BadInputError(
            f"{path}: made for version {bank} of the bank, this is {distortions.VERSION};"
            f" delete it and run: {command_for(path)}"
        )
    return file


def _damaged(path: Path, reason: object) -> BadInputError:
    said = " ".join(str(reason).split())
    return BadInputError(f"{path}: damaged ({said}); delete it and run: {command_for(path)}")


def verify_shard(path: Path) -> int:
    """Check every byte of a shard: by its provenance, or window by window where that is missing.

    Returns:
        How many windows there are.

    Raises:
        BadInputError: the shard is missing, damaged or of another bank.
    """
    # What has provenance is held to it by the reader.
    reader = ShardReader([path])
    if store.read_provenance(path) is None:
        for index in range(len(reader)):
            reader.window(index)
    reader.close()
    return len(reader)
