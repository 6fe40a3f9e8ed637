"""The verbs that make experts: whether there is work, for which processes, of which file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reiqa import encoders, layout, pretrain, store
from reiqa.cli import experts
from reiqa.errors import BadInputError

DEMO = Path(__file__).parents[1] / "reiqa" / "presets" / "demo.yaml"
MODEL = layout.model("quality")
CARD = layout.beside(MODEL, "json")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout.PARAMS.write_text(DEMO.read_text())


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ranks of the processes that set out to learn; the first writes a model of two words."""
    ranks: list[str] = []

    def learn(*_: object) -> None:
        ranks.append(os.environ["RANK"])
        if ranks[-1] == "0":
            for path in (MODEL, CARD):
                store.write_text(path, path.name)

    monkeypatch.setattr(pretrain, "inputs", lambda *_: [])
    monkeypatch.setattr(pretrain, "pretrain", learn)
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
    monkeypatch: pytest.MonkeyPatch,
    model: Callable[[], None],
    force: bool,
    work: bool,
) -> None:
    # Were the first to learn and another not, it would wait for that one.
    monkeypatch.setenv("RANK", "0")
    experts.pretrain("quality")
    learning.clear()
    model()
    # What the first makes is whole again, so the other is asked before.
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        experts.pretrain("quality", force=force)
    assert learning == (["1", "0"] if work else [])


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that weights were read from."""
    files: list[str] = []

    def obtain(expert: str, params: object) -> None:
        files.append(params.quality.file)  # type: ignore[attr-defined]
        store.write_text(MODEL, "weights")

    monkeypatch.setattr(encoders, "obtain", obtain)
    for file in ("quality.pth", "other.pth"):
        Path(file).write_bytes(file.encode())
    return files


def names(file: str) -> None:
    tree = yaml.safe_load(DEMO.read_text())
    tree["quality"].update(source="import", file=file)
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
