"""Each deterministic type against SciPy, scikit-image or Pillow on the whole photograph."""

import itertools
from fractions import Fraction
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from reiqa import seeds
from reiqa.distortions import TYPES, distort
from reiqa.distortions.noise import box_taps

#: Greatest difference in grey levels, share of values more than one level off, and pixels at the
#: photograph's border left out: there SciPy, Pillow and we continue the picture differently.
#: Pillow rounds to 8 bits between the passes of a resize. Pixelate has a test of its own.
TOLERANCE: dict[str, tuple[int, float, int]] = {
    "gaussian_blur": (1, 0, 0),
    "lens_blur": (1, 0, 0),
    "colour_diffusion": (12, 0.015, 64),
    "colour_shift": (3, 0.002, 16),
    "desaturation": (1, 0, 0),
    "saturation": (3, 0.001, 0),
    "jpeg": (0, 0, 32),
    "brighten": (1, 0, 0),
    "darken": (0, 0, 0),
    "mean_shift": (0, 0, 0),
    "resize_bicubic": (3, 0.01, 48),
    "sharpen": (2, 0.001, 0),
    "contrast": (0, 0, 0),
    "resize_bilinear": (3, 0.01, 32),
    "resize_nearest": (0, 0, 0),
    "resize_lanczos": (3, 0.015, 64),
}


class Signed:
    """A source of randomness that always draws the sign that the bank draws."""

    def __init__(self, name: str, seed: int) -> None:
        self._sign = 1 if seeds.derive(name, seed) & 1 else -1

    def choice(self, signs: list[int]) -> int:
        assert self._sign in signs
        return self._sign


def bytes_of(image: Tensor, name: str, level: int, seed: int) -> npt.NDArray[np.uint8]:
    return distort(image, [name], [level], [seed])[0].permute(1, 2, 0).numpy()


def randomness(name: str, seed: int) -> object:
    return seeds.generator(name, seed) if name == "colour_shift" else Signed(name, seed)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize(("name", "level"), [*itertools.product(TOLERANCE, range(1, 6))])
def test_a_type_is_what_the_libraries_make_of_it(
    name: str, level: int, photo: npt.NDArray[np.uint8], image: Tensor, plain: ModuleType
) -> None:
    most, share, border = TOLERANCE[name]
    for seed in (1, 2, 5) if TYPES[name].random else (0,):
        ours = bytes_of(image, name, level, seed).astype(int)
        reference = plain.PLAIN[name](photo, TYPES[name].levels[level - 1], randomness(name, seed))
        inner = slice(border, 240 - border), slice(border, 336 - border)
        difference = np.abs(ours - reference)[inner]
        assert difference.max() <= most
        assert (difference > 1).mean() <= share


def nearest(side: int, kept: int) -> tuple[list[int], npt.NDArray[np.bool_]]:
    """Say in exact fractions which pixel each shows, and where the nearest one is a tie."""
    small = [(pixel + Fraction(1, 2)) * kept / side for pixel in range(side)]
    large = [(int(place) + Fraction(1, 2)) * side / kept for place in small]
    ties = [1 in (down.denominator, up.denominator) for down, up in zip(small, large, strict=True)]
    return [int(place) for place in large], np.array(ties)


@pytest.mark.parametrize("level", range(1, 6))
def test_pixelate_keeps_the_nearest_pixels_and_where_no_tie_is_those_of_pillow(
    level: int, photo: npt.NDArray[np.uint8], image: Tensor, plain: ModuleType
) -> None:
    share = TYPES["pixelate"].levels[level - 1]
    ours = bytes_of(image, "pixelate", level, 0)
    rows, row_ties = nearest(240, int(240 * share))
    columns, column_ties = nearest(336, int(336 * share))
    assert np.array_equal(ours, photo[np.ix_(rows, columns)])
    # On a tie Pillow goes by a running sum of floats.
    clear = np.ix_(~row_ties, ~column_ties)
    assert np.array_equal(ours[clear], plain.pixelate(photo, share, None)[clear])
    assert (~row_ties).mean() * (~column_ties).mean() > 0.9


def test_every_type_is_held_against_a_reference_or_has_a_test_of_its_own() -> None:
    otherwise = {
        "white_noise", "colour_noise", "impulse_noise", "multiplicative_noise", "denoise",
        "colour_blocks", "displaced_patches", "jitter", "pixelate",
    }  # fmt: skip
    published = {name for name, each in TYPES.items() if each.published}
    assert published == otherwise | set(TOLERANCE)


@pytest.mark.parametrize("sigma", [0.3, 0.6, 0.9, 1.3, 2.0, 3.0])
def test_the_box_has_the_variance_asked_for(sigma: float) -> None:
    taps = np.array(box_taps(sigma))
    offsets = np.arange(len(taps)) - len(taps) // 2
    assert (taps == taps[::-1]).all() and taps.sum() == 4096
    assert (taps * offsets**2).sum() / 4096 == pytest.approx(sigma**2, rel=0.01)


def test_quantisation_leaves_as_many_values_as_it_says(image: Tensor) -> None:
    for level, steps in enumerate(TYPES["quantisation"].levels, 1):
        assert len(np.unique(bytes_of(image, "quantisation", level, 0))) <= steps
    for level, colours in enumerate(TYPES["colour_quantisation"].levels, 1):
        quantised = bytes_of(image, "colour_quantisation", level, 0)
        assert len(np.unique(quantised.reshape(-1, 3), axis=0)) <= colours


def test_motion_blur_draws_a_line_of_its_length_through_a_point(image: Tensor) -> None:
    point = image.new_zeros((1, 3, 65, 65))
    point[..., 32, 32] = 255
    blank = image.new_zeros((1, 3, 65, 65))
    for level, length in enumerate(TYPES["motion_blur"].levels, 1):
        for seed in range(4):
            drawn = bytes_of(255 - point, "motion_blur", level, seed)[..., 0]
            rows, columns = np.nonzero(drawn < 255)
            extent = np.hypot(np.ptp(rows), np.ptp(columns))
            assert length - 1.5 <= extent <= length + 3
            assert rows.mean() == pytest.approx(32, abs=0.6)
            assert columns.mean() == pytest.approx(32, abs=0.6)
    assert not bytes_of(blank, "motion_blur", 5, 0).any()
