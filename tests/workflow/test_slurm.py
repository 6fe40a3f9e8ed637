"""The whole job on a real Slurm, and one pretraining over two of its nodes.

    pytest -m slow tests/workflow/test_slurm.py

Needs Debian's slurmctld, slurmd and slurm-client, and root; skipped elsewhere.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import slurm
from support.project import Project, tiny_parameters

from reiqa import store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.skipif(bool(slurm.missing()), reason=f"no Slurm: lacks {slurm.missing()}"),
]

# This cluster has no accounting; elsewhere the plugin asks sacct by itself.
SNAKEMAKE = (
    *("snakemake", "--workflow-profile", "profiles/slurm"),
    *("--slurm-status-command", "squeue", "--slurm-no-account"),
    *("--slurm-init-seconds-before-status-checks", "3", "--slurm-keep-successful-logs"),
)
TABLE = "results/all_srcc.csv"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def project(tmp_path: Path) -> Project:
    tree = tiny_parameters()
    tree["compute"]["device"] = "auto"
    return Project.new(tmp_path / "project", tree)


@pytest.fixture
def environment(cluster: dict[str, str], tmp_path: Path) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, cluster["PATH"]])
    return {**cluster, "PATH": path, "REIQA_FAKE_GPUS": "0,1", "REIQA_LEASES": str(tmp_path)}


def _leased(project: Project) -> dict[str, list[str]]:
    logs = (project.folder / "work/logs").rglob("*.log")
    lines = {path.name: path.read_text().splitlines() for path in logs}
    said = {
        name: [line for line in each if line.startswith("GPU ")] for name, each in lines.items()
    }
    return {name: each for name, each in said.items() if each}


def test_the_whole_job_runs_on_the_cluster_with_the_gpus_it_assigns(
    project: Project, environment: dict[str, str]
) -> None:
    printed = project.must(*SNAKEMAKE, "--", TABLE, **environment)
    assert "SLURM run ID" in printed
    assert printed.count("has been submitted with SLURM jobid") >= 15
    assert len((project.folder / TABLE).read_text().splitlines()) > 6
    leased = _leased(project)
    assert {"content.log", "quality.log", "demo-content.log"} <= set(leased)
    assert all(len(lines) == 1 for lines in leased.values())
    assert not any(
        "waiting" in path.read_text() for path in (project.folder / "work/logs").rglob("*.log")
    )
    assert project.planned() == {}


def test_one_pretraining_runs_over_two_nodes_with_two_gpus_each(
    project: Project, environment: dict[str, str]
) -> None:
    several = ("--config", "nodes=2", "gpus=2", "--", "models/quality.safetensors")
    project.must(*SNAKEMAKE, *several, **environment)
    assert sorted(_leased(project)["quality.log"]) == [
        "GPU 0 leased",
        "GPU 0 leased",
        "GPU 1 leased",
        "GPU 1 leased",
    ]
    card = store.read_json(project.folder / "models/quality.json")
    assert card["steps"] > 0
