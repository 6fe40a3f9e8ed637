"""Linear filters over a whole batch, an individual filter for each image, in a few large calls.

On a GPU a call costs as much as the arithmetic of many pixels. A filter along one axis is therefore
a product with a banded matrix per image, which also holds phase, grid and extended edges; a filter
in two dimensions is a product of Fourier transforms. The results are the integers that
`fixed_point` computes on a CPU, tap by tap.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reiqa.distortions.frame import Frame
from reiqa.tensors import upload

#: Bits of an integer that float32 represents exactly.
_EXACT_BITS = 24
#: Low bits of planes that are multiplied separately where sums would exceed `_EXACT_BITS`.
_LOW_BITS = 7
#: Fourier transforms are fast for multiples of this length.
_LENGTH = 32


def is_bulk(device: torch.device) -> bool:
    """Return whether to process a batch in a few large calls: on any device but a CPU."""
    return device.type != "cpu"


def per_image(values: Sequence[float], device: torch.device) -> Tensor:
    """Return one float32 per image as ``(N, 1, 1, 1)``."""
    return upload(values, device, torch.float32).view(-1, 1, 1, 1)


def taps_table(taps: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return ``(N, K)`` float32 taps, shorter ones of the odd lengths centred among zeros."""
    longest = max(map(len, taps))
    table = np.zeros((len(taps), longest), np.float32)
    for row, own in zip(table, taps, strict=True):
        first = (longest - len(own)) // 2
        row[first : first + len(own)] = own
    return upload(table, device)


def correlate(planes: Tensor, taps: Tensor, dim: int, bits: int) -> Tensor:
    """Correlate each image with its own taps along one axis, edges extended.

    Args:
        planes: ``(N, C, H, W)`` int32.
        taps: `taps_table`.
        dim: -2 or -1.
        bits: see `multiply`.
    """
    length, reach = planes.shape[dim], taps.shape[1] // 2
    steps = torch.arange(-reach, reach + 1, device=planes.device)
    index = torch.arange(length, device=planes.device)[:, None] + steps
    shape = (len(planes), *index.shape)
    index = index.clamp_(0, length - 1).expand(shape)
    return multiply(planes, index, taps[:, None].expand(shape), dim, bits)


def multiply(planes: Tensor, index: Tensor, weights: Tensor, dim: int, bits: int) -> Tensor:
    """Return along one axis, for each image, sums of ``weights * planes[index]``, exactly.

    Args:
        planes: ``(N, C, H, W)`` int32.
        index: ``(N, L, K)`` int64: the inputs of each of L outputs; an input may repeat.
        weights: ``(N, L, K)`` float32 integers.
        dim: axis of planes to filter, -2 or -1.
        bits: bits of the largest sum of absolute products. More than 24 are not exact in float32,
            so planes are then split into high and low bits.

    Returns:
        int32, with L in place of the length along ``dim``.
    """
    length = planes.shape[dim]
    matrix = weights.new_zeros((*index.shape[:2], length)).scatter_add_(2, index, weights)
    if bits <= _EXACT_BITS:
        return _product(matrix, planes, dim)
    parts = torch.cat((planes >> _LOW_BITS, planes & ((1 << _LOW_BITS) - 1)), 1)
    high, low = _product(matrix, parts, dim).chunk(2, 1)
    return high.mul_(1 << _LOW_BITS).add_(low)


def _product(matrix: Tensor, planes: Tensor, dim: int) -> Tensor:
    values = planes.float()
    if dim == -2:
        return torch.matmul(matrix[:, None], values).to(torch.int32)
    rows = torch.bmm(values.flatten(1, 2), matrix.mT)
    return rows.view(*planes.shape[:3], -1).to(torch.int32)


def convolve(padded: Tensor, kernels: Sequence[npt.NDArray[np.int64]]) -> Tensor:
    """Correlate each image with its own kernel, exactly.

    Sums are below 2**31, and a Fourier transform in float64 errs by less than 2**-15 of the last
    bit, so that rounding gives the integer.

    Args:
        padded: ``(N, C, H + 2 r, W + 2 r)`` uint8, where 2 r + 1 is the longest side of a kernel.
        kernels: square, of odd sides.

    Returns:
        ``(N, C, H, W)`` int32.
    """
    side = max(len(kernel) for kernel in kernels)
    stacked = np.zeros((len(kernels), 1, side, side))
    for place, kernel in zip(stacked, kernels, strict=True):
        first = (side - len(kernel)) // 2
        place[0, first : first + len(kernel), first : first + len(kernel)] = kernel
    size = [-(-length // _LENGTH) * _LENGTH for length in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded.double(), s=size)
    response = torch.fft.rfft2(upload(stacked, padded.device), s=size)
    sums: Tensor = torch.fft.irfft2(spectrum.mul_(response.conj()), s=size)
    height, width = (length - side + 1 for length in padded.shape[-2:])
    return sums[..., :height, :width].round().to(torch.int32)


class Grid(NamedTuple):
    """The cells of a window's pixels along one axis, for each of N images.

    Attributes:
        start: ``(N, 1)`` pixels between a grid line of the photograph and the window.
        factor: ``(N, 1)`` distance of grid lines.
        length: pixels of the window.
        cells: cells that any of the windows has.
        last: ``(N, 1)`` last cell with pixels of the window.
    """

    start: Tensor
    factor: Tensor
    length: int
    cells: int
    last: Tensor


def grids(
    frames: Sequence[Frame], factors: Sequence[int], size: Sequence[int], device: torch.device
) -> tuple[Grid, Grid]:
    """Return the grids of rows and of columns of windows of one ``size``."""
    starts = [
        (frame.top % factor, frame.left % factor, factor)
        for frame, factor in zip(frames, factors, strict=True)
    ]
    top, left, factor = upload(starts, device).T[..., None]
    smallest = min(factors)
    rows, columns = (
        Grid(
            start,
            factor,
            length,
            -(-(length + smallest - 1) // smallest),
            torch.div(start + (length - 1), factor, rounding_mode="floor"),
        )
        for start, length in ((top, size[0]), (left, size[1]))
    )
    return rows, columns


def shrink(grid: Grid, taps: Tensor, before: Tensor | int) -> tuple[Tensor, Tensor]:
    """Return index and weights (see `multiply`) of a filter that makes cells of pixels.

    Cells without pixels get the value of the last cell with pixels.

    Args:
        grid: rows or columns.
        taps: ``(N, 1, K)``.
        before: ``(N, 1)`` pixels between the first tap and the first pixel of the cell.
    """
    cell = torch.arange(grid.cells, device=taps.device)
    first = torch.minimum(cell, grid.last) * grid.factor - grid.start - before
    steps = torch.arange(taps.shape[2], device=taps.device)
    index = (first[..., None] + steps).clamp_(0, grid.length - 1)
    return index, taps.expand(index.shape)


def enlarge(grid: Grid, taps: Tensor) -> tuple[Tensor, Tensor]:
    """Return index and weights (see `multiply`) of a filter that makes pixels of cells.

    Args:
        grid: rows or columns.
        taps: ``(N, phases, K)``: for a pixel of each phase in its cell, over cells about its own.
    """
    pixel = grid.start + torch.arange(grid.length, device=taps.device)
    cell = torch.div(pixel, grid.factor, rounding_mode="floor")
    phase = pixel - cell * grid.factor
    count = taps.shape[2]
    weights = taps.gather(1, phase[..., None].expand(-1, -1, count))
    steps = torch.arange(count, device=taps.device) - count // 2
    return (cell[..., None] + steps).clamp_(0, grid.cells - 1), weights
