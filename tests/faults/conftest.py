"""A finished miniature project, copies of it to be disturbed, and the table of what was tried."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import disturbed, stages
from support.disturbed import Ended, Fault
from support.stages import Stage

from reiqa.store import file_digest

_PROPERTY = "fault"


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
    folder = disturbed.project(tmp_path_factory.mktemp("finished") / "project")
    # Whoever is first waits for the fork server to import everything.
    assert disturbed.run(folder, "datasets").code == 0
    made = Finished(folder, {})
    tally = folder / "work" / "tally"
    for stage in stages.ALL:
        ended = disturbed.run(folder, *stage.argv, fault=Fault(tally=tally))
        assert ended.code == 0, f"{stage.name}: {ended.said}"
        made.seconds[stage.name], made.changes[stage.name] = ended.seconds, int(tally.read_text())
        tally.unlink()
    made.contents = disturbed.contents(folder)
    return made


class Disturbed:
    """A copy of the finished project, in which verbs meet with faults."""

    def __init__(self, folder: Path, finished: Finished) -> None:
        shutil.copytree(finished.folder, folder, symlinks=True)
        self.folder, self.finished = folder, finished

    def run(self, stage: Stage, *more: str, **how: Any) -> Ended:
        return disturbed.run(self.folder, *stage.argv, *more, **how)

    def mends(self, stage: Stage) -> None:
        """The verb run again ends well, in the bytes of an undisturbed run."""
        ended = self.run(stage)
        assert ended.code == 0, f"{stage.name} run again: {ended.said}"
        self.is_as_undisturbed()

    def is_as_undisturbed(self) -> None:
        found, wanted = disturbed.contents(self.folder), self.finished.contents
        differing = {name for name in {*found, *wanted} if found.get(name) != wanted.get(name)}
        assert not differing, f"not as after an undisturbed run: {sorted(differing)}"

    def is_sound(self) -> None:
        """Nothing that would be taken for whole is anything but what its provenance names."""
        for sidecar in self.folder.rglob("*.prov.json"):
            artifact = sidecar.with_name(sidecar.name.removesuffix(".prov.json"))
            told = json.loads(sidecar.read_text())
            named = {artifact: told["digest"]}
            named |= {self.folder / name: to for name, to in told["companion_digests"].items()}
            for path, digest in named.items():
                assert file_digest(path) == digest, path


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


class Ledger:
    """Counts the faults of a test: each is tried, and then survived or refused in one line."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def __call__(self, kind: str, stage: str) -> Iterator[None]:
        self.rows[kind, stage, "tried"] += 1
        yield
        self.rows[kind, stage, "survived"] += 1


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Enters a fault into the table that stands at the end of the run."""
    ledger = Ledger()
    yield ledger
    for row, count in ledger.rows.items():
        request.node.user_properties.append((_PROPERTY, [*row, count]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[tuple[str, str, str]] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            # Entered when the fixture ends, so only the last of a test's reports has them all.
            if getattr(report, "when", "") == "teardown":
                for name, value in report.user_properties:
                    if name == _PROPERTY:
                        kind, stage, what, count = value
                        counts[kind, stage, what] += count
    if not counts:
        return
    terminalreporter.section("faults tried and survived")
    rows = sorted({(kind, stage) for kind, stage, _ in counts})
    for kind, stage in rows:
        tried, survived = (counts[kind, stage, what] for what in ("tried", "survived"))
        terminalreporter.line(f"| {kind} | {stage} | {tried} | {survived} |")
    total = [sum(n for (*_, w), n in counts.items() if w == what) for what in ("tried", "survived")]
    terminalreporter.line(f"| all | | {total[0]} | {total[1]} |")
