"""Resize policy, and batches of images of equal shape."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from reiqa import images, store
from reiqa.errors import BadInputError
from reiqa.params import FeatureParams as Settings

Pixels: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


#: Maximum number of decoded pixels of one file, as a multiple of ``max_pixels``.
MAX_DECODE_FACTOR = 8


@dataclass(frozen=True)
class ResizePolicy:
    """The size at which images are encoded.

    Attributes:
        resize: length of the shorter side after downscaling, as is customary for the dataset;
            None keeps the size.
        max_pixels: larger images are downscaled to this number of pixels.
        batch: maximum batch size.
    """

    resize: int | None
    max_pixels: int
    batch: int

    @classmethod
    def from_params(cls, settings: Settings, resize: int | None) -> "ResizePolicy":
        """Create from the limits in params.yaml and the convention of the dataset."""
        return cls(resize, settings.max_pixels, settings.batch)

    def target_size(self, height: int, width: int) -> tuple[int, int, float]:
        """Return height and width after resizing, and the scale factor due to ``max_pixels``."""
        if self.resize is not None and min(height, width) > self.resize:
            factor = self.resize / min(height, width)
            height, width = max(1, round(height * factor)), max(1, round(width * factor))
        if height * width <= self.max_pixels:
            return height, width, 1.0
        factor = math.sqrt(self.max_pixels / (height * width))
        return max(1, int(height * factor)), max(1, int(width * factor)), factor

    def load(self, path: Path) -> tuple[Pixels, float]:
        """Decode an image and resize it.

        An image over ``max_pixels`` is decoded to at most `MAX_DECODE_FACTOR` times as many
        pixels: a JPEG is decoded at a half, a quarter or an eighth of its size if possible.

        Returns:
            ``(H, W, 3)`` uint8, and the factor of `target_size`.

        Raises:
            BadInputError: the file cannot be read, or is too large to decode.
        """
        height, width, shrunk = self.target_size(*images.read_size(path))
        if shrunk == 1:
            return self.apply(images.read_rgb(path))
        pixels = images.read_rgb(path, (height, width), MAX_DECODE_FACTOR * self.max_pixels)
        return resize_pixels(pixels, height, width), shrunk

    def apply(self, pixels: Pixels) -> tuple[Pixels, float]:
        """Resize a decoded image and return it with the factor of `target_size`.

        The image stays uint8 to save memory.
        """
        height, width, shrunk = self.target_size(*pixels.shape[:2])
        return resize_pixels(pixels, height, width), shrunk


def resize_pixels(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize an image with Pillow's bicubic filter, which antialiases when downscaling."""
    if (height, width) == pixels.shape[:2]:
        return pixels
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


@dataclass(frozen=True)
class EncodeJob:
    """One file to encode."""

    path: Path
    digest: str


def file_digests(paths: Sequence[Path], pool: ThreadPoolExecutor) -> list[str]:
    """Return the SHA-256 of each file, or "" for a file that cannot be read."""

    def digest(path: Path) -> str:
        try:
            return store.file_digest(path)
        except OSError:
            return ""

    return list(pool.map(digest, paths))


def plan_batches(
    jobs: Iterable[EncodeJob], policy: ResizePolicy, pool: ThreadPoolExecutor
) -> list[list[EncodeJob]]:
    """Group jobs by the shape after resizing, according to the image headers.

    A group has at most ``policy.batch`` images and, unless it is a single image, at most
    ``policy.max_pixels`` pixels. Jobs with an unreadable header form groups of one.
    """

    def shape(job: EncodeJob) -> tuple[int, int]:
        try:
            return policy.target_size(*images.read_size(job.path))[:2]
        except BadInputError:
            return (0, 0)

    jobs = list(jobs)
    groups: dict[tuple[int, int], list[EncodeJob]] = defaultdict(list)
    for job, target_shape in zip(jobs, pool.map(shape, jobs), strict=True):
        groups[target_shape].append(job)
    planned = []
    for (height, width), group in groups.items():
        fits = policy.max_pixels // (height * width) if height else 1
        length = max(1, min(policy.batch, fits))
        planned += [group[start : start + length] for start in range(0, len(group), length)]
    return planned
