"""A timm backbone that cannot serve is refused when params.yaml is read, and one that can once."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import miniature

from reiqa import backbone_check, encoders, pipeline
from reiqa.errors import BadInputError

PASSED = Path("work/timm-backbones.json")


def write(backbone: str, pooling: str = "last", expert: str = "quality") -> None:
    imported = {"source": "import", "file": "weights.pth", "backbone": backbone}
    tree = {**miniature.TREE, expert: imported, "features": {"pooling": pooling}}
    Path("params.yaml").write_text(yaml.safe_dump(tree))


pytestmark = pytest.mark.usefixtures("project")


REFUSED = {
    ("timm/resnet17", "last"): "quality.backbone: unknown timm model 'resnet17'; did you mean",
    ("timm/mixer_s16_224", "last"): "quality.backbone: timm/mixer_s16_224 does not take images",
    # Takes 192 x 192, but not 225 x 161.
    ("timm/dla34", "last"): "quality.backbone: timm/dla34 does not take images of any size",
    ("timm/vit_tiny_patch16_224", "stages"): "features.pooling: the stages of timm/vit_tiny_patch",
}


@pytest.mark.parametrize(("backbone", "pooling"), REFUSED)
def test_what_cannot_serve_is_refused_in_one_line(backbone: str, pooling: str) -> None:
    write(backbone, pooling)
    with pytest.raises(BadInputError) as refusal:
        pipeline.load_params()
    message = str(refusal.value)
    assert message.startswith(f"params.yaml: {REFUSED[backbone, pooling]}") and "\n" not in message
    assert not PASSED.exists()


def test_either_expert_is_checked() -> None:
    write("timm/resnet17", expert="content")
    with pytest.raises(BadInputError, match=r"^params\.yaml: content\.backbone: unknown"):
        pipeline.load_params()


def count_checks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    checked: list[tuple[str, str]] = []
    monkeypatch.setattr(encoders, "check_backbone", lambda *given: checked.append(given))
    return checked


def test_what_passed_is_remembered_until_timm_or_the_pooling_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked = count_checks(monkeypatch)
    for pooling in ("last", "stages", "last", "stages"):
        write("timm/resnet18", pooling)
        assert pipeline.load_params().quality.backbone == "timm/resnet18"
    assert checked == [("timm/resnet18", "last"), ("timm/resnet18", "stages")]
    monkeypatch.setattr(backbone_check, "version", lambda _: "9.9")
    pipeline.load_params()
    assert len(checked) == 3


@pytest.mark.parametrize("text", ["", "{", "[1, null]", '{"timm/resnet18": true}'])
def test_a_damaged_memory_is_made_again(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = count_checks(monkeypatch)
    write("timm/resnet18")
    PASSED.parent.mkdir()
    PASSED.write_text(text)
    pipeline.load_params()
    pipeline.load_params()
    assert len(checked) == 1


def test_without_a_folder_to_write_to_each_verb_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = count_checks(monkeypatch)
    write("timm/resnet18")
    PASSED.parent.write_text("a file, not a folder")
    pipeline.load_params()
    pipeline.load_params()
    assert len(checked) == 2


def test_a_backbone_that_passed_is_read_without_timm_and_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count_checks(monkeypatch)
    write("timm/resnet18")
    pipeline.load_params()
    code = (
        "import sys; from reiqa import pipeline;"
        "print(pipeline.load_params().quality.backbone, {'timm', 'torch'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "timm/resnet18 set()\n", found.stderr
