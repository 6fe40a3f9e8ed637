"""The embedded sets: photographs that installed packages ship, distorted by reiqa's own bank.

No download is needed. Ratings are a proxy, MS-SSIM of the distorted image against its original
times 100; every table and page that shows them must say so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reiqa import seeds, store, text
from reiqa.distortions import LEVELS
from reiqa.errors import WorkFailedError
from reiqa.images import Pixels, read_rgb

#: MS-SSIM needs over 160 pixels on the shorter side; features stay cheap below this.
LONGER_SIDE = 320

COLUMNS = ("dis_img_path", "dis_type", "ref_img_path", "score")


def _skimage(name: str) -> Callable[[], Pixels]:
    def load() -> Pixels:
        from skimage import data

        return np.asarray(getattr(data, name)())

    return load


def _sklearn(name: str) -> Callable[[], Pixels]:
    def load() -> Pixels:
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(name))

    return load


def _matplotlib(name: str) -> Callable[[], Pixels]:
    def load() -> Pixels:
        from matplotlib.cbook import get_sample_data

        return read_rgb(get_sample_data(name, asfileobj=False))

    return load


def _stereo(eye: int) -> Callable[[], Pixels]:
    def load() -> Pixels:
        from skimage import data

        pair: Any = data.stereo_motorcycle
        return np.asarray(pair()[eye])

    return load


#: Photographs of each set; no photograph is in two of them.
PHOTOGRAPHS: dict[str, dict[str, Callable[[], Pixels]]] = {
    "demo_corpus": {
        "hubble_deep_field": _skimage("hubble_deep_field"),
        "motorcycle_left": _stereo(0),
        "motorcycle_right": _stereo(1),
    },
    "demo": {
        "chelsea": _skimage("chelsea"),
        "china": _sklearn("china.jpg"),
        "coffee": _skimage("coffee"),
        "flower": _sklearn("flower.jpg"),
    },
    "demo_mixed": {
        "astronaut": _skimage("astronaut"),
        "grace_hopper": _matplotlib("grace_hopper.jpg"),
        "rocket": _skimage("rocket"),
    },
}

#: Types that change structure, which is all that MS-SSIM sees: a picture of false colours is as
#: good as new to it, and no rating of it would mean anything.
STRUCTURAL = (
    "gaussian_blur",
    "lens_blur",
    "jpeg",
    "white_noise",
    "impulse_noise",
    "multiplicative_noise",
    "denoise",
    "resize_bicubic",
    "resize_nearest",
    "pixelate",
    "displaced_patches",
    "jitter",
)

_MIXED_PER_REFERENCE = 50


@dataclass(frozen=True)
class Degradation:
    """What is done to a reference: one or more (type, level) in a row."""

    name: str
    steps: tuple[tuple[str, int], ...]


def make_demo(name: str, folder: Path) -> dict[str, Any]:
    """Write a set made here into ``folder``: images, and ratings where it is rated.

    Args:
        name: ``demo_corpus``, ``demo`` or ``demo_mixed``.
        folder: an empty folder.

    Returns:
        What it was made of, for the receipt.

    Raises:
        WorkFailedError: an installed package lacks its photograph.
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
    for title, pixels in photographs.items():
        original = _shrunk(pixels)
        path = f"images/{title}.png"
        Image.fromarray(original).save(folder / path, compress_level=3)
        rows.append((path, "", path, "100.0000"))
        plan = _single() if name == "demo" else _mixed(title)
        for done, pixels_done, rating in _degraded(title, original, plan):
            distorted = f"images/{title}_{done.name}.png"
            Image.fromarray(pixels_done).save(folder / distorted, compress_level=3)
            kind = "+".join(step for step, _ in done.steps)
            rows.append((distorted, kind, path, f"{rating:.4f}"))
    store.write_text(folder / "ratings.csv", text.format_csv(COLUMNS, rows))
    return {"photographs": sorted(photographs), "bank_version": VERSION}


def _single() -> list[Degradation]:
    """Return every level of every type in `STRUCTURAL`."""
    return [
        Degradation(f"{kind}_l{level}", ((kind, level),))
        for kind in STRUCTURAL
        for level in range(1, LEVELS + 1)
    ]


def _mixed(title: str) -> list[Degradation]:
    """Return 50 pairs of distinct types, in order, each at any level."""
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
    """Carry out a plan on one reference, and rate each outcome against it."""
    import torch
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    from reiqa.distortions import distort
    from reiqa.tensors import to_tensor, to_uint8

    reference = to_tensor(original)[None]
    made = []
    # One thread: the sums are then the same on every machine, and images this small gain no time.
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
            made.append((item, to_uint8(image)[0].permute(1, 2, 0).numpy(), rating))
    finally:
        torch.set_num_threads(threads)
    return made


def _photograph(title: str, load: Callable[[], Pixels]) -> Pixels:
    try:
        return load()
    except (OSError, AttributeError, ImportError, ValueError) as error:
        raise WorkFailedError(
            f"{title}: not in the installed scikit-image, scikit-learn or matplotlib ({error}); "
            "install the versions of requirements.lock"
        ) from None


def _shrunk(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
