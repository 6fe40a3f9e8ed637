"""Quality maps: local scores from the quality expert on sliding windows, drawn over the image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.features.batching import Pixels
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.inputs import PreparedImage
from reiqa.scoring.output import Record
from reiqa.scoring.scorer import Score, Scorer
from reiqa.scoring.sliding_windows import Surface, WindowGrid, interpolate_grid

#: Longer side of a photograph in the picture, in pixels.
_SIDE = 840

#: Minimum range of the colour scale in points, so that small differences are not exaggerated.
_MIN_RANGE = 10.0

#: Batch size of windows.
_BATCH = 16

#: Colours from worse to better: orange, white, purple. With any colour vision, the ends
#: and the halves differ by more than 25 in CIEDE2000.
_COLOURS = ((133, 66, 0), (240, 164, 84), (247, 247, 247), (168, 155, 206), (66, 24, 112))

#: Weight of the colours over the grey photograph.
_ALPHA = 0.6

#: Key of the text in a map's PNG file that says which photograph and bundle it shows.
_MADE_OF = "reiqa"

#: Margins and height of the colour bar, size of the text, and minimum width of the colour bar.
_MARGIN, _BAR, _TEXT, _MIN_WIDTH = 16, 16, 20, 480


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
        """Assign each image a unique file: its relative path with the suffix ``.map.png``.

        Raises:
            BadInputError: the folder cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise BadInputError(
                f"{folder}: maps need a folder, and this path has a file in it; name another folder"
            ) from None
        except OSError as error:
            raise store.unwritable(folder, error) from None
        self._scorer = scorer
        self._targets: dict[Path, Path] = {}
        used: Counter[Path] = Counter()
        for item in items:
            place = folder / item.inside
            again = f"-{used[place]}" if used[place] else ""
            used[place] += 1
            self._targets[item.path] = place.with_name(f"{place.name}{again}.map.png")
        self._names = {item.name: item.path for item in items}

    def __call__(self, item: ImageItem, prepared: PreparedImage, score: Score, digest: str) -> None:
        """Compute and draw the map of one image, whose file has a digest."""
        photograph = _fit(prepared.pixels())
        points = local_scores(self._scorer, prepared, score, photograph.height, photograph.width)
        picture = _draw_map(photograph, points, score)
        made_of = PngInfo()
        made_of.add_text(_MADE_OF, _made_of(digest, self._scorer.identity))
        with store.atomic(self._targets[item.path]) as temporary:
            picture.save(temporary, "PNG", pnginfo=made_of)

    def path(self, item: ImageItem) -> Path:
        """Return the file of the map of an image."""
        return self._targets[item.path]

    def already_drawn(self, known: Mapping[str, Record]) -> dict[str, Record]:
        """Return the rows whose map exists, drawn of the same file by the same bundle."""
        return {
            name: record
            for name, record in known.items()
            if name in self._names
            and _read_made_of(self._targets[self._names[name]])
            == _made_of(record.sha256, record.bundle)
        }


def _made_of(digest: str, bundle: str) -> str:
    return f"{digest} {bundle}"


def _read_made_of(path: Path) -> str | None:
    """Return what a map was made of; None if it does not exist or is not a map."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get(_MADE_OF)
    except (OSError, ValueError, SyntaxError):
        return None


def _fit(pixels: Pixels) -> Image.Image:
    """Scale an image to `_SIDE`."""
    image = Image.fromarray(pixels)
    factor = _SIDE / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def _draw_map(photograph: Image.Image, points: Surface, score: Score) -> Image.Image:
    """Draw a photograph next to its map, with the score and the colour scale below."""
    reach = max(_MIN_RANGE, float(np.abs(points - score).max()))
    width = max(photograph.width, _MIN_WIDTH)
    left, right = _MARGIN, 2 * _MARGIN + width
    below = 2 * _MARGIN + photograph.height
    size = 3 * _MARGIN + 2 * width, below + _BAR + 3 * _TEXT + _MARGIN
    picture = Image.new("RGB", size, "white")
    picture.paste(photograph, (left, _MARGIN))
    colours = Image.fromarray(_colours((points - score) / reach))
    grey = photograph.convert("L").convert("RGB")
    picture.paste(Image.blend(grey, colours, _ALPHA), (right, _MARGIN))
    scale = np.linspace(-1, 1, width)[None].repeat(_BAR, axis=0)
    picture.paste(Image.fromarray(_colours(scale)), (right, below))

    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT)
    expected = f"score {score:.1f}, expected {score.low:.0f} to {score.high:.0f}"
    draw.text((left, below), expected, "black", font)
    line = below + _BAR + _TEXT // 4
    # Anchors: left, middle and right ends of the bar.
    places = ((right, "la"), (right + width // 2, "ma"), (right + width, "ra"))
    ticks = (f"{score + share * reach:.1f}" for share in (-1, 0, 1))
    words = ("worse", "points, if all of it were as it is here", "better")
    for (x, anchor), tick, word in zip(places, ticks, words, strict=True):
        draw.text((x, line), tick, "black", font, anchor)
        draw.text((x, line + 5 * _TEXT // 4), word, "black", font, anchor)
    return picture


def _colours(values: Surface) -> Pixels:
    """Return the colours ``(H, W, 3)`` of values from -1 (worse) to 1 (better)."""
    at = np.linspace(-1, 1, len(_COLOURS))
    channels = [np.interp(values, at, channel) for channel in zip(*_COLOURS, strict=True)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
