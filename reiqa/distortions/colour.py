"""Colour distortions: diffusion, channel shift, and saturation changes.

Each type is a `Distortion.apply` (see the registry).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from reiqa import seeds as project_seeds
from reiqa.distortions import bulk, fixed_point
from reiqa.distortions.blur import gaussian_taps
from reiqa.distortions.colourspace import from_responses, responses
from reiqa.distortions.frame import Frame, align, clip_cells, extend, pick, unalign
from reiqa.tensors import upload

#: Chroma planes of colour diffusion are blurred on a grid this much coarser.
_COARSE = 4
#: Margin of colour diffusion on each side, in pixels.
DIFFUSION_MARGIN = 64
#: Maximum radius of its Gaussian in cells: the margin minus one cell for interpolation and one for
#: the partial cell at the side of a window.
_CELLS = DIFFUSION_MARGIN // _COARSE - 2
#: Fractional bits of f(X) - f(Y) and f(Z) - f(Y) as integers.
_CHROMA_BITS = 13
#: Smoothed grey gradients (per pixel, full range 1) at which colour shift starts and is complete.
_EDGE_FROM, _EDGE_TO = 0.01, 0.08
_EDGE_SIGMA = 4.0


def colour_diffusion(
    images: Tensor, amounts: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Blur a and b of Lab by sigma = 1.5 amount + 2 pixels and multiply them by ``amounts``.

    The blur runs on means over 4 x 4 cells of the frame and is interpolated linearly; the variance
    that averaging and interpolation add is taken off the Gaussian's. At the last level the
    Gaussian ends where the margin does, at 2.8 standard deviations.
    """
    compressed = responses(images)
    light = compressed[:, 1:2]
    # f(X) - f(Y) and f(Z) - f(Y), which are a / 500 and - b / 200.
    chroma = compressed[:, ::2].sub_(light)
    digits = chroma.mul(1 << _CHROMA_BITS).round_().to(torch.int32)
    sigmas = [math.sqrt((1.5 * amount + 2) ** 2 - _COARSE**2 / 4) / _COARSE for amount in amounts]
    taps = [gaussian_taps(sigma, _CELLS) for sigma in sigmas]
    spread = (_bulk_diffuse if bulk.is_bulk(images.device) else _diffuse)(digits, taps, frames)
    shares = bulk.per_image([amount / (1 << _CHROMA_BITS) for amount in amounts], images.device)
    # In place of the planes that chroma is a view of.
    torch.mul(spread, shares, out=chroma).add_(light)
    return from_responses(compressed)


def _diffuse(digits: Tensor, taps: Sequence[Sequence[int]], frames: Sequence[Frame]) -> Tensor:
    """Blur int32 planes of 14 bits on cells of the frame."""
    height, width = digits.shape[-2:]
    means = _cell_means(align(digits, frames, _COARSE))
    cells = clip_cells(means, frames, _COARSE, height, width)
    spread = fixed_point.filter_fixed_point(cells, taps)
    blurred = fixed_point.rounded_shift(spread, fixed_point.WEIGHT_BITS)
    return unalign(_interpolate(blurred), frames, _COARSE, height, width)


def _bulk_diffuse(digits: Tensor, taps: Sequence[Sequence[int]], frames: Sequence[Frame]) -> Tensor:
    """Like `_diffuse`, in few calls."""
    grids = bulk.grids(frames, [_COARSE] * len(frames), digits.shape[-2:], digits.device)
    ones = torch.ones((len(frames), 1, _COARSE), device=digits.device)
    rows = bulk.multiply(digits, *bulk.shrink(grids[0], ones, 0), -2, 24)
    total = bulk.multiply(rows, *bulk.shrink(grids[1], ones, 0), -1, 24)
    cells = fixed_point.rounded_shift(total, 4)
    spread = fixed_point.filter_fixed_point(cells, taps)
    blurred = fixed_point.rounded_shift(spread, fixed_point.WEIGHT_BITS)
    eighths = 2 * _COARSE
    offsets = [2 * phase + 1 - _COARSE for phase in range(_COARSE)]
    table = [[max(0, -off), eighths - abs(off), max(0, off)] for off in offsets]
    weights = upload([table] * len(frames), digits.device, torch.float32)
    for grid, dim in ((grids[1], -1), (grids[0], -2)):
        mixed = bulk.multiply(blurred, *bulk.enlarge(grid, weights), dim, 24)
        blurred = fixed_point.rounded_shift(mixed, 3)
    return blurred


def colour_shift(
    images: Tensor, distances: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Shift green by ``distances`` pixels in a drawn direction where the image has edges.

    The published mask is stretched by the extremes of the whole image; here the stretch is fixed,
    so that a window and its photograph agree.
    """
    mask = _edges(images)
    shifts = []
    for distance, seed in zip(distances, seeds, strict=True):
        angle = project_seeds.generator("colour_shift", seed).uniform(0, 2 * math.pi)
        shifts.append((round(distance * math.sin(angle)), round(distance * math.cos(angle))))
    down, right = upload(shifts, images.device).T[..., None]
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp_(0, width - 1)
    own = images[:, 1].float()
    change = pick(images[:, 1:2], rows, columns)[:, 0].float().sub_(own).mul_(mask)
    out = images.clone()
    out[:, 1] = fixed_point.round_to_uint8(change.add_(own))
    return out


def desaturation(
    images: Tensor, shares: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Keep ``shares`` of the HSV saturation: each channel moves towards the greatest one."""
    greatest = images.amax(1, keepdim=True).float()
    # max - share (max - c): hue and value stay, saturation scales.
    kept = images.float().sub_(greatest).mul_(bulk.per_image(shares, images.device))
    return fixed_point.round_to_uint8(kept.add_(greatest))


def saturation(
    images: Tensor, factors: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Multiply a and b of Lab by ``factors``."""
    compressed = responses(images)
    light = compressed[:, 1:2].clone()
    chroma = compressed.sub_(light).mul_(bulk.per_image(factors, images.device))
    return from_responses(chroma.add_(light))


def _edges(images: Tensor) -> Tensor:
    """Return ``(N, H, W)`` float32 in [0, 1]: where the smoothed gradient of grey is strong."""
    red, green, blue = (images[:, channel].to(torch.int32) for channel in range(3))
    # The luma of Rec. 601 in 256ths; its products are exact, and so are the differences.
    grey = red.mul_(77).add_(green.mul_(150)).add_(blue.mul_(29)).float()
    height, width = grey.shape[-2:]
    rows, columns = extend(grey, -2, 1, 1), extend(grey, -1, 1, 1)
    down = rows.narrow(-2, 2, height) - rows.narrow(-2, 0, height)
    right = columns.narrow(-1, 2, width) - columns.narrow(-1, 0, width)
    strength = down.mul_(down).add_(right.mul_(right)).sqrt_()
    # Half the difference, full range 1, in 2**-14: at most 1.42 / 2 * 2**14, 14 bits.
    planes = strength.mul_(2**14 / (2 * 256 * 255)).round_().to(torch.int32)
    smooth = fixed_point.filter_fixed_point(
        planes[:, None], [gaussian_taps(_EDGE_SIGMA)] * len(planes)
    )
    smooth = smooth[:, 0].float()
    smooth.mul_(2.0 ** -(14 + fixed_point.WEIGHT_BITS))
    return smooth.sub_(_EDGE_FROM).mul_(1 / (_EDGE_TO - _EDGE_FROM)).clamp_(0, 1)


def _cell_means(planes: Tensor) -> Tensor:
    """Average int32 planes over cells of `_COARSE` squared pixels, rounding halves up."""
    shape = planes.shape
    rows = planes.view(*shape[:-2], shape[-2] // _COARSE, _COARSE, shape[-1])
    sums = rows[..., 0, :] + rows[..., 1, :]
    for row in range(2, _COARSE):
        sums.add_(rows[..., row, :])
    total = sums[..., ::_COARSE] + sums[..., 1::_COARSE]
    for column in range(2, _COARSE):
        total.add_(sums[..., column::_COARSE])
    return fixed_point.rounded_shift(total, 4)


def _interpolate(cells: Tensor) -> Tensor:
    """Spread cells to pixels, linearly between their centres, edges extended."""
    return _interpolate_along(_interpolate_along(cells, -1), -2)


def _interpolate_along(cells: Tensor, dim: int) -> Tensor:
    length = cells.shape[dim]
    padded = extend(cells, dim, 1, 1)
    before, own, after = (padded.narrow(dim, start, length) for start in range(3))
    eighths = 2 * _COARSE
    phases = []
    for phase in range(_COARSE):
        offset = 2 * phase + 1 - _COARSE
        other = after if offset > 0 else before
        mixed = own * (eighths - abs(offset))
        phases.append(fixed_point.rounded_shift(mixed.add_(other, alpha=abs(offset)), 3))
    return torch.stack(phases, dim).flatten(dim - 1, dim)
