"""The picture of a chunk. What it looks like is for eyes; that it shows the chunk is for a test."""

import re

import numpy as np
import pytest
from PIL import Image

from reiqa.chunks import shards
from reiqa.chunks.render import render
from reiqa.chunks.show import draw_chunk
from reiqa.errors import BadInputError
from reiqa.tensors import to_uint8


def is_in(picture: np.ndarray, part: np.ndarray) -> bool:
    """Say whether ``part`` appears in ``picture``, pixel by pixel."""
    height, width, _ = part.shape
    corners = np.argwhere((picture == part[0, 0]).all(-1))
    return any(np.array_equal(picture[y : y + height, x : x + width], part) for y, x in corners)


def test_every_crop_of_every_version_is_in_the_picture(garden, parameters, tmp_path):
    # Crops of less than 160 pixels are shown at twice their size.
    chunks = parameters.chunks.model_copy(update={"patch": 112, "n_aug": 2})
    path = shards.write_shard(garden, 6, 7, parameters.model_copy(update={"chunks": chunks}))
    picture = np.asarray(Image.open(draw_chunk([path], 0, tmp_path / "a.png")).convert("RGB"))
    window, recipe = shards.ShardReader([path]).window(0)
    pairs = render([window], [recipe])
    for tensor in (pairs.query, pairs.key):
        for crop in to_uint8(tensor).flatten(0, 2):
            pixels = crop.permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1)
            # A band at the side, clear of the frame and of the mark of a swap.
            assert is_in(picture, pixels[16:32, 60:160])


def test_the_picture_is_the_same_each_time(garden, parameters, tmp_path):
    chunks = parameters.chunks.model_copy(update={"n_aug": 1})
    path = shards.write_shard(garden, 6, 7, parameters.model_copy(update={"chunks": chunks}))
    first = draw_chunk([path], 0, tmp_path / "a.png").read_bytes()
    assert draw_chunk([path], 0, tmp_path / "b.png").read_bytes() == first


def test_a_window_that_is_not_there_is_refused(garden, parameters, tmp_path):
    path = shards.write_shard(garden, 0, 1, parameters)
    with pytest.raises(BadInputError, match="--show 7: no such window; there are 7"):
        draw_chunk([path], 7, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["chunk.jpg", "chunk", "folder", "shard-00000.h5/chunk.png"])
def test_a_place_where_no_picture_can_be_is_refused_before_a_shard_is_read(
    name, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "reiqa.chunks.show.ShardReader", lambda _: pytest.fail("a shard was opened")
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "shard-00000.h5").touch()
    with pytest.raises(BadInputError, match=name) as refused:
        draw_chunk([tmp_path / "shard-00000.h5"], 0, tmp_path / name)
    assert re.search("use|choose", str(refused.value))
