"""View sources: pairs of views, read on the CPU and rendered on the training device.

Quality: the crop pairs of a chunk, rendered from window and recipe. Content: two crops of one
photograph with MoCo-v2's augmentation.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from reiqa import images, layout, seeds
from reiqa.chunks.recipe import ChunkRecipe, redraw_recipe
from reiqa.chunks.render import render
from reiqa.chunks.shards import ShardReader
from reiqa.data.index import read_corpus
from reiqa.params import ExpertName, Params
from reiqa.pretrain import augmentation
from reiqa.pretrain.augmentation import ViewDraw, draw_view, make_view, make_views
from reiqa.pretrain.distortion_losses import DistortionLabels, label_pairs, share_distortions
from reiqa.stages import STAGES

# Number of cached decoded photographs; photographs of small corpora repeat after a few steps.
_CACHE_SIZE = 16


class Views(NamedTuple):
    """Rendered views of a step.

    Attributes:
        query, key: ``(G, V, 3, P, P)`` float32 in [0, 1]. A group (G) contains versions (V) of the
            same content; G is a multiple of the items.
        labels: labels of the queries, if the source has distortions and the losses need them.
    """

    query: Tensor
    key: Tensor
    labels: DistortionLabels | None = None


class QualityViews:
    """Chunks: each item is a window; each repeat draws new distortions and crops."""

    def __init__(self, params: Params) -> None:
        self.inputs = STAGES["model"].reads(params, "quality")
        self.types = params.bank.count
        self.pairs = len(params.chunks.scales) * (params.chunks.n_aug + 1)
        self._reader = ShardReader(self.inputs)
        training = params.quality.training
        self._losses = training.distortion_losses if training else None

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, item: int, repeat: int) -> tuple[Tensor, ChunkRecipe]:
        """Return a window and its recipe for this repeat."""
        window, recipe = self._reader.window(item)
        return window, redraw_recipe(recipe, repeat)

    def render(self, read: Sequence[tuple[Tensor, ChunkRecipe]], device: torch.device) -> Views:
        """Render chunks; a group is one chunk at one scale."""
        recipes = [recipe for _, recipe in read]
        if self._losses:
            recipes = share_distortions(recipes, self._losses.sharing)
        pairs = render([window for window, _ in read], recipes, device)
        labels = label_pairs(pairs, recipes) if self._losses else None
        return Views(pairs.query.flatten(0, 1), pairs.key.flatten(0, 1), labels)


class DecodedPhotograph(NamedTuple):
    """A decoded photograph and the draws of its two views."""

    pixels: Tensor
    draws: tuple[ViewDraw, ViewDraw]


class ContentViews:
    """Photographs: each item gives one pair of augmented crops."""

    pairs = 1
    types = 0

    def __init__(self, params: Params) -> None:
        self.inputs = STAGES["model"].reads(params, "content")
        self._side = params.content.view
        self._seed = params.seed
        self._photographs = [
            (corpus, row.image)
            for corpus in params.content.corpora
            for row in read_corpus(layout.index(corpus))
        ]

    def __len__(self) -> int:
        return len(self._photographs)

    def read(self, item: int, repeat: int) -> DecodedPhotograph:
        """Decode a photograph and draw its views."""
        corpus, image = self._photographs[item]
        pixels = _decoded(layout.image_folder(corpus) / image, self._side)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.derive("view", self._seed, repeat, corpus, image))
            draws = (draw_view(pixels, self._side), draw_view(pixels, self._side))
        return DecodedPhotograph(pixels, draws)

    def render(self, read: Sequence[DecodedPhotograph], device: torch.device) -> Views:
        """Render two views of each photograph; a group is a single pair."""
        if device.type == "cpu":
            views = [
                torch.stack([make_view(pixels, drawn, self._side) for drawn in draws])
                for pixels, draws in read
            ]
            rendered = torch.stack(views)
        else:
            pixels, draws = zip(*read, strict=True)
            rendered = make_views(pixels, draws, self._side, device)
        # Blurring a white area may round to a value slightly above one.
        query, key = rendered.clamp_(0, 1).unbind(1)
        return Views(query[:, None], key[:, None])


#: A source of pairs: ``inputs`` are the artifacts that are read, ``pairs`` the pairs per item and
#: ``types`` the distortion types. ``read`` runs in loader processes, ``render`` on the device.
ViewSource: TypeAlias = QualityViews | ContentViews


def view_source(expert: ExpertName, params: Params) -> ViewSource:
    """Return the view source of an expert.

    Raises:
        BadInputError: an index or shard is missing or damaged.
    """
    return QualityViews(params) if expert == "quality" else ContentViews(params)


@lru_cache(maxsize=_CACHE_SIZE)
def _decoded(path: Path, side: int) -> Tensor:
    """Return a photograph ``(3, H, W)``, large enough that no view is upsampled."""
    height, width = images.read_size(path)
    smallest = math.sqrt(height * width * augmentation.MIN_AREA * augmentation.RATIOS[0])
    enough = min(1.0, side / smallest)
    least = (math.ceil(height * enough), math.ceil(width * enough))
    return torch.from_numpy(images.read_rgb(path, least).copy()).permute(2, 0, 1)
