"""The recipe of a chunk: all its random parameters, without pixels.

See `reiqa.chunks.geometry` for the terms frame, content, extent and window.

Sources: Re-IQA (CVPR 2023), section 3.2, for chunk, overlap and swap. In the published code, the
second crop is always below the first, and small overlaps are more likely. Here, the overlap is
uniform and the direction is random.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reiqa import params, seeds
from reiqa.chunks.geometry import (
    CropPair,
    Point,
    crops_extent,
    even_margin,
    padded_range,
    scale_range,
)
from reiqa.distortions import LEVELS, TYPES, Frame
from reiqa.errors import BadInputError


@dataclass(frozen=True)
class ChunkSpec:
    """Parameters that all recipes of one run share.

    Attributes:
        seed: seed of all random draws.
        types: distortion types to draw from.
        n_aug: number of distorted versions in a chunk.
        patch: side of a crop.
        ola: minimum and maximum overlap of two crops, as a fraction of the area of a crop.
        scales: scales of the crop pairs.
        swap: exchange query and key in half of the versions.
    """

    seed: int
    types: tuple[str, ...]
    n_aug: int
    patch: int
    ola: tuple[float, float]
    scales: tuple[float, ...]
    swap: bool

    @property
    def versions(self) -> int:
        """Number of versions of a crop pair: one undistorted and ``n_aug`` distorted."""
        return self.n_aug + 1

    @property
    def content(self) -> int:
        """Side of the square that contains all crops of a recipe; even."""
        least, _ = _overlap_bounds(self)
        reach = 2 * self.patch - math.ceil(least / self.patch)
        return 2 * reach if 0.5 in self.scales else reach + reach % 2

    @property
    def margin(self) -> int:
        """Margin around the content for the widest filter of the bank, in pixels; even."""
        return even_margin(max(TYPES[name].margin for name in self.types))


@dataclass(frozen=True)
class ChunkRecipe:
    """How to render one chunk from one window.

    Attributes:
        plan: parameters shared by all recipes of the run.
        corpus, image: corpus and path of the photograph.
        draw: number of the window of this photograph.
        epoch: number of the draw of types, levels, seeds and crops.
        frame: size of the frame, and position of the window in it.
        height, width: size of the window.
        content: upper left corner of the content square in the frame.
        types, levels, seeds: of each distorted version, in order. The undistorted version comes
            first in a chunk and is not listed.
        pairs: one crop pair per scale.
    """

    plan: ChunkSpec
    corpus: str
    image: str
    draw: int
    epoch: int
    frame: Frame
    height: int
    width: int
    content: Point
    types: tuple[str, ...]
    levels: tuple[int, ...]
    seeds: tuple[int, ...]
    pairs: tuple[CropPair, ...]

    @property
    def extent(self) -> tuple[range, range]:
        """Rows and columns of the frame that contain all crops."""
        scale = min(self.plan.scales)
        return crops_extent(self.pairs[self.plan.scales.index(scale)], self.plan.patch, scale)

    def swapped(self, scale: int, version: int) -> bool:
        """Return whether the second crop is the query (``scale`` is an index).

        At the first scale the first half of the versions is swapped, at the second the other half.
        """
        return self.plan.swap and (version < self.plan.versions // 2) == (scale == 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON data."""
        return asdict(self)

    @staticmethod
    def from_dict(tree: Mapping[str, Any]) -> "ChunkRecipe":
        """Create from the output of `to_dict`, also after a JSON round trip."""
        shared = {
            **tree["plan"],
            **{key: tuple(tree["plan"][key]) for key in ("types", "ola", "scales")},
        }
        return ChunkRecipe(
            **{
                **tree,
                "plan": ChunkSpec(**shared),
                "frame": Frame(**tree["frame"]),
                "content": Point(*tree["content"]),
                "types": tuple(tree["types"]),
                "levels": tuple(tree["levels"]),
                "seeds": tuple(tree["seeds"]),
                "pairs": tuple(CropPair(Point(*one), Point(*two)) for one, two in tree["pairs"]),
            }
        )


def chunk_spec(chunks: params.ChunkParams, types: tuple[str, ...], seed: int) -> ChunkSpec:
    """Return the parameters that all recipes of one run share.

    Raises:
        BadInputError: the bank has fewer types than a chunk needs.
    """
    if chunks.n_aug > len(types):
        raise BadInputError(
            f"chunks.n_aug: {chunks.n_aug} distinct types needed, but the bank has {len(types)};"
            " lower chunks.n_aug, or add types to bank.types or bank.extras"
        )
    scales = tuple(chunks.scales)
    return ChunkSpec(seed, types, chunks.n_aug, chunks.patch, chunks.ola, scales, chunks.swap)


def draw_recipe(
    chunks: params.ChunkParams,
    types: tuple[str, ...],
    seed: int,
    corpus: str,
    image: str,
    draw: int,
    height: int,
    width: int,
) -> ChunkRecipe | None:
    """Draw a window of a photograph and the recipe of its first epoch.

    Args:
        chunks: section of the parameters.
        types: the bank (`reiqa.distortions.resolve`).
        seed: ``params.seed``.
        corpus: name of the corpus.
        image: path of the photograph in the corpus.
        draw: number of the window of this photograph.
        height: height of the photograph in pixels.
        width: width of the photograph in pixels.

    Returns:
        The recipe; None for a photograph that is too small for the crops even after reflection,
        which may repeat each pixel at most twice along an axis.

    Raises:
        BadInputError: the bank has fewer types than a chunk needs.
    """
    shared = chunk_spec(chunks, types, seed)
    side = shared.content
    if 2 * min(height, width) - 1 < side:
        return None
    tall, wide = (max(side, length - length % 2) for length in (height, width))
    random = seeds.generator("window", seed, corpus, image, draw)
    top, left = (
        2 * int(random.integers(0, (length - side) // 2, endpoint=True)) for length in (tall, wide)
    )
    rows, columns = (
        padded_range(range(start, start + side), shared.margin, length)
        for start, length in ((top, tall), (left, wide))
    )
    blank = ChunkRecipe(
        plan=shared,
        corpus=corpus,
        image=image,
        draw=draw,
        epoch=0,
        frame=Frame(height=tall, width=wide, top=rows.start, left=columns.start),
        height=len(rows),
        width=len(columns),
        content=Point(top, left),
        types=(),
        levels=(),
        seeds=(),
        pairs=(),
    )
    return redraw_recipe(blank, 0)


def redraw_recipe(recipe: ChunkRecipe, epoch: int) -> ChunkRecipe:
    """Return a recipe with the same window and new random parameters for another epoch.

    The draws depend only on (seed, epoch, corpus, image, draw); epoch 0 equals `draw_recipe`.
    """
    shared = recipe.plan
    item = (shared.seed, epoch, recipe.corpus, recipe.image, recipe.draw)
    random = seeds.generator("chunk", *item)
    chosen = random.permutation(len(shared.types))[: shared.n_aug]
    levels = random.integers(1, LEVELS, size=shared.n_aug, endpoint=True).tolist()
    return replace(
        recipe,
        epoch=epoch,
        types=tuple(shared.types[index] for index in chosen.tolist()),
        levels=tuple(levels),
        seeds=tuple(seeds.derive_series(shared.n_aug, "version", *item)),
        pairs=_pairs(random, recipe),
    )


def _overlap_bounds(shared: ChunkSpec) -> tuple[int, int]:
    """Return the minimum and maximum overlap area in pixels."""
    area = shared.patch**2
    least = math.ceil(round(shared.ola[0] * area, 6))
    return least, max(least, math.floor(round(shared.ola[1] * area, 6)))


def _overlap(random: np.random.Generator, shared: ChunkSpec) -> tuple[int, int]:
    """Draw the height and width of the overlap of two crops.

    The area is uniform between the bounds, up to rounding. The shorter side is drawn first, with a
    logarithm that is uniform between a square and a strip of full length. The longer side is the
    integer that gives the closest area.
    """
    least, most = _overlap_bounds(shared)
    area = random.uniform(least, most)
    share = (area / shared.patch**2) ** random.uniform(0.5, 1)
    shorter = max(round(shared.patch * share), math.ceil(area / shared.patch))
    lowest, highest = math.ceil(least / shorter), most // shorter
    longer = round(area / shorter)
    if lowest <= highest:
        longer = min(max(longer, lowest), highest)
    return (shorter, longer) if random.random() < 0.5 else (longer, shorter)


def _pairs(random: np.random.Generator, recipe: ChunkRecipe) -> tuple[CropPair, ...]:
    """Draw a pair for each scale: the half-scale pair in the content, the other within its box.

    This reduces the region to distort to about three fifths of the content.
    """
    shared = recipe.plan
    rows, columns = (range(start, start + shared.content) for start in recipe.content)
    pairs = {}
    for scale in sorted(shared.scales):
        pair = _pair(random, shared, scale_range(rows, scale), scale_range(columns, scale))
        pairs[scale] = pair
        rows, columns = crops_extent(pair, shared.patch, scale)
    return tuple(pairs[scale] for scale in shared.scales)


def _pair(random: np.random.Generator, shared: ChunkSpec, rows: range, columns: range) -> CropPair:
    """Draw two crops within a region of the frame at their own scale."""
    corners = []
    for overlap, side in zip(_overlap(random, shared), (rows, columns), strict=True):
        apart = shared.patch - overlap
        free = len(side) - shared.patch - apart
        first = side.start + int(random.integers(0, free, endpoint=True))
        ends = (first, first + apart)
        corners.append(ends if random.random() < 0.5 else ends[::-1])
    (top, bottom), (left, right) = corners
    return CropPair(Point(top, left), Point(bottom, right))
