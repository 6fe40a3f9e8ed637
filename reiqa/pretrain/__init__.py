"""MoCo-v2 pretraining of both experts: one engine, two kinds of views; and what came of it."""

from pathlib import Path

from reiqa import chunks, layout
from reiqa.params import ExpertName, Params


def pretrain(expert: ExpertName, params: Params) -> Path:
    """Pretrain an expert (see `reiqa.pretrain.loop.pretrain`)."""
    from reiqa.pretrain import loop

    return loop.pretrain(expert, params)


def inputs(expert: ExpertName, params: Params) -> list[Path]:
    """Return what an expert learns from: the shards of chunks, or indices of photographs.

    Raises:
        BadInputError: a corpus is not in the catalog.
    """
    if expert == "content":
        return [layout.index(corpus) for corpus in params.content.corpora]
    corpora = params.chunks.corpora
    return [path for corpus in corpora for path in chunks.shard_paths(corpus, params.chunks)]
