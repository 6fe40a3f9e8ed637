"""A project folder, a catalog that a test may change, and a server that misbehaves."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.archive_server import Server

from reiqa import catalog
from reiqa.catalog import DatasetEntry, Source, SourceFile
from reiqa.data.sources import RetryPolicy


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, which is the current one."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("REIQA_MIRROR", raising=False)
    return folder


@pytest.fixture
def patience() -> RetryPolicy:
    """Gives a source up within a second."""
    return RetryPolicy(silence=0.5, tries=2, pause=0.0, floor=200_000.0, window=0.2)


@pytest.fixture
def change_catalog(monkeypatch: pytest.MonkeyPatch) -> Callable[[DatasetEntry], DatasetEntry]:
    """Puts an entry into the catalog for the length of a test."""
    entries = dict(catalog.load_catalog())
    monkeypatch.setattr(catalog, "load_catalog", lambda: entries)

    def change(entry: DatasetEntry) -> DatasetEntry:
        entries[entry.name] = entry
        return entry

    return change


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def small_set(
    server: Server, change_catalog: Callable[[DatasetEntry], DatasetEntry]
) -> Callable[..., DatasetEntry]:
    """Makes a set of three images whose archives the server offers under the given paths."""

    def make(*paths: str, **fields: object) -> DatasetEntry:
        sources = tuple(Source(url=server.url + path) for path in paths)
        return change_catalog(
            DatasetEntry(
                name="small",
                title="Small",
                kind="corpus",
                authentic=True,
                images=3,
                citation="none",
                licence="none",
                folders=("small", "Small"),
                parts=(SourceFile(sources=sources),),
                **fields,
            )
        )

    return make
