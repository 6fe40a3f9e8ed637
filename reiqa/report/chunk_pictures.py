"""The pictures of one chunk: the photograph, the crop pairs, and the versions."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from reiqa import tensors, text
from reiqa.chunks.geometry import overlap_share
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.chunks.render import render
from reiqa.chunks.sample import SampleChunk
from reiqa.distortions import LEVELS, TYPES
from reiqa.report.thumbnails import image_uri

#: Maximum longer side of the embedded photograph, in pixels.
_LONGER_SIDE = 560
#: Crops are embedded almost without loss, so that no artefact is added to those of the bank.
_QUALITY = 90


@dataclass(frozen=True)
class Box:
    """A rectangle on a plate, in pixels of the plate.

    Attributes:
        kind: ``window``, ``a``, ``b`` or ``overlap``.
        letter: label at its upper left corner, or empty.
    """

    kind: str
    left: float
    top: float
    width: float
    height: float
    letter: str = ""


@dataclass(frozen=True)
class Plate:
    """A picture with rectangles.

    Attributes:
        uri: the picture as a data URI.
        width, height: size of the coordinate system.
        label: accessible description.
    """

    title: str
    caption: str
    label: str
    uri: str
    width: int
    height: int
    boxes: list[Box]


@dataclass(frozen=True)
class Crop:
    """A crop of a version.

    Attributes:
        letter: ``A`` or ``B``.
        left, top: place in the card, in units of crops.
    """

    uri: str
    letter: str
    left: int
    top: int


@dataclass(frozen=True)
class VersionCard:
    """One version: query and key crop at each scale.

    Attributes:
        level: level of the distortion, 0 for the undistorted version.
        swapped: rows in which crop B is the query.
        label: accessible description.
    """

    title: str
    level: int
    crops: list[Crop]
    swapped: list[int]
    label: str

    @property
    def dots(self) -> str:
        """The level as filled dots."""
        return "●" * self.level + "○" * (LEVELS - self.level)


def plates(sample: SampleChunk) -> list[Plate]:
    """Return the photograph with the content square, and a plate with the crops of each scale."""
    scales = range(len(sample.recipe.plan.scales))
    return [_photograph(sample), *(_pair(sample, scale) for scale in scales)]


def _photograph(sample: SampleChunk) -> Plate:
    height, width, _ = sample.photograph.shape
    image = Image.fromarray(sample.photograph)
    image.thumbnail((_LONGER_SIDE, _LONGER_SIDE), Image.Resampling.LANCZOS)
    zoom = image.width / width
    content = sample.recipe.content
    # The content may reach beyond a small photograph, which is reflected.
    bottom = min(height, content.top + sample.recipe.plan.content)
    right = min(width, content.left + sample.recipe.plan.content)
    box = Box(
        "window",
        *(content.left * zoom, content.top * zoom),
        *((right - content.left) * zoom, (bottom - content.top) * zoom),
    )
    return Plate(
        "The photograph",
        f"{width:,} × {height:,} px. All crops come from the outlined window, drawn at random.",
        f"The photograph {sample.recipe.image} with the window outlined",
        image_uri(image),
        *image.size,
        [box],
    )


def _pair(sample: SampleChunk, number: int) -> Plate:
    """Return the content at one scale, given by its index, with its two crops."""
    recipe = sample.recipe
    scale, pair = recipe.plan.scales[number], recipe.pairs[number]
    patch, ola, side = recipe.plan.patch, recipe.plan.ola, round(recipe.plan.content * scale)
    above = recipe.content.top - recipe.frame.top
    before = recipe.content.left - recipe.frame.left
    pixels = sample.window.permute(1, 2, 0).numpy()
    pixels = pixels[above : above + recipe.plan.content, before : before + recipe.plan.content]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if scale != 1:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    corners = [
        (left - scale * recipe.content.left, top - scale * recipe.content.top) for top, left in pair
    ]
    (x, y), (u, v) = corners
    shared = Box("overlap", max(x, u), max(y, v), patch - abs(x - u), patch - abs(y - v))
    crops = [
        Box(letter.lower(), *corner, patch, patch, letter)
        for letter, corner in zip("AB", corners, strict=True)
    ]
    overlap = text.percent(overlap_share(pair, patch))
    size = size_name(scale)
    if number == 0:
        caption = (
            f"Two crops of {patch} px, A and B. Their overlap (light) is {overlap} of a crop;"
            f" it is drawn between {text.percent(ola[0])} and {text.percent(ola[1])}."
        )
    else:
        caption = f"A second pair of {patch} px covers more of the window. Overlap: {overlap}."
    return Plate(
        size.capitalize(),
        caption,
        f"The window at {size} with crops A and B, which overlap by {overlap}",
        image_uri(image, _QUALITY),
        side,
        side,
        [shared, *crops],
    )


def size_name(scale: float) -> str:
    """Return the name of a scale."""
    return {1.0: "full size", 0.5: "half size"}.get(scale, f"{scale:g} of full size")


def version_cards(sample: SampleChunk) -> list[VersionCard]:
    """Return a card for each version, the undistorted one first."""
    recipe = sample.recipe
    pairs = render([sample.window], [recipe])
    cards = []
    for version in range(recipe.plan.versions):
        crops = []
        for row in range(len(recipe.plan.scales)):
            letters = "BA" if recipe.swapped(row, version) else "AB"
            for column, tensor in enumerate((pairs.query, pairs.key)):
                pixels = tensors.to_uint8(tensor[0, row, version]).permute(1, 2, 0).numpy()
                uri = image_uri(Image.fromarray(np.ascontiguousarray(pixels)), _QUALITY)
                crops.append(Crop(uri, letters[column], column, row))
        cards.append(_card(recipe, version, crops))
    return cards


def _card(recipe: ChunkRecipe, version: int, crops: list[Crop]) -> VersionCard:
    title = TYPES[recipe.types[version - 1]].title if version else "Undistorted"
    level = recipe.levels[version - 1] if version else 0
    rows = [
        f"{size_name(scale)} query {query.letter}, key {key.letter}"
        for scale, query, key in zip(recipe.plan.scales, crops[::2], crops[1::2], strict=True)
    ]
    swapped = [row for row in range(len(rows)) if recipe.swapped(row, version)]
    named = f"{title}, level {level} of {LEVELS}" if version else title
    return VersionCard(title, level, crops, swapped, f"{named}: {'; '.join(rows)}")
