"""Which processor a job runs on: one GPU leased per process, threads and precision set once."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reiqa.errors import BadInputError
from reiqa.params import Compute

if TYPE_CHECKING:
    import torch

#: Comma-separated GPU names to use instead of those found: for tests and dry runs.
FAKE_GPUS = "REIQA_FAKE_GPUS"


def visible_gpus() -> list[str]:
    """Return the GPUs this process may use, by the name that CUDA_VISIBLE_DEVICES takes.

    A scheduler's own assignment (``CUDA_VISIBLE_DEVICES``) bounds the choice.
    """
    if (faked := os.environ.get(FAKE_GPUS)) is not None:
        return [name for name in faked.split(",") if name]
    if (assigned := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in assigned.split(",") if name and name != "-1"]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


@contextmanager
def leased_gpus(count: int = 1) -> Iterator[list[str]]:
    """Hold ``count`` GPUs that no other reiqa process on this machine holds.

    The leases are kernel locks on files in a folder of the machine: they go with the process,
    however that ends. Waits until enough are free.

    Raises:
        BadInputError: the machine has fewer GPUs than ``count``.
    """
    from filelock import FileLock, Timeout

    gpus = visible_gpus()
    if len(gpus) < count:
        raise BadInputError(f"compute.device: {count} GPU(s) asked for, {len(gpus)} visible here")
    folder = (
        Path(os.environ.get("REIQA_LEASES", tempfile.gettempdir())) / f"reiqa-gpus-{os.getuid()}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    held: dict[str, FileLock] = {}
    try:
        # One process chooses at a time, or two that each want two of three would starve both.
        with FileLock(folder / "choosing.lock"):
            while len(held) < count:
                for gpu in gpus:
                    if gpu in held or len(held) == count:
                        continue
                    lock = FileLock(folder / f"gpu-{gpu.replace('/', '_')}.lock")
                    try:
                        lock.acquire(timeout=0.05)
                    except Timeout:
                        continue
                    held[gpu] = lock
        yield list(held)
    finally:
        for lock in held.values():
            lock.release()


@contextmanager
def device(compute: Compute) -> "Iterator[torch.device]":
    """Set threads and determinism, lease a GPU if one is wanted, and give the torch device.

    Must be entered before CUDA is first used in the process.
    """
    import torch

    torch.set_num_threads(compute.threads)
    gpus = visible_gpus() if compute.device != "cpu" else []
    if compute.device == "cuda" and not gpus:
        raise BadInputError(
            "compute.device: cuda asked for, but no GPU is visible; use auto or cpu"
        )
    if not gpus or FAKE_GPUS in os.environ:
        with leased_gpus(1 if gpus else 0):
            yield torch.device("cpu")
        return
    with leased_gpus(1) as (gpu,):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        yield torch.device("cuda", 0)
