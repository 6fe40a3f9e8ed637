"""The picture and the table of the bank."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from reiqa.distortions import TYPES
from reiqa.distortions.gallery import bank_table, draw_gallery
from reiqa.errors import BadInputError


def test_the_gallery_shows_every_level_of_every_type(
    tmp_path: Path, photo: npt.NDArray[np.uint8]
) -> None:
    Image.fromarray(photo).save(tmp_path / "cat.png")
    draw_gallery(tmp_path / "cat.png", tmp_path / "two.png", ["jpeg", "white_noise"], 0)
    draw_gallery(
        tmp_path / "cat.png", tmp_path / "four.png", ["jpeg", "lens_blur", "jitter", "darken"], 0
    )
    two, four = (Image.open(tmp_path / name) for name in ("two.png", "four.png"))
    assert two.width == four.width >= 5 * 240
    assert four.height > two.height + 2 * 180


def test_the_same_seed_draws_the_same_picture(tmp_path: Path, photo: npt.NDArray[np.uint8]) -> None:
    Image.fromarray(photo[:64, :80]).save(tmp_path / "cat.png")
    drawn = []
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        draw_gallery(tmp_path / "cat.png", tmp_path / name, ["white_noise"], seed)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_jpeg_is_a_fraction_of_the_png(tmp_path: Path, photo: npt.NDArray[np.uint8]) -> None:
    Image.fromarray(photo).save(tmp_path / "cat.png")
    for name in ("out.png", "out.jpg"):
        draw_gallery(tmp_path / "cat.png", tmp_path / name, ["white_noise", "jpeg"], 0)
    lossless, lossy = (Image.open(tmp_path / name) for name in ("out.png", "out.jpg"))
    assert (lossless.format, lossy.format) == ("PNG", "JPEG") and lossless.size == lossy.size
    assert (tmp_path / "out.jpg").stat().st_size < (tmp_path / "out.png").stat().st_size / 2


def test_a_large_and_a_tiny_photograph_are_shown(tmp_path: Path) -> None:
    for name, size in (("wide.png", (3000, 40)), ("dot.png", (1, 1))):
        Image.new("RGB", size, "teal").save(tmp_path / name)
        draw_gallery(tmp_path / name, tmp_path / "out.png", ["pixelate", "colour_blocks"], 0)
        assert Image.open(tmp_path / "out.png").width > 500


def test_what_is_not_an_image_leaves_no_picture_behind(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(BadInputError, match="notes"):
        draw_gallery(tmp_path / "notes.png", tmp_path / "out.png", ["jpeg"], 0)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("name", ["out.gif", "out", "folder", "cat.png/out.png"])
def test_a_place_where_no_picture_can_be_is_refused_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reiqa.images.read_rgb", lambda _: pytest.fail("the photograph was read"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "cat.png").touch()
    with pytest.raises(BadInputError, match=name) as refused:
        draw_gallery(tmp_path / "cat.png", tmp_path / name, ["jpeg"], 0)
    assert re.search("use|choose", str(refused.value))


def test_the_table_has_a_row_a_type() -> None:
    rows = bank_table()
    assert [row[0] for row in rows] == list(TYPES)
    assert {len(row) for row in rows} == {10}
