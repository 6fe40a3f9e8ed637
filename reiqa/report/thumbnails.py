"""Embedded images of the page: thumbnails and the gallery of the bank, as data URIs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data as photographs

from reiqa.distortions import LEVELS, TYPES, distort
from reiqa.distortions.gallery import spell
from reiqa.errors import BadInputError
from reiqa.images import read_rgb
from reiqa.seeds import derive

#: Maximum longer side of a thumbnail, and pixels of all thumbnails of a page: many are smaller.
_THUMBNAIL = 320
_PIXELS = 12 * _THUMBNAIL**2
_TILE = 96
#: Top left corner of the tile in the cat photograph: fur, an eye and a soft background.
_CORNER = (86, 166)


@dataclass(frozen=True)
class Strip:
    """One distortion at its five levels.

    Attributes:
        name, title: name in params.yaml, and display name.
        meaning: name of the parameter and its values.
        uri: the image, with levels from left to right.
    """

    name: str
    title: str
    meaning: str
    uri: str


def thumbnail_side(count: int) -> int:
    """Return the side of each of ``count`` thumbnails, so that the size of a page is bounded."""
    return min(_THUMBNAIL, int((_PIXELS / max(count, 1)) ** 0.5))


def thumbnail(path: Path, side: int) -> str | None:
    """Return a thumbnail of at most ``side`` pixels, or None if the file cannot be read."""
    try:
        image = Image.fromarray(read_rgb(path))
    except BadInputError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image_uri(image)


def original() -> str:
    """Return the undistorted tile of the gallery."""
    return image_uri(Image.fromarray(_tile()))


def gallery(types: Sequence[str]) -> list[Strip]:
    """Return a strip of five levels for each distortion."""
    tile = torch.from_numpy(_tile()).permute(2, 0, 1)
    threads = torch.get_num_threads()
    # Multithreading slows down such small images.
    torch.set_num_threads(1)
    try:
        return [_strip(name, tile.expand(LEVELS, -1, -1, -1).contiguous()) for name in types]
    finally:
        torch.set_num_threads(threads)


def _strip(name: str, tiles: torch.Tensor) -> Strip:
    levels = range(1, LEVELS + 1)
    seeds = [derive("report", name, level) for level in levels]
    distorted = distort(tiles, [name] * LEVELS, levels, seeds)
    side_by_side = torch.cat(list(distorted), dim=2).permute(1, 2, 0).numpy()
    kind = TYPES[name]
    meaning = f"{kind.parameter}: {' · '.join(map(spell, kind.levels))}"
    return Strip(name, kind.title, meaning, image_uri(Image.fromarray(side_by_side)))


def _tile() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    top, left = _CORNER
    photograph = photographs.chelsea()  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(photograph[top : top + _TILE, left : left + _TILE])


def image_uri(image: Image.Image, quality: int = 82) -> str:
    """Return an image as a data URI in WebP."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
