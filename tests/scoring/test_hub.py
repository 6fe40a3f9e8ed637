"""A bundle by its hub address, from a local server that answers like the hub."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_hub import FakeHub, Repository

from reiqa.errors import BadInputError
from reiqa.scoring import hub as hub_module
from reiqa.scoring.bundle import MANIFEST, PARTS, load_bundle

pytest.importorskip("huggingface_hub")

ADDRESS = "hf://someone/scorer"

# Environment variables take effect when huggingface_hub is imported, hence processes of their own.
LOAD = """
import sys, time
time.sleep = lambda seconds: None  # huggingface_hub retries with pauses
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.scoring.bundle import load_bundle
failed = 0
for address in sys.argv[1:]:
    try:
        found = load_bundle(address)
        print(found.folder)
        print(found.digest)
    except (BadInputError, WorkFailedError) as error:
        failed = 1
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
sys.exit(failed)
"""


@pytest.fixture
def files(run) -> dict[str, bytes]:
    """Files of a bundle, and others that a repository may hold."""
    own = {path.name: path.read_bytes() for path in run.bundle.iterdir()}
    return {**own, "README.md": b"# a scorer", "model.pkl": b"harm", ".gitattributes": b""}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[FakeHub]:
    """The server with one repository, whose branch main has one commit."""
    server = FakeHub()
    server.repositories["someone/scorer"] = Repository()
    server.repositories["someone/scorer"].commit(files)
    yield server
    server.close()


@pytest.fixture
def load(hub: FakeHub, tmp_path: Path):
    """Load bundles in a process of their own; return the lines of its output or of its errors."""

    def run_process(*addresses: str, fails: str = "", **environment: str) -> list[str]:
        asked = addresses or (ADDRESS,)
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), **environment}
        done = subprocess.run(
            [sys.executable, "-c", LOAD, *asked],
            env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(done.returncode) == bool(fails), done.stderr
        if fails:
            told = done.stderr.splitlines()[-len(asked) :]
            expected = [f"{fails}: {address}: " for address in asked]
            assert all(map(str.startswith, told, expected)), done.stderr
        return (done.stderr if fails else done.stdout).splitlines()

    return run_process


def test_a_bundle_is_loaded_from_the_hub_with_its_own_files_only(run, hub, load) -> None:
    _, digest = load()
    assert digest == load_bundle(run.bundle).digest
    assert hub.files_asked() == {MANIFEST, *PARTS}


def test_a_second_load_downloads_nothing(hub, load) -> None:
    first = load()
    hub.asked.clear()
    assert load() == first
    assert hub.downloads() == []


def test_the_cache_is_used_without_a_connection(hub, load) -> None:
    first = load()
    assert load(HF_HUB_OFFLINE="1") == first
    hub.close()
    assert load() == first


def test_what_is_not_in_the_cache_needs_a_connection(load) -> None:
    (line,) = load(fails="WorkFailedError", HF_HUB_OFFLINE="1")
    assert "not in the cache" in line and "HF_HUB_OFFLINE" in line


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, load, files) -> None:
    refs = ("v1", "users/me", "refs/pr/1")
    commits = [hub.repositories["someone/scorer"].commit(files, ref) for ref in refs]
    hub.repositories["someone/scorer"].commit({**files, MANIFEST: b"{}"})
    found = load(*(f"{ADDRESS}@{revision}" for revision in (*refs, *commits)))
    assert [Path(folder).name for folder in found[::2]] == [*commits, *commits]
    load(fails="BadInputError")


def test_all_parts_come_from_the_commit_of_the_manifest(hub, load, files) -> None:
    load()
    repository = hub.repositories["someone/scorer"]
    commit = repository.commit(files, "v2")
    hub.asked.clear()
    load(f"{ADDRESS}@v2")
    parts = [path for _, path in hub.asked if "/resolve/" in path and not path.endswith(MANIFEST)]
    assert parts and all(f"/resolve/{commit}/" in path for path in parts)


def test_what_the_hub_does_not_have_is_one_line_each(hub, load, files) -> None:
    for access in ("private", "gated"):
        hub.repositories[f"someone/{access}"] = Repository(access=access)
    hub.repositories["someone/empty"] = Repository()
    hub.repositories["someone/empty"].commit({"README.md": b"nothing"})
    hub.repositories["someone/partial"] = Repository()
    hub.repositories["someone/partial"].commit(
        {name: data for name, data in files.items() if name != PARTS[-1]}
    )
    said = {
        f"{ADDRESS}@v9": "no such revision",
        "hf://someone/other": "no such repository",
        "hf://someone/private": "no such repository",
        "hf://someone/gated": "access is restricted",
        "hf://someone/empty": f"no file {MANIFEST}",
        "hf://someone/partial": f"no file {PARTS[-1]}",
        "hf://some--one/scorer": "Cannot have -- or ..",
    }
    lines = load(*said, fails="BadInputError")
    assert len(lines) == len(said)
    for line, words in zip(lines, said.values(), strict=True):
        assert words in line


def test_a_part_that_does_not_match_the_manifest_is_refused(hub, load, files) -> None:
    changed = bytearray(files[PARTS[0]])
    changed[-1] ^= 1
    hub.repositories["someone/scorer"].commit({**files, PARTS[0]: bytes(changed)})
    (line,) = load(fails="BadInputError")
    assert f"{PARTS[0]}: checksum mismatch" in line


def test_a_manifest_of_another_format_is_refused_before_the_parts(hub, load, files) -> None:
    newer = json.dumps({**json.loads(files[MANIFEST]), "format": 99}).encode()
    hub.repositories["someone/scorer"].commit({**files, MANIFEST: newer})
    (line,) = load(fails="BadInputError")
    assert "format 99 is newer" in line
    assert hub.files_asked() == {MANIFEST}


def test_a_damaged_file_in_the_cache_is_downloaded_again(hub, load) -> None:
    folder = Path(load()[0])
    blob = (folder / PARTS[0]).resolve()
    blob.write_bytes(blob.read_bytes()[:-1])
    hub.asked.clear()
    load()
    assert hub.downloads() == [PARTS[0]]


@pytest.mark.parametrize("status", [418, 503])
def test_an_error_of_the_server_is_reported(hub, load, status: int) -> None:
    hub.failing = status
    assert str(status) in load(fails="WorkFailedError")[-1]


def test_a_hub_that_is_not_reachable_is_named(hub, load) -> None:
    hub.close()
    line = load(fails="WorkFailedError")[-1]
    assert hub.url in line and "Connection refused" in line


def test_a_cache_that_is_not_writable_is_named(load, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (line,) = load(fails="BadInputError", HF_HOME=str(tmp_path / "file"))
    assert str(tmp_path / "file") in line and "set HF_HOME" in line


@pytest.mark.parametrize(
    "address",
    [
        *("hf://", "hf://scorer", "hf://a/b/c", "hf://a/b@", "hf://a/b@../../x", "hf://a/../b"),
        *("hf://a b/c", "hf:///b", "hf://a/b@-x", "hf://a/b\n", "hf://a/b@v1/", "hf://ä/b"),
    ],
)
def test_an_invalid_address_is_refused_without_a_request(address: str) -> None:
    with pytest.raises(BadInputError, match=r"expected hf://USER/REPO"):
        load_bundle(address)


def test_a_missing_package_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadInputError, match=r"^hf://a/b: .*pip install 'reiqa\[hub\]'$"):
        hub_module.fetch_bundle("hf://a/b")


def test_the_command_line_scores_with_a_bundle_from_the_hub(run, hub, tmp_path: Path) -> None:
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "reiqa", "score", str(run.photographs[0]), "--format", "csv"]
    found = [
        subprocess.run(
            [*command, "--bundle", bundle],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for bundle in (ADDRESS, str(run.bundle))
    ]
    assert found[0] == found[1] and "tiny-" in found[0]
