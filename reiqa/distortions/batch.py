"""Distort a batch with an individual type, level and seed for each image."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reiqa.distortions import LEVELS
from reiqa.distortions.frame import Frame
from reiqa.distortions.registry import TYPES
from reiqa.errors import BadInputError
from reiqa.tensors import to_uint8


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
    out = torch.empty_like(pixels)
    for (name, level), members in _groups(types, levels, images.is_cuda):
        distortion = TYPES[name]
        single = slice(members[0], members[0] + 1) if len(members) == 1 else None
        # Indexing with a slice avoids a copy, which costs half as much as a cheap distortion.
        out[single or members] = distortion.apply(
            pixels[single or members].contiguous(),
            distortion.levels[level - 1],
            [seeds[member] for member in members],
            [positions[member] for member in members],
        )
    if images.dtype == torch.uint8:
        return out
    # Dividing by a scalar would multiply by the inverse on CUDA, which does not give k/255.
    return out.float().div_(torch.tensor(255.0, device=images.device))


def _groups(
    types: Sequence[str], levels: Sequence[int], together: bool
) -> Iterator[tuple[tuple[str, int], list[int]]]:
    """Yield groups to process together: equal type and level on a GPU, single images on a CPU.

    On a CPU, one image fills the cache, and a batch would be memory bound.
    """
    kinds = list(zip(types, levels, strict=True))
    if not together:
        yield from ((kind, [number]) for number, kind in enumerate(kinds))
        return
    by_kind: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, kind in enumerate(kinds):
        by_kind[kind].append(number)
    yield from by_kind.items()


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
