"""A project folder with a small corpus of made-up photographs, and parameters to match."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reiqa import layout
from reiqa.params import ChunkParams, Params

torch.set_num_threads(1)

#: Crops small enough for a test; all else as in the paper.
CHUNKS = ChunkParams(corpora=["garden"], n_aug=4, patch=32, images_per_shard=3)


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth colour fields with some texture, ``(H, W, 3)`` uint8."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 40
    planes = [np.sin(rows * a + columns * b + c) for a, b, c in random.uniform(-2, 2, size=(3, 3))]
    texture = random.normal(0, 8, size=(height, width, 1))
    return (127 + 90 * np.stack(planes, -1) + texture).clip(0, 255).astype(np.uint8)


@pytest.fixture(name="photograph")
def photograph_fixture() -> Callable[[int, int, int], np.ndarray]:
    """Makes a photograph from height, width and a seed."""
    return photograph


@pytest.fixture
def parameters() -> Params:
    packaged = {"source": "package", "backbone": "efficientnet_lite0"}
    return Params.model_validate(
        {
            "preset": "test",
            "seed": 7,
            "datasets": ["none"],
            "chunks": CHUNKS.model_dump(),
            "content": packaged,
            "quality": packaged,
        }
    )


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An indexed corpus of seven photographs; the current folder is its project."""
    monkeypatch.chdir(tmp_path)
    folder = layout.raw("garden")
    folder.mkdir(parents=True)
    lines = ["image,width,height,digest"]
    for number in range(7):
        height, width = 260 + 7 * number, 301 + number
        path = folder / f"flower{number}.png"
        Image.fromarray(photograph(height, width, number)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        lines.append(f"{path.name},{width},{height},{digest}")
    index = layout.index("garden")
    index.parent.mkdir(parents=True)
    index.write_text("\n".join(lines) + "\n")
    return "garden"
