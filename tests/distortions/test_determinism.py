"""The same bytes for (image, type, level, seed, frame), whatever else goes on."""

import hashlib
import random
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from reiqa import devices
from reiqa.distortions import TYPES, Frame, bulk, compression, distort, host
from reiqa.distortions.frame import align, unalign
from reiqa.distortions.random_fields import hash_bits, normal_field

ALL = list(TYPES)
LOCAL = [name for name in ALL if TYPES[name].local]

#: Types whose windows agree with the frame within a tolerance rather than to the byte, and why.
WITHIN_ONE = {
    "resize_lanczos": "the third lobe's last pixels are beyond the margin at factor 16",
    "jitter": "grid_sample counts coordinates from the window's middle, in float32",
}


def single(image: Tensor, name: str, level: int, seed: int) -> Tensor:
    return distort(image, [name], [level], [seed])[0]


@pytest.fixture(scope="module")
def small(image: Tensor) -> Tensor:
    return image[..., :97, :131].contiguous()


@pytest.mark.parametrize("name", ALL)
def test_an_image_is_the_same_bytes_in_batches_of_1_3_and_16(name: str, small: Tensor) -> None:
    photos = torch.cat([small.roll(shift, -1) for shift in range(16)])
    levels = [1 + number % 5 for number in range(16)]
    seeds = [100 + number // 2 for number in range(16)]
    alone = [single(photos[n : n + 1], name, levels[n], seeds[n]) for n in range(16)]
    together = distort(photos, [name] * 16, levels, seeds)
    in_threes = distort(photos[:3], [name] * 3, levels[:3], seeds[:3])
    for number in range(16):
        assert torch.equal(together[number], alone[number])
    for number in range(3):
        assert torch.equal(in_threes[number], alone[number])


@pytest.mark.parametrize("name", ALL)
def test_images_worked_on_together_as_on_a_gpu_are_the_same_bytes(
    name: str, small: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A GPU hands a type all of its images at once, whatever their levels and places.
    photos = torch.cat([small.roll(shift, -1) for shift in (0, 40, 9, 77, 5)])
    frames = [Frame(400, 400, 7 * n, 13 * n) for n in range(4)] + [Frame(97, 131)]
    seeds = [3, 4, 5, 6, 7]
    for levels in ([1, 2, 3, 4, 5], [5, 5, 1, 1, 4]):
        alone = distort(photos, [name] * 5, levels, seeds, frames)
        parameters = [TYPES[name].levels[level - 1] for level in levels]
        with monkeypatch.context() as patch:
            patch.setattr(bulk, "is_bulk", lambda device: True)
            together = TYPES[name].apply(photos, parameters, seeds, frames)
        assert torch.equal(together, alone)


def test_a_batch_of_all_types_in_any_order_is_the_same_bytes_as_on_a_gpu(
    small: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = random.Random(1).sample(
        [(name, level) for name in ALL for level in (2, 4)], 2 * len(ALL)
    )
    types, levels = zip(*items, strict=True)
    photos = torch.cat([small[..., :40, :50].roll(shift, -1) for shift in range(len(items))])
    seeds = [*range(len(items))]
    alone = distort(photos, types, levels, seeds)
    monkeypatch.setattr(bulk, "is_bulk", lambda device: True)
    assert torch.equal(distort(photos, types, levels, seeds), alone)


@pytest.mark.parametrize("bits", [24, 30])
def test_sums_of_products_on_a_gpu_are_exact(bits: int) -> None:
    draw = torch.Generator().manual_seed(bits)
    planes = torch.randint(-(2**14), 2**14, (2, 3, 20, 30), generator=draw, dtype=torch.int32)
    weights = torch.randint(-(2**9), 2**9, (2, 7, 5), generator=draw)
    if bits == 24:
        planes, weights = planes >> 8, weights.abs()
    for dim, length in ((-2, 20), (-1, 30)):
        index = torch.randint(0, length, (2, 7, 5), generator=draw)
        found = bulk.multiply(planes, index, weights.float(), dim, bits)
        lines = planes.long().movedim(dim, -1)
        expected = torch.stack(
            [(lines[n][..., index[n]] * weights[n]).sum(-1) for n in range(2)]
        ).movedim(-1, dim)
        assert torch.equal(found.long(), expected)


def test_order_and_company_do_not_matter(small: Tensor) -> None:
    items = [(name, level, 7 * level) for name in LOCAL for level in (1, 5)]
    shuffled = random.Random(0).sample(items, len(items))
    batch = small.expand(len(items), -1, -1, -1)
    one = distort(batch, *zip(*items, strict=True))
    other = distort(batch, *zip(*shuffled, strict=True))
    for number, item in enumerate(shuffled):
        assert torch.equal(other[number], one[items.index(item)]), item


@pytest.mark.parametrize("name", LOCAL)
def test_two_threads_make_the_same_bytes(name: str, image: Tensor) -> None:
    one = [single(image, name, level, 5) for level in (1, 3, 5)]
    torch.set_num_threads(2)
    try:
        two = [single(image, name, level, 5) for level in (1, 3, 5)]
    finally:
        torch.set_num_threads(1)
    for before, after in zip(one, two, strict=True):
        assert torch.equal(before, after)


def test_codecs_of_several_threads_give_the_same_bytes_in_order(
    small: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = torch.cat([small.roll(9 * n, -1) for n in range(4)])
    alone = distort(photos, ["jpeg"] * 4, [1, 2, 3, 4], [0] * 4)
    # Passes only when two images are worked on at once.
    both = threading.Barrier(2, timeout=20)
    code = compression._through_jpeg

    def meet(image: Image.Image, quality: int) -> Image.Image:
        both.wait()
        return code(image, quality)

    monkeypatch.setattr(compression, "_through_jpeg", meet)
    monkeypatch.setattr(devices, "cpu_count", lambda: 2)
    host._pool.cache_clear()
    frames = [Frame(97, 131)] * 4
    together = host.distort_all(photos, ["jpeg"] * 4, [1, 2, 3, 4], [0] * 4, frames)
    host._pool.cache_clear()
    assert torch.equal(together, alone)


def test_another_process_makes_the_same_bytes(small: Tensor) -> None:
    code = """
import hashlib, sys, torch
from skimage import data
from reiqa.distortions import TYPES, distort
image = torch.from_numpy(data.chelsea()[30:127, 60:191].copy()).permute(2, 0, 1)[None].contiguous()
names = list(TYPES)
out = distort(image.expand(len(names), -1, -1, -1), names, [3] * len(names), [9] * len(names))
print(hashlib.sha256(out.numpy().tobytes()).hexdigest())
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77"},
    )  # fmt: skip
    count = len(ALL)
    here = distort(small.expand(count, -1, -1, -1), ALL, [3] * count, [9] * count)
    assert hashlib.sha256(here.numpy().tobytes()).hexdigest() == run.stdout.strip()


@pytest.mark.parametrize("name", [name for name in ALL if TYPES[name].random])
def test_random_types_follow_their_seed_and_the_others_have_none(name: str, small: Tensor) -> None:
    drawn = {bytes(single(small, name, 4, seed).numpy()) for seed in range(8)}
    assert len(drawn) > 1


@pytest.mark.parametrize("name", [name for name in ALL if not TYPES[name].random])
def test_deterministic_types_ignore_their_seed(name: str, small: Tensor) -> None:
    assert torch.equal(single(small, name, 4, 1), single(small, name, 4, 2))


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("corner", [(0, 0), (37, 51), (61, 122)])
def test_a_window_is_the_same_region_of_the_whole_frame(
    name: str, corner: tuple[int, int], image: Tensor
) -> None:
    top, left = corner
    height, width = min(200, 240 - top), min(210, 336 - left)
    window = image[..., top : top + height, left : left + width].contiguous()
    margin = TYPES[name].margin
    # A side of the window that is a side of the photograph needs no margin.
    rows = slice(margin if top else 0, None if top + height == 240 else height - margin)
    columns = slice(margin if left else 0, None if left + width == 336 else width - margin)
    for level in (1, 3, 5):
        whole = single(image, name, level, 11)[:, top : top + height, left : left + width]
        part = distort(window, [name], [level], [11], [Frame(240, 336, top, left)])[0]
        inner, expected = part[:, rows, columns].int(), whole[:, rows, columns].int()
        assert inner.numel() > 0
        if name in WITHIN_ONE:
            difference = (inner - expected).abs()
            assert int(difference.max()) <= 1
            assert float((difference > 0).float().mean()) <= 3e-3
        else:
            assert torch.equal(inner, expected)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("side", [1, 4, 100])
def test_the_most_vivid_surroundings_do_not_reach_beyond_the_margin(name: str, side: int) -> None:
    # Squares of saturated colours on a frame so large that no filter reaches its borders.
    drawn = torch.Generator().manual_seed(side)
    squares = torch.randint(0, 2, (1, 3, 480 // side + 1, 480 // side + 1), generator=drawn)
    vivid = squares.mul(255).to(torch.uint8).repeat_interleave(side, -1).repeat_interleave(side, -2)
    frame = vivid[..., :480, :480].contiguous()
    top, left, height, width = 101, 97, 282, 286
    whole = single(frame, name, 5, 7)[:, top : top + height, left : left + width]
    window = frame[..., top : top + height, left : left + width].contiguous()
    part = distort(window, [name], [5], [7], [Frame(480, 480, top, left)])[0]
    margin = TYPES[name].margin
    inner = slice(margin, height - margin), slice(margin, width - margin)
    difference = (part[:, *inner].int() - whole[:, *inner].int()).abs()
    assert int(difference.max()) <= (1 if name in WITHIN_ONE else 0)


def test_the_grid_of_the_codec_lies_where_the_frame_puts_it(image: Tensor) -> None:
    # A window that forgets its frame starts the 8 x 8 blocks at its own corner: other bytes.
    window = image[..., 37:237, 51:251].contiguous()
    placed = distort(window, ["jpeg"], [5], [0], [Frame(240, 336, 37, 51)])
    forgotten = distort(window, ["jpeg"], [5], [0])
    assert not torch.equal(placed[..., 32:-32, 32:-32], forgotten[..., 32:-32, 32:-32])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 900), st.integers(0, 900), st.integers(0, 2**62), st.integers(1, 40))
def test_a_field_depends_on_seed_and_place_alone(top: int, left: int, seed: int, side: int) -> None:
    frame = Frame(1000, 1000, top, left)
    cpu = torch.device("cpu")
    part = hash_bits((side, side), [seed, 1], [frame, frame], "x", cpu)[0]
    start = Frame(1000, 1000, max(0, top - 3), max(0, left - 5))
    whole = hash_bits((side + 3, side + 5), [seed], [start], "x", cpu)[0]
    assert torch.equal(part, whole[top - start.top :, left - start.left :][:side, :side])


def test_normal_fields_are_normal_and_independent() -> None:
    drawn = normal_field(3, [2.0], (512, 512), [5], [Frame(512, 512)], torch.device("cpu"))[
        0
    ].double()
    assert drawn.mean().abs() < 0.01
    assert (drawn.std() - 2).abs() < 0.01
    assert (drawn.div(2).pow(4).mean() - 3).abs() < 0.05
    flat = [*drawn.flatten(1), drawn[0].roll(1, 0).flatten(), drawn[0].roll(1, 1).flatten()]
    correlation = torch.corrcoef(torch.stack(flat)) - torch.eye(5)
    assert correlation.abs().max() < 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 50), st.integers(1, 16))
def test_aligning_is_undone_by_unaligning(height: int, width: int, at: int, period: int) -> None:
    images = torch.arange(2 * height * width).view(2, 1, height, width)
    frames = [Frame(200, 200, at, 3), Frame(200, 200, 0, at)]
    aligned = align(images, frames, period)
    assert aligned.shape[-1] % period == 0 and aligned.shape[-2] % period == 0
    assert torch.equal(unalign(aligned, frames, period, height, width), images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LOCAL)
def test_cuda_and_cpu_agree(name: str, image: Tensor) -> None:
    for level in (1, 3, 5):
        here = single(image, name, level, 3).int()
        there = single(image.cuda(), name, level, 3).cpu().int()
        assert float(((here - there).abs() <= 1).float().mean()) >= 0.999
