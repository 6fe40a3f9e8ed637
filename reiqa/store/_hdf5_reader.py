"""Run as a script by `reiqa.hdf5`: read one HDF5 file, every attribute and every byte of data.

It imports nothing of reiqa, for it is run once for every file of unknown origin.
"""

import contextlib
import resource
import sys

import h5py
import hdf5plugin  # noqa: F401  (registers the compressions)

# A file may claim to be larger than any memory.
_MEMORY = 16 * 2**30


def _read(_name: str, item: h5py.Group | h5py.Dataset) -> None:
    for value in item.attrs.values():
        repr(value)
    if isinstance(item, h5py.Dataset):
        item[()]


def main(path: str) -> None:
    """Read the file at ``path``; any exception, or the end of the process, is the answer."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MEMORY if allowed == resource.RLIM_INFINITY else min(_MEMORY, allowed)
    # Not every system lets a process bound its memory (macOS).
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, allowed))
    with h5py.File(path, "r", locking=False) as file:
        _read("/", file)
        file.visititems(_read)


if __name__ == "__main__":
    main(sys.argv[1])
