"""The feature cache: one HDF5 file that says what was computed, with what, from what."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from reiqa.errors import BadInputError
from reiqa.store import hdf5

Rows: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Column: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float32]]

#: Rows in one checksummed piece of the file.
_PIECE = 256

_TEXTS = ("image", "digest", "error")


@dataclass(frozen=True)
class FeatureRecipe:
    """What decides the value of a feature: caches of different recipes are never mixed.

    Attributes:
        weights: digest of the weights of each expert, in the order of the columns.
        preprocessing: scales, resize, max_pixels, normalisation and arithmetic, as JSON data.
    """

    weights: Mapping[str, str]
    preprocessing: Mapping[str, Any]


@dataclass(frozen=True)
class FeatureTable:
    """Features of a list of images.

    Attributes:
        images: names as in the index, in its order.
        values: ``(N, D)`` float32; a row is NaN where and only where ``errors`` has a line.
        digests: SHA-256 of each image file; empty where it could not be read.
        errors: one line for an image that could not be used, else empty.
        shrunk: ``(N,)`` factor by which an image too large was scaled down; 1 where it was not.
        recipe: weights and preprocessing.
        index: digest of the index, or of the list of names, that the images come from.
    """

    images: Sequence[str]
    values: Rows
    digests: Sequence[str]
    errors: Sequence[str]
    shrunk: Column
    recipe: FeatureRecipe
    index: str


def write_features(path: Path, features: FeatureTable) -> None:
    """Write a cache atomically; the same features give the same bytes."""
    texts = {"image": features.images, "digest": features.digests, "error": features.errors}
    attributes = {
        "weights": features.recipe.weights,
        "preprocessing": features.recipe.preprocessing,
        "index": features.index,
    }
    with hdf5.create_file(path) as file:
        for name in _TEXTS:
            encoded = np.array([text.encode() for text in texts[name]], dtype=np.bytes_)
            _put(file, name, encoded.astype(f"S{max(1, encoded.itemsize)}"))
        _put(file, "features", features.values)
        _put(file, "scaled", features.shrunk)
        for name, tree in attributes.items():
            file.attrs[name] = json.dumps(tree, sort_keys=name != "weights")


def read_features(path: Path) -> FeatureTable:
    """Read a whole cache.

    Raises:
        BadInputError: it is missing, cut off, damaged or not a feature cache.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; make it with: reiqa features")
    if reason := hdf5.find_fault(path):
        raise _not_whole(path, reason)
    try:
        with h5py.File(path, "r") as file:
            image, digest, error = (
                [text.decode() for text in file[name][:].tolist()] for name in _TEXTS
            )
            recipe = FeatureRecipe(
                json.loads(file.attrs["weights"]), json.loads(file.attrs["preprocessing"])
            )
            features = FeatureTable(
                image,
                file["features"][:],
                digest,
                error,
                file["scaled"][:],
                recipe,
                json.loads(file.attrs["index"]),
            )
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as fault:
        raise _not_whole(path, str(fault)) from None
    if not len(image) == len(digest) == len(error) == len(features.values) == len(features.shrunk):
        raise BadInputError(f"{path}: its columns differ in length; delete it and make it again")
    return features


def _not_whole(path: Path, reason: str) -> BadInputError:
    said = " ".join(reason.split())
    return BadInputError(
        f"{path}: not a whole feature cache ({said}); delete it and run reiqa features again"
    )


def has_errors(path: Path) -> bool:
    """Say whether a cache that is there has error rows, or cannot be read."""
    if not path.exists():
        return False
    try:
        return any(read_features(path).errors)
    except BadInputError:
        return True


def _put(file: h5py.File, name: str, data: np.ndarray[Any, Any]) -> None:
    """Store an array in checksummed pieces: bytes that rot on disk are found when read."""
    pieces = (min(_PIECE, len(data)), *data.shape[1:]) if data.size else None
    file.create_dataset(
        name, data=data, chunks=pieces, fletcher32=data.size > 0, track_times=False
    ).flush()
