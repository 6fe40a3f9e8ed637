"""Killed at any moment, the engine or a verb, the next run ends where an undisturbed one does."""

import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.ledger import Ledger
from support.project import Project

from reiqa.store import file_digest

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]

#: What the engine is told to make: the kills come before a run reaches what is made of these.
MODELS = ("models/content.safetensors", "models/quality.safetensors")
MADE = (*MODELS, "data/index/demo_corpus.csv", "data/chunks/demo_corpus/shard-00001.h5")


def _kill_after(project: Project, seconds: float, *command: str) -> None:
    """Start a command in a process group of its own and kill the whole group after a time."""
    running = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def _assert_no_partial_file(project: Project) -> None:
    """Nothing half-written has the name of an artifact: all there is passes its own provenance."""
    for sidecar in project.folder.rglob("*.prov.json"):
        artifact = sidecar.with_name(sidecar.name.removesuffix(".prov.json"))
        assert file_digest(artifact) == json.loads(sidecar.read_text())["digest"], artifact


def test_an_engine_killed_again_and_again_ends_in_the_same_bytes(
    by_snakemake: Project, fault: Ledger, tmp_path: Path
) -> None:
    project = Project.new(tmp_path / "killed")
    with ExitStack() as held:
        for seconds in (4, 9, 14):
            _kill_after(project, seconds, "snakemake", "--cores", "2", "--", *MODELS)
            held.enter_context(fault("SIGKILL to an engine and its jobs, by time", "snakemake"))
        project.must("snakemake", "--cores", "1", "--", *MODELS)
        _assert_no_partial_file(project)
        for name in MADE:
            ours = (project.folder / name).read_bytes()
            assert ours == (by_snakemake.folder / name).read_bytes(), name


def test_two_engines_at_once_make_each_artifact_once_and_whole(
    by_snakemake: Project, tmp_path: Path
) -> None:
    project = Project.new(tmp_path / "twice")
    command = ("snakemake", "--cores", "1", "--", "all_chunks")
    both = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    for running in both:
        running.wait()
    project.must(*command)
    ours = (project.folder / "data/chunks/demo_corpus/shard-00001.h5").read_bytes()
    assert ours == (by_snakemake.folder / "data/chunks/demo_corpus/shard-00001.h5").read_bytes()
