"""Killed at any moment, a verb leaves nothing that is taken for whole; the next run mends it."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from support import stages
from support.fault_injection import Fault
from support.stages import Stage

from reiqa import seeds

pytestmark = [pytest.mark.xdist_group("faults")]

#: Of a stage's crash points, those that are tried of one that takes seconds.
_POINTS = 16
#: Random kills of every stage in the long form, and of the cheap ones in the short one.
_MANY, _FEW = 8, 2


def _kill_at_random(disturb: Callable, fault: Callable, stage: Stage, kills: int) -> None:
    """Two kills and a run that ends well, again and again, until so many have hit."""
    project, hit, drawn = disturb(), 0, seeds.generator("faults", stage.name)
    seconds = project.finished.seconds[stage.name]
    for _ in range(2 * kills):
        stage.undo(project.folder)
        with ExitStack() as held:
            for _ in range(2):
                ended = project.run(stage, after=float(drawn.uniform(0, 1)) * seconds)
                if ended.killed:
                    hit += 1
                    held.enter_context(fault("SIGKILL at a random moment", stage.name))
                    project.is_sound()
                else:
                    assert ended.code == 0, ended.said
                    # The undisturbed run may have been on a busier machine.
                    seconds = min(seconds, ended.seconds)
                    stage.undo(project.folder)
            project.mends(stage)
        if hit >= kills:
            return
    assert hit, f"{stage.name} was never killed: it has become too quick for this test"


def _kill_before_changes(disturb: Callable, fault: Callable, stage: Stage, points: int) -> None:
    """Kill before the n-th change of the disk, for so many n spread over the undisturbed run."""
    project = disturb()
    count = project.finished.changes[stage.name]
    for number in sorted({round(place * count / points) for place in range(points)}):
        stage.undo(project.folder)
        ended = project.run(stage, fault=Fault(before_change=number + 1))
        # A run may take a turn less than the counted one: where threads share the work.
        assert ended.killed or (number + 1 >= count - 2 and ended.code == 0), ended
        with fault("SIGKILL before a change of the disk", stage.name):
            project.is_sound()
            project.mends(stage)


@pytest.mark.parametrize("stage", stages.CHEAP, ids=lambda stage: stage.name)
def test_a_cheap_verb_killed_at_any_moment_ends_in_the_same_bytes(disturb, fault, stage):
    _kill_at_random(disturb, fault, stage, _FEW)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", stages.EACH, ids=lambda stage: stage.name)
def test_any_verb_killed_at_any_moment_ends_in_the_same_bytes(disturb, fault, stage):
    _kill_at_random(disturb, fault, stage, _MANY)


@pytest.mark.parametrize(
    "name", ["index demo", pytest.param("chunks", marks=pytest.mark.slow), "cross"]
)
def test_a_cheap_verb_killed_before_each_change_of_the_disk_ends_in_the_same_bytes(
    disturb, fault, finished, name
):
    _kill_before_changes(disturb, fault, stages.named(name), finished.changes[name])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", stages.EACH, ids=lambda stage: stage.name)
def test_any_verb_killed_before_changes_of_the_disk_ends_in_the_same_bytes(
    disturb, fault, finished, stage
):
    count = finished.changes[stage.name]
    _kill_before_changes(disturb, fault, stage, count if stage.cheap else min(_POINTS, count))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", stages.EACH, ids=lambda stage: stage.name)
@pytest.mark.parametrize("length", [0, 1000, 20_000])
def test_a_verb_killed_while_a_file_grows_ends_in_the_same_bytes(disturb, fault, stage, length):
    project = disturb()
    stage.undo(project.folder)
    ended = project.run(stage, fault=Fault(at_byte=length))
    assert ended.killed or ended.code == 0, ended
    if ended.killed:
        with fault("SIGKILL while a file grows", stage.name):
            project.is_sound()
            project.mends(stage)
