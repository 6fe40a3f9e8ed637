"""Conversion between pixels and tensors, copies to a device, half scale, reflection padding."""

from collections.abc import Callable
from functools import lru_cache

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from reiqa.images import Pixels


def to_tensor(pixels: Pixels) -> Tensor:
    """Convert ``(H, W, 3)`` uint8 to ``(3, H, W)`` float32 in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().div_(255)


def to_uint8(images: Tensor) -> Tensor:
    """Convert floats in [0, 1] to uint8 with rounding; truncation would darken them."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def upload(
    values: Tensor | npt.ArrayLike, device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Copy values from the host to a device.

    A copy to a GPU does not wait for the work queued there: ``torch.tensor(values, device="cuda")``
    would, because the memory that it copies from is not pinned.
    """
    host = torch.as_tensor(values, dtype=dtype)
    if device.type != "cuda" or host.is_cuda:
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


@lru_cache(maxsize=64)
def device_table(build: Callable[[], Tensor], device: torch.device) -> Tensor:
    """Return the constant tensor of ``build()`` on a device, copied there once."""
    return upload(build(), device)


def _full_range() -> Tensor:
    return torch.tensor(255.0)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 to float32 k/255.

    A tensor divides: CUDA multiplies by the inverse of a scalar, which does not give k/255.
    """
    return images.float().div_(device_table(_full_range, images.device))


def half(images: Tensor) -> Tensor:
    """Return images at half scale: antialiased bicubic, clipped to [0, 1].

    Training, features and scoring all use this function (design decision 4).

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
    """Pad images at bottom and right by reflection to at least ``height x width``.

    Reflection is repeated as needed, so images can be as small as one pixel.

    Args:
        images: ``(N, 3, H, W)``, any dtype.
        height: minimum height in pixels.
        width: minimum width in pixels.

    Returns:
        ``(N, 3, max(H, height), max(W, width))``.
    """
    rows = _reflected(images.shape[-2], height, images.device)
    columns = _reflected(images.shape[-1], width, images.device)
    return images.index_select(-2, rows).index_select(-1, columns)


def _reflected(length: int, wanted: int, device: torch.device) -> Tensor:
    """Return reflected indices 0 .. wanted-1 of ``length`` pixels (edge pixel not repeated)."""
    index = torch.arange(max(length, wanted), device=device)
    period = max(1, 2 * (length - 1))
    folded = index % period
    return torch.minimum(folded, period - folded) if length > 1 else torch.zeros_like(index)
