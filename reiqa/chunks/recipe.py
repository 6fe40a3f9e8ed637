"""The recipe of a chunk: everything that is drawn at random, and nothing that is pixels.

The words frame, content, extent and window are those of `reiqa.chunks.geometry`.

Sources: Re-IQA (CVPR 2023), section 3.2, for chunk, overlap and swap. The published code's second
crop lies always below the first, and its overlap is skewed to the low end; here the overlap is
uniform and the direction free.
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
    """What all recipes of one run have in common.

    Attributes:
        seed: from which every draw derives.
        types: distortion types to draw from.
        n_aug: types in a chunk, beside the undistorted version.
        patch: side of a crop.
        ola: least and greatest overlap of two crops, as a share of a crop's area.
        scales: the scales at which pairs are cut.
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
        """Versions of a crop pair: the undistorted one and ``n_aug`` others."""
        return self.n_aug + 1

    @property
    def content(self) -> int:
        """Side of the square in which all crops of a recipe lie; even."""
        least, _ = _overlap_bounds(self)
        reach = 2 * self.patch - math.ceil(least / self.patch)
        return 2 * reach if 0.5 in self.scales else reach + reach % 2

    @property
    def margin(self) -> int:
        """Pixels around the content that the widest filter of the bank reads; even."""
        return even_margin(max(TYPES[name].margin for name in self.types))


@dataclass(frozen=True)
class ChunkRecipe:
    """How one chunk is made from one window.

    Attributes:
        plan: what it shares with all recipes of the run.
        corpus, image: where the photograph comes from.
        draw: which of the photograph's windows this is.
        epoch: which drawing of types, levels, seeds and crops this is.
        frame: size of the whole frame, and where the window lies in it.
        height, width: size of the window.
        content: upper left corner of the content square in the frame.
        types, levels, seeds: of each distorted version, in order; the undistorted one is first
            in a chunk and not listed.
        pairs: one a scale.
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
        """Rows and columns of the frame in which all crops lie."""
        scale = min(self.plan.scales)
        return crops_extent(self.pairs[self.plan.scales.index(scale)], self.plan.patch, scale)

    def swapped(self, scale: int, version: int) -> bool:
        """Say whether the second crop is the query there (``scale`` is an index).

        At the first scale the first half of the versions swaps, at the second the other half.
        """
        return self.plan.swap and (version < self.plan.versions // 2) == (scale == 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @staticmethod
    def from_dict(tree: Mapping[str, Any]) -> "ChunkRecipe":
        """Read what `to_dict` gave, also after a way through JSON."""
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
    """Gather what all recipes of one run share.

    Raises:
        BadInputError: the bank has fewer types than a chunk needs.
    """
    if chunks.n_aug > len(types):
        raise BadInputError(
            f"chunks.n_aug: {chunks.n_aug} distinct types asked for, but bank names {len(types)};"
            " lower chunks.n_aug or add to bank.types or bank.extras"
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
    """Draw a window of a photograph, and the recipe of its first epoch.

    Args:
        chunks: section of the parameters.
        types: the bank (`reiqa.distortions.resolve`).
        seed: ``params.seed``.
        corpus: name of the corpus.
        image: the photograph's path in it; with ``draw`` it decides every draw.
        draw: number of the window among those of this photograph.
        height: of the photograph in pixels.
        width: of the photograph in pixels.

    Returns:
        None for a photograph so small that even its reflection cannot hold the crops: each pixel
        may appear twice along an axis, not more often.

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
    """Keep the window and draw everything else for another epoch.

    The draws depend on (seed, epoch, corpus, image, draw) alone; epoch 0 is what `draw` gives.
    """
    shared = recipe.plan
    item = (shared.seed, epoch, recipe.corpus, recipe.image, recipe.draw)
    random = seeds.generator("chunk", *item)
    chosen = random.permutation(len(shared.types))[: shared.n_aug]
    levels = random.integers(1, LEVELS, size=shared.n_aug, endpoint=True)
    return replace(
        recipe,
        epoch=epoch,
        types=tuple(shared.types[index] for index in chosen),
        levels=tuple(int(level) for level in levels),
        seeds=tuple(seeds.derive("version", *item, n) for n in range(shared.n_aug)),
        pairs=_pairs(random, recipe),
    )


def _overlap_bounds(shared: ChunkSpec) -> tuple[int, int]:
    """Least and greatest overlap area in whole pixels."""
    area = shared.patch**2
    least = math.ceil(round(shared.ola[0] * area, 6))
    return least, max(least, math.floor(round(shared.ola[1] * area, 6)))


def _overlap(random: np.random.Generator, shared: ChunkSpec) -> tuple[int, int]:
    """Draw the height and width of the region that two crops share.

    Its area is uniform between the bounds, to within half of its shorter side: the shorter side
    is drawn first (its logarithm uniform between that of a square and of a full-length strip),
    and the longer is the whole number that comes closest to the area.
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
    """Draw a pair for each scale: the half-scale one in the content, the other within its box.

    So there is less to distort than the content: about three fifths.
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
    """Draw two crops within rows and columns of the frame at their own scale."""
    corners = []
    for overlap, side in zip(_overlap(random, shared), (rows, columns), strict=True):
        apart = shared.patch - overlap
        free = len(side) - shared.patch - apart
        first = side.start + int(random.integers(0, free, endpoint=True))
        ends = (first, first + apart)
        corners.append(ends if random.random() < 0.5 else ends[::-1])
    (top, bottom), (left, right) = corners
    return CropPair(Point(top, left), Point(bottom, right))
