"""The table of what was tried counts a fault as survived only if nothing failed under it."""

from pathlib import Path

import pytest
from faults import ledger
from faults.ledger import CorruptReadError, Ledger


def _counted(*endings: Exception | None) -> list[list]:
    counted = Ledger()
    for ending in endings:
        try:
            with counted("kill", "fit"):
                if ending:
                    raise ending
        except AssertionError:
            pass
    return [[*row, count] for row, count in counted.counts.items()]


def test_a_fault_whose_test_fails_is_tried_and_not_survived() -> None:
    counts = _counted(None, AssertionError("left over"), None, CorruptReadError("other bytes"))
    text = ledger.table([ledger.line("a", False, "r1", counts)])
    assert "| kill | 1 | 4 | 2 | 1 |" in text.splitlines()


def test_a_corrupt_read_passes_on_as_the_failure_it_is() -> None:
    with pytest.raises(CorruptReadError), Ledger()("kill", "fit"):
        raise CorruptReadError("other bytes")


def test_rerunning_a_test_replaces_its_ledger_entries(tmp_path: Path) -> None:
    kept = tmp_path / "below" / "ledger.jsonl"
    failed = ledger.line("a", False, "r1", _counted(AssertionError()))
    ledger.append(kept, failed)
    ledger.append(kept, ledger.line("b", True, "r1", _counted(None)))
    ledger.append(kept, ledger.line("a", True, "r2", _counted(None, None)))
    lines = ledger.table(ledger.read(kept)).splitlines()
    assert lines[2:4] == ["| kill | 1 | 3 | 3 | 0 |", "| all | 1 | 3 | 3 | 0 |"]
    assert lines[-1].startswith("2 tests, 0 failed; revision r1, r2; ")
