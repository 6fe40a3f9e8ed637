"""Every block of commands in the README and the docs runs as it stands, or says here why not.

A block that is not listed fails the test, so a new one needs a decision. Commands are run verbatim
except that engines only plan (`-n`), and must end with the exit code named here. The page on own
data is run in order, and so is the tutorial, edits of the code included; its last step, with
engines, is slow.
"""

import csv
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageFilter
from scipy.stats import spearmanr
from skimage import data
from support.project import ROOT, Project, tiny_parameters

from reiqa import catalog, cli
from reiqa.params import EXPERTS, Params
from reiqa.scoring import Scorer
from reiqa.scoring.bundle import SHIPPED, read_manifest

pytestmark = pytest.mark.xdist_group("docs")

DOCS = ROOT / "docs"
TUTORIAL = "docs/tutorial.md"
OWN_DATA = "docs/how-to/own-data.md"


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


def pages() -> list[Path]:
    """Pages with commands: results/ holds what `reiqa report` wrote."""
    written = (DOCS / "results").parts
    found = sorted(path for path in DOCS.rglob("*.md") if path.parts[: len(written)] != written)
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *found]


def blocks() -> list[Block]:
    found = []
    for path in pages():
        text = path.read_text(encoding="utf-8")
        fenced = re.findall(r"^( *)```(\w*)\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
        for _, language, body in fenced:
            found.append(Block(path.relative_to(ROOT).as_posix(), language, dedent(body)))
    return found


#: Blocks of which nothing is run, and why.
NOT_COMMANDS = {
    ("README.md", "@inproceedings{saha2023reiqa,"): "a citation",
    ("docs/log/acceptance.md", "# changed in the preset: data.allow_missing: True"): "a log",
    ("docs/explanation/architecture.md", "flowchart LR"): "a drawing",
    (
        "docs/explanation/architecture.md",
        "pretraining   photograph -> window + recipe (chunks/recipe, shards)",
    ): "a drawing",
    ("docs/how-to/add-a-distortion.md", "def posterize("): "an example without a body",
    (
        "docs/how-to/add-a-stage.md",
        "def summarize(dataset: str, params: Params) -> None:",
    ): "an example without a body",
    ("docs/how-to/add-a-stage.md", "rule summarize_features:"): "a rule; a test adds a stage",
    ("docs/how-to/add-a-dataset.md", "otherset:"): "a catalog entry to be filled in",
    ("docs/how-to/own-data.md", "image,mos"): "a table",
    (
        "docs/how-to/share-a-bundle.md",
        "from reiqa import Scorer",
    ): "an address to be filled in; tests/scoring/test_hub.py has a local hub",
}

#: Commands that are not run: how they begin, and why.
NOT_RUN = {
    "pip install": "installs gigabytes; these tests run in what `make setup` installed",
    "source .venv/bin/activate": "these tests run in that environment",
    "torchrun": "needs several GPUs or nodes; tests/pretrain runs two processes on the CPU",
    "reiqa fetch --dataset csiq": "downloads from the publisher",
    "reiqa index --dataset csiq": "needs the dataset that is downloaded before it",
    "reiqa weights fetch": "downloads from the publisher",
    "score expected content": "printed by the command above it",
    "79.2 66 to 85": "printed by the command above it",
    "hf ": "uploads to the hub",
    "dvc queue start": "runs experiments for minutes, in the background",
    "git ": "about the reader's own repository",
    "pytest": "a test does not run the tests",
    "python benchmarks/severity.py": "measures 155 photographs; tests/distortions has a small form",
    "python -m json.tool": "needs a finished run",
    "reiqa doctor --precision": "measures for seconds; tests/test_doctor.py measures one network",
    "reiqa doctor --results": "needs a finished run; the tutorial has one",
}

#: Commands whose inputs are not here: how they begin, and what they must say, with exit code 2.
REFUSED = {
    "reiqa features --dataset demo": "models/content.safetensors: not found",
    "reiqa weights import --expert": "source to import",
    "reiqa bundle --dataset biq2021": "results/datasets/biq2021",
    # The page on own data is run in order, with photographs.
    "reiqa datasets add my-photos": "my-photos: no such folder",
    "reiqa preset bundle": "add one with reiqa datasets add",
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
        return command if "-n" in words else f"{command} -n"
    if verbs[0] == "make":
        return command.replace("make ", "make -n ", 1)
    # DVC plans a stage once its inputs are there; tests/workflow runs them all on a stub.
    return f"{command} --dry data" if verbs[:2] == ["dvc", "repro"] else command


def shell(project: Project, command: str) -> subprocess.CompletedProcess[str]:
    return project.run("bash", "-c", command, REIQA_MIRROR="")


@pytest.mark.parametrize(
    "block",
    [block for block in blocks() if block.file not in (TUTORIAL, OWN_DATA)],
    ids=lambda block: " ".join(block.key)[:60],
)
def test_a_code_block_runs_unchanged(project: Project, block: Block) -> None:
    if block.key in NOT_COMMANDS or block.language in {"mermaid", "yaml"}:
        return
    if block.language == "python":
        run_python(project.folder, block)
        return
    # The page on clusters is about the paper's preset; ablations vary what it spells out.
    preset = "paper" if block.file.endswith(("run-on-slurm-or-gpus.md", "ablate.md")) else "demo"
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
            done = shell(project, planned(part))
            printed = done.stdout + done.stderr
            says = next((s for start, s in REFUSED.items() if part.startswith(start)), None)
            assert done.returncode == (0 if says is None else 2), f"{part}:\n{printed}"
            assert says is None or says in printed, f"{part}:\n{printed}"


def run_python(folder: Path, block: Block) -> None:
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


def merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a tree of parameters with changes laid over it."""
    both = dict(tree)
    for key, value in changes.items():
        inner = both.get(key)
        nested = isinstance(value, dict) and isinstance(inner, dict)
        both[key] = merged(inner, value) if nested else value
    return both


@pytest.mark.parametrize(
    "block",
    [block for block in blocks() if block.language == "yaml" and block.key not in NOT_COMMANDS],
    ids=lambda block: " ".join(block.key)[:60],
)
def test_a_yaml_block_is_valid(block: Block) -> None:
    tree = yaml.safe_load(block.text)
    if isinstance(tree.get("datasets"), dict):
        assert catalog.read_entries(catalog.PROJECT_FILE, block.text)
    else:
        params = Params.model_validate(merged(tiny_parameters(), tree))
        for name in tree.keys() & set(EXPERTS):
            expert = params.expert(name)
            if (expert.file or "").startswith("bundles/lite/"):
                assert expert.backbone == read_manifest(SHIPPED / "lite").experts[name].backbone


@pytest.fixture
def clone(tmp_path: Path) -> Project:
    """A clone with the package in it, whose distortions the tutorial extends."""
    project = Project.new(tmp_path / "clone")
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "reiqa", project.folder / "reiqa", symlinks=True, ignore=left_out)
    (project.folder / "bundles").mkdir()
    (project.folder / "bundles" / "lite").symlink_to(ROOT / "bundles" / "lite")
    shutil.copy(ROOT / "params.yaml", project.folder)
    project.commit("As it is published")
    return project


def follow_tutorial(clone: Project, until: str) -> dict[str, str]:
    """Do what the tutorial says up to a heading; return what each command printed."""
    text = (ROOT / TUTORIAL).read_text(encoding="utf-8").partition(until)[0]
    printed: dict[str, str] = {}
    for block in (block for block in blocks() if block.file == TUTORIAL):
        if block.text.splitlines()[0] not in text:
            continue
        if block.language == "python":
            write_code(clone.folder, block.text)
        elif block.language == "yaml":
            tree = yaml.safe_load((clone.folder / "params.yaml").read_text())
            # As the text says, but pretraining is as short as it can be.
            tree = tiny_parameters() if tree["preset"] == "demo" else tree
            clone.write_parameters(merged(tree, yaml.safe_load(block.text)))
        else:
            for command in block.commands():
                if not command.startswith(("make setup", "source ")):
                    words = ("bash", "-c", command)
                    printed[command] = clone.must(*words, PYTHONPATH=str(clone.folder))
    return printed


def write_code(folder: Path, code: str) -> None:
    """Put code of the tutorial where its text says."""
    bank = folder / "reiqa" / "distortions"
    if code.startswith("def overexpose"):
        with (bank / "tone.py").open("a") as file:
            file.write(f"\n\n{code}")
    elif code.startswith("Distortion("):
        registry = (bank / "registry.py").read_text()
        end = ")  # fmt: skip\n"
        assert registry.count(end) == 1
        (bank / "registry.py").write_text(registry.replace(end, f"{code.rstrip()},\n{end}"))
    else:
        (folder / "make_photos.py").write_text(code)


def test_the_tutorial_runs_in_order(clone: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a clone to a scorer of one's own that orders photographs, and a distortion."""
    monkeypatch.setenv("REIQA_MIRROR", "")
    printed = follow_tutorial(clone, until="## 8. Pretrain")
    assert "these are smaller" in printed["reiqa score my-photos --sort worst --html page.html"]
    (command,) = (command for command in printed if "scores.csv" in command)
    assert "far from the size" not in printed[command]
    assert "40 rows (0 scored, 40 reused, 0 failed)" in clone.must("bash", "-c", command)
    assert "parameters changed: regression.splits" in printed["reiqa status"]
    assert "features/" not in printed["reiqa status"]
    assert "median SRCC content" in printed["reiqa fit --dataset my_photos"]
    assert "overexpose" in printed["reiqa distort --list"]
    rated = read_column(clone.folder / "my-photos/ratings.csv", "mos")
    scored = read_column(clone.folder / "scores.csv", "score")
    ratings = {f"my-photos/{name}": rating for name, rating in rated.items()}
    assert spearmanr([scored[name] for name in ratings], list(ratings.values())).statistic > 0.9
    made = clone.must("git", "status", "--porcelain").split("\n")
    assert {line.split()[-1] for line in made if line} == {
        *("datasets.yaml", "dvc.yaml", "params.yaml", "make_photos.py", "my-photos/"),
        *("reiqa/distortions/tone.py", "reiqa/distortions/registry.py"),
    }


@pytest.mark.slow
@pytest.mark.engine
def test_the_tutorial_runs_to_its_end(clone: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REIQA_MIRROR", "")
    printed = follow_tutorial(clone, until="## Make it better")
    assert "make_expert" in printed["snakemake results/all_srcc.csv -n"]
    assert "report.html" in printed["reiqa report"]
    used = json.loads((clone.folder / "models/quality.safetensors.prov.json").read_text())
    assert used["parameters"]["bank"]["extras"] == ["overexpose"]
    made = Scorer.load(clone.folder / "bundles/pretrained")
    assert made.bundle.manifest.fitted.images == 40
    assert "pretrained" not in clone.must("git", "status", "--porcelain")


def read_column(path: Path, name: str) -> dict[str, float]:
    """Return a column of numbers by image."""
    with path.open() as file:
        return {row["image"]: float(row[name]) for row in csv.DictReader(file)}


@pytest.mark.slow
def test_the_page_on_own_data_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From forty photographs and a table to a scorer that orders them."""
    monkeypatch.setenv("REIQA_MIRROR", "")
    project = Project.new(tmp_path / "project")
    project.must("reiqa", "preset", "demo", "--force")
    folder = project.folder / "my-photos"
    folder.mkdir()
    scenes = [data.coffee(), data.chelsea(), data.astronaut(), data.rocket()]
    ratings = []
    for number in range(40):
        top, left = 12 * (number // 4), 15 * (number // 4)
        crop = Image.fromarray(scenes[number % 4][top : top + 128, left : left + 160])
        blur = 2.5 * (number * 7 % 10) / 9
        crop.filter(ImageFilter.GaussianBlur(blur)).save(folder / f"{number:02d}.jpg", quality=90)
        ratings.append(4.8 - 1.4 * blur)
    lines = [f"{number:02d}.jpg,{rating:.2f}" for number, rating in enumerate(ratings)]
    (folder / "ratings.csv").write_text("\n".join(["image,mos", *lines]) + "\n")
    first, *others = [block for block in blocks() if (block.file, block.language) == (OWN_DATA, "")]
    assert len(list(first.commands())) == 5, "as the page says"
    for block in (first, *others):
        if block.key not in NOT_COMMANDS:
            for command in block.commands():
                printed = project.must("bash", "-c", planned(command))
                # The page has the entry that the command writes.
                if command.startswith("reiqa datasets add"):
                    written = yaml.safe_load((project.folder / "datasets.yaml").read_text())
                    text = (ROOT / OWN_DATA).read_text(encoding="utf-8")
                    shown = re.search(r"```yaml\n(datasets:\n.*?)```", text, re.DOTALL)
                    assert shown and yaml.safe_load(shown[1]) == written
    assert "rule extract_features" not in printed, "the engine goes on where the commands ended"
    scorer = Scorer.load(project.folder / "bundles" / "mine")
    assert scorer.bundle.manifest.fitted.images == 40
    scores = scorer([folder / f"{number:02d}.jpg" for number in range(40)])
    assert spearmanr(scores, ratings).statistic > 0.9


def test_no_decision_is_left_over() -> None:
    found = blocks()
    keys = {block.key for block in found}
    assert set(NOT_COMMANDS) <= keys
    commands = [command for block in found for command in block.commands()]
    parts = [part for command in commands for part in command.split(" && ")]
    for start in (*NOT_RUN, *REFUSED):
        assert any(part.startswith(start) for part in parts), start


def test_reference_pages_are_up_to_date() -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    assert generate["outdated"]() == [], "run: make reference"


def test_the_site_builds(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "make_expert" in (tmp_path / "reference" / "python-api.html").read_text()


def test_every_verb_is_documented() -> None:
    text = (DOCS / "reference" / "verbs.md").read_text(encoding="utf-8")
    named = [
        command.callback.__name__ for command in cli.app.registered_commands if command.callback
    ]
    assert [name for name in named if f"## {name}\n" not in text] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(
        r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor and other.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads
            }, target


def test_every_test_file_that_the_makefile_names_exists() -> None:
    named = re.findall(r"tests/[\w/]+\.py", (ROOT / "Makefile").read_text())
    assert named and all((ROOT / name).is_file() for name in named)
