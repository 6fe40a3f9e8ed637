"""The feature cache: one HDF5 file with features and the recipe they were computed with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.store import hdf5

Rows: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Column: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float32]]

#: Number of rows in one checksummed chunk of the file.
_CHUNK_ROWS = 256

_TEXTS = ("image", "digest", "error")

#: First bytes of an HDF5 file.
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class FeatureRecipe:
    """Everything that feature values depend on; rows of different recipes are never mixed.

    Attributes:
        weights: digest of the weights of each expert, in the order of the columns.
        preprocessing: scales, resize, max_pixels, normalisation and precision, as JSON data.
    """

    weights: Mapping[str, str]
    preprocessing: Mapping[str, Any]


@dataclass(frozen=True)
class FeatureTable:
    """Features of a list of images.

    Attributes:
        images: names in the order of the index.
        values: ``(N, D)`` float32; a row is NaN if and only if ``errors`` has a message for it.
        digests: SHA-256 of each image file; empty for an unreadable file.
        errors: error message of each image, or empty.
        shrunk: ``(N,)`` factor by which an image was downscaled for ``max_pixels``, or 1.
        recipe: weights and preprocessing.
        index: digest of the index, or of the list of names.
    """

    images: Sequence[str]
    values: Rows
    digests: Sequence[str]
    errors: Sequence[str]
    shrunk: Column
    recipe: FeatureRecipe
    index: str


def write_features(path: Path, features: FeatureTable) -> None:
    """Write a cache atomically; equal features give identical bytes."""
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


def check_output(path: Path) -> None:
    """Check that a cache can be written to a file that the user names.

    Raises:
        BadInputError: it cannot be written, or has other content.
    """
    store.check_target(path)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_SIGNATURE)) not in (b"", _SIGNATURE):
                raise BadInputError(f"{path}: has other content; choose another file")


def read_features(path: Path) -> FeatureTable:
    """Read a feature cache.

    Raises:
        BadInputError: the file is missing, truncated, damaged or not a feature cache.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: not found; run: reiqa features")
    if reason := hdf5.find_fault(path):
        raise _invalid_cache(path, reason)
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
        raise _invalid_cache(path, str(fault)) from None
    if not len(image) == len(digest) == len(error) == len(features.values) == len(features.shrunk):
        raise BadInputError(
            f"{path}: columns differ in length. Delete it and run reiqa features again."
        )
    return features


def _invalid_cache(path: Path, reason: str) -> BadInputError:
    one_line = " ".join(reason.split())
    return BadInputError(
        f"{path}: not a valid feature cache ({one_line}). Delete it and run reiqa features again."
    )


def has_errors(path: Path) -> bool:
    """Return whether an existing cache has error rows or cannot be read."""
    if not path.exists():
        return False
    try:
        return any(read_features(path).errors)
    except BadInputError:
        return True


def _put(file: h5py.File, name: str, data: np.ndarray[Any, Any]) -> None:
    """Store an array in chunks with checksums, to detect disk corruption on reading."""
    chunk_shape = (min(_CHUNK_ROWS, len(data)), *data.shape[1:]) if data.size else None
    file.create_dataset(
        name, data=data, chunks=chunk_shape, fletcher32=data.size > 0, track_times=False
    ).flush()
