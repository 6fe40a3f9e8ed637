"""Finished projects, each made once a session; a test that changes one works on a copy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.project import Project

TABLE = "results/all_srcc.csv"


@pytest.fixture(scope="session")
def by_snakemake(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that Snakemake ran from nothing on two cores."""
    project = Project.new(tmp_path_factory.mktemp("snakemake") / "project")
    project.must("snakemake", "--cores", "2", "--resources", "gpu=1", "--", TABLE)
    return project


@pytest.fixture(scope="session")
def by_dvc(by_snakemake: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that DVC ran, its outputs pushed to a folder beside it.

    Data and experts are there beforehand; on a stub, DVC makes them from nothing.
    """
    folder = tmp_path_factory.mktemp("dvc")
    project = Project.new(folder / "project")
    for name in ("data", "models"):
        shutil.copytree(by_snakemake.folder / name, project.folder / name)
    project.must("dvc", "repro")
    project.commit("The results")
    project.must("dvc", "remote", "add", "--local", "-d", "shelf", str(folder / "shelf"))
    project.must("dvc", "push")
    return project


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Project], Project]:
    """Copy a finished project, to be changed freely."""

    def _copied(project: Project) -> Project:
        shutil.copytree(project.folder, tmp_path / "copy", symlinks=True)
        return Project(tmp_path / "copy")

    return _copied


@pytest.fixture
def pulled(by_dvc: Project, tmp_path: Path) -> Project:
    """A fresh clone of the project that DVC ran, with its outputs pulled."""
    clone = by_dvc.clone(tmp_path / "clone")
    shelf = str(by_dvc.folder.parent / "shelf")
    clone.must("dvc", "remote", "add", "--local", "-d", "shelf", shelf)
    clone.must("dvc", "pull")
    return clone
