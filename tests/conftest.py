"""What all tests share: one thread, the local photographs, and the table of faults tried."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import ledger
from faults.ledger import Ledger

from reiqa.store import revision

_PROPERTY = "fault"

# Before torch is first imported anywhere: tests run side by side, each on one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder of real photographs, as `reiqa fetch --mirror` takes it."""
    named = os.environ.get("REIQA_MIRROR")
    if not named:
        pytest.skip("needs real photographs: set REIQA_MIRROR to a folder laid out as the sources")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"REIQA_MIRROR names {folder}, which is not a folder")
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, to which the process has moved."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def one_thread() -> None:
    """No more threads than that for torch, whatever the environment or another test has set."""
    import torch

    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the engines' tests first: each of their groups keeps one worker busy for minutes."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Enters a fault into the table that stands at the end of the run."""
    counted = Ledger()
    yield counted
    rows = [[*row, count] for row, count in counted.counts.items()]
    request.node.user_properties.append((_PROPERTY, rows))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ledger", type=Path, help="file that keeps what the fault suite tried, run after run"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Book(config.getoption("ledger")))


class _Book:
    """Keeps what each test tried, at once, and prints the table of it at the end."""

    def __init__(self, kept: Path | None) -> None:
        self._kept, self._lines, self._failed = kept, [], set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)
        # Entered when the fixture ends, so only the last of a test's reports has them all.
        found = dict(report.user_properties).get(_PROPERTY)
        if report.when == "teardown" and found is not None:
            passed = report.nodeid not in self._failed
            self._lines.append(ledger.line(report.nodeid, passed, revision(), found))
            if self._kept is not None:
                ledger.append(self._kept, self._lines[-1])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = self._lines if self._kept is None else ledger.read(self._kept)
        if lines:
            terminalreporter.section("faults tried and survived")
            terminalreporter.line(ledger.table(lines))
