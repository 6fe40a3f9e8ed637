"""Distort a batch in which every image has its own type, level and seed."""

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

    The bytes of a result depend on its image, type, level, seed and frame alone: not on the rest
    of the batch, the order, the number of threads or the process.

    Args:
        images: ``(N, 3, H, W)``, float32 in [0, 1] or uint8, on any device; floats are first
            rounded to the 8-bit grid, on which photographs lie.
        types: N names out of `TYPES`.
        levels: N levels, 1 to 5.
        seeds: N seeds; types that draw nothing ignore theirs.
        frames: where each window lies in its photograph; None where the images are whole
            photographs. Within ``TYPES[name].margin`` pixels of a side of the window that is not
            a side of the photograph, pixels may differ from a render of the whole photograph.

    Returns:
        ``(N, 3, H, W)`` of the same dtype and device: uint8, or float32 with values k/255.

    Raises:
        BadInputError: a type or level that the bank does not have, tensors of another shape, or a
            window that is not in its frame.
    """
    _check(images, types, levels, seeds, frames)
    pixels = images if images.dtype == torch.uint8 else to_uint8(images)
    height, width = images.shape[-2:]
    whole = [Frame(height, width)] * len(images) if frames is None else frames
    out = torch.empty_like(pixels)
    for (name, level), members in _groups(types, levels, images.is_cuda):
        distortion = TYPES[name]
        alone = slice(members[0], members[0] + 1) if len(members) == 1 else None
        # A list as index is copied value by value, at half the cost of a cheap distortion.
        out[alone or members] = distortion.apply(
            pixels[alone or members].contiguous(),
            distortion.levels[level - 1],
            [seeds[member] for member in members],
            [whole[member] for member in members],
        )
    if images.dtype == torch.uint8:
        return out
    # By a tensor, not a number: CUDA would multiply by the inverse, which is not k/255.
    return out.float().div_(torch.tensor(255.0, device=images.device))


def _groups(
    types: Sequence[str], levels: Sequence[int], together: bool
) -> Iterator[tuple[tuple[str, int], list[int]]]:
    """Yield what is worked on at once: alike images on a GPU, single ones on a CPU.

    There one image fills the cache, and a batch of them would run at the speed of memory.
    """
    kinds = list(zip(types, levels, strict=True))
    if not together:
        yield from ((kind, [number]) for number, kind in enumerate(kinds))
        return
    alike: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, kind in enumerate(kinds):
        alike[kind].append(number)
    yield from alike.items()


def _check(
    images: Tensor,
    types: Sequence[str],
    levels: Sequence[int],
    seeds: Sequence[int],
    frames: Sequence[Frame] | None,
) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[-2:]:
        raise BadInputError(f"distort: images of shape (N, 3, H, W), not {tuple(images.shape)}")
    counts = {len(images), len(types), len(levels), len(seeds)}
    if len(counts | ({len(frames)} if frames is not None else set())) > 1:
        raise BadInputError("distort: one type, level, seed and frame an image")
    height, width = images.shape[-2:]
    for frame in frames or ():
        rows, columns = frame.top + height, frame.left + width
        if min(frame.top, frame.left) < 0 or rows > frame.height or columns > frame.width:
            raise BadInputError(
                f"distort: a {height}x{width} window lies outside its frame {frame}"
            )
    if unknown := sorted({*types} - {*TYPES}):
        raise BadInputError(
            f"distort: no type named {', '.join(unknown)}; list them with: reiqa distort --list"
        )
    if wrong := [level for level in levels if not 1 <= level <= LEVELS]:
        raise BadInputError(f"distort: level {wrong[0]} is not one of 1 to {LEVELS}")
