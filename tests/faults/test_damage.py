"""What is damaged on disk is never taken for good: one line, and made again it is as it was."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.ledger import CorruptReadError
from support import stages
from support.fault_injection import Fault, Running, refused

from reiqa import seeds

pytestmark = [pytest.mark.xdist_group("faults")]


@dataclass(frozen=True)
class Artifact:
    """A file of the finished project, and the verbs before and behind it.

    Attributes:
        file: pattern of its path.
        made_by: stage that makes it.
        read_by: stage that reads it.
    """

    file: str
    made_by: str
    read_by: str


#: One of each kind that a verb reads.
ARTIFACTS = (
    Artifact("data/raw/demo.json", "fetch demo", "index demo"),
    Artifact("data/index/demo.csv", "index demo", "features demo"),
    Artifact("data/index/demo_corpus.csv", "index demo_corpus", "chunks"),
    Artifact("data/chunks/demo_corpus/shard-00000.h5", "chunks", "pretrain quality"),
    Artifact("models/quality.safetensors", "pretrain quality", "features demo"),
    Artifact("models/quality.json", "pretrain quality", "report"),
    Artifact("models/quality.curve.csv", "pretrain quality", "report"),
    Artifact("models/probe.json", "probe", "report"),
    Artifact("features/demo/content.h5", "features demo", "fit demo"),
    Artifact("results/datasets/demo.json", "fit demo", "report"),
    Artifact("results/datasets/demo.predictions.csv", "fit demo", "bundle"),
    Artifact("results/datasets/demo.splits.csv", "fit demo", "report"),
    Artifact("results/datasets/demo.regressor.safetensors", "fit demo", "cross"),
    Artifact("results/datasets/demo.regressor.json", "fit demo", "bundle"),
    Artifact("results/cross.csv", "cross", "report"),
    Artifact("bundles/mine/regressor.safetensors", "bundle", "score"),
    Artifact("bundles/mine/bundle.json", "bundle", "score"),
)

#: To make these again takes no second.
_CHEAP = {stage.name for stage in stages.CHEAP}


def _cut(data: bytearray, _offset: int) -> bytes:
    return bytes(data[: len(data) // 2])


def _emptied(_data: bytearray, _offset: int) -> bytes:
    return b""


def _flipped(data: bytearray, offset: int) -> bytes:
    data[offset] ^= 1 << (offset % 8)
    return bytes(data)


#: Bits that are flipped in each artifact in the long form, one at a time.
_FLIPS = 6

DAMAGES = {"cut off": _cut, "emptied": _emptied, "a bit flipped": _flipped}


def _meets_damage(
    disturb: Callable, fault: Callable, artifact: Artifact, damage: str, times: int
) -> None:
    """Damage the artifact; its reader refuses it, its maker makes it anew."""
    project = disturb()
    reader, maker = stages.named(artifact.read_by), stages.named(artifact.made_by)
    (path,) = project.folder.glob(artifact.file)
    whole, draws = path.read_bytes(), seeds.generator("faults", artifact.file, damage)
    force = ("--force",) if reader.sealed else ()
    for _ in range(times):
        path.write_bytes(DAMAGES[damage](bytearray(whole), int(draws.integers(len(whole)))))
        if not reader.sealed:
            reader.undo(project.folder)
        with fault(f"artifact, {damage}", artifact.read_by):
            ended = project.run(reader, *force)
            if ended.code == 0:
                raise CorruptReadError(f"{artifact.read_by} took {path}, {damage}: {ended.said}")
            refused(ended)
            project.mends(maker) if reader.sealed else project.run(maker)
            project.mends(reader)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "artifact",
    [each for each in ARTIFACTS if each.made_by in _CHEAP and each.read_by in _CHEAP],
    ids=lambda artifact: artifact.file,
)
def test_a_damaged_artifact_is_refused_and_made_again(disturb, fault, artifact, damage):
    _meets_damage(disturb, fault, artifact, damage, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.file)
def test_any_damaged_artifact_is_refused_and_made_again(disturb, fault, artifact, damage):
    _meets_damage(disturb, fault, artifact, damage, _FLIPS if damage == "a bit flipped" else 1)


@pytest.mark.parametrize("name", ["index demo", "fit demo", "cross"])
def test_a_sidecar_with_any_bit_flipped_only_has_its_artifact_made_again(disturb, fault, name):
    project, stage = disturb(), stages.named(name)
    (path,) = (p for m in stage.makes for p in project.folder.glob(m) if p.name[-9:] == "prov.json")
    whole, draws = path.read_bytes(), seeds.generator("faults", "sidecar", name)
    for _ in range(5):
        path.write_bytes(_flipped(bytearray(whole), int(draws.integers(len(whole)))))
        with fault("sidecar, a bit flipped", name):
            project.mends(stage)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("expert", ["content", "quality"])
def test_a_damaged_checkpoint_is_refused_and_a_run_without_it_ends_in_the_same_bytes(
    disturb, fault, expert, damage
):
    project, stage = disturb(), stages.named(f"pretrain {expert}")
    latest = max(project.folder.glob(f"work/pretrain/{expert}-*/step-*.pt"))
    draws = seeds.generator("faults", "checkpoint", expert, damage)
    whole = latest.read_bytes()
    for _ in range(_FLIPS if damage == "a bit flipped" else 1):
        latest.write_bytes(DAMAGES[damage](bytearray(whole), int(draws.integers(len(whole)))))
        with fault(f"checkpoint, {damage}", stage.name):
            ended = project.run(stage, "--force")
            if ended.code:
                refused(ended)
                latest.unlink()
            # A bit between two parts of the file is nobody's.
            project.mends(stage)


@pytest.mark.slow
def test_rows_computed_before_a_kill_are_used_only_if_they_are_whole(disturb, fault):
    project, stage = disturb(), stages.named("features demo")
    draws = seeds.generator("faults", "rows")
    for path in project.folder.glob("work/features/*/demo-*.rows"):
        data = bytearray(path.read_bytes())
        for _ in range(5):
            data[int(draws.integers(len(data)))] ^= 4
        path.write_bytes(data)
    for path in project.folder.glob("features/demo/*"):
        path.unlink()
    with fault("rows of features, bits flipped", stage.name):
        project.mends(stage)


def _at_once(disturb: Callable, fault: Callable, name: str) -> None:
    project, stage = disturb(), stages.named(name)
    stage.undo(project.folder)
    with fault("two at once", name):
        both = [Running(project.folder, stage.argv, Fault()) for _ in range(2)]
        endings = [running.end() for running in both]
        assert [ended.code for ended in endings] == [0, 0], endings
        project.is_as_undisturbed()


@pytest.mark.parametrize("name", ["fetch parcel", "index demo", "chunks", "fit demo", "cross"])
def test_a_cheap_verb_started_twice_at_once_makes_its_artifact_whole(disturb, fault, name):
    _at_once(disturb, fault, name)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", stages.EACH, ids=lambda stage: stage.name)
def test_any_verb_started_twice_at_once_makes_its_artifact_whole(disturb, fault, stage):
    if not stage.sealed:
        pytest.skip("writes where the user says, under no lock of the project's")
    _at_once(disturb, fault, stage.name)


@pytest.mark.parametrize("years", [-30, 30])
@pytest.mark.parametrize("name", ["index demo", "chunks", "fit demo", "cross"])
def test_the_clock_has_no_say_in_what_is_done(disturb, fault, name, years):
    project, stage = disturb(), stages.named(name)
    when = time.time() + years * 365 * 86400

    def shift(paths: list[Path]) -> None:
        for path in paths:
            os.utime(path, (when, when))

    files = [path for path in project.folder.rglob("*") if path.is_file()]
    with fault("clock moved 30 years", name):
        shift(files)
        ended = project.run(stage)
        assert ended.code == 0 and "up to date" in ended.said, ended
        project.is_as_undisturbed()
        # What it reads is older or younger by decades than what it now makes.
        stage.undo(project.folder)
        project.mends(stage)
