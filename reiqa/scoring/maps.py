"""Quality maps: local scores from the quality expert on sliding windows, drawn over the image."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from reiqa import store
from reiqa.features.batching import Pixels
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.inputs import PreparedImage
from reiqa.scoring.output import Record
from reiqa.scoring.scorer import Score, Scorer
from reiqa.scoring.sliding_windows import Surface, WindowGrid, interpolate_grid

#: Longer side of a photograph in the figure, in pixels.
_SIDE = 840
_DPI = 100

#: Minimum range of the colour scale in points, so that small differences are not exaggerated.
_MIN_RANGE = 10.0

#: Maximum length of a title.
_MAX_TITLE = 40

#: Batch size of windows.
_BATCH = 16

#: Orange is worse and purple is better than the image; safe for colour vision deficiency.
_COLOURS = "PuOr"


def local_scores(
    scorer: Scorer, prepared: PreparedImage, score: Score, height: int, width: int
) -> Surface:
    """Return local scores of an image, ``(height, width)`` points.

    A local score is the score the image would have if the quality expert saw the local window
    instead of the image. The contribution of the content expert is that of the image. The mean
    over the windows equals the score of the image.

    Args:
        scorer: scorer to use.
        prepared: the image.
        score: score of the image.
        height: height of the map.
        width: width of the map.
    """
    image = prepared.batch[0]
    grid = WindowGrid.over(*image.shape[1:])
    boxes = [(slice(None), *box) for box in grid.boxes()]
    shares = [
        scorer.expert_points(
            "quality", np.stack([image[box] for box in boxes[start : start + _BATCH]])
        )
        for start in range(0, len(boxes), _BATCH)
    ]
    values = np.concatenate(shares).reshape(grid.shape)
    return interpolate_grid(grid, values - values.mean() + score, height, width)


class MapWriter:
    """Draws quality maps into a folder; called for each image."""

    def __init__(self, scorer: Scorer, folder: Path, items: Sequence[ImageItem]) -> None:
        """Assign each image a unique file: its relative path with the suffix ``.map.png``."""
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

    def __call__(self, item: ImageItem, prepared: PreparedImage, score: Score) -> None:
        """Compute and draw the map of one image."""
        pixels = _small(prepared.pixels())
        points = local_scores(self._scorer, prepared, score, *pixels.shape[:2])
        # Matplotlib's font code is not thread-safe.
        with self._drawing, store.atomic(self._targets[item.path]) as temporary:
            title = PurePath(item.name).name
            _draw_map(title, pixels, points, score).savefig(
                temporary, format="png", metadata={"Software": None}
            )

    def path(self, item: ImageItem) -> Path:
        """Return the file of the map of an image."""
        return self._targets[item.path]

    def already_drawn(self, known: Mapping[str, Record]) -> dict[str, Record]:
        """Return the rows whose map exists."""
        return {
            name: record
            for name, record in known.items()
            if name in self._names and self._targets[self._names[name]].exists()
        }


def _small(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _draw_map(name: str, pixels: Pixels, points: Surface, score: Score) -> Figure:
    """Draw the photograph next to its map with a colour bar."""
    height, width = pixels.shape[:2]
    inches = _SIDE / _DPI / max(height, width)
    size = (2 * inches * width + 1.4, inches * height + 0.6)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    plain, mapped = figure.subplots(1, 2)
    plain.imshow(pixels)
    title = name if len(name) <= _MAX_TITLE else f"{name[: _MAX_TITLE - 3]}..."
    # A dollar sign in a file name does not start a formula.
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
    """Return the colour scale, centred at the score of the image."""
    half_range = max(_MIN_RANGE, float(np.abs(points - score).max()))
    return ScalarMappable(Normalize(score - half_range, score + half_range), _COLOURS)
