"""The random types by their statistics, over seeds."""

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from reiqa import seeds
from reiqa.distortions import TYPES, Frame, distort

LEVELS = range(1, 6)
SEEDS = range(4)


def grey(value: int = 128, side: int = 320) -> Tensor:
    return torch.full((1, 3, side, side), value, dtype=torch.uint8)


def drawn(image: Tensor, name: str, level: int, count: int = len(SEEDS)) -> Tensor:
    batch = image.expand(count, -1, -1, -1)
    return distort(batch, [name] * count, [level] * count, list(range(count)))


@pytest.mark.parametrize("level", LEVELS)
def test_white_noise_has_its_variance_in_each_channel(level: int) -> None:
    noise = (drawn(grey(), "white_noise", level).double() - 128) / 255
    # Rounding to 8 bits adds a twelfth of a grey level squared.
    expected = TYPES["white_noise"].levels[level - 1] + 1 / 12 / 255**2
    assert noise.var((0, 2, 3)).numpy() == pytest.approx(expected, rel=0.02)
    assert noise.mean().abs() < 4 * (expected / noise.numel()) ** 0.5
    between = torch.corrcoef(noise.transpose(0, 1).flatten(1)) - torch.eye(3)
    assert between.abs().max() < 0.01


@pytest.mark.parametrize("level", LEVELS)
def test_colour_noise_has_its_variance_in_y_cb_and_cr(level: int, plain: ModuleType) -> None:
    rgb = drawn(grey(), "colour_noise", level).permute(0, 2, 3, 1).numpy()
    ycbcr = plain.color.rgb2ycbcr(rgb) / 255
    variance = ycbcr.var((0, 1, 2))
    # The rounding of three channels weighs less, for Y, Cb and Cr are shorter than RGB.
    rounding = 0.5 / 12 / 255**2
    expected = TYPES["colour_noise"].levels[level - 1]
    assert variance == pytest.approx(expected + rounding, rel=0.03, abs=rounding)


@pytest.mark.parametrize("level", LEVELS)
def test_impulses_strike_their_share_half_black_half_white(level: int) -> None:
    noisy = drawn(grey(), "impulse_noise", level)
    share = TYPES["impulse_noise"].levels[level - 1]
    pixels = len(SEEDS) * 320 * 320
    for value in (0, 255):
        struck = (noisy == value).all(1).sum().item()
        expected = pixels * share / 2
        assert abs(struck - expected) < 4 * expected**0.5
    assert ((noisy == 128) | (noisy == 0) | (noisy == 255)).all()


@pytest.mark.parametrize("level", LEVELS)
def test_multiplicative_noise_grows_with_the_value(level: int) -> None:
    share = TYPES["multiplicative_noise"].levels[level - 1] ** 0.5
    for value in (40, 100):
        deviation = drawn(grey(value), "multiplicative_noise", level).double().std()
        expected = ((share * value) ** 2 + 1 / 12) ** 0.5
        assert float(deviation) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("level", LEVELS)
def test_smoothing_leaves_the_same_noise_for_gaussian_and_box_of_one_variance(level: int) -> None:
    left = {0: [], 1: []}
    for seed in range(10):
        smoothed = distort(grey(), ["denoise"], [level], [seed]).double()
        left[seeds.derive("denoise", seed) & 1].append(float(smoothed.var()))
    assert left[0] and left[1]
    variance = TYPES["denoise"].levels[level - 1][0] * 255**2
    for kind in left.values():
        assert max(kind) < 0.8 * variance


@pytest.mark.parametrize("name", ["mean_shift", "contrast"])
def test_both_signs_are_drawn_equally_often(name: str) -> None:
    dark = grey(90, 2)
    raised = [int(distort(dark, [name], [3], [seed]).float().mean() > 90) for seed in range(200)]
    assert 70 < sum(raised) < 130


@pytest.mark.parametrize("level", LEVELS)
def test_green_moves_by_the_distance_in_all_directions(level: int) -> None:
    # Black and white tiles without a period: the shift is where green fits the tiles best.
    tiles = torch.rand(22, 22, generator=torch.manual_seed(3)).round().mul(255).to(torch.uint8)
    board = tiles.repeat_interleave(6, 0).repeat_interleave(6, 1)[:128, :128]
    image = board.expand(1, 3, -1, -1).contiguous()
    distance = TYPES["colour_shift"].levels[level - 1]
    shifts = []
    for seed in range(12):
        green = distort(image, ["colour_shift"], [level], [seed])[0, 1].float()
        shifts.append(_best_shift(board.float(), green, 14))
    lengths = np.hypot(*np.array(shifts).T)
    assert np.abs(lengths - distance).max() <= 1
    assert len(set(shifts)) > 3


def _best_shift(before: Tensor, after: Tensor, reach: int) -> tuple[int, int]:
    # By correlation through the Fourier transform.
    before, after = before - before.mean(), after - after.mean()
    cross = torch.fft.ifft2(torch.fft.fft2(after) * torch.fft.fft2(before).conj()).real
    candidates = {
        (down, right): float(cross[down % 128, right % 128])
        for down in range(-reach, reach + 1)
        for right in range(-reach, reach + 1)
    }
    return max(candidates, key=candidates.__getitem__)


def crops(height: int, width: int, side: int) -> list[tuple[int, int]]:
    random = np.random.default_rng(0)
    return [
        (int(random.integers(height - side + 1)), int(random.integers(width - side + 1)))
        for _ in range(60)
    ]


@pytest.mark.parametrize("name", ["colour_blocks", "displaced_patches", "impulse_noise"])
def test_every_crop_of_a_chunk_carries_a_sparse_type(name: str, image: Tensor) -> None:
    for seed in range(3):
        changed = (distort(image, [name], [1], [seed]) != image).any(1)[0]
        for top, left in crops(240, 336, 160):
            assert changed[top : top + 160, left : left + 160].any()


@pytest.mark.parametrize("level", LEVELS)
def test_colour_blocks_come_one_a_cell_of_their_side_and_a_drawn_colour(level: int) -> None:
    side = TYPES["colour_blocks"].levels[level - 1]
    colours = set()
    for seed in SEEDS:
        blocks = distort(grey(side=640), ["colour_blocks"], [level], [seed])[0]
        painted = (blocks != 128).any(0)
        # One block may be grey by chance, never two of 64.
        assert 63 * side**2 <= int(painted.sum()) <= 64 * side**2
        in_cells = painted.view(8, 80, 8, 80).sum((1, 3))
        assert int(in_cells.max()) == side**2
        colours |= {tuple(colour) for colour in blocks[:, painted].T.tolist()}
    assert len(colours) > 240


@pytest.mark.parametrize("side", [320, 640])
def test_the_number_of_patches_grows_with_the_area(side: int) -> None:
    image = torch.randint(0, 256, (1, 3, side, side), generator=torch.manual_seed(1))
    image = image.to(torch.uint8)
    for level in (1, 3):
        moved = (distort(image, ["displaced_patches"], [level], [2]) != image).any(1)
        patches = float(moved.sum()) / 16**2
        expected = level * (side / 80) ** 2
        # Patches that overlap hide one another; a few hang over the photograph's edge.
        assert 0.8 * expected < patches <= 1.01 * expected


def test_a_displaced_patch_shows_pixels_from_within_eight(image: Tensor) -> None:
    side = 240
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    place = torch.stack([rows, columns, torch.zeros_like(rows)])[None].to(torch.uint8)
    for seed in SEEDS:
        shown = distort(place, ["displaced_patches"], [5], [seed])[0].int()
        offset = torch.stack([shown[0] - rows, shown[1] - columns])
        assert offset.abs().max() <= 8
        assert (offset != 0).any(0).any()


# Below a third of a pixel cubic convolution with a = -3/4 does not keep a ramp's slope.
@pytest.mark.parametrize("level", [3, 4, 5])
def test_jitter_moves_by_its_sigma(level: int) -> None:
    # On a ramp of eight grey levels a pixel the value tells how far away it was read.
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 3, 2048, 32).contiguous()
    sigma = TYPES["jitter"].levels[level - 1]
    moved = (distort(ramp, ["jitter"], [level], [4]).double() - ramp)[..., 10:-10] / 8
    assert float(moved.std()) == pytest.approx((sigma**2 + 1 / 12 / 64) ** 0.5, rel=0.03)
    assert moved.mean().abs() < 0.02


@pytest.mark.parametrize(("level", "sigma"), [(1, 0.07), (2, 0.1), (3, 0.2), (4, 0.5), (5, 1.0)])
def test_jitter_is_as_far_off_as_five_passes(
    level: int, sigma: float, plain: ModuleType, severity: ModuleType
) -> None:
    ours, theirs = [], []
    for seed, (_, photo) in enumerate(severity.embedded()):
        window, frame = severity.middle(photo)
        pixels = window[0].permute(1, 2, 0).numpy()
        passes = plain.jitter(pixels, sigma, np.random.default_rng(seed))
        jittered = distort(window, ["jitter"], [level], [seed], [frame])[0].permute(1, 2, 0)
        ours.append(_psnr(pixels, jittered.numpy()))
        theirs.append(_psnr(pixels, passes))
    assert abs(np.mean(ours) - np.mean(theirs)) < 0.5


def _psnr(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_frames_of_many_cells_do_not_change_what_a_window_shows() -> None:
    wide = Frame(64, 20_000, 0, 19_000)
    window = torch.full((1, 3, 64, 200), 50, dtype=torch.uint8)
    for name in ("colour_blocks", "displaced_patches", "white_noise", "resize_bicubic"):
        assert distort(window, [name], [5], [1], [wide]).shape == window.shape
