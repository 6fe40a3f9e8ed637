"""What all tests share: one thread, and the local photographs where there are some."""

import os
from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the engines' tests first: each of their groups keeps one worker busy for minutes."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)
