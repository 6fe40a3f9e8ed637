"""Every block of commands in the README and the docs runs as it stands, or says here why not.

A block that is not listed fails the test, so a new one needs a decision. Commands are run verbatim
but for engines, which plan instead of working (`-n`), and are held to the exit code named here.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from support.project import ROOT, Project

from reiqa import cli

pytestmark = pytest.mark.xdist_group("docs")


@dataclass(frozen=True)
class Block:
    file: str
    language: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        return self.file, self.text.splitlines()[0].strip()

    def commands(self) -> Iterator[str]:
        """The shell's commands, one each, without remarks."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#\s.*$", "", line).strip()
            if command and not command.startswith("#"):
                yield " ".join(command.split())


def blocks() -> list[Block]:
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            found.append(Block(path.relative_to(ROOT).as_posix(), language, body))
    return found


#: Blocks of which nothing is run, and why.
NOT_COMMANDS = {
    ("README.md", "@inproceedings{saha2023reiqa,"): "a citation",
    ("docs/acceptance.md", "# changed in the preset: data.allow_missing: True"): "the log of a run",
    ("docs/architecture.md", "flowchart LR"): "a drawing",
    (
        "docs/architecture.md",
        "pretraining   photograph -> window + recipe (chunks/recipe, shards)",
    ): "a drawing",
    ("docs/datasets.md", "myset:"): "a catalog entry to be filled in",
}

#: Commands that are not run: how they begin, and why.
NOT_RUN = {
    "pip install": "installs gigabytes; these tests run in what `make setup` installed",
    "source .venv/bin/activate": "these tests run in that environment",
    "torchrun": "needs several GPUs or nodes; tests/pretrain runs two processes on the CPU",
    "reiqa fetch --dataset csiq": "downloads from the set's makers",
    "reiqa index --dataset csiq": "needs the set that is downloaded before it",
    "quality: {source: import": "a line for params.yaml",
    "score expected content": "printed by the command above it",
    "83.7 71 to 89": "printed by the command above it",
}

#: Commands whose inputs are not here: how they begin, and what they must say, with exit code 2.
REFUSED = {
    "reiqa features --dataset spaq": "models/content.safetensors: not found",
    "reiqa pretrain --expert quality": "not found",
    "reiqa weights import --expert quality": "Set quality.source to import",
    "reiqa bundle --dataset biq2021": "results/datasets/biq2021",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone's project with some photographs in it."""
    project = Project.new(tmp_path_factory.mktemp("docs") / "project")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, project.folder)
    picture = Image.fromarray(data.chelsea()[:120, :160])
    for name in ("photo.jpg", "holiday/a.jpg", "scans/old/b.png"):
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    (project.folder / "bad_at.md").write_text("faces\n")
    return project


def planned(command: str) -> str:
    """The command, with engines told to plan only and make to say only."""
    words = shlex.split(command)
    verbs = [word for word in words if "=" not in word]
    if verbs[0] == "snakemake":
        return f"{command} -n"
    if verbs[0] == "make":
        return command.replace("make ", "make -n ", 1)
    # DVC plans a stage once its inputs are there; tests/workflow runs them all on a stub.
    return f"{command} --dry data" if verbs[:2] == ["dvc", "repro"] else command


def shell(project: Project, command: str) -> subprocess.CompletedProcess[str]:
    return project.run("bash", "-c", planned(command), REIQA_MIRROR="")


@pytest.mark.parametrize("block", blocks(), ids=lambda block: " ".join(block.key)[:60])
def test_a_code_block_runs_unchanged(project: Project, block: Block) -> None:
    if block.key in NOT_COMMANDS or block.language in {"mermaid", "yaml"}:
        return
    if block.language == "python":
        run_python(project.folder, block)
        return
    if block.key == ("README.md", "reiqa preset NAME                    write params.yaml"):
        verbs = set(re.findall(r"reiqa ([a-z]+)", block.text))
        registered = {command.callback.__name__ for command in cli.app.registered_commands}
        assert verbs | {"index"} == registered | {"weights"}
        return
    # The page on clusters is about the paper's preset, which its first block writes.
    preset = "paper" if block.file == "docs/cluster.md" else "demo"
    source = ROOT / "reiqa" / "presets" / f"{preset}.yaml"
    (project.folder / "params.yaml").write_bytes(source.read_bytes())
    for command in block.commands():
        if command.startswith("export "):
            continue
        if any(command.startswith(start) for start in NOT_RUN):
            continue
        for part in command.split(" && "):
            if any(part.startswith(start) for start in NOT_RUN):
                continue
            done = shell(project, part)
            printed = done.stdout + done.stderr
            says = next((s for start, s in REFUSED.items() if part.startswith(start)), None)
            assert done.returncode == (0 if says is None else 2), f"{part}:\n{printed}"
            assert says is None or says in printed, f"{part}:\n{printed}"


def run_python(folder: Path, block: Block) -> None:
    from reiqa import Scorer

    pixels = data.chelsea()[:64, :64]
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
    names = {
        "scorer": Scorer.load("lite"), "image": Image.fromarray(pixels), "array": pixels,
        "tensor": tensor, "path": folder / "photo.jpg", "batch": torch.stack([tensor] * 2),
        "restored": torch.stack([tensor] * 2).requires_grad_(),
    }  # fmt: skip
    # No GPU is asked for here; everything else is as it stands.
    code = block.text.replace('.to("cuda")', "")
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(code, block.file, "exec"), names)
    finally:
        os.chdir(before)
    if "loss" in names:
        assert np.abs(names["restored"].grad.numpy()).max() > 0


def test_no_decision_is_left_over() -> None:
    found = blocks()
    keys = {block.key for block in found}
    assert set(NOT_COMMANDS) <= keys
    commands = [command for block in found for command in block.commands()]
    parts = [part for command in commands for part in command.split(" && ")]
    for start in (*NOT_RUN, *REFUSED):
        assert any(part.startswith(start) for part in parts), start
