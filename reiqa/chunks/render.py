"""Windows and recipes become pairs of crops, on any device.

Each version is distorted once, at full resolution, in the part of its window that its own filter
needs; the second scale is the antialiased half of that result. The bytes of a chunk depend on its
window and recipe alone, not on what else is rendered beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reiqa import images
from reiqa.chunks.recipe import Recipe, context, span
from reiqa.distortions import TYPES, distort

#: Pixels distorted at once: bounds memory (a pixel takes 12 bytes, and filters a few copies).
_PIXELS_AT_ONCE = {"cpu": 6_000_000, "cuda": 48_000_000}


@dataclass(frozen=True)
class Pairs:
    """Rendered chunks.

    Attributes:
        query, key: ``(N, scales, n_aug + 1, 3, P, P)`` float32 in [0, 1]; row, scale and version
            of the two belong together.
    """

    query: Tensor
    key: Tensor


@dataclass(frozen=True)
class _Job:
    """One version of one chunk, and the part of the frame to be distorted for it."""

    chunk: int
    version: int
    rows: range
    columns: range


def render(
    windows: Sequence[Tensor], recipes: Sequence[Recipe], device: torch.device | str = "cpu"
) -> Pairs:
    """Render chunks.

    Args:
        windows: ``(3, H, W)`` uint8 each, H and W as its recipe says.
        recipes: one for each window, all of one plan.
        device: where to render; the pairs stay there.
    """
    device = torch.device(device)
    plan = recipes[0].plan
    shape = (len(recipes), len(plan.scales), plan.versions, 3, plan.patch, plan.patch)
    pairs = Pairs(torch.empty(shape, device=device), torch.empty(shape, device=device))
    windows = [window.to(device, non_blocking=True) for window in windows]
    for jobs in _batches(recipes, _PIXELS_AT_ONCE[device.type]):
        versions = _distorted(jobs, windows, recipes)
        for index, scale in enumerate(plan.scales):
            scaled = versions if scale == 1 else images.half(versions)
            _cut(scaled, jobs, recipes, index, pairs)
    return pairs


def _batches(recipes: Sequence[Recipe], pixels: int) -> Iterator[list[_Job]]:
    """Gather what can be distorted in one call: parts of one shape; undistorted ones apart."""
    alike: dict[tuple[bool, int, int], list[_Job]] = {}
    for chunk, recipe in enumerate(recipes):
        for version in range(recipe.plan.versions):
            margin = context(TYPES[recipe.types[version - 1]].margin if version else 0)
            side, frame = recipe.plan.content, recipe.frame
            rows = span(recipe.content.top, side, margin, frame.height)
            columns = span(recipe.content.left, side, margin, frame.width)
            key = (version > 0, len(rows), len(columns))
            alike.setdefault(key, []).append(_Job(chunk, version, rows, columns))
    for (_, height, width), jobs in alike.items():
        size = max(1, pixels // (height * width))
        for first in range(0, len(jobs), size):
            yield jobs[first : first + size]


def _distorted(
    jobs: Sequence[_Job], windows: Sequence[Tensor], recipes: Sequence[Recipe]
) -> Tensor:
    """Return the versions ``(J, 3, H, W)`` in [0, 1] at full resolution."""
    parts = []
    for job in jobs:
        frame = recipes[job.chunk].frame
        top, left = job.rows.start - frame.top, job.columns.start - frame.left
        parts.append(
            windows[job.chunk][:, top : top + len(job.rows), left : left + len(job.columns)]
        )
    versions = torch.stack(parts)
    if jobs[0].version > 0:
        versions = _distort(versions, jobs, recipes)
    return versions.float().div_(255)


def _distort(versions: Tensor, jobs: Sequence[_Job], recipes: Sequence[Recipe]) -> Tensor:
    return distort(
        versions,
        [recipes[job.chunk].types[job.version - 1] for job in jobs],
        [recipes[job.chunk].levels[job.version - 1] for job in jobs],
        [recipes[job.chunk].seeds[job.version - 1] for job in jobs],
        [
            replace(recipes[job.chunk].frame, top=job.rows.start, left=job.columns.start)
            for job in jobs
        ],
    )


def _cut(
    versions: Tensor, jobs: Sequence[_Job], recipes: Sequence[Recipe], scale: int, pairs: Pairs
) -> None:
    """Copy both crops of each version to its place; swapping only chooses the place."""
    chunks = torch.tensor([job.chunk for job in jobs], device=versions.device)
    numbers = torch.tensor([job.version for job in jobs], device=versions.device)
    queries, keys = [], []
    for version, job in zip(versions, jobs, strict=True):
        recipe = recipes[job.chunk]
        patch, ratio = recipe.plan.patch, recipe.plan.scales[scale]
        first, second = (
            version[:, top : top + patch, left : left + patch]
            for top, left in (
                (
                    corner.top - int(job.rows.start * ratio),
                    corner.left - int(job.columns.start * ratio),
                )
                for corner in recipe.pairs[scale]
            )
        )
        if recipe.swapped(scale, job.version):
            first, second = second, first
        queries.append(first)
        keys.append(second)
    pairs.query[chunks, scale, numbers] = torch.stack(queries)
    pairs.key[chunks, scale, numbers] = torch.stack(keys)
