"""``reiqa bundles``: the installed bundles with size, training set, accuracy and speed."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from reiqa import text
from reiqa.scoring import bundle as bundles

if TYPE_CHECKING:
    from reiqa.scoring.scorer import Scorer

#: Name of the bundle that is used if none is named.
DEFAULT = "lite"

#: Height and width of the image on which speed is measured.
SPEED_SIZE = (768, 1024)

_REPEATS = 3

_NOTES = (
    "SRCC: median over the splits of the training set, both experts.",
    "CPU seconds: processor time to score one decoded 1024x768 image on one thread, measured now"
    " on this machine.",
)


@dataclass(frozen=True)
class InstalledBundle:
    """One installed bundle.

    Attributes:
        name: name for `Scorer.load` and ``--bundle``.
        default: whether this bundle is used if none is named.
        folder: folder of the bundle.
        bytes: size of all files in the folder.
        dataset: name of the dataset whose ratings the regressor was fitted to.
        title: display name of the dataset.
        images: number of rated images.
        srcc: median SRCC of both experts over the splits of that dataset, if defined.
        cpu_seconds: processor time to score one decoded 1024x768 image on one thread, if measured.
    """

    name: str
    default: bool
    folder: str
    bytes: int
    dataset: str
    title: str
    images: int
    srcc: float | None
    cpu_seconds: float | None


def list_bundles(speed: bool = True) -> list[InstalledBundle]:
    """Describe every installed bundle, in the order of their names.

    Args:
        speed: load each bundle and measure its speed.

    Raises:
        BadInputError: a bundle is damaged.
    """
    return [_describe(name, speed) for name in bundles.installed_bundles()]


def measure_cpu_seconds(scorer: "Scorer") -> float:
    """Return the processor time to score one image of `SPEED_SIZE`, the least of three runs."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SPEED_SIZE, 3), dtype=np.uint8)
    scorer(pixels)  # The first call also allocates memory and chooses kernels.
    seconds = []
    for _ in range(_REPEATS):
        before = time.process_time()
        scorer(pixels)
        seconds.append(time.process_time() - before)
    return min(seconds)


def as_text(rows: Sequence[InstalledBundle]) -> str:
    """Return a table with a line for each bundle, and what its columns mean."""
    cells = [
        (
            row.name + " (default)" * row.default,
            f"{row.bytes / 1e6:.1f} MB",
            row.title,
            f"{row.images:,}",
            "-" if row.srcc is None else f"{row.srcc:.3f}",
            "-" if row.cpu_seconds is None else f"{row.cpu_seconds:.2f}",
        )
        for row in rows
    ]
    heads = ("bundle", "size", "fitted to", "images", "SRCC", "CPU seconds")
    return "\n".join([text.align_columns(heads, cells), "", *_NOTES])


def as_json(rows: Sequence[InstalledBundle]) -> str:
    """Return a JSON list with an object for each bundle."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def _describe(name: str, speed: bool) -> InstalledBundle:
    bundle = bundles.load_bundle(bundles.SHIPPED / name)
    fitted, seconds = bundle.manifest.fitted, None
    if speed:
        from reiqa.scoring.scorer import Scorer

        seconds = round(measure_cpu_seconds(Scorer(bundle)), 3)
    own = [entry for entry in bundle.manifest.metrics if entry["dataset"] == fitted.dataset]
    return InstalledBundle(
        name=name,
        default=name == DEFAULT,
        folder=str(bundle.folder),
        bytes=sum(path.stat().st_size for path in bundle.folder.iterdir()),
        dataset=fitted.dataset,
        title=fitted.title,
        images=fitted.images,
        srcc=own[0]["variants"]["both"]["srcc"]["median"] if own else None,
        cpu_seconds=seconds,
    )
