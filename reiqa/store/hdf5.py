"""What keeps harm from and by HDF5: that library is C, and a spoilt file can end a process.

A file whose bytes are those that its provenance names was written here. Any other is first read to
its end by a process of its own; only if that lives is it opened in this one.
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

# A reader still busy after so many seconds, and one more for each so many bytes, reads in circles.
_PATIENCE, _PACE = 60, 5_000_000


def find_fault(path: Path) -> str:
    """Return why the HDF5 library must not be let near a file in this process; empty if it may.

    Raises:
        BadInputError: there is provenance, and it names other bytes.
    """
    if store.read_provenance(path) is not None:
        store.verified_digest(path)
        return ""
    # Without -P the modules beside the reader would stand in for others of their name.
    command = [sys.executable, "-P", str(_READER), str(path)]
    seconds = _PATIENCE + path.stat().st_size / _PACE
    try:
        tried = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return "reading it has no end"
    if tried.returncode < 0:
        return f"the HDF5 library crashes on it, by signal {-tried.returncode}"
    if tried.returncode:
        return (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
    return ""


@contextmanager
def create_file(path: Path, **how: Any) -> Iterator[h5py.File]:
    """Give a new HDF5 file that appears at ``path``, atomically, when the block ends well.

    Each dataset must be flushed by who makes it: pieces held back in its cache would be written
    when it is forgotten, where h5py prints a failure instead of raising it.

    Args:
        path: the file to be.
        how: further arguments of `h5py.File`.

    Raises:
        OSError: the disk is full.
    """
    with store.atomic(path) as temporary:
        file = h5py.File(temporary, "w", **how)
        try:
            yield file
            file.flush()
        except BaseException:
            # What cannot be written cannot be closed either, and h5py then prints a traceback for
            # each object of the file that no caller can stop. So the rest is written to nowhere.
            nowhere = os.memfd_create("nowhere")
            os.dup2(nowhere, file.id.get_vfd_handle())
            os.close(nowhere)
            raise
        finally:
            file.close()
