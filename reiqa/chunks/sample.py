"""One chunk of a corpus, cut from its photograph again: nothing is read from the shards."""

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reiqa import distortions, layout
from reiqa.chunks import recipe as recipes
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.chunks.shards import Pixels, cut_window, pad_window, read_photograph
from reiqa.data.index import read_corpus
from reiqa.errors import BadInputError
from reiqa.params import BankParams, ChunkParams

#: Number of usable photographs to choose from, and of rows to find them in.
_COMPARED, _READ = 8, 24


@dataclass(frozen=True)
class SampleChunk:
    """A window with its photograph.

    Attributes:
        photograph: ``(H, W, 3)`` uint8.
        window: ``(3, H, W)`` uint8, as a shard contains it.
        recipe: recipe of the first epoch.
    """

    photograph: Pixels
    window: Tensor
    recipe: ChunkRecipe


def sample_chunk(
    corpus: str, chunks: ChunkParams, bank: BankParams, seed: int
) -> SampleChunk | None:
    """Return a window that the shards of a corpus contain, with the recipe of its first epoch.

    It is the first window of one of the first photographs, the one with the highest contrast: a
    window of plain sky would show nothing. Recipes follow from parameters and photographs, so the
    shards are not needed. They may be terabytes, or deleted after the training.

    Args:
        corpus: name of an indexed corpus.
        chunks, bank, seed: parameters of the shards.

    Returns:
        None if none of the first photographs can be used, for example because the images are not
        on this machine.

    Raises:
        BadInputError: the index is missing or invalid, or the bank is smaller than n_aug.
    """
    types = distortions.resolve(bank)
    found: list[SampleChunk] = []
    for row in read_corpus(layout.index(corpus))[:_READ]:
        # As in a shard, what is unreadable, changed or too small is skipped.
        with contextlib.suppress(BadInputError):
            pixels, _ = read_photograph(corpus, row)
            height, width, _ = pixels.shape
            recipe = recipes.draw_recipe(chunks, types, seed, corpus, row.image, 0, height, width)
            if recipe is not None:
                part = np.ascontiguousarray(cut_window(pixels, recipe).transpose(2, 0, 1))
                window = pad_window(torch.from_numpy(part), recipe)
                found.append(SampleChunk(pixels, window, recipe))
        if len(found) == _COMPARED:
            break
    return max(found, key=_contrast, default=None)


def _contrast(sample: SampleChunk) -> float:
    return float(sample.window.double().std())
