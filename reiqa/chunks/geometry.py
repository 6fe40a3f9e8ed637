"""Positions of windows and crops, in integer pixels.

Coordinates are pixels of the full frame unless stated otherwise.

- The *frame* is the photograph without its last odd row or column. It is padded by reflection if it
  is too small.
- The *content* is a square of the frame that contains every crop of both scales. Two crops of side
  P that overlap by at least ``ola[0]`` fit into a square of side ``2 P - ceil(ola[0] P)``. This is
  304 for P = 160 and 0.10, and 608 pixels of the frame at half scale.
- The *extent* is the bounding box of the crops of one recipe. It is the box of the half-scale pair,
  which also contains the full-scale pair.
- The *window* is the stored region: the content plus a margin for the widest filter of the bank. It
  ends at the border of the frame, so that distortions treat the border as in the full photograph.
  Windows have even corners, so that their half-scale grid matches that of the frame.
"""

from typing import NamedTuple

#: Support of the antialiased bicubic half-scale filter, in pixels on each side.
HALVING_MARGIN = 4


class Point(NamedTuple):
    """Row and column of a corner."""

    top: int
    left: int


class CropPair(NamedTuple):
    """Upper left corners of two crops, in pixels of the frame at the scale of the pair."""

    first: Point
    second: Point


def overlap_share(pair: CropPair, patch: int) -> float:
    """Return the overlap of two crops of side ``patch``, as a fraction of the area of a crop."""
    down, right = (abs(second - first) for first, second in zip(*pair, strict=True))
    return (patch - down) * (patch - right) / patch**2


def even_margin(margin: int) -> int:
    """Return the margin for a filter with support ``margin`` followed by the half-scale filter.

    It is even, to stay aligned with the half-scale grid.
    """
    needed = margin + HALVING_MARGIN
    return needed + needed % 2


def padded_range(inner: range, margin: int, length: int) -> range:
    """Return ``inner`` plus a margin on one axis of the frame.

    At a border of the frame the range is shifted inward instead of truncated, so that windows of
    large photographs have equal shapes.
    """
    size = min(length, len(inner) + 2 * margin)
    first = min(max(0, inner.start - margin), length - size)
    return range(first, first + size)


def scale_range(pixels: range, scale: float) -> range:
    """Convert a range of the full frame to ``scale``; both ends must map to integer pixels."""
    return range(int(pixels.start * scale), int(pixels.stop * scale))


def crops_extent(pair: CropPair, patch: int, scale: float) -> tuple[range, range]:
    """Return rows and columns of the full frame that contain both crops of a pair."""
    (top, bottom), (left, right) = (sorted(ends) for ends in zip(*pair, strict=True))
    return (
        range(int(top / scale), int((bottom + patch) / scale)),
        range(int(left / scale), int((right + patch) / scale)),
    )
