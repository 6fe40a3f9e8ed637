"""Convert between 8-bit sRGB and CIE Lab with lookup tables.

Lab is represented by its three compressed responses f(X), f(Y), f(Z), from which
L = 116 f(Y) - 16, a = 500 (f(X) - f(Y)), b = 200 (f(Y) - f(Z)).
Roots and powers are tabulated in double precision. Per-pixel operations are only additions,
multiplications and lookups, which round equally on all devices.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reiqa.tensors import device_table, upload

#: Rec. 709 primaries to XYZ under D65, and D65's white (IEC 61966-2-1, 2 degree observer).
_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_STEPS = 65535
_DELTA = 6 / 29


def mix(planes: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Multiply each pixel by a matrix with a fixed order of operations, for reproducibility.

    Args:
        planes: ``(N, 3, H, W)`` float32.
        matrix: three rows of three.
    """
    out = torch.empty_like(planes)
    red, green, blue = planes.unbind(1)
    spare = torch.empty_like(red)
    for target, (first, second, third) in zip(out.unbind(1), matrix, strict=True):
        torch.mul(red, first, out=target)
        target.add_(torch.mul(green, second, out=spare))
        target.add_(torch.mul(blue, third, out=spare))
    return out


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """Index ``table`` (1-D, any dtype, on the same device) with every element of integers."""
    flat = index.reshape(-1).to(torch.int32)
    return table.index_select(0, flat).view(index.shape)


def look_up_each(tables: npt.NDArray[Any], images: Tensor) -> Tensor:
    """Apply to each image its own of ``(N, 256)`` tables."""
    table = upload(tables.ravel(), images.device)
    if len(images) == 1:
        return look_up(table, images)
    starts = torch.arange(0, 256 * len(images), 256, dtype=torch.int32, device=images.device)
    return look_up(table, images.to(torch.int32) + starts[:, None, None, None])


def responses(images: Tensor) -> Tensor:
    """Convert ``(N, 3, H, W)`` uint8 sRGB to f(X), f(Y), f(Z), float32 of the same shape."""
    normalised = (_TO_XYZ / _WHITE[:, None]).tolist()
    xyz = mix(look_up(device_table(_linear, images.device), images), normalised)
    return look_up(device_table(_compressed, images.device), _index(xyz))


def from_responses(compressed: Tensor) -> Tensor:
    """Convert f(X), f(Y), f(Z) to uint8 sRGB, clipping to the gamut.

    A negative f(Z) counts as zero, as in scikit-image. Overwrites its argument.
    """
    compressed[:, 2].clamp_(min=0)
    floor = compressed.clamp(min=_DELTA)
    # The cube, and below delta its tangent: 3 delta^2 (f - 4/29).
    cube = floor * floor
    cube.mul_(floor)
    cube.add_(compressed.sub_(floor).mul_(3 * _DELTA**2))
    restored = (np.linalg.inv(_TO_XYZ) * _WHITE).tolist()
    return look_up(device_table(_encoded, cube.device), _index(mix(cube, restored)))


def _index(values: Tensor) -> Tensor:
    return values.mul_(_STEPS).add_(0.5).clamp_(0, _STEPS).to(torch.int32)


def _linear() -> Tensor:
    coded = np.arange(256) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return torch.from_numpy(linear.astype(np.float32))


def _compressed() -> Tensor:
    share = np.arange(_STEPS + 1) / _STEPS
    root = np.where(share > _DELTA**3, np.cbrt(share), share / (3 * _DELTA**2) + 4 / 29)
    return torch.from_numpy(root.astype(np.float32))


def _encoded() -> Tensor:
    linear = np.arange(_STEPS + 1) / _STEPS
    coded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return torch.from_numpy(np.rint(coded * 255).astype(np.uint8))
