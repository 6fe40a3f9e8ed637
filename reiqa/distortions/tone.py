"""Brightness and contrast: curves over 8-bit values, and two distortions of CIE lightness.

Each type is a `Distortion.apply` (see the registry).
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reiqa import seeds as project_seeds
from reiqa.distortions import fixed_point
from reiqa.distortions.colourspace import from_responses, look_up, responses
from reiqa.distortions.frame import Frame, extend

Values: TypeAlias = npt.NDArray[np.float64]


def brighten(
    images: Tensor, amount: float, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Lift the mid-tones by a parabola: two thirds on RGB, one third on lightness alone."""
    middle = 0.5 + 0.5 * amount
    lightened = from_responses(_relight(responses(images), lambda light: _lift(light, middle)))
    curve = torch.from_numpy(np.rint(2 * 255 * parabola(_GREYS, middle)).astype(np.int32))
    doubled = look_up(curve, images)
    return fixed_point.round_to_uint8(doubled.add_(lightened).float().mul_(1 / 3))


def darken(images: Tensor, amount: float, seeds: Sequence[int], frames: Sequence[Frame]) -> Tensor:
    """Lower the mid-tones of RGB by a parabola through (1/2, 1/2 - amount/2)."""
    table = parabola(_GREYS, 0.5 - 0.5 * amount)
    return _curves(images, [table] * len(images))


def mean_shift(
    images: Tensor, amount: float, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Add or subtract ``amount`` of the full range, the sign drawn from the seed; clips."""
    tables = [_GREYS + amount * _sign("mean_shift", seed) for seed in seeds]
    return _curves(images, tables)


def contrast(
    images: Tensor, amount: float, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Steepen or flatten the mid-tones by an odd cubic, which of them drawn from the seed."""
    tables = [cubic(_GREYS, amount * _sign("contrast", seed)) for seed in seeds]
    return _curves(images, tables)


def sharpen(images: Tensor, amount: float, seeds: Sequence[int], frames: Sequence[Frame]) -> Tensor:
    """Subtract ``amount`` times the Laplacian of lightness from lightness.

    The Laplacian is the published one: the central difference of central differences.
    """
    compressed = responses(images)
    light = compressed[:, 1]
    height, width = light.shape[-2:]
    rows, columns = extend(light, -2, 2, 2), extend(light, -1, 2, 2)
    laplacian = rows.narrow(-2, 0, height) + rows.narrow(-2, 4, height)
    laplacian.add_(columns.narrow(-1, 0, width)).add_(columns.narrow(-1, 4, width))
    laplacian.sub_(light * 4).mul_(amount / 4)
    sharpened = (light - laplacian).clamp_(_BLACK, 1.0)
    return from_responses(_shifted(compressed, sharpened))


#: f(Y) where lightness is zero.
_BLACK = 16 / 116
_GREYS: Values = np.arange(256) / 255


def parabola(values: Values, middle: float) -> Values:
    """Return the parabola through (0, 0), (1/2, ``middle``), (1, 1), clipped to [0, 1]."""
    return np.clip(((2 - 4 * middle) * values + (4 * middle - 1)) * values, 0, 1)


def cubic(values: Values, amount: float) -> Values:
    """Return the odd cubic about (1/2, 1/2) through (1, 1) and (0.7, 0.7 + amount / 4), clipped."""
    steep, bend = np.linalg.solve([[0.2, 0.008], [0.5, 0.125]], [0.2 + amount / 4, 0.5])
    centred = values - 0.5
    curve: Values = 0.5 + steep * centred + bend * centred**3
    return curve.clip(0, 1)


def _sign(name: str, seed: int) -> int:
    return 1 if project_seeds.derive(name, seed) & 1 else -1


def _curves(images: Tensor, tables: Sequence[Values]) -> Tensor:
    """Apply an individual curve over the 256 values to each image."""
    stacked = np.rint(np.stack(tables).clip(0, 1) * 255).astype(np.uint8)
    if len(images) == 1:
        return look_up(torch.from_numpy(stacked[0]), images)
    starts = torch.arange(0, 256 * len(images), 256, dtype=torch.int32, device=images.device)
    index = images.to(torch.int32) + starts[:, None, None, None]
    return look_up(torch.from_numpy(stacked.ravel()), index)


def _lift(light: Tensor, middle: float) -> Tensor:
    lifted = light.mul(2 - 4 * middle).add_(4 * middle - 1).mul_(light)
    return lifted.clamp_(0, 1)


def _relight(compressed: Tensor, curve: Callable[[Tensor], Tensor]) -> Tensor:
    """Send lightness, as a share of 100, through ``curve``; a and b stay."""
    share = compressed[:, 1].sub(_BLACK).mul_(1.16).clamp_(0, 1)
    return _shifted(compressed, curve(share).mul_(1 / 1.16).add_(_BLACK))


def _shifted(compressed: Tensor, light: Tensor) -> Tensor:
    """Move f(Y) to ``light`` and the other responses with it, in place: a and b stay."""
    return compressed.add_((light - compressed[:, 1])[:, None])
