"""Spatial distortions: colour blocks, displaced patches, jitter.

Blocks and patches are drawn in every cell of a lattice over the photograph, so that every crop of a
chunk contains some, and their number is proportional to the area.

Each type is a `Distortion.apply` (see the registry).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from reiqa import seeds as project_seeds
from reiqa.distortions import fixed_point
from reiqa.distortions.frame import Frame
from reiqa.distortions.random_fields import normal_field
from reiqa.tensors import upload

#: Side of a lattice cell; any crop of 2 * CELL - 1 = 159 pixels contains a complete cell.
CELL = 80
#: Side of a displaced patch, and how far it may move.
PATCH, REACH = 16, 8
#: Patches per cell at the last level.
MOST = 5
#: Side of the largest block or patch.
MOST_SIDE = 18

Indices: TypeAlias = npt.NDArray[np.int64]


def colour_blocks(
    images: Tensor, sides: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Paint a square of ``sides`` pixels and a drawn colour somewhere in every lattice cell."""
    height, width = images.shape[-2:]
    boxes, colours = [], []
    for side, seed, frame in zip(sides, seeds, frames, strict=True):
        drawn = project_seeds.generator("colour_blocks", seed)
        cells = _cells(frame, height, width, 0)
        places = drawn.random((2, *cells.lattice))
        paint = drawn.integers(0, 256, (*cells.lattice, 3), dtype=np.uint8)
        boxes.append(cells.boxes(places[:, None], side))
        colours.append(cells.cut(paint.transpose(2, 0, 1)).reshape(3, -1))
    table = _padded([own.reshape(4, -1) for own in boxes], images.device)
    block = _last_box(table, height, width)
    palette = _padded(colours, images.device).to(torch.uint8)
    painted = palette.gather(2, block.clamp(min=0).flatten(1)[:, None].expand(-1, 3, -1))
    return torch.where(block[:, None] >= 0, painted.view(images.shape), images)


def displaced_patches(
    images: Tensor, counts: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Copy ``counts`` patches of 16 pixels in every lattice cell to a place up to 8 pixels off."""
    height, width = images.shape[-2:]
    tables = []
    for count, seed, frame in zip(counts, seeds, frames, strict=True):
        drawn = project_seeds.generator("displaced_patches", seed)
        cells = _cells(frame, height, width, REACH)
        # Drawn for the last level; lower levels use the first ones.
        places = drawn.random((MOST, 2, *cells.lattice))[:count].swapaxes(0, 1)
        # The zero displacement among 17 x 17 is skipped.
        moves = drawn.integers(0, (2 * REACH + 1) ** 2 - 1, (MOST, *cells.lattice))[:count]
        moves += moves >= ((2 * REACH + 1) ** 2) // 2
        shifts = np.stack(np.divmod(cells.cut(moves), 2 * REACH + 1)) - REACH
        boxes = cells.boxes(places, PATCH) + np.concatenate([shifts, shifts])
        # Patches of later cells cover those of earlier ones.
        rows = np.concatenate([boxes, shifts]).transpose(0, 2, 3, 1)
        tables.append(rows.reshape(6, -1))
    table = _padded(tables, images.device)
    patch = _last_box(table[:, :4], height, width).flatten(1)
    moved = table[:, 4:].gather(2, patch.clamp(min=0)[:, None].expand(-1, 2, -1))
    down, right = (moved * (patch >= 0)[:, None]).view(-1, 2, height, width).unbind(1)
    from_rows = (torch.arange(height, device=images.device)[:, None] - down).clamp_(0, height - 1)
    from_columns = (torch.arange(width, device=images.device) - right).clamp_(0, width - 1)
    source = from_rows.mul_(width).add_(from_columns).flatten(1)[:, None].expand(-1, 3, -1)
    return images.flatten(2).gather(2, source).view(images.shape)


def jitter(
    images: Tensor, sigmas: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Move every pixel by a normal displacement of ``sigmas`` pixels an axis, cubic interpolation.

    A single resampling with the composed field replaces the published five passes.
    """
    height, width = images.shape[-2:]
    moves = normal_field(2, sigmas, (height, width), seeds, frames, images.device)
    rows = torch.arange(height, dtype=torch.float32, device=images.device)
    columns = torch.arange(width, dtype=torch.float32, device=images.device)
    across = moves[:, 0].add_(columns).mul_(2 / max(1, width - 1)).sub_(1)
    down = moves[:, 1].add_(rows[:, None]).mul_(2 / max(1, height - 1)).sub_(1)
    grid = torch.stack([across, down], -1)
    moved = functional.grid_sample(
        images.float(), grid, mode="bicubic", padding_mode="reflection", align_corners=True
    )
    return fixed_point.round_to_uint8(moved.clamp_(0, 255))


@dataclass(frozen=True)
class _Cells:
    """Cells of a lattice over a photograph that touch a window; a small photograph is one cell.

    Attributes:
        frame: position of the window.
        sides: height and width of a cell.
        lattice: rows and columns of cells in the photograph.
        rows, columns: cells that touch the window.
    """

    frame: Frame
    sides: tuple[int, int]
    lattice: tuple[int, int]
    rows: range
    columns: range

    def cut(self, drawn: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the cells that touch the window from ``(..., rows, columns)`` of the lattice."""
        rows = slice(self.rows.start, self.rows.stop)
        return drawn[..., rows, self.columns.start : self.columns.stop]

    def boxes(self, places: npt.NDArray[np.float64], side: int) -> Indices:
        """Return squares of ``side`` inside their cells.

        Args:
            places: ``(2, count, rows, columns)`` of the lattice, shares of the free way.
            side: in pixels, at most that of the cell.

        Returns:
            ``(4, count, r, c)``: top, left, bottom, right in the window, the latter two exclusive.
        """
        cells = np.meshgrid(self.rows, self.columns, indexing="ij")
        starts, stops = [], []
        origin = (self.frame.top, self.frame.left)
        for cell, index, share, first in zip(
            self.sides, cells, self.cut(places), origin, strict=True
        ):
            length = min(side, cell)
            start = index * cell + (share * (cell - length + 1)).astype(np.int64) - first
            starts.append(start)
            stops.append(start + length)
        return np.stack(starts + stops)


def _cells(frame: Frame, height: int, width: int, reach: int) -> _Cells:
    """Return the cells whose content may come within ``reach`` pixels of the window."""
    sides = (min(CELL, frame.height), min(CELL, frame.width))
    spans, lattice = [], []
    for start, length, total, cell in zip(
        (frame.top, frame.left), (height, width), (frame.height, frame.width), sides, strict=True
    ):
        count = math.ceil(total / cell)
        stop = min(count, (start + length - 1 + reach) // cell + 1)
        spans.append(range(max(0, (start - reach) // cell), stop))
        lattice.append(count)
    return _Cells(frame, sides, (lattice[0], lattice[1]), spans[0], spans[1])


def _padded(tables: Sequence[npt.NDArray[Any]], device: torch.device) -> Tensor:
    """Stack ``(R, B)`` tables of the images; boxes that are missing are empty."""
    stacked = np.zeros((len(tables), len(tables[0]), max(t.shape[1] for t in tables)), np.int64)
    for place, own in zip(stacked, tables, strict=True):
        place[:, : own.shape[1]] = own
    return upload(stacked, device)


def _last_box(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return for each pixel the last box that contains it, or -1.

    Args:
        boxes: ``(N, 4, B)``: top, left, bottom, right.
        height: of the windows.
        width: of the windows.

    Returns:
        ``(N, height, width)`` int64.
    """
    count, _, total = boxes.shape
    steps = torch.arange(MOST_SIDE, device=boxes.device)
    top, left, bottom, right = boxes[..., None].unbind(1)
    rows, columns = top + steps, left + steps
    inside_rows = (rows < bottom.clamp(max=height)) & (rows >= 0)
    inside_columns = (columns < right.clamp(max=width)) & (columns >= 0)
    inside = inside_rows[..., None] & inside_columns[..., None, :]
    # Pixels outside go to a place behind the image.
    flat = rows[..., None] * width + columns[..., None, :]
    flat = torch.where(inside, flat, height * width).flatten(1)
    number = torch.arange(total, device=boxes.device)[:, None, None].expand(inside.shape)
    last = torch.full((count, height * width + 1), -1, dtype=torch.int64, device=boxes.device)
    last.scatter_reduce_(1, flat, number.flatten(1), "amax")
    return last[:, :-1].view(count, height, width)
