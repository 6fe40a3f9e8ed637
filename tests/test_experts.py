"""The verbs that make experts: whether there is work, for which processes, of which file."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from reiqa import devices, encoders, layout, pretrain, store
from reiqa import params as parameters
from reiqa.cli import experts
from reiqa.errors import BadInputError
from reiqa.stages import STAGES, stage_parameters

DEMO = Path(__file__).parents[1] / "reiqa" / "presets" / "demo.yaml"
MODEL = layout.model("quality")
CARD = layout.companion(MODEL, "json")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout.PARAMS.write_text(DEMO.read_text())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the first process tells the others, of which this one is none."""
    told: list[bool] = []
    monkeypatch.setattr(devices, "broadcast_decision", told.append)
    monkeypatch.setattr(devices, "receive_decision", lambda: told.pop())
    return told


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ranks of the processes that set out to learn; the first writes a model of two words."""
    ranks: list[str] = []

    def learn(*_: object) -> None:
        ranks.append(os.environ["RANK"])
        if ranks[-1] == "0":
            for path in (MODEL, CARD):
                store.write_text(path, path.name)

    monkeypatch.setitem(STAGES, "model", replace(STAGES["model"], inputs=lambda *_: []))
    monkeypatch.setattr(pretrain, "make_expert", learn)
    return ranks


def stands() -> None:
    pass


def goes() -> None:
    MODEL.unlink()


def loses_its_sidecar() -> None:
    store.sidecar(MODEL).unlink()


def loses_its_card() -> None:
    CARD.unlink()


def spoils() -> None:
    MODEL.write_text(MODEL.read_text().swapcase())


def has_a_spoilt_card() -> None:
    CARD.write_text(CARD.read_text().swapcase())


def is_asked_for_with_other_parameters() -> None:
    tree = yaml.safe_load(DEMO.read_text())
    tree["chunks"]["n_aug"] -= 1
    layout.PARAMS.write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize(
    ("model", "force", "work"),
    [
        (stands, False, False),
        (stands, True, True),
        (goes, False, True),
        (loses_its_sidecar, False, True),
        (loses_its_card, False, True),
        (spoils, False, True),
        (has_a_spoilt_card, False, True),
        (is_asked_for_with_other_parameters, False, True),
    ],
)
def test_the_processes_of_a_torchrun_agree_on_whether_there_is_work(
    learning: list[str],
    told: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    model: Callable[[], None],
    force: bool,
    work: bool,
) -> None:
    # Were one to learn and another not, it would wait for that one.
    monkeypatch.setenv("RANK", "0")
    experts.pretrain("quality")
    model()
    learning.clear()
    told.clear()
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        experts.pretrain("quality", force=force)
    assert learning == (["0", "1"] if work else [])


def test_a_torchrun_that_waited_for_another_job_ends_with_all_its_processes(
    tmp_path: Path,
) -> None:
    # The others have nothing to go by but the first one's word: it alone waits for the lock.
    script = tmp_path / "job.py"
    script.write_text(
        "from dataclasses import replace\n"
        "from reiqa import pipeline, pretrain\n"
        "from reiqa.stages import STAGES\n"
        "STAGES['model'] = replace(STAGES['model'], inputs=lambda *_: [])\n"
        "def learn(*_): raise SystemExit('set out to learn')\n"
        "pretrain.make_expert = learn\n"
        "pipeline.make_expert('quality', pipeline.load_params())\n"
    )
    params = parameters.load_params(layout.PARAMS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with store.locked(MODEL):
        job = subprocess.Popen(
            [*command, "--nproc-per-node", "2", str(script)], stderr=subprocess.PIPE, text=True
        )
        assert job.stderr is not None
        assert any("waiting for another reiqa" in line for line in job.stderr)
        for path in (MODEL, CARD):
            store.write_text(path, path.name)
        relevant = stage_parameters(params, "model", "quality")
        store.sign_sidecar(MODEL, "model", "quality", relevant, {}, [CARD])
    try:
        _, said = job.communicate(timeout=60)
    finally:
        # Of one that still waits torchrun ends the processes too.
        job.terminate()
    assert job.returncode == 0, said
    assert "up to date" in said


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that weights were read from."""
    files: list[str] = []

    def obtain(expert: str, params: object) -> None:
        files.append(params.quality.file)  # type: ignore[attr-defined]
        store.write_text(MODEL, "weights")

    monkeypatch.setattr(encoders, "import_expert", obtain)
    for file in ("quality.pth", "other.pth"):
        Path(file).write_bytes(file.encode())
    return files


def names(file: str) -> None:
    tree = yaml.safe_load(DEMO.read_text())
    tree["quality"].update(source="import", file=file, init="random")
    layout.PARAMS.write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize("given", ["quality.pth", "./quality.pth", None])
@pytest.mark.parametrize("named", ["quality.pth", "./quality.pth"])
def test_a_checkpoint_is_the_one_that_is_named_however_that_is_spelled(
    imported: list[str], named: str, given: str | None
) -> None:
    names(named)
    experts.weights_import("quality", Path(given) if given else None)
    assert imported == [named]


def test_a_checkpoint_that_is_not_the_one_that_is_named_is_refused(imported: list[str]) -> None:
    names("./quality.pth")
    with pytest.raises(BadInputError, match=r"quality\.file to other\.pth"):
        experts.weights_import("quality", Path("other.pth"))
    assert not imported and not MODEL.exists()
