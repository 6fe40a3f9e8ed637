"""Where windows and crops lie, in whole pixels.

In pixels of the full frame unless said otherwise. The *frame* is the photograph without its last
odd row or column, grown by reflection where it is too small. The *content* is a square of the
frame in which every crop of both scales lies: two crops of side P that overlap by at least
``ola[0]`` fit into a square of ``2 P - ceil(ola[0] P)``, which is 304 for P = 160 and 0.10; at
half scale that is 608 of the frame. The *extent* is the part of the content that the crops of one
recipe take: the box of the half-scale pair, in which the full-scale pair lies too. The *window*
is what is stored: the content and a margin on each side, as wide as the widest filter of the bank
needs; at a border of the frame it ends there, so that a distortion treats that border as it would
in the whole photograph. Windows have even corners: the half-scale grid of a window is the
half-scale grid of its frame.
"""

from typing import NamedTuple

#: Pixels on each side that the antialiased bicubic half-scale filter reads.
HALVING_MARGIN = 4


class Point(NamedTuple):
    """Row and column of a corner."""

    top: int
    left: int


class CropPair(NamedTuple):
    """Upper left corners of two crops, in pixels of the frame at the pair's own scale."""

    first: Point
    second: Point


def even_margin(margin: int) -> int:
    """Pixels to keep around what a filter that reads ``margin`` makes, so that it can be halved.

    Even, so that what is cut out stays in phase with the half-scale grid.
    """
    needed = margin + HALVING_MARGIN
    return needed + needed % 2


def padded_range(inner: range, margin: int, length: int) -> range:
    """Return the pixels of one axis of the frame that hold ``inner`` and a margin around it.

    At a border of the frame the span is moved inward instead of cut off, so that windows of large
    photographs all have one shape.
    """
    size = min(length, len(inner) + 2 * margin)
    first = min(max(0, inner.start - margin), length - size)
    return range(first, first + size)


def scale_range(pixels: range, scale: float) -> range:
    """Return at ``scale`` what ``pixels`` of the full frame are; both ends fall on whole pixels."""
    return range(int(pixels.start * scale), int(pixels.stop * scale))


def crops_extent(pair: CropPair, patch: int, scale: float) -> tuple[range, range]:
    """Rows and columns of the full frame that hold both crops, of side ``patch``, of a pair."""
    (top, bottom), (left, right) = (sorted(ends) for ends in zip(*pair, strict=True))
    return (
        range(int(top / scale), int((bottom + patch) / scale)),
        range(int(left / scale), int((right + patch) / scale)),
    )
