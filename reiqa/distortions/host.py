"""Types that are codecs on the CPU, for images on any device: a pool of threads runs them."""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from reiqa import devices
from reiqa.distortions.frame import Frame
from reiqa.distortions.registry import TYPES

_MOST_THREADS = 16


def submit(image: Tensor, name: str, level: int, seed: int, frame: Frame) -> "Future[Tensor]":
    """Start to distort one image in the pool; Pillow releases the GIL.

    Args:
        image: ``(3, H, W)`` uint8 on the CPU.
        name: name of a type with ``on_host``.
        level: 1 to 5.
        seed: seed of the type.
        frame: position of the image.

    Returns:
        The distorted image, ``(3, H, W)``.
    """
    return _pool(os.getpid()).submit(_distort, image, name, level, seed, frame)


def _distort(image: Tensor, name: str, level: int, seed: int, frame: Frame) -> Tensor:
    kind = TYPES[name]
    distorted: Tensor = kind.apply(image[None], [kind.levels[level - 1]], [seed], [frame])
    return distorted[0]


def distort_all(
    images: Tensor,
    types: Sequence[str],
    levels: Sequence[int],
    seeds: Sequence[int],
    frames: Sequence[Frame],
) -> Tensor:
    """Distort images that are on the CPU, in the pool; see `reiqa.distortions.distort`."""
    each = zip(images, types, levels, seeds, frames, strict=True)
    return collect([submit(*one) for one in each])


def collect(running: Sequence["Future[Tensor]"]) -> Tensor:
    """Wait for the images and return them as ``(N, 3, H, W)`` on the CPU."""
    return torch.stack([future.result() for future in running])


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads of a process; those of its parent do not survive a fork."""
    return devices.one_thread_workers(min(_MOST_THREADS, devices.cpu_count()))
