"""Whether an artifact still stands, and making it anew where it does not."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reiqa import layout
from reiqa.devices import resolved
from reiqa.errors import BadInputError
from reiqa.params import same
from reiqa.progress import log
from reiqa.store.files import file_digest, locked, remove_partials, write_text
from reiqa.store.provenance import (
    FORMATS,
    find_corruption,
    read_provenance,
    input_digests,
    sign_sidecar,
    sidecar,
    size_of,
    verified_digest,
)

ParametersOf = Callable[[str, str], Mapping[str, Any]]


def make_artifact(
    path: Path,
    stage: str,
    item: str,
    parameters_of: ParametersOf,
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
        parameters_of: gives what decides the content besides the inputs, by stage and item
            (`reiqa.identity.under`).
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
            log(f"{spoilt}: damaged (not the bytes that were written), so {path} is made anew")
        for source in inputs:
            if not source.exists():
                raise BadInputError(
                    f"{source}: not made yet, and needed for {path}; run: {layout.command(source)}"
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
    """Decides which artifacts on disk still stand under the parameters of today."""

    def __init__(self, parameters_of: ParametersOf) -> None:
        """Take a function from (stage, item) to the parameters that matter to it."""
        self._parameters_of = parameters_of
        self._known: dict[Path, bool] = {}

    def is_fresh(self, path: Path) -> bool:
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
        if any(not part.exists() or size_of(part) != size for part, size in parts.items()):
            return False
        if not same(made.parameters, self._parameters_of(made.stage, made.item)):
            return False
        return all(self._is_unchanged(Path(source), digest) for source, digest in made.inputs.items())

    def _is_unchanged(self, source: Path, digest: str) -> bool:
        made = read_provenance(source)
        if made is None or not source.exists():
            return True
        return made.digest == digest and self.is_fresh(source)


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
