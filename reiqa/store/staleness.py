"""Whether an artifact still stands, and making it anew where it does not."""

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
    """Make an artifact unless it is up to date, and sign it; say whether it was made.

    Args:
        path: the artifact that ``work`` writes.
        stage: a key of `STAGES`.
        item: what the stage is given: a dataset, an expert, or both with a slash.
        parameters_of: gives what decides the content besides the inputs, by stage and item
            (`reiqa.stages.lookup`).
        inputs: artifacts that ``work`` reads; each must be there.
        work: does it, and replaces ``path`` only when the new one is whole.
        force: make it even if it is fresh.
        companions: what ``work`` writes beside it; one that goes missing makes it stale.

    Raises:
        BadInputError: an input is missing, or not the bytes that were written.
    """
    freshness = Freshness(parameters_of)
    with locked(path):
        if not force and freshness.is_fresh(path):
            spoilt = find_corruption(path)
            if spoilt is None:
                log(f"{path}: up to date")
                return False
            log(f"{spoilt}: corrupted (checksum mismatch), so {path} is made again")
        for source in inputs:
            if not source.exists():
                raise BadInputError(
                    f"{source}: not made yet, and needed for {path};"
                    f" run: {stages.command_for(source)}"
                )
        # Taken before the work: an input that changes meanwhile must leave the artifact stale.
        digests = input_digests(inputs)
        for source in inputs:
            verified_digest(source)
            if not freshness.is_fresh(source):
                log(f"{source}: taken as it is, but not what today's parameters would make")
        for part in (path, *companions):
            remove_partials(part)
        with _without_sidecar(path):
            work()
        sign_sidecar(path, stage, item, resolved(parameters_of(stage, item)), digests, companions)
        return True


@contextmanager
def _without_sidecar(path: Path) -> Iterator[None]:
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


class Freshness:
    """Decides which artifacts on disk are up to date under the parameters of today."""

    def __init__(self, parameters_of: stages.ParametersOf) -> None:
        """Take a function from (stage, item) to the parameters that matter to it."""
        self._parameters_of = parameters_of
        self._known: dict[Path, str | None] = {}

    def is_fresh(self, path: Path) -> bool:
        """Say whether ``path`` exists and making it again would only repeat it."""
        return self.why_stale(path) is None

    def why_stale(self, path: Path) -> str | None:
        """Return why an artifact has to be made again; None where it is up to date.

        It is up to date if its size, parameters and format are what they should be, and each input
        is up to date and still the one it was made from. An input that is absent, as after a
        partial download, does not count against it.
        """
        if path not in self._known:
            # A corrupted sidecar may name its own artifact as an input.
            self._known[path] = "is among its own inputs"
            self._known[path] = self._decide(path)
        return self._known[path]

    def _decide(self, path: Path) -> str | None:
        if not path.exists():
            return "not made yet"
        made = read_provenance(path)
        if made is None:
            return f"no readable provenance ({sidecar(path)})"
        spec = stages.STAGES.get(made.stage)
        if spec is None or made.format != spec.format:
            return f"made by another version of the stage (format {made.format})"
        # Bytes are too many to be read at every look; a file cut short shows by its size.
        parts = {path: made.size, **{Path(name): size for name, size in made.companions.items()}}
        for part, size in parts.items():
            if not part.exists() or size_of(part) != size:
                return f"{part} is missing or has another size"
        try:
            today = self._parameters_of(made.stage, made.item)
        except (ValueError, KeyError, TypeError):
            return f"made for another item ({made.item})"
        if changed := stages.differences(made.parameters, today):
            return f"parameters changed: {', '.join(changed)}"
        for name, digest in made.inputs.items():
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
    """Write the stamp of an artifact: the file whose age tells an engine whether to make it.

    Its modification time is the epoch where the artifact is fresh, and now where it is stale,
    whatever the times of the artifact itself: those mean nothing after a checkout.

    Args:
        folder: of this engine process alone. A stamp that another process left would be newer
            than what has been made since.
        path: the artifact.
        fresh: as `Freshness.fresh` says.
    """
    stamp = folder / f"{path.as_posix()}.stamp"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    if fresh:
        os.utime(stamp, (1, 1))
    return stamp
