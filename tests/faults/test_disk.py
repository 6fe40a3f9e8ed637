"""A disk that is full, or may not be written to, ends a verb in one line and costs nothing else."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import stages
from support.fault_injection import Fault, refused
from support.stages import Stage

pytestmark = [pytest.mark.xdist_group("faults")]

#: Bytes that are left on a full disk: none, some for a file's head, some for half of the work.
_LEFT = (0, 16_384, 300_000)


def _fill(disk: Path, left: int) -> Path:
    """Fill a disk but for so many bytes."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    free = state.f_bavail * state.f_frsize
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, free - left))
    return ballast


def _meets_full_disk(
    disturb: Callable, fault: Callable, disk: Path, stage: Stage, amounts: tuple[int, ...]
) -> None:
    project = disturb(disk / "project")
    for left in amounts:
        stage.undo(project.folder)
        ballast = _fill(disk, left)
        ended = project.run(stage)
        ballast.unlink()
        if ended.code == 0:
            continue  # so little was enough
        with fault("disk full", stage.name):
            refused(ended)
            project.is_sound()
            project.mends(stage)


@pytest.mark.parametrize("name", ["index demo", "chunks", "fit demo"])
def test_a_full_disk_ends_a_cheap_verb_in_one_line(disturb, fault, small_disk, name):
    _meets_full_disk(disturb, fault, small_disk, stages.named(name), _LEFT[:2])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", stages.EACH, ids=lambda stage: stage.name)
def test_a_full_disk_ends_any_verb_in_one_line(disturb, fault, small_disk, stage):
    _meets_full_disk(disturb, fault, small_disk, stage, _LEFT)


def _meets_limit(disturb: Callable, fault: Callable, stage: Stage, length: int) -> None:
    project = disturb()
    stage.undo(project.folder)
    ended = project.run(stage, fault=Fault(no_file_over=length))
    if ended.code == 0:
        return  # it writes nothing so long
    with fault("a write that fails", stage.name):
        refused(ended)
        project.is_sound()
        project.mends(stage)


# HDF5 closes a file by writing on to memory when the disk is full; this limit holds there too, and
# h5py prints what no caller can catch. So shards meet the full disk alone.
_LIMITED = tuple(stage for stage in stages.EACH if stage.name != "chunks")


@pytest.mark.parametrize("name", ["index demo", "cross", "bundle"])
def test_a_write_that_fails_ends_a_cheap_verb_in_one_line(disturb, fault, name):
    _meets_limit(disturb, fault, stages.named(name), 200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", _LIMITED, ids=lambda stage: stage.name)
@pytest.mark.parametrize("length", [10, 2000, 30_000])
def test_a_write_that_fails_ends_any_verb_in_one_line(disturb, fault, stage, length):
    _meets_limit(disturb, fault, stage, length)


def _meets_read_only(disturb: Callable, fault: Callable, disk: Path, stage: Stage) -> None:
    project = disturb(disk / "project")
    stage.undo(project.folder)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = project.run(stage)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    with fault("read-only disk", stage.name):
        refused(ended)
        project.is_sound()
        project.mends(stage)


@pytest.mark.parametrize("name", ["index demo", "cross"])
def test_a_read_only_disk_ends_a_cheap_verb_in_one_line(disturb, fault, small_disk, name):
    _meets_read_only(disturb, fault, small_disk, stages.named(name))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", stages.EACH, ids=lambda stage: stage.name)
def test_a_read_only_disk_ends_any_verb_in_one_line(disturb, fault, small_disk, stage):
    _meets_read_only(disturb, fault, small_disk, stage)
