"""A run in miniature from photographs to regressor, and the bundle made of it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from support import miniature

from reiqa import layout, store
from reiqa.encoders import build_encoder, save_encoder
from reiqa.features import extraction
from reiqa.params import EXPERTS, Params
from reiqa.regression import fitting
from reiqa.scoring import Scorer, build

PARAMS = Params.model_validate(
    {**miniature.TREE, "regression": {"alphas": [1e-1, 1e3, 5], "splits": 3, "bootstrap": 20}}
)

COUNT = 30


@dataclass(frozen=True)
class Run:
    """A project folder in which `reiqa fit` has been run, and its bundle."""

    folder: Path
    bundle: Path

    @property
    def photographs(self) -> list[Path]:
        """All rated images, in the order of the index."""
        return [self.folder / layout.raw("clive") / name for name in names()]


def names() -> list[str]:
    return [f"Images/{number:02d}.png" for number in range(COUNT)]


def photograph(seed: int, blur: float, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Coarse and fine structure, blurred: the less, the better it is rated."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, size=(6, 8, 3), dtype=np.uint8))
    fine = rng.integers(-60, 61, size=(size[1], size[0], 1))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int64) + fine
    sharp = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return sharp.filter(ImageFilter.GaussianBlur(blur)) if blur else sharp


def blurs() -> list[float]:
    return [3.0 * (number % 6) / 5 for number in range(COUNT)]


def build_run() -> None:
    """Fill the current folder."""
    raw = layout.raw("clive") / "Images"
    raw.mkdir(parents=True)
    lines = ['# name: "clive"', "# listed: 30", "# missing: 0"]
    lines += ["# rating_low: 0", "# rating_high: 100", '# official_split: "none published"']
    lines.append("image,mos,reference,split,distortion,level")
    for number, (name, blur) in enumerate(zip(names(), blurs(), strict=True)):
        photograph(number, blur).save(layout.raw("clive") / name)
        lines.append(f"{name},{90 - 25 * blur + number % 3},{name},,,0")
    store.write_text(layout.index("clive"), "\n".join(lines) + "\n")
    store.sign_sidecar(layout.index("clive"), "index", "clive", {}, {})
    for seed, expert in enumerate(EXPERTS):
        path = layout.model(expert)
        save_encoder(
            build_encoder("mobilenet_v3_small", expert, seed=seed), path, {"source": "random"}
        )
        store.sign_sidecar(path, "model", expert, {}, {})
        extraction.extract("clive", expert, PARAMS)
        store.sign_sidecar(layout.features("clive", expert), "features", f"clive/{expert}", {}, {})
    fitting.fit("clive", PARAMS)
    store.sign_sidecar(layout.result("clive"), "fit", "clive", {}, {})


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run; nobody writes into its folder again."""
    folder = tmp_path_factory.mktemp("run")
    with contextlib.chdir(folder):
        build_run()
        build.build_bundle("clive", Path("bundles/tiny"))
    return Run(folder, folder / "bundles/tiny")


@pytest.fixture(scope="session")
def scorer(run: Run) -> Scorer:
    return Scorer.load(run.bundle)


@pytest.fixture
def in_run(run: Run) -> Iterator[Run]:
    """The run's folder as the current one, to be read only."""
    with contextlib.chdir(run.folder):
        yield run


@pytest.fixture
def photos(run: Run, project: Path) -> Path:
    """Four photographs of a run, in the current folder's ``photos``."""
    folder = Path("photos")
    folder.mkdir()
    for name, number in zip("cabd", (0, 5, 2, 3), strict=True):
        (folder / f"{name}.png").write_bytes(run.photographs[number].read_bytes())
    return folder
