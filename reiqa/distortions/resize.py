"""Loss of resolution: downscale and upscale with a filter or the nearest pixel.

The coarse grid starts at the corner of the photograph, so the frame of a window determines the
positions of the grid lines. Each type is a `Distortion.apply` (see the registry).
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reiqa.distortions import bulk, fixed_point
from reiqa.distortions.frame import Frame, align, clip_cells, extend, pick, unalign
from reiqa.tensors import upload

Kernel = Callable[[float], float]

#: Bits of sums of absolute products: planes of 13 bits, weights of negative lobes too.
_BITS = 27


def resize_bicubic(
    images: Tensor, factors: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Shrink by ``factors`` and enlarge again, both by cubic convolution (a = -1/2)."""
    return _down_and_up(images, factors, _cubic, 2, frames)


def resize_bilinear(
    images: Tensor, factors: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Shrink by ``factors`` with a triangle and enlarge again linearly."""
    return _down_and_up(images, factors, _triangle, 1, frames)


def resize_lanczos(
    images: Tensor, factors: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Shrink by ``factors`` and enlarge again, both by a sinc windowed over three lobes."""
    return _down_and_up(images, factors, _lanczos, 3, frames)


def resize_nearest(
    images: Tensor, factors: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Keep one pixel in ``factors`` along each axis and repeat it."""
    return _nearest(images, lambda side, factor: side // factor, factors, frames)


def pixelate(
    images: Tensor, shares: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Keep ``shares`` of the rows and columns, the nearest ones, and repeat them."""
    return _nearest(images, lambda side, share: int(side * share), shares, frames)


def nearest_index(side: int, kept: int, start: int, length: int) -> npt.NDArray[np.int64]:
    """Return which of ``side`` pixels each shows after keeping ``kept`` and enlarging again.

    Args:
        side: of the photograph along this axis.
        kept: pixels along the shrunk axis.
        start: first pixel asked for.
        length: pixels asked for.

    Returns:
        ``(length,)``, in the photograph's coordinates.
    """
    pixel = np.arange(start, start + length)
    small = (2 * pixel + 1) * kept // (2 * side)
    index: npt.NDArray[np.int64] = (2 * small + 1) * side // (2 * kept)
    return index


def _nearest(
    images: Tensor,
    kept: Callable[[int, Any], int],
    parameters: Sequence[float],
    frames: Sequence[Frame],
) -> Tensor:
    height, width = images.shape[-2:]
    shown = []
    for parameter, frame in zip(parameters, frames, strict=True):
        small = [max(1, kept(side, parameter)) for side in (frame.height, frame.width)]
        rows = nearest_index(frame.height, small[0], frame.top, height) - frame.top
        columns = nearest_index(frame.width, small[1], frame.left, width) - frame.left
        shown.append(np.concatenate([rows.clip(0, height - 1), columns.clip(0, width - 1)]))
    rows_columns = upload(np.stack(shown), images.device)
    return pick(images, rows_columns[:, :height], rows_columns[:, height:])


def _down_and_up(
    images: Tensor, factors: Sequence[int], kernel: Kernel, reach: int, frames: Sequence[Frame]
) -> Tensor:
    """Resize by exactly 1/factor and back, extending the edges of the photograph to full cells.

    The small image is rounded to 8 bits, as if it was stored between the two steps.
    """
    if bulk.is_bulk(images.device):
        return _bulk_down_and_up(images, factors, kernel, reach, frames)
    each = zip(images, factors, frames, strict=True)
    return torch.cat(
        [
            _down_and_up_one(image[None], factor, kernel, reach, frame)
            for image, factor, frame in each
        ]
    )


def _down_and_up_one(
    image: Tensor, factor: int, kernel: Kernel, reach: int, frame: Frame
) -> Tensor:
    height, width = image.shape[-2:]
    planes = fixed_point.to_fixed_point(align(image, [frame], factor))
    taps = _down_taps(factor, kernel, reach)
    rows = fixed_point.rounded_shift(
        _shrink(planes, factor, taps, reach, -2), fixed_point.WEIGHT_BITS
    )
    small = fixed_point.from_fixed_point(_shrink(rows, factor, taps, reach, -1))
    cells = fixed_point.to_fixed_point(clip_cells(small, [frame], factor, height, width))
    phases = _up_taps(factor, kernel, reach)
    columns = fixed_point.rounded_shift(_enlarge(cells, phases, reach, -1), fixed_point.WEIGHT_BITS)
    large = _enlarge(columns, phases, reach, -2)
    return unalign(fixed_point.from_fixed_point(large), [frame], factor, height, width)


def _bulk_down_and_up(
    images: Tensor, factors: Sequence[int], kernel: Kernel, reach: int, frames: Sequence[Frame]
) -> Tensor:
    rows, columns = bulk.grids(frames, factors, images.shape[-2:], images.device)
    largest, side = max(factors), 2 * reach + 1
    down = np.zeros((len(images), 1, side * largest), np.float32)
    up = np.zeros((len(images), largest, side), np.float32)
    for own_down, own_up, factor in zip(down, up, factors, strict=True):
        own_down[0, : side * factor] = _down_taps(factor, kernel, reach)
        own_up[:factor] = _up_taps(factor, kernel, reach)
    shrinking, enlarging = upload(down, images.device), upload(up, images.device)
    before = reach * rows.factor
    planes = fixed_point.to_fixed_point(images)
    high = bulk.multiply(planes, *bulk.shrink(rows, shrinking, before), -2, _BITS)
    high = fixed_point.rounded_shift(high, fixed_point.WEIGHT_BITS)
    small = bulk.multiply(high, *bulk.shrink(columns, shrinking, before), -1, _BITS)
    cells = fixed_point.to_fixed_point(fixed_point.from_fixed_point(small))
    wide = bulk.multiply(cells, *bulk.enlarge(columns, enlarging), -1, _BITS)
    wide = fixed_point.rounded_shift(wide, fixed_point.WEIGHT_BITS)
    return fixed_point.from_fixed_point(
        bulk.multiply(wide, *bulk.enlarge(rows, enlarging), -2, _BITS)
    )


@cache
def _down_taps(factor: int, kernel: Kernel, reach: int) -> list[int]:
    """Taps over pixels -reach * factor .. (reach + 1) * factor - 1 about a cell's first pixel."""
    centre = (factor - 1) / 2
    offsets = range(-reach * factor, (reach + 1) * factor)
    return fixed_point.to_fixed_weights([kernel((offset - centre) / factor) for offset in offsets])


@cache
def _up_taps(factor: int, kernel: Kernel, reach: int) -> list[list[int]]:
    """For each pixel of a cell, taps over cells -reach .. reach about its own."""
    centres = [(phase + 0.5) / factor - 0.5 for phase in range(factor)]
    return [
        fixed_point.to_fixed_weights([kernel(cell - centre) for cell in range(-reach, reach + 1)])
        for centre in centres
    ]


def _shrink(planes: Tensor, factor: int, taps: list[int], reach: int, dim: int) -> Tensor:
    cells = planes.shape[dim] // factor
    padded = extend(planes, dim, reach * factor, reach * factor)
    split = padded.unflatten(dim, (cells + 2 * reach, factor))
    cell_dim = dim - 1
    total: Tensor | None = None
    for number, tap in enumerate(taps):
        if not tap:
            continue
        cell, phase = divmod(number, factor)
        picked = split.narrow(cell_dim, cell, cells).select(dim, phase)
        total = picked * tap if total is None else total.add_(picked, alpha=tap)
    assert total is not None
    return total


def _enlarge(planes: Tensor, phases: list[list[int]], reach: int, dim: int) -> Tensor:
    cells = planes.shape[dim]
    padded = extend(planes, dim, reach, reach)
    rows = []
    for taps in phases:
        total = planes * taps[reach]
        for cell, tap in enumerate(taps):
            if tap and cell != reach:
                total.add_(padded.narrow(dim, cell, cells), alpha=tap)
        rows.append(total)
    return torch.stack(rows, dim).flatten(dim - 1, dim)


def _triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def _lanczos(x: float) -> float:
    if x == 0:
        return 1.0
    if abs(x) >= 3:
        return 0.0
    angle = math.pi * x
    return 3 * math.sin(angle) * math.sin(angle / 3) / angle**2
