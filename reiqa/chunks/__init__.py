"""Chunks: what is cut from a photograph for the quality expert to learn from.

A chunk is one pair of overlapping crops in n_aug + 1 versions: undistorted, and once for each of
n_aug distortion types. `recipe` says what to do, `render` does it, `shards` keeps the windows.
"""

from pathlib import Path

from reiqa import layout
from reiqa.data import catalog
from reiqa.params import ChunkParams


def shard_paths(corpus: str, settings: ChunkParams) -> list[Path]:
    """Return the shards of a corpus, in order: how many there are is known before any is made.

    Raises:
        BadInputError: no such corpus.
    """
    count = settings.shard_count(catalog.get_entry(corpus).images)
    return [layout.shard(corpus, number) for number in range(count)]
