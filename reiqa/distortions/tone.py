"""Brightness and contrast: curves over 8-bit values, and two distortions of CIE lightness.

Each type is a `Distortion.apply` (see the registry).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from reiqa import seeds as project_seeds
from reiqa.distortions import fixed_point
from reiqa.distortions.bulk import per_image
from reiqa.distortions.colourspace import from_responses, look_up_each, responses
from reiqa.distortions.frame import Frame, extend

Values: TypeAlias = npt.NDArray[np.float64]


def brighten(
    images: Tensor, amounts: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Lift the mid-tones by a parabola: two thirds on RGB, one third on lightness alone."""
    middles = [0.5 + 0.5 * amount for amount in amounts]
    lightened = from_responses(_relight(responses(images), middles))
    curves = [np.rint(2 * 255 * parabola(_GREYS, middle)).astype(np.int32) for middle in middles]
    doubled = look_up_each(np.stack(curves), images)
    return fixed_point.round_to_uint8(doubled.add_(lightened).float().mul_(1 / 3))


def darken(
    images: Tensor, amounts: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Lower the mid-tones of RGB by a parabola through (1/2, 1/2 - amount/2)."""
    return _curves(images, [parabola(_GREYS, 0.5 - 0.5 * amount) for amount in amounts])


def mean_shift(
    images: Tensor, amounts: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Add or subtract ``amounts`` of the full range, the sign drawn from the seed; clips."""
    pairs = zip(amounts, seeds, strict=True)
    return _curves(images, [_GREYS + amount * _sign("mean_shift", seed) for amount, seed in pairs])


def contrast(
    images: Tensor, amounts: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Steepen or flatten the mid-tones by an odd cubic, which of them drawn from the seed."""
    pairs = zip(amounts, seeds, strict=True)
    return _curves(
        images, [cubic(_GREYS, amount * _sign("contrast", seed)) for amount, seed in pairs]
    )


def sharpen(
    images: Tensor, amounts: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Subtract ``amounts`` times the Laplacian of lightness from lightness.

    The Laplacian is the published one: the central difference of central differences.
    """
    compressed = responses(images)
    light = compressed[:, 1]
    height, width = light.shape[-2:]
    rows, columns = extend(light, -2, 2, 2), extend(light, -1, 2, 2)
    laplacian = rows.narrow(-2, 0, height) + rows.narrow(-2, 4, height)
    laplacian.add_(columns.narrow(-1, 0, width)).add_(columns.narrow(-1, 4, width))
    quarters = per_image([amount / 4 for amount in amounts], images.device)[:, 0]
    laplacian.sub_(light * 4).mul_(quarters)
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
    steep, bend = _cubic_coefficients(amount)
    centred = values - 0.5
    curve: Values = 0.5 + steep * centred + bend * centred**3
    return curve.clip(0, 1)


@lru_cache(maxsize=16)
def _cubic_coefficients(amount: float) -> tuple[float, float]:
    steep, bend = np.linalg.solve([[0.2, 0.008], [0.5, 0.125]], [0.2 + amount / 4, 0.5])
    return float(steep), float(bend)


def _sign(name: str, seed: int) -> int:
    return 1 if project_seeds.derive(name, seed) & 1 else -1


def _curves(images: Tensor, tables: Sequence[Values]) -> Tensor:
    """Apply an individual curve over the 256 values to each image."""
    stacked = np.rint(np.stack(tables).clip(0, 1) * 255).astype(np.uint8)
    return look_up_each(stacked, images)


def _relight(compressed: Tensor, middles: Sequence[float]) -> Tensor:
    """Send lightness, as a share of 100, through a parabola; a and b stay."""
    light = compressed[:, 1].sub(_BLACK).mul_(1.16).clamp_(0, 1)
    slopes = per_image([2 - 4 * middle for middle in middles], light.device)[:, 0]
    offsets = per_image([4 * middle - 1 for middle in middles], light.device)[:, 0]
    lifted = light.mul(slopes).add_(offsets).mul_(light).clamp_(0, 1)
    return _shifted(compressed, lifted.mul_(1 / 1.16).add_(_BLACK))


def _shifted(compressed: Tensor, light: Tensor) -> Tensor:
    """Move f(Y) to ``light`` and the other responses with it, in place: a and b stay."""
    return compressed.add_((light - compressed[:, 1])[:, None])
