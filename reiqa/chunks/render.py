"""Render windows and recipes to pairs of crops, on any device.

Each version is distorted once at full resolution, in the part of the window that its filter needs.
The second scale is the antialiased half of the result. The pixels of a chunk depend only on its
window and recipe, not on the rest of the batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reiqa import tensors
from reiqa.chunks.geometry import HALVING_MARGIN, Point, even_margin, padded_range
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.distortions import TYPES, Frame, distort

#: Maximum number of pixels distorted in one call, at about a dozen bytes each plus filter buffers.
_PIXELS_AT_ONCE = {"cpu": 2_000_000, "cuda": 200_000_000}


@dataclass(frozen=True)
class RenderedPairs:
    """Rendered chunks.

    Attributes:
        query, key: ``(N, scales, n_aug + 1, 3, P, P)`` float32 in [0, 1]; equal positions form
            pairs.
    """

    query: Tensor
    key: Tensor


@dataclass(frozen=True)
class _Job:
    """One version of one chunk.

    Attributes:
        chunk, version: position in the result; version 0 is undistorted.
        recipe: recipe of the chunk.
        rows, columns: region of the frame to distort.
    """

    chunk: int
    version: int
    recipe: ChunkRecipe
    rows: range
    columns: range

    @property
    def frame(self) -> Frame:
        """Position of the region to distort."""
        full = self.recipe.frame
        return Frame(full.height, full.width, self.rows.start, self.columns.start)


def render(
    windows: Sequence[Tensor], recipes: Sequence[ChunkRecipe], device: torch.device | str = "cpu"
) -> RenderedPairs:
    """Render chunks.

    Args:
        windows: ``(3, H, W)`` uint8 each, with the size in its recipe.
        recipes: one per window, all with the same plan.
        device: device to render on; the pairs stay there.
    """
    device = torch.device(device)
    plan = recipes[0].plan
    shape = (len(recipes), len(plan.scales), plan.versions, 3, plan.patch, plan.patch)
    pairs = RenderedPairs(torch.empty(shape, device=device), torch.empty(shape, device=device))
    windows = [window.to(device, non_blocking=True) for window in windows]
    # A GPU is faster with few large calls, a CPU with fewer pixels.
    uniform = device.type != "cpu"
    for jobs in _batches(recipes, _PIXELS_AT_ONCE[device.type], uniform):
        versions = _distorted(jobs, windows)
        for scale in range(len(plan.scales)):
            _fill(pairs, scale, versions, jobs)
    return pairs


def _batches(recipes: Sequence[ChunkRecipe], pixels: int, uniform: bool) -> Iterator[list[_Job]]:
    """Group regions of equal shape, with undistorted ones in separate batches.

    ``uniform`` uses the full content of each window, so that shapes depend only on the margin.
    """
    by_shape: dict[tuple[bool, int, int], list[_Job]] = {}
    for chunk, recipe in enumerate(recipes):
        for version in range(recipe.plan.versions):
            job = _Job(chunk, version, recipe, *_region_to_distort(recipe, version, uniform))
            by_shape.setdefault((version > 0, len(job.rows), len(job.columns)), []).append(job)
    for (_, height, width), jobs in by_shape.items():
        size = max(1, pixels // (height * width))
        for first in range(0, len(jobs), size):
            yield jobs[first : first + size]


def _region_to_distort(recipe: ChunkRecipe, version: int, uniform: bool) -> tuple[range, range]:
    """Return the rows and columns of the frame to distort for one version.

    A local distortion gives the same crops for any region that contains them. For a non-local
    distortion the region is the full content.
    """
    kind = TYPES[recipe.types[version - 1]] if version else None
    margin = even_margin(kind.margin if kind else 0)
    rows, columns = recipe.extent
    if uniform or (kind and not kind.local):
        side = recipe.plan.content
        rows, columns = (range(start, start + side) for start in recipe.content)
    return (
        padded_range(rows, margin, recipe.frame.height),
        padded_range(columns, margin, recipe.frame.width),
    )


def _distorted(jobs: Sequence[_Job], windows: Sequence[Tensor]) -> Tensor:
    """Return distorted regions of one shape, ``(J, 3, H, W)`` uint8, at full resolution."""
    versions = torch.stack(
        [_region(windows[job.chunk], job.recipe.frame, job.rows, job.columns) for job in jobs]
    )
    if jobs[0].version == 0:
        return versions
    return distort(
        versions,
        [job.recipe.types[job.version - 1] for job in jobs],
        [job.recipe.levels[job.version - 1] for job in jobs],
        [job.recipe.seeds[job.version - 1] for job in jobs],
        [job.frame for job in jobs],
    )


def _fill(pairs: RenderedPairs, scale: int, versions: Tensor, jobs: Sequence[_Job]) -> None:
    """Copy both crops of each version to the result, swapping query and key if required."""
    queries, keys = [], []
    for job in jobs:
        query, key = job.recipe.pairs[scale]
        if job.recipe.swapped(scale, job.version):
            query, key = key, query
        queries.append(query)
        keys.append(key)
    cut = _cut_full_scale if jobs[0].recipe.plan.scales[scale] == 1 else _cut_half_scale
    _, scales, count = pairs.query.shape[:3]
    numbers = [(job.chunk * scales + scale) * count + job.version for job in jobs]
    places = torch.tensor(numbers, device=versions.device)
    pairs.query.flatten(0, 2).index_copy_(0, places, cut(versions, jobs, queries))
    pairs.key.flatten(0, 2).index_copy_(0, places, cut(versions, jobs, keys))


def _cut_full_scale(versions: Tensor, jobs: Sequence[_Job], corners: Sequence[Point]) -> Tensor:
    """Cut a full-scale crop from each version: ``(J, 3, P, P)`` in [0, 1]."""
    patch = jobs[0].recipe.plan.patch
    crops = [
        _region(version, job.frame, range(top, top + patch), range(left, left + patch))
        for version, job, (top, left) in zip(versions, jobs, corners, strict=True)
    ]
    return torch.stack(crops).float().div_(255)


def _cut_half_scale(versions: Tensor, jobs: Sequence[_Job], corners: Sequence[Point]) -> Tensor:
    """Cut a half-scale crop from each version, halving only the pixels that the crop needs."""
    patch = jobs[0].recipe.plan.patch
    parts, places = [], []
    for version, job, (top, left) in zip(versions, jobs, corners, strict=True):
        rows, columns = (
            padded_range(range(2 * start, 2 * (start + patch)), HALVING_MARGIN, length)
            for start, length in ((top, job.frame.height), (left, job.frame.width))
        )
        parts.append(_region(version, job.frame, rows, columns))
        places.append((top - rows.start // 2, left - columns.start // 2))
    halves = tensors.half(torch.stack(parts).float().div_(255))
    crops = [
        half[:, top : top + patch, left : left + patch]
        for half, (top, left) in zip(halves, places, strict=True)
    ]
    return torch.stack(crops)


def _region(image: Tensor, frame: Frame, rows: range, columns: range) -> Tensor:
    """Return rows and columns of the frame from an image at position ``frame``."""
    top, left = rows.start - frame.top, columns.start - frame.left
    return image[:, top : top + len(rows), left : left + len(columns)]
