"""What to cut, distort and halve for the recipes of a step: integers of all versions at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reiqa.chunks.geometry import HALVING_MARGIN, even_margin
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.distortions import TYPES, Frame

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Consecutive jobs whose regions have one shape.

    Attributes:
        jobs: their places in `Jobs`.
        distorted: False for undistorted versions.
        on_host: whether codecs on the CPU distort them.
        height, width: of the region to distort.
        part: height and width of what is halved for a crop of half scale.
    """

    jobs: range
    distorted: bool
    on_host: bool
    height: int
    width: int
    part: tuple[int, int]


@dataclass(frozen=True)
class Jobs:
    """The versions of all chunks of a step, one job each, in order of their groups.

    Attributes:
        groups: jobs of one shape; on a GPU also of one type.
        types, levels, seeds: of each job; those of undistorted versions are unused.
        frames: position of the region to distort.
        regions: ``(3, J)`` int64: chunk, and top and left of the region in the window.
        crops: ``(scales, 6, 2 J)`` int64, two crops of a job for query and key: number of the
            job in its group, top and left of the part of the region that holds the crop, top and
            left of the crop in this part at its scale, and place in the result.
    """

    groups: list[Group]
    types: list[str]
    levels: list[int]
    seeds: list[int]
    frames: list[Frame]
    regions: Integers
    crops: Integers


def plan_jobs(recipes: Sequence[ChunkRecipe], uniform: bool, pixels: int) -> Jobs:
    """Plan the versions of recipes.

    A local distortion gives the same crops for any region that contains them; the region is their
    extent and a margin. For a non-local distortion it is the whole content.

    Args:
        recipes: of one plan.
        uniform: distort the whole content of each window, so that shapes depend only on the margin,
            and separate types. A GPU is faster with few large calls, a CPU with fewer pixels.
        pixels: maximum number of pixels of a group of several jobs.
    """
    plan = recipes[0].plan
    kinds = [
        None if not v else TYPES[r.types[v - 1]] for r in recipes for v in range(plan.versions)
    ]
    chunk, version = np.divmod(np.arange(len(kinds)), plan.versions)
    frame, window, content, extent = _recipe_arrays(recipes)
    margins = np.array([even_margin(kind.margin if kind else 0) for kind in kinds])[:, None]
    whole = np.array([uniform or (kind is not None and not kind.local) for kind in kinds])[:, None]
    start = np.where(whole, content[chunk], extent[chunk, 0])
    inner = np.where(whole, plan.content, extent[chunk, 1])
    first, size = _padded(start, inner, margins, frame[chunk])
    regions = np.concatenate([chunk[None], (first - window[chunk]).T])
    part = np.minimum(2 * (plan.patch + HALVING_MARGIN), frame)[chunk]
    keys = [
        (
            uniform and kind is not None and kind.on_host,
            (kind.name if kind else "") if uniform else kind is not None,
            *own_size,
            *own_part,
        )
        for kind, own_size, own_part in zip(kinds, size.tolist(), part.tolist(), strict=True)
    ]
    order = sorted(range(len(kinds)), key=lambda job: keys[job])
    groups = list(_groups([keys[job] for job in order], pixels))
    crops = np.empty((len(plan.scales), 6, len(kinds), 2), dtype=np.int64)
    crops[:, 0, order] = np.concatenate([np.arange(len(group.jobs)) for group in groups])[:, None]
    for scale, corners in enumerate(_corners(recipes, scale_count=len(plan.scales))):
        crops[scale, 1:5] = _cuts(
            plan.scales[scale], corners[chunk, version], first, part, frame[chunk]
        )
        place = (chunk * len(plan.scales) + scale) * plan.versions + version
        crops[scale, 5, :, 0] = place
        crops[scale, 5, :, 1] = place + len(recipes) * len(plan.scales) * plan.versions
    listed = [(recipes[chunk[job]], int(version[job]) - 1) for job in order]
    return Jobs(
        groups=groups,
        types=[kind.name if kind else "" for kind in (kinds[job] for job in order)],
        levels=[recipe.levels[at] if at >= 0 else 0 for recipe, at in listed],
        seeds=[recipe.seeds[at] if at >= 0 else 0 for recipe, at in listed],
        frames=[
            Frame(recipe.frame.height, recipe.frame.width, *corner)
            for (recipe, _), corner in zip(listed, first[order].tolist(), strict=True)
        ],
        regions=regions[:, order],
        crops=crops[:, :, order].reshape(len(plan.scales), 6, -1),
    )


def _recipe_arrays(recipes: Sequence[ChunkRecipe]) -> tuple[Integers, Integers, Integers, Integers]:
    """Return size of the frame, corner of the window, corner of the content, ``(C, 2)`` each, and
    start and length of the extent, ``(C, 2, 2)``."""
    frames = [(recipe.frame.height, recipe.frame.width) for recipe in recipes]
    windows = [(recipe.frame.top, recipe.frame.left) for recipe in recipes]
    extents = [recipe.extent for recipe in recipes]
    starts = [[side.start for side in sides] for sides in extents]
    lengths = [[len(side) for side in sides] for sides in extents]
    content = [recipe.content for recipe in recipes]
    both = np.array([starts, lengths]).swapaxes(0, 1)
    return np.array(frames), np.array(windows), np.array(content), both


def _padded(
    start: Integers, inner: Integers, margin: Integers | int, length: Integers
) -> tuple[Integers, Integers]:
    """Return starts and sizes of ranges with a margin; see `reiqa.chunks.geometry.padded_range`."""
    size = np.minimum(length, inner + 2 * margin)
    return np.minimum(np.maximum(0, start - margin), length - size), size


def _corners(recipes: Sequence[ChunkRecipe], scale_count: int) -> Iterator[Integers]:
    """Yield for each scale ``(C, versions, 2, 2)``: corners of query and key of each version."""
    for scale in range(scale_count):
        pairs = np.array([recipe.pairs[scale] for recipe in recipes])
        swapped = [
            [recipe.swapped(scale, version) for version in range(recipe.plan.versions)]
            for recipe in recipes
        ]
        turn = np.array(swapped)[..., None, None]
        yield np.where(turn, pairs[:, None, ::-1], pairs[:, None])


def _cuts(
    scale: float, corners: Integers, first: Integers, part: Integers, frame: Integers
) -> Integers:
    """Return ``(4, J, 2)``: the rows of `Jobs.crops` but the first and the last.

    Args:
        scale: 1 or 0.5.
        corners: ``(J, 2, 2)`` of query and key at their scale.
        first: ``(J, 2)`` corner of the region in the frame.
        part: ``(J, 2)`` size of what is halved.
        frame: ``(J, 2)`` size of the frame.
    """
    first, part, frame = first[:, None], part[:, None], frame[:, None]
    if scale == 1:
        place, inner = corners - first, np.zeros_like(corners)
    else:
        start = np.minimum(np.maximum(0, 2 * corners - HALVING_MARGIN), frame - part)
        place, inner = start - first, corners - start // 2
    return np.moveaxis(np.concatenate([place, inner], 2), 2, 0)


def _groups(
    keys: Sequence[tuple[bool, str | bool, int, int, int, int]], pixels: int
) -> Iterator[Group]:
    first = 0
    for key, same in groupby(keys):
        on_host, kind, height, width, *part = key
        count = len(list(same))
        size = max(1, pixels // (height * width))
        for start in range(first, first + count, size):
            jobs = range(start, min(start + size, first + count))
            yield Group(jobs, bool(kind), on_host, height, width, (part[0], part[1]))
        first += count
