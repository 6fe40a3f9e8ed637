"""Sliding windows over an image, and smooth interpolation of their values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Surface: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]

# The side of a window is a quarter of the shorter side of the image, within limits: the last stage
# of the experts needs a minimum, and large windows blur the map.
_DIVISOR, _MIN_SIDE, _MAX_SIDE = 4, 96, 256


@dataclass(frozen=True)
class WindowGrid:
    """Windows of one size on a regular grid, from border to border.

    Attributes:
        height, width: size of the image.
        side: maximum side of a window; a smaller image is one window.
        tops: first row of each row of windows.
        lefts: first column of each column of windows.
    """

    height: int
    width: int
    side: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def over(cls, height: int, width: int) -> "WindowGrid":
        """Cover an image with windows that overlap by half."""
        side = min(max(min(height, width) // _DIVISOR, _MIN_SIDE), _MAX_SIDE)
        return cls(height, width, side, _starts(height, side), _starts(width, side))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of windows."""
        return len(self.tops), len(self.lefts)

    def boxes(self) -> Iterator[tuple[slice, slice]]:
        """Yield the row and column slices of each window in row-major order."""
        for top in self.tops:
            for left in self.lefts:
                yield slice(top, top + self.side), slice(left, left + self.side)


def interpolate_grid(grid: WindowGrid, values: Surface, height: int, width: int) -> Surface:
    """Interpolate the values of windows with a Gaussian kernel.

    Args:
        grid: the windows.
        values: values of shape ``grid.shape``.
        height: height of the surface, which covers the full image.
        width: width of the surface.
    """
    down = _kernel_weights(grid.tops, grid.side, grid.height, height)
    across = _kernel_weights(grid.lefts, grid.side, grid.width, width)
    smooth: Surface = down @ values @ across.T
    return smooth


def _starts(length: int, side: int) -> tuple[int, ...]:
    if length <= side:
        return (0,)
    count = -(-(length - side) // (side // 2)) + 1
    return tuple(round(start) for start in np.linspace(0, length - side, count).tolist())


def _kernel_weights(starts: tuple[int, ...], side: int, length: int, places: int) -> Surface:
    """Return the weight of each window at each position, ``(places, windows)``; rows sum to one."""
    centres = np.array(starts) + min(side, length) / 2
    at = (np.arange(places) + 0.5) * (length / places)
    distance = (at[:, None] - centres) / (side / 3)
    weights = np.exp(-0.5 * np.square(distance))
    shares: Surface = weights / weights.sum(axis=1, keepdims=True)
    return shares
