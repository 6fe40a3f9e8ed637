"""Files that appear whole or not at all, one maker at a time; digests of their bytes."""

import errno
import glob
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from reiqa.errors import BadInputError
from reiqa.progress import log

#: What must outlive a kill, and an engine that deletes outputs before it makes them.
WORK = Path("work")

# Marks a file that is being written.
_PART = ".part-"

#: Errors that say that nothing more can be written.
DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Bytes that a disk that is not full takes.
_SOME = 1 << 20

# Bytes of a file that is worth remembering the digest of: smaller ones are read in no time.
_LARGE = 1 << 26


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def current_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as they are now.

    A large file is read once in a process, as long as nobody writes to it.
    """
    now = path.stat()
    if now.st_size < _LARGE:
        return file_digest(path)
    return _cached_digest(
        path.absolute(), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
    )


@cache
def _cached_digest(path: Path, *_identity: int) -> str:
    return file_digest(path)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, renamed to it when the block ends well.

    A reader sees the old file or the new one, never a part. After an error nothing is left;
    what a killed process leaves is swept when the artifact is next made.

    Raises:
        BadInputError: no file can be written there (see `check_target`).
        OSError: the disk is full, whatever the library at work made of that.
    """
    check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}{_PART}"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _write_error(temporary)
        if number in DISK_FULL_ERRORS:
            raise OSError(number, os.strerror(number), str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _write_error(path: Path) -> int | None:
    """Return the system's reason, if any, not to let a file grow.

    Libraries in other languages raise an error of their own kind when the disk is full.
    """
    try:
        with path.open("ab") as stream:
            stream.write(bytes(_SOME))
            os.fsync(stream.fileno())
    except OSError as error:
        return error.errno
    return None


def check_target(path: Path, suffix: str = "") -> None:
    """Refuse a path at which no file can be written, before any work is done for it.

    Args:
        path: the file to be.
        suffix: what its name must end in, for it says what is written.

    Raises:
        BadInputError: it is a folder, below a file, in a folder that may not be written to, or has
            another suffix.
    """
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder; name a file")
    if suffix and path.suffix.lower() != suffix:
        raise BadInputError(
            f"{path}: not a name for what is written; {path.with_suffix(suffix)} is"
        )
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise BadInputError(f"{path}: {folder} is a file, not a folder; name another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"{path}: {folder} may not be written to; name another place")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8.

    Raises:
        BadInputError: no file can be written there (see `check_target`).
        OSError: the disk is full.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, tree: Any) -> None:
    """Write JSON atomically, in one fixed spelling; NaN is refused, for no reader agrees on it."""
    write_text(path, json.dumps(tree, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BadInputError: it is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BadInputError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the right to make ``path``; a second process waits until the first has ended.

    The lock is the kernel's: it goes with the process, however that ends.
    """
    from filelock import FileLock, Timeout

    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    folder = WORK / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{path.name}.{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log(f"{path}: waiting for another reiqa that is making it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove_partials(path: Path) -> None:
    """Remove what killed processes left of a file and those beside it; for who holds its lock."""
    for leftover in path.parent.glob(f".{glob.escape(path.name.split('.')[0])}.*"):
        if _PART in leftover.name:
            leftover.unlink(missing_ok=True)


_UMASK_LOCK = threading.Lock()


def _umask() -> int:
    # To read it is to set it, for every thread at once: so it is read a single time.
    with _UMASK_LOCK:
        return _read_umask()


@cache
def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
