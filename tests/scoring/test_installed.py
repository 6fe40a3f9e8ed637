"""``reiqa bundles``: what is installed, and how fast it is here."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reiqa.cli import app
from reiqa.errors import BadInputError
from reiqa.scoring import bundle, installed
from reiqa.scoring.scorer import Scorer


@pytest.fixture
def shipped(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two installed bundles: lite, which is the default, and tiny."""
    for name in ("tiny", "lite"):
        shutil.copytree(run.bundle, tmp_path / name)
    (tmp_path / "no bundle").mkdir()
    monkeypatch.setattr(bundle, "SHIPPED", tmp_path)
    return tmp_path


def test_every_installed_bundle_is_described_from_its_manifest(shipped: Path) -> None:
    rows = installed.list_bundles(speed=False)
    assert [(row.name, row.default) for row in rows] == [("lite", True), ("tiny", False)]
    (_, tiny) = rows
    manifest = bundle.read_manifest(shipped / "tiny")
    assert (tiny.dataset, tiny.images) == ("clive", 30)
    assert tiny.srcc == manifest.metrics[0]["variants"]["both"]["srcc"]["median"]
    assert tiny.bytes == sum(path.stat().st_size for path in (shipped / "tiny").iterdir())
    assert tiny.cpu_seconds is None


def test_speed_is_measured_on_an_image_of_the_stated_size(shipped, monkeypatch) -> None:
    sizes = []
    score = Scorer.__call__

    def counted(self: Scorer, pixels):
        sizes.append(pixels.shape)
        return score(self, pixels)

    monkeypatch.setattr(Scorer, "__call__", counted)
    rows = installed.list_bundles()
    assert set(sizes) == {(768, 1024, 3)}
    assert all(row.cpu_seconds is not None and row.cpu_seconds > 0 for row in rows)


def test_a_table_marks_the_default_and_says_what_speed_means(shipped: Path) -> None:
    shown = CliRunner().invoke(app, ["bundles", "--no-speed"])
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0].split()[:2] == ["bundle", "size"]
    assert lines[1].startswith("lite (default)") and lines[2].startswith("tiny ")
    assert "one thread" in shown.output and "1024x768" in shown.output


def test_json_has_the_same_rows(shipped: Path) -> None:
    shown = CliRunner().invoke(app, ["bundles", "--no-speed", "--format", "json"])
    rows = json.loads(shown.output)
    assert [row["name"] for row in rows] == ["lite", "tiny"]
    assert rows[1]["folder"] == str(shipped / "tiny")
    assert rows[1]["cpu_seconds"] is None


def test_a_damaged_bundle_is_named(shipped: Path) -> None:
    (shipped / "tiny" / bundle.PARTS[0]).write_bytes(b"")
    with pytest.raises(BadInputError, match=rf"tiny/{bundle.PARTS[0]}: checksum mismatch"):
        installed.list_bundles(speed=False)


def test_a_default_is_installed() -> None:
    assert installed.DEFAULT in bundle.installed_bundles()
