"""Data flows one way: a room imports what comes before it, and nothing imports cli."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "reiqa"

GROUND = {
    *("errors", "validation", "text", "seeds", "progress", "backbone_names", "params", "catalog"),
    *("layout", "resources", "stages", "store", "devices", "images", "tensors"),
}
ORDER = [
    "data",
    "distortions",
    "chunks",
    "encoders",
    "pretrain",
    "probe",
    "features",
    "regression",
    "scoring",
    "report",
    "pipeline",
]
#: Two kinds of sets are made by the bank; nothing else in `data` knows of it.
EXCEPTIONS = {("data/demo.py", "distortions"), ("data/degraded.py", "distortions")}


def _imported_rooms(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("reiqa"):
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("reiqa.")}
    return rooms


def _room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_a_room_imports_only_what_comes_before_it(file: Path) -> None:
    room, imported = _room(file), _imported_rooms(file)
    if room in {"cli", "__main__", "doctor", "__init__"}:
        return
    assert "cli" not in imported
    allowed = GROUND if room in GROUND else GROUND | {*ORDER[: ORDER.index(room) + 1]}
    name = file.relative_to(PACKAGE).as_posix()
    excepted = {other for place, other in EXCEPTIONS if place == name}
    assert imported <= allowed | excepted


def test_the_ground_floor_imports_no_stage() -> None:
    ground = [file for file in PACKAGE.rglob("*.py") if _room(file) in GROUND]
    assert {_room(file) for file in ground} == GROUND
    for file in ground:
        assert not _imported_rooms(file) & set(ORDER), file
