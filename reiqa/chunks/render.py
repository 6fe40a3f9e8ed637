"""Render windows and recipes to pairs of crops, on any device.

Each version is distorted once at full resolution, in the part of the window that its filter needs.
The second scale is the antialiased half of the result. The pixels of a chunk depend only on its
window and recipe, not on the rest of the batch.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reiqa import tensors
from reiqa.chunks.jobs import Group, Jobs, plan_jobs
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.distortions import bulk, distort, host

#: Maximum number of pixels distorted in one call, at a dozen to a hundred bytes each.
_PIXELS_AT_ONCE, _BULK_PIXELS_AT_ONCE = 2_000_000, 20_000_000


@dataclass(frozen=True)
class RenderedPairs:
    """Rendered chunks.

    Attributes:
        query, key: ``(N, scales, n_aug + 1, 3, P, P)`` float32 in [0, 1]; equal positions form
            pairs.
    """

    query: Tensor
    key: Tensor


def render(
    windows: Sequence[Tensor], recipes: Sequence[ChunkRecipe], device: torch.device | str = "cpu"
) -> RenderedPairs:
    """Render chunks.

    On a GPU nothing waits for the device if the windows are on the host: codecs work on them there,
    in a pool of threads.

    Args:
        windows: ``(3, H, W)`` uint8 each, with the size in its recipe.
        recipes: one per window, all with the same plan.
        device: device to render on; the pairs stay there.
    """
    device = torch.device(device)
    plan, uniform = recipes[0].plan, bulk.is_bulk(device)
    pixels = _BULK_PIXELS_AT_ONCE if uniform else _PIXELS_AT_ONCE
    jobs = plan_jobs(recipes, uniform, pixels)
    coded = {
        job: _start_codec(job, group, jobs, windows)
        for group in jobs.groups
        if group.on_host
        for job in group.jobs
    }
    shape = (2, len(recipes), len(plan.scales), plan.versions, 3, plan.patch, plan.patch)
    pairs = torch.empty(shape, device=device)
    places = pairs.flatten(0, 3)
    sizes = [len(group.jobs) for group in jobs.groups]
    regions = tensors.upload(jobs.regions, device).split(sizes, 1)
    crops = tensors.upload(jobs.crops, device).split([2 * size for size in sizes], 2)
    images = _stack(windows, device) if uniform else windows
    for group, region, cuts in zip(jobs.groups, regions, crops, strict=True):
        if group.on_host:
            versions = tensors.upload(host.collect([coded[job] for job in group.jobs]), device)
        else:
            chunk, tops, lefts = region.unbind()
            versions = _crop(images, chunk, tops, lefts, group.height, group.width)
            if group.distorted:
                versions = _distorted(versions, group, jobs)
        for own, ratio in zip(cuts.unbind(), plan.scales, strict=True):
            *cut, place = own.unbind()
            places.index_copy_(0, place, _crops(versions, cut, group.part, plan.patch, ratio))
    return RenderedPairs(pairs[0], pairs[1])


def _stack(windows: Sequence[Tensor], device: torch.device) -> Tensor:
    """Copy windows to a device as one tensor, padded where their sizes differ."""
    height, width = (max(window.shape[side] for window in windows) for side in (-2, -1))
    copies = [tensors.upload(window, device) for window in windows]
    return torch.stack(
        [
            functional.pad(copy, (0, width - copy.shape[-1], 0, height - copy.shape[-2]))
            if copy.shape[-2:] != (height, width)
            else copy
            for copy in copies
        ]
    )


def _start_codec(job: int, group: Group, jobs: Jobs, windows: Sequence[Tensor]) -> "Future[Tensor]":
    chunk, top, left = jobs.regions[:, job].tolist()
    region = windows[chunk][:, top : top + group.height, left : left + group.width]
    return host.submit(
        region.cpu(), jobs.types[job], jobs.levels[job], jobs.seeds[job], jobs.frames[job]
    )


def _distorted(versions: Tensor, group: Group, jobs: Jobs) -> Tensor:
    own = slice(group.jobs.start, group.jobs.stop)
    return distort(versions, jobs.types[own], jobs.levels[own], jobs.seeds[own], jobs.frames[own])


def _crops(
    versions: Tensor, cuts: Sequence[Tensor], part: tuple[int, int], patch: int, ratio: float
) -> Tensor:
    """Return queries and keys of distorted regions, in turn: ``(2 J, 3, P, P)`` in [0, 1].

    At half scale, only the pixels that a crop needs are halved.

    Args:
        versions: ``(J, 3, H, W)`` uint8.
        cuts: ``(2 J,)`` each; see `Jobs.crops`.
        part: size of what is halved.
        patch: side of a crop.
        ratio: 1 or 0.5.
    """
    numbers, tops, lefts, inner_tops, inner_lefts = cuts
    if ratio == 1:
        return tensors.to_float(_crop(versions, numbers, tops, lefts, patch, patch))
    halves = tensors.half(tensors.to_float(_crop(versions, numbers, tops, lefts, *part)))
    each = torch.arange(len(halves), device=versions.device)
    return _crop(halves, each, inner_tops, inner_lefts, patch, patch)


def _crop(
    images: Tensor | Sequence[Tensor],
    numbers: Tensor,
    tops: Tensor,
    lefts: Tensor,
    height: int,
    width: int,
) -> Tensor:
    """Cut ``(J, 3, height, width)``, the crop j from ``images[numbers[j]]``."""
    if not bulk.is_bulk(numbers.device):
        cuts = zip(numbers.tolist(), tops.tolist(), lefts.tolist(), strict=True)
        return torch.stack(
            [images[n][:, top : top + height, left : left + width] for n, top, left in cuts]
        )
    assert isinstance(images, Tensor)
    return images.unfold(2, height, 1).unfold(3, width, 1)[numbers, :, tops, lefts]
