"""Provenance sidecars: how each artifact was made, and the digests to verify it."""

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

# Key of the digest over all other keys.
_CHECKSUM = "checksum"


@dataclass(frozen=True)
class Provenance:
    """How an artifact was made.

    Attributes:
        stage: name of the stage.
        item: item of the stage: a dataset, an expert, or both separated by a slash.
        format: format number of the stage at that time.
        parameters: the part of params.yaml that the content depends on.
        inputs: path and digest of each input artifact.
        digest: SHA-256 of the artifact.
        size: size of the artifact in bytes.
        companions: path and size in bytes of each companion output (0 for a folder).
        command: command line of ``reiqa``.
        revision: commit of the code, with a ``+`` suffix for uncommitted changes.
        companion_digests: SHA-256 of each companion that is a file; empty in older sidecars.
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
    """Return the path of the sidecar of ``path``."""
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
        item: item of the stage.
        parameters: parameters that the content depends on, with ``auto`` resolved.
        inputs: path and digest of each input, from `input_digests` before the work.
        companions: companion outputs of the stage.
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
    """Return a copy of a JSON object with its own digest added."""
    return {**tree, _CHECKSUM: tree_digest(tree)}


def verify_checksum(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object without its checksum, after verifying the checksum if it has one.

    Raises:
        ValueError: the checksum does not match.
    """
    content = {key: value for key, value in tree.items() if key != _CHECKSUM}
    if _CHECKSUM in tree and tree[_CHECKSUM] != tree_digest(content):
        raise ValueError("checksum mismatch")
    return content


def read_provenance(path: Path) -> Provenance | None:
    """Return the provenance of an artifact, or None if there is no valid sidecar."""
    try:
        found = Provenance(**verify_checksum(json.loads(sidecar(path).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    trees = (found.parameters, found.inputs, found.companions, found.companion_digests)
    return found if all(isinstance(tree, dict) for tree in trees) else None


def input_digests(inputs: Iterable[Path]) -> dict[str, str]:
    """Return the path and digest of each artifact, read from its sidecar.

    Raises:
        BadInputError: an artifact has no sidecar.
    """
    digests = {}
    for path in sorted(inputs):
        provenance = read_provenance(path)
        if provenance is None:
            raise BadInputError(
                f"{path}: provenance sidecar missing; make the artifact with its own command first"
            )
        digests[path.as_posix()] = provenance.digest
    return digests


def verified_digest(path: Path) -> str:
    """Return the SHA-256 of an artifact after verifying it and its companions.

    The files are read again; digests of large files are cached (see `files.current_digest`).

    Raises:
        BadInputError: a file does not match the digest in the provenance.
    """
    corrupted = find_corruption(path)
    if corrupted is not None:
        raise BadInputError(
            f"{corrupted}: corrupted (checksum mismatch). Delete it and run:"
            f" {stages.command_for(path)}"
        )
    return current_digest(path)


def find_corruption(path: Path) -> Path | None:
    """Return the first file of an artifact and its companions that fails its digest.

    Returns None if all files match, or if there is no provenance.
    """
    provenance = read_provenance(path)
    if provenance is None:
        return None
    expected = {path: provenance.digest}
    expected |= {Path(name): digest for name, digest in provenance.companion_digests.items()}
    for part, digest in expected.items():
        if not part.is_file() or current_digest(part) != digest:
            return part
    return None


def size_of(path: Path) -> int:
    """Return the size of a file in bytes as recorded in a sidecar; 0 for a folder."""
    return 0 if path.is_dir() else path.stat().st_size


@cache
def revision() -> str:
    """Return the git commit of the code, with ``+`` if modified, or the installed version."""
    here = Path(reiqa.__file__).parent
    if not (here.parent / ".git").exists():
        # A repository in a parent folder would be the user's own.
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
