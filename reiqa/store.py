"""What is on disk: atomic writes, the provenance of each artifact, and whether it is stale.

Every artifact ``X`` has a sidecar ``X.prov.json`` that says which stage made it, from which
parameters, from which inputs (by digest), with which command and revision. The sidecar travels
with the artifact, so staleness is decided by content alone: no modification time, no record of an
engine is needed. It is written after the artifact and names its digest: an artifact without a
matching sidecar is never read as whole.
"""

import errno
import glob
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from reiqa import layout
from reiqa.errors import BadInputError
from reiqa.params import Params, relevant
from reiqa.params import digest as tree_digest
from reiqa.progress import say

#: Raised by one when a stage's code changes so that it makes other bytes of the same input.
FORMATS: dict[str, int] = {
    "fetch": 1,
    "index": 1,
    "chunks": 2,
    "model": 1,
    "probe": 1,
    "features": 2,
    "fit": 1,
    "cross": 1,
    "report": 1,
}

WORK = Path("work")

# Key of the digest of all else that a file says. Files written by earlier versions have none.
_SEAL = "seal"

# Marks a file that is being written.
_PART = ".part-"

#: Errors that say that nothing more can be written.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Bytes that a disk that is not full takes.
_SOME = 1 << 20

# Bytes of a file that is worth remembering the digest of: smaller ones are read in no time.
_LARGE = 1 << 26

ParametersOf = Callable[[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Provenance:
    """Where an artifact comes from.

    Attributes:
        stage: which stage made it.
        item: what the stage was given: a dataset, an expert, or both with a slash.
        format: `FORMATS` of the stage at that time.
        parameters: the part of params.yaml that decides the content.
        inputs: path of each artifact read, and its digest then.
        digest: SHA-256 of the artifact.
        size: its bytes.
        companions: what the stage writes beside it: path, and bytes of each (a folder: 0).
        command: the arguments ``reiqa`` was called with.
        revision: commit of the code, with a ``+`` where the tree was changed.
        companion_digests: SHA-256 of each companion that is a file; older sidecars have none.
    """

    stage: str
    item: str
    format: int
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    digest: str
    size: int
    companions: Mapping[str, int]
    command: str
    revision: str
    companion_digests: Mapping[str, str] = field(default_factory=dict)


def sidecar(path: Path) -> Path:
    """Return where the provenance of ``path`` lies."""
    return path.with_name(path.name + ".prov.json")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verified(path: Path) -> str:
    """Return the SHA-256 of an artifact's bytes, which are those that were sealed.

    What was written beside it is held to its own digests. Bytes are read now, large files once in
    a process as long as nobody writes to them.

    Raises:
        BadInputError: there is provenance, and it names other bytes.
    """
    spoilt = damaged(path)
    if spoilt is not None:
        raise BadInputError(
            f"{spoilt}: damaged (not the bytes that were written); delete it and run:"
            f" {layout.verb(path)}"
        )
    return _digest_now(path)


def damaged(path: Path) -> Path | None:
    """Return the part of an artifact that is not what was sealed: itself, or what lies beside.

    None where all is, and where there is no provenance to tell.
    """
    made = read_provenance(path)
    if made is None:
        return None
    sealed = {path: made.digest}
    sealed |= {Path(name): digest for name, digest in made.companion_digests.items()}
    for part, digest in sealed.items():
        if not part.is_file() or _digest_now(part) != digest:
            return part
    return None


def _digest_now(path: Path) -> str:
    now = path.stat()
    if now.st_size < _LARGE:
        return file_digest(path)
    return _remembered(path.absolute(), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


@cache
def _remembered(path: Path, *_identity: int) -> str:
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
        number = error.errno if isinstance(error, OSError) else _refusal(temporary)
        if number in NO_ROOM:
            raise OSError(number, os.strerror(number), str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _refusal(path: Path) -> int | None:
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
        say(f"{path}: waiting for another reiqa that is making it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def seal(
    path: Path,
    stage: str,
    item: str,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
    companions: Sequence[Path] = (),
) -> Provenance:
    """Write the provenance of a finished artifact.

    Args:
        path: the artifact.
        stage: the stage that made it; a key of `FORMATS`.
        item: what the stage was given.
        parameters: ``params.relevant(params, stage, item)``.
        inputs: path and digest of each artifact it was made from, as `recorded` before the work.
        companions: what the stage wrote beside it.
    """
    provenance = Provenance(
        stage=stage,
        item=item,
        format=FORMATS[stage],
        parameters=parameters,
        inputs=inputs,
        digest=file_digest(path),
        size=_size(path),
        companions={each.as_posix(): _size(each) for each in companions if each.exists()},
        companion_digests={
            each.as_posix(): file_digest(each) for each in companions if each.is_file()
        },
        command=shlex.join(["reiqa", *sys.argv[1:]]),
        revision=revision(),
    )
    write_json(sidecar(path), with_seal(asdict(provenance)))
    return provenance


def with_seal(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of JSON data and its own digest in it."""
    return {**tree, _SEAL: tree_digest(tree)}


def without_seal(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree that `with_seal` was written of; one without a digest as it is.

    Raises:
        ValueError: it says another thing than was sealed.
    """
    told = {key: value for key, value in tree.items() if key != _SEAL}
    if _SEAL in tree and tree[_SEAL] != tree_digest(told):
        raise ValueError("it does not say what was written")
    return told


def read_provenance(path: Path) -> Provenance | None:
    """Return the provenance of an artifact; None where there is none that can be read."""
    try:
        found = Provenance(**without_seal(json.loads(sidecar(path).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    trees = (found.parameters, found.inputs, found.companions, found.companion_digests)
    return found if all(isinstance(tree, dict) for tree in trees) else None


def recorded(inputs: Iterable[Path]) -> dict[str, str]:
    """Return path and digest of artifacts, from the sidecar of each.

    Raises:
        BadInputError: one has no sidecar.
    """
    digests = {}
    for path in sorted(inputs):
        made = read_provenance(path)
        if made is None:
            raise BadInputError(f"{path}: no provenance beside it; make it with its own verb first")
        digests[path.as_posix()] = made.digest
    return digests


def make(
    path: Path,
    stage: str,
    item: str,
    params: Params,
    inputs: Sequence[Path],
    work: Callable[[], object],
    force: bool = False,
    companions: Sequence[Path] = (),
) -> bool:
    """Make an artifact unless it is there and fresh, and seal it; say whether it was made.

    Args:
        path: the artifact that ``work`` writes.
        stage: a key of `FORMATS`.
        item: what the stage is given: a dataset, an expert, or both with a slash.
        params: the whole parameters; the part that matters is recorded.
        inputs: artifacts that ``work`` reads; each must be there.
        work: does it, and replaces ``path`` only when the new one is whole.
        force: make it even if it is fresh.
        companions: what ``work`` writes beside it; one that goes missing makes it stale.

    Raises:
        BadInputError: an input is missing, or not the bytes that were written.
    """
    freshness = Freshness.under(params)
    with locked(path):
        if not force and freshness.fresh(path):
            spoilt = damaged(path)
            if spoilt is None:
                say(f"{path}: up to date")
                return False
            say(f"{spoilt}: damaged (not the bytes that were written), so {path} is made anew")
        for source in inputs:
            if not source.exists():
                raise BadInputError(
                    f"{source}: not made yet, and needed for {path}; run: {layout.verb(source)}"
                )
        # Taken before the work: an input that changes meanwhile must leave the artifact stale.
        digests = recorded(inputs)
        for source in inputs:
            verified(source)
            if not freshness.fresh(source):
                say(f"{source}: taken as it is, but not what today's parameters would make")
        for part in (path, *companions):
            sweep(part)
        with _unsealed(path):
            work()
        seal(path, stage, item, relevant(params, stage, item), digests, companions)
        return True


@contextmanager
def _unsealed(path: Path) -> Iterator[None]:
    """Let an artifact count as stale while it is made; work that fails leaves it as it was."""
    made, seal_was = read_provenance(path), sidecar(path)
    kept = seal_was.read_text(encoding="utf-8") if made else ""
    seal_was.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        if made and path.exists() and file_digest(path) == made.digest:
            write_text(seal_was, kept)
        raise


def _size(path: Path) -> int:
    return 0 if path.is_dir() else path.stat().st_size


class Freshness:
    """Decides which artifacts on disk still stand under the parameters of today."""

    def __init__(self, parameters_of: ParametersOf) -> None:
        """Take a function from (stage, item) to the parameters that matter to it."""
        self._parameters_of = parameters_of
        self._known: dict[Path, bool] = {}

    @classmethod
    def under(cls, params: Params) -> "Freshness":
        """Judge by these parameters."""
        return cls(lambda stage, item: relevant(params, stage, item))

    def fresh(self, path: Path) -> bool:
        """Say whether ``path`` is there and making it anew would only repeat it.

        It is fresh if its size, parameters and format are what they should be, and each input is
        fresh and still the one it was made from. An input that is absent, as after a partial
        download, does not count against it.
        """
        if path not in self._known:
            # A spoilt sidecar may name its own artifact as an input.
            self._known[path] = False
            self._known[path] = self._decide(path)
        return self._known[path]

    def _decide(self, path: Path) -> bool:
        made = read_provenance(path)
        if made is None or made.format != FORMATS.get(made.stage):
            return False
        # Bytes are too many to be read at every look; a file cut short shows by its size.
        parts = {path: made.size, **{Path(name): size for name, size in made.companions.items()}}
        if any(not part.exists() or _size(part) != size for part, size in parts.items()):
            return False
        if dict(made.parameters) != dict(self._parameters_of(made.stage, made.item)):
            return False
        return all(self._stands(Path(source), digest) for source, digest in made.inputs.items())

    def _stands(self, source: Path, digest: str) -> bool:
        made = read_provenance(source)
        if made is None or not source.exists():
            return True
        return made.digest == digest and self.fresh(source)


def write_stamp(path: Path, parameters: Mapping[str, Any], fresh: bool) -> Path:
    """Write the stamp of an artifact: the file whose age tells an engine whether to make it.

    Its text is the artifact's parameters. Its modification time is the epoch where the artifact
    is fresh, and now where it is stale, whatever the times of the artifact itself: those mean
    nothing after a checkout.
    """
    stamp = WORK / "stamps" / f"{path.as_posix()}.json"
    text = json.dumps(parameters, indent=2, sort_keys=True) + "\n"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != text:
        write_text(stamp, text)
    os.utime(stamp, (1, 1) if fresh else None)
    return stamp


@cache
def revision() -> str:
    """Return the commit of the code that runs, ``+`` added if changed; its version if installed."""
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        # A repository further up would be the user's own.
        return f"version {metadata.version('reiqa')}"
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def sweep(path: Path) -> None:
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
