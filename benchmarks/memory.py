"""How much memory 10,000 photographs take, from the index to the regressor.

Run:    python benchmarks/memory.py [--write]

KonIQ-10k under its true names, 10,073 photographs: 40 have its true size, 1024x768, which decides
the memory of a batch; the others are 96 pixels wide, or one processor would need hours. Both
experts are ResNet-50 of random weights, 4,096 numbers an image each. Verbs run as a user runs them.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
import yaml
from PIL import Image
from pretended import listed, receive
from skimage import data
from usage import Used, processor, reiqa

from reiqa import layout, params, store

OUT = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "memory.md"
NAME = "koniq10k"
PRESET = Path(params.__file__).parent / "presets" / "paper.yaml"
FULL, SMALL = (1024, 768), (96, 72)
MOST_GIB = {"index": 2.0, "features": 2.0, "fit": 4.0}


@dataclass(frozen=True)
class Row:
    """What a verb took at its peak, beside what it may."""

    verb: str
    used: Used
    most_gib: float

    @property
    def gib(self) -> float:
        return self.used.peak_mib / 1024

    @property
    def within(self) -> bool:
        return self.gib < self.most_gib

    def __str__(self) -> str:
        return (
            f"| `reiqa {self.verb}` | {self.used.wall_s / 60:.1f} | {self.gib:.2f} "
            f"| {self.most_gib:g} | {'yes' if self.within else '**no**'} |"
        )


def lay_out(paths: list[str], full: int) -> None:
    """Make the current folder a project into which the set seems to have been fetched."""
    raw = layout.raw(NAME)
    step = len(paths) // full
    photograph = Image.fromarray(data.coffee())
    coded = {size: _coded(photograph, size) for size in (FULL, SMALL)}
    for number, path in enumerate(paths):
        place = raw / path
        place.parent.mkdir(parents=True, exist_ok=True)
        # Decoders stop before what follows the image, and features are known by digest.
        place.write_bytes(coded[SMALL if number % step else FULL] + number.to_bytes(4))
    store.write_text(layout.PARAMS, yaml.safe_dump(parameters(), sort_keys=False))
    receive(NAME)


def parameters() -> dict[str, object]:
    """The paper's preset for this set alone, its experts from files, on one processor."""
    tree: dict[str, object] = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    tree["datasets"] = [NAME]
    tree["data"] = {"allow_missing": True}
    tree["compute"] = {"device": "cpu", "threads": 1, "precision": "float32"}
    for number, expert in enumerate(("content", "quality")):
        torch.manual_seed(number)
        torch.save(torchvision.models.resnet50().state_dict(), f"{expert}.pth")
        tree[expert] = {"source": "import", "backbone": "resnet50", "file": f"{expert}.pth"}
    return tree


def _coded(photograph: Image.Image, size: tuple[int, int]) -> bytes:
    photograph.resize(size).save("photograph.jpg", quality=90)
    return Path("photograph.jpg").read_bytes()


def measure() -> Iterator[Row]:
    """Run the stages, each after the one it needs."""
    yield _row("index", "--dataset", NAME)
    for expert in ("content", "quality"):
        reiqa("weights", "import", "--expert", expert)
        yield _row("features", "--dataset", NAME, "--expert", expert)
    yield _row("fit", "--dataset", NAME)


def _row(*verb: str) -> Row:
    return Row(" ".join(verb), reiqa(*verb), MOST_GIB[verb[0]])


def report(rows: list[Row], count: int, full: int) -> str:
    return "\n".join(
        [
            "# Memory for ten thousand photographs",
            "",
            f"Written by `python benchmarks/memory.py --full {full} --write`."
            f" {count:,} photographs, {full} of them 1024x768 and the others 96x72; two ResNet-50,"
            f" 8,192 features in all; the paper's preset; one core of {processor()}. The peak is"
            " the whole process: Python, torch and the encoder are part of it.",
            "",
            "| command | wall, min | peak, GiB | allowed, GiB | within |",
            "|---|---:|---:|---:|---|",
            *map(str, rows),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to lay it out; a temporary one if not")
    parser.add_argument("--count", type=int, help="photographs, the first so many; all if not")
    parser.add_argument("--full", type=int, default=40, help="of them at 1024x768")
    parser.add_argument(
        "--write", action="store_true", help=f"to {OUT.name} in docs/log/benchmarks"
    )
    chosen = parser.parse_args()
    paths = [row["dis_img_path"] for row in listed("KonIQ-10k")][: chosen.count]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder, chdir(folder):
        lay_out(paths, chosen.full)
        rows = []
        for row in measure():
            print(row, flush=True)
            rows.append(row)
    text = report(rows, len(paths), chosen.full)
    print(text)
    if chosen.write:
        store.write_text(OUT, text)


if __name__ == "__main__":
    main()
