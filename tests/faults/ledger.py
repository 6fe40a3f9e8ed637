"""What was tried and what survived: counted by each test, kept over runs, printed as one table."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

_HEAD = ("fault", "stages", "tried", "survived", "corrupt reads")


class CorruptReadError(AssertionError):
    """Bytes that nobody wrote were taken for good."""


class Ledger:
    """Counts the faults of a test: each is tried, and then survived or not."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()

    @contextmanager
    def __call__(self, fault: str, stage: str) -> Iterator[None]:
        self.counts[fault, stage, "tried"] += 1
        try:
            yield
        except CorruptReadError:
            self.counts[fault, stage, "corrupt"] += 1
            raise
        self.counts[fault, stage, "survived"] += 1


@dataclass(frozen=True)
class Line:
    """What one test tried.

    Attributes:
        test: its node id.
        passed: as a whole.
        revision: of the code under test.
        day: UTC date at its end.
        counts: fault, stage, one of "tried", "survived" and "corrupt", and how often.
    """

    test: str
    passed: bool
    revision: str
    day: str
    counts: list[tuple[str, str, str, int]]


def line(test: str, passed: bool, revision: str, counts: Iterable[list]) -> Line:
    """Return the line of a test that has just ended."""
    day = datetime.now(UTC).date().isoformat()
    return Line(test, passed, revision, day, [tuple(count) for count in counts])


def append(path: Path, entry: Line) -> None:
    """Add a line to a file that several runs share."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(entry)) + "\n")


def read(path: Path) -> list[Line]:
    """Return the last line of each test, in order; a test that was run anew counts once."""
    last: dict[str, Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        entry = Line(**json.loads(text))
        last.pop(entry.test, None)
        last[entry.test] = entry
    return list(last.values())


def table(lines: Iterable[Line]) -> str:
    """Return the table as it stands in docs/log/faults.md."""
    lines = list(lines)
    stages: dict[str, set[str]] = defaultdict(set)
    total: Counter[tuple[str, str]] = Counter()
    for each in lines:
        for fault, stage, what, count in each.counts:
            stages[fault].add(stage)
            total[fault, what] += count
    rows = [
        (fault, str(len(stages[fault])), *(f"{total[fault, w]:,}" for w in _WHAT))
        for fault in sorted(stages)
    ]
    sums = (f"{sum(total[fault, what] for fault in stages):,}" for what in _WHAT)
    rows.append(("all", str(len(set().union(*stages.values()))), *sums))
    text = [f"| {' | '.join(row)} |" for row in (_HEAD, ("---",) * len(_HEAD), *rows)]
    return "\n".join([*text, "", _origin(lines)])


_WHAT = ("tried", "survived", "corrupt")


def _origin(lines: list[Line]) -> str:
    revisions = ", ".join(dict.fromkeys(each.revision for each in lines))
    days = " and ".join(sorted({each.day for each in lines}))
    failed = sum(not each.passed for each in lines)
    return f"{len(lines)} tests, {failed} failed; revision {revisions}; {days}."
