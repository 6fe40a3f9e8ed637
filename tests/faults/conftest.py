"""A finished miniature project, and copies of it to be disturbed."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from faults.ledger import CorruptReadError
from support import fault_injection, stages
from support.fault_injection import Ended, Fault
from support.stages import Stage

from reiqa.store import file_digest


@dataclass
class Finished:
    """A project in which every verb has run undisturbed.

    Attributes:
        folder: the project.
        contents: digest of every file that the verbs made, and of what they were made from.
        seconds: how long each stage took.
        changes: how often each stage changed the disk.
    """

    folder: Path
    contents: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = fault_injection.project(tmp_path_factory.mktemp("finished") / "project")
    # Whoever is first waits for the fork server to import everything.
    assert fault_injection.run(folder, "datasets").code == 0
    made = Finished(folder, {})
    tally = folder / "work" / "tally"
    for stage in stages.ALL:
        ended = fault_injection.run(folder, *stage.argv, fault=Fault(tally=tally))
        assert ended.code == 0, f"{stage.name}: {ended.said}"
        made.seconds[stage.name], made.changes[stage.name] = ended.seconds, int(tally.read_text())
        tally.unlink()
    made.contents = fault_injection.contents(folder)
    return made


class Disturbed:
    """A copy of the finished project, in which verbs meet with faults."""

    def __init__(self, folder: Path, finished: Finished) -> None:
        shutil.copytree(finished.folder, folder, symlinks=True)
        self.folder, self.finished = folder, finished

    def run(self, stage: Stage, *more: str, **how: Any) -> Ended:
        return fault_injection.run(self.folder, *stage.argv, *more, **how)

    def mends(self, stage: Stage) -> None:
        """The verb run again ends well, in the bytes of an undisturbed run."""
        ended = self.run(stage)
        assert ended.code == 0, f"{stage.name} run again: {ended.said}"
        self.is_as_undisturbed()

    def is_as_undisturbed(self) -> None:
        found, wanted = fault_injection.contents(self.folder), self.finished.contents
        other = sorted(name for name in found if found[name] != wanted.get(name, found[name]))
        if other:
            raise CorruptReadError(f"not the bytes of an undisturbed run: {other}")
        differing = found.keys() ^ wanted.keys()
        assert not differing, f"not as after an undisturbed run: {sorted(differing)}"
        left = [path for path in self.folder.rglob("*.part-*") if path.is_file()]
        assert not left, f"left over: {left}"

    def is_sound(self) -> None:
        """Nothing that would be taken for whole is anything but what its provenance names."""
        for sidecar in self.folder.rglob("*.prov.json"):
            artifact = sidecar.with_name(sidecar.name.removesuffix(".prov.json"))
            told = json.loads(sidecar.read_text())
            named = {artifact: told["digest"]}
            named |= {self.folder / name: to for name, to in told["companion_digests"].items()}
            for path, digest in named.items():
                if file_digest(path) != digest:
                    raise CorruptReadError(f"{path} is not what its provenance names")


@pytest.fixture
def disturb(finished: Finished, tmp_path: Path) -> Callable[..., Disturbed]:
    """Make a copy of the finished project, in this test's folder or in another."""

    def make(folder: Path | None = None) -> Disturbed:
        return Disturbed(folder or tmp_path / "project", finished)

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for a project; skips where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs a disk of its own: no mount on this machine")
    if mounted.returncode:
        pytest.skip(f"needs a disk of its own: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
