"""Spatial distortions: colour blocks, displaced patches, jitter.

Blocks and patches are drawn in every cell of a lattice over the photograph, so that every crop of a
chunk contains some, and their number is proportional to the area.

Each type is a `Distortion.apply` (see the registry).
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from reiqa import seeds as project_seeds
from reiqa.distortions import fixed_point
from reiqa.distortions.frame import Frame
from reiqa.distortions.random_fields import normal_field

#: Side of a lattice cell; any crop of 2 * CELL - 1 = 159 pixels contains a complete cell.
CELL = 80
#: Side of a displaced patch, and how far it may move.
PATCH, REACH = 16, 8
#: Patches per cell at the last level.
MOST = 5

Box: TypeAlias = tuple[slice, slice]
Indices: TypeAlias = npt.NDArray[np.int64]


def colour_blocks(
    images: Tensor, side: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Paint a square of ``side`` pixels and a drawn colour somewhere in every lattice cell."""
    out = images.clone()
    height, width = images.shape[-2:]
    for number, (seed, frame) in enumerate(zip(seeds, frames, strict=True)):
        drawn = project_seeds.generator("colour_blocks", seed)
        lattice = _Lattice(frame)
        places = drawn.random((2, *lattice.shape))
        colours = drawn.integers(0, 256, (*lattice.shape, 3), dtype=np.uint8)
        painted = np.full((height, width), -1, dtype=np.int64)
        for row, column in lattice.touching(height, width, 0):
            box = lattice.box(row, column, side, places[:, row, column])
            cut = _cut(box, frame, height, width)
            painted[cut] = row * lattice.shape[1] + column
        where = np.flatnonzero(painted >= 0)
        values = colours.reshape(-1, 3)[painted.ravel()[where]]
        _put(out[number], where, torch.from_numpy(values.T.copy()))
    return out


def displaced_patches(
    images: Tensor, count: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Copy ``count`` patches of 16 pixels in every lattice cell to a place up to 8 pixels off."""
    out = images.clone()
    height, width = images.shape[-2:]
    for number, (seed, frame) in enumerate(zip(seeds, frames, strict=True)):
        source = _displacements(seed, count, frame, height, width)
        where = np.flatnonzero(source.ravel() != np.arange(height * width))
        chosen = torch.from_numpy(source.ravel()[where]).to(images.device)
        _put(out[number], where, images[number].flatten(1).index_select(1, chosen))
    return out


def jitter(images: Tensor, sigma: float, seeds: Sequence[int], frames: Sequence[Frame]) -> Tensor:
    """Move every pixel by a normal displacement of ``sigma`` pixels an axis, cubic interpolation.

    A single resampling with the composed field replaces the published five passes.
    """
    height, width = images.shape[-2:]
    moves = normal_field(2, sigma, (height, width), seeds, frames, images.device)
    rows = torch.arange(height, dtype=torch.float32, device=images.device)
    columns = torch.arange(width, dtype=torch.float32, device=images.device)
    across = moves[:, 0].add_(columns).mul_(2 / max(1, width - 1)).sub_(1)
    down = moves[:, 1].add_(rows[:, None]).mul_(2 / max(1, height - 1)).sub_(1)
    grid = torch.stack([across, down], -1)
    moved = functional.grid_sample(
        images.float(), grid, mode="bicubic", padding_mode="reflection", align_corners=True
    )
    return fixed_point.round_to_uint8(moved.clamp_(0, 255))


class _Lattice:
    """Cells of `CELL` pixels over a photograph; one that is smaller than a cell is its own."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._sides = (min(CELL, frame.height), min(CELL, frame.width))
        self.shape = tuple(
            math.ceil(side / cell)
            for side, cell in zip((frame.height, frame.width), self._sides, strict=True)
        )

    def touching(self, height: int, width: int, reach: int) -> Iterator[tuple[int, int]]:
        """Yield the cells whose content may come within ``reach`` pixels of the window."""
        starts = (self._frame.top, self._frame.left)
        spans = [
            range(
                max(0, (start - reach) // cell),
                min(count, (start + length - 1 + reach) // cell + 1),
            )
            for start, length, cell, count in zip(
                starts, (height, width), self._sides, self.shape, strict=True
            )
        ]
        yield from ((row, column) for row in spans[0] for column in spans[1])

    def box(self, row: int, column: int, side: int, place: npt.NDArray[np.float64]) -> Box:
        """Return a square of ``side`` inside a cell, in the photograph's coordinates."""
        slices = []
        for cell, index, share in zip(self._sides, (row, column), place, strict=True):
            length = min(side, cell)
            start = index * cell + int(share * (cell - length + 1))
            slices.append(slice(start, start + length))
        return slices[0], slices[1]


def _displacements(seed: int, count: int, frame: Frame, height: int, width: int) -> Indices:
    """Return for each pixel of the window the flat index of the pixel that it shows."""
    drawn = project_seeds.generator("displaced_patches", seed)
    lattice = _Lattice(frame)
    # Drawn for the last level; lower levels use the first ones.
    places = drawn.random((MOST, 2, *lattice.shape))
    # The zero displacement among 17 x 17 is skipped.
    moves = drawn.integers(0, (2 * REACH + 1) ** 2 - 1, (MOST, *lattice.shape))
    moves += moves >= ((2 * REACH + 1) ** 2) // 2
    # Indices of the window with extended edges; the origin of a patch is a slice of it.
    index = np.pad(np.arange(height * width).reshape(height, width), REACH, mode="edge")
    source = index[REACH:-REACH, REACH:-REACH].copy()
    for row, column in lattice.touching(height, width, REACH):
        for number in range(count):
            rows, columns = lattice.box(row, column, PATCH, places[number, :, row, column])
            move = divmod(int(moves[number, row, column]), 2 * REACH + 1)
            down, right = move[0] - REACH, move[1] - REACH
            moved = (_moved(rows, down), _moved(columns, right))
            cut = _cut(moved, frame, height, width)
            origin = (_moved(cut[0], REACH - down), _moved(cut[1], REACH - right))
            source[cut] = index[origin]
    return source


def _moved(side: slice, by: int) -> slice:
    return slice(side.start + by, side.stop + by)


def _cut(box: Box, frame: Frame, height: int, width: int) -> Box:
    """Return the part of a box of the photograph that lies in the window, in its coordinates."""
    rows, columns = _moved(box[0], -frame.top), _moved(box[1], -frame.left)
    return _clipped(rows, height), _clipped(columns, width)


def _clipped(side: slice, length: int) -> slice:
    start = min(max(0, side.start), length)
    return slice(start, max(start, min(length, side.stop)))


def _put(image: Tensor, where: Indices, values: Tensor) -> None:
    """Write ``(3, K)`` values at K flat indices of one image, in place."""
    index = torch.from_numpy(where).to(image.device)
    image.flatten(1).index_copy_(1, index, values.to(image.device))
