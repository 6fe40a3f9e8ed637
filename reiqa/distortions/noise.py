"""Noise: white, colour, impulse, multiplicative, and denoised white noise.

Each type is a `Distortion.apply` (see the registry).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from reiqa import seeds as project_seeds
from reiqa.distortions import fixed_point
from reiqa.distortions.blur import gaussian_taps
from reiqa.distortions.colourspace import mix
from reiqa.distortions.frame import Frame
from reiqa.distortions.random_fields import hash_bits, normal_field
from reiqa.tensors import upload

#: YCbCr (studio range, Rec. 601) to RGB, for differences in units of the full 8-bit range.
_FROM_YCBCR = np.linalg.inv(
    np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
    / 255
).tolist()


def white_noise(
    images: Tensor, variances: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Add normal noise of ``variances`` (full range 1), independent in each channel."""
    return _to_uint8(_field(images, variances, seeds, frames).add_(images))


def colour_noise(
    images: Tensor, variances: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Add normal noise of ``variances`` (full range 1) to each of Y, Cb and Cr."""
    field = mix(_field(images, variances, seeds, frames), _FROM_YCBCR)
    return _to_uint8(field.add_(images))


def impulse_noise(
    images: Tensor, shares: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Set fractions ``shares`` of the pixels to black or white with equal probability."""
    drawn = hash_bits(_shape(images), seeds, frames, "impulse", images.device)
    half = [round(share / 2 * 2**32) for share in shares]
    bounds = [(-(2**31) + count, 2**31 - count) for count in half]
    lowest, highest = upload(bounds, images.device, torch.int32).T[..., None, None]
    black, white = drawn < lowest, drawn >= highest
    keep = (~black).to(torch.uint8).mul_(255)[:, None]
    struck: Tensor = (images & keep) | white.to(torch.uint8).mul_(255)[:, None]
    return struck


def multiplicative_noise(
    images: Tensor, variances: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Multiply each value by 1 + a normal number of ``variances``."""
    values = images.float()
    scales = [math.sqrt(variance) for variance in variances]
    field = normal_field(3, scales, _shape(images), seeds, frames, images.device)
    return _to_uint8(field.mul_(values).add_(values))


def denoise(
    images: Tensor,
    strengths: Sequence[tuple[float, float]],
    seeds: Sequence[int],
    frames: Sequence[Frame],
) -> Tensor:
    """Add white noise, then smooth with a Gaussian or a box of equal variance, by the seed.

    Args:
        images: ``(N, 3, H, W)`` uint8.
        strengths: variance of the noise (full range 1), sigma of the smoothing in pixels.
        seeds: one seed per image.
        frames: position of each window.
    """
    noisy = white_noise(images, [variance for variance, _ in strengths], seeds, frames)
    pairs = zip(strengths, seeds, strict=True)
    return fixed_point.filter_images(noisy, [_smoother(sigma, seed) for (_, sigma), seed in pairs])


@lru_cache(maxsize=16)
def box_taps(sigma: float) -> list[int]:
    """Return integer taps of the box of standard deviation ``sigma``, its ends weighted."""
    # A box of 2 r + 1 pixels and two ends of weight w has variance
    # (r (r + 1) (2 r + 1) / 3 + 2 w (r + 1)^2) / (2 r + 1 + 2 w): solved for w in [0, 1).
    radius = math.floor((math.sqrt(12 * sigma**2 + 1) - 1) / 2)
    inner, side = radius * (radius + 1) * (2 * radius + 1) / 3, 2 * radius + 1
    end = (sigma**2 * side - inner) / (2 * ((radius + 1) ** 2 - sigma**2))
    return fixed_point.to_fixed_weights([end, *[1.0] * side, end])


def _smoother(sigma: float, seed: int) -> list[int]:
    box = project_seeds.derive("denoise", seed) & 1
    return box_taps(sigma) if box else gaussian_taps(sigma)


def _field(
    images: Tensor, variances: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    scales = [255 * math.sqrt(variance) for variance in variances]
    return normal_field(3, scales, _shape(images), seeds, frames, images.device)


def _shape(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _to_uint8(values: Tensor) -> Tensor:
    return fixed_point.round_to_uint8(values.clamp_(0, 255))
