"""Position of a window in its photograph, and alignment with grids of the photograph."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """Size of the full photograph and position of a window in it, in pixels.

    Attributes:
        height: height of the photograph.
        width: width of the photograph.
        top: first row of the window.
        left: first column of the window.
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


def pick(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return from each image its own rows and columns.

    Args:
        images: ``(N, C, H, W)``.
        rows: ``(N, h)`` int64.
        columns: ``(N, w)`` int64.

    Returns:
        ``(N, C, h, w)``.
    """
    if len(images) == 1:
        return images.index_select(-1, columns[0]).index_select(-2, rows[0])
    number, channel = (torch.arange(length, device=images.device) for length in images.shape[:2])
    return images[
        number[:, None, None, None],
        channel[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def align(images: Tensor, frames: Sequence[Frame], period: int) -> Tensor:
    """Extend windows by their edges to start and end on lines of the grid of the frame.

    The size of the result depends only on the size of the windows, not on their phase, so that
    windows with different phases can be batched.

    Args:
        images: ``(N, C, H, W)``.
        frames: position of each window.
        period: distance of grid lines in pixels, starting at the edge of the frame.

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
    """Replace cells without pixels of their window by the last cell with pixels.

    Whether `align` adds such cells depends on the phase, which must not affect the result.

    Args:
        cells: ``(N, C, h, w)``, one value per ``period x period`` cell of aligned windows.
        frames: position of each window.
        period: side of a cell in pixels.
        height: height of the windows before `align`.
        width: width of the windows before `align`.
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
