"""Guards against corrupt HDF5 files, which can crash the process inside the C library.

A file that matches the digest in its provenance is opened directly. Any other file is first read
completely in a subprocess, and is only opened in this process if that succeeds.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from reiqa import store

_READER = Path(__file__).with_name("_hdf5_reader.py")

# Timeout of the subprocess: base seconds, plus one second per this number of bytes.
_BASE_TIMEOUT, _BYTES_PER_SECOND = 60, 5_000_000


def find_fault(path: Path) -> str:
    """Return why a file is unsafe to open in this process, or "" if it is safe.

    Raises:
        BadInputError: the file does not match the digest in its provenance.
    """
    if store.read_provenance(path) is not None:
        store.verified_digest(path)
        return ""
    # -P keeps the modules next to the script from shadowing other modules.
    command = [sys.executable, "-P", str(_READER), str(path)]
    seconds = _BASE_TIMEOUT + path.stat().st_size / _BYTES_PER_SECOND
    try:
        completed = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return "read timed out"
    if completed.returncode < 0:
        return f"the HDF5 library crashes on it (signal {-completed.returncode})"
    if completed.returncode:
        return (completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"])[-1]
    return ""


@contextmanager
def create_file(path: Path, **options: Any) -> Iterator[h5py.File]:
    """Yield a new HDF5 file and move it to ``path`` atomically on success.

    The caller must flush each dataset. Otherwise its cached chunks are written when the object is
    garbage collected, where h5py prints an error instead of raising it.

    Args:
        path: path of the output file.
        options: further arguments of `h5py.File`.

    Raises:
        OSError: the disk is full.
    """
    with store.atomic(path) as temporary:
        file = h5py.File(temporary, "w", **options)
        try:
            yield file
            file.flush()
        except BaseException:
            # On a full disk, closing fails too and h5py prints a traceback for each open object.
            # Redirecting the descriptor to memory lets the file close silently.
            sink = os.memfd_create("discarded")
            os.dup2(sink, file.id.get_vfd_handle())
            os.close(sink)
            raise
        finally:
            file.close()
