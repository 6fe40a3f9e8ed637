"""Scoring needs no package of the pipeline; whatever does need one names the command to type."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import typer
from PIL import Image
from support.absent import run_without

from reiqa import extras
from reiqa.backbone_names import PACKAGED
from reiqa.cli import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

#: Imported where they are installed, and not part of the pipeline.
OPTIONAL = {"huggingface_hub", "dvclive"} | {module for module, _ in PACKAGED.values()}

#: Arguments of each verb that needs the pipeline.
ARGUMENTS = {
    "fetch": ["--dataset", "csiq"],
    "index": ["--dataset", "csiq"],
    "distort": ["--list"],
    "chunks": [],
    "pretrain": ["--expert", "quality"],
    "probe": [],
    "features": ["--dataset", "demo"],
    "fit": ["--dataset", "demo"],
    "cross": [],
    "report": [],
    "bundle": ["--dataset", "demo"],
    "export": ["-o", "lite.onnx"],
    "weights import": ["--expert", "quality"],
    "weights fetch": ["moco_v2_800ep"],
}

#: Runs the command line in this process; `main` always ends with SystemExit.
REIQA = """
import contextlib, io, sys
from reiqa import cli

def reiqa(*arguments):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["reiqa", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            return end.code, out.getvalue(), err.getvalue()
"""


def distributions(requirements: list[str]) -> set[str]:
    """Canonical names of the packages in a list of requirements."""
    names = (re.match(r"[\w.-]+", each)[0] for each in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def modules(requirements: list[str]) -> set[str]:
    """Import names of the packages in a list of requirements."""
    wanted = distributions(requirements)
    found = metadata.packages_distributions().items()
    return {module for module, names in found if distributions(names) & wanted}


def imported(file: Path) -> set[str]:
    """Top-level modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_table_of_the_pipeline_is_its_extra() -> None:
    extra = PROJECT["optional-dependencies"]["pipeline"]
    assert len(extras.PIPELINE) == len(set(extras.PIPELINE)) == len(extra)
    assert set(extras.PIPELINE) <= modules(extra)
    assert not distributions(extra) & distributions(PROJECT["dependencies"])


def test_every_import_belongs_to_the_dependencies_or_to_an_extra() -> None:
    # Parts of pydantic and of jinja2, installed with them.
    parts = {"pydantic_core", "markupsafe"}
    declared = modules(PROJECT["dependencies"]) | {*extras.PIPELINE} | OPTIONAL | parts
    for file in sorted((ROOT / "reiqa").rglob("*.py")):
        foreign = imported(file) - sys.stdlib_module_names - {"reiqa"}
        assert foreign <= declared, file


def test_scoring_imports_nothing_of_the_pipeline(photograph: Path, tmp_path: Path) -> None:
    """Here the packages are installed, so an import in a `try` would be seen too."""
    code = f"""{REIQA}
PIPELINE = set({extras.PIPELINE!r}) - {{"rich"}}  # the command line itself uses rich

def check(*arguments):
    code, out, err = reiqa(*arguments)
    assert code == 0, err
    assert not PIPELINE & set(sys.modules), (arguments, PIPELINE & set(sys.modules))

check("--help")
check("score", "--help")
check("score", {str(photograph)!r}, "--out", "a.csv", "--html", "a.html", "--map", "maps")
check("score", {str(photograph)!r}, "--sort", "worst", "--format", "jsonl")
check("bundles")
check("datasets")

import numpy
from reiqa import Scorer
score = Scorer.load()(numpy.zeros((40, 50, 3), numpy.uint8))
assert 0 < score.high <= 100
assert not PIPELINE & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"a.csv", "a.html", "maps"}


def test_help_imports_neither_the_catalog_nor_its_validation() -> None:
    code = f"{REIQA}\nassert reiqa('--help')[0] == 0\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"pydantic", "yaml", "numpy", "PIL", "onnxruntime", "tqdm", "importlib.metadata"}
    slow |= {"reiqa.catalog", "reiqa.params", "reiqa.store", "reiqa.pipeline", "reiqa.scoring.run"}
    assert not slow & set(done.stdout.split())


def test_the_list_of_verbs_is_complete() -> None:
    base = {"preset", "datasets", "score", "bundles", "status", "doctor"}
    commands = typer.main.get_command(app).commands
    names = {*commands} - {"weights"} | {f"weights {name}" for name in commands["weights"].commands}
    assert names - base == set(ARGUMENTS)


def test_each_verb_of_the_pipeline_says_in_one_line_what_to_install(tmp_path: Path) -> None:
    code = (
        f"{REIQA}\n"
        f"commands = [(*verb.split(), *rest) for verb, rest in {ARGUMENTS!r}.items()]\n"
        "print(json.dumps([reiqa(*command) for command in commands]))"
    )
    done = run_without(extras.PIPELINE, code, tmp_path)
    assert done.returncode == 0, done.stderr
    for verb, (status, out, err) in zip(ARGUMENTS, json.loads(done.stdout), strict=True):
        expected = f"reiqa: {verb}: package torch not installed; run: {extras.COMMAND}\n"
        assert (status, out, err) == (2, "", expected)
    # Nothing was started.
    assert not list(tmp_path.iterdir())


def test_arguments_and_functions_that_need_torch_say_what_to_install(
    photograph: Path, tmp_path: Path
) -> None:
    code = f"""{REIQA}
from reiqa import Scorer
from reiqa.errors import BadInputError

def refusal(function, *arguments):
    try:
        function(*arguments)
    except (BadInputError, ImportError) as error:
        return [type(error).__name__, str(error)]

score = reiqa("score", {str(photograph)!r}, "--device", "auto")
assert score[0] == 0, score
print(json.dumps([
    reiqa("score", {str(photograph)!r}, "--device", "cuda")[::2],
    refusal(Scorer.load, "lite", "cuda:0"),
    refusal(Scorer.load("lite").as_module),
    refusal(__import__, "reiqa.torchmetrics"),
]))
"""
    done = run_without(extras.PIPELINE, code, tmp_path)
    assert done.returncode == 0, done.stderr
    missing = f"package torch not installed; run: {extras.COMMAND}"
    assert json.loads(done.stdout) == [
        [2, f"reiqa: --device cuda: {missing}\n"],
        ["BadInputError", f"device 'cuda:0': {missing}"],
        ["BadInputError", f"Scorer.as_module: {missing}"],
        [
            "ImportError",
            "reiqa.torchmetrics: needs the package torch; run: pip install 'reiqa[metrics]'",
        ],
    ]


def test_the_metric_needs_its_own_extra_only(tmp_path: Path) -> None:
    own = modules(PROJECT["optional-dependencies"]["metrics"])
    code = (
        "import torch\nfrom reiqa.torchmetrics import ReIQA\n"
        "print(float(ReIQA()(torch.zeros(1, 3, 64, 64))))"
    )
    # torch depends on filelock, the command line on rich.
    done = run_without({*extras.PIPELINE} - own - {"filelock", "rich"}, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert -100 < float(done.stdout) < 100


def test_a_package_that_is_installed_but_broken_is_not_called_missing() -> None:
    with pytest.raises(ModuleNotFoundError), extras.explain_missing("x"):
        raise ModuleNotFoundError("no part", name="torch.part")
    with pytest.raises(ModuleNotFoundError), extras.explain_missing("x"):
        raise ModuleNotFoundError("not ours", name="another")


def test_the_doctor_needs_the_pipeline_in_a_project_only(tmp_path: Path) -> None:
    runs = "[reiqa('doctor'), reiqa('preset', 'demo'), reiqa('doctor')]"
    code = f"{REIQA}\nprint(json.dumps({runs}))"
    done = run_without(extras.PIPELINE, code, tmp_path)
    assert done.returncode == 0, done.stderr
    (outside, report, _), _, (inside, fault, _) = json.loads(done.stdout)
    assert outside == 0 and "BAD" not in report
    assert f"absent     pipeline: not installed (optional: {extras.COMMAND})" in report
    assert "ok         bundle lite-" in report and "ok         onnxruntime" in report
    assert inside == 1 and "BAD        params.yaml needs packages" in fault
