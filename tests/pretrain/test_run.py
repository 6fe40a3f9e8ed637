"""Whole runs on patterns: what they write, that they repeat, stop and go on."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from reiqa import encoders, store
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.pretrain.loop import pretrain

ROOT = Path(__file__).parents[2]
JOB = Path(__file__).with_name("job.py")


def started(folder, settings, command=(sys.executable,)):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, str(JOB), json.dumps(settings)], cwd=folder, env=environment)


def curve(folder):
    with (folder / "models/quality.curve.csv").open() as lines:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]


def weights(folder):
    return (folder / "models/quality.safetensors").read_bytes()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("work/pretrain/*/step-*.pt"))


def test_a_run_writes_encoder_card_and_curve(project, patterns, make):
    path = pretrain("quality", make())
    encoder = encoders.load_encoder(path)
    assert (encoder.backbone, encoder.width) == ("mobilenet_v3_small", 576)
    card = store.read_json(project / "models/quality.json")
    assert (card["source"], card["epochs"], card["steps"]) == ("pretrain", 3, 9)
    assert card["pairs_per_step"] == 32
    rows = curve(project)
    assert [row["step"] for row in rows] == list(range(1, 10))
    assert rows[-1]["loss"] == pytest.approx(card["last"]["loss"], rel=1e-5)
    assert [row["epoch"] for row in rows] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_each_item_is_read_once_an_epoch(project, patterns, make):
    pretrain("quality", make())
    assert sorted(patterns.reads) == [(item, turn) for item in range(12) for turn in range(3)]


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw"])
def test_learning_lowers_the_loss_of_the_trained_views(project, patterns, make, optimizer):
    rate = {"lars": 1.0, "sgd": 0.03, "adamw": 0.001}[optimizer]
    pretrain("quality", make(epochs=15, optimizer=optimizer, learning_rate=rate))
    losses = [row["loss"] for row in curve(project)]
    assert sum(losses[-6:]) < sum(losses[6:12]) - 0.5


def test_the_last_checkpoints_are_kept_and_a_finished_run_is_not_repeated(project, patterns, make):
    pretrain("quality", make(keep=2))
    assert checkpoints(project) == [f"step-00000000{step}.pt" for step in (0, 8, 9)]
    first = weights(project)
    patterns.reads.clear()
    (project / "models/quality.safetensors").unlink()
    pretrain("quality", make(keep=2))
    assert weights(project) == first
    assert patterns.reads == []


def test_a_killed_run_ends_with_the_same_bytes(project, patterns, make, tmp_path):
    pretrain("quality", make())
    whole = contents(project / "models")
    other = tmp_path / "killed"
    other.mkdir()
    job = started(other, {})
    while "step-000000004.pt" not in checkpoints(other):
        assert job.poll() is None, "the job ended by itself"
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not (other / "models").exists()
    assert started(other, {}).wait() == 0
    assert contents(other / "models") == whole


def test_a_checkpoint_of_another_configuration_is_refused_with_the_keys(project, patterns, make):
    pretrain("quality", make())
    (folder,) = (project / "work/pretrain").iterdir()
    for path in folder.glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        run = json.loads(state["run"])
        run["parameters"]["quality"]["training"]["temperature"] = 0.1
        run["inputs"]["data/chunks/other.h5"] = "0"
        torch.save({**state, "run": json.dumps(run)}, path)
    with pytest.raises(BadInputError, match=r"inputs\.data/chunks.*quality\.training\.temperature"):
        pretrain("quality", make())


def test_a_run_goes_on_from_its_checkpoint_under_other_free_choices(project, patterns, make):
    params = make()
    pretrain("quality", params)
    made = checkpoints(project)
    reads = len(patterns.reads)
    for path in (project / "models").iterdir():
        path.unlink()
    free = {
        "compute": params.compute.model_copy(update={"threads": 2, "device": "auto"}),
        "features": params.features.model_copy(update={"batch": 3}),
    }
    pretrain("quality", params.model_copy(update=free))
    assert checkpoints(project) == made, "one run, in one folder"
    assert len(patterns.reads) == reads, "nothing was learnt anew"
    pretrain("quality", make(batch_size=2))
    assert len(list((project / "work/pretrain").iterdir())) == 2, "a batch of another size is"


def test_the_encoder_of_a_checkpoint_can_be_had(project, patterns, make):
    end = encoders.load_encoder(pretrain("quality", make()))
    kept = sorted(project.glob("work/pretrain/*/step-*.pt"))
    assert [path.stem for path in kept] == ["step-000000000", "step-000000008", "step-000000009"]
    images = torch.rand(2, 3, 48, 48)
    imported = [encoders.import_weights(path, "quality", "mobilenet_v3_small") for path in kept]
    with torch.no_grad():
        start, half, last = (encoder(images) for encoder in imported)
        assert torch.equal(last, end(images))
        assert not torch.equal(half, last) and not torch.equal(start, half)


def test_other_settings_never_meet_each_others_checkpoints(project, patterns, make):
    pretrain("quality", make())
    pretrain("quality", make(temperature=0.1))
    pretrain("quality", make(keep=5, checkpoint_every=3))
    assert len(list((project / "work/pretrain").iterdir())) == 2


def test_a_damaged_checkpoint_is_named(project, patterns, make):
    pretrain("quality", make())
    latest = max(project.glob("work/pretrain/*/step-*.pt"))
    latest.write_bytes(latest.read_bytes()[:1000])
    with pytest.raises(BadInputError, match=r"step-000000009\.pt: damaged"):
        pretrain("quality", make())


def test_a_run_that_diverges_stops_with_one_line_and_keeps_its_checkpoint(project, patterns, make):
    settings = make(optimizer="sgd", learning_rate=1e18, epochs=40, warmup_epochs=20)
    with pytest.raises(WorkFailedError, match="diverged") as failed:
        pretrain("quality", settings)
    assert "\n" not in str(failed.value)
    assert not (project / "models").exists()
    for path in project.glob("work/pretrain/*/step-*.pt"):
        state = torch.load(path, weights_only=True)
        assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_compiling_without_a_compiler_is_one_line(project, patterns, make, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    settings = make()
    compute = settings.compute.model_copy(update={"compile": True})
    with pytest.raises(
        BadInputError, match=r"compute\.compile: C\+\+ compiler no-such-compiler not found"
    ):
        pretrain("quality", settings.model_copy(update={"compute": compute}))


@pytest.mark.slow
def test_compiled_encoders_learn_the_same(project, patterns, make):
    """Fused kernels sum in another order: equal but for rounding, which grows step by step."""
    settings = make(epochs=1)
    pretrain("quality", settings)
    plain = curve(project)
    compute = settings.compute.model_copy(update={"compile": True})
    pretrain("quality", settings.model_copy(update={"compute": compute}))
    for one, two in zip(plain, curve(project), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(project, patterns, make, tmp_path):
    """Same global batch, statistics of the whole batch (sync): equal but for rounding."""
    settings = {"batchnorm": "sync", "optimizer": "sgd", "learning_rate": 0.01, "epochs": 2}
    pretrain("quality", make(**settings))
    other = tmp_path / "two"
    other.mkdir()
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    torchrun += ("--standalone",)
    assert started(other, settings, torchrun).wait() == 0
    for one, two in zip(curve(project), curve(other), strict=True):
        for name in ("loss", "alignment", "learning_rate"):
            assert two[name] == pytest.approx(one[name], rel=1e-3), name


def test_a_run_in_bf16_repeats_and_differs_from_one_in_float32(project, patterns, make):
    patterns.items = 4  # one step
    pretrain("quality", make(epochs=1))
    exact = curve(project)
    rounded = make(epochs=1)
    compute = rounded.compute.model_copy(update={"precision": "bf16"})
    rounded = rounded.model_copy(update={"compute": compute})
    losses, files = [], []
    for _ in range(2):
        shutil.rmtree("work")
        encoder = encoders.load_encoder(pretrain("quality", rounded))
        assert {p.dtype for p in encoder.parameters()} == {torch.float32}
        losses.append([row["loss"] for row in curve(project)])
        files.append(weights(project))
    assert files[0] == files[1]
    assert losses[0] != [row["loss"] for row in exact]
    assert losses[0] == pytest.approx([row["loss"] for row in exact], rel=0.05)
