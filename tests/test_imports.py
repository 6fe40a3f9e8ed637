"""Data flows one way: a package imports what comes before it, and nothing imports cli."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "reiqa"

FOUNDATION = {
    *("errors", "extras", "validation", "text", "seeds", "progress", "backbone_names"),
    *("expert_names", "params", "catalog", "layout", "resources", "stages", "store", "devices"),
    *("local_files", "images", "tensors"),
}
ORDER = [
    "data",
    "distortions",
    "chunks",
    "encoders",
    "backbone_check",
    "pretrain",
    "features",
    "probe",
    "regression",
    "scoring",
    "presets",
    "torchmetrics",
    "report",
    "pipeline",
]
#: Two kinds of sets are made by the bank; nothing else in `data` knows of it.
EXCEPTIONS = {("data/demo.py", "distortions"), ("data/degraded.py", "distortions")}


def _imported_packages(file: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("reiqa"):
            parts = node.module.split(".")
            packages |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            packages |= {a.name.split(".")[1] for a in node.names if a.name.startswith("reiqa.")}
    return packages


def _package(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_a_package_imports_only_earlier_packages(file: Path) -> None:
    package, imported = _package(file), _imported_packages(file)
    if package in {"cli", "__main__", "doctor", "__init__"}:
        return
    assert "cli" not in imported
    allowed = (
        FOUNDATION if package in FOUNDATION else FOUNDATION | {*ORDER[: ORDER.index(package) + 1]}
    )
    name = file.relative_to(PACKAGE).as_posix()
    excepted = {other for place, other in EXCEPTIONS if place == name}
    assert imported <= allowed | excepted


def test_the_foundation_imports_no_stage() -> None:
    foundation = [file for file in PACKAGE.rglob("*.py") if _package(file) in FOUNDATION]
    assert {_package(file) for file in foundation} == FOUNDATION
    for file in foundation:
        assert not _imported_packages(file) & set(ORDER), file
