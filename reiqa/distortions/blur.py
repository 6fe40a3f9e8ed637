"""Blurs: Gaussian, lens (a disk), motion (a line at any angle).

Each type is a `Distortion.apply` (see the registry).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reiqa import seeds as project_seeds
from reiqa.distortions import bulk, fixed_point
from reiqa.distortions.frame import Frame, extend

#: The coverage of a pixel by the disk is sampled on a grid of 16 x 16 points.
_SUBPIXELS = 16


@lru_cache(maxsize=64)
def gaussian_taps(sigma: float, reach: int | None = None) -> list[int]:
    """Return the integer taps of a Gaussian cut at 3.5 standard deviations, or at ``reach``."""
    radius = math.ceil(3.5 * sigma)
    radius = radius if reach is None else min(radius, reach)
    return fixed_point.to_fixed_weights(
        [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-radius, radius + 1)]
    )


def gaussian_blur(
    images: Tensor, sigmas: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Blur with a Gaussian of the standard deviation ``sigmas`` in pixels."""
    return fixed_point.filter_images(images, [gaussian_taps(sigma) for sigma in sigmas])


def lens_blur(
    images: Tensor, radii: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Blur with a disk of ``radii`` pixels, its rim weighted by the area it covers."""
    kernels = [disk(radius) for radius in radii]
    if bulk.is_bulk(images.device):
        padded = fixed_point.pad_edges(images, max(len(kernel) // 2 for kernel in kernels))
        totals = bulk.convolve(padded, kernels)
    else:
        pairs = zip(images, kernels, strict=True)
        totals = torch.cat([_disk_sums(image[None], kernel) for image, kernel in pairs])
    # Multiplying by the inverse rounds equally on all devices.
    inverses = bulk.per_image([1 / int(kernel.sum()) for kernel in kernels], images.device)
    return fixed_point.round_to_uint8(totals.float().mul_(inverses))


def _disk_sums(images: Tensor, kernel: npt.NDArray[np.int64]) -> Tensor:
    """Return int32 sums weighted by the kernel.

    Each row of the disk is a sum of centred runs, and a run is a difference of two prefix sums.
    The cost is therefore linear in the radius. Prefix sums may overflow int32, but their
    differences do not.
    """
    reach = len(kernel) // 2
    height, width = images.shape[-2:]
    padded = extend(extend(images.to(torch.int32), -2, reach, reach), -1, reach + 1, reach)
    sums = padded.cumsum(-1, dtype=torch.int32)
    total = torch.zeros_like(images, dtype=torch.int32)
    rows = torch.empty_like(sums[..., :height, :])
    pair = torch.empty_like(rows)
    for half in range(reach + 1):
        beyond = kernel[:, reach + half + 1] if half < reach else np.zeros(2 * reach + 1, int)
        steps = kernel[:, reach + half] - beyond
        if not steps.any():
            continue
        torch.mul(sums.narrow(-2, reach, height), int(steps[reach]), out=rows)
        for distance in range(1, reach + 1):
            if step := int(steps[reach + distance]):
                above = sums.narrow(-2, reach - distance, height)
                below = sums.narrow(-2, reach + distance, height)
                rows.add_(torch.add(above, below, out=pair), alpha=step)
        total.add_(rows.narrow(-1, reach + half + 1, width))
        total.sub_(rows.narrow(-1, reach - half, width))
    return total


def motion_blur(
    images: Tensor, lengths: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Blur along a straight line of ``lengths`` pixels, its angle drawn from the seed."""
    kernels = [
        line(length, project_seeds.generator("motion", seed).uniform(0, math.pi))
        for length, seed in zip(lengths, seeds, strict=True)
    ]
    if bulk.is_bulk(images.device):
        padded = fixed_point.pad_edges(images, max(len(kernel) // 2 for kernel in kernels))
        sums = bulk.convolve(padded, kernels)
        return fixed_point.from_fixed_point(sums.bitwise_left_shift_(fixed_point.PLANE_BITS))
    pairs = zip(images, kernels, strict=True)
    return torch.cat([_along_line(image[None], kernel) for image, kernel in pairs])


@lru_cache(maxsize=16)
def disk(radius: float) -> npt.NDArray[np.int64]:
    """Return a square kernel of integers: the points of each pixel that lie inside the disk."""
    reach = math.ceil(radius - 0.5)
    points = (np.arange(_SUBPIXELS * (2 * reach + 1)) + 0.5) / _SUBPIXELS - reach - 0.5
    inside = points[:, None] ** 2 + points[None, :] ** 2 <= radius**2
    side = 2 * reach + 1
    counts: npt.NDArray[np.int64] = inside.reshape(side, _SUBPIXELS, side, -1).sum((1, 3))
    return counts


def line(length: float, angle: float) -> npt.NDArray[np.int64]:
    """Return a square kernel of integers: a centred line, spread bilinearly over pixels.

    Args:
        length: in pixels.
        angle: from the horizontal, anticlockwise, in radians.
    """
    along = np.linspace(-length / 2, length / 2, max(3, 8 * math.ceil(length) + 1))
    rows, columns = -along * math.sin(angle), along * math.cos(angle)
    reach = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (rows - top)) * np.abs(1 - right - (columns - left))
            np.add.at(kernel, (top + down + reach, left + right + reach), share)
    return np.array(fixed_point.to_fixed_weights(kernel.ravel().tolist())).reshape(kernel.shape)


def _along_line(image: Tensor, kernel: npt.NDArray[np.int64]) -> Tensor:
    reach = len(kernel) // 2
    height, width = image.shape[-2:]
    padded = fixed_point.to_fixed_point(fixed_point.pad_edges(image, reach))
    total = torch.zeros_like(image, dtype=torch.int32)
    for row, column in np.argwhere(kernel).tolist():
        shifted = padded.narrow(-2, row, height).narrow(-1, column, width)
        total.add_(shifted, alpha=int(kernel[row, column]))
    return fixed_point.from_fixed_point(total)
