"""What every stage computes is what its format number says: values that are pinned."""

import json

import pytest
from support import golden

# One worker runs the stages for all of these.
pytestmark = pytest.mark.xdist_group("golden")

PINNED = json.loads(golden.PINNED.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> golden.Values:
    folder = tmp_path_factory.mktemp("golden")
    with golden.miniature(folder):
        return golden.run_all()


def test_every_stage_is_pinned() -> None:
    assert PINNED["values"].keys() == PINNED["formats"].keys() == golden.formats().keys()


@pytest.mark.parametrize("stage", golden.formats())
def test_values_change_with_the_format_number_alone(stage: str, found: golden.Values) -> None:
    pinned, today = PINNED["formats"].get(stage), golden.formats()[stage]
    assert today == pinned, f"format {today} of {stage} is not pinned yet: make golden"
    names = golden.changed(stage, found, PINNED["values"])
    assert not names, (
        f"{stage} computes other numbers than format {pinned} did: {names}."
        " If that is meant, raise its number in reiqa/stages.py and run: make golden"
    )


def test_a_changed_number_is_noticed() -> None:
    other = json.loads(json.dumps(PINNED["values"]))
    for stage, named in other.items():
        name, numbers = next(iter(named.items()))
        numbers[-1] = 1.05 * numbers[-1] + 0.05
        assert golden.changed(stage, other, PINNED["values"]) == [name]
