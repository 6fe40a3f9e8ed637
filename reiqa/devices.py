"""Device selection: GPU leases, threads and precision."""

import ctypes
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reiqa.errors import BadInputError
from reiqa.params import ComputeParams, Precision
from reiqa.progress import log

if TYPE_CHECKING:
    import torch
    from filelock import FileLock

# Maximum time a process waits for the main process of its job, which may itself wait for GPUs or
# for the lock of its artifact.
_RENDEZVOUS_TIMEOUT = timedelta(days=7)

# Key under which the main process announces whether the others are needed.
_WORK = "reiqa/work"

#: Environment variable with comma-separated fake GPU names, for tests and dry runs.
FAKE_GPUS = "REIQA_FAKE_GPUS"


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by their name in CUDA_VISIBLE_DEVICES.

    If a scheduler has set ``CUDA_VISIBLE_DEVICES``, only these GPUs are returned.
    """
    faked, assigned = os.environ.get(FAKE_GPUS), os.environ.get("CUDA_VISIBLE_DEVICES")
    if faked is not None:
        allowed = _parse_names(faked if assigned is None else assigned)
        return [gpu for gpu in _parse_names(faked) if gpu in allowed]
    if assigned == "":
        return []
    import torch

    if assigned is not None:
        # A scheduler's variable may be set on a machine, or for a torch, without GPUs.
        return _parse_names(assigned) if torch.cuda.device_count() else []
    return [str(index) for index in range(torch.cuda.device_count())]


def cpu_count() -> int:
    """Return the number of processors that this process may use, for example in a Slurm job."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


# Constants of glibc's malloc.h; 32 MiB is the maximum mmap threshold.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def resolved(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a stage with device ``auto`` resolved for this process."""
    tree = dict(parameters)
    compute = tree.get("compute", {})
    if compute.get("device") == "auto":
        tree["compute"] = {**compute, "device": "cuda" if visible_gpus() else "cpu"}
    return tree


@contextmanager
def lease_gpus(count: int = 1) -> Iterator[list[str]]:
    """Lease ``count`` GPUs exclusively among the reiqa processes of this machine.

    Waits until enough GPUs are free. The leases are file locks, which the kernel releases when the
    process ends.

    Raises:
        BadInputError: the machine has fewer GPUs than ``count``.
    """
    if count == 0:
        # A CPU job must not queue behind jobs that wait for a GPU.
        yield []
        return
    from filelock import FileLock

    gpus = visible_gpus()
    if len(gpus) < count:
        raise BadInputError(f"compute.device: {count} GPU(s) requested, but {len(gpus)} visible")
    folder = (
        Path(os.environ.get("REIQA_LEASES", tempfile.gettempdir())) / f"reiqa-gpus-{os.getuid()}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    locks: dict[str, FileLock] = {}
    try:
        # Processes choose one at a time, to avoid a deadlock of two that each need two of three.
        with FileLock(folder / "choosing.lock"):
            _lock_free_gpus(gpus, count, folder, locks)
            if len(locks) < count:
                log(f"waiting for a free GPU: all of {', '.join(gpus)} are leased")
            while len(locks) < count:
                _lock_free_gpus(gpus, count, folder, locks)
        yield list(locks)
    finally:
        for lock in locks.values():
            lock.release()


def _lock_free_gpus(
    gpus: list[str], count: int, folder: Path, locks: "dict[str, FileLock]"
) -> None:
    """Lock free GPUs until ``count`` are locked."""
    from filelock import FileLock, Timeout

    for gpu in gpus:
        if gpu in locks or len(locks) == count:
            continue
        lock = FileLock(folder / f"gpu-{_machine_wide_name(gpu, gpus).replace('/', '_')}.lock")
        try:
            lock.acquire(timeout=0.05)
        except Timeout:
            continue
        locks[gpu] = lock


def _machine_wide_name(gpu: str, gpus: list[str]) -> str:
    """Return a name of a GPU that is unique on this machine.

    Two Slurm jobs may both call their first GPU 0 although these are different devices, so the name
    includes the job id. SLURM_STEP_GPUS identifies the GPUs of several steps in one job.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return gpu
    given = _parse_names(os.environ.get("SLURM_STEP_GPUS", ""))
    known = given[gpus.index(gpu)] if len(given) == len(gpus) else gpu
    return f"{job}-{os.environ.get('SLURMD_NODENAME', '')}-{known}"


@contextmanager
def _lease_own_gpu() -> Iterator[str]:
    """Lease the GPU of this process; under torchrun, the first local process leases all GPUs.

    If each process leased its own GPU, two jobs could deadlock, each with half of the GPUs.
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
    """Send the other processes of a torchrun whether they are needed."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _rendezvous_store().set(_WORK, str(wanted))


def receive_decision() -> bool:
    """Wait for `broadcast_decision` of the main process and return the decision."""
    return bool(_rendezvous_store().get(_WORK) == str(True).encode())


@cache
def _rendezvous_store() -> Any:
    """Return the rendezvous store of all processes of a torchrun.

    It is cached because, without a torchrun agent, the store lives in the main process.
    """
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://", timeout=_RENDEZVOUS_TIMEOUT))[0]


def keep_freed_memory() -> None:
    """Configure glibc not to return freed memory to the system.

    Layers allocate and free tens of megabytes each. Clearing new pages each time took a quarter of
    the time of an encoder on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**25)


def _parse_names(listed: str) -> list[str]:
    """Return the unique devices of a comma-separated list; as in CUDA, -1 ends the list."""
    names = [name.strip() for name in listed.split(",")]
    known = names[: names.index("-1")] if "-1" in names else names
    return list(dict.fromkeys(name for name in known if name))


_threads_lock = threading.Lock()


def one_thread_workers(count: int) -> ThreadPoolExecutor:
    """Return a thread pool in which torch uses a single thread per worker.

    Results then do not depend on the machine, and parallel images do not compete for processors.
    The settings of other threads do not change. Autocast, inference mode and the default device
    are thread-local in torch and do not apply inside the pool.
    """
    return ThreadPoolExecutor(count, initializer=_become_worker)


def _become_worker() -> None:
    import torch

    with _threads_lock:
        # torch.set_num_threads sets the number for this thread and for threads that have not used
        # torch yet. Another new thread restores the latter without affecting existing threads.
        of_new_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        restore = threading.Thread(target=torch.set_num_threads, args=(of_new_threads,))
        restore.start()
        restore.join()


_dtype_lock = threading.RLock()


@contextmanager
def default_torch_state() -> Iterator[None]:
    """Build networks in float32 on the CPU, independently of the caller's global settings.

    The default dtype and device, autocast and inference mode affect the construction of modules.
    They are restored after the block.
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
    """Disable TF32 on a GPU, which PyTorch enables for cuDNN by default.

    With float32, results agree to about 1e-6 on all devices; ``bf16`` (``compute.precision``,
    ``features.precision``) is the fast option. The setting is global: the first of several
    overlapping blocks sets it, the last one restores it.
    """
    global _ieee_blocks, _ieee_before
    import torch

    if processor.type != "cuda":
        yield
        return
    # The attribute is added to cudnn at import time, so type checkers do not know it.
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


# Names in torch.cpu.get_capabilities: x86 (AVX512-BF16, AMX) and ARM.
_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")


def bf16_instructions() -> list[str]:
    """Return the instruction sets of this processor that multiply in bfloat16."""
    import torch

    # A torch without this function counts as a processor without such instructions.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return [name for name in _BF16_INSTRUCTIONS if capabilities.get(name)]


def warn_of_emulation(key: str, precision: Precision, processor: "torch.device") -> None:
    """Log that bfloat16 is slow if the processor has no instructions for it."""
    if precision == "bf16" and processor.type == "cpu" and not bf16_instructions():
        log(
            f"{key}: this processor has no bfloat16 instructions; bf16 is emulated and much slower"
            " than float32"
        )


def check_compiler() -> None:
    """Check that the C++ compiler for ``torch.compile`` is installed.

    Raises:
        BadInputError: it is not installed.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BadInputError(
            f"compute.compile: C++ compiler {compiler} not found; install one, set CXX, or set"
            " compute.compile to false"
        )


@contextmanager
def device(compute: ComputeParams, setting: str = "compute.device") -> "Iterator[torch.device]":
    """Set the number of threads, lease a GPU if required, and yield the torch device.

    Must be entered before the process first uses CUDA.

    Args:
        compute: uses ``device`` and ``threads``.
        setting: where the user chose the device, for an error message.

    Raises:
        BadInputError: fewer GPUs are visible than requested, or than torchrun processes.
    """
    import torch

    torch.set_num_threads(compute.threads)
    keep_freed_memory()
    gpus = visible_gpus() if compute.device != "cpu" else []
    if compute.device == "cuda" and not gpus:
        raise BadInputError(f"{setting}: cuda requested, but no GPU is visible; use auto or cpu")
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
