"""Atomic writes, locks and digests of files."""

import errno
import glob
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from reiqa.errors import BadInputError
from reiqa.progress import log

#: State that must survive a crash and workflow engines that delete outputs before a job.
WORK = Path("work")

# Marks the temporary name of a file that is being written.
_PART = ".part-"

#: Errors that mean the disk or the quota is full.
DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Number of bytes to append to test for a full disk.
_TEST_WRITE = 1 << 20

# Digests of files from this size on are cached; smaller files are fast to read.
_CACHED_SIZE = 1 << 26


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def current_digest(path: Path) -> str:
    """Return the SHA-256 of a file; the digest of a large file is cached.

    The cache is valid for this process and until the file changes.
    """
    now = path.stat()
    if now.st_size < _CACHED_SIZE:
        return file_digest(path)
    return _cached_digest(
        path.absolute(), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
    )


@cache
def _cached_digest(path: Path, *_identity: int) -> str:
    return file_digest(path)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` and rename it to ``path`` on success.

    A symbolic link is replaced (see `link_target`). A reader sees the old file or the new one,
    never a partial file. The temporary file is removed after an error. If the process is killed,
    `remove_partials` removes it before the next attempt.

    Raises:
        BadInputError: the path is not writable (see `check_target`).
        OSError: the disk is full, even if a library raised a different error.
    """
    check_target(path)
    temporary = _temporary_file(path)
    try:
        mode = temporary.stat().st_mode
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # safetensors puts a file in its place that only its owner may read.
        temporary.chmod(mode)
        temporary.replace(path)
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _write_error(temporary)
        if number in DISK_FULL_ERRORS:
            raise OSError(number, os.strerror(number), str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_file(path: Path) -> Path:
    """Create an empty file next to ``path``; errors name ``path``."""
    temporary = path.with_name(f".{path.name}{_PART}{os.urandom(4).hex()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("xb").close()
    except OSError as error:
        raise unwritable(path, error) from None
    return temporary


def unwritable(path: Path, error: OSError) -> Exception:
    """Return the error to raise if a file cannot be created: a full disk is not the user's."""
    if error.errno in DISK_FULL_ERRORS:
        return OSError(error.errno, error.strerror, str(path))
    return BadInputError(f"{path}: cannot be written ({error.strerror}); choose another path")


def link_target(path: Path) -> Path:
    """Return the file behind a symbolic link, for an output file that the user names.

    `atomic` replaces a link, because DVC may have linked an artifact to its cache, whose files must
    not change.

    Raises:
        BadInputError: the link is circular.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise BadInputError(f"{path}: is a circular link; choose another path")
    return target


def _write_error(path: Path) -> int | None:
    """Return the errno of appending to a file, or None if that succeeds.

    Native libraries raise their own error types when the disk is full.
    """
    try:
        with path.open("ab") as stream:
            stream.write(bytes(_TEST_WRITE))
            os.fsync(stream.fileno())
    except OSError as error:
        return error.errno
    return None


def check_target(path: Path, suffix: str = "") -> None:
    """Check that a file can be written to a path, before any work is done for it.

    Args:
        path: path of the output file.
        suffix: required suffix.

    Raises:
        BadInputError: the path is a folder or a device, is below a file, is in a folder without
            write permission, or has a different suffix.
    """
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder; choose a file name")
    if path.exists() and not path.is_file():
        # Reading a device may never end, and a file renamed to its name would replace it.
        raise BadInputError(f"{path}: is a device or a pipe; choose a file name")
    if suffix and path.suffix.lower() != suffix:
        raise BadInputError(
            f"{path}: wrong suffix for this file type; use {path.with_suffix(suffix)}"
        )
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise BadInputError(f"{path}: {folder} is a file, not a folder; choose another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"{path}: {folder} is not writable; choose another path")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8.

    Raises:
        BadInputError: the path is not writable (see `check_target`).
        OSError: the disk is full.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, tree: Any) -> None:
    """Write JSON atomically in canonical form; NaN raises, as it is not valid JSON."""
    write_text(path, json.dumps(tree, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BadInputError: the file is missing or not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BadInputError(
            f"{path}: not readable as JSON ({error}). Delete it and rerun."
        ) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock for writing ``path``; a second process waits for it.

    The kernel releases the lock when the process ends, even after a crash.
    """
    from filelock import FileLock, Timeout

    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    folder = WORK / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{path.name}.{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log(f"{path}: waiting for another reiqa process that is writing it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove_partials(path: Path) -> None:
    """Remove temporary files of killed processes; the caller must hold the lock of ``path``."""
    for leftover in path.parent.glob(f".{glob.escape(path.name.split('.')[0])}.*"):
        if _PART in leftover.name:
            leftover.unlink(missing_ok=True)
