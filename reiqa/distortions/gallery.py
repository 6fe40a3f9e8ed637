"""Draw the bank as an image with a row per type and a column per level, and as a table."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from reiqa import images, store
from reiqa.distortions import LEVELS
from reiqa.distortions.batch import distort
from reiqa.distortions.frame import Frame
from reiqa.distortions.registry import TYPES, Distortion
from reiqa.seeds import derive

#: Maximum displayed shorter side of the photograph.
_SHORT_SIDE = 360
_CELL_HEIGHT, _CELL_WIDTH = 180, 240
_GAP, _MARGIN, _LABEL, _CAPTION = 8, 40, 250, 22
_HEAD, _FAMILY = 290, 52
_PAPER, _INK, _FAINT, _RULE = "#ffffff", "#1c1c1e", "#7a7a80", "#d9d9de"


def draw_gallery(path: Path, out: Path, types: Sequence[str], seed: int) -> None:
    """Draw a photograph with every type at every level, and write it as a JPEG or PNG.

    Args:
        path: the photograph.
        out: file to write; its suffix decides the format.
        types: names from `TYPES`.
        seed: seed of random types.

    Raises:
        BadInputError: the photograph cannot be read, a type is unknown, or no image can be written
            to ``out``.
    """
    suffix = out.suffix.lower()
    # Noise makes a PNG more than twice as large.
    how: dict[str, Any] = {"format": "JPEG", "quality": 90, "subsampling": 0}
    if suffix not in (".jpg", ".jpeg"):
        suffix, how = ".png", {"format": "PNG", "optimize": True}
    store.check_target(out, suffix)
    photo = _shown(images.read_rgb(path))
    original, frame, inner = _window(photo)
    rows = {name: _render(original, name, seed, frame, inner) for name in types}
    families = [
        (family, [distortion.name for distortion in members])
        for family, members in groupby(_by_family(types), key=lambda distortion: distortion.family)
    ]
    page = _GalleryImage(len(families), len(types), inner)
    page.head(path.name, original[..., inner[0], inner[1]])
    for family, names in families:
        page.family(family)
        for name in names:
            page.row(TYPES[name], rows[name])
    with store.atomic(store.link_target(out)) as temporary:
        page.image.save(temporary, **how)


def bank_table() -> list[tuple[str, ...]]:
    """Return the rows of the bank: name, family, levels 1 to 5, parameter, margin, source."""
    return [
        (
            distortion.name,
            distortion.family,
            *(spell(level) for level in distortion.levels),
            distortion.parameter,
            f"{distortion.margin} px" if distortion.local else "whole image",
            distortion.source if distortion.published else f"{distortion.source} (extra)",
        )
        for distortion in TYPES.values()
    ]


def spell(level: float | tuple[float, ...]) -> str:
    """Format the parameter of a level."""
    parts = level if isinstance(level, tuple) else (level,)
    return ", ".join(f"{part:g}" for part in parts)


def _by_family(types: Sequence[str]) -> list[Distortion]:
    """Group types by family, in the order of first appearance."""
    order = {TYPES[name].family: number for number, name in reversed([*enumerate(types)])}
    return sorted((TYPES[name] for name in types), key=lambda each: order[each.family])


def _shown(photo: npt.NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(photo)
    scale = _SHORT_SIDE / min(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _window(photo: Image.Image) -> tuple[Tensor, Frame, tuple[slice, slice]]:
    """Return the photograph as ``(1, 3, H, W)`` uint8, its frame, and the displayed region."""
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].contiguous()
    height, width = pixels.shape[-2:]
    rows = min(height, _CELL_HEIGHT)
    columns = min(width, _CELL_WIDTH)
    top, left = (height - rows) // 2, (width - columns) // 2
    inner = (slice(top, top + rows), slice(left, left + columns))
    return pixels, Frame(height, width), inner


def _render(
    original: Tensor, name: str, seed: int, frame: Frame, inner: tuple[slice, slice]
) -> Tensor:
    levels = range(1, LEVELS + 1)
    seeds = [derive("gallery", seed, name, level) for level in levels]
    batch = original.expand(LEVELS, -1, -1, -1)
    distorted = distort(batch, [name] * LEVELS, levels, seeds, [frame] * LEVELS)
    return distorted[..., inner[0], inner[1]]


class _GalleryImage:
    """The gallery image, filled from top to bottom."""

    def __init__(self, families: int, types: int, inner: tuple[slice, slice]) -> None:
        self._height: int = inner[0].stop - inner[0].start
        self._width: int = inner[1].stop - inner[1].start
        width = 2 * _MARGIN + _LABEL + LEVELS * (max(self._width, 120) + _GAP)
        row = max(self._height, 60) + _CAPTION + _GAP
        height = _HEAD + families * _FAMILY + types * row + _MARGIN
        self.image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._top = _MARGIN

    def head(self, name: str, original: Tensor) -> None:
        """Draw the title and the undistorted photograph."""
        self._text(_MARGIN, self._top, "The distortion bank", 25)
        self._text(_MARGIN, self._top + 50, "one row a type,", 16, _FAINT)
        self._text(_MARGIN, self._top + 72, "five levels of severity", 16, _FAINT)
        self._paste(original[0], _MARGIN + _LABEL, self._top)
        left = _MARGIN + _LABEL + self._step() + _GAP
        self._text(left, self._top, "Undistorted", 20)
        self._text(left, self._top + 30, name, 14, _FAINT)
        top = _HEAD - 36
        for level in range(1, LEVELS + 1):
            left = _MARGIN + _LABEL + (level - 1) * self._step()
            self._text(left, top, f"level {level}", 18)
        self._top = _HEAD

    def family(self, name: str) -> None:
        """Draw the heading of a family."""
        right = self.image.width - _MARGIN
        self._draw.line((_MARGIN, self._top + 8, right, self._top + 8), _RULE, 1)
        self._text(_MARGIN, self._top + 18, name.upper(), 15, _FAINT)
        self._top += _FAMILY

    def row(self, distortion: Distortion, levels: Tensor) -> None:
        """Draw one type at its five levels."""
        self._text(_MARGIN, self._top, distortion.title, 19)
        self._text(_MARGIN, self._top + 28, distortion.name, 13, _FAINT)
        for number, line in enumerate(_wrapped(distortion.parameter, 32)):
            self._text(_MARGIN, self._top + 50 + 18 * number, line, 13, _FAINT)
        for number, (level, parameter) in enumerate(zip(levels, distortion.levels, strict=True)):
            left = _MARGIN + _LABEL + number * self._step()
            self._paste(level, left, self._top)
            self._text(left, self._top + level.shape[-2] + 4, spell(parameter), 13, _FAINT)
        self._top += max(self._height, 60) + _CAPTION + _GAP

    def _step(self) -> int:
        return max(self._width, 120) + _GAP

    def _text(self, left: int, top: int, text: str, size: int, ink: str = _INK) -> None:
        self._draw.text((left, top), text, ink, ImageFont.load_default(size))

    def _paste(self, pixels: Tensor, left: int, top: int) -> None:
        array = pixels.permute(1, 2, 0).contiguous().numpy()
        self.image.paste(Image.fromarray(array), (left, top))


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
