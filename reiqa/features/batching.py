"""What has to be encoded: each distinct file once, files of one shape together."""

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


#: Pixels decoded of one file, at most, as a multiple of ``max_pixels``.
MAX_DECODE_FACTOR = 8


@dataclass(frozen=True)
class ResizePolicy:
    """How large the encoder sees an image.

    Attributes:
        resize: length that the shorter side is scaled down to, as the dataset's users agree on;
            None leaves images as they are.
        max_pixels: an image still larger is scaled down to this many.
        batch: images encoded at once, at most.
    """

    resize: int | None
    max_pixels: int
    batch: int

    @classmethod
    def from_params(cls, settings: Settings, resize: int | None) -> "ResizePolicy":
        """Take the bounds from params.yaml, the convention from the dataset."""
        return cls(resize, settings.max_pixels, settings.batch)

    def target_size(self, height: int, width: int) -> tuple[int, int, float]:
        """Return (height, width) as encoded, and the factor that ``max_pixels`` accounts for."""
        if self.resize is not None and min(height, width) > self.resize:
            factor = self.resize / min(height, width)
            height, width = max(1, round(height * factor)), max(1, round(width * factor))
        if height * width <= self.max_pixels:
            return height, width, 1.0
        factor = math.sqrt(self.max_pixels / (height * width))
        return max(1, int(height * factor)), max(1, int(width * factor)), factor

    def load(self, path: Path) -> tuple[Pixels, float]:
        """Decode an image as the encoder sees it.

        An image over ``max_pixels`` is never decoded at more than `DECODED` times as many: a JPEG
        is decoded at a half, a quarter or an eighth of its size where that is enough.

        Returns:
            ``(H, W, 3)`` uint8, and the factor of `size`.

        Raises:
            BadInputError: the file cannot be read, or is too large to be decoded.
        """
        height, width, shrunk = self.target_size(*images.read_size(path))
        if shrunk == 1:
            return self.apply(images.read_rgb(path))
        pixels = images.read_rgb(path, (height, width), MAX_DECODE_FACTOR * self.max_pixels)
        return resize_pixels(pixels, height, width), shrunk

    def apply(self, pixels: Pixels) -> tuple[Pixels, float]:
        """Scale a decoded image to the size the encoder sees, with the factor of `size`.

        It is done on bytes: the floats of a huge image never exist.
        """
        height, width, shrunk = self.target_size(*pixels.shape[:2])
        return resize_pixels(pixels, height, width), shrunk


def resize_pixels(pixels: Pixels, height: int, width: int) -> Pixels:
    """Scale an image by Pillow's bicubic, which averages where it scales down."""
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
    """Return the SHA-256 of each file; empty for one that cannot be read."""

    def digest(path: Path) -> str:
        try:
            return store.file_digest(path)
        except OSError:
            return ""

    return list(pool.map(digest, paths))


def plan_batches(
    jobs: Iterable[EncodeJob], viewing: ResizePolicy, pool: ThreadPoolExecutor
) -> list[list[EncodeJob]]:
    """Group jobs by the shape the encoder will see, as the headers tell it.

    No group holds more than ``viewing.batch`` images or, unless it is a single image, more than
    ``viewing.max_pixels`` pixels. Jobs whose header cannot be read come alone.
    """

    def shape(job: EncodeJob) -> tuple[int, int]:
        try:
            return viewing.target_size(*images.read_size(job.path))[:2]
        except BadInputError:
            return (0, 0)

    jobs = list(jobs)
    groups: dict[tuple[int, int], list[EncodeJob]] = defaultdict(list)
    for job, seen in zip(jobs, pool.map(shape, jobs), strict=True):
        groups[seen].append(job)
    planned = []
    for (height, width), group in groups.items():
        fits = viewing.max_pixels // (height * width) if height else 1
        length = max(1, min(viewing.batch, fits))
        planned += [group[start : start + length] for start in range(0, len(group), length)]
    return planned
