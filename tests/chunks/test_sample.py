"""A chunk cut from its photograph is the one that the shards contain."""

import numpy as np
import pytest
import torch
from PIL import Image

from reiqa import layout
from reiqa.chunks import shards
from reiqa.chunks.sample import sample_chunk


@pytest.mark.parametrize("patch", [32, 112])
def test_it_is_a_window_of_the_shards(garden, parameters, patch):
    # Crops of 112 px need more than the photographs have: their windows are reflected.
    chunks = parameters.chunks.model_copy(update={"patch": patch})
    settings = parameters.model_copy(update={"chunks": chunks})
    sample = sample_chunk(garden, chunks, settings.bank, settings.seed)
    assert not layout.shard(garden, 0).exists()
    reader = shards.ShardReader([shards.write_shard(garden, 0, 1, settings)])
    stored = [reader.window(number) for number in range(len(reader))]
    (window,) = (window for window, recipe in stored if recipe == sample.recipe)
    assert torch.equal(window, sample.window)
    assert sample.window.double().std() == max(window.double().std() for window, _ in stored)


def test_photographs_that_a_shard_would_skip_are_passed_over(garden, parameters):
    # One has changed since it was indexed, one is too small, one is gone.
    folder = layout.raw(garden)
    for number, size in enumerate(((300, 300), (20, 20))):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"flower{number}.png")
    (folder / "flower2.png").unlink()
    sample = sample_chunk(garden, parameters.chunks, parameters.bank, parameters.seed)
    assert sample.recipe.image in {f"flower{number}.png" for number in range(3, 7)}


def test_without_photographs_there_is_none(garden, parameters):
    layout.raw(garden).rename("elsewhere")
    assert sample_chunk(garden, parameters.chunks, parameters.bank, parameters.seed) is None
