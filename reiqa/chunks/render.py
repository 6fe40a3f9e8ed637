"""Windows and recipes become pairs of crops, on any device.

Each version is distorted once, at full resolution, in the part of its window that its own filter
needs; the second scale is the antialiased half of that result. The bytes of a chunk depend on its
window and recipe alone, not on what else is rendered beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reiqa import tensors
from reiqa.chunks.geometry import HALVING_MARGIN, Point, even_margin, padded_range
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.distortions import TYPES, Frame, distort

#: Pixels distorted at once, at about a dozen bytes each besides what the filters need.
_PIXELS_AT_ONCE = {"cpu": 2_000_000, "cuda": 200_000_000}


@dataclass(frozen=True)
class RenderedPairs:
    """Rendered chunks.

    Attributes:
        query, key: ``(N, scales, n_aug + 1, 3, P, P)`` float32 in [0, 1]; what stands at the same
            place in both is a pair.
    """

    query: Tensor
    key: Tensor


@dataclass(frozen=True)
class _Job:
    """One version of one chunk.

    Attributes:
        chunk, version: its place in the result; version 0 is undistorted.
        recipe: of the chunk.
        rows, columns: the part of the frame that must be distorted for it.
    """

    chunk: int
    version: int
    recipe: ChunkRecipe
    rows: range
    columns: range

    @property
    def frame(self) -> Frame:
        """Where the part to be distorted lies."""
        whole = self.recipe.frame
        return Frame(whole.height, whole.width, self.rows.start, self.columns.start)


def render(
    windows: Sequence[Tensor], recipes: Sequence[ChunkRecipe], device: torch.device | str = "cpu"
) -> RenderedPairs:
    """Render chunks.

    Args:
        windows: ``(3, H, W)`` uint8 each, H and W as its recipe says.
        recipes: one for each window, all of one plan.
        device: where to render; the pairs stay there.
    """
    device = torch.device(device)
    plan = recipes[0].plan
    shape = (len(recipes), len(plan.scales), plan.versions, 3, plan.patch, plan.patch)
    pairs = RenderedPairs(torch.empty(shape, device=device), torch.empty(shape, device=device))
    windows = [window.to(device, non_blocking=True) for window in windows]
    # A GPU is faster with few large calls; a CPU has the more to gain from fewer pixels.
    uniform = device.type != "cpu"
    for jobs in _batches(recipes, _PIXELS_AT_ONCE[device.type], uniform):
        versions = _distorted(jobs, windows)
        for scale in range(len(plan.scales)):
            _fill(pairs, scale, versions, jobs)
    return pairs


def _batches(recipes: Sequence[ChunkRecipe], pixels: int, uniform: bool) -> Iterator[list[_Job]]:
    """Gather what can be distorted in one call: parts of one shape, undistorted ones apart.

    ``uniform``: take the whole content of each window, so that shapes depend on the margin alone.
    """
    alike: dict[tuple[bool, int, int], list[_Job]] = {}
    for chunk, recipe in enumerate(recipes):
        for version in range(recipe.plan.versions):
            job = _Job(chunk, version, recipe, *_part(recipe, version, uniform))
            alike.setdefault((version > 0, len(job.rows), len(job.columns)), []).append(job)
    for (_, height, width), jobs in alike.items():
        size = max(1, pixels // (height * width))
        for first in range(0, len(jobs), size):
            yield jobs[first : first + size]


def _part(recipe: ChunkRecipe, version: int, uniform: bool) -> tuple[range, range]:
    """Return rows and columns of the frame that must be distorted for one version.

    What a crop shows does not depend on the choice where the distortion is local; where it is
    not, the whole content is taken.
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
    """Return versions of one shape, ``(J, 3, H, W)`` uint8, at full resolution."""
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
    """Put both crops of each version in their places; swapping only chooses the place."""
    queries, keys = [], []
    for job in jobs:
        query, key = job.recipe.pairs[scale]
        if job.recipe.swapped(scale, job.version):
            query, key = key, query
        queries.append(query)
        keys.append(key)
    cut = _whole if jobs[0].recipe.plan.scales[scale] == 1 else _halved
    _, scales, count = pairs.query.shape[:3]
    numbers = [(job.chunk * scales + scale) * count + job.version for job in jobs]
    places = torch.tensor(numbers, device=versions.device)
    pairs.query.flatten(0, 2).index_copy_(0, places, cut(versions, jobs, queries))
    pairs.key.flatten(0, 2).index_copy_(0, places, cut(versions, jobs, keys))


def _whole(versions: Tensor, jobs: Sequence[_Job], corners: Sequence[Point]) -> Tensor:
    """Cut a crop of full scale from each version: ``(J, 3, P, P)`` in [0, 1]."""
    patch = jobs[0].recipe.plan.patch
    crops = [
        _region(version, job.frame, range(top, top + patch), range(left, left + patch))
        for version, job, (top, left) in zip(versions, jobs, corners, strict=True)
    ]
    return torch.stack(crops).float().div_(255)


def _halved(versions: Tensor, jobs: Sequence[_Job], corners: Sequence[Point]) -> Tensor:
    """Cut a crop of half scale from each version; no more is halved than the crop needs."""
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
    """Return rows and columns of the frame from an image that lies in it at ``frame``."""
    top, left = rows.start - frame.top, columns.start - frame.left
    return image[:, top : top + len(rows), left : left + len(columns)]
