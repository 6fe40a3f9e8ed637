"""Loss of resolution: downscale and upscale with a filter or the nearest pixel.

The coarse grid starts at the corner of the photograph, so the frame of a window determines the
positions of the grid lines. Each type is a `Distortion.apply` (see the registry).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reiqa.distortions import fixed_point
from reiqa.distortions.frame import Frame, align, clip_cells, extend, unalign

Kernel = Callable[[float], float]


def resize_bicubic(
    images: Tensor, factor: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Shrink by ``factor`` and enlarge again, both by cubic convolution (a = -1/2)."""
    return _down_and_up(images, factor, _cubic, 2, frames)


def resize_bilinear(
    images: Tensor, factor: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Shrink by ``factor`` with a triangle and enlarge again linearly."""
    return _down_and_up(images, factor, lambda x: max(0.0, 1 - abs(x)), 1, frames)


def resize_lanczos(
    images: Tensor, factor: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Shrink by ``factor`` and enlarge again, both by a sinc windowed over three lobes."""
    return _down_and_up(images, factor, _lanczos, 3, frames)


def resize_nearest(
    images: Tensor, factor: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Keep one pixel in ``factor`` along each axis and repeat it."""
    return _nearest(images, lambda side: max(1, side // factor), frames)


def pixelate(images: Tensor, share: float, seeds: Sequence[int], frames: Sequence[Frame]) -> Tensor:
    """Keep ``share`` of the rows and columns, the nearest ones, and repeat them."""
    return _nearest(images, lambda side: max(1, int(side * share)), frames)


def nearest_index(side: int, kept: int, start: int, length: int) -> Tensor:
    """Return which of ``side`` pixels each shows after keeping ``kept`` and enlarging again.

    Args:
        side: of the photograph along this axis.
        kept: pixels along the shrunk axis.
        start: first pixel asked for.
        length: pixels asked for.

    Returns:
        ``(length,)`` int64, in the photograph's coordinates.
    """
    pixel = torch.arange(start, start + length)
    small = (2 * pixel + 1) * kept // (2 * side)
    return (2 * small + 1) * side // (2 * kept)


def _nearest(images: Tensor, kept: Callable[[int], int], frames: Sequence[Frame]) -> Tensor:
    height, width = images.shape[-2:]
    shown = []
    for image, frame in zip(images, frames, strict=True):
        rows = nearest_index(frame.height, kept(frame.height), frame.top, height) - frame.top
        columns = nearest_index(frame.width, kept(frame.width), frame.left, width) - frame.left
        rows = rows.clamp(0, height - 1).to(images.device)
        columns = columns.clamp(0, width - 1).to(images.device)
        shown.append(image.index_select(-1, columns).index_select(-2, rows))
    return torch.stack(shown)


def _down_and_up(
    images: Tensor, factor: int, kernel: Kernel, reach: int, frames: Sequence[Frame]
) -> Tensor:
    """Resize by exactly 1/factor and back, extending the edges of the photograph to full cells.

    The small image is rounded to 8 bits, as if it was stored between the two steps.
    """
    height, width = images.shape[-2:]
    planes = fixed_point.to_fixed_point(align(images, frames, factor))
    taps = _down_taps(factor, kernel, reach)
    rows = fixed_point.rounded_shift(
        _shrink(planes, factor, taps, reach, -2), fixed_point.WEIGHT_BITS
    )
    small = fixed_point.from_fixed_point(_shrink(rows, factor, taps, reach, -1))
    cells = fixed_point.to_fixed_point(clip_cells(small, frames, factor, height, width))
    phases = _up_taps(factor, kernel, reach)
    columns = fixed_point.rounded_shift(_enlarge(cells, phases, reach, -1), fixed_point.WEIGHT_BITS)
    large = _enlarge(columns, phases, reach, -2)
    return unalign(fixed_point.from_fixed_point(large), frames, factor, height, width)


def _down_taps(factor: int, kernel: Kernel, reach: int) -> list[int]:
    """Taps over pixels -reach * factor .. (reach + 1) * factor - 1 about a cell's first pixel."""
    centre = (factor - 1) / 2
    offsets = range(-reach * factor, (reach + 1) * factor)
    return fixed_point.to_fixed_weights([kernel((offset - centre) / factor) for offset in offsets])


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
