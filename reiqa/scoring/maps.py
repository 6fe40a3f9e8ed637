"""A picture of where an image is bad: windows through the quality expert, as colours over it."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from reiqa import store, tensors
from reiqa.features.batching import Pixels
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.inputs import PreparedImage
from reiqa.scoring.record import Record
from reiqa.scoring.scorer import Score, Scorer
from reiqa.scoring.sliding_windows import Surface, WindowGrid, interpolate_grid

#: Longer side of a photograph in the picture, in pixels.
_SIDE = 840
_DPI = 100

#: The colours reach at least so many points to either side, or a trifle would look like a fault.
_LEAST_REACH = 10.0

#: Characters of a file name above the picture.
_LONG = 40

#: Windows encoded at once.
_BATCH = 16

#: Orange for worse than the whole, purple for better: told apart with any colour vision.
_COLOURS = "PuOr"


def local_scores(
    scorer: Scorer, seen: PreparedImage, score: Score, height: int, width: int
) -> Surface:
    """Return how good an image is place by place, ``(height, width)`` points.

    Each place has the score that the image would have if all of it looked to the quality expert
    as it does there; the content expert's share is the whole image's. The mean over the windows
    is the image's own score.

    Args:
        scorer: whose bundle measures.
        seen: the image.
        score: of the whole image.
        height: of the map.
        width: of the map.
    """
    image = seen.batch[0]
    plan = WindowGrid.over(*image.shape[1:])
    boxes = [(slice(None), *box) for box in plan.boxes()]
    shares = [
        scorer.expert_points(
            "quality", torch.stack([image[box] for box in boxes[start : start + _BATCH]])
        )
        for start in range(0, len(boxes), _BATCH)
    ]
    values = torch.cat(shares).numpy().reshape(plan.shape)
    return interpolate_grid(plan, values - values.mean() + score, height, width)


class MapWriter:
    """Draws the map of each image it is called with into a folder."""

    def __init__(self, scorer: Scorer, folder: Path, items: Sequence[ImageItem]) -> None:
        """Give each image a file of its own: where it lay below its folder, ``.map.png`` added."""
        self._scorer = scorer
        self._drawing = threading.Lock()
        self._targets: dict[Path, Path] = {}
        used: Counter[Path] = Counter()
        for item in items:
            place = folder / item.inside
            again = f"-{used[place]}" if used[place] else ""
            used[place] += 1
            self._targets[item.path] = place.with_name(f"{place.name}{again}.map.png")
        self._names = {item.name: item.path for item in items}

    def __call__(self, item: ImageItem, seen: PreparedImage, score: Score) -> None:
        """Measure and draw one image."""
        pixels = _small(tensors.to_uint8(seen.batch[0]).permute(1, 2, 0).contiguous().numpy())
        points = local_scores(self._scorer, seen, score, *pixels.shape[:2])
        # Matplotlib's fonts are not made for several threads.
        with self._drawing, store.atomic(self._targets[item.path]) as temporary:
            title = PurePath(item.name).name
            _draw(title, pixels, points, score).savefig(
                temporary, format="png", metadata={"Software": None}
            )

    def already_drawn(self, known: Mapping[str, Record]) -> dict[str, Record]:
        """Return those rows whose map is there already."""
        return {
            name: record
            for name, record in known.items()
            if name in self._names and self._targets[self._names[name]].exists()
        }


def _small(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _draw(name: str, pixels: Pixels, points: Surface, score: Score) -> Figure:
    """Set the photograph beside its map, with the colours' scale."""
    height, width = pixels.shape[:2]
    inches = _SIDE / _DPI / max(height, width)
    size = (2 * inches * width + 1.4, inches * height + 0.6)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    plain, mapped = figure.subplots(1, 2)
    plain.imshow(pixels)
    title = name if len(name) <= _LONG else f"{name[: _LONG - 3]}..."
    # A dollar sign in a file name begins no formula.
    plain.set_title(title, parse_math=False)
    colours = _scale(points, score)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    mapped.imshow(grey, cmap="gray", vmin=0, vmax=255)
    mapped.imshow(points, norm=colours.norm, cmap=colours.cmap, alpha=0.6)
    mapped.set_title(f"score {score:.1f}, expected {score.low:.0f} to {score.high:.0f}")
    for axes in (plain, mapped):
        axes.set_axis_off()
    bar = figure.colorbar(colours, ax=mapped, fraction=0.046, pad=0.02)
    bar.set_label("worse  ←  points, if all of it were as it is here  →  better")
    return figure


def _scale(points: Surface, score: Score) -> ScalarMappable:
    """Return the colours, the whole image's score in their middle."""
    reach = max(_LEAST_REACH, float(np.abs(points - score).max()))
    return ScalarMappable(Normalize(score - reach, score + reach), _COLOURS)
