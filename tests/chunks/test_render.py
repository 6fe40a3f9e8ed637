"""Windows and recipes to pixels: against a plain reference, and the same bytes in any company."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reiqa import tensors
from reiqa.chunks import render as module
from reiqa.chunks.geometry import even_margin
from reiqa.chunks.jobs import plan_jobs
from reiqa.chunks.recipe import ChunkRecipe, draw_recipe, redraw_recipe
from reiqa.chunks.render import render
from reiqa.distortions import TYPES, Frame, bulk, distort, resolve
from reiqa.params import BankParams, ChunkParams

PUBLISHED = resolve(BankParams())
CHUNKS = ChunkParams(corpora=["c"], n_aug=5, patch=32)
STEADY = tuple(name for name in PUBLISHED if TYPES[name].local and not TYPES[name].random)


def drawn(
    number: int, chunks: ChunkParams = CHUNKS, types=PUBLISHED, size=(331, 288)
) -> ChunkRecipe:
    recipe = draw_recipe(chunks, types, 5, "c", "a.png", number, *size)
    assert recipe is not None
    return recipe


def frame_of(pixels: np.ndarray, recipe: ChunkRecipe) -> Tensor:
    """The whole frame as a float image ``(1, 3, H, W)``."""
    whole = tensors.to_tensor(pixels)[None]
    grown = tensors.reflect(whole, recipe.frame.height, recipe.frame.width)
    return grown[..., : recipe.frame.height, : recipe.frame.width]


def window_of(pixels: np.ndarray, recipe: ChunkRecipe) -> Tensor:
    """What a shard gives: ``(3, h, w)`` uint8."""
    frame = recipe.frame
    cut = frame_of(pixels, recipe)[0, :, frame.top :, frame.left :]
    return tensors.to_uint8(cut[:, : recipe.height, : recipe.width])


@pytest.fixture
def chunks(photograph) -> tuple[list[Tensor], list[ChunkRecipe]]:
    """Six windows of photographs of three sizes, one of them reflected."""
    sizes = [(331, 288), (240, 301), (100, 122)]
    recipes = [drawn(number, size=sizes[number % 3]) for number in range(6)]
    pixels = [photograph(*sizes[number % 3], number) for number in range(6)]
    return [window_of(*pair) for pair in zip(pixels, recipes, strict=True)], recipes


def slow(window: Tensor, recipe: ChunkRecipe) -> tuple[Tensor, Tensor]:
    """One version, one scale, one crop at a time, in the plainest words; query and key."""
    patch = recipe.plan.patch
    query = torch.empty(len(recipe.pairs), recipe.plan.versions, 3, patch, patch)
    key = torch.empty_like(query)
    for version in range(recipe.plan.versions):
        kind = recipe.types[version - 1] if version else None
        room = even_margin(TYPES[kind].margin if kind else 0)
        frame = recipe.frame
        size, corner = [], []
        for pixels, whole in zip(recipe.extent, (frame.height, frame.width), strict=True):
            size.append(min(whole, pixels.stop - pixels.start + 2 * room))
            corner.append(max(0, min(pixels.start - room, whole - size[-1])))
        top, left = corner[0] - frame.top, corner[1] - frame.left
        image = window[None, :, top : top + size[0], left : left + size[1]].float() / 255
        if kind:
            place = Frame(frame.height, frame.width, *corner)
            level, seed = recipe.levels[version - 1], recipe.seeds[version - 1]
            image = distort(image, [kind], [level], [seed], [place])
        for scale, pair in enumerate(recipe.pairs):
            shrunk = image if scale == 0 else tensors.half(image)
            crops = []
            for y, x in pair:
                y, x = y - corner[0] // (scale + 1), x - corner[1] // (scale + 1)
                crops.append(shrunk[0, :, y : y + patch, x : x + patch].clone())
            swap = version < recipe.plan.versions // 2
            if scale == 1:
                swap = not swap
            query[scale, version], key[scale, version] = reversed(crops) if swap else crops
    return query, key


def test_a_batch_is_what_a_plain_loop_makes(chunks):
    windows, recipes = chunks
    pairs = render(windows, recipes)
    assert pairs.query.shape == pairs.key.shape == (6, 2, 6, 3, 32, 32)
    for number, (window, recipe) in enumerate(zip(windows, recipes, strict=True)):
        query, key = slow(window, recipe)
        assert torch.equal(pairs.query[number], query)
        assert torch.equal(pairs.key[number], key)


def test_the_bytes_do_not_depend_on_company_order_or_group_size(chunks, monkeypatch):
    windows, recipes = chunks
    together = render(windows, recipes)
    backwards = render(windows[::-1], recipes[::-1])
    assert torch.equal(together.query, backwards.query.flip(0))
    assert torch.equal(together.key, backwards.key.flip(0))
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", 1)
    alone = [render([window], [recipe]) for window, recipe in zip(windows, recipes, strict=True)]
    assert torch.equal(together.query, torch.cat([pairs.query for pairs in alone]))
    assert torch.equal(together.key, torch.cat([pairs.key for pairs in alone]))


def test_the_whole_content_gives_the_same_chunks_as_what_the_crops_need(chunks, monkeypatch):
    """As on a GPU, where all windows are distorted alike."""
    windows, recipes = chunks
    needed = render(windows, recipes)
    seen = []

    def uniform(recipes, _uniform, pixels):
        jobs = plan_jobs(recipes, True, pixels)
        seen.extend(jobs.groups)
        return replace(jobs, groups=[replace(group, on_host=False) for group in jobs.groups])

    monkeypatch.setattr(module, "plan_jobs", uniform)
    whole = render(windows, recipes)
    assert min(min(group.height, group.width) for group in seen) >= recipes[0].plan.content
    for ours, theirs in ((needed.query, whole.query), (needed.key, whole.key)):
        apart = (ours - theirs).abs()
        assert apart.max() <= 1.01 / 255 and (apart > 1e-6).float().mean() < 1e-3
    # The calls that a GPU makes, in other sizes: the same bytes.
    monkeypatch.setattr(bulk, "is_bulk", lambda device: True)
    monkeypatch.setattr(module, "plan_jobs", plan_jobs)
    together = render(windows, recipes)
    assert torch.equal(together.query, whole.query) and torch.equal(together.key, whole.key)


def test_two_threads_make_the_same_bytes_as_one(chunks):
    windows, recipes = chunks
    one = render(windows, recipes)
    torch.set_num_threads(2)
    try:
        two = render(windows, recipes)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one.query, two.query) and torch.equal(one.key, two.key)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_chunks_within_one_grey_level(photograph):
    pixels = photograph(331, 288, 0)
    recipes = [drawn(number, types=STEADY) for number in range(4)]
    recipes = [recipe for recipe in recipes if "jpeg" not in recipe.types]
    windows = [window_of(pixels, recipe) for recipe in recipes]
    here, there = render(windows, recipes), render(windows, recipes, "cuda")
    apart = (here.query - there.query.cpu()).abs()
    assert (apart <= 1.01 / 255).float().mean() >= 0.999


@pytest.mark.parametrize("scales", [[1.0], [0.5], [0.5, 1.0]])
def test_scales_may_be_one_or_both_in_any_order(scales, photograph):
    pixels = photograph(331, 288, 0)
    recipe = drawn(0, CHUNKS.model_copy(update={"scales": scales, "patch": 33}))
    pairs = render([window_of(pixels, recipe)], [recipe])
    frame = frame_of(pixels, recipe)
    for scale, ratio in enumerate(scales):
        image = frame if ratio == 1 else tensors.half(frame)
        corners = recipe.pairs[scale][:: -1 if recipe.swapped(scale, 0) else 1]
        for (top, left), crops in zip(corners, (pairs.query, pairs.key), strict=True):
            region = image[0, :, top : top + 33, left : left + 33]
            torch.testing.assert_close(crops[0, scale, 0], region, atol=1e-6, rtol=0)


def test_each_version_is_distorted_once_for_both_scales(chunks, monkeypatch):
    windows, recipes = chunks
    seen = []

    def counted(batch, types, levels, seeds, frames):
        seen.extend(seeds)
        return distort(batch, types, levels, seeds, frames)

    monkeypatch.setattr(module, "distort", counted)
    render(windows, recipes)
    assert sorted(seen) == sorted(seed for recipe in recipes for seed in recipe.seeds)


def test_swapping_only_exchanges_query_and_key(chunks):
    windows, recipes = chunks
    plain = [replace(recipe, plan=replace(recipe.plan, swap=False)) for recipe in recipes]
    with_swap, without = render(windows, recipes), render(windows, plain)
    for scale in range(2):
        for version in range(6):
            place = (slice(None), scale, version)
            ours = (with_swap.query[place], with_swap.key[place])
            theirs = (without.query[place], without.key[place])
            if recipes[0].swapped(scale, version):
                theirs = theirs[::-1]
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert with_swap.query.min() >= 0 and with_swap.query.max() <= 1


def test_the_two_crops_agree_where_they_overlap(chunks):
    windows, recipes = chunks
    pairs = render(windows, recipes)
    for number, recipe in enumerate(recipes):
        for scale, ((y, x), (v, u)) in enumerate(recipe.pairs):
            for version in range(recipe.plan.versions):
                first, second = (
                    pairs.query[number, scale, version],
                    pairs.key[number, scale, version],
                )
                if recipe.swapped(scale, version):
                    first, second = second, first
                down, right = v - y, u - x
                one = first[:, max(0, down) :, max(0, right) :]
                one = one[:, : 32 - abs(down), : 32 - abs(right)]
                two = second[:, max(0, -down) :, max(0, -right) :]
                two = two[:, : 32 - abs(down), : 32 - abs(right)]
                assert torch.equal(one, two)


def test_the_undistorted_version_is_the_photograph_and_half_of_it(photograph):
    pixels = photograph(331, 288, 0)
    for number in range(30):
        recipe = drawn(number)
        pairs = render([window_of(pixels, recipe)], [recipe])
        frame = frame_of(pixels, recipe)
        for scale, whole in enumerate((frame, tensors.half(frame))):
            top, left = recipe.pairs[scale].second if scale == 0 else recipe.pairs[scale].first
            region = whole[0, :, top : top + 32, left : left + 32]
            torch.testing.assert_close(pairs.query[0, scale, 0], region, atol=1e-6, rtol=0)


def test_half_of_an_odd_photograph_is_half_of_it_without_its_last_row_and_column(photograph):
    pixels = photograph(331, 289, 0)
    recipe = drawn(0, size=(331, 289))
    assert (recipe.frame.height, recipe.frame.width) == (330, 288)
    even = tensors.half(frame_of(pixels, recipe))
    assert even.shape == tensors.half(tensors.to_tensor(pixels)[None]).shape


@pytest.mark.parametrize("name", STEADY)
def test_a_crop_is_the_region_of_the_whole_frame_distorted(name, photograph):
    """So every grid lies where the frame would put it, and every border is the frame's own."""
    one = CHUNKS.model_copy(update={"n_aug": 1})
    size = (451, 388)
    pixels = photograph(*size, 3)
    for number in range(4):
        recipe = redraw_recipe(drawn(number, one, (name,), size), number)
        frame = frame_of(pixels, recipe)
        whole = distort(frame, [name], list(recipe.levels), list(recipe.seeds))
        pairs = render([window_of(pixels, recipe)], [recipe])
        for scale, image in enumerate((whole, tensors.half(whole))):
            top, left = recipe.pairs[scale].first if scale == 0 else recipe.pairs[scale].second
            region = image[0, :, top : top + 32, left : left + 32]
            apart = (pairs.query[0, scale, 1] - region).abs()
            assert apart.max() <= 1.01 / 255
            assert apart.mean() <= 0.02 / 255
