"""The map shows where an image is bad: windows everywhere, and a smooth surface through them."""

from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from reiqa.scoring import Scorer, maps
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.sliding_windows import WindowGrid, interpolate_grid

sides = st.integers(1, 1500)


@settings(deadline=None)
@given(sides, sides)
def test_windows_cover_every_pixel_and_stay_inside(height: int, width: int) -> None:
    plan = WindowGrid.over(height, width)
    covered = np.zeros((height, width), dtype=bool)
    for rows, columns in plan.boxes():
        assert rows.start >= 0 and columns.start >= 0
        assert rows.stop <= max(height, plan.side) and columns.stop <= max(width, plan.side)
        covered[rows, columns] = True
    assert covered.all()
    assert len(list(plan.boxes())) == np.prod(plan.shape)


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 9))
def test_a_surface_stays_between_its_windows(height: int, width: int, seed: int) -> None:
    plan = WindowGrid.over(height, width)
    values = np.random.default_rng(seed).normal(size=plan.shape)
    found = interpolate_grid(plan, values, 20, 30)
    assert found.shape == (20, 30)
    assert values.min() - 1e-9 <= found.min() and found.max() <= values.max() + 1e-9
    np.testing.assert_allclose(interpolate_grid(plan, np.full(plan.shape, 7.0), 20, 30), 7.0)


def test_a_surface_is_the_gaussian_mean_of_the_windows_about_each_place() -> None:
    plan = WindowGrid.over(300, 420)
    values = np.random.default_rng(0).normal(size=plan.shape)
    found = interpolate_grid(plan, values, 30, 42)
    for row, column in ((0, 0), (17, 20), (29, 41), (5, 33)):
        y, x, total, weight = row * 10 + 5, column * 10 + 5, 0.0, 0.0
        for i, top in enumerate(plan.tops):
            for j, left in enumerate(plan.lefts):
                distance = (top + plan.side / 2 - y) ** 2 + (left + plan.side / 2 - x) ** 2
                near = np.exp(-0.5 * distance / (plan.side / 3) ** 2)
                total, weight = total + near * values[i, j], weight + near
        assert found[row, column] == pytest.approx(total / weight)


@pytest.fixture(scope="module")
def halved() -> Image.Image:
    """Sharp on the right, blurred on the left."""
    rng = np.random.default_rng(0)
    sharp = Image.fromarray(rng.integers(60, 200, size=(200, 300, 3), dtype=np.uint8))
    image = sharp.copy()
    image.paste(sharp.filter(ImageFilter.GaussianBlur(3)).crop((0, 0, 150, 200)), (0, 0))
    return image


def test_the_blurred_half_is_the_worse_one(scorer: Scorer, halved: Image.Image) -> None:
    seen = scorer.prepare(halved)
    score = scorer.score_prepared(seen)
    points = maps.local_scores(scorer, seen, score, 100, 150)
    assert points[:, :50].mean() < points[:, 100:].mean() - 1
    mirrored = scorer.prepare(halved.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    points = maps.local_scores(scorer, mirrored, scorer.score_prepared(mirrored), 100, 150)
    assert points[:, 100:].mean() < points[:, :50].mean() - 1


def test_the_map_is_about_the_images_own_score(scorer: Scorer, halved: Image.Image) -> None:
    seen = scorer.prepare(halved)
    score = scorer.score_prepared(seen)
    points = maps.local_scores(scorer, seen, score, 100, 150)
    assert points.min() < score < points.max()
    tiny = scorer.prepare(halved.resize((50, 33)))
    alone = scorer.score_prepared(tiny)
    np.testing.assert_allclose(maps.local_scores(scorer, tiny, alone, 33, 50), float(alone))


def test_the_picture_sets_both_side_by_side(scorer, halved, tmp_path: Path) -> None:
    halved.save(tmp_path / "photo.png")
    item = ImageItem(tmp_path / "photo.png", PurePath("photo.png"))
    mapper = maps.MapWriter(scorer, tmp_path / "maps", [item])
    seen = scorer.prepare(item.path)
    mapper(item, seen, scorer.score_prepared(seen), "0")
    picture = tmp_path / "maps/photo.png.map.png"
    first = picture.read_bytes()
    drawn = np.asarray(Image.open(picture).convert("RGB"), dtype=int)
    assert drawn.shape[1] > 2 * drawn.shape[0]
    # Orange over the blurred quarter of the picture, purple over the sharp one.
    redder = drawn[..., 0] - drawn[..., 2]
    middle = slice(drawn.shape[0] // 3, -drawn.shape[0] // 3)
    width = drawn.shape[1]
    blurred = redder[middle, int(0.52 * width) : int(0.62 * width)].mean()
    sharp = redder[middle, int(0.75 * width) : int(0.85 * width)].mean()
    assert blurred > 15 and sharp < 0
    mapper(item, seen, scorer.score_prepared(seen), "0")
    assert picture.read_bytes() == first


def test_two_images_of_one_name_have_two_maps(scorer, halved, tmp_path: Path) -> None:
    items = [ImageItem(tmp_path / folder / "x.png", PurePath("x.png")) for folder in "ab"]
    mapper = maps.MapWriter(scorer, tmp_path / "maps", items)
    for item in items:
        item.path.parent.mkdir()
        halved.save(item.path)
        seen = scorer.prepare(item.path)
        mapper(item, seen, scorer.score_prepared(seen), "0")
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == ["x.png-1.map.png", "x.png.map.png"]


@pytest.mark.parametrize("size", [(900, 32), (32, 900), (32, 32)])
def test_any_shape_leaves_room_for_the_colour_scale(scorer, size, tmp_path: Path) -> None:
    photograph = Image.new("RGB", size, "teal")
    item = ImageItem(tmp_path / "photo.png", PurePath("photo.png"))
    seen = scorer.prepare(photograph)
    maps.MapWriter(scorer, tmp_path, [item])(item, seen, scorer.score_prepared(seen), "0")
    drawn = np.asarray(Image.open(tmp_path / "photo.png.map.png"))
    # Below the map, a row of the scale goes from orange to purple without a gap.
    height, width = drawn.shape[:2]
    assert width >= 2 * 480 and height > 60
    right = drawn[:, width // 2 + 20 : -20].astype(int)
    redder = right[..., 0] - right[..., 2]
    rows = (redder[:, 0] > 100) & (redder[:, -1] < -40)
    assert rows.sum() >= 16
