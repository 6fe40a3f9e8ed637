"""Where all is done, the engines find that out from a few small files."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.finished import finish
from support.project import ROOT, Project

from reiqa import params, store
from reiqa.stages import lookup

PAPER = yaml.safe_load((ROOT / "reiqa" / "presets" / "paper.yaml").read_text())


@pytest.fixture
def finished(tmp_path: Path) -> Project:
    """The paper preset with each of its artifacts, and one expert from a checkpoint."""
    tree = {**PAPER, "content": {"source": "import", "file": "moco.pth"}}
    project = Project.new(tmp_path / "project", tree)
    (project.folder / "moco.pth").write_bytes(b"weights")
    assert finish(project) > 150
    return project


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes were read for a digest."""
    names: list[str] = []
    digest = hashlib.file_digest

    def counted(stream: Any, kind: str) -> Any:
        names.append(stream.name)
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return names


def test_staleness_reads_the_bytes_of_an_imported_checkpoint_once_and_of_no_artifact(
    finished: Project, read: list[str]
) -> None:
    with contextlib.chdir(finished.folder):
        tree = params.load_params(Path("params.yaml"))
        sidecars = Path().rglob("*.prov.json")
        artifacts = [path.with_name(path.name.removesuffix(".prov.json")) for path in sidecars]
        for _ in range(2):
            freshness = store.Freshness(lookup(tree))
            assert {freshness.is_fresh(path) for path in artifacts} == {True}
    assert read.count("moco.pth") <= 1
    assert set(read) <= {"moco.pth"}


def test_another_checkpoint_of_the_same_name_is_seen(finished: Project) -> None:
    with contextlib.chdir(finished.folder):
        tree = params.load_params(Path("params.yaml"))
        model = Path("models/content.safetensors")
        assert store.Freshness(lookup(tree)).is_fresh(model)
        Path("moco.pth").write_bytes(b"others!")
        assert not store.Freshness(lookup(tree)).is_fresh(model)


def test_an_engine_at_a_finished_graph_has_nothing_to_do_and_leaves_torch_alone(
    finished: Project,
) -> None:
    seen = finished.must("snakemake", "-n", "results/all_srcc.csv", PYTHONPROFILEIMPORTTIME="1")
    assert "Nothing to be done" in seen
    assert "provenance/metadata" not in seen, (
        "no record in .snakemake, as after a clone, is no fault"
    )
    imported = {line.rpartition("|")[2].strip() for line in seen.splitlines() if "|" in line}
    assert "reiqa.store" in imported
    assert not imported & {"torch", "h5py", "scipy", "sklearn", "matplotlib", "skimage"}
