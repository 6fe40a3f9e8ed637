"""The demo datasets: photographs from installed packages, distorted by the distortion bank.

No download is needed. The ratings are a proxy: 100 times the MS-SSIM of the distorted image
against its original. Every table and page that shows them must state this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reiqa import devices, seeds, store, text
from reiqa.data.packaged import absence_named, read_photograph
from reiqa.distortions import LEVELS
from reiqa.images import Pixels, read_rgb

#: MS-SSIM needs more than 160 pixels on the shorter side; a small image keeps features cheap.
LONGER_SIDE = 320

COLUMNS = ("dis_img_path", "dis_type", "ref_img_path", "score")


#: Small copies of photographs of gb82 and Kodak; README.md there names sources and licences.
FOLDER = Path(__file__).parent / "photographs"


def _stereo(eye: int) -> Callable[[], Pixels]:
    def load() -> Pixels:
        from skimage import data

        pair: Any = data.stereo_motorcycle
        return np.asarray(pair()[eye])

    return load


def _copies(*names: str) -> dict[str, Callable[[], Pixels]]:
    return {name: partial(read_rgb, FOLDER / f"{name}.jpg") for name in names}


def _kodak(numbers: range) -> dict[str, Callable[[], Pixels]]:
    return _copies(*(f"kodak_{number:02d}" for number in numbers))


def _gb82(*names: str) -> dict[str, Callable[[], Pixels]]:
    return _copies(*(f"gb82_{name}" for name in names))


#: Photographs of each dataset. The datasets share no photograph.
PHOTOGRAPHS: dict[str, dict[str, Callable[[], Pixels]]] = {
    "demo_corpus": {
        "hubble_deep_field": partial(read_photograph, "skimage", "hubble_deep_field"),
        "motorcycle_left": _stereo(0),
        "motorcycle_right": _stereo(1),
        **_gb82("mies", "night", "nyc", "path", "pixel", "prudential", "rain", "reflect"),
        **_gb82("sand", "sumac", "sunset", "waves"),
        **_kodak(range(17, 25)),
    },
    "demo": {
        "chelsea": partial(read_photograph, "skimage", "chelsea"),
        "china": partial(read_photograph, "sklearn", "china.jpg"),
        "coffee": partial(read_photograph, "skimage", "coffee"),
        "flower": partial(read_photograph, "sklearn", "flower.jpg"),
        **_kodak(range(1, 17)),
    },
    "demo_mixed": {
        "astronaut": partial(read_photograph, "skimage", "astronaut"),
        "grace_hopper": partial(read_photograph, "matplotlib", "grace_hopper.jpg"),
        "rocket": partial(read_photograph, "skimage", "rocket"),
        **_gb82("baby", "bulb", "city", "dog", "flowers", "girl", "grass", "guitar", "haze"),
    },
}

#: Types whose MS-SSIM features can tell on photographs that were not fitted (docs/log/demo.md).
STRUCTURAL = (
    "gaussian_blur",
    "resize_bicubic",
    "resize_bilinear",
    "white_noise",
    "colour_noise",
    "multiplicative_noise",
)

#: Levels of each type for one reference of ``demo``; over the references they are equally frequent.
_LEVELS_PER_TYPE = 2

_MIXED_PER_REFERENCE = 16


@dataclass(frozen=True)
class Degradation:
    """A sequence of one or more (type, level) distortions of a reference."""

    name: str
    steps: tuple[tuple[str, int], ...]


def make_demo(name: str, folder: Path) -> dict[str, Any]:
    """Write a demo dataset into ``folder``: images, and ratings unless it is a corpus.

    Args:
        name: ``demo_corpus``, ``demo`` or ``demo_mixed``.
        folder: an empty folder.

    Returns:
        Entries for the receipt.

    Raises:
        WorkFailedError: an installed package does not contain its photograph.
    """
    photographs = {title: _photograph(title, load) for title, load in PHOTOGRAPHS[name].items()}
    if name == "demo_corpus":
        for title, pixels in photographs.items():
            Image.fromarray(pixels).save(folder / f"{title}.png", compress_level=3)
        return {"photographs": sorted(photographs)}
    from reiqa.distortions import VERSION

    images = folder / "images"
    images.mkdir()
    rows: list[tuple[str, str, str, str]] = []
    for place, (title, pixels) in enumerate(photographs.items()):
        original = shrink(pixels)
        path = f"images/{title}.png"
        Image.fromarray(original).save(folder / path, compress_level=3)
        rows.append((path, "", path, "100.0000"))
        plan = _single(place) if name == "demo" else _mixed(title)
        for degradation, distorted_pixels, rating in _degraded(title, original, plan):
            distorted = f"images/{title}_{degradation.name}.png"
            Image.fromarray(distorted_pixels).save(folder / distorted, compress_level=3)
            kind = "+".join(step for step, _ in degradation.steps)
            rows.append((distorted, kind, path, f"{rating:.4f}"))
    store.write_text(folder / "ratings.csv", text.format_csv(COLUMNS, rows))
    return {"photographs": sorted(photographs), "bank_version": VERSION}


def _single(place: int) -> list[Degradation]:
    """Return some levels of each type in `STRUCTURAL` for the reference at a place."""
    return [
        Degradation(f"{kind}_l{level}", ((kind, level),))
        for number, kind in enumerate(STRUCTURAL)
        for level in levels_in_turn(place + number, _LEVELS_PER_TYPE)
    ]


def levels_in_turn(place: int, count: int) -> list[int]:
    """Return ``count`` of the five levels, each equally often at five consecutive places."""
    return [1 + (place + 2 * number) % LEVELS for number in range(count)]


def _mixed(title: str) -> list[Degradation]:
    """Return some random ordered pairs of distinct types at random levels."""
    types = STRUCTURAL
    plan = []
    for number in range(_MIXED_PER_REFERENCE):
        draw = seeds.generator("demo_mixed", title, number)
        first, second = draw.choice(len(types), size=2, replace=False).tolist()
        levels = draw.integers(1, LEVELS, size=2, endpoint=True).tolist()
        steps = ((types[first], levels[0]), (types[second], levels[1]))
        plan.append(Degradation(f"mix{number:02d}", steps))
    return plan


def _degraded(
    title: str, original: Pixels, plan: list[Degradation]
) -> list[tuple[Degradation, Pixels, float]]:
    """Apply each degradation of a plan to one reference and rate the result against it."""
    import torch
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    from reiqa.distortions import distort
    from reiqa.tensors import to_tensor, to_uint8

    devices.keep_freed_memory()
    reference = to_tensor(original)[None]
    results = []
    # One thread makes the summation order, and thus the ratings, the same on every machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for item in plan:
            image = reference
            for number, (kind, level) in enumerate(item.steps):
                seed = seeds.derive("demo", title, item.name, number)
                image = distort(image, [kind], [level], [seed])
            with torch.inference_mode():
                rating = 100 * float(ms_ssim(image, reference, data_range=1.0))
            results.append((item, to_uint8(image)[0].permute(1, 2, 0).numpy(), rating))
    finally:
        torch.set_num_threads(threads)
    return results


def _photograph(title: str, load: Callable[[], Pixels]) -> Pixels:
    with absence_named(title, "scikit-image, scikit-learn or matplotlib"):
        return load()


def shrink(pixels: Pixels) -> Pixels:
    """Return a photograph at `LONGER_SIDE`."""
    height, width = pixels.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
