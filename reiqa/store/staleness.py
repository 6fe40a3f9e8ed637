"""Decide whether an artifact is up to date, and make it again if it is not."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reiqa import stages
from reiqa.devices import resolved
from reiqa.errors import BadInputError
from reiqa.progress import log
from reiqa.store.files import file_digest, locked, remove_partials, write_text
from reiqa.store.provenance import (
    find_corruption,
    input_digests,
    read_provenance,
    sidecar,
    sign_sidecar,
    size_of,
    verified_digest,
)


def make_artifact(
    path: Path,
    stage: str,
    item: str,
    parameters_of: stages.ParametersOf,
    inputs: Sequence[Path],
    work: Callable[[], object],
    force: bool = False,
    companions: Sequence[Path] = (),
) -> bool:
    """Make an artifact and its sidecar unless it is up to date; return whether it was made.

    Args:
        path: the artifact that ``work`` writes.
        stage: a key of `STAGES`.
        item: item of the stage: a dataset, an expert, or both separated by a slash.
        parameters_of: returns the parameters that the content depends on, by stage and item
            (`reiqa.stages.lookup`).
        inputs: artifacts that ``work`` reads; each must exist.
        work: makes the artifact and replaces ``path`` only with a complete file.
        force: make the artifact even if it is up to date.
        companions: companion outputs of ``work``; a missing one makes the artifact stale.

    Raises:
        BadInputError: an input is missing or corrupted.
    """
    freshness = Freshness(parameters_of)
    with locked(path):
        if not force and freshness.is_fresh(path):
            corrupted = find_corruption(path)
            if corrupted is None:
                log(f"{path}: up to date")
                return False
            log(f"{corrupted}: corrupted (checksum mismatch); making {path} again")
        for source in inputs:
            if not source.exists():
                raise BadInputError(
                    f"{source}: not found, but needed for {path}. Run: {stages.command_for(source)}"
                )
        # Recorded before the work, so that an input that changes meanwhile makes it stale.
        parameters, digests = resolved(parameters_of(stage, item)), input_digests(inputs)
        for source in inputs:
            verified_digest(source)
            if not freshness.is_fresh(source):
                log(f"{source}: used although it is stale under the current parameters")
        for part in (path, *companions):
            remove_partials(part)
        with _without_sidecar(path):
            work()
        sign_sidecar(path, stage, item, parameters, digests, companions)
        return True


@contextmanager
def _without_sidecar(path: Path) -> Iterator[None]:
    """Remove the sidecar while the artifact is made; restore it if the work fails."""
    provenance, sidecar_path = read_provenance(path), sidecar(path)
    text = sidecar_path.read_text(encoding="utf-8") if provenance else ""
    sidecar_path.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        if provenance and path.exists() and file_digest(path) == provenance.digest:
            write_text(sidecar_path, text)
        raise


class Freshness:
    """Decides which artifacts on disk are up to date under the current parameters."""

    def __init__(self, parameters_of: stages.ParametersOf) -> None:
        """Create from a function that maps (stage, item) to the parameters it depends on."""
        self._parameters_of = parameters_of
        self._known: dict[Path, str | None] = {}

    def is_fresh(self, path: Path) -> bool:
        """Return whether an artifact exists and is up to date."""
        return self.why_stale(path) is None

    def why_stale(self, path: Path) -> str | None:
        """Return why an artifact is stale, or None if it is up to date.

        An artifact is up to date if its size, parameters and format match its provenance, and each
        input is up to date and has the recorded digest. A missing input, for example after a
        partial download, does not make it stale.
        """
        if path not in self._known:
            # A corrupted sidecar may name its own artifact as an input.
            self._known[path] = "is among its own inputs"
            self._known[path] = self._decide(path)
        return self._known[path]

    def _decide(self, path: Path) -> str | None:
        if not path.exists():
            return "not made yet"
        provenance = read_provenance(path)
        if provenance is None:
            return f"no readable provenance ({sidecar(path)})"
        spec = stages.STAGES.get(provenance.stage)
        if spec is None or provenance.format != spec.format:
            return f"made by another version of the stage (format {provenance.format})"
        # Reading all bytes here would be too slow; the size detects truncated files.
        parts = {
            path: provenance.size,
            **{Path(name): size for name, size in provenance.companions.items()},
        }
        for part, size in parts.items():
            if not part.exists() or size_of(part) != size:
                return f"{part} is missing or has another size"
        try:
            current = self._parameters_of(provenance.stage, provenance.item)
        except (ValueError, KeyError, TypeError):
            return f"made for another item ({provenance.item})"
        if changed := stages.differences(provenance.parameters, current):
            return f"parameters changed: {', '.join(changed)}"
        for name, digest in provenance.inputs.items():
            source = Path(name)
            origin = read_provenance(source)
            if origin is None or not source.exists():
                continue
            if origin.digest != digest:
                return f"input changed: {source}"
            if not self.is_fresh(source):
                return f"input is stale: {source}"
        return None


def write_stamp(folder: Path, path: Path, fresh: bool) -> Path:
    """Write the stamp of an artifact, whose modification time triggers the workflow engine.

    The time is the epoch if the artifact is up to date, and now if it is stale. The modification
    time of the artifact itself is not used, because it is meaningless after a checkout.

    Args:
        folder: stamp folder of this engine process only. A stamp from another process would be
            newer than artifacts that were made since.
        path: the artifact.
        fresh: result of `Freshness.is_fresh`.
    """
    # A folder for each: Snakemake lists a folder once, and takes for absent what is added later.
    stamp = folder / path / f"{path.name}.stamp"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    if fresh:
        os.utime(stamp, (1, 1))
    return stamp
