"""Whether an HDF5 file may be opened here: that library is C, and a spoilt file can end a process.

A file whose bytes are those that its provenance names was written here. Any other is first read to
its end by a process of its own; only if that lives is it opened in this one.
"""

import subprocess
import sys
from pathlib import Path

from reiqa import store

_READER = Path(__file__).with_name("_hdf5_reader.py")

# A reader still busy after so many seconds, and one more for each so many bytes, reads in circles.
_PATIENCE, _PACE = 60, 5_000_000


def fault(path: Path) -> str:
    """Return why the HDF5 library must not be let near a file in this process; empty if it may.

    Raises:
        BadInputError: there is provenance, and it names other bytes.
    """
    if store.read_provenance(path) is not None:
        store.verified(path)
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
