"""Windows over an image, and a smooth surface through what was measured in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Surface: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]

# A window is a quarter of the shorter side, but no fewer pixels than the experts' deepest stage
# needs to see something, and no more than keeps the map sharp.
_SHARE, _LEAST, _MOST = 4, 96, 256


@dataclass(frozen=True)
class WindowGrid:
    """Windows of one size on a regular grid, from border to border.

    Attributes:
        height, width: of the image.
        side: of a window, at most; an image smaller than that is one window.
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
        """Lay windows over an image, each half over the next."""
        side = min(max(min(height, width) // _SHARE, _LEAST), _MOST)
        return cls(height, width, side, _starts(height, side), _starts(width, side))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return len(self.tops), len(self.lefts)

    def boxes(self) -> Iterator[tuple[slice, slice]]:
        """Yield rows and columns of each window, line by line."""
        for top in self.tops:
            for left in self.lefts:
                yield slice(top, top + self.side), slice(left, left + self.side)


def interpolate_grid(plan: WindowGrid, values: Surface, height: int, width: int) -> Surface:
    """Lay a smooth surface through the windows' values: their Gaussian mean about each place.

    Args:
        plan: the windows.
        values: ``plan.shape``.
        height: of the surface, which covers the whole image.
        width: of the surface.
    """
    down = _nearness(plan.tops, plan.side, plan.height, height)
    across = _nearness(plan.lefts, plan.side, plan.width, width)
    smooth: Surface = down @ values @ across.T
    return smooth


def _starts(length: int, side: int) -> tuple[int, ...]:
    if length <= side:
        return (0,)
    count = -(-(length - side) // (side // 2)) + 1
    return tuple(round(start) for start in np.linspace(0, length - side, count).tolist())


def _nearness(starts: tuple[int, ...], side: int, length: int, places: int) -> Surface:
    """Return the share of each window in each place, ``(places, windows)``; rows sum to one."""
    centres = np.array(starts) + min(side, length) / 2
    at = (np.arange(places) + 0.5) * (length / places)
    distance = (at[:, None] - centres) / (side / 3)
    weights = np.exp(-0.5 * np.square(distance))
    shares: Surface = weights / weights.sum(axis=1, keepdims=True)
    return shares
