"""Script run by `reiqa.store.hdf5`: read every attribute and all data of one HDF5 file.

It imports nothing from reiqa, to start fast: it runs once for each file of unknown origin.
"""

import contextlib
import resource
import sys

import h5py
import hdf5plugin  # noqa: F401  (registers the compressions)

# A corrupted file may claim to need more memory than exists.
_MEMORY = 16 * 2**30


def _read(_name: str, item: h5py.Group | h5py.Dataset) -> None:
    for value in item.attrs.values():
        repr(value)
    if isinstance(item, h5py.Dataset):
        item[()]


def main(path: str) -> None:
    """Read the file at ``path``. The parent process checks the exit code and standard error."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MEMORY if allowed == resource.RLIM_INFINITY else min(_MEMORY, allowed)
    # Some systems, such as macOS, do not support this limit.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, allowed))
    with h5py.File(path, "r", locking=False) as file:
        _read("/", file)
        file.visititems(_read)


if __name__ == "__main__":
    main(sys.argv[1])
