"""What a user may choose freely leaves what was made under another choice as it is."""

from pathlib import Path
from typing import Any

import pytest
from support import miniature

from reiqa import store
from reiqa.devices import FAKE_GPUS
from reiqa.params import Params
from reiqa.stages import lookup

TRAINED = {
    "source": "pretrain",
    "backbone": "resnet18",
    "corpora": ["demo_corpus"],
    "training": {"epochs": 1, "batch_size": 4},
}
STAGES = {
    "index": "clive",
    "chunks": "demo_corpus",
    "model": "content",
    "probe": "",
    "features": "clive/content",
    "fit": "clive",
    "cross": "",
    "report": "",
}


def params(**sections: Any) -> Params:
    return Params.model_validate({**miniature.TREE, "content": TRAINED, **sections})


def make_all(chosen: Params) -> set[str]:
    """Make one artifact of each stage; return the stages that had something to do."""
    done = set()
    for stage, item in STAGES.items():
        path = Path(f"{stage}.txt")

        def work(path: Path = path) -> None:
            store.write_text(path, path.stem)

        if store.make_artifact(path, stage, item, lookup(chosen), [], work):
            done.add(stage)
    return done


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact of each stage, made on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FAKE_GPUS, "")
    assert make_all(params()) == set(STAGES)


FREE = {
    "threads": {"compute": {"device": "cpu", "threads": 8}},
    "batch": {"features": {**miniature.TREE["features"], "batch": 1}},
    "auto where it is the CPU": {"compute": {"device": "auto"}},
    "the grid of a regressor that is not used": {
        "regression": {"svr": {"kernel": "linear", "epsilon": [0.5]}},
    },
    "checkpoints": {
        "content": {
            **TRAINED, "training": {**TRAINED["training"], "checkpoint_every": 7, "keep": 5},
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("what", FREE)
def test_a_free_choice_leaves_every_stage_fresh(what: str) -> None:
    assert make_all(params(**FREE[what])) == set()


NOT_FREE = {
    "precision": ({"compute": {"device": "cpu", "precision": "bf16"}}, {"model"}),
    "precision of features": (
        {"features": {**miniature.TREE["features"], "precision": "bf16"}}, {"features"},
    ),
    "device": ({"compute": {"device": "cuda"}}, {"model", "features"}),
    "compile": ({"compute": {"device": "cpu", "compile": True}}, {"model"}),
    "the regressor": ({"regression": {"model": "svr"}}, {"fit", "cross", "report"}),
    "photographs a step": (
        {"content": {**TRAINED, "training": {**TRAINED["training"], "batch_size": 2}}}, {"model"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_FREE)
def test_parameters_that_affect_results_make_their_stages_stale(what: str) -> None:
    sections, stages = NOT_FREE[what]
    assert make_all(params(**sections)) == stages


@pytest.mark.parametrize("changed", [{"kernel": "linear"}, {"C": (1, 2, 2)}, {"epsilon": [0.2]}])
def test_the_grid_of_svr_makes_its_stages_stale(changed: dict[str, Any]) -> None:
    make_all(params(regression={"model": "svr"}))
    assert make_all(params(regression={"model": "svr", "svr": changed})) == {
        *("fit", "cross", "report"),
    }


def test_the_components_of_kernel_ridge_make_its_stages_stale() -> None:
    make_all(params(regression={"model": "kernel_ridge"}))
    changed = {"model": "kernel_ridge", "components": 5}
    assert make_all(params(regression=changed)) == {"fit", "cross", "report"}


def test_artifacts_of_ridge_from_before_other_models_are_fresh() -> None:
    for stage in ("fit", "cross", "report"):
        recorded = store.read_provenance(Path(f"{stage}.txt"))
        assert recorded is not None
        assert not {"svr", "components"} & set(recorded.parameters["regression"])


def test_auto_is_recorded_as_what_it_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAKE_GPUS, "0")
    Path("features.txt").unlink()
    assert make_all(params(compute={"device": "auto"})) == {"features"}
    told = store.read_provenance(Path("features.txt"))
    assert told is not None and told.parameters["compute"]["device"] == "cuda"
    monkeypatch.setenv(FAKE_GPUS, "")
    assert make_all(params(compute={"device": "auto"})) == set(), "fresh on a node without a GPU"
    assert make_all(params(compute={"device": "cpu"})) == {"features"}
