"""Distort a batch with an individual type, level and seed for each image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor

from reiqa import devices
from reiqa.distortions import LEVELS, bulk, host
from reiqa.distortions.frame import Frame
from reiqa.distortions.registry import TYPES
from reiqa.errors import BadInputError
from reiqa.tensors import to_float, to_uint8, upload


def distort(
    images: Tensor,
    types: Sequence[str],
    levels: Sequence[int],
    seeds: Sequence[int],
    frames: Sequence[Frame] | None = None,
) -> Tensor:
    """Distort each image of a batch by its own type, level and seed.

    A result depends only on its image, type, level, seed and frame, not on the rest of the batch,
    the order, the number of threads or the process.

    Args:
        images: ``(N, 3, H, W)``, float32 in [0, 1] or uint8, on any device; floats are first
            rounded to 8 bits.
        types: N names from `TYPES`.
        levels: N levels, 1 to 5.
        seeds: N seeds; ignored by deterministic types.
        frames: position of each window in its photograph; None if the images are complete
            photographs. Within ``TYPES[name].margin`` pixels of a side of the window that is not
            a side of the photograph, pixels may differ from a render of the full photograph.

    Returns:
        ``(N, 3, H, W)`` of the same dtype and device: uint8, or float32 with values k/255.

    Raises:
        BadInputError: an unknown type or level, a wrong shape, or a window outside its frame.
    """
    _check(images, types, levels, seeds, frames)
    pixels = images if images.dtype == torch.uint8 else to_uint8(images)
    height, width = images.shape[-2:]
    positions = [Frame(height, width)] * len(images) if frames is None else frames
    if bulk.is_bulk(images.device):
        with _exact_products(images.device):
            out = _distort_bulk(pixels, types, levels, seeds, positions)
    else:
        out = torch.empty_like(pixels)
        # On a CPU, one image fills the cache, and a batch would be memory bound.
        for number, (name, level, seed) in enumerate(zip(types, levels, seeds, strict=True)):
            one, kind = slice(number, number + 1), TYPES[name]
            image = pixels[one].contiguous()
            out[one] = kind.apply(image, [kind.levels[level - 1]], [seed], [positions[number]])
    return out if images.dtype == torch.uint8 else to_float(out)


def _distort_bulk(
    pixels: Tensor,
    types: Sequence[str],
    levels: Sequence[int],
    seeds: Sequence[int],
    positions: Sequence[Frame],
) -> Tensor:
    """Distort all images of a type together: on a GPU, calls cost more than pixels."""
    order = sorted(range(len(types)), key=lambda number: types[number])
    sorted_already = order == [*range(len(order))]
    if not sorted_already:
        pixels = pixels.index_select(0, upload(order, pixels.device))
    parts, first = [], 0
    for name, group in groupby(order, lambda number: types[number]):
        members = list(group)
        images = pixels[first : first + len(members)].contiguous()
        first += len(members)
        kind = TYPES[name]
        own_levels = [levels[member] for member in members]
        own_seeds = [seeds[member] for member in members]
        frames = [positions[member] for member in members]
        if kind.on_host:
            names = [name] * len(members)
            coded = host.distort_all(images.cpu(), names, own_levels, own_seeds, frames)
            parts.append(upload(coded, images.device))
        else:
            parameters = [kind.levels[level - 1] for level in own_levels]
            parts.append(kind.apply(images, parameters, own_seeds, frames))
    out = torch.cat(parts)
    if sorted_already:
        return out
    return torch.empty_like(out).index_copy_(0, upload(order, out.device), out)


@contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    """Multiply in float32 proper, whatever the caller has set: the products are integers."""
    if device.type != "cuda":
        yield
        return
    with devices.ieee_float32(device), torch.autocast("cuda", enabled=False):
        yield


def _check(
    images: Tensor,
    types: Sequence[str],
    levels: Sequence[int],
    seeds: Sequence[int],
    frames: Sequence[Frame] | None,
) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[-2:]:
        raise BadInputError(
            f"distort: images must have shape (N, 3, H, W), not {tuple(images.shape)}"
        )
    counts = {len(images), len(types), len(levels), len(seeds)}
    if len(counts | ({len(frames)} if frames is not None else set())) > 1:
        raise BadInputError("distort: expected one type, level, seed and frame per image")
    height, width = images.shape[-2:]
    for frame in frames or ():
        rows, columns = frame.top + height, frame.left + width
        if min(frame.top, frame.left) < 0 or rows > frame.height or columns > frame.width:
            raise BadInputError(f"distort: a {height}x{width} window is outside its frame {frame}")
    if unknown := sorted({*types} - {*TYPES}):
        raise BadInputError(
            f"distort: unknown type {', '.join(unknown)}; list them with: reiqa distort --list"
        )
    if wrong := [level for level in levels if not 1 <= level <= LEVELS]:
        raise BadInputError(f"distort: level {wrong[0]} is not one of 1 to {LEVELS}")
