"""Resize float images with Pillow, as `reiqa.tensors` does with torch."""

from typing import TypeAlias

import numpy as np
from PIL import Image

#: ``(N, 3, H, W)`` float32 in [0, 1].
FloatImages: TypeAlias = np.ndarray[tuple[int, int, int, int], np.dtype[np.float32]]


def half(images: FloatImages) -> FloatImages:
    """Return images at half scale, equal to `reiqa.tensors.half` up to rounding.

    Returns:
        ``(N, 3, max(1, H // 2), max(1, W // 2))``, antialiased bicubic, clipped to [0, 1].
    """
    height, width = images.shape[-2:]
    return resize(images, max(1, height // 2), max(1, width // 2))


def resize(images: FloatImages, height: int, width: int) -> FloatImages:
    """Resize images with the antialiased bicubic filter, clipped to [0, 1]."""
    if images.shape[-2:] == (height, width):
        return images
    resized = np.empty((*images.shape[:2], height, width), np.float32)
    for target, planes in zip(resized, images, strict=True):
        for channel, plane in enumerate(planes):
            image = Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
            target[channel] = np.asarray(image)
    return resized.clip(0, 1, out=resized)
