"""Which processor a job runs on: one GPU leased per process, threads and precision set once."""

import ctypes
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reiqa.errors import BadInputError
from reiqa.params import ComputeParams
from reiqa.progress import log

if TYPE_CHECKING:
    import torch
    from filelock import FileLock

Result = TypeVar("Result")

# How long a process waits for the first of its job, which may wait for GPUs that another job holds
# or for the artifact that it makes.
_PATIENCE = timedelta(days=7)

# Where the first of them says whether the others are needed.
_WORK = "reiqa/work"

#: Comma-separated GPU names to take for the machine's: for tests and dry runs.
FAKE_GPUS = "REIQA_FAKE_GPUS"


def visible_gpus() -> list[str]:
    """Return the GPUs this process may use, by the name that CUDA_VISIBLE_DEVICES takes.

    A scheduler's own assignment (``CUDA_VISIBLE_DEVICES``) bounds the choice.
    """
    faked, assigned = os.environ.get(FAKE_GPUS), os.environ.get("CUDA_VISIBLE_DEVICES")
    if faked is not None:
        allowed = _parse_names(faked if assigned is None else assigned)
        return [gpu for gpu in _parse_names(faked) if gpu in allowed]
    if assigned is not None:
        return _parse_names(assigned)
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def cpu_count() -> int:
    """Return how many processors this process may use: those of its job, where it is in one."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


# Of glibc's malloc.h; 32 MiB is the greatest threshold that it takes for maps.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def resolved(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's parameters with the device that ``auto`` comes to in this process."""
    tree = dict(parameters)
    compute = tree.get("compute", {})
    if compute.get("device") == "auto":
        tree["compute"] = {**compute, "device": "cuda" if visible_gpus() else "cpu"}
    return tree


@contextmanager
def lease_gpus(count: int = 1) -> Iterator[list[str]]:
    """Hold ``count`` GPUs that no other reiqa process on this machine holds.

    The leases are kernel locks on files in a folder of the machine: they go with the process,
    however that ends. Waits until enough are free.

    Raises:
        BadInputError: the machine has fewer GPUs than ``count``.
    """
    if count == 0:
        # Nothing to choose: a job on the CPU must not queue behind those that wait for a GPU.
        yield []
        return
    from filelock import FileLock

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
            _take(gpus, count, folder, held)
            if len(held) < count:
                log(f"waiting for a free GPU: all of {', '.join(gpus)} are leased")
            while len(held) < count:
                _take(gpus, count, folder, held)
        yield list(held)
    finally:
        for lock in held.values():
            lock.release()


def _take(gpus: list[str], count: int, folder: Path, held: "dict[str, FileLock]") -> None:
    """Lock each GPU that is free, until ``count`` are held."""
    from filelock import FileLock, Timeout

    for gpu in gpus:
        if gpu in held or len(held) == count:
            continue
        lock = FileLock(folder / f"gpu-{_machine_wide_name(gpu, gpus).replace('/', '_')}.lock")
        try:
            lock.acquire(timeout=0.05)
        except Timeout:
            continue
        held[gpu] = lock


def _machine_wide_name(gpu: str, gpus: list[str]) -> str:
    """Return a name of a GPU that no other GPU has for any process of this machine.

    Inside a job of Slurm the first GPU may be called 0 in each of two jobs, and be another one.
    What a job was given is its own; of two steps in it, Slurm tells which have the same.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return gpu
    given = _parse_names(os.environ.get("SLURM_STEP_GPUS", ""))
    known = given[gpus.index(gpu)] if len(given) == len(gpus) else gpu
    return f"{job}-{os.environ.get('SLURMD_NODENAME', '')}-{known}"


@contextmanager
def _lease_own_gpu() -> Iterator[str]:
    """Hold this process's GPU; of the processes that torchrun started here, the first leases all.

    Were each to lease its own, two such jobs could hold half of what both need, and wait for ever.
    """
    count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if count == 1:
        with lease_gpus(1) as (gpu,):
            yield gpu
        return
    place, node, table = (
        int(os.environ["LOCAL_RANK"]),
        os.environ.get("GROUP_RANK", "0"),
        _rendezvous_store(),
    )
    if place == 0:
        with lease_gpus(count) as gpus:
            table.set(f"reiqa/gpus/{node}", ",".join(gpus))
            yield gpus[0]
    else:
        yield table.get(f"reiqa/gpus/{node}").decode().split(",")[place]


def broadcast_decision(wanted: bool) -> None:
    """Tell the other processes of a torchrun, where there are some, whether they are needed."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _rendezvous_store().set(_WORK, str(wanted))


def receive_decision() -> bool:
    """Wait until the first process of this torchrun has told whether the others are needed."""
    return bool(_rendezvous_store().get(_WORK) == str(True).encode())


@cache
def _rendezvous_store() -> Any:
    """Return the store in which the processes of a torchrun, on all its machines, tell each other.

    It is kept: where no agent of torchrun holds the store, it goes with the first process's own.
    """
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://", timeout=_PATIENCE))[0]


def _keep_freed_memory() -> None:
    """Let freed memory stay with this process, where its C library is glibc.

    Layers allocate and free tens of megabytes each; given back to the system every time, they come
    as new pages to be cleared, which was a quarter of an encoder's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**25)


def _parse_names(listed: str) -> list[str]:
    """Return the devices of a comma-separated list, each once; as for CUDA, -1 ends it."""
    names = [name.strip() for name in listed.split(",")]
    known = names[: names.index("-1")] if "-1" in names else names
    return list(dict.fromkeys(name for name in known if name))


class _ThisThread(threading.local):
    is_worker = False


_this_thread = _ThisThread()
_threads_lock = threading.Lock()


def one_thread_workers(count: int) -> ThreadPoolExecutor:
    """Return a pool of threads in each of which torch computes on that thread alone.

    An image is then scored by the same arithmetic whatever the machine, and several images at a
    time do not compete for processors. The setting of every other thread stays as it is, also
    while the pool works; autocast, inference mode and the default device, which torch keeps per
    thread, do not reach into the pool.
    """
    return ThreadPoolExecutor(count, initializer=_become_worker)


def on_one_thread(work: Callable[[], Result]) -> Result:
    """Run a function as a thread of `one_thread_workers` does: here, if this thread is one."""
    if _this_thread.is_worker:
        return work()
    with one_thread_workers(1) as pool:
        return pool.submit(work).result()


def _become_worker() -> None:
    import torch

    with _threads_lock:
        # torch.set_num_threads sets this thread's number and that of threads which have not used
        # torch yet. The latter is what this thread, being new, was given; another new thread
        # restores it without touching anybody else's.
        of_new_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        restore = threading.Thread(target=torch.set_num_threads, args=(of_new_threads,))
        restore.start()
        restore.join()
    _this_thread.is_worker = True


_dtype_lock = threading.RLock()


@contextmanager
def default_torch_state() -> Iterator[None]:
    """Build networks in float32 on the CPU whatever the caller has set globally.

    The default type and device, autocast and inference mode all leak into modules that are
    constructed under them; each is as the caller had it after the block.
    """
    import torch

    with _dtype_lock:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            with (
                torch.device("cpu"),
                torch.inference_mode(False),
                torch.autocast("cpu", enabled=False),
            ):
                yield
        finally:
            torch.set_default_dtype(before)


_ieee_lock = threading.Lock()
_ieee_blocks = 0
_ieee_before: list[str] = []


@contextmanager
def ieee_float32(processor: "torch.device") -> Iterator[None]:
    """Multiply float32 as float32 on a GPU, where PyTorch's default lets cuDNN round to TF32.

    ``compute.precision: bf16`` is the fast choice; float32 is the same to about 1e-6 everywhere.
    The setting belongs to the process: the first of several overlapping blocks sets it, the last
    restores it.
    """
    global _ieee_blocks, _ieee_before
    import torch

    if processor.type != "cuda":
        yield
        return
    # cudnn's attribute is added at import, where type checkers do not see it.
    cudnn: Any = torch.backends.cudnn
    backends: list[Any] = [torch.backends.cuda.matmul, cudnn.conv]
    with _ieee_lock:
        if not _ieee_blocks:
            _ieee_before = [backend.fp32_precision for backend in backends]
            for backend in backends:
                backend.fp32_precision = "ieee"
        _ieee_blocks += 1
    try:
        yield
    finally:
        with _ieee_lock:
            _ieee_blocks -= 1
            if not _ieee_blocks:
                for backend, value in zip(backends, _ieee_before, strict=True):
                    backend.fp32_precision = value


def check_compiler() -> None:
    """Look for the compiler that ``torch.compile`` calls.

    Raises:
        BadInputError: there is none.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BadInputError(
            f"compute.compile: no C++ compiler {compiler} here; install one, name it in CXX, or set"
            " compute.compile to false"
        )


@contextmanager
def device(compute: ComputeParams) -> "Iterator[torch.device]":
    """Set threads and determinism, lease a GPU if one is wanted, and give the torch device.

    Must be entered before CUDA is first used in the process.

    Raises:
        BadInputError: a GPU is asked for, or several by torchrun, and not so many are visible.
    """
    import torch

    torch.set_num_threads(compute.threads)
    _keep_freed_memory()
    gpus = visible_gpus() if compute.device != "cpu" else []
    if compute.device == "cuda" and not gpus:
        raise BadInputError(
            "compute.device: cuda asked for, but no GPU is visible; use auto or cpu"
        )
    if not gpus:
        yield torch.device("cpu")
        return
    with _lease_own_gpu() as gpu:
        log(f"GPU {gpu} leased")
        if FAKE_GPUS in os.environ:
            yield torch.device("cpu")
            return
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        processor = torch.device("cuda", 0)
        with ieee_float32(processor):
            yield processor
