"""What is drawn for a chunk: where the crops lie, how they overlap, and from what it all derives.

Run: pytest tests/chunks
"""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reiqa.chunks.recipe import ChunkRecipe, draw_recipe, redraw_recipe
from reiqa.distortions import TYPES, resolve
from reiqa.errors import BadInputError
from reiqa.params import BankParams, ChunkParams

PUBLISHED = resolve(BankParams())
PAPER = ChunkParams(corpora=["c"])


def drawn(chunks=PAPER, height=900, width=1201, number=0, image="a.png", seed=1) -> ChunkRecipe:
    recipe = draw_recipe(chunks, PUBLISHED, seed, "c", image, number, height, width)
    assert recipe is not None
    return recipe


def overlap(recipe: ChunkRecipe, scale: int) -> int:
    """Pixels that two crops share, counted one by one."""
    covered = Counter()
    for top, left in recipe.pairs[scale]:
        patch = recipe.plan.patch
        covered.update((y, x) for y in range(top, top + patch) for x in range(left, left + patch))
    return sum(times == 2 for times in covered.values())


@st.composite
def settings_of_chunks(draws) -> ChunkParams:
    low, high = sorted(draws(st.tuples(*[st.floats(0.02, 0.9)] * 2)))
    return ChunkParams(
        corpora=["c"],
        n_aug=draws(st.integers(1, len(PUBLISHED))),
        patch=draws(st.integers(16, 40)),
        ola=(low, high),
        scales=draws(st.sampled_from([[1.0], [0.5], [1.0, 0.5]])),
    )


@given(settings_of_chunks(), st.integers(0, 99), st.integers(170, 400), st.integers(170, 400))
@settings(max_examples=80, deadline=None)
def test_everything_lies_where_it_should(chunks, number, height, width):
    recipe = drawn(chunks, height, width, number)
    frame, content, side = recipe.frame, recipe.content, recipe.plan.content
    for start, size, whole, inner in (
        (frame.top, recipe.height, frame.height, content.top),
        (frame.left, recipe.width, frame.width, content.left),
    ):
        assert start % 2 == inner % 2 == size % 2 == whole % 2 == side % 2 == 0
        assert 0 <= start <= inner and inner + side <= start + size <= whole
        margin = recipe.plan.margin
        assert inner - start >= margin or start == 0
        assert start + size - inner - side >= margin or start + size == whole
    for pixels, inner in zip(recipe.extent, content, strict=True):
        assert inner <= pixels.start and pixels.stop <= inner + side
        assert 0.5 not in chunks.scales or pixels.start % 2 == len(pixels) % 2 == 0
    for scale, pair in zip(chunks.scales, recipe.pairs, strict=True):
        for corner in pair:
            for place, pixels in zip(corner, recipe.extent, strict=True):
                assert pixels.start <= place / scale
                assert (place + chunks.patch) / scale <= pixels.stop


@given(settings_of_chunks(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_overlap_keeps_its_bounds(chunks, number):
    recipe = drawn(chunks, number=number)
    area = chunks.patch**2
    for scale in range(len(chunks.scales)):
        shared = overlap(recipe, scale)
        # Bounds closer to each other than one row of pixels cannot be kept by whole offsets.
        slack = chunks.patch if (chunks.ola[1] - chunks.ola[0]) * area < chunks.patch else 1e-6
        assert chunks.ola[0] * area - slack <= shared <= chunks.ola[1] * area + slack


def offsets(count: int) -> np.ndarray:
    """Rows and columns from first to second crop, ``(count, 2 scales, 2)``."""
    recipe = drawn()
    pairs = np.array([redraw_recipe(recipe, epoch).pairs for epoch in range(count)])
    return pairs[:, :, 1] - pairs[:, :, 0]


def test_the_overlap_is_uniform_at_both_scales():
    apart = np.abs(offsets(4000))
    shares = (160 - apart).prod(-1) / 160**2
    for scale in range(2):
        assert stats.kstest(shares[:, scale], stats.uniform(0.10, 0.20).cdf).statistic < 0.03


def test_the_second_crop_lies_in_all_four_directions_alike():
    apart = offsets(4000)
    signs = Counter(map(tuple, np.sign(apart).reshape(-1, 2)))
    quarters = [signs[(y, x)] / 8000 for y in (-1, 1) for x in (-1, 1)]
    assert min(quarters) > 0.22
    rows, columns = np.abs(apart).reshape(-1, 2).T
    assert stats.ks_2samp(rows, columns).statistic < 0.03
    assert (rows > columns).mean() == pytest.approx(0.5, abs=0.02)


def test_crops_reach_every_part_of_the_content():
    recipe = drawn()
    corners = np.array([redraw_recipe(recipe, epoch).pairs for epoch in range(2000)])
    half = corners[:, 1] - np.array(recipe.content) // 2
    assert half.min() == 0 and half.max() == 608 // 2 - 160
    full = corners[:, 0] - np.array(recipe.content)
    assert full.min() <= 8 and full.max() >= 608 - 160 - 8


def test_windows_reach_every_part_of_the_frame():
    tops = [drawn(number=number).content.top for number in range(600)]
    assert min(tops) == 0 and max(tops) == 900 - 608


def test_types_are_distinct_and_all_types_and_levels_come_up():
    recipe = drawn()
    types, levels = Counter(), Counter()
    for epoch in range(500):
        again = redraw_recipe(recipe, epoch)
        assert len(set(again.types)) == len(again.types) == len(again.levels) == 11
        types.update(again.types)
        levels.update(again.levels)
    assert set(types) == set(PUBLISHED) and min(types.values()) > 160
    assert sorted(levels) == [1, 2, 3, 4, 5] and min(levels.values()) > 950


def test_the_margin_is_the_widest_of_the_bank():
    widest = max(TYPES[name].margin for name in PUBLISHED)
    assert 4 + widest <= drawn().plan.margin <= 5 + widest


@given(st.integers(0, 10**6), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_an_epoch_keeps_the_window_and_changes_the_rest(epoch, number):
    recipe = drawn(number=number)
    again = redraw_recipe(recipe, epoch)
    assert again == redraw_recipe(redraw_recipe(recipe, 3), epoch)
    assert again.frame == recipe.frame and again.content == recipe.content
    assert (again == recipe) == (epoch == 0)
    assert not set(again.seeds) & set(redraw_recipe(recipe, epoch + 1).seeds)


def test_a_draw_depends_on_seed_corpus_image_and_number_only():
    assert drawn() == drawn()
    others = [drawn(seed=2), drawn(image="b.png"), drawn(number=1)]
    for one in others:
        assert one.pairs != drawn().pairs and one.content != drawn().content


def test_a_draw_is_the_same_on_every_machine():
    recipe = drawn(seed=0)
    assert recipe.content == (134, 2)
    assert recipe.levels == (2, 2, 3, 1, 1, 1, 3, 1, 1, 5, 3)
    assert recipe.pairs == (((339, 228), (426, 164)), ((202, 58), (75, 56)))
    assert recipe.types[:3] == ("desaturation", "brighten", "lens_blur")
    assert recipe.seeds[0] == 700470467357001358


def test_a_recipe_survives_json():
    for number in range(20):
        recipe = drawn(number=number)
        assert ChunkRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_half_of_the_versions_swap_at_one_scale_and_the_others_at_the_other():
    recipe = drawn()
    swapped = [[recipe.swapped(scale, version) for version in range(12)] for scale in range(2)]
    assert swapped == [[True] * 6 + [False] * 6, [False] * 6 + [True] * 6]
    plain = drawn(PAPER.model_copy(update={"swap": False}))
    assert not any(plain.swapped(scale, version) for scale in range(2) for version in range(12))


def test_the_least_photograph_is_one_that_needs_a_single_reflection():
    assert draw_recipe(PAPER, PUBLISHED, 0, "c", "a", 0, 304, 2000) is None
    assert draw_recipe(PAPER, PUBLISHED, 0, "c", "a", 0, 2000, 304) is None
    least = draw_recipe(PAPER, PUBLISHED, 0, "c", "a", 0, 305, 305)
    assert (least.frame.height, least.frame.width, least.height) == (608, 608, 608)


def test_more_types_than_the_bank_has_is_refused_by_name():
    few = PAPER.model_copy(update={"n_aug": 26})
    with pytest.raises(BadInputError, match=r"chunks\.n_aug: 26 .* 25"):
        draw_recipe(few, PUBLISHED, 0, "c", "a", 0, 900, 900)
