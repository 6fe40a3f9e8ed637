"""The one way pixels become a tensor, and the one way a tensor is halved."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from reiqa.images import Pixels, read_rgb


def to_tensor(pixels: Pixels) -> Tensor:
    """Turn ``(H, W, 3)`` uint8 into ``(3, H, W)`` float32 in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().div_(255)


def read_tensor(path: Path) -> Tensor:
    """Decode an image file to ``(3, H, W)`` float32 in [0, 1].

    Raises:
        BadInputError: as `images.read_rgb`.
    """
    return to_tensor(read_rgb(path))


def to_uint8(images: Tensor) -> Tensor:
    """Turn floats in [0, 1] of any shape into uint8 by rounding: truncation would darken them."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def half(images: Tensor) -> Tensor:
    """Return images at half scale: antialiased bicubic, clipped to [0, 1].

    The same in training, features and scoring (DESIGN decision 4).

    Args:
        images: ``(N, 3, H, W)`` float in [0, 1].

    Returns:
        ``(N, 3, max(1, H // 2), max(1, W // 2))``.
    """
    height, width = images.shape[-2:]
    size = (max(1, height // 2), max(1, width // 2))
    halved = functional.interpolate(images, size=size, mode="bicubic", antialias=True)
    return halved.clamp(0, 1)


def reflect(images: Tensor, height: int, width: int) -> Tensor:
    """Grow images at bottom and right to at least ``height x width`` by reflection.

    Reflection repeats as often as needed, so any size down to one pixel works.

    Args:
        images: ``(N, 3, H, W)``, any type.
        height: least, in pixels.
        width: least, in pixels.

    Returns:
        ``(N, 3, max(H, height), max(W, width))``.
    """
    rows = _reflected(images.shape[-2], height, images.device)
    columns = _reflected(images.shape[-1], width, images.device)
    return images.index_select(-2, rows).index_select(-1, columns)


def _reflected(length: int, wanted: int, device: torch.device) -> Tensor:
    """Indices 0 .. wanted-1 folded back at the borders of ``length`` (edge pixel not repeated)."""
    index = torch.arange(max(length, wanted), device=device)
    period = max(1, 2 * (length - 1))
    folded = index % period
    return torch.minimum(folded, period - folded) if length > 1 else torch.zeros_like(index)
