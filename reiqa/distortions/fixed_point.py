"""Linear filters in exact fixed-point arithmetic.

Weights are multiples of 2**-12 and planes are int32, so sums are exact and do not depend on order,
vector width, threads, batch or device. Only the two final divisions of a filter round, and they are
shifts. Renders are therefore byte-identical on all platforms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reiqa.distortions import bulk
from reiqa.distortions.frame import extend

#: Fractional bits of a weight.
WEIGHT_BITS = 12
#: Fractional bits of a plane between the passes of a filter.
PLANE_BITS = 4

_ONE = 1 << WEIGHT_BITS


def to_fixed_weights(values: Sequence[float]) -> list[int]:
    """Scale an odd number of weights to integers with a sum of exactly 2**12.

    The rounding error is added to the middle weight.
    """
    total = sum(values)
    scaled = [round(value / total * _ONE) for value in values]
    scaled[len(scaled) // 2] += _ONE - sum(scaled)
    return scaled


def rounded_shift(planes: Tensor, bits: int) -> Tensor:
    """Divide int32 in place by 2**bits, rounding halves up."""
    return planes.add_(1 << (bits - 1)).bitwise_right_shift_(bits)


def to_fixed_point(images: Tensor) -> Tensor:
    """Convert uint8 to int32 planes with `PLANE_BITS` fractional bits."""
    return images.to(torch.int32).bitwise_left_shift_(PLANE_BITS)


def from_fixed_point(planes: Tensor) -> Tensor:
    """Round filtered planes with `PLANE_BITS` + `WEIGHT_BITS` fractional bits to uint8.

    Rounding once from many bits makes exact halves, which round up, too rare to bias the mean.
    """
    return rounded_shift(planes, PLANE_BITS + WEIGHT_BITS).clamp_(0, 255).to(torch.uint8)


def round_to_uint8(values: Tensor) -> Tensor:
    """Round float32 values from 0 to 255 to uint8; overwrites its argument.

    Converting via int32 is vectorised on CPUs and three times faster.
    """
    return values.round_().to(torch.int32).to(torch.uint8)


def filter_images(images: Tensor, taps: Sequence[Sequence[int]]) -> Tensor:
    """Correlate uint8 images with symmetric taps along rows and columns, edges extended.

    Args:
        images: ``(N, C, H, W)`` uint8.
        taps: of each image, an odd number of integers of at least 0 (see `to_fixed_weights`).
    """
    if bulk.is_bulk(images.device):
        # The sum of the products is at most 2**12 * 255 * 2**4.
        return from_fixed_point(_bulk_separable(to_fixed_point(images), taps, 24))
    filtered = [
        from_fixed_point(_separable(to_fixed_point(pad_edges(image[None], len(own) // 2)), own))
        for image, own in zip(images, taps, strict=True)
    ]
    return torch.cat(filtered)


def filter_fixed_point(planes: Tensor, taps: Sequence[Sequence[int]]) -> Tensor:
    """Correlate signed int32 planes of at most 15 bits like `filter_images`.

    Returns:
        int32 of the same shape with `WEIGHT_BITS` more fractional bits; the caller rounds once.
    """
    if bulk.is_bulk(planes.device):
        return _bulk_separable(planes, taps, 15 + WEIGHT_BITS)
    filtered = [
        _separable(pad_edges(own_planes[None], len(own) // 2), own)
        for own_planes, own in zip(planes, taps, strict=True)
    ]
    return torch.cat(filtered)


def pad_edges(planes: Tensor, reach: int) -> Tensor:
    """Repeat the edges of ``(..., H, W)`` by ``reach`` pixels on all sides."""
    return extend(extend(planes, -2, reach, reach), -1, reach, reach)


def _bulk_separable(planes: Tensor, taps: Sequence[Sequence[int]], bits: int) -> Tensor:
    table = bulk.taps_table(taps, planes.device)
    rows = rounded_shift(bulk.correlate(planes, table, -2, bits), WEIGHT_BITS)
    return bulk.correlate(rows, table, -1, bits)


def _separable(padded: Tensor, taps: Sequence[int]) -> Tensor:
    return _along(rounded_shift(_along(padded, taps, -2), WEIGHT_BITS), taps, -1)


def _along(padded: Tensor, taps: Sequence[int], dim: int) -> Tensor:
    """Correlate along one axis without padding."""
    radius = len(taps) // 2
    length = padded.shape[dim] - 2 * radius
    total = padded.narrow(dim, radius, length) * taps[radius]
    pair = torch.empty_like(total)
    for distance in range(1, radius + 1):
        if tap := taps[radius + distance]:
            left = padded.narrow(dim, radius - distance, length)
            right = padded.narrow(dim, radius + distance, length)
            total.add_(torch.add(left, right, out=pair), alpha=tap)
    return total
