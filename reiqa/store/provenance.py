"""The sidecar of each artifact: what made it, of what, and the digests that it is held to."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import reiqa
from reiqa import stages
from reiqa.errors import BadInputError
from reiqa.params import tree_digest
from reiqa.store.files import current_digest, file_digest, write_json

# Key of the digest of all else that a file says.
_CHECKSUM = "checksum"


@dataclass(frozen=True)
class Provenance:
    """Where an artifact comes from.

    Attributes:
        stage: which stage made it.
        item: what the stage was given: a dataset, an expert, or both with a slash.
        format: of the stage at that time.
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


def sign_sidecar(
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
        stage: the stage that made it; a key of `STAGES`.
        item: what the stage was given.
        parameters: what decides the content besides the inputs, ``auto`` resolved.
        inputs: path and digest of each artifact it was made from, as `recorded` before the work.
        companions: what the stage wrote beside it.
    """
    provenance = Provenance(
        stage=stage,
        item=item,
        format=stages.STAGES[stage].format,
        parameters=parameters,
        inputs=inputs,
        digest=file_digest(path),
        size=size_of(path),
        companions={each.as_posix(): size_of(each) for each in companions if each.exists()},
        companion_digests={
            each.as_posix(): file_digest(each) for each in companions if each.is_file()
        },
        command=shlex.join(["reiqa", *sys.argv[1:]]),
        revision=revision(),
    )
    write_json(sidecar(path), add_checksum(asdict(provenance)))
    return provenance


def add_checksum(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of JSON data and its own digest in it."""
    return {**tree, _CHECKSUM: tree_digest(tree)}


def verify_checksum(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree that `with_seal` was written of; one without a digest as it is.

    Raises:
        ValueError: the digest does not match.
    """
    told = {key: value for key, value in tree.items() if key != _CHECKSUM}
    if _CHECKSUM in tree and tree[_CHECKSUM] != tree_digest(told):
        raise ValueError("checksum mismatch")
    return told


def read_provenance(path: Path) -> Provenance | None:
    """Return the provenance of an artifact; None where there is none that can be read."""
    try:
        found = Provenance(**verify_checksum(json.loads(sidecar(path).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    trees = (found.parameters, found.inputs, found.companions, found.companion_digests)
    return found if all(isinstance(tree, dict) for tree in trees) else None


def input_digests(inputs: Iterable[Path]) -> dict[str, str]:
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


def verified_digest(path: Path) -> str:
    """Return the SHA-256 of an artifact's bytes, which are those that were sealed.

    What was written beside it is held to its own digests. Bytes are read now, large files once in
    a process as long as nobody writes to them.

    Raises:
        BadInputError: there is provenance, and it names other bytes.
    """
    spoilt = find_corruption(path)
    if spoilt is not None:
        raise BadInputError(
            f"{spoilt}: damaged (not the bytes that were written); delete it and run:"
            f" {stages.command_for(path)}"
        )
    return current_digest(path)


def find_corruption(path: Path) -> Path | None:
    """Return the part of an artifact that is not what was sealed: itself, or what lies beside.

    None where all is, and where there is no provenance to tell.
    """
    made = read_provenance(path)
    if made is None:
        return None
    sealed = {path: made.digest}
    sealed |= {Path(name): digest for name, digest in made.companion_digests.items()}
    for part, digest in sealed.items():
        if not part.is_file() or current_digest(part) != digest:
            return part
    return None


def size_of(path: Path) -> int:
    """Return the bytes of a file as a sidecar has them; a folder has 0."""
    return 0 if path.is_dir() else path.stat().st_size


@cache
def revision() -> str:
    """Return the commit of the code that runs, ``+`` added if changed; its version if installed."""
    here = Path(reiqa.__file__).parent
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
