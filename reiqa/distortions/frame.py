"""Where a window lies in its photograph, and how its pixels meet the photograph's grids."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """The size of the whole photograph, and where in it a window lies; all in pixels.

    Attributes:
        height: of the photograph.
        width: of the photograph.
        top: row of the photograph that is the window's first.
        left: column of the photograph that is the window's first.
    """

    height: int
    width: int
    top: int = 0
    left: int = 0


def extend(planes: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Repeat the first and the last slice along ``dim``: any dtype, any length down to one."""
    if not before and not after:
        return planes
    size = list(planes.shape)
    parts = [planes]
    if before:
        size[dim] = before
        parts.insert(0, planes.narrow(dim, 0, 1).expand(size))
    if after:
        size[dim] = after
        parts.append(planes.narrow(dim, planes.shape[dim] - 1, 1).expand(size))
    return torch.cat(parts, dim)


def align(images: Tensor, frames: Sequence[Frame], period: int) -> Tensor:
    """Edge-extend windows so that each starts and ends on a line of the frame's grid.

    The result's size depends on the windows' size alone, never on their phase, so that windows
    of any phase share a batch.

    Args:
        images: ``(N, C, H, W)``.
        frames: where each window lies.
        period: distance of grid lines in pixels; one of them is the frame's edge.

    Returns:
        ``(N, C, H', W')`` with both sides multiples of ``period``; undone by `unalign`.
    """
    height, width = (_padded(side, period) for side in images.shape[-2:])
    aligned = [
        _extend_to(image[None], frame.top % period, height, frame.left % period, width)
        for image, frame in zip(images, frames, strict=True)
    ]
    return torch.cat(aligned)


def unalign(
    images: Tensor, frames: Sequence[Frame], period: int, height: int, width: int
) -> Tensor:
    """Cut from aligned images (see `align`) the ``height x width`` windows they came from."""
    cut = [
        image[None, :, frame.top % period :, frame.left % period :][..., :height, :width]
        for image, frame in zip(images, frames, strict=True)
    ]
    return torch.cat(cut)


def clip_cells(
    cells: Tensor, frames: Sequence[Frame], period: int, height: int, width: int
) -> Tensor:
    """Overwrite cells that hold no pixel of their window by the last one that does.

    Whether `align` adds such cells depends on the phase; a photograph's edge must not.

    Args:
        cells: ``(N, C, h, w)``, one a ``period x period`` cell of aligned windows.
        frames: where each window lies.
        period: side of a cell in pixels.
        height: of the windows before `align`.
        width: of the windows before `align`.
    """
    clipped = [
        _clip(_clip(image[None], -2, frame.top, height, period), -1, frame.left, width, period)
        for image, frame in zip(cells, frames, strict=True)
    ]
    return torch.cat(clipped)


def _clip(cells: Tensor, dim: int, start: int, length: int, period: int) -> Tensor:
    count = (start % period + length - 1) // period + 1
    return extend(cells.narrow(dim, 0, count), dim, 0, cells.shape[dim] - count)


def _padded(side: int, period: int) -> int:
    return -(-(side + period - 1) // period) * period


def _extend_to(image: Tensor, top: int, height: int, left: int, width: int) -> Tensor:
    rows = extend(image, -2, top, height - top - image.shape[-2])
    return extend(rows, -1, left, width - left - image.shape[-1])
